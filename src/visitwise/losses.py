"""The likelihoods as modules that store settings, for an `Outcome`, and several at once.

`visitwise.functional` does the work.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from visitwise import functional as F
from visitwise._explain import explained
from visitwise.cohort import Outcome
from visitwise.functional import Reduction


@explained
def outcome_nll(
    hazard_logits: Float[Tensor, "patient visit"], outcome: Outcome, reduction: Reduction = "mean"
) -> Float[Tensor, "..."]:
    """`visitwise.functional.hazard_nll` with all that an outcome says: start, stop, event, censored exposure.

    An event of any cause counts.

    Examples:
        >>> import torch
        >>> outcome = Outcome.of(stop=torch.tensor([2]), observed=torch.tensor([True]))
        >>> outcome_nll(torch.tensor([[0.0, 1.0]]), outcome)
        tensor(1.0064)
    """
    exposure = outcome.censored_exposure
    return F.hazard_nll(hazard_logits, outcome.stop, outcome.observed, outcome.start, exposure, reduction)


@explained
def outcome_competing_nll(
    cause_logits: Float[Tensor, "patient visit cause"], outcome: Outcome, reduction: Reduction = "mean"
) -> Float[Tensor, "..."]:
    """`visitwise.functional.competing_risks_nll` with all that an outcome says.

    Examples:
        >>> import torch
        >>> outcome = Outcome.of(torch.tensor([1]), torch.tensor([True]), cause=torch.tensor([2]))
        >>> outcome_competing_nll(torch.tensor([[[0.0, 0.6931472]]]), outcome)
        tensor(0.6931)
    """
    exposure = outcome.censored_exposure
    return F.competing_risks_nll(cause_logits, outcome.stop, outcome.cause, outcome.start, exposure, reduction)


@explained
def outcome_horizon_nll(
    hazard_logits: Float[Tensor, "patient visit interval"], outcome: Outcome, reduction: Reduction = "mean"
) -> Float[Tensor, "..."]:
    """`visitwise.functional.horizon_nll` with all that an outcome says; an event of any cause counts.

    Examples:
        >>> import torch
        >>> outcome = Outcome.of(stop=torch.tensor([2]), observed=torch.tensor([True]))
        >>> logits = torch.logit(torch.tensor([[[0.1, 0.2], [0.3, 0.4]]]))
        >>> outcome_horizon_nll(logits, outcome)
        tensor(2.9188)
    """
    exposure = outcome.censored_exposure
    return F.horizon_nll(hazard_logits, outcome.stop, outcome.observed, outcome.start, exposure, reduction)


class HazardNLL(nn.Module):
    """Discrete-time survival loss over `[patient, visit]`; see `visitwise.functional.hazard_nll`.

    Examples:
        >>> import torch
        >>> loss = HazardNLL(censored_exposure=0.5)
        >>> loss
        HazardNLL(censored_exposure=0.5, reduction='mean')
        >>> loss(torch.zeros(1, 2), stop=torch.tensor([2]), observed=torch.tensor([False]))
        tensor(1.0397)
    """

    @explained
    def __init__(self, censored_exposure: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.censored_exposure = censored_exposure
        self.reduction = reduction

    @explained
    def forward(
        self,
        hazard_logits: Float[Tensor, "*patient visit"],
        stop: Int[Tensor, "*patient"],
        observed: Bool[Tensor, "*patient"],
        start: Int[Tensor, "*patient"] | None = None,
    ) -> Float[Tensor, "..."]:
        return F.hazard_nll(hazard_logits, stop, observed, start, self.censored_exposure, self.reduction)

    def extra_repr(self) -> str:
        return f"censored_exposure={self.censored_exposure}, reduction={self.reduction!r}"


class HazardNLLFlat(nn.Module):
    """Discrete-time survival loss over rows without padding; see `visitwise.functional.hazard_nll_flat`.

    Examples:
        >>> import torch
        >>> logits, offsets = torch.tensor([0.0, 0.0]), torch.tensor([0, 2])
        >>> HazardNLLFlat()(logits, offsets, stop=torch.tensor([2]), observed=torch.tensor([True]))
        tensor(1.3863)
    """

    @explained
    def __init__(self, censored_exposure: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.censored_exposure = censored_exposure
        self.reduction = reduction

    @explained
    def forward(
        self,
        hazard_logits: Float[Tensor, " row"],
        offsets: Int[Tensor, " patient_and_end"],
        stop: Int[Tensor, " patient"],
        observed: Bool[Tensor, " patient"],
        start: Int[Tensor, " patient"] | None = None,
    ) -> Float[Tensor, "..."]:
        return F.hazard_nll_flat(hazard_logits, offsets, stop, observed, start, self.censored_exposure, self.reduction)

    def extra_repr(self) -> str:
        return f"censored_exposure={self.censored_exposure}, reduction={self.reduction!r}"


class CompetingRisksNLL(nn.Module):
    """Discrete-time loss for several causes; see `visitwise.functional.competing_risks_nll`.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[[0.0, 0.6931472]]])
        >>> CompetingRisksNLL()(logits, stop=torch.tensor([1]), cause=torch.tensor([2]))
        tensor(0.6931)
    """

    @explained
    def __init__(self, censored_exposure: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.censored_exposure = censored_exposure
        self.reduction = reduction

    @explained
    def forward(
        self,
        cause_logits: Float[Tensor, "*patient visit cause"],
        stop: Int[Tensor, "*patient"],
        cause: Int[Tensor, "*patient"],
        start: Int[Tensor, "*patient"] | None = None,
    ) -> Float[Tensor, "..."]:
        return F.competing_risks_nll(cause_logits, stop, cause, start, self.censored_exposure, self.reduction)

    def extra_repr(self) -> str:
        return f"censored_exposure={self.censored_exposure}, reduction={self.reduction!r}"


class HorizonNLL(nn.Module):
    """Likelihood of a forecast from each visit; see `visitwise.functional.horizon_nll`.

    Examples:
        >>> import torch
        >>> logits = torch.logit(torch.tensor([[[0.1, 0.2], [0.3, 0.4]]]))
        >>> HorizonNLL()(logits, stop=torch.tensor([2]), observed=torch.tensor([True]))
        tensor(2.9188)
    """

    @explained
    def __init__(self, censored_exposure: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.censored_exposure = censored_exposure
        self.reduction = reduction

    @explained
    def forward(
        self,
        hazard_logits: Float[Tensor, "*patient visit interval"],
        stop: Int[Tensor, "*patient"],
        observed: Bool[Tensor, "*patient"],
        start: Int[Tensor, "*patient"] | None = None,
    ) -> Float[Tensor, "..."]:
        return F.horizon_nll(hazard_logits, stop, observed, start, self.censored_exposure, self.reduction)

    def extra_repr(self) -> str:
        return f"censored_exposure={self.censored_exposure}, reduction={self.reduction!r}"


# ---------------------------------------------------------------------------------------------------- several tasks


@explained
def multi_task_loss(
    task_losses: Mapping[str, Float[Tensor, ""]], weights: Mapping[str, float | Float[Tensor, ""]]
) -> Float[Tensor, ""]:
    """The losses of several tasks as one number to make small: `sum_task weight * loss`.

    Every task has one loss and one weight; a name that stands on one side alone is refused, because a loss that is
    left out is a model that never learns the task.

    Args:
        task_losses: One number for each task, by name.
        weights: One number for each task, 0 or more, by the same names.

    Raises:
        ValueError: There is no task, a name stands on one side alone, a loss or a weight is not one number, or a
            weight is negative, NaN or infinite.

    Examples:
        >>> losses = {"stroke": torch.tensor(1.5), "readmission": torch.tensor(4.0)}
        >>> multi_task_loss(losses, {"stroke": 1.0, "readmission": 0.25})
        tensor(2.5000)
        >>> multi_task_loss(losses, {"stroke": 1.0, "readmision": 0.25})
        Traceback (most recent call last):
            ...
        ValueError: weights name the task 'readmision'; expected 'stroke', 'readmission' (is it 'readmission'?)
    """
    _check_names(weights, task_losses, "weights name")
    for name, loss in task_losses.items():
        for what, value in (("loss", loss), ("weight", weights[name])):
            if isinstance(value, Tensor) and value.numel() != 1:
                raise ValueError(f"the {what} of task {name!r} has shape {list(value.shape)}; expected one number")
            if value.is_complex() if isinstance(value, Tensor) else not isinstance(value, Real):
                raise TypeError(f"the {what} of task {name!r} is {value!r}; expected a real number")
        weight = _number(weights[name])
        if not 0 <= weight < math.inf:
            raise ValueError(f"the weight of task {name!r} is {weight:g}; expected a number, 0 or more")
    return torch.stack([(weights[name] * loss).reshape(()) for name, loss in task_losses.items()]).sum()


class MultiTaskLoss(nn.Module):
    """Holds the loss of each task and its weight, and adds them up; see `multi_task_loss`.

    Weights that you fix are *buffers*: saved with the model, moved with it, never trained. With `learnable=True` each
    task has a *parameter* `s` instead, its weight is `exp(-s)`, and the total is `sum_task exp(-s) * loss + s`. Without
    the last term the weights would shrink to 0. The total is smallest at a weight of `1 / loss`: what is learned is the
    scale of a loss, not how much its task matters. A loss that stays at 0 lets its weight grow without end. The
    optimiser has to be given `parameters()`.

    Args:
        losses: One loss module for each task, by name. Each returns one number.
        weights: One weight for each task, by the same names; 1 for each if not given. Where they are learned, they
            begin here.
        learnable: Whether the weights are learned.

    Raises:
        ValueError: As in `multi_task_loss`; a task is named with a dot or like something that modules have, such as
            `keys`; a weight to be learned begins at 0; or, when called, a task is given a bare tensor in place of its
            loss's arguments, or a loss is negative and its weight learned, which would grow without end.

    Source:
        Kendall, Gal and Cipolla (2018), Multi-task learning using uncertainty to weigh losses, CVPR, with
        `s` the logarithm of their variance. This is twice their loss for regression. For classification they have
        `exp(-s) * loss + s / 2`, whose weight settles at half of ours.

    Examples:
        >>> loss = MultiTaskLoss({"stroke": HazardNLL(), "pain": nn.MSELoss()}, weights={"stroke": 1.0, "pain": 0.5})
        >>> stroke = torch.zeros(1, 1), torch.tensor([1]), torch.tensor([True])  # a hazard of one half, and the event
        >>> loss({"stroke": stroke, "pain": (torch.tensor([3.0]), torch.tensor([5.0]))})
        tensor(2.6931)
        >>> {name: float(value) for name, value in loss.state_dict().items()}
        {'weight_stroke': 1.0, 'weight_pain': 0.5}
    """

    @explained
    def __init__(
        self, losses: Mapping[str, nn.Module], weights: Mapping[str, float] | None = None, learnable: bool = False
    ) -> None:
        super().__init__()
        weights = dict.fromkeys(losses, 1.0) if weights is None else weights
        _check_names(weights, losses, "weights name")
        self.learnable = learnable
        # One tensor for each name, so that a saved state cannot give one task the weight of another.
        for name in losses:
            weight = weights[name]
            if not name or "." in name or hasattr(nn.ModuleDict(), name):
                raise ValueError(
                    f"a task is named {name!r}; expected a word without dots that names nothing in a module"
                )
            if not 0 <= weight < math.inf or (learnable and weight == 0):
                least = "above 0, as it is to be learned" if learnable else "0 or more"
                raise ValueError(f"the weight of task {name!r} is {weight:g}; expected a number, {least}")
            if learnable:
                self.register_parameter(f"log_variance_{name}", nn.Parameter(torch.tensor(-math.log(weight))))
            else:
                self.register_buffer(f"weight_{name}", torch.tensor(float(weight)))
        self.losses = nn.ModuleDict(losses)

    def weights(self) -> dict[str, Tensor]:
        """The weight of each task as it is now."""
        if self.learnable:
            return {name: torch.exp(-self.get_parameter(f"log_variance_{name}")) for name in self.losses}
        return {name: self.get_buffer(f"weight_{name}") for name in self.losses}

    @explained
    def forward(self, arguments: Mapping[str, Sequence[Any]]) -> Float[Tensor, ""]:
        """The total, from what each task's loss is called with, by name."""
        _check_names(arguments, self.losses, "arguments name")
        _check_arguments(arguments)
        task_losses = {name: loss(*arguments[name]) for name, loss in self.losses.items()}
        total = multi_task_loss(task_losses, self.weights())
        return total + self._sum_of_log_variances(task_losses) if self.learnable else total

    def _sum_of_log_variances(self, task_losses: Mapping[str, Tensor]) -> Tensor:
        for name, loss in task_losses.items():
            if _number(loss) < 0:
                raise ValueError(
                    f"the loss of task {name!r} is {_number(loss):g}; expected 0 or more to learn its weight"
                )
        return torch.stack([self.get_parameter(f"log_variance_{name}") for name in task_losses]).sum()

    def extra_repr(self) -> str:
        weights = {name: float(f"{_number(weight):.4g}") for name, weight in self.weights().items()}
        return f"weights={weights}, learnable={self.learnable}"


def _number(value: float | Tensor) -> float:
    return float(value.detach()) if isinstance(value, Tensor) else value


def _check_arguments(arguments: Mapping[str, object]) -> None:
    """Refuse a tensor where a tuple is meant: it would be taken apart, one argument for each of its rows."""
    for name, given in arguments.items():
        if isinstance(given, Tensor):
            given_shape = f"the task {name!r} is given a tensor of shape {list(given.shape)}"
            raise ValueError(f"{given_shape}; expected a tuple of what its loss is called with")


def _check_names(given: Mapping[str, object], expected: Mapping[str, object] | nn.ModuleDict, who: str) -> None:
    """Refuse names that are not expected, and expected ones that are not there."""
    names = ", ".join(repr(name) for name in expected)
    if not names:
        raise ValueError("there is no task; expected one at least")
    for name in given:
        if name not in expected:
            near = difflib.get_close_matches(str(name), list(expected), n=1)
            meant = f" (is it {near[0]!r}?)" if near else ""
            raise ValueError(f"{who} the task {name!r}; expected {names}{meant}")
    for name in expected:
        if name not in given:
            raise ValueError(f"{who} no task {name!r}; expected {names}")
