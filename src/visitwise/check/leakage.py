"""Chapter 9: a world of coin flips, ways to look ahead in it, and wrong answers to the chapter's questions."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from visitwise._ragged import offsets_of, ranges
from visitwise.check import Mistake
from visitwise.cohort import Cohort, Outcome
from visitwise.simulate import SCHEMA, Effects, Simulator, draw_outcome
from visitwise.visits import Schema, Visits

EVENT_CODE = "ICD10CM//N18.4 chronic kidney disease stage 4"

# --------------------------------------------------------------------------------------------- a world of coin flips


def coin_flips(n_patients: int, seed: int, *, hazard: float = 0.1) -> Cohort:
    """Patients whose event nothing foretells: after each visit a coin falls, the same for everybody.

    Lives are those of the simulator, without any event of its own. After each visit but the last the coin decides
    whether the event happens before the next one. That visit comes early, in a third of the time planned, and it and
    all later ones carry `EVENT_CODE`: records do not end with the event. The outcome is the honest one. Row `k` is the
    interval after visit `k`, so the visit that records the event lies one place behind the last row.

    Args:
        n_patients: Lives drawn; those with one visit are left out, as nobody saw what came after it.
        seed: Another seed, other patients.
        hazard: Probability of the event in each interval.
    """
    lives = Simulator(effects=Effects(), event_rate=None, intercept=-50.0).draw(n_patients, seed).cohort.visits
    lives = lives.select((lives.length > 1).nonzero()[:, 0])
    interval = torch.arange(int(lives.length.max()) - 1)
    known = interval < lives.length[:, None] - 1
    outcome = draw_outcome(torch.full(known.shape, hazard).where(known, torch.nan), seed=seed)
    falls_ill = torch.where(outcome.observed, outcome.stop, lives.length)[lives.patient]
    gap = torch.where(lives.index == falls_ill, (lives.gap / 3).ceil(), lives.gap)
    travelled = gap.cumsum(0)
    day = travelled - travelled[lives.visit_offsets[:-1]][lives.patient]
    schema = Schema.of((*SCHEMA.codes[1:], EVENT_CODE), SCHEMA.static, SCHEMA.measurements)
    visits = with_code(_with(lives, day=day, schema=schema), EVENT_CODE, lives.index >= falls_ill)
    seen = visits.day[visits.visit_offsets[:-1] + outcome.stop]
    return Cohort(visits, Outcome.of(outcome.stop, outcome.observed, followup_days=seen))


def with_code(visits: Visits, code: str, where: Bool[Tensor, " visit"]) -> Visits:
    """The same visits with one code of the schema added, behind the others, to some of them."""
    per_visit = visits.code_offsets.diff()
    offsets = offsets_of(per_visit + where)
    codes = visits.codes.new_full((int(offsets[-1]),), visits.schema.codes.index(code))
    codes[ranges(offsets[:-1], per_visit)] = visits.codes
    return _with(visits, codes=codes, code_offsets=offsets)


def without_code(visits: Visits, code: str) -> Visits:
    """The same visits with every record of one code taken out; the schema still names it."""
    keep = visits.codes != visits.schema.codes.index(code)
    visit = torch.repeat_interleave(visits.code_offsets.diff())
    per_visit = torch.bincount(visit[keep], minlength=visits.n_visits)
    return _with(visits, codes=visits.codes[keep], code_offsets=offsets_of(per_visit))


def _with(visits: Visits, **changed: object) -> Visits:
    names = ("codes", "code_offsets", "visit_offsets", "day", "patient_id", "static", "measurements", "schema")
    return Visits(**{name: getattr(visits, name) for name in names} | changed)


# --------------------------------------------------------------------------------------------- ways to look ahead


def label_the_visit_itself(cohort: Cohort) -> Cohort:
    """The event is labelled at the visit that records it: each row reads the visit at its end."""
    outcome = cohort.outcome
    later = Outcome.of(outcome.stop + 1, outcome.observed, start=outcome.start + 1, followup_days=outcome.followup_days)
    return Cohort(cohort.visits, later)


def keep_the_last_visits(cohort: Cohort, n_visits: int) -> Cohort:
    """Records longer than this lose their *first* visits, while rows are still counted from where they began."""
    visits, stop = cohort.visits, cohort.outcome.stop
    length = visits.length.clamp(max=n_visits)
    kept = ranges(visits.visit_offsets[1:] - length, length)
    reach = stop.clamp(max=length)
    outcome = Outcome.of(reach, cohort.outcome.observed & (reach == stop))
    return Cohort(_rows_of(visits, kept, length, visits.day[kept]), outcome)


def keep_the_first_visits(cohort: Cohort, n_visits: int) -> Cohort:
    """Records longer than this lose their last visits, and rows end there: the honest way to cut."""
    length = cohort.visits.length.clamp(max=n_visits)
    visits = cohort.visits.select(torch.arange(len(cohort)), length)
    reach = cohort.outcome.stop.clamp(max=length)
    return Cohort(visits, Outcome.of(reach, cohort.outcome.observed & (reach == cohort.outcome.stop)))


def _rows_of(
    visits: Visits, kept: Int[Tensor, " kept"], length: Int[Tensor, " patient"], day: Float[Tensor, " kept"]
) -> Visits:
    per_visit = visits.code_offsets.diff()[kept]
    return _with(
        visits,
        codes=visits.codes[ranges(visits.code_offsets[kept], per_visit)],
        code_offsets=offsets_of(per_visit),
        visit_offsets=offsets_of(length),
        day=day,
        measurements=visits.measurements[kept],
    )


def add_gap_to_next_visit(cohort: Cohort) -> Cohort:
    """Each visit is told how many days it is to the next one, as a table of visits with a lead column has it."""
    visits = cohort.visits
    gap = visits.gap.roll(-1).index_fill(0, visits.visit_offsets[1:] - 1, torch.nan)
    schema = Schema(visits.schema.codes, visits.schema.static, ("days to next visit",))
    return Cohort(_with(visits, measurements=gap[:, None].float(), schema=schema), cohort.outcome)


def backdate_event_code(cohort: Cohort) -> Cohort:
    """The event's code is entered at the visit before, where the illness is later said to have begun."""
    visits, outcome = cohort.visits, cohort.outcome
    before = (visits.index == outcome.stop[visits.patient] - 1) & outcome.observed[visits.patient]
    return Cohort(with_code(visits, EVENT_CODE, before), outcome)


def shuffle_visits(visits: Visits, *, seed: int) -> Visits:
    """What each patient's visits hold, in random order on the same days."""
    luck = torch.from_numpy(np.random.default_rng(seed).random(visits.n_visits))
    order = torch.from_numpy(np.lexsort((luck.numpy(), visits.patient.numpy())))
    return _rows_of(visits, order, visits.length, visits.day)


# ---------------------------------------------------------------------------------------- wrong answers: where rows end


def as_it_was(stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]) -> Int[Tensor, " patient"]:
    """The visit that records the event is still an input."""
    return stop


def events_alone(stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]) -> Int[Tensor, " patient"]:
    """Only those with the event are moved."""
    return stop - observed.long()


def one_too_many(stop: Int[Tensor, " patient"], observed: Bool[Tensor, " patient"]) -> Int[Tensor, " patient"]:
    """Two visits earlier: the event is asked for one interval before it happens."""
    return stop - 2


STOP = {
    "as_it_was": Mistake("those are the rows that end at the visit with the event in it", as_it_was),
    "events_alone": Mistake(
        "the rows of the censored were labelled at the visit at their end, too; they move as well", events_alone
    ),
    "one_too_many": Mistake("that is two visits earlier; one is enough", one_too_many),
}
"""Wrong `stop` after the shift, of the `stop` before it and of who was seen to have the event."""


# ------------------------------------------------------------------------- wrong answers: what a cut record's row reads


def the_same_visit(length: Int[Tensor, ""], kept: Int[Tensor, ""], row: Int[Tensor, ""]) -> Int[Tensor, ""]:
    """As if the first visits had been kept."""
    return row


def from_the_end(length: Int[Tensor, ""], kept: Int[Tensor, ""], row: Int[Tensor, ""]) -> Int[Tensor, ""]:
    """Counted back from the last visit."""
    return length - 1 - row


def one_visit_late(length: Int[Tensor, ""], kept: Int[Tensor, ""], row: Int[Tensor, ""]) -> Int[Tensor, ""]:
    """Visits counted from 1."""
    return length - kept + row + 1


VISIT_READ = {
    "the_same_visit": Mistake("so it would be if the first visits had been kept", the_same_visit),
    "from_the_end": Mistake("that counts back from the last visit; rows are counted from the first one", from_the_end),
    "one_visit_late": Mistake("visits are counted from 0", one_visit_late),
}
"""Wrong visits that a row reads, of a record's length, how many of its last visits are kept, and the row."""


# ---------------------------------------------------------------------------- wrong answers: how far hazards have moved


def over_all_visits(
    before: Float[Tensor, "patient visit"], after: Float[Tensor, "patient visit"], last_kept: Int[Tensor, " patient"]
) -> Float[Tensor, " patient"]:
    """The edited visits count as well."""
    return (after - before).abs().nan_to_num(0.0).amax(1)


def before_the_kept_visit(
    before: Float[Tensor, "patient visit"], after: Float[Tensor, "patient visit"], last_kept: Int[Tensor, " patient"]
) -> Float[Tensor, " patient"]:
    """The last visit that was kept is left out."""
    earlier = torch.arange(before.shape[1]) < last_kept[:, None]
    return (after - before).abs().where(earlier, 0.0).amax(1)


def at_the_kept_visit(
    before: Float[Tensor, "patient visit"], after: Float[Tensor, "patient visit"], last_kept: Int[Tensor, " patient"]
) -> Float[Tensor, " patient"]:
    """Only the last visit that was kept."""
    return (after - before).abs().gather(1, last_kept[:, None])[:, 0]


def upwards_alone(
    before: Float[Tensor, "patient visit"], after: Float[Tensor, "patient visit"], last_kept: Int[Tensor, " patient"]
) -> Float[Tensor, " patient"]:
    """A hazard that falls does not count."""
    kept = torch.arange(before.shape[1]) <= last_kept[:, None]
    return (after - before).where(kept, 0.0).amax(1)


LARGEST_MOVE = {
    "over_all_visits": Mistake("later visits were edited; their hazards may move", over_all_visits),
    "before_the_kept_visit": Mistake("the last visit that was kept counts, too", before_the_kept_visit),
    "at_the_kept_visit": Mistake("look at the visits before the last one that was kept, too", at_the_kept_visit),
    "upwards_alone": Mistake("a hazard that falls has moved as well", upwards_alone),
}
"""Wrong distances that a patient's hazards have moved, of hazards before and after, and of the last visit kept."""
