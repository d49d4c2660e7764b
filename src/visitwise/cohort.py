"""Patients with their outcomes: what became of each, splits by patient, batches, and a place on disk."""

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from visitwise._checks import check_real, check_seed, check_whole
from visitwise._explain import explained
from visitwise._ragged import arrays_of, at, check_positions, offsets_of, refuse, trusted
from visitwise.visits import Schema, Visits, check_sizes, chosen

FORMAT = "visitwise cohort 1"
_SCHEMA = {field.name for field in fields(Schema)}


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of each patient; never a visit.

    Args:
        start: First row whose outcome counts; earlier visits are history only.
        stop: Number of the row after the last one: rows `start <= k < stop` are at risk.
        cause: 0 if the patient was event-free for as long as row `stop - 1` was followed (censored); otherwise the
            number of the cause whose event happened in that row, 1 where there is only one.
        censored_exposure: Share of the last interval that a censored patient was followed through: 1 to its end.
        followup_days: Days from the patient's time origin to the event or the end of follow-up, NaN if not recorded.

    Raises:
        ValueError: Anything above does not hold; names the patient by position.

    Examples:
        >>> outcome = Outcome.of(stop=torch.tensor([3, 2]), observed=torch.tensor([True, False]))
        >>> outcome.observed.tolist(), outcome.n_rows
        ([True, False], 5)
    """

    start: Int[Tensor, " patient"]
    stop: Int[Tensor, " patient"]
    cause: Int[Tensor, " patient"]
    censored_exposure: Float[Tensor, " patient"]
    followup_days: Float[Tensor, " patient"]

    @explained
    def __post_init__(self) -> None:
        for name, values in arrays_of(self).items():
            if values.shape != self.stop.shape or values.dim() != 1:
                raise ValueError(
                    f"{name} has shape {list(values.shape)}; expected {list(self.stop.shape)}, one a patient"
                )
        for name in ("stop", "start", "cause"):
            if (dtype := getattr(self, name).dtype).is_floating_point or dtype.is_complex or dtype == torch.bool:
                raise ValueError(f"{name} has dtype {dtype}; expected whole numbers")
        for name in ("start", "cause", "censored_exposure", "followup_days"):
            if (device := getattr(self, name).device) != self.stop.device:
                raise ValueError(f"{name} is on the device {device}; expected {self.stop.device}, where stop is")
        position = torch.arange(len(self))
        refuse(self.start < 0, position, self.start, "starts at row {}; expected 0 or more")
        message = "stops at row {}; expected more than its start, {}"
        refuse(self.stop <= self.start, position, self.stop, message, self.start)
        refuse(self.cause < 0, position, self.cause, "has the cause {}; expected 0 (censored), 1, 2, ...")
        share = self.censored_exposure
        refuse(~((share >= 0) & (share <= 1)), position, share, "has the censored exposure {}; expected 0 to 1")
        days = self.followup_days
        refuse((days < 0) | days.isinf(), position, days, "is followed for {} days; expected 0 or more, or NaN")

    @classmethod
    @explained
    def of(
        cls,
        stop: Int[Tensor, " patient"],
        observed: Shaped[Tensor, " patient"],
        *,
        start: Int[Tensor, " patient"] | None = None,
        cause: Int[Tensor, " patient"] | None = None,
        censored_exposure: Float[Tensor, " patient"] | None = None,
        followup_days: Float[Tensor, " patient"] | None = None,
    ) -> Self:
        """An outcome from `stop` and `observed` (true or 1 where the event was seen); the rest has its usual value.

        Raises:
            ValueError: `observed` holds something other than 0 and 1, or disagrees with `cause`.

        Examples:
            >>> outcome = Outcome.of(stop=torch.tensor([3, 2]), observed=torch.tensor([True, False]))
            >>> outcome.start.tolist(), outcome.cause.tolist()
            ([0, 0], [1, 0])
        """
        if observed.is_complex():
            raise ValueError(f"observed has dtype {observed.dtype}; expected 0 and 1, or bool")
        if observed.shape != stop.shape:
            raise ValueError(f"observed has shape {list(observed.shape)}; expected {list(stop.shape)}, one a patient")
        position = torch.arange(len(observed))
        refuse((observed != 0) & (observed != 1), position, observed, "has observed = {}; expected 0 or 1")
        seen = observed.bool()
        if cause is None:
            cause = seen.long()
        elif cause.shape == seen.shape:
            refuse((cause > 0) != seen, position, cause, "has the cause {}, which disagrees with observed")
        return cls(
            start=torch.zeros_like(stop) if start is None else start,
            stop=stop,
            cause=cause,
            censored_exposure=torch.ones(stop.shape) if censored_exposure is None else censored_exposure,
            followup_days=torch.full(stop.shape, torch.nan) if followup_days is None else followup_days,
        )

    def __len__(self) -> int:
        """Number of patients."""
        return self.stop.shape[0]

    @property
    def observed(self) -> Bool[Tensor, " patient"]:
        """True where the event was seen."""
        return self.cause > 0

    @property
    def cut_short(self) -> Bool[Tensor, " patient"]:
        """True where a patient was lost inside row `stop - 1`, which nobody knows to have been survived."""
        return (self.censored_exposure < 1) & ~self.observed

    @property
    def n_rows(self) -> int:
        """Number of intervals at risk of all patients together; one that was followed in part is one, too."""
        return int((self.stop - self.start).sum())

    @explained
    def select(self, patients: Int[Tensor, " chosen"]) -> Self:
        """The outcomes of the patients at these positions, in this order."""
        check_positions(patients, len(self), self.stop.device)
        return trusted(type(self), **{name: at(value, patients) for name, value in arrays_of(self).items()})

    @explained
    def to(self, device: torch.device | str) -> Self:
        """The same outcomes on another device."""
        return trusted(type(self), **{name: values.to(device) for name, values in arrays_of(self).items()})


@dataclass(frozen=True, eq=False)
class Cohort:
    """Patients: their visits and what became of them. A batch is a small cohort.

    Raises:
        ValueError: The two parts differ in length, or a patient's outcome lies beyond the record.

    Examples:
        >>> visits = Visits.from_lists([[["pain"], ["stroke"]], [["pain"]]], day=[[0, 30], [0]])
        >>> cohort = Cohort(visits, Outcome.of(torch.tensor([2, 1]), torch.tensor([True, False])))
        >>> cohort
        Cohort(2 patients, 3 visits, 3 codes, 3 rows at risk, 1 events)
    """

    visits: Visits
    outcome: Outcome

    @explained
    def __post_init__(self) -> None:
        if self.visits.day.device != self.outcome.stop.device:
            devices = f"visits are on the device {self.visits.day.device}, outcomes on {self.outcome.stop.device}"
            raise ValueError(f"{devices}; expected one device")
        if len(self.visits) != len(self.outcome):
            raise ValueError(
                f"visits of {len(self.visits)} patients, outcomes of {len(self.outcome)}; expected as many"
            )
        beyond = self.outcome.stop > self.visits.length
        message = "stops at row {}, beyond the last recorded visit; expected at most {}"
        refuse(beyond, self.visits.patient_id, self.outcome.stop, message, self.visits.length)

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.visits)

    @property
    def shape(self) -> tuple[int]:
        """Number of patients, as an array of patients would have it: scikit-learn's splitters ask for it."""
        return (len(self),)

    def __getitem__(self, patients: object) -> Self:
        """The patients at these positions, in this order: `cohort[[3, 0]]`, `cohort[:100]`, or a mask.

        It is what scikit-learn's splitters ask of an array. As in `split`, nothing is copied before it is needed.

        Raises:
            ValueError: It is a single number, or nothing that picks patients, or it picks none.

        Examples:
            >>> visits = Visits.from_lists([[["a"]], [["b"]], [["a"]]], day=[[0]] * 3)
            >>> cohort = Cohort(visits, Outcome.of(torch.ones(3, dtype=torch.long), torch.zeros(3)))
            >>> cohort[[2, 0]].visits.patient_id.tolist()
            [2, 0]
            >>> len(cohort[1:]), len(cohort[cohort.visits.patient_id < 2])
            (2, 2)
        """
        if isinstance(patients, tuple) and len(patients) == 2 and patients[1] is Ellipsis:
            patients = patients[0]  # scikit-learn's way to take rows of an array
        every = np.arange(len(self))
        positions = np.asarray(every[patients] if isinstance(patients, slice) else patients)
        if positions.ndim != 1 or (positions.size and positions.dtype.kind not in "iub"):
            given = f"indexed by {positions.tolist()!r}"
            raise ValueError(f"the cohort is {given:.80}; expected positions, such as cohort[[3]], a slice or a mask")
        positions = every[positions.astype(bool if positions.dtype.kind == "b" else np.int64)]
        if len(positions) == 0:
            raise ValueError(f"0 of {len(self)} patients are chosen; expected at least one")
        return self._choose(torch.from_numpy(positions))

    def __repr__(self) -> str:
        events = int(self.outcome.observed.sum())
        return (
            f"Cohort({len(self):,} patients, {self.visits.n_visits:,} visits, {self.visits.codes.shape[0]:,} codes, "
            f"{self.outcome.n_rows:,} rows at risk, {events:,} events)"
        )

    @explained
    def select(self, patients: Int[Tensor, " chosen"]) -> Self:
        """The patients at these positions, in this order."""
        return trusted(type(self), visits=self.visits.select(patients), outcome=self.outcome.select(patients))

    @explained
    def to(self, device: torch.device | str) -> Self:
        """The same patients on another device."""
        return trusted(type(self), visits=self.visits.to(device), outcome=self.outcome.to(device))

    @classmethod
    @explained
    def concat(cls, cohorts: Sequence[Self]) -> Self:
        """All patients of several cohorts.

        Raises:
            ValueError: The cohorts' schemas differ, or a patient is in two of them.
        """
        if not cohorts:
            raise ValueError("no cohort to join; expected at least one")
        require_disjoint(*cohorts)
        schemas = {cohort.visits.schema for cohort in cohorts}
        if len(schemas) > 1:
            raise ValueError(f"the cohorts have {len(schemas)} different schemas; expected one")
        visits = [cohort.visits for cohort in cohorts]
        joined = {
            name: torch.cat([getattr(part, name) for part in visits])
            for name in ("codes", "day", "patient_id", "static", "measurements")
        }
        outcomes = [arrays_of(cohort.outcome) for cohort in cohorts]
        return cls(
            Visits(
                code_offsets=offsets_of(torch.cat([part.code_offsets.diff() for part in visits])),
                visit_offsets=offsets_of(torch.cat([part.length for part in visits])),
                schema=visits[0].schema,
                **joined,
            ),
            Outcome(**{name: torch.cat([part[name] for part in outcomes]) for name in outcomes[0]}),
        )

    # --------------------------------------------------------------------------------------------- splits and batches

    @explained
    def split(self, fractions: Sequence[float], *, seed: int) -> tuple[Self, ...]:
        """Patients dealt at random into parts of these shares; every patient is in exactly one part.

        A part reads its visits where this cohort has them, a batch at a time: of files that are mapped into memory,
        nothing is copied until it is used.

        Raises:
            ValueError: The shares do not sum to 1, or a part would be empty.

        Examples:
            >>> visits = Visits.from_lists([[["a"]]] * 10, day=[[0]] * 10)
            >>> cohort = Cohort(visits, Outcome.of(torch.ones(10, dtype=torch.long), torch.zeros(10)))
            >>> [len(part) for part in cohort.split([0.8, 0.2], seed=0)]
            [8, 2]
        """
        parts = by_lot(len(self), fractions, seed=seed)
        return tuple(self._choose(part) for part in parts)

    def _choose(self, patients: Int[Tensor, " chosen"]) -> Self:
        """As `select`, but for visits that are not copied before they are needed."""
        return trusted(type(self), visits=chosen(self.visits, patients), outcome=self.outcome.select(patients))

    def deal(self, batch_size: int, *, seed: int, epoch: int = 0, window: int = 1) -> Iterator[Int[Tensor, " chosen"]]:
        """The positions of the patients of each batch of `batches`, for a process that reads only some of them.

        Raises:
            ValueError: As in `batches`.
        """
        if len(self) == 0:
            raise ValueError("the cohort has no patients; expected at least one")
        for name, number in (("batch_size", batch_size), ("window", window)):
            check_whole(number, name)
        for name, number in (("seed", seed), ("epoch", epoch)):
            check_seed(number, name)
        random = np.random.default_rng([seed, epoch])
        order = torch.from_numpy(random.permutation(len(self)))
        batches: list[Tensor] = []
        for together in order.split(int(batch_size) * int(window)):
            by_length = together[self.visits.length[together].argsort(stable=True)] if window > 1 else together
            batches.extend(by_length.split(int(batch_size)))
        for place in random.permutation(len(batches)):
            yield batches[place]

    def batches(self, batch_size: int, *, seed: int, epoch: int = 0, window: int = 1) -> Iterator[Self]:
        """Every patient once, in batches drawn at random with this seed and epoch.

        With `window` above 1, that many batches are drawn together and sorted by number of visits before they are cut,
        so that a batch holds patients of like length and little padding. That is faster, and each batch becomes a
        biased sample: sum the loss and divide by a constant, never by the batch's own size.

        Raises:
            ValueError: The cohort is empty, or a size is below 1.
        """
        for patients in self.deal(batch_size, seed=seed, epoch=epoch, window=window):
            yield self.select(patients)

    def parts(self, padded_visits: int) -> Iterator[Self]:
        """The same patients in parts of like length, from the longest records to the shortest.

        A part takes as many patients as fit into `padded_visits` cells when padded, at least one. Losses summed over
        the parts of a batch have the gradient of the batch, and little of the work is spent on padding.

        Raises:
            ValueError: `padded_visits` is below 1.

        Examples:
            >>> visits = Visits.from_lists([[["a"]], [["a"]] * 6, [["a"]] * 5], day=[[0], range(6), range(5)])
            >>> cohort = Cohort(visits, Outcome.of(torch.tensor([1, 6, 5]), torch.tensor([True, True, False])))
            >>> [part.visits.length.tolist() for part in cohort.parts(padded_visits=12)]
            [[6, 5], [1]]
        """
        check_whole(padded_visits, "padded_visits")
        length, order = self.visits.length.sort(descending=True, stable=True)
        begin = 0
        while begin < len(self):
            end = begin + max(1, padded_visits // int(length[begin]))
            yield self.select(order[begin:end])
            begin = end

    def portions(self, visits: int) -> Iterator[Self]:
        """The same patients, in their order, in portions of about equal size: the fewest of about so many visits.

        A record counts one visit more than it has, which is what it takes beside others in rows (`visitwise.rows`). As
        with `parts`, losses summed over the portions have the gradient of the batch.

        Raises:
            ValueError: `visits` is below 1.

        Examples:
            >>> visits = Visits.from_lists([[["a"]], [["a"]] * 6, [["a"]] * 5], day=[[0], range(6), range(5)])
            >>> cohort = Cohort(visits, Outcome.of(torch.tensor([1, 6, 5]), torch.tensor([True, True, False])))
            >>> [portion.visits.length.tolist() for portion in cohort.portions(visits=9)]
            [[1, 6], [5]]
        """
        check_whole(visits, "visits")
        size = self.visits.length + 1
        end = size.cumsum(0)
        n_portions = math.ceil(int(end[-1]) / visits)
        if n_portions == 1:
            yield self
            return
        portion = (2 * end - size) * n_portions // (2 * end[-1])  # where the middle of a record falls
        for patients in torch.arange(len(self)).split(portion.unique_consecutive(return_counts=True)[1].tolist()):
            yield self.select(patients)

    # ----------------------------------------------------------------------------------------------------- to disk

    @explained
    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the arrays as `.npy` files that `load` maps into memory.

        The folder appears complete or not at all. `CohortWriter` writes a cohort that does not fit into memory.

        Raises:
            FileExistsError: The folder is there already.
            OSError: The disk is full.
        """
        with CohortWriter(folder) as writer:
            writer.append(self)
            writer.finish()

    @classmethod
    @explained
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """A saved cohort, mapped into memory: what is not used is not read, and changes never reach the files.

        Raises:
            FileNotFoundError: There is no cohort in the folder.
            ValueError: The folder holds another format, or an array is not as large as was written down.
        """
        folder = Path(folder)
        if not (folder / "cohort.json").is_file():
            raise FileNotFoundError(f"{folder} holds no cohort.json; expected a folder written by Cohort.save")
        manifest = json.loads((folder / "cohort.json").read_text(encoding="utf-8"))
        found = manifest.get("format") if isinstance(manifest, dict) else None
        if found != FORMAT:
            raise ValueError(f"{folder} holds the format {found!r}; expected {FORMAT!r}")
        names = {field.name for kind in (Visits, Outcome) for field in fields(kind)} - {"schema"}
        if set(manifest.get("shapes", ())) != names or set(manifest.get("schema", ())) != _SCHEMA:
            raise ValueError(
                f"{folder / 'cohort.json'} does not describe the arrays of a cohort; expected {sorted(names)}"
            )
        arrays = {}
        for name, shape in manifest["shapes"].items():
            values = np.load(folder / f"{name}.npy", mmap_mode="c" if 0 not in shape else None, allow_pickle=False)
            if list(values.shape) != shape:
                raise ValueError(f"{folder / name}.npy holds {list(values.shape)} values; expected {shape}")
            arrays[name] = torch.from_numpy(values)
        schema = Schema(**{kind: tuple(names) for kind, names in manifest["schema"].items()})
        outcome = trusted(Outcome, **{field.name: arrays.pop(field.name) for field in fields(Outcome)})
        visits = trusted(Visits, schema=schema, **arrays)
        check_sizes(visits)
        return trusted(cls, visits=visits, outcome=outcome)


class CohortWriter:
    """Writes a saved cohort a part at a time, for one that does not fit into memory; `Cohort.load` maps the result.

    The files grow in a hidden folder beside the one that is asked for, which appears when `finish` is called, complete.
    A writer that knows where its patients come from can be interrupted: what was there at the last `keep` is found by
    the next writer with the same folder and the same `origin`, and `n_patients` says where to go on. Anything else that
    was left unfinished there is removed. One process writes a folder at a time.

    Args:
        folder: The folder to write.
        origin: What decides the patients, such as a seed and settings, as JSON has it. Without it every writer starts
            from nothing, and an error leaves nothing behind.

    Raises:
        FileExistsError: The folder is there already.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> visits = Visits.from_lists([[["a"], ["b"]], [["b"]]], day=[[0, 30], [0]])
        >>> cohort = Cohort(visits, Outcome.of(torch.tensor([2, 1]), torch.tensor([True, False])))
        >>> with TemporaryDirectory() as folder:
        ...     with CohortWriter(f"{folder}/two") as writer:
        ...         writer.append(cohort.select(torch.tensor([1])))
        ...         writer.append(cohort.select(torch.tensor([0])))
        ...         writer.finish()
        ...     written = Cohort.load(f"{folder}/two")
        >>> written.visits.day.tolist(), written.visits.visit_offsets.tolist()
        ([0.0, 0.0, 30.0], [0, 1, 3])
    """

    @explained
    def __init__(self, folder: str | os.PathLike[str], *, origin: Mapping[str, Any] | None = None) -> None:
        self.folder = Path(folder)
        if self.folder.exists():
            raise FileExistsError(f"{folder} exists; choose another folder or remove it")
        self._unfinished = self.folder.with_name(f".{self.folder.name}.unfinished")
        self._origin = json.loads(json.dumps(origin))
        self._arrays: dict[str, _GrowingArray] = {}
        self._schema: dict[str, list[str]] | None = None
        self._n_parts = 0
        self.note: dict[str, Any] | None = None
        if not self._goes_on():
            shutil.rmtree(self._unfinished, ignore_errors=True)
            self._unfinished.mkdir(parents=True)

    @property
    def n_patients(self) -> int:
        """Number of patients written so far."""
        return self._arrays["patient_id"].length if self._arrays else 0

    @explained
    def append(self, part: Cohort, **beside: Shaped[Tensor, "visit *rest"]) -> None:
        """Write the next patients, and arrays that lie beside the cohort, such as the hazard of a simulation.

        Raises:
            ValueError: The part has other codes, features, types or arrays beside it than the parts before.
            OSError: The disk is full.
        """
        schema = {field.name: list(getattr(part.visits.schema, field.name)) for field in fields(Schema)}
        if self._schema not in (None, schema):
            raise ValueError("the part has another schema than the parts before; expected the same")
        given = {**arrays_of(part.visits), **arrays_of(part.outcome)}
        if taken := given.keys() & beside.keys():
            raise ValueError(f"{sorted(taken)} is the name of an array of the cohort; expected another beside it")
        arrays = {name: values.detach().cpu().contiguous().numpy() for name, values in (given | beside).items()}
        if self._arrays:
            for name, before in (("code_offsets", "codes"), ("visit_offsets", "day")):
                arrays[name] = arrays[name][1:] + self._arrays[before].length
        else:
            self._arrays = {name: _GrowingArray.new(self._path(name), values) for name, values in arrays.items()}
        if changed := self._arrays.keys() ^ arrays.keys():
            raise ValueError(f"{sorted(changed)} is not beside every part; expected the same arrays")
        for name, values in arrays.items():
            self._arrays[name].check(name, values)
        with self._room():
            for name, values in arrays.items():
                self._arrays[name].append(values)
        self._schema = schema
        self._n_parts += 1

    @explained
    def keep(self, note: Mapping[str, Any] | None = None) -> None:
        """Have what was written so far on the disk, so that an interruption from here on does not lose it.

        Args:
            note: What the next writer is to know, as JSON has it; its `note` says so.

        Raises:
            OSError: The disk is full.
        """
        with self._room():
            for array in self._arrays.values():
                array.flush()
            written = {name: [array.dtype.str, *array.shape] for name, array in self._arrays.items()}
            state = {"origin": self._origin, "schema": self._schema, "parts": self._n_parts, "arrays": written}
            state["note"] = self.note = json.loads(json.dumps(note))
            unfinished = self._unfinished / "written.json.unfinished"
            unfinished.write_text(json.dumps(state), encoding="utf-8")
            unfinished.replace(self._unfinished / "written.json")

    @explained
    def finish(self, texts: Mapping[str, str] | None = None) -> None:
        """Give the folder its name.

        Args:
            texts: Further files of the folder, by name, such as the choices that made the cohort.

        Raises:
            ValueError: Nothing was written, or a patient is in two of the parts.
            OSError: The disk is full.
        """
        if not self._arrays:
            raise ValueError("there are 0 patients; expected at least one")
        with self._room():
            for array in self._arrays.values():
                array.finish()
            names = {field.name for kind in (Visits, Outcome) for field in fields(kind)}
            shapes = {name: array.shape for name, array in self._arrays.items() if name in names}
            manifest = {"format": FORMAT, "schema": self._schema, "shapes": shapes}
            text = json.dumps(manifest, indent=1, ensure_ascii=False)
            for name, content in {**(texts or {}), "cohort.json": text}.items():
                (self._unfinished / name).write_text(content, encoding="utf-8")
        if self._n_parts > 1:
            require_disjoint(Cohort.load(self._unfinished))
        (self._unfinished / "written.json").unlink(missing_ok=True)
        self._unfinished.rename(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._close()
        if self._origin is None or isinstance(error, ValueError):  # what is wrong now would be wrong again
            shutil.rmtree(self._unfinished, ignore_errors=True)

    def _close(self) -> None:
        for array in self._arrays.values():
            array.close()

    def _path(self, name: str) -> Path:
        return self._unfinished / f"{name}.npy"

    def _goes_on(self) -> bool:
        """Whether the files of an interrupted writer of the same patients are there; opens them."""
        try:
            state = json.loads((self._unfinished / "written.json").read_text(encoding="utf-8"))
            if self._origin is None or state["origin"] != self._origin:
                return False
            for name, (dtype, *shape) in state["arrays"].items():
                self._arrays[name] = _GrowingArray(self._path(name), np.dtype(dtype), shape)
            self._schema, self._n_parts, self.note = state["schema"], state["parts"], state["note"]
        except (OSError, ValueError, KeyError, TypeError):  # no such files, or not what a writer leaves
            self._close()
            self._arrays = {}
            return False
        return True

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            kept = "nothing is kept" if self._origin is None else f"{self._unfinished} keeps what was written so far"
            raise OSError(f"there is no room left for {self.folder} on its disk; {kept}") from error


class _GrowingArray:
    """A `.npy` file that is written from front to back, with the number of rows filled in at the end."""

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: Sequence[int]) -> None:
        """The file at this path, cut or stretched to hold so many rows behind room for a header."""
        self.dtype, self.length, self._rest = dtype, shape[0], list(shape[1:])
        end = len(self._header()) + math.prod(shape) * dtype.itemsize
        if self.length and path.stat().st_size < end:
            raise ValueError(f"{path} ends before row {self.length}")
        self._file = path.open("r+b")
        self._file.truncate(end)
        self._file.seek(end)

    @classmethod
    def new(cls, path: Path, like: np.ndarray) -> Self:
        """A file without rows, for arrays of this type and with these columns."""
        path.touch()
        return cls(path, like.dtype, [0, *like.shape[1:]])

    @property
    def shape(self) -> list[int]:
        return [self.length, *self._rest]

    def check(self, name: str, values: np.ndarray) -> None:
        given, expected = [values.dtype, *values.shape[1:]], [self.dtype, *self._rest]
        if given != expected:
            raise ValueError(f"{name} of the part is {given}; expected {expected}, as in the parts before")

    def append(self, values: np.ndarray) -> None:
        if values.nbytes:
            self._file.write(values.data)
        self.length += len(values)

    def flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        self._file.seek(0)
        self._file.write(self._header())
        self._file.close()

    def close(self) -> None:
        with suppress(OSError):  # what is still to be written did not fit before either
            self._file.close()

    def _header(self) -> bytes:
        """As `np.save` writes it, with room for any number of rows, so that its length stays the same."""
        header = BytesIO()
        description = {"descr": self.dtype.str, "fortran_order": False, "shape": tuple(self.shape)}
        np.lib.format.write_array_header_1_0(header, description)
        return header.getvalue()


@explained
def by_lot(n_patients: int, fractions: Sequence[float], *, seed: int) -> list[Int[Tensor, " chosen"]]:
    """Positions of patients dealt at random into parts of these shares, each part in rising order.

    Raises:
        ValueError: The shares do not sum to 1, or a part would be empty.

    Examples:
        >>> [part.tolist() for part in by_lot(5, [0.6, 0.4], seed=0)]
        [[2, 3, 4], [0, 1]]
    """
    check_whole(n_patients, "n_patients")
    check_seed(seed)
    for share in fractions:
        check_real(share, "one of the shares")
    if min(fractions, default=0) <= 0 or not abs(sum(fractions) - 1) <= 1e-9:
        raise ValueError(f"the shares are {list(fractions)}; expected positive numbers that sum to 1")
    order = torch.from_numpy(np.random.default_rng(seed).permutation(n_patients))
    cuts = [round(float(share) * n_patients) for share in np.cumsum(fractions)]
    parts = [order[begin:end] for begin, end in zip([0, *cuts[:-1]], cuts, strict=True)]
    if any(len(part) == 0 for part in parts):
        raise ValueError(f"{n_patients} patients are too few for parts of {list(fractions)}; expected one in each")
    return [part.sort().values for part in parts]


def require_disjoint(*cohorts: Cohort) -> None:
    """Refuse cohorts that share a patient, such as a training and a test set that were split by visit.

    Raises:
        ValueError: A patient is in two of the cohorts, or twice in one.

    Examples:
        >>> visits = Visits.from_lists([[["a"]]] * 3, day=[[0]] * 3)
        >>> cohort = Cohort(visits, Outcome.of(torch.ones(3, dtype=torch.long), torch.zeros(3)))
        >>> first, last = cohort.select(torch.tensor([0])), cohort.select(torch.tensor([1, 2]))
        >>> require_disjoint(first, last)
        >>> require_disjoint(cohort, last)
        Traceback (most recent call last):
        ValueError: patient 1 is in two cohorts (2 such patients); expected each once
    """
    for cohort in cohorts:
        if not isinstance(cohort, Cohort):
            raise TypeError(f"a {type(cohort).__name__} is given; expected a Cohort")
    ids, counts = torch.cat([cohort.visits.patient_id.cpu() for cohort in cohorts]).unique(return_counts=True)
    if bool((counts > 1).any()):
        shared = ids[counts > 1]
        where = "is in two cohorts" if len(cohorts) > 1 else "appears twice"
        raise ValueError(f"patient {int(shared[0])} {where} ({len(shared)} such patients); expected each once")
