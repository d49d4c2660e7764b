"""The ragged carrier against nested loops, torch's own packing, and round trips through every view."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

from tests import oracles
from visitwise.visits import PADDING, Schema, Visits

pytestmark = pytest.mark.usefixtures("no_global_draws")

RECORDS = st.lists(
    st.lists(st.lists(st.sampled_from("abcde"), max_size=4), min_size=1, max_size=5), min_size=1, max_size=6
)
SEEDS = range(4)


def some_visits(seed: int = 0) -> Visits:
    return oracles.random_cohort(8, seed=seed).visits


def visits_of(records: list[list[list[str]]]) -> Visits:
    days = [[10.0 * k for k in range(len(record))] for record in records]
    return Visits.from_lists(records, days, schema=Schema.of("abcde"))


def values_of(visits: Visits, *rest: int) -> Tensor:
    """A different number at every visit."""
    size = visits.n_visits * int(torch.tensor(rest).prod()) if rest else visits.n_visits
    return (torch.arange(size, dtype=torch.float32) + 1).reshape(visits.n_visits, *rest)


# ----------------------------------------------------------------------------------------------------- what it holds


@given(RECORDS)
def test_codes_come_back_as_they_were_given(records: list[list[list[str]]]) -> None:
    visits = visits_of(records)
    names = visits.schema.codes
    assert [[[names[c] for c in visit] for visit in record] for record in oracles.as_lists(visits)] == records


def test_patient_index_gap_and_length_are_those_of_a_loop() -> None:
    visits = some_visits()
    patient, index, gap = [], [], []
    for i in range(len(visits)):
        days = visits.day[int(visits.visit_offsets[i]) : int(visits.visit_offsets[i + 1])].tolist()
        patient += [i] * len(days)
        index += range(len(days))
        gap += [0.0, *(later - earlier for earlier, later in pairwise(days))]
        assert int(visits.length[i]) == len(days)
    assert visits.patient.tolist() == patient
    assert visits.index.tolist() == index
    assert visits.gap.tolist() == pytest.approx(gap)
    assert len(set(gap)) > 2


@pytest.mark.parametrize("seed", SEEDS)
def test_last_known_measurement_is_the_patient_s_own_latest(seed: int) -> None:
    visits = some_visits(seed)
    values, known = visits.last_known()
    assert not known.all()
    for i in range(len(visits)):
        latest: list[float | None] = [None, None]
        for visit in range(int(visits.visit_offsets[i]), int(visits.visit_offsets[i + 1])):
            for j, measured in enumerate(visits.measurements[visit].tolist()):
                latest[j] = latest[j] if math.isnan(measured) else measured
                assert bool(known[visit, j]) == (latest[j] is not None)
                value = values[visit, j].item()
                assert math.isnan(value) if latest[j] is None else value == latest[j]


def test_visits_without_measurements_have_none_that_is_known() -> None:
    visits = oracles.random_cohort(4, n_measurements=0).visits
    values, known = visits.last_known()
    assert values.shape == known.shape == (visits.n_visits, 0)


def test_schema_without_padding_first_puts_it_there() -> None:
    assert Schema.of(["b", "a"]).codes == (PADDING, "b", "a")


def test_visits_without_a_single_code_still_make_a_box() -> None:
    visits = Visits.from_lists([[[], []], [[]]], day=[[0, 1], [0]])
    box = visits.padded()
    assert box.codes.tolist() == [[[0], [0]], [[0], [0]]]
    assert not box.code_mask.any()
    assert box.visit_mask.tolist() == [[True, True], [True, False]]


def test_same_code_twice_in_a_visit_is_kept_twice() -> None:
    assert Visits.from_lists([[["a", "a"]]], day=[[0]]).codes.tolist() == [1, 1]


# ------------------------------------------------------------------------------------------------------------- views


@pytest.mark.parametrize("seed", SEEDS)
def test_padded_view_equals_three_nested_loops(seed: int) -> None:
    visits = some_visits(seed)
    codes, code_mask, visit_mask = oracles.padded(visits)
    box = visits.padded()
    assert box.codes.tolist() == codes
    assert box.code_mask.tolist() == code_mask
    assert box.visit_mask.tolist() == visit_mask


@given(RECORDS)
def test_padded_view_equals_three_nested_loops_whatever_the_records(records: list[list[list[str]]]) -> None:
    visits = visits_of(records)
    assert tuple(part.tolist() for part in visits.padded()) == oracles.padded(visits)


@pytest.mark.parametrize("rest", [(), (3,), (2, 3)])
@pytest.mark.parametrize("seed", SEEDS)
def test_unpad_undoes_pad(rest: tuple[int, ...], seed: int) -> None:
    visits = some_visits(seed)
    values = values_of(visits, *rest)
    box = visits.pad(values, fill=-1.0)
    assert box.shape == (8, int(visits.length.max()), *rest)
    assert torch.equal(visits.unpad(box), values)
    assert torch.equal(box[visits.mask], values)
    assert bool((box[~visits.mask] == -1).all())


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.bool, torch.float64, torch.bfloat16])
def test_pad_keeps_the_type(dtype: torch.dtype) -> None:
    visits = some_visits()
    values = (values_of(visits) % 2).to(dtype)
    assert visits.pad(values).dtype == dtype
    assert torch.equal(visits.unpad(visits.pad(values)), values)


def test_gradient_flows_through_pad_and_unpad_to_real_visits_alone() -> None:
    visits = some_visits()
    values = values_of(visits).requires_grad_()
    weight = torch.arange(1.0, visits.n_visits + 1)
    (visits.unpad(visits.pad(values, fill=float("nan"))) * weight).sum().backward()
    assert torch.equal(values.grad, weight)


@pytest.mark.parametrize("rest", [(), (3,)])
@pytest.mark.parametrize("seed", SEEDS)
def test_unpack_undoes_pack(rest: tuple[int, ...], seed: int) -> None:
    visits = some_visits(seed)
    values = values_of(visits, *rest)
    packed = visits.pack(values)
    assert not torch.equal(packed.data, values)
    assert torch.equal(visits.unpack(packed), values)


@given(RECORDS)
def test_packed_view_is_what_torch_makes_of_the_padded_one(records: list[list[list[str]]]) -> None:
    visits = visits_of(records)
    values = values_of(visits, 2)
    ours = visits.pack(values)
    theirs = pack_padded_sequence(visits.pad(values), visits.length, batch_first=True, enforce_sorted=False)
    for name, mine, torchs in zip(ours._fields, ours, theirs, strict=True):
        assert torch.equal(mine, torchs), name
    assert torch.equal(pad_packed_sequence(ours, batch_first=True)[0], visits.pad(values))


def test_unpack_follows_the_order_of_the_packing_and_not_its_own() -> None:
    """Patients of equal length may have been ranked otherwise by whoever packed them."""
    visits = visits_of([[["a"], ["b"]], [["c"], ["d"]], [["e"]]])
    values = values_of(visits)
    by_patient = [values[2:4], values[0:2], values[4:5]]
    sorted_already = pack_sequence(by_patient, enforce_sorted=True)
    other_order = sorted_already._replace(
        sorted_indices=torch.tensor([1, 0, 2]), unsorted_indices=torch.tensor([1, 0, 2])
    )
    assert torch.equal(visits.unpack(other_order), values)
    assert torch.equal(visits.unpack(sorted_already), torch.cat(by_patient))


def test_recurrent_network_over_the_packed_view_agrees_with_each_patient_alone() -> None:
    visits = some_visits(1)
    with torch.random.fork_rng(devices=[]):
        network = torch.nn.GRU(3, 4, batch_first=True)
    values = values_of(visits, 3) / visits.n_visits
    together = visits.unpack(network(visits.pack(values))[0])
    for i in range(len(visits)):
        own = slice(int(visits.visit_offsets[i]), int(visits.visit_offsets[i + 1]))
        torch.testing.assert_close(together[own], network(values[own][None])[0][0])


# ------------------------------------------------------------------------------------------------------------ select


@pytest.mark.parametrize("patients", [[3], [0, 1, 2, 3, 4, 5, 6, 7], [7, 0, 4], [2, 2, 5]])
@pytest.mark.parametrize("seed", SEEDS)
def test_select_equals_a_loop_over_the_chosen_patients(patients: list[int], seed: int) -> None:
    cohort = oracles.random_cohort(8, seed=seed)
    chosen = cohort.select(torch.tensor(patients))
    assert oracles.select(chosen, list(range(len(patients)))) == oracles.select(cohort, patients)


def test_select_counts_from_the_end_as_python_does() -> None:
    cohort = oracles.random_cohort(8)
    assert oracles.select(cohort.select(torch.tensor([-1, -8, -3])), [0, 1, 2]) == oracles.select(cohort, [7, 0, 5])


def test_selected_visits_would_pass_every_check() -> None:
    chosen = some_visits().select(torch.tensor([5, 1, 6]))
    again = Visits(**{name: getattr(chosen, name) for name in Visits.__dataclass_fields__})
    assert again.visit_offsets.tolist()[0] == 0
    assert len(again) == 3


@pytest.mark.parametrize("seed", SEEDS)
def test_truncating_select_keeps_the_first_visits_of_each_patient(seed: int) -> None:
    visits = some_visits(seed)
    patients = torch.tensor([6, 0, 3, 2])
    length = (visits.length[patients] + 1) // 2
    cut, whole = visits.select(patients, length), visits.select(patients)
    nested = oracles.as_lists(whole)
    assert oracles.as_lists(cut) == [record[: int(n)] for record, n in zip(nested, length, strict=True)]
    kept = whole.index < length[whole.patient]
    assert torch.equal(cut.day, whole.day[kept])
    assert torch.equal(cut.measurements.nan_to_num(-9), whole.measurements[kept].nan_to_num(-9))
    assert torch.equal(cut.static, whole.static)
    assert cut.n_visits < whole.n_visits


def test_select_of_a_select_is_a_select() -> None:
    cohort = oracles.random_cohort(8)
    twice = cohort.select(torch.tensor([7, 5, 3, 1])).select(torch.tensor([2, 0]))
    assert oracles.select(twice, [0, 1]) == oracles.select(cohort, [3, 7])


def test_select_leaves_the_original_alone() -> None:
    cohort = oracles.random_cohort(8)
    before = oracles.select(cohort, list(range(8)))
    chosen = cohort.select(torch.tensor([1, 2]))
    chosen.visits.codes.zero_()
    chosen.visits.day.zero_()
    chosen.outcome.stop.zero_()
    assert oracles.select(cohort, list(range(8))) == before


def test_moving_to_the_device_it_is_on_changes_nothing() -> None:
    cohort = oracles.random_cohort(8)
    everyone = list(range(8))
    assert oracles.select(cohort.to("cpu"), everyone) == oracles.select(cohort, everyone)
    assert cohort.to("cpu").visits.schema == cohort.visits.schema
