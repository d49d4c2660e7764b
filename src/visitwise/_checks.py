"""What losses do to their inputs first: widen half precision, and refuse what would be silently wrong."""

from numbers import Integral, Real

import torch
from torch import Tensor

MOST = 2**31 - 1  # rows, patients or visits: no record is as long, and sums of as many stay exact

# Steps of autograd that only rearrange: behind them, a probability is still a probability.
MOVES_VALUES = ("Squeeze", "Unsqueeze", "Select", "Slice", "View", "UnsafeView", "IndexBackward", "IndexCopy", "ToCopy")


def widen(values: Tensor) -> Tensor:
    """Half precision as float32, anything else as it is."""
    if values.is_complex():
        raise TypeError(f"{values.dtype} is given; expected real numbers")
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def refuse(wrong: Tensor, values: Tensor, message: str, limits: Tensor | None = None) -> None:
    """Raise `message` for the first wrong entry: `{value}`, `{limit}`, and index as `{where}` or in words as `{at}`."""
    if bool(wrong.any()):
        index = tuple(int(i) for i in wrong.nonzero()[0])
        where = index[0] if len(index) == 1 else list(index)
        at = f" for the patient at index {where}" if index else ""
        limit = limits[index].item() if limits is not None else None
        raise ValueError(message.format(value=values[index].item(), where=where, at=at, limit=limit))


def check_whole(value: object, name: str, least: int = 1) -> None:
    if not isinstance(value, Integral):
        raise TypeError(f"{name} is {value!r}; expected a whole number")
    if int(value) < least:
        raise ValueError(f"{name} is {value}; expected {f'at least {least}' if least else '0 or more'}")
    if int(value) > MOST:
        raise ValueError(f"{name} is {value}; expected at most {MOST}")


def check_real(value: object, name: str) -> None:
    if not isinstance(value, Real | Tensor):
        raise TypeError(f"{name} is {value!r}; expected a number")


def check_seed(seed: object, name: str = "seed") -> None:
    """Refuse what is no seed; None would be another one each time."""
    if not isinstance(seed, Integral) or int(seed) < 0:
        raise ValueError(f"{name} is {seed!r}; expected a whole number, 0 or more")


def ends_in_sigmoid(values: Tensor) -> bool:
    """Whether these are the probabilities of a sigmoid or softmax; it is known only where a gradient is recorded."""
    made_by = values.grad_fn
    while made_by is not None and made_by.name().startswith(MOVES_VALUES):
        made_by = next((before for before, _ in made_by.next_functions if before is not None), None)
    return made_by is not None and made_by.name().startswith(("SigmoidBackward", "SoftmaxBackward"))


def sizes(values: Tensor) -> list[int]:
    return list(values.shape)


def check_probability(values: Tensor, name: str) -> None:
    message = name + " at index {where} is {value:g}; expected a probability from 0 to 1 (were logits passed?)"
    refuse(~((values >= 0) & (values <= 1)), values, message)


def check_logits(hazard_logits: Tensor) -> None:
    if not hazard_logits.is_floating_point():
        raise ValueError(f"hazard_logits has dtype {hazard_logits.dtype}; expected a floating point type")
    if ends_in_sigmoid(hazard_logits):
        raise ValueError("hazard_logits come straight from a sigmoid or softmax; pass the logits that went into it")


def check_outcome(
    shape: torch.Size, width: int | Tensor, stop: Tensor, observed: Tensor, start: Tensor | None = None
) -> None:
    given = {"stop": stop, "observed": observed} | ({} if start is None else {"start": start})
    for name, values in given.items():
        if values.shape != shape:
            raise ValueError(f"{name} has shape {sizes(values)}; expected {list(shape)}, one for each patient")
        if name != "observed" and (values.is_floating_point() or values.dtype == torch.bool):
            raise ValueError(f"{name} has dtype {values.dtype}; expected whole numbers")
    if observed.dtype != torch.bool:
        raise ValueError(f"observed has dtype {observed.dtype}; expected bool (True where the event was seen)")
    if isinstance(width, int) and stop.numel():  # the usual case, in few looks
        rows = stop if start is None else stop - start
        if rows.min().item() >= 1 and stop.max().item() <= width and (start is None or start.min().item() >= 0):
            return
    start = torch.zeros_like(stop) if start is None else start
    refuse(start < 0, start, "start is {value}{at}; expected 0 or more")
    refuse(stop <= start, stop, "stop is {value}{at}; expected at least one row after start, so above {limit}", start)
    most = torch.as_tensor(width).expand_as(stop)
    refuse(stop > width, stop, "stop is {value}{at}, past the last visit; expected at most {limit}", most)


def check_finite(hazard_logits: Tensor, counted: Tensor, flat: tuple[Tensor, Tensor] | None = None) -> None:
    """Refuse a counted logit that is not a number; `flat` holds the patient and the visit of each row, if flat."""
    wrong = counted & ~torch.isfinite(hazard_logits)
    if bool(wrong.any()):
        *where, row = (int(i) for i in wrong.nonzero()[0])
        who = where[0] if len(where) == 1 else where
        if flat is not None:
            who, row = (int(place[row]) for place in flat)
        value = hazard_logits[wrong][0].item()
        raise ValueError(f"hazard logit of the patient at index {who}, row {row}, is {value}; expected a finite number")


def check_offsets(offsets: Tensor, rows: int) -> None:
    if offsets.numel() == 0 or int(offsets[0]) != 0 or int(offsets[-1]) != rows:
        raise ValueError(f"offsets run from {offsets[:1].tolist()} to {offsets[-1:].tolist()}; expected 0 to {rows}")
    refuse(offsets.diff() < 0, offsets[1:], "offsets fall to {value}{at}; expected them never to fall")
