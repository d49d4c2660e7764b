"""From records to a cohort, done again slowly: one patient at a time, plain lists, every rule where it is needed."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from visitwise.definition import CohortDefinition

DAY = 86_400_000_000
YEAR = 365.25 * DAY
UNKNOWN = "<unknown>"


class Row(NamedTuple):
    """One record of one patient; time in microseconds, None if there is none."""

    time: int | None
    code: str
    value: float | None = None
    encounter: int | None = None


@dataclass
class Visit:
    close: int
    rows: list[Row] = field(default_factory=list)


@dataclass
class Patient:
    """A patient who is kept."""

    subject: int
    start: int
    start_time: int
    birth: int | None
    cause: int
    last: int | None
    visits: list[Visit]
    static: list[Row]
    exposure: float = 1.0
    unfinished: bool = False
    later_event: bool = False
    without_end: bool = False


def fits(name: str, code: str) -> bool:
    stem = name.rstrip("/")
    return code == stem or code.startswith((stem + "//", stem + " "))


def role(code: str, definition: CohortDefinition) -> str | int:
    """The number of a cause, or what else the code is to the cohort."""
    names: list[tuple[int, str | int]] = []
    for number, group in enumerate([definition.outcome, *definition.competing], start=1):
        names += [(len(name.rstrip("/")), number) for name in group if fits(name, code)]
    if definition.end_of_follow_up.startswith("code:"):
        name = definition.end_of_follow_up.removeprefix("code:")
        names += [(len(name.rstrip("/")), "end")] * fits(name, code)
    if names:
        return max(names, key=lambda each: each[0])[1]
    if fits("MEDS_DEATH", code):
        return "death"
    if fits("MEDS_BIRTH", code):
        return "birth"
    if code == "ENCOUNTER":
        return "encounter"
    return "never" if any(fits(name, code) for name in definition.never_input) else "input"


def is_index(code: str, definition: CohortDefinition) -> bool:
    return any(fits(name, code) for name in definition.index)


def is_faulty(rows: Sequence[Row], definition: CohortDefinition) -> bool:
    births, firsts = set(), []
    for row in rows:
        kind = role(row.code, definition)
        if row.time is None and (kind in ("birth", "death", "end") or isinstance(kind, int)):
            return True
        if row.time is None and is_index(row.code, definition):
            return True
        if row.value is not None and math.isinf(row.value):
            return True
        if row.time is not None and kind == "birth":
            births.add(row.time)
        elif row.time is not None:
            firsts.append(row.time)
    return len(births) > 1 or bool(births and firsts and min(births) > min(firsts))


def gap_of(definition: CohortDefinition) -> float:
    return float(definition.visit.removeprefix("gap:").removesuffix("h")) * 3_600_000_000


def visits_of(rows: Sequence[Row], definition: CohortDefinition, counted: float = -math.inf) -> list[Visit]:
    """Every visit, by its close; a cause's record is in one only where a column says so, and until what is counted."""
    stretches: dict[object, list[Row]] = {}
    before, number = None, 0
    for row in rows:
        kind = role(row.code, definition)
        belongs = kind in ("input", "encounter") or is_index(row.code, definition)
        if row.time is None:
            continue
        belongs |= isinstance(kind, int) and definition.visit.startswith("column:") and row.time <= counted
        if not belongs:
            continue
        if definition.visit == "day":
            key: object = row.time // DAY
        elif definition.visit.startswith("column:"):
            if row.encounter is None:
                continue
            key = row.encounter
        else:
            number += before is not None and row.time - before > gap_of(definition)
            key, before = number, row.time
        stretches.setdefault(key, []).append(row)
    by_close: dict[int, Visit] = {}
    for stretch in stretches.values():
        close = max(row.time or 0 for row in stretch)
        by_close.setdefault(close, Visit(close)).rows.extend(stretch)
    for visit in by_close.values():  # in the order of the file, where two encounters became one visit
        visit.rows = [row for row in rows if any(row is other for other in visit.rows)]
    opened = [
        visit
        for visit in by_close.values()
        if any(role(r.code, definition) in ("input", "encounter") or is_index(r.code, definition) for r in visit.rows)
    ]
    return sorted(opened, key=lambda visit: visit.close)


def over_of(visit: Visit, definition: CohortDefinition) -> float:
    """Until when a record could still be one of the visit."""
    if definition.visit == "day":
        return (visit.close // DAY + 1) * DAY - 1
    return visit.close + (0 if definition.visit.startswith("column:") else gap_of(definition))


def to_midnight(time: int) -> int:
    """The end of the day that a time without a time of day means."""
    return time + DAY - 1 if time % DAY == 0 else time


def follow(
    subject: int,
    rows: Sequence[Row],
    definition: CohortDefinition,
    end_of: dict[int, int],
    predict: bool,
    dropped: Counter[str],
) -> Patient | str:
    """The patient, or the reason to leave the patient out; counts the records that are no input."""
    if is_faulty(rows, definition):
        return "the record contradicts itself"
    rows = [row._replace(time=moment(row, definition)) for row in rows]
    visits = visits_of(rows, definition, counted_until(rows, definition, end_of, subject, predict))
    if not visits:
        return "no visit"
    start = start_of(visits, definition)
    if start is None:
        return "no index event"
    start_time = visits[start].close
    events = [(row.time, role(row.code, definition)) for row in rows if row.time is not None]
    start_over = over_of(visits[start], definition)
    causes = causes_of(rows, definition)
    washout = math.inf if definition.washout_days is None else definition.washout_days * DAY
    if any(time <= start_over and start_time - time <= washout for _, _, time in causes):
        return "the event at the start, or before it"
    first = min(time for time, kind in events if kind != "birth")
    if start_time - first < definition.minimum_history_days * DAY:
        return "too short a history before the start"
    if start + 1 < definition.minimum_visits:
        return "too few visits up to the start"
    event, cause = next(((time, cause) for _, cause, time in causes if time > start_over), (None, 0))
    death = min((time for time, kind in events if kind == "death"), default=None)
    end = _end(subject, events, definition, end_of, event if predict else None, predict)
    blanking = 0 if predict else definition.blanking_days * DAY
    seen = not predict and event is not None and (end is None or event <= end)
    if seen and event - start_time <= blanking:
        return "the event in the blanking gap after the start"
    if not seen and end is None and not predict:
        return "no end of follow-up"
    last = event if seen else end
    cut = math.inf if last is None else last

    def is_row(visit: Visit) -> bool:
        return over_of(visit, definition) < cut and visit.close + blanking < cut

    if not is_row(visits[start]):
        return "no follow-up after the start"

    kept = [visit for visit in visits if is_row(visit)]
    later = [visit.close for visit in visits[len(kept) :]]
    wait = max(blanking, gap_of(definition) if definition.visit.startswith("gap:") else 0)
    to_its_end = any(close + wait <= cut for close in later)
    with_a_visit = not definition.end_of_follow_up.startswith("date:") and any(
        cut in (close, (close // DAY + 1) * DAY - 1) for close in later
    )
    unfinished = not seen and not predict and not to_its_end and not with_a_visit
    for row in rows:
        kind = role(row.code, definition)
        name = {
            "end": "with the code that ends follow-up",
            "death": "with the code of the death",
            "never": "never an input, as defined",
        }
        if isinstance(kind, int):
            dropped["with a code of an event"] += 1
        elif kind in name:
            dropped[name[kind]] += 1
        elif row.time is not None and kind in ("input", "encounter"):
            mine = [visit for visit in visits if any(row is other for other in visit.rows)]
            if not mine:
                dropped["no encounter"] += 1
            elif is_row(mine[0]):
                continue
            elif seen:
                gap = over_of(mine[0], definition) < event
                dropped["in the blanking gap before the event" if gap else "in the visit of the event, or later"] += 1
            elif row.time > end:
                dropped["after the death" if end == death else "after the end of follow-up"] += 1
            else:
                dropped["in a visit after which nothing is known"] += 1
    inputs = [
        Visit(visit.close, [row for row in visit.rows if role(row.code, definition) == "input"]) for visit in kept
    ]
    births = [time for time, kind in events if kind == "birth"]
    static = [row for row in rows if row.time is None and role(row.code, definition) == "input"]
    birth = births[0] if births else None
    return Patient(
        subject,
        start,
        start_time,
        birth,
        cause if seen else 0,
        None if predict else last,
        inputs,
        static,
        exposure=definition.censored_exposure if unfinished else 1.0,
        unfinished=unfinished,
        later_event=event is not None and not seen and not predict,
        without_end=seen and end is None,
    )


def moment(row: Row, definition: CohortDefinition) -> int | None:
    """A death that is no cause, and is dated to a day, is at the end of it."""
    lasts = fits("MEDS_DEATH", row.code) and not isinstance(role(row.code, definition), int)
    return to_midnight(row.time) if lasts and row.time is not None else row.time


def start_of(visits: Sequence[Visit], definition: CohortDefinition) -> int | None:
    """Position of the visit with which follow-up starts."""
    starts = (k for k, visit in enumerate(visits) if any(is_index(row.code, definition) for row in visit.rows))
    return next(starts, None) if definition.index else 0


def causes_of(rows: Sequence[Row], definition: CohortDefinition) -> list[tuple[int, int, int]]:
    """Records of causes in the order in which they count: a death of a day after all else on it."""
    causes = []
    for row in rows:
        cause = role(row.code, definition)
        if isinstance(cause, int) and row.time is not None:
            in_turn = to_midnight(row.time) if fits("MEDS_DEATH", row.code) else row.time
            causes.append((in_turn, cause, row.time))
    return sorted(causes)


def counted_until(
    rows: Sequence[Row], definition: CohortDefinition, end_of: dict[int, int], subject: int, predict: bool
) -> float:
    """The time of the event that counts, or else of the end: what a cause's record says later closes no encounter."""
    visits = visits_of(rows, definition)
    start = start_of(visits, definition) if visits else None
    event = None
    if start is not None:
        start_over = over_of(visits[start], definition)
        event = next((time for _, _, time in causes_of(rows, definition) if time > start_over), None)
    events = [(row.time, role(row.code, definition)) for row in rows if row.time is not None]
    end = _end(subject, events, definition, end_of, event if predict else None, predict)
    return min((time for time in (event, end) if time is not None), default=math.inf)


def _end(
    subject: int,
    events: Sequence[tuple[int, str | int]],
    definition: CohortDefinition,
    end_of: dict[int, int],
    event: int | None,
    predict: bool,
) -> int | None:
    """When follow-up ends, at the death at the latest; who is predicted is at risk until the event or the death."""
    ends = [time for time, role in events if role == "death"]
    kind = definition.end_of_follow_up.partition(":")[0]
    if predict:
        ends += [] if event is None else [event]
    elif kind == "code":
        ends += [time for time, role in events if role == "end"]
    elif kind == "last record":
        ends += [max((time for time, role in events if role != "birth"), default=0)]
    elif subject in end_of:
        ends.append(end_of[subject])
    return min(ends, default=None)


# ---------------------------------------------------------------------------------------------------- the vocabulary


def above(code: str, parents: dict[str, list[str]]) -> list[str]:
    """The code and all above it, the nearest first."""
    found, level = [code], [code]
    while level:
        level = [name for below in level for name in parents.get(below, []) if name not in found]
        level = list(dict.fromkeys(level))
        found += level
    return found


@dataclass
class Names:
    """The columns, and what each code becomes."""

    codes: list[str]
    measurements: list[str]
    static: list[str]
    target: dict[str, str]
    fills: dict[str, float]


def names_of(
    train: Sequence[Patient], definition: CohortDefinition, parents: dict[str, list[str]], order: Sequence[str]
) -> Names:
    def place(name: str) -> tuple[int, str]:
        return (order.index(name) if name in order else len(order), name)

    enough = definition.min_patients
    records: Counter[str] = Counter()
    numbers: Counter[str] = Counter()
    has, measured = {}, {}  # type: dict[str, set[int]], dict[str, set[int]]
    for patient in train:
        for visit in patient.visits:
            for row in visit.rows:
                records[row.code] += 1
                for name in above(row.code, parents):
                    has.setdefault(name, set()).add(patient.subject)
                if known(row.value):
                    numbers[row.code] += 1
                    measured.setdefault(row.code, set()).add(patient.subject)
    if definition.measurements == "auto":
        columns = [
            code for code in records if 2 * numbers[code] >= records[code] and len(measured.get(code, ())) >= enough
        ]
    else:
        columns = [code for code in measured if any(fits(name, code) for name in definition.measurements)]
    target = {}
    for code in records:
        if code not in columns:
            target[code] = UNKNOWN
            for name in above(code, parents):
                possible = name not in columns and role(name, definition) == "input"
                if possible and len(has[name]) >= enough:
                    target[code] = name
                    break
    fills: dict[str, float] = {}
    static: list[str] = []

    def number(name: str, values: list[float]) -> None:
        static.append(name)
        fills[name] = math.fsum(values) / len(values)
        if len(values) < len(train):
            static.append(f"{name} known")

    ages = [(patient.start_time - patient.birth) / YEAR for patient in train if patient.birth is not None]
    if len(ages) >= enough:
        number("age", ages)
    for name in sorted({row.code for patient in train for row in patient.static}, key=place):
        values = [static_value(patient, name) for patient in train if any(row.code == name for row in patient.static)]
        numbered = [value for value in values if value is not None]
        if 2 * len(numbered) >= len(values):
            if len(numbered) >= enough:
                number(name, numbered)
        elif len(values) >= enough:
            static.append(name)
    codes = sorted(set(target.values()) - {UNKNOWN}, key=place)
    return Names([*codes, UNKNOWN], sorted(columns, key=place), static, target, fills)


def known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def static_value(patient: Patient, name: str) -> float | None:
    """The last number of a static code."""
    values = [row.value for row in patient.static if row.code == name and known(row.value)]
    return values[-1] if values else None


def becomes(code: str, names: Names, parents: dict[str, list[str]]) -> str:
    """A code's name in the schema, for patients in training and for others."""
    if code in names.codes:
        return code
    if code in names.target:
        return names.target[code]
    return next((name for name in above(code, parents) if name in names.codes and name != UNKNOWN), UNKNOWN)


# ------------------------------------------------------------------------------------------------------- the arrays


def visit_of(
    visit: Visit, names: Names, parents: dict[str, list[str]], dropped: Counter[str]
) -> tuple[list[str], list[float]]:
    """The codes of a visit, each once, and its measurements."""
    codes: list[str] = []
    values: dict[str, float] = {}
    met: set[tuple[int | None, str, float | None]] = set()
    for row in visit.rows:
        value = row.value if known(row.value) else None
        if (row.time, row.code, value) in met:
            dropped["equal to another record"] += 1
            continue
        met.add((row.time, row.code, value))
        if row.code in names.measurements:
            if value is None:
                dropped["a measurement without a number"] += 1
            else:
                dropped["a measurement taken again at the visit"] += row.code in values
                values[row.code] = value
            continue
        name = becomes(row.code, names, parents)
        if name in codes:
            dropped["a code that the visit has already"] += 1
        else:
            codes.append(name)
    return codes, [values.get(name, math.nan) for name in names.measurements]


def static_of(patient: Patient, names: Names, dropped: Counter[str]) -> list[float]:
    """One patient's static features."""
    codes = [row.code for row in patient.static]
    dropped["a static code again"] += len(codes) - len(set(codes))
    dropped["a static code that is not in the vocabulary"] += sum(code not in names.static for code in set(codes))
    features = []
    for name in names.static:
        if name == "age" or name == "age known":
            value = None if patient.birth is None else (patient.start_time - patient.birth) / YEAR
        else:
            value = static_value(patient, name.removesuffix(" known"))
        if name.endswith(" known"):
            features.append(float(value is not None))
        elif name in names.fills:
            features.append(names.fills[name] if value is None else value)
        else:
            features.append(float(name in codes))
    return features
