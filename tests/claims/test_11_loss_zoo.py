"""What the notes say about other losses, tried on constructions rebuilt here in a few lines."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from tests.ledger import Evidence, claim
from visitwise.baselines import best_constant_hazard
from visitwise.cohort import Outcome
from visitwise.functional import hazard_nll
from visitwise.losses import MultiTaskLoss
from visitwise.simulate import draw_outcome

Given = tuple[Tensor, Tensor]


def as_expected(hazard: float, visits: int, patients: int = 1_000) -> Outcome:
    """A cohort in which as many have the event at each visit as is expected."""
    left = [round(patients * (1 - hazard) ** k) for k in range(visits + 1)]
    stop = [k + 1 for k in range(visits) for _ in range(left[k] - left[k + 1])]
    seen = torch.arange(patients) < len(stop)
    return Outcome.of(torch.tensor(stop + [visits] * left[-1]), seen)


def minimise(loss, *parameters: Tensor) -> None:
    search = torch.optim.LBFGS(
        parameters, max_iter=100, tolerance_grad=1e-8, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def step() -> Tensor:
        search.zero_grad()
        value = loss()
        value.backward()
        return value

    search.step(step)


# The notes' penalty, given the right likelihood: mean hazard before the event against the share of patients with one.


def calibrated(weight: float, logits: Tensor, stop: Tensor, observed: Tensor) -> Tensor:
    survived = torch.arange(logits.shape[1]) < (stop - observed.long())[:, None]
    predicted = logits.sigmoid()[survived].mean()
    return hazard_nll(logits, stop, observed) + weight * (predicted - observed.double().mean()) ** 2


@claim(
    "F9",
    "A penalty on the difference between the mean predicted hazard and the observed event rate improves calibration.",
    source="custom losses",
    verdict="FALSE",
    shows="The mean hazard is per visit, the event rate per patient: {truth} against {rate:.2f} in a cohort of twenty "
    "visits. The best hazard is {likelihood:.3f} without the penalty, and {w0:.4f}, {w1:.3f}, {w10:.3f} and {w100:.3f} "
    "with weights of a tenth, 1, 10 and 100.",
    teaches="Compare events per *row* with hazards. Then the penalty asks for what the likelihood asks for already. At "
    "the notes' default, a tenth, the harm is small.",
    chapter="11-loss-zoo#penalties",
)
def test_a_penalty_on_hazards_against_patients_moves_a_calibrated_hazard_away(evidence: Evidence) -> None:
    outcome = as_expected(0.05, 20)
    likelihood = best_constant_hazard(hazard_nll, outcome)
    learned = [
        best_constant_hazard(lambda *given, weight=weight: calibrated(weight, *given), outcome)
        for weight in (0.1, 1.0, 10.0, 100.0)
    ]
    rate = float(outcome.observed.double().mean())
    assert abs(likelihood - 0.05) < 1e-3 < 0.5 < rate
    assert 0 < learned[0] - likelihood < 0.001
    assert np.all(np.diff([likelihood, *learned]) > 0)
    assert learned[3] > 0.4
    w = dict(zip(("w0", "w1", "w10", "w100"), learned, strict=True))
    evidence(truth="0.05", rate=rate, likelihood=likelihood, **w)


# The notes' focal loss with its defaults: an event weighs a quarter, a row survived three quarters.


def notes_focal(logits: Tensor, stop: Tensor, observed: Tensor) -> Tensor:
    visit, h = torch.arange(logits.shape[1]), logits.sigmoid().clamp(1e-7, 1 - 1e-7)
    event = (visit == stop[:, None] - 1) & observed[:, None]
    survived = (visit < stop[:, None]) & ~event
    each = 0.25 * event * (1 - h) ** 2 * h.log() + 0.75 * survived * h**2 * (1 - h).log()
    return -each.sum(1).mean()


@claim(
    "F10",
    "Focal loss makes a survival model learn rare events better, because it turns to the hard examples.",
    source="custom losses",
    verdict="FALSE",
    shows="True hazards of {truths} are learned as {learned}. After ten visits at {truth} a patient is event-free with "
    "a probability of {survival:.3f}; the model says {survival_learned:.3f}, and {survival_weighted:.3f} if each event "
    "is counted ten times instead, for a hazard of {weighted:.3f}. A survived row that was given {easy} weighs "
    "{weight_easy:.4f}, one that was given {hard} weighs {weight_hard:.2f}.",
    teaches="The focal loss is not proper: its best answer is not the truth. The comment on its weights in the notes "
    "has the easy row weigh more than the hard one; their code has it the other way round. The order of the rows "
    "stays, the risks do not.",
    chapter="11-loss-zoo#the-zoo",
)
def test_the_focal_loss_of_the_notes_bends_hazards_to_the_middle(evidence: Evidence) -> None:
    truths, learned = (0.02, 0.05, 0.5), []
    for truth in truths:
        stop, events = torch.ones(200, dtype=torch.long), round(200 * truth)
        outcome = Outcome.of(stop, torch.arange(200) < events)
        learned.append(best_constant_hazard(notes_focal, outcome))
    assert learned[0] > 6 * truths[0]
    assert learned[1] > 3 * truths[1]
    assert learned[2] < 0.9 * truths[2]
    weighted = 10 * 0.05 / (10 * 0.05 + 0.95)

    def counted_ten_times(logits: Tensor, stop: Tensor, observed: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(logits[:, 0], observed.double(), pos_weight=torch.tensor(10.0))

    outcome = Outcome.of(torch.ones(200, dtype=torch.long), torch.arange(200) < 10)
    assert abs(best_constant_hazard(counted_ten_times, outcome) - weighted) < 1e-9
    easy, hard = 0.01**2, 0.4**2
    assert hard > 1_000 * easy
    evidence(
        truths="0.02, 0.05 and 0.5",
        learned=f"{learned[0]:.3f}, {learned[1]:.3f} and {learned[2]:.3f}",
        truth="0.05",
        survival=0.95**10,
        survival_learned=(1 - learned[1]) ** 10,
        survival_weighted=(1 - weighted) ** 10,
        weighted=weighted,
        easy="0.01",
        weight_easy=easy,
        hard="0.4",
        weight_hard=hard,
    )


@claim(
    "F11",
    "Where events are rare, the model predicts a low hazard everywhere, and that is a problem to be mended.",
    source="loss",
    verdict="FALSE",
    shows="With an event in {rate:.2%} of the rows, the likelihood finds the intercept {intercept:.2f} and the slope "
    "{slope:.2f}, where the truth is {true_intercept} and {true_slope}. The mean hazard is {mean:.2%}.",
    teaches="Low hazards are right where events are rare. Few events make estimates uncertain; to count them more "
    "often adds none.",
    chapter="11-loss-zoo#what-can-be-taken-back",
)
def test_the_likelihood_of_rare_events_finds_the_low_hazards_that_are_true(evidence: Evidence) -> None:
    covariate = torch.from_numpy(np.random.default_rng(31).normal(size=(15_000, 8)))
    outcome = draw_outcome((covariate - 6.5).sigmoid(), seed=32)
    line = torch.tensor([0.0, -3.0], dtype=torch.float64, requires_grad=True)
    minimise(lambda: hazard_nll(covariate * line[0] + line[1], outcome.stop, outcome.observed), line)
    slope, intercept = line.detach().tolist()
    at_risk = torch.arange(8) < outcome.stop[:, None]
    rate = int(outcome.observed.sum()) / outcome.n_rows
    mean = float((covariate * slope + intercept).sigmoid()[at_risk].mean())
    assert rate < 0.003
    assert abs(intercept + 6.5) < 0.3
    assert abs(slope - 1) < 0.2
    assert abs(mean / rate - 1) < 1e-4
    evidence(
        rate=rate, intercept=intercept, slope=slope, true_intercept="-6.5", true_slope="1 for the covariate", mean=mean
    )


# The notes' Bayesian loss: each normal log-density is summed over everything before its mask is multiplied in.


def notes_bayesian(mean: Tensor, log_variance: Tensor, last: Tensor, observed: Tensor, mask: Tensor) -> Tensor:
    visit, variance = torch.arange(mean.shape[1]), log_variance.exp() + 1e-7
    before = (visit < last[:, None]).double() * mask
    there = (visit == last[:, None]).double() * mask

    def density(outcome: float) -> Tensor:
        return -0.5 * ((outcome - mean) ** 2 / variance + variance.log() + math.log(2 * math.pi))

    return -(density(0.0).sum() * before + density(1.0).sum() * there * observed.double()).mean()


@claim(
    "F12",
    "A Bayesian loss, normal around the hazard with a learned variance, gives honest uncertainty for a hazard.",
    source="custom losses",
    verdict="FALSE",
    shows="As written it stops with an error for {patients} patients with {visits} visits, as it does unless there are "
    "as many patients as visits, or one of either. For a square batch the loss falls from {wide:.0f} to {narrow:.0f} "
    "as the variance goes to 0. Written right, the standard deviation it learns at a hazard of {hazard} is "
    "{deviation:.3f}.",
    teaches="The outcome of a row is 0 or 1, and its variance is `h (1 - h)`: known, once the hazard is. How sure the "
    "model is of the hazard is another question, and the outcome's variance is no answer to it. Resample the patients.",
    chapter="11-loss-zoo#another-likelihood",
)
def test_the_bayesian_loss_crashes_has_no_floor_and_learns_the_scatter_of_a_coin(evidence: Evidence) -> None:
    def given(patients: int, visits: int, log_variance: float) -> tuple[Tensor, ...]:
        box = torch.full((patients, visits), 0.05, dtype=torch.float64)
        last = torch.full((patients,), visits - 1)
        observed = torch.arange(patients) % 2 == 0
        return box, torch.full_like(box, log_variance), last, observed, torch.ones_like(box)

    for patients, visits in itertools.product(range(1, 5), range(1, 5)):
        if patients == visits or 1 in (patients, visits):
            assert notes_bayesian(*given(patients, visits, 0.0)).isfinite()
        else:
            with pytest.raises(RuntimeError, match="must match the size"):
                notes_bayesian(*given(patients, visits, 0.0))
    # At hazards that fit, every step to a smaller variance pays, down to the 1e-7 that keep it above 0.
    fitting = torch.full((4, 4), 1e-6, dtype=torch.float64), torch.arange(4) > 4
    falls = [
        float(
            notes_bayesian(fitting[0], torch.full((4, 4), v).double(), torch.full((4,), 3), fitting[1], fitting[0] ** 0)
        )
        for v in (0.0, -5.0, -10.0, -15.0)  # logarithms of the variance
    ]
    assert all(b < a for a, b in itertools.pairwise(falls))
    both = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    chance = torch.tensor([0.75, 0.25], dtype=torch.float64)

    def right() -> Tensor:
        error = (torch.tensor([0.0, 1.0]) - both[0].sigmoid()) ** 2
        return (chance * (error * (-both[1]).exp() + both[1])).sum()

    minimise(right, both)
    deviation = float((both[1] / 2).exp().detach())
    assert abs(float(both[0].sigmoid().detach()) - 0.25) < 1e-4
    assert abs(deviation - math.sqrt(0.25 * 0.75)) < 1e-4
    evidence(patients=4, visits=3, wide=falls[0], narrow=falls[3], hazard="0.25", deviation=deviation)


# The notes' ranking loss: risk is the sum of a record's hazards; a patient with an event against all with a later end.


def notes_ranking(hazards: Tensor, last: Tensor, observed: Tensor, mask: Tensor) -> Tensor:
    risk, pairs = (hazards * mask).sum(1), observed[:, None] & (last > last[:, None])
    if not pairs.any():
        return torch.tensor(0.0)
    return -((risk[:, None] - risk).sigmoid() + 1e-7).log()[pairs].mean()


@claim(
    "F13",
    "A pairwise ranking loss on the sum of the hazards teaches the model the right order of the patients' risks.",
    source="custom losses",
    verdict="DEPENDS",
    shows="Where everybody has the same hazard, {truth} at each of ten visits, likelihood and ranking together learn "
    "{first:.3f} at the first visit and {last:.3f} at the last: the longest record is to have the lowest sum. A batch "
    "without a pair returns a constant, and `backward` stops with an error.",
    teaches="It depends on what is ranked. A sum grows with the record. Compare the logits of those at risk in the row "
    "of the event, and the ranking agrees with the likelihood; and let a batch without a pair give 0 with a gradient.",
    chapter="11-loss-zoo#ranking",
)
def test_ranking_sums_of_hazards_pushes_the_longest_records_down(evidence: Evidence) -> None:
    outcome = as_expected(0.05, 10, patients=300)
    logits = torch.full((10,), -3.0, dtype=torch.float64, requires_grad=True)
    mask = (torch.arange(10) < outcome.stop[:, None]).double()

    def loss() -> Tensor:
        box = logits.expand(300, 10)
        # In the notes a censored time lies behind the last visit seen: later than any event in it.
        ranking = notes_ranking(box.sigmoid(), outcome.stop - outcome.observed.long(), outcome.observed, mask)
        return hazard_nll(box, outcome.stop, outcome.observed) + ranking

    minimise(loss, logits)
    learned = logits.detach().sigmoid()
    assert learned[0] > 0.045
    assert learned[9] < 0.75 * 0.05
    nobody = notes_ranking(
        torch.full((3, 2), 0.1, requires_grad=True), torch.tensor([1, 1, 1]), torch.ones(3) < 0, mask[:3, :2]
    )
    assert not nobody.requires_grad
    evidence(truth="0.05", first=float(learned[0]), last=float(learned[9]))


@claim(
    "F14",
    "A learned task weight says how reliable a task is: the highest weight marks the most reliable signal.",
    source="custom losses",
    verdict="FALSE",
    shows="Three tasks with losses of {losses} settle at weights of {weights}: one over the loss. Measured in a unit "
    "ten times as small, the same squared error has {unit:.0f} times the loss and a {unit:.0f}th of the weight.",
    teaches="The weight measures the scale of a loss, and so the unit that it is in. Among squared errors in one unit "
    "that is the noise, and the reading holds; but nothing becomes more reliable by being measured in grams.",
    chapter="11-loss-zoo#more-tasks",
)
def test_a_learned_weight_settles_at_one_over_the_loss(evidence: Evidence) -> None:
    class Constant(torch.nn.Module):
        def forward(self, value: Tensor) -> Tensor:
            return value

    losses = {"progression": 0.1, "death": 1.0, "readmission": 10.0}
    together = MultiTaskLoss({name: Constant() for name in losses}, learnable=True).double()
    given = {name: (torch.tensor(value, dtype=torch.float64),) for name, value in losses.items()}
    minimise(lambda: together(given), *together.parameters())
    weights = {name: float(weight.detach()) for name, weight in together.weights().items()}
    for name, value in losses.items():
        assert abs(weights[name] * value - 1) < 1e-6
    grams, kilos = torch.tensor([70_000.0, 81_000.0]), torch.tensor([70.0, 81.0])
    unit = float((((grams - grams.mean()) / 100) ** 2).mean() / ((kilos - kilos.mean()) ** 2).mean())
    assert abs(unit - 100) < 1e-3
    evidence(
        losses=", ".join(f"{value:g}" for value in losses.values()),
        weights=", ".join(f"{weights[name]:.3g}" for name in losses),
        unit=unit,
    )


# The notes' contrastive loss: anchors are patients with an event, negatives are those who were censored.


def notes_contrastive(states: Tensor, observed: Tensor, temperature: float = 0.5) -> Tensor:
    direction = normalize(states, dim=-1)
    similarity = (direction @ direction.T / temperature).exp()
    terms = []
    for i in observed.nonzero()[:, 0]:
        events = observed.clone()
        events[i] = False
        if events.any():
            near, far = similarity[i, events].sum(), similarity[i, ~observed].sum()
            terms.append(-(near / (near + far)).log())
    return torch.stack(terms).mean()


@claim(
    "F15",
    "Contrast states by the outcome: patients with the event belong together, and censored patients, being without it, "
    "apart from them.",
    source="custom losses",
    verdict="FALSE",
    shows="In a cohort where everybody has the hazard {truth}, {later:.0%} of the censored have the event later, and "
    "{early:.0%} of those who are lost before the end of the study. A step of training takes the state of a censored "
    "patient from {before:.2f} to {after:.2f} in similarity to the patients with the event, whose risk is the same.",
    teaches="Censored is not event-free, as the notes' own first pitfall says. Contrast patients by what is known of "
    "them, such as a row with and a row without the event.",
    chapter="11-loss-zoo#more-tasks",
)
def test_the_contrastive_loss_takes_the_censored_for_patients_without_the_event(evidence: Evidence) -> None:
    hazard = torch.full((20_000, 12), 0.05)
    seen, complete = draw_outcome(hazard, dropout=0.1, seed=41), draw_outcome(hazard, dropout=0.0, seed=41)
    censored = ~seen.observed
    later = float(complete.observed[censored].double().mean())
    early = float(complete.observed[censored & (seen.stop < 12)].double().mean())
    assert later > 0.2
    assert early > 0.28
    states = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.3]], requires_grad=True)
    observed = torch.tensor([True, True, False])
    (push,) = torch.autograd.grad(notes_contrastive(states, observed), states)
    moved = states.detach() - push

    def similarity(of: Tensor) -> float:
        direction = normalize(of, dim=-1)
        return float((direction[2] @ direction[:2].T).mean())

    before, after = similarity(states.detach()), similarity(moved)
    assert after < before - 0.01
    evidence(truth="0.05", later=later, early=early, before=before, after=after)


# The notes' loss for a fixed horizon, and its two arguments.


def notes_fixed_horizon(logits: Tensor, labels: Tensor, valid: Tensor, horizon_days: int | None = None) -> Tensor:
    each = binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return (each * valid).sum() / valid.sum().clamp(min=1)


@claim(
    "F16",
    "A loss for a fixed horizon takes the number of days, and a mask takes care of the visits without a label.",
    source="losses code",
    verdict="FALSE",
    shows="With 30 days and with 3,000 the loss is {loss:.4f}: the horizon is not used, the labels have to know it. "
    "One unknown label, NaN, under a mask of 0 makes the loss {unknown}. Filled with anything before the mask is "
    "applied, it is {filled:.4f}.",
    teaches="Zero times NaN is NaN: choose the known cells first, then compute. And a label is known only if the "
    "patient was followed to the horizon or had the event before.",
    chapter="11-loss-zoo#where-it-breaks",
)
def test_the_horizon_is_not_used_and_a_mask_does_not_hide_a_missing_label(evidence: Evidence) -> None:
    logits = torch.tensor([[-1.0, 0.5, 2.0]], dtype=torch.float64)
    labels = torch.tensor([[0.0, 1.0, torch.nan]], dtype=torch.float64)
    valid = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)
    filled = labels.nan_to_num(-1.0)
    month, years = (float(notes_fixed_horizon(logits, filled, valid, days)) for days in (30, 3_000))
    assert month == years
    unknown = notes_fixed_horizon(logits, labels, valid)
    assert unknown.isnan()
    by_hand = (math.log(1 + math.exp(-1.0)) + math.log(1 + math.exp(-0.5))) / 2
    assert abs(month - by_hand) < 1e-12
    evidence(loss=month, unknown="NaN", filled=by_hand)
