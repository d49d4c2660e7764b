# %% [markdown]
# # From scikit-learn, lifelines and scikit-survival
#
# You know scikit-learn: `clone`, `cross_validate`, `GridSearchCV`. This guide trains the survival LSTM with them, patient
# by patient, and hands its forecasts to the metrics of lifelines and scikit-survival. It asks nothing: copy the cells that
# you need. For the last part, `pip install scikit-survival`; the package itself does without it.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from lifelines import KaplanMeierFitter
from lifelines.utils import concordance_index
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    StratifiedKFold,
    cross_validate,
    train_test_split,
)
from sksurv.metrics import brier_score, cumulative_dynamic_auc

from visitwise import metrics, plots
from visitwise.baselines import LifeTableHazard
from visitwise.cohort import Cohort
from visitwise.estimator import SurvivalRNNEstimator, followup_from
from visitwise.notebook import show
from visitwise.simulate import TEACHING
from visitwise.training import evaluate_nll

torch.set_num_threads(1)
plt.style.use("visitwise.survival")

# %% [markdown]
# ## 1. Cross-validate by patient
#
# A `Cohort` is indexed like an array whose rows are *patients*, so scikit-learn's own splitters deal patients. No visit
# of a patient can be in training while another is in the test.

# %%
cohort = TEACHING.draw(2_000, seed=4).cohort
mine, held_out = train_test_split(cohort, test_size=0.3, random_state=0)
mine

# %% [markdown]
# All settings are arguments, and `fit` takes cohorts where scikit-learn has `X`. The share that decides when to stop is
# taken from the patients that `fit` is given, so from the training folds alone.

# %% tags=["loose"]
estimator = SurvivalRNNEstimator(
    embedding=8,
    hidden=16,
    epochs=6,
    batch_size=64,
    learning_rate=1e-2,
    validation_share=0.15,
    seed=0,
)
folds = KFold(3, shuffle=True, random_state=0)
result = cross_validate(estimator, mine, cv=folds, return_indices=True)
result["test_score"].round(4)

# %% [markdown]
# `score` is minus the negative log-likelihood per row at risk: larger is better, and no model is better than the truth
# other than by luck. By itself the number says little. Put the life table beside it, on the same folds: a hazard that
# knows the number of the visit and nothing of the patient.


# %% tags=["loose"]
def life_table_score(train: np.ndarray, test: np.ndarray) -> float:
    return -evaluate_nll(LifeTableHazard.fit(mine[train]), mine[test])


pairs = zip(*result["indices"].values(), strict=True)
scores = pd.DataFrame({"LSTM": result["test_score"]})
scores["life table"] = [life_table_score(*pair) for pair in pairs]
scores["gained"] = scores["LSTM"] - scores["life table"]
scores.rename_axis("fold").round(4)

# %%
assert (scores["gained"] > 0).all()

# %% [markdown]
# ## 2. A scorer of your own
#
# Any function of `(estimator, cohort, y=None)` is one. There is no `predict`, because one number for each patient would
# have to say from which visit and how far ahead; `predict_hazard` gives the hazard at every visit at risk. With
# `StratifiedKFold` each fold gets its share of the events: it asks for `y`, which `fit` does not read.


# %% tags=["loose"]
def auc(estimator: SurvivalRNNEstimator, cohort: Cohort, y=None) -> float:
    hazard = estimator.predict_hazard(cohort)
    return float(metrics.incident_dynamic_auc(hazard, cohort.outcome))


observed = mine.outcome.observed.numpy()
by_event = StratifiedKFold(3, shuffle=True, random_state=0)
several = cross_validate(
    estimator,
    mine,
    observed,
    cv=by_event,
    scoring={"auc": auc, "likelihood": SurvivalRNNEstimator.score},
)
pd.DataFrame(several).filter(like="test_").round(4)

# %%
assert (several["test_auc"] > 0.5).all()

# %% [markdown]
# ## 3. Search
#
# `n_jobs=2` searches in two processes and finds the same. The best choice is trained again on all the patients that the
# search was given.

# %% tags=["loose"]
search = GridSearchCV(
    estimator, {"hidden": [4, 16], "time_features": [False, True]}, cv=folds
)
search.fit(mine)
tried = pd.DataFrame(search.cv_results_)
columns = ["param_hidden", "param_time_features", "mean_test_score"]
tried[[*columns, "std_test_score"]].round(4)

# %% [markdown]
# The best of several scores is chosen for its luck, too. Report one from patients on whom nothing was chosen. (It can come
# out better, as it may here: other patients, and the difference is less than that between two folds.)

# %% tags=["loose"]
searched = {
    "where it was chosen": search.best_score_,
    "held out": search.score(held_out),
}
pd.Series(searched).round(4).to_frame("score")

# %%
between_folds = np.ptp(result["test_score"])
assert abs(searched["held out"] - search.best_score_) < between_folds

# %% [markdown]
# ## 4. A forecast
#
# At each visit the model above says one thing, the hazard of the next interval. Multiplied along a patient's own visits
# such hazards are [no forecast](../explainer/11-extensions.md#the-next-eight-intervals): that there was a next visit is
# known there already. With a `horizon` the model learns a curve from every visit on. `predict_survival` then takes the
# visit to forecast from, and shows the model nothing after it.

# %% tags=["loose"]
forecaster = SurvivalRNNEstimator(
    horizon=8,
    embedding=8,
    hidden=16,
    epochs=6,
    batch_size=64,
    learning_rate=1e-2,
).fit(mine)
curves = forecaster.predict_survival(held_out, landmark=3)
curves.iloc[:, :4].round(3)

# %% [markdown]
# A row for each number of intervals ahead, a column for each patient at risk at visit 3, as lifelines has it. Where each
# patient's record ends, `landmark=cohort.visits.length - 1` forecasts from the last visit. What became of the same
# patients, counted:

# %%
seen = followup_from(held_out, landmark=3, horizon=8)
assert seen.index.equals(curves.columns)
seen.groupby(["time", "event"]).size().unstack(fill_value=0).head(6)

# %% [markdown]
# An event in the second interval ahead has the time 2. Who was lost after two has half an interval more: that patient
# survived the second, and is so after those whose event fell in it. (Lost inside the third, as `censored_exposure` below 1
# says, it is the same: two are survived.) On such times no event ties with a censoring, and
# libraries that break those ties in different ways agree.
#
# ## 5. What the others make of it

# %% tags=["figure:guide_forecast", "loose"]
counted = KaplanMeierFitter().fit(seen["time"], seen["event"])
happened = counted.survival_function_at_times(curves.index)
figure, axes = plt.subplots(figsize=(5.2, 3.6))
ahead = [0, *curves.index]
axes.step(
    ahead,
    [1, *happened],
    where="post",
    color=plots.COLOURS["survival"],
    label="counted (lifelines)",
)
axes.plot(
    ahead,
    [1, *curves.mean(axis=1)],
    "o",
    color=plots.COLOURS["hazard"],
    label="forecast, mean",
)
axes.set(
    xlabel="intervals ahead of visit 3", ylabel="survival", ylim=(0, 1.05)
)
axes.legend(loc="lower left", frameon=False)
show(
    figure,
    alt="Survival against intervals ahead: the steps that Kaplan and Meier "
    "count, and the mean forecast as dots along them. After eight "
    f"intervals {happened.iloc[-1]:.2f} are counted and "
    f"{curves.mean(axis=1).iloc[-1]:.2f} forecast.",
)

# %%
assert (curves.mean(axis=1) - happened).abs().max() < 0.06

# %% [markdown]
# scikit-survival wants events and times as one array, and a row for each patient. As its first argument it takes those
# who tell how many are lost; here they are the judged patients themselves, as in `visitwise.metrics`. Both sides print
# the same.

# %% tags=["loose"]
y = seen.to_records(index=False)
risk = 1 - curves.to_numpy().T
theirs = {
    "concordance": concordance_index(
        seen["time"], curves.loc[8], seen["event"]
    ),
    "AUC within 8": cumulative_dynamic_auc(y, y, risk[:, -1], [8])[0][0],
    "Brier score within 8": brier_score(y, y, 1 - risk, curves.index)[1][
        -1
    ],
}
survival = torch.full((len(held_out), 8), torch.nan, dtype=torch.float64)
survival[held_out.outcome.stop > 3] = torch.from_numpy(1 - risk)
outcome, at_risk = held_out.outcome, {"landmark": 3, "horizon": 8}
ours = {
    "concordance": metrics.concordance(
        1 - survival[:, -1], outcome, **at_risk
    ),
    "AUC within 8": metrics.cumulative_dynamic_auc(
        1 - survival[:, -1], outcome, **at_risk
    ),
    "Brier score within 8": metrics.brier(survival, outcome, **at_risk),
}
table = pd.DataFrame({"theirs": theirs, "ours": ours}).astype(float)
table.round(4)

# %%
assert (table["theirs"] - table["ours"]).abs().max() < 1e-9

# %% [markdown]
# With whole numbers for the lost as well, scikit-survival takes those lost at the end of an interval for lost before its
# events, and [weighs the events too much](../explainer/08-training-and-evaluating.md#why-gk-). One more difference is no
# matter of ties: `integrated_brier_score` joins the horizons by trapezoids, `metrics.integrated_brier` takes their plain
# mean.

# %% tags=["loose"]
whole = seen.assign(time=np.floor(seen["time"])).to_records(index=False)
upto = curves.index[:-1]
tied = brier_score(whole, whole, 1 - risk[:, :-1], upto)[1][-1]
untied = brier_score(y, y, 1 - risk[:, :-1], upto)[1][-1]
within = {"whole numbers": tied, "half an interval more": untied}
pd.Series(within).round(4).to_frame("Brier score within 7")

# %%
assert tied > untied

# %% [markdown]
# ## 6. Keep it
#
# `forecaster.model_` is a model like any other: `save_model(forecaster.model_, "mine.safetensors")` writes numbers and
# JSON, which `load_model` reads without unpickling. `pickle` and `joblib` keep the estimator with its
# settings; unpickle only files that you made yourself. All arguments are in
# [the reference](../explainer/reference/estimator.md).
