"""What grows with the cohort and what does not, from a thousand patients to a million: bytes counted, time measured.

`python -m tests.benchmarks.scale` prints the tables; with `--record` it also writes them to `results/`, where the page
on scale reads them, and draws `results/scale_growth.svg` from them. `--only scale_growth` measures one table. All sizes
take turns on one thread, each turn is measured in CPU time, and a cell holds the median over the turns, with its
quartiles. Memory is read from /proc, as Linux has it. The cohorts are written in shards and read as memory maps.

Two kinds of patients: random ones of about 15 visits and 6 codes a visit, as records are, which fill a disk and a
batch; and those of the simulator, who are drawn, learned from to the end of an epoch, and scored.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from tests.benchmarks.packing import peak
from tests.benchmarks.patients import EMBEDDING, HIDDEN, SCHEMA, ragged_cohort
from tests.benchmarks.records import RESULTS, Table, keep_picture, main
from visitwise import metrics, plots
from visitwise.cohort import Cohort, CohortWriter
from visitwise.functional import hazard_nll
from visitwise.model import SurvivalRNN
from visitwise.simulate import TEACHING
from visitwise.training import fit

SIZES, BATCH, PARTS, STEPS, TURNS, SEED = (1_000, 10_000, 100_000, 1_000_000), 256, 1024, 4, 7, 0
AT_MOST = 400  # batches of a turn: all of them, but for the largest cohort
WHOLE_TURNS = 3  # of what takes all patients of a cohort
SMALL = {"embedding": 32, "hidden": 32}
SHARD, HORIZON = 10_000, 10

Found = dict[str, list[float]]


def written(folders: dict[int, Path]) -> dict[int, Cohort]:
    """Cohorts of `ragged_cohort` in these folders, drawn and written in shards: memory holds one of them."""
    for n_patients, folder in folders.items():
        if folder.exists():
            continue
        with CohortWriter(folder) as writer:
            for begin in range(0, n_patients, SHARD):
                shard = ragged_cohort(min(SHARD, n_patients - begin), SEED + begin)
                visits = replace(shard.visits, patient_id=shard.visits.patient_id + begin)
                writer.append(replace(shard, visits=visits))
            writer.finish()
    return {n_patients: Cohort.load(folder) for n_patients, folder in folders.items()}


def drawn(folders: dict[int, Path]) -> dict[int, Path]:
    """Folders with the simulator's patients."""
    for n_patients, folder in folders.items():
        if not folder.exists():
            TEACHING.draw_to(folder, n_patients, seed=SEED)
    return folders


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
    model = a_model("padded")

    def work(part: Cohort) -> Callable[[], tuple[torch.Tensor, SurvivalRNN]]:
        outcome = part.outcome
        return lambda: (hazard_nll(model(part.visits), outcome.stop, outcome.observed, reduction="sum"), model)

    return max(peak(work(part)) for part in batch.parts(padded_visits))


# -------------------------------------------------------------------------------------------------- opened and batched


def timed(cohorts: dict[int, Cohort], folders: dict[int, Path]) -> dict[str, Any]:
    """For each size: open the cohort, cut it into batches, and let `fit` take some steps."""
    steps = {size: training(cohort) for size, cohort in cohorts.items()}
    found: dict[int, Found] = {size: {} for size in cohorts}
    for turn in range(TURNS + 1):  # the first warms up and is not kept
        for size, cohort in cohorts.items():
            measured = {
                "load": cpu(partial(Cohort.load, folders[size])) * 1e3,
                "batch": rate(partial(batches, cohort, turn)) * 1e6,
                "step": steps[size]() * 1e6,
            }
            for name, value in measured.items():
                found[size].setdefault(name, []).extend([value] * (turn > 0))
    rows, facts = [], {}
    for size, cohort in cohorts.items():
        cells = [
            quartiles(facts, f"bench_scale_{name}_{size}", found[size][name]) for name in ("load", "batch", "step")
        ]
        pace = facts[f"bench_scale_step_{size}"]
        facts[f"bench_scale_epoch_minutes_{size}"] = pace * cohort.visits.n_visits / 60e6
        facts[f"bench_scale_step_ratio_{size}"] = pace / facts[f"bench_scale_step_{min(size, SIZES[1])}"]
        rows.append([f"{size:,}", f"{cohort.visits.n_visits:,}", *cells])
        print("  ".join(rows[-1]), flush=True)
    columns = ["Patients", "Visits", "Open, ms", "Batches, µs a visit", "Training, µs a visit"]
    title = (
        "CPU time on one thread of a shared machine: median [quartiles]. About 15 visits of 6 codes a patient, read "
        f"through memory maps; batches of {BATCH} at random; training: the loop of `fit` over {STEPS} of them, with "
        f"embedding {EMBEDDING}, hidden {HIDDEN}."
    )
    return {"title": title, "columns": columns, "rows": rows, "turns": TURNS, "facts": facts}


def batches(cohort: Cohort, epoch: int) -> int:
    """Batches cut into parts, with nothing done to them; returns how many visits they had."""
    chosen = islice(cohort.batches(BATCH, seed=SEED, epoch=epoch), AT_MOST)
    return sum(part.visits.n_visits for batch in chosen for part in batch.parts(PARTS))


def a_model(path: str = "staircase") -> SurvivalRNN:
    return SurvivalRNN(SCHEMA, embedding=EMBEDDING, hidden=HIDDEN, time_features=False, path=path)


class _Watched(Cohort):
    """A cohort that stops dealing after some batches, and knows how long what was done with them took."""

    def deal(self, *args: Any, **kwargs: Any) -> Iterator[Tensor]:
        dealt = list(islice(super().deal(*args, **kwargs), STEPS))
        patients, offsets = torch.cat(dealt), self.visits.visit_offsets
        visits = int((offsets[patients + 1] - offsets[patients]).sum())
        begin = time.process_time()
        yield from dealt
        object.__setattr__(self, "seconds_a_visit", (time.process_time() - begin) / visits)


def training(cohort: Cohort) -> Callable[[], float]:
    """The loop of `fit`, without what is done once an epoch, which so few batches should not pay; seconds a visit."""
    watched, model = _Watched(cohort.visits, cohort.outcome), a_model()
    others = ragged_cohort(8, SEED)
    validation = replace(others, visits=replace(others.visits, patient_id=-1 - others.visits.patient_id))

    def loop() -> float:
        fit(model, watched, validation, epochs=1, batch_size=BATCH, padded_visits=PARTS, seed=SEED, progress=False)
        return float(vars(watched)["seconds_a_visit"])

    return loop


# -------------------------------------------------------------------------------------------- drawn, learned from, held


def growth(folders: dict[int, Path], simulated: dict[int, Path]) -> dict[str, Any]:
    """For each size: the simulator writes it, a small model learns from it for one epoch, and what a process holds."""
    found: dict[int, Found] = {size: {"draw": [], "fit": []} for size in folders}
    held: dict[int, dict[str, float]] = {}
    written(folders)
    epoch(TEACHING.draw(BATCH, seed=SEED + 2).cohort)  # warms up
    for turn in range(WHOLE_TURNS):
        for size, folder in simulated.items():
            drawing = in_a_process(DRAW, f"{folder}.{turn}", size)
            held.setdefault(size, {}).update(drawing=drawing["peak"])
            found[size]["draw"].append(drawing["seconds"])
            if turn == 0:
                Path(f"{folder}.{turn}").rename(folder)
                held[size] |= in_a_process(OPEN, folders[size], BATCH)
            cohort = Cohort.load(folder)
            found[size]["fit"].append(cpu(partial(epoch, cohort)))
    rows, facts = [], {}
    for size in simulated:
        n_visits = Cohort.load(simulated[size]).visits.n_visits
        cells = []
        for name in ("draw", "fit"):
            a_visit = [seconds / n_visits * 1e6 for seconds in found[size][name]]
            quartiles(facts, f"bench_scale_{name}_seconds_{size}", found[size][name])
            cells += [quartiles(facts, f"bench_scale_{name}_{size}", a_visit)]
        facts |= {f"bench_scale_{name}_{size}": value for name, value in held[size].items()}
        facts[f"bench_scale_visits_{size}"] = n_visits
        of = {name: f"{value:,.0f}" for name, value in held[size].items()}
        memory = [of["drawing"], f"{of['opened']} ({of['private']})", f"{of['batched']} ({of['private_batched']})"]
        rows.append([f"{size:,}", f"{n_visits:,}", *cells, *memory])
        print("  ".join(rows[-1]), flush=True)
    columns = ["Patients", "Visits", "Drawing, µs", "An epoch, µs", "Drawing, MB", "Opened, MB", "Batches, MB"]
    title = (
        "CPU time on one thread, for each visit: median [quartiles]. The simulator's patients, about 11.5 visits of 3 "
        "codes: drawn and written in shards, then a whole epoch of `fit`, embedding 32, hidden 32. MB that a process "
        "holds, PyTorch included: at most while it draws; and for the random patients, once they are open and after "
        f"{AT_MOST} batches; in brackets what is private to it. The rest are pages of files, which the system can take "
        "back."
    )
    return {"title": title, "columns": columns, "rows": rows, "turns": WHOLE_TURNS, "facts": facts}


def epoch(cohort: Cohort) -> None:
    """All patients once; those the epoch is judged by are few, so that they cost nothing to speak of."""
    model = SurvivalRNN(cohort.visits.schema, **SMALL)
    validation = TEACHING.draw(8, seed=SEED + 1).cohort
    fit(model, cohort, validation, epochs=1, batch_size=BATCH, seed=SEED, progress=False)


HELD = """
import json, re, sys, time
import torch
torch.set_num_threads(1)

def held():
    with open("/proc/self/smaps_rollup") as file:
        sizes = dict(re.findall(r"(\\w+): +(\\d+) kB", file.read()))
    return int(sizes["Rss"]) / 1e3, int(sizes["Anonymous"]) / 1e3
"""
DRAW = (
    HELD
    + """
from visitwise.simulate import TEACHING
TEACHING.draw(1, seed=0)  # the level of the hazards is found once
begin = time.process_time()
TEACHING.draw_to(sys.argv[1], int(sys.argv[2]), seed=0)
seconds = time.process_time() - begin
with open("/proc/self/status") as file:
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", file.read())[1]) / 1e3
print(json.dumps({"seconds": seconds, "peak": peak}))
"""
)
OPEN = (
    HELD
    + f"""
from itertools import islice
from visitwise.cohort import Cohort
imported, _ = held()
cohort = Cohort.load(sys.argv[1])
opened, private = held()
for batch in islice(cohort.batches(int(sys.argv[2]), seed=0), {AT_MOST}):
    batch.visits.codes.sum()
batched, private_batched = held()
names = ("imported", "opened", "private", "batched", "private_batched")
print(json.dumps(dict(zip(names, (imported, opened, private, batched, private_batched)))))
"""
)


def in_a_process(script: str, *words: object) -> dict[str, float]:
    """What a process of its own prints as JSON."""
    command = [sys.executable, "-c", script, *map(str, words)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


# ------------------------------------------------------------------------------------------------------------- scored


def scored(simulated: dict[int, Path]) -> dict[str, Any]:
    """Each metric on the true hazards of all patients of each size."""
    found: dict[int, Found] = {size: {} for size in simulated}
    for warm_up in scores(simulated[SIZES[0]]).values():
        warm_up()
    for _ in range(WHOLE_TURNS):
        for size, folder in simulated.items():
            for name, score in scores(folder).items():
                found[size].setdefault(name, []).append(cpu(score))
    facts: dict[str, float] = {}
    rows = []
    for name in found[SIZES[0]]:
        key = re.sub(r"\W+", "_", name.lower())
        cells = [quartiles(facts, f"bench_metric_{key}_{size}", found[size][name]) for size in simulated]
        rows.append([name, *cells])
        print("  ".join(rows[-1]), flush=True)
    for size in simulated:
        of_turns = [sum(times) for times in zip(*found[size].values(), strict=True)]
        quartiles(facts, f"bench_scale_metrics_seconds_{size}", of_turns)
    title = (
        "Seconds of CPU time on one thread: median [quartiles]. The simulator's patients, with their true hazards: a "
        f"risk for each patient, or a hazard for each of the about 11.5 rows of a patient; horizons up to {HORIZON}."
    )
    columns = ["Metric", *(f"{size:,} patients" for size in simulated)]
    return {"title": title, "columns": columns, "rows": rows, "turns": WHOLE_TURNS, "facts": facts}


def scores(folder: Path) -> dict[str, Callable[[], object]]:
    cohort, hazard = Cohort.load(folder), torch.from_numpy(np.load(folder / "true_hazard.npy", mmap_mode="c"))
    outcome, risk = cohort.outcome, hazard[cohort.visits.visit_offsets[:-1]]
    survival = (1 - risk[:, None]) ** torch.arange(1, HORIZON + 1)
    horizons = range(1, HORIZON + 1)
    return {
        "Concordance, Harrell": partial(metrics.concordance, risk, outcome),
        "Concordance, Uno": partial(metrics.concordance, risk, outcome, weights="follow-up"),
        "Cumulative/dynamic AUC": partial(metrics.cumulative_dynamic_auc, risk, outcome, HORIZON),
        "Incident/dynamic AUC": partial(metrics.incident_dynamic_auc, hazard, outcome),
        "Integrated Brier": partial(metrics.integrated_brier, survival, outcome, horizons),
        "Calibration": partial(metrics.calibration, hazard, outcome),
        "D-calibration": partial(metrics.d_calibration, hazard, outcome),
        "Kaplan-Meier": partial(metrics.kaplan_meier, outcome),
    }


# ------------------------------------------------------------------------------------------------------------ picture


LINES = (  # in words, among the facts, colour, and how far its name is moved up or down
    ("an epoch", "fit", "hazard", 3),
    ("all metrics", "metrics", "event_probability", 5),
    ("drawing", "draw", "survival", -7),
)


def draw(facts: dict[str, float]) -> Figure:
    """Seconds for all patients of a cohort, and microseconds for one visit, against the number of patients."""
    figure = Figure(figsize=(5.4, 7))
    whole, single = figure.subplots(2, 1, sharex=True)
    visits = np.array([facts[f"bench_scale_visits_{size}"] for size in SIZES])
    for name, key, role, nudge in LINES:
        of = f"bench_scale_{key}_seconds"
        low, middle, high = (np.array([facts[f"{of}_{size}{end}"] for size in SIZES]) for end in ("_low", "", "_high"))
        colour = plots.COLOURS[role]
        for axes, unit in ((whole, np.ones(len(SIZES))), (single, 1e6 / visits)):
            axes.vlines(SIZES, low * unit, high * unit, color=colour, linewidth=5, alpha=0.5)
            axes.plot(SIZES, middle * unit, "o-", color=colour, markersize=6)
            end = (SIZES[-1], middle[-1] * unit[-1])
            axes.annotate(name, end, (8, nudge), textcoords="offset points", color=colour, va="center")
    whole.set(xscale="log", yscale="log", ylabel="seconds, all patients", xlim=(SIZES[0] * 0.7, SIZES[-1] * 30))
    single.set(xlabel="patients in the cohort", ylabel="µs a visit", ylim=(0, None))
    single.set_xticks(SIZES, [f"{size // 1000}k" if size < 10**6 else f"{size // 10**6}M" for size in SIZES])
    single.minorticks_off()
    return figure


def words(facts: dict[str, float]) -> str:
    """The picture for those who do not see it."""
    seconds, a_visit = [], []
    for name, key, *_ in LINES:
        ends = [facts[f"bench_scale_{key}_seconds_{size}"] for size in (SIZES[0], SIZES[-1])]
        visits = [facts[f"bench_scale_visits_{size}"] for size in (SIZES[0], SIZES[-1])]
        seconds.append(f"{name} {ends[0]:.2g} to {ends[1]:.3g}")
        a_visit.append(f"{name} {ends[0] / visits[0] * 1e6:.2g} to {ends[1] / visits[1] * 1e6:.2g}")
    return (
        f"Against the number of patients, {SIZES[0]:,} to {SIZES[-1]:,}. Above, seconds on logarithmic axes: "
        f"{', '.join(seconds)}. Below, microseconds a visit: {', '.join(a_visit)}."
    )


def picture() -> None:
    """`scale_growth.svg`, from the records; the same bytes from the same numbers."""
    facts: dict[str, float] = {}
    for name in ("scale_growth", "scale_metrics"):
        facts |= json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["facts"]
    keep_picture("scale_growth", words(facts), lambda: draw(facts))


# ------------------------------------------------------------------------------------------------------------- record


def cpu(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def rate(work: Callable[[], int]) -> float:
    """Seconds of CPU time for each visit."""
    begin = time.process_time()
    visits = work()
    return (time.process_time() - begin) / visits


def quartiles(facts: dict[str, float], name: str, values: list[float]) -> str:
    """Median and quartiles, as facts and as a cell."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    facts |= {f"{name}_low": low, name: middle, f"{name}_high": high}
    digits = 1 if middle >= 10 else 2 if middle >= 0.1 else 4
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def measure() -> None:
    """All tables, on cohorts that are drawn when the first table asks for them."""
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # for the processes that are started
    with tempfile.TemporaryDirectory() as name:
        folders = {size: Path(name) / f"{size}" for size in SIZES}
        simulated = {size: Path(name) / f"simulated_{size}" for size in SIZES}
        tables: dict[str, Callable[[], Table]] = {
            "scale_memory": lambda: memory(written(folders)),
            "scale": lambda: timed(written(folders), folders),
            "scale_growth": lambda: growth(folders, simulated),
            "scale_metrics": lambda: scored(drawn(simulated)),
        }
        recorded = main(__doc__ or "", tables, seed=SEED)
    if recorded:
        picture()


if __name__ == "__main__":
    measure()
