"""Whom a trained model meets: the judges it has not seen, and the patients it predicts for."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from visitwise.cohort import Cohort
from visitwise.model import SurvivalRNN
from visitwise.run.choices import Choices
from visitwise.run.report import HELD_OUT
from visitwise.run.scores import AT_ONCE, KnownHazard
from visitwise.run.sources import (
    STUDY,
    first_cause_only,
    kind_of,
    open_cohort,
    open_study,
    resolved,
    seen_by,
    true_hazard,
)
from visitwise.study import Study
from visitwise.visits import Schema


@dataclass(frozen=True)
class Judges:
    """Patients to score a model on.

    Args:
        name: What a report calls them.
        fresh: Patients that the model has not seen.
        past: Patients of the same source that it has, to fit baselines to; None if there are none, or none are wanted.
        n_seen: How many it has seen.
        no_baselines: Why there are none to fit baselines to.
        truth: True hazards, if known.
    """

    name: str
    fresh: Cohort
    past: Cohort | None
    n_seen: int
    no_baselines: str
    truth: KnownHazard | None


def judges_of(folder: Path, source: str | None, schema: Schema) -> Judges:
    """The patients of a source that a run's model has not seen; without a source, the held-out ones of the run.

    Args:
        folder: The run's folder.
        source: A folder of events, a cohort's folder, or a name.
        schema: Names of the model's inputs.

    Raises:
        ValueError: The source has other inputs than the model, or nobody that it has not seen.

    Examples:
        >>> judges_of(Path("nowhere"), None, Schema.of(["pain"]))
        Traceback (most recent call last):
        FileNotFoundError: nowhere holds no choices.toml; expected a folder written by `visitwise train`
    """
    choices = _choices(folder, source)
    own = choices is not None and (source is None or resolved(source) == choices.source)
    name = HELD_OUT if own or source is None else Path(source).resolve().name
    study = first_cause_only(_open(folder, source, choices, predict=False))
    cohort = study.cohort
    told = source or (choices.source if choices else "")
    if cohort.visits.schema != schema:
        raise ValueError(f"{told} has other codes or features than the model in {folder}; expected the same")
    seen = seen_by(folder, cohort)
    if bool(seen.all()):
        raise ValueError(f"the model in {folder} was trained on every patient of {told}; expected others to score on")
    wanted = choices is None or choices.baselines
    past = cohort.select(seen.nonzero()[:, 0]) if bool(seen.any()) and wanted else None
    reason = "none of the patients the model was trained on are in this cohort" if wanted else "the run has none"
    fresh = cohort.select((~seen).nonzero()[:, 0])
    return Judges(name, fresh, past, int(seen.sum()), reason, true_hazard(told, cohort))


def patients_of(folder: Path, source: str | None, schema: Schema) -> Study:
    """The patients of a source to predict for, all of them; without a source, those of the run itself.

    Raises:
        ValueError: The source has other inputs than the model.

    Examples:
        >>> patients_of(Path("nowhere"), None, Schema.of(["pain"]))
        Traceback (most recent call last):
        FileNotFoundError: nowhere holds no choices.toml; expected a folder written by `visitwise train`
    """
    study = _open(folder, source, _choices(folder, source), predict=True)
    if study.cohort.visits.schema != schema:
        raise ValueError(f"{source} has another schema than the model in {folder}: other codes or features")
    return study


def write_predictions(model: SurvivalRNN, study: Study, out: Path, *, seen: Bool[Tensor, " patient"]) -> None:
    """Write a CSV file with the hazard at every visit, and what follows from it; whole or not at all.

    Args:
        model: The model.
        study: The patients.
        out: The file; one that is there is replaced.
        seen: Who taught the model.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> from visitwise.simulate import TEACHING
        >>> study = Study.of(TEACHING.draw(50, seed=0).cohort)
        >>> model = SurvivalRNN(study.cohort.visits.schema, hidden=4, embedding=4)
        >>> with TemporaryDirectory() as folder:
        ...     out = Path(folder) / "predictions.csv"
        ...     write_predictions(model, study, out, seen=torch.zeros(50, dtype=torch.bool))
        ...     out.read_text().splitlines()[0]
        'patient_id,seen,visit,day,hazard,survival,event_probability'
    """
    unfinished = out.with_name(f".{out.name}.unfinished")
    cohort, taught = study.cohort, seen.int()
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            for patients in tqdm(torch.arange(len(cohort)).split(AT_ONCE), desc="predicting", leave=False):
                visits = cohort.visits.select(patients)
                prediction = model.predict(visits, start=cohort.outcome.start[patients])
                who = patients[visits.patient]
                names = visits.patient_id[visits.patient].numpy()
                columns = {
                    "patient_id": names if study.names is None else [study.names[one] for one in who.tolist()],
                    "seen": taught[who].numpy(),
                    "visit": visits.index.numpy(),
                    "day": visits.day.numpy(),
                    **({} if study.origin is None else {"time": _times(study.origin[who], visits.day)}),
                    "hazard": visits.unpad(prediction.hazard).numpy(),
                    "survival": visits.unpad(prediction.survival).numpy(),
                    "event_probability": visits.unpad(prediction.event_probability).numpy(),
                }
                pd.DataFrame(columns).to_csv(file, index=False, header=file.tell() == 0, float_format="%.9g")
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)


def write_labels(model: SurvivalRNN, study: Study, out: Path) -> int:
    """Write a MEDS label table with the hazard after each visit at risk, whole or not at all, and say how many.

    Raises:
        ValueError: The patients have no dates, or ids that are not whole numbers.
        ModuleNotFoundError: The package polars is missing.

    Examples:
        >>> from visitwise.simulate import TEACHING
        >>> study = Study.of(TEACHING.draw(50, seed=0).cohort)
        >>> write_labels(SurvivalRNN(study.cohort.visits.schema), study, Path("labels.parquet"))
        Traceback (most recent call last):
        ValueError: the patients have no dates, which a MEDS label table needs; expected the name of a CSV file
    """
    if study.origin is None:
        raise ValueError("the patients have no dates, which a MEDS label table needs; expected the name of a CSV file")
    from visitwise import meds

    cohort, hazards = study.cohort, []
    for patients in tqdm(torch.arange(len(cohort)).split(AT_ONCE), desc="predicting", leave=False):
        visits = cohort.visits.select(patients)
        prediction = model.predict(visits, start=cohort.outcome.start[patients])
        hazards.append(visits.unpad(prediction.hazard))
    unfinished = out.with_name(f".{out.name}.whole")
    unfinished.unlink(missing_ok=True)
    try:
        meds.write_labels(study, torch.cat(hazards), unfinished)
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
    return cohort.outcome.n_rows


def _times(origin: Tensor, day: Float[Tensor, " visit"]) -> pd.Series:
    """Moments as text: the same to a microsecond in each part of a file."""
    since = origin + (day * 86_400_000_000).round().long()
    return pd.Series(since.numpy().astype("datetime64[us]")).dt.strftime("%Y-%m-%dT%H:%M:%S.%f")


def _choices(folder: Path, source: str | None) -> Choices | None:
    """Those of the run; a model from before there were any has none, and needs a source."""
    try:
        return Choices.load(folder)
    except FileNotFoundError:
        if source is None:
            raise
        return None


def _open(folder: Path, source: str | None, choices: Choices | None, *, predict: bool) -> Study:
    """The run's own patients, or others as it would have read them."""
    if choices is not None and (source is None or resolved(source) == choices.source):
        return open_study(choices, folder, split=False)
    if source is None or kind_of(source) != "events":
        cohort = open_cohort(source or "")
        return Study(cohort, torch.full((len(cohort),), 2, dtype=torch.int8))
    if choices is None or choices.definition is None:
        raise ValueError(f"the model in {folder} was not trained on events; expected a cohort instead of {source}")
    from visitwise import meds

    vocabulary = Study.load(folder / STUDY).vocabulary
    with TemporaryDirectory(ignore_cleanup_errors=True) as place:  # what is mapped stays readable
        return meds.prepare(
            source, choices.definition, Path(place) / STUDY, vocabulary=vocabulary, predict=predict, progress=True
        )
