"""The claims of chapter 04, one test each, and the pieces of the page that could drift from the package."""

import itertools
import warnings
from collections import Counter
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from jaxtyping import Num
from torch import Tensor
from torch.nn import functional as F

from tests.oracles import Largest
from visitwise.cohort import Outcome
from visitwise.functional import hazard_nll, logits_from_hazard, survival
from visitwise.model import VisitEncoder
from visitwise.simulate import draw_outcome
from visitwise.textbook import TextbookLSTM
from visitwise.visits import Visits

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "explainer" / "04-broadcasting.md"
SIZES = list(itertools.product(range(1, 6), repeat=3))


class Forgetful(TextbookLSTM):
    """Without the one word."""

    def visit_vectors(self, codes: Tensor, code_mask: Tensor) -> Tensor:
        embedded = self.embedding(codes) * code_mask[..., None]
        return embedded.sum(2) / code_mask.sum(2).clamp(min=1)


def rule(b: int, v: int, e: int) -> bool:
    return (e == v or 1 in (e, v)) and (v == b or 1 in (v, b))


def pair(b: int, v: int, e: int) -> tuple[Tensor, Tensor]:
    """Sums, and counts of which no two are alike."""
    return torch.arange(1.0, 1 + b * v * e).reshape(b, v, e), torch.arange(2.0, 2 + b * v).reshape(b, v)


def outcome(b: int, v: int, e: int) -> str:
    sums, counts = pair(b, v, e)
    try:
        result = sums / counts
    except RuntimeError:
        return "raises"
    if result.shape != sums.shape:
        return "wrong shape"
    return "right" if torch.equal(result, sums / counts[..., None]) else "wrong numbers"


def batch(n_patients: int, n_visits: int, seed: int = 5, widest: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    random = np.random.default_rng(seed)
    n_codes = torch.from_numpy(random.integers(1, widest, (n_patients, n_visits)))
    code_mask = torch.arange(widest) < n_codes[..., None]
    codes = torch.from_numpy(random.integers(1, 20, code_mask.shape)) * code_mask
    return codes, code_mask, torch.ones(n_patients, n_visits, dtype=torch.bool)


def model(kind: type[TextbookLSTM], embedding: int) -> TextbookLSTM:
    return kind(20, embedding, 16).double()


def biased(p: Tensor, y: Tensor) -> Tensor:
    """A binary cross-entropy as one writes it by hand."""
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


# ------------------------------------------------------------------------------------------------------ the rule


@pytest.mark.parametrize("b", range(1, 7))
def test_a_division_runs_exactly_where_the_rule_says(b: int):
    for v, e in itertools.product(range(1, 7), repeat=2):
        sums, counts = pair(b, v, e)
        if rule(b, v, e):
            assert (sums / counts).shape == (b, max(b, v), max(v, e))
            assert np.divide(sums.numpy(), counts.numpy()).shape == (b, max(b, v), max(v, e))
        else:
            with pytest.raises(RuntimeError, match="must match the size"):
                sums / counts
            with pytest.raises(ValueError, match="could not be broadcast together"):
                np.divide(sums.numpy(), counts.numpy())


def test_each_entry_is_divided_by_the_count_that_stands_below_it_from_the_right():
    for b, v, e in (size for size in SIZES if rule(*size)):
        sums, counts = pair(b, v, e)
        result = sums / counts
        for place in itertools.product(*map(range, result.shape)):
            i, k, j = (0 if size == 1 else at for at, size in zip(place, sums.shape, strict=True))
            below = tuple(0 if size == 1 else at for at, size in zip(place[1:], counts.shape, strict=True))
            assert result[place].item() == pytest.approx(sums[i, k, j].item() / counts[below].item())


def test_of_125_sizes_84_raise_36_are_wrong_and_5_are_right():
    tally = Counter(outcome(*size) for size in SIZES)
    assert tally == {"raises": 84, "wrong shape": 28, "wrong numbers": 8, "right": 5}
    above_one = Counter(outcome(*size) for size in SIZES if min(size) > 1)
    assert above_one == {"raises": 60, "wrong numbers": 4}


def test_the_table_of_the_page_names_every_case_that_runs_once():
    kinds = {
        "right": [lambda b, v, e: b == v == 1],
        "wrong numbers": [lambda b, v, e: b == 1 < v == e, lambda b, v, e: b == v == e > 1],
        "wrong shape": [
            lambda b, v, e: v == 1 < b,
            lambda b, v, e: b == v > 1 == e,
            lambda b, v, e: b == e == 1 < v,
        ],
    }
    sizes_of = {name: [sum(where(*size) for size in SIZES) for where in tests] for name, tests in kinds.items()}
    assert sizes_of == {"right": [5], "wrong numbers": [4, 4], "wrong shape": [20, 4, 4]}
    for size in SIZES:
        said = [name for name, tests in kinds.items() for where in tests if where(*size)]
        assert said == ([] if outcome(*size) == "raises" else [outcome(*size)])


def test_three_different_sizes_above_one_always_raise():
    different = [size for size in SIZES if len(set(size)) == 3 and min(size) > 1]
    assert len(different) == 24
    assert {outcome(*size) for size in different} == {"raises"}


def test_the_error_names_the_entries_and_the_visits():
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2, 3, 4) / torch.ones(2, 3)
    assert str(caught.value) in PAGE.read_text(encoding="utf-8")
    assert "tensor a (4)" in str(caught.value)


def test_the_worked_example_is_2_3_4_5():
    sums, counts = torch.zeros(2, 3, 4), torch.ones(2, 3)
    sums[0, 0], counts[0, 0] = torch.tensor([10.0, 15.0, 20.0, 25.0]), 5
    assert (sums / counts[..., None])[0, 0].tolist() == [2, 3, 4, 5]


def test_the_options_of_the_prediction_come_from_the_mistakes_named():
    counts = torch.tensor([[5.0, 2.0, 4.0], [1.0, 3.0, 2.0], [2.0, 6.0, 1.0]])
    sums = torch.arange(10.0, 145.0, 5.0).reshape(3, 3, 3)
    assert sums[0, 0].tolist() == [10, 15, 20]
    assert (sums / counts)[0, 0].tolist() == [2, 7.5, 5]
    assert (sums / counts[..., None])[0, 0].tolist() == [2, 3, 4]
    assert (sums[0, 0] / counts[:, 0]).tolist() == [2, 15, 10]
    assert (sums / counts != sums / counts[..., None]).double().mean().item() == pytest.approx(7 / 9)


def test_equal_counts_hide_the_mistake_even_in_a_cube():
    sums, counts = torch.arange(27.0).reshape(3, 3, 3), torch.full((3, 3), 4.0)
    assert torch.equal(sums / counts, sums / counts[..., None])


# --------------------------------------------------------------------------------------------- what the model does


def test_visit_k_of_everybody_is_divided_by_the_counts_of_patient_k():
    sums, counts = pair(5, 5, 5)
    torch.testing.assert_close(sums / (sums / counts), counts.expand(5, 5, 5))


def test_without_keepdim_a_record_changes_the_hazards_of_all_who_share_the_batch():
    for kind, moved in ((TextbookLSTM, [5]), (Forgetful, list(range(8)))):
        net, inputs = model(kind, 8), batch(8, 8)
        other = [part.clone() for part in inputs]
        place = int(inputs[1][5, 2].sum())
        other[0][5, 2, place], other[1][5, 2, place] = 7, True
        change = (net(*other) - net(*inputs)).abs().amax(1)
        assert (change > 1e-9).nonzero()[:, 0].tolist() == moved
        assert change[[i for i in range(8) if i not in moved]].sum() == 0


def test_alone_a_patient_has_the_hazards_of_the_batch_only_with_keepdim():
    for kind, same in ((TextbookLSTM, True), (Forgetful, False)):
        net, inputs = model(kind, 8), batch(8, 8)
        apart = (net(*[part[:1] for part in inputs]) - net(*inputs)[:1]).abs().max()
        assert (apart < 1e-12) == same
        assert (apart > 1e-3) != same


def test_one_patient_fewer_than_visits_stops_with_an_error():
    with pytest.raises(RuntimeError, match="must match the size"):
        model(Forgetful, 8)(*[part[:7] for part in batch(8, 8)])


def test_at_their_first_visit_everybody_gets_as_many_visits_as_there_are_patients(unchecked: None):
    inputs = batch(8, 1)
    hazard = model(Forgetful, 4)(*inputs)
    right = model(TextbookLSTM, 4)(*inputs)
    assert right.shape == (8, 1)
    assert hazard.shape == (8, 8)
    after_first = torch.ones(8, dtype=torch.long), torch.arange(8) < 3
    assert hazard_nll(logits_from_hazard(hazard), *after_first).isfinite()
    assert (survival(logits_from_hazard(hazard))[:, -1] < right[:, 0].neg().add(1) - 0.1).all()


def test_checked_signatures_see_invented_visits_and_miss_the_cube():
    with pytest.raises(jaxtyping.TypeCheckError):
        model(Forgetful, 4)(*batch(8, 1))
    assert model(Forgetful, 8)(*batch(8, 8)).shape == (8, 8)


def losses_of_best_fit(features: Tensor, outcome: Outcome, new: Tensor) -> tuple[float, float, float]:
    """A linear model of the hazard logit: training loss before and after the fit, loss on new patients."""
    weights = torch.zeros(features.shape[-1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=40, line_search_fn="strong_wolfe")

    def nll(which: Tensor) -> Tensor:
        logits = features[which] @ weights[:-1] + weights[-1]
        return hazard_nll(logits, outcome.stop[which], outcome.observed[which])

    def step() -> Tensor:
        optimizer.zero_grad()
        value = nll(~new)
        value.backward()
        return value

    return optimizer.step(step).item(), nll(~new).item(), nll(new).item()


def test_fitted_without_keepdim_the_loss_falls_and_stays_above_the_right_one():
    """As in the notebook, with a model whose smallest loss is found exactly: 24 cubes of 16 by 16 by 16."""
    random = np.random.default_rng(1)
    n_codes = torch.from_numpy(random.integers(1, 9, (24, 16, 16)))
    mask = torch.arange(8) < n_codes[..., None]
    sums = (torch.from_numpy(random.normal(size=(24, 16, 16, 8, 16))) * mask[..., None]).sum(3)
    right = (sums / n_codes[..., None]).flatten(0, 1)
    wrong = torch.cat([cube / counts for cube, counts in zip(sums, n_codes, strict=True)])
    true_logits = right @ torch.from_numpy(random.normal(size=16)) - 2.5
    outcome = draw_outcome(torch.sigmoid(true_logits), dropout=0.01, seed=2)
    new = torch.arange(24 * 16) >= 18 * 16
    oracle = hazard_nll(true_logits[new], outcome.stop[new], outcome.observed[new]).item()
    (_, _, with_keepdim), (before, after, without) = (losses_of_best_fit(x, outcome, new) for x in (right, wrong))
    assert after < before - 0.5
    assert with_keepdim == pytest.approx(oracle, abs=0.1)
    assert without > with_keepdim + 0.2


def test_the_shipped_encoder_is_right_where_patients_visits_and_entries_are_as_many():
    random = np.random.default_rng(8)
    records = [[[f"c{c}" for c in random.integers(1, 9, random.integers(1, 5))] for _ in range(4)] for _ in range(4)]
    visits = Visits.from_lists(records, day=[[0.0, 30.0, 60.0, 90.0]] * 4)
    encoder = VisitEncoder(visits.schema, embedding=4, time_features=False).double()
    vectors = encoder.forward_dense(visits)[..., :4]
    for i, k in itertools.product(range(4), repeat=2):
        rows = [encoder.embedding.weight[visits.schema.codes.index(code)] for code in records[i][k]]
        torch.testing.assert_close(vectors[i, k], torch.stack(rows).mean(0))


# ------------------------------------------------------------------------------------------------- ways to write it


def test_five_ways_to_write_the_mean_are_equal_to_a_loop():
    random = np.random.default_rng(2)
    for b, v, e in [(2, 3, 4), (3, 3, 3), (1, 3, 3), (4, 1, 2), (1, 1, 1)]:
        n = torch.from_numpy(random.integers(1, 6, (b, v)))
        mask = torch.arange(5) < n[..., None]
        embedded = torch.from_numpy(random.normal(size=(b, v, 5, e)))
        sums = (embedded * mask[..., None]).sum(2)
        ways = [
            sums / mask.sum(2, keepdim=True),
            sums / n[..., None],
            sums / n.unsqueeze(-1),
            torch.einsum("bve,bv->bve", sums, 1 / n.double()),
            ((mask / n[..., None].double())[:, :, None] @ embedded)[:, :, 0],
        ]
        loop = torch.stack([torch.stack([embedded[i, k, : n[i, k]].mean(0) for k in range(v)]) for i in range(b)])
        for way in ways:
            torch.testing.assert_close(way, loop, rtol=0, atol=1e-14)
        assert all(torch.equal(way, ways[0]) for way in ways[:3])


def test_stretching_copies_nothing_and_the_product_is_written_out_in_full():
    weights = torch.ones(32, 20, 1)
    expanded = weights.expand(32, 20, 128)
    assert expanded.stride() == (20, 1, 0)
    assert expanded.data_ptr() == weights.data_ptr()
    assert expanded.untyped_storage().nbytes() == weights.untyped_storage().nbytes() == 640 * 4
    assert (expanded * torch.ones(32, 20, 128)).untyped_storage().nbytes() == 128 * 640 * 4


def test_einsum_and_matrix_products_never_hold_the_product():
    vectors, weights = torch.ones(32, 20, 128), torch.ones(32, 20)
    made = {}
    for name, way in {
        "product": lambda: (vectors * weights[..., None]).sum(1),
        "einsum": lambda: torch.einsum("bce,bc->be", vectors, weights),
        "matmul": lambda: (weights[:, None] @ vectors)[:, 0],
    }.items():
        with Largest() as largest:
            result = way()
        assert torch.equal(result, torch.full((32, 128), 20.0))
        made[name] = largest.numbers
    assert made == {"product": 32 * 20 * 128, "einsum": 32 * 128, "matmul": 32 * 128}


# ------------------------------------------------------------------------------------------------------ empty visits


def test_an_empty_visit_is_nan_and_spreads_to_later_states_and_to_the_gradient():
    sums, counts = torch.ones(3, 4, 2), torch.ones(3, 4)
    sums[1, 1], counts[1, 1] = 0, 0
    vectors = sums / counts[..., None]
    assert vectors[1, 1].isnan().all()
    lstm = torch.nn.LSTM(2, 3, batch_first=True)
    states = lstm(vectors)[0]
    assert states.isnan().any(-1).tolist() == [[False] * 4, [False, True, True, True], [False] * 4]
    first = states[:, 0].sum()
    first.backward()
    assert first.isfinite()
    assert lstm.weight_hh_l0.grad.isnan().any()


def test_the_clamp_changes_no_visit_that_has_codes():
    counts = torch.arange(0, 7)
    sums = counts * 3.0
    clamped = sums / counts.clamp(min=1)
    assert clamped.tolist() == [0, 3, 3, 3, 3, 3, 3]


def test_the_clamp_is_wrong_for_weights_that_sum_to_less_than_one():
    weights, values = torch.tensor([0.2, 0.3]), torch.tensor([10.0, 20.0])
    total = (weights * values).sum()
    assert (total / weights.sum()).item() == pytest.approx(16)
    assert (total / weights.sum().clamp(min=1)).item() == pytest.approx(8)
    assert values.min() > 8
    for sum_of_weights in (torch.tensor(0.0), torch.tensor(0.5), torch.tensor(2.0)):
        divisor = torch.where(sum_of_weights > 0, sum_of_weights, 1)
        assert divisor == (sum_of_weights or 1)


# ------------------------------------------------------------------------------------------------------------ labels

PREDICTED = torch.tensor([0.9, 0.2, 0.7], dtype=torch.float64)
LABEL = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)


def test_labels_in_a_column_are_compared_with_every_prediction():
    right = F.binary_cross_entropy(PREDICTED, LABEL).item()
    assert biased(PREDICTED, LABEL).item() == pytest.approx(right) == pytest.approx(0.2284, abs=5e-5)
    pairs = [F.binary_cross_entropy(PREDICTED[i], LABEL[j]).item() for i in range(3) for j in range(3)]
    column = biased(PREDICTED, LABEL[:, None]).item()
    assert column == pytest.approx(np.mean(pairs)) == pytest.approx(0.8747, abs=5e-5)


def test_labels_in_a_column_are_fitted_best_by_the_base_rate():
    random = np.random.default_rng(4)
    label = torch.from_numpy(random.random(20) < 0.3).double()
    logits = torch.from_numpy(random.normal(size=20)).requires_grad_()
    biased(torch.sigmoid(logits), label[:, None]).backward()
    torch.testing.assert_close(logits.grad, (torch.sigmoid(logits.detach()) - label.mean()) / 20)
    same = torch.full((20,), float(label.mean()), dtype=torch.float64)
    best = biased(same, label[:, None])
    for other in torch.from_numpy(random.uniform(0.01, 0.99, (50, 20))):
        assert biased(other, label[:, None]) > best
    assert biased(label.clamp(0.01, 0.99), label[:, None]) > best  # even the right answers cost more


def test_pytorch_is_silent_or_warns_or_raises_and_this_package_raises(unchecked: None):
    column = LABEL[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert biased(PREDICTED, column).isfinite()
        assert F.poisson_nll_loss(PREDICTED, column).isfinite()
    for loss in (F.mse_loss, F.l1_loss, F.huber_loss):
        with pytest.warns(UserWarning, match="different to the input size"):
            loss(PREDICTED, column)
    for loss in (F.binary_cross_entropy_with_logits, F.binary_cross_entropy):
        with pytest.raises(ValueError, match="size"):
            loss(PREDICTED, column)
    one_row = torch.logit(PREDICTED)[:, None], torch.ones(3, dtype=torch.long)
    with pytest.raises(ValueError, match="observed has shape") as refused:
        hazard_nll(*one_row, column.bool())
    assert str(refused.value) in PAGE.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"stop has shape \[3, 1\]; expected \[3\]"):
        hazard_nll(one_row[0], one_row[1][:, None], column[:, 0].bool())


# ---------------------------------------------------------------------------------------------------- where it breaks


def test_a_check_of_the_result_lets_8_of_36_through_and_one_of_the_counts_none():
    wrong = [size for size in SIZES if outcome(*size).startswith("wrong")]
    assert len(wrong) == 36
    assert sum(torch.Size((b, max(b, v), max(v, e))) == (b, v, e) for b, v, e in wrong) == 8
    expected = Num[Tensor, "patient visit 1"]
    assert not any(isinstance(torch.ones(b, v), expected) for b, v, _ in wrong)
    assert all(isinstance(torch.ones(b, v).unsqueeze(-1), expected) for b, v, _ in wrong)
