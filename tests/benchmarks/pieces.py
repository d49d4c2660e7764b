"""Three pieces of a training step alone: the loss, putting a batch together, and the kernel over boxes of any shape.

`python -m tests.benchmarks.pieces` prints the tables; with `--record` it also writes them to `results/`.
"""

from collections.abc import Callable, Iterator
from itertools import cycle

import numpy as np
import torch
from pycox.models.loss import nll_logistic_hazard
from torch import Tensor

from tests.benchmarks.patients import EMBEDDING, HIDDEN, lists_of, ragged_cohort
from tests.benchmarks.records import TURNS, Step, Table, compare, main, quartiles, row, spread
from visitwise import textbook
from visitwise.functional import hazard_nll

SEED = 0


def loss() -> Table:
    """Forward and backward, on logits, against the textbook's probabilities and pycox's loss."""
    rows: list[list[str]] = []
    facts: dict[str, float] = {}
    for n_patients, n_visits, steps in ((4096, 100, 30), (256, 50, 300)):
        draw = torch.Generator().manual_seed(SEED)
        logits = torch.randn(n_patients, n_visits, generator=draw).requires_grad_()
        stop = torch.randint(1, n_visits + 1, (n_patients,), generator=draw)
        observed = torch.rand(n_patients, generator=draw) < 0.3
        losses = losses_of(logits, stop, observed)
        slopes = [torch.autograd.grad(each(), logits)[0] for each in losses.values()]
        for other in slopes[1:]:
            torch.testing.assert_close(slopes[0], other, rtol=1e-4, atol=1e-9)
        rates = compare({name: forth_and_back(each, logits) for name, each in losses.items()},
                        dict.fromkeys(losses, steps), 3 * TURNS)  # fmt: skip
        cells = []
        for other in ("textbook", "pycox"):
            facts |= quartiles(f"bench_loss_{n_patients}_{other}", rates["ours"] / rates[other])
            cells.append(spread(rates["ours"] / rates[other]))
        milliseconds = 1e3 / np.median(rates["ours"])
        facts[f"bench_loss_{n_patients}"] = milliseconds
        rows.append(row(f"{n_patients:,} × {n_visits}", f"{milliseconds:.2f}", *cells))
    return {
        "title": (
            "The loss alone, forward and backward pass, one thread, CPU time: milliseconds, and how many times as fast "
            "as two others with the same slopes: median [quartiles]. Ours checks its input, the others do not."
        ),
        "columns": ["Patients × visits", "hazard_nll, ms", "Times clamp and log", "Times pycox"],
        "rows": rows,
        "turns": 3 * TURNS,
        "facts": facts,
    }


def losses_of(logits: Tensor, stop: Tensor, observed: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Three that are equal; what the others want in another form is made before."""
    last, seen = stop - 1, observed.float()
    return {
        "ours": lambda: hazard_nll(logits, stop, observed),
        "textbook": lambda: textbook.clamp_and_log_nll(torch.sigmoid(logits), stop, observed),
        "pycox": lambda: nll_logistic_hazard(logits, last, seen),
    }


def forth_and_back(loss: Callable[[], Tensor], logits: Tensor) -> Step:
    def step() -> int:
        loss().backward()
        logits.grad = None
        return 1

    return step


def collate() -> Table:
    """Batches of patients from a cohort, against the textbook's nested loops over lists."""
    rows: list[list[str]] = []
    facts: dict[str, float] = {}
    cohort = ragged_cohort(6_400, SEED)
    records = lists_of(cohort)
    for batch_size in (64, 256, 1024):
        random = np.random.default_rng(SEED)
        drawn = cycle([torch.from_numpy(random.choice(len(cohort), batch_size, replace=False)) for _ in range(100)])

        def flat(drawn: Iterator[Tensor] = drawn) -> int:
            return len(cohort.select(next(drawn)))

        def box(drawn: Iterator[Tensor] = drawn) -> int:
            return len(cohort.select(next(drawn)).visits.padded().codes)

        def loops(drawn: Iterator[Tensor] = drawn) -> int:
            return len(textbook.collate([records[i] for i in next(drawn).tolist()])[0])

        some = torch.arange(batch_size)
        theirs, ours = textbook.collate([records[i] for i in some]), cohort.select(some).visits.padded()
        assert all(torch.equal(mine.long(), other.long()) for mine, other in zip(ours, theirs, strict=True))
        steps = {"loops": 1, "flat": 100, "box": 20}
        rates = compare({"loops": loops, "flat": flat, "box": box}, steps, TURNS)
        facts |= {f"bench_collate_{batch_size}_{name}": float(np.median(rates[name])) for name in rates}
        cells = []
        for name in ("box", "flat"):
            facts |= quartiles(f"bench_collate_{batch_size}_{name}_times", rates[name] / rates["loops"])
            cells.append(spread(rates[name] / rates["loops"], ".0f"))
        rows.append(row(f"{batch_size:,}", f"{np.median(rates['loops']):,.0f}", *cells))
    return {
        "title": (
            "Putting a batch together, one thread, CPU time: patients a second by nested loops over lists, and how "
            "many times as fast the same box is filled from flat arrays, or the flat batch that the model reads: "
            "median [quartiles]. About 15 visits of 6 codes a patient, who were drawn before."
        ),
        "columns": ["Batch", "Loops, patients/s", "The same box, times", "The flat batch, times"],
        "rows": rows,
        "turns": TURNS,
        "facts": facts,
    }


def kernel() -> Table:
    """An LSTM forward and backward over boxes of 960 cells, from few long rows to many short ones."""
    lstm = torch.nn.LSTM(EMBEDDING, HIDDEN, batch_first=True)
    draw = torch.Generator().manual_seed(SEED)

    def over(n_rows: int) -> Step:
        box = torch.randn(n_rows, 960 // n_rows, EMBEDDING, generator=draw).requires_grad_()

        def step() -> int:
            lstm(box)[0].sum().backward()
            box.grad = None
            lstm.zero_grad()
            return box.shape[0] * box.shape[1]

        return step

    sizes = (1, 2, 4, 6, 8, 9, 10, 12, 16, 24, 32, 64)
    rates = compare({f"{size}": over(size) for size in sizes}, dict.fromkeys(map(str, sizes), 10), 3 * TURNS)
    facts: dict[str, float] = {}
    rows: list[list[str]] = []
    for size in sizes:
        more = rates["64"] / rates[f"{size}"]
        facts |= quartiles(f"bench_kernel_{size}", more)
        rows.append(row(f"{size}", f"{960 // size}", f"{1e6 / np.median(rates[f'{size}']):.1f}", spread(more)))
    return {
        "title": (
            f"An LSTM over a box of about 960 cells, forward and backward, one thread, CPU time: microseconds a cell, "
            f"and how many times as long as in 64 rows: median [quartiles]. Embedding {EMBEDDING}, hidden {HIDDEN}."
        ),
        "columns": ["Rows", "Columns", "µs a cell", "Times as long"],
        "rows": rows,
        "turns": 3 * TURNS,
        "facts": facts,
    }


if __name__ == "__main__":
    main(__doc__ or "", {"loss": loss, "collate": collate, "kernel": kernel}, seed=SEED)
