"""A cohort written as MEDS and read again is the same cohort, bit for bit."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from visitwise._ragged import arrays_of, offsets_of
from visitwise.cohort import Cohort, Outcome
from visitwise.datasets import pbc
from visitwise.definition import CohortDefinition
from visitwise.meds import labels_of, prepare, read, write_cohort
from visitwise.simulate import ORDER_ONLY, TEACHING, Simulator
from visitwise.study import Study
from visitwise.visits import Schema, Visits
from visitwise.vocabulary import UNKNOWN

WORLDS = {
    "teaching": TEACHING,
    "order only": ORDER_ONLY,
    "two causes": Simulator(n_causes=2),
    "informative censoring": Simulator(censoring="informative"),
}
TITLED = "ICD10CM//I10 high blood pressure"
NAMES = ["grippe légère", "脳卒中", 'with, "quotes"; and\nmore', TITLED, " ", "ENCOUNTER//ward", "EVENTful"]
MICROSECONDS = 86_400_000_000


def odd_cohort(n_patients: int, *, seed: int, n_causes: int = 1, history: bool = False) -> Cohort:
    """Visits at any microsecond, some without a code or a number, some after the end; the first patient has it all."""
    random = np.random.default_rng(seed)
    schema = Schema.of(NAMES, static=["âge", "static//2"], measurements=["weight", "HbA1c [%]"])
    length = random.integers(1, 8, n_patients)
    n_visits = int(length.sum())
    per_visit = random.integers(0, 4, n_visits) * (random.random(n_visits) < 0.7)
    per_visit[0] = len(NAMES)
    codes = np.concatenate([random.permutation(len(NAMES))[:count] + 1 for count in per_visit])
    since = np.concatenate([np.append(0, random.integers(1, 10**13, count - 1).cumsum()) for count in length])
    measurements = np.where(random.random((n_visits, 2)) < 0.5, random.normal(70, 10, (n_visits, 2)), np.nan)
    measurements[0] = 1.0
    visits = Visits(
        codes=torch.from_numpy(codes.astype(np.int32)),
        code_offsets=offsets_of(torch.from_numpy(per_visit)),
        visit_offsets=offsets_of(torch.from_numpy(length)),
        day=torch.from_numpy(since / MICROSECONDS),
        patient_id=torch.from_numpy(random.permutation(10**6)[:n_patients] - 5),
        static=torch.from_numpy(random.normal(size=(n_patients, 2)).astype(np.float32)),
        measurements=torch.from_numpy(measurements.astype(np.float32)),
        schema=schema,
    )
    stop = torch.from_numpy(random.integers(1, length + 1))
    row = visits.visit_offsets[:-1] + stop - 1
    following = torch.where(stop < visits.length, visits.day[(row + 1).clamp(max=n_visits - 1)], visits.day[row] + 99)
    share = torch.from_numpy(1 - random.random(n_patients))
    cause = torch.from_numpy(random.integers(0, n_causes + 1, n_patients))
    outcome = Outcome.of(
        stop,
        cause > 0,
        cause=cause,
        start=torch.from_numpy(random.integers(0, stop.numpy())) if history else None,
        followup_days=visits.day[row] + share * (following - visits.day[row]),
    )
    return Cohort(visits, outcome)


def some_train(cohort: Cohort, *, seed: int) -> torch.Tensor:
    """A split in which the first patient, who has every code, trains."""
    split = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, len(cohort)).astype(np.int8))
    split[0] = 0
    return split


def as_read(cohort: Cohort, patient_id: torch.Tensor) -> Cohort:
    """What is to come back: these patients, without visits that nobody can see, and with a code for the unknown."""
    position = {int(who): place for place, who in enumerate(cohort.visits.patient_id)}
    chosen = torch.tensor([position[int(who)] for who in patient_id])
    outcome = cohort.outcome.select(chosen)
    visits = cohort.visits.select(chosen, length=outcome.stop)
    schema = visits.schema
    return Cohort(replace(visits, schema=Schema((*schema.codes, UNKNOWN), schema.static, schema.measurements)), outcome)


def assert_same(study: Study, cohort: Cohort, split: torch.Tensor | None = None) -> None:
    """Equal in every bit, follow-up to a microsecond."""
    assert sorted(study.cohort.visits.patient_id.tolist()) == sorted(cohort.visits.patient_id.tolist())
    expected = as_read(cohort, study.cohort.visits.patient_id)
    assert study.cohort.visits.schema == expected.visits.schema
    for name, values in arrays_of(expected.visits).items():
        found = getattr(study.cohort.visits, name)
        assert found.dtype == values.dtype, name
        assert found.shape == values.shape, name
        assert found.numpy().tobytes() == values.contiguous().numpy().tobytes(), name
    for field in fields(Outcome):
        found, values = getattr(study.cohort.outcome, field.name), getattr(expected.outcome, field.name)
        assert found.dtype == values.dtype, field.name
        if field.name == "followup_days":
            assert float((found - values).abs().max()) <= 1 / MICROSECONDS
        else:
            assert torch.equal(found, values), field.name
    if split is not None:
        of_patient = dict(zip(cohort.visits.patient_id.tolist(), split.tolist(), strict=True))
        assert study.split.tolist() == [of_patient[who] for who in study.cohort.visits.patient_id.tolist()]


@pytest.mark.parametrize("world", WORLDS)
def test_a_simulated_cohort_comes_back_bit_for_bit(tmp_path: Path, world: str) -> None:
    cohort = WORLDS[world].draw(600, seed=4).cohort
    definition = write_cohort(cohort, tmp_path / "meds", outcome_code="EVENT", shard_patients=100)
    assert_same(read(tmp_path / "meds", definition), cohort, Study.of(cohort).split)


@pytest.mark.parametrize("seed", range(8))
def test_an_odd_cohort_comes_back_bit_for_bit(tmp_path: Path, seed: int) -> None:
    cohort = odd_cohort(30, seed=seed, n_causes=1 + seed % 3, history=seed % 2 == 1)
    split = some_train(cohort, seed=seed)
    definition = write_cohort(cohort, tmp_path / "meds", outcome_code="EVENT", splits=split, shard_patients=7)
    assert_same(read(tmp_path / "meds", definition), cohort, split)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_share_of_unfinished_intervals_comes_back_bit_for_bit(tmp_path: Path, share: float) -> None:
    cohort = odd_cohort(30, seed=3, n_causes=2, history=True)
    outcome = cohort.outcome
    exposure = torch.where(outcome.observed, 1.0, torch.full(outcome.stop.shape, share))
    cohort = Cohort(cohort.visits, replace(outcome, censored_exposure=exposure))
    split = some_train(cohort, seed=3)
    definition = write_cohort(cohort, tmp_path / "meds", outcome_code="EVENT", splits=split, shard_patients=7)
    assert definition.censored_exposure == float(torch.tensor(share))
    assert_same(read(tmp_path / "meds", definition), cohort, split)


def test_a_real_cohort_with_two_causes_and_gaps_in_its_measurements_comes_back_bit_for_bit(tmp_path: Path) -> None:
    cohort = pbc()
    definition = write_cohort(cohort, tmp_path / "meds", outcome_code="DEATH", end_code="END")
    assert definition.competing == (("DEATH//2",),)
    assert_same(read(tmp_path / "meds", definition), cohort, Study.of(cohort).split)


def test_read_shard_by_shard_it_is_the_same_cohort(tmp_path: Path) -> None:
    cohort = odd_cohort(40, seed=11, n_causes=2, history=True)
    split = some_train(cohort, seed=11)
    definition = write_cohort(cohort, tmp_path / "meds", outcome_code="EVENT", splits=split, shard_patients=5)
    assert_same(prepare(tmp_path / "meds", definition, tmp_path / "study"), cohort, split)


def test_the_definition_in_the_folder_is_the_one_that_was_returned(tmp_path: Path) -> None:
    cohort = odd_cohort(30, seed=1, n_causes=2, history=True)
    returned = write_cohort(cohort, tmp_path / "meds", outcome_code="EVENT", splits=some_train(cohort, seed=1))
    assert CohortDefinition.load(tmp_path / "meds" / "definition.toml") == returned


def test_one_patient_with_one_visit_without_a_code_comes_back(tmp_path: Path) -> None:
    visits = Visits.from_lists([[["pain"]], [[]]], day=[[0], [0]], patient_id=[3, 9])
    outcome = Outcome.of(
        torch.tensor([1, 1]), torch.tensor([False, True]), followup_days=torch.tensor([10.0, 5.5]).double()
    )
    cohort = Cohort(visits, outcome)
    definition = write_cohort(cohort, tmp_path / "meds", outcome_code="EVENT", splits=torch.tensor([0, 2]))
    assert_same(read(tmp_path / "meds", definition), cohort)


def test_a_patient_without_codes_anywhere_comes_back_alone(tmp_path: Path) -> None:
    visits = Visits.from_lists([[[], []]], day=[[0, 1]], schema=Schema.of([]))
    cohort = Cohort(
        visits, Outcome.of(torch.tensor([2]), torch.tensor([True]), followup_days=torch.tensor([1.25]).double())
    )
    definition = write_cohort(cohort, tmp_path / "meds", outcome_code="EVENT", splits=torch.tensor([0]))
    assert_same(read(tmp_path / "meds", definition), cohort)


def test_days_are_counted_from_the_first_visit(tmp_path: Path) -> None:
    cohort = odd_cohort(20, seed=5)
    later = Cohort(
        replace(cohort.visits, day=cohort.visits.day + 1000.0),
        replace(cohort.outcome, followup_days=cohort.outcome.followup_days + 1000.0),
    )
    split = some_train(cohort, seed=5)
    definition = write_cohort(later, tmp_path / "meds", outcome_code="EVENT", splits=split)
    found = read(tmp_path / "meds", definition).cohort
    expected = as_read(cohort, found.visits.patient_id)
    assert torch.equal(found.visits.day[found.visits.visit_offsets[:-1]], torch.zeros(len(found), dtype=torch.float64))
    torch.testing.assert_close(found.visits.day, expected.visits.day, rtol=0, atol=2 / MICROSECONDS)
    torch.testing.assert_close(
        found.outcome.followup_days, expected.outcome.followup_days, rtol=0, atol=2 / MICROSECONDS
    )


def test_what_was_read_can_be_written_and_read_again(tmp_path: Path) -> None:
    cohort = odd_cohort(30, seed=6, n_causes=2, history=True)
    definition = write_cohort(cohort, tmp_path / "one", outcome_code="EVENT", splits=some_train(cohort, seed=6))
    once = read(tmp_path / "one", definition)
    again = read(tmp_path / "two", write_cohort(once, tmp_path / "two", outcome_code="EVENT"))
    assert again.cohort.visits.schema == once.cohort.visits.schema
    for part in ("visits", "outcome"):
        for name, values in arrays_of(getattr(once.cohort, part)).items():
            found = getattr(getattr(again.cohort, part), name)
            assert found.numpy().tobytes() == values.numpy().tobytes(), name
    assert torch.equal(again.split, once.split)
    assert once.origin is not None
    assert again.origin is not None
    assert torch.equal(again.origin, once.origin)


def test_by_calendar_day_a_simulated_cohort_is_the_same(tmp_path: Path) -> None:
    cohort = TEACHING.draw(200, seed=2).cohort
    definition = write_cohort(cohort, tmp_path / "meds", outcome_code="EVENT")
    by_column = read(tmp_path / "meds", definition).cohort
    by_day = read(tmp_path / "meds", replace(definition, visit="day")).cohort
    # Who leaves on the day of a visit does so before it is over, and it is no row: only such patients may differ.
    day = cohort.outcome.followup_days.floor()
    close = cohort.visits.day[cohort.visits.visit_offsets[1:] - 1]
    same_day = cohort.visits.patient_id[day == close]
    assert len(by_column) - len(by_day) <= len(same_day)
    kept = [who for who in by_day.visits.patient_id.tolist() if who not in same_day.tolist()]
    for found in (by_column, by_day):
        places = [found.visits.patient_id.tolist().index(who) for who in kept]
        chosen = found.select(torch.tensor(places))
        assert torch.equal(chosen.visits.length, as_read(cohort, torch.tensor(kept)).visits.length)


def test_labels_of_what_was_read_are_those_of_what_was_written(tmp_path: Path) -> None:
    cohort = odd_cohort(30, seed=7, history=True)
    definition = write_cohort(cohort, tmp_path / "meds", outcome_code="EVENT", splits=some_train(cohort, seed=7))
    before = labels_of(cohort).sort("subject_id", "prediction_time")
    after = labels_of(read(tmp_path / "meds", definition)).sort("subject_id", "prediction_time")
    assert after.equals(before)
    assert 0 < int(before["boolean_value"].sum()) < len(before)


def test_a_cohort_in_which_everybody_has_the_event_comes_back(tmp_path: Path) -> None:
    cohort = odd_cohort(30, seed=8)
    cohort = Cohort(cohort.visits, replace(cohort.outcome, cause=torch.ones(30, dtype=torch.int64)))
    split = some_train(cohort, seed=8)
    definition = write_cohort(cohort, tmp_path / "meds", outcome_code="EVENT", splits=split)
    assert_same(read(tmp_path / "meds", definition), cohort, split)


def test_a_cohort_in_which_nobody_has_the_event_is_refused_by_name(tmp_path: Path) -> None:
    cohort = odd_cohort(30, seed=8)
    cohort = Cohort(cohort.visits, replace(cohort.outcome, cause=torch.zeros(30, dtype=torch.int64)))
    definition = write_cohort(cohort, tmp_path / "meds", outcome_code="EVENT", splits=some_train(cohort, seed=8))
    with pytest.raises(ValueError, match="no record bears the outcome's code 'EVENT'"):
        read(tmp_path / "meds", definition)


def test_a_code_twice_at_one_visit_comes_back_once(tmp_path: Path) -> None:
    visits = Visits.from_lists([[["pain", "gout", "pain"]]], day=[[0]])
    cohort = Cohort(
        visits, Outcome.of(torch.tensor([1]), torch.tensor([True]), followup_days=torch.tensor([3.0]).double())
    )
    definition = write_cohort(cohort, tmp_path / "meds", outcome_code="EVENT", splits=torch.tensor([0]))
    assert pl.read_parquet(tmp_path / "meds" / "data" / "train" / "0.parquet")["code"].to_list().count("pain") == 2
    found = read(tmp_path / "meds", definition).cohort.visits
    assert [found.schema.codes[code] for code in found.codes.tolist()] == ["pain", "gout"]
