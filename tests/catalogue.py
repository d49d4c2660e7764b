"""Every public function and class, and what it is tried with: `tests/test_bad_input.py` tries it.

A `Subject` is a call that works. Each of its arguments is spoilt in each way of `WAYS`, one at a time, and the call is
made again. What happens is written in `tests/bad_input.json`, a letter for each way, and the site shows it:

    x   refused: a ValueError or TypeError that names an argument or a patient, and says what was expected
    =   right: the same result as with the clean equivalent
    +   right for some spoilt values of this kind, refused for the others
    -   nothing to try: the argument has no such value, or any such value is an ordinary one

`python -m tests.catalogue` writes the file anew.
"""

import dataclasses
import inspect
import json
import math
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

RECORD = Path(__file__).with_name("bad_input.json")
WAYS = {
    "NaN": "the first value is NaN",
    "infinite": "the first value is infinite, positive or negative",
    "axes": "one axis more, or one less",
    "length": "one entry too few, or one too many",
    "empty": "no entry at all",
    "type": "whole numbers for floats, floats for whole numbers, bool, complex numbers, NumPy's objects, text",
    "precision": "float64 for float32 and the other way round, int32 for int64",
    "negative": "the first value is below 0",
    "huge": "a number far beyond the record or the vocabulary, such as 10⁶ rows or 10³⁰",
    "read-only": "memory that must not be written, also mapped from a file",
    "strided": "every second entry of a larger array, or a transposed one",
    "gradient": "a leaf that asks for a gradient",
    "device": "another device; `meta` stands for it where there is no GPU",
    "None": "nothing at all",
}
REFUSED, RIGHT, BOTH, NONE = "x", "=", "+", "-"
ASKED = re.compile(r"expected|disagrees|pass the|choose another|may sum|never|missing")

Given = dict[str, Any]


class Spoilt(NamedTuple):
    """A value to be tried, and the clean one that has to give the same result; None if there is no such value."""

    value: Any
    clean: Any = None


@dataclasses.dataclass(frozen=True)
class Subject:
    """A call that works.

    Args:
        call: What is called, with the arguments by name.
        given: The arguments, new ones each time.
        ordinary: Ways that give an ordinary value, by argument, with the reason: there is nothing to refuse.
        equivalent: What a value that is accepted has to be equal to, by argument and way.
    """

    call: Callable[..., Any]
    given: Callable[[], Given]
    ordinary: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    equivalent: Mapping[tuple[str, str], Callable[[Any], Any]] = dataclasses.field(default_factory=dict)


# ------------------------------------------------------------------------------------------------------ ways to spoil


def spoilt(way: str, value: Any) -> Iterator[Spoilt]:
    """Values that are wrong in this way, made of one that is right."""
    if way == "None":
        yield Spoilt(None)
    elif isinstance(value, Tensor):
        yield from _spoilt_tensor(way, value)
    elif isinstance(value, bool | str | np.ndarray | pd.DataFrame):
        yield from _spoilt_other(way, value)
    elif isinstance(value, int | float):
        yield from _spoilt_number(way, value)
    elif type(value) in (list, tuple):
        yield from _spoilt_list(way, value)
    elif dataclasses.is_dataclass(value):
        yield from _spoilt_record(way, value)
    elif way == "type":
        yield Spoilt("text")
        yield Spoilt(object())


def _first(value: Tensor, number: float) -> Tensor:
    changed = value.clone()
    changed.reshape(-1)[:1] = number
    return changed


def _spoilt_tensor(way: str, value: Tensor) -> Iterator[Spoilt]:
    is_float = value.is_floating_point()
    is_bool = value.dtype == torch.bool
    if way == "NaN" and is_float:
        yield Spoilt(_first(value, math.nan))
    elif way == "infinite" and is_float:
        yield from (Spoilt(_first(value, sign * math.inf)) for sign in (1, -1))
    elif way == "axes":
        yield Spoilt(value[..., None])
        if value.dim():
            yield Spoilt(value[0])
    elif way == "length" and value.dim():
        yield Spoilt(value[:-1])
        yield Spoilt(torch.cat([value, value[-1:]]))
    elif way == "empty" and value.dim():
        yield Spoilt(value[:0])
    elif way == "type":
        if is_float:
            whole = value.nan_to_num(1.0).round()
            yield Spoilt(whole.long(), whole)
        else:
            yield Spoilt(value.float() + (0.0 if is_bool else 0.5))
        yield Spoilt(value.long() if is_bool else value.bool(), value.bool().to(value.dtype))
        yield Spoilt(value.to(torch.complex64))
        yield Spoilt(np.array(value.tolist(), dtype=object))
        yield Spoilt("text")
    elif way == "precision" and not is_bool:
        other = {torch.float32: torch.float64, torch.float64: torch.float32, torch.int64: torch.int32}
        yield Spoilt(value.to(other.get(value.dtype, torch.int64)), value)
    elif way == "negative" and not is_bool:
        yield Spoilt(_first(value, -1.5 if is_float else -1))
    elif way == "huge" and not is_bool:
        yield from (Spoilt(_first(value, number)) for number in _huge(value))
    elif way == "read-only":
        yield Spoilt(_read_only(value), value)
        yield Spoilt(_mapped(value), value)
    elif way == "strided" and value.dim():
        yield Spoilt(torch.stack([value, value], -1)[..., 0], value)
        yield Spoilt(value.movedim(0, -1).contiguous().movedim(-1, 0), value)
    elif way == "gradient" and is_float:
        yield Spoilt(value.clone().requires_grad_(), value)
    elif way == "device":
        yield Spoilt(value.to("cuda" if torch.cuda.is_available() else "meta"))


def _huge(value: Tensor) -> tuple[float, ...]:
    if value.is_floating_point():
        return (1e30,)
    return (10**6, 2**62 if value.dtype == torch.int64 else 2**31 - 1)


def _read_only(value: Tensor) -> Tensor:
    array = value.detach().numpy().copy()
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it cannot protect such memory
        return torch.from_numpy(array)


def _mapped(value: Tensor) -> Tensor:
    """A file that is mapped copy on write, as `Cohort.load` maps it."""
    if value.numel() == 0 or value.dim() == 0:
        return value
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file.name, value.detach().numpy())
        return torch.from_numpy(np.load(file.name, mmap_mode="c"))


def _spoilt_number(way: str, value: float) -> Iterator[Spoilt]:
    is_float = isinstance(value, float)
    if way == "NaN":
        yield Spoilt(math.nan)
    elif way == "infinite":
        yield from (Spoilt(sign * math.inf) for sign in (1, -1))
    elif way == "axes":
        yield Spoilt([value])
    elif way == "type":
        yield Spoilt("text")
        yield Spoilt(complex(value, 1.0))
        if not is_float:
            yield Spoilt(value + 0.5)
    elif way == "precision":
        yield Spoilt(np.float32(value) if is_float else np.int32(value), value)
    elif way == "negative":
        yield Spoilt(-1.5 if is_float else -1)
    elif way == "huge":
        yield Spoilt(1e30 if is_float else 10**30)


def _spoilt_list(way: str, value: Sequence[Any]) -> Iterator[Spoilt]:
    kind = type(value)
    if way == "length":
        yield Spoilt(value[:-1])
        yield Spoilt(kind([*value, value[-1]]))
    elif way == "empty":
        yield Spoilt(kind())
    elif way == "axes":
        yield Spoilt(value[0])
    elif way == "type":
        yield Spoilt(3)
        yield Spoilt(kind([object(), *value[1:]]))
    elif way in ("NaN", "infinite", "negative", "huge"):
        number = {"NaN": math.nan, "infinite": math.inf, "negative": -1, "huge": 10**30}[way]
        if isinstance(value[0], int | float):
            yield Spoilt(kind([number, *value[1:]]))
        elif isinstance(value[0], list) and isinstance(value[0][0], int | float):
            yield Spoilt(kind([[number, *value[0][1:]], *value[1:]]))


def _spoilt_other(way: str, value: Any) -> Iterator[Spoilt]:
    if way == "type":
        yield Spoilt(object())
        if not isinstance(value, str):
            yield Spoilt("text")
    elif way == "empty" and isinstance(value, str):
        yield Spoilt("")
    elif isinstance(value, np.ndarray):
        for each in _spoilt_tensor(way, torch.from_numpy(value)):
            clean = each.clean.numpy() if isinstance(each.clean, Tensor) else each.clean
            if isinstance(each.value, Tensor) and way not in ("gradient", "device"):
                yield Spoilt(each.value.numpy(), clean)
    elif isinstance(value, pd.DataFrame):
        if way == "empty":
            yield Spoilt(value.iloc[:0])
        elif way == "axes":
            yield Spoilt(value.iloc[:, 0])
        elif way == "length":
            yield Spoilt(value.iloc[:, 1:])


def _each_array(record: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same record with each of its arrays changed, unchecked, as those that a loader makes."""
    from visitwise._ragged import trusted

    def changed(part: Any) -> Any:
        if isinstance(part, Tensor):
            return change(part)
        if dataclasses.is_dataclass(part) and not isinstance(part, type):
            return trusted(
                type(part), **{field.name: changed(getattr(part, field.name)) for field in dataclasses.fields(part)}
            )
        return part

    return changed(record)


def _spoilt_record(way: str, value: Any) -> Iterator[Spoilt]:
    """An outcome, visits or a cohort. What they hold was checked when they were made: here they are the wrong thing."""
    if way == "type":
        yield Spoilt(torch.zeros(2, 3))
        yield Spoilt({"visits": value})
        yield Spoilt("text")
    elif way == "read-only":
        yield Spoilt(_each_array(value, _read_only), value)
        yield Spoilt(_each_array(value, _mapped), value)
    elif way == "strided":
        yield Spoilt(_each_array(value, lambda array: torch.stack([array, array], -1)[..., 0]), value)
    elif way == "gradient":
        yield Spoilt(
            _each_array(value, lambda array: array.clone().requires_grad_() if array.is_floating_point() else array),
            value,
        )
    elif way == "precision":
        yield Spoilt(_each_array(value, lambda array: array.to(torch.int64) if _is_whole(array) else array), value)
        yield Spoilt(_each_array(value, lambda array: array.to(torch.int32) if _is_whole(array) else array), value)
    elif way == "length" and hasattr(value, "select") and len(value) > 1:
        yield Spoilt(value.select(torch.arange(len(value) - 1)))
    elif way == "device" and hasattr(value, "to"):
        yield Spoilt(value.to("cuda" if torch.cuda.is_available() else "meta"))


def _is_whole(array: Tensor) -> bool:
    return not array.is_floating_point() and array.dtype != torch.bool


# ----------------------------------------------------------------------------------------------------------- one trial


class WrongError(AssertionError):
    """A spoilt value that was neither refused in words nor answered rightly."""


def outcome_of(subject: Subject, argument: str, way: str) -> str:
    """The letter of one cell.

    Raises:
        WrongError: A spoilt value is a crash, an error that names nothing, or another result than the clean one.
    """
    if way in subject.ordinary.get(argument, ()):
        return NONE
    found = set()
    for value, clean in spoilt(way, subject.given()[argument]):
        found.add(_try(subject, argument, way, value, clean))
    return BOTH if len(found) > 1 else found.pop() if found else NONE


def _try(subject: Subject, argument: str, way: str, value: Any, clean: Any) -> str:
    shown = f"{argument} = {_shown(value)} ({way})"
    before = value.detach().clone() if isinstance(value, Tensor) else None
    try:
        result = subject.call(**{**subject.given(), argument: value})
    except (ValueError, TypeError) as error:
        if not _names(str(error), subject.given()) or not ASKED.search(str(error)):
            raise WrongError(f"{shown}: {type(error).__name__}: {error}") from error
        return REFUSED
    except Exception as error:
        if way == "device" and re.search(r"meta tensor|on device meta|register_meta", str(error)):
            return NONE  # `meta` has no values to look at; a GPU has
        raise WrongError(f"{shown}: {type(error).__name__}: {error!s:.300}") from error
    if (argument, way) in subject.equivalent:
        clean = subject.equivalent[argument, way](value)
    if value is None and _optional(subject, argument):
        return NONE
    if clean is None and way == "huge" and isinstance(value, Tensor) and value.dtype == torch.float32:
        clean = value.double()
    if way == "device" and not torch.cuda.is_available() and _is_alone(subject) and _is_meta(result):
        return RIGHT
    if clean is None:
        raise WrongError(f"{shown}: accepted, with the result {_shown(result)}")
    try:
        expected = subject.call(**{**subject.given(), argument: clean})
    except Exception as error:
        raise WrongError(f"{shown}: accepted; the clean equivalent is not: {error}") from error
    if not same(result, expected):
        raise WrongError(f"{shown}: gives {_shown(result)}; the clean equivalent gives {_shown(expected)}")
    if before is not None and not same(value, before):
        raise WrongError(f"{shown}: was written to")
    return RIGHT


def _shown(value: Any) -> str:
    try:
        return " ".join(f"{value!r:.90}".split())
    except RuntimeError:  # of `meta`
        return type(value).__name__


def _is_alone(subject: Subject) -> bool:
    """Whether there is one argument that lies on a device, so that no other can lie elsewhere."""
    return sum(isinstance(value, Tensor) or dataclasses.is_dataclass(value) for value in subject.given().values()) == 1


def _is_meta(result: Any) -> bool:
    if isinstance(result, Tensor):
        return result.is_meta
    return isinstance(result, tuple) and all(map(_is_meta, result))


def _optional(subject: Subject, argument: str) -> bool:
    parameter = inspect.signature(subject.call).parameters.get(argument)
    return parameter is not None and parameter.default is None


def _names(message: str, given: Given) -> bool:
    """Whether an error names an argument of the call, or a part of one, or a patient."""
    parts = {name.rstrip("s") for name in given} | {"share", "patient", "hazard", "code", "visit", "survival", "cohort"}
    for value in given.values():
        if dataclasses.is_dataclass(value):
            parts |= {field.name for field in dataclasses.fields(value)}
    said = message.replace("_", " ").lower()
    return any(re.search(rf"\b{re.escape(part.replace('_', ' ').lower())}", said) for part in parts)


def same(one: Any, other: Any) -> bool:
    """Whether two results are equal, up to the rounding of float32."""
    if isinstance(one, Tensor):
        if not isinstance(other, Tensor) or one.shape != other.shape:
            return False
        one, other = one.detach(), other.detach()
        if one.is_floating_point() or other.is_floating_point():
            return torch.allclose(one.double(), other.double(), rtol=2e-4, atol=1e-5, equal_nan=True)
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        if one.dtype.kind in "fc":
            return one.shape == other.shape and np.allclose(one, other, rtol=2e-4, atol=1e-5, equal_nan=True)
        return np.array_equal(one, other)
    if isinstance(one, pd.DataFrame | pd.Series):
        return same(one.to_numpy(), other.to_numpy())
    if isinstance(one, nn.Module):
        return same(dict(one.state_dict()), dict(other.state_dict()))
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, str | bytes | int) or one is None:
        return bool(one == other)
    if isinstance(one, Real) and not isinstance(one, int):
        return math.isclose(one, other, rel_tol=2e-4, abs_tol=1e-5) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if dataclasses.is_dataclass(one):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(one))
    if hasattr(one, "lines") and hasattr(one, "texts"):  # a picture
        return same([line.get_xydata() for line in one.lines], [line.get_xydata() for line in other.lines])
    return type(one) is type(other) and same(vars(one), vars(other)) if hasattr(one, "__dict__") else one == other


def cells(subject: Subject) -> dict[str, str]:
    """The letters of each argument, in the order of `WAYS`.

    Raises:
        WrongError: A spoilt value is neither refused in words nor answered rightly; says each such value.
    """
    found, problems = {}, []
    for argument in subject.given():
        found[argument] = ""
        for way in WAYS:
            try:
                found[argument] += outcome_of(subject, argument, way)
            except WrongError as problem:
                found[argument] += "?"
                problems.append(str(problem))
    if problems:
        raise WrongError("\n".join(problems))
    return found


def main() -> None:
    """Try everything, print what is wrong, and write the record if nothing is."""
    from tests.subjects import EXCUSED, MODULES_EXCUSED, SUBJECTS

    torch.set_num_threads(1)
    chosen = sys.argv[1:]
    record: dict[str, Any] = {"ways": WAYS, "tried": {}, "excused": {**EXCUSED, **MODULES_EXCUSED}}
    problems = 0
    for name, subject in SUBJECTS.items():
        if chosen and not name.startswith(tuple(chosen)):
            continue
        try:
            record["tried"][name] = cells(subject)
        except WrongError as problem:
            problems += 1
            print(name, problem, sep="\n")
    if not chosen and not problems:
        RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(record['tried'])} tried well, {problems} not")


if __name__ == "__main__":
    main()
