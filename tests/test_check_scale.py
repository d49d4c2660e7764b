"""The wrong formulas of chapter 13 are what their sentences say, each is wrong, and no two are taken for one."""

import itertools

import pytest
import torch

from visitwise import check
from visitwise.check import scale
from visitwise.simulate import TEACHING

ROWS, EVENTS, PATIENTS = torch.tensor([6, 5]), torch.tensor([2, 0]), torch.tensor([3, 1])
LENGTH, N_CODES = torch.tensor([1, 2]), torch.tensor([3, 0, 1])


def test_the_wrong_hazards_at_rest_are_what_their_sentences_say():
    by_name = {name: float(wrong.formula(ROWS, EVENTS, PATIENTS)) for name, wrong in scale.RESTS_AT.items()}
    assert by_name == pytest.approx(
        {"all_together": 2 / 11, "average_of_rates": 1 / 6, "most_patients": 1 / 3, "events_by_patients": 1 / 2}
    )


def test_the_wrong_weights_are_what_their_sentences_say():
    by_name = {name: wrong.formula(PATIENTS).tolist() for name, wrong in scale.WEIGHTS.items()}
    assert by_name == {
        "shares": [0.75, 0.25],
        "equal": [1.0, 1.0],
        "upside_down": pytest.approx([2 / 3, 2]),
        "per_process": [0.375, 0.125],
    }


def test_the_wrong_bytes_are_what_their_sentences_say():
    by_name = {name: float(wrong.formula(LENGTH, N_CODES)) for name, wrong in scale.BOX_BYTES.items()}
    assert by_name == pytest.approx(
        {"real_codes": 4 * 4, "cells": 2 * 2 * 3, "visits_by_widest": 4 * 3 * 3, "mean_visit": 4 * 2 * 2 * 4 / 3}
    )


def test_own_means_are_weighed_right_by_the_right_weights_alone():
    sums = torch.tensor([-1.1, 0.75])
    own = torch.stack([scale.own_mean(loss_sum, n) for loss_sum, n in zip(sums, [3, 1], strict=True)])
    truth = sums.sum() / PATIENTS.sum()
    torch.testing.assert_close((2 * PATIENTS / PATIENTS.sum() * own).mean(), truth)
    for wrong in scale.WEIGHTS.values():
        assert abs((wrong.formula(PATIENTS) * own).mean() - truth) > 0.01


VISITS = TEACHING.draw(30, seed=1).cohort.visits
TABLES = [
    (scale.RESTS_AT, (ROWS, EVENTS, PATIENTS), 2 / 21, 0.001),
    (scale.WEIGHTS, (PATIENTS,), torch.tensor([1.5, 0.5]), 0.0005),
    (scale.WEIGHTS, (torch.tensor([50, 30, 20]),), torch.tensor([1.5, 0.9, 0.6]), 0.0005),
    (scale.BOX_BYTES, (VISITS.length, VISITS.code_offsets.diff()), VISITS.padded().codes.nbytes, 0.0005),
]


@pytest.mark.parametrize(("table", "inputs", "truth", "tolerance"), TABLES)
def test_each_mistake_is_wrong_and_told_apart(table, inputs, truth, tolerance):
    wrong = check.values(table, *inputs)
    assert len(wrong) == len(table)
    for sentence, value in wrong.items():
        assert sentence in check.near(value, truth, mistakes=wrong, tolerance=tolerance).text
    for one, other in itertools.combinations(wrong.values(), 2):
        assert (torch.as_tensor(one) - torch.as_tensor(other)).abs().max() > 2 * tolerance
    assert check.near(truth, truth, mistakes=wrong, tolerance=tolerance).right


def test_sentences_begin_small_and_carry_no_full_stop():
    for table in (scale.RESTS_AT, scale.WEIGHTS, scale.BOX_BYTES):
        for mistake in table.values():
            assert mistake.sentence[0].islower()
            assert not mistake.sentence.endswith(".")
