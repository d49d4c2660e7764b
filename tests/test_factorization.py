"""The factorization losses agree with slow loops and with other libraries, and each module is its function."""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import Tensor, nn

from visitwise import factorization
from visitwise.factorization import (
    CombinedLoss,
    ReconstructionLoss,
    SupervisedLoss,
    WeightedVote,
    combined_loss,
    reconstruction_loss,
    supervised_loss,
    weighted_vote,
)

pytestmark = pytest.mark.usefixtures("no_global_draws")

NAN = math.nan
RATINGS = torch.tensor([[0.9, 0.2, 0.5], [0.6, NAN, 0.4]], dtype=torch.float64)
CONFIDENCE = torch.tensor([[1.0, 2.0, 0.5], [1.0, 0.0, 3.0]], dtype=torch.float64)
CLASSIFIERS = torch.tensor([[1.0, 0.5], [0.2, -0.4]], dtype=torch.float64)
PATIENTS = torch.tensor([[0.8, 0.4, 0.3], [0.5, -1.0, 2.0]], dtype=torch.float64)
LABELS = torch.tensor([1.0, 0.0, NAN], dtype=torch.float64)
LABELLED = torch.tensor([True, True, False])
TABLE = (RATINGS, CLASSIFIERS, PATIENTS, CONFIDENCE)
KNOWN = (CLASSIFIERS, PATIENTS, LABELS, LABELLED)
ALL = (*TABLE, LABELS, LABELLED)


def vote(ratings: Tensor) -> Tensor:
    return weighted_vote(
        ratings, torch.tensor([2.0, -1.0], dtype=ratings.dtype), torch.tensor(0.3, dtype=ratings.dtype)
    )


def loop_reconstruction(ratings, classifier_factors, patient_factors, confidence, ridge, reduction):
    """Term by term."""
    total = weight = 0.0
    for u in range(ratings.shape[0]):
        for i in range(ratings.shape[1]):
            c = float(confidence[u, i])
            weight += c
            if c > 0:
                rebuilt = sum(
                    float(x) * float(y) for x, y in zip(classifier_factors[:, u], patient_factors[:, i], strict=True)
                )
                total += c * (float(ratings[u, i]) - rebuilt) ** 2
    for factor in [*classifier_factors.flatten(), *patient_factors.flatten()]:
        total += ridge * float(factor) ** 2
    return total / weight if reduction == "mean" else total


def loop_supervised(classifier_factors, patient_factors, labels, labelled, reduction):
    terms = []
    for i in range(len(labels)):
        if labelled[i]:
            rebuilt = (classifier_factors.T @ patient_factors[:, i]).tolist()
            probability = 1 / (1 + math.exp(-(2 * rebuilt[0] - rebuilt[1] + 0.3)))
            label = float(labels[i])
            terms.append(-label * math.log(probability) - (1 - label) * math.log(1 - probability))
    return sum(terms) / len(terms) if reduction == "mean" else sum(terms)


def drawn(seed: int, classifiers: int = 4, patients: int = 9, factors: int = 3) -> tuple[Tensor, ...]:
    random = np.random.default_rng(seed)
    labels, labelled = random.uniform(size=patients).round(1), random.uniform(size=patients) < 0.5
    labelled[0] = True
    arrays = (
        random.uniform(size=(classifiers, patients)),
        random.normal(size=(factors, classifiers)),
        random.normal(size=(factors, patients)),
        random.uniform(size=(classifiers, patients)).round(0) * random.uniform(size=(classifiers, patients)) + 0.001,
        labels,
        labelled,
    )
    return tuple(torch.from_numpy(array) for array in arrays)


# ---------------------------------------------------------------------------------------------------- against loops


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_reconstruction_equals_a_loop_over_the_ratings(ridge, reduction):
    for table in (TABLE, drawn(1)[:4], drawn(2, classifiers=1, patients=1, factors=1)[:4]):
        ours = reconstruction_loss(*table, ridge=ridge, reduction=reduction)
        assert ours.item() == pytest.approx(loop_reconstruction(*table, ridge, reduction), rel=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_supervision_equals_a_loop_over_the_labelled_and_scikit_learn(reduction):
    assert supervised_loss(*KNOWN, vote, reduction).item() == pytest.approx(
        loop_supervised(*KNOWN, reduction), rel=1e-12
    )
    probability = torch.sigmoid(vote(CLASSIFIERS.T @ PATIENTS))[LABELLED]
    theirs = log_loss(LABELS[LABELLED].numpy(), probability.numpy(), normalize=reduction == "mean")
    assert supervised_loss(*KNOWN, vote, reduction).item() == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("rho", [0.0, 0.3, 1.0])
def test_combination_is_the_mix_of_the_two(rho):
    for first, second in [("mean", "mean"), ("sum", "sum"), ("sum", "mean"), ("mean", "sum")]:
        mixed = combined_loss(*ALL, vote, rho, 0.1, first, second)
        expected = rho * reconstruction_loss(*TABLE, 0.1, first) + (1 - rho) * supervised_loss(*KNOWN, vote, second)
        assert torch.equal(mixed, expected)


def test_best_factors_of_a_classifier_solve_the_equation_of_alternating_least_squares():
    """Hu, Koren and Volinsky (2008), equation 4: the gradient vanishes there, of the mean and of the sum."""
    ratings, _, patients, confidence, *_ = drawn(5)
    ridge = 0.2
    best = torch.stack(
        [
            torch.linalg.solve(patients * c @ patients.T + ridge * torch.eye(3, dtype=c.dtype), patients @ (c * r))
            for r, c in zip(ratings, confidence, strict=True)
        ],
        dim=1,
    )
    for reduction in ("mean", "sum"):
        factors = best.clone().requires_grad_()
        reconstruction_loss(ratings, factors, patients, confidence, ridge, reduction).backward()
        assert factors.grad.abs().max() < 1e-12
        moved = (best + 0.01).requires_grad_()
        reconstruction_loss(ratings, moved, patients, confidence, ridge, reduction).backward()
        assert moved.grad.abs().max() > 1e-4


def test_gradients_are_those_of_finite_differences():
    ratings, x, y, confidence, labels, labelled = drawn(6, patients=4)
    x, y, w, b = (
        value.requires_grad_() for value in (x, y, torch.linspace(-1, 1, 4, dtype=x.dtype), torch.tensor(0.2).double())
    )

    def loss(x: Tensor, y: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return combined_loss(ratings, x, y, confidence, labels, labelled, lambda r: weighted_vote(r, w, b), 0.4, 0.1)

    assert torch.autograd.gradcheck(loss, (x, y, w, b))


def test_a_rating_without_confidence_and_a_label_that_is_not_known_touch_nothing():
    for filling in (NAN, math.inf, 1e30):
        ratings = torch.where(CONFIDENCE > 0, RATINGS, filling)
        labels = torch.where(LABELLED, LABELS, filling)
        x, y = CLASSIFIERS.clone().requires_grad_(), PATIENTS.clone().requires_grad_()
        value = combined_loss(ratings, x, y, CONFIDENCE, labels, LABELLED, vote)
        value.backward()
        assert torch.equal(value, combined_loss(*ALL, vote))
        assert x.grad.isfinite().all()
        assert y.grad.isfinite().all()


def test_supervision_stays_finite_and_keeps_teaching_where_the_vote_is_sure_and_wrong():
    for dtype in (torch.float32, torch.float64):
        factors = torch.tensor([[100.0]], dtype=dtype, requires_grad=True)
        known = (torch.ones(1, 1, dtype=dtype), factors, torch.zeros(1, dtype=dtype), torch.tensor([True]))
        loss = supervised_loss(*known, lambda ratings: ratings.sum(0))
        loss.backward()
        assert loss.item() == 100
        assert factors.grad.item() == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_before_anything_is_added_up(dtype):
    ratings, confidence = torch.full((10, 10_000), 0.75, dtype=dtype), torch.ones(10, 10_000, dtype=dtype)
    x, y = torch.full((1, 10), 0.5, dtype=dtype), torch.full((1, 10_000), 0.5, dtype=dtype)
    rebuilt = reconstruction_loss(ratings, x, y, confidence)
    assert rebuilt.dtype == torch.float32
    assert rebuilt.item() == 0.25
    labels, labelled = torch.ones(10_000, dtype=dtype), torch.ones(10_000, dtype=torch.bool)
    supervised = supervised_loss(x, y, labels, labelled, lambda ratings: ratings.sum(0), "sum")
    assert supervised.dtype == torch.float32
    assert supervised.item() == pytest.approx(10_000 * math.log1p(math.exp(-2.5)), rel=1e-5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_labels_may_be_of_another_type_than_the_factors(dtype):
    labels = LABELS.nan_to_num(0)
    known = (CLASSIFIERS, PATIENTS, labels.to(dtype), LABELLED, vote)
    assert torch.equal(supervised_loss(*known), supervised_loss(*KNOWN, vote))


# -------------------------------------------------------------------------------------------------- what rho weighs


def test_two_means_weigh_the_same_however_often_the_patients_are_repeated():
    ratings, x, y, confidence, labels, labelled = drawn(7)
    for times in (1, 10, 100):
        wide = [values.repeat(1, times) for values in (ratings, y, confidence)]
        table = (wide[0], x, wide[1], wide[2])
        known = (x, wide[1], labels.repeat(times), labelled.repeat(times))
        voter = WeightedVote(4).double()
        torch.testing.assert_close(reconstruction_loss(*table), reconstruction_loss(ratings, x, y, confidence))
        torch.testing.assert_close(supervised_loss(*known, voter), supervised_loss(x, y, labels, labelled, voter))
        grown = reconstruction_loss(*table, reduction="sum")
        torch.testing.assert_close(grown, times * reconstruction_loss(ratings, x, y, confidence, reduction="sum"))


def test_a_sum_against_a_mean_is_another_rho_between_means():
    ratings, x, y, confidence, labels, labelled = drawn(8)
    total, rho = confidence.sum().item(), 0.5
    in_means = rho * total / (rho * total + 1 - rho)

    def gradients(rho: float, first: str) -> Tensor:
        a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
        voter = WeightedVote(4).double()
        combined_loss(ratings, a, b, confidence, labels, labelled, voter, rho, 0.1, first).backward()
        return torch.cat([a.grad.flatten(), b.grad.flatten(), voter.weight.grad, voter.bias.grad[None]])

    mismatched, rewritten = gradients(rho, "sum"), gradients(in_means, "mean")
    torch.testing.assert_close(mismatched, rewritten * (rho * total + 1 - rho))


# ---------------------------------------------------------------------------------------------------------- modules

VOTE = WeightedVote(2).double()
PAIRS: list[tuple[type[nn.Module], Callable[..., Tensor], tuple[Tensor, ...], dict[str, Any]]] = [
    (ReconstructionLoss, reconstruction_loss, TABLE, {"ridge": 0.3, "reduction": "sum"}),
    (SupervisedLoss, supervised_loss, KNOWN, {"aggregator": VOTE, "reduction": "sum"}),
    (
        CombinedLoss,
        combined_loss,
        ALL,
        {
            "aggregator": VOTE,
            "rho": 0.3,
            "ridge": 0.2,
            "reconstruction_reduction": "sum",
            "supervised_reduction": "sum",
        },
    ),
]


def test_every_loss_has_a_module_in_this_table() -> None:
    modules = [
        value for value in vars(factorization).values() if inspect.isclass(value) and issubclass(value, nn.Module)
    ]
    assert set(modules) == {module for module, *_ in PAIRS} | {WeightedVote}


@pytest.mark.parametrize(("module", "function", "inputs", "settings"), PAIRS)
def test_module_equals_function_bit_for_bit_in_value_and_gradient(module, function, inputs, settings):
    def evaluated(loss: Callable[..., Tensor], **more: Any) -> tuple[Tensor, ...]:
        VOTE.zero_grad()
        leaves = [value.clone().requires_grad_() if value.is_floating_point() else value for value in inputs]
        value = loss(*leaves, **more)
        value.backward()
        factors = [leaf.grad for leaf in leaves if leaf.shape in (CLASSIFIERS.shape, PATIENTS.shape)]
        return value, *(grad for grad in factors if grad is not None)

    for ours, theirs in zip(evaluated(module(**settings)), evaluated(function, **settings), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(
        function(*inputs, **settings), function(*inputs, *([VOTE] if "aggregator" in settings else []))
    )


@pytest.mark.parametrize(("module", "function", "inputs", "settings"), PAIRS)
def test_settings_of_a_module_and_what_it_is_called_with_are_the_arguments_of_the_function(
    module, function, inputs, settings
):
    called_with, ours = parameters(module.forward), parameters(module.__init__)
    assert not called_with.keys() & ours.keys()
    assert list(called_with) + list(ours) == list(parameters(function))
    assert list(ours) == list(settings)
    for name, argument in parameters(function).items():
        mine = {**called_with, **ours}[name]
        assert mine.default == argument.default, name
        assert str(mine.annotation) == str(argument.annotation), name


def parameters(function: Callable[..., object]) -> dict[str, inspect.Parameter]:
    return {name: value for name, value in inspect.signature(function).parameters.items() if name != "self"}


def test_untouched_modules_have_the_defaults_of_the_functions():
    assert torch.equal(ReconstructionLoss()(*TABLE), reconstruction_loss(*TABLE))
    assert torch.equal(SupervisedLoss(VOTE)(*KNOWN), supervised_loss(*KNOWN, VOTE))
    assert torch.equal(CombinedLoss(VOTE)(*ALL), combined_loss(*ALL, VOTE))


def test_a_loss_owns_the_parameters_of_its_vote_and_nothing_else():
    assert ReconstructionLoss().state_dict() == {}
    for loss in (SupervisedLoss(WeightedVote(2)), CombinedLoss(WeightedVote(2))):
        assert list(loss.state_dict()) == ["aggregator.weight", "aggregator.bias"]
        assert [name for name, _ in loss.named_parameters()] == list(loss.state_dict())
    assert list(SupervisedLoss(vote).parameters()) == []  # a plain function serves as well, and owns nothing


def test_a_vote_begins_as_the_average_and_equals_its_function():
    ratings = RATINGS.nan_to_num(0.1)
    torch.testing.assert_close(VOTE(ratings), ratings.mean(0))
    assert torch.equal(VOTE(ratings), weighted_vote(ratings, VOTE.weight, VOTE.bias))
    linear = nn.functional.linear(ratings.T, VOTE.weight[None], VOTE.bias[None])[:, 0]
    torch.testing.assert_close(VOTE(ratings), linear)
    four = torch.tensor([[0.9], [0.6], [0.3], [0.2]])
    torch.testing.assert_close(WeightedVote(4)(four), four.mean(0))


def test_modules_show_their_settings():
    assert repr(ReconstructionLoss(0.1, "sum")) == "ReconstructionLoss(ridge=0.1, reduction='sum')"
    assert "reduction='sum'" in repr(SupervisedLoss(VOTE, "sum"))
    assert "rho=0.3, ridge=0.0" in repr(CombinedLoss(VOTE, rho=0.3))
    assert repr(VOTE) == "WeightedVote(classifiers=2)"


# --------------------------------------------------------------------------------------------------------- refusals


def changed(values: Tensor, at: tuple[int, ...], value: float) -> Tensor:
    copy = values.clone()
    copy[at] = value
    return copy


X_BAD, Y_BAD = changed(CLASSIFIERS, (1, 0), NAN), changed(PATIENTS, (0, 2), math.inf)
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "factors of different lengths": (
        lambda: reconstruction_loss(RATINGS, CLASSIFIERS[:1], PATIENTS, CONFIDENCE),
        "classifier_factors have shape [1, 2] and patient_factors [2, 3]; "
        "expected two tables with as many factors, which are their rows",
    ),
    "one factor given flat": (
        lambda: supervised_loss(CLASSIFIERS[0], PATIENTS, LABELS, LABELLED, vote),
        "classifier_factors have shape [2] and patient_factors [2, 3]; "
        "expected two tables with as many factors, which are their rows",
    ),
    "ratings the other way up": (
        lambda: reconstruction_loss(RATINGS.T, CLASSIFIERS, PATIENTS, CONFIDENCE),
        "ratings of shape [3, 2] and factors of 2 classifiers and 3 patients do not fit; expected [2, 3]",
    ),
    "confidence for patients alone": (
        lambda: reconstruction_loss(RATINGS, CLASSIFIERS, PATIENTS, CONFIDENCE[0]),
        "confidence of shape [3] and factors of 2 classifiers and 3 patients do not fit; expected [2, 3]",
    ),
    "negative confidence": (
        lambda: reconstruction_loss(RATINGS, CLASSIFIERS, PATIENTS, changed(CONFIDENCE, (1, 2), -0.5)),
        "confidence at [1, 2] is -0.5; expected a finite number, 0 or more",
    ),
    "confidence NaN": (
        lambda: reconstruction_loss(RATINGS, CLASSIFIERS, PATIENTS, changed(CONFIDENCE, (0, 0), NAN)),
        "confidence at [0, 0] is nan; expected a finite number, 0 or more",
    ),
    "confidence infinite": (
        lambda: reconstruction_loss(RATINGS, CLASSIFIERS, PATIENTS, changed(CONFIDENCE, (1, 2), math.inf)),
        "confidence at [1, 2] is inf; expected a finite number, 0 or more",
    ),
    "no confidence at all": (
        lambda: reconstruction_loss(RATINGS, CLASSIFIERS, PATIENTS, 0 * CONFIDENCE),
        "confidence is 0 for every rating; expected one above 0 at least",
    ),
    "a rating NaN that counts": (
        lambda: reconstruction_loss(RATINGS, CLASSIFIERS, PATIENTS, changed(CONFIDENCE, (1, 1), 1.0)),
        "the rating at [1, 1] is nan and its confidence above 0; expected a finite number",
    ),
    "a rating infinite that counts": (
        lambda: reconstruction_loss(changed(RATINGS, (0, 2), math.inf), CLASSIFIERS, PATIENTS, CONFIDENCE),
        "the rating at [0, 2] is inf and its confidence above 0; expected a finite number",
    ),
    "a factor NaN": (
        lambda: reconstruction_loss(RATINGS, X_BAD, PATIENTS, CONFIDENCE),
        "classifier_factors at [1, 0] are nan; expected finite numbers",
    ),
    "a factor infinite": (
        lambda: supervised_loss(CLASSIFIERS, Y_BAD, LABELS, LABELLED, vote),
        "patient_factors at [0, 2] are inf; expected finite numbers",
    ),
    "negative ridge": (
        lambda: ReconstructionLoss(ridge=-0.1)(*TABLE),
        "ridge is -0.1; expected a finite number, 0 or more",
    ),
    "ridge NaN": (lambda: reconstruction_loss(*TABLE, ridge=NAN), "ridge is nan; expected a finite number, 0 or more"),
    "ridge infinite": (
        lambda: reconstruction_loss(*TABLE, ridge=math.inf),
        "ridge is inf; expected a finite number, 0 or more",
    ),
    "no reduction": (
        lambda: reconstruction_loss(*TABLE, reduction="none"),
        "reduction is 'none'; expected 'mean' or 'sum'",
    ),
    "misspelt reduction": (
        lambda: supervised_loss(*KNOWN, vote, "average"),
        "reduction is 'average'; expected 'mean' or 'sum'",
    ),
    "labels for the labelled alone": (
        lambda: supervised_loss(CLASSIFIERS, PATIENTS, LABELS[:2], LABELLED, vote),
        "labels have shape [2]; expected [3], one for each patient",
    ),
    "labelled as numbers of patients": (
        lambda: supervised_loss(CLASSIFIERS, PATIENTS, LABELS, torch.tensor([0, 1, 1]), vote),
        "labelled has dtype torch.int64; expected bool (True where the label is known)",
    ),
    "nobody labelled": (
        lambda: supervised_loss(CLASSIFIERS, PATIENTS, LABELS, ~LABELLED & False, vote),
        "no patient is labelled; expected one at least (reconstruction_loss needs no label)",
    ),
    "nobody labelled, and rho 1": (
        lambda: combined_loss(*TABLE, LABELS, ~LABELLED & False, vote, rho=1.0),
        "no patient is labelled; expected one at least (reconstruction_loss needs no label)",
    ),
    "label above 1": (
        lambda: supervised_loss(CLASSIFIERS, PATIENTS, 2 * LABELS, LABELLED, vote),
        "the label of the patient at index 0 is 2; expected a number from 0 to 1",
    ),
    "label below 0": (
        lambda: supervised_loss(CLASSIFIERS, PATIENTS, LABELS - 0.25, LABELLED, vote),
        "the label of the patient at index 1 is -0.25; expected a number from 0 to 1",
    ),
    "label NaN": (
        lambda: supervised_loss(CLASSIFIERS, PATIENTS, LABELS, LABELLED | True, vote),
        "the label of the patient at index 2 is nan; expected a number from 0 to 1",
    ),
    "rho above 1": (
        lambda: combined_loss(*ALL, vote, rho=1.5),
        "rho is 1.5; expected a number from 0 (labels alone) to 1 (ratings alone)",
    ),
    "rho below 0": (
        lambda: combined_loss(*ALL, vote, rho=-0.5),
        "rho is -0.5; expected a number from 0 (labels alone) to 1 (ratings alone)",
    ),
    "rho NaN": (
        lambda: CombinedLoss(vote, rho=NAN)(*ALL),
        "rho is nan; expected a number from 0 (labels alone) to 1 (ratings alone)",
    ),
    "aggregator over patients": (
        lambda: supervised_loss(*KNOWN, lambda ratings: ratings.sum(1)[:1]),
        "the aggregator gave shape [1]; expected [2], one logit a patient",
    ),
    "aggregator forgets to return": (
        lambda: supervised_loss(*KNOWN, lambda ratings: None),
        "the aggregator gave NoneType; expected a tensor, one logit a patient",
    ),
    **{
        f"aggregator ends in a {name}": (
            partial(supervised_loss, CLASSIFIERS.clone().requires_grad_(), *KNOWN[1:], ends),
            "the aggregator ends in a sigmoid or softmax; expected the logits that went into it",
        )
        for name, ends in {
            "sigmoid": lambda ratings: torch.sigmoid(ratings.sum(0)),
            "softmax": lambda ratings: torch.softmax(ratings.sum(0), 0),
            "sigmoid whose values are moved": lambda ratings: torch.sigmoid(ratings.sum(0, keepdim=True)).squeeze(0),
        }.items()
    },
    "aggregator returns NaN": (
        lambda: supervised_loss(*KNOWN, lambda ratings: ratings.sum(0) * torch.tensor([1.0, NAN])),
        "the aggregator gave nan for labelled patient 1; expected a finite number",
    ),
    "aggregator returns infinity": (
        lambda: supervised_loss(*KNOWN, lambda ratings: ratings.sum(0) / torch.tensor([0.0, 1.0])),
        "the aggregator gave inf for labelled patient 0; expected a finite number",
    ),
    "a vote for other classifiers": (
        lambda: WeightedVote(3)(torch.ones(2, 4)),
        "ratings have shape [2, 4] and weight [3]; expected [2], one for each classifier",
    ),
    "a vote with a bias for each patient": (
        lambda: weighted_vote(torch.ones(2, 4), torch.ones(2), torch.ones(4)),
        "bias has shape [4]; expected one number",
    ),
    "a vote of nobody": (lambda: WeightedVote(0), "classifiers is 0; expected 1 or more"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_answered_with_what_was_given_and_what_was_expected(mistake):
    wrong, says = BAD[mistake]
    with pytest.raises(ValueError) as refused:  # noqa: PT011 (the whole sentence is compared)
        wrong()
    assert str(refused.value) == says
