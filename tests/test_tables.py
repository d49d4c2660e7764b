"""Two data frames become a study: the same from pandas and polars, the same as from MEDS, and every slip is named."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from visitwise._ragged import arrays_of
from visitwise.meds import read
from visitwise.simulate import TEACHING
from visitwise.tables import FROM_TABLE, study_from_table

pytestmark = pytest.mark.usefixtures("unchecked")

DAY = datetime(2020, 1, 1)


def assert_same_arrays(one: object, other: object) -> None:
    arrays, expected = arrays_of(one), arrays_of(other)
    assert arrays.keys() == expected.keys()
    for name, values in arrays.items():
        assert values.dtype == expected[name].dtype
        assert values.shape == expected[name].shape
        assert bool((values.eq(expected[name]) | values.ne(values) & expected[name].ne(expected[name])).all()), name


def events() -> pd.DataFrame:
    """Anna comes on days 0 and 10, Ben on day 5 (twice), Cleo on days 0 and 20, unsorted."""
    rows = [
        ("Anna", 10, "pain", None), ("Anna", 0, "flu", None), ("Ben", 5, "LAB", 7.5), ("Ben", 5, "pain", None),
        ("Cleo", 20, "LAB", 2.0), ("Cleo", 0, "LAB", 3.0), ("Anna", None, "female", None),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["patient", "time", "code", "value"])


def outcomes() -> pd.DataFrame:
    rows = [("Cleo", 30, None, 1), ("Anna", None, 40, None), ("Ben", None, 6, 0)]
    frame = pd.DataFrame(rows, columns=["patient", "event_time", "end_of_follow_up", "cause"])
    return frame.assign(split=["train", "tuning", "held_out"])


EASY = replace(FROM_TABLE, min_patients=1)


def test_patients_are_followed_by_hand() -> None:
    study = study_from_table(events(), outcomes(), definition=EASY)
    cohort = study.cohort
    assert study.names == ("Cleo", "Anna", "Ben")
    assert study.split.tolist() == [0, 1, 2]
    assert cohort.visits.day.tolist() == [0, 20, 0, 10, 0]
    assert cohort.visits.schema.measurements == ("LAB",)
    assert cohort.visits.measurements[:, 0].nan_to_num(-1).tolist() == [3.0, 2.0, -1, -1, 7.5]
    assert cohort.visits.schema.codes == ("<padding>", "<unknown>")
    assert cohort.outcome.cause.tolist() == [1, 0, 0]
    assert cohort.outcome.stop.tolist() == [2, 2, 1]
    assert cohort.outcome.followup_days.tolist() == [30, 40, 1]
    assert study.origin is None
    assert study.flow is not None
    assert study.flow.read == {"records": 7, "patients": 3}
    assert study.flow.dropped == {"a static code that is not in the vocabulary": 1}


def test_the_order_of_the_rows_does_not_matter() -> None:
    one = study_from_table(events(), outcomes(), definition=EASY)
    other = study_from_table(events().iloc[::-1], outcomes(), definition=EASY)
    assert one.cohort.visits.schema == other.cohort.visits.schema
    assert_same_arrays(one.cohort.visits, other.cohort.visits)
    assert_same_arrays(one.cohort.outcome, other.cohort.outcome)


@pytest.mark.parametrize("kind", ["polars", "datetimes", "dates", "nanoseconds", "nullable"])
def test_every_kind_of_frame_and_time_gives_the_same(kind: str) -> None:
    given, became = events(), outcomes()
    if kind in ("datetimes", "nanoseconds", "dates"):

        def moment(days: float) -> object:
            when = None if pd.isna(days) else DAY + timedelta(days=days)
            return when.date() if when is not None and kind == "dates" else when

        for frame, column in ((given, "time"), (became, "event_time"), (became, "end_of_follow_up")):
            times = pd.Series([moment(days) for days in frame[column]], dtype=object)
            frame[column] = times if kind == "dates" else pd.to_datetime(times)
    if kind == "nullable":
        given, became = given.convert_dtypes(), became.convert_dtypes()
    if kind == "polars":
        given, became = (
            pl.DataFrame(frame.astype(object).where(frame.notna(), None).to_dict("list")) for frame in (given, became)
        )  # type: ignore[assignment]
    study = study_from_table(given, became, definition=EASY)
    expected = study_from_table(events(), outcomes(), definition=EASY)
    ends_with_day = kind in ("datetimes", "nanoseconds", "dates")  # every end is at midnight
    later = torch.tensor([0, 1, 1]) * (1 - 1 / 86_400_000_000) if ends_with_day else torch.zeros(3)
    assert_same_arrays(study.cohort.visits, expected.cohort.visits)
    assert torch.equal(study.cohort.outcome.stop, expected.cohort.outcome.stop)
    torch.testing.assert_close(study.cohort.outcome.followup_days - later, expected.cohort.outcome.followup_days)
    assert (study.origin is None) == (kind in ("polars", "nullable"))


def test_a_table_gives_what_the_same_records_give_as_meds(tmp_path: Path) -> None:
    from visitwise.meds import write_cohort

    drawn = TEACHING.draw(200, seed=3)
    # Nine o'clock: ends that are all at midnight would be days in a table.
    definition = write_cohort(drawn, tmp_path / "meds", outcome_code="EVENT", start=DAY + timedelta(hours=9))
    expected = read(tmp_path / "meds", definition)
    rows = pl.concat(pl.read_parquet(path) for path in sorted((tmp_path / "meds" / "data").rglob("*.parquet")))
    rows = rows.rename({"subject_id": "patient", "numeric_value": "value"})
    ends = rows.filter(pl.col("code").is_in(["EVENT", "END_OF_FOLLOWUP"])).select("patient", "time", "code")
    became = ends.select(
        "patient",
        event_time=pl.when(pl.col("code") == "EVENT").then("time"),
        end_of_follow_up=pl.when(pl.col("code") != "EVENT").then("time"),
    )
    splits = pl.read_parquet(tmp_path / "meds" / "metadata" / "subject_splits.parquet")
    became = became.join(splits.rename({"subject_id": "patient"}), on="patient")
    became = became.sort(
        pl.Series(expected.cohort.visits.patient_id.numpy()).arg_sort()[became["patient"].rank("ordinal") - 1]
    )
    rows = rows.filter(~pl.col("code").is_in(["EVENT", "END_OF_FOLLOWUP"]))
    study = study_from_table(
        rows,
        became,
        definition=replace(
            FROM_TABLE, visit="column:encounter_id", censored_exposure=1, min_patients=1, measurements=()
        ),
    )
    by_id, by_id_expected = (s.cohort.select(s.cohort.visits.patient_id.argsort()) for s in (study, expected))
    # No metadata says in which order the codes stand, so they are compared by name.
    for one, other in ((by_id, by_id_expected),):
        names, names_expected = (
            [each.visits.schema.codes[code] for code in each.visits.codes] for each in (one, other)
        )
        assert names == names_expected
        assert torch.equal(one.visits.day, other.visits.day)
        assert torch.equal(one.visits.code_offsets, other.visits.code_offsets)
        assert_same_arrays(one.outcome, other.outcome)
    assert torch.equal(study.split.bincount(), expected.split.bincount())


def test_competing_causes_are_numbered_as_they_were_given() -> None:
    became = outcomes().assign(event_time=[30, 12, None], cause=[3, 1, None])
    study = study_from_table(events(), became, definition=EASY)
    assert study.cohort.outcome.cause.tolist() == [3, 1, 0]
    assert study.definition is not None
    assert len(study.definition.causes) == 3


def test_whole_numbers_stay_the_patients_ids() -> None:
    ids = {"Anna": 101, "Ben": -7, "Cleo": 33}
    given, became = (frame.assign(patient=frame.patient.map(ids)) for frame in (events(), outcomes()))
    study = study_from_table(given, became, definition=EASY)
    assert study.names is None
    assert study.cohort.visits.patient_id.tolist() == [33, 101, -7]
    assert study.split.tolist() == [0, 1, 2]


def test_without_a_split_patients_are_dealt_by_lot_and_the_seed_decides() -> None:
    who = [f"P{i}" for i in range(100)]
    given = pd.DataFrame({"patient": who, "time": 0, "code": "a"})
    became = pd.DataFrame({"patient": who, "event_time": np.nan, "end_of_follow_up": 9})
    split = study_from_table(given, became).split
    assert split.bincount().tolist() == [70, 15, 15]
    assert torch.equal(split, study_from_table(given, became).split)
    assert not torch.equal(split, study_from_table(given, became, definition=replace(FROM_TABLE, seed=1)).split)


def test_a_patient_without_a_record_is_counted_and_left_out() -> None:
    became = outcomes()
    became.loc[3] = ["Dora", np.nan, 5, 0, "train"]
    flow = study_from_table(events(), became, definition=EASY).flow
    assert flow is not None
    assert flow.excluded == {"no visit": 1}
    assert flow.read["patients"] == 4


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda e, o: (e.drop(columns="code"), o), "the events have no column 'code'; expected patient, time, code"),
        (lambda e, o: (e, o.drop(columns="event_time")), "the outcomes have no column 'event_time'; expected .*"),
        (lambda e, o: (e.to_dict(), o), "the events are a dict; expected a data frame of pandas or polars"),
        (lambda e, o: (e.iloc[:0], o), "the events have 0 rows; expected at least one"),
        (lambda e, o: (e.assign(code=1), o), "the events have Int64 in the column 'code'; expected text"),
        (lambda e, o: (e.assign(value="x"), o), "the events have String in the column 'value'; expected numbers"),
        (lambda e, o: (e.assign(code=[None, *"abcdef"]), o), "patient 'Anna' has a record without a code; .*"),
        (lambda e, o: (e.assign(time="2020"), o), "the column 'time' has String; expected datetimes without .*"),
        (lambda e, o: (e.assign(time=DAY), o), "the tables have dates in 'time', numbers in 'event_time', .*"),
        (
            lambda e, o: (e.assign(time=pd.Timestamp("2020-01-01", tz="Europe/Berlin")), o),
            "the events have a time zone in the column 'time'; expected local times without one",
        ),
        (lambda e, o: (e.assign(time=np.inf), o), "the column 'time' holds an infinite number of days; .*"),
        (lambda e, o: (e.assign(patient=1.5), o), "the events have Float64 in the column 'patient'; expected .*"),
        (lambda e, o: (e.assign(patient=1), o), "the patients are Int64 in the events and String in the outcomes; .*"),
        (lambda e, o: (e.assign(patient=[None, *"abcdef"]), o), "the events have 1 rows without a patient; .*"),
        (lambda e, o: (e, pd.concat([o, o])), "patient 'Cleo' has 2 rows of outcomes; expected one"),
        (lambda e, o: (e, o.assign(cause=2)), "patient 'Anna' has the event_time None and the cause 2; expected .*"),
        (lambda e, o: (e, o.assign(cause=1.5)), "patient 'Cleo' has the event_time 30.0 and the cause 1.5; .*"),
        (lambda e, o: (e, o.assign(split="test")), "patient 'Cleo' has the split 'test'; expected one of train, .*"),
        (lambda e, o: (e, o.assign(split="tuning")), "none of the 3 patients who are left is a training patient; .*"),
        (
            lambda e, o: (e, o.assign(end_of_follow_up=None)),
            "patient 'Anna' has neither an event .* nor an end of follow-up .*; expected one of them .*",
        ),
        (lambda e, o: (e, o.iloc[:2]), "patient 'Ben' has neither an event .* nor an end of follow-up .*"),
        (lambda e, o: (e, o.assign(end_of_follow_up=0, event_time=None, cause=None)), "none of 3 patients is left: .*"),
    ],
)
def test_a_slip_is_named(
    change: Callable[[pd.DataFrame, pd.DataFrame], tuple[pd.DataFrame, pd.DataFrame]], sentence: str
) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        study_from_table(*change(events(), outcomes()), definition=EASY)


def test_a_definition_of_its_own_outcome_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^the definition names an outcome or an end; expected FROM_TABLE"):
        study_from_table(events(), outcomes(), definition=replace(EASY, outcome=("STROKE",)))


def test_the_last_day_of_follow_up_is_followed_to_its_end() -> None:
    given = pd.DataFrame({"patient": [1, 2, 3], "time": [datetime(2020, 1, 1, 9)] * 3, "code": "a"})
    became = pd.DataFrame({"patient": [1, 2, 3], "event_time": None, "end_of_follow_up": [date(2020, 1, 2)] * 3})
    study = study_from_table(given, became.assign(split="train"), definition=EASY)
    assert study.cohort.outcome.followup_days.tolist() == pytest.approx([1 + 15 / 24] * 3, abs=1e-9)


def test_a_csv_of_dates_gives_one_cohort_whether_pandas_or_polars_reads_it(tmp_path: Path) -> None:
    rows, ends = tmp_path / "events.csv", tmp_path / "outcomes.csv"
    rows.write_text("patient,time,code\n1,2020-01-01,a\n1,2020-01-03,b\n2,2020-01-02,a\n3,2020-01-01,b\n")
    ends.write_text(
        "patient,event_time,end_of_follow_up,split\n1,,2020-01-03,train\n2,2020-01-05,,train\n3,,2020-01-02,train\n"
    )
    moments = ["event_time", "end_of_follow_up"]
    of_pandas = pd.read_csv(rows, parse_dates=["time"]), pd.read_csv(ends, parse_dates=moments)
    of_polars = pl.read_csv(rows, try_parse_dates=True), pl.read_csv(ends, try_parse_dates=True)
    assert (of_pandas[1].dtypes[moments].map(lambda kind: kind.kind) == "M").all()
    assert of_polars[1].schema["end_of_follow_up"] == pl.Date
    study, expected = (study_from_table(*given, definition=EASY) for given in (of_pandas, of_polars))
    assert_same_arrays(study.cohort.visits, expected.cohort.visits)
    assert_same_arrays(study.cohort.outcome, expected.cohort.outcome)
    # Patient 1 comes on the last day of follow-up, so the interval before is finished, and nothing is known after it.
    assert study.cohort.outcome.stop.tolist() == [1, 1, 1]
    assert study.cohort.outcome.censored_exposure.tolist() == [1, 1, 0]
    assert study.cohort.outcome.followup_days.tolist() == pytest.approx([3, 3, 2], abs=1e-9)


def test_an_end_at_midnight_is_the_end_of_its_day_whatever_the_others_are() -> None:
    given = pd.DataFrame({"patient": [1, 2], "time": [DAY, DAY], "code": "a"})
    ends = [DAY + timedelta(days=2), DAY + timedelta(days=2, hours=6)]
    became = pd.DataFrame({"patient": [1, 2], "event_time": None, "end_of_follow_up": ends, "split": "train"})
    for frame in (became, pl.DataFrame(became.astype(object).to_dict("list"))):
        study = study_from_table(given, frame, definition=EASY)
        assert study.cohort.outcome.followup_days.tolist() == pytest.approx([3, 2.25], abs=1e-9)


def test_a_number_of_days_is_a_moment_and_a_date_lasts_through_its_day() -> None:
    given = pd.DataFrame({"patient": [1, 2], "time": [0, 0], "code": "a"})
    became = pd.DataFrame({"patient": [1, 2], "event_time": [60.5, None], "end_of_follow_up": 60, "split": "train"})
    numbers = study_from_table(given, became, definition=EASY).cohort.outcome
    assert numbers.cause.tolist() == [0, 0]
    assert numbers.followup_days.tolist() == [60, 60]
    moments = {name: DAY + pd.to_timedelta(became[name], "D") for name in ("event_time", "end_of_follow_up")}
    dates = study_from_table(given.assign(time=DAY), became.assign(**moments), definition=EASY).cohort.outcome
    assert dates.cause.tolist() == [1, 0]
    assert dates.followup_days.tolist() == pytest.approx([60.5, 61], abs=1e-9)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_every_unit_that_pandas_keeps_times_in_gives_the_same(unit: str) -> None:
    given, became = events(), outcomes()
    for frame, column in ((given, "time"), (became, "event_time"), (became, "end_of_follow_up")):
        times = pd.to_datetime(pd.Series(DAY + timedelta(hours=7)).repeat(len(frame)).reset_index(drop=True))
        frame[column] = (times + pd.to_timedelta(frame[column], unit="D")).astype(f"datetime64[{unit}]")
        assert frame[column].dtype == f"datetime64[{unit}]"
    study = study_from_table(given, became, definition=EASY)
    expected = study_from_table(events(), outcomes(), definition=EASY)
    assert_same_arrays(study.cohort.visits, expected.cohort.visits)
    assert_same_arrays(study.cohort.outcome, expected.cohort.outcome)


def test_the_flow_of_a_table_counts_no_outcome_as_a_record_and_every_death() -> None:
    given = events()
    given.loc[len(given)] = ["Anna", 40, "MEDS_DEATH", np.nan]
    flow = study_from_table(given, outcomes(), definition=EASY).flow
    assert flow is not None
    assert flow.read["records"] == 8
    assert flow.dropped == {
        "with the code of the death": 1,
        "a static code that is not in the vocabulary": 1,
    }


def test_a_table_too_small_for_min_patients_says_so() -> None:
    flow = study_from_table(events(), outcomes()).flow
    assert flow is not None
    assert any("min_patients" in warning and "3 patients in all" in warning for warning in flow.warnings)


@pytest.mark.parametrize("share", [0, 0.25, 1])
def test_the_share_of_an_unfinished_interval_is_chosen_in_the_definition(share: float) -> None:
    study = study_from_table(events(), outcomes(), definition=replace(EASY, censored_exposure=share))
    assert study.cohort.outcome.censored_exposure.tolist() == [1, share, share]
    assert study.flow is not None
    assert study.flow.kept["unfinished intervals"] == 2


def test_a_name_that_no_record_bears_is_a_warning_and_the_outcome_of_the_table_is_none() -> None:
    definition = replace(EASY, index=("flu", "LAB", "fluu"), never_input=("pian",))
    flow = study_from_table(events(), outcomes(), definition=definition).flow
    assert flow is not None
    assert flow.warnings[:2] == (
        "no record bears the code 'fluu' of index: is it written so in the records?",
        "no record bears the code 'pian' of never_input: is it written so in the records?",
    )
    assert "<event>" not in "".join(flow.warnings)


def test_a_table_says_how_many_have_an_event_after_the_end() -> None:
    became = outcomes().assign(event_time=[30, 50, None], cause=[1, 1, None])
    flow = study_from_table(events(), became, definition=EASY).flow
    assert flow is not None
    assert flow.kept["events"] == 1
    assert flow.kept["censored before an event"] == 1
