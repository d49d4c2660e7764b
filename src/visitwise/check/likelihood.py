"""Chapter 1: wrong formulas for survival, event probability and the likelihood."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from visitwise.check import Mistake
from visitwise.functional import hazard, hazard_nll, survival

# ------------------------------------------------------------------------------------- wrong survival of one person


def exp_of_minus_sum(hazard_logits: Float[Tensor, " visit"]) -> Float[Tensor, ""]:
    """`exp(-sum h)`, which is survival for continuous rates, instead of the product of `1 - h`."""
    return torch.exp(-hazard(hazard_logits).sum())


def one_minus_sum(hazard_logits: Float[Tensor, " visit"]) -> Float[Tensor, ""]:
    """`1 - sum h`, as if hazards were shares of one whole."""
    return 1 - hazard(hazard_logits).sum()


def last_visit_alone(hazard_logits: Float[Tensor, " visit"]) -> Float[Tensor, ""]:
    """`1 - h` of the last visit, without the visits before."""
    return 1 - hazard(hazard_logits)[-1]


def one_visit_short(hazard_logits: Float[Tensor, " visit"]) -> Float[Tensor, ""]:
    """Survival through the visit before the last, 1 if there is none."""
    return (1 - hazard(hazard_logits)[:-1]).prod()


def event_by_then(hazard_logits: Float[Tensor, " visit"]) -> Float[Tensor, ""]:
    """`1 - S`, the probability that the event has happened by the last visit."""
    return 1 - survival(hazard_logits)[-1]


SURVIVAL = {
    "exp_of_minus_sum": Mistake(
        "exp(-sum of hazards) belongs to continuous time; multiply the factors 1 - h", exp_of_minus_sum
    ),
    "one_minus_sum": Mistake("hazards are not shares of one whole; multiply the factors 1 - h", one_minus_sum),
    "last_visit_alone": Mistake("that is the last factor alone; multiply those of all visits", last_visit_alone),
    "one_visit_short": Mistake("you left out the last visit this person survived", one_visit_short),
    "event_by_then": Mistake("that is the probability of the event, 1 - S", event_by_then),
}
"""Wrong formulas for survival through the last visit, of `hazard_logits`."""


# ------------------------------------------------------------------------------------------ wrong event probability


def hazard_as_event_probability(hazard_logits: Float[Tensor, " visit"]) -> Float[Tensor, ""]:
    """`h` of the last visit, which is conditional on having come so far."""
    return hazard(hazard_logits)[-1]


def survived_the_event(hazard_logits: Float[Tensor, " visit"]) -> Float[Tensor, ""]:
    """`h_k S_k` instead of `h_k S_{k-1}`: the person survives the event's own interval as well."""
    return hazard(hazard_logits)[-1] * survival(hazard_logits)[-1]


EVENT_PROBABILITY = {
    "hazard_as_event_probability": Mistake(
        "that is the hazard, which counts only those who are still event-free", hazard_as_event_probability
    ),
    "survived_the_event": Mistake(
        "you let this person survive the very interval of the event; stop one visit earlier", survived_the_event
    ),
    "event_by_then": Mistake("that is the event at any visit so far; only the last one is asked for", event_by_then),
    "one_visit_short": Mistake("that is survival up to there; the event itself is missing", one_visit_short),
}
"""Wrong formulas for the probability that the event falls on the last visit, of `hazard_logits`."""


# ------------------------------------------------------------------------- wrong negative log-likelihood, per patient


def drop_censored_row(
    hazard_logits: Float[Tensor, "*patient visit"], stop: Int[Tensor, "*patient"], observed: Bool[Tensor, "*patient"]
) -> Float[Tensor, ""]:
    """Every censored patient loses the last row survived: `hazard_nll` with `censored_exposure=0`."""
    return hazard_nll(hazard_logits, stop, observed, censored_exposure=0.0)


def count_event_row_twice(
    hazard_logits: Float[Tensor, "*patient visit"], stop: Int[Tensor, "*patient"], observed: Bool[Tensor, "*patient"]
) -> Float[Tensor, ""]:
    """Patients with an event are charged `1 - h` for the event's own row, beside its `h`."""
    return hazard_nll(hazard_logits, stop, observed) + _last_rows(hazard_logits, stop, observed, sign=1)


def censored_as_event(
    hazard_logits: Float[Tensor, "*patient visit"], stop: Int[Tensor, "*patient"], observed: Bool[Tensor, "*patient"]
) -> Float[Tensor, ""]:
    """The end of follow-up is taken for the event."""
    return hazard_nll(hazard_logits, stop, torch.ones_like(observed))


def event_as_censored(
    hazard_logits: Float[Tensor, "*patient visit"], stop: Int[Tensor, "*patient"], observed: Bool[Tensor, "*patient"]
) -> Float[Tensor, ""]:
    """The row of the event is survived, too."""
    return hazard_nll(hazard_logits, stop, torch.zeros_like(observed))


def last_row_alone(
    hazard_logits: Float[Tensor, "*patient visit"], stop: Int[Tensor, "*patient"], observed: Bool[Tensor, "*patient"]
) -> Float[Tensor, ""]:
    """How the last row ended, without the rows survived before it."""
    return hazard_nll(hazard_logits, stop, observed, start=stop - 1)


def events_alone(
    hazard_logits: Float[Tensor, "*patient visit"], stop: Int[Tensor, "*patient"], observed: Bool[Tensor, "*patient"]
) -> Float[Tensor, ""]:
    """The mean over patients with an event; the censored ones are thrown away. NaN if none is left."""
    each = hazard_nll(hazard_logits, stop, observed, reduction="none")
    return each[observed].mean()


def sum_instead_of_product(
    hazard_logits: Float[Tensor, "*patient visit"], stop: Int[Tensor, "*patient"], observed: Bool[Tensor, "*patient"]
) -> Float[Tensor, ""]:
    """`h` where `-log(1 - h)` belongs: rows survived as if survival were `exp(-sum h)`."""
    visit = torch.arange(hazard_logits.shape[-1], device=hazard_logits.device)
    survived = visit < (stop - observed.to(stop.dtype))[..., None]
    summed = torch.where(survived, hazard(hazard_logits), 0).sum(-1).mean()
    return summed + _last_rows(hazard_logits, stop, observed, sign=-1)


def likelihood_without_log(
    hazard_logits: Float[Tensor, "*patient visit"], stop: Int[Tensor, "*patient"], observed: Bool[Tensor, "*patient"]
) -> Float[Tensor, ""]:
    """The probability of what happened, not its negative logarithm."""
    return torch.exp(-hazard_nll(hazard_logits, stop, observed, reduction="none")).mean()


def mean_over_rows(
    hazard_logits: Float[Tensor, "*patient visit"], stop: Int[Tensor, "*patient"], observed: Bool[Tensor, "*patient"]
) -> Float[Tensor, ""]:
    """The sum of all terms divided by the number of rows, not of patients."""
    return hazard_nll(hazard_logits, stop, observed, reduction="sum") / stop.sum()


def sum_over_patients(
    hazard_logits: Float[Tensor, "*patient visit"], stop: Int[Tensor, "*patient"], observed: Bool[Tensor, "*patient"]
) -> Float[Tensor, ""]:
    """The sum over patients, not their mean."""
    return hazard_nll(hazard_logits, stop, observed, reduction="sum")


def _last_rows(hazard_logits: Tensor, stop: Tensor, observed: Tensor, *, sign: int) -> Tensor:
    """Mean over patients of `softplus(sign * z)` at the row of the event, 0 for the censored."""
    last = hazard_logits.gather(-1, (stop.long() - 1)[..., None])[..., 0]
    return torch.where(observed, softplus(sign * last), 0).mean()


LIKELIHOOD = {
    "drop_censored_row": Mistake("you left out the last visit this person survived", drop_censored_row),
    "count_event_row_twice": Mistake(
        "you charged the event's own visit twice, once as survived and once as the event", count_event_row_twice
    ),
    "censored_as_event": Mistake("you took the end of follow-up for the event", censored_as_event),
    "event_as_censored": Mistake("you took the event for one more visit survived", event_as_censored),
    "last_row_alone": Mistake("you left out the visits survived before the last", last_row_alone),
    "events_alone": Mistake("you left the censored patients out", events_alone),
    "sum_instead_of_product": Mistake(
        "you added hazards; each visit survived costs -log(1 - h), a little more", sum_instead_of_product
    ),
    "likelihood_without_log": Mistake(
        "that is the probability of what happened; take its negative logarithm", likelihood_without_log
    ),
    "mean_over_rows": Mistake("you divided by the number of rows; divide by the number of patients", mean_over_rows),
    "sum_over_patients": Mistake("that is the sum over patients; their mean is asked for", sum_over_patients),
}
"""Wrong formulas for the mean negative log-likelihood, of `hazard_logits`, `stop` and `observed`."""
