"""From records to a cohort: compared with one patient at a time over all settings, and the rules one by one."""

import math
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tests import event_oracles as oracle
from tests.event_oracles import DAY, Row
from visitwise.cohort import Cohort
from visitwise.definition import CohortDefinition
from visitwise.events import Census, assemble, follow, to_cohort, told
from visitwise.study import Flow
from visitwise.visits import Schema
from visitwise.vocabulary import Vocabulary

HOUR = DAY // 24
CODES = ("A", "A//x", "B", "B.1", "C with a title", "D", "RARE", "LAB", "LAB//2", "Blut–Druck", "SECRET", "INDEX")
SPECIAL = ("STROKE", "STROKE//2", "STROKE//2//late", "MEDS_DEATH", "END", "ENCOUNTER")
PARENTS = {
    "B.1": ["B"],
    "RARE": ["nothing has me", "D"],
    "A//x": ["A"],
    "D": ["top"],
    "B": ["top", "STROKE"],
    "top": ["D"],
}
ORDER = ("LAB", "D", "B", "SEX//F", "weight")


def table(patients: dict[int, list[Row]]) -> pl.DataFrame:
    rows = [(subject, *row) for subject, rows in patients.items() for row in rows]
    schema = {
        "subject_id": pl.Int64, "time": pl.Int64, "code": pl.String, "numeric_value": pl.Float32, "encounter": pl.Int64,
    }  # fmt: skip
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(pl.col("time").cast(pl.Datetime("us")))


def random_patients(random: np.random.Generator, n: int) -> dict[int, list[Row]]:
    """Records on a coarse grid, so that ties, gaps of exactly the limit and equal records are common."""
    patients = {}
    for subject in random.permutation(n).tolist():
        rows = []
        for _ in range(int(random.integers(0, 30))):
            time = int(random.integers(-20, 40)) * DAY + int(random.choice([0, 0, 9, 12, 18])) * HOUR
            code = str(random.choice(SPECIAL if random.random() < 0.08 else CODES))
            values = [None, math.nan, float(random.integers(0, 4))]
            weights = [0.1, 0.1, 0.8] if code.startswith("LAB") else [0.8, 0.05, 0.15]
            value = values[int(random.choice(3, p=weights))]
            encounter = None if random.random() < 0.1 else int(random.integers(0, 6))
            rows.append(Row(time, code, value, encounter))
        if random.random() < 0.7:
            rows.append(Row(int(random.integers(-30 * 365, -15)) * DAY, "MEDS_BIRTH"))
        if random.random() < 0.6:
            rows.append(Row(int(random.integers(20, 60)) * DAY, "END"))
        if random.random() < 0.3:  # dead on a day, with visits and perhaps an event on it
            day = int(random.integers(0, 40))
            rows.append(Row(day * DAY, "MEDS_DEATH"))
            for hour in random.choice([0, 3, 9, 12, 18], int(random.integers(4))).tolist():
                code, encounter = str(random.choice(["A", "B", "STROKE"])), int(random.integers(0, 6))
                rows.append(Row(day * DAY + hour * HOUR, code, None, encounter))
        rows.sort(key=lambda row: row.time or 0)
        static = []
        for name, share in (("SEX//F", 0.5), ("weight", 0.7), ("weight", 0.2), ("odd", 0.1), ("SECRET", 0.1)):
            if random.random() < share:
                static.append(Row(None, name, float(random.integers(50, 90)) if name == "weight" else None))
        rows = [*static, *rows] or [Row(None, "odd")]
        if random.random() < 0.08:
            faults = [Row(None, "STROKE"), Row(None, "LAB", math.inf), Row(rows[-1].time or DAY, "MEDS_BIRTH")]
            rows.append(faults[int(random.integers(3))])
        patients[subject] = rows
    return patients


def random_definition(random: np.random.Generator) -> CohortDefinition:
    def one(*choices: object) -> object:
        return choices[int(random.integers(len(choices)))]

    settings = {
        "end_of_follow_up": one(
            "code:END", "date:1970-02-05", "date:1970-02-05T12:00", "table:ends.csv", "last record"
        ),
        "competing": one((), (), (("STROKE//2",),), (("MEDS_DEATH",), ("STROKE//2//late",))),
        "index": one((), (), ("INDEX",), ("B", "C")),
        "visit": one("day", "gap:24h", "gap:9h", "gap:2h", "gap:72h", "column:encounter", "column:encounter"),
        "washout_days": one(None, None, 0.0, 3.0),
        "blanking_days": one(0, 0, 0.5, 3),
        "censored_exposure": one(0, 0.25, 0.5, 1),
        "minimum_history_days": one(0, 0, 2.5),
        "minimum_visits": one(1, 1, 3),
        "never_input": one((), ("SECRET", "INDEX"), ("SECRET", "A")),
        "min_patients": one(1, 2, 4),
        "measurements": one("auto", "auto", (), ("LAB",)),
    }
    return CohortDefinition(("STROKE",), faulty="drop", **settings)  # type: ignore[arg-type]


def ends_of(definition: CohortDefinition, patients: dict[int, list[Row]]) -> dict[int, int]:
    if definition.end_time is not None:
        moment = round((definition.end_time - datetime(1970, 1, 1)).total_seconds() * 1_000_000)
        return dict.fromkeys(patients, moment)
    return {subject: (subject % 40) * DAY for subject in patients if subject % 5}


def lists_of(cohort: Cohort) -> list[dict[str, object]]:
    """A cohort as plain lists, one dictionary a patient."""
    visits, outcome, schema = cohort.visits, cohort.outcome, cohort.visits.schema
    names = [schema.codes[code] for code in visits.codes]
    offsets, code_offsets = visits.visit_offsets.tolist(), visits.code_offsets.tolist()
    return [
        {
            "subject": int(visits.patient_id[i]),
            "codes": [names[code_offsets[j] : code_offsets[j + 1]] for j in range(offsets[i], offsets[i + 1])],
            "day": visits.day[offsets[i] : offsets[i + 1]].tolist(),
            "measurements": visits.measurements[offsets[i] : offsets[i + 1]].nan_to_num(-1).tolist(),
            "static": visits.static[i].tolist(),
            "start": int(outcome.start[i]),
            "stop": int(outcome.stop[i]),
            "cause": int(outcome.cause[i]),
            "exposure": float(outcome.censored_exposure[i]),
            "followup": None if outcome.followup_days[i].isnan() else float(outcome.followup_days[i]),
        }
        for i in range(len(cohort))
    ]


def as_float32(values: Sequence[float]) -> list[float]:
    return torch.tensor(values, dtype=torch.float32).nan_to_num(-1).tolist()


@pytest.mark.parametrize("seed", range(150))
def test_a_cohort_is_what_following_one_patient_at_a_time_gives(seed: int) -> None:
    random = np.random.default_rng(seed)
    patients = random_patients(random, int(random.integers(1, 25)))
    definition, predict = random_definition(random), bool(random.random() < 0.2)
    end_of = ends_of(definition, patients)
    dropped: Counter[str] = Counter()
    found = {
        subject: oracle.follow(subject, rows, definition, end_of, predict, dropped)
        for subject, rows in patients.items()
    }
    kept = [patient for patient in found.values() if isinstance(patient, oracle.Patient)]

    ends = pl.DataFrame(
        {
            "subject_id": pl.Series(list(end_of), dtype=pl.Int64),
            "time": pl.Series(list(end_of.values()), dtype=pl.Int64),
        }
    )
    ends = ends.with_columns(pl.col("time").cast(pl.Datetime("us")))
    followed = follow(table(patients), definition, ends=ends, predict=predict)
    assert followed.patients["subject_id"].to_list() == [patient.subject for patient in kept]
    excluded = {name: count for name, count in followed.flow.excluded.items() if count}
    assert excluded == Counter(reason for reason in found.values() if isinstance(reason, str))

    train = np.flatnonzero(random.random(len(kept)) < 0.7)
    in_training = [kept[place] for place in train]
    census = Census.of(followed, train, PARENTS)
    if definition.measurements == ("LAB",):
        rows = [row for patient in in_training for visit in patient.visits for row in visit.rows]
        if not any(oracle.fits("LAB", row.code) and oracle.known(row.value) for row in rows):
            with pytest.raises(ValueError, match=r"^the measurement 'LAB' has no number in any training patient"):
                census.vocabulary(definition, order=ORDER, parents=PARENTS)
            return
    vocabulary = census.vocabulary(definition, order=ORDER, parents=PARENTS)
    names = oracle.names_of(in_training, definition, PARENTS, ORDER)
    assert list(vocabulary.schema.codes[1:]) == names.codes
    assert list(vocabulary.schema.measurements) == names.measurements
    assert list(vocabulary.schema.static) == names.static
    assert vocabulary.fills == names.fills
    assert vocabulary.rolled_up == {code: name for code, name in names.target.items() if code != name}
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary

    cohort, origin, flow = assemble(followed, vocabulary, PARENTS)
    expected = []
    for patient in kept:
        filled = [oracle.visit_of(visit, names, PARENTS, dropped) for visit in patient.visits]
        day_0 = patient.visits[0].close
        expected.append(
            {
                "subject": patient.subject,
                "codes": [codes for codes, _ in filled],
                "day": [(visit.close - day_0) / DAY for visit in patient.visits],
                "measurements": [as_float32(values) for _, values in filled],
                "static": as_float32(oracle.static_of(patient, names, dropped)),
                "start": patient.start,
                "stop": len(patient.visits),
                "cause": patient.cause,
                "exposure": patient.exposure,
                "followup": None if patient.last is None else (patient.last - day_0) / DAY,
            }
        )
    assert ([] if cohort is None else lists_of(cohort)) == expected
    assert origin.tolist() == [patient.visits[0].close for patient in kept]
    assert {name: count for name, count in flow.dropped.items() if count} == {k: n for k, n in dropped.items() if n}
    assert flow.read == {"records": sum(map(len, patients.values())), "patients": len(patients)}
    assert flow.kept["visits"] == sum(len(patient.visits) for patient in kept)
    assert flow.kept["rows"] == sum(len(patient.visits) - patient.start for patient in kept)
    assert flow.kept["events"] == sum(patient.cause > 0 for patient in kept)
    assert flow.kept["unfinished intervals"] == sum(patient.unfinished for patient in kept)
    assert flow.kept["censored before an event"] == sum(patient.later_event for patient in kept)
    assert flow.kept["events of cause 1"] == sum(patient.cause == 1 for patient in kept)
    assert flow.kept["events without an end of follow-up"] == sum(patient.without_end for patient in kept)


# ----------------------------------------------------------------------------------------------- rules, one at a time


EASY = CohortDefinition(("STROKE",), "code:END", min_patients=1)


def of_one(rows: list[Row], definition: CohortDefinition) -> dict[str, object]:
    """The one patient of these rows, as lists."""
    followed = follow(table({1: rows}), definition)
    cohort, _, _ = assemble(followed, Census.of(followed, np.array([0])).vocabulary(definition))
    assert cohort is not None
    return lists_of(cohort)[0]


def at(days: float, code: str, value: float | None = None, encounter: int | None = None) -> Row:
    return Row(round(days * DAY), code, value, encounter)


def test_a_visit_closes_with_its_last_record_and_not_with_its_first() -> None:
    rows = [at(0.3, "A"), at(0.9, "B"), at(5, "A"), at(9, "END")]
    patient = of_one(rows, EASY)
    assert patient["day"] == [0.0, 4.1]
    assert patient["followup"] == pytest.approx(8.1)


def test_the_visit_that_is_open_when_the_event_falls_is_no_input() -> None:
    # The workup at nine and the stroke at noon are one visit: nothing of it may predict the stroke.
    patient = of_one([at(0, "A"), at(5.4, "B"), at(5.5, "STROKE"), at(9, "END")], EASY)
    assert patient["codes"] == [["A"]]
    assert (patient["stop"], patient["cause"]) == (1, 1)


def test_a_stay_that_ends_after_the_event_is_no_input_from_its_first_day_on() -> None:
    rows = [at(0, "A", None, 1), at(5, "B", None, 2), at(7, "STROKE"), at(9, "B", None, 2), at(30, "END")]
    patient = of_one(rows, CohortDefinition(("STROKE",), "code:END", visit="column:encounter", min_patients=1))
    assert patient["codes"] == [["A"]]


def test_an_event_at_the_very_end_of_the_blanking_gap_belongs_to_the_row_before() -> None:
    definition = CohortDefinition(("STROKE",), "code:END", blanking_days=2, min_patients=1)
    at_its_end = of_one([at(0, "A"), at(5, "B"), at(7, "STROKE"), at(9, "END")], definition)
    assert (at_its_end["stop"], at_its_end["codes"]) == (1, [["A"]])
    after_it = of_one([at(0, "A"), at(5, "B"), at(7.1, "STROKE"), at(9, "END")], definition)
    assert (after_it["stop"], after_it["codes"]) == (2, [["A"], ["B"]])


@pytest.mark.parametrize(("day", "kept"), [(2, False), (2.01, True)])
def test_an_event_in_the_gap_after_the_start_leaves_the_patient_out(day: float, kept: bool) -> None:
    definition = CohortDefinition(("STROKE",), "code:END", blanking_days=2, min_patients=1)
    flow = follow(table({1: [at(0, "A"), at(day, "STROKE"), at(9, "END")]}), definition).flow
    assert flow.kept["patients"] == kept
    assert flow.excluded["the event in the blanking gap after the start"] == (not kept)


def test_of_two_causes_at_one_moment_the_lower_number_counts() -> None:
    definition = CohortDefinition(("STROKE",), "code:END", competing=(("MEDS_DEATH",),), min_patients=1)
    assert of_one([at(0, "A"), at(5, "MEDS_DEATH"), at(5, "STROKE")], definition)["cause"] == 1
    assert of_one([at(0, "A"), at(5, "MEDS_DEATH"), at(6, "STROKE")], definition)["cause"] == 2


def test_an_event_at_the_end_of_follow_up_is_seen_and_one_after_it_is_not() -> None:
    assert of_one([at(0, "A"), at(5, "END"), at(5, "STROKE")], EASY)["cause"] == 1
    later = of_one([at(0, "A"), at(5, "END"), at(5.1, "STROKE")], EASY)
    assert (later["cause"], later["followup"]) == (0, 5.0)


def test_what_ends_a_visit_s_day_does_not_say_whether_it_is_a_row() -> None:
    # The visit of day 5 is open until midnight: whatever falls before, event or end, the row before is the last.
    for visit in ("day", "gap:9h"):
        definition = replace(EASY, visit=visit, censored_exposure=0.5)
        for when, stop in ((5.2, 1), (5.45, 1), (6, 2), (6.2, 2)):
            event, end = (of_one([at(0, "A"), at(5.1, "B"), at(when, code)], definition) for code in ("STROKE", "END"))
            assert event["codes"] == end["codes"], (visit, when)
            assert (event["stop"], end["stop"]) == (stop, stop), (visit, when)
            assert (event["cause"], end["cause"]) == (1, 0)
            # With days, the next visit closed before the end: the interval was seen as a whole. With a gap, an event
            # within these hours were its event, too.
            assert end["exposure"] == (1 if stop == 1 and visit == "day" else 0.5)


def test_an_old_event_moves_no_close_and_joins_no_visits() -> None:
    definition = replace(EASY, visit="gap:9h", index=("INDEX",), washout_days=1)
    rows = [at(0, "A"), at(0.3, "STROKE"), at(0.6, "B"), at(30, "INDEX"), at(40, "END")]
    assert of_one(rows, definition)["day"] == pytest.approx([0, 0.6, 30])
    by_day = of_one(rows[:2] + rows[3:], replace(definition, visit="day"))
    assert by_day["day"] == [0, 30]


@pytest.mark.parametrize("visit", ["day", "gap:9h"])
def test_an_event_while_the_first_visit_is_open_is_one_at_the_start(visit: str) -> None:
    flow = follow(table({1: [at(0.1, "A"), at(0.3, "STROKE"), at(9, "END")]}), replace(EASY, visit=visit)).flow
    assert flow.excluded["the event at the start, or before it"] == 1
    flow = follow(table({1: [at(0.1, "A"), at(0.3, "END")]}), replace(EASY, visit=visit)).flow
    assert flow.excluded["no follow-up after the start"] == 1


def test_a_visit_that_closes_at_the_end_of_follow_up_finishes_the_interval_before() -> None:
    definition = CohortDefinition(("STROKE",), "last record", min_patients=1, visit="column:encounter")
    patient = of_one([at(0, "A", None, 1), at(5, "A", None, 2), at(9, "B", None, 3)], definition)
    assert (patient["stop"], patient["exposure"], patient["followup"]) == (2, 1, 9)
    # A last record that is no visit leaves the last interval open.
    definition = replace(definition, never_input=("SECRET",))
    patient = of_one([at(0, "A", None, 1), at(5, "A", None, 2), at(9, "SECRET", None, 3)], definition)
    assert (patient["stop"], patient["exposure"]) == (2, 0)


@pytest.mark.parametrize(("end", "stop", "exposure"), [(7, 1, 1), (6.9, 1, 0.5), (7.1, 2, 0.5)])
def test_with_a_blanking_gap_the_interval_ends_so_much_later(end: float, stop: int, exposure: float) -> None:
    definition = replace(EASY, blanking_days=2, censored_exposure=0.5)
    patient = of_one([at(0, "A"), at(5, "B"), at(end, "END")], definition)
    assert (patient["stop"], patient["exposure"]) == (stop, exposure)


@pytest.mark.parametrize(("end", "stop", "exposure"), [(5, 1, 1), (6.9, 1, 0.5), (7, 1, 1), (7.1, 2, 0.5)])
@pytest.mark.parametrize("rule", [{"visit": "gap:48h"}, {"blanking_days": 2}, {"visit": "gap:48h", "blanking_days": 1}])
def test_an_interval_ends_so_long_after_the_next_visit_as_it_begins_after_its_own(
    rule: dict[str, Any], end: float, stop: int, exposure: float
) -> None:
    definition = replace(EASY, censored_exposure=0.5, **rule)
    rows = [at(0.0, "A"), at(5, "B")]
    assert of_one([*rows, at(7, "STROKE")], definition)["stop"] == 1
    assert of_one([*rows, at(7.1, "STROKE")], definition)["stop"] == 2
    # Day 5 is the visit itself: follow-up that ends at a visit has seen the interval before.
    patient = of_one([*rows, at(end, "END")], definition)
    assert (patient["stop"], patient["exposure"]) == (stop, exposure)


@pytest.mark.parametrize("rule", [{"visit": "gap:48h"}, {"blanking_days": 2}])
def test_an_end_on_the_day_of_a_visit_is_at_the_visit_unless_it_is_the_end_of_everybody(rule: dict[str, Any]) -> None:
    rows, moment = [at(0, "A"), at(5.3, "B")], datetime(1970, 1, 6, 23, 59, 59, 999999)
    definition = CohortDefinition(("STROKE",), "table:ends.csv", min_patients=1, **rule)
    ends = pl.DataFrame({"subject_id": [1], "time": [moment]})
    assert follow(table({1: rows}), definition, ends=ends).patients["exposure"].to_list() == [1]
    for end, exposure in (("last record", 1), ("date:1970-01-06", 0)):
        followed = follow(table({1: rows}), replace(definition, end_of_follow_up=end))
        assert followed.patients["exposure"].to_list() == [exposure]


def test_a_forecast_has_no_unfinished_interval() -> None:
    followed = follow(table({1: [at(0, "A"), at(5, "B")]}), EASY, predict=True)
    assert followed.patients["exposure"].to_list() == [1]
    assert followed.patients["stop"].to_list() == [2]


@pytest.mark.parametrize("competing", [(), (("MEDS_DEATH",),)])
def test_a_death_dated_to_a_day_hides_no_event_of_that_day(competing: tuple[tuple[str, ...], ...]) -> None:
    definition = replace(EASY, competing=competing)
    patient = of_one([at(0, "A"), at(5, "MEDS_DEATH"), at(5.5, "STROKE"), at(9, "END")], definition)
    assert (patient["cause"], patient["followup"]) == (1, 5.5)
    # A death with a time of day, or on the day before, comes first.
    for death in (5.4, 4):
        patient = of_one([at(0, "A"), at(death, "MEDS_DEATH"), at(5.5, "STROKE"), at(9, "END")], definition)
        assert patient["cause"] == (2 if competing else 0)
        # Only a moment is one: who dies on a day and is followed without that end lives until it is over.
        assert patient["followup"] == pytest.approx(death + (death == 4 and not competing), abs=1e-9)


@pytest.mark.parametrize("visit", ["gap:2h", "column:encounter"])
@pytest.mark.parametrize("event", [None, 5.8])
@pytest.mark.parametrize("predict", [False, True])
def test_what_is_recorded_on_the_day_of_a_death_is_input_whether_or_not_an_event_follows(
    visit: str, event: float | None, predict: bool
) -> None:
    definition = replace(EASY, visit=visit, end_of_follow_up="date:1970-02-01")
    rows = [at(0, "A", None, 1), at(5, "MEDS_DEATH"), at(5.4, "B", None, 2), at(6.5, "A", None, 3)]
    followed = follow(
        table({1: sorted([*rows, *([] if event is None else [at(event, "STROKE")])])}), definition, predict=predict
    )
    assert followed.visits["close"].to_list() == [0, round(5.4 * DAY)]
    assert followed.codes.gather(followed.records["code"]).to_list() == ["A", "B"]
    assert followed.flow.dropped["in the visit of the event, or later"] == (event is not None and not predict)
    assert followed.flow.dropped["after the death"] == (event is None)


def test_the_flow_counts_unfinished_intervals_and_events_after_the_end() -> None:
    rows = {
        1: [at(0, "A"), at(5, "B"), at(9, "END"), at(12, "STROKE")],
        2: [at(0, "A"), at(9, "END")],
        3: [at(0, "A"), at(9, "STROKE")],
        4: [at(0, "A"), at(5, "B"), at(5.5, "END")],
    }
    vocabulary = Vocabulary(Schema.of(["<unknown>"]))
    _, _, flow = to_cohort(table(rows), EASY, vocabulary)
    assert flow.kept["unfinished intervals"] == 2
    assert flow.kept["censored before an event"] == 1
    _, _, flow = to_cohort(table({3: rows[3]}), EASY, vocabulary)
    assert not {"unfinished intervals", "censored before an event"} & flow.kept.keys()


def drawn(shape: float, gap: float = 0, daily: float = 1 / 1_500, n: int = 8_000) -> tuple[pl.DataFrame, float, float]:
    """Records at constant danger, 60 days apart on average, and an extract within a year of the first; the true hazard
    between visits more than a gap apart, and the share of an unfinished interval that the definition recommends.
    """
    random = np.random.default_rng(2)
    apart = np.full((n, 60), 60.0) if math.isinf(shape) else random.gamma(shape, 60 / shape, (n, 60))
    visits = np.cumsum(apart, 1) - apart[:, :1]
    between = np.diff((visits + 100_000 * np.arange(n)[:, None])[:, :-1][apart[:, 1:] > gap])
    between = between[between < 10_000]  # of one patient
    hazard = float((1 - np.exp(-daily * between)).mean())
    share = max(0.0, (1 - between.var() / between.mean() ** 2) / 2)
    event, end = random.exponential(1 / daily, n), random.uniform(1, 365, n)
    last = np.minimum(event, end)
    who, place = (visits < last[:, None]).nonzero()
    frame = pl.DataFrame(
        {
            "subject_id": np.concatenate([who, np.arange(n)]),
            "time": np.concatenate([visits[who, place], last]) * DAY,
            "code": ["A"] * len(who) + ["STROKE" if seen else "END" for seen in event <= end],
            "encounter": np.concatenate([place, np.full(n, -1)]),
            "numeric_value": None,
        }
    )
    frame = frame.with_columns(pl.col("time").round().cast(pl.Int64).cast(pl.Datetime("us"))).sort("subject_id", "time")
    return frame, hazard, share


def errors_off(hazard: float, frame: pl.DataFrame, **choices: Any) -> float:
    """How many of its standard errors the estimate, events per row that counts, is above the true hazard."""
    people = follow(frame, replace(EASY, **{"visit": "column:encounter", "faulty": "drop"} | choices)).patients
    rows = (people["stop"] - people["start"]).sum() - people.height + people["exposure"].cast(pl.Float64).sum()
    events = people.filter(pl.col("cause") > 0).height
    return float((events / rows / hazard - 1) * math.sqrt(events))


@pytest.mark.parametrize(
    "rule", [{}, {"blanking_days": 30}, {"visit": "gap:30d"}], ids=["by number", "blanked", "by gap"]
)
@pytest.mark.parametrize("shape", [math.inf, 1.0], ids=["regular visits", "visits any day"])
def test_which_share_of_an_unfinished_interval_gives_the_true_hazard(shape: float, rule: dict[str, Any]) -> None:
    frame, hazard, share = drawn(shape, gap=30 if "visit" in rule else 0)
    assert share == pytest.approx(0.5 if math.isinf(shape) else 0.3 if "visit" in rule else 0, abs=0.02)
    assert abs(errors_off(hazard, frame, censored_exposure=share, **rule)) < 3
    assert errors_off(hazard, frame, censored_exposure=1, **rule) < -3
    # What is right for the one is wrong for the other.
    assert abs(errors_off(hazard, frame, censored_exposure=0 if share > 0.25 else 0.5, **rule)) > 3


@pytest.mark.parametrize("blanking", [0, 7, 30])
def test_where_the_last_visit_ends_follow_up_a_blanking_gap_loses_no_interval(blanking: float) -> None:
    frame, hazard, _ = drawn(1.0)
    frame = frame.filter(pl.col("code") != "END")
    assert abs(errors_off(hazard, frame, end_of_follow_up="last record", blanking_days=blanking)) < 3


BESIDE = [at(0, "A", None, 1), at(2, "B", None, 1), at(30, "C", None, 2), at(60, "D", None, 3)]


@pytest.mark.parametrize(
    "more",
    [
        [at(90, "STROKE"), at(120, "STROKE", None, 1)],  # a repeat
        [at(90, "STROKE"), at(100, "MEDS_DEATH", None, 2), at(120, "STROKE", None, 1)],  # another cause after the first
        [at(90, "END"), at(120, "STROKE", None, 1)],  # after the end of follow-up
    ],
)
def test_an_event_that_is_not_counted_keeps_no_encounter_open(more: list[Row]) -> None:
    definition = replace(EASY, visit="column:encounter", competing=(("MEDS_DEATH",),))
    assert of_one([*BESIDE, *more], definition)["codes"] == of_one([*BESIDE, more[0]], definition)["codes"]
    assert of_one([*BESIDE, *more], definition)["codes"] == [["A", "B"], ["C"], ["D"]]


def test_the_event_that_counts_keeps_its_encounter_open() -> None:
    definition = replace(EASY, visit="column:encounter")
    for old in ([], [at(0, "STROKE", None, 1)]):  # one that is washed out changes nothing
        rows = [*old, *BESIDE, at(90, "STROKE", None, 2), at(120, "STROKE", None, 1)]
        assert of_one(rows, replace(definition, washout_days=1))["codes"] == [["A", "B"], ["D"]]


def test_a_stroke_long_before_the_start_may_be_washed_out_and_is_no_input() -> None:
    definition = CohortDefinition(("STROKE",), "code:END", washout_days=30, index=("A",), min_patients=1)
    rows = [at(0, "STROKE"), at(0, "B"), at(40, "A"), at(50, "STROKE")]
    patient = of_one(rows, definition)
    assert (patient["start"], patient["stop"], patient["cause"]) == (1, 2, 1)
    assert patient["codes"] == [["B"], ["A"]]
    excluded = follow(table({1: rows}), CohortDefinition(("STROKE",), "code:END", index=("A",))).flow.excluded
    assert excluded["the event at the start, or before it"] == 1


def test_the_same_records_in_other_company_give_the_same_patient() -> None:
    random = np.random.default_rng(0)
    patients = random_patients(random, 40)
    definition = CohortDefinition(("STROKE",), "last record", min_patients=1, faulty="drop")
    together = follow(table(patients), definition)
    vocabulary = Census.of(together, np.arange(together.patients.height)).vocabulary(definition)
    whole, origin, _ = to_cohort(table(patients), definition, vocabulary)
    alone = []
    for subject, rows in patients.items():
        cohort, _, _ = assemble(follow(table({subject: rows}), definition), vocabulary)
        alone += [] if cohort is None else lists_of(cohort)
    assert lists_of(whole) == alone
    assert origin.shape == (len(whole),)


def test_a_definition_that_names_a_table_of_ends_needs_it() -> None:
    definition = CohortDefinition(("STROKE",), "table:ends.csv")
    with pytest.raises(ValueError, match=r"^end_of_follow_up is 'table:ends.csv'; expected the table of ends, too$"):
        follow(table({1: [at(0, "A")]}), definition)


@pytest.mark.parametrize("module", ["events", "tables", "meds"])
def test_without_polars_the_error_says_what_to_install(module: str) -> None:
    program = f"import sys; sys.modules['polars'] = None; import visitwise.{module}"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "the package polars, which is missing: pip install 'visitwise[meds]'" in ended.stderr


def test_an_end_that_only_those_with_the_event_may_lack_is_a_warning() -> None:
    definition = CohortDefinition(("STROKE",), "table:ends.csv", faulty="drop", min_patients=1)
    visits = [at(0, "A"), at(5, "B")]
    rows = {1: visits, 2: [*visits, at(9, "STROKE")], 3: visits, 4: [*visits, at(9, "STROKE")], 5: visits}
    ends = pl.DataFrame({"subject_id": [3, 4], "time": [datetime(1970, 2, 1)] * 2})
    vocabulary = Vocabulary(Schema.of(["<unknown>"]))
    _, _, flow = to_cohort(table(rows), definition, vocabulary, ends=ends)
    assert flow.excluded == {"no end of follow-up": 2}
    assert flow.kept["events without an end of follow-up"] == 1
    assert (
        "of the patients without an end of follow-up 2 are left out, and 1 kept because they have the event: who is "
        "left out depends on the outcome, which makes hazards too high" in flow.warnings
    )
    # Where everybody else has an end, those with an event need none.
    _, _, flow = to_cohort(table({who: rows[who] for who in (2, 3, 4)}), definition, vocabulary, ends=ends)
    assert "events without an end of follow-up" not in flow.kept
    assert not any("end of follow-up" in warning for warning in flow.warnings)


def test_a_first_cause_that_never_comes_is_a_warning() -> None:
    definition = replace(EASY, competing=(("MEDS_DEATH",),))
    rows = {1: [at(0, "A"), at(5, "MEDS_DEATH")], 2: [at(0, "A"), at(5, "END")], 3: [at(0, "A"), at(5, "STROKE")]}
    vocabulary = Vocabulary(Schema.of(["<unknown>"]))
    _, _, flow = to_cohort(table({who: rows[who] for who in (1, 2)}), definition, vocabulary)
    assert (flow.kept["events"], flow.kept["events of cause 1"]) == (1, 0)
    assert any("has the event of cause 1, the outcome" in warning for warning in flow.warnings)
    _, _, flow = to_cohort(table(rows), definition, vocabulary)
    assert (flow.kept["events"], flow.kept["events of cause 1"]) == (2, 1)
    _, _, one = to_cohort(table({who: rows[who] for who in (2, 3)}), definition, vocabulary)
    assert "events of cause 1" not in one.kept
    for each in (flow, one):
        assert not any("cause 1" in warning for warning in each.warnings)
    # Without any event, it is said once.
    _, _, none = to_cohort(table({2: rows[2]}), definition, vocabulary)
    assert sum("nobody who is kept" in warning for warning in none.warnings) == 1


@pytest.mark.parametrize(("unknown", "warns"), [(0, False), (50, False), (51, True), (100, True)])
def test_a_flow_warns_when_more_than_half_of_the_codes_are_unknown(unknown: int, warns: bool) -> None:
    kept = {"patients": 7, "codes": 100, "unknown codes": unknown, "events": 3}
    flow = Flow({"patients": 7}, {}, {}, kept)
    sentence = (
        f"{unknown} of 100 codes at the visits are <unknown>: fewer than min_patients training patients have them, and "
        "the cohort has 7 patients in all; a smaller min_patients keeps more codes"
    )
    assert told(flow).warnings == ((sentence,) if warns else ())
    assert told(flow, predict=True).warnings == ()
