"""Chapter 12: wrong rows and credits of a year cut short, wrong risks of a gap, wrong errors of a difference."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from visitwise.check import Mistake

YEAR_DAYS = 365.25

# ------------------------------------------------------------------------------------- wrong risks between two visits


def risk_of_one_day(daily_hazard: Float[Tensor, ""], days: Float[Tensor, " gap"]) -> Float[Tensor, " gap"]:
    """The risk of a day, however many there are."""
    return daily_hazard.expand(days.shape)


def days_added_up(daily_hazard: Float[Tensor, ""], days: Float[Tensor, " gap"]) -> Float[Tensor, " gap"]:
    """The risk of a day times the days, as if one could die on each of them."""
    return daily_hazard * days


def no_event_at_all(daily_hazard: Float[Tensor, ""], days: Float[Tensor, " gap"]) -> Float[Tensor, " gap"]:
    """The probability of getting through all the days."""
    return (1 - daily_hazard) ** days


def event_on_the_last_day(daily_hazard: Float[Tensor, ""], days: Float[Tensor, " gap"]) -> Float[Tensor, " gap"]:
    """The probability of the event on the last day and on no other."""
    return daily_hazard * (1 - daily_hazard) ** (days - 1)


GAP = {
    "risk_of_one_day": Mistake("that is the risk of one day; the row is as long as the gap", risk_of_one_day),
    "days_added_up": Mistake(
        "you added the days up; who died on the first day cannot die on the second", days_added_up
    ),
    "no_event_at_all": Mistake("that is the probability of getting through all the days", no_event_at_all),
    "event_on_the_last_day": Mistake(
        "that is the event on the last day alone; any day of the gap will do", event_on_the_last_day
    ),
}
"""Wrong hazards of the row between two visits, of the hazard of a day and the days between them."""


# ------------------------------------------------------------------------------------------- wrong rows of follow-up


def full_years(followup_days: Float[Tensor, " patient"]) -> Int[Tensor, " patient"]:
    """The years that were followed to their end."""
    return (followup_days / YEAR_DAYS).floor().long()


def nearest_year(followup_days: Float[Tensor, " patient"]) -> Int[Tensor, " patient"]:
    """Rounded."""
    return (followup_days / YEAR_DAYS).round().long()


def one_row_more(followup_days: Float[Tensor, " patient"]) -> Int[Tensor, " patient"]:
    """A row after the last one that anything is known about."""
    return (followup_days / YEAR_DAYS).ceil().long() + 1


YEARS = {
    "full_years": Mistake("the year that was cut short has a row as well; it counts in part", full_years),
    "nearest_year": Mistake("you rounded; a year that was begun has a row", nearest_year),
    "one_row_more": Mistake("that is a row too many: nothing is known of it", one_row_more),
}
"""Wrong numbers of yearly rows, of the days followed."""


# ---------------------------------------------------------------------------------- wrong credits for a year cut short


def whole_year(hazards: Float[Tensor, " year"], share: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The last year as if it had been survived to its end."""
    return -torch.log1p(-hazards).sum()


def no_credit(hazards: Float[Tensor, " year"], share: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The last year left out."""
    return -torch.log1p(-hazards[:-1]).sum()


def credit_for_all_years(hazards: Float[Tensor, " year"], share: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Each year counted for the share of the last one."""
    return -share * torch.log1p(-hazards).sum()


def share_missed(hazards: Float[Tensor, " year"], share: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Credit for the part of the year that was not followed."""
    survived = -torch.log1p(-hazards)
    return survived[:-1].sum() + (1 - share) * survived[-1]


def died_in_the_last_year(hazards: Float[Tensor, " year"], share: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The NLL of somebody who died in the last year."""
    return -torch.log1p(-hazards[:-1]).sum() - hazards[-1].log()


CREDIT = {
    "whole_year": Mistake("you gave credit for the whole last year; a part of it was followed", whole_year),
    "no_credit": Mistake("you left the last year out; a part of it was survived", no_credit),
    "credit_for_all_years": Mistake(
        "the share belongs to the last year alone; the years before it were survived whole", credit_for_all_years
    ),
    "share_missed": Mistake("that is credit for the part that was not followed", share_missed),
    "died_in_the_last_year": Mistake("that is the NLL of a death in the last year", died_in_the_last_year),
}
"""Wrong NLLs of somebody lost within the last year, of the hazards and the share of that year that was followed."""


# ----------------------------------------------------------------------------------------------- wrong rates of death


def deaths_per_row(
    years: Int[Tensor, " patient"], share: Float[Tensor, " patient"], died: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """Every row a whole year."""
    return died.double().sum() / years.sum()


def deaths_per_person(
    years: Int[Tensor, " patient"], share: Float[Tensor, " patient"], died: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """Without a look at how long anybody was followed."""
    return died.double().mean()


def deaths_per_full_year(
    years: Int[Tensor, " patient"], share: Float[Tensor, " patient"], died: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """Years cut short are left out, those of the dead among them are not."""
    return died.double().sum() / (years - (~died).long()).sum()


RATE = {
    "deaths_per_row": Mistake("you counted every row as a whole year; the last ones were cut short", deaths_per_row),
    "deaths_per_person": Mistake("that is a share of people; some were followed for much longer", deaths_per_person),
    "deaths_per_full_year": Mistake(
        "you threw the years away that were cut short; a part of each was survived", deaths_per_full_year
    ),
}
"""Wrong deaths per year, of each person's rows, the share of the last that was followed, and who died."""


# --------------------------------------------------------------------------------------- wrong errors of a difference


def as_if_unpaired(one: Float[Tensor, " patient"], other: Float[Tensor, " patient"]) -> Float[Tensor, ""]:
    """The error of a difference between two groups of different people."""
    return ((one.var() + other.var()) / len(one)).sqrt()


def spread_of_the_differences(one: Float[Tensor, " patient"], other: Float[Tensor, " patient"]) -> Float[Tensor, ""]:
    """The standard deviation from person to person."""
    return (one - other).std()


def variance_over_people(one: Float[Tensor, " patient"], other: Float[Tensor, " patient"]) -> Float[Tensor, ""]:
    """The square root forgotten in the number of people."""
    return (one - other).std() / len(one)


def difference_of_the_errors(one: Float[Tensor, " patient"], other: Float[Tensor, " patient"]) -> Float[Tensor, ""]:
    """Each model's own error, and one taken from the other."""
    return (one.std() - other.std()).abs() / torch.tensor(len(one)).sqrt()


PAIRED = {
    "as_if_unpaired": Mistake("you forgot that both models are asked about the same people", as_if_unpaired),
    "spread_of_the_differences": Mistake(
        "that is the spread from person to person; the error of their mean is smaller", spread_of_the_differences
    ),
    "variance_over_people": Mistake(
        "that is divided by the number of people, not by its square root", variance_over_people
    ),
    "difference_of_the_errors": Mistake(
        "errors do not subtract; take the difference person by person, then its error", difference_of_the_errors
    ),
}
"""Wrong standard errors of the mean difference between two models, of each person's NLL under one and the other."""
