"""A reader's guess is answered: right, off, or with the mistake behind it; and every wrong formula is really wrong."""

import math

import numpy as np
import pandas as pd
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


# ------------------------------------------------------------------------------------------------------- one number


def test_no_guess_is_told_what_to_do_and_passes():
    answer = check.near(None, 0.5, mistakes={"you slipped": 0.4})
    assert not answer.right
    assert repr(answer) == "No guess yet: put a number in place of None and run this again."


@pytest.mark.parametrize(
    "guess",
    [
        0.685,
        0.6852,
        0.685179,
        torch.tensor(0.685),
        torch.tensor([[0.685]]),
        torch.tensor(0.685, requires_grad=True),
        np.array([0.685]),
        np.float32(0.685),
        pd.Series([0.685]),
        "0.685",
    ],
)
def test_a_right_guess_is_right_at_three_decimals(guess):
    for truth in (0.685179, torch.tensor(0.685179), torch.tensor([0.685179], requires_grad=True)):
        answer = check.near(guess, truth)
        assert answer.right
        assert answer.text == "Right: 0.6852."


def test_a_guess_that_equals_a_wrong_formula_is_told_which():
    answer = check.near(0.3285, hazard_nll(*CENSORED), mistakes=check.values(likelihood.LIKELIHOOD, *CENSORED))
    assert answer.text == "0.3285 is not it: you left out the last visit this person survived."
    assert not answer.right


@pytest.mark.parametrize(
    ("guess", "says"),
    [
        (0.9, "too high by 0.2148"),
        (0.6, "too low by 0.08518"),
        (-0.685179, "the size is right, the sign is not"),
        (-0.685, "the size is right, the sign is not"),
        (68.5179, "that is the number in percent; the number itself is expected"),
        (68.5, "that is the number in percent; the number itself is expected"),
    ],
)
def test_another_guess_is_told_how_far_off_and_in_which_direction(guess, says):
    assert check.near(guess, 0.685179).text.endswith(f" is not it: {says}.")


@pytest.mark.parametrize(
    "guess", ["a half", [0.1, 0.2], torch.ones(2), np.ones(2), math.nan, math.inf, object(), 1j, 10**400]
)
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


def test_a_wrong_formula_that_gives_the_right_number_hides_no_other():
    answer = check.near(0.5006, 0.5, mistakes={"explains nothing": 0.5004, "explains": 0.5009})
    assert answer.text == "0.5006 is not it: explains."


@pytest.mark.parametrize("wrong", [None, "text", math.nan, math.inf, torch.ones(2), object()])
def test_a_mistake_without_a_number_explains_nothing(wrong):
    assert check.near(0.9, 0.5, mistakes={"you slipped": wrong}).text == "0.9 is not it: too high by 0.4."


def test_nothing_is_called_the_percentage_or_the_negative_of_zero():
    assert check.near(0.01, 0.0).text == "0.01 is not it: too high by 0.01."


def test_a_tolerance_decides_what_is_near():
    assert check.near(0.52, 0.5, tolerance=0.02 + 1e-12).right
    assert not check.near(0.5 + 1e-9, 0.5, tolerance=1e-10).right


def test_a_count_is_shown_in_full():
    assert check.near(34_124, 34_123).text == "34,124 is not it: too high by 1."
    assert check.near(34_123, 34_123).text == "Right: 34,123."
    assert check.near(-34_124, -34_123).text == "-34,124 is not it: too low by 1."


@pytest.mark.parametrize("truth", [math.inf, -math.inf, math.nan])
def test_a_truth_that_is_not_finite_can_be_guessed(truth):
    assert check.near(truth, truth).right
    assert check.near(str(truth), torch.tensor(truth)).right
    assert check.near(1.0, truth).text == "1 is not it: the right answer is not finite."
    assert not check.near(-truth if math.isinf(truth) else math.inf, truth).right
    assert check.near(1.0, truth, mistakes={"it overflows": 1.0}).text == "1 is not it: it overflows."


# ------------------------------------------------------------------------------------------------- a tensor of numbers

TRUTH = torch.tensor([0.9, 0.72, 0.504], dtype=torch.float64)


def test_no_tensor_yet_is_told_what_to_do():
    assert check.near(None, TRUTH).text == "No guess yet: put a tensor in place of None and run this again."


@pytest.mark.parametrize(
    "guess",
    [
        TRUTH,
        TRUTH.float(),
        TRUTH.clone().requires_grad_(),
        TRUTH + 0.0004,
        TRUTH.numpy(),
        [0.9, 0.72, 0.504],
        (0.9, 0.72, 0.504),
        list(TRUTH),
    ],
)
def test_a_tensor_is_right_if_every_entry_is(guess):
    assert check.near(guess, TRUTH).text == "Right: [0.9, 0.72, 0.504]."
    assert check.near(guess, TRUTH.clone().requires_grad_()).right


def test_a_list_of_numbers_is_read_in_full_precision():
    assert check.near([0.9, 0.72, 0.504], TRUTH, tolerance=1e-15).right


def test_one_entry_that_is_off_makes_a_tensor_wrong():
    answer = check.near(TRUTH + torch.tensor([0.0, -0.02, 0.001]), TRUTH)
    assert answer.text == "That is not it: the entry furthest from the truth is off by 0.02."
    assert not answer.right


@pytest.mark.parametrize(
    ("guess", "shape"), [(TRUTH[:2], [2]), (TRUTH[None], [1, 3]), (0.9, []), ([[0.9], [0.72]], [2, 1])]
)
def test_another_shape_is_told_before_any_number(guess, shape):
    assert check.near(guess, TRUTH).text == f"That has the shape {shape}; [3] is expected."


@pytest.mark.parametrize(
    "guess", ["0.9", ["a", "b", "c"], [[1.0], [1.0, 2.0]], object(), TRUTH.to(torch.complex64), {}]
)
def test_a_guess_that_is_no_tensor_is_answered_not_raised(guess):
    answer = check.near(guess, TRUTH)
    assert not answer.right
    assert answer.text.endswith("cannot be checked; a tensor of numbers is expected.")


def test_the_mistake_nearest_to_a_tensor_is_named():
    mistakes = {"further": TRUTH + 0.0504, "nearer": TRUTH + 0.0501, "another shape": TRUTH[:1], "no tensor": "0.9"}
    assert check.near(TRUTH + 0.05, TRUTH, mistakes=mistakes).text == "That is not it: nearer."


def test_a_wrong_formula_that_gives_the_right_tensor_explains_nothing():
    answer = check.near(TRUTH + 0.0006, TRUTH, mistakes={"you slipped": TRUTH + 0.0002})
    assert answer.text == "That is not it: the entry furthest from the truth is off by 0.0006."


def test_what_is_not_finite_has_to_be_so_in_both():
    truth = torch.tensor([0.5, math.nan, math.inf])
    assert check.near(torch.tensor([0.5, math.nan, math.inf]), truth).right
    for wrong in ([0.5, 0.0, math.inf], [0.5, math.nan, -math.inf], [math.nan, math.nan, math.inf]):
        answer = check.near(wrong, truth)
        assert answer.text.startswith("That is not it: an entry is finite where it should not be")
        assert check.near(wrong, truth, mistakes={"you slipped": wrong}).text == "That is not it: you slipped."


def test_masks_and_whole_numbers_are_tensors_too():
    mask = torch.tensor([True, True, False])
    assert check.near(mask, mask).text == "Right: [True, True, False]."
    assert check.near([1, 1, 0], mask).right
    assert check.near(torch.tensor([3, 2]), torch.tensor([3, 2])).text == "Right: [3, 2]."
    assert not check.near(~mask, mask).right


def test_nothing_is_right_where_nothing_is_asked():
    assert check.near([], torch.ones(0)).text == "Right: []."


def test_a_long_answer_is_told_by_its_shape():
    assert check.near(torch.ones(100, 5), torch.ones(100, 5)).text == "Right: a tensor of shape [100, 5]."
    assert check.same(torch.ones(100, 5), 3).text == "a tensor of shape [100, 5] is not it."
    assert check.same(list(range(200)), 3).text == "a list of 200 is not it."
    assert check.near(torch.ones(100), 0.5).text.startswith("a tensor of shape [100] is not a number")


# ------------------------------------------------------------------------------------------- what has no distance


def test_no_answer_yet_is_told_what_to_do():
    assert check.same(None, [2, 3]).text == "No guess yet: put your answer in place of None and run this again."


@pytest.mark.parametrize(
    ("guess", "truth"),
    [
        ((2, 3), torch.Size([2, 3])),
        ([2, 3], (2, 3)),
        (torch.Size([2, 3]), [2, 3]),
        (torch.tensor([2, 3]), [2, 3]),
        (np.array([2, 3]), [2, 3]),
        ([torch.tensor(2), np.int64(3)], [2, 3]),
        ([[2], [3]], ((2,), (3,))),
        ("Error ", "error"),
        (["YES", "no"], ["yes", "no"]),
        (True, True),
        (np.True_, True),
        (torch.tensor(True), True),
        (3, 3),
        (3.0, torch.tensor(3)),
        (torch.float32, torch.float32),
        (torch.Tensor, torch.Tensor),
        ({1, 2}, {2, 1}),
    ],
)
def test_the_same_answer_is_right_however_it_is_written(guess, truth):
    assert check.same(guess, truth).right
    assert check.same(guess, truth).text.startswith("Right: ")


@pytest.mark.parametrize(
    ("guess", "truth"),
    [
        ([3, 2], [2, 3]),
        ([2, 3, 1], [2, 3]),
        ([2], 2),
        ("works", "error"),
        ("2", 2),
        (1, True),
        (True, 1),
        (False, 0),
        (torch.float64, torch.float32),
        (pd.DataFrame({"a": [1, 2]}), [1, 2]),
        (object(), [2, 3]),
        (math.nan, math.nan),
    ],
)
def test_another_answer_is_not_it_and_nothing_is_raised(guess, truth):
    answer = check.same(guess, truth)
    assert not answer.right
    assert answer.text.endswith(" is not it.")


def test_an_answer_that_a_mistake_leads_to_is_told_which():
    mistakes = {"patients come first": [3, 2], "an axis is missing": torch.Size([2])}
    assert check.same((3, 2), [2, 3], mistakes=mistakes).text == "[3, 2] is not it: patients come first."
    assert check.same([2], [2, 3], mistakes=mistakes).text == "[2] is not it: an axis is missing."
    assert check.same([5], [2, 3], mistakes=mistakes).text == "[5] is not it."
    assert check.same("Works", "error", mistakes={"it raises": "works"}).text == "'Works' is not it: it raises."


def test_yes_is_not_taken_for_the_mistake_one():
    assert check.same(True, 2, mistakes={"you counted one": 1}).text == "True is not it."


def test_the_right_answer_is_right_even_if_a_mistake_leads_to_it():
    assert check.same(2, 2, mistakes={"you counted twice": 2}).right


def test_an_answer_is_shown_with_few_digits():
    assert check.same([torch.tensor(0.1), 1 / 3], [0, 0]).text == "[0.1, 0.3333] is not it."


# ------------------------------------------------------------------------------------------------------ the formulas


def test_formulas_without_a_value_are_left_out():
    given = check.values(likelihood.LIKELIHOOD, *CENSORED)
    assert "you left the censored patients out" not in given
    assert all(math.isfinite(value) for value in given.values())


def test_a_formula_of_several_numbers_gives_a_tensor_and_one_of_one_a_number():
    table = {
        "doubled": check.Mistake("you doubled", lambda x: 2 * x),
        "summed": check.Mistake("you summed", lambda x: x.sum(0, keepdim=True)),
        "counted": check.Mistake("you counted", lambda x: (x > 0).sum()),
    }
    given = check.values(table, TRUTH.clone().requires_grad_())
    torch.testing.assert_close(given["you doubled"], 2 * TRUTH)
    assert given["you summed"] == pytest.approx(2.124)
    assert given["you counted"] == 3.0
    assert all(isinstance(given[name], float) for name in ("you summed", "you counted"))
    assert check.near(2 * TRUTH, TRUTH, mistakes=given).text == "That is not it: you doubled."


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
