"""Figure 6: at which shapes a division without `keepdim` is wrong without a word; a loss with labels in a column."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from visitwise.widgets._figure import Figure, Numbers, OneOf, Switch

COUNTS = [[5, 2, 4, 3, 6], [1, 3, 2, 5, 4], [2, 6, 1, 4, 3], [3, 1, 5, 2, 7], [4, 5, 3, 6, 1]]
PREDICTIONS, LABELS = [0.9, 0.2, 0.7], [1, 0, 1]


class Broadcasting(Figure):
    """Drag the sizes of `sums / counts`, or a place of its result, or the predictions of a loss, and see what meets.

    The numbers of codes, of five patients at five visits, are in `given["counts"]`; the sums are 10, 15, 20 and so on.
    What your own PyTorch says to labels of shape [3] and of shape [3, 1] is in `given["reactions"]`.

    Attributes:
        panel: what is drawn, `"mean"` for the division or `"loss"` for the cross-entropy.
        sizes: how many patients, visits and entries, from 1 to 5 each.
        keepdim: whether the counts keep the axis that they were summed over, with size 1.
        cell: a place in the result, from 0; one beyond its end is moved to the end.
        predictions: the probability of an event for each of three patients, from 0.01 to 0.99.
        column: whether their labels come as a column, with the shape [3, 1].

    Raises:
        TraitError: naming the trait, what was given and what was expected.

    Examples:
        >>> trap = Broadcasting(sizes=[2, 3, 4], keepdim=True)
        >>> trap.sizes, trap.cell
        ([2, 3, 4], [0, 0, 1])
    """

    panel = OneOf("mean", "loss")
    sizes = Numbers([3, 3, 3], 1, 5, 1)
    keepdim = Switch(False)
    cell = Numbers([0, 0, 1], 0, 4, 1)
    predictions = Numbers(PREDICTIONS, 0.01, 0.99, 0.01)
    column = Switch(True)

    def __init__(self, **state: Any) -> None:
        given = {"counts": COUNTS, "labels": LABELS, "reactions": [reactions(False), reactions(True)]}
        super().__init__(**({"given": given} | state))


def cross_entropy(probability: Tensor, label: Tensor) -> Tensor:
    """A loss as one writes it by hand: it compares no shapes."""
    return -(label * probability.log() + (1 - label) * (1 - probability).log()).mean()


def reactions(column: bool) -> list[dict[str, str]]:
    """What three losses say to three predictions and their labels, which may come as a column.

    Examples:
        >>> [line["formula"] for line in reactions(False)]
        ['says nothing', 'says nothing', 'says nothing']
    """
    probability, label = torch.tensor(PREDICTIONS), torch.tensor(LABELS) * 1.0
    if column:
        label = label[:, None]
    logits = torch.logit(probability)
    losses: dict[str, Callable[[], Tensor]] = {
        "cross_entropy(probability, label)": lambda: cross_entropy(probability, label),
        "F.mse_loss(probability, label)": lambda: F.mse_loss(probability, label),
        "F.binary_cross_entropy_with_logits(logits, label)": lambda: F.binary_cross_entropy_with_logits(logits, label),
    }
    return [{"formula": _said(loss), "code": code} for code, loss in losses.items()]


def _said(loss: Callable[[], Tensor]) -> str:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            loss()
        except (RuntimeError, ValueError) as problem:
            return f"raises an error: {str(problem).splitlines()[0]}"
    return f"warns: {str(said[0].message).splitlines()[0]}" if said else "says nothing"
