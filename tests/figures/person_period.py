"""Figure 3 by the package and by PyTorch's own binary cross-entropy."""

from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from tests.figures import Mutant
from visitwise.check.person_period import every_cell
from visitwise.functional import hazard_nll, logits_from_hazard, person_period

PAGE = "02-per-visit-bce"
VISITS = 4


def states(random: np.random.Generator) -> list[dict[str, Any]]:
    untouched = {"stops": [3, 2, 3], "observed": [1, 1, 0], "poured": 12, "chosen": 2, "after": False, "mean": False}
    ends = [([3, 2, 3], [1, 1, 0]), ([1, 1, 1], [0, 0, 0]), ([4, 4, 4], [1, 1, 1]), ([1, 4, 2], [1, 0, 1])]
    grid = [
        {"stops": stops, "observed": seen, "poured": poured, "chosen": chosen, "after": after, "mean": mean}
        for (stops, seen), poured, chosen, after, mean in product(
            ends, (0, 1, 3, 5, 12), (0, 2), (False, True), (False, True)
        )
    ]
    for _ in range(400):
        stops = random.integers(1, VISITS + 1, 3).tolist()
        after = bool(random.integers(2))
        grid.append(
            {
                "stops": stops,
                "observed": random.integers(0, 2, 3).tolist(),
                "poured": int(random.choice([12, random.integers(0, 13)])),
                "chosen": int(random.integers(3 * VISITS if after else sum(stops))),
                "after": after,
                "mean": bool(random.integers(2)),
            }
        )
    return [untouched, *grid]


def oracle(state: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    logits = logits_from_hazard(torch.tensor(given["hazards"], dtype=torch.float64))
    outcome = torch.tensor(state["stops"]), torch.tensor(state["observed"]).bool()
    patients, at_risk = len(logits), person_period(*outcome)
    label = torch.zeros_like(logits)
    label[at_risk.patient, at_risk.visit] = at_risk.event.to(label.dtype)
    is_row = torch.zeros_like(logits, dtype=torch.bool)
    is_row[at_risk.patient, at_risk.visit] = True
    table = torch.ones_like(is_row) if state["after"] else is_row

    def bce(cells: Tensor, reduction: str = "sum") -> Tensor:
        return binary_cross_entropy_with_logits(logits[cells], label[cells], reduction=reduction)

    each = hazard_nll(logits, *outcome, reduction="none")
    whole = patients * every_cell(logits, *outcome) if state["after"] else bce(is_row)
    patient, visit = (index.tolist() for index in table.nonzero(as_tuple=True))
    costs = bce(table, "none").tolist()
    count = min(state["poured"], len(costs))
    first = torch.zeros_like(table)
    first[patient[:count], visit[:count]] = True
    poured = bce(first)
    right = poured / len(costs) if state["mean"] else poured
    left = hazard_nll(logits, *outcome, reduction="mean" if state["mean"] else "sum")
    return {
        "rows": [
            {
                "patient": i,
                "visit": k,
                "event": int(label[i, k]),
                "at_risk": bool(is_row[i, k]),
                "hazard": given["hazards"][i][k],
                "cost": cost,
            }
            for i, k, cost in zip(patient, visit, costs, strict=True)
        ],
        "each": each.tolist(),
        "count": count,
        "events": int(at_risk.event.sum()),
        "n_rows": len(costs),
        "n_seen": len(at_risk.event),
        "poured": poured.item(),
        "left": left.item(),
        "right": right.item(),
        "nll": hazard_nll(logits, *outcome, reduction="sum").item(),
        "bce": bce(is_row).item(),
        "unseen": (whole - bce(is_row)).item(),
        "learned": label[table].mean().item(),
        "best": at_risk.event.double().mean().item(),
        "same": torch.isclose(left, right, rtol=0, atol=1e-12).item(),
    }


MUTANTS = [
    Mutant("a row after the end", "after ? VISITS : stop }", "after ? VISITS : Math.min(stop + 1, VISITS) }"),
    Mutant("the last row left out", "after ? VISITS : stop }", "after ? VISITS : stop - 1 }"),
    Mutant("the event one row late", "visit === stop - 1 ? 1 : 0", "visit === stop ? 1 : 0"),
    Mutant("a censored end taken for the event", "event: observed[patient] && visit", "event: visit"),
    Mutant("<= for < at risk", "at_risk: visit < stop", "at_risk: visit <= stop"),
    Mutant("the event's row survived as well", "(1 - y) * Math.log1p(-hazard)", "Math.log1p(-hazard)"),
    Mutant("labels upside down", "y * Math.log(hazard) + (1 - y)", "(1 - y) * Math.log(hazard) + y"),
    Mutant("one patient's hazards for all", "hazards[row.patient][row.visit]", "hazards[0][row.visit]"),
    Mutant("the mean of the rows over patients", "mean ? rows.length : 1", "mean ? stops.length : 1"),
    Mutant("the mean of the patients over rows", "mean ? stops.length : 1", "mean ? rows.length : 1"),
    Mutant("the sum for the mean", "mean ? rows.length : 1", "1"),
    Mutant("the last row poured left out", "cost(rows.slice(0, count))", "cost(rows.slice(0, count - 1))"),
    Mutant("events divided by patients", "learned: events / rows.length", "learned: events / stops.length"),
    Mutant("events divided by rows that nobody saw", "best: events / seen.length", "best: events / rows.length"),
    Mutant("rows that nobody saw in the BCE", "bce: cost(seen)", "bce: cost(rows)"),
    Mutant("the censored row dropped", "eventNll(last) : survivedNll(last)", "eventNll(last) : 0", "functional"),
    Mutant(
        "the event's row survived in the likelihood", "hazard.slice(0, stop - 1)", "hazard.slice(0, stop)", "functional"
    ),
]
