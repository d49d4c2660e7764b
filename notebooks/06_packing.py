# %% [markdown]
# # Packing, step by step
#
# Here you run the chapter [Packing](../explainer/06-packing.md), one idea a cell. Cells that begin with `guess = None`
# ask you first: put your answer there and run the cell again. The notebook also runs untouched, from top to bottom.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from visitwise import check, plots
from visitwise.check import packing
from visitwise.functional import hazard_nll
from visitwise.model import SurvivalRNN
from visitwise.notebook import fact, show
from visitwise.simulate import TEACHING
from visitwise.staircase import stretches
from visitwise.training import fit
from visitwise.visits import Visits
from visitwise.widgets import PackingBench

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
plt.style.use("visitwise.survival")

# %% [markdown]
# ## 1. Who else is in the waiting room
#
# Train a small model for a few seconds. Its **LSTM** reads the visits of a patient one after the other and keeps a
# **state**, a list of numbers that sums up what it has read; from the state at a visit it computes the hazard there.

# %%
cohort = TEACHING.draw(2_000, seed=1).cohort
train, validation = cohort.split([0.8, 0.2], seed=0)
model = SurvivalRNN.for_cohort(train, embedding=8, hidden=32, path="padded")
model = model.double()
how = {"epochs": 3, "batch_size": 32, "learning_rate": 1e-2}
fit(model, train, validation, progress=False, **how)
model.requires_grad_(False).recurrence

# %% [markdown]
# Now 500 other patients. `encoder` makes a vector of each visit. `pad` puts the vectors into a **box**, a row for each
# patient and a column for each visit of the longest record; what is left is **padding**, filled with zeros. The LSTM
# runs over the whole box.

# %%
new = TEACHING.draw(500, seed=3).cohort.visits
vectors = model.encoder(new)
box = new.pad(vectors)
states, _ = model.recurrence(box)
pd.DataFrame({"shape": map(list, [vectors.shape, box.shape, states.shape])})

# %% [markdown]
# Fay is the patient with three visits whose last hazard is the highest. Her state after three visits stands in column
# 2 of her row.

# %%
three = (new.length == 3).nonzero()[:, 0]
hazards = torch.sigmoid(model.head(states[three])[..., 0])
hazards = hazards[hazards[:, 2].argsort(descending=True)]
fay = hazards[0]
fay_alone = fay[2].item()
round(fay_alone, 3)

# %% [markdown]
# Many programs read the *last* column instead: `states[:, -1]`, or `h_n`, which holds the same state. For Fay it comes
# after 37 columns of padding. What hazard does it give?

# %%
guess = None
check.near(
    guess,
    fay[-1],
    mistakes={
        "that is her hazard; the last column is far behind it": fay[2],
        "so it is after one column of padding; there are more": fay[3],
        "zeros are read like any visit, and the state moves on": 0.0,
    },
    tolerance=0.003,
)

# %%
longest = torch.tensor([3, 4, 5, 8, 13, 40])
read = pd.Series(fay[longest - 1], index=longest.tolist()).round(3)
read.rename("Fay's hazard").rename_axis("longest record").to_frame()

# %%
predicted = model.predict(new).hazard[three, 2]
torch.testing.assert_close(predicted.max(), fay[2])
assert fay[2] > 0.25 > 0.05 > fay[-1]

# %% [markdown]
# Alone her hazard is [0.316](fact:waiting_alone). If somebody with 40 visits shares the batch, the last column says
# [0.015](fact:waiting_with_40). Nothing about Fay has changed.

# %% tags=["figure:waiting_room"]
figure, axes = plt.subplots(figsize=(5.4, 4.0))
columns = torch.arange(3, 41)
for patient in hazards[:8]:
    axes.plot(
        columns, patient[2:], color=plots.COLOURS["wrong"], linewidth=1.3
    )
    axes.plot(3, patient[2], "o", color=plots.COLOURS["hazard"])
axes.text(
    4.2, fay[2], "read at the last visit", color=plots.COLOURS["hazard"]
)
axes.text(
    14, 0.035, "read in the last column", color=plots.COLOURS["wrong"]
)
axes.set(
    xlabel="visits of the longest record in the batch",
    ylabel="hazard, after three visits",
    xlim=(2, 41),
    ylim=(0, None),
)
show(
    figure,
    alt="Eight patients with three visits each. Read at their last visit, "
    f"their hazards lie between {hazards[7, 2]:.2f} and {hazards[0, 2]:.2f}."
    " Read in the last column they move together as the batch grows longer,"
    f" and with a record of 40 visits all are {fay[-1]:.3f}.",
)

# %%
assert hazards[:, -1].max() - hazards[:, -1].min() < 1e-4
assert model(new)[three, -1].isnan().all()

# %% [markdown]
# The padding has washed everybody's record away. This package's model gives NaN in those cells, so that nobody takes
# them for hazards.
#
# ## 2. What a packed sequence holds
#
# A `PackedSequence` is PyTorch's way to run a recurrence without padding. Four patients with 2, 5, 3 and 1 visits:

# %%
names, lengths = ["Ben", "Dan", "Ada", "Eve"], [2, 5, 3, 1]
four = Visits.from_lists(
    [[["check-up"]] * n for n in lengths], day=[range(n) for n in lengths]
)
length = four.length
length

# %% [markdown]
# Its field `data` holds what is packed. How many rows has it?

# %%
guess = None
rows = torch.arange(four.n_visits)
packed = four.pack(rows)
mistakes = check.values(packing.ROWS, length)
check.near(guess, len(packed.data), mistakes=mistakes)

# %% [markdown]
# To see the order, pack the numbers 0 to 10, one for each visit, and look up whose visits they are.

# %%
whose = [
    f"{name} {k}"
    for name, n in zip(names, lengths, strict=True)
    for k in range(n)
]
pd.DataFrame({"data": [whose[row] for row in packed.data]}).T

# %% [markdown]
# First all first visits, the longest record first; then all second visits, and so on. `batch_sizes` says how many rows
# belong to each. What is it?

# %%
guess = None
mistakes = check.values(packing.BATCH_SIZES, length)
check.same(guess, packed.batch_sizes, mistakes=mistakes)

# %%
pd.DataFrame({"batch_sizes": packed.batch_sizes}).T.rename_axis(
    "visit", axis="columns"
)

# %% [markdown]
# Two more fields lead there and back. `sorted_indices` says which patient stands at each place, from the longest record
# to the shortest: Dan, Ada, Ben, Eve, which is 1, 2, 0, 3. `unsorted_indices` says at which place each patient stands.
# What is it?

# %%
guess = None
mistakes = check.values(packing.UNSORTED_INDICES, length)
check.same(guess, packed.unsorted_indices, mistakes=mistakes)

# %%
fields = {
    "sorted_indices": packed.sorted_indices,
    "unsorted_indices": packed.unsorted_indices,
}
pd.DataFrame(fields).T

# %%
torchs = pack_padded_sequence(
    four.pad(rows), length, batch_first=True, enforce_sorted=False
)
for ours, theirs in zip(packed, torchs, strict=True):
    assert torch.equal(ours, theirs)
assert torch.equal(four.unpack(packed), rows)

# %% [markdown]
# PyTorch's own `pack_padded_sequence` gives the same four fields. `Visits.pack` needs no box, and `unpack` brings the
# values back in the order of the visits.
#
# The next figure packs four patients of any length: drag the ends of their records, or the line over the packed ones,
# which moves the columns into `data`. Below, a tiny LSTM with fixed weights reads them padded and packed.

# %% tags=["figure:packing_bench"]
bench = PackingBench(lengths=lengths)
bench

# %% [markdown]
# The numbers are the rows of `data`. Packed there is no padding; the LSTM takes one column at a time, and each column
# is as high as there are patients left. The next cells pack the lengths that you set, and run the same LSTM, in
# PyTorch, over the box and over what is packed. They stop if what they find is not on show.

# %%
dragged = torch.tensor(bench.lengths)
width = int(dragged.max())
real = torch.arange(width) < dragged[:, None]
visits = torch.tensor(bench.given["visits"])[:, :width]
box_of_four = visits.where(real[..., None], bench.pad)
packed_four = pack_padded_sequence(box_of_four, dragged, True, False)
bench.agrees(rows=len(packed_four.data), cells=real.numel())

# %%
both_halves = bench.bidirectional
tiny = torch.nn.LSTM(2, 3, batch_first=True, bidirectional=both_halves)
weights = bench.given["weights"]
own = {name: torch.tensor(weights[name]) for name in tiny.state_dict()}
tiny.load_state_dict(own)
tiny.requires_grad_(False)
states_padded, (end_padded, _) = tiny(box_of_four)
states_packed, (end_packed, _) = tiny(packed_four)
back, _ = pad_packed_sequence(states_packed, batch_first=True)
at_visits = (states_padded - back)[real].abs().max()
at_end = (end_padded - end_packed).abs().max()
bench.agrees(most_apart=at_visits, h_n_most_apart=at_end)

# %%
if not bench.bidirectional:
    assert at_visits < 1e-12
if len(set(bench.lengths)) > 1:
    assert at_end > 1e-3

# %% [markdown]
# Section 3 asks why the states at visits are the same, section 4 why `h_n` is not.
#
# ### Exercise 1
#
# Compute `batch_sizes` from `length` alone, as a tensor with one number for each visit of the longest record.

# %% tags=["exercise"]
# Visit k has a row for each patient with more than k visits.
# A column, `length[:, None]`, compared with a row gives a table.
batch_sizes = None  # your code here

check.same(
    batch_sizes,
    packed.batch_sizes,
    mistakes=check.values(packing.BATCH_SIZES, length),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# Visit k has a row for each patient with more than k visits.
# A column, `length[:, None]`, compared with a row gives a table.
visit = torch.arange(5)
batch_sizes = (length[:, None] > visit).sum(0)

check.same(
    batch_sizes,
    packed.batch_sizes,
    mistakes=check.values(packing.BATCH_SIZES, length),
)

# %% [markdown]
# ## 3. What packing does not change
#
# Take 64 patients. Run the LSTM over their box, and over the same visits packed. How far apart are the states at real
# visits?

# %%
batch = new.select(torch.arange(64))
x = model.encoder(batch)
padded, (h_padded, _) = model.recurrence(batch.pad(x))
through_packing, (h_packed, _) = model.recurrence(batch.pack(x))
apart = (batch.unpad(padded) - batch.unpack(through_packing)).abs().max()
guess = None
check.near(
    guess,
    apart,
    mistakes={"so far apart are the states in the last column": 0.1},
    tolerance=1e-12,
)

# %%
assert apart < 1e-12

# %% [markdown]
# Nothing but rounding. A forward LSTM reads from the first visit to the last, so what stands behind a visit comes too
# late to touch it. Then neither the amount of padding nor what it is filled with can matter:

# %%
changed = {}
for columns, fill in [(1, 0.0), (10, 0.0), (100, 0.0), (100, 1e6)]:
    more = torch.full((64, columns, x.shape[1]), fill)
    longer, _ = model.recurrence(torch.cat([batch.pad(x), more], 1))
    difference = batch.unpad(longer[:, : padded.shape[1]]) - batch.unpad(
        padded
    )
    changed[columns, fill] = difference.abs().max().item() < 1e-12
pd.Series(changed, name="equal").rename_axis(["columns", "fill"]).to_frame()

# %%
assert all(changed.values())

# %% [markdown]
# ### The loss and its gradient
#
# The **gradient** says how the loss changes with each weight, and training follows it. Does padding dilute it? A twin of
# the model with the same weights runs packed.

# %%
settings = {"embedding": 8, "hidden": 32}
twin = SurvivalRNN.for_cohort(train, path="packed", **settings).double()
twin.load_state_dict(model.state_dict())
model.requires_grad_(True)
outcome = train.outcome
losses, gradients = {}, {}
for name, each in {"padded": model, "packed": twin}.items():
    loss = hazard_nll(each(train.visits), outcome.stop, outcome.observed)
    found = torch.autograd.grad(loss, list(each.parameters()))
    losses[name] = loss.item()
    gradients[name] = torch.cat([part.flatten() for part in found])
pd.Series(losses, name="loss").to_frame().round(6)

# %%
model.requires_grad_(False)
distance = (gradients["padded"] - gradients["packed"]).abs().max()
assert abs(losses["padded"] - losses["packed"]) < 1e-12
assert distance < 1e-12 < gradients["padded"].abs().max()

# %% [markdown]
# The same loss, and the same gradient in every entry, to rounding. The rows that do not exist have no part in the
# loss, so nothing flows back from them that could dilute anything.
#
# ## 4. What it does change
#
# `h_n` is the state that the LSTM ends with. Run packed, it ends at each patient's own last visit; run over the box, at
# the last column.

# %%
wrong = (h_padded[-1] - h_packed[-1]).abs().amax(-1) > 1e-9
shorter = batch.length < batch.length.max()
counts = {"h_n differs": int(wrong.sum()), "padded": int(shorter.sum())}
pd.Series(counts, name="patients").to_frame()

# %%
assert torch.equal(wrong, shorter)

# %% [markdown]
# It is wrong for exactly those who have padding.
#
# ### Exercise 2
#
# You need no packing to get it right. From the padded states and the lengths alone, take the state at each patient's
# own last visit: a tensor of shape `[64, 32]`.

# %% tags=["exercise"]
# Visits are counted from 0. `padded[rows, columns]` with two tensors
# of whole numbers takes one cell for each pair.
last_state = None  # your code here

check.near(
    last_state,
    h_packed[-1],
    mistakes=check.values(packing.LAST_STATE, padded, batch.length),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# Visits are counted from 0. `padded[rows, columns]` with two tensors
# of whole numbers takes one cell for each pair.
last_state = padded[torch.arange(64), batch.length - 1]

check.near(
    last_state,
    h_packed[-1],
    mistakes=check.values(packing.LAST_STATE, padded, batch.length),
)

# %% [markdown]
# ### Two directions
#
# A **bidirectional** LSTM adds a second one that reads from the last visit to the first. Which of the two halves does
# padding reach at real visits?

# %%
both_ways = SurvivalRNN.for_cohort(
    train, path="packed", bidirectional=True, demonstration=True, **settings
).double()
both_ways.requires_grad_(False)
v = both_ways.encoder(batch)
in_box = batch.unpad(both_ways.recurrence(batch.pad(v))[0])
without = batch.unpack(both_ways.recurrence(batch.pack(v))[0])
forward, backward = (in_box - without).abs().split(32, dim=-1)
pd.Series(
    {
        "forward half": forward.max().item() > 1e-12,
        "backward half": backward.max().item() > 1e-12,
    },
    name="reached",
).to_frame()

# %%
assert forward.max() < 1e-12 < 0.05 < backward.max()

# %% [markdown]
# The backward half begins in the padding and carries it into every real visit, by up to [0.13](fact:packing_backward).
# This package refuses a bidirectional model on the padded path. (It would be no model for hazards anyway: its hazards
# have seen the visits that come after.)
#
# ### Padding on the left
#
# Put the padding *before* the visits, as some tokenisers for text do.

# %%
width, patient = padded.shape[1], torch.arange(64)[:, None]
to_the_right = torch.arange(width) + batch.length[:, None]
to_the_left = torch.arange(width) - batch.length[:, None]
padded_left = batch.pad(x)[patient, to_the_right % width]
from_left, _ = model.recurrence(padded_left)
back = from_left[patient, to_the_left % width]
moved = (
    torch.sigmoid(model.head(batch.unpad(back)))
    - torch.sigmoid(model.head(batch.unpad(padded)))
).abs()
moved.max()

# %%
assert moved.max() > 0.01

# %% [markdown]
# Hazards at real visits move by up to [0.027](fact:packing_left), because now the LSTM has read padding before it sees
# a visit. `states[:, -1]` is then the right column, with the wrong state in it.
#
# ## 5. Where it breaks
#
# `pack_padded_sequence` wants lengths. Many programs compute them as `mask.sum(1)`, the number of cells marked as real.
# Here a visit in the middle is marked as missing. Which columns are packed?

# %%
guess = None
mask = torch.tensor([[True, False, True, True, False]])
column = torch.arange(5)[None]
with_hole = pack_padded_sequence(column, mask.sum(1), batch_first=True)
check.same(
    guess,
    with_hole.data,
    mistakes={
        "so it would be if the mask were looked at; only its sum is": [
            0,
            2,
            3,
        ]
    },
)

# %%
pd.DataFrame({"packed": with_hole.data, "real": column[mask]}).T

# %%
assert with_hole.data.tolist() == [0, 1, 2] != column[mask].tolist()

# %% [markdown]
# The hole goes in and the last visit stays out, without a word. A sum of a mask is a length only if the real cells come
# first. The mask of `Visits` is made from lengths, so it cannot have holes.
#
# ### Lengths that are refused
#
# One patient without any visit, or lengths that are not sorted while `enforce_sorted` has its usual value `True`:

# %%
refused = {}
three_columns = torch.zeros(2, 3, 1)
for given in ([3, 0], [1, 3]):
    try:
        pack_padded_sequence(three_columns, torch.tensor(given), True)
    except RuntimeError as error:
        refused[str(given)] = str(error).split(".")[0].split(" (")[0]
for given, said in refused.items():
    print(f"{given}: {said}")

# %%
try:
    Visits.from_lists([[["check-up"]], []], day=[[0], []])
except ValueError as error:
    refused["Visits"] = str(error)
refused["Visits"]

# %%
assert len(refused) == 3

# %% [markdown]
# `Visits` refuses such a patient when it is made, by name, so that packing never meets one. And `pack` sorts by itself.
#
# ### A box that shrinks
#
# The way back to a box makes it as wide as the longest record *it was given*. If the other tensors of the batch are
# wider, because the batch is a part of a larger one, they no longer fit.

# %%
part = pack_padded_sequence(
    torch.zeros(2, 8, 1), torch.tensor([5, 2]), batch_first=True
)
shrunk, _ = pad_packed_sequence(part, batch_first=True)
kept, _ = pad_packed_sequence(part, batch_first=True, total_length=8)
shrunk.shape[1], kept.shape[1]

# %%
assert (shrunk.shape[1], kept.shape[1]) == (5, 8)

# %% [markdown]
# `total_length` keeps the width.
#
# ## 6. Steps, counted
#
# A **step** is one visit of one patient through the LSTM. Packing saves the steps spent on padding. So does sorting: put
# patients of like length into one batch. For each real visit of the training patients, how many steps does each way
# take, in batches of 64?

# %%
ways = {
    "random batches": list(train.batches(64, seed=0)),
    "sorted within 8 batches": list(train.batches(64, seed=0, window=8)),
    "all sorted": list(train.batches(64, seed=0, window=25)),
}
steps = {
    way: sum(len(b) * int(b.visits.length.max()) for b in batches)
    / train.visits.n_visits
    for way, batches in ways.items()
} | {"packed": 1.0}
pd.Series(steps, name="steps for each visit").to_frame().round(2)

# %%
ordered = ["random batches", "sorted within 8 batches", "all sorted"]
assert steps[ordered[0]] > steps[ordered[1]] > steps[ordered[2]] > 1

# %% [markdown]
# Random batches take [3.44](fact:packing_steps_random) steps for each visit, batches sorted within a window of 8 take
# [1.30](fact:packing_steps_window_8). Steps are not seconds: what each way costs in time stands on
# [the page](../explainer/06-packing.md#steps-are-not-seconds), where it was measured.
#
# The notes that this course grew from count the same way: 32 patients, up to 50 visits, 15 on average.

# %%
notes_steps = (32 * 50) / (32 * 15)
round(notes_steps, 2)

# %% [markdown]
# That is the steps saved by packing, and nothing about time.
#
# ### The price of sorting
#
# A batch of patients with like lengths is no random sample. How many events does it have for each row, the number that
# a hazard is learned from?

# %%
rates = {
    way: torch.stack(
        [b.outcome.observed.sum() / b.outcome.n_rows for b in batches]
    )
    for way, batches in ways.items()
}
lowest_highest = {
    way: [r.min().item(), r.max().item()] for way, r in rates.items()
}
pd.DataFrame(lowest_highest, index=["lowest", "highest"]).T.round(3)

# %%
assert rates["all sorted"].max() > 2 * rates["random batches"].max()
assert rates["all sorted"].min() < rates["random batches"].min() / 5

# %% [markdown]
# In random batches there are between [0.018](fact:packing_rate_lowest_random) and [0.035](fact:packing_rate_highest_random) events for
# each row. In sorted batches it is anything between [0.002](fact:packing_rate_lowest_sorted) and
# [0.094](fact:packing_rate_highest_sorted), because a record is short when an event has ended it. So each step follows a biased
# sample, and a mean over each batch's rows would make the few rows of the short records count as much as the many of
# the long ones.
#
# ### The staircase
#
# Is there a way through a *random* batch that takes few steps, and few calls? Sort Ben (2 visits), Dan (5), Ada (3) and
# Eve (1) by length. Packing takes a call for each visit, with four, three, two, one and one patient; the box takes one
# call and 20 cells. In between, cut the visits into a few stretches, and on each run over a box of those who are still
# there. If one more call costs as much as 3 cells, where do you cut?

# %%
four_lengths = torch.tensor([2, 5, 3, 1])
cut = stretches(four_lengths, call=3)
pd.DataFrame(cut)

# %% [markdown]
# After two visits: a box of all four, then one of Dan and Ada, which begins with the states in which the first left
# them. How many cells are padding?

# %%
cells = sum((end - first) * n_patients for first, end, n_patients in cut)
padding = {
    "box": 4 * 5 - int(four_lengths.sum()),
    "staircase": cells - int(four_lengths.sum()),
}
padding

# %%
assert len(cut) == 2
assert padding["staircase"] < padding["box"] / 2

# %% [markdown]
# And in the random batches above? Here a call counts as 160 cells, about what it takes on the machine that we
# measured.

# %%
cuts = [stretches(batch.visits.length) for batch in ways["random batches"]]
stairs = sum((end - first) * n for cut in cuts for first, end, n in cut)
calls = sum(len(cut) for cut in cuts) / len(cuts)
round(stairs / train.visits.n_visits, 2), round(calls, 1)

# %%
assert stairs / train.visits.n_visits < steps["random batches"] / 2
assert calls < 8

# %% [markdown]
# So a random batch takes [1.4](fact:packing_steps_stairs) steps for each visit, in about [3](fact:packing_calls) calls. It is the
# same model, with the same hazards and the same gradient; `path="staircase"` asks for it. Unless told otherwise, a model
# goes one step further and lays several records end to end in one row (`path="rows"`).

# %%
stairs_twin = SurvivalRNN.for_cohort(train, path="staircase", **settings)
stairs_twin = stairs_twin.double()
stairs_twin.load_state_dict(model.state_dict())
apart = (stairs_twin(new) - model(new))[new.mask].abs().max().item()
assert apart < 1e-12

# %% [markdown]
# Back to the [chapter](../explainer/06-packing.md), which says when to pack and when not, or on to
# [chapter 7](../explainer/07-three-masks.md).
#
# ## Numbers that pages quote

# %%
fact("waiting_alone", fay[2])
fact("waiting_with_4", fay[3])
fact("waiting_with_5", fay[4])
fact("waiting_with_40", fay[-1])

# %%
fact("packing_backward", backward.max())
fact("packing_left", moved.max())
fact("packing_rounding", 1e-12)

# %%
fact("packing_notes_steps", notes_steps)
fact("packing_steps_random", steps["random batches"])
fact("packing_steps_window_8", steps["sorted within 8 batches"])
fact("packing_steps_all_sorted", steps["all sorted"])
fact("packing_steps_stairs", stairs / train.visits.n_visits)
fact("packing_calls", calls)
fact("packing_box_padding", padding["box"])
fact("packing_stairs_padding", padding["staircase"])
for way, name in [("random batches", "random"), ("all sorted", "sorted")]:
    fact(f"packing_rate_lowest_{name}", rates[way].min())
    fact(f"packing_rate_highest_{name}", rates[way].max())
