"""Every choice behind a run, as `choices.toml` holds it: enough to do it again."""

import os
import platform
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import tomli_w

from visitwise.definition import CohortDefinition

CHOICES = "choices.toml"
CELLS = ("lstm", "gru")
_WHOLE = ("epochs", "batch_size", "hidden", "embedding", "window", "patience")


@dataclass(frozen=True)
class Training:
    """How a model is trained.

    Args:
        epochs: Passes over the patients, at most.
        batch_size: Patients a step.
        learning_rate: At the start.
        hidden: Length of the recurrent state.
        embedding: Length of a code's vector.
        cell: Kind of recurrence, `"lstm"` or `"gru"`.
        window: Batches sorted by length at once.
        patience: Epochs without gain to stop after.
        seed: First weights and order of the patients; the split, too, where the source is a cohort without one.

    Raises:
        ValueError: A setting is impossible; names it.

    Examples:
        >>> Training(epochs=0)
        Traceback (most recent call last):
        ValueError: epochs is 0; expected a whole number, 1 or more
    """

    epochs: int = 12
    batch_size: int = 256
    learning_rate: float = 2e-3
    hidden: int = 64
    embedding: int = 64
    cell: str = "lstm"
    window: int = 1
    patience: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (*_WHOLE, "seed"):
            value, least = getattr(self, name), int(name != "seed")
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} is {value!r}; expected a whole number, {least} or more")
        rate = self.learning_rate
        if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 < rate < float("inf"):
            raise ValueError(f"learning_rate is {rate!r}; expected a number above 0")
        if self.cell not in CELLS:
            raise ValueError(f"cell is {self.cell!r}; expected one of {', '.join(CELLS)}")


@dataclass(frozen=True)
class Choices:
    """All that decides a run.

    Args:
        source: Where the patients come from: a folder of events, a cohort's folder, or the name of a cohort.
        definition: How a cohort is made of events; None where the source is a cohort already.
        training: How the model is trained.
        baselines: Whether baselines are trained and judged beside the model. Another answer is no other run.

    Examples:
        >>> choices = Choices("small", training=Training(epochs=3))
        >>> print(choices.to_toml().splitlines()[0])
        source = "small"
        >>> Choices.from_toml(choices.to_toml()) == choices
        True
        >>> list(choices.differences(Choices("small")))
        [('epochs', 3, 12)]
    """

    source: str
    definition: CohortDefinition | None = None
    training: Training = field(default_factory=Training)
    baselines: bool = True

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Self:
        """Choices by name, as in a file; `made_with`, which says what wrote it, is not read.

        Raises:
            ValueError: A choice is unknown, missing, impossible or of the wrong type; names it.
        """
        given = {name: value for name, value in given.items() if name != "made_with"}
        require_known(given, [one.name for one in fields(cls)], "a file of choices")
        for name, kind in (("definition", dict), ("training", dict), ("source", str), ("baselines", bool)):
            if name in given and not isinstance(given[name], kind):
                raise ValueError(f"{name} is {given[name]!r}; expected {_KINDS[kind]}")
        if not given.get("source"):
            raise ValueError("the choices name no source; expected a folder or a cohort")
        training = given.get("training", {})
        require_known(training, [one.name for one in fields(Training)], "[training]")
        definition = given.get("definition")
        return cls(
            given["source"],
            None if definition is None else CohortDefinition.from_mapping(definition),
            Training(**training),
            given.get("baselines", True),
        )

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Choices from what `to_toml` wrote, or from a file of the same form.

        Raises:
            ValueError: The text is no TOML, or as `from_mapping`.
        """
        return cls.from_mapping(tomllib.loads(text))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """The choices of a run's folder.

        Raises:
            FileNotFoundError: The folder holds no choices.
            ValueError: As `from_toml`; names the file.
        """
        path = Path(folder) / CHOICES
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no {CHOICES}; expected a folder written by `visitwise train`")
        return cls.from_mapping(read_toml(path))

    def to_toml(self) -> str:
        """Every choice, and under `made_with` the versions of what computed with them."""
        choices: dict[str, Any] = {"source": self.source, "baselines": self.baselines}
        if self.definition is not None:
            choices["definition"] = self.definition.to_mapping()
        return tomli_w.dumps({**choices, "training": asdict(self.training), "made_with": _versions()})

    def differences(self, other: Self) -> Iterator[tuple[str, Any, Any]]:
        """Name, value here and value there of each choice that makes another run of it."""
        yield from _differing({"source": self.source}, {"source": other.source})
        here, there = ({} if one.definition is None else one.definition.to_mapping() for one in (self, other))
        yield from _differing(here, there)
        yield from _differing(asdict(self.training), asdict(other.training))


_KINDS: dict[type, str] = {dict: "a table", str: "a text", bool: "true or false"}


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a TOML file holds.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no TOML; names the file.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(f"{folder}/mine.toml").write_text("seed = 3")
        ...     read_toml(f"{folder}/mine.toml")
        {'seed': 3}
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}; expected one of choices, as a run's {CHOICES}")
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def require_known(given: Mapping[str, Any], known: list[str], where: str) -> None:
    """Refuse a choice that nobody knows.

    Raises:
        ValueError: A name is not among those known.

    Examples:
        >>> require_known({"epocs": 3}, ["epochs", "seed"], "[training]")
        Traceback (most recent call last):
        ValueError: 'epocs' is no choice of [training]; expected one of epochs, seed
    """
    for name in given:
        if name not in known:
            raise ValueError(f"{name!r} is no choice of {where}; expected one of {', '.join(known)}")


def _differing(here: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in dict.fromkeys([*here, *there]):
        if here.get(name) != there.get(name):
            yield name, here.get(name), there.get(name)


def _versions() -> dict[str, str]:
    packages = ("visitwise", "torch", "numpy", "scikit-learn")
    return {**{name: version(name) for name in packages}, "python": platform.python_version()}
