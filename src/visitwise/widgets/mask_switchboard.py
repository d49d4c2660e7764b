"""Figure 8: the textbook network's four masks, switched off and on in four worlds."""

import copy
import inspect
from functools import cache
from itertools import product
from typing import Any

import torch

from visitwise.textbook import MASKS, TextbookLSTM, clamp_and_log_nll, collate
from visitwise.widgets._figure import Figure, OneOf, Switch

RECORDS = [[[1, 2], [3], [2, 4]], [[5], [1, 6]], [[2], [1, 2, 3, 4, 5, 6], [3]]]
STOP, LATE = [3, 2, 3], [3, 3, 3]
OBSERVED = [True, True, False]
NETWORK: dict[str, Any] = {"n_codes": 7, "embedding": 4, "hidden": 5, "seed": 2}
WORLDS: dict[str, dict[str, Any]] = {
    "usual": {},
    "no-padding_idx": {"padding_idx": None},
    "bidirectional": {"bidirectional": True},
    "late-label": {"stop": LATE},
}


class MaskSwitchboard(Figure):
    """Switch each mask of a padded network off and on; read the switches and `world` back.

    `given` holds the records of Ada, Ben and Cleo, their labels in each world, and the weights of a `TextbookLSTM` with
    the settings `given["network"]`. The figure computes the losses. How far gradients move is given, as autograd finds
    it.

    Attributes:
        patient: whose visits are drawn, `"Ben"`, `"Ada"` or `"Cleo"`.
        world: `"usual"`, `"no-padding_idx"`, `"bidirectional"`, or `"late-label"`: Ben's event is in a row of padding.
        mask_code_sum: whether padded codes are left out of the sum over a visit's codes.
        mask_code_count: whether they are left out of the number that the sum is divided by.
        mask_hazard: whether a padded visit gets a hazard of 0.
        mask_loss: whether the rows of padded visits are taken out of the loss.
        all_worlds: whether the map shows the runs of all worlds; else those of this one.

    Raises:
        TraitError: naming the trait, what was given and what was expected.

    Examples:
        >>> board = MaskSwitchboard(world="late-label", mask_hazard=True)
        >>> board.mask_hazard, board.mask_loss
        (True, False)
    """

    patient = OneOf("Ben", "Ada", "Cleo")
    world = OneOf(*WORLDS)
    mask_code_sum = Switch(True)
    mask_code_count = Switch(True)
    mask_hazard = Switch(False)
    mask_loss = Switch(False)
    all_worlds = Switch(False)

    def __init__(self, **state: Any) -> None:
        super().__init__(**({"given": copy.deepcopy(_chapter_7())} | state))


@cache
def _chapter_7() -> dict[str, Any]:
    """Three patients, four worlds, first weights drawn with the chapter's seed, and what autograd makes of them."""
    usual = {"stop": STOP, "padding_idx": 0, "bidirectional": False}
    worlds = [{"name": name, **usual, **settings} for name, settings in WORLDS.items()]
    forward, both = (dict(_network(bidirectional=two_ways).named_parameters()) for two_ways in (False, True))
    return {
        "names": ["Ada", "Ben", "Cleo"],
        "records": RECORDS,
        "observed": OBSERVED,
        "network": NETWORK,
        "eps": inspect.signature(clamp_and_log_nll).parameters["eps"].default,
        "worlds": worlds,
        "weights": {
            name.removeprefix("lstm.").removesuffix(".weight"): values.tolist()
            for name, values in both.items()
            if not name.startswith("head")
        },
        "heads": {
            name: {"weight": weights["head.weight"][0].tolist(), "bias": weights["head.bias"].item()}
            for name, weights in (("forward", forward), ("both", both))
        },
        "gradient_changes": [_gradient_changes(world) for world in worlds],
    }


def _network(**settings: Any) -> TextbookLSTM:
    """In float64. The vector of the padding is drawn as well, unless `padding_idx` is 0."""
    model = TextbookLSTM(**NETWORK, **({"padding_idx": None} | settings)).double()
    model._draw_weights(NETWORK["seed"], NETWORK["hidden"] ** -0.5)  # again, for they were rounded to float32
    return model


def _gradient_changes(world: dict[str, Any]) -> list[float]:
    """How far the gradient of each of sixteen runs is from the one with all masks: the largest difference."""
    codes, code_mask, visit_mask = collate(RECORDS)
    gradients = []
    for code_sum, code_count, in_hazard, in_loss in product((True, False), repeat=len(MASKS)):
        model = _network(
            padding_idx=world["padding_idx"],
            bidirectional=world["bidirectional"],
            mask_code_sum=code_sum,
            mask_code_count=code_count,
            mask_hazard=in_hazard,
        )
        loss = clamp_and_log_nll(
            model(codes, code_mask, visit_mask),
            torch.tensor(world["stop"]),
            torch.tensor(OBSERVED),
            visit_mask if in_loss else None,
        )
        slopes = torch.autograd.grad(loss, list(model.parameters()))
        gradients.append(torch.cat([slope.flatten() for slope in slopes]))
    return [float((gradient - gradients[0]).abs().max()) for gradient in gradients]
