"""What a MEDS folder can have wrong with it: a sentence that names file and subject, or the right result.

Whatever happens, nothing half-written lies where the study was to be.
"""

import re
import resource
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.test_meds_reading import EASY, files_of, interrupted_after, patient, write_meds
from visitwise.cohort import Cohort
from visitwise.meds import prepare, read, reading

pytestmark = pytest.mark.usefixtures("unchecked")

ALL_TRAIN = dict.fromkeys(range(1, 10), "train")
GOOD = {
    "0.parquet": [*patient(1, "a", "b"), *patient(2, "a", ends="STROKE")],
    "1.parquet": [*patient(3, "b", "a", ends="STROKE"), *patient(4, "a")],
}


def good(folder: Path) -> Path:
    return write_meds(folder, GOOD, splits=ALL_TRAIN)


def rewrite(folder: Path, change: Callable[[pl.DataFrame], pl.DataFrame], name: str = "1.parquet") -> Path:
    """The good dataset with one shard changed."""
    path = good(folder) / "data" / name
    change(pl.read_parquet(path)).write_parquet(path)
    return folder


def assert_refused(folder: Path, sentence: str, kind: type[Exception] = ValueError, **changes: Any) -> None:
    """Both ways of reading say this, and leave nothing behind."""
    definition = replace(EASY, **changes)
    with pytest.raises(kind, match=f"^{sentence}$"):
        read(folder, definition)
    before = sorted(folder.parent.iterdir())
    with pytest.raises(kind, match=f"^{sentence}$"):
        prepare(folder, definition, folder.parent / "out")
    assert sorted(folder.parent.iterdir()) == before


# -------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("size", [0, 3, 200, -1])
def test_a_truncated_or_empty_file_is_named(tmp_path: Path, size: int) -> None:
    path = good(tmp_path / "meds") / "data" / "1.parquet"
    path.write_bytes(path.read_bytes()[:size])
    assert_refused(tmp_path / "meds", f"{re.escape(str(path))} cannot be read: .*; expected a whole Parquet file")


def test_a_file_that_is_broken_inside_is_named(tmp_path: Path) -> None:
    path = good(tmp_path / "meds") / "data" / "1.parquet"
    content = bytearray(path.read_bytes())
    content[4:60] = bytes(56)
    path.write_bytes(bytes(content))
    assert_refused(tmp_path / "meds", f"{re.escape(str(path))} cannot be read: .*; expected a whole Parquet file")


def test_a_file_without_records_is_read_as_none(tmp_path: Path) -> None:
    folder = good(tmp_path / "meds")
    expected = read(folder, EASY)
    pl.read_parquet(folder / "data" / "0.parquet").clear().write_parquet(folder / "data" / "2.parquet")
    study = read(folder, EASY)
    assert study.flow is not None
    assert expected.flow is not None
    assert study.flow.read == {**expected.flow.read, "files": 3}
    assert study.cohort.visits.codes.tolist() == expected.cohort.visits.codes.tolist()
    prepare(folder, EASY, tmp_path / "out")
    study.save(tmp_path / "saved")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "saved")


def test_stray_files_are_told_and_not_read(tmp_path: Path) -> None:
    folder = good(tmp_path / "meds")
    for name in ("notes on codes.txt", ".DS_Store", "_SUCCESS", ".ipynb_checkpoints/0.parquet", "_tmp/0.parquet"):
        (folder / "data" / name).parent.mkdir(exist_ok=True)
        (folder / "data" / name).write_text("nothing to see")
    (folder / "labels.parquet").write_text("not under data/")
    flow = read(folder, EASY).flow
    assert flow is not None
    assert flow.warnings == ("1 other file in data/ was not read: 'notes on codes.txt'",)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (lambda folder: (folder / "data").rename(folder / "date"), "holds no folder data; expected a MEDS dataset"),
        (
            lambda folder: [path.unlink() for path in (folder / "data").iterdir()],
            "holds no Parquet file; expected the events of a MEDS dataset",
        ),
    ],
)
def test_a_folder_without_events_is_no_dataset(tmp_path: Path, broken: Callable[[Path], object], sentence: str) -> None:
    broken(good(tmp_path / "meds"))
    assert_refused(tmp_path / "meds", f".*meds.* {sentence}", FileNotFoundError)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.drop("subject_id"), "has no column subject_id; expected whole numbers .*"),
        (lambda t: t.cast({"subject_id": pl.String}), "has String in the column subject_id; expected whole numbers .*"),
        (lambda t: t.cast({"subject_id": pl.Float64}), "has Float64 in the column subject_id; expected whole .*"),
        (lambda t: t.drop("time"), "has no column time; expected one with datetimes in microseconds .*"),
        (lambda t: t.cast({"time": pl.Date}), "has Date in the column time; expected datetimes .*"),
        (lambda t: t.cast({"time": pl.String}), "has String in the column time; expected datetimes .*"),
        (lambda t: t.cast({"time": pl.Int64}), "has Int64 in the column time; expected datetimes .*"),
        (
            lambda t: t.with_columns(pl.col("time").dt.replace_time_zone("Europe/Berlin")),
            r"has Datetime\(.*Europe/Berlin.*\) in the column time; expected datetimes in microseconds without .*zone",
        ),
        (lambda t: t.with_columns(code=pl.lit(5)), "has Int32 in the column code; expected text"),
        (
            lambda t: t.with_columns(numeric_value=pl.lit("high")),
            "has String in the column numeric_value; expected numbers",
        ),
    ],
)
def test_a_column_of_the_wrong_type_is_named(
    tmp_path: Path, change: Callable[[pl.DataFrame], pl.DataFrame], sentence: str
) -> None:
    folder = rewrite(tmp_path / "meds", change)
    assert_refused(folder, f"{re.escape(str(folder))}/data/1.parquet {sentence}")


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.cast({"time": pl.Datetime("ms"), "subject_id": pl.UInt16, "numeric_value": pl.Float64}),
        lambda t: t.cast({"time": pl.Datetime("ns"), "subject_id": pl.Int32, "code": pl.Categorical}),
        lambda t: t.drop("numeric_value", "visit").with_columns(text_value=pl.lit("x"), unit=pl.lit(3)),
    ],
)
def test_types_that_lose_nothing_are_taken(tmp_path: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    expected = read(good(tmp_path / "good"), EASY)
    expected.save(tmp_path / "expected")
    read(rewrite(tmp_path / "meds", change), EASY).save(tmp_path / "changed")
    assert files_of(tmp_path / "changed") == files_of(tmp_path / "expected")


# -------------------------------------------------------------------------------------------- subjects in their order


@pytest.mark.parametrize(
    ("shards", "sentence"),
    [
        (
            [[(5, 3, "a"), (5, 1, "a")]],
            "/data/0.parquet: subject 5 has a record of 1970-01-02 .* after a later one; .*",
        ),
        (
            [[(5, 3, "a"), (5, None, "x"), (5, 1, "a")]],
            "/data/0.parquet: subject 5 has a record of 1970-01-02 .* after a later one; .*",
        ),
        (
            [[(5, 1, "a"), (6, 1, "a"), (5, 2, "a")]],
            "/data/0.parquet: the records of subject 5 are not together; expected them in one stretch",
        ),
        (
            [[(5, 1, "a")], [(6, 1, "a"), (5, 2, "a")]],
            r"subject 5 is in .*/data/0\.parquet and in .*/data/1\.parquet; expected each subject in one file",
        ),
        ([[(None, 1, "a")]], "/data/0.parquet has 1 records without a subject_id; expected one in each"),
        ([[(5, 1, None)]], "/data/0.parquet: subject 5 has a record without a code; expected one in each"),
    ],
)
def test_what_the_validator_of_meds_lets_through_is_refused(
    tmp_path: Path, shards: list[list[tuple[Any, ...]]], sentence: str
) -> None:
    folder = write_meds(tmp_path / "meds", {f"{i}.parquet": rows for i, rows in enumerate(shards)}, splits=ALL_TRAIN)
    prefix = "" if sentence.startswith("subject") else re.escape(str(folder))
    assert_refused(folder, prefix + sentence)


# ----------------------------------------------------------------------------------- records that contradict themselves


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([(7, None, "STROKE"), (7, 0, "a")], "has STROKE without a time; expected one"),
        ([(7, None, "END"), (7, 0, "a")], "has END without a time; expected one"),
        ([(7, None, "MEDS_BIRTH"), (7, 0, "a")], "has MEDS_BIRTH without a time; expected one"),
        ([(7, None, "MEDS_DEATH//x"), (7, 0, "a")], "has MEDS_DEATH//x without a time; expected one"),
        ([(7, 0, "a", float("inf"))], "has the value inf for a; expected a finite number"),
        ([(7, 0, "a", float("-inf"))], "has the value -inf for a; expected a finite number"),
        (
            [(7, 0, "a"), (7, 9, "MEDS_BIRTH")],
            "is born on 1970-01-10, after the first record on 1970-01-01; expected it before",
        ),
        ([(7, -9, "MEDS_BIRTH"), (7, -8, "MEDS_BIRTH"), (7, 0, "a")], "has 2 different times of birth; expected one"),
        ([(7, 0, "a")], "has neither an event (STROKE) nor an end of follow-up (code:END); expected one of them"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused_by_name_or_dropped_and_counted(
    tmp_path: Path, rows: list[tuple[Any, ...]], fault: str
) -> None:
    rows = rows if "neither" in fault else [*rows, (7, 20, "END")]
    folder = write_meds(tmp_path / "meds", {**GOOD, "2.parquet": rows}, splits=ALL_TRAIN)
    sentence = f"{folder}/data/2.parquet: subject 7 {fault} (or faulty = 'drop' in the definition)"
    assert_refused(folder, re.escape(sentence))
    study = read(folder, replace(EASY, faulty="drop"))
    assert study.cohort.visits.patient_id.tolist() == [1, 2, 3, 4]
    assert study.flow is not None
    assert list(study.flow.excluded.values()) == [1]


def test_a_birth_at_the_first_record_is_no_contradiction(tmp_path: Path) -> None:
    rows = [(7, 0, "MEDS_BIRTH"), *patient(7, "a")]
    folder = write_meds(tmp_path / "meds", {**GOOD, "2.parquet": rows}, splits=ALL_TRAIN)
    static = read(folder, EASY).cohort.visits
    assert static.schema.static == ("age", "age known")
    assert static.static[:, 1].tolist() == [0, 0, 0, 0, 1]


def test_records_after_death_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = [(7, 0, "a"), (7, 3, "MEDS_DEATH"), (7, 5, "b"), (7, 6, "STROKE"), (7, 8, "END")]
    folder = write_meds(tmp_path / "meds", {**GOOD, "2.parquet": rows}, splits=ALL_TRAIN)
    study = read(folder, EASY)
    outcome = study.cohort.outcome
    assert (int(outcome.stop[4]), int(outcome.cause[4])) == (1, 0)
    assert float(outcome.followup_days[4]) == pytest.approx(4, abs=1e-9)  # to the end of the day of the death
    assert study.flow is not None
    assert study.flow.dropped["after the death"] == 1
    assert any("MEDS_DEATH is no cause of the definition" in warning for warning in study.flow.warnings)
    competing = read(folder, replace(EASY, competing=(("MEDS_DEATH",),)))
    assert competing.cohort.outcome.cause.tolist() == [0, 1, 1, 0, 2]
    assert competing.flow is not None
    assert competing.flow.warnings == ()


def test_equal_rows_are_counted_and_change_nothing(tmp_path: Path) -> None:
    folder = good(tmp_path / "good")
    expected = read(folder, EASY)
    twice = rewrite(tmp_path / "meds", lambda t: pl.concat([t, t]).sort("subject_id", "time", maintain_order=True))
    study = read(twice, EASY)
    assert files_of_arrays(study.cohort, tmp_path / "a") == files_of_arrays(expected.cohort, tmp_path / "b")
    assert study.flow is not None
    assert study.flow.dropped["equal to another record"] == 3


def files_of_arrays(cohort: Cohort, folder: Path) -> dict[str, bytes]:
    cohort.save(folder)
    return files_of(folder)


# ------------------------------------------------------------------------------------------------ outcomes and sizes


def test_an_outcome_that_never_occurs_is_refused_by_its_name(tmp_path: Path) -> None:
    folder = good(tmp_path / "meds")
    nobody = r".*subject 2 has neither an event \(STRK\) nor an end of follow-up \(code:END\); .*"
    assert_refused(folder, nobody, outcome=("STRK",))
    assert_refused(folder, "no record bears the index's code 'X' or 'Y'; expected some", index=("X", "Y"))
    changes = {"end_of_follow_up": "date:1970-02-01", "outcome": ("STRK",)}
    assert_refused(folder, "no record bears the outcome's code 'STRK'; expected some", **changes)
    changes = {"end_of_follow_up": "code:FIN", "faulty": "drop"}
    assert_refused(folder, "no record bears the end of follow-up's code 'FIN'; expected some", **changes)


def test_an_outcome_that_occurs_too_late_for_anybody_is_told(tmp_path: Path) -> None:
    flow = read(good(tmp_path / "meds"), replace(EASY, end_of_follow_up="date:1970-01-02T06:00")).flow
    assert flow is not None
    assert flow.warnings == ("nobody who is kept has the event: there is nothing to learn from",)


def test_an_outcome_that_everybody_has_is_told(tmp_path: Path) -> None:
    rows = [*patient(1, "a", ends="STROKE"), *patient(2, "b", ends="STROKE"), *patient(3, "b", ends="STROKE")]
    folder = write_meds(tmp_path / "meds", {"0.parquet": rows}, splits=ALL_TRAIN)
    study = read(folder, replace(EASY, end_of_follow_up="last record"))
    assert study.cohort.outcome.cause.tolist() == [1, 1, 1]
    assert study.flow is not None
    assert "every patient who is kept has the event: nobody shows what it is to go without" in study.flow.warnings


def test_an_outcome_that_everybody_had_before_leaves_nobody_and_says_why(tmp_path: Path) -> None:
    rows = [(1, 0, "STROKE"), (1, 1, "a"), (1, 2, "END"), (2, 0, "a"), (2, 0, "STROKE"), (2, 2, "END"), (3, 1, "END")]
    folder = write_meds(tmp_path / "meds", {"0.parquet": rows}, splits=ALL_TRAIN)
    reasons = "1 for 'no visit', 2 for 'the event at the start, or before it'"
    assert_refused(folder, f"none of 3 patients is left: {reasons}; expected at least one")


def test_one_patient_is_enough_if_the_data_say_that_he_trains(tmp_path: Path) -> None:
    folder = write_meds(tmp_path / "meds", {"0.parquet": patient(1, "a", "b", ends="STROKE")}, splits={1: "train"})
    assert read(folder, EASY).cohort.outcome.cause.tolist() == [1]
    (folder / "metadata" / "subject_splits.parquet").unlink()
    assert_refused(folder, r"1 patients are too few for parts of .*; expected one in each")


def test_without_a_training_patient_there_is_no_vocabulary(tmp_path: Path) -> None:
    folder = write_meds(tmp_path / "meds", GOOD, splits=dict.fromkeys(range(1, 5), "tuning"))
    assert_refused(folder, "none of the 4 patients who are left is a training patient; expected at least one")


@pytest.mark.parametrize(
    ("splits", "sentence"),
    [
        ({1: "train", 2: "train", 3: "train"}, "has no split for subject 4; expected one of train, tuning, held_out"),
        ({**ALL_TRAIN, 2: "test"}, "has the split 'test' for subject 2; expected one of train, tuning, held_out"),
    ],
)
def test_a_subject_without_a_split_is_named(tmp_path: Path, splits: dict[int, str], sentence: str) -> None:
    folder = write_meds(tmp_path / "meds", GOOD, splits=splits)
    assert_refused(folder, f".*/metadata/subject_splits.parquet {sentence}")


def test_a_very_long_record_of_one_subject_passes(tmp_path: Path) -> None:
    n = 200_000
    rows = pl.DataFrame({"minute": range(n)}).select(
        subject_id=pl.lit(1, pl.Int64),
        time=pl.from_epoch(pl.col("minute") * 60, "s").cast(pl.Datetime("us")),
        code=pl.format("c{}", pl.col("minute") % 7),
    )
    end = pl.DataFrame({"subject_id": [1], "time": [datetime(1980, 1, 1)], "code": ["STROKE"]})
    folder = write_meds(tmp_path / "meds", {"0.parquet": patient(1, "a")}, splits={1: "train"})
    pl.concat([rows, end.cast({"time": pl.Datetime("us")})]).write_parquet(folder / "data" / "0.parquet")
    study = read(folder, replace(EASY, end_of_follow_up="date:1990-01-01"))
    assert study.cohort.visits.n_visits == n // 1440 + 1
    assert study.cohort.visits.codes.shape == ((n // 1440 + 1) * 7,)


@pytest.mark.parametrize("code", ["Herz Kreislauf", "脳卒中", "a/b", "x//y//z", "émile\nnew line", " ", "🫀", "'\"\\"])
def test_codes_with_spaces_and_of_any_script_are_names_like_others(tmp_path: Path, code: str) -> None:
    rows = [*patient(1, code, "b"), *patient(2, "b", ends="STROKE")]
    folder = write_meds(tmp_path / "mit Leerzeichen ü [1]", {"0.parquet": rows}, splits=ALL_TRAIN)
    prepared = prepare(folder, EASY, tmp_path / "out")
    assert code in prepared.cohort.visits.schema.codes
    write_meds(folder, {"0.parquet": [*patient(1, "b", code), *patient(2, "b", "a")]})
    study = read(folder, replace(EASY, outcome=(code,)))
    assert study.cohort.outcome.cause.tolist() == [1, 0]
    assert study.cohort.visits.schema.codes[1:-1] == ("a", "b")


# ---------------------------------------------------------------------------------------------------- where to write


def test_a_folder_that_exists_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match=r"out exists; choose another folder or remove it$"):
        prepare(good(tmp_path / "meds"), EASY, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_where_nobody_may_write_it_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = good(tmp_path / "meds")
    monkeypatch.setattr(reading.os, "access", lambda path, mode: Path(path) != tmp_path)
    monkeypatch.setattr(reading, "follow", None)
    with pytest.raises(PermissionError, match=rf"out cannot be written: no permission to write in {tmp_path}$"):
        prepare(folder, EASY, tmp_path / "new" / "out")
    with pytest.raises(NotADirectoryError, match=r"0.parquet is a file; expected a folder$"):
        prepare(folder, EASY, folder / "data" / "0.parquet" / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["meds"]


def test_a_full_disk_is_told_and_the_next_run_ends_the_work(tmp_path: Path) -> None:
    rows = [row for subject in range(1, 900) for row in patient(subject, "a", "b", "a", "b")]
    rows[-1] = (*rows[-1][:2], "STROKE")
    folder = write_meds(tmp_path / "meds", {"0.parquet": rows}, splits=dict.fromkeys(range(1, 900), "train"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match=f"no room left for {tmp_path / 'out'} on its disk"):
            prepare(folder, EASY, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "out").exists()
    prepare(folder, EASY, tmp_path / "out")
    read(folder, EASY).save(tmp_path / "expected")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "expected")


def test_a_shard_that_changes_while_it_is_read_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = good(tmp_path / "meds")
    monkeypatch.setattr(reading, "PATIENTS_KEPT_AT_ONCE", 1)
    with monkeypatch.context() as patch:
        patch.setattr(reading, "assemble", interrupted_after(1))
        with pytest.raises(KeyboardInterrupt):
            prepare(folder, EASY, tmp_path / "out")
    rows = [*patient(3, "b", "c", ends="STROKE"), *patient(4, "c")]
    write_meds(folder, {"1.parquet": rows})
    prepare(folder, EASY, tmp_path / "out")
    read(folder, EASY).save(tmp_path / "expected")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "expected")


# -------------------------------------------------------------------------------------------------- the table of ends


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("subject_id,when\n1,1970-01-09\n", "has no column time; expected subject_id and time"),
        ("subject_id,time\n1,soon\n", "has String in the column time; expected dates, or datetimes .*"),
        ("subject_id,time\nAnna,1970-01-09\n", "has String in the column subject_id; expected whole numbers"),
        ("subject_id,time\n1,1970-01-09\n1,1970-01-10\n", "has subject 1 twice; expected each once"),
        ("", "cannot be read: .*; expected a table with a header"),
    ],
)
def test_a_table_of_ends_that_cannot_be_meant_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "ends.csv"
    path.write_text(text)
    assert_refused(good(tmp_path / "meds"), f"{path} {sentence}", end_of_follow_up=f"table:{path}")


def test_a_table_of_ends_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "ends.csv"
    sentence = f"there is no {missing}; expected the table of ends that the definition names"
    assert_refused(good(tmp_path / "meds"), sentence, FileNotFoundError, end_of_follow_up=f"table:{missing}")
