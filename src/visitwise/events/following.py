"""From records to patients who are followed: visits, start, event, end, and what of it is input.

When a visit closes and when it is over are two things. It *closes* with its last record: that is when the model
predicts, and what `day` counts. It is *over* when no further record could be one of it: at the end of its calendar day,
after the gap, or, where a column says which visit a record is of, with the last of them. An event that falls before a
visit is over, or an end of follow-up that does, treats it alike: the visit is no row, and nothing of it is input. So a
visit that is open when the event falls is never input, and whether it is a row does not depend on what ended it.

A row's interval begins a set time after its visit's close, the blanking gap or that between visits, whichever is
longer, and ends as long after the next close. It is seen to its end where follow-up lasts so long. And where follow-up
ends *at* a visit, the intervals before that count: an event after it would have been recorded, and ended follow-up.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from visitwise.definition import LAST_RECORD, CohortDefinition
from visitwise.events.names import (
    DAY,
    DEATH,
    IS_BIRTH,
    IS_CAUSE,
    IS_DEATH,
    IS_ENCOUNTER,
    IS_END,
    IS_INPUT,
    IS_NEVER,
    borne,
    roles_of,
    through_its_day,
)
from visitwise.study import Flow

import polars as pl  # isort: skip  # behind `names`, which says what to install if it is missing

FAULTY = "the record contradicts itself"
NO_END = "no end of follow-up"
OF_AN_EVENT, OF_THE_END = "with a code of an event", "with the code that ends follow-up"


@dataclass(frozen=True, eq=False)
class Followed:
    """What a definition makes of one shard: the patients kept, their visits, and the records that are input.

    Args:
        patients: One row each: `subject_id`, `start`, `stop`, `cause`, `origin` and `last` (times of the first visit's
            close and of the event or the end), `start_time`, `birth`; whether the last row's interval `is_finished`,
            the `exposure` that it counts with if the patient is censored, whether there `is_later_event`, after the end
            of follow-up, and whether there `is_no_end` beside the event.
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
    roles = roles_of(events["code"].unique(), definition)
    blanking = 0 if predict else round(definition.blanking_days * DAY)
    records = _with_times(_records(events, roles, definition), _opens(), definition, blanking)
    visits = _visits(records)
    patients = _patients(records, visits, definition, ends, predict, roles["code"])
    of_encounter = (pl.col("role") == IS_CAUSE) & pl.col("encounter").is_not_null()
    if definition.encounter_column is not None and records.select(of_encounter.any()).item():
        # Now it is known which event counts. It, and what comes before it, was recorded while its encounter was open.
        records = records.join(patients.select("patient", "cut"), on="patient", maintain_order="left")
        is_open = of_encounter & (pl.col("time") <= pl.col("cut")).fill_null(True)
        records = _with_times(records, _opens() | is_open, definition, blanking).drop("cut")
        visits = _visits(records)
        patients = _patients(records, visits, definition, ends, predict, roles["code"])
    if definition.faulty == "refuse":
        _refuse_faulty(patients, definition, source, names)

    kept = patients.filter(pl.col("reason").is_null()).with_row_index("place")
    visits = visits.join(kept.select("patient", "place", "cut"), on="patient", maintain_order="left")
    is_row = (pl.col("asks") < pl.col("cut")).fill_null(True)
    rows = visits.filter(is_row).group_by("place").agg(stop=pl.len(), origin=pl.col("close").min())
    kept = kept.join(rows, on="place", how="left", maintain_order="left")
    kept = _with_last_interval(kept, visits.filter(~is_row), definition, blanking, predict)
    visits = visits.filter(is_row).with_row_index("visit")

    records = records.join(kept.select("patient", "place", "cut", "seen", "end", "death"), on="patient")
    records = records.with_columns(fate=_first_of(_fates(definition)))
    flow = _flow(patients, records, definition, events.height)
    inputs = records.filter(pl.col("fate").is_null())
    timed = inputs.filter(pl.col("time").is_not_null(), pl.col("role") == IS_INPUT)
    timed = timed.join(visits.select("patient", "close", "visit"), on=["patient", "close"], maintain_order="left")
    if definition.encounter_column is not None:  # visits that overlap: back in their order, each in that of the file
        timed = timed.sort("visit", maintain_order=True)
    static = inputs.filter(pl.col("time").is_null(), pl.col("role") == IS_INPUT)
    return Followed(
        kept.select(
            *("subject_id", "start", "stop", "cause", "origin", "last", "start_time", "birth"),
            *("is_finished", "exposure", "is_later_event", "is_no_end"),
        ),
        visits.select(pl.col("place").alias("patient"), "close"),
        timed.select("visit", "time", "code", "numeric_value"),
        static.select(pl.col("place").alias("patient"), "code", "numeric_value"),
        roles["code"],
        flow,
        borne(roles["code"], definition),
    )


def _records(events: pl.DataFrame, roles: pl.DataFrame, definition: CohortDefinition) -> pl.DataFrame:
    """Records with the position of their patient, and what their code is to the cohort."""
    encounter = definition.encounter_column
    code = events["code"].cast(pl.Enum(roles["code"])).to_physical()
    return events.select(
        pl.col("subject_id").rle_id().alias("patient"),
        "subject_id",
        pl.col("time").to_physical(),
        code,
        pl.col("numeric_value").cast(pl.Float32).fill_nan(None),
        (pl.lit(0) if encounter is None else pl.col(encounter)).alias("encounter"),
        *(roles[name].gather(code) for name in ("role", "cause", "is_index", "is_death")),
    )


def _with_times(records: pl.DataFrame, of_visit: pl.Expr, definition: CohortDefinition, blanking: int) -> pl.DataFrame:
    """Records with three times of their visit, if they are of one.

    It closes, it is over, and it `asks`: the event that its row asks for falls after this moment.
    """
    records = records.with_columns(close=_close(definition, of_visit)).with_columns(over=_over(definition))
    return records.with_columns(asks=pl.max_horizontal("over", pl.col("close") + blanking))


def _opens() -> pl.Expr:
    """Whether a record is of a visit. Causes, births, deaths, the end and what is never input are of none."""
    return pl.col("role").is_in([IS_INPUT, IS_ENCOUNTER]) | pl.col("is_index")


def _close(definition: CohortDefinition, of_visit: pl.Expr) -> pl.Expr:
    """When the visit closes that a record belongs to: the time of the visit's last record.

    A cause's record does not make a visit longer, or what happens later would say when the visit closes. But where a
    column says that the event is of a visit, that visit was still open.
    """
    in_visit = of_visit & pl.col("time").is_not_null() & pl.col("encounter").is_not_null()
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
        new = counted - before > _gap(definition)
    number = new.fill_null(False).cum_sum().over("patient")
    return pl.when(in_visit).then(counted.max().over(patient, number))


def _over(definition: CohortDefinition) -> pl.Expr:
    """The last moment at which a record could still be of the visit."""
    close = pl.col("close")
    if definition.encounter_column is not None:
        return close
    if definition.visit == "day":
        return _last_of_day(close)
    return close + _gap(definition)


def _last_of_day(time: pl.Expr) -> pl.Expr:
    return time.floordiv(DAY) * DAY + (DAY - 1)


def _gap(definition: CohortDefinition) -> int:
    return round((definition.visit_gap_hours or 0) * 3_600_000_000)


def _visits(records: pl.DataFrame) -> pl.DataFrame:
    """Every visit of every patient, by `close`. What closes at one moment is one visit."""
    opening = records.filter(pl.col("close").is_not_null() & _opens())
    opening = opening.select("patient", "close", "over", "asks", "is_index")
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
    # Whoever dies on a day lives until its end. A cause keeps its moment: nothing of that day may predict it.
    death = pl.when(pl.col("is_death") & (pl.col("role") != IS_CAUSE))
    timed = timed.with_columns(time=death.then(through_its_day(pl.col("time"))).otherwise("time"))
    for beside in (
        visits.group_by("patient").agg(n_visits=pl.len()),
        starts.group_by("patient").agg(
            start=pl.col("row").min(),
            start_time=pl.col("close").min(),
            start_over=pl.col("over").min(),
            start_asks=pl.col("asks").min(),
        ),
        _first(timed, IS_BIRTH).rename({"time": "birth"}),
        _first(timed, IS_DEATH).rename({"time": "death"}),
        timed.filter(pl.col("role") != IS_BIRTH)
        .group_by("patient")
        .agg(first_record=pl.col("time").min(), last_record=pl.col("time").max()),
        _faults(records, codes),
    ):
        patients = patients.join(beside, on="patient", how="left", maintain_order="left")
    patients = _with_event(patients, timed, definition)
    patients = _with_end(patients, timed, definition, ends, predict)
    cut = pl.when("seen").then("event").otherwise("end")
    patients = patients.with_columns(
        cut=cut,
        last=pl.lit(None, pl.Int64) if predict else cut,
        cause=pl.when("seen").then("cause").otherwise(0),
        is_later_event=~pl.col("seen") & pl.col("event").is_not_null() & (not predict),
        is_no_end=pl.col("seen") & pl.col("end").is_null(),
    )
    return patients.with_columns(reason=_first_of(_reasons(definition, predict)))


def _first(timed: pl.DataFrame, role: int) -> pl.DataFrame:
    return timed.filter(pl.col("role") == role).group_by("patient").agg(pl.col("time").min())


def _with_event(patients: pl.DataFrame, timed: pl.DataFrame, definition: CohortDefinition) -> pl.DataFrame:
    """The first record of a cause after the visit of the start is over, and whether there was one before."""
    causes = timed.filter(pl.col("role") == IS_CAUSE).select("patient", "time", "cause", "is_death")
    causes = causes.join(patients.select("patient", "start_time", "start_over"), on="patient")
    later = pl.col("time") > pl.col("start_over")
    recent = ~later
    if definition.washout_days is not None:
        recent &= pl.col("start_time") - pl.col("time") <= round(definition.washout_days * DAY)
    before = causes.filter(recent).select("patient", prevalent=pl.lit(True)).unique()
    # Whoever dies on a day may have another event on it before.
    turn = pl.when("is_death").then(through_its_day(pl.col("time"))).otherwise("time")
    after = causes.filter(later).sort(turn, "cause").unique("patient", keep="first", maintain_order=True)
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
            found = _first(timed, IS_END)
        elif ends is not None:
            found = patients.select("patient", "subject_id").join(
                ends.select("subject_id", pl.col("time").cast(pl.Datetime("us")).to_physical()), on="subject_id"
            )
        else:
            raise ValueError(f"end_of_follow_up is {definition.end_of_follow_up!r}; expected the table of ends, too")
        found = found.select("patient", pl.col("time").alias("end"))
        patients = patients.join(found, on="patient", how="left", maintain_order="left")
    end = pl.min_horizontal("end", "death")
    seen = pl.col("event").is_not_null() & (end.is_null() | (pl.col("event") <= end))
    return patients.with_columns(seen=seen, end=end)


def _with_last_interval(
    kept: pl.DataFrame, beyond: pl.DataFrame, definition: CohortDefinition, blanking: int, predict: bool
) -> pl.DataFrame:
    """Whether the last row's interval was seen to its end, and how much of it counts without an event.

    It ends a set time after the next visit's close. That visit is among those beyond the last row.
    """
    cut, close = pl.col("cut"), pl.col("close")
    reached = close + max(blanking, _gap(definition)) <= cut
    if definition.end_time is None:  # a date that is one for everybody is nobody's visit
        reached |= (close == cut) | (_last_of_day(close) == cut)
    beyond = beyond.group_by("place").agg(is_reached=reached.any())
    kept = kept.join(beyond, on="place", how="left", maintain_order="left")
    kept = kept.with_columns(is_finished=predict | pl.col("seen") | pl.col("is_reached").fill_null(False))
    share = pl.when("is_finished").then(1.0).otherwise(definition.censored_exposure)
    return kept.with_columns(exposure=share.cast(pl.Float32))


def _reasons(definition: CohortDefinition, predict: bool) -> dict[str, pl.Expr]:
    """Why a patient is left out, in the order in which it is looked at; the first that is so counts."""
    history = round(definition.minimum_history_days * DAY)
    start_time, start_asks, seen = pl.col("start_time"), pl.col("start_asks"), pl.col("seen")
    return {
        FAULTY: pl.col("fault").is_not_null(),
        "no visit": pl.col("n_visits").is_null(),
        "no index event": start_time.is_null(),
        "the event at the start, or before it": pl.col("prevalent"),
        "too short a history before the start": start_time - pl.col("first_record") < history,
        "too few visits up to the start": pl.col("start") + 1 < definition.minimum_visits,
        "the event in the blanking gap after the start": seen & (pl.col("event") <= start_asks),
        NO_END: ~seen & pl.col("end").is_null() & (not predict),
        "no follow-up after the start": ~seen & (pl.col("cut") <= start_asks),
    }


def _fates(definition: CohortDefinition) -> dict[str, pl.Expr]:
    """Why a record of a patient who is kept is no input; the first that is so counts."""
    role, time, seen, end, cut = (pl.col(name) for name in ("role", "time", "seen", "end", "cut"))
    timed = time.is_not_null() & role.is_in([IS_INPUT, IS_ENCOUNTER])
    return {
        OF_AN_EVENT: role == IS_CAUSE,
        OF_THE_END: role == IS_END,
        "with the code of the death": role == IS_DEATH,
        "never an input, as defined": role == IS_NEVER,
        f"no {definition.encounter_column}": timed & pl.col("close").is_null(),
        "in the visit of the event, or later": timed & seen & (pl.col("over") >= cut),
        "in the blanking gap before the event": timed & seen & (pl.col("asks") >= cut),
        "after the death": timed & (time > end) & (end == pl.col("death")),
        "after the end of follow-up": timed & (time > end),
        "in a visit after which nothing is known": timed & (pl.col("asks") >= cut),
    }


def _first_of(cases: dict[str, pl.Expr]) -> pl.Expr:
    """The name of the first case that is so; null if none is."""
    return pl.coalesce([pl.when(condition).then(pl.lit(name)) for name, condition in cases.items()])


def _faults(records: pl.DataFrame, codes: pl.Series) -> pl.DataFrame:
    """What contradicts itself in a patient's record, in words; the first of it."""
    timed = pl.col("time").is_not_null()
    is_birth = pl.col("role") == IS_BIRTH
    needs_time = pl.col("role").is_in([IS_BIRTH, IS_DEATH, IS_END, IS_CAUSE]) | pl.col("is_index")
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
