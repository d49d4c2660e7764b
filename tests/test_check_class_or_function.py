"""Chapter 3's recorder records what was called, and each of its wrong formulas is wrong in its own way."""

import math
import sys

import numpy as np
import pytest
import torch
from torch import nn

from visitwise import check
from visitwise.check import class_or_function
from visitwise.check.class_or_function import (
    BALANCE,
    LEARNED_WEIGHT,
    RECONSTRUCTION,
    TOTAL,
    PlainWeights,
    balance_in_means,
    calls,
    clipped_cross_entropy,
    reconstruction_in_numpy,
)
from visitwise.factorization import reconstruction_loss
from visitwise.losses import HazardNLL

RATINGS = torch.tensor([[0.9, 0.2], [0.6, math.nan]], dtype=torch.float64)
CONFIDENCE = torch.tensor([[1.0, 2.0], [1.0, 0.0]], dtype=torch.float64)
X, Y = torch.tensor([[1.0, 0.5]], dtype=torch.float64), torch.tensor([[0.7, 0.4]], dtype=torch.float64)
TABLE = (RATINGS, X, Y, CONFIDENCE, torch.tensor(0.1))
TASKS = torch.tensor([1.5, 4.0]), torch.tensor([1.0, 0.25])
RHO = torch.tensor(0.3), torch.tensor(20.0)


def test_recorded_calls_are_those_of_torch_with_their_depth_and_the_profiler_is_put_back():
    identity, loss = nn.Identity(), HazardNLL()
    record = torch.zeros(2, 3), torch.tensor([3, 2]), torch.tensor([True, False])
    before = sys.getprofile()
    recorded = calls(lambda: loss(identity(record[0]), *record[1:]))
    assert sys.getprofile() is before
    assert recorded[:7] == [
        (0, "Module._wrapped_call_impl"),
        (1, "Module._call_impl"),
        (2, "Identity.forward"),
        (0, "Module._wrapped_call_impl"),
        (1, "Module._call_impl"),
        (2, "HazardNLL.forward"),
        (3, "hazard_nll"),
    ]
    assert calls(lambda: [1, 2, 3].copy()) == []  # neither torch's nor ours


def test_the_profiler_is_put_back_even_if_the_call_fails():
    def profiler(*_: object) -> None:
        """One that was there before, as a coverage tool's is."""

    before = sys.getprofile()
    sys.setprofile(profiler)
    try:
        with pytest.raises(ZeroDivisionError):
            calls(lambda: 1 / 0)
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(before)


def test_plain_weights_drop_a_misspelt_task_and_save_nothing():
    losses = {"stroke": torch.tensor(1.0), "readmission": torch.tensor(9.0)}
    assert PlainWeights({"stroke": 1.0, "readmission": 1.0})(losses).item() == 10
    assert PlainWeights({"stroke": 1.0, "readmision": 1.0})(losses).item() == 1
    nothing = PlainWeights({"strok": 1.0})(losses)
    assert nothing == 0
    assert isinstance(nothing, float)
    assert PlainWeights({"stroke": 0.1}).state_dict() == {}


def test_numpy_gives_the_same_sum_as_torch():
    arrays = [values.nan_to_num(0).numpy() for values in (RATINGS, X, Y, CONFIDENCE)]
    ours = reconstruction_loss(RATINGS, X, Y, CONFIDENCE, reduction="sum").item()
    assert reconstruction_in_numpy(*arrays) == pytest.approx(ours, rel=1e-14)
    assert isinstance(reconstruction_in_numpy(*arrays), float)
    assert not isinstance(reconstruction_in_numpy(*arrays), np.ndarray)


@pytest.mark.parametrize("epsilon", [1e-15, 1e-7])
def test_clipped_cross_entropy_is_cross_entropy_away_from_the_ends(epsilon):
    probability = torch.tensor([0.2, 0.9], dtype=torch.float64)
    label = torch.tensor([1.0, 0.0], dtype=torch.float64)
    theirs = nn.functional.binary_cross_entropy(probability, label, reduction="none")
    torch.testing.assert_close(clipped_cross_entropy(probability, label, epsilon), theirs)


def test_the_wrong_reconstructions_are_what_their_sentences_say():
    # errors .2, -.2 (confidence 2), .25; squared lengths 1.25 and .65; total confidence 4
    by_name = {name: mistake.formula(*TABLE).item() for name, mistake in RECONSTRUCTION.items()}
    squares, ridge = 0.04 + 2 * 0.04 + 0.0625, 0.1 * (1.25 + 0.65)
    assert reconstruction_loss(*TABLE[:4], 0.1).item() == pytest.approx((squares + ridge) / 4)
    assert by_name == pytest.approx(
        {
            "confidence_left_out": (0.04 + 0.04 + 0.0625 + ridge) / 3,
            "ridge_left_out": squares / 4,
            "ridge_on_classifiers_alone": (squares + 0.125) / 4,
            "ridge_beside_the_mean": squares / 4 + ridge,
            "summed_instead_of_averaged": squares + ridge,
            "error_not_squared": (0.2 + 2 * 0.2 + 0.25 + ridge) / 4,
        }
    )


def test_the_wrong_totals_balances_and_weights_are_what_their_sentences_say():
    totals = {name: mistake.formula(*TASKS).item() for name, mistake in TOTAL.items()}
    assert totals == pytest.approx(
        {"weights_forgotten": 5.5, "last_task_dropped": 1.5, "averaged_over_tasks": 1.25, "divided_by_weights": 2.0}
    )
    assert balance_in_means(*RHO).item() == pytest.approx(6 / 6.7)
    balances = {name: mistake.formula(*RHO).item() for name, mistake in BALANCE.items()}
    assert balances == pytest.approx(
        {"as_written": 0.3, "share_of_the_labels": 0.7 / 6.7, "not_made_to_sum_to_one": 6.0}
    )
    weights = {name: mistake.formula(torch.tensor(4.0)).item() for name, mistake in LEARNED_WEIGHT.items()}
    assert weights == pytest.approx(
        {"the_loss_itself": 4.0, "logarithm_of_the_weight": math.log(4), "with_factor_of_one_half": 0.125}
    )


@pytest.mark.parametrize(
    ("table", "inputs", "truth"),
    [
        (RECONSTRUCTION, TABLE, reconstruction_loss(*TABLE[:4], 0.1)),
        (TOTAL, TASKS, torch.tensor(2.5)),
        (BALANCE, RHO, balance_in_means(*RHO)),
        (LEARNED_WEIGHT, (torch.tensor(4.0),), torch.tensor(0.25)),
    ],
)
def test_every_wrong_formula_is_wrong_and_told_apart(table, inputs, truth):
    given = check.values(table, *inputs)
    assert len(given) == len(table)
    for sentence, value in given.items():
        assert check.near(value, truth, mistakes=given).text.endswith(f"is not it: {sentence}.")


def test_sentences_begin_small_and_carry_no_full_stop():
    tables = [value for name, value in vars(class_or_function).items() if name.isupper() and isinstance(value, dict)]
    assert len(tables) == 4
    for mistake in [mistake for table in tables for mistake in table.values()]:
        assert mistake.sentence[0].islower()
        assert not mistake.sentence.endswith(".")
