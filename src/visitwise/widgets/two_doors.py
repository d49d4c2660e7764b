"""Figure 5: a loss as a function and as a module, and every call on the way to the arithmetic."""

import itertools
import linecache
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visitwise.widgets._figure import Figure, Number, OneOf, Switch

POS_WEIGHTS = ("none", "1.0", "3.0", "2.3")
KERNEL = "binary_cross_entropy_with_logits"
ROOTS = (Path(torch.__file__).parents[1], Path(__file__).parents[2])

ADDS = {
    "function": "You hand over the data, and the weight with every call.",
    "call": "You hand over the data alone. The rest is in the object.",
    "by_name": "You hand over the data, and go past whatever looks for hooks.",
    "_wrapped_call_impl": "Asks whether the module was compiled.",
    "_call_impl": "Looks for hooks. With none it goes to forward at once.",
    "inner": "Runs the hooks: those before forward, forward, those after.",
    "forward": "Takes what the object keeps, and hands it over with the data.",
    KERNEL: "Checks that z and y have one shape. Both doors are here now.",
    f"torch.{KERNEL}": "Does the arithmetic, which no frame above has done.",
}


class TwoDoors(Figure):
    """Step through the calls of a loss as function and as module; `given` is the record of your own PyTorch.

    Attributes:
        above: the frame in focus, counted from the compiled code at the end, which is 0.
        door: how the module is entered, `"call"` for `loss(z, y)` or `"forward"` for `loss.forward(z, y)`.
        hook: whether a forward hook is on the module.
        pos_weight: how often an event counts, for both doors.
        moved: whether the module went through `.to(torch.float32)`.

    Raises:
        TraitError: naming the trait, what was given and what was expected.

    Examples:
        >>> doors = TwoDoors(pos_weight="3.0")
        >>> [call["holds"] for call in doors.given["calls"] if call["hook"]][-1]
        [['pos_weight', 2.299999952316284, 'float32']]
    """

    above = Number(1, 0, 9, 1)
    door = OneOf("call", "forward")
    hook = Switch(False)
    pos_weight = OneOf(*POS_WEIGHTS)
    moved = Switch(False)

    def __init__(self, **state: Any) -> None:
        super().__init__(**({} if "given" in state else {"given": record()}), **state)


@torch.enable_grad()
def record(hazards: Sequence[float] = (0.1, 0.2, 0.3), happened: Sequence[int] = (0, 0, 1)) -> dict[str, Any]:
    """The calls of both doors for the rows of one patient, in each setting, as the installed PyTorch makes them.

    Examples:
        >>> [call["door"] for call in record([0.15, 0.25], [0, 1])["calls"]][:3]
        ['function', 'call', 'forward']
    """
    z = torch.logit(torch.tensor(hazards, dtype=torch.float64)).requires_grad_()
    y = torch.tensor(happened, dtype=torch.float64)
    frames: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for pos_weight, moved, hook in itertools.product(POS_WEIGHTS, (False, True), (False, True)):
        w = None if pos_weight == "none" else torch.tensor(float(pos_weight), dtype=torch.float64)
        loss = nn.BCEWithLogitsLoss(pos_weight=w, reduction="sum")
        ran: list[str] = []
        if moved:
            loss.to(torch.float32)
        if hook:
            loss.register_forward_hook(note(ran))
        first: list[Tensor] = []
        for door, call in _doors(z, y, w, loss).items():
            ran.clear()
            value, stack = stack_of(call)
            both = [value, *torch.autograd.grad(value, z)]
            first = first or both
            stack[0] |= {"name": "your line", "adds": ADDS["by_name" if door == "forward" else door]}
            frames += [frame for frame in stack if frame not in frames]
            calls.append(
                {
                    "door": door,
                    "hook": hook,
                    "pos_weight": pos_weight,
                    "moved": moved,
                    "frames": [frames.index(frame) for frame in stack],
                    "hooks": len(ran),
                    "same_loss": torch.equal(both[0], first[0]),
                    "same_gradient": torch.equal(both[1], first[1]),
                    "holds": [] if door == "function" else _held(loss),
                }
            )
    return {
        "torch": torch.__version__.partition("+")[0],
        "hazards": list(hazards),
        "happened": list(happened),
        "frames": frames,
        "calls": calls,
        "saved": _saved({"pos_weight": torch.tensor(3.0), "reduction": "sum"}),
    }


def _doors(z: Tensor, y: Tensor, w: Tensor | None, loss: nn.Module) -> dict[str, Callable[[], Tensor]]:
    return {
        "function": lambda: F.binary_cross_entropy_with_logits(z, y, pos_weight=w, reduction="sum"),
        "call": lambda: loss(z, y),
        "forward": lambda: loss.forward(z, y),
    }


def note(ran: list[str]) -> Callable[..., None]:
    """A hook that writes down that it ran."""
    return lambda *_: ran.append("hook")


def stack_of(call: Callable[[], Tensor]) -> tuple[Tensor, list[dict[str, Any]]]:
    """What a call returns, and the frames from it down to PyTorch's compiled cross-entropy, outermost first.

    Examples:
        >>> z = y = torch.zeros(1)
        >>> [frame["name"] for frame in stack_of(lambda: F.binary_cross_entropy_with_logits(z, y))[1]][1:]
        ['binary_cross_entropy_with_logits', 'torch.binary_cross_entropy_with_logits']
    """
    stack: list[dict[str, Any]] = []

    def watch(frame: FrameType | None, event: str, called: Any) -> None:
        if event != "c_call" or called.__name__ != KERNEL or stack:
            return
        name = f"{called.__module__}.{KERNEL}"
        stack.append({"name": name, "file": "compiled, in C++", "line": None, "code": "", "adds": ADDS[name]})
        while frame is not None and frame.f_code is not call.__code__:
            stack.append(_frame(frame))
            frame = frame.f_back
        if frame is not None:
            stack.append(_frame(frame))

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        value = call()
    finally:
        sys.setprofile(before)
    return value, stack[::-1]


def _frame(frame: FrameType) -> dict[str, Any]:
    code = frame.f_code
    adds = ADDS.get(code.co_name, "Hands the call on.")
    line, text = _calling(code, frame.f_lasti, frame.f_lineno)
    return {"name": code.co_qualname, "file": _short(code.co_filename), "line": line, "code": text, "adds": adds}


def _short(path: str) -> str:
    """A file's name from its package on, so that it is the same on every machine."""
    for root in ROOTS:
        if Path(path).is_relative_to(root):
            return Path(path).relative_to(root).as_posix()
    return Path(path).name


def _calling(code: CodeType, instruction: int, line: int) -> tuple[int, str]:
    """Where the call that a frame is making stands, and its text in one line."""
    first, last, start, end = next(itertools.islice(code.co_positions(), instruction // 2, None))
    if first is None or last is None or start is None or end is None:  # Python keeps no columns if told not to
        return line, linecache.getline(code.co_filename, line).strip()
    lines = [linecache.getline(code.co_filename, k).encode() for k in range(first, last + 1)]
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    text = " ".join(b"".join(lines).decode().split())
    return first, re.sub(r",?\s\)", ")", text.replace("( ", "("))


def _held(module: nn.Module) -> list[list[Any]]:
    return [[name, held.item(), str(held.dtype).removeprefix("torch.")] for name, held in module.state_dict().items()]


def _saved(settings: dict[str, Any]) -> dict[str, str]:
    """What `state_dict()` holds of a loss with these settings, and what you might take for it."""
    plain = nn.Module()
    for name, value in settings.items():
        setattr(plain, name, value)

    def shown(held: dict[str, Any]) -> str:
        return repr({name: value.item() if isinstance(value, Tensor) else value for name, value in held.items()})

    return {
        "attributes": shown(plain.state_dict()),
        "buffers": shown(nn.BCEWithLogitsLoss(**settings).state_dict()),
        "settings": shown(settings),
    }
