# %% [markdown]
# # The playground, step by step
#
# Here you look behind [the playground](../explainer/playground.md): which models it runs, whether its numbers are
# theirs, and how one of them beats the truth. The data is synthetic; nothing here is medical advice.

# %%
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from visitwise import trained
from visitwise.cohort import Outcome
from visitwise.model import SurvivalRNN
from visitwise.notebook import fact
from visitwise.simulate import (
    CHECK_UP,
    CORONARY,
    DIABETES,
    DRUGS,
    KIDNEY_INJURY,
    LIPIDS,
    SCHEMA,
    STATIN,
    STROKE,
)
from visitwise.training import (
    LOSSES,
    evaluate_nll,
    fit,
    load_model,
    save_model,
)
from visitwise.visits import Visits
from visitwise.widgets import Playground

torch.set_num_threads(1)

# %% [markdown]
# ## 1. Three models
#
# `visitwise.trained` keeps the weights of three small models. Each was trained on 40,000 patients drawn from the
# simulator of the chapters. `causal` reads visits up to the one it speaks of, `bidirectional` the later ones, too;
# `competing` tells two causes apart.

# %%
models = {
    name: trained.load(name).double().requires_grad_(False)
    for name in trained.EPOCHS
}
about = {}
for name, model in models.items():
    about[name] = {
        "patients": trained.N_TRAIN,
        "epochs": trained.EPOCHS[name][-1],
        "numbers for a code": model.settings["embedding"],
        "numbers in a state": model.settings["hidden"],
        "weights": sum(weight.numel() for weight in model.parameters()),
        "bytes on disk": trained.file_of(name).stat().st_size,
    }
pd.DataFrame(about)

# %% [markdown]
# How good are they? Draw 4,000 patients who were not trained on. The simulator also knows their true hazards; what
# those cost is the loss of the **oracle**. A **cost** is a negative log-likelihood per row, the interval after a visit.

# %%
nll = {}
for name, model in models.items():
    judges = trained.world(name).draw(trained.N_VALIDATION, seed=12).cohort
    curve = trained.curve(name)
    nll[name] = {
        "untrained": curve["validation"][0],
        "trained": evaluate_nll(model, judges, loss=LOSSES[type(model)]),
        "oracle": curve["oracle"],
    }
losses = pd.DataFrame(nll).T
losses.round(4)

# %%
for name in models:
    told = trained.curve(name)["validation"][-1]
    assert abs(losses.trained[name] - told) < 1e-6
oracle = losses.oracle
assert oracle["causal"] < losses.trained["causal"] < 1.05 * oracle["causal"]
assert losses.trained["competing"] > oracle["competing"]
assert losses.trained["bidirectional"] < oracle["bidirectional"] / 2

# %% [markdown]
# Two models come close to the oracle and stay above it. The one that reads ahead has less than half of its loss: it is
# better than the truth. [Section 4](#4-better-than-the-truth) says how. Of one record that proves nothing. How many of
# the 4,000 cost less with the model that reads the past than with the true hazards?

# %%
world = trained.world()
judges = world.draw(trained.N_VALIDATION, seed=12).cohort
outcome = judges.outcome
true_logits = judges.visits.pad(world.hazard(judges.visits).logit())
causal_loss = LOSSES[SurvivalRNN]


def by_patient(logits):
    return causal_loss(logits, outcome, "none")


dearer = by_patient(models["causal"](judges.visits)) - by_patient(
    true_logits
)
lucky = (dearer < 0).double().mean().item()
pd.Series({"costs less": lucky, "costs more, mean": dearer.mean().item()})

# %%
assert 0.3 < lucky < 0.7
assert dearer.mean() > 0

# %% [markdown]
# On [54%](fact:play_lucky) of the records luck beats the truth; on the average of many, only a leak can.
#
# ## 2. The figure, and the same numbers from PyTorch
#
# Add a diagnosis, drag a visit, delete one. Before each change: which of the hazards will move?

# %% tags=["figure:playground"]
play = Playground()
play

# %% [markdown]
# What you set comes back as traits. The codes of a visit are one whole number, whose bit *j - 1* says that code *j* of
# the schema is recorded. This is your patient as `Visits`, and what two of the models say after all their epochs.


# %%
def visits_of(figure, **changed):
    state = figure.state | changed
    codes = [
        [code for j, code in enumerate(SCHEMA.codes[1:]) if bits >> j & 1]
        for bits in state["codes"]
    ]
    static = [(state["age"] - 60) / 10, float(state["female"])]
    return Visits.from_lists(
        [codes], [state["day"]], schema=SCHEMA, static=[static]
    )


patient = visits_of(play)
play_model = models["causal"]
learned = play_model.predict(patient).hazard[0]
true = trained.world().hazard(patient)
ahead = models["bidirectional"].predict(patient).hazard[0]
hazards = {"learned": learned, "true": true, "reads ahead": ahead}
pd.DataFrame(hazards, index=pd.Index(play.day, name="day")).round(4)

# %% [markdown]
# And the loss of this record, with the model and the epoch that you chose. The cell stops if the figure shows another
# one. (A model that you loaded is known to your browser alone.)

# %%
epochs = trained.EPOCHS[play.model]
epoch = epochs[play.epoch % len(epochs)]
model = trained.load(play.model, epoch).double().requires_grad_(False)
logits = model(patient)
truth = trained.world(play.model).cause_hazard(patient)
nothing = 1 - truth.sum(-1, keepdim=True)
true_logits = (truth / nothing).log().reshape(logits.shape)
outcome = Outcome.of(patient.length, torch.tensor([play.observed]))
loss = LOSSES[type(model)]
play.agrees(
    nll=loss(logits, outcome, "sum"),
    oracle_nll=loss(true_logits, outcome, "sum"),
)

# %% [markdown]
# ## 3. With and without
#
# For the visit that you chose, take out one code at a time and ask again. The figure shows the same.


# %%
def at_chosen(visits):
    """Learned and true hazard after the visit that you chose."""
    both = play_model.predict(visits).hazard[0], world.hazard(visits)
    return [hazard[play.visit].item() for hazard in both]


bits = play.codes[play.visit]
rows = {}
for j, code in enumerate(SCHEMA.codes[1:]):
    if bits >> j & 1:
        codes = [*play.codes]
        codes[play.visit] = bits & ~(1 << j)
        other = visits_of(play, codes=codes)
        name = code.split("//")[1]
        rows[name] = [*at_chosen(patient), *at_chosen(other)]
columns = ["learned", "true", "learned without", "true without"]
pd.DataFrame(rows, columns).T.round(4)

# %% [markdown]
# Is that what the code *does*? Ask about drugs, in 2,000 new patients: strike a drug from all records, and see by which
# factor it had multiplied the odds where it was recorded.

# %%
people = world.draw(2_000, seed=21).cohort.visits
at = torch.arange(people.n_visits)
visit = at.repeat_interleave(people.code_offsets.diff())
with_two_causes = trained.world("competing")


def log_odds(visits):
    """By the model and in truth; then of the second of two causes."""
    learned = visits.unpad(play_model.predict(visits).hazard_logits)
    causes = with_two_causes.cause_hazard(visits)
    second = causes[:, 1].log() - (1 - causes.sum(-1)).log()
    return torch.stack([learned, world.hazard(visits).logit(), second], 1)


def recorded(code):
    """At which visits a code is."""
    there = torch.zeros(people.n_visits, dtype=torch.bool)
    there[visit[people.codes == SCHEMA.codes.index(code)]] = True
    return there


def added(code):
    """What a code adds to the log-odds, against the records without it."""
    kept = people.codes != SCHEMA.codes.index(code)
    left = visit[kept].bincount(minlength=people.n_visits)
    struck = replace(
        people,
        codes=people.codes[kept],
        code_offsets=torch.cat([left.new_zeros(1), left.cumsum(0)]),
    )
    return as_recorded - log_odds(struck)


as_recorded = log_odds(people)
factors = {
    code.split("//")[1]: added(code)[recorded(code)].mean(0).exp().tolist()
    for code in DRUGS
}
columns = ["learned", "true", "true, second of two causes"]
drugs = pd.DataFrame(factors, columns).T
drugs.round(3)

# %%
others = drugs.drop("furosemide")
assert (others.true == 1).all()
assert drugs.loc["furosemide", ["learned", "true"]].max() < 1
assert others.learned.idxmax() == "atorvastatin"
statin = drugs.iloc[:, 2]["atorvastatin"]
assert statin < 0.5 < drugs.drop("atorvastatin").iloc[:, 2].min()

# %% [markdown]
# The true hazard reads one drug, furosemide, and none of the others: a perfect model would say 1 for them. The model
# reads them all. (Where two causes compete, atorvastatin does lower the second.) Those who take atorvastatin have high
# blood lipids or coronary artery disease, which count for ever once recorded. Does the model use the drug to tell who
# has them?

# %%
diagnosed = recorded(LIPIDS) | recorded(CORONARY)
so_far = people.pad(diagnosed.double()).cumsum(1)
ever = people.unpad(so_far) > 0
adds = added(STATIN)[:, 0]
when = {
    "at this visit": diagnosed,
    "at earlier visits": ever & ~diagnosed,
    "never so far": ~ever,
}
statins = {
    name: adds[recorded(STATIN) & group].mean().exp().item()
    for name, group in when.items()
}
pd.Series(statins).round(3).to_frame("atorvastatin multiplies by")

# %%
assert statins["at earlier visits"] > statins["at this visit"] > 1.1
assert abs(statins["never so far"] - 1) < 0.03

# %% [markdown]
# Most where the diagnoses lie in the past, and hardly where they were never recorded: the drug is a stand-in for
# diagnoses that the model remembers badly. "With and without" tells what the model reads, not what a drug does.
#
# ## 4. Better than the truth
#
# Delete the last visit, and compare what the two models said of the visits before it.

# %%
cut = visits_of(play, day=play.day[:-1], codes=play.codes[:-1])
said = pd.DataFrame(index=pd.Index(play.day[:-1], name="day"))
for name in ("causal", "bidirectional"):
    said[name] = models[name].predict(patient).hazard[0, :-1].numpy()
    said[f"{name}, cut"] = models[name].predict(cut).hazard[0].numpy()
said.map("{:.2g}".format)

# %%
moved = said["causal, cut"] - said["causal"]
assert moved.abs().max() < 1e-12
assert (
    said["bidirectional, cut"].iloc[-1]
    > 10 * said["bidirectional"].iloc[-1]
)

# %% [markdown]
# The model that reads the past does not move. The other one learns that a visit comes after, so the event cannot have
# come before it. In the 4,000 patients:

# %%
read = judges.visits.unpad(
    models["bidirectional"].predict(judges.visits).hazard
)
is_last = (
    judges.visits.index == judges.visits.length[judges.visits.patient] - 1
)
mean = pd.Series(
    {
        "in rows that end in a visit": read[~is_last].mean().item(),
        "in the last row": read[is_last].mean().item(),
        "patients with the event": judges.outcome.observed.double()
        .mean()
        .item(),
    }
)
mean.map("{:.2g}".format).to_frame("mean hazard")

# %%
assert mean.iloc[0] < 1e-4
assert abs(mean.iloc[1] - mean.iloc[2]) < 0.01

# %% [markdown]
# It knows where each record ends, and puts all its risk there. Nobody who forecasts knows that.
#
# ## 5. A file of your own
#
# *Load your model* takes what `save_model` writes under a name that ends in `.safetensors`, from any `SurvivalRNN` or
# `CompetingRisksRNN`. One of other codes than the simulator's gets a figure of its own, without true hazards. Here is
# one of the simulator's codes that has seen 2,000 patients once.

# %%
few = world.draw(2_000, seed=5).cohort
train, validation = few.split([0.8, 0.2], seed=0)
mine = SurvivalRNN.for_cohort(train, embedding=4, hidden=8)
fit(mine, train, validation, epochs=1, progress=False)
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder, "mine.safetensors")
    save_model(mine, file)
    size = file.stat().st_size
    again = load_model(file)
size

# %%
assert torch.equal(
    again.predict(patient).hazard, mine.predict(patient).hazard
)

# %% [markdown]
# To keep it, write `save_model(mine, "mine.safetensors")`, and give the file to the playground. It is read by your
# browser and sent nowhere.
#
# ## For the page
#
# The numbers that [the playground](../explainer/playground.md) quotes, for the patient it begins with.

# %%
for name in models:
    fact(f"play_{name}_nll", losses.trained[name])
    fact(f"play_{name}_untrained", losses.untrained[name])
    fact(f"play_{name}_oracle", losses.oracle[name])
fact("play_lucky", lucky)
fact("play_inner", mean.iloc[0])
fact("play_last", mean.iloc[1])
fact("play_events", mean.iloc[2])
fact("play_atorvastatin", drugs.learned["atorvastatin"])
fact("play_atorvastatin_true", drugs.true["atorvastatin"])
fact("play_atorvastatin_never", statins["never so far"])
fact("play_furosemide", drugs.learned["furosemide"])
fact("play_furosemide_true", drugs.true["furosemide"])

# %% [markdown]
# One change to the first patient, and the hazards after the last visit:

# %%
begun = Playground()


def flipped(code, k):
    """The first patient, with a code of visit `k` added or taken off."""
    codes = [*begun.codes]
    codes[k] ^= 1 << SCHEMA.codes.index(code) - 1
    return visits_of(begun, codes=codes)


changes = {
    "begun": visits_of(begun),
    "diabetes": flipped(DIABETES, 1),
    "stroke": flipped(STROKE, 5),
    "injury": flipped(KIDNEY_INJURY, 2),
}
last = {
    name: {
        "learned": play_model.predict(visits).hazard[0, -1].item(),
        "true": world.hazard(visits)[-1].item(),
    }
    for name, visits in changes.items()
}
changed = pd.DataFrame(last).T
changed.map("{:.1%}".format)

# %%
learned, true = (changed - changed.loc["begun"]).to_numpy().T
assert true[1] == 0 > learned[1]
assert true[2] > 0 > learned[2]
assert max(true[3], learned[3]) < 0
strokes = added(STROKE)[recorded(STROKE)].mean(0).exp()
assert (strokes[:2] > 2).all()
for name, row in changed.iterrows():
    fact(f"play_{name}_learned", row["learned"])
    fact(f"play_{name}_true", row["true"])
fact("play_stroke_factor", strokes[0])
fact("play_stroke_factor_true", strokes[1])

# %% [markdown]
# The model that reads ahead, on the first patient: what the record costs with either end, and what a check-up more
# does to the hazards.

# %%
whole = changes["begun"]
ahead = models["bidirectional"]
costs = {}
for end, observed in {"event": True, "censored": False}.items():
    ends = Outcome.of(whole.length, torch.tensor([observed]))
    costs[end] = {
        "ahead": causal_loss(ahead(whole), ends, "sum").item(),
        "oracle": causal_loss(
            world.hazard(whole).logit()[None], ends, "sum"
        ).item(),
    }
    for name, cost in costs[end].items():
        fact(f"play_{name}_{end}", cost)
assert costs["event"]["ahead"] < costs["event"]["oracle"]
assert costs["censored"]["ahead"] > costs["censored"]["oracle"]

# %%
check_up = 1 << SCHEMA.codes.index(CHECK_UP) - 1
longer = visits_of(
    begun,
    day=[*begun.day, begun.day[-1] + 60],  # as *Add a visit* does
    codes=[*begun.codes, check_up],
)
before = ahead.predict(whole).hazard[0]
after = ahead.predict(longer).hazard[0]
assert (after[:-1] != before).all()
assert after[-2] < before[-1] / 1000
fact("play_added_before", before[-1])
fact("play_added_after", after[-2])
fact("play_added_last", after[-1])
