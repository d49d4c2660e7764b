"""Chapter 11, the loss zoo: wrong guesses at what a loss learns, at how to take its bend back, and at its units."""

import math
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from visitwise.check import Mistake
from visitwise.zoo import best_hazards, focal_loss

# ----------------------------------------------------------------------------- wrong hazards learned by the focal loss


def truth_itself(hazard: Float[Tensor, " row"]) -> Float[Tensor, " row"]:
    """What a proper loss learns."""
    return hazard


def alpha_alone(hazard: Float[Tensor, " row"]) -> Float[Tensor, " row"]:
    """The odds times `alpha / (1 - alpha)`, a third: the weights of the two branches without the focus."""
    return torch.sigmoid(torch.logit(hazard) + math.log(0.25 / 0.75))


def alpha_upside_down(hazard: Float[Tensor, " row"]) -> Float[Tensor, " row"]:
    """The odds times 3: the weights of the two branches exchanged, without the focus."""
    return torch.sigmoid(torch.logit(hazard) + math.log(0.75 / 0.25))


def focus_alone(hazard: Float[Tensor, " row"]) -> Float[Tensor, " row"]:
    """The focal loss with both branches weighed alike."""
    balanced = partial(focal_loss, alpha=0.5)
    return torch.cat([best_hazards(balanced, each[None]) for each in hazard])


FOCAL = {
    "truth_itself": Mistake("that is the truth, which only a proper loss learns", truth_itself),
    "alpha_alone": Mistake("that is what the weights 0.25 and 0.75 do; (1 - p) squared is left out", alpha_alone),
    "alpha_upside_down": Mistake(
        "so it would be with weights of 0.75 for an event and 0.25 for a row survived, and no focus", alpha_upside_down
    ),
    "focus_alone": Mistake("that is (1 - p) squared alone; an event weighs a third of a row survived", focus_alone),
}
"""Wrong hazards that the focal loss with its defaults would learn, of the true `hazard`."""


# --------------------------------------------------------------------- wrong ways to take the weight of an event back


def divided_hazard(hazard_logits: Float[Tensor, " row"], event_weight: Float[Tensor, ""]) -> Float[Tensor, " row"]:
    """The hazard divided by the weight, where the odds were multiplied."""
    return torch.sigmoid(hazard_logits) / event_weight


def divided_logit(hazard_logits: Float[Tensor, " row"], event_weight: Float[Tensor, ""]) -> Float[Tensor, " row"]:
    """The logit divided by the weight."""
    return torch.sigmoid(hazard_logits / event_weight)


def weight_subtracted(hazard_logits: Float[Tensor, " row"], event_weight: Float[Tensor, ""]) -> Float[Tensor, " row"]:
    """The weight subtracted from the logit, in place of its logarithm."""
    return torch.sigmoid(hazard_logits - event_weight)


def applied_again(hazard_logits: Float[Tensor, " row"], event_weight: Float[Tensor, ""]) -> Float[Tensor, " row"]:
    """The logarithm of the weight added, as the loss has done once already."""
    return torch.sigmoid(hazard_logits + event_weight.log())


def odds_for_hazard(hazard_logits: Float[Tensor, " row"], event_weight: Float[Tensor, ""]) -> Float[Tensor, " row"]:
    """The right odds, given as if they were the hazard."""
    return torch.exp(hazard_logits - event_weight.log())


UNWEIGHTED = {
    "divided_hazard": Mistake("you divided the hazard; the weight multiplied the odds, h / (1 - h)", divided_hazard),
    "divided_logit": Mistake("you divided the logit; a factor of the odds is a shift of the logit", divided_logit),
    "weight_subtracted": Mistake("you subtracted the weight; the logit moved by its logarithm", weight_subtracted),
    "applied_again": Mistake("you moved the logit up; the loss did that, move it back down", applied_again),
    "odds_for_hazard": Mistake("those are the odds; a hazard is odds / (1 + odds)", odds_for_hazard),
}
"""Wrong true hazards behind the logits that were learned with `event_weight`."""


# ------------------------------------------------------------------------------------------ wrong gaps of calibration


def per_patient(
    hazard_logits: Float[Tensor, "patient visit"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """The mean hazard, which is per row, minus events per *patient*."""
    return hazard_logits.sigmoid()[_at_risk(hazard_logits, stop)].mean() - observed.double().mean()


def over_the_box(
    hazard_logits: Float[Tensor, "patient visit"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """The mean over all cells, rows that do not exist among them, minus events per row."""
    return hazard_logits.sigmoid().mean() - observed.sum() / stop.sum()


def events_alone(
    hazard_logits: Float[Tensor, "patient visit"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """Events per row of those who had one."""
    rate = observed.sum() / stop[observed].sum()
    return hazard_logits.sigmoid()[_at_risk(hazard_logits, stop)].mean() - rate


def other_way_round(
    hazard_logits: Float[Tensor, "patient visit"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """Events per row minus the mean hazard."""
    return observed.sum() / stop.sum() - hazard_logits.sigmoid()[_at_risk(hazard_logits, stop)].mean()


GAP = {
    "per_patient": Mistake("you counted events per patient; a hazard is a probability for each row", per_patient),
    "over_the_box": Mistake(
        "your mean takes in cells that are no rows; those from `stop` on do not count", over_the_box
    ),
    "events_alone": Mistake("you left out the rows of the censored; they were at risk, too", events_alone),
    "other_way_round": Mistake("take the hazards minus the events, not the other way round", other_way_round),
}
"""Wrong gaps between mean hazard and event rate, of `hazard_logits`, `stop` and `observed`."""


def _at_risk(hazard_logits: Tensor, stop: Tensor) -> Tensor:
    return torch.arange(hazard_logits.shape[1], device=stop.device) < stop[:, None]
