"""Each module is its function and nothing else: same numbers, same arguments, no state."""

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from visitwise import functional as F
from visitwise import losses
from visitwise.losses import HazardNLL, HazardNLLFlat

pytestmark = pytest.mark.usefixtures("no_global_draws")

PAIRS = [(HazardNLL, F.hazard_nll), (HazardNLLFlat, F.hazard_nll_flat)]
SETTINGS = [(1.0, "mean"), (0.5, "sum"), (0.0, "none")]


def arguments_of(module: type[nn.Module]) -> tuple[Tensor, ...]:
    """Logits, then offsets where the module wants them, stop, observed, start; one event, one censored, one late."""
    outcome = torch.tensor([3, 2, 4]), torch.tensor([True, False, True]), torch.tensor([0, 0, 2])
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(4))
    return (logits, *outcome) if module is HazardNLL else (logits.flatten(), torch.arange(4) * 4, *outcome)


def test_every_likelihood_has_a_module_in_this_table() -> None:
    modules = [value for value in vars(losses).values() if inspect.isclass(value) and issubclass(value, nn.Module)]
    assert set(modules) == {module for module, _ in PAIRS}


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
