"""Figure 4 by the package and by autograd."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.figures import Mutant
from visitwise.functional import hazard_nll, person_period
from visitwise.textbook import clamp_and_log_nll
from visitwise.widgets import PushMap

PAGE = "02-per-visit-bce"
WAYS = ("clamp", "logits")
EPS = (1e-7, 1e-3, 1e-5, 1e-9)


def states(random: np.random.Generator) -> list[dict[str, Any]]:
    untouched = PushMap().logits
    chosen = [untouched, [0.0] * 24, [20.0] * 24, [-20.0] * 24, [-17.0, 17.0] * 12, [-7.0, 7.0] * 12]
    chosen += [np.arange(at, at + 12, 0.5).tolist() for at in (-20.0, -8.0, 4.0, 8.5)]  # every logit on both sides
    chosen += [np.arange(at, at - 12, -0.5).tolist() for at in (20.0, 8.0, -4.0, -8.5)]
    grid = [
        {"logits": logits, "path": path, "eps": eps, "cell": cell}
        for logits in chosen
        for path in WAYS
        for eps in EPS
        for cell in (0, 2, 3, 14, 23)
    ]
    drawn = [
        {
            "logits": (random.integers(-40, 41, 24) / 2).tolist(),
            "path": WAYS[random.integers(2)],
            "eps": EPS[random.integers(4)],
            "cell": int(random.integers(24)),
        }
        for _ in range(400)
    ]
    return grid + drawn


def total(logits: Tensor, stop: Tensor, observed: Tensor, state: dict[str, Any]) -> Tensor:
    if state["path"] == "clamp":
        return len(stop) * clamp_and_log_nll(torch.sigmoid(logits), stop, observed, eps=state["eps"])
    return hazard_nll(logits, stop, observed, reduction="sum")


def oracle(state: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    logits = torch.tensor(state["logits"], dtype=torch.float64).view(4, 6).requires_grad_()
    stop, observed = torch.tensor(given["stop"]), torch.tensor(given["observed"])
    value = total(logits, stop, observed, state)
    gradients = torch.autograd.grad(value, logits)[0].flatten()

    rows = person_period(stop, observed)
    places = (6 * rows.patient + rows.visit).tolist()
    alone = torch.ones(1, dtype=torch.long)
    losses, closed = torch.zeros(24, dtype=torch.float64), torch.zeros(24, dtype=torch.float64)
    labels: list[int | None] = [None] * 24
    for place, event in zip(places, rows.event, strict=True):
        z = logits.detach().view(24)[place].view(1, 1)
        losses[place] = total(z, alone, event[None], state)
        closed[place] = (torch.sigmoid(z) - event.double()).item()
        labels[place] = int(event)

    eps, cell = torch.tensor(state["eps"], dtype=torch.float64), state["cell"]
    edges = [torch.logit(eps).item(), torch.logit(1 - eps).item()]
    _check(state, gradients, closed, labels, edges)
    return {
        "hazards": torch.sigmoid(logits).flatten().tolist(),
        "labels": labels,
        "losses": losses.tolist(),
        "closed": closed.tolist(),
        "gradients": gradients.tolist(),
        "without_push": (gradients == 0).tolist(),
        "nll": value.item(),
        "loss": losses[cell].item(),
        "gradient": gradients[cell].item(),
        "edges": edges,
    }


def _check(
    state: dict[str, Any], gradients: Tensor, closed: Tensor, labels: list[int | None], edges: list[float]
) -> None:
    """What the figure says: exactly 0 behind the clamp and where there is no row, elsewhere hazard minus label."""
    low, high = edges
    for z, gradient, push, label in zip(state["logits"], gradients.tolist(), closed.tolist(), labels, strict=True):
        behind = state["path"] == "clamp" and not low <= z <= high
        assert (gradient == 0) is (label is None or behind)
        assert behind or abs(gradient - push) < 1e-12


MUTANTS = [
    Mutant("the clamp lets the slope through", "if (kept !== hazard) return { loss, gradient: 0 };", ""),
    Mutant(
        "the clamp has no upper end",
        "clamp(hazard, eps, 1 - eps);\n  const loss",
        "Math.max(hazard, eps);\n  const loss",
    ),
    Mutant("log(1 - h + eps) for the clamp", "label ? kept : 1 - kept);", "label ? kept : 1 - hazard + eps);"),
    Mutant("the slope in the hazard", "1 / (1 - kept)) * hazard * (1 - hazard)", "1 / (1 - kept))"),
    Mutant("rows after the end", "visit < rows ?", "visit <= rows ?"),
    Mutant("the event one row late", "visit === rows - 1", "visit === rows"),
    Mutant("censoring taken for the event", "observed[patient] && visit", "visit"),
    Mutant("label minus hazard", "closed: sigmoid(z) - label", "closed: label - sigmoid(z)"),
    Mutant("the label left out", "gradient: -sigmoid(-z)", "gradient: sigmoid(z)"),
    Mutant("the cell's neighbour", "gradient: rows[cell].gradient", "gradient: rows[Math.max(cell - 1, 0)].gradient"),
    Mutant(
        "the mean for the sum", "nll: sum(rows.map(({ loss }) => loss))", "nll: sum(rows.map(({ loss }) => loss)) / 4"
    ),
    Mutant("log(eps) for its logit", "Math.log(hazard / (1 - hazard))", "Math.log(hazard)"),
    Mutant("the two ends frozen alike", "label ? kept : 1 - kept);", "label ? kept : Math.max(1 - hazard, eps));"),
    Mutant("the loss from the logit clamped as well", "loss: softplus(-z)", "loss: Math.min(softplus(-z), 16.118)"),
]
