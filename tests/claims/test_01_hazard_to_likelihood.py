"""Family B: what the notes say of hazards, the likelihood and censoring.

Small functions say the notes' formulas in our words, one patient at a time, with T as they have it: the index of the
visit of the event or of censoring. What a loss estimates is found without luck: every outcome that can happen, with its
probability.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter
from pycox.models.loss import nll_logistic_hazard
from pycox.preprocessing.label_transforms import LabTransDiscreteTime
from scipy.optimize import minimize_scalar

from tests import oracles
from tests.ledger import Evidence, claim
from visitwise.functional import hazard_nll

ADA = CLEO = (0.1, 0.2, 0.3)
BEN = (0.15, 0.25)
Loss = Callable[[Sequence[float], int, bool], float]
HAZARDS = "01-hazard-to-likelihood#three-hazards-worked-out"
WHY = "01-hazard-to-likelihood#why-the-last-row-counts"
CODE = "01-hazard-to-likelihood#the-equation-and-its-lines-of-code"
BREAKS = "01-hazard-to-likelihood#where-it-breaks"
ESTIMATE = "01-hazard-to-likelihood#one-wrong-row-bends-every-estimate"


def cost(probability: float) -> float:
    return -math.log(probability)


def told(hazard: Sequence[float]) -> str:
    return ", ".join(f"{h:.2f}" for h in hazard)


def as_in_the_code(hazard: Sequence[float], last: int, observed: bool) -> float:
    """The visits before T survived; the event at T if it was seen, and nothing at T if not."""
    return sum(cost(1 - h) for h in hazard[:last]) + (cost(hazard[last]) if observed else 0.0)


def as_in_the_text(hazard: Sequence[float], last: int, observed: bool) -> float:
    """As in the code, and a censored patient survived visit T, too: the likelihood."""
    return as_in_the_code(hazard, last, observed) + (0.0 if observed else cost(1 - hazard[last]))


def as_combined(hazard: Sequence[float], last: int, observed: bool) -> float:
    """Everybody survived every visit through T, and those with an event had it at T."""
    return sum(cost(1 - h) for h in hazard[: last + 1]) + (cost(hazard[last]) if observed else 0.0)


def ours(hazard: Sequence[float], last: int, observed: bool) -> float:
    logits = torch.logit(torch.tensor([list(hazard)], dtype=torch.float64))
    return hazard_nll(logits, torch.tensor([last + 1]), torch.tensor([observed])).item()


def what_can_happen(hazard: Sequence[float], dropout: float = 0.0) -> Iterator[tuple[float, int, bool]]:
    """Probability, T and whether the event was seen; lost after a visit survived with `dropout`, or after the last."""
    here = 1.0
    for visit, h in enumerate(hazard):
        lost = dropout if visit < len(hazard) - 1 else 1.0
        yield here * h, visit, True
        yield here * (1 - h) * lost, visit, False
        here *= (1 - h) * (1 - lost)


def expected(loss: Loss, hazard: Sequence[float], truth: Sequence[float], dropout: float = 0.0) -> float:
    """The mean of a loss over infinitely many patients."""
    return sum(chance * loss(hazard, *outcome) for chance, *outcome in what_can_happen(truth, dropout) if chance > 0)


def estimate(loss: Loss, truth: float, visits: int, dropout: float = 0.0) -> float:
    """The one hazard that makes the expected loss smallest."""

    def mean_loss(hazard: float) -> float:
        return expected(loss, [hazard] * visits, [truth] * visits, dropout)

    return float(minimize_scalar(mean_loss, bounds=(1e-6, 1 - 1e-6), method="bounded", options={"xatol": 1e-10}).x)


@pytest.mark.parametrize(("hazard", "last"), [(ADA, 2), (BEN, 1), (ADA, 0), ((0.3,), 0)])
@pytest.mark.parametrize("observed", [True, False])
def test_the_text_is_the_likelihood_and_the_code_leaves_the_censored_row_out(
    hazard: tuple[float, ...], last: int, observed: bool
) -> None:
    """What the other tests build on: our words for the notes' formulas, against the package and the slow oracle."""
    right = ours(hazard, last, observed)
    assert as_in_the_text(hazard, last, observed) == pytest.approx(right, rel=1e-12)
    assert oracles.probability_of(list(hazard), last + 1, observed) == pytest.approx(math.exp(-right), rel=1e-12)
    left_out = 0.0 if observed else cost(1 - hazard[last])
    assert as_in_the_code(hazard, last, observed) == pytest.approx(right - left_out, rel=1e-12)


def test_all_that_can_happen_has_probability_one() -> None:
    for dropout in (0.0, 0.1, 1.0):
        assert sum(chance for chance, *_ in what_can_happen((0.1, 0.5, 0.3), dropout)) == pytest.approx(1)


# ------------------------------------------------------------------------------------------------------ worked examples


@claim(
    "B1",
    "Two patients with hazards 0.1, 0.2, 0.3 and 0.15, 0.25, both with the event at the last visit, have a loss of "
    "1.541.",
    source="loss",
    verdict="TRUE",
    shows="The two patients cost {ada:.6f} and {ben:.6f}, and the mean is {mean:.6f}.",
    teaches="A patient with an event pays for each visit survived and for the event. The loss of a batch is the mean "
    "over its patients.",
    chapter=HAZARDS,
)
def test_the_loss_of_the_two_patients_is_as_printed(evidence: Evidence) -> None:
    ada, ben = as_in_the_code(ADA, 2, True), as_in_the_code(BEN, 1, True)
    logits = torch.logit(torch.tensor([[*ADA], [*BEN, math.nan]], dtype=torch.float64))
    mean = hazard_nll(logits, torch.tensor([3, 2]), torch.tensor([True, True])).item()
    assert mean == pytest.approx((ada + ben) / 2, rel=1e-12)
    assert round(mean, 3) == 1.541
    evidence(ada=ada, ben=ben, mean=mean)


@claim(
    "B2",
    "A censored patient with hazards 0.1, 0.2 and 0.3 has the log-likelihood log 0.9 + log 0.8 + log 0.7 = -0.828.",
    source="loss",
    verdict="FALSE",
    shows="The three logarithms sum to {total:.4f}, and the loss that the notes' code returns is {code:.4f}. For "
    "{printed:.3f} the last factor would have to be {needed:.3f}, not {factor:.1f}.",
    teaches="A censored patient costs minus the logarithm of survival through the last visit seen event-free. The sum "
    "is a slip, and the code leaves the last visit out: one patient, three answers.",
    chapter="01-hazard-to-likelihood#from-hazard-to-likelihood",
)
def test_the_censored_example_is_neither_the_sum_printed_nor_what_the_code_returns(evidence: Evidence) -> None:
    printed = 0.828
    total, code = math.log(0.9) + math.log(0.8) + math.log(0.7), as_in_the_code(CLEO, 2, False)
    needed = math.exp(-printed) / (0.9 * 0.8)
    assert ours(CLEO, 2, False) == pytest.approx(-total)
    assert abs(-total - printed) > 0.1
    assert abs(code - printed) > 0.1
    assert as_in_the_text((*CLEO[:2], 1 - needed), 2, False) == pytest.approx(printed)
    evidence(total=total, code=code, printed=printed, needed=needed, factor=1 - CLEO[2])


@claim(
    "B3",
    "The loss charges a patient who is censored at visit T for every visit up to T, visit T included.",
    source="loss; chapter 2; tutorial 3",
    verdict="FALSE",
    shows="For hazards of {first:.1f}, {second:.1f} and {third:.1f} the text gives {text:.4f} and the code {code:.4f}. "
    "In each of {records:,} random records they differ, by the cost of visit T.",
    teaches="The documents say so in their texts, and that is the likelihood of a patient seen event-free after visit "
    "T. Their code, and other formulas in the same documents, stop before T. Choose one, and say what censored at T "
    "means.",
    chapter=WHY,
)
def test_the_text_counts_the_visit_of_censoring_and_the_code_does_not(evidence: Evidence) -> None:
    random, records = np.random.default_rng(0), 1_000
    for _ in range(records):
        hazard = random.uniform(0.01, 0.6, random.integers(1, 12)).tolist()
        last = len(hazard) - 1
        text, code = as_in_the_text(hazard, last, False), as_in_the_code(hazard, last, False)
        assert text - code == pytest.approx(cost(1 - hazard[last]), rel=1e-9)
        assert text > code
    text, code = as_in_the_text(CLEO, 2, False), as_in_the_code(CLEO, 2, False)
    evidence(first=CLEO[0], second=CLEO[1], third=CLEO[2], text=text, code=code, records=records)


@claim(
    "B4",
    "A patient with hazards 0.15 and 0.25, censored at visit 1, has the mask [1, 0, 0, 0, 0] before T and the "
    "log-likelihood log 0.85 + log 0.75.",
    source="integration",
    verdict="FALSE",
    shows="Under the mask printed there, the log-likelihood is {masked:.4f}; the two terms printed below it sum to "
    "{terms:.4f}.",
    teaches="A mask with a single 1 keeps a single visit. The two terms are the likelihood, and need the mask "
    "[1, 1, 0, 0, 0].",
    chapter=WHY,
)
def test_the_mask_keeps_one_visit_and_the_text_sums_two(evidence: Evidence) -> None:
    survived = torch.log(1 - torch.tensor([*BEN, 0.0, 0.0, 0.0], dtype=torch.float64))
    masked = (survived * torch.tensor([1, 0, 0, 0, 0])).sum().item()
    terms = math.log(0.85) + math.log(0.75)
    assert masked == pytest.approx(-as_in_the_code(BEN, 1, False))
    assert terms == pytest.approx(-ours(BEN, 1, False))
    assert (survived * torch.tensor([1, 1, 0, 0, 0])).sum().item() == pytest.approx(terms)
    assert masked - terms > 0.25
    evidence(masked=masked, terms=terms)


@claim(
    "B5",
    "The worked examples come to a loss of 0.813 (two patients) and of 1.213 (one), to S(3) = 0.743, the survival "
    "through visit 3, and to P(T = 3) = 0.131, the probability of an event there.",
    source="custom losses; tutorial 3",
    verdict="DEPENDS",
    shows="Hazards of {first}, with an event at the last visit, and of {second}, censored there, come to {two:.5f}; "
    "hazards of {four}, with an event at the last visit, to {one:.5f}, with S(3) = {survival:.4f} and P(T = 3) = "
    "{probability:.4f}. With the last row of the censored patient counted, the first loss would be {counted:.4f}.",
    teaches="The arithmetic is right in all four. The first follows the rule that leaves out the row of censoring, so "
    "it is no likelihood if that patient was seen event-free at the end of it.",
    chapter=HAZARDS,
)
def test_the_worked_examples_add_up_and_one_leaves_a_row_out(evidence: Evidence) -> None:
    first, second = (0.05, 0.10, 0.25), (0.08, 0.15)
    two = (as_in_the_code(first, 2, True) + as_in_the_code(second, 1, False)) / 2
    counted = (ours(first, 2, True) + ours(second, 1, False)) / 2
    four = (0.05, 0.08, 0.15, 0.40)
    one, survival = as_in_the_code(four, 3, True), oracles.survival(list(four))[2]
    probability = oracles.event_probability(list(four))[2]
    assert [round(value, 3) for value in (two, one, survival, probability)] == [0.813, 1.213, 0.743, 0.131]
    assert counted - two == pytest.approx(cost(0.85) / 2)
    evidence(
        first=told(first),
        second=told(second),
        four=told(four),
        two=two,
        one=one,
        survival=survival,
        probability=probability,
        counted=counted,
    )


# -------------------------------------------------------------------------------------------- what the losses estimate


@claim(
    "B6",
    "For any patient the log-likelihood is the sum of log(1 - h) over the visits through T, plus log h at T if the "
    "event was seen.",
    source="tutorial 3",
    verdict="FALSE",
    shows="The tutorial's own example, hazards of {four} with an event at the last visit, comes to {twice:.3f} instead "
    "of {once:.3f}. With infinitely many patients and one hazard for all, true hazards of {low:.2f} and {high:.1f} are "
    "estimated as {low_estimate:.4f} and {high_estimate:.4f}, {low_bias:+.1%} and {high_bias:+.1%} off.",
    teaches="This charges a patient with an event for surviving the visit of the event and for not surviving it. It is "
    "the form for rates in continuous time; with hazards no estimate can pass one half.",
    chapter=ESTIMATE,
)
def test_one_formula_for_all_counts_the_row_of_the_event_twice(evidence: Evidence) -> None:
    four = (0.05, 0.08, 0.15, 0.40)
    once, twice = as_in_the_text(four, 3, True), as_combined(four, 3, True)
    assert twice - once == pytest.approx(cost(1 - four[3]))
    low, high, found = 0.05, 0.3, {}
    for truth in (low, high):
        for visits, dropout in ((5, 0.0), (12, 0.1)):
            found[truth] = estimate(as_combined, truth, visits, dropout)
            assert found[truth] == pytest.approx(truth / (1 + truth), abs=1e-6)
            assert estimate(as_in_the_text, truth, visits, dropout) == pytest.approx(truth, abs=1e-6)
    assert estimate(as_combined, 0.999, 5) < 0.5
    evidence(
        four=told(four),
        twice=twice,
        once=once,
        low=low,
        high=high,
        low_estimate=found[low],
        high_estimate=found[high],
        low_bias=found[low] / low - 1,
        high_bias=found[high] / high - 1,
    )


SETTINGS = {"a": (0.02, 3, 0.0), "b": (0.05, 5, 0.0), "c": (0.1, 10, 0.1), "d": (0.05, 20, 0.0)}


@claim(
    "B7",
    "A censored patient's T may be the index of the last visit, with a loss that sums the visits before T.",
    source="losses code; training code; integration",
    verdict="FALSE",
    shows="With infinitely many patients, none lost before the last visit, a true hazard of {truth:.2f} is estimated "
    "{b:.1%} too high from {visits} visits each, and {d:.1%} too high from {more}. From {fewer} visits a hazard of "
    "{rare:.2f} comes out {a:.0%} too high.",
    teaches="Each censored patient loses one row that was survived, so events are divided by too few rows. The shorter "
    "the records and the rarer the event, the more.",
    chapter=ESTIMATE,
)
def test_leaving_out_the_row_of_censoring_makes_hazards_too_high(evidence: Evidence) -> None:
    too_high = {}
    for name, (truth, visits, dropout) in SETTINGS.items():
        found = estimate(as_in_the_code, truth, visits, dropout)
        reached = [((1 - truth) * (1 - dropout)) ** k for k in range(visits)]
        events = truth * sum(reached)
        assert found == pytest.approx(events / (sum(reached) - (1 - events)), abs=1e-6)
        assert estimate(as_in_the_text, truth, visits, dropout) == pytest.approx(truth, abs=1e-6)
        too_high[name] = found / truth - 1
    assert too_high == pytest.approx({"a": 0.471, "b": 0.206, "c": 0.132, "d": 0.029}, abs=0.001)
    by_length = [estimate(as_in_the_code, 0.05, visits) for visits in (2, 3, 5, 10, 20)]
    assert all(longer < shorter for shorter, longer in pairwise(by_length))
    by_rarity = [estimate(as_in_the_code, hazard, 5) / hazard for hazard in (0.3, 0.1, 0.05, 0.02)]
    assert all(common < rarer for common, rarer in pairwise(by_rarity))
    (rare, fewer, _), (truth, visits, _), (_, more, _) = (SETTINGS[name] for name in "abd")
    shown = {name: too_high[name] for name in "abd"}
    evidence(**shown, truth=truth, visits=visits, more=more, rare=rare, fewer=fewer)


@claim(
    "B8",
    "The loss is a proper scoring rule: it is smallest where the predicted hazards are the true ones.",
    source="loss",
    verdict="FALSE",
    shows="Everybody has {visits} visits, and whoever has no event is censored at the last. Where the last hazard is "
    "truly {truth:.2f}, the expected loss is {at_truth:.3f} if that is predicted and {near_one:.3f} if {almost:.3f} "
    "is. With the row of censoring counted it is smallest at {counted:.2f}.",
    teaches="The likelihood is proper. The notes' loss drops the row of everybody who survives the last visit, so at "
    "that visit only events are left, and nothing speaks against a hazard of 1.",
    chapter=WHY,
)
def test_nothing_speaks_against_a_last_hazard_of_one(evidence: Evidence) -> None:
    truth = [0.05, 0.15, 0.10, 0.30, 0.08]

    def best(loss: Loss, visit: int) -> float:
        def mean_loss(hazard: float) -> float:
            return expected(loss, [*truth[:visit], hazard, *truth[visit + 1 :]], truth)

        return float(minimize_scalar(mean_loss, bounds=(1e-9, 1 - 1e-9), method="bounded", options={"xatol": 1e-11}).x)

    # One visit at a time is enough: the expected loss is a sum with one term for each visit.
    assert [best(as_in_the_text, visit) for visit in range(5)] == pytest.approx(truth, abs=1e-6)
    assert [best(as_in_the_code, visit) for visit in range(4)] == pytest.approx(truth[:4], abs=1e-6)
    ladder = [truth[4], 0.2, 0.5, 0.9, 0.99, 0.999]
    falls = [expected(as_in_the_code, [*truth[:4], hazard], truth) for hazard in ladder]
    assert all(after < before for before, after in pairwise(falls))
    assert best(as_in_the_code, 4) > 0.999
    counted = best(as_in_the_text, 4)
    numbers = {"at_truth": falls[0], "near_one": falls[-1], "almost": ladder[-1], "counted": counted}
    evidence(visits=len(truth), truth=truth[4], **numbers)


@claim(
    "B9",
    "Assert that every patient's T is smaller than the number of visits; otherwise the loss computation fails.",
    source="integration",
    verdict="FALSE",
    shows="With the assertion obeyed a true hazard of {truth:.2f} is estimated as {obeyed:.4f} from {visits} visits "
    "each. With T one past the last visit of the censored nothing fails: the loss is {finite:.4f} for the censored "
    "patient of the notes' example, and the estimate {cured:.4f}.",
    teaches="For a loss that stops before T, one past the last visit seen event-free is the right T of a censored "
    "patient, and the assertion forbids it. Check the patients with an event. In this package `stop` is the number of "
    "a patient's rows, for everybody.",
    chapter=CODE,
)
def test_one_past_the_last_visit_is_the_right_time_of_a_censored_patient(evidence: Evidence) -> None:
    def cured(hazard: Sequence[float], last: int, observed: bool) -> float:
        return as_in_the_code(hazard, last if observed else last + 1, observed)

    truth, visits = 0.05, 5
    found = {loss: estimate(loss, truth, visits) for loss in (as_in_the_code, cured)}
    assert found[cured] == pytest.approx(truth, abs=1e-6)
    assert found[as_in_the_code] > 1.2 * truth
    finite = cured(BEN, 1, False)
    assert finite == pytest.approx(ours(BEN, 1, False))
    evidence(truth=truth, visits=visits, obeyed=found[as_in_the_code], finite=finite, cured=found[cured])


# ------------------------------------------------------------------------------------------------------ other libraries


@claim(
    "B10",
    "pycox's `nll_logistic_hazard` and the loss of the notes are the same function.",
    source="visitwise",
    verdict="DEPENDS",
    shows="For hazards of {first:.1f}, {second:.1f} and {third:.1f} and T = 2 both give {event:.4f} if the event was "
    "seen. Censored, pycox gives {pycox:.4f} and the notes' code {notes:.4f}.",
    teaches="They agree on events. For the censored, pycox counts the row at its index and the notes stop before it. "
    "pycox's own labels put a censored patient on the last interval seen to its end: loss and labels are a pair.",
    chapter=WHY,
)
def test_pycox_counts_the_row_at_the_index_of_censoring(evidence: Evidence) -> None:
    def pycox(hazard: Sequence[float], index: int, observed: bool) -> float:
        logits = torch.logit(torch.tensor([list(hazard)], dtype=torch.float64))
        return nll_logistic_hazard(logits, torch.tensor([index]), torch.tensor([float(observed)]).double()).item()

    random = np.random.default_rng(1)
    for _ in range(100):
        hazard = random.uniform(0.01, 0.9, 6).tolist()
        last = int(random.integers(1, 6))
        assert pycox(hazard, last, True) == pytest.approx(as_in_the_code(hazard, last, True), rel=1e-9)
        assert pycox(hazard, last - 1, False) == pytest.approx(as_in_the_code(hazard, last, False), rel=1e-9)
        assert pycox(hazard, last, False) > as_in_the_code(hazard, last, False)
    labels = LabTransDiscreteTime(np.array([0.0, 1.0, 2.0, 3.0]))
    index, _ = labels.transform(np.array([1.5, 1.5]), np.array([1.0, 0.0]))
    # Within (1, 2] an event is in the row that ends at 2; a censored patient has not seen the end of that row.
    assert index.tolist() == [2, 1]
    evidence(
        first=ADA[0],
        second=ADA[1],
        third=ADA[2],
        event=pycox(ADA, 2, True),
        pycox=pycox(CLEO, 2, False),
        notes=as_in_the_code(CLEO, 2, False),
    )


@claim(
    "B11",
    "torchsurv's `survival` loss, which takes a log hazard at each of several times, is the discrete-time likelihood.",
    source="visitwise",
    verdict="FALSE",
    shows="Rates of {first:.1f}, {second:.1f} and {third:.1f} at the times 0, 1 and 2, with an event at 2, give "
    "{rates:.4f}, hazards of the same size {hazards:.4f}; censored, it is {rates_censored:.4f} against "
    "{hazards_censored:.4f}.",
    teaches="It is the likelihood of a rate in continuous time: minus the log rate at the event, plus the area under "
    "the rate by trapezoids. For visits that is another loss. (We wrote the formula again from its documentation and "
    "did not run the library; its source returns 0 for a batch without events, where the censored would have a say.)",
    chapter=WHY,
)
def test_a_loss_of_rates_is_not_a_loss_of_hazards(evidence: Evidence) -> None:
    def of_rates(rate: Sequence[float], times: Sequence[float], end: float, observed: bool) -> float:
        """Minus the log rate at the last time before the end, if there the event was seen, plus the area until then."""
        until = [k for k, time in enumerate(times) if time <= end]
        area = float(np.trapezoid([rate[k] for k in until], [times[k] for k in until]))
        return area - (math.log(rate[until[-1]]) if observed else 0.0)

    # For a constant rate this is the exact likelihood of an exponential time ...
    times = np.linspace(0, 10, 41).tolist()
    assert of_rates([0.2] * 41, times, 10.0, True) == pytest.approx(0.2 * 10 - math.log(0.2), rel=1e-12)
    # ... and what the likelihood of hazards becomes when its intervals are cut ever finer, but for the widths.
    finer = [oracles.probability_of([0.2 * 10 / n] * n, n, True) / (10 / n) for n in (100, 10_000)]
    assert [-math.log(density) for density in finer] == pytest.approx([0.2 * 10 - math.log(0.2)] * 2, rel=2e-3)
    rates, rates_censored = (of_rates(ADA, [0, 1, 2], 2, observed) for observed in (True, False))
    hazards, hazards_censored = ours(ADA, 2, True), ours(CLEO, 2, False)
    assert abs(rates - hazards) > 0.05
    assert abs(rates_censored - hazards_censored) > 0.2
    evidence(
        first=ADA[0],
        second=ADA[1],
        third=ADA[2],
        rates=rates,
        hazards=hazards,
        rates_censored=rates_censored,
        hazards_censored=hazards_censored,
    )


# --------------------------------------------------------------------------------------------------- rows and censoring


@claim(
    "B17",
    "Patients with ten visits each give ten times the data if every visit is a training example.",
    source="chapter 1; chapter 2",
    verdict="FALSE",
    shows="The same follow-up of {patients:,} simulated patients, half of them treated, is {rows:,} rows, or {many:,} "
    "if cut {finer} times as fine. The standard error of the treatment's effect goes from {coarse:.4f} to {fine:.4f}; "
    "a Cox regression, which has one row for each patient, has {cox:.4f}.",
    teaches="Rows are not patients. How sure an estimate is grows with the number of events; cutting time finer adds "
    "rows and no events. A further visit tells as much as is new in it, not a row's worth.",
    chapter=WHY,
)
def test_many_times_the_rows_leave_the_standard_error_where_it_was(evidence: Evidence) -> None:
    patients, followup, finer = 1_000, 8.0, 50
    treated = np.arange(patients) % 2
    luck = np.random.default_rng(17).random(patients)
    event = -np.log1p(-luck) / (0.12 * np.exp(0.7 * treated))
    seen, time = event < followup, np.minimum(event, followup)

    def standard_error(width: float) -> tuple[int, float]:
        """Rows, and the standard error of the log odds ratio by logistic regression: from the information matrix."""
        information, total = np.zeros((2, 2)), 0
        for group in (0, 1):
            rows = int(np.ceil(time[treated == group] / width).sum())
            hazard = seen[treated == group].sum() / rows
            column = np.array([1.0, group])
            information += rows * hazard * (1 - hazard) * np.outer(column, column)
            total += rows
        return total, float(np.linalg.inv(information)[1, 1] ** 0.5)

    (rows, coarse), (many, fine) = standard_error(1.0), standard_error(1.0 / finer)
    table = pd.DataFrame({"time": time, "seen": seen, "treated": treated})
    cox = float(CoxPHFitter().fit(table, "time", "seen").standard_errors_["treated"])
    events = [int(seen[treated == group].sum()) for group in (0, 1)]
    floor = (1 / events[0] + 1 / events[1]) ** 0.5
    assert many > 40 * rows
    assert floor < fine < coarse < 1.1 * floor
    assert fine == pytest.approx(floor, rel=0.002)
    assert cox == pytest.approx(fine, rel=0.03)
    evidence(patients=patients, finer=finer, rows=rows, many=many, coarse=coarse, fine=fine, cox=cox)


@claim(
    "B18",
    "A patient is censored who drops out, whose study ends, or who has a competing event; the loss handles all three.",
    source="loss",
    verdict="DEPENDS",
    shows="With a hazard of {robust:.2f} for half of infinitely many patients and {frail:.2f} for the others, "
    "{truth:.1%} stay event-free over {visits} visits. With one hazard a visit for all, the loss finds "
    "{independent:.1%} if both halves leave alike, {hopeful:.1%} if {often:.0%} of those at high risk and "
    "{seldom:.0%} of the others leave after each visit, {gloomy:.1%} the other way round. Where each visit brings a "
    "stroke to {stroke:.0%} and death to {death:.0%}, deaths counted as censored promise a stroke within {within} "
    "visits to {naive:.1%}; {real:.1%} have one.",
    teaches="The likelihood needs censoring that is independent of the event, given what the model sees. The end of a "
    "study mostly is, dropping out may not be. After a competing event nothing is left to wait for: it is an outcome.",
    chapter=BREAKS,
)
def test_censoring_has_to_be_independent_and_a_competing_event_is_none(evidence: Evidence) -> None:
    visits, robust, frail = 5, 0.05, 0.40

    def event_free(dropout: tuple[float, float]) -> float:
        """Survival by the right loss with one hazard for each visit: events by rows, in two groups of equal size."""
        survival = 1.0
        for k in range(visits):
            here = [((1 - h) * (1 - lost)) ** k for h, lost in zip((robust, frail), dropout, strict=True)]
            survival *= 1 - (here[0] * robust + here[1] * frail) / sum(here)
        return survival

    truth = ((1 - robust) ** visits + (1 - frail) ** visits) / 2
    seldom, often = 0.05, 0.5
    independent, hopeful, gloomy = (event_free(lost) for lost in ((0.2, 0.2), (seldom, often), (often, seldom)))
    assert independent == pytest.approx(truth, rel=1e-12)
    assert hopeful > truth + 0.1
    assert gloomy < truth - 0.05

    stroke, death, within = 0.1, 0.2, 15
    reached = [(1 - stroke - death) ** k for k in range(within)]
    events, rows = stroke * sum(reached), sum(reached)  # rows of those who die count as survived: no stroke was seen
    naive, real = 1 - (1 - events / rows) ** within, events
    assert naive == pytest.approx(1 - (1 - stroke) ** within)
    assert naive > 2 * real
    evidence(
        robust=robust,
        frail=frail,
        seldom=seldom,
        often=often,
        truth=truth,
        visits=visits,
        independent=independent,
        hopeful=hopeful,
        gloomy=gloomy,
        stroke=stroke,
        death=death,
        within=within,
        naive=naive,
        real=real,
    )
