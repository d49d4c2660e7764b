"""Figure 7: four patients padded and packed, and what an LSTM makes of either."""

from typing import Any

import numpy as np

from visitwise.widgets._figure import Figure, Number, Numbers, OneOf, Switch

FEATURES, HIDDEN, PATIENTS, VISITS = 2, 3, 4, 6


class PackingBench(Figure):
    """Drag the ends of four records and pack them column by column; read `lengths` back.

    `given` holds the visits and the weights of a tiny LSTM, by their names in torch's `state_dict`.

    Attributes:
        lengths: how many visits Ben, Dan, Ada and Eve have, 1 to 6 each.
        step: how many columns are in `data` so far, 0 to 6; 6 is all there are.
        bidirectional: whether the LSTM reads backwards, too.
        pad: what the padding is filled with, 0 or 7.

    Raises:
        TraitError: naming the trait, what was given and what was expected.

    Examples:
        >>> PackingBench(lengths=[2, 5, 3, 6], pad=7)
        PackingBench(lengths=[2, 5, 3, 6], step=6, bidirectional=False, pad=7)
    """

    lengths = Numbers([2, 5, 3, 1], 1, 6, 1)
    step = Number(6, 0, 6, 1)
    bidirectional = Switch(False)
    pad = OneOf(0, 7)

    def __init__(self, **state: Any) -> None:
        super().__init__(**({"given": _drawn()} | state))


def _drawn() -> dict[str, Any]:
    """Visits and weights, the same on every machine."""
    random = np.random.default_rng(4)

    def some(*shape: int) -> Any:
        return np.round(random.uniform(-1, 1, shape), 2).tolist()

    weights = {}
    for layer in ("l0", "l0_reverse"):
        weights[f"weight_ih_{layer}"] = some(4 * HIDDEN, FEATURES)
        weights[f"weight_hh_{layer}"] = some(4 * HIDDEN, HIDDEN)
        weights[f"bias_ih_{layer}"] = some(4 * HIDDEN)
        weights[f"bias_hh_{layer}"] = some(4 * HIDDEN)
    return {"visits": some(PATIENTS, VISITS, FEATURES), "weights": weights}
