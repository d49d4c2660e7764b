"""The wrong formulas of chapter 6 are what their sentences say, each is wrong, and no two are taken for one."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from visitwise import check
from visitwise.check import packing

FOUR = torch.tensor([2, 5, 3, 1])
TRUTH = pack_padded_sequence(torch.zeros(4, 5, 1), FOUR, batch_first=True, enforce_sorted=False)
STATES = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 5, 3)))
LAST = STATES[torch.arange(4), FOUR - 1]


def test_the_wrong_fields_of_four_patients_are_what_their_sentences_say():
    by_name = {name: mistake.formula(FOUR).tolist() for name, mistake in packing.BATCH_SIZES.items()}
    assert by_name == {
        "lengths_as_they_came": [2, 5, 3, 1],
        "longest_first": [5, 3, 2, 1],
        "patients_of_each_length": [1, 1, 1, 0, 1],
        "patients_gone": [0, 1, 2, 3, 3],
        "one_visit_early": [3, 2, 1, 1, 0],
    }
    by_name = {name: mistake.formula(FOUR).tolist() for name, mistake in packing.UNSORTED_INDICES.items()}
    assert by_name == {
        "the_way_there": [1, 2, 0, 3],
        "shortest_first": [1, 3, 2, 0],
        "places_from_one": [3, 1, 2, 4],
    }
    assert {name: int(mistake.formula(FOUR)) for name, mistake in packing.ROWS.items()} == {
        "cells_of_the_box": 20,
        "visits_of_the_longest": 5,
        "padding_alone": 9,
    }


@pytest.mark.parametrize(
    ("table", "truth"),
    [
        (packing.BATCH_SIZES, TRUTH.batch_sizes),
        (packing.UNSORTED_INDICES, TRUTH.unsorted_indices),
        (packing.ROWS, torch.tensor(11)),
    ],
)
def test_each_wrong_field_is_wrong_and_told_apart(table, truth):
    wrong = check.values(table, FOUR)
    answers = [torch.as_tensor(value).long().tolist() for value in wrong.values()]
    assert truth.tolist() not in answers
    assert all(one != other for one, other in itertools.combinations(answers, 2))
    for sentence, value in wrong.items():
        given = torch.as_tensor(value).long().tolist()
        assert sentence in check.same(given, truth, mistakes=wrong).text
    assert check.same(truth.tolist(), truth, mistakes=wrong).right


def test_each_wrong_last_state_is_wrong_and_told_apart():
    wrong = check.values(packing.LAST_STATE, STATES, FOUR)
    assert len(wrong) == len(packing.LAST_STATE)
    for sentence, value in wrong.items():
        assert sentence in check.near(value, LAST, mistakes=wrong).text
    assert check.near(LAST, LAST, mistakes=wrong).right


def test_the_wrong_last_states_are_columns_of_the_box():
    wrong = {name: mistake.formula(STATES, FOUR) for name, mistake in packing.LAST_STATE.items()}
    assert torch.equal(wrong["last_column"][1], LAST[1])  # the longest record has no padding
    assert torch.equal(wrong["one_past_the_last"][0], STATES[0, 2])
    assert torch.equal(wrong["one_visit_before"][2], STATES[2, 1])
    assert torch.equal(wrong["one_visit_before"][3], STATES[3, 0])
    torch.testing.assert_close(wrong["mean_over_the_box"][0], STATES[0].sum(0) / 5)


def test_sentences_begin_small_and_carry_no_full_stop():
    for table in (packing.BATCH_SIZES, packing.UNSORTED_INDICES, packing.ROWS, packing.LAST_STATE):
        for mistake in table.values():
            assert mistake.sentence[0].islower()
            assert not mistake.sentence.endswith(".")
