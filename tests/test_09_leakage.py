"""The claims of chapter 09, one test each, on smaller cohorts than the notebook's."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from visitwise.baselines import LogisticHazard, current_features, history_features
from visitwise.check import leakage as wrong
from visitwise.cohort import Cohort, Outcome, require_disjoint
from visitwise.datasets import pbc
from visitwise.functional import person_period
from visitwise.leakage import check_no_leak, edit_later_visits
from visitwise.metrics import incident_dynamic_auc, kaplan_meier, nll_per_row
from visitwise.model import SurvivalRNN
from visitwise.training import evaluate_nll, fit
from visitwise.visits import Schema, Visits

PAGE = Path(__file__).resolve().parents[1] / "explainer" / "09-leakage.md"
CODE = {"outcome_codes": ["ICD10CM//N18.4"], "progress": False}
BOTH = {"bidirectional": True, "demonstration": True, "path": "packed"}

Parts = tuple[Cohort, Cohort, Cohort]


@pytest.fixture(scope="module")
def parts() -> Parts:
    return wrong.coin_flips(3_000, seed=11).split([0.3, 0.1, 0.6], seed=0)


def changed(parts: Parts, change: Callable[[Cohort], Cohort]) -> Parts:
    return change(parts[0]), change(parts[1]), change(parts[2])


def cut(cohort: Cohort) -> Cohort:
    """Records end with the visit that their last row reads."""
    return Cohort(cohort.visits.select(torch.arange(len(cohort)), cohort.outcome.stop), cohort.outcome)


def no_code(cohort: Cohort) -> Cohort:
    leaky = wrong.label_the_visit_itself(cohort)
    return Cohort(wrong.without_code(leaky.visits, wrong.EVENT_CODE), leaky.outcome)


def trained(parts: Parts, epochs: int = 5, **settings: object) -> SurvivalRNN:
    model = SurvivalRNN.for_cohort(parts[0], embedding=8, hidden=16, **settings).double()
    fit(model, parts[0], parts[1], epochs=epochs, batch_size=32, learning_rate=1e-2, progress=False)
    return model


@pytest.fixture(scope="module")
def detector(parts: Parts) -> SurvivalRNN:
    return trained(changed(parts, wrong.label_the_visit_itself))


@pytest.fixture(scope="module")
def forward(parts: Parts) -> SurvivalRNN:
    return trained(parts)


@pytest.fixture(scope="module")
def both_ways(parts: Parts) -> SurvivalRNN:
    return trained(parts, epochs=8, **BOTH)


def auc(model: Callable[[Visits], Tensor], cohort: Cohort) -> float:
    with torch.no_grad():
        return float(incident_dynamic_auc(torch.sigmoid(model(cohort.visits)), cohort.outcome))


def oracle_nll(cohort: Cohort) -> float:
    coin = torch.full((len(cohort), int(cohort.outcome.stop.max())), 0.1, dtype=torch.float64)
    return nll_per_row(torch.logit(coin), cohort.outcome)


# ---------------------------------------------------------------------------------------------- the event's own visit


def test_the_events_own_visit_predicts_coins_and_one_visit_less_does_not(
    parts: Parts, detector: SurvivalRNN, forward: SurvivalRNN
) -> None:
    leaky = wrong.label_the_visit_itself(parts[2])
    assert leaky.outcome.n_rows == parts[2].outcome.n_rows
    assert torch.equal(leaky.outcome.observed, parts[2].outcome.observed)
    assert auc(detector, leaky) > 0.999
    assert evaluate_nll(detector, leaky) < oracle_nll(parts[2]) / 10
    assert abs(auc(forward, parts[2]) - 0.5) < 0.03
    assert abs(evaluate_nll(forward, parts[2]) - oracle_nll(parts[2])) < 0.006


def test_without_the_code_the_early_visit_still_tells_of_the_event(parts: Parts) -> None:
    train, _, test = changed(parts, no_code)
    assert wrong.EVENT_CODE not in {test.visits.schema.codes[code] for code in test.visits.codes.unique()}
    assert 0.7 < auc(LogisticHazard.fit(train, history_features), test) < 0.9


def test_both_directions_predict_coins_under_honest_labels(parts: Parts, both_ways: SurvivalRNN) -> None:
    assert auc(both_ways, parts[2]) > 0.999


def test_a_record_cut_behind_its_last_row_still_tells_by_its_end(parts: Parts) -> None:
    ended = changed(parts, cut)
    assert 0.95 < auc(trained(ended, **BOTH), ended[2]) < 0.985
    # By hand: of those at risk in a row, who has the event there ends there, and who is lost there is tied with them.
    last = ended[2].visits.index == ended[2].visits.length[ended[2].visits.patient] - 1
    at_the_end = ended[2].visits.pad(last.double() / 2)
    assert 0.95 < float(incident_dynamic_auc(at_the_end, ended[2].outcome)) < 0.985


def test_the_package_asks_before_it_lets_a_model_see_the_future(parts: Parts) -> None:
    with pytest.raises(ValueError, match="reads the future"):
        SurvivalRNN.for_cohort(parts[0], bidirectional=True, path="packed")


# ------------------------------------------------------------------------------------------------- tests of causality


def test_the_prefix_test_passes_a_bidirectional_model_and_the_edit_does_not(
    parts: Parts, both_ways: SurvivalRNN, forward: SurvivalRNN
) -> None:
    visits = parts[2].visits.select(torch.arange(100))
    everybody, last = torch.arange(100), (visits.length - 2).clamp(max=3)
    edited = edit_later_visits(visits, last, seed=0)
    kept = torch.arange(int(visits.length.max())) <= last[:, None]
    for model, moves in ((both_ways, True), (forward, False)):
        with torch.no_grad():
            prefixes = [model(record.select(everybody, last + 1)) for record in (visits, edited)]
            torch.testing.assert_close(*prefixes, rtol=0, atol=0, equal_nan=True)
            distance = (torch.sigmoid(model(visits)) - torch.sigmoid(model(edited))).abs()[kept].max()
        assert (distance > 0.5) if moves else (distance < 1e-12)


def test_the_three_tests_of_the_notes_pass_the_models_that_read_the_event(parts: Parts, detector: SurvivalRNN) -> None:
    ended = cut(wrong.label_the_visit_itself(parts[2]))
    outcome, length = ended.outcome, ended.visits.length
    assert auc(detector, ended) > 0.999
    for seed in range(3):
        shuffled = Cohort(wrong.shuffle_visits(ended.visits, seed=seed), outcome)
        assert auc(detector, shuffled) < 0.8  # "it uses the order"
        at = torch.from_numpy(np.random.default_rng(seed).integers(2, length.numpy() + 1))
        reach = torch.minimum(at, outcome.stop)
        labels = Outcome.of(reach, outcome.observed & (reach == outcome.stop), start=outcome.start)
        short = Cohort(ended.visits.select(torch.arange(len(ended)), at), labels)
        assert auc(detector, short) > 0.999  # "it uses no future context"
    assert roc_auc_score(outcome.observed, length) < 0.75  # "no artefact"
    # And under honest labels the third one raises the alarm, where records go on.
    assert roc_auc_score(parts[2].outcome.observed, parts[2].visits.length) > 0.75


# ------------------------------------------------------------------------------------------------- ways to look ahead


def test_the_last_visits_predict_coins_and_the_first_do_not(parts: Parts) -> None:
    for n, least in ((5, 0.6), (10, 0.57)):
        train, _, test = changed(parts, lambda part, n=n: wrong.keep_the_last_visits(part, n))
        assert auc(LogisticHazard.fit(train, current_features), test) > least
        train, _, test = changed(parts, lambda part, n=n: wrong.keep_the_first_visits(part, n))
        assert abs(auc(LogisticHazard.fit(train, current_features), test) - 0.5) < 0.04


def test_a_back_dated_code_and_the_days_to_the_next_visit_predict_coins(parts: Parts) -> None:
    for add, low, high in (
        (wrong.backdate_event_code, 0.999, 1.0),
        (wrong.add_gap_to_next_visit, 0.7, 0.9),
        (lambda part: part, 0.46, 0.54),
    ):
        train, _, test = changed(parts, add)
        assert low <= auc(LogisticHazard.fit(train, current_features), test) <= high


def with_age_at_the_end(cohort: Cohort, *, keep_age: bool) -> Cohort:
    visits = cohort.visits
    fields = {name: getattr(visits, name) for name in Visits.__dataclass_fields__}
    age = visits.static[:, :1] + (cohort.outcome.followup_days[:, None] / 365.25).float()
    fields["static"] = torch.cat([age, visits.static if keep_age else visits.static[:, 1:]], 1)
    names = visits.schema.static if keep_age else visits.schema.static[1:]
    fields["schema"] = Schema(visits.schema.codes, ("age at the end", *names), visits.schema.measurements)
    return Cohort(Visits(**fields), cohort.outcome)


def test_the_age_at_the_end_helps_only_beside_an_honest_age_and_no_column_shows_it() -> None:
    people = pbc()
    variants = [people, *(with_age_at_the_end(people, keep_age=keep) for keep in (False, True))]
    scores = np.array(
        [
            [
                auc(LogisticHazard.fit(known, current_features), new)
                for known, new in (v.split([0.7, 0.3], seed=s) for v in variants)
            ]
            for s in range(6)
        ]
    )
    in_place, beside = (scores[:, 1:] - scores[:, :1]).T
    assert (beside > 0).all()
    assert in_place.mean() < beside.mean() / 3
    assert check_no_leak(variants[2], progress=False).findings == ()


# -------------------------------------------------------------------------------------------------------- the split


def test_survival_curves_part_by_a_code_that_does_nothing_if_the_group_knows_the_future() -> None:
    people = wrong.coin_flips(4_000, seed=12)
    visits, outcome = people.visits, people.outcome
    of_code = torch.repeat_interleave(visits.code_offsets.diff())
    cold = visits.schema.codes.index("ICD10CM//J06.9 common cold")
    has_cold = torch.bincount(of_code[visits.codes == cold], minlength=visits.n_visits) > 0

    def event_free(before: Tensor | int, start: int) -> list[float]:
        seen = torch.zeros(len(people), dtype=torch.bool)
        seen[visits.patient[has_cold & (visits.index < before)]] = True
        groups = (group & (outcome.stop > start) for group in (seen, ~seen))
        return [
            float(kaplan_meier(Outcome.of(outcome.stop[who] - start, outcome.observed[who])).survival[7])
            for who in groups
        ]

    with_cold, without = event_free(outcome.stop[visits.patient], 0)
    assert with_cold > 0.9**8 + 0.15
    assert without < 0.9**8 - 0.1
    assert event_free(3, 3) == pytest.approx([0.9**8] * 2, abs=0.06)  # about two standard errors of the smaller group


def test_rows_dealt_at_random_answer_for_their_patient_and_patients_dealt_do_not() -> None:
    people = wrong.coin_flips(2_000, seed=12)
    outcome = people.outcome
    rows = person_period(outcome.stop, outcome.observed)
    patient, visit = rows.patient.numpy(), rows.visit.numpy()
    left, had_event = outcome.stop.numpy()[patient] - visit, outcome.observed.numpy()[patient]
    known = (left >= 5) | had_event
    label = ((left <= 5) & had_event)[known]
    random = np.random.default_rng(0)
    inputs = np.column_stack([100 * random.normal(size=(len(people), 3))[patient], visit])[known]
    by_row, by_patient = random.random(len(label)) < 2 / 3, (random.random(len(people)) < 2 / 3)[patient][known]

    def score(train: np.ndarray) -> float:
        near = KNeighborsClassifier(2).fit(inputs[train], label[train])
        return float(roc_auc_score(label[~train], near.predict_proba(inputs[~train])[:, 1]))

    assert score(by_row) > 0.9
    assert abs(score(by_patient) - 0.5) < 0.05
    with pytest.raises(ValueError, match="is in two cohorts"):
        require_disjoint(people.select(torch.arange(9)), people.select(torch.arange(8, 12)))


def test_columns_chosen_on_everybody_predict_a_coin_and_a_scaling_does_not() -> None:
    scores = {"honest": [], "chosen": [], "scaled": []}
    for seed in range(6):
        random = np.random.default_rng(seed)
        coins, event = random.integers(0, 2, (600, 2000)).astype(float), random.random(600) < 0.3
        for name, choose_on, scale_on in (("honest", 300, 300), ("chosen", 600, 300), ("scaled", 300, 600)):
            from_mean = coins[:choose_on] - coins[:choose_on].mean(0)
            best = np.argsort(-np.abs(from_mean.T @ (event[:choose_on] - event[:choose_on].mean())))[:20]
            x = (coins[:, best] - coins[:scale_on, best].mean(0)) / coins[:scale_on, best].std(0)
            model = LogisticRegression().fit(x[:300], event[:300])
            scores[name].append(roc_auc_score(event[300:], model.decision_function(x[300:])))
    honest, chosen, scaled = (np.mean(values) for values in scores.values())
    assert chosen > 0.68
    assert abs(honest - 0.5) < 0.05
    assert abs(scaled - honest) < 0.005


# ------------------------------------------------------------------------------------------------ what the check finds


def test_check_no_leak_finds_five_of_the_nine_and_misses_the_quiet_ones(
    parts: Parts, detector: SurvivalRNN, both_ways: SurvivalRNN, forward: SurvivalRNN
) -> None:
    test = parts[2]
    loud = {
        "own visit": (wrong.label_the_visit_itself(test), detector, {"outcome code", "code"}),
        "back-dated": (wrong.backdate_event_code(test), None, {"outcome code", "code"}),
        "both directions": (test, both_ways, {"future"}),
        "both, record cut": (cut(test), both_ways, {"future"}),
        "last visits": (wrong.keep_the_last_visits(test, 10), None, {"outcome code"}),
    }
    for cohort, model, kinds in loud.values():
        assert {found.kind for found in check_no_leak(cohort, model, **CODE).findings} == kinds
    quiet = [no_code(test), wrong.add_gap_to_next_visit(test)]
    assert all(check_no_leak(cohort, **CODE).findings == () for cohort in quiet)
    assert check_no_leak(wrong.keep_the_last_visits(test, 10), progress=False).findings == ()
    assert check_no_leak(with_age_at_the_end(pbc(), keep_age=True), progress=False).findings == ()
    assert check_no_leak(test, forward, **CODE).findings == ()


def test_a_split_of_rows_and_a_choice_of_columns_cannot_be_seen_in_one_cohort(parts: Parts) -> None:
    train, _, test = parts
    for half in (train, test):
        assert check_no_leak(half, **CODE).findings == ()


# ----------------------------------------------------------------------------------------------------------- the page


def test_the_answers_of_test_yourself_are_rows_and_the_right_one_holds_the_event() -> None:
    text = PAGE.read_text(encoding="utf-8").split("## Test yourself")[1].split("## Where")[0]
    options = [int(option) for option in re.findall(r"<summary>(\d)</summary>", text)]
    code = wrong.EVENT_CODE
    fay = Visits.from_lists([[[], [], [], [code], [code], [code]]], day=[range(6)], schema=Schema.of([code]))
    assert sorted(options) == [2, 3, 4, 6]

    def reads_the_event(stop: int) -> bool:
        return bool((fay.select(torch.tensor([0]), torch.tensor([stop])).codes > 0).any())

    right = max(stop for stop in options if not reads_the_event(stop))  # the last row, and no visit with the code
    assert right == 3
    assert re.search(rf"<summary>{right}</summary>\s+Right", text)
