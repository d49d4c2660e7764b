"""What every figure has in common as a notebook's widget: its module, its state as traits, its numbers read back."""

import copy
import math
import re
from pathlib import Path
from typing import Any

try:
    import anywidget
    import traitlets
except ImportError as missing:
    raise ImportError('the figures need anywidget: pip install "visitwise[widgets]"') from missing

FOLDER = Path(__file__).parent
FIGURE_MIME = "application/vnd.visitwise.figure+json"
IMPORT = re.compile(r'^import\s[^;]*?from "\./(\w+)\.js";\n', re.MULTILINE | re.DOTALL)
LATER = re.compile(r'await import\("\./(\w+)\.js"\)')
EXPORTED = re.compile(r"^export (?:async )?(?:function|const) (\w+)", re.MULTILINE)


def bundle(name: str) -> str:
    """The module of a figure with all that it imports in one text, as Jupyter needs it: it loads from no folder.

    What a page loads later, when it is asked for, comes along at the end.

    Args:
        name: such as `hazard_loom`, for `hazard_loom.js` beside this file.
    """
    parts: dict[str, str] = {}
    exports: dict[str, str] = {}

    def add(stem: str) -> None:
        text = (FOLDER / f"{stem}.js").read_text(encoding="utf-8")
        exports[stem] = ", ".join(EXPORTED.findall(text))
        for needed in IMPORT.findall(text):
            if needed not in exports:
                add(needed)
        text = IMPORT.sub("", text)
        parts[stem] = text if stem == name else re.sub(r"^export (?!default)", "", text, flags=re.MULTILINE)

    add(name)
    for later in LATER.findall(parts[name]):
        add(later)
    return LATER.sub(lambda found: f"({{ {exports[found[1]]} }})", "\n".join(parts.values()))


def plain(value: Any) -> Any:
    """The same in Python's own numbers and lists, for a tuple, an array, a tensor or a number out of one."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


class Part(traitlets.TraitType[Any, Any]):
    """A part of a figure's state, with the limits that its module has, too."""

    def __init__(self, start: Any, **limits: Any) -> None:
        super().__init__(default_value=start)
        self.limits = {"start": start, **limits}
        self.tag(sync=True)

    def default(self, obj: Any = None) -> Any:
        return copy.deepcopy(self.limits["start"])

    def get(self, obj: Any, cls: Any = None) -> Any:
        return copy.deepcopy(super().get(obj, cls))  # a list that is changed in place and set again is a change

    def set(self, obj: Any, value: Any) -> None:
        value = plain(value)
        told = self.name in obj.heard and obj.heard[self.name] == value
        if obj.shown and not told and not self.problem(value) and value != self.get(obj):
            obj.shown = {}  # those numbers belong to the state before; the figure answers once it has drawn this one
        super().set(obj, value)

    def validate(self, obj: Any, value: Any) -> Any:
        problem = self.problem(value)
        if problem:
            raise traitlets.TraitError(f"{type(obj).__name__}: {self.name} is {value!r}; expected {problem}")
        return value

    def problem(self, value: Any) -> str:
        """What was expected, if the value is something else."""
        raise NotImplementedError


class Number(Part):
    """One number from `low` to `high`, a whole one if it starts as one; the figure's handles move it by `step`."""

    def __init__(self, start: float, low: float, high: float, step: float) -> None:
        super().__init__(start, **{"from": low, "to": high, "step": step})

    def problem(self, value: Any) -> str:
        kinds = (int, float) if isinstance(self.limits["start"], float) else (int,)
        fits = (
            isinstance(value, kinds)
            and not isinstance(value, bool)
            and self.limits["from"] <= value <= self.limits["to"]
        )
        kind = "a number" if float in kinds else "a whole number"
        return "" if fits else f"{kind} from {self.limits['from']:g} to {self.limits['to']:g}"


class Numbers(Part):
    """Numbers from `low` to `high`; as many as at the start unless `fewest` and `most` say otherwise."""

    def __init__(
        self, start: list[Any], low: float, high: float, step: float, fewest: int | None = None, most: int | None = None
    ) -> None:
        count = {"fewest": fewest, "most": most}
        given = {name: number for name, number in count.items() if number is not None}
        super().__init__(start, **{"from": low, "to": high, "step": step}, **given)
        self.one = Number(start[0], low, high, step)

    def problem(self, value: Any) -> str:
        count = len(self.limits["start"])
        fewest, most = self.limits.get("fewest", count), self.limits.get("most", count)
        wanted = self.one.problem(None).removeprefix("a ").replace("number", "numbers")
        many = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        fits = isinstance(value, list) and fewest <= len(value) <= most
        return "" if fits and not any(map(self.one.problem, value)) else f"{many} {wanted}"


class OneOf(Part):
    """One of the values given, the first at the start."""

    def __init__(self, *values: Any) -> None:
        super().__init__(values[0], among=list(values))

    def problem(self, value: Any) -> str:
        fits = any(type(value) is type(one) and value == one for one in self.limits["among"])
        return "" if fits else "one of " + ", ".join(map(repr, self.limits["among"]))


class Switch(OneOf):
    """True or False."""

    def __init__(self, start: bool) -> None:
        super().__init__(start, not start)
        self.limits = {"start": start}

    def problem(self, value: Any) -> str:
        return "" if isinstance(value, bool) else "True or False"


class Figure(anywidget.AnyWidget):
    """A figure to take hold of: what the reader sets are its traits, what it shows is in `shown`.

    The module, `<name>.js` beside this file, computes and draws; Python reads its state back, and a change made in
    Python is drawn. Beneath, the same module is on the site.
    """

    given = traitlets.Dict(help="what the figure is told and does not compute").tag(sync=True)
    shown = traitlets.Dict(help="the numbers on show; empty until a screen has drawn this state").tag(sync=True)
    guess = traitlets.Int(None, allow_none=True, help="the reader's answer to the question, from 0").tag(sync=True)
    light = traitlets.Unicode(help="the term that is pointed at").tag(sync=True)

    name: str
    heard: dict[str, Any] = {}  # noqa: RUF012 - what the screen says while it is taken over, `shown` with it

    def __init__(self, **state: Any) -> None:
        unknown = sorted(set(state) - set(self.parts()) - {"given"})
        if unknown:
            known = ", ".join(self.parts())
            raise TypeError(f"{type(self).__name__} has no {', '.join(unknown)}; expected {known}")
        super().__init__(**state)

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if Figure not in cls.__bases__:  # anywidget makes a class of its own for each widget
            return
        cls.name = cls.__module__.rpartition(".")[2]
        cls._esm = bundle(cls.name)
        cls._css = (FOLDER / "tokens.css").read_text(encoding="utf-8")

    @classmethod
    def parts(cls) -> dict[str, Part]:
        """The traits that make up its state, by name, in the order in which they were written down."""
        written = {name: place for one in reversed(cls.__mro__) for place, name in enumerate(vars(one))}
        parts = [(name, trait) for name, trait in cls.class_traits().items() if isinstance(trait, Part)]
        return dict(sorted(parts, key=lambda part: written[part[0]]))

    @property
    def state(self) -> dict[str, Any]:
        """What the reader has set, by name."""
        return {name: getattr(self, name) for name in self.parts()}

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Takes over what the screen says."""
        self.heard = sync_data
        try:
            super().set_state(sync_data)
        finally:
            self.heard = {}

    def agrees(self, **numbers: float) -> None:
        """Compares your numbers with those on show, by their names in `shown`, to 12 digits.

        Until the figure is on a screen there is nothing to compare with, and it says so.

        Raises:
            AssertionError: naming the number, yours and the figure's.
            ValueError: if the figure shows no number of that name, or yours is not one number.
        """
        for name, given in numbers.items():
            number = plain(given)
            if not isinstance(number, int | float):
                raise ValueError(f"{name} is {given!r}; expected one number")
            if not self.shown:
                print(f"{name} = {number:.6f}; in Jupyter, run this cell again to compare it with the figure")
                continue
            if not isinstance(self.shown.get(name), int | float):
                known = sorted(key for key, value in self.shown.items() if isinstance(value, int | float))
                raise ValueError(f"the figure {self.name} shows no number called {name!r}; it has {', '.join(known)}")
            if not math.isclose(number, self.shown[name], rel_tol=1e-12, abs_tol=1e-12):
                raise AssertionError(f"{name}: you have {number!r}, the figure shows {self.shown[name]!r}")
            print(f"{name} = {number:.6f}, as the figure shows")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.state.items())})"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundled = super()._repr_mimebundle_(**options)
        data, metadata = bundled if isinstance(bundled, tuple) else (bundled or {}, {})
        record = {"name": self.name, "state": self.state, "given": self.given}
        return data | {"text/plain": repr(self), FIGURE_MIME: record}, metadata
