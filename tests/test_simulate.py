"""Simulated cohorts: the truth is in the record, nobody is drawn twice, and each censoring does what it says."""

import math
import weakref
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from lifelines import KaplanMeierFitter
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from visitwise import simulate as sim
from visitwise._ragged import arrays_of
from visitwise.cohort import Cohort, Outcome, require_disjoint
from visitwise.functional import hazard_nll
from visitwise.simulate import NO_MEMORY, ORDER_ONLY, TEACHING, Effects, Simulation, Simulator, draw_outcome
from visitwise.visits import Visits

pytestmark = pytest.mark.usefixtures("no_global_draws")

TWO_CAUSES = replace(TEACHING, n_causes=2)
PRESETS = {"teaching": TEACHING, "order only": ORDER_ONLY, "no memory": NO_MEMORY, "two causes": TWO_CAUSES}
EFFECTS = [field.name for field in fields(Effects)]


@cache
def drawn(settings: Simulator, seed: int = 0, n_patients: int = 20_000) -> Simulation:
    return settings.draw(n_patients, seed)


def events_by_row(cohort: Cohort) -> Tensor:
    """1 in the row of a seen event, 0 in every other row."""
    happened = torch.zeros(cohort.visits.n_visits, dtype=torch.float64)
    return happened.index_copy(0, cohort.visits.visit_offsets[1:] - 1, cohort.outcome.observed.double())


def record(*codes: list[str], gap: int = 30, age: float = 0.0) -> Visits:
    """One patient with these codes at visits so many days apart."""
    days = [[float(gap * k) for k in range(len(codes))]]
    return Visits.from_lists([list(codes)], days, schema=sim.SCHEMA, static=[[age, 0.0]])


def log_odds(visits: Visits, **effects: float) -> list[float]:
    settings = Simulator(effects=Effects(**effects), event_rate=None, intercept=-2.0)
    return (torch.logit(settings.hazard(visits)) + 2.0).tolist()


def slow_log_odds(visits: Visits, patient: int, effects: Effects) -> list[float]:
    """The documented formula, from the names of the codes, looking back over the whole past at every visit."""
    begin, end = visits.visit_offsets[patient : patient + 2].tolist()
    names = [
        {visits.schema.codes[code] for code in visits.codes[visits.code_offsets[j] : visits.code_offsets[j + 1]]}
        for j in range(begin, end)
    ]
    day, age, odds = visits.day[begin:end].tolist(), float(visits.static[patient, 0]), []
    for k, today in enumerate(names):
        seen = set().union(*names[: k + 1])
        injured = [j for j in range(k + 1) if sim.KIDNEY_INJURY in names[j]]
        primed = [j for j in range(k + 1) if names[j] & {sim.DIABETES, sim.KIDNEY_DISEASE}]
        cancer = [j for j in range(k + 1) if sim.LUNG_CANCER in names[j]]
        treated = sim.FUROSEMIDE in today or (k > 0 and sim.FUROSEMIDE in names[k - 1])
        reads = {
            "age": age,
            "now": len(today & set(sim.ACUTE)),
            "burden": len(seen & set(sim.CHRONIC)),
            "decay": sum(len(names[j] & set(sim.ACUTE)) * math.exp(-(day[k] - day[j]) / 120) for j in range(k)),
            "order": bool(injured and primed) and min(primed) < max(injured),
            "treat": treated and sim.HEART_FAILURE in seen,
            "fading": math.exp(-(k - cancer[0]) / 4) if cancer else 0.0,
            "trend": k,
        }
        odds.append(sum(getattr(effects, name) * value for name, value in reads.items()))
    return odds


# ------------------------------------------------------------------------------------------- the truth is in the record


@pytest.mark.parametrize("name", PRESETS)
def test_the_true_hazard_is_rebuilt_from_the_visits_that_are_shipped(name: str) -> None:
    settings, simulation = PRESETS[name], drawn(PRESETS[name])
    assert torch.equal(settings.hazard(simulation.cohort.visits), simulation.hazard)
    assert torch.equal(settings.cause_hazard(simulation.cohort.visits), simulation.cause_hazard)
    assert simulation.hazard.std() > 0.01


def test_the_hazard_of_a_patient_does_not_depend_on_who_else_is_in_the_cohort() -> None:
    simulation = drawn(TEACHING)
    few = torch.tensor([77, 3, 12_345])
    alone = TEACHING.hazard(simulation.cohort.visits.select(few))
    offsets = simulation.cohort.visits.visit_offsets
    assert torch.equal(alone, torch.cat([simulation.hazard[offsets[i] : offsets[i + 1]] for i in few.tolist()]))


def test_the_hazard_is_the_documented_formula_visit_by_visit() -> None:
    simulation = drawn(TEACHING)
    intercept = sim._intercepts(TEACHING)[0]
    longest = simulation.cohort.visits.length.argsort(descending=True)[:150]
    visits = simulation.cohort.visits.select(longest)
    expected = [z + intercept for i in range(len(visits)) for z in slow_log_odds(visits, i, TEACHING.effects)]
    torch.testing.assert_close(torch.logit(TEACHING.hazard(visits)), torch.tensor(expected, dtype=torch.float64))
    assert any(slow_log_odds(visits, i, Effects(fading=1.0))[-1] > 0 for i in range(len(visits)))
    assert any(slow_log_odds(visits, i, Effects(treat=1.0))[-1] > 0 for i in range(len(visits)))


@pytest.mark.parametrize("k", [0, 4, 11])
def test_editing_a_later_visit_changes_no_earlier_hazard_and_an_edited_visit_changes_its_own(k: int) -> None:
    visits = drawn(TEACHING).cohort.visits
    long = visits.select((visits.length > 12).nonzero()[:200, 0])
    random = np.random.default_rng(k)
    n_codes = len(visits.schema.codes)
    edited_visit = (long.index > k)[torch.repeat_interleave(long.code_offsets.diff())]
    codes = long.codes.where(~edited_visit, torch.from_numpy(random.integers(1, n_codes, len(long.codes))).int())
    day = long.day + torch.where(long.index > k, 500.0 + long.index, 0.0)
    edited = replace(long, codes=codes, day=day)
    before, after = TEACHING.hazard(long), TEACHING.hazard(edited)
    assert torch.equal(before[long.index <= k], after[long.index <= k])
    assert (before != after)[long.index == k + 1].float().mean() > 0.5


def test_events_come_as_often_as_the_hazard_says_in_every_range_of_it() -> None:
    simulation = drawn(TEACHING, n_patients=40_000)
    happened = events_by_row(simulation.cohort)
    for rows in simulation.hazard.argsort().tensor_split(10):
        hazard, events = simulation.hazard[rows], happened[rows].sum()
        spread = (hazard * (1 - hazard)).sum().sqrt()
        assert abs(events - hazard.sum()) < 4 * spread
    assert simulation.hazard.quantile(0.95) > 10 * simulation.hazard.quantile(0.2)


def test_the_oracle_is_as_surprised_as_its_own_entropy_says() -> None:
    simulation = drawn(TEACHING, n_patients=40_000)
    hazard, happened = simulation.hazard, events_by_row(simulation.cohort)
    nll = torch.nn.functional.binary_cross_entropy(hazard, happened)
    entropy = torch.nn.functional.binary_cross_entropy(hazard, hazard)
    assert nll.item() == pytest.approx(entropy.item(), abs=0.002)
    assert torch.nn.functional.binary_cross_entropy((hazard * 1.3).clamp(max=0.999), happened) > nll


# -------------------------------------------------------------------------------------------------------- the effects


@pytest.mark.parametrize("name", EFFECTS)
def test_each_effect_moves_the_hazard_when_on_and_nothing_does_when_all_are_off(name: str) -> None:
    visits = drawn(TEACHING).cohort.visits.select(torch.arange(3000))
    on = torch.tensor(log_odds(visits, **{name: 0.7}), dtype=torch.float64)
    off = torch.tensor(log_odds(visits))
    assert off.abs().max() < 1e-6
    assert on.max() > 0.1
    without = replace(TEACHING, effects=replace(TEACHING.effects, **{name: 0.0}), event_rate=None, intercept=-6.0)
    with_it = replace(TEACHING, event_rate=None, intercept=-6.0)
    difference = torch.logit(with_it.hazard(visits)) - torch.logit(without.hazard(visits))
    torch.testing.assert_close(difference, on / 0.7 * getattr(TEACHING.effects, name), atol=1e-6, rtol=1e-5)


def test_scale_is_a_factor_on_every_effect() -> None:
    visits = drawn(TEACHING).cohort.visits.select(torch.arange(500))
    plain = replace(TEACHING, event_rate=None, intercept=-5.0)
    once, twice = (torch.logit(replace(plain, scale=scale).hazard(visits)) for scale in (1.0, 2.0))
    torch.testing.assert_close(twice + 5.0, 2 * (once + 5.0))


def test_kidney_injury_counts_after_diabetes_and_not_before_it_or_on_the_same_visit() -> None:
    injury, diabetes = [sim.KIDNEY_INJURY], [sim.DIABETES]
    assert log_odds(record(diabetes, [], injury, []), order=2.0) == pytest.approx([0, 0, 2, 2])
    assert log_odds(record(injury, [], diabetes, []), order=2.0) == pytest.approx([0, 0, 0, 0])
    assert log_odds(record(injury + diabetes, [], []), order=2.0) == pytest.approx([0, 0, 0])
    assert log_odds(record(injury, [sim.KIDNEY_DISEASE], injury), order=2.0) == pytest.approx([0, 0, 2])


def test_earlier_acute_codes_fade_with_days_and_todays_count_only_as_today() -> None:
    visits = record([sim.SEPSIS, sim.STROKE], [], [sim.PNEUMONIA], gap=60)
    faded = math.exp(-0.5)
    assert log_odds(visits, decay=1.0) == pytest.approx([0, 2 * faded, 2 * faded**2])
    assert log_odds(visits, now=1.0) == pytest.approx([2, 0, 1])


def test_treatment_needs_heart_failure_on_record_and_furosemide_now_or_last_time() -> None:
    visits = record([sim.FUROSEMIDE], [sim.HEART_FAILURE], [sim.FUROSEMIDE], [], [])
    assert log_odds(visits, treat=-0.5) == pytest.approx([0, -0.5, -0.5, -0.5, 0])


def test_lung_cancer_fades_from_its_first_record_on() -> None:
    visits = record([], [sim.LUNG_CANCER], [], [sim.LUNG_CANCER])
    assert log_odds(visits, fading=1.0) == pytest.approx([0, 1, math.exp(-0.25), math.exp(-0.5)])


def test_with_an_effect_off_the_same_seed_gives_the_same_lives_with_other_events() -> None:
    without = replace(TEACHING, effects=replace(TEACHING.effects, order=0.0))
    one, other = drawn(TEACHING).cohort, drawn(without).cohort
    shared = torch.minimum(one.visits.length, other.visits.length)
    everyone = torch.arange(len(one))
    left, right = one.visits.select(everyone, shared), other.visits.select(everyone, shared)
    assert all(torch.equal(mine, arrays_of(right)[name]) for name, mine in arrays_of(left).items())
    assert not torch.equal(one.outcome.stop, other.outcome.stop)


# ------------------------------------------------------------------------------------------------------ seeds and rates


@pytest.mark.parametrize("settings", [TEACHING, replace(TWO_CAUSES, censoring="calendar", frailty=0.5)])
def test_the_same_seed_gives_the_same_bytes(settings: Simulator) -> None:
    one, again = settings.draw(9000, seed=7), settings.draw(9000, seed=7)
    for part in ("visits", "outcome"):
        mine, theirs = arrays_of(getattr(one.cohort, part)), arrays_of(getattr(again.cohort, part))
        assert all(mine[name].numpy().tobytes() == theirs[name].numpy().tobytes() for name in mine)
    assert one.hazard.numpy().tobytes() == again.hazard.numpy().tobytes()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim, "_PATIENTS_AT_ONCE", 32)
    monkeypatch.setattr(sim, "_SHARDS_KEPT_AT_ONCE", 2)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("settings", [TEACHING, TWO_CAUSES], ids=["teaching", "two causes"])
@pytest.mark.parametrize("n_patients", [20, 128, 150])
def test_drawn_to_disk_shard_by_shard_a_cohort_has_the_bytes_of_one_drawn_whole(
    tmp_path: Path, settings: Simulator, n_patients: int
) -> None:
    whole = settings.draw(n_patients, seed=3)
    whole.cohort.save(tmp_path / "whole")
    np.save(tmp_path / "whole" / "true_hazard.npy", whole.hazard.numpy())
    settings.draw_to(tmp_path / "shards", n_patients, seed=3)
    assert files_of(tmp_path / "shards") == files_of(tmp_path / "whole")


@pytest.mark.usefixtures("small_shards")
def test_whole_shards_are_the_same_patients_whatever_comes_after_them() -> None:
    few, many = (TEACHING.draw(n_patients, seed=3).cohort for n_patients in (64, 150))
    first = many.select(torch.arange(64))
    for name, values in arrays_of(few.visits).items():
        assert torch.equal(values, getattr(first.visits, name)), name
    assert torch.equal(few.outcome.followup_days, first.outcome.followup_days)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize(("stops_at", "goes_on_at"), [(0, 0), (1, 0), (2, 2), (3, 2), (4, 4)])
def test_a_draw_that_was_interrupted_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops_at: int, goes_on_at: int
) -> None:
    TEACHING.draw_to(tmp_path / "whole", 150, seed=3)
    draw_from, begun, stops = Simulator._draw_from, list[int](), [stops_at]

    def draws_until(self: Simulator, begin: int, n_patients: int, seed: int) -> Simulation:
        begun.append(begin // 32)
        if begun[-1] in stops:
            raise KeyboardInterrupt
        return draw_from(self, begin, n_patients, seed)

    monkeypatch.setattr(Simulator, "_draw_from", draws_until)
    with pytest.raises(KeyboardInterrupt):
        TEACHING.draw_to(tmp_path / "cohort", 150, seed=3)
    assert not (tmp_path / "cohort").exists()
    begun.clear()
    stops.clear()
    TEACHING.draw_to(tmp_path / "cohort", 150, seed=3)
    assert files_of(tmp_path / "cohort") == files_of(tmp_path / "whole")
    assert begun == list(range(goes_on_at, 5))
    with pytest.raises(FileExistsError, match="exists; choose another folder"):
        TEACHING.draw_to(tmp_path / "cohort", 150, seed=3)


@pytest.mark.usefixtures("small_shards")
def test_a_draw_to_disk_never_holds_more_than_two_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_from, drawn_so_far, most = Simulator._draw_from, list[weakref.ref[Tensor]](), 0

    def counting(self: Simulator, begin: int, n_patients: int, seed: int) -> Simulation:
        nonlocal most
        shard = draw_from(self, begin, n_patients, seed)
        drawn_so_far.extend(weakref.ref(values) for values in (shard.cohort.visits.codes, shard.hazard))
        most = max(most, sum(values() is not None for values in drawn_so_far))
        return shard

    monkeypatch.setattr(Simulator, "_draw_from", counting)
    TEACHING.draw_to(tmp_path / "cohort", 300, seed=3)
    assert len(drawn_so_far) == 20
    assert most <= 4


def test_no_patient_is_drawn_twice_within_a_seed_or_between_seeds_or_in_the_pilot() -> None:
    cohorts = [drawn(TEACHING, seed=seed).cohort for seed in (0, 1)]
    require_disjoint(*cohorts)
    pilot = sim._live(TEACHING, np.arange(20_000), np.random.SeedSequence(0, spawn_key=(1,))).visits
    ages = torch.cat([visits.static[:, 0] for visits in (*(cohort.visits for cohort in cohorts), pilot)])
    values, counts = ages[ages.abs() < 2.5].unique(return_counts=True)
    # 60,000 ages in float32 meet by chance now and then; a shared stream would make thousands of pairs.
    assert (counts > 1).sum() < 0.01 * len(values)
    assert set(cohorts[0].visits.patient_id.tolist()).isdisjoint(cohorts[1].visits.patient_id.tolist())


def test_cohorts_of_one_simulator_share_one_hazard_function_whatever_their_seed_and_size() -> None:
    visits = drawn(TEACHING, seed=1).cohort.visits.select(torch.arange(100))
    before = TEACHING.hazard(visits)
    Simulator().draw(50, seed=3)
    assert torch.equal(Simulator().hazard(visits), before)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.8])
def test_the_event_rate_is_the_one_asked_for(rate: float) -> None:
    outcome = replace(TEACHING, event_rate=rate).draw(25_000, seed=2).cohort.outcome
    assert outcome.observed.float().mean().item() == pytest.approx(rate, abs=0.012)


@pytest.mark.parametrize("censoring", ["independent", "informative", "calendar"])
def test_the_event_rate_holds_with_every_censoring_and_with_frailty(censoring: sim.Censoring) -> None:
    settings = replace(TEACHING, censoring=censoring, frailty=2.0)
    assert settings.draw(25_000, 2).cohort.outcome.observed.float().mean().item() == pytest.approx(0.3, abs=0.012)


# --------------------------------------------------------------------------------------------------- the shipped record


@pytest.mark.parametrize("censoring", ["independent", "informative", "calendar"])
def test_every_shipped_visit_is_at_risk_and_follow_up_ends_in_the_interval_after_the_last(
    censoring: sim.Censoring,
) -> None:
    cohort = replace(TEACHING, censoring=censoring, event_rate=None, intercept=-6.0).draw(10_000, seed=4).cohort
    visits, outcome = cohort.visits, cohort.outcome
    assert torch.equal(outcome.stop, visits.length)
    assert (visits.day[visits.visit_offsets[:-1]] == 0).all()
    assert visits.gap[visits.index > 0].min() >= 1
    assert (visits.code_offsets.diff() > 0).all()
    assert (outcome.followup_days > visits.day[visits.visit_offsets[1:] - 1]).all()
    assert visits.length.max() == 40 or censoring == "calendar"
    assert (outcome.censored_exposure[outcome.observed] == 1).all()


def test_event_dates_are_even_within_their_interval() -> None:
    one_gap = replace(TEACHING, max_visits=1, event_rate=0.5, gap_days=1e-6).draw(20_000, seed=0).cohort.outcome
    date = one_gap.followup_days[one_gap.observed]
    assert torch.histc(date, 4, 0, 1).div(len(date)).sub(0.25).abs().max() < 0.02
    assert (one_gap.followup_days[~one_gap.observed] == 1).all()


def test_the_end_of_the_study_cuts_the_last_interval_and_the_exposure_says_how_much_is_left() -> None:
    settings = replace(TEACHING, censoring="calendar", study_days=400.0, dropout=0.0)
    simulation = settings.draw(20_000, seed=0)
    outcome = simulation.cohort.outcome
    assert outcome.followup_days.max() <= 400
    cut = outcome.censored_exposure[~outcome.observed]
    assert (cut < 1).float().mean() > 0.99
    assert 0.3 < cut.mean() < 0.7
    assert outcome.observed.sum() < 0.97 * simulation.hazard.sum()
    assert torch.equal(settings.hazard(simulation.cohort.visits), simulation.hazard)


def test_ill_people_come_more_often() -> None:
    visits = drawn(TEACHING).cohort.visits
    acute = torch.tensor([name in sim.ACUTE for name in sim.SCHEMA.codes])[visits.codes]
    visit = torch.repeat_interleave(visits.code_offsets.diff())
    share = torch.bincount(visits.patient[visit], acute.double()) / visits.length
    long = visits.length >= 8
    days = visits.day[visits.visit_offsets[1:] - 1] / (visits.length - 1).clamp(min=1)
    ill, well = long & (share > 1.0), long & (share < 0.1)
    assert days[ill].mean() < 0.8 * days[well].mean()


# ---------------------------------------------------------------------------------------- outcomes from given hazards


@pytest.mark.parametrize(("hazard", "dropout"), [(0.05, 0.0), (0.1, 0.1), (0.2, 0.1), (0.2, 0.3)])
def test_a_constant_hazard_is_found_with_full_exposure_and_overstated_with_none(hazard: float, dropout: float) -> None:
    n_patients, width = 100_000, 10
    truth = torch.full((n_patients, width), hazard, dtype=torch.float64)
    outcome = draw_outcome(truth, dropout=dropout, seed=1)
    # A patient goes on after a row with probability q; expected rows R, expected events h R, the others are censored.
    stays = (1 - hazard) * (1 - dropout)
    rows = (1 - stays**width) / (1 - stays)
    ratio = rows / (rows - (1 - hazard * rows))
    estimates = {exposure: constant_hazard(outcome, width, exposure) for exposure in (1.0, 0.0)}
    noise = 4 * math.sqrt((1 - hazard) / (n_patients * hazard * rows))
    assert estimates[1.0] / hazard == pytest.approx(1.0, abs=noise)
    assert estimates[0.0] / hazard == pytest.approx(ratio, abs=ratio * noise)
    assert ratio > 1.02 + noise


def constant_hazard(outcome: Outcome, width: int, censored_exposure: float) -> float:
    """The one hazard that makes what happened most likely, by Newton's method on the shipped loss."""
    logit = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    for _ in range(8):
        logits = logit.expand(len(outcome), width)
        loss = hazard_nll(logits, outcome.stop, outcome.observed, censored_exposure=censored_exposure)
        (slope,) = torch.autograd.grad(loss, logit, create_graph=True)
        (bend,) = torch.autograd.grad(slope, logit)
        logit = (logit - slope / bend).detach().requires_grad_()
    return torch.sigmoid(logit.detach()).item()


def test_drawn_outcomes_follow_the_event_probabilities() -> None:
    hazard = torch.tensor([0.1, 0.2, 0.3]).expand(60_000, 3)
    outcome = draw_outcome(hazard, seed=3)
    seen = torch.bincount(outcome.stop[outcome.observed] - 1, minlength=3) / len(outcome)
    torch.testing.assert_close(seen, torch.tensor([0.1, 0.18, 0.216]), atol=0.006, rtol=0)
    assert (outcome.stop[~outcome.observed] == 3).all()


def test_another_dropout_loses_patients_and_leaves_their_events_where_they_were() -> None:
    hazard = torch.full((5000, 12), 0.1)
    all_seen, some_lost = (draw_outcome(hazard, dropout=dropout, seed=2) for dropout in (0.0, 0.2))
    both = some_lost.observed
    assert all_seen.observed[both].all()
    assert torch.equal(all_seen.stop[both], some_lost.stop[both])
    assert (some_lost.stop <= all_seen.stop).all()
    assert 0.3 < both.sum() / all_seen.observed.sum() < 0.7
    gone_at_once = draw_outcome(hazard, dropout=1.0, seed=2)
    assert (gone_at_once.stop == 1).all()


def test_certain_and_impossible_events_and_short_records_are_drawn_exactly() -> None:
    nan = torch.nan
    hazard = torch.tensor([[1.0, 0.5, 0.5], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, nan, nan], [0.0, 1.0, nan]])
    outcome = draw_outcome(hazard.repeat(50, 1), seed=0)
    assert outcome.stop.tolist() == [1, 3, 3, 1, 2] * 50
    assert outcome.observed.tolist() == [True, True, False, False, True] * 50


@pytest.mark.parametrize(
    ("hazard", "dropout", "message"),
    [
        ([[0.1, 0.2], [0.1, 1.5]], 0.0, r"patient 1 has the hazard 1\.5 in row 1; expected 0 to 1"),
        ([[0.1, 0.2], [-2.0, 0.5]], 0.0, r"patient 1 has the hazard -2 in row 0; expected 0 to 1"),
        ([[0.1, 0.2], [torch.nan, 0.5]], 0.0, "patient 1 has NaN before a later hazard"),
        ([[torch.nan, torch.nan]], 0.0, "patient 0 has 0 hazards; expected at least one"),
        ([[0.1]], 1.5, r"dropout is 1\.5; expected 0 to 1"),
    ],
)
def test_impossible_hazards_are_refused_by_patient(hazard: list[list[float]], dropout: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_outcome(torch.tensor(hazard), dropout=dropout, seed=0)


# ----------------------------------------------------------------------------- two causes, frailty, and who is lost


def test_cause_hazards_sum_to_less_than_one_and_both_rates_are_met() -> None:
    simulation = drawn(TWO_CAUSES)
    cause = simulation.cohort.outcome.cause
    assert simulation.cause_hazard.shape == (simulation.cohort.visits.n_visits, 2)
    assert simulation.cause_hazard.sum(-1).max() < 1
    torch.testing.assert_close(simulation.cause_hazard.sum(-1), simulation.hazard)
    shares = [(cause == which).float().mean().item() for which in (1, 2)]
    assert shares == pytest.approx([0.30, 0.15], abs=0.012)
    for which in (1, 2):
        expected = simulation.cause_hazard[:, which - 1].sum()
        assert abs((cause == which).sum() - expected) < 4 * expected.sqrt()


def test_statins_protect_from_the_second_cause_only() -> None:
    hazard = TWO_CAUSES.cause_hazard(record([], [sim.STATIN], []))
    odds = (hazard / (1 - hazard.sum(-1, keepdim=True))).log()
    torch.testing.assert_close(odds[1:, 1] - odds[0, 1], torch.tensor([-0.8, -0.8], dtype=torch.float64))
    assert odds[2, 0] - odds[0, 0] == pytest.approx(2 * TWO_CAUSES.effects.trend)


def test_one_minus_kaplan_meier_overstates_the_risk_of_one_cause_among_two() -> None:
    cohort = drawn(TWO_CAUSES).cohort
    stop, cause = cohort.outcome.stop, cohort.outcome.cause
    at_risk = torch.tensor([(stop > k).sum() for k in range(40)]).double()
    of_first, of_any = (torch.bincount(stop[which] - 1, minlength=40) / at_risk for which in (cause == 1, cause > 0))
    free_before = torch.cat([torch.ones(1), (1 - of_any).cumprod(0)[:-1]])
    aalen_johansen = (free_before * of_first).cumsum(0)[19]
    naive = 1 - (1 - of_first).cumprod(0)[19]
    assert naive > aalen_johansen + 0.015


def test_with_frailty_the_oracle_cannot_be_rebuilt_and_the_draw_still_tells_the_truth() -> None:
    frail = replace(TEACHING, frailty=1.0)
    simulation = drawn(frail)
    with pytest.raises(ValueError, match=r"frailty is 1\.0: the hazard depends on what no visit records"):
        frail.hazard(simulation.cohort.visits)
    happened = events_by_row(simulation.cohort)
    assert happened.mean().item() == pytest.approx(simulation.hazard.mean().item(), rel=0.03)
    without = replace(TEACHING, event_rate=None, intercept=sim._intercepts(frail)[0])
    best_guess = without.hazard(simulation.cohort.visits)
    assert (best_guess - simulation.hazard).abs().max() > 0.4
    entropy = torch.nn.functional.binary_cross_entropy
    assert entropy(simulation.hazard, happened) < entropy(best_guess, happened) - 0.002


def survival_at_visit(settings: Simulator, row: int) -> float:
    outcome = drawn(settings, n_patients=40_000).cohort.outcome
    curve = KaplanMeierFitter().fit(outcome.stop.numpy(), outcome.observed.numpy())
    return float(curve.predict(row))


def test_kaplan_meier_survives_independent_dropout_and_not_informative_dropout_or_a_calendar_end() -> None:
    same_hazard = replace(TEACHING, event_rate=None, intercept=-6.4)
    truth = survival_at_visit(replace(same_hazard, dropout=0.0), 15)
    independent, informative, calendar = (
        survival_at_visit(replace(same_hazard, dropout=0.1, censoring=censoring), 15) - truth
        for censoring in ("independent", "informative", "calendar")
    )
    assert abs(independent) < 0.012
    assert informative > 0.03
    assert calendar < -0.012


def test_informative_dropout_leaves_the_hazard_given_the_record_right() -> None:
    simulation = drawn(replace(TEACHING, censoring="informative", dropout=0.15), n_patients=40_000)
    happened = events_by_row(simulation.cohort)
    for rows in simulation.hazard.argsort().tensor_split(5):
        hazard = simulation.hazard[rows]
        assert abs(happened[rows].sum() - hazard.sum()) < 4 * (hazard * (1 - hazard)).sum().sqrt()


# --------------------------------------------------------------------------------------------- what the presets are for


def share_explained_by_the_current_visit(settings: Simulator) -> float:
    """Logistic regression on today's codes, age and visit number: its way from Kaplan-Meier to the oracle."""
    rows, happened = {}, {}
    for part, seed in (("train", 0), ("test", 1)):
        visits = drawn(settings, seed).cohort.visits
        rows[part] = np.column_stack(
            [sim._multi_hot(visits), visits.static[visits.patient].numpy(), visits.index.numpy() / 10]
        )
        happened[part] = events_by_row(drawn(settings, seed).cohort)
    model = LogisticRegression(C=10.0, max_iter=300).fit(rows["train"], happened["train"].numpy())
    current = torch.from_numpy(model.predict_proba(rows["test"])[:, 1])
    train, test = (drawn(settings, seed).cohort.visits.index for seed in (0, 1))
    life_table = (torch.bincount(train, happened["train"]) + 0.3) / (torch.bincount(train) + 10.0)
    nll = torch.nn.functional.binary_cross_entropy
    kaplan_meier, oracle = nll(life_table[test], happened["test"]), nll(drawn(settings, 1).hazard, happened["test"])
    return float((kaplan_meier - nll(current, happened["test"])) / (kaplan_meier - oracle))


def test_where_only_the_order_counts_the_current_visit_explains_less_than_half() -> None:
    assert 0.1 < share_explained_by_the_current_visit(ORDER_ONLY) < 0.45


def test_where_nothing_is_remembered_the_current_visit_explains_everything() -> None:
    assert share_explained_by_the_current_visit(NO_MEMORY) > 0.98


def test_the_teaching_cohort_needs_both_the_current_visit_and_the_past() -> None:
    assert 0.35 < share_explained_by_the_current_visit(TEACHING) < 0.7


# ---------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"event_rate": 0.3, "intercept": -4.0}, r"event_rate is 0\.3 and intercept -4\.0; expected one to be None"),
        ({"event_rate": None}, "event_rate is None and intercept None; expected one"),
        ({"event_rate": 1.0}, r"event_rate is 1\.0; expected more than 0 and less than 1"),
        ({"event_rate": None, "intercept": math.nan}, "intercept is nan; expected a finite number"),
        ({"event_rate": None, "intercept": -4.0, "n_causes": 2}, "n_causes is 2 and event_rate None"),
        ({"n_causes": 2, "event_rate": 0.6, "second_rate": 0.5}, r"sum to 1\.1; expected less than 1"),
        ({"n_causes": 3}, "n_causes is 3; expected 1 or 2"),
        ({"dropout": 1.2}, r"dropout is 1\.2; expected 0 to 1"),
        ({"dropout": math.nan}, "dropout is nan; expected 0 to 1"),
        ({"record": -0.1}, r"record is -0\.1; expected 0 to 1"),
        ({"max_visits": 0}, "max_visits is 0; expected at least 1"),
        ({"gap_days": 0.0}, r"gap_days is 0\.0; expected a positive number of days"),
        ({"study_days": math.inf}, "study_days is inf; expected a positive number of days"),
        ({"frailty": -1.0}, r"frailty is -1\.0; expected 0 or more"),
        ({"scale": math.inf}, "scale is inf; expected a finite number"),
        ({"effects": {"order": math.nan}}, "the effect order is nan; expected a finite number"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Simulator(**{key: Effects(**value) if isinstance(value, dict) else value for key, value in settings.items()})


def test_an_unknown_censoring_is_refused_with_the_known_ones(unchecked: None) -> None:
    with pytest.raises(ValueError, match="censoring is 'random'; expected one of independent, calendar, informative"):
        Simulator(censoring="random")


@pytest.mark.parametrize(("n_patients", "seed", "message"), [(0, 0, "n_patients is 0"), (5, -1, "seed is -1")])
def test_an_impossible_draw_is_refused(n_patients: int, seed: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TEACHING.draw(n_patients, seed)


def test_visits_written_with_other_codes_have_no_true_hazard() -> None:
    visits = Visits.from_lists([[["flu"]]], day=[[0.0]])
    with pytest.raises(ValueError, match=r"the visits have 1 codes .* expected those of visitwise\.simulate\.SCHEMA"):
        TEACHING.hazard(visits)


@pytest.mark.parametrize("settings", [replace(TEACHING, max_visits=1), replace(TEACHING, dropout=1.0)])
def test_one_patient_and_one_visit_is_a_cohort_too(settings: Simulator) -> None:
    simulation = settings.draw(1, seed=0)
    assert simulation.cohort.visits.length.tolist() == [1]
    assert torch.equal(settings.hazard(simulation.cohort.visits), simulation.hazard)
