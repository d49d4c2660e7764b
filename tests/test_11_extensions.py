"""The claims of chapter 11, one test each, and the pieces of the page that could drift from the package."""

import math
import re
import warnings
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lifelines import AalenJohansenFitter, KaplanMeierFitter, NelsonAalenFitter
from sksurv.nonparametric import cumulative_incidence_competing_risks
from torch import Tensor

from visitwise.check import extensions
from visitwise.cohort import Cohort, Outcome
from visitwise.functional import (
    all_cause_logits,
    cause_hazard,
    competing_risks_nll,
    cumulative_hazard,
    cumulative_incidence,
    fixed_horizon_bce,
    hazard,
    hazard_nll,
    horizon_nll,
    logits_from_cloglog,
    logits_from_hazard,
    survival,
)
from visitwise.losses import outcome_competing_nll, outcome_horizon_nll
from visitwise.model import CompetingRisksRNN, HorizonRNN, SurvivalRNN
from visitwise.simulate import SCHEMA, Simulator
from visitwise.training import fit

PAGE = Path(__file__).resolve().parents[1] / "explainer" / "11-extensions.md"
ADA = torch.tensor([[0.1, 0.05], [0.2, 0.1], [0.3, 0.2]], dtype=torch.float64)
BEN = torch.tensor([[0.15, 0.05], [0.25, 0.1]], dtype=torch.float64)
WIDTH, LANDMARK, AHEAD = 40, 3, 8
SIZE = {"embedding": 8, "hidden": 24}
HOW = {"epochs": 3, "batch_size": 64, "learning_rate": 1e-2, "progress": False}


def logits_of(hazards: Tensor) -> Tensor:
    return hazards.log() - (1 - hazards.sum(-1, keepdim=True)).log()


@cache
def patients() -> SimpleNamespace:
    """Followed to the end, and the same patients with 6 % lost after each interval; most of them for training."""
    world = Simulator(n_causes=2, event_rate=0.6, second_rate=0.25, dropout=0.0)
    everybody = world.draw(12_000, seed=7).cohort
    followed = torch.from_numpy(np.random.default_rng(7).geometric(0.06, len(everybody)))
    stop = torch.minimum(everybody.outcome.stop, followed)
    cause = everybody.outcome.cause.where(followed >= everybody.outcome.stop, 0)
    visits = everybody.visits.select(torch.arange(len(everybody)), stop)
    study = Cohort(visits, Outcome.of(stop, cause > 0, cause=cause))
    train, validation, unseen = (torch.arange(*ends) for ends in ((0, 4500), (4500, 6000), (6000, 12_000)))
    return SimpleNamespace(
        world=world,
        everybody=everybody,
        study=study,
        train=study.select(train),
        validation=study.select(validation),
        unseen=everybody.select(unseen),
    )


def at_landmark() -> tuple[Cohort, Tensor, Tensor]:
    """Patients still there at the landmark, whether the event comes in time, and their true hazards from then on."""
    unseen, world = patients().unseen, patients().world
    there = unseen.select((unseen.outcome.stop > LANDMARK).nonzero()[:, 0])
    happened = there.outcome.observed & (there.outcome.stop <= LANDMARK + AHEAD)
    box = there.visits.pad(world.hazard(there.visits), fill=torch.nan)
    return there, happened.double(), box[:, LANDMARK : LANDMARK + AHEAD]


def fifths(risk: Tensor, happened: Tensor) -> Tensor:
    return torch.tensor([[risk[who].mean(), happened[who].mean()] for who in risk.argsort().chunk(5)]).T


def crude_hazards(outcome: Outcome) -> Tensor:
    interval = torch.arange(1, WIDTH + 1)[:, None]
    at_risk = (outcome.stop >= interval).sum(1)
    events = [((outcome.stop == interval) & (outcome.cause == c)).sum(1) for c in (1, 2)]
    return torch.stack(events, 1).double() / at_risk[:, None]


# ------------------------------------------------------------------------------------------- one of them, or nothing


def test_untrained_sigmoids_give_negative_survival_and_a_softmax_cannot():
    random = np.random.default_rng(0)
    for hidden in (16, 64, 256):
        state = torch.from_numpy(random.uniform(-1, 1, (200, hidden)))
        for _ in range(20):
            bound = hidden**-0.5  # as PyTorch draws a linear layer
            weight, bias = (torch.from_numpy(random.uniform(-bound, bound, size)) for size in ((3, hidden), 3))
            logits = state @ weight.T + bias
            assert (hazard(logits).sum(-1) > 1).double().mean() > 0.95
            assert (cause_hazard(logits).sum(-1) < 1).all()
    wild = torch.from_numpy(random.normal(scale=300, size=(10_000, 3)))
    assert cause_hazard(wild).sum(-1).max() <= 1 + 1e-12
    curve = survival(all_cause_logits(wild))
    assert ((curve >= 0) & (curve <= 1) & (curve.diff(prepend=torch.ones(1)) <= 0)).all()


def test_a_softmax_without_nothing_leaves_nobody_after_one_interval():
    logits = torch.from_numpy(np.random.default_rng(1).normal(size=(50, 3)))
    assert (1 - logits.softmax(-1).sum(-1)).abs().max() < 1e-12


def test_adas_table_is_what_a_plain_loop_gives():
    alive, stroke_by, death_by = 1.0, 0.0, 0.0
    for k, (stroke, death) in enumerate(ADA.tolist()):
        stroke_by += alive * stroke
        death_by += alive * death
        alive *= 1 - stroke - death
        incidence = cumulative_incidence(logits_of(ADA))[k]
        assert incidence.tolist() == pytest.approx([stroke_by, death_by], abs=1e-12)
        assert float(survival(all_cause_logits(logits_of(ADA)))[k]) == pytest.approx(alive, abs=1e-12)
        assert stroke_by + death_by + alive == pytest.approx(1.0)


def test_the_loss_is_whether_something_happened_and_which_it_was():
    logits = logits_of(ADA)[None]
    for stop in (1, 2, 3):
        before = -sum(math.log(1 - sum(row)) for row in ADA[: stop - 1].tolist())
        last = ADA[stop - 1]
        for cause in (0, 1, 2):
            expected = before - math.log(last[cause - 1] if cause else 1 - last.sum())
            given = torch.tensor([stop]), torch.tensor([cause])
            assert float(competing_risks_nll(logits, *given)) == pytest.approx(expected, abs=1e-12)
            whether = hazard_nll(all_cause_logits(logits), given[0], given[1] > 0)
            which = -math.log(last[cause - 1] / last.sum()) if cause else 0.0
            assert float(whether) + which == pytest.approx(expected, abs=1e-12)


# ---------------------------------------------------------------------------------------------- cumulative incidence


def test_one_minus_kaplan_meier_is_above_the_truth_and_cumulative_incidence_is_on_it():
    study, everybody = patients().study.outcome, patients().everybody.outcome
    interval = torch.arange(1, WIDTH + 1)[:, None]
    truth = torch.stack([((everybody.stop <= interval) & (everybody.cause == c)).double().mean(1) for c in (1, 2)], 1)
    crude = crude_hazards(study)
    estimate, kaplan_meier = cumulative_incidence(logits_of(crude)), 1 - (1 - crude).cumprod(0)
    assert (estimate[:20] - truth[:20]).abs().max() < 0.015
    assert (kaplan_meier[19] - truth[19] > 0.04).all()
    assert kaplan_meier[-1].sum() > 1
    assert (kaplan_meier > estimate - 1e-12).all()  # whatever the data


def test_cumulative_incidence_of_crude_hazards_is_aalen_johansen_of_lifelines_and_of_scikit_survival():
    outcome = patients().study.select(torch.arange(1500)).outcome
    ours = cumulative_incidence(logits_of(crude_hazards(outcome)[:25]))
    time = (outcome.stop + 0.5 * (outcome.cause == 0)).numpy()
    for c in (1, 2):
        fitter = AalenJohansenFitter(calculate_variance=False, seed=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the ties
            fitter.fit(time, outcome.cause.numpy(), event_of_interest=c)
        theirs = fitter.cumulative_density_.iloc[:, 0]
        for k in range(25):
            assert float(theirs[theirs.index < k + 1.3].iloc[-1]) == pytest.approx(float(ours[k, c - 1]), abs=1e-9)
    when, curves = cumulative_incidence_competing_risks(outcome.cause.numpy(), outcome.stop.double().numpy())
    place = np.searchsorted(when, np.arange(1, 26), side="right") - 1
    np.testing.assert_allclose(curves[1:, place].T, ours.numpy(), atol=1e-9)


def test_a_network_learns_the_hazards_of_both_causes_from_one_loss():
    known = patients()
    model = CompetingRisksRNN.for_cohort(known.train, **SIZE).double()
    fit(model, known.train, known.validation, loss=outcome_competing_nll, **HOW)
    visits = known.unseen.visits
    learned, true = visits.unpad(model.predict(visits).cause_hazard), known.world.cause_hazard(visits)
    logits = torch.logit(torch.stack([learned, true]))
    for c in (0, 1):
        assert torch.corrcoef(logits[..., c])[0, 1] > 0.7
        assert abs(learned[:, c].mean() / true[:, c].mean() - 1) < 0.2
    assert torch.corrcoef(torch.stack([logits[0, :, 0], logits[1, :, 1]]))[0, 1] < 0.6  # and does not mix them up


# ------------------------------------------------------------------------------------------- when hazards may be added


def test_exp_of_minus_the_plain_sum_is_above_survival_and_meets_it_where_hazards_are_small():
    random = np.random.default_rng(2)
    for largest in (0.9, 0.3, 0.1, 0.01):
        h = torch.from_numpy(random.uniform(0, largest, (100, 12)))
        logits = logits_from_hazard(h)
        torch.testing.assert_close(torch.exp(-cumulative_hazard(logits)), survival(logits))
        assert (torch.exp(-h.cumsum(-1)) > survival(logits)).all()
        apart = cumulative_hazard(logits)[:, -1] - h.sum(1)
        assert (apart > (h**2 / 2).sum(1)).all()
        assert (apart < (h**2 / 2).sum(1) / (1 - largest) ** 2).all()


def test_the_sum_of_crude_hazards_is_nelson_aalen_and_the_product_kaplan_meier():
    outcome = patients().study.select(torch.arange(1500)).outcome
    crude = crude_hazards(outcome).sum(1)[:25]
    time, seen = (outcome.stop + 0.5 * ~outcome.observed).numpy(), outcome.observed.numpy()
    at = np.arange(1, 26)
    nelson_aalen = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(time, seen).cumulative_hazard_at_times(at)
    np.testing.assert_allclose(crude.cumsum(0), nelson_aalen, atol=1e-12)
    kaplan_meier = KaplanMeierFitter().fit(time, seen).survival_function_at_times(at)
    np.testing.assert_allclose((1 - crude).cumprod(0), kaplan_meier, atol=1e-12)


def test_a_hazard_is_below_rate_times_gap_and_tends_to_it():
    gap = torch.logspace(1, -5, 50, dtype=torch.float64)
    for rate in (0.05, 0.4, 3.0):
        h = hazard(logits_from_cloglog((rate * gap).log()))
        torch.testing.assert_close(h, -torch.expm1(-rate * gap))
        ratio = rate * gap / h
        assert (ratio > 1).all()
        assert (ratio.diff() < 0).all()
        assert ratio[-1] < 1 + 1e-4


@pytest.mark.parametrize("rate", [0.1, 0.6])
def test_the_discrete_loss_less_log_gap_per_event_tends_to_the_continuous_one(rate):
    time = torch.from_numpy(np.random.default_rng(3).exponential(1 / rate, 400))
    years, seen = time.clamp(max=4.0), time < 4
    for model_rate in (rate, 0.3):
        continuous = (model_rate * years).mean() - seen.double().mean() * math.log(model_rate)
        apart, losses = [], []
        for a_year in (1, 16, 256):
            logits = logits_from_cloglog(torch.full((400, 4 * a_year), math.log(model_rate / a_year)))
            losses.append(hazard_nll(logits.double(), (years * a_year).ceil().long(), seen))
            apart.append(abs(float(losses[-1] - seen.double().mean() * math.log(a_year) - continuous)))
        assert losses[0] < losses[1] < losses[2]
        assert apart[2] < 1e-3
        assert apart[2] < apart[0]


# -------------------------------------------------------------------------------------------- the next eight intervals


def test_the_horizon_head_is_calibrated_where_true_hazards_along_the_record_are_not():
    known = patients()
    there, happened, to_come = at_landmark()
    model = HorizonRNN.for_cohort(known.train, horizon=AHEAD, **SIZE).double()
    fit(model, known.train, known.validation, loss=outcome_horizon_nll, **HOW)
    forecast = 1 - model.predict(there.visits).survival[:, LANDMARK, -1]
    said, came = fifths(forecast, happened)
    assert abs(forecast.mean() - happened.mean()) < 0.04
    assert (said - came).abs().max() < 0.08
    frozen = extensions.frozen_hazard(to_come)
    said, came = fifths(frozen, happened)
    assert (came > said + 0.03).all()
    along = extensions.along_the_record(to_come)
    said, came = fifths(along, happened)
    assert came[0] > 4 * said[0]
    assert came[0] > came[1]  # who had the event early is taken for safe
    errors = [((risk - happened) ** 2).mean() for risk in (forecast, frozen, along)]
    assert errors[0] < min(errors[1:])


def test_a_forecast_reads_nothing_after_its_landmark():
    visits = patients().unseen.visits
    long = visits.select((visits.length > 10).nonzero()[:50, 0])
    short = long.select(torch.arange(50), torch.full((50,), LANDMARK + 1))
    model = HorizonRNN(SCHEMA, horizon=AHEAD, **SIZE).double()
    forecast = model.predict(long).survival[:, : LANDMARK + 1]
    torch.testing.assert_close(forecast, model.predict(short).survival, rtol=0, atol=1e-12)


def test_each_visit_is_a_landmark_with_the_likelihood_of_chapter_1():
    random = np.random.default_rng(4)
    logits = torch.from_numpy(random.normal(size=(6, 5, 3)))
    stop, observed = torch.from_numpy(random.integers(1, 6, 6)), torch.from_numpy(random.random(6) < 0.5)
    expected = 0.0
    for patient in range(6):
        for k in range(int(stop[patient])):
            left = int(stop[patient]) - k
            rows, seen = min(left, 3), bool(observed[patient]) and left <= 3
            expected += hazard_nll(logits[patient, k], torch.tensor(rows), torch.tensor(seen))
    torch.testing.assert_close(horizon_nll(logits, stop, observed, reduction="sum"), expected)


# ----------------------------------------------------------------------------------------------------- where it breaks


def test_leaving_out_the_lost_makes_the_risk_too_high_and_weights_set_it_right():
    study, everybody = patients().study.outcome, patients().everybody.outcome
    truth = float((everybody.observed & (everybody.stop <= AHEAD)).double().mean())
    shares = {
        name: float(m.formula(study.stop, study.observed, torch.tensor(AHEAD))) for name, m in extensions.WITHIN.items()
    }
    assert shares["unknown_dropped"] > truth + 0.03
    assert shares["unknown_as_no"] < truth - 0.03
    assert shares["unknown_as_yes"] > truth + 0.1
    by_hazards = 1 - (1 - crude_hazards(study).sum(1)[:AHEAD]).prod()
    assert abs(float(by_hazards) - truth) < 0.015

    def best(weight: Tensor | None) -> float:
        """The probability with which the cross-entropy is smallest, by bisection of its slope."""
        low, high = -10.0, 10.0
        for _ in range(50):
            middle = torch.tensor((low + high) / 2, dtype=torch.float64, requires_grad=True)
            logits = middle.expand(len(study))
            fixed_horizon_bce(logits, study.stop, study.observed, AHEAD, weight=weight, reduction="sum").backward()
            low, high = (low, float(middle.detach())) if middle.grad > 0 else (float(middle.detach()), high)
        return 1 / (1 + math.exp(-low))

    assert best(None) == pytest.approx(shares["unknown_dropped"], abs=1e-6)
    assert abs(best(0.94 ** (1.0 - study.stop.clamp(max=AHEAD))) - truth) < 0.015


def test_a_network_that_leaves_out_the_lost_forecasts_too_much():
    known = patients()
    there, happened, _ = at_landmark()

    def yes_or_no(logits, outcome, reduction):
        left = outcome.stop[:, None] - torch.arange(logits.shape[1])
        seen = outcome.observed[:, None] & (left > 0)
        return fixed_horizon_bce(logits, left.clamp(min=1), seen, AHEAD, reduction=reduction)

    model = SurvivalRNN.for_cohort(known.train, **SIZE).double()
    fit(model, known.train, known.validation, loss=yes_or_no, **HOW)
    assert model.predict(there.visits).hazard[:, LANDMARK].mean() > happened.mean() + 0.02


# --------------------------------------------------------------------------------------------------------- the page


def test_the_answers_of_test_yourself_are_the_incidence_and_its_mistakes():
    wrong = {name: float(mistake.formula(BEN)[-1]) for name, mistake in extensions.INCIDENCE.items()}
    right = float(cumulative_incidence(logits_of(BEN))[-1, 0])
    part = PAGE.read_text(encoding="utf-8").split("\n## Test yourself\n")[1].split("\n## ")[0]
    for literal, name in re.findall(r"<summary>\[([\d.]+)\]\(fact:ext_ben_(\w+)\)</summary>", part):
        expected = right if name == "incidence" else wrong[name]
        assert float(literal) == pytest.approx(expected, abs=5e-5)
    assert len(re.findall("<summary>", part)) == 4
