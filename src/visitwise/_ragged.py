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


def check_positions(patients: Tensor, n_patients: int, device: torch.device) -> None:
    """Refuse what does not pick patients by their positions; reads none of them."""
    if not isinstance(patients, Tensor) or patients.dtype not in (torch.int64, torch.int32):
        given = patients.dtype if isinstance(patients, Tensor) else type(patients).__name__
        raise TypeError(f"patients is {given}; expected a tensor of positions, whole numbers below {n_patients}")
    if patients.dim() != 1:
        raise ValueError(f"patients has shape {list(patients.shape)}; expected one axis, a position for each patient")
    if patients.device not in (device, torch.device("cpu")):
        raise ValueError(f"patients is on the device {patients.device}; expected {device}, where the patients are")


def at(values: Tensor, patients: Tensor) -> Tensor:
    """The values of the patients at these positions; -1 is the last one."""
    try:
        return values[patients]
    except IndexError as error:
        wrong = patients[(patients < -len(values)) | (patients >= len(values))]
        raise ValueError(f"patients holds the position {int(wrong[0])}; expected less than {len(values)}") from error


def check_one_each(name: str, values: Tensor, day: Tensor) -> None:
    """Refuse values that are not one a visit, beside the days of the visits."""
    if values.shape[:1] != day.shape:
        raise ValueError(f"{name} has shape {list(values.shape)}; expected [{len(day)}, ...], one a visit")
    if values.device != day.device:
        raise ValueError(f"{name} is on the device {values.device}; expected {day.device}, where the visits are")


def check_vectors(vectors: Tensor, day: Tensor, weight: Tensor) -> None:
    """Refuse what is not a vector a visit, such as the recurrence reads."""
    check_one_each("vectors", vectors, day)
    if vectors.shape[1:] != weight.shape[1:] or vectors.dtype != weight.dtype:
        given, expected = [vectors.dtype, *vectors.shape[1:]], [weight.dtype, *weight.shape[1:]]
        raise ValueError(f"vectors are {given} a visit; expected {expected}, as the recurrence has it")


def check_lengths(length: Tensor) -> None:
    """Refuse what is not one number of visits for each patient, at least 1."""
    if length.dim() != 1 or length.is_floating_point() or length.is_complex() or length.dtype == torch.bool:
        raise ValueError(
            f"length is {length.dtype} of shape {list(length.shape)}; expected whole numbers, one a patient"
        )
    if length.numel() == 0 or int(length.min()) < 1:
        raise ValueError(f"length is {length.tolist()[:9]}; expected one patient or more, each with at least one visit")


def refuse(wrong: Tensor, ids: Tensor, given: Tensor, message: str, *more: Tensor) -> None:
    """Raise `message` with the value given, and its value in each of `more`, for the first patient it is wrong for."""
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        values = (of_each[first].item() for of_each in (given, *more))
        raise ValueError(f"patient {int(ids[first])} {message.format(*values)}")
