"""Looks for the future among the inputs: by editing later visits under a model, and by ranking with single columns.

A leak is information about a row's outcome that is not there yet when the row begins. Three things give one away: a
hazard that moves when only *later* visits are changed, the outcome's own code among the inputs, and a single column
that ranks rows better than medicine does. What passes is not proven clean: a leak spread over weak columns, a split
with one patient on both sides, or a choice of columns made on everybody leaves no such trace.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn
from tqdm import tqdm

from visitwise import metrics
from visitwise._explain import explained
from visitwise._ragged import offsets_of, ranges, refuse, trusted
from visitwise.cohort import Cohort
from visitwise.functional import person_period
from visitwise.visits import Visits

Kind = Literal["future", "outcome code", "code", "static", "measurement", "time"]
Model = Callable[[Visits], Tensor]
Array = NDArray[np.float64]

EVENTS_NEEDED = 10
STRONGEST = 10
AT_ONCE = 128


@dataclass(frozen=True)
class Finding:
    """One thing that should not be there.

    Args:
        kind: `"future"` if a hazard moved with later visits, `"outcome code"`, or which kind of column ranks too well.
        name: Which edit, code or column.
        value: How far the hazard moved; how many patients have the outcome code; the AUC of the column.
        sentence: All of it in words.
    """

    kind: Kind
    name: str
    value: float
    sentence: str


@dataclass(frozen=True, repr=False)
class LeakReport:
    """What was found, and what was looked at to find it; printed, it says both.

    Args:
        findings: Leaks, or what looks like one; empty if there is none.
        notes: What is no leak by itself, and what could not be looked at.
        looked_at: What was looked at.
        strongest: The columns furthest from chance, at most ten, each with its incident/dynamic AUC.
    """

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    looked_at: tuple[str, ...]
    strongest: tuple[tuple[str, float], ...]

    def __repr__(self) -> str:
        found = len(self.findings)
        lines = [f"{found or 'no'} finding{'' if found == 1 else 's'}"]
        lines += [f"  ! {finding.sentence}" for finding in self.findings]
        lines += [f"  looked at {what}" for what in self.looked_at]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def raise_if_any(self) -> None:
        """Refuse to go on with a leak.

        Raises:
            ValueError: There is a finding; the message holds all of them.
        """
        if self.findings:
            raise ValueError("; ".join(finding.sentence for finding in self.findings))


@explained
def check_no_leak(
    cohort: Cohort,
    model: Model | None = None,
    *,
    outcome_codes: Sequence[str] = (),
    auc_above: float = 0.95,
    patients: int = 500,
    cuts: int = 3,
    tolerance: float = 1e-4,
    seed: int = 0,
    strict: bool = False,
    progress: bool = True,
) -> LeakReport:
    """Say what of the future stands among the inputs of a cohort, or reaches a model's hazards.

    - With a model: some visits are chosen for each of some patients, everything after them is replaced by
      `edit_later_visits`, and then cut off. The hazards up to the chosen visit have to stay as they were.
    - Outcome codes are looked for at the visits that are input to a row at risk, or come before one.
    - Each code (at the visit, and so far), static feature, measurement (its last value, and whether it was taken) and
      the gap before the visit ranks the rows at risk by itself; `visitwise.metrics.incident_dynamic_auc` judges it. In
      either direction, more than `auc_above` is a finding. With fewer than ten events no column is judged.

    A finding is a reason to look, not a proof, and no finding proves nothing: see the module.

    Args:
        cohort: The patients, as the model gets them.
        model: Turns visits into hazard logits `[patient, visit]` (more axes may follow); a module is put into
            evaluation mode meanwhile.
        outcome_codes: What records the event, such as `MEDS_DEATH`; a name stands for itself and for all codes that go
            on with `//` or with a space and a title, so `MEDS_DEATH//` is the same.
        auc_above: A single column should not rank better than this.
        patients: How many patients' visits are edited, drawn at random.
        cuts: How many visits are chosen for each of them.
        tolerance: How far a logit may move, on the scale of `1 + |logit|`: rounding.
        seed: Decides who is drawn, and what stands in an edited visit.
        strict: Whether to raise if there is a finding.
        progress: Whether to show a progress bar if it takes longer than two seconds.

    Raises:
        ValueError: A setting is impossible, the model answers in another shape or differently each time, or, with
            `strict`, there is a finding.

    Examples:
        >>> from visitwise.check.leakage import EVENT_CODE, coin_flips, label_the_visit_itself
        >>> honest = coin_flips(500, seed=0)
        >>> len(check_no_leak(honest, outcome_codes=[EVENT_CODE]).findings)
        0
        >>> report = check_no_leak(label_the_visit_itself(honest))
        >>> report.findings[0].name.split()[0], report.findings[0].value
        ('ICD10CM//N18.4', 1.0)
    """
    if not 0.5 <= auc_above <= 1:
        raise ValueError(f"auc_above is {auc_above}; expected 0.5 to 1")
    if patients < 1 or cuts < 1:
        raise ValueError(f"patients is {patients} and cuts {cuts}; expected both at least 1")
    if isinstance(outcome_codes, str):
        raise ValueError(f"outcome_codes is the text {outcome_codes!r}; expected a list of names")
    found = _Found([], [], [])
    ranked: list[tuple[str, float]] = []
    if model is None:
        found.notes.append("no model was given, so no visit was edited")
    else:
        _edit_under(model, cohort.visits, found, patients, cuts, tolerance, seed, progress)
    if outcome_codes:
        _look_for(outcome_codes, cohort, found)
    else:
        found.notes.append("no outcome code was named, so none was looked for")
    events = int(cohort.outcome.observed.sum())
    if events < EVENTS_NEEDED:
        found.notes.append(f"too few events to judge single columns: {events}; expected at least {EVENTS_NEEDED}")
    else:
        ranked = _rank_columns(cohort, found, auc_above, progress)
    report = LeakReport(tuple(found.findings), tuple(found.notes), tuple(found.looked_at), tuple(ranked))
    if strict:
        report.raise_if_any()
    return report


@dataclass
class _Found:
    findings: list[Finding]
    notes: list[str]
    looked_at: list[str]


# -------------------------------------------------------------------------------------------------- later visits edited


@explained
def edit_later_visits(visits: Visits, last_kept: Int[Tensor, " patient"], *, seed: int) -> Visits:
    """The same records up to one visit of each patient; all that comes after it is replaced at random.

    Later visits get other codes of the schema, none to four of them, other gaps and other measurements. Their number
    stays. What a model says up to the visit that is kept must not change.

    Args:
        visits: The patients' visits.
        last_kept: The last visit of each patient that stays as it is, from 0.
        seed: Another seed, other visits.

    Raises:
        ValueError: `last_kept` is no visit of the patient, or has another length than the patients.

    Examples:
        >>> visits = Visits.from_lists([[["a"], ["b"], ["a"]]], day=[[0, 30, 60]])
        >>> edited = edit_later_visits(visits, torch.tensor([1]), seed=0)
        >>> edited.day[:2].tolist(), edited.codes[: edited.code_offsets[2]].tolist()
        ([0.0, 30.0], [1, 2])
        >>> bool(edited.day[2] == visits.day[2])
        False
    """
    if last_kept.shape != visits.patient_id.shape:
        raise ValueError(f"last_kept has shape {list(last_kept.shape)}; expected [{len(visits)}], one a patient")
    outside = (last_kept < 0) | (last_kept >= visits.length)
    message = "keeps visits up to {}; expected one from 0 to below {}"
    refuse(outside, visits.patient_id, last_kept, message, visits.length)
    random, device = np.random.default_rng(seed), visits.day.device
    later = visits.index > last_kept[visits.patient]
    n, n_codes = visits.n_visits, len(visits.schema.codes)
    drawn = torch.from_numpy(random.integers(0, 5 if n_codes > 1 else 1, n)).to(device)
    per_visit = torch.where(later, drawn, visits.code_offsets.diff())
    offsets = offsets_of(per_visit)
    codes = torch.from_numpy(random.integers(1, max(n_codes, 2), int(offsets[-1]))).to(visits.codes)
    old, new = visits.code_offsets[:-1][~later], offsets[:-1][~later]
    codes[ranges(new, per_visit[~later])] = visits.codes[ranges(old, per_visit[~later])]
    # Added up from the visit that is kept, so that no day before it passes through a sum.
    added = torch.where(later, torch.from_numpy(random.uniform(1, 200, n)).to(visits.day), 0.0).cumsum(0)
    kept = visits.visit_offsets[:-1] + last_kept
    elsewhere = (visits.day[kept] - added[kept])[visits.patient] + added
    measured = torch.from_numpy(random.normal(0, 100, visits.measurements.shape)).to(visits.measurements)
    return trusted(
        type(visits),
        codes=codes,
        code_offsets=offsets,
        visit_offsets=visits.visit_offsets,
        day=torch.where(later, elsewhere, visits.day),
        patient_id=visits.patient_id,
        static=visits.static,
        measurements=torch.where(later[:, None], measured, visits.measurements),
        schema=visits.schema,
    )


def _edit_under(
    model: Model, visits: Visits, found: _Found, patients: int, cuts: int, tolerance: float, seed: int, progress: bool
) -> None:
    random = np.random.default_rng(seed)
    longer = (visits.length > 1).nonzero()[:, 0].cpu().numpy()
    if len(longer) == 0:
        found.notes.append("nobody has a second visit, so there was none to edit")
        return
    chosen = random.permutation(longer)[:patients]
    edits = {"replaced": _Moves(), "cut off": _Moves()}
    batches = np.array_split(chosen, -(-len(chosen) // AT_ONCE))
    with _evaluating(model):
        for batch in tqdm(batches, desc="editing visits", delay=2, leave=False, disable=not progress):
            some = visits.select(torch.from_numpy(batch).to(visits.day.device))
            before = _answer(model, some)
            again = _answer(model, some)
            if bool(_apart(before, again, tolerance).any()):
                raise ValueError("the model gives other hazards when it is asked again; expected the same each time")
            for _ in range(cuts):
                last = torch.from_numpy(random.integers(0, some.length.cpu().numpy() - 1)).to(some.length)
                other = edit_later_visits(some, last, seed=int(random.integers(2**31)))
                edits["replaced"].compare(some, last, before, _answer(model, other), tolerance)
                short = some.select(torch.arange(len(some), device=last.device), last + 1)
                edits["cut off"].compare(some, last, before, _answer(model, short), tolerance)
    found.looked_at.append(f"the model, with the later visits of {len(chosen)} patients replaced and cut off")
    for name, moves in edits.items():
        found.findings.extend(moves.told(name))


class _Moves:
    """The largest move of a hazard that one kind of edit makes, and how many patients it moves."""

    def __init__(self) -> None:
        self.patients: set[int] = set()
        self.largest = -1.0
        self.where = ""

    def compare(self, visits: Visits, last: Tensor, before: Tensor, after: Tensor, tolerance: float) -> None:
        width = min(before.shape[1], after.shape[1])
        before, after = before[:, :width], after[:, :width]
        kept = torch.arange(width, device=last.device) <= last[:, None]
        moved = _apart(before, after, tolerance) & kept.reshape(*kept.shape, *[1] * (before.dim() - 2))
        if not bool(moved.any()):
            return
        h, other = torch.sigmoid(before.double()), torch.sigmoid(after.double())
        distance = (h - other).abs().nan_to_num(nan=1.0).masked_fill(~moved, -1.0)
        place = np.unravel_index(int(distance.argmax()), distance.shape)
        who, visit = int(place[0]), int(place[1])
        self.patients |= set(visits.patient_id[moved.flatten(1).any(1)].tolist())
        if float(distance[place]) > self.largest:
            self.largest = float(distance[place])
            self.where = (
                f"the hazard of patient {int(visits.patient_id[who])} at visit {visit} is {float(h[place]):.4g}, and "
                f"{float(other[place]):.4g} with all after visit {int(last[who])}"
            )

    def told(self, name: str) -> Iterator[Finding]:
        if self.patients:
            rest = f" {name}; expected no change (such hazards: of {len(self.patients)} patients)"
            yield Finding("future", name, self.largest, self.where + rest)


def _answer(model: Model, visits: Visits) -> Tensor:
    logits = torch.as_tensor(model(visits)).detach()
    expected = [len(visits), int(visits.length.max())]
    if list(logits.shape[:2]) != expected:
        raise ValueError(f"the model answers with the shape {list(logits.shape)}; expected {expected}, logits by visit")
    return logits


def _apart(one: Tensor, other: Tensor, tolerance: float) -> Tensor:
    """Where two logits differ by more than rounding; NaN and infinities equal themselves."""
    same = (one == other) | (one.isnan() & other.isnan())
    scale = torch.where(one.isfinite(), 1 + one.abs(), 1)
    near = (one - other).abs() <= tolerance * scale
    return ~(same | near)


@contextmanager
def _evaluating(model: Model) -> Iterator[None]:
    """Evaluation mode and no gradients, and afterwards the mode that was, of each part by itself."""
    parts = list(model.modules()) if isinstance(model, nn.Module) else []
    was_training = [part.training for part in parts]
    if isinstance(model, nn.Module):
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, before in zip(parts, was_training, strict=True):
            part.training = before


# ------------------------------------------------------------------------------------------------------- outcome codes


def _look_for(outcome_codes: Sequence[str], cohort: Cohort, found: _Found) -> None:
    visits, outcome = cohort.visits, cohort.outcome
    stems = {name.rstrip("/") for name in outcome_codes}
    places = [
        place
        for place, name in enumerate(visits.schema.codes)
        if place and any(name == stem or name.startswith((f"{stem}//", f"{stem} ")) for stem in stems)
    ]
    found.looked_at.append(f"codes of the vocabulary that record the outcome: {len(places)}")
    if not places:
        named = ", ".join(sorted(stems))
        found.notes.append(f"no code of the vocabulary is {named} or goes on from there")
    of_code = torch.repeat_interleave(visits.code_offsets.diff())
    is_input = (visits.index < outcome.stop[visits.patient])[of_code]
    for place in places:
        visit = of_code[is_input & (visits.codes == place)]
        if len(visit) == 0:
            continue
        who = visits.patient[visit].unique()
        first, name = int(visit[0]), visits.schema.codes[place]
        found.findings.append(
            Finding(
                "outcome code",
                name,
                float(len(who)),
                f"the outcome code {name!r} is an input of {len(who)} patients, such as patient "
                f"{int(visits.patient_id[visits.patient[first]])} at visit {int(visits.index[first])}; expected none",
            )
        )


# ------------------------------------------------------------------------------------------------------ single columns


def _rank_columns(cohort: Cohort, found: _Found, auc_above: float, progress: bool) -> list[tuple[str, float]]:
    """The AUC of each column by itself; tells those above the limit, and returns the strongest."""
    try:
        rows = _Rows(cohort)
    except ValueError as reason:  # each row has only events, or only patients who survive it
        found.notes.append(f"no column was judged: {reason}")
        return []
    kinds: dict[str, Kind] = {}
    aucs: dict[str, float] = {}
    words: dict[str, str] = {}

    def add(kind: Kind, name: str, detail: str, auc: float) -> None:
        if name in aucs and abs(auc - 0.5) <= abs(aucs[name] - 0.5):
            return  # a code is judged at the visit and so far; the stronger of the two is told
        kinds[name], aucs[name], words[name] = kind, auc, detail

    schema = cohort.visits.schema
    now, so_far = rows.code_aucs()
    for place, name in enumerate(schema.codes[1:], start=1):
        add("code", name, f"the code {name!r} at the visit", float(now[place]))
        add("code", name, f"the code {name!r} so far", float(so_far[place]))
    numbers = list(_numbers(cohort.visits))
    for kind, name, detail, values in tqdm(numbers, desc="ranking columns", delay=2, leave=False, disable=not progress):
        add(kind, name, detail, rows.auc(values))
    found.looked_at.append(
        f"{len(aucs)} columns: {len(schema.codes) - 1} codes, {len(schema.static)} static features, "
        f"{len(schema.measurements)} measurements, the gap"
    )
    for name, auc in aucs.items():
        if max(auc, 1 - auc) > auc_above:
            expected = f"expected {1 - auc_above:.2g} to {auc_above:g}"
            sentence = f"{words[name]} alone ranks the rows with an AUC of {auc:.3f}; {expected}"
            found.findings.append(Finding(kinds[name], name, auc, sentence))
    length = rows.auc(-cohort.visits.length[cohort.visits.patient].double().cpu().numpy())
    if max(length, 1 - length) > auc_above:
        found.notes.append(
            f"how short the whole record is has an AUC of {length:.3f}: no model may see where a record ends"
        )
    strongest = sorted(aucs.items(), key=lambda item: -abs(item[1] - 0.5))[:STRONGEST]
    return [(words[name], auc) for name, auc in strongest]


def _numbers(visits: Visits) -> Iterator[tuple[Kind, str, str, Array]]:
    """Each numeric column at every visit, NaN where there is no number."""
    schema, patient = visits.schema, visits.patient
    for place, name in enumerate(schema.static):
        yield "static", name, f"the static feature {name!r}", visits.static[patient, place].double().cpu().numpy()
    known, _ = visits.last_known()
    for place, name in enumerate(schema.measurements):
        taken = (~visits.measurements[:, place].isnan()).double().cpu().numpy()
        yield "measurement", name, f"the last value of {name!r}", known[:, place].double().cpu().numpy()
        yield "measurement", f"{name} taken", f"whether {name!r} was measured", taken
    yield "time", "gap", "the gap before the visit", visits.gap.cpu().numpy()


class _Rows:
    """The rows at risk, and what each adds to the AUC of a column that is 1 there and 0 elsewhere.

    In row `k` a column of zeros and ones has the AUC `1/2 + (share of cases with it - share of controls with it) / 2`,
    and the score is the mean over rows with the weights of `incident_dynamic_auc`. So a one adds `w_k / (2 cases_k)`
    where the event fell and takes `w_k / (2 controls_k)` where it was survived, and codes are judged by one sum each.
    """

    def __init__(self, cohort: Cohort) -> None:
        self.visits, self.outcome = cohort.visits, cohort.outcome
        rows = person_period(self.outcome.stop, self.outcome.observed, self.outcome.start)
        score = metrics.incident_dynamic_auc(torch.full((self.outcome.n_rows,), 0.5), self.outcome)
        table = metrics.kaplan_meier(self.outcome)
        if score.weights is None:
            raise ValueError("the score has no weights")
        cases, controls = (count.clamp(min=1).double() for count in (table.events, table.survived))
        case, control = (score.weights / (2 * count) for count in (cases, controls))
        visit = rows.visit.cpu()
        is_control = ~self.outcome.cut_short[rows.patient].cpu() | (visit < self.outcome.stop[rows.patient].cpu() - 1)
        at = (self.visits.visit_offsets[:-1][rows.patient] + rows.visit).cpu()
        self.row = at.numpy()
        self.adds = np.zeros(self.visits.n_visits)
        self.adds[self.row] = torch.where(rows.event.cpu(), case[visit], -control[visit] * is_control).numpy()

    def auc(self, values: Array) -> float:
        """AUC of one number a visit; a missing one lies in the middle."""
        at_risk = values[self.row]
        known = ~np.isnan(at_risk)
        place = np.full(len(at_risk), 0.5)
        place[known] = (rankdata(at_risk[known]) - 0.5) / max(int(known.sum()), 1)
        return float(metrics.incident_dynamic_auc(torch.from_numpy(place), self.outcome))

    def code_aucs(self) -> tuple[Array, Array]:
        """AUC of each code of the schema: recorded at the visit, and recorded so far."""
        visits, n_codes = self.visits, len(self.visits.schema.codes)
        visit = torch.repeat_interleave(visits.code_offsets.diff()).cpu().numpy()
        codes, patient = visits.codes.long().cpu().numpy(), visits.patient.cpu().numpy()
        _, once = np.unique(visit * n_codes + codes, return_index=True)  # a code counts once a visit
        now = np.bincount(codes[once], self.adds[visit[once]], minlength=n_codes)
        _, first = np.unique(patient[visit] * n_codes + codes, return_index=True)
        sums = np.concatenate([[0.0], self.adds.cumsum()])
        end = visits.visit_offsets[1:].cpu().numpy()
        from_here_on = sums[end[patient]] - sums[:-1]
        so_far = np.bincount(codes[first], from_here_on[visit[first]], minlength=n_codes)
        return (0.5 + now).clip(0, 1), (0.5 + so_far).clip(0, 1)  # sums end a rounding outside
