"""A model beside its baselines on the same patients: what each costs, and whether they differ by more than chance."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from visitwise import metrics
from visitwise._explain import explained
from visitwise._ragged import offsets_of, ranges, trusted
from visitwise.baselines import LifeTableHazard, LogisticHazard, history_features
from visitwise.cohort import Cohort
from visitwise.functional import person_period
from visitwise.losses import outcome_nll
from visitwise.visits import Schema, Visits

Hazard = Callable[[Visits], Tensor]

LIFE_TABLE, RIVAL, ORACLE = "life table", "logistic, history by hand", "oracle (true hazard)"
RIVAL_PATIENTS = 100_000  # at most, and fewer where the table of features would be larger than
RIVAL_BYTES = 1_000_000_000
RIVAL_CODES = 200
AT_ONCE = 1024
TIE = 2  # standard errors


@dataclass(frozen=True)
class Scores:
    """What `score` found.

    Args:
        yours: Name of the model that the others are compared with.
        record: All numbers, as JSON has them: `patients`, `rows`, `events`, and `models` by name.
        calibration: Predicted against observed hazard of each model.
    """

    yours: str
    record: dict[str, Any]
    calibration: dict[str, metrics.Calibration] = field(repr=False)


@explained
def fit_baselines(past: Cohort) -> tuple[dict[str, Hazard], list[str]]:
    """A life table and a logistic regression with a history made by hand, fitted to these patients.

    The regression looks at the 200 most common codes, and at as many patients, drawn by lot, as its table of features
    has room for in a gigabyte; 100,000 at most.

    Returns:
        The baselines by name, and what has to be said about them. Without the regression if there is nothing to fit.

    Examples:
        >>> from visitwise.simulate import TEACHING
        >>> fitted, notes = fit_baselines(TEACHING.draw(100, seed=0).cohort)
        >>> list(fitted), notes
        (['life table', 'logistic, history by hand'], [])
    """
    fitted: dict[str, Hazard] = {LIFE_TABLE: LifeTableHazard.fit(past)}
    notes = []
    features, n_codes = _features(past)
    if n_codes < len(past.visits.schema.codes) - 1:
        every = len(past.visits.schema.codes) - 1
        notes.append(f"The logistic regression looks at the {n_codes:,} most common of {every:,} codes.")
    columns = 3 * n_codes + 3 * len(past.visits.schema.measurements) + len(past.visits.schema.static) + 4
    per_patient = 8 * columns * past.visits.n_visits / len(past)
    most = max(1, min(RIVAL_PATIENTS, int(RIVAL_BYTES / per_patient)))
    if len(past) > most:
        notes.append(f"The logistic regression is fitted to {most:,} of {len(past):,} patients, by lot.")
        past, _ = past.split([most / len(past), 1 - most / len(past)], seed=0)
    try:
        fitted[RIVAL] = LogisticHazard.fit(past, features)
    except ValueError as reason:
        notes.append(f"No logistic regression: {reason}.")
    return fitted, notes


@explained
def score(judged: Mapping[str, Hazard], cohort: Cohort, yours: str, *, progress: bool = True) -> Scores:
    """Negative log-likelihood, AUC and calibration of several models on the same patients.

    `more_nll` is how much more a model costs per row than yours, `R = sum_i d_i / sum_i n_i` over patients with `n_i`
    rows each. Patients are drawn and not rows, so the number of rows is chance as well, and the standard `error` is
    that of a ratio (delta method), `sqrt(N / (N - 1) * sum_i (d_i - R n_i)^2) / sum_i n_i`. One patient has none.

    Args:
        judged: Models by name; each turns visits into hazard logits `[patient, visit]`.
        cohort: Patients that none of them was fitted to.
        yours: The model that the others are compared with, patient by patient.
        progress: Whether to show a progress bar.

    Examples:
        >>> from visitwise.simulate import TEACHING
        >>> train, judges = TEACHING.draw(300, seed=0).cohort.split([0.5, 0.5], seed=0)
        >>> fitted, _ = fit_baselines(train)
        >>> scores = score(fitted, judges, LIFE_TABLE, progress=False)
        >>> scores.record["patients"], scores.record["models"][RIVAL]["more_nll"] < 0
        (150, True)
    """
    costs, hazards = {}, {}
    for name, model in tqdm(judged.items(), desc="scoring", leave=False, disable=not progress):
        costs[name], hazards[name] = _answers(model, cohort)
    outcome, calibration = cohort.outcome, {}
    models: dict[str, dict[str, Any]] = {}
    for name, cost in costs.items():
        calibration[name] = metrics.calibration(hazards[name], outcome)
        more, error = _ratio((cost - costs[yours]).numpy(), (outcome.stop - outcome.start).numpy())
        models[name] = {
            "nll": float(cost.sum()) / outcome.n_rows,
            "auc": _auc(hazards[name], cohort),
            "expected_over_seen": _finite(calibration[name].ratio),
            "calibration_error": float(calibration[name].error),
            "more_nll": more,
            "error": error,
        }
    events = int(outcome.observed.sum())
    record = {"patients": len(cohort), "rows": outcome.n_rows, "events": events, "yours": yours, "models": models}
    if LIFE_TABLE in models and ORACLE in models and models[ORACLE]["nll"] < models[LIFE_TABLE]["nll"]:
        nll = [models[name]["nll"] for name in (yours, LIFE_TABLE, ORACLE)]
        record["share_explained"] = metrics.share_explained(*nll)
    return Scores(yours, record, calibration)


@explained
def difference(one: Mapping[str, Any]) -> str:
    """How much more a model costs than yours, with its standard error, in figures.

    Examples:
        >>> difference({"more_nll": 0.0123, "error": 0.004}), difference({"more_nll": 0.0123, "error": None})
        ('+0.01230 ± 0.00400', '+0.01230, no error')
    """
    error = ", no error" if one["error"] is None else f" ± {one['error']:.5f}"
    return f"{one['more_nll']:+.5f}{error}"


@explained
def verdict(record: Mapping[str, Any]) -> str:
    """Whether the model beats the best of its baselines, in words; a tie is called one.

    Args:
        record: As in `Scores`.

    Examples:
        >>> models = {"LSTM": {"nll": 0.31}, "life table": {"nll": 0.32, "more_nll": 0.01, "error": 0.02}}
        >>> verdict({"yours": "LSTM", "models": models}).split(" (")[0]
        'A tie: the LSTM and the life table cannot be told apart'
    """
    yours, models = record["yours"], record["models"]
    others = {name: one for name, one in models.items() if name not in (yours, ORACLE)}
    if not others:
        return f"No baseline was trained, so nothing says whether the {yours} is better than one."
    best = min(others, key=lambda name: others[name]["nll"])
    more, error = others[best]["more_nll"], others[best]["error"]
    named = "logistic regression" if best == RIVAL else best
    if error is None:
        return (
            f"Nothing says whether the {yours} is better than the {named} (NLL per row {more:+.5f} for the {named}, no "
            "error from one patient)."
        )
    numbers = f"NLL per row {more:+.5f} for the {named}, standard error {error:.5f}"
    if abs(more) <= TIE * error:
        return f"A tie: the {yours} and the {named} cannot be told apart ({numbers}). The {named} is the smaller model."
    if more < 0:
        return f"The {yours} is worse than the {named} ({numbers})."
    return f"The {yours} is better than the {named}, the best of its baselines ({numbers})."


class KnownHazard:
    """Hazards that are known for every visit of some patients, called like a model.

    Args:
        cohort: The patients.
        hazard: One number for each of their visits.

    Examples:
        >>> from visitwise.simulate import TEACHING
        >>> simulation = TEACHING.draw(5, seed=0)
        >>> known = KnownHazard(simulation.cohort, simulation.hazard)
        >>> two = simulation.cohort.visits.select(torch.tensor([3, 1]))
        >>> own = simulation.hazard[simulation.cohort.visits.patient == 3]
        >>> torch.allclose(known(two).sigmoid()[0, : len(own)], own.float())
        True
    """

    @explained
    def __init__(self, cohort: Cohort, hazard: Float[Tensor, " visit"]) -> None:
        self.patient_id, self.order = cohort.visits.patient_id.sort()
        self.begin = cohort.visits.visit_offsets[:-1]
        self.hazard = hazard

    @explained
    def __call__(self, visits: Visits) -> Float[Tensor, "patient visit"]:
        who = self.order[torch.searchsorted(self.patient_id, visits.patient_id)]
        own = self.hazard[ranges(self.begin[who], visits.length)]
        return visits.pad(torch.logit(own.float()), torch.nan)


def _answers(model: Hazard, cohort: Cohort) -> tuple[Tensor, Tensor]:
    """What each patient's outcome costs under the model, and the hazard of each row at risk."""
    costs, hazards = [], []
    for patients in torch.arange(len(cohort)).split(AT_ONCE):
        some = cohort.select(patients)
        logits = model(some.visits)
        costs.append(outcome_nll(logits, some.outcome, reduction="none").double())
        rows = person_period(some.outcome.stop, some.outcome.observed, some.outcome.start)
        hazards.append(logits.sigmoid()[rows.patient, rows.visit])
    return torch.cat(costs), torch.cat(hazards)


def _ratio(total: np.ndarray, rows: np.ndarray) -> tuple[float, float | None]:
    """Sum of the totals over the rows, and its standard error where patients are drawn, each with rows of their own."""
    n_rows, n = float(rows.sum()), len(rows)
    ratio = float(total.sum()) / n_rows
    if n < 2:
        return ratio, None
    return ratio, float(np.sqrt(n / (n - 1) * np.square(total - ratio * rows).sum())) / n_rows


def _auc(hazard: Tensor, cohort: Cohort) -> float | None:
    try:
        return float(metrics.incident_dynamic_auc(hazard, cohort.outcome, "events"))
    except ValueError:  # no row has both an event and somebody who survived it
        return None


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _features(past: Cohort) -> tuple[Callable[[Visits], np.ndarray], int]:
    """The columns of the regression, and how many codes they look at."""
    n_codes = len(past.visits.schema.codes)
    if n_codes - 1 <= RIVAL_CODES:
        return history_features, n_codes - 1
    counts = torch.zeros(n_codes, dtype=torch.int64)
    for patients in torch.arange(len(past)).split(AT_ONCE):
        counts += torch.bincount(past.visits.select(patients).codes.long(), minlength=n_codes)
    most = counts[1:].argsort(descending=True, stable=True)[:RIVAL_CODES].sort().values + 1

    def features(visits: Visits) -> np.ndarray:
        return history_features(_only(visits, most))

    return features, len(most)


def _only(visits: Visits, codes: Tensor) -> Visits:
    """The same visits with these codes alone."""
    place = torch.zeros(len(visits.schema.codes), dtype=visits.codes.dtype)
    place[codes] = torch.arange(1, len(codes) + 1, dtype=place.dtype)
    renamed = place[visits.codes.long()]
    before = offsets_of((renamed > 0).long())
    schema = Schema.of(
        [visits.schema.codes[code] for code in codes.tolist()], visits.schema.static, visits.schema.measurements
    )
    return trusted(
        Visits,
        codes=renamed[renamed > 0],
        code_offsets=before[visits.code_offsets],
        visit_offsets=visits.visit_offsets,
        day=visits.day,
        patient_id=visits.patient_id,
        static=visits.static,
        measurements=visits.measurements,
        schema=schema,
    )
