"""What the package computes, done again slowly: Python floats, one patient and one visit at a time."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from visitwise.cohort import Cohort, Outcome
from visitwise.visits import Schema, Visits

# ------------------------------------------------------------------------------------------ one patient, plain floats


def survival(hazards: list[float]) -> list[float]:
    """S_k, by multiplying."""
    alive, curve = 1.0, []
    for hazard in hazards:
        alive *= 1 - hazard
        curve.append(alive)
    return curve


def event_probability(hazards: list[float]) -> list[float]:
    """f_k: alive until then, and then the event."""
    alive, probabilities = 1.0, []
    for hazard in hazards:
        probabilities.append(alive * hazard)
        alive *= 1 - hazard
    return probabilities


def cumulative_hazard(hazards: list[float]) -> list[float]:
    """H_k = -log S_k."""
    return [-math.log(alive) for alive in survival(hazards)]


def probability_of(hazards: list[float], stop: int, observed: bool, start: int = 0) -> float:
    """Probability of what happened in the rows start..stop-1, as a product."""
    probability = 1.0
    for row in range(start, stop):
        event_here = observed and row == stop - 1
        probability *= hazards[row] if event_here else 1 - hazards[row]
    return probability


def possible_outcomes(width: int, start: int = 0) -> Iterator[tuple[int, bool]]:
    """Everything that can happen to a patient followed for `width` visits: the event in some row, or in none."""
    for row in range(start, width):
        yield row + 1, True
    yield width, False


def nll(logits: list[float], stop: int, observed: bool, start: int = 0, censored_exposure: float = 1.0) -> float:
    """The loss of one patient from logits, term by term, each exact in both tails."""
    total = 0.0
    for row in range(start, stop):
        log_hazard, log_survived = _log_sigmoid(logits[row]), _log_sigmoid(-logits[row])
        if row < stop - 1:
            total -= log_survived
        elif observed:
            total -= log_hazard
        else:
            total -= censored_exposure * log_survived
    return total


def nll_gradient(
    logits: list[float], stop: int, observed: bool, start: int = 0, censored_exposure: float = 1.0
) -> list[float]:
    """d loss / d logit: the hazard minus what happened, 0 on rows that do not count."""
    gradient = [0.0] * len(logits)
    for row in range(start, stop):
        last = row == stop - 1
        if last and observed:
            gradient[row] = -_sigmoid(-logits[row])  # h - 1, without the rounding
        else:
            gradient[row] = _sigmoid(logits[row]) * (censored_exposure if last else 1.0)
    return gradient


def _log_sigmoid(logit: float) -> float:
    return -math.log1p(math.exp(-logit)) if logit > 0 else logit - math.log1p(math.exp(logit))


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit > 0 else math.exp(logit) / (1 + math.exp(logit))


# ------------------------------------------------------------------------------------------------ visits, nested lists


def as_lists(visits: Visits) -> list[list[list[int]]]:
    """The codes of each visit of each patient, read off the offsets."""
    nested = []
    for patient in range(len(visits)):
        first, end = int(visits.visit_offsets[patient]), int(visits.visit_offsets[patient + 1])
        record = []
        for visit in range(first, end):
            begin, after = int(visits.code_offsets[visit]), int(visits.code_offsets[visit + 1])
            record.append([int(code) for code in visits.codes[begin:after]])
        nested.append(record)
    return nested


def padded(visits: Visits) -> tuple[list[list[list[int]]], list[list[list[bool]]], list[list[bool]]]:
    """The padded view by three nested loops: codes, which of them are real, which visits are real."""
    nested = as_lists(visits)
    n_visits = max(len(record) for record in nested)
    n_codes = max([1, *(len(visit) for record in nested for visit in record)])
    codes, code_mask, visit_mask = [], [], []
    for record in nested:
        box = [[0] * n_codes for _ in range(n_visits)]
        real = [[False] * n_codes for _ in range(n_visits)]
        for k, visit in enumerate(record):
            for c, code in enumerate(visit):
                box[k][c], real[k][c] = code, True
        codes.append(box)
        code_mask.append(real)
        visit_mask.append([k < len(record) for k in range(n_visits)])
    return codes, code_mask, visit_mask


def select(cohort: Cohort, patients: list[int]) -> list[tuple[object, ...]]:
    """All that is known of each of these patients, in this order."""
    nested, visits = as_lists(cohort.visits), cohort.visits
    chosen = []
    for patient in patients:
        first, end = int(visits.visit_offsets[patient]), int(visits.visit_offsets[patient + 1])
        chosen.append(
            (
                int(visits.patient_id[patient]),
                nested[patient],
                visits.day[first:end].tolist(),
                repr(visits.static[patient].tolist()),
                repr(visits.measurements[first:end].tolist()),  # as text, so that NaN equals NaN
                repr(_outcome_of(cohort.outcome, patient)),
            )
        )
    return chosen


def _outcome_of(outcome: Outcome, patient: int) -> tuple[object, ...]:
    parts = (outcome.start, outcome.stop, outcome.cause, outcome.censored_exposure, outcome.followup_days)
    return tuple(part[patient].item() for part in parts)


# ------------------------------------------------------------------------------------------------- random patients


def random_cohort(n_patients: int = 7, *, seed: int = 0, n_static: int = 2, n_measurements: int = 2) -> Cohort:
    """Patients with 1 to 6 visits of 0 to 4 codes, later starts, two causes, missing measurements: nothing is equal."""
    draw = torch.Generator().manual_seed(seed)
    codes, days, stop, start = [], [], [], []
    for _ in range(n_patients):
        n_visits = _whole(1, 6, draw)
        codes.append([[f"c{_whole(0, 9, draw)}" for _ in range(_whole(0, 4, draw))] for _ in range(n_visits)])
        gaps = torch.rand(n_visits, generator=draw, dtype=torch.float64) * 90 + 1
        days.append(gaps.cumsum(0).tolist())
        stop.append(_whole(1, n_visits, draw))
        start.append(_whole(0, stop[-1] - 1, draw) if _whole(0, 1, draw) else 0)
    n_visits_all = sum(len(record) for record in codes)
    measured = torch.randn(n_visits_all, n_measurements, generator=draw)
    measured[torch.rand(measured.shape, generator=draw) < 0.3] = torch.nan
    cause = torch.randint(0, 3, (n_patients,), generator=draw)
    visits = Visits.from_lists(
        codes,
        days,
        schema=_schema(n_static, n_measurements),
        patient_id=(torch.randperm(n_patients, generator=draw) + 100).tolist(),
        static=torch.randn(n_patients, n_static, generator=draw).tolist(),
        measurements=_by_patient(measured, codes),
    )
    outcome = Outcome.of(
        torch.tensor(stop),
        cause > 0,
        start=torch.tensor(start),
        cause=cause,
        censored_exposure=torch.rand(n_patients, generator=draw),
        followup_days=torch.tensor([days[i][stop[i] - 1] + 7 for i in range(n_patients)]),
    )
    return Cohort(visits, outcome)


def _schema(n_static: int, n_measurements: int) -> Schema:
    static, measured = [f"s{i}" for i in range(n_static)], [f"m{i}" for i in range(n_measurements)]
    return Schema.of([f"c{i}" for i in range(10)], static=static, measurements=measured)


def _whole(low: int, high: int, draw: torch.Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=draw))


def _by_patient(values: Tensor, codes: list[list[list[str]]]) -> list[list[list[float]]]:
    nested, first = [], 0
    for record in codes:
        nested.append(values[first : first + len(record)].tolist())
        first += len(record)
    return nested


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor holds that is made under it; views of what was there do not count."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = {arg.untyped_storage().data_ptr() for arg in args if torch.is_tensor(arg)}
        if result.untyped_storage().data_ptr() not in given:
            self.numbers = max(self.numbers, result.numel())
        return result
