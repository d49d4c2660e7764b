"""Chapter 7's wrong answers about masks: each is what its sentence says, is wrong, and is told apart."""

import math

import pytest
import torch

from visitwise import check
from visitwise.check import masks
from visitwise.textbook import clamp_and_log_nll, weights_of_codes

CODE_VALUES = torch.tensor([2.0, 4.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
CODE_MASK = torch.tensor([True, True, False, False, False, False])
BEN = torch.tensor([0.15, 0.25], dtype=torch.float64)
ALONE = torch.tensor([0.30, 0.50], dtype=torch.float64)
TOGETHER = torch.tensor([[0.90, 0.20, 0.10], [0.10, 0.55, 0.70]], dtype=torch.float64)
SCORES = torch.tensor([[1.0, 0.0, 0.0], [2.0, 1.0, 0.5], [0.0, 0.0, 0.0]], dtype=torch.float64)
CELLS = torch.tensor([[True, False, False], [True, True, False], [False, False, False]])


def assert_told_apart(truth, mistakes):
    for sentence, value in mistakes.items():
        assert sentence in check.near(value, truth, mistakes=mistakes, tolerance=1e-6).text
    assert check.near(truth, truth, mistakes=mistakes).right


def test_a_count_without_its_mask_is_neither_the_mean_nor_the_sum_of_the_codes():
    wrong = check.values(masks.UNMASKED_COUNT, CODE_VALUES, CODE_MASK)
    assert list(wrong.values()) == [3.0, 6.0]
    assert_told_apart(torch.tensor(1.0), wrong)


def test_padding_charged_as_survived_or_as_the_event_is_told_apart_from_nothing():
    wrong = check.values(masks.PADDED_ROW, torch.tensor(0.4, dtype=torch.float64))
    assert list(wrong.values()) == pytest.approx([-math.log(0.6), -math.log(0.4)])
    assert_told_apart(torch.tensor(0.0), wrong)


@pytest.mark.parametrize("hazard", [BEN, torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)])
def test_a_late_label_is_told_apart_from_the_right_one_a_clamped_zero_and_a_forgotten_row(hazard):
    n = len(hazard)
    stop, observed = torch.tensor([n + 1]), torch.tensor([True])
    zero = torch.cat([hazard, hazard.new_zeros(1)])[None]
    made = torch.arange(n + 1)[None] < n
    wrong = check.values(masks.LATE_EVENT, hazard)
    assert list(wrong.values()) == pytest.approx(
        [
            clamp_and_log_nll(hazard[None], stop - 1, observed).item(),
            clamp_and_log_nll(zero, stop, observed).item(),
            clamp_and_log_nll(hazard[None], stop - 2, ~observed).item(),
        ]
    )
    assert_told_apart(clamp_and_log_nll(zero, stop, observed, made), wrong)


def test_the_first_patient_the_mean_and_the_sign_are_told_apart_from_the_largest_change():
    wrong = check.values(masks.COMPANY, ALONE, TOGETHER)
    assert list(wrong.values()) == pytest.approx([0.60, 0.125, 0.05])
    assert_told_apart((TOGETHER[1, :2] - ALONE).abs().max(), wrong)


def test_wrong_softmaxes_are_told_apart_by_what_the_padding_and_the_empty_visit_get():
    wrong = check.values(masks.WEIGHTS, SCORES, CELLS)
    truth = weights_of_codes(SCORES, CELLS, guard_empty=True)
    assert_told_apart(truth, wrong)
    by_name = dict(zip(masks.WEIGHTS, wrong.values(), strict=True))
    e = math.e
    torch.testing.assert_close(by_name["filled_with_zero"][1, 2].item(), 1 / (e**2 + e + 1))
    torch.testing.assert_close(by_name["masked_after"][1].sum().item(), (e**2 + e) / (e**2 + e + e**0.5))
    assert by_name["unguarded"].isnan().all(-1).tolist() == [False, False, True]
