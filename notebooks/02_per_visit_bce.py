# %% [markdown]
# # The likelihood is a per-visit BCE, step by step
#
# Here you run the chapter [The likelihood is a per-visit BCE](../explainer/02-per-visit-bce.md), one idea a cell. Cells
# that begin with `guess = None` ask you first: put your answer there and run the cell again. The notebook also runs
# untouched, from top to bottom.

# %%
import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import binary_cross_entropy_with_logits

from visitwise import check, simulate
from visitwise.baselines import best_constant_hazard
from visitwise.check import likelihood
from visitwise.check import person_period as wrong
from visitwise.functional import hazard_nll, person_period
from visitwise.losses import outcome_nll
from visitwise.model import SurvivalRNN
from visitwise.notebook import fact
from visitwise.simulate import draw_outcome
from visitwise.textbook import clamp_and_log_nll
from visitwise.widgets import PersonPeriod, PushMap

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

# %% [markdown]
# ## 1. Three patients as rows
#
# Ada, Ben and Cleo from chapter 1 are three lines of a box, `[patient, visit]`. Ben has two visits; the model has put a
# hazard into his third cell all the same, as a network does. `stop` says how many intervals of each patient count,
# `observed` whether the last of them ended in the event.

# %%
hazards = torch.tensor(
    [[0.1, 0.2, 0.3], [0.15, 0.25, 0.35], [0.1, 0.2, 0.3]]
)
logits = torch.logit(hazards)
stop = torch.tensor([3, 2, 3])
observed = torch.tensor([True, True, False])
three = logits, stop, observed

# %% [markdown]
# A **person-period table** has one row for every interval whose ending is known, and a label $y$: 1 if the interval
# ended in the event, 0 if it was survived. How many rows have the three?

# %%
guess = None
check.same(
    guess,
    int(stop.sum()),
    mistakes={
        "that is one for each patient; a row is one interval": 3,
        "that counts every cell of the box; Ben has no third row": 9,
        "Cleo's last interval was survived, and it is a row": 7,
    },
)

# %%
rows = person_period(stop, observed)
z = logits[rows.patient, rows.visit]
y = rows.event.double()
costs = binary_cross_entropy_with_logits(z, y, reduction="none")
table = pd.DataFrame(
    {
        "patient": np.array(["Ada", "Ben", "Cleo"])[rows.patient],
        "interval": rows.visit,
        "h": torch.sigmoid(z),
        "y": rows.event.int(),
        "cost": costs,
    }
)
table.round(4)

# %%
assert len(table) == 8
assert table["y"].sum() == 2

# %% [markdown]
# The cost of a row is its **binary cross-entropy** (BCE), $-\log h$ where $y$ is 1 and $-\log(1-h)$ where it is 0.
# `..._with_logits` says that it takes the logit $z$ and not the hazard.
#
# ## 2. The forbidden loss
#
# Add up the eight costs. How does the sum compare with the survival loss of the three patients, added up?

# %%
guess = None
nll = hazard_nll(*three, reduction="sum")
check.near(
    guess,
    nll,
    mistakes={
        "that is the mean of the three; add them up": nll / 3,
        "that is the mean of the eight rows; add them up": nll / 8,
        "Cleo's rows have costs as well": nll
        - hazard_nll(*three, reduction="none")[2],
    },
)

# %%
bce = binary_cross_entropy_with_logits(z, y, reduction="sum")
sums = {"survival loss": nll.item(), "BCE over the rows": bce.item()}
pd.DataFrame({"sum": sums}).round(6)

# %%
decimals = 12
assert abs(bce - nll) < 10**-decimals

# %% [markdown]
# Both are [3.766469](fact:bce_sum), and they agree to [12](fact:bce_decimals) decimals. That is no accident of three
# patients. Draw a box of logits at random, outcomes at random, and compare the gradients as well: how the loss moves when
# one logit does.

# %%
random = np.random.default_rng(2)
box = torch.tensor(random.normal(-2, 2, (200, 12)), requires_grad=True)
drawn = draw_outcome(torch.sigmoid(box.detach()), dropout=0.1, seed=2)
at_risk = person_period(drawn.stop, drawn.observed)
one = hazard_nll(box, drawn.stop, drawn.observed, reduction="sum")
other = binary_cross_entropy_with_logits(
    box[at_risk.patient, at_risk.visit],
    at_risk.event.double(),
    reduction="sum",
)
of_one, of_other = (
    torch.autograd.grad(loss, box)[0] for loss in (one, other)
)
largest = (of_one - of_other).abs().max()
f"{drawn.n_rows} rows, gradients of {of_one.numel()} logits"

# %%
assert abs(one - other) < 1e-9
assert largest < 10**-decimals

# %% [markdown]
# Same value, same gradient in every cell: training with one *is* training with the other.
#
# Now move the three yourself. Drag the end of a patient's line, and both sums change alike; a fourth visit is there to grow
# into. Then keep the rows after the end.

# %% tags=["figure:person_period"]
pour = PersonPeriod(stops=stop.tolist(), observed=observed.int().tolist())
pour

# %% [markdown]
# The next cell computes both sums from what you set, with the package and with PyTorch.

# %%
cells = torch.logit(torch.tensor(pour.given["hazards"]))
dragged = torch.tensor(pour.stops), torch.tensor(pour.observed) == 1
pick = person_period(*dragged)
pour.agrees(
    nll=hazard_nll(cells, *dragged, reduction="sum").item(),
    bce=binary_cross_entropy_with_logits(
        cells[pick.patient, pick.visit],
        pick.event.double(),
        reduction="sum",
    ).item(),
)

# %% [markdown]
# ### And another library fits the same curve
#
# scikit-learn knows nothing of survival. Give its logistic regression the rows of patients whose hazard depends on one
# measurement, and fit the same two coefficients by making `hazard_nll` small.

# %%
measured = torch.tensor(random.normal(size=(2000, 8)))
true_logits = -2.5 + 0.8 * measured
drawn = draw_outcome(torch.sigmoid(true_logits), dropout=0.1, seed=3)
at_risk = person_period(drawn.stop, drawn.observed)
regression = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
    measured[at_risk.patient, at_risk.visit][:, None], at_risk.event
)

# %%
weights = torch.zeros(2, requires_grad=True)
optimiser = torch.optim.LBFGS([weights], line_search_fn="strong_wolfe")


def closure():
    optimiser.zero_grad()
    loss = outcome_nll(weights[0] + weights[1] * measured, drawn)
    loss.backward()
    return loss


optimiser.step(closure)
fitted = pd.DataFrame(
    {
        "truth": [-2.5, 0.8],
        "hazard_nll": weights.detach(),
        "scikit-learn": [regression.intercept_[0], regression.coef_[0, 0]],
    },
    index=["intercept", "slope"],
)
fitted.round(3)

# %%
assert (fitted["hazard_nll"] - fitted["scikit-learn"]).abs().max() < 1e-4

# %% [markdown]
# The coefficients agree to four decimals.
#
# ### Exercise 1
#
# `hazard_nll(*three)` is the mean over *patients*. Write it with `binary_cross_entropy_with_logits`, from `logits` and
# `rows`. The default of the PyTorch function is a mean, too; of what?

# %% tags=["exercise"]
# Pick the cells that are rows, add up their costs, then divide.
my_loss = None  # your code here

check.near(
    my_loss,
    hazard_nll(*three),
    mistakes=check.values(wrong.ROWS, *three),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# Pick the cells that are rows, add up their costs, then divide.
chosen = logits[rows.patient, rows.visit]
label = rows.event.double()
total = binary_cross_entropy_with_logits(chosen, label, reduction="sum")
my_loss = total / len(stop)

check.near(
    my_loss,
    hazard_nll(*three),
    mistakes=check.values(wrong.ROWS, *three),
)

# %% [markdown]
# ## 3. What is wrong with it, then?
#
# Rows. Draw patients with a true hazard of [0.05](fact:bce_true_hazard) at each of [12](fact:bce_visits) visits;
# [10%](fact:bce_dropout) are lost to follow-up after each interval survived.

# %%
n_patients, n_visits, dropout, truth = 30_000, 12, 0.1, 0.05
same_hazard = torch.full((n_patients, n_visits), truth)
outcome = draw_outcome(same_hazard, dropout=dropout, seed=4)
seen = outcome.observed
drawn = {
    "patients": n_patients,
    "cells of the box": same_hazard.numel(),
    "rows": outcome.n_rows,
    "events": int(seen.sum()),
}
pd.DataFrame({"count": drawn})

# %% [markdown]
# A box of labels with 1 at each event and 0 in every other cell is soon made. Train on all its cells the smallest model,
# one hazard for all. What does it learn?

# %%
guess = None
losses = {
    "rows at risk": hazard_nll,
    "+ after the event": wrong.rows_after_event,
    "+ after censoring": wrong.rows_after_censoring,
    "every cell": wrong.every_cell,
    "event patients alone": likelihood.events_alone,
}
learned = {
    name: best_constant_hazard(loss, outcome)
    for name, loss in losses.items()
}
check.near(
    guess,
    learned["every cell"],
    mistakes={
        f"that is the estimate for: {name}": value
        for name, value in learned.items()
    },
    tolerance=0.001,
)

# %%
events, longest = int(seen.sum()), n_visits
known, unseen = outcome.stop[seen].sum(), outcome.stop[~seen].sum()
divisor = {
    "rows at risk": known + unseen,
    "+ after the event": longest * events + unseen,
    "+ after censoring": known + longest * (n_patients - events),
    "every cell": torch.tensor(longest * n_patients),
    "event patients alone": known,
}
estimates = pd.DataFrame(
    {
        "cells": {name: int(cells) for name, cells in divisor.items()},
        "smallest loss": learned,
        "events / cells": {
            name: events / int(cells) for name, cells in divisor.items()
        },
    }
)
estimates.round(4)

# %%
difference = estimates["smallest loss"] - estimates["events / cells"]
assert difference.abs().max() < 1e-6

# %% [markdown]
# As in chapter 1 the estimate is *events divided by rows*, so wrong rows are a wrong divisor. The loss is the same BCE in
# all five lines: kept after the event, after censoring, or both, its zeros say "seen event-free" of intervals that nobody
# saw.

# %% [markdown]
# ## 4. Mean of what?
#
# `hazard_nll` divides by patients, the PyTorch function by rows, and a training log often shows the mean of the batches'
# means. Take Ada and Ben as one batch and Cleo as the next.

# %%
each = hazard_nll(*three, reduction="none")
per_row = binary_cross_entropy_with_logits(z, y)
means = {
    "per patient": each.mean().item(),
    "per row": per_row.item(),
    "of batch means": ((each[0] + each[1]) / 2 + each[2]).item() / 2,
}
pd.DataFrame({"mean": means}).round(4)

# %%
ratio = stop.sum() / len(stop)
assert abs(means["per patient"] - means["per row"] * ratio) < 1e-12

# %% [markdown]
# The first two differ by the number of rows a patient, [2.67](fact:bce_rows_per_patient) here: a factor, which moves the
# learning rate and not the best hazard. The third gives Cleo as much say as Ada and Ben together.
#
# ### A factor in each batch is not a factor
#
# Now let each batch take its mean per row. Sort the patients by their number of rows, as one does to save padding, and
# cut them into batches of a hundred. One hazard for all then has the smallest loss at the mean of the batches' estimates.

# %%
guess = None
order = outcome.stop.argsort(stable=True)
in_batches = {
    "shuffled": np.random.default_rng(5).permutation(n_patients),
    "sorted by length": order.numpy(),
}
by_order = {
    name: (
        seen[at].view(-1, 100).sum(1)
        / outcome.stop[at].view(-1, 100).sum(1)
    )
    .mean()
    .item()
    for name, at in in_batches.items()
}
check.near(
    guess,
    by_order["sorted by length"],
    mistakes={"in shuffled batches it would be": by_order["shuffled"]},
    tolerance=0.002,
)

# %%
pd.DataFrame({"hazard learned": by_order}).round(4)

# %%
assert abs(by_order["shuffled"] - truth) < 0.001
assert by_order["sorted by length"] > 2 * truth

# %% [markdown]
# Every row is right, and a true [0.05](fact:bce_true_hazard) is learned as [0.110](fact:bce_sorted): batches of short
# records are full of events, and their few rows are given as much weight as the many of a batch of long ones. Sum over
# the rows, and divide by one constant for the whole epoch, as `visitwise.training.fit` does.
#
# ## 5. The push is h - y
#
# The **gradient** of the loss with respect to a logit says how hard, and which way, that logit is pushed. Ada's hazard
# in interval 2, the one with the event, is [0.3](fact:hazard_2). What is the gradient there, for Ada alone?

# %%
guess = None
event_row = logits[:1, 2:], torch.tensor([1]), torch.tensor([True])
check.near(
    guess,
    hazards[0, 2] - 1,
    mistakes=check.values(wrong.PUSH, *event_row),
)

# %%
z = logits.clone().requires_grad_()
(push,) = torch.autograd.grad(hazard_nll(z, stop, observed), z)
pd.DataFrame(
    3 * push, index=["Ada", "Ben", "Cleo"], columns=[0, 1, 2]
).round(4)

# %%
labels = torch.tensor([[0, 0, 1], [0, 1, 0], [0, 0, 0]])
counted = torch.arange(3) < stop[:, None]
torch.testing.assert_close(3 * push, (hazards - labels) * counted)

# %% [markdown]
# In each row it is the hazard minus the label. Above 0 the hazard is pushed down, below 0 up, and where there is no row
# it is exactly 0. (The loss is a mean over three patients, so the table shows three times its gradient.)
#
# ### With respect to the hazard it is not tame
#
# The gradient that the notes give is the one with respect to $h$: $-1/h$ at an event. It grows without bound as the
# model gets surer; the sigmoid between $h$ and $z$ has the slope $h(1-h)$ and cancels that.

# %%
sure = torch.tensor([1e-1, 1e-3, 1e-5])
tamed = pd.DataFrame(
    {"by h": -1 / sure, "slope": sure * (1 - sure), "by z": sure - 1},
    index=[f"h = {h:g}" for h in sure.tolist()],
)
tamed.round(5)

# %%
product = tamed["by h"] * tamed["slope"]
assert (product - tamed["by z"]).abs().max() < 1e-12

# %% [markdown]
# ### Exercise 2
#
# Write the gradient of `hazard_nll(*three)` with respect to all nine logits as one tensor `[3, 3]`, without autograd:
# from `hazards`, `stop` and `observed`.

# %% tags=["exercise"]
# A label for each cell, zero where there is no row, and the loss is a mean.
pushes = None  # your code here

check.near(
    pushes,
    push,
    mistakes=check.values(wrong.PUSH, *three),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# A label for each cell, zero where there is no row, and the loss is a mean.
visit = torch.arange(3)
is_row = visit < stop[:, None]
is_event = (visit == stop[:, None] - 1) & observed[:, None]
pushes = (hazards - is_event.double()) * is_row / len(stop)

check.near(
    pushes,
    push,
    mistakes=check.values(wrong.PUSH, *three),
)

# %% [markdown]
# ## 6. The dead zone
#
# The notes take the sigmoid first, keep the hazard between [`1e-7`](fact:bce_eps) and one minus that (they *clamp* it),
# and take logarithms. A patient has an event, and the model gave it a logit of -20: as sure as can be, and wrong. What
# is the gradient by the clamped way?

# %%
guess = None
eps = 1e-7
check.near(
    guess,
    0.0,
    mistakes={"that is h - y, the gradient from the logit": -1.0},
)

# %%
one_row, event = torch.tensor([1]), torch.tensor([True])
at = {}
for value in (-5.0, -16.1, -16.2, -20.0):
    z = torch.tensor([[value]], dtype=torch.float32, requires_grad=True)
    clamped = clamp_and_log_nll(torch.sigmoid(z), one_row, event, eps=eps)
    direct = hazard_nll(z, one_row, event)
    at[value] = {
        "clamped": clamped.item(),
        "its push": torch.autograd.grad(clamped, z)[0].item(),
        "from logit": direct.item(),
        "push": torch.autograd.grad(direct, z)[0].item(),
    }
dead = pd.DataFrame(at).T.rename_axis("logit", axis="columns")
dead.round(3)

# %%
assert dead["its push"][-16.1] < -0.99
assert dead["its push"][-16.2] == dead["its push"][-20.0] == 0
assert (dead["push"] < -0.99).all()

# %% [markdown]
# Below a logit of [-16.1](fact:bce_edge_event) the loss stands still at [16.118](fact:bce_frozen_event) and the gradient is exactly 0. The
# surer the wrong answer, the less it is corrected: not at all.

# %%
edge = -np.log(eps / (1 - eps))
assert -16.2 < -edge < -16.1

# %% [markdown]
# Drag any logit of four patients up or down. The arrow in its cell is the push, minus the gradient. Dora, the fourth, has
# her event where the model was sure of none: take the loss from the logit, and her arrow comes back.

# %% tags=["figure:push_map"]
push_map = PushMap(eps=eps)
push_map

# %% [markdown]
# The next cell reads the logits back, and computes the loss of the four with the package and its gradient with autograd,
# both in float64. It stops if that loss, or the gradient of the chosen cell, is not the one on show.

# %%
z = torch.tensor(push_map.logits, dtype=torch.float64).view(4, 6)
z.requires_grad_()
ends = [torch.tensor(push_map.given[key]) for key in ("stop", "observed")]
if push_map.path == "clamp":
    h = torch.sigmoid(z)
    total = 4 * clamp_and_log_nll(h, *ends, eps=push_map.eps)
else:
    total = hazard_nll(z, *ends, reduction="sum")
(gradient,) = torch.autograd.grad(total, z)
of_cell = gradient.flatten()[push_map.cell].item()
push_map.agrees(nll=total.item(), gradient=of_cell)

# %% [markdown]
# ### Stuck for good
#
# Start an event's logit at -17 and take twenty steps downhill, each as long as the gradient.

# %%
ways = {
    "clamped": lambda z: clamp_and_log_nll(
        torch.sigmoid(z), one_row, event
    ),
    "from logit": lambda z: hazard_nll(z, one_row, event),
}
after = {}
for name, loss in ways.items():
    z = torch.full((1, 1), -17.0)
    for _ in range(20):
        z.requires_grad_()
        z = (z - torch.autograd.grad(loss(z), z)[0]).detach()
    after[name] = z.item()
pd.DataFrame({"logit after 20 steps": after}).round(2)

# %%
assert after["clamped"] == -17
assert after["from logit"] > 0

# %% [markdown]
# ## 7. Where the numbers end
#
# The float32 numbers just below 1 are [6e-8](fact:bce_spacing) apart, so one minus epsilon cannot be stored: the clamp's
# upper bound is a little lower. Half precision has no number between it and 1 at all. From which logit on is a sigmoid exactly
# 1?

# %%
kinds = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
}
top, cliffs = torch.ones((), dtype=torch.float32), {}
for name, kind in kinds.items():
    z = torch.arange(0, 40, 0.01).to(kind)
    first = z[torch.sigmoid(z) == 1][0].item()
    bound = torch.ones((), dtype=kind).clamp(max=1 - eps).item()
    worst = -np.log(1 - bound) if bound < 1 else np.inf
    cliffs[name] = {"sigmoid is 1 from": first, "worst survived row": worst}
cliffs = pd.DataFrame(cliffs).T
cliffs.round(3)

# %%
assert cliffs["sigmoid is 1 from"].is_monotonic_increasing
assert np.isinf(cliffs["worst survived row"][["bfloat16", "float16"]]).all()
assert torch.nextafter(top, -top) == 1 - 2.0**-24

# %% [markdown]
# In bfloat16 a logit of [6.25](fact:bce_cliff_bfloat16) is a hazard of 1, and the clamp guards nothing: its bound *is* 1.
# In float32 the clamped loss of an interval survived stops at [15.942](fact:bce_frozen_survived), that of an event at
# [16.118](fact:bce_frozen_event); the clamp is not even symmetric. `hazard_nll` takes logits, and widens half precision
# to float32 first.
#
# ### A smaller epsilon?

# %%
bounds = {eps: top.clamp(eps, 1 - eps) for eps in (1e-7, 3.0e-8, 2.9e-8)}
tried = {
    f"{eps:g}": -torch.log(1 - bound).item()
    for eps, bound in bounds.items()
}
pd.DataFrame({"worst survived row": tried}).round(3)

# %%
assert np.isfinite(tried["3e-08"])
assert np.isinf(tried["2.9e-08"])

# %% [markdown]
# It is often said that a smaller epsilon risks underflow in an exponential. What happens is that $1 - \epsilon$ rounds to
# 1.
#
# ## 8. Zero times infinity
#
# Many models write a hazard of 0 where there is no visit, and the loss then multiplies the logarithm by a mask of 0. What
# is $\log(0) \times 0$? Answer with a word: `"0"`, `"-inf"` or `"nan"`.

# %%
guess = None
check.same(
    guess,
    "nan",
    mistakes={
        "log(0) is minus infinity, and 0 times infinity is no number": "0",
        "the mask does multiply it, and makes it worse": "-inf",
    },
)

# %%
real = torch.tensor([True, False])
hazard = torch.tensor([0.2, 0.0], requires_grad=True)
ways = {
    "log, then times 0": (hazard.log() * real).sum(),
    "log, then where": torch.where(real, hazard.log(), 0.0).sum(),
    "fill, then log": hazard.masked_fill(~real, 1.0).log().sum(),
}
masked = {
    name: {
        "value": value.item(),
        "gradient": torch.autograd.grad(value, hazard)[0][1].item(),
    }
    for name, value in ways.items()
}
masked = pd.DataFrame(masked).T
masked.round(4)

# %%
assert masked["value"].isna().tolist() == [True, False, False]
assert masked["gradient"].isna().tolist() == [True, True, False]
assert masked["gradient"]["fill, then log"] == 0

# %% [markdown]
# `NaN`, not a number. `torch.where` saves the value and not the gradient: on the way back the zero it sends to the other
# branch meets the infinite slope of $\log$ at 0. Fill the cells that are no rows *before* the logarithm, and both are
# right. `hazard_nll` fills their logits with minus infinity, which a sum of softplus takes as nothing.

# %%
holes = logits.clone()
holes[1, 2] = torch.nan
holes.requires_grad_()
value = hazard_nll(holes, stop, observed)
(gradient,) = torch.autograd.grad(value, holes)
gradient

# %%
torch.testing.assert_close(value, hazard_nll(*three))
torch.testing.assert_close(gradient, push)

# %% [markdown]
# Even `NaN` in Ben's third cell leaves value and gradient alone.
#
# ## 9. Where to begin
#
# The last layer of a network begins with a **bias** near 0, which says a hazard of one half at every visit. Simulated
# patients have an event in a few percent of their rows. Set the bias to the logit of that share, and compare.

# %%
n_started = 200
cohort = simulate.TEACHING.draw(n_started, seed=3).cohort
base_rate = int(cohort.outcome.observed.sum()) / cohort.outcome.n_rows
constant = torch.logit(torch.tensor(base_rate))
best_constant = outcome_nll(
    constant.expand(cohort.visits.mask.shape), cohort.outcome
).item()
f"{base_rate:.1%} of the rows end in an event"

# %%
begun = {}
for name, share in {"one half": 0.5, "base rate": base_rate}.items():
    model = SurvivalRNN(
        cohort.visits.schema, base_rate=share, embedding=16, hidden=16
    )
    model.encoder.fit_scaling(cohort.visits)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    path = []
    for _ in range(41):
        loss = outcome_nll(model(cohort.visits), cohort.outcome)
        path.append(loss.item())
        adam.zero_grad()
        loss.backward()
        adam.step()
    begun[name] = {"at the start": path[0], "after 40 steps": path[-1]}
begun = pd.DataFrame(begun).T
begun.round(2)

# %%
assert begun["at the start"]["one half"] > 5 * best_constant
assert begun["after 40 steps"]["one half"] > best_constant
assert begun["at the start"]["base rate"] < 1.05 * best_constant

# %% [markdown]
# One hazard for all has a loss of [1.49](fact:bce_best_constant). From the base rate the network starts there; from one
# half it starts at [8.24](fact:bce_start_half), and after forty steps it has still not come so far.
#
# ## 10. Where it breaks
#
# BCE comes with options, and classification comes with habits. Events are rare, so the habit is to weigh them up with
# `pos_weight`, by the rows without an event for each with one.

# %%
weight = torch.tensor((outcome.n_rows - events) / events)


def weighted(hazard_logits, stop, observed):
    rows = person_period(stop, observed)
    return binary_cross_entropy_with_logits(
        hazard_logits[rows.patient, rows.visit],
        rows.event.double(),
        pos_weight=weight,
    )


balanced = best_constant_hazard(weighted, outcome)
pd.DataFrame({"hazard": {"learned": balanced, "truth": truth}}).round(4)

# %%
assert abs(balanced - 0.5) < 1e-6

# %% [markdown]
# A true [0.05](fact:bce_true_hazard) is learned as one half, whatever it was. The order of the patients may survive
# that; the hazards do not, and survival is a product of hazards.
#
# Back to the [chapter](../explainer/02-per-visit-bce.md), where the recap links each claim to its test.
#
# ## Numbers that pages quote
#
# A page of this site can state a number only if a notebook publishes it, and the build compares the two.

# %%
for row, cost in enumerate(costs):
    fact(f"bce_cost_{row}", cost)
fact("bce_sum", bce)
fact("bce_decimals", decimals)
fact("bce_padding_hazard", hazards[1, 2])
for name, value in means.items():
    fact("bce_mean_" + name.replace(" ", "_"), value)
fact("bce_rows_per_patient", ratio)

# %%
fact("bce_true_hazard", truth)
fact("bce_visits", n_visits)
fact("bce_patients", n_patients)
fact("bce_dropout", dropout)
fact("bce_learned_at_risk", learned["rows at risk"])
fact("bce_learned_after_event", learned["+ after the event"])
fact("bce_learned_after_censoring", learned["+ after censoring"])
fact("bce_learned_every_cell", learned["every cell"])
fact("bce_learned_event_patients", learned["event patients alone"])
fact("bce_sorted", by_order["sorted by length"])
fact("bce_balanced", balanced)

# %%
event_push = hazards[0, 2] - 1
fact("bce_push_event", event_push)
fact("bce_push_size", -event_push)
fact("bce_push_on_hazard", -1 / hazards[0, 2])
fact("bce_eps", 1e-7)
fact("bce_edge_event", -edge)
fact("bce_spacing", 2.0**-24)
fact("bce_frozen_event", dead["clamped"][-20.0])
fact("bce_frozen_survived", cliffs["worst survived row"]["float32"])
for name in kinds:
    fact(f"bce_cliff_{name}", cliffs["sigmoid is 1 from"][name])
fact("bce_small_eps_works", 3.0e-8)
fact("bce_small_eps_fails", 2.9e-8)
fact("bce_after_20_steps", after["from logit"])

# %%
fact("bce_start_patients", n_started)
fact("bce_base_rate", base_rate)
fact("bce_best_constant", best_constant)
fact("bce_start_half", begun["at the start"]["one half"])
fact("bce_start_base", begun["at the start"]["base rate"])
fact("bce_half_after_40", begun["after 40 steps"]["one half"])
