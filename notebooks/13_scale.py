# %% [markdown]
# # When one machine is not enough, step by step
#
# Here you run the chapter [When one machine is not enough](../explainer/13-scale.md), one idea a cell. Cells that begin
# with `guess = None` ask you first: put your answer there and run the cell again. The notebook also runs untouched, from
# top to bottom.

# %%
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch.distributed.constants import default_pg_timeout

from visitwise import check, plots
from visitwise.check import scale
from visitwise.check.scale import own_mean
from visitwise.cohort import Cohort, Outcome
from visitwise.losses import outcome_nll
from visitwise.model import SurvivalRNN
from visitwise.notebook import fact, show
from visitwise.parallel import exact_mean, run_processes, step_gradients
from visitwise.simulate import TEACHING
from visitwise.training import evaluate_nll, fit, load_model
from visitwise.visits import Visits

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
plt.style.use("visitwise.survival")

# %% [markdown]
# ## 1. Four patients in two processes
#
# A **process** is one run of a program, with its own memory. To train with two of them, each takes a share of the
# patients and computes the gradient of *its* loss; then the two gradients are averaged. Share the work fairly: Eve, Ben
# and Ada have 6 visits together, Dan alone has 5. Eve and Ben have the event after their last visit.

# %%
visits = Visits.from_lists(
    [[["check-up"]] * n for n in (1, 2, 3, 5)],
    day=[range(n) for n in (1, 2, 3, 5)],
)
observed = torch.tensor([True, True, False, False])
four = Cohort(visits, Outcome.of(visits.length, observed))
shares = [four.select(torch.arange(3)), four.select(torch.tensor([3]))]
patients = torch.tensor([len(share) for share in shares])
rows = torch.tensor([share.outcome.n_rows for share in shares])
events = torch.stack([share.outcome.observed.sum() for share in shares])
counts = {"patients": patients, "rows": rows, "events": events}
pd.DataFrame(counts, index=["process 0", "process 1"])

# %% [markdown]
# The simplest model has one hazard for everybody. This function is the gradient of the sum of the losses with respect to
# its logit: positive says that the hazard is too high.


# %%
def push(share: Cohort, hazard: float) -> torch.Tensor:
    logit = torch.logit(torch.tensor(hazard)).requires_grad_()
    z = logit.expand(share.visits.mask.shape)
    outcome_nll(z, share.outcome, reduction="sum").backward()
    return logit.grad


pushes = torch.stack([push(share, 0.15) for share in shares])
pushes

# %%
torch.testing.assert_close(pushes, rows * 0.15 - events)

# %% [markdown]
# It is *rows × hazard − events*. Now let each process take the mean over its own patients, average the two means, and
# compare with the mean over all four.

# %%
averaged = (pushes / patients).mean()
of_all_four = push(four, 0.15) / len(four)
pd.Series({"averaged": averaged, "all four": of_all_four}).astype(float)

# %%
assert averaged > 0.1 > 0 > of_all_four

# %% [markdown]
# The signs differ: the two processes together lower the hazard, one process with the same patients would raise it.
# Training goes on until the average is zero. At which hazard is it?

# %%
guess = None
rests_at = (events / patients).sum() / (rows / patients).sum()
mistakes = check.values(scale.RESTS_AT, rows, events, patients)
check.near(guess, rests_at, mistakes=mistakes, tolerance=0.001)

# %%
at_rest = torch.stack([push(share, rests_at.item()) for share in shares])
assert abs((at_rest / patients).mean()) < 1e-12
rate = events.sum() / rows.sum()
assert abs(push(four, rate.item())) < 1e-12
torch.stack([rests_at, rate])

# %% [markdown]
# At [0.095](fact:scale_rests_at) instead of [0.182](fact:scale_rate), 2 events in 11 rows. Dan is one of four patients
# and gets half of the say, and his record is long because nothing happened in it.

# %% tags=["figure:two_means"]
figure, axes = plt.subplots(figsize=(5.4, 3.9))
hazard = torch.linspace(0.0, 0.4, 100)
means = (rows[:, None] * hazard - events[:, None]) / patients[:, None]
of_all = (rows.sum() * hazard - events.sum()) / patients.sum()
for name, colour, values, style, place in [
    ("process 0: Eve, Ben, Ada", "survival", means[0], "--", (0.4, -0.5)),
    ("process 1: Dan", "censored", means[1], "--", (0.14, 0.86)),
    ("their average", "wrong", means.mean(0), "-", (0.28, 0.68)),
    ("all four", "hazard", of_all, "-", (0.4, 0.25)),
]:
    axes.plot(hazard, values, style, color=plots.COLOURS[colour])
    axes.text(*place, name, color=plots.COLOURS[colour], ha="right")
axes.axhline(0, color=plots.COLOURS["muted"], linewidth=0.8)
axes.plot(rests_at, 0, "o", color=plots.COLOURS["wrong"])
axes.plot(rate, 0, "o", color=plots.COLOURS["hazard"])
axes.set(
    xlabel="hazard, the same for everybody",
    ylabel="gradient; above 0: hazard is too high",
    xlim=(0, 0.4),
    ylim=(-0.7, 1),
)
show(
    figure,
    alt="The gradient against the hazard, four rising lines. The average of"
    f" the two processes crosses zero at {rests_at:.3f}, the mean over all"
    f" four patients at {rate:.3f}; between the two their signs differ.",
)

# %% [markdown]
# ### Exercise 1
#
# By which factor does each process have to multiply its own mean, so that the average of the two is the mean over all
# four patients? A tensor with two numbers, from `patients`.

# %% tags=["exercise"]
# Own mean: sum / patients. The average divides by 2 processes.
# What is wanted in the end is (sum 0 + sum 1) / 4 patients.
factor = None  # your code here

check.near(
    factor,
    2 * patients / 4,
    mistakes=check.values(scale.WEIGHTS, patients),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# Own mean: sum / patients. The average divides by 2 processes.
# What is wanted in the end is (sum 0 + sum 1) / 4 patients.
factor = len(patients) * patients / patients.sum()

check.near(
    factor,
    2 * patients / 4,
    mistakes=check.values(scale.WEIGHTS, patients),
)

# %%
needed = 2 * patients / 4
mended = (needed * pushes / patients).mean()
torch.testing.assert_close(mended, of_all_four)
mended

# %% [markdown]
# Written without the own mean it is shorter: *sum × processes ÷ everybody's patients*. That is `exact_mean`.
#
# ## 2. An LSTM
#
# Train a small model on 1,600 patients for a few seconds. Then take batches of 256 and deal each to two processes.

# %%
cohort = TEACHING.draw(2_000, seed=1).cohort
train, validation = cohort.split([0.8, 0.2], seed=0)
settings = {"embedding": 8, "hidden": 16}
model = SurvivalRNN.for_cohort(train, **settings).double()
how = {"epochs": 4, "batch_size": 32, "learning_rate": 1e-2}
fit(model, train, validation, progress=False, **how)
model.train()
sum(parameter.numel() for parameter in model.parameters())

# %% [markdown]
# Three ways to deal: at random into halves; at random, but the second process gets only 32 patients, as it happens with
# the last batch of an epoch; or short records to one and long records to the other, with as many visits each.


# %%
def halves(batch: Cohort) -> list[Cohort]:
    return [
        batch.select(torch.arange(128)),
        batch.select(torch.arange(128, 256)),
    ]


def ragged(batch: Cohort) -> list[Cohort]:
    return [
        batch.select(torch.arange(128)),
        batch.select(torch.arange(128, 160)),
    ]


def by_length(batch: Cohort) -> list[Cohort]:
    order = batch.visits.length.argsort(stable=True)
    upto = batch.visits.length[order].cumsum(0)
    n = int((upto < upto[-1] / 2).sum())
    return [batch.select(order[:n]), batch.select(order[n:])]


# %% [markdown]
# The gradient of a cohort's summed loss, all weights in one line; and the average of the two processes' means, which is
# compared with the mean over the same patients in one process.


# %%
def gradient(model: SurvivalRNN, share: Cohort) -> torch.Tensor:
    loss = outcome_nll(model(share.visits), share.outcome, reduction="sum")
    found = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([part.flatten() for part in found])


def average_and_truth(shares: list[Cohort]) -> list[torch.Tensor]:
    sums = torch.stack([gradient(model, share) for share in shares])
    n = torch.tensor([[len(share)] for share in shares])
    return [(sums / n).mean(0), sums.sum(0) / n.sum()]


# %% [markdown]
# The **cosine** of two gradients is 1 if they point the same way, 0 if they have nothing to do with each other, negative
# if a step along one undoes the other. Take 40 batches dealt by length. In how many is it negative?

# %%
batches = [
    batch
    for epoch in range(8)
    for batch in train.batches(256, seed=7, epoch=epoch)
    if len(batch) == 256
][:40]
pairs = [average_and_truth(by_length(batch)) for batch in batches]
cosine = torch.stack([torch.cosine_similarity(*pair, 0) for pair in pairs])
guess = None
check.same(
    guess,
    int((cosine < 0).sum()),
    mistakes={"each mean is right; their average is none": 0},
)

# %%
ways = {"halves": halves, "ragged": ragged, "by length": by_length}
table = {}
for name, deal in ways.items():
    average, truth = map(
        torch.stack,
        zip(*[average_and_truth(deal(b)) for b in batches], strict=True),
    )
    error = (average - truth).norm(dim=1) / truth.norm(dim=1)
    angle = torch.cosine_similarity(average, truth, 1)
    table[name] = [error.median(), angle.median(), angle.min()]
columns = ["median error", "median cosine", "lowest cosine"]
dealt = pd.DataFrame(table, index=columns).T.astype(float)
dealt.round(3)

# %%
assert dealt.loc["halves", "median error"] < 1e-12
assert dealt.loc["ragged", "median error"] > 0.1
assert cosine.min() < -0.2
assert (cosine < 0).sum() >= 8

# %% [markdown]
# The error is the length of the difference, by the length of the right gradient. Equal numbers of patients make none, a
# ragged batch makes one, and short against long can turn the gradient round. Nothing is raised.
#
# ### Where training ends
#
# Does it matter, or does the next batch mend it? Train twins for six epochs on batches dealt by length, with steps that
# fall to zero: one on the average of own means, one on exact means.


# %%
def trained(mean: str, seed: int) -> SurvivalRNN:
    twin = SurvivalRNN.for_cohort(train, seed=seed, **settings).double()
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-2)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6 * 13)
    for epoch in range(6):
        for batch in train.batches(128, seed=seed, epoch=epoch):
            for share in by_length(batch):
                n = 2 * len(share) if mean == "own" else len(batch)
                logits = twin(share.visits)
                loss = outcome_nll(logits, share.outcome, reduction="sum")
                (loss / n).backward()
            optimizer.step()
            optimizer.zero_grad()
            fall.step()
    return twin


# %% [markdown]
# What do they say of 4,000 new patients? Their mean hazard should be events by rows.

# %%
new = TEACHING.draw(4_000, seed=9).cohort
expected = new.outcome.observed.sum() / new.outcome.n_rows
ends = {}
for seed in range(3):
    for mean in ("own", "exact"):
        twin = trained(mean, seed)
        hazard = twin.predict(new.visits).hazard.nansum()
        found = (hazard / new.visits.n_visits / expected).item()
        ends[seed, mean] = [found, evaluate_nll(twin, new)]
columns = ["mean hazard / expected", "loss a row"]
ends = pd.DataFrame(ends, index=columns).T.rename_axis(["seed", "mean"])
ends.round(3)

# %%
hazards = ends["mean hazard / expected"].unstack()
losses = ends["loss a row"].unstack()
assert (hazards["own"] < 0.85 * hazards["exact"]).all()
assert (hazards["own"] < 0.85).all()
assert (losses["own"] > losses["exact"]).all()

# %% [markdown]
# With own means the hazards come out too low, for the same reason as Dan's: the process with few patients, whose records
# are long because nothing happened, has as large a say as the one with many.
#
# ## 3. Two real processes
#
# So far two processes were played by arithmetic. `run_processes` starts two and connects them; `step_gradients` is one
# step of `DistributedDataParallel`, PyTorch's way to average the gradients, for each kind of mean.

# %%
dealt_by_length = by_length(batches[0])
means = [own_mean, exact_mean]
given = (model, dealt_by_length, means, "patient")
process_0, process_1 = run_processes(step_gradients, 2, *given)
assert torch.equal(process_0, process_1)
process_0.shape

# %% [markdown]
# Both processes hold the same gradients afterwards; otherwise their models would drift apart. How far are they from the
# gradient of one process?

# %%
average, truth = average_and_truth(dealt_by_length)
far = (process_0 - truth).norm(dim=1) / truth.norm()
pd.Series(far, ["own mean", "exact mean"], name="error").to_frame()

# %%
torch.testing.assert_close(process_0[0], average, rtol=0, atol=1e-10)
assert far[1] < 1e-12 < 0.1 < far[0]

# %% [markdown]
# `DistributedDataParallel` does what the arithmetic did, mistake included. With `exact_mean` the two processes have the
# gradient of one, to rounding.
#
# ### A whole training run
#
# `torchrun` starts processes that know of each other: it comes with PyTorch, and `python -m torch.distributed.run` is its
# other name. `visitwise train` runs under it as it is. Train for three epochs in one process and in two.

# %% tags=["loose"]
python = [sys.executable, "-m"]
two = ["torch.distributed.run", "--nproc-per-node", "2", "-m", "--"]
command = ["visitwise", "train", "cohort", "--epochs", "3", "--run"]
weights = {}
with tempfile.TemporaryDirectory() as folder:
    cohort.save(Path(folder) / "cohort")
    for name, start in {"alone": python, "shared": [*python, *two]}.items():
        run = [*start, *command, name]
        done = subprocess.run(
            run, cwd=folder, check=True, capture_output=True, text=True
        )
        weights[name] = load_model(Path(folder) / name).state_dict()
        print(done.stdout.strip())

# %%
apart = max(
    (weights["shared"][name] - values).abs().max().item()
    for name, values in weights["alone"].items()
)
assert apart < 1e-4
sum(values.numel() for values in weights["alone"].values())

# %% [markdown]
# In single precision no weight is further from its twin than [0.0001](fact:scale_weights_apart), after three epochs. `fit`
# takes no mean in a process: each sums, the sums are added up in one message, and all divide by the same constant.
#
# ## 4. What grows
#
# More patients, more arrays. How much memory does a patient take, in the flat arrays of `Visits` and in the padded box
# of everybody's codes?


# %%
def flat_bytes(part: Visits | Outcome) -> int:
    arrays = [v for v in vars(part).values() if torch.is_tensor(v)]
    return sum(array.nbytes for array in arrays)


sizes = [30, 300, 3_000, 30_000]
cohorts = {n: TEACHING.draw(n, seed=1).cohort for n in sizes}
flat = [flat_bytes(cohorts[n].visits) / n for n in sizes]
pd.Series(flat, sizes, name="bytes a patient").round().to_frame()

# %% [markdown]
# ### Exercise 2
#
# And in the box? From the lengths of the 3,000 patients' records and the number of codes at each visit, compute how many
# bytes the box of codes takes, 4 for each cell.

# %%
length = cohorts[3_000].visits.length
n_codes = cohorts[3_000].visits.code_offsets.diff()
codes = cohorts[3_000].visits.padded().codes

# %% tags=["exercise"]
# The box is [patient, visit, code], as wide as the longest record
# and as deep as the visit with most codes.
box = None  # your code here

check.near(
    box,
    codes.nbytes,
    mistakes=check.values(scale.BOX_BYTES, length, n_codes),
)

# %% tags=["solution"] jupyter={"source_hidden": true}
# The box is [patient, visit, code], as wide as the longest record
# and as deep as the visit with most codes.
box = 4 * len(length) * length.max() * n_codes.max()

check.near(
    box,
    codes.nbytes,
    mistakes=check.values(scale.BOX_BYTES, length, n_codes),
)

# %%
boxes = []
for n in sizes:
    v = cohorts[n].visits
    boxes.append(4 * v.length.max() * v.code_offsets.diff().max())
boxes = torch.stack(boxes).tolist()
bytes_of = pd.DataFrame({"flat": flat, "box of codes": boxes}, sizes)
bytes_of.rename_axis("patients").round()

# %%
ratio = bytes_of["box of codes"] / bytes_of["flat"]
assert max(flat) < 1.15 * min(flat)
assert boxes == sorted(boxes)
assert boxes[-1] > 1.5 * boxes[0]

# %% tags=["figure:bytes_a_patient"]
figure, axes = plt.subplots(figsize=(5.4, 3.6))
for values, name, colour in [
    (boxes, "padded box, codes alone", "wrong"),
    (flat, "flat arrays, everything", "survival"),
]:
    axes.plot(sizes, values, "o-", color=plots.COLOURS[colour])
    height = 1.25 * max(values[:3])
    axes.text(sizes[0], height, name, color=plots.COLOURS[colour])
axes.set(
    xscale="log",
    yscale="log",
    xlabel="patients in the cohort",
    ylabel="bytes a patient",
    ylim=(100, 6_000),
)
show(
    figure,
    alt="Bytes a patient against the number of patients, from 30 to 30,000."
    f" Flat arrays stay between {min(flat):.0f} and {max(flat):.0f}; the"
    f" padded box of the codes rises from {boxes[0]} to {boxes[-1]}.",
)

# %% [markdown]
# Flat, a patient takes the same in any cohort. In a box everybody takes as much as the longest record times the fullest
# visit, and the more patients, the more extreme those are: by the last row the codes alone take
# [7.8](fact:scale_ratio_30000) times as much as all flat arrays.
#
# ### On disk
#
# `save` writes the arrays as they lie in memory; `load` *maps* them, so that a part is read when it is used.

# %%
with tempfile.TemporaryDirectory() as folder:
    where = Path(folder) / "cohort"
    cohorts[30_000].save(where)
    mapped = Cohort.load(where)
    on_disk = sum(file.stat().st_size for file in where.glob("*.npy"))
    few = mapped.select(torch.tensor([12_345, 7]))
    few_more = cohorts[30_000].select(torch.tensor([12_345, 7]))
in_memory = flat_bytes(mapped.visits) + flat_bytes(mapped.outcome)
on_disk, in_memory

# %%
assert torch.equal(few.visits.codes, few_more.visits.codes)
assert 0 < on_disk - in_memory < 2_500

# %% [markdown]
# What is more on disk are the headers of the files.
#
# ### In a step
#
# Nobody needs the box of everybody. A batch padded to *its own* longest record is smaller, and a batch worked off in
# parts never holds more than a part. How many cells does one step hold at most?

# %%
step = next(cohorts[30_000].batches(256, seed=0))
widest = {
    "box of all": len(cohorts[30_000]) * 40,
    "box of a batch": len(step) * int(step.visits.length.max()),
    "largest part": max(
        len(part) * int(part.visits.length.max())
        for part in step.parts(1_024)
    ),
}
pd.Series(widest, name="cells").to_frame()

# %%
assert widest["largest part"] <= 1_024 < widest["box of a batch"]
assert widest["box of all"] > 100 * widest["box of a batch"]

# %% [markdown]
# The last number is a setting, `padded_visits` of `fit`. It bounds the memory of a step, whatever the batch and the
# cohort.
#
# ## 5. Where it breaks
#
# **Other seeds.** Each process draws its half of the 1,600 patients with a seed of its own. How many of them are drawn by
# neither?

# %%
guess = None
drawn = torch.zeros(len(train), dtype=torch.long)
for seed in (0, 1):
    generator = torch.Generator().manual_seed(seed)
    own_half = torch.randperm(len(train), generator=generator)[:800]
    drawn[own_half] += 1
never, twice = (drawn == 0).sum(), (drawn == 2).sum()
check.near(
    guess,
    never,
    mistakes={"so it is if both deal with the same seed": 0},
    tolerance=25,
)

# %%
assert never == twice > 350
never, twice

# %% [markdown]
# About a quarter, and as many come twice. Every process has to deal the *same* order and take its own share of it.
#
# **A sum without the factor.** The average of two sums is half of the sum over everybody.

# %%
sums = torch.stack([gradient(model, share) for share in dealt_by_length])
whole = gradient(model, batches[0])
torch.testing.assert_close(sums.mean(0), whole / 2)
(sums.mean(0).norm() / whole.norm()).item()

# %% [markdown]
# With *k* processes the steps are *k* times as small, for an optimiser that looks at the size.
#
# **A process with nothing.** The last batch can leave a process without patients. It has to take part all the same, or
# the others wait for its gradient; for so many minutes, if nothing else is said:

# %%
default_pg_timeout.total_seconds() / 60

# %%
assert default_pg_timeout.total_seconds() == 1_800
try:
    four.select(torch.arange(0))
except ValueError as error:
    print(error)

# %% [markdown]
# This package refuses an empty batch, and `fit` has a process without patients add zeros to the others' gradient.
#
# **Boxes of other widths.** Each batch is padded to its own longest record, so predictions for two batches do not fit
# into one tensor. Many a training run ends here, at its first evaluation.

# %%
predicted = [model.predict(s.visits).hazard for s in dealt_by_length]
try:
    torch.cat(predicted)
except RuntimeError as error:
    refused = str(error).split(" (")[0]
refused

# %%
parts = zip(dealt_by_length, predicted, strict=True)
flat_hazards = torch.cat([s.visits.unpad(h) for s, h in parts])
assert "Sizes of tensors must match" in refused
assert len(flat_hazards) == batches[0].visits.n_visits

# %% [markdown]
# `unpad` takes the padding out first, and what is flat fits.
#
# Back to the [chapter](../explainer/13-scale.md).
#
# ## Numbers that pages quote

# %%
fact("scale_rests_at", rests_at)
fact("scale_rate", rate)
fact("scale_at", 0.15)
fact("scale_push_0", pushes[0])
fact("scale_push_1", pushes[1])
fact("scale_push_averaged", averaged)
fact("scale_push_all", of_all_four)
for place in range(2):
    fact(f"scale_factor_{place}", needed[place])
for name in ("average_of_rates", "most_patients"):
    wrong = scale.RESTS_AT[name].formula(rows, events, patients)
    fact(f"scale_{name}", wrong)
three = torch.tensor([50, 30, 20])
fact("scale_three", (3 * three / three.sum())[0])
for name in ("shares", "upside_down"):
    fact(f"scale_three_{name}", scale.WEIGHTS[name].formula(three)[0])

# %%
fact("scale_negative", (cosine < 0).sum())
fact("scale_cosine_lowest", cosine.min())
fact("scale_cosine_median", cosine.median())
fact("scale_ragged_error", dealt.loc["ragged", "median error"])
fact("scale_ragged_cosine", dealt.loc["ragged", "median cosine"])
fact("scale_by_length_error", dealt.loc["by length", "median error"])
fact("scale_rounding", 1e-12)
fact("scale_weights_apart", 1e-4)

# %%
for name in ("own", "exact"):
    fact(f"scale_hazard_{name}_lowest", hazards[name].min())
    fact(f"scale_hazard_{name}_highest", hazards[name].max())
    fact(f"scale_loss_{name}_lowest", losses[name].min())
    fact(f"scale_loss_{name}_highest", losses[name].max())
times = hazards["own"] / hazards["exact"]
fact("scale_times_lowest", times.min())
fact("scale_times_highest", times.max())

# %%
fact("scale_flat_lowest", min(flat))
fact("scale_flat_highest", max(flat))
for n in sizes:
    fact(f"scale_box_{n}", bytes_of["box of codes"][n])
    fact(f"scale_ratio_{n}", ratio[n])
fact("scale_never", never)
fact("scale_minutes", default_pg_timeout.total_seconds() / 60)
