"""Figure 6 by PyTorch: the division and the loss themselves, of tensors whose numbers are their own places."""

import functools
import itertools
import re
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.figures import Mutant

PAGE = "04-broadcasting"
PREDICTED: dict[str, Any] = {"predictions": [0.9, 0.2, 0.7], "column": True}
SIZES = list(itertools.product(range(1, 6), repeat=3))


def states(random: np.random.Generator) -> list[dict[str, Any]]:
    """Every shape with and without keepdim, 300 places of results, and 300 times three predictions and their labels."""
    chosen = [(sizes, keepdim, (0, 0, 1)) for sizes in SIZES for keepdim in (False, True)]
    running = [sizes for sizes in SIZES if division(sizes, False) is not None]
    for k in range(300):
        sizes = running[random.integers(len(running))] if k % 3 else SIZES[random.integers(125)]
        chosen.append((sizes, k % 3 == 0, tuple(random.integers(0, 5, 3))))
    made = []
    for sizes, keepdim, cell in chosen:
        result = division(sizes, keepdim)
        shape = sizes if result is None else result.shape
        place = [min(int(k), size - 1) for k, size in zip(cell, shape, strict=True)]
        made.append({"panel": "mean", "sizes": list(sizes), "keepdim": keepdim, "cell": place, **PREDICTED})
    untouched = made[[state["sizes"] for state in made].index([3, 3, 3])]
    few = [[0.01, 0.01, 0.01], [0.99, 0.01, 0.99], [0.67, 0.67, 0.67], [0.99, 0.99, 0.99], PREDICTED["predictions"]]
    for k, predictions in enumerate(few + np.round(random.integers(1, 100, (150, 3)) / 100, 2).tolist()):
        shown = {"panel": "mean" if k % 10 == 9 else "loss", "predictions": predictions}
        made += [{**untouched, **shown, "column": column} for column in (True, False)]
    return made


def tensors(sizes: tuple[int, ...], keepdim: bool) -> tuple[Tensor, Tensor]:
    """Sums and counts in which each number is one more than its own place."""
    patients, visits, _ = sizes
    sums = torch.arange(1.0, 1 + np.prod(sizes), dtype=torch.float64).reshape(sizes)
    counts = torch.arange(1.0, 1 + patients * visits, dtype=torch.float64).reshape(patients, visits)
    return sums, counts[..., None] if keepdim else counts


def division(sizes: tuple[int, ...], keepdim: bool) -> Tensor | None:
    sums, counts = tensors(sizes, keepdim)
    try:
        return sums / counts
    except RuntimeError:
        return None


@functools.cache
def outcome(sizes: tuple[int, ...], keepdim: bool) -> int:
    """0 raises, 1 has a wrong shape, 2 wrong numbers, 3 is right."""
    result = division(sizes, keepdim)
    if result is None:
        return 0
    if result.shape != sizes:
        return 1
    return 3 if torch.equal(result, division(sizes, True)) else 2


def one_axis(size: int, other: int) -> int | None:
    try:
        return torch.broadcast_shapes((size,), (other,))[0]
    except RuntimeError:
        return None


def oracle(state: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    sizes, keepdim = tuple(state["sizes"]), state["keepdim"]
    counts = tensors(sizes, keepdim)[1]
    outcomes = [outcome(one, keepdim) for one in SIZES]
    return {
        "counts": list(counts.shape),
        "shape": [one_axis(*pair) for pair in zip(sizes, (1,) * (3 - counts.dim()) + counts.shape, strict=True)],
        **by_division(sizes, keepdim, tuple(state["cell"]), torch.tensor(given["counts"], dtype=torch.float64)),
        "outcome": outcome(sizes, keepdim),
        "map": outcomes,
        "tally": [outcomes.count(kind) for kind in range(4)],
        **by_cross_entropy(state["predictions"], given["labels"], state["column"]),
    }


def by_cross_entropy(predictions: list[float], labels: list[int], column: bool) -> dict[str, Any]:
    probability, label = torch.tensor(predictions, dtype=torch.float64), torch.tensor(labels, dtype=torch.float64)
    meant = F.binary_cross_entropy(probability, label)
    place = torch.arange(3)
    if column:
        label, own = label[:, None], place[:, None]
    else:
        own = place
    terms = F.binary_cross_entropy(*torch.broadcast_tensors(probability, label), reduction="none")
    which = torch.broadcast_tensors(place, own, terms)
    by_hand = -(label * probability.log() + (1 - label) * (1 - probability).log()).mean()
    torch.testing.assert_close(terms.mean(), by_hand)
    return {
        "labels": list(label.shape),
        "costs": [
            {"p": int(p), "y": int(y), "cost": cost.item()}
            for p, y, cost in zip(*(one.flatten() for one in which), strict=True)
        ],
        "loss": by_hand.item(),
        "meant": meant.item(),
        "reactions": [
            {"formula": "says nothing", "code": "cross_entropy(probability, label)"},
            {"formula": warned(probability, label), "code": "F.mse_loss(probability, label)"},
            {"formula": refused(probability, label), "code": "F.binary_cross_entropy_with_logits(logits, label)"},
        ],
    }


def warned(probability: Tensor, label: Tensor) -> str:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        F.mse_loss(probability, label)
    return f"warns: {said[0].message}" if said else "says nothing"


def refused(probability: Tensor, label: Tensor) -> str:
    try:
        F.binary_cross_entropy_with_logits(torch.logit(probability), label)
    except ValueError as problem:
        return f"raises an error: {problem}"
    return "says nothing"


def by_division(sizes: tuple[int, ...], keepdim: bool, cell: tuple[int, ...], table: Tensor) -> dict[str, Any]:
    sums, places = tensors(sizes, keepdim)
    table = table[: sizes[0], : sizes[1]]
    try:
        which_sum, which_count = (sums / torch.ones_like(places))[cell], 1 / (torch.ones_like(sums) / places)[cell]
    except RuntimeError as problem:
        a, b, axis = map(int, re.findall(r"\d+", str(problem)))
        assert (a, b) == (sizes[axis], ((1,) * 3 + places.shape)[axis - 3])
        return {"clash": axis, "cells": 0, "wrong": 0}
    above = np.unravel_index(round(which_sum.item()) - 1, sizes)
    below = np.unravel_index(round(which_count.item()) - 1, table.shape)
    totals = 5 + 5 * sums
    result = totals / table.reshape(places.shape)
    assert result.shape == torch.broadcast_shapes(sizes, places.shape)
    mean = totals / table[..., None]
    exists = all(k < size for k, size in zip(cell, sizes, strict=True))
    inside = tuple(slice(0, size) for size in sizes)
    return {
        "clash": -1,
        "below": [int(k) for k in below],
        "total": totals[above].item(),
        "divisor": table[below].item(),
        "value": result[cell].item(),
        "own": table[cell[:2]].item() if exists else None,
        "right": mean[cell].item() if exists else None,
        "cells": result.numel(),
        "wrong": result.numel() - int((result[inside] == mean).sum()),
    }


MUTANTS = [
    Mutant(
        "lined up from the left",
        "[...Array(axes - shape.length).fill(1), ...shape]",
        "[...shape, ...Array(axes - shape.length).fill(1)]",
        "shapes",
    ),
    Mutant("only the second is stretched", ": size === 1 ? other[k] : null", ": null", "shapes"),
    Mutant("only the first is stretched", "size === other[k] || other[k] === 1 ?", "size === other[k] ?", "shapes"),
    Mutant("the larger size wins", ": size === 1 ? other[k] : null", ": Math.max(size, other[k])", "shapes"),
    Mutant("read from the left", "place[k + place.length - shape.length]", "place[k]", "shapes"),
    Mutant("a 1 is not read again", "size === 1 ? 0 : place", "place", "shapes"),
    Mutant("the right shape taken for right", "? 3 : 2", "? 3 : 3"),
    Mutant("the leftmost clash is named", "shape.lastIndexOf(null)", "shape.indexOf(null)"),
    Mutant("keepdim without effect", "(keepdim ? [b, v, 1] : [b, v])", "[b, v]"),
    Mutant("visits before patients", "given.counts[below[0]][below[1]]", "given.counts[below[1]][below[0]]"),
    Mutant(
        "an answer where no place should be", "same(place, [b, v, e]) ? given.counts[b][v] : null", "given.counts[b][v]"
    ),
    Mutant("sums counted visit by visit", "(b * sizes[1] + v) * sizes[2] + e", "(v * sizes[0] + b) * sizes[2] + e"),
    Mutant("entries from 0 to 5", "place.map((k) => k + 1)", "place"),
    Mutant("labels in a column meet their own predictions alone", "column ? [3, 1] : [3]", "[3]"),
    Mutant("labels in a row make a column, too", "column ? [3, 1] : [3]", "[3, 1]"),
    Mutant("predictions read along the labels' axis", "readAt([3], place), readAt(shape, place)", "place, place"),
    Mutant("each prediction by its own label, nine times", "labels[y] ? eventNll", "labels[p] ? eventNll"),
    Mutant("the sum of the costs for their mean", " / some.length", ""),
    Mutant(
        "the mean over the diagonal alone",
        "loss: meanCost(costs)",
        "loss: meanCost(costs.filter(({ p, y }) => p === y))",
    ),
    Mutant(
        "what was meant divided by all nine",
        "meant: meanCost(costs.filter(({ p, y }) => p === y))",
        "meant: meanCost(costs.map((one) => (one.p === one.y ? one : { cost: 0 })))",
    ),
    Mutant("event and survival exchanged", "eventNll : survivedNll", "survivedNll : eventNll"),
    Mutant("a column said to be accepted", "given.reactions[+column]", "given.reactions[0]"),
]
