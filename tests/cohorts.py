"""Small random cohorts for tests that need some and do not care which, and their likelihood patient by patient."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from visitwise.cohort import Cohort, Outcome
from visitwise.visits import Schema, Visits


def random_cohort(n_patients: int, *, seed: int, first_id: int = 0, longest: int = 9) -> Cohort:
    """Patients of 1 to `longest` visits of 0 to 4 codes, a measurement half of the time, a static, some history.

    A censored patient's last interval was followed all, in part or not at all.
    """
    random = np.random.default_rng([seed, n_patients])
    names = ["asthma", "diabetes", "fracture", "gout", "migraine"]
    n_visits = random.integers(1, longest + 1, n_patients)
    stop = np.array([random.integers(1, length + 1) for length in n_visits])
    start = np.array([random.integers(0, end) for end in stop])
    visits = Visits.from_lists(
        [[list(random.choice(names, random.integers(0, 5))) for _ in range(length)] for length in n_visits],
        day=[np.sort(random.choice(3000, length, replace=False)).tolist() for length in n_visits],
        patient_id=range(first_id, first_id + n_patients),
        static=random.normal(50, 10, (n_patients, 1)).tolist(),
        measurements=[
            [[random.normal() if random.random() < 0.5 else float("nan")] for _ in range(length)] for length in n_visits
        ],
        schema=Schema.of(names, static=["age"], measurements=["weight"]),
    )
    observed = random.random(n_patients) < 0.5
    followed = (1.4 * random.random(n_patients) - 0.2).clip(0, 1)
    outcome = Outcome.of(
        torch.from_numpy(stop),
        torch.from_numpy(observed),
        start=torch.from_numpy(start),
        censored_exposure=torch.from_numpy(np.where(observed, 1.0, followed)).float(),
    )
    return Cohort(visits, outcome)


def nll_by_hand(hazard_logits: Tensor, cohort: Cohort) -> Tensor:
    """Negative log-likelihood of all rows at risk, one patient after the other."""
    outcome, total = cohort.outcome, hazard_logits.new_zeros((), dtype=torch.float64)
    for i in range(len(cohort)):
        row = hazard_logits[i, int(outcome.start[i]) : int(outcome.stop[i])].double()
        total = total + softplus(row[:-1]).sum()
        if outcome.observed[i]:
            total = total + softplus(-row[-1])
        else:
            total = total + outcome.censored_exposure[i].double() * softplus(row[-1])
    return total
