"""The estimator against the package's own functions, and its tables against scikit-learn, lifelines and sksurv."""

import pickle
import tempfile
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import KaplanMeierFitter
from lifelines.utils import concordance_index
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    StratifiedKFold,
    cross_val_score,
    cross_validate,
    train_test_split,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks, resample
from sksurv.metrics import (
    brier_score,
    concordance_index_ipcw,
    cumulative_dynamic_auc,
    integrated_brier_score,
)
from sksurv.util import Surv
from torch import Tensor

from tests.cohorts import nll_by_hand, random_cohort
from visitwise import metrics
from visitwise.cohort import Cohort, Outcome
from visitwise.estimator import SurvivalRNNEstimator, followup_from
from visitwise.losses import outcome_horizon_nll
from visitwise.model import HorizonRNN, SurvivalRNN
from visitwise.simulate import TEACHING
from visitwise.training import evaluate_nll, fit, load_model, save_model
from visitwise.visits import Visits

SMALL: dict[str, Any] = {"embedding": 4, "hidden": 6, "epochs": 2, "batch_size": 32, "learning_rate": 0.02}
HORIZON = 6


def small(**settings: Any) -> SurvivalRNNEstimator:
    return SurvivalRNNEstimator(**SMALL | settings)


def weights(estimator: SurvivalRNNEstimator) -> list[list[float]]:
    return [value.flatten().tolist() for value in estimator.model_.state_dict().values()]


def constant(cohort: Cohort, hazards: list[float]) -> SurvivalRNNEstimator:
    """A fitted estimator that says these hazards, whoever asks: one for the next interval, or one for each ahead."""
    estimator = small(horizon=None if len(hazards) == 1 else len(hazards), epochs=1).fit(cohort)
    with torch.no_grad():
        estimator.model_.head.weight.zero_()
        estimator.model_.head.bias.copy_(torch.logit(torch.tensor(hazards)))
    return estimator


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return TEACHING.draw(150, seed=0).cohort


@pytest.fixture(scope="module")
def parts() -> tuple[Cohort, Cohort]:
    train, test = TEACHING.draw(1_400, seed=5).cohort.split([0.5, 0.5], seed=0)
    return train, test


@pytest.fixture(scope="module")
def forecaster(parts: tuple[Cohort, Cohort]) -> SurvivalRNNEstimator:
    return small(horizon=HORIZON, epochs=4).fit(parts[0])


# ---------------------------------------------------------------------------------------------- patients, by position


def test_a_cohort_is_indexed_like_an_array_of_patients(cohort: Cohort) -> None:
    ids = cohort.visits.patient_id
    late = cohort.visits.length > 12
    for patients, expected in [
        ([3, 0, -1], [3, 0, 149]),
        (np.array([7, 5]), [7, 5]),
        (torch.tensor([7, 5]), [7, 5]),
        (slice(2, 9, 3), [2, 5, 8]),
        (late, late.nonzero()[:, 0].tolist()),
        (late.numpy(), late.nonzero()[:, 0].tolist()),
        ((np.array([4]), ...), [4]),
    ]:
        part = cohort[patients]
        assert part.visits.patient_id.tolist() == ids[expected].tolist()
        whole = cohort.select(torch.tensor(expected) % 150)
        for name in ("codes", "code_offsets", "visit_offsets", "day", "static", "measurements"):
            assert torch.equal(getattr(part.visits, name), getattr(whole.visits, name))
        assert torch.equal(part.outcome.stop, whole.outcome.stop)
    assert cohort.shape == (150,)


def test_indexing_copies_no_visits(cohort: Cohort) -> None:
    part = cohort[np.arange(100)]
    assert "codes" not in vars(part.visits)
    again = part[[5, 6]]
    assert "codes" not in vars(again.visits)
    assert torch.equal(again.visits.codes, cohort.select(torch.tensor([5, 6])).visits.codes)


@pytest.mark.parametrize("wrong", [0, 1.5, [1.5], ["a"], None, np.zeros((2, 2), dtype=int)])
def test_what_picks_no_patients_by_position_is_refused(cohort: Cohort, wrong: object) -> None:
    with pytest.raises(ValueError, match=r"the cohort is indexed by .+; expected positions"):
        cohort[wrong]


@pytest.mark.parametrize("nobody", [[], np.zeros(150, dtype=bool), slice(9, 3)])
def test_an_index_of_nobody_is_refused(cohort: Cohort, nobody: object) -> None:
    with pytest.raises(ValueError, match="0 of 150 patients are chosen; expected at least one"):
        cohort[nobody]


@pytest.mark.parametrize("beyond", [[150], np.zeros(149, dtype=bool)])
def test_an_index_beyond_the_patients_is_refused(cohort: Cohort, beyond: object) -> None:
    with pytest.raises(IndexError):
        cohort[beyond]


def test_a_cohort_is_not_run_through_one_patient_at_a_time(cohort: Cohort) -> None:
    with pytest.raises(ValueError, match=r"indexed by 0; expected positions, such as cohort\[\[3\]\]"):
        list(cohort)  # type: ignore[call-overload]


# ------------------------------------------------------------------------------------------------------------- fitting


def test_fitting_gives_the_weights_that_the_package_gives_bit_for_bit(cohort: Cohort) -> None:
    train, validation = cohort.split([0.8, 0.2], seed=3)
    size, how = {"embedding": 4, "hidden": 6}, {"epochs": 2, "batch_size": 32, "learning_rate": 0.02}
    plain = SurvivalRNN.for_cohort(train, seed=3, **size)
    history = fit(plain, train, validation, seed=3, progress=False, **how)  # type: ignore[arg-type]
    estimator = small(validation_share=0.2, seed=3).fit(cohort)
    assert weights(estimator) == [value.flatten().tolist() for value in plain.state_dict().values()]
    assert estimator.history_ == history
    given = small(seed=3).fit(train, validation=validation)
    assert weights(given) == weights(estimator)


def test_every_setting_reaches_the_model_or_its_training(cohort: Cohort) -> None:
    size: dict[str, Any] = {"embedding": 3, "hidden": 5, "cell": "gru", "time_features": False, "seed": 4}
    how = {"epochs": 30, "batch_size": 16, "learning_rate": 0.2, "weight_decay": 0.3, "patience": 2}
    train, validation = cohort.split([0.7, 0.3], seed=4)
    plain = SurvivalRNN.for_cohort(train, **size)
    history = fit(plain, train, validation, seed=4, progress=False, **how)  # type: ignore[arg-type]
    assert len(history.train_nll) < 30
    estimator = SurvivalRNNEstimator(validation_share=0.3, **size, **how).fit(cohort)  # type: ignore[arg-type]
    assert estimator.model_.settings == plain.settings
    assert weights(estimator) == [value.flatten().tolist() for value in plain.state_dict().values()]
    assert set(size | how) | {"horizon", "validation_share", "device", "progress"} == set(estimator.get_params())


def test_with_a_horizon_the_model_is_trained_to_forecast(cohort: Cohort) -> None:
    train, validation = cohort.split([0.85, 0.15], seed=0)
    plain = HorizonRNN.for_cohort(train, horizon=3, embedding=4, hidden=6)
    fit(
        plain,
        train,
        validation,
        loss=outcome_horizon_nll,
        epochs=2,
        batch_size=32,
        learning_rate=0.02,
        progress=False,
    )
    estimator = small(horizon=3).fit(cohort)
    assert weights(estimator) == [value.flatten().tolist() for value in plain.state_dict().values()]
    assert estimator.score(cohort) == -evaluate_nll(plain, cohort, loss=outcome_horizon_nll)


def test_without_a_share_for_validation_everybody_is_learned_from_and_all_epochs_are_run(cohort: Cohort) -> None:
    seen: list[list[float]] = []
    plain = SurvivalRNN.for_cohort(cohort, embedding=4, hidden=6)
    after = lambda model, _: seen.append(model.head.weight.flatten().tolist())  # noqa: E731
    how = {"epochs": 7, "batch_size": 32, "learning_rate": 0.05, "patience": 1}
    history = fit(plain, cohort, None, after_epoch=after, progress=False, **how)  # type: ignore[arg-type]
    assert (len(history.train_nll), history.validation_nll, history.best_epoch) == (7, [], 6)
    assert plain.head.weight.flatten().tolist() == seen[-1] != seen[-2]
    estimator = small(validation_share=None, **how).fit(cohort)
    assert weights(estimator) == [value.flatten().tolist() for value in plain.state_dict().values()]


def test_training_without_validation_goes_on_from_its_checkpoint_as_if_it_had_never_stopped(cohort: Cohort) -> None:
    def stop(model: object, history: Any) -> None:
        if len(history.train_nll) == 2:
            raise KeyboardInterrupt

    def new() -> SurvivalRNN:
        return SurvivalRNN.for_cohort(cohort, embedding=4, hidden=6)

    how: dict[str, Any] = {"epochs": 4, "batch_size": 32, "progress": False}
    whole, first, second = new(), new(), new()
    fit(whole, cohort, None, **how)
    with tempfile.TemporaryDirectory() as folder:
        with pytest.raises(KeyboardInterrupt):
            fit(first, cohort, None, checkpoint=folder, after_epoch=stop, **how)
        with pytest.raises(ValueError, match="holds a run with validation = None"):
            fit(new(), cohort, TEACHING.draw(20, seed=8).cohort[[3]], checkpoint=folder, **how | {"seed": 0})
        fit(second, cohort, None, checkpoint=folder, **how)
    assert torch.equal(second.head.weight, whole.head.weight)


def test_fitting_again_learns_anew_and_leaves_the_global_generators_alone(cohort: Cohort) -> None:
    estimator = small()
    numpy_before, torch_before = np.random.get_state()[1], torch.get_rng_state()
    once = weights(estimator.fit(cohort[:80]))
    estimator.fit(cohort)
    assert weights(estimator) != once
    assert weights(estimator.fit(cohort[:80])) == once
    assert (np.random.get_state()[1] == numpy_before).all()
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_all_that_a_seed_decides_changes_with_it(cohort: Cohort) -> None:
    assert weights(small(seed=1).fit(cohort)) != weights(small(seed=2).fit(cohort))


def test_a_model_found_by_a_search_over_numpys_numbers_can_be_saved(cohort: Cohort, unchecked: None) -> None:
    for horizon in (None, np.int64(3)):
        estimator = SurvivalRNNEstimator(embedding=np.int64(4), hidden=np.int64(6), horizon=horizon, epochs=1)
        estimator.fit(cohort)
        with tempfile.TemporaryDirectory() as folder:
            save_model(estimator.model_, f"{folder}/mine.safetensors")
            assert load_model(f"{folder}/mine.safetensors").settings == estimator.model_.settings


# ---------------------------------------------------------------------------------------------- what scikit-learn asks


@pytest.mark.parametrize(
    "check",
    [
        "check_estimator_cloneable",
        "check_estimator_tags_renamed",
        "check_valid_tag_types",
        "check_estimator_repr",
        "check_no_attributes_set_in_init",
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_mixin_order",
        "check_parameters_default_constructible",
        "check_get_params_invariance",
        "check_set_params",
    ],
)
def test_scikit_learns_own_checks_pass_that_need_no_table_of_numbers(check: str, unchecked: None) -> None:
    getattr(estimator_checks, check)("SurvivalRNNEstimator", SurvivalRNNEstimator())


def test_settings_survive_a_clone_and_what_was_learned_does_not(cohort: Cohort) -> None:
    estimator = small(horizon=4, validation_share=None, cell="gru").fit(cohort)
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params()
    assert not hasattr(copy, "model_")
    assert repr(copy.set_params(hidden=9).set_params(epochs=20)).count("hidden=9") == 1
    assert weights(copy.set_params(**estimator.get_params()).fit(cohort)) == weights(estimator)


def test_fitting_and_predicting_change_no_setting_and_nothing_of_the_cohort(cohort: Cohort) -> None:
    estimator = small(horizon=2)
    before, day = estimator.get_params(), cohort.visits.day.clone()
    estimator.fit(cohort)
    fitted = weights(estimator)
    estimator.predict_hazard(cohort)
    estimator.predict_survival(cohort, 0)
    estimator.score(cohort)
    assert estimator.get_params() == before
    assert set(vars(estimator)) == {*before, "model_", "history_"}
    assert weights(estimator) == fitted
    assert torch.equal(cohort.visits.day, day)


def test_an_estimator_comes_out_of_a_pickle_as_it_went_in(cohort: Cohort) -> None:
    estimator = small(horizon=3).fit(cohort[:100])
    again = pickle.loads(pickle.dumps(estimator))
    assert again.get_params() == estimator.get_params()
    assert weights(again) == weights(estimator)
    assert again.history_ == estimator.history_
    pd.testing.assert_frame_equal(again.predict_survival(cohort, 2), estimator.predict_survival(cohort, 2))


def test_cross_validation_is_the_loop_over_patients_that_one_would_write(cohort: Cohort) -> None:
    folds = KFold(3, shuffle=True, random_state=1)
    by_hand = [
        -evaluate_nll(small().fit(cohort.select(torch.from_numpy(train))).model_, cohort.select(torch.from_numpy(test)))
        for train, test in folds.split(np.zeros(150))
    ]
    assert cross_val_score(small(), cohort, cv=folds).tolist() == by_hand


def test_two_processes_cross_validate_like_one(cohort: Cohort) -> None:
    part = cohort[np.arange(20, 140)]  # visits that are not copied yet travel, too
    one, two = (cross_val_score(small(), part, cv=3, n_jobs=n_jobs) for n_jobs in (1, 2))
    assert one.tolist() == two.tolist()


def test_every_patient_is_tested_once_and_never_by_a_model_that_learned_from_it(cohort: Cohort) -> None:
    tested: list[list[int]] = []

    def note(estimator: SurvivalRNNEstimator, part: Cohort, y: object = None) -> float:
        tested.append(part.visits.patient_id.tolist())
        return estimator.score(part)

    folds = KFold(4, shuffle=True, random_state=0)
    result = cross_validate(small(epochs=1), cohort, cv=folds, scoring=note, return_indices=True)
    assert sorted(one for each in tested for one in each) == cohort.visits.patient_id.tolist()
    ids = cohort.visits.patient_id.numpy()
    for test, learned in zip(tested, result["indices"]["train"], strict=True):
        assert not set(test) & set(ids[learned])


def test_stratified_folds_share_the_events_and_groups_stay_together(cohort: Cohort) -> None:
    events: list[int] = []
    families: list[set[int]] = []

    def note(estimator: SurvivalRNNEstimator, part: Cohort, y: object = None) -> float:
        events.append(int(part.outcome.observed.sum()))
        families.append({int(one) // 5 for one in part.visits.patient_id})
        return 0.0

    observed, family = cohort.outcome.observed.numpy(), cohort.visits.patient_id.numpy() // 5
    cross_val_score(small(epochs=1), cohort, observed, cv=StratifiedKFold(3), scoring=note)
    assert max(events) - min(events) <= 1
    assert sum(events) == observed.sum()
    families.clear()
    cross_val_score(small(epochs=1), cohort, groups=family, cv=GroupKFold(3), scoring=note)
    assert sum(len(each) for each in families) == len(set(family))


def test_a_search_chooses_the_best_mean_score_and_learns_from_everybody_again(cohort: Cohort) -> None:
    choices = [{"hidden": 2, "epochs": 1}, {"hidden": 8, "epochs": 3}]
    folds = KFold(3, shuffle=True, random_state=1)
    by_hand = [cross_val_score(small(**choice), cohort, cv=folds).mean() for choice in choices]
    search = GridSearchCV(small(), [{name: [value] for name, value in one.items()} for one in choices], cv=folds)
    search.fit(cohort)
    assert search.cv_results_["mean_test_score"].tolist() == by_hand
    assert search.best_params_ == choices[int(np.argmax(by_hand))]
    assert weights(search.best_estimator_) == weights(small(**search.best_params_).fit(cohort))
    assert search.score(cohort) == search.best_estimator_.score(cohort)


def test_a_step_that_turns_cohorts_into_cohorts_stands_before_it_in_a_pipeline(cohort: Cohort) -> None:
    def first_row_alone(given: Cohort) -> Cohort:
        return Cohort(given.visits, Outcome.of(given.outcome.start + 1, given.outcome.stop == 1))

    pipe = Pipeline([("first", FunctionTransformer(first_row_alone)), ("rnn", small(epochs=1))]).fit(cohort)
    assert weights(pipe["rnn"]) == weights(small(epochs=1).fit(first_row_alone(cohort)))
    assert pipe.score(cohort) == pipe["rnn"].score(first_row_alone(cohort))
    search = GridSearchCV(pipe, {"rnn__hidden": [2, 5]}, cv=2).fit(cohort)
    assert search.best_estimator_["rnn"].model_.settings["hidden"] == search.best_params_["rnn__hidden"]


def test_scikit_learn_splits_a_cohort_in_two(cohort: Cohort) -> None:
    train, test = train_test_split(cohort, test_size=30, random_state=0)
    positions = train_test_split(np.arange(150), test_size=30, random_state=0)
    assert train.visits.patient_id.tolist() == cohort.visits.patient_id[positions[0]].tolist()
    assert (len(train), len(test)) == (120, 30)


# ------------------------------------------------------------------------------------------------------ what is refused


def test_a_table_of_numbers_is_refused_with_what_was_expected(unchecked: None) -> None:
    with pytest.raises(ValueError, match="a ndarray is given; expected a Cohort, which holds visits and outcomes"):
        SurvivalRNNEstimator().fit(np.zeros((3, 2)))  # type: ignore[arg-type]


def test_nothing_is_predicted_before_fitting(cohort: Cohort) -> None:
    estimator = SurvivalRNNEstimator()
    for ask in (
        estimator.predict_hazard,
        estimator.score,
        lambda cohort: estimator.predict_survival(cohort, 0),
    ):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            ask(cohort)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_that_leaves_nobody_on_one_side_is_refused(cohort: Cohort, share: float) -> None:
    with pytest.raises(ValueError, match=f"validation_share is {share}; expected a share above 0 and below 1"):
        small(validation_share=share).fit(cohort)


def test_too_few_patients_to_keep_some_aside_are_refused_and_learned_from_without(cohort: Cohort) -> None:
    with pytest.raises(ValueError, match="2 patients are too few"):
        small().fit(cohort[:2])
    small(validation_share=None).fit(cohort[:1])


def test_a_patient_drawn_twice_is_refused(cohort: Cohort) -> None:
    again = resample(cohort, random_state=0)
    with pytest.raises(ValueError, match=r"patient \d+ (appears twice|is in two cohorts)"):
        small().fit(again)
    with pytest.raises(ValueError, match="is in two cohorts"):
        small().fit(cohort, validation=cohort[:5])


def test_settings_are_checked_when_fitting_and_not_before(cohort: Cohort, unchecked: None) -> None:
    for name, wrong, told in [
        ("cell", "rnn", "cell is 'rnn'"),
        ("device", "gpu", "device is 'gpu'; expected one of auto, cpu, cuda"),
        ("epochs", 0, "epochs is 0"),
        ("horizon", 0, "horizon is 0"),
    ]:
        estimator = small(**{name: wrong})
        with pytest.raises(ValueError, match=told):
            estimator.fit(cohort)


def test_other_codes_than_those_learned_are_refused(cohort: Cohort) -> None:
    other = random_cohort(5, seed=0)
    with pytest.raises(ValueError, match="another schema"):
        small().fit(cohort).predict_hazard(other)
    with pytest.raises(ValueError, match="another schema"):
        small(horizon=2).fit(cohort).predict_survival(other, other.outcome.start)


def test_a_forecast_is_refused_to_a_model_that_looks_one_interval_ahead(cohort: Cohort) -> None:
    with pytest.raises(ValueError, match=r"horizon=None, which looks one interval ahead; expected .*\(horizon=...\)"):
        small().fit(cohort).predict_survival(cohort, 0)


def test_a_landmark_that_nobody_reaches_is_refused(cohort: Cohort, forecaster: SurvivalRNNEstimator) -> None:
    for ask in (forecaster.predict_survival, followup_from):
        with pytest.raises(ValueError, match="none of 150 patients is at risk at the landmark"):
            ask(cohort, 1_000)


# ----------------------------------------------------------------------------------------------------- what it predicts


def test_score_is_minus_the_likelihood_of_each_row_at_risk() -> None:
    cohort = random_cohort(40, seed=2)
    estimator = constant(cohort, [0.2])
    logits = torch.full(cohort.visits.mask.shape, 0.2, dtype=torch.float64).logit()
    assert estimator.score(cohort) == pytest.approx(-float(nll_by_hand(logits, cohort)) / cohort.outcome.n_rows)


def test_score_is_largest_at_the_share_of_rows_with_the_event(cohort: Cohort) -> None:
    rate = int(cohort.outcome.observed.sum()) / cohort.outcome.n_rows
    scores = [constant(cohort, [factor * rate]).score(cohort) for factor in (0.8, 0.9, 1.0, 1.1, 1.2)]
    assert np.argmax(scores) == 2


@pytest.mark.parametrize("hazards", [[0.2], [0.2, 0.4, 0.7]])
def test_hazards_stand_at_the_visits_at_risk_and_nowhere_else(hazards: list[float]) -> None:
    cohort = random_cohort(30, seed=4)
    estimator = constant(cohort, hazards)
    predicted = estimator.predict_hazard(cohort)
    visit = torch.arange(predicted.shape[1])
    asked = (visit >= cohort.outcome.start[:, None]) & (visit < cohort.visits.length[:, None])
    torch.testing.assert_close(predicted[asked], torch.full((int(asked.sum()),), 0.2))
    assert predicted[~asked].isnan().all()
    assert float(metrics.calibration(predicted, cohort.outcome, bins=1).table["predicted"][0]) > 0


def test_survival_is_the_product_over_the_intervals_ahead(cohort: Cohort) -> None:
    curves = constant(cohort, [0.2, 0.4, 0.7]).predict_survival(cohort, 3)
    assert curves.index.tolist() == [1, 2, 3]
    assert curves.columns.tolist() == cohort.visits.patient_id[cohort.outcome.stop > 3].tolist()
    np.testing.assert_allclose(curves.to_numpy().T, np.tile([0.8, 0.48, 0.144], (curves.shape[1], 1)), rtol=1e-6)


def test_a_forecast_is_what_the_model_says_at_the_landmark(
    parts: tuple[Cohort, Cohort], forecaster: SurvivalRNNEstimator
) -> None:
    test = parts[1]
    everything = forecaster.model_.predict(test.visits).survival
    last = test.outcome.stop - 1
    for landmark in (0, 5, last):
        curves = forecaster.predict_survival(test, landmark)
        row = torch.as_tensor(landmark).expand(len(test))
        there = test.outcome.stop > row
        expected = everything[torch.arange(len(test))[there], row[there]].double()
        torch.testing.assert_close(torch.from_numpy(curves.to_numpy().T.copy()), expected, atol=1e-5, rtol=0)
        assert (curves.diff().dropna() < 0).all(axis=None)


def test_a_forecast_knows_nothing_of_the_visits_after_the_landmark(forecaster: SurvivalRNNEstimator) -> None:
    cohort = TEACHING.draw(60, seed=9).cohort
    some = (cohort.outcome.stop > 6).nonzero()[:, 0]
    cohort = cohort.select(some)
    six = torch.full((len(some),), 6)
    cut = cohort.visits.select(torch.arange(len(some)), length=six)
    shorter = Cohort(cut, Outcome.of(six, torch.zeros(len(some))))
    pd.testing.assert_frame_equal(
        forecaster.predict_survival(cohort, 5), forecaster.predict_survival(shorter, 5), check_exact=True
    )
    assert not torch.equal(forecaster.predict_hazard(cohort)[:, 6], forecaster.predict_hazard(cohort)[:, 5])


def test_patients_who_enter_late_are_forecast_from_their_start() -> None:
    cohort = random_cohort(50, seed=6)
    estimator = small(horizon=2, epochs=1).fit(cohort)
    curves = estimator.predict_survival(cohort, cohort.outcome.start)
    assert curves.columns.tolist() == cohort.visits.patient_id.tolist()
    at_first = (cohort.outcome.start == 0).nonzero()[:, 0]
    assert estimator.predict_survival(cohort, 0).columns.tolist() == cohort.visits.patient_id[at_first].tolist()


def test_forecasts_of_all_patients_agree_on_average_with_what_became_of_them(
    parts: tuple[Cohort, Cohort], forecaster: SurvivalRNNEstimator
) -> None:
    curves, seen = forecaster.predict_survival(parts[1], 3), followup_from(parts[1], 3, HORIZON)
    counted = KaplanMeierFitter().fit(seen["time"], seen["event"]).survival_function_at_times(curves.index)
    assert np.abs(curves.mean(axis=1) - counted.to_numpy()).max() < 0.05
    assert counted.iloc[-1] < 0.9


# ----------------------------------------------------------------------------------------------- what others make of it


def outcome_by_hand() -> Cohort:
    """Four visits each; from visit 1 on: event in 3, event in 1, lost after 3, gone before, lost after 1."""
    visits = Visits.from_lists([[["a"]] * 4] * 5, day=[range(4)] * 5, patient_id=[10, 11, 12, 13, 14])
    return Cohort(visits, Outcome.of(torch.tensor([4, 2, 4, 1, 2]), torch.tensor([1, 1, 0, 1, 0])))


def test_followup_begins_at_the_landmark_and_ends_at_the_horizon() -> None:
    cohort = outcome_by_hand()
    followup = followup_from(cohort, 1)
    assert followup.index.tolist() == [10, 11, 12, 14]
    assert followup["time"].tolist() == [3, 1, 3.5, 1.5]
    assert followup["event"].tolist() == [True, True, False, False]
    nearer = followup_from(cohort, 1, horizon=2)
    assert nearer["time"].tolist() == [2.5, 1, 2.5, 1.5]
    assert nearer["event"].tolist() == [False, True, False, False]
    own = followup_from(cohort, torch.tensor([3, 0, 2, 0, 5]))
    assert own.index.tolist() == [10, 11, 12, 13]
    assert own["time"].tolist() == [1, 2, 2.5, 1]


def test_who_is_lost_inside_an_interval_is_followed_up_to_its_beginning() -> None:
    cohort = outcome_by_hand()
    cut = Cohort(cohort.visits, replace(cohort.outcome, censored_exposure=torch.tensor([0.3, 0.3, 0.3, 1.0, 0.0])))
    assert followup_from(cut, 1)["time"].tolist() == [3, 1, 2.5, 0.5]
    assert followup_from(cut, 1, horizon=2)["time"].tolist() == [2.5, 1, 2.5, 0.5]
    assert followup_from(cut, 1, horizon=3)["time"].tolist() == [3, 1, 2.5, 0.5]


def test_lifelines_and_our_own_scores_agree_on_who_was_lost_inside_an_interval(
    parts: tuple[Cohort, Cohort], forecaster: SurvivalRNNEstimator
) -> None:
    """All half-way through an interval: the pairs and the controls that count are the same for both."""
    test = Cohort(parts[1].visits, replace(parts[1].outcome, censored_exposure=torch.full((len(parts[1]),), 0.5)))
    risk = 1 - forecaster.predict_survival(test, 0).loc[HORIZON]
    seen, asked = followup_from(test, 0, HORIZON), torch.from_numpy(risk.to_numpy().copy())
    ours = metrics.concordance(asked, test.outcome, horizon=HORIZON)
    assert concordance_index(seen["time"], -risk, seen["event"]) == pytest.approx(float(ours), abs=1e-12)
    case, control = seen["event"], seen["time"] > HORIZON
    auc = metrics.cumulative_dynamic_auc(asked, test.outcome, HORIZON)
    assert auc.n_pairs == int(case.sum()) * int(control.sum())


def test_followup_is_the_array_that_scikit_survival_makes_itself() -> None:
    followup = followup_from(outcome_by_hand(), 1)
    ours, theirs = followup.to_records(index=False), Surv.from_dataframe("event", "time", followup)
    assert ours.dtype.names == theirs.dtype.names
    assert ours.tolist() == theirs.tolist()


def test_lifelines_counts_the_same_survival_from_followup(parts: tuple[Cohort, Cohort]) -> None:
    seen = followup_from(parts[1], 0)
    table = metrics.kaplan_meier(parts[1].outcome)
    counted = KaplanMeierFitter().fit(seen["time"], seen["event"])
    rows = np.arange(1, len(table.survival) + 1)
    np.testing.assert_allclose(counted.survival_function_at_times(rows), table.survival, atol=1e-12)


class Forecast(NamedTuple):
    """Hundreds of patients, few intervals: what was forecast for them, and what became of them."""

    outcome: Outcome
    landmark: int
    curves: pd.DataFrame
    seen: pd.DataFrame
    survival: Tensor  # the curves for our own metrics: of all patients, NaN for those not at risk at the landmark


@pytest.fixture(scope="module", params=[0, 4])
def forecast(
    request: pytest.FixtureRequest, parts: tuple[Cohort, Cohort], forecaster: SurvivalRNNEstimator
) -> Forecast:
    test, landmark = parts[1], request.param
    curves = forecaster.predict_survival(test, landmark)
    survival = torch.full((len(test), HORIZON), torch.nan, dtype=torch.float64)
    survival[test.outcome.stop > landmark] = torch.from_numpy(curves.to_numpy().T.copy())
    return Forecast(test.outcome, landmark, curves, followup_from(test, landmark, HORIZON), survival)


def test_curves_and_followup_are_of_the_same_patients_who_share_their_times(forecast: Forecast) -> None:
    assert forecast.curves.columns.equals(forecast.seen.index)
    assert forecast.seen.groupby("time").size().median() > 10


def test_lifelines_concordance_is_ours_with_ties(forecast: Forecast) -> None:
    outcome, landmark, curves, seen, survival = forecast
    ours = metrics.concordance(1 - survival[:, -1], outcome, landmark, HORIZON)
    assert concordance_index(seen["time"], curves.loc[HORIZON], seen["event"]) == pytest.approx(float(ours), abs=1e-12)


def test_scikit_survivals_weighted_concordance_is_ours_with_ties(forecast: Forecast) -> None:
    outcome, landmark, curves, seen, survival = forecast
    y, within = seen.to_records(index=False), HORIZON + 0.25
    ours = metrics.concordance(1 - survival[:, -1], outcome, landmark, HORIZON, weights="follow-up")
    theirs = concordance_index_ipcw(y, y, 1 - curves.loc[HORIZON].to_numpy(), tau=within)[0]
    assert theirs == pytest.approx(float(ours), abs=1e-9)


def test_scikit_survivals_auc_is_ours_at_every_horizon_with_ties(forecast: Forecast) -> None:
    outcome, landmark, curves, seen, survival = forecast
    y = seen.to_records(index=False)
    theirs, _ = cumulative_dynamic_auc(y, y, 1 - curves.to_numpy().T, curves.index)
    risks = {horizon: 1 - survival[:, horizon - 1] for horizon in curves.index}
    ours = [float(metrics.cumulative_dynamic_auc(risk, outcome, at, landmark)) for at, risk in risks.items()]
    np.testing.assert_allclose(theirs, ours, atol=1e-9)


def test_scikit_survivals_brier_score_is_ours_at_every_horizon_with_ties(forecast: Forecast) -> None:
    outcome, landmark, curves, seen, survival = forecast
    y, times = seen.to_records(index=False), curves.index.to_numpy()
    ours = metrics.integrated_brier(survival, outcome, times.tolist(), landmark)
    assert ours.per_visit is not None
    np.testing.assert_allclose(brier_score(y, y, curves.to_numpy().T, times)[1], ours.per_visit, atol=1e-9)
    whole = integrated_brier_score(y, y, curves.to_numpy().T, times)
    by_trapezoids = np.trapezoid(ours.per_visit, times) / (times[-1] - times[0])
    assert whole == pytest.approx(by_trapezoids, abs=1e-9)
    assert whole != pytest.approx(float(ours), rel=0.001)  # ours is a plain mean


def test_without_the_half_interval_scikit_survivals_brier_score_is_another(forecast: Forecast) -> None:
    outcome, landmark, curves, seen, survival = forecast
    y, times = seen.assign(time=np.floor(seen["time"])).to_records(index=False), curves.index[:-1]
    ours = metrics.integrated_brier(survival, outcome, times.tolist(), landmark).per_visit
    assert ours is not None
    theirs = brier_score(y, y, curves.loc[times].to_numpy().T, times)[1]
    assert np.abs(theirs / ours.numpy() - 1).max() > 0.005
