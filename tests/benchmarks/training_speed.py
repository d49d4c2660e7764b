"""Training steps: patients a second against the textbook and against a batch without padding, and where the time goes.

`python -m tests.benchmarks.training_speed` prints the tables; with `--record` it also writes them to `results/`. A step
is all of it: batch, forward pass, loss, backward pass, optimizer. The ways take turns within one process.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from tests.benchmarks import patients
from tests.benchmarks.packing import peak
from tests.benchmarks.patients import EMBEDDING, HIDDEN, a_cohort, about, between, even_cohort, lists_of, mostly_short
from tests.benchmarks.records import Step, Table, compare, main, quartiles, row, spread
from visitwise import textbook
from visitwise.cohort import Cohort
from visitwise.functional import hazard_nll
from visitwise.model import SurvivalRNN
from visitwise.training import STATES
from visitwise.visits import Visits

PATIENTS, TURNS, SEED = 6_400, 5, 0
WINDOW, WHOLE, PART = 50, 10**9, STATES // HIDDEN  # the last is what `fit` takes


@dataclass(frozen=True)
class Shape:
    """Records as they are in one place or another."""

    name: str
    words: str
    vocabulary: int
    visits: patients.Lengths
    codes: patients.Lengths


SIX = about(4.5, 0.75, 40)
SHAPES = [
    Shape("mild", "5 to 25 visits of 5 codes", 5_000, between(5, 25), between(5, 5)),
    Shape("typical", "about 15 visits (to 100) of 6 codes (to 40)", 10_000, about(11, 0.8, 100), SIX),
    Shape("heavy", "1 to 8 visits, one in 32 has 60 to 100, of 6 codes (to 40)", 20_000, mostly_short, SIX),
]
TYPICAL = SHAPES[1]

# For each of our ways: the path, how many batches are sorted together, and the padded visits of a part.
OURS = {
    "padded": ("padded", 1, WHOLE),
    "parts": ("padded", 1, 1024),
    "staircase": ("staircase", 1, PART),
    "default": ("rows", 1, PART),
    "sorted": ("padded", WINDOW, 1024),
}
WORDS = {
    "textbook": "The textbook",
    "sum_pool": "Padded sum, packed LSTM",
    "padded": "Random, padded whole",
    "parts": "Random, in padded parts",
    "staircase": "Random, staircase",
    "default": "Random, in rows: the default",
    "sorted": f"{WINDOW} batches sorted by length",
    "dense": "All records equally long",
    "longest": "All as long as the longest",
}


# -------------------------------------------------------------------------------------------------------------- steps


def endless(cohort: Cohort, batch_size: int, window: int) -> Iterator[Cohort]:
    epoch = 0
    while True:
        yield from cohort.batches(batch_size, seed=1, epoch=epoch, window=window)
        epoch += 1


def our_step(cohort: Cohort, batch_size: int, *, path: str, window: int, padded_visits: int) -> Step:
    """What `fit` does with a batch; returns how many patients it took."""
    model = a_model(cohort, path)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    batches = endless(cohort, batch_size, window)

    def step() -> int:
        batch = next(batches)
        for part in parts_of(batch, path, padded_visits):
            outcome = part.outcome
            loss = hazard_nll(model(part.visits), outcome.stop, outcome.observed, outcome.start, reduction="sum")
            (loss / batch_size).backward()
        optimizer.step()
        optimizer.zero_grad()
        return len(batch)

    return step


def parts_of(batch: Cohort, path: str, padded_visits: int) -> Iterator[Cohort]:
    return batch.portions(padded_visits) if path == "rows" else batch.parts(padded_visits)


def a_model(cohort: Cohort, path: str) -> SurvivalRNN:
    return SurvivalRNN(cohort.visits.schema, embedding=EMBEDDING, hidden=HIDDEN, time_features=False, path=path)


def textbook_step(cohort: Cohort, batch_size: int) -> Step:
    """The same for the textbook implementation, from Python lists as its collate expects them."""
    records = lists_of(cohort)
    model = textbook.TextbookLSTM(len(cohort.visits.schema.codes), EMBEDDING, HIDDEN)
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


class SumPoolPacked(nn.Module):
    """The shape of PyHealth's RNN layer: the padded box embedded and summed over codes, then a packed recurrence.

    Ours in every other respect, the batch and the loss included, and with the LSTM of the others.
    """

    def __init__(self, n_codes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_codes, EMBEDDING, padding_idx=0)
        self.lstm = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, visits: Visits) -> Tensor:
        padded = visits.padded()
        box = self.embedding(padded.codes).sum(2)
        sequence = nn.utils.rnn.pack_padded_sequence(box, visits.length, batch_first=True, enforce_sorted=False)
        states, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(sequence)[0], batch_first=True)
        logits: Tensor = self.head(states)[..., 0]
        return logits


def sum_pool_step(cohort: Cohort, batch_size: int) -> Step:
    model = SumPoolPacked(len(cohort.visits.schema.codes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    batches = endless(cohort, batch_size, 1)

    def step() -> int:
        batch = next(batches)
        hazard_nll(model(batch.visits), batch.outcome.stop, batch.outcome.observed).backward()
        optimizer.step()
        optimizer.zero_grad()
        return len(batch)

    return step


def even_like(cohort: Cohort, visits: int) -> Cohort:
    """Patients who all have so many visits, each with the mean number of codes; as many visits as in the cohort."""
    codes = cohort.visits.codes.shape[0] / cohort.visits.n_visits
    patients = round(cohort.visits.n_visits / visits)
    return even_cohort(patients, visits, round(codes), SEED, len(cohort.visits.schema.codes))


def arms_of(shape: Shape, batch_size: int) -> tuple[dict[str, Step], dict[str, int], dict[str, float]]:
    """The ways, how many steps to time each, and how many visits the mean patient of each has."""
    cohort = a_cohort(PATIENTS, SEED, shape.visits, shape.codes, shape.vocabulary)
    mean, longest = cohort.visits.n_visits / len(cohort), int(cohort.visits.length.max())
    visits = dict.fromkeys(WORDS, mean) | {"dense": round(mean), "longest": longest}
    arms = {
        name: our_step(cohort, batch_size, path=path, window=window, padded_visits=padded_visits)
        for name, (path, window, padded_visits) in OURS.items()
    }
    for name in ("dense", "longest"):  # batches of as many visits
        patients = max(1, round(batch_size * mean / visits[name]))
        even = even_like(cohort, int(visits[name]))
        arms[name] = our_step(even, patients, path="padded", window=1, padded_visits=PART)
    epoch = PATIENTS // batch_size
    steps = dict.fromkeys(arms, max(2, epoch // 8)) | {"sorted": min(epoch, WINDOW)}
    if batch_size <= 256:  # at 1024 the textbook's embedded box alone takes two gigabytes
        arms |= {"textbook": textbook_step(cohort, batch_size), "sum_pool": sum_pool_step(cohort, batch_size)}
        steps |= {"textbook": 128 // batch_size or 1, "sum_pool": 256 // batch_size}
    return arms, steps, visits


# ------------------------------------------------------------------------------------------------------------- tables


def speed(shapes: list[Shape]) -> Table:
    """Every way and size of batch, on one thread, in CPU time."""
    rows: list[list[str]] = []
    facts: dict[str, float] = {}
    for shape in shapes:
        for batch_size in (64, 256, 1024) if shape is TYPICAL else (64, 256):
            arms, steps, visits = arms_of(shape, batch_size)
            # Patients of the mean length: a step with longer records has fewer patients and counts as much.
            rates = {
                name: rate * visits[name] / visits["default"] for name, rate in compare(arms, steps, TURNS).items()
            }
            for name in WORDS:
                if name not in rates:
                    continue
                of_dense = rates[name] / rates["dense"]
                fact = f"bench_train_{shape.name}_{batch_size}_{name}"
                facts |= {fact: float(np.median(rates[name]))} | quartiles(f"{fact}_of_dense", of_dense)
                cells = ["", "", spread(of_dense)]
                for place, other in enumerate(("textbook", "sum_pool")):
                    if other in rates:
                        times = rates[name] / rates[other]
                        facts |= quartiles(f"{fact}_over_{other}", times)
                        cells[place] = spread(times, ".1f")
                rows.append(row(f"{shape.name}, {batch_size}", WORDS[name], f"{np.median(rates[name]):,.0f}", *cells))
    sizes = "; ".join(f"{shape.name}: {shape.words}, vocabulary {shape.vocabulary:,}" for shape in shapes)
    return {
        "title": (
            f"Training steps on one thread, CPU time, median [quartiles]. Embedding {EMBEDDING}, hidden {HIDDEN}; "
            f"{sizes}. Dense: records that all have the mean number of visits; below it, records that all have as many "
            "as the longest. Both for as many visits."
        ),
        "columns": ["Records, batch", "Way", "Patients/s", "Times textbook", "Times padded sum", "Of dense"],
        "rows": rows,
        "turns": TURNS,
        "facts": facts,
    }


def threads() -> Table:
    """One thread and two, in wall time: what a second core brings."""
    rows: list[list[str]] = []
    facts: dict[str, float] = {}
    for batch_size in (64, 256):
        arms, steps, _ = arms_of(TYPICAL, batch_size)
        chosen = {name: arms[name] for name in ("textbook", "padded", "staircase", "default", "sorted", "dense")}
        both: dict[int, dict[str, list[float]]] = {1: {}, 2: {}}
        for turn in range(TURNS + 1):
            for n_threads, found in both.items():
                torch.set_num_threads(n_threads)
                for name, values in compare(chosen, steps, 1, time.perf_counter).items():
                    found.setdefault(name, []).extend(values if turn else [])
        torch.set_num_threads(1)
        for name in chosen:
            one, two = (np.array(both[n_threads][name]) for n_threads in (1, 2))
            facts |= quartiles(f"bench_threads_{batch_size}_{name}", two / one)
            rates = (f"{np.median(values):,.0f}" for values in (one, two))
            rows.append(row(f"{batch_size}", WORDS[name], *rates, spread(two / one)))
    return {
        "title": f"Patients a second by the clock on the wall, on one thread and on two; {TYPICAL.words}.",
        "columns": ["Batch", "Way", "One thread", "Two threads", "Times as fast"],
        "rows": rows,
        "turns": TURNS,
        "facts": facts,
    }


def memory() -> Table:
    """The most that one step holds at once, counted."""
    rows: list[list[str]] = []
    facts: dict[str, float] = {}
    cohort = a_cohort(PATIENTS, SEED, TYPICAL.visits, TYPICAL.codes, TYPICAL.vocabulary)
    records = lists_of(cohort)
    for batch_size in (64, 256):
        batch = next(cohort.batches(batch_size, seed=SEED))
        model = a_model(cohort, "rows")
        boxes = textbook.collate([records[i] for i in batch.visits.patient_id.tolist()])
        by_hand = textbook.TextbookLSTM(TYPICAL.vocabulary, EMBEDDING, HIDDEN)

        def old(
            boxes: tuple[Tensor, Tensor, Tensor] = boxes, model: nn.Module = by_hand, batch: Cohort = batch
        ) -> tuple[Tensor, nn.Module]:
            outcome = batch.outcome
            return textbook.clamp_and_log_nll(model(*boxes), outcome.stop, outcome.observed, boxes[2]), model

        def new(part: Cohort, model: SurvivalRNN = model) -> Callable[[], tuple[Tensor, nn.Module]]:
            return lambda: (hazard_nll(model(part.visits), part.outcome.stop, part.outcome.observed), model)

        theirs, ours = peak(old) / 1e6, max(peak(new(part)) for part in batch.portions(PART)) / 1e6
        fact = f"bench_step_memory_{batch_size}"
        facts |= {f"{fact}_textbook": theirs, f"{fact}_default": ours, f"{fact}_share": ours / theirs}
        rows.append(row(f"{batch_size}", f"{theirs:,.0f}", f"{ours:,.1f}", f"{ours / theirs:.3f}"))
    return {
        "title": f"The most that one training step holds at once, beyond inputs and weights, counted; {TYPICAL.words}.",
        "columns": ["Batch", "The textbook, MB", "The default, MB", "Share"],
        "rows": rows,
        "facts": facts,
    }


# Where torch spends its time, by the beginning of an operation's name.
KINDS = {
    "LSTM": ("aten::mkldnn_rnn", "mkldnn_rnn"),
    "Embedding": ("aten::_embedding_bag", "aten::embedding"),
    "Optimizer": ("aten::_fused_adamw", "aten::zeros", "aten::zero_", "aten::fill_"),
    "Adding up slopes": ("aten::add_", "aten::add"),
}


def where_the_time_goes() -> Table:
    """Milliseconds of a step by what torch does in it, and what the kernel computes beyond real visits."""
    rows: list[list[str]] = []
    facts: dict[str, float] = {}
    for batch_size in (64, 256):
        arms, _, visits = arms_of(TYPICAL, batch_size)
        for name in ("staircase", "default", "sorted", "dense", "longest"):
            step, steps = arms[name], WINDOW
            taken = [step() for _ in range(5)][-1]
            with profile(activities=[ProfilerActivity.CPU]) as profiled:
                for _ in range(steps):
                    step()
            events = profiled.key_averages()
            scale = batch_size * visits["default"] / (taken * visits[name]) / steps / 1e3
            total = sum(event.self_cpu_time_total for event in events) * scale
            by_kind = {
                kind: sum(event.self_cpu_time_total for event in events if event.key.startswith(begins)) * scale
                for kind, begins in KINDS.items()
            }
            by_kind["The rest"] = total - sum(by_kind.values())
            fact = f"bench_where_{batch_size}_{name}"
            facts |= {f"{fact}_{kind.split()[-1].lower()}": value for kind, value in by_kind.items()}
            rows.append(row(f"{batch_size}", WORDS[name], *(f"{value:.1f}" for value in by_kind.values())))
    return {
        "title": f"Milliseconds of a step, by what torch does, under its profiler, {WINDOW} steps; {TYPICAL.words}.",
        "columns": ["Batch", "Way", *KINDS, "The rest"],
        "rows": rows,
        "facts": facts,
    }


if __name__ == "__main__":
    main(
        __doc__ or "",
        {
            "training_speed": lambda: speed([TYPICAL]),
            "training_shapes": lambda: speed([shape for shape in SHAPES if shape is not TYPICAL]),
            "training_threads": threads,
            "training_memory": memory,
            "training_parts": where_the_time_goes,
        },
        seed=SEED,
    )
