# %% [markdown]
# # From codes to hazards, step by step
#
# Here you run the chapter [From codes to hazards](../explainer/05-codes-to-hazards.md), one idea a cell. Cells that begin
# with `guess = None` ask you first: put your answer there and run the cell again. The notebook also runs untouched, from
# top to bottom.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import nn

from visitwise import check, plots
from visitwise.check import encoding
from visitwise.cohort import Cohort, Outcome
from visitwise.losses import outcome_nll
from visitwise.model import SurvivalRNN
from visitwise.notebook import fact, show
from visitwise.textbook import collate
from visitwise.visits import Schema, Visits

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
plt.style.use("visitwise.survival")

# %% [markdown]
# ## 1. Three records
#
# You know Ada, Ben and Cleo from the [first chapter](../explainer/01-hazard-to-likelihood.md). Here are the **codes**
# their visits recorded: words from a fixed list, such as diagnoses. Cleo's visit 1 is a check-up that records nothing.
# Her study ended after three visits, and her record goes on for two more.

# %%
records = {
    "Ada": [
        ["hypertension", "diabetes"],
        ["hypertension"],
        ["heart failure", "diabetes"],
    ],
    "Ben": [["hypertension"], ["heart failure", "hypertension"]],
    "Cleo": [
        ["diabetes"],
        [],
        ["kidney disease", "diabetes"],
        ["hypertension"],
        ["asthma"],
    ],
}
days = [[0, 90, 200], [0, 30], [0, 180, 365, 545, 730]]
pd.DataFrame(
    [
        (name, k, ", ".join(codes))
        for name, record in records.items()
        for k, codes in enumerate(record)
    ],
    columns=["patient", "visit", "codes"],
)

# %% [markdown]
# What became of them is said apart. `stop` is the number of rows whose ending is known: Ada's stroke came in row 2, Ben's
# in row 1, and Cleo was well at the end of row 2.

# %%
outcome = Outcome.of(
    stop=torch.tensor([3, 2, 3]),
    observed=torch.tensor([True, True, False]),
)
pd.DataFrame(
    {"stop": outcome.stop, "observed": outcome.observed}, index=records
)

# %% [markdown]
# ## 2. Codes become numbers
#
# A network reads numbers, so each name gets one, its place in the **vocabulary**. Number 0 is kept free: it stands for
# "nothing here". The names of all visits then stand in one **flat list**, and two more lists say where each visit and
# each patient begins, and where the last one ends. They are called **offsets**.

# %%
schema = Schema.of(
    [
        "asthma",
        "diabetes",
        "heart failure",
        "hypertension",
        "kidney disease",
        "stroke",
    ]
)
visits = Visits.from_lists([*records.values()], day=days, schema=schema)
visits.codes

# %% [markdown]
# There are ten visits. How long is the list of their offsets?

# %%
guess = None
check.same(
    guess,
    len(visits.code_offsets),
    mistakes={
        "that is where each visit begins; where does the last one end": 10,
        "that is one for each code; offsets belong to visits": 13,
        "those are the offsets of the patients": 4,
    },
)

# %%
{
    "codes": visits.codes.tolist(),
    "code_offsets": visits.code_offsets.tolist(),
    "visit_offsets": visits.visit_offsets.tolist(),
}

# %%
j = int(visits.visit_offsets[2]) + 2  # Cleo's visit 2
begin, end = visits.code_offsets[j : j + 2].tolist()
owned = [schema.codes[code] for code in visits.codes[begin:end]]
assert owned == ["kidney disease", "diabetes"]

# %% [markdown]
# Visit `j` owns `codes[code_offsets[j]:code_offsets[j + 1]]`. Cleo's check-up has the same offset twice, 9 and 9: it
# owns no code and is a visit all the same. Nothing is padded, and nothing is lost.
#
# ## 3. The box
#
# Tutorials put the same codes in a box with a place for every patient, visit and code. All patients share the axis of
# visits and all visits share the axis of codes, so both are as long as the longest needs. What is the shape of the box?

# %%
guess = None
encoded = [
    [[schema.codes.index(name) for name in codes] for codes in record]
    for record in records.values()
]
box, code_mask, visit_mask = collate(encoded)
check.same(
    guess,
    box.shape,
    mistakes={
        "each place for a visit is as wide as the widest visit": [3, 5],
        "those are visits and codes; patients come first": [5, 2],
        "that has the real visits in a row; the box has an axis for "
        "patients": [10, 2],
    },
)

# %%
box[2]  # Cleo

# %%
n_cells, n_codes = box.numel(), int(code_mask.sum())
counted = {
    "cells": n_cells,
    "codes": n_codes,
    "padding": n_cells - n_codes,
}
pd.DataFrame({"count": counted})

# %%
assert n_codes == len(visits.codes)
assert torch.equal(code_mask[2, 1], code_mask[1, 4])
assert visit_mask[2, 1]
assert not visit_mask[1, 4]

# %% [markdown]
# The cells that hold nothing are **padding**: [17](fact:flow_padding_cells) of [30](fact:flow_cells). A **mask** is a
# box of true and false that says which cells are real. There have to be two. In the mask of the codes Cleo's empty
# check-up and Ben's missing fifth visit look the same; only the mask of the visits tells them apart.
#
# ### A loop in a loop, or one address for each code
#
# `collate` fills the box cell by cell, in three nested loops. The other way is to compute for each code where it goes,
# and to write all of them at once.

# %%
visit = torch.repeat_interleave(visits.code_offsets.diff())
address = {
    "patient": visits.patient[visit],
    "visit": visits.index[visit],
    "place": torch.arange(n_codes) - visits.code_offsets[visit],
}
pd.DataFrame(address, index=visits.codes.tolist()).T

# %%
at_once = torch.zeros_like(box)
at_once[tuple(address.values())] = visits.codes.long()
assert torch.equal(at_once, box)
assert torch.equal(visits.padded().codes.long(), box)
assert torch.equal(visits.padded().visit_mask, visit_mask)

# %% [markdown]
# The numbers above are the codes, below each its address. The loop takes a turn of Python for every code; the addresses
# take the same few calls however many codes there are. `Visits.padded` does it this way.
#
# ## 4. One long record
#
# Dora joins the batch. She has 200 visits with one code each, but for the last, a hospital stay with 25. Which share of
# the cells of the new box holds a code?

# %%
dora = [["hypertension"]] * 199 + [[f"finding {n}" for n in range(25)]]
four = Visits.from_lists(
    [*records.values(), dora], day=[*days, list(range(200))]
)
share = len(four.codes) / four.padded().codes.numel()

guess = None
check.near(
    guess,
    share,
    mistakes={
        "that is the share before she came": n_codes / n_cells,
        **check.values(
            encoding.FILLED, four.code_offsets, four.visit_offsets
        ),
    },
)

# %%
shapes = {
    "box": list(four.padded().codes.shape),
    "cells": four.padded().codes.numel(),
    "codes": len(four.codes),
    "share": round(share, 4),
}
shapes

# %%
assert share < 0.012

# %% [markdown]
# Only [1.2%](fact:flow_share_with_dora) of the cells hold a code. Dora's length is charged to all four patients, and the
# width of her one hospital stay to all 200 places of each of them.
#
# ### What it costs in memory
#
# Next each cell gets a vector. Say it has 64 numbers of 4 bytes. Count the bytes, for longer and longer records of Dora's:
# of the vectors in the box; of one vector for each visit, made from the flat list; and of those laid out as
# `[patient, visit]` for the network.

# %%
each = nn.Embedding(31, 64, dtype=torch.float32)
mean = nn.EmbeddingBag(31, 64, mode="mean", dtype=torch.float32)
memory = {}
for n in [5, 50, 200, 500]:
    v = Visits.from_lists(
        [*records.values(), dora[:1] * (n - 1) + dora[-1:]],
        day=[*days, list(range(n))],
    )
    of_visits = mean(v.codes.long(), v.code_offsets[:-1])
    memory[n] = {
        "box": each(v.padded().codes.long()).nbytes,
        "one a visit": of_visits.nbytes,
        "laid out": v.pad(of_visits).nbytes,
    }
memory = pd.DataFrame(memory).T.rename_axis("Dora's visits")
memory.assign(ratio=(memory["box"] / memory["one a visit"]).round(1))

# %%
assert (memory["box"] == memory.index * 4 * 25 * 64 * 4).all()
assert (memory["one a visit"] == (memory.index + 10) * 64 * 4).all()
assert (memory["laid out"] == memory.index * 4 * 64 * 4).all()

# %% [markdown]
# For 200 visits the box takes [5,120](fact:flow_box_kilobytes) kilobytes, [95](fact:flow_memory_ratio) times what the
# visits themselves need, and 25 times what they need laid out: the width of Dora's one hospital stay. Each visit more of
# hers widens the box by 4 patients times 25 places.
#
# ## 5. One vector for each visit
#
# The model keeps a table with one line of numbers, a vector, for each code: its **embedding**. The vectors begin as random
# numbers and are changed by training. The package's default is 64 numbers for each code; here there are 6 codes and 4
# numbers, so that you can read them. A code's number says which line is its vector.

# %%
batch = Cohort(visits, outcome)
model = SurvivalRNN.for_cohort(
    batch, embedding=4, hidden=6, seed=8
).double()
table = model.encoder.embedding.weight
pd.DataFrame(table.detach().numpy(), index=schema.codes).round(4)

# %% [markdown]
# A visit becomes the **mean** of its codes' vectors. Ada's visit 1 recorded hypertension alone, and the box is two codes
# wide. What is the first number of that visit's vector?

# %%
guess = None
four_numbers = model.encoder(visits)[:, :4].detach()
wide, with_0 = table[4, 0] / 2, four_numbers[:2, 0].mean()
check.near(
    guess,
    four_numbers[1, 0],
    mistakes={
        "you divided by the width of the box; it has one code": wide,
        "you took visit 0 along; that is the LSTM's business": with_0,
        "that is the vector of another code": table[2, 0],
    },
)

# %%
embedded = model.encoder.embedding(box)  # every cell
masked = embedded * code_mask[..., None]
summed = masked.sum(dim=2)
count = code_mask.sum(dim=2, keepdim=True).clamp(min=1)
in_box = summed / count
stages = {"embedded": embedded, "summed": summed, "count": count}
stages["mean"] = in_box
pd.DataFrame({"shape": {k: list(v.shape) for k, v in stages.items()}})

# %% [markdown]
# That is the first way: embed every cell of the box, put zeros where the mask is false, add up, divide by the number of
# codes. The [chapter before](../explainer/04-broadcasting.md) explains `keepdim` and `clamp`. The second way reads the
# flat codes, and needs no mask. Do the two agree?

# %%
without_box = nn.functional.embedding_bag(
    visits.codes.long(),
    table,
    visits.code_offsets,
    mode="mean",
    include_last_offset=True,
)
difference = (visits.unpad(in_box) - without_box).abs().max()
f"{list(without_box.shape)}, at most 1e-15 apart: {difference < 1e-15}"

# %%
pushes = [
    torch.autograd.grad(way.pow(2).sum(), table)[0]
    for way in (in_box, without_box)
]
torch.testing.assert_close(*pushes, rtol=0, atol=1e-14)
assert difference < 1e-15

# %% [markdown]
# They agree in value, and in the **gradient**, which says how fast a loss would rise with each number of the table.
# `VisitEncoder.forward` takes the second way, `VisitEncoder.forward_dense` the first.
#
# ### What the padding does to a plain mean
#
# Do not count the codes, and take the mean over all cells of a visit. How long is its vector, next to the right one?

# %%
plain = visits.unpad(embedded.mean(dim=2))
ratio = (plain.norm(dim=1) / without_box.norm(dim=1)).detach()
pd.DataFrame(
    {"codes": visits.code_offsets.diff(), "plain / right": ratio}
).T.round(2)

# %%
filled = visits.code_offsets.diff() / box.shape[2]
torch.testing.assert_close(ratio[filled > 0], filled[filled > 0])

# %% [markdown]
# Code 0 has a vector of zeros, so padding adds nothing to the sum. But a plain mean divides by the width of the box, and
# the vector of a visit with one code in two cells comes out half as long. (The check-up has no codes and no length to
# compare.) In Dora's batch it would be a twenty-fifth: the same visit, another vector, because of who else is there.
#
# ### Exercise 1
#
# `vectors` holds the embedding of each code, in the order of the flat list. Compute the mean of each visit without
# `embedding_bag` and without a box: ten lines of four numbers. `visit`, from above, says which visit each code belongs to,
# and `torch.Tensor.index_add` adds lines up by such a number. The check-up has no codes; let its line be zeros.

# %%
vectors = table[visits.codes.long()].detach()
pd.DataFrame(vectors.numpy()).round(4).head(3)

# %% tags=["exercise"]
# Three steps: how many codes each visit has, the sums, the division.
means = None  # your code here

check.near(
    means,
    without_box.detach(),
    mistakes=check.values(encoding.MEAN, vectors, visits.code_offsets),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# Three steps: how many codes each visit has, the sums, the division.
how_many = visits.code_offsets.diff().clamp(min=1)[:, None]
sums = torch.zeros(visits.n_visits, 4).index_add(0, visit, vectors)
means = sums / how_many

check.near(
    means,
    without_box.detach(),
    mistakes=check.values(encoding.MEAN, vectors, visits.code_offsets),
)

# %% [markdown]
# ### Four more numbers
#
# A mean forgets how many codes there were, and knows no time. So the model writes four numbers beside it: the number of
# codes, the gap since the visit before in months, the time since the first visit in years, and the visit's number, each
# as $\log(1 + x)$.

# %%
encoder_output = model.encoder(visits).detach()
named = ["codes", "gap", "since first", "visit"]
pd.DataFrame(encoder_output[:, 4:].numpy(), columns=named).round(4)

# %%
gaps = torch.tensor([0.0, 90, 110, 0, 30, 0, 180, 185, 180, 185])
torch.testing.assert_close(
    encoder_output[:, 5], (gaps / 30).log1p(), rtol=0, atol=1e-6
)

# %% [markdown]
# ## 6. What an LSTM does with one visit
#
# An **LSTM** reads the visits of a patient in order. It carries two lists of numbers from visit to visit: a **cell** $c$,
# its memory, and a **hidden state** $s$, what it shows of it (PyTorch writes $h$; here $h$ is the hazard). Both begin as
# zeros. At each visit it computes four lists from the visit's vector $v$ and the state before, each by adding up their
# entries with weights of its own ($W$, $U$) and a constant $b$:
#
# $$ a = W v_k + U s_{k-1} + b, \qquad a = (a_i, a_f, a_g, a_o) $$
#
# $$ c_k = \sigma(a_f) \, c_{k-1} + \sigma(a_i) \tanh(a_g) $$
#
# $$ s_k = \sigma(a_o) \tanh(c_k) $$
#
# Products are entry by entry. The sigmoid $\sigma$ lies between 0 and 1 and works as a tap, called a **gate**. The forget
# gate $\sigma(a_f)$ says how much of the memory stays, the input gate $\sigma(a_i)$ how much of the candidate $\tanh(a_g)$ comes in, the output gate
# $\sigma(a_o)$ how much is shown. Here it is by hand, for Ada.

# %%
weight = dict(model.recurrence.named_parameters())
state = cell = torch.zeros(6)
by_hand, cells, all_sums = [], [], []
for vector in encoder_output[:3]:
    a = weight["weight_ih_l0"] @ vector + weight["bias_ih_l0"]
    a = a + weight["weight_hh_l0"] @ state + weight["bias_hh_l0"]
    take, keep, candidate, show_ = a.detach().chunk(4)
    cell = keep.sigmoid() * cell + take.sigmoid() * candidate.tanh()
    state = show_.sigmoid() * cell.tanh()
    by_hand.append(state)
    cells.append(cell)
    all_sums.append(a.detach())
pd.DataFrame(torch.stack(by_hand).numpy()).rename_axis("visit").round(4)

# %%
padded = visits.pad(model.encoder(visits))
states, _ = model.recurrence(padded)
torch.testing.assert_close(
    states[0, :3].detach(), torch.stack(by_hand), rtol=0, atol=1e-14
)

# %% [markdown]
# The loop gives what `nn.LSTM` gives. Its weights are the same at every visit and for every patient; only the state
# differs. After visit 2 it depends on all three of Ada's visits, and on nobody else's.
#
# ### Exercise 2
#
# Do Ada's visit 1 yourself. `a_1` holds its 24 weighted sums $a$, in torch's order input, forget, candidate, output;
# `cell_0` is her cell after visit 0. Compute the six numbers of her hidden state.

# %%
a_1, cell_0 = all_sums[1], cells[0]
{"a_1": list(a_1.shape), "cell_0": list(cell_0.shape)}

# %% tags=["exercise"]
# Cut `a_1` into four with `.chunk(4)`. Three are taps, one is not.
state_1 = None  # your code here

check.near(
    state_1,
    by_hand[1],
    mistakes=check.values(encoding.LSTM_STEP, a_1, cell_0),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# Cut `a_1` into four with `.chunk(4)`. Three are taps, one is not.
a_i, a_f, a_g, a_o = a_1.chunk(4)
cell_1 = a_f.sigmoid() * cell_0 + a_i.sigmoid() * a_g.tanh()
state_1 = a_o.sigmoid() * cell_1.tanh()

check.near(
    state_1,
    by_hand[1],
    mistakes=check.values(encoding.LSTM_STEP, a_1, cell_0),
)

# %% [markdown]
# ## 7. From states to hazards
#
# The **head** turns each state into one number, the hazard's logit: six weights and a constant, its **bias**. What hazard
# does it give to a state of zeros, before anything was read?

# %%
guess = None
of_nothing = model.head(torch.zeros(6)).sigmoid()
check.near(
    guess,
    of_nothing,
    mistakes={
        "that belongs to a bias of 0": 0.5,
        "that is the logit; the hazard is its sigmoid": model.head.bias,
        "that is events by visit, later ones too": 2 / 10,
        "that is events by patient": 2 / 3,
    },
)

# %%
torch.testing.assert_close(
    of_nothing[0], torch.tensor(2 / 8), rtol=0, atol=1e-6
)
hazard_logits = model(visits)
hazards = hazard_logits.sigmoid().detach()
pd.DataFrame(hazards.numpy(), index=records).round(4)

# %% [markdown]
# Two events in eight rows: the bias begins at the logit of the base rate, [0.25](fact:flow_base_rate), and the
# untrained hazards lie around it. [Chapter 2](../explainer/02-per-visit-bce.md) shows what that saves. NaN, not a number, stands where there
# is no visit.
#
# ### Is there nothing in the padding?
#
# Five places of the box have no visit. Here is what the LSTM and the head make there, and what is left after packing.

# %%
in_padding = ~visits.mask
from_padding = model.head(states)[..., 0].sigmoid()[in_padding]
in_a_pack, _ = model.recurrence(visits.pack(model.encoder(visits)))
packed = visits.pad(visits.unpack(in_a_pack))
pd.DataFrame(
    {
        "length of state": states.norm(dim=-1)[in_padding].detach(),
        "hazard of the head": from_padding.detach(),
        "length, packed": packed.norm(dim=-1)[in_padding].detach(),
    }
).round(4)

# %%
assert (states.norm(dim=-1)[in_padding] > 0.1).all()
assert (packed[in_padding] == 0).all()
assert hazard_logits[in_padding].isnan().all()

# %% [markdown]
# There is. An LSTM goes on over padding, its states are not zero, and the head makes hazards of them. Packing, the next
# chapter, leaves zeros there, and the head still makes a hazard of zeros: the base rate. So the model writes NaN over all
# of it, and whoever uses such a number notices.
#
# ### Every stage and its shape
#
# All tensors so far, in the order in which they were made.

# %%
stages = {
    "codes": visits.codes,
    "code offsets": visits.code_offsets,
    "visit offsets": visits.visit_offsets,
    "box of codes": box,
    "embedding table": table,
    "vectors of codes": vectors,
    "vectors in the box": embedded,
    "means": without_box,
    "with four numbers": encoder_output,
    "padded": padded,
    "states": states,
    "hazard logits": hazard_logits,
    "loss by patient": outcome_nll(hazard_logits, outcome, "none"),
    "loss": outcome_nll(hazard_logits, outcome),
}
pd.DataFrame({"shape": {k: list(v.shape) for k, v in stages.items()}})

# %% tags=["figure:pipeline_of_shapes"]
figure, axes = plt.subplots(figsize=(6.4, 6.4))
grey, orange = plots.COLOURS["muted"], plots.COLOURS["hazard"]
dotted = {"facecolor": "none", "linestyle": ":", "linewidth": 1.2}
empty = {"edgecolor": grey, **dotted}
full = {"facecolor": (grey, 0.16), "edgecolor": grey, "linewidth": 1.2}
at_middle = {"ha": "center", "va": "center"}
for place, j in enumerate(visit.tolist()):
    x = 0.88 * place + 0.17 * j + 0.3 * int(visits.patient[j])
    axes.add_patch(plt.Rectangle((x, 0), 0.84, 0.84, **full))
    code = str(int(visits.codes[place]))
    axes.text(x + 0.42, 0.44, code, **at_middle)
for i, name in enumerate(records):
    axes.text(-0.3, 3.44 + i, name, ha="right", va="center")
    for k in range(5):
        for c in range(2):
            x, y = 2.85 * k + 0.95 * c, 3 + i
            look = full if code_mask[i, k, c] else empty
            axes.add_patch(plt.Rectangle((x, y), 0.84, 0.84, **look))
            code = str(int(box[i, k, c])) if code_mask[i, k, c] else ""
            axes.text(x + 0.42, y + 0.44, code, **at_middle)
grids = {"vectors": padded, "states": states, "hazards": hazards}
for g, (name, values) in enumerate(grids.items()):
    colour = orange if name == "hazards" else grey
    for i in range(3):
        for k in range(5):
            look = {"facecolor": (colour, 0.55), "edgecolor": "none"}
            if not visit_mask[i, k]:
                look = empty
            elif name == "hazards" and k >= outcome.stop[i]:
                look = {"facecolor": "none", "edgecolor": orange}
            x, y = 5.05 * g + 0.82 * k, 8.3 + 0.82 * i
            axes.add_patch(plt.Rectangle((x, y), 0.68, 0.68, **look))
    axes.text(5.05 * g, 8.1, f"{name}\n{list(values.shape)}")
axes.text(0, -0.2, f"{n_codes} codes in a flat list, by visit")
axes.text(0, 2.8, f"box {list(box.shape)}: {n_cells - n_codes} cells empty")
axes.set(xlim=(-2.1, 14.6), ylim=(10.9, -1), aspect="equal")
axes.axis("off")
show(
    figure,
    alt=f"Top: {n_codes} numbered cells side by side, grouped by visit. "
    f"Middle: a box of {len(records)} patients, {box.shape[1]} visits and "
    f"{box.shape[2]} codes, {n_cells - n_codes} of its {n_cells} cells "
    "dotted because they are padding. Bottom: three grids of "
    "patients by visits, for vectors, states and hazards; "
    f"{int(in_padding.sum())} places are padding, and two of Cleo's "
    "hazards are hollow, because they lie after her last row.",
)

# %% [markdown]
# ## 8. The loss, and the way back
#
# The model has read visits and no outcome. The loss reads logits and outcomes, and no visit. They meet in one box of
# `[patient, visit]`. The **gradient** of the loss says for every number before it how much the loss would rise if that
# number rose a little; training moves each weight a little the other way.

# %%
hazard_logits = model(batch.visits)
hazard_logits.retain_grad()  # keep it, to be looked at
loss = outcome_nll(hazard_logits, batch.outcome)
loss.backward()
pd.DataFrame(hazard_logits.grad.numpy(), index=records).round(4)

# %%
at_risk = torch.arange(5) < outcome.stop[:, None]
assert (hazard_logits.grad[~at_risk] == 0).all()
happened = torch.zeros(3, 5)
happened[[0, 1], [2, 1]] = 1
expected = (hazards - happened)[at_risk] / 3
torch.testing.assert_close(hazard_logits.grad[at_risk], expected)

# %% [markdown]
# In a row that counts it is the hazard minus what happened, divided by three patients ([chapter 2](../explainer/02-per-visit-bce.md)). In the
# padding it is exactly 0, and in Cleo's visits 3 and 4 as well: they are real, and no row asks about them.
#
# ### Which hazard hears of which visit?
#
# How much does Cleo's logit $k$ move with the vector of visit $j$? Each cell below is the length of that gradient.

# %%
inputs = padded.detach().requires_grad_()
logits = model.head(model.recurrence(inputs)[0])[2, :, 0]
reach = torch.stack(
    [
        torch.autograd.grad(z, inputs, retain_graph=True)[0][2].norm(dim=-1)
        for z in logits
    ]
)
pd.DataFrame(reach.numpy()).rename_axis("hazard").rename_axis(
    "visit", axis="columns"
).round(4)

# %%
assert torch.equal(reach > 0, torch.ones(5, 5).tril() > 0)

# %% [markdown]
# Above the diagonal everything is exactly 0: $s_k$ is computed from $v_k$ and $s_{k-1}$, so hazard $k$ has heard of the
# visits 0 to $k$ and of no other. The loss asks for the first three rows, so the last two columns, with Cleo's asthma, send
# nothing back.
#
# ### What arrives at each code
#
# The embedding has seven vectors, that of the padding included. How many of them get a gradient of exactly 0?

# %%
gradient = table.grad
guess = None
check.same(
    guess,
    int((gradient == 0).all(1).sum()),
    mistakes={
        "the padding is one; are there codes that no row hears of": 1,
        "the padding and a code that nobody has are two; look at what "
        "Cleo's visits 3 and 4 record": 2,
        "hypertension is in Cleo's visit 3, and also in others": 4,
    },
)

# %%
in_rows = visits.index < outcome.stop[visits.patient]
counts = torch.bincount(visits.codes, minlength=7)
before_stop = torch.bincount(visits.codes[in_rows[visit]], minlength=7)
pd.DataFrame(
    {
        "recorded": counts,
        "before stop": before_stop,
        "length of gradient": gradient.norm(dim=1),
    },
    index=schema.codes,
).round(4)

# %%
assert ((gradient == 0).all(1) == (before_stop == 0)).all()

# %% [markdown]
# Three vectors, for three reasons: the padding is no code, nobody has a stroke on record, and Cleo's asthma came after her
# last row. The outcome is a mask already: what `stop` leaves out teaches nothing, however real it is.
#
# ## 9. Training
#
# One **step** is three lines and the optimiser's move. The patients of one step are a **batch**, and an **epoch** is once
# through all patients. Here three patients are one batch, so 40 steps are 40 epochs.

# %%
first_table = table.detach().clone()
optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
optimizer.zero_grad()
for _ in range(40):
    hazard_logits = model(batch.visits)
    loss = outcome_nll(hazard_logits, batch.outcome)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
trained = model.predict(visits).hazard
pd.DataFrame(trained.numpy(), index=records).round(3)

# %%
moved = (table.detach() != first_table).any(1)
assert torch.equal(moved, before_stop > 0)
pd.DataFrame({"moved": moved}, index=schema.codes)

# %% [markdown]
# The loss fell from [1.465](fact:flow_first_loss) to [0.028](fact:flow_last_loss): three patients are soon learned by heart. Asthma's vector
# has not moved by one bit. And yet Cleo's hazard after her asthma visit has become
# [0.642](fact:flow_asthma_hazard). What is that number made of? Give asthma [1,000](fact:flow_asthma_draws) other vectors,
# drawn as the first was, and list the hazards by quantile.

# %%
random = np.random.default_rng(5)
drawn, n_draws = [], 1000
for _ in range(n_draws):
    with torch.no_grad():
        table[1] = torch.from_numpy(random.normal(size=4))
    drawn.append(model.predict(visits).hazard[2, 4].item())
with torch.no_grad():
    table[1] = first_table[1]
low, high = np.quantile(drawn, [0.05, 0.95])
pd.Series(drawn).quantile([0, 0.05, 0.5, 0.95, 1]).to_frame("hazard")

# %%
assert torch.equal(model.predict(visits).hazard[2, 4], trained[2, 4])
assert low < 0.01 < 0.7 < high

# %% [markdown]
# Of the draw. No row that counts looked at asthma's vector, so with any other first vector training would have gone the
# same way, and the hazard would be another: in nine of ten draws between [0.003](fact:flow_asthma_low) and
# [0.722](fact:flow_asthma_high). A code that was never trained is not neutral; it is noise. (Weight decay, which pulls all
# weights towards 0, would shrink the vector, and teach it nothing either.)
#
# ## 10. Edit a visit
#
# Replace kidney disease by heart failure in Cleo's visit 2. Which of the ten hazards move?

# %%
edited = {**records, "Cleo": [*records["Cleo"]]}
edited["Cleo"][2] = ["heart failure", "diabetes"]
other = Visits.from_lists(list(edited.values()), day=days, schema=schema)
after = model.predict(other).hazard
change = pd.DataFrame({"before": trained[2], "after": after[2]})
change.rename_axis("Cleo's visit").round(3)

# %%
same = after == trained
assert same[visits.mask].sum() == 7
assert not same[2, 2:].any()
assert change["after"][2] > 0.4

# %% tags=["figure:edited_visit"]
figure, panels = plt.subplots(
    1, 3, sharey=True, figsize=(6.4, 3.9), width_ratios=[3.4, 2.5, 5.2]
)
for i, (name, panel) in enumerate(zip(records, panels, strict=True)):
    n = len(records[name])
    panel.bar(
        range(n),
        after[i, :n].numpy(),
        0.7,
        color=plots.COLOURS["hazard"],
        alpha=0.8,
    )
    panel.hlines(
        trained[i, :n].numpy(),
        [k - 0.42 for k in range(n)],
        [k + 0.42 for k in range(n)],
        color=plots.COLOURS["muted"],
        linewidth=3,
    )
    panel.set(xlim=(-0.6, n - 0.4), ylim=(0, 1.05), yticks=[0, 0.5, 1])
    panel.set_xticks(range(n))
    panel.set_title(name)
panels[0].set_ylabel("hazard")
panels[1].set_xlabel("visit")
words = {"color": plots.COLOURS["hazard"], "ha": "center"}
panels[2].text(2, float(after[2, 2]) + 0.03, "edited", **words)
panels[2].text(4, float(after[2, 4]) + 0.03, "after", **words)
words = {"color": plots.COLOURS["muted"], "ha": "right", "va": "center"}
panels[2].text(3.5, float(trained[2, 4]), "before", **words)
show(
    figure,
    alt="Hazards by visit, bars after and grey lines before the edit. "
    "Nothing moves for Ada and Ben, nor at Cleo's visits 0 and 1. At her "
    f"visit 2 the hazard rises from {trained[2, 2]:.3f} to "
    f"{after[2, 2]:.3f}, at visit 4 from {trained[2, 4]:.3f} to "
    f"{after[2, 4]:.3f}.",
)

# %% [markdown]
# Three: the edited visit and the two after it. Those before it are the same to the last bit, and so are all of Ada's and
# Ben's.
#
# ## 11. Where it breaks
#
# The stroke that ended Ben's row 1 brought him to hospital, and the stay is in his record as visit 2. The model may read
# it, because `stop` is 2. Now make one slip: `stop` is 3, because "he has three visits".

# %%
with_stay = {**records, "Ben": [*records["Ben"], ["stroke"]]}
stay = Visits.from_lists(
    list(with_stay.values()),
    day=[days[0], [0, 30, 47], days[2]],
    schema=schema,
)
stroke_gradient, stay_hazards, stay_loss = {}, {}, {}
for stop in (2, 3):
    ended = Outcome.of(torch.tensor([3, stop, 3]), outcome.observed)
    fresh = SurvivalRNN.for_cohort(
        Cohort(stay, ended), embedding=4, hidden=6, seed=8
    ).double()
    optimizer = torch.optim.Adam(fresh.parameters(), lr=0.03)
    for step in range(40):
        optimizer.zero_grad()
        loss = outcome_nll(fresh(stay), ended)
        loss.backward()
        if step == 0:
            stroke_row = fresh.encoder.embedding.weight.grad[6]
            stroke_gradient[stop] = stroke_row.norm().item()
        optimizer.step()
    stay_loss[stop] = loss.item()
    stay_hazards[f"stop = {stop}"] = fresh.predict(stay).hazard[1, :3]
pd.DataFrame(stay_hazards).rename_axis("Ben's visit").round(3)

# %%
assert stroke_gradient[2] == 0 < stroke_gradient[3]
assert stay_hazards["stop = 2"][1] > 0.9 > 0.1 > stay_hazards["stop = 3"][1]
assert stay_hazards["stop = 3"][2] > 0.9
assert max(stay_loss.values()) < 0.1

# %% [markdown]
# With the right `stop` the word *stroke* gets no gradient, and the model raises the hazard after visit 1, before the
# stroke. With `stop` one too large it learns to expect the event once it reads that it has happened, and to promise that
# nothing is coming after visit 1. The loss does not tell: it falls to [0.029](fact:flow_stay_loss_2) with the right `stop`
# and to [0.042](fact:flow_stay_loss_3) with the wrong one. A later chapter is about such leaks.
#
# Back to the [chapter](../explainer/05-codes-to-hazards.md), where the recap links each claim to its test.
#
# ## Numbers that the chapter quotes
#
# A page of this site can state a number only if a notebook publishes it, and the build compares the two.

# %%
fact("flow_cells", n_cells)
fact("flow_codes", n_codes)
fact("flow_padding_cells", n_cells - n_codes)
fact("flow_share_before", n_codes / n_cells)
fact("flow_share_padding", 1 - n_codes / n_cells)
fact("flow_share_with_dora", share)
fact("flow_cells_with_dora", four.padded().codes.numel())
fact("flow_codes_with_dora", len(four.codes))
for name, mistake in encoding.FILLED.items():
    value = mistake.formula(four.code_offsets, four.visit_offsets)
    fact(f"flow_share_{name}", value)
fact("flow_box_kilobytes", memory["box"][200] / 1e3)
fact("flow_laid_out_kilobytes", memory["laid out"][200] / 1e3)
fact("flow_visit_kilobytes", memory["one a visit"][200] / 1e3)
fact("flow_memory_ratio", memory["box"][200] / memory["one a visit"][200])

# %%
first = encoder_output[0]
for place in range(4):
    fact(f"flow_hypertension_{place}", first_table[4, place])
    fact(f"flow_diabetes_{place}", first_table[2, place])
    fact(f"flow_ada_mean_{place}", first[place])
    fact(f"flow_ada_numbers_{place}", first[4 + place])
for place in range(6):
    fact(f"flow_ada_state_{place}", by_hand[0][place])
fact("flow_half_hypertension_0", first_table[4, 0] / 2)
fact("flow_twentyfifth_hypertension_0", first_table[4, 0] / 25)
fact("flow_two_visits_0", four_numbers[:2, 0].mean())

# %%
fact("flow_base_rate", of_nothing.detach())
fact("flow_bias", torch.logit(torch.tensor(2 / 8)))
fact("flow_ada_logit", hazards[0, 0].logit())
fact("flow_ada_hazard", hazards[0, 0])
for i, name in enumerate(["ada", "ben", "cleo"]):
    for k in range(int(visits.length[i])):
        fact(f"flow_{name}_first_hazard_{k}", hazards[i, k])
first_loss = outcome_nll(torch.logit(hazards), outcome)
fact("flow_first_loss", first_loss)
fact("flow_last_loss", outcome_nll(torch.logit(trained), outcome))
fact("flow_padded_state", states.detach().norm(dim=-1)[in_padding].min())
for name, length_ in zip(
    schema.codes[1:], gradient.norm(dim=1)[1:], strict=True
):
    fact(f"flow_gradient_{name.replace(' ', '_')}", length_)

# %%
fact("flow_asthma_hazard", trained[2, 4])
fact("flow_asthma_draws", n_draws)
fact("flow_asthma_low", low)
fact("flow_asthma_high", high)
for k in range(5):
    fact(f"flow_cleo_before_{k}", trained[2, k])
    fact(f"flow_cleo_after_{k}", after[2, k])
for stop in (2, 3):
    for k in range(3):
        value = stay_hazards[f"stop = {stop}"][k]
        fact(f"flow_ben_stop_{stop}_hazard_{k}", value)
fact("flow_stroke_gradient", stroke_gradient[3])
for stop in (2, 3):
    fact(f"flow_stay_loss_{stop}", stay_loss[stop])
