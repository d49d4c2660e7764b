"""What `visits` and `cohort` share: offsets and ranges of ragged arrays, and the error that names a patient."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor

Part = TypeVar("Part")


def offsets_of(lengths: Sequence[int] | Tensor) -> Tensor:
    """Where each of several stretches of these lengths begins, and where the last one ends."""
    lengths = torch.as_tensor(lengths, dtype=torch.int64)
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def ranges(begin: Tensor, length: Tensor, offsets: Tensor | None = None) -> Tensor:
    """`begin[0], begin[0] + 1, ...` for `length[0]` numbers, then the same for the next; `offsets`: of the lengths."""
    offsets = offsets_of(length) if offsets is None else offsets
    total = int(offsets[-1])
    shift = torch.repeat_interleave(begin - offsets[:-1], length, output_size=total)
    return torch.arange(total, device=begin.device) + shift


def arrays_of(part: Any) -> dict[str, Tensor]:
    """The tensors among a dataclass's fields, by name."""
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def trusted(kind: type[Part], **values: object) -> Part:
    """An instance of a frozen dataclass, unchecked: for values that come out of one that was checked."""
    part = object.__new__(kind)
    for name, value in values.items():
        object.__setattr__(part, name, value)
    return part


def refuse(wrong: Tensor, ids: Tensor, given: Tensor, message: str, *more: Tensor) -> None:
    """Raise `message` with the value given, and its value in each of `more`, for the first patient it is wrong for."""
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        values = (of_each[first].item() for of_each in (given, *more))
        raise ValueError(f"patient {int(ids[first])} {message.format(*values)}")
