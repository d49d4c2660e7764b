"""What a second process brings on one machine: patients a second, the gradient of one, and what each holds in memory.

`python -m tests.benchmarks.processes` prints two tables; with `--record` it also writes them to `results/`, where the
page on scale reads them. `fit` takes the same steps in one process and in two, in turn, each on one thread, from a
cohort that is mapped into memory and split as by `visitwise train`. Processes wait for each other: this is wall time.
"""

import copy
import tempfile
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tests.benchmarks.patients import EMBEDDING, HIDDEN, ragged_cohort
from tests.benchmarks.records import main
from tests.benchmarks.scale import flat_bytes
from visitwise import training
from visitwise.cohort import Cohort
from visitwise.losses import outcome_nll
from visitwise.model import SurvivalRNN
from visitwise.parallel import run_processes, sum_gradients

SIZES, TIMED = (10_000, 100_000, 1_000_000), 100_000
BATCH, PARTS, STEPS, TURNS, SEED = 256, 1024, 20, 5, 0
SHARES = [0.70, 0.15, 0.15]


class EnoughError(Exception):
    """So many steps were taken."""


def steps_of_fit(folder: Path, steps: int) -> dict[str, Any]:
    """Some steps of `fit` as one of the processes has them; the first warms up and is not timed."""
    learn, decide, _ = Cohort.load(folder).split(SHARES, seed=SEED)
    model = SurvivalRNN.for_cohort(learn, embedding=EMBEDDING, hidden=HIDDEN)
    found: dict[str, Any] = {"message": 0.0, "waited": 0.0, "private": 0, "floats": count_of(model)}
    marks: list[tuple[float, float]] = []

    def measured(model: nn.Module) -> None:
        begin = time.perf_counter()
        if dist.is_initialized():
            dist.barrier()
        met = time.perf_counter()
        sum_gradients(model)
        if marks:
            found["waited"] += met - begin
            found["message"] += time.perf_counter() - met
        else:
            found["gradient"] = gradient_of(model)
        marks.append((time.perf_counter(), time.process_time()))
        if len(marks) > steps:
            raise EnoughError

    training.sum_gradients = measured  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as checkpoint, suppress(EnoughError):
        training.fit(model, learn, decide, batch_size=BATCH, padded_visits=PARTS, seed=SEED, checkpoint=checkpoint)
    training.sum_gradients = sum_gradients  # type: ignore[attr-defined]
    (first, first_cpu), (last, last_cpu) = marks[0], marks[-1]
    return found | {"seconds": last - first, "cpu": last_cpu - first_cpu, "private": private_bytes()}


def private_bytes() -> int:
    """What this process holds that is no page of a file: those are the system's, and can be dropped and read again."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


def both_messages(folder: Path, steps: int) -> dict[str, Any]:
    """Steps with our message and with that of `DistributedDataParallel`, in turn within the same processes."""
    learn, _, _ = Cohort.load(folder).split(SHARES, seed=SEED)
    ours = SurvivalRNN.for_cohort(learn, embedding=EMBEDDING, hidden=HIDDEN)
    theirs = DistributedDataParallel(copy.deepcopy(ours))
    rank, world = dist.get_rank(), dist.get_world_size()
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    difference = 0.0
    for _, patients in zip(range(steps), learn.deal(BATCH, seed=SEED), strict=False):
        parts = list(learn.select(patients[rank::world]).parts(PARTS))
        for name, model in (("ours", ours), ("theirs", theirs)):
            model.zero_grad()
            dist.barrier()
            begin = time.perf_counter()
            for part in parts:
                with theirs.no_sync() if model is theirs and part is not parts[-1] else nullcontext():
                    (outcome_nll(model(part.visits), part.outcome, reduction="sum") / BATCH).backward()
            if model is ours:
                sum_gradients(ours)
            seconds[name].append(time.perf_counter() - begin)
        one, other = gradient_of(ours), gradient_of(theirs) * world
        difference = max(difference, distance(other, one))
    ratio = np.median(np.array(seconds["theirs"]) / np.array(seconds["ours"]))
    return {"ratio": float(ratio), "difference": difference}


def gradient_of(model: nn.Module) -> Tensor:
    return torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])


def distance(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).norm() / other.double().norm())


def count_of(model: nn.Module) -> int:
    return sum(each.numel() for each in model.parameters())


# ------------------------------------------------------------------------------------------------------------ record


def timed(folder: Path) -> dict[str, Any]:
    runs: dict[int, list[list[dict[str, Any]]]] = {1: [], 2: []}
    for _ in range(TURNS):
        for processes, kept in runs.items():
            kept.append(run_processes(steps_of_fit, processes, folder, STEPS))
    rates = {n: np.array([STEPS * BATCH / max(each["seconds"] for each in run) for run in runs[n]]) for n in runs}
    rows, facts = [], {}
    for processes, kept in runs.items():
        every = [each for run in kept for each in run]
        cpu = np.array([sum(each["cpu"] for each in run) / (STEPS * BATCH) * 1e3 for run in kept])
        shares = {
            name: np.array([each[name] / each["seconds"] for each in every]) * 100 for name in ("message", "waited")
        }
        times = rates[processes] / rates[1]
        columns = {"rate": rates[processes], "times": times, "cpu": cpu, **shares}
        for name, values in columns.items():
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
            fact = f"bench_processes_{name}_{processes}"
            facts |= {f"{fact}_low": low, fact: middle, f"{fact}_high": high}
        digits = {"rate": ",.0f", "times": ".2f", "cpu": ".2f", "message": ".1f", "waited": ".1f"}
        rows.append([f"{processes}", *(spread(values, digits[name]) for name, values in columns.items())])
        print("  ".join(rows[-1]), flush=True)
    facts["bench_processes_possible"] = 2 * facts["bench_processes_cpu_1"] / facts["bench_processes_cpu_2"]
    alone, together = (runs[n][0][0]["gradient"] for n in (1, 2))
    ddp = run_processes(both_messages, 2, folder, STEPS)[0]
    facts |= {
        "bench_processes_difference": distance(together, alone),
        "bench_processes_message_megabytes": runs[1][0][0]["floats"] * 4 / 1e6,
        "bench_processes_ddp_difference": ddp["difference"],
        "bench_processes_ddp_times": ddp["ratio"],
    }
    title = (
        f"Wall time of {STEPS} steps on a shared machine, each process on one thread: median [quartiles]. Batches "
        f"of {BATCH} patients with about 15 visits of 6 codes; embedding {EMBEDDING}, hidden {HIDDEN}, 10,000 codes."
    )
    columns = ["Processes", "Patients a second", "Times one", "CPU, ms a patient", "Message, % of time", "Waiting, %"]
    return {"title": title, "columns": columns, "rows": rows, "turns": TURNS, "facts": facts}


def memory(folders: dict[int, Path]) -> dict[str, Any]:
    rows, facts = [], {}
    for size, folder in folders.items():
        on_disk = flat_bytes(Cohort.load(folder)) / 1e6
        held = {n: max(each["private"] for each in run_processes(steps_of_fit, n, folder, 3)) / 1e6 for n in (1, 2)}
        facts |= {f"bench_processes_private_{n}_{size}": value for n, value in held.items()}
        facts[f"bench_processes_disk_{size}"] = on_disk
        rows.append([f"{size:,}", f"{on_disk:.0f}", *(f"{value:.0f}" for value in held.values())])
        print("  ".join(rows[-1]), flush=True)
    columns = ["Patients", "Visits on disk, MB", "Held by one process, MB", "Held by each of two, MB"]
    title = "Counted after three steps: memory that only one process has, with PyTorch, the model and a batch in it."
    return {"title": title, "columns": columns, "rows": rows, "facts": facts}


def spread(values: np.ndarray, digits: str) -> str:
    low, middle, high = (format(value, digits) for value in np.quantile(values, [0.25, 0.5, 0.75]))
    return f"{middle} [{low}, {high}]"


def measure() -> None:
    """Both tables, on cohorts that are written first."""
    with tempfile.TemporaryDirectory() as name:
        folders = {size: Path(name) / f"{size}" for size in SIZES}
        for size, folder in folders.items():
            ragged_cohort(size, SEED).save(folder)
        tables = {"processes": lambda: timed(folders[TIMED]), "processes_memory": lambda: memory(folders)}
        main(__doc__ or "", tables, seed=SEED)


if __name__ == "__main__":
    from tests.benchmarks import processes  # where the processes find the functions by name

    processes.measure()
