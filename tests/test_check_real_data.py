"""The wrong formulas of chapter 12 are what their sentences say, each is wrong, and no two are taken for one."""

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from visitwise import check
from visitwise.check import Mistake, real_data
from visitwise.functional import hazard_nll, logits_from_hazard

DAILY, GAPS = torch.tensor(0.01, dtype=torch.float64), torch.tensor([30.0, 90.0], dtype=torch.float64)
DAYS = torch.tensor([500.0, 1000.0, 366.0, 730.5, 100.0], dtype=torch.float64)
HAZARDS, SHARE = torch.tensor([0.1, 0.2], dtype=torch.float64), torch.tensor(0.369, dtype=torch.float64)
YEARS, LAST = torch.tensor([3, 2, 4]), torch.tensor([0.5, 1.0, 0.2], dtype=torch.float64)
DIED = torch.tensor([False, True, False])
RANDOM = np.random.default_rng(0)
ONE = torch.from_numpy(RANDOM.gamma(1.0, size=40))
OTHER = ONE + torch.from_numpy(RANDOM.normal(0.1, 0.2, size=40))


def credited() -> Tensor:
    return hazard_nll(
        logits_from_hazard(HAZARDS)[None],
        torch.tensor([2]),
        torch.tensor([False]),
        censored_exposure=SHARE[None],
    )


@pytest.mark.parametrize(
    ("table", "inputs", "truth"),
    [
        (real_data.GAP, (DAILY, GAPS), 1 - (1 - DAILY) ** GAPS),
        (real_data.YEARS, (DAYS,), torch.tensor([2, 3, 2, 2, 1])),
        (real_data.CREDIT, (HAZARDS, SHARE), credited()),
        (real_data.RATE, (YEARS, LAST, DIED), torch.tensor(1 / (2.5 + 2 + 3.2))),
        (real_data.PAIRED, (ONE, OTHER), (OTHER - ONE).std() / 40**0.5),
    ],
)
def test_each_wrong_answer_is_wrong_and_told_apart(
    table: Mapping[str, Mistake], inputs: tuple[Tensor, ...], truth: Tensor
) -> None:
    wrong = check.values(table, *inputs)
    assert len(wrong) == len(table)
    answers = [torch.as_tensor(value, dtype=torch.float64) for value in wrong.values()]
    for one, other in itertools.combinations([truth.double(), *answers], 2):
        assert (one - other).abs().max() > 0.001
    for sentence, value in wrong.items():
        assert sentence in check.near(value, truth, mistakes=wrong).text
    assert check.near(truth, truth, mistakes=wrong).right


def test_the_wrong_answers_are_what_their_sentences_say() -> None:
    by_name = {name: mistake.formula(DAYS).tolist() for name, mistake in real_data.YEARS.items()}
    assert by_name == {
        "full_years": [1, 2, 1, 2, 0],
        "nearest_year": [1, 3, 1, 2, 0],
        "one_row_more": [3, 4, 3, 3, 2],
    }
    rates = {name: float(mistake.formula(YEARS, LAST, DIED)) for name, mistake in real_data.RATE.items()}
    assert rates == pytest.approx({"deaths_per_row": 1 / 9, "deaths_per_person": 1 / 3, "deaths_per_full_year": 1 / 7})
    nlls = {name: float(mistake.formula(HAZARDS, SHARE)) for name, mistake in real_data.CREDIT.items()}
    first, second = -np.log(0.9), -np.log(0.8)
    assert nlls == pytest.approx(
        {
            "whole_year": first + second,
            "no_credit": first,
            "credit_for_all_years": 0.369 * (first + second),
            "share_missed": first + 0.631 * second,
            "died_in_the_last_year": first - np.log(0.2),
        }
    )


def test_sentences_begin_small_and_carry_no_full_stop() -> None:
    for table in (real_data.GAP, real_data.YEARS, real_data.CREDIT, real_data.RATE, real_data.PAIRED):
        for mistake in table.values():
            assert mistake.sentence[0].islower()
            assert not mistake.sentence.endswith(".")
