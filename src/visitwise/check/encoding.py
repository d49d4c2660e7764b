"""Chapter 5: wrong counts of a padded box, wrong means of a visit's codes, wrong steps of an LSTM."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from visitwise.check import Mistake

# -------------------------------------------------------- wrong shares of a box's cells that hold a code, of all cells


def visits_instead_of_codes(
    code_offsets: Int[Tensor, " visit_and_end"], visit_offsets: Int[Tensor, " patient_and_end"]
) -> Float[Tensor, ""]:
    """The share of `[patient, visit]` that holds a visit; the axis of codes is forgotten."""
    length = visit_offsets.diff()
    return _share(length.sum(), len(length) * length.max())


def padded_within_visits_alone(
    code_offsets: Int[Tensor, " visit_and_end"], visit_offsets: Int[Tensor, " patient_and_end"]
) -> Float[Tensor, ""]:
    """Each real visit as wide as the widest, and no visit added after a patient's last."""
    n_codes = code_offsets.diff()
    return _share(n_codes.sum(), len(n_codes) * n_codes.max())


def box_for_each_patient(
    code_offsets: Int[Tensor, " visit_and_end"], visit_offsets: Int[Tensor, " patient_and_end"]
) -> Float[Tensor, ""]:
    """Every patient in a box of their own, as long and as wide as they need it."""
    n_codes = code_offsets.diff()
    own = [part.numel() * part.max() for part in n_codes.split(visit_offsets.diff().tolist())]
    return _share(n_codes.sum(), torch.stack(own).sum())


def share_of_padding(
    code_offsets: Int[Tensor, " visit_and_end"], visit_offsets: Int[Tensor, " patient_and_end"]
) -> Float[Tensor, ""]:
    """What is left of the box when the codes are taken out."""
    n_codes, length = code_offsets.diff(), visit_offsets.diff()
    return 1 - _share(n_codes.sum(), len(length) * length.max() * n_codes.max())


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return part.double() / whole.double()


FILLED = {
    "visits_instead_of_codes": Mistake(
        "that is the share of places for a visit that hold one; each place is as wide as the widest visit, too",
        visits_instead_of_codes,
    ),
    "padded_within_visits_alone": Mistake(
        "you left out the places after a patient's last visit; every patient gets as many as the longest record",
        padded_within_visits_alone,
    ),
    "box_for_each_patient": Mistake(
        "that is one box for each patient; in a batch all share the longest record and the widest visit",
        box_for_each_patient,
    ),
    "share_of_padding": Mistake("that is the share of padding", share_of_padding),
}
"""Wrong shares of cells that hold a code, of `code_offsets` and `visit_offsets`."""


# --------------------------------------------------------------------- wrong means of the vectors of a visit's codes


def sum_of_vectors(
    vectors: Float[Tensor, "code feature"], code_offsets: Int[Tensor, " visit_and_end"]
) -> Float[Tensor, "visit feature"]:
    """The sum, not divided by anything."""
    visit = torch.repeat_interleave(code_offsets.diff())
    return vectors.new_zeros(len(code_offsets) - 1, vectors.shape[1]).index_add(0, visit, vectors)


def mean_with_padding(
    vectors: Float[Tensor, "code feature"], code_offsets: Int[Tensor, " visit_and_end"]
) -> Float[Tensor, "visit feature"]:
    """The sum divided by the width of the box, as `.mean()` over its cells does when padding is embedded as zeros."""
    return sum_of_vectors(vectors, code_offsets) / code_offsets.diff().max()


def mean_of_nothing(
    vectors: Float[Tensor, "code feature"], code_offsets: Int[Tensor, " visit_and_end"]
) -> Float[Tensor, "visit feature"]:
    """The right mean where there are codes, and 0/0, which is NaN, where there are none."""
    return sum_of_vectors(vectors, code_offsets) / code_offsets.diff()[:, None]


def mean_of_all_codes(
    vectors: Float[Tensor, "code feature"], code_offsets: Int[Tensor, " visit_and_end"]
) -> Float[Tensor, "visit feature"]:
    """One mean over all codes of the batch, the same for each visit."""
    return vectors.mean(0).expand(len(code_offsets) - 1, -1)


MEAN = {
    "sum_of_vectors": Mistake("that is the sum of each visit's vectors; divide by its number of codes", sum_of_vectors),
    "mean_with_padding": Mistake(
        "you divided by the width of the box; divide each visit by its own number of codes", mean_with_padding
    ),
    "mean_of_nothing": Mistake(
        "you divided zero by zero at the visit without codes; let its divisor be at least 1", mean_of_nothing
    ),
    "mean_of_all_codes": Mistake(
        "that is one mean over the whole batch; each visit has its own codes", mean_of_all_codes
    ),
}
"""Wrong means by visit, of `vectors`, one for each code, and `code_offsets`."""


# -------------------------------------------------------------------------- wrong states after one step of an LSTM


def gates_in_the_order_of_onnx(gates: Float[Tensor, " four_hidden"], cell: Float[Tensor, " hidden"]) -> Tensor:
    """Cut up as input, output, forget, candidate, where torch has input, forget, candidate, output."""
    take, show, keep, candidate = gates.chunk(4)
    return _state(take.sigmoid(), keep.sigmoid(), candidate.tanh(), show.sigmoid(), cell)


def candidate_by_sigmoid(gates: Float[Tensor, " four_hidden"], cell: Float[Tensor, " hidden"]) -> Tensor:
    """All four through the sigmoid, so that nothing can be subtracted from the cell."""
    take, keep, candidate, show = gates.sigmoid().chunk(4)
    return _state(take, keep, candidate, show, cell)


def nothing_kept(gates: Float[Tensor, " four_hidden"], cell: Float[Tensor, " hidden"]) -> Tensor:
    """The cell starts anew: the forget gate and the old cell are left out."""
    take, keep, candidate, show = gates.chunk(4)
    return _state(take.sigmoid(), keep.sigmoid(), candidate.tanh(), show.sigmoid(), torch.zeros_like(cell))


def everything_kept(gates: Float[Tensor, " four_hidden"], cell: Float[Tensor, " hidden"]) -> Tensor:
    """The old cell is added whole, as in the LSTM of 1997, which had no forget gate."""
    take, _, candidate, show = gates.chunk(4)
    return _state(take.sigmoid(), torch.ones_like(cell), candidate.tanh(), show.sigmoid(), cell)


def cell_without_tanh(gates: Float[Tensor, " four_hidden"], cell: Float[Tensor, " hidden"]) -> Tensor:
    """`o * c`, where the state is `o * tanh(c)`."""
    return gates.chunk(4)[3].sigmoid() * cell_instead_of_state(gates, cell)


def cell_instead_of_state(gates: Float[Tensor, " four_hidden"], cell: Float[Tensor, " hidden"]) -> Tensor:
    """The new cell, which the LSTM keeps to itself."""
    take, keep, candidate, _ = gates.chunk(4)
    return keep.sigmoid() * cell + take.sigmoid() * candidate.tanh()


def _state(take: Tensor, keep: Tensor, candidate: Tensor, show: Tensor, cell: Tensor) -> Tensor:
    return show * (keep * cell + take * candidate).tanh()


LSTM_STEP = {
    "gates_in_the_order_of_onnx": Mistake(
        "you cut the gates up in another order; torch has input, forget, candidate, output", gates_in_the_order_of_onnx
    ),
    "candidate_by_sigmoid": Mistake(
        "you sent the candidate through the sigmoid, which cannot be negative; it takes tanh", candidate_by_sigmoid
    ),
    "nothing_kept": Mistake("you left the old cell out; the forget gate says how much of it stays", nothing_kept),
    "everything_kept": Mistake("you kept the old cell whole; multiply it by the forget gate", everything_kept),
    "cell_without_tanh": Mistake("you left out the tanh around the new cell", cell_without_tanh),
    "cell_instead_of_state": Mistake(
        "that is the new cell; the state is the output gate times its tanh", cell_instead_of_state
    ),
}
"""Wrong states after one visit, of the four `gates` before sigmoid and tanh, and the `cell` of the visit before."""
