"""The textbook's model and loss give the package's own numbers, and each switch does what it says and nothing else."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from tests.cohorts import random_cohort
from visitwise.functional import hazard_nll
from visitwise.model import SurvivalRNN
from visitwise.textbook import (
    MASKS,
    TextbookLSTM,
    change_in_company,
    clamp_and_log_nll,
    collate,
    effects_of_masks,
    weights_of_codes,
)
from visitwise.visits import Visits

N_CODES, EMBEDDING, HIDDEN = 6, 4, 5
RECORDS = [[[1, 2], [3], [2, 4]], [[5], [1, 3]], [[2], [1, 2, 3, 4, 5], [], [3]]]


def double(**settings) -> TextbookLSTM:
    return TextbookLSTM(N_CODES, EMBEDDING, HIDDEN, **settings).double()


def records_of(visits: Visits) -> list[list[list[int]]]:
    codes = [part.tolist() for part in visits.codes.tensor_split(visits.code_offsets[1:-1])]
    bounds = visits.visit_offsets.tolist()
    return [codes[begin:end] for begin, end in itertools.pairwise(bounds)]


def random_records(seed: int, patients: int = 5) -> list[list[list[int]]]:
    random = np.random.default_rng(seed)
    records = [
        [random.integers(1, N_CODES, random.integers(1, 5)).tolist() for _ in range(random.integers(1, 5))]
        for _ in range(patients)
    ]
    return [*records, [[1, 2, 3, 4, 5]] * 5, [[1], [2]]]  # so that there is always padding of both kinds


def random_labels(records, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng([seed, 1])
    stop = torch.tensor([int(random.integers(1, len(visits) + 1)) for visits in records])
    return stop, torch.from_numpy(random.random(len(records)) < 0.5)


# -------------------------------------------------------------------------------------- the package's own numbers


@pytest.mark.parametrize("seed", range(3))
def test_collate_fills_the_box_that_visits_give_as_their_padded_view(seed: int):
    visits = random_cohort(7, seed=seed).visits
    for ours, theirs in zip(collate(records_of(visits)), visits.padded(), strict=True):
        assert torch.equal(ours, theirs.to(ours.dtype))


def test_a_box_has_one_cell_a_visit_at_least_where_nobody_has_a_code():
    visits = Visits.from_lists([[[], []], [[]]], day=[[0, 1], [0]])
    for ours, theirs in zip(collate([[[], []], [[]]]), visits.padded(), strict=True):
        assert torch.equal(ours, theirs.to(ours.dtype))
    for pooling in ("mean", "max", "attention"):
        vectors = double(pooling=pooling, guard_empty=True).visit_vectors(*collate([[[], []], [[]]])[:2])
        assert vectors.eq(0).all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("packed", [False, True])
def test_the_textbook_model_is_the_packages_own_on_the_same_weights(seed: int, packed: bool):
    visits = random_cohort(7, seed=seed).visits
    textbook = TextbookLSTM(len(visits.schema.codes), EMBEDDING, HIDDEN, packed=packed, seed=seed).double()
    ours = SurvivalRNN(visits.schema, embedding=EMBEDDING, hidden=HIDDEN, time_features=False).double()
    with torch.no_grad():
        ours.encoder.embedding.weight.copy_(textbook.embedding.weight)
        ours.head.load_state_dict(textbook.head.state_dict())
        for name, parameter in ours.recurrence.named_parameters():
            parameter.zero_()  # the package's encoder has more features, which the textbook's does not know
            given = getattr(textbook.lstm, name)
            (parameter[:, :EMBEDDING] if name == "weight_ih_l0" else parameter).copy_(given)
    batch = collate(records_of(visits))
    dense = ours.encoder.forward_dense(visits)[..., :EMBEDDING]
    torch.testing.assert_close(textbook.visit_vectors(*batch[:2]), dense, rtol=1e-12, atol=1e-12)
    flat = visits.unpad(textbook.visit_vectors(*batch[:2]))
    torch.testing.assert_close(flat, ours.encoder(visits)[:, :EMBEDDING], rtol=1e-12, atol=1e-12)
    expected = torch.sigmoid(ours(visits)).nan_to_num(0.0)
    torch.testing.assert_close(textbook(*batch), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_clamp_and_log_is_the_packages_loss_with_its_gradient_where_nothing_is_clamped(seed: int):
    random = np.random.default_rng(seed)
    stop = torch.from_numpy(random.integers(1, 7, 20))
    observed = torch.from_numpy(random.random(20) < 0.5)
    made = torch.arange(6) < stop[:, None]
    for mask, eps in itertools.product((made, None), (1e-7, None)):
        logits = torch.from_numpy(random.normal(size=(20, 6))).requires_grad_()
        theirs = clamp_and_log_nll(torch.sigmoid(logits), stop, observed, mask, eps)
        ours = hazard_nll(logits, stop, observed)
        torch.testing.assert_close(theirs, ours, rtol=1e-12, atol=1e-12)
        (slope,) = torch.autograd.grad(theirs, logits)
        (expected,) = torch.autograd.grad(ours, logits)
        torch.testing.assert_close(slope, expected, rtol=1e-10, atol=1e-12)


def test_clamp_and_log_goes_flat_where_the_packages_loss_does_not():
    logits = torch.tensor([[-17.0]], dtype=torch.float64, requires_grad=True)
    event = torch.tensor([1]), torch.tensor([True])
    clamp_and_log_nll(torch.sigmoid(logits), *event).backward()
    assert logits.grad.item() == 0
    assert torch.autograd.grad(hazard_nll(logits, *event), logits)[0].item() == pytest.approx(-1)


def test_clamp_and_log_clamps_at_both_ends():
    one_row = torch.tensor([[0.0], [1.0], [1e-9], [1 - 1e-9]], dtype=torch.float64)
    observed = torch.tensor([True, False, True, False])
    for eps in (1e-7, 1e-3):
        cost = clamp_and_log_nll(one_row, torch.ones(4, dtype=torch.long), observed, eps=eps)
        assert cost.item() == pytest.approx(-math.log(eps), rel=1e-8)


def test_the_loss_mask_takes_the_row_of_an_event_out_as_well_as_rows_survived():
    hazard = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)
    made = torch.tensor([[True, True, False]])
    for observed in (True, False):
        cost = clamp_and_log_nll(hazard, torch.tensor([3]), torch.tensor([observed]), made)
        assert cost.item() == pytest.approx(-math.log(0.9 * 0.8))


def test_packed_is_padded_at_every_visit_made():
    for seed in range(4):
        batch = collate(random_records(seed))
        padded, packed = double(seed=seed)(*batch), double(seed=seed, packed=True)(*batch)
        torch.testing.assert_close(packed, padded, rtol=1e-12, atol=1e-12)
        assert packed.shape == batch[2].shape


def test_packed_and_padded_are_two_models_if_the_visits_are_read_backwards_too():
    batch = collate(RECORDS)
    padded, packed = (double(bidirectional=True, packed=way)(*batch) for way in (False, True))
    full = batch[2].all(1)
    assert (packed - padded)[~full].abs().max() > 1e-3
    torch.testing.assert_close(packed[full], padded[full])


# ------------------------------------------------------------------------------------------------- first weights


def test_first_weights_come_from_the_seed_and_no_global_generator(no_global_draws):
    one, two, other = double(seed=1), double(seed=1), double(seed=2)
    for name, parameter in one.state_dict().items():
        assert torch.equal(parameter, two.state_dict()[name])
        assert not torch.equal(parameter, other.state_dict()[name])


def test_worlds_share_their_weights_but_for_the_padding():
    usual, no_index = double().state_dict(), double(padding_idx=None).state_dict()
    assert usual["embedding.weight"][0].eq(0).all()
    assert no_index["embedding.weight"][0].ne(0).all()
    assert torch.equal(usual["embedding.weight"][1:], no_index["embedding.weight"][1:])
    other_index = double(padding_idx=2).state_dict()["embedding.weight"]
    assert other_index.eq(0).all(1).nonzero().tolist() == [[2]]
    attending = double(pooling="attention").state_dict()
    for name in usual.keys() - {"embedding.weight"}:
        assert torch.equal(usual[name], no_index[name])
        assert torch.equal(usual[name], attending[name])
    bound = HIDDEN**-0.5
    assert all(weight.abs().max() <= bound for name, weight in usual.items() if name != "embedding.weight")


# ------------------------------------------------------------------------------------------------------- switches


def test_each_visit_vector_is_what_a_loop_over_its_codes_gives():
    model = double(padding_idx=None)
    table = model.embedding.weight
    codes, code_mask, _ = collate(RECORDS)
    by_switch = {
        (True, True): lambda real, cells: sum(table[c] for c in real) / max(1, len(real)),
        (True, False): lambda real, cells: sum(table[c] for c in real) / len(cells),
        (False, True): lambda real, cells: sum(table[c] for c in cells) / max(1, len(real)),
        (False, False): lambda real, cells: sum(table[c] for c in cells) / len(cells),
    }
    for (model.mask_code_sum, model.mask_code_count), expected in by_switch.items():
        vectors = model.visit_vectors(codes, code_mask)
        for i, k in itertools.product(*map(range, codes.shape[:2])):
            real, cells = codes[i, k][code_mask[i, k]].tolist(), codes[i, k].tolist()
            by_hand = expected(real, cells)
            by_hand = by_hand if torch.is_tensor(by_hand) else torch.zeros(EMBEDDING, dtype=torch.float64)
            torch.testing.assert_close(vectors[i, k], by_hand, rtol=1e-12, atol=1e-12)


def test_the_hazard_mask_writes_zeros_where_no_visit_is_and_touches_nothing_else():
    codes, code_mask, visit_mask = collate(RECORDS)
    masked, plain = double()(codes, code_mask, visit_mask), double(mask_hazard=False)(codes, code_mask, visit_mask)
    assert torch.equal(masked[visit_mask], plain[visit_mask])
    assert masked[~visit_mask].eq(0).all()
    assert plain[~visit_mask].gt(0).all()


def test_the_hazard_mask_is_a_product_which_does_not_hide_a_nan():
    box = collate(RECORDS)
    hazard = double(pooling="attention")(*box)
    assert hazard[~box[2]].isnan().all()
    assert double(pooling="attention", guard_empty=True)(*box)[~box[2]].eq(0).all()


def test_the_other_poolings_are_what_a_loop_over_the_codes_gives():
    codes, code_mask, _ = collate(RECORDS)
    largest, attending = double(pooling="max", guard_empty=True), double(pooling="attention", guard_empty=True)
    most, mixed = (model.visit_vectors(codes, code_mask) for model in (largest, attending))
    table, score = attending.embedding.weight, attending.score
    for i, k in itertools.product(*map(range, codes.shape[:2])):
        vectors = table[codes[i, k][code_mask[i, k]]]
        if len(vectors) == 0:
            assert most[i, k].eq(0).all()
            assert mixed[i, k].eq(0).all()
            continue
        torch.testing.assert_close(most[i, k], vectors.max(0).values)
        share = score(vectors)[:, 0].exp()
        torch.testing.assert_close(mixed[i, k], share / share.sum() @ vectors)


def test_without_their_mask_the_other_poolings_take_the_padding_for_a_code():
    codes, code_mask, _ = collate(RECORDS)
    for pooling in ("max", "attention"):
        masked = double(pooling=pooling, padding_idx=None, guard_empty=True)
        unmasked = double(pooling=pooling, padding_idx=None, mask_code_sum=False)
        everything = torch.ones_like(code_mask)
        assert torch.equal(unmasked.visit_vectors(codes, code_mask), masked.visit_vectors(codes, everything))


def test_an_unknown_pooling_is_refused(unchecked):
    with pytest.raises(ValueError, match=r"pooling is 'sum'; expected 'mean', 'max' or 'attention'"):
        double(pooling="sum")


# ------------------------------------------------------------------------------------------------ attention weights


@given(seed=some.integers(0, 200), guard=some.booleans())
def test_weights_sum_to_one_over_real_codes_and_to_nothing_where_there_is_none(seed: int, guard: bool):
    random = np.random.default_rng(seed)
    scores, mask = torch.from_numpy(random.normal(size=(6, 4))), torch.from_numpy(random.random((6, 4)) < 0.4)
    weights = weights_of_codes(scores, mask, guard_empty=guard)
    empty = ~mask.any(-1)
    assert weights[~empty].isfinite().all()
    torch.testing.assert_close(weights[~empty].sum(-1), torch.ones(int((~empty).sum()), dtype=torch.float64))
    assert weights[~empty][~mask[~empty]].eq(0).all()
    assert weights[empty].eq(0).all() if guard else weights[empty].isnan().all()


def test_guarded_weights_hand_back_slopes_that_are_numbers():
    mask = torch.tensor([[True, True, False], [False, False, False]])
    for guard in (True, False):
        scores = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
        weights = weights_of_codes(scores, mask, guard_empty=guard)
        (weights[0, 0] * 3).backward()
        assert scores.grad.isfinite().all()
        torch.testing.assert_close(scores.grad[0], torch.tensor([0.75, -0.75, 0.0], dtype=torch.float64))
        assert scores.grad[1].eq(0).all()


def test_guarded_weights_have_no_nan_on_the_way_back_for_anomaly_detection_to_stop_at():
    mask = torch.tensor([[True, True, False], [False, False, False]])
    scores = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch tells that detection is on
        with torch.autograd.set_detect_anomaly(True):
            weights_of_codes(scores, mask, guard_empty=True)[0, 0].backward()
            with pytest.raises(RuntimeError, match="SoftmaxBackward0' returned nan"):
                weights_of_codes(scores, mask)[0, 0].backward()


def test_scores_of_the_padding_may_be_anything():
    mask = torch.tensor([[True, True, False], [False, False, False]])
    for guard, filling in itertools.product((True, False), (math.nan, math.inf, 1e30)):
        scores = torch.tensor([[1.0, 2.0, filling], [filling] * 3], requires_grad=True)
        weights = weights_of_codes(scores, mask, guard_empty=guard)
        assert weights[0, 1].item() == pytest.approx(1 / (1 + math.exp(-1)))
        weights[0, 1].backward()
        assert scores.grad.isfinite().all()


def test_a_score_that_is_not_a_number_is_not_hidden_by_the_guard():
    scores, mask = torch.tensor([[1.0, math.nan]]), torch.tensor([[True, True]])
    assert weights_of_codes(scores, mask, guard_empty=True).isnan().all()


# ------------------------------------------------------------------------------------------------- sixteen ways


def test_all_sixteen_ways_are_tried_once_and_the_first_has_all_masks():
    effects = effects_of_masks(RECORDS, torch.tensor([3, 2, 4]), torch.tensor([True, True, False]), n_codes=N_CODES)
    assert effects[0].off == ()
    assert {effect.off for effect in effects} == {
        chosen for n in range(5) for chosen in itertools.combinations(MASKS, n)
    }
    assert len(effects) == 16


def test_an_effect_is_the_difference_of_two_runs_done_by_hand():
    stop, observed = torch.tensor([3, 3, 2]), torch.tensor([True, True, False])
    batch = collate(RECORDS)

    def run(loss_mask, **switches):
        model = TextbookLSTM(N_CODES, 4, 5, seed=7, **switches)
        loss = clamp_and_log_nll(model(*batch), stop, observed, loss_mask)
        loss.backward()
        return loss.item(), [parameter.grad for parameter in model.parameters()]

    loss, slopes = run(None, mask_code_count=False, mask_hazard=False)
    whole_loss, whole_slopes = run(batch[2])
    effects = {e.off: e for e in effects_of_masks(RECORDS, stop, observed, n_codes=N_CODES, seed=7)}
    effect = effects["code count", "hazard", "loss"]
    assert effect.loss == pytest.approx(loss)
    assert effect.loss_change == pytest.approx(loss - whole_loss, abs=1e-6)
    largest = max((a - b).abs().max().item() for a, b in zip(slopes, whole_slopes, strict=True))
    assert effect.gradient_change == pytest.approx(largest, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_change_in_company_is_zero_for_a_right_model_and_not_for_one_without_masks(seed: int):
    records = random_records(seed)
    careless = double(seed=seed, mask_code_sum=False, mask_code_count=False, mask_hazard=False)
    for patient in range(len(records)):
        assert change_in_company(double(seed=seed), records, patient) < 1e-12
    assert change_in_company(careless, records, len(records) - 1) > 1e-3
    assert change_in_company(careless, records[:1], 0) == 0


def test_change_in_company_is_the_largest_of_all_visits():
    records = random_records(1)
    careless = double(seed=1, mask_code_sum=False, mask_code_count=False, mask_hazard=False)
    moved = (careless(*collate(records))[1, :4] - careless(*collate(records[1:2]))[0]).abs()
    assert moved.argmax() == 2  # neither the first nor the last, where a slip would find it by luck
    assert change_in_company(careless, records, 1) == moved[2].item()


def test_an_infinite_loss_is_not_hidden_by_the_clamp_if_it_is_taken_away():
    certain = torch.tensor([[0.0]], dtype=torch.float64)
    event = torch.tensor([1]), torch.tensor([True])
    assert clamp_and_log_nll(certain, *event).item() == pytest.approx(-math.log(1e-7))
    assert clamp_and_log_nll(certain, *event, None, None).item() == math.inf
