"""Figure 4: the push on each logit of four patients, through a clamp or from the logit."""

from typing import Any

from visitwise.widgets._figure import Figure, Number, Numbers, OneOf

RECORDS = {
    "patients": ["Ada", "Ben", "Cleo", "Dora"],
    "stop": [3, 2, 3, 6],
    "observed": [True, True, False, True],
}
START = [
    [-1.5, -1.0, -0.5, -1.0, -1.0, -1.0],
    [-1.0, -0.5, -1.0, -1.0, -1.0, -1.0],
    [-1.5, -1.0, -0.5, -1.0, -1.0, -1.0],
    [-2.0, -1.5, -1.0, 0.0, 2.0, -17.0],
]


class PushMap(Figure):
    """Drag logits and read them back; who has how many rows, and how they end, is in `given`.

    Attributes:
        logits: 24, from -20 to 20: six visits of each of four patients, one patient after the other.
        path: `"clamp"` for sigmoid, clamp and logarithm; `"logits"` for the loss from the logit.
        eps: what the clamp keeps a hazard from 0 and from 1: 1e-3, 1e-5, 1e-7 or 1e-9.
        cell: the logit whose loss is drawn, from 0 to 23.

    Raises:
        TraitError: naming the trait, what was given and what was expected.

    Examples:
        >>> pushes = PushMap(path="logits")
        >>> pushes.logits[pushes.cell], pushes.given["patients"][pushes.cell // 6]
        (-17.0, 'Dora')
    """

    logits = Numbers([z for row in START for z in row], -20, 20, 0.5)
    path = OneOf("clamp", "logits")
    eps = OneOf(1e-7, 1e-3, 1e-5, 1e-9)
    cell = Number(23, 0, 23, 1)

    def __init__(self, **state: Any) -> None:
        super().__init__(**{"given": RECORDS, **state})
