"""The wrong formulas of chapter 10 are what their sentences say, each is wrong, and no two are taken for one."""

import math

import pytest
import torch

from visitwise import check
from visitwise.check import comparisons

SCORES = torch.tensor([0.2, -0.4, 1.1, 0.5, -0.9], dtype=torch.float64)
STOP = torch.tensor([3, 2, 4, 5, 1])
OBSERVED = torch.tensor([True, True, False, True, True])
STEP, SCORE = torch.tensor([0.1, 0.3, 0.6], dtype=torch.float64), torch.tensor(0.8, dtype=torch.float64)


def partial_by_hand(scores: list[float], stop: list[int], observed: list[bool], **wrong: bool) -> float:
    """The log partial likelihood by loops, upside down or with other patients at risk where asked."""
    total = 0.0
    for i, seen in enumerate(observed):
        if not (seen or wrong.get("censored")):
            continue
        at_risk = [
            j
            for j in range(len(stop))
            if (wrong.get("everybody") or (stop[j] <= stop[i] if wrong.get("gone") else stop[j] >= stop[i]))
            and not (wrong.get("no_case") and j == i)
            and (observed[j] or not wrong.get("events"))
        ]
        if at_risk:
            total -= scores[i] - math.log(sum(math.exp(scores[j]) for j in at_risk))
    return total


def test_the_wrong_partial_likelihoods_are_those_of_a_loop() -> None:
    given = (SCORES.tolist(), STOP.tolist(), OBSERVED.tolist())
    wanted = {
        "everybody_at_risk": partial_by_hand(*given, everybody=True),
        "without_the_case": partial_by_hand(*given, no_case=True),
        "events_alone_at_risk": partial_by_hand(*given, events=True),
        "those_who_are_gone": partial_by_hand(*given, gone=True),
        "censored_as_events": partial_by_hand(*given, censored=True),
    }
    found = {name: float(mistake.formula(SCORES, STOP, OBSERVED)) for name, mistake in comparisons.PARTIAL.items()}
    assert found == pytest.approx(wanted, rel=1e-12)


def test_the_wrong_hazards_are_those_of_a_loop() -> None:
    steps, ratio, score = STEP.tolist(), math.exp(0.8), 0.8
    baseline = [1 - math.exp(-step) for step in steps]
    odds = [ratio * h / (1 - h) for h in baseline]
    wanted = {
        "rate_as_hazard": [step * ratio for step in steps],
        "ratio_of_hazards": [h * ratio for h in baseline],
        "baseline_alone": baseline,
        "score_unexponentiated": [1 - math.exp(-step * score) for step in steps],
        "risk_up_to_then": [1 - math.exp(-sum(steps[: k + 1]) * ratio) for k in range(3)],
        "score_as_log_odds": [o / (1 + o) for o in odds],
    }
    for name, mistake in comparisons.FROM_COX.items():
        assert mistake.formula(STEP, SCORE).tolist() == pytest.approx(wanted[name], rel=1e-12)
    assert wanted.keys() == comparisons.FROM_COX.keys()


@pytest.mark.parametrize(
    ("table", "inputs", "truth"),
    [
        (
            comparisons.PARTIAL,
            (SCORES, STOP, OBSERVED),
            torch.tensor(partial_by_hand(SCORES.tolist(), STOP.tolist(), OBSERVED.tolist())),
        ),
        (comparisons.FROM_COX, (STEP, SCORE), -torch.expm1(-STEP * SCORE.exp())),
    ],
    ids=["partial", "hazards"],
)
def test_each_wrong_formula_is_wrong_and_told_apart(table, inputs, truth) -> None:
    wrong = check.values(table, *inputs)
    assert len(wrong) == len(table)
    for sentence, value in wrong.items():
        assert sentence in check.near(value, truth, mistakes=wrong).text
    assert check.near(truth, truth, mistakes=wrong).right


def test_sentences_begin_small_and_carry_no_full_stop() -> None:
    for table in (comparisons.PARTIAL, comparisons.FROM_COX):
        for mistake in table.values():
            assert mistake.sentence[0].islower()
            assert not mistake.sentence.endswith(".")
