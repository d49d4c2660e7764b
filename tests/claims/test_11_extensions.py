"""Claims about cumulative hazards, rates and competing risks."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.ledger import Evidence, claim
from visitwise.baselines import best_constant_hazard
from visitwise.cohort import Outcome
from visitwise.functional import (
    all_cause_logits,
    cause_hazard,
    competing_risks_nll,
    cumulative_hazard,
    hazard_nll,
    logits_from_hazard,
    survival,
)


def repeated(value: float, times: int) -> Tensor:
    return torch.full((times,), value, dtype=torch.float64)


@claim(
    "F4",
    "The cumulative hazard is the sum of the hazards, $H_t = \\sum h_j$, and survival is $e^{-H_t}$.",
    source="loss; lstm code",
    verdict="FALSE",
    shows="Five hazards of {high} leave a survival of {product:.3f}, where $e^{{-\\sum h}}$ is {exponential:.3f}; for "
    "{many} of {low} it is {small_product:.4f} and {small_exponential:.4f}.",
    teaches="Survival is $e^{-H}$ for $H = -\\sum \\log(1-h)$. The plain sum is what accumulates where hazards are "
    "rates, in continuous time; of crude hazards it is the Nelson-Aalen estimator. The two agree where every hazard is "
    "small.",
    chapter="11-extensions#when-hazards-may-be-added",
)
def test_exp_of_minus_the_sum_of_hazards_is_not_survival(evidence: Evidence) -> None:
    high, low = repeated(0.3, 5), repeated(0.01, 20)
    for h in (high, low):
        logits = logits_from_hazard(h)
        assert float(survival(logits)[-1]) == pytest.approx(float((1 - h).prod()))
        assert float(torch.exp(-cumulative_hazard(logits)[-1])) == pytest.approx(float((1 - h).prod()))
        assert torch.exp(-h.sum()) > (1 - h).prod()
    apart = [float(torch.exp(-h.sum()) / (1 - h).prod() - 1) for h in (high, low)]
    assert apart[0] > 0.3
    assert apart[1] < 0.002
    evidence(
        high=0.3,
        low=0.01,
        many=20,
        product=float((1 - high).prod()),
        exponential=float(torch.exp(-high.sum())),
        small_product=float((1 - low).prod()),
        small_exponential=float(torch.exp(-low.sum())),
    )


@claim(
    "F5",
    "As visits come closer together, the hazard times the gap tends to the rate times the gap, "
    "$h_t \\Delta t \\approx \\lambda(t) \\Delta t$.",
    source="loss",
    verdict="FALSE",
    shows="With a rate of {rate} and a gap of {gap} the hazard is {hazard:.6f}. Rate times gap is {product:.6f}, "
    "hazard times gap {twice:.8f}.",
    teaches="A discrete hazard is a probability already, $1 - e^{-\\lambda\\Delta t}$. It tends to $\\lambda\\Delta t$ "
    "by itself; multiplied by the gap once more it vanishes.",
    chapter="11-extensions#when-hazards-may-be-added",
)
def test_a_hazard_is_about_the_rate_times_the_gap_by_itself(evidence: Evidence) -> None:
    rate = 0.2
    for gap in (0.1, 0.01, 0.001):
        h = -np.expm1(-rate * gap)
        # Survivors of one year of such intervals are those of a year at the rate: this h is the hazard.
        assert (1 - h) ** round(1 / gap) == pytest.approx(np.exp(-rate))
        assert h == pytest.approx(rate * gap, rel=rate * gap)
        assert h * gap < 1.01 * gap * (rate * gap)
    gap = 0.01
    h = float(-np.expm1(-rate * gap))
    evidence(rate=rate, gap=gap, hazard=h, product=rate * gap, twice=h * gap)


@claim(
    "F6",
    "The cause hazards of a visit, as the competing-risks network computes them, sum to at most 1.",
    source="loss; lstm code",
    verdict="FALSE",
    shows="With three causes and first weights as PyTorch draws them, the hazards sum to more than 1 at {share:.0%} of "
    "{visits:,} visits. One minus the sum is {left:.2f} at the median visit, and a survival curve made of it "
    "{curve[0]:.2f}, {curve[1]:.2f}, {curve[2]:.2f}.",
    teaches="The constraint is right and nothing in a sigmoid for each cause keeps it. A softmax over the causes and "
    '"nothing" does, for any weights.',
    chapter="11-extensions#one-of-them-or-nothing",
)
def test_three_sigmoids_sum_to_more_than_one(evidence: Evidence) -> None:
    random, hidden, bound = np.random.default_rng(0), 32, 32**-0.5

    def uniform(*shape: int) -> Tensor:
        return torch.from_numpy(random.uniform(-bound, bound, shape))

    state = torch.from_numpy(random.uniform(-0.5, 0.5, (20, 3, hidden)))
    sums, bounded = [], []
    for _ in range(100):  # a head of two layers for each cause
        logits = [
            torch.relu(state @ uniform(hidden, hidden) + uniform(hidden)) @ uniform(hidden) + uniform()
            for _ in range(3)
        ]
        sums.append(torch.stack(logits, -1).sigmoid().sum(-1))
        bounded.append(cause_hazard(torch.stack(logits, -1)).sum(-1))
    total = torch.stack(sums)
    assert torch.stack(bounded).max() < 1
    left = float(1 - total.median())
    curve = [left, left**2, left**3]
    assert curve[0] < 0 < curve[1]
    assert curve[2] < 0
    share = float((total > 1).double().mean())
    assert share > 0.99
    evidence(share=share, visits=total.numel(), left=left, curve=curve)


@claim(
    "F7",
    "The competing-risks network is trained with the discrete-time survival loss; or with a softmax over the causes.",
    source="lstm code; losses code; chapter 2",
    verdict="FALSE",
    shows='A loss for `[patient, visit]` cannot take hazards of the shape {shape}: "{message}". A softmax over the '
    'causes alone leaves a survival of {left:.1f} after the first visit. With "nothing" among them, gradient descent '
    "recovers hazards of {true[0]} and {true[1]} as {learned[0]:.3f} and {learned[1]:.3f}.",
    teaches='Each interval is one draw among the causes and "nothing". Its loss asks whether something happened and '
    "which cause it was; `competing_risks_nll` is that loss.",
    chapter="11-extensions#one-of-them-or-nothing",
)
def test_the_two_losses_of_the_notes_do_not_train_competing_risks(evidence: Evidence) -> None:
    true, random = (0.2, 0.1), np.random.default_rng(1)
    fate = random.choice(3, size=(5_000, 6), p=[0.7, *true])
    stop = torch.from_numpy(np.where((fate > 0).any(1), (fate > 0).argmax(1), 5) + 1)
    cause = torch.from_numpy(fate)[torch.arange(5_000), stop - 1]

    def of_one_event(hazards: Tensor) -> None:
        patients, visits = hazards.shape
        assert patients == visits  # not reached

    hazards = torch.rand((4, 6, 2), generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="too many values to unpack") as raised:
        of_one_event(hazards)
    left = float(1 - torch.randn((2,), generator=torch.Generator().manual_seed(0)).softmax(-1).sum())
    assert abs(left) < 1e-6

    logits = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    for _ in range(60):
        nll = competing_risks_nll(logits.expand(5_000, 6, 2), stop, cause)
        (slope,) = torch.autograd.grad(nll, logits)
        logits = (logits - slope).detach().requires_grad_()
    learned = cause_hazard(logits.detach()[None])[0].tolist()
    assert learned == pytest.approx(true, abs=0.015)
    evidence(shape=list(hazards.shape), message=str(raised.value), left=abs(left), true=true, learned=learned)


@claim(
    "F8",
    "A multi-task loss, a survival loss for each cause, handles competing risks.",
    source="losses code",
    verdict="DEPENDS",
    shows="Of patients with hazards of {true[0]} and {true[1]}, each loss recovers its own: {learned[0]:.3f} and "
    "{learned[1]:.3f}. The product of what the two tasks leave is {product:.2f}, where {left:.2f} are free of both; "
    "one minus the sum is {sum_left:.2f}.",
    teaches="The hazards are right when the other cause's event counts as survived. What is made of them is not, if "
    "each task gets a survival curve: two curves multiply only for events that can both happen in one interval.",
    chapter="11-extensions#one-of-them-or-nothing",
)
def test_a_loss_for_each_cause_recovers_hazards_and_not_survival(evidence: Evidence) -> None:
    true, random = (0.3, 0.2), np.random.default_rng(2)
    fate = random.choice(3, size=(20_000, 4), p=[0.5, *true])
    stop = torch.from_numpy(np.where((fate > 0).any(1), (fate > 0).argmax(1), 3) + 1)
    cause = torch.from_numpy(fate)[torch.arange(20_000), stop - 1]
    learned = []
    for c in (1, 2):
        learned.append(best_constant_hazard(hazard_nll, Outcome.of(stop, cause == c)))
    assert learned == pytest.approx(true, abs=0.01)
    left = float((fate[:, 0] == 0).mean())
    product, sum_left = (1 - learned[0]) * (1 - learned[1]), 1 - sum(learned)
    assert product > left + 0.04
    assert sum_left == pytest.approx(left, abs=0.015)
    together = torch.tensor([0.3 / 0.5, 0.2 / 0.5], dtype=torch.float64).log()
    assert float(survival(all_cause_logits(together[None]))[0]) == pytest.approx(0.5)
    evidence(true=true, learned=learned, product=product, left=left, sum_left=sum_left)
