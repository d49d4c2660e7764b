"""Hazard, survival, event probability and their likelihood: tensors in, tensors out.

Every function reads *logits* along its last axis, one per visit, and any number of axes may stand before it: one
patient `[visit]`, a batch `[patient, visit]`, several future intervals at each visit `[patient, visit, interval]`.
Row `k` is the interval that begins when visit `k` closes and ends at the next contact.

Half precision is widened to float32 first: in bfloat16 a sigmoid is exactly 1 from logit 6.25 on.
"""

import math
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from visitwise._checks import (
    MOST,
    check_finite,
    check_logits,
    check_offsets,
    check_outcome,
    check_probability,
    check_whole,
    refuse,
    sizes,
    widen,
)
from visitwise._explain import explained

Reduction = Literal["mean", "sum", "none"]

# A logit with a `softplus` and a slope of exactly 0, in float64 too.
OUTSIDE = -1e4


# ------------------------------------------------------------------------------ hazard, survival, event probability


@explained
def hazard(hazard_logits: Float[Tensor, "*batch visit"]) -> Float[Tensor, "*batch visit"]:
    """Probability of the event in each interval, for a patient still event-free when it begins.

    `h = sigmoid(z)`.

    Examples:
        >>> hazard(torch.tensor([0.0, -2.1972246]))
        tensor([0.5000, 0.1000])
    """
    return torch.sigmoid(widen(hazard_logits))


@explained
def log_survival(hazard_logits: Float[Tensor, "*batch visit"]) -> Float[Tensor, "*batch visit"]:
    """Logarithm of the probability of staying event-free through each interval.

    `log S_k = sum_{j <= k} log(1 - h_j) = -sum_{j <= k} softplus(z_j)`. Stays finite where `S` itself underflows.

    Examples:
        >>> log_survival(logits_from_hazard(torch.tensor([0.1, 0.2, 0.3])))
        tensor([-0.1054, -0.3285, -0.6852])
    """
    return -_survived_nll(widen(hazard_logits)).cumsum(-1)


@explained
def survival(hazard_logits: Float[Tensor, "*batch visit"]) -> Float[Tensor, "*batch visit"]:
    """Probability of staying event-free through each interval.

    `S_k = prod_{j <= k} (1 - h_j)`.

    Examples:
        >>> survival(logits_from_hazard(torch.tensor([0.1, 0.2, 0.3])))
        tensor([0.9000, 0.7200, 0.5040])
    """
    return log_survival(hazard_logits).exp()


@explained
def event_probability(hazard_logits: Float[Tensor, "*batch visit"]) -> Float[Tensor, "*batch visit"]:
    """Probability that the event falls in each interval, for hazards that were all known before the first.

    `f_k = h_k * S_{k-1}`, so `f_0 + ... + f_k + S_k = 1`.

    Examples:
        >>> event_probability(logits_from_hazard(torch.tensor([0.1, 0.2, 0.3])))
        tensor([0.1000, 0.1800, 0.2160])
    """
    hazard_logits = widen(hazard_logits)
    # Moved by one visit, not subtracted: after a hazard of 1 the difference of two infinities would be NaN.
    survived = log_survival(hazard_logits)[..., :-1]
    log_survival_before = torch.cat([torch.zeros_like(hazard_logits[..., :1]), survived], -1)
    return (logsigmoid(hazard_logits) + log_survival_before).exp()


@explained
def cumulative_hazard(hazard_logits: Float[Tensor, "*batch visit"]) -> Float[Tensor, "*batch visit"]:
    """Accumulated hazard through each interval, in the sense for which `S = exp(-H)` holds exactly.

    `H_k = -sum_{j <= k} log(1 - h_j)`. The plain sum of the hazards is a different thing: with five hazards of 0.3 it
    gives `exp(-1.5) = 0.223` where survival is 0.168.

    Examples:
        >>> cumulative_hazard(logits_from_hazard(torch.tensor([0.1, 0.2, 0.3])))
        tensor([0.1054, 0.3285, 0.6852])
    """
    return -log_survival(hazard_logits)


@explained
def logits_from_hazard(hazard: Float[Tensor, "*batch visit"]) -> Float[Tensor, "*batch visit"]:
    """Logits of hazards given as probabilities; the inverse of `hazard`.

    Raises:
        ValueError: A hazard lies outside [0, 1]; logits were probably passed where probabilities are expected.

    Examples:
        >>> logits_from_hazard(torch.tensor([0.5, 0.1]))
        tensor([ 0.0000, -2.1972])
    """
    check_probability(hazard, "hazard")
    return torch.logit(widen(hazard))


@explained
def logits_from_survival(survival: Float[Tensor, "*batch visit"]) -> Float[Tensor, "*batch visit"]:
    """Hazard logits whose survival curve is the one given; the inverse of `survival`.

    `z_k = log((S_{k-1} - S_k) / S_k)` with `S_{-1} = 1`.

    Raises:
        ValueError: A value lies outside [0, 1] or the curve rises.

    Examples:
        >>> hazard(logits_from_survival(torch.tensor([0.9, 0.72, 0.504])))
        tensor([0.1000, 0.2000, 0.3000])
    """
    check_probability(survival, "survival")
    survival = widen(survival)
    survival_before = torch.cat([torch.ones_like(survival[..., :1]), survival[..., :-1]], -1)
    refuse(survival > survival_before, survival, "survival at index {where} is {value:g}, above the value before it")
    return (survival_before - survival).log() - survival.log()


@explained
def logits_from_event_probability(
    event_probability: Float[Tensor, "*batch visit"],
) -> Float[Tensor, "*batch visit"]:
    """Hazard logits whose event probabilities are those given; the inverse of `event_probability`.

    `z_k = log(f_k / S_k)` with `S_k = 1 - f_0 - ... - f_k`.

    Raises:
        ValueError: A value lies outside [0, 1] or the values of one patient sum to more than 1.

    Examples:
        >>> hazard(logits_from_event_probability(torch.tensor([0.1, 0.18, 0.216])))
        tensor([0.1000, 0.2000, 0.3000])
    """
    check_probability(event_probability, "event probability")
    event_probability = widen(event_probability)
    survival = 1 - event_probability.cumsum(-1)
    rounding = event_probability.shape[-1] * torch.finfo(event_probability.dtype).eps
    message = "event probabilities up to index {where} leave {value:g} for survival; they may sum to 1 at most"
    refuse(survival < -rounding, survival, message)
    return event_probability.log() - survival.clamp(min=0).log()


@explained
def logits_from_cumulative_hazard(
    cumulative_hazard: Float[Tensor, "*batch visit"],
) -> Float[Tensor, "*batch visit"]:
    """Hazard logits whose cumulative hazard is the one given; the inverse of `cumulative_hazard`.

    `z_k = log(exp(H_k - H_{k-1}) - 1)` with `H_{-1} = 0`.

    Raises:
        ValueError: A value is negative or NaN, or the curve falls.

    Examples:
        >>> hazard(logits_from_cumulative_hazard(torch.tensor([0.1053605, 0.3285041])))
        tensor([0.1000, 0.2000])
    """
    step = widen(cumulative_hazard).diff(dim=-1, prepend=torch.zeros_like(widen(cumulative_hazard)[..., :1]))
    message = "cumulative hazard changes by {value:g} at index {where}; it starts at 0 and never falls"
    refuse(~(step >= 0), step, message)
    # log(exp(d) - 1) without overflow for large steps: d + log(1 - exp(-d)).
    return step + (-torch.expm1(-step)).log()


@explained
def logits_from_cloglog(cloglog: Float[Tensor, "*batch visit"]) -> Float[Tensor, "*batch visit"]:
    """Hazard logits of hazards given on the complementary log-log scale, the scale of grouped proportional hazards.

    `h = 1 - exp(-exp(c))`, so `z = log(exp(exp(c)) - 1)`. Where `c = baseline + coefficient * covariate`, the
    coefficient is that of a Cox model whose event times were grouped into intervals.

    Source:
        Prentice and Gloeckler (1978), Biometrics 34(1), 57-67.

    Examples:
        >>> hazard(logits_from_cloglog(torch.tensor([-2.2503674, 0.0])))
        tensor([0.1000, 0.6321])
    """
    cloglog = widen(cloglog)
    # Below -40 the two scales agree to the last digit, and exp(c) would run out of numbers.
    rate = cloglog.clamp(min=-40.0).exp()
    return torch.where(cloglog < -40.0, cloglog, rate + (-torch.expm1(-rate)).log())


# ------------------------------------------------------------------------------------------------- the likelihood


@explained
def hazard_nll(
    hazard_logits: Float[Tensor, "*patient visit"],
    stop: Int[Tensor, "*patient"],
    observed: Bool[Tensor, "*patient"],
    start: Int[Tensor, "*patient"] | None = None,
    censored_exposure: float | Float[Tensor, "*patient"] = 1.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """How surprised the hazards are by what happened to each patient: the discrete-time survival loss.

    A patient contributes the rows `start <= k < stop`. Every row but the last was survived. The last one ended in the
    event (`observed`), or was survived too (censored). With `z` the logits and `e` the censored exposure:

    `sum_{k < stop-1} softplus(z_k) + observed * softplus(-z_last) + (1 - observed) * e * softplus(z_last)`

    Rows outside `start..stop` may hold anything, NaN included: they touch neither the value nor the gradient. Logits
    in half precision are widened to float32.

    Args:
        hazard_logits: One logit per visit. Further axes may stand before `visit`, for example
            `[patient, visit, interval]` with a `stop` for every `[patient, visit]`.
        stop: Number of the row after a patient's last one, `start < stop <= visit`.
        observed: True if the event was seen, in row `stop - 1`.
        start: First row whose outcome counts; earlier visits are history only. Zero if not given.
        censored_exposure: Share of the last interval that a censored patient is credited with surviving: 1 the whole
            of it (pycox), 0 none of it, 0.5 the actuarial half, or one share per patient.
        reduction: `"mean"` over patients, `"sum"`, or `"none"` for one value per patient.

    Raises:
        ValueError: Shapes disagree, a `stop` or `start` lies outside the record, a logit on a counted row is NaN or
            infinite, or the logits come straight from a sigmoid. Names the first such patient by index.

    Source:
        Singer and Willett (1993), Journal of Educational Statistics 18(2), 155-195; Kvamme and Borgan (2021), Lifetime
        Data Analysis 27, 710-736, doi:10.1007/s10985-021-09532-6.

    Examples:
        >>> logits = torch.logit(torch.tensor([[0.1, 0.2, 0.3], [0.15, 0.25, float("nan")]]))
        >>> hazard_nll(logits, torch.tensor([3, 2]), torch.tensor([True, True]), reduction="none")
        tensor([1.5325, 1.5488])
        >>> hazard_nll(logits[:1], torch.tensor([3]), torch.tensor([False]))
        tensor(0.6852)
    """
    check_logits(hazard_logits)
    check_outcome(hazard_logits.shape[:-1], hazard_logits.shape[-1], stop, observed, start)
    hazard_logits = widen(hazard_logits)

    exposure = (
        None if _is_full(censored_exposure, stop.shape) else _exposure(censored_exposure, hazard_logits, stop.shape)
    )
    sloped = exposure is not None and exposure.requires_grad
    nll = (_nll if sloped else _NLL.apply)(hazard_logits, start, stop, observed, exposure)
    reduced = _reduce(nll, reduction)
    # `_NLL` is not finite if a counted logit is not; to the formula, minus infinity is a hazard of 0.
    if sloped or not math.isfinite((reduced.sum() if reduced.dim() else reduced).item()):
        check_finite(hazard_logits, _between(hazard_logits, start, stop))
    return reduced


def _is_full(censored_exposure: float | Tensor, shape: torch.Size) -> bool:
    """Whether every exposure is 1, and nobody wants its slope."""
    if isinstance(censored_exposure, Tensor):
        as_expected = censored_exposure.shape in ((), shape) and not censored_exposure.requires_grad
        return as_expected and bool((censored_exposure == 1).all())
    return isinstance(censored_exposure, float | int) and censored_exposure == 1


def _nll(
    hazard_logits: Tensor, start: Tensor | None, stop: Tensor, observed: Tensor, exposure: Tensor | None
) -> Tensor:
    """Each patient's NLL, in the terms of the formula."""
    survived = _between(hazard_logits, start, stop - 1)
    # Rows that are not survived get logit -inf, whose softplus is exactly 0 with gradient 0, whatever stood there.
    before_last = _survived_nll(hazard_logits.masked_fill(~survived, -torch.inf)).sum(-1)
    last = hazard_logits.gather(-1, (stop.long() - 1)[..., None])[..., 0]
    return before_last + _last_row_nll(last, observed, 1.0 if exposure is None else exposure)


class _NLL(torch.autograd.Function):
    """`_nll` in less than half of the time: one `softplus` for all rows, and its slope by hand.

    The slope of a row is its hazard minus its label. With the logit of an event's row turned round, each row costs
    `softplus` and has the slope of one; the last row of a censored patient counts by its exposure.
    """

    @staticmethod
    def forward(
        ctx: Any, hazard_logits: Tensor, start: Tensor | None, stop: Tensor, observed: Tensor, exposure: Tensor | None
    ) -> Tensor:
        last = (stop.long() - 1).unsqueeze(-1)
        turned = hazard_logits.scatter(-1, last, _turned(hazard_logits.gather(-1, last), observed))
        # What is not finite becomes inf, which a counted row leaves in the sum.
        rows = _only(turned.nan_to_num_(torch.inf, torch.inf, torch.inf), start, stop)
        ctx.save_for_backward(hazard_logits, start, stop, observed, exposure, rows, last)
        return _weighed(_survived_nll(rows), last, observed, exposure).sum(-1)

    @staticmethod
    def backward(ctx: Any, of_nll: Tensor) -> tuple[Tensor, None, None, None, None]:
        hazard_logits, start, stop, observed, exposure, rows, last = ctx.saved_tensors
        if torch.is_grad_enabled():  # the slope is to have a slope itself
            nll = _nll(hazard_logits, start, stop, observed, exposure)
            return *torch.autograd.grad(nll, hazard_logits, of_nll, create_graph=True), None, None, None, None
        slope = _weighed(torch.sigmoid(rows), last, observed, exposure)
        slope.scatter_(-1, last, _turned(slope.gather(-1, last), observed))
        return slope.mul_(of_nll.unsqueeze(-1)), None, None, None, None


def _turned(of_last: Tensor, observed: Tensor) -> Tensor:
    """What belongs to the last row of each patient, with the other sign where that row has the event."""
    return torch.where(observed.unsqueeze(-1), -of_last, of_last)


def _weighed(rows: Tensor, last: Tensor, observed: Tensor, exposure: Tensor | None) -> Tensor:
    """The same rows, changed in place: those in which follow-up ends without the event count by their exposure."""
    if exposure is None:
        return rows
    share = torch.where(observed, 1.0, exposure).unsqueeze(-1)
    return rows.scatter_(-1, last, share * rows.gather(-1, last))


def _only(rows: Tensor, start: Tensor | None, stop: Tensor) -> Tensor:
    """The values of rows `start <= k < stop`; elsewhere `OUTSIDE`, if none is NaN.

    A mask that is true and false by turns is slow to fill by; a minimum with `OUTSIDE` there, infinity here is not.
    """
    middle = torch.arange(0.5, rows.shape[-1], dtype=rows.dtype, device=rows.device)  # of each row, so never at an end
    limit = stop.to(rows.dtype).unsqueeze(-1) - middle
    if start is not None:
        limit = torch.minimum(limit, middle - start.to(rows.dtype).unsqueeze(-1))
    return torch.minimum(rows, limit.mul_(torch.inf).clamp_(min=OUTSIDE), out=limit)


def _between(hazard_logits: Tensor, start: Tensor | None, stop: Tensor) -> Tensor:
    """True at rows `start <= k < stop`."""
    visit = torch.arange(hazard_logits.shape[-1], device=hazard_logits.device)
    before_stop = visit < stop[..., None]
    return before_stop if start is None else before_stop & (visit >= start[..., None])


@explained
def hazard_nll_flat(
    hazard_logits: Float[Tensor, " row"],
    offsets: Int[Tensor, " patient_and_end"],
    stop: Int[Tensor, " patient"],
    observed: Bool[Tensor, " patient"],
    start: Int[Tensor, " patient"] | None = None,
    censored_exposure: float | Float[Tensor, " patient"] = 1.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """`hazard_nll` for logits that lie one after the other, patient by patient, without padding.

    Args:
        hazard_logits: One logit per visit of every patient.
        offsets: Patient `i` owns the rows `offsets[i]` to `offsets[i + 1]`; begins with 0, ends with the row count.
        stop: As in `hazard_nll`, counted from the patient's own first row.
        observed: As in `hazard_nll`.
        start: As in `hazard_nll`.
        censored_exposure: As in `hazard_nll`.
        reduction: As in `hazard_nll`.

    Raises:
        ValueError: As in `hazard_nll`, or the offsets do not fit the rows.

    Examples:
        >>> logits = logits_from_hazard(torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25]))
        >>> offsets, stop = torch.tensor([0, 3, 5]), torch.tensor([3, 2])
        >>> hazard_nll_flat(logits, offsets, stop, torch.tensor([True, True]), reduction="none")
        tensor([1.5325, 1.5488])
    """
    start = torch.zeros_like(stop) if start is None else start
    check_logits(hazard_logits)
    check_offsets(offsets, hazard_logits.shape[0])
    length = offsets.diff()
    check_outcome(length.shape, length, stop, observed, start)
    hazard_logits = widen(hazard_logits)

    patient = torch.repeat_interleave(length)
    visit = torch.arange(hazard_logits.shape[0], device=hazard_logits.device) - offsets[:-1][patient]
    from_start = visit >= start[patient]
    check_finite(hazard_logits, from_start & (visit < stop[patient]), (patient, visit))
    survived = from_start & (visit < stop[patient] - 1)
    row_nll = _survived_nll(hazard_logits.masked_fill(~survived, -torch.inf))
    before_last = row_nll.new_zeros(length.shape).index_add(0, patient, row_nll)
    last = hazard_logits[offsets[:-1] + stop - 1]
    exposure = _exposure(censored_exposure, last, last.shape)
    return _reduce(before_last + _last_row_nll(last, observed, exposure), reduction)


def _last_row_nll(last: Tensor, observed: Tensor, exposure: float | Tensor) -> Tensor:
    # An event costs `softplus(-z)`; `softplus(z) - z` would round away the small loss of a right and sure prediction.
    return torch.where(observed, _survived_nll(-last), exposure * _survived_nll(last))


def _exposure(censored_exposure: float | Tensor, like: Tensor, shape: torch.Size) -> Tensor:
    if isinstance(censored_exposure, complex) or (
        torch.is_tensor(censored_exposure) and censored_exposure.is_complex()
    ):
        raise TypeError(f"censored_exposure is {censored_exposure}; expected a real number")
    exposure = torch.as_tensor(censored_exposure, dtype=like.dtype, device=like.device)
    if exposure.shape not in ((), shape):
        raise ValueError(f"censored_exposure has shape {sizes(exposure)}; expected a number or {list(shape)}")
    refuse(~((exposure >= 0) & (exposure <= 1)), exposure, "censored_exposure is {value:g}{at}; expected 0 to 1")
    return exposure


def _survived_nll(hazard_logits: Tensor) -> Tensor:
    """`-log(1 - h)`. Torch's own threshold of 20 leaves out a part that float64 can hold; beyond 40 nothing can."""
    return softplus(hazard_logits, threshold=40.0)


def _reduce(per_patient: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "none":
        return per_patient
    if per_patient.numel() == 0:
        raise ValueError("there is no patient to take a loss over: the batch is empty")
    if reduction == "mean":
        return per_patient.mean()
    if reduction == "sum":
        return per_patient.sum()
    raise ValueError(f"reduction is {reduction!r}; expected 'mean', 'sum' or 'none'")


# ---------------------------------------------------------------------------------------------------- several causes


@explained
def cause_hazard(cause_logits: Float[Tensor, "*batch visit cause"]) -> Float[Tensor, "*batch visit cause"]:
    """Probability of the event of each cause in each interval, for a patient still free of all of them.

    `h_c = exp(z_c) / (1 + sum exp(z))`: a softmax over the causes and "nothing", whose logit is 0. The causes of one
    interval sum to less than 1, whatever the logits.

    Examples:
        >>> cause_hazard(torch.tensor([[0.0, 0.6931472]]))  # odds of 1 and 2 against nothing
        tensor([[0.2500, 0.5000]])
    """
    return _log_cause_hazard(cause_logits).exp()


@explained
def all_cause_logits(cause_logits: Float[Tensor, "*batch visit cause"]) -> Float[Tensor, "*batch visit"]:
    """Hazard logits of an event of any cause: what `survival` and the other functions of this module read.

    `z = log(sum exp(z_c))`, because the odds of the causes against "nothing" add up.

    Examples:
        >>> survival(all_cause_logits(torch.tensor([[0.0, 0.6931472], [0.0, 0.6931472]])))
        tensor([0.2500, 0.0625])
    """
    return widen(cause_logits).logsumexp(-1)


@explained
def cumulative_incidence(cause_logits: Float[Tensor, "*batch visit cause"]) -> Float[Tensor, "*batch visit cause"]:
    """Probability that the event of each cause has happened by the end of each interval.

    `F_kc = sum_{j <= k} h_jc * S_{j-1}`, with `S` the probability of no event of any cause. So the causes and `S` sum
    to 1. (One minus a survival curve made from `h_c` alone is more: it takes the other causes away.)

    Examples:
        >>> cumulative_incidence(torch.tensor([[0.0, 0.6931472], [0.0, 0.6931472]]))
        tensor([[0.2500, 0.5000],
                [0.3125, 0.6250]])
    """
    survived = log_survival(all_cause_logits(cause_logits))
    survived_before = torch.cat([torch.zeros_like(survived[..., :1]), survived[..., :-1]], -1)
    return (_log_cause_hazard(cause_logits) + survived_before[..., None]).exp().cumsum(-2)


@explained
def competing_risks_nll(
    cause_logits: Float[Tensor, "*patient visit cause"],
    stop: Int[Tensor, "*patient"],
    cause: Int[Tensor, "*patient"],
    start: Int[Tensor, "*patient"] | None = None,
    censored_exposure: float | Float[Tensor, "*patient"] = 1.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """`hazard_nll` for events of several causes, of which the first to happen ends the record.

    Each interval is one draw among the causes and "nothing". Its likelihood has two parts, *whether* something happened
    and *which* it was:

    `hazard_nll(all_cause_logits) - [event] * log softmax(z_last)_cause`

    With one cause the second part is 0, and this is `hazard_nll`.

    Args:
        cause_logits: One logit per visit and cause, against "nothing", whose logit is 0.
        stop: As in `hazard_nll`.
        cause: 0 for a censored patient, else the number of the cause, from 1, whose event happened in row `stop - 1`.
        start: As in `hazard_nll`.
        censored_exposure: As in `hazard_nll`.
        reduction: As in `hazard_nll`.

    Raises:
        ValueError: As in `hazard_nll`, or a cause has no logit.

    Source:
        Tutz and Schmid (2016), Modeling Discrete Time-to-Event Data, Springer,
        doi:10.1007/978-3-319-28158-2.

    Examples:
        >>> logits = torch.tensor([[[0.0, 0.6931472], [0.0, 0.6931472]]])  # hazards of 0.25 and 0.5 at both visits
        >>> competing_risks_nll(logits, torch.tensor([2]), torch.tensor([1]))  # -log(0.25 * 0.25)
        tensor(2.7726)
        >>> competing_risks_nll(logits, torch.tensor([2]), torch.tensor([0]))  # -log(0.25 * 0.25): nothing, twice
        tensor(2.7726)
        >>> competing_risks_nll(logits, torch.tensor([1]), torch.tensor([2]))  # -log(0.5)
        tensor(0.6931)
    """
    check_logits(cause_logits)
    if cause.is_floating_point() or cause.dtype == torch.bool:
        raise ValueError(f"cause has dtype {cause.dtype}; expected whole numbers, 0 for a censored patient")
    if cause.shape != cause_logits.shape[:-2]:
        raise ValueError(f"cause has shape {sizes(cause)}; expected {sizes(cause_logits)[:-2]}, one for each patient")
    start = torch.zeros_like(stop) if start is None else start
    check_outcome(cause_logits.shape[:-2], cause_logits.shape[-2], stop, cause > 0, start)
    n_causes = torch.full_like(cause, cause_logits.shape[-1])
    refuse((cause < 0) | (cause > n_causes), cause, "cause is {value}{at}; expected 0 (censored) to {limit}", n_causes)
    cause_logits = widen(cause_logits)

    visit = torch.arange(cause_logits.shape[-2], device=cause_logits.device)
    counted = (visit >= start[..., None]) & (visit < stop[..., None])
    check_finite(cause_logits.sum(-1), counted)
    # Before the sum over causes, whose gradient is NaN wherever an input is.
    cause_logits = cause_logits.masked_fill(~counted[..., None], 0.0)
    whether = hazard_nll(all_cause_logits(cause_logits), stop, cause > 0, start, censored_exposure, "none")
    last = cause_logits.take_along_dim((stop.long() - 1)[..., None, None], -2)[..., 0, :]
    which = -last.log_softmax(-1).gather(-1, (cause.long() - 1).clamp(min=0)[..., None])[..., 0]
    return _reduce(whether + which.where(cause > 0, 0.0), reduction)


def _log_cause_hazard(cause_logits: Tensor) -> Tensor:
    cause_logits = widen(cause_logits)
    nothing = torch.zeros_like(cause_logits[..., :1])
    return torch.cat([nothing, cause_logits], -1).log_softmax(-1)[..., 1:]


# ---------------------------------------------------------------------------------------------- several intervals ahead


@explained
def horizon_nll(
    hazard_logits: Float[Tensor, "*patient visit interval"],
    stop: Int[Tensor, "*patient"],
    observed: Bool[Tensor, "*patient"],
    start: Int[Tensor, "*patient"] | None = None,
    censored_exposure: float | Float[Tensor, "*patient"] = 1.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """The likelihood of a forecast: at each visit at risk, the hazards of the intervals that follow it.

    Visit `k` is a landmark. `hazard_logits[..., k, j]` is about row `k + j`, said at visit `k` from what was known
    then. From there the patient has `stop - k` rows to come, of which the forecast covers the first ones: an event in
    them is seen, and whoever gets past them is censored after the last. Each landmark adds its own `hazard_nll`, so
    one event is forecast from several visits: the sum is a composite likelihood, whose standard errors are too small.

    Args:
        hazard_logits: One logit per visit and interval after it, as many intervals as the forecast is long.
        stop: As in `hazard_nll`.
        observed: As in `hazard_nll`.
        start: First visit to forecast from.
        censored_exposure: As in `hazard_nll`.
        reduction: As in `hazard_nll`: `"none"` gives one value per patient, the sum over the visits.

    Raises:
        ValueError: As in `hazard_nll`.

    Source:
        van Houwelingen (2007), Scandinavian Journal of Statistics 34(1), 70-85, for landmarks.

    Examples:
        >>> logits = logits_from_hazard(torch.tensor([[[0.1, 0.2], [0.3, 0.4]]]))
        >>> horizon_nll(logits, torch.tensor([2]), torch.tensor([True]))  # -log(0.9 * 0.2) - log(0.3)
        tensor(2.9188)
    """
    check_logits(hazard_logits)
    if hazard_logits.shape[-1] == 0:
        raise ValueError(f"hazard_logits has shape {sizes(hazard_logits)}; expected at least one interval ahead")
    start = torch.zeros_like(stop) if start is None else start
    check_outcome(hazard_logits.shape[:-2], hazard_logits.shape[-2], stop, observed, start)
    hazard_logits = widen(hazard_logits)
    exposure = _exposure(censored_exposure, hazard_logits, stop.shape)

    visit = torch.arange(hazard_logits.shape[-2], device=hazard_logits.device)
    at_risk = (visit >= start[..., None]) & (visit < stop[..., None])
    to_come = (stop[..., None] - visit).where(at_risk, 1)
    in_sight = to_come <= hazard_logits.shape[-1]
    # Visits that are not at risk get one row with nothing in it: not seen, not survived.
    seen = observed[..., None] & in_sight & at_risk
    survived = exposure[..., None].where(in_sight, 1.0).where(at_risk, 0.0)
    hazard_logits = hazard_logits.masked_fill(~at_risk[..., None], 0.0)
    to_come = to_come.clamp(max=hazard_logits.shape[-1])
    each = hazard_nll(hazard_logits, to_come, seen, None, survived, "none")
    return _reduce(each.sum(-1), reduction)


@explained
def fixed_horizon_bce(
    event_logits: Float[Tensor, "*patient"],
    stop: Int[Tensor, "*patient"],
    observed: Bool[Tensor, "*patient"],
    horizon: int,
    start: Int[Tensor, "*patient"] | None = None,
    weight: Float[Tensor, "*patient"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Binary cross-entropy of "the event within `horizon` rows of the start: yes or no".

    A last row without the event counts as survived, whatever the exposure before the censoring. Whoever is censored
    earlier is neither: no label is made up, the patient adds nothing. That bends the result,
    because those with a short follow-up are known only if they had the event; the inverse of the probability of still
    being followed, as `weight`, sets it right if being lost has nothing to do with risk. A hazard for each row needs
    neither.

    Args:
        event_logits: One logit per patient: of the event in the rows `start <= k < start + horizon`.
        stop: As in `hazard_nll`.
        observed: As in `hazard_nll`.
        horizon: Number of rows to look ahead, at least 1.
        start: As in `hazard_nll`.
        weight: What each patient counts for, 0 or more; 1 if not given.
        reduction: `"mean"` over the patients who are known, `"sum"`, or `"none"`, which has 0 for the unknown.

    Raises:
        ValueError: Shapes disagree, the horizon is below 1, a weight is negative or not finite, a logit that counts is
            NaN or infinite, or nobody's answer is known.

    Examples:
        >>> stop, observed = torch.tensor([2, 3, 1]), torch.tensor([True, False, False])
        >>> fixed_horizon_bce(torch.tensor([1.0, -2.0, 5.0]), stop, observed, horizon=2, reduction="none")
        tensor([0.3133, 0.1269, 0.0000])
    """
    check_logits(event_logits)
    start = torch.zeros_like(stop) if start is None else start
    check_outcome(event_logits.shape, stop, stop, observed, start)
    check_whole(horizon, "horizon")
    event = observed & (stop - start <= horizon)
    known = event | (stop - start >= horizon)
    message = "event logit is {value}{at}; expected a finite number"
    refuse(known & ~event_logits.isfinite(), event_logits, message)
    weight = torch.ones_like(widen(event_logits)) if weight is None else weight
    if weight.shape != event_logits.shape:
        raise ValueError(f"weight has shape {sizes(weight)}; expected {sizes(event_logits)}, one for each patient")
    refuse(~((weight >= 0) & weight.isfinite()), weight, "weight is {value:g}{at}; expected a finite number, 0 or more")
    if reduction == "mean" and not bool(known.any()):
        raise ValueError(
            f"nobody is followed for {horizon} rows or has the event in them; expected one patient at least"
        )
    # Known ones who stay free of the event cost softplus(z), those who have it softplus(-z).
    event_logits = widen(event_logits).masked_fill(~known, -torch.inf)
    each = weight * _survived_nll(torch.where(event, -event_logits, event_logits))
    return each.sum() / known.sum() if reduction == "mean" else _reduce(each, reduction)


# ---------------------------------------------------------------------------------------------------- person-period


class PersonPeriod(NamedTuple):
    """The rows of a person-period table, as indices: `covariates[rows.patient, rows.visit]` are its covariates."""

    patient: Int[Tensor, " row"]
    visit: Int[Tensor, " row"]
    event: Bool[Tensor, " row"]


@explained
def person_period(
    stop: Int[Tensor, " patient"],
    observed: Bool[Tensor, " patient"],
    start: Int[Tensor, " patient"] | None = None,
) -> PersonPeriod:
    """One row for each interval a patient was at risk in, marked if the event happened there.

    Binary cross-entropy over these rows, summed, *is* `hazard_nll` with `reduction="sum"` and all exposures 1.

    Raises:
        ValueError: A `stop` is not above its `start`.

    Source:
        Singer and Willett (1993), Journal of Educational Statistics 18(2), 155-195.

    Examples:
        >>> rows = person_period(torch.tensor([3, 2]), torch.tensor([True, False]))
        >>> rows.patient, rows.visit, rows.event.int()
        (tensor([0, 0, 0, 1, 1]), tensor([0, 1, 2, 0, 1]), tensor([0, 0, 1, 0, 0], dtype=torch.int32))
    """
    start = torch.zeros_like(stop) if start is None else start
    check_outcome(stop.shape, stop, stop, observed, start)
    refuse(stop.long() > MOST, stop, f"stop is {{value}}{{at}}; expected at most {MOST}")
    length = (stop - start).long()
    patient = torch.repeat_interleave(length)
    first_row = length.cumsum(0) - length
    visit = torch.arange(int(length.sum()), device=stop.device) - first_row[patient] + start[patient]
    return PersonPeriod(patient, visit, observed[patient] & (visit == stop[patient] - 1))
