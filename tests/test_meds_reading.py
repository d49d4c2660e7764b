"""MEDS folders become studies: in memory and shard by shard the same bytes, split and named as the data say."""

import weakref
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from visitwise.cohort import Cohort
from visitwise.definition import CohortDefinition
from visitwise.events import BIRTH, DEATH, ENCOUNTER
from visitwise.meds import names, prepare, read, reading, write_cohort
from visitwise.meds.writing import write_parquet
from visitwise.simulate import TEACHING
from visitwise.study import Study
from visitwise.vocabulary import UNKNOWN

DAY = 86_400_000_000
EASY = CohortDefinition(("STROKE",), "code:END", min_patients=1)


def write_meds(
    folder: Path,
    shards: dict[str, list[tuple[Any, ...]]],
    *,
    splits: dict[int, str] | None = None,
    codes: dict[str, list[str] | None] | None = None,
) -> Path:
    """A dataset of rows (subject, day or None, code[, number[, encounter]])."""
    for name, rows in shards.items():
        filled = [(*row, None, None)[:5] for row in rows]
        schema = {
            "subject_id": pl.Int64,
            "time": pl.Float64,
            "code": pl.String,
            "numeric_value": pl.Float32,
            "visit": pl.Int64,
        }
        frame = pl.DataFrame(filled, schema=schema, orient="row")
        frame = frame.with_columns((pl.col("time") * DAY).round().cast(pl.Int64).cast(pl.Datetime("us")))
        (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        write_parquet(frame, folder / "data" / name)
    (folder / "metadata").mkdir(exist_ok=True)
    if splits is not None:
        table = pl.DataFrame({"subject_id": list(splits), "split": list(splits.values())})
        write_parquet(table, folder / "metadata" / "subject_splits.parquet")
    if codes is not None:
        schema = {"code": pl.String, "parent_codes": pl.List(pl.String)}
        table = pl.DataFrame({"code": list(codes), "parent_codes": list(codes.values())}, schema=schema)
        write_parquet(table, folder / "metadata" / "codes.parquet")
    return folder


def patient(subject: int, *codes: str, ends: str = "END") -> list[tuple[Any, ...]]:
    """One code a day from day 0 on, and the end two days after the last."""
    rows: list[tuple[Any, ...]] = [(subject, day, code) for day, code in enumerate(codes)]
    return [*rows, (subject, len(codes) + 1, ends)]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def teaching(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CohortDefinition]:
    folder = tmp_path_factory.mktemp("meds") / "teaching"
    return folder, write_cohort(TEACHING.draw(400, seed=5), folder, outcome_code="EVENT", shard_patients=60)


# ------------------------------------------------------------------------------------------ in memory and on the disk


def test_the_names_of_the_special_codes_are_those_of_the_format() -> None:
    assert (BIRTH, DEATH, ENCOUNTER) == (names.BIRTH_CODE, names.DEATH_CODE, names.ENCOUNTER_CODE)


@pytest.mark.parametrize("visit", ["column:encounter_id", "day", "gap:200h"])
def test_shard_by_shard_the_folder_has_the_bytes_of_the_study_in_memory(
    tmp_path: Path, teaching: tuple[Path, CohortDefinition], visit: str
) -> None:
    folder, definition = teaching
    definition = replace(definition, visit=visit, min_patients=20)
    in_memory = read(folder, definition)
    in_memory.save(tmp_path / "saved")
    prepared = prepare(folder, definition, tmp_path / "prepared")
    assert files_of(tmp_path / "prepared") == files_of(tmp_path / "saved")
    assert prepared.flow == in_memory.flow
    assert prepared.vocabulary == in_memory.vocabulary
    assert prepared.definition == definition
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("stop_at", range(7))
def test_interrupted_at_any_shard_and_run_again_the_bytes_are_the_same(
    tmp_path: Path, teaching: tuple[Path, CohortDefinition], monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    folder, definition = teaching
    monkeypatch.setattr(reading, "PATIENTS_KEPT_AT_ONCE", 1)
    with monkeypatch.context() as patch:
        patch.setattr(reading, "assemble", interrupted_after(stop_at))
        with pytest.raises(KeyboardInterrupt):
            prepare(folder, definition, tmp_path / "study")
    assert not (tmp_path / "study").exists()
    with monkeypatch.context() as patch:
        patch.setattr(reading, "assemble", interrupted_after(7 - stop_at))  # what was written is not done again
        prepare(folder, definition, tmp_path / "study")
    read(folder, definition).save(tmp_path / "expected")
    assert files_of(tmp_path / "study") == files_of(tmp_path / "expected")


def interrupted_after(shards: int) -> Callable[..., Any]:
    """What assembles so many shards, and then is broken off."""
    honest, done = reading.assemble, []

    def assemble(*args: Any) -> Any:
        if len(done) == shards:
            raise KeyboardInterrupt
        done.append(1)
        return honest(*args)

    return assemble


def test_what_was_left_of_another_definition_is_not_gone_on_with(
    tmp_path: Path, teaching: tuple[Path, CohortDefinition], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, definition = teaching
    other = replace(definition, blanking_days=20, faulty="drop")
    monkeypatch.setattr(reading, "PATIENTS_KEPT_AT_ONCE", 1)
    with monkeypatch.context() as patch:
        patch.setattr(reading, "assemble", interrupted_after(3))
        with pytest.raises(KeyboardInterrupt):
            prepare(folder, definition, tmp_path / "study")
    prepare(folder, other, tmp_path / "study")
    read(folder, other).save(tmp_path / "expected")
    assert files_of(tmp_path / "study") == files_of(tmp_path / "expected")


def test_one_shard_at_a_time_is_held(
    tmp_path: Path, teaching: tuple[Path, CohortDefinition], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, definition = teaching
    made: list[weakref.ref[Any]] = []
    most, honest = 0, reading.follow

    def watched(events: pl.DataFrame, *args: Any, **settings: Any) -> Any:
        nonlocal most
        most = max(most, sum(each() is not None for each in made))
        followed = honest(events, *args, **settings)
        made.extend([weakref.ref(events), weakref.ref(followed)])
        return followed

    monkeypatch.setattr(reading, "follow", watched)
    prepare(folder, definition, tmp_path / "study")
    assert len(made) == 2 * 2 * 7
    assert most <= 1  # the one before, until the next is there; its events are gone


def test_a_study_is_loaded_with_all_that_made_it(tmp_path: Path, teaching: tuple[Path, CohortDefinition]) -> None:
    folder, definition = teaching
    prepared = prepare(folder, definition, tmp_path / "study")
    loaded = Study.load(tmp_path / "study")
    assert loaded.vocabulary == prepared.vocabulary
    assert loaded.vocabulary is not None
    assert loaded.flow == prepared.flow
    assert isinstance(Cohort.load(tmp_path / "study"), Cohort)


# ------------------------------------------------------------------------------------------------ what the data say


def test_shards_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    shards = {f"train/{number}.parquet": patient(number, "a") for number in (10, 9, 2)}
    shards["train/2.parquet"][-1] = (2, 2, "STROKE")
    study = read(write_meds(tmp_path, shards, splits=dict.fromkeys((2, 9, 10), "train")), EASY)
    assert study.cohort.visits.patient_id.tolist() == [2, 9, 10]
    assert study.flow is not None
    assert study.flow.read == {"files": 3, "records": 6, "patients": 3}


def test_the_vocabulary_knows_training_patients_alone(tmp_path: Path) -> None:
    shards = {"0.parquet": [*patient(1, "a", "b"), *patient(2, "a", "c"), *patient(3, "a", "d", ends="STROKE")]}
    folder = write_meds(tmp_path, shards, splits={1: "train", 2: "tuning", 3: "held_out"})
    study = read(folder, EASY)
    assert study.cohort.visits.schema.codes == ("<padding>", "a", "b", UNKNOWN)
    assert study.cohort.visits.codes.tolist() == [1, 2, 1, 3, 1, 3]
    assert study.split.tolist() == [0, 1, 2]


def test_rare_codes_become_the_nearest_parent_that_enough_patients_have(tmp_path: Path) -> None:
    rows = [
        *patient(1, "I63.9", "x"),
        *patient(2, "I63.8", "x"),
        *patient(3, "I61", "y"),
        *patient(4, "z", ends="STROKE"),
    ]
    codes = {"x": None, "y": None, "I63.9": ["I63"], "I63.8": ["I63"], "I63": ["I60-I69"], "I61": ["I60-I69"]}
    folder = write_meds(tmp_path, {"0.parquet": rows}, splits=dict.fromkeys(range(1, 5), "train"), codes=codes)
    study = read(folder, replace(EASY, min_patients=2))
    # One patient has I61, and three have something of its group; the order is that of the metadata, then of the names.
    assert study.cohort.visits.schema.codes == ("<padding>", "x", "I63", "I60-I69", UNKNOWN)
    three = read(folder, replace(EASY, min_patients=3))
    assert three.cohort.visits.schema.codes == ("<padding>", "I60-I69", UNKNOWN)
    assert three.vocabulary is not None
    assert three.vocabulary.rolled_up["I61"] == "I60-I69"
    assert three.vocabulary.rolled_up["y"] == UNKNOWN


def test_no_code_becomes_a_parent_that_records_the_outcome(tmp_path: Path) -> None:
    rows = [*patient(1, "I63.9"), *patient(2, "I63.8"), *patient(3, "a", ends="STROKE")]
    codes = {"I63.9": ["STROKE"], "I63.8": ["STROKE"], "STROKE": ["circulation"]}
    folder = write_meds(tmp_path, {"0.parquet": rows}, splits=dict.fromkeys(range(1, 4), "train"), codes=codes)
    assert read(folder, replace(EASY, min_patients=2)).cohort.visits.schema.codes == (
        "<padding>",
        "circulation",
        UNKNOWN,
    )


def test_the_split_by_lot_depends_on_the_seed_and_not_on_how_often_it_is_read(tmp_path: Path) -> None:
    rows = [row for subject in range(100) for row in patient(subject, "a", ends="END" if subject else "STROKE")]
    folder = write_meds(tmp_path, {"0.parquet": rows})
    split = read(folder, EASY).split
    assert split.bincount().tolist() == [70, 15, 15]
    assert torch.equal(split, read(folder, EASY).split)
    assert not torch.equal(split, read(folder, replace(EASY, seed=1)).split)


def test_a_table_of_ends_says_until_when_patients_are_followed(tmp_path: Path) -> None:
    rows = [(1, 0, "a"), (2, 0, "a"), (3, 0, "a"), (3, 5, "STROKE")]
    folder = write_meds(tmp_path, {"0.parquet": rows}, splits=dict.fromkeys((1, 2, 3), "train"))
    (tmp_path / "ends.csv").write_text("subject_id,time\n1,1970-01-05\n2,1970-01-03\n")
    ends = pl.DataFrame({"subject_id": [1, 2], "time": [datetime(1970, 1, 5, 6), datetime(1970, 1, 3)]})
    ends.write_parquet(tmp_path / "ends.parquet")
    by_day = read(folder, replace(EASY, end_of_follow_up=f"table:{tmp_path / 'ends.csv'}")).cohort.outcome
    assert by_day.followup_days.tolist() == pytest.approx([5, 3, 5])  # to the end of that day
    by_moment = read(folder, replace(EASY, end_of_follow_up=f"table:{tmp_path / 'ends.parquet'}")).cohort.outcome
    # Midnight is a date, one by one.
    assert by_moment.followup_days.tolist() == pytest.approx([4.25, 3, 5])
    assert by_moment.followup_days[0] == 4.25
    assert by_moment.cause.tolist() == [0, 0, 1]


def test_each_misspelt_name_is_a_warning_that_names_it_and_its_key(tmp_path: Path) -> None:
    shards = {f"{number}.parquet": patient(number, "a", "b") for number in (1, 2)}
    shards["2.parquet"] = patient(2, "a", "c", ends="STROKE")
    folder = write_meds(tmp_path / "meds", shards, splits={1: "train", 2: "train"})
    definition = replace(
        EASY,
        outcome=("STROKE", "STRK"),
        competing=(("MEDS_DEAD",), ("GONE", "AWAY")),
        index=("a", "aa"),
        never_input=("c", "SECRT"),  # one of them is in the second file alone
    )
    study = read(folder, definition)
    assert study.flow is not None
    names = [("STRK", "outcome"), ("MEDS_DEAD", "competing"), ("GONE", "competing"), ("AWAY", "competing")]
    names += [("aa", "index"), ("SECRT", "never_input")]
    expected = [f"no record bears the code {name!r} of {key}: is it written so in the records?" for name, key in names]
    assert list(study.flow.warnings) == expected
    prepared = prepare(folder, definition, tmp_path / "study")
    assert prepared.flow == study.flow


def test_the_flow_says_how_many_have_an_event_after_the_end_of_follow_up(tmp_path: Path) -> None:
    rows = [*patient(1, "a", "b"), (1, 9, "STROKE"), *patient(2, "a"), *patient(3, "a", ends="STROKE")]
    folder = write_meds(tmp_path, {"0.parquet": rows}, splits=dict.fromkeys((1, 2, 3), "train"))
    flow = read(folder, EASY).flow
    assert flow is not None
    assert flow.kept["events"] == 1
    assert flow.kept["censored before an event"] == 1
    assert "1 censored before an event" in repr(flow)


@pytest.mark.parametrize("visit", ["day", "gap:9h", "column:visit"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_unfinished_intervals_are_the_same_from_memory_and_from_shards(
    tmp_path: Path, visit: str, share: float
) -> None:
    shards = {
        "0.parquet": [(1, 0, "a", None, 1), (1, 5, "b", None, 2), (1, 5, "END")],
        "1.parquet": [(2, 0, "a", None, 1), (2, 4, "END"), (2, 5, "b", None, 2)],
        "2.parquet": [(3, 0, "a", None, 1), (3, 4, "STROKE")],
    }
    folder = write_meds(tmp_path / "meds", shards, splits=dict.fromkeys((1, 2, 3), "train"))
    definition = replace(EASY, visit=visit, censored_exposure=share)
    study = read(folder, definition)
    assert study.cohort.outcome.stop.tolist() == [1, 1, 1]
    assert study.cohort.outcome.censored_exposure.tolist() == [1, share, 1]
    assert study.flow is not None
    assert study.flow.kept["unfinished intervals"] == 1
    study.save(tmp_path / "saved")
    prepare(folder, definition, tmp_path / "prepared")
    assert files_of(tmp_path / "prepared") == files_of(tmp_path / "saved")


# ------------------------------------------------------------------------------------------------- new patients


def test_new_patients_are_read_as_the_model_knows_them(tmp_path: Path) -> None:
    rows = [(1, None, "w", 60.0), *patient(1, "a", "b"), (2, None, "w", 80.0), *patient(2, "a", ends="STROKE")]
    folder = write_meds(tmp_path / "old", {"0.parquet": rows}, splits={1: "train", 2: "train"})
    trained = read(folder, EASY)
    rows = [
        *[(7, 0, "a"), (7, 3, "new")],
        *[(8, None, "w", 70.0), (8, 0, "b"), (8, 1, "STROKE"), (8, 2, "b")],
        *[(9, 1, "b"), (9, 2, "MEDS_DEATH"), (9, 3, "b")],
    ]
    folder = write_meds(tmp_path / "new", {"0.parquet": rows})
    study = read(folder, EASY, vocabulary=trained.vocabulary, predict=True)
    cohort = study.cohort
    assert cohort.visits.schema == trained.cohort.visits.schema
    assert cohort.visits.patient_id.tolist() == [7, 8, 9]
    assert [cohort.visits.schema.codes[code] for code in cohort.visits.codes] == ["a", UNKNOWN, "b", "b"]
    assert cohort.visits.static.tolist() == [[70.0], [70.0], [70.0]]  # 70 is the mean of 60 and 80
    assert cohort.outcome.stop.tolist() == [2, 1, 1]
    assert not cohort.outcome.observed.any()
    assert bool(cohort.outcome.followup_days.isnan().all())
    assert study.split.tolist() == [2, 2, 2]
    prepare(folder, EASY, tmp_path / "out", vocabulary=trained.vocabulary, predict=True)
    study.save(tmp_path / "saved")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "saved")


def test_a_forecast_needs_the_vocabulary_of_the_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^predict is true and no vocabulary is given; expected that of the trained"):
        read(tmp_path, EASY, predict=True)
