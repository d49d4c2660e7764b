"""What the notes say about losses as classes and as functions, tried."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.ledger import Evidence, claim
from visitwise.check.class_or_function import PlainWeights
from visitwise.factorization import WeightedVote, combined_loss, reconstruction_loss
from visitwise.functional import hazard_nll
from visitwise.losses import HazardNLL, MultiTaskLoss

HAZARDS = torch.tensor([[0.1, 0.2, 0.3], [0.15, 0.25, torch.nan]], dtype=torch.float64)
RECORD = (torch.logit(HAZARDS), torch.tensor([3, 2]), torch.tensor([True, True]))


class WithEpsilon(nn.Module):
    """The notes' loss as far as its state goes: a setting in a plain attribute, data in the call."""

    def __init__(self, eps: float = 1e-7) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, hazards: Tensor, last: Tensor, observed: Tensor, mask: Tensor) -> Tensor:
        kept = hazards.clamp(self.eps, 1 - self.eps)
        visit = torch.arange(hazards.shape[1])
        survived = (visit < last[:, None]) * mask
        ended = (visit == last[:, None]) * mask * observed[:, None]
        return -(survived * (1 - kept).log() + ended * kept.log()).sum(1).mean()


# The notes' losses for an ensemble, in NumPy: a sum over ratings, a mean over labels, a guard of 1e-15.


def in_numpy(ratings, classifiers, instances, confidence):
    return np.sum(confidence * (ratings - classifiers.T @ instances) ** 2)


def cross_entropy_in_numpy(probability, label, eps=1e-15):
    kept = np.clip(probability, eps, 1 - eps)
    return np.mean(-label * np.log(kept) - (1 - label) * np.log(1 - kept))


@claim(
    "A1",
    "In PyTorch a loss is a class with a `forward`, and a regular function is another kind of loss. (The conversation "
    "asks how the two compare, and nobody answers.)",
    source="conversation",
    verdict="DEPENDS",
    shows="The same loss as a function and as a class: largest difference of the values {value:g}, of the gradients "
    "{gradient:g}. The class holds {tensors} tensors.",
    teaches="A class is needed where a loss owns tensors to be saved, moved or trained, or other modules, or where "
    "hooks, functions that run at each call, are wanted. Otherwise a function is enough, and gradients are the same "
    "either way.",
    chapter="03-class-or-function#does-it-own-tensors",
)
def test_a_class_without_tensors_adds_nothing_to_value_or_gradient(evidence: Evidence) -> None:
    results = []
    for loss in (hazard_nll, HazardNLL()):
        logits = RECORD[0].clone().requires_grad_()
        value = loss(logits, *RECORD[1:])
        value.backward()
        results.append((value.detach(), logits.grad))
    (a, slope_a), (b, slope_b) = results
    assert torch.equal(a, b)
    assert torch.equal(slope_a, slope_b)
    assert a.item() == pytest.approx(1.540645, abs=5e-7)
    held = [*HazardNLL().parameters(), *HazardNLL().buffers()]
    assert HazardNLL().state_dict() == {}
    evidence(value=(a - b).abs().item(), gradient=(slope_a - slope_b).abs().max().item(), tensors=len(held))


@claim(
    "A2",
    "What a loss class has to define is `forward()`. (The conversation asks what belongs there, and gets no answer.)",
    source="conversation",
    verdict="TRUE",
    shows="A class with `forward` alone can be called. Of {calls} calls, `loss(...)` and `loss.forward(...)`, {hooks} "
    "runs a hook, a function that was to run at each call.",
    teaches="Define `forward`, and call the object: the call runs the hooks before and after `forward`. `forward`, "
    "called by name, leaves them out silently.",
    chapter="03-class-or-function#what-forward-defines",
)
def test_forward_is_what_you_define_and_not_what_you_call(evidence: Evidence) -> None:
    class Squared(nn.Module):
        def forward(self, value: Tensor) -> Tensor:
            return value**2

    loss, ran = Squared(), []
    loss.register_forward_hook(lambda *_: ran.append("hook"))
    called = [loss(torch.tensor(3.0)), loss.forward(torch.tensor(3.0))]
    assert [value.item() for value in called] == [9, 9]
    assert ran == ["hook"]
    with pytest.raises(NotImplementedError):
        nn.Module()(torch.tensor(3.0))
    evidence(calls=len(called), hooks=len(ran))


@claim(
    "A3",
    "To label the censored 'no event' is wrong; correct is to write `loss = DiscreteTimeSurvivalLoss(hazards, "
    "event_times, event_indicators, mask)`.",
    source="readme",
    verdict="FALSE",
    shows="It raises a TypeError: `__init__` takes {least} to {most} arguments, the object included, and is given "
    "{given}. Constructed first and then called, the loss of the notes' two patients is {loss:.6f}.",
    teaches="Construct with settings, then call with data: `loss = Loss()`, then `loss(hazards, ...)`. The quick start "
    "of the same README does so.",
    chapter="03-class-or-function#what-forward-defines",
)
def test_a_loss_class_is_constructed_and_then_called(evidence: Evidence) -> None:
    data = (HAZARDS.nan_to_num(0), torch.tensor([2, 1]), torch.tensor([1, 1]), ~HAZARDS.isnan())
    with pytest.raises(TypeError, match="takes from 1 to 2 positional arguments but 5 were given"):
        WithEpsilon(*data)
    loss = WithEpsilon()(*data).item()
    assert loss == pytest.approx(hazard_nll(*RECORD).item(), abs=1e-12)
    evidence(least=1, most=2, given=1 + len(data), loss=loss)


@claim(
    "A4",
    "The `eps` and the `task_weights` that a loss module is constructed with are part of its state. (The code does not "
    "say so; it keeps them in plain attributes.)",
    source="losses code",
    verdict="FALSE",
    shows="Of {given} such settings {saved} are in `state_dict()`. A saved weight of {weight:g}, loaded into a module "
    "built with a weight of {built:g}, comes back as {plain:g} from a plain attribute and as {buffer:g} from a "
    "buffer.",
    teaches="A plain attribute is neither saved nor moved with the model. A tensor that belongs to a module and is not "
    "trained is a buffer: use `register_buffer`.",
    chapter="03-class-or-function#does-it-own-tensors",
)
def test_plain_attributes_are_not_saved_and_buffers_are(evidence: Evidence) -> None:
    hers, yours = PlainWeights({"stroke": 0.25}), PlainWeights({"stroke": 1.0})
    saved = len(WithEpsilon(1e-3).state_dict()) + len(hers.state_dict())
    assert saved == 0
    yours.load_state_dict(hers.state_dict())
    one = {"stroke": torch.tensor(1.0)}
    plain = float(yours(one))
    assert plain == 1
    assert float(hers(one)) == 0.25
    kept, fresh = (MultiTaskLoss({"stroke": nn.MSELoss()}, {"stroke": w}) for w in (0.25, 1.0))
    fresh.load_state_dict(kept.state_dict())
    buffer = fresh({"stroke": (torch.tensor(1.0), torch.tensor(0.0))}).item()
    assert buffer == 0.25
    assert fresh.double().weights()["stroke"].dtype == torch.float64
    evidence(given=2, saved=saved, weight=0.25, built=1.0, plain=plain, buffer=buffer)


@claim(
    "A5",
    "The multi-task loss is the weighted sum of the losses of all tasks.",
    source="losses code",
    verdict="DEPENDS",
    shows="With losses of {first:g} and {second:g} and weights of one, the total is {spelt:g}. With one letter missing "
    "in the second name of the weights it is {misspelt:g}, without an error.",
    teaches="It is, if every task is spelt as in the weights. A task that is not named there is left out silently; if "
    "none is, the total is a plain 0 that has no `backward`. A loss should refuse a name that it does not know.",
    chapter="03-class-or-function#a-weight-that-learns",
)
def test_a_misspelt_task_is_left_out_of_the_sum(evidence: Evidence) -> None:
    def summed(weights: dict[str, float], losses: dict[str, Tensor]) -> Tensor | float:
        total: Tensor | float = 0.0
        for name, loss in losses.items():
            if name in weights:
                total = total + weights[name] * loss
        return total

    losses = {"survival": torch.tensor(1.0), "readmission": torch.tensor(9.0)}
    spelt = summed({"survival": 1.0, "readmission": 1.0}, losses)
    misspelt = summed({"survival": 1.0, "readmision": 1.0}, losses)
    assert (spelt.item(), misspelt.item()) == (10, 1)
    with pytest.raises(AttributeError):
        summed({"death": 1.0}, losses).backward()
    with pytest.raises(ValueError, match="is it 'readmission'"):
        MultiTaskLoss({name: nn.MSELoss() for name in losses}, {"survival": 1.0, "readmision": 1.0})
    evidence(first=1.0, second=9.0, spelt=spelt.item(), misspelt=misspelt.item())


@claim(
    "A6",
    "The supervised loss is the sum of the cross-entropies of the labelled instances; `rho` balances it with the "
    "reconstruction, best between 0.3 and 0.7.",
    source="cf-ensemble",
    verdict="FALSE",
    shows="The code returns the mean, but the sum for the reconstruction. For random ratings by {classifiers} "
    "classifiers, half of the instances labelled and a `rho` of {rho:g}, the reconstruction is {shares[100]:.2%} of "
    "the loss for 100 instances, {shares[1000]:.2%} for 1,000 and {shares[10000]:.3%} for 10,000; between two means it "
    "is {mean:.0%} for all three.",
    teaches="Between a sum and a mean `rho` is no trade-off, because one term grows with the table. Take two means, or "
    "say openly which reduction each has.",
    chapter="03-class-or-function#a-sum-against-a-mean",
)
def test_rho_between_a_sum_and_a_mean_leaves_nothing_to_the_labels(evidence: Evidence) -> None:
    shares, of_means = {}, []
    for n in (100, 1_000, 10_000):
        random = np.random.default_rng(3)
        ratings, confidence = random.uniform(size=(10, n)), np.ones((10, n))
        x, y = 0.01 * random.normal(size=(20, 10)), 0.01 * random.normal(size=(20, n))
        labels, labelled = random.integers(0, 2, n).astype(float), np.arange(n) < n // 2
        rated = in_numpy(ratings, x, y, confidence)
        vote = 1 / (1 + np.exp(-(x.T @ y).mean(0)[labelled]))
        supervised = cross_entropy_in_numpy(vote, labels[labelled])
        shares[n] = 0.5 * rated / (0.5 * rated + 0.5 * supervised)
        of_means.append(rated / (10 * n) / (rated / (10 * n) + supervised))
        table = [torch.from_numpy(values) for values in (ratings, x, y, confidence, labels, labelled)]
        ours = combined_loss(*table, WeightedVote(10).double(), reconstruction_reduction="sum")
        assert ours.item() == pytest.approx(0.5 * rated + 0.5 * supervised, rel=1e-10)
    assert 1 - np.array(list(shares.values())) == pytest.approx([2.1e-3, 2.1e-4, 2.1e-5], rel=0.05)
    assert max(of_means) - min(of_means) < 0.01
    assert all(round(share, 2) == round(np.mean(of_means), 2) for share in of_means)
    evidence(classifiers=10, rho=0.5, shares=shares, mean=float(np.mean(of_means)))


@claim(
    "A7",
    "The functions of the module compute the true combined loss, and serve to get its exact gradients by PyTorch's "
    "backpropagation.",
    source="cf-ensemble",
    verdict="FALSE",
    shows="The functions are written in NumPy. Of {ways} ways to hand them tensors {raised} raise an error, and the "
    "last returns a number without a gradient. In torch the gradients of the same formula lie within {bound:.0e} of "
    "finite differences.",
    teaches="A function can be differentiated as well as a class can. What cannot is NumPy: write the loss in torch. "
    "The trainer of that project does, a second time.",
    chapter="03-class-or-function#numpy-is-another-matter",
)
def test_numpy_and_not_the_function_stands_in_the_way_of_gradients(evidence: Evidence) -> None:
    random = np.random.default_rng(5)
    arrays = [random.uniform(size=(3, 4)), random.normal(size=(2, 3)), random.normal(size=(2, 4)), np.ones((3, 4))]
    ratings, x, y, confidence = (torch.from_numpy(values) for values in arrays)
    x, y = x.requires_grad_(), y.requires_grad_()
    ways: list[Callable[[], object]] = [
        lambda: in_numpy(ratings, x, y, confidence),
        lambda: in_numpy(arrays[0], x, y, arrays[3]),
        lambda: in_numpy(arrays[0], x.numpy(), y.numpy(), arrays[3]),
        lambda: in_numpy(arrays[0], x.detach().numpy(), y.detach().numpy(), arrays[3]),
    ]
    raised, returned = 0, []
    for way in ways:
        try:
            returned.append(way())
        except (TypeError, RuntimeError):
            raised += 1
    assert raised == 3
    (number,) = returned
    assert not torch.as_tensor(number).requires_grad

    ours = reconstruction_loss(ratings, x, y, confidence, reduction="sum")
    assert ours.item() == pytest.approx(float(number), rel=1e-12)
    ours.backward()
    bound, step = 1e-7, 1e-5
    for place in np.ndindex(2, 3):
        above, below = arrays[1].copy(), arrays[1].copy()
        above[place] += step
        below[place] -= step
        slope = (in_numpy(arrays[0], above, *arrays[2:]) - in_numpy(arrays[0], below, *arrays[2:])) / (2 * step)
        assert abs(x.grad[place].item() - slope) < bound
    evidence(ways=len(ways), raised=raised, bound=bound)


@claim(
    "A8",
    "Clipping probabilities with an `eps` of ten to the minus fifteen makes the cross-entropy numerically stable.",
    source="cf-ensemble",
    verdict="DEPENDS",
    shows="In float64 a sure and wrong prediction costs {double:.2f}. In float32 one minus `eps` is exactly "
    "{kept:g}, and {broken} of {cases} sure predictions, one wrong and one right, cost infinity or NaN.",
    teaches="It does in float64, if anybody is labelled; the mean over nobody is NaN. In float32 the guard is smaller "
    "than the step from one to the number before it, so it rounds to nothing. A loss that starts from logits needs no "
    "guard.",
    chapter="03-class-or-function#a-small-number-that-is-not-there",
)
def test_a_guard_smaller_than_the_step_before_one_guards_nothing(evidence: Evidence) -> None:
    double = cross_entropy_in_numpy(np.ones(1), np.zeros(1))
    assert double == pytest.approx(-np.log(1 - (1 - 1e-15))) == pytest.approx(34.54, abs=0.005)
    sure, label = np.ones(1, np.float32), np.float32
    with np.errstate(divide="ignore", invalid="ignore"):
        single = [cross_entropy_in_numpy(sure, label([truth])) for truth in (0, 1)]
    assert np.isinf(single[0])
    assert np.isnan(single[1])
    in_torch = torch.ones(1).clamp(1e-15, 1 - 1e-15)  # the notes' own torch version clamps in the same way
    assert in_torch.item() == 1
    with pytest.warns(RuntimeWarning):  # nobody labelled: the mean of nothing
        assert np.isnan(cross_entropy_in_numpy(np.ones(0), np.ones(0)))
    logits = torch.full((2,), 40.0)
    costs = nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor([0.0, 1.0]), reduction="none")
    assert costs.isfinite().all()
    broken = sum(not np.isfinite(value) for value in single)
    evidence(double=double, kept=float(np.float32(1) - np.float32(1e-15)), broken=broken, cases=len(single))
