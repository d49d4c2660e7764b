"""What batches sorted by length cost in fit: NLL of other patients after as many epochs, and the time they took.

Run on demand with `make bench`. A bucket is a biased sample of the patients, so speed alone says too little.
"""

import time

import torch

from visitwise.baselines import LifeTableHazard
from visitwise.metrics import nll_per_row
from visitwise.model import SurvivalRNN
from visitwise.simulate import TEACHING
from visitwise.training import evaluate_nll, fit

PATIENTS, EPOCHS, SEEDS = 10_000, 8, (0, 1, 2)
ARMS = [
    ("random, padded whole", 1, 10**9),
    ("random, in parts", 1, 1024),
    ("8 batches sorted by length", 8, 1024),
    ("50 batches sorted by length", 50, 1024),
]


def main() -> None:
    torch.set_num_threads(1)
    train, validation = (TEACHING.draw(PATIENTS, seed=seed).cohort for seed in (1, 2))
    judges = TEACHING.draw(PATIENTS, seed=3)
    oracle = nll_per_row(judges.cohort.visits.pad(torch.logit(judges.hazard), torch.nan), judges.cohort.outcome)
    baseline = evaluate_nll(LifeTableHazard.fit(train), judges.cohort)
    print(
        f"{PATIENTS:,} patients of the teaching cohort, {EPOCHS} epochs, batch 256, one thread; NLL per row of others"
    )
    print(f"life table {baseline:.4f}, oracle {oracle:.4f}\n")
    print(f"{'batches':32}{'NLL, by seed':>26}{'CPU seconds, by seed':>26}")
    for name, window, padded_visits in ARMS:
        nll, seconds = [], []
        for seed in SEEDS:
            model = SurvivalRNN.for_cohort(train, seed=seed)
            begin = time.process_time()
            how = {"window": window, "padded_visits": padded_visits, "learning_rate": 2e-3, "seed": seed}
            fit(model, train, validation, epochs=EPOCHS, progress=False, **how)
            seconds.append(time.process_time() - begin)
            nll.append(evaluate_nll(model, judges.cohort))
        print(f"{name:32}{_each(nll, '.4f'):>26}{_each(seconds, '.1f'):>26}")


def _each(values: list[float], form: str) -> str:
    return "  ".join(format(value, form) for value in values)


if __name__ == "__main__":
    main()
