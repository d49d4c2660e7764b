# %% [markdown]
# # Class or function, step by step
#
# Here you run the chapter [Class or function](../explainer/03-class-or-function.md), one idea a cell. Cells that begin
# with `guess = None` ask you first: put your answer there and run the cell again. The notebook also runs untouched, from
# top to bottom.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from visitwise import check, plots
from visitwise.check import class_or_function as wrong
from visitwise.check.class_or_function import calls, saved_and_trained
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
from visitwise.notebook import fact, show
from visitwise.widgets import TwoDoors

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
plt.style.use("visitwise.survival")

# %% [markdown]
# ## 1. Two doors
#
# Ada and Ben from chapter 1 again. A **tensor** is PyTorch's array. One made with `requires_grad_()` remembers what is
# computed from it, so that `backward()` can work out the **gradient**: how much the loss moves when an entry moves.

# %%
hazards = torch.tensor([[0.1, 0.2, 0.3], [0.15, 0.25, torch.nan]])
stop, observed = torch.tensor([3, 2]), torch.tensor([True, True])


def fresh_logits():
    """The logits of Ada and Ben, ready to take a gradient."""
    return torch.logit(hazards).requires_grad_()


# %% [markdown]
# `hazard_nll` is a function. `HazardNLL` is a **module**, a class that inherits from `nn.Module`: first you construct an
# object, then you call it. By how much do the two losses differ?

# %%
guess = None
loss = HazardNLL()
by_function, by_module = fresh_logits(), fresh_logits()
value = hazard_nll(by_function, stop, observed)
same_value = loss(by_module, stop, observed)
check.near(guess, (value - same_value).abs(), tolerance=1e-12)

# %%
value.backward()
same_value.backward()
rows = {
    "hazard_nll(...)": [value.item(), by_function.grad[0, 0].item()],
    "HazardNLL()(...)": [same_value.item(), by_module.grad[0, 0].item()],
}
pd.DataFrame(rows, index=["loss", "gradient at Ada's first visit"]).T

# %%
assert torch.equal(value, same_value)
assert torch.equal(by_function.grad, by_module.grad)

# %% [markdown]
# Not by one bit, and neither do the gradients. The machinery that finds gradients, **autograd**, follows the tensors and
# does not care who sent them.
#
# ## 2. What the call adds
#
# You write a method called `forward`; the reader of your code calls the object. A **hook** is a function that a module
# runs when it is called, for logging, for instance. Two lines follow: `loss(...)` and `loss.forward(...)`. How often
# does the hook run in all?

# %%
guess = None
check.same(
    guess,
    1,
    mistakes={
        "forward, called by name, goes past the hooks": 2,
        "calling the object is what runs the hooks": 0,
    },
)

# %%
ran = []
handle = loss.register_forward_hook(lambda *_: ran.append("hook"))
logits = torch.logit(hazards)
doors = {
    "hazard_nll(...)": lambda: hazard_nll(logits, stop, observed),
    "loss.forward(...)": lambda: loss.forward(logits, stop, observed),
    "loss(...)": lambda: loss(logits, stop, observed),
}
rows = {}
for written, door in doors.items():
    ran.clear()
    rows[written] = {"loss": door().item(), "hooks run": len(ran)}
handle.remove()
by_door = pd.DataFrame(rows).T
by_door.astype({"hooks run": int})

# %%
assert by_door["loss"].nunique() == 1
assert by_door["hooks run"].tolist() == [0, 0, 1]

# %% [markdown]
# One number, three ways. Only the last runs the hook, and the second leaves it out without a word.
#
# ### Which functions does each of them go through?
#
# `calls` writes down every Python function of PyTorch and of this package that is entered.

# %%
recorded = {written: calls(door) for written, door in doors.items()}
before, below = {}, {}
for written, entered in recorded.items():
    names = [name for _, name in entered]
    arrived = names.index("hazard_nll")
    depth = entered[arrived][0]
    before[written] = names[:arrived]
    below[written] = [(d - depth, name) for d, name in entered[arrived:]]
pd.DataFrame(
    {
        "before hazard_nll": {k: len(v) for k, v in before.items()},
        "from there on": {k: len(v) for k, v in below.items()},
    }
)

# %%
assert below["hazard_nll(...)"] == below["loss.forward(...)"]
assert below["hazard_nll(...)"] == below["loss(...)"]
before["loss(...)"]

# %% [markdown]
# From `hazard_nll` on the three are the same, call for call. The module adds
# [3](fact:calls_before_by_module) calls before: two of PyTorch's, which run the hooks, and your `forward`.

# %% [markdown]
# ### Is it so for PyTorch's own losses?
#
# Its cross-entropy comes both ways, too. Your own PyTorch was recorded for Ada's three rows: every function on the way
# to the compiled code. Drag the frame in focus, put a hook on the module, and give both doors a weight for the event.

# %% tags=["figure:two_doors"]
two_doors = TwoDoors()
two_doors

# %% [markdown]
# What you set is in `two_doors.pos_weight` and its like. The next cell goes through both doors with it, and stops if
# the losses are not those on show.

# %%
z, y = torch.logit(hazards[0]), torch.tensor([0.0, 0.0, 1.0])
own = two_doors.pos_weight
w = None if own == "none" else torch.tensor(float(own))
keeper = nn.BCEWithLogitsLoss(pos_weight=w, reduction="sum")
if two_doors.moved:
    keeper.to(torch.float32)
entered = binary_cross_entropy_with_logits(
    z, y, pos_weight=w, reduction="sum"
)
two_doors.agrees(
    function_loss=entered.item(), module_loss=keeper(z, y).item()
)

# %%
if not two_doors.moved:
    assert torch.equal(keeper(z, y), entered)
if w is None:
    ada = hazard_nll(z[None], stop[:1], observed[:1])
    torch.testing.assert_close(entered, ada)
{name: held.dtype for name, held in keeper.state_dict().items()}

# %% [markdown]
# Without a weight the loss is Ada's from chapter 1, and the module keeps nothing. With one, the module owns a tensor:
# `.to` moves it, and leaves yours alone. Move a weight that float32 rounds, and the two losses part.
#
# ### What if there is no forward?

# %%
try:
    nn.Module()(logits)
except NotImplementedError as error:
    said = str(error)
assert "forward" in said
said

# %% [markdown]
# `forward` is the one thing you must define. Its arguments are what you call the object with; what it returns is what
# the call returns.
#
# ### Construct, then call
#
# What becomes of a class that is given the data, as if it were the function?

# %%
try:
    HazardNLL(logits, stop, observed)
except TypeError as error:
    said = str(error)
assert "positional arguments" in said
said

# %% [markdown]
# Python hands them to `__init__`, which knows two settings and no data. That was luck. With two arguments it passes:

# %%
mistaken = HazardNLL(logits, stop)
try:
    mistaken.backward()
except AttributeError as error:
    said = str(error)
said

# %% [markdown]
# You get a module whose settings are data, and an error that speaks of something else. Construct with settings, then
# call with data: `HazardNLL()(logits, stop, observed)`.
#
# ## 3. What a module keeps
#
# A module can hold a number in three ways. Which of them does it save with the model, which does it move, which does
# training change? Here moving is a change of type; a move to a graphics card goes the same way.

# %%
kept = nn.Module()
kept.attribute = torch.tensor(0.25)
kept.register_buffer("buffer", torch.tensor(0.25))
kept.parameter = nn.Parameter(torch.tensor(0.25))
kept.to(torch.float32)
trained = [name for name, _ in kept.named_parameters()]
kinds = pd.DataFrame(
    {
        name: {
            "saved": name in kept.state_dict(),
            "moved": getattr(kept, name).dtype == torch.float32,
            "trained": name in trained,
        }
        for name in ("attribute", "buffer", "parameter")
    }
).T
kinds.replace({True: "yes", False: "no"})

# %%
assert kinds.loc["attribute"].tolist() == [False, False, False]
assert kinds.loc["buffer"].tolist() == [True, True, False]
assert kinds.loc["parameter"].tolist() == [True, True, True]

# %% [markdown]
# `state_dict()` is the dictionary of tensors that is saved. A plain attribute is not in it, even if it is a tensor.
#
# ### Does it matter?
#
# Ada and Ben have a second task: were they readmitted to hospital? Ada was, in interval 1. Ben was not, in two
# intervals. The two losses are added, and readmission has the weight [0.25](fact:readmission_weight).

# %%
readmitted = torch.logit(torch.tensor([[0.3, 0.4], [0.2, 0.5]]))
tasks = {
    "stroke": (logits, stop, observed),
    "readmission": (
        readmitted,
        torch.tensor([2, 2]),
        torch.tensor([True, False]),
    ),
}
task_losses = {name: hazard_nll(*each) for name, each in tasks.items()}
weights = {"stroke": 1.0, "readmission": 0.25}
total = multi_task_loss(task_losses, weights)
pd.DataFrame(
    {
        "loss": {k: v.item() for k, v in task_losses.items()},
        "weight": weights,
    }
)

# %% [markdown]
# A colleague trained with these weights, in a module that keeps them in a plain dictionary, and saved its
# `state_dict()`. You load it into the same class, built with weights of 1. Which total does yours compute?

# %%
guess = None
colleague = wrong.PlainWeights(weights)
yours = wrong.PlainWeights({"stroke": 1.0, "readmission": 1.0})
yours.load_state_dict(colleague.state_dict())
forgotten = yours(task_losses)
check.near(
    guess,
    forgotten,
    mistakes={
        "that would be the colleague's; her weights were not saved": total,
        "that leaves readmission out": task_losses["stroke"],
    },
)

# %%
holds = {"stroke": HazardNLL(), "readmission": HazardNLL()}
with_buffers = MultiTaskLoss(holds)
with_buffers.load_state_dict(MultiTaskLoss(holds, weights).state_dict())
restored = with_buffers(tasks)
totals = {
    "the colleague's": colleague(task_losses).item(),
    "yours, plain dictionary": forgotten.item(),
    "yours, buffers": restored.item(),
}
pd.DataFrame({"total": totals})

# %%
assert torch.equal(restored, total)
assert colleague.state_dict() == {}

# %% [markdown]
# Yours is [2.635](fact:total_forgotten), hers was [1.814](fact:total_restored), and nobody was told: an empty dictionary
# was saved and an empty one fits. `MultiTaskLoss` keeps its weights in buffers.

# %%
MultiTaskLoss(holds, weights)

# %% [markdown]
# ### Exercise 1
#
# Write a function that returns a module which *saves* a weight and trains nothing. `saved_and_trained` counts the
# tensors of both sorts.


# %% tags=["exercise"]
# Three ways to hold a number stand in the table above.
def keep(weight):
    """A module that saves this weight and trains nothing."""
    return None  # your code here


check.same(
    saved_and_trained(keep(0.25)),
    [1, 0],
    mistakes={
        "a plain attribute is not saved": [0, 0],
        "a parameter is saved, and trained as well": [1, 1],
    },
)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Three ways to hold a number stand in the table above.
def keep(weight):
    """A module that saves this weight and trains nothing."""
    module = nn.Module()
    module.register_buffer("weight", torch.tensor(weight))
    return module


check.same(
    saved_and_trained(keep(0.25)),
    [1, 0],
    mistakes={
        "a plain attribute is not saved": [0, 0],
        "a parameter is saved, and trained as well": [1, 1],
    },
)

# %% [markdown]
# ## 4. Three losses of an ensemble, both ways
#
# Three classifiers have rated the patients: how likely is a readmission within two intervals? The third has not seen
# Cleo, and nobody knows whether she was readmitted. **Matrix factorization** gives each classifier and each patient a
# short list of *factors*, here one number, whose product rebuilds the rating. The **confidence** says how much an error
# counts; the lab score's rating of Ada counts twice.

# %%
ratings = torch.tensor(
    [[0.8, 0.3, 0.6], [0.6, 0.4, 0.5], [0.7, 0.2, torch.nan]]
)
confidence = torch.tensor([[2.0, 1, 1], [1, 1, 1], [1, 1, 0]])
classifier_factors = torch.tensor([[1.0, 0.9, 0.8]])
patient_factors = torch.tensor([[0.8, 0.3, 0.6]])
labels = torch.tensor([1.0, 0.0, torch.nan])
labelled = torch.tensor([True, True, False])
people = ["Ada", "Ben", "Cleo"]
who = ["lab score", "nurse", "registry"]
rebuilt = classifier_factors.T @ patient_factors
pd.DataFrame(rebuilt, index=who, columns=people)

# %% [markdown]
# The **reconstruction loss** is the mean squared error, each error counted as often as its confidence says. A **ridge**
# of [0.05](fact:ensemble_ridge), times the squares of all factors, keeps them small; it is divided by the total confidence, too.
# What is it here?

# %%
guess = None
ridge = 0.05
table = ratings, classifier_factors, patient_factors, confidence
rebuilding = reconstruction_loss(*table, ridge=ridge)
check.near(
    guess,
    rebuilding,
    mistakes=check.values(
        wrong.RECONSTRUCTION, *table, torch.tensor(ridge)
    ),
)

# %%
squares = ((ratings - rebuilt) ** 2).nan_to_num(0)
penalty = (classifier_factors**2).sum() + (patient_factors**2).sum()
steps = pd.Series(
    {
        "confidence times squared errors": (confidence * squares).sum(),
        "ridge times squared factors": ridge * penalty,
        "total confidence": confidence.sum(),
        "reconstruction loss": rebuilding,
    }
).astype(float)
steps.to_frame("value").round(4)

# %%
torch.testing.assert_close(
    rebuilding,
    ((confidence * squares).sum() + ridge * penalty) / confidence.sum(),
)

# %% [markdown]
# The **supervised loss** lets the classifiers vote. A weighted vote turns the rebuilt ratings of one patient into a
# logit, and cross-entropy compares it with the label, for those who have one. The **combined loss** is `rho` times the
# first plus `1 - rho` times the second. Each is here a function, and a module around it.

# %%
vote = WeightedVote(3)
rho = 0.5
known = classifier_factors, patient_factors, labels, labelled
everything = *table, labels, labelled
pairs = {
    "reconstruction": (
        reconstruction_loss(*table, ridge),
        ReconstructionLoss(ridge)(*table),
    ),
    "supervised": (
        supervised_loss(*known, vote),
        SupervisedLoss(vote)(*known),
    ),
    "combined": (
        combined_loss(*everything, vote, rho, ridge),
        CombinedLoss(vote, rho, ridge)(*everything),
    ),
}
both = {name: [v.item() for v in pair] for name, pair in pairs.items()}
pd.DataFrame(both, index=["function", "module"]).T

# %%
for name, (from_function, from_module) in pairs.items():
    assert torch.equal(from_function, from_module), name


# %% [markdown]
# The values are the same to the last bit. And the gradients?


# %%
def gradient(loss):
    """Of the combined loss, with respect to the patients' factors."""
    vote.zero_grad()
    factors = patient_factors.clone().requires_grad_()
    inputs = ratings, classifier_factors, factors, confidence
    loss(*inputs, labels, labelled).backward()
    return factors.grad


slopes = pd.DataFrame(
    {
        "function": gradient(
            lambda *inputs: combined_loss(*inputs, vote, rho, ridge)
        )[0],
        "module": gradient(CombinedLoss(vote, rho, ridge))[0],
    },
    index=people,
)
slopes.round(4)

# %%
assert (slopes["function"] == slopes["module"]).all()
saved_and_trained(CombinedLoss(vote)), saved_and_trained(HazardNLL())

# %% [markdown]
# The same again. What the module of the combined loss has and the function has not: it *owns* the vote, whose weight and
# bias are saved with it and trained. `HazardNLL` owns no tensor; it is there for its settings, and to be a part of other
# modules.
#
# ### NumPy is another matter
#
# The same sum, written with NumPy. What does it make of tensors that want a gradient?

# %%
factors = patient_factors.clone().requires_grad_()
complete = ratings.nan_to_num(0)
attempts = {
    "tensors": lambda: wrong.reconstruction_in_numpy(
        complete, classifier_factors, factors, confidence
    ),
    "tensor.numpy()": lambda: factors.numpy(),
    "tensor.detach().numpy()": lambda: wrong.reconstruction_in_numpy(
        complete.numpy(),
        classifier_factors.numpy(),
        factors.detach().numpy(),
        confidence.numpy(),
    ),
}
outcomes = {}
for given, attempt in attempts.items():
    try:
        outcomes[given] = f"a {type(attempt()).__name__}, no gradient"
    except (TypeError, RuntimeError) as error:
        outcomes[given] = type(error).__name__
pd.DataFrame({"what comes of it": outcomes})

# %%
assert outcomes["tensors"] == "TypeError"
assert outcomes["tensor.numpy()"] == "RuntimeError"
in_torch = reconstruction_loss(
    complete, classifier_factors, factors, confidence, reduction="sum"
)
assert in_torch.requires_grad

# %% [markdown]
# It fails, or it hands back a number that does not know where it comes from. Being a function is not what stands in the
# way: `reconstruction_loss` is one, too. What a gradient needs is torch, all the way.
#
# ## 5. A sum against a mean
#
# Some code takes the *sum* over the ratings and the *mean* over the labels, and calls a `rho` of [0.5](fact:ensemble_rho) a balance. Write each
# patient down a thousand times: nothing is to be learned that was not there before. Which share of the combined loss are
# the ratings now?

# %%
guess = None
copies = [1, 3, 10, 30, 100, 300, 1000]
shares = pd.DataFrame(index=copies, columns=["sum", "mean"], dtype=float)
for times in copies:
    wide = patient_factors.repeat(1, times)
    more = ratings.repeat(1, times), classifier_factors, wide
    labels_of_all = labels.repeat(times), labelled.repeat(times)
    voted = supervised_loss(*more[1:], *labels_of_all, vote).item()
    for reduction in shares:
        rated = reconstruction_loss(
            *more, confidence.repeat(1, times), reduction=reduction
        ).item()
        shares.loc[times, reduction] = rated / (rated + voted)
check.near(
    guess,
    shares.loc[1000, "sum"],
    mistakes={
        "that is the share before they are copied": shares.loc[1, "sum"],
        "that is the share where both are means": shares.loc[1000, "mean"],
        "that is rho": 0.5,
    },
    tolerance=0.005,
)

# %%
shares.rename_axis("copies", axis="columns").round(4)

# %% tags=["figure:share_of_the_ratings"]
figure, axes = plt.subplots(figsize=(5.4, 3.8))
axes.semilogx(
    3 * shares.index, shares["sum"], "^--", color=plots.COLOURS["wrong"]
)
axes.semilogx(
    3 * shares.index, shares["mean"], "o-", color=plots.COLOURS["survival"]
)
axes.text(
    3.2,
    0.5,
    "wrong: a sum\nagainst a mean",
    color=plots.COLOURS["wrong"],
)
axes.text(
    40, 0.06, "a mean against a mean", color=plots.COLOURS["survival"]
)
axes.set(
    xlabel="patients, the same three again and again",
    ylabel="share of the ratings in the loss",
    ylim=(-0.03, 1.03),
)
axes.set_xticks([3, 30, 300, 3000], ["3", "30", "300", "3,000"])
axes.set_xticks([], minor=True)
show(
    figure,
    alt="Share of the ratings in the combined loss. A sum against a mean: "
    f"it climbs from {shares.loc[1, 'sum']:.0%} for three patients to "
    f"{shares.loc[1000, 'sum']:.0%} for three thousand copies. A mean "
    f"against a mean: {shares.loc[1, 'mean']:.1%} throughout.",
)

# %%
assert shares["sum"].is_monotonic_increasing
assert abs(shares["mean"] - shares.loc[1, "mean"]).max() < 1e-12

# %% [markdown]
# From [6%](fact:ensemble_share_1) to [98%](fact:ensemble_share_1000), by copying. With two means the share stays where it was,
# whatever that is: squared errors of probabilities are small beside cross-entropies. `combined_loss` has a reduction
# for each of its two losses, and both are means unless you say otherwise.

# %%
balance = torch.tensor(0.5), torch.tensor(300.0)  # rho, confidence

# %% [markdown]
# ### Exercise 2
#
# A sum is $N$ times its mean, with $N$ the total confidence. So `rho` between a sum and a mean asks for the same
# gradient, up to a factor, as another `rho` between two means. Which one, for a `rho` of [0.5](fact:ensemble_rho) and three hundred ratings
# of confidence 1?

# %% tags=["exercise"]
# The two weights are rho * N and 1 - rho. Divide them by their sum.
rho_between_means = None  # your code here

check.near(
    rho_between_means,
    wrong.balance_in_means(*balance),
    mistakes=check.values(wrong.BALANCE, *balance),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# The two weights are rho * N and 1 - rho. Divide them by their sum.
on_ratings = 0.5 * 300
on_labels = 1 - 0.5
rho_between_means = on_ratings / (on_ratings + on_labels)

check.near(
    rho_between_means,
    wrong.balance_in_means(*balance),
    mistakes=check.values(wrong.BALANCE, *balance),
)

# %% [markdown]
# ### A small number that is not there
#
# The same code keeps a probability away from 0 and 1 by [`1e-15`](fact:ensemble_epsilon), so that no logarithm is infinite.
# A sure prediction of 1 for somebody who was readmitted should cost nothing, for somebody who was not a lot.

# %%
epsilon = 1e-15
one = torch.ones(2, dtype=torch.float64)
truth = torch.tensor([1.0, 0.0])
costs = {
    "float64": wrong.clipped_cross_entropy(one, truth, epsilon),
    "float32": wrong.clipped_cross_entropy(
        one.float(), truth.float(), epsilon
    ),
}
pd.DataFrame(costs, index=["readmitted", "not readmitted"]).round(3)

# %%
assert costs["float64"].isfinite().all()
assert costs["float32"].isnan().tolist() == [True, False]
assert costs["float32"].isinf().tolist() == [False, True]
assert 1 - torch.tensor(epsilon, dtype=torch.float32) == 1

# %% [markdown]
# In float32, the type that networks use, $1 - 10^{-15}$ is 1: the step before 1 is
# [`6e-8`](fact:float32_step_below_one). The guard is not there, and zero times infinity is NaN. `supervised_loss` starts
# from logits and has nothing to guard.
#
# ## 6. A task by another name
#
# The module with the plain dictionary adds up the tasks that the dictionary names. Now a letter is missing.

# %%
misspelt = {"stroke": 1.0, "readmision": 1.0}
ten = {"stroke": torch.tensor(1.0), "readmission": torch.tensor(9.0)}
quiet = wrong.PlainWeights(misspelt)(ten)
try:
    multi_task_loss(ten, misspelt)
except ValueError as error:
    said = str(error)
said

# %%
assert quiet == 1
assert "is it 'readmission'?" in said
nobody = wrong.PlainWeights({})(ten)
assert isinstance(nobody, float)

# %% [markdown]
# The total is [1](fact:total_misspelt) where [10](fact:total_well_spelt) was meant, and the model never learns about
# readmission. If no name fits, it is the plain number 0, which has no `backward`.
#
# ## 7. A weight that learns
#
# Here is what no function can do alone: hold a tensor that training changes. With `learnable=True` each task gets a
# parameter $s$ and the weight $e^{-s}$; the total is the sum of $e^{-s} L + s$ over the tasks. A third task predicts a
# pain score from 0 to 100, by squared error.

# %%
pain = torch.tensor([62.0, 38.0]), torch.tensor([50.0, 50.0])
with_pain = {**tasks, "pain": pain}
learner = MultiTaskLoss({**holds, "pain": nn.MSELoss()}, learnable=True)
list(learner.state_dict())

# %% [markdown]
# The squared error is [144](fact:pain_loss). The predictions stay as they are; only the weights are trained. Where does
# the weight of the pain task end?

# %%
guess = None
squared_error = nn.functional.mse_loss(*pain)
check.near(
    guess,
    1 / squared_error,
    mistakes=check.values(wrong.LEARNED_WEIGHT, squared_error),
)


# %%
def train(module, inputs):
    """Let the weights of the tasks settle, with the predictions fixed."""
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(500):
        optimiser.zero_grad()
        module(inputs).backward()
        optimiser.step()
    return {k: v.item() for k, v in module.weights().items()}


learned = train(learner, with_pain)
fixed = {name: value.item() for name, value in task_losses.items()}
fixed["pain"] = squared_error.item()
settled = pd.DataFrame({"loss": fixed, "learned weight": learned})
settled["1 / loss"] = 1 / settled["loss"]
settled.round(4)

# %%
assert abs(settled["learned weight"] * settled["loss"] - 1).max() < 1e-6

# %% [markdown]
# Each weight ends at one over its loss: the slope of $e^{-s} L + s$ is zero where $e^{-s} = 1/L$. A function would need
# the three $s$ as arguments, and somebody to keep them, save them and hand them to the optimiser. That somebody is the
# module.
#
# ## 8. Where it breaks
#
# Measure pain from 0 to 10. It is the same pain, and the same predictions.

# %%
rescaled = {**tasks, "pain": tuple(score / 10 for score in pain)}
again = MultiTaskLoss({**holds, "pain": nn.MSELoss()}, learnable=True)
on_ten = train(again, rescaled)
pd.DataFrame({"0 to 100": learned, "0 to 10": on_ten}).round(4)

# %%
assert abs(on_ten["pain"] / learned["pain"] - 100) < 1e-4
assert abs(on_ten["stroke"] / learned["stroke"] - 1) < 1e-6

# %% [markdown]
# The weight of pain is [100](fact:learned_weight_ratio) times larger. What is learned is the *scale* of a loss: how well a task
# is predicted, mixed with its unit. It does not say how much the task matters to a patient.
#
# ### The optimiser that was not told
#
# A parameter is trained by the optimiser it was given to. Most training loops give it those of the model alone.

# %%
model = nn.Linear(2, 2)
untold = MultiTaskLoss({**holds, "pain": nn.MSELoss()}, learnable=True)
optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(10):
    optimiser.zero_grad()
    untold(
        {**tasks, "pain": (model(pain[0] / 100), pain[1] / 100)}
    ).backward()
    optimiser.step()
never_moved = {name: w.item() for name, w in untold.weights().items()}
pd.DataFrame({"weight after ten steps": never_moved})

# %%
assert set(never_moved.values()) == {1.0}

# %% [markdown]
# Nothing fails, and nothing is learned. Write `SGD([*model.parameters(), *loss.parameters()])`, or make the loss a part
# of the module whose parameters you pass.
#
# Back to the [chapter](../explainer/03-class-or-function.md), where the recap links each claim to its test.
#
# ## Numbers that the chapter quotes
#
# A page of this site can state a number only if a notebook publishes it, and the build compares the two.

# %%
fact("loss_by_function", value.item())
fact("loss_by_module", same_value.item())
fact("loss_by_forward", by_door.loc["loss.forward(...)", "loss"])
fact("hooks_by_function", by_door.loc["hazard_nll(...)", "hooks run"])
fact("hooks_by_forward", by_door.loc["loss.forward(...)", "hooks run"])
fact("hooks_by_call", by_door.loc["loss(...)", "hooks run"])
fact("calls_before_by_function", len(before["hazard_nll(...)"]))
fact("calls_before_by_forward", len(before["loss.forward(...)"]))
fact("calls_before_by_module", len(before["loss(...)"]))
fact("calls_below_hazard_nll", len(below["loss(...)"]) - 1)

# %%
fact("readmission_loss", task_losses["readmission"])
fact("readmission_weight", weights["readmission"])
fact("total_restored", restored)
fact("total_forgotten", forgotten)
fact("total_misspelt", quiet)
fact("total_well_spelt", sum(ten.values()))

# %%
fact("ensemble_ridge", ridge)
fact("ensemble_rho", rho)
fact("ensemble_weighted_squares", (confidence * squares).sum())
fact("ensemble_ridge_penalty", ridge * penalty)
fact("ensemble_total_confidence", confidence.sum())
for name, (from_function, from_module) in pairs.items():
    fact(f"ensemble_{name}_by_function", from_function.item())
    fact(f"ensemble_{name}_by_module", from_module.item())

# %%
fact("ensemble_share_1", shares.loc[1, "sum"])
fact("ensemble_share_1000", shares.loc[1000, "sum"])
fact("ensemble_share_of_means", shares.loc[1, "mean"])
fact("ensemble_rho_300", wrong.balance_in_means(*balance))
fact("ensemble_epsilon", epsilon)
fact("ensemble_cost_float64", costs["float64"][1])
fact("float32_step_below_one", torch.finfo(torch.float32).eps / 2)

# %%
fact("pain_loss", squared_error)
for name, weight in learned.items():
    fact(f"learned_weight_{name}", weight)
fact("learned_weight_pain_to_ten", on_ten["pain"])
fact("learned_weight_ratio", on_ten["pain"] / learned["pain"])
