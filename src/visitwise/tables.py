"""From data frames to a study: a long table of what was recorded, and a row for each patient on what became of them.

    study = study_from_table(events, outcomes)

The patients are followed as those of MEDS are (`visitwise.events`), and a `CohortDefinition` holds what else is chosen.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int

from visitwise._explain import explained
from visitwise.cohort import by_lot
from visitwise.definition import CohortDefinition
from visitwise.events import (
    DAY,
    ENCOUNTER,
    OF_AN_EVENT,
    OF_THE_END,
    Census,
    assemble,
    follow,
    nobody_left,
    through_its_day,
    told,
    unborne,
)
from visitwise.study import FRACTIONS, SPLITS, Flow, Study

import polars as pl  # isort: skip  # behind `events`, which says what to install if it is missing

EVENT, END = "<event>", "<end of follow-up>"

FROM_TABLE = CohortDefinition((EVENT,), f"code:{END}")
"""The definition whose outcome and end a table holds; `replace(FROM_TABLE, blanking_days=14)` changes the rest."""


@explained
def study_from_table(events: Any, outcomes: Any, *, definition: CohortDefinition = FROM_TABLE) -> Study:
    """A study of two data frames, of pandas or polars.

    Patients are split 70/15/15 by lot, or as a column `split` of the outcomes says. A visit is a day unless the
    definition says otherwise, and closes with its last record; the visit in which the event falls is no input.

    Args:
        events: One row for each record: `patient` (whole numbers or names), `time` (datetimes, dates, or days as
            numbers; missing for what is always true), `code` and, if there are numbers, `value`. The order of the rows
            matters only within a moment. A code `MEDS_BIRTH` is the birth.
        outcomes: One row for each patient: `patient`, `event_time` (missing if there was no event), `end_of_follow_up`
            (may be missing where there was one) and, where there are several causes, `cause`: 1, 2, ... An end that is
            a date without a time of day, or a datetime at midnight, is the end of that day. A number of days is a
            moment: an end of 60 is the beginning of day 60, and an event at 60.5 is after it.
        definition: The other choices: `FROM_TABLE`, changed by `dataclasses.replace`.

    Raises:
        ValueError: A table lacks a column, has one of the wrong type, or contradicts itself; names the patient.

    Examples:
        >>> who = [f"P{i}" for i in range(20)]
        >>> events = pd.DataFrame({"patient": who * 2, "time": [0] * 20 + [30] * 20, "code": "pain"})
        >>> outcomes = pd.DataFrame({"patient": who, "event_time": [50, None] * 10, "end_of_follow_up": 90})
        >>> study = study_from_table(events, outcomes)
        >>> study
        Study(20 patients: 14 train, 3 tuning, 3 held out; 40 visits, 10 events)
        >>> study.names[0], study.cohort.visits.day[:2].tolist()
        ('P0', [0.0, 30.0])
    """
    if definition.causes != ((EVENT,),) or definition.end_code != END:
        raise ValueError("the definition names an outcome or an end; expected FROM_TABLE with changes to the rest")
    records, became = _events(events, definition.encounter_column), _outcomes(outcomes)
    records, became, has_dates = _on_one_clock(records, became)
    definition = replace(definition, competing=_competing(became))
    if records["patient"].dtype != became["patient"].dtype:
        given = f"{records['patient'].dtype} in the events and {became['patient'].dtype} in the outcomes"
        raise ValueError(f"the patients are {given}; expected both whole numbers, or both names")
    people = pl.concat([became["patient"], records["patient"]]).unique(maintain_order=True)
    names = None if people.dtype.is_integer() else people
    numbers = people.cast(pl.Int64) if names is None else pl.Series(np.arange(len(people)))
    subjects = pl.DataFrame({"patient": people, "subject_id": numbers, "split": _split(became, people, definition)})

    followed = follow(_rows(records, became, subjects), definition, names=names)
    if followed.patients.is_empty():
        raise ValueError(nobody_left(followed.flow))
    kept = followed.patients.select("subject_id").join(subjects, on="subject_id", how="left", maintain_order="left")
    train = (kept["split"] == 0).arg_true().cast(pl.Int64).to_numpy()
    if len(train) == 0:
        raise ValueError(f"none of the {kept.height:,} patients who are left is a training patient; expected one")
    vocabulary = Census.of(followed, train).vocabulary(definition)
    cohort, origin, flow = assemble(followed, vocabulary)
    if cohort is None:
        raise ValueError(nobody_left(flow))
    flow = _without_outcomes(flow, records.height)
    lacks = unborne(definition, followed.named, ("index", "never_input"))
    return Study(
        cohort,
        torch.from_numpy(kept["split"].to_numpy(writable=True)),
        origin if has_dates else None,
        told(replace(flow, warnings=(*flow.warnings, *lacks))),
        definition,
        None if names is None else tuple(kept["patient"]),
        vocabulary,
    )


def _rows(records: pl.DataFrame, became: pl.DataFrame, subjects: pl.DataFrame) -> pl.DataFrame:
    """Events as `follow` expects them: outcomes are records, too, and one more says that the patient is there."""
    cause = pl.when(pl.col("cause") > 1).then(pl.format(f"{EVENT}//{{}}", "cause")).otherwise(pl.lit(EVENT))
    there = became.select("patient", time=pl.lit(None, pl.Datetime("us")), code=pl.lit(ENCOUNTER))
    event = became.select("patient", time="event_time", code=cause).drop_nulls("time")
    end = became.select("patient", time="end_of_follow_up", code=pl.lit(END)).drop_nulls("time")
    rows = pl.concat([records, there, event, end], how="diagonal")
    order = subjects.select("patient", "subject_id").with_row_index("place")
    rows = rows.join(order, on="patient", how="left", maintain_order="left")
    return rows.sort("place", "time", maintain_order=True)


def _without_outcomes(flow: Flow, n_records: int) -> Flow:
    """The flow of the records alone: the outcomes came from a table of their own."""
    dropped = {name: count for name, count in flow.dropped.items() if name not in (OF_AN_EVENT, OF_THE_END)}
    return replace(flow, read={**flow.read, "records": n_records}, dropped=dropped)


def _split(became: pl.DataFrame, people: pl.Series, definition: CohortDefinition) -> Int[np.ndarray, " patient"]:
    """The part of each patient: as the outcomes say, or by lot. Who has no outcome is nowhere."""
    split = np.zeros(len(people), np.int8)
    if "split" not in became.columns:
        for part, chosen in enumerate(by_lot(len(people), FRACTIONS, seed=definition.seed)):
            split[chosen.numpy()] = part
        return split
    wrong = became.filter(~pl.col("split").is_in(SPLITS) | pl.col("split").is_null())
    if wrong.height:
        given = wrong["split"][0]
        raise ValueError(
            f"patient {wrong['patient'][0]!r} has the split {given!r}; expected one of {', '.join(SPLITS)}"
        )
    split[: became.height] = [SPLITS.index(part) for part in became["split"]]
    return split


def _competing(became: pl.DataFrame) -> tuple[tuple[str, ...], ...]:
    highest = max([1, *became["cause"].drop_nulls()])
    return tuple((f"{EVENT}//{cause}",) for cause in range(2, highest + 1))


# ------------------------------------------------------------------------------------------------------- two tables


def _events(given: Any, encounter: str | None) -> pl.DataFrame:
    """The records, with `numeric_value`, their times as they were given."""
    frame = _frame(given, "events", ["patient", "time", "code"], ["value", *([encounter] if encounter else [])])
    if encounter is not None and encounter not in frame.columns:
        raise ValueError(f"the events have no column {encounter!r}, which says what a visit is; expected it")
    code = frame["code"].cast(pl.String) if frame["code"].dtype in (pl.Categorical, pl.Enum) else frame["code"]
    if code.dtype != pl.String:
        raise ValueError(f"the events have {code.dtype} in the column 'code'; expected text")
    value = frame["value"] if "value" in frame.columns else pl.Series([None] * frame.height, dtype=pl.Float32)
    if not (value.dtype.is_numeric() or value.dtype == pl.Null):
        raise ValueError(f"the events have {value.dtype} in the column 'value'; expected numbers")
    without = frame.filter(code.is_null())
    if without.height:
        raise ValueError(f"patient {without['patient'][0]!r} has a record without a code; expected one in each")
    frame = frame.with_columns(code.alias("code"), value.cast(pl.Float32).alias("numeric_value"))
    return frame.drop("value", strict=False)


def _outcomes(given: Any) -> pl.DataFrame:
    """One row a patient, with `cause`, the times as they were given."""
    frame = _frame(given, "outcomes", ["patient", "event_time", "end_of_follow_up"], ["cause", "split"])
    rows = frame.group_by("patient", maintain_order=True).len().filter(pl.col("len") > 1)
    if rows.height:
        raise ValueError(f"patient {rows['patient'][0]!r} has {rows['len'][0]} rows of outcomes; expected one")
    has_event = frame["event_time"].is_not_null()
    if "cause" not in frame.columns:
        return frame.with_columns(cause=pl.when(has_event).then(1))
    if not (frame["cause"].dtype.is_numeric() or frame["cause"].dtype == pl.Null):
        raise ValueError(f"the outcomes have {frame['cause'].dtype} in the column 'cause'; expected whole numbers")
    cause = frame["cause"].cast(pl.Float64).fill_null(0)
    wrong = (cause < 0) | (cause != cause.round()) | ((cause > 0) != has_event)
    if wrong.any():
        place = int(wrong.arg_true()[0])
        who, when, what = (frame[name][place] for name in ("patient", "event_time", "cause"))
        raise ValueError(f"patient {who!r} has the event_time {when} and the cause {what}; expected both or neither")
    return frame.with_columns(cause=cause.cast(pl.Int64))


def _frame(given: Any, what: str, needed: list[str], optional: list[str]) -> pl.DataFrame:
    """The columns of a pandas or polars frame, with patients in each row."""
    if not isinstance(given, pl.DataFrame | pd.DataFrame):
        raise ValueError(f"the {what} are a {type(given).__name__}; expected a data frame of pandas or polars")
    if missing := [name for name in needed if name not in given.columns]:
        raise ValueError(f"the {what} have no column {missing[0]!r}; expected {', '.join(needed)}")
    columns = [name for name in [*needed, *optional] if name in given.columns]
    if isinstance(given, pd.DataFrame):
        given = pl.DataFrame({name: _from_pandas(given[name], what) for name in columns})
    frame: pl.DataFrame = given.select(columns).with_columns(pl.col(pl.Float32, pl.Float64).fill_nan(None))
    if frame.is_empty():
        raise ValueError(f"the {what} have 0 rows; expected at least one")
    patient = frame["patient"].dtype
    if not (patient.is_integer() or patient == pl.String):
        raise ValueError(f"the {what} have {patient} in the column 'patient'; expected whole numbers or names")
    if frame["patient"].null_count():
        raise ValueError(f"the {what} have {frame['patient'].null_count()} rows without a patient; expected none")
    return frame.with_columns(frame["patient"].cast(pl.Int64)) if patient.is_integer() else frame


def _from_pandas(values: pd.Series, what: str) -> pl.Series:
    """A column of pandas without pyarrow, which polars would want; what is missing becomes null."""
    if getattr(values.dtype, "tz", None) is not None:
        raise ValueError(f"the {what} have a time zone in the column {values.name!r}; expected local times without one")
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "iufM":
        moments = values.dtype.kind == "M"  # pandas has whole seconds, too
        return pl.Series(values.to_numpy().astype("datetime64[us]") if moments else values.to_numpy())
    return pl.Series([None if missing else value for value, missing in zip(values, values.isna(), strict=True)])


def _on_one_clock(records: pl.DataFrame, became: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, bool]:
    """Both tables with all times in microseconds, and whether these are dates rather than days as numbers."""
    time, is_date = _microseconds(records["time"])
    event, event_is_date = _microseconds(became["event_time"])
    end, end_is_date = _microseconds(became["end_of_follow_up"], ends_with_day=True)
    kinds = {"time": is_date, "event_time": event_is_date, "end_of_follow_up": end_is_date}
    known = {name: kind for name, kind in kinds.items() if kind is not None}
    if len(set(known.values())) > 1:
        given = ", ".join(f"{'dates' if kind else 'numbers'} in {name!r}" for name, kind in known.items())
        raise ValueError(f"the tables have {given}; expected dates in all, or days as numbers in all")
    records, became = records.with_columns(time), became.with_columns(event, end)
    return records, became, any(known.values())


def _microseconds(values: pl.Series, *, ends_with_day: bool = False) -> tuple[pl.Series, bool | None]:
    """Times as polars has them in memory, and whether they are dates; None if there are none."""
    kind, name = values.dtype, values.name
    if values.null_count() == len(values):
        return pl.Series(name, [None] * len(values), dtype=pl.Datetime("us")), None
    if kind.is_numeric():
        days = values.cast(pl.Float64)
        if not days.drop_nulls().is_finite().all():
            raise ValueError(f"the column {name!r} holds an infinite number of days; expected finite ones")
        return (days * DAY).round().cast(pl.Int64).cast(pl.Datetime("us")), False
    if isinstance(kind, pl.Date) or (isinstance(kind, pl.Datetime) and kind.time_zone is None):
        moment = values.cast(pl.Datetime("us"))
        if ends_with_day:
            micros = moment.to_physical().to_frame().select(through_its_day(pl.col(name)))
            moment = micros[name].cast(pl.Datetime("us"))
        return moment, True
    raise ValueError(
        f"the column {name!r} has {kind}; expected datetimes without a time zone, dates (pandas: parse_dates), "
        "or days as numbers"
    )
