"""Figure 2 by the package."""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.figures import Mutant
from visitwise.baselines import Loss
from visitwise.check.likelihood import count_event_row_twice, drop_censored_row
from visitwise.functional import hazard_nll, logits_from_hazard
from visitwise.simulate import draw_outcome

PAGE = "01-hazard-to-likelihood"
LOSSES: dict[str, Loss] = {"likelihood": hazard_nll, "drop": drop_censored_row, "twice": count_event_row_twice}
TRUTHS = [round(0.05 * k, 2) for k in range(1, 20)]
DROPOUTS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def states(random: np.random.Generator) -> list[dict[str, Any]]:
    records = [[0.1, 0.2, 0.3], [0.15, 0.25], [0.01], [0.99], [0.5], [0.99] * 6, [0.01] * 6]
    cohorts = [(truth, dropout) for truth in TRUTHS for dropout in DROPOUTS]
    some = [(0.1, 0.1), (0.1, 0.5), (0.95, 0.0)]
    random.shuffle(cohorts)
    drawn = [np.round(random.uniform(0.01, 0.99, random.integers(1, 7)), 2).tolist() for _ in cohorts]
    pairs = [(record, cohort) for record in records for cohort in some] + list(zip(drawn, cohorts, strict=True))
    return [
        {"hazards": hazards, "ending": ending, "convention": convention, "truth": truth, "dropout": dropout}
        for hazards, (truth, dropout) in pairs
        for ending in ("censored", "event")
        for convention in LOSSES
    ]


def oracle(state: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    observed, convention = state["ending"] == "event", state["convention"]
    logits = logits_from_hazard(torch.tensor([state["hazards"]], dtype=torch.float64))
    rows = logits.shape[1]

    def cost(name: str, row: int) -> float:
        """One row as a record of its own: the rules differ in the last one only."""
        loss, ends = (LOSSES[name], observed) if row == rows - 1 else (hazard_nll, False)
        return loss(logits[:, row : row + 1], torch.tensor([1]), torch.tensor([ends])).item()

    losses = {
        name: loss(logits, torch.tensor([rows]), torch.tensor([observed])).item() for name, loss in LOSSES.items()
    }
    here = TRUTHS.index(state["truth"])
    cohort = {name: by_dropout[DROPOUTS.index(state["dropout"])].tolist() for name, by_dropout in learned().items()}
    curves = {name: cohort[name] for name in LOSSES}
    events, known = cohort["events"][here], cohort["rows"][here]
    return {
        "costs": {name: [cost(name, row) for row in range(rows)] for name in LOSSES},
        "losses": losses,
        "nll": losses[convention],
        "events": events,
        "rows": {"likelihood": known, "drop": cohort["rows_of_drop"][here], "twice": known + events},
        "learned": curves,
        "estimates": {name: curves[name][here] for name in LOSSES},
        "estimate": curves[convention][here],
        "too_high_by": {name: curves[name][here] / state["truth"] - 1 for name in LOSSES},
    }


@cache
def learned() -> dict[str, Tensor]:
    """The hazard that makes each loss smallest, by dropout and true hazard, in cohorts drawn now by the package."""
    outcomes = [
        draw_outcome(torch.full((100_000, 5), truth, dtype=torch.float64), dropout=dropout, seed=1)
        for dropout in DROPOUTS
        for truth in TRUTHS
    ]
    counts = {
        (stop, observed): torch.stack(
            [((drawn.stop == stop) & (drawn.observed == observed)).sum() for drawn in outcomes]
        )
        for stop in range(1, 6)
        for observed in (False, True)
    }
    found = {name: lowest(loss, counts) for name, loss in LOSSES.items()} | {
        "events": torch.stack([drawn.observed.sum() for drawn in outcomes]),
        "rows": torch.tensor([drawn.n_rows for drawn in outcomes]),
        "rows_of_drop": torch.stack([(drawn.stop - (~drawn.observed).long()).sum() for drawn in outcomes]),
    }
    return {name: values.view(len(DROPOUTS), len(TRUTHS)) for name, values in found.items()}


def lowest(loss: Loss, counts: dict[tuple[int, bool], Tensor]) -> Tensor:
    """Where the slope of the loss, by autograd, changes its sign: one logit for all rows of a cohort.

    A cohort is how many records of each kind it has. The mean over cohorts of one record's loss has a slope for each.
    """
    low = torch.full_like(next(iter(counts.values())), -8, dtype=torch.float64)
    high = -low
    for _ in range(56):
        logit = ((low + high) / 2).requires_grad_()
        every = logit[:, None].expand(-1, 5)
        slope = torch.zeros_like(low)
        for (stop, observed), how_many in counts.items():
            mean = loss(every, torch.full_like(how_many, stop), torch.full_like(how_many, observed, dtype=torch.bool))
            if mean.requires_grad:
                slope += how_many * torch.autograd.grad(mean * len(low), logit, retain_graph=True)[0]
        low = torch.where(slope < 0, logit.detach(), low)
        high = torch.where(slope < 0, high, logit.detach())
    return torch.sigmoid((low + high) / 2)


MUTANTS = [
    Mutant("the censored row dropped from the likelihood", 'rule === "drop" ? 0 :', 'rule !== "twice" ? 0 :'),
    Mutant("the censored row kept by the rule that drops it", 'rule === "drop" ? 0 :', 'rule === "none" ? 0 :'),
    Mutant("the end of follow-up taken for the event", "observed ? event : censored", "event"),
    Mutant("the event taken for one more row survived", "observed ? event : censored", "censored"),
    Mutant("the event's row counted once", "eventNll(last) + survivedNll(last)", "eventNll(last)"),
    Mutant("the event's row counted twice by all", 'rule === "twice" ? eventNll', "rule ? eventNll"),
    Mutant("the last row survived besides", "hazard.slice(0, -1).map(survivedNll)", "hazard.map(survivedNll)"),
    Mutant("the first row left out", "hazard.slice(0, -1).map(survivedNll)", "hazard.slice(1, -1).map(survivedNll)"),
    Mutant("the mean for the sum", "sum(costs[rule])", "sum(costs[rule]) / hazards.length"),
    Mutant("hazards for -log(1 - h)", "-Math.log1p(-hazard)", "hazard", "functional"),
    Mutant("a row dropped for every patient", "rows - (patients - events)", "rows - patients"),
    Mutant("the events' rows dropped", "rows - (patients - events)", "rows - events"),
    Mutant("the censored rows twice", "twice: rows + events", "twice: rows + (patients - events)"),
    Mutant("events for each patient", "d / rowsCounted(given.patients, d, rows[k])[rule]", "d / given.patients"),
    Mutant("the next dropout's cohort", "given.rows[Math.round(10 * dropout)]", "given.rows[0]"),
    Mutant("the neighbour's true hazard", "Math.round(20 * truth) - 1", "Math.min(Math.round(20 * truth), 18)"),
    Mutant("the odds for the excess", "learned[rule][here] / truth - 1", "learned[rule][here] - truth"),
]
