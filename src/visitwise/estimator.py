"""The models as a scikit-learn estimator, and what lifelines and scikit-survival ask for: curves, times and events.

A sample is a patient: scikit-learn's own splitters deal patients, never visits, because a cohort is indexed by patient.
"""

from typing import Any, Self, get_args

import pandas as pd
import torch
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from visitwise._explain import explained
from visitwise.cohort import Cohort
from visitwise.functional import survival
from visitwise.metrics import _look_ahead
from visitwise.model import Cell, HorizonRNN, Settings, SurvivalRNN
from visitwise.parallel import Device, device_of
from visitwise.training import LOSSES, History, evaluate_nll, fit

LOST_LATER = 0.5  # of an interval: who is lost at the end of one has survived it, and whose event lies in it has not


class SurvivalRNNEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A `SurvivalRNN`, or with a `horizon` a `HorizonRNN`, for `clone`, `cross_validate`, `GridSearchCV` and others.

    Everything that decides the result is an argument here, and nothing happens before `fit`. The settings have the
    names and the meaning that they have in `visitwise.model.SurvivalRNN` and `visitwise.training.fit`.

    Without a horizon the model says one thing at each visit: the hazard of the interval after it. The product of these
    along a patient's own visits is no forecast, because that there *was* a next visit is known by then. Whoever wants a
    curve from a visit on, as `predict_survival` gives it, asks for a `horizon`, and the model learns one hazard for
    each interval ahead.

    There is no `predict`: one number for each patient would have to say from which visit, and how far ahead. A scorer
    that needs one is a function of `(estimator, cohort, y=None)` that calls `predict_hazard` or `predict_survival`.

    Args:
        horizon: Number of intervals to forecast from every visit; None for the hazard of the next interval alone.
        embedding: Length of a code's vector.
        hidden: Length of the recurrent state.
        cell: `"lstm"` or `"gru"`.
        time_features: Whether the model sees when visits happen.
        epochs: Passes over the training patients, at most.
        batch_size: Patients a step.
        learning_rate: Step size at the start.
        weight_decay: Pull of the weights towards zero.
        patience: Epochs without a better validation value after which training stops.
        validation_share: Share of the patients given to `fit` who are kept aside and decide when to stop. None keeps
            nobody aside: all epochs are run, and the last weights kept.
        seed: Decides who is kept aside, the first weights, and the order of the patients.
        device: `"cpu"`, `"cuda"`, or `"auto"` for a GPU where there is one.
        progress: Whether to show a progress bar.

    Attributes:
        model_: The trained model, for `visitwise.training.save_model`, or for all that it says with `predict`.
        history_: Training and validation NLL, epoch by epoch.

    Examples:
        >>> from sklearn.model_selection import KFold, cross_val_score
        >>> from visitwise.simulate import TEACHING
        >>> cohort = TEACHING.draw(200, seed=0).cohort
        >>> estimator = SurvivalRNNEstimator(embedding=4, hidden=8, epochs=1)
        >>> estimator.set_params(hidden=4)
        SurvivalRNNEstimator(embedding=4, epochs=1, hidden=4)
        >>> folds = KFold(3, shuffle=True, random_state=0)
        >>> len(cross_val_score(estimator, cohort, cv=folds))
        3
    """

    model_: SurvivalRNN | HorizonRNN
    history_: History

    @explained
    def __init__(
        self,
        *,
        horizon: int | None = None,
        embedding: int = 64,
        hidden: int = 64,
        cell: Cell = "lstm",
        time_features: bool = True,
        epochs: int = 20,
        batch_size: int = 256,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.0,
        patience: int = 5,
        validation_share: float | None = 0.15,
        seed: int = 0,
        device: Device = "cpu",
        progress: bool = False,
    ) -> None:
        self.horizon = horizon
        self.embedding = embedding
        self.hidden = hidden
        self.cell = cell
        self.time_features = time_features
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.patience = patience
        self.validation_share = validation_share
        self.seed = seed
        self.device = device
        self.progress = progress

    @explained
    def fit(self, cohort: Cohort, y: object = None, *, validation: Cohort | None = None) -> Self:
        """Learn from these patients, and from nothing that an earlier call learned.

        Args:
            cohort: The patients, with their outcomes.
            y: Not read: a cohort holds its outcomes. Stratified splitters ask for one.
            validation: Other patients who decide when to stop; then all of `cohort` are learned from.

        Raises:
            ValueError: It is no cohort, a patient is in it twice or in both, a setting is not one of those allowed, or
                there are too few patients to keep a share of them aside.
        """
        train = _cohort(cohort)
        if self.device not in get_args(Device):
            raise ValueError(f"device is {self.device!r}; expected one of {', '.join(get_args(Device))}")
        if validation is None and self.validation_share is not None:
            if not 0 < self.validation_share < 1:
                raise ValueError(f"validation_share is {self.validation_share}; expected a share above 0 and below 1")
            train, validation = train.split([1 - self.validation_share, self.validation_share], seed=self.seed)
        model = self._new_model(train).to(device_of(self.device))
        self.history_ = fit(
            model,
            train,
            validation,
            loss=LOSSES[type(model)],
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            patience=self.patience,
            seed=self.seed,
            progress=self.progress,
        )
        self.model_ = model
        return self

    def _new_model(self, train: Cohort) -> SurvivalRNN | HorizonRNN:
        # A search draws its values with NumPy, whose whole numbers cannot be written to a model's file.
        settings: Settings = {
            "embedding": int(self.embedding),
            "hidden": int(self.hidden),
            "cell": self.cell,
            "time_features": self.time_features,
            "seed": int(self.seed),
        }
        if self.horizon is None:
            return SurvivalRNN.for_cohort(train, **settings)
        return HorizonRNN.for_cohort(train, horizon=int(self.horizon), **settings)

    @explained
    def predict_hazard(self, cohort: Cohort) -> Float[Tensor, "patient visit"]:
        """Probability of the event in the interval after each visit, given that none came before.

        NaN before a patient's `start` and after the last visit. `visitwise.metrics` takes it as it is. A model with a
        horizon gives the hazard of the first interval ahead.

        Raises:
            ValueError: It is no cohort, the estimator is not fitted, or the cohort has other codes or features.
        """
        check_is_fitted(self)
        visits, start = _cohort(cohort).visits, cohort.outcome.start
        hazard = self.model_.predict(visits, start=start).hazard
        return hazard[..., 0] if isinstance(self.model_, HorizonRNN) else hazard

    @explained
    def predict_survival(self, cohort: Cohort, landmark: int | Int[Tensor, " patient"]) -> pd.DataFrame:
        """A forecast: the probability of staying event-free through each interval ahead, given at the landmark.

        The model is handed each record up to the landmark's visit and nothing after it.

        Args:
            cohort: The patients; those at risk at the landmark are forecast.
            landmark: The visit to forecast from, counted from 0: the same for all patients, or one for each, such as
                `cohort.visits.length - 1`, the last visit.

        Returns:
            As lifelines has it: a row for each number of intervals ahead, from 1 to the horizon, and a column for each
            patient at risk at the landmark, by `patient_id`; the patients of `followup_from`, in the same order.
            scikit-survival's metrics take its transpose.

        Raises:
            ValueError: The estimator is not fitted or has no horizon, or nobody is at risk at the landmark.
        """
        check_is_fitted(self)
        if not isinstance(self.model_, HorizonRNN):
            raise ValueError(
                "a survival curve is asked of an estimator that was fitted with horizon=None, which looks one interval "
                "ahead; expected SurvivalRNNEstimator(horizon=...)"
            )
        patients = _look_ahead(_cohort(cohort).outcome, landmark, None).patient
        last = torch.as_tensor(landmark).expand(len(cohort))[patients]
        known = cohort.visits.select(patients, length=last + 1)
        logits = self.model_.predict(known).hazard_logits[torch.arange(len(patients)), last]
        curves = survival(logits.double())
        intervals = pd.RangeIndex(1, curves.shape[1] + 1, name="interval")
        return pd.DataFrame(curves.T.numpy(), index=intervals, columns=_names(known.patient_id))

    @explained
    def score(self, cohort: Cohort, y: object = None) -> float:
        """Minus the negative log-likelihood per row at risk: larger is better, and the truth scores best.

        It is a proper score of the hazards, and what training makes large. With a horizon it is the mean over the
        forecasts, one from each visit at risk: compare it between models of the same horizon only, since a longer
        forecast has more to be wrong about.

        Args:
            cohort: The patients, with their outcomes.
            y: Not read.

        Raises:
            ValueError: As in `predict_hazard`.
        """
        check_is_fitted(self)
        return -evaluate_nll(self.model_, _cohort(cohort), loss=LOSSES[type(self.model_)])

    def __sklearn_tags__(self) -> Any:
        # It reads cohorts, no tables of numbers, and checks what it is given itself.
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        return tags


@explained
def followup_from(
    cohort: Cohort, landmark: int | Int[Tensor, " patient"] = 0, horizon: int | None = None
) -> pd.DataFrame:
    """How long each patient was followed from the landmark on, in intervals, and whether the event was seen.

    An event in the `j`-th interval ahead has the time `j`. Who is lost after `j` intervals has the time `j + 0.5`:
    such a patient survived the interval, so the time lies after that of an event in it, and before the next. So no
    event ties with a censoring, libraries that break such ties in different ways agree, and evaluation times are the
    whole numbers, the index of `predict_survival`.

    Who is lost inside the next interval (`censored_exposure` below 1) has survived `j` of them just as well, and has
    the time `j + 0.5`, too. A library then takes the events of that interval for those of fewer patients, and finds
    them a little too frequent: `visitwise.metrics` knows which part of the interval was followed.

    Args:
        cohort: The patients; those at risk at the landmark have a row.
        landmark: The visit from which to look ahead, the same for all patients or one for each.
        horizon: Number of intervals to look ahead; follow-up beyond them is cut off.

    Returns:
        Columns `event` (bool) and `time` by `patient_id`. lifelines takes the columns;
        `followup.to_records(index=False)` is the array of events and times that scikit-survival takes.

    Raises:
        ValueError: Nobody is at risk at the landmark, or the horizon is below 1.

    Examples:
        >>> from visitwise.cohort import Outcome
        >>> from visitwise.visits import Visits
        >>> visits = Visits.from_lists([[["a"]] * 3] * 3, day=[range(3)] * 3, patient_id=[7, 8, 9])
        >>> cohort = Cohort(visits, Outcome.of(torch.tensor([3, 1, 3]), torch.tensor([True, True, False])))
        >>> followup_from(cohort, landmark=1).reset_index()  # of the second it is known by then
           patient  event  time
        0        7   True   2.0
        1        9  False   2.5
    """
    ahead = _look_ahead(_cohort(cohort).outcome, landmark, horizon)
    times = ahead.rows + LOST_LATER * ~ahead.event
    names = _names(cohort.visits.patient_id[ahead.patient])
    return pd.DataFrame({"event": ahead.event.numpy(), "time": times.numpy()}, index=names)


def _names(patient_id: Tensor) -> pd.Index:
    return pd.Index(patient_id.cpu().numpy(), name="patient")


def _cohort(given: object) -> Cohort:
    if not isinstance(given, Cohort):
        raise ValueError(f"a {type(given).__name__} is given; expected a Cohort, which holds visits and outcomes")
    return given
