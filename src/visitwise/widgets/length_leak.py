"""Figure 9: thirty patients, a risk score made from their hazards, and the C-index that it gets."""

from functools import cache
from typing import Any

import numpy as np
import torch

from visitwise.simulate import draw_outcome
from visitwise.widgets._figure import Figure, Number, OneOf

PATIENTS, ROWS = 30, 12
SEED = 306  # of 400, the one whose C-indices by every score are nearest to those of 20,000 patients
SAME = 0.1


class LengthLeak(Figure):
    """Choose a model and a score, drag one patient's last visit and the horizon; read them back.

    `given` holds the hazards of each model, the last visits and who had the event: 30 patients, 12 rows at most.

    Attributes:
        model: whose hazards: `"true"` are those that the events were drawn from, `"same"` are 0.1 for everybody,
            `"lots"` are random, anew at each visit.
        score: what is made of a patient's hazards: `"sum"`, `"mean"`, `"largest"` and `"last"` of the patient's own
            record, `"minus"` the sum, or the risk within a `"horizon"` that is the same for all.
        horizon: how many rows that is, 1 to 12.
        ties: how equal scores count: `"half"`; `"wrong"`, as in the notes; or `"exact"`, where a difference by
            rounding is one.
        person: the patient whose pairs are drawn, 0 to 29.
        rows: how many rows that patient has now, 1 to 12; 0 leaves them as drawn.

    Raises:
        TraitError: naming the trait, what was given and what was expected.

    Examples:
        >>> LengthLeak(model="same", score="minus")
        LengthLeak(model='same', score='minus', horizon=5, ties='half', person=4, rows=0)
    """

    model = OneOf("true", "same", "lots")
    score = OneOf("sum", "minus", "mean", "largest", "last", "horizon")
    horizon = Number(5, 1, ROWS, 1)
    ties = OneOf("half", "wrong", "exact")
    person = Number(4, 0, PATIENTS - 1, 1)
    rows = Number(0, 0, ROWS, 1)

    def __init__(self, **state: Any) -> None:
        super().__init__(**{"given": _drawn(), **state})


@cache
def _drawn() -> dict[str, Any]:
    """Patients in the order of their last visits, an event in a row before the ends of that row."""
    random = np.random.default_rng(SEED)
    true = np.round(1 / (1 + np.exp(2.2 - 0.9 * random.normal(size=PATIENTS))), 2)
    lots = np.round(random.uniform(0.02, 0.18, (PATIENTS, ROWS)), 2)
    lasting = torch.from_numpy(true)[:, None].expand(-1, ROWS)
    outcome = draw_outcome(lasting, dropout=0.06, seed=SEED)
    stop, observed = outcome.stop.numpy(), outcome.observed.numpy()
    order = np.lexsort((true, ~observed, stop))
    hazards = {
        "true": lasting.numpy()[order].tolist(),
        "same": np.full((PATIENTS, ROWS), SAME).tolist(),
        "lots": lots[order].tolist(),
    }
    return {"hazards": hazards, "stop": stop[order].tolist(), "observed": observed[order].tolist()}
