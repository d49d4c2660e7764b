"""Into the house: a MEDS dataset as a study, in memory or shard by shard onto the disk.

Three passes over the files, each holding one shard at a time: whose records are where; what the training patients have,
which makes the vocabulary; and the cohort. What MEDS asks for and its own validator lets through is checked on the way:
a subject's records stand together, in the order of time, in one file.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import torch
from jaxtyping import Int
from torch import Tensor
from tqdm import tqdm

from visitwise.cohort import Cohort, CohortWriter, by_lot
from visitwise.definition import CohortDefinition
from visitwise.events import NO_END, Census, Followed, assemble, follow, nobody_left, through_its_day, told, unborne
from visitwise.meds.names import (
    CODE,
    CODES_FILE,
    DATA_FOLDER,
    NUMERIC_VALUE,
    PARENT_CODES,
    SPLIT,
    SPLITS_FILE,
    SUBJECT,
    TIME,
)
from visitwise.study import FRACTIONS, SPLITS, Flow, Study, texts_of
from visitwise.vocabulary import Vocabulary

PATIENTS_KEPT_AT_ONCE = 10_000


def read(
    folder: str | os.PathLike[str],
    definition: CohortDefinition,
    *,
    vocabulary: Vocabulary | None = None,
    predict: bool = False,
    progress: bool = False,
) -> Study:
    """A study of a MEDS dataset, in memory.

    Patients are split as `metadata/subject_splits.parquet` says, or by lot. The vocabulary, and what stands where a
    static feature is missing, come from the training patients who are kept, unless one is given.

    Args:
        folder: The dataset: `data/` with its Parquet files, and `metadata/` if there is one.
        definition: How the cohort is made.
        vocabulary: That of a trained model, to read new patients as it knows them.
        predict: Whether nothing has to be known of the outcome: every visit from the start on is a row, up to an event
            or a death. All patients are held out.
        progress: Whether to show bars.

    Raises:
        ModuleNotFoundError: The package `polars` is missing.
        FileNotFoundError: The folder holds no events.
        ValueError: A file cannot be read, is not sorted, or contradicts itself or the definition; names it.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> from visitwise.meds import write_cohort
        >>> from visitwise.simulate import TEACHING
        >>> with TemporaryDirectory() as parent:
        ...     definition = write_cohort(TEACHING.draw(100, seed=0), f"{parent}/meds", outcome_code="EVENT")
        ...     read(f"{parent}/meds", definition)
        Study(100 patients: 70 train, 15 tuning, 15 held out; 1,246 visits, 35 events)
    """
    _require_vocabulary(vocabulary, predict)
    dataset = _Dataset.open(folder, definition, predict)
    shards = list(dataset.follow_all("reading", progress))
    flow = dataset.flow
    if vocabulary is None:
        vocabulary, flow = dataset.vocabulary(iter(shards))
    parts, splits, origins = [], [], []
    for followed in shards:
        cohort, origin, counted = assemble(followed, vocabulary, dataset.parents)
        flow = flow + counted
        if cohort is not None:
            parts.append(cohort)
            splits.append(dataset.split_of(followed))
            origins.append(origin)
    if not parts:
        raise ValueError(nobody_left(flow))
    cohort = parts[0] if len(parts) == 1 else Cohort.concat(parts)
    flow = told(flow, predict=predict)
    return Study(cohort, torch.cat(splits), torch.cat(origins), flow, definition, vocabulary=vocabulary)


def prepare(
    folder: str | os.PathLike[str],
    definition: CohortDefinition,
    out: str | os.PathLike[str],
    *,
    vocabulary: Vocabulary | None = None,
    predict: bool = False,
    progress: bool = False,
) -> Study:
    """Write the study that `read` gives to a folder, in memory that does not grow with the number of patients.

    The folder has the same bytes as the study of `read`, written by `Study.save`; it appears when all is there. Called
    again after an interruption, it goes on.

    Args:
        folder: As in `read`.
        definition: As in `read`.
        out: The folder to write.
        vocabulary: As in `read`.
        predict: As in `read`.
        progress: As in `read`.

    Returns:
        The study, mapped into memory.

    Raises:
        ModuleNotFoundError: As in `read`.
        FileNotFoundError: As in `read`.
        ValueError: As in `read`; then nothing is left in the folder's place.
        FileExistsError: The folder to write is there already.
        OSError: The disk is full, or the folder cannot be written.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> from visitwise.meds import write_cohort
        >>> from visitwise.simulate import TEACHING
        >>> with TemporaryDirectory() as parent:
        ...     definition = write_cohort(TEACHING.draw(100, seed=0), f"{parent}/meds", outcome_code="EVENT")
        ...     prepare(f"{parent}/meds", definition, f"{parent}/study")
        Study(100 patients: 70 train, 15 tuning, 15 held out; 1,246 visits, 35 events)
    """
    out = Path(out)
    _check_room(out)
    _require_vocabulary(vocabulary, predict)
    dataset = _Dataset.open(folder, definition, predict)
    flow = dataset.flow
    if vocabulary is None:
        vocabulary, flow = dataset.vocabulary(dataset.follow_all("counting", progress))
    given = {"definition": definition.to_mapping(), "vocabulary": vocabulary.to_json(), "predict": predict}
    writer = CohortWriter(out, origin={"meds": dataset.fingerprint(), **given})
    with writer:
        done = (writer.note or {}).get("shards", 0)
        flow = Flow.from_json(writer.note["flow"]) if writer.note else flow
        kept = writer.n_patients
        for number, followed in enumerate(dataset.follow_all("writing", progress, done), start=done + 1):
            cohort, origin, counted = assemble(followed, vocabulary, dataset.parents)
            flow = flow + counted
            if cohort is not None:
                writer.append(cohort, split=dataset.split_of(followed), origin=origin)
            if writer.n_patients - kept >= PATIENTS_KEPT_AT_ONCE:
                writer.keep({"shards": number, "flow": flow.to_json()})
                kept = writer.n_patients
        if writer.n_patients == 0:
            raise ValueError(nobody_left(flow))
        writer.finish(texts_of(told(flow, predict=predict), definition, vocabulary=vocabulary))
    return Study.load(out)


# ------------------------------------------------------------------------------------------------------ the data set


@dataclass(frozen=True, eq=False)
class _Dataset:
    """What is known of a dataset before its events are looked at."""

    shards: tuple[Path, ...]
    definition: CohortDefinition
    predict: bool
    flow: Flow
    subjects: Int[np.ndarray, " subject"]  # sorted, and the part of each
    parts: Int[np.ndarray, " subject"]
    order: tuple[str, ...]
    parents: Mapping[str, Sequence[str]]
    ends: pl.DataFrame | None
    folder: Path

    @classmethod
    def open(cls, folder: str | os.PathLike[str], definition: CohortDefinition, predict: bool) -> Self:
        folder = Path(folder)
        shards, strays = _shards(folder)
        subjects = _subjects(shards)
        split = _split(folder, subjects, definition, predict)
        by_id = np.argsort(subjects)
        order, parents = _codes(folder)
        warnings = []
        if strays:
            files = "1 other file" if len(strays) == 1 else f"{len(strays):,} other files"
            was = "was" if len(strays) == 1 else "were"
            warnings.append(
                f"{files} in {DATA_FOLDER}/ {was} not read: {strays[0].name!r}{', ...' * (len(strays) > 1)}"
            )
        needs_ends = definition.end_table is not None and not predict
        return cls(
            shards,
            definition,
            predict,
            Flow({"files": len(shards), "records": 0, "patients": 0}, {}, {}, {"patients": 0}, tuple(warnings)),
            subjects[by_id],
            split[by_id],
            order,
            parents,
            read_ends(definition.end_table) if needs_ends and definition.end_table else None,
            folder,
        )

    def fingerprint(self) -> list[list[Any]]:
        """Which files these are: a change of any is another dataset."""
        beside = [self.folder / CODES_FILE, self.folder / SPLITS_FILE, self.definition.end_table]
        files = [*self.shards, *(path for path in beside if path is not None and path.exists())]
        stats = [(path, path.stat()) for path in files]
        return [[str(path.resolve()), stat.st_size, stat.st_mtime_ns] for path, stat in stats]

    def follow_all(self, doing: str, progress: bool, begin: int = 0) -> Iterator[Followed]:
        """Every shard, followed, from the one at this position on."""
        bar = tqdm(self.shards, desc=doing, unit=" files", initial=begin, leave=False, disable=not progress)
        with bar:
            for path in self.shards[begin:]:
                yield follow(
                    _events(path, self.definition),  # bound to no name, so that it is gone when the next is read
                    self.definition,
                    ends=self.ends,
                    predict=self.predict,
                    source=f"{path}: ",
                )
                bar.update()

    def split_of(self, followed: Followed) -> Int[Tensor, " patient"]:
        """The part of each patient who is kept."""
        place = np.searchsorted(self.subjects, followed.patients[SUBJECT].to_numpy())
        return torch.from_numpy(self.parts[place])

    def vocabulary(self, shards: Iterator[Followed]) -> tuple[Vocabulary, Flow]:
        """The names of the inputs of the training patients; and the flow so far, with what the whole dataset lacks.

        Raises:
            ValueError: No training patient is kept, or no record bears what the definition names.
        """
        census, flow, named = None, self.flow, set[str]()
        for followed in shards:
            train = (self.split_of(followed) == 0).nonzero()[:, 0].numpy()
            counted = Census.of(followed, train, self.parents)
            census = counted if census is None else census + counted
            flow, named = flow + followed.flow, named | followed.named
        _check_named(self.definition, named, lost=flow.excluded.get(NO_END, 0) > 0)
        if flow.kept["patients"] == 0:
            raise ValueError(nobody_left(flow))
        if census is None or census.patients == 0:
            kept = flow.kept["patients"]
            raise ValueError(f"none of the {kept:,} patients who are left is a training patient; expected at least one")
        lacks = unborne(self.definition, named)
        vocabulary = census.vocabulary(self.definition, order=self.order, parents=self.parents)
        return vocabulary, replace(self.flow, warnings=(*self.flow.warnings, *lacks))


def _require_vocabulary(vocabulary: Vocabulary | None, predict: bool) -> None:
    if predict and vocabulary is None:
        raise ValueError("predict is true and no vocabulary is given; expected that of the trained model")


def _check_room(out: Path) -> None:
    """Refuse before the work what would be refused after it."""
    if out.exists():
        raise FileExistsError(f"{out} exists; choose another folder or remove it")
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise NotADirectoryError(f"{out} cannot be written: {parent} is a file; expected a folder")
    if not os.access(parent, os.W_OK):
        raise PermissionError(f"{out} cannot be written: no permission to write in {parent}")


def _check_named(definition: CohortDefinition, named: set[str], *, lost: bool) -> None:
    """Refuse a definition whose event, start or end no record bears: it is of other data, or misspelt.

    Where everybody had the event, nobody needs the end of follow-up. A single name that is missing is a warning.
    """
    end = (definition.end_code,) if definition.end_code is not None and lost else ()
    for what, names in (("outcome", definition.outcome), ("index", definition.index), ("end of follow-up", end)):
        if names and not named & set(names):
            raise ValueError(f"no record bears the {what}'s code {' or '.join(map(repr, names))}; expected some")


# ---------------------------------------------------------------------------------------------------------- files


def _shards(folder: Path) -> tuple[tuple[Path, ...], list[Path]]:
    """The Parquet files in the order of their numbers, and other files; hidden ones are nobody's business."""
    data = folder / DATA_FOLDER
    if not data.is_dir():
        raise FileNotFoundError(f"{folder} holds no folder {DATA_FOLDER}; expected a MEDS dataset")
    files = [path for path in data.rglob("*") if path.is_file()]
    files = [path for path in files if not any(part.startswith((".", "_")) for part in path.relative_to(data).parts)]
    shards = [path for path in files if path.suffix == ".parquet"]
    if not shards:
        raise FileNotFoundError(f"{data} holds no Parquet file; expected the events of a MEDS dataset")
    return tuple(sorted(shards, key=_natural)), sorted(set(files) - set(shards))


def _natural(path: Path) -> list[list[tuple[int, str]]]:
    """Sorts 10.parquet behind 9.parquet."""
    pieces = [re.findall(r"\d+|\D+", part) for part in path.parts]
    return [[(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in part] for part in pieces]


def _parquet(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """Columns of a Parquet file; says which file cannot be read."""
    try:
        return pl.read_parquet(path, columns=list(columns), glob=False, hive_partitioning=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        if isinstance(error, PermissionError):
            raise
        raise ValueError(f"{path} cannot be read: {_short(error)}; expected a whole Parquet file") from error


def _types(path: Path) -> Mapping[str, Any]:
    """The polars type of each column."""
    try:
        with path.open("rb") as file:  # by name, brackets in it would be a pattern
            return pl.read_parquet_schema(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        if isinstance(error, PermissionError):
            raise
        raise ValueError(f"{path} cannot be read: {_short(error)}; expected a whole Parquet file") from error


def _short(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__


def _subjects(shards: Sequence[Path]) -> Int[np.ndarray, " subject"]:
    """Every subject once, in the order of the files; refuses one whose records are apart, or in two files."""
    found = []
    for path in shards:
        types = _types(path)
        if SUBJECT not in types or not types[SUBJECT].is_integer():
            given = "no column" if SUBJECT not in types else f"{types[SUBJECT]} in the column"
            raise ValueError(f"{path} has {given} {SUBJECT}; expected whole numbers (int64)")
        ids = _parquet(path, [SUBJECT])[SUBJECT]
        if ids.null_count():
            raise ValueError(f"{path} has {ids.null_count()} records without a {SUBJECT}; expected one in each")
        runs = ids.cast(pl.Int64).rle().struct.field("value")
        again = runs.filter(runs.is_duplicated())
        if len(again):
            raise ValueError(
                f"{path}: the records of subject {again[0]} are not together; expected them in one stretch"
            )
        found.append(runs.to_numpy())
    subjects = np.concatenate(found)
    once, counts = np.unique(subjects, return_counts=True)
    if len(twice := once[counts > 1]):
        who = twice[0]
        files = [str(path) for path, some in zip(shards, found, strict=True) if who in some]
        raise ValueError(f"subject {who} is in {files[0]} and in {files[1]}; expected each subject in one file")
    return subjects


def _events(path: Path, definition: CohortDefinition) -> pl.DataFrame:
    """The events of one file, with types as `follow` expects them and in the order that MEDS asks for."""
    types = _types(path)
    encounter = definition.encounter_column
    for name, is_right, expected in (
        (TIME, _is_time, "datetimes in microseconds without a time zone"),
        (CODE, lambda kind: kind == pl.String or isinstance(kind, pl.Categorical | pl.Enum), "text"),
    ):
        if name not in types:
            raise ValueError(f"{path} has no column {name}; expected one with {expected}")
        if not is_right(types[name]):
            raise ValueError(f"{path} has {types[name]} in the column {name}; expected {expected}")
    if NUMERIC_VALUE in types and not types[NUMERIC_VALUE].is_numeric():
        raise ValueError(f"{path} has {types[NUMERIC_VALUE]} in the column {NUMERIC_VALUE}; expected numbers")
    if encounter is not None and encounter not in types:
        raise ValueError(f"{path} has no column {encounter}, which says what a visit is; expected it")
    optional = [name for name in (NUMERIC_VALUE, encounter) if name is not None and name in types]
    events = _parquet(path, list(dict.fromkeys([SUBJECT, TIME, CODE, *optional]))).with_columns(
        pl.col(SUBJECT).cast(pl.Int64), pl.col(TIME).cast(pl.Datetime("us")), pl.col(CODE).cast(pl.String)
    )
    number = pl.col(NUMERIC_VALUE) if NUMERIC_VALUE in types else pl.lit(None)
    events = events.with_columns(number.cast(pl.Float32).alias(NUMERIC_VALUE))
    without = events.filter(pl.col(CODE).is_null())
    if without.height:
        raise ValueError(f"{path}: subject {without[SUBJECT][0]} has a record without a code; expected one in each")
    timed = events.select(SUBJECT, TIME).filter(pl.col(TIME).is_not_null())
    backwards = timed.filter((pl.col(SUBJECT) == pl.col(SUBJECT).shift()) & (pl.col(TIME) < pl.col(TIME).shift()))
    if backwards.height:
        who, when = backwards.row(0)
        raise ValueError(
            f"{path}: subject {who} has a record of {when} after a later one; expected each subject's records by time"
        )
    return events


def _is_time(kind: object) -> bool:
    return isinstance(kind, pl.Datetime) and kind.time_zone is None


def _codes(folder: Path) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """The codes in the order of the metadata, and those right above each; nothing where there is no such file."""
    path = folder / CODES_FILE
    if not path.is_file():
        return (), {}
    types = _types(path)
    if types.get(CODE) != pl.String:
        raise ValueError(f"{path} has {types.get(CODE, 'nothing')} in the column {CODE}; expected text")
    has_parents = PARENT_CODES in types
    if has_parents and types[PARENT_CODES] not in (pl.List(pl.String), pl.Null):
        raise ValueError(f"{path} has {types[PARENT_CODES]} in the column {PARENT_CODES}; expected lists of text")
    table = _parquet(path, [CODE, PARENT_CODES] if has_parents else [CODE]).drop_nulls(CODE)
    parents = dict(table.drop_nulls(PARENT_CODES).iter_rows()) if has_parents else {}
    return tuple(dict.fromkeys(table[CODE])), parents


def _split(
    folder: Path, subjects: Int[np.ndarray, " subject"], definition: CohortDefinition, predict: bool
) -> Int[np.ndarray, " subject"]:
    """The part of each subject: as the dataset says, or by lot."""
    path = folder / SPLITS_FILE
    split = np.full(len(subjects), SPLITS.index("held_out"), np.int8)
    if predict:
        return split
    if not path.is_file():
        for part, chosen in enumerate(by_lot(len(subjects), FRACTIONS, seed=definition.seed)):
            split[chosen.numpy()] = part
        return split
    types = _types(path)
    if SUBJECT not in types or SPLIT not in types:
        raise ValueError(f"{path} has the columns {', '.join(types)}; expected {SUBJECT} and {SPLIT}")
    table = _parquet(path, [SUBJECT, SPLIT]).with_columns(pl.col(SUBJECT).cast(pl.Int64))
    if table[SUBJECT].is_duplicated().any():
        who = table.filter(pl.col(SUBJECT).is_duplicated())[SUBJECT][0]
        raise ValueError(f"{path} has subject {who} twice; expected each once")
    found = pl.DataFrame({SUBJECT: subjects}).join(table, on=SUBJECT, how="left", maintain_order="left")
    wrong = found.filter(~pl.col(SPLIT).is_in(SPLITS) | pl.col(SPLIT).is_null())
    if wrong.height:
        who, part = wrong.row(0)
        given = "no split" if part is None else f"the split {part!r}"
        raise ValueError(f"{path} has {given} for subject {who}; expected one of {', '.join(SPLITS)}")
    part_of = dict(zip(SPLITS, range(len(SPLITS)), strict=True))
    return found[SPLIT].replace_strict(part_of, return_dtype=pl.Int8).to_numpy()


def read_ends(path: Path) -> pl.DataFrame:
    """When each subject's follow-up ends, from a Parquet or CSV file; a date, or a time at midnight, ends with its day.

    Args:
        path: The file, with the columns `subject_id` and `time`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has other columns or types, or a subject twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; expected the table of ends that the definition names")
    if path.suffix == ".csv":
        try:
            table = pl.read_csv(path, try_parse_dates=True)
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"{path} cannot be read: {_short(error)}; expected a table with a header") from error
    else:
        table = _parquet(path, list(_types(path)))
    if missing := {SUBJECT, TIME} - set(table.columns):
        raise ValueError(f"{path} has no column {sorted(missing)[0]}; expected {SUBJECT} and {TIME}")
    kind = table.schema[TIME]
    if not (kind == pl.Date or _is_time(kind)):
        raise ValueError(f"{path} has {kind} in the column {TIME}; expected dates, or datetimes without a time zone")
    if not table.schema[SUBJECT].is_integer():
        raise ValueError(f"{path} has {table.schema[SUBJECT]} in the column {SUBJECT}; expected whole numbers")
    if len(again := table.filter(pl.col(SUBJECT).is_duplicated())):
        raise ValueError(f"{path} has subject {again[SUBJECT][0]} twice; expected each once")
    moment = pl.col(TIME).cast(pl.Datetime("us")).to_physical()
    time = through_its_day(moment).cast(pl.Datetime("us"))
    return table.select(pl.col(SUBJECT).cast(pl.Int64), time).drop_nulls(TIME)
