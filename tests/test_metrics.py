"""Scores against slow loops, against other libraries, and against simulated truth."""

import math

import numpy as np
import pytest
import torch
from lifelines import KaplanMeierFitter
from lifelines.utils import concordance_index
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score
from sksurv.metrics import brier_score, concordance_index_censored
from sksurv.util import Surv
from torch import Tensor

from visitwise import metrics
from visitwise.cohort import Outcome
from visitwise.functional import hazard_nll, person_period

SEEDS = range(4)


def random_outcome(n: int, seed: int, width: int = 6, *, late: bool = False) -> Outcome:
    """Outcomes with many ties: events, censorings at each row, and late entries if asked for."""
    draw = torch.Generator().manual_seed(seed)
    stop = torch.randint(1, width + 1, (n,), generator=draw)
    start = (torch.rand(n, generator=draw) * stop).long() if late else torch.zeros_like(stop)
    return Outcome.of(stop, torch.rand(n, generator=draw) < 0.6, start=start)


def random_risk(n: int, seed: int, different: int = 7) -> Tensor:
    return torch.randint(0, different, (n,), generator=torch.Generator().manual_seed(100 + seed)) / different


def padded_hazard(outcome: Outcome, seed: int) -> Tensor:
    """Hazards with ties on the rows at risk, NaN on all others."""
    width = int(outcome.stop.max())
    draw = torch.Generator().manual_seed(200 + seed)
    hazard = torch.randint(1, 9, (len(outcome), width), generator=draw) / 10
    visit = torch.arange(width)
    return torch.where((visit >= outcome.start[:, None]) & (visit < outcome.stop[:, None]), hazard, torch.nan)


class Simulated:
    """Patients with lasting differences, their event row if nobody were lost (from 1), and what is seen of it."""

    def __init__(self, n: int, seed: int, dropout: float, width: int = 12) -> None:
        draw = torch.Generator().manual_seed(seed)
        frailty = torch.randn(n, 1, generator=draw, dtype=torch.float64)
        self.hazard = torch.sigmoid(-2.2 + 0.8 * frailty + 0.05 * torch.arange(width))
        self.survival = (1 - self.hazard).cumprod(1)
        events = torch.rand(n, width, generator=draw) < self.hazard
        losses = torch.rand(n, width, generator=draw) < dropout
        self.event_row = torch.where(events.any(1), events.int().argmax(1) + 1, width + 1)
        last = torch.where(losses.any(1), losses.int().argmax(1) + 1, width)
        self.outcome = Outcome.of(torch.minimum(self.event_row, last), self.event_row <= last)

    def true_brier(self, horizon: int) -> float:
        predicted = self.survival[:, horizon - 1]
        return float(((self.event_row > horizon).double() - predicted).square().mean())


# ----------------------------------------------------------------------------------------------------- concordance


def concordance_loop(risk: Tensor, outcome: Outcome, landmark: int, horizon: int) -> tuple[float, int]:
    """Every pair, in plain words: who is known to have had the event first, and did that one have the higher risk?"""
    people = []
    for i in range(len(outcome)):
        start, stop, observed = int(outcome.start[i]), int(outcome.stop[i]), bool(outcome.observed[i])
        if start <= landmark < stop:
            event_row = stop - 1 - landmark if observed and stop - 1 - landmark < horizon else None
            survived = min(stop - landmark, horizon) - (event_row is not None)
            people.append((float(risk[i]), event_row, survived))
    right, pairs = 0.0, 0
    for first, event_row, _ in people:
        for other, _, survived in people:
            if event_row is not None and survived > event_row:
                pairs += 1
                right += 1.0 if first > other else 0.5 if first == other else 0.0
    return right / pairs, pairs


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("landmark", "horizon"), [(0, None), (0, 3), (2, None), (1, 2)])
def test_concordance_is_the_share_of_known_pairs_in_the_right_order(
    seed: int, late: bool, landmark: int, horizon: int | None
) -> None:
    outcome, risk = random_outcome(60, seed, late=late), random_risk(60, seed)
    score = metrics.concordance(risk, outcome, landmark, horizon)
    expected, pairs = concordance_loop(risk, outcome, landmark, horizon or 99)
    assert float(score) == pytest.approx(expected, abs=1e-12)
    assert score.n_pairs == pairs
    assert score.times[1] < (horizon or 99)


@pytest.mark.parametrize("seed", SEEDS)
def test_concordance_agrees_with_lifelines_and_scikit_survival_on_tied_times(seed: int) -> None:
    outcome, risk = random_outcome(300, seed), random_risk(300, seed)
    score = metrics.concordance(risk, outcome)
    time, event = outcome.stop.numpy(), outcome.observed.numpy()
    assert float(score) == pytest.approx(concordance_index(time, -risk.numpy(), event), abs=1e-12)
    theirs, concordant, discordant, tied_risk, _ = concordance_index_censored(event, time, risk.numpy())
    assert float(score) == pytest.approx(theirs, abs=1e-12)
    assert score.n_pairs == concordant + discordant + tied_risk


def test_concordance_of_a_constant_is_one_half() -> None:
    assert float(metrics.concordance(torch.full((50,), 0.1), random_outcome(50, 0))) == 0.5


def test_risks_apart_by_rounding_alone_are_tied() -> None:
    outcome = random_outcome(50, 0)
    mean_of_tenths = torch.tensor([sum([0.1] * int(n)) / int(n) for n in outcome.stop], dtype=torch.float64)
    assert len(mean_of_tenths.unique()) > 1
    assert concordance_index(outcome.stop, -mean_of_tenths, outcome.observed) != 0.5
    assert float(metrics.concordance(mean_of_tenths, outcome)) == 0.5


def test_risks_apart_by_more_than_rounding_are_not_tied() -> None:
    outcome = Outcome.of(torch.tensor([1, 2]), torch.tensor([True, True]))
    assert float(metrics.concordance(torch.tensor([0.100001, 0.1]), outcome)) == 1.0
    assert float(metrics.concordance(torch.tensor([0.1, 0.100001]), outcome)) == 0.0


def test_a_patient_censored_at_the_end_of_the_row_outlives_the_event_in_it() -> None:
    outcome = Outcome.of(torch.tensor([2, 2]), torch.tensor([True, False]))
    assert metrics.concordance(torch.tensor([0.9, 0.1]), outcome).n_pairs == 1


def test_each_patient_may_have_a_landmark_of_their_own() -> None:
    outcome, risk = random_outcome(80, 3, late=True), random_risk(80, 3)
    own = metrics.concordance(risk, outcome, landmark=outcome.start)
    rebased = metrics.concordance(risk, Outcome.of(outcome.stop - outcome.start, outcome.observed))
    assert (float(own), own.n_pairs, own.n) == (float(rebased), rebased.n_pairs, 80)


def test_summed_over_their_own_record_true_hazards_rank_patients_worse_than_a_coin(unchecked: None) -> None:
    world = Simulated(2000, seed=1, dropout=0.05)
    at_risk = torch.arange(12) < world.outcome.stop[:, None]
    summed = (world.hazard * at_risk).sum(1)
    assert float(metrics.concordance(world.hazard[:, 0], world.outcome)) > 0.6
    assert float(metrics.concordance(summed, world.outcome)) < 0.4
    with pytest.raises(ValueError, match=r"shape \[2000, 12\].*measures how long it is"):
        metrics.concordance(world.hazard, world.outcome)


# --------------------------------------------------------------------------------------------- incident/dynamic AUC


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("late", [False, True])
def test_the_auc_of_each_row_is_scikit_learns(seed: int, late: bool) -> None:
    outcome = random_outcome(80, seed, late=late)
    hazard = padded_hazard(outcome, seed)
    score = metrics.incident_dynamic_auc(hazard, outcome)
    assert score.per_visit is not None
    for row, value in enumerate(score.per_visit.tolist()):
        at_risk = (outcome.start <= row) & (row < outcome.stop)
        event = (outcome.observed & (outcome.stop - 1 == row))[at_risk]
        if 0 < event.sum() < len(event):
            assert value == pytest.approx(roc_auc_score(event, hazard[at_risk, row]), abs=1e-12)
        else:
            assert math.isnan(value)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_rows_are_weighted_by_event_probability_times_survival(seed: int) -> None:
    outcome = random_outcome(80, seed, late=True)
    score = metrics.incident_dynamic_auc(padded_hazard(outcome, seed), outcome)
    assert score.per_visit is not None
    survival, total, weight_sum = 1.0, 0.0, 0.0
    for row, auc in enumerate(score.per_visit.tolist()):
        at_risk = int(((outcome.start <= row) & (row < outcome.stop)).sum())
        events = int((outcome.observed & (outcome.stop - 1 == row)).sum())
        before, survival = survival, survival * (1 - events / at_risk)
        weight = before * events / at_risk * survival
        if 0 < events < at_risk:
            total, weight_sum = total + weight * auc, weight_sum + weight
    assert float(score) == pytest.approx(total / weight_sum, abs=1e-12)


def test_flat_rows_and_padded_rows_give_the_same_auc_and_calibration() -> None:
    outcome = random_outcome(60, 1, late=True)
    hazard = padded_hazard(outcome, 1)
    rows = person_period(outcome.stop, outcome.observed, outcome.start)
    flat = hazard[rows.patient, rows.visit]
    assert float(metrics.incident_dynamic_auc(flat, outcome)) == float(metrics.incident_dynamic_auc(hazard, outcome))
    assert metrics.calibration(flat, outcome).table.equals(metrics.calibration(hazard, outcome).table)


def test_without_censoring_the_auc_of_a_lasting_risk_is_its_concordance() -> None:
    outcome = Outcome.of(random_outcome(200, 5).stop, torch.ones(200, dtype=torch.bool))
    risk = random_risk(200, 5)
    auc = metrics.incident_dynamic_auc(risk[:, None].repeat(1, 6), outcome)
    concordance = metrics.concordance(risk, outcome)
    assert float(auc) == pytest.approx(float(concordance), abs=1e-12)
    assert auc.n_pairs == concordance.n_pairs


def test_dropout_moves_the_auc_weighted_by_survival_less_than_the_one_weighted_by_events() -> None:
    """The hazard ranks well in the first half of the rows and is noise in the second."""
    moved = {}
    for weights in ("survival", "events"):
        scores = []
        for dropout in (0.0, 0.25):
            world = Simulated(40_000, seed=2, dropout=dropout)
            noise = torch.rand(world.hazard.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
            hazard = torch.where(torch.arange(12) < 6, world.hazard, noise)
            scores.append(float(metrics.incident_dynamic_auc(hazard, world.outcome, weights=weights)))
        moved[weights] = abs(scores[1] - scores[0])
    assert moved["survival"] < 0.01
    assert moved["events"] > 0.02


def test_rows_without_both_kinds_of_patients_are_refused() -> None:
    everyone = Outcome.of(torch.tensor([1, 1]), torch.tensor([True, True]))
    with pytest.raises(ValueError, match="no row has both an event and a patient who survived it"):
        metrics.incident_dynamic_auc(torch.tensor([[0.1], [0.2]]), everyone)


# ---------------------------------------------------------------------------------------------------- Kaplan-Meier


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("late", [False, True])
def test_kaplan_meier_agrees_with_lifelines_also_with_late_entry(seed: int, late: bool) -> None:
    outcome = random_outcome(120, seed, late=late)
    theirs = KaplanMeierFitter().fit(outcome.stop.numpy(), outcome.observed.numpy(), entry=outcome.start.numpy())
    table = metrics.kaplan_meier(outcome)
    rows = np.arange(1, len(table.survival) + 1)
    np.testing.assert_allclose(table.survival, theirs.survival_function_at_times(rows), atol=1e-12)
    counts = theirs.event_table.loc[rows]  # its at-risk column also holds those who enter at the end of the row
    np.testing.assert_array_equal(table.at_risk, counts["at_risk"] - counts["entrance"])
    assert int(table.at_risk.sum()) == outcome.n_rows


@pytest.mark.parametrize("seed", SEEDS)
def test_censoring_survival_agrees_with_lifelines_once_events_are_put_before_censorings(seed: int) -> None:
    outcome = random_outcome(120, seed)
    early = outcome.stop.numpy() - 0.25 * outcome.observed.numpy()
    theirs = KaplanMeierFitter().fit(early, ~outcome.observed.numpy())
    ours = metrics.censoring_survival(outcome)
    rows = np.arange(1, len(ours.after) + 1)
    np.testing.assert_allclose(ours.after, theirs.survival_function_at_times(rows), atol=1e-12)
    np.testing.assert_allclose(ours.before, theirs.survival_function_at_times(rows - 0.1), atol=1e-12)


def test_follow_up_lasts_through_the_first_row_for_sure() -> None:
    assert metrics.censoring_survival(random_outcome(50, 0)).before[0] == 1


def test_rows_before_anyone_enters_have_no_hazard_and_do_not_spoil_survival() -> None:
    table = metrics.kaplan_meier(Outcome.of(torch.tensor([3, 3]), torch.tensor([1, 0]), start=torch.tensor([1, 2])))
    assert table.hazard.isnan().tolist() == [True, False, False]
    assert table.survival.tolist() == [1.0, 1.0, 0.5]


def test_nothing_is_claimed_about_survival_past_a_row_that_nobody_was_at_risk_in() -> None:
    outcome = Outcome.of(torch.tensor([1, 3]), torch.tensor([False, False]), start=torch.tensor([0, 2]))
    assert metrics.kaplan_meier(outcome).survival.isnan().tolist() == [False, True, True]


# ----------------------------------------------------------------------------------------------------------- Brier


def brier_loop(survival: Tensor, outcome: Outcome, horizon: int) -> float:
    """The definition, patient by patient, with the chance of being followed that far counted anew for each."""

    def followed_through(row: int) -> float:  # G(row-), rows from 0
        chance = 1.0
        for earlier in range(row):
            survivors = [
                i
                for i in range(len(outcome))
                if outcome.stop[i] > earlier + 1 or (outcome.stop[i] == earlier + 1 and not outcome.observed[i])
            ]
            lost = [i for i in survivors if outcome.stop[i] == earlier + 1]
            chance *= 1 - len(lost) / len(survivors)
        return chance

    total = 0.0
    for i in range(len(outcome)):
        stop, predicted = int(outcome.stop[i]), float(survival[i, horizon - 1])
        if outcome.observed[i] and stop <= horizon:
            total += predicted**2 / followed_through(stop - 1)
        elif stop >= horizon:
            total += (1 - predicted) ** 2 / followed_through(horizon - 1)
    return total / len(outcome)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("horizon", [1, 3, 6])
def test_brier_is_its_definition(seed: int, horizon: int) -> None:
    outcome = random_outcome(40, seed)
    survival = torch.rand(40, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert float(metrics.brier(survival, outcome, horizon)) == pytest.approx(brier_loop(survival, outcome, horizon))


@pytest.mark.parametrize("horizon", [3, 5, 8])
def test_brier_finds_what_it_would_be_if_nobody_were_lost(horizon: int) -> None:
    world = Simulated(200_000, seed=0, dropout=0.1)
    score = float(metrics.brier(world.survival, world.outcome, horizon))
    assert score == pytest.approx(world.true_brier(horizon), rel=0.01)


@pytest.mark.parametrize(("horizon", "too_high"), [(3, 0.05), (5, 0.04), (8, 0.03)])
def test_weighting_events_by_g_of_t_instead_is_several_per_cent_off_the_truth(horizon: int, too_high: float) -> None:
    world = Simulated(200_000, seed=0, dropout=0.1)
    follow_up, stop, predicted = metrics.censoring_survival(world.outcome), world.outcome.stop, world.survival
    failed, survived = world.outcome.observed & (stop <= horizon), stop > horizon
    events = (predicted[:, horizon - 1] ** 2 / follow_up.after[stop.clamp(max=horizon) - 1])[failed].sum()
    others = ((1 - predicted[:, horizon - 1]) ** 2 / follow_up.after[horizon - 1])[survived].sum()
    by_g_of_t = float(events + others) / len(stop)
    assert by_g_of_t > (1 + too_high) * world.true_brier(horizon)
    seen = Surv.from_arrays(world.outcome.observed.numpy(), stop.numpy())
    _, theirs = brier_score(seen, seen, predicted[:, [horizon - 1]].numpy(), [horizon])
    assert theirs[0] == pytest.approx(by_g_of_t, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_brier_agrees_with_scikit_survival_where_no_two_patients_leave_in_one_row(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    outcome = Outcome.of(torch.randperm(100, generator=draw) + 1, torch.rand(100, generator=draw) < 0.5)
    survival = torch.rand(100, 100, generator=draw, dtype=torch.float64).sort(1, descending=True).values
    horizon = int(outcome.stop[outcome.observed].median())  # a row with an event, so with no censoring at its end
    seen = Surv.from_arrays(outcome.observed.numpy(), outcome.stop.numpy())
    _, theirs = brier_score(seen, seen, survival[:, [horizon - 1]].numpy(), [horizon])
    assert float(metrics.brier(survival, outcome, horizon)) == pytest.approx(theirs[0], abs=1e-12)


def test_without_censoring_brier_is_the_mean_squared_error() -> None:
    world = Simulated(500, seed=4, dropout=0.0)
    assert float(metrics.brier(world.survival, world.outcome, 4)) == pytest.approx(world.true_brier(4), abs=1e-12)


def test_a_patient_censored_after_exactly_the_horizon_counts_as_a_survivor() -> None:
    outcome = Outcome.of(torch.tensor([2, 2, 3]), torch.tensor([False, False, True]))
    survival = torch.tensor([[0.9, 0.5], [0.9, 0.5], [0.9, 1.0]], dtype=torch.float64)
    assert float(metrics.brier(survival, outcome, 2)) == pytest.approx((0.25 + 0.25 + 0) / 3)


def test_the_integrated_brier_score_is_the_mean_over_horizons() -> None:
    world = Simulated(500, seed=5, dropout=0.1)
    score = metrics.integrated_brier(world.survival, world.outcome, [2, 3, 7])
    each = [float(metrics.brier(world.survival, world.outcome, horizon)) for horizon in (2, 3, 7)]
    assert float(score) == pytest.approx(sum(each) / 3, abs=1e-12)
    assert score.per_visit is not None
    assert score.per_visit.tolist() == pytest.approx(each)


def test_brier_from_a_landmark_is_brier_of_those_still_there_with_time_begun_anew() -> None:
    outcome = random_outcome(80, 6, late=True)
    survival = torch.rand(80, 6, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    there = (outcome.start <= 2) & (outcome.stop > 2)
    rebased = Outcome.of(outcome.stop[there] - 2, outcome.observed[there])
    score = metrics.brier(survival, outcome, 2, landmark=2)
    assert score.n == int(there.sum()) < 80
    assert float(score) == float(metrics.brier(survival[there], rebased, 2))


def test_a_survival_curve_that_ends_with_the_record_is_refused() -> None:
    outcome = Outcome.of(torch.tensor([1, 3]), torch.tensor([True, False]))
    survival = torch.tensor([[0.9, torch.nan, torch.nan], [0.9, 0.8, 0.7]])
    with pytest.raises(ValueError, match=r"patient at index 0 has the predicted survival nan for 2 rows.*landmark"):
        metrics.brier(survival, outcome, 2)


def test_a_missing_prediction_of_a_patient_lost_before_the_horizon_is_not_read() -> None:
    outcome = Outcome.of(torch.tensor([1, 3]), torch.tensor([False, False]))
    survival = torch.tensor([[0.9, torch.nan, torch.nan], [0.9, 0.8, 0.7]])
    assert float(metrics.brier(survival, outcome, 2)) == pytest.approx(0.04)  # the other speaks for both: 0.2^2 * 2 / 2


# ------------------------------------------------------------------------------------------------------ calibration


def test_true_hazards_are_calibrated_and_doubled_ones_are_not() -> None:
    world = Simulated(20_000, seed=7, dropout=0.1)
    result = metrics.calibration(world.hazard, world.outcome)
    inside = (result.table["lower"] <= result.table["predicted"]) & (result.table["predicted"] <= result.table["upper"])
    assert len(result.table) == 10
    assert inside.sum() >= 8
    assert result.ratio == pytest.approx(1, abs=0.03)
    assert result.table["rows"].sum() == world.outcome.n_rows
    assert result.table["events"].sum() == int(world.outcome.observed.sum())
    doubled = metrics.calibration((2 * world.hazard).clamp(max=1), world.outcome)
    assert doubled.ratio > 1.9
    assert float(doubled.error) > 5 * float(result.error)


def test_equal_hazards_stay_in_one_group() -> None:
    outcome = random_outcome(200, 8)
    hazard = torch.where(torch.arange(200)[:, None] < 150, 0.1, 0.3).repeat(1, 6)
    table = metrics.calibration(hazard, outcome).table
    assert table["predicted"].round(6).tolist() == [0.1, 0.3]


def test_the_interval_is_wilsons() -> None:
    table = metrics.calibration(padded_hazard(outcome := random_outcome(300, 9), 9), outcome, bins=4).table
    for group in table.itertuples():
        theirs = binomtest(int(group.events), int(group.rows)).proportion_ci(method="wilson")
        assert (group.lower, group.upper) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


# ------------------------------------------------------------------------------------------------------- likelihood


def test_nll_per_row_is_the_summed_loss_over_the_rows_at_risk() -> None:
    outcome = random_outcome(30, 10, late=True)
    logits = torch.logit(padded_hazard(outcome, 10))
    total = hazard_nll(logits, outcome.stop, outcome.observed, outcome.start, reduction="sum")
    assert metrics.nll_per_row(logits, outcome) == pytest.approx(float(total) / outcome.n_rows)


def test_share_explained_runs_from_the_baseline_to_the_oracle() -> None:
    assert metrics.share_explained(0.11, baseline=0.11, oracle=0.08) == 0
    assert metrics.share_explained(0.08, baseline=0.11, oracle=0.08) == 1
    assert metrics.share_explained(0.12, baseline=0.11, oracle=0.08) < 0


@pytest.mark.parametrize(("baseline", "oracle"), [(0.08, 0.08), (0.07, 0.08), (math.nan, 0.08), (0.1, math.inf)])
def test_share_explained_needs_a_baseline_above_the_oracle(baseline: float, oracle: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        metrics.share_explained(0.1, baseline, oracle)


# ------------------------------------------------------------------------------------------------ edges, bad input


def test_a_score_says_what_it_is_a_score_of() -> None:
    score = metrics.concordance(random_risk(60, 0), random_outcome(60, 0))
    assert score.value == float(score)
    for said in (f"{score.value:.4f}", "rows 0 to 5", "60", "equal risks count half", "two events in one row"):
        assert said in str(score)
    assert "G(k-)" in metrics.brier(torch.full((60, 6), 0.5), random_outcome(60, 0), 3).ties


def test_all_censored_patients_cannot_be_ranked_but_can_be_scored() -> None:
    outcome = Outcome.of(torch.tensor([1, 2, 3]), torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="none of 3 patients at the landmark outlives another's event"):
        metrics.concordance(torch.tensor([0.1, 0.2, 0.3]), outcome)
    assert float(metrics.brier(torch.full((3, 3), 0.8), outcome, 3)) == pytest.approx(0.04)
    assert metrics.calibration(torch.full((3, 3), 0.2), outcome).ratio == math.inf
    assert metrics.kaplan_meier(outcome).survival.tolist() == [1, 1, 1]


def test_one_patient_with_one_visit_has_a_brier_score() -> None:
    outcome = Outcome.of(torch.tensor([1]), torch.tensor([True]))
    assert float(metrics.brier(torch.tensor([[0.7]]), outcome, 1)) == pytest.approx(0.49)
    assert metrics.kaplan_meier(outcome).survival.tolist() == [0]


@pytest.mark.parametrize("score", [metrics.incident_dynamic_auc, metrics.calibration])
@pytest.mark.parametrize("wrong", [-0.1, 1.5, math.nan])
def test_a_hazard_that_is_no_probability_is_refused_by_patient(score: object, wrong: float) -> None:
    outcome = random_outcome(20, 0)
    hazard = padded_hazard(outcome, 0)
    hazard[13, 0] = wrong
    with pytest.raises(ValueError, match=rf"patient at index 13 has the hazard {wrong:.1f}.*from 0 to 1"):
        score(hazard, outcome)  # type: ignore[operator]


def test_sizes_that_disagree_are_refused(unchecked: None) -> None:
    outcome = random_outcome(20, 0)
    with pytest.raises(ValueError, match="risk has 19 numbers for 20 patients"):
        metrics.concordance(torch.zeros(19), outcome)
    with pytest.raises(ValueError, match=r"shape \[20, 1\]; expected one number for each of 20 patients"):
        metrics.concordance(torch.zeros(20, 1), outcome)
    with pytest.raises(ValueError, match=r"hazard has 3 numbers for \d+ rows at risk.*visits.pad"):
        metrics.calibration(torch.zeros(3), outcome)
    with pytest.raises(ValueError, match=r"hazard has shape \[20, 2\]; expected 20 patients and at least 6 visits"):
        metrics.calibration(torch.zeros(20, 2), outcome)
    with pytest.raises(ValueError, match=r"survival has shape \[19, 6\]; expected \[20, visit\]"):
        metrics.brier(torch.zeros(19, 6), outcome, 2)
    with pytest.raises(ValueError, match=r"landmark has shape \[3\]"):
        metrics.concordance(torch.zeros(20), outcome, landmark=torch.zeros(3, dtype=torch.long))


def test_horizons_and_landmarks_that_cannot_be_scored_are_refused() -> None:
    outcome, survival = random_outcome(20, 0), torch.full((20, 4), 0.5)
    for horizon, message in ((0, "horizon is 0; expected 1 to 6"), (7, "expected 1 to 6"), (5, "for 4 rows only")):
        with pytest.raises(ValueError, match=message):
            metrics.brier(survival, outcome, horizon)
    with pytest.raises(ValueError, match="no horizon is given"):
        metrics.integrated_brier(survival, outcome, [])
    with pytest.raises(ValueError, match="none of 20 patients is at risk at the landmark"):
        metrics.concordance(torch.zeros(20), outcome, landmark=6)
    with pytest.raises(ValueError, match="horizon is 0; expected at least one row"):
        metrics.concordance(torch.zeros(20), outcome, horizon=0)
    with pytest.raises(ValueError, match="bins is 0"):
        metrics.calibration(torch.zeros(20, 6), outcome, bins=0)


def test_a_missing_risk_is_refused_only_where_it_is_read() -> None:
    outcome = Outcome.of(torch.tensor([1, 3, 4]), torch.tensor([True, True, True]))
    risk = torch.tensor([math.nan, 0.2, 0.1])
    assert float(metrics.concordance(risk, outcome, landmark=1)) == 1.0
    with pytest.raises(ValueError, match="patient at index 0 has the risk nan"):
        metrics.concordance(risk, outcome)


def test_scoring_nobody_is_refused() -> None:
    nobody = Outcome.of(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.bool))
    with pytest.raises(ValueError, match="no patient to score"):
        metrics.kaplan_meier(nobody)
    with pytest.raises(ValueError, match="no patient to score"):
        metrics.concordance(torch.zeros(0), nobody)


def test_calibration_expects_less_of_a_row_that_was_followed_only_in_part() -> None:
    """Half of everybody's rows are cut at a quarter; with true hazards the expected events are those seen."""
    n, hazard = 40_000, 0.3
    random = np.random.default_rng(0)
    share = np.where(random.random(n) < 0.5, 0.25, 1.0)
    seen = random.random(n) < 1 - (1 - hazard) ** share
    outcome = Outcome.of(
        torch.ones(n, dtype=torch.long),
        torch.from_numpy(seen),
        censored_exposure=torch.from_numpy(np.where(seen, 1.0, share)).float(),
    )
    # The event's row is charged in full, as the likelihood does, so the expectation is of those who were followed on.
    expected = np.where(seen, hazard, 1 - (1 - hazard) ** share).sum() / seen.sum()
    result = metrics.calibration(torch.full((n, 1), hazard), outcome)
    assert result.ratio == pytest.approx(expected, rel=1e-6)
    whole = metrics.calibration(torch.full((n, 1), hazard), Outcome.of(outcome.stop, outcome.observed))
    assert result.ratio < whole.ratio


def test_true_hazards_are_calibrated_in_every_group_where_rows_were_cut_short() -> None:
    """Grouped by what is expected of the part followed, cut rows would crowd the low groups, deaths the high ones."""
    n = 400_000
    random = np.random.default_rng(1)
    hazard = random.uniform(0.02, 0.3, n)
    share = np.where(random.random(n) < 0.5, random.random(n), 1.0)
    seen = random.random(n) < 1 - (1 - hazard) ** share
    outcome = Outcome.of(
        torch.ones(n, dtype=torch.long),
        torch.from_numpy(seen),
        censored_exposure=torch.from_numpy(np.where(seen, 1.0, share)).float(),
    )
    table = metrics.calibration(torch.from_numpy(hazard)[:, None], outcome).table
    np.testing.assert_allclose(table["predicted"] / table["observed"], 1.0, atol=0.1)


def test_calibration_is_told_interval_by_interval() -> None:
    outcome = Outcome.of(
        torch.tensor([1, 2, 3, 3]), torch.tensor([True, True, False, True]), start=torch.tensor([0, 0, 1, 0])
    )
    hazard = torch.tensor([[0.5, 0.1, 0.1], [0.1, 0.4, 0.1], [0.9, 0.2, 0.1], [0.3, 0.3, 0.8]])
    table = metrics.calibration(hazard, outcome).per_visit
    assert table["visit"].tolist() == [0, 1, 2]
    assert table["rows"].tolist() == [3, 3, 2]
    assert table["events"].tolist() == [1, 1, 1]
    np.testing.assert_allclose(table["predicted"], [0.3, 0.3, 0.45], atol=1e-7)
    np.testing.assert_allclose(table["observed"], [1 / 3, 1 / 3, 1 / 2])
