"""The claims of chapter 08, one test each, and the pieces of the page that could drift from the package."""

import inspect
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lifelines.utils import concordance_index
from sklearn.metrics import roc_auc_score
from sksurv.metrics import brier_score
from sksurv.util import Surv
from torch import Tensor

from tests.figures import training_replay
from visitwise import metrics, training
from visitwise.baselines import LifeTableHazard, best_constant_hazard
from visitwise.check import evaluation
from visitwise.cohort import Cohort, Outcome
from visitwise.functional import hazard_nll
from visitwise.losses import outcome_nll
from visitwise.model import SurvivalRNN
from visitwise.simulate import TEACHING, draw_outcome
from visitwise.trained import EPOCHS
from visitwise.training import evaluate_nll, fit
from visitwise.widgets import TrainingReplay

PAGE = Path(__file__).resolve().parents[1] / "explainer" / "08-training-and-evaluating.md"
WIDTH = 40


def lasting(n: int, seed: int) -> Tensor:
    """One hazard a patient, the same at all visits: [patient, visit]."""
    luck = torch.from_numpy(np.random.default_rng(seed).normal(size=n))
    return torch.sigmoid(-3 + 0.8 * luck)[:, None].expand(-1, WIDTH)


def concordance(risk: Tensor, outcome: Outcome) -> float:
    return float(metrics.concordance(risk, outcome))


# -------------------------------------------------------------------------------------------------------- the loop


def test_the_loop_that_is_shown_is_the_one_that_is_shipped() -> None:
    lines = [line.strip() for line in inspect.getsource(training.fit).splitlines()]
    shown = re.findall(r"<div markdown>`([^`]+)`</div>", PAGE.read_text(encoding="utf-8"))
    assert len(shown) == 3
    places = [lines.index(line) for line in shown]
    assert places == sorted(places)


def trained(train: Cohort, by_batch: bool, seed: int, window: int) -> SurvivalRNN:
    """Five epochs; each step divides the summed loss by the batch's own rows, or by the mean number of rows."""
    model = SurvivalRNN.for_cohort(train, embedding=8, hidden=16).double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    steps = math.ceil(len(train) / 64)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5 * steps)
    for epoch in range(5):
        for batch in train.batches(64, seed=seed, epoch=epoch, window=window):
            rows = batch.outcome.n_rows if by_batch else train.outcome.n_rows / steps
            (outcome_nll(model(batch.visits), batch.outcome, reduction="sum") / rows).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return model


def test_a_mean_over_sorted_batches_inflates_the_hazard() -> None:
    train, judges = TEACHING.draw(2_000, seed=1).cohort, TEACHING.draw(2_000, seed=3).cohort
    expected = {}
    for by_batch in (True, False):
        for window in (1, 100):
            model = trained(train, by_batch, seed=0, window=window)
            hazard = model.predict(judges.visits).hazard
            expected[by_batch, window] = metrics.calibration(hazard, judges.outcome).ratio
    assert expected[True, 100] > 1.25 * expected[False, 100]
    assert expected[False, 100] == pytest.approx(1, abs=0.15)
    assert expected[True, 1] == pytest.approx(expected[False, 1], abs=0.05)


def test_the_best_single_hazard_of_a_batch_mean_is_the_mean_of_the_batches_rates() -> None:
    cohort = TEACHING.draw(2_000, seed=1).cohort
    batches = list(cohort.batches(64, seed=0, window=100))
    events = torch.stack([batch.outcome.observed.sum() for batch in batches])
    rows = torch.tensor([batch.outcome.n_rows for batch in batches])

    def mean_of_means(logits: Tensor, stop: Tensor, observed: Tensor) -> Tensor:
        """Of the cohort's patients in the order of the batches."""
        losses = hazard_nll(logits, stop, observed, reduction="none").split([len(batch) for batch in batches])
        return torch.stack([loss.sum() for loss in losses]).div(rows).mean()

    in_order = Outcome.of(
        torch.cat([batch.outcome.stop for batch in batches]), torch.cat([batch.outcome.observed for batch in batches])
    )
    bent = best_constant_hazard(mean_of_means, in_order)
    assert bent == pytest.approx(float(evaluation.mean_of_rates(events, rows)), abs=1e-6)
    pooled = int(events.sum()) / int(rows.sum())
    assert best_constant_hazard(hazard_nll, in_order) == pytest.approx(pooled, abs=1e-6)
    assert bent > 1.5 * pooled


def test_a_model_that_never_saw_a_true_hazard_goes_most_of_the_way_to_it() -> None:
    train, validation = TEACHING.draw(3_000, seed=1).cohort.split([0.8, 0.2], seed=0)
    judges = TEACHING.draw(3_000, seed=3)
    model = SurvivalRNN.for_cohort(train, embedding=8, hidden=16).double()
    fit(model, train, validation, epochs=5, batch_size=64, learning_rate=1e-2, progress=False)
    oracle = metrics.nll_per_row(judges.cohort.visits.pad(torch.logit(judges.hazard), torch.nan), judges.cohort.outcome)
    table = evaluate_nll(LifeTableHazard.fit(train), judges.cohort)
    share = metrics.share_explained(evaluate_nll(model, judges.cohort), table, oracle)
    assert 0.65 < share < 0.95
    learned = model.predict(judges.cohort.visits).hazard[judges.cohort.visits.mask]
    lowest = judges.hazard < judges.hazard.quantile(0.1)
    assert learned[lowest].mean() > 1.3 * judges.hazard[lowest].mean()


# --------------------------------------------------------------------------------------------------- the length trap


@pytest.mark.parametrize("seed", range(3))
def test_true_hazards_summed_over_the_record_score_below_a_coin(seed: int) -> None:
    hazard = lasting(2_000, seed)
    outcome = draw_outcome(hazard, dropout=0.06, seed=seed)
    for trap in (evaluation.summed, evaluation.one_minus_survival):
        assert concordance(trap(hazard, outcome.stop), outcome) < 0.4
    assert concordance(hazard[:, 0], outcome) > 0.68
    alike = torch.full_like(hazard, 0.1)
    assert concordance(evaluation.summed(alike, outcome.stop), outcome) < 0.05


def test_even_where_risks_differ_so_much_that_the_sum_passes_a_coin_it_loses_to_the_first_hazard() -> None:
    """On the teaching cohort hazards differ a hundredfold: the trap is there, and hidden."""
    simulation = TEACHING.draw(2_000, seed=4)
    visits, outcome = simulation.cohort.visits, simulation.cohort.outcome
    hazard = visits.pad(simulation.hazard)
    summed = concordance(evaluation.summed(hazard, outcome.stop), outcome)
    assert 0.5 < summed < concordance(hazard[:, 0], outcome) - 0.01


def test_the_sums_of_the_three_patients_are_those_on_the_page() -> None:
    hazard = torch.tensor([[0.3] * 4, [0.2] * 4, [0.1] * 4], dtype=torch.float64)
    outcome = Outcome.of(torch.tensor([1, 2, 4]), torch.tensor([True, True, False]))
    sums = evaluation.summed(hazard, outcome.stop)
    assert sums.tolist() == pytest.approx([0.3, 0.4, 0.4])
    assert concordance(hazard[:, 0], outcome) == 1
    assert concordance(sums, outcome) == pytest.approx(1 / 6)
    assert metrics.concordance(sums, outcome).n_pairs == 3
    assert evaluation.notes_rule(sums.round(decimals=6), outcome.stop, outcome.observed) == 0


def test_a_risk_made_of_a_whole_record_is_refused(unchecked: None) -> None:
    hazard = lasting(50, 0)
    with pytest.raises(ValueError, match="measures how long it is"):
        metrics.concordance(hazard, draw_outcome(hazard, seed=0))


# -------------------------------------------------------------------------------------------------------------- ties


def test_equal_risks_score_one_half_and_zero_by_the_notes_rule() -> None:
    outcome = draw_outcome(lasting(300, 1), dropout=0.06, seed=1)
    alike = torch.full((300,), 0.1)
    assert concordance(alike, outcome) == 0.5
    assert concordance_index(outcome.stop, -alike, outcome.observed) == 0.5
    assert evaluation.notes_rule(alike, outcome.stop, outcome.observed) == 0


def test_dropping_tied_times_costs_more_pairs_the_fewer_rows_there_are() -> None:
    hazard, dropped = lasting(1_000, 2), []
    for rows in (3, 5, 10, 40):
        outcome = draw_outcome(hazard[:, :rows], dropout=0.06, seed=2)
        later = (outcome.stop[:, None] < outcome.stop) & outcome.observed[:, None]
        dropped.append(1 - int(later.sum()) / (metrics.concordance(hazard[:, 0], outcome).n_pairs or 0))
    assert dropped == sorted(dropped, reverse=True)
    assert dropped[0] > 0.15


def test_the_answers_of_test_yourself_are_the_score_and_its_mistakes() -> None:
    risk = torch.tensor([0.3, 0.1, 0.3])
    stop, observed = torch.tensor([1, 1, 2]), torch.tensor([True, False, False])
    part = PAGE.read_text(encoding="utf-8").split("## Test yourself")[1].split("## ")[0]
    answers = [float(number) for number in re.findall(r"<summary>\[?([\d.]+)", part)]
    formulas = (evaluation.ties_win, evaluation.tied_times_dropped, evaluation.notes_rule)
    assert answers == [
        *(float(formula(risk, stop, observed)) for formula in formulas),
        concordance(risk, Outcome.of(stop, observed)),
    ]


# --------------------------------------------------------------------------------------------------------- censoring


def test_harrells_c_rises_as_patients_are_lost_and_unos_stays() -> None:
    drawn = replace(TEACHING, dropout=0.0, max_visits=10).draw(6_000, seed=3)
    first = drawn.hazard[drawn.cohort.visits.visit_offsets[:-1]]
    kept, harrell, uno = drawn.cohort.outcome, [], []
    draws = torch.from_numpy(np.random.default_rng(0).random((6_000, 10)))
    for dropout in (0.0, 0.05, 0.1, 0.2):
        last = torch.where(draws < dropout, torch.arange(1, 11), 10).amin(1)
        cut = Outcome.of(torch.minimum(kept.stop, last), kept.observed & (kept.stop <= last))
        harrell.append(concordance(first, cut))
        uno.append(float(metrics.concordance(first, cut, weights="follow-up")))
    assert harrell == sorted(harrell)
    assert harrell[-1] > harrell[0] + 0.04
    assert max(uno) - min(uno) < 0.025


def test_at_a_landmark_longer_records_have_no_say() -> None:
    """One number known at visit 3: adding visits afterwards changes nothing, and a constant is a coin."""
    simulation = TEACHING.draw(1_000, seed=3)
    outcome = simulation.cohort.outcome
    hazard = simulation.cohort.visits.pad(simulation.hazard)
    short = Outcome.of(outcome.stop.clamp(max=8), outcome.observed & (outcome.stop <= 8))
    one = metrics.concordance(hazard[:, 3], outcome, landmark=3, horizon=5)
    assert float(one) == float(metrics.concordance(hazard[:, 3], short, landmark=3))
    assert float(metrics.concordance(torch.full((1_000,), 0.2), outcome, landmark=3)) == 0.5
    assert float(metrics.incident_dynamic_auc(torch.full_like(hazard, 0.2), outcome)) == 0.5


# ---------------------------------------------------------------------------------------------- what each score sees


def five_models(n: int = 4_000) -> tuple[dict[str, Tensor], Outcome]:
    hazard = lasting(n, 11)
    outcome = draw_outcome(hazard, dropout=0.06, seed=11)
    table = metrics.kaplan_meier(draw_outcome(lasting(40_000, 12), dropout=0.06, seed=12)).hazard
    return {
        "true": hazard,
        "doubled": 2 * hazard,
        "hundredth": hazard / 100,
        "timid": torch.sigmoid((torch.logit(hazard) - 3) / 2),
        "table": table.expand(n, -1),
    }, outcome


def test_a_factor_on_all_hazards_changes_calibration_and_no_order() -> None:
    models, outcome = five_models()
    for factor, name in ((2, "doubled"), (0.01, "hundredth")):
        assert concordance(models[name][:, 0], outcome) == concordance(models["true"][:, 0], outcome)
        ratio = metrics.calibration(models["true"], outcome).ratio
        assert metrics.calibration(models[name], outcome).ratio == pytest.approx(factor * ratio)
        assert metrics.d_calibration(models[name], outcome).p_value < 1e-6


def test_a_life_table_is_calibrated_and_tells_nobody_apart() -> None:
    models, outcome = five_models()
    assert concordance(models["table"][:, 0], outcome) == 0.5
    assert metrics.calibration(models["table"], outcome).ratio == pytest.approx(1, abs=0.08)
    assert float(metrics.d_calibration(models["table"], outcome).error) < 0.02


def test_d_calibration_notices_a_timid_model_that_the_c_index_cannot_see() -> None:
    models, outcome = five_models()
    assert concordance(models["timid"][:, 0], outcome) == concordance(models["true"][:, 0], outcome)
    assert metrics.d_calibration(models["true"], outcome).p_value > 0.05
    assert metrics.d_calibration(models["timid"], outcome).p_value < 0.01


def test_only_brier_and_the_likelihood_put_the_truth_first() -> None:
    models, outcome = five_models()
    nll = {name: metrics.nll_per_row(torch.logit(hazard), outcome) for name, hazard in models.items()}
    brier = {name: float(metrics.brier((1 - hazard).cumprod(1), outcome, 10)) for name, hazard in models.items()}
    assert min(nll, key=nll.__getitem__) == min(brier, key=brier.__getitem__) == "true"
    assert nll["doubled"] > nll["table"]  # in perfect order, and worse than knowing nobody


# -------------------------------------------------------------------------------------------------- G(k-), and limits


def test_weights_by_g_of_t_are_several_per_cent_off_and_g_of_t_minus_is_not() -> None:
    hazard = lasting(20_000, 5)
    survival = (1 - hazard).cumprod(1)
    nobody_lost, lost = (draw_outcome(hazard, dropout=dropout, seed=5) for dropout in (0.0, 0.1))
    free = ~nobody_lost.observed | (nobody_lost.stop > 3)
    exact = float((free.double() - survival[:, 2]).square().mean())
    assert float(metrics.brier(survival, lost, 3)) == pytest.approx(exact, rel=0.02)
    seen = Surv.from_arrays(lost.observed.numpy(), lost.stop.numpy())
    assert brier_score(seen, seen, survival[:, [2]].numpy(), [3])[1][0] > 1.05 * exact


def test_where_the_sick_are_lost_no_auc_within_a_horizon_is_right() -> None:
    hazard = lasting(4_000, 8)
    risk, known = hazard[:, 0], draw_outcome(hazard, seed=8)
    chance = (4 * risk).clamp(max=0.9)[:, None]
    draws = torch.from_numpy(np.random.default_rng(2).random((4_000, WIDTH)))
    last = torch.where(draws < chance, torch.arange(1, WIDTH + 1), WIDTH).amin(1)
    cut = Outcome.of(torch.minimum(known.stop, last), known.observed & (known.stop <= last))
    truth = roc_auc_score(known.observed & (known.stop <= 5), risk)
    assert roc_auc_score(cut.observed & (cut.stop <= 5), risk) < truth - 0.05
    assert float(metrics.cumulative_dynamic_auc(risk, cut, 5)) > truth + 0.02


def test_a_curve_that_ends_with_the_record_is_refused_as_a_forecast() -> None:
    hazard = lasting(50, 0)
    outcome = draw_outcome(hazard, seed=0)
    curve = (1 - hazard).cumprod(1).where(torch.arange(WIDTH) < outcome.stop[:, None], torch.nan)
    with pytest.raises(ValueError, match="made at the landmark"):
        metrics.brier(curve, outcome, 10)


# ------------------------------------------------------------------------------------------------ the training replay


def replayed(**state: object) -> dict[str, float]:
    replay = TrainingReplay(**state)
    return training_replay.oracle(replay.state, replay.given)


def test_in_the_replay_only_the_model_that_reads_ahead_moves_a_hazard_before_a_change() -> None:
    for patient in training_replay.PATIENTS:
        for length, visit in ((2, 1), (5, 4), (8, 4)):
            changed: dict[str, object] = {"patient": patient, "length": length, "visit": visit}
            for epoch in EPOCHS["causal"]:
                shown = replayed(**changed, epoch=epoch)
                assert max(shown["moved_by_cut"], shown["moved_by_injury"]) < 1 + 1e-9
            ahead = replayed(**changed, model="bidirectional", epoch=16)
            assert ahead["moved_by_cut"] > 1000
            assert ahead["moved_by_injury"] > 1.001
            assert ahead["validation"] < ahead["oracle"]


def test_the_replays_hazards_come_closer_until_order_counts_as_it_should() -> None:
    for patient in training_replay.PATIENTS:
        untrained, trained = (replayed(patient=patient, epoch=epoch, length=10) for epoch in (0, 16))
        assert trained["mean_factor"] < 0.4 * untrained["mean_factor"]
        assert untrained["oracle"] < trained["validation"] < 0.6 * untrained["validation"]
    # Ben's injury comes before his diabetes, which does not count. After one epoch the model cannot tell.
    early, late = (replayed(patient="Ben", epoch=epoch, length=7)["hazard"] for epoch in (1, 16))  # type: ignore[arg-type]
    truth = replayed(patient="Ben", length=7)["true_hazard"]
    assert early[6] > 3 * truth[6]  # type: ignore[index]
    assert 0.5 < late[6] / truth[6] < 1.5  # type: ignore[index]


def test_after_one_epoch_the_loss_looks_finished_and_hazards_are_still_off_by_factors() -> None:
    before, first, last = (replayed(patient="Ben", epoch=epoch) for epoch in (0, 1, 16))
    assert before["validation"] - first["validation"] > 0.9 * (before["validation"] - last["validation"])
    assert first["worst_factor"] > 4 > 2.5 > last["worst_factor"]
    dan = replayed(patient="Dan", epoch=16)
    assert dan["hazard"][2] < 0.35 * dan["true_hazard"][2]  # type: ignore[index]
