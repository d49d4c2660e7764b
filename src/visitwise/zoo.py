"""Losses that are used beside the likelihood or in place of it, and what each teaches in place of the truth.

A loss is *proper* if its expectation is smallest at the true hazards; `best_hazards` finds where it is smallest. All
read the rows of `visitwise.functional.hazard_nll`, with a censored patient's last row survived, and take its `start`
and `reduction`. Rows outside may hold anything, NaN included.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from visitwise._checks import check_finite, check_logits, check_outcome, check_probability, refuse, sizes, widen
from visitwise._explain import explained
from visitwise.functional import Reduction, _reduce, _survived_nll, event_probability, survival


@explained
def best_hazards(loss: Callable[..., Tensor], hazard: Float[Tensor, " visit"]) -> Float[Tensor, " visit"]:
    """The hazards that a loss likes best where the true ones are known: equal to them if the loss is proper.

    Everything that can happen to a patient with these true hazards, who is not lost before the last row, is weighed
    with its probability. The logits with the smallest mean loss are searched for from 0 on (L-BFGS, float64).

    Args:
        loss: of `hazard_logits` `[outcome, visit]`, `stop`, `observed` and `reduction="none"`, such as `hazard_nll`:
            one value for each patient, so no loss that compares patients with each other.
        hazard: The true hazard of each row, above 0 and below 1.

    Raises:
        ValueError: A hazard is not between 0 and 1, or the loss is not one value for each patient.

    Examples:
        >>> from functools import partial
        >>> best_hazards(partial(event_weighted_nll, event_weight=10.0), torch.tensor([0.05]))
        tensor([0.3448], dtype=torch.float64)
    """
    check_probability(hazard, "hazard")
    refuse((hazard == 0) | (hazard == 1), hazard, "hazard at index {where} is {value:g}; expected above 0 and below 1")
    truth, width = torch.logit(hazard.detach().double()), len(hazard)
    probability = torch.cat([event_probability(truth), survival(truth)[-1:]])
    place = torch.arange(width + 1, device=hazard.device)
    stop, observed = (place + 1).clamp(max=width), place < width
    logits = torch.zeros_like(truth, requires_grad=True)
    search = torch.optim.LBFGS([logits], 1.0, 1000, 5000, 1e-12, 0.0, 20, "strong_wolfe")

    def mean_loss() -> float:
        each = loss(logits.expand(width + 1, width), stop, observed, reduction="none")
        if each.shape != stop.shape:
            raise ValueError(f"the loss has shape {sizes(each)}; expected {sizes(stop)}, one value for each patient")
        mean = (probability * each).sum()
        (logits.grad,) = torch.autograd.grad(mean, logits)
        return float(mean.detach())

    search.step(mean_loss)
    return logits.detach().sigmoid()


# ------------------------------------------------------------------------------------------------------ rows weighed


@explained
def event_weighted_nll(
    hazard_logits: Float[Tensor, "*patient visit"],
    stop: Int[Tensor, "*patient"],
    observed: Bool[Tensor, "*patient"],
    event_weight: float,
    start: Int[Tensor, "*patient"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """The likelihood with each event counted `event_weight` times: *class weights*, `pos_weight`.

    *Not proper*: it multiplies the odds of every hazard by the weight, so that with a weight of 10 a hazard of 0.05 is
    learned as 0.345. Where the model can follow the truth, `unweighted_logits` takes that back.

    Source:
        van den Goorbergh et al. (2022), JAMIA 29(9), 1525-1534, doi:10.1093/jamia/ocac093, for what it does to risks.

    Examples:
        >>> logits = torch.logit(torch.tensor([[0.1, 0.2, 0.3]]))
        >>> event_weighted_nll(logits, torch.tensor([3]), torch.tensor([True]), 10.0)  # 0.3285 + 10 * 1.2040
        tensor(12.3682)
    """
    _check_weight(event_weight)
    rows = _rows(hazard_logits, stop, observed, start)
    surprise = _surprise(rows)
    return _sum_rows(torch.where(rows.event, event_weight * surprise, surprise), rows, reduction)


@explained
def unweighted_logits(
    hazard_logits: Float[Tensor, "*batch visit"], event_weight: float
) -> Float[Tensor, "*batch visit"]:
    """Takes back `event_weighted_nll`: `z - log(event_weight)`.

    Examples:
        >>> unweighted_logits(torch.logit(torch.tensor([0.3448])), 10.0).sigmoid()
        tensor([0.0500])
    """
    _check_weight(event_weight)
    return widen(hazard_logits) - math.log(event_weight)


@explained
def focal_loss(
    hazard_logits: Float[Tensor, "*patient visit"],
    stop: Int[Tensor, "*patient"],
    observed: Bool[Tensor, "*patient"],
    gamma: float = 2.0,
    alpha: float = 0.25,
    start: Int[Tensor, "*patient"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Rows that were foreseen well are made light: `weight * (1 - p)^gamma * -log p`, `p` what was foreseen.

    The weight is `alpha`, between 0 and 1, for an event and `1 - alpha` for a row survived; `gamma` is 0 or more.

    *Not proper*: rare hazards are pulled up, with the defaults 0.02 to 0.136 and 0.05 to 0.182, and common ones down.
    Where the model can follow the truth, `unfocused_logits` takes that back.

    Source:
        Lin, Goyal, Girshick, He and Dollár (2017), ICCV, arXiv:1708.02002; not proper: Charoenphakdee et al. (2021),
        CVPR, doi:10.1109/CVPR46437.2021.00516.

    Examples:
        >>> event = torch.tensor([1]), torch.tensor([True])
        >>> focal_loss(torch.logit(torch.tensor([[0.1]])), *event)  # 0.25 * 0.9 ** 2 * 2.3026
        tensor(0.4663)
    """
    _check_focus(gamma, alpha)
    rows = _rows(hazard_logits, stop, observed, start)
    unforeseen = (gamma * logsigmoid(torch.where(rows.event, -rows.logits, rows.logits))).exp()
    cost = unforeseen * _surprise(rows)
    return _sum_rows(torch.where(rows.event, alpha * cost, (1 - alpha) * cost), rows, reduction)


@explained
def unfocused_logits(
    hazard_logits: Float[Tensor, "*batch visit"], gamma: float = 2.0, alpha: float = 0.25
) -> Float[Tensor, "*batch visit"]:
    """Takes back `focal_loss`: the true logit for which the one given, `z` with the hazard `q`, is its best answer.

    There the slopes of its two branches balance:
    `log((1 - alpha) / alpha) + gamma z + log(q - gamma (1 - q) log(1 - q)) - log(1 - q - gamma q log q)`.

    Examples:
        >>> unfocused_logits(torch.logit(torch.tensor([0.1357, 0.1819]))).sigmoid()
        tensor([0.0200, 0.0500])
    """
    _check_focus(gamma, alpha)
    z = widen(hazard_logits)
    survived = (torch.sigmoid(z) + gamma * torch.sigmoid(-z) * _survived_nll(z)).log()
    event = (torch.sigmoid(-z) + gamma * torch.sigmoid(z) * _survived_nll(-z)).log()
    return math.log((1 - alpha) / alpha) + gamma * z + survived - event


@explained
def row_weighted_nll(
    hazard_logits: Float[Tensor, "*patient visit"],
    stop: Int[Tensor, "*patient"],
    observed: Bool[Tensor, "*patient"],
    row_weight: Float[Tensor, "#*patient #visit"],
    start: Int[Tensor, "*patient"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """The likelihood with a weight for each row: by visit `[1, visit]`, by patient `[patient, 1]`, or both.

    *Proper*, if the weights are above 0 and known when the row begins. Weights that know how a row, or the record,
    ends are those of `event_weighted_nll` by another name.

    Raises:
        ValueError: A weight that counts is negative or not finite, or shapes disagree.

    Examples:
        >>> logits, early = torch.logit(torch.tensor([[0.1, 0.2, 0.3]])), torch.tensor([[2.0, 1.0, 0.5]])
        >>> row_weighted_nll(logits, torch.tensor([3]), torch.tensor([True]), early)  # 2 * 0.1054 + 0.2231 + 0.6020
        tensor(1.0359)
    """
    rows = _rows(hazard_logits, stop, observed, start)
    fits = [size in (1, whole) for size, whole in zip(row_weight.shape, rows.logits.shape, strict=False)]
    if row_weight.dim() != rows.logits.dim() or not all(fits):
        raise ValueError(f"row_weight has shape {sizes(row_weight)}; expected {sizes(rows.logits)}, or 1 for an axis")
    weight = row_weight.expand(rows.logits.shape)
    wrong = rows.counted & ~((weight >= 0) & weight.isfinite())
    refuse(wrong, weight, "row_weight at index {where} is {value:g}; expected a finite number, 0 or more")
    return _sum_rows(weight * _surprise(rows), rows, reduction)


@explained
def squared_error(
    hazard_logits: Float[Tensor, "*patient visit"],
    stop: Int[Tensor, "*patient"],
    observed: Bool[Tensor, "*patient"],
    start: Int[Tensor, "*patient"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """The sum over rows of `(h - y)^2`, with `y` 1 where the event was: the Brier score of each row.

    *Proper*. A row costs 1 at most, where the likelihood knows no bound: for labels that may be wrong.

    Source:
        Gneiting and Raftery (2007), JASA 102(477), 359-378, doi:10.1198/016214506000001437.

    Examples:
        >>> logits = torch.logit(torch.tensor([[0.1, 0.2, 0.3]]))
        >>> squared_error(logits, torch.tensor([3]), torch.tensor([True]))  # 0.01 + 0.04 + 0.49
        tensor(0.5400)
    """
    rows = _rows(hazard_logits, stop, observed, start)
    return _sum_rows((rows.logits.sigmoid() - rows.event.float()) ** 2, rows, reduction)


@explained
def gaussian_nll(
    hazard_logits: Float[Tensor, "*patient visit"],
    log_variance: Float[Tensor, "*patient visit"],
    stop: Int[Tensor, "*patient"],
    observed: Bool[Tensor, "*patient"],
    start: Int[Tensor, "*patient"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Outcomes 0 and 1 taken for measurements: normal around the hazard, with a variance to be learned for each row.

    *Proper* for both, and the variance it likes best is `h (1 - h)`, that of the coin: known once `h` is, and no
    measure of how sure the model is of `h`. It has no lower bound: a row foreseen exactly may have a variance of 0.

    Examples:
        >>> one = torch.tensor([1]), torch.tensor([False])
        >>> gaussian_nll(torch.zeros(1, 1), torch.zeros(1, 1), *one)  # (0.25 + log(2 pi)) / 2
        tensor(1.0439)
    """
    rows = _rows(hazard_logits, stop, observed, start)
    if log_variance.shape != hazard_logits.shape:
        raise ValueError(f"log_variance has shape {sizes(log_variance)}; expected {sizes(hazard_logits)}")
    check_finite(log_variance, rows.counted)
    spread = widen(log_variance).masked_fill(~rows.counted, 0.0)
    # Square and variance meet as logarithms: 0 times infinity would be NaN.
    missed = logsigmoid(torch.where(rows.event, -rows.logits, rows.logits))
    return _sum_rows(((2 * missed - spread).exp() + spread + math.log(2 * math.pi)) / 2, rows, reduction)


# ------------------------------------------------------------------------------------- penalties, to be added to one


@explained
def calibration_penalty(
    hazard_logits: Float[Tensor, "*patient visit"],
    stop: Int[Tensor, "*patient"],
    observed: Bool[Tensor, "*patient"],
    start: Int[Tensor, "*patient"] | None = None,
    per: Literal["row", "patient"] = "row",
) -> Float[Tensor, ""]:
    """`(mean hazard - event rate)^2` over a batch.

    A hazard is a probability for each row, so the rate has to be events per *row*: then the penalty is smallest where
    the likelihood is, up to the luck of a small batch. *Not proper* with `per="patient"`, as in the notes: with ten
    rows a patient, a hazard of 0.05 is compared with 0.40.

    Examples:
        >>> logits = torch.logit(torch.tensor([[0.1, 0.2, 0.3]]))
        >>> calibration_penalty(logits, torch.tensor([3]), torch.tensor([True]))  # (0.2 - 1 / 3) ** 2
        tensor(0.0178)
    """
    if per not in ("row", "patient"):
        raise ValueError(f"per is {per!r}; expected 'row' or 'patient'")
    rows = _rows(hazard_logits, stop, observed, start)
    n_rows = _reduce(rows.counted.sum(-1), "sum")
    hazards = rows.logits.sigmoid().where(rows.counted, 0.0).sum()
    return (hazards / n_rows - observed.to(hazards.dtype).sum() / (n_rows if per == "row" else observed.numel())) ** 2


@explained
def smoothness_penalty(
    hazard_logits: Float[Tensor, "*patient visit"],
    stop: Int[Tensor, "*patient"],
    observed: Bool[Tensor, "*patient"],
    start: Int[Tensor, "*patient"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """The sum of `(h_{k+1} - h_k)^2` over neighbouring rows at risk.

    *Not proper*, unless the true hazard never changes: where it jumps, the low side is pulled up and the high side
    further down.

    Examples:
        >>> logits = torch.logit(torch.tensor([[0.1, 0.2, 0.4]]))
        >>> smoothness_penalty(logits, torch.tensor([3]), torch.tensor([False]))  # 0.01 + 0.04
        tensor(0.0500)
    """
    rows = _rows(hazard_logits, stop, observed, start)
    steps = rows.logits.sigmoid().diff(dim=-1) ** 2
    return _reduce(steps.where(rows.counted[..., 1:] & rows.counted[..., :-1], 0.0).sum(-1), reduction)


# -------------------------------------------------------------------------------------------------- patients in pairs


@explained
def ranking_loss(
    hazard_logits: Float[Tensor, "patient visit"],
    stop: Int[Tensor, " patient"],
    observed: Bool[Tensor, " patient"],
    start: Int[Tensor, " patient"] | None = None,
    score: Literal["logit", "sum"] = "logit",
) -> Float[Tensor, ""]:
    """How badly who has an event is told from those who get through the same row: `softplus(score_j - score_i)`.

    The mean over all such pairs, or 0 with a gradient of 0 where there is none. It fixes differences and no hazard.

    With `score="logit"` the logits of that row are compared, and the differences it likes best are the true ones:
    beside the likelihood it bends nothing. *Not proper* with `score="sum"`, the sum of each patient's hazards, as in
    the notes: the longest record has the largest sum, and late hazards are pushed down for it.

    Source:
        Lee, Zame, Yoon and van der Schaar (2018), AAAI, for ranking beside a likelihood; its pairs are those of pycox.

    Examples:
        >>> logits = torch.tensor([[2.0], [0.0], [1.0]])
        >>> ranking_loss(logits, torch.tensor([1, 1, 1]), torch.tensor([True, False, False]))  # (0.1269 + 0.3133) / 2
        tensor(0.2201)
    """
    if score not in ("logit", "sum"):
        raise ValueError(f"score is {score!r}; expected 'logit' or 'sum'")
    rows = _rows(hazard_logits, stop, observed, start)
    last = stop.long() - 1
    in_row = rows.logits[:, last].T  # [patient with the event, any patient]
    total = rows.logits.sigmoid().where(rows.counted, 0.0).sum(1)
    ahead = in_row - in_row.diagonal()[:, None] if score == "logit" else total - total[:, None]
    comparable = observed[:, None] & (rows.counted & ~rows.event)[:, last].T
    return _survived_nll(ahead).where(comparable, 0.0).sum() / comparable.sum().clamp(min=1)


# --------------------------------------------------------------------------------------------------------------- rows


class _Rows(NamedTuple):
    """Logits, with 0 where no row counts; which rows do; which of them ended in the event."""

    logits: Tensor
    counted: Tensor
    event: Tensor


def _rows(hazard_logits: Tensor, stop: Tensor, observed: Tensor, start: Tensor | None) -> _Rows:
    start = torch.zeros_like(stop) if start is None else start
    check_logits(hazard_logits)
    check_outcome(hazard_logits.shape[:-1], hazard_logits.shape[-1], stop, observed, start)
    visit = torch.arange(hazard_logits.shape[-1], device=hazard_logits.device)
    counted = (visit >= start[..., None]) & (visit < stop[..., None])
    check_finite(hazard_logits, counted)
    event = observed[..., None] & (visit == stop[..., None] - 1)
    return _Rows(widen(hazard_logits).masked_fill(~counted, 0.0), counted, event)


def _surprise(rows: _Rows) -> Tensor:
    """`-log` of the probability that was given to what happened in each row."""
    return _survived_nll(torch.where(rows.event, -rows.logits, rows.logits))


def _sum_rows(cost: Tensor, rows: _Rows, reduction: Reduction) -> Tensor:
    return _reduce(cost.where(rows.counted, 0.0).sum(-1), reduction)


def _check_weight(event_weight: float) -> None:
    if not 0 < event_weight < math.inf:
        raise ValueError(f"event_weight is {event_weight:g}; expected a number above 0")


def _check_focus(gamma: float, alpha: float) -> None:
    if not 0 <= gamma < math.inf or not 0 < alpha < 1:
        raise ValueError(f"gamma is {gamma:g} and alpha {alpha:g}; expected 0 or more, and between 0 and 1")
