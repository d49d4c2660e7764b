"""Several causes, several intervals ahead, a fixed horizon, another link: against slow loops and enumeration."""

import math
from functools import partial

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

from visitwise import functional as F

NAN = float("nan")


def cause_logits(n_patients: int = 8, width: int = 5, n_causes: int = 3, *, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n_patients, width, n_causes, generator=draw, dtype=torch.float64) * 2


def followed(n_patients: int = 8, width: int = 5, n_causes: int = 3, *, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Stop, cause (censored ones too) and start."""
    draw = torch.Generator().manual_seed(seed)
    stop = torch.randint(1, width + 1, (n_patients,), generator=draw)
    cause = torch.arange(n_patients) % (n_causes + 1)
    return stop, cause, (torch.rand(n_patients, generator=draw) * stop).long()


def chances(logits: list[float]) -> list[float]:
    """The chance of nothing, then of each cause, by the definition of a softmax."""
    odds = [1.0, *map(math.exp, logits)]
    return [each / sum(odds) for each in odds]


def competing_by_hand(logits: Tensor, stop: int, cause: int, start: int, exposure: float = 1.0) -> float:
    total = 0.0
    for row in range(start, stop):
        nothing, *causes = chances(logits[row].tolist())
        if row < stop - 1:
            total -= math.log(nothing)
        else:
            total -= math.log(causes[cause - 1]) if cause else exposure * math.log(nothing)
    return total


# ------------------------------------------------------------------------------------------------------ several causes


@pytest.mark.parametrize("exposure", [0.0, 0.3, 1.0])
def test_competing_loss_equals_a_loop_over_patients_visits_and_causes(exposure: float) -> None:
    logits, (stop, cause, start) = cause_logits(), followed()
    loss = F.competing_risks_nll(logits, stop, cause, start, exposure, "none")
    each = zip(logits, stop.tolist(), cause.tolist(), start.tolist(), strict=True)
    assert loss.tolist() == pytest.approx([competing_by_hand(*patient, exposure) for patient in each], rel=1e-12)
    assert F.competing_risks_nll(logits, stop, cause, start, exposure).item() == pytest.approx(loss.mean().item())
    assert F.competing_risks_nll(logits, stop, cause, start, exposure, "sum").item() == pytest.approx(loss.sum().item())


def test_competing_loss_is_minus_log_of_a_probability_that_sums_to_one_over_all_outcomes() -> None:
    logits, total = cause_logits(1, 4), 0.0
    outcomes = [(stop, cause) for stop in range(1, 5) for cause in (1, 2, 3)] + [(4, 0)]
    for stop, cause in outcomes:
        total += math.exp(-F.competing_risks_nll(logits, torch.tensor([stop]), torch.tensor([cause])).item())
    assert total == pytest.approx(1.0, abs=1e-12)


def test_one_cause_is_the_survival_loss_itself() -> None:
    logits, (stop, cause, start) = cause_logits(n_causes=1), followed(n_causes=1)
    several = F.competing_risks_nll(logits, stop, cause, start, 0.4, "none")
    assert torch.equal(several, F.hazard_nll(logits[..., 0], stop, cause > 0, start, 0.4, "none"))


def test_gradient_on_the_last_row_is_predicted_minus_seen_for_each_cause() -> None:
    logits = cause_logits(1, 3).requires_grad_()
    F.competing_risks_nll(logits, torch.tensor([3]), torch.tensor([2]), reduction="sum").backward()
    seen = torch.tensor([[[0.0, 0, 0], [0, 0, 0], [0, 1, 0]]], dtype=torch.float64)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, F.cause_hazard(logits.detach()) - seen, rtol=0, atol=1e-12)


def test_rows_outside_the_record_touch_neither_the_competing_loss_nor_its_gradient() -> None:
    clean, (stop, cause, start) = cause_logits(), followed()
    visit = torch.arange(5)
    counted = (visit >= start[:, None]) & (visit < stop[:, None])
    for fill in (NAN, torch.inf, -torch.inf, 1e300):
        logits = clean.where(counted[..., None], fill).requires_grad_()
        loss = F.competing_risks_nll(logits, stop, cause, start)
        loss.backward()
        assert logits.grad is not None
        assert loss.item() == F.competing_risks_nll(clean, stop, cause, start).item()
        assert logits.grad[~counted].eq(0).all()
        assert logits.grad[counted].isfinite().all()


def test_a_sure_and_right_prediction_keeps_its_small_loss() -> None:
    logits = torch.tensor([[[40.0, -40.0]]], dtype=torch.float64)
    loss = F.competing_risks_nll(logits, torch.tensor([1]), torch.tensor([1])).item()
    assert loss == pytest.approx(math.exp(-40), rel=1e-9)


def test_half_precision_is_widened_and_large_logits_stay_finite() -> None:
    logits, (stop, cause, start) = cause_logits() * 30, followed()
    loss = F.competing_risks_nll(logits.bfloat16(), stop, cause, start)
    assert loss.dtype == torch.float32
    assert bool(loss.isfinite())


def test_hazards_of_the_causes_and_nothing_sum_to_one_where_sigmoids_do_not() -> None:
    logits = cause_logits() + 2
    nothing = 1 - F.hazard(F.all_cause_logits(logits))
    torch.testing.assert_close(F.cause_hazard(logits).sum(-1) + nothing, torch.ones(8, 5).double())
    assert bool((torch.sigmoid(logits).sum(-1) > 1).any())


def test_cumulative_incidence_of_the_causes_and_survival_sum_to_one() -> None:
    logits = cause_logits()
    whole = F.cumulative_incidence(logits).sum(-1) + F.survival(F.all_cause_logits(logits))
    torch.testing.assert_close(whole, torch.ones(8, 5).double(), rtol=0, atol=1e-12)


def test_cumulative_incidence_equals_a_walk_along_the_visits() -> None:
    logits = cause_logits(1, 6)
    alive, incidence = 1.0, [0.0] * 3
    for row, found in zip(logits[0].tolist(), F.cumulative_incidence(logits)[0].tolist(), strict=True):
        nothing, *causes = chances(row)
        incidence = [sofar + alive * each for sofar, each in zip(incidence, causes, strict=True)]
        alive *= nothing
        assert found == pytest.approx(incidence, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cause": torch.tensor([3, 0])}, r"cause is 3 for the patient at index 0; expected 0 \(censored\) to 2"),
        ({"cause": torch.tensor([0, -1])}, "cause is -1 for the patient at index 1"),
        ({"cause": torch.tensor([1.0, NAN])}, "cause has dtype torch.float32; expected whole numbers"),
        ({"cause": torch.tensor([True, False])}, "cause has dtype torch.bool; expected whole numbers"),
        ({"cause": torch.tensor([1])}, r"cause has shape \[1\]; expected \[2\]"),
        ({"stop": torch.tensor([4, 1])}, "stop is 4 for the patient at index 0, past the last visit"),
        ({"stop": torch.tensor([1])}, r"stop has shape \[1\]; expected \[2\]"),
        ({"cause_logits": torch.full((2, 3, 2), NAN)}, "hazard logit of the patient at index 0, row 0, is nan"),
        # The sum over the causes would be finite.
        ({"cause_logits": torch.tensor([0.0, -math.inf]).expand(2, 3, 2)}, "index 0, row 0, is -inf"),
        ({"cause_logits": torch.zeros(2, 3, 2, dtype=torch.long)}, "dtype torch.int64"),
        ({"cause_logits": torch.zeros(2, 3, 2, requires_grad=True).softmax(-1)}, "straight from a sigmoid or softmax"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_impossible_causes_are_refused_by_patient(change: dict[str, Tensor], message: str) -> None:
    given = {"cause_logits": torch.zeros(2, 3, 2), "stop": torch.tensor([3, 1]), "cause": torch.tensor([2, 0])}
    with pytest.raises(ValueError, match=message):
        F.competing_risks_nll(**given | change)


# ---------------------------------------------------------------------------------------------- several intervals ahead


def horizon_by_hand(logits: Tensor, stop: int, observed: bool, start: int, exposure: float) -> float:
    """Every landmark at risk, every interval it forecasts, one at a time."""
    total = 0.0
    for landmark in range(start, stop):
        for ahead in range(logits.shape[1]):
            row = landmark + ahead
            if row >= stop:
                break
            hazard = 1 / (1 + math.exp(-logits[landmark, ahead].item()))
            if row < stop - 1:
                total -= math.log(1 - hazard)
            else:
                total -= math.log(hazard) if observed else exposure * math.log(1 - hazard)
    return total


@pytest.mark.parametrize("horizon", [1, 2, 4, 9])
@pytest.mark.parametrize("exposure", [0.0, 0.4, 1.0])
def test_forecast_loss_equals_a_loop_over_landmarks_and_intervals(horizon: int, exposure: float) -> None:
    logits, (stop, cause, start) = cause_logits(n_causes=horizon), followed()
    loss = F.horizon_nll(logits, stop, cause > 0, start, exposure, "none")
    each = zip(logits, stop.tolist(), (cause > 0).tolist(), start.tolist(), strict=True)
    assert loss.tolist() == pytest.approx([horizon_by_hand(*patient, exposure) for patient in each], rel=1e-12)


def test_exposure_of_each_patient_is_that_patients_own() -> None:
    logits, (stop, cause, start) = cause_logits(), followed()
    exposure = torch.linspace(0, 1, 8, dtype=torch.float64)
    each = zip(logits, stop.tolist(), (cause > 0).tolist(), start.tolist(), exposure.tolist(), strict=True)
    loss = F.horizon_nll(logits, stop, cause > 0, start, exposure, "none")
    assert loss.tolist() == pytest.approx([horizon_by_hand(*patient) for patient in each], rel=1e-12)


def test_forecast_of_one_interval_is_the_survival_loss() -> None:
    logits, (stop, cause, start) = cause_logits(n_causes=1), followed()
    forecast = F.horizon_nll(logits, stop, cause > 0, start, 0.3, "none")
    torch.testing.assert_close(forecast, F.hazard_nll(logits[..., 0], stop, cause > 0, start, 0.3, "none"))


def test_forecasts_that_nothing_is_known_about_touch_neither_the_loss_nor_its_gradient() -> None:
    clean, (stop, cause, start) = cause_logits(), followed()
    visit, ahead = torch.arange(5)[:, None], torch.arange(3)
    known = (visit >= start[:, None, None]) & (visit + ahead < stop[:, None, None])
    logits = clean.where(known, NAN).requires_grad_()
    loss = F.horizon_nll(logits, stop, cause > 0, start)
    loss.backward()
    assert logits.grad is not None
    assert loss.item() == F.horizon_nll(clean, stop, cause > 0, start).item()
    assert logits.grad[~known].eq(0).all()
    assert logits.grad[known].ne(0).all()


def test_a_forecast_that_counts_and_is_not_a_number_is_refused_by_patient_and_visit() -> None:
    logits = torch.zeros(2, 3, 2)
    logits[1, 2, 0] = NAN
    with pytest.raises(ValueError, match=r"patient at index \[1, 2\], row 0, is nan"):
        F.horizon_nll(logits, torch.tensor([1, 3]), torch.tensor([True, False]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"censored_exposure": torch.tensor([0.5])}, r"censored_exposure has shape \[1\]; expected a number or \[2\]"),
        ({"censored_exposure": torch.zeros(3)}, r"censored_exposure has shape \[3\]; expected a number or \[2\]"),
        ({"censored_exposure": torch.tensor([0.5, 2.0])}, "censored_exposure is 2 for the patient at index 1;"),
        ({"hazard_logits": torch.zeros(2, 3, 0)}, r"shape \[2, 3, 0\]; expected at least one interval ahead"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_forecast_with_shares_or_intervals_that_cannot_be_is_refused(change: dict[str, Tensor], message: str) -> None:
    given = {"stop": torch.tensor([3, 1]), "observed": torch.tensor([True, False])}
    with pytest.raises(ValueError, match=message):
        F.horizon_nll(**{"hazard_logits": torch.zeros(2, 3, 2)} | given | change)


# ----------------------------------------------------------------------------------------------------- a fixed horizon


def test_answers_within_the_horizon_are_yes_no_or_unknown() -> None:
    stop = torch.tensor([2, 3, 3, 4, 4, 2])
    observed = torch.tensor([True, True, False, True, False, False])
    logits = torch.tensor([0.5, -1.0, 2.0, 1.5, -0.3, NAN], dtype=torch.float64)
    loss = F.fixed_horizon_bce(logits, stop, observed, horizon=3, reduction="none")
    labels = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:5], labels, reduction="none")
    torch.testing.assert_close(loss[:5], expected, rtol=0, atol=1e-12)
    assert loss[5] == 0
    known = F.fixed_horizon_bce(logits, stop, observed, horizon=3)
    torch.testing.assert_close(known, expected.mean())


def test_horizon_is_counted_from_the_start_and_weights_count() -> None:
    stop, observed, start = torch.tensor([5, 5]), torch.tensor([True, False]), torch.tensor([3, 4])
    logits = torch.tensor([0.7, -0.7], dtype=torch.float64)
    loss = F.fixed_horizon_bce(logits, stop, observed, 1, start, torch.tensor([3.0, 2.0]).double(), "none")
    assert loss.tolist() == pytest.approx([3 * math.log1p(math.exp(0.7)), 2 * math.log1p(math.exp(-0.7))])


def answer_by_hand(stop: int, observed: bool, start: int, horizon: int) -> float | None:
    """Whether the event was in one of the rows from the start, row by row; None if the patient was lost before."""
    for row in range(start, start + horizon):
        if row == stop:
            return None
        if observed and row == stop - 1:
            return 1.0
    return 0.0


@pytest.mark.parametrize("horizon", [1, 2, 3, 6])
def test_answers_after_any_start_are_those_of_a_walk_along_the_rows(horizon: int) -> None:
    followed = [(stop, seen, start) for stop in range(1, 7) for seen in (True, False) for start in range(stop)]
    stop, observed, start = (torch.tensor(each) for each in zip(*followed, strict=True))
    draw = torch.Generator().manual_seed(horizon)
    logits = torch.randn(len(stop), generator=draw, dtype=torch.float64)
    weight = torch.rand(len(stop), generator=draw, dtype=torch.float64) * 3
    expected, known = [], 0
    for logit, share, patient in zip(logits.tolist(), weight.tolist(), followed, strict=True):
        answer = answer_by_hand(*patient, horizon)
        known += answer is not None
        expected.append(0.0 if answer is None else share * math.log1p(math.exp(logit if answer == 0 else -logit)))
    loss = partial(F.fixed_horizon_bce, logits, stop, observed, horizon, start, weight)
    assert loss(reduction="none").tolist() == pytest.approx(expected, rel=1e-12)
    assert loss(reduction="sum").item() == pytest.approx(sum(expected))
    assert loss().item() == pytest.approx(sum(expected) / known)  # the known ones, whatever they weigh


def test_leaving_the_censored_out_overstates_risk_and_weights_set_it_right() -> None:
    """Hazard 0.1 in each of three rows; half of those still there are lost after each row."""
    hazard, kept, rows = 0.1, 0.5, []
    for row in (1, 2, 3):  # (stop, observed, share of the patients, probability of being followed so long)
        there = (1 - hazard) ** (row - 1) * kept ** (row - 1)
        rows += [(row, True, there * hazard, kept ** (row - 1))]
        rows += [(row, False, there * (1 - hazard) * ((1 - kept) if row < 3 else 1.0), kept ** (row - 1))]
    stop, observed = torch.tensor([row[0] for row in rows]), torch.tensor([row[1] for row in rows])
    share = torch.tensor([row[2] for row in rows], dtype=torch.float64)
    followed_so_long = torch.tensor([row[3] for row in rows], dtype=torch.float64)
    assert share.sum().item() == pytest.approx(1.0)

    def best(weight: Tensor) -> float:
        def slope(at: float) -> float:
            logit = torch.tensor(at, dtype=torch.float64, requires_grad=True)
            F.fixed_horizon_bce(logit.expand(6), stop, observed, 3, weight=weight, reduction="sum").backward()
            assert logit.grad is not None
            return logit.grad.item()

        return 1 / (1 + math.exp(-brentq(slope, -20, 20, xtol=1e-12)))

    truth = 1 - (1 - hazard) ** 3
    assert best(share) > truth + 0.1
    assert best(share / followed_so_long) == pytest.approx(truth, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizon": 0}, "horizon is 0; expected at least 1"),
        ({"horizon": 9}, "nobody is followed for 9 rows"),
        ({"weight": torch.tensor([1.0, -1.0])}, "weight is -1 for the patient at index 1"),
        ({"weight": torch.tensor([math.inf, 1.0])}, "weight is inf for the patient at index 0; expected a finite"),
        ({"weight": torch.tensor([1.0])}, r"weight has shape \[1\]; expected \[2\]"),
        ({"event_logits": torch.tensor([0.0, NAN])}, "event logit is nan for the patient at index 1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_horizon_that_cannot_be_is_refused(change: dict[str, object], message: str) -> None:
    given = {"stop": torch.tensor([3, 3]), "observed": torch.tensor([False, False]), "horizon": 3}
    with pytest.raises(ValueError, match=message):
        F.fixed_horizon_bce(**{"event_logits": torch.zeros(2)} | given | change)


# -------------------------------------------------------------------------------------------------------- another link


def test_cloglog_scores_give_the_hazard_of_grouped_proportional_hazards() -> None:
    for score in (-800.0, -60.0, -40.001, -39.999, -20.0, -3.0, -1.0, 0.0, 1.0, 2.0):
        logit = F.logits_from_cloglog(torch.tensor([score], dtype=torch.float64))
        expected = -math.expm1(-math.exp(score))
        if expected > 0:
            assert F.hazard(logit).item() == pytest.approx(expected, rel=1e-12)
        assert F.cumulative_hazard(logit).item() == pytest.approx(math.exp(score), rel=1e-12)


@pytest.mark.parametrize("score", [-800.0, -90.0, -40.0, -5.0, 0.0, 2.0, 5.0])
def test_cloglog_has_the_gradient_of_its_formula(score: float) -> None:
    at = torch.tensor([score], dtype=torch.float64, requires_grad=True)
    F.logits_from_cloglog(at).sum().backward()
    rate = math.exp(score)
    assert at.grad is not None
    assert at.grad.item() == pytest.approx(rate / -math.expm1(-rate) if rate > 1e-30 else 1.0, rel=1e-9)
