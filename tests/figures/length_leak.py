"""Figure 9 by the package's scores, and pair by pair with the rules that it does not have."""

import itertools
import math
from typing import Any

import numpy as np
import torch
from lifelines.utils import concordance_index
from torch import Tensor

from tests.figures import Mutant
from visitwise import metrics
from visitwise.check import evaluation
from visitwise.cohort import Outcome
from visitwise.widgets.length_leak import LengthLeak

PAGE = "08-training-and-evaluating"
SCORES = ("sum", "minus", "mean", "largest", "last", "horizon")


def states(random: np.random.Generator) -> list[dict[str, Any]]:
    start = LengthLeak().state
    every = itertools.product(("true", "same", "lots"), SCORES, ("half", "wrong", "exact"), (start["person"], 20))
    grid = [{"model": model, "score": score, "ties": ties, "person": who} for model, score, ties, who in every]
    grid += [{"score": "horizon", "model": "lots", "horizon": rows} for rows in range(1, 13)]
    drawn = [
        {
            name: random.choice(part.limits["among"]).item()
            if "among" in part.limits
            else int(random.integers(part.limits["from"], part.limits["to"] + 1))
            for name, part in LengthLeak.parts().items()
        }
        for _ in range(400)
    ]
    return [start, *({**start, **state} for state in [*grid, *drawn])]


def by_package(score: str, hazard: Tensor, stop: Tensor, horizon: int) -> Tensor:
    if score == "horizon":
        return evaluation.one_minus_survival(hazard, torch.full_like(stop, horizon))
    if score == "last":
        return torch.stack([row[n - 1] for row, n in zip(hazard, stop.tolist(), strict=True)])
    made = {
        "sum": evaluation.summed,
        "minus": lambda *given: -evaluation.summed(*given),
        "mean": evaluation.mean_over_record,
        "largest": evaluation.highest,
    }
    return made[score](hazard, stop)


def one_after_the_other(score: str, hazard: list[float], stop: int, horizon: int) -> float:
    """In the order of the rows, which decides how the last digit is rounded."""
    if score == "horizon":
        *_, left = itertools.accumulate(hazard[:horizon], lambda left, here: left * (1 - here), initial=1.0)
        return 1 - left
    *_, total = itertools.accumulate(hazard[:stop])
    return {"sum": total, "minus": -total, "mean": total / stop, "largest": max(hazard[:stop])}.get(
        score, hazard[stop - 1]
    )


def oracle(state: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    stop = list(given["stop"])
    who, ties = state["person"], state["ties"]
    stop[who] = state["rows"] or stop[who]
    seen = given["observed"]
    hazard = given["hazards"][state["model"]]
    outcome = Outcome.of(torch.tensor(stop), torch.tensor(seen))
    scores = by_package(
        state["score"], torch.tensor(hazard, dtype=torch.float64), outcome.stop, state["horizon"]
    ).double()
    rounded = [
        one_after_the_other(state["score"], row, n, state["horizon"]) for row, n in zip(hazard, stop, strict=True)
    ]

    def is_tie(a: int, b: int) -> bool:
        return math.isclose(scores[a], scores[b], rel_tol=1e-12)

    def order(a: int, b: int) -> int:
        if ties == "exact":
            return (rounded[a] > rounded[b]) - (rounded[a] < rounded[b])
        return 0 if is_tie(a, b) else 1 if scores[a] > scores[b] else -1

    def first(a: int, b: int) -> bool:
        return seen[a] and (stop[b] > stop[a] if seen[b] else stop[b] >= stop[a])

    pairs = [(a, b) for a, b in itertools.permutations(range(len(stop)), 2) if first(a, b)]
    orders = [order(a, b) for a, b in pairs]
    harrell = metrics.concordance(scores, outcome)
    assert harrell.n_pairs == len(pairs)
    others = [
        order(who, k) if (who, k) in pairs else order(k, who) if (k, who) in pairs else None for k in range(len(stop))
    ]
    return {
        "stop": stop,
        "scores": scores.tolist(),
        **_counts(orders),
        "c": {
            "half": lambda: float(harrell),
            "wrong": lambda: orders.count(1) / len(orders),
            "exact": lambda: concordance_index(stop, [-score for score in rounded], seen),
        }[ties](),
        "by_rounding": sum(is_tie(a, b) and order(a, b) != 0 for a, b in pairs),
        "of_person": others,
        "own": _counts(others),
    }


def _counts(orders: list[Any]) -> dict[str, int]:
    counts = {"right": orders.count(1), "tied": orders.count(0), "wrong": orders.count(-1)}
    return {**counts, "pairs": sum(counts.values())}


MUTANTS = [
    Mutant("a row too many in the sum", "hazard.slice(0, stop)", "hazard.slice(0, stop + 1)"),
    Mutant("a row too few in the horizon", "[horizon - 1]", "[Math.max(horizon - 2, 0)]"),
    Mutant("survival for risk within the horizon", "return 1 - survival(hazard)", "return survival(hazard)"),
    Mutant("survival of the own record", "1 - survival(hazard)[horizon - 1]", "1 - survival(hazard)[stop - 1]"),
    Mutant("the largest of all rows", "Math.max(...own)", "Math.max(...hazard)"),
    Mutant("the last of all rows", "own[stop - 1]", "hazard[hazard.length - 1]"),
    Mutant("the first for the last", "own[stop - 1]", "own[0]"),
    Mutant("a mean over all rows", "total / stop", "total / hazard.length"),
    Mutant("minus the sum without its sign", '"minus" ? -total', '"minus" ? total'),
    Mutant("no tolerance for rounding", "gap > 8 * Number.EPSILON * Math.abs(numbers[k])", "gap > 0"),
    Mutant("a tolerance that swallows differences", "8 * Number.EPSILON", "0.05"),
    Mutant("a tolerance for the exact rule, too", 'ties === "exact" ? scores : place', "place"),
    Mutant("ties count as right", "counts.tied / 2", "counts.tied"),
    Mutant("ties never count", 'ties === "wrong" ? 0 : counts.tied / 2', "0"),
    Mutant("ties always count one half", 'ties === "wrong" ? 0 : counts.tied / 2', "counts.tied / 2"),
    Mutant("ties left out of the pairs", "right + tied + wrong }", "right + wrong }"),
    Mutant("an event and an end in one row not compared", " || (stop[a] === stop[b] && !observed[b])", ""),
    Mutant("two events in one row compared", "(stop[a] === stop[b] && !observed[b])", "stop[a] === stop[b]"),
    Mutant("pairs with the lost left out", "observed[a] && (", "observed[a] && observed[b] && ("),
    Mutant("an end taken for an event", "observed[a] && (", "("),
    Mutant("the lower risk first", "Math.sign(level[a] - level[b])", "Math.sign(level[b] - level[a])"),
    Mutant(
        "pairs in which the patient comes second left out",
        "known(k, person) ? order(k, person) : null",
        "null",
    ),
    Mutant("the patient's later pairs turned round", "? order(k, person)", "? order(person, k)"),
    Mutant("a drag that moves nobody", "rows || given.stop[person]", "given.stop[person]"),
]
