"""Chapter 4's wrong shapes, rules, means and labels: each is what its sentence says, is wrong, and is told apart."""

import itertools
import math

import pytest
import torch

from visitwise import check
from visitwise.check import shapes

SIZES = torch.tensor(list(itertools.product(range(1, 6), repeat=3))).T
COUNTS = torch.tensor([[5, 2, 4], [1, 0, 2], [2, 6, 1]])
MASK = torch.arange(6) < COUNTS[..., None]
EMBEDDED = torch.arange(1.0, 163.0, dtype=torch.float64).sqrt().reshape(3, 3, 6, 3)
PREDICTED = (
    torch.tensor([0.9, 0.2, 0.7], dtype=torch.float64),
    torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64),
)


def means() -> torch.Tensor:
    """The right ones, one visit at a time; zeros for the visit without codes."""
    right = torch.zeros(3, 3, 3, dtype=torch.float64)
    for i, k in itertools.product(range(3), range(3)):
        if n := int(COUNTS[i, k]):
            right[i, k] = EMBEDDED[i, k, :n].mean(0)
    return right


def runs() -> list[bool]:
    told = []
    for b, v, e in SIZES.T.tolist():
        try:
            torch.ones(b, v, e) / torch.ones(b, v)
        except RuntimeError:
            told.append(False)
        else:
            told.append(True)
    return told


def told_apart(table: dict[str, check.Mistake], truth: torch.Tensor, *inputs: torch.Tensor) -> None:
    given = check.values(table, *inputs)
    assert len(given) == len(table)
    for sentence, value in given.items():
        assert check.near(value, truth, mistakes=given).text.endswith(f"is not it: {sentence}.")
    assert check.near(truth, truth, mistakes=given).right


def test_every_wrong_shape_is_told_apart_from_the_one_that_comes_out():
    sums, counts = torch.ones(8, 1, 4), torch.ones(8, 1)
    truth = (sums / counts).shape
    assert truth == (8, 8, 4)
    given = check.values(shapes.SHAPE, sums, counts)
    assert [value.tolist() for value in given.values()] == [[8, 1, 4], [8, 1], [8, 4]]
    for sentence, value in given.items():
        assert check.same(tuple(value.tolist()), truth, mistakes=given).text.endswith(f"is not it: {sentence}.")
    assert check.same((8, 8, 4), truth, mistakes=given).right


def test_lining_up_from_the_left_fills_the_shorter_shape_at_its_right_end():
    by_shape = {(2, 3): (2, 3, 4), (2, 1): (2, 3, 4), (1,): (2, 3, 4), (2, 3, 4): (2, 3, 4)}
    for counts, expected in by_shape.items():
        assert tuple(shapes.from_the_left(torch.ones(2, 3, 4), torch.ones(counts)).tolist()) == expected
        assert tuple(shapes.from_the_left(torch.ones(counts), torch.ones(2, 3, 4)).tolist()) == expected


def test_every_wrong_rule_is_wrong_and_told_apart():
    told_apart(shapes.RUNS, torch.tensor(runs()), *SIZES)


def test_the_wrong_rules_say_what_their_sentences_say():
    said = {name: int(mistake.formula(*SIZES).sum()) for name, mistake in shapes.RUNS.items()}
    assert said == {"last_sizes_alone": 65, "equal_or_refused": 5, "only_counts_are_stretched": 5 + 8, "always": 125}
    assert sum(runs()) == 41


def test_every_wrong_mean_is_wrong_and_told_apart():
    told_apart(shapes.MEAN, means(), EMBEDDED, MASK)


def test_the_wrong_means_are_what_their_sentences_say():
    right, divisor = means(), COUNTS.clamp(min=1)
    for i, k, e in itertools.product(range(3), repeat=3):
        whole = EMBEDDED[i, k, : COUNTS[i, k], e].sum().item()
        expected = {
            "without_keepdim": whole / divisor[k, e].item(),
            "across_patients": whole / divisor[e, k].item(),
            "padding_counted": whole / 6,
            "padding_summed": EMBEDDED[i, k, :, e].sum().item() / divisor[i, k].item(),
            "not_divided": whole,
            "divided_by_nothing": right[i, k, e].item() if COUNTS[i, k] else math.nan,
        }
        by_name = {name: mistake.formula(EMBEDDED, MASK)[i, k, e].item() for name, mistake in shapes.MEAN.items()}
        assert by_name == pytest.approx(expected, nan_ok=True)


def test_an_empty_visit_is_nan_only_where_nothing_is_put_for_it():
    wrong = shapes.MEAN["divided_by_nothing"].formula(EMBEDDED, MASK)
    assert wrong.isnan().any(-1).tolist() == (COUNTS == 0).tolist()


def test_the_wrong_losses_of_labels_are_what_their_sentences_say():
    p, y = (values.tolist() for values in PREDICTED)

    def cost(p: float, y: float) -> float:
        return -math.log(p if y else 1 - p)

    by_name = {name: mistake.formula(*PREDICTED).item() for name, mistake in shapes.LABELS.items()}
    assert by_name == pytest.approx(
        {
            "column_of_labels": sum(cost(a, b) for a in p for b in y) / 9,
            "events_alone": (cost(0.9, 1) + cost(0.7, 1)) / 3,
            "labels_swapped": (cost(0.9, 0) + cost(0.2, 1) + cost(0.7, 0)) / 3,
            "sum_over_patients": cost(0.9, 1) + cost(0.2, 0) + cost(0.7, 1),
        }
    )


def test_every_wrong_loss_of_labels_is_wrong_and_told_apart():
    told_apart(shapes.LABELS, torch.nn.functional.binary_cross_entropy(*PREDICTED), *PREDICTED)
