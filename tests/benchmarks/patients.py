"""Patients to measure with: as many as wanted, of the lengths that are asked for, with codes that mean nothing."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch

from visitwise import textbook
from visitwise.cohort import Cohort, Outcome
from visitwise.visits import Schema, Visits

EMBEDDING, HIDDEN = 128, 256
VOCABULARY = 10_000
SCHEMA = Schema.of([f"code {number}" for number in range(1, VOCABULARY)])

Lengths = Callable[[np.random.Generator, int], np.ndarray]


def about(median: float, spread: float, highest: int) -> Lengths:
    """Log-normal, as records are: many short ones, few long ones."""
    return lambda random, n: random.lognormal(np.log(median), spread, n).round().clip(1, highest).astype(int)


def between(lowest: int, highest: int) -> Lengths:
    return lambda random, n: random.integers(lowest, highest + 1, n)


def mostly_short(random: np.random.Generator, n: int) -> np.ndarray:
    """1 to 8, and one in 32 of 60 to 100."""
    return np.where(random.random(n) < 1 / 32, random.integers(60, 101, n), random.integers(1, 9, n))


def a_cohort(n_patients: int, seed: int, visits: Lengths, codes: Lengths, vocabulary: int = VOCABULARY) -> Cohort:
    """Patients with so many visits, of so many codes each; one in three has the event after the last."""
    random = np.random.default_rng(seed)
    n_visits = visits(random, n_patients)
    n_codes = codes(random, int(n_visits.sum()))
    schema = SCHEMA if vocabulary == VOCABULARY else Schema.of([f"code {number}" for number in range(1, vocabulary)])

    def offsets(lengths: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([[0], lengths.cumsum()]))

    flat = Visits(
        codes=torch.from_numpy(random.integers(1, vocabulary, n_codes.sum(), dtype=np.int32)),
        code_offsets=offsets(n_codes),
        visit_offsets=offsets(n_visits),
        day=torch.from_numpy(np.concatenate([30.0 * np.arange(length) for length in n_visits])),
        patient_id=torch.arange(len(n_visits)),
        static=torch.zeros(len(n_visits), 0),
        measurements=torch.zeros(int(n_visits.sum()), 0),
        schema=schema,
    )
    return Cohort(flat, Outcome.of(torch.from_numpy(n_visits), torch.from_numpy(random.random(len(n_visits)) < 0.3)))


def ragged_cohort(n_patients: int, seed: int) -> Cohort:
    """About 15 visits (1 to 100) of about 6 codes (1 to 40) a patient."""
    return a_cohort(n_patients, seed, about(11, 0.8, 100), about(4.5, 0.75, 40))


def even_cohort(n_patients: int, n_visits: int, n_codes: int, seed: int, vocabulary: int = VOCABULARY) -> Cohort:
    """Every patient with as many visits, every visit with as many codes: nothing to pad."""
    return a_cohort(n_patients, seed, between(n_visits, n_visits), between(n_codes, n_codes), vocabulary)


def lists_of(cohort: Cohort) -> list[textbook.Record]:
    """Nested lists of codes, as the textbook's collate expects them."""
    visits = cohort.visits
    codes = [part.tolist() for part in visits.codes.tensor_split(visits.code_offsets[1:-1])]
    return [codes[begin:end] for begin, end in pairwise(visits.visit_offsets.tolist())]
