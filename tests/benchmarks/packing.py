"""What packing and sorting by length save: steps counted exactly, time measured, memory counted.

`python -m tests.benchmarks.packing` prints three tables; with `--record` it also writes them to `results/`, where the
page on packing reads them. The arms take turns within one process on one thread, each turn is measured in CPU time, and
a cell holds the median over the turns of "how many times as fast as padded random batches", with its quartiles.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.profiler import ProfilerActivity, profile

from tests.benchmarks.records import Step, compare, main
from visitwise import textbook
from visitwise.cohort import Cohort, Outcome
from visitwise.functional import hazard_nll
from visitwise.model import SurvivalRNN
from visitwise.visits import Schema, Visits

PATIENTS, FEATURES, HIDDEN, TURNS, SEED = 512, 64, (64, 256), 7, 0
ARMS = ("padded", "packed", "sorted", "both")
CODES, EMBEDDING = 1_000, 128

LENGTHS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "constant": lambda random, n: np.full(n, 15),
    "uniform_40_50": lambda random, n: random.integers(40, 51, n),
    "uniform_10_100": lambda random, n: random.integers(10, 101, n),
    "log_normal": lambda random, n: random.lognormal(np.log(11), 0.8, n).round().clip(1, 100).astype(int),
    "heavy_tail": lambda random, n: np.where(
        random.random(n) < 1 / 32, random.integers(60, 101, n), random.integers(1, 9, n)
    ),
    "notes_example": lambda random, n: random.lognormal(np.log(10.5), 0.95, n).round().clip(1, 50).astype(int),
}


@dataclass(frozen=True)
class Setting:
    """One line of a table: whose lengths, in which batches, through which LSTM."""

    name: str
    words: str
    lengths: str
    hidden: int
    batch_size: int = 64
    gradient: bool = True
    fused: bool = True


BY_LENGTH = [
    Setting(lengths, words, lengths, hidden, batch_size)
    for lengths, words, batch_size in [
        ("constant", "15 each", 64),
        ("uniform_40_50", "40 to 50", 64),
        ("uniform_10_100", "10 to 100", 64),
        ("log_normal", "about 15, to 100", 64),
        ("heavy_tail", "mostly 1 to 8", 64),
        ("notes_example", "about 15, to 50", 32),
    ]
    for hidden in HIDDEN
]
BY_SETTING = [
    Setting(name, words, "log_normal", hidden, **changed)
    for name, words, changed in [
        ("batch_8", "batch 8", {"batch_size": 8}),
        ("batch_256", "batch 256", {"batch_size": 256}),
        ("forward", "forward only", {"gradient": False}),
        ("unfused", "fused kernel off", {"fused": False}),
    ]
    for hidden in HIDDEN
]


# -------------------------------------------------------------------------------------------------------------- time


def arms_of(setting: Setting) -> tuple[dict[str, Step], dict[str, float]]:
    """The four ways through the same patients, and how many steps padded batches take for one step of each."""
    length = torch.from_numpy(LENGTHS[setting.lengths](np.random.default_rng(SEED), PATIENTS)).long()
    generator = torch.Generator().manual_seed(SEED)

    def batches(order: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Batches of lengths and of inputs that have a gradient, as they do behind an encoder."""
        chosen = [length[part] for part in order.split(setting.batch_size)]
        boxes = [torch.randn(len(part), int(part.max()), FEATURES, generator=generator) for part in chosen]
        return [(box.requires_grad_(setting.gradient), part) for box, part in zip(boxes, chosen, strict=True)]

    random, by_length = batches(torch.arange(PATIENTS)), batches(length.argsort(stable=True))
    lstm = nn.LSTM(FEATURES, setting.hidden, batch_first=True)
    arms = {
        "padded": pass_through(lstm, random, setting, packed=False),
        "packed": pass_through(lstm, random, setting, packed=True),
        "sorted": pass_through(lstm, by_length, setting, packed=False),
        "both": pass_through(lstm, by_length, setting, packed=True),
    }
    padded = sum(box.shape[0] * box.shape[1] for box, _ in random)
    sorted_ = sum(box.shape[0] * box.shape[1] for box, _ in by_length)
    return arms, {"packed": padded / int(length.sum()), "sorted": padded / sorted_}


def pass_through(lstm: nn.LSTM, batches: list[tuple[Tensor, Tensor]], setting: Setting, *, packed: bool) -> Step:
    def step() -> int:
        kernel = nullcontext() if setting.fused else torch.backends.mkldnn.flags(enabled=False)
        with kernel, torch.set_grad_enabled(setting.gradient):
            for box, length in batches:
                states = run(lstm, box, length, packed=packed)
                real = torch.arange(box.shape[1]) < length[:, None]
                loss = states.masked_fill(~real[..., None], 0.0).square().sum()
                if setting.gradient:
                    loss.backward()
                    box.grad = None
            lstm.zero_grad()
        return PATIENTS

    return step


def run(lstm: nn.LSTM, box: Tensor, length: Tensor, *, packed: bool) -> Tensor:
    if not packed:
        return lstm(box)[0]
    sequence = pack_padded_sequence(box, length, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(lstm(sequence)[0], batch_first=True, total_length=box.shape[1])[0]


def timed(settings: list[Setting], title: str, first_column: str) -> dict[str, Any]:
    rows, facts = [], {}
    for setting in settings:
        arms, steps = arms_of(setting)
        rates = compare(arms, dict.fromkeys(arms, 1), TURNS)
        cells = []
        for arm in ARMS[1:]:
            low, middle, high = np.quantile(rates[arm] / rates["padded"], [0.25, 0.5, 0.75])
            name = f"bench_speed_{setting.name}_{setting.hidden}_{arm}"
            facts |= {f"{name}_low": low, name: middle, f"{name}_high": high}
            cells.append(f"{middle:.2f} [{low:.2f}, {high:.2f}]")
        facts |= {f"bench_steps_{setting.name}_{arm}": ratio for arm, ratio in steps.items()}
        rows.append([setting.words, f"{setting.hidden}", f"{steps['packed']:.2f}, {steps['sorted']:.2f}", *cells])
        print("  ".join(rows[-1]), flush=True)
    columns = [first_column, "Hidden", "Steps saved", "Packed", "Sorted", "Both"]
    return {"title": title, "columns": columns, "rows": rows, "turns": TURNS, "facts": facts | counted(settings, facts)}


def counted(settings: list[Setting], facts: dict[str, float]) -> dict[str, float]:
    """In how many lines packing was slower than padding, or faster: all quartiles have to say so."""
    names = [f"bench_speed_{setting.name}_{setting.hidden}_packed" for setting in settings]
    group = "lengths" if settings is BY_LENGTH else "settings"
    return {
        f"bench_lines_{group}": len(names),
        f"bench_lines_{group}_slower": sum(facts[f"{name}_high"] < 1 for name in names),
        f"bench_lines_{group}_faster": sum(facts[f"{name}_low"] > 1 for name in names),
    }


# ------------------------------------------------------------------------------------------------------------ memory


def memory() -> dict[str, Any]:
    """The largest amount of memory held at once during one step, and what the forward pass keeps for the backward."""
    rows, facts = [], {}
    for name, words, codes, build in [
        ("lstm", "LSTM alone", "", lstm_step),
        *[(f"textbook_{n}", "textbook", f"{n}", textbook_step) for n in (1, 20, 50)],
        ("flat_50", "Visitwise", "50", flat_step),
    ]:
        n_codes = int(codes or 1)
        padded, packed = (build(n_codes, packed=packed) for packed in (False, True))
        peaks, kept = [peak(step) for step in (padded, packed)], [kept_for_backward(s) for s in (padded, packed)]
        facts |= {
            f"bench_peak_{name}_padded": peaks[0] / 1e6,
            f"bench_peak_{name}_packed": peaks[1] / 1e6,
            f"bench_peak_{name}_ratio": peaks[0] / peaks[1],
            f"bench_kept_{name}_ratio": kept[0] / kept[1],
        }
        ratios = [f"{peaks[0] / peaks[1]:.2f}", f"{kept[0] / kept[1]:.2f}"]
        rows.append([words, codes, *(f"{value / 1e6:.1f}" for value in peaks), *ratios])
        print("  ".join(rows[-1]), flush=True)
    length = lengths_of_batch()
    facts["bench_steps_memory"] = len(length) * int(length.max()) / int(length.sum())
    columns = ["Model", "Codes", "Padded, MB", "Packed, MB", "Times less", "Kept"]
    title = (
        "The most that one training step holds at once, beyond inputs and weights: 64 patients, about 15 visits of so "
        "many codes, embedding 128, hidden 256. Kept: how many times less the forward pass saves for the backward."
    )
    return {"title": title, "columns": columns, "rows": rows, "facts": facts}


def lengths_of_batch() -> np.ndarray:
    return LENGTHS["log_normal"](np.random.default_rng(SEED), 64)


def lstm_step(n_codes: int, *, packed: bool) -> Callable[[], tuple[Tensor, nn.Module]]:
    length = torch.from_numpy(lengths_of_batch())
    box = torch.zeros(len(length), int(length.max()), EMBEDDING, requires_grad=True)
    lstm = nn.LSTM(EMBEDDING, 256, batch_first=True)
    return lambda: (run(lstm, box, length, packed=packed).sum(), lstm)


def textbook_step(n_codes: int, *, packed: bool) -> Callable[[], tuple[Tensor, nn.Module]]:
    random, length = np.random.default_rng(SEED), lengths_of_batch()
    records = [random.integers(1, CODES, (n, n_codes)).tolist() for n in length]
    codes, code_mask, visit_mask = textbook.collate(records)
    stop, observed = torch.from_numpy(length), torch.from_numpy(random.random(len(length)) < 0.3)
    model = textbook.TextbookLSTM(CODES, EMBEDDING, 256, packed=packed)
    return lambda: (
        textbook.clamp_and_log_nll(model(codes, code_mask, visit_mask), stop, observed, visit_mask),
        model,
    )


def flat_step(n_codes: int, *, packed: bool) -> Callable[[], tuple[Tensor, nn.Module]]:
    """The same patients through this package, which embeds the codes recorded and no padding."""
    random, length = np.random.default_rng(SEED), lengths_of_batch()
    schema = Schema.of([f"code {number}" for number in range(1, CODES)])
    n_visits = int(length.sum())
    visits = Visits(
        codes=torch.from_numpy(random.integers(1, CODES, n_visits * n_codes)).int(),
        code_offsets=torch.arange(n_visits + 1) * n_codes,
        visit_offsets=torch.from_numpy(np.concatenate([[0], length.cumsum()])),
        day=torch.from_numpy(np.concatenate([30.0 * np.arange(n) for n in length])),
        patient_id=torch.arange(len(length)),
        static=torch.zeros(len(length), 0),
        measurements=torch.zeros(n_visits, 0),
        schema=schema,
    )
    observed = torch.from_numpy(random.random(len(length)) < 0.3)
    cohort = Cohort(visits, Outcome.of(torch.from_numpy(length), observed))
    path = "packed" if packed else "padded"
    model = SurvivalRNN(schema, embedding=EMBEDDING, hidden=256, path=path, time_features=False)
    return lambda: (hazard_nll(model(visits), cohort.outcome.stop, cohort.outcome.observed), model)


def peak(step: Callable[[], tuple[Tensor, nn.Module]]) -> int:
    """Bytes held at once, by adding up every allocation and release that torch reports."""
    step()[0].backward()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()[0].backward()
    # The profiler's public tables have sums alone; the single events are needed.
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return int(np.cumsum(changes).max())


def kept_for_backward(step: Callable[[], tuple[Tensor, nn.Module]]) -> int:
    """Bytes of the tensors that the forward pass saves, each storage once, the weights left out."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in step()[1].parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss, _ = step()
    total = sum(saved.values())
    del loss
    return total


UNIT = "How many times as fast as padded random batches: median [quartiles]."

if __name__ == "__main__":
    sizes = f"{PATIENTS} patients, {FEATURES} inputs a visit, forward and backward pass"
    batches = "batches of 64, in the last two rows of 32. Mostly 1 to 8: one patient in 32 has 60 to 100"
    fixed = "about 15 visits, up to 100; batches of 64 unless said"
    main(
        __doc__ or "",
        {
            "packing": lambda: timed(BY_LENGTH, f"{UNIT} {sizes}, {batches}.", "Visits"),
            "packing_settings": lambda: timed(BY_SETTING, f"{UNIT} {sizes}, {fixed}.", "Setting"),
            "packing_memory": memory,
        },
        seed=SEED,
    )
