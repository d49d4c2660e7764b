# %% [markdown]
# # keepdim and broadcasting, step by step
#
# Here you run the chapter [keepdim and broadcasting](../explainer/04-broadcasting.md), one idea a cell. Cells that begin
# with `guess = None` ask you first: put your answer there and run the cell again. The notebook also runs untouched, from
# top to bottom.

# %%
import itertools
import warnings

import numpy as np
import pandas as pd
import torch
from jaxtyping import Num
from torch import Tensor
from torch.nn import functional as F

from visitwise import check
from visitwise.check import shapes
from visitwise.functional import hazard_nll, logits_from_hazard, survival
from visitwise.notebook import fact
from visitwise.simulate import draw_outcome
from visitwise.textbook import TextbookLSTM
from visitwise.widgets import Broadcasting

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

# %% [markdown]
# ## 1. Sums and counts
#
# A code (a diagnosis, a drug) stands for a vector of numbers that training learns. A visit is described by the *mean* of
# its codes' vectors: the sum, divided by the number of codes. Ada and Ben have three visits each, and the vectors have
# four entries. What is the mean at Ada's first visit, where five codes sum to `[10, 15, 20, 25]`?

# %%
sums = torch.arange(10.0, 130.0, 5.0).reshape(2, 3, 4)
counts = torch.tensor([[5.0, 2.0, 4.0], [1.0, 3.0, 2.0]])
sums[0, 0]

# %%
guess = None
check.near(
    guess,
    sums[0, 0] / counts[0, 0],
    mistakes={"that is the sum; divide it by five codes": sums[0, 0]},
)

# %%
shape_of = {"sums": list(sums.shape), "counts": list(counts.shape)}
pd.DataFrame(shape_of.items(), columns=["tensor", "shape"])

# %% [markdown]
# A **tensor** is a table with any number of directions, its **axes**, and its **shape** lists the size of each. Here the
# axes are patient, visit and entry: `sums[0, 0]` is patient 0, visit 0, all entries. PyTorch calls an axis a *dimension*,
# `dim`, and counts from 0.
#
# ## 2. Line up from the right
#
# Now divide all visits at once. The number of codes is itself a sum, over the axis of codes, and a sum takes its axis
# away: `counts` has the axes patient and visit. Does `sums / counts` work? Answer `"works"` or `"error"`.

# %%
guess = None
check.same(
    guess, "error", mistakes={"entries meet visits, 4 and 3": "works"}
)

# %%
try:
    sums / counts
except RuntimeError as problem:
    refused = str(problem)
refused

# %%
assert "(4) must match the size of tensor b (3)" in refused
assert "dimension 2" in refused

# %% [markdown]
# The **entries** of the sums met the **visits** of the counts. PyTorch writes the two shapes below each other so that
# their *right* ends agree, so patient and visit of the counts stand below visit and entry of the sums:
#
# ```text
# sums      2  3  4
# counts       2  3
# ```
#
# `keepdim=True` in the sum leaves an axis of size 1 where the summed axis was. Indexing with `None` puts one there
# afterwards.

# %%
mean = sums / counts[..., None]
[list(counts[..., None].shape), list(mean.shape), mean[0, 0].tolist()]

# %%
for patient, visit in itertools.product(range(2), range(3)):
    slowly = [x / counts[patient, visit] for x in sums[patient, visit]]
    assert mean[patient, visit].tolist() == slowly

# %% [markdown]
# A size of 1 is **stretched**: its single number is used again for each of the four entries. That is **broadcasting**,
# and it is right here: `[10, 15, 20, 25] / 5` is `[2, 3, 4, 5]`.
#
# ## 3. When it does not stop
#
# Cleo joins, and the vectors get three entries instead of four: three patients, three visits, three entries. Ada's first
# visit sums to `[10, 15, 20]` over five codes. What is `(sums / counts)[0, 0]`, without `keepdim`? If you think that it
# raises an error, answer `"error"`.

# %%
sums = torch.arange(10.0, 145.0, 5.0).reshape(3, 3, 3)
counts = torch.tensor([[5.0, 2.0, 4.0], [1.0, 3.0, 2.0], [2.0, 6.0, 1.0]])
pd.DataFrame(
    counts.long(),
    index=["Ada", "Ben", "Cleo"],
    columns=[f"visit {k}" for k in range(3)],
)

# %%
guess = None
options = {
    "3 meets 3 twice, so nothing clashes": "error",
    "that is the right mean, and not what you get": sums[0, 0] / 5,
    "entry e met visit e of Ada, not patient e": sums[0, 0] / counts[:, 0],
}
check.same(guess, (sums / counts)[0, 0], mistakes=options)

# %%
divided_by = sums / (sums / counts)
pd.DataFrame(
    divided_by[:, 0].round().long(),
    index=["Ada", "Ben", "Cleo"],
    columns=[f"entry {e}" for e in range(3)],
)

# %%
for patient in range(3):
    torch.testing.assert_close(divided_by[patient], counts)

# %% [markdown]
# The table shows what the first visit of each patient was divided by: the numbers of codes of *Ada's* three visits, one
# for each entry. Visit $k$ of everybody is divided by the counts of patient $k$. The shape of the result is right, and
# [78%](fact:bc_cube_share_wrong) of its numbers are wrong.
#
# ## 4. All sizes from 1 to 5
#
# Which sizes raise, which run, and what comes out? Let PyTorch answer, for each number of patients, visits and entries
# from 1 to 5. No two counts are alike, so that a wrong divisor shows.


# %%
def outcome(n_patients, n_visits, n_entries):
    """What becomes of `sums / counts` with these sizes."""
    sums = torch.ones(n_patients, n_visits, n_entries)
    counts = torch.arange(2.0, 2 + n_patients * n_visits)
    counts = counts.reshape(n_patients, n_visits)
    try:
        result = sums / counts
    except RuntimeError:
        return "raises"
    if result.shape != sums.shape:
        return "wrong shape"
    right = torch.equal(result, sums / counts[..., None])
    return "right" if right else "wrong numbers"


# %% [markdown]
# How many of the 125 raise an error?

# %%
sizes = list(itertools.product(range(1, 6), repeat=3))
cases = pd.DataFrame(sizes, columns=["B", "V", "E"])
cases["outcome"] = [outcome(*size) for size in sizes]
tally = cases["outcome"].value_counts()

# %%
guess = None
check.near(
    guess,
    int(tally["raises"]),
    mistakes={
        "three different sizes raise, and so do many others": 5 * 4 * 3,
        "some of the others run, and come out wrong": 125 - 5,
    },
)

# %%
tally.to_frame("of 125")

# %%
assert tally["raises"] + tally["right"] < 125
assert (cases["outcome"] == "right").equals(
    (cases["B"] == 1) & (cases["V"] == 1)
)
apart = (cases["B"] != cases["V"]) & (cases["V"] != cases["E"])
apart &= (cases["B"] != cases["E"]) & (
    cases[["B", "V", "E"]].min(axis=1) > 1
)
assert (cases["outcome"][apart] == "raises").all()

# %% [markdown]
# [84](fact:bc_raises) raise, [36](fact:bc_wrong) run and are wrong, [5](fact:bc_right) are right: those with one patient
# and one visit, where there is a single count. Three *different* sizes above 1 always raise, so test with such.

# %% [markdown]
# Drag the sizes, or a place in the result, and see which count divided it; the frame in the map can be dragged, too.

# %% tags=["figure:broadcasting"]
trap = Broadcasting(sizes=list(sums.shape), cell=[0, 0, 1])
trap

# %% [markdown]
# What you set is in `trap.sizes`, `trap.keepdim` and `trap.cell`. The next cell divides by itself, with PyTorch, and stops
# if the figure shows other numbers. Drag, and run it again.

# %%
b, v, e = trap.sizes
n = torch.tensor(trap.given["counts"])[:b, :v]
dragged = torch.arange(10.0, 10 + 5 * b * v * e, 5).reshape(b, v, e)
try:
    result = dragged / (n[..., None] if trap.keepdim else n)
except RuntimeError as problem:
    print(problem)
else:
    divided = result[tuple(trap.cell)].item()
    trap.agrees(value=divided, cells=result.numel())

# %% [markdown]
# ### The same as a table
#
# One line for each number of patients and visits, one column for each number of entries; `-` raises.

# %%
short = {
    "raises": "-",
    "wrong shape": "shape",
    "wrong numbers": "numbers",
    "right": "right",
}
cases.assign(outcome=cases["outcome"].map(short)).pivot(
    index=["B", "V"], columns="E", values="outcome"
)

# %% [markdown]
# ### And as a rule
#
# The sizes fall into six kinds. The result's shape is what PyTorch's own `broadcast_shapes` says.

# %%
B, V, E = (cases[axis] for axis in "BVE")
kinds = {
    "one patient, one visit": (B == 1) & (V == 1),
    "one patient, V = E": (B == 1) & (V == E) & (V > 1),
    "B = V = E": (B == V) & (V == E) & (B > 1),
    "one visit, several patients": (V == 1) & (B > 1),
    "B = V, one entry": (B == V) & (E == 1) & (B > 1),
    "one patient, one entry": (B == 1) & (E == 1) & (V > 1),
}
runs = cases[cases["outcome"] != "raises"]
pd.DataFrame(
    {
        "cases": {kind: int(where.sum()) for kind, where in kinds.items()},
        "outcome": {
            kind: " ".join(cases["outcome"][where].unique())
            for kind, where in kinds.items()
        },
    }
)

# %%
together = pd.DataFrame(kinds)
assert (together.sum(axis=1) == (cases["outcome"] != "raises")).all()
for b, v, e in runs[["B", "V", "E"]].to_numpy().tolist():
    result = torch.broadcast_shapes((b, v, e), (b, v))
    assert result == (b, max(b, v), max(v, e))

# %% [markdown]
# No size falls under two kinds, and none that runs is left over.
#
# ### Exercise 1
#
# Say it in one line. `patients`, `visits` and `entries` are tensors with the 125 sizes. Make `runs_without_error`, a
# tensor with 125 entries that are true where `[patients, visits, entries] / [patients, visits]` raises nothing.

# %%
patients, visits, entries = torch.tensor(sizes).T
patients.shape, visits.shape, entries.shape

# %% tags=["exercise"]
# Which two sizes meet at the right end? Which two meet next to it?
# `&` is "and", `|` is "or"; put each comparison in brackets.
runs_without_error = None  # your code here

check.near(
    runs_without_error,
    torch.tensor([outcome(*size) != "raises" for size in sizes]),
    mistakes=check.values(shapes.RUNS, patients, visits, entries),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# Which two sizes meet at the right end? Which two meet next to it?
# `&` is "and", `|` is "or"; put each comparison in brackets.
last_fit = (entries == visits) | (entries == 1) | (visits == 1)
next_fit = (visits == patients) | (visits == 1) | (patients == 1)
runs_without_error = last_fit & next_fit

check.near(
    runs_without_error,
    torch.tensor([outcome(*size) != "raises" for size in sizes]),
    mistakes=check.values(shapes.RUNS, patients, visits, entries),
)

# %% [markdown]
# ## 5. What reaches the loss
#
# Take a whole model. `TextbookLSTM` is the padded survival LSTM as tutorials write it: means over codes, a recurrent
# network that reads the visits in order, a hazard at each visit. This version of it lacks one word.


# %%
class Forgetful(TextbookLSTM):
    """The same model without `keepdim=True`."""

    def visit_vectors(self, codes, code_mask):
        embedded = self.embedding(codes) * code_mask[..., None]
        return embedded.sum(2) / code_mask.sum(2).clamp(min=1)


# %% [markdown]
# The patients: 32 visits each, up to eight codes in a visit, hazards that depend on the mean effect of its codes. Batches
# of 32 patients, vectors of 32 entries.

# %%
size, n_batches, n_codes = 32, 80, 40
random = np.random.default_rng(4)
box = (n_batches, size, size, 8)
n_in_visit = torch.from_numpy(random.integers(1, 9, box[:3]))
code_mask = torch.arange(8) < n_in_visit[..., None]
codes = torch.from_numpy(random.integers(1, n_codes, box)) * code_mask
effect = torch.from_numpy(random.normal(size=n_codes)) * 2.5
of_code = effect[codes] * code_mask
true_logits = of_code.sum(-1) / n_in_visit - 3.5
drawn = draw_outcome(
    torch.sigmoid(true_logits).flatten(0, 1), dropout=0.01, seed=3
)
stop, observed = (
    t.unflatten(0, (-1, size)) for t in (drawn.stop, drawn.observed)
)
list(codes.shape)

# %% [markdown]
# Train both, on the same 64 batches, twice through. Does the one without `keepdim` stop with an error? Does its loss fall?


# %%
def loss_of(model, batch):
    vectors = model.visit_vectors(codes[batch], code_mask[batch])
    logits = model.head(model.lstm(vectors)[0])[..., 0]
    return hazard_nll(logits, stop[batch], observed[batch])


# %%
trained, losses, held_out = {}, {}, {}
for name, kind in {"keepdim": TextbookLSTM, "forgotten": Forgetful}.items():
    model = trained[name] = kind(n_codes, embedding=size, hidden=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses[name] = []
    for batch in [*range(64)] * 2:
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        optimizer.step()
        losses[name].append(loss.item())
    with torch.no_grad():
        each = [loss_of(model, batch).item() for batch in range(64, 80)]
    held_out[name] = np.mean(each)

best = hazard_nll(true_logits[64:], stop[64:], observed[64:]).item()
pd.DataFrame(
    {
        "first batch": {name: loss[0] for name, loss in losses.items()},
        "last eight": {k: np.mean(v[-8:]) for k, v in losses.items()},
        "held out": held_out,
    }
).round(2)

# %%
assert np.mean(losses["forgotten"][-8:]) < losses["forgotten"][0] / 2
assert best < held_out["keepdim"] < held_out["forgotten"] - 0.1

# %% [markdown]
# No error, no warning, and a loss that falls from [7.61](fact:bc_first_loss) to [2.21](fact:bc_last_loss) in training. On
# patients it has not seen it is [2.33](fact:bc_held_out_forgotten), where the right mean gives
# [2.12](fact:bc_held_out_keepdim) and the true hazards [2.06](fact:bc_held_out_best). Nothing but a comparison
# would tell you.
#
# ### Who shares the batch
#
# Give patient 5 of a batch one code more at visit 7. Whose hazards move?

# %%
first = codes[64], code_mask[64], torch.ones(size, size, dtype=torch.bool)
one_more = [t.clone() for t in first]
place = int(n_in_visit[64, 5, 7])
one_more[0][5, 7, place] = 1
one_more[1][5, 7, place] = True
assert place < 8

# %%
moved = {}
with torch.no_grad():
    for name, model in trained.items():
        change = (model(*one_more) - model(*first)).abs()
        moved[name] = int((change.amax(1) > 1e-12).sum())
pd.DataFrame({"patients whose hazards move": moved})

# %%
assert moved == {"keepdim": 1, "forgotten": size}

# %% [markdown]
# With `keepdim` those of patient 5. Without it, those of all [32](fact:bc_moved_forgotten) patients: everybody's visit 5
# is divided by the counts of patient 5.
#
# ### One patient fewer, and one patient alone

# %%
try:
    trained["forgotten"](*[t[:31] for t in first])
except RuntimeError as problem:
    one_fewer = str(problem)
one_fewer

# %%
with torch.no_grad():
    alone = {
        name: model(*[t[:1] for t in first]) - model(*first)[:1]
        for name, model in trained.items()
    }
off_alone = {
    name: change.abs().max().item() for name, change in alone.items()
}
pd.DataFrame({"hazard, alone against in the batch": off_alone}).round(3)

# %%
assert off_alone["keepdim"] < 1e-12 < 0.05 < off_alone["forgotten"]

# %% [markdown]
# 31 patients raise an error. One patient alone, as in a clinic, does not: one patient meets the 32 visits as a size of 1. The
# hazards of the very same record are then off by up to [0.065](fact:bc_off_alone) from what they were in the batch.
#
# ### One visit
#
# At their first visit the 32 patients have one visit each, so the sums have the shape `[32, 1, 32]` and the counts
# `[32, 1]`. What is the shape of `sums / counts`?

# %%
guess = None
one_visit = torch.ones(size, 1, size), torch.ones(size, 1)
check.same(
    guess,
    (one_visit[0] / one_visit[1]).shape,
    mistakes=check.values(shapes.SHAPE, *one_visit),
)

# %% [markdown]
# Now the hazards, from two models with the very same weights.

# %%
same_weights = Forgetful(n_codes, embedding=size, hidden=16)
same_weights.load_state_dict(trained["keepdim"].state_dict())
pair = {"keepdim": trained["keepdim"], "forgotten": same_weights}
with torch.no_grad():
    hazards = {
        k: model(*[t[:, :1] for t in first]) for k, model in pair.items()
    }
pd.DataFrame(
    {k: list(h.shape) for k, h in hazards.items()}, ["patients", "visits"]
)

# %%
event = observed[64] & (stop[64] == 1)
after_first = torch.ones(size, dtype=torch.long), event
results = {}
for name, h in hazards.items():
    logits = logits_from_hazard(h)
    results[name] = {
        "loss": hazard_nll(logits, *after_first).item(),
        "event-free at the end": survival(logits)[:, -1].mean().item(),
    }
pd.DataFrame(results).round(3)

# %%
losses_of_first = [result["loss"] for result in results.values()]
end = {k: result["event-free at the end"] for k, result in results.items()}
assert list(hazards["forgotten"].shape) == [32, 32]
assert losses_of_first[0] != losses_of_first[1]
assert end["forgotten"] < end["keepdim"] - 0.3

# %% [markdown]
# Every patient has got 31 visits that never were, and the loss runs: it reads row 0 of each, where *patient 0's* count is
# the divisor. Not even `hazard_nll` can know, because rows beyond a patient's last are padding to it. Whoever multiplies
# up survival over the record promises [0.51](fact:bc_end_forgotten) where [0.94](fact:bc_end_keepdim) is right.
#
# ### How many of the 36?
#
# Send each of the wrong cases of section 4 through such a model, and what comes out through the loss. Which arrive?

# %%
wrong_cases = cases[cases["outcome"].str.startswith("wrong")]
arrives = []
for b, v, e in wrong_cases[["B", "V", "E"]].to_numpy().tolist():
    model = Forgetful(n_codes, embedding=e, hidden=2)
    one_code = torch.ones(b, v, 1, dtype=torch.long)
    try:
        h = model(one_code, one_code > 0, one_code[..., 0] > 0)
        everybody = torch.full((b,), v), torch.ones(b) > 0
        hazard_nll(logits_from_hazard(h), *everybody)
    except RuntimeError:
        arrives.append("no")
    else:
        arrives.append("yes")
pd.crosstab(
    wrong_cases["outcome"],
    pd.Series(arrives, wrong_cases.index, name="reaches the loss"),
)

# %%
reach = arrives.count("yes")
stopped = np.array(arrives) == "no"
assert reach == 28
assert (wrong_cases["E"][stopped] == 1).all()

# %% [markdown]
# [28](fact:bc_reach_loss) of [36](fact:bc_wrong). The other 8 have vectors of one entry, which the division stretched:
# there the recurrent network misses the width it was built for.
#
# ## 6. Five ways to write it
#
# `keepdim=True` is one way of several to give the counts the axis that they lack. All say the same; `einsum` names the
# axes instead of lining them up, and a matrix product makes the sum and the division in one.

# %%
widest = 6
embedded = torch.from_numpy(random.integers(1, 9, (3, 3, widest, 3))) * 1.0
mask = torch.arange(widest) < counts[..., None]
masked = embedded * mask[..., None]
total, n = masked.sum(2), mask.sum(2)
ways = {
    "keepdim=True": total / mask.sum(2, keepdim=True),
    "n[..., None]": total / n[..., None],
    "n.unsqueeze(-1)": total / n.unsqueeze(-1),
    "einsum": torch.einsum("bve,bv->bve", total, 1 / n),
    "weights @ vectors": ((mask / n[..., None])[:, :, None] @ embedded)[
        :, :, 0
    ],
}
right = masked.sum(2) / mask.sum(2, keepdim=True)
furthest = {k: (way - right).abs().max().item() for k, way in ways.items()}
pd.DataFrame(
    {"same to 15 digits": {k: d < 1e-14 for k, d in furthest.items()}}
)

# %%
assert max(furthest.values()) < 1e-14
assert furthest["n[..., None]"] == furthest["n.unsqueeze(-1)"] == 0

# %% [markdown]
# The first three give the same bits. The last two multiply by $1/n$ instead of dividing, and differ by rounding at most.
#
# ## 7. A visit without codes
#
# Ben's second visit has no codes: he came for a blood test. Its sum is 0 and its count is 0. (The rows that pad a short
# record are such visits, too.) What does PyTorch give for 0/0? Answer with a word, `"error"`, `"0"` or `"nan"`.

# %%
guess = None
check.same(
    guess,
    "nan",
    mistakes={
        "plain Python numbers raise, tensors do not": "error",
        "a zero below makes it no number, even under a zero": "0",
    },
)

# %%
mask[1, 1] = False
total = (embedded * mask[..., None]).sum(2)
n = mask.sum(2, keepdim=True)
nothing, filled = total / n, total / n.clamp(min=1)
pd.DataFrame({"total / n": nothing[1, 1], "clamped": filled[1, 1]})

# %%
assert nothing[1, 1].isnan().all()
assert filled[1, 1].eq(0).all()
others = n[..., 0] > 0
assert torch.equal(nothing[others], filled[others])

# %% [markdown]
# **NaN**, "not a number", is no error. It spreads to whatever it is added to or multiplied with. Here a recurrent network
# reads the visits in order. Which of its states are NaN?

# %%
network = TextbookLSTM(n_codes, embedding=3, hidden=2)
states = network.lstm(nothing)[0]
pd.DataFrame(
    states.isnan().any(-1),
    index=["Ada", "Ben", "Cleo"],
    columns=[f"visit {k}" for k in range(3)],
)

# %%
assert states.isnan().any(-1).tolist() == [
    [False, False, False],
    [False, True, True],
    [False, False, False],
]

# %% [markdown]
# Ben's from that visit on. Now a loss that leaves Ben's NaN rows out: it reads row 0 alone. Is its gradient a number?

# %%
states[:, 0].sum().backward()
gradient = network.lstm.weight_hh_l0.grad
[states[:, 0].sum().isfinite().item(), gradient.isfinite().all().item()]

# %%
assert states[:, 0].isfinite().all()
assert gradient.isnan().any()

# %% [markdown]
# The value is a number and the gradient is NaN, because $0 \times \text{NaN}$ is NaN. One step, and so is every weight.
#
# The mean of nothing does not exist. `clamp(min=1)` raises each count below 1 to 1, and 0/1 is a vector of zeros. That is
# a choice, and a good one for counts: no other visit changes. But a model cannot tell it from codes that cancel out, so
# the number of codes should be an input as well, as it is in this package's encoder.
#
# ### Exercise 2
#
# Write the mean over the codes of each visit, from `embedded` and `mask`, *without* `keepdim`. The tensors are a cube,
# 3 by 3 by 3, so no error will help you; the padding of `embedded` holds rubbish; and one visit is empty.

# %% tags=["exercise"]
# Begin with `mask[..., None]`, which has the shape [3, 3, 6, 1].
visit_means = None  # your code here

check.near(
    visit_means,
    filled,
    mistakes=check.values(shapes.MEAN, embedded, mask),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# Begin with `mask[..., None]`, which has the shape [3, 3, 6, 1].
vectors = (embedded * mask[..., None]).sum(2)
visit_means = vectors / mask.sum(2).clamp(min=1)[..., None]

check.near(
    visit_means,
    filled,
    mistakes=check.values(shapes.MEAN, embedded, mask),
)

# %% [markdown]
# ## 8. The same trap in labels
#
# Three patients, the probability a model gave each of an event, and what happened. The **binary cross-entropy** is the
# loss of such a yes-or-no prediction ([chapter 2](../explainer/02-per-visit-bce.md)): the mean of $-\log p$ for those with
# the event and $-\log(1-p)$ for the others. What is it here?

# %%
probability = torch.tensor([0.9, 0.2, 0.7])
label = torch.tensor([1.0, 0.0, 1.0])


def cross_entropy(p, y):
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


# %%
guess = None
check.near(
    guess,
    cross_entropy(probability, label),
    mistakes=check.values(shapes.LABELS, probability, label),
)

# %% [markdown]
# It is [0.2284](fact:bc_bce_right). A file often delivers labels as a column, with the shape `[3, 1]`. What does the same
# function say then?

# %%
guess = None
column = label[:, None]
check.near(
    guess,
    cross_entropy(probability, column),
    mistakes={
        "that is the loss with labels of shape [3]": cross_entropy(
            probability, label
        )
    },
)

# %%
terms = -(
    column * probability.log() + (1 - column) * (1 - probability).log()
)
pd.DataFrame(
    terms,
    index=[f"label {y:.0f}" for y in label],
    columns=[f"p = {p:.1f}" for p in probability],
).round(4)

# %%
torch.testing.assert_close(terms.mean(), cross_entropy(probability, column))
torch.testing.assert_close(
    terms.diagonal().mean(), cross_entropy(probability, label)
)

# %% [markdown]
# Nine terms instead of three: each prediction is compared with *everybody's* label. Only the diagonal was meant. The loss
# is [0.8747](fact:bc_bce_column). Choose *a loss* in the figure of section 4 and drag the predictions; the next cell
# computes both means of what you set.

# %%
p = torch.tensor(trap.predictions)
met = cross_entropy(p, column if trap.column else label)
trap.agrees(loss=met.item(), meant=cross_entropy(p, label).item())

# %% [markdown]
# ### What does such a loss teach?
#
# Let the three logits be free, as if a model could fit anything, and look where the gradient of each is zero.

# %%
logits = torch.logit(probability).requires_grad_()
wrong = cross_entropy(torch.sigmoid(logits), column)
(gradient,) = torch.autograd.grad(wrong, logits)
pd.DataFrame(
    {
        "gradient": gradient,
        "(p - mean label) / 3": (probability - label.mean()) / 3,
    }
).round(4)

# %%
torch.testing.assert_close(gradient, (probability - label.mean()) / 3)

# %% [markdown]
# It pulls each prediction towards the mean of all labels, [0.667](fact:bc_base_rate), and stops there. Such a model learns
# the base rate, the same for everybody, and its loss falls while it does.
#
# ### Who notices?


# %%
def reaction(loss):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            loss()
        except (ValueError, RuntimeError):
            return "raises"
        return "warns" if said else "says nothing"


one_hazard = logits_from_hazard(probability)[:, None]
one_row, seen = torch.ones(3, dtype=torch.long), column.bool()
reactions = {
    "written by hand": reaction(lambda: cross_entropy(probability, column)),
    "poisson_nll_loss": reaction(
        lambda: F.poisson_nll_loss(logits, column)
    ),
    "mse_loss": reaction(lambda: F.mse_loss(probability, column)),
    "binary_cross_entropy_with_logits": reaction(
        lambda: F.binary_cross_entropy_with_logits(logits, column)
    ),
    "visitwise hazard_nll": reaction(
        lambda: hazard_nll(one_hazard, one_row, seen)
    ),
}
pd.DataFrame({"labels of shape [3, 1]": reactions})

# %%
try:
    hazard_nll(one_hazard, one_row, seen)
except ValueError as problem:
    refusal = str(problem)
assert refusal.startswith("observed has shape [3, 1]; expected [3]")
assert list(reactions.values()) == [
    "says nothing",
    "says nothing",
    "warns",
    "raises",
    "raises",
]
refusal

# %% [markdown]
# Not every loss of PyTorch compares the shapes, and a loss written by hand compares nothing. That of this package names
# both shapes.
#
# ## 9. Does stretching cost memory?
#
# `expand` stretches an axis for you to look at. Weights of shape `[32, 20, 1]` are expanded to `[32, 20, 128]` and
# multiplied with vectors of that shape. How many numbers does each tensor hold in memory?

# %%
weights = torch.ones(32, 20, 1)
expanded = weights.expand(32, 20, 128)
product = expanded * torch.ones(32, 20, 128)
tensors = {"weights": weights, "expanded": expanded, "product": product}
pd.DataFrame(
    {
        name: {
            "shape": list(t.shape),
            "stride": list(t.stride()),
            "numbers in memory": t.untyped_storage().nbytes() // 8,
        }
        for name, t in tensors.items()
    }
).T

# %%
assert expanded.data_ptr() == weights.data_ptr()
assert expanded.stride()[-1] == 0
assert product.untyped_storage().nbytes() == 128 * 8 * weights.numel()

# %% [markdown]
# A **stride** is how far apart in memory two neighbours along an axis lie. Along the stretched axis it is 0: the same
# number, read again. Stretching costs nothing, by `expand` or by broadcasting. The *result* is written out in full, 128
# times the weights. `einsum` and `@` sum as they go and never hold it.
#
# ## 10. Where it breaks
#
# Would a check of the result's shape have caught it? Count, among the wrong cases of section 4, those that pass the check.

# %%
passes_result = wrong_cases["outcome"] == "wrong numbers"
passes_counts = [
    isinstance(torch.ones(b, v), Num[Tensor, "patient visit 1"])
    for b, v in wrong_cases[["B", "V"]].to_numpy()
]
pd.Series(
    {
        "wrong cases": len(wrong_cases),
        "pass a check of the result": int(passes_result.sum()),
        "pass a check of the counts": sum(passes_counts),
    }
).to_frame("of 36")

# %%
assert passes_result.sum() == 8
assert not any(passes_counts)

# %% [markdown]
# [8](fact:bc_wrong_numbers) of the [36](fact:bc_wrong) have the shape you expect. None gets past a check of what goes
# *in*: counts with three axes, the last of size 1.
#
# ### A clamp at the wrong place
#
# `clamp(min=1)` is right for counts, which are 0 or at least 1. *Weights* are not counts. A visit has two codes with the
# weights [0.2](fact:bc_weight_0) and [0.3](fact:bc_weight_1), and vectors of one entry, 10 and 20. What is the weighted mean?

# %%
weights, values = torch.tensor([0.2, 0.3]), torch.tensor([10.0, 20.0])
weighted = (weights * values).sum() / weights.sum()
clamped = (weights * values).sum() / weights.sum().clamp(min=1)

# %%
guess = None
check.near(
    guess,
    weighted,
    mistakes={
        "that is with the clamp: the sum of the weights is not 1": clamped
    },
)

# %%
assert not values.min() <= clamped <= values.max()
pd.Series(
    {"divided by the sum": weighted.item(), "clamped": clamped.item()}
).to_frame("weighted mean")

# %% [markdown]
# The clamp gives [8](fact:bc_clamped_mean), less than either value, where the mean is [16](fact:bc_weighted_mean). Where
# weights may sum to less than 1, ask for what you mean: `torch.where(total > 0, total, 1)`.
#
# Back to the [chapter](../explainer/04-broadcasting.md), where the recap links each claim to its test.
#
# ## Numbers that the chapter quotes
#
# A page of this site can state a number only if a notebook publishes it, and the build compares the two.

# %%
cube_right, cube_wrong = sums / counts[..., None], sums / counts
for visit, number in enumerate(counts[0]):
    fact(f"bc_ada_count_{visit}", number)
for entry in range(3):
    fact(f"bc_sum_{entry}", sums[0, 0, entry])
    fact(f"bc_cube_right_{entry}", cube_right[0, 0, entry])
    fact(f"bc_cube_wrong_{entry}", cube_wrong[0, 0, entry])
    fact(f"bc_cube_across_{entry}", sums[0, 0, entry] / counts[entry, 0])
fact("bc_cube_share_wrong", (cube_right != cube_wrong).double().mean())
for entry, value in enumerate(mean[0, 0]):
    fact(f"bc_mean_{entry}", value)

# %%
fact("bc_cases", len(cases))
fact("bc_raises", tally["raises"])
fact("bc_wrong", len(wrong_cases))
fact("bc_wrong_shape", tally["wrong shape"])
fact("bc_wrong_numbers", tally["wrong numbers"])
fact("bc_right", tally["right"])
fact("bc_reach_loss", reach)
for number, where in enumerate(kinds.values()):
    fact(f"bc_kind_{number}", where.sum())

# %%
fact("bc_size", size)
fact("bc_first_loss", round(losses["forgotten"][0], 4))
fact("bc_last_loss", round(np.mean(losses["forgotten"][-8:]), 4))
fact("bc_held_out_forgotten", round(held_out["forgotten"], 4))
fact("bc_held_out_keepdim", round(held_out["keepdim"], 4))
fact("bc_held_out_best", best)
fact("bc_moved_forgotten", moved["forgotten"])
fact("bc_moved_keepdim", moved["keepdim"])
fact("bc_off_alone", round(off_alone["forgotten"], 4))
for name, survived in end.items():
    fact(f"bc_end_{name}", round(survived, 4))
fact("bc_invented_visits", hazards["forgotten"].shape[1] - 1)

# %%
for patient in range(3):
    fact(f"bc_probability_{patient}", probability[patient])
fact("bc_bce_right", cross_entropy(probability, label))
fact("bc_bce_column", cross_entropy(probability, column))
fact("bc_base_rate", label.mean())
fact("bc_weighted_mean", weighted)
fact("bc_clamped_mean", clamped)
fact("bc_weight_0", weights[0])
fact("bc_weight_1", weights[1])
