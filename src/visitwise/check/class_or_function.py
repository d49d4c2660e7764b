"""Chapter 3: a recorder of calls, losses that lose something on the way, and wrong formulas for what they add up to."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from visitwise import _explain
from visitwise.check import Mistake
from visitwise.factorization import reconstruction_loss

FOLDERS = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))


def calls(call: Callable[[], object]) -> list[tuple[int, str]]:
    """Every Python function of torch and of this package that a call goes through, in order, with how deep it lies.

    What stands around a function of this package to word its errors is left out.

    Examples:
        >>> loss = nn.L1Loss()
        >>> calls(lambda: loss(torch.zeros(1), torch.ones(1)))[:3]
        [(0, 'Module._wrapped_call_impl'), (1, 'Module._call_impl'), (2, 'L1Loss.forward')]
    """
    entered: list[tuple[int, str]] = []
    here = sys._getframe()

    def counts(frame: FrameType) -> bool:
        return frame.f_code.co_filename.startswith(FOLDERS) and frame.f_code.co_filename != _explain.__file__

    def record(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and counts(frame):
            depth, outer = 0, frame.f_back
            while outer is not None and outer is not here:
                depth += counts(outer)
                outer = outer.f_back
            entered.append((depth, frame.f_code.co_qualname))

    before = sys.getprofile()
    sys.setprofile(record)
    try:
        call()
    finally:
        sys.setprofile(before)
    return entered


def saved_and_trained(module: nn.Module | None) -> list[int] | None:
    """How many tensors a module saves in `state_dict()`, and how many of its tensors an optimiser would train.

    Examples:
        >>> saved_and_trained(nn.BatchNorm1d(2))  # weight, bias, two running statistics and a counter
        [5, 2]
        >>> saved_and_trained(nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0)))
        [1, 0]
    """
    return None if module is None else [len(module.state_dict()), len(list(module.parameters()))]


# ----------------------------------------------------------------------------------- losses that lose something


class PlainWeights(nn.Module):
    """Adds up tasks with weights in a plain dictionary, and leaves out what the dictionary does not name.

    So the weights are not in `state_dict()`, and a misspelt task is not in the total. `MultiTaskLoss` has neither flaw.

    Examples:
        >>> loss = PlainWeights({"stroke": 1.0, "readmision": 1.0})
        >>> loss({"stroke": torch.tensor(1.0), "readmission": torch.tensor(9.0)})
        tensor(1.)
        >>> loss.state_dict()
        OrderedDict()
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.weights = dict(weights)

    def forward(self, task_losses: Mapping[str, Tensor]) -> Tensor | float:
        total: Tensor | float = 0.0
        for name, loss in task_losses.items():
            if name in self.weights:
                total = total + self.weights[name] * loss
        return total


def reconstruction_in_numpy(
    ratings: NDArray[np.floating],
    classifier_factors: NDArray[np.floating],
    patient_factors: NDArray[np.floating],
    confidence: NDArray[np.floating],
) -> float:
    """The sum of confidence times squared error, by NumPy: a number, and nothing that leads back to the factors.

    Examples:
        >>> reconstruction_in_numpy(np.ones((1, 2)), np.ones((1, 1)), np.array([[1.0, 0.5]]), np.ones((1, 2)))
        0.25
    """
    error = ratings - classifier_factors.T @ patient_factors
    return float(np.sum(confidence * error**2))


def clipped_cross_entropy(
    probability: Float[Tensor, "..."], label: Float[Tensor, "..."], epsilon: float
) -> Float[Tensor, "..."]:
    """Cross-entropy of a probability that is kept `epsilon` away from 0 and 1, so that no logarithm is infinite.

    The type of the tensor decides whether that works: in float32 the number before 1 is `1 - 6e-8`.

    Examples:
        >>> clipped_cross_entropy(torch.tensor(1.0), torch.tensor(0.0), 1e-15)
        tensor(inf)
        >>> clipped_cross_entropy(torch.tensor(1.0), torch.tensor(1.0), 1e-15)
        tensor(nan)
    """
    kept = probability.clamp(epsilon, 1 - epsilon)
    return -label * kept.log() - (1 - label) * (1 - kept).log()


# --------------------------------------------------------------------------------------------- wrong reconstruction


def confidence_left_out(
    ratings: Tensor, classifier_factors: Tensor, patient_factors: Tensor, confidence: Tensor, ridge: Tensor
) -> Tensor:
    """Every rating that is there counts 1."""
    ones = (confidence > 0).to(confidence.dtype)
    return reconstruction_loss(ratings, classifier_factors, patient_factors, ones, float(ridge))


def ridge_left_out(
    ratings: Tensor, classifier_factors: Tensor, patient_factors: Tensor, confidence: Tensor, ridge: Tensor
) -> Tensor:
    """The squared errors alone."""
    return reconstruction_loss(ratings, classifier_factors, patient_factors, confidence)


def ridge_on_classifiers_alone(
    ratings: Tensor, classifier_factors: Tensor, patient_factors: Tensor, confidence: Tensor, ridge: Tensor
) -> Tensor:
    """The factors of the patients may grow as they like."""
    right = reconstruction_loss(ratings, classifier_factors, patient_factors, confidence, float(ridge))
    return right - ridge * patient_factors.square().sum() / confidence.sum()


def ridge_beside_the_mean(
    ratings: Tensor, classifier_factors: Tensor, patient_factors: Tensor, confidence: Tensor, ridge: Tensor
) -> Tensor:
    """The errors are averaged, the ridge is not, so it weighs more in a larger table."""
    penalty = classifier_factors.square().sum() + patient_factors.square().sum()
    return reconstruction_loss(ratings, classifier_factors, patient_factors, confidence) + ridge * penalty


def summed_instead_of_averaged(
    ratings: Tensor, classifier_factors: Tensor, patient_factors: Tensor, confidence: Tensor, ridge: Tensor
) -> Tensor:
    """The whole sum, which grows with the table."""
    return reconstruction_loss(ratings, classifier_factors, patient_factors, confidence, float(ridge), "sum")


def error_not_squared(
    ratings: Tensor, classifier_factors: Tensor, patient_factors: Tensor, confidence: Tensor, ridge: Tensor
) -> Tensor:
    """The size of the errors in place of their squares."""
    error = torch.where(confidence > 0, ratings - classifier_factors.T @ patient_factors, 0).abs()
    penalty = classifier_factors.square().sum() + patient_factors.square().sum()
    return ((confidence * error).sum() + ridge * penalty) / confidence.sum()


RECONSTRUCTION = {
    "confidence_left_out": Mistake("each error counts as often as its confidence says", confidence_left_out),
    "ridge_left_out": Mistake("the ridge on the factors is missing", ridge_left_out),
    "ridge_on_classifiers_alone": Mistake("the ridge is on both sets of factors", ridge_on_classifiers_alone),
    "ridge_beside_the_mean": Mistake("the ridge is divided by the total confidence, too", ridge_beside_the_mean),
    "summed_instead_of_averaged": Mistake(
        "that is the sum; divide by the total confidence", summed_instead_of_averaged
    ),
    "error_not_squared": Mistake("square the errors", error_not_squared),
}
"""Wrong formulas for the mean reconstruction loss, of `ratings`, both factors, `confidence` and `ridge`."""


# ------------------------------------------------------------------------------------------------ wrong total of tasks


def weights_forgotten(task_losses: Float[Tensor, " task"], weights: Float[Tensor, " task"]) -> Float[Tensor, ""]:
    """Every task counts 1."""
    return task_losses.sum()


def last_task_dropped(task_losses: Float[Tensor, " task"], weights: Float[Tensor, " task"]) -> Float[Tensor, ""]:
    """The last task fell out, as a misspelt one does."""
    return (weights * task_losses)[:-1].sum()


def averaged_over_tasks(task_losses: Float[Tensor, " task"], weights: Float[Tensor, " task"]) -> Float[Tensor, ""]:
    """The mean of the weighted losses."""
    return (weights * task_losses).mean()


def divided_by_weights(task_losses: Float[Tensor, " task"], weights: Float[Tensor, " task"]) -> Float[Tensor, ""]:
    """The weighted mean."""
    return (weights * task_losses).sum() / weights.sum()


TOTAL = {
    "weights_forgotten": Mistake("that counts each task with the weight 1", weights_forgotten),
    "last_task_dropped": Mistake("that leaves a task out", last_task_dropped),
    "averaged_over_tasks": Mistake("the weighted losses are added, not averaged", averaged_over_tasks),
    "divided_by_weights": Mistake("the sum is not divided by the weights", divided_by_weights),
}
"""Wrong formulas for the total of several tasks, of their losses and their weights."""


# ------------------------------------------------------------------------------------------------------ wrong balance


def balance_in_means(rho: Float[Tensor, ""], total_confidence: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """What `rho` is between two means, if it was set between a sum over the ratings and a mean over the labels.

    `rho N / (rho N + 1 - rho)`. This one is right; it stands here for the wrong ones to be compared with.

    Examples:
        >>> balance_in_means(torch.tensor(0.5), torch.tensor(300.0))
        tensor(0.9967)
    """
    return rho * total_confidence / (rho * total_confidence + 1 - rho)


def as_written(rho: Float[Tensor, ""], total_confidence: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """`rho`, as if a sum and a mean were alike."""
    return rho


def share_of_the_labels(rho: Float[Tensor, ""], total_confidence: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """What is left for the labels."""
    return 1 - balance_in_means(rho, total_confidence)


def not_made_to_sum_to_one(rho: Float[Tensor, ""], total_confidence: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """`rho N`, the weight of the first mean before both weights are divided by their sum."""
    return rho * total_confidence


BALANCE = {
    "as_written": Mistake("that is rho as written, which weighs a sum against a mean", as_written),
    "share_of_the_labels": Mistake("that is the weight left for the labels", share_of_the_labels),
    "not_made_to_sum_to_one": Mistake(
        "that is the weight of the ratings before the two are divided by their sum", not_made_to_sum_to_one
    ),
}
"""Wrong formulas for `balance_in_means`, of `rho` and the total confidence."""


# ------------------------------------------------------------------------------------------------ wrong learned weight


def the_loss_itself(loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The larger the loss, the larger the weight."""
    return loss


def logarithm_of_the_weight(loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The parameter `s`, whose weight is `exp(-s)`."""
    return loss.log()


def with_factor_of_one_half(loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The weight where only half of `s` is added."""
    return 1 / (2 * loss)


LEARNED_WEIGHT = {
    "the_loss_itself": Mistake("it is the other way round: a large loss gets a small weight", the_loss_itself),
    "logarithm_of_the_weight": Mistake("that is the parameter s; the weight is exp(-s)", logarithm_of_the_weight),
    "with_factor_of_one_half": Mistake(
        "that belongs to exp(-s) * loss + s / 2; here the whole s is added", with_factor_of_one_half
    ),
}
"""Wrong formulas for the weight at which `exp(-s) * loss + s` is smallest, of the loss."""
