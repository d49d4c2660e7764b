"""What the benchmarks share: arms that take turns, medians with quartiles, and the files that pages read.

A table is a title, columns, rows of texts, and *facts*: the numbers that a page may quote. `main` prints the tables of
a benchmark, and with `--record` writes each to `results/` with the machine, the versions and the date.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context, style
from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"
TURNS = 7

Step = Callable[[], int]
Table = dict[str, Any]


def rate(step: Step, steps: int, clock: Callable[[], float] = time.process_time) -> float:
    """What the steps return together, patients as a rule, a second; of CPU time unless another clock is given."""
    begin = clock()
    done = sum(step() for _ in range(steps))
    return done / (clock() - begin)


def compare(
    arms: Mapping[str, Step],
    steps: Mapping[str, int],
    turns: int = TURNS,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, np.ndarray]:
    """Rate of each arm in each turn; within a turn the arms run one after the other."""
    for name, step in arms.items():
        rate(step, max(1, steps[name] // 10))
    rates: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(turns):
        for name, step in arms.items():
            rates[name].append(rate(step, steps[name], clock))
    return {name: np.array(values) for name, values in rates.items()}


def spread(values: np.ndarray, form: str = ".2f") -> str:
    """Median and quartiles as a cell of a table."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:{form}} [{low:{form}}, {high:{form}}]"


def quartiles(name: str, values: np.ndarray) -> dict[str, float]:
    """Median and quartiles as facts."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {f"{name}_low": low, name: middle, f"{name}_high": high}


def machine() -> str:
    """The machine in words, without its name."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    model = names[0].partition(":")[2].strip() if names else platform.processor() or "unknown"
    return f"{os.cpu_count()} {platform.machine().replace('_', '-')} cores ({model})"


def main(description: str, tables: Mapping[str, Callable[[], Table]], **about: Any) -> bool:
    """Measure, print, and write down if asked to; returns whether it was.

    Args:
        description: The benchmark's docstring; its first line is the help text.
        tables: For each record its name and what measures it.
        about: What else to write down, such as a seed.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the tables to results/, for the pages")
    parser.add_argument("--date", default=date.today().isoformat(), help="the day that is written down")
    parser.add_argument("--machine", default=machine(), help="the machine, in words")
    parser.add_argument("--only", nargs="+", choices=list(tables), default=list(tables), help="these tables alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    about |= {
        "machine": options.machine,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": options.date,
    }
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    for name in options.only:
        print(f"\n{name}", flush=True)
        table = tables[name]() | about
        table["facts"] = {key: float(f"{float(value):.6g}") for key, value in table["facts"].items()}
        print(f"{table['title']}\n{'  '.join(table['columns'])}")
        if options.record:
            text = json.dumps(table, indent=1, ensure_ascii=False) + "\n"
            (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")
    return bool(options.record)


def keep_picture(name: str, alt: str, draw: Callable[[], Figure]) -> None:
    """Draw what stands above a record's table, and say it in the record; the same bytes from the same numbers."""
    record = RESULTS / f"{name}.json"
    table = json.loads(record.read_text(encoding="utf-8")) | {"alt": alt}
    record.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with style.context("visitwise.survival"), rc_context({"svg.hashsalt": name}):
        draw().savefig(RESULTS / f"{name}.svg", metadata={"Date": None})


def row(*cells: str) -> list[str]:
    """A row of a table, printed as soon as it is known."""
    print("  ".join(cells), flush=True)
    return list(cells)
