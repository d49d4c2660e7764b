# %% [markdown]
# # Three masks, step by step
#
# Here you run the chapter [Three masks](../explainer/07-three-masks.md), one idea a cell. Cells that begin with
# `guess = None` ask you first: put your answer there and run the cell again. The notebook also runs untouched, from top
# to bottom.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch

from visitwise import check, plots
from visitwise.check import masks
from visitwise.cohort import Cohort, Outcome
from visitwise.functional import hazard_nll
from visitwise.model import SurvivalRNN
from visitwise.notebook import fact, show
from visitwise.textbook import (
    MASKS,
    TextbookLSTM,
    change_in_company,
    clamp_and_log_nll,
    collate,
    effects_of_masks,
    weights_of_codes,
)
from visitwise.visits import Visits
from visitwise.widgets import MaskSwitchboard

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
plt.style.use("visitwise.survival")

# %% [markdown]
# ## 1. Three patients in a box
#
# Ada, Ben and Cleo come from [chapter 1](../explainer/01-hazard-to-likelihood.md). Now each of their visits has
# **codes**: numbers that stand for diagnoses (others than in [chapter 5](../explainer/05-codes-to-hazards.md)). Cleo's
# visit 1 is now an admission with six of them. A network that reads
# a *tensor*, a block of numbers with straight sides, needs all visits of equal width and all patients of equal length,
# so the gaps are filled with **padding**, the number 0.

# %%
ada = [[1, 2], [3], [2, 4]]
ben = [[5], [1, 6]]
cleo = [[2], [1, 2, 3, 4, 5, 6], [3]]
records = [ada, ben, cleo]
batch = codes, code_mask, visit_mask = collate(records)
pd.DataFrame(codes[1]).rename_axis("Ben's visit").rename_axis(
    "cell", axis="columns"
)

# %%
n_cells, n_codes = codes.numel(), int(code_mask.sum())
n_padded = int((~visit_mask).sum())
assert codes.shape == (3, 3, 6)
assert n_padded == 1
assert (codes != 0).equal(code_mask)

# %% [markdown]
# Of the [54](fact:masks_cells) cells of the box [16](fact:masks_codes) are codes. Ben's third visit never was; all of
# it is padding. A **mask** is a tensor of yes and no that says which cells are real: `code_mask` for codes, `visit_mask`
# for visits. The survival network of our teaching notes multiplies by a mask in four places, and calls them three masks.

# %% tags=["figure:masks_in_the_pipeline"]
figure, axes = plt.subplots(figsize=(6.4, 6.0))
real = {"color": plots.COLOURS["survival"], "linewidth": 2}
padded = {
    "color": plots.COLOURS["muted"],
    "linewidth": 1.2,
    "linestyle": ":",
}


def cell(x, y, width, height, text, is_real):
    style = real if is_real else padded
    box = plt.Rectangle((x, y), width, height, fill=False, **style)
    axes.add_patch(box)
    axes.text(
        x + width / 2,
        y + height / 2,
        text,
        color=style["color"],
        ha="center",
        va="center_baseline",
    )


for visit in range(3):
    made = bool(visit_mask[1, visit])
    for place in range(6):
        x, y = 1.5 * visit + 0.4 * (place % 3), 4.9 - 0.5 * (place // 3)
        number = int(codes[1, visit, place])
        cell(x, y, 0.4, 0.5, str(number), number != 0)
    for y, text in [
        (3.2, f"visit {visit}"),
        (1.8, ("0.15", "0.25", "0")[visit]),
        (0.4, ("survived", "event", "none")[visit]),
    ]:
        cell(1.5 * visit, y, 1.2, 0.6, text, made)
    for top, bottom in [(4.35, 3.85), (3.15, 2.45), (1.75, 1.05)]:
        axes.annotate(
            "",
            (1.5 * visit + 0.6, bottom),
            (1.5 * visit + 0.6, top),
            arrowprops={"arrowstyle": "->", "color": padded["color"]},
        )
for y, words in [
    (4.9, "mask 1: which codes\nare summed, and\nhow many count"),
    (3.5, "the LSTM has\nno mask"),
    (2.1, "mask 2: hazard\ntimes mask"),
    (0.7, "mask 3: which\nrows are charged"),
]:
    axes.text(4.5, y, words, va="center")
axes.set(xlim=(-0.05, 7.1), ylim=(0.3, 5.6))
axes.axis("off")
show(
    figure,
    alt="Ben's codes become visits, visits become hazards, hazards meet "
    "the rows of the loss. Mask 1 acts on the codes within a visit, "
    "mask 2 on the hazards, mask 3 on the rows. The third visit is "
    "padding all the way down.",
)

# %% [markdown]
# ## 2. The first mask: codes within a visit
#
# The vector of a visit is the mean of the vectors of its codes. Let vectors have one number: Ben's second visit holds a
# code with the number 2 and one with the number 4, and the padding has the number 0. The mask acts twice, in the *sum*
# and in the *count*. What does the visit become if the sum is masked and the count is not?

# %%
guess = None
code_values = torch.tensor([2.0, 4.0, 0.0, 0.0, 0.0, 0.0])
is_code = code_mask[1, 1]
check.near(
    guess,
    (code_values * is_code).sum() / len(is_code),
    mistakes=check.values(masks.UNMASKED_COUNT, code_values, is_code),
)

# %%
by_count = {
    "count masked": (code_values * is_code).sum() / is_code.sum(),
    "count not masked": (code_values * is_code).sum() / len(is_code),
    "neither masked": code_values.sum() / len(is_code),
}
pd.Series(by_count, name="Ben's second visit").to_frame().astype(float)

# %%
assert by_count["count not masked"] == by_count["neither masked"]

# %% [markdown]
# Without the mask in the count, Cleo's admission makes Ben's visit smaller: the box is as wide as the fullest visit of
# the batch. The mask in the *sum* changes nothing here, because the padding's number is 0.
#
# ## 3. The second and the third mask: padded visits
#
# The LSTM gives a hazard at Ben's third visit, too, although there is no such visit. Take Ben's hazards of chapter 1,
# [0.15](fact:masks_ben_hazard_0) and [0.25](fact:masks_ben_hazard_1), and let the one in the padding be
# [0.4](fact:masks_padded_hazard). His event is in row 1. Leave out both masks, the one that turns the padded hazard into
# 0 and the one that takes the row out of the loss. By how much does his loss change?

# %%
guess = None
at_ben = torch.tensor([[0.15, 0.25, 0.4]])
made = visit_mask[1:2]
label = torch.tensor([2]), torch.tensor([True])
both = clamp_and_log_nll(at_ben * made, *label, made)
neither = clamp_and_log_nll(at_ben, *label)
check.near(
    guess,
    neither - both,
    mistakes=check.values(masks.PADDED_ROW, at_ben[0, 2]),
)

# %%
four = pd.DataFrame(
    {
        "hazard * mask": [both, clamp_and_log_nll(at_ben * made, *label)],
        "hazard": [clamp_and_log_nll(at_ben, *label, made), neither],
    },
    index=["mask in the loss", "no mask in the loss"],
).astype(float)
four

# %%
assert four.stack().nunique() == 1
torch.testing.assert_close(both, hazard_nll(at_ben.logit(), *label))

# %% [markdown]
# By nothing, to the last bit: [1.548813](fact:masks_ben_nll) four times. The label already says which rows count: all
# before row 1 were survived, row 1 is the event, and row 2 is mentioned nowhere. What a valid label does not ask for, no
# mask has to hide.
#
# ## 4. All sixteen ways, in four worlds
#
# Now the whole network, with first weights (seed 2) that nobody trained. Switch each mask off and on, and compare the loss and
# its **gradient**, the slope of the loss at every weight, with the run that has all masks. Do this in four worlds:
# the usual one; one where the padding has a vector like any other code (no `padding_idx`); one where a second LSTM reads
# the visits from the last to the first (bidirectional); and one where Ben's event is labelled one row too late, in row 2.

# %%
stop, observed = torch.tensor([3, 2, 3]), torch.tensor([True, True, False])
late = torch.tensor([3, 3, 3])
network = {"n_codes": 7, "embedding": 4, "hidden": 5, "seed": 2}
valid = records, stop, observed
worlds = {
    "usual": effects_of_masks(*valid, **network),
    "no padding_idx": effects_of_masks(*valid, padding_idx=None, **network),
    "bidirectional": effects_of_masks(
        *valid, bidirectional=True, **network
    ),
    "late label": effects_of_masks(records, late, observed, **network),
}
f"{sum(map(len, worlds.values()))} runs"

# %% [markdown]
# Before you look: in the usual world, which one mask changes the loss when it is the only one left out? The four are
# called "code sum", "code count", "hazard" and "loss".

# %%
guess = None
usual = {effect.off: effect for effect in worlds["usual"]}
check.same(
    guess,
    "code count",
    mistakes={
        "the padding's vector is 0, and adding 0 changes no sum": "code sum",
        "no valid label asks for a padded hazard": "hazard",
        "a valid label names its rows without it": "loss",
    },
)

# %%
left_out = [", ".join(effect.off) or "none" for effect in worlds["usual"]]
loss_change = pd.DataFrame(
    {
        world: [effect.loss_change for effect in effects]
        for world, effects in worlds.items()
    },
    index=pd.Index(left_out, name="left out"),
)
loss_change.map(lambda change: f"{change:+.4f}" if change else "0")

# %%
gradient_change = pd.DataFrame(
    {
        world: [effect.gradient_change for effect in effects]
        for world, effects in worlds.items()
    },
    index=pd.Index(left_out, name="left out"),
)
gradient_change.map(lambda change: f"{change:.4f}" if change else "0")

# %% [markdown]
# The first table is the change of the loss, the second the largest change of any slope. A bare 0 is exactly 0. So that
# you need not trust your eyes, here is which masks each world hangs on.

# %%
off = [set(effect.off) for effect in worlds["usual"]]
count = pd.Series(["code count" in o for o in off], index=left_out)
summed = pd.Series(["code sum" in o for o in off], index=left_out)
in_loss = pd.Series(["loss" in o for o in off], index=left_out)
hazard_too = pd.Series(["hazard" in o for o in off], index=left_out)
for change in (loss_change, gradient_change):
    assert ((change["usual"] != 0) == count).all()
    assert ((change["bidirectional"] != 0) == count).all()
    assert ((change["no padding_idx"] != 0) == (count | summed)).all()
assert ((loss_change["late label"] != 0) == (count | in_loss)).all()
moved = gradient_change["late label"] != 0
assert (moved == (count | (in_loss & hazard_too))).all()

# %% [markdown]
# - **Usual**: only the count.
# - **No `padding_idx`**: the count and the sum, and the sum is the larger one.
# - **Bidirectional**: only the count. (And yet this world is broken, see section 6.)
# - **Late label**: the count and the mask in the loss. Without the mask in the loss alone, the loss rises by
#   [5.373](fact:masks_late_loss_off) and no slope moves. (The run with all masks is no model to follow here: section 5
#   shows what it does to Ben.)

# %% [markdown]
# ### Switch them yourself
#
# The same 64 runs, with what becomes of the visits. Before you flip a switch, say what will move. Then choose another world.

# %% tags=["figure:mask_switchboard"]
board = MaskSwitchboard()
board

# %% [markdown]
# A 0 in the figure is exact, too. The next cells look your switches up in the tables above, and run the network once more
# as you have set it. They stop if what they find is not on show.

# %%
switches = {
    "mask_code_sum": board.mask_code_sum,
    "mask_code_count": board.mask_code_count,
    "mask_hazard": board.mask_hazard,
}
on = [*switches.values(), board.mask_loss]
missing = tuple(
    name for name, is_on in zip(MASKS, on, strict=True) if not is_on
)
world = board.world.replace("-", " ")
looked_up = {effect.off: effect for effect in worlds[world]}[missing]
board.agrees(
    loss_change=looked_up.loss_change,
    gradient_change=looked_up.gradient_change,
)

# %%
kind = {
    "padding_idx": None if world == "no padding_idx" else 0,
    "bidirectional": world == "bidirectional",
}
as_set = TextbookLSTM(**network, **kind, **switches)(*batch).detach()
label_there = late if world == "late label" else stop
mask_there = visit_mask if board.mask_loss else None
board.agrees(
    loss=clamp_and_log_nll(as_set, label_there, observed, mask_there)
)

# %% [markdown]
# ## 5. A label past the last visit
#
# Somebody counted the visit of the event as one more row, and wrote Ben's event into row 2, where there is only padding.
# All masks are on. What is Ben's loss? (His hazards are
# [0.15](fact:masks_ben_hazard_0) and [0.25](fact:masks_ben_hazard_1).)

# %%
guess = None
late_label = torch.tensor([3]), torch.tensor([True])
masked = clamp_and_log_nll(at_ben * made, *late_label, made)
check.near(
    guess,
    masked,
    mistakes=check.values(masks.LATE_EVENT, at_ben[0, :2]),
)

# %%
ben_logits = at_ben[:, :2].logit()
answers = {
    "event in row 1, as it was": hazard_nll(ben_logits, *label),
    "event in row 2, all masks on": masked,
    "no event at all (censored)": hazard_nll(
        ben_logits, label[0], ~label[1]
    ),
    "event in row 2, no mask in the loss": clamp_and_log_nll(
        at_ben * made, *late_label
    ),
}
pd.Series(answers, name="Ben's loss").to_frame().astype(float).round(4)

# %%
torch.testing.assert_close(masked, answers["no event at all (censored)"])

# %% [markdown]
# [0.450](fact:masks_late_nll) in place of [1.549](fact:masks_ben_nll): the mask in the loss took the event out, and
# what is left is a censored patient. Without that mask the event is charged at the padding's hazard of 0, which
# the clamp lifts to [1e-7](fact:masks_eps). That costs [16.118](fact:masks_clamp_cost), and the clamp has no slope there.
#
# ### Which way do the hazards move?
#
# The slope of the loss at a logit is its push, $h - y$ ([chapter 2](../explainer/02-per-visit-bce.md)). Training moves the
# hazard the other way: above 0 down, below 0 up.

# %%
pushes = {}
for name, one_label in {"row 1": label, "row 2": late_label}.items():
    logits = at_ben.logit().requires_grad_()
    hazard = torch.sigmoid(logits) * made
    clamp_and_log_nll(hazard, *one_label, made).backward()
    pushes[f"event in {name}"] = logits.grad[0, :2]
pd.DataFrame(pushes).rename_axis("push at visit").round(4)

# %%
assert pushes["event in row 1"][1] < 0
assert (pushes["event in row 2"] > 0).all()

# %% [markdown]
# With the late label both are above 0, so both hazards fall: from a patient who had the event the model learns that
# there is no danger.
#
# ### Past the box
#
# Now Ada. Her three visits fill the box, and her event was in row 2. Somebody wrote 3. No mask is on. What is her loss?
# (Her hazards are [0.1](fact:masks_ada_hazard_0), [0.2](fact:masks_ada_hazard_1) and [0.3](fact:masks_ada_hazard_2).)

# %%
guess = None
at_ada = torch.tensor([[0.1, 0.2, 0.3]])
in_row_3 = torch.tensor([4]), torch.tensor([True])
past_the_box = clamp_and_log_nll(at_ada, *in_row_3)
check.near(
    guess,
    past_the_box,
    mistakes=check.values(masks.LATE_EVENT, at_ada[0]),
)

# %%
cleo_record = at_ada.logit(), torch.tensor([3]), torch.tensor([False])
torch.testing.assert_close(past_the_box, hazard_nll(*cleo_record))
past_the_box.item()

# %% [markdown]
# [0.685179](fact:masks_past_the_box_nll), which is Cleo's loss: no row has the number 3, so no event is charged, and no
# mask was needed to hide it.
#
# ### Ask the label, not the mask
#
# This package fills the padding of its predictions with NaN, "not a number", so that nobody can take it for a hazard,
# and the loss refuses to charge a row that holds none.

# %%
names = [
    [[str(c) for c in visit] for visit in visits] for visits in records
]
visits = Visits.from_lists(names, day=[[0, 30, 60], [0, 30], [0, 30, 60]])
model = SurvivalRNN(visits.schema, embedding=4, hidden=5)
try:
    hazard_nll(model(visits), late, observed)
except ValueError as error:
    message = str(error)
message

# %%
assert "patient at index 1, row 2, is nan" in message

# %%
try:
    hazard_nll(at_ada.logit(), *in_row_3)
except ValueError as error:
    message = str(error)
message

# %%
assert "past the last visit; expected at most 3" in message

# %% [markdown]
# Better still, it never comes so far: patients and outcomes are put together in a `Cohort`, which compares the two.

# %%
try:
    Cohort(visits, Outcome.of(late, observed))
except ValueError as error:
    message = str(error)
message

# %%
assert message.startswith("patient 1 stops at row 3")

# %% [markdown]
# ## 6. A test that cannot fail
#
# Here is a model with no mask in it, and a test as you find it in many projects: a batch of unequal lengths goes in; the
# shape is right, and nothing is NaN.

# %%
no_masks = {
    "mask_code_sum": False,
    "mask_code_count": False,
    "mask_hazard": False,
}
careless = TextbookLSTM(7, 4, 5, seed=2, **no_masks)
as_careless = TextbookLSTM(7, 4, 5, seed=6, **no_masks)
hazard = careless(*batch)
assert hazard.shape == (3, 3)
assert not hazard.isnan().any()
"passed"

# %% [markdown]
# A test that means something asks for what this model lacks and every right model has. A good one: **Ben's hazards must
# not depend on who else is in the batch.** Alone he has a box of two visits with two cells each, and with the others a larger
# one.
#
# ### Exercise 1
#
# Write that test. `model(*collate(some_records))` gives hazards of the shape `[patient, visit]`. Return the largest
# change, over Ben's two visits, from his hazards alone to those in the batch. It is tried on `as_careless`, a model with
# other weights and no mask, either.


# %% tags=["exercise"]
# Ben is records[1]; a list of one patient is a batch, too.
# Compare only the visits that Ben has made.
def change_for_ben(model):
    """The largest change of Ben's hazards when others join him."""
    return None  # your code here


check.near(
    change_for_ben(as_careless),
    change_in_company(as_careless, records, 1),
    mistakes=check.values(
        masks.COMPANY,
        as_careless(*collate([ben]))[0],
        as_careless(*batch),
    ),
    tolerance=0.00002,
)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Ben is records[1]; a list of one patient is a batch, too.
# Compare only the visits that Ben has made.


def change_for_ben(model):
    """The largest change of Ben's hazards when others join him."""
    alone = model(*collate([ben]))[0]
    together = model(*collate(records))[1, : len(ben)]
    return (together - alone).abs().max()


check.near(
    change_for_ben(as_careless),
    change_in_company(as_careless, records, 1),
    mistakes=check.values(
        masks.COMPANY,
        as_careless(*collate([ben]))[0],
        as_careless(*batch),
    ),
    tolerance=0.00002,
)

# %%
two_ways = {"bidirectional": True, "seed": 2}
tried = {
    "all masks": TextbookLSTM(7, 4, 5, seed=2),
    "no masks": careless,
    "no masks, packed": TextbookLSTM(
        7, 4, 5, packed=True, seed=2, **no_masks
    ),
    "all masks, bidirectional": TextbookLSTM(7, 4, 5, **two_ways),
    "all masks, bidirectional, packed": TextbookLSTM(
        7, 4, 5, packed=True, **two_ways
    ),
}
ben_moves = {
    name: change_in_company(model, records, 1)
    for name, model in tried.items()
}
pd.Series(ben_moves, name="Ben's hazards move by").to_frame().round(4)

# %%
rounding = 1e-12
broken = [name for name, change in ben_moves.items() if change > rounding]
assert broken == [
    "no masks",
    "no masks, packed",
    "all masks, bidirectional",
]

# %% [markdown]
# Shapes are right in all five. The bidirectional one fails with *all masks on*: its second LSTM starts in the padding,
# and no mask stands between the padding and Ben's real visits. Packing ([chapter 6](../explainer/06-packing.md)) mends
# that one, and cannot mend what happens within a visit. Nor does it mend that such a model reads the future.
#
# ## 7. The mask that makes NaN
#
# `clamp_and_log_nll` keeps hazards between [1e-7](fact:masks_eps) and one minus that, because $\log 0$ is minus
# infinity. Take that clamp away. What is the loss of our three patients, with all masks on: a number or "nan"?

# %%
guess = None
with_mask = TextbookLSTM(7, 4, 5, seed=2)(*batch)
without = TextbookLSTM(7, 4, 5, seed=2, mask_hazard=False)(*batch)
unclamped = {
    "hazard * mask": clamp_and_log_nll(
        with_mask, stop, observed, visit_mask, eps=None
    ),
    "hazard": clamp_and_log_nll(
        without, stop, observed, visit_mask, eps=None
    ),
}
check.same(
    guess,
    "nan",
    mistakes={
        "the log of a padded hazard, 0, is minus infinity": "a number"
    },
)

# %%
no_clamp = {name: loss.item() for name, loss in unclamped.items()}
pd.Series(no_clamp, name="loss, no clamp").to_frame().round(4)

# %%
assert unclamped["hazard * mask"].isnan()
assert unclamped["hazard"] == usual[()].loss

# %% [markdown]
# No sigmoid of an ordinary logit is 0. The mask wrote the 0, its logarithm is minus infinity, and minus infinity times
# the loss mask's 0 is NaN. Without the mask the loss is [1.8115](fact:masks_usual_loss), clamp or no clamp.
#
# ### Use where, and use it first
#
# `torch.where(condition, a, b)` picks, it does not multiply. It helps only *before* the logarithm: a value that is not
# picked still takes part in the slopes.

# %%
event = torch.tensor([False, True, False])
report = {}
for name, cost in {
    "log(h) * event": lambda h: (h.log() * event).sum(),
    "where(event, log(h), 0)": lambda h: torch.where(
        event, h.log(), 0
    ).sum(),
    "log(where(event, h, 1))": lambda h: (
        torch.where(event, h, 1).log().sum()
    ),
}.items():
    h = torch.tensor([0.15, 0.25, 0.0], requires_grad=True)
    value = cost(h)
    value.backward()
    report[name] = {"value": value.item(), "slope in padding": h.grad[2]}
report = pd.DataFrame(report).T.astype(float)
report.round(4)

# %%
assert report.isna().sum(axis=1).tolist() == [2, 1, 0]

# %% [markdown]
# The second line is the most dangerous: the loss looks fine, and after the next step of training the weights are NaN.
# `hazard_nll` starts from logits, and fills before it computes.
#
# ## 8. A visit without codes
#
# A mean is one way to make one vector of many codes. **Attention** is another: a learned *score* for each code, and a
# **softmax**, which turns the scores of a visit into weights that sum to one. Padded codes get a score of minus infinity,
# so their weight is $e^{-\infty} = 0$. In Ben's third visit all codes are padded, and all weights are 0 divided by 0.

# %%
scores = torch.tensor([[1.0, 0.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
cells = torch.tensor(
    [[True, False, False], [True, True, False], [False, False, False]]
)
pd.DataFrame(weights_of_codes(scores, cells)).round(4)

# %% [markdown]
# ### Where does that NaN end up?
#
# Four networks with attention, on the batch of Ada, Ben and Cleo. In how many of their parameters (tables of weights) is a
# slope NaN?

# %%
attend = {"pooling": "attention", "seed": 2}
tried = {
    "hazard * mask": TextbookLSTM(7, 4, 5, **attend),
    "where(mask, hazard, 0)": TextbookLSTM(
        7, 4, 5, mask_hazard=False, **attend
    ),
    "hazard * mask, packed": TextbookLSTM(7, 4, 5, packed=True, **attend),
    "empty visits guarded": TextbookLSTM(
        7, 4, 5, guard_empty=True, **attend
    ),
}
report = {}
for name, model in tried.items():
    hazard = model(*batch)
    if name.startswith("where"):
        hazard = hazard.where(visit_mask, 0)
    loss = clamp_and_log_nll(hazard, stop, observed, visit_mask)
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    spoilt = sum(bool(slope.isnan().any()) for slope in slopes)
    report[name] = {
        "loss": loss.item(),
        "spoilt": spoilt,
        "of": len(slopes),
    }
attention = pd.DataFrame(report).T.astype({"spoilt": int, "of": int})
attention.round(4)

# %%
assert attention["loss"].isna().tolist() == [True, False, False, False]
assert attention["spoilt"].tolist() == [9, 9, 0, 0]

# %% [markdown]
# NaN times the mask's 0 is NaN, so the second mask does not help. With `where` the loss is an ordinary number, and yet
# all [9](fact:masks_attention_parameters) parameters are spoilt. Packing leaves the padded visit out, and is right here.
#
# ### Is packing the cure?
#
# Let Ben have come to his second visit for a measurement, without a diagnosis. The visit is real, and it has no code.

# %%
uncoded = [ada, [[5], []], cleo]
report = {}
for name in ("hazard * mask, packed", "empty visits guarded"):
    hazard = tried[name](*collate(uncoded))
    loss = clamp_and_log_nll(hazard, stop, observed, visit_mask)
    report[name] = loss.item()
report = pd.Series(report, name="loss").to_frame()
report.round(4)

# %%
assert report["loss"].isna().tolist() == [True, False]

# %% [markdown]
# Packing knows nothing of codes. The cure is a softmax that is told what an empty visit weighs.
#
# ### Exercise 2
#
# Write a softmax over real codes that gives a visit without codes the weights 0, and otherwise weights that sum to one.
# `torch.softmax(scores, -1)` is the plain one; `scores.masked_fill(~cells, -torch.inf)` fills the cells that hold no
# code.


# %% tags=["exercise"]
# Fill, take the softmax, and then pick with torch.where.
def softmax_over_real(scores, cells):
    """Weights of each visit's codes; 0 for padding, and for all of a
    visit without codes."""
    return None  # your code here


check.near(
    softmax_over_real(scores, cells),
    weights_of_codes(scores, cells, guard_empty=True),
    mistakes=check.values(masks.WEIGHTS, scores, cells),
)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Fill, take the softmax, and then pick with torch.where.


def softmax_over_real(scores, cells):
    """Weights of each visit's codes; 0 for padding, and for all of a
    visit without codes."""
    weights = torch.softmax(scores.masked_fill(~cells, -torch.inf), -1)
    return torch.where(cells, weights, 0)


check.near(
    softmax_over_real(scores, cells),
    weights_of_codes(scores, cells, guard_empty=True),
    mistakes=check.values(masks.WEIGHTS, scores, cells),
)

# %% [markdown]
# (Here `where` may come last, because every cell of an empty visit was filled: filling hands no slope back to what it
# covered. `weights_of_codes` fills empty visits with 0 before the softmax as well, so that no NaN arises on the way.)
#
# ## 9. Where no mask is needed
#
# The package keeps codes in one flat list, without padding, and a mean over an *embedding bag* reads from there. Its
# model writes NaN after a patient's last visit, and `stop` says which rows there are.

# %%
model = SurvivalRNN(visits.schema, embedding=4, hidden=5)
logits = model(visits)
assert len(visits.codes) == n_codes
assert logits.isnan().equal(~visit_mask)
pd.DataFrame(logits.detach(), index=["Ada", "Ben", "Cleo"]).round(4)

# %%
loss = hazard_nll(logits, stop, observed)
slopes = torch.autograd.grad(loss, list(model.parameters()))
assert loss.isfinite()
assert all(slope.isfinite().all() for slope in slopes)
only_ben = visits.select(torch.tensor([1]))
move = (model(only_ben)[0] - logits[1, :2]).abs().max()
assert move < 1e-12
f"Ben alone and in the batch: less than {1e-12:.0e} apart"

# %% [markdown]
# There is no switch to forget, and the batch-mate test passes.
#
# Back to the [chapter](../explainer/07-three-masks.md), where the recap links each claim to its test.
#
# ## Numbers that the chapter quotes
#
# A page of this site can state a number only if a notebook publishes it, and the build compares the two.

# %%
fact("masks_cells", n_cells)
fact("masks_codes", n_codes)
fact("masks_usual_loss", usual[()].loss)
fact("masks_ben_hazard_0", at_ben[0, 0])
fact("masks_ben_hazard_1", at_ben[0, 1])
fact("masks_padded_hazard", at_ben[0, 2])
for visit in range(3):
    fact(f"masks_ada_hazard_{visit}", at_ada[0, visit])

# %%
short = {
    "hazard": "hazard",
    "loss": "loss",
    "hazard, loss": "both",
    "code sum": "sum",
    "code count": "count",
}
for row, name in short.items():
    fact(f"masks_usual_{name}_moves_loss", loss_change.loc[row, "usual"])
    fact(
        f"masks_usual_{name}_moves_slope", gradient_change.loc[row, "usual"]
    )
fact(
    "masks_no_padding_idx_sum_moves_slope",
    gradient_change.loc["code sum", "no padding_idx"],
)

# %%
fact("masks_ben_nll", both)
fact("masks_ben_cost_0", -torch.log(1 - at_ben[0, 0]))
fact("masks_ben_cost_1_event", -torch.log(at_ben[0, 1]))
fact("masks_ben_cost_1_survived", -torch.log(1 - at_ben[0, 1]))
fact("masks_late_nll", masked)
fact(
    "masks_late_unmasked_nll",
    answers["event in row 2, no mask in the loss"],
)
fact("masks_eps", masks.EPS)
fact("masks_clamp_cost", -torch.log(torch.tensor(masks.EPS)))
fact("masks_late_loss_off", loss_change.loc["loss", "late label"])
fact("masks_past_the_box_nll", past_the_box)
fact("masks_past_the_box_right", masks.right_label(at_ada[0]))
fact("masks_past_the_box_clamped", masks.clamped_zero(at_ada[0]))
fact("masks_past_the_box_short", masks.one_row_short(at_ada[0]))

# %%
for name, pushed in {"right": "row 1", "late": "row 2"}.items():
    for visit in range(2):
        fact(
            f"masks_push_{name}_{visit}",
            pushes[f"event in {pushed}"][visit],
        )

# %%
fact("masks_company_bound", rounding)
fact("masks_company_no_masks", ben_moves["no masks"])
fact("masks_company_packed", ben_moves["no masks, packed"])
fact("masks_company_two_ways", ben_moves["all masks, bidirectional"])
fact("masks_attention_parameters", attention["of"].iloc[0])
fact("masks_attention_loss", attention["loss"].iloc[1])
fact("masks_attention_where_spoilt", attention["spoilt"].iloc[1])
