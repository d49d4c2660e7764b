"""Chapter 2: wrong rows and wrong divisors of a binary cross-entropy over visits, and wrong gradients of it."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from visitwise.check import Mistake
from visitwise.check.likelihood import drop_censored_row, events_alone, mean_over_rows, sum_over_patients
from visitwise.functional import hazard

# ----------------------------------------------------------------------------------------- rows that should not exist


def every_cell(
    hazard_logits: Float[Tensor, "patient visit"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """Every cell of the box counts: label 1 at the event, 0 in all others, whether anybody was at risk there or not."""
    return _cross_entropy(hazard_logits, stop, observed, torch.ones_like(hazard_logits, dtype=torch.bool))


def rows_after_event(
    hazard_logits: Float[Tensor, "patient visit"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """The cells after an event count as survived."""
    counted = _cells(hazard_logits, stop, observed).at_risk | observed[:, None]
    return _cross_entropy(hazard_logits, stop, observed, counted)


def rows_after_censoring(
    hazard_logits: Float[Tensor, "patient visit"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """The cells after the end of a censored patient's follow-up count as survived."""
    counted = _cells(hazard_logits, stop, observed).at_risk | ~observed[:, None]
    return _cross_entropy(hazard_logits, stop, observed, counted)


ROWS = {
    "every_cell": Mistake("you kept every cell of the box; only rows whose ending was seen have a cost", every_cell),
    "rows_after_event": Mistake("you kept rows after an event, where nobody is at risk any more", rows_after_event),
    "rows_after_censoring": Mistake(
        "you kept rows after the end of follow-up, as if they had been seen event-free", rows_after_censoring
    ),
    "events_alone": Mistake("you kept the rows of patients with an event alone", events_alone),
    "drop_censored_row": Mistake("you left out the last row of the censored patients", drop_censored_row),
    "mean_over_rows": Mistake("you divided by the number of rows; divide by the number of patients", mean_over_rows),
    "sum_over_patients": Mistake(
        "that is the sum over all rows; divide it by the number of patients", sum_over_patients
    ),
}
"""Wrong forms of the mean loss per patient, of `hazard_logits`, `stop` and `observed`; the box holds no NaN."""


# -------------------------------------------------------------------------------------------------- the wrong gradient


def push_upside_down(
    hazard_logits: Float[Tensor, "patient visit"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, "patient visit"]:
    """`y - h`: the gradient of the log-likelihood, or the direction of a step."""
    return -_push(hazard_logits, stop, observed) / len(stop)


def push_without_label(
    hazard_logits: Float[Tensor, "patient visit"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, "patient visit"]:
    """`h` on every row at risk, the event's too."""
    at_risk = _cells(hazard_logits, stop, observed).at_risk
    return torch.where(at_risk, hazard(hazard_logits), 0) / len(stop)


def push_on_hazard(
    hazard_logits: Float[Tensor, "patient visit"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, "patient visit"]:
    """`1 / (1 - h)` and `-1 / h`: the gradient with respect to the hazard, without the step through the sigmoid."""
    event, at_risk = _cells(hazard_logits, stop, observed)
    h = hazard(hazard_logits)
    return torch.where(event, -1 / h, torch.where(at_risk, 1 / (1 - h), 0)) / len(stop)


def push_of_sum(
    hazard_logits: Float[Tensor, "patient visit"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, "patient visit"]:
    """`h - y`, not divided by the number of patients."""
    return _push(hazard_logits, stop, observed)


def push_on_every_cell(
    hazard_logits: Float[Tensor, "patient visit"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, "patient visit"]:
    """`h - y` in every cell of the box, the padding too."""
    event = _cells(hazard_logits, stop, observed).event
    return (hazard(hazard_logits) - event.to(hazard_logits.dtype)) / len(stop)


PUSH = {
    "push_upside_down": Mistake("the sizes are right, the signs are not; the gradient is h - y", push_upside_down),
    "push_without_label": Mistake("you forgot the label: at the event's row it is h - 1", push_without_label),
    "push_on_hazard": Mistake(
        "that is the gradient with respect to the hazard; multiply it by h (1 - h) to reach the logit", push_on_hazard
    ),
    "push_of_sum": Mistake("that is the gradient of the sum; the loss is a mean over patients", push_of_sum),
    "push_on_every_cell": Mistake("a cell without a row has no gradient, and you gave it one", push_on_every_cell),
}
"""Wrong gradients of the mean loss with respect to the logits, of `hazard_logits`, `stop` and `observed`."""


class _Cells(NamedTuple):
    event: Bool[Tensor, "patient visit"]
    at_risk: Bool[Tensor, "patient visit"]


def _cells(hazard_logits: Tensor, stop: Tensor, observed: Tensor) -> _Cells:
    visit = torch.arange(hazard_logits.shape[1], device=hazard_logits.device)
    return _Cells((visit == stop[:, None] - 1) & observed[:, None], visit < stop[:, None])


def _cross_entropy(hazard_logits: Tensor, stop: Tensor, observed: Tensor, counted: Tensor) -> Tensor:
    """Sum over the counted cells, divided by the number of patients."""
    label = _cells(hazard_logits, stop, observed).event.to(hazard_logits.dtype)
    total = binary_cross_entropy_with_logits(hazard_logits[counted], label[counted], reduction="sum")
    return total / len(stop)


def _push(hazard_logits: Tensor, stop: Tensor, observed: Tensor) -> Tensor:
    event, at_risk = _cells(hazard_logits, stop, observed)
    return torch.where(at_risk, hazard(hazard_logits) - event.to(hazard_logits.dtype), 0)
