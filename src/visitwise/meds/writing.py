"""Out of the house: a cohort as a MEDS dataset, and predictions or outcomes as a MEDS label table.

MEDS knows events with a time and nothing else. What a cohort knows besides becomes an event: a visit is a row
`ENCOUNTER`, so that one without codes is there, too; the end of a censored patient's follow-up is a row
`END_OF_FOLLOWUP`; where follow-up starts after the first visit, a row `START_OF_FOLLOWUP` says when.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm import tqdm

from visitwise._ragged import refuse
from visitwise.cohort import Cohort
from visitwise.definition import CohortDefinition, stands_for
from visitwise.meds.names import (
    BIRTH_CODE,
    BOOLEAN_VALUE,
    CODE,
    CODES_FILE,
    DATA_FOLDER,
    DATA_TYPES,
    DATASET_FILE,
    DEATH_CODE,
    DESCRIPTION,
    ENCOUNTER_CODE,
    ENCOUNTER_COLUMN,
    END_CODE,
    FLOAT_VALUE,
    INDEX_CODE,
    LABEL_TYPES,
    MEDS_VERSION,
    NUMERIC_VALUE,
    PARENT_CODES,
    PREDICTION_TIME,
    SPLIT,
    SPLITS_FILE,
    SUBJECT,
    TIME,
)
from visitwise.simulate import Simulation, Simulator
from visitwise.study import SPLITS, Study
from visitwise.visits import PADDING, Schema, Visits

DAY = 86_400_000_000  # microseconds
START = datetime(2000, 1, 1)
DEFINITION_FILE = "definition.toml"


def write_cohort(
    source: Cohort | Simulation | Study,
    folder: str | os.PathLike[str],
    *,
    outcome_code: str,
    end_code: str = END_CODE,
    start: datetime = START,
    splits: Int[Tensor, " patient"] | None = None,
    shard_patients: int = 10_000,
    progress: bool = False,
) -> CohortDefinition:
    """Write a MEDS dataset, shard by shard: memory does not grow with a cohort that is mapped from a folder.

    The folder appears complete or not at all. It holds `data/SPLIT/N.parquet`, `metadata/` with the codes, the splits
    and a description, and `definition.toml`: the definition that makes the same cohort of it again. The same codes,
    visits, static features, measurements and outcomes come back. Times are kept to a microsecond, and days are counted
    from the first visit. What no row at risk can see does not come back: visits after the event or the end of
    follow-up, and a code's second record at one visit. Nor does a code, in its own name, that no training patient has.

    Args:
        source: The patients.
        folder: The folder to write.
        outcome_code: Code of the event. Where there are several causes, that of cause 2 is `outcome_code//2`.
        end_code: Code of the end of a censored patient's follow-up.
        start: When the patients' day 0 was; that of a study with dates is known.
        splits: 0 for training, 1 for tuning and 2 for held out. If not given, those of the study, or 70/15/15 by lot.
        shard_patients: Most patients in one file.
        progress: Whether to show a bar.

    Returns:
        The definition that makes the same cohort of the folder again.

    Raises:
        ValueError: Something cannot be said in MEDS: a patient's outcome has no time, or censored patients' last
            intervals count for different shares; two names are one; or an argument is impossible.
        FileExistsError: The folder is there already.
        OSError: The disk is full.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> from visitwise.simulate import TEACHING
        >>> with TemporaryDirectory() as parent:
        ...     definition = write_cohort(TEACHING.draw(100, seed=0), f"{parent}/meds", outcome_code="EVENT")
        ...     sorted(path.name for path in Path(f"{parent}/meds/data").iterdir())
        ['held_out', 'train', 'tuning']
        >>> definition.outcome, definition.end_of_follow_up, definition.visit
        (('EVENT',), 'code:END_OF_FOLLOWUP', 'column:encounter_id')
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists; choose another folder or remove it")
    if shard_patients < 1:
        raise ValueError(f"shard_patients is {shard_patients}; expected at least 1")
    study = _study(source, splits)
    ends, exposure = _ends(study.cohort)
    words = _Words(study.cohort, outcome_code, end_code, exposure)
    _check_filled(study)
    origin = _origin(study, start)
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with _room(folder), tqdm(total=len(study), unit=" patients", desc="writing", disable=not progress) as bar:
            (unfinished / "metadata").mkdir(parents=True)
            _write_metadata(unfinished, study, words, folder.name)
            for part in SPLITS:
                for number, patients in enumerate(study.positions(part).split(shard_patients)):
                    if len(patients) == 0:
                        continue
                    shard = study.cohort.select(patients)
                    path = unfinished / DATA_FOLDER / part / f"{number}.parquet"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_parquet(_rows(shard, words, origin[patients].numpy(), ends[patients.numpy()]), path)
                    bar.update(len(patients))
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return words.definition


def draw_meds(
    simulator: Simulator,
    folder: str | os.PathLike[str],
    n_patients: int,
    seed: int,
    *,
    outcome_code: str = "EVENT",
    progress: bool = False,
) -> CohortDefinition:
    """Write the cohort that `simulator.draw` gives as a MEDS dataset, in memory that does not grow with it.

    The cohort is drawn into a hidden folder beside the one that is asked for, and written from there. Interrupted while
    drawing and called again, it goes on.

    Args:
        simulator: The world.
        folder: The folder to write.
        n_patients: As in `Simulator.draw`.
        seed: As in `Simulator.draw`.
        outcome_code: As in `write_cohort`.
        progress: Whether to show bars.

    Returns:
        The definition that makes the same cohort of the folder again.

    Raises:
        ValueError: The number of patients or the seed is impossible, or as in `write_cohort`.
        FileExistsError: The folder is there already.
        OSError: The disk is full.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> from visitwise.simulate import ORDER_ONLY
        >>> with TemporaryDirectory() as parent:
        ...     definition = draw_meds(ORDER_ONLY, f"{parent}/meds", 100, seed=0)
        ...     [path.name for path in Path(parent).iterdir()]
        ['meds']
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists; choose another folder or remove it")
    drawn = folder.with_name(f".{folder.name}.drawn")
    shutil.rmtree(drawn, ignore_errors=True)  # whole, but perhaps of another world
    try:
        simulator.draw_to(drawn, n_patients, seed, progress=progress)
        return write_cohort(Cohort.load(drawn), folder, outcome_code=outcome_code, progress=progress)
    finally:
        shutil.rmtree(drawn, ignore_errors=True)


# -------------------------------------------------------------------------------------------------------------- labels


def labels_of(source: Study | Cohort, *, start: datetime = START) -> pl.DataFrame:
    """What happened, as a MEDS label table: whether the event, of any cause, falls into the interval after each visit.

    One row for each visit at risk whose interval counts in full, in the order of the cohort: where follow-up ended
    inside (`censored_exposure` below 1), nobody knows. `write_parquet` of the table writes a file that `meds` accepts.

    Args:
        source: The patients.
        start: When the patients' day 0 was, if the source has no dates.

    Returns:
        The columns `subject_id`, `prediction_time` (when the visit closes, and the last moment the model may know of)
        and `boolean_value`.

    Raises:
        ValueError: The patients' ids are names.

    Examples:
        >>> from visitwise.cohort import Outcome
        >>> from visitwise.visits import Visits
        >>> visits = Visits.from_lists([[["pain"], ["pain"]], [[]]], day=[[0, 30], [0]], patient_id=[7, 8])
        >>> labels = labels_of(Cohort(visits, Outcome.of(torch.tensor([2, 1]), torch.tensor([True, False]))))
        >>> labels["subject_id"].to_list(), labels["boolean_value"].to_list()
        ([7, 7, 8], [False, True, False])
    """
    study = _study(source, None, needs_split=False)
    visit = _at_risk(study.cohort)
    visits, outcome = study.cohort.visits, study.cohort.outcome
    last = visits.index[visit] == outcome.stop[visits.patient[visit]] - 1
    unfinished = ~outcome.observed & (outcome.censored_exposure < 1)
    visit, last = (each[~(last & unfinished[visits.patient[visit]])] for each in (visit, last))
    return _labels(study, visit, start, BOOLEAN_VALUE, last & outcome.observed[visits.patient[visit]])


def write_labels(
    source: Study | Cohort,
    hazards: Float[Tensor, " visit"],
    path: str | os.PathLike[str],
    *,
    start: datetime = START,
) -> None:
    """Write predictions as a MEDS label table: the hazard of the interval after each visit at risk, as `float_value`.

    The file appears complete or not at all; one that is there is replaced.

    Args:
        source: The patients.
        hazards: One for each of their visits; those that are history only are not written, and may be NaN.
        path: The Parquet file to write.
        start: When the patients' day 0 was, if the source has no dates.

    Raises:
        ValueError: There is another number of hazards, one at risk is no probability, or the patients' ids are names.
        OSError: The disk is full.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> from visitwise.simulate import TEACHING
        >>> simulation = TEACHING.draw(10, seed=0)
        >>> with TemporaryDirectory() as folder:
        ...     write_labels(simulation.cohort, simulation.hazard, f"{folder}/true.parquet")
        ...     pl.read_parquet(f"{folder}/true.parquet").columns
        ['subject_id', 'prediction_time', 'float_value']
    """
    path = Path(path)
    study = _study(source, None, needs_split=False)
    visits = study.cohort.visits
    if list(hazards.shape) != [visits.n_visits]:
        raise ValueError(f"hazards has shape {list(hazards.shape)}; expected [{visits.n_visits}], one a visit")
    visit = _at_risk(study.cohort)
    chosen = hazards.detach().cpu()[visit]
    ids = visits.patient_id[visits.patient[visit]]
    refuse(~((chosen >= 0) & (chosen <= 1)), ids, chosen, "has the hazard {} at a visit at risk; expected 0 to 1")
    table = _labels(study, visit, start, FLOAT_VALUE, chosen.float())
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with _room(path):
            write_parquet(table, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _at_risk(cohort: Cohort) -> Int[Tensor, " row"]:
    """Positions of the visits whose interval counts."""
    visits, outcome = cohort.visits, cohort.outcome
    index, patient = visits.index, visits.patient
    return ((index >= outcome.start[patient]) & (index < outcome.stop[patient])).nonzero()[:, 0]


def _labels(study: Study, visit: Int[Tensor, " row"], start: datetime, name: str, values: Tensor) -> pl.DataFrame:
    visits = study.cohort.visits
    patient = visits.patient[visit]
    time = _origin(study, start)[patient].numpy() + _microseconds(visits.day[visit])
    columns = {SUBJECT: visits.patient_id[patient].numpy(), PREDICTION_TIME: time, name: values.numpy()}
    return pl.DataFrame(columns).with_columns(pl.col(each).cast(LABEL_TYPES[each]) for each in columns)


# ------------------------------------------------------------------------------------------------------- what is said


class _Words:
    """The codes of a dataset: what the cohort's schema names, and what says the rest."""

    def __init__(self, cohort: Cohort, outcome_code: str, end_code: str, censored_exposure: float) -> None:
        schema, outcome = cohort.visits.schema, cohort.outcome
        n_causes = max(int(outcome.cause.max()), 1)
        self.end = end_code
        self.causes = [outcome_code, *(f"{outcome_code}//{cause}" for cause in range(2, n_causes + 1))]
        self.has_history = bool((outcome.start > 0).any())
        self.features = [*(name for name in schema.codes if name != PADDING), *schema.static, *schema.measurements]
        meanings = {
            ENCOUNTER_CODE: "A visit; closes at this time",
            INDEX_CODE: "Follow-up starts when this visit closes",
            **{code: f"The event, cause {cause}" for cause, code in enumerate(self.causes, start=1)},
            end_code: "End of follow-up without the event",
        }
        self._check(meanings)
        if not self.has_history:
            del meanings[INDEX_CODE]
        self.all = [*self.features, *meanings]
        self.descriptions = [*[None] * len(self.features), *meanings.values()]
        self.at = {code: place for place, code in enumerate(self.all)}
        self.definition = CohortDefinition(
            outcome=(outcome_code,),
            end_of_follow_up=f"code:{end_code}",
            competing=tuple((code,) for code in self.causes[1:]),
            index=(INDEX_CODE,) if self.has_history else (),
            visit=f"column:{ENCOUNTER_COLUMN}",
            censored_exposure=censored_exposure,
            never_input=(INDEX_CODE,) if self.has_history else (),
            min_patients=1,
            measurements=schema.measurements,
        )

    def _check(self, meanings: dict[str, str]) -> None:
        """No name may say two things."""
        if repeated := sorted({name for name in self.features if self.features.count(name) > 1}):
            raise ValueError(f"{repeated[0]!r} names a code and a feature, or two features; expected one of them")
        if len(meanings) < 3 + len(self.causes):
            raise ValueError(f"the event, the end of follow-up and the visit share a code: {list(meanings)}")
        for name in (*meanings, BIRTH_CODE, DEATH_CODE):
            stands = ENCOUNTER_CODE.__eq__ if name == ENCOUNTER_CODE else partial(stands_for, name)
            if clash := [code for code in self.features if stands(code)]:
                raise ValueError(f"the cohort has the code {clash[0]!r}, which {name!r} stands for; expected another")


def _study(source: Cohort | Simulation | Study, splits: Tensor | None, *, needs_split: bool = True) -> Study:
    """The source with a split, if one is needed; the patients' ids are numbers."""
    if isinstance(source, Study):
        if source.names is not None:
            raise ValueError(f"the patients have names such as {source.names[0]!r}; MEDS expects whole numbers")
        return source if splits is None else Study(source.cohort, splits, source.origin)
    cohort = source.cohort if isinstance(source, Simulation) else source
    if splits is None and needs_split:
        return Study.of(cohort)
    return Study(cohort, torch.zeros(len(cohort), dtype=torch.int8) if splits is None else splits)


def _origin(study: Study, start: datetime) -> Int[Tensor, " patient"]:
    """Each patient's day 0 in microseconds since 1970."""
    if study.origin is not None:
        return study.origin
    if start.tzinfo is not None:
        raise ValueError(f"start is {start.isoformat()}, with a time zone; expected none, as everywhere in MEDS")
    elapsed = start - datetime(1970, 1, 1)
    return torch.full((len(study),), elapsed.days * DAY + elapsed.seconds * 1_000_000 + elapsed.microseconds)


def _microseconds(days: Float[Tensor, " any"]) -> Int[np.ndarray, " any"]:
    whole: np.ndarray = np.rint(days.double().numpy() * DAY).astype(np.int64)
    return whole


def _ends(cohort: Cohort) -> tuple[Int[np.ndarray, " patient"], float]:
    """Microseconds from day 0 to the event or the end of follow-up, and what an interval counts that ends before its
    next visit; refuses what neither can say.
    """
    visits, outcome = cohort.visits, cohort.outcome
    ids, days = visits.patient_id, outcome.followup_days.double()
    refuse(days.isnan(), ids, days, "has {} followup_days; MEDS expects the time of the event or of the end")
    row = visits.visit_offsets[:-1] + outcome.stop - 1
    close = visits.day[row]
    refuse(days <= close, ids, days, "is followed for {} days; expected more than its last row at risk, day {}", close)
    has_next = outcome.stop < visits.length
    following = torch.where(has_next, visits.day[(row + 1).clamp(max=visits.n_visits - 1)], torch.inf)
    message = "is followed for {} days, beyond the first visit that is not at risk, on day {}; expected no more"
    refuse(days > following, ids, days, message, following)
    # Rounding must not put an event soon after a visit before its close.
    ends: np.ndarray = np.maximum(_microseconds(days), _microseconds(close) + 1)
    finished = has_next & torch.from_numpy(ends == _microseconds(following.where(has_next, days)))
    unfinished, exposure = ~outcome.observed & ~finished, outcome.censored_exposure
    shared = exposure[unfinished][:1] if bool(unfinished.any()) else torch.ones(1)
    message = (
        "has the censored exposure {}; expected {}: MEDS has no word for it, so that the definition says it for all"
    )
    at_a_visit = "has the censored exposure {}, and follow-up that ends with a visit; expected {}: its time says so"
    refuse(~outcome.observed & finished & (exposure != 1), ids, exposure, at_a_visit, torch.ones_like(exposure))
    refuse(unfinished & (exposure != shared), ids, exposure, message, shared.expand(len(ids)))
    return ends, float(shared)


def _filled(schema: Schema) -> Iterator[tuple[int, int]]:
    """Columns of static features that are missing for some, beside the columns that say for whom they are known."""
    for column, name in enumerate(schema.static):
        if f"{name} known" in schema.static:
            yield column, schema.static.index(f"{name} known")


def _known(visits: Visits) -> Bool[Tensor, "patient feature"]:
    """True where a static feature is written: what is missing is no row, and whether it is comes back by itself."""
    known = torch.ones(visits.static.shape, dtype=torch.bool)
    for column, says in _filled(visits.schema):
        known[:, column] = visits.static[:, says] == 1
        known[:, says] = False
    return known


def _check_filled(study: Study) -> None:
    """Refuse static features that would come back otherwise: what is missing comes back as the training mean."""
    visits = study.cohort.visits
    for column, says in _filled(visits.schema):
        values, known, train = visits.static[:, column].double(), visits.static[:, says] == 1, study.split == 0
        name = visits.schema.static[column]
        if not bool((train & known).any()) or not bool((train & ~known).any()):
            raise ValueError(
                f"{name + ' known'!r} is the same for all training patients; expected 0 for some, 1 for others"
            )
        mean = values[train & known].mean()
        wrong = (~known & ((values - mean).abs() > 1e-5 * (1 + mean.abs()))) | (~known & (visits.static[:, says] != 0))
        message = f"has {{}} for {name}, which is not known; expected {{}}, the mean of the training patients"
        refuse(wrong, visits.patient_id, values, message, mean.expand(len(values)))


# ---------------------------------------------------------------------------------------------------------------- rows


def _rows(
    shard: Cohort, words: _Words, origin: Int[np.ndarray, " patient"], ends: Int[np.ndarray, " patient"]
) -> pl.DataFrame:
    """The events of some patients, each patient's together and in the order of time."""
    visits, outcome = shard.visits, shard.outcome
    of_visit, everybody = visits.patient.numpy(), np.arange(len(shard))
    time = origin[of_visit] + _microseconds(visits.day)
    together = torch.from_numpy((np.diff(time) <= 0) & (np.diff(of_visit) == 0))
    message = "has two visits within a microsecond, on day {}; expected them further apart"
    refuse(together, visits.patient_id[of_visit[1:]], visits.day[1:], message)

    n_codes, n_static = len(visits.schema.codes) - 1, len(visits.schema.static)
    every_visit, first_at_risk = np.arange(visits.n_visits), (visits.visit_offsets[:-1] + outcome.start).numpy()
    of_code = every_visit.repeat(visits.code_offsets.diff().numpy())
    measured, column = (~visits.measurements.isnan()).numpy().nonzero()
    who, feature = _known(visits).numpy().nonzero()
    causes = np.array([words.at[code] for code in (words.end, *words.causes)])

    def at_visit(visit: np.ndarray, code: int | np.ndarray, value: np.ndarray | None = None) -> pl.DataFrame:
        return _block(of_visit[visit], time[visit], code, value, visit)

    blocks = [
        _block(who, None, feature + n_codes, visits.static.numpy()[who, feature]),
        at_visit(every_visit, words.at[ENCOUNTER_CODE]),
        at_visit(first_at_risk, words.at[INDEX_CODE]) if words.has_history else None,
        at_visit(of_code, visits.codes.numpy() - 1),
        at_visit(measured, column + n_codes + n_static, visits.measurements.numpy()[measured, column]),
        _block(everybody, origin + ends, causes[outcome.cause.numpy()]),
    ]
    # Rows at one time keep the order of the blocks: the event comes after the visit that it is recorded at.
    rows = pl.concat([block for block in blocks if block is not None]).sort("who", TIME, maintain_order=True)
    first_visit = pl.Series(visits.visit_offsets[:-1].numpy())
    return rows.select(
        pl.Series(visits.patient_id.numpy()).gather(rows["who"]).alias(SUBJECT),
        pl.col(TIME).cast(DATA_TYPES[TIME]),
        pl.Series(words.all, dtype=pl.String).gather(rows[CODE]).alias(CODE),
        pl.col(NUMERIC_VALUE),
        (pl.col(ENCOUNTER_COLUMN) - first_visit.gather(rows["who"])).alias(ENCOUNTER_COLUMN),
    )


def _block(
    who: Int[np.ndarray, " row"],
    time: Int[np.ndarray, " row"] | None,
    code: int | Int[np.ndarray, " row"],
    value: Float[np.ndarray, " row"] | None = None,
    visit: Int[np.ndarray, " row"] | None = None,
) -> pl.DataFrame:
    """Rows of one kind: the patient's position, microseconds, the code's position, a number, the visit's position."""
    columns = {"who": who, TIME: time, CODE: code, NUMERIC_VALUE: value, ENCOUNTER_COLUMN: visit}
    types = {"who": pl.Int64, TIME: pl.Int64, CODE: pl.Int64, NUMERIC_VALUE: pl.Float32, ENCOUNTER_COLUMN: pl.Int64}
    return pl.select(
        (pl.lit(None) if given is None else pl.lit(pl.Series(np.broadcast_to(given, len(who)))))
        .cast(types[name])
        .alias(name)
        for name, given in columns.items()
    )


# --------------------------------------------------------------------------------------------------------------- files


def _write_metadata(folder: Path, study: Study, words: _Words, name: str) -> None:
    codes = {CODE: words.all, DESCRIPTION: words.descriptions, PARENT_CODES: [None] * len(words.all)}
    frame = pl.DataFrame(
        codes, schema=[(CODE, pl.String), (DESCRIPTION, pl.String), (PARENT_CODES, pl.List(pl.String))]
    )
    write_parquet(frame, folder / CODES_FILE)
    splits = pl.Series(SPLITS).gather(pl.Series(study.split.numpy()))
    write_parquet(pl.DataFrame({SUBJECT: study.cohort.visits.patient_id.numpy(), SPLIT: splits}), folder / SPLITS_FILE)
    description = {
        "dataset_name": name,
        "etl_name": "visitwise",
        "etl_version": version("visitwise"),
        "meds_version": MEDS_VERSION,
        "other_extension_columns": [ENCOUNTER_COLUMN],
    }
    (folder / DATASET_FILE).write_text(json.dumps(description, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / DEFINITION_FILE).write_text(words.definition.to_toml(), encoding="utf-8")


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Write a table so that pyarrow, and with it `meds`' own validators, reads text as `string`.

    Polars notes the types that it has in memory beside those of Parquet, under a key that pyarrow follows: text becomes
    `large_string`, which MEDS does not allow. Under another name of the same length nobody follows the note.

    Args:
        frame: The table.
        path: The file to write.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import pyarrow.parquet
        >>> with TemporaryDirectory() as folder:
        ...     write_parquet(pl.DataFrame({"code": ["pain"]}), Path(folder) / "codes.parquet")
        ...     pyarrow.parquet.read_schema(f"{folder}/codes.parquet").field("code").type
        DataType(string)
    """
    memory = BytesIO()
    frame.write_parquet(memory)
    written = memory.getbuffer()
    end = len(written) - 8  # behind the footer stand its length, four bytes, and PAR1
    footer = end - int.from_bytes(written[end : end + 4], "little")
    written[footer:end] = bytes(written[footer:end]).replace(b"ARROW:schema", b"polars:types", 1)
    path.write_bytes(written)


@contextmanager
def _room(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise OSError(f"there is no room left for {path} on its disk; nothing is kept") from error
