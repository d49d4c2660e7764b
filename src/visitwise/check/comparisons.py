"""Chapter 10: wrong partial likelihoods, wrong hazards made from a Cox model, wrong predictions from a classifier."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from visitwise.check import Mistake

# ---------------------------------------------------------------------------------------- wrong partial likelihoods


def everybody_at_risk(
    scores: Float[Tensor, " patient"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """Each event is compared with all patients, those who are gone too."""
    return _partial(scores, observed, torch.ones(len(stop), len(stop), dtype=torch.bool, device=stop.device))


def without_the_case(
    scores: Float[Tensor, " patient"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """Each event is compared with those who are left after it; the last patient is left out."""
    after = stop > stop[:, None]
    return _partial(scores, observed & after.any(1), after)


def events_alone_at_risk(
    scores: Float[Tensor, " patient"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """The censored are nowhere among those at risk."""
    return _partial(scores, observed, (stop >= stop[:, None]) & observed)


def those_who_are_gone(
    scores: Float[Tensor, " patient"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """The comparison upside down: with those whose rows ended up to then."""
    return _partial(scores, observed, stop <= stop[:, None])


def censored_as_events(
    scores: Float[Tensor, " patient"], stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]
) -> Float[Tensor, ""]:
    """A censored patient has a term, too."""
    return _partial(scores, torch.ones_like(observed), stop >= stop[:, None])


PARTIAL = {
    "everybody_at_risk": Mistake(
        "you compared each event with everybody; those whose rows ended before are no longer at risk", everybody_at_risk
    ),
    "without_the_case": Mistake(
        "you left the patient with the event out of those at risk; `stop >= stop[i]` keeps them", without_the_case
    ),
    "events_alone_at_risk": Mistake(
        "you left the censored out; until they are lost they are at risk", events_alone_at_risk
    ),
    "those_who_are_gone": Mistake("you compared with those who are gone; at risk is who is left", those_who_are_gone),
    "censored_as_events": Mistake(
        "you gave the censored a term; only an event has one, and the censored stand below the line", censored_as_events
    ),
}
"""Wrong forms of minus the log partial likelihood, of `scores`, `stop` and `observed`; no two events in one row."""


# ----------------------------------------------------------------------------------------- wrong hazards from a Cox


def rate_as_hazard(step: Float[Tensor, " visit"], score: Float[Tensor, ""]) -> Float[Tensor, " visit"]:
    """The cumulative hazard of the interval, taken for a probability."""
    return step * score.exp()


def ratio_of_hazards(step: Float[Tensor, " visit"], score: Float[Tensor, ""]) -> Float[Tensor, " visit"]:
    """The baseline's probability, multiplied by the ratio."""
    return -torch.expm1(-step) * score.exp()


def baseline_alone(step: Float[Tensor, " visit"], score: Float[Tensor, ""]) -> Float[Tensor, " visit"]:
    """The hazard of somebody with a score of 0."""
    return -torch.expm1(-step)


def score_unexponentiated(step: Float[Tensor, " visit"], score: Float[Tensor, ""]) -> Float[Tensor, " visit"]:
    """The score itself as the ratio."""
    return -torch.expm1(-step * score)


def risk_up_to_then(step: Float[Tensor, " visit"], score: Float[Tensor, ""]) -> Float[Tensor, " visit"]:
    """The probability of an event up to the end of the interval, from the first one on."""
    return -torch.expm1(-step.cumsum(-1) * score.exp())


def score_as_log_odds(step: Float[Tensor, " visit"], score: Float[Tensor, ""]) -> Float[Tensor, " visit"]:
    """The score added to the logit of the baseline's probability."""
    return torch.sigmoid(torch.logit(-torch.expm1(-step)) + score)


FROM_COX = {
    "rate_as_hazard": Mistake(
        "that is the cumulative hazard of the interval, which can pass 1; the hazard is 1 - exp(-that)", rate_as_hazard
    ),
    "ratio_of_hazards": Mistake(
        "you multiplied the probability; it is the rate inside the exponential that the ratio multiplies",
        ratio_of_hazards,
    ),
    "baseline_alone": Mistake("that is the hazard with a score of 0; the patient's score is not in it", baseline_alone),
    "score_unexponentiated": Mistake(
        "you multiplied by the score; the ratio is its exponential", score_unexponentiated
    ),
    "risk_up_to_then": Mistake(
        "that is the risk from the beginning to the end of each interval; a hazard is about one interval",
        risk_up_to_then,
    ),
    "score_as_log_odds": Mistake(
        "you added the score to the logit; that is a logistic model, and Cox's ratio is not its odds ratio",
        score_as_log_odds,
    ),
}
"""Wrong hazards from the steps of a baseline cumulative hazard and the score of one patient."""


def _partial(scores: Tensor, with_term: Tensor, at_risk: Tensor) -> Tensor:
    """Minus the sum over the patients with a term of score minus logsumexp of the scores at risk in their row."""
    below = scores.expand_as(at_risk).masked_fill(~at_risk, -torch.inf).logsumexp(-1)
    return (below - scores)[with_term].sum()
