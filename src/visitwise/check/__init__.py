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

from visitwise._explain import explained


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
        return _near_tensor(guess, truth.detach().cpu(), mistakes or {}, tolerance)
    if guess is None:
        return Answer("No guess yet: put a number in place of None and run this again.", right=False)
    number, expected = _number(guess), float(truth.detach() if torch.is_tensor(truth) else truth)
    if number is None or (math.isfinite(expected) and not math.isfinite(number)):
        return Answer(f"{_shown(guess)} is not a number that can be checked; one number is expected.", right=False)
    if _agree(number, expected, tolerance):
        return Answer(f"Right: {_shown(expected)}.", right=True)
    return Answer(
        f"{_shown(number)} is not it: {_diagnosis(number, expected, mistakes or {}, tolerance)}.", right=False
    )


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
    if _equal(guess, truth):
        return Answer(f"Right: {_shown(truth)}.", right=True)
    for sentence, wrong in (mistakes or {}).items():
        if _equal(guess, wrong):
            return Answer(f"{_shown(guess)} is not it: {sentence}.", right=False)
    return Answer(f"{_shown(guess)} is not it.", right=False)


@explained
def values(table: Mapping[str, Mistake], *inputs: Tensor) -> dict[str, float | Tensor]:
    """What each wrong formula of a table gives for these inputs, by its sentence.

    One number is given as a number, and left out where it is not finite: such a formula has no value here. More than
    one is given as a tensor.

    Examples:
        >>> from visitwise.check import likelihood
        >>> wrong = values(likelihood.EVENT_PROBABILITY, torch.logit(torch.tensor([0.1, 0.2, 0.3])))
        >>> round(wrong["that is the hazard, which counts only those who are still event-free"], 6)
        0.3
    """
    computed = {mistake.sentence: torch.as_tensor(mistake.formula(*inputs)).detach() for mistake in table.values()}
    return {
        sentence: float(value) if value.numel() == 1 else value
        for sentence, value in computed.items()
        if value.numel() != 1 or math.isfinite(value)
    }


def _near_tensor(guess: object, truth: Tensor, mistakes: Mapping[str, object], tolerance: float) -> Answer:
    if guess is None:
        return Answer("No guess yet: put a tensor in place of None and run this again.", right=False)
    given = _tensor(guess)
    if given is None:
        return Answer(f"{_shown(guess)} cannot be checked; a tensor of numbers is expected.", right=False)
    if given.shape != truth.shape:
        return Answer(f"That has the shape {list(given.shape)}; {list(truth.shape)} is expected.", right=False)
    distance = _furthest(given, truth)
    if distance <= tolerance:
        return Answer(f"Right: {_shown(truth)}.", right=True)
    wrong = {sentence: found for sentence, value in mistakes.items() if (found := _tensor(value)) is not None}
    candidates = [
        (_furthest(given, value), sentence)
        for sentence, value in wrong.items()
        if value.shape == truth.shape and _furthest(value, truth) > tolerance
    ]
    nearest, sentence = min(candidates, default=(math.inf, ""))
    if nearest <= tolerance:
        return Answer(f"That is not it: {sentence}.", right=False)
    if math.isinf(distance):
        return Answer("That is not it: an entry is finite where it should not be, or the other way round.", right=False)
    return Answer(f"That is not it: the entry furthest from the truth is off by {_shown(distance)}.", right=False)


def _furthest(one: Tensor, other: Tensor) -> float:
    """The largest distance between two entries; infinite where only one of the two is finite, or NaN."""
    one, other = one.double(), other.double()
    agree = (one == other) | (one.isnan() & other.isnan())
    apart = torch.where(agree, 0.0, (one - other).abs().nan_to_num(nan=math.inf, posinf=math.inf))
    return float(apart.max()) if apart.numel() else 0.0


def _diagnosis(number: float, expected: float, mistakes: Mapping[str, object], tolerance: float) -> str:
    """The mistake nearest to the number, else the distance from the truth."""
    wrong = {sentence: found for sentence, value in mistakes.items() if (found := _number(value)) is not None}
    wrong["the size is right, the sign is not"] = -expected
    # A wrong formula can give the right number for one patient: then it explains nothing.
    candidates = [
        (abs(number - value), sentence)
        for sentence, value in wrong.items()
        if math.isfinite(value) and not _agree(value, expected, tolerance)
    ]
    distance, sentence = min(candidates, default=(math.inf, ""))
    if distance <= tolerance:
        return sentence
    if not math.isfinite(expected):
        return "the right answer is not finite"
    if _agree(number / 100, expected, tolerance) and not _agree(0.0, expected, tolerance):
        return "that is the number in percent; the number itself is expected"
    return f"too {'high' if number > expected else 'low'} by {_shown(abs(number - expected))}"


def _agree(one: float, other: float, tolerance: float) -> bool:
    return one == other or abs(one - other) <= tolerance or (math.isnan(one) and math.isnan(other))


def _equal(one: object, other: object) -> bool:
    """Whether two answers are the same; yes is not 1, and what cannot be compared is not the same."""
    one, other = _plain(one), _plain(other)
    try:
        return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
    except (TypeError, ValueError, RuntimeError):
        return False


def _number(value: object) -> float | None:
    """The value as a float, or None if it is no single number."""
    try:
        return float(value.item() if hasattr(value, "item") else value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def _tensor(value: object) -> Tensor | None:
    """The value in float64, or None if it is no tensor of real numbers and cannot be made one."""
    try:
        if torch.is_complex(given := torch.as_tensor(value)):
            return None
        return given.detach().cpu().double() if given is value else torch.as_tensor(value, dtype=torch.float64).detach()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def _listed(value: object) -> object:
    """Tensors and arrays as lists, and their single numbers as numbers."""
    return value.tolist() if hasattr(value, "tolist") and not isinstance(value, type) else value


def _plain(value: object) -> object:
    """Sequences and tensors as lists, words in small letters."""
    if isinstance(value, str):
        return value.strip().casefold()
    value = _listed(value)
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _shown(value: object) -> str:
    """An answer in words, short."""
    plain = _listed(value)
    if isinstance(plain, float):
        return f"{plain:,.0f}" if 1e4 <= abs(plain) < 1e15 else f"{plain:.4g}"
    if not isinstance(plain, list | tuple):
        return repr(plain)
    text = f"[{', '.join(map(_shown, plain))}]"
    if len(text) <= 100:
        return text
    return f"a tensor of shape {list(value.shape)}" if torch.is_tensor(value) else f"a list of {len(plain)}"
