"""Figure 2: what the last row of a record counts for, and what a loss that miscounts it learns."""

from functools import cache
from typing import Any

import numpy as np
import torch

from visitwise.simulate import draw_outcome
from visitwise.widgets._figure import Figure, Number, Numbers, OneOf

PATIENTS, VISITS, SEED = 100_000, 5, 1
TRUTHS = [round(0.05 * step, 2) for step in range(1, 20)]
DROPOUTS = [round(0.1 * step, 1) for step in range(6)]


class TwoEndings(Figure):
    """Drag the hazards and the end of one record, and the true hazard of a simulated cohort; read them back.

    Attributes:
        hazards: 1 to 6 hazards, from 0.01 to 0.99, one for each interval of the record.
        ending: `"censored"` if the last interval was survived, `"event"` if it ended in the event.
        convention: how the last row counts: `"likelihood"`, or one of the wrong ones, `"drop"` (not at all if it is
            censored) and `"twice"` (as survived, too, if it ended in the event).
        truth: the hazard that the cohort was drawn with, 0.05 to 0.95 in steps of 0.05.
        dropout: the share of the cohort lost after each interval survived, 0 to 0.5 in steps of 0.1.

    Raises:
        TraitError: naming the trait, what was given and what was expected.

    Examples:
        >>> TwoEndings(hazards=[0.15, 0.25], ending="event", convention="twice")
        TwoEndings(hazards=[0.15, 0.25], ending='event', convention='twice', truth=0.1, dropout=0.1)
    """

    hazards = Numbers([0.1, 0.2, 0.3], 0.01, 0.99, 0.01, fewest=1, most=6)
    ending = OneOf("censored", "event")
    convention = OneOf("drop", "likelihood", "twice")
    truth = Number(0.1, 0.05, 0.95, 0.05)
    dropout = Number(0.1, 0, 0.5, 0.1)

    def __init__(self, **state: Any) -> None:
        super().__init__(**{"given": cohorts(), **state})


@cache
def cohorts() -> dict[str, Any]:
    """How many events and rows a cohort of `draw_outcome` has, for each dropout and, within it, each true hazard.

    One stream of luck decides the events and another the dropout, so each is drawn once and all pairs are put together.
    """
    shape = PATIENTS, VISITS
    lives = [draw_outcome(torch.full(shape, truth, dtype=torch.float64), seed=SEED) for truth in TRUTHS]
    event_row = [np.where(life.observed, life.stop - 1, VISITS) for life in lives]
    never = torch.zeros(shape, dtype=torch.float64)
    last = [draw_outcome(never, dropout=dropout, seed=SEED).stop.numpy() for dropout in DROPOUTS]
    return {
        "patients": PATIENTS,
        "visits": VISITS,
        "events": [[int((row < stop).sum()) for row in event_row] for stop in last],
        "rows": [[int(np.minimum(row + 1, stop).sum()) for row in event_row] for stop in last],
    }
