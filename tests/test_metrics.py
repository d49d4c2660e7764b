"""Scores against slow loops, against other libraries, and against simulated truth."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from lifelines.utils import concordance_index
from scipy.stats import binomtest, chi2
from sklearn.metrics import roc_auc_score
from sksurv.metrics import (
    brier_score,
    concordance_index_censored,
    concordance_index_ipcw,
    cumulative_dynamic_auc,
)
from sksurv.util import Surv
from torch import Tensor

from visitwise import metrics
from visitwise.cohort import Outcome
from visitwise.functional import hazard_nll, person_period
from visitwise.simulate import TEACHING

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


def test_an_infinite_risk_is_above_all_others_and_like_another_infinite_one() -> None:
    outcome = Outcome.of(torch.tensor([1, 2, 3, 3]), torch.tensor([True, True, False, False]))
    for lowest, highest in ((1.0, torch.inf), (-torch.inf, 4.0), (-torch.inf, torch.inf)):
        assert float(metrics.concordance(torch.tensor([highest, 3.0, 2.0, lowest]), outcome)) == 1.0
        assert float(metrics.concordance(torch.tensor([lowest, 2.0, 3.0, highest]), outcome)) == 0.0
    tied = torch.tensor([torch.inf, torch.inf, -torch.inf, -torch.inf])
    assert float(metrics.concordance(tied, outcome)) == 4.5 / 5


def test_a_risk_may_come_straight_from_a_model_with_its_gradient_or_in_half_precision() -> None:
    outcome = Outcome.of(torch.tensor([1, 2, 2, 3]), torch.tensor([True, True, False, False]))
    risk = torch.tensor([0.25, 0.5, 0.125, 0.375], requires_grad=True)
    for same in (risk, risk.detach().bfloat16()):
        assert float(metrics.concordance(same, outcome)) == 0.6
        assert float(metrics.cumulative_dynamic_auc(same, outcome, 2)) == 0.75


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


def followed_through(outcome: Outcome, row: int) -> float:
    """G(row-), counted anew in plain words."""
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


@pytest.mark.parametrize("seed", SEEDS)
def test_weighted_concordance_is_its_definition(seed: int) -> None:
    outcome, risk = random_outcome(50, seed), random_risk(50, seed)
    right, total = 0.0, 0.0
    for i in range(50):
        for j in range(50):
            row = int(outcome.stop[i]) - 1
            outlives = outcome.stop[j] > row + 1 or (outcome.stop[j] == row + 1 and not outcome.observed[j])
            if outcome.observed[i] and outlives:
                weight = 1 / followed_through(outcome, row) ** 2
                total += weight
                right += weight * (1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0)
    score = metrics.concordance(risk, outcome, weights="follow-up")
    assert float(score) == pytest.approx(right / total, abs=1e-12)
    assert "1 / G(k-)^2" in score.ties


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_the_lower_among_those_who_leave_later_are_counted_as_a_slow_loop_does(
    patients: list[tuple[int, int, bool]],
) -> None:
    left, ranks, asked = (np.array(values) for values in zip(*patients, strict=True))
    slow = [
        sum((other < rank) + (other == rank) / 2 for later, other, _ in patients if later > when)
        for when, rank, asks in patients
        if asks
    ]
    assert metrics._lower_and_later(ranks.astype(float), left**3, asked).tolist() == slow


def untied_outcome(n: int, seed: int) -> Outcome:
    draw = torch.Generator().manual_seed(seed)
    return Outcome.of(torch.randperm(n, generator=draw) + 1, torch.rand(n, generator=draw) < 0.5)


@pytest.mark.parametrize("seed", SEEDS)
def test_weighted_concordance_agrees_with_scikit_survival_where_no_two_patients_leave_in_one_row(seed: int) -> None:
    outcome, risk = untied_outcome(80, seed), random_risk(80, seed)
    seen = Surv.from_arrays(outcome.observed.numpy(), outcome.stop.numpy())
    theirs = concordance_index_ipcw(seen, seen, risk.numpy(), tau=60.5)[0]
    assert float(metrics.concordance(risk, outcome, horizon=60, weights="follow-up")) == pytest.approx(
        theirs, abs=1e-12
    )


def test_without_censoring_the_weights_change_nothing() -> None:
    outcome = Outcome.of(random_outcome(200, 5).stop, torch.ones(200, dtype=torch.bool))
    risk = random_risk(200, 5)
    weighted = metrics.concordance(risk, outcome, weights="follow-up")
    assert float(weighted) == pytest.approx(float(metrics.concordance(risk, outcome)), abs=1e-12)


def test_weighted_concordance_finds_what_it_would_be_if_nobody_were_lost() -> None:
    """A risk that orders early events well and late ones badly: the lost take the late pairs with them."""
    known = Simulated(40_000, seed=3, dropout=0.0)
    fading = known.hazard[:, 0] * torch.where(known.event_row <= 3, 3, 1)
    cut = Simulated(40_000, seed=3, dropout=0.3).outcome
    truth = float(metrics.concordance(fading, known.outcome, horizon=8))
    assert float(metrics.concordance(fading, cut, horizon=8)) > truth + 0.03
    assert float(metrics.concordance(fading, cut, horizon=8, weights="follow-up")) == pytest.approx(truth, abs=0.01)


def test_a_weighting_nobody_knows_is_refused(unchecked: None) -> None:
    with pytest.raises(ValueError, match="weights is 'uno'; expected 'pairs' or 'follow-up'"):
        metrics.concordance(torch.zeros(20), random_outcome(20, 0), weights="uno")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------- cumulative/dynamic AUC


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("horizon", [2, 4])
def test_cumulative_dynamic_auc_is_its_definition(seed: int, horizon: int) -> None:
    outcome, risk = random_outcome(50, seed), random_risk(50, seed)
    right, total = 0.0, 0.0
    for i in range(50):
        for j in range(50):
            case = bool(outcome.observed[i]) and int(outcome.stop[i]) <= horizon
            control = int(outcome.stop[j]) > horizon or (int(outcome.stop[j]) == horizon and not outcome.observed[j])
            if case and control:
                weight = 1 / followed_through(outcome, int(outcome.stop[i]) - 1)
                total += weight
                right += weight * (1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0)
    assert float(metrics.cumulative_dynamic_auc(risk, outcome, horizon)) == pytest.approx(right / total, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_cumulative_dynamic_auc_agrees_with_scikit_survival_where_no_two_patients_leave_in_one_row(seed: int) -> None:
    outcome, risk = untied_outcome(80, seed), random_risk(80, seed)
    horizon = int(outcome.stop[outcome.observed].median())  # a row with an event, so with no censoring at its end
    seen = Surv.from_arrays(outcome.observed.numpy(), outcome.stop.numpy())
    theirs = cumulative_dynamic_auc(seen, seen, risk.numpy(), [horizon])[0][0]
    assert float(metrics.cumulative_dynamic_auc(risk, outcome, horizon)) == pytest.approx(theirs, abs=1e-12)


def test_without_censoring_cumulative_dynamic_auc_is_scikit_learns() -> None:
    world, risk = Simulated(500, seed=4, dropout=0.0), random_risk(500, 4)
    theirs = roc_auc_score(world.event_row <= 4, risk)
    assert float(metrics.cumulative_dynamic_auc(risk, world.outcome, 4)) == pytest.approx(theirs, abs=1e-12)


def test_cumulative_dynamic_auc_finds_what_it_would_be_if_nobody_were_lost() -> None:
    known = Simulated(40_000, seed=3, dropout=0.0)
    fading = known.hazard[:, 0] * torch.where(known.event_row <= 3, 3, 1)
    cut = Simulated(40_000, seed=3, dropout=0.3).outcome
    truth = roc_auc_score(known.event_row <= 8, fading)
    assert float(metrics.cumulative_dynamic_auc(fading, cut, 8)) == pytest.approx(truth, abs=0.02)
    unweighted = cut.observed & (cut.stop <= 8)
    known_free = (cut.stop >= 8) & ~unweighted
    decided = unweighted | known_free
    assert roc_auc_score(unweighted[decided], fading[decided]) > truth + 0.04


def test_an_auc_needs_cases_and_controls() -> None:
    outcome = Outcome.of(torch.tensor([1, 2]), torch.tensor([True, True]))
    with pytest.raises(ValueError, match="2 cases and 0 controls within 2 rows"):
        metrics.cumulative_dynamic_auc(torch.tensor([0.1, 0.2]), outcome, 2)
    with pytest.raises(ValueError, match="patient at index 0 has the risk nan"):
        metrics.cumulative_dynamic_auc(torch.tensor([math.nan, 0.2]), outcome, 1)


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
    total = 0.0
    for i in range(len(outcome)):
        stop, predicted = int(outcome.stop[i]), float(survival[i, horizon - 1])
        if outcome.observed[i] and stop <= horizon:
            total += predicted**2 / followed_through(outcome, stop - 1)
        elif stop >= horizon:
            total += (1 - predicted) ** 2 / followed_through(outcome, horizon - 1)
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


# ---------------------------------------------------------------------------------------------------- D-calibration


def spread_loop(hazard: Tensor, outcome: Outcome, bins: int) -> list[float]:
    """Patient by patient: walk down the survival curve, then share the patient out over the levels possible."""
    share = [0.0] * bins
    for i in range(len(outcome)):
        level = 1.0
        for row in range(int(outcome.start[i]), int(outcome.stop[i]) - 1):
            level *= 1 - float(hazard[i, row])
        after = level * (1 - float(hazard[i, int(outcome.stop[i]) - 1]))
        low, high = (after, level) if outcome.observed[i] else (0.0, after)
        for bin in range(bins):
            inside = min(high, (bin + 1) / bins) - max(low, bin / bins)
            share[bin] += max(inside, 0.0) / (high - low) / len(outcome)
    return share


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("late", [False, True])
def test_d_calibration_is_its_definition(seed: int, late: bool) -> None:
    outcome = random_outcome(60, seed, late=late)
    hazard = padded_hazard(outcome, seed)
    result = metrics.d_calibration(hazard, outcome, bins=7)
    expected = spread_loop(hazard, outcome, 7)
    np.testing.assert_allclose(result.table["share"], expected, atol=1e-7)
    assert float(result.error) == pytest.approx(sum(abs(share - 1 / 7) for share in expected) / 2, abs=1e-7)
    assert result.table["share"].sum() == pytest.approx(1)


def test_true_hazards_are_d_calibrated_and_distorted_ones_are_not() -> None:
    world = Simulated(4_000, seed=7, dropout=0.1)
    wrong = {
        "doubled": (2 * world.hazard).clamp(max=1),
        "halved": world.hazard / 2,
        "pulled together": torch.sigmoid(-2.2 + 0.3 * (torch.logit(world.hazard) + 2.2)),
        "pushed apart": torch.sigmoid(-2.2 + 2.0 * (torch.logit(world.hazard) + 2.2)),
        "of another patient": world.hazard.flip(0),
    }
    assert metrics.d_calibration(world.hazard, world.outcome).p_value > 0.05
    for name, hazard in wrong.items():
        assert metrics.d_calibration(hazard, world.outcome).p_value < 0.001, name


def test_hazards_that_read_the_record_are_d_calibrated_if_they_are_true() -> None:
    """They change with what each visit brings, and the curve is followed along the visits that were made."""
    simulation = TEACHING.draw(3_000, seed=3)
    hazard, outcome = simulation.cohort.visits.pad(simulation.hazard), simulation.cohort.outcome
    assert metrics.d_calibration(hazard, outcome).p_value > 0.05
    assert metrics.d_calibration((1.3 * hazard).clamp(max=1), outcome).p_value < 0.001


def test_true_hazards_fail_about_as_often_as_the_p_value_says_and_a_chi_squared_test_lets_all_pass() -> None:
    ours, pearsons = [], []
    for seed in range(200):
        world = Simulated(300, seed=seed, dropout=0.1)
        result = metrics.d_calibration(world.hazard, world.outcome)
        ours.append(result.p_value)
        pearsons.append(chi2.sf(300 * 10 * ((result.table["share"] - 0.1) ** 2).sum(), 9))
    assert 0.02 < np.mean(np.array(ours) < 0.05) < 0.1
    assert 0.4 < np.mean(np.array(ours) < 0.5) < 0.65
    assert np.mean(np.array(pearsons) < 0.05) < 0.005


def test_the_level_itself_is_not_even_even_if_the_hazards_are_true() -> None:
    """Taken at the end of the row that holds the event, as on continuous time, nobody is ever near 1."""
    world = Simulated(4_000, seed=7, dropout=0.0, width=60)
    at_end = world.survival[torch.arange(4_000), world.outcome.stop - 1]
    counts = np.histogram(at_end[world.outcome.observed], np.linspace(0, 1, 11))[0]
    assert counts[-1] < 0.7 * counts[:5].mean()
    assert metrics.d_calibration(world.hazard, world.outcome).p_value > 0.05


def test_censored_patients_are_spread_below_the_level_they_reached() -> None:
    outcome = Outcome.of(torch.tensor([2]), torch.tensor([False]))
    share = metrics.d_calibration(torch.tensor([[0.5, 0.2]]), outcome, bins=5).table["share"]
    assert share.tolist() == pytest.approx([0.5, 0.5, 0, 0, 0], abs=1e-6)
    half = Outcome.of(torch.tensor([1]), torch.tensor([False]), censored_exposure=torch.tensor([0.5]))
    share = metrics.d_calibration(torch.tensor([[0.75]]), half, bins=4).table["share"]
    assert share.tolist() == pytest.approx([0.5, 0.5, 0, 0])  # sqrt(0.25): half the interval was followed


def test_the_p_value_of_two_bins_is_that_of_a_sum_over_its_own_spread() -> None:
    """Shares in the lower bin of 0, 1/4 and 1: away from even by -1/2, -1/4 and 1/2; one degree of freedom."""
    outcome = Outcome.of(torch.tensor([1, 2, 2]), torch.tensor([True, True, False]))
    result = metrics.d_calibration(torch.tensor([[0.5, 0.5], [0.2, 0.5], [0.2, 0.5]]), outcome, bins=2)
    assert result.p_value == pytest.approx(chi2.sf(0.25**2 / (0.5**2 + 0.25**2 + 0.5**2), 1), rel=1e-5)


@pytest.mark.parametrize(("hazard", "expected"), [(0.0, [0, 1]), (1.0, [0.5, 0.5])])
def test_an_event_that_was_said_to_be_impossible_or_sure_has_a_place(hazard: float, expected: list[float]) -> None:
    outcome = Outcome.of(torch.tensor([1]), torch.tensor([True]))
    result = metrics.d_calibration(torch.tensor([[hazard]]), outcome, bins=2)
    assert result.table["share"].tolist() == expected


def test_a_patient_censored_where_the_event_was_sure_is_at_the_bottom() -> None:
    outcome = Outcome.of(torch.tensor([2]), torch.tensor([False]))
    assert metrics.d_calibration(torch.tensor([[1.0, 0.3]]), outcome, bins=2).table["share"].tolist() == [1, 0]


def test_one_bin_is_none() -> None:
    with pytest.raises(ValueError, match="bins is 1; expected at least 2"):
        metrics.d_calibration(torch.full((20, 6), 0.1), random_outcome(20, 0), bins=1)


def test_patients_who_are_all_alike_can_be_judged_too() -> None:
    alike = Outcome.of(torch.ones(50, dtype=torch.long), torch.ones(50, dtype=torch.bool))
    assert metrics.d_calibration(torch.full((50, 1), 0.5), alike).p_value < 1e-6
    assert metrics.d_calibration(torch.full((50, 1), 1.0), alike).p_value == 1


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


@pytest.mark.parametrize("score", [metrics.incident_dynamic_auc, metrics.calibration, metrics.d_calibration])
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
    with pytest.raises(ValueError, match="horizon is 0; expected at least 1"):
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


# ---------------------------------------------------------------------------------------------------- lost inside a row


class LostInside(Simulated):
    """The same patients, lost inside a row; an event comes at any moment of its row and is seen if it comes before."""

    def __init__(self, n: int, seed: int, dropout: float, share: float | None = None, width: int = 12) -> None:
        super().__init__(n, seed, 0.0, width)
        draw = torch.Generator().manual_seed(seed + 1)
        losses = torch.rand(n, width, generator=draw) < dropout
        lost_row = torch.where(losses.any(1), losses.int().argmax(1) + 1, width + 1)
        moment = torch.rand(n, generator=draw) if share is None else torch.full((n,), share)
        event_moment = self.event_row + torch.rand(n, generator=draw)
        seen = event_moment < torch.minimum(lost_row + moment, torch.tensor(width + 1.0))
        cut = ~seen & (lost_row <= width)
        stop = torch.where(seen, self.event_row, lost_row.clamp(max=width))
        self.outcome = Outcome.of(stop, seen, censored_exposure=torch.where(cut, moment, 1.0))


def some_cut_short(n: int, seed: int, *, late: bool = False) -> Outcome:
    """Outcomes with many ties, in which the censored were followed through a quarter, half, all or none of a row."""
    outcome = random_outcome(n, seed, late=late)
    share = torch.randint(0, 5, (n,), generator=torch.Generator().manual_seed(300 + seed)) / 4
    return Outcome.of(outcome.stop, outcome.observed, start=outcome.start, censored_exposure=share)


def followed_to(outcome: Outcome, moment: float) -> float:
    """Chance of being followed to just before this moment, loss by loss; the events of a row are spread over it."""
    losses = [
        float(stop) - 1 + float(share)
        for stop, seen, share in zip(outcome.stop, outcome.observed, outcome.censored_exposure, strict=True)
        if not seen
    ]
    ends = {losses[i] for i in range(len(losses)) if losses[i] < moment}
    chance = 1.0
    for end in sorted(ends):
        there = sum(loss >= end for loss in losses)
        for stop in outcome.stop[outcome.observed].tolist():
            there += min(max(stop - end, 0.0), 1.0)  # what part of such events comes later
        chance *= 1 - losses.count(end) / there
    return chance


def event_is_seen(outcome: Outcome, row: int) -> float:
    """Mean of the probability of being followed to a moment of this row; it changes at quarters."""
    return sum(followed_to(outcome, row + (quarter + 0.5) / 4) for quarter in range(4)) / 4


@pytest.mark.parametrize("seed", SEEDS)
def test_an_event_is_seen_as_often_as_follow_up_lasts_to_its_moment(seed: int) -> None:
    outcome = some_cut_short(40, seed)
    assert outcome.cut_short.any()
    follow_up = metrics.censoring_survival(outcome)
    rows = range(int(outcome.stop.max()))
    np.testing.assert_allclose(follow_up.before, [event_is_seen(outcome, row) for row in rows], atol=1e-12)
    np.testing.assert_allclose(follow_up.through, [followed_to(outcome, row + 1) for row in rows], atol=1e-12)
    # A loss at the share 0 lies between two rows, and belongs to the second.
    later = Outcome.of(outcome.stop, outcome.observed, censored_exposure=outcome.censored_exposure.clamp(min=0.25))
    after = metrics.censoring_survival(later).after
    np.testing.assert_allclose(after, [followed_to(later, row + 1.01) for row in rows], atol=1e-12)


def test_where_nobody_is_cut_short_an_event_is_seen_if_follow_up_lasts_through_its_row() -> None:
    follow_up = metrics.censoring_survival(random_outcome(120, 3))
    assert torch.equal(follow_up.before, follow_up.through)


def test_a_life_table_counts_the_share_of_a_row_that_was_followed() -> None:
    """Row 0: four at risk, one event, one lost half-way. Row 1: two, one of whom is lost after a quarter of it."""
    share = torch.tensor([1.0, 0.5, 0.25, 1.0])
    outcome = Outcome.of(torch.tensor([1, 1, 2, 2]), torch.tensor([True, False, False, True]), censored_exposure=share)
    table = metrics.kaplan_meier(outcome)
    assert (table.at_risk.tolist(), table.survived.tolist(), table.followed.tolist()) == ([4, 2], [2, 0], [3.5, 1.25])
    assert table.hazard.tolist() == pytest.approx([1 / 3.5, 1 / 1.25])
    assert table.survival.tolist() == pytest.approx([2.5 / 3.5, 2.5 / 3.5 * 0.25 / 1.25])
    logits = torch.logit(table.hazard).expand(4, 2).clone().requires_grad_()
    hazard_nll(logits, outcome.stop, outcome.observed, censored_exposure=share, reduction="sum").backward()
    assert logits.grad is not None
    assert logits.grad.sum(0).abs().max() < 1e-6  # no hazard is likelier


def test_a_row_of_which_nobody_was_followed_any_part_has_no_hazard() -> None:
    outcome = Outcome.of(torch.tensor([1, 2]), torch.tensor([True, False]), censored_exposure=torch.tensor([1.0, 0.0]))
    assert metrics.kaplan_meier(outcome).hazard.isnan().tolist() == [False, True]


def test_who_is_lost_inside_a_row_does_not_outlive_the_event_in_it() -> None:
    """Of the events in rows 1 and 2 the patient lost inside row 2 outlives the first alone."""
    stop, seen = torch.tensor([1, 2, 2]), torch.tensor([True, True, False])
    risk = torch.tensor([0.5, 0.1, 0.3])
    whole = metrics.concordance(risk, Outcome.of(stop, seen))
    assert (float(whole), whole.n_pairs) == (2 / 3, 3)
    cut = metrics.concordance(risk, Outcome.of(stop, seen, censored_exposure=torch.tensor([1.0, 1.0, 0.5])))
    assert (float(cut), cut.n_pairs) == (1.0, 2)
    assert "lost inside a row" in cut.ties
    assert "lost inside a row" not in whole.ties


def test_who_is_lost_inside_the_last_row_of_the_horizon_is_no_survivor_of_it() -> None:
    """One event in row 0; two survive both rows, one of them is lost later; one is lost half-way through row 1."""
    stop, seen = torch.tensor([1, 3, 3, 2]), torch.tensor([True, False, False, False])
    outcome = Outcome.of(stop, seen, censored_exposure=torch.tensor([1.0, 1.0, 0.5, 0.5]))
    survival = torch.tensor([[0.9, 0.7], [0.9, 0.8], [0.9, 0.6], [0.9, 0.1]], dtype=torch.float64)
    # Three enter row 1 and one is lost inside it: two speak for three.
    assert float(metrics.brier(survival, outcome, 2)) == pytest.approx((0.7**2 + 1.5 * (0.2**2 + 0.4**2)) / 4)
    assert metrics.cumulative_dynamic_auc(1 - survival[:, 1], outcome, 2).n_pairs == 2
    with pytest.raises(ValueError, match="horizon is 4; expected 1 to 3, the longest follow-up"):
        metrics.brier(torch.ones(4, 4), outcome, 4)
    shorter = Outcome.of(stop, seen, censored_exposure=torch.tensor([1.0, 0.5, 0.5, 0.5]))
    with pytest.raises(ValueError, match="horizon is 3; expected 1 to 2, the longest follow-up"):
        metrics.brier(torch.ones(4, 4), shorter, 3)


def test_a_patient_lost_after_the_horizon_has_survived_it() -> None:
    outcome = Outcome.of(torch.tensor([1, 3]), torch.tensor([True, False]), censored_exposure=torch.tensor([1.0, 0.5]))
    survival = torch.full((2, 3), 0.5, dtype=torch.float64)
    assert float(metrics.brier(survival, outcome, 2)) == 0.25
    assert metrics.concordance(torch.tensor([0.2, 0.1]), outcome, horizon=2).n_pairs == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_of_patients_cut_short_are_their_definitions(seed: int) -> None:
    outcome, risk, horizon = some_cut_short(40, seed), random_risk(40, seed), 4
    survival = torch.rand(40, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rows = [int(stop) - int(cut) for stop, cut in zip(outcome.stop, outcome.cut_short, strict=True)]
    seen, pairs = outcome.observed.tolist(), {"brier": 0.0, "auc": 0.0, "auc of": 0.0, "c": 0.0, "c of": 0.0}
    for i in range(40):
        predicted = float(survival[i, horizon - 1])
        if seen[i] and rows[i] <= horizon:
            pairs["brier"] += predicted**2 / event_is_seen(outcome, rows[i] - 1) / 40
        elif rows[i] >= horizon:
            pairs["brier"] += (1 - predicted) ** 2 / followed_to(outcome, horizon) / 40
        for j in range(40):
            right = float(risk[i] > risk[j]) + 0.5 * float(risk[i] == risk[j])
            outlives = rows[j] > rows[i] or (rows[j] == rows[i] and not seen[j])
            if seen[i] and rows[i] <= horizon and rows[j] >= horizon and not (seen[j] and rows[j] == horizon):
                weight = 1 / event_is_seen(outcome, rows[i] - 1)
                pairs["auc"], pairs["auc of"] = pairs["auc"] + weight * right, pairs["auc of"] + weight
            if seen[i] and outlives:
                weight = 1 / event_is_seen(outcome, rows[i] - 1) / followed_to(outcome, rows[i])
                pairs["c"], pairs["c of"] = pairs["c"] + weight * right, pairs["c of"] + weight
    assert float(metrics.brier(survival, outcome, horizon)) == pytest.approx(pairs["brier"])
    auc = metrics.cumulative_dynamic_auc(risk, outcome, horizon)
    assert float(auc) == pytest.approx(pairs["auc"] / pairs["auc of"])
    weighted = metrics.concordance(risk, outcome, weights="follow-up")
    assert float(weighted) == pytest.approx(pairs["c"] / pairs["c of"])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("late", [False, True])
def test_in_a_row_who_is_lost_inside_it_is_neither_case_nor_control(seed: int, late: bool) -> None:
    outcome = some_cut_short(60, seed, late=late)
    hazard = padded_hazard(outcome, seed)
    score = metrics.incident_dynamic_auc(hazard, outcome)
    assert score.per_visit is not None
    for k in range(int(outcome.stop.max())):
        known = (outcome.start <= k) & (k < outcome.stop) & ~(outcome.cut_short & (outcome.stop == k + 1))
        case = (outcome.observed & (outcome.stop == k + 1))[known]
        if case.any() and not case.all():
            assert float(score.per_visit[k]) == pytest.approx(roc_auc_score(case, hazard[known, k]))
        else:
            assert bool(score.per_visit[k].isnan())


@pytest.mark.parametrize("share", [0.5, None])
def test_scores_of_patients_cut_short_find_what_they_would_be_if_nobody_were_lost(share: float | None) -> None:
    """Three in ten are lost inside each row, half-way through it or at any moment."""
    world, known = LostInside(200_000, 3, 0.3, share), Simulated(200_000, 3, 0.0)
    survived = Outcome.of(world.outcome.stop, world.outcome.observed)  # as if nobody had been lost inside a row
    life_table = metrics.kaplan_meier(known.outcome).hazard[:5]
    found = metrics.kaplan_meier(world.outcome).hazard[:5]
    torch.testing.assert_close(found, life_table, rtol=0.03, atol=0)
    assert (metrics.kaplan_meier(survived).hazard[:5] < 0.9 * life_table).all()

    for predicted, horizon in ((known.survival, 2), (known.survival / 5, 4), (known.survival / 5, 6)):
        truth = float(metrics.brier(predicted, known.outcome, horizon))
        assert float(metrics.brier(predicted, world.outcome, horizon)) == pytest.approx(truth, rel=0.025)
        assert float(metrics.brier(predicted, survived, horizon)) != pytest.approx(truth, rel=0.07)

    fading = known.hazard[:, 0] * torch.where(known.event_row <= 3, 3, 1)
    for score in (
        lambda outcome: float(metrics.cumulative_dynamic_auc(fading, outcome, 6)),
        lambda outcome: float(metrics.concordance(fading, outcome, horizon=6, weights="follow-up")),
    ):
        assert score(world.outcome) == pytest.approx(score(known.outcome), abs=0.002)
        assert score(survived) < score(known.outcome) - 0.004


def test_calibration_leaves_out_a_row_that_was_not_followed() -> None:
    outcome = some_cut_short(80, 2)
    hazard, empty = padded_hazard(outcome, 2), outcome.cut_short & (outcome.censored_exposure == 0)
    assert empty.any()
    stop = outcome.stop - empty.long()
    there = stop > 0
    kept = Outcome.of(
        stop[there],
        outcome.observed[there],
        censored_exposure=torch.where(empty, 1.0, outcome.censored_exposure)[there],
    )
    found, wanted = metrics.calibration(hazard, outcome), metrics.calibration(hazard[there], kept)
    assert found.table.equals(wanted.table)
    assert found.per_visit.equals(wanted.per_visit)
    nobody = Outcome.of(torch.tensor([1]), torch.tensor([False]), censored_exposure=torch.tensor([0.0]))
    with pytest.raises(ValueError, match="of 1 patients no row was followed"):
        metrics.calibration(torch.tensor([[0.5]]), nobody)
