# %% [markdown]
# # Extensions, step by step
#
# Here you run the chapter [Extensions](../explainer/11-extensions.md), one idea a cell. Cells that begin with
# `guess = None` ask you first: put your answer there and run the cell again. The notebook also runs untouched, from top
# to bottom.

# %%
import math
import warnings
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from lifelines import AalenJohansenFitter

from visitwise import check, plots
from visitwise.check import extensions
from visitwise.cohort import Cohort, Outcome
from visitwise.functional import (
    all_cause_logits,
    cause_hazard,
    competing_risks_nll,
    cumulative_hazard,
    cumulative_incidence,
    fixed_horizon_bce,
    hazard,
    hazard_nll,
    logits_from_cloglog,
    logits_from_hazard,
    survival,
)
from visitwise.losses import outcome_competing_nll, outcome_horizon_nll
from visitwise.model import CompetingRisksRNN, HorizonRNN, SurvivalRNN
from visitwise.notebook import fact, show
from visitwise.simulate import Simulator
from visitwise.training import evaluate_nll, fit

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
plt.style.use("visitwise.survival")

# %% [markdown]
# ## 1. Three sigmoids
#
# Ada may have a stroke, a heart attack, or die of something else. The textbook network gives each **cause** a head of
# its own, and each head ends in a *sigmoid*, which keeps its hazard between 0 and 1. Ada here is a simulated patient
# with three visits; the weights are the random ones that training would begin with.

# %%
world = Simulator(n_causes=2, event_rate=0.6, second_rate=0.25, dropout=0.0)
everybody = world.draw(20_000, seed=1).cohort
three_visits = (everybody.visits.length == 3).nonzero()[:1, 0]
ada = everybody.visits.select(three_visits)
len(everybody)

# %%
reader = SurvivalRNN(ada.schema, embedding=8, hidden=16).double()
state, _ = reader.recurrence(ada.pad(reader.encoder(ada)))
random = np.random.default_rng(0)
draws = random.uniform(-0.25, 0.25, (1_000, 3, 17))  # as PyTorch draws
weight, bias = torch.from_numpy(draws).split([16, 1], -1)
sigmoids = hazard(state[0].detach() @ weight.mT + bias.mT)
ada_sigmoids = sigmoids[0]
ada_sigmoids.round(decimals=3)

# %% [markdown]
# A row is a visit, a column a cause. What is left for "none of the three" after her first visit, by one minus the sum
# of the hazards?

# %%
guess = None
mistakes = check.values(extensions.LEFT, ada_sigmoids[0])
left = 1 - ada_sigmoids.sum(1)
check.near(guess, left[0], mistakes=mistakes)

# %%
naive = left.cumprod(0)
pd.DataFrame({"hazards, summed": ada_sigmoids.sum(1), "survival": naive})

# %%
assert naive[0] < 0 < naive[1]
first_left = 1 - sigmoids[:, 0].sum(-1)
assert (sigmoids.sum(-1) > 1).all()
f"{first_left.min():.2f} to {first_left.max():.2f} after her first visit"

# %% [markdown]
# A "survival" of [−0.59](fact:ext_naive_0), then one that is positive again, since two negative numbers make a positive
# one. It is not this draw: in all of 1,000 draws of the first weights, at every visit, the three hazards sum to more
# than 1.
#
# ## 2. One of them, or nothing
#
# What can happen in an interval is *one* of the causes, or nothing. A **softmax** shares one unit of probability among
# them: $h_c = e^{z_c} / (1 + \sum_j e^{z_j})$, where the 1 stands for "nothing", whose logit is 0.

# %%
wild = torch.from_numpy(random.normal(scale=10, size=(1_000, 3)))
largest = cause_hazard(wild).sum(-1).max()
bool(largest <= 1)

# %% [markdown]
# However wild the logits, the sum does not pass 1. Now take numbers that you can work with. At Ada's three visits the
# hazard of a stroke is the one of [chapter 1](../explainer/01-hazard-to-likelihood.md), and death has one, too.

# %%
stroke = torch.tensor([0.1, 0.2, 0.3])
death = torch.tensor([0.05, 0.1, 0.2])
hazards = torch.stack([stroke, death], 1)
nothing = 1 - hazards.sum(1, keepdim=True)
cause_logits = hazards.log() - nothing.log()
torch.testing.assert_close(cause_hazard(cause_logits), hazards)
pd.DataFrame(cause_logits.round(decimals=3), columns=["stroke", "death"])

# %% [markdown]
# The **cumulative incidence** of stroke is the probability that a stroke has happened by the end of an interval. What
# is it for Ada after all three?

# %%
guess = None
incidence = cumulative_incidence(cause_logits)
wrong = check.values(extensions.INCIDENCE, hazards)
mistakes = {sentence: curve[-1] for sentence, curve in wrong.items()}
check.near(guess, incidence[-1, 0], mistakes=mistakes)

# %%
either = survival(all_cause_logits(cause_logits))
table = pd.DataFrame(incidence, columns=["stroke", "death"])
table["neither"] = either.numpy()
table.rename_axis("by the end of interval")

# %%
torch.testing.assert_close(incidence.sum(1) + either, torch.ones(3))

# %% [markdown]
# Every line sums to 1. `all_cause_logits` adds the odds of the causes, so whatever reads hazard logits, such as
# `survival`, works for "any of them".
#
# The loss asks two things of the last row: *whether* something happened, and *which* cause it was. Ada has a stroke in
# interval 2. What does she add to the loss?

# %%
guess = None
stop, cause = torch.tensor(3), torch.tensor(1)
nll = competing_risks_nll(cause_logits[None], stop[None], cause[None])
wrong = check.values(extensions.COMPETING_NLL, hazards, stop, cause)
check.near(guess, nll, mistakes=wrong)

# %%
whether = hazard_nll(
    all_cause_logits(cause_logits)[None], stop[None], cause[None] > 0
)
which = -torch.log(hazards[2, 0] / hazards[2].sum())
torch.testing.assert_close(nll, whether + which)
torch.testing.assert_close(nll, -torch.log(0.85 * 0.7 * stroke[2]))

# %% [markdown]
# ### Exercise 1
#
# Compute the cumulative incidence of stroke at all three visits, from `hazards` alone.

# %% tags=["exercise"]
# Survival *before* an interval: 1 before the first, then the product.
# Each stroke hazard is asked of those who are still free of both.
stroke_by_then = None  # your code here

check.near(
    stroke_by_then,
    incidence[:, 0],
    mistakes=check.values(extensions.INCIDENCE, hazards),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# Survival *before* an interval: 1 before the first, then the product.
# Each stroke hazard is asked of those who are still free of both.
survived = (1 - hazards.sum(1)).cumprod(0)
before = torch.cat([torch.ones(1), survived[:-1]])
stroke_by_then = (hazards[:, 0] * before).cumsum(0)

check.near(
    stroke_by_then,
    incidence[:, 0],
    mistakes=check.values(extensions.INCIDENCE, hazards),
)

# %% [markdown]
# ## 3. Twenty thousand patients
#
# The simulated patients of section 1 were followed to the end, the event or 40 intervals: cause 1 is a stroke, cause 2
# is death. Now lose some. `lose` ends follow-up after each interval with a probability of [6%](fact:ext_dropout),
# whoever the patient is.


# %%
def lose(cohort: Cohort, dropout: float, seed: int) -> Cohort:
    random = np.random.default_rng(seed)
    followed = torch.from_numpy(random.geometric(dropout, len(cohort)))
    stop = torch.minimum(cohort.outcome.stop, followed)
    cause = cohort.outcome.cause.where(followed >= cohort.outcome.stop, 0)
    visits = cohort.visits.select(torch.arange(len(cohort)), stop)
    outcome = Outcome.of(stop, cause > 0, cause=cause)
    return Cohort(visits, outcome)


# %%
study = lose(everybody, dropout=0.06, seed=0)
study

# %% [markdown]
# The truth is what happened to everybody. From the study alone, a colleague takes one minus Kaplan-Meier, and treats
# whoever died as censored: of those at risk in each interval, the share who had a stroke.

# %%
width = 40
by = torch.arange(1, width + 1)


def share_by(cause: int, outcome: Outcome) -> torch.Tensor:
    stop = outcome.stop[outcome.cause == cause]
    return (stop <= by[:, None]).sum(1) / len(outcome)


truth = torch.stack([share_by(c, everybody.outcome) for c in (1, 2)], 1)
had = [study.outcome.stop[study.outcome.cause == c] - 1 for c in (1, 2)]
events = torch.stack([torch.bincount(k, minlength=width) for k in had], 1)
at_risk = (study.outcome.stop >= by[:, None]).sum(1, keepdim=True)
crude = events / at_risk  # hazard of each cause, for everybody alike

# %% [markdown]
# In truth [43.2%](fact:ext_truth_20) have had a stroke by the end of the twentieth interval. What does the colleague
# find?

# %%
guess = None
kaplan_meier = 1 - (1 - crude).cumprod(0)
check.near(
    guess,
    kaplan_meier[19, 0],
    mistakes={
        "that is the truth": truth[19, 0],
        "that is the share with a stroke on record": share_by(
            1, study.outcome
        )[19],
        "that is either event": truth[19].sum(),
    },
    tolerance=0.005,
)

# %%
crude_logits = crude.log() - (1 - crude.sum(1, keepdim=True)).log()
estimate = cumulative_incidence(crude_logits)
by_twenty = pd.DataFrame(
    {
        "truth": truth[19],
        "cumulative incidence": estimate[19],
        "1 - Kaplan-Meier": kaplan_meier[19],
    },
    index=["stroke", "death"],
)
by_twenty.round(4)

# %%
assert (estimate[:20] - truth[:20]).abs().max() < 0.01
assert (kaplan_meier[19] > truth[19] + 0.05).all()
assert kaplan_meier[-1].sum() > 1

# %% [markdown]
# Her number is for a world in which nobody dies before a stroke, if the dead were as likely to have one as the others.
# Add her two curves, and at the end [113%](fact:ext_km_both_40) of the patients have had one or the other.
#
# `cumulative_incidence` of the crude hazards is the **Aalen-Johansen** estimator. lifelines has it, too. It refuses
# ties and shifts tied times a little at random; put those who are lost after the events of their interval, and the
# shifts do no harm.

# %%
outcome = study.outcome
day = (outcome.stop + 0.5 * (outcome.cause == 0)).numpy()
fitter = AalenJohansenFitter(calculate_variance=False, seed=0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about the ties
    fitter.fit(day, outcome.cause.numpy(), event_of_interest=1)
theirs = fitter.cumulative_density_.iloc[:, 0]
lifelines_20 = theirs[theirs.index < 20.3].iloc[-1]
assert abs(lifelines_20 - estimate[19, 0]) < 1e-6
f"{lifelines_20:.4f}"

# %% tags=["figure:two_causes"]
figure, axes = plt.subplots(figsize=(5.6, 4.2))
styles = [("stroke", "event_probability"), ("death", "censored")]
for c, (name, role) in enumerate(styles):
    colour = plots.COLOURS[role]
    axes.plot(by, truth[:, c], color=colour, linewidth=5, alpha=0.35)
    axes.plot(by, estimate[:, c], color=colour, linewidth=1.5)
    wrong_style = {"color": plots.COLOURS["wrong"], "linestyle": "--"}
    axes.plot(by, kaplan_meier[:, c], linewidth=1.5, **wrong_style)
    axes.text(40.6, truth[-1, c], name, color=colour, va="center")
axes.text(
    21, 0.62, "1 − Kaplan-Meier", color=plots.COLOURS["wrong"], ha="right"
)
axes.set(
    xlabel="intervals",
    ylabel="share who have had it",
    xlim=(0, 47),
    ylim=(0, 0.8),
)
show(
    figure,
    alt="Of 20,000 patients, the share with a stroke rises to "
    f"{truth[-1, 0]:.2f}, the share who died to {truth[-1, 1]:.2f}. The "
    "cumulative incidences estimated from those still followed lie on "
    "these curves. One minus Kaplan-Meier runs above both, to "
    f"{kaplan_meier[-1, 0]:.2f} and {kaplan_meier[-1, 1]:.2f}.",
)

# %% [markdown]
# ## 4. A network for two causes
#
# Train on 6,000 patients of the study; 2,000 others decide which epoch to keep. Another 10,000 are kept apart, with all
# that happened to them.

# %%
parts = [0.3, 0.1, 0.1, 0.5]
train, validation, *_ = study.split(parts, seed=0)
*_, unseen = everybody.split(parts, seed=0)
size = {"embedding": 8, "hidden": 32}
how = {"epochs": 3, "batch_size": 96, "learning_rate": 1e-2}
how |= {"progress": False}
both = CompetingRisksRNN.for_cohort(train, **size).double()
fit(both, train, validation, loss=outcome_competing_nll, **how)
evaluate_nll(both, unseen, loss=outcome_competing_nll)

# %%
true_hazard = world.cause_hazard(unseen.visits)
learned = unseen.visits.unpad(both.predict(unseen.visits).cause_hazard)
causes = ["stroke", "death"]
both_logits = torch.logit(torch.stack([learned, true_hazard], 1))
correlation = [torch.corrcoef(both_logits[..., c].T)[0, 1] for c in (0, 1)]
fits = pd.DataFrame(
    {
        "learned, mean": learned.mean(0),
        "true, mean": true_hazard.mean(0),
        "correlation of logits": torch.stack(correlation),
    },
    index=causes,
)
fits.round(3)

# %%
figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.6))
some = slice(20_000)
for c, name in enumerate(causes):
    plots.learned_against_true(
        learned[some, c], true_hazard[some, c], axes[c]
    )
    axes[c].set_title(name)
show(
    figure,
    alt="Learned against true hazards in 20,000 rows, for stroke and for "
    "death: both clouds lie along the diagonal.",
)

# %%
assert (fits["correlation of logits"] > 0.75).all()
assert ((fits["learned, mean"] / fits["true, mean"] - 1).abs() < 0.1).all()

# %% [markdown]
# The two causes are told apart, from one loss. Now train the sigmoids of section 1 on the same patients, a
# cross-entropy for each cause. Do their hazards still sum to more than 1?


# %%
def two_sigmoids(logits, outcome, reduction):
    return sum(
        hazard_nll(
            logits[..., c],
            outcome.stop,
            outcome.cause == c + 1,
            reduction=reduction,
        )
        for c in range(2)
    )


apart = CompetingRisksRNN.for_cohort(train, **size).double()
fit(apart, train, validation, loss=two_sigmoids, **how)
their_logits = apart.predict(unseen.visits).cause_logits
their_sum = hazard(unseen.visits.unpad(their_logits)).sum(1)

# %%
guess = None
passes = (their_sum > 1).any()
check.same(guess, "yes" if passes else "no")

# %%
assert not passes
f"{their_sum.max():.3f} at most, in {len(their_sum):,} rows"

# %% [markdown]
# No: here training has mended it, and the largest sum is [0.87](fact:ext_sigmoid_largest). It was these patients that
# kept it below 1, not the network.
#
# ## 5. Cumulative hazard, two ways
#
# With one cause again, the **cumulative hazard** is what accumulates up to an interval. One way is the plain sum of the
# hazards, the other $H = -\sum \log(1-h)$. Five visits with a hazard of [0.3](fact:ext_high_hazard): what is the
# second?

# %%
guess = None
high = torch.full((5,), 0.3)
accumulated = cumulative_hazard(logits_from_hazard(high))[-1]
mistakes = check.values(extensions.CUMULATIVE_HAZARD, high)
check.near(guess, accumulated, mistakes=mistakes)

# %%
low = torch.full((20,), 0.01)
ways = {}
for name, h in [("5 of 0.3", high), ("20 of 0.01", low)]:
    ways[name] = {
        "survival": (1 - h).prod().item(),
        "exp(sum of log(1 - h))": torch.log1p(-h).sum().exp().item(),
        "exp(-sum of h)": torch.exp(-h.sum()).item(),
    }
pd.DataFrame(ways).T.round(4)

# %%
torch.testing.assert_close(torch.exp(-accumulated), (1 - high).prod())
for row in ways.values():
    assert row["exp(-sum of h)"] > row["survival"]

# %% [markdown]
# Only the second has $S = e^{-H}$. The two differ by about $h^2/2$ in each interval, so they agree where every hazard
# is small. Both have names when the hazards are crude ones: the sum is the *Nelson-Aalen* estimator, the product
# *Kaplan-Meier*.
#
# ## 6. When gaps shrink
#
# In continuous time a **rate** $\lambda$ says how fast events come, per year. With a constant rate, the hazard of a gap
# of length $\Delta$ is $h = 1 - e^{-\lambda\Delta}$. Dan has a rate of [0.4](fact:ext_rate_dan) a year, and his next
# contact is in three years. What is his hazard?

# %%
guess = None
rate, gap = torch.tensor(0.4), torch.tensor(3.0)
dan = hazard(logits_from_cloglog((rate * gap).log()))
mistakes = check.values(extensions.HAZARD_OF_A_GAP, rate, gap)
check.near(guess, dan, mistakes=mistakes)

# %%
gaps = torch.tensor([3.0, 1.0, 1 / 4, 1 / 12, 1 / 365])
of_a_gap = pd.DataFrame(
    {"rate × gap": rate * gaps, "hazard": 1 - torch.exp(-rate * gaps)},
    index=["3 years", "1 year", "3 months", "1 month", "1 day"],
)
of_a_gap.round(5)

# %%
ratio = of_a_gap["rate × gap"] / of_a_gap["hazard"]
assert (ratio > 1).all()
assert ratio.is_monotonic_decreasing
assert ratio.iloc[-1] < 1.001

# %% [markdown]
# Rate times gap is the limit for short gaps; for long ones it is no probability. `logits_from_cloglog` takes the
# logarithm of rate times gap, so a gap enters as an addition: that is the *complementary log-log* link.
#
# What becomes of the loss? Draw 1,000 event times with a rate of [0.2](fact:ext_rate), end follow-up after five years,
# and cut time into intervals, finer and finer.

# %%
rate, random = 0.2, np.random.default_rng(0)
time = torch.from_numpy(random.exponential(1 / rate, 1_000))
years, seen = time.clamp(max=5.0), time < 5
continuous = (rate * years - seen * math.log(rate)).mean()
losses = {}
for a_year in (1, 4, 12, 52, 365):
    stop = (years * a_year).ceil().long()
    logit = logits_from_cloglog(torch.tensor(rate / a_year).log())
    each_row = logit.expand(len(stop), 5 * a_year)
    losses[a_year] = hazard_nll(each_row, stop, seen).item()
limit = pd.DataFrame({"discrete": losses})
limit["+ log gap per event"] = limit[
    "discrete"
] - seen.double().mean().item() * np.log(limit.index)
limit.rename_axis("intervals a year").round(4)

# %%
apart_by = (limit["+ log gap per event"] - continuous.item()).abs()
assert limit["discrete"].is_monotonic_increasing
assert apart_by.loc[365] < 1e-3
assert apart_by.loc[365] < apart_by.loc[12] < apart_by.loc[1]
f"continuous: {continuous:.4f}"

# %% [markdown]
# The loss grows without end: of ever more intervals, the event falls into one. That costs $-\log\Delta$ for each
# event, whatever the model says. Add $\log\Delta$ back, and what is left tends to the continuous
# loss, $\lambda t - \log\lambda$ for an event at time $t$: [1.6493](fact:ext_continuous_nll) a patient.
#
# ## 7. The next eight intervals
#
# Eve has just closed her visit 3 and asks for her risk of any event within eight intervals. A hazard at each visit is
# no answer: the next one needs a visit that has not been made. Two short cuts, tried with the *true* hazards of the
# patients kept apart: keep today's hazard for all eight, or multiply along the record, afterwards.

# %%
landmark, ahead = 3, 8
there = unseen.select((unseen.outcome.stop > landmark).nonzero()[:, 0])
box = there.visits.pad(world.hazard(there.visits), fill=torch.nan)
to_come = box[:, landmark : landmark + ahead]
happened = there.outcome.observed & (there.outcome.stop <= landmark + ahead)
f"{happened.double().mean():.3f} of {len(there):,} had an event in time"

# %%
frozen = extensions.frozen_hazard(to_come)
multiplied = extensions.along_the_record(to_come)


def by_fifths(risk: torch.Tensor) -> pd.DataFrame:
    groups = risk.argsort().chunk(5)
    return pd.DataFrame(
        {
            "said": [risk[who].mean().item() for who in groups],
            "happened": [
                happened[who].double().mean().item() for who in groups
            ],
        }
    )


by_fifths(frozen).round(3)

# %% [markdown]
# That was today's hazard, kept. Patients change, and what drives the risk here mostly comes later: the truth is above
# in every fifth. Now sort them by the product along the record. In the lowest fifth it says
# [0.062](fact:ext_multiplied_said_0). How many had an event?

# %%
guess = None
along = by_fifths(multiplied)
check.near(
    guess,
    along["happened"][0],
    mistakes={
        "that is what the product says": along["said"][0],
        "that is the share among all": happened.double().mean(),
        "that is the next fifth": along["happened"][1],
    },
    tolerance=0.005,
)

# %%
along.round(3)

# %%
assert (by_fifths(frozen)["happened"] > by_fifths(frozen)["said"]).all()
assert along["happened"][0] > 4 * along["said"][0]
assert along["happened"][0] > along["happened"][1]

# %% [markdown]
# [35%](fact:ext_multiplied_happened_0): an early event ends the record, so few factors are multiplied, and who had it
# looks safe. And the hazards were the true ones.
#
# A **horizon head** puts out eight hazards at *every* visit, one for each interval to come. The likelihood is the one
# you know, over `[patient, visit, interval]`: each visit is a start of its own.

# %%
forecaster = HorizonRNN.for_cohort(train, horizon=ahead, **size).double()
fit(forecaster, train, validation, loss=outcome_horizon_nll, **how)
forecast = forecaster.predict(there.visits).survival
forecast = 1 - forecast[:, landmark, -1]
by_fifths(forecast).round(3)

# %%
head = by_fifths(forecast)
assert (head["said"] - head["happened"]).abs().max() < 0.06
assert head["happened"].is_monotonic_increasing

# %% tags=["figure:eight_intervals"]
figure, axes = plt.subplots(figsize=(5.2, 4.6))
axes.plot([0, 0.85], [0, 0.85], color=plots.COLOURS["muted"])
said_by = [
    ("horizon head", forecast, "survival", "o"),
    ("true hazard, kept", frozen, "hazard", "^"),
    ("true ones, multiplied", multiplied, "wrong", "X"),
]
for name, risk, role, sign in said_by:
    fifths = by_fifths(risk)
    style = {"color": plots.COLOURS[role], "marker": sign, "label": name}
    axes.plot(fifths["said"], fifths["happened"], linewidth=1, **style)
compact = {"handlelength": 1, "handletextpad": 0.4, "borderpad": 0}
axes.legend(
    loc="lower right", frameon=False, labelcolor="linecolor", **compact
)
axes.text(0.03, 0.38, '"safest"', color=plots.COLOURS["wrong"])
axes.set(
    xlabel="risk said at visit 3, mean of a fifth",
    ylabel="share with the event in time",
    xlim=(0, 0.85),
    ylim=(0, 0.85),
)
axes.set_box_aspect(1)
show(
    figure,
    alt="Patients in fifths of the risk within eight intervals. The "
    "horizon head's fifths lie along the diagonal. With today's true "
    "hazard kept all fifths lie above it. With the true hazards "
    "multiplied along the record, the lowest fifth is said to have "
    f"{along['said'][0]:.2f} and has {along['happened'][0]:.2f}.",
)

# %% [markdown]
# ## 8. Where it breaks
#
# The poor relation of the horizon head asks one question: "an event within eight intervals, yes or no?" A patient who
# was lost before is neither. `fixed_horizon_bce` leaves such a patient out, as many programs do. What comes of it?


# %%
def yes_or_no(logits, outcome, reduction, dropout=0.0):
    left = outcome.stop[:, None] - torch.arange(logits.shape[1])
    seen = outcome.observed[:, None] & (left > 0)
    rows = left.clamp(min=1)
    weight = (1 - dropout) ** (1.0 - rows.clamp(max=8))
    return fixed_horizon_bce(
        logits, rows, seen, 8, weight=weight, reduction=reduction
    )


dropped = SurvivalRNN.for_cohort(train, **size).double()
fit(dropped, train, validation, loss=yes_or_no, **how)
said = dropped.predict(there.visits).hazard[:, landmark]
by_fifths(said).round(3)

# %% [markdown]
# To set it right without a hazard for each interval, let those who are known stand for those who were lost: each counts
# by one over the probability of still being followed. Here that is known to be [0.94](fact:ext_stays) an interval.

# %%
weigh = partial(yes_or_no, dropout=0.06)
weighed = SurvivalRNN.for_cohort(train, **size).double()
fit(weighed, train, validation, loss=weigh, **how)
said_weighed = weighed.predict(there.visits).hazard[:, landmark]
answers = {
    "happened": happened.double(),
    "horizon head": forecast,
    "yes or no, the lost left out": said,
    "yes or no, weighed": said_weighed,
}
means = pd.Series({name: v.mean().item() for name, v in answers.items()})
means.round(3).rename("mean risk").to_frame()

# %%
off_by = means / means["happened"] - 1
too_high = off_by["yes or no, the lost left out"]
assert too_high > 0.1
assert abs(off_by["horizon head"]) < 0.05
assert abs(off_by["yes or no, weighed"]) < 0.05

# %% [markdown]
# Leaving them out makes it [16%](fact:ext_bce_too_high_by) too high: who was lost after two intervals is gone, who had
# the event after two intervals stays in. Weighed, it is about right, and needs the probability of being followed, which
# the likelihood does not.
#
# ### Exercise 2
#
# No network is needed to see it. Of the study's patients, what share has an event within eight intervals of the first
# visit? `stop` and `observed` say what the study knows. Use those who were lost for as long as they were there.

# %%
stop, observed = study.outcome.stop, study.outcome.observed
in_truth = (everybody.outcome.stop <= 8) & everybody.outcome.observed

# %% tags=["exercise"]
# For each of the eight intervals: events over patients at risk.
# Then one minus the product of what each interval leaves.
share = None  # your code here

check.near(
    share,
    in_truth.double().mean(),
    mistakes=check.values(
        extensions.WITHIN, stop, observed, torch.tensor(8)
    ),
    tolerance=0.01,
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# For each of the eight intervals: events over patients at risk.
# Then one minus the product of what each interval leaves.
k = torch.arange(8)
at_risk_then = (stop > k[:, None]).sum(1)
events_then = (observed & (stop - 1 == k[:, None])).sum(1)
share = 1 - (1 - events_then / at_risk_then).prod()

check.near(
    share,
    in_truth.double().mean(),
    mistakes=check.values(
        extensions.WITHIN, stop, observed, torch.tensor(8)
    ),
    tolerance=0.01,
)

# %%
shares = {"in truth": in_truth.double().mean().item()}
eight = torch.tensor(8)
for name, mistake in extensions.WITHIN.items():
    shares[name] = mistake.formula(stop, observed, eight).item()
followed = [(stop > k).sum() for k in range(8)]
events = [(observed & (stop == k + 1)).sum() for k in range(8)]
left = 1 - torch.stack(events) / torch.stack(followed)
shares["by hazards"] = 1 - left.prod().item()
pd.Series(shares).round(3).rename("share").to_frame()

# %%
assert abs(shares["by hazards"] - shares["in truth"]) < 0.01
assert shares["unknown_dropped"] > shares["in truth"] + 0.03
assert shares["unknown_as_no"] < shares["in truth"] - 0.03

# %% [markdown]
# Hazards use everybody for as long as they were there.
#
# Back to the [chapter](../explainer/11-extensions.md), or on to the [loss zoo](../explainer/11-loss-zoo.md).
#
# ## Numbers that pages quote

# %%
for k in range(3):
    fact(f"ext_sum_{k}", ada_sigmoids.sum(1)[k])
    fact(f"ext_naive_{k}", naive[k])
fact("ext_lowest", first_left.min())
fact("ext_highest", first_left.max())
fact("ext_dropout", 0.06)

# %%
for k in range(3):
    fact(f"ext_stroke_{k}", stroke[k])
    fact(f"ext_death_{k}", death[k])
    fact(f"ext_either_{k}", either[k])
    fact(f"ext_stroke_by_{k}", incidence[k, 0])
    fact(f"ext_death_by_{k}", incidence[k, 1])
fact("ext_ada_nll", nll)
fact("ext_ada_no_stroke_0", 1 - stroke[0])
fact("ext_ada_no_death_0", 1 - death[0])
fact("ext_ada_two_curves_0", (1 - stroke[0]) * (1 - death[0]))
fact("ext_ada_whether", whether)
fact("ext_ada_which", which)

# %%
fact("ext_truth_20", truth[19, 0])
fact("ext_estimate_20", estimate[19, 0])
fact("ext_km_20", kaplan_meier[19, 0])
fact("ext_record_20", share_by(1, study.outcome)[19])
fact("ext_both_20", truth[19].sum())
fact("ext_km_both_40", kaplan_meier[-1].sum())

# %%
ben = torch.tensor([[0.15, 0.05], [0.25, 0.1]])
ben_logits = ben.log() - (1 - ben.sum(1, keepdim=True)).log()
fact("ext_ben_stroke_0", ben[0, 0])
fact("ext_ben_stroke_1", ben[1, 0])
fact("ext_ben_death_0", ben[0, 1])
fact("ext_ben_death_1", ben[1, 1])
fact("ext_ben_incidence", cumulative_incidence(ben_logits)[1, 0])
for name, mistake in extensions.INCIDENCE.items():
    fact(f"ext_ben_{name}", mistake.formula(ben)[1])
fact("ext_ben_left", 1 - ben[0].sum())

# %%
for name, row in fits.iterrows():
    fact(f"ext_{name}_correlation", row["correlation of logits"])
    fact(f"ext_{name}_learned", row["learned, mean"])
    fact(f"ext_{name}_true", row["true, mean"])
fact("ext_sigmoid_largest", their_sum.max())
fact("ext_patients", len(everybody))

# %%
fact("ext_high_hazard", 0.3)
fact("ext_low_hazard", 0.01)
fact("ext_high_survival", (1 - high).prod())
fact("ext_high_exp", torch.exp(-high.sum()))
fact("ext_low_survival", (1 - low).prod())
fact("ext_low_exp", torch.exp(-low.sum()))

# %%
fact("ext_rate", rate)
fact("ext_rate_dan", 0.4)
fact("ext_dan", dan)
fact("ext_dan_product", 1.2)
fact("ext_continuous_nll", continuous)
for a_year in (1, 12, 365):
    fact(f"ext_discrete_{a_year}", limit.loc[a_year, "discrete"])
    fact(f"ext_put_back_{a_year}", limit.loc[a_year].iloc[1])

# %%
fact("ext_happened", happened.double().mean())
fact("ext_frozen", frozen.mean())
fact("ext_multiplied", multiplied.mean())
fact("ext_forecast", forecast.mean())
fact("ext_multiplied_said_0", along["said"][0])
fact("ext_multiplied_happened_0", along["happened"][0])
fact("ext_forecast_said_0", head["said"][0])
fact("ext_forecast_happened_0", head["happened"][0])
fact("ext_bce", said.mean())
fact("ext_weighed", said_weighed.mean())
fact("ext_stays", 0.94)
fact("ext_bce_too_high_by", too_high)
for name, value in shares.items():
    fact(f"ext_share_{name.replace(' ', '_')}", value)
