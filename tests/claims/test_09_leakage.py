"""Claims about what a hazard may have seen, tried on coin flips: events that nothing foretells."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from tests.ledger import Evidence, claim
from visitwise.baselines import LogisticHazard, current_features
from visitwise.check import leakage as wrong
from visitwise.cohort import Cohort, Outcome
from visitwise.leakage import edit_later_visits
from visitwise.metrics import incident_dynamic_auc, nll_per_row
from visitwise.model import SurvivalRNN
from visitwise.training import evaluate_nll, fit
from visitwise.visits import Visits

COIN = 0.1
BOTH = {"bidirectional": True, "demonstration": True, "path": "packed"}

Parts = tuple[Cohort, Cohort, Cohort]


@pytest.fixture(scope="module")
def parts() -> Parts:
    return wrong.coin_flips(3_000, seed=21, hazard=COIN).split([0.3, 0.1, 0.6], seed=0)


def own_visit(cohort: Cohort) -> Cohort:
    """As the training script has it: the event's visit is the first with the code, and an input."""
    return wrong.label_the_visit_itself(cohort)


def trained(train: Cohort, validation: Cohort, epochs: int = 5, **settings: object) -> SurvivalRNN:
    model = SurvivalRNN.for_cohort(train, embedding=8, hidden=16, **settings).double()
    fit(model, train, validation, epochs=epochs, batch_size=32, learning_rate=1e-2, progress=False)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def detector(parts: Parts) -> SurvivalRNN:
    return trained(own_visit(parts[0]), own_visit(parts[1]))


@pytest.fixture(scope="module")
def both_ways(parts: Parts) -> SurvivalRNN:
    return trained(parts[0], parts[1], epochs=9, **BOTH)


def auc(model: SurvivalRNN, cohort: Cohort) -> float:
    return float(incident_dynamic_auc(torch.sigmoid(model(cohort.visits)), cohort.outcome))


def oracle_nll(cohort: Cohort) -> float:
    coin = torch.full((len(cohort), int(cohort.outcome.stop.max())), COIN, dtype=torch.float64)
    return nll_per_row(torch.logit(coin), cohort.outcome)


def with_event(cohort: Cohort) -> Cohort:
    return cohort.select(cohort.outcome.observed.nonzero()[:, 0])


@claim(
    "H1",
    "The discrete-time survival LSTM is causal by construction: no leakage of the future is possible.",
    source="chapter 2",
    verdict="DEPENDS",
    shows="Replacing all later visits moves no hazard by more than {bound:.0e}. But at the visit that records a coin's "
    "event the mean hazard is {there:.3f}, and {gone:.3f} once the event's code is taken out of that one visit.",
    teaches="A forward recurrence cannot see visits to come. It does see the visit that its hazard is about, if the "
    "event is labelled there; causality of the network says nothing about the labels.",
    chapter="09-leakage#the-events-own-visit",
)
def test_a_forward_lstm_does_not_see_later_visits_and_does_see_the_events_own(
    parts: Parts, detector: SurvivalRNN, evidence: Evidence
) -> None:
    cohort, bound = with_event(parts[2]), 1e-12
    visits, at = cohort.visits, cohort.outcome.stop
    hazard = torch.sigmoid(detector(visits))
    edited = torch.sigmoid(detector(edit_later_visits(visits, at, seed=0)))
    kept = torch.arange(hazard.shape[1]) <= at[:, None]
    assert (hazard - edited).abs()[kept].max() < bound
    up_to = visits.select(torch.arange(len(cohort)), at + 1)
    without = torch.sigmoid(detector(wrong.without_code(up_to, wrong.EVENT_CODE)))
    there, gone = (float(h.gather(1, at[:, None]).mean()) for h in (hazard, without))
    assert there > 0.9
    assert gone < 0.3
    evidence(bound=bound, there=there, gone=gone)


@claim(
    "H2",
    "The outcome `ckd_progression`, the first visit with a code of stage 4 or 5, trains a model that predicts "
    "progression.",
    source="training code",
    verdict="FALSE",
    shows="With that labelling, coin flips are predicted with an AUC of {auc:.3f} and an NLL per row of {nll:.3f} "
    "(true hazards: {oracle:.3f}). With the inputs one visit earlier the AUC is {honest_auc:.3f} and the NLL "
    "{honest_nll:.3f}.",
    teaches="The code that makes the label is an input of the same visit: that is detection. Label the interval "
    "before the visit, and drop the visit that records the event from its inputs.",
    chapter="09-leakage#the-events-own-visit",
)
def test_the_first_visit_with_the_code_is_detected_and_not_predicted(
    parts: Parts, detector: SurvivalRNN, evidence: Evidence
) -> None:
    honest, test = trained(parts[0], parts[1]), parts[2]
    found = {"auc": auc(detector, own_visit(test)), "nll": evaluate_nll(detector, own_visit(test))}
    found |= {"honest_auc": auc(honest, test), "honest_nll": evaluate_nll(honest, test), "oracle": oracle_nll(test)}
    assert found["auc"] > 0.999
    assert found["nll"] < found["oracle"] / 10
    assert abs(found["honest_auc"] - 0.5) < 0.03
    assert abs(found["honest_nll"] - found["oracle"]) < 0.006
    evidence(**found)


@claim(
    "H3",
    "For causal modelling, `bidirectional` should be `False`.",
    source="lstm code",
    verdict="TRUE",
    shows="Under honest labels, coin flips are predicted with an AUC of {auc:.3f} and an NLL per row of {nll:.3f} "
    "(true hazards: {oracle:.3f}) by an LSTM that reads in both directions.",
    teaches="True, and too important for a comment: nothing in that code refuses or warns. `SurvivalRNN` refuses, "
    "unless you say that you want a demonstration.",
    chapter="09-leakage#predict",
)
def test_an_lstm_in_both_directions_predicts_coin_flips(
    parts: Parts, both_ways: SurvivalRNN, evidence: Evidence
) -> None:
    with pytest.raises(ValueError, match="reads the future"):
        SurvivalRNN.for_cohort(parts[0], bidirectional=True, path="packed")
    found = auc(both_ways, parts[2])
    assert found > 0.999
    evidence(auc=found, nll=evaluate_nll(both_ways, parts[2]), oracle=oracle_nll(parts[2]))


@claim(
    "H4",
    "Shuffle the visits after `t`, and predict from the visits up to `t`: if nothing changes, the model is causal.",
    source="chapter 2",
    verdict="FALSE",
    shows="As written, the test cuts both records after `t` first, and a bidirectional model passes it for all "
    "{patients} patients. Given whole records, {caught} of them have a hazard that moves.",
    teaches="A test that hands the model the same visits twice compares a number with itself. Edit the later visits "
    "of the *whole* record, and compare the hazards before them.",
    chapter="09-leakage#a-test-that-cannot-fail",
)
def test_the_notes_test_of_causality_passes_a_bidirectional_model(
    parts: Parts, both_ways: SurvivalRNN, evidence: Evidence
) -> None:
    visits = parts[2].visits.select(torch.arange(300))
    t = torch.from_numpy(np.random.default_rng(0).integers(0, visits.length.numpy() - 1))
    shuffled = edit_later_visits(visits, t, seed=0)
    kept = torch.arange(int(visits.length.max())) <= t[:, None]
    cut = [both_ways(record.select(torch.arange(len(visits)), t + 1)) for record in (visits, shuffled)]
    torch.testing.assert_close(*cut, rtol=0, atol=0, equal_nan=True)
    moved = (torch.sigmoid(both_ways(visits)) - torch.sigmoid(both_ways(shuffled))).abs() > 1e-6
    caught = int((moved & kept).any(1).sum())
    assert caught > 0.95 * len(visits)
    evidence(patients=len(visits), caught=caught)


@claim(
    "H5",
    "To predict the future from visit `t`, use the hazard at `t + 1`; this uses data through `t` only.",
    source="chapter 2; lstm code",
    verdict="FALSE",
    shows="Replace visit `t + 1` and nothing before it: the hazard at `t + 1` moves by up to {move:.3f}. Given the "
    "{given} visits up to `t` the model answers with {answers} hazards, and none is for `t + 1`.",
    teaches="The hazard at a visit needs that visit. To predict from visit `t`, train the hazard at `t` on what "
    "happens after it.",
    chapter="09-leakage#the-events-own-visit",
)
def test_the_hazard_at_the_next_visit_needs_the_next_visit(
    parts: Parts, detector: SurvivalRNN, evidence: Evidence
) -> None:
    cohort = with_event(parts[2])
    visits, before = cohort.visits, cohort.outcome.stop - 1
    hazard = torch.sigmoid(detector(visits))
    edited = torch.sigmoid(detector(edit_later_visits(visits, before, seed=0)))
    next_visit = (before + 1)[:, None]
    move = float((hazard - edited).abs().gather(1, next_visit).max())
    assert move > 0.5
    up_to_t = cohort.visits.select(torch.tensor([0]), before[:1] + 1)
    answers = detector(up_to_t).shape[1]
    assert answers == up_to_t.n_visits
    evidence(move=move, given=up_to_t.n_visits, answers=answers)


@claim(
    "H6",
    "The hazard at `t` is the probability of the event before the *next* visit, and the likelihood takes it at `T`, "
    "the visit of the event.",
    source="chapter 1; chapter 2",
    verdict="FALSE",
    shows="A code at a visit means a hazard of {high} before the next one, {low} without it. Fitted with the event at "
    "`T`, the two hazards come out as {at_with:.3f} and {at_without:.3f}; with the event at the visit before, as "
    "{before_with:.3f} and {before_without:.3f}.",
    teaches="Chapter 1 of the notes says *next* visit, chapter 2 *this* visit, and both use one formula. If the "
    "hazard looks ahead, the event belongs to the last visit before it; else the link between a visit and its risk "
    "is lost.",
    chapter="09-leakage#why",
)
def test_a_hazard_that_looks_ahead_is_charged_one_visit_before_the_event(evidence: Evidence) -> None:
    random, high, low, n, width = np.random.default_rng(3), 0.3, 0.05, 20_000, 12
    code = random.random((n, width + 1)) < 0.5
    falls = random.random((n, width)) < np.where(code[:, :width], high, low)
    seen = falls.any(1)
    visit_of_event = np.where(seen, falls.argmax(1) + 1, width)  # recorded at the visit behind the row
    rows = np.arange(width + 1)

    def fitted(last_row: np.ndarray) -> list[float]:
        """Events divided by rows, for visits with the code and without: the maximum of the likelihood."""
        counted = np.where(seen, last_row, width - 1)
        at_risk = rows <= counted[:, None]
        event = at_risk & seen[:, None] & (rows == last_row[:, None])
        return [float((event & group).sum() / (at_risk & group).sum()) for group in (code, ~code)]

    at, before = fitted(visit_of_event), fitted(visit_of_event - 1)
    assert np.allclose(before, [high, low], atol=0.01)
    assert abs(at[0] - at[1]) < 0.05
    evidence(high=high, low=low, at_with=at[0], at_without=at[1], before_with=before[0], before_without=before[1])


@claim(
    "H7",
    "Shuffling visits, truncating at random and predicting from the number of visits alone: three tests that always "
    "catch temporal leakage.",
    source="chapter 1",
    verdict="FALSE",
    shows="A model that reads the event's own visit has an AUC of {auc:.3f} on coin flips. Shuffled it falls to "
    "{shuffled:.3f}, truncated it is {truncated:.3f}, and the number of visits has {length:.3f}: all three pass it.",
    teaches="By their own reading: the fall says that the order is used, the standstill that no future is, and the "
    "last is below their bound. A leak in the visit itself moves with the visit.",
    chapter="09-leakage#where-it-breaks",
)
def test_three_tests_pass_a_model_that_reads_the_event(parts: Parts, detector: SurvivalRNN, evidence: Evidence) -> None:
    leaky = own_visit(parts[2])
    everybody = torch.arange(len(leaky))
    ended = Cohort(leaky.visits.select(everybody, leaky.outcome.stop), leaky.outcome)
    stop, observed, length = ended.outcome.stop, ended.outcome.observed, ended.visits.length
    at = torch.from_numpy(np.random.default_rng(0).integers(2, length.numpy() + 1))
    reach = torch.minimum(at, stop)
    labels = Outcome.of(reach, observed & (reach == stop), start=ended.outcome.start)
    found = {
        "auc": auc(detector, ended),
        "shuffled": auc(detector, Cohort(wrong.shuffle_visits(ended.visits, seed=0), ended.outcome)),
        "truncated": auc(detector, Cohort(ended.visits.select(everybody, at), labels)),
        "length": float(roc_auc_score(observed, length)),
    }
    assert min(found["auc"], found["truncated"]) > 0.999
    assert found["shuffled"] < found["auc"] - 0.2
    assert found["length"] < 0.75
    evidence(**found)


@claim(
    "H15",
    "The time of the event is counted from the first visit with stage 3, the time origin.",
    source="survival notebook",
    verdict="FALSE",
    shows="In the notebook's own example stage 3 is found at visit {origin} and stage 4 at visit {event}, so the label "
    "is {label}. With the whole record as input the slopes of the loss by the hazards are {slopes}: the event lands "
    "on visit {label}, and visit {event} gets {nothing}.",
    teaches="A time origin moves the record, too. Cut the visits before it off, or pass them as history with "
    "`start`, and count rows and visits from one place.",
    chapter="09-leakage#look-ahead-in-the-inputs",
)
def test_a_label_from_another_origin_lands_on_another_visit(evidence: Evidence) -> None:
    stages = [0, 3, 3, 4, 4]
    origin = stages.index(3)
    event = stages.index(4)
    label = event - origin
    hazard = torch.full((len(stages),), 0.3, dtype=torch.float64, requires_grad=True)
    loss = -(1 - hazard[:label]).log().sum() - hazard[label].log()
    (slope,) = torch.autograd.grad(loss, hazard)
    assert int(slope.argmin()) == label != event
    assert float(slope[event]) == 0
    slopes = ", ".join(f"{value:.2f}" for value in slope.tolist())
    evidence(origin=origin, event=event, label=label, slopes=slopes, nothing=int(slope[event]))


@claim(
    "H16",
    "`max_visits` keeps long records short; the most recent visits are kept.",
    source="sequence code; training code",
    verdict="FALSE",
    shows="Of a record of {length} visits the last {kept} are kept, and the label still counts from the first: row "
    "{row} reads visit {read}, beside the gap before visit {gap}, for gaps are cut at the other end. On coin flips, "
    "the last {n} visits give an AUC of {last:.3f}, the first {n} {first:.3f}.",
    teaches="Cut the end of a record, or move the label with its beginning. (The training script's own batches ignore "
    "the setting.)",
    chapter="09-leakage#look-ahead-in-the-inputs",
)
def test_the_last_visits_under_a_label_from_the_first_look_ahead(parts: Parts, evidence: Evidence) -> None:
    length, kept, row, n = 66, 50, 3, 5
    visits, gaps = list(range(length))[-kept:], list(range(1, length))[: kept - 1]  # gap `k` ends at visit `k`
    assert visits[row] != row
    assert gaps[row - 1] == row
    found = {}
    for name, cut in (("last", wrong.keep_the_last_visits), ("first", wrong.keep_the_first_visits)):
        train, test = cut(parts[0], n), cut(parts[2], n)
        logits = LogisticHazard.fit(train, current_features)(test.visits)
        found[name] = float(incident_dynamic_auc(torch.sigmoid(logits), test.outcome))
    assert found["last"] > 0.6
    assert abs(found["first"] - 0.5) < 0.04
    cohort = with_event(parts[2])
    longer = cohort.select((cohort.visits.length > n).nonzero()[:, 0])
    assert_code_in_the_last_row(wrong.keep_the_last_visits(longer, n))
    evidence(length=length, kept=kept, row=row, read=visits[row], gap=gaps[row - 1], n=n, **found)


def assert_code_in_the_last_row(cohort: Cohort) -> None:
    """Of most patients the last row reads a visit that lies behind the event."""
    visits: Visits = cohort.visits
    of_code = torch.repeat_interleave(visits.code_offsets.diff())
    has_code = torch.zeros(visits.n_visits).index_put(
        (of_code,), (visits.codes == visits.schema.codes.index(wrong.EVENT_CODE)).float(), accumulate=True
    )
    last = visits.visit_offsets[:-1] + cohort.outcome.stop - 1
    assert has_code[last].clamp(max=1).mean() > 0.5
