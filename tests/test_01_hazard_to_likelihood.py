"""The claims of chapter 01, one test each, and the pieces of the page that could drift from the package."""

import itertools

import numpy as np
import pytest
import torch
from pycox.models.loss import nll_logistic_hazard
from pycox.preprocessing.label_transforms import LabTransDiscreteTime
from torch import Tensor

from tests.figures import two_endings
from visitwise.baselines import best_constant_hazard
from visitwise.check import likelihood
from visitwise.cohort import Outcome
from visitwise.functional import (
    event_probability,
    hazard_nll,
    logits_from_hazard,
    person_period,
    survival,
)
from visitwise.simulate import draw_outcome
from visitwise.widgets import TwoEndings

ADA = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
BOTH = torch.tensor([[0.1, 0.2, 0.3], [0.15, 0.25, torch.nan]], dtype=torch.float64)
CLEO = (torch.logit(ADA)[None], torch.tensor([3]), torch.tensor([False]))
FOUR = torch.logit(torch.tensor([0.05, 0.08, 0.15, 0.40], dtype=torch.float64))


def cohort(hazard: float, visits: int, dropout: float, patients: int = 100_000) -> Outcome:
    return draw_outcome(torch.full((patients, visits), hazard, dtype=torch.float64), dropout=dropout, seed=20)


def counts(outcome: Outcome) -> tuple[int, int, int]:
    events = int(outcome.observed.sum())
    return events, outcome.n_rows, len(outcome) - events


def rows_per_patient(hazard: float, visits: int, dropout: float) -> float:
    """Expected number of rows: each is reached by who survived and stayed so far."""
    return float(sum(((1 - hazard) * (1 - dropout)) ** k for k in range(visits)))


def slope(loss, outcome: Outcome, hazard: float) -> float:
    """Derivative of a loss with respect to one logit shared by all rows."""
    logit = torch.logit(torch.tensor(hazard, dtype=torch.float64)).requires_grad_()
    loss(logit.expand(len(outcome), int(outcome.stop.max())), outcome.stop, outcome.observed).backward()
    return float(logit.grad)


# ------------------------------------------------------------------------------------- hazard, survival, probability


def test_survival_is_the_product_of_what_was_survived():
    torch.testing.assert_close(survival(torch.logit(ADA)), torch.tensor([0.9, 0.72, 0.504], dtype=torch.float64))


def test_exp_of_minus_the_sum_of_hazards_is_too_hopeful():
    assert survival(FOUR)[-1].item() == pytest.approx(0.95 * 0.92 * 0.85 * 0.60) == pytest.approx(0.4457, abs=5e-5)
    assert likelihood.exp_of_minus_sum(FOUR).item() == pytest.approx(np.exp(-0.68)) == pytest.approx(0.5066, abs=5e-5)


def test_event_probabilities_and_survival_share_one_whole_and_hazards_do_not():
    high = logits_from_hazard(torch.tensor([0.5, 0.6, 0.7], dtype=torch.float64))
    for logits in (torch.logit(ADA), FOUR, high):
        assert (event_probability(logits).sum() + survival(logits)[-1]).item() == pytest.approx(1, abs=1e-12)
    assert torch.sigmoid(high).sum().item() == pytest.approx(1.8)


def test_a_higher_first_hazard_lowers_every_later_event_probability():
    before, after = (event_probability(torch.logit(torch.tensor([h, 0.2, 0.3]))) for h in (0.1, 0.4))
    assert (after[1:] < before[1:]).all()
    torch.testing.assert_close(after[1:] / before[1:], torch.full((2,), 0.6 / 0.9))


# ------------------------------------------------------------------------------------------------------- likelihood


def test_the_two_patients_of_the_page_have_the_losses_printed_there():
    stop, observed = torch.tensor([3, 2]), torch.tensor([True, True])
    each = hazard_nll(torch.logit(BOTH), stop, observed, reduction="none")
    by_hand = [-np.log(0.9 * 0.8 * 0.3), -np.log(0.85 * 0.25)]
    np.testing.assert_allclose(each, by_hand, rtol=1e-12)
    np.testing.assert_allclose(each, [1.532477, 1.548813], atol=5e-7)
    assert hazard_nll(torch.logit(BOTH), stop, observed).item() == pytest.approx(1.540645, abs=5e-7)


def test_the_likelihood_of_an_event_is_its_event_probability():
    nll = hazard_nll(torch.logit(ADA)[None], torch.tensor([3]), torch.tensor([True]))
    assert torch.exp(-nll).item() == pytest.approx(event_probability(torch.logit(ADA))[-1].item()) == 0.216


def test_cleo_is_charged_for_every_interval_she_survived():
    right = hazard_nll(*CLEO).item()
    assert right == pytest.approx(-np.log(0.9 * 0.8 * 0.7)) == pytest.approx(0.685179, abs=5e-7)
    assert right == pytest.approx(-survival(torch.logit(ADA))[-1].log().item())
    assert (
        likelihood.drop_censored_row(*CLEO).item()
        == pytest.approx(-np.log(0.9 * 0.8))
        == pytest.approx(0.328504, abs=5e-7)
    )


def test_the_number_printed_in_the_notes_needs_another_hazard():
    implied = 1 - np.exp(-0.828) / (0.9 * 0.8)
    assert implied == pytest.approx(0.393, abs=5e-4)
    other = torch.logit(torch.tensor([[0.1, 0.2, implied]], dtype=torch.float64))
    assert hazard_nll(other, *CLEO[1:]).item() == pytest.approx(0.828)


# ------------------------------------------------------------------------------------------------ other conventions


@pytest.mark.parametrize("observed", [False, True])
def test_pycox_counts_the_censored_row_as_we_do(observed: bool):
    random = np.random.default_rng(7)
    logits = torch.from_numpy(random.normal(size=(50, 6)))
    stop = torch.from_numpy(random.integers(1, 7, 50))
    seen = torch.full((50,), observed)
    ours = hazard_nll(logits, stop, seen, reduction="none")
    theirs = nll_logistic_hazard(logits, stop - 1, seen.double(), reduction="none")
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    one = nll_logistic_hazard(torch.logit(ADA)[None], torch.tensor([2]), torch.zeros(1, dtype=torch.float64))
    assert one.item() == pytest.approx(0.685179, abs=5e-7)


def test_the_figure_of_two_endings_calls_right_what_pycox_computes():
    states = two_endings.states(np.random.default_rng(4))
    for state in states:
        logits = torch.logit(torch.tensor([state["hazards"]], dtype=torch.float64))
        seen = torch.tensor([float(state["ending"] == "event")], dtype=torch.float64)
        pycoxs = nll_logistic_hazard(logits, torch.tensor([logits.shape[1] - 1]), seen).item()
        assert two_endings.oracle(state, {})["losses"]["likelihood"] == pytest.approx(pycoxs, rel=1e-12)
    assert len(states) >= 300


def test_pycox_labels_put_the_censored_on_the_last_interval_seen_to_its_end():
    labels = LabTransDiscreteTime(np.array([0.0, 1.0, 2.0, 3.0]))
    index, _ = labels.transform(np.array([1.5, 1.5]), np.array([1.0, 0.0]))
    assert index.tolist() == [2, 1]  # the event in (1, 2]; the censored was seen to the end of (0, 1]


def test_a_rate_accumulated_through_the_event_counts_its_row_twice_when_fed_hazards():
    stop, observed = torch.tensor([3, 2, 3]), torch.tensor([True, True, False])
    hazard = torch.cat([BOTH.nan_to_num(0.0), ADA[None]])
    accumulated = -torch.log1p(-hazard).cumsum(-1)  # the integral of the rate, exact for a rate constant in intervals
    at_end = hazard.gather(1, stop[:, None] - 1)[:, 0]
    continuous = torch.where(observed, -at_end.log(), 0) + accumulated.gather(1, stop[:, None] - 1)[:, 0]
    twice = likelihood.count_event_row_twice(torch.logit(torch.cat([BOTH, ADA[None]])), stop, observed)
    assert continuous.mean().item() == pytest.approx(twice.item())


# ------------------------------------------------------------------------------------ what they do to an estimate

CASES = [(0.05, 5), (0.1, 5), (0.2, 5), (0.3, 5), (0.1, 2), (0.1, 20)]


@pytest.mark.parametrize(("hazard", "visits"), CASES)
def test_each_loss_is_smallest_at_its_own_count_of_rows(hazard: float, visits: int):
    outcome = cohort(hazard, visits, 0.1, patients=4_000)
    events, rows, censored = counts(outcome)
    seen = int(outcome.stop[outcome.observed].sum())
    for loss, estimate in [
        (hazard_nll, events / rows),
        (likelihood.drop_censored_row, events / (rows - censored)),
        (likelihood.count_event_row_twice, events / (rows + events)),
        (likelihood.events_alone, events / seen),
    ]:
        assert abs(slope(loss, outcome, estimate)) < 1e-12
        assert slope(loss, outcome, estimate * 0.99) < -1e-5
        assert slope(loss, outcome, min(estimate * 1.01, 0.999)) > 1e-5


@pytest.mark.parametrize(("truth", "dropout"), [(0.05, 0.0), (0.1, 0.1), (0.95, 0.5)])
def test_the_figures_counts_are_the_smallest_losses_of_a_cohort_drawn_anew(truth: float, dropout: float):
    shown = two_endings.oracle(TwoEndings(truth=truth, dropout=dropout).state, {})["estimates"]
    outcome = draw_outcome(torch.full((100_000, 5), truth, dtype=torch.float64), dropout=dropout, seed=1)
    for name, loss in two_endings.LOSSES.items():
        assert best_constant_hazard(loss, outcome) == pytest.approx(shown[name], abs=1e-12)


def test_dropping_the_censored_row_errs_most_for_rare_events_and_with_much_dropout():
    given = TwoEndings().given
    patients, events, rows = (np.array(given[name]) for name in ("patients", "events", "rows"))
    factor = events / (rows - (patients - events)) / two_endings.TRUTHS
    assert (np.diff(factor, axis=0) > 0).all()  # with more dropout
    assert (np.diff(factor[:, :10], axis=1) < 0).all()  # with a higher true hazard, up to one half
    assert (factor[:, :10] > 1.005).all()
    assert (events / (rows + events)).max() < 0.5


@pytest.mark.parametrize(("hazard", "visits"), CASES)
def test_only_counting_every_row_once_recovers_the_truth(hazard: float, visits: int):
    events, rows, censored = counts(cohort(hazard, visits, 0.1))
    deviation = np.sqrt(hazard * (1 - hazard) / rows)
    per_patient = rows_per_patient(hazard, visits, 0.1)
    assert abs(events / rows - hazard) < 4 * deviation
    dropped = hazard / (1 + hazard - 1 / per_patient)
    assert events / (rows - censored) == pytest.approx(dropped, rel=8 * deviation / hazard)
    assert events / (rows - censored) > hazard + 4 * deviation
    assert events / (rows + events) == pytest.approx(hazard / (1 + hazard), rel=4 * deviation / hazard)
    assert events / (rows + events) < hazard - 4 * deviation


def test_true_hazards_of_5_to_20_percent_come_out_17_to_28_percent_too_high():
    too_high = {}
    for hazard in (0.05, 0.1, 0.2):
        events, rows, censored = counts(cohort(hazard, 5, 0.1))
        too_high[hazard] = events / (rows - censored) / hazard - 1
    assert too_high == pytest.approx({0.05: 0.281, 0.1: 0.237, 0.2: 0.174}, abs=0.02)


def test_dropping_the_censored_row_is_worst_in_short_records():
    estimates = []
    for visits in (1, 2, 3, 5, 10, 20):
        events, rows, censored = counts(cohort(0.1, visits, 0.1))
        estimates.append(events / (rows - censored))
    assert estimates[0] == 1
    assert all(longer < shorter for shorter, longer in itertools.pairwise(estimates))
    assert estimates[-1] > 0.105  # and dropout keeps it too high however long the follow-up


def test_event_row_twice_never_estimates_above_one_half():
    random = np.random.default_rng(3)
    for hazard in random.uniform(0.01, 1.0, 40):
        events, rows, _ = counts(cohort(float(hazard), 4, 0.2, patients=500))
        assert events / (rows + events) <= 0.5
        estimate = events / rows
        assert events / (rows + events) == pytest.approx(estimate / (1 + estimate))
    everyone_at_once = Outcome.of(torch.ones(9, dtype=torch.long), torch.ones(9, dtype=torch.bool))
    assert slope(likelihood.count_event_row_twice, everyone_at_once, 0.5) == pytest.approx(0, abs=1e-12)


def test_ten_times_the_rows_are_not_ten_times_the_patients():
    """Of one logit shared by all rows: the standard error is one over the square root of the loss's curvature."""
    outcome = cohort(0.1, 5, 0.1, patients=20_000)
    events, rows, _ = counts(outcome)

    def standard_error(finer: int, patients: int) -> float:
        hazard = events / (rows * finer)
        return float((patients * rows * finer * hazard * (1 - hazard)) ** -0.5)

    logit = torch.logit(torch.tensor(events / rows, dtype=torch.float64)).requires_grad_()
    everywhere = logit.expand(len(outcome), int(outcome.stop.max()))
    (once,) = torch.autograd.grad(
        hazard_nll(everywhere, outcome.stop, outcome.observed, reduction="sum"), logit, create_graph=True
    )
    (curvature,) = torch.autograd.grad(once, logit)
    assert standard_error(1, 1) == pytest.approx(float(curvature) ** -0.5)
    assert standard_error(1, 1) == pytest.approx((1 / events + 1 / (rows - events)) ** 0.5)
    assert standard_error(10, 1) / standard_error(1, 1) == pytest.approx(0.953, abs=0.005)
    assert standard_error(1, 10) / standard_error(1, 1) == pytest.approx(10**-0.5)


def test_half_the_credit_suits_those_lost_half_way():
    half, visits = 1 - 0.8**0.5, 5
    halves = draw_outcome(torch.full((200_000, 2 * visits), half, dtype=torch.float64), dropout=0.1, seed=8)
    stop, lost_half_way = (halves.stop + 1) // 2, ~halves.observed & (halves.stop % 2 == 1)
    events = float(halves.observed.sum())
    survived = float(stop.sum()) - events - float(lost_half_way.sum())
    credited = {share: events / (events + survived + share * float(lost_half_way.sum())) for share in (0.0, 0.5, 1.0)}
    assert credited[0.5] == pytest.approx(0.2, rel=0.01)
    assert credited[0.0] == pytest.approx(0.209, abs=0.002)
    assert credited[1.0] == pytest.approx(0.191, abs=0.002)
    exposure = torch.where(lost_half_way, 0.5, 1.0).double()

    def loss(hazard_logits: Tensor, stop: Tensor, observed: Tensor) -> Tensor:
        return hazard_nll(hazard_logits, stop, observed, censored_exposure=exposure)

    assert slope(loss, Outcome.of(stop, halves.observed), credited[0.5]) == pytest.approx(0, abs=1e-12)


def test_the_correct_loss_is_too_hopeful_when_the_frail_leave_more_often():
    robust, frail = cohort(0.05, 5, 0.05), cohort(0.40, 5, 0.50)
    rows = person_period(torch.cat([robust.stop, frail.stop]), torch.cat([robust.observed, frail.observed]))
    per_visit = torch.stack([rows.event[rows.visit == k].double().mean() for k in range(5)])
    truth = (0.95**5 + 0.60**5) / 2
    assert survival(logits_from_hazard(per_visit))[-1].item() > truth + 0.1
    apart = [(1 - events / n_rows) ** 5 for events, n_rows, _ in (counts(robust), counts(frail))]
    assert np.mean(apart) == pytest.approx(truth, abs=0.005)
