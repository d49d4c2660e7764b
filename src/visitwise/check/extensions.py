"""Chapter 11: wrong ways to add up causes, hazards and rates, and wrong answers to "within so many intervals"."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from visitwise.check import Mistake

# ------------------------------------------------------------------- wrong: what is left when several hazards are added


def each_alone(hazard: Float[Tensor, " cause"]) -> Float[Tensor, ""]:
    """`prod (1 - h)`: as if the events could all happen in one interval, each by itself."""
    return (1 - hazard).prod()


def first_cause_only(hazard: Float[Tensor, " cause"]) -> Float[Tensor, ""]:
    """`1 - h` of the first cause; the others are forgotten."""
    return 1 - hazard[0]


def cut_at_zero(hazard: Float[Tensor, " cause"]) -> Float[Tensor, ""]:
    """The difference, and 0 where it is negative."""
    return (1 - hazard.sum()).clamp(min=0)


LEFT = {
    "each_alone": Mistake(
        "that is the product of what each cause leaves, for events that can all happen at once", each_alone
    ),
    "first_cause_only": Mistake("that is what the first cause leaves; there are others", first_cause_only),
    "cut_at_zero": Mistake("nothing keeps the difference above zero; work it out", cut_at_zero),
}
"""Wrong values of `1 - sum h`, of the hazards of all causes in one interval."""


# ---------------------------------------------------------------------------------- wrong incidences of the first cause


def hazards_added(hazard: Float[Tensor, "visit cause"]) -> Float[Tensor, " visit"]:
    """`sum h_1`: everybody is still there at each visit."""
    return hazard[:, 0].cumsum(0)


def other_causes_censored(hazard: Float[Tensor, "visit cause"]) -> Float[Tensor, " visit"]:
    """`1 - prod (1 - h_1)`, one minus Kaplan-Meier: whoever had another event might still have this one."""
    return 1 - (1 - hazard[:, 0]).cumprod(0)


def this_interval_only(hazard: Float[Tensor, "visit cause"]) -> Float[Tensor, " visit"]:
    """`h_1 * S`: the probability for one interval, not yet added up."""
    survival = (1 - hazard.sum(1)).cumprod(0)
    return hazard[:, 0] * torch.cat([torch.ones_like(survival[:1]), survival[:-1]])


def any_cause(hazard: Float[Tensor, "visit cause"]) -> Float[Tensor, " visit"]:
    """`1 - S`: the event of any cause."""
    return 1 - (1 - hazard.sum(1)).cumprod(0)


def survival_after(hazard: Float[Tensor, "visit cause"]) -> Float[Tensor, " visit"]:
    """Each hazard times the survival *through* its own interval."""
    return (hazard[:, 0] * (1 - hazard.sum(1)).cumprod(0)).cumsum(0)


INCIDENCE = {
    "hazards_added": Mistake(
        "you added hazards; each is asked of those who are still there, so multiply by the survival before it",
        hazards_added,
    ),
    "other_causes_censored": Mistake(
        "that is one minus Kaplan-Meier with the other cause as censoring, for a world without that cause",
        other_causes_censored,
    ),
    "this_interval_only": Mistake("that is the last interval alone; add those before it", this_interval_only),
    "any_cause": Mistake("that is the event of any cause", any_cause),
    "survival_after": Mistake(
        "you multiplied by the survival through the interval; take the one before it", survival_after
    ),
}
"""Wrong cumulative incidences of the first cause, of the hazards of all causes."""


# --------------------------------------------------------------------------------- wrong losses of a patient's outcome


def whether_only(hazard: Float[Tensor, "visit cause"], stop: Int[Tensor, ""], cause: Int[Tensor, ""]) -> Tensor:
    """The event is charged with the sum of the hazards: that something happened, and not what."""
    total = hazard.sum(1)
    survived = -(1 - total[: int(stop) - 1]).log().sum()
    return survived - (total[int(stop) - 1] if cause > 0 else 1 - total[int(stop) - 1]).log()


def own_cause_only(hazard: Float[Tensor, "visit cause"], stop: Int[Tensor, ""], cause: Int[Tensor, ""]) -> Tensor:
    """The likelihood of the cause that happened, as if it were alone."""
    own = hazard[: int(stop), max(int(cause) - 1, 0)]
    return -(1 - own[:-1]).log().sum() - (own[-1] if cause > 0 else 1 - own[-1]).log()


def a_bce_for_each(hazard: Float[Tensor, "visit cause"], stop: Int[Tensor, ""], cause: Int[Tensor, ""]) -> Tensor:
    """A binary cross-entropy for each cause, added: the causes that did not happen are charged in the last row, too."""
    happened = torch.zeros_like(hazard[: int(stop)])
    if cause > 0:
        happened[-1, int(cause) - 1] = 1.0
    return torch.nn.functional.binary_cross_entropy(hazard[: int(stop)], happened, reduction="sum")


COMPETING_NLL = {
    "whether_only": Mistake("that says that something happened; say which cause it was", whether_only),
    "own_cause_only": Mistake("you left out the other cause, which was survived as well", own_cause_only),
    "a_bce_for_each": Mistake(
        "that is a cross-entropy for each cause; one interval is one draw among all causes and nothing", a_bce_for_each
    ),
}
"""Wrong losses of one patient, of the hazards of all causes, `stop` and `cause`."""


# --------------------------------------------------------------------------------------------- wrong sums of hazards


def plain_sum(hazard: Float[Tensor, " visit"]) -> Float[Tensor, ""]:
    """`sum h`: what accumulates where hazards are rates."""
    return hazard.sum()


def one_minus_survival(hazard: Float[Tensor, " visit"]) -> Float[Tensor, ""]:
    """`1 - prod (1 - h)`: the probability of the event."""
    return 1 - (1 - hazard).prod()


def without_the_minus(hazard: Float[Tensor, " visit"]) -> Float[Tensor, ""]:
    """`sum log(1 - h)`."""
    return torch.log1p(-hazard).sum()


CUMULATIVE_HAZARD = {
    "plain_sum": Mistake("that is the sum of the hazards, and exp(-H) of it is not survival", plain_sum),
    "one_minus_survival": Mistake("that is the probability of the event, one minus survival", one_minus_survival),
    "without_the_minus": Mistake("that is the logarithm of survival; turn its sign", without_the_minus),
}
"""Wrong cumulative hazards, of the hazards of one patient."""


# ------------------------------------------------------------------------------------ wrong hazards of a rate and a gap


def rate_times_gap(rate: Float[Tensor, ""], gap: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """`rate * gap`, which passes 1 when the gap is long."""
    return rate * gap


def still_free(rate: Float[Tensor, ""], gap: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """`exp(-rate * gap)`: survival."""
    return (-rate * gap).exp()


def rate_alone(rate: Float[Tensor, ""], gap: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The rate, whatever the gap."""
    return rate


HAZARD_OF_A_GAP = {
    "rate_times_gap": Mistake(
        "rate times gap counts on somebody who is at risk for the whole gap, event or not", rate_times_gap
    ),
    "still_free": Mistake("that is the probability of no event in the gap", still_free),
    "rate_alone": Mistake("that is the rate, a risk per unit of time; the gap has a length", rate_alone),
}
"""Wrong hazards of an interval, of a constant rate and the length of the gap."""


# ----------------------------------------------------------------------- wrong risks within the next so many intervals


def frozen_hazard(hazard: Float[Tensor, "patient interval"]) -> Float[Tensor, " patient"]:
    """`1 - (1 - h)^K` with today's hazard: as if nothing could change before the horizon."""
    return 1 - (1 - hazard[:, 0]) ** hazard.shape[1]


def along_the_record(hazard: Float[Tensor, "patient interval"]) -> Float[Tensor, " patient"]:
    """`1 - prod (1 - h)` over the visits that were made: NaN, where the record has ended, counts as no risk."""
    return 1 - (1 - hazard.nan_to_num(0.0)).prod(1)


AHEAD = {
    "frozen_hazard": Mistake("that keeps today's hazard for all intervals; patients change", frozen_hazard),
    "along_the_record": Mistake(
        "that multiplies along visits still to come, and stops where the event stopped them", along_the_record
    ),
}
"""Wrong risks of the event within the next intervals, of hazards from today's on, NaN after the end of the record."""


# ---------------------------------------------------------------------------------- wrong shares with the event in time


def unknown_dropped(
    stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"], horizon: Int[Tensor, ""]
) -> Float[Tensor, ""]:
    """Events over patients whose answer is known: a short follow-up is known only if it ended in the event."""
    event = observed & (stop <= horizon)
    return event.double().sum() / (event | (stop >= horizon)).sum()


def unknown_as_no(
    stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"], horizon: Int[Tensor, ""]
) -> Float[Tensor, ""]:
    """Events over all patients: whoever was lost counts as free of the event."""
    return (observed & (stop <= horizon)).double().mean()


def unknown_as_yes(
    stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"], horizon: Int[Tensor, ""]
) -> Float[Tensor, ""]:
    """Whoever was lost counts as having had the event."""
    return 1 - (stop >= horizon).logical_and(~(observed & (stop <= horizon))).double().mean()


WITHIN = {
    "unknown_dropped": Mistake("you dropped those who were lost; those with the event stayed in", unknown_dropped),
    "unknown_as_no": Mistake("you counted those who were lost as free of the event", unknown_as_no),
    "unknown_as_yes": Mistake("you counted those who were lost as if they had had the event", unknown_as_yes),
}
"""Wrong shares of patients with the event within the horizon, of `stop`, `observed` and the horizon."""
