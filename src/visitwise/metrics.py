"""How good predictions are, on visit time, where ties are the rule and libraries disagree about them.

The row convention decides every tie. An event lies *inside* row `stop - 1`; a censored patient *survived* row
`stop - 1` and is lost after it. So a patient whose event fell in a row is known to have had it before a patient who
was censored at the end of that row, and two events in one row have no order. `ties` of each score says what follows.

A patient whose `censored_exposure` is below 1 was lost *inside* row `stop - 1` and did not survive it for all we know.
Scores of whole rows take such a patient as a survivor of the rows before and ask nothing about this one. Counts and
likelihoods take the share that was followed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Real
from lifelines.utils import concordance_index
from numpy.typing import NDArray
from scipy.stats import chi2, rankdata
from torch import Tensor

from visitwise._checks import MOST, check_real, check_whole
from visitwise._explain import explained
from visitwise.cohort import Outcome
from visitwise.functional import person_period
from visitwise.losses import outcome_nll

Array = NDArray[np.float64]

RISK_TIES = "equal risks count half (equal: apart by rounding alone)"
TIME_TIES = "two events in one row are not compared; an event in a row comes before a censoring at its end"
CENSORING_TIES = "in a row events come first, censorings at its end: an event in row k has the weight 1 / G(k-)"
CUT_SHORT = "; who is lost inside a row is not known to have survived it"


@dataclass(frozen=True, eq=False)
class Score:
    """A number, and what has to be said with it: `float(score)` is the number.

    Args:
        value: The score.
        metric: Its name.
        ties: What was done with ties, in words.
        times: First and last row that count, from the landmark where there is one.
        n: Patients, or rows, that the score is over.
        n_events: Events among them.
        n_pairs: Pairs compared, where pairs are.
        per_visit: The score of each row or horizon, NaN where it has none.
        weights: Share of each of these in `value`.
    """

    value: float
    metric: str
    ties: str
    times: tuple[int, int]
    n: int
    n_events: int
    n_pairs: int | None = None
    per_visit: Float[Tensor, " visit"] | None = field(default=None, repr=False)
    weights: Float[Tensor, " visit"] | None = field(default=None, repr=False)

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        first, last = self.times
        over = f"{self.n:,}, {self.n_events:,} events" + ("" if self.n_pairs is None else f", {self.n_pairs:,} pairs")
        return f"{self.metric} {self.value:.4f} (rows {first} to {last}; n = {over}; {self.ties})"


# ------------------------------------------------------------------------------------------- counted, not predicted


@dataclass(frozen=True, eq=False)
class LifeTable:
    """What happened in each row, to everyone at risk in it.

    Args:
        at_risk: Patients with `start <= k < stop`.
        events: Events inside row `k`.
        censored: Patients lost inside row `k` or at its end.
        survived: Patients known to have survived row `k`: neither had the event nor were lost inside it.
        followed: Patients at risk, of whom one lost inside row `k` counts in the share that was followed.
        hazard: `events / followed`, NaN where nobody was followed.
        survival: Kaplan-Meier probability of staying event-free through row `k`, from the first row with anyone at
            risk on; NaN after a later row without.
    """

    at_risk: Int[Tensor, " visit"]
    events: Int[Tensor, " visit"]
    censored: Int[Tensor, " visit"]
    survived: Int[Tensor, " visit"]
    followed: Float[Tensor, " visit"]
    hazard: Float[Tensor, " visit"]
    survival: Float[Tensor, " visit"]


@explained
def kaplan_meier(outcome: Outcome) -> LifeTable:
    """Share of the patients at risk who had the event, row by row, and the survival curve that follows.

    `h_k = events_k / followed_k`, `S_k = prod_{j <= k} (1 - h_j)`. A patient censored at the end of a row was at risk
    for the whole of it; one lost inside a row counts in the share `censored_exposure`, as in an actuary's life table,
    and the hazard is the one that makes the likelihood largest. Patients who enter late (`start` above 0) are counted
    from then on. Events of any cause count.

    Source:
        Kaplan and Meier (1958), Journal of the American Statistical Association 53, 457-481.

    Examples:
        >>> table = kaplan_meier(Outcome.of(torch.tensor([1, 2, 2, 3]), torch.tensor([True, True, False, False])))
        >>> table.at_risk.tolist(), table.events.tolist(), table.censored.tolist()
        ([4, 3, 1], [1, 1, 0], [0, 1, 1])
        >>> table.survival
        tensor([0.7500, 0.5000, 0.5000], dtype=torch.float64)
        >>> half = Outcome.of(torch.tensor([1, 1]), torch.tensor([1, 0]), censored_exposure=torch.tensor([1.0, 0.5]))
        >>> kaplan_meier(half).hazard  # one event in a row and a half
        tensor([0.6667], dtype=torch.float64)
    """
    _check_patients(outcome)
    width = int(outcome.stop.max())
    entered, left, events = (
        torch.bincount(row, minlength=width + 1)
        for row in (outcome.start, outcome.stop, outcome.stop[outcome.observed] - 1)
    )
    at_risk = (entered - left).cumsum(0)[:width]
    events = events[:width]
    last, share = (outcome.stop - 1)[outcome.cut_short], outcome.censored_exposure.detach().double()[outcome.cut_short]
    survived = at_risk - events - torch.bincount(last, minlength=width)
    followed = at_risk.double() - torch.bincount(last, 1 - share, minlength=width)
    hazard = events.double() / followed  # 0 / 0 is NaN: nobody was there to ask
    before_first = followed.cumsum(0) == 0
    survival = (1 - hazard.masked_fill(before_first, 0.0)).cumprod(0)
    return LifeTable(at_risk, events, left[1:] - events, survived, followed, hazard, survival)


@dataclass(frozen=True, eq=False)
class CensoringSurvival:
    """Kaplan-Meier curve `G` of the follow-up itself, with events and censorings in exchanged roles.

    Args:
        before: `G(k-)`, probability that an event in row `k` is seen. Where nobody is lost inside row `k` it is the
            probability that follow-up lasts through it.
        through: Probability that follow-up lasts through row `k`, so that who survives it is known to.
        after: `G(k)`, probability that follow-up lasts beyond row `k`.
    """

    before: Float[Tensor, " visit"]
    through: Float[Tensor, " visit"]
    after: Float[Tensor, " visit"]


@explained
def censoring_survival(outcome: Outcome) -> CensoringSurvival:
    """Probability that a patient is still followed, which weights those whose outcome was seen.

    `G(k) = prod_{j <= k} (1 - censored_j / (at_risk_j - events_j))` and `G(k-) = G(k - 1)`, `G(0-) = 1`. Events come
    first: who has the event in row `j` can no longer be censored at its end, and leaves the denominator.

    An event in row `k` is seen if follow-up lasts *through* row `k`, which has the probability `G(k-)`. Divided by
    `G(k)` instead, as libraries do on continuous time where the two agree, each event weighs `G(k-) / G(k)` too much.

    Patients lost inside a row leave at the share `censored_exposure` of it, among those who are still there then: the
    events of a row are spread evenly over it, so that at half of it half of them have left. An event of that row is
    seen if follow-up lasts to its moment, and `G(k-)` is the mean of the curve over the row.

    Examples:
        >>> follow_up = censoring_survival(Outcome.of(torch.tensor([1, 1, 1, 2]), torch.tensor([1, 0, 0, 1])))
        >>> follow_up.before, follow_up.after
        (tensor([1.0000, 0.3333], dtype=torch.float64), tensor([0.3333, 0.3333], dtype=torch.float64))
        >>> half = Outcome.of(torch.tensor([1, 2]), torch.tensor([0, 1]), censored_exposure=torch.tensor([0.5, 1.0]))
        >>> follow_up = censoring_survival(half)  # one of two is lost half-way
        >>> follow_up.before, follow_up.through
        (tensor([0.7500, 0.5000], dtype=torch.float64), tensor([0.5000, 0.5000], dtype=torch.float64))
    """
    table, lost = kaplan_meier(outcome), ~outcome.observed
    # Two numbers a row: losses from 2 k to 2 k + 1 lie in row k, and none ties with one of the next.
    at = (2 * (outcome.stop - 1) + outcome.censored_exposure.detach().double())[lost]
    moments, n_lost = torch.unique(at, return_counts=True)
    row = (moments / 2).floor().long()
    lost_before = n_lost.cumsum(0) - n_lost
    lost_in_row = lost_before - (table.censored.cumsum(0) - table.censored)[row]
    share = moments - 2 * row
    there = table.at_risk[row] - share * table.events[row] - lost_in_row
    curve = torch.cat([there.new_ones(1), (1 - n_lost / there).cumprod(0)])
    begin = 2 * torch.arange(len(table.events), device=moments.device).double()
    opens, through, after = (
        curve[torch.searchsorted(moments, moment, right=right)]
        for moment, right in ((begin, False), (begin + 1, False), (begin + 1, True))
    )
    unseen = -curve.diff() * (1 - share)  # what each loss takes from the events of the rest of its row
    before = opens - torch.bincount(row, unseen, minlength=len(opens))
    return CensoringSurvival(before, through, after)


# --------------------------------------------------------------------------------------------------------- ranking


@explained
def concordance(
    risk: Real[Tensor, " patient"],
    outcome: Outcome,
    landmark: int | Int[Tensor, " patient"] = 0,
    horizon: int | None = None,
    weights: Literal["pairs", "follow-up"] = "pairs",
) -> Score:
    """Of two patients at risk at the landmark, how often the one with the higher risk has the event first.

    Over the patients with `start <= landmark < stop`, time counted in rows from the landmark. `risk` is one number per
    patient, known *when the landmark's visit closes*: the hazard there, or the predicted probability of the event
    within a horizon. A pair counts if one patient's event is known to have come first. Who is lost inside a row is
    compared with the events of the rows before it alone: which of the two came first within a row, nobody knows.

    With `weights="pairs"` every such pair counts once: Harrell's C. The more patients are lost, the more of these pairs
    are early ones, and if early and late pairs are not equally easy the score drifts. With `weights="follow-up"` a pair
    whose event lies in row `k` counts `1 / G(k-)^2` times, because both patients had to be followed through that row:
    Uno's C, which estimates what Harrell's would be if nobody were lost before the horizon. (Where patients are lost
    inside rows, one of the two has to be followed to the event and the other through the row, and each factor is that
    chance, as `censoring_survival` has it.) Give a horizon that enough patients are followed to: where `G` is small,
    few pairs carry the score.

    Risks made from a patient's own later record measure how long the record is. Summed over it, a *perfect* model's
    hazards rank patients worse than a coin, because those without the event collect more rows: so a risk of shape
    `[patient, visit]` is refused.

    Args:
        risk: Higher means sooner. Values of patients who are not at risk at the landmark are not read.
        outcome: What became of each patient; an event of any cause counts.
        landmark: Row from which to look ahead, the same for all patients or one for each (`outcome.start`).
        horizon: Number of rows to look ahead; follow-up beyond them is cut off. All if not given.
        weights: How pairs are weighted.

    Raises:
        ValueError: `risk` is not one number per patient or NaN, or no pair of patients can be compared.

    Source:
        Harrell, Lee and Mark (1996), Statistics in Medicine 15(4), 361-387; computed by
        `lifelines.utils.concordance_index`. Uno, Cai, Pencina, D'Agostino and Wei (2011), Statistics in Medicine
        30(10), 1105-1117, with `G(k-)` where a row can hold both an event and a censoring.

    Examples:
        >>> outcome = Outcome.of(torch.tensor([1, 2, 2, 3]), torch.tensor([True, True, False, False]))
        >>> score = concordance(torch.tensor([0.1, 0.4, 0.2, 0.3]), outcome)
        >>> float(score), score.n_pairs
        (0.4, 5)
        >>> float(concordance(torch.tensor([0.1, 0.4, 0.2, 0.3]), outcome, weights="follow-up"))  # nobody lost in row 0
        0.4
    """
    if weights not in PAIRS:
        raise ValueError(f"weights is {weights!r}; expected 'pairs' or 'follow-up'")
    _check_risk(risk, outcome)
    ahead = _look_ahead(outcome, landmark, horizon)
    chosen = risk.cpu()[ahead.patient]
    _refuse(chosen.isnan(), ahead.patient, chosen, "has the risk {}; expected a number")
    table = kaplan_meier(ahead.outcome)
    n_pairs = int((table.events * table.survived).sum())
    if n_pairs == 0:
        raise ValueError(f"none of {len(ahead.rows)} patients at the landmark outlives another's event; expected some")
    if weights == "pairs":
        value = concordance_index(ahead.rows.numpy(), -_rank(chosen), ahead.event.numpy())
    else:
        value = _weighted_concordance(_rank(chosen), ahead)
    times, n_events = (0, int(ahead.rows.max()) - 1), int(ahead.event.sum())
    ties = f"{RISK_TIES}; {TIME_TIES}; {PAIRS[weights]}{_cut_short(ahead.outcome)}"
    return Score(float(value), "concordance", ties, times, len(ahead.rows), n_events, n_pairs)


PAIRS = {"pairs": "each pair once", "follow-up": "a pair with its event in row k weighs 1 / G(k-)^2"}


def _weighted_concordance(rank: Array, ahead: "_Ahead") -> float:
    """Each event against those who outlive it, each pair weighted for the follow-up of two patients."""
    follow_up = censoring_survival(ahead.outcome)
    rows, event = ahead.rows.numpy(), ahead.event.numpy()
    left = 2 * rows + ~event  # in a row events come first, censorings at its end
    n_later = len(rows) - np.searchsorted(np.sort(left), left[event], side="right")
    weight = (1 / (follow_up.before * follow_up.through))[rows[event] - 1].numpy()
    return float((weight * _lower_and_later(rank, left, event)).sum() / (weight * n_later).sum())


def _lower_and_later(rank: Array, left: NDArray[np.int64], asked: NDArray[np.bool_]) -> Array:
    """For each who is asked for: how many left later and have a lower rank; those of the same rank count half.

    Places in time are written in binary. Two of them first differ in one bit, 0 in the earlier and 1 in the later one;
    for each bit all pairs that differ there first are counted by one sort and a search in it.
    """
    place = np.unique(left, return_inverse=True)[1]
    n_ranks = int(rank.max()) + 1
    lower = np.zeros(len(rank))
    for bit in range(int(place.max()).bit_length()):
        block = place >> bit
        is_later, asks = block % 2 == 1, asked & (block % 2 == 0)
        later = np.sort(block[is_later] * n_ranks + rank[is_later])
        begin = (block[asks] + 1) * n_ranks  # of the later half
        below, up_to = (np.searchsorted(later, begin + rank[asks], side=side) for side in ("left", "right"))
        lower[asks] += (below + up_to) / 2 - np.searchsorted(later, begin, side="left")
    return lower[asked]


@explained
def cumulative_dynamic_auc(
    risk: Real[Tensor, " patient"],
    outcome: Outcome,
    horizon: int,
    landmark: int | Int[Tensor, " patient"] = 0,
) -> Score:
    """How often a patient with the event within `horizon` rows had a higher risk than one who stayed free of it.

    Cases are the patients at risk at the landmark whose event was seen in the next `horizon` rows, controls those who
    are known to have survived them. Who was lost in between is neither, nor is who was lost inside the last of them. A
    case in row `k` weighs `1 / G(k-)`, for those
    like it who were lost before; all controls were followed equally far.

    Args:
        risk: As in `concordance`: known when the landmark's visit closes.
        outcome: What became of each patient; an event of any cause counts.
        horizon: Number of rows to look ahead.
        landmark: Row from which to look ahead, the same for all patients or one for each (`outcome.start`).

    Raises:
        ValueError: `risk` is not one number per patient or NaN, or there is no case or no control.

    Source:
        Uno, Cai, Tian and Wei (2007), Journal of the American Statistical Association 102, 527-537, with `G(k-)` for
        cases.

    Examples:
        >>> outcome = Outcome.of(torch.tensor([1, 1, 2, 2]), torch.tensor([True, False, True, False]))
        >>> score = cumulative_dynamic_auc(torch.tensor([0.1, 0.9, 0.4, 0.3]), outcome, horizon=2)
        >>> round(float(score), 4), score.n_pairs  # cases weigh 1 and 3/2, and only the second is above the control
        (0.6, 2)
    """
    check_whole(horizon, "horizon")
    _check_risk(risk, outcome)
    ahead = _look_ahead(outcome, landmark, horizon)
    chosen = risk.cpu()[ahead.patient]
    _refuse(chosen.isnan(), ahead.patient, chosen, "has the risk {}; expected a number")
    case, control = ahead.event.numpy(), (~ahead.event & (ahead.rows == horizon)).numpy()
    if not (case.any() and control.any()):
        raise ValueError(
            f"{case.sum()} cases and {control.sum()} controls within {horizon} rows; expected some of each"
        )
    follow_up = censoring_survival(ahead.outcome).before
    weight = (1 / follow_up[ahead.rows[ahead.event] - 1]).numpy()
    rank = _rank(chosen)
    controls = np.sort(rank[control])
    below, up_to = (np.searchsorted(controls, rank[case], side=side) for side in ("left", "right"))
    return Score(
        value=float((weight * (below + up_to)).sum() / (2 * len(controls) * weight.sum())),
        metric=f"cumulative/dynamic AUC within {horizon}",
        ties=f"{RISK_TIES}; {CENSORING_TIES}{_cut_short(ahead.outcome)}",
        times=(0, horizon - 1),
        n=len(ahead.rows),
        n_events=int(case.sum()),
        n_pairs=int(case.sum()) * len(controls),
    )


@explained
def incident_dynamic_auc(
    hazard: Float[Tensor, "patient visit"] | Float[Tensor, " row"],
    outcome: Outcome,
    weights: Literal["survival", "events"] = "survival",
) -> Score:
    """Among the patients at risk in a row, how often one with the event has a higher hazard than one without.

    At row `k` the cases are those whose event fell in it and the controls those who survived it; `AUC_k` is the share
    of case-control pairs in the right order. The score is their weighted mean. Weights `"survival"` are
    `w_k = f_k S_k / sum_j f_j S_j` with `f` and `S` from Kaplan-Meier: then it is the chance that, of two patients who
    are both followed to the end, the first event finds its patient ranked above the other *at that moment*, whatever
    the censoring was. `"events"` weights each row by the events seen in it. Rows without cases or controls have no AUC.
    Who is lost inside a row is neither case nor control in it.

    Args:
        hazard: `[patient, visit]` (padding is not read), or one number per row at risk, patient by patient.
        outcome: What became of each patient; an event of any cause counts.
        weights: How the rows are weighted.

    Raises:
        ValueError: A hazard on a counted row is no probability, sizes disagree, or no row has both kinds of patients.

    Source:
        Heagerty and Zheng (2005), Biometrics 61(1), 92-105.

    Examples:
        >>> outcome = Outcome.of(torch.tensor([1, 2, 2]), torch.tensor([True, True, False]))
        >>> nan = float("nan")
        >>> score = incident_dynamic_auc(torch.tensor([[0.2, nan], [0.1, 0.3], [0.4, 0.1]]), outcome)
        >>> score.per_visit
        tensor([0.5000, 1.0000], dtype=torch.float64)
        >>> round(float(score), 4)  # weights f * S: 1/3 * 2/3 and 1/3 * 1/3
        0.6667
    """
    visit, values, event = _rows(hazard, outcome, "hazard")
    table = kaplan_meier(outcome)
    known = _followed(outcome) == 1
    order = np.argsort(visit[known], kind="stable")
    rank, event = _rank(values)[known][order], event[known][order]
    cuts = np.cumsum((table.events + table.survived).numpy())[:-1]
    per_visit = np.array([_auc(*part) for part in zip(np.split(rank, cuts), np.split(event, cuts), strict=True)])
    kept = np.nan_to_num(_row_weights(table, weights), nan=0.0) * ~np.isnan(per_visit)
    if kept.sum() == 0:
        raise ValueError("no row has both an event and a patient who survived it; expected at least one")
    shares = kept / kept.sum()
    used = kept.nonzero()[0]
    return Score(
        value=float((shares * np.nan_to_num(per_visit)).sum()),
        metric="incident/dynamic AUC",
        ties=f"{RISK_TIES}; events in one row are not compared; rows weighted by {WEIGHTS[weights]}"
        f"{_cut_short(outcome)}",
        times=(int(used[0]), int(used[-1])),
        n=len(rank),
        n_events=int(event.sum()),
        n_pairs=int((table.events * table.survived).sum()),
        per_visit=torch.from_numpy(per_visit),
        weights=torch.from_numpy(shares),
    )


WEIGHTS = {"survival": "f * S of Kaplan-Meier", "events": "the events seen"}


def _row_weights(table: LifeTable, weights: str) -> Array:
    if weights not in WEIGHTS:
        raise ValueError(f"weights is {weights!r}; expected 'survival' or 'events'")
    if weights == "events":
        return np.asarray(table.events.double())
    # f * S with S = 1 at the first row anyone is at risk in: h / (1 - h) * S * S, written without dividing.
    before = torch.cat([table.survival.new_ones(1), table.survival[:-1]])
    return np.asarray(table.hazard * before * table.survival)


def _auc(rank: Array, event: NDArray[np.bool_]) -> float:
    """Mann-Whitney: mean rank of the cases, less what they would have among themselves."""
    cases = int(event.sum())
    pairs = cases * (len(event) - cases)
    if pairs == 0:
        return np.nan
    return float((rankdata(rank)[event].sum() - cases * (cases + 1) / 2) / pairs)


def _rank(risk: Tensor | Array) -> Array:
    """Place of each value among the different ones; values a few roundings apart share a place."""
    noise = 8 * (torch.finfo(risk.dtype).eps if isinstance(risk, Tensor) and risk.is_floating_point() else 2.0**-52)
    values = risk.detach().cpu().double().numpy() if isinstance(risk, Tensor) else risk
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    with np.errstate(invalid="ignore"):  # two infinities are apart by NaN, which is not more than noise
        apart = np.diff(ordered, prepend=ordered[:1])
    step = apart > noise * np.where(np.isfinite(ordered), np.abs(ordered), 0.0)
    place = np.empty(len(values))
    place[order] = np.cumsum(step)
    return place


# -------------------------------------------------------------------------------------------- error of probabilities


@explained
def brier(
    survival: Float[Tensor, "patient visit"],
    outcome: Outcome,
    horizon: int,
    landmark: int | Int[Tensor, " patient"] = 0,
) -> Score:
    """Mean squared error of the predicted probability of staying event-free for `horizon` rows.

    With `T` the number of the row that holds the event (from 1), among the patients at risk at the landmark:

    `1/n * sum_i [ S_i^2 * 1(T_i <= horizon, seen) / G(T_i -) + (1 - S_i)^2 * 1(survived horizon rows) / G(horizon -) ]`

    The weights let those whose outcome is known speak for those who were lost; they are right if being lost has nothing
    to do with risk. An event in row `T` is seen if follow-up lasts through that row, hence `G(T-)`. A last row without
    the event counts as survived: a patient censored after exactly `horizon` rows is known to have survived them. One
    lost inside the last of them is not, and others speak for that patient too; for survivors `G(horizon -)` is then the
    probability of being followed through the row, `CensoringSurvival.through`.

    Args:
        survival: Column `j` is the probability of staying event-free through the `j + 1` rows from the landmark on, as
            *predicted at the landmark*. The running product of a per-visit model's hazards is not that: it has seen
            the later visits, and ends where the record does.
        outcome: What became of each patient; an event of any cause counts.
        horizon: Number of rows to look ahead.
        landmark: Row from which to look ahead, the same for all patients or one for each (`outcome.start`).

    Raises:
        ValueError: A prediction that counts is missing or no probability, or nobody is followed that long.

    Source:
        Graf, Schmoor, Sauerbrei and Schumacher (1999), Statistics in Medicine 18, 2529-2545, with `G(t-)` for events as
        in Gerds and Schumacher (2006), Biometrical Journal 48, 1029-1040.

    Examples:
        >>> outcome = Outcome.of(torch.tensor([1, 1, 2, 2]), torch.tensor([False, True, True, False]))
        >>> survival = torch.tensor([[0.9, 0.8], [0.6, 0.4], [0.9, 0.5], [0.9, 0.6]])
        >>> round(float(brier(survival, outcome, horizon=1)), 5)  # (0.1^2 + 0.6^2 + 0.1^2 + 0.1^2) / 4
        0.0975
        >>> round(float(brier(survival, outcome, horizon=2)), 5)  # (0.4^2 + 1.5 * 0.5^2 + 1.5 * 0.4^2) / 4
        0.19375
    """
    return integrated_brier(survival, outcome, [horizon], landmark)


@explained
def integrated_brier(
    survival: Float[Tensor, "patient visit"],
    outcome: Outcome,
    horizons: Sequence[int],
    landmark: int | Int[Tensor, " patient"] = 0,
) -> Score:
    """Mean of `brier` over several horizons; visit time is discrete, so a plain mean and no trapezoids.

    Args:
        survival: As in `brier`.
        outcome: As in `brier`.
        horizons: Numbers of rows to look ahead.
        landmark: As in `brier`.

    Raises:
        ValueError: As in `brier`, or there is no horizon.

    Examples:
        >>> outcome = Outcome.of(torch.tensor([1, 2, 2]), torch.tensor([True, True, False]))
        >>> score = integrated_brier(torch.tensor([[0.9, 0.5]]).repeat(3, 1), outcome, horizons=[1, 2])
        >>> score.per_visit
        tensor([0.2767, 0.2500], dtype=torch.float64)
    """
    for horizon in horizons:
        check_whole(horizon, "horizon", least=-MOST)
    if len(horizons) == 0:
        raise ValueError("no horizon is given; expected at least one")
    ahead = _look_ahead(outcome, landmark, None)
    if survival.dim() != 2 or survival.shape[0] != len(outcome) or survival.is_complex():
        raise ValueError(f"survival has shape {list(survival.shape)}; expected [{len(outcome)}, visit]")
    follow_up, longest = censoring_survival(ahead.outcome), int(ahead.rows.max())
    for horizon in horizons:
        if not 1 <= horizon <= longest:
            raise ValueError(f"horizon is {horizon}; expected 1 to {longest}, the longest follow-up")
        if horizon > survival.shape[1]:
            raise ValueError(f"horizon is {horizon}; survival is predicted for {survival.shape[1]} rows only")
    per_horizon = torch.stack([_brier(survival, ahead, follow_up, horizon) for horizon in horizons])
    last = max(horizons)
    return Score(
        value=float(per_horizon.mean()),
        metric=f"Brier score within {last}" if len(horizons) == 1 else "integrated Brier score",
        ties=CENSORING_TIES + _cut_short(ahead.outcome),
        times=(min(horizons) - 1, last - 1),
        n=len(ahead.rows),
        n_events=int((ahead.event & (ahead.rows <= last)).sum()),
        per_visit=per_horizon,
        weights=torch.full_like(per_horizon, 1 / len(horizons)),
    )


def _brier(survival: Tensor, ahead: "_Ahead", follow_up: CensoringSurvival, horizon: int) -> Tensor:
    failed = ahead.event & (ahead.rows <= horizon)
    known = failed | (ahead.rows >= horizon)
    predicted = survival.detach()[ahead.patient, horizon - 1].cpu().double()[known]
    message = f"has the predicted survival {{}} for {horizon} rows; expected a probability, made at the landmark"
    _refuse(~((predicted >= 0) & (predicted <= 1)), ahead.patient[known], predicted, message)
    failed, rows = failed[known], ahead.rows[known]
    weight = 1 / torch.where(failed, follow_up.before[rows - 1], follow_up.through[horizon - 1])
    error = torch.where(failed, predicted, 1 - predicted) ** 2
    return (weight * error).sum() / len(ahead.rows)


# ----------------------------------------------------------------------------------------------------- calibration


@dataclass(frozen=True, eq=False)
class Calibration:
    """Predicted against observed hazard in groups of rows, from the lowest predicted hazard to the highest.

    Args:
        table: One line a group: `predicted` (mean), `observed` (share with the event), `lower` and `upper` (Wilson
            95 % interval of it), `rows`, `events`.
        error: Mean distance of predicted and observed over all rows.
        per_visit: One line an interval: `visit` (its number), `predicted`, `observed`, `rows`, `events`.
        ratio: Events expected over events seen; above 1 the hazards are too high.
    """

    table: pd.DataFrame
    error: Score
    per_visit: pd.DataFrame
    ratio: float


@explained
def calibration(
    hazard: Float[Tensor, "patient visit"] | Float[Tensor, " row"],
    outcome: Outcome,
    bins: int = 10,
) -> Calibration:
    """Whether, of the rows with a predicted hazard of about `h`, a share of about `h` holds the event.

    Rows are grouped by quantiles of the hazard of a whole row, which does not depend on how the row ended; equal
    hazards stay together, so there may be fewer groups than asked for. Given the history, the rows of one patient are
    as good as independent draws, so each group's events are binomial if the hazards are true. Where the last row of a
    censored patient was followed only in part, `censored_exposure`, that part of its hazard is expected,
    `1 - (1 - h)^exposure`, as in the likelihood; the agreement is then approximate. A row of which no part was followed
    is left out.

    Args:
        hazard: `[patient, visit]` (padding is not read), or one number per row at risk, patient by patient.
        outcome: What became of each patient; an event of any cause counts.
        bins: Number of groups.

    Raises:
        ValueError: A hazard on a counted row is no probability, sizes disagree, or no row was followed.

    Source:
        Wilson (1927), Journal of the American Statistical Association 22, 209-212, for the interval.

    Examples:
        >>> outcome = Outcome.of(torch.tensor([2, 2]), torch.tensor([True, False]))
        >>> result = calibration(torch.tensor([[0.1, 0.4], [0.1, 0.2]]), outcome, bins=2)
        >>> result.table[["predicted", "observed", "rows", "events"]].round(3).values.tolist()
        [[0.1, 0.0, 2.0, 0.0], [0.3, 0.5, 2.0, 1.0]]
        >>> round(float(result.error), 3), round(result.ratio, 3)
        (0.15, 0.8)
    """
    check_whole(bins, "bins")
    share = _followed(outcome)
    visit, predicted, event = (values[share > 0] for values in _rows(hazard, outcome, "hazard"))
    if len(predicted) == 0:
        raise ValueError(f"of {len(outcome)} patients no row was followed; expected at least one")
    cuts = np.unique(np.quantile(predicted, np.linspace(0, 1, bins + 1)[1:-1]))
    group = np.searchsorted(cuts, predicted, side="left")
    predicted = 1 - (1 - predicted) ** share[share > 0]
    rows = pd.DataFrame({"predicted": predicted, "event": event})
    groups = rows.groupby(group)
    table = groups.agg(predicted=("predicted", "mean"), observed=("event", "mean"), events=("event", "sum"))
    table["rows"] = groups.size()
    table["lower"], table["upper"] = _wilson(table["observed"].to_numpy(), table["rows"].to_numpy(dtype=np.float64))
    distance = (table["predicted"] - table["observed"]).abs() * table["rows"]
    times, n_events = (int(visit.min()), int(visit.max())), int(event.sum())
    ties = "equal hazards share a group"
    error = Score(float(distance.sum() / len(rows)), "calibration error", ties, times, len(rows), n_events)
    ratio = float(predicted.sum() / n_events) if n_events else float("inf")
    columns = ["predicted", "observed", "lower", "upper", "rows", "events"]
    intervals = rows.assign(visit=visit).groupby("visit")
    per_visit = intervals.agg(predicted=("predicted", "mean"), observed=("event", "mean"), events=("event", "sum"))
    per_visit.insert(2, "rows", intervals.size())
    return Calibration(table[columns].reset_index(drop=True), error, per_visit.reset_index(), ratio)


@dataclass(frozen=True, eq=False)
class DCalibration:
    """How evenly patients' outcomes are spread over the predicted probability of having survived so long.

    Args:
        table: One line a bin of survival probability, `lower` to `upper`, with the `share` of the patients in it;
            with true hazards each bin expects an equal share.
        error: Share of the patients who would have to be moved for all bins to be equal.
        p_value: Probability of bins at least as uneven if the hazards are true.
    """

    table: pd.DataFrame
    error: Score
    p_value: float


@explained
def d_calibration(
    hazard: Float[Tensor, "patient visit"] | Float[Tensor, " row"],
    outcome: Outcome,
    bins: int = 10,
) -> DCalibration:
    """Whether patients have their events at all levels of predicted survival equally often, as true hazards say.

    Follow the survival curve that each patient's hazards draw along the record, from 1 at `start`, down to the event.
    If the hazards are true, the level reached is even on 0 to 1, whatever the patients' risks are; this holds for
    hazards that change with what each visit brings, too. An event in row `k` is known to lie between `S_{k-1}` and
    `S_k`, so the patient is spread evenly between the two; the level itself, taken as a number, would not be even. A
    patient censored after row `k` would have had the event below `S_k`, and is spread evenly from there to 0.

    Nothing is drawn at random, but spread patients vary less than counted ones, and a chi-squared test on their shares
    would let too much pass. So the p-value is that of a score test, with the covariance that the patients' own shares
    have. It asks for a few hundred patients, and for losses that have nothing to do with risk. Where last rows were
    followed in part, it is approximate, and with many patients finds fault with true hazards.

    Args:
        hazard: `[patient, visit]` (padding is not read), or one number per row at risk, patient by patient.
        outcome: What became of each patient; an event of any cause counts.
        bins: Number of bins of equal width.

    Raises:
        ValueError: A hazard on a counted row is no probability, sizes disagree, or there are fewer than two bins.

    Source:
        Haider, Hoehn, Davis and Greiner (2020), Journal of Machine Learning Research 21(85), 1-63, for the idea and for
        censored patients; Czado, Gneiting and Held (2009), Biometrics 65(4), 1254-1261, for the spread of an event over
        the interval that holds it.

    Examples:
        >>> outcome = Outcome.of(torch.tensor([1, 2, 2]), torch.tensor([True, True, False]))
        >>> result = d_calibration(torch.tensor([[0.5, 0.5], [0.2, 0.5], [0.2, 0.5]]), outcome, bins=2)
        >>> result.table["share"].round(4).tolist()  # spread over 0.5 to 1, 0.4 to 0.8 and 0 to 0.4
        [0.4167, 0.5833]
        >>> round(float(result.error), 4)
        0.0833
    """
    check_whole(bins, "bins", least=2)
    visit, predicted, event = _rows(hazard, outcome, "hazard")
    edges = np.linspace(0, 1, bins + 1)
    spread = _spread(*_levels(predicted, outcome), edges)
    share = spread.mean(0)
    table = pd.DataFrame({"lower": edges[:-1], "upper": edges[1:], "share": share})
    ties = "events are spread over their row, censored patients over all levels below theirs"
    times = (int(visit.min()), int(visit.max()))
    moved = float(np.abs(share - 1 / bins).sum() / 2)
    error = Score(moved, "D-calibration error", ties, times, len(spread), int(event.sum()))
    return DCalibration(table, error, _score_test(spread))


def _levels(hazard: Array, outcome: Outcome) -> tuple[Array, Array]:
    """Lowest and highest survival probability at which each patient's event can have been, row by row."""
    last = (outcome.stop - outcome.start).cumsum(0).cpu().numpy() - 1
    first = np.append(0, last[:-1] + 1)
    survived = (1 - hazard) ** _followed(outcome)
    ended = survived[last].copy()
    survived[last] = 1.0
    before = np.multiply.reduceat(survived, first)
    observed = outcome.observed.cpu().numpy()
    return np.where(observed, before * ended, 0.0), np.where(observed, before, before * ended)


def _spread(lowest: Array, highest: Array, edges: Array) -> Array:
    """Share of each patient in each bin, evenly from lowest to highest; all in one where the two are equal."""
    width = (highest - lowest)[:, None]
    reaches = np.minimum(highest[:, None], edges[1:]) - np.maximum(lowest[:, None], edges[:-1])
    place = np.clip(np.searchsorted(edges, highest, side="left") - 1, 0, len(edges) - 2)
    within = np.arange(len(edges) - 1) == place[:, None]
    spread: Array = np.where(width > 0, reaches.clip(min=0) / np.where(width > 0, width, 1), within)
    return spread


def _score_test(spread: Array) -> float:
    """Probability of a mean share as far from even, judged by how far each patient's shares are from even."""
    away = spread - 1 / spread.shape[1]
    variance, direction = np.linalg.eigh(away.T @ away)
    along, possible = direction.T @ away.sum(0), variance > max(1e-9 * variance.max(), 1e-12)
    if not possible.any():
        return 1.0
    return float(chi2.sf((along[possible] ** 2 / variance[possible]).sum(), possible.sum()))


def _wilson(share: Array, rows: Array, z: float = 1.959964) -> tuple[Array, Array]:
    middle = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)


# ------------------------------------------------------------------------------------------------------ likelihood


@explained
def nll_per_row(hazard_logits: Float[Tensor, "patient visit"], outcome: Outcome) -> float:
    """Mean negative log-likelihood of a row at risk: the number to compare between models on the same patients.

    A row that was followed in part is a row, too, so that its level says little where there are many of these.

    Raises:
        ValueError: As in `visitwise.functional.hazard_nll`.

    Examples:
        >>> logits = torch.logit(torch.tensor([[0.1, 0.2, 0.3]]))
        >>> round(nll_per_row(logits, Outcome.of(torch.tensor([3]), torch.tensor([True]))), 4)  # 1.5325 / 3
        0.5108
    """
    return outcome_nll(hazard_logits, outcome, reduction="sum").item() / outcome.n_rows


@explained
def share_explained(nll: float, baseline: float, oracle: float) -> float:
    """How far a model has come from knowing nothing about the patient (0) to knowing all there is to know (1).

    `(baseline - nll) / (baseline - oracle)`, all three on the same patients: a Kaplan-Meier hazard by visit number is
    the usual baseline, the true hazard the oracle. No model is better than the oracle other than by luck.

    Raises:
        ValueError: A number is not finite, or the baseline is no worse than the oracle.

    Examples:
        >>> round(share_explained(nll=0.09, baseline=0.11, oracle=0.08), 4)
        0.6667
    """
    for name, value in (("nll", nll), ("baseline", baseline), ("oracle", oracle)):
        check_real(value, name)
    if not np.isfinite([nll, baseline, oracle]).all():
        raise ValueError(f"nll, baseline and oracle are {nll}, {baseline} and {oracle}; expected finite numbers")
    if baseline <= oracle:
        raise ValueError(f"the baseline's NLL is {baseline:g}, the oracle's {oracle:g}; expected the baseline's higher")
    return (baseline - nll) / (baseline - oracle)


# --------------------------------------------------------------------------------------------------- rows and checks


@dataclass(frozen=True, eq=False)
class _Ahead:
    """Patients at risk at the landmark, and what became of them from there on, with rows counted anew."""

    patient: Tensor
    outcome: Outcome

    @property
    def event(self) -> Tensor:
        """True where the event was seen."""
        return self.outcome.observed

    @property
    def rows(self) -> Tensor:
        """Number of rows whose end is known: up to the event, or survived. A row that was cut short is not."""
        return self.outcome.stop - self.outcome.cut_short.long()


def _look_ahead(outcome: Outcome, landmark: int | Tensor, horizon: int | None) -> _Ahead:
    _check_patients(outcome)
    if horizon is not None:
        check_whole(horizon, "horizon")
    if not isinstance(landmark, Tensor):
        check_whole(landmark, "landmark", least=0)
    elif landmark.is_floating_point() or landmark.is_complex() or landmark.dtype == torch.bool:
        raise ValueError(f"landmark has dtype {landmark.dtype}; expected whole numbers")
    start, stop, event = outcome.start.cpu(), outcome.stop.cpu(), outcome.observed.cpu()
    row = torch.as_tensor(landmark).cpu()
    if row.shape not in ((), stop.shape):
        raise ValueError(f"landmark has shape {list(row.shape)}; expected a number or [{len(outcome)}]")
    patient = ((start <= row) & (row < stop)).nonzero()[:, 0]
    if len(patient) == 0:
        raise ValueError(f"none of {len(outcome)} patients is at risk at the landmark; expected at least one")
    rows, event, share = (stop - row)[patient], event[patient], outcome.censored_exposure.detach().cpu()[patient]
    if horizon is not None:
        within = rows <= horizon
        rows, event, share = rows.clamp(max=horizon), event & within, share.where(within, 1.0)
    return _Ahead(patient, Outcome.of(rows, event, censored_exposure=share))


def _rows(values: Tensor, outcome: Outcome, name: str) -> tuple[NDArray[np.int64], Array, NDArray[np.bool_]]:
    """Visit, value and event of every row at risk, patient by patient."""
    _check_patients(outcome)
    rows = person_period(outcome.stop.cpu(), outcome.observed.cpu(), outcome.start.cpu())
    if values.dim() not in (1, 2) or values.is_complex():
        given = f"{values.dtype} of shape {list(values.shape)}"
        raise ValueError(f"{name} is {given}; expected real numbers, [patient, visit] or one for each row at risk")
    values = values.detach().cpu()
    if values.dim() == 1 and len(values) != outcome.n_rows:
        raise ValueError(
            f"{name} has {len(values)} numbers for {outcome.n_rows} rows at risk; expected one each "
            "(lay values of all stored visits out as [patient, visit] first: visits.pad(values))"
        )
    if values.dim() == 2:
        if values.shape[0] != len(outcome) or values.shape[1] < int(outcome.stop.max()):
            raise ValueError(
                f"{name} has shape {list(values.shape)}; expected {len(outcome)} patients and at least "
                f"{int(outcome.stop.max())} visits"
            )
        values = values[rows.patient, rows.visit]
    _refuse(
        ~((values >= 0) & (values <= 1)),
        rows.patient,
        values,
        f"has the {name} {{}}; expected a probability from 0 to 1 (were logits passed?)",
    )
    return rows.visit.numpy(), values.double().numpy(), rows.event.numpy()


def _followed(outcome: Outcome) -> Array:
    """Share of each row at risk that the patient was followed for: less than 1 only where censoring cut a row short."""
    share = np.ones(outcome.n_rows)
    last = (outcome.stop - outcome.start).cumsum(0).cpu().numpy() - 1
    share[last] = torch.where(outcome.observed, 1.0, outcome.censored_exposure.detach().double()).cpu().numpy()
    return share


def _cut_short(outcome: Outcome) -> str:
    return CUT_SHORT if bool(outcome.cut_short.any()) else ""


def _check_risk(risk: Tensor, outcome: Outcome) -> None:
    if risk.is_complex():
        raise ValueError(f"risk has dtype {risk.dtype}; expected real numbers")
    if risk.dim() > 1:
        raise ValueError(
            f"risk has shape {list(risk.shape)}; expected one number for each of {len(outcome)} patients, known at the "
            "landmark: what is summed over a patient's own record measures how long it is, so take one row"
        )
    if risk.shape != outcome.stop.shape:
        raise ValueError(f"risk has {risk.numel()} numbers for {len(outcome)} patients; expected one each")


def _check_patients(outcome: Outcome) -> None:
    if len(outcome) == 0:
        raise ValueError("there is no patient to score; expected at least one")


def _refuse(wrong: Tensor, patient: Tensor, given: Tensor, message: str) -> None:
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        raise ValueError(f"the patient at index {int(patient[first])} {message.format(given[first].item())}")
