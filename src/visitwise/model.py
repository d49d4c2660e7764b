"""From visits to hazards: a vector for each visit, a recurrence over the visits, and a head that reads each state.

Three heads: the hazard of the next interval (`SurvivalRNN`), the same by cause (`CompetingRisksRNN`), and the hazards
of several intervals to come (`HorizonRNN`).
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Self, TypedDict, Unpack, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from visitwise import functional as F
from visitwise._checks import check_whole
from visitwise._explain import explained
from visitwise._ragged import refuse
from visitwise.cohort import Cohort
from visitwise.rows import run_in_rows
from visitwise.staircase import run_in_stretches
from visitwise.visits import Schema, Visits

Cell = Literal["lstm", "gru"]
Path = Literal["rows", "staircase", "padded", "packed"]

TIME_FEATURES = ("gap", "time since first visit", "index")


class VisitEncoder(nn.Module):
    """One vector for each visit: the mean of its codes' embeddings, and beside it numbers.

    The numbers are how many codes there are (which a mean forgets), times, measurements and static features. A
    measurement that was not taken keeps its last value; one that was never taken is 0 after scaling, and a flag beside
    it says which of the two it is. Nothing is read from a later visit.

    Args:
        schema: Names of codes, static features and measurements.
        embedding: Length of a code's vector.
        time_features: Whether to add the gap since the previous visit, the time since the first and the visit's index.

    Examples:
        >>> visits = Visits.from_lists([[["asthma"], ["asthma", "gout"]]], day=[[0, 90]])
        >>> encoder = VisitEncoder(visits.schema, embedding=4)
        >>> encoder(visits).shape  # the embedding, the number of codes and three times
        torch.Size([2, 8])
    """

    scale: Tensor
    centre: Tensor

    @explained
    def __init__(self, schema: Schema, embedding: int = 64, *, time_features: bool = True) -> None:
        super().__init__()
        self.schema = schema
        self.time_features = time_features
        self.embedding = nn.Embedding(len(schema.codes), embedding, padding_idx=0)
        n_numbers = len(schema.measurements) + len(schema.static)
        self.register_buffer("centre", torch.zeros(n_numbers))
        self.register_buffer("scale", torch.ones(n_numbers))
        self.n_features = embedding + 1 + 3 * time_features + 2 * len(schema.measurements) + len(schema.static)

    @torch.no_grad()
    @explained
    def fit_scaling(self, visits: Visits) -> None:
        """Centre and scale of measurements and static features, from these visits: the training ones."""
        for place, values in enumerate([*visits.measurements.unbind(-1), *visits.static.unbind(-1)]):
            known = values[~values.isnan()].double()
            if known.numel():
                mean, spread = float(known.mean()), float(known.std(correction=0))
                self.centre[place] = mean
                # A column that does not vary in training tells nothing; divided by almost nothing, it would shout.
                self.scale[place] = spread if spread > 1e-6 * max(1.0, abs(mean)) else 1.0

    @explained
    def forward(self, visits: Visits) -> Float[Tensor, "visit feature"]:
        """The vectors of all visits, one after the other: no padding is embedded."""
        if visits.day.device != (here := self.embedding.weight.device):
            raise ValueError(f"visits are on the device {visits.day.device}; expected {here}, where the model is")
        codes = nn.functional.embedding_bag(
            visits.codes.long(),
            self.embedding.weight,
            visits.code_offsets,
            mode="mean",
            include_last_offset=True,
        )
        return torch.cat([codes, self._numbers(visits)], -1)

    @explained
    def forward_dense(self, visits: Visits) -> Float[Tensor, "patient visit feature"]:
        """The same vectors by the textbook's way: embed the padded box, mask, sum, divide by the number of codes."""
        padded = visits.padded()
        embedded = self.embedding(padded.codes.long()) * padded.code_mask[..., None]
        n_codes = padded.code_mask.sum(-1, keepdim=True).clamp(min=1)
        return torch.cat([embedded.sum(-2) / n_codes, visits.pad(self._numbers(visits))], -1)

    def _numbers(self, visits: Visits) -> Float[Tensor, "visit feature"]:
        n_measurements = len(self.schema.measurements)
        precision = self.embedding.weight.dtype
        parts = [visits.code_offsets.diff()[:, None].double().log1p().to(precision)]
        if self.time_features:
            parts.append(_time_features(visits).to(precision))
        if n_measurements:
            values, known = visits.last_known()
            scaled = (values - self.centre[:n_measurements]) / self.scale[:n_measurements]
            parts += [scaled.where(known, 0.0), known.to(precision)]
        if self.schema.static:
            static = (visits.static - self.centre[n_measurements:]) / self.scale[n_measurements:]
            parts.append(static[visits.patient])
        return torch.cat(parts, -1)


def _time_features(visits: Visits) -> Float[Tensor, "visit 3"]:
    """Gap in months, time since the first visit in years, and index, each as log(1 + x)."""
    since_first = visits.day - visits.day[visits.visit_offsets[:-1]][visits.patient]
    return torch.stack([visits.gap / 30, since_first / 365.25, visits.index.double()], -1).log1p()


class Prediction(NamedTuple):
    """What a model says at each visit; NaN after a patient's last visit.

    `hazard` is the risk of the interval after the visit, from all that was recorded by then. `survival` is the product
    of `1 - hazard` over this visit and those before it, `event_probability` the hazard times the survival before it.
    They follow the patient along visits that were made, so they are no forecast made at the first visit.
    """

    hazard_logits: Float[Tensor, "patient visit"]
    hazard: Float[Tensor, "patient visit"]
    survival: Float[Tensor, "patient visit"]
    event_probability: Float[Tensor, "patient visit"]


class Settings(TypedDict, total=False):
    """What all the models can be told; see `SurvivalRNN`."""

    embedding: int
    hidden: int
    cell: Cell
    path: Path
    time_features: bool
    bidirectional: bool
    demonstration: bool
    seed: int


class _VisitRNN(nn.Module):
    """Encoder, recurrence, and a linear head with any number of outputs at every visit."""

    def __init__(
        self,
        schema: Schema,
        first_logits: Sequence[float],
        embedding: int = 64,
        hidden: int = 64,
        cell: Cell = "lstm",
        path: Path = "rows",
        time_features: bool = True,
        bidirectional: bool = False,
        demonstration: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check_settings(cell, path, bidirectional, demonstration)
        self.settings: dict[str, Any] = {
            "embedding": embedding,
            "hidden": hidden,
            "cell": cell,
            "path": path,
            "time_features": time_features,
            "bidirectional": bidirectional,
            "demonstration": demonstration,
            "seed": seed,
        }
        self.path = path
        with torch.random.fork_rng(devices=[]):  # what torch draws is replaced below; its generator is left alone
            self.encoder = VisitEncoder(schema, embedding, time_features=time_features)
            recurrence = nn.LSTM if cell == "lstm" else nn.GRU
            self.recurrence = recurrence(self.encoder.n_features, hidden, batch_first=True, bidirectional=bidirectional)
            self.head = nn.Linear(hidden * (1 + bidirectional), len(first_logits))
        self._draw_weights(seed, hidden**-0.5)
        with torch.no_grad():
            self.head.bias.copy_(torch.tensor(first_logits))

    @torch.no_grad()
    def _draw_weights(self, seed: int, bound: float) -> None:
        """The usual first weights, drawn by NumPy: torch's normal numbers depend on the processor's instructions."""
        random = np.random.default_rng(seed)
        for parameter in (*self.recurrence.parameters(), *self.head.parameters()):
            parameter.copy_(torch.from_numpy(random.uniform(-bound, bound, parameter.shape)))
        weight = self.encoder.embedding.weight
        weight[1:] = torch.from_numpy(random.normal(size=weight[1:].shape)).to(weight)

    @property
    def schema(self) -> Schema:
        """The names of the codes, static features and measurements that the model reads."""
        return self.encoder.schema

    def _outputs(self, visits: Visits) -> Float[Tensor, "patient visit output"]:
        """What the head says at every visit; NaN after a patient's last."""
        if visits.schema != self.schema:
            raise ValueError("the visits have another schema than the model: other codes, statics or measurements")
        vectors = self.encoder(visits)
        if self.path == "packed":
            packed, _ = self.recurrence(visits.pack(vectors))
            return visits.pad(self.head(visits.unpack(packed)), fill=torch.nan)
        if self.path in ("rows", "staircase"):
            run = run_in_rows if self.path == "rows" else run_in_stretches
            states = run(self.recurrence, visits, vectors)
            return visits.pad(self.head(states), fill=torch.nan)
        states, _ = self.recurrence(visits.pad(vectors))
        outputs: Tensor = self.head(states)
        return outputs.masked_fill(~visits.mask[..., None], torch.nan)

    @torch.no_grad()
    def _outputs_of_many(self, visits: Visits, batch_size: int) -> Float[Tensor, "patient visit output"]:
        """The same for any number of patients, without dropout and without gradients."""
        check_whole(batch_size, "batch_size")
        mask = visits.mask
        weight, here = self.head.weight, mask.device
        outputs = weight.new_full((*mask.shape, self.head.out_features), torch.nan, device=here)
        was_training = self.training
        self.eval()
        try:
            for patients in torch.arange(len(visits), device=here).split(int(batch_size)):
                batch = self._outputs(visits.select(patients).to(weight.device)).to(here)
                outputs[patients, : batch.shape[1]] = batch
        finally:
            self.train(was_training)
        return outputs


class SurvivalRNN(_VisitRNN):
    """Hazard at every visit from the codes, times and measurements of that visit and all before it.

    Args:
        schema: Names of codes, static features and measurements.
        embedding: Length of a code's vector.
        hidden: Length of the recurrent state.
        cell: `"lstm"` or `"gru"`.
        path: How the recurrence meets patients of different length: `"rows"` runs over records laid end to end
            (`visitwise.rows`), `"staircase"` over a few boxes that get narrower as records end
            (`visitwise.staircase`), `"padded"` over one padded box, `"packed"` over a `PackedSequence`. Equal at every
            real visit.
        time_features: Whether the model sees when visits happen.
        base_rate: Share of intervals that end in the event; the first hazards of an untrained model are about this.
        bidirectional: Let visits see later ones. Such a model knows the future and its hazards mean nothing, so it is
            refused unless `demonstration` is true; its backward half would begin in the padding on any other path than
            the packed one, so it is refused there.
        demonstration: Says that a model which sees the future is wanted, to show what goes wrong.
        seed: Seed of the first weights.

    Raises:
        ValueError: A setting is not one of those named.

    Examples:
        >>> visits = Visits.from_lists([[["asthma"], ["asthma", "gout"]]], day=[[0, 90]])
        >>> model = SurvivalRNN(visits.schema, embedding=4, hidden=8, base_rate=0.05)
        >>> model.predict(visits).hazard.round(decimals=2)  # untrained: about the base rate
        tensor([[0.0500, 0.0500]])
    """

    @explained
    def __init__(
        self,
        schema: Schema,
        *,
        embedding: int = 64,
        hidden: int = 64,
        cell: Cell = "lstm",
        path: Path = "rows",
        time_features: bool = True,
        base_rate: float = 0.05,
        bidirectional: bool = False,
        demonstration: bool = False,
        seed: int = 0,
    ) -> None:
        first = [_first_logit(base_rate)]
        super().__init__(
            schema, first, embedding, hidden, cell, path, time_features, bidirectional, demonstration, seed
        )
        self.settings["base_rate"] = base_rate

    @classmethod
    @explained
    def for_cohort(cls, train: Cohort, **settings: Any) -> Self:
        """A model for cohorts like this one: its schema, its base rate, its scaling of measurements and statics.

        The base rate counts an event of any cause, as the loss does.

        Args:
            train: The patients to learn from.
            settings: Any of the settings above, but for the schema and the base rate.
        """
        model = cls(train.visits.schema, base_rate=_rate(train.outcome.observed, train), **settings)
        model.encoder.fit_scaling(train.visits)
        return model

    @explained
    def forward(self, visits: Visits) -> Float[Tensor, "patient visit"]:
        """Hazard logits at every visit; NaN after a patient's last, where there is nothing to predict."""
        return self._outputs(visits)[..., 0]

    @torch.no_grad()
    @explained
    def predict(
        self, visits: Visits, *, start: Int[Tensor, " patient"] | None = None, batch_size: int = 1024
    ) -> Prediction:
        """Hazards and what follows from them for any number of patients, without a trace of who shares a batch.

        Args:
            visits: The patients' visits.
            start: First row at risk of each patient, as in `Outcome`. Visits before it are history: they are read, and
                nothing is predicted for them (NaN).
            batch_size: Patients at a time; does not change the result beyond rounding.
        """
        history = _history(visits, start)
        logits = self._outputs_of_many(visits, batch_size)[..., 0]
        at_risk = logits.masked_fill(history, -torch.inf)  # no hazard, so nothing is charged before the start
        values = (logits, F.hazard(logits), F.survival(at_risk), F.event_probability(at_risk))
        return Prediction(*(value.masked_fill(history, torch.nan) for value in values))


class CausePrediction(NamedTuple):
    """What a model of several causes says at each visit; NaN after a patient's last visit.

    As in `Prediction`, survival (of all causes together) and cumulative incidence follow the patient along visits that
    were made: no forecast.
    """

    cause_logits: Float[Tensor, "patient visit cause"]
    cause_hazard: Float[Tensor, "patient visit cause"]
    survival: Float[Tensor, "patient visit"]
    cumulative_incidence: Float[Tensor, "patient visit cause"]


class CompetingRisksRNN(_VisitRNN):
    """Hazard of each cause at every visit, of causes that exclude each other: the first event ends the record.

    A softmax over the causes and "nothing", so that the hazards of one interval sum to less than 1. Train it with
    `fit(..., loss=outcome_competing_nll)`.

    Args:
        schema: Names of codes, static features and measurements.
        base_rates: For each cause, the share of intervals that end in its event.
        settings: As in `SurvivalRNN`.

    Raises:
        ValueError: A setting is not one of those named, or the rates leave nothing for "nothing".

    Examples:
        >>> visits = Visits.from_lists([[["asthma"], ["asthma", "gout"]]], day=[[0, 90]])
        >>> model = CompetingRisksRNN(visits.schema, base_rates=[0.1, 0.05, 0.02], embedding=4, hidden=8)
        >>> model.predict(visits).cause_hazard.shape
        torch.Size([1, 2, 3])
    """

    @explained
    def __init__(
        self, schema: Schema, *, base_rates: Sequence[float] = (0.05, 0.05), **settings: Unpack[Settings]
    ) -> None:
        if not base_rates or not (min(base_rates) > 0 and sum(base_rates) < 1):
            raise ValueError(f"base_rates are {list(base_rates)}; expected shares above 0 that sum to less than 1")
        super().__init__(schema, [math.log(rate / (1 - sum(base_rates))) for rate in base_rates], **settings)
        self.settings["base_rates"] = list(base_rates)

    @classmethod
    @explained
    def for_cohort(cls, train: Cohort, n_causes: int | None = None, **settings: Unpack[Settings]) -> Self:
        """A model for cohorts like this one: its schema, its base rates, its scaling of measurements and statics.

        Args:
            train: The patients to learn from.
            n_causes: Number of causes; the highest one seen in training, if not given.
            settings: As in `SurvivalRNN`.

        Raises:
            ValueError: Nobody has an event and `n_causes` is not given, or a patient's cause is above it.
        """
        seen = int(train.outcome.cause.max())
        n_causes = seen if n_causes is None else n_causes
        if n_causes < max(seen, 1):
            raise ValueError(
                f"n_causes is {n_causes} and the highest cause seen is {seen}; expected at least 1 and that"
            )
        rates = [_rate(train.outcome.cause == cause, train) for cause in range(1, n_causes + 1)]
        model = cls(train.visits.schema, base_rates=[rate / max(1.0, sum(rates) + 1e-6) for rate in rates], **settings)
        model.encoder.fit_scaling(train.visits)
        return model

    @explained
    def forward(self, visits: Visits) -> Float[Tensor, "patient visit cause"]:
        """Cause logits at every visit, against "nothing"; NaN after a patient's last."""
        return self._outputs(visits)

    @torch.no_grad()
    @explained
    def predict(
        self, visits: Visits, *, start: Int[Tensor, " patient"] | None = None, batch_size: int = 1024
    ) -> CausePrediction:
        """Cause hazards and what follows from them for any number of patients; see `SurvivalRNN.predict`."""
        history = _history(visits, start)
        logits = self._outputs_of_many(visits, batch_size)
        at_risk = logits.masked_fill(history[..., None], -torch.inf)
        survival, incidence = F.survival(F.all_cause_logits(at_risk)), F.cumulative_incidence(at_risk)
        each = (
            value.masked_fill(history[..., None], torch.nan) for value in (logits, F.cause_hazard(logits), incidence)
        )
        logits, hazard, incidence = each
        return CausePrediction(logits, hazard, survival.masked_fill(history, torch.nan), incidence)


class HorizonPrediction(NamedTuple):
    """What a model forecasts at each visit for the intervals after it; NaN after a patient's last visit.

    `survival[..., k, j]` is the probability, given at visit `k`, of staying event-free through `j + 1` intervals.
    """

    hazard_logits: Float[Tensor, "patient visit interval"]
    hazard: Float[Tensor, "patient visit interval"]
    survival: Float[Tensor, "patient visit interval"]
    event_probability: Float[Tensor, "patient visit interval"]


class HorizonRNN(_VisitRNN):
    """Hazards of the next intervals at every visit: a whole survival curve from each of them, with no visit to come.

    Train it with `fit(..., loss=outcome_horizon_nll)`.

    Args:
        schema: Names of codes, static features and measurements.
        horizon: Number of intervals to forecast.
        base_rate: Share of intervals that end in the event.
        settings: As in `SurvivalRNN`.

    Raises:
        ValueError: A setting is not one of those named, or the horizon is below 1.

    Examples:
        >>> visits = Visits.from_lists([[["asthma"], ["asthma", "gout"]]], day=[[0, 90]])
        >>> model = HorizonRNN(visits.schema, horizon=5, embedding=4, hidden=8)
        >>> model.predict(visits).survival.shape  # from each of two visits, five intervals ahead
        torch.Size([1, 2, 5])
    """

    @explained
    def __init__(
        self, schema: Schema, *, horizon: int = 8, base_rate: float = 0.05, **settings: Unpack[Settings]
    ) -> None:
        if horizon < 1:
            raise ValueError(f"horizon is {horizon}; expected at least 1 interval")
        super().__init__(schema, [_first_logit(base_rate)] * horizon, **settings)
        self.settings |= {"horizon": horizon, "base_rate": base_rate}

    @classmethod
    @explained
    def for_cohort(cls, train: Cohort, horizon: int = 8, **settings: Unpack[Settings]) -> Self:
        """A model for cohorts like this one: its schema, its base rate, its scaling of measurements and statics.

        Args:
            train: The patients to learn from.
            horizon: Number of intervals to forecast.
            settings: As in `SurvivalRNN`.
        """
        rate = _rate(train.outcome.observed, train)
        model = cls(train.visits.schema, horizon=horizon, base_rate=rate, **settings)
        model.encoder.fit_scaling(train.visits)
        return model

    @explained
    def forward(self, visits: Visits) -> Float[Tensor, "patient visit interval"]:
        """Hazard logits of the intervals after every visit; NaN after a patient's last."""
        return self._outputs(visits)

    @torch.no_grad()
    @explained
    def predict(
        self, visits: Visits, *, start: Int[Tensor, " patient"] | None = None, batch_size: int = 1024
    ) -> HorizonPrediction:
        """A forecast from every visit for any number of patients; see `SurvivalRNN.predict`."""
        history = _history(visits, start)[..., None]
        logits = self._outputs_of_many(visits, batch_size).masked_fill(history, torch.nan)
        return HorizonPrediction(logits, F.hazard(logits), F.survival(logits), F.event_probability(logits))


def _first_logit(base_rate: float) -> float:
    if not 0 < base_rate < 1:
        raise ValueError(f"base_rate is {base_rate}; expected a probability between 0 and 1")
    return float(torch.logit(torch.tensor(base_rate)))


def _rate(event: Tensor, train: Cohort) -> float:
    """Share of the rows that end in the event, kept away from 0 and 1."""
    return min(max(int(event.sum()) / train.outcome.n_rows, 1e-6), 1 - 1e-6)


def _history(visits: Visits, start: Tensor | None) -> Tensor:
    """Which cells of the box lie before the start."""
    if start is not None and start.shape != (len(visits),):
        raise ValueError(f"start has shape {list(start.shape)}; expected [{len(visits)}], one for each patient")
    mask = visits.mask
    if start is None:
        return torch.zeros_like(mask)
    if start.is_floating_point() or start.is_complex() or start.dtype == torch.bool:
        raise ValueError(f"start has dtype {start.dtype}; expected whole numbers")
    if start.device != mask.device:
        raise ValueError(f"start is on the device {start.device}; expected {mask.device}, where the visits are")
    message = "has the start {}; expected 0 to {}, the last visit"
    refuse((start < 0) | (start >= visits.length), visits.patient_id, start, message, visits.length - 1)
    return torch.arange(mask.shape[1], device=mask.device) < start[:, None]


def _check_settings(cell: str, path: str, bidirectional: bool, demonstration: bool) -> None:
    if cell not in ("lstm", "gru"):
        raise ValueError(f"cell is {cell!r}; expected 'lstm' or 'gru'")
    if path not in get_args(Path):
        raise ValueError(f"path is {path!r}; expected one of {', '.join(map(repr, get_args(Path)))}")
    if bidirectional and not demonstration:
        raise ValueError(
            "a bidirectional model reads the future, so its hazards are not predictions; "
            "pass demonstration=True if showing that is what you want"
        )
    if bidirectional and path != "packed":
        raise ValueError(f"a bidirectional model on the {path} path reads padding backwards; expected path='packed'")
