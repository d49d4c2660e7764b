"""What a model knows by name: codes, static features and measurements, as the training patients had them.

Made from counts over training patients alone (`visitwise.events.Census`), and kept beside a model: new patients are
read with the vocabulary of those who trained it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Self

from visitwise._explain import explained
from visitwise.visits import PADDING, Schema

UNKNOWN = "<unknown>"


@dataclass(frozen=True)
class Vocabulary:
    """Names of the inputs, and what stands in for what is missing.

    Args:
        schema: The names; the last code is `<unknown>`.
        rolled_up: What each code of the training patients became that is not in the schema itself.
        fills: For each static feature that is a number its mean over the training patients, where a patient has none.
        age: Name of the static feature that is made of the date of birth; None if there is none.

    Raises:
        ValueError: The last code is not `<unknown>`, or a name is not in the schema.

    Examples:
        >>> schema = Schema.of(["I60-I69", "pain", UNKNOWN], ["age"])
        >>> vocabulary = Vocabulary(schema, {"I63.9": "I60-I69"}, {"age": 61.5}, age="age")
        >>> vocabulary.target("I63.9"), vocabulary.target("pain"), vocabulary.target("A09")
        ('I60-I69', 'pain', '<unknown>')
        >>> vocabulary.target("I62", {"I62": ["brain", "I60-I69"]})
        'I60-I69'
    """

    schema: Schema
    rolled_up: Mapping[str, str] = field(default_factory=dict)
    fills: Mapping[str, float] = field(default_factory=dict)
    age: str | None = None

    @explained
    def __post_init__(self) -> None:
        if self.schema.codes[-1] != UNKNOWN:
            raise ValueError(f"the last code of the vocabulary is {self.schema.codes[-1]!r}; expected {UNKNOWN!r}")
        for what, names, known in (
            ("code", self.rolled_up.values(), {*self._codes, UNKNOWN}),
            ("static feature", [*self.fills, *([] if self.age is None else [self.age])], {*self.schema.static}),
        ):
            if missing := sorted(set(names) - known):
                raise ValueError(f"the {what} {missing[0]!r} is not in the schema; expected it there")

    @cached_property
    def _codes(self) -> frozenset[str]:
        return frozenset(self.schema.codes) - {PADDING, UNKNOWN}

    @explained
    def target(self, code: str, parents: Mapping[str, Sequence[str]] | None = None) -> str:
        """The code of the schema that stands for this one: itself, the nearest of its parents, or `<unknown>`.

        Args:
            code: As in a record.
            parents: The codes above each code, if the data say; more general ones are found through them.
        """
        if code in self._codes:
            return code
        if code in self.rolled_up:
            return self.rolled_up[code]
        return next((name for name in ancestry(code, parents or {}) if name in self._codes), UNKNOWN)

    def to_json(self) -> str:
        """The vocabulary as JSON; `from_json` gives the same one."""
        given = {"schema": asdict(self.schema), "rolled_up": dict(self.rolled_up), "fills": dict(self.fills)}
        return json.dumps(given | {"age": self.age}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    @explained
    def from_json(cls, text: str) -> Self:
        """A vocabulary from what `to_json` wrote.

        Raises:
            ValueError: The text is something else.

        Examples:
            >>> vocabulary = Vocabulary(Schema.of(["pain", UNKNOWN]), {"A09": UNKNOWN})
            >>> Vocabulary.from_json(vocabulary.to_json()) == vocabulary
            True
        """
        try:
            given = json.loads(text)
            schema = Schema(**{kind: tuple(names) for kind, names in given["schema"].items()})
            return cls(schema, given["rolled_up"], given["fills"], given["age"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no vocabulary: {error}; expected what Vocabulary.to_json writes") from error


def ancestry(code: str, parents: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """A code and everything above it, the nearest first; each once, also where codes stand above themselves.

    Args:
        code: Where to begin.
        parents: The codes right above each code.

    Examples:
        >>> list(ancestry("a", {"a": ["b", "c"], "b": ["d"], "c": ["a"]}))
        ['a', 'b', 'c', 'd']
    """
    level, met = [code], {code}
    while level:
        yield from level
        above = dict.fromkeys(name for below in level for name in parents.get(below, ()))
        level = [name for name in above if name not in met]
        met.update(level)
