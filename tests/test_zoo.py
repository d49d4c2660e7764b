"""The loss zoo: against slow loops and other libraries, and each loss's best answer against the truth."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from pycox.models.data import pair_rank_mat
from sklearn.metrics import brier_score_loss, log_loss
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, gaussian_nll_loss

from visitwise import zoo
from visitwise.baselines import best_constant_hazard
from visitwise.cohort import Outcome
from visitwise.functional import hazard_nll
from visitwise.zoo import best_hazards

pytestmark = pytest.mark.usefixtures("no_global_draws")

NAN = float("nan")
TRUTHS = torch.tensor([0.001, 0.02, 0.05, 0.2, 0.5, 0.8], dtype=torch.float64)
ROW_WEIGHT = torch.tensor([[3.0, 1.0, 0.5, 0.2, 2.0, 1.0]], dtype=torch.float64)
Case = tuple[Tensor, Tensor, Tensor, Tensor]


def case(n: int = 9, width: int = 6, *, seed: int = 0) -> Case:
    """Logits with NaN outside the rows, stop, observed, start; every kind of patient."""
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.normal(size=(n, width)) * 2)
    stop = torch.from_numpy(random.integers(1, width + 1, n))
    start = torch.from_numpy((random.random(n) * stop.numpy()).astype(int))
    visit = torch.arange(width)
    outside = (visit < start[:, None]) | (visit >= stop[:, None])
    return logits.masked_fill(outside, NAN), stop, torch.arange(n) % 2 == 0, start


def rows_of(given: Case) -> list[list[tuple[float, bool, int]]]:
    """For each patient its rows: hazard, whether the event was there, visit."""
    logits, stop, observed, start = given
    return [
        [
            (1 / (1 + math.exp(-float(logits[i, k]))), bool(observed[i]) and k == int(stop[i]) - 1, k)
            for k in range(int(start[i]), int(stop[i]))
        ]
        for i in range(len(stop))
    ]


def focal_row(h: float, event: bool, gamma: float = 2.0, alpha: float = 0.25) -> float:
    return -alpha * (1 - h) ** gamma * math.log(h) if event else -(1 - alpha) * h**gamma * math.log(1 - h)


BY_HAND: dict[str, tuple[Callable[..., Tensor], Callable[[float, bool, int], float]]] = {
    "event_weighted_nll": (
        partial(zoo.event_weighted_nll, event_weight=7.0),
        lambda h, event, k: -7 * math.log(h) if event else -math.log(1 - h),
    ),
    "focal_loss": (zoo.focal_loss, lambda h, event, k: focal_row(h, event)),
    "focal_loss, other settings": (
        partial(zoo.focal_loss, gamma=0.5, alpha=0.9),
        lambda h, event, k: focal_row(h, event, 0.5, 0.9),
    ),
    "row_weighted_nll": (
        partial(zoo.row_weighted_nll, row_weight=ROW_WEIGHT),
        lambda h, event, k: -float(ROW_WEIGHT[0, k]) * math.log(h if event else 1 - h),
    ),
    "squared_error": (zoo.squared_error, lambda h, event, k: (h - event) ** 2),
}
PENALTIES = [zoo.smoothness_penalty, zoo.calibration_penalty, zoo.ranking_loss]
every_loss = pytest.mark.parametrize("loss", [*(loss for loss, _ in BY_HAND.values()), *PENALTIES])


# -------------------------------------------------------------------------------------------------- slow, obvious loops


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("seed", range(3))
def test_a_loss_over_rows_equals_a_loop_over_patients_and_visits(name: str, seed: int) -> None:
    loss, cost = BY_HAND[name]
    given = case(seed=seed)
    by_hand = [sum(cost(*row) for row in rows) for rows in rows_of(given)]
    logits, stop, observed, start = given
    assert loss(logits, stop, observed, start=start, reduction="none").tolist() == pytest.approx(by_hand, rel=1e-9)
    assert float(loss(logits, stop, observed, start=start)) == pytest.approx(sum(by_hand) / 9, rel=1e-9)
    total = loss(logits, stop, observed, start=start, reduction="sum")
    assert float(total) == pytest.approx(sum(by_hand), rel=1e-9)


def test_the_smoothness_penalty_equals_a_loop_over_neighbouring_rows() -> None:
    given = case(seed=4)
    by_hand = [sum((rows[i + 1][0] - rows[i][0]) ** 2 for i in range(len(rows) - 1)) for rows in rows_of(given)]
    logits, stop, observed, start = given
    assert zoo.smoothness_penalty(logits, stop, observed, start, "none").tolist() == pytest.approx(by_hand)
    assert zoo.smoothness_penalty(logits[:, :1].nan_to_num(), torch.ones(9).long(), observed) == 0


@pytest.mark.parametrize("per", ["row", "patient"])
def test_the_calibration_penalty_equals_a_loop(per: str) -> None:
    given = case(seed=5)
    hazards = [h for rows in rows_of(given) for h, _, _ in rows]
    events = sum(event for rows in rows_of(given) for _, event, _ in rows)
    by_hand = (sum(hazards) / len(hazards) - events / (len(hazards) if per == "row" else 9)) ** 2
    logits, stop, observed, start = given
    assert float(zoo.calibration_penalty(logits, stop, observed, start, per)) == pytest.approx(by_hand)


@pytest.mark.parametrize("score", ["logit", "sum"])
@pytest.mark.parametrize("seed", range(3))
def test_the_ranking_loss_equals_a_loop_over_pairs(score: str, seed: int) -> None:
    given = case(n=14, seed=seed)
    rows, logits = rows_of(given), given[0]
    lost = []
    for i, own in enumerate(rows):
        _, event, row = own[-1]
        for j, other in enumerate(rows):
            if event and (row, False) in [(k, e) for _, e, k in other]:
                difference = sum(h for h, _, _ in own) - sum(h for h, _, _ in other)
                if score == "logit":
                    difference = float(logits[i, row] - logits[j, row])
                lost.append(math.log(1 + math.exp(-difference)))
    assert len(lost) > 5
    found = zoo.ranking_loss(given[0], given[1], given[2], given[3], score)
    assert float(found) == pytest.approx(sum(lost) / len(lost))


def test_the_gaussian_loss_equals_torchs_row_by_row() -> None:
    logits, stop, observed, start = case(seed=6)
    log_variance = torch.from_numpy(np.random.default_rng(1).normal(size=logits.shape))
    found = zoo.gaussian_nll(logits, log_variance, stop, observed, start, "none")
    for i in range(len(stop)):
        rows = slice(int(start[i]), int(stop[i]))
        event = torch.zeros(int(stop[i] - start[i]), dtype=torch.float64)
        event[-1] = float(observed[i])
        alone = gaussian_nll_loss(
            logits[i, rows].sigmoid(), event, log_variance[i, rows].exp(), full=True, reduction="sum"
        )
        assert float(found[i]) == pytest.approx(float(alone))


# ------------------------------------------------------------------------------------------------------ other libraries


def table(given: Case) -> tuple[Tensor, Tensor]:
    """Hazard and event of every row, as a classifier would be given them."""
    flat = [row for rows in rows_of(given) for row in rows]
    return torch.tensor([h for h, *_ in flat]).double(), torch.tensor([float(event) for _, event, _ in flat]).double()


def test_weighted_losses_are_torchs_pos_weight_and_scikit_learns_sample_weight() -> None:
    given = case(seed=7)
    logits, stop, observed, start = given
    hazard, event = table(given)
    weighted = binary_cross_entropy_with_logits(
        torch.logit(hazard), event, pos_weight=torch.tensor(7.0), reduction="sum"
    )
    found = zoo.event_weighted_nll(logits, stop, observed, 7.0, start, "sum")
    assert float(found) == pytest.approx(float(weighted))
    visit = [k for rows in rows_of(given) for *_, k in rows]
    by_visit = ROW_WEIGHT[0, visit].numpy()
    by_scikit_learn = log_loss(event.numpy(), hazard.numpy(), sample_weight=by_visit) * by_visit.sum()
    found = zoo.row_weighted_nll(logits, stop, observed, ROW_WEIGHT, start, "sum")
    assert float(found) == pytest.approx(by_scikit_learn)


def test_the_squared_error_of_all_rows_is_scikit_learns_brier_score() -> None:
    given = case(seed=8)
    hazard, event = table(given)
    found = zoo.squared_error(*given[:3], start=given[3], reduction="sum")
    assert float(found) / len(event) == pytest.approx(brier_score_loss(event.numpy(), hazard.numpy()))


def test_the_pairs_that_are_ranked_are_those_of_pycox() -> None:
    _, stop, observed, _ = case(n=20, seed=9)
    logits = torch.zeros(20, 6, dtype=torch.float64, requires_grad=True)
    pairs = pair_rank_mat(stop.numpy() - 1, observed.numpy().astype(np.float32))
    found = zoo.ranking_loss(logits, stop, observed)
    assert float(found.detach()) == pytest.approx(math.log(2))
    found.backward()
    push = torch.zeros(20, 6, dtype=torch.float64)
    for i, j in zip(*pairs.nonzero(), strict=True):  # each pair pushes the event up and the other down by a half
        push[i, stop[i] - 1] -= 0.5 / pairs.sum()
        push[j, stop[i] - 1] += 0.5 / pairs.sum()
    torch.testing.assert_close(logits.grad, push)


def test_neutral_settings_give_the_likelihood() -> None:
    logits, stop, observed, start = case(seed=10)
    likelihood = hazard_nll(logits, stop, observed, start, reduction="none")
    for same in (
        zoo.event_weighted_nll(logits, stop, observed, 1.0, start, "none"),
        2 * zoo.focal_loss(logits, stop, observed, 0.0, 0.5, start, "none"),
        zoo.row_weighted_nll(logits, stop, observed, torch.ones(1, 1, dtype=torch.float64), start, "none"),
    ):
        torch.testing.assert_close(same, likelihood)


# --------------------------------------------------------------------------------------------------- proper, or how far


def smooth(weight: float) -> Callable[..., Tensor]:
    def loss(*given: Tensor, reduction: str) -> Tensor:
        penalty = zoo.smoothness_penalty(*given, reduction=reduction)
        return hazard_nll(*given, reduction=reduction) + weight * penalty

    return loss


@pytest.mark.parametrize(
    "loss",
    [hazard_nll, zoo.squared_error, partial(zoo.row_weighted_nll, row_weight=ROW_WEIGHT)],
    ids=["likelihood", "squared_error", "row_weighted"],
)
def test_proper_losses_give_every_truth_back(loss: Callable[..., Tensor]) -> None:
    assert (best_hazards(loss, TRUTHS) - TRUTHS).abs().max() < 1e-6
    assert (best_hazards(loss, TRUTHS.flip(0)) - TRUTHS.flip(0)).abs().max() < 1e-6


def test_class_weights_multiply_the_odds_of_every_hazard() -> None:
    for weight in (0.5, 3.0, 10.0):
        learned = best_hazards(partial(zoo.event_weighted_nll, event_weight=weight), TRUTHS)
        odds = weight * TRUTHS / (1 - TRUTHS)
        assert (learned - odds / (1 + odds)).abs().max() < 1e-6
        back = zoo.unweighted_logits(torch.logit(learned), weight).sigmoid()
        assert (back - TRUTHS).abs().max() < 1e-6


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (2.0, 0.5), (0.5, 0.25), (5.0, 0.75)])
def test_the_focal_loss_pulls_to_the_middle_and_is_taken_back(gamma: float, alpha: float) -> None:
    learned = best_hazards(partial(zoo.focal_loss, gamma=gamma, alpha=alpha), TRUTHS)
    balanced = alpha * TRUTHS / (alpha * TRUTHS + (1 - alpha) * (1 - TRUTHS))  # without the focus
    assert ((learned - balanced) * (0.5 - balanced) >= -1e-9).all()
    assert (learned - balanced).abs().max() > 0.05
    assert (learned.diff() > 0).all()  # it keeps the order
    back = zoo.unfocused_logits(torch.logit(learned), gamma, alpha).sigmoid()
    assert (back - TRUTHS).abs().max() < 1e-6
    slow = torch.linspace(0.0005, 0.9995, 1999, dtype=torch.float64)
    for truth, best in zip(TRUTHS.tolist(), learned.tolist(), strict=True):
        expected = [
            truth * focal_row(q, True, gamma, alpha) + (1 - truth) * focal_row(q, False, gamma, alpha)
            for q in slow.tolist()
        ]
        assert abs(slow[int(np.argmin(expected))] - best) < 0.0006


def test_the_focal_loss_with_its_defaults_misses_by_what_its_docstring_says() -> None:
    learned = best_hazards(zoo.focal_loss, torch.tensor([0.02, 0.05, 0.5]))
    assert learned.tolist() == pytest.approx([0.136, 0.182, 0.399], abs=5e-4)


def test_smoothness_is_proper_where_nothing_jumps_and_cuts_a_jump_from_above() -> None:
    flat = torch.full((5,), 0.1, dtype=torch.float64)
    assert (best_hazards(smooth(10.0), flat) - flat).abs().max() < 1e-6
    jump = torch.tensor([0.02, 0.02, 0.02, 0.3, 0.3, 0.3], dtype=torch.float64)
    moved = best_hazards(smooth(1.0), jump) - jump
    assert (moved[:3] > 0).all()
    assert (moved[3:] < 0).all()
    assert -moved[3] > 4 * moved[2] > 0.04
    fall = best_hazards(smooth(1.0), jump.flip(0)) - jump.flip(0)
    assert (fall[:3] < 0).all()
    assert -fall[2] > 2 * fall[3] > 0.01


def as_expected(hazard: float, visits: int = 10, patients: int = 2_000) -> Outcome:
    """A cohort in which every number of events is the expected one, to the whole patient."""
    left = [round(patients * (1 - hazard) ** k) for k in range(visits + 1)]
    stop = [k + 1 for k in range(visits) for _ in range(left[k] - left[k + 1])]
    seen = [True] * len(stop) + [False] * left[-1]
    return Outcome.of(torch.tensor(stop + [visits] * left[-1]), torch.tensor(seen))


@pytest.mark.parametrize("hazard", [0.02, 0.05, 0.2])
def test_the_calibration_penalty_is_proper_per_row_and_not_per_patient(hazard: float) -> None:
    outcome, learned = as_expected(hazard), {}
    rate = int(outcome.observed.sum()) / outcome.n_rows
    assert rate == pytest.approx(hazard, rel=1e-3)
    for per in ("row", "patient"):
        for weight in (1.0, 10.0):
            learned[per, weight] = best_constant_hazard(
                lambda *given, per=per, weight=weight: (
                    hazard_nll(*given) + weight * zoo.calibration_penalty(*given, per=per)
                ),
                outcome,
            )
    assert learned["row", 1.0] == pytest.approx(rate, abs=1e-9)
    assert learned["row", 10.0] == pytest.approx(rate, abs=1e-9)
    assert 1.02 * rate < learned["patient", 1.0] < 1.4 * rate < learned["patient", 10.0] < 3 * rate


def minimise(loss: Callable[[], Tensor], *logits: Tensor) -> None:
    search = torch.optim.LBFGS(
        logits, max_iter=300, tolerance_grad=1e-10, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def step() -> Tensor:
        search.zero_grad()
        value = loss()
        value.backward()
        return value

    search.step(step)


@pytest.mark.parametrize("alone", [True, False])
def test_ranks_of_logits_leave_two_groups_where_they_are(alone: bool) -> None:
    group = torch.arange(2).repeat_interleave(100)
    observed = torch.cat([torch.arange(100) < 5, torch.arange(100) < 20])
    logits = torch.tensor([0.0, 0.0], dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        given = logits[group][:, None], torch.ones(200, dtype=torch.long), observed
        return zoo.ranking_loss(*given) + (0.0 if alone else 1.0) * hazard_nll(*given)

    minimise(loss, logits)
    truth = torch.logit(torch.tensor([0.05, 0.2], dtype=torch.float64))
    assert (logits.detach().diff() - truth.diff()).abs().max() < 1e-6
    assert (logits.detach() - truth).abs().max() < 1e-6 or alone  # alone it fixes no hazard


def test_ranks_of_sums_push_late_visits_down_where_nobody_is_riskier() -> None:
    outcome = as_expected(0.05, patients=200)
    learned = {}
    for score in ("sum", "logit"):
        logits = torch.full((10,), -3.0, dtype=torch.float64, requires_grad=True)

        def loss(score: str = score, logits: Tensor = logits) -> Tensor:
            given = logits.expand(200, 10), outcome.stop, outcome.observed
            return hazard_nll(*given) + zoo.ranking_loss(*given, score=score)

        minimise(loss, logits)
        learned[score] = logits.detach().sigmoid()
    at_risk = torch.tensor([int((outcome.stop > k).sum()) for k in range(10)])
    events = torch.tensor([int((outcome.observed & (outcome.stop == k + 1)).sum()) for k in range(10)])
    assert (learned["logit"] - events / at_risk).abs().max() < 1e-6
    fallen = learned["sum"] / learned["logit"]
    assert (fallen.diff() < 0).all()
    assert fallen[0] > 0.99
    assert fallen[9] < 0.7


@pytest.mark.parametrize("truth", [0.02, 0.25, 0.5, 0.9])
def test_the_gaussian_loss_learns_the_hazard_and_the_variance_of_its_coin(truth: float) -> None:
    both = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    row = torch.ones(2, dtype=torch.long), torch.tensor([True, False])
    chance = torch.tensor([truth, 1 - truth], dtype=torch.float64)

    def loss() -> Tensor:
        return (chance * zoo.gaussian_nll(both[0].expand(2, 1), both[1].expand(2, 1), *row, reduction="none")).sum()

    minimise(loss, both)
    hazard, variance = float(both[0].sigmoid().detach()), float(both[1].exp().detach())
    assert hazard == pytest.approx(truth, abs=1e-6)
    assert variance == pytest.approx(truth * (1 - truth), abs=1e-6)


def test_a_row_foreseen_exactly_with_hardly_any_variance_has_a_loss_and_a_gradient() -> None:
    logits = torch.tensor([[-200.0, 150.0]], requires_grad=True)
    log_variance = torch.full((1, 2), -100.0, requires_grad=True)
    loss = zoo.gaussian_nll(logits, log_variance, torch.tensor([2]), torch.tensor([True]))
    loss.backward()
    # Squares of exp(-400) and exp(-300), over exp(-100).
    assert loss.item() == pytest.approx(math.log(2 * math.pi) - 100)
    assert logits.grad is not None
    assert log_variance.grad is not None
    assert logits.grad.isfinite().all()
    assert log_variance.grad.tolist() == [[0.5, 0.5]]


def test_the_gaussian_loss_has_no_floor() -> None:
    row = torch.ones(1, dtype=torch.long), torch.tensor([False])
    deep = [
        float(zoo.gaussian_nll(torch.full((1, 1), -60.0), torch.full((1, 1), v), *row)) for v in (0.0, -10.0, -40.0)
    ]
    assert deep[0] > 0 > deep[1] > deep[2] + 14


# ----------------------------------------------------------------------------------------- padding, extremes, bad input


@every_loss
def test_what_stands_outside_the_rows_touches_neither_value_nor_gradient(loss: Callable[..., Tensor]) -> None:
    logits, stop, observed, start = case(seed=11)
    values, gradients = [], []
    for fill in (NAN, 0.0, 1e30, -torch.inf):
        box = logits.masked_fill(logits.isnan(), fill).requires_grad_()
        values.append(loss(box, stop, observed, start=start))
        gradients.append(torch.autograd.grad(values[-1], box)[0])
    assert all(bool(value == values[0]) and bool(value.isfinite()) for value in values)
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)
    assert not gradients[0][logits.isnan()].any()
    assert gradients[0][~logits.isnan()].any()


def test_padding_of_the_variance_is_not_read_either() -> None:
    logits, stop, observed, start = case(seed=12)
    log_variance = logits.clone().requires_grad_()
    value = zoo.gaussian_nll(logits, log_variance, stop, observed, start)
    (gradient,) = torch.autograd.grad(value, log_variance)
    assert value.isfinite()
    assert not gradient[logits.isnan()].any()


@every_loss
@pytest.mark.parametrize("size", [20.0, 90.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_keep_value_and_gradient_finite(
    loss: Callable[..., Tensor], size: float, dtype: torch.dtype
) -> None:
    logits = torch.tensor([[size, -size, size], [-size, size, -size]], dtype=dtype, requires_grad=True)
    value = (
        loss(logits, torch.tensor([3, 3]), torch.tensor([True, False]))
        if "row_w" not in str(loss)
        else loss.func(logits, torch.tensor([3, 3]), torch.tensor([True, False]), torch.ones(1, 3))
    )
    assert value.isfinite()
    assert value.dtype == torch.float32 or value.dtype == torch.float64
    assert torch.autograd.grad(value, logits)[0].isfinite().all()


def test_a_sure_and_wrong_answer_is_still_pushed_by_the_focal_loss() -> None:
    logit = torch.tensor([[-60.0]], requires_grad=True)
    zoo.focal_loss(logit, torch.tensor([1]), torch.tensor([True])).backward()
    assert float(logit.grad) == pytest.approx(-0.25)


def test_further_axes_may_stand_before_the_visits() -> None:
    logits, stop, observed, start = case(n=8, seed=13)
    for loss in (zoo.focal_loss, zoo.squared_error, zoo.smoothness_penalty):
        flat = loss(logits, stop, observed, start=start, reduction="none")
        box = loss(logits.view(2, 4, 6), stop.view(2, 4), observed.view(2, 4), start=start.view(2, 4), reduction="none")
        assert torch.equal(box.flatten(), flat)


@pytest.mark.parametrize("observed", [True, False])
def test_a_batch_without_a_pair_gives_zero_and_lets_training_go_on(observed: bool) -> None:
    logits = torch.zeros(3, 2, requires_grad=True)
    stop = torch.tensor([2, 2, 2] if observed else [2, 1, 2])  # all events in one row, or none at all
    loss = zoo.ranking_loss(logits, stop, torch.full((3,), observed))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


@pytest.mark.usefixtures("unchecked")
@every_loss
def test_an_impossible_outcome_is_refused_by_name(loss: Callable[..., Tensor]) -> None:
    logits, stop, observed, start = case(seed=14)
    with pytest.raises(
        ValueError, match="stop is 7 for the patient at index 2, past the last visit; expected at most 6"
    ):
        loss(logits, torch.where(torch.arange(9) == 2, 7, stop), observed, start=start)
    with pytest.raises(ValueError, match=r"observed has shape \[8\]; expected \[9\]"):
        loss(logits, stop, observed[:8], start=start)
    with pytest.raises(ValueError, match="hazard_logits come straight from a sigmoid"):
        loss(logits.requires_grad_().sigmoid(), stop, observed, start=start)
    with pytest.raises(ValueError, match=r"hazard logit of the patient at index 0, row \d, is nan"):
        loss(logits.detach(), torch.full((9,), 6), observed)


@pytest.mark.usefixtures("unchecked")
def test_settings_that_mean_nothing_are_refused() -> None:
    logits, stop, observed, start = case(seed=15)
    given = logits, stop, observed
    for weight in (0.0, -1.0, math.inf, NAN):
        with pytest.raises(ValueError, match=r"event_weight is .*; expected a number above 0"):
            zoo.event_weighted_nll(*given, weight, start)
        with pytest.raises(ValueError, match="event_weight is"):
            zoo.unweighted_logits(logits, weight)
    for gamma, alpha in ((-1.0, 0.25), (2.0, 0.0), (2.0, 1.0), (NAN, 0.5)):
        with pytest.raises(ValueError, match=r"gamma is .* and alpha .*; expected 0 or more, and between 0 and 1"):
            zoo.focal_loss(*given, gamma, alpha, start)
        with pytest.raises(ValueError, match="gamma is"):
            zoo.unfocused_logits(logits, gamma, alpha)
    wrong = ROW_WEIGHT.clone()
    wrong[0, int(stop[3]) - 1] = -1
    with pytest.raises(ValueError, match=r"row_weight at index .* is -1; expected a finite number, 0 or more"):
        zoo.row_weighted_nll(*given, wrong, start)
    for shape in ((6,), (9,), (2, 6), (1, 9, 6)):
        with pytest.raises(ValueError, match=r"row_weight has shape \[.*\]; expected \[9, 6\], or 1 for an axis"):
            zoo.row_weighted_nll(*given, torch.ones(shape), start)
    with pytest.raises(ValueError, match=r"log_variance has shape \[9, 1\]; expected \[9, 6\]"):
        zoo.gaussian_nll(logits, torch.zeros(9, 1), stop, observed, start)


def test_best_hazards_refuses_what_has_no_best_answer() -> None:
    with pytest.raises(ValueError, match="hazard at index 1 is 1; expected above 0 and below 1"):
        best_hazards(hazard_nll, torch.tensor([0.5, 1.0]))
    with pytest.raises(ValueError, match="hazard at index 0 is -1; expected a probability"):
        best_hazards(hazard_nll, torch.tensor([-1.0]))
    with pytest.raises(ValueError, match=r"the loss has shape \[\]; expected \[3\], one value for each patient"):
        best_hazards(lambda *given, reduction: hazard_nll(*given), torch.tensor([0.1, 0.2]))
