"""The staircase: cuts that are the cheapest of all, and one kernel call for each."""

from itertools import combinations, pairwise

import pytest
import torch
from torch import Tensor, nn

from tests.cohorts import random_cohort
from visitwise.staircase import CALL, STEP, Stretch, run_in_stretches, stretches
from visitwise.visits import Visits


def drawn(n_patients: int, seed: int) -> Tensor:
    return torch.randint(1, 12, (n_patients,), generator=torch.Generator().manual_seed(seed))


def vectors_of(visits: Visits, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(visits.n_visits, 3, dtype=dtype, generator=torch.Generator().manual_seed(0))


def cost(length: Tensor, cuts: list[int], call: float, step: float) -> float:
    """Of stretches between these visits, counted patient by patient."""
    return sum((stop - first) * (int((length > first).sum()) + step) + call for first, stop in pairwise(cuts))


@pytest.mark.parametrize("call", [0.0, 3.0, 20.0, 1000.0])
@pytest.mark.parametrize("seed", range(6))
def test_no_other_cuts_are_cheaper(seed: int, call: float) -> None:
    length = drawn(9, seed)
    longest = int(length.max())
    found = stretches(length, call=call, step=1.25)
    cuts = [0, *(stretch.stop for stretch in found)]
    inner = range(1, longest)
    every_way = ([0, *chosen, longest] for n in range(longest) for chosen in combinations(inner, n))
    assert cost(length, cuts, call, 1.25) == pytest.approx(min(cost(length, way, call, 1.25) for way in every_way))


@pytest.mark.parametrize("seed", range(6))
def test_stretches_follow_each_other_and_hold_all_who_begin_them(seed: int) -> None:
    length = drawn(40, seed)
    found = stretches(length)
    assert [stretch.first for stretch in found] == [0, *(stretch.stop for stretch in found[:-1])]
    assert found[-1].stop == int(length.max())
    assert [stretch.n_patients for stretch in found] == [int((length > stretch.first).sum()) for stretch in found]


def test_a_free_call_leaves_no_padding_and_a_dear_one_takes_the_box() -> None:
    length = drawn(40, 0)
    cells = sum((stop - first) * n_patients for first, stop, n_patients in stretches(length, call=0))
    assert cells == int(length.sum())
    assert stretches(length, call=1e9) == [Stretch(0, int(length.max()), 40)]


def test_the_kernel_is_called_once_for_each_stretch_on_no_more_than_its_cells() -> None:
    visits = random_cohort(200, seed=0).visits
    boxes = []

    class Counted(nn.LSTM):
        def forward(self, box: Tensor, state: object = None) -> object:
            boxes.append(tuple(box.shape[:2]))
            return super().forward(box, state)

    run_in_stretches(Counted(3, 4, batch_first=True), visits, vectors_of(visits))
    expected = stretches(visits.length, call=CALL, step=STEP)
    assert len(expected) > 1
    assert boxes == [(n_patients, stop - first) for first, stop, n_patients in expected]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_each_patient_is_as_if_alone(kind: type[nn.LSTM | nn.GRU]) -> None:
    visits = random_cohort(150, seed=1).visits
    recurrence = kind(3, 4, num_layers=2, batch_first=True).double()
    vectors = vectors_of(visits, torch.float64)
    states = run_in_stretches(recurrence, visits, vectors)
    assert len(stretches(visits.length)) > 1
    begin = visits.visit_offsets.tolist()
    for first, stop in pairwise(begin):
        alone = recurrence(vectors[None, first:stop])[0][0]
        torch.testing.assert_close(states[first:stop], alone, rtol=0, atol=1e-12)


def test_a_recurrence_that_reads_backwards_is_refused() -> None:
    visits = Visits.from_lists([[["a"], []]], day=[[0, 30]])
    with pytest.raises(ValueError, match="bidirectional; expected one that reads forwards"):
        run_in_stretches(nn.LSTM(3, 4, batch_first=True, bidirectional=True), visits, torch.zeros(2, 3))
