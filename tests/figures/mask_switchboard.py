"""Figure 8 by the package: `effects_of_masks` for all that moves, `TextbookLSTM` for what becomes of a patient."""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch

from tests.figures import Mutant
from visitwise.textbook import Effect, TextbookLSTM, clamp_and_log_nll, collate, effects_of_masks

PAGE = "07-three-masks"
TRAITS = ("mask_code_sum", "mask_code_count", "mask_hazard", "mask_loss")
MOVES = {(False, False): 0, (True, False): 1, (True, True): 2}  # no run moves slopes alone


def states(random: np.random.Generator) -> list[dict[str, Any]]:
    worlds = ("usual", "no-padding_idx", "bidirectional", "late-label")
    return [
        {"patient": patient, "world": world, **dict(zip(TRAITS, on, strict=True)), "all_worlds": all_worlds}
        for patient in ("Ben", "Ada", "Cleo")
        for world in worlds
        for on in itertools.product((True, False), repeat=4)
        for all_worlds in (False, True)
    ]


@contextmanager
def _float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@cache
def _effects(given: str) -> list[list[Effect]]:
    """Sixteen in each world, from weights drawn here, not from those that the figure is given."""
    told = json.loads(given)
    with _float64():
        return [
            effects_of_masks(
                told["records"],
                torch.tensor(world["stop"]),
                torch.tensor(told["observed"]),
                **told["network"],
                padding_idx=world["padding_idx"],
                bidirectional=world["bidirectional"],
            )
            for world in told["worlds"]
        ]


def oracle(state: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    effects = _effects(json.dumps({name: given[name] for name in ("records", "observed", "network", "worlds")}))
    number = [world["name"] for world in given["worlds"]].index(state["world"])
    world = given["worlds"][number]
    patient = given["names"].index(state["patient"])
    off = tuple(name.removeprefix("mask_").replace("_", " ") for name in TRAITS if not state[name])
    way = [effect.off for effect in effects[number]].index(off)
    effect = effects[number][way]

    codes, code_mask, visit_mask = collate(given["records"])
    with _float64(), torch.no_grad():
        model = TextbookLSTM(
            **given["network"],
            padding_idx=world["padding_idx"],
            bidirectional=world["bidirectional"],
            **{name: state[name] for name in TRAITS[:3]},
        )
        hazard = model(codes, code_mask, visit_mask)
        counted = code_mask if state["mask_code_count"] else torch.ones_like(code_mask)
        label = torch.tensor(world["stop"])[[patient]], torch.tensor(given["observed"])[[patient]]
        one_row = torch.eye(hazard.shape[1], dtype=torch.bool)
        charged_rows = visit_mask[patient] if state["mask_loss"] else torch.ones_like(visit_mask[patient])
        costs = [clamp_and_log_nll(hazard[[patient]], *label, row[None] & charged_rows).item() for row in one_row]
    stop, observed = (part.item() for part in label)
    last = [observed and k == stop - 1 for k in range(len(costs))]
    return {
        "world": number,
        "patient": patient,
        "way": way,
        "loss": effect.loss,
        "loss_change": effect.loss_change,
        "gradient_change": effect.gradient_change,
        "counts": counted[patient].sum(-1).clamp(min=1).tolist(),
        "hazards": hazard[patient].tolist(),
        "charged": [
            "no row" if cost == 0 else "event" if e else "survived" for cost, e in zip(costs, last, strict=True)
        ],
        "costs": [abs(cost) for cost in costs],  # a 0 has a sign in torch
        "loss_changes": [[one.loss_change for one in row] for row in effects],
        "moves": [[MOVES[one.loss_change != 0, one.gradient_change != 0] for one in row] for row in effects],
    }


MUTANTS = [
    Mutant("the masks' bits the other way round", "[8, 4, 2, 1].map", "[1, 2, 4, 8].map"),
    Mutant("switches read as bits the other way round", "8 >> k))", "1 << k))"),
    Mutant("padding counted with the mask on", "inCount ? Math.max(1,", "inCount ? Math.max(2,"),
    Mutant("the count's mask ignored", "inCount ? Math.max(1, record[k]?.length ?? 0) : cells.length", "cells.length"),
    Mutant("the sum's mask ignored", "inSum ? codes : cells", "inCount ? codes : cells"),
    Mutant("padding_idx ignored", "code === world.padding_idx ? 0 : e", "e"),
    Mutant("the padding's vector zero in every world", "code === world.padding_idx ? 0 : e", "code === 0 ? 0 : e"),
    Mutant("sums not divided", "/ counts[k]);", "/ 1);"),
    Mutant("the forward weights backwards, too", '"l0_reverse").toReversed()', '"l0").toReversed()'),
    Mutant("backward states left in reading order", '"l0_reverse").toReversed()', '"l0_reverse")'),
    Mutant("one head for both networks", 'heads[world.bidirectional ? "both" : "forward"]', 'heads["both"]'),
    Mutant("the head's bias dropped", "* weight[u])) + bias", "* weight[u]))"),
    Mutant("a visit is padding one too late", "const padded = !record[k];", "const padded = !record[k - 1];"),
    Mutant("hazards never masked", "padded && inHazard ? 0", "false ? 0"),
    Mutant("every hazard masked in padding, mask or not", "padded && inHazard ? 0", "padded ? 0"),
    Mutant("<= for < in the label", "k >= world.stop[patient] ||", "k > world.stop[patient] ||"),
    Mutant("rows never masked", "|| (padded && inLoss)", ""),
    Mutant("rows masked without the mask", "(padded && inLoss)", "padded"),
    Mutant("a label that is late for nobody", "world.stop[patient] - 1", "record.length - 1"),
    Mutant("the event charged to the censored", "observed[patient] &&", ""),
    Mutant("the event's row survived", "-Math.log(event ? held : 1 - held)", "-Math.log(1 - held)"),
    Mutant("no clamp below", "clamp(hazard, eps, 1 - eps)", "clamp(hazard, 1e-9, 1 - eps)"),
    Mutant("a sum over patients for the mean", "sum(costs) / records.length", "sum(costs)"),
    Mutant("a mean over rows for patients", "sum(costs) / records.length", "sum(costs) / costs.length"),
    Mutant("Ada for everybody", "patients[patient]", "patients[0]"),
    Mutant("changes from all masks off", "one.loss - row[0].loss", "one.loss - row[15].loss"),
    Mutant("the gradient of another world", "given.gradient_changes[world][way]", "given.gradient_changes[0][way]"),
    Mutant("a loss alone that moves the slopes", "given.gradient_changes[j][way] === 0 ? 1 : 2", "2"),
    Mutant("input and forget gate swapped", "const [i, f, g, o] = gates", "const [f, i, g, o] = gates", "lstm"),
]
