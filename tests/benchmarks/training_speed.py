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

from visitwise import textbook
from visitwise.cohort import Cohort, Outcome
from visitwise.functional import hazard_nll
from visitwise.model import SurvivalRNN
from visitwise.visits import Schema, Visits

VOCABULARY, EMBEDDING, HIDDEN = 10_000, 128, 256
PATIENTS, TURNS = 12_800, 7
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


def our_step(cohort: Cohort, batch_size: int, *, window: int, padded_visits: int = 1024) -> Step:
    """What `fit` does with a batch; returns how many patients it took."""
    model = SurvivalRNN(SCHEMA, embedding=EMBEDDING, hidden=HIDDEN, time_features=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    batches = endless(cohort, batch_size, window)

    def step() -> int:
        batch = next(batches)
        for part in batch.parts(padded_visits):
            outcome = part.outcome
            loss = hazard_nll(model(part.visits), outcome.stop, outcome.observed, outcome.start, reduction="sum")
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
        textbook.clamp_and_log_nll(hazard, stop, observed, visit_mask).backward()
        optimizer.step()
        optimizer.zero_grad()
        return batch_size

    return step


def rate(step: Step, steps: int) -> float:
    """Patients a second of CPU time over some steps."""
    begin = time.process_time()
    patients = sum(step() for _ in range(steps))
    return patients / (time.process_time() - begin)


def compare(arms: dict[str, Step], steps: dict[str, int], turns: int) -> dict[str, np.ndarray]:
    """Rate of each arm in each turn; within a turn the arms run one after the other."""
    for name, step in arms.items():
        rate(step, max(1, steps[name] // 10))
    rates: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(turns):
        for name, step in arms.items():
            rates[name].append(rate(step, steps[name]))
    return {name: np.array(values) for name, values in rates.items()}


def main() -> None:
    torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, {platform.machine()}, one thread, CPU time; median [quartiles] over {TURNS} turns"
    )
    print(f"vocabulary {VOCABULARY:,}, embedding {EMBEDDING}, hidden {HIDDEN}, about 15 visits of 6 codes\n")
    print(f"{'':36}{'patients/s':>12}{'times the textbook':>24}{'share of dense':>22}")
    cohort = ragged_cohort(PATIENTS, seed=0)
    visits_per_patient = round(cohort.visits.n_visits / len(cohort))
    codes_per_visit = round(cohort.visits.codes.shape[0] / cohort.visits.n_visits)
    even = even_cohort(PATIENTS, visits_per_patient, codes_per_visit, seed=0)
    longer = cohort.visits.n_visits / len(cohort) / visits_per_patient
    for batch_size in (64, 256):
        arms = {
            "textbook": textbook_step(cohort, batch_size),
            "random batches, padded whole": our_step(cohort, batch_size, window=1, padded_visits=10**9),
            "random batches, in parts": our_step(cohort, batch_size, window=1),
            "batches sorted by length, in parts": our_step(cohort, batch_size, window=50),
            "dense, all patients equally long": our_step(even, batch_size, window=1),
        }
        epoch = PATIENTS // batch_size
        steps = dict.fromkeys(arms, epoch // 4) | {"textbook": 3, "batches sorted by length, in parts": epoch}
        rates = compare(arms, steps, TURNS)
        print(f"batch {batch_size}")
        for name, values in rates.items():
            dense = rates["dense, all patients equally long"] / (1 if name.startswith("dense") else longer)
            ratios = f"{_spread(values / rates['textbook']):>24}{_spread(values / dense):>22}"
            print(f"  {name:34}{np.median(values):12,.0f}{ratios}")


def _spread(values: np.ndarray) -> str:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
