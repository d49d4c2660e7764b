"""The likelihood and its relatives, against slow loops, enumeration, closed forms and torch's own gradients."""

import math

import pytest
import torch
from torch import Tensor

from tests import oracles
from visitwise import functional as F

EXAMPLE = [0.1, 0.2, 0.3]
NAN = float("nan")


def logits_of(hazards: list[float], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.logit(torch.tensor(hazards, dtype=torch.float64)).to(dtype)


def whole(*values: int) -> Tensor:
    return torch.tensor(values)


def flags(*values: bool) -> Tensor:
    return torch.tensor(values)


def random_case(
    n_patients: int = 9, width: int = 6, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Logits, stop, observed, start, censored exposure; both kinds of patient, every start and stop that can be."""
    draw = torch.Generator().manual_seed(seed)
    logits = (torch.randn(n_patients, width, generator=draw, dtype=torch.float64) * 3).to(dtype)
    stop = torch.randint(1, width + 1, (n_patients,), generator=draw)
    start = (torch.rand(n_patients, generator=draw) * stop).long()
    observed = torch.arange(n_patients) % 2 == 0
    return logits, stop, observed, start, torch.rand(n_patients, generator=draw, dtype=torch.float64).to(dtype)


def by_hand(logits: Tensor, stop: Tensor, observed: Tensor, start: Tensor, exposure: Tensor) -> list[float]:
    rows = zip(
        logits.double().tolist(), stop.tolist(), observed.tolist(), start.tolist(), exposure.tolist(), strict=True
    )
    return [oracles.nll(*row) for row in rows]


# ------------------------------------------------------------------------------------------------------- the anchors


@pytest.mark.parametrize(
    ("hazards", "observed", "expected"),
    [(EXAMPLE, True, 1.532477), ([0.15, 0.25], True, 1.548813), (EXAMPLE, False, 0.685179)],
)
def test_worked_example_has_the_published_loss(hazards: list[float], observed: bool, expected: float) -> None:
    loss = F.hazard_nll(logits_of(hazards), torch.tensor(len(hazards)), torch.tensor(observed))
    assert loss.item() == pytest.approx(expected, abs=5e-7)


def test_mean_of_the_two_worked_patients_ignores_the_padding() -> None:
    logits = torch.stack([logits_of(EXAMPLE), torch.cat([logits_of([0.15, 0.25]), torch.tensor([NAN])])])
    loss = F.hazard_nll(logits, whole(3, 2), flags(True, True))
    assert loss.item() == pytest.approx(1.540645, abs=5e-7)


def test_censored_patient_is_credited_with_the_last_row() -> None:
    """Neither without the last interval, as the notes' code has it, nor the -0.828 of their prose."""
    logits, stop, observed = logits_of(EXAMPLE)[None], whole(3), flags(False)
    loss = F.hazard_nll(logits, stop, observed).item()
    assert loss == pytest.approx(-math.log(0.9 * 0.8 * 0.7))
    assert abs(loss - 0.328504) > 0.3
    assert abs(loss - 0.828) > 0.1
    assert F.hazard_nll(logits, stop, observed, censored_exposure=0.0).item() == pytest.approx(0.328504, abs=5e-7)


# ------------------------------------------------------------------------------------------- enumeration and oracles


@pytest.mark.parametrize("width", [1, 2, 3, 6])
@pytest.mark.parametrize("late", [0, 1])
def test_loss_is_minus_log_of_a_probability_that_sums_to_one_over_all_outcomes(width: int, late: int) -> None:
    start = min(late, width - 1)
    hazards = torch.rand(width, generator=torch.Generator().manual_seed(width), dtype=torch.float64).tolist()
    total = 0.0
    for stop, observed in oracles.possible_outcomes(width, start):
        loss = F.hazard_nll(logits_of(hazards), torch.tensor(stop), torch.tensor(observed), torch.tensor(start)).item()
        assert loss == pytest.approx(-math.log(oracles.probability_of(hazards, stop, observed, start)), rel=1e-12)
        total += math.exp(-loss)
    assert total == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_loss_equals_a_loop_over_patients_and_visits(seed: int) -> None:
    case = random_case(seed=seed)
    loss = F.hazard_nll(*case, reduction="none")
    assert loss.tolist() == pytest.approx(by_hand(*case), rel=1e-8)


@pytest.mark.parametrize("exposure", [0.0, 0.5, 1.0])
def test_exposure_as_one_number_is_that_number_for_every_patient(exposure: float) -> None:
    logits, stop, observed, start, _ = random_case()
    expected = by_hand(logits, stop, observed, start, torch.full(stop.shape, exposure))
    assert F.hazard_nll(logits, stop, observed, start, exposure, "none").tolist() == pytest.approx(expected, rel=1e-8)


def test_exposure_changes_only_censored_patients() -> None:
    logits, stop, observed, start, _ = random_case()
    differs = F.hazard_nll(logits, stop, observed, start, 0.2, "none") != F.hazard_nll(
        logits, stop, observed, start, 0.9, "none"
    )
    assert torch.equal(differs, ~observed)


@pytest.mark.parametrize("observed", [True, False])
@pytest.mark.parametrize("stop", [1, 3])
def test_event_or_censoring_at_the_first_and_at_the_last_visit(observed: bool, stop: int) -> None:
    loss = F.hazard_nll(logits_of(EXAMPLE)[None], whole(stop), flags(observed)).item()
    assert loss == pytest.approx(-math.log(oracles.probability_of(EXAMPLE, stop, observed)))


@pytest.mark.parametrize(("observed", "expected"), [(True, -math.log(0.3)), (False, -math.log(0.7))])
def test_one_patient_with_one_visit(observed: bool, expected: float) -> None:
    assert F.hazard_nll(logits_of([0.3])[None], whole(1), flags(observed)).item() == pytest.approx(expected)


@pytest.mark.parametrize("observed", [True, False])
def test_batch_of_only_events_or_only_censored_still_teaches(observed: bool) -> None:
    logits, stop, _, start, exposure = random_case()
    logits.requires_grad_()
    all_alike = torch.full(stop.shape, observed)
    loss = F.hazard_nll(logits, stop, all_alike, start, exposure, "sum")
    assert loss.item() == pytest.approx(sum(by_hand(logits.detach(), stop, all_alike, start, exposure)), rel=1e-8)
    loss.backward()
    last = logits.grad[torch.arange(len(stop)), stop - 1]
    assert bool((last < 0).all() if observed else (last > 0).all())


def test_delayed_entry_drops_the_rows_before_start() -> None:
    logits = logits_of([0.9, 0.8, *EXAMPLE])
    late = F.hazard_nll(logits[None], whole(5), flags(True), start=whole(2))
    assert late.item() == pytest.approx(1.532477, abs=5e-7)
    assert late.item() < F.hazard_nll(logits[None], whole(5), flags(True)).item() - 2


def test_reductions_are_one_another_summed_and_divided() -> None:
    case = random_case()
    each, total, mean = (F.hazard_nll(*case, reduction=kind) for kind in ("none", "sum", "mean"))
    assert each.shape == (9,)
    assert total.item() == pytest.approx(each.sum().item())
    assert mean.item() == pytest.approx(each.sum().item() / 9)
    assert torch.equal(F.hazard_nll(*case), mean)


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64])
def test_any_whole_number_type_will_do_for_stop_and_start(dtype: torch.dtype) -> None:
    logits, stop, observed, start, exposure = random_case()
    loss = F.hazard_nll(logits, stop.to(dtype), observed, start.to(dtype), exposure, "none")
    assert torch.equal(loss, F.hazard_nll(logits, stop, observed, start, exposure, "none"))
    rows = F.person_period(stop.to(dtype), observed, start.to(dtype))
    assert rows.visit.tolist() == F.person_period(stop, observed, start).visit.tolist()


# ---------------------------------------------------------------------------------------------- gradient and padding


@pytest.mark.parametrize("seed", range(3))
def test_gradient_at_each_visit_is_hazard_minus_what_happened(seed: int) -> None:
    logits, stop, observed, start, exposure = random_case(seed=seed)
    logits.requires_grad_()
    F.hazard_nll(logits, stop, observed, start, exposure, "sum").backward()
    for i in range(len(stop)):
        case = (logits[i].tolist(), int(stop[i]), bool(observed[i]), int(start[i]), float(exposure[i]))
        assert logits.grad[i].tolist() == pytest.approx(oracles.nll_gradient(*case), rel=1e-8, abs=1e-15)


def test_gradient_of_the_worked_example_can_be_read_off_its_hazards() -> None:
    logits = logits_of(EXAMPLE)[None].requires_grad_()
    F.hazard_nll(logits, whole(3), flags(True)).backward()
    assert logits.grad[0].tolist() == pytest.approx([0.1, 0.2, 0.3 - 1])


@pytest.mark.parametrize("junk", [NAN, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_stands_in_the_padding_touches_neither_loss_nor_gradient(junk: float, dtype: torch.dtype) -> None:
    """Bit for bit in a box of the same width; a wider box may round differently, vector registers end elsewhere."""
    case = random_case(dtype=dtype)
    clean, outcome = torch.cat([case[0], torch.zeros(9, 3, dtype=dtype)], 1), case[1:]
    visit = torch.arange(9)
    outside = (visit < outcome[2][:, None]) | (visit >= outcome[0][:, None])
    dirty = clean.masked_fill(outside, junk).requires_grad_()
    narrow = case[0].clone().requires_grad_()
    clean.requires_grad_()
    losses = [F.hazard_nll(logits, *outcome, reduction="none") for logits in (clean, dirty, narrow)]
    for loss in losses:
        loss.sum().backward()
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(dirty.grad, clean.grad)
    torch.testing.assert_close(losses[2], losses[1], rtol=1e-6, atol=0)
    torch.testing.assert_close(narrow.grad, dirty.grad[:, :6], rtol=1e-6, atol=0)
    assert bool((clean.grad[outside] == 0).all())
    assert bool((clean.grad[~outside] != 0).all())


def test_nan_in_flat_rows_that_do_not_count_touches_neither_loss_nor_gradient() -> None:
    logits = torch.tensor([NAN, -1.0, 0.5, NAN, 2.0, NAN], requires_grad=True)
    loss = F.hazard_nll_flat(logits, whole(0, 4, 6), whole(3, 1), flags(True, False), whole(1, 0), reduction="sum")
    loss.backward()
    assert loss.item() == pytest.approx(oracles.nll([-1.0, 0.5], 2, True) + oracles.nll([2.0], 1, False), rel=1e-6)
    h = [1 / (1 + math.exp(-z)) for z in (-1.0, 0.5, 2.0)]
    assert logits.grad.tolist() == pytest.approx([0, h[0], h[1] - 1, 0, h[2], 0])


def test_loss_passes_gradcheck_in_every_argument_that_can_learn() -> None:
    logits, stop, observed, start, exposure = random_case(4, 5)
    exposure = exposure * 0.8 + 0.1
    for values in (logits, exposure):
        values.requires_grad_()
    assert torch.autograd.gradcheck(lambda z, e: F.hazard_nll(z, stop, observed, start, e), (logits, exposure))
    assert torch.autograd.gradgradcheck(lambda z: F.hazard_nll(z, stop, observed, start), (logits,))


@pytest.mark.parametrize("in_part", [False, True], ids=["whole intervals", "intervals in part"])
@pytest.mark.parametrize("with_start", [False, True], ids=["from 0", "from start"])
@pytest.mark.parametrize("patients", [4, 40], ids=["fewer patients than visits", "more"])
def test_fast_loss_is_its_formula_in_value_slope_and_slope_of_the_slope(
    patients: int, with_start: bool, in_part: bool
) -> None:
    logits, stop, observed, start, exposure = random_case(patients, 9)
    start, exposure = start if with_start else None, exposure if in_part else torch.ones(patients)
    logits[0], logits[1], logits[2] = 800.0, -800.0, 40.0  # beyond what exp can hold, and what softplus rounds
    rows = torch.arange(9)
    counted = (rows < stop[:, None]) & (rows >= (0 if start is None else start[:, None]))
    found = []
    for loss in (lambda z: F.hazard_nll(z, stop, observed, start, exposure, "none"),
                 lambda z: F._nll(z, start, stop, observed, exposure)):  # fmt: skip
        z = logits.masked_fill(~counted, NAN).requires_grad_()
        value = loss(z)
        weights = torch.linspace(-1, 2, patients, dtype=z.dtype)
        (slope,) = torch.autograd.grad(value, z, weights, retain_graph=True)
        (kept,) = torch.autograd.grad(value, z, weights, create_graph=True)
        assert torch.equal(slope.sign(), kept.sign())
        (bend,) = torch.autograd.grad((kept * torch.cos(rows)).sum(), z)
        found.append((value, slope, kept, bend))
    for fast, formula in zip(*found, strict=True):
        torch.testing.assert_close(fast, formula, rtol=1e-14, atol=1e-300)


def test_an_exposure_of_one_for_each_patient_is_that_of_one_for_all_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, stop, observed, start, _ = random_case(30, 5)
    for_all = F.hazard_nll(logits, stop, observed, start)
    monkeypatch.setattr(F, "_nll", None)  # the fast way alone
    assert torch.equal(F.hazard_nll(logits, stop, observed, start, torch.ones(30)), for_all)


@pytest.mark.parametrize("wrong", [NAN, math.inf, -math.inf])
@pytest.mark.parametrize("seen", [True, False], ids=["event", "censored"])
@pytest.mark.parametrize("row", [0, 3], ids=["a row before the last", "the last row"])
@pytest.mark.parametrize("patients", [2, 40], ids=["fewer patients than visits", "more"])
@pytest.mark.parametrize("exposure", [1.0, 0.5])
def test_a_counted_logit_that_is_not_finite_is_refused(
    exposure: float, patients: int, row: int, seen: bool, wrong: float
) -> None:
    logits = torch.zeros(patients, 6)
    logits[1, row] = wrong
    stop, observed = torch.full((patients,), 4), torch.full((patients,), seen)
    with pytest.raises(ValueError, match=rf"patient at index 1, row {row}, is {wrong}; expected a finite number"):
        F.hazard_nll(logits, stop, observed, censored_exposure=exposure)


def test_flat_loss_passes_gradcheck() -> None:
    logits = random_case(1, 7)[0][0].requires_grad_()
    outcome = whole(0, 3, 7), whole(2, 4), flags(True, False), whole(0, 1)
    assert torch.autograd.gradcheck(lambda z: F.hazard_nll_flat(z, *outcome, reduction="none"), (logits,))


@pytest.mark.parametrize(
    "function",
    [F.hazard, F.survival, F.log_survival, F.event_probability, F.cumulative_hazard],
    ids=lambda f: f.__name__,
)
def test_curves_pass_gradcheck(function: object) -> None:
    assert torch.autograd.gradcheck(function, (random_case(3, 5)[0].requires_grad_(),))


@pytest.mark.parametrize("name", ["hazard", "survival", "event_probability", "cumulative_hazard"])
def test_inverses_pass_gradcheck(name: str) -> None:
    values = getattr(F, name)(random_case(3, 4)[0] / 3).requires_grad_()
    assert torch.autograd.gradcheck(getattr(F, f"logits_from_{name}"), (values,))


# --------------------------------------------------------------------------------------------- flat, trailing axes


@pytest.mark.parametrize("seed", range(3))
def test_flat_loss_equals_padded_loss_in_value_and_gradient(seed: int) -> None:
    logits, stop, observed, start, exposure = random_case(seed=seed)
    length = (stop + torch.arange(9) % 3).clamp(max=6)
    real = torch.arange(6) < length[:, None]
    offsets = torch.cat([whole(0), length.cumsum(0)])
    flat, padded = logits[real].requires_grad_(), logits.masked_fill(~real, NAN).requires_grad_()
    for reduction in ("none", "sum", "mean"):
        ours = F.hazard_nll_flat(flat, offsets, stop, observed, start, exposure, reduction)
        theirs = F.hazard_nll(padded, stop, observed, start, exposure, reduction)
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    ours.backward()
    theirs.backward()
    torch.testing.assert_close(flat.grad, padded.grad[real], rtol=1e-12, atol=0)


def test_flat_loss_takes_offsets_and_outcome_as_int32() -> None:
    logits, offsets, stop, observed = random_case(1, 5)[0][0], whole(0, 3, 5), whole(3, 2), flags(True, False)
    small = F.hazard_nll_flat(logits, offsets.int(), stop.int(), observed, whole(1, 0).int())
    assert torch.equal(small, F.hazard_nll_flat(logits, offsets, stop, observed, whole(1, 0)))


def test_axes_before_the_last_equal_a_loop_over_them() -> None:
    """`[patient, visit, interval]`: several future intervals at each visit, each with its own stop."""
    draw = torch.Generator().manual_seed(3)
    logits = torch.randn(4, 5, 3, generator=draw, dtype=torch.float64)
    stop = torch.randint(1, 4, (4, 5), generator=draw)
    start = (torch.rand(4, 5, generator=draw) * stop).long()
    observed = torch.rand(4, 5, generator=draw) < 0.5
    exposure = torch.rand(4, 5, generator=draw, dtype=torch.float64)
    boxed = F.hazard_nll(logits, stop, observed, start, exposure, "none")
    assert boxed.shape == (4, 5)
    for i in range(4):
        for k in range(5):
            case = logits[i, k].tolist(), int(stop[i, k]), bool(observed[i, k]), int(start[i, k]), float(exposure[i, k])
            assert boxed[i, k].item() == pytest.approx(oracles.nll(*case), rel=1e-10)
    assert F.hazard_nll(logits, stop, observed, start, exposure).item() == pytest.approx(boxed.mean().item())


@pytest.mark.parametrize("name", ["hazard", "survival", "log_survival", "event_probability", "cumulative_hazard"])
def test_curves_of_a_box_equal_a_loop_over_it(name: str) -> None:
    box = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(3))
    curves = getattr(F, name)(box)
    for i in range(4):
        for k in range(5):
            torch.testing.assert_close(curves[i, k], getattr(F, name)(box[i, k]), rtol=1e-6, atol=0)


# ------------------------------------------------------------------------------------ hazard, survival, event, inverse


@pytest.mark.parametrize("name", ["survival", "event_probability", "cumulative_hazard"])
def test_curves_equal_a_running_product(name: str) -> None:
    hazards = torch.rand(12, generator=torch.Generator().manual_seed(1), dtype=torch.float64).tolist()
    ours = getattr(F, name)(logits_of(hazards))
    assert ours.tolist() == pytest.approx(getattr(oracles, name)(hazards), rel=1e-11)


@pytest.mark.parametrize("name", ["hazard", "survival", "event_probability", "cumulative_hazard"])
@pytest.mark.parametrize("shape", [(1,), (8,), (4, 8), (2, 3, 8)])
def test_inverse_undoes_the_function_and_the_function_its_inverse(name: str, shape: tuple[int, ...]) -> None:
    function, inverse = getattr(F, name), getattr(F, f"logits_from_{name}")
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    values = function(logits)
    torch.testing.assert_close(inverse(values), logits, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(function(inverse(values)), values, rtol=1e-10, atol=1e-13)


def test_everything_that_can_happen_sums_to_one() -> None:
    logits = random_case()[0]
    total = F.event_probability(logits).cumsum(-1) + F.survival(logits)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_certain_event_ends_the_curve_without_nan() -> None:
    logits = F.logits_from_hazard(torch.tensor([0.1, 1.0, 0.5, 0.0]))
    assert F.event_probability(logits).tolist() == pytest.approx([0.1, 0.9, 0.0, 0.0])
    assert F.survival(logits).tolist() == pytest.approx([0.9, 0.0, 0.0, 0.0])


def test_certain_survival_and_certain_event_come_back_from_their_curves() -> None:
    certain = [0.0, 0.25, 1.0]
    for name in ("survival", "event_probability", "cumulative_hazard"):
        values = getattr(F, name)(logits_of(certain))
        assert F.hazard(getattr(F, f"logits_from_{name}")(values)).tolist() == pytest.approx(certain)


def test_event_probabilities_that_pass_1_by_rounding_mean_a_certain_event() -> None:
    values = torch.tensor([0.5, 0.5000001])
    assert 1 - values.cumsum(0)[-1].item() < 0
    assert F.logits_from_event_probability(values)[-1].item() == math.inf


def test_cumulative_hazard_of_any_size_has_a_finite_logit() -> None:
    """`log(exp(step) - 1)` would overflow from 89 on."""
    steep = torch.tensor([100.0, 1100.0])
    assert F.logits_from_cumulative_hazard(steep).tolist() == pytest.approx([100.0, 1000.0])


def test_event_probability_keeps_its_digits_beside_a_near_certain_event() -> None:
    logits = torch.tensor([-2.0, 1000.0])
    expected = 1 - 1 / (1 + math.exp(2.0))
    assert F.event_probability(logits)[1].item() == pytest.approx(expected, rel=1e-6)


def test_log_survival_outlives_survival() -> None:
    logits = torch.full((400,), 2.0)
    assert F.survival(logits)[-1].item() == 0
    assert F.log_survival(logits)[-1].item() == pytest.approx(-400 * math.log1p(math.exp(2.0)), rel=1e-5)


def test_cumulative_hazard_is_not_the_sum_of_the_hazards() -> None:
    logits = logits_of([0.3] * 5)
    assert torch.exp(-F.cumulative_hazard(logits))[-1].item() == pytest.approx(0.7**5)
    assert math.exp(-F.hazard(logits).sum().item()) == pytest.approx(0.223, abs=5e-4)


# ------------------------------------------------------------------------------------------------------------- tails


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("logit", [-80.0, -40.0, -16.2, -6.5, 0.0, 6.5, 16.2, 40.0, 80.0])
@pytest.mark.parametrize("observed", [True, False])
def test_both_tails_are_exact_in_value_and_gradient(dtype: torch.dtype, logit: float, observed: bool) -> None:
    """No dead zone: the clamped loss stops learning beyond logit 16, a bfloat16 sigmoid is 1 from 6.25 on."""
    logits = torch.tensor([[0.25, logit]], dtype=dtype).requires_grad_()
    given = logits.tolist()[0]
    loss = F.hazard_nll(logits, whole(2), flags(observed))
    loss.backward()
    expected, slope = oracles.nll(given, 2, observed), oracles.nll_gradient(given, 2, observed)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    precision = max(torch.finfo(dtype).eps, 1e-8)
    tiny = {torch.float16: 6e-8, torch.bfloat16: 1e-37}.get(dtype, 1e-37)
    assert logits.grad.tolist()[0] == pytest.approx(slope, rel=precision, abs=tiny)


@pytest.mark.parametrize(("logit", "observed"), [(40.0, True), (-40.0, False)])
def test_confident_and_right_keeps_its_small_loss(logit: float, observed: bool) -> None:
    """`softplus(z) - z` would round it to 0, `log(1 - sigmoid(z))` too."""
    for dtype in (torch.float32, torch.bfloat16):
        loss = F.hazard_nll(torch.tensor([[logit]], dtype=dtype), whole(1), flags(observed)).item()
        assert loss == pytest.approx(math.exp(-40.0), rel=1e-5)


@pytest.mark.parametrize("logit", [-40.0, 40.0])
def test_small_hazards_and_small_survival_keep_their_digits(logit: float) -> None:
    small = math.exp(-40.0)
    for dtype in (torch.float32, torch.bfloat16):
        logits = torch.tensor([logit], dtype=dtype)
        tail = F.hazard(logits) if logit < 0 else F.survival(logits)
        assert tail.item() == pytest.approx(small, rel=1e-5)
    assert F.cumulative_hazard(torch.tensor([-40.0])).item() == pytest.approx(small, rel=1e-5)
    assert F.logits_from_cumulative_hazard(torch.tensor([small])).item() == pytest.approx(-40.0, rel=1e-6)


@pytest.mark.parametrize("name", ["hazard", "survival", "log_survival", "event_probability", "cumulative_hazard"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_before_anything_is_computed(name: str, dtype: torch.dtype) -> None:
    logits = (torch.randn(3, 7, generator=torch.Generator().manual_seed(0)) * 4).to(dtype)
    assert torch.equal(getattr(F, name)(logits), getattr(F, name)(logits.float()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_loss_of_half_precision_is_the_loss_of_the_same_logits_in_single(dtype: torch.dtype) -> None:
    logits, stop, observed, start, exposure = random_case()
    narrow = logits.to(dtype)
    outcome = stop, observed, start, exposure.float()
    assert torch.equal(F.hazard_nll(narrow, *outcome), F.hazard_nll(narrow.float(), *outcome))
    narrow, offsets = narrow.flatten(), torch.arange(10) * 6
    flat = F.hazard_nll_flat(narrow, offsets, *outcome)
    assert flat.dtype == torch.float32
    assert torch.equal(flat, F.hazard_nll_flat(narrow.float(), offsets, *outcome))


# ----------------------------------------------------------------------------------- person-period, constant hazard


def person_period_case() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    logits, stop, observed, start, _ = random_case(11, 5, seed=5)
    return logits, stop, observed, start


def test_person_period_rows_are_those_of_a_double_loop() -> None:
    _, stop, observed, start = person_period_case()
    rows = F.person_period(stop, observed, start)
    expected = [
        (i, k, bool(observed[i]) and k == int(stop[i]) - 1)
        for i in range(len(stop))
        for k in range(int(start[i]), int(stop[i]))
    ]
    assert list(zip(rows.patient.tolist(), rows.visit.tolist(), rows.event.tolist(), strict=True)) == expected


def test_likelihood_is_binary_cross_entropy_over_person_period_rows() -> None:
    logits, stop, observed, start = person_period_case()
    rows = F.person_period(stop, observed, start)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    survival_loss = F.hazard_nll(ours, stop, observed, start, reduction="sum")
    classifier_loss = torch.nn.functional.binary_cross_entropy_with_logits(
        theirs[rows.patient, rows.visit], rows.event.double(), reduction="sum"
    )
    survival_loss.backward()
    classifier_loss.backward()
    torch.testing.assert_close(survival_loss, classifier_loss, rtol=1e-10, atol=0)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-15)


@pytest.mark.parametrize("exposure", [0.0, 0.5, 1.0])
def test_best_constant_hazard_is_events_over_rows_credited(exposure: float) -> None:
    _, stop, observed, start = person_period_case()
    events, whole_rows, censored = int(observed.sum()), int((stop - start - 1).sum()), int((~observed).sum())
    best = events / (whole_rows + events + exposure * censored)
    logits = logits_of([best] * 5).expand(11, 5).clone().requires_grad_()
    F.hazard_nll(logits, stop, observed, start, exposure, "sum").backward()
    assert logits.grad.sum().item() == pytest.approx(0.0, abs=1e-12)
    if exposure == 1:
        assert best == pytest.approx(events / len(F.person_period(stop, observed, start).event))


@pytest.mark.parametrize("logit", [-30.0, 19.0, 21.0, 25.0, 36.0])
def test_a_float64_tail_is_exact_to_its_last_digits(logit: float) -> None:
    """Between 20 and 36 `softplus` with torch's own threshold drops a part that float64 still holds."""
    exact = max(logit, 0.0) + math.log1p(math.exp(-abs(logit)))
    nll = F.hazard_nll(torch.tensor([[logit]]).double(), torch.tensor([1]), torch.tensor([False]))
    assert nll.item() == pytest.approx(exact, rel=4e-16, abs=0)
