# %% [markdown]
# # From a MEDS folder
#
# Your hospital's records are in the Medical Event Data Standard, MEDS: Parquet files with a row for each event. This
# guide makes a cohort of such a folder, shows what each choice does to it, trains on it, and writes predictions back as
# a label table. It needs `pip install "visitwise[meds]"`. It brings its own sample; put your folder in its place.

# %%
import os
import shutil
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pandas as pd
import polars as pl
import torch

from visitwise import meds
from visitwise.baselines import LifeTableHazard
from visitwise.definition import CohortDefinition
from visitwise.estimator import SurvivalRNNEstimator
from visitwise.leakage import check_no_leak
from visitwise.meds import reading
from visitwise.meds.writing import write_parquet
from visitwise.run import first_cause_only
from visitwise.simulate import TEACHING
from visitwise.training import evaluate_nll

torch.set_num_threads(1)

# %% [markdown]
# Everything below is written into a folder that is gone at the end. With records of your own, leave these two lines out.

# %%
place = TemporaryDirectory()
os.chdir(place.name)

# %% [markdown]
# ## 1. A sample
#
# The simulator of the chapters writes its patients as MEDS. What it calls the event is named a death here.

# %%
drawn = TEACHING.draw(2_000, seed=4)
as_drawn = meds.write_cohort(
    drawn, "sample", outcome_code="MEDS_DEATH", shard_patients=500
)
files = [path for path in Path("sample").rglob("*.*") if path.is_file()]
print(*sorted(path.as_posix() for path in files), sep="\n")

# %% [markdown]
# A shard holds whole patients, each one's rows together and by time. A row without a time is always true.

# %%
events = pl.read_parquet("sample/data/train/0.parquet")
someone = events["subject_id"][0]
events.filter(pl.col("subject_id") == someone).head(8).to_pandas()

# %% [markdown]
# The last rows of the first patients say how their stories end. In your records a death has a row, too; the end of
# follow-up often has none, and then you say in another way when it was.

# %%
last = events.group_by("subject_id", maintain_order=True).last()
last.select("subject_id", "time", "code").head(5).to_pandas()

# %% [markdown]
# ## 2. Say what you ask
#
# Who will have a heart attack? The records do not say what a patient, a visit or an end is, so you do. Two choices have no
# default: which codes record the event, and until when somebody without it is known to be without it.

# %%
question = CohortDefinition(
    outcome=("ICD10CM//I21.9",),
    end_of_follow_up="code:END_OF_FOLLOWUP",
    competing=(("MEDS_DEATH",),),
)
print(question.to_toml())

# %% [markdown]
# `ICD10CM//I21.9` also stands for `ICD10CM//I21.9 heart attack`. A code of the outcome, of another cause or of the end is
# never shown to the model. All choices, with what they mean, are in
# [the reference](../explainer/reference/definition.md); `question.to_toml()` is a file, and `CohortDefinition.load` reads
# it back.
#
# ## 3. Read it

# %%
study = meds.read("sample", question)
study

# %% [markdown]
# Its flow is the flow chart of your paper: who was read, who was left out at which step, which records are no input.

# %%
study.flow

# %%
flow = study.flow
assert flow.read["patients"] == flow.n_excluded + flow.kept["patients"]
assert flow.kept["patients"] == len(study.cohort)
assert flow.dropped["with a code of an event"] > flow.kept["events"]

# %% [markdown]
# A patient who has had a heart attack by the end of the first visit is left out, and the visit that records the event is no
# input: here a visit is a day, and it is over when the day is. A visit that is not over before the event, or before the end
# of follow-up, is no row. More records than events bear the codes of an event, because a heart attack is coded again later.
# `study.cohort` is a cohort like those of the chapters, `study.train`, `study.tuning` and `study.held_out` are its parts, as
# the dataset splits them.
#
# An *unfinished interval* began with a visit, and follow-up ended inside it. Nobody saw how it went on.
# `censored_exposure` says how much of it counts as survived. Nothing is right where the next visit may come on any day, one
# half where visits come at regular intervals. An interval that ends in an event counts in full, and so do those before a
# visit at which follow-up ends. The simulator lets patients leave only when an interval is over, so that here, for once, 1
# would be right.
#
# ## 4. The choices that change the cohort
#
# Few hospitals write a row `END_OF_FOLLOWUP`. Take it out of the sample, and another rule has to say when follow-up ends.

# %%
shutil.copytree("sample", "endless")
for path in Path("endless/data").rglob("*.parquet"):
    shard = pl.read_parquet(path)
    shard.filter(pl.col("code") != "END_OF_FOLLOWUP").write_parquet(path)
extract = replace(question, end_of_follow_up="date:2003-12-31")
print(meds.read("endless", extract).flow)

# %% [markdown]
# Here is what that rule and the others do to the same records, each changed alone. `table:ends.csv`, a file with
# `subject_id` and `time`, is the fourth way to say when follow-up ends.

# %%
pressure = {"index": ("ICD10CM//I10",)}
changes = {
    "as above": ("sample", {}),
    "end: an extract's date": (
        "endless",
        {"end_of_follow_up": "date:2003-12-31"},
    ),
    "end: the last record": (
        "endless",
        {"end_of_follow_up": "last record"},
    ),
    "unfinished: all counts": ("sample", {"censored_exposure": 1}),
    "death: as if moved away": ("sample", {"competing": ()}),
    "visit: by its number": ("sample", {"visit": "column:encounter_id"}),
    "visit: 30 days apart": ("sample", {"visit": "gap:30d"}),
    "blanked: 30 days": ("sample", {"blanking_days": 30}),
    "from high blood pressure on": ("sample", pressure),
    "... washout: 90 days": ("sample", pressure | {"washout_days": 90}),
    "... history: half a year": (
        "sample",
        pressure | {"minimum_history_days": 183},
    ),
}


def counts(folder: str, change: dict[str, object]) -> dict[str, float]:
    outcome = meds.read(folder, replace(question, **change)).cohort.outcome
    attacks = int((outcome.cause == 1).sum())
    counted = outcome.n_rows - float((1 - outcome.censored_exposure).sum())
    return {
        "patients": len(outcome.stop),
        "rows": outcome.n_rows,
        "rows that count": round(counted),
        "heart attacks": attacks,
        "per 1,000 of these": round(1_000 * attacks / counted, 1),
    }


made = {name: counts(*change) for name, change in changes.items()}
table = pd.DataFrame.from_dict(made, orient="index")
table

# %%
assert len(table) == 11
rates = table["per 1,000 of these"]
assert rates.max() > 1.2 * rates["as above"]
assert rates["unfinished: all counts"] < rates["as above"]
few, all_of_them = table.loc["end: the last record"], table.loc["as above"]
assert few["rows"] < all_of_them["rows"]
assert few["rows"] == few["rows that count"]
assert few["heart attacks"] == all_of_them["heart attacks"]
assert table["rows"]["visit: 30 days apart"] < all_of_them["rows"]

# %% [markdown]
# Eleven cohorts, and no model yet. Where the last record ends follow-up, no interval begins that nobody sees to its end:
# fewer rows, the same heart attacks, and every row counts. With 30 days between visits there are fewer and longer
# intervals, and a visit is over only when these have passed. No choice is right by itself; each has to be written down, and
# `study.definition` goes wherever the study goes.
#
# ## 5. The choice that is easy to forget
#
# An extract's date on the *first* folder, where `END_OF_FOLLOWUP` is a code like any other:

# %%
forgot = meds.read("sample", extract).cohort
codes, outcome = forgot.visits.schema.codes, forgot.outcome
of_code = torch.repeat_interleave(forgot.visits.code_offsets.diff())
leaving = of_code[forgot.visits.codes == codes.index("END_OF_FOLLOWUP")]
last_row = forgot.visits.visit_offsets[:-1] + outcome.stop - 1
attacks = last_row[outcome.cause == 1]
pd.Series(
    {
        "rows after it": len(leaving),
        "heart attacks in them": int(torch.isin(leaving, attacks).sum()),
        "heart attacks elsewhere": int(
            (~torch.isin(attacks, leaving)).sum()
        ),
    }
).to_frame("")

# %% [markdown]
# Whoever has left cannot have the event, so a model learns from the code that nothing will happen. `check_no_leak` looks
# for columns that say who *has* the event, and passes this one:

# %%
assert not torch.isin(leaving, attacks).any()
named = [name for group in extract.causes for name in group]
found = check_no_leak(forgot, outcome_codes=named)
assert not found.findings
found

# %% [markdown]
# So list your codes once, and name those that are written by the office and not at the bedside:

# %%
told = replace(extract, never_input=("END_OF_FOLLOWUP",))
kept = meds.read("sample", told)
assert "END_OF_FOLLOWUP" not in kept.cohort.visits.schema.codes
print(kept.flow)

# %% [markdown]
# ## 6. What it refuses
#
# A folder that breaks the rules is refused before anything is made of it, with the file and the subject. The standard's own
# validator, in the package `meds`, looks at columns and their types: the first three below pass it. Break a copy in eight
# ways:

# %%
shard = Path("broken/data/train/0.parquet")
is_end = pl.col("code") == "END_OF_FOLLOWUP"
birth = pl.when(is_end).then(pl.lit("MEDS_BIRTH")).otherwise("code")
zone = pl.col("time").dt.replace_time_zone("UTC")
text = pl.col("numeric_value").cast(pl.String)
in_order = {
    "backwards": events.reverse(),
    "mixed up": events.sort("time"),
    "born later": events.with_columns(birth.alias("code")),
}
breaks = {
    name: partial(write_parquet, table, shard)
    for name, table in in_order.items()
} | {
    "local time": lambda: write_parquet(events.with_columns(zone), shard),
    "words": lambda: write_parquet(events.with_columns(text), shard),
    "twice": lambda: shutil.copy(shard, shard.with_name("7.parquet")),
    "cut off": lambda: shard.write_bytes(shard.read_bytes()[:5_000]),
    "empty": lambda: shutil.rmtree("broken/data"),
}
said = []
for name, spoil in breaks.items():
    shutil.copytree("sample", "broken")
    spoil()
    if find_spec("meds") and name in in_order:
        import pyarrow.parquet as pq
        from meds import DataSchema

        DataSchema.validate(pq.read_table(shard))
    try:
        meds.read("broken", question)
    except (ValueError, FileNotFoundError) as error:
        said.append(f"{name}:\n    {error}")
    else:
        raise AssertionError(f"{name} was read")
    shutil.rmtree("broken")
print(*said, sep="\n")

# %% [markdown]
# A misspelt code, or a choice that is missing, is refused as well. (Where some of several names occur, the others are
# warnings in the flow.)

# %%
said = []
for wrong in (
    'outcome = ["I21.9"]\nend_of_follow_up = "last record"',
    'outcome = ["I21.9"]',
):
    try:
        meds.read("sample", CohortDefinition.from_toml(wrong))
    except ValueError as error:
        said.append(str(error))
assert len(said) == 2
print(*said, sep="\n")

# %% [markdown]
# ## 7. Larger than memory
#
# `prepare` goes through the files one at a time and writes the study to a folder. It is the study of `read`, byte by byte.

# %%
meds.prepare("sample", question, "prepared")
study.save("saved")
prepared = {
    path.name: path.read_bytes() for path in Path("prepared").iterdir()
}
assert prepared == {
    path.name: path.read_bytes() for path in Path("saved").iterdir()
}
print(*sorted(prepared))

# %% [markdown]
# Pull the plug in the fourth of five files. (It keeps what it has every 10,000 patients; here, after each file.)

# %%
whole = reading.assemble


def unplugged(*given):
    if assembled.call_count == 4:
        raise KeyboardInterrupt
    return whole(*given)


with (
    patch.object(reading, "PATIENTS_KEPT_AT_ONCE", 1),
    patch.object(reading, "assemble", side_effect=unplugged) as assembled,
    suppress(KeyboardInterrupt),
):
    meds.prepare("sample", question, "again")
assert not Path("again").exists()

# %% [markdown]
# Nothing half-written has the folder's name. The same call goes on with the fourth file:

# %%
with patch.object(reading, "assemble", side_effect=whole) as assembled:
    meds.prepare("sample", question, "again")
assert {
    path.name: path.read_bytes() for path in Path("again").iterdir()
} == prepared
f"{assembled.call_count} of 5 files were left to do"

# %% [markdown]
# ## 8. There and back
#
# A round trip loses nothing: with the definition that `write_cohort` returned, the records give the cohort that was drawn,
# bit for bit. (`definition.toml` in the folder has it, too.)

# %%
back = meds.read("sample", as_drawn).cohort
back = back.select(back.visits.patient_id.argsort())
for part in ("visits", "outcome"):
    before, after = getattr(drawn.cohort, part), getattr(back, part)
    for field in fields(before):
        if field.name not in ("schema", "followup_days"):
            one, other = (
                getattr(before, field.name),
                getattr(after, field.name),
            )
            assert torch.equal(one, other), field.name
days = drawn.cohort.outcome.followup_days - back.outcome.followup_days
microsecond = 1 / 86_400e6
assert days.abs().max() <= microsecond
back

# %% [markdown]
# ## 9. Predictions, as a label table
#
# Train on heart attacks alone: a death ends follow-up without one. Beside the LSTM stands the life table, which knows the
# number of the visit and nothing else. (Whether the difference is more than luck,
# [the command line](guide_command_line.py) says.)

# %% tags=["loose"]
attack = first_cause_only(study)
estimator = SurvivalRNNEstimator(
    embedding=8, hidden=16, epochs=8, batch_size=64, learning_rate=1e-2
)
estimator.fit(attack.train, validation=attack.tuning)
life_table = LifeTableHazard.fit(attack.train)
scores = {
    "LSTM": estimator.score(attack.held_out),
    "life table": -evaluate_nll(life_table, attack.held_out),
}
pd.Series(scores).round(4).to_frame("score")

# %% [markdown]
# New patients come in another folder. Read them with the vocabulary of those who trained the model. With `predict` nothing
# has to be known of their future: every visit up to an event or a death is a row.

# %%
meds.write_cohort(
    TEACHING.draw(200, seed=5), "new", outcome_code="MEDS_DEATH"
)
new = meds.read("new", question, vocabulary=study.vocabulary, predict=True)
hazard = new.cohort.visits.unpad(estimator.predict_hazard(new.cohort))
meds.write_labels(new, hazard, "predictions.parquet")
predictions = pl.read_parquet("predictions.parquet")
assert predictions.height == new.cohort.outcome.n_rows

# %% tags=["loose"]
predictions.head(4).to_pandas()

# %% [markdown]
# A row for each visit at risk: who, when the visit closed, and the hazard of the interval that begins there. The package
# `meds`, where it is installed, agrees that this is a label table:

# %%
if find_spec("meds"):
    import pyarrow.parquet as pq
    from meds import LabelSchema

    LabelSchema.validate(pq.read_table("predictions.parquet"))

# %% [markdown]
# What came of them is a label table, too, to be scored by others: `meds.labels_of(study)`.
#
# ## 10. Your own
#
# Three lines read your folder, `question` being your choices. From here every chapter's code runs on it.
#
# ```python
# question = CohortDefinition.load("question.toml")
# study = meds.prepare("records", question, "study")
# print(study.flow)
# ```
#
# [From a folder to a report](guide_command_line.py) does the same without writing any code.

# %%
os.chdir("/")
place.cleanup()
