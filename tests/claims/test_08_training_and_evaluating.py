"""Claims about the C-index and other scores. The data are ours; the constructions are those that the notes describe."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from lifelines.utils import concordance_index
from sklearn.metrics import roc_auc_score
from sksurv.metrics import concordance_index_censored
from torch import Tensor

from tests.ledger import Evidence, claim
from visitwise import metrics
from visitwise.baselines import LogisticHazard, static_features
from visitwise.check import evaluation
from visitwise.cohort import Outcome
from visitwise.functional import hazard_nll
from visitwise.simulate import TEACHING, draw_outcome

WIDTH = 40


def lasting(n: int, seed: int) -> Tensor:
    """One hazard a patient, the same at all visits: [patient, visit]."""
    luck = torch.from_numpy(np.random.default_rng(seed).normal(size=n))
    return torch.sigmoid(-3 + 0.8 * luck)[:, None].expand(-1, WIDTH)


def harrell(risk: Tensor, outcome: Outcome) -> float:
    return float(metrics.concordance(risk, outcome))


def notes(risk: Tensor, outcome: Outcome) -> float:
    """The notes' count: an event against whoever has a later time, right only if the risk is strictly higher."""
    return float(evaluation.notes_rule(risk, outcome.stop, outcome.observed))


def lose(outcome: Outcome, chance: Tensor | float, seed: int) -> Outcome:
    """The same patients, lost after each row with this chance."""
    draws = torch.from_numpy(np.random.default_rng(seed).random((len(outcome), WIDTH)))
    last = torch.where(draws < chance, torch.arange(1, WIDTH + 1), WIDTH).amin(1)
    return Outcome.of(torch.minimum(outcome.stop, last), outcome.observed & (outcome.stop <= last))


@claim(
    "G1",
    "A C-index of one half is random; pairs with equal risks are ignored.",
    source="losses code",
    verdict="FALSE",
    shows="By that code one and the same risk for everybody scores {constant:.1f}, where two libraries say "
    "{libraries:.1f}. Random risks with 2, 3 and 10 different values score {two:.3f}, {three:.3f} and {ten:.3f}. The "
    "best risk with two values scores {binary:.3f}, and {half:.3f} if equal risks count half.",
    teaches="A pair that is counted in the denominator and not in the numerator is no pair ignored: it is a pair lost. "
    "Count equal risks half, and say so beside the number.",
    chapter="08-training-and-evaluating#ties",
)
def test_equal_risks_are_scored_as_wrong(evidence: Evidence) -> None:
    hazard = lasting(2_000, 1)
    outcome = draw_outcome(hazard, dropout=0.06, seed=1)
    random = np.random.default_rng(0)
    alike = torch.full((2_000,), 0.3)
    both = (
        concordance_index(outcome.stop, -alike, outcome.observed),
        concordance_index_censored(outcome.observed.numpy(), outcome.stop.numpy(), alike.numpy())[0],
    )
    assert both == (0.5, 0.5)
    drawn = [notes(torch.from_numpy(random.integers(0, values, 2_000) / 10), outcome) for values in (2, 3, 10)]
    assert drawn == sorted(drawn)
    assert drawn[-1] < 0.47
    high = (hazard[:, 0] > hazard[:, 0].median()).double()
    assert notes(high, outcome) < 0.5 < 0.6 < harrell(high, outcome)
    evidence(
        constant=notes(alike, outcome), libraries=both[0], two=drawn[0], three=drawn[1], ten=drawn[2],
        binary=notes(high, outcome), half=harrell(high, outcome),
    )  # fmt: skip


@claim(
    "G2",
    "Compare an event with every patient whose time is later.",
    source="losses code; readme; tutorial 1",
    verdict="FALSE",
    shows="With visits for time, {three:.0%} of the comparable pairs are an event and a censoring in one row where "
    "records have up to 3 rows, {five:.0%} up to 5 and {ten:.0%} up to 10. On the teaching cohort, cut at 5 visits, "
    "leaving them out moves the C-index of the first hazard from {with_ties:.3f} to {without:.3f}.",
    teaches="On visit time, ties are the rule. Who was censored at the end of a row has survived it, so an event in "
    "that row came first: the pair is known, and counts.",
    chapter="08-training-and-evaluating#ties",
)
def test_an_event_and_a_censoring_in_one_row_are_a_known_pair(evidence: Evidence) -> None:
    hazard, share = lasting(2_000, 2), {}
    for rows in (3, 5, 10):
        outcome = draw_outcome(hazard[:, :rows], dropout=0.06, seed=2)
        later = (outcome.stop[:, None] < outcome.stop) & outcome.observed[:, None]
        share[rows] = 1 - int(later.sum()) / (metrics.concordance(hazard[:, 0], outcome).n_pairs or 0)
    assert share[3] > share[5] > share[10] > 0.05
    drawn = replace(TEACHING, max_visits=5).draw(3_000, seed=2)
    first, outcome = drawn.hazard[drawn.cohort.visits.visit_offsets[:-1]], drawn.cohort.outcome
    without = float(evaluation.tied_times_dropped(first, outcome.stop, outcome.observed))
    assert abs(harrell(first, outcome) - without) > 0.01
    evidence(three=share[3], five=share[5], ten=share[10], with_ties=harrell(first, outcome), without=without)


@claim(
    "G3",
    "The C-index is about pairs of which both have the event.",
    source="losses code; readme",
    verdict="FALSE",
    shows="Of {pairs:,} comparable pairs among 2,000 patients, {both:.0%} have two events. In the others one patient "
    "was censored, and the code that says so counts those with a later time, too. The C-index is {all_pairs:.3f} over "
    "all pairs and {events_only:.3f} over pairs of two events.",
    teaches="Who is followed past another's event is known to come later, whatever became of them. Pairs of two events "
    "are the harder ones: leaving the others out is another score.",
    chapter="08-training-and-evaluating#the-words",
)
def test_the_other_patient_of_a_pair_may_be_censored(evidence: Evidence) -> None:
    hazard = lasting(2_000, 3)
    outcome = draw_outcome(hazard, dropout=0.06, seed=3)
    stop, observed = outcome.stop, outcome.observed
    score = metrics.concordance(hazard[:, 0], outcome)
    pairs = score.n_pairs or 0
    both = int(((stop[:, None] < stop) & observed[:, None] & observed).sum()) / pairs
    events_only = float(evaluation.both_events(hazard[:, 0], stop, observed))
    assert both < 0.5
    assert events_only < float(score) - 0.02
    evidence(pairs=pairs, both=both, all_pairs=float(score), events_only=events_only)


@claim(
    "G4",
    "A patient's risk score is the sum of the hazards over the record.",
    source="losses code; training code; readme",
    verdict="FALSE",
    shows="True hazards, constant for each of 2,000 patients, have a C-index of {true:.3f}. Summed over records that "
    "end with the event they score {summed:.3f} by the notes' rule, and one hazard for everybody {constant:.3f}. Of "
    "untrained hazards that are random at each visit the sum scores {untrained:.3f}.",
    teaches="A sum over a patient's own record measures how long the record is, and those without the event have "
    "longer ones. Score a number that was known at one moment, the same for all.",
    chapter="08-training-and-evaluating#the-length-trap",
)
def test_a_sum_over_the_record_measures_its_length(evidence: Evidence) -> None:
    hazard = lasting(2_000, 4)
    outcome = draw_outcome(hazard, dropout=0.06, seed=4)
    noise = torch.from_numpy(np.random.default_rng(4).uniform(0.05, 0.15, hazard.shape))
    of = {
        name: notes(evaluation.summed(values, outcome.stop), outcome)
        for name, values in {"summed": hazard, "constant": torch.full_like(hazard, 0.1), "untrained": noise}.items()
    }
    assert of["constant"] < 0.05 < of["summed"] < 0.4
    assert of["untrained"] < 0.1
    assert harrell(hazard[:, 0], outcome) > 0.68
    evidence(true=harrell(hazard[:, 0], outcome), **of)


@claim(
    "G5",
    "The sum misleads because a patient with an early event adds up only the hazards before it.",
    source="conversation",
    verdict="DEPENDS",
    shows="Summed up to the event, the same true hazards score {to_event:.3f}. Over whole records, whose length has "
    "nothing to do with the event, they score {unrelated:.3f}; where the event comes in proportion to the length of "
    "the record, {proportional:.3f}; the length alone then scores {length:.3f}.",
    teaches="It is so where the record ends with the event. The notes' mask covers the whole record, visits after the "
    "event included. There it is their simulated events, later in longer records, that let the length alone rank "
    "patients, the wrong way round.",
    chapter="08-training-and-evaluating#the-length-trap",
)
def test_records_that_go_on_after_the_event_mislead_only_if_their_length_tells_of_it(evidence: Evidence) -> None:
    random, n = np.random.default_rng(5), 2_000
    hazard = lasting(n, 5)
    outcome = draw_outcome(hazard, seed=5)
    to_event = notes(evaluation.summed(hazard, outcome.stop), outcome)
    length = torch.from_numpy(random.integers(10, WIDTH + 1, n))
    cut = Outcome.of(torch.minimum(outcome.stop, length), outcome.observed & (outcome.stop <= length))
    early = Outcome.of(cut.stop.clamp(max=10), cut.observed & (cut.stop <= 10))  # all are followed for ten rows
    unrelated = notes(evaluation.summed(hazard, length), early)
    # The notes' way: the event at a share of the record that falls with the risk.
    place = hazard[:, 0].argsort().argsort() / n
    share = (1 - place + torch.from_numpy(random.normal(0, 0.08, n))).clamp(0.02, 0.98)
    at = Outcome.of((share * length).long() + 1, torch.ones(n, dtype=torch.bool))
    proportional = notes(evaluation.summed(torch.full_like(hazard, 0.1), length), at)
    assert to_event < 0.4
    assert unrelated > 0.6
    assert proportional < 0.45
    evidence(
        to_event=to_event, unrelated=unrelated, proportional=notes(evaluation.summed(hazard, length), at),
        length=proportional,
    )  # fmt: skip


@claim(
    "G6",
    "The highest hazard of a record does not depend on how long it is.",
    source="conversation",
    verdict="FALSE",
    shows="Of hazards drawn evenly between 0 and {top:.1f}, the highest of 1, 5, 20 and 60 visits is {one:.3f}, "
    "{five:.3f}, {twenty:.3f} and {sixty:.3f} on average. Where hazards say nothing about the event, it scores a "
    "C-index of {null:.2f} and not one half.",
    teaches="A maximum over more draws is higher. What is computed over a patient's own record inherits its length.",
    chapter="08-training-and-evaluating#the-length-trap",
)
def test_the_highest_of_more_hazards_is_higher(evidence: Evidence) -> None:
    draws = torch.from_numpy(np.random.default_rng(6).uniform(0, 0.2, (4_000, 60)))
    highest = {n: float(draws[:, :n].amax(1).mean()) for n in (1, 5, 20, 60)}
    assert list(highest.values()) == sorted(highest.values())
    outcome = draw_outcome(torch.full((4_000, WIDTH), 0.08, dtype=torch.float64), dropout=0.06, seed=6)
    null = harrell(evaluation.highest(draws[:, :WIDTH], outcome.stop), outcome)
    assert null < 0.4
    evidence(top=0.2, one=highest[1], five=highest[5], twenty=highest[20], sixty=highest[60], null=null)


@claim(
    "G7",
    "The mean hazard of the first ten visits has no length in it.",
    source="conversation; tutorial 1; tutorial 3",
    verdict="DEPENDS",
    shows="Of hazards that say nothing it scores {null:.3f}, as it should. But let the hazard rise after the event, as "
    "a record goes on: it scores {after:.3f}, with {invalid:.0%} of its visits coming after the event or the "
    "censoring. The hazard at the first visit scores {first:.3f}.",
    teaches="A mean has no length in it, but visits after the event are no forecast of it. Take a landmark: who is at "
    "risk there, and what was known by then.",
    chapter="08-training-and-evaluating#the-length-trap",
)
def test_the_mean_of_the_first_ten_visits_reads_past_the_event(evidence: Evidence) -> None:
    n = 4_000
    noise = torch.from_numpy(np.random.default_rng(7).uniform(0, 0.2, (n, WIDTH)))
    outcome = draw_outcome(torch.full((n, WIDTH), 0.08, dtype=torch.float64), dropout=0.06, seed=7)
    column = torch.arange(WIDTH)
    past = column[:10] >= outcome.stop[:, None]
    ill = noise + 0.1 * ((column >= outcome.stop[:, None]) & outcome.observed[:, None])
    null, after = harrell(noise[:, :10].mean(1), outcome), harrell(ill[:, :10].mean(1), outcome)
    first = harrell(ill[:, 0], outcome)
    assert null == pytest.approx(0.5, abs=0.02)
    assert first == pytest.approx(0.5, abs=0.02)
    assert after > 0.7
    evidence(null=null, after=after, invalid=float(past.double().mean()), first=first)


@claim(
    "G8",
    "The C-index handles censoring properly.",
    source="tutorial 1",
    verdict="DEPENDS",
    shows="One risk, one set of 6,000 patients: as ever more are lost at random, with {many:.0%} of them seen to have "
    "the event and then {few:.0%}, Harrell's C goes from {harrell_many:.3f} to {harrell_few:.3f}. Uno's goes from "
    "{uno_many:.3f} to {uno_few:.3f}.",
    teaches="Harrell's C uses the pairs that are left, and those are the early ones. It handles censoring if a risk is "
    "as good early as late. Uno's weights ask only that losses have nothing to do with risk.",
    chapter="08-training-and-evaluating#censoring-moves-it",
)
def test_harrells_c_depends_on_how_many_are_lost(evidence: Evidence) -> None:
    drawn = replace(TEACHING, dropout=0.0, max_visits=10).draw(6_000, seed=8)
    first, kept = drawn.hazard[drawn.cohort.visits.visit_offsets[:-1]], drawn.cohort.outcome
    cut = lose(kept, 0.2, seed=8)
    scores = {}
    for name, outcome in (("many", kept), ("few", cut)):
        scores[f"harrell_{name}"] = harrell(first, outcome)
        scores[f"uno_{name}"] = float(metrics.concordance(first, outcome, weights="follow-up"))
        scores[name] = float(outcome.observed.double().mean())
    assert scores["harrell_few"] > scores["harrell_many"] + 0.04
    assert abs(scores["uno_few"] - scores["uno_many"]) < 0.02
    evidence(**scores)


@claim(
    "G9",
    "The Brier score at a visit compares the predicted survival with whether the recorded time is later.",
    source="readme",
    verdict="FALSE",
    shows="For true survival through five rows that error is {truth:.4f}. For a curve of who is *still followed* it "
    "is {followed:.4f}, so the wrong curve wins: it says {curve:.3f} for an average patient where survival is "
    "{survival:.3f}. With weights the truth has {weighted_truth:.4f} and the other {weighted_followed:.4f}.",
    teaches="A patient who was lost had no event. Somebody has to speak for them: weights for those whose outcome is "
    "known. Otherwise the score teaches when people leave.",
    chapter="08-training-and-evaluating#why-gk-",
)
def test_without_weights_the_curve_of_the_still_followed_wins(evidence: Evidence) -> None:
    hazard = lasting(6_000, 9)
    outcome = draw_outcome(hazard, dropout=0.15, seed=9)
    survival = (1 - hazard).cumprod(1)
    still = survival * 0.85 ** torch.arange(1, WIDTH + 1)

    def unweighted(curve: Tensor) -> float:
        return float(((outcome.stop > 5).double() - curve[:, 4]).square().mean())

    def weighted(curve: Tensor) -> float:
        return float(metrics.brier(curve, outcome, 5))

    assert unweighted(still) < unweighted(survival) - 0.02
    assert weighted(survival) < weighted(still) - 0.02
    evidence(
        truth=unweighted(survival), followed=unweighted(still), weighted_truth=weighted(survival),
        weighted_followed=weighted(still), curve=float(still[:, 4].mean()), survival=float(survival[:, 4].mean()),
    )  # fmt: skip


@claim(
    "G10",
    "The time-dependent AUC marks who has an observed event by the time point, and everybody else as free of it.",
    source="readme",
    verdict="DEPENDS",
    shows="For true hazards, the AUC within 5 rows is {truth:.3f} if nobody is lost. So marked, it is {random:.3f} "
    "where patients are lost at random and {sick:.3f} where the sick are.",
    teaches="It does little harm where losses have nothing to do with risk, and a lot where they have. Leave out who "
    "was lost before the horizon, and weigh the cases. (The notes also add up hazards of visits up to the horizon, "
    "which are not known at the start.)",
    chapter="08-training-and-evaluating#where-it-breaks",
)
def test_the_lost_are_not_free_of_the_event(evidence: Evidence) -> None:
    hazard = lasting(6_000, 10)
    risk, known = hazard[:, 0], draw_outcome(hazard, seed=10)
    told = {}
    for name, outcome in {
        "truth": known,
        "random": lose(known, 0.1, seed=10),
        "sick": lose(known, (4 * risk).clamp(max=0.9)[:, None], seed=10),
    }.items():
        told[name] = float(roc_auc_score(outcome.observed & (outcome.stop <= 5), risk))
    assert told["random"] == pytest.approx(told["truth"], abs=0.03)
    assert told["sick"] < told["truth"] - 0.05
    evidence(**told)


@claim(
    "G11",
    "A correlation of minus one half between risk and time gives a C-index of .65 to .70.",
    source="conversation",
    verdict="TRUE",
    shows="For normal variables and no censoring, one half plus asin(r) / pi is {half:.3f} at a correlation of that "
    "size, and {weak:.3f} and {strong:.3f} at {r_weak:.1f} and {r_strong:.1f}. Of 4,000 simulated patients the risk "
    "scored {drawn:.3f}.",
    teaches="It holds for normal variables. A C-index is Kendall's rank correlation on another scale, so a correlation "
    "that sounds middling is a C-index that sounds good.",
    chapter="08-training-and-evaluating#the-words",
)
def test_a_correlation_of_one_half_is_a_c_index_of_two_thirds(evidence: Evidence) -> None:
    random = np.random.default_rng(11)
    risk = random.normal(size=4_000)
    time = -0.5 * risk + math.sqrt(0.75) * random.normal(size=4_000)
    rank = torch.from_numpy(time.argsort().argsort())
    drawn = harrell(torch.from_numpy(risk), Outcome.of(rank + 1, torch.ones(4_000, dtype=torch.bool)))
    known = {r: 0.5 + math.asin(r) / math.pi for r in (0.3, 0.5, 0.7)}
    assert 0.65 < known[0.5] < 0.7
    assert drawn == pytest.approx(known[0.5], abs=0.01)
    evidence(half=known[0.5], weak=known[0.3], strong=known[0.7], r_weak=0.3, r_strong=0.7, drawn=drawn)


@claim(
    "G12",
    "A C-index of .7 means that the model is right 70 % of the time.",
    source="tutorial 1",
    verdict="DEPENDS",
    shows="Of all pairs of 2,000 patients {comparable:.0%} are comparable, and of those the true hazards order "
    "{c:.0%}. A hundredth of the same hazards scores {c_small:.0%}, and expects {ratio:.2f} times the events seen.",
    teaches="It is the share of *comparable pairs* in the right order, and says nothing of any probability. Report "
    "calibration beside it.",
    chapter="08-training-and-evaluating#what-each-score-sees",
)
def test_a_c_index_says_nothing_of_probabilities(evidence: Evidence) -> None:
    hazard = lasting(2_000, 12)
    outcome = draw_outcome(hazard, dropout=0.06, seed=12)
    score = metrics.concordance(hazard[:, 0], outcome)
    small = harrell(hazard[:, 0] / 100, outcome)
    ratio = metrics.calibration(hazard / 100, outcome).ratio
    assert small == float(score)
    assert ratio < 0.02
    comparable = (score.n_pairs or 0) / (2_000 * 1_999 / 2)
    assert comparable < 0.7
    evidence(comparable=comparable, c=float(score), c_small=small, ratio=ratio)


@claim(
    "G13",
    "An AUC that jumps from .72 to .92 is the mark of a model that sees the future.",
    source="chapter 1",
    verdict="DEPENDS",
    shows="No code or run comes with those figures, so they cannot be checked. But on the teaching cohort, age, sex "
    "and time since the first visit have an AUC of {static:.2f}, and the true hazards, which read no later visit, one "
    "of {oracle:.2f}.",
    teaches="A large jump is a reason to look, and no proof: here it is a history that was read. Numbers without a run "
    "are illustrations, and should be labelled so.",
    chapter="08-training-and-evaluating#the-cure",
)
def test_an_auc_can_jump_without_any_leak(evidence: Evidence) -> None:
    train, judges = TEACHING.draw(2_000, seed=1).cohort, TEACHING.draw(2_000, seed=3)
    visits, outcome = judges.cohort.visits, judges.cohort.outcome
    static = LogisticHazard.fit(train, static_features)(visits).sigmoid()
    told = {
        "static": float(metrics.incident_dynamic_auc(static, outcome)),
        "oracle": float(metrics.incident_dynamic_auc(visits.pad(judges.hazard), outcome)),
    }
    assert told["static"] < 0.75
    assert told["oracle"] > told["static"] + 0.15
    first = judges.cohort.visits.select(torch.arange(2_000), torch.ones(2_000, dtype=torch.long))
    assert torch.equal(TEACHING.hazard(first), judges.hazard[visits.visit_offsets[:-1]])  # no later visit is read
    assert hazard_nll(visits.pad(torch.logit(judges.hazard)), outcome.stop, outcome.observed).isfinite()
    evidence(**told)
