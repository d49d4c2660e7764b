"""The ragged carrier: the visits of many patients as flat arrays with offsets, and the views of them.

Nothing is padded in store. A patient owns a range of visits, a visit owns a range of codes, and two offset arrays say
which (the list layout of Arrow, the rows of a CSR matrix):

    codes          7 2 | 4 | 7 | 3 3 9        every code of every visit of every patient
    code_offsets   0     2   3   4      7     visit j owns codes[code_offsets[j] : code_offsets[j + 1]]
    visit_offsets  0         2          4     patient i owns visits visit_offsets[i] to visit_offsets[i + 1]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from visitwise._explain import explained
from visitwise._ragged import arrays_of, at, check_one_each, check_positions, offsets_of, ranges, refuse, trusted

PADDING = "<padding>"
CHUNK = 8_192  # patients that are read at a time where all are wanted


@dataclass(frozen=True)
class Schema:
    """What the columns of `Visits` mean: names of the codes, the static features and the measurements.

    Code 0 is always the padding, which no visit records.

    Examples:
        >>> Schema.of(codes=["stroke", "pain"], measurements=["weight"]).codes
        ('<padding>', 'stroke', 'pain')
    """

    codes: tuple[str, ...]
    static: tuple[str, ...] = ()
    measurements: tuple[str, ...] = ()

    @explained
    def __post_init__(self) -> None:
        if not self.codes or self.codes[0] != PADDING:
            raise ValueError(f"the code names begin with {self.codes[:1]}; expected {PADDING!r} first")
        for kind in ("codes", "static", "measurements"):
            names = getattr(self, kind)
            repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
            if repeated:
                raise ValueError(f"the {kind} names hold {repeated[0]!r} twice; expected each name once")

    @classmethod
    @explained
    def of(cls, codes: Sequence[str], static: Sequence[str] = (), measurements: Sequence[str] = ()) -> Self:
        """A schema from the code names alone, without the padding."""
        return cls((PADDING, *codes), tuple(static), tuple(measurements))


class Padded(NamedTuple):
    """The dense view of the notes: codes in a box, and masks that say which cells of the box are real."""

    codes: Int[Tensor, "patient visit code"]
    code_mask: Bool[Tensor, "patient visit code"]
    visit_mask: Bool[Tensor, "patient visit"]


@dataclass(frozen=True, eq=False)
class Visits:
    """Every visit of every patient; never an outcome.

    Args:
        codes: Position in `schema.codes` of every code recorded.
        code_offsets: Visit `j` owns `codes[code_offsets[j]:code_offsets[j + 1]]`; a visit may have no code.
        visit_offsets: Patient `i` owns the visits from `visit_offsets[i]` up to `visit_offsets[i + 1]`; at least one.
        day: When each visit closes, in days from a time origin of the patient's own; rises strictly.
        patient_id: A different whole number for each patient.
        static: Features known at the first visit, `schema.static` names them.
        measurements: Numbers measured at each visit, NaN where not measured; `schema.measurements` names them.
        schema: The names.

    Raises:
        ValueError: Anything above does not hold; names the patient.

    Examples:
        >>> visits = Visits.from_lists([[["flu", "fever"], []], [["fever"]]], day=[[0, 30], [0]])
        >>> len(visits), visits.length.tolist(), visits.gap.tolist()
        (2, [2, 1], [0.0, 30.0, 0.0])
    """

    codes: Int[Tensor, " code"]
    code_offsets: Int[Tensor, " visit_and_end"]
    visit_offsets: Int[Tensor, " patient_and_end"]
    day: Float[Tensor, " visit"]
    patient_id: Int[Tensor, " patient"]
    static: Float[Tensor, "patient feature"]
    measurements: Float[Tensor, "visit measurement"]
    schema: Schema

    @explained
    def __post_init__(self) -> None:
        check_sizes(self)
        _check_visits(self)

    @classmethod
    @explained
    def from_lists(
        cls,
        codes: Sequence[Sequence[Sequence[str]]],
        day: Sequence[Sequence[float]],
        *,
        schema: Schema | None = None,
        patient_id: Sequence[int] | None = None,
        static: Sequence[Sequence[float]] | None = None,
        measurements: Sequence[Sequence[Sequence[float]]] | None = None,
    ) -> Self:
        """Visits from nested lists: `codes[i][k]` are the code names at visit `k` of patient `i`, `day[i][k]` its day.

        Args:
            codes: Code names by patient and visit.
            day: Days by patient and visit.
            schema: The known codes. If not given, every code that occurs, sorted.
            patient_id: One number for each patient; 0, 1, 2, ... if not given.
            static: Static features of each patient; the schema names them.
            measurements: Measurements by patient and visit; the schema names them.

        Raises:
            ValueError: A code is not in the schema, a patient's lists differ in length, or as in `Visits`.

        Examples:
            >>> visits = Visits.from_lists([[["flu", "fever"], []], [["fever"]]], day=[[0, 30], [0]])
            >>> visits.schema.codes
            ('<padding>', 'fever', 'flu')
            >>> visits.codes.tolist(), visits.code_offsets.tolist(), visits.visit_offsets.tolist()
            ([2, 1, 1], [0, 2, 2, 3], [0, 2, 3])
        """
        ids = list(range(len(codes))) if patient_id is None else list(patient_id)
        _check_lists(ids, codes, {"days": day, "measurements": measurements})
        flat = [visit for visits in codes for visit in visits]
        if schema is None and (static is not None or measurements is not None):
            raise ValueError("static features or measurements are given; expected a schema that names them")
        if schema is None:
            schema = Schema.of(sorted({name for visit in flat for name in visit}))
        position = {name: place for place, name in enumerate(schema.codes) if name != PADDING}
        for who, visits in zip(ids, codes, strict=True):
            unknown = [name for visit in visits for name in visit if name not in position]
            if unknown:
                raise ValueError(
                    f"patient {who} has the code {unknown[0]!r}; expected one of the schema's {len(position)}"
                )
        measured = [row for visits in measurements for row in visits] if measurements is not None else [[]] * len(flat)
        return cls(
            codes=torch.tensor([position[name] for visit in flat for name in visit], dtype=torch.int32),
            code_offsets=offsets_of([len(visit) for visit in flat]),
            visit_offsets=offsets_of([len(visits) for visits in codes]),
            day=_numbers("day", [when for days in day for when in days], torch.float64),
            patient_id=_numbers("patient_id", ids, torch.int64),
            static=_numbers("static", static if static is not None else [[]] * len(ids), torch.float32),
            measurements=_numbers("measurements", measured, torch.float32),
            schema=schema,
        )

    # ------------------------------------------------------------------------------------------------ what it holds

    def __len__(self) -> int:
        """Number of patients."""
        return self.patient_id.shape[0]

    @property
    def n_visits(self) -> int:
        """Number of visits of all patients together."""
        return self.day.shape[0]

    @property
    def length(self) -> Int[Tensor, " patient"]:
        """Number of visits of each patient."""
        return self.visit_offsets.diff()

    @property
    def patient(self) -> Int[Tensor, " visit"]:
        """Which patient each visit belongs to, as a position from 0."""
        return torch.repeat_interleave(self.length, output_size=self.n_visits)

    @property
    def index(self) -> Int[Tensor, " visit"]:
        """Which of the patient's visits each visit is, from 0."""
        return torch.arange(self.n_visits, device=self.day.device) - self.visit_offsets[:-1][self.patient]

    @property
    def gap(self) -> Float[Tensor, " visit"]:
        """Days since the patient's previous visit; 0 at the first."""
        gap = self.day.diff(prepend=self.day[:1])
        return gap.index_fill(0, self.visit_offsets[:-1].long(), 0.0)

    def last_known(self) -> tuple[Float[Tensor, "visit measurement"], Bool[Tensor, "visit measurement"]]:
        """Each measurement's latest value up to and including each visit, NaN if none, and whether there is one."""
        row = torch.arange(self.n_visits, device=self.day.device)[:, None]
        latest = row.where(~self.measurements.isnan(), -1).cummax(0).values
        known = latest >= self.visit_offsets[:-1][self.patient][:, None]
        # NaN where there is none: the row found there belongs to another patient.
        return self.measurements.gather(0, latest.clamp(min=0)).where(known, torch.nan), known

    # -------------------------------------------------------------------------------------------------------- views

    @property
    def mask(self) -> Bool[Tensor, "patient visit"]:
        """True where the padded view holds a real visit."""
        length = self.length
        return torch.arange(int(length.max()), device=length.device) < length[:, None]

    @explained
    def pad(self, values: Shaped[Tensor, "visit *rest"], fill: float = 0.0) -> Shaped[Tensor, "patient width *rest"]:
        """Values at every visit, laid out as `[patient, visit, ...]` with `fill` after a patient's last visit."""
        check_one_each("values", values, self.day)
        n_patients, width = len(self), int(self.length.max())
        box = values.new_full((n_patients * width, *values.shape[1:]), fill)
        box = box.index_copy(0, self.patient * width + self.index, values)
        return box.reshape(n_patients, width, *values.shape[1:])

    @explained
    def unpad(self, padded: Shaped[Tensor, "patient width *rest"]) -> Shaped[Tensor, "visit *rest"]:
        """The values at real visits of a padded box; the inverse of `pad`."""
        expected = (len(self), int(self.length.max()))
        if padded.shape[:2] != expected:
            raise ValueError(
                f"values of shape {list(padded.shape)}; expected {list(expected)} patients and visits first"
            )
        return padded[self.patient, self.index]

    @explained
    def pack(self, values: Shaped[Tensor, "visit *rest"]) -> PackedSequence:
        """Values at every visit as torch's `PackedSequence`: all first visits, then all second visits, and so on."""
        check_one_each("values", values, self.day)
        length = self.length
        sorted_indices = length.argsort(descending=True, stable=True)
        rank = sorted_indices.argsort()
        order = (self.index * len(self) + rank[self.patient]).argsort()
        batch_sizes = torch.bincount(self.index).cpu()
        return PackedSequence(values[order], batch_sizes, sorted_indices, rank)

    @explained
    def unpack(self, packed: PackedSequence) -> Shaped[Tensor, "visit *rest"]:
        """The values of a packed sequence in the order of the flat arrays; the inverse of `pack`."""
        if packed.data.shape[0] != self.n_visits:
            raise ValueError(f"{packed.data.shape[0]} values are packed; expected {self.n_visits}, one a visit")
        # The packed sequence's own order: torch may rank patients of equal length otherwise than `pack` does.
        rank = packed.unsorted_indices
        rank = torch.arange(len(self), device=self.day.device) if rank is None else rank
        order = (self.index * len(self) + rank[self.patient]).argsort()
        return packed.data[order.argsort()]

    def padded(self) -> Padded:
        """Codes as `[patient, visit, code]`, padded with 0, and the two masks.

        Examples:
            >>> visits = Visits.from_lists([[["a", "b"], ["a"]], [["b"]]], day=[[0, 30], [0]])
            >>> visits.padded().codes.tolist()
            [[[1, 2], [1, 0]], [[2, 0], [0, 0]]]
        """
        per_visit = self.code_offsets.diff()
        width = max(int(per_visit.max()), 1)
        visit = torch.repeat_interleave(per_visit)
        place = torch.arange(self.codes.shape[0], device=self.codes.device) - self.code_offsets[:-1][visit]
        box = self.codes.new_zeros(self.n_visits * width).index_copy(0, visit * width + place, self.codes)
        codes = self.pad(box.reshape(self.n_visits, width))
        return Padded(codes, codes != 0, self.mask)

    # --------------------------------------------------------------------------------------------- patients in, out

    @explained
    def select(self, patients: Int[Tensor, " chosen"], length: Int[Tensor, " chosen"] | None = None) -> "Visits":
        """The visits of the patients at these positions, in this order; only their first `length` visits if given."""
        # Offsets without the last one, so that -1 is the last patient here too.
        check_positions(patients, len(self), self.visit_offsets.device)
        begin = at(self.visit_offsets[:-1], patients)
        recorded = self.visit_offsets[1:][patients] - begin
        if recorded.shape[0] == 0:
            raise ValueError("0 patients are selected; expected at least one")
        if length is None:
            length = recorded
        elif length.shape != recorded.shape:
            raise ValueError(f"length has shape {list(length.shape)}; expected {list(recorded.shape)}, one a patient")
        else:
            impossible = (length < 1) | (length > recorded)
            refuse(impossible, self.patient_id[patients], length, "is cut to {} visits; expected 1 to {}", recorded)
        visit_offsets = offsets_of(length)
        visit = ranges(begin, length, visit_offsets)
        first_code = self.code_offsets.index_select(0, visit)
        n_codes = self.code_offsets.index_select(0, visit + 1) - first_code
        code_offsets = offsets_of(n_codes)
        return trusted(
            Visits,
            codes=self.codes.index_select(0, ranges(first_code, n_codes, code_offsets)),
            code_offsets=code_offsets,
            visit_offsets=visit_offsets,
            day=self.day.index_select(0, visit),
            patient_id=self.patient_id[patients],
            static=self.static[patients],
            measurements=self.measurements.index_select(0, visit),
            schema=self.schema,
        )

    @explained
    def to(self, device: torch.device | str) -> "Visits":
        """The same visits on another device."""
        moved = {name: values.to(device) for name, values in arrays_of(self).items()}
        return trusted(Visits, schema=self.schema, **moved)


class _Chosen(Visits):
    """Visits of some patients of others: an array is copied when somebody asks for it, and `select` asks for none.

    So a training set that was split off a mapped file takes no memory but that of its batches.
    """

    _of: Visits | None = None
    _patients: Tensor

    def __getattr__(self, name: str) -> Tensor:
        """An array that was not asked for before."""
        if self._of is None or name not in Visits.__dataclass_fields__:
            raise AttributeError(name)
        if name in ("patient_id", "static"):
            values: Tensor = getattr(self._of, name)[self._patients]
        elif name == "visit_offsets":
            values = offsets_of(self._of.length[self._patients])
        else:
            some = [getattr(self._of.select(chunk), name) for chunk in self._patients.split(CHUNK)]
            offsets = name == "code_offsets"
            values = offsets_of(torch.cat([each.diff() for each in some])) if offsets else torch.cat(some)
        object.__setattr__(self, name, values)
        return values

    def __getstate__(self) -> dict[str, Any]:
        """What pickle carries: the patients chosen, and none of the others."""
        if self._of is None:
            return self.__dict__
        return {"schema": self.schema, **arrays_of(self._of.select(self._patients))}

    @property
    def n_visits(self) -> int:
        return int(self.length.sum())

    def select(self, patients: Int[Tensor, " chosen"], length: Int[Tensor, " chosen"] | None = None) -> Visits:
        if self._of is None:  # made by `dataclasses.replace`, with arrays of its own
            return super().select(patients, length)
        return self._of.select(at(self._patients, patients), length)


@explained
def chosen(visits: Visits, patients: Int[Tensor, " chosen"]) -> Visits:
    """What `visits.select(patients)` gives, but nothing is copied before it is needed.

    Args:
        visits: All patients' visits.
        patients: Positions of some of them.

    Examples:
        >>> visits = Visits.from_lists([[["a"]], [["b"], ["c"]]], day=[[0], [0, 30]])
        >>> chosen(visits, torch.tensor([1])).day.tolist()
        [0.0, 30.0]
    """
    check_positions(patients, len(visits), visits.visit_offsets.device)
    at(visits.patient_id, patients)  # each of them is there
    return trusted(_Chosen, _of=visits, _patients=patients, schema=visits.schema)


def _check_lists(
    ids: Sequence[int], codes: Sequence[Sequence[Sequence[str]]], others: dict[str, Sequence[Sequence[Any]] | None]
) -> None:
    for name, lists in {"codes": codes, **others}.items():
        if lists is not None and len(lists) != len(ids):
            raise ValueError(f"there are {name} of {len(lists)} patients and {len(ids)} ids; expected as many")
    for place, (who, visits) in enumerate(zip(ids, codes, strict=True)):
        for name, lists in {"codes": codes, **others}.items():
            if lists is not None and not hasattr(lists[place], "__len__"):
                raise ValueError(f"patient {who} has {lists[place]!r} for {name}; expected a list, one entry a visit")
        for name, lists in others.items():
            if lists is not None and len(lists[place]) != len(visits):
                given = f"codes for {len(visits)} visits and {name} for {len(lists[place])}"
                raise ValueError(f"patient {who} has {given}; expected as many")
        if len(visits) == 0:
            raise ValueError(f"patient {who} has 0 visits; expected at least one")
        texts = [visit for visit in visits if isinstance(visit, str)]
        if texts:
            raise ValueError(f"patient {who} has the text {texts[0]!r} for a visit; expected a list of codes")


def _numbers(name: str, numbers: object, dtype: torch.dtype) -> Tensor:
    """Nested lists as a tensor."""
    try:
        return torch.tensor(numbers, dtype=dtype)
    except (
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:  # also where a number is too large, or lists differ in length
        kind = "numbers" if dtype.is_floating_point else "whole numbers"
        raise ValueError(
            f"{name} cannot be made a tensor: {error}; expected lists of {kind} as long as each other"
        ) from error


_ARRAYS = ("codes", "code_offsets", "visit_offsets", "day", "patient_id", "static", "measurements")


@explained
def check_sizes(visits: Visits) -> None:
    """Refuse arrays and offsets that do not fit each other; reads no more than the offsets.

    Raises:
        ValueError: A shape or an offset is not as the others ask; names the array.
    """
    for name in _ARRAYS:
        if not isinstance(values := getattr(visits, name), Tensor):
            raise TypeError(f"{name} is a {type(values).__name__}; expected a tensor")
    n_visits, n_patients = visits.day.shape[:1].numel(), visits.patient_id.shape[:1].numel()
    if n_patients == 0:
        raise ValueError("there are 0 patients; expected at least one")
    expected = {
        "code_offsets": [n_visits + 1],
        "visit_offsets": [n_patients + 1],
        "day": [n_visits],
        "patient_id": [n_patients],
        "static": [n_patients, len(visits.schema.static)],
        "measurements": [n_visits, len(visits.schema.measurements)],
    }
    for name, values in arrays_of(visits).items():
        shape = expected.get(name, [values.numel()])
        if list(values.shape) != shape:
            raise ValueError(f"{name} has shape {list(values.shape)}; expected {shape}")
        real = name in ("day", "static", "measurements")
        if values.is_floating_point() != real or values.is_complex() or values.dtype == torch.bool:
            kind = "floating point numbers" if real else "whole numbers"
            raise ValueError(f"{name} has dtype {values.dtype}; expected {kind}")
        if values.device != visits.day.device:
            raise ValueError(f"{name} is on the device {values.device}; expected {visits.day.device}, where day is")
    for name, ends in (("code_offsets", visits.codes.shape[0]), ("visit_offsets", n_visits)):
        offsets = getattr(visits, name)
        if int(offsets[0]) != 0 or int(offsets[-1]) != ends or bool((offsets.diff() < 0).any()):
            raise ValueError(
                f"{name} run from {int(offsets[0])} to {int(offsets[-1])}; expected 0 to {ends}, never falling"
            )


def _check_visits(visits: Visits) -> None:
    ids, patient = visits.patient_id, visits.patient
    refuse(visits.length < 1, ids, visits.length, "has {} visits; expected at least one")
    values, counts = ids.unique(return_counts=True)
    if bool((counts > 1).any()):
        raise ValueError(f"patient {int(values[counts > 1][0])} appears twice; expected every id once")
    n_codes = len(visits.schema.codes)
    of_code = torch.repeat_interleave(visits.code_offsets.diff())
    wrong = (visits.codes < 1) | (visits.codes >= n_codes)
    refuse(wrong, ids[patient[of_code]], visits.codes, f"has the code {{}}; expected 1 to {n_codes - 1}")
    refuse(~torch.isfinite(visits.day), ids[patient], visits.day, "has a visit on day {}; expected a finite number")
    later = visits.gap > 0
    later[visits.visit_offsets[:-1]] = True
    refuse(~later, ids[patient], visits.day, "has a visit on day {}, not after the one before it; expected rising days")
    unknown = ~torch.isfinite(visits.static)
    refuse(unknown.any(-1), ids, visits.static.sum(-1), "has a static feature that is {}; expected finite numbers")
    endless = visits.measurements.isinf()
    refuse(endless.any(-1), ids[patient], visits.day, "has an infinite measurement on day {}; expected numbers or NaN")
