# %% [markdown]
# # Training and evaluating, step by step
#
# Here you run the chapter [Training and evaluating](../explainer/08-training-and-evaluating.md), one idea a cell. Cells
# that begin with `guess = None` ask you first: put your answer there and run the cell again. The notebook also runs
# untouched, from top to bottom.

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from lifelines.utils import concordance_index
from sklearn.metrics import roc_auc_score

from visitwise import check, metrics, plots
from visitwise.baselines import LifeTableHazard
from visitwise.check import evaluation
from visitwise.cohort import Outcome
from visitwise.losses import outcome_nll
from visitwise.model import SurvivalRNN
from visitwise.notebook import fact, show
from visitwise.simulate import TEACHING, draw_outcome
from visitwise.trained import curve, load
from visitwise.training import evaluate_nll, fit
from visitwise.widgets import LengthLeak, TrainingReplay

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
plt.style.use("visitwise.survival")

# %% [markdown]
# ## 1. The perfect model
#
# 2,000 patients, each with one **true hazard** that stays the same from the first visit to the last. Nothing is
# trained: these numbers are what the events were drawn from. After each interval survived, a patient is lost with a
# probability of 6 in 100.

# %%
n, width = 2_000, 40
luck = np.random.default_rng(8).normal(size=n)
risk = torch.sigmoid(-3 + 0.8 * torch.from_numpy(luck))
hazard = risk[:, None].repeat(1, width)
outcome = draw_outcome(hazard, dropout=0.06, seed=8)
stop, observed = outcome.stop, outcome.observed
risk.quantile(torch.tensor([0.05, 0.5, 0.95]))

# %% [markdown]
# The **C-index** takes all pairs in which one patient's event is known to have come first, and says how often that
# patient had the higher **risk score**. With the true hazard as the score:

# %%
c_true = metrics.concordance(risk, outcome)
print(c_true)

# %% [markdown]
# Now the score that the teaching notes' training script uses: each patient's hazards, *summed over the record*. What
# does the C-index of the same perfect hazards become?

# %%
guess = None
summed = evaluation.summed(hazard, stop)
c_summed = metrics.concordance(summed, outcome)
check.near(
    guess,
    c_summed,
    mistakes={
        "that is the C-index of the hazard; here it is summed": c_true,
        "so it would be if the sum said nothing at all; it misleads": 0.5,
    },
)

# %%
alike = torch.full_like(hazard, 0.1)
c_alike = metrics.concordance(evaluation.summed(alike, stop), outcome)
pd.Series(
    {
        "true hazards": c_true,
        "true hazards, summed": c_summed,
        "one hazard for all, summed": c_alike,
    },
    name="C",
).astype(float).round(3).to_frame()

# %%
assert float(c_true) > 0.7 > 0.5 > 0.31 > float(c_summed)
assert float(c_alike) < 0.05

# %% [markdown]
# A coin scores one half. The perfect model scores [0.302](fact:eval_c_summed), far below it, and a model that knows
# nothing [0.030](fact:eval_c_alike). A sum grows with the number of rows, and rows are what patients without the event
# have more of.

# %% tags=["figure:length_trap"]
figure, axes = plt.subplots(figsize=(5.4, 4.0))
shown = torch.arange(200)
for seen, role, text in [
    (True, "wrong", "event"),
    (False, "censored", "lost"),
]:
    who = shown[observed[shown] == seen]
    axes.plot(
        stop[who], summed[who], "o" if seen else "x", markersize=4,
        color=plots.COLOURS[role], alpha=0.7, label=text,
    )  # fmt: skip
for one in risk.quantile(torch.tensor([0.1, 0.9])):
    axes.plot([0, 40], [0, 40 * one], color=plots.COLOURS["muted"], lw=1.5)
    end = min(3.2, 38 * one)
    axes.text(end / one, end + 0.12, f"hazard {one:.2f}", ha="right")
axes.set(xlabel="rows of the record", ylabel="sum of its true hazards")
axes.set_ylim(0, 4)
axes.legend(loc="upper left", frameon=False)
show(
    figure,
    alt="Sum of the true hazards against the number of rows, for 200 "
    "patients. The sum grows with the rows: records that an event ended "
    f"have {stop[observed].double().mean():.0f} rows on average.",
)

# %%
ranks = [torch.argsort(torch.argsort(x)) for x in (summed, stop)]
by_rank = torch.corrcoef(torch.stack(ranks).double())[0, 1]
assert by_rank > 0.5
by_rank

# %% [markdown]
# ## 2. Three patients
#
# Ada's hazard is [0.3](fact:eval_three_ada) at each visit, and she has the event in row 0. Ben's is
# [0.2](fact:eval_three_ben), with the event in row 1. Cleo's is [0.1](fact:eval_three_cleo), and she is lost after four
# rows. What are the three sums?

# %%
guess = None
three = torch.tensor([0.3, 0.2, 0.1])[:, None].repeat(1, 4)
stop_three = torch.tensor([1, 2, 4])
seen_three = torch.tensor([True, True, False])
sums = evaluation.summed(three, stop_three)
check.near(
    guess,
    sums,
    mistakes={"those run over all four columns": three.sum(1)},
)

# %% [markdown]
# Three pairs can be compared, and the hazards order all of them. What is the C-index of the *sums*?

# %%
guess = None
of_three = Outcome.of(stop_three, seen_three)
c_three = metrics.concordance(sums, of_three)
wrong = check.values(evaluation.CONCORDANCE, sums, stop_three, seen_three)
wrong["that is the C-index of the hazards"] = 1.0
check.near(guess, c_three, mistakes=wrong)

# %%
notes_three = evaluation.notes_rule(sums, stop_three, seen_three)
assert float(metrics.concordance(three[:, 0], of_three)) == 1
assert notes_three == 0 < float(c_three) < 0.2
float(c_three), float(notes_three)

# %% [markdown]
# Ada's sum is the lowest, and Ben's and Cleo's are equal. Equal risks count one half, so the C-index is
# [0.167](fact:eval_c_three). The notes' code scores a tie as wrong, and says 0.
#
# ### Exercise 1
#
# Compute the C-index of `risk` for the 2,000 patients yourself, from `risk`, `stop` and `observed`.

# %% tags=["exercise"]
# Patient i's event is known to come before j's if i's was observed,
# and j has more rows, or as many and was censored at the end of them.
# A column compared with a row, as in `stop[:, None] < stop`, gives
# all pairs at once.
c_by_hand = None  # your code here

check.near(
    c_by_hand,
    c_true,
    mistakes=check.values(evaluation.CONCORDANCE, risk, stop, observed),
    tolerance=1e-6,
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# Patient i's event is known to come before j's if i's was observed,
# and j has more rows, or as many and was censored at the end of them.
# A column compared with a row, as in `stop[:, None] < stop`, gives
# all pairs at once.
later = stop[:, None] < stop
later = later | ((stop[:, None] == stop) & ~observed)
known = later & observed[:, None]
higher = (risk[:, None] > risk).double()
tied = (risk[:, None] == risk).double()
c_by_hand = (higher + tied / 2)[known].mean()

check.near(
    c_by_hand,
    c_true,
    mistakes=check.values(evaluation.CONCORDANCE, risk, stop, observed),
    tolerance=1e-6,
)

# %% [markdown]
# ## 3. Ties
#
# A model that gives everybody the same risk. `lifelines`, scikit-survival and this package score it one half. And the
# notes' rule?

# %%
guess = None
same_risk = torch.full((n,), 0.1)
c_same = metrics.concordance(same_risk, outcome)
notes_same = evaluation.notes_rule(same_risk, stop, observed)
check.near(guess, notes_same, mistakes={"that is the libraries' rule": 0.5})

# %%
assert float(c_same) == 0.5
assert notes_same == 0

# %% [markdown]
# Times are tied, too. Who was lost at the end of a row has survived it, so a patient with the event *in* that row came
# first. The notes drop such pairs. Which share is dropped depends on how many rows there are:

# %%
dropped = {}
for rows in (3, 5, 10, 40):
    cut = draw_outcome(hazard[:, :rows], dropout=0.06, seed=8)
    pairs = metrics.concordance(risk, cut).n_pairs
    seen, last = cut.observed, cut.stop
    strict = (last[:, None] < last) & seen[:, None]
    dropped[rows] = 1 - float(strict.sum()) / pairs
pd.Series(dropped, name="share dropped").rename_axis(
    "rows"
).to_frame().round(3)

# %%
assert dropped[3] > dropped[5] > dropped[10] > dropped[40]

# %% [markdown]
# The next figure has 30 patients with twelve rows at most, and shows the pairs of one of them. Patient 4 had the event in
# the first row. Before you drag her last visit to the right, so that the event comes later: does her score rise or fall,
# and what should it do? Then take hold of the horizon.

# %% tags=["figure:length_leak"]
leak = LengthLeak()
leak

# %% [markdown]
# Here are the figure's six scores, from its hazards, and its three rules for equal scores. The cells stop if the C-index
# that you have chosen is not the one on show.

# %%
each = torch.tensor(leak.given["hazards"][leak.model])
last, seen = (torch.tensor(leak.given[k]) for k in ("stop", "observed"))
last[leak.person] = leak.rows or last[leak.person]
end = last[:, None] - 1
total = each.cumsum(1).gather(1, end)[:, 0]
score = {
    "sum": total,
    "minus": -total,
    "mean": total / last,
    "largest": evaluation.highest(each, last),
    "last": each.gather(1, end)[:, 0],
    "horizon": 1 - (1 - each).cumprod(1)[:, leak.horizon - 1],
}[leak.score]

# %%
ended = Outcome.of(last, seen)
rounded = score.round(decimals=12)
c_of_ties = {
    "half": float(metrics.concordance(score, ended)),
    "wrong": evaluation.ties_lose(rounded, last, seen),
    "exact": concordance_index(last, -score, seen),
}
leak.agrees(c=c_of_ties[leak.ties])

# %% [markdown]
# The mean, the largest and the last look as good as the horizon: each hazard is constant here, so all four put the
# patients in one order. Random hazards show the difference. They know nothing. Where is C with *minus* the sum?

# %%
drawn = torch.tensor(leak.given["stop"])
lots = torch.tensor(leak.given["hazards"]["lots"])
by_length = -evaluation.summed(lots, drawn)
c_lots = float(metrics.concordance(by_length, Outcome.of(drawn, seen)))
assert c_lots > 0.9
c_lots

# %% [markdown]
# What are *equal* scores? Give all 30 the same hazard, one tenth, and take the mean of each record: one tenth for
# everybody. But a tenth added three times and divided by three is not quite a tenth to a computer, and `lifelines`
# compares to the last digit. Which C-index does it find?

# %%
guess = None
means = torch.full_like(each, 0.1).cumsum(1)[range(30), drawn - 1] / drawn
c_rounded = concordance_index(drawn, -means, seen)
wrong = {"so it is if means that are apart by rounding are equal": 0.5}
check.near(guess, c_rounded, mistakes=wrong)

# %%
assert metrics.concordance(means, Outcome.of(drawn, seen)).value == 0.5
assert c_rounded > 0.6
c_rounded

# %% [markdown]
# `metrics.concordance` takes scores that are apart by rounding alone for equal. `lifelines` lets rounding decide, and
# [0.66](fact:eval_c_rounded) comes out for a model that knows nothing.
#
# ## 4. The loop
#
# Now train. These are patients whose true hazard *changes* with what each visit records (the simulator's `TEACHING`
# settings): 3,200 to learn from, 800 to choose the best epoch, and 4,000 others as judges.

# %%
cohort = TEACHING.draw(4_000, seed=1).cohort
train, validation = cohort.split([0.8, 0.2], seed=0)
judges = TEACHING.draw(4_000, seed=3)
visits, judged = judges.cohort.visits, judges.cohort.outcome
truth = visits.pad(judges.hazard, torch.nan)
small = {"embedding": 16, "hidden": 32}
model = SurvivalRNN.for_cohort(train, **small).double()
how = {"epochs": 6, "batch_size": 64, "learning_rate": 1e-2}
history = fit(model, train, validation, progress=False, **how)
pd.DataFrame(vars(history)).round(4)

# %% [markdown]
# What is a good value? Two others on the judges give the scale: a **life table**, which gives everybody the share of
# events among those at risk in that row, and the true hazards, the **oracle**.

# %%
nll = {
    "life table": evaluate_nll(LifeTableHazard.fit(train), judges.cohort),
    "model": evaluate_nll(model, judges.cohort),
    "oracle": metrics.nll_per_row(torch.logit(truth), judged),
}
share = metrics.share_explained(
    nll["model"], nll["life table"], nll["oracle"]
)
pd.Series(nll, name="NLL per row").to_frame().round(4)

# %%
assert nll["oracle"] < nll["model"] < nll["life table"]
assert 0.75 < share < 0.95
share

# %% [markdown]
# Of the way from the one to the other the model has gone [0.84](fact:eval_share). Nothing but the visits told it so: it
# has never seen a true hazard. Here it is held against them:

# %% tags=["figure:recovered"]
learned = model.predict(visits).hazard
figure, axes = plt.subplots(figsize=(5.0, 4.6))
plots.learned_against_true(learned, truth, axes)
both = torch.stack([learned[visits.mask], truth[visits.mask]]).log()
together = torch.corrcoef(both)[0, 1]
show(
    figure,
    alt="Learned against true hazards of 4,000 patients, on logarithmic axes,"
    f" along the diagonal; the logarithms correlate {together:.2f}."
    " The lowest true hazards are learned too high.",
)

# %%
lowest = judges.hazard < judges.hazard.quantile(0.1)
bias = learned[visits.mask][lowest].mean() / judges.hazard[lowest].mean()
assert together > 0.85
assert bias > 1.2
together, bias

# %% [markdown]
# How do they get there? The package brings a smaller model, trained on 40,000 patients, with its weights as they were
# after eight of the epochs. After one epoch its loss has almost stopped falling. Predict first: by what factor are the
# hazards of one patient off then, and after the last epoch?

# %% tags=["figure:training_replay"]
replay = TrainingReplay()
replay

# %% [markdown]
# Drag the dot on the loss, the end of the record and the kidney injury. `replay.visits()` is the record on show. The
# next cell has the same weights read it and stops if what it finds is not in the figure.

# %%
record = replay.visits()
replayed = load(replay.model, replay.epoch).double()
says = replayed.predict(record).hazard[0]
true = TEACHING.hazard(record)
ending = Outcome.of(
    torch.tensor([replay.length]), torch.tensor([replay.observed])
)
cost = outcome_nll(replayed(record), ending, "sum")
falls = curve(replay.model)
replay.agrees(
    mean_factor=(says / true).log().abs().mean().exp(),
    nll=cost,
    validation=falls["validation"][replay.epoch],
)

# %% [markdown]
# The loss of patients who were not trained on falls towards that of their true hazards, and not to 0. A model that
# reads the later visits, too, gets below it. Nobody can who does not see ahead.

# %%
past, ahead = (curve(name) for name in ("causal", "bidirectional"))
assert past["oracle"] < past["validation"][-1] < past["validation"][0]
assert ahead["validation"][-1] < ahead["oracle"] == past["oracle"]
ahead["validation"][-1], past["oracle"], past["validation"][-1]

# %% [markdown]
# ## 5. One constant for the epoch
#
# `fit` *sums* the loss over a batch and divides by a number that is the same for all batches of the epoch. Why not by
# the batch's own number of rows, as a mean does? Take the smallest model, one hazard for all, and batches of patients
# with records of like length.

# %%
batches = list(train.batches(64, seed=0, window=50))
events = torch.stack([b.outcome.observed.sum() for b in batches])
rows = torch.tensor([b.outcome.n_rows for b in batches])
(events / rows).min(), (events / rows).max()

# %% [markdown]
# A short record is often one that an event ended. The likelihood of all rows is best at events divided by rows. What
# does a mean over each batch make of it? It is best at the mean of the batches' rates.

# %%
guess = None
right = events.sum() / rows.sum()
per_batch = evaluation.mean_of_rates(events, rows)
wrong = {"that is events over rows, the right hazard": right}
check.near(guess, per_batch, mistakes=wrong)

# %%
one_hazard = per_batch / right
mixed = list(train.batches(64, seed=0))
in_mixed = evaluation.mean_of_rates(
    torch.stack([b.outcome.observed.sum() for b in mixed]),
    torch.tensor([b.outcome.n_rows for b in mixed]),
)
assert one_hazard > 1.7
assert abs(in_mixed / right - 1) < 0.05
one_hazard, in_mixed / right

# %% [markdown]
# [1.82](fact:eval_bucket_constant) times too high; in batches drawn at random it makes next to no difference. An LSTM
# sees more than one number, so it is bent less. Train it both ways on the sorted batches, in three orders each. These
# are the three lines that matter, in a loop of our own:


# %%
def trained(by_batch, seed, epochs=5):
    model = SurvivalRNN.for_cohort(train, **small).double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    steps, per_step = len(batches), train.outcome.n_rows / len(batches)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR
    schedule = slower(optimizer, epochs * steps)
    for epoch in range(epochs):
        for b in train.batches(64, seed=seed, epoch=epoch, window=50):
            loss = outcome_nll(model(b.visits), b.outcome, reduction="sum")
            (loss / (b.outcome.n_rows if by_batch else per_step)).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return model.predict(visits).hazard


# %%
ratios = {
    name: [
        metrics.calibration(trained(by_batch, seed), judged).ratio
        for seed in range(3)
    ]
    for name, by_batch in [("batch mean", True), ("one constant", False)]
}
pd.DataFrame(ratios).rename_axis("order").round(2)

# %%
mean_ratio = np.mean(ratios["batch mean"])
sum_ratio = np.mean(ratios["one constant"])
assert min(ratios["batch mean"]) > max(ratios["one constant"])

# %% [markdown]
# The numbers are **events expected over events seen**: above 1, hazards are too high. With the mean of each batch they
# are [1.47](fact:eval_bucket_mean) on average, with one constant [0.98](fact:eval_bucket_sum).
#
# ## 6. Censoring moves Harrell's C
#
# A pair counts only if one event is known to have come first. The more patients are lost, the more of these pairs are
# *early* ones. Take 8,000 patients of whom nobody is lost within ten rows, and lose some of them at random, more and
# more. The risk is the hazard at the first visit, which says more about the next rows than about later ones.

# %%
world = replace(TEACHING, dropout=0.0, max_visits=10)
drawn = world.draw(8_000, seed=3)
first = drawn.hazard[drawn.cohort.visits.visit_offsets[:-1]]
kept = drawn.cohort.outcome
draws = torch.from_numpy(np.random.default_rng(4).random((8_000, 10)))
lost_more = {}
for dropout in (0.0, 0.05, 0.1, 0.2):
    away = torch.where(draws < dropout, torch.arange(1, 11), 10).amin(1)
    seen = kept.observed & (kept.stop <= away)
    cut = Outcome.of(torch.minimum(kept.stop, away), seen)
    lost_more[dropout] = {
        "events seen": int(seen.sum()),
        "Harrell": float(metrics.concordance(first, cut)),
        "Uno": float(metrics.concordance(first, cut, weights="follow-up")),
    }
lost_more = pd.DataFrame(lost_more).T.rename_axis("lost after each row")
lost_more.round(3)

# %%
assert lost_more["Harrell"].is_monotonic_increasing
assert lost_more["Harrell"].iloc[-1] - lost_more["Harrell"].iloc[0] > 0.05
assert (lost_more["Uno"] - lost_more["Uno"].iloc[0]).abs().max() < 0.03

# %% [markdown]
# Same patients, same risks, and Harrell's C rises from [0.742](fact:eval_harrell_none) to
# [0.807](fact:eval_harrell_most) because patients were lost. Uno's version weighs a pair by how unlikely it was that
# both were followed so far, and stays.
#
# ## 7. The cure: one moment, one horizon
#
# A **landmark** is the moment of prediction, here visit 3. Only patients still at risk there are scored, each with a
# number that was known then. Three scores of the learned hazards, and of the true ones:

# %%
scores = {}
for name, h in [("learned", learned), ("true", truth)]:
    scores[name] = {
        "C at visit 3": metrics.concordance(h[:, 3], judged, landmark=3),
        "AUC of the next 5 rows": metrics.cumulative_dynamic_auc(
            h[:, 3], judged, horizon=5, landmark=3
        ),
        "AUC, visit by visit": metrics.incident_dynamic_auc(h, judged),
    }
pd.DataFrame(scores).map(float).round(3)

# %%
for score in scores["true"]:
    assert (
        0.7 < float(scores["learned"][score]) < float(scores["true"][score])
    )

# %% [markdown]
# The sum over the record hides its trap here, because these hazards differ a hundredfold:

# %%
in_all = evaluation.summed(truth, judged.stop)
hidden = {
    "true hazards, summed": metrics.concordance(in_all, judged),
    "true hazard, first visit": metrics.concordance(truth[:, 0], judged),
    "rows alone": metrics.concordance(judged.stop.double(), judged),
}
hidden = pd.Series(hidden, name="C").astype(float)
hidden.round(3).to_frame()

# %%
assert hidden.iloc[2] < 0.05 < 0.5 < hidden.iloc[0] < hidden.iloc[1]

# %% [markdown]
# Of the three scores above, the last one asks at every visit who has the event in the very next interval. It is the
# natural score of a model with a hazard at each visit, and the one that no length can enter.
#
# ### Lost is not healthy
#
# A common AUC "within 5 visits" marks everybody without a recorded event as healthy, those lost after one row, too. If
# the *sick* are lost more often, what does it do? Take the patients of section 1, once lost at random and once with a
# chance that grows with their risk.

# %%
draw = torch.from_numpy(np.random.default_rng(2).random((n, width)))
chance = (4 * risk).clamp(max=0.9)[:, None]
gone = torch.where(draw < chance, torch.arange(1, width + 1), width).amin(1)
full = draw_outcome(hazard, seed=8)
by_risk = Outcome.of(
    torch.minimum(full.stop, gone), full.observed & (full.stop <= gone)
)
auc_true = roc_auc_score(full.observed & (full.stop <= 5), risk)
auc = {
    name: roc_auc_score(o.observed & (o.stop <= 5), risk)
    for name, o in [("at random", outcome), ("the sick", by_risk)]
}
pd.Series(auc | {"nobody": auc_true}, name="AUC").rename_axis(
    "lost"
).to_frame().round(3)

# %%
assert abs(auc["at random"] - auc_true) < 0.03 < auc_true - auc["the sick"]
weighted = float(metrics.cumulative_dynamic_auc(risk, by_risk, 5))
assert abs(weighted - auc_true) > 0.03
weighted

# %% [markdown]
# Lost at random, they do little harm here. Lost because they are ill, they do: the AUC falls from
# [0.747](fact:eval_auc_nobody) to [0.649](fact:eval_auc_sick), for the same true risks. Weights as in
# `cumulative_dynamic_auc` do not mend that, they overshoot: they are for losses that have nothing to do with risk.
#
# ## 8. What each score sees
#
# Back to patients whose hazards are known, 5,000 of them. Five models: the truth; twice the hazard; a hundredth of it;
# a *timid* one, whose log-odds go only half as far from the middle; and a life table of 50,000 other patients.

# %%
spread_out = np.random.default_rng(11)
many, others = (
    torch.sigmoid(-3 + 0.8 * torch.from_numpy(spread_out.normal(size=size)))
    for size in (5_000, 50_000)
)
many = many[:, None].expand(-1, 40)
others = others[:, None].expand(-1, 40)
seen = draw_outcome(many, dropout=0.06, seed=11)
learnt = draw_outcome(others, dropout=0.06, seed=12)
life_table = metrics.kaplan_meier(learnt).hazard.expand(5_000, -1)
models = {
    "true": many,
    "doubled": 2 * many,
    "hundredth": many / 100,
    "timid": torch.sigmoid((torch.logit(many) - 3) / 2),
    "table": life_table,
}
models["doubled"].max()

# %% [markdown]
# Which of them has a lower C-index than the truth? One, some, all? Answer with the number of models.

# %%
guess = None
c_of = {
    name: float(metrics.concordance(h[:, 0], seen))
    for name, h in models.items()
}
lower = sum(c < c_of["true"] - 1e-9 for c in c_of.values())
wrong = {"a factor changes no order, so doubled hazards rank the same": 4}
check.same(guess, lower, mistakes=wrong)

# %%
table = {
    name: {
        "C": c_of[name],
        "expected/seen": metrics.calibration(h, seen).ratio,
        "D-calibration": metrics.d_calibration(h, seen).error.value,
        "Brier": metrics.brier((1 - h).cumprod(1), seen, 10).value,
        "NLL per row": metrics.nll_per_row(torch.logit(h), seen),
    }
    for name, h in models.items()
}
table = pd.DataFrame(table).T
table.round(3)

# %%
p = {k: metrics.d_calibration(h, seen).p_value for k, h in models.items()}
assert (table["C"].iloc[:4] == table["C"].iloc[0]).all()
assert table["C"]["table"] == 0.5
assert p["true"] > 0.05
assert p["table"] > 0.05
assert max(p["doubled"], p["hundredth"], p["timid"]) < 0.001
assert table["NLL per row"].idxmin() == "true"
assert table["Brier"].idxmin() == "true"
assert table["NLL per row"]["doubled"] > table["NLL per row"]["table"]

# %% [markdown]
# (Brier: survival through ten rows.) The C-index sees the order and nothing else: four of five are the same to it.
# Expected over seen sees level and nothing else: the life table is as good as the truth. **D-calibration** asks how
# evenly patients have their events over all levels of predicted survival, and notices the timid model. Only the last
# two columns put the truth before all others, because they are *proper*: see [the loss
# zoo](../explainer/11-loss-zoo.md).
#
# ## 9. Brier: followed *through* the row
#
# The **Brier score** is the mean squared error of a predicted survival. Who is lost before the horizon is spoken for by
# those who were not: each counts for 1 / G, with G the probability of still being followed. An event *in* row k is seen
# if follow-up lasts *through* it: G(k-). Libraries made for continuous time take G(k). For the perfect model, within
# three rows, where one patient in ten is lost after each:

# %%
horizon = 3
survival = (1 - many).cumprod(1)
nobody_lost = draw_outcome(many, seed=11)
lost = draw_outcome(many, dropout=0.1, seed=11)
free = (~nobody_lost.observed) | (nobody_lost.stop > horizon)
exact = (free.double() - survival[:, 2]).square().mean()
ours = metrics.brier(survival, lost, horizon)
after = metrics.censoring_survival(lost).after
failed = lost.observed & (lost.stop <= horizon)
past = ~failed & (lost.stop > horizon)
squared = (past.double() - survival[:, 2]).square()
by_g_of_t = (
    squared[failed] / after[lost.stop[failed] - 1]
).sum() / 5_000 + squared[past].sum() / after[2] / 5_000
exact, float(ours), by_g_of_t

# %%
too_high = by_g_of_t / exact - 1
assert abs(float(ours) / exact - 1) < 0.02 < 0.04 < too_high

# %% [markdown]
# ### Exercise 2
#
# Compute the Brier score within three rows yourself. `weight` holds 1 / G(k-) for each patient's own last row, or for
# row 2 if there are more; `predicted` is the survival through three rows.

# %%
through = metrics.censoring_survival(lost).before
weight = 1 / through[lost.stop.clamp(max=3) - 1]
predicted = survival[:, 2]

# %% tags=["exercise"]
# An event within three rows had the survival 0. Who was followed for
# three rows without it had 1. Nobody else is known, and the weights
# speak for them: sum over the known, divide by all.
brier = None  # your code here

check.near(
    brier,
    metrics.brier(survival, lost, 3),
    mistakes=check.values(
        evaluation.BRIER,
        predicted,
        lost.stop,
        lost.observed,
        weight,
        torch.tensor(3),
    ),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# An event within three rows had the survival 0. Who was followed for
# three rows without it had 1. Nobody else is known, and the weights
# speak for them: sum over the known, divide by all.
event = lost.observed & (lost.stop <= 3)
known = event | (lost.stop >= 3)
error = (predicted - (~event).double()) ** 2
brier = (weight * error)[known].sum() / len(lost)

check.near(
    brier,
    metrics.brier(survival, lost, 3),
    mistakes=check.values(
        evaluation.BRIER,
        predicted,
        lost.stop,
        lost.observed,
        weight,
        torch.tensor(3),
    ),
)

# %% [markdown]
# ## 10. Where it breaks
#
# A score made from a whole record is refused before it can mislead:

# %%
refused = {}
try:
    metrics.concordance(hazard, outcome)
except (TypeError, ValueError) as error:
    refused["record"] = str(error).split(":")[0]
refused["record"]

# %% [markdown]
# So is a survival curve that ends with the record, where a forecast is needed:

# %%
curve = (1 - hazard).cumprod(1)
curve = curve.where(torch.arange(width) < stop[:, None], torch.nan)
try:
    metrics.brier(curve, outcome, 5)
except ValueError as error:
    refused["curve"] = str(error).split(";")[0]
refused["curve"]

# %%
assert len(refused) == 2

# %% [markdown]
# And D-calibration, taken from continuous time as it is, condemns the truth. There each event has *one* level, the
# survival at that time. Visits are steps: take the level at the end of the event's row, and even true hazards leave the
# top bin short.

# %%
at_end = survival.gather(1, nobody_lost.stop[:, None] - 1)[:, 0]
levels = at_end[nobody_lost.observed]
taken = torch.histc(levels, 10, 0, 1) / len(levels)
spread = metrics.d_calibration(many, nobody_lost)
pd.DataFrame({"at the end": taken, "spread": spread.table["share"]}).round(
    3
)

# %%
assert taken[-1] < 0.09 < taken[4:9].min()
assert spread.p_value > 0.05

# %% [markdown]
# `d_calibration` spreads each event evenly over the levels of its row, and a censored patient over all levels below.
#
# Back to the [chapter](../explainer/08-training-and-evaluating.md), or on to [leakage](../explainer/09-leakage.md).
#
# ## Numbers that pages quote

# %%
fact("eval_c_true", float(c_true))
fact("eval_c_summed", float(c_summed))
fact("eval_c_alike", float(c_alike))
fact("eval_c_notes", evaluation.notes_rule(summed, stop, observed))
fact("eval_c_three", float(c_three))
asked = Outcome.of(torch.tensor([1, 1, 2]), torch.tensor([1, 0, 0]) > 0)
same = metrics.concordance(torch.tensor([0.3, 0.1, 0.3]), asked)
fact("eval_test_yourself", float(same))
dropping = evaluation.tied_times_dropped
one_half = dropping(
    torch.tensor([0.3, 0.1, 0.3]), asked.stop, asked.observed
)
fact("eval_test_dropped", one_half)
fact("eval_c_same", float(c_same))
fact("eval_c_rounded", c_rounded)
fact("eval_c_lots", c_lots)
for name, one, total in zip(
    ("ada", "ben", "cleo"), three[:, 0], sums, strict=False
):
    fact(f"eval_three_{name}", one)
    fact(f"eval_sum_{name}", total)

# %%
fact("eval_teaching_summed", hidden.iloc[0])
fact("eval_teaching_first", hidden.iloc[1])
fact("eval_share", share)
fact("eval_nll_table", nll["life table"])
fact("eval_nll_model", nll["model"])
fact("eval_nll_oracle", nll["oracle"])
fact("eval_lowest_bias", bias)
fact("eval_bucket_constant", one_hazard)
fact("eval_bucket_mean", mean_ratio)
fact("eval_bucket_sum", sum_ratio)
fact("eval_dropped_3", dropped[3])
fact("eval_dropped_40", dropped[40])

# %%
fact("eval_harrell_none", lost_more["Harrell"].iloc[0])
fact("eval_harrell_most", lost_more["Harrell"].iloc[-1])
fact("eval_uno_none", lost_more["Uno"].iloc[0])
fact("eval_uno_most", lost_more["Uno"].iloc[-1])
fact("eval_events_all", lost_more["events seen"].iloc[0])
fact("eval_events_most", lost_more["events seen"].iloc[-1])
fact("eval_landmark_learned", float(scores["learned"]["C at visit 3"]))
fact(
    "eval_horizon_learned",
    float(scores["learned"]["AUC of the next 5 rows"]),
)
fact(
    "eval_incident_learned", float(scores["learned"]["AUC, visit by visit"])
)
fact("eval_landmark_true", float(scores["true"]["C at visit 3"]))
fact("eval_horizon_true", float(scores["true"]["AUC of the next 5 rows"]))
fact("eval_incident_true", float(scores["true"]["AUC, visit by visit"]))

# %%
fact("eval_auc_nobody", auc_true)
fact("eval_auc_random", auc["at random"])
fact("eval_auc_sick", auc["the sick"])
fact("eval_brier_exact", exact)
fact("eval_brier_ours", float(ours))
fact("eval_brier_g_of_t", by_g_of_t)
fact("eval_brier_too_high", 100 * too_high)
fact("eval_auc_weighted", weighted)
columns = ["c", "ratio", "dcal", "brier", "nll"]
for name, line in table.iterrows():
    for column, value in zip(columns, line, strict=True):
        fact(f"sees_{name}_{column}", value)
