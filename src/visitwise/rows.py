"""A recurrence over patients of different length: their records laid end to end, with a blank visit between two.

A padded box has a row for each patient, as wide as the longest record, and all its cells are computed. Here a row holds
several patients, one after the other: few cells are left over, and the fused kernel runs once over all of them. The
*blank* between two patients is an input that shuts the gates of the recurrence, so that its state is zero again, as it
is before a first visit. It is one more feature, 0 at a visit and 1 at a blank, whose weights are not learned.
"""

from heapq import heapreplace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from visitwise._explain import explained
from visitwise._ragged import check_lengths, check_vectors
from visitwise.visits import Visits

# What a blank gives a gate to read. A sigmoid of it is 0, in float64 too.
SHUT = -1e4
# The kernel takes so many rows at a time: 9 rows take it longer than 8 rows that are as much wider.
TILE = 8


class Layout(NamedTuple):
    """Where each patient's record begins in a box of so many rows, and how wide the box is."""

    row: Int[Tensor, " patient"]
    column: Int[Tensor, " patient"]
    n_rows: int
    width: int


@explained
def lay_out(length: Int[Tensor, " patient"]) -> Layout:
    """Where to put records of these lengths, so that the rows are about equally full.

    The longest records come first, and each goes to the row that is shortest so far. There are as many rows as are full
    when they are as wide as the longest record, or a few less: a multiple of 8 where there are more than 8. Where the
    blanks would take more cells than padding, each patient gets a row.

    Args:
        length: Number of visits of each patient, at least 1.

    Examples:
        >>> rows = lay_out(torch.tensor([2, 9, 2, 3]))
        >>> rows.row.tolist(), rows.column.tolist(), rows.n_rows, rows.width
        ([1, 0, 1, 1], [4, 0, 7, 0], 2, 9)
    """
    check_lengths(length)
    records = length.tolist()
    longest, with_blanks = max(records), sum(records) + len(records)
    if longest * len(records) <= with_blanks:
        return Layout(torch.arange(len(records)), torch.zeros(len(records), dtype=torch.int64), len(records), longest)
    n_rows = with_blanks // (longest + 1)
    if n_rows > TILE:
        n_rows -= n_rows % TILE
    row, column = [0] * len(records), [0] * len(records)
    ends = [(0, each) for each in range(n_rows)]  # a heap: first the row that is shortest so far
    for patient in sorted(range(len(records)), key=records.__getitem__, reverse=True):
        column[patient], row[patient] = ends[0]
        heapreplace(ends, (column[patient] + records[patient] + 1, row[patient]))
    return Layout(torch.tensor(row), torch.tensor(column), n_rows, max(ends)[0] - 1)


@explained
def run_in_rows(
    recurrence: nn.LSTM | nn.GRU, visits: Visits, vectors: Float[Tensor, "visit feature"]
) -> Float[Tensor, "visit hidden"]:
    """The state of a recurrence after each visit, in the order of the flat arrays.

    The same numbers as over a padded box, a packed sequence, or one patient at a time.

    Args:
        recurrence: One layer that reads forwards.
        visits: The patients.
        vectors: What it reads at each of their visits.

    Raises:
        ValueError: The recurrence has several layers or two directions, a projection or no biases.

    Examples:
        >>> visits = Visits.from_lists([[["asthma"], ["gout"], []], [["gout"]]], day=[[0, 90, 95], [0]])
        >>> lstm = nn.LSTM(input_size=2, hidden_size=3, batch_first=True)
        >>> vectors = torch.arange(8.0).reshape(4, 2) / 8
        >>> states = run_in_rows(lstm, visits, vectors)
        >>> torch.allclose(states[3], lstm(vectors[None, 3:])[0][0, 0])  # the second patient alone
        True
    """
    names, weights = map(list, zip(*recurrence.named_parameters(), strict=True))
    if names != ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]:
        raise ValueError(f"the recurrence is {recurrence}; expected one layer with biases that reads forwards")
    check_vectors(vectors, visits.day, weights[0])
    layout = lay_out(visits.length)
    # Cells in the kernel's own order: the first column, from row to row, then the second.
    begin = (layout.column * layout.n_rows + layout.row).to(vectors.device)
    cell = begin[visits.patient] + visits.index * layout.n_rows
    box = vectors.new_zeros(layout.width * layout.n_rows, vectors.shape[1] + 1)
    box[:, -1] = 1.0
    box = box.index_copy(0, cell, nn.functional.pad(vectors, (0, 1)))
    weights[0] = torch.cat([weights[0], _blank(recurrence, weights[2])[:, None]], 1)
    box = box.unflatten(0, (layout.width, layout.n_rows))
    state = box.new_zeros(1, layout.n_rows, recurrence.hidden_size)
    # Biases, layers, dropout, training, directions, batch first.
    settings = (True, 1, 0.0, recurrence.training, False, False)
    if isinstance(recurrence, nn.LSTM):
        states = torch.lstm(box, (state, state), weights, *settings)[0]
    else:
        states = torch.gru(box, state, weights, *settings)[0]
    return states.flatten(0, 1).index_select(0, cell)


def _blank(recurrence: nn.LSTM | nn.GRU, bias: Tensor) -> Tensor:
    """What a blank weighs: it shuts all gates; the candidate that a GRU moves its state to becomes 0."""
    shut = torch.full_like(bias, SHUT)
    if isinstance(recurrence, nn.LSTM):
        return shut
    gates = 2 * recurrence.hidden_size
    return torch.cat([shut[:gates], -bias[gates:]])
