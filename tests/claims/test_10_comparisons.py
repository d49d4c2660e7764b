"""What the notes say of Cox regression, proportional hazards and links, tried."""

from collections.abc import Callable

import lifelines
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tests.ledger import Evidence, claim
from visitwise.cohort import Outcome
from visitwise.functional import hazard, hazard_nll, logits_from_cloglog, person_period
from visitwise.simulate import draw_outcome

Link = Callable[[Tensor], Tensor]


def logistic(scores: Tensor) -> Tensor:
    return scores


def minimise(loss: Callable[[], Tensor], *parameters: Tensor) -> None:
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=500, tolerance_grad=1e-9, tolerance_change=1e-13, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)


def effects(x: Tensor, outcome: Outcome, link: Link, part: Tensor) -> list[float]:
    """Effect of `x` in each part of the visits, beside a level for each visit, by the survival loss."""
    columns = torch.stack([x.long(), outcome.stop, outcome.observed.long()])
    (x, stop, observed), count = columns.unique(dim=1, return_counts=True)
    level = torch.full((len(part),), -2.0, dtype=torch.float64, requires_grad=True)
    effect = torch.zeros(int(part.max()) + 1, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        nll = hazard_nll(link(level + effect[part] * x[:, None]), stop, observed.bool(), reduction="none")
        return (nll * count).sum() / count.sum()

    minimise(loss, level, effect)
    return effect.tolist()


@claim(
    "F1",
    "Cox regression requires proportional hazards; the discrete-time model does not.",
    source="loss; chapter 2",
    verdict="DEPENDS",
    shows="{patients:,} simulated patients have a log hazard ratio of +1 in the first {early} intervals and of -1 in "
    "the other {later}. With one effect Cox's model finds {cox:.2f} and the logistic model, by the survival loss, "
    "{one:.2f}. With an effect for each stretch Cox's finds {cox_two[0]:.2f} and {cox_two[1]:.2f}, the logistic one "
    "{two[0]:.2f} and {two[1]:.2f}.",
    teaches="Proportional hazards, or odds, come from having one effect for all times, in either model. An interaction "
    "with time lifts that in both; a network that sees the time can learn it unasked.",
    chapter="10-comparisons#one-effect-or-two",
)
def test_proportional_hazards_come_from_leaving_out_the_interaction(evidence: Evidence) -> None:
    n, early, n_visits = 12_000, 2, 12
    x, late = torch.arange(n) % 2, (torch.arange(n_visits) >= early).long()
    truth = torch.tensor([1.0, -1.0], dtype=torch.float64)[late]
    outcome = draw_outcome(hazard(logits_from_cloglog(-2.97 + truth * x[:, None])), dropout=0.05, seed=10)
    frame = pd.DataFrame({"stop": outcome.stop.numpy(), "event": outcome.observed.numpy(), "x": x.numpy()})
    cox = lifelines.CoxPHFitter().fit(frame, "stop", "event").params_["x"]
    rows = person_period(outcome.stop, outcome.observed)
    with_x, start = x[rows.patient], rows.visit.numpy()
    table = pd.DataFrame({"id": rows.patient.numpy(), "start": start, "stop": start + 1, "event": rows.event.numpy()})
    table["early"] = (with_x * (1 - late[rows.visit])).numpy()
    table["late"] = (with_x * late[rows.visit]).numpy()
    in_two = lifelines.CoxTimeVaryingFitter()
    in_two.fit(table, event_col="event", id_col="id", start_col="start", stop_col="stop")
    cox_two = in_two.params_.tolist()
    (one,), two = effects(x, outcome, logistic, torch.zeros_like(late)), effects(x, outcome, logistic, late)
    assert abs(cox) < 0.15
    assert abs(one - cox) < 0.05
    for found in (cox_two, two):
        assert np.abs(np.array(found) - [1, -1]).max() < 0.2
    evidence(patients=n, early=early, later=n_visits - early, cox=cox, one=one, cox_two=cox_two, two=two)


@claim(
    "F2",
    "One reason to prefer the discrete-time model to Cox regression: there is no need to estimate a baseline hazard.",
    source="chapter 2",
    verdict="FALSE",
    shows="When {up} is added to the scores of {patients} patients, minus the log partial likelihood changes by less "
    "than {bound:.0e}; the survival loss of the same scores goes from {before:.2f} a patient to {after:.2f}, and falls "
    "to {with_level:.2f} only when they are given a level.",
    teaches="It is Cox's model that is trained without a baseline: it compares those at risk with each other. A hazard "
    "says how probable the event is, so the discrete-time model has to learn the level, in its bias and from the time. "
    "(It does so in one step, where Cox's hazards take a second.)",
    chapter="10-comparisons#coxs-question",
)
def test_it_is_cox_regression_that_needs_no_baseline(evidence: Evidence) -> None:
    n, n_visits, up, bound = 400, 400, 5, 1e-8
    random = np.random.default_rng(2)
    x = torch.from_numpy(random.normal(size=n))
    rate = torch.exp(-4.5 + 0.7 * x)[:, None].expand(n, n_visits)
    outcome = draw_outcome(-torch.expm1(-rate), dropout=0.01, seed=2)
    # Events of one row leave one after the other, in a random order, and the censored after them.
    order = torch.from_numpy(np.lexsort((random.random(n), ~outcome.observed.numpy(), outcome.stop.numpy())))
    x, stop, observed = x[order], outcome.stop[order], outcome.observed[order]

    def partial(scores: Tensor) -> Tensor:
        below = scores.flip(0).logcumsumexp(0).flip(0)
        return (below - scores)[observed].sum() / n

    def survival_loss(scores: Tensor) -> float:
        return float(hazard_nll(scores[:, None].expand(n, n_visits), stop, observed))

    beta = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    minimise(lambda: partial(beta * x), beta)
    scores = (beta * x).detach()
    assert abs(partial(scores + up) - partial(scores)) < bound
    assert abs(beta.item() - 0.7) < 0.15
    levels = torch.linspace(-8, 0, 161, dtype=torch.float64)
    with_level = min(survival_loss(scores + level) for level in levels)
    before, after = survival_loss(scores), survival_loss(scores + up)
    assert after > before + 10
    assert with_level < before / 5
    evidence(patients=n, up=up, bound=bound, before=before, after=after, with_level=with_level)


@claim(
    "F3",
    "A logistic hazard model on visits estimates the effects of a Cox regression.",
    source="visitwise",
    verdict="DEPENDS",
    shows="Times with a log hazard ratio of {truth:.1f} are seen in five intervals. Where the hazard of an interval is "
    "{low[hazard]:.2f}, the logistic model finds {low[logistic]:.2f} and the complementary log-log link "
    "{low[cloglog]:.2f}; at {middle[hazard]:.2f} they find {middle[logistic]:.2f} and {middle[cloglog]:.2f}, at "
    "{high[hazard]:.2f} {high[logistic]:.2f} and {high[cloglog]:.2f}.",
    teaches="While hazards are small it does. As they grow the odds grow faster than the rate, and the logistic model, "
    "which multiplies odds, drifts away; the complementary log-log link has Cox's own effect at any hazard.",
    chapter="10-comparisons#one-effect-four-answers",
)
def test_the_logistic_effect_drifts_away_from_coxs_as_hazards_grow(evidence: Evidence) -> None:
    truth, n, n_visits = 0.7, 100_000, 5
    x, drawn = torch.arange(n) % 2, np.random.default_rng(3).exponential(size=n)
    one, found = torch.zeros(n_visits, dtype=torch.long), {}
    for name, rate in (("low", 0.02), ("middle", 0.2), ("high", 0.6)):
        time = drawn / (rate * np.exp(truth * x.numpy()))
        stop = torch.from_numpy(np.minimum(np.floor(time).astype(int) + 1, n_visits))
        outcome = Outcome.of(stop, torch.from_numpy(time < n_visits))
        (odds,), (same,) = (effects(x, outcome, link, one) for link in (logistic, logits_from_cloglog))
        found[name] = {"hazard": 1 - np.exp(-rate), "logistic": odds, "cloglog": same}
        assert abs(same - truth) < 0.04
    assert found["low"]["logistic"] - found["low"]["cloglog"] < 0.02
    assert found["low"]["logistic"] < found["middle"]["logistic"] < found["high"]["logistic"] - 0.15
    evidence(truth=truth, **found)
