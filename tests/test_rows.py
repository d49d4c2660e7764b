"""Records laid end to end: everybody has a place, few cells are left over, and nobody remembers the one before."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from tests.cohorts import random_cohort
from visitwise.rows import lay_out, run_in_rows
from visitwise.visits import Visits


def drawn(n_patients: int, seed: int, longest: int = 60) -> Tensor:
    return torch.randint(1, longest, (n_patients,), generator=torch.Generator().manual_seed(seed))


def vectors_of(visits: Visits, size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(visits.n_visits, size, dtype=dtype, generator=torch.Generator().manual_seed(0))


def recurrence_of(kind: type[nn.LSTM | nn.GRU], **settings: object) -> nn.LSTM | nn.GRU:
    recurrence = kind(3, 4, batch_first=True, **settings).double()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in recurrence.parameters():
            weight.copy_(torch.randn(weight.shape, dtype=torch.float64, generator=random))
    return recurrence


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_patients", [1, 2, 40, 300])
def test_records_share_no_cell_and_a_blank_follows_each_in_its_row(n_patients: int, seed: int) -> None:
    length = drawn(n_patients, seed)
    rows = lay_out(length)
    taken = torch.zeros(rows.n_rows, rows.width + 1, dtype=torch.int64)
    for row, first, visits in zip(rows.row, rows.column, length, strict=True):
        taken[row, first : first + visits + 1] += 1
    assert int(taken.max()) == 1
    assert int(taken.sum()) == int(length.sum()) + n_patients
    assert rows.width == int((rows.column + length).max())


@pytest.mark.parametrize("seed", range(5))
def test_few_cells_are_left_over(seed: int) -> None:
    length = drawn(100, seed)
    rows = lay_out(length)
    with_blanks = int(length.sum()) + len(length)
    assert rows.n_rows * (rows.width + 1) < 1.1 * with_blanks < 0.7 * len(length) * int(length.max())


@pytest.mark.parametrize(("n_patients", "n_rows"), [(40, 8), (56, 8), (60, 16), (100, 24)])
def test_rows_come_in_eights(n_patients: int, n_rows: int) -> None:
    length = torch.tensor([19] * 2 + [4] * (n_patients - 2))
    rows = lay_out(length)
    assert rows.n_rows == n_rows
    assert rows.n_rows * (rows.width + 1) <= 1.25 * (int(length.sum()) + n_patients)


def test_records_of_like_length_get_a_row_each_and_no_blank() -> None:
    rows = lay_out(torch.tensor([7, 6, 7, 7]))
    assert (rows.row.tolist(), rows.column.tolist()) == ([0, 1, 2, 3], [0, 0, 0, 0])
    assert (rows.n_rows, rows.width) == (4, 7)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_each_patient_is_as_if_alone(kind: type[nn.LSTM | nn.GRU]) -> None:
    visits = random_cohort(150, seed=1).visits
    recurrence, vectors = recurrence_of(kind), vectors_of(visits, 3)
    states = run_in_rows(recurrence, visits, vectors)
    assert lay_out(visits.length).n_rows < len(visits)
    for first, stop in pairwise(visits.visit_offsets.tolist()):
        alone = recurrence(vectors[None, first:stop])[0][0]
        torch.testing.assert_close(states[first:stop], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_slopes_are_those_of_a_packed_sequence(kind: type[nn.LSTM | nn.GRU]) -> None:
    visits = random_cohort(80, seed=2).visits
    recurrence, vectors = recurrence_of(kind), vectors_of(visits, 3).requires_grad_()
    weight = torch.randn(visits.n_visits, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    packed, _ = recurrence(visits.pack(vectors))
    of_both = [
        torch.autograd.grad((states * weight).sum(), [vectors, *recurrence.parameters()])
        for states in (visits.unpack(packed), run_in_rows(recurrence, visits, vectors))
    ]
    for one, other in zip(*of_both, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_nothing_of_the_patient_before_comes_through(kind: type[nn.LSTM | nn.GRU], dtype: torch.dtype) -> None:
    visits = Visits.from_lists([[["a"]] * 9, [["a"]] * 4, [["a"]] * 4], day=[range(9), range(4), range(4)])
    rows = lay_out(visits.length)
    assert rows.row.tolist() == [0, 1, 1]
    recurrence, vectors = recurrence_of(kind).to(dtype), vectors_of(visits, 3, dtype)
    before, after = vectors.clone(), vectors.clone()
    after[9:13] = 50 * after[9:13].flip(0)
    states = [run_in_rows(recurrence, visits, each) for each in (before, after)]
    assert not torch.equal(states[0][9:13], states[1][9:13])
    assert torch.equal(states[0][13:], states[1][13:])


@pytest.mark.parametrize("settings", [{"bidirectional": True}, {"num_layers": 2}, {"bias": False}, {"proj_size": 2}])
def test_other_recurrences_are_refused(settings: dict[str, object]) -> None:
    visits = Visits.from_lists([[["a"], []]], day=[[0, 30]])
    with pytest.raises(
        ValueError, match=r"recurrence is LSTM\(3, 4, .*; expected one layer with biases that reads forw"
    ):
        run_in_rows(recurrence_of(nn.LSTM, **settings), visits, vectors_of(visits, 3))
