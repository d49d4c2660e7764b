"""Claims about outcomes made for existing records, outcomes read off codes, and the number of the visit as time.

The notes' generators are written anew from their description: a risk of the whole record, an event visit that falls
with it, a censoring visit drawn from all visits. They are set on simulated records of three kinds.
"""

from functools import cache

import numpy as np
import pytest
import torch
from lifelines.utils import concordance_index
from numpy.typing import NDArray
from scipy.stats import chi2_contingency

from tests.ledger import Evidence, claim
from visitwise.baselines import LogisticHazard, best_constant_hazard, current_features
from visitwise.cohort import Cohort, Outcome
from visitwise.functional import hazard_nll
from visitwise.metrics import concordance, kaplan_meier
from visitwise.simulate import TEACHING, Simulator
from visitwise.visits import Visits

Array = NDArray[np.float64]
CENSORED = 0.3
WORLDS = {
    "teaching": TEACHING,
    "long": Simulator(event_rate=0.3, dropout=0.02, max_visits=60),
    "rare": Simulator(event_rate=0.1, dropout=0.03, max_visits=60, gap_days=120),
}


@cache
def records(world: str = "teaching") -> Visits:
    """Records of three visits and more, as the notes' script asks for."""
    visits = WORLDS[world].draw(4_000, seed=1).cohort.visits
    return visits.select((visits.length >= 3).nonzero()[:, 0])


def risk_of(visits: Visits) -> Array:
    """0.4 x codes a visit / 20, 0.4 x visits a year / 5, 0.2 x share of repeated codes; between 0.1 and 0.9."""
    n = visits.length.numpy()
    codes = visits.code_offsets[visits.visit_offsets].diff()
    distinct = np.array([len(set(own.tolist())) for own in visits.codes.split(codes.tolist())])
    span = (visits.day[visits.visit_offsets[1:] - 1] - visits.day[visits.visit_offsets[:-1]]).numpy() / 365
    codes = codes.numpy()
    risk = 0.4 * codes / n / 20 + 0.4 * n / np.maximum(span, 0.1) / 5 + 0.2 * (1 - distinct / codes)
    return np.clip(risk, 0.1, 0.9)


def event_visit(
    risk: Array, n: NDArray[np.int64], random: np.random.Generator, *, noise: float = 0.08
) -> NDArray[np.int64]:
    """The higher the risk, the smaller the share of the record before the event."""
    fraction = np.clip(1 - (risk - 0.1) / 0.8 + random.normal(0, noise, len(risk)), 0.02, 0.98)
    return np.minimum(np.floor(fraction * np.maximum(n - 1, 5) * 0.6).astype(int), n - 1)


def made(world: str = "teaching") -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Event visit, visit drawn for a censoring, and who is censored."""
    visits, random = records(world), np.random.default_rng(0)
    n = visits.length.numpy()
    event = event_visit(risk_of(visits), n, random)
    return event, random.integers(0, n), random.random(len(n)) < CENSORED


@claim(
    "H8",
    "The label for the progression of kidney disease, a list of ICD codes, works on the Synthea records that the "
    "script reads.",
    source="training code",
    verdict="FALSE",
    shows="Of {patients:,} simulated patients {have:.0%} have the disease on record. With the same disease in another "
    "vocabulary's spelling the list finds {found:.2%}. The loss does not raise, it falls to {loss:.0e}; for a C-index "
    "there are {pairs} pairs to compare.",
    teaches="A list of codes belongs to a vocabulary, and those records are in another one. Count the events before "
    "you train: a loss without events has its minimum at zero risk, which looks like success.",
    chapter="12-real-data#where-it-breaks",
)
def test_an_outcome_list_in_another_vocabulary_finds_nobody_and_raises_nothing(evidence: Evidence) -> None:
    visits = records()
    disease = next(place for place, name in enumerate(visits.schema.codes) if "N18.30" in name)
    owner = visits.patient[torch.repeat_interleave(visits.code_offsets.diff())]
    have = len(owner[visits.codes == disease].unique()) / len(visits)
    other_words = [name.split(" ", 1)[-1] for name in visits.schema.codes]
    listed = {"585.4", "585.5", "N18.30", "N18.4", "N18.5"}
    hit = torch.tensor([name in listed for name in other_words])[visits.codes]
    found = torch.zeros(len(visits), dtype=torch.bool)
    found[owner[hit]] = True
    outcome = Outcome.of(visits.length, found)
    pairs = int((outcome.stop[found][:, None] < outcome.stop).sum())
    with pytest.raises(ValueError, match="none of"):
        concordance(torch.rand(len(visits), generator=torch.Generator().manual_seed(0)), outcome)
    hazard = best_constant_hazard(hazard_nll, outcome)
    loss = float(hazard_nll(torch.full((1, 1), -30.0, dtype=torch.float64), torch.tensor([1]), found[:1]))
    assert have > 0.1
    assert not found.any()
    assert hazard == 0
    with pytest.raises(ValueError, match="rows have an event"):
        LogisticHazard.fit(Cohort(visits, outcome), current_features)
    evidence(patients=len(visits), have=have, found=float(found.double().mean()), loss=loss, pairs=pairs)


@claim(
    "H9",
    "The generator censors patients before their potential event.",
    source="generator code; tutorial 2",
    verdict="FALSE",
    shows="{teaching:.0%} of the censored leave at the visit of their own event or after it, {long:.0%} and {rare:.0%} "
    "in cohorts with longer records. Event-free after visit 2 are {truth:.1%}; Kaplan-Meier on these labels says "
    "{curve:.1%}, and on the earlier of the two visits {right:.1%}.",
    teaches="The censoring visit is drawn from all visits, without a look at the event. Draw both times and take the "
    "earlier one; who had the event before is no longer there to be censored.",
    chapter="12-real-data#when-you-make-the-data-yourself",
)
def test_most_of_the_censored_leave_at_their_own_event_or_later(evidence: Evidence) -> None:
    late = {}
    for world in WORLDS:
        event, left, censored = made(world)
        late[world] = float((left >= event)[censored].mean())
        assert late[world] > 0.7
    event, left, censored = made()

    def curve(stop: NDArray[np.int64], observed: NDArray[np.bool_]) -> float:
        outcome = Outcome.of(torch.from_numpy(stop + 1), torch.from_numpy(observed))
        return float(kaplan_meier(outcome).survival[2])

    truth = float((event > 2).mean())
    theirs = curve(np.where(censored, left, event), ~censored)
    # A censored patient of ours is lost after row `left`, so an event in that row was seen.
    right = curve(np.where(censored, np.minimum(left, event), event), ~censored | (event <= left))
    assert theirs > 1.5 * truth
    assert right == pytest.approx(truth, abs=0.02)
    evidence(**late, truth=truth, curve=theirs, right=right)


@claim(
    "H10",
    "The generator avoids events at visit 0 or at the last visit.",
    source="tutorial 2",
    verdict="DEPENDS",
    shows="Of the events {teaching:.0%} fall on visit 0, {long:.0%} and {rare:.0%} in cohorts with longer records and "
    "rarer visits; on the last visit {last:.1%}.",
    teaches="The last visit is hardly ever hit, the first often: the share of the record before the event is small for "
    "a high risk, and rounding down does the rest. An event at the first visit has no visit before it to be "
    "predicted from.",
    chapter="12-real-data#when-you-make-the-data-yourself",
)
def test_many_events_fall_on_the_first_visit_and_few_on_the_last(evidence: Evidence) -> None:
    first, last = {}, 0.0
    for world in WORLDS:
        event, _, censored = made(world)
        n = records(world).length.numpy()
        first[world] = float((event == 0)[~censored].mean())
        last = max(last, float((event == n - 1)[~censored].mean()))
    assert min(first.values()) > 0.05
    assert first["teaching"] > 0.4
    assert last < 0.02
    evidence(**first, last=last)


@claim(
    "H11",
    "The generator suits discrete-time models that predict a hazard at each visit.",
    source="generator code",
    verdict="FALSE",
    shows="With {factor} times the codes in the second half of each record, the mean event visit moves from "
    "{before:.1f} to {after:.1f}, and {earlier:.0%} of the events move to an earlier visit. The length of the "
    "record alone has a C-index of {length:.2f}, the true risk {risk:.2f}.",
    teaches="The risk is computed from the whole record, visits after the event among them, so the event depends on "
    "what comes later, and the number of visits, which nobody knows in advance, tells when it comes. Try the length "
    "alone before you praise a model.",
    chapter="12-real-data#when-you-make-the-data-yourself",
)
def test_the_generated_event_depends_on_later_visits_and_on_the_length(evidence: Evidence) -> None:
    visits, factor = records("rare"), 4
    n = visits.length.numpy()
    late = (visits.index >= visits.length[visits.patient] // 2).repeat_interleave(visits.code_offsets.diff())
    times = torch.where(late, factor, 1)
    n_codes = visits.code_offsets.diff() * torch.where(visits.index >= visits.length[visits.patient] // 2, factor, 1)
    fuller = Visits(
        codes=visits.codes.repeat_interleave(times),
        code_offsets=torch.cat([torch.zeros(1, dtype=torch.long), n_codes.cumsum(0)]),
        visit_offsets=visits.visit_offsets,
        day=visits.day,
        patient_id=visits.patient_id,
        static=visits.static,
        measurements=visits.measurements,
        schema=visits.schema,
    )
    before, after = (event_visit(risk_of(one), n, np.random.default_rng(0)) for one in (visits, fuller))
    earlier = float((after < before).mean())
    # Nothing was added before the middle of the record, and most events lie there.
    assert (before < n // 2).mean() > 0.6
    assert before.mean() > after.mean() + 1
    event, left, censored = made("rare")
    recorded = np.where(censored, left, event)
    length = concordance_index(recorded, n, ~censored)
    risk = concordance_index(recorded, -risk_of(visits), ~censored)
    assert length > 0.6
    assert length > risk - 0.1
    evidence(factor=factor, before=before.mean(), after=after.mean(), earlier=earlier, length=length, risk=risk)


@claim(
    "H12",
    "Noise with a standard deviation of .08 gives a correlation of about -.5 between risk and event time, .20 one of "
    "-.15.",
    source="tutorial 2",
    verdict="DEPENDS",
    shows="With .08 it is {teaching_8:.2f}, {long_8:.2f} and {rare_8:.2f} on three kinds of records, and {equal_8:.2f} "
    "where all have 15 visits. With .20 it is {teaching_20:.2f}, {long_20:.2f}, {rare_20:.2f} and {equal_20:.2f}.",
    teaches="What weakens the correlation is that records differ in length, far more than the noise: the event time is "
    "a share of the record. On none of these does more noise come near the number given.",
    chapter="12-real-data#when-you-make-the-data-yourself",
)
def test_the_correlation_depends_on_the_lengths_more_than_on_the_noise(evidence: Evidence) -> None:
    told = {}
    for name in (*WORLDS, "equal"):
        visits = records("teaching" if name == "equal" else name)
        risk, n = risk_of(visits), visits.length.numpy()
        n = np.full_like(n, 15) if name == "equal" else n
        for noise in (8, 20):
            event = event_visit(risk, n, np.random.default_rng(1), noise=noise / 100)
            told[f"{name}_{noise}"] = float(np.corrcoef(risk, event)[0, 1])
    assert all(told[name] < -0.2 for name in told if name.endswith("_20"))
    by_length = max(told[f"{name}_8"] for name in WORLDS) - told["equal_8"]
    by_noise = max(told[f"{name}_20"] - told[f"{name}_8"] for name in (*WORLDS, "equal"))
    assert by_length > 2 * by_noise
    evidence(**told)


@claim(
    "H13",
    "The generator for continuous time suits survival models, events come at any moment, not just at visits.",
    source="generator code",
    verdict="FALSE",
    shows="Where {rates[0]:.0%}, {rates[1]:.0%} and {rates[2]:.0%} of the patients are to be censored, the rate "
    "estimated from its labels is {ratio[0]:.2f}, {ratio[1]:.2f} and {ratio[2]:.2f} times the true one. Taken for "
    "visit numbers, {beyond:.0%} of its times lie beyond the record.",
    teaches="Who is to be censored is given the whole follow-up as event-free, whenever the event came. Censoring has "
    "to come from a time of its own. And days are no visit numbers: a loss on visits finds no row for them.",
    chapter="12-real-data#when-you-make-the-data-yourself",
)
def test_stamping_full_follow_up_on_the_censored_lowers_every_rate(evidence: Evidence) -> None:
    visits, daily = records(), 0.01
    span = (visits.day[visits.visit_offsets[1:] - 1] - visits.day[visits.visit_offsets[:-1]]).numpy()
    rate = daily * np.exp(risk_of(visits))
    rates, ratio, beyond = (0.0, CENSORED, 0.6), [], 0.0
    for to_censor in rates:
        random = np.random.default_rng(0)
        event = random.exponential(1 / rate)
        censored = (random.random(len(rate)) < to_censor) | (event > span)
        days = np.where(censored, span, event)
        # Maximum likelihood of one factor on all true rates: events over what was expected in the days at risk.
        ratio.append(float((~censored).sum() / (rate * days).sum()))
        if to_censor == CENSORED:
            beyond = float((days >= visits.length.numpy()).mean())
            honest = np.minimum(event, np.minimum(span, random.exponential(1 / rate.mean(), len(rate))))
            assert (honest == event).sum() / (rate * honest).sum() == pytest.approx(1, abs=0.05)
    assert ratio[0] == pytest.approx(1, abs=0.05)
    assert ratio[1] < 0.5
    assert ratio[2] < ratio[1] / 2
    assert beyond > 0.7
    evidence(rates=rates, ratio=ratio, beyond=beyond)


@claim(
    "H14",
    "The generator of competing risks makes outcomes of several kinds, on which a model of such risks can be tried.",
    source="generator code",
    verdict="DEPENDS",
    shows="In the third with the lowest risk the first cause has {low:.1%} of the events, in the third with the "
    "highest {high:.1%}; among early and late events {early:.1%} and {late:.1%} (chi-squared test, p = {p_risk:.2f} "
    "and {p_time:.2f}).",
    teaches="The cause is drawn like a lot, with the same chances for everybody at any time. That tries whether shares "
    "come out right, and not whether a model tells causes apart: one that ignores the patient is as good as any.",
    chapter="12-real-data#when-you-make-the-data-yourself",
)
def test_the_generated_cause_depends_on_nothing(evidence: Evidence) -> None:
    visits, random = records(), np.random.default_rng(0)
    risk, n = risk_of(visits), visits.length.numpy()
    event = event_visit(risk, n, random)
    observed = random.random(len(n)) >= 0.2
    cause = random.choice(3, size=len(n), p=[0.5, 0.3, 0.2])
    risk, event, cause = risk[observed], event[observed], cause[observed]

    def shares(group: NDArray[np.int64]) -> tuple[list[float], float]:
        table = np.array([np.bincount(cause[group == g], minlength=3) for g in np.unique(group)])
        return (table[:, 0] / table.sum(1)).tolist(), float(chi2_contingency(table).pvalue)

    by_risk, p_risk = shares(np.digitize(risk, np.quantile(risk, [1 / 3, 2 / 3])))
    by_time, p_time = shares((event > np.median(event)).astype(int))
    assert abs(by_risk[0] - by_risk[-1]) < 0.05
    assert min(p_risk, p_time) > 0.05
    evidence(low=by_risk[0], high=by_risk[-1], early=by_time[0], late=by_time[1], p_risk=p_risk, p_time=p_time)


@claim(
    "H20",
    "Clinical visits are the discrete time intervals: the number of the visit can serve as time.",
    source="loss",
    verdict="DEPENDS",
    shows="With a hazard of {daily} a day for everybody, {patients:,} simulated patients have a hazard of {h_30:.3f}, "
    "{h_90:.3f} and {h_365:.3f} a visit where visits are 30, 90 and 365 days apart. Who comes every 30 days "
    "seems to have {ratio:.0f} times less risk than who comes every 365.",
    teaches="It can where visits are evenly spaced, or where the question is about the next visit. Otherwise a hazard "
    "a visit is risk times waiting time. Give the model the gaps, or put people on a grid of equal intervals.",
    chapter="12-real-data#two-clocks",
)
def test_the_same_daily_hazard_is_another_hazard_at_each_spacing_of_visits(evidence: Evidence) -> None:
    daily, patients = 0.0005, 60_000
    random = np.random.default_rng(0)
    followed = 3_650
    estimates = {}
    for gap in (30, 90, 365):
        died_on = random.geometric(daily, patients)
        seen = died_on <= followed
        rows = np.minimum(-(-died_on // gap), followed // gap)
        counted = seen & (-(-died_on // gap) <= followed // gap)
        outcome = Outcome.of(torch.from_numpy(rows), torch.from_numpy(counted))
        estimates[gap] = float(outcome.observed.sum()) / outcome.n_rows
        assert estimates[gap] == pytest.approx(1 - (1 - daily) ** gap, rel=0.02)
    ratio = estimates[365] / estimates[30]
    assert ratio > 10
    per_year = {gap: 1 - (1 - hazard) ** (365 / gap) for gap, hazard in estimates.items()}
    assert per_year[30] == pytest.approx(per_year[365], rel=0.03)
    evidence(daily=daily, patients=patients, h_30=estimates[30], h_90=estimates[90], h_365=estimates[365], ratio=ratio)
