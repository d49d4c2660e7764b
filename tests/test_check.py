"""A reader's guess is answered: right, off, or with the mistake behind it; and every wrong formula is really wrong."""

import math

import pytest
import torch

from visitwise import check
from visitwise.check import likelihood
from visitwise.functional import event_probability, hazard_nll, survival

LOGITS = torch.logit(torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64))
EVENT = (LOGITS[None], torch.tensor([3]), torch.tensor([True]))
CENSORED = (LOGITS[None], torch.tensor([3]), torch.tensor([False]))
THREE = (
    torch.logit(torch.tensor([[0.1, 0.2, 0.3], [0.15, 0.25, math.nan], [0.1, 0.2, 0.3]], dtype=torch.float64)),
    torch.tensor([3, 2, 3]),
    torch.tensor([True, True, False]),
)


def test_no_guess_is_told_what_to_do_and_passes():
    answer = check.near(None, 0.5, mistakes={"you slipped": 0.4})
    assert not answer.right
    assert repr(answer) == "No guess yet: put a number in place of None and run this again."


@pytest.mark.parametrize("guess", [0.685, 0.6852, 0.685179, torch.tensor(0.685), torch.tensor([0.685]), "0.685"])
def test_a_right_guess_is_right_at_three_decimals(guess):
    answer = check.near(guess, torch.tensor(0.685179))
    assert answer.right
    assert answer.text == "Right: 0.6852."


def test_a_guess_that_equals_a_wrong_formula_is_told_which():
    answer = check.near(0.3285, hazard_nll(*CENSORED), mistakes=check.values(likelihood.LIKELIHOOD, *CENSORED))
    assert answer.text == "0.3285 is not it: you left out the last visit this person survived."
    assert not answer.right


@pytest.mark.parametrize(
    ("guess", "says"),
    [(0.9, "too high by 0.2148"), (0.6, "too low by 0.08518"), (-0.685179, "the sign is not"), (68.5179, "in percent")],
)
def test_another_guess_is_told_how_far_off_and_in_which_direction(guess, says):
    assert says in check.near(guess, 0.685179).text


@pytest.mark.parametrize("guess", ["a half", [0.1, 0.2], torch.ones(2), math.nan, math.inf, object(), 1j, 10**400])
def test_a_guess_that_is_no_number_is_answered_not_raised(guess):
    answer = check.near(guess, 0.5)
    assert not answer.right
    assert "one number is expected" in answer.text


def test_the_nearest_of_several_mistakes_is_named():
    answer = check.near(0.3001, 0.5, mistakes={"further": 0.3005, "nearer": 0.3002})
    assert "nearer" in answer.text


def test_a_wrong_formula_that_gives_the_right_number_explains_nothing():
    answer = check.near(0.5006, 0.5, mistakes={"you slipped": 0.5002})
    assert answer.text == "0.5006 is not it: too high by 0.0006."


def test_formulas_without_a_value_are_left_out():
    given = check.values(likelihood.LIKELIHOOD, *CENSORED)
    assert "you left the censored patients out" not in given
    assert all(math.isfinite(value) for value in given.values())


def test_the_wrong_survivals_are_what_their_sentences_say():
    by_name = {name: mistake.formula(LOGITS).item() for name, mistake in likelihood.SURVIVAL.items()}
    assert by_name == pytest.approx(
        {
            "exp_of_minus_sum": math.exp(-0.6),
            "one_minus_sum": 0.4,
            "last_visit_alone": 0.7,
            "one_visit_short": 0.72,
            "event_by_then": 0.496,
        }
    )


def test_the_wrong_event_probabilities_are_what_their_sentences_say():
    by_name = {name: mistake.formula(LOGITS).item() for name, mistake in likelihood.EVENT_PROBABILITY.items()}
    assert by_name == pytest.approx(
        {
            "hazard_as_event_probability": 0.3,
            "survived_the_event": 0.3 * 0.504,
            "event_by_then": 0.496,
            "one_visit_short": 0.72,
        }
    )


def test_the_wrong_likelihoods_are_what_their_sentences_say():
    by_name = {name: mistake.formula(*THREE).item() for name, mistake in likelihood.LIKELIHOOD.items()}
    ada, ben, cleo = -math.log(0.9 * 0.8 * 0.3), -math.log(0.85 * 0.25), -math.log(0.9 * 0.8 * 0.7)
    by_hand = {
        "drop_censored_row": (ada + ben - math.log(0.9 * 0.8)) / 3,
        "count_event_row_twice": (ada - math.log(0.7) + ben - math.log(0.75) + cleo) / 3,
        "censored_as_event": (ada + ben + ada) / 3,
        "event_as_censored": (cleo - math.log(0.85 * 0.75) + cleo) / 3,
        "last_row_alone": -(math.log(0.3) + math.log(0.25) + math.log(0.7)) / 3,
        "events_alone": (ada + ben) / 2,
        "sum_instead_of_product": (0.1 + 0.2 - math.log(0.3) + 0.15 - math.log(0.25) + 0.1 + 0.2 + 0.3) / 3,
        "likelihood_without_log": (0.216 + 0.2125 + 0.504) / 3,
        "mean_over_rows": (ada + ben + cleo) / 8,
        "sum_over_patients": ada + ben + cleo,
    }
    assert by_name == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("table", "inputs", "truth"),
    [
        (likelihood.SURVIVAL, (LOGITS,), survival(LOGITS)[-1]),
        (likelihood.EVENT_PROBABILITY, (LOGITS,), event_probability(LOGITS)[-1]),
        (likelihood.LIKELIHOOD, THREE, hazard_nll(*THREE)),
    ],
)
def test_every_wrong_formula_is_wrong_and_told_apart(table, inputs, truth):
    given = check.values(table, *inputs)
    assert len(given) == len(table)  # no two share a sentence
    for sentence, value in given.items():
        assert check.near(value, truth, mistakes=given).text.endswith(f"is not it: {sentence}.")


def test_the_wrong_likelihoods_can_be_trained_on():
    for name in ("drop_censored_row", "count_event_row_twice", "censored_as_event", "events_alone"):
        logits = THREE[0].clone().requires_grad_()
        likelihood.LIKELIHOOD[name].formula(logits, *THREE[1:]).backward()
        assert logits.grad.isfinite().all(), name


def test_what_is_right_for_one_patient_is_not_called_a_mistake():
    given = check.values(likelihood.LIKELIHOOD, *EVENT)
    assert check.near(hazard_nll(*EVENT), hazard_nll(*EVENT), mistakes=given).right
