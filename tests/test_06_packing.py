"""The claims of chapter 06, one test each, and the pieces of the page that could drift from the package."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.profiler import ProfilerActivity, profile

from tests.figures import packing_bench
from visitwise.check import packing
from visitwise.cohort import Cohort
from visitwise.functional import hazard_nll
from visitwise.model import SurvivalRNN
from visitwise.simulate import TEACHING
from visitwise.visits import Visits
from visitwise.widgets import PackingBench

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "explainer" / "06-packing.md"
RESULTS = ROOT / "tests" / "benchmarks" / "results"
FOUR = [2, 5, 3, 1]


def of_lengths(lengths: list[int]) -> Visits:
    return Visits.from_lists([[["a"]] * n for n in lengths], day=[range(n) for n in lengths])


def some_patients(n: int = 60) -> Cohort:
    return TEACHING.draw(n, seed=11).cohort


def model_of(cohort: Cohort, **settings: object) -> SurvivalRNN:
    return SurvivalRNN.for_cohort(cohort, embedding=5, hidden=7, **settings).double()


def one_by_one(model: SurvivalRNN, visits: Visits) -> Tensor:
    """Every hazard logit by a plain loop: one patient and one visit at a time, gates written out."""
    lstm, logits = model.recurrence, []
    for vectors in model.encoder(visits).split(visits.length.tolist()):
        state, cell = torch.zeros(2, lstm.hidden_size, dtype=torch.float64)
        for x in vectors:
            gates = lstm.weight_ih_l0 @ x + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ state + lstm.bias_hh_l0
            enter, forget, new, leave = gates.chunk(4)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
            state = torch.sigmoid(leave) * torch.tanh(cell)
            logits.append(model.head(state)[0])
    return torch.stack(logits)


def facts() -> dict[str, float]:
    return json.loads((RESULTS / "packing.json").read_text())["facts"]


# -------------------------------------------------------------------------------------------------- what is packed


def test_the_fields_of_the_four_patients_are_those_on_the_page():
    visits = of_lengths(FOUR)
    packed = visits.pack(torch.arange(visits.n_visits))
    assert packed.data.tolist() == [2, 7, 0, 10, 3, 8, 1, 4, 9, 5, 6]  # Dan 0, Ada 0, Ben 0, Eve 0, Dan 1, ...
    assert packed.batch_sizes.tolist() == [4, 3, 2, 1, 1]
    assert packed.sorted_indices.tolist() == [1, 2, 0, 3]
    assert packed.unsorted_indices.tolist() == [2, 0, 1, 3]
    assert visits.pad(torch.arange(visits.n_visits)).numel() == 20


def test_the_answers_of_test_yourself_are_the_field_and_its_mistakes():
    visits = of_lengths([*FOUR, 3])
    packed = visits.pack(torch.arange(visits.n_visits))
    options = re.findall(r"<summary>([\d, ]+)</summary>", PAGE.read_text(encoding="utf-8"))
    wrong = {
        tuple(packing.BATCH_SIZES[name].formula(visits.length).tolist())
        for name in ("lengths_as_they_came", "longest_first", "patients_of_each_length")
    }
    right = tuple(packed.batch_sizes.tolist())
    assert {tuple(map(int, option.split(", "))) for option in options} == wrong | {right}
    assert "of rows in `data`, 14." in PAGE.read_text(encoding="utf-8")
    assert len(packed.data) == 14


def test_the_order_of_the_patients_does_not_change_what_becomes_of_each():
    cohort = some_patients()
    model, visits = model_of(cohort, path="packed"), cohort.visits
    order = torch.from_numpy(np.random.default_rng(4).permutation(len(visits)))
    straight, shuffled = model(visits), model(visits.select(order))
    torch.testing.assert_close(straight[order], shuffled, rtol=0, atol=1e-12, equal_nan=True)


# ------------------------------------------------------------------------------------ what it changes and what not


def test_padding_reaches_neither_real_visits_nor_the_loss_nor_its_gradient():
    cohort = some_patients()
    visits, outcome = cohort.visits, cohort.outcome
    model = model_of(cohort)
    slow = one_by_one(model, visits)
    losses, gradients = [], []
    for columns, fill in [(0, 0.0), (1, 0.0), (10, 0.0), (100, 0.0), (100, 7.0)]:
        vectors = model.encoder(visits)
        more = torch.full((len(visits), columns, vectors.shape[1]), fill, dtype=torch.float64)
        states, _ = model.recurrence(torch.cat([visits.pad(vectors, fill), more], 1))
        logits = model.head(states)[..., 0]
        torch.testing.assert_close(visits.unpad(logits[:, : visits.mask.shape[1]]), slow, rtol=0, atol=1e-12)
        losses.append(hazard_nll(logits, outcome.stop, outcome.observed))
        gradients.append(torch.autograd.grad(losses[-1], list(model.parameters())))
    packed = model.head(visits.unpack(model.recurrence(visits.pack(model.encoder(visits)))[0]))[:, 0]
    torch.testing.assert_close(packed, slow, rtol=0, atol=1e-12)
    losses.append(hazard_nll(visits.pad(packed), outcome.stop, outcome.observed))
    gradients.append(torch.autograd.grad(losses[-1], list(model.parameters())))
    for loss, gradient in zip(losses, gradients, strict=True):
        assert abs(loss - losses[0]) < 1e-12
        for one, other in zip(gradient, gradients[0], strict=True):
            assert (one - other).abs().max() < 1e-12


def test_the_last_column_depends_on_who_shares_the_batch():
    cohort = some_patients()
    model, visits = model_of(cohort), cohort.visits
    longest = int(visits.length.max())
    alone, in_company, packed = [], [], []
    for patient in torch.arange(len(visits)):
        vectors = model.encoder(visits.select(patient[None]))
        alone.append(model.recurrence(vectors[None])[0][0, -1])
    vectors = model.encoder(visits)
    in_company, (h_n, _) = model.recurrence(visits.pad(vectors))
    packed = model.recurrence(visits.pack(vectors))[1][0][0]
    assert torch.equal(h_n[0], in_company[:, -1])
    torch.testing.assert_close(packed, torch.stack(alone), rtol=0, atol=1e-12)
    by_length = in_company[torch.arange(len(visits)), visits.length - 1]
    torch.testing.assert_close(by_length, torch.stack(alone), rtol=0, atol=1e-12)
    apart = (in_company[:, -1] - torch.stack(alone)).abs().amax(1) > 1e-6
    assert torch.equal(apart, visits.length < longest)


def test_the_model_says_nan_where_there_is_no_visit():
    cohort = some_patients()
    for path in ("padded", "packed"):
        logits = model_of(cohort, path=path)(cohort.visits)
        assert torch.equal(logits.isnan(), ~cohort.visits.mask)


def test_padding_enters_through_the_backward_half_and_from_the_left():
    cohort = some_patients()
    visits = cohort.visits
    both = model_of(cohort, path="packed", bidirectional=True, demonstration=True)
    vectors = both.encoder(visits)
    in_box = visits.unpad(both.recurrence(visits.pad(vectors))[0])
    forward, backward = (in_box - visits.unpack(both.recurrence(visits.pack(vectors))[0])).abs().split(7, dim=-1)
    assert forward.max() < 1e-12
    assert backward.max() > 0.01
    with pytest.raises(ValueError, match="reads padding backwards"):
        model_of(cohort, bidirectional=True, demonstration=True)
    model, width = model_of(cohort), visits.mask.shape[1]
    box, lengths = visits.pad(model.encoder(visits)), visits.length.tolist()
    left = torch.stack([row.roll(width - n, 0) for row, n in zip(box, lengths, strict=True)])
    back = torch.stack([row.roll(n - width, 0) for row, n in zip(model.recurrence(left)[0], lengths, strict=True)])
    assert (visits.unpad(back) - visits.unpad(model.recurrence(box)[0])).abs().max() > 0.01


def test_in_the_figure_padding_reaches_every_shorter_records_h_n_and_its_visits_only_backwards():
    given = PackingBench().given
    for state in packing_bench.states(np.random.default_rng(5)):
        shown = packing_bench.oracle(state, given)
        shorter = [n < max(state["lengths"]) for n in state["lengths"]]
        assert shown["h_n_differs"] == shorter
        assert shown["states_differ"] == (shorter if state["bidirectional"] else [False] * 4)
        assert all((h_n > 0.005) == short for h_n, short in zip(shown["h_n_apart"], shorter, strict=True))


# ---------------------------------------------------------------------------------------------------- where it breaks


def test_a_hole_in_the_mask_is_packed_in_place_of_a_visit():
    mask, column = torch.tensor([[True, False, True, True, False]]), torch.arange(5)[None]
    assert pack_padded_sequence(column, mask.sum(1), batch_first=True).data.tolist() == [0, 1, 2]


def test_a_patient_without_visits_is_refused_by_name_before_packing():
    with pytest.raises(ValueError, match=r"patient 8 has 0 visits; expected at least one"):
        Visits.from_lists([[["a"]], []], day=[[0], []], patient_id=[7, 8])
    with pytest.raises(RuntimeError, match="greater than 0"):
        pack_padded_sequence(torch.zeros(2, 1, 1), torch.tensor([1, 0]), batch_first=True)


def test_a_box_shrinks_on_the_way_back_unless_its_width_is_told():
    packed = pack_padded_sequence(torch.zeros(2, 8, 1), torch.tensor([5, 2]), batch_first=True)
    assert pad_packed_sequence(packed, batch_first=True)[0].shape[1] == 5
    assert pad_packed_sequence(packed, batch_first=True, total_length=8)[0].shape[1] == 8


# ------------------------------------------------------------------------------------------------- steps and seconds


def test_sorting_saves_steps_and_bends_the_share_of_events():
    cohort = some_patients(640)
    steps, rates = [], []
    for window in (1, 10):
        batches = list(cohort.batches(64, seed=0, window=window))
        steps.append(sum(len(batch) * int(batch.visits.length.max()) for batch in batches))
        rates.append([int(batch.outcome.observed.sum()) / batch.outcome.n_rows for batch in batches])
    assert steps[0] > 2 * steps[1] > 2 * cohort.visits.n_visits
    assert max(rates[1]) > 1.5 * max(rates[0])
    assert min(rates[1]) < min(rates[0]) / 2


def test_the_gradients_of_the_parts_sum_to_that_of_the_batch():
    cohort = some_patients()
    model = model_of(cohort)

    def gradient(cohorts: list[Cohort]) -> list[Tensor]:
        model.zero_grad()
        for part in cohorts:
            logits = model(part.visits)
            hazard_nll(logits, part.outcome.stop, part.outcome.observed, reduction="sum").backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    parts = list(cohort.parts(200))
    assert len(parts) > 3
    for one, other in zip(gradient([cohort]), gradient(parts), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_recorded_times_are_slower_than_the_steps_saved():
    known = facts()
    speeds = {name: value for name, value in known.items() if re.fullmatch(r"bench_speed_\w+_packed_high", name)}
    assert len(speeds) == 12
    for name, highest in speeds.items():
        lengths = re.fullmatch(r"bench_speed_(\w+)_(?:64|256)_packed_high", name)[1]
        assert highest < known[f"bench_steps_{lengths}_packed"] + 0.05
    assert known["bench_speed_notes_example_64_packed_high"] < 1 < 3 < known["bench_steps_notes_example_packed"]


def test_where_lengths_differ_sorting_was_faster_than_padding_and_than_packing():
    known = facts()
    for lengths in ("uniform_40_50", "uniform_10_100", "log_normal", "heavy_tail", "notes_example"):
        for hidden in (64, 256):
            speed = f"bench_speed_{lengths}_{hidden}"
            assert known[f"{speed}_sorted_low"] > max(1, known[f"{speed}_packed_high"], known[f"{speed}_both_high"])


def test_packing_was_faster_only_with_the_larger_state():
    known = facts()
    faster = [name for name in known if name.endswith("_packed_low") and known[name] > 1]
    assert faster == ["bench_speed_log_normal_256_packed_low", "bench_speed_heavy_tail_256_packed_low"]


def profiled(run: Callable[[], object]) -> dict[str, Any]:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    return {event.key: event for event in recorded.key_averages()}


def test_a_packed_lstm_calls_for_each_visit_and_each_slice_fills_a_block_as_large_as_all_rows():
    """Why fewer steps are not as much less time; in float32, where a box is one call of a fused kernel."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this build has no fused LSTM on the CPU")
    lstm = nn.LSTM(3, 4, batch_first=True)
    for n in (10, 20):
        box, length = torch.ones(n, n, 3), torch.arange(1, n + 1)
        packed = pack_padded_sequence(box, length, batch_first=True, enforce_sorted=False)
        assert "aten::linear" not in profiled(lambda box=box: lstm(box))
        forward = profiled(lambda packed=packed: lstm(packed))
        assert forward["aten::linear"].count == n + 1  # once for all inputs, and once for each visit
        backward = profiled(lstm(packed)[0].data.sum().backward)
        block = 4 * lstm.bias_ih_l0.numel() * int(length.sum())  # bytes of the gates of all rows
        assert backward["aten::slice_backward"].count >= n
        assert backward["aten::empty"].self_cpu_memory_usage > n * block


# --------------------------------------------------------------------------------------------------------- the page


def test_every_recorded_number_on_the_page_is_in_a_record():
    quoted = set(re.findall(r"\(fact:(bench_\w+)\)", PAGE.read_text(encoding="utf-8")))
    known = {name for path in RESULTS.glob("*.json") for name in json.loads(path.read_text())["facts"]}
    assert len(quoted) > 5
    assert quoted <= known
