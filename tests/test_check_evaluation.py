"""The wrong formulas of chapter 8 are what their sentences say, each is wrong, and no two are taken for one."""

import itertools

import numpy as np
import pytest
import torch

from visitwise import check, metrics
from visitwise.check import evaluation
from visitwise.cohort import Outcome

RANDOM = np.random.default_rng(2)
HAZARD = torch.from_numpy(RANDOM.uniform(0.05, 0.4, (30, 6)))
STOP = torch.from_numpy(RANDOM.integers(1, 7, 30))
OBSERVED = torch.from_numpy(RANDOM.random(30) < 0.6)
RISK = torch.from_numpy(RANDOM.integers(0, 5, 30) / 5)
OUTCOME = Outcome.of(STOP, OBSERVED)
SURVIVAL = (1 - HAZARD).cumprod(1)
WEIGHT = 1 / metrics.censoring_survival(OUTCOME).before[STOP.clamp(max=3) - 1]
RIGHT = float(metrics.concordance(RISK, OUTCOME))
BRIER = float(metrics.brier(SURVIVAL, OUTCOME, 3))
EVENTS, ROWS = torch.tensor([3, 1, 0]), torch.tensor([10, 20, 50])
INPUTS = {
    "OWN_RECORD": ((HAZARD, STOP), HAZARD[:, 0]),
    "CONCORDANCE": ((RISK, STOP, OBSERVED), RIGHT),
    "BRIER": ((SURVIVAL[:, 2], STOP, OBSERVED, WEIGHT, torch.tensor(3)), BRIER),
    "CONSTANT_HAZARD": ((EVENTS, ROWS), 4 / 80),
}


@pytest.mark.parametrize("table", INPUTS)
def test_each_wrong_answer_is_wrong_and_told_apart(table):
    inputs, truth = INPUTS[table]
    wrong = check.values(getattr(evaluation, table), *inputs)
    assert len(wrong) == len(getattr(evaluation, table))
    answers = list(wrong.values())
    for one, other in itertools.combinations([truth, *answers], 2):
        assert (torch.as_tensor(one) - torch.as_tensor(other)).abs().max() > 0.001
    for sentence, value in wrong.items():
        assert sentence in check.near(value, truth, mistakes=wrong).text
    assert check.near(truth, truth, mistakes=wrong).right


def test_wrong_risks_read_each_patients_own_rows_alone():
    other = HAZARD.where(torch.arange(6) < STOP[:, None], 0.9)
    for mistake in evaluation.OWN_RECORD.values():
        assert torch.equal(mistake.formula(HAZARD, STOP), mistake.formula(other, STOP))
    last = STOP.argmax()
    assert evaluation.summed(HAZARD, STOP)[last] == pytest.approx(float(HAZARD[last].sum()))
    assert evaluation.one_minus_survival(HAZARD, STOP)[last] == pytest.approx(1 - float(SURVIVAL[last, -1]))


def test_wrong_counts_of_pairs_are_a_plain_loop_with_one_rule_changed():
    rules = {
        "ties_lose": (0.0, True, False, 1),
        "ties_win": (1.0, True, False, 1),
        "tied_times_dropped": (0.5, False, False, 1),
        "notes_rule": (0.0, False, False, 1),
        "both_events": (0.5, True, True, 1),
        "upside_down": (0.5, True, False, -1),
    }
    for name, (tie, tied_times, events, sign) in rules.items():
        right, pairs = 0.0, 0
        for i, j in itertools.product(range(30), repeat=2):
            same_row = tied_times and STOP[i] == STOP[j] and not OBSERVED[j]
            if OBSERVED[i] and (STOP[i] < STOP[j] or same_row) and (OBSERVED[j] or not events):
                pairs += 1
                gap = sign * float(RISK[i] - RISK[j])
                right += 1 if gap > 0 else tie if gap == 0 else 0
        assert float(evaluation.CONCORDANCE[name].formula(RISK, STOP, OBSERVED)) == pytest.approx(right / pairs)


def test_without_censoring_the_wrong_brier_scores_are_right_but_for_who_reaches_the_horizon():
    everybody = torch.ones(30, dtype=torch.bool)
    truth = metrics.brier(SURVIVAL, Outcome.of(STOP, everybody), 3)
    inputs = (SURVIVAL[:, 2], STOP, everybody, torch.ones(30), torch.tensor(3))
    for mistake in evaluation.BRIER.values():
        assert float(mistake.formula(*inputs)) == pytest.approx(float(truth))


def test_the_wrong_brier_scores_know_who_was_lost_at_the_end_of_the_horizon_as_a_survivor():
    """An event in the first row, one lost after the third, one lost after the first: the horizon is three rows."""
    survival, weight = torch.tensor([0.4, 0.8, 0.7]).double(), torch.tensor([1.0, 2.0, 9.0]).double()
    inputs = survival, torch.tensor([1, 3, 1]), torch.tensor([True, False, False]), weight, torch.tensor(3)
    expected = {
        "lost_counted_as_events": (0.4**2 + 0.8**2 + 0.7**2) / 3,
        "lost_left_out": (0.4**2 + 0.2**2) / 2,
        "lost_counted_as_survivors": (0.4**2 + 0.2**2 + 0.3**2) / 3,
        "divided_by_the_known": (0.4**2 + 2 * 0.2**2) / 2,
    }
    found = {name: float(mistake.formula(*inputs)) for name, mistake in evaluation.BRIER.items()}
    assert found == pytest.approx(expected)


def test_sentences_begin_small_and_carry_no_full_stop():
    for table in INPUTS:
        for mistake in getattr(evaluation, table).values():
            assert mistake.sentence[0].islower()
            assert not mistake.sentence.endswith(".")
