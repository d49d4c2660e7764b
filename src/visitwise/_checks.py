"""What losses do to their inputs first: widen half precision, and refuse what would be silently wrong."""

import torch
from torch import Tensor

# Steps of autograd that only rearrange: behind them, a probability is still a probability.
MOVES_VALUES = ("Squeeze", "Unsqueeze", "Select", "Slice", "View", "UnsafeView", "IndexBackward", "IndexCopy", "ToCopy")


def widen(values: Tensor) -> Tensor:
    """Half precision as float32, anything else as it is."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def refuse(wrong: Tensor, values: Tensor, message: str, limits: Tensor | None = None) -> None:
    """Raise `message` for the first wrong entry: `{value}`, `{limit}`, and index as `{where}` or in words as `{at}`."""
    if bool(wrong.any()):
        index = tuple(int(i) for i in wrong.nonzero()[0])
        where = index[0] if len(index) == 1 else list(index)
        at = f" for the patient at index {where}" if index else ""
        limit = limits[index].item() if limits is not None else None
        raise ValueError(message.format(value=values[index].item(), where=where, at=at, limit=limit))


def ends_in_sigmoid(values: Tensor) -> bool:
    """Whether these are the probabilities of a sigmoid or softmax; it is known only where a gradient is recorded."""
    made_by = values.grad_fn
    while made_by is not None and made_by.name().startswith(MOVES_VALUES):
        made_by = next((before for before, _ in made_by.next_functions if before is not None), None)
    return made_by is not None and made_by.name().startswith(("SigmoidBackward", "SoftmaxBackward"))
