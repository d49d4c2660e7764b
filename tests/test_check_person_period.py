"""Chapter 2's wrong rows, divisors and gradients: each is what its sentence says, is wrong, and is told apart."""

import math

import pytest
import torch

from visitwise import check
from visitwise.check import person_period as wrong
from visitwise.functional import hazard_nll

# Ada, Ben, Cleo; the model has filled Ben's third cell, where he has no row. Dora is censored after one.
HAZARDS = torch.tensor([[0.1, 0.2, 0.3], [0.15, 0.25, 0.35], [0.1, 0.2, 0.3], [0.05, 0.45, 0.55]], dtype=torch.float64)
FOUR = (torch.logit(HAZARDS), torch.tensor([3, 2, 3, 1]), torch.tensor([True, True, False, False]))
ADA, BEN, CLEO, DORA = (
    -math.log(0.9 * 0.8 * 0.3),
    -math.log(0.85 * 0.25),
    -math.log(0.9 * 0.8 * 0.7),
    -math.log(0.95),
)


def gradient() -> torch.Tensor:
    logits = FOUR[0].clone().requires_grad_()
    hazard_nll(logits, *FOUR[1:]).backward()
    return logits.grad


def test_the_wrong_rows_cost_what_their_sentences_say():
    by_name = {name: mistake.formula(*FOUR).item() for name, mistake in wrong.ROWS.items()}
    total, after_ben, after_dora = ADA + BEN + CLEO + DORA, -math.log(0.65), -math.log(0.55 * 0.45)
    assert by_name == pytest.approx(
        {
            "every_cell": (total + after_ben + after_dora) / 4,
            "rows_after_event": (total + after_ben) / 4,
            "rows_after_censoring": (total + after_dora) / 4,
            "events_alone": (ADA + BEN) / 2,
            "drop_censored_row": (ADA + BEN - math.log(0.9 * 0.8)) / 4,
            "mean_over_rows": total / 9,
            "sum_over_patients": total,
        }
    )


def test_every_wrong_form_of_the_loss_is_wrong_and_told_apart():
    truth = hazard_nll(*FOUR)
    given = check.values(wrong.ROWS, *FOUR)
    assert len(given) == len(wrong.ROWS)
    for sentence, value in given.items():
        assert check.near(value, truth, mistakes=given).text.endswith(f"is not it: {sentence}.")


def test_without_rows_to_be_wrong_about_nothing_is_called_a_mistake():
    full = (FOUR[0][:1], torch.tensor([3]), torch.tensor([True]))
    truth = hazard_nll(*full)
    for name in ("every_cell", "rows_after_event", "rows_after_censoring"):
        assert wrong.ROWS[name].formula(*full).item() == pytest.approx(truth.item())
    assert check.near(truth, truth, mistakes=check.values(wrong.ROWS, *full)).right


def test_the_wrong_rows_can_be_trained_on_and_lead_elsewhere():
    for name in ("every_cell", "rows_after_event", "rows_after_censoring"):
        logits = FOUR[0].clone().requires_grad_()
        wrong.ROWS[name].formula(logits, *FOUR[1:]).backward()
        assert logits.grad.isfinite().all(), name
        assert (logits.grad - gradient()).abs().max() > 0.05, name


def test_the_right_push_is_hazard_minus_label_on_the_rows_at_risk():
    by_hand = torch.tensor([[0.1, 0.2, -0.7], [0.15, -0.75, 0], [0.1, 0.2, 0.3], [0.05, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(gradient(), by_hand / 4)
    torch.testing.assert_close(wrong.push_of_sum(*FOUR), by_hand)


def test_every_wrong_push_is_wrong_and_told_apart():
    truth = gradient()
    mistakes = check.values(wrong.PUSH, *FOUR)
    assert len(mistakes) == len(wrong.PUSH)
    for sentence, value in mistakes.items():
        assert check.near(value, truth, mistakes=mistakes).text == f"That is not it: {sentence}."
    assert check.near(truth, truth, mistakes=mistakes).right


def test_the_push_on_the_hazard_reaches_the_logit_through_the_slope_of_the_sigmoid():
    h = HAZARDS
    torch.testing.assert_close(wrong.push_on_hazard(*FOUR) * h * (1 - h), gradient())


def test_on_one_row_the_wrong_pushes_are_single_numbers():
    row = (torch.logit(torch.tensor([[0.3]], dtype=torch.float64)), torch.tensor([1]), torch.tensor([True]))
    given = check.values(wrong.PUSH, *row)
    answers = {guess: check.near(guess, -0.7, mistakes=given).text for guess in (0.3, -1 / 0.3, 0.7, -0.7)}
    assert "you forgot the label" in answers[0.3]
    assert "with respect to the hazard" in answers[-1 / 0.3]
    assert "sign is not" in answers[0.7]
    assert answers[-0.7].startswith("Right")
