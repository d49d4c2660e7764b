"""What is written as MEDS: `meds`' own validators accept every file, what cannot be said is refused, all or nothing."""

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import meds
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch

from tests.cohorts import random_cohort
from visitwise.cohort import Cohort, Outcome
from visitwise.definition import CohortDefinition
from visitwise.meds import names, writing
from visitwise.meds.writing import draw_meds, labels_of, write_cohort, write_labels, write_parquet
from visitwise.simulate import NO_MEMORY, TEACHING, Simulator
from visitwise.study import SPLITS, Study
from visitwise.visits import Schema, Visits


def shards(folder: Path) -> list[Path]:
    return sorted((folder / "data").rglob("*.parquet"))


def events(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in shards(folder)])


def one_patient(**changes: Any) -> Cohort:
    """Three visits, the second without a code, and the event on day 45, before the third."""
    schema = Schema.of(["grippe légère", "pain"], static=["age"], measurements=["weight"])
    visits = Visits.from_lists(
        [[["pain", "grippe légère"], [], ["pain"]]],
        day=[[0, 30, 60]],
        patient_id=[7],
        schema=schema,
        static=[[61.5]],
        measurements=[[[70.25], [float("nan")], [71.0]]],
    )
    given = {"start": [0], "stop": [2], "cause": [1], "censored_exposure": [1.0], "followup_days": [45.0]}
    types = {"censored_exposure": torch.float32, "followup_days": torch.float64}
    outcome = {name: torch.tensor(value, dtype=types.get(name)) for name, value in (given | changes).items()}
    return Cohort(visits, Outcome(**outcome))


def write_one(folder: Path, cohort: Cohort | None = None, **settings: Any) -> pl.DataFrame:
    settings = {"outcome_code": "EVENT", "splits": torch.zeros(1, dtype=torch.int8)} | settings
    write_cohort(cohort or one_patient(), folder, **settings)
    return events(folder)


# --------------------------------------------------------------------------------------------------------------- names


def test_the_names_are_those_of_the_meds_package() -> None:
    assert meds.data_subdirectory == names.DATA_FOLDER
    assert meds.code_metadata_filepath == names.CODES_FILE
    assert meds.subject_splits_filepath == names.SPLITS_FILE
    assert meds.dataset_metadata_filepath == names.DATASET_FILE
    assert (meds.birth_code, meds.death_code) == (names.BIRTH_CODE, names.DEATH_CODE)
    assert (meds.train_split, meds.tuning_split, meds.held_out_split) == SPLITS
    assert list(meds.DataSchema.schema().names) == [
        names.SUBJECT,
        names.TIME,
        names.CODE,
        names.NUMERIC_VALUE,
        names.TEXT_VALUE,
    ]
    assert list(meds.CodeMetadataSchema.schema().names) == [names.CODE, names.DESCRIPTION, names.PARENT_CODES]
    assert list(meds.SubjectSplitSchema.schema().names) == [names.SUBJECT, names.SPLIT]


@pytest.mark.parametrize(
    ("types", "schema"), [(names.DATA_TYPES, meds.DataSchema), (names.LABEL_TYPES, meds.LabelSchema)]
)
def test_the_types_are_those_of_the_meds_package(types: dict[str, pl.DataType], schema: Any, tmp_path: Path) -> None:
    write_parquet(pl.DataFrame(schema=types), tmp_path / "empty.parquet")
    found = pq.read_schema(tmp_path / "empty.parquet")
    assert {name: found.field(name).type for name in types} == {
        name: schema.schema().field(name).type for name in types
    }


def test_without_polars_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"package polars.*pip install 'visitwise\[meds\]'") as caught:
        names.require_polars()
    assert caught.value.name == "polars"


# ---------------------------------------------------------------------------------------------------------- validators


@pytest.fixture(scope="module")
def teaching(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, Path, CohortDefinition]:
    cohort = TEACHING.draw(300, seed=3).cohort
    folder = tmp_path_factory.mktemp("written") / "teaching"
    return cohort, folder, write_cohort(cohort, folder, outcome_code="EVENT", shard_patients=100)


def test_meds_accepts_every_file_as_it_lies_on_the_disk(teaching: tuple[Cohort, Path, CohortDefinition]) -> None:
    _, folder, _ = teaching
    for path in shards(folder):
        meds.DataSchema.validate(pq.read_table(path))
    meds.CodeMetadataSchema.validate(pq.read_table(folder / meds.code_metadata_filepath))
    meds.SubjectSplitSchema.validate(pq.read_table(folder / meds.subject_splits_filepath))
    meds.DatasetMetadataSchema.validate(json.loads((folder / meds.dataset_metadata_filepath).read_text()))


def test_the_testing_helpers_of_meds_read_the_dataset(teaching: tuple[Cohort, Path, CohortDefinition]) -> None:
    from meds_testing_helpers.dataset import MEDSDataset

    _, folder, _ = teaching
    dataset = MEDSDataset(root_dir=folder)
    assert sum(len(shard) for shard in dataset.data_shards.values()) == len(events(folder))
    assert dataset.dataset_metadata.etl_name == "visitwise"
    assert len(dataset.subject_splits) == 300


def test_without_the_footers_note_hidden_meds_would_refuse(tmp_path: Path) -> None:
    pl.DataFrame({"subject_id": [1], "split": ["train"]}).write_parquet(tmp_path / "polars.parquet")
    with pytest.raises(Exception, match="large_string"):
        meds.SubjectSplitSchema.validate(pq.read_table(tmp_path / "polars.parquet"))


def test_a_text_that_bears_the_name_of_the_note_is_left_alone(tmp_path: Path) -> None:
    frame = pl.DataFrame({"code": ["ARROW:schema", "pain"]})
    write_parquet(frame, tmp_path / "codes.parquet")
    assert pl.read_parquet(tmp_path / "codes.parquet").equals(frame)
    assert pq.read_table(tmp_path / "codes.parquet").column("code").to_pylist() == ["ARROW:schema", "pain"]


WITHOUT_PYARROW = """
import sys
sys.modules["pyarrow"] = sys.modules["meds"] = None
from visitwise.meds import labels_of, prepare, read, write_cohort, write_labels
from visitwise.simulate import TEACHING
simulation = TEACHING.draw(100, seed=0)
definition = write_cohort(simulation, "meds", outcome_code="EVENT")
write_labels(simulation.cohort, simulation.hazard, "hazards.parquet")
labels_of(read("meds", definition)).write_parquet("labels.parquet")
print(prepare("meds", definition, "study"))
"""


def test_neither_pyarrow_nor_meds_is_needed_to_read_and_write(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_PYARROW], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    assert said.startswith("Study(100 patients")


def test_subjects_stand_together_in_one_file_by_time(teaching: tuple[Cohort, Path, CohortDefinition]) -> None:
    _, folder, _ = teaching
    seen: set[int] = set()
    for path in shards(folder):
        shard = pl.read_parquet(path)
        subjects = shard["subject_id"].rle().struct.field("value").to_list()
        assert len(set(subjects)) == len(subjects) <= 100
        assert seen.isdisjoint(subjects)
        seen.update(subjects)
        for _, rows in shard.group_by("subject_id", maintain_order=True):
            assert rows["time"].is_sorted()
    assert len(seen) == 300


def test_every_code_is_described_once_and_in_the_order_of_the_schema(
    teaching: tuple[Cohort, Path, CohortDefinition],
) -> None:
    cohort, folder, _ = teaching
    codes = pl.read_parquet(folder / meds.code_metadata_filepath)["code"].to_list()
    schema = cohort.visits.schema
    assert codes[: len(schema.codes) + 1] == [*schema.codes[1:], *schema.static]
    assert len(set(codes)) == len(codes)
    assert set(events(folder)["code"]) <= set(codes)


def test_the_split_is_that_of_a_study_and_that_of_the_folders(teaching: tuple[Cohort, Path, CohortDefinition]) -> None:
    cohort, folder, _ = teaching
    splits = pl.read_parquet(folder / meds.subject_splits_filepath)
    assert splits["subject_id"].to_list() == cohort.visits.patient_id.tolist()
    assert splits["split"].to_list() == [SPLITS[part] for part in Study.of(cohort).split.tolist()]
    of_subject = dict(splits.iter_rows())
    for path in shards(folder):
        assert {of_subject[who] for who in pl.read_parquet(path)["subject_id"].unique()} == {path.parent.name}


def test_the_definition_lies_beside_the_data(teaching: tuple[Cohort, Path, CohortDefinition]) -> None:
    _, folder, definition = teaching
    assert CohortDefinition.load(folder / "definition.toml") == definition
    assert definition == CohortDefinition(
        ("EVENT",),
        "code:END_OF_FOLLOWUP",
        visit="column:encounter_id",
        censored_exposure=1,
        min_patients=1,
        measurements=(),
    )


def test_the_same_cohort_gives_the_same_bytes(teaching: tuple[Cohort, Path, CohortDefinition], tmp_path: Path) -> None:
    cohort, folder, _ = teaching
    again = tmp_path / "teaching"
    write_cohort(cohort, again, outcome_code="EVENT", shard_patients=100)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((folder / name).read_bytes() == (again / name).read_bytes() for name in files)


# ---------------------------------------------------------------------------------------------------------------- rows


def test_a_patient_becomes_rows_by_time(tmp_path: Path) -> None:
    rows = write_one(tmp_path / "one", start=datetime(2020, 2, 1, 9, 30))
    first, second, third = datetime(2020, 2, 1, 9, 30), datetime(2020, 3, 2, 9, 30), datetime(2020, 4, 1, 9, 30)
    assert rows.columns == ["subject_id", "time", "code", "numeric_value", "encounter_id"]
    assert rows.rows() == [
        (7, None, "age", 61.5, None),
        (7, first, "ENCOUNTER", None, 0),
        (7, first, "pain", None, 0),
        (7, first, "grippe légère", None, 0),
        (7, first, "weight", 70.25, 0),
        (7, second, "ENCOUNTER", None, 1),
        (7, datetime(2020, 3, 17, 9, 30), "EVENT", None, None),
        (7, third, "ENCOUNTER", None, 2),
        (7, third, "pain", None, 2),
        (7, third, "weight", 71.0, 2),
    ]


@pytest.mark.parametrize(("cause", "code"), [(0, "LOST"), (1, "EVENT")])
def test_a_patient_ends_with_the_event_or_with_the_end_of_follow_up(tmp_path: Path, cause: int, code: str) -> None:
    rows = write_one(tmp_path / "one", one_patient(cause=[cause]), end_code="LOST")
    assert rows.filter(pl.col("code").is_in(["LOST", "EVENT"]))["code"].to_list() == [code]


def test_a_second_cause_has_a_code_of_its_own(tmp_path: Path) -> None:
    rows = write_one(tmp_path / "one", one_patient(cause=[2]))
    assert rows.filter(pl.col("code").str.starts_with("EVENT"))["code"].to_list() == ["EVENT//2"]
    definition = CohortDefinition.load(tmp_path / "one" / "definition.toml")
    assert (definition.outcome, definition.competing) == (("EVENT",), (("EVENT//2",),))


def test_history_is_marked_where_follow_up_starts(tmp_path: Path) -> None:
    rows = write_one(tmp_path / "one", one_patient(start=[1]))
    assert rows.filter(pl.col("code") == "START_OF_FOLLOWUP")["encounter_id"].to_list() == [1]
    definition = CohortDefinition.load(tmp_path / "one" / "definition.toml")
    assert definition.index == definition.never_input == ("START_OF_FOLLOWUP",)


def test_an_event_at_the_time_of_a_later_visit_stands_behind_its_rows(tmp_path: Path) -> None:
    rows = write_one(tmp_path / "one", one_patient(followup_days=[60.0]))
    assert rows["code"].to_list()[-4:] == ["ENCOUNTER", "pain", "weight", "EVENT"]


def test_an_event_a_moment_after_a_visit_stays_after_it(tmp_path: Path) -> None:
    rows = write_one(tmp_path / "one", one_patient(followup_days=[30.0 + 1e-12]))
    visit, event = rows.filter(pl.col("code").is_in(["ENCOUNTER", "EVENT"]))["time"].to_list()[1:3]
    assert (event - visit).microseconds == 1


def test_an_interval_that_nobody_saw_to_its_end_has_no_label() -> None:
    for changes, labels in (
        ({"cause": [0]}, [False, False]),
        ({"cause": [0], "censored_exposure": [0.5]}, [False]),
        ({"censored_exposure": [0.5]}, [False, True]),  # it ends with the event
    ):
        assert labels_of(one_patient(**changes))["boolean_value"].to_list() == labels


def test_a_study_with_dates_keeps_them(tmp_path: Path) -> None:
    origin = torch.tensor([1_234_567_890_123_456])
    study = Study(one_patient(), torch.tensor([2]), origin)
    write_cohort(study, tmp_path / "dated", outcome_code="EVENT")
    assert [path.parent.name for path in shards(tmp_path / "dated")] == ["held_out"]
    assert events(tmp_path / "dated")["time"].to_physical()[1] == 1_234_567_890_123_456
    assert labels_of(study)["prediction_time"].to_physical()[0] == 1_234_567_890_123_456


# -------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"followup_days": [float("nan")]}, "patient 7 has nan followup_days; MEDS expects the time"),
        (
            {"cause": [0], "censored_exposure": [0.5], "followup_days": [60.0]},  # until the next visit, so to the end
            "patient 7 has the censored exposure 0.5, and follow-up that ends with a visit; expected 1.0: its time",
        ),
        ({"followup_days": [30.0]}, "patient 7 is followed for 30.0 days; expected more than its last row.*day 30.0"),
        ({"followup_days": [60.5]}, "patient 7 is followed for 60.5 days, beyond the first visit that.*day 60.0"),
    ],
)
def test_what_meds_cannot_say_is_refused_by_patient(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_one(tmp_path / "one", one_patient(**changes))
    assert list(tmp_path.iterdir()) == []


def test_the_share_of_an_interval_that_ends_in_an_event_does_not_matter(tmp_path: Path) -> None:
    write_one(tmp_path / "one", one_patient(censored_exposure=[0.5]))


def test_censored_patients_who_count_for_different_shares_are_refused(tmp_path: Path) -> None:
    changes = {"cause": [0], "censored_exposure": [0.5]}
    other = one_patient(**changes | {"censored_exposure": [0.25]})
    other = Cohort(replace(other.visits, patient_id=torch.tensor([8])), other.outcome)
    both = Cohort.concat([one_patient(**changes), other])
    with pytest.raises(ValueError, match=r"patient 8 has the censored exposure 0.25; expected 0.5: MEDS has no word"):
        write_one(tmp_path / "both", both, splits=torch.zeros(2, dtype=torch.int8))
    assert list(tmp_path.iterdir()) == []


def test_two_visits_within_a_microsecond_are_refused(tmp_path: Path) -> None:
    visits = replace(one_patient().visits, day=torch.tensor([0.0, 1e-12, 60.0], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"patient 7 has two visits within a microsecond, on day 1e-12"):
        write_one(tmp_path / "one", Cohort(visits, one_patient().outcome))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "code", ["EVENT", "EVENT//early", "EVENT of note", "ENCOUNTER", "END_OF_FOLLOWUP", "MEDS_DEATH", "MEDS_BIRTH//x"]
)
def test_a_code_with_another_meaning_in_the_dataset_is_refused(tmp_path: Path, code: str) -> None:
    visits = Visits.from_lists([[[code]]], day=[[0]])
    cohort = Cohort(visits, replace(one_patient().outcome, stop=torch.tensor([1])))
    with pytest.raises(ValueError, match=f"the cohort has the code {code!r}, which .* stands for"):
        write_one(tmp_path / "one", cohort)


def test_a_code_with_the_name_of_a_feature_is_refused(tmp_path: Path) -> None:
    visits = Visits.from_lists([[["age"]]], day=[[0]], schema=Schema.of(["age"], static=["age"]), static=[[1.0]])
    cohort = Cohort(visits, replace(one_patient().outcome, stop=torch.tensor([1])))
    with pytest.raises(ValueError, match="'age' names a code and a feature"):
        write_one(tmp_path / "one", cohort)


@pytest.mark.parametrize(
    ("known", "weight", "message"),
    [
        ([1, 1, 0], [60.0, 80.0, 0.0], "patient 2 has 0.0 for weight, which is not known; expected 70.0, the mean"),
        ([1, 0.5, 0], [60.0, 60.0, 60.0], "patient 1 has 60.0 for weight"),
        ([1, 1, 1], [60.0, 80.0, 70.0], "'weight known' is the same for all training patients"),
        ([0, 0, 0], [60.0, 60.0, 60.0], "'weight known' is the same for all training patients"),
    ],
)
def test_a_missing_static_feature_that_would_come_back_otherwise_is_refused(
    tmp_path: Path, known: list[float], weight: list[float], message: str
) -> None:
    cohort = three_patients(known, weight)
    with pytest.raises(ValueError, match=message):
        write_cohort(cohort, tmp_path / "three", outcome_code="EVENT", splits=torch.zeros(3, dtype=torch.int8))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_static_feature_is_no_row(tmp_path: Path) -> None:
    cohort = three_patients([1, 1, 0], [60.0, 80.0, 70.0])
    write_cohort(cohort, tmp_path / "three", outcome_code="EVENT", splits=torch.zeros(3, dtype=torch.int8))
    static = events(tmp_path / "three").filter(pl.col("time").is_null())
    assert static.select("subject_id", "code", "numeric_value").rows() == [(0, "weight", 60.0), (1, "weight", 80.0)]


def three_patients(known: list[float], weight: list[float]) -> Cohort:
    schema = Schema.of(["pain"], static=["weight", "weight known"])
    visits = Visits.from_lists(
        [[["pain"]]] * 3, day=[[0]] * 3, schema=schema, static=list(zip(weight, known, strict=True))
    )
    end = torch.full((3,), 9.0, dtype=torch.float64)
    return Cohort(visits, Outcome.of(torch.ones(3, dtype=torch.long), torch.tensor([1, 1, 0]), followup_days=end))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"outcome_code": "ENCOUNTER"}, "share a code"),
        ({"end_code": "EVENT"}, "share a code"),
        ({"shard_patients": 0}, "shard_patients is 0"),
        ({"start": datetime(2020, 1, 1, tzinfo=UTC)}, "with a time zone"),
        ({"splits": torch.tensor([3])}, "patient 7 is in part 3"),
        ({"splits": torch.tensor([0, 1])}, "one whole number for each of 1 patients"),
    ],
)
def test_impossible_settings_are_refused(
    tmp_path: Path, unchecked: None, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_one(tmp_path / "one", **settings)
    assert list(tmp_path.iterdir()) == []


def test_patients_with_names_are_refused(tmp_path: Path) -> None:
    study = Study(one_patient(), torch.tensor([0]), names=("Anna",))
    with pytest.raises(ValueError, match="names such as 'Anna'; MEDS expects whole numbers"):
        write_cohort(study, tmp_path / "named", outcome_code="EVENT")
    with pytest.raises(ValueError, match="names such as 'Anna'"):
        labels_of(study)


# ------------------------------------------------------------------------------------------------------ all or nothing


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for write in (
        lambda: write_one(tmp_path / "mine"),
        lambda: draw_meds(NO_MEMORY, tmp_path / "mine", 10, seed=0),
    ):
        with pytest.raises(FileExistsError, match="mine exists"):
            write()
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


@pytest.mark.parametrize("write", ["write_cohort", "draw_meds", "write_labels"])
def test_a_full_disk_is_told_and_leaves_nothing(
    teaching: tuple[Cohort, Path, CohortDefinition], tmp_path: Path, write: str
) -> None:
    cohort = teaching[0]
    hazards = torch.linspace(0, 1, cohort.visits.n_visits).float()
    attempts: dict[str, Callable[[], object]] = {
        "write_cohort": lambda: write_cohort(cohort, tmp_path / "new", outcome_code="EVENT"),
        "draw_meds": lambda: draw_meds(NO_MEMORY, tmp_path / "new", 3_000, seed=0),
        "write_labels": lambda: write_labels(cohort, hazards, tmp_path / "new"),
    }
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"there is no room left for .*new"):
            attempts[write]()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not (tmp_path / "new").exists()
    assert write == "draw_meds" or list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing(
    teaching: tuple[Cohort, Path, CohortDefinition], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def interrupted(frame: pl.DataFrame, path: Path) -> None:
        written.append(path)
        if len(written) == 4:
            raise KeyboardInterrupt
        write_parquet(frame, path)

    monkeypatch.setattr(writing, "write_parquet", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_cohort(teaching[0], tmp_path / "new", outcome_code="EVENT")
    assert written[-1].parent.name == "tuning"
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, sys
from visitwise.meds import writing
from visitwise.simulate import TEACHING
write, count = writing.write_parquet, []
def killed(frame, path):
    count.append(path)
    if len(count) == 5:
        os.kill(os.getpid(), 9)
    write(frame, path)
writing.write_parquet = killed
writing.write_cohort(TEACHING.draw(300, seed=3), sys.argv[1], outcome_code="EVENT", shard_patients=100)
"""


def test_killed_half_way_and_run_again_it_is_as_if_nothing_had_been(
    teaching: tuple[Cohort, Path, CohortDefinition], tmp_path: Path
) -> None:
    cohort, folder, _ = teaching
    died = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "teaching")], check=False)
    assert died.returncode == -9
    assert not (tmp_path / "teaching").exists()
    write_cohort(cohort, tmp_path / "teaching", outcome_code="EVENT", shard_patients=100)
    assert [path.name for path in tmp_path.iterdir()] == ["teaching"]
    for name in [path.relative_to(folder) for path in folder.rglob("*.*")]:
        assert (folder / name).read_bytes() == (tmp_path / "teaching" / name).read_bytes()


def test_drawn_to_disk_it_is_what_a_draw_in_memory_writes(tmp_path: Path) -> None:
    draw_meds(NO_MEMORY, tmp_path / "drawn", 200, seed=5, outcome_code="STROKE")
    write_cohort(NO_MEMORY.draw(200, seed=5), tmp_path / "written", outcome_code="STROKE")
    assert events(tmp_path / "drawn").equals(events(tmp_path / "written"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drawn", "written"]


def test_a_cohort_from_a_folder_is_read_a_shard_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TEACHING.draw_to(tmp_path / "cohort", 400, seed=1)
    cohort, sizes = Cohort.load(tmp_path / "cohort"), []
    select = Cohort.select

    def counted(self: Cohort, patients: torch.Tensor) -> Cohort:
        sizes.append(len(patients))
        return select(self, patients)

    monkeypatch.setattr(Cohort, "select", counted)
    write_cohort(cohort, tmp_path / "meds", outcome_code="EVENT", shard_patients=50)
    assert max(sizes) == 50
    assert sum(sizes) == 400


# -------------------------------------------------------------------------------------------------------------- labels


def test_meds_accepts_both_label_tables(teaching: tuple[Cohort, Path, CohortDefinition], tmp_path: Path) -> None:
    cohort = teaching[0]
    write_labels(cohort, torch.full((cohort.visits.n_visits,), 0.25), tmp_path / "hazards.parquet")
    labels_of(cohort).write_parquet(tmp_path / "labels.parquet")
    for name in ("hazards", "labels"):
        meds.LabelSchema.validate(pq.read_table(tmp_path / f"{name}.parquet"))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["hazards.parquet", "labels.parquet"]


def test_labels_are_one_row_for_each_visit_at_risk(tmp_path: Path) -> None:
    cohort = random_cohort(50, seed=2)
    cohort = Cohort(cohort.visits, replace(cohort.outcome, censored_exposure=torch.ones(50)))
    outcome, visits = cohort.outcome, cohort.visits
    expected = [
        (int(visits.patient_id[i]), row, k == int(outcome.stop[i]) - 1 and bool(outcome.observed[i]))
        for i in range(len(cohort))
        for k in range(int(outcome.start[i]), int(outcome.stop[i]))
        for row in [int(visits.visit_offsets[i]) + k]
    ]
    labels = labels_of(cohort, start=datetime(2000, 1, 1))
    assert labels["subject_id"].to_list() == [who for who, _, _ in expected]
    assert labels["boolean_value"].to_list() == [seen for _, _, seen in expected]
    days = (labels["prediction_time"] - datetime(2000, 1, 1)).dt.total_days()
    assert days.to_list() == [int(visits.day[row]) for _, row, _ in expected]
    hazards = torch.rand(visits.n_visits, generator=torch.Generator().manual_seed(0))
    write_labels(cohort, hazards, tmp_path / "hazards.parquet")
    written = pl.read_parquet(tmp_path / "hazards.parquet")
    assert written["float_value"].to_list() == [float(hazards[row]) for _, row, _ in expected]
    assert written.drop("float_value").equals(labels.drop("boolean_value"))


def test_label_times_are_those_of_the_visits_in_the_dataset(teaching: tuple[Cohort, Path, CohortDefinition]) -> None:
    cohort, folder, _ = teaching
    visits = events(folder).filter(pl.col("code") == "ENCOUNTER").sort("subject_id", "time")
    labels = labels_of(cohort).sort("subject_id", "prediction_time")
    assert labels["prediction_time"].to_list() == visits["time"].to_list()
    assert int(labels["boolean_value"].sum()) == int(cohort.outcome.observed.sum())


@pytest.mark.parametrize("wrong", [float("nan"), -0.1, 1.1])
def test_a_hazard_at_risk_that_is_no_probability_is_refused(tmp_path: Path, wrong: float) -> None:
    hazards = torch.tensor([0.5, wrong, float("nan")])
    with pytest.raises(ValueError, match=r"patient 7 has the hazard .* at a visit at risk; expected 0 to 1"):
        write_labels(one_patient(), hazards, tmp_path / "hazards.parquet")
    assert list(tmp_path.iterdir()) == []


def test_another_number_of_hazards_than_visits_is_refused(tmp_path: Path, unchecked: None) -> None:
    with pytest.raises(ValueError, match=r"hazards has shape \[2\]; expected \[3\], one a visit"):
        write_labels(one_patient(), torch.rand(2), tmp_path / "hazards.parquet")


def test_a_label_file_that_exists_is_replaced_whole_or_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "hazards.parquet"
    write_labels(one_patient(), torch.tensor([0.5, 0.25, 0.125]), file)
    with pytest.raises(ValueError, match="patient 7 has the hazard"):
        write_labels(one_patient(), torch.tensor([2.0, 2.0, 2.0]), file)
    assert pl.read_parquet(file)["float_value"].to_list() == [0.5, 0.25]
    write_labels(one_patient(), torch.tensor([0.75, 0.25, 0.125]), file)
    assert pl.read_parquet(file)["float_value"].to_list() == [0.75, 0.25]


# ------------------------------------------------------------------------------------------------------- other cohorts


def test_a_world_with_an_end_for_everybody_is_refused_with_a_reason(tmp_path: Path) -> None:
    world = Simulator(censoring="calendar")
    with pytest.raises(ValueError, match=r"patient \d+ has the censored exposure"):
        draw_meds(world, tmp_path / "calendar", 200, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_counts_of_rows_are_those_of_the_cohort(teaching: tuple[Cohort, Path, CohortDefinition]) -> None:
    cohort, folder, _ = teaching
    rows = events(folder)
    counted = dict(rows["code"].value_counts().iter_rows())
    recorded = torch.bincount(cohort.visits.codes.long())
    for place, code in enumerate(cohort.visits.schema.codes[1:], start=1):
        assert counted.get(code, 0) == int(recorded[place])
    assert counted["ENCOUNTER"] == cohort.visits.n_visits
    assert counted["EVENT"] == int(cohort.outcome.observed.sum()) == 300 - counted["END_OF_FOLLOWUP"]
    assert np.array_equal(
        rows.filter(pl.col("code") == "female").sort("subject_id")["numeric_value"], cohort.visits.static[:, 1]
    )
