"""What a user is told who passes the wrong kind of thing: which argument, what was given, what was expected.

Python and torch notice such a thing late and name something else. The signatures know better, so they are asked, and
only once a call has failed: one that works pays nothing.
"""

import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import wraps
from numbers import Integral, Real
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

import jaxtyping
import torch
from torch import Tensor

Given = ParamSpec("Given")
Result = TypeVar("Result")

# What Python, torch and NumPy raise from deep inside; a ValueError is a sentence of ours already.
DEEP = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError)
NUMBERS = {
    "Float": "floating point numbers",
    "Int": "whole numbers",
    "Bool": "bool (True or False)",
    "Real": "real numbers",
    "Shaped": "numbers",
}


def explained(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Where this fails on an argument that is not what the signature says, the error names it."""

    @wraps(function)
    def call(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except DEEP as error:
            wrong = None if isinstance(error, jaxtyping.TypeCheckError) else _first_wrong(function, args, kwargs, error)
            if wrong is None:
                raise
            raise TypeError(wrong) from error

    return call


def _first_wrong(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], error: Exception
) -> str | None:
    """The sentence for the first argument that is not what was asked for; none if all are, or some are missing."""
    try:
        given = dict(_given(function, args, kwargs))
    except TypeError:  # too few arguments or unknown names: Python says so itself
        return None
    with jaxtyping.jaxtyped("context"):  # an axis has one size in the whole signature
        for name, (value, annotation) in given.items():
            if not _fits(value, annotation):
                return _sentence(name, value, annotation)
    values = {name: value for name, (value, _) in given.items()}
    if re.search("same device|expected device|meta tensor", str(error)):
        return _elsewhere(values)
    return _mixed(values) if "dtype" in str(error) else None


def _given(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[Any]:
    """Each argument by name, with its annotation; of a dataclass that checks itself, each field."""
    if function.__name__ == "__post_init__":
        yield from ((field.name, (getattr(args[0], field.name), field.type)) for field in fields(args[0]))
        return
    signature = inspect.signature(function)
    for name, value in signature.bind(*args, **kwargs).arguments.items():
        parameter = signature.parameters[name]
        if name not in ("self", "cls") and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            yield name, (value, parameter.annotation)


def _choices(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _fits(value: object, annotation: Any) -> bool:
    return any(_fits_one(value, one) for one in _choices(annotation))


def _fits_one(value: object, annotation: Any) -> bool:
    """Whether a value is what one annotation says, as far as can be seen without looking into containers."""
    if annotation is None:
        return value is None
    if get_origin(annotation) is Literal:
        return value in get_args(annotation)
    kind = get_origin(annotation) or annotation
    if not isinstance(kind, type) or annotation is Any or annotation is inspect.Parameter.empty:
        return True
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real)
    try:
        return isinstance(value, kind)
    except TypeError:  # a protocol, or a name that only type checkers know
        return True


def _sentence(name: str, value: object, annotation: Any) -> str:
    array = next((one for one in _choices(annotation) if hasattr(one, "dim_str")), None)
    if array is None or not isinstance(value, array.array_type):
        given = "None" if value is None else f"a {type(value).__name__}" if len(repr(value)) > 40 else repr(value)
        return f"{name} is {given}; expected {' or '.join(map(_words, _choices(annotation)))}"
    if str(value.dtype).rpartition(".")[2] not in array.dtypes and array.dtypes is not Any:
        kind = next((words for kind, words in NUMBERS.items() if array.__name__.startswith(kind)), "another type")
        return f"{name} has dtype {value.dtype}; expected {kind}"
    return f"{name} has shape {list(value.shape)}; expected {_axes(array)}, of the same sizes as the other arguments"


def _words(annotation: Any) -> str:
    if hasattr(annotation, "dim_str"):
        return f"{'a tensor' if annotation.array_type is Tensor else 'an array'} {_axes(annotation)}"
    if get_origin(annotation) is Literal:
        return " or ".join(map(repr, get_args(annotation)))
    kind = get_origin(annotation) or annotation
    return getattr(kind, "__name__", str(kind))


def _axes(array: Any) -> str:
    return f"[{', '.join(array.dim_str.split())}]"


def _elsewhere(values: Mapping[str, object]) -> str | None:
    """The sentence for an argument that lies on another device than the first one."""
    first = None
    for name, value in values.items():
        for device in _devices(value):
            first = first or (name, device)
            if device != first[1]:
                return f"{name} is on the device {device}; expected {first[1]}, where {first[0]} is"
    return None


def _mixed(values: Mapping[str, object]) -> str | None:
    """The sentence for an argument of another precision than the first one, where torch asks for one of all."""
    floats = {name: value for name, value in values.items() if isinstance(value, Tensor) and value.is_floating_point()}
    for name, value in floats.items():
        first, like = next(iter(floats.items()))
        if value.dtype != like.dtype:
            return f"{name} has dtype {value.dtype}; expected {like.dtype}, as {first} has"
    return None


def _devices(value: object) -> set[torch.device]:
    if isinstance(value, Tensor):
        return {value.device}
    if isinstance(value, torch.nn.Module):
        return {parameter.device for parameter in value.parameters()}
    if is_dataclass(value):
        return set().union(*(_devices(getattr(value, field.name)) for field in fields(value)))
    return set()
