"""What grows with the cohort and what does not: bytes counted exactly, time measured.

`python -m tests.benchmarks.scale` prints two tables; with `--record` it also writes them to `results/`, where the page
on scale reads them. The cohorts are read from disk as memory maps. All sizes take turns within one process on one
thread, each turn is measured in CPU time, and a cell holds the median over the turns, with its quartiles.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.benchmarks.packing import machine, peak
from tests.benchmarks.training_speed import EMBEDDING, HIDDEN, SCHEMA, ragged_cohort
from visitwise.cohort import Cohort
from visitwise.functional import hazard_nll
from visitwise.model import SurvivalRNN

RESULTS = Path(__file__).parent / "results"
SIZES, BATCH, PARTS, STEPS, TURNS, SEED = (1_000, 10_000, 100_000, 1_000_000), 256, 1024, 2, 7, 0
AT_MOST = 400  # batches of a turn: all of them, but for the largest cohort


# ------------------------------------------------------------------------------------------------------------ memory


def flat_bytes(cohort: Cohort) -> int:
    """Of all arrays of the visits, as they lie in memory and on disk."""
    return sum(values.nbytes for values in vars(cohort.visits).values() if torch.is_tensor(values))


def box_bytes(cohort: Cohort) -> int:
    """Of `Visits.padded()` for everybody at once: codes in 4 bytes, a mask of one byte for each cell and each visit."""
    longest, most = int(cohort.visits.length.max()), int(cohort.visits.code_offsets.diff().max())
    return len(cohort) * longest * (most * 5 + 1)


def memory(cohorts: dict[int, Cohort]) -> dict[str, Any]:
    rows, facts = [], {}
    for size, cohort in cohorts.items():
        flat, box = flat_bytes(cohort) / size, box_bytes(cohort) / size
        batch = next(cohort.batches(BATCH, seed=SEED))
        whole, parts = (peak_of_step(batch, cells) / 1e6 for cells in (10**9, PARTS))
        facts |= {
            f"bench_bytes_flat_{size}": flat,
            f"bench_bytes_box_{size}": box,
            f"bench_bytes_ratio_{size}": box / flat,
            f"bench_peak_whole_{size}": whole,
            f"bench_peak_parts_{size}": parts,
        }
        cells = [f"{flat:,.0f}", f"{box:,.0f}", f"{box / flat:.1f}", f"{whole:.1f}", f"{parts:.1f}"]
        rows.append([f"{size:,}", *cells])
        print("  ".join(rows[-1]), flush=True)
    columns = ["Patients", "Flat, bytes a patient", "Box, bytes a patient", "Box / flat", "Step, MB", "In parts, MB"]
    title = (
        f"Counted, not timed. About 15 visits of 6 codes a patient. Step: the most that one training step on {BATCH} "
        f"patients holds at once beyond inputs and weights, padded whole and in parts of at most {PARTS:,} cells."
    )
    return {"title": title, "columns": columns, "rows": rows, "facts": facts}


def peak_of_step(batch: Cohort, padded_visits: int) -> int:
    """Of the part with the largest peak: the parts are worked off one after the other."""
    model = a_model()

    def work(part: Cohort) -> Callable[[], tuple[torch.Tensor, SurvivalRNN]]:
        outcome = part.outcome
        return lambda: (hazard_nll(model(part.visits), outcome.stop, outcome.observed, reduction="sum"), model)

    return max(peak(work(part)) for part in batch.parts(padded_visits))


# -------------------------------------------------------------------------------------------------------------- time


def timed(cohorts: dict[int, Cohort], folders: dict[int, Path]) -> dict[str, Any]:
    """For each size: open the cohort, cut it into batches, and take training steps."""
    steps = {size: training(cohort) for size, cohort in cohorts.items()}
    found: dict[tuple[int, str], list[float]] = {}
    for turn in range(TURNS + 1):  # the first warms up and is not kept
        for size, cohort in cohorts.items():
            measured = {
                "load": cpu(lambda size=size: Cohort.load(folders[size])) * 1e3,
                "batch": rate(lambda cohort=cohort, turn=turn: batches(cohort, turn)) * 1e6,
                "step": rate(steps[size], STEPS) * 1e6,
            }
            for name, value in measured.items():
                found.setdefault((size, name), []).extend([value] * (turn > 0))
    rows, facts = [], {}
    for size in cohorts:
        cells = []
        for name, digits in (("load", 1), ("batch", 2), ("step", 1)):
            low, middle, high = np.quantile(found[size, name], [0.25, 0.5, 0.75])
            fact = f"bench_scale_{name}_{size}"
            facts |= {f"{fact}_low": low, fact: middle, f"{fact}_high": high}
            cells.append(f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]")
        # The last of the three is training: what an epoch would take at that pace.
        facts[f"bench_scale_epoch_minutes_{size}"] = middle * cohorts[size].visits.n_visits / 60e6
        rows.append([f"{size:,}", f"{cohorts[size].visits.n_visits:,}", *cells])
        print("  ".join(rows[-1]), flush=True)
    columns = ["Patients", "Visits", "Open, ms", "Batches, µs a visit", "Training, µs a visit"]
    title = (
        "CPU time on one thread of a shared machine: median [quartiles]. About 15 visits of 6 codes a patient, read "
        f"through memory maps; batches of {BATCH} at random; training with embedding {EMBEDDING}, hidden {HIDDEN}."
    )
    return {"title": title, "columns": columns, "rows": rows, "turns": TURNS, "facts": facts}


def cpu(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def batches(cohort: Cohort, epoch: int) -> int:
    """Batches cut into parts, with nothing done to them; returns how many visits they had."""
    chosen = islice(cohort.batches(BATCH, seed=SEED, epoch=epoch), AT_MOST)
    return sum(part.visits.n_visits for batch in chosen for part in batch.parts(PARTS))


def a_model() -> SurvivalRNN:
    return SurvivalRNN(SCHEMA, embedding=EMBEDDING, hidden=HIDDEN, time_features=False)


def training(cohort: Cohort) -> Callable[[], int]:
    """What `fit` does with a batch; returns how many visits it had."""
    model = a_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    random = np.random.default_rng(SEED)

    def step() -> int:
        batch = cohort.select(torch.from_numpy(random.choice(len(cohort), BATCH, replace=False)))
        for part in batch.parts(PARTS):
            outcome = part.outcome
            loss = hazard_nll(model(part.visits), outcome.stop, outcome.observed, outcome.start, reduction="sum")
            (loss / BATCH).backward()
        optimizer.step()
        optimizer.zero_grad()
        return batch.visits.n_visits

    return step


def rate(work: Callable[[], int], times: int = 1) -> float:
    """Seconds of CPU time for each visit."""
    begin = time.process_time()
    visits = sum(work() for _ in range(times))
    return (time.process_time() - begin) / visits


# ------------------------------------------------------------------------------------------------------------ record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the tables to results/, for the page")
    parser.add_argument("--date", default=date.today().isoformat(), help="the day that is written down")
    parser.add_argument("--machine", default=f"{machine()}, one thread", help="the machine, in words")
    options = parser.parse_args()
    torch.set_num_threads(1)
    about = {
        "machine": options.machine,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": options.date,
        "seed": SEED,
    }
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    with tempfile.TemporaryDirectory() as name:
        folders = {size: Path(name) / f"{size}" for size in SIZES}
        for size, folder in folders.items():
            ragged_cohort(size, SEED).save(folder)
        cohorts = {size: Cohort.load(folder) for size, folder in folders.items()}
        for record, measure in (("scale_memory", lambda: memory(cohorts)), ("scale", lambda: timed(cohorts, folders))):
            print(f"\n{record}")
            table = measure() | about
            table["facts"] = {key: round(float(value), 4) for key, value in table["facts"].items()}
            if options.record:
                text = json.dumps(table, indent=1, ensure_ascii=False) + "\n"
                (RESULTS / f"{record}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
