# %% [markdown]
# # The loss zoo, step by step
#
# Here you run the chapter [The loss zoo](../explainer/11-loss-zoo.md), one idea a cell. Cells that begin with
# `guess = None` ask you first: put your answer there and run the cell again. The notebook also runs untouched, from top
# to bottom.

# %%
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from visitwise import check, plots, zoo
from visitwise.baselines import best_constant_hazard
from visitwise.check import loss_zoo
from visitwise.cohort import Outcome
from visitwise.functional import (
    fixed_horizon_bce,
    hazard_nll,
    person_period,
)
from visitwise.notebook import fact, show
from visitwise.simulate import draw_outcome
from visitwise.zoo import best_hazards

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
plt.style.use("visitwise.survival")

# %% [markdown]
# ## 1. What a loss likes best
#
# One row, true hazard [0.05](fact:zoo_truth_1): one time in twenty it ends in the event, else it is survived. So the
# **expected loss** of an answer is a twentieth of its loss for an event plus 19 twentieths of its loss for a row
# survived. Which answer makes it smallest? Try many, with the likelihood and with each event counted ten times.

# %%
answers = torch.linspace(0.001, 0.999, 999)
if_event = -answers.log()
if_survived = -(1 - answers).log()
expected = {
    "likelihood": 0.05 * if_event + 0.95 * if_survived,
    "events x 10": 10 * 0.05 * if_event + 0.95 * if_survived,
}
best = {name: answers[loss.argmin()] for name, loss in expected.items()}
pd.Series(best, name="best answer").astype(float).round(3).to_frame()

# %% [markdown]
# A loss whose best answer is the truth, whatever the truth, is **proper**. `best_hazards` finds the best answer of any
# loss that works on `hazard_logits`, `stop` and `observed`.

# %%
by_ten = partial(zoo.event_weighted_nll, event_weight=10.0)
five = torch.tensor([0.05])
print(best_hazards(hazard_nll, five), best_hazards(by_ten, five))

# %%
assert abs(best_hazards(hazard_nll, five) - 0.05) < 1e-6
assert abs(best_hazards(by_ten, five) - 0.5 / 1.45) < 1e-6

# %% [markdown]
# The **focal loss** multiplies the loss of each row by $(1-p)^2$, where $p$ is the probability that was given to what
# happened, and an event weighs a third of a row survived. What does it learn where the truth is
# [0.02](fact:zoo_truth_0)?

# %%
two = torch.tensor([0.02])
guess = None
check.near(
    guess,
    best_hazards(zoo.focal_loss, two),
    mistakes=check.values(loss_zoo.FOCAL, two),
)

# %%
hook = {"likelihood": hazard_nll, "focal": zoo.focal_loss, "x 10": by_ten}
learned = {name: best_hazards(loss, five) for name, loss in hook.items()}
survival = {name: (1 - h) ** 10 for name, h in learned.items()}
table = pd.DataFrame({"hazard": learned, "ten visits": survival})
table.map(float).round(3)

# %% [markdown]
# That is the expectation. Does a sample agree? 10,000 patients with that hazard, at most ten visits each.

# %%
drawn = draw_outcome(torch.full((10_000, 10), 0.05), seed=1)
sample = {n: best_constant_hazard(loss, drawn) for n, loss in hook.items()}
pd.Series(sample, name="learned from a sample").round(3).to_frame()

# %%
for name, hazard in learned.items():
    assert abs(sample[name] - hazard) < 0.006
assert survival["x 10"] < 0.02 < 0.13 < survival["focal"] < 0.14

# %% [markdown]
# ## 2. The zoo
#
# Now all of them, for four truths. Losses that look at one row at a time come first.

# %%
truths = torch.tensor([0.02, 0.05, 0.2, 0.5])


def learned_alone(loss):
    return torch.cat([best_hazards(loss, truth[None]) for truth in truths])


row_losses = {
    "likelihood": hazard_nll,
    "squared error": zoo.squared_error,
    "focal": zoo.focal_loss,
    "events x 10": by_ten,
}
bent = {name: learned_alone(loss) for name, loss in row_losses.items()}

# %% [markdown]
# Weights by visit, and a penalty on jumps: here the four truths are one patient's four rows.


# %%
def with_jumps(weight, *given, reduction):
    likelihood = hazard_nll(*given, reduction=reduction)
    penalty = zoo.smoothness_penalty(*given, reduction=reduction)
    return likelihood + weight * penalty


early = torch.tensor([[4.0, 2.0, 1.0, 0.5]])
by_visit = partial(zoo.row_weighted_nll, row_weight=early)
bent["visits weighted"] = best_hazards(by_visit, truths)
bent["smooth"] = best_hazards(partial(with_jumps, 1.0), truths)

# %% [markdown]
# A calibration penalty looks at a whole cohort. Take one in which everything happens as often as expected: ten rows at
# most, 2,000 patients, the same hazard in all.


# %%
def as_expected(hazard, visits=10, patients=2_000):
    left = patients * (1 - hazard) ** torch.arange(visits + 1)
    events = -left.round().diff().long()
    stop = torch.arange(1, visits + 1).repeat_interleave(events)
    censored = torch.full((patients - len(stop),), visits)
    seen = torch.arange(patients) < len(stop)
    return Outcome.of(torch.cat([stop, censored]), seen)


def with_rate(weight, per, *given):
    penalty = zoo.calibration_penalty(*given, per=per)
    return hazard_nll(*given) + weight * penalty


for per in ("row", "patient"):
    loss = partial(with_rate, 10.0, per)
    found = [best_constant_hazard(loss, as_expected(t)) for t in truths]
    bent[f"rate per {per}"] = torch.tensor(found)

# %% [markdown]
# A ranking loss compares patients: four groups of 100, one row each, with those four hazards. `minimise` moves the
# logits that it is given to where the loss is smallest.


# %%
def minimise(loss, *logits):
    how = {"max_iter": 300, "line_search_fn": "strong_wolfe"}
    search = torch.optim.LBFGS(
        logits, tolerance_grad=1e-9, tolerance_change=0, **how
    )

    def step():
        search.zero_grad()
        value = loss()
        value.backward()
        return value

    search.step(step)
    return [each.detach() for each in logits]


# %%
group = torch.arange(4).repeat_interleave(100)
happened = torch.arange(100) < (100 * truths).round()[:, None]
one_row = torch.ones(400, dtype=torch.long), happened.flatten()


def with_ranks(score, logits):
    box = logits[group][:, None]
    ranked = zoo.ranking_loss(box, *one_row, score=score)
    return hazard_nll(box, *one_row) + ranked


for score in ("logit", "sum"):
    logits = torch.full((4,), -1.0, requires_grad=True)
    minimise(partial(with_ranks, score, logits), logits)
    bent[f"ranks of {score}s"] = logits.detach().sigmoid()

# %%
everything = pd.DataFrame(bent, index=truths.tolist()).T
everything["proper"] = [
    (hazards - truths).abs().max().item() < 0.001
    for hazards in bent.values()
]
everything.sort_values("proper", ascending=False).round(3)

# %%
assert set(everything.index[everything["proper"]]) == {
    "likelihood",
    "squared error",
    "visits weighted",
    "rate per row",
    "ranks of logits",
}

# %% [markdown]
# Five leave the truth alone. The others bend it, each in its own way. Three of them, for all hazards:

# %% tags=["figure:zoo_bends"]
line = torch.logspace(-2.3, -0.2, 22)
figure, axes = plt.subplots(figsize=(5.4, 4.2))
axes.loglog(line, line, color=plots.COLOURS["censored"], linewidth=2.5)
axes.text(0.05, 0.034, "a proper loss", color=plots.COLOURS["censored"])
for loss, colour in [(zoo.focal_loss, "wrong"), (by_ten, "hazard")]:
    found = torch.cat([best_hazards(loss, h[None]) for h in line])
    axes.loglog(line, found, color=plots.COLOURS[colour])
per_patient = partial(with_rate, 10.0, "patient")
found = [best_constant_hazard(per_patient, as_expected(h)) for h in line]
axes.loglog(line, found, color=plots.COLOURS["survival"])
labels = {
    "focal": (0.0052, 0.115, "wrong", "left"),
    "each event\nten times": (0.022, 0.36, "hazard", "right"),
    "rate per\npatient": (0.021, 0.030, "survival", "right"),
}
for text, (x, y, colour, side) in labels.items():
    axes.text(x, y, text, color=plots.COLOURS[colour], ha=side)
ticks = [0.005, 0.02, 0.05, 0.2, 0.5]
axes.set_xticks(ticks, map(str, ticks))
axes.set_yticks(ticks, map(str, ticks))
axes.minorticks_off()
axes.set(xlabel="true hazard", ylabel="hazard learned")
show(
    figure,
    alt="Hazard learned against true hazard, both on logarithmic scales. A "
    "proper loss lies on the diagonal. The focal loss lies far above it "
    f"for rare events ({bent['focal'][0]:.2f} for {truths[0]:.2f}) and "
    f"below it for common ones ({bent['focal'][3]:.2f} for "
    f"{truths[3]:.2f}). Counting each event "
    "ten times lies above it everywhere. A penalty with the rate per "
    "patient leaves the diagonal as hazards grow.",
)

# %% [markdown]
# ## 3. What can be taken back
#
# Class weights multiply the *odds*, $h / (1-h)$, of every hazard, so they shift every logit by the same amount.
#
# ### Exercise 1
#
# Below, `weighted_logits` are what a model learned with each event counted ten times. Which hazards are behind them?

# %%
ten = torch.tensor(10.0)  # each event counts so often
weighted_logits = torch.logit(bent["events x 10"])
weighted_logits.round(decimals=3)

# %% tags=["exercise"]
# Odds times ten: what does that do to their logarithm, the logit?
true_hazards = None  # your code here

check.near(
    true_hazards,
    truths,
    mistakes=check.values(loss_zoo.UNWEIGHTED, weighted_logits, ten),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# Odds times ten: what does that do to their logarithm, the logit?
true_hazards = torch.sigmoid(weighted_logits - ten.log())

check.near(
    true_hazards,
    truths,
    mistakes=check.values(loss_zoo.UNWEIGHTED, weighted_logits, ten),
)

# %% [markdown]
# The focal loss has an inverse as well, if a longer one: `zoo.unfocused_logits`.

# %%
focal_logits = torch.logit(bent["focal"])
back = zoo.unfocused_logits(focal_logits).sigmoid()
back.round(decimals=6)

# %%
assert (back - truths).abs().max() < 1e-6

# %% [markdown]
# Both undo what an *unlimited* model learns. Now a model: two covariates at each of ten visits, and a hazard whose
# logit is a straight line in them. Fit that line, by likelihood and with the weight of ten.

# %%
draw = np.random.default_rng(1)
covariates = torch.from_numpy(draw.normal(size=(4_000, 10, 2)))
line_logit = covariates @ torch.tensor([1.0, -0.5]) - 3.6
followed = draw_outcome(line_logit.sigmoid(), dropout=0.1, seed=1)


def fitted(loss, outcome):
    slopes = torch.zeros(2, requires_grad=True)
    intercept = torch.zeros((), requires_grad=True)

    def cost():
        logits = covariates @ slopes + intercept
        return loss(logits, outcome.stop, outcome.observed)

    return minimise(cost, slopes, intercept)


# %%
fits = {n: fitted(hook[n], followed) for n in ("likelihood", "x 10")}
numbers = {n: [*fit[0].tolist(), fit[1].item()] for n, fit in fits.items()}
shown = pd.DataFrame(numbers, index=["slope 1", "slope 2", "intercept"]).T
shown.loc["x 10, shifted back"] = shown.loc["x 10"] - [0, 0, np.log(10)]
shown.round(3)

# %%
assert abs(shown.diff().iloc[2, 2] + np.log(10)) < 1e-9
assert (shown.iloc[2] - shown.iloc[0]).abs().max() < 0.08

# %% [markdown]
# The slopes are the same but for luck, and the intercept differs by the logarithm of ten. So the *order* of the
# patients is the same too: whoever hoped for a better one paid for nothing. The AUC is the share of pairs, a row with
# the event and one without, in which the one with the event has the higher hazard.

# %%
rows = person_period(followed.stop, followed.observed)
auc, mean = {}, {}
for name, (slopes, intercept) in fits.items():
    logits = (covariates @ slopes + intercept)[rows.patient, rows.visit]
    auc[name] = roc_auc_score(rows.event, logits)
    mean[name] = logits.sigmoid().mean().item()
pd.DataFrame({"AUC": auc, "mean hazard": mean}).round(3)

# %%
events = rows.event.double().mean()
assert abs(auc["likelihood"] - auc["x 10"]) < 0.001
assert abs(mean["likelihood"] - events) < 1e-6 < 0.2 < mean["x 10"]

# %% [markdown]
# ## 4. Penalties
#
# The notes' calibration penalty compares the *mean hazard*, a probability for each row, with the *share of patients who
# have the event*. With ten rows a patient and a hazard of [0.05](fact:zoo_truth_1), what is that share?

# %%
cohort = as_expected(torch.tensor(0.05))
guess = None
check.near(
    guess,
    1 - 0.95**10,
    mistakes={
        "that is per row; each patient has up to ten": 0.05,
        "ten rows, but who has the event leaves": 0.5,
        "that is the share without": 0.95**10,
    },
    tolerance=0.002,
)

# %%
weights = [0.1, 1.0, 10.0, 100.0]
pulled = {
    weight: best_constant_hazard(
        partial(with_rate, weight, "patient"), cohort
    )
    for weight in weights
}
pd.Series(pulled, name="hazard").rename_axis("weight").to_frame().round(4)

# %%
assert 0.05 < pulled[0.1] < 0.051 < 0.12 < pulled[10.0] < pulled[100.0]

# %% [markdown]
# At the notes' weight of [0.1](fact:zoo_notes_weight) the harm is small; it grows with the weight. Counted per row, the
# penalty has nothing to say that the likelihood does not, and in a small batch what it says is luck.
#
# ### Exercise 2
#
# A cohort, and a model that gives the same hazard to every row. Compute its *calibration gap* in the right unit: mean
# hazard over the rows minus the rate of events. `logits` is a box `[patient, visit]`; `stop` is the number of a
# patient's rows.

# %%
logits = torch.logit(torch.full((2_000, 10), 0.08))
logits[:, 8:] = 0.0  # a model may say anything where there is no row
stop = drawn.stop[:2_000].clamp(max=8)
observed = drawn.observed[:2_000] & (drawn.stop[:2_000] <= 8)

# %% tags=["exercise"]
# Rows of patient i are the columns 0 to stop[i] - 1; all of them are at
# risk, whether an event ended the last one or not.
gap = None  # your code here

check.near(
    gap,
    0.08 - observed.sum() / stop.sum(),
    mistakes=check.values(loss_zoo.GAP, logits, stop, observed),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# Rows of patient i are the columns 0 to stop[i] - 1; all of them are at
# risk, whether an event ended the last one or not.
at_risk = torch.arange(10) < stop[:, None]
gap = logits.sigmoid()[at_risk].mean() - observed.sum() / at_risk.sum()

check.near(
    gap,
    0.08 - observed.sum() / stop.sum(),
    mistakes=check.values(loss_zoo.GAP, logits, stop, observed),
)

# %% [markdown]
# ### Smoothness
#
# A patient is well for three visits, then something happens: the true hazard jumps from
# [0.02](fact:zoo_jump_low) to [0.3](fact:zoo_jump_high). What does the likelihood learn with a penalty on the squared
# jumps?

# %%
jump = torch.tensor([0.02, 0.02, 0.02, 0.3, 0.3, 0.3])
smooth = {
    weight: best_hazards(partial(with_jumps, weight), jump)
    for weight in (0.01, 1.0, 10.0)
}
table = pd.DataFrame(smooth).rename_axis("visit")
table.rename_axis("weight", axis="columns").round(3)

# %%
assert (smooth[0.01] - jump).abs().max() < 0.002
low, high = smooth[1.0][2] - 0.02, 0.3 - smooth[1.0][3]
assert 0 < 4 * low < high

# %% tags=["figure:zoo_smooth"]
figure, panels = plt.subplots(1, 2, figsize=(6.4, 3.0), sharey=True)
for axes, weight in zip(panels, (1.0, 10.0), strict=True):
    bars = np.asarray(smooth[weight])
    axes.bar(range(6), bars, width=0.7, color=plots.COLOURS["hazard"])
    axes.hlines(
        jump,
        np.arange(6) - 0.42,
        np.arange(6) + 0.42,
        color=plots.COLOURS["muted"],
        linewidth=3,
    )
    axes.set(title=f"weight {weight:g}", xlabel="visit", ylim=(0, 0.34))
    axes.set_xticks(range(6))
panels[0].set_ylabel("hazard")
panels[0].text(0, 0.035, "truth", color=plots.COLOURS["muted"])
panels[0].text(0.6, 0.2, "learned", color=plots.COLOURS["hazard"])
show(
    figure,
    alt=f"True hazards of {jump[0]:.2f} for three visits, then "
    f"{jump[3]:.2f} for three, and what is learned with a penalty on "
    "jumps. With weight 1, "
    f"{smooth[1.0][2]:.2f} before the jump and {smooth[1.0][3]:.2f} after "
    f"it. With weight 10, {smooth[10.0][2]:.2f} and "
    f"{smooth[10.0][3]:.2f}: the jump is nearly gone.",
)

# %% [markdown]
# The penalty pulls at both sides alike, and the likelihood holds the low side firmly: the same change matters more at
# [0.02](fact:zoo_jump_low) than at [0.3](fact:zoo_jump_high), and more patients get that far. So what gives way is the
# high side, the patient in danger.
#
# ## 5. Ranking
#
# The notes' ranking loss takes the *sum of a patient's hazards* for the risk. Everybody has a true hazard of
# [0.05](fact:zoo_truth_1) at each of ten visits, so nobody is riskier than anybody. Learn one hazard for each visit,
# from likelihood plus ranking.

# %%
same = as_expected(torch.tensor(0.05), patients=400)
by_visit = {}
for score in ("logit", "sum"):
    z = torch.full((10,), -3.0, requires_grad=True)

    def cost(score=score, z=z):
        given = z.expand(400, 10), same.stop, same.observed
        return hazard_nll(*given) + zoo.ranking_loss(*given, score=score)

    by_visit[score] = minimise(cost, z)[0].sigmoid()
pd.DataFrame(by_visit).rename_axis("visit").round(3)

# %%
assert by_visit["sum"][0] > 0.049 > 0.04 > by_visit["sum"][9]
assert (by_visit["logit"] - 0.05).abs().max() < 0.002

# %% [markdown]
# Who has had no event has the longest record and the largest sum, and is to rank *below* who had one. The only way out
# is to make late visits look safe. Compare, at the event, the logits of those at risk in that very row, and nothing is
# bent: that is what Cox's partial likelihood compares.
#
# A batch without any pair must not stop the training. Here everybody is censored:

# %%
z = torch.zeros(3, 2, requires_grad=True)
nobody = torch.tensor([2, 1, 2]), torch.tensor([False, False, False])
none = zoo.ranking_loss(z, *nobody)
none.backward()
none, z.grad

# %%
assert none == 0
assert not z.grad.any()

# %% [markdown]
# ## 6. More tasks
#
# An **auxiliary task** is learned beside the hazard, from the same state of the network. Take a small network: 20
# covariates make a state of one number or of two, and the state makes a hazard and a prediction of some blood value.
# The value depends on the same four covariates as the hazard, or on four others. 150 patients; how far is the learned
# hazard from the truth?

# %%
matters = torch.zeros(20)
matters[:4] = torch.tensor([0.8, -0.6, 0.4, 0.3])
value_of = {"related": matters, "unrelated": matters.roll(10)}


def draw_patients(n, seed, value):
    random = np.random.default_rng(seed)
    x = torch.from_numpy(random.normal(size=(n, 8, 20)))
    noise = torch.from_numpy(random.normal(size=(n, 8)))
    hazard = (x @ matters - 3).sigmoid()
    followed = draw_outcome(hazard, dropout=0.05, seed=seed)
    return x, hazard, x @ value_of[value] + noise, followed


# %%
unseen, true_hazard, *_ = draw_patients(2_000, 999, "related")


def excess_loss(learned):
    """Extra loss per row on new patients, in thousandths."""
    t, h = true_hazard, learned
    loss = t * (t / h).log() + (1 - t) * ((1 - t) / (1 - h)).log()
    return 1_000 * loss.mean().item()


# %%
def excess(value, size, weight, seed):
    x, _, blood, followed = draw_patients(150, seed, value)
    at_risk = torch.arange(8) < followed.stop[:, None]
    random = np.random.default_rng(100 + seed)
    start = random.normal(size=(20, size)) * 0.1, random.normal(size=size)
    inward, out = (torch.from_numpy(s).requires_grad_() for s in start)
    to_logit = torch.full((size,), 0.5, requires_grad=True)
    base = torch.tensor(-3.0, requires_grad=True)

    def cost():
        state = x @ inward
        logits = state @ to_logit + base
        nll = hazard_nll(logits, followed.stop, followed.observed)
        error = ((state @ out - blood)[at_risk] ** 2).mean()
        return nll + weight * error

    minimise(cost, inward, out, to_logit, base)
    with torch.no_grad():
        return excess_loss((unseen @ inward @ to_logit + base).sigmoid())


# %%
cases = {
    "no task": ("related", 1, 0.0),
    "related, one number": ("related", 1, 1.0),
    "unrelated, one number": ("unrelated", 1, 1.0),
    "unrelated, two numbers": ("unrelated", 2, 1.0),
}
runs = {
    n: [excess(*case, s) for s in range(6)] for n, case in cases.items()
}
runs["one hazard for all"] = [excess_loss(true_hazard.mean())] * 6
spread = pd.DataFrame(runs).agg(["min", "median", "max"]).T
spread.round(2)

# %%
aux = spread["median"].to_dict()
assert (
    spread.loc["related, one number", "max"] < spread.loc["no task", "min"]
)
worst = spread.loc["unrelated, one number", "min"]
assert worst > spread.loc["no task", "max"]
assert abs(aux["unrelated, two numbers"] - aux["no task"]) < 0.05

# %% [markdown]
# A sum of tasks bends no hazard while the network has room for all of them: with two numbers the hazard is what it was.
# In a narrow one the tasks share: a related task teaches, an unrelated one takes the room, and what is left is as
# good as one hazard for everybody.
#
# A **contrastive loss** pulls the states of patients with the event together and pushes those of *censored* patients
# away. Are those patients without the event? Twelve visits, hazard [0.05](fact:zoo_truth_1), and one in ten lost after
# each.

# %%
latent = torch.full((20_000, 12), 0.05)
seen = draw_outcome(latent, dropout=0.1, seed=2)
complete = draw_outcome(latent, dropout=0.0, seed=2)  # the same events
censored = ~seen.observed
with_event_later = complete.observed[censored].double().mean()
guess = None
check.near(
    guess,
    with_event_later,
    mistakes={
        "they were lost, and some had it afterwards": 0.0,
        "so it is for all patients": complete.observed.double().mean(),
    },
    tolerance=0.01,
)

# %%
among_lost = complete.observed[censored & (seen.stop < 12)]
pd.Series(
    {
        "of the censored": with_event_later,
        "of those lost early": among_lost.double().mean(),
    },
    name="have the event later",
).astype(float).round(3).to_frame()

# %%
assert 0.2 < with_event_later < 0.3 < among_lost.double().mean() < 0.35

# %% [markdown]
# ## 7. Another likelihood
#
# The notes' *Bayesian* loss takes outcomes 0 and 1 for measurements with normal noise, and learns a variance beside
# each hazard. What standard deviation is learned where the true hazard is [0.25](fact:zoo_quarter)?

# %%
quarter = torch.tensor([0.25])
mean_and_variance = torch.zeros(2, requires_grad=True)


def cost():
    z, log_variance = (each.expand(2, 1) for each in mean_and_variance)
    both = torch.tensor([1, 1]), torch.tensor([True, False])
    each = zoo.gaussian_nll(z, log_variance, *both, reduction="none")
    return (torch.tensor([0.25, 0.75]) * each).sum()


z, log_variance = minimise(cost, mean_and_variance)[0]
hazard, deviation = z.sigmoid(), (log_variance / 2).exp()
guess = None
check.near(
    guess,
    deviation,
    mistakes={
        "that is the notes' example; nothing makes it so small": 0.05,
        "that is the variance, h (1 - h); take the root": 0.1875,
        "as if the model could become sure of 0.25": 0.0,
    },
)

# %%
low, high = hazard - 1.96 * deviation, hazard + 1.96 * deviation
pd.Series(
    {"hazard": hazard, "deviation": deviation, "low": low, "high": high},
    name="learned",
).astype(float).round(3).to_frame()

# %%
assert abs(hazard - 0.25) < 1e-6
assert abs(deviation**2 - 0.25 * 0.75) < 1e-6
assert low < 0 < 1 < high

# %% [markdown]
# The hazard is right; the "interval" reaches from below 0 to above 1. It is the scatter of the coin, which no amount of
# data makes smaller, not the doubt about the hazard. For that, fit the model to several resampled cohorts.
#
# **Fixed horizon.** "The event within ten visits, yes or no?" needs a label, and who is lost before has none.

# %%
lost = draw_outcome(torch.full((100_000, 10), 0.05), dropout=0.1, seed=3)
one_logit = torch.tensor(0.0, requires_grad=True)


def horizon_cost():
    every = one_logit.expand(len(lost))
    return fixed_horizon_bce(every, lost.stop, lost.observed, 10)


known = minimise(horizon_cost, one_logit)[0].sigmoid()
within = {
    "the truth": 1 - 0.95**10,
    "lost patients left out": known,
    "lost patients counted as no": lost.observed.double().mean(),
    "a hazard for each row": 1
    - (1 - best_constant_hazard(hazard_nll, lost)) ** 10,
}
pd.Series(within, name="within ten visits").astype(float).round(
    3
).to_frame()

# %%
assert known > 0.5 > 0.42
assert within["lost patients counted as no"] < 0.3
assert abs(within["a hazard for each row"] - within["the truth"]) < 0.01

# %% [markdown]
# ## 8. Where it breaks
#
# ### A weight taken back from a model that is too small
#
# The hazard is high where both covariates are, and low elsewhere. The model still draws its straight line.

# %%
both_high = (covariates[..., 0] > 1) & (covariates[..., 1] > 0)
stepped = torch.where(both_high, 0.0, -4.0).sigmoid()
ended = draw_outcome(stepped, dropout=0.1, seed=4)
small = {n: fitted(hook[n], ended) for n in ("likelihood", "x 10")}
at_risk = torch.arange(10) < ended.stop[:, None]
means = {"events": ended.observed.sum() / at_risk.sum()}

# %%
for name, (slopes, intercept) in small.items():
    logits = covariates @ slopes + intercept
    if name == "x 10":
        logits = zoo.unweighted_logits(logits, 10.0)
    means[name] = logits.sigmoid()[at_risk].mean()
pd.Series(means, name="mean hazard").astype(float).round(4).to_frame()

# %%
assert abs(means["likelihood"] - means["events"]) < 1e-6
assert means["x 10"] < 0.95 * means["events"]

# %% [markdown]
# The likelihood has the right mean, as it has in every model with an intercept. The weighted line, shifted back, has
# not: it was fitted to another cohort, one with ten times the events.
#
# ### A label that is not there, times zero
#
# The notes' loss for a fixed horizon computes a loss for every visit and multiplies it by a mask.

# %%
labels = torch.tensor([0.0, 1.0, torch.nan])  # the last one is unknown
valid = torch.tensor([1.0, 1.0, 0.0])
each = torch.nn.functional.binary_cross_entropy_with_logits(
    torch.zeros(3), labels, reduction="none"
)
(each * valid).sum() / valid.sum(), each.where(valid > 0, 0.0).sum() / 2

# %%
assert (each * valid).sum().isnan()
assert each.where(valid > 0, 0.0).sum().isfinite()

# %% [markdown]
# ### A loss without a floor
#
# One row that was survived, and a hazard that is nearly 0 there: let the variance follow.

# %%
survived = torch.tensor([1]), torch.tensor([False])
depth = {
    variance: zoo.gaussian_nll(
        torch.tensor([[-40.0]]), torch.tensor([[variance]]).log(), *survived
    ).item()
    for variance in (1.0, 1e-2, 1e-4, 1e-8)
}
pd.Series(depth, name="loss").rename_axis("variance").to_frame().round(2)

# %%
assert min(depth.values()) == depth[1e-8] < -8

# %% [markdown]
# ### The distance, not squared
#
# The *absolute* error, $|h - y|$, for a true hazard of [0.3](fact:zoo_absolute_truth): every answer from 0 to 1, and
# its expected loss.

# %%
answers = torch.linspace(0, 1, 1001)
distance = 0.3 * (1 - answers) + 0.7 * answers
best_distance = answers[distance.argmin()]
at_truth = distance[300]
pd.Series(
    {"best answer": best_distance, "loss at 0.3": at_truth}, name="|h - y|"
).astype(float).round(3).to_frame()

# %%
assert best_distance == 0

# %% [markdown]
# Back to the [chapter](../explainer/11-loss-zoo.md).
#
# ## Numbers that pages quote

# %%
names = {"likelihood": "likelihood", "focal": "focal", "x 10": "events"}
for name, short in names.items():
    fact(f"zoo_five_{short}", learned[name])
    fact(f"zoo_ten_visits_{short}", survival[name])

# %%
short = {
    "likelihood": "likelihood",
    "squared error": "squared",
    "visits weighted": "visits",
    "rate per row": "row_rate",
    "ranks of logits": "logit_ranks",
    "focal": "focal",
    "events x 10": "events",
    "smooth": "smooth",
    "rate per patient": "rate",
    "ranks of sums": "ranks",
}
for name, word in short.items():
    for place, hazard_learned in enumerate(bent[name]):
        fact(f"zoo_{word}_{place}", hazard_learned)
for place, truth in enumerate(truths):
    fact(f"zoo_truth_{place}", truth)

# %%
for name, mistake in loss_zoo.FOCAL.items():
    fact(f"zoo_guess_{name}", mistake.formula(two))
fact("zoo_log_ten", np.log(10))
fact("zoo_auc_likelihood", auc["likelihood"])
fact("zoo_auc_events", auc["x 10"])
fact("zoo_slope_likelihood", fits["likelihood"][0][0])
fact("zoo_slope_events", fits["x 10"][0][0])
fact("zoo_share_of_patients", 1 - 0.95**10)
fact("zoo_rate_mild", pulled[0.1])
fact("zoo_notes_weight", 0.1)

# %%
fact("zoo_jump_low", jump[0])
fact("zoo_jump_high", jump[3])
fact("zoo_smooth_before", smooth[1.0][2])
fact("zoo_smooth_after", smooth[1.0][3])
fact("zoo_smooth_mild_before", smooth[0.01][2])
fact("zoo_smooth_mild_after", smooth[0.01][3])
fact("zoo_ranks_last_visit", by_visit["sum"][9])

# %%
fact("zoo_aux_none", aux["no task"])
fact("zoo_aux_related", aux["related, one number"])
fact("zoo_aux_unrelated", aux["unrelated, one number"])
fact("zoo_aux_one_for_all", spread.loc["one hazard for all", "median"])
fact("zoo_censored_later", with_event_later)
fact("zoo_deviation", deviation)
fact("zoo_quarter", quarter)
fact("zoo_interval_low", low)
fact("zoo_interval_high", high)
fact("zoo_horizon_known", known)
fact("zoo_horizon_no", within["lost patients counted as no"])
fact("zoo_absolute_truth", answers[300])
fact("zoo_absolute_half", answers[500])
fact("zoo_absolute_expected", at_truth)
fact("zoo_small_events", means["events"])
fact("zoo_small_shifted", means["x 10"])
