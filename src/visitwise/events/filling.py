"""From patients who are followed to a cohort: arrays, and the flow of how it came about."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from visitwise._ragged import offsets_of
from visitwise.cohort import Cohort, Outcome
from visitwise.definition import CohortDefinition
from visitwise.events.counting import static_values, years_of
from visitwise.events.following import NO_END, Followed, follow
from visitwise.events.names import DAY
from visitwise.study import Flow
from visitwise.visits import Visits
from visitwise.vocabulary import UNKNOWN, Vocabulary

import polars as pl  # isort: skip  # behind `names`, which says what to install if it is missing

OF_CAUSE_1, WITHOUT_END = "events of cause 1", "events without an end of follow-up"


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
        >>> from visitwise.visits import Schema
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
        OF_CAUSE_1: people.filter(pl.col("cause") == 1).height,
        WITHOUT_END: int(people["is_no_end"].sum()),
        "unfinished intervals": int((~people["is_finished"]).sum()),
        "censored before an event": int(people["is_later_event"].sum()),
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
            censored_exposure=torch.from_numpy(people["exposure"].to_numpy(writable=True)),
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
        >>> from visitwise.visits import Schema
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
    events, of_cause_1 = flow.kept["events"], flow.kept.get(OF_CAUSE_1)
    lost, without_end = flow.excluded.get(NO_END, 0), flow.kept.get(WITHOUT_END, 0)
    if lost and without_end:
        warnings.append(
            f"of the patients without an end of follow-up {lost:,} are left out, and {without_end:,} kept because they "
            "have the event: who is left out depends on the outcome, which makes hazards too high"
        )
    if not predict and events == 0:
        warnings.append("nobody who is kept has the event: there is nothing to learn from")
    elif not predict and of_cause_1 == 0:
        warnings.append(
            "nobody who is kept has the event of cause 1, the outcome: there is nothing to learn of it, and all events "
            "are of competing causes"
        )
    if not predict and events == flow.kept["patients"]:
        warnings.append("every patient who is kept has the event: nobody shows what it is to go without")
    codes, unknown = (flow.kept.get(name, 0) for name in ("codes", "unknown codes"))
    if not predict and 2 * unknown > codes:
        warnings.append(
            f"{unknown:,} of {codes:,} codes at the visits are {UNKNOWN}: fewer than min_patients training patients "
            f"have them, and the cohort has {flow.kept['patients']:,} patients in all; "
            "a smaller min_patients keeps more codes"
        )
    excluded, dropped = ({name: n for name, n in part.items() if n} for part in (flow.excluded, flow.dropped))
    beside = {"unfinished intervals": 0, "censored before an event": 0, OF_CAUSE_1: events}
    kept = {name: n for name, n in flow.kept.items() if n != beside.get(name)}
    if not lost:
        kept.pop(WITHOUT_END, None)
    return Flow(flow.read, excluded, dropped, kept, tuple(warnings))


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
        values[born, names[vocabulary.age]] = years_of(followed.patients)[born]
        known[vocabulary.age] = born
    once = static_values(followed.static)
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
