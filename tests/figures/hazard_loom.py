"""Figure 1 by the package."""

import math
from typing import Any

import numpy as np
import torch

from tests.figures import Mutant
from visitwise.functional import event_probability, hazard_nll, logits_from_hazard, survival

PAGE = "01-hazard-to-likelihood"


def states(random: np.random.Generator) -> list[dict[str, Any]]:
    chosen = [[0.1, 0.2, 0.3], [0.05, 0.08, 0.15, 0.4], [0.15, 0.25], [0.01], [0.99] * 6, [0.01, 0.99]]
    chosen += [np.round(random.uniform(0.01, 0.99, random.integers(1, 7)), 2).tolist() for _ in range(300)]
    return [
        {"hazards": hazards, "event": event, "formula": formula}
        for hazards in chosen
        for event in range(len(hazards))
        for formula in ("product", "exp")
    ]


def oracle(state: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    hazards, event = state["hazards"], state["event"]
    logits = logits_from_hazard(torch.tensor(hazards, dtype=torch.float64))
    one_row = lambda k, seen: hazard_nll(logits[None, k : k + 1], torch.tensor([1]), torch.tensor([seen])).item()  # noqa: E731
    return {
        "survival": survival(logits).tolist(),
        "event_probability": event_probability(logits).tolist(),
        "left": survival(logits)[-1].item(),
        "by_exp": math.exp(-sum(hazards)),
        "sum_of_hazards": sum(hazards),
        "costs": [one_row(k, k == event) for k in range(event + 1)],
        "nll": hazard_nll(logits[None], torch.tensor([event + 1]), torch.tensor([True])).item(),
    }


MUTANTS = [
    Mutant(
        "survival by exp(-sum h)",
        "return hazard.map((h) => (left *= 1 - h));",
        "return hazard.map((h) => (left *= Math.exp(-h)));",
        "functional",
    ),
    Mutant("S off by one in f", "h * (k ? left[k - 1] : 1)", "h * left[k]", "functional"),
    Mutant(
        "the event's row counted twice",
        "(observed ? eventNll(last)",
        "(observed ? eventNll(last) + survivedNll(last)",
        "functional",
    ),
    Mutant("rows <= last survived", "hazard.slice(0, stop - 1)", "hazard.slice(0, stop)", "functional"),
    Mutant("the event's row left out", "hazardNll(hazards, event + 1, true)", "hazardNll(hazards, event, true)"),
    Mutant(
        "the mean for the sum",
        "nll: hazardNll(hazards, event + 1, true)",
        "nll: hazardNll(hazards, event + 1, true) / (event + 1)",
    ),
    Mutant(
        "the event taken for censoring", "hazardNll(hazards, event + 1, true)", "hazardNll(hazards, event + 1, false)"
    ),
    Mutant("the last hazard left out of exp(-sum h)", "Math.exp(-sum(hazard))", "Math.exp(-sum(hazard.slice(0, -1)))"),
]
