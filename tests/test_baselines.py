"""The baselines against slow loops, hand-worked numbers and scikit-learn itself."""

import math
from dataclasses import replace
from functools import partial

import lifelines
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.cohorts import random_cohort
from visitwise.baselines import (
    CoxHazard,
    Features,
    LifeTableHazard,
    LogisticHazard,
    best_constant_hazard,
    current_features,
    history_features,
    static_features,
)
from visitwise.check import likelihood
from visitwise.cohort import Cohort, Outcome
from visitwise.functional import hazard_nll, logits_from_cloglog
from visitwise.simulate import draw_outcome
from visitwise.visits import Schema, Visits

FEATURES = [static_features, current_features, history_features]


def columns_by_hand(visits: Visits) -> dict[str, np.ndarray]:
    """Each block of columns, by a loop over patients, visits and codes in lists."""
    n_codes, n_measurements = len(visits.schema.codes) - 1, len(visits.schema.measurements)
    blocks: dict[str, list[list[float]]] = {
        name: []
        for name in ("static", "now", "ever", "faded", "counted", "since", "value", "measured", "last", "known")
    }
    for i in range(len(visits)):
        first, end = int(visits.visit_offsets[i]), int(visits.visit_offsets[i + 1])
        days = visits.day[first:end].tolist()
        recorded = [
            set(visits.codes[int(visits.code_offsets[row]) : int(visits.code_offsets[row + 1])].tolist())
            for row in range(first, end)
        ]
        for k, day in enumerate(days):
            codes = range(1, n_codes + 1)
            blocks["static"].append([*visits.static[i].tolist(), k, (day - days[0]) / 365.25])
            blocks["now"].append([float(code in recorded[k]) for code in codes])
            ever = [float(any(code in recorded[j] for j in range(k + 1))) for code in codes]
            blocks["ever"].append(ever)
            blocks["faded"].append(
                [sum(math.exp((days[j] - day) / 365.25) for j in range(k + 1) if code in recorded[j]) for code in codes]
            )
            blocks["counted"].append([sum(ever)])
            blocks["since"].append([math.log(1 + day - days[k - 1]) if k > 0 else 0.0])
            now = [visits.measurements[first + k, m].item() for m in range(n_measurements)]
            past = [
                [v for v in visits.measurements[first : first + k + 1, m].tolist() if not math.isnan(v)]
                for m in range(n_measurements)
            ]
            blocks["value"].append([0.0 if math.isnan(v) else v for v in now])
            blocks["measured"].append([float(not math.isnan(v)) for v in now])
            blocks["last"].append([values[-1] if values else 0.0 for values in past])
            blocks["known"].append([float(bool(values)) for values in past])
    return {name: np.array(rows) for name, rows in blocks.items()}


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return random_cohort(80, seed=20)


@pytest.mark.parametrize(
    ("features", "blocks"),
    [
        (static_features, ["static"]),
        (current_features, ["static", "now", "value", "measured"]),
        (history_features, ["static", "now", "ever", "faded", "counted", "since", "last", "known"]),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_features_are_those_of_a_slow_loop(cohort: Cohort, features: Features, blocks: list[str]) -> None:
    by_hand = columns_by_hand(cohort.visits)
    wanted = np.concatenate([by_hand[name] for name in blocks], 1)
    np.testing.assert_allclose(features(cohort.visits), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("features", FEATURES)
def test_no_later_visit_changes_a_feature(cohort: Cohort, features: Features) -> None:
    visits, everyone = cohort.visits, torch.arange(len(cohort))
    whole = features(visits)
    for keep in (1, 2, 4):
        cut = visits.select(everyone, visits.length.clamp(max=keep))
        np.testing.assert_array_equal(features(cut), whole[(visits.index < keep).numpy()])


@pytest.mark.parametrize("features", FEATURES)
def test_no_other_patient_changes_a_feature(cohort: Cohort, features: Features) -> None:
    whole = features(cohort.visits)
    for place in (0, 1, 40, 79):
        alone = features(cohort.select(torch.tensor([place])).visits)
        np.testing.assert_allclose(alone, whole[(cohort.visits.patient == place).numpy()], rtol=1e-12)


# -------------------------------------------------------------------------------------------------- one hazard for all


def outcome_of(stop: list[int], observed: list[bool], **more: torch.Tensor) -> Outcome:
    return Outcome.of(torch.tensor(stop), torch.tensor(observed), **more)


@pytest.mark.parametrize("hazard", [1e-4, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_the_best_constant_hazard_is_events_over_rows(hazard: float) -> None:
    outcome = draw_outcome(torch.full((20_000, 4), hazard), dropout=0.2, seed=30)
    events, rows = int(outcome.observed.sum()), outcome.n_rows
    assert events > 0
    best = best_constant_hazard(hazard_nll, outcome)
    assert best == pytest.approx(events / rows, rel=1e-11, abs=0)
    assert best_constant_hazard(partial(hazard_nll, reduction="sum"), outcome) == pytest.approx(best, rel=1e-11, abs=0)


def test_the_best_constant_hazard_is_found_in_float64_whatever_the_default() -> None:
    outcome = outcome_of([3, 2, 4], [True, False, False])
    assert torch.get_default_dtype() == torch.float32
    assert best_constant_hazard(hazard_nll, outcome) == pytest.approx(1 / 9, rel=1e-14, abs=0)
    seen: list[torch.dtype] = []

    def loss(hazard_logits: torch.Tensor, stop: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        seen.append(hazard_logits.dtype)
        return hazard_nll(hazard_logits, stop, observed)

    best_constant_hazard(loss, outcome)
    assert set(seen) == {torch.float64}


def test_the_best_constant_hazard_belongs_to_its_loss() -> None:
    outcome = draw_outcome(torch.full((3_000, 4), 0.2), dropout=0.2, seed=31)
    events, rows, censored = int(outcome.observed.sum()), outcome.n_rows, int((~outcome.observed).sum())
    for loss, counted in [
        (likelihood.drop_censored_row, rows - censored),
        (likelihood.count_event_row_twice, rows + events),
        (likelihood.events_alone, int(outcome.stop[outcome.observed].sum())),
        (partial(hazard_nll, censored_exposure=0.5), rows - censored / 2),
    ]:
        assert best_constant_hazard(loss, outcome) == pytest.approx(events / counted, rel=1e-11)


def test_a_loss_that_is_smallest_at_one_half_is_found_there() -> None:
    assert best_constant_hazard(hazard_nll, outcome_of([2, 2], [True, True])) == 0.5


@pytest.mark.parametrize(("observed", "best"), [(True, 1.0), (False, 0.0)])
def test_nothing_but_events_or_none_at_all_puts_the_best_hazard_at_its_end(observed: bool, best: float) -> None:
    outcome = outcome_of([1, 1, 1], [observed] * 3)
    assert best_constant_hazard(hazard_nll, outcome) == best
    mixed = outcome_of([1, 1], [True, False])  # the wrong loss leaves only the event's row
    assert best_constant_hazard(likelihood.drop_censored_row, mixed) == 1.0


def test_a_loss_that_prefers_no_hazard_is_refused() -> None:
    nothing_left = outcome_of([1, 1], [False, False])
    with pytest.raises(ValueError, match="the loss is the same for every hazard"):
        best_constant_hazard(likelihood.drop_censored_row, nothing_left)
    with pytest.raises(ValueError, match=r"the loss is nan where every hazard is 0\.5"):
        best_constant_hazard(likelihood.events_alone, nothing_left)
    with pytest.raises(ValueError, match="the loss is the same for every hazard"):
        best_constant_hazard(lambda *_: torch.tensor(1.0), nothing_left)


def test_a_loss_for_each_patient_is_no_loss_to_make_small() -> None:
    with pytest.raises(ValueError, match=r"the loss has shape \[2\]; expected one number"):
        best_constant_hazard(partial(hazard_nll, reduction="none"), outcome_of([3, 2], [True, False]))


def test_an_empty_outcome_has_no_best_hazard() -> None:
    empty = Outcome.of(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.bool))
    with pytest.raises(ValueError, match="there is no patient to find a hazard for"):
        best_constant_hazard(hazard_nll, empty)


def test_what_the_loss_is_not_told_is_refused() -> None:
    late = outcome_of([3, 2], [True, False], start=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="patient 1 starts at row 1; expected 0"):
        best_constant_hazard(hazard_nll, late)
    partly = outcome_of([3, 2], [True, False], censored_exposure=torch.tensor([1.0, 0.5]))
    with pytest.raises(ValueError, match=r"patient 1 has the censored exposure 0\.5; expected 1"):
        best_constant_hazard(hazard_nll, partly)
    of_an_event = outcome_of([3, 2], [True, False], censored_exposure=torch.tensor([0.5, 1.0]))
    assert best_constant_hazard(hazard_nll, of_an_event) == pytest.approx(1 / 5)


# ----------------------------------------------------------------------------------------------- life table, regression


def rows_by_hand(cohort: Cohort) -> list[tuple[int, int, bool, float]]:
    """Patient, visit, event and weight of each row at risk with some follow-up."""
    outcome, rows = cohort.outcome, []
    for i in range(len(cohort)):
        for k in range(int(outcome.start[i]), int(outcome.stop[i])):
            last = k == int(outcome.stop[i]) - 1
            event = last and bool(outcome.observed[i])
            weight = float(outcome.censored_exposure[i]) if last and not event else 1.0
            if weight > 0:
                rows.append((i, k, event, weight))
    return rows


def test_the_life_table_counts_entries_and_parts_of_intervals_as_by_hand() -> None:
    """Row 0: 2.5 at risk (one enters later, one is followed for half of it) and 1 event. Row 1: 2 at risk, 1 event."""
    visits = Visits.from_lists([[["a"]] * 3] * 4, day=[[0, 1, 2]] * 4)
    outcome = Outcome.of(
        torch.tensor([1, 1, 2, 2]),
        torch.tensor([True, False, True, False]),
        start=torch.tensor([0, 0, 1, 0]),
        censored_exposure=torch.tensor([1.0, 0.5, 1.0, 1.0]),
    )
    overall = (2 + 0.5) / (4.5 + 1)
    wanted = torch.tensor([(1 + overall / 2) / 3, (1 + overall / 2) / 2.5, overall])
    hazard = LifeTableHazard.fit(Cohort(visits, outcome))(visits).sigmoid()
    torch.testing.assert_close(hazard, wanted.expand(4, 3))


def test_the_life_table_is_that_of_a_slow_loop_and_the_overall_rate_beyond_it(cohort: Cohort) -> None:
    train = random_cohort(60, seed=21, longest=4)
    assert train.outcome.start.any()
    assert (train.outcome.censored_exposure < 1).any()
    rows = rows_by_hand(train)
    overall = (sum(event for _, _, event, _ in rows) + 0.5) / (sum(weight for *_, weight in rows) + 1)
    reached = int(train.outcome.stop.max())
    wanted = []
    for k in range(int(cohort.visits.length.max())):
        events = sum(event for _, visit, event, _ in rows if visit == k)
        at_risk = sum(weight for _, visit, _, weight in rows if visit == k)
        wanted.append((events + overall / 2) / (at_risk + 0.5) if k < reached else overall)
    logits = LifeTableHazard.fit(train)(cohort.visits)
    assert torch.equal(logits.isnan(), ~cohort.visits.mask)
    expected = torch.tensor(wanted).expand(len(cohort), -1).masked_fill(~cohort.visits.mask, torch.nan)
    torch.testing.assert_close(logits.sigmoid(), expected, equal_nan=True)


@pytest.mark.parametrize("features", FEATURES)
def test_the_logistic_hazard_is_scikit_learns_on_the_weighted_person_period_rows(
    cohort: Cohort, features: Features
) -> None:
    train = random_cohort(120, seed=22, first_id=500)
    assert (train.outcome.censored_exposure == 0).any()
    rows = rows_by_hand(train)
    table, first = features(train.visits), train.visits.visit_offsets
    columns = np.stack([table[int(first[i]) + k] for i, k, _, _ in rows])
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    regression.fit(
        columns,
        [event for _, _, event, _ in rows],
        logisticregression__sample_weight=np.array([weight for *_, weight in rows]),
    )
    wanted = regression.decision_function(features(cohort.visits))
    logits = LogisticHazard.fit(train, features)(cohort.visits)
    assert torch.equal(logits.isnan(), ~cohort.visits.mask)
    np.testing.assert_allclose(cohort.visits.unpad(logits).numpy(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("features", FEATURES)
def test_the_cox_hazard_makes_the_penalised_likelihood_of_a_slow_loop_smallest(
    cohort: Cohort, features: Features
) -> None:
    train = random_cohort(120, seed=22, first_id=500)
    assert (train.outcome.censored_exposure == 0).any()
    rows = rows_by_hand(train)
    table, first = features(train.visits), train.visits.visit_offsets
    columns = np.stack([table[int(first[i]) + k] for i, k, _, _ in rows])
    mean, spread = columns.mean(0), columns.std(0)
    spread[spread == 0] = 1.0
    reached = max(k for _, k, _, _ in rows) + 1
    overall = (sum(event for _, _, event, _ in rows) + 0.5) / (sum(weight for *_, weight in rows) + 1)

    def loss(at: np.ndarray) -> float:
        level, coefficient = at[:reached], at[reached:]
        total = float((coefficient**2).sum() / 2)
        for (_, k, event, weight), row in zip(rows, (columns - mean) / spread, strict=True):
            rate = math.exp(level[k] + float(row @ coefficient))
            total -= math.log(-math.expm1(-rate)) if event else -weight * rate
        for rate in np.exp(level):
            total -= 0.5 * (overall * math.log(-math.expm1(-rate)) - (1 - overall) * rate)
        return total

    model = CoxHazard.fit(train, features)
    at = np.concatenate([model.level.numpy(), model.coefficient.numpy()])
    nudges = 1e-5 * np.eye(len(at))
    slope = [(loss(at + nudge) - loss(at - nudge)) / 2e-5 for nudge in nudges]
    np.testing.assert_allclose(slope, 0, atol=1e-6)

    assert model.beyond == pytest.approx(math.log(-math.log(1 - overall)))
    wanted = (features(cohort.visits) - mean) / spread @ at[reached:]
    index = cohort.visits.index.numpy()
    wanted += np.where(index < reached, at[np.minimum(index, reached - 1)], model.beyond)
    logits = model(cohort.visits)
    assert torch.equal(logits.isnan(), ~cohort.visits.mask)
    np.testing.assert_allclose(cohort.visits.unpad(logits).sigmoid(), -np.expm1(-np.exp(wanted)), rtol=1e-5, atol=1e-7)


def test_where_no_column_tells_anything_the_cox_hazard_is_the_life_table(cohort: Cohort) -> None:
    train = random_cohort(60, seed=21, longest=4)

    def nothing(visits: Visits) -> np.ndarray:
        return np.ones((visits.n_visits, 1))

    model = CoxHazard.fit(train, nothing)
    assert model.coefficient.tolist() == [0.0]
    assert int(cohort.visits.length.max()) > len(model.level)
    torch.testing.assert_close(model(cohort.visits), LifeTableHazard.fit(train)(cohort.visits), equal_nan=True)


def test_a_column_that_all_patients_share_at_a_visit_is_left_to_the_levels() -> None:
    train = random_cohort(200, seed=23)
    visit_number = static_features(train.visits)[:, 1]
    np.testing.assert_array_equal(visit_number, train.visits.index)
    # Half a row for each level holds it a little, too; nothing else does.
    assert abs(CoxHazard.fit(train, static_features).log_hazard_ratio[1]) < 0.02
    assert abs(CoxHazard.fit(train, static_features).log_hazard_ratio[0]) < 0.05


def world_of_one_column(n_patients: int, n_visits: int, *, level: float, effect: float) -> Cohort:
    """A normal measurement, new at each visit, that multiplies a small hazard."""
    measured = np.random.default_rng(31).normal(size=(n_patients, n_visits, 1))
    cloglog = torch.from_numpy(level + effect * measured[..., 0])
    outcome = draw_outcome(logits_from_cloglog(cloglog).sigmoid(), dropout=0.02, seed=32)
    visits = Visits.from_lists(
        [[["a"]] * n_visits] * n_patients,
        day=[range(n_visits)] * n_patients,
        measurements=measured.tolist(),
        schema=Schema.of(["a"], measurements=["x"]),
    )
    return Cohort(visits, outcome)


def measured(visits: Visits) -> np.ndarray:
    return visits.measurements.double().numpy()


def test_the_cox_hazard_finds_the_coefficient_of_lifelines_partial_likelihood() -> None:
    train = world_of_one_column(4_000, 20, level=-4.0, effect=0.7)
    rows = rows_by_hand(train)
    frame = pd.DataFrame([(i, k, k + 1, event) for i, k, event, _ in rows], columns=["id", "start", "stop", "event"])
    frame["x"] = [float(train.visits.measurements[int(train.visits.visit_offsets[i]) + k]) for i, k, _, _ in rows]
    theirs = lifelines.CoxTimeVaryingFitter().fit(frame, "event", id_col="id", start_col="start", stop_col="stop")
    ours = CoxHazard.fit(train, measured).log_hazard_ratio[0]
    assert ours == pytest.approx(theirs.params_["x"], abs=0.005)
    assert theirs.params_["x"] == pytest.approx(0.7, abs=0.1)


def test_a_patient_with_an_absurd_value_gives_no_hazard_that_is_not_a_number() -> None:
    train = world_of_one_column(200, 6, level=-2.0, effect=0.7)
    absurd = train.visits.measurements.clone()
    absurd[0] = 1e4
    train = Cohort(replace(train.visits, measurements=absurd), train.outcome)
    logits = CoxHazard.fit(train, measured)(train.visits)
    assert torch.equal(logits.isfinite(), train.visits.mask)


@pytest.mark.parametrize("observed", [True, False])
def test_where_everybody_or_nobody_has_the_event_the_life_table_is_unsure_and_the_regression_refuses(
    observed: bool,
) -> None:
    visits = Visits.from_lists([[["a"]]] * 4, day=[[0]] * 4)
    train = Cohort(visits, Outcome.of(torch.ones(4, dtype=torch.long), torch.full((4,), observed)))
    overall = 4.5 / 5 if observed else 0.5 / 5
    wanted = torch.tensor((4 * observed + overall / 2) / 4.5)
    torch.testing.assert_close(LifeTableHazard.fit(train)(visits).sigmoid(), wanted.expand(4, 1))
    torch.testing.assert_close(CoxHazard.fit(train, static_features)(visits).sigmoid(), wanted.expand(4, 1))
    with pytest.raises(ValueError, match=f"{4 * observed} of 4 rows have an event"):
        LogisticHazard.fit(train, static_features)


@pytest.mark.parametrize("kind", [LogisticHazard, CoxHazard])
def test_visits_of_another_schema_are_refused_by_the_regression(
    cohort: Cohort, kind: type[LogisticHazard | CoxHazard]
) -> None:
    regression = kind.fit(cohort, static_features)
    with pytest.raises(ValueError, match="another schema than the regression"):
        regression(Visits.from_lists([[["a"]]], day=[[0]]))
