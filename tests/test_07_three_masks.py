"""The claims of chapter 07, one test each, and the pieces of the page that could drift from the package."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pycox.models.loss import nll_logistic_hazard
from torch import nn

from visitwise import check
from visitwise.check import masks
from visitwise.cohort import Cohort, Outcome
from visitwise.functional import hazard_nll
from visitwise.model import SurvivalRNN
from visitwise.textbook import (
    TextbookLSTM,
    change_in_company,
    clamp_and_log_nll,
    collate,
    effects_of_masks,
    weights_of_codes,
)
from visitwise.visits import Visits

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "explainer" / "07-three-masks.md"
NOTEBOOK = ROOT / "notebooks" / "07_three_masks.py"

ADA, BEN, CLEO = [[1, 2], [3], [2, 4]], [[5], [1, 6]], [[2], [1, 2, 3, 4, 5, 6], [3]]
RECORDS = [ADA, BEN, CLEO]
STOP, LATE = torch.tensor([3, 2, 3]), torch.tensor([3, 3, 3])
OBSERVED = torch.tensor([True, True, False])
NO_MASKS = {"mask_code_sum": False, "mask_code_count": False, "mask_hazard": False}
BEN_HAZARDS = torch.tensor([[0.15, 0.25, 0.4]], dtype=torch.float64)
BEN_MADE = torch.tensor([[True, True, False]])


@pytest.fixture(autouse=True)
def _float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def network(**settings) -> TextbookLSTM:
    return TextbookLSTM(7, 4, 5, **{"seed": 2, **settings})


def random_batch(seed: int):
    """Patients with at least one padded visit and one padded code among them, and valid labels."""
    random = np.random.default_rng(seed)
    lengths = [*random.integers(1, 5, 6).tolist(), 5, 1]
    records = [[random.integers(1, 7, random.integers(1, 5)).tolist() for _ in range(n)] for n in lengths]
    records[0][0] = [1, 2, 3, 4, 5]
    stop = torch.tensor([int(random.integers(1, n + 1)) for n in lengths])
    return records, stop, torch.from_numpy(random.random(8) < 0.6), torch.tensor(lengths)


def moved(effects):
    """Which of the sixteen ways move the loss, and which the slopes."""
    return (
        {frozenset(e.off) for e in effects if e.loss_change != 0},
        {frozenset(e.off) for e in effects if e.gradient_change != 0},
    )


def ways(effects, condition):
    return {frozenset(e.off) for e in effects if condition(set(e.off))}


def slopes_of(loss, model):
    return torch.autograd.grad(loss, list(model.parameters()))


# ------------------------------------------------------------------------------------------------- sixteen ways


@pytest.mark.parametrize("seed", range(8))
def test_with_valid_labels_two_masks_change_not_one_bit(seed: int):
    records, stop, observed, _ = random_batch(seed)
    batch = collate(records)
    losses, slopes = [], []
    for in_hazard in (True, False):
        for mask in (batch[2], None):
            model = network(seed=seed, mask_hazard=in_hazard)
            loss = clamp_and_log_nll(model(*batch), stop, observed, mask)
            losses.append(loss.item())
            slopes.append(torch.cat([part.flatten() for part in slopes_of(loss, model)]))
    assert losses == [losses[0]] * 4
    assert all(torch.equal(slope, slopes[0]) for slope in slopes)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bidirectional", [False, True])
def test_only_the_count_mask_moves_the_loss_of_the_usual_model(seed: int, bidirectional: bool):
    records, stop, observed, _ = random_batch(seed)
    effects = effects_of_masks(records, stop, observed, n_codes=7, seed=seed, bidirectional=bidirectional)
    expected = ways(effects, lambda off: "code count" in off)
    assert moved(effects) == (expected, expected)


@pytest.mark.parametrize("seed", range(4))
def test_without_padding_idx_the_sum_mask_matters_too_and_more(seed: int):
    records, stop, observed, _ = random_batch(seed)
    effects = effects_of_masks(records, stop, observed, n_codes=7, seed=seed, padding_idx=None)
    expected = ways(effects, lambda off: off & {"code count", "code sum"})
    assert moved(effects) == (expected, expected)
    by_off = {e.off: e for e in effects}
    assert by_off["code sum",].gradient_change > by_off["code count",].gradient_change


def test_a_padding_vector_that_somebody_wrote_to_needs_the_sum_mask():
    batch = collate(RECORDS)
    for mask in (True, False):
        fresh, loaded = network(mask_code_sum=mask), network(mask_code_sum=mask)
        with torch.no_grad():
            loaded.embedding.weight[0] = 7.0
        assert torch.equal(fresh(*batch), loaded(*batch)) is mask


@pytest.mark.parametrize("seed", range(4))
def test_a_label_past_the_last_visit_makes_the_loss_mask_matter(seed: int):
    records, stop, observed, length = random_batch(seed)
    stop[-1], observed[-1] = length[-1] + 1, True  # one visit in a box of five
    effects = effects_of_masks(records, stop, observed, n_codes=7, seed=seed)
    in_loss = ways(effects, lambda off: off & {"code count", "loss"})
    in_slopes = ways(effects, lambda off: "code count" in off or {"hazard", "loss"} <= off)
    assert moved(effects) == (in_loss, in_slopes)
    alone = {e.off: e for e in effects}["loss",]
    assert alone.loss_change == pytest.approx(-math.log(1e-7) / len(records))
    assert alone.gradient_change == 0


def test_the_numbers_of_the_page_are_those_of_its_three_patients():
    usual = {e.off: e for e in effects_of_masks(RECORDS, STOP, OBSERVED, n_codes=7, seed=2)}
    assert usual[()].loss == pytest.approx(1.8115, abs=5e-5)
    assert usual["code count",].loss_change == pytest.approx(0.0163, abs=5e-5)
    assert usual["code count",].gradient_change == pytest.approx(0.0341, abs=5e-5)
    no_index = {e.off: e for e in effects_of_masks(RECORDS, STOP, OBSERVED, n_codes=7, seed=2, padding_idx=None)}
    assert no_index["code sum",].gradient_change == pytest.approx(0.537, abs=5e-4)
    late = {e.off: e for e in effects_of_masks(RECORDS, LATE, OBSERVED, n_codes=7, seed=2)}
    assert late["loss",].loss_change == pytest.approx(-math.log(1e-7) / 3) == pytest.approx(5.373, abs=5e-4)
    assert late["hazard", "loss"].gradient_change > 0.1


# ------------------------------------------------------------------------------------------------------ the label


def test_a_late_label_turns_an_event_into_censoring():
    as_it_was = hazard_nll(BEN_HAZARDS[:, :2].logit(), torch.tensor([2]), torch.tensor([True]))
    censored = hazard_nll(BEN_HAZARDS[:, :2].logit(), torch.tensor([2]), torch.tensor([False]))
    logits = BEN_HAZARDS.logit().requires_grad_()
    late = clamp_and_log_nll(torch.sigmoid(logits) * BEN_MADE, torch.tensor([3]), torch.tensor([True]), BEN_MADE)
    torch.testing.assert_close(late, censored)
    assert late.item() == pytest.approx(-math.log(0.85 * 0.75)) == pytest.approx(0.4502, abs=5e-5)
    assert as_it_was.item() == pytest.approx(-math.log(0.85 * 0.25)) == pytest.approx(1.5488, abs=5e-5)
    late.backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.15, 0.25, 0.0]]))  # the slopes are up: hazards go down


def test_in_a_whole_network_a_late_label_has_the_loss_and_the_slopes_of_censoring():
    batch, model = collate(RECORDS), network()
    hazard = model(*batch)
    late = clamp_and_log_nll(hazard, LATE, OBSERVED, batch[2])
    censored = clamp_and_log_nll(hazard, STOP, torch.tensor([True, False, False]), batch[2])
    torch.testing.assert_close(late, censored, rtol=1e-14, atol=0)
    late_slopes = torch.autograd.grad(late, list(model.parameters()), retain_graph=True)
    for ours, theirs in zip(late_slopes, slopes_of(censored, model), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_without_the_loss_mask_a_late_event_costs_the_clamp_and_has_no_slope():
    logits = BEN_HAZARDS.logit().requires_grad_()
    late = clamp_and_log_nll(torch.sigmoid(logits) * BEN_MADE, torch.tensor([3]), torch.tensor([True]))
    assert late.item() == pytest.approx(0.4502 + 16.1181, abs=1e-4)
    late.backward()
    assert logits.grad[0, 2] == 0


def test_past_the_box_no_mask_is_needed_to_hide_an_event():
    ada = torch.tensor([[0.1, 0.2, 0.3]])
    hidden = clamp_and_log_nll(ada, torch.tensor([4]), torch.tensor([True]))
    assert hidden.item() == pytest.approx(-math.log(0.9 * 0.8 * 0.7)) == pytest.approx(0.685179, abs=5e-7)


def test_pycox_refuses_a_label_past_the_box_and_charges_one_in_the_padding():
    logits, event = torch.logit(torch.tensor([[0.1, 0.2, 0.3]])), torch.ones(1)
    with pytest.raises(ValueError, match="too small"):
        nll_logistic_hazard(logits, torch.tensor([3]), event)
    charged = nll_logistic_hazard(BEN_HAZARDS.logit(), torch.tensor([2]), event)
    assert charged.item() == pytest.approx(-math.log(0.85 * 0.75 * 0.4))


def cohort_visits() -> Visits:
    names = [[[str(code) for code in visit] for visit in visits] for visits in RECORDS]
    return Visits.from_lists(names, day=[[0, 30, 60], [0, 30], [0, 30, 60]])


def test_the_package_refuses_a_label_past_the_last_visit_and_names_the_patient():
    visits = cohort_visits()
    model = SurvivalRNN(visits.schema, embedding=4, hidden=5)
    with pytest.raises(ValueError, match="patient at index 1, row 2, is nan"):
        hazard_nll(model(visits), LATE, OBSERVED)
    with pytest.raises(ValueError, match="patient at index 1, past the last visit; expected at most 3"):
        hazard_nll(model(visits), torch.tensor([3, 4, 3]), OBSERVED)
    with pytest.raises(ValueError, match="patient 1 stops at row 3") as refusal:
        Cohort(visits, Outcome.of(LATE, OBSERVED))
    assert str(refusal.value) in " ".join(PAGE.read_text(encoding="utf-8").split())


# ----------------------------------------------------------------------------------------------- tests that can fail


@pytest.mark.parametrize("seed", range(4))
def test_a_model_without_masks_passes_a_test_of_shapes_and_fails_the_one_of_batch_mates(seed: int):
    records, _, _, length = random_batch(seed)
    careless, careful = network(seed=seed, **NO_MASKS), network(seed=seed)
    hazard = careless(*collate(records))
    assert hazard.shape == (len(records), int(length.max()))
    assert not hazard.isnan().any()
    last = len(records) - 1  # one visit
    assert change_in_company(careless, records, last) > 1e-3
    assert change_in_company(network(seed=seed, packed=True, **NO_MASKS), records, last) > 1e-3
    assert change_in_company(careful, records, last) < 1e-12


def test_the_model_of_exercise_1_tells_each_mistake_from_the_right_answer():
    assert "as_careless = TextbookLSTM(7, 4, 5, seed=6, **no_masks)" in NOTEBOOK.read_text(encoding="utf-8")
    model = network(seed=6, **NO_MASKS)
    truth = change_in_company(model, RECORDS, 1)
    wrong = check.values(masks.COMPANY, model(*collate([BEN]))[0], model(*collate(RECORDS)))
    assert check.near(truth, truth, mistakes=wrong, tolerance=0.00002).right
    for sentence, value in wrong.items():
        answer = check.near(value, truth, mistakes=wrong, tolerance=0.00002)
        assert not answer.right
        assert sentence in str(answer)


def test_no_mask_keeps_the_padding_from_a_pass_that_begins_in_it():
    assert change_in_company(network(bidirectional=True), RECORDS, 1) == pytest.approx(0.0031, abs=5e-5)
    assert change_in_company(network(bidirectional=True, packed=True), RECORDS, 1) < 1e-12
    assert change_in_company(network(**NO_MASKS), RECORDS, 1) == pytest.approx(0.0149, abs=5e-5)
    assert change_in_company(network(), RECORDS, 1) < 1e-12


# -------------------------------------------------------------------------------------------------- where it breaks


def test_the_mask_on_the_hazards_is_what_needs_the_clamp():
    batch = collate(RECORDS)
    masked = clamp_and_log_nll(network()(*batch), STOP, OBSERVED, batch[2], eps=None)
    plain = clamp_and_log_nll(network(mask_hazard=False)(*batch), STOP, OBSERVED, batch[2], eps=None)
    assert masked.isnan()
    assert plain.item() == clamp_and_log_nll(network()(*batch), STOP, OBSERVED, batch[2]).item()


def test_where_helps_before_the_logarithm_and_not_after_it():
    event = torch.tensor([False, True, False])
    found = []
    for cost in (
        lambda h: (h.log() * event).sum(),
        lambda h: torch.where(event, h.log(), 0).sum(),
        lambda h: torch.where(event, h, 1).log().sum(),
    ):
        h = torch.tensor([0.15, 0.25, 0.0], requires_grad=True)
        value = cost(h)
        value.backward()
        found.append((bool(value.isnan()), bool(h.grad.isnan().any())))
    assert found == [(True, True), (False, True), (False, False)]


@pytest.mark.parametrize("pooling", ["attention", "max"])
def test_where_saves_the_loss_and_not_the_slopes(pooling: str):
    batch = collate(RECORDS)
    for mask_hazard, loss_is_nan in ((True, True), (False, False)):
        model = network(pooling=pooling, mask_hazard=mask_hazard)
        hazard = model(*batch)
        hazard = hazard if mask_hazard else hazard.where(batch[2], 0)
        loss = clamp_and_log_nll(hazard, STOP, OBSERVED, batch[2])
        assert bool(loss.isnan()) is loss_is_nan
        assert all(slope.isnan().any() for slope in slopes_of(loss, model))


@pytest.mark.parametrize("pooling", ["attention", "max"])
def test_one_step_after_a_fine_loss_every_hazard_is_nan(pooling: str):
    batch = collate(RECORDS)
    model = network(pooling=pooling, mask_hazard=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    clamp_and_log_nll(model(*batch).where(batch[2], 0), STOP, OBSERVED, batch[2]).backward()
    optimizer.step()
    assert model(*batch).isnan().all()


@pytest.mark.parametrize("pooling", ["attention", "max"])
def test_packing_hides_padded_visits_and_not_a_real_one_without_codes(pooling: str):
    uncoded = [ADA, [[5], []], CLEO]
    for records, guard, fine in (
        (RECORDS, False, True),
        (uncoded, False, False),
        (uncoded, True, True),
        (RECORDS, True, True),
    ):
        batch = collate(records)
        model = network(pooling=pooling, packed=not guard, guard_empty=guard)
        loss = clamp_and_log_nll(model(*batch), STOP, OBSERVED, batch[2])
        assert bool(loss.isfinite()) is fine
        assert all(bool(slope.isfinite().all()) for slope in slopes_of(loss, model)) is fine


def test_libraries_differ_on_a_softmax_over_nothing():
    nothing = torch.zeros(1, 3, dtype=torch.bool)
    assert torch.softmax(torch.zeros(3).masked_fill(~nothing[0], -torch.inf), -1).isnan().all()
    assert weights_of_codes(torch.zeros(1, 3), nothing).isnan().all()
    queries = torch.ones(1, 3, 4)
    attention = nn.MultiheadAttention(4, 1, batch_first=True)
    assert attention(queries, queries, queries, key_padding_mask=~nothing)[0].isnan().all()
    blind, _ = attention(queries, queries, queries, key_padding_mask=~nothing, need_weights=False)
    assert blind.isfinite().all()
    mask = nothing[:, None, :].expand(1, 3, 3)
    assert nn.functional.scaled_dot_product_attention(queries, queries, queries, attn_mask=mask).eq(0).all()
    assert nn.functional.cross_entropy(torch.zeros(2, 3), torch.tensor([-100, -100])).isnan()


# ------------------------------------------------------------------------------------------- where no mask is needed


def test_the_package_needs_no_mask():
    visits = cohort_visits()
    model = SurvivalRNN(visits.schema, embedding=4, hidden=5)
    logits = model(visits)
    assert len(visits.codes) == sum(len(visit) for record in RECORDS for visit in record)
    assert logits.isnan().tolist() == [[False] * 3, [False, False, True], [False] * 3]
    assert all(slope.isfinite().all() for slope in slopes_of(hazard_nll(logits, STOP, OBSERVED), model))
    for patient in range(3):
        alone = model(visits.select(torch.tensor([patient])))[0]
        assert (alone - logits[patient, : len(alone)]).abs().max() < 1e-12
