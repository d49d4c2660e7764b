"""A recurrence over patients of different length: the fused kernel on one stretch of visits after the other.

Sort a batch by length, the longest record first. The records then look like a staircase lying on its side: from visit
to visit fewer patients remain. `pack_padded_sequence` takes every step of it by itself and leaves the fused kernel
each time; a padded box takes none, and computes all cells of the box. Here the visits are cut into a few stretches. On
each, the kernel runs once over a box of those who are still there, from the state in which they left the one before.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from visitwise._explain import explained
from visitwise._ragged import check_lengths, check_vectors
from visitwise.visits import Visits

# What a call of the kernel costs besides its cells, and a step besides its patients, both counted in cells. Measured at
# hidden sizes of 32 to 256, where the time hardly changes between half and twice of the first.
CALL, STEP = 160.0, 1.25


class Stretch(NamedTuple):
    """Visits `first <= k < stop` of the patients with the longest records, who have all at least begun it."""

    first: int
    stop: int
    n_patients: int


@explained
def stretches(length: Int[Tensor, " patient"], *, call: float = CALL, step: float = STEP) -> list[Stretch]:
    """The cheapest way to cut records of these lengths into stretches.

    A stretch of `t` visits with `n` patients costs `t * (n + step) + call`. Cuts are tried where a record ends: any
    other place only adds a call. With `call=0` every record's end is a cut and no cell is padding.

    Args:
        length: Number of visits of each patient, at least 1.
        call: Cost of one more stretch.
        step: Cost of one more visit, whoever is there.

    Examples:
        >>> stretches(torch.tensor([2, 9, 2, 2]), call=5)
        [Stretch(first=0, stop=2, n_patients=4), Stretch(first=2, stop=9, n_patients=1)]
        >>> stretches(torch.tensor([2, 9, 2, 2]), call=50)
        [Stretch(first=0, stop=9, n_patients=4)]
    """
    check_lengths(length)
    ends, n_ending = np.unique(length.numpy(force=True), return_counts=True)
    cuts = np.concatenate([[0], ends])
    remaining = n_ending[::-1].cumsum()[::-1]
    cheapest, following = np.zeros(len(cuts)), np.zeros(len(cuts), dtype=int)
    for place in reversed(range(len(ends))):
        costs = (ends[place:] - cuts[place]) * (remaining[place] + step) + call + cheapest[place + 1 :]
        best = int(costs.argmin())
        cheapest[place], following[place] = costs[best], place + 1 + best
    found, place = [], 0
    while place < len(ends):
        found.append(Stretch(int(cuts[place]), int(cuts[following[place]]), int(remaining[place])))
        place = int(following[place])
    return found


@explained
def run_in_stretches(
    recurrence: nn.LSTM | nn.GRU, visits: Visits, vectors: Float[Tensor, "visit feature"]
) -> Float[Tensor, "visit hidden"]:
    """The state of a recurrence after each visit, in the order of the flat arrays.

    The same numbers as over a padded box, a packed sequence, or one patient at a time.

    Args:
        recurrence: One that reads forwards, with `batch_first=True`.
        visits: The patients.
        vectors: What it reads at each of their visits.

    Raises:
        ValueError: The recurrence reads backwards too: it would have to begin at the last stretch.

    Examples:
        >>> visits = Visits.from_lists([[["asthma"], ["gout"], []], [["gout"]]], day=[[0, 90, 95], [0]])
        >>> lstm = nn.LSTM(input_size=2, hidden_size=3, batch_first=True)
        >>> vectors = torch.arange(8.0).reshape(4, 2) / 8
        >>> states = run_in_stretches(lstm, visits, vectors)
        >>> torch.allclose(states[3], lstm(vectors[None, 3:])[0][0, 0])  # the second patient alone
        True
    """
    if recurrence.bidirectional:
        raise ValueError("the recurrence is bidirectional; expected one that reads forwards")
    check_vectors(vectors, visits.day, next(recurrence.parameters()))
    length, by_length = visits.length.sort(descending=True, stable=True)
    begin = visits.visit_offsets[:-1][by_length]
    cut = stretches(length)
    # Cells in the kernel's own order, all patients' first visits first, so that nothing is copied on the way to it.
    rows, is_visit = [], []
    for first, stop, n_patients in cut:
        visit = torch.arange(first, stop, device=length.device)[:, None]
        real = visit < length[:n_patients]
        rows.append((begin[:n_patients] + visit).where(real, 0).flatten())
        is_visit.append(real.flatten())
    row = torch.cat(rows)
    boxes = vectors[row].split([(stop - first) * n_patients for first, stop, n_patients in cut])
    outputs, state = [], None
    for (first, stop, n_patients), box in zip(cut, boxes, strict=True):
        sequence = box.unflatten(0, (stop - first, n_patients)).transpose(0, 1)
        out, state = recurrence(sequence, None if state is None else _of_first(state, n_patients))
        outputs.append(out.transpose(0, 1).flatten(0, 1))
    states = torch.cat(outputs)
    real = torch.cat(is_visit)
    return states.new_empty(visits.n_visits, states.shape[1]).index_copy(0, row[real], states[real])


def _of_first(state: Tensor | tuple[Tensor, Tensor], n_patients: int) -> Tensor | tuple[Tensor, Tensor]:
    """The state of those who go on; an LSTM's has two parts."""
    if isinstance(state, Tensor):
        return state[:, :n_patients].contiguous()
    return state[0][:, :n_patients].contiguous(), state[1][:, :n_patients].contiguous()
