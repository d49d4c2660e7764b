"""The claims of the loss zoo, one test each, with constructions of their own."""

import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from visitwise import zoo
from visitwise.baselines import best_constant_hazard
from visitwise.check import loss_zoo
from visitwise.functional import fixed_horizon_bce, hazard_nll, person_period
from visitwise.simulate import draw_outcome
from visitwise.zoo import best_hazards

PAGE = Path(__file__).resolve().parents[1] / "explainer" / "11-loss-zoo.md"
TRUTHS = [0.02, 0.05, 0.2, 0.5]
GRID = np.linspace(0.0005, 0.9995, 1999)
BY_TEN = partial(zoo.event_weighted_nll, event_weight=10.0)


def row_of(loss: str) -> list[float]:
    """What the page's table says of a loss, for the four truths."""
    (line,) = re.findall(rf"^\| {re.escape(loss)} \|(.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [float(number) for number in re.findall(r"\[(0\.\d+)\]\(fact:", line)]


def best_on_grid(if_event: np.ndarray, if_survived: np.ndarray, truth: float) -> float:
    """The answer of a fine grid with the smallest expected loss: no calculus, no optimiser."""
    return float(GRID[np.argmin(truth * if_event + (1 - truth) * if_survived)])


def minimise(loss: Callable[[], Tensor], *parameters: Tensor) -> None:
    search = torch.optim.LBFGS(
        parameters, max_iter=300, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def step() -> Tensor:
        search.zero_grad()
        value = loss()
        value.backward()
        return value

    search.step(step)


# ----------------------------------------------------------------------------------------------------- hook, the table


def test_proper_losses_give_the_truth_back_and_the_others_miss_it_as_the_table_says():
    log_event, log_survived = -np.log(GRID), -np.log(1 - GRID)
    for place, truth in enumerate(TRUTHS):
        assert best_on_grid(log_event, log_survived, truth) == pytest.approx(truth, abs=5e-4)
        assert best_on_grid((1 - GRID) ** 2, GRID**2, truth) == pytest.approx(truth, abs=5e-4)
        focal = best_on_grid(0.25 * (1 - GRID) ** 2 * log_event, 0.75 * GRID**2 * log_survived, truth)
        assert focal == pytest.approx(row_of("focal")[place], abs=1e-3)
        assert best_on_grid(10 * log_event, log_survived, truth) == pytest.approx(
            row_of("events ten times")[place], abs=1e-3
        )
    truths = torch.tensor(TRUTHS, dtype=torch.float64)
    weights = torch.tensor([[5.0, 0.1, 1.0, 2.0]], dtype=torch.float64)
    for proper in (hazard_nll, zoo.squared_error, partial(zoo.row_weighted_nll, row_weight=weights)):
        assert (best_hazards(proper, truths) - truths).abs().max() < 1e-6


def test_a_weight_made_from_the_outcome_bends_and_one_known_before_does_not():
    truth = torch.tensor([0.1, 0.3], dtype=torch.float64)

    def weighs_the_ended(logits: Tensor, stop: Tensor, observed: Tensor, reduction: str) -> Tensor:
        return torch.where(observed, 3.0, 1.0) * hazard_nll(logits, stop, observed, reduction=reduction)

    assert (best_hazards(weighs_the_ended, truth) > 1.5 * truth).all()


def test_the_rare_event_of_the_hook_is_learned_too_high_from_a_sample_as_well():
    outcome = draw_outcome(torch.full((4_000, 10), 0.05), seed=7)
    rate = int(outcome.observed.sum()) / outcome.n_rows
    assert rate == pytest.approx(0.05, abs=0.003)
    assert best_constant_hazard(hazard_nll, outcome) == pytest.approx(rate, abs=1e-9)
    weighted = best_constant_hazard(BY_TEN, outcome)
    assert weighted == pytest.approx(10 * rate / (1 + 9 * rate), abs=1e-9)
    assert weighted == pytest.approx(0.345, abs=0.02)
    assert best_constant_hazard(zoo.focal_loss, outcome) == pytest.approx(0.182, abs=0.005)
    assert pytest.approx(0.599, abs=5e-4) == (1 - 0.05) ** 10
    assert pytest.approx(0.015, abs=5e-4) == (1 - 10 / 29) ** 10


def test_the_options_of_the_prediction_are_the_best_answer_and_its_mistakes():
    page = PAGE.read_text(encoding="utf-8").split("\n## Predict\n")[1].split("\n## ")[0]
    options = sorted(float(number) for number in re.findall(r"<summary>\[([\d.]+)\]", page))
    truth = torch.tensor([0.02], dtype=torch.float64)
    names = ("alpha_alone", "truth_itself", "focus_alone")
    computed = [float(loss_zoo.FOCAL[name].formula(truth)) for name in names]
    assert options == pytest.approx(sorted([*computed, float(best_hazards(zoo.focal_loss, truth))]), abs=5e-4)


# ------------------------------------------------------------------------------------------------ what is taken back


@pytest.fixture(scope="module")
def cohort():
    draw = np.random.default_rng(21)
    covariates = torch.from_numpy(draw.normal(size=(4_000, 8, 2)))
    hazard = (covariates @ torch.tensor([0.9, -0.6], dtype=torch.float64) - 3.5).sigmoid()
    outcome = draw_outcome(hazard, dropout=0.1, seed=22)
    rows = person_period(outcome.stop, outcome.observed)
    return covariates[rows.patient, rows.visit].numpy(), rows.event.numpy(), hazard[rows.patient, rows.visit].numpy()


def test_class_weights_shift_logits_by_their_logarithm_and_order_nobody_better(cohort):
    columns, event, hazard = cohort
    plain, weighted = (
        LogisticRegression(C=np.inf, class_weight={False: 1, True: weight}, tol=1e-8).fit(columns, event)
        for weight in (1, 10)
    )
    shift = float(weighted.intercept_[0] - plain.intercept_[0])
    assert shift == pytest.approx(math.log(10), abs=0.1)
    assert np.abs(weighted.coef_ - plain.coef_).max() < 0.1
    chance = plain.predict_proba(columns)[:, 1], weighted.predict_proba(columns)[:, 1]
    assert chance[0].mean() == pytest.approx(event.mean(), abs=1e-4)
    assert chance[1].mean() > 4 * event.mean()
    back = zoo.unweighted_logits(torch.logit(torch.from_numpy(chance[1])), 10.0).sigmoid().numpy()
    assert np.abs(back - hazard).mean() < 0.005 < 0.1 < np.abs(chance[1] - hazard).mean()
    assert abs(roc_auc_score(event, chance[0]) - roc_auc_score(event, chance[1])) < 0.001


def test_the_focal_loss_has_an_inverse():
    truth = torch.logspace(-4, -0.01, 30, dtype=torch.float64)
    learned = best_hazards(zoo.focal_loss, truth[-8:])
    assert (zoo.unfocused_logits(torch.logit(learned)).sigmoid() - truth[-8:]).abs().max() < 1e-6
    again = torch.logit(torch.stack([best_hazards(zoo.focal_loss, each[None])[0] for each in truth[::6]]))
    assert (zoo.unfocused_logits(again).sigmoid() - truth[::6]).abs().max() < 1e-6


def test_a_weight_taken_back_from_a_model_that_is_too_small_leaves_the_wrong_mean(cohort):
    columns, _, _ = cohort
    chance = np.where((columns[:, 0] > 1) & (columns[:, 1] > 0), 0.5, 0.018)
    event = np.random.default_rng(5).random(len(chance)) < chance
    weighted = LogisticRegression(C=np.inf, class_weight={False: 1, True: 10}, tol=1e-8).fit(columns, event)
    logits = torch.from_numpy(weighted.decision_function(columns))
    back = zoo.unweighted_logits(logits, 10.0).sigmoid().mean()
    assert back < 0.96 * event.mean()


# ---------------------------------------------------------------------------------------------------------- penalties


def test_penalties_bend_where_their_unit_or_their_wish_is_wrong():
    """Per patient against per row by the closed expectation; jumps by the smallest expected loss."""
    survival = 0.95**10
    rows = (1 - survival) / 0.05  # expected number, for one patient
    likelihood = rows * (-0.05 * np.log(GRID) - 0.95 * np.log(1 - GRID))
    for weight, expected in ((0.0, 0.05), (0.1, 0.0504), (10.0, 0.126)):
        per_patient = likelihood + weight * (GRID - (1 - survival)) ** 2
        assert GRID[np.argmin(per_patient)] == pytest.approx(expected, abs=7e-4)
        per_row = likelihood + weight * (GRID - 0.05) ** 2
        assert GRID[np.argmin(per_row)] == pytest.approx(0.05, abs=5e-4)
    assert row_of("rate per patient (10)")[1] == 0.126

    def with_jumps(*given: Tensor, reduction: str) -> Tensor:
        return hazard_nll(*given, reduction=reduction) + zoo.smoothness_penalty(*given, reduction=reduction)

    jump = torch.tensor([0.02, 0.02, 0.02, 0.3, 0.3, 0.3], dtype=torch.float64)
    learned = best_hazards(with_jumps, jump)
    assert learned[2].item() == pytest.approx(0.032, abs=5e-4)
    assert learned[3].item() == pytest.approx(0.24, abs=5e-3)
    truths = torch.tensor(TRUTHS, dtype=torch.float64)
    assert best_hazards(with_jumps, truths).tolist() == pytest.approx(row_of("smooth (1)"), abs=5e-4)


# ------------------------------------------------------------------------------------------------------------ ranking


def test_ranks_of_sums_bend_and_ranks_of_logits_do_not():
    group = torch.arange(4).repeat_interleave(100)
    observed = torch.cat([torch.arange(100) < round(100 * truth) for truth in TRUTHS])
    given = torch.ones(400, dtype=torch.long), observed
    truths = torch.tensor(TRUTHS, dtype=torch.float64)
    for score, expected in (("logit", TRUTHS), ("sum", row_of("ranks of sums (1)"))):
        logits = torch.full((4,), -1.0, dtype=torch.float64, requires_grad=True)

        def loss(score: str = score, logits: Tensor = logits) -> Tensor:
            box = logits[group][:, None]
            return hazard_nll(box, *given) + zoo.ranking_loss(box, *given, score=score)

        minimise(loss, logits)
        assert logits.detach().sigmoid().tolist() == pytest.approx(expected, abs=6e-4)
    assert row_of("ranks of sums (1)")[0] < truths[0]
    assert row_of("ranks of sums (1)")[3] > truths[3]


def test_at_equal_hazards_the_longest_record_has_the_largest_sum_and_is_pushed_down():
    logits = torch.full((3, 6), -3.0, requires_grad=True)
    stop, observed = torch.tensor([2, 4, 6]), torch.tensor([True, True, False])
    zoo.ranking_loss(logits, stop, observed, score="sum").backward()
    assert (logits.grad[2] > 0).all()  # a step of training lowers every hazard of the longest
    assert (logits.grad[0, :2] < 0).all()


# --------------------------------------------------------------------------------------------------------- more tasks


def test_an_auxiliary_task_is_harmless_with_room_and_a_teacher_or_a_thief_without():
    matters = torch.zeros(12, dtype=torch.float64)
    matters[:2] = torch.tensor([0.9, -0.6], dtype=torch.float64)
    excess: dict[tuple[str, int, float], list[float]] = {}
    fresh = torch.from_numpy(np.random.default_rng(99).normal(size=(4_000, 12)))
    truth = (fresh @ matters - 2.5).sigmoid()
    for seed in range(4):
        random = np.random.default_rng(seed)
        x = torch.from_numpy(random.normal(size=(120, 6, 12)))
        noise = torch.from_numpy(random.normal(size=(120, 6)))
        outcome = draw_outcome((x @ matters - 2.5).sigmoid(), seed=seed)
        for value, size, weight in (("same", 1, 0.0), ("same", 1, 1.0), ("other", 1, 1.0), ("other", 2, 1.0)):
            blood = x @ (matters if value == "same" else matters.roll(6)) + noise
            inward = torch.from_numpy(random.normal(size=(12, size)) * 0.1).requires_grad_()
            out = torch.from_numpy(random.normal(size=size)).requires_grad_()
            to_logit = torch.full((size,), 0.5, dtype=torch.float64, requires_grad=True)
            base = torch.tensor(-2.5, dtype=torch.float64, requires_grad=True)

            def loss(x=x, blood=blood, outcome=outcome, weight=weight, p=(inward, out, to_logit, base)) -> Tensor:
                state = x @ p[0]
                nll = hazard_nll(state @ p[2] + p[3], outcome.stop, outcome.observed)
                return nll + weight * ((state @ p[1] - blood) ** 2).mean()

            minimise(loss, inward, out, to_logit, base)
            h = (fresh @ inward @ to_logit + base).sigmoid().detach()
            lost = truth * (truth / h).log() + (1 - truth) * ((1 - truth) / (1 - h)).log()
            excess.setdefault((value, size, weight), []).append(float(lost.mean()))
    alone, taught, robbed, room = (np.array(each) for each in excess.values())
    assert (taught < 0.7 * alone).all()
    assert (robbed > 1.5 * alone).all()
    assert np.abs(room - alone).max() < 1e-4


def test_a_quarter_of_the_censored_had_the_event_later():
    """By adding up all cases: lost after row k with a tenth, and the event in one of the rows that were left."""
    lost = [0.95 ** (k + 1) * 0.9**k * 0.1 for k in range(11)]
    later = sum(p * (1 - 0.95 ** (11 - k)) for k, p in enumerate(lost))
    assert later / (sum(lost) + 0.95**12 * 0.9**11) == pytest.approx(0.24, abs=0.005)


# ------------------------------------------------------------------------------------------------- another likelihood


def test_the_learned_variance_is_that_of_the_coin_and_its_interval_leaves_0_to_1():
    best = min(
        (0.25 * ((1 - h) ** 2 / v + math.log(v)) + 0.75 * (h**2 / v + math.log(v)), h, v)
        for h in np.linspace(0.2, 0.3, 101)
        for v in np.linspace(0.1, 0.3, 401)
    )
    assert best[1] == pytest.approx(0.25)
    assert best[2] == pytest.approx(0.1875)
    deviation = math.sqrt(best[2])
    assert deviation == pytest.approx(0.433, abs=5e-4)
    assert 0.25 - 1.96 * deviation == pytest.approx(-0.60, abs=5e-3)
    assert 0.25 + 1.96 * deviation == pytest.approx(1.10, abs=5e-3)


def test_a_fixed_horizon_is_bent_both_ways_by_those_who_are_lost():
    lost = sum(0.95 ** (k + 1) * 0.9**k * 0.1 for k in range(9))
    through = 0.95**10 * 0.9**9
    event = 1 - lost - through
    assert event / (event + through) == pytest.approx(0.54, abs=0.005)
    outcome = draw_outcome(torch.full((5_000, 10), 0.05), dropout=0.1, seed=3)
    logit = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    minimise(lambda: fixed_horizon_bce(logit.expand(5_000), outcome.stop, outcome.observed, 10), logit)
    assert float(logit.detach().sigmoid()) == pytest.approx(event / (event + through), abs=0.03)
    assert float(outcome.observed.double().mean()) == pytest.approx(event, abs=0.02)
    assert event == pytest.approx(0.27, abs=0.005)
    by_rows = best_constant_hazard(hazard_nll, outcome)
    assert 1 - (1 - by_rows) ** 10 == pytest.approx(1 - 0.95**10, abs=0.02)


# ---------------------------------------------------------------------------------------------- test yourself, breaks


def test_the_absolute_error_answers_no_event_below_one_half_and_the_event_above():
    answers = np.linspace(0, 1, 1001)
    for truth in (0.02, 0.3, 0.49):
        assert answers[np.argmin(truth * (1 - answers) + (1 - truth) * answers)] == 0
        assert answers[np.argmin((1 - truth) * (1 - answers) + truth * answers)] == 1
    assert np.ptp(0.5 * (1 - answers) + 0.5 * answers) < 1e-12
    assert pytest.approx(0.42) == 0.3 * 0.7 + 0.7 * 0.3


def test_a_missing_label_times_zero_is_still_missing():
    each = binary_cross_entropy_with_logits(torch.zeros(2), torch.tensor([1.0, torch.nan]), reduction="none")
    assert (each * torch.tensor([1.0, 0.0])).sum().isnan()
    assert each.where(torch.tensor([True, False]), 0.0).sum() == pytest.approx(math.log(2))
