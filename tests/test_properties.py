"""What holds for any patients at all: Hypothesis makes them up, and looks for the smallest ones it does not hold for.

The profile of `conftest.py` draws the same examples in each run. What is true of one module's views alone stands with
that module's tests.
"""

import pickle
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import Tensor

from visitwise import functional as F
from visitwise import zoo
from visitwise.baselines import history_features
from visitwise.cohort import Cohort, Outcome
from visitwise.losses import outcome_competing_nll, outcome_horizon_nll, outcome_nll
from visitwise.model import CompetingRisksRNN, HorizonRNN, SurvivalRNN
from visitwise.tables import FROM_TABLE, study_from_table
from visitwise.visits import Schema, Visits

CODES = "abcde"
SCHEMA = Schema.of(CODES, static=["age"], measurements=["weight"])
NAN = float("nan")
PATHS = ("rows", "staircase", "packed", "padded")
KINDS = {SurvivalRNN: outcome_nll, CompetingRisksRNN: outcome_competing_nll, HorizonRNN: outcome_horizon_nll}


@dataclass(frozen=True)
class Patient:
    """One patient in plain Python."""

    who: int
    codes: tuple[tuple[str, ...], ...]
    gaps: tuple[int, ...]
    age: float
    weights: tuple[float | None, ...]
    start: int
    stop: int
    cause: int
    exposure: float

    @property
    def days(self) -> list[float]:
        return [float(sum(self.gaps[: k + 1])) for k in range(len(self.codes))]


@st.composite
def a_patient(draw: st.DrawFn, who: int, *, censored: bool = False) -> Patient:
    length = draw(st.integers(1, 6))
    of_each = {"min_size": length, "max_size": length}
    stop = draw(st.integers(1, length))
    cause = 0 if censored else draw(st.integers(0, 2))
    return Patient(
        who,
        tuple(draw(st.lists(st.lists(st.sampled_from(CODES), max_size=3).map(tuple), **of_each))),
        tuple(draw(st.lists(st.integers(1, 400), **of_each))),
        draw(st.floats(18, 99, width=32)),
        tuple(draw(st.lists(st.none() | st.floats(-3, 3, width=32), **of_each))),
        draw(st.integers(0, stop - 1)),
        stop,
        cause,
        1.0 if cause else draw(st.sampled_from([1.0, 0.5, 0.0])),
    )


@st.composite
def patients(draw: st.DrawFn, *, least: int = 1, most: int = 6, censored: bool = False) -> list[Patient]:
    ids = draw(st.lists(st.integers(0, 2**40), min_size=least, max_size=most, unique=True))
    return [draw(a_patient(who, censored=censored)) for who in ids]


def cohort_of(some: list[Patient]) -> Cohort:
    visits = Visits.from_lists(
        [one.codes for one in some],
        [one.days for one in some],
        schema=SCHEMA,
        patient_id=[one.who for one in some],
        static=[[one.age] for one in some],
        measurements=[[[NAN if weight is None else weight] for weight in one.weights] for one in some],
    )
    outcome = Outcome.of(
        torch.tensor([one.stop for one in some]),
        torch.tensor([one.cause > 0 for one in some]),
        start=torch.tensor([one.start for one in some]),
        cause=torch.tensor([one.cause for one in some]),
        censored_exposure=torch.tensor([one.exposure for one in some]),
    )
    return Cohort(visits, outcome)


def model_of(kind: type, path: str = "rows", seed: int = 0, **more: Any) -> Any:
    """A model that has something to say: its first weights, made larger."""
    model = kind(SCHEMA, embedding=4, hidden=5, path=path, seed=seed, **more)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    return model


def real(outputs: Tensor, cohort: Cohort) -> list[Tensor]:
    """What is said at each patient's visits, a tensor for each patient."""
    return [row[:length] for row, length in zip(outputs, cohort.visits.length.tolist(), strict=True)]


def assert_alike(one: list[Tensor], other: list[Tensor], tolerance: float = 2e-5) -> None:
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine.double(), theirs.double(), rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------------------------------------------------- predictions


@given(patients(), st.sampled_from(list(KINDS)))
def test_no_path_changes_a_prediction(some: list[Patient], kind: type) -> None:
    cohort = cohort_of(some)
    said = [real(model_of(kind, path).predict(cohort.visits)[0], cohort) for path in PATHS]
    for other in said[1:]:
        assert_alike(said[0], other)


@given(patients())
def test_the_dense_encoding_says_what_the_ragged_one_says(some: list[Patient]) -> None:
    visits = cohort_of(some).visits
    encoder = model_of(SurvivalRNN).encoder
    assert_alike([encoder(visits)], [visits.unpad(encoder.forward_dense(visits))])


@given(patients(least=2), st.sampled_from(list(KINDS)), st.sampled_from(PATHS), st.data())
def test_neither_order_nor_company_nor_batch_size_changes_a_prediction(
    some: list[Patient], kind: type, path: str, data: st.DataObject
) -> None:
    cohort, model = cohort_of(some), model_of(kind, path)
    together = real(model.predict(cohort.visits)[0], cohort)
    order = data.draw(st.permutations(range(len(some))))[: data.draw(st.integers(1, len(some)))]
    chosen = cohort.select(torch.tensor(order))
    batch_size = data.draw(st.integers(1, len(some)))
    said = real(model.predict(chosen.visits, batch_size=batch_size)[0], chosen)
    assert_alike(said, [together[place] for place in order])


@given(patients(), st.sampled_from(list(KINDS)), st.sampled_from(PATHS))
def test_precision_changes_no_more_than_rounding(some: list[Patient], kind: type, path: str) -> None:
    cohort, model = cohort_of(some), model_of(kind, path)
    single = real(model.predict(cohort.visits)[0], cohort)
    assert_alike(single, real(model.double().predict(cohort.visits)[0], cohort), tolerance=2e-4)


@given(patients(), st.sampled_from(PATHS), st.data())
def test_nothing_of_a_later_visit_reaches_an_earlier_prediction(
    some: list[Patient], path: str, data: st.DataObject
) -> None:
    cohort, model = cohort_of(some), model_of(SurvivalRNN, path)
    kept = torch.tensor([data.draw(st.integers(1, len(one.codes))) for one in some])
    cut = cohort.visits.select(torch.arange(len(some)), length=kept)
    whole = [row[:length] for row, length in zip(model(cohort.visits), kept.tolist(), strict=True)]
    assert_alike([row[:length] for row, length in zip(model(cut), kept.tolist(), strict=True)], whole)


@given(patients())
def test_a_patients_columns_do_not_depend_on_the_company(some: list[Patient]) -> None:
    visits = cohort_of(some).visits
    together = torch.from_numpy(history_features(visits))
    alone = [torch.from_numpy(history_features(visits.select(torch.tensor([i])))) for i in range(len(some))]
    assert_alike([together], [torch.cat(alone)])


# -------------------------------------------------------------------------------------------------------- probabilities

LOGITS = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=12)


@given(LOGITS)
def test_event_probabilities_and_survival_sum_to_one(values: list[float]) -> None:
    logits = torch.tensor(values, dtype=torch.float64)
    total = F.event_probability(logits).cumsum(0) + F.survival(logits)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)
    assert (F.survival(logits).diff() <= 0).all()


@given(LOGITS, st.integers(0, 11))
def test_a_missing_logit_is_missing_in_its_row_and_in_what_runs_on_from_it(values: list[float], place: int) -> None:
    """Functions of one row keep NaN where it was; running sums and products have it from there on, and not before."""
    place %= len(values)
    logits = torch.tensor(values, dtype=torch.float64)
    missing = logits.index_fill(0, torch.tensor([place]), NAN)
    row = torch.arange(len(values))
    for function, runs_on in ((F.hazard, False), (F.survival, True), (F.event_probability, True)):
        lost = row >= place if runs_on else row == place
        expected = function(logits).masked_fill(lost, NAN)
        torch.testing.assert_close(function(missing), expected, equal_nan=True)


@given(LOGITS, st.integers(1, 4))
def test_the_causes_and_survival_sum_to_one(values: list[float], n_causes: int) -> None:
    logits = torch.tensor(values, dtype=torch.float64)[:, None] - torch.arange(n_causes)
    survival = F.survival(F.all_cause_logits(logits))
    total = F.cumulative_incidence(logits).sum(-1) + survival
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)
    nothing = 1 - F.cause_hazard(logits).sum(-1)
    torch.testing.assert_close(nothing, 1 - F.hazard(F.all_cause_logits(logits)), rtol=0, atol=1e-12)


@given(st.lists(st.floats(-12, 12), min_size=1, max_size=8))
def test_every_way_to_write_hazards_leads_back_to_the_logits(values: list[float]) -> None:
    logits = torch.tensor(values, dtype=torch.float64)
    for there, back in (
        (F.hazard, F.logits_from_hazard),
        (F.cumulative_hazard, F.logits_from_cumulative_hazard),
    ):
        torch.testing.assert_close(F.hazard(back(there(logits))), F.hazard(logits), rtol=1e-6, atol=1e-9)
    gentle = logits.clamp(max=1.0)  # beyond, so little survival is left that its digits are gone
    for there, back in (
        (F.survival, F.logits_from_survival),
        (F.event_probability, F.logits_from_event_probability),
    ):
        torch.testing.assert_close(F.hazard(back(there(gentle))), F.hazard(gentle), rtol=1e-6, atol=1e-9)


@given(patients(), st.sampled_from(list(KINDS)))
def test_what_a_model_says_are_probabilities_that_add_up(some: list[Patient], kind: type) -> None:
    cohort = cohort_of(some)
    said = model_of(kind).predict(cohort.visits, start=cohort.outcome.start)
    at_risk = cohort.visits.mask & (torch.arange(cohort.visits.mask.shape[1]) >= cohort.outcome.start[:, None])
    for name, values in zip(said._fields, said, strict=True):
        assert values[at_risk].isfinite().all(), name
        assert values[~at_risk].isnan().all(), name
        if not name.endswith("logits"):
            assert ((values[at_risk] >= 0) & (values[at_risk] <= 1)).all(), name


# --------------------------------------------------------------------------------------------------------------- losses


def gradient_of(model: Any, cohort: Cohort, loss: Any, reduction: str = "mean") -> tuple[float, Tensor]:
    model.zero_grad()
    value = loss(model(cohort.visits), cohort.outcome, reduction)
    value.backward()
    slopes = [torch.zeros_like(each) if each.grad is None else each.grad for each in model.parameters()]
    return value.item(), torch.cat([slope.flatten() for slope in slopes])


@given(patients(censored=True), st.sampled_from(list(KINDS)), st.sampled_from(PATHS))
def test_an_all_censored_batch_teaches_if_anybody_was_followed(some: list[Patient], kind: type, path: str) -> None:
    cohort = cohort_of(some)
    value, slope = gradient_of(model_of(kind, path), cohort, KINDS[kind])
    followed = any(one.stop - one.start > 1 or one.exposure > 0 for one in some)
    assert 0 <= value < float("inf")
    assert slope.isfinite().all()
    assert (slope.abs().sum() > 0) == followed


@given(patients(most=1), st.sampled_from(list(KINDS)), st.sampled_from(PATHS))
def test_a_single_patient_teaches(some: list[Patient], kind: type, path: str) -> None:
    value, slope = gradient_of(model_of(kind, path), cohort_of(some), KINDS[kind])
    assert 0 <= value < float("inf")
    assert slope.isfinite().all()
    one = some[0]
    assert (slope.abs().sum() > 0) == (one.cause > 0 or one.stop - one.start > 1 or one.exposure > 0)


def in_the_zoo(name: str, logits: Tensor, outcome: Outcome, reduction: str) -> Tensor:
    rows = (logits, outcome.stop, outcome.observed)
    more = {"start": outcome.start, "reduction": reduction}
    losses = {
        "event weighted": lambda: zoo.event_weighted_nll(*rows, 3.0, **more),
        "focal": lambda: zoo.focal_loss(*rows, **more),
        "row weighted": lambda: zoo.row_weighted_nll(*rows, torch.ones_like(logits), **more),
        "squared error": lambda: zoo.squared_error(*rows, **more),
        "gaussian": lambda: zoo.gaussian_nll(logits, logits / 2, *rows[1:], **more),
        "smoothness": lambda: zoo.smoothness_penalty(*rows, **more),
        "likelihood": lambda: outcome_nll(logits, outcome, reduction),
    }
    return losses[name]()


NAMES = ("event weighted", "focal", "row weighted", "squared error", "gaussian", "smoothness", "likelihood")


@given(patients(), st.sampled_from(NAMES), st.sampled_from([NAN, float("inf"), -float("inf"), 1e30]), st.data())
def test_nothing_outside_the_rows_at_risk_leaks_into_a_loss_or_its_slope(
    some: list[Patient], name: str, rubbish: float, data: st.DataObject
) -> None:
    cohort = cohort_of(some)
    outcome, width = cohort.outcome, int(cohort.visits.length.max()) + data.draw(st.integers(0, 2))
    row = torch.arange(width)
    counted = (row >= outcome.start[:, None]) & (row < outcome.stop[:, None])
    clean = torch.linspace(-2, 2, counted.numel(), dtype=torch.float64).reshape(counted.shape)
    results = []
    for outside in (0.0, rubbish):
        logits = clean.where(counted, outside).requires_grad_()
        value = in_the_zoo(name, logits, outcome, "mean")
        (slope,) = torch.autograd.grad(value, logits)
        assert torch.equal(slope[~counted], torch.zeros_like(slope[~counted]))
        results.append((value.detach(), slope))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)


@given(patients(), st.sampled_from([NAN, float("inf")]), st.integers(1, 3))
def test_nothing_outside_the_rows_at_risk_leaks_into_causes_and_forecasts(
    some: list[Patient], rubbish: float, last: int
) -> None:
    cohort = cohort_of(some)
    outcome, width = cohort.outcome, int(cohort.visits.length.max())
    row = torch.arange(width)
    counted = ((row >= outcome.start[:, None]) & (row < outcome.stop[:, None]))[..., None]
    clean = torch.linspace(-2, 2, counted.numel() * (last + 1), dtype=torch.float64).reshape(*counted.shape[:2], -1)
    for loss in (outcome_competing_nll, outcome_horizon_nll):
        results = []
        for outside in (0.0, rubbish):
            logits = clean.where(counted, outside).requires_grad_()
            value = loss(logits, outcome)
            results.append((value.detach(), *torch.autograd.grad(value, logits)))
        torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)


@given(patients(least=2), st.sampled_from(list(KINDS)), st.data())
def test_a_cohort_cut_in_parts_has_the_loss_and_the_slope_of_the_whole(
    some: list[Patient], kind: type, data: st.DataObject
) -> None:
    cohort, model = cohort_of(some), model_of(kind).double()
    value, slope = gradient_of(model, cohort, KINDS[kind], "sum")
    cut = data.draw(st.integers(1, len(some) - 1))
    order = torch.tensor(data.draw(st.permutations(range(len(some)))))
    cuts = {
        "by hand": [cohort.select(order[:cut]), cohort.select(order[cut:])],
        "batches": list(cohort.batches(cut, seed=0)),
        "parts": list(cohort.parts(data.draw(st.integers(1, 20)))),
        "portions": list(cohort.portions(data.draw(st.integers(1, 20)))),
    }
    for name, parts in cuts.items():
        each = [gradient_of(model, part, KINDS[kind], "sum") for part in parts]
        assert sum(part for part, _ in each) == pytest.approx(value, rel=1e-9, abs=1e-12), name
        torch.testing.assert_close(sum(part for _, part in each), slope, rtol=1e-6, atol=1e-9)


@given(patients(), st.sampled_from(NAMES))
def test_the_mean_is_the_sum_over_patients_who_are_each_as_if_alone(some: list[Patient], name: str) -> None:
    cohort = cohort_of(some)
    logits = torch.linspace(-2, 2, cohort.visits.mask.numel(), dtype=torch.float64).reshape(cohort.visits.mask.shape)
    each = in_the_zoo(name, logits, cohort.outcome, "none")
    alone = [in_the_zoo(name, logits[[i]], cohort.outcome.select(torch.tensor([i])), "sum") for i in range(len(cohort))]
    torch.testing.assert_close(each, torch.stack(alone))
    torch.testing.assert_close(in_the_zoo(name, logits, cohort.outcome, "mean"), each.mean())


@given(patients())
def test_the_likelihood_is_the_same_dense_flat_and_as_a_person_period_table(some: list[Patient]) -> None:
    cohort = cohort_of(some)
    visits, outcome = cohort.visits, replace(cohort.outcome, censored_exposure=torch.ones(len(cohort)))
    flat = torch.linspace(-2, 2, visits.n_visits, dtype=torch.float64)
    dense = outcome_nll(visits.pad(flat, fill=NAN), outcome, "sum")
    ragged = F.hazard_nll_flat(
        flat, visits.visit_offsets, outcome.stop, outcome.observed, outcome.start, reduction="sum"
    )
    rows = F.person_period(outcome.stop, outcome.observed, outcome.start)
    at_risk = flat[visits.visit_offsets[rows.patient] + rows.visit]
    table = torch.nn.functional.binary_cross_entropy_with_logits(at_risk, rows.event.double(), reduction="sum")
    torch.testing.assert_close(dense, ragged)
    torch.testing.assert_close(dense, table)


# ---------------------------------------------------------------------------------------------------------- round trips


@given(patients(), st.integers(0, 2))
def test_padded_packed_and_person_period_views_lead_back_to_the_flat_one(some: list[Patient], axes: int) -> None:
    cohort = cohort_of(some)
    visits = cohort.visits
    shape = (visits.n_visits, *range(2, 2 + axes))
    values = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)
    assert torch.equal(visits.unpad(visits.pad(values, fill=NAN)), values)
    assert torch.equal(visits.unpack(visits.pack(values)), values)
    everybody = F.person_period(visits.length, torch.zeros(len(visits), dtype=torch.bool))
    assert torch.equal(visits.pad(values)[everybody.patient, everybody.visit], values)
    rows = F.person_period(cohort.outcome.stop, cohort.outcome.observed, cohort.outcome.start)
    at_each = [rows.visit[rows.patient == i] for i in range(len(cohort))]
    assert [int(own[0]) for own in at_each] == cohort.outcome.start.tolist()
    assert [int(own[-1]) + 1 for own in at_each] == cohort.outcome.stop.tolist()
    assert [bool(rows.event[rows.patient == i].any()) for i in range(len(cohort))] == cohort.outcome.observed.tolist()


@given(patients())
def test_the_padded_box_leads_back_to_the_lists(some: list[Patient]) -> None:
    box = cohort_of(some).visits.padded()
    lists = [
        [[SCHEMA.codes[code] for code in codes[mask].tolist()] for codes, mask in zip(record, masks, strict=True)]
        for record, masks in zip(box.codes, box.code_mask, strict=True)
    ]
    lists = [record[: int(real.sum())] for record, real in zip(lists, box.visit_mask, strict=True)]
    assert lists == [[list(visit) for visit in one.codes] for one in some]


@settings(max_examples=10)
@given(patients(most=3))
def test_a_cohort_leads_through_data_frames_back_to_itself(some: list[Patient]) -> None:
    """One row a record, as hospitals have them; times in days, and a visit for each day."""
    pd = pytest.importorskip("pandas")
    pytest.importorskip("polars")
    some = [replace(one, codes=tuple(visit or ("a",) for visit in one.codes)) for one in some]  # a visit has a record
    events = pd.DataFrame(
        [
            (one.who, day, code)
            for one in some
            for day, visit in zip(one.days, one.codes, strict=True)
            for code in dict.fromkeys(visit)
        ],
        columns=["patient", "time", "code"],
    )
    ends = [one.days[-1] + 1.0 for one in some]
    outcomes = pd.DataFrame(
        {
            "patient": [one.who for one in some],
            "event_time": [NAN] * len(some),
            "end_of_follow_up": ends,
            "split": "train",
        }
    )
    read = study_from_table(events, outcomes, definition=replace(FROM_TABLE, min_patients=1)).cohort
    names = read.visits.schema.codes
    by_id = {one.who: one for one in some}
    for i, who in enumerate(read.visits.patient_id.tolist()):
        own = read.visits.select(torch.tensor([i]))
        codes = [[names[code] for code in part.tolist()] for part in own.codes.split(own.code_offsets.diff().tolist())]
        one = by_id[who]
        assert [set(visit) for visit in codes] == [set(visit) for visit in one.codes]
        assert own.day.tolist() == pytest.approx([day - one.days[0] for day in one.days])


# ------------------------------------------------------------------------------------------- a cohort and all its ways


def plain(cohort: Cohort) -> list[Patient]:
    """A cohort as plain Python has it, read from its arrays."""
    visits, outcome, found = cohort.visits, cohort.outcome, []
    codes = [part.tolist() for part in visits.codes.split(visits.code_offsets.diff().tolist())]
    for i in range(len(cohort)):
        own = slice(int(visits.visit_offsets[i]), int(visits.visit_offsets[i + 1]))
        days = visits.day[own].tolist()
        found.append(
            Patient(
                int(visits.patient_id[i]),
                tuple(tuple(SCHEMA.codes[code] for code in visit) for visit in codes[own]),
                tuple(int(b - a) for a, b in zip([0.0, *days], days, strict=False)),
                float(visits.static[i, 0]),
                tuple(None if value != value else value for value in visits.measurements[own, 0].tolist()),
                int(outcome.start[i]),
                int(outcome.stop[i]),
                int(outcome.cause[i]),
                float(outcome.censored_exposure[i]),
            )
        )
    return found


class CohortAsALoopHasIt(RuleBasedStateMachine):
    """A cohort and a list of patients, to which the same things are done; they stay equal."""

    @initialize(some=patients(least=2, most=5))
    def begin(self, some: list[Patient]) -> None:
        self.expected, self.cohort = some, cohort_of(some)
        self.folder = tempfile.TemporaryDirectory()
        self.saved = 0

    @rule(data=st.data())
    def select(self, data: st.DataObject) -> None:
        """Some of them, in any order, each once at most."""
        n = len(self.expected)
        order = data.draw(st.permutations(range(n)))[: data.draw(st.integers(1, n))]
        counted = [place - n if data.draw(st.booleans()) else place for place in order]  # -1 is the last
        self.cohort = self.cohort.select(torch.tensor(counted))
        self.expected = [self.expected[place] for place in order]

    @rule(begin=st.integers(0, 3), step=st.sampled_from([1, 2, -1]))
    def cut_a_slice(self, begin: int, step: int) -> None:
        wanted = self.expected[begin::step]
        if not wanted:
            with pytest.raises(ValueError, match="expected at least one"):
                self.cohort[begin::step]
            return
        self.cohort, self.expected = self.cohort[begin::step], wanted

    @rule(data=st.data())
    def pick_by_a_mask(self, data: st.DataObject) -> None:
        mask = data.draw(st.lists(st.booleans(), min_size=len(self.expected), max_size=len(self.expected)))
        if any(mask):
            self.cohort = self.cohort[torch.tensor(mask)]
            self.expected = [one for one, kept in zip(self.expected, mask, strict=True) if kept]

    @precondition(lambda self: len(self.expected) < 9)
    @rule(more=patients(most=3), first=st.booleans())
    def join(self, more: list[Patient], first: bool) -> None:
        parts = [cohort_of(more), self.cohort] if first else [self.cohort, cohort_of(more)]
        known = {one.who for one in self.expected}
        if any(one.who in known for one in more):
            with pytest.raises(ValueError, match="is in two cohorts"):
                Cohort.concat(parts)
            return
        self.cohort = Cohort.concat(parts)
        self.expected = [*more, *self.expected] if first else [*self.expected, *more]

    @precondition(lambda self: len(self.expected) >= 2)
    @rule(seed=st.integers(0, 9), again=st.booleans())
    def split(self, seed: int, again: bool) -> None:
        parts = self.cohort.split([0.5, 0.5], seed=seed)
        by_id = {one.who: one for one in self.expected}
        kept = parts[0].visits.patient_id.tolist()
        other = parts[1].visits.patient_id.tolist()
        assert sorted([*kept, *other]) == sorted(by_id)
        self.cohort = Cohort.concat(parts) if again else parts[0]
        self.expected = [by_id[who] for who in ([*kept, *other] if again else kept)]

    @rule()
    def save_and_load(self) -> None:
        folder = Path(self.folder.name, str(self.saved))
        self.saved += 1
        self.cohort.save(folder)
        with pytest.raises(FileExistsError):
            self.cohort.save(folder)
        self.cohort = Cohort.load(folder)

    @rule()
    def pickle(self) -> None:
        self.cohort = pickle.loads(pickle.dumps(self.cohort))

    @rule(batch_size=st.integers(1, 4))
    def go_through_the_batches(self, batch_size: int) -> None:
        seen = [one for batch in self.cohort.batches(batch_size, seed=1) for one in plain(batch)]
        assert sorted(seen, key=lambda one: one.who) == sorted(self.expected, key=lambda one: one.who)

    @invariant()
    def both_are_equal(self) -> None:
        if hasattr(self, "cohort"):
            assert plain(self.cohort) == self.expected
            assert len(self.cohort) == len(self.expected)
            assert self.cohort.outcome.n_rows == sum(one.stop - one.start for one in self.expected)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            del self.cohort
            self.folder.cleanup()


TestCohortIsWhatALoopHas = CohortAsALoopHasIt.TestCase
TestCohortIsWhatALoopHas.settings = settings(max_examples=30, stateful_step_count=12, deadline=None)
