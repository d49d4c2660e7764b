"""What the notes say of per-visit classifiers, gradients, clamps and floating point, tried."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import WeibullAFTFitter
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils._python_dispatch import TorchDispatchMode

from tests import oracles
from tests.ledger import Evidence, claim
from visitwise import simulate, textbook
from visitwise.check import likelihood
from visitwise.check import person_period as wrong
from visitwise.cohort import Outcome
from visitwise.functional import hazard_nll, person_period
from visitwise.losses import outcome_nll
from visitwise.model import SurvivalRNN
from visitwise.simulate import draw_outcome
from visitwise.textbook import clamp_and_log_nll

EPS = 1e-7
ADA = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)
ONE, EVENT, SURVIVED = torch.tensor([1]), torch.tensor([True]), torch.tensor([False])


def slope(loss: Callable[..., Tensor], outcome: Outcome, hazard: float) -> float:
    """Derivative of a loss with respect to one logit shared by all cells of the box."""
    logit = torch.logit(torch.tensor(hazard, dtype=torch.float64)).requires_grad_()
    loss(logit.expand(len(outcome), int(outcome.stop.max())), outcome.stop, outcome.observed).backward()
    return float(logit.grad)


def of_row(loss: Callable[[Tensor], Tensor], at: float, dtype: torch.dtype = torch.float64) -> tuple[float, float]:
    """Value and gradient of the loss of one row, at a logit or at a hazard."""
    x = torch.tensor([[at]], dtype=dtype, requires_grad=True)
    value = loss(x)
    return value.item(), torch.autograd.grad(value, x)[0].item()


def clamped(logit: Tensor, seen: Tensor = EVENT) -> Tensor:
    return clamp_and_log_nll(torch.sigmoid(logit), ONE, seen, eps=EPS)


def from_logit(logit: Tensor, seen: Tensor = EVENT) -> Tensor:
    return hazard_nll(logit, ONE, seen)


# ------------------------------------------------------------------------------------------------------ classifiers


@claim(
    "B12",
    "The survival likelihood is not a set of binary classifiers, one for each visit: its hazards are coupled through "
    "survival.",
    source="chapter 2; loss; tutorial 3",
    verdict="FALSE",
    shows="For {patients} patients with random hazards and outcomes, the negative log-likelihood and the binary "
    "cross-entropy over their {rows} rows differ by less than {bound:.0e}, and so does each entry of the gradients.",
    teaches="It is exactly the binary cross-entropy of one classifier, added up over the rows at risk: a hazard is "
    "conditional on having come so far, so a record's probability is the product of its rows'. Censoring is in which "
    "rows exist.",
    chapter="02-per-visit-bce#why-it-is-the-same-loss",
)
def test_the_likelihood_is_the_cross_entropy_of_the_rows_at_risk(evidence: Evidence):
    random = np.random.default_rng(12)
    logits = torch.from_numpy(random.normal(-1, 2, (200, 10))).requires_grad_()
    outcome = draw_outcome(torch.sigmoid(logits.detach()), dropout=0.1, seed=12)
    rows = person_period(outcome.stop, outcome.observed)
    nll = outcome_nll(logits, outcome, reduction="sum")
    labels = rows.event.double()
    bce = binary_cross_entropy_with_logits(logits[rows.patient, rows.visit], labels, reduction="sum")
    of_nll, of_bce = (torch.autograd.grad(loss, logits)[0] for loss in (nll, bce))
    bound = 1e-11
    assert abs(nll.item() - bce.item()) < bound
    assert (of_nll - of_bce).abs().max().item() < bound
    assert not outcome.observed.all()
    evidence(patients=len(outcome), rows=outcome.n_rows, bound=bound)


@claim(
    "B13",
    "Binary cross-entropy at every visit is the wrong loss for survival: it leaves out who survived and cannot handle "
    "censoring.",
    source="tutorial 3; loss",
    verdict="DEPENDS",
    shows="{patients:,} simulated patients have a hazard of {truth:.2f} at each of {visits} visits, and {dropout:.0%} "
    "are lost after each. That hazard is learned as {right:.4f} from the rows at risk, as {after:.4f} with "
    "zeros kept after the event, as {every:.4f} with a zero wherever no event was seen, and as {events:.4f} from the "
    "patients with an event alone.",
    teaches="It is right on the rows at risk, those between a patient's entry and the event or the end of follow-up, "
    "and wrong on any others: what fails is the choice of rows, with the very same loss.",
    chapter="02-per-visit-bce#the-rows-are-the-model",
)
def test_naive_cross_entropy_fails_by_its_rows(evidence: Evidence):
    truth, visits, dropout = 0.05, 12, 0.1
    outcome = draw_outcome(torch.full((30_000, visits), truth, dtype=torch.float64), dropout=dropout, seed=4)
    seen = outcome.observed
    events, known, unseen = int(seen.sum()), int(outcome.stop[seen].sum()), int(outcome.stop[~seen].sum())
    learned = {
        "right": (hazard_nll, events / (known + unseen)),
        "after": (wrong.rows_after_event, events / (visits * events + unseen)),
        "every": (wrong.every_cell, events / (visits * len(outcome))),
        "events": (likelihood.events_alone, events / known),
    }
    for loss, estimate in learned.values():
        assert abs(slope(loss, outcome, estimate)) < 1e-12
    numbers = {name: estimate for name, (_, estimate) in learned.items()}
    assert abs(numbers["right"] - truth) < 0.001
    assert numbers["every"] < truth / 2 < numbers["after"] < 0.8 * truth
    assert numbers["events"] > 4 * truth
    evidence(patients=len(outcome), truth=truth, visits=visits, dropout=dropout, **numbers)


@claim(
    "B14",
    "Regression on the time of the event cannot handle censored data.",
    source="loss; tutorial 3",
    verdict="DEPENDS",
    shows="In {patients:,} simulated patients, {censored:.0%} of them censored, the logarithm of the time changes by "
    "{truth:.2f} with each unit of a risk score. Least squares finds {everyone:.2f}, without the censored "
    "{events:.2f}; a Weibull regression by its likelihood finds {aft:.2f}.",
    teaches="Least squares, which the notes mean, cannot: it has no term for 'not yet'. A regression with a "
    "likelihood, such as an accelerated failure time model, gives a censored patient the probability of having come so "
    "far.",
    chapter="02-per-visit-bce#why-it-is-the-same-loss",
)
def test_regression_with_a_likelihood_handles_censoring(evidence: Evidence):
    truth, n = -0.5, 20_000
    random = np.random.default_rng(14)
    x = random.normal(size=n)
    event, censoring = np.exp(1 + truth * x) * random.weibull(1.5, n), random.exponential(2.5, n)
    time, seen = np.minimum(event, censoring), event <= censoring
    everyone, events = (np.polyfit(x[who], np.log(time[who]), 1)[0] for who in (seen | ~seen, seen))
    fitted = WeibullAFTFitter().fit(pd.DataFrame({"time": time, "seen": seen, "x": x}), "time", "seen")
    aft = fitted.params_["lambda_", "x"]
    assert abs(aft - truth) < 0.03
    assert truth + 0.1 < events < everyone
    evidence(patients=n, censored=1 - seen.mean(), truth=truth, everyone=everyone, events=events, aft=aft)


# ---------------------------------------------------------------------------------------------- reduction and start


@claim(
    "B15",
    "The loss of an epoch is the mean of the losses of its batches, each of which is a mean over patients. (The "
    "training script computes it so.)",
    source="training code",
    verdict="DEPENDS",
    shows="Ten patients in batches of 4, 4 and 2: the mean of the batch losses is {ragged:.4f}, the mean over the "
    "patients {exact:.4f}. In two batches of 5 both are {even:.4f}.",
    teaches="That holds for batches of equal size. A smaller last batch weighs too much; add up the batch sums and "
    "divide once.",
    chapter="02-per-visit-bce#mean-of-what",
)
def test_the_mean_of_batch_means_weighs_a_small_batch_too_much(evidence: Evidence):
    logits = torch.from_numpy(np.random.default_rng(17).normal(-1, 1, (10, 6)))
    outcome = draw_outcome(torch.sigmoid(logits), dropout=0.1, seed=17)
    each = hazard_nll(logits, outcome.stop, outcome.observed, reduction="none")
    exact = each.mean().item()
    ragged, even = (float(np.mean([batch.mean().item() for batch in each.split(size)])) for size in (4, 5))
    last_counts_double = each.clone()
    last_counts_double[8:] *= 2
    assert even == pytest.approx(exact, rel=1e-12)
    assert ragged == pytest.approx(last_counts_double.sum().item() / 12, rel=1e-12)
    assert abs(ragged - exact) > 0.01
    evidence(ragged=ragged, exact=exact, even=even)


@claim(
    "B16",
    "Where the bias of the last layer begins is no matter; a few steps put it right.",
    source="visitwise",
    verdict="FALSE",
    shows="In {patients} simulated records with events in {rate:.1%} of the rows an untrained network begins at a loss "
    "of {half:.2f}, and after {steps} steps of Adam, of size {size:g}, is at {later:.2f}. One constant hazard has "
    "{constant:.2f}, and with the bias at its logit the network begins at {base:.2f}.",
    teaches="A bias near zero says that half of all intervals end in the event, and the first steps go into unlearning "
    "that; how many, depends on their size. Begin it at the logit of the base rate, events divided by rows.",
    chapter="02-per-visit-bce#where-to-begin",
)
def test_a_bias_at_the_base_rate_saves_the_first_epochs(evidence: Evidence):
    cohort = simulate.TEACHING.draw(120, seed=16).cohort
    outcome, steps, size = cohort.outcome, 20, 3e-3
    rate = int(outcome.observed.sum()) / outcome.n_rows
    logit = torch.logit(torch.tensor(rate, dtype=torch.float64))
    constant = outcome_nll(logit.expand(cohort.visits.mask.shape), outcome).item()

    def begin(share: float) -> SurvivalRNN:
        model = SurvivalRNN(cohort.visits.schema, base_rate=share, embedding=8, hidden=8)
        model.encoder.fit_scaling(cohort.visits)
        return model.double()

    base = outcome_nll(begin(rate)(cohort.visits), outcome).item()
    model, path = begin(0.5), []
    optimiser = torch.optim.Adam(model.parameters(), lr=size)
    for _ in range(steps + 1):
        optimiser.zero_grad()
        loss = outcome_nll(model(cohort.visits), outcome)
        loss.backward()
        optimiser.step()
        path.append(loss.item())
    assert path[0] > 4 * constant
    assert path[-1] > 1.2 * constant
    assert base < 1.1 * constant
    setting = {"patients": len(outcome), "rate": rate, "steps": steps, "size": size}
    evidence(**setting, half=path[0], later=path[-1], constant=constant, base=base)


# --------------------------------------------------------------------------------------------------------- gradients


@claim(
    "C1",
    "The slope of the loss in the hazard is 1/(1 - h) at a visit survived and -1/h at the event.",
    source="loss",
    verdict="TRUE",
    shows="At hazards of {h[0]:.1f}, {h[1]:.1f} and {h[2]:.1f}, with the event at the last, it is {by_h[0]:.3f}, "
    "{by_h[1]:.3f} and {by_h[2]:.3f}. In the logit it is {by_z[0]:.1f}, {by_z[1]:.1f} and {by_z[2]:.1f}.",
    teaches="True for one patient; in a mean over N patients each is divided by N. In the logit, which a network puts "
    "out, it is the hazard minus the label, never larger than 1 in size.",
    chapter="02-per-visit-bce#the-push-is-hazard-minus-label",
)
def test_the_slope_in_the_hazard_is_as_stated_and_in_the_logit_it_is_h_minus_y(evidence: Evidence):
    three, seen = torch.tensor([3]), EVENT
    hazard, logit = ADA.clone().requires_grad_(), torch.logit(ADA).requires_grad_()
    by_h = torch.autograd.grad(clamp_and_log_nll(hazard, three, seen), hazard)[0][0].tolist()
    by_z = torch.autograd.grad(hazard_nll(logit, three, seen), logit)[0][0].tolist()
    assert by_h == pytest.approx([1 / 0.9, 1 / 0.8, -1 / 0.3])
    assert by_z == pytest.approx([0.1, 0.2, 0.3 - 1])
    four = hazard.detach().expand(4, 3).clone().requires_grad_()
    value = clamp_and_log_nll(four, three.expand(4), seen.expand(4))
    assert torch.autograd.grad(value, four)[0][0].tolist() == pytest.approx([slope / 4 for slope in by_h])
    evidence(h=ADA[0].tolist(), by_h=by_h, by_z=by_z)


@claim(
    "C2",
    "The slope of L is -1/(1 - h) before the event and -1/h at the event: both are negative. (Whether L is the loss or "
    "the likelihood, the tutorial does not say there.)",
    source="tutorial 3",
    verdict="FALSE",
    shows="At a hazard of {h:.1f} the slope of the loss is {survived:+.3f} for a visit survived and {event:+.3f} for "
    "the event; that of the log-likelihood is {log_survived:+.3f} and {log_event:+.3f}.",
    teaches="The signs differ, whichever is meant: the first formula is the log-likelihood's, the second the loss's. "
    "With two negative slopes training would raise every hazard.",
    chapter="02-per-visit-bce#the-push-is-hazard-minus-label",
)
def test_the_two_slopes_have_opposite_signs(evidence: Evidence):
    h = 0.2
    slopes = {
        name: of_row(lambda hazard, seen=seen: clamp_and_log_nll(hazard, ONE, seen), h)[1]
        for name, seen in (("survived", SURVIVED), ("event", EVENT))
    }
    assert slopes == pytest.approx({"survived": 1 / (1 - h), "event": -1 / h})
    assert slopes["event"] < 0 < slopes["survived"]
    evidence(h=h, log_survived=-slopes["survived"], log_event=-slopes["event"], **slopes)


@claim(
    "C3",
    "The gradients are well-behaved because the hazards are clamped.",
    source="loss",
    verdict="FALSE",
    shows="At an event with a hazard of {small:.0e} the slope of the clamped loss in the hazard is {steep:,.0f}, a "
    "little above the clamp's edge {steepest:,.0f}, and below it {below:.0f}. In the logit, at the first of these "
    "hazards, it is {tame:.5f}.",
    teaches="It is the sigmoid that tames them: its slope h(1 - h) turns -1/h into h - 1. The clamp only cuts the "
    "gradient off, and does it where it is needed most.",
    chapter="02-per-visit-bce#the-push-is-hazard-minus-label",
)
def test_the_sigmoid_tames_the_gradient_and_the_clamp_does_not(evidence: Evidence):
    def loss(hazard: Tensor) -> Tensor:
        return clamp_and_log_nll(hazard, ONE, EVENT, eps=EPS)

    small = 1e-5
    steep, steepest, below = (of_row(loss, hazard)[1] for hazard in (small, 1.0001 * EPS, 0.9999 * EPS))
    tame = of_row(from_logit, math.log(small / (1 - small)))[1]
    assert steep == pytest.approx(-1 / small)
    assert steepest < -9.9e6
    assert below == 0
    assert tame == pytest.approx(small - 1)
    evidence(small=small, steep=steep, steepest=steepest, below=abs(below), tame=tame)


@claim(
    "C4",
    "Behind the clamp the gradient is zero: the worst mistakes stop learning.",
    source="visitwise",
    verdict="TRUE",
    shows="At an event's logit of {inside:.1f} the clamped gradient is {before:.3f}, at {outside:.1f} exactly "
    "{after:.0f}, and the loss stays at {frozen:.3f} however wrong the logit; from the logit the gradient there is "
    "{alive:.3f}.",
    teaches="A value at the bound of a clamp does not move with what is behind it. Write the loss from the logit, "
    "softplus(z) for a row survived and softplus(-z) for an event, and it has no dead zone.",
    chapter="02-per-visit-bce#the-surer-the-less-it-learns",
)
def test_behind_the_clamp_nothing_is_learned(evidence: Evidence):
    inside, outside = -16.1, -16.2
    before = of_row(clamped, inside)[1]
    frozen, after = of_row(clamped, outside)
    alive = of_row(from_logit, outside)[1]
    assert before == pytest.approx(-1, abs=1e-5)
    assert after == 0
    for dtype in (torch.float32, torch.float64):
        assert of_row(clamped, -30.0, dtype) == (pytest.approx(frozen, abs=1e-5), 0)
        assert of_row(lambda z: clamped(z, SURVIVED), 17.0, dtype)[1] == 0
        assert of_row(lambda z: from_logit(z, SURVIVED), 17.0, dtype)[1] == pytest.approx(1, abs=1e-6)
    assert alive == pytest.approx(-1, abs=1e-5)
    evidence(inside=inside, before=before, outside=outside, after=abs(after), frozen=frozen, alive=alive)


# ------------------------------------------------------------------------------------------------- logarithms, clamps


@claim(
    "C5",
    "log(1) is a danger to the gradients, like log(0).",
    source="loss; custom losses",
    verdict="FALSE",
    shows="log(1) is {value:.0f} and its slope there is {at_one:.0f}; at 0 the logarithm is {low} and its slope "
    "{steep}.",
    teaches="1 is a harmless place. What is called log(1) is the other end: log(1 - h) at a hazard of 1, which is "
    "log(0).",
    chapter="02-per-visit-bce#zero-times-infinity",
)
def test_the_logarithm_of_one_is_zero_and_has_slope_one(evidence: Evidence):
    value, at_one = of_row(lambda x: x.log().sum(), 1.0)
    low, steep = of_row(lambda x: x.log().sum(), 0.0)
    assert (value, at_one) == (0, 1)
    assert (low, steep) == (-math.inf, math.inf)
    evidence(value=value, at_one=at_one, low=low, steep=steep)


@claim(
    "C6",
    "The hazards have to be clamped, or they come to 0 or 1 and the loss takes the logarithm of 0.",
    source="loss; losses code",
    verdict="DEPENDS",
    shows="On a batch with padding and without a clamp, {masked} of the {tensors} weight tensors get a gradient of "
    "NaN if the model writes a hazard of 0 where there is no visit, and {open} if it does not. By itself a sigmoid in "
    "float32 is 1 only from a logit of {edge:.1f} on.",
    teaches="It depends on what makes the 0. Rarely it is the sigmoid. The common reason is home-made: a mask in the "
    "model makes exact zeros, and a mask in the loss multiplies their infinite logarithm by 0. Fill such cells before "
    "the logarithm, or write the loss from logits, and there is nothing to clamp.",
    chapter="02-per-visit-bce#zero-times-infinity",
)
def test_the_zeros_that_need_a_clamp_are_written_by_the_models_own_mask(evidence: Evidence):
    codes, code_mask, visit_mask = textbook.collate([[[1, 2], [3], [4]], [[2], [1, 4]]])
    stop, observed = torch.tensor([3, 2]), torch.tensor([True, False])

    def broken(mask_hazard: bool) -> tuple[int, int]:
        model = textbook.TextbookLSTM(6, 4, 4, mask_hazard=mask_hazard)
        hazard = model(codes, code_mask, visit_mask)
        clamp_and_log_nll(hazard, stop, observed, visit_mask, eps=None).backward()
        gradients = [weight.grad for weight in model.parameters()]
        return sum(bool(gradient.isnan().any()) for gradient in gradients), len(gradients)

    (masked, tensors), (unmasked, _) = broken(True), broken(False)
    assert masked == tensors
    assert unmasked == 0
    z = torch.arange(10, 20, 0.01)
    edge = z[torch.sigmoid(z) == 1][0].item()
    assert edge == pytest.approx(16.64, abs=0.02)
    evidence(masked=masked, open=unmasked, tensors=tensors, edge=edge)


@claim(
    "C7",
    "An epsilon of 1e-7 is a good balance, because with a much smaller one, such as 1e-15, an exponential may "
    "underflow.",
    source="custom losses",
    verdict="FALSE",
    shows="In float32 exp(log({tiny:.0e})) is {back:.2e}: nothing underflows. But there an interval survived at a "
    "hazard of 1 costs {works:.2f} with an epsilon of {fine:.1e} and {fails} with {too_fine:.1e}.",
    teaches="The reason is another one. The cliff is one minus epsilon, which rounds to 1 once epsilon is below half "
    "the distance of the numbers just under 1. It depends on the number format, and a loss from logits needs no "
    "epsilon.",
    chapter="02-per-visit-bce#the-surer-the-less-it-learns",
)
def test_a_small_epsilon_rounds_away_and_does_not_underflow(evidence: Evidence):
    tiny, fine, too_fine = 1e-15, 3.0e-8, 2.9e-8
    back = torch.tensor(tiny, dtype=torch.float32).log().exp().item()
    sure = torch.ones(1, 1, dtype=torch.float32)
    works, fails = (clamp_and_log_nll(sure, ONE, SURVIVED, eps=eps).item() for eps in (fine, too_fine))
    assert back == pytest.approx(tiny, rel=1e-4)
    assert works == pytest.approx(24 * math.log(2), rel=1e-6)
    assert fails == math.inf
    assert np.float32(1 - too_fine) == 1 > np.float32(1 - fine)
    # Printed from NumPy's float32, which rounds alike everywhere.
    evidence(tiny=tiny, back=float(np.float32(tiny)), works=24 * math.log(2), fine=fine, fails=fails, too_fine=too_fine)


@claim(
    "C8",
    "The clamp treats both ends alike: it keeps a hazard between epsilon and one minus epsilon.",
    source="loss; losses code",
    verdict="DEPENDS",
    shows="In float32 the largest loss of an event is {event:.3f} and that of an interval survived {survived:.3f}; in "
    "float64 they are {event_wide:.3f} and {survived_wide:.3f}.",
    teaches="In float64 it does, to all digits shown. In float32, the format of most networks, numbers just below 1 "
    "are so much further apart than numbers near 0 that one minus epsilon is rounded. A logit is as fine at one end as "
    "at the other.",
    chapter="02-per-visit-bce#the-surer-the-less-it-learns",
)
def test_in_float32_the_clamp_is_tighter_at_the_upper_end(evidence: Evidence):
    worst = {
        (seen, dtype): of_row(lambda z, seen=seen: clamped(z, seen), -40.0 if seen is EVENT else 40.0, dtype)[0]
        for seen in (EVENT, SURVIVED)
        for dtype in (torch.float32, torch.float64)
    }
    event, event_wide, survived, survived_wide = worst.values()
    upper = float(np.float32(1 - EPS))  # NumPy rounds it as torch does
    assert upper == 1 - 2.0**-23 != 1 - EPS
    assert survived == pytest.approx(-math.log(1 - upper), rel=1e-6)
    assert event == pytest.approx(-math.log(EPS), rel=1e-6)
    assert event_wide == pytest.approx(survived_wide, rel=1e-9)
    evidence(event=event, event_wide=event_wide, survived=survived, survived_wide=survived_wide)


@claim(
    "C9",
    "After clamping both logarithms are safe.",
    source="custom losses; tutorial 3",
    verdict="DEPENDS",
    shows="In bfloat16 and float16 one minus 1e-7 is {bound:.0f}, so the clamped loss of a sure mistake is {loss}. A "
    "sigmoid is exactly 1 from a logit of {bfloat16:.2f} on in bfloat16, {float16:.2f} in float16, {float32:.2f} in "
    "float32.",
    teaches="In float32 and float64 they are; in half precision the clamp's upper bound is 1 itself. Widen the logits "
    "to float32 and compute the loss from them.",
    chapter="02-per-visit-bce#the-surer-the-less-it-learns",
)
def test_in_half_precision_the_clamp_guards_nothing(evidence: Evidence):
    kinds = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
    edges = {}
    for name, kind in kinds.items():
        z = torch.arange(0, 20, 0.01, dtype=torch.float64).to(kind)
        edges[name] = z[torch.sigmoid(z) == 1][0].item()
        loss = of_row(lambda z: clamped(z, SURVIVED), 18.0, kind)[0]
        assert math.isinf(loss) is (name != "float32")
        assert of_row(lambda z: from_logit(z, SURVIVED), 18.0, kind) == pytest.approx((18, 1), abs=1e-5)
    assert edges == pytest.approx({"bfloat16": 6.25, "float16": 8.32, "float32": 16.64}, abs=0.005)
    bounds = {torch.ones((), dtype=kind).clamp(max=1 - EPS).item() for kind in (torch.bfloat16, torch.float16)}
    assert bounds == {1.0}
    evidence(bound=bounds.pop(), loss=math.inf, **edges)


@claim(
    "C10",
    "For stability take the log-sum-exp form of survival, exp(cumsum(log(1 - h + 1e-7))), in place of the product of "
    "1 - h.",
    source="custom losses; lstm code",
    verdict="FALSE",
    shows="In float64, over {visits} hazards of {h:.1f}, it is off by {off:.1e} of the value, the product by less than "
    "{bound:.0e}; along {padding} padded visits it rises to {above:.7f}. At {many} visits both are {both:.0f} in "
    "float32, where log survival is {log_survival:.1f}.",
    teaches="It is a product written with logarithms, not a log-sum-exp, and the added epsilon makes survival larger "
    "than 1. Keep the logarithm of survival itself if records are long.",
    chapter="02-per-visit-bce#the-surer-the-less-it-learns",
)
def test_an_epsilon_in_the_logarithm_lets_survival_rise_above_one(evidence: Evidence):
    def with_epsilon(hazard: Tensor) -> Tensor:
        return (1 - hazard + EPS).log().cumsum(-1).exp()

    h, visits, padding, many = 0.3, 20, 10, 400
    hazard = torch.full((visits,), h, dtype=torch.float64)
    exact = math.prod([1 - h] * visits)
    off, product = (abs(s[-1].item() / exact - 1) for s in (with_epsilon(hazard), (1 - hazard).cumprod(-1)))
    bound = 1e-14
    assert off > 1e-6
    assert product < bound
    above = with_epsilon(torch.zeros(padding, dtype=torch.float64))
    assert (above.diff() > 0).all()
    assert above[0] > 1
    long = torch.full((many,), h, dtype=torch.float32)
    log_survival = -hazard_nll(torch.logit(long)[None], torch.tensor([many]), SURVIVED).item()
    assert with_epsilon(long)[-1] == (1 - long).cumprod(-1)[-1] == 0
    assert log_survival == pytest.approx(many * math.log(1 - h), rel=1e-5)
    evidence(
        visits=visits, h=h, off=off, bound=bound, padding=padding, above=above[-1].item(), many=many, both=0.0,
        log_survival=many * math.log(1 - h),
    )  # fmt: skip


@claim(
    "C11",
    "The negative log-likelihood is a proper scoring rule, so a model trained with it is well-calibrated.",
    source="loss",
    verdict="DEPENDS",
    shows="Where the true hazards of five visits are {truth}, and nobody is lost on the way, the best hazards on the "
    "rows at risk are {right}. With zeros kept after the event they are {every}; without the censored patients' last "
    "rows {dropped}.",
    teaches="It is smallest at the truth if the rows are right: over the long run, and for a model free enough. With "
    "other rows it is the likelihood of something else; with zeros after the event, of the event's probability seen "
    "from the first visit.",
    chapter="02-per-visit-bce#the-rows-are-the-model",
)
def test_a_proper_score_of_the_wrong_rows_is_calibrated_to_something_else(evidence: Evidence):
    truth = [0.05, 0.15, 0.10, 0.30, 0.08]
    outcomes = list(oracles.possible_outcomes(5))
    weight = torch.tensor([oracles.probability_of(truth, *o) for o in outcomes], dtype=torch.float64)
    stop, observed = (torch.tensor(values) for values in zip(*outcomes, strict=True))
    visit = torch.arange(5)
    label = ((visit == stop[:, None] - 1) & observed[:, None]).double()
    at_risk = visit < stop[:, None]
    unseen_last = (visit == stop[:, None] - 1) & ~observed[:, None]

    def best(cells: Tensor) -> Tensor:
        """Hazards with the smallest expected cross-entropy over these cells: share of events in each column."""
        return (weight @ (label * cells)) / (weight @ cells.double())

    def expected(hazard: Tensor, cells: Tensor) -> Tensor:
        logits = torch.logit(hazard).expand(len(stop), 5)
        cost = binary_cross_entropy_with_logits(logits, label, reduction="none")
        return (weight @ (cost * cells)).sum()

    right, every = best(at_risk), best(torch.ones_like(at_risk))
    dropped = best(at_risk & ~unseen_last)
    for found, cells in ((right, at_risk), (every, torch.ones_like(at_risk))):
        z = found.clone().requires_grad_()
        assert torch.autograd.grad(expected(z, cells), z)[0].abs().max().item() < 1e-12
    as_loss = (weight @ hazard_nll(torch.logit(right).expand(6, 5), stop, observed, reduction="none")).item()
    assert as_loss == pytest.approx(expected(right, at_risk).item())
    assert right.tolist() == pytest.approx(truth)
    assert every.tolist() == pytest.approx(oracles.event_probability(truth))
    assert dropped[:-1].tolist() == pytest.approx(truth[:-1])
    assert dropped[-1].item() == pytest.approx(1)

    def told(hazards: list[float]) -> str:
        return ", ".join(f"{h:.2f}" for h in hazards)

    evidence(truth=told(truth), right=told(right.tolist()), every=told(every.tolist()), dropped=told(dropped.tolist()))


# ------------------------------------------------------------------------------------------------------------- loops


def loop_of_notes(hazard: Tensor, last: Tensor, seen: Tensor, mask: Tensor) -> Tensor:
    """Patient by patient; the mask is heard for the visits survived, and not for the event."""
    hazard, total = hazard.clamp(EPS, 1 - EPS), hazard.new_zeros(())
    for i in range(len(hazard)):
        k = int(last[i])
        total = total - (torch.log(1 - hazard[i, :k]) * mask[i, :k]).sum()
        if seen[i] and k < hazard.shape[1]:
            total = total - torch.log(hazard[i, k])
    return total / len(hazard)


def box_of_notes(hazard: Tensor, last: Tensor, seen: Tensor, mask: Tensor) -> Tensor:
    """All at once; the mask is heard everywhere."""
    hazard, visit = hazard.clamp(EPS, 1 - EPS), torch.arange(hazard.shape[1])
    survived = (visit < last[:, None]) * mask
    ended = (visit == last[:, None]) * mask * seen[:, None]
    return -((torch.log(1 - hazard) * survived).sum(1) + (torch.log(hazard) * ended).sum(1)).mean()


def cell_by_cell(hazard: Tensor, last: Tensor, seen: Tensor) -> Tensor:
    """Two nested loops, as slow as can be."""
    hazard, total = hazard.clamp(EPS, 1 - EPS), hazard.new_zeros(())
    for i, (k, event) in enumerate(zip(last.tolist(), seen.tolist(), strict=True)):
        for visit in range(k):
            total = total - torch.log(1 - hazard[i, visit])
        if event:
            total = total - torch.log(hazard[i, k])
    return total / len(hazard)


class CountOperations(TorchDispatchMode):
    """How many operations torch is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


@claim(
    "C12",
    "Vectorised, the loss is about 100 to 1000 times faster than a loop over patients and visits, depending on their "
    "number.",
    source="custom losses",
    verdict="DEPENDS",
    shows="For {small[0]} patients of {small[1]} visits the loop asks PyTorch for fewer than {low} times as many "
    "operations as the vectorised loss, for {large[0]} patients of {large[1]} visits for more than {high:,} times. "
    "From the one batch to the other the vectorised loss asks for {growth} more.",
    teaches="The loop asks for more with every row, the vectorised loss for the same number however large the batch. "
    "So a small batch gains less than the notes say. Operations are not seconds, and seconds depend on the machine, "
    "too.",
    chapter="02-per-visit-bce#the-equation-and-its-lines-of-code",
)
def test_the_gain_from_vectorising_grows_with_the_batch(evidence: Evidence):
    def count(loss: Callable[[], Tensor]) -> int:
        with CountOperations() as operations:
            loss()
        return operations.count

    counts = []
    sizes = (4, 5), (512, 40)
    for patients, visits in sizes:
        hazard = torch.full((patients, visits), 0.1, dtype=torch.float64)
        last, seen = torch.full((patients,), visits - 1), torch.ones(patients, dtype=torch.bool)
        mask = torch.ones(patients, visits, dtype=torch.bool)
        values = (cell_by_cell(hazard, last, seen), box_of_notes(hazard, last, seen, mask))
        assert values[0].item() == pytest.approx(values[1].item())
        loop = count(lambda h=hazard, k=last, s=seen: cell_by_cell(h, k, s))
        counts.append((loop, count(lambda h=hazard, k=last, s=seen, m=mask: box_of_notes(h, k, s, m))))
    (few, box), (many, same_box) = counts
    low, high = 10, 1000  # the counts themselves change with PyTorch's version
    assert few < low * box
    assert many > high * same_box
    assert same_box == box
    evidence(small=sizes[0], large=sizes[1], low=low, high=high, growth=same_box - box)


@claim(
    "C13",
    "The loop and the vectorised form of the loss are two ways to write the same.",
    source="chapter 2",
    verdict="DEPENDS",
    shows="With the event on the last of {visits} visits both give {agree:.4f}. With the event recorded later, in the "
    "padding, the loop gives {loop:.4f} and the vectorised form {box:.4f}.",
    teaches="They agree where every label is valid. An event on padding counts in the loop, which forgets the mask "
    "there, and vanishes in the vectorised form, which takes this patient for event-free: refuse such a label.",
    chapter="07-three-masks#a-label-one-row-too-late",
)
def test_the_loop_and_the_box_differ_on_an_event_in_the_padding(evidence: Evidence, unchecked: None):
    hazard = torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    mask, seen = torch.tensor([[True, True, False, False]]), EVENT
    visits, cell = 2, 3
    valid, invalid = torch.tensor([visits - 1]), torch.tensor([cell])
    agree, box_agrees = loop_of_notes(hazard, valid, seen, mask), box_of_notes(hazard, valid, seen, mask)
    loop, box = loop_of_notes(hazard, invalid, seen, mask), box_of_notes(hazard, invalid, seen, mask)
    assert agree.item() == pytest.approx(box_agrees.item()) == pytest.approx(-math.log(0.9 * 0.2))
    assert loop.item() == pytest.approx(-math.log(0.9 * 0.8 * 0.4))
    assert box.item() == pytest.approx(-math.log(0.9 * 0.8))
    with pytest.raises(ValueError, match="past the last visit"):
        hazard_nll(torch.logit(hazard[:, :visits]), invalid + 1, seen)
    evidence(visits=visits, loop=loop.item(), box=box.item(), agree=agree.item())
