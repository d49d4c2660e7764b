"""Every choice between a table of events and a cohort, in one place, none of them guessed.

What counts as the event, when follow-up begins and ends, what is a visit, who is left out: two people who make these
choices differently have two cohorts, whatever model they share. A definition is written down beside each result.
"""

import math
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w

LAST_RECORD = "last record"
_UNIT_HOURS = {"m": 1 / 60, "h": 1.0, "d": 24.0}


@dataclass(frozen=True)
class CohortDefinition:
    """How a cohort is made of events.

    The name of a code stands for itself and for all codes that go on with `//` or with a space and a title:
    `ICD10CM//I63` is also `ICD10CM//I63//3` and `ICD10CM//I63 stroke`, and not `ICD10CM//I63.9`. Where two names fit a
    code, the longer one decides what it is.

    Time runs by visits: a visit's prediction time is when it closes, the time of its last record. Row `k` asks whether
    the event falls after the close of visit `k`, and not after the close of the next. Follow-up starts at the close of
    the first visit, or of the first that records a code of `index`.

    A visit is over when no further record could be one of it. One that is not over before the event, or before the end
    of follow-up, is neither row nor input; an event while it is open counts for the row before.

    Args:
        outcome: Codes that record the event. Its first record counts.
        end_of_follow_up: Until when a patient without the event is known to be without it. Nothing in a table of events
            says so by itself:

            - `"code:NAME"`: the first record of this code;
            - `"date:2024-12-31"`: that day, to its end, for everybody (the date of the extract); with a time of day,
              that moment;
            - `"table:PATH"`: a Parquet or CSV file with the columns `subject_id` and `time`; a time at midnight is a
              date, and means the end of that day. In a file that `load` reads, the path is relative to that file;
            - `"last record"`: the last record with a time, even one whose code is in `never_input`. Who comes back
              depends on health, so the flow warns. What lies between the last visit and the next that nobody knows of
              is lost, which makes hazards too high where visits come at regular intervals.

            An event after it is not counted. A death ends follow-up, too; one at midnight, with its day.

        competing: For each further cause of leaving, a group of codes: the first group is cause 2, the next cause 3.
        index: Codes that start follow-up. Empty: it starts at the first visit.
        visit: What is one visit: `"day"` (everything on one calendar day; over when the day is), `"column:NAME"`
            (everything with one number or name in this column, such as `hadm_id`; over with the last of it, the event
            included), or `"gap:24h"` (a new visit after more than 24 hours without a record; over after these; units
            `m`, `h`, `d`).
        washout_days: A patient who had the event, of any cause, within so many days up to the start is left out
            (prevalent). None: at any time before. Up to the start is until its visit is over.
        blanking_days: Row `k` asks for an event more than so many days after the close of visit `k` and not more than
            so many after the next. So what is recorded while the event is being diagnosed does not predict it. Of this
            and a gap between visits, the longer is meant.
        censored_exposure: How much of the last interval counts as survived, 0 to 1, where follow-up ends inside it. 0:
            such an interval is left out, which is right if the next visit is as likely on any day, however long ago the
            last one was. 0.5: right if visits come at regular intervals. In between it is near (1 - v) / 2, v being the
            variance of the days between visits over their squared mean; where `visit` names a gap, v is smaller. 1
            makes hazards too low. All this is for an end that has nothing to do with visits. Where follow-up ends at a
            visit (at its close, or as a date on its day, unless `date:` says it for everybody), the intervals before
            that visit count fully, and there is none after it.
        minimum_history_days: Days from the first record with a time to the start; a patient with fewer is left out.
        minimum_visits: Visits up to the start, it included; a patient with fewer is left out.
        never_input: Further codes that are not shown to the model. Those of `outcome`, `competing` and
            `end_of_follow_up` never are.
        min_patients: A code that fewer training patients have is replaced by the nearest of its parents that so many
            have, or by `<unknown>`.
        measurements: Codes whose number at the visit is an input of its own. `"auto"`: those with a number in at least
            half of their records and in at least `min_patients` training patients.
        faulty: A patient whose record contradicts itself, such as a birth after the first record: `"refuse"` says who
            and stops; `"drop"` leaves the patient out and counts.
        seed: How patients are split 70/15/15 into training, tuning and held-out where the data do not say.

    Raises:
        ValueError: A choice is impossible; names it.

    Examples:
        >>> definition = CohortDefinition(("ICD10CM//I63",), "date:2024-12-31", visit="gap:24h")
        >>> definition.visit_gap_hours, definition.end_time.isoformat()
        (24.0, '2024-12-31T23:59:59.999999')
        >>> CohortDefinition.from_toml(definition.to_toml()) == definition
        True
    """

    outcome: tuple[str, ...]
    end_of_follow_up: str
    competing: tuple[tuple[str, ...], ...] = ()
    index: tuple[str, ...] = ()
    visit: str = "day"
    washout_days: float | None = None
    blanking_days: float = 0
    censored_exposure: float = 0
    minimum_history_days: float = 0
    minimum_visits: int = 1
    never_input: tuple[str, ...] = ()
    min_patients: int = 10
    measurements: Literal["auto"] | tuple[str, ...] = "auto"
    faulty: Literal["refuse", "drop"] = "refuse"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("outcome", "index", "never_input"):
            self._set(name, _names(name, getattr(self, name)))
        if not self.outcome:
            raise ValueError("outcome is empty; expected at least one code that records the event")
        groups = _sequence("competing", self.competing, "a list of groups of codes")
        self._set(
            "competing", tuple(_names(f"competing group {place + 2}", group) for place, group in enumerate(groups))
        )
        if not all(self.competing):
            raise ValueError(f"competing is {self.competing}; expected at least one code in each group")
        if self.measurements != "auto":
            self._set("measurements", _names("measurements", self.measurements))
        self._check_numbers()
        if self.faulty not in ("refuse", "drop"):
            raise ValueError(f"faulty is {self.faulty!r}; expected 'refuse' or 'drop'")
        self._check_visit()
        self._check_end()
        self._check_roles()

    # ------------------------------------------------------------------------------------------ what the choices say

    @property
    def causes(self) -> tuple[tuple[str, ...], ...]:
        """The codes of each cause: `outcome` first, which is cause 1, then each group of `competing`."""
        return (self.outcome, *self.competing)

    @property
    def encounter_column(self) -> str | None:
        """The column that says which visit a record belongs to, if `visit` names one."""
        return self.visit.partition(":")[2] if self.visit.startswith("column:") else None

    @property
    def visit_gap_hours(self) -> float | None:
        """Hours without a record after which a new visit begins, if `visit` is a gap rule."""
        found = re.fullmatch(r"gap:(\d+(?:\.\d+)?)([mhd])", self.visit)
        return float(found[1]) * _UNIT_HOURS[found[2]] if found else None

    @property
    def end_code(self) -> str | None:
        """The code that ends follow-up, if `end_of_follow_up` names one."""
        return self.end_of_follow_up[5:] if self.end_of_follow_up.startswith("code:") else None

    @property
    def end_table(self) -> Path | None:
        """The file that says when each patient's follow-up ends, if `end_of_follow_up` names one."""
        return Path(self.end_of_follow_up[6:]) if self.end_of_follow_up.startswith("table:") else None

    @property
    def end_time(self) -> datetime | None:
        """The moment at which everybody's follow-up ends, if `end_of_follow_up` is a date."""
        if not self.end_of_follow_up.startswith("date:"):
            return None
        text = self.end_of_follow_up[5:]
        moment = datetime.fromisoformat(text)
        whole_day = _is_date(text)
        return moment + timedelta(days=1, microseconds=-1) if whole_day else moment

    # ------------------------------------------------------------------------------------------------ on paper

    def to_mapping(self) -> dict[str, Any]:
        """Every choice by name, as TOML and JSON have them; what is None is left out."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _plain(value) for name, value in given.items() if value is not None}

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Self:
        """A definition from its choices by name; the inverse of `to_mapping`.

        Raises:
            ValueError: A choice is unknown, missing, impossible or of the wrong type; names it.
        """
        known = {field.name: field for field in fields(cls)}
        if unknown := sorted(given.keys() - known.keys()):
            raise ValueError(f"the definition has the key {unknown[0]!r}; expected one of {', '.join(known)}")
        missing = [name for name, field in known.items() if field.default is MISSING and name not in given]
        if missing:
            raise ValueError(f"the definition has no {missing[0]!r}; expected one, because it is never guessed")
        return cls(**{name: _frozen(value) for name, value in given.items()})

    def to_toml(self) -> str:
        """The definition as a TOML file holds it.

        Examples:
            >>> print(CohortDefinition(("MEDS_DEATH",), "last record").to_toml().splitlines()[-1])
            seed = 0
        """
        return tomli_w.dumps(self.to_mapping())

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """A definition from the text of a TOML file; what it does not name has its usual value.

        Raises:
            ValueError: The text is no TOML, or a choice is unknown, missing, impossible or of the wrong type.
        """
        return cls.from_mapping(tomllib.loads(text))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """A definition from a TOML file. A table of ends that it names lies relative to the file; the path that comes
        back is absolute, so that it names the same table wherever the definition is used and written down.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: As `from_toml`; names the file.
        """
        path = Path(path)
        try:
            return cls.from_mapping(lying_in(path.parent, tomllib.loads(path.read_text(encoding="utf-8"))))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    # -------------------------------------------------------------------------------------------------- checks

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_numbers(self) -> None:
        for name in ("washout_days", "blanking_days", "minimum_history_days"):
            value = getattr(self, name)
            if value is None and name == "washout_days":
                continue
            if not _is_number(value) or not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value!r}; expected a number of days, 0 or more")
            self._set(name, float(value))
        share = self.censored_exposure
        if not _is_number(share) or not 0 <= share <= 1:
            raise ValueError(f"censored_exposure is {share!r}; expected a share, 0 to 1")
        self._set("censored_exposure", float(share))
        for name, least in (("minimum_visits", 1), ("min_patients", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} is {value!r}; expected a whole number, {least} or more")

    def _check_visit(self) -> None:
        known = isinstance(self.visit, str) and (self.visit == "day" or self.encounter_column or self.visit_gap_hours)
        if not known:
            raise ValueError(f"visit is {self.visit!r}; expected 'day', 'column:NAME' or a gap such as 'gap:24h'")

    def _check_end(self) -> None:
        kinds = "'code:NAME', 'date:2024-12-31', 'table:PATH' or 'last record'"
        end = self.end_of_follow_up
        kind, _, value = end.partition(":") if isinstance(end, str) else ("", "", "")
        if end != LAST_RECORD and not (kind in ("code", "date", "table") and value):
            raise ValueError(f"end_of_follow_up is {end!r}; expected {kinds}")
        if kind == "date":
            try:
                moment = datetime.fromisoformat(value)
            except ValueError as error:
                raise ValueError(f"end_of_follow_up is {end!r}; expected a date such as 'date:2024-12-31'") from error
            if moment.tzinfo is not None:
                raise ValueError(f"end_of_follow_up is {end!r}, with a time zone; expected none, as in the events")

    def _check_roles(self) -> None:
        """No name may decide two things; where one is longer than the other, it decides by itself."""
        taken: dict[str, str] = {}
        roles = {f"cause {number}": names for number, names in enumerate(self.causes, start=1)}
        roles["the end of follow-up"] = () if self.end_code is None else (self.end_code,)
        for role, names in roles.items():
            for name in names:
                stem = name.rstrip("/")
                if stem in taken:
                    raise ValueError(f"the code {name!r} records {taken[stem]} and {role}; expected one of them")
                taken[stem] = role


def lying_in(folder: str | os.PathLike[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Choices by name in which the path of a table of ends is absolute; a relative one starts in the folder.

    Args:
        folder: Where the file lies that the choices are read from, or where the program was called.
        given: As in `CohortDefinition.from_mapping`.

    Examples:
        >>> lying_in("/data", {"end_of_follow_up": "table:../ends.csv"})
        {'end_of_follow_up': 'table:/ends.csv'}
        >>> lying_in("/data", {"end_of_follow_up": "last record"})
        {'end_of_follow_up': 'last record'}
    """
    end = given.get("end_of_follow_up")
    if not isinstance(end, str) or not end.startswith("table:") or end == "table:":
        return dict(given)
    return {**given, "end_of_follow_up": f"table:{os.path.abspath(Path(folder) / end[6:])}"}


def stands_for(name: str, code: str) -> bool:
    """Whether a name stands for a code: it is that code, or the code goes on with `//` or with a space and a title.

    Args:
        name: As in a definition; `NAME//` is the same as `NAME`.
        code: As in a record.

    Examples:
        >>> stands_for("MEDS_DEATH", "MEDS_DEATH//hospital"), stands_for("ICD10CM//I63", "ICD10CM//I63.9 stroke")
        (True, False)
    """
    stem = name.rstrip("/")
    return code == stem or code.startswith((f"{stem}//", f"{stem} "))


def longest_name(names: Sequence[str], code: str) -> int | None:
    """Position of the longest of these names that stands for the code; None if none does.

    Args:
        names: As in a definition.
        code: As in a record.

    Examples:
        >>> longest_name(["EVENT", "EVENT//2"], "EVENT//2//late"), longest_name(["EVENT"], "OTHER")
        (1, None)
    """
    fitting = [place for place, name in enumerate(names) if stands_for(name, code)]
    return max(fitting, key=lambda place: len(names[place].rstrip("/")), default=None)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: object) -> object:
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _frozen(value: object) -> Any:
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value


def _sequence(name: str, given: object, expected: str) -> Sequence[Any]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ValueError(f"{name} is {given!r}; expected {expected}")
    return given


def _names(name: str, given: object) -> tuple[str, ...]:
    names = tuple(_sequence(name, given, "a list of codes"))
    for each in names:
        if not isinstance(each, str) or not each.rstrip("/"):
            raise ValueError(f"{name} holds {each!r}; expected the name of a code")
        if names.count(each) > 1:
            raise ValueError(f"{name} holds {each!r} twice; expected each code once")
    return names
