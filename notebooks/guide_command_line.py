# %% [markdown]
# # From a folder to a report
#
# You have a MEDS folder and want to know how well an LSTM does on it, without writing any code. Six commands describe,
# train, judge, predict and hand the model on. They need `pip install "visitwise[meds]"`. A cell below is a line that you
# type in a terminal; only the function that runs it here is Python.

# %%
import os
import re
import shlex
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pandas as pd
import torch
from click.testing import CliRunner

from visitwise import training
from visitwise.cli import main
from visitwise.notebook import Picture

torch.set_num_threads(1)
place = TemporaryDirectory()
os.chdir(place.name)


def run(line: str) -> None:
    done = CliRunner().invoke(main, shlex.split(line)[1:])
    print(done.stdout or done.stderr.splitlines()[-1])


# %% [markdown]
# ## 1. Patients
#
# A sample, with what you would find in a hospital's folder: events, each with a patient, a time and a code. Your own folder
# takes its place.

# %%
run("visitwise simulate sample --patients 2000 --seed 4 --meds")

# %% [markdown]
# Records do not say what the event is or until when somebody was followed. That is for you to say, as options
# (`--outcome CODE --end-of-follow-up RULE`; `visitwise train --help` lists them all) or once, in a file. What the file leaves
# out has the value that `--help` states. Other ways to leave are causes of their own: `--competing MEDS_DEATH,DEATH
# --competing MOVED` names two, of which the first is recorded under either code.

# %%
mine = """\
outcome = ["EVENT"]
end_of_follow_up = "code:END_OF_FOLLOWUP"
visit = "day"
blanking_days = 7
"""
Path("mine.toml").write_text(mine)
print(mine)
# %% [markdown]
# ## 2. Describe
#
# First the flow chart: whom you lose by your choices. Then a table one, and columns that look like a leak. Where follow-up
# ends between two visits, the interval after the last one is unfinished: nobody knows how it ended, and it counts for
# nothing unless `--censored-exposure` says which share of it does. (The simulator lets nobody leave inside an interval, so
# that 1 would be right [for its patients alone](guide_meds.py); nothing is the usual choice for records.)

# %%
run("visitwise describe sample --config mine.toml")

# %% [markdown]
# ## 3. Train
#
# The split is the folder's own; where it has none, 70 of 100 patients train, 15 decide when to stop and 15 are kept. A life
# table and a logistic regression on a history made by hand are trained beside the LSTM. (The sizes here are small, to be
# quick; without them you get those of `--help`.)

# %% tags=["loose"]
train = (
    "visitwise train sample --config mine.toml --epochs 6 --hidden 16"
    " --embedding 8 --batch-size 64 --learning-rate 0.01"
)
run(f"{train} --run first")

# %% [markdown]
# ## 4. Judge
#
# On the patients who were kept, and once. Without a folder, `evaluate` takes those of the run itself.

# %% tags=["loose"]
run("visitwise evaluate --run first")

# %% [markdown]
# The last column is how much more each other model loses than yours on the same patients, with its standard error. Within two
# of them nobody can tell the two apart, and the report says so in words before it shows any number:

# %% tags=["loose"]
report = Path("first/report.html").read_text()
said = re.search(r'class="verdict">(.*?)</p>', report)[1]
print(said)

# %%
assert re.match(r"A tie: .* The logistic regression is the smaller", said)

# %% [markdown]
# Then publish the regression.
#
# ## 5. The report
#
# `first/report.html` is one page that needs nothing else: send it, print it, open it without a network.

# %%
headings = re.findall(r"<h2[^>]*>(.*?)</h2>", report)
assert "<script" not in report
print(*headings, sep="\n")

# %% [markdown]
# One of its pictures, as it lies in `first/figures/`:

# %% tags=["loose"]
drawn = Path("first/figures/held-out-differences.svg").read_text()
Picture(drawn, alt=re.search('aria-label="([^"]*)"', drawn)[1])

# %% [markdown]
# ## 6. What is in the folder of a run
#
# Everything to do it again, and to defend it: the model, the cohort it was trained on, every number of the report.

# %%
parts = [
    path.name + "/" * path.is_dir() for path in Path("first").iterdir()
]
print(
    *sorted(re.sub(r"-[0-9a-f]{8}", "-...", name) for name in parts),
    sep="\n",
)

# %% [markdown]
# `choices.toml` has every choice, those you did not make as well. `--config first/choices.toml` makes them again.

# %%
chosen = Path("first/choices.toml").read_text()
definition = chosen[chosen.index("[definition]") :]
print(definition[: definition.index("[made_with]")])

# %% [markdown]
# It holds records of patients (`study/`), their numbers (`patients_seen.npy`) and every code that was input. Treat it as you
# treat the data. [What it must not be used for](../explainer/guides/not-for.md) says the rest.
#
# ## 7. Interrupted
#
# Press Ctrl-C when the first epoch is done. (Here the program does it.)

# %%
keep = training._Run.write


def keep_and_stop(state: training._Run, *given: object) -> None:
    keep(state, *given)
    raise KeyboardInterrupt


again = f"{train} --run again --no-baselines"
with patch.object(training._Run, "write", keep_and_stop):
    run(again)
assert not Path("again/model.json").exists()

# %% [markdown]
# The same command goes on, to the very weights of the run that nobody stopped.

# %% tags=["loose"]
run(again)

# %%
weights = [
    next(Path(folder).glob("model-*.safetensors")).read_bytes()
    for folder in ("first", "again")
]
assert weights[0] == weights[1]

# %% [markdown]
# Another choice in the same folder is no continuation, and is refused by its name:

# %%
run(f"{train} --run first --seed 1")

# %% [markdown]
# ## 8. Predict
#
# A row for each visit. Of new patients, give their folder: `visitwise predict new --run first --out new.csv`. With a name that
# ends in `.parquet` it is [a label table](guide_meds.py#9-predictions-as-a-label-table) of MEDS.

# %% tags=["loose"]
run("visitwise predict --run first --out predictions.csv")
pd.read_csv("predictions.csv").round(4).head(5)

# %% [markdown]
# `hazard` is the prediction: the risk of the event between this visit and the next contact. `seen` is 1 for patients who taught
# the model; do not judge it by them.
#
# ## 9. Open it in the playground
#
# One file holds the model and the names of its inputs, and no patient:

# %%
run("visitwise export --run first --out mine.safetensors")

# %% [markdown]
# Open [the playground](../explainer/playground.md#a-model-of-your-own) and give it that file. Nothing is sent anywhere: the model runs in your
# browser, on a patient that you compose of its codes.

# %%
os.chdir("/")
place.cleanup()
