"""A cohort with its past: how it came about, who trains and who judges, and which choices made it.

`Flow` counts what was read, left out and kept. `Study` is a cohort with its flow, its split by patient and the
definition that it follows; saved, it is a folder that `Cohort.load` opens, too.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from visitwise._explain import explained
from visitwise.cohort import Cohort, CohortWriter, by_lot
from visitwise.definition import CohortDefinition
from visitwise.vocabulary import Vocabulary

SPLITS = ("train", "tuning", "held_out")
_TEXTS = ("flow.json", "study.toml", "names.json", "vocabulary.json")
FRACTIONS = (0.70, 0.15, 0.15)


@dataclass(frozen=True, repr=False)
class Flow:
    """How many were read, left out and kept, each in the order in which it was looked at. Printed, it is a flow chart.

    The flows of two shards add up to the flow of both.

    Args:
        read: What was read: `patients`, `records`, `files`.
        excluded: Patients left out, by reason; each once, at the first reason that applies.
        dropped: Records of the patients kept that are no input, by reason.
        kept: What is left: `patients`, and others such as `visits`, `rows` and `events`.
        warnings: What a reader has to know, one sentence each.

    Raises:
        ValueError: A count is below 0, or the patients read are not the patients excluded and kept.

    Examples:
        >>> Flow({"records": 60, "patients": 5}, {"no visit": 2}, {"after the event": 4}, {"patients": 3, "visits": 9})
        read: 60 records, 5 patients
          |-- excluded: 2 patients
          |     2  no visit
          |-- dropped: 4 records of the patients kept
          |     4  after the event
        kept: 3 patients, 9 visits
    """

    read: Mapping[str, int]
    excluded: Mapping[str, int]
    dropped: Mapping[str, int]
    kept: Mapping[str, int]
    warnings: tuple[str, ...] = ()

    @explained
    def __post_init__(self) -> None:
        for part in ("read", "excluded", "dropped", "kept"):
            for name, count in getattr(self, part).items():
                if count < 0:
                    raise ValueError(f"{part} has {count} for {name!r}; expected 0 or more")
        read, kept = self.read.get("patients"), self.kept.get("patients")
        if read is None or kept is None:
            raise ValueError(
                "a flow without a count of patients; expected 'patients' in what was read and what is kept"
            )
        if read != self.n_excluded + kept:
            raise ValueError(
                f"{read} patients were read, {self.n_excluded} excluded and {kept} kept; expected the two to add up"
            )

    @property
    def n_excluded(self) -> int:
        """Number of patients left out."""
        return sum(self.excluded.values())

    @property
    def n_dropped(self) -> int:
        """Number of records of the patients kept that are no input."""
        return sum(self.dropped.values())

    def __add__(self, other: Self) -> Self:
        counts = {part: _sum(getattr(self, part), getattr(other, part)) for part in _COUNTS}
        return type(self)(**counts, warnings=tuple(dict.fromkeys(self.warnings + other.warnings)))

    def __repr__(self) -> str:
        lines = [f"read: {_listed(self.read)}"]
        for part, what, whose in (("excluded", "patients", ""), ("dropped", "records", " of the patients kept")):
            counts = {name: count for name, count in getattr(self, part).items() if count}
            if counts:
                lines.append(f"  |-- {part}: {_listed({what: sum(counts.values())})}{whose}")
                width = max(len(f"{count:,}") for count in counts.values())
                lines += [f"  |     {count:{width},}  {name}" for name, count in counts.items()]
        lines.append(f"kept: {_listed(self.kept)}")
        lines += [f"! {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def to_json(self) -> str:
        """The counts as JSON; `from_json` gives the same flow, in the same order."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    @explained
    def from_json(cls, text: str) -> Self:
        """A flow from what `to_json` wrote.

        Raises:
            ValueError: The text is something else.

        Examples:
            >>> flow = Flow({"patients": 5}, {"no visit": 2}, {}, {"patients": 3})
            >>> Flow.from_json(flow.to_json()) == flow
            True
        """
        try:
            parts = json.loads(text)
            return cls(**{part: dict(parts.pop(part)) for part in _COUNTS}, warnings=tuple(parts.pop("warnings")))
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"this is no flow: {error}; expected what Flow.to_json writes") from error


_COUNTS = tuple(one.name for one in fields(Flow) if one.name != "warnings")


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """A cohort, split by patient, with what is known of its making.

    Args:
        cohort: The patients.
        split: Which part each patient is in: 0 trains, 1 decides when to stop, 2 is held out to judge.
        origin: Each patient's day 0 in microseconds since 1970, or None if the cohort has no dates.
        flow: What was read, left out and kept; None where the cohort was not made from records.
        definition: The choices between records and cohort; None where there were none.
        names: The patients' own ids where they are not whole numbers; `cohort.visits.patient_id` then has positions.
        vocabulary: How codes were named and gaps filled, for patients to come; None where the cohort was not made from
            records.

    Raises:
        ValueError: One of them has another length than the cohort, or the split has something other than 0, 1 and 2.

    Examples:
        >>> from visitwise.simulate import TEACHING
        >>> study = Study.of(TEACHING.draw(100, seed=0).cohort)
        >>> study
        Study(100 patients: 70 train, 15 tuning, 15 held out; 1,246 visits, 35 events)
        >>> len(study.held_out)
        15
    """

    cohort: Cohort
    split: Int[Tensor, " patient"]
    origin: Int[Tensor, " patient"] | None = None
    flow: Flow | None = None
    definition: CohortDefinition | None = None
    names: tuple[str, ...] | None = None
    vocabulary: Vocabulary | None = None

    @explained
    def __post_init__(self) -> None:
        n_patients = len(self.cohort)
        for name, values in (("split", self.split), ("origin", self.origin)):
            if values is not None and (
                list(values.shape) != [n_patients] or values.is_floating_point() or values.is_complex()
            ):
                given = f"{values.dtype} of shape {list(values.shape)}"
                raise ValueError(f"{name} is {given}; expected one whole number for each of {n_patients} patients")
        for name, values in (("split", self.split), ("origin", self.origin)):
            if values is not None and values.device != self.split.device:
                raise ValueError(f"{name} is on the device {values.device}; expected {self.split.device}, as the split")
        if self.names is not None and not all(isinstance(name, str) for name in self.names):
            raise ValueError(f"names are {self.names[:3]}; expected words")
        if self.names is not None and len(self.names) != n_patients:
            raise ValueError(f"there are {len(self.names)} names of {n_patients} patients; expected one for each")
        wrong = (self.split < 0) | (self.split >= len(SPLITS))
        if bool(wrong.any()):
            first = int(wrong.nonzero()[0])
            who = int(self.cohort.visits.patient_id[first])
            raise ValueError(f"patient {who} is in part {int(self.split[first])}; expected 0, 1 or 2 for {SPLITS}")

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.cohort)

    def __repr__(self) -> str:
        sizes = torch.bincount(self.split.long(), minlength=len(SPLITS)).tolist()
        parts = ", ".join(f"{size:,} {name.replace('_', ' ')}" for size, name in zip(sizes, SPLITS, strict=True))
        visits, events = self.cohort.visits.n_visits, int(self.cohort.outcome.observed.sum())
        return f"Study({len(self):,} patients: {parts}; {visits:,} visits, {events:,} events)"

    def __getstate__(self) -> dict[str, Any]:
        """What pickle carries: each patient once. The parts are chosen anew where they are asked for."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    @explained
    def of(cls, cohort: Cohort, *, seed: int = 0, fractions: Sequence[float] = FRACTIONS) -> Self:
        """A cohort split by lot into patients who train, who decide when to stop, and who are held out.

        Raises:
            ValueError: There are not three shares, they do not sum to 1, or a part would be empty.

        Examples:
            >>> from visitwise.simulate import TEACHING
            >>> cohort = TEACHING.draw(20, seed=0).cohort
            >>> Study.of(cohort, seed=1, fractions=(0.5, 0.25, 0.25)).split.bincount().tolist()
            [10, 5, 5]
        """
        if not isinstance(cohort, Cohort):
            raise TypeError(f"cohort is a {type(cohort).__name__}; expected a Cohort")
        if len(fractions) != len(SPLITS):
            raise ValueError(f"there are {len(fractions)} shares; expected {len(SPLITS)}, for {SPLITS}")
        split = torch.empty(len(cohort), dtype=torch.int8)
        for part, patients in enumerate(by_lot(len(cohort), fractions, seed=seed)):
            split[patients] = part
        return cls(cohort, split)

    @cached_property
    def train(self) -> Cohort:
        """Patients to learn from. Visits are copied when they are needed, a batch at a time."""
        return self._part(0)

    @cached_property
    def tuning(self) -> Cohort:
        """Patients who decide when to stop."""
        return self._part(1)

    @cached_property
    def held_out(self) -> Cohort:
        """Patients who judge, and are used for nothing else."""
        return self._part(2)

    @explained
    def positions(self, part: str) -> Int[Tensor, " chosen"]:
        """Positions in the cohort of the patients of a part: `"train"`, `"tuning"` or `"held_out"`."""
        return (self.split == SPLITS.index(part)).nonzero()[:, 0]

    def _part(self, part: int) -> Cohort:
        patients = self.positions(SPLITS[part])
        if len(patients) == 0:
            name = SPLITS[part].replace("_", "-")
            raise ValueError(f"none of the {len(self):,} patients is a {name} patient; expected at least one")
        return self.cohort._choose(patients)

    # ----------------------------------------------------------------------------------------------------- to disk

    @explained
    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a cohort folder with split, dates, definition, flow and names beside the arrays.

        The folder appears complete or not at all.

        Raises:
            FileExistsError: The folder is there already.
            OSError: The disk is full.
        """
        beside = {"split": self.split} | ({} if self.origin is None else {"origin": self.origin})
        with CohortWriter(folder) as writer:
            writer.append(self.cohort, **beside)
            writer.finish(texts_of(self.flow, self.definition, self.names, self.vocabulary))

    @classmethod
    @explained
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """A saved study; its arrays are mapped into memory, as by `Cohort.load`.

        Raises:
            FileNotFoundError: There is no cohort in the folder, or one without a split.
            ValueError: A file in it is not what `save` writes.

        Examples:
            >>> from tempfile import TemporaryDirectory
            >>> from visitwise.simulate import TEACHING
            >>> with TemporaryDirectory() as parent:
            ...     Study.of(TEACHING.draw(100, seed=0).cohort).save(f"{parent}/study")
            ...     Study.load(f"{parent}/study"), Cohort.load(f"{parent}/study").visits.n_visits
            (Study(100 patients: 70 train, 15 tuning, 15 held out; 1,246 visits, 35 events), 1246)
        """
        folder = Path(folder)
        cohort = Cohort.load(folder)
        split, origin = (_mapped(folder / f"{name}.npy") for name in ("split", "origin"))
        if split is None:
            raise FileNotFoundError(
                f"{folder} holds a cohort without split.npy; expected a folder written by Study.save"
            )
        texts = {name: _text(folder / name) for name in _TEXTS}
        names = json.loads(texts["names.json"]) if texts["names.json"] else None
        return cls(
            cohort,
            split,
            origin,
            Flow.from_json(texts["flow.json"]) if texts["flow.json"] else None,
            CohortDefinition.from_toml(texts["study.toml"]) if texts["study.toml"] else None,
            None if names is None else tuple(names),
            Vocabulary.from_json(texts["vocabulary.json"]) if texts["vocabulary.json"] else None,
        )


@explained
def texts_of(
    flow: Flow | None,
    definition: CohortDefinition | None,
    names: Sequence[str] | None = None,
    vocabulary: Vocabulary | None = None,
) -> dict[str, str]:
    """The text files of a study's folder, for `CohortWriter.finish`; the arrays `split` and `origin` lie beside.

    Examples:
        >>> flow = Flow({"patients": 5}, {"no visit": 2}, {}, {"patients": 3})
        >>> sorted(texts_of(flow, None, ["Anna", "Ben", "Cleo"]))
        ['flow.json', 'names.json']
    """
    texts = {} if flow is None else {"flow.json": flow.to_json()}
    if definition is not None:
        texts["study.toml"] = definition.to_toml()
    if names is not None:
        texts["names.json"] = json.dumps(list(names), ensure_ascii=False)
    if vocabulary is not None:
        texts["vocabulary.json"] = vocabulary.to_json()
    return texts


def _mapped(path: Path) -> Tensor | None:
    if not path.is_file():
        return None
    try:
        return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Counts of both, in an order that agrees with that of each where the two agree."""
    order = list(one)
    at = 0
    for name in other:
        if name in one:
            at = max(at, order.index(name) + 1)
        else:
            order.insert(at, name)
            at += 1
    return {name: one.get(name, 0) + other.get(name, 0) for name in order}


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name.removesuffix('s') if count == 1 else name}" for name, count in counts.items())
