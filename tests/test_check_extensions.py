"""The wrong formulas of chapter 11 are what their sentences say, each is wrong, and no two are taken for one."""

import pytest
import torch

from visitwise import check
from visitwise.check import extensions
from visitwise.functional import competing_risks_nll, cumulative_incidence

ADA = torch.tensor([[0.1, 0.05], [0.2, 0.1], [0.3, 0.2]], dtype=torch.float64)
LOGITS = ADA.log() - (1 - ADA.sum(1, keepdim=True)).log()
HAZARDS = torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64)
RATE, GAP = torch.tensor(0.4, dtype=torch.float64), torch.tensor(3.0, dtype=torch.float64)
BOX = torch.tensor([[0.1, 0.2, 0.3], [0.2, 0.6, torch.nan]], dtype=torch.float64)
# Four with an event, in rows 0, 1, 1 and 3; two lost after one row; four free of it after four.
STOP = torch.tensor([1, 2, 2, 4, 1, 1, 4, 4, 4, 4])
OBSERVED = torch.tensor([True, True, True, True, False, False, False, False, False, False])


def nll(stop: int, cause: int) -> torch.Tensor:
    return competing_risks_nll(LOGITS[None], torch.tensor([stop]), torch.tensor([cause]))


def test_what_is_left_by_wrong_ways():
    by_name = {name: float(m.formula(torch.tensor([0.5, 0.6, 0.4]))) for name, m in extensions.LEFT.items()}
    assert by_name == pytest.approx({"each_alone": 0.12, "first_cause_only": 0.5, "cut_at_zero": 0.0})


def test_the_wrong_incidences_of_ada_are_what_their_sentences_say():
    by_name = {name: m.formula(ADA).tolist() for name, m in extensions.INCIDENCE.items()}
    assert by_name["hazards_added"] == pytest.approx([0.1, 0.3, 0.6])
    assert by_name["other_causes_censored"] == pytest.approx([0.1, 0.28, 0.496])
    assert by_name["this_interval_only"] == pytest.approx([0.1, 0.17, 0.1785])
    assert by_name["any_cause"] == pytest.approx([0.15, 0.405, 0.7025])
    assert by_name["survival_after"] == pytest.approx([0.085, 0.204, 0.29325])


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize("cause", [1, 2])
def test_the_wrong_losses_charge_another_last_row(stop, cause):
    given = ADA, torch.tensor(stop), torch.tensor(cause)
    by_name = {name: float(m.formula(*given)) for name, m in extensions.COMPETING_NLL.items()}
    last, before = ADA[stop - 1], ADA[: stop - 1]
    survived = float((1 - before.sum(1)).prod())
    assert by_name["whether_only"] == pytest.approx(float(-torch.log(survived * last.sum())))
    own = (1 - before[:, cause - 1]).prod() * last[cause - 1]
    assert by_name["own_cause_only"] == pytest.approx(float(-own.log()))
    each = (1 - before).prod() * last[cause - 1] * (1 - last[2 - cause])
    assert by_name["a_bce_for_each"] == pytest.approx(float(-each.log()))
    assert all(abs(value - float(nll(stop, cause))) > 0.0005 for value in by_name.values() if stop > 1)


def test_a_censored_patient_has_no_which():
    given = ADA, torch.tensor(3), torch.tensor(0)
    assert float(extensions.whether_only(*given)) == pytest.approx(float(nll(3, 0)))
    assert float(extensions.own_cause_only(*given)) == pytest.approx(float(-(1 - ADA[:, 0]).log().sum()))
    assert float(extensions.a_bce_for_each(*given)) == pytest.approx(float(-(1 - ADA).log().sum()))


def test_wrong_risks_ahead_and_wrong_shares():
    assert extensions.frozen_hazard(BOX).tolist() == pytest.approx([1 - 0.9**3, 1 - 0.8**3])
    assert extensions.along_the_record(BOX).tolist() == pytest.approx([1 - 0.504, 1 - 0.8 * 0.4])
    for horizon, dropped, no, yes in [(2, 3 / 8, 3 / 10, 5 / 10), (1, 1 / 10, 1 / 10, 1 / 10), (4, 4 / 8, 0.4, 0.6)]:
        given = STOP, OBSERVED, torch.tensor(horizon)
        assert [float(m.formula(*given)) for m in extensions.WITHIN.values()] == pytest.approx([dropped, no, yes])


@pytest.mark.parametrize(
    ("table", "inputs", "truth"),
    [
        (extensions.LEFT, (torch.tensor([0.5, 0.6, 0.4]),), torch.tensor(-0.5)),
        (extensions.INCIDENCE, (ADA,), cumulative_incidence(LOGITS)[:, 0]),
        (extensions.COMPETING_NLL, (ADA, torch.tensor(3), torch.tensor(1)), nll(3, 1)),
        (extensions.CUMULATIVE_HAZARD, (HAZARDS,), -torch.log1p(-HAZARDS).sum()),
        (extensions.HAZARD_OF_A_GAP, (RATE, GAP), -torch.expm1(-RATE * GAP)),
        (extensions.AHEAD, (BOX,), torch.tensor([0.35, 0.45])),
        (extensions.WITHIN, (STOP, OBSERVED, torch.tensor(2)), torch.tensor(1 - 0.9 * 5 / 7)),
    ],
)
def test_each_wrong_formula_is_wrong_and_told_apart(table, inputs, truth):
    wrong = check.values(table, *inputs)
    assert len(wrong) == len(table)
    for sentence, value in wrong.items():
        answer = check.near(value, truth, mistakes=wrong)
        assert not answer.right
        assert sentence in answer.text
        assert sentence[0].islower()
        assert not sentence.endswith(".")
    assert check.near(truth, truth, mistakes=wrong).right
