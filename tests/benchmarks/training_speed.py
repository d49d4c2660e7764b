"""Training steps a second: this package against the textbook implementation, and against a batch with no padding.

Run on demand with `make bench`. The arms of a comparison take turns within one process on one thread, each turn is
measured in CPU time, and what is printed is the median ratio with its quartiles, over the turns.
"""

import platform
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import torch

from tests.benchmarks import textbook
from visitwise.cohort import Cohort, Outcome
from visitwise.functional import hazard_nll
from visitwise.model import SurvivalRNN
from visitwise.visits import Schema, Visits

VOCABULARY, EMBEDDING, HIDDEN = 10_000, 128, 256
SCHEMA = Schema.of([f"code {number}" for number in range(1, VOCABULARY)])
Step = Callable[[], int]


def ragged_cohort(n_patients: int, seed: int) -> Cohort:
    """About 15 visits (1 to 100) of about 6 codes (1 to 40) a patient: log-normal, as records are."""
    random = np.random.default_rng(seed)
    n_visits = random.lognormal(np.log(11), 0.8, n_patients).round().clip(1, 100).astype(int)
    n_codes = random.lognormal(np.log(4.5), 0.75, n_visits.sum()).round().clip(1, 40).astype(int)
    return _cohort(n_visits, n_codes, random)


def even_cohort(n_patients: int, n_visits: int, n_codes: int, seed: int) -> Cohort:
    """Every patient with as many visits, every visit with as many codes: nothing to pad."""
    visits = np.full(n_patients, n_visits)
    return _cohort(visits, np.full(visits.sum(), n_codes), np.random.default_rng(seed))


def _cohort(n_visits: np.ndarray, n_codes: np.ndarray, random: np.random.Generator) -> Cohort:
    def offsets(lengths: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([[0], lengths.cumsum()]))

    visits = Visits(
        codes=torch.from_numpy(random.integers(1, VOCABULARY, n_codes.sum(), dtype=np.int32)),
        code_offsets=offsets(n_codes),
        visit_offsets=offsets(n_visits),
        day=torch.from_numpy(np.concatenate([30.0 * np.arange(length) for length in n_visits])),
        patient_id=torch.arange(len(n_visits)),
        static=torch.zeros(len(n_visits), 0),
        measurements=torch.zeros(int(n_visits.sum()), 0),
        schema=SCHEMA,
    )
    return Cohort(visits, Outcome.of(torch.from_numpy(n_visits), torch.from_numpy(random.random(len(n_visits)) < 0.3)))


def endless(cohort: Cohort, batch_size: int, window: int) -> Iterator[Cohort]:
    epoch = 0
    while True:
        yield from cohort.batches(batch_size, seed=1, epoch=epoch, window=window)
        epoch += 1


def our_step(cohort: Cohort, batch_size: int, window: int) -> Step:
    """Collate, forward, loss, backward and update of this package; returns how many patients (or visits) it took."""
    model = SurvivalRNN(SCHEMA, embedding=EMBEDDING, hidden=HIDDEN, time_features=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    batches = endless(cohort, batch_size, window)

    def step() -> int:
        batch = next(batches)
        outcome = batch.outcome
        loss = hazard_nll(model(batch.visits), outcome.stop, outcome.observed, outcome.start, reduction="sum")
        (loss / batch_size).backward()
        optimizer.step()
        optimizer.zero_grad()
        return len(batch)

    return step


def textbook_step(cohort: Cohort, batch_size: int) -> Step:
    """The same for the textbook implementation, from Python lists as its collate expects them."""
    visits = cohort.visits
    codes = [part.tolist() for part in visits.codes.tensor_split(visits.code_offsets[1:-1])]
    bounds = visits.visit_offsets.tolist()
    records = [codes[begin:end] for begin, end in pairwise(bounds)]
    model = textbook.TextbookLSTM(VOCABULARY, EMBEDDING, HIDDEN)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    random = np.random.default_rng(1)

    def step() -> int:
        chosen = random.choice(len(records), batch_size, replace=False)
        codes, code_mask, visit_mask = textbook.collate([records[i] for i in chosen])
        hazard = model(codes, code_mask, visit_mask)
        stop, observed = cohort.outcome.stop[chosen], cohort.outcome.observed[chosen]
        (textbook.loss(hazard, stop, observed, visit_mask) / batch_size).backward()
        optimizer.step()
        optimizer.zero_grad()
        return batch_size

    return step


def rate(step: Step, steps: int) -> float:
    """Patients a second of CPU time over some steps."""
    begin = time.process_time()
    patients = sum(step() for _ in range(steps))
    return patients / (time.process_time() - begin)


def ratios(ours: Step, theirs: Step, *, our_steps: int, their_steps: int, turns: int) -> tuple[np.ndarray, np.ndarray]:
    """Quartiles of the ratio, and of our rate, over turns taken one after the other."""
    rate(ours, 2), rate(theirs, 1)
    pairs = np.array([(rate(ours, our_steps), rate(theirs, their_steps)) for _ in range(turns)])
    return np.quantile(pairs[:, 0] / pairs[:, 1], [0.25, 0.5, 0.75]), np.quantile(pairs[:, 0], [0.25, 0.5, 0.75])


def main() -> None:
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {platform.machine()}, one thread, CPU time; median [quartiles] over turns")
    print(f"vocabulary {VOCABULARY:,}, embedding {EMBEDDING}, hidden {HIDDEN}, about 15 visits of 6 codes\n")
    cohort = ragged_cohort(12_800, seed=0)
    visits_per_patient = round(cohort.visits.n_visits / len(cohort))
    codes_per_visit = round(cohort.visits.codes.shape[0] / cohort.visits.n_visits)
    even = even_cohort(12_800, visits_per_patient, codes_per_visit, seed=0)
    for batch_size in (64, 256):
        bucketed = our_step(cohort, batch_size, window=50)
        steps = 50
        ratio, ours = ratios(bucketed, textbook_step(cohort, batch_size), our_steps=steps, their_steps=3, turns=7)
        print(f"batch {batch_size:3}: {ours[1]:7,.0f} patients/s, {_spread(ratio)} times the textbook implementation")
        dense = our_step(even, batch_size, window=1)
        ratio, _ = ratios(bucketed, dense, our_steps=steps, their_steps=25, turns=7)
        ratio *= (cohort.visits.n_visits / len(cohort)) / visits_per_patient
        print(f"{'':10} {_spread(ratio)} of the visits a second of a batch without padding\n")


def _spread(quartiles: np.ndarray) -> str:
    low, middle, high = quartiles
    return f"{middle:5.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
