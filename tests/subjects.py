"""A call that works for every public function and class that takes data; `tests/catalogue.py` spoils its arguments."""

import inspect
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from tests.catalogue import Given, Subject
from visitwise import (
    baselines,
    estimator,
    factorization,
    leakage,
    losses,
    metrics,
    model,
    parallel,
    plots,
    rows,
    run,
    simulate,
    staircase,
    study,
    textbook,
    training,
    zoo,
)
from visitwise import functional as F
from visitwise.cohort import Cohort, Outcome, by_lot, require_disjoint
from visitwise.simulate import TEACHING
from visitwise.tables import study_from_table
from visitwise.visits import Schema, Visits, chosen

SCHEMA = Schema.of(["a", "b", "c"], static=["age"], measurements=["weight"])
ANY_SIGN = ("negative",)
# NaN in, NaN out, in the same place: a model's answer after a patient's last visit is NaN.
PASSES_ON = ("NaN", "infinite", "negative")


def t(*values: object) -> Tensor:
    return torch.tensor(values)


def logits() -> Tensor:
    return torch.linspace(-2, 1, 9).reshape(3, 3)


def record() -> Visits:
    return Visits.from_lists(
        [[["a"], ["b", "a"], []], [["b"], ["c"]], [["c", "a"], ["b"], ["b"]]],
        [[0, 30, 75], [0, 14], [0, 7, 90]],
        patient_id=[31, 47, 53],
        schema=SCHEMA,
        static=[[50.0], [60.0], [75.5]],
        measurements=[[[70.0], [float("nan")], [71.5]], [[80.0], [81.0]], [[float("nan")], [64.0], [63.0]]],
    )


def outcome() -> Outcome:
    return Outcome.of(t(3, 2, 3), t(1, 0, 0), start=t(0, 0, 1), censored_exposure=t(1.0, 0.5, 1.0))


def from_first() -> Outcome:
    """Everybody at risk from the first row on, and followed through the last."""
    return Outcome.of(t(3, 2, 1), t(1, 1, 0))


def cohort() -> Cohort:
    return Cohort(record(), outcome())


def likelihood() -> Given:
    return {"hazard_logits": logits(), "stop": t(3, 2, 3), "observed": t(True, False, False), "start": t(0, 0, 1)}


def flat() -> Given:
    return {**likelihood(), "hazard_logits": logits().flatten()[:8], "offsets": t(0, 3, 5, 8)}


def causes() -> Given:
    return {
        "cause_logits": torch.linspace(-2, 1, 18).reshape(3, 3, 2),
        "stop": t(3, 2, 3),
        "cause": t(1, 0, 2),
        "start": t(0, 0, 1),
    }


def ahead() -> Given:
    return {**likelihood(), "hazard_logits": torch.linspace(-2, 1, 18).reshape(3, 3, 2)}


def ratings() -> Given:
    return {
        "ratings": torch.linspace(0.1, 0.9, 6).reshape(2, 3),
        "classifier_factors": t((1.0, 0.5)),
        "patient_factors": t((0.8, 0.4, -0.3)),
        "confidence": torch.linspace(0.5, 1, 6).reshape(2, 3),
    }


def labels() -> Given:
    return {
        "classifier_factors": t((1.0, 0.5)),
        "patient_factors": t((0.8, 0.4, -0.3)),
        "labels": t(1.0, 0.0, 0.5),
        "labelled": t(True, True, False),
    }


def vote(ratings: Tensor) -> Tensor:
    return ratings.sum(0)


@cache
def drawn() -> Cohort:
    return TEACHING.draw(60, seed=0).cohort


@cache
def fitted(kind: Callable[..., Any]) -> Any:
    return kind.fit(drawn(), baselines.static_features) if kind is not baselines.LifeTableHazard else kind.fit(drawn())


def rnn(kind: Callable[..., Any] = model.SurvivalRNN, **settings: Any) -> Any:
    return kind(SCHEMA, embedding=3, hidden=4, **settings)


@cache
def estimated() -> estimator.SurvivalRNNEstimator:
    return estimator.SurvivalRNNEstimator(horizon=2, embedding=3, hidden=4, epochs=1).fit(drawn())


def survival_ahead() -> Tensor:
    return t((0.9, 0.7, 0.6), (0.8, 0.5, 0.4), (0.95, 0.9, 0.8))


def chosen_arrays(visits: Visits, patients: Tensor) -> list[Tensor]:
    some = chosen(visits, patients)
    return [some.codes, some.day, some.static]


def risk() -> Tensor:
    return t(0.3, 0.2, 0.1)


def probabilities() -> Tensor:
    return t((0.1, 0.2, 0.3), (0.3, 0.2, 0.1), (0.4, 0.5, 0.05))


def one_patient() -> Given:
    return {"hazard": t(0.1, 0.2, 0.3), "survival": t(0.9, 0.72, 0.504), "true_hazard": t(0.1, 0.1, 0.2)}


def drawing(function: Callable[..., Any]) -> Callable[..., Any]:
    """The picture, on new axes each time."""

    def call(**given: Any) -> Any:
        return function(**given, axes=Figure().subplots())

    call.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return call


def of_two(function: Callable[..., Any], given: Callable[[], Given], **settings: Any) -> Subject:
    return Subject(partial(function, **settings), given)


def elementwise(function: Callable[..., Any], argument: str, *ordinary: str) -> Subject:
    """Any number of axes and any length will do."""
    return Subject(function, lambda: {argument: logits()}, ordinary={argument: ("axes", "length", "empty", *ordinary)})


def of_probability(function: Callable[..., Any], argument: str, values: Tensor) -> Subject:
    return Subject(function, lambda: {argument: values.clone()}, ordinary={argument: ("axes", "length", "empty")})


ONE_FOR_ALL = {("censored_exposure", "axes"): lambda one: one.expand(3)}
LOGITS = {"hazard_logits": ANY_SIGN}
CAUSES = {"cause_logits": ANY_SIGN}
FROM_THE_END = {("patients", "negative"): lambda from_the_end: from_the_end % 3}
ANY_RISK = ("infinite", "negative", "huge")
ANY_LOSS = dict.fromkeys(("nll", "baseline", "oracle"), ("negative", "huge"))
ANY_WEIGHT = {
    "hazard_logits": ("axes", "length", "empty", *PASSES_ON),
    **dict.fromkeys(("event_weight", "gamma"), ("huge",)),
}
ANY_SIZE = ("negative", "huge")  # the square of 10³⁰ is infinite in float32, and is returned as that
BATCH = {"length": ("length", "huge")}
FEATURES = torch.arange(16.0).reshape(8, 2)


def lstm() -> nn.LSTM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.LSTM(2, 3, batch_first=True)


def loss_module(kind: Callable[..., nn.Module], given: Callable[[], Given], ordinary: Mapping[str, Any]) -> Subject:
    return Subject(kind().forward, given, ordinary=ordinary)


def events() -> pd.DataFrame:
    who = [f"P{i}" for i in range(20)]
    return pd.DataFrame({"patient": who * 2, "time": [0] * 20 + [30] * 20, "code": "pain"})


def outcomes() -> pd.DataFrame:
    who = [f"P{i}" for i in range(20)]
    return pd.DataFrame({"patient": who, "event_time": [50, None] * 10, "end_of_follow_up": 90})


SUBJECTS: dict[str, Subject] = {
    "functional.hazard": elementwise(F.hazard, "hazard_logits", *PASSES_ON),
    "functional.log_survival": elementwise(F.log_survival, "hazard_logits", *PASSES_ON),
    "functional.survival": elementwise(F.survival, "hazard_logits", *PASSES_ON),
    "functional.event_probability": elementwise(F.event_probability, "hazard_logits", *PASSES_ON),
    "functional.cumulative_hazard": elementwise(F.cumulative_hazard, "hazard_logits", *PASSES_ON),
    "functional.logits_from_hazard": of_probability(F.logits_from_hazard, "hazard", probabilities()),
    "functional.logits_from_survival": of_probability(F.logits_from_survival, "survival", survival_ahead()),
    "functional.logits_from_event_probability": of_probability(
        F.logits_from_event_probability, "event_probability", probabilities() / 2
    ),
    "functional.logits_from_cumulative_hazard": of_probability(
        F.logits_from_cumulative_hazard, "cumulative_hazard", probabilities().cumsum(1)
    ),
    "functional.logits_from_cloglog": elementwise(F.logits_from_cloglog, "cloglog", *PASSES_ON),
    "functional.hazard_nll": Subject(
        F.hazard_nll,
        lambda: {**likelihood(), "censored_exposure": t(1.0, 0.5, 1.0)},
        ordinary=LOGITS,
        equivalent=ONE_FOR_ALL,
    ),
    "functional.hazard_nll_flat": Subject(
        F.hazard_nll_flat,
        lambda: {**flat(), "censored_exposure": t(1.0, 0.5, 1.0)},
        ordinary=LOGITS,
        equivalent=ONE_FOR_ALL,
    ),
    "functional.cause_hazard": elementwise(F.cause_hazard, "cause_logits", *PASSES_ON),
    "functional.all_cause_logits": elementwise(F.all_cause_logits, "cause_logits", *PASSES_ON),
    "functional.cumulative_incidence": elementwise(F.cumulative_incidence, "cause_logits", *PASSES_ON),
    "functional.competing_risks_nll": Subject(
        F.competing_risks_nll,
        lambda: {**causes(), "censored_exposure": t(1.0, 0.5, 1.0)},
        ordinary=CAUSES,
        equivalent=ONE_FOR_ALL,
    ),
    "functional.horizon_nll": Subject(
        F.horizon_nll,
        lambda: {**ahead(), "censored_exposure": t(1.0, 0.5, 1.0)},
        ordinary=LOGITS,
        equivalent=ONE_FOR_ALL,
    ),
    "functional.fixed_horizon_bce": Subject(
        F.fixed_horizon_bce,
        lambda: {
            "event_logits": t(0.5, -1.0, 2.0),
            "stop": t(3, 2, 3),
            "observed": t(True, False, False),
            "horizon": 2,
            "start": t(0, 0, 1),
            "weight": t(1.0, 2.0, 0.5),
        },
        ordinary={"event_logits": ANY_SIGN, "stop": ("huge",)},
    ),
    "functional.person_period": Subject(
        F.person_period,
        lambda: {"stop": t(3, 2, 3), "observed": t(True, False, False), "start": t(0, 0, 1)},
        ordinary={"stop": ("huge",)},
    ),
    "losses.outcome_nll": Subject(
        losses.outcome_nll, lambda: {"hazard_logits": logits(), "outcome": outcome()}, ordinary=LOGITS
    ),
    "losses.outcome_competing_nll": Subject(
        losses.outcome_competing_nll,
        lambda: {"cause_logits": causes()["cause_logits"], "outcome": outcome()},
        ordinary=CAUSES,
    ),
    "losses.outcome_horizon_nll": Subject(
        losses.outcome_horizon_nll,
        lambda: {"hazard_logits": ahead()["hazard_logits"], "outcome": outcome()},
        ordinary=LOGITS,
    ),
    "losses.HazardNLL": loss_module(losses.HazardNLL, likelihood, LOGITS),
    "losses.HazardNLLFlat": loss_module(losses.HazardNLLFlat, flat, LOGITS),
    "losses.CompetingRisksNLL": loss_module(losses.CompetingRisksNLL, causes, CAUSES),
    "losses.HorizonNLL": loss_module(losses.HorizonNLL, ahead, LOGITS),
    "zoo.best_hazards": Subject(
        lambda hazard: zoo.best_hazards(F.hazard_nll, hazard),
        lambda: {"hazard": t(0.1, 0.4)},
        ordinary={"hazard": ("length",)},
    ),
    "zoo.event_weighted_nll": Subject(
        zoo.event_weighted_nll,
        lambda: {**likelihood(), "event_weight": 3.0},
        ordinary={**LOGITS, "event_weight": ("huge",)},
    ),
    "zoo.unweighted_logits": Subject(
        zoo.unweighted_logits,
        lambda: {"hazard_logits": logits(), "event_weight": 3.0},
        ordinary=ANY_WEIGHT,
    ),
    "zoo.focal_loss": Subject(
        zoo.focal_loss, lambda: {**likelihood(), "gamma": 2.0, "alpha": 0.25}, ordinary={**LOGITS, "gamma": ("huge",)}
    ),
    "zoo.unfocused_logits": Subject(
        zoo.unfocused_logits,
        lambda: {"hazard_logits": logits(), "gamma": 2.0, "alpha": 0.25},
        ordinary=ANY_WEIGHT,
    ),
    "zoo.row_weighted_nll": Subject(
        zoo.row_weighted_nll, lambda: {**likelihood(), "row_weight": torch.ones(3, 3)}, ordinary=LOGITS
    ),
    "zoo.squared_error": Subject(zoo.squared_error, likelihood, ordinary=LOGITS),
    "zoo.gaussian_nll": Subject(
        zoo.gaussian_nll,
        lambda: {**likelihood(), "log_variance": logits() / 2},
        ordinary={**LOGITS, "log_variance": ANY_SIGN},
    ),
    "zoo.calibration_penalty": Subject(zoo.calibration_penalty, likelihood, ordinary=LOGITS),
    "zoo.smoothness_penalty": Subject(zoo.smoothness_penalty, likelihood, ordinary=LOGITS),
    "zoo.ranking_loss": Subject(zoo.ranking_loss, likelihood, ordinary=LOGITS),
    "factorization.reconstruction_loss": Subject(
        factorization.reconstruction_loss,
        lambda: {**ratings(), "ridge": 0.1},
        ordinary={**dict.fromkeys(("ratings", "classifier_factors", "patient_factors"), ANY_SIZE), "ridge": ("huge",)},
    ),
    "factorization.supervised_loss": Subject(
        partial(factorization.supervised_loss, aggregator=vote),
        labels,
        ordinary=dict.fromkeys(("classifier_factors", "patient_factors"), ANY_SIZE),
    ),
    "factorization.combined_loss": Subject(
        partial(factorization.combined_loss, aggregator=vote),
        lambda: {**ratings(), **labels(), "rho": 0.5},
        ordinary=dict.fromkeys(("ratings", "classifier_factors", "patient_factors"), ANY_SIZE),
    ),
    "factorization.weighted_vote": Subject(
        factorization.weighted_vote,
        lambda: {"ratings": ratings()["ratings"], "weight": t(2.0, 1.0), "bias": torch.tensor(-1.0)},
        ordinary=dict.fromkeys(("ratings", "weight", "bias"), (*PASSES_ON, "huge")),
        equivalent={("bias", "axes"): lambda one: one.reshape(())},
    ),
    "factorization.ReconstructionLoss": Subject(
        factorization.ReconstructionLoss().forward,
        ratings,
        ordinary=dict.fromkeys(("ratings", "classifier_factors", "patient_factors"), ANY_SIZE),
    ),
    "factorization.SupervisedLoss": Subject(
        factorization.SupervisedLoss(vote).forward,
        labels,
        ordinary=dict.fromkeys(("classifier_factors", "patient_factors"), ANY_SIZE),
    ),
    "factorization.CombinedLoss": Subject(
        factorization.CombinedLoss(vote).forward,
        lambda: {**ratings(), **labels()},
        ordinary=dict.fromkeys(("ratings", "classifier_factors", "patient_factors"), ANY_SIZE),
    ),
    "factorization.WeightedVote": Subject(
        factorization.WeightedVote(2).forward,
        lambda: {"ratings": ratings()["ratings"]},
        ordinary={"ratings": (*PASSES_ON, "huge")},
    ),
    "visits.Visits": Subject(
        Visits,
        lambda: {name: getattr(record(), name) for name in Visits.__dataclass_fields__},
        ordinary={
            "measurements": ("NaN", "negative", "huge"),
            "static": ("negative", "huge"),
            "day": ANY_SIGN,
            "patient_id": ("negative", "huge"),
        },
    ),
    "visits.Visits.from_lists": Subject(
        Visits.from_lists,
        lambda: {
            "codes": [[["a"], ["b", "a"]], [["c"]]],
            "day": [[0.0, 30.0], [5.0]],
            "schema": SCHEMA,
            "patient_id": [31, 47],
            "static": [[50.0], [60.0]],
            "measurements": [[[70.0], [71.0]], [[80.0]]],
        },
        ordinary={
            "measurements": ("NaN", "negative", "huge"),
            "static": ("negative", "huge"),
            "day": ANY_SIGN,
            "patient_id": ANY_SIGN,
        },
    ),
    "visits.Visits.pad": Subject(
        record().pad,
        lambda: {"values": FEATURES.clone()},
        ordinary={"values": ("axes", *PASSES_ON)},
        equivalent={("values", "type"): lambda any_numbers: any_numbers},
    ),
    "visits.Visits.unpad": Subject(
        record().unpad,
        lambda: {"padded": record().pad(FEATURES)},
        ordinary={"padded": PASSES_ON},
        equivalent={("padded", "type"): lambda any_numbers: any_numbers, ("padded", "axes"): lambda rest: rest},
    ),
    "visits.Visits.pack": Subject(
        record().pack,
        lambda: {"values": FEATURES.clone()},
        ordinary={"values": ("axes", *PASSES_ON)},
        equivalent={("values", "type"): lambda any_numbers: any_numbers},
    ),
    "visits.Visits.unpack": Subject(record().unpack, lambda: {"packed": record().pack(FEATURES)}),
    "visits.Visits.select": Subject(
        record().select,
        lambda: {"patients": t(2, 0), "length": t(1, 3)},
        equivalent=FROM_THE_END,
    ),
    "visits.chosen": Subject(
        chosen_arrays,
        lambda: {"visits": record(), "patients": t(2, 0)},
        ordinary={"patients": ("length",), "visits": ("length",)},
        equivalent=FROM_THE_END,
    ),
    "model.VisitEncoder": Subject(
        rnn().encoder.forward, lambda: {"visits": record()}, ordinary={"visits": ("length",)}
    ),
    "model.SurvivalRNN": Subject(
        rnn().predict,
        lambda: {"visits": record(), "start": t(0, 0, 1), "batch_size": 2},
        ordinary={"batch_size": ("huge",)},
    ),
    "model.CompetingRisksRNN": Subject(
        rnn(model.CompetingRisksRNN).predict,
        lambda: {"visits": record(), "start": t(0, 0, 1), "batch_size": 2},
        ordinary={"batch_size": ("huge",)},
    ),
    "model.HorizonRNN": Subject(
        rnn(model.HorizonRNN).predict,
        lambda: {"visits": record(), "start": t(0, 0, 1), "batch_size": 2},
        ordinary={"batch_size": ("huge",)},
    ),
    "rows.lay_out": Subject(rows.lay_out, lambda: {"length": t(3, 2, 3)}, ordinary=BATCH),
    "rows.run_in_rows": Subject(
        rows.run_in_rows,
        lambda: {"recurrence": lstm(), "visits": record(), "vectors": FEATURES.clone() / 8},
        ordinary={"vectors": (*PASSES_ON, "huge")},
    ),
    "staircase.stretches": Subject(staircase.stretches, lambda: {"length": t(3, 2, 3)}, ordinary=BATCH),
    "staircase.run_in_stretches": Subject(
        staircase.run_in_stretches,
        lambda: {"recurrence": lstm(), "visits": record(), "vectors": FEATURES.clone() / 8},
        ordinary={"vectors": (*PASSES_ON, "huge")},
    ),
    "baselines.best_constant_hazard": Subject(
        lambda outcome: baselines.best_constant_hazard(F.hazard_nll, outcome),
        lambda: {"outcome": from_first()},
        ordinary={"outcome": ("length",)},
    ),
    "baselines.static_features": Subject(
        baselines.static_features, lambda: {"visits": record()}, ordinary={"visits": ("length",)}
    ),
    "baselines.current_features": Subject(
        baselines.current_features, lambda: {"visits": record()}, ordinary={"visits": ("length",)}
    ),
    "baselines.history_features": Subject(
        baselines.history_features, lambda: {"visits": record()}, ordinary={"visits": ("length",)}
    ),
    "baselines.LifeTableHazard": Subject(
        baselines.LifeTableHazard.fit, lambda: {"train": drawn()}, ordinary={"train": ("length",)}
    ),
    "baselines.LogisticHazard": Subject(
        lambda train: baselines.LogisticHazard.fit(train, baselines.static_features)(drawn().visits),
        lambda: {"train": drawn()},
        ordinary={"train": ("length",)},
    ),
    "baselines.CoxHazard": Subject(
        lambda train: baselines.CoxHazard.fit(train, baselines.static_features)(drawn().visits),
        lambda: {"train": drawn()},
        ordinary={"train": ("length",)},
    ),
    "leakage.check_no_leak": Subject(
        lambda cohort: str(leakage.check_no_leak(cohort, rnn(), progress=False)),
        lambda: {"cohort": cohort()},
        ordinary={"cohort": ("length",)},
    ),
    "leakage.edit_later_visits": Subject(
        partial(leakage.edit_later_visits, seed=0), lambda: {"visits": record(), "last_kept": t(0, 1, 1)}
    ),
    "plots.hazard_and_survival": Subject(drawing(plots.hazard_and_survival), one_patient),
    "plots.timelines": Subject(
        drawing(plots.timelines),
        lambda: {"cohort": cohort(), "patients": [0, 2]},
        ordinary={"patients": ("length",), "cohort": ("length",)},
    ),
    "plots.learned_against_true": Subject(
        drawing(plots.learned_against_true),
        lambda: {"learned": probabilities(), "true": probabilities() / 2},
        ordinary=dict.fromkeys(("learned", "true"), ("NaN",)),
    ),
    "simulate.draw_outcome": Subject(
        partial(simulate.draw_outcome, seed=0),
        lambda: {"hazard": probabilities(), "dropout": 0.1},
        ordinary={"hazard": ("length",)},
    ),
    "simulate.Simulator": Subject(
        simulate.Simulator,
        lambda: {
            "event_rate": 0.3,
            "scale": 1.0,
            "dropout": 0.1,
            "max_visits": 5,
            "gap_days": 60.0,
            "record": 0.5,
            "frailty": 0.1,
            "study_days": 100.0,
        },
        ordinary={"scale": ("negative", "huge"), **dict.fromkeys(("gap_days", "frailty", "study_days"), ("huge",))},
    ),
    "simulate.Effects": Subject(
        simulate.Effects, lambda: {"age": 0.3, "now": 0.2}, ordinary=dict.fromkeys(("age", "now"), ("negative", "huge"))
    ),
    "textbook.weights_of_codes": Subject(
        textbook.weights_of_codes,
        lambda: {"scores": logits(), "code_mask": logits() > -1.9},
        ordinary={"scores": PASSES_ON},
    ),
    "training.evaluate_nll": Subject(
        lambda cohort, batch_size: training.evaluate_nll(rnn(), cohort, batch_size=batch_size),
        lambda: {"cohort": cohort(), "batch_size": 2},
        ordinary={"cohort": ("length",)},
    ),
    "training.fit": Subject(
        lambda train, epochs, batch_size, patience, validation=None: training.fit(
            rnn(), train, validation, epochs=epochs, batch_size=batch_size, patience=patience, progress=False
        ),
        lambda: {
            "train": cohort().select(t(0, 1)),
            "validation": cohort().select(t(2)),
            "epochs": 1,
            "batch_size": 2,
            "patience": 1,
        },
        ordinary={"train": ("length",)},
    ),
    "parallel.exact_mean": Subject(
        parallel.exact_mean,
        lambda: {"loss_sum": torch.tensor(6.0), "count": 4},
        ordinary={"loss_sum": PASSES_ON, "count": ("huge",)},
    ),
    "metrics.kaplan_meier": Subject(
        metrics.kaplan_meier, lambda: {"outcome": from_first()}, ordinary={"outcome": ("length",)}
    ),
    "metrics.censoring_survival": Subject(
        metrics.censoring_survival, lambda: {"outcome": from_first()}, ordinary={"outcome": ("length",)}
    ),
    "metrics.concordance": Subject(
        metrics.concordance,
        lambda: {"risk": risk(), "outcome": from_first(), "landmark": 0, "horizon": 3},
        ordinary={"risk": ANY_RISK, "horizon": ("huge",)},
    ),
    "metrics.cumulative_dynamic_auc": Subject(
        metrics.cumulative_dynamic_auc,
        lambda: {"risk": risk(), "outcome": Outcome.of(t(1, 2, 3), t(1, 1, 0)), "landmark": 0, "horizon": 2},
        ordinary={"risk": ANY_RISK},
    ),
    "metrics.incident_dynamic_auc": Subject(
        metrics.incident_dynamic_auc, lambda: {"hazard": probabilities(), "outcome": Outcome.of(t(3, 2, 3), t(1, 1, 0))}
    ),
    "metrics.brier": Subject(
        metrics.brier,
        lambda: {
            "survival": survival_ahead(),
            "outcome": Outcome.of(t(3, 2, 3), t(1, 1, 0)),
            "horizon": 1,
            "landmark": 0,
        },
    ),
    "metrics.integrated_brier": Subject(
        metrics.integrated_brier,
        lambda: {
            "survival": survival_ahead(),
            "outcome": Outcome.of(t(3, 2, 3), t(1, 1, 0)),
            "horizons": [1, 2],
            "landmark": t(0, 0, 0),
        },
        ordinary={"horizons": ("length",), "landmark": ("negative", "huge")},  # nobody is at risk there
        equivalent={("landmark", "axes"): lambda one: one.expand(3)},
    ),
    "metrics.calibration": Subject(
        metrics.calibration,
        lambda: {"hazard": probabilities(), "outcome": Outcome.of(t(3, 2, 3), t(1, 1, 0)), "bins": 2},
        ordinary={"bins": ("huge",)},
    ),
    "metrics.d_calibration": Subject(
        metrics.d_calibration,
        lambda: {"hazard": probabilities(), "outcome": Outcome.of(t(3, 2, 3), t(1, 1, 0)), "bins": 2},
        ordinary={"bins": ("huge",)},
    ),
    "metrics.nll_per_row": Subject(
        metrics.nll_per_row, lambda: {"hazard_logits": logits(), "outcome": outcome()}, ordinary=LOGITS
    ),
    "metrics.share_explained": Subject(
        metrics.share_explained, lambda: {"nll": 0.4, "baseline": 0.5, "oracle": 0.3}, ordinary=ANY_LOSS
    ),
    "cohort.Outcome": Subject(
        Outcome,
        lambda: {**vars(outcome()), "followup_days": t(30.0, 60.0, 90.0)},
        ordinary={"followup_days": ("NaN", "huge"), **dict.fromkeys(("stop", "cause"), ("huge",))},
    ),
    "cohort.Outcome.of": Subject(
        Outcome.of,
        lambda: {
            "stop": t(3, 2, 3),
            "observed": t(True, False, True),
            "start": t(0, 0, 1),
            "cause": t(1, 0, 2),
            "censored_exposure": t(1.0, 0.5, 1.0),
            "followup_days": t(30.0, 60.0, 90.0),
        },
        ordinary={"followup_days": ("NaN", "huge"), **dict.fromkeys(("stop", "cause"), ("huge",))},
        equivalent={("observed", "type"): lambda ones: torch.as_tensor(np.asarray(ones, dtype=float)).bool()},
    ),
    "cohort.Outcome.select": Subject(
        outcome().select,
        lambda: {"patients": t(2, 0)},
        ordinary={"patients": ("length", "empty")},
        equivalent=FROM_THE_END,
    ),
    "cohort.Cohort": Subject(Cohort, lambda: {"visits": record(), "outcome": outcome()}),
    "cohort.Cohort.select": Subject(
        cohort().select, lambda: {"patients": t(2, 0)}, ordinary={"patients": ("length",)}, equivalent=FROM_THE_END
    ),
    "cohort.Cohort.concat": Subject(
        Cohort.concat,
        lambda: {"cohorts": [cohort().select(t(0, 2)), cohort().select(t(1))]},
        ordinary={"cohorts": ("length",)},
    ),
    "cohort.Cohort.split": Subject(
        cohort().split, lambda: {"fractions": [0.6, 0.4], "seed": 0}, ordinary={"seed": ("huge",)}
    ),
    "cohort.Cohort.batches": Subject(
        lambda batch_size, seed, epoch, window: list(
            cohort().batches(batch_size, seed=seed, epoch=epoch, window=window)
        ),
        lambda: {"batch_size": 2, "seed": 0, "epoch": 0, "window": 1},
        ordinary=dict.fromkeys(("seed", "epoch"), ("huge",)),
    ),
    "cohort.Cohort.parts": Subject(
        lambda padded_visits: list(cohort().parts(padded_visits)),
        lambda: {"padded_visits": 4},
        ordinary={"padded_visits": ("huge",)},
    ),
    "cohort.Cohort.portions": Subject(
        lambda visits: list(cohort().portions(visits)), lambda: {"visits": 4}, ordinary={"visits": ("huge",)}
    ),
    "cohort.by_lot": Subject(
        by_lot, lambda: {"n_patients": 5, "fractions": [0.6, 0.4], "seed": 0}, ordinary={"seed": ("huge",)}
    ),
    "cohort.require_disjoint": Subject(
        lambda one, other: require_disjoint(one, other),
        lambda: {"one": cohort().select(t(0, 2)), "other": cohort().select(t(1))},
        ordinary={"one": ("length",), "other": ("length",)},
    ),
    "study.Study": Subject(
        study.Study,
        lambda: {"cohort": cohort(), "split": t(0, 1, 2), "origin": t(0, 1, 2), "names": ("x", "y", "z")},
        ordinary={"origin": ("negative", "huge"), "names": ("axes",), "cohort": ("device",)},
    ),
    "study.Study.of": Subject(
        lambda cohort, seed, fractions: study.Study.of(cohort, seed=seed, fractions=fractions).split,
        lambda: {"cohort": drawn(), "seed": 0, "fractions": [0.6, 0.2, 0.2]},
        ordinary={"seed": ("huge",), "cohort": ("length", "device")},
    ),
    "estimator.SurvivalRNNEstimator.predict_hazard": Subject(
        lambda cohort: estimated().predict_hazard(cohort), lambda: {"cohort": drawn()}, ordinary={"cohort": ("length",)}
    ),
    "estimator.SurvivalRNNEstimator.predict_survival": Subject(
        lambda cohort, landmark: estimated().predict_survival(cohort, landmark),
        lambda: {"cohort": drawn(), "landmark": 0},
        ordinary={"cohort": ("length",)},
    ),
    "estimator.followup_from": Subject(
        estimator.followup_from,
        lambda: {"cohort": cohort(), "landmark": 0, "horizon": 2},
        ordinary={"cohort": ("length",), "horizon": ("huge",)},
    ),
    "losses.multi_task_loss": Subject(
        lambda stroke, weight: losses.multi_task_loss({"stroke": stroke}, {"stroke": weight}),
        lambda: {"stroke": torch.tensor(1.5), "weight": 0.5},
        ordinary={"stroke": (*PASSES_ON, "huge"), "weight": ("huge",)},
        equivalent={("stroke", "axes"): lambda one: one.reshape(())},
    ),
    "plots.training_history": Subject(
        drawing(plots.training_history), lambda: {"history": training.History([2.0, 1.5], [2.1, 1.7])}
    ),
    "plots.estimates": Subject(
        lambda value, truth: plots.estimates({"value": value}, truth, Figure().subplots()),
        lambda: {"value": 0.1, "truth": 0.2},
        ordinary=dict.fromkeys(("value", "truth"), ("negative", "huge")),
    ),
    "tables.study_from_table": Subject(
        lambda events, outcomes: study_from_table(events, outcomes).cohort,
        lambda: {"events": events(), "outcomes": outcomes()},
    ),
    "run.table_one": Subject(run.table_one, lambda: {"cohort": cohort()}, ordinary={"cohort": ("length",)}),
    "run.vocabulary": Subject(run.vocabulary, lambda: {"train": cohort()}, ordinary={"train": ("length",)}),
    "run.fingerprints": Subject(run.fingerprints, lambda: {"cohort": cohort()}, ordinary={"cohort": ("length",)}),
    "run.by_lot_at_most": Subject(
        run.by_lot_at_most,
        lambda: {"cohort": cohort(), "most": 2},
        ordinary={"cohort": ("length",), "most": ("huge",)},
    ),
}

RESULT = "what a function returns; nobody makes one by hand"
SETTINGS = "takes settings and no data, and refuses each wrong one by its name"
NO_DATA = "takes no data"
RECORDS = "reads records as a shard holds them: the tests of events, tables and MEDS try what may be wrong with those"
FILES = "reads and writes files: their own tests damage them in every way"
RUN = "stands behind a command of `visitwise`, which checks what it is given first"
TUTORIAL = "is kept as tutorials write it, mistakes and all, to be taken apart"
FIGURE = "a figure: its state comes from its own controls and is checked there"
ANYTHING = "takes any answer a reader may give, and raises nothing"
PROCESSES = "is called by training itself in each process, with the model that it trains"

EXCUSED: dict[str, str] = {
    **dict.fromkeys(("check.Answer", "check.Mistake"), RESULT),
    **dict.fromkeys(("check.near", "check.same", "check.values"), ANYTHING),
    "cli.Refused": "an error",
    "cohort.CohortWriter": "takes parts of a cohort, which were checked when they were made",
    **dict.fromkeys(("datasets.small", "datasets.nafld", "datasets.pbc"), NO_DATA),
    **dict.fromkeys(("definition.CohortDefinition", "definition.lying_in"), SETTINGS),
    **dict.fromkeys(("definition.stands_for", "definition.longest_name"), NO_DATA),
    **dict.fromkeys(("functional.PersonPeriod", "leakage.Finding", "leakage.LeakReport"), RESULT),
    "losses.MultiTaskLoss": "adds up losses, each of which has its row; `multi_task_loss` is its arithmetic",
    "meds.require_polars": NO_DATA,
    **dict.fromkeys(("metrics.Score", "metrics.LifeTable", "metrics.CensoringSurvival"), RESULT),
    **dict.fromkeys(("metrics.Calibration", "metrics.DCalibration", "plots.HasHistory", "plots.calibration"), RESULT),
    **dict.fromkeys(("model.Prediction", "model.CausePrediction", "model.HorizonPrediction"), RESULT),
    **dict.fromkeys(("model.Settings", "visits.Schema"), SETTINGS),
    **dict.fromkeys(("notebook.Picture", "notebook.show", "notebook.fact"), "publishes what a notebook shows"),
    **dict.fromkeys(("parallel.place", "parallel.device_of", "parallel.joined", "parallel.run_processes"), NO_DATA),
    **dict.fromkeys(
        ("parallel.sum_over_processes", "parallel.begin_alike", "parallel.sum_gradients", "parallel.step_gradients"),
        PROCESSES,
    ),
    **dict.fromkeys(("rows.Layout", "staircase.Stretch", "simulate.Simulation", "study.Flow"), RESULT),
    "study.texts_of": NO_DATA,
    **dict.fromkeys(("textbook.collate", "textbook.TextbookLSTM", "textbook.clamp_and_log_nll"), TUTORIAL),
    **dict.fromkeys(("textbook.effects_of_masks", "textbook.change_in_company"), TUTORIAL),
    **dict.fromkeys(("textbook.Effect", "trained.Curve", "training.History", "visits.Padded"), RESULT),
    **dict.fromkeys(("trained.world", "trained.file_of", "trained.load", "trained.curve"), NO_DATA),
    **dict.fromkeys(("trained.intercepts", "trained.train"), NO_DATA),
    **dict.fromkeys(("training.save_model", "training.load_model", "visits.check_sizes"), FILES),
    **dict.fromkeys(("vocabulary.Vocabulary", "vocabulary.ancestry"), "holds names"),
}
# Whole modules, whose other names stand above.
MODULES_EXCUSED = {"events": RECORDS, "meds": RECORDS, "run": RUN, "widgets": FIGURE}


def excused(name: str) -> str | None:
    """Why a public name has no row; None if it has to have one."""
    return EXCUSED.get(name) or MODULES_EXCUSED.get(name.partition(".")[0])
