"""Chapter 8: wrong risks, wrong counts of pairs, wrong errors of a probability, wrong averages over batches."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from visitwise.check import Mistake

# ---------------------------------------------------------------------------------- risks that measure the record


def _counted(hazard: Tensor, stop: Tensor) -> Tensor:
    return torch.arange(hazard.shape[1], device=hazard.device) < stop[:, None]


def summed(hazard: Float[Tensor, "patient visit"], stop: Int[Tensor, " patient"]) -> Float[Tensor, " patient"]:
    """The hazards of a patient's own rows, added up: who stays longer has more to add."""
    return hazard.where(_counted(hazard, stop), 0.0).sum(1)


def one_minus_survival(
    hazard: Float[Tensor, "patient visit"], stop: Int[Tensor, " patient"]
) -> Float[Tensor, " patient"]:
    """One less the survival through a patient's own rows, which falls for as long as there are rows."""
    return 1 - (1 - hazard.where(_counted(hazard, stop), 0.0)).prod(1)


def highest(hazard: Float[Tensor, "patient visit"], stop: Int[Tensor, " patient"]) -> Float[Tensor, " patient"]:
    """The highest of a patient's own rows: of more rows the highest is higher."""
    return hazard.where(_counted(hazard, stop), 0.0).amax(1)


def mean_over_record(
    hazard: Float[Tensor, "patient visit"], stop: Int[Tensor, " patient"]
) -> Float[Tensor, " patient"]:
    """The mean of a patient's own rows, those near the event among them."""
    return summed(hazard, stop) / stop


OWN_RECORD = {
    "summed": Mistake("that is summed over each patient's own record, so it measures how long that is", summed),
    "one_minus_survival": Mistake(
        "survival through a patient's own record falls with every row, so this measures how many there are",
        one_minus_survival,
    ),
    "highest": Mistake("that is the highest hazard of each record, and longer records reach higher", highest),
    "mean_over_record": Mistake(
        "that is the mean over each patient's own record, which reads rows from after the moment of prediction",
        mean_over_record,
    ),
}
"""Wrong risks of each patient, of `hazard` `[patient, visit]` and `stop`."""


# --------------------------------------------------------------------------------------------- wrong counts of pairs


def _pairs(
    risk: Tensor,
    stop: Tensor,
    observed: Tensor,
    *,
    tied_times: bool = True,
    both_events: bool = False,
    tie: float = 0.5,
) -> Tensor:
    """Share of the pairs in the right order, with the rules that are said to be wrong one by one."""
    later = stop[:, None] < stop
    if tied_times:
        later |= (stop[:, None] == stop) & ~observed
    known = later & observed[:, None]
    if both_events:
        known &= observed
    right = (risk[:, None] > risk).double() + tie * (risk[:, None] == risk).double()
    return right[known].sum() / known.sum()


def ties_lose(
    risk: Float[Tensor, " patient"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """Equal risks are compared, and scored as wrong."""
    return _pairs(risk, stop, observed, tie=0.0)


def ties_win(
    risk: Float[Tensor, " patient"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """Equal risks are scored as right."""
    return _pairs(risk, stop, observed, tie=1.0)


def tied_times_dropped(
    risk: Float[Tensor, " patient"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """An event and a censoring in one row are not compared."""
    return _pairs(risk, stop, observed, tied_times=False)


def notes_rule(
    risk: Float[Tensor, " patient"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """The teaching notes' rule: tied times dropped, and equal risks scored as wrong."""
    return _pairs(risk, stop, observed, tied_times=False, tie=0.0)


def both_events(
    risk: Float[Tensor, " patient"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """Pairs with a censored patient are left out."""
    return _pairs(risk, stop, observed, both_events=True)


def upside_down(
    risk: Float[Tensor, " patient"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """The lower risk is expected to come first."""
    return _pairs(-risk, stop, observed)


CONCORDANCE = {
    "ties_lose": Mistake("you scored equal risks as wrong; each counts one half", ties_lose),
    "ties_win": Mistake("you scored equal risks as right; each counts one half", ties_win),
    "tied_times_dropped": Mistake(
        "you left out pairs of an event and a censoring in one row; the censored patient survived that row",
        tied_times_dropped,
    ),
    "notes_rule": Mistake(
        "that is the notes' rule: equal risks are scored as wrong, and tied times are left out", notes_rule
    ),
    "both_events": Mistake(
        "you left out pairs with a censored patient; who is followed past an event is known to come later", both_events
    ),
    "upside_down": Mistake("you expect the lower risk to come first", upside_down),
}
"""Wrong concordances, of `risk`, `stop` and `observed`."""


# ------------------------------------------------------------------------------------------------ wrong Brier scores


def lost_counted_as_events(
    survival: Float[Tensor, " patient"],
    stop: Int[Tensor, " patient"],
    observed: Bool[Tensor, " patient"],
    weight: Float[Tensor, " patient"],
    horizon: Int[Tensor, ""],
) -> Float[Tensor, ""]:
    """Whoever is not followed past the horizon counts as an event: the curve of those still followed would win."""
    return ((stop > horizon).double() - survival).square().mean()


def lost_left_out(
    survival: Float[Tensor, " patient"],
    stop: Int[Tensor, " patient"],
    observed: Bool[Tensor, " patient"],
    weight: Float[Tensor, " patient"],
    horizon: Int[Tensor, ""],
) -> Float[Tensor, ""]:
    """The mean over those whose outcome is known: events, which are known early, count too much."""
    failed = observed & (stop <= horizon)
    known = failed | (stop >= horizon)
    return ((~failed).double() - survival).square()[known].mean()


def lost_counted_as_survivors(
    survival: Float[Tensor, " patient"],
    stop: Int[Tensor, " patient"],
    observed: Bool[Tensor, " patient"],
    weight: Float[Tensor, " patient"],
    horizon: Int[Tensor, ""],
) -> Float[Tensor, ""]:
    """Whoever had no event that was seen counts as a survivor."""
    failed = observed & (stop <= horizon)
    return ((~failed).double() - survival).square().mean()


def divided_by_the_known(
    survival: Float[Tensor, " patient"],
    stop: Int[Tensor, " patient"],
    observed: Bool[Tensor, " patient"],
    weight: Float[Tensor, " patient"],
    horizon: Int[Tensor, ""],
) -> Float[Tensor, ""]:
    """The right weights, and a sum that is divided by the number of patients whose outcome is known."""
    failed = observed & (stop <= horizon)
    known = failed | (stop >= horizon)
    return (weight * ((~failed).double() - survival).square())[known].sum() / known.sum()


BRIER = {
    "lost_counted_as_events": Mistake(
        "you counted patients who were lost as if they had had the event", lost_counted_as_events
    ),
    "lost_left_out": Mistake(
        "you left out patients who were lost without letting anybody speak for them", lost_left_out
    ),
    "lost_counted_as_survivors": Mistake(
        "you counted patients who were lost as if they had survived", lost_counted_as_survivors
    ),
    "divided_by_the_known": Mistake(
        "the weights already speak for all patients; divide by all of them", divided_by_the_known
    ),
}
"""Wrong Brier scores, of `survival` at the horizon, `stop`, `observed`, `weight` and the horizon."""


# ------------------------------------------------------------------------------------------------- wrong averages


def mean_of_rates(events: Int[Tensor, " batch"], rows: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
    """The mean over batches of events a row: a row in a short batch weighs more."""
    return (events / rows).mean()


def events_a_batch(events: Int[Tensor, " batch"], rows: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Events divided by batches."""
    return events.double().mean()


CONSTANT_HAZARD = {
    "mean_of_rates": Mistake(
        "that is what a mean over each batch learns: it gives every batch the same weight", mean_of_rates
    ),
    "events_a_batch": Mistake("that is events for each batch; divide by rows", events_a_batch),
}
"""Wrong hazards of a model that knows one number, of the events and the rows of each batch."""
