# %% [markdown]
# # From a data frame
#
# You have a CSV, or a query's result in pandas or polars: one row for each thing recorded, and another table that says what
# became of each patient. Five lines make a study of them. This guide then trains on it and puts the hazards back beside
# your rows. It needs `pip install "visitwise[meds]"`.

# %%
import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import polars as pl
import torch

from visitwise.baselines import LifeTableHazard
from visitwise.estimator import SurvivalRNNEstimator
from visitwise.simulate import TEACHING
from visitwise.tables import FROM_TABLE, study_from_table
from visitwise.training import evaluate_nll

torch.set_num_threads(1)
place = TemporaryDirectory()
os.chdir(place.name)

# %% [markdown]
# ## 1. Two files
#
# The sample is simulated. Your export takes the place of this cell: it has to have these columns, and the rows in any order.

# %%
cohort = TEACHING.draw(1_500, seed=6).cohort
visits, outcome = cohort.visits, cohort.outcome
names = np.array([f"P-{number:04}" for number in range(len(cohort))])
day_0 = np.datetime64("2015-01-01", "s")


def dates(days: torch.Tensor) -> np.ndarray:
    return day_0 + (days * 86_400).long().numpy().astype("timedelta64[s]")


visit = torch.repeat_interleave(visits.code_offsets.diff())
codes = pd.DataFrame(
    {
        "patient": names[visits.patient[visit]],
        "time": dates(visits.day[visit]),
        "code": np.array(visits.schema.codes)[visits.codes],
    }
)
random = np.random.default_rng(0)
pressure = codes.drop_duplicates(["patient", "time"]).assign(
    code="systolic"
)
pressure = pressure[random.random(len(pressure)) < 0.4]
pressure["value"] = random.normal(140, 15, len(pressure)).round()
followed = pd.Series(dates(outcome.followup_days))
seen = outcome.observed.numpy()
became = {
    "patient": names,
    "event_time": followed.where(seen),
    "end_of_follow_up": followed.where(~seen),
}
rows = pd.concat([codes, pressure]).sample(frac=1, random_state=0)
rows.to_csv("events.csv", index=False)
pd.DataFrame(became).to_csv("outcomes.csv", index=False)

# %% [markdown]
# ## 2. Five lines
#
# ```python
# import pandas as pd
# from visitwise.tables import study_from_table
#
# events = pd.read_csv("events.csv", parse_dates=["time"])
# outcomes = pd.read_csv("outcomes.csv", parse_dates=["event_time", "end_of_follow_up"])
# study = study_from_table(events, outcomes)
# ```

# %%
events = pd.read_csv("events.csv", parse_dates=["time"])
outcomes = pd.read_csv(
    "outcomes.csv", parse_dates=["event_time", "end_of_follow_up"]
)
study = study_from_table(events, outcomes)
study

# %%
events.head(4)

# %%
outcomes.head(4)

# %% [markdown]
# What it needs: `patient` (whole numbers or names), `time`, `code`, and `value` if there are numbers. And for each patient when
# the event was, if there was one, or else until when the patient is known to be without it. Nobody can guess the second from
# the first: the last record is no end of follow-up.

# %%
print(study.flow)

# %% [markdown]
# An *unfinished interval* began with a visit, and follow-up ended inside it: nobody saw how it went on. It does not count,
# unless `censored_exposure` in the [definition](../explainer/reference/definition.md) says how much of it does. An interval
# that ends in an event counts in full, and so do those before a visit at which follow-up ends, such as the last that you know
# of.

# %%
assert study.flow.read["records"] == len(events)
assert study.flow.kept["events"] == outcomes["event_time"].notna().sum()
assert study.cohort.visits.schema.measurements == ("systolic",)

# %% [markdown]
# `systolic` has numbers, so it became a measurement: the last number of the visit is an input, and whether there is one. The
# other codes are inputs as they are. `study.names` keeps your patients' names, in the order of `study.cohort`.
#
# ## 3. polars, and days instead of dates
#
# Both kinds of frame give the same study. So does a table without dates, whose times are numbers of days. A number is a
# moment, though, and a date lasts through its day: an end of `60` is the beginning of day 60, an end of `2015-03-02` the end
# of that day. (Here nothing is recorded on such a day, so that the rows are the same.)

# %%
first_day = pd.Timestamp("2015-01-01")
in_days = {
    "events": events.assign(time=(events["time"] - first_day).dt.days),
    "outcomes": outcomes.assign(
        event_time=(outcomes["event_time"] - first_day)
        / pd.Timedelta(days=1),
        end_of_follow_up=(outcomes["end_of_follow_up"] - first_day).dt.days,
    ),
}
others = {
    "polars": study_from_table(
        pl.read_csv("events.csv", try_parse_dates=True),
        pl.read_csv("outcomes.csv", try_parse_dates=True),
    ),
    "days": study_from_table(**in_days),
}
mine = study.cohort
for other in others.values():
    assert torch.equal(other.cohort.visits.codes, mine.visits.codes)
    assert torch.equal(other.cohort.visits.day, mine.visits.day)
    assert torch.equal(other.cohort.outcome.stop, mine.outcome.stop)
print(*others.values(), sep="\n")

# %% [markdown]
# ## 4. Other choices
#
# What counts as a visit, who is left out and the like are in a
# [definition](../explainer/reference/definition.md). `FROM_TABLE` is the one used above; change what you mean to.
# [From a MEDS folder](guide_meds.py) shows what each choice does to a cohort.

# %%
strict = replace(FROM_TABLE, visit="gap:36h", blanking_days=14)
print(study_from_table(events, outcomes, definition=strict).flow)

# %% [markdown]
# ## 5. What goes wrong, and how it is said
#
# Each of these is refused, with the patient or the column:

# %%
wrong = {
    "dates left as text": (pd.read_csv("events.csv"), outcomes),
    "a column by another name": (
        events.rename(columns={"code": "ICD"}),
        outcomes,
    ),
    "a patient twice": (events, pd.concat([outcomes, outcomes.iloc[[7]]])),
    "a patient without an outcome": (events, outcomes.drop(index=7)),
    "neither event nor end": (
        events,
        outcomes.assign(
            end_of_follow_up=outcomes["end_of_follow_up"].mask(
                outcomes.index == 0
            )
        ),
    ),
    "dates and days": (in_days["events"], outcomes),
    "a time zone": (
        events.assign(time=events["time"].dt.tz_localize("UTC")),
        outcomes,
    ),
    "numbers with units": (
        events.assign(value=events["value"].astype(str) + " mmHg"),
        outcomes,
    ),
}
said = []
for what, tables in wrong.items():
    try:
        study_from_table(*tables)
    except ValueError as error:
        said.append(f"{what}:\n    {error}")
assert len(said) == len(wrong)
print(*said, sep="\n")

# %% [markdown]
# ## 6. Train
#
# Three parts, by patient: one trains, one decides when to stop, one judges.

# %% tags=["loose"]
estimator = SurvivalRNNEstimator(
    embedding=8, hidden=16, epochs=8, batch_size=64, learning_rate=1e-2
)
estimator.fit(study.train, validation=study.tuning)
life_table = LifeTableHazard.fit(study.train)
scores = {
    "LSTM": estimator.score(study.held_out),
    "life table": -evaluate_nll(life_table, study.held_out),
}
pd.Series(scores).round(4).to_frame("minus the NLL per row")

# %%
assert scores["LSTM"] > scores["life table"]

# %% [markdown]
# ## 7. Hazards beside your rows
#
# A hazard belongs to a visit: the risk of the event between its close and the next contact. The study knows each patient's
# day 0 and name, so the hazards go back to your own keys.

# %% tags=["loose"]
visits = study.cohort.visits
hazard = visits.unpad(estimator.predict_hazard(study.cohort))
closes = (
    study.origin[visits.patient] + (visits.day * 86_400e6).round().long()
)
by_visit = pd.DataFrame(
    {
        "patient": np.array(study.names)[visits.patient],
        "time": closes.numpy().astype("datetime64[us]"),
        "hazard": hazard.numpy().round(4),
    }
)
beside = events.merge(by_visit, on=["patient", "time"], how="left")
beside[beside["patient"] == "P-0002"].sort_values("time").tail(6)

# %% [markdown]
# Rows without a hazard belong to no visit that was input, such as those after the event:

# %%
assert beside["hazard"].isna().sum() == study.flow.n_dropped
assert len(beside) == len(events)
int(beside["hazard"].isna().sum())

# %% [markdown]
# These hazards include patients who trained the model: to judge it, use `study.held_out` alone, as above.
# `study.save("study")` keeps the study; `visitwise describe study` and `visitwise train study --run first` go on from it
# [without code](guide_command_line.py).

# %%
study.save("study")
assert Path("study").is_dir()
os.chdir("/")
place.cleanup()
