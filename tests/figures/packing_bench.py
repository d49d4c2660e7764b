"""Figure 7 by torch: its packing, and its LSTM over the box and over what is packed."""

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from tests.figures import Mutant

PAGE = "06-packing"


def states(random: np.random.Generator) -> list[dict[str, Any]]:
    chosen = [[2, 5, 3, 1], [2, 5, 3, 4], [1, 1, 1, 1], [6, 6, 6, 6], [1, 6, 1, 6], [3, 3, 5, 3], [6, 1, 1, 1]]
    every = itertools.product(chosen, range(7), (False, True), (0, 7))
    drawn = [
        (random.integers(1, 7, 4).tolist(), int(random.integers(7)), bool(random.integers(2)), 7 * int(pad))
        for pad in random.integers(0, 2, 300)
    ]
    return [
        {"lengths": lengths, "step": step, "bidirectional": bidirectional, "pad": pad}
        for lengths, step, bidirectional, pad in [*every, *drawn]
    ]


def recurrence(given: dict[str, Any], bidirectional: bool) -> nn.LSTM:
    """The LSTM of the figure."""
    lstm = nn.LSTM(2, 3, batch_first=True, bidirectional=bidirectional, dtype=torch.float64)
    weights = {name: torch.tensor(values, dtype=torch.float64) for name, values in given["weights"].items()}
    lstm.load_state_dict({name: weights[name] for name in lstm.state_dict()})
    return lstm.requires_grad_(False)


def packed_of(box: Tensor, lengths: list[int]) -> PackedSequence:
    # torch.sort promises no order among equals; of so few lengths it keeps their own, and the comparison holds it.
    return pack_padded_sequence(box, torch.tensor(lengths), batch_first=True, enforce_sorted=False)


def oracle(state: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    lengths, longest = state["lengths"], max(state["lengths"])
    real = torch.arange(longest) < torch.tensor(lengths)[:, None]
    visits = torch.tensor(given["visits"], dtype=torch.float64)[:, :longest]
    box = visits.where(real[..., None], float(state["pad"]))

    packed = packed_of(real.nonzero().new_tensor(range(real.numel())).reshape(4, longest, 1), lengths)
    places = PackedSequence(torch.arange(len(packed.data)), *packed[1:])
    row_of = pad_packed_sequence(places, batch_first=True, padding_value=-1)[0]

    lstm = recurrence(given, state["bidirectional"])
    in_box, (h_box, _) = lstm(box)
    through, (h_packed, _) = lstm(packed_of(box, lengths))
    apart = (in_box - pad_packed_sequence(through, batch_first=True)[0]).abs().amax(-1)
    h_apart = (h_box - h_packed).abs().amax((0, 2))
    return {
        "batch_sizes": packed.batch_sizes.tolist(),
        "sorted_indices": packed.sorted_indices.tolist(),
        "unsorted_indices": packed.unsorted_indices.tolist(),
        "data": [divmod(cell, longest) for cell in packed.data[:, 0].tolist()],
        "row_of": [row[:n].tolist() for row, n in zip(row_of, lengths, strict=True)],
        "rows": len(packed.data),
        "cells": box.shape[0] * box.shape[1],
        "columns": box.shape[1],
        "rows_so_far": packed.batch_sizes[: state["step"]].sum().item(),
        "apart": [row[:n].tolist() for row, n in zip(apart, lengths, strict=True)],
        "most_apart": apart[real].max().item(),
        "h_n_apart": h_apart.tolist(),
        "h_n_most_apart": h_apart.max().item(),
        "states_differ": [bool(row[:n].max() > 1e-12) for row, n in zip(apart, lengths, strict=True)],
        "h_n_differs": (h_apart > 1e-12).tolist(),
    }


MUTANTS = [
    Mutant("sorted for unsorted indices", "unsorted_indices: argsort(sorted)", "unsorted_indices: sorted"),
    Mutant("the shortest first", "argsort(lengths.map((n) => -n))", "argsort(lengths)"),
    Mutant("equal lengths the other way round", "numbers[a] - numbers[b])", "numbers[a] - numbers[b] || b - a)"),
    Mutant("<= for < in batch_sizes", "lengths.filter((n) => k < n)", "lengths.filter((n) => k <= n)"),
    Mutant("data row by row", "data = packedRows(lengths)", "data = packedRows(lengths).sort((a, b) => a[0] - b[0])"),
    Mutant("data without sorting", "order.slice(0, size)", "[0, 1, 2, 3].slice(0, size)"),
    Mutant("a box as wide as it can be", "cells: lengths.length * columns", "cells: lengths.length * 6"),
    Mutant("a column too many so far", "sizes.slice(0, step)", "sizes.slice(0, step + 1)"),
    Mutant("the gates in the order i, f, o, g", "const [i, f, g, o] = gates", "const [i, f, o, g] = gates", "lstm"),
    Mutant("input and forget gate swapped", "const [i, f, g, o] = gates", "const [f, i, g, o] = gates", "lstm"),
    Mutant("a bias dropped", " + stateBias[k]", "", "lstm"),
    Mutant("no tanh on the way out", "o[k] * Math.tanh(c)", "o[k] * c", "lstm"),
    Mutant(
        "packed ends one visit early",
        "packed = run(weights, record,",
        "packed = run(weights, record.slice(0, Math.max(record.length - 1, 1)),",
    ),
    Mutant("h_n one visit early", "forward[forward.length - 1]", "forward[Math.max(forward.length - 2, 0)]"),
    Mutant("h_n of the box at each own end", "apart(padded.h_n,", "apart(padded.states[record.length - 1],"),
    Mutant(
        "packed, too, begun backwards in the padding", "packed = run(weights, record,", "packed = run(weights, filled,"
    ),
    Mutant("backward states left in reading order", ', "l0_reverse").reverse()', ', "l0_reverse")'),
    Mutant("the forward weights backwards, too", 'reverse(), "l0_reverse")', 'reverse(), "l0")'),
    Mutant("padding always zero", "record[k] ?? [pad, pad]", "record[k] ?? [0, 0]"),
    Mutant(
        "padding that ends early",
        "upTo(columns).map((k) => record",
        "upTo(Math.min(columns, record.length + 1)).map((k) => record",
    ),
    Mutant("signed differences", "Math.abs(number - other[k])", "number - other[k]"),
    Mutant("the mean for the largest", "Math.max(...one.map(", "sum(one.map("),
]
