"""Each likelihood's module is its function and nothing else; the loss of several tasks owns its weights."""

import inspect
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from visitwise import functional as F
from visitwise import losses
from visitwise.cohort import Outcome
from visitwise.losses import CompetingRisksNLL, HazardNLL, HazardNLLFlat, HorizonNLL, MultiTaskLoss, multi_task_loss

pytestmark = pytest.mark.usefixtures("no_global_draws")

PAIRS = [
    (HazardNLL, F.hazard_nll),
    (HazardNLLFlat, F.hazard_nll_flat),
    (CompetingRisksNLL, F.competing_risks_nll),
    (HorizonNLL, F.horizon_nll),
]
SETTINGS = [(1.0, "mean"), (0.5, "sum"), (0.0, "none")]


def arguments_of(module: type[nn.Module]) -> tuple[Tensor, ...]:
    """Logits, then offsets where the module wants them, stop, observed, start; one event, one censored, one late."""
    stop, observed, start = torch.tensor([3, 2, 4]), torch.tensor([True, False, True]), torch.tensor([0, 0, 2])
    logits = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(4))
    if module is HazardNLLFlat:
        return logits[..., 0].flatten(), torch.arange(4) * 4, stop, observed, start
    if module is HazardNLL:
        return logits[..., 0], stop, observed, start
    return logits, stop, torch.tensor([2, 0, 1]) if module is CompetingRisksNLL else observed, start


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_loss_of_outcomes_is_the_function_with_all_that_an_outcome_says(dtype: torch.dtype) -> None:
    """Start, stop, cause and exposure move each loss here; the exposure is no number that bfloat16 has."""
    stop, start, cause = torch.tensor([3, 2, 4, 4]), torch.tensor([1, 0, 2, 0]), torch.tensor([0, 2, 0, 1])
    exposure = torch.tensor([0.301, 1.0, 0.7003, 1.0])
    outcome = Outcome.of(stop, cause > 0, start=start, cause=cause, censored_exposure=exposure)
    logits = torch.randn(4, 4, 2, generator=torch.Generator().manual_seed(4)).to(dtype)
    rest = start, exposure, "none"
    for given, of_outcomes, expected in (
        (logits[..., 0], losses.outcome_nll, F.hazard_nll(logits[..., 0], stop, cause > 0, *rest)),
        (logits, losses.outcome_competing_nll, F.competing_risks_nll(logits, stop, cause, *rest)),
        (logits, losses.outcome_horizon_nll, F.horizon_nll(logits, stop, cause > 0, *rest)),
    ):
        assert torch.equal(of_outcomes(given, outcome, "none"), expected)
        assert torch.equal(of_outcomes(given, outcome, "sum"), expected.sum())
        assert torch.equal(of_outcomes(given, outcome), expected.mean())


def test_every_likelihood_has_a_module_in_this_table() -> None:
    modules = [value for value in vars(losses).values() if inspect.isclass(value) and issubclass(value, nn.Module)]
    assert set(modules) == {module for module, _ in PAIRS} | {MultiTaskLoss}


@pytest.mark.parametrize(("module", "function"), PAIRS)
@pytest.mark.parametrize("settings", SETTINGS)
def test_module_equals_function_bit_for_bit_in_value_and_gradient(
    module: type[nn.Module], function: Callable[..., Tensor], settings: tuple[float, str]
) -> None:
    logits, *rest = arguments_of(module)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    exposure, reduction = settings
    from_module = module(censored_exposure=exposure, reduction=reduction)(ours, *rest)
    from_function = function(theirs, *rest, censored_exposure=exposure, reduction=reduction)
    from_module.sum().backward()
    from_function.sum().backward()
    assert torch.equal(from_module, from_function)
    assert torch.equal(ours.grad, theirs.grad)
    assert bool((ours.grad != 0).any())


@pytest.mark.parametrize(("module", "function"), PAIRS)
def test_settings_of_a_module_and_what_it_is_called_with_are_the_arguments_of_the_function(
    module: type[nn.Module], function: Callable[..., Tensor]
) -> None:
    called_with, settings = parameters(module.forward), parameters(module.__init__)
    assert not called_with.keys() & settings.keys()
    assert list(called_with) + list(settings) == list(parameters(function))
    for name, argument in parameters(function).items():
        ours = {**called_with, **settings}[name]
        assert ours.default == argument.default, name
        if name != "censored_exposure":  # a function takes one for each patient too
            assert str(ours.annotation) == str(argument.annotation), name


def parameters(function: Callable[..., object]) -> dict[str, inspect.Parameter]:
    return {name: value for name, value in inspect.signature(function).parameters.items() if name != "self"}


@pytest.mark.parametrize(("module", "function"), PAIRS)
def test_untouched_module_has_the_defaults_of_the_function(
    module: type[nn.Module], function: Callable[..., Tensor]
) -> None:
    arguments = arguments_of(module)
    assert torch.equal(module()(*arguments), function(*arguments))
    assert not torch.equal(module()(*arguments), module(censored_exposure=0.0)(*arguments))


@pytest.mark.parametrize(("module", "_function"), PAIRS)
def test_module_has_nothing_to_learn_and_nothing_to_save(module: type[nn.Module], _function: object) -> None:
    assert list(module().parameters()) == []
    assert list(module().buffers()) == []
    assert module().state_dict() == {}


@pytest.mark.parametrize(("module", "_function"), PAIRS)
def test_module_shows_its_settings(module: type[nn.Module], _function: object) -> None:
    shown = repr(module(censored_exposure=0.25, reduction="sum"))
    assert shown == f"{module.__name__}(censored_exposure=0.25, reduction='sum')"


def test_hooks_run_when_the_module_is_called_and_not_when_forward_is() -> None:
    loss, calls = HazardNLL(), []
    loss.register_forward_hook(lambda *_: calls.append("hook"))
    loss(*arguments_of(HazardNLL))
    loss.forward(*arguments_of(HazardNLL))
    assert calls == ["hook"]


# ---------------------------------------------------------------------------------------------------- several tasks

LOSSES = {"stroke": torch.tensor(1.5), "readmission": torch.tensor(4.0)}
WEIGHTS = {"stroke": 1.0, "readmission": 0.25}


def two_tasks(weights: dict[str, float] | None = WEIGHTS, learnable: bool = False) -> MultiTaskLoss:
    return MultiTaskLoss({"stroke": HazardNLL(), "readmission": HazardNLL(reduction="sum")}, weights, learnable)


def both(logits: Tensor | None = None) -> dict[str, tuple[Tensor, ...]]:
    """What the two losses are called with: logits, stop, observed, start."""
    first, *rest = arguments_of(HazardNLL)
    first = first if logits is None else logits
    return {"stroke": (first, *rest), "readmission": (first, *rest)}


def test_total_is_the_weighted_sum_whichever_way_the_names_are_ordered() -> None:
    backwards = dict(reversed(WEIGHTS.items()))
    assert multi_task_loss(LOSSES, WEIGHTS).item() == multi_task_loss(LOSSES, backwards).item() == 2.5
    arguments = both()
    right = HazardNLL()(*arguments["stroke"]) + 0.25 * HazardNLL(reduction="sum")(*arguments["readmission"])
    assert torch.equal(two_tasks()(arguments), right)
    assert torch.equal(two_tasks(backwards)(arguments), right)
    assert torch.equal(two_tasks()(dict(reversed(arguments.items()))), right)


def test_gradient_of_the_total_is_the_weighted_sum_of_gradients() -> None:
    whole, first, second = (arguments_of(HazardNLL)[0].double().requires_grad_() for _ in range(3))
    two_tasks()(both(whole)).backward()
    HazardNLL()(*both(first)["stroke"]).backward()
    HazardNLL(reduction="sum")(*both(second)["readmission"]).backward()
    torch.testing.assert_close(whole.grad, first.grad + 0.25 * second.grad)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            lambda: multi_task_loss(LOSSES, {"stroke": 1.0, "readmision": 0.25}),
            "weights name the task 'readmision'; expected 'stroke', 'readmission' (is it 'readmission'?)",
        ),
        (
            lambda: multi_task_loss(LOSSES, {**WEIGHTS, "pain": 1.0}),
            "weights name the task 'pain'; expected 'stroke', 'readmission'",
        ),
        (
            lambda: multi_task_loss(LOSSES, {"stroke": 1.0}),
            "weights name no task 'readmission'; expected 'stroke', 'readmission'",
        ),
        (lambda: multi_task_loss({}, {}), "there is no task; expected one at least"),
        (
            lambda: multi_task_loss({**LOSSES, "stroke": torch.ones(3)}, WEIGHTS),
            "the loss of task 'stroke' has shape [3]; expected one number",
        ),
        (
            lambda: multi_task_loss(LOSSES, {**WEIGHTS, "stroke": torch.ones(3)}),
            "the weight of task 'stroke' has shape [3]; expected one number",
        ),
        (
            lambda: multi_task_loss(LOSSES, {**WEIGHTS, "stroke": math.inf}),
            "the weight of task 'stroke' is inf; expected a number, 0 or more",
        ),
        (
            lambda: multi_task_loss(LOSSES, {**WEIGHTS, "stroke": -1.0}),
            "the weight of task 'stroke' is -1; expected a number, 0 or more",
        ),
        (
            lambda: multi_task_loss(LOSSES, {**WEIGHTS, "stroke": float("nan")}),
            "the weight of task 'stroke' is nan; expected a number, 0 or more",
        ),
        (lambda: MultiTaskLoss({}), "there is no task; expected one at least"),
        (
            lambda: two_tasks({"stroke": 1.0, "readmision": 0.25}),
            "weights name the task 'readmision'; expected 'stroke', 'readmission' (is it 'readmission'?)",
        ),
        (
            lambda: two_tasks()({"strike": both()["stroke"], "readmission": both()["readmission"]}),
            "arguments name the task 'strike'; expected 'stroke', 'readmission' (is it 'stroke'?)",
        ),
        (
            lambda: two_tasks()({"stroke": both()["stroke"]}),
            "arguments name no task 'readmission'; expected 'stroke', 'readmission'",
        ),
        (
            lambda: MultiTaskLoss({"keys": HazardNLL()}),
            "a task is named 'keys'; expected a word without dots that names nothing in a module",
        ),
        (
            lambda: two_tasks()({**both(), "stroke": torch.ones(4, 2)}),
            "the task 'stroke' is given a tensor of shape [4, 2]; expected a tuple of what its loss is called with",
        ),
        (
            lambda: MultiTaskLoss({"": HazardNLL()}),
            "a task is named ''; expected a word without dots that names nothing in a module",
        ),
        (
            lambda: MultiTaskLoss({"a.b": HazardNLL()}),
            "a task is named 'a.b'; expected a word without dots that names nothing in a module",
        ),
        (
            lambda: two_tasks({"stroke": 0.0, "readmission": 1.0}, learnable=True),
            "the weight of task 'stroke' is 0; expected a number, above 0, as it is to be learned",
        ),
        (
            lambda: two_tasks({"stroke": float("inf"), "readmission": 1.0}),
            "the weight of task 'stroke' is inf; expected a number, 0 or more",
        ),
        (
            lambda: MultiTaskLoss({"gain": Negative()}, learnable=True)({"gain": (torch.tensor(2.0),)}),
            "the loss of task 'gain' is -2; expected 0 or more to learn its weight",
        ),
    ],
)
def test_a_task_that_would_be_lost_or_mistaken_is_refused_by_name(wrong: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 (the whole sentence is compared)
        wrong()
    assert str(refused.value) == says


class Negative(nn.Module):
    """A loss below 0, as a log-density can be."""

    def forward(self, value: Tensor) -> Tensor:
        return -value


def test_a_negative_loss_may_have_a_fixed_weight() -> None:
    assert MultiTaskLoss({"gain": Negative()}, {"gain": 0.5})({"gain": (torch.tensor(2.0),)}).item() == -1


def test_a_loss_of_nothing_may_have_a_learned_weight() -> None:
    """A batch that is fitted exactly does not stop a training run."""
    loss = MultiTaskLoss({"a": Itself(), "b": Itself()}, learnable=True)
    assert loss({"a": (torch.tensor(0.0),), "b": (torch.tensor(3.0),)}).item() == 3


@pytest.mark.usefixtures("unchecked")
def test_a_loss_or_a_weight_with_an_axis_of_one_counts_as_a_number() -> None:
    total = multi_task_loss({**LOSSES, "stroke": torch.tensor([1.5])}, {**WEIGHTS, "readmission": torch.tensor([0.25])})
    assert total.shape == ()
    assert total.item() == 2.5


def test_a_weight_that_is_a_tensor_gets_its_gradient() -> None:
    weight = torch.tensor(0.25, requires_grad=True)
    multi_task_loss(LOSSES, {"stroke": 1.0, "readmission": weight}).backward()
    assert weight.grad.item() == 4.0


def test_fixed_weights_are_buffers_saved_moved_and_not_trained() -> None:
    loss = two_tasks()
    assert {name: value.item() for name, value in loss.state_dict().items()} == {
        "weight_stroke": 1.0,
        "weight_readmission": 0.25,
    }
    assert list(loss.parameters()) == []
    assert {value.dtype for value in loss.double().state_dict().values()} == {torch.float64}
    other = two_tasks(None)
    assert not torch.equal(other(both()), two_tasks()(both()))
    other.load_state_dict(loss.state_dict())
    torch.testing.assert_close(other(both()), two_tasks()(both()))


def test_a_saved_weight_cannot_land_on_another_task() -> None:
    saved = two_tasks({"stroke": 3.0, "readmission": 5.0}).state_dict()
    swapped = MultiTaskLoss({"readmission": HazardNLL(), "stroke": HazardNLL()})
    swapped.load_state_dict(saved)
    assert {name: weight.item() for name, weight in swapped.weights().items()} == {"readmission": 5.0, "stroke": 3.0}
    with pytest.raises(RuntimeError, match="weight_pain"):
        MultiTaskLoss({"stroke": HazardNLL(), "pain": HazardNLL()}).load_state_dict(saved)


@pytest.mark.parametrize("learnable", [False, True])
def test_tasks_stand_in_the_order_of_the_losses_whichever_way_the_weights_are_named(learnable: bool) -> None:
    """An optimiser's saved state knows parameters by their place alone."""
    one, other = two_tasks(WEIGHTS, learnable), two_tasks(dict(reversed(WEIGHTS.items())), learnable)
    assert list(one.state_dict()) == list(other.state_dict())
    assert list(other.weights()) == ["stroke", "readmission"]


def test_buffers_of_the_losses_it_holds_are_saved_too() -> None:
    loss = MultiTaskLoss({"rows": nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0))})
    assert list(loss.state_dict()) == ["weight_rows", "losses.rows.pos_weight"]


def test_learnable_weights_begin_where_they_are_told_and_are_parameters() -> None:
    loss = two_tasks(learnable=True)
    names = [name for name, _ in loss.named_parameters()]
    assert names == ["log_variance_stroke", "log_variance_readmission"] == list(loss.state_dict())
    assert {name: weight.item() for name, weight in loss.weights().items()} == pytest.approx(WEIGHTS)
    s = torch.tensor([0.0, -math.log(0.25)])
    torch.testing.assert_close(loss(both()), two_tasks()(both()) + s.sum())


def test_a_learned_weight_ends_at_one_over_the_loss() -> None:
    losses = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    loss = MultiTaskLoss({name: Itself() for name in "abc"}, learnable=True).double()
    optimiser = torch.optim.LBFGS(loss.parameters(), max_iter=100, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def closure() -> Tensor:
        optimiser.zero_grad()
        total = loss({name: (value,) for name, value in zip("abc", losses, strict=True)})
        total.backward()
        return total

    optimiser.step(closure)
    torch.testing.assert_close(torch.stack(list(loss.weights().values())), 1 / losses, rtol=1e-6, atol=0)
    torch.testing.assert_close(closure(), (1 + losses.log()).sum())


class Itself(nn.Module):
    def forward(self, value: Tensor) -> Tensor:
        return value


def test_repr_shows_tasks_weights_and_what_is_held() -> None:
    shown = repr(two_tasks())
    assert "weights={'stroke': 1.0, 'readmission': 0.25}, learnable=False" in shown
    assert "(readmission): HazardNLL(censored_exposure=1.0, reduction='sum')" in shown
