"""Small models, trained, that come with the package: the playground runs them, and a snippet from it loads them.

Each was trained on patients drawn from a simulator (`world`), so the true hazard of any record is known. `python -m
visitwise.trained` trains them again.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypedDict

from visitwise.model import CompetingRisksRNN, SurvivalRNN
from visitwise.simulate import TEACHING, Simulator
from visitwise.training import LOSSES, Model, evaluate_nll, fit, load_model

Name = Literal["causal", "bidirectional", "competing"]

FOLDER = Path(__file__).parent
EPOCHS = {"causal": (0, 1, 2, 3, 5, 8, 12, 16), "bidirectional": (16,), "competing": (16,)}
CURVES, INTERCEPTS = FOLDER / "curves.json", FOLDER / "intercepts.json"
N_TRAIN, N_VALIDATION = 40_000, 4_000


def world(name: Name = "causal") -> Simulator:
    """The simulator whose patients a model was trained on; its `hazard` is the truth that the model estimates.

    Raises:
        ValueError: There is no such model.

    Examples:
        >>> world("competing").n_causes
        2
    """
    _check_name(name)
    return replace(TEACHING, n_causes=2) if name == "competing" else TEACHING


def file_of(name: Name = "causal", epoch: int = 16) -> Path:
    """Where the weights are, as one file that `load_model` reads and the playground, too.

    Raises:
        ValueError: There is no such model, or none of that epoch.

    Examples:
        >>> file_of("causal", epoch=3).name
        'causal-03.safetensors'
    """
    _check_name(name)
    if epoch not in EPOCHS[name]:
        raise ValueError(f"epoch is {epoch}; {name} was kept after {', '.join(map(str, EPOCHS[name]))}")
    return FOLDER / f"{name}-{epoch:02}.safetensors"


def load(name: Name = "causal", epoch: int = 16) -> Model:
    """A trained model.

    Args:
        name: `"causal"` reads visits up to the one it speaks of; `"bidirectional"` reads later ones, too, to show what
            goes wrong; `"competing"` tells two causes apart.
        epoch: After how many epochs; 0 is before the first. All but `"causal"` were kept at the end alone.

    Raises:
        ValueError: There is no such model, or none of that epoch.

    Examples:
        >>> visits = world().draw(2, seed=0).cohort.visits
        >>> load().predict(visits).hazard.shape == visits.mask.shape
        True
    """
    return load_model(file_of(name, epoch))


class Curve(TypedDict):
    """Negative log-likelihood per row of a run.

    `train` has one number for each epoch, taken while the weights moved; `validation`, of patients who were not trained
    on, begins before the first epoch; `oracle` is what the true hazards would cost those patients.
    """

    train: list[float]
    validation: list[float]
    oracle: float


def curve(name: Name = "causal") -> Curve:
    """How the loss fell while a model was trained.

    Raises:
        ValueError: There is no such model.

    Examples:
        >>> loss = curve()
        >>> loss["validation"][0] > loss["validation"][16] > loss["oracle"]
        True
    """
    _check_name(name)
    curves: dict[Name, Curve] = json.loads(CURVES.read_text(encoding="utf-8"))
    return curves[name]


def intercepts(name: Name = "causal") -> list[float]:
    """For each cause, the log-odds of its event in `world(name)` with nothing on record, at the age of 60.

    They are written down because a simulator needs seconds to find them.

    Raises:
        ValueError: There is no such model.

    Examples:
        >>> [round(one, 2) for one in intercepts("competing")]
        [-6.0, -3.92]
    """
    _check_name(name)
    found: dict[Name, list[float]] = json.loads(INTERCEPTS.read_text(encoding="utf-8"))
    return found[name]


def train(name: Name, keep: Callable[[int, Model], None], *, progress: bool = True) -> Curve:
    """Train a model again: the same patients, the same first weights, the same order of batches.

    Args:
        name: As in `load`.
        keep: Called with the number of epochs so far, from 0, and the model as it is then.
        progress: Whether to show a progress bar.

    Returns:
        How the loss fell, as `curve` gives it for the models that come with the package.

    Raises:
        ValueError: There is no such model.
    """
    learners = world(name).draw(N_TRAIN, seed=11).cohort
    judged = world(name).draw(N_VALIDATION, seed=12)
    judges = judged.cohort
    model: Model
    if name == "competing":
        model = CompetingRisksRNN.for_cohort(learners, embedding=6, hidden=12, path="padded")
    elif name == "bidirectional":
        future: dict[str, Any] = {"path": "packed", "bidirectional": True, "demonstration": True}
        model = SurvivalRNN.for_cohort(learners, embedding=6, hidden=12, **future)
    else:
        model = SurvivalRNN.for_cohort(learners, embedding=6, hidden=12, path="padded")
    loss = LOSSES[type(model)]
    keep(0, model)
    untrained = evaluate_nll(model, judges, loss=loss)
    truth = judged.cause_hazard if name == "competing" else judged.hazard[:, None]
    nothing = 1 - truth.sum(-1, keepdim=True)
    oracle = judges.visits.pad((truth / nothing).log())
    history = fit(
        model,
        learners,
        judges,
        loss=loss,
        epochs=16,
        batch_size=128,
        learning_rate=0.01,
        patience=16,
        padded_visits=1024,
        after_epoch=lambda now, so_far: keep(len(so_far.train_nll), now),
        progress=progress,
    )
    best = loss(oracle if name == "competing" else oracle[..., 0], judges.outcome, "sum").item()
    return {
        "train": history.train_nll,
        "validation": [untrained, *history.validation_nll],
        "oracle": best / judges.outcome.n_rows,
    }


def _check_name(name: str) -> None:
    if name not in EPOCHS:
        raise ValueError(f"name is {name!r}; expected one of {', '.join(EPOCHS)}")
