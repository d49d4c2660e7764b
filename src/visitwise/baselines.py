"""What an LSTM has to beat: a life table, logistic and Cox regressions on the person-period table.

Each baseline is called like the model, `baseline(visits) -> hazard_logits [patient, visit]`, so that the same loss and
the same metrics judge all of them.
"""

import math
from collections.abc import Callable
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import brentq
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from visitwise._explain import explained
from visitwise._ragged import refuse
from visitwise.cohort import Cohort, Outcome
from visitwise.functional import logits_from_cloglog, logits_from_hazard, person_period
from visitwise.visits import Schema, Visits

Features = Callable[[Visits], Float[np.ndarray, "visit feature"]]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

DECAY_DAYS = 365.25


@explained
def best_constant_hazard(loss: Loss, outcome: Outcome) -> float:
    """The smallest model there is: the one hazard, shared by all patients and visits, that makes a loss smallest.

    It is 0 or 1 where the loss falls all the way there: the right likelihood of patients without any event is smallest
    at a hazard of 0, and where every row holds an event, at 1.

    Args:
        loss: of `hazard_logits` `[patient, visit]`, `stop` and `observed`, such as `visitwise.functional.hazard_nll`;
            with one lowest point, as likelihoods have. `functools.partial` gives it what else it needs.
        outcome: what became of the patients; all have to be at risk from their first visit, and the censored in the
            whole of their last row, because the loss is not told otherwise.

    Returns:
        For the right likelihood, events divided by rows.

    Raises:
        ValueError: There is no patient, a patient enters later or is credited with a part of the last row, the loss is
            not one finite number, or it is the same for every hazard.

    Examples:
        >>> from visitwise.functional import hazard_nll
        >>> outcome = Outcome.of(stop=torch.tensor([3, 2]), observed=torch.tensor([True, False]))
        >>> round(best_constant_hazard(hazard_nll, outcome), 6)  # one event in five rows
        0.2
    """
    if len(outcome) == 0:
        raise ValueError("there is no patient to find a hazard for: the outcome is empty")
    position, share = torch.arange(len(outcome)), outcome.censored_exposure
    refuse(outcome.start > 0, position, outcome.start, "starts at row {}; expected 0, for the loss is given no start")
    partly = (share < 1) & ~outcome.observed
    refuse(partly, position, share, "has the censored exposure {:g}; expected 1, or give shares to the loss itself")
    width = int(outcome.stop.max())

    def slope(at: float) -> float:
        logit = torch.tensor(at, dtype=torch.float64, device=outcome.stop.device, requires_grad=True)
        value = loss(logit.expand(len(outcome), width), outcome.stop, outcome.observed)
        if value.numel() != 1:
            raise ValueError(f"the loss has shape {list(value.shape)}; expected one number, a mean or a sum")
        if not bool(value.isfinite()):
            raise ValueError(f"the loss is {value.item()} where every hazard is {torch.sigmoid(logit).item():g}")
        return float(torch.autograd.grad(value, logit)[0]) if value.requires_grad else 0.0

    begin = slope(0.0)
    if begin == slope(-1.0) == slope(1.0) == 0:
        raise ValueError("the loss is the same for every hazard; expected one that some row has a part in")
    side, far = -math.copysign(1.0, begin), 1.0
    while slope(side * far) * begin > 0:  # still falling
        far *= 2
        if far > 32:  # a hazard nearer to 0 or 1 than any number of rows can tell
            return float(side > 0)
    bottom = brentq(slope, 0.0, side * far, xtol=1e-12)
    return float(torch.sigmoid(torch.tensor(bottom, dtype=torch.float64)))


class LifeTableHazard:
    """The same hazard for everybody: the share of events among those at risk, row by row.

    Half a row at the overall rate is added to each, so that a row without events has a small hazard and not none; rows
    that no training patient reached have the overall rate, which itself has one row more, half an event and half not.

    Examples:
        >>> visits = Visits.from_lists([[["a"]] * 2] * 4, day=[[0, 1]] * 4)
        >>> from visitwise.cohort import Outcome
        >>> outcome = Outcome.of(torch.tensor([1, 2, 2, 2]), torch.tensor([True, False, False, False]))
        >>> LifeTableHazard.fit(Cohort(visits, outcome))(visits)[0].sigmoid()
        tensor([0.2431, 0.0268])
    """

    @explained
    def __init__(self, hazard: Float[Tensor, " visit"], overall: float) -> None:
        self.hazard = hazard
        self.overall = overall

    @classmethod
    @explained
    def fit(cls, train: Cohort) -> Self:
        """The life table of these patients."""
        visit, event, weight = _rows(train)[1:]
        at_risk, events = torch.bincount(visit, weights=weight), torch.bincount(visit, weights=event.double())
        overall = _overall_rate(event, weight)
        return cls(((events + overall / 2) / (at_risk + 0.5)).float(), overall)

    @explained
    def __call__(self, visits: Visits) -> Float[Tensor, "patient visit"]:
        beyond = max(0, int(visits.length.max()) - len(self.hazard))
        hazard = torch.cat([self.hazard, torch.full((beyond,), self.overall)])
        return visits.pad(logits_from_hazard(hazard[visits.index]), fill=torch.nan)


class LogisticHazard:
    """Logistic regression on the person-period table: a per-visit classifier on the rows that exist.

    Args:
        features: Columns for each visit, from that visit and earlier ones: `static_features`, `history_features`, ...
        regression: A fitted scikit-learn pipeline.
        schema: Names of the codes, static features and measurements it was fitted to.

    Examples:
        >>> from visitwise.simulate import TEACHING
        >>> train = TEACHING.draw(400, seed=0).cohort
        >>> logits = LogisticHazard.fit(train, current_features)(train.visits)
        >>> logits.shape == train.visits.mask.shape
        True
    """

    @explained
    def __init__(self, features: Features, regression: Pipeline, schema: Schema) -> None:
        self.features = features
        self.regression = regression
        self.schema = schema

    @classmethod
    @explained
    def fit(cls, train: Cohort, features: Features) -> Self:
        """Fit on the rows at risk; the last row of a censored patient weighs as much as its share followed.

        Raises:
            ValueError: No row has an event, or every row has.
        """
        patient, visit, event, weight = _rows(train)
        if bool(event.all()) or not bool(event.any()):
            raise ValueError(
                f"{int(event.sum())} of {len(event)} rows have an event; expected some with and some without"
            )
        columns = features(train.visits)[(train.visits.visit_offsets[:-1][patient] + visit).numpy(force=True)]
        regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        with np.errstate(invalid="ignore"):  # the variance of a constant column can come out a hair below 0
            regression.fit(columns, event.numpy(force=True), logisticregression__sample_weight=weight.numpy(force=True))
        return cls(features, regression, train.visits.schema)

    @explained
    def __call__(self, visits: Visits) -> Float[Tensor, "patient visit"]:
        if visits.schema != self.schema:
            raise ValueError("the visits have another schema than the regression: other codes, statics or measurements")
        logits = torch.from_numpy(self.regression.decision_function(self.features(visits))).float()
        return visits.pad(logits, fill=torch.nan)


class CoxHazard:
    """Cox regression in visit time: a level of its own for each visit, and columns that multiply the hazard.

    `-log(1 - h_k) = exp(level_k + columns_k @ coefficient)`: Cox's model for times known by the interval alone, which
    is a regression on the person-period table with the complementary log-log link. It is fitted with the likelihood
    that judges all models here, not with the partial one, because a hazard needs the levels. Ties need no rule.

    The columns are scaled and penalised as in `LogisticHazard`, by half the sum of the squared coefficients. Each
    level is held by half a row of an average patient at the overall rate, as in `LifeTableHazard`: where no column
    tells anything this is the life table. A column that is the same for all patients at a visit, such as the number
    of the visit, has the coefficient 0; the levels have it.

    Args:
        features: Columns for each visit, from that visit and earlier ones: `static_features`, `history_features`, ...
        scaler: Mean and scale of the columns.
        coefficient: Of each scaled column.
        level: Of each visit, for a patient with average columns.
        beyond: Level of the visits that no training patient reached.
        schema: Names of the codes, static features and measurements it was fitted to.

    Source:
        Prentice and Gloeckler (1978), Biometrics 34, 57-67.

    Examples:
        >>> from visitwise.simulate import TEACHING
        >>> train = TEACHING.draw(400, seed=0).cohort
        >>> model = CoxHazard.fit(train, static_features)
        >>> bool(model.coefficient[0] > 0)  # of age: the older are at higher risk
        True
    """

    @explained
    def __init__(
        self,
        features: Features,
        scaler: StandardScaler,
        coefficient: Float[Tensor, " feature"],
        level: Float[Tensor, " visit"],
        beyond: float,
        schema: Schema,
    ) -> None:
        self.features = features
        self.scaler = scaler
        self.coefficient = coefficient
        self.level = level
        self.beyond = beyond
        self.schema = schema

    @property
    def log_hazard_ratio(self) -> Float[np.ndarray, " feature"]:
        """What one unit more of each column adds to the logarithm of the cumulative hazard of an interval."""
        ratio: np.ndarray = self.coefficient.numpy() / self.scaler.scale_
        return ratio

    @classmethod
    @explained
    def fit(cls, train: Cohort, features: Features) -> Self:
        """Fit on the rows at risk; the last row of a censored patient weighs as much as its share followed."""
        patient, visit, event, weight = _rows(train)
        at_risk = features(train.visits)[(train.visits.visit_offsets[:-1][patient] + visit).numpy(force=True)]
        scaler = StandardScaler()
        with np.errstate(invalid="ignore"):
            columns = torch.from_numpy(scaler.fit_transform(at_risk))
        overall = _overall_rate(event, weight)
        beyond = math.log(-math.log1p(-overall))
        own_level = one_hot(visit).double()
        n_levels = own_level.shape[1]
        design = torch.cat([own_level, columns], 1)
        held = torch.eye(n_levels, design.shape[1], dtype=torch.float64)  # half a row for each level
        is_level = torch.arange(design.shape[1]) < n_levels
        fitted = _fit_cloglog(
            torch.cat([design, held]),
            torch.cat([event.double(), torch.full((n_levels,), overall, dtype=torch.float64)]),
            torch.cat([weight, torch.full((n_levels,), 0.5, dtype=torch.float64)]),
            penalty=(~is_level).double(),
            begin=is_level.double() * beyond,
        )
        level, coefficient = fitted[is_level], fitted[~is_level]
        return cls(features, scaler, coefficient, level, beyond, train.visits.schema)

    @explained
    def __call__(self, visits: Visits) -> Float[Tensor, "patient visit"]:
        if visits.schema != self.schema:
            raise ValueError("the visits have another schema than the regression: other codes, statics or measurements")
        columns = torch.from_numpy(self.scaler.transform(self.features(visits)))
        reached = len(self.level)
        level = torch.where(visits.index < reached, self.level[visits.index.clamp(max=reached - 1)], self.beyond)
        return visits.pad(logits_from_cloglog(level + columns @ self.coefficient).float(), fill=torch.nan)


def _fit_cloglog(
    design: Float[Tensor, "row column"],
    event: Float[Tensor, " row"],
    weight: Float[Tensor, " row"],
    *,
    penalty: Float[Tensor, " column"],
    begin: Float[Tensor, " column"],
) -> Float[Tensor, " column"]:
    """Penalised maximum likelihood by Fisher scoring; steps that lower the likelihood are halved."""

    def nll(at: Tensor) -> float:
        logits = logits_from_cloglog(design @ at)
        rows = binary_cross_entropy_with_logits(logits, event, weight, reduction="sum")
        return float(rows + (penalty * at.square()).sum() / 2)

    at, now = begin, nll(begin)
    for _ in range(100):
        rate = (design @ at).exp()
        hazard = -torch.expm1(-rate)
        slope = design.T @ (weight * rate * (event / hazard - 1)) - penalty * at
        information = design.T @ ((weight * rate.square() * (1 - hazard) / hazard)[:, None] * design)
        step = torch.linalg.solve(information + penalty.diag(), slope)
        while not (after := nll(at + step)) <= now and float(step.abs().max()) > 1e-12:
            step = step / 2
        at, now = at + step, after
        if float(step.abs().max()) < 1e-8:
            break
    return at


def _overall_rate(event: Tensor, weight: Tensor) -> float:
    """Events among rows, with half an event and half a survived row more: never 0 or 1, which have no finite logit."""
    return float((event.sum() + 0.5) / (weight.sum() + 1))


def _rows(cohort: Cohort) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Patient, visit, event and weight of each row at risk with some follow-up."""
    outcome = cohort.outcome
    patient, visit, event = person_period(outcome.stop, outcome.observed, outcome.start)
    partly = (visit == outcome.stop[patient] - 1) & ~event
    weight = torch.where(partly, outcome.censored_exposure.detach()[patient].double(), 1.0)
    followed = weight > 0
    return patient[followed], visit[followed], event[followed], weight[followed]


# ----------------------------------------------------------------------------------------------------------- columns


@explained
def static_features(visits: Visits) -> Float[np.ndarray, "visit feature"]:
    """What was known at the first visit, and the time since: age at entry, sex, visit number, years since entry.

    Examples:
        >>> visits = Visits.from_lists([[["asthma"], ["asthma", "gout"]]], day=[[0, 90]])
        >>> static_features(visits).round(2).tolist()  # no age or sex here: visit number, years
        [[0.0, 0.0], [1.0, 0.25]]
    """
    since_first = visits.day - visits.day[visits.visit_offsets[:-1]][visits.patient]
    time = torch.stack([visits.index.double(), since_first / 365.25], 1)
    return np.concatenate([visits.static[visits.patient].numpy(force=True), time.numpy(force=True)], 1)


@explained
def current_features(visits: Visits) -> Float[np.ndarray, "visit feature"]:
    """`static_features`, and what this visit records: its codes and its measurements.

    Examples:
        >>> visits = Visits.from_lists([[["asthma"], ["asthma", "gout"]]], day=[[0, 90]])
        >>> current_features(visits).round(2).tolist()  # ..., asthma, gout
        [[0.0, 0.0, 1.0, 0.0], [1.0, 0.25, 1.0, 1.0]]
    """
    return np.concatenate([static_features(visits), _codes_now(visits), *_measured(visits, remember=False)], 1)


@explained
def history_features(visits: Visits) -> Float[np.ndarray, "visit feature"]:
    """`current_features`, and a history made by hand.

    For each code whether it was ever recorded and a count of its records that fades within a year; for each measurement
    its last value; the number of codes that were ever recorded; the time since the last visit.

    Examples:
        >>> visits = Visits.from_lists([[["asthma"], ["asthma", "gout"]]], day=[[0, 90]])
        >>> history_features(visits)[1].round(2).tolist()  # ..., now, ever, faded, different codes, log(1 + gap)
        [1.0, 0.25, 1.0, 1.0, 1.0, 1.0, 1.78, 1.0, 2.0, 4.51]
    """
    now = _codes_now(visits)
    ever, faded = np.zeros_like(now), np.zeros_like(now)
    first, length, gap = (
        visits.visit_offsets[:-1].numpy(force=True),
        visits.length.numpy(force=True),
        visits.gap.numpy(force=True),
    )
    for k in range(int(length.max())):
        row = first[length > k] + k
        ever[row], faded[row] = now[row], now[row]
        if k > 0:
            ever[row] = np.maximum(now[row], ever[row - 1])
            faded[row] += faded[row - 1] * np.exp(-gap[row] / DECAY_DAYS)[:, None]
    counted, since = ever.sum(1, keepdims=True), np.log1p(gap)[:, None]
    return np.concatenate(
        [static_features(visits), now, ever, faded, counted, since, *_measured(visits, remember=True)], 1
    )


def _codes_now(visits: Visits) -> Float[np.ndarray, "visit code"]:
    recorded = np.zeros((visits.n_visits, len(visits.schema.codes) - 1))
    visit = torch.repeat_interleave(visits.code_offsets.diff())
    recorded[visit.numpy(force=True), visits.codes.numpy(force=True) - 1] = 1.0
    return recorded


def _measured(visits: Visits, *, remember: bool) -> tuple[np.ndarray, np.ndarray]:
    """Values, 0 where there is none, and whether there is one: at this visit, or at the last one that measured."""
    values, known = visits.last_known() if remember else (visits.measurements, ~visits.measurements.isnan())
    return values.where(known, 0.0).numpy(force=True), known.double().numpy(force=True)
