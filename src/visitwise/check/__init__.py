"""Answers a reader's guess: right, off by so much, or the value of a wrong formula that we know by name.

The wrong formulas stand beside this file, a module for each chapter, in tables, one for each question. Each takes the
inputs of the right formula, so both are computed when the guess is checked:
`near(guess, truth, mistakes=values(likelihood.LIKELIHOOD, logits, stop, observed))`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Mistake(NamedTuple):
    """A wrong formula, and what to say to somebody who used it."""

    sentence: str
    formula: Callable[..., Tensor]


@dataclass(frozen=True)
class Answer:
    """What `near` and `same` say; displayed as its sentence."""

    text: str
    right: bool

    def __repr__(self) -> str:
        return self.text


def near(
    guess: object, truth: Any, *, mistakes: Mapping[str, object] | None = None, tolerance: float = 0.0005
) -> Answer:
    """Compare numbers with the truth and with the values of wrong formulas; whatever the guess is, nothing is raised.

    Args:
        guess: The reader's number, or tensor of numbers; None if there is none yet.
        truth: The right number or tensor.
        mistakes: What each wrong formula gives, by the sentence that says what is wrong with it.
        tolerance: How far a guess may lie from a number to be taken for it; half a unit of the third decimal.

    Examples:
        >>> near(None, 0.685179)
        No guess yet: put a number in place of None and run this again.
        >>> near(0.685, 0.685179)
        Right: 0.6852.
        >>> near(0.3285, 0.685179, mistakes={"you left out the last visit this person survived": 0.328504})
        0.3285 is not it: you left out the last visit this person survived.
        >>> near(0.9, 0.685179)
        0.9 is not it: too high by 0.2148.
        >>> near(torch.tensor([0.9, 0.8]), torch.tensor([0.9, 0.72]), mistakes={"multiply": torch.tensor([0.9, 0.8])})
        That is not it: multiply.
        >>> near(torch.tensor([0.9]), torch.tensor([0.9, 0.72]))
        That has the shape [1]; [2] is expected.
    """
    if torch.is_tensor(truth) and truth.numel() != 1:
        return _near_tensor(guess, truth, mistakes or {}, tolerance)
    if guess is None:
        return Answer("No guess yet: put a number in place of None and run this again.", right=False)
    number, expected = _number(guess), float(truth)
    if number is None:
        return Answer(f"{guess!r} is not a number that can be checked; one number is expected.", right=False)
    if abs(number - expected) <= tolerance:
        return Answer(f"Right: {expected:.4g}.", right=True)
    return Answer(f"{number:.4g} is not it: {_diagnosis(number, expected, mistakes or {}, tolerance)}.", right=False)


def same(guess: object, truth: object, *, mistakes: Mapping[str, object] | None = None) -> Answer:
    """Compare what has no distance: a shape, a word, yes or no, a list of whole numbers. Nothing is raised.

    Args:
        guess: The reader's answer; None if there is none yet.
        truth: The right one. A shape may be a tuple, a list or a `torch.Size`; capitals in a word do not count.
        mistakes: The answer that each mistake leads to, by the sentence that says what is wrong with it.

    Examples:
        >>> same(None, "error")
        No guess yet: put your answer in place of None and run this again.
        >>> same((2, 3), torch.Size([2, 3]))
        Right: [2, 3].
        >>> same([3, 2], torch.Size([2, 3]), mistakes={"patients come first": [3, 2]})
        [3, 2] is not it: patients come first.
        >>> same("works", "error")
        'works' is not it.
    """
    if guess is None:
        return Answer("No guess yet: put your answer in place of None and run this again.", right=False)
    given, expected = _plain(guess), _plain(truth)
    if given == expected and isinstance(given, bool) == isinstance(expected, bool):
        return Answer(f"Right: {_shown(truth)}.", right=True)
    for sentence, wrong in (mistakes or {}).items():
        if given == _plain(wrong) != expected:
            return Answer(f"{_shown(guess)} is not it: {sentence}.", right=False)
    return Answer(f"{_shown(guess)} is not it.", right=False)


def values(table: Mapping[str, Mistake], *inputs: Tensor) -> dict[str, float]:
    """What each wrong formula of a table gives for these inputs, by its sentence; one without a value is left out.

    Examples:
        >>> from visitwise.check import likelihood
        >>> logits = torch.logit(torch.tensor([0.1, 0.2, 0.3]))
        >>> wrong = values(likelihood.EVENT_PROBABILITY, logits)
        >>> wrong["that is the hazard, which counts only those who are still event-free"]
        0.30000001192092896
    """
    computed = {mistake.sentence: float(mistake.formula(*inputs).detach()) for mistake in table.values()}
    return {sentence: value for sentence, value in computed.items() if math.isfinite(value)}


def _near_tensor(guess: object, truth: Tensor, mistakes: Mapping[str, object], tolerance: float) -> Answer:
    if guess is None:
        return Answer("No guess yet: put a tensor in place of None and run this again.", right=False)
    given = _tensor(guess)
    if given is None:
        return Answer(f"{guess!r} cannot be checked; a tensor of numbers is expected.", right=False)
    if given.shape != truth.shape:
        return Answer(f"That has the shape {list(given.shape)}; {list(truth.shape)} is expected.", right=False)
    if torch.allclose(given, truth.double(), rtol=0, atol=tolerance, equal_nan=True):
        return Answer(f"Right: {_shown(truth)}.", right=True)
    for sentence, value in mistakes.items():
        wrong = _tensor(value)
        if wrong is not None and wrong.shape == given.shape and torch.allclose(given, wrong, rtol=0, atol=tolerance):
            return Answer(f"That is not it: {sentence}.", right=False)
    furthest = float((given - truth).abs().max())
    return Answer(f"That is not it: the entry furthest from the truth is off by {furthest:.4g}.", right=False)


def _diagnosis(number: float, expected: float, mistakes: Mapping[str, object], tolerance: float) -> str:
    """The mistake nearest to the number, else the distance from the truth."""
    candidates = {sentence: found for sentence, value in mistakes.items() if (found := _number(value)) is not None}
    candidates["the size is right, the sign is not"] = -expected
    candidates["that is the number in percent; the number itself is expected"] = 100 * expected
    sentence, value = min(candidates.items(), key=lambda item: abs(number - item[1]))
    # A wrong formula can give the right number for one patient: then it explains nothing.
    if abs(number - value) <= tolerance < abs(value - expected):
        return sentence
    return f"too {'high' if number > expected else 'low'} by {abs(number - expected):.4g}"


def _number(value: object) -> float | None:
    """The value as a finite float, or None if it is no single number."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _tensor(value: object) -> Tensor | None:
    """The value in float64, or None if it is no tensor of real numbers and cannot be made one."""
    try:
        return torch.as_tensor(value).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def _plain(value: object) -> object:
    """Sequences and tensors as lists, words in small letters."""
    if isinstance(value, str):
        return value.strip().casefold()
    if torch.is_tensor(value):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _shown(value: object) -> str:
    """An answer in words, short."""
    if torch.is_tensor(value):
        return str(value.tolist()) if value.numel() < 10 else f"shape {list(value.shape)}"
    return str(list(value)) if isinstance(value, list | tuple) else repr(value)
