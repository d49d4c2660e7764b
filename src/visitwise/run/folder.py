"""A run's folder: what lies in it, and how each file gets there whole or not at all."""

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from visitwise.cohort import Cohort
from visitwise.leakage import check_no_leak
from visitwise.model import SurvivalRNN
from visitwise.parallel import Device, device_of, joined, sum_over_processes
from visitwise.run.choices import CHOICES, Choices
from visitwise.run.describe import table_one, vocabulary
from visitwise.run.figures import baseline_of, draw_history, draw_scores
from visitwise.run.report import METRICS, read_metrics, write_report
from visitwise.run.scores import ORACLE, Hazard, Scores, fit_baselines, score
from visitwise.run.sources import (
    STUDY,
    by_lot_at_most,
    fingerprints,
    first_cause_only,
    open_study,
    outcome_codes,
    true_hazard,
)
from visitwise.run.whole import write_bytes, write_text
from visitwise.study import SPLITS, Study
from visitwise.training import History, fit, load_model, save_model

LEAK_PATIENTS = 5_000


def train(
    choices: Choices, folder: Path, *, device: Device = "auto", progress: bool = True
) -> tuple[History, dict[str, Any]] | None:
    """Train a model as the choices say, judge it on the tuning patients, and write the run's folder.

    The same call goes on where an interrupted one was. Under `torchrun` the processes share the training, and the first
    does the rest.

    Returns:
        What training gave epoch by epoch, and what stands in `metrics.json`; None in the other processes.

    Raises:
        ValueError: The folder holds a run with another choice, which is named; the choices do not fit the source; or
            there is nothing to learn, such as an outcome that no training patient has.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> from visitwise.run import Training
        >>> choices = Choices("small", training=Training(epochs=1, hidden=4, embedding=4))
        >>> with TemporaryDirectory() as parent:
        ...     history, metrics = train(choices, Path(parent) / "first", progress=False)
        ...     sorted(path.name for path in (Path(parent) / "first").iterdir() if path.suffix in (".html", ".toml"))
        ['choices.toml', 'report.html']
    """
    where, settings = device_of(device), choices.training
    with joined(where) as rank:
        if rank == 0:
            claim(folder, choices)
            with _undone_if_refused(folder):
                study = _learnable(choices, folder, progress)
        sum_over_processes(torch.zeros(1))  # the others wait until the study is there
        if rank > 0:
            study = first_cause_only(open_study(choices, folder, progress=False))
        model = SurvivalRNN.for_cohort(
            study.train, hidden=settings.hidden, embedding=settings.embedding, cell=settings.cell, seed=settings.seed
        ).to(where)
        history = fit(
            model, study.train, study.tuning, epochs=settings.epochs, batch_size=settings.batch_size,
            learning_rate=settings.learning_rate, window=settings.window, patience=settings.patience,
            seed=settings.seed, checkpoint=folder / "checkpoint", progress=progress,
        )  # fmt: skip
    if rank > 0:
        return None
    save_model(model, folder)
    _write_inputs(study, folder)
    return history, _judge(choices, study, model.cpu(), history, folder, progress)


def claim(folder: Path, choices: Choices) -> None:
    """Write the choices into a run's folder, unless what was made there was made with others.

    Raises:
        ValueError: A choice differs; names it.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as parent:
        ...     claim(Path(parent), Choices("small"))
        ...     Choices.load(parent) == Choices("small")
        True
    """
    made = any((folder / name).exists() for name in (STUDY, "checkpoint", "model.json"))
    if made and (folder / CHOICES).is_file():
        for name, before, now in Choices.load(folder).differences(choices):
            raise ValueError(
                f"{folder} holds a run with {name} = {before}, not {now}; expected the same choices, another folder, "
                "or this one emptied"
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CHOICES, choices.to_toml())


def evaluate(
    folder: Path,
    model: SurvivalRNN,
    fresh: Cohort,
    past: Cohort | None,
    *,
    name: str,
    truth: Hazard | None = None,
    progress: bool = True,
) -> tuple[Scores, list[str]]:
    """Judge a run's model on patients it has not seen, and put the scores into its metrics and its report.

    Args:
        folder: The run's folder.
        model: Its model.
        fresh: Patients that the model has not seen.
        past: Patients that it has, to fit the baselines to; None for no baselines.
        name: What the report calls these judges, such as `"held out"`.
        truth: True hazards, if known.
        progress: Whether to show a progress bar.

    Returns:
        The scores, and what has to be said about the baselines.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> from visitwise.simulate import TEACHING
        >>> fresh, past = TEACHING.draw(200, seed=0).cohort.split([0.5, 0.5], seed=0)
        >>> model = SurvivalRNN.for_cohort(past, hidden=4, embedding=4)
        >>> with TemporaryDirectory() as folder:
        ...     scores, notes = evaluate(Path(folder), model, fresh, past, name="held out", progress=False)
        >>> list(scores.record["models"])
        ['life table', 'logistic, history by hand', 'LSTM']
    """
    scores, notes = _beside_baselines(model, fresh, past, truth, progress)
    if (folder / CHOICES).is_file() and (folder / METRICS).is_file():
        metrics = read_metrics(folder)
        metrics["scores"][name] = scores.record | {"notes": notes}
        draw_scores(folder, name, scores)
        _write_metrics(folder, metrics)
    return scores, notes


# ------------------------------------------------------------------------------------------------------------- parts


def _learnable(choices: Choices, folder: Path, progress: bool) -> Study:
    """The study, if there is something to learn from it."""
    study = first_cause_only(open_study(choices, folder, progress=progress))
    _check(study)
    return study


@contextmanager
def _undone_if_refused(folder: Path) -> Iterator[None]:
    """Nothing is left in the folder of a run whose patients are refused, unless it was trained before."""
    try:
        yield
    except (ValueError, OSError, ModuleNotFoundError):
        if not any((folder / name).exists() for name in ("checkpoint", "model.json")):
            shutil.rmtree(folder / STUDY, ignore_errors=True)
            (folder / CHOICES).unlink(missing_ok=True)
            with suppress(OSError):  # there is something else in it
                folder.rmdir()
        raise


def _check(study: Study) -> None:
    """Before hours of training: an outcome that occurs, and does not occur in each row."""
    train, named = study.train.outcome, ""
    if study.definition is not None:
        named = f" ({', '.join(study.definition.outcome)})"
    events = int(train.observed.sum())
    if events == 0:
        elsewhere = int(study.cohort.outcome.observed.sum())
        raise ValueError(
            f"none of the {len(train):,} training patients has the event{named}, {elsewhere:,} of the others do; "
            "expected at least one to learn from"
        )
    if events == train.n_rows:
        raise ValueError(
            f"each of the {events:,} rows of the training patients holds the event{named}; expected some without"
        )
    _ = study.tuning


def _write_inputs(study: Study, folder: Path) -> None:
    write_text(folder / "vocabulary.csv", vocabulary(study.train).to_csv(index=False))
    seen = io.BytesIO()
    np.save(seen, np.concatenate([fingerprints(study.train), fingerprints(study.tuning)]))
    write_bytes(folder / "patients_seen.npy", seen.getvalue())


def _judge(
    choices: Choices, study: Study, model: SurvivalRNN, history: History, folder: Path, progress: bool
) -> dict[str, Any]:
    """Scores on the tuning patients, the leak check and the report; scores of other patients stay."""
    past, truth = study.train if choices.baselines else None, true_hazard(choices.source, study.cohort)
    scores, notes = _beside_baselines(model, study.tuning, past, truth, progress)
    before = read_metrics(folder).get("scores", {}) if (folder / METRICS).is_file() else {}
    sizes = {}
    for part in SPLITS:
        outcome = study.cohort.outcome.select(study.positions(part))
        sizes[part] = {"patients": len(outcome), "rows": outcome.n_rows, "events": int(outcome.observed.sum())}
    metrics = {
        "format": "visitwise metrics 1",
        "model": scores.yours,
        "parts": sizes,
        "causes": _causes_in_words(study),
        "flow": None if study.flow is None else json.loads(study.flow.to_json()),
        "table_one": table_one(study.cohort).to_dict("records"),
        "training": asdict(history) | {"best_epoch": history.best_epoch},
        "scores": before | {"tuning": scores.record | {"notes": notes}},
        "leaks": _leaks(study, model, progress),
    }
    draw_history(folder, history, baseline_of(scores.record))
    draw_scores(folder, "tuning", scores)
    _write_metrics(folder, metrics)
    return metrics


def _beside_baselines(
    model: SurvivalRNN, judges: Cohort, past: Cohort | None, truth: Hazard | None, progress: bool
) -> tuple[Scores, list[str]]:
    """Scores of the model, of baselines fitted to past patients, and of the true hazards, each if there are any."""
    judged, notes = fit_baselines(past) if past is not None else ({}, [])
    yours = model.settings["cell"].upper()
    judged[yours] = lambda visits: model.predict(visits).hazard_logits
    if truth is not None:
        judged[ORACLE] = truth
    return score(judged, judges, yours, progress=progress), notes


def _causes_in_words(study: Study) -> list[str]:
    """What a reader has to know of several causes, if there are."""
    if int(study.cohort.outcome.cause.max()) > 1:
        return ["There are several causes; an event of any of them counts as the event."]
    if study.definition is None or not study.definition.competing:
        return []
    codes = " or ".join(name for names in study.definition.competing for name in names)
    more = "" if study.flow is None else f" ({study.flow.kept['events'] - int(study.cohort.outcome.observed.sum()):,})"
    return [
        f"What was recorded as {codes} ends follow-up without the event{more}. The hazard is that of patients who have "
        "had neither so far; survival made of it alone is no share of patients, because some leave the other way."
    ]


def _leaks(study: Study, model: SurvivalRNN, progress: bool) -> dict[str, Any]:
    some = by_lot_at_most(study.train, LEAK_PATIENTS)
    report = check_no_leak(some, model, outcome_codes=outcome_codes(study.definition), progress=progress)
    return {
        "patients": len(some),
        "findings": [finding.sentence for finding in report.findings],
        "looked_at": list(report.looked_at),
        "notes": list(report.notes),
        "strongest": [list(one) for one in report.strongest],
    }


def _write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    write_text(folder / METRICS, json.dumps(metrics, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_report(folder)


def load_rnn(folder: Path) -> SurvivalRNN:
    """The model of a run's folder.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is of another kind.

    Examples:
        >>> load_rnn(Path("nowhere"))
        Traceback (most recent call last):
        FileNotFoundError: nowhere holds no model.json; expected a folder written by this package
    """
    if isinstance(model := load_model(folder), SurvivalRNN):
        return model
    raise ValueError(f"{folder} holds a {type(model).__name__}; expected a SurvivalRNN, as `visitwise train` writes")
