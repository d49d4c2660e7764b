"""Hazard, survival, event probability and their likelihood: tensors in, tensors out.

Every function reads *logits* along its last axis, one per visit, and any number of axes may stand before it: one
patient `[visit]`, a batch `[patient, visit]`, several future intervals at each visit `[patient, visit, interval]`.
Row `k` is the interval that begins when visit `k` closes and ends at the next contact.

Half precision is widened to float32 first: in bfloat16 a sigmoid is exactly 1 from logit 6.25 on.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from visitwise._checks import ends_in_sigmoid, refuse, widen

Reduction = Literal["mean", "sum", "none"]


# ------------------------------------------------------------------------------ hazard, survival, event probability


def hazard(hazard_logits: Float[Tensor, "*batch visit"]) -> Float[Tensor, "*batch visit"]:
    """Probability of the event in each interval, for a patient still event-free when it begins.

    `h = sigmoid(z)`.

    Examples:
        >>> hazard(torch.tensor([0.0, -2.1972246]))
        tensor([0.5000, 0.1000])
    """
    return torch.sigmoid(widen(hazard_logits))


def log_survival(hazard_logits: Float[Tensor, "*batch visit"]) -> Float[Tensor, "*batch visit"]:
    """Logarithm of the probability of staying event-free through each interval.

    `log S_k = sum_{j <= k} log(1 - h_j) = -sum_{j <= k} softplus(z_j)`. Stays finite where `S` itself underflows.

    Examples:
        >>> log_survival(logits_from_hazard(torch.tensor([0.1, 0.2, 0.3])))
        tensor([-0.1054, -0.3285, -0.6852])
    """
    return -_survived_nll(widen(hazard_logits)).cumsum(-1)


def survival(hazard_logits: Float[Tensor, "*batch visit"]) -> Float[Tensor, "*batch visit"]:
    """Probability of staying event-free through each interval.

    `S_k = prod_{j <= k} (1 - h_j)`.

    Examples:
        >>> survival(logits_from_hazard(torch.tensor([0.1, 0.2, 0.3])))
        tensor([0.9000, 0.7200, 0.5040])
    """
    return log_survival(hazard_logits).exp()


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


def cumulative_hazard(hazard_logits: Float[Tensor, "*batch visit"]) -> Float[Tensor, "*batch visit"]:
    """Accumulated hazard through each interval, in the sense for which `S = exp(-H)` holds exactly.

    `H_k = -sum_{j <= k} log(1 - h_j)`. The plain sum of the hazards is a different thing: with five hazards of 0.3 it
    gives `exp(-1.5) = 0.223` where survival is 0.168.

    Examples:
        >>> cumulative_hazard(logits_from_hazard(torch.tensor([0.1, 0.2, 0.3])))
        tensor([0.1054, 0.3285, 0.6852])
    """
    return -log_survival(hazard_logits)


def logits_from_hazard(hazard: Float[Tensor, "*batch visit"]) -> Float[Tensor, "*batch visit"]:
    """Logits of hazards given as probabilities; the inverse of `hazard`.

    Raises:
        ValueError: A hazard lies outside [0, 1]; logits were probably passed where probabilities are expected.

    Examples:
        >>> logits_from_hazard(torch.tensor([0.5, 0.1]))
        tensor([ 0.0000, -2.1972])
    """
    _check_probability(hazard, "hazard")
    return torch.logit(widen(hazard))


def logits_from_survival(survival: Float[Tensor, "*batch visit"]) -> Float[Tensor, "*batch visit"]:
    """Hazard logits whose survival curve is the one given; the inverse of `survival`.

    `z_k = log((S_{k-1} - S_k) / S_k)` with `S_{-1} = 1`.

    Raises:
        ValueError: A value lies outside [0, 1] or the curve rises.

    Examples:
        >>> hazard(logits_from_survival(torch.tensor([0.9, 0.72, 0.504])))
        tensor([0.1000, 0.2000, 0.3000])
    """
    _check_probability(survival, "survival")
    survival = widen(survival)
    survival_before = torch.cat([torch.ones_like(survival[..., :1]), survival[..., :-1]], -1)
    refuse(survival > survival_before, survival, "survival at index {where} is {value:g}, above the value before it")
    return (survival_before - survival).log() - survival.log()


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
    _check_probability(event_probability, "event probability")
    event_probability = widen(event_probability)
    survival = 1 - event_probability.cumsum(-1)
    rounding = event_probability.shape[-1] * torch.finfo(event_probability.dtype).eps
    message = "event probabilities up to index {where} leave {value:g} for survival; they may sum to 1 at most"
    refuse(survival < -rounding, survival, message)
    return event_probability.log() - survival.clamp(min=0).log()


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


# ------------------------------------------------------------------------------------------------- the likelihood


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
    start = torch.zeros_like(stop) if start is None else start
    _check_logits(hazard_logits)
    _check_outcome(hazard_logits.shape[:-1], hazard_logits.shape[-1], stop, observed, start)
    hazard_logits = widen(hazard_logits)

    visit = torch.arange(hazard_logits.shape[-1], device=hazard_logits.device)
    from_start = visit >= start[..., None]
    _check_finite(hazard_logits, from_start & (visit < stop[..., None]))
    # Rows that are not survived get logit -inf, whose softplus is exactly 0 with gradient 0, whatever stood there.
    survived = from_start & (visit < stop[..., None] - 1)
    before_last = _survived_nll(hazard_logits.masked_fill(~survived, -torch.inf)).sum(-1)
    last = hazard_logits.gather(-1, (stop.long() - 1)[..., None])[..., 0]
    return _reduce(before_last + _last_row_nll(last, observed, censored_exposure), reduction)


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
    _check_logits(hazard_logits)
    _check_offsets(offsets, hazard_logits.shape[0])
    length = offsets.diff()
    _check_outcome(length.shape, length, stop, observed, start)
    hazard_logits = widen(hazard_logits)

    patient = torch.repeat_interleave(length)
    visit = torch.arange(hazard_logits.shape[0], device=hazard_logits.device) - offsets[:-1][patient]
    from_start = visit >= start[patient]
    _check_finite(hazard_logits, from_start & (visit < stop[patient]), (patient, visit))
    survived = from_start & (visit < stop[patient] - 1)
    row_nll = _survived_nll(hazard_logits.masked_fill(~survived, -torch.inf))
    before_last = row_nll.new_zeros(length.shape).index_add(0, patient, row_nll)
    last = hazard_logits[offsets[:-1] + stop - 1]
    return _reduce(before_last + _last_row_nll(last, observed, censored_exposure), reduction)


def _last_row_nll(last: Tensor, observed: Tensor, censored_exposure: float | Tensor) -> Tensor:
    exposure = torch.as_tensor(censored_exposure, dtype=last.dtype, device=last.device)
    if exposure.shape not in ((), last.shape):
        raise ValueError(f"censored_exposure has shape {_sizes(exposure)}; expected a number or {_sizes(last)}")
    refuse(~((exposure >= 0) & (exposure <= 1)), exposure, "censored_exposure is {value:g}{at}; expected 0 to 1")
    # An event costs `softplus(-z)`; `softplus(z) - z` would round away the small loss of a right and sure prediction.
    return torch.where(observed, _survived_nll(-last), exposure * _survived_nll(last))


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


# ---------------------------------------------------------------------------------------------------- person-period


class PersonPeriod(NamedTuple):
    """The rows of a person-period table, as indices: `covariates[rows.patient, rows.visit]` are its covariates."""

    patient: Int[Tensor, " row"]
    visit: Int[Tensor, " row"]
    event: Bool[Tensor, " row"]


def person_period(
    stop: Int[Tensor, " patient"],
    observed: Bool[Tensor, " patient"],
    start: Int[Tensor, " patient"] | None = None,
) -> PersonPeriod:
    """One row for each interval a patient was at risk in, marked if the event happened there.

    Binary cross-entropy over these rows, summed, *is* `hazard_nll` with `reduction="sum"`.

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
    _check_outcome(stop.shape, stop, stop, observed, start)
    length = (stop - start).long()
    patient = torch.repeat_interleave(length)
    first_row = length.cumsum(0) - length
    visit = torch.arange(int(length.sum()), device=stop.device) - first_row[patient] + start[patient]
    return PersonPeriod(patient, visit, observed[patient] & (visit == stop[patient] - 1))


# ----------------------------------------------------------------------------------------------------------- checks


def _sizes(values: Tensor) -> list[int]:
    return list(values.shape)


def _check_probability(values: Tensor, name: str) -> None:
    message = name + " at index {where} is {value:g}; expected a probability from 0 to 1 (were logits passed?)"
    refuse(~((values >= 0) & (values <= 1)), values, message)


def _check_logits(hazard_logits: Tensor) -> None:
    if not hazard_logits.is_floating_point():
        raise ValueError(f"hazard_logits has dtype {hazard_logits.dtype}; expected a floating point type")
    if ends_in_sigmoid(hazard_logits):
        raise ValueError("hazard_logits come straight from a sigmoid or softmax; pass the logits that went into it")


def _check_outcome(shape: torch.Size, width: int | Tensor, stop: Tensor, observed: Tensor, start: Tensor) -> None:
    for name, values in (("stop", stop), ("observed", observed), ("start", start)):
        if values.shape != shape:
            raise ValueError(f"{name} has shape {_sizes(values)}; expected {list(shape)}, one for each patient")
    for name, values in (("stop", stop), ("start", start)):
        if values.is_floating_point() or values.dtype == torch.bool:
            raise ValueError(f"{name} has dtype {values.dtype}; expected whole numbers")
    if observed.dtype != torch.bool:
        raise ValueError(f"observed has dtype {observed.dtype}; expected bool (True where the event was seen)")
    refuse(start < 0, start, "start is {value}{at}; expected 0 or more")
    refuse(stop <= start, stop, "stop is {value}{at}; expected at least one row after start, so above {limit}", start)
    most = torch.as_tensor(width).expand_as(stop)
    refuse(stop > width, stop, "stop is {value}{at}, past the last visit; expected at most {limit}", most)


def _check_finite(hazard_logits: Tensor, counted: Tensor, flat: tuple[Tensor, Tensor] | None = None) -> None:
    """Refuse a counted logit that is not a number; `flat` holds the patient and the visit of each row, if flat."""
    wrong = counted & ~torch.isfinite(hazard_logits)
    if bool(wrong.any()):
        *where, row = (int(i) for i in wrong.nonzero()[0])
        who = where[0] if len(where) == 1 else where
        if flat is not None:
            who, row = (int(place[row]) for place in flat)
        value = hazard_logits[wrong][0].item()
        raise ValueError(f"hazard logit of the patient at index {who}, row {row}, is {value}; expected a finite number")


def _check_offsets(offsets: Tensor, rows: int) -> None:
    if offsets.numel() == 0 or int(offsets[0]) != 0 or int(offsets[-1]) != rows:
        raise ValueError(f"offsets run from {offsets[:1].tolist()} to {offsets[-1:].tolist()}; expected 0 to {rows}")
    refuse(offsets.diff() < 0, offsets[1:], "offsets fall to {value}{at}; expected them never to fall")
