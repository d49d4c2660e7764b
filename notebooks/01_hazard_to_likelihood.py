# %% [markdown]
# # From hazard to likelihood, step by step
#
# Here you run the chapter [From hazard to likelihood](../explainer/01-hazard-to-likelihood.md), one idea a cell. Cells
# that begin with `guess = None` ask you first: put your number there and run the cell again. The notebook also runs
# untouched, from top to bottom.

# %%
from functools import partial

import pandas as pd
import torch

from visitwise import check
from visitwise.baselines import best_constant_hazard
from visitwise.check import likelihood
from visitwise.cohort import Outcome
from visitwise.functional import (
    event_probability,
    hazard_nll,
    logits_from_hazard,
    person_period,
    survival,
)
from visitwise.notebook import fact
from visitwise.simulate import draw_outcome
from visitwise.widgets import HazardLoom, TwoEndings

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

# %% [markdown]
# ## 1. Hazard and survival
#
# Ada comes to the clinic three times. Each time a model looks at her record and gives one number, the **hazard**: the
# probability that the event (say, a stroke) happens before her next contact, given that it has not happened yet. A
# contact is a visit, a call or the event itself. Visits are counted from 0, and interval 0 runs from visit 0 to the
# next contact. The functions of this package read *logits*, $z = \log \frac{h}{1-h}$, because a logit may be any
# number, which is what a network puts out.

# %%
ada = torch.tensor([0.1, 0.2, 0.3])
logits = logits_from_hazard(ada)

# %% [markdown]
# **Survival** is the probability of no event through the end of an interval. What is it at the end of Ada's last?

# %%
guess = None
check.near(
    guess,
    survival(logits)[-1],
    mistakes=check.values(likelihood.SURVIVAL, logits),
)

# %%
factors = 1 - ada
table = pd.DataFrame({"1 - h": factors, "survival": survival(logits)})
table.rename_axis("interval", axis="columns")

# %%
torch.testing.assert_close(survival(logits), factors.cumprod(0))

# %% [markdown]
# To be event-free after three intervals Ada has to get through each of them, so survival is a *product* of the factors
# $1 - h$. It is [0.504](fact:survival_2).
#
# ### Is it not exp(-sum of hazards)?
#
# If you know survival analysis you may expect $e^{-\sum h}$. That formula is true for rates in continuous time. How far
# off is it for these four hazards?

# %%
four_hazards = torch.tensor([0.05, 0.08, 0.15, 0.40])
four = logits_from_hazard(four_hazards)
by_product, by_exp = survival(four)[-1], likelihood.exp_of_minus_sum(four)
pd.Series(
    {"product": by_product.item(), "exp(-sum)": by_exp.item()},
    name="survival",
).to_frame()

# %%
assert by_exp > by_product

# %% [markdown]
# The product says [0.4457](fact:survival_by_product), the exponential [0.5066](fact:survival_by_exp). The exponential
# is always the more hopeful one, because $e^{-h}$ is larger than $1 - h$; the two agree when every hazard is small.
#
# ## 2. Event probability
#
# Now stand at Ada's first visit, as if her three hazards were known there, and look ahead. What is the probability that
# her event falls in interval 2, her last?

# %%
guess = None
check.near(
    guess,
    event_probability(logits)[-1],
    mistakes=check.values(likelihood.EVENT_PROBABILITY, logits),
)

# %%
table = pd.DataFrame(
    {"hazard": ada, "event probability": event_probability(logits)}
)
table.rename_axis("interval", axis="columns").round(4)

# %%
shared_out = event_probability(logits).sum() + survival(logits)[-1]
torch.testing.assert_close(shared_out, torch.tensor(1.0))

# %% [markdown]
# Her hazard in interval 2 is [0.3](fact:hazard_2), the event probability [0.216](fact:event_probability_2): she has to
# come that far first. The three event probabilities and the survival that is left add up to one.
#
# Take hold of Ada's hazards: drag a bar, or focus it and press the arrow keys. The slim bar inside it is the event
# probability, the cross the event.

# %% tags=["figure:hazard_loom"]
loom = HazardLoom(hazards=ada.tolist(), event=2)
loom

# %% [markdown]
# What you set is in `loom.hazards` and `loom.event`. The next cell computes the loss from them, with the package, and
# stops if it is not the number on show. Drag, and run it again.

# %%
dragged = logits_from_hazard(torch.tensor([loom.hazards]))
rows = torch.tensor([loom.event + 1])
nll = hazard_nll(dragged, rows, torch.tensor([True]))
loom.agrees(nll=nll.item(), left=survival(dragged)[0, -1].item())

# %% [markdown]
# ### Must hazards sum to 1 as well?

# %%
high_hazards = torch.tensor([0.5, 0.6, 0.7])
high = event_probability(logits_from_hazard(high_hazards))
sums = {
    "hazards": high_hazards.sum().item(),
    "event probabilities": high.sum().item(),
}
pd.DataFrame({"sum": sums})

# %%
assert high_hazards.sum() > 1 > high.sum()

# %% [markdown]
# These three sum to [1.8](fact:sum_of_high_hazards), and nothing is wrong. Each hazard is asked of those who are still
# there.
#
# ### What does one higher hazard change?
#
# Raise Ada's first hazard and leave the other two alone. Which event probabilities move?

# %%
raised = event_probability(
    logits_from_hazard(torch.tensor([0.4, 0.2, 0.3]))
)
change = pd.DataFrame(
    {"before": event_probability(logits), "after": raised}
)
change.rename_axis("interval", axis="columns").round(4)

# %%
assert (raised[1:] < event_probability(logits)[1:]).all()

# %% [markdown]
# All of them. Fewer people reach the later intervals, so fewer have their event there.
#
# ## 3. The likelihood of one patient
#
# Suppose that Ada's event came in interval 2. How surprised should the model be? The **likelihood** is the probability
# it gave to what happened: she got through two intervals, then the event. Its negative logarithm, the **NLL**, is what
# training makes small. `stop` says how many intervals count, `observed` whether the last of them ended in the event.
# The function takes a batch; `logits[None]` is a batch of one patient. What is Ada's NLL?

# %%
guess = None
ada_record = logits[None], torch.tensor([3]), torch.tensor([True])
check.near(
    guess,
    hazard_nll(*ada_record),
    mistakes=check.values(likelihood.LIKELIHOOD, *ada_record),
)

# %%
what_happened = torch.tensor([1 - 0.1, 1 - 0.2, 0.3])
costs = -what_happened.log()
table = pd.DataFrame({"probability": what_happened, "-log": costs})
table.set_axis(["survived", "survived", "event"]).round(4)

# %%
torch.testing.assert_close(hazard_nll(*ada_record), costs.sum())

# %% [markdown]
# Three probabilities, three costs; the sum of the costs is the NLL, [1.532477](fact:ada_nll). The likelihood itself,
# [0.216](fact:ada_likelihood), is the event probability you met above.
#
# ### Two patients
#
# Ben has two visits and his event in interval 1. His row of the batch has a hole where Ada has her third visit.

# %%
hazards = torch.tensor([[0.1, 0.2, 0.3], [0.15, 0.25, torch.nan]])
stop, observed = torch.tensor([3, 2]), torch.tensor([True, True])
each = hazard_nll(torch.logit(hazards), stop, observed, reduction="none")
pd.DataFrame({"NLL": each}, index=["Ada", "Ben"])

# %%
two_patients = hazard_nll(torch.logit(hazards), stop, observed)
torch.testing.assert_close(two_patients, (each[0] + each[1]) / 2)

# %% [markdown]
# The loss is the mean over *patients*, [1.540645](fact:two_patient_nll), and the hole counts for nothing.
#
# Ben alone is a batch of one, too, without the hole. The first exercise asks for his NLL.

# %%
ben_record = torch.logit(hazards[1:, :2]), stop[1:], observed[1:]
hazards[1, :2]

# %% [markdown]
# ### Exercise 1
#
# Write Ben's NLL yourself, from his two hazards [0.15](fact:ben_hazard_0) and [0.25](fact:ben_hazard_1). Three lines
# are enough: what he survived, how it ended, and the negative logarithm.

# %% tags=["exercise"]
# `hazards[1, 0]` is Ben's hazard in interval 0.
ben_nll = None  # your code here

check.near(
    ben_nll,
    hazard_nll(*ben_record),
    mistakes=check.values(likelihood.LIKELIHOOD, *ben_record),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# `hazards[1, 0]` is Ben's hazard in interval 0.
survived = 1 - hazards[1, 0]
ended = hazards[1, 1]
ben_nll = -torch.log(survived * ended)

check.near(
    ben_nll,
    hazard_nll(*ben_record),
    mistakes=check.values(likelihood.LIKELIHOOD, *ben_record),
)

# %% [markdown]
# ## 4. Censoring
#
# Cleo has Ada's hazards and three visits, too. A last call at the end of interval 2 finds her well, and follow-up ends.
# She is **censored**: her event may come later or never; all you know is that it has not come so far. What is her NLL?

# %%
guess = None
cleo_record = logits[None], torch.tensor([3]), torch.tensor([False])
check.near(
    guess,
    hazard_nll(*cleo_record),
    mistakes=check.values(likelihood.LIKELIHOOD, *cleo_record),
)

# %%
# Nothing here computes the last number: it is printed in the teaching
# notes that this course grew from.
answers = {
    "every interval survived": hazard_nll(*cleo_record).item(),
    "last interval left out": likelihood.drop_censored_row(
        *cleo_record
    ).item(),
    "printed in the notes": 0.828,
}
pd.DataFrame({"Cleo's NLL": answers})

# %%
torch.testing.assert_close(
    hazard_nll(*cleo_record), -survival(logits)[-1].log()
)

# %% [markdown]
# Cleo survived three intervals and her NLL is $-\log S_2$, which is [0.685179](fact:censored_nll). Leave her last
# interval out and you get [0.328504](fact:dropped_nll), the NLL of somebody who was last seen after *two* intervals.
#
# ### Which last hazard would make the printed number true?

# %%
implied = 1 - torch.exp(torch.tensor(-0.828)) / survival(logits)[1]
implied

# %% [markdown]
# Only a hazard of [0.393](fact:hazard_behind_notes_nll), where the example has [0.3](fact:hazard_2).
#
# ## 5. What one missing interval does to an estimate
#
# One patient's number is a detail; an estimate is not. Draw patients who all have the same true hazard at each of their
# visits. After each interval survived, some are lost to follow-up.

# %%
n_patients, n_visits, dropout, truth = 100_000, 5, 0.1, 0.1
same_hazard = torch.full((n_patients, n_visits), truth)
outcome = draw_outcome(same_hazard, dropout=dropout, seed=1)
events, rows = int(outcome.observed.sum()), outcome.n_rows
censored = n_patients - events
drawn = {
    "patients": n_patients,
    "rows": rows,
    "events": events,
    "censored": censored,
}
pd.DataFrame({"count": drawn})

# %% [markdown]
# A **row** is one interval of one patient, if you know how it ended. The smallest model there is has a single hazard for all
# of them, and `best_constant_hazard` trains it: it finds the hazard that makes a loss smallest. Train it with the loss
# that leaves out the last row of every censored patient. Which hazard does it learn? Is it below the truth, at it, or
# above?

# %%
guess = None
estimates = {
    "correct": best_constant_hazard(hazard_nll, outcome),
    "censored row dropped": best_constant_hazard(
        likelihood.drop_censored_row, outcome
    ),
    "event row counted twice": best_constant_hazard(
        likelihood.count_event_row_twice, outcome
    ),
    "censored patients left out": best_constant_hazard(
        likelihood.events_alone, outcome
    ),
}
others = {
    f"that is the estimate for: {name}": value
    for name, value in estimates.items()
}
check.near(
    guess,
    estimates["censored row dropped"],
    mistakes=others,
    tolerance=0.002,
)

# %%
by_counting = {
    "correct": events / rows,
    "censored row dropped": events / (rows - censored),
    "event row counted twice": events / (rows + events),
    "censored patients left out": events
    / int(outcome.stop[outcome.observed].sum()),
}
pd.DataFrame(
    {"smallest loss": estimates, "by counting": by_counting, "truth": truth}
).round(4)

# %%
for name, value in by_counting.items():
    assert abs(estimates[name] - value) < 1e-6

# %% [markdown]
# The smallest loss and plain counting agree: the right likelihood estimates *events divided by rows*. With $d$ events
# in $r$ rows it is $-d \log h - (r-d) \log(1-h)$, and its slope is zero at $h = d/r$. Drop each
# censored patient's last row and the same events are divided by too few rows, so the estimate is
# [24%](fact:too_high_by) too high. Count each event's row twice and there are too many: [9%](fact:too_low_by) too low.
#
# ### Do more rows make an estimate surer?
#
# Cut each interval into ten shorter ones: the same patients have ten times the rows, and the same events. The **standard
# error** says how sure an estimate is; it is the usual size of its luck. For the log odds of a hazard it is
# $\sqrt{\frac{1}{d} + \frac{1}{r-d}}$. The finer cut divides it by which number?

# %%
guess = None
se = (1 / events + 1 / (rows - events)) ** 0.5
se_finer = (1 / events + 1 / (10 * rows - events)) ** 0.5
check.near(
    guess,
    se / se_finer,
    mistakes={
        "that would take ten times the patients": 10**0.5,
        "not even ten times the patients would do that": 10.0,
        "a little is gained, for the second fraction shrinks": 1.0,
    },
    tolerance=0.02,
)

# %%
pd.DataFrame(
    {
        "rows": {"as drawn": rows, "each cut into ten": 10 * rows},
        "events": events,
        "standard error": {"as drawn": se, "each cut into ten": se_finer},
    }
).round(5)

# %%
assert 1 < se / se_finer < 1.1

# %% [markdown]
# Hardly anything is gained: [0.0057](fact:se_of_log_odds) becomes [0.0054](fact:se_of_log_odds_finer), because
# $\frac{1}{d}$ stays. Rows are not patients, and what an estimate knows grows with the *events*.
#
# ### For every true hazard

# %%
truths = [0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.99]
counts = pd.DataFrame(index=truths, columns=["events", "rows"], dtype=float)
for h in truths:
    drawn = draw_outcome(
        torch.full((n_patients, n_visits), h), dropout=dropout, seed=2
    )
    counts.loc[h] = int(drawn.observed.sum()), drawn.n_rows

curves = pd.DataFrame(
    {
        "correct": counts["events"] / counts["rows"],
        "row dropped": counts["events"]
        / (counts["rows"] - n_patients + counts["events"]),
        "row twice": counts["events"] / (counts["rows"] + counts["events"]),
    }
)
curves.rename_axis("truth", axis="columns").round(4)

# %%
assert (curves["row twice"] <= 0.5).all()
assert (
    abs(curves["row twice"] - curves["correct"] / (1 + curves["correct"]))
    < 1e-12
).all()

# %% [markdown]
# With the event's row counted twice the estimate is $\hat h / (1 + \hat h)$, where $\hat h$ is the right one. Even a
# true hazard of [0.99](fact:largest_truth) comes out as [0.498](fact:largest_estimate_twice): such a loss can never
# learn a hazard above one half.
#
# ### Both at once
#
# On the left of the figure is one patient, Cleo to begin with, and on the right all the cohorts. Drag her hazards, drag
# the end of her record or let it end with the event, choose a loss, and slide the share that is lost.

# %% tags=["figure:two_endings"]
endings = TwoEndings(hazards=ada.tolist(), truth=truth, dropout=dropout)
endings

# %% [markdown]
# The next cell takes the loss and the record that you set, draws the cohort on the right anew, and trains the smallest
# model on it. It stops if a number is not the one on show.

# %%
chosen = {
    "likelihood": hazard_nll,
    "drop": likelihood.drop_censored_row,
    "twice": likelihood.count_event_row_twice,
}[endings.convention]
set_by_you = logits_from_hazard(torch.tensor([endings.hazards]))
its_rows = torch.tensor([len(endings.hazards)])
its_end = torch.tensor([endings.ending == "event"])
cohort = draw_outcome(
    torch.full((n_patients, n_visits), endings.truth),
    dropout=endings.dropout,
    seed=1,
)
endings.agrees(
    nll=chosen(set_by_you, its_rows, its_end).item(),
    estimate=best_constant_hazard(chosen, cohort),
)

# %% [markdown]
# The more are lost, the further the loss without the censored row is off, and most so for rare events.
#
# ### For shorter and longer follow-up

# %%
by_length = {}
for length in [1, 2, 3, 5, 10, 20]:
    drawn = draw_outcome(
        torch.full((n_patients, length), truth), dropout=dropout, seed=3
    )
    d, r = int(drawn.observed.sum()), drawn.n_rows
    by_length[length] = {
        "correct": d / r,
        "row dropped": d / (r - n_patients + d),
    }
by_length = pd.DataFrame(by_length).T
by_length.rename_axis("visits", axis="columns").round(4)

# %%
assert by_length["row dropped"].is_monotonic_decreasing

# %% [markdown]
# With one visit each, only patients with an event have a row left, and a true hazard of [0.1](fact:true_hazard) is
# estimated as [1](fact:dropped_with_1_visit). Twenty visits still leave it at [0.110](fact:dropped_with_20_visits).
#
# ## 6. Lost half-way
#
# So far everybody was lost at the *end* of an interval. Now some are lost in its middle. To draw them, each interval
# with a hazard of [0.2](fact:hazard_1) is cut into two halves of equal hazard.

# %%
half = 1 - (1 - 0.2) ** 0.5
halves = draw_outcome(
    torch.full((n_patients, 2 * n_visits), half), dropout=0.1, seed=4
)
cut = Outcome.of((halves.stop + 1) // 2, halves.observed)
lost_half_way = ~halves.observed & (halves.stop % 2 == 1)
f"{lost_half_way.double().mean():.0%} of the patients are lost half-way"

# %% [markdown]
# `hazard_nll` takes a `censored_exposure`: the share of the last interval that a censored patient gets credit for, as
# one number or as one number *per patient*. `partial` fixes this argument before the loss is handed on. No single number
# is right for everybody:

# %%
credit = {
    name: best_constant_hazard(
        partial(hazard_nll, censored_exposure=share), cut
    )
    for name, share in [("all", 1.0), ("none", 0.0), ("half", 0.5)]
}
mistakes = {
    "those lost half-way did not survive the whole interval": credit["all"],
    "every censored patient survived half of it at least": credit["none"],
    "some of the censored survived the whole interval": credit["half"],
}
pd.DataFrame({"estimate": credit}).rename_axis("credit").round(4)

# %% [markdown]
# ### Exercise 2
#
# Give each patient the share that is right for her, so that the estimate comes near to the true hazard of a whole
# interval, and name that estimate `credited`.

# %% tags=["exercise"]
# `lost_half_way` is true for those who were lost half-way;
# `torch.where` picks one number where it is true, else another.
credited = None  # your code here

check.near(credited, 0.2, mistakes=mistakes, tolerance=0.002)

# %% tags=["solution"] jupyter={"source_hidden": true}
# `lost_half_way` is true for those who were lost half-way;
# `torch.where` picks one number where it is true, else another.
exposure = torch.where(lost_half_way, 0.5, 1.0)
loss = partial(hazard_nll, censored_exposure=exposure)
credited = best_constant_hazard(loss, cut)

check.near(credited, 0.2, mistakes=mistakes, tolerance=0.002)

# %% [markdown]
# The right shares lead to [0.2004](fact:credited_half_way). Half the interval is the actuary's old rule for life
# tables, given here to those it is meant for. It is an approximation, and a good one where few are lost in an interval.
#
# ## 7. Where it breaks
#
# All this takes for granted that those who are lost are like those who stay. Let half of the patients have a low hazard
# and seldom leave, the other half a high hazard and often leave, and estimate one hazard per visit for all.

# %%
robust_hazard, robust_dropout = 0.05, 0.05
frail_hazard, frail_dropout = 0.40, 0.50
shape = n_patients, n_visits
robust = draw_outcome(
    torch.full(shape, robust_hazard), dropout=robust_dropout, seed=5
)
frail = draw_outcome(
    torch.full(shape, frail_hazard), dropout=frail_dropout, seed=6
)
pooled = person_period(
    torch.cat([robust.stop, frail.stop]),
    torch.cat([robust.observed, frail.observed]),
)
at_visit = [
    pooled.event[pooled.visit == k].double() for k in range(n_visits)
]
per_visit = torch.stack([event.mean() for event in at_visit])
estimated = survival(logits_from_hazard(per_visit))[-1].item()
true = (
    (1 - robust_hazard) ** n_visits + (1 - frail_hazard) ** n_visits
) / 2
pd.DataFrame(
    {"event-free after five visits": {"estimated": estimated, "true": true}}
).round(3)

# %% [markdown]
# The estimate promises [0.541](fact:pooled_survival) event-free where the truth is [0.426](fact:true_survival): the
# frail left, and those who stayed spoke for them. Now let the model see who is frail, with a hazard for each group.

# %%
by_group = [
    int(group.observed.sum()) / group.n_rows for group in (robust, frail)
]
seen = sum((1 - h) ** n_visits for h in by_group) / 2
assert estimated > true + 0.1
assert abs(seen - true) < 0.005
pd.DataFrame(
    {
        "event-free after five visits": {
            "estimated by group": seen,
            "true": true,
        }
    }
).round(3)

# %% [markdown]
# It is right again. Censoring has to be independent of the event *given what the model sees*, and no loss can check
# that for you.
#
# Back to the [chapter](../explainer/01-hazard-to-likelihood.md), where the recap links each claim to its test, or on to
# [chapter 2](../explainer/02-per-visit-bce.md), where the same rows meet the classifier that you may have at hand.
#
# ## Numbers that the chapter quotes
#
# A page of this site can state a number only if a notebook publishes it, and the build compares the two.

# %%
by_interval = {
    "hazard": ada,
    "survived": factors,
    "survival": survival(logits),
    "event_probability": event_probability(logits),
    "ada_cost": costs,
    "ben_hazard": hazards[1, :2],
    "high_hazard": high_hazards,
}
for name, values in by_interval.items():
    for interval, value in enumerate(values):
        fact(f"{name}_{interval}", value)

# %%
fact("survival_by_product", by_product)
fact("survival_by_exp", by_exp)
fact("sum_of_high_hazards", high_hazards.sum())
fact("ada_likelihood", what_happened.prod())
fact("ada_nll", hazard_nll(*ada_record))
fact("ada_nll_twice", likelihood.count_event_row_twice(*ada_record))
fact("ben_nll", each[1])
fact("two_patient_nll", two_patients)

# %%
fact("censored_nll", hazard_nll(*cleo_record))
fact("dropped_nll", answers["last interval left out"])
fact("notes_nll", answers["printed in the notes"])
fact("hazard_behind_notes_nll", implied)
fact("censored_as_event_nll", likelihood.censored_as_event(*cleo_record))
fact("summed_hazards_nll", likelihood.sum_instead_of_product(*cleo_record))
fact("last_row_nll", likelihood.last_row_alone(*cleo_record))

# %%
fact("true_hazard", truth)
fact("n_patients", n_patients)
fact("n_visits", n_visits)
fact("dropout", dropout)
fact("share_censored", censored / n_patients)
for name, value in by_counting.items():
    fact("estimate_" + name.replace(" ", "_"), value)
fact("too_high_by", by_counting["censored row dropped"] / truth - 1)
fact("too_low_by", 1 - by_counting["event row counted twice"] / truth)
fact("se_of_log_odds", se)
fact("se_of_log_odds_finer", se_finer)
fact("se_smaller_by", 1 - se_finer / se)
fact("se_smaller_by_with_patients", 1 - 10**-0.5)

# %%
fact("largest_truth", truths[-1])
fact("largest_estimate_twice", curves["row twice"].iloc[-1])
fact("dropped_with_1_visit", by_length["row dropped"][1])
fact("dropped_with_20_visits", by_length["row dropped"][20])
shares = torch.where(lost_half_way, 0.5, 1.0)
loss_with_shares = partial(hazard_nll, censored_exposure=shares)
fact("credited_half_way", best_constant_hazard(loss_with_shares, cut))
fact("pooled_survival", estimated)
fact("true_survival", true)
fact("robust_hazard", robust_hazard)
fact("robust_dropout", robust_dropout)
fact("frail_hazard", frail_hazard)
fact("frail_dropout", frail_dropout)
