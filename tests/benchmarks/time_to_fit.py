"""Speed told twice: patients a second, and how long each way of training takes to the same NLL of other patients.

`python -m tests.benchmarks.time_to_fit` prints the table; with `--record` it also writes it to `results/`. A batch of
patients with records of like length is fast and a biased sample: what it saves in time it can lose in what it learns.
All ways train equal models on the same patients with `fit`. They differ in how the patients are dealt into batches, and
in how a batch meets the recurrence.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from matplotlib.figure import Figure
from torch import Tensor

from tests.benchmarks.patients import lists_of
from tests.benchmarks.records import RESULTS, Table, keep_picture, main, row
from visitwise import plots, textbook
from visitwise.cohort import Cohort, Outcome
from visitwise.functional import Reduction
from visitwise.metrics import nll_per_row
from visitwise.model import SurvivalRNN
from visitwise.simulate import TEACHING
from visitwise.training import evaluate_nll, fit
from visitwise.visits import Visits

PATIENTS, EPOCHS, SEEDS, LEARNING_RATE = 10_000, 8, (0, 1, 2), 3e-3
WHOLE = 10**9  # no batch is cut into parts


# ------------------------------------------------------------------------------------------- the textbook, in `fit`


class TextbookRNN(SurvivalRNN):
    """The same model by the textbook's way: nested loops, an embedded box, padding through the LSTM, a sigmoid.

    Its times and static features come from the flat arrays, for nothing.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.records: dict[int, textbook.Record] = {}

    def forward(self, visits: Visits) -> Tensor:
        codes, code_mask, visit_mask = textbook.collate([self.records[i] for i in visits.patient_id.tolist()])
        embedded = (self.encoder.embedding(codes) * code_mask[..., None]).sum(2)
        pooled = embedded / code_mask.sum(2, keepdim=True).clamp(min=1)
        numbers = visits.pad(self.encoder._numbers(visits))
        states, _ = self.recurrence(torch.cat([pooled, numbers], -1))
        return torch.sigmoid(self.head(states)[..., 0]) * visit_mask


def clamped(hazard: Tensor, outcome: Outcome, reduction: Reduction) -> Tensor:
    """The textbook's loss, summed as `fit` asks for."""
    assert reduction == "sum"
    return textbook.clamp_and_log_nll(hazard, outcome.stop, outcome.observed) * len(outcome)


# ------------------------------------------------------------------------------------------- other ways to deal


class SoftBuckets(Cohort):
    """Patients sorted by a length that luck changed: batches of like length, but not quite."""

    def deal(self, batch_size: int, *, seed: int, epoch: int = 0, window: int = 1) -> Iterator[Int[Tensor, " chosen"]]:
        random = np.random.default_rng([seed, epoch, window])
        jittered = self.visits.length.numpy() * np.exp(random.normal(0, 0.5, len(self)))
        order = torch.from_numpy(random.permutation(len(self)))
        batches: list[Tensor] = []
        for together in order.split(batch_size * window):
            batches.extend(together[torch.from_numpy(jittered[together].argsort(kind="stable"))].split(batch_size))
        for place in random.permutation(len(batches)):
            yield batches[place]


@dataclass
class Way:
    """One way to train."""

    name: str
    words: str
    path: str = "padded"
    settings: dict[str, Any] = field(default_factory=dict)
    kind: type[SurvivalRNN] = SurvivalRNN
    cohort: Callable[[Cohort], Cohort] = lambda cohort: cohort


WAYS = [
    Way("textbook", "the textbook", settings={"loss": clamped, "padded_visits": WHOLE}, kind=TextbookRNN),
    Way("padded", "random, padded whole", settings={"padded_visits": WHOLE}),
    Way("packed", "random, packed", path="packed", settings={"padded_visits": WHOLE}),
    Way("parts", "random, in padded parts", settings={"padded_visits": 1024}),
    Way("staircase", "random, staircase", path="staircase"),
    Way("rows", "random, in rows", path="rows"),
    Way("hard", "50 batches sorted by length", settings={"padded_visits": 1024, "window": 50}),
    Way("hard_8", "8 batches sorted by length", settings={"padded_visits": 1024, "window": 8}),
    Way(
        "soft",
        "50 batches sorted by a length that luck changed",
        path="rows",
        settings={"window": 50},
        cohort=lambda cohort: SoftBuckets(cohort.visits, cohort.outcome),
    ),
]


# ------------------------------------------------------------------------------------------- one training run


@dataclass
class Run:
    """What one training cost, epoch by epoch, and what it reached."""

    seconds: np.ndarray
    nll: np.ndarray

    def time_to(self, target: float) -> float:
        """Seconds of CPU time until the NLL of other patients is at most this, between epochs along a line."""
        reached = self.nll <= target
        if not reached.any():
            return float("nan")
        first = int(reached.argmax())
        if first == 0:
            return float(self.seconds[0])
        share = (self.nll[first - 1] - target) / (self.nll[first - 1] - self.nll[first])
        return float(self.seconds[first - 1] + share * (self.seconds[first] - self.seconds[first - 1]))


def train(way: Way, cohort: Cohort, judges: Cohort, validation: Cohort, seed: int) -> Run:
    """Train one model; the time that goes into judging it does not count."""
    model = way.kind.for_cohort(cohort, seed=seed, path=way.path)
    judge = SurvivalRNN.for_cohort(cohort, seed=seed)
    if isinstance(model, TextbookRNN):
        for part in (cohort, validation):
            model.records |= dict(zip(part.visits.patient_id.tolist(), lists_of(part), strict=True))
    seconds, nll, spent, begin = [], [], 0.0, time.process_time()

    def after_epoch(model: Any, _: Any) -> None:
        nonlocal spent, begin
        spent += time.process_time() - begin
        seconds.append(spent)
        judge.load_state_dict(model.state_dict())
        nll.append(evaluate_nll(judge, judges))
        begin = time.process_time()

    fit(
        model,
        way.cohort(cohort),
        validation,
        epochs=EPOCHS,
        patience=EPOCHS,
        learning_rate=LEARNING_RATE,
        seed=seed,
        after_epoch=after_epoch,
        progress=False,
        **way.settings,
    )
    return Run(np.array(seconds), np.array(nll))


def speed_told_twice() -> Table:
    """Patients a second, and time to the NLL that random batches come down to."""
    cohort, validation, judged = (TEACHING.draw(n, seed=seed) for n, seed in ((PATIENTS, 1), (1_000, 2), (PATIENTS, 3)))
    oracle = nll_per_row(judged.cohort.visits.pad(torch.logit(judged.hazard), torch.nan), judged.cohort.outcome)
    runs: dict[str, list[Run]] = {way.name: [] for way in WAYS}
    for seed in SEEDS:
        for way in WAYS:  # in turn
            runs[way.name].append(train(way, cohort.cohort, judged.cohort, validation.cohort, seed))
    # What the random batches of every seed come down to, and a little more, so that one lucky epoch decides nothing.
    target = 1.01 * max(run.nll.min() for run in runs["padded"])
    rows, facts = [], {"bench_fit_oracle": oracle, "bench_fit_target": target}
    reference = np.array([run.time_to(target) for run in runs["textbook"]])
    for way in WAYS:
        rate = np.array([EPOCHS * PATIENTS / run.seconds[-1] for run in runs[way.name]])
        times = np.array([run.time_to(target) for run in runs[way.name]])
        best = np.array([run.nll.min() for run in runs[way.name]])
        reached = int(np.isfinite(times).sum())
        for epoch in range(EPOCHS):
            place = f"bench_fit_{way.name}_epoch_{epoch + 1}"
            facts[f"{place}_at"] = np.median([run.seconds[epoch] for run in runs[way.name]])
            facts[f"{place}_nll"] = np.median([run.nll[epoch] for run in runs[way.name]])
        facts |= {f"bench_fit_{way.name}_rate": np.median(rate), f"bench_fit_{way.name}_best": np.median(best)}
        facts |= {f"bench_fit_{way.name}_reached": reached}
        cells = [f"never in {len(SEEDS)}" if not reached else f"{reached} of {len(SEEDS)}", ""]
        if reached == len(SEEDS):
            facts[f"bench_fit_{way.name}_seconds"] = np.median(times)
            facts[f"bench_fit_{way.name}_sooner"] = np.median(reference / times)
            cells = [_each(times, ".1f"), _each(reference / times, ".1f")]
        rows.append(row(way.words, f"{np.median(rate):,.0f}", _each(best, ".4f"), *cells))
    return {
        "title": (
            f"{PATIENTS:,} patients of the teaching world, {EPOCHS} epochs, batch 256, embedding and hidden 64, one "
            f"thread, CPU time, seeds {', '.join(map(str, SEEDS))}. Time to an NLL of {target:.4f} a row for other "
            f"patients; the oracle has {oracle:.4f}. Sorted: hard buckets; by a changed length: soft ones."
        ),
        "columns": ["Batches", "Patients/s", "Best NLL", "Seconds to the NLL", "Times sooner than the textbook"],
        "rows": rows,
        "facts": facts,
    }


# ------------------------------------------------------------------------------------------------------------ picture

LINES = (  # way, in words, colour, line, and where its name stands: beside which epoch, how far off, on which side
    ("textbook", "the textbook", "muted", "-", 0, (8, 6), "left"),
    ("padded", "padded whole", "survival", "-", 5, (0, -15), "center"),
    ("rows", "the default", "hazard", "-", 3, (-6, -10), "right"),
    ("hard", "sorted", "wrong", "--", 0, (10, 0), "left"),
)


def draw(facts: dict[str, float]) -> Figure:
    """NLL of other patients against the seconds that training has taken, epoch by epoch."""
    figure = Figure(figsize=(6.4, 4.6))
    axes = figure.subplots()
    for name, words, role, line, epoch, nudge, side in LINES:
        seconds, nll = curve(facts, name)
        colour = plots.COLOURS[role]
        axes.plot(seconds, nll, line, marker="o", markersize=5, color=colour)
        place = (seconds[epoch], nll[epoch])
        axes.annotate(words, place, nudge, textcoords="offset points", color=colour, ha=side, va="center")
    axes.axhline(facts["bench_fit_target"], color=plots.COLOURS["muted"], linewidth=1, linestyle=":")
    last = curve(facts, "textbook")[0][-1]
    axes.set(xscale="log", xlabel="seconds of training", ylabel="NLL of others, a row", xlim=(None, last * 1.6))
    ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100, 200) if tick <= last * 1.5]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.margins(y=0.1)
    return figure


def curve(facts: dict[str, float], name: str) -> tuple[list[float], list[float]]:
    places = [f"bench_fit_{name}_epoch_{epoch + 1}" for epoch in range(EPOCHS)]
    return [facts[f"{place}_at"] for place in places], [facts[f"{place}_nll"] for place in places]


def words(facts: dict[str, float]) -> str:
    """The picture for those who do not see it."""
    ends = []
    for name, said, *_ in LINES:
        seconds, nll = curve(facts, name)
        ends.append(f"{said}, {nll[0]:.3f} after {seconds[0]:.1f} s to {nll[-1]:.4f} after {seconds[-1]:.1f} s")
    target = facts["bench_fit_target"]
    return (
        f"NLL of other patients against seconds of training, epoch by epoch: {'; '.join(ends)}. Dotted: {target:.4f}."
    )


def _each(values: np.ndarray, form: str) -> str:
    return ", ".join(format(value, form) for value in values)


def picture() -> None:
    """`time_to_fit.svg`, from the record."""
    facts = json.loads((RESULTS / "time_to_fit.json").read_text(encoding="utf-8"))["facts"]
    keep_picture("time_to_fit", words(facts), lambda: draw(facts))


if __name__ == "__main__" and main(__doc__ or "", {"time_to_fit": speed_told_twice}):
    picture()
