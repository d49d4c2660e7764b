"""The wrong guesses at the loss zoo are what their sentences say, each is wrong, and no two are taken for one."""

import itertools
import math

import pytest
import torch

from visitwise import check
from visitwise.check import loss_zoo
from visitwise.zoo import best_hazards, event_weighted_nll, focal_loss, unweighted_logits

TRUE = torch.tensor([0.02], dtype=torch.float64)
TEN = torch.tensor(10.0, dtype=torch.float64)
LEARNED = torch.logit(torch.tensor([0.344828], dtype=torch.float64))
BOX = torch.logit(torch.tensor([[0.1, 0.2, 0.3], [0.15, 0.25, 0.9], [0.2, 0.9, 0.9]], dtype=torch.float64))
COHORT = BOX, torch.tensor([3, 2, 1]), torch.tensor([False, True, False])
CASES = [
    (loss_zoo.FOCAL, (TRUE,), best_hazards(focal_loss, TRUE)),
    (loss_zoo.UNWEIGHTED, (LEARNED, TEN), unweighted_logits(LEARNED, 10.0).sigmoid()),
    (loss_zoo.GAP, COHORT, torch.tensor(0.2 - 1 / 6, dtype=torch.float64)),  # six rows, one event
]


@pytest.mark.parametrize(("table", "given", "truth"), CASES, ids=["focal", "unweighted", "gap"])
def test_each_mistake_is_wrong_and_told_apart_by_its_sentence(table, given, truth):
    wrong = check.values(table, *given)
    assert len(wrong) == len(table)
    apart = [*map(torch.as_tensor, wrong.values()), truth]
    assert all((one - other).abs().max() > 0.002 for one, other in itertools.combinations(apart, 2))
    for sentence, value in wrong.items():
        assert sentence in check.near(value, truth, mistakes=wrong).text
    assert check.near(truth, truth, mistakes=wrong).right


def test_mistakes_about_the_focal_loss_are_its_parts():
    alone = {name: float(mistake.formula(TRUE)) for name, mistake in loss_zoo.FOCAL.items()}
    assert alone["truth_itself"] == 0.02
    assert alone["alpha_alone"] == pytest.approx(0.25 * 0.02 / (0.25 * 0.02 + 0.75 * 0.98))
    assert alone["alpha_upside_down"] == pytest.approx(0.75 * 0.02 / (0.75 * 0.02 + 0.25 * 0.98))
    without_focus = best_hazards(lambda *given, **how: focal_loss(*given, gamma=0.0, **how), TRUE)
    assert alone["alpha_alone"] == pytest.approx(float(without_focus), abs=1e-9)
    assert alone["focus_alone"] == pytest.approx(0.1903, abs=5e-5)


def test_mistakes_in_taking_a_weight_back_are_what_their_sentences_say():
    odds = 0.344828 / (1 - 0.344828)
    alone = {name: float(mistake.formula(LEARNED, TEN)) for name, mistake in loss_zoo.UNWEIGHTED.items()}
    assert alone["divided_hazard"] == pytest.approx(0.0344828)
    assert alone["divided_logit"] == pytest.approx(1 / (1 + math.exp(-math.log(odds) / 10)))
    assert alone["weight_subtracted"] == pytest.approx(odds / (odds + math.exp(10)))
    assert alone["applied_again"] == pytest.approx(10 * odds / (1 + 10 * odds))
    assert alone["odds_for_hazard"] == pytest.approx(odds / 10)
    again = best_hazards(lambda *given, **how: event_weighted_nll(*given, event_weight=10.0, **how), LEARNED.sigmoid())
    assert alone["applied_again"] == pytest.approx(float(again), abs=1e-9)


def test_mistakes_in_the_gap_are_what_their_sentences_say():
    alone = {name: float(mistake.formula(*COHORT)) for name, mistake in loss_zoo.GAP.items()}
    assert alone["per_patient"] == pytest.approx(0.2 - 1 / 3)
    assert alone["over_the_box"] == pytest.approx(3.9 / 9 - 1 / 6)
    assert alone["events_alone"] == pytest.approx(0.2 - 1 / 2)
    assert alone["other_way_round"] == pytest.approx(1 / 6 - 0.2)


def test_sentences_begin_small_and_carry_no_full_stop():
    for table, _, _ in CASES:
        for mistake in table.values():
            assert not mistake.sentence[0].isupper()
            assert not mistake.sentence.endswith(".")
