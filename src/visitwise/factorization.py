"""Losses that factor a table of ratings, as functions and as thin modules.

Several classifiers have each given every patient a rating, such as a probability of the event, and a few patients are
labelled. Every classifier and every patient gets a short vector of *factors*, and their products rebuild the table. One
loss asks that the table is rebuilt, one that a vote over the rebuilt ratings agrees with the labels, one mixes the two.
The same mathematics serves films and their viewers: a row is a viewer, a column a film.

The functions hold the arithmetic. A module stores the settings of its function, and whatever learns. Half precision is
widened to float32 first: in float16 the total of a table with 70,000 ratings is infinite.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from visitwise._checks import ends_in_sigmoid, refuse, widen
from visitwise._explain import explained

Reduction = Literal["mean", "sum"]

# ------------------------------------------------------------------------------------------------------- functions


@explained
def reconstruction_loss(
    ratings: Float[Tensor, "classifier patient"],
    classifier_factors: Float[Tensor, "factor classifier"],
    patient_factors: Float[Tensor, "factor patient"],
    confidence: Float[Tensor, "classifier patient"],
    ridge: float = 0.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""]:
    """How far the products of the factors are from the ratings, where one trusts the ratings.

    `sum c (r - x . y)^2 + ridge * (|X|^2 + |Y|^2)`, with `c` the confidence in a rating `r`, and `x`, `y` the factors
    of its classifier and its patient. `"mean"` divides all of this by the total confidence, which is the number of
    ratings where each counts 1; the best factors are the same, and the loss does not grow with the table.

    A rating of confidence 0 may be anything, NaN included: it touches neither the value nor the gradient.

    Args:
        ratings: What each classifier said of each patient.
        classifier_factors: One column for each classifier.
        patient_factors: One column for each patient.
        confidence: Weight of each rating, 0 or more.
        ridge: Weight of the squared length of all factors, which keeps them from growing, 0 or more.
        reduction: `"mean"` or `"sum"`.

    Raises:
        ValueError: Shapes disagree, a confidence or the ridge is negative, no confidence is above 0, or a number that
            counts is NaN or infinite.

    Source:
        Hu, Koren and Volinsky (2008), Collaborative filtering for implicit feedback datasets, ICDM; Koren,
        Bell and Volinsky (2009), Matrix factorization techniques for recommender systems, Computer 42(8), 30-37.

    Examples:
        >>> ratings = torch.tensor([[0.9, 0.2], [0.6, float("nan")]])
        >>> confidence = torch.tensor([[1.0, 2.0], [1.0, 0.0]])
        >>> classifier_factors, patient_factors = torch.tensor([[1.0, 0.5]]), torch.tensor([[0.8, 0.4]])
        >>> reconstruction_loss(ratings, classifier_factors, patient_factors, confidence, reduction="sum")
        tensor(0.1300)
        >>> reconstruction_loss(ratings, classifier_factors, patient_factors, confidence)
        tensor(0.0325)
        >>> reconstruction_loss(ratings, classifier_factors, patient_factors, confidence, ridge=0.1, reduction="sum")
        tensor(0.3350)
    """
    _check_reduction(reduction)
    _check_factors(classifier_factors, patient_factors)
    _check_ratings(ratings, classifier_factors, patient_factors, confidence)
    if not 0 <= ridge < float("inf"):
        raise ValueError(f"ridge is {ridge}; expected a finite number, 0 or more")
    ratings, confidence = widen(ratings), widen(confidence)
    classifier_factors, patient_factors = widen(classifier_factors), widen(patient_factors)
    error = torch.where(confidence > 0, ratings - classifier_factors.T @ patient_factors, 0)
    penalty = classifier_factors.square().sum() + patient_factors.square().sum()
    total = (confidence * error.square()).sum() + ridge * penalty
    return total / confidence.sum() if reduction == "mean" else total


@explained
def supervised_loss(
    classifier_factors: Float[Tensor, "factor classifier"],
    patient_factors: Float[Tensor, "factor patient"],
    labels: Float[Tensor, " patient"],
    labelled: Bool[Tensor, " patient"],
    aggregator: Callable[[Tensor], Tensor],
    reduction: Reduction = "mean",
) -> Float[Tensor, ""]:
    """How surprised a vote over the rebuilt ratings is by the labels that are known.

    Cross-entropy of the labels `l` given the vote's logits `z`: `l softplus(-z) + (1 - l) softplus(z)`. It starts from
    logits, so there is no probability to round to 1, and no small number to keep a logarithm finite.

    Args:
        classifier_factors: One column for each classifier.
        patient_factors: One column for each patient.
        labels: 1 for the event, 0 for none, or a share between; anything for a patient who is not labelled.
        labelled: True for the patients whose label is known.
        aggregator: Turns the rebuilt ratings `[classifier, labelled patient]` into one logit for each labelled patient,
            for example `WeightedVote`.
        reduction: `"mean"` over the labelled patients, or `"sum"`.

    Raises:
        ValueError: Shapes disagree, nobody is labelled, a known label lies outside 0 to 1, a factor or a logit is NaN
            or infinite, or the aggregator returns what comes straight from a sigmoid (seen only where a gradient is
            recorded).

    Examples:
        >>> classifier_factors, patient_factors = torch.tensor([[1.0, 0.5]]), torch.tensor([[2.0, -1.0, 4.0]])
        >>> labels, labelled = torch.tensor([1.0, 0.0, float("nan")]), torch.tensor([True, True, False])
        >>> supervised_loss(classifier_factors, patient_factors, labels, labelled, lambda ratings: ratings.sum(0))
        tensor(0.1250)
    """
    _check_reduction(reduction)
    _check_factors(classifier_factors, patient_factors)
    _check_labels(labels, labelled, patient_factors.shape[1])
    logits = aggregator(classifier_factors.T @ patient_factors[:, labelled])
    _check_votes(logits, int(labelled.sum()))
    logits = widen(logits)
    return binary_cross_entropy_with_logits(logits, labels[labelled].to(logits.dtype), reduction=reduction)


@explained
def combined_loss(
    ratings: Float[Tensor, "classifier patient"],
    classifier_factors: Float[Tensor, "factor classifier"],
    patient_factors: Float[Tensor, "factor patient"],
    confidence: Float[Tensor, "classifier patient"],
    labels: Float[Tensor, " patient"],
    labelled: Bool[Tensor, " patient"],
    aggregator: Callable[[Tensor], Tensor],
    rho: float = 0.5,
    ridge: float = 0.0,
    reconstruction_reduction: Reduction = "mean",
    supervised_reduction: Reduction = "mean",
) -> Float[Tensor, ""]:
    """Rebuild the ratings, and let the vote over them agree with the labels.

    `rho * reconstruction_loss + (1 - rho) * supervised_loss`. What `rho` weighs against what is chosen by the two
    reductions. Two means weigh a typical rating against a typical label, whatever the size of the table. With a sum for
    the first and a mean for the second, `rho` is in truth `rho N / (rho N + 1 - rho)`, where `N` is the total
    confidence: among 300 ratings one half becomes 0.997, and the labels are hardly heard.

    Args:
        ratings: As in `reconstruction_loss`.
        classifier_factors: As in `reconstruction_loss`.
        patient_factors: As in `reconstruction_loss`.
        confidence: As in `reconstruction_loss`.
        labels: As in `supervised_loss`.
        labelled: As in `supervised_loss`.
        aggregator: As in `supervised_loss`.
        rho: Weight of the reconstruction, from 0 (labels alone) to 1 (ratings alone).
        ridge: As in `reconstruction_loss`.
        reconstruction_reduction: `"mean"` or `"sum"` of the reconstruction.
        supervised_reduction: `"mean"` or `"sum"` of the supervision.

    Raises:
        ValueError: `rho` lies outside 0 to 1, or as in the two losses; so without any label, even where `rho` is 1.

    Examples:
        >>> factors = torch.tensor([[1.0, 0.5]]), torch.tensor([[2.0, -1.0]])
        >>> ratings, confidence = torch.tensor([[2.0, -1.0], [1.0, 0.5]]), torch.ones(2, 2)
        >>> labels, labelled = torch.tensor([1.0, 0.0]), torch.tensor([True, True])
        >>> def vote(ratings):
        ...     return ratings.sum(0)
        >>> combined_loss(ratings, *factors, confidence, labels, labelled, vote)  # half of 0.25, half of 0.125
        tensor(0.1875)
    """
    if not 0 <= rho <= 1:
        raise ValueError(f"rho is {rho}; expected a number from 0 (labels alone) to 1 (ratings alone)")
    reconstruction = reconstruction_loss(
        ratings, classifier_factors, patient_factors, confidence, ridge, reconstruction_reduction
    )
    supervision = supervised_loss(
        classifier_factors, patient_factors, labels, labelled, aggregator, supervised_reduction
    )
    return rho * reconstruction + (1 - rho) * supervision


@explained
def weighted_vote(
    ratings: Float[Tensor, "classifier patient"], weight: Float[Tensor, " classifier"], bias: Float[Tensor, ""]
) -> Float[Tensor, " patient"]:
    """One logit for each patient from the ratings of all classifiers: `z = weight . r + bias`.

    Raises:
        ValueError: There is not one weight for each classifier, or the bias is not one number.

    Examples:
        >>> ratings = torch.tensor([[0.9, 0.2], [0.6, 0.4]])
        >>> weighted_vote(ratings, weight=torch.tensor([2.0, 1.0]), bias=torch.tensor(-1.0))
        tensor([ 1.4000, -0.2000])
    """
    if weight.shape != ratings.shape[:1]:
        expected = f"expected [{ratings.shape[0]}], one for each classifier"
        raise ValueError(f"ratings have shape {list(ratings.shape)} and weight {list(weight.shape)}; {expected}")
    if bias.numel() != 1:
        raise ValueError(f"bias has shape {list(bias.shape)}; expected one number")
    if bias.is_complex():
        raise ValueError(f"bias has dtype {bias.dtype}; expected a real number")
    if not weight.device == ratings.device == bias.device:
        devices = f"{ratings.device}, {weight.device} and {bias.device}"
        raise ValueError(f"ratings, weight and bias are on the devices {devices}; expected one device")
    return weight @ ratings + bias


# --------------------------------------------------------------------------------------------------------- modules


class ReconstructionLoss(nn.Module):
    """Confidence-weighted squared error and ridge; see `reconstruction_loss`.

    Examples:
        >>> ReconstructionLoss(ridge=0.1)
        ReconstructionLoss(ridge=0.1, reduction='mean')
    """

    @explained
    def __init__(self, ridge: float = 0.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.ridge = ridge
        self.reduction = reduction

    @explained
    def forward(
        self,
        ratings: Float[Tensor, "classifier patient"],
        classifier_factors: Float[Tensor, "factor classifier"],
        patient_factors: Float[Tensor, "factor patient"],
        confidence: Float[Tensor, "classifier patient"],
    ) -> Float[Tensor, ""]:
        return reconstruction_loss(ratings, classifier_factors, patient_factors, confidence, self.ridge, self.reduction)

    def extra_repr(self) -> str:
        return f"ridge={self.ridge}, reduction={self.reduction!r}"


class SupervisedLoss(nn.Module):
    """Cross-entropy of a vote on the labelled patients; see `supervised_loss`. The parameters of the vote are its own.

    Examples:
        >>> loss = SupervisedLoss(WeightedVote(3))
        >>> list(loss.state_dict())
        ['aggregator.weight', 'aggregator.bias']
    """

    @explained
    def __init__(self, aggregator: Callable[[Tensor], Tensor], reduction: Reduction = "mean") -> None:
        super().__init__()
        self.aggregator = aggregator
        self.reduction = reduction

    @explained
    def forward(
        self,
        classifier_factors: Float[Tensor, "factor classifier"],
        patient_factors: Float[Tensor, "factor patient"],
        labels: Float[Tensor, " patient"],
        labelled: Bool[Tensor, " patient"],
    ) -> Float[Tensor, ""]:
        return supervised_loss(classifier_factors, patient_factors, labels, labelled, self.aggregator, self.reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class CombinedLoss(nn.Module):
    """The two losses, mixed; see `combined_loss`. The parameters of the vote are its own.

    Examples:
        >>> CombinedLoss(WeightedVote(3), rho=0.3)
        CombinedLoss(
          rho=0.3, ridge=0.0, reconstruction_reduction='mean', supervised_reduction='mean'
          (aggregator): WeightedVote(classifiers=3)
        )
    """

    @explained
    def __init__(
        self,
        aggregator: Callable[[Tensor], Tensor],
        rho: float = 0.5,
        ridge: float = 0.0,
        reconstruction_reduction: Reduction = "mean",
        supervised_reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.aggregator = aggregator
        self.rho = rho
        self.ridge = ridge
        self.reconstruction_reduction = reconstruction_reduction
        self.supervised_reduction = supervised_reduction

    @explained
    def forward(
        self,
        ratings: Float[Tensor, "classifier patient"],
        classifier_factors: Float[Tensor, "factor classifier"],
        patient_factors: Float[Tensor, "factor patient"],
        confidence: Float[Tensor, "classifier patient"],
        labels: Float[Tensor, " patient"],
        labelled: Bool[Tensor, " patient"],
    ) -> Float[Tensor, ""]:
        return combined_loss(
            ratings,
            classifier_factors,
            patient_factors,
            confidence,
            labels,
            labelled,
            self.aggregator,
            self.rho,
            self.ridge,
            self.reconstruction_reduction,
            self.supervised_reduction,
        )

    def extra_repr(self) -> str:
        return (
            f"rho={self.rho}, ridge={self.ridge}, reconstruction_reduction={self.reconstruction_reduction!r}, "
            f"supervised_reduction={self.supervised_reduction!r}"
        )


class WeightedVote(nn.Module):
    """A vote whose weights are learned; see `weighted_vote`. It begins as the plain average of the ratings.

    Its average is a logit to the loss. Where the ratings are probabilities, the first votes are unsure, and all on the
    side of the event: an average of 0.9 is read as a probability of 0.71, one of 0.1 as 0.52.

    Raises:
        ValueError: There is no classifier.

    Examples:
        >>> vote = WeightedVote(2)
        >>> vote(torch.tensor([[0.9, 0.2], [0.6, 0.4]])).tolist()
        [0.75, 0.30000001192092896]
    """

    @explained
    def __init__(self, classifiers: int) -> None:
        super().__init__()
        if classifiers < 1:
            raise ValueError(f"classifiers is {classifiers}; expected 1 or more")
        self.weight = nn.Parameter(torch.full((classifiers,), 1 / classifiers))
        self.bias = nn.Parameter(torch.zeros(()))

    @explained
    def forward(self, ratings: Float[Tensor, "classifier patient"]) -> Float[Tensor, " patient"]:
        return weighted_vote(ratings, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"classifiers={self.weight.shape[0]}"


# ---------------------------------------------------------------------------------------------------------- checks


def _check_reduction(reduction: str) -> None:
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}; expected 'mean' or 'sum'")


def _check_factors(classifier_factors: Tensor, patient_factors: Tensor) -> None:
    sizes = [list(classifier_factors.shape), list(patient_factors.shape)]
    if classifier_factors.ndim != 2 or patient_factors.ndim != 2 or sizes[0][0] != sizes[1][0]:
        raise ValueError(
            f"classifier_factors have shape {sizes[0]} and patient_factors {sizes[1]}; "
            "expected two tables with as many factors, which are their rows"
        )
    for name, factors in (("classifier_factors", classifier_factors), ("patient_factors", patient_factors)):
        refuse(~torch.isfinite(factors), factors, name + " at {where} are {value}; expected finite numbers")


def _check_ratings(ratings: Tensor, classifier_factors: Tensor, patient_factors: Tensor, confidence: Tensor) -> None:
    expected = [classifier_factors.shape[1], patient_factors.shape[1]]
    for name, values in (("ratings", ratings), ("confidence", confidence)):
        if list(values.shape) != expected:
            raise ValueError(
                f"{name} of shape {list(values.shape)} and factors of {expected[0]} classifiers and {expected[1]} "
                f"patients do not fit; expected {expected}"
            )
    wrong = ~((confidence >= 0) & torch.isfinite(confidence))
    refuse(wrong, confidence, "confidence at {where} is {value:g}; expected a finite number, 0 or more")
    if not bool((confidence > 0).any()):
        raise ValueError("confidence is 0 for every rating; expected one above 0 at least")
    message = "the rating at {where} is {value} and its confidence above 0; expected a finite number"
    refuse((confidence > 0) & ~torch.isfinite(ratings), ratings, message)


def _check_labels(labels: Tensor, labelled: Tensor, patients: int) -> None:
    for name, values in (("labels", labels), ("labelled", labelled)):
        if not isinstance(values, Tensor):
            raise TypeError(f"{name} is a {type(values).__name__}; expected a tensor")
        if list(values.shape) != [patients]:
            raise ValueError(f"{name} have shape {list(values.shape)}; expected [{patients}], one for each patient")
    if labelled.dtype != torch.bool:
        raise ValueError(f"labelled has dtype {labelled.dtype}; expected bool (True where the label is known)")
    if not bool(labelled.any()):
        raise ValueError("no patient is labelled; expected one at least (reconstruction_loss needs no label)")
    wrong = labelled & ~((labels >= 0) & (labels <= 1))
    refuse(wrong, labels, "the label of the patient at index {where} is {value:g}; expected a number from 0 to 1")


def _check_votes(logits: object, labelled: int) -> None:
    if not isinstance(logits, Tensor):
        raise ValueError(f"the aggregator gave {type(logits).__name__}; expected a tensor, one logit a patient")
    if list(logits.shape) != [labelled]:
        raise ValueError(f"the aggregator gave shape {list(logits.shape)}; expected [{labelled}], one logit a patient")
    if ends_in_sigmoid(logits):
        raise ValueError("the aggregator ends in a sigmoid or softmax; expected the logits that went into it")
    refuse(
        ~torch.isfinite(logits),
        logits,
        "the aggregator gave {value} for labelled patient {where}; expected a finite number",
    )
