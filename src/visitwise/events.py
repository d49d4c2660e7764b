"""From records of events to a cohort: follow each patient, take the names of the inputs, fill the arrays.

    records   one row each: subject, time, code, number        a patient's rows together, in the order of time
      |  follow: visits, start, event, end of follow-up; who is left out, and which records are input
    Followed
      |  census: what the training patients have, and how many of them
    Vocabulary
      |  assemble: visits and outcomes as arrays
    Cohort

`follow` is the page to read: it goes through the steps of a definition in order. All of it works on whole tables at
once, one shard at a time; a patient is never split over two. Times are whole microseconds since 1970.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from visitwise._ragged import offsets_of
from visitwise.cohort import Cohort, Outcome
from visitwise.definition import LAST_RECORD, CohortDefinition, longest_name, stands_for
from visitwise.study import Flow
from visitwise.visits import PADDING, Schema, Visits
from visitwise.vocabulary import UNKNOWN, Vocabulary, ancestry

try:
    import polars as pl
except ModuleNotFoundError as error:
    message = "records are read with the package polars, which is missing: pip install 'visitwise[meds]'"
    raise ModuleNotFoundError(message, name="polars") from error

BIRTH, DEATH, ENCOUNTER = "MEDS_BIRTH", "MEDS_DEATH", "ENCOUNTER"
DAY = 86_400_000_000
YEAR_DAYS = 365.25

# What a code is to the cohort. An encounter opens a visit and is no code itself.
_INPUT, _ENCOUNTER, _NEVER, _BIRTH, _DEATH, _END, _CAUSE = range(7)


@dataclass(frozen=True, eq=False)
class Followed:
    """What a definition makes of one shard: the patients kept, their visits, and the records that are input.

    Args:
        patients: One row each: `subject_id`, `start`, `stop`, `cause`, `origin` and `last` (times of the first visit's
            close and of the event or the end), `start_time`, `birth`.
        visits: One row each, by `patient` (position among the kept): `close`, the prediction time.
        records: Inputs of the visits: `visit` (position among the kept), `time`, `code`, `numeric_value`.
        static: What is known without a time: `patient`, `code`, `numeric_value`.
        codes: The names of the codes; records and static have positions in it.
        flow: Who was left out, which records are no input.
        named: The names of the definition that some record bears.
    """

    patients: pl.DataFrame
    visits: pl.DataFrame
    records: pl.DataFrame
    static: pl.DataFrame
    codes: pl.Series
    flow: Flow
    named: frozenset[str]

    def followup_days(self) -> Float[np.ndarray, " patient"]:
        """Days from the close of the first visit to the event or the end of follow-up, NaN where it is not known."""
        elapsed: np.ndarray = (self.patients["last"] - self.patients["origin"]).to_numpy().astype(np.float64)
        return elapsed / DAY


# --------------------------------------------------------------------------------------------- from records to visits


def follow(
    events: pl.DataFrame,
    definition: CohortDefinition,
    *,
    ends: pl.DataFrame | None = None,
    predict: bool = False,
    source: str = "",
    names: pl.Series | None = None,
) -> Followed:
    """Follow every patient of a shard from the first record to the event or the end of follow-up.

    Args:
        events: `subject_id`, `time` (datetime in microseconds, none for what is always true), `code`, `numeric_value`
            and the column that the definition's visit rule names. A subject's rows stand together, by time.
        definition: The choices.
        ends: `subject_id` and `time` of the end of follow-up, if the definition says that a table has it.
        predict: Whether nothing has to be known of the outcome: every visit from the start on is a row.
        source: What errors begin with, such as the name of the file.
        names: What errors call the patients, if `subject_id` is a position in them.

    Raises:
        ValueError: A record contradicts itself, and the definition does not say to drop such patients.

    Examples:
        >>> from datetime import datetime
        >>> days = [datetime(2020, 1, day) for day in (1, 5, 9)]
        >>> codes = ["pain", "fever", "STROKE"]
        >>> events = pl.DataFrame({"subject_id": 7, "time": days, "code": codes, "numeric_value": None})
        >>> definition = CohortDefinition(("STROKE",), "date:2020-12-31", min_patients=1)
        >>> follow(events, definition).flow
        read: 3 records, 1 patient
          |-- dropped: 1 record of the patients kept
          |     1  with a code of an event
        kept: 1 patient
    """
    roles = _roles(events["code"].unique(), definition)
    records = _records(events, roles, definition)
    visits = _visits(records)
    patients = _patients(records, visits, definition, ends, predict, roles["code"])
    if definition.faulty == "refuse":
        _refuse_faulty(patients, definition, source, names)

    kept = patients.filter(pl.col("reason").is_null()).with_row_index("place")
    visits = visits.join(kept.select("patient", "place", "cut"), on="patient", maintain_order="left")
    visits = visits.filter((pl.col("close") < pl.col("cut")).fill_null(True)).with_row_index("visit")
    length = visits.group_by("place").agg(stop=pl.len(), origin=pl.col("close").min())
    kept = kept.join(length, on="place", how="left", maintain_order="left")

    records = records.join(kept.select("patient", "place", "cut", "seen", "event", "end", "death"), on="patient")
    records = records.with_columns(fate=_first_of(_fates(definition)))
    flow = _flow(patients, records, definition, events.height)
    inputs = records.filter(pl.col("fate").is_null())
    timed = inputs.filter(pl.col("time").is_not_null(), pl.col("role") == _INPUT)
    timed = timed.join(visits.select("patient", "close", "visit"), on=["patient", "close"], maintain_order="left")
    if definition.encounter_column is not None:  # visits that overlap: back in their order, each in that of the file
        timed = timed.sort("visit", maintain_order=True)
    static = inputs.filter(pl.col("time").is_null(), pl.col("role") == _INPUT)
    return Followed(
        kept.select("subject_id", "start", "stop", "cause", "origin", "last", "start_time", "birth"),
        visits.select(pl.col("place").alias("patient"), "close"),
        timed.select("visit", "time", "code", "numeric_value"),
        static.select(pl.col("place").alias("patient"), "code", "numeric_value"),
        roles["code"],
        flow,
        _named(roles["code"], definition),
    )


def _records(events: pl.DataFrame, roles: pl.DataFrame, definition: CohortDefinition) -> pl.DataFrame:
    """Records with the position of their patient, what their code is to the cohort, and when their visit closes."""
    encounter = definition.encounter_column
    code = events["code"].cast(pl.Enum(roles["code"])).to_physical()
    records = events.select(
        pl.col("subject_id").rle_id().alias("patient"),
        "subject_id",
        pl.col("time").to_physical(),
        code,
        pl.col("numeric_value").cast(pl.Float32).fill_nan(None),
        (pl.lit(0) if encounter is None else pl.col(encounter)).alias("encounter"),
        *(roles[name].gather(code) for name in ("role", "cause", "is_index")),
    )
    return records.with_columns(close=_close(definition))


def _roles(codes: pl.Series, definition: CohortDefinition) -> pl.DataFrame:
    """What each code is to the cohort; where several names fit, the longest decides between causes and the end."""
    end = () if definition.end_code is None else (definition.end_code,)
    names = [name for group in (*definition.causes, end) for name in group]
    meaning = [(_CAUSE, cause) for cause, group in enumerate(definition.causes, start=1) for _ in group]
    meaning += [(_END, 0)] * len(end)

    def role(code: str) -> tuple[int, int]:
        found = longest_name(names, code)
        if found is not None:
            return meaning[found]
        for special, name in ((_DEATH, DEATH), (_BIRTH, BIRTH)):
            if stands_for(name, code):
                return special, 0
        if code == ENCOUNTER:
            return _ENCOUNTER, 0
        return (_NEVER if any(stands_for(name, code) for name in definition.never_input) else _INPUT), 0

    roles = [role(code) for code in codes]
    return pl.DataFrame(
        {
            "code": codes,
            "role": pl.Series([kind for kind, _ in roles], dtype=pl.Int8),
            "cause": pl.Series([cause for _, cause in roles], dtype=pl.Int64),
            "is_index": [any(stands_for(name, code) for name in definition.index) for code in codes],
        }
    )


def _close(definition: CohortDefinition) -> pl.Expr:
    """When the visit closes that a record belongs to: the time of the visit's last record, a cause's included.

    Births, deaths, the end of follow-up and what is never input belong to no visit.
    """
    in_visit = pl.col("time").is_not_null() & pl.col("encounter").is_not_null()
    in_visit &= pl.col("role").is_in([_INPUT, _ENCOUNTER, _CAUSE]) | pl.col("is_index")
    time, patient = pl.col("time"), pl.col("patient")
    if definition.encounter_column is not None:
        visit = ["patient", "encounter"]
        return pl.when(in_visit).then(pl.when(in_visit).then(time).max().over(visit))
    # Records of no visit lie between those of visits: the time before is that of the last record that counts.
    counted = pl.when(in_visit).then(time)
    before = counted.forward_fill().shift().over("patient")
    if definition.visit == "day":
        new = counted.floordiv(DAY) != before.floordiv(DAY)
    else:
        new = counted - before > round((definition.visit_gap_hours or 0) * 3_600_000_000)
    number = new.fill_null(False).cum_sum().over("patient")
    return pl.when(in_visit).then(counted.max().over(patient, number))


def _visits(records: pl.DataFrame) -> pl.DataFrame:
    """Every visit of every patient, by `close`. What closes at one moment is one visit."""
    opens = pl.col("role").is_in([_INPUT, _ENCOUNTER]) | pl.col("is_index")
    opening = records.filter(pl.col("close").is_not_null() & opens).select("patient", "close", "is_index")
    opening = opening.sort("patient", "close", "is_index", descending=[False, False, True])
    new = (pl.col("patient") != pl.col("patient").shift()) | (pl.col("close") != pl.col("close").shift())
    visits = opening.filter(new.fill_null(True))
    return visits.with_columns(row=pl.int_range(pl.len()).over("patient"))


# ------------------------------------------------------------------------------------------ from visits to follow-up


def _patients(
    records: pl.DataFrame,
    visits: pl.DataFrame,
    definition: CohortDefinition,
    ends: pl.DataFrame | None,
    predict: bool,
    codes: pl.Series,
) -> pl.DataFrame:
    """One row a patient, in the order of the records: start, event, end, and the reason to leave the patient out."""
    patients = records.group_by("patient", maintain_order=True).agg(pl.col("subject_id").first())
    starts = visits.filter("is_index") if definition.index else visits
    timed = records.filter(pl.col("time").is_not_null())
    for beside in (
        visits.group_by("patient").agg(n_visits=pl.len()),
        starts.group_by("patient").agg(start=pl.col("row").min(), start_time=pl.col("close").min()),
        _first(timed, _BIRTH).rename({"time": "birth"}),
        _first(timed, _DEATH).rename({"time": "death"}),
        timed.filter(pl.col("role") != _BIRTH)
        .group_by("patient")
        .agg(first_record=pl.col("time").min(), last_record=pl.col("time").max()),
        _faults(records, codes),
    ):
        patients = patients.join(beside, on="patient", how="left", maintain_order="left")
    patients = _with_event(patients, timed, definition)
    patients = _with_end(patients, timed, definition, ends, predict)
    blanking = round(definition.blanking_days * DAY)
    patients = patients.with_columns(
        # The last row asks for what falls after the blanking gap, so a visit needs that much time before the end.
        cut=pl.when("seen").then("event").otherwise("end") - (0 if predict else blanking),
        last=pl.when("seen").then("event").otherwise(None if predict else "end"),
        cause=pl.when("seen").then("cause").otherwise(0),
    )
    return patients.with_columns(reason=_first_of(_reasons(definition, predict)))


def _first(timed: pl.DataFrame, role: int) -> pl.DataFrame:
    return timed.filter(pl.col("role") == role).group_by("patient").agg(pl.col("time").min())


def _with_event(patients: pl.DataFrame, timed: pl.DataFrame, definition: CohortDefinition) -> pl.DataFrame:
    """The first record of a cause after the start, and whether there was one up to the start."""
    causes = timed.filter(pl.col("role") == _CAUSE).select("patient", "time", "cause")
    causes = causes.join(patients.select("patient", "start_time"), on="patient")
    ago = pl.col("start_time") - pl.col("time")
    recent = ago >= 0
    if definition.washout_days is not None:
        recent &= ago <= round(definition.washout_days * DAY)
    before = causes.filter(recent).select("patient", prevalent=pl.lit(True)).unique()
    after = causes.filter(ago < 0).sort("time", "cause").unique("patient", keep="first", maintain_order=True)
    after = after.select("patient", pl.col("time").alias("event"), "cause")
    patients = patients.join(before, on="patient", how="left", maintain_order="left")
    return patients.join(after, on="patient", how="left", maintain_order="left")


def _with_end(
    patients: pl.DataFrame,
    timed: pl.DataFrame,
    definition: CohortDefinition,
    ends: pl.DataFrame | None,
    predict: bool,
) -> pl.DataFrame:
    """When follow-up ends, at death at the latest, and whether the event was seen by then."""
    if predict:
        # Nothing has to be known; but who had the event, or is dead, is not at risk any more.
        end = pl.min_horizontal("event", "death")
        return patients.with_columns(end=end, seen=pl.lit(False))
    if definition.end_time is not None:
        moment = pl.Series([definition.end_time], dtype=pl.Datetime("us")).to_physical()[0]
        patients = patients.with_columns(end=pl.lit(moment, pl.Int64))
    elif definition.end_of_follow_up == LAST_RECORD:
        patients = patients.with_columns(end="last_record")
    else:
        if definition.end_code is not None:
            found = _first(timed, _END)
        elif ends is not None:
            found = patients.select("patient", "subject_id").join(
                ends.select("subject_id", pl.col("time").cast(pl.Datetime("us")).to_physical()), on="subject_id"
            )
        else:
            raise ValueError(f"end_of_follow_up is {definition.end_of_follow_up!r}; expected the table of ends, too")
        found = found.select("patient", pl.col("time").alias("end"))
        patients = patients.join(found, on="patient", how="left", maintain_order="left")
    patients = patients.with_columns(end=pl.min_horizontal("end", "death"))
    seen = pl.col("event").is_not_null() & (pl.col("end").is_null() | (pl.col("event") <= pl.col("end")))
    return patients.with_columns(seen=seen)


FAULTY = "the record contradicts itself"
NO_END = "no end of follow-up"
OF_AN_EVENT, OF_THE_END = "with a code of an event", "with the code that ends follow-up"


def _reasons(definition: CohortDefinition, predict: bool) -> dict[str, pl.Expr]:
    """Why a patient is left out, in the order in which it is looked at; the first that is so counts."""
    blanking, history = (round(days * DAY) for days in (definition.blanking_days, definition.minimum_history_days))
    start_time, seen = pl.col("start_time"), pl.col("seen")
    return {
        FAULTY: pl.col("fault").is_not_null(),
        "no visit": pl.col("n_visits").is_null(),
        "no index event": start_time.is_null(),
        "the event at the start, or before it": pl.col("prevalent"),
        "too short a history before the start": start_time - pl.col("first_record") < history,
        "too few visits up to the start": pl.col("start") + 1 < definition.minimum_visits,
        "the event in the blanking gap after the start": seen & (pl.col("event") - start_time <= blanking),
        NO_END: ~seen & pl.col("end").is_null() & (not predict),
        "no follow-up after the start": ~seen & (pl.col("cut") <= start_time),
    }


def _fates(definition: CohortDefinition) -> dict[str, pl.Expr]:
    """Why a record of a patient who is kept is no input; the first that is so counts."""
    role, time, close = pl.col("role"), pl.col("time"), pl.col("close")
    seen, event, end, cut = (pl.col(name) for name in ("seen", "event", "end", "cut"))
    timed = time.is_not_null() & role.is_in([_INPUT, _ENCOUNTER])
    return {
        OF_AN_EVENT: role == _CAUSE,
        OF_THE_END: role == _END,
        "with the code of the death": role == _DEATH,
        "never an input, as defined": role == _NEVER,
        f"no {definition.encounter_column}": timed & close.is_null(),
        "in the visit of the event, or later": timed & seen & (close >= event),
        "in the blanking gap before the event": timed & seen & (close >= cut),
        "after the death": timed & (time > end) & (end == pl.col("death")),
        "after the end of follow-up": timed & (time > end),
        "in a visit after which nothing is known": timed & (close >= cut),
    }


def _first_of(cases: dict[str, pl.Expr]) -> pl.Expr:
    """The name of the first case that is so; null if none is."""
    return pl.coalesce([pl.when(condition).then(pl.lit(name)) for name, condition in cases.items()])


def _faults(records: pl.DataFrame, codes: pl.Series) -> pl.DataFrame:
    """What contradicts itself in a patient's record, in words; the first of it."""
    timed = pl.col("time").is_not_null()
    is_birth = pl.col("role") == _BIRTH
    needs_time = pl.col("role").is_in([_BIRTH, _DEATH, _END, _CAUSE]) | pl.col("is_index")
    untimed = records.filter(~timed, needs_time).with_columns(pl.lit(codes).gather("code").alias("code"))
    endless = records.filter(pl.col("numeric_value").is_infinite())
    endless = endless.with_columns(pl.lit(codes).gather("code").alias("code"))
    births = (
        records.filter(timed, is_birth).group_by("patient").agg(birth=pl.col("time").max(), n=pl.col("time").n_unique())
    )
    first = records.filter(timed, ~is_birth).group_by("patient").agg(first=pl.col("time").min())
    unborn = births.join(first, on="patient").filter(pl.col("birth") > pl.col("first"))
    birthday, first_day = (pl.from_epoch(name, "us").dt.date() for name in ("birth", "first"))
    words = [
        (untimed, pl.format("has {} without a time; expected one", "code")),
        (endless, pl.format("has the value {} for {}; expected a finite number", "numeric_value", "code")),
        (births.filter(pl.col("n") > 1), pl.format("has {} different times of birth; expected one", "n")),
        (unborn, pl.format("is born on {}, after the first record on {}; expected it before", birthday, first_day)),
    ]
    faults = pl.concat([wrong.select("patient", fault=sentence) for wrong, sentence in words])
    return faults.unique("patient", keep="first", maintain_order=True)


def _refuse_faulty(patients: pl.DataFrame, definition: CohortDefinition, source: str, names: pl.Series | None) -> None:
    wrong = patients.filter(pl.col("reason").is_in([FAULTY, NO_END]))
    if wrong.height:
        first = wrong.row(0, named=True)
        event, end = " or ".join(name for group in definition.causes for name in group), definition.end_of_follow_up
        neither = f"has neither an event ({event}) nor an end of follow-up ({end}); expected one of them"
        fault = first["fault"] or neither
        who = f"subject {first['subject_id']}" if names is None else f"patient {names[first['subject_id']]!r}"
        raise ValueError(f"{source}{who} {fault} (or faulty = 'drop' in the definition)")


def _flow(patients: pl.DataFrame, records: pl.DataFrame, definition: CohortDefinition, n_records: int) -> Flow:
    warnings = []
    if definition.end_of_follow_up == LAST_RECORD:
        warnings.append("follow-up ends at the last record: who comes back depends on health, so censoring does, too")
    if patients["death"].is_not_null().any():
        warnings.append(
            f"{DEATH} is no cause of the definition: a death ends follow-up as if the patient had moved away"
        )
    return Flow(
        {"records": n_records, "patients": patients.height},
        _counts(patients["reason"], _reasons(definition, False)),
        _counts(records["fate"], _fates(definition)),
        {"patients": patients["reason"].null_count()},
        tuple(warnings),
    )


def _counts(found: pl.Series, order: Iterable[str]) -> dict[str, int]:
    counts = dict(found.drop_nulls().value_counts().iter_rows())
    return {name: counts.get(name, 0) for name in order}


def _named(codes: pl.Series, definition: CohortDefinition) -> frozenset[str]:
    """The names of the definition that some record bears."""
    end = () if definition.end_code is None else (definition.end_code,)
    names = {name for group in (*definition.causes, definition.index, end) for name in group}
    return frozenset(name for name in names if any(stands_for(name, code) for code in codes))


# -------------------------------------------------------------------------------------- the names of the inputs


@dataclass(frozen=True, eq=False)
class Census:
    """What the training patients have, counted; the censuses of two shards add up.

    Args:
        patients: Number of patients.
        births: Number of patients whose birth is recorded.
        years: Their ages at the start of follow-up, summed.
        codes: For each code at a visit: `records`, `numbers` (records with a number), `measured` (patients with one).
        nodes: For each code, and each above it: `patients` who have it or something below it.
        static: For each code without a time: `patients`, `measured` (patients with a number), `total` of the numbers.

    Examples:
        >>> from datetime import datetime
        >>> days = [datetime(2020, 1, day) for day in (1, 5, 9)]
        >>> codes = ["pain", "fever", "STROKE"]
        >>> events = pl.DataFrame({"subject_id": 7, "time": days, "code": codes, "numeric_value": None})
        >>> definition = CohortDefinition(("STROKE",), "date:2020-12-31", min_patients=1)
        >>> census = Census.of(follow(events, definition), np.array([0]))
        >>> (census + census).codes.rows()
        [('fever', 2, 0, 0), ('pain', 2, 0, 0)]
        >>> census.vocabulary(definition).schema.codes
        ('<padding>', 'fever', 'pain', '<unknown>')
    """

    patients: int
    births: int
    years: float
    codes: pl.DataFrame
    nodes: pl.DataFrame
    static: pl.DataFrame

    @classmethod
    def of(
        cls, followed: Followed, train: Int[np.ndarray, " patient"], parents: Mapping[str, Sequence[str]] | None = None
    ) -> Self:
        """Count the patients of a shard at these positions, and nobody else.

        Args:
            followed: The shard.
            train: Positions of training patients among the patients kept.
            parents: The codes right above each code.
        """
        chosen = pl.DataFrame({"patient": pl.Series(train, dtype=pl.UInt32)})
        born = followed.patients[train].filter(pl.col("birth").is_not_null())
        visits = followed.visits.with_row_index("visit").join(chosen, on="patient")
        records = followed.records.join(visits.select("visit", "patient"), on="visit")
        codes = records.group_by("patient", "code").agg(records=pl.len(), numbers=pl.col("numeric_value").count())
        nodes = codes.select("patient", "code").join(_above(followed.codes, parents or {}), on="code")
        static = _static_values(followed.static).join(chosen, on="patient")
        values = static.group_by("code").agg(patients=pl.len(), numbers=pl.col("numeric_value").drop_nulls())

        def named(table: pl.DataFrame) -> pl.DataFrame:
            return table.with_columns(followed.codes.gather(table["code"])).sort("code")

        return cls(
            patients=chosen.height,
            births=born.height,
            years=math.fsum(_years(born)),
            codes=named(
                codes.group_by("code").agg(pl.col("records", "numbers").sum(), measured=(pl.col("numbers") > 0).sum())
            ),
            nodes=nodes.unique(["patient", "node"]).group_by("node").agg(patients=pl.len()).sort("node"),
            static=named(
                values.select(
                    "code",
                    "patients",
                    measured=pl.col("numbers").list.len(),
                    total=pl.Series([math.fsum(numbers) for numbers in values["numbers"]], dtype=pl.Float64),
                )
            ),
        )

    def __add__(self, other: Self) -> Self:
        def both(name: str) -> pl.DataFrame:
            one, more = getattr(self, name), getattr(other, name)
            key, *counts = one.columns
            summed: pl.DataFrame = pl.concat([one, more]).group_by(key).agg(pl.col(counts).sum()).sort(key)
            return summed

        tables = {name: both(name) for name in ("codes", "nodes", "static")}
        births, years = self.births + other.births, self.years + other.years
        return type(self)(self.patients + other.patients, births, years, **tables)

    def vocabulary(
        self,
        definition: CohortDefinition,
        *,
        order: Sequence[str] = (),
        parents: Mapping[str, Sequence[str]] | None = None,
    ) -> Vocabulary:
        """The names of the inputs, rare codes replaced by what stands above them.

        Args:
            definition: Says how many patients a code needs, and which codes are measurements.
            order: Codes in the order that the schema is to have, as in the metadata; others follow by name.
            parents: The codes right above each code.

        Raises:
            ValueError: A code that the definition names as a measurement has no number in any training patient.
        """
        place = {name: position for position, name in enumerate(order)}

        def ordered(names: Iterable[str]) -> list[str]:
            return sorted(names, key=lambda name: (place.get(name, len(place)), name))

        measurements = ordered(self._measurements(definition))
        enough = set(self.nodes.filter(pl.col("patients") >= definition.min_patients)["node"])
        enough -= {PADDING, UNKNOWN, *measurements}
        enough -= set(
            _roles(pl.Series(sorted(enough), dtype=pl.String), definition).filter(pl.col("role") != _INPUT)["code"]
        )
        targets = {
            code: next((name for name in ancestry(code, parents or {}) if name in enough), UNKNOWN)
            for code in self.codes["code"]
            if code not in measurements
        }
        codes = ordered(set(targets.values()) - {UNKNOWN})
        static, fills, age = self._static(definition, ordered)
        return Vocabulary(
            Schema.of([*codes, UNKNOWN], static, measurements),
            {code: target for code, target in targets.items() if code != target},
            fills,
            age,
        )

    def _measurements(self, definition: CohortDefinition) -> list[str]:
        if definition.measurements == "auto":
            often = self.codes.filter(
                2 * pl.col("numbers") >= pl.col("records"), pl.col("measured") >= definition.min_patients
            )
            return often["code"].to_list()
        measured = self.codes.filter(pl.col("measured") > 0)["code"].to_list()
        for name in definition.measurements:
            if not any(stands_for(name, code) for code in measured):
                raise ValueError(f"the measurement {name!r} has no number in any training patient; expected one")
        return [code for code in measured if any(stands_for(name, code) for name in definition.measurements)]

    def _static(
        self, definition: CohortDefinition, ordered: Callable[[Iterable[str]], list[str]]
    ) -> tuple[list[str], dict[str, float], str | None]:
        """Names of the static features, means of those that are numbers, and the name of the age."""
        table = {row["code"]: row for row in self.static.iter_rows(named=True)}
        is_number = {name: 2 * row["measured"] >= row["patients"] for name, row in table.items()}
        number_of = {name: row["measured" if is_number[name] else "patients"] for name, row in table.items()}
        names: list[str] = []
        fills: dict[str, float] = {}

        def number(name: str, known: int, total: float) -> None:
            names.append(name)
            fills[name] = total / known
            if known < self.patients:
                names.append(f"{name} known")

        age = None
        if self.births >= definition.min_patients:
            age = "age at the start" if "age" in table else "age"
            number(age, self.births, self.years)
        for name in ordered(name for name, count in number_of.items() if count >= definition.min_patients):
            if is_number[name]:
                number(name, table[name]["measured"], table[name]["total"])
            else:
                names.append(name)
        return names, fills, age


def _above(codes: pl.Series, parents: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    """The position of each code beside its name and that of everything above it."""
    pairs = [(place, node) for place, code in enumerate(codes) for node in ancestry(code, parents)]
    return pl.DataFrame(pairs, schema={"code": pl.UInt32, "node": pl.String}, orient="row")


def _static_values(static: pl.DataFrame) -> pl.DataFrame:
    """One row for each patient and code, with the last number that there is."""
    last = pl.col("numeric_value").drop_nulls().last()
    return static.group_by("patient", "code", maintain_order=True).agg(last)


def _years(patients: pl.DataFrame) -> Float[np.ndarray, " patient"]:
    """Age at the start of follow-up, NaN where the birth is not known."""
    elapsed: np.ndarray = (patients["start_time"] - patients["birth"]).to_numpy().astype(np.float64)
    return elapsed / (DAY * YEAR_DAYS)


# ------------------------------------------------------------------------------------------------- filling the arrays


def assemble(
    followed: Followed, vocabulary: Vocabulary, parents: Mapping[str, Sequence[str]] | None = None
) -> tuple[Cohort | None, Int[Tensor, " patient"], Flow]:
    """The cohort of a shard, each patient's day 0 in microseconds since 1970, and the flow.

    The cohort is None where nobody of the shard is kept.

    Args:
        followed: The shard.
        vocabulary: The names of the inputs.
        parents: The codes right above each code, for codes that the training patients do not have.

    Examples:
        >>> from datetime import datetime
        >>> days = [datetime(2020, 1, day) for day in (1, 5, 9)]
        >>> codes = ["pain", "fever", "STROKE"]
        >>> events = pl.DataFrame({"subject_id": 7, "time": days, "code": codes, "numeric_value": None})
        >>> definition = CohortDefinition(("STROKE",), "date:2020-12-31", min_patients=1)
        >>> followed = follow(events, definition)
        >>> vocabulary = Vocabulary(Schema.of(["pain", "<unknown>"]))
        >>> cohort, origin, flow = assemble(followed, vocabulary)
        >>> cohort.visits.codes.tolist(), cohort.visits.day.tolist(), cohort.outcome.followup_days.tolist()
        ([1, 2], [0.0, 4.0], [8.0])
    """
    dropped: dict[str, int] = {}
    records = _without_equal(followed.records, dropped)
    targets = _targets(followed.codes, vocabulary, parents)
    records = records.with_columns(targets[name].gather(records["code"]) for name in targets.columns)
    codes = _codes(records.filter(pl.col("column").is_null()), dropped)
    values = _measurements(records.filter(pl.col("column").is_not_null()), followed.visits.height, vocabulary, dropped)
    static = _static(followed, vocabulary, dropped)
    people, visits = followed.patients, followed.visits
    origin = _tensor(people["origin"])
    kept = {
        "visits": visits.height,
        "codes": codes.height,
        "unknown codes": codes.filter(pl.col("target") == len(vocabulary.schema.codes) - 1).height,
        "rows": int((people["stop"] - people["start"]).sum()),
        "events": people.filter(pl.col("cause") > 0).height,
    }
    flow = followed.flow
    flow = Flow(flow.read, flow.excluded, {**flow.dropped, **dropped}, {**flow.kept, **kept}, flow.warnings)
    if people.is_empty():
        return None, origin, flow
    day = _tensor(visits["close"]) - origin[_tensor(visits["patient"])]
    cohort = Cohort(
        Visits(
            codes=_tensor(codes["target"]).int(),
            code_offsets=offsets_of(torch.bincount(_tensor(codes["visit"]), minlength=visits.height)),
            visit_offsets=offsets_of(_tensor(people["stop"])),
            day=day.double() / DAY,
            patient_id=_tensor(people["subject_id"]),
            static=torch.from_numpy(static),
            measurements=torch.from_numpy(values),
            schema=vocabulary.schema,
        ),
        Outcome.of(
            stop=_tensor(people["stop"]),
            observed=_tensor(people["cause"]) > 0,
            start=_tensor(people["start"]),
            cause=_tensor(people["cause"]),
            followup_days=torch.from_numpy(followed.followup_days()),
        ),
    )
    return cohort, origin, flow


def to_cohort(
    events: pl.DataFrame,
    definition: CohortDefinition,
    vocabulary: Vocabulary,
    *,
    parents: Mapping[str, Sequence[str]] | None = None,
    ends: pl.DataFrame | None = None,
    predict: bool = False,
) -> tuple[Cohort, Int[Tensor, " patient"], Flow]:
    """A cohort from a table of events in one go: `follow`, then `assemble`.

    Args:
        events: As in `follow`.
        definition: The choices.
        vocabulary: The names of the inputs.
        parents: As in `assemble`.
        ends: As in `follow`.
        predict: As in `follow`.

    Raises:
        ValueError: As in `follow`, or nobody is kept; says why.

    Examples:
        >>> from datetime import datetime
        >>> days = [datetime(2020, 1, day) for day in (1, 5, 9)]
        >>> codes = ["pain", "fever", "STROKE"]
        >>> events = pl.DataFrame({"subject_id": 7, "time": days, "code": codes, "numeric_value": None})
        >>> definition = CohortDefinition(("STROKE",), "date:2020-12-31", min_patients=1)
        >>> cohort, origin, flow = to_cohort(events, definition, Vocabulary(Schema.of(["pain", "<unknown>"])))
        >>> cohort
        Cohort(1 patients, 2 visits, 2 codes, 2 rows at risk, 1 events)
    """
    followed = follow(events, definition, ends=ends, predict=predict)
    cohort, origin, flow = assemble(followed, vocabulary, parents)
    if cohort is None:
        raise ValueError(nobody_left(flow))
    return cohort, origin, told(flow, predict=predict)


def nobody_left(flow: Flow) -> str:
    """Says why nobody is kept.

    Examples:
        >>> nobody_left(Flow({"patients": 2}, {"no visit": 2}, {}, {"patients": 0}))
        "none of 2 patients is left: 2 for 'no visit'; expected at least one"
    """
    reasons = ", ".join(f"{count:,} for {reason!r}" for reason, count in flow.excluded.items() if count)
    return f"none of {flow.read['patients']:,} patients is left: {reasons or 'there are none'}; expected at least one"


def told(flow: Flow, *, predict: bool = False) -> Flow:
    """A flow without what never happened, and with a word on outcomes and codes that teach nothing.

    Args:
        flow: The sum over all shards.
        predict: Whether outcomes are not known anyway.

    Examples:
        >>> flow = Flow({"patients": 3}, {"no visit": 0}, {}, {"patients": 3, "events": 3})
        >>> told(flow).warnings
        ('every patient who is kept has the event: nobody shows what it is to go without',)
    """
    warnings = list(flow.warnings)
    if not predict and flow.kept["events"] == 0:
        warnings.append("nobody who is kept has the event: there is nothing to learn from")
    if not predict and flow.kept["events"] == flow.kept["patients"]:
        warnings.append("every patient who is kept has the event: nobody shows what it is to go without")
    codes, unknown = (flow.kept.get(name, 0) for name in ("codes", "unknown codes"))
    if not predict and 2 * unknown > codes:
        warnings.append(
            f"{unknown:,} of {codes:,} codes at the visits are {UNKNOWN}: fewer than min_patients training patients "
            f"have them, and the cohort has {flow.kept['patients']:,} patients in all; "
            "a smaller min_patients keeps more codes"
        )
    excluded, dropped = ({name: n for name, n in part.items() if n} for part in (flow.excluded, flow.dropped))
    return Flow(flow.read, excluded, dropped, flow.kept, tuple(warnings))


def _targets(codes: pl.Series, vocabulary: Vocabulary, parents: Mapping[str, Sequence[str]] | None) -> pl.DataFrame:
    """For each code its position among the measurements, or else that of the code which stands for it."""
    place = {name: position for position, name in enumerate(vocabulary.schema.codes)}
    column = {name: position for position, name in enumerate(vocabulary.schema.measurements)}
    return pl.DataFrame(
        {
            "target": pl.Series([place[vocabulary.target(code, parents)] for code in codes], dtype=pl.Int64),
            "column": pl.Series([column.get(code) for code in codes], dtype=pl.Int64),
        }
    )


def _without_equal(records: pl.DataFrame, dropped: dict[str, int]) -> pl.DataFrame:
    once = records.unique(["visit", "time", "code", "numeric_value"], keep="first", maintain_order=True)
    dropped["equal to another record"] = records.height - once.height
    return once


def _codes(records: pl.DataFrame, dropped: dict[str, int]) -> pl.DataFrame:
    """Each code once a visit, in the order of its first record."""
    once = records.unique(["visit", "target"], keep="first", maintain_order=True)
    dropped["a code that the visit has already"] = records.height - once.height
    return once


def _measurements(
    records: pl.DataFrame, n_visits: int, vocabulary: Vocabulary, dropped: dict[str, int]
) -> Float[np.ndarray, "visit measurement"]:
    """The last number of each measurement at each visit, NaN where there is none."""
    numbers = records.filter(pl.col("numeric_value").is_not_null())
    last = numbers.unique(["visit", "column"], keep="last", maintain_order=True)
    dropped["a measurement without a number"] = records.height - numbers.height
    dropped["a measurement taken again at the visit"] = numbers.height - last.height
    values = np.full((n_visits, len(vocabulary.schema.measurements)), np.nan, np.float32)
    values[last["visit"].to_numpy(), last["column"].to_numpy()] = last["numeric_value"].to_numpy()
    return values


def _static(
    followed: Followed, vocabulary: Vocabulary, dropped: dict[str, int]
) -> Float[np.ndarray, "patient feature"]:
    names = {name: column for column, name in enumerate(vocabulary.schema.static)}
    values = np.zeros((followed.patients.height, len(names)), np.float32)
    known = {name: np.zeros(len(values), bool) for name in vocabulary.fills}
    for name, fill in vocabulary.fills.items():
        values[:, names[name]] = fill
    if vocabulary.age is not None:
        born = followed.patients["birth"].is_not_null().to_numpy()
        values[born, names[vocabulary.age]] = _years(followed.patients)[born]
        known[vocabulary.age] = born
    once = _static_values(followed.static)
    once = once.with_columns(followed.codes.gather(once["code"]))
    dropped["a static code again"] = followed.static.height - once.height
    used = once.filter(pl.col("code").is_in([name for name in names if name != vocabulary.age]))
    dropped["a static code that is not in the vocabulary"] = once.height - used.height
    for (name,), rows in used.group_by("code"):
        if name in vocabulary.fills:
            rows = rows.filter(pl.col("numeric_value").is_not_null())
            values[rows["patient"].to_numpy(), names[name]] = rows["numeric_value"].to_numpy()
            known[name][rows["patient"].to_numpy()] = True
        else:
            values[rows["patient"].to_numpy(), names[name]] = 1
    for name, is_known in known.items():
        if f"{name} known" in names:
            values[:, names[f"{name} known"]] = is_known
    return values


def _tensor(values: pl.Series) -> Tensor:
    return torch.from_numpy(values.cast(pl.Int64).to_numpy(writable=True))
