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
from visitwise.simulate import DRUGS, SCHEMA
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
# those cost per row is the loss of the **oracle**, which no model should beat.

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
# better than the truth. [Section 4](#4-better-than-the-truth) says how.
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
world = trained.world()


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


def log_odds(visits):
    learned = play_model.predict(visits).hazard_logits
    return visits.unpad(learned), world.hazard(visits).logit()


def factors(drug):
    is_drug = people.codes == SCHEMA.codes.index(drug)
    left = visit[~is_drug].bincount(minlength=people.n_visits)
    struck = replace(
        people,
        codes=people.codes[~is_drug],
        code_offsets=torch.cat([left.new_zeros(1), left.cumsum(0)]),
    )
    there = visit[is_drug]
    both = zip(log_odds(people), log_odds(struck), strict=True)
    return [(one - two)[there].mean().exp().item() for one, two in both]


names = [drug.split("//")[1] for drug in DRUGS]
drugs = pd.DataFrame(
    map(factors, DRUGS), names, columns=["learned", "true"]
)
drugs.round(3)

# %%
others = drugs.drop("furosemide")
assert (others.true == 1).all()
assert drugs.loc["furosemide"].max() < 1
assert others.learned.idxmax() == "atorvastatin"

# %% [markdown]
# The true hazard reads one drug, furosemide, and none of the others. The model reads them all. Who takes atorvastatin
# has high blood lipids or coronary artery disease, which do count: codes travel together, and the model was trained on
# records. "With and without" tells what the model reads, not what a drug does.
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
judges = world.draw(trained.N_VALIDATION, seed=12).cohort
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
# `CompetingRisksRNN` with the schema of the simulator. Here is one that has seen 2,000 patients once.

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
fact("play_inner", mean.iloc[0])
fact("play_last", mean.iloc[1])
fact("play_events", mean.iloc[2])
fact("play_atorvastatin", drugs.learned["atorvastatin"])

# %%
begun = Playground()
whole = visits_of(begun)
cut = visits_of(begun, day=begun.day[:-1], codes=begun.codes[:-1])
for name in ("causal", "bidirectional"):
    predict = models[name].predict
    fact(f"play_{name}_before", predict(whole).hazard[0, -2])
    fact(f"play_{name}_after", predict(cut).hazard[0, -1])
