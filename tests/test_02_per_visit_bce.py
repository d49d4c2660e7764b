"""The claims of chapter 02, one test each, and the pieces of the page that could drift from the package."""

import math

import numpy as np
import pytest
import torch
from pycox.models.loss import nll_logistic_hazard
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from tests import oracles
from visitwise import simulate
from visitwise.check import likelihood
from visitwise.check import person_period as wrong
from visitwise.cohort import Outcome
from visitwise.functional import hazard_nll, person_period
from visitwise.losses import outcome_nll
from visitwise.model import SurvivalRNN
from visitwise.simulate import draw_outcome
from visitwise.textbook import clamp_and_log_nll

HAZARDS = torch.tensor([[0.1, 0.2, 0.3], [0.15, 0.25, 0.35], [0.1, 0.2, 0.3]], dtype=torch.float64)
THREE = (torch.logit(HAZARDS), torch.tensor([3, 2, 3]), torch.tensor([True, True, False]))
HALVES = (torch.bfloat16, torch.float16)


def bce_of_rows(hazard_logits: Tensor, stop: Tensor, observed: Tensor, **options: object) -> Tensor:
    rows = person_period(stop, observed)
    return binary_cross_entropy_with_logits(
        hazard_logits[rows.patient, rows.visit], rows.event.to(hazard_logits.dtype), **options
    )


def random_box(seed: int, patients: int = 100, visits: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    logits = torch.from_numpy(np.random.default_rng(seed).normal(-1, 2, (patients, visits)))
    outcome = draw_outcome(torch.sigmoid(logits), dropout=0.1, seed=seed)
    return logits, outcome.stop, outcome.observed


def same_hazard(patients: int = 100_000, visits: int = 12, hazard: float = 0.05, seed: int = 20) -> Outcome:
    return draw_outcome(torch.full((patients, visits), hazard, dtype=torch.float64), dropout=0.1, seed=seed)


def slope(loss, outcome: Outcome, hazard: float, width: int = 12) -> float:
    """Derivative of a loss with respect to one logit shared by all cells."""
    logit = torch.logit(torch.tensor(hazard, dtype=torch.float64)).requires_grad_()
    loss(logit.expand(len(outcome), width), outcome.stop, outcome.observed).backward()
    return float(logit.grad)


def one_row(logit: float, observed: bool, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    return torch.tensor([[logit]], dtype=dtype, requires_grad=True), torch.tensor([1]), torch.tensor([observed])


def clamped(logit: float, observed: bool, dtype: torch.dtype = torch.float64) -> tuple[float, float]:
    """Value and gradient of sigmoid, clamp, logarithm."""
    z, stop, seen = one_row(logit, observed, dtype)
    value = clamp_and_log_nll(torch.sigmoid(z), stop, seen)
    return value.item(), torch.autograd.grad(value, z)[0].item()


def from_logit(logit: float, observed: bool, dtype: torch.dtype = torch.float64) -> tuple[float, float]:
    z, stop, seen = one_row(logit, observed, dtype)
    value = hazard_nll(z, stop, seen)
    return value.item(), torch.autograd.grad(value, z)[0].item()


# --------------------------------------------------------------------------------------------------- the same loss


@pytest.mark.parametrize("box", [THREE, random_box(1), random_box(2, patients=1), random_box(3, visits=1)])
def test_bce_over_the_rows_at_risk_is_the_likelihood_in_value_and_gradient(box):
    logits = box[0].clone().requires_grad_()
    nll, bce = hazard_nll(logits, *box[1:], reduction="sum"), bce_of_rows(logits, *box[1:], reduction="sum")
    by_loop = sum(oracles.nll(z.tolist(), int(n), bool(event)) for z, n, event in zip(*box, strict=True))
    assert bce.item() == pytest.approx(nll.item(), rel=1e-13)
    assert bce.item() == pytest.approx(by_loop, rel=1e-13)
    of_nll, of_bce = (torch.autograd.grad(loss, logits)[0] for loss in (nll, bce))
    assert (of_nll - of_bce).abs().max().item() < 1e-13
    assert of_nll.abs().max().item() > 0.1


def test_the_eight_rows_of_the_page_have_the_costs_printed_there():
    rows = person_period(*THREE[1:])
    assert rows.event.int().tolist() == [0, 0, 1, 0, 1, 0, 0, 0]
    costs = bce_of_rows(*THREE, reduction="none")
    by_hand = [-math.log(p) for p in (0.9, 0.8, 0.3, 0.85, 0.25, 0.9, 0.8, 0.7)]
    np.testing.assert_allclose(costs, by_hand, rtol=1e-12)
    assert costs.sum().item() == pytest.approx(3.766469, abs=5e-7)


def test_pycox_adds_up_the_same_bce():
    logits, stop, observed = random_box(4)
    theirs = nll_logistic_hazard(logits, stop - 1, observed.double(), reduction="sum")
    assert theirs.item() == pytest.approx(bce_of_rows(logits, stop, observed, reduction="sum").item(), rel=1e-12)


def test_logistic_regression_on_the_rows_is_the_survival_model():
    random = np.random.default_rng(5)
    measured = torch.from_numpy(random.normal(size=(1500, 8)))
    outcome = draw_outcome(torch.sigmoid(-2.5 + 0.8 * measured), dropout=0.1, seed=5)
    rows = person_period(outcome.stop, outcome.observed)
    regression = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    regression.fit(measured[rows.patient, rows.visit][:, None], rows.event)
    found = torch.tensor([regression.intercept_[0], regression.coef_[0, 0]], requires_grad=True)
    loss = outcome_nll(found[0] + found[1] * measured, outcome)
    assert torch.autograd.grad(loss, found)[0].abs().max().item() < 1e-6  # its fit is the bottom of our loss
    np.testing.assert_allclose(found.detach(), [-2.5, 0.8], atol=0.1)


# ------------------------------------------------------------------------------------------------------------- rows


def test_each_set_of_rows_learns_events_divided_by_its_cells():
    outcome = same_hazard()
    stop, seen, visits = outcome.stop, outcome.observed, 12
    events, known, unseen = int(seen.sum()), int(stop[seen].sum()), int(stop[~seen].sum())
    cells = {
        hazard_nll: known + unseen,
        wrong.rows_after_event: visits * events + unseen,
        wrong.rows_after_censoring: known + visits * (len(outcome) - events),
        wrong.every_cell: visits * len(outcome),
        likelihood.events_alone: known,
    }
    learned = [events / count for count in cells.values()]
    for loss, estimate in zip(cells, learned, strict=True):
        assert abs(slope(loss, outcome, estimate)) < 1e-12
        assert slope(loss, outcome, 0.98 * estimate) < -1e-4 < 1e-4 < slope(loss, outcome, 1.02 * estimate)
    assert learned == pytest.approx([0.050, 0.037, 0.029, 0.024, 0.211], abs=0.002)


def test_a_wider_box_lowers_what_every_cell_teaches_and_not_what_the_rows_do():
    outcome = same_hazard(20_000)
    events = int(outcome.observed.sum())
    for width in (12, 24):
        lowest = events / (width * len(outcome))
        assert abs(slope(wrong.every_cell, outcome, lowest, width)) < 1e-12
        assert abs(slope(hazard_nll, outcome, events / outcome.n_rows, width)) < 1e-12


# ------------------------------------------------------------------------------------------------------------- mean


def test_per_patient_and_per_row_differ_by_a_factor_and_the_mean_of_batch_means_does_not():
    each = hazard_nll(*THREE, reduction="none")
    per_patient, per_row = hazard_nll(*THREE), bce_of_rows(*THREE)
    assert per_patient.item() == pytest.approx(1.2555, abs=5e-5)
    assert per_row.item() == pytest.approx(per_patient.item() * 3 / 8) == pytest.approx(0.4708, abs=5e-5)
    batches = ((each[0] + each[1]) / 2 + each[2]) / 2
    assert batches.item() == pytest.approx(1.1129, abs=5e-5)
    assert batches.item() == pytest.approx((each @ torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64)).item())


def test_a_mean_per_row_in_batches_sorted_by_length_doubles_a_hazard():
    outcome = same_hazard(30_000)
    order = outcome.stop.argsort(stable=True)
    logit = torch.tensor(-2.0, dtype=torch.float64, requires_grad=True)
    batches = [outcome.select(chosen) for chosen in order.split(1000)]

    def epoch(z: Tensor) -> Tensor:
        boxes = [z.expand(len(batch), 12) for batch in batches]
        return torch.stack([bce_of_rows(b, o.stop, o.observed) for b, o in zip(boxes, batches, strict=True)]).mean()

    for _ in range(30):  # Newton's method on one number
        (first,) = torch.autograd.grad(epoch(logit), logit, create_graph=True)
        (second,) = torch.autograd.grad(first, logit)
        logit = (logit - first / second).detach().requires_grad_()
    assert torch.sigmoid(logit).item() == pytest.approx(0.109, abs=0.003)
    by_counting = np.mean([int(b.observed.sum()) / b.n_rows for b in batches])
    assert torch.sigmoid(logit).item() == pytest.approx(by_counting)


def test_weighing_events_up_turns_every_hazard_into_one_half():
    for hazard in (0.02, 0.05, 0.3):
        outcome = same_hazard(5_000, hazard=hazard)
        events = int(outcome.observed.sum())
        weight = torch.tensor((outcome.n_rows - events) / events, dtype=torch.float64)

        def weighted(z: Tensor, stop: Tensor, observed: Tensor, weight: Tensor = weight) -> Tensor:
            return bce_of_rows(z, stop, observed, pos_weight=weight)

        assert abs(slope(weighted, outcome, 0.5)) < 1e-12
        assert slope(weighted, outcome, 0.45) < -1e-3


# --------------------------------------------------------------------------------------------------------- gradient


@pytest.mark.parametrize("box", [THREE, random_box(6)])
def test_the_gradient_in_the_logit_is_hazard_minus_label(box):
    logits, stop, observed = box[0].clone().requires_grad_(), *box[1:]
    (push,) = torch.autograd.grad(hazard_nll(logits, stop, observed, reduction="sum"), logits)
    for i, k in np.ndindex(*push.shape):
        label = float(observed[i]) if k == stop[i] - 1 else 0.0
        expected = torch.sigmoid(box[0][i, k]).item() - label if k < stop[i] else 0.0
        assert push[i, k].item() == pytest.approx(expected, abs=1e-12)
    assert (push[torch.arange(push.shape[1]) >= stop[:, None]] == 0).all()


def test_the_sigmoid_tames_the_gradient_in_the_hazard():
    for h in (0.3, 1e-3, 1e-5):
        hazard = torch.tensor([[h]], dtype=torch.float64, requires_grad=True)
        value = clamp_and_log_nll(hazard, torch.tensor([1]), torch.tensor([True]), eps=None)
        (steep,) = torch.autograd.grad(value, hazard)
        assert steep.item() == pytest.approx(-1 / h)
        assert (
            steep.item() * h * (1 - h)
            == pytest.approx(h - 1)
            == pytest.approx(from_logit(np.log(h / (1 - h)), True)[1])
        )


# ------------------------------------------------------------------------------------------------------- arithmetic


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_clamp_stops_learning_where_the_model_is_most_wrong(dtype: torch.dtype):
    assert clamped(-16.1, True, dtype) == pytest.approx((16.1, -1), abs=1e-5)
    frozen = clamped(-16.2, True, dtype)
    assert frozen == pytest.approx((16.118, 0), abs=5e-4)
    for logit in (-17.0, -20.0, -40.0):
        assert clamped(logit, True, dtype) == frozen  # neither value nor gradient moves
        assert clamped(-logit, False, dtype)[1] == 0
        assert from_logit(logit, True, dtype) == pytest.approx((-logit, -1), abs=1e-6)
        assert from_logit(-logit, False, dtype) == pytest.approx((-logit, 1), abs=1e-6)


def test_from_the_dead_zone_no_step_leads_out():
    z = one_row(-17.0, True)[0]
    for _ in range(50):
        value = clamp_and_log_nll(torch.sigmoid(z), torch.tensor([1]), torch.tensor([True]))
        z = (z - 100 * torch.autograd.grad(value, z)[0]).detach().requires_grad_()
    assert z.item() == -17


def test_in_float32_the_clamp_is_not_symmetric():
    assert clamped(-30.0, True, torch.float32)[0] == pytest.approx(16.118, abs=5e-4)
    assert clamped(30.0, False, torch.float32)[0] == pytest.approx(15.942, abs=5e-4)
    bound = float(np.float32(1 - 1e-7))  # NumPy rounds it as torch does: to two steps below 1
    assert bound == 1 - 2.0**-23
    assert -math.log(1 - bound) == pytest.approx(15.942, abs=5e-4)


@pytest.mark.parametrize(
    ("dtype", "edge"),
    [(torch.bfloat16, 6.25), (torch.float16, 8.32), (torch.float32, 16.64), (torch.float64, 36.74)],
)
def test_a_sigmoid_is_exactly_one_from_some_logit_on(dtype: torch.dtype, edge: float):
    for step, is_one in ((-0.05, False), (0.05, True)):
        assert (torch.sigmoid(torch.tensor(edge + step, dtype=dtype)) == 1).item() is is_one


@pytest.mark.parametrize("dtype", HALVES)
def test_in_half_precision_the_clamp_guards_nothing_and_the_logit_does(dtype: torch.dtype):
    value, _ = clamped(9.0, False, dtype)
    assert value == math.inf
    value, push = from_logit(9.0, False, dtype)
    assert value == pytest.approx(9, abs=1e-3)
    assert push == pytest.approx(1, abs=1e-3)


def test_an_epsilon_below_half_a_step_of_float32_rounds_away():
    one = torch.ones((), dtype=torch.float32)
    assert torch.log(1 - one.clamp(max=1 - 3.0e-8)).isfinite()
    assert torch.log(1 - one.clamp(max=1 - 2.9e-8)) == -torch.inf
    assert np.float32(1 - 2.9e-8) == 1 > np.float32(1 - 3.0e-8)


def test_a_mask_that_multiplies_makes_nan_and_where_after_the_log_hides_it():
    real = torch.tensor([True, False])

    def value_and_gradient(way) -> tuple[float, list[float]]:
        hazard = torch.tensor([0.2, 0.0], dtype=torch.float64, requires_grad=True)
        value = way(hazard)
        return value.item(), torch.autograd.grad(value, hazard)[0].tolist()

    value, gradient = value_and_gradient(lambda h: (h.log() * real).sum())
    assert math.isnan(value)
    assert math.isnan(gradient[1])
    value, gradient = value_and_gradient(lambda h: torch.where(real, h.log(), 0.0).sum())
    assert value == pytest.approx(math.log(0.2))
    assert math.isnan(gradient[1])
    value, gradient = value_and_gradient(lambda h: h.masked_fill(~real, 1.0).log().sum())
    assert value == pytest.approx(math.log(0.2))
    assert gradient == pytest.approx([5, 0])


def test_nan_in_the_padding_touches_neither_value_nor_gradient():
    holes = THREE[0].clone()
    holes[1, 2] = torch.nan
    found = []
    for logits in (THREE[0].clone(), holes):
        value = hazard_nll(logits.requires_grad_(), *THREE[1:])
        found.append((value.detach(), torch.autograd.grad(value, logits)[0]))
    for full, with_hole in zip(*found, strict=True):
        assert torch.equal(full, with_hole)


# ------------------------------------------------------------------------------------------------------------ start


def test_a_model_that_begins_at_the_base_rate_begins_at_the_loss_of_one_constant():
    cohort = simulate.TEACHING.draw(150, seed=3).cohort
    outcome = cohort.outcome
    rate = int(outcome.observed.sum()) / outcome.n_rows
    constant = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate)) * outcome.n_rows / len(outcome)
    start = {}
    for share in (0.5, rate):
        model = SurvivalRNN(cohort.visits.schema, base_rate=share, embedding=8, hidden=8)
        model.encoder.fit_scaling(cohort.visits)
        start[share] = outcome_nll(model(cohort.visits), outcome).item()
    assert start[rate] == pytest.approx(constant, rel=0.1)
    assert start[0.5] > 4 * constant
