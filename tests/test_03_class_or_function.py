"""The claims of chapter 03, one test each, and the pieces of the page that could drift from the package."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pycox.models.loss import NLLLogistiHazardLoss, nll_logistic_hazard
from torch import Tensor, nn

from visitwise.check.class_or_function import (
    PlainWeights,
    balance_in_means,
    calls,
    clipped_cross_entropy,
    saved_and_trained,
)
from visitwise.factorization import (
    CombinedLoss,
    ReconstructionLoss,
    SupervisedLoss,
    WeightedVote,
    combined_loss,
    reconstruction_loss,
    supervised_loss,
)
from visitwise.functional import hazard_nll
from visitwise.losses import HazardNLL, MultiTaskLoss, multi_task_loss
from visitwise.widgets.two_doors import TwoDoors, record, stack_of

HAZARDS = torch.tensor([[0.1, 0.2, 0.3], [0.15, 0.25, torch.nan]], dtype=torch.float64)
STOP, OBSERVED = torch.tensor([3, 2]), torch.tensor([True, True])
RECORD = (torch.logit(HAZARDS), STOP, OBSERVED)
READMITTED = (
    torch.logit(torch.tensor([[0.3, 0.4], [0.2, 0.5]], dtype=torch.float64)),
    torch.tensor([2, 2]),
    torch.tensor([True, False]),
)
TASKS = {"stroke": RECORD, "readmission": READMITTED}
WEIGHTS = {"stroke": 1.0, "readmission": 0.25}

RATINGS = torch.tensor([[0.8, 0.3, 0.6], [0.6, 0.4, 0.5], [0.7, 0.2, torch.nan]], dtype=torch.float64)
CONFIDENCE = torch.tensor([[2.0, 1, 1], [1, 1, 1], [1, 1, 0]], dtype=torch.float64)
CLASSIFIERS = torch.tensor([[1.0, 0.9, 0.8]], dtype=torch.float64)
PATIENTS = torch.tensor([[0.8, 0.3, 0.6]], dtype=torch.float64)
LABELS = torch.tensor([1.0, 0.0, torch.nan], dtype=torch.float64)
LABELLED = torch.tensor([True, True, False])
RIDGE = 0.05


def two_tasks(weights: dict[str, float] | None = None, learnable: bool = False) -> MultiTaskLoss:
    return MultiTaskLoss({"stroke": HazardNLL(), "readmission": HazardNLL()}, weights, learnable)


# -------------------------------------------------------------------------------------------------------- the doors


def test_three_doors_give_the_same_bits_and_one_of_them_runs_the_hook():
    loss, ran = HazardNLL(), []
    loss.register_forward_hook(lambda *_: ran.append("hook"))
    values, gradients, hooks = [], [], []
    for door in (hazard_nll, loss.forward, loss):
        logits = RECORD[0].clone().requires_grad_()
        ran.clear()
        value = door(logits, STOP, OBSERVED)
        value.backward()
        values.append(value)
        gradients.append(logits.grad)
        hooks.append(len(ran))
    by_hand = -(np.log(0.9 * 0.8 * 0.3) + np.log(0.85 * 0.25)) / 2
    assert values[0].item() == pytest.approx(by_hand) == pytest.approx(1.540645, abs=5e-7)
    assert all(torch.equal(value, values[0]) for value in values)
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)
    assert hooks == [0, 0, 1]


def test_the_call_stacks_merge_at_the_function_and_are_the_same_below_it():
    loss = HazardNLL()
    doors = [lambda: hazard_nll(*RECORD), lambda: loss.forward(*RECORD), lambda: loss(*RECORD)]
    before, below = [], []
    for door in doors:
        entered = calls(door)
        arrived = [name for _, name in entered].index("hazard_nll")
        depth = entered[arrived][0]
        before.append([name for _, name in entered[:arrived]])
        below.append([(d - depth, name) for d, name in entered[arrived:]])
    assert before == [
        [],
        ["HazardNLL.forward"],
        ["Module._wrapped_call_impl", "Module._call_impl", "HazardNLL.forward"],
    ]
    assert below[0] == below[1] == below[2]
    assert len(below[0]) > 5


KERNEL = "binary_cross_entropy_with_logits"


@pytest.mark.parametrize("hook", [False, True])
@pytest.mark.parametrize("pos_weight", ["none", "1.0", "3.0", "2.3"])
def test_both_doors_of_cross_entropy_lead_to_the_same_compiled_call(hook: bool, pos_weight: str):
    given = TwoDoors().given
    calls = {
        each["door"]: [given["frames"][k]["name"].rpartition(".")[2] for k in each["frames"]]
        for each in given["calls"]
        if (each["hook"], each["pos_weight"], each["moved"]) == (hook, pos_weight, False)
    }
    hooked = ["inner"] if hook else []
    assert calls["function"] == ["your line", KERNEL, KERNEL]
    assert calls["forward"] == ["your line", "forward", KERNEL, KERNEL]
    assert calls["call"] == ["your line", "_wrapped_call_impl", "_call_impl", *hooked, "forward", KERNEL, KERNEL]
    same = [(each["same_loss"], each["same_gradient"]) for each in given["calls"] if not each["moved"]]
    assert set(same) == {(True, True)}
    ran = {(each["door"], each["hook"]): each["hooks"] for each in given["calls"]}
    assert {key for key, times in ran.items() if times} == {("call", True)}


def test_a_weight_that_float32_rounds_parts_the_doors_once_it_is_moved_and_no_other_does():
    for each in TwoDoors().given["calls"]:
        parted = each["moved"] and each["pos_weight"] == "2.3" and each["door"] != "function"
        assert (each["same_loss"], each["same_gradient"]) == (not parted, not parted)
        kept = each["door"] != "function" and each["pos_weight"] != "none"
        assert [name for name, *_ in each["holds"]] == ["pos_weight"] * kept
        assert all(dtype == ("float32" if each["moved"] else "float64") for *_, dtype in each["holds"])


def test_the_record_names_no_place_of_this_machine_and_is_the_same_twice():
    first = record()
    assert first == record()
    told = json.dumps(first)
    assert not re.search(r"0x[0-9a-f]{4}|site-packages|\.\.|\\\\", told)
    assert str(Path.home()) not in told
    for frame in first["frames"]:
        assert re.fullmatch(r"(torch|visitwise)/[\w/]+\.py|compiled, in C\+\+", frame["file"])


def test_recording_leaves_a_profiler_as_it_was_even_if_the_call_fails():
    seen: list[str] = []

    def profiler(_frame: object, event: str, _called: object) -> None:
        seen.append(event)

    sys.setprofile(profiler)
    try:
        value, stack = stack_of(
            lambda: nn.functional.binary_cross_entropy_with_logits(RECORD[0][0], torch.ones(3).double())
        )
        with pytest.raises(ValueError, match="same as input size"):
            stack_of(lambda: nn.functional.binary_cross_entropy_with_logits(RECORD[0][0], torch.ones(2)))
        kept = sys.getprofile()
    finally:
        sys.setprofile(None)
    assert kept is profiler
    assert value.isfinite()
    assert [frame["name"].rpartition(".")[2] for frame in stack][1:] == [KERNEL, KERNEL]


def test_without_forward_a_module_cannot_be_called():
    with pytest.raises(NotImplementedError, match='missing the required "forward" function'):
        nn.Module()(1)


@pytest.mark.usefixtures("unchecked")
def test_the_class_given_the_data_fails_or_takes_them_for_settings():
    with pytest.raises(TypeError, match="takes from 1 to 3 positional arguments but 4 were given"):
        HazardNLL(*RECORD)
    mistaken = HazardNLL(RECORD[0], STOP)
    assert mistaken.censored_exposure is RECORD[0]
    with pytest.raises(AttributeError, match="backward"):
        mistaken.backward()
    assert HazardNLL()(*RECORD).isfinite()


# --------------------------------------------------------------------------------------------------- what is kept


def test_weights_in_a_plain_dictionary_are_forgotten_and_buffers_are_not():
    losses = {name: hazard_nll(*each) for name, each in TASKS.items()}
    hers, yours = PlainWeights(WEIGHTS), PlainWeights(dict.fromkeys(WEIGHTS, 1.0))
    result = yours.load_state_dict(hers.state_dict())
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    assert yours(losses).item() == pytest.approx(1.540645 + 1.094628, abs=1e-6)
    with_buffers = two_tasks()
    with_buffers.load_state_dict(two_tasks(WEIGHTS).state_dict())
    assert with_buffers(TASKS).item() == pytest.approx(1.540645 + 0.25 * 1.094628, abs=1e-6)
    assert hers(losses).item() == pytest.approx(with_buffers(TASKS).item(), abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("a number", (False, None, False)),
        ("a tensor", (False, False, False)),
        ("a dictionary", (False, None, False)),
        ("a buffer", (True, True, False)),
        ("a parameter", (True, True, True)),
    ],
)
def test_only_buffers_and_parameters_are_saved_and_moved(kind: str, expected: tuple[bool | None, ...]):
    module, number = nn.Module(), torch.tensor(0.25)
    if kind == "a buffer":
        module.register_buffer("weight", number)
    else:
        given = {"a number": 0.25, "a tensor": number, "a dictionary": {"w": 0.25}, "a parameter": nn.Parameter(number)}
        module.weight = given[kind]
    saved, trained = "weight" in module.state_dict(), "weight" in dict(module.named_parameters())
    assert (saved, trained) == (expected[0], expected[2])
    # "meta" is a device that every machine has: it keeps shapes and no numbers.
    module.to("meta")
    if expected[1] is not None:
        assert (module.weight.device.type == "meta") is expected[1]


def test_hazard_nll_owns_no_tensor_and_the_losses_with_a_vote_own_the_vote():
    assert saved_and_trained(HazardNLL(censored_exposure=0.5)) == [0, 0]
    assert saved_and_trained(ReconstructionLoss(RIDGE)) == [0, 0]
    for loss in (SupervisedLoss(WeightedVote(3)), CombinedLoss(WeightedVote(3))):
        assert saved_and_trained(loss) == [2, 2]
    assert saved_and_trained(two_tasks(WEIGHTS)) == [2, 0]
    assert saved_and_trained(two_tasks(WEIGHTS, learnable=True)) == [2, 2]


def test_the_losses_of_pytorch_and_of_pycox_are_a_function_and_a_module_as_well():
    logits, labels, weight = torch.tensor([0.3, -1.2]), torch.tensor([1.0, 0.0]), torch.tensor(3.0)
    module = nn.BCEWithLogitsLoss(pos_weight=weight)
    function = nn.functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weight)
    assert torch.equal(module(logits, labels), function)
    with_both = nn.BCEWithLogitsLoss(torch.tensor(2.0), pos_weight=weight)
    assert list(with_both.state_dict()) == ["weight", "pos_weight"]
    index, events = STOP - 1, OBSERVED.double()
    phi = RECORD[0].nan_to_num(0)
    assert torch.equal(NLLLogistiHazardLoss()(phi, index, events), nll_logistic_hazard(phi, index, events))


# ---------------------------------------------------------------------------------------------- the ensemble's losses


def test_the_ensemble_of_the_page_has_the_losses_printed_there_both_ways():
    vote = WeightedVote(3).double()
    table = (RATINGS, CLASSIFIERS, PATIENTS, CONFIDENCE)
    known = (CLASSIFIERS, PATIENTS, LABELS, LABELLED)
    squares = 0.0 + 0.12**2 + 0.13**2 + 0.04**2 + 0.06**2 + 0.04**2  # lab score and Ben, Cleo fit exactly
    penalty = RIDGE * (1 + 0.81 + 0.64 + 0.64 + 0.09 + 0.36)
    rebuilding = reconstruction_loss(*table, RIDGE)
    assert rebuilding.item() == pytest.approx((squares + penalty) / 9) == pytest.approx(0.023900, abs=5e-7)
    means = [0.9 * 0.8, 0.9 * 0.3]
    voted = np.mean([np.log1p(np.exp(-means[0])), np.log1p(np.exp(means[1]))])
    assert supervised_loss(*known, vote).item() == pytest.approx(voted) == pytest.approx(0.616913, abs=5e-7)
    both = (*table, LABELS, LABELLED)
    combined = combined_loss(*both, vote, 0.5, RIDGE)
    assert combined.item() == pytest.approx((rebuilding.item() + voted) / 2)
    assert torch.equal(ReconstructionLoss(RIDGE)(*table), rebuilding)
    assert torch.equal(SupervisedLoss(vote)(*known), supervised_loss(*known, vote))
    assert torch.equal(CombinedLoss(vote, 0.5, RIDGE)(*both), combined)


def share_of_the_ratings(times: int, reduction: str) -> float:
    vote, wide = WeightedVote(3).double(), PATIENTS.repeat(1, times)
    rated = reconstruction_loss(
        RATINGS.repeat(1, times), CLASSIFIERS, wide, CONFIDENCE.repeat(1, times), reduction=reduction
    ).item()
    return rated / (
        rated + supervised_loss(CLASSIFIERS, wide, LABELS.repeat(times), LABELLED.repeat(times), vote).item()
    )


def test_copying_patients_drowns_the_labels_only_between_a_sum_and_a_mean():
    grown = [share_of_the_ratings(times, "sum") for times in (1, 10, 100, 1000)]
    assert grown == pytest.approx([0.0582, 0.3818, 0.8606, 0.9841], abs=5e-5)
    assert [share_of_the_ratings(times, "mean") for times in (1, 10, 100, 1000)] == pytest.approx([grown_mean()] * 4)


def grown_mean() -> float:
    """The share of two means, from the sum for three patients and the total confidence of 9."""
    ratio = share_of_the_ratings(1, "sum") / (1 - share_of_the_ratings(1, "sum")) / 9
    return ratio / (1 + ratio)


def test_one_half_between_a_sum_of_300_ratings_and_a_mean_is_nearly_one():
    assert balance_in_means(torch.tensor(0.5), torch.tensor(300.0)).item() == pytest.approx(300 / 301)
    assert f"{300 / 301:.3f}" == "0.997"


@pytest.mark.usefixtures("unchecked")
def test_numpy_raises_on_tensors_and_returns_numbers_without_a_past():
    factors = PATIENTS.clone().requires_grad_()
    with pytest.raises(TypeError):
        np.sum(factors, axis=0)
    with pytest.raises(RuntimeError, match="requires grad"):
        factors.numpy()
    assert not torch.as_tensor(np.sum(factors.detach().numpy())).requires_grad
    ones = torch.ones_like(RATINGS)
    assert reconstruction_loss(RATINGS.nan_to_num(0), CLASSIFIERS, factors, ones).requires_grad


def test_a_guard_of_1e15_is_rounded_away_in_float32_and_logits_need_none():
    truth = torch.tensor([1.0, 0.0])
    single = clipped_cross_entropy(torch.ones(2), truth, 1e-15)
    assert single[0].isnan()
    assert single[1].isinf()
    double = clipped_cross_entropy(torch.ones(2, dtype=torch.float64), truth.double(), 1e-15)
    assert double.tolist() == pytest.approx([0, -np.log(1 - (1 - 1e-15))], abs=1e-12)
    assert torch.finfo(torch.float32).eps / 2 == pytest.approx(6e-8, rel=0.01)
    from_logits = nn.functional.binary_cross_entropy_with_logits(torch.full((2,), 100.0), truth, reduction="none")
    assert from_logits.tolist() == pytest.approx([0, 100])


# ------------------------------------------------------------------------------------------------- several tasks


def test_a_misspelt_task_is_dropped_by_plain_weights_and_refused_by_ours():
    losses = {"stroke": torch.tensor(1.0), "readmission": torch.tensor(9.0)}
    misspelt = {"stroke": 1.0, "readmision": 1.0}
    assert PlainWeights(misspelt)(losses).item() == 1
    with pytest.raises(ValueError, match=re.escape("(is it 'readmission'?)")):
        multi_task_loss(losses, misspelt)
    with pytest.raises(AttributeError, match="backward"):
        PlainWeights({})(losses).backward()


def settled(pain: tuple[Tensor, Tensor]) -> dict[str, float]:
    losses = {"stroke": HazardNLL(), "pain": nn.MSELoss()}
    loss = MultiTaskLoss(losses, {"stroke": 1.0, "pain": 0.01}, learnable=True).double()
    optimiser = torch.optim.SGD(loss.parameters(), lr=0.5)
    for _ in range(60):
        optimiser.zero_grad()
        loss({"stroke": RECORD, "pain": pain}).backward()
        optimiser.step()
    return {name: weight.item() for name, weight in loss.weights().items()}


def test_a_learned_weight_is_one_over_the_loss_and_so_follows_its_unit():
    scores = torch.tensor([62.0, 38.0], dtype=torch.float64), torch.tensor([50.0, 50.0], dtype=torch.float64)
    to_hundred, to_ten = settled(scores), settled((scores[0] / 10, scores[1] / 10))
    assert to_hundred == pytest.approx({"stroke": 1 / hazard_nll(*RECORD).item(), "pain": 1 / 144}, rel=1e-6)
    assert to_ten["pain"] == pytest.approx(100 * to_hundred["pain"], rel=1e-6)
    assert to_ten["stroke"] == pytest.approx(to_hundred["stroke"], rel=1e-6)


def test_a_parameter_that_the_optimiser_was_not_given_never_moves():
    for told in (False, True):
        model, loss = nn.Linear(1, 1), MultiTaskLoss({"pain": nn.MSELoss()}, learnable=True)
        optimiser = torch.optim.SGD([*model.parameters(), *(loss.parameters() if told else [])], lr=0.1)
        loss({"pain": (model(torch.ones(2, 1)), torch.full((2, 1), 5.0))}).backward()
        optimiser.step()
        assert (loss.weights()["pain"].item() != 1) is told
