"""Figure 5 by torch: each call made again, and its stack read by `traceback` from inside the operation."""

import ast
import functools
import itertools
import linecache
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.figures import Mutant
from visitwise.widgets.two_doors import ADDS

PAGE = "03-class-or-function"
KERNEL = "binary_cross_entropy_with_logits"
HAZARDS, HAPPENED = [0.1, 0.2, 0.3], [0.0, 0.0, 1.0]


def states(random: np.random.Generator) -> list[dict[str, Any]]:
    """All that there are."""
    parts = {
        "above": range(10),
        "door": ("call", "forward"),
        "hook": (False, True),
        "pos_weight": ("none", "1.0", "3.0", "2.3"),
        "moved": (False, True),
    }
    return [dict(zip(parts, values, strict=True)) for values in itertools.product(*parts.values())]


class Stack(TorchDispatchMode):
    """Reads who called, below everything that `sys.setprofile` sees: where an operation is handed to its kernel."""

    frames: list[traceback.FrameSummary]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.binary_cross_entropy_with_logits.default:
            self.frames = list(traceback.extract_stack())
        return func(*args, **(kwargs or {}))


def read(frame: traceback.FrameSummary) -> dict[str, Any]:
    """Where a frame stands, and the call that its statement is, by the statement's tree."""
    (statement,) = (each for each in statements(frame.filename) if each.lineno == frame.lineno)
    code = " ".join(ast.unparse(statement.value).split())
    parts = Path(frame.filename).parts
    file = "/".join(parts[parts.index("site-packages") + 1 :])
    return {"file": file, "line": frame.lineno, "code": code}


@functools.cache
def statements(path: str) -> list[ast.Return | ast.Assign]:
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    return [each for each in ast.walk(tree) if isinstance(each, ast.Return | ast.Assign)]


@functools.cache
def called(door: str, hook: bool, pos_weight: str, moved: bool) -> dict[str, Any]:
    """One call, through this file: what it returns, what the object holds, and the frames below the call."""
    z = torch.logit(torch.tensor(HAZARDS, dtype=torch.float64)).requires_grad_()
    y = torch.tensor(HAPPENED, dtype=torch.float64)
    w = None if pos_weight == "none" else torch.tensor(float(pos_weight), dtype=torch.float64)
    loss = nn.BCEWithLogitsLoss(pos_weight=w, reduction="sum")
    ran: list[None] = []
    if hook:
        loss.register_forward_hook(lambda *_: ran.append(None))
    if moved:
        loss.to(torch.float32)
    with Stack() as stack:
        if door == "function":
            value = F.binary_cross_entropy_with_logits(z, y, pos_weight=w, reduction="sum")
        else:
            value = loss(z, y) if door == "call" else loss.forward(z, y)
    (gradient,) = torch.autograd.grad(value, z)
    names = [frame.name for frame in stack.frames]
    end = len(names) - names[::-1].index(KERNEL)
    start = names.index("called") + 1
    owner = {"_wrapped_call_impl": "Module.", "_call_impl": "Module.", "inner": "Module._call_impl.<locals>."}
    owner["forward"] = "BCEWithLogitsLoss."
    below = [
        {"name": owner.get(frame.name, "") + frame.name, "adds": ADDS[frame.name]} | read(frame)
        for frame in stack.frames[start:end]
    ]
    kernel = f"torch.{KERNEL}"
    below.append({"name": kernel, "file": "compiled, in C++", "line": None, "code": "", "adds": ADDS[kernel]})
    holds = [[name, held.item(), str(held.dtype)[6:]] for name, held in loss.state_dict().items()]
    return {"value": value, "gradient": gradient, "below": below, "holds": holds, "hooks": len(ran)}


def oracle(state: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    settings = {key: state[key] for key in ("hook", "pos_weight", "moved")}
    one, other = called("function", **settings), called(state["door"], **settings)
    codes = {
        "function": 'F.binary_cross_entropy_with_logits(z, y, pos_weight=w, reduction="sum")',
        "call": "loss(z, y)",
        "forward": "loss.forward(z, y)",
    }
    stacks = []
    for door, call in (("function", one), (state["door"], other)):
        (yours,) = (frame for frame in given["frames"] if frame["name"] == "your line" and frame["code"] == codes[door])
        assert codes[door] in linecache.getline(str(source()), yours["line"])
        stacks.append(
            [
                {
                    **yours,
                    "file": "visitwise/widgets/two_doors.py",
                    "adds": ADDS["by_name" if door == "forward" else door],
                },
                *call["below"],
            ],
        )
    names = [[frame["name"] for frame in stack] for stack in stacks]
    merge = [each.index(KERNEL) for each in names]
    shared = len(names[0]) - merge[0]
    assert stacks[0][merge[0] :] == stacks[1][merge[1] :]
    level = min(state["above"], len(names[1]) - 1)
    focus = names[1][len(names[1]) - 1 - level]
    return {
        "stacks": stacks,
        "shared": shared,
        "level": level,
        "focus": [names[0].index(focus) if focus in names[0] else None, names[1].index(focus)],
        "between": [each - 1 for each in merge],
        "hooks": [one["hooks"], other["hooks"]],
        "holds": other["holds"],
        "function_loss": one["value"].item(),
        "module_loss": other["value"].item(),
        "equal": one["value"].item() == other["value"].item(),
        "same_loss": torch.equal(one["value"], other["value"]),
        "same_gradient": torch.equal(one["gradient"], other["gradient"]),
    }


def source() -> Path:
    import visitwise.widgets.two_doors

    return Path(visitwise.widgets.two_doors.__file__)


MUTANTS = [
    Mutant(
        "stacks compared from their beginnings",
        "one[one.length - 1 - count] === other[other.length - 1 - count]",
        "one[count] === other[count]",
    ),
    Mutant("one shared call too many", "return count;", "return count + 1;"),
    Mutant("your own line counted as on the way", "call.frames.length - 1 - shared)", "call.frames.length - shared)"),
    Mutant("focus beyond the stack", "Math.min(above, byModule.frames.length - 1)", "above"),
    Mutant("focus counted from the top", "byModule.frames.length - 1 - level,", "level,"),
    Mutant("the function in focus at the same depth", "      level < shared ?", "      level <= shared ?"),
    Mutant(
        "the moved weight taken for the old one", "[weight, moved ? Math.fround(weight) : weight]", "[weight, weight]"
    ),
    Mutant(
        ".to moves the function's weight, too", "[weight, moved ?", "[moved ? Math.fround(weight) : weight, moved ?"
    ),
    Mutant("the weight on the rows without the event", "weight * eventNll(hazard)", "eventNll(hazard)"),
    Mutant("the weight on every row", "survivedNll(hazard))", "weight * survivedNll(hazard))"),
    Mutant("a hook wherever there is one", "byFunction.hooks, byModule.hooks", "byModule.hooks, byModule.hooks"),
    Mutant("the door left out", "call.door === name", 'call.door !== "loss"'),
    Mutant("the wrong stack first", "[frames(byFunction), frames(byModule)]", "[frames(byModule), frames(byFunction)]"),
    Mutant(
        "the hook's setting ignored",
        "const wanted = { hook, pos_weight, moved };",
        "const wanted = { pos_weight, moved };",
    ),
    Mutant("equality taken for granted", "equal: losses[0] === losses[1]", "equal: true"),
]
