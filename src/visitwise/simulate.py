"""Simulated cohorts whose true hazard is known, because it is computed from the recorded visits and nothing else.

Two things happen to a simulated patient. *Life*: a hidden severity, chronic conditions that come and stay, acute
activity that comes and goes, and visits that record some of it. *The event*: a hazard that reads the record, not the
life. So the best possible forecast, the oracle, can be rebuilt from the visits that are shipped, and a model can be
measured by how much of the way to it it goes.

Diagnoses carry ICD-10-CM codes with short titles of our own, drugs the name of their RxNorm ingredient.
"""

import os
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm import tqdm

from visitwise._checks import check_real, check_whole
from visitwise._explain import explained
from visitwise._ragged import offsets_of, refuse
from visitwise.cohort import Cohort, CohortWriter, Outcome
from visitwise.visits import Schema, Visits

Censoring = Literal["independent", "calendar", "informative"]

# ---------------------------------------------------------------------------------------------------- what can happen

HYPERTENSION, LIPIDS = "ICD10CM//I10 high blood pressure", "ICD10CM//E78.5 high blood lipids"
DIABETES, KIDNEY_DISEASE = "ICD10CM//E11.9 type 2 diabetes", "ICD10CM//N18.30 chronic kidney disease stage 3"
CORONARY, HEART_FAILURE = "ICD10CM//I25.10 coronary artery disease", "ICD10CM//I50.9 heart failure"
FIBRILLATION, COPD = "ICD10CM//I48.91 atrial fibrillation", "ICD10CM//J44.9 COPD"
LUNG_CANCER, DEPRESSION = "ICD10CM//C34.90 lung cancer", "ICD10CM//F32.A depression"
KIDNEY_INJURY, PNEUMONIA = "ICD10CM//N17.9 acute kidney injury", "ICD10CM//J18.9 pneumonia"
SEPSIS, INFARCTION = "ICD10CM//A41.9 sepsis", "ICD10CM//I21.9 heart attack"
STROKE, BLEEDING = "ICD10CM//I63.9 ischaemic stroke", "ICD10CM//K92.2 gastrointestinal bleeding"
FUROSEMIDE, METFORMIN, STATIN = "RxNorm//furosemide", "RxNorm//metformin", "RxNorm//atorvastatin"
LISINOPRIL, SALBUTAMOL = "RxNorm//lisinopril", "RxNorm//albuterol"
APIXABAN, SERTRALINE = "RxNorm//apixaban", "RxNorm//sertraline"
CHECK_UP = "ICD10CM//Z00.00 check-up"

# Log-odds that a chronic condition is there at the first visit, and what raises them.
CHRONIC = {
    HYPERTENSION: -0.6, LIPIDS: -0.8, DIABETES: -1.5, KIDNEY_DISEASE: -2.6, CORONARY: -2.3,
    HEART_FAILURE: -3.2, FIBRILLATION: -2.8, COPD: -2.3, LUNG_CANCER: -4.6, DEPRESSION: -1.8,
}  # fmt: skip
LEADS_TO = {
    (HYPERTENSION, KIDNEY_DISEASE): 0.6, (HYPERTENSION, CORONARY): 0.6, (LIPIDS, CORONARY): 0.6,
    (DIABETES, KIDNEY_DISEASE): 1.0, (DIABETES, CORONARY): 0.5, (CORONARY, HEART_FAILURE): 1.2,
    (KIDNEY_DISEASE, HEART_FAILURE): 0.6, (HEART_FAILURE, FIBRILLATION): 1.0, (COPD, LUNG_CANCER): 1.2,
    (LUNG_CANCER, DEPRESSION): 1.0,
}  # fmt: skip
# Log-odds of an acute code at a visit, and what raises them.
ACUTE = {KIDNEY_INJURY: -2.6, PNEUMONIA: -2.9, SEPSIS: -3.7, INFARCTION: -4.1, STROKE: -4.1, BLEEDING: -3.9}
PRONE_TO = {
    (KIDNEY_DISEASE, KIDNEY_INJURY): 0.4, (COPD, PNEUMONIA): 1.0, (LUNG_CANCER, PNEUMONIA): 0.8,
    (DIABETES, SEPSIS): 0.5, (CORONARY, INFARCTION): 1.2, (FIBRILLATION, STROKE): 1.0,
}  # fmt: skip
# Probability that a drug is recorded at a visit of a patient who has the condition.
TREATED_WITH = {
    (HEART_FAILURE, FUROSEMIDE): 0.5, (DIABETES, METFORMIN): 0.5, (LIPIDS, STATIN): 0.4, (CORONARY, STATIN): 0.3,
    (HYPERTENSION, LISINOPRIL): 0.4, (COPD, SALBUTAMOL): 0.5, (FIBRILLATION, APIXABAN): 0.5,
    (DEPRESSION, SERTRALINE): 0.5,
}  # fmt: skip
DRUGS = (FUROSEMIDE, METFORMIN, STATIN, LISINOPRIL, SALBUTAMOL, APIXABAN, SERTRALINE)
# Probability of what has nothing to do with anything.
UNRELATED = {
    CHECK_UP: 0.12, "ICD10CM//M54.50 low back pain": 0.09, "ICD10CM//J06.9 common cold": 0.08,
    "ICD10CM//R51.9 headache": 0.06, "ICD10CM//K21.9 acid reflux": 0.08, "ICD10CM//L30.9 dermatitis": 0.05,
}  # fmt: skip

SCHEMA = Schema.of([*CHRONIC, *ACUTE, *DRUGS, *UNRELATED], static=["age_decades_over_60", "female"])
_AT = {name: position - 1 for position, name in enumerate(SCHEMA.codes)}
_N_CHRONIC = len(CHRONIC)
_CHRONIC, _ACUTE = slice(0, _N_CHRONIC), slice(_N_CHRONIC, _N_CHRONIC + len(ACUTE))

DECAY_DAYS, FADING_VISITS = 120.0, 4.0
SECOND_AGE, SECOND_STATIN = 0.8, -0.8
PERSISTENCE = 0.9  # correlation of acute activity from one visit to the next
_PATIENTS_AT_ONCE, _PILOT_PATIENTS, _IDS_PER_SEED = 8192, 40_000, 10_000_000
_SHARDS_KEPT_AT_ONCE = 16  # an interruption costs no more than these


def _links(weights: dict[tuple[str, str], float], to: list[str]) -> Float[np.ndarray, "chronic to"]:
    matrix = np.zeros((_N_CHRONIC, len(to)))
    for (condition, target), weight in weights.items():
        matrix[_AT[condition], to.index(target)] = weight
    return matrix


_ONSET, _PRONE = _links(LEADS_TO, list(CHRONIC)), _links(PRONE_TO, list(ACUTE))
_TREATED = _links(TREATED_WITH, list(DRUGS))


# ----------------------------------------------------------------------------------------------------------- settings


@dataclass(frozen=True)
class Effects:
    """How much each part of the recorded history adds to the log-odds of the event; 0 switches it off.

    Args:
        age: For each decade of age over 60.
        now: For each acute code at this visit.
        burden: For each different chronic condition recorded so far.
        decay: For each acute code at an earlier visit, fading with time: `exp(-days since / 120)`.
        order: Once acute kidney injury has been recorded *after* diabetes or chronic kidney disease was.
            The other way round does not count, nor does the same visit.
        treat: While furosemide is recorded, at this visit or the one before, and heart failure has been.
        fading: Since lung cancer was first recorded, fading by the visit: `exp(-visits since / 4)`.
        trend: For each visit before this one.
    """

    age: float = 0.0
    now: float = 0.0
    burden: float = 0.0
    decay: float = 0.0
    order: float = 0.0
    treat: float = 0.0
    fading: float = 0.0
    trend: float = 0.0

    @explained
    def __post_init__(self) -> None:
        for field in fields(self):
            check_real(value := getattr(self, field.name), field.name)
            if not np.isfinite(value):
                raise ValueError(f"the effect {field.name} is {value}; expected a finite number")


@dataclass(frozen=True, eq=False)
class Simulation:
    """A simulated cohort and the truth about it.

    Args:
        cohort: What a study would have on file: visits and outcomes.
        hazard: True hazard in the interval after each visit of `cohort.visits`, all causes together.
        cause_hazard: The same for each cause.

    Examples:
        >>> simulation = TEACHING.draw(100, seed=0)
        >>> simulation.hazard.shape == (simulation.cohort.visits.n_visits,)
        True
    """

    cohort: Cohort
    hazard: Float[Tensor, " visit"]
    cause_hazard: Float[Tensor, "visit cause"]


@dataclass(frozen=True)
class Simulator:
    """Settings of a simulated world. Cohorts drawn from one simulator share one true hazard function.

    Cause 1: `logit h = intercept + scale * sum of effect * what the record holds (+ frailty)`. With two causes the
    second has the log-odds `intercept_2 + 0.8 * age - 0.8 * [atorvastatin on record]`, both against no event, so the
    cause hazards sum to less than 1.

    A patient comes for visits until dropping out, or up to `max_visits`; an event ends the record, and the visit that
    would have recorded it is not shipped. Each interval of a shipped record has a known outcome. `censoring` decides
    who is lost:

    - `"independent"`: after each interval survived, with probability `dropout`, whatever the patient is like.
    - `"informative"`: the log-odds of dropping out also rise by 1 for each unit of the hidden severity and of the
      frailty. Kaplan-Meier is then too optimistic. The likelihood given the whole record stays right as long as
      there is no frailty, since the hazard reads only the record.
    - `"calendar"`: dropout as in `"independent"`, and the study ends for everybody on one day, `study_days` after it
      began; patients enter evenly over that time. Sicker patients come more often, so they are followed for more
      visits: censoring is independent in days and not in visits. The end cuts the last interval short: an event after
      it is not seen, and `censored_exposure` is the share of the interval that lay before it.

    Args:
        effects: What the hazard reads in the record.
        event_rate: Share of patients whose event is seen, from cause 1. Give this or `intercept`.
        intercept: Log-odds of the event with nothing on record, for a patient of 60; then `event_rate` is None.
        scale: Factor on all effects.
        dropout: Probability of being lost after each interval.
        max_visits: Follow-up ends after the interval that begins at this visit.
        gap_days: Mean number of days between visits of a patient of average severity.
        record: Probability that a visit records a chronic condition the patient has.
        n_causes: 1, or 2 with a competing cause.
        second_rate: Share of patients whose event is seen from cause 2.
        frailty: Standard deviation of an addition to the log-odds that the record does not show.
        censoring: Who is lost, see above.
        study_days: Length of the study with calendar censoring.

    Raises:
        ValueError: A setting is impossible; names it.

    Examples:
        >>> world = Simulator(effects=Effects(age=0.5), event_rate=0.2, dropout=0.1)
        >>> len(world.draw(100, seed=0).cohort)
        100
    """

    effects: Effects = Effects(age=0.3, now=0.6, burden=0.2, decay=1.0, order=2.0, treat=-0.5, fading=1.0, trend=0.02)
    event_rate: float | None = 0.30
    intercept: float | None = None
    scale: float = 1.0
    dropout: float = 0.06
    max_visits: int = 40
    gap_days: float = 60.0
    record: float = 0.55
    n_causes: int = 1
    second_rate: float = 0.15
    frailty: float = 0.0
    censoring: Censoring = "independent"
    study_days: float = 1500.0

    @explained
    def __post_init__(self) -> None:
        for name in ("scale", "dropout", "gap_days", "record", "second_rate", "frailty", "study_days"):
            check_real(getattr(self, name), name)
        for name in ("event_rate", "intercept"):
            if (given := getattr(self, name)) is not None:
                check_real(given, name)
        if (self.event_rate is None) == (self.intercept is None):
            raise ValueError(f"event_rate is {self.event_rate} and intercept {self.intercept}; expected one to be None")
        if self.n_causes not in (1, 2):
            raise ValueError(f"n_causes is {self.n_causes}; expected 1 or 2")
        if self.n_causes == 2 and self.event_rate is None:
            raise ValueError("n_causes is 2 and event_rate None; expected event_rate, which sets both intercepts")
        if self.censoring not in get_args(Censoring):
            raise ValueError(f"censoring is {self.censoring!r}; expected one of {', '.join(get_args(Censoring))}")
        check_whole(self.max_visits, "max_visits")
        for name in ("event_rate", "second_rate"):
            if (rate := getattr(self, name)) is not None and not 0 < rate < 1:
                raise ValueError(f"{name} is {rate}; expected more than 0 and less than 1")
        if self.n_causes == 2 and (both := (self.event_rate or 0) + self.second_rate) >= 1:
            raise ValueError(f"event_rate and second_rate sum to {both:g}; expected less than 1")
        for name in ("dropout", "record"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ValueError(f"{name} is {value}; expected 0 to 1")
        for name in ("gap_days", "study_days"):
            if not 0 < (value := getattr(self, name)) < np.inf:
                raise ValueError(f"{name} is {value}; expected a positive number of days")
        if not 0 <= self.frailty < np.inf:
            raise ValueError(f"frailty is {self.frailty}; expected 0 or more")
        for name in ("intercept", "scale"):
            if (value := getattr(self, name)) is not None and not np.isfinite(value):
                raise ValueError(f"{name} is {value}; expected a finite number")

    @explained
    def draw(self, n_patients: int, seed: int, *, progress: bool = False) -> Simulation:
        """A cohort of new patients: another seed, other patients; the same seed, the same bytes.

        Lives, losses and events are drawn from separate streams, so the same seed with an effect switched off gives
        the same lives with other events. `progress` shows a bar.

        Raises:
            ValueError: The number of patients or the seed is impossible.
        """
        begins = self._begins(n_patients, seed)
        bar = tqdm(begins, desc="drawing patients", leave=False, disable=not progress)
        parts = [self._draw_from(begin, n_patients, seed) for begin in bar]
        cohort = parts[0].cohort if len(parts) == 1 else Cohort.concat([part.cohort for part in parts])
        cause_hazard = torch.cat([part.cause_hazard for part in parts])
        return Simulation(cohort, cause_hazard.sum(-1), cause_hazard)

    @explained
    def draw_to(self, folder: str | os.PathLike[str], n_patients: int, seed: int, *, progress: bool = False) -> None:
        """Write the cohort that `draw` gives to a folder, shard by shard, in memory that does not grow with it.

        `Cohort.load` maps the folder; `true_hazard.npy` lies in it, too. It has the same bytes as the cohort of `draw`,
        written by `Cohort.save`. Called again after an interruption, it goes on and ends with the same bytes as if
        there had been none.

        Args:
            folder: Where to write; appears when all is there.
            n_patients: As in `draw`.
            seed: As in `draw`.
            progress: Whether to show a bar.

        Raises:
            ValueError: The number of patients or the seed is impossible.
            FileExistsError: The folder is there already.
            OSError: The disk is full.

        Examples:
            >>> from tempfile import TemporaryDirectory
            >>> with TemporaryDirectory() as folder:
            ...     TEACHING.draw_to(f"{folder}/cohort", 100, seed=0)
            ...     Cohort.load(f"{folder}/cohort").visits.n_visits == TEACHING.draw(100, seed=0).cohort.visits.n_visits
            True
        """
        begins = self._begins(n_patients, seed)
        origin = {"simulator": asdict(self) | {"intercepts": _intercepts(self)}, "patients": n_patients, "seed": seed}
        with (
            CohortWriter(folder, origin=origin) as writer,
            tqdm(total=n_patients, unit=" patients", desc="drawing", leave=False, disable=not progress) as bar,
        ):
            bar.update(writer.n_patients)
            for begin in begins[writer.n_patients // _PATIENTS_AT_ONCE :]:
                shard = self._draw_from(begin, n_patients, seed)
                writer.append(shard.cohort, true_hazard=shard.hazard)
                bar.update(len(shard.cohort))
                if (begin // _PATIENTS_AT_ONCE + 1) % _SHARDS_KEPT_AT_ONCE == 0:
                    writer.keep()
            writer.finish()

    @staticmethod
    def _begins(n_patients: int, seed: int) -> range:
        """The first patient of each shard."""
        if not 1 <= n_patients <= _IDS_PER_SEED:
            raise ValueError(f"n_patients is {n_patients}; expected 1 to {_IDS_PER_SEED}")
        if not 0 <= seed < 2**63 // _IDS_PER_SEED:
            raise ValueError(f"seed is {seed}; expected 0 to {2**63 // _IDS_PER_SEED - 1}")
        return range(0, n_patients, _PATIENTS_AT_ONCE)

    def _draw_from(self, begin: int, n_patients: int, seed: int) -> Simulation:
        """The shard that begins with this patient; its luck is its own, whatever was drawn before it."""
        ids = np.arange(begin, min(begin + _PATIENTS_AT_ONCE, n_patients)) + seed * _IDS_PER_SEED
        lives, events = np.random.SeedSequence(seed, spawn_key=(0, begin)).spawn(2)
        return _follow(self, _live(self, ids, lives), np.random.default_rng(events))

    @explained
    def cause_hazard(self, visits: Visits) -> Float[Tensor, "visit cause"]:
        """True hazard of each cause in the interval after each visit, rebuilt from the record.

        Raises:
            ValueError: The visits were not written with this simulator's codes, or the hazard depends on a frailty
                that no record shows.
        """
        if self.frailty > 0:
            raise ValueError(
                f"frailty is {self.frailty}: the hazard depends on what no visit records and cannot be rebuilt; "
                "expected 0, or the hazard that came with the draw"
            )
        return torch.from_numpy(_cause_hazard(_cause_logits(self, visits) + np.array(_intercepts(self))))

    @explained
    def hazard(self, visits: Visits) -> Float[Tensor, " visit"]:
        """True hazard in the interval after each visit, rebuilt from the record: the oracle.

        The hazard at a visit reads that visit and those before it, never a later one.

        Raises:
            ValueError: As for `cause_hazard`.

        Examples:
            >>> simulation = TEACHING.draw(100, seed=0)
            >>> bool((TEACHING.hazard(simulation.cohort.visits) == simulation.hazard).all())
            True
        """
        return self.cause_hazard(visits).sum(-1)


# --------------------------------------------------------------------------------------------- what the hazard reads


def _recall(visits: Visits) -> dict[str, Float[np.ndarray, " visit"]]:
    """What each effect reads in the record, by the name of the effect; `statin` is for the second cause.

    One pass from visit to visit, carrying what must be remembered: the oracle is a recurrent model.
    """
    if visits.schema != SCHEMA:
        raise ValueError(
            f"the visits have {len(visits.schema.codes) - 1} codes and the static features "
            f"{list(visits.schema.static)}; expected those of visitwise.simulate.SCHEMA"
        )
    first, length, gap = visits.visit_offsets[:-1].numpy(), visits.length.numpy(), visits.gap.numpy()
    recorded = _multi_hot(visits)
    age = visits.static[:, 0].double()[visits.patient].numpy()
    reads = {field.name: np.zeros(visits.n_visits) for field in fields(Effects)}
    reads |= {"age": age, "trend": visits.index.double().numpy(), "statin": np.zeros(visits.n_visits)}
    ever = np.zeros((len(visits), recorded.shape[1]), bool)
    before = np.zeros_like(ever)
    ordered = np.zeros(len(visits), bool)
    earlier_acute, cancer = np.zeros(len(visits)), np.zeros(len(visits))
    for k in range(int(length.max(initial=0))):
        who = np.flatnonzero(length > k)
        row = first[who] + k
        today, known = recorded[row], ever[who]
        on_record = known | today
        acute = today[:, _ACUTE].sum(1)
        earlier = earlier_acute[who] * np.exp(-gap[row] / DECAY_DAYS)
        ordered[who] |= today[:, _AT[KIDNEY_INJURY]] & (known[:, _AT[DIABETES]] | known[:, _AT[KIDNEY_DISEASE]])
        first_told = today[:, _AT[LUNG_CANCER]] & ~known[:, _AT[LUNG_CANCER]]
        cancer[who] = np.where(first_told, 1.0, cancer[who] * np.exp(-1 / FADING_VISITS))
        furosemide = today[:, _AT[FUROSEMIDE]] | before[who, _AT[FUROSEMIDE]]
        reads["now"][row] = acute
        reads["burden"][row] = on_record[:, _CHRONIC].sum(1)
        reads["decay"][row] = earlier
        reads["order"][row] = ordered[who]
        reads["treat"][row] = furosemide & on_record[:, _AT[HEART_FAILURE]]
        reads["fading"][row] = cancer[who]
        reads["statin"][row] = on_record[:, _AT[STATIN]]
        earlier_acute[who], ever[who], before[who] = earlier + acute, on_record, today
    return reads


def _multi_hot(visits: Visits) -> Bool[np.ndarray, "visit code"]:
    recorded = np.zeros((visits.n_visits, len(visits.schema.codes) - 1), bool)
    visit = torch.repeat_interleave(visits.code_offsets.diff())
    recorded[visit.numpy(), visits.codes.numpy() - 1] = True
    return recorded


def _cause_logits(settings: Simulator, visits: Visits) -> Float[np.ndarray, "visit cause"]:
    """Log-odds of each cause against no event, before the intercepts."""
    reads = _recall(visits)
    logits = np.zeros((visits.n_visits, settings.n_causes))
    for field in fields(Effects):
        logits[:, 0] += settings.scale * getattr(settings.effects, field.name) * reads[field.name]
    if settings.n_causes == 2:
        logits[:, 1] = SECOND_AGE * reads["age"] + SECOND_STATIN * reads["statin"]
    return logits


def _cause_hazard(logits: Float[np.ndarray, "*rows cause"]) -> Float[np.ndarray, "*rows cause"]:
    """`h_c = exp(z_c) / (1 + sum exp(z))`, without overflow."""
    top = np.maximum(logits.max(-1, keepdims=True), 0.0)
    odds = np.exp(logits - top)
    hazard: np.ndarray = odds / (np.exp(-top) + odds.sum(-1, keepdims=True))
    return hazard


# ------------------------------------------------------------------------------------------------------ life and loss


class _Lives(NamedTuple):
    """What would be recorded if nobody ever had the event."""

    visits: Visits
    frailty: Float[np.ndarray, " patient"]
    last_gap: Float[np.ndarray, " patient"]  # days from the last visit to the next contact
    exposure: Float[np.ndarray, " patient"]  # share of that interval before the study ends


def _live(settings: Simulator, ids: Int[np.ndarray, " patient"], seeds: np.random.SeedSequence) -> _Lives:
    people, codes, loss = (np.random.default_rng(child) for child in seeds.spawn(3))
    n, width = len(ids), settings.max_visits
    severity, age = people.normal(size=n), people.normal(size=n).clip(-2.5, 2.5)
    static = np.stack([age, people.random(n) < 0.5], 1).astype(np.float32)
    frailty = settings.frailty * people.normal(size=n)
    mean_gap = settings.gap_days * np.exp(-0.3 * severity)
    gap = np.ceil(people.gamma(1.5, 1 / 1.5, (n, width)) * mean_gap[:, None]).clip(min=1.0)
    day = np.cumsum(gap, 1) - gap
    length, left = _lost(settings, severity + frailty, day, loss)
    last = (np.arange(n), length - 1)
    recorded = _record(settings, severity, age, length, codes)[np.arange(width) < length[:, None]]
    visits = Visits(
        codes=torch.from_numpy((recorded.nonzero()[1] + 1).astype(np.int32)),
        code_offsets=offsets_of(torch.from_numpy(recorded.sum(1))),
        visit_offsets=offsets_of(torch.from_numpy(length)),
        day=torch.from_numpy(day[np.arange(width) < length[:, None]]),
        patient_id=torch.from_numpy(ids),
        static=torch.from_numpy(static),
        measurements=torch.empty(len(recorded), 0),
        schema=SCHEMA,
    )
    return _Lives(visits, frailty, gap[last], ((left - day[last]) / gap[last]).clip(max=1.0))


def _lost(
    settings: Simulator,
    illness: Float[np.ndarray, " patient"],
    day: Float[np.ndarray, "patient visit"],
    random: np.random.Generator,
) -> tuple[Int[np.ndarray, " patient"], Float[np.ndarray, " patient"]]:
    """Number of visits until lost, and the days from the first visit to the end of the study."""
    n, width = day.shape
    dropout, leaning = settings.dropout, 1.0 if settings.censoring == "informative" else 0.0
    loss = _logistic(np.log(dropout / (1 - dropout)) + leaning * illness) if 0 < dropout < 1 else np.full(n, dropout)
    left = np.full(n, settings.study_days if settings.censoring == "calendar" else np.inf) * (1 - random.random(n))
    length = np.minimum(_intervals_until_dropout(loss, width, random), (day < left[:, None]).sum(1))
    return length, left


def _intervals_until_dropout(
    dropout: Float[np.ndarray, " patient"], width: int, random: np.random.Generator
) -> Int[np.ndarray, " patient"]:
    """How many intervals each patient is followed for, lost after each with this probability, at most `width`."""
    stays = -np.log1p(-random.random(len(dropout)))
    with np.errstate(divide="ignore"):
        rate = -np.log1p(-dropout)
    survived = np.full(len(dropout), np.inf)
    np.divide(stays, rate, out=survived, where=rate > 0)
    length: np.ndarray = (np.floor(survived) + 1).clip(max=width).astype(np.int64)
    return length


def _record(
    settings: Simulator,
    severity: Float[np.ndarray, " patient"],
    age: Float[np.ndarray, " patient"],
    length: Int[np.ndarray, " patient"],
    random: np.random.Generator,
) -> Bool[np.ndarray, "patient visit code"]:
    """Which codes each visit records, from conditions that come and stay and acute activity that comes and goes."""
    n = len(length)
    recorded = np.zeros((n, settings.max_visits, len(SCHEMA.codes) - 1), bool)
    leaning = np.array(list(CHRONIC.values())) + (0.6 * severity + 0.5 * age)[:, None]
    has = random.random((n, _N_CHRONIC)) < _logistic(leaning)
    activity, fresh = random.normal(size=n), (1 - PERSISTENCE**2) ** 0.5
    unrelated = np.array(list(UNRELATED.values()))
    for k in range(int(length.max())):
        who = np.flatnonzero(length > k)
        if k > 0:
            has[who] |= random.random((len(who), _N_CHRONIC)) < _logistic(leaning[who] - 2.5 + has[who] @ _ONSET)
            activity[who] = PERSISTENCE * activity[who] + fresh * random.normal(size=len(who))
        ill = (0.7 * severity + 1.5 * activity)[who, None]
        chance = [
            settings.record * has[who],
            _logistic(np.array(list(ACUTE.values())) + ill + has[who] @ _PRONE),
            1 - np.exp(has[who] @ np.log1p(-_TREATED)),
            np.broadcast_to(unrelated, (len(who), len(unrelated))),
        ]
        today = random.random((len(who), recorded.shape[2])) < np.concatenate(chance, 1)
        today[:, _AT[CHECK_UP]] |= ~today.any(1)
        recorded[who, k] = today
    return recorded


def _logistic(logits: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    probability: np.ndarray = 1 / (1 + np.exp(-logits))
    return probability


# ---------------------------------------------------------------------------------------------------------- the event


def _follow(settings: Simulator, lives: _Lives, random: np.random.Generator) -> Simulation:
    """Draw who has the event when, and cut the record there."""
    visits = lives.visits
    logits = _cause_logits(settings, visits) + np.array(_intercepts(settings))
    logits[:, 0] += lives.frailty[visits.patient.numpy()]
    cause_hazard = torch.from_numpy(_cause_hazard(logits))
    luck, moment, which = random.random((3, len(visits)))
    length = visits.length.numpy()
    event_row = _event_row(visits.pad(cause_hazard.sum(-1)).numpy(), luck)
    stop = np.minimum(event_row + 1, length)
    share = np.where(stop == length, lives.exposure, 1.0)
    happened = (event_row < length) & (1 - moment <= share)
    kept = visits.select(torch.arange(len(visits)), torch.from_numpy(stop))
    last = (visits.visit_offsets[:-1] + torch.from_numpy(stop) - 1).numpy()
    hazards = cause_hazard.numpy()[last]
    first_cause = hazards[:, 0] > which * hazards.sum(1)
    cause = np.where(happened, np.where(first_cause, 1, 2), 0)
    gap = np.append(visits.day.numpy()[1:], 0.0)[last] - visits.day.numpy()[last]
    gap = np.where(stop == length, lives.last_gap, gap)
    outcome = Outcome.of(
        torch.from_numpy(stop),
        torch.from_numpy(happened),
        cause=torch.from_numpy(cause),
        censored_exposure=torch.from_numpy(np.where(happened, 1.0, share).astype(np.float32)),
        followup_days=torch.from_numpy(visits.day.numpy()[last] + gap * np.where(happened, 1 - moment, share)),
    )
    row = torch.arange(visits.n_visits)[visits.index < torch.from_numpy(stop)[visits.patient]]
    return Simulation(Cohort(kept, outcome), cause_hazard[row].sum(-1), cause_hazard[row])


def _event_row(
    hazard: Float[np.ndarray, "patient visit"], luck: Float[np.ndarray, " patient"]
) -> Int[np.ndarray, " patient"]:
    """The row in which survival falls to `luck` (even on [0, 1)) or below; the width if it never does."""
    event_free: np.ndarray = np.cumprod(1 - hazard, 1) > luck[:, None]
    row: np.ndarray = event_free.sum(1)
    return row


@lru_cache(maxsize=128)
def _intercepts(settings: Simulator) -> tuple[float, ...]:
    """Intercepts that give the wanted shares of patients with an event, by Newton's method on the log-odds of a share.

    Found on a pilot cohort that is the same for every draw and shared with none; the expected share is computed from
    the hazards, so no luck of events is in it.
    """
    if settings.intercept is not None:
        return (settings.intercept,)
    rates = (settings.event_rate, settings.second_rate)[: settings.n_causes]
    wanted = np.log([rate / (1 - rate) for rate in rates if rate is not None])
    pilot = _live(settings, np.arange(_PILOT_PATIENTS), np.random.SeedSequence(0, spawn_key=(1,)))
    logits = _cause_logits(settings, pilot.visits)
    logits[:, 0] += pilot.frailty[pilot.visits.patient.numpy()]
    intercepts, nudge = np.full(settings.n_causes, -5.0), 1e-4
    for _ in range(50):
        missing = wanted - _share_log_odds(logits + intercepts, pilot)
        if np.abs(missing).max() < 1e-6:
            return tuple(float(value) for value in intercepts)
        nudged = [_share_log_odds(logits + intercepts + change, pilot) for change in nudge * np.eye(len(wanted))]
        slopes = (np.stack(nudged, 1) - (wanted - missing)[:, None]) / nudge
        intercepts += np.linalg.solve(slopes, missing).clip(-2, 2)
    raise ValueError(f"event_rate is {settings.event_rate}, which these settings do not reach; expected one nearer 0.5")


def _share_log_odds(logits: Float[np.ndarray, "visit cause"], lives: _Lives) -> Float[np.ndarray, " cause"]:
    """Log-odds of the expected share of patients whose event of each cause is seen."""
    first, patient = lives.visits.visit_offsets[:-1].numpy(), lives.visits.patient.numpy()
    hazard = _cause_hazard(logits)
    log_free = np.log1p(-hazard.sum(1).clip(max=1 - 1e-12))
    log_free_before = np.cumsum(log_free) - log_free
    free_before = np.exp(log_free_before - log_free_before[first][patient])
    free_before[lives.visits.visit_offsets[1:].numpy() - 1] *= lives.exposure
    share = (free_before[:, None] * hazard).sum(0) / len(first)
    log_odds: np.ndarray = np.log(share) - np.log1p(-share)
    return log_odds


@explained
def draw_outcome(hazard: Float[Tensor, "patient visit"], *, dropout: float = 0.0, seed: int) -> Outcome:
    """Outcomes drawn from given hazards: the event in each interval with its hazard, if it has not happened before.

    After an interval survived a patient is lost with probability `dropout`, whatever the hazard; after the last row
    follow-up ends. NaN after a patient's last visit makes the record shorter. Luck with events and with dropout comes
    from two streams: another `dropout` leaves the events where they were.

    Raises:
        ValueError: A hazard is outside [0, 1], NaN stands before a number, or `dropout` is no probability.

    Examples:
        >>> outcome = draw_outcome(torch.tensor([[0.0, 1.0, 0.5], [0.0, 0.0, torch.nan]]), seed=0)
        >>> outcome.stop.tolist(), outcome.observed.tolist()
        ([2, 2], [True, False])
    """
    if not 0 <= dropout <= 1:
        raise ValueError(f"dropout is {dropout}; expected 0 to 1")
    if hazard.dim() != 2 or len(hazard) == 0:
        raise ValueError(f"hazard has shape {list(hazard.shape)}; expected [patient, visit], at least one patient")
    position, known = torch.arange(hazard.shape[0]), ~hazard.isnan()
    length = known.sum(1)
    refuse(length < 1, position, length, "has {} hazards; expected at least one")
    refuse(known.int().diff(dim=1).gt(0).any(1), position, length, "has NaN before a later hazard; expected it after")
    outside = ((hazard < 0) | (hazard > 1)).nonzero()
    if len(outside):
        who, row = outside[0].tolist()
        raise ValueError(f"patient {who} has the hazard {hazard[who, row]:g} in row {row}; expected 0 to 1")
    events, loss = (np.random.default_rng(child) for child in np.random.SeedSequence(seed, spawn_key=(2,)).spawn(2))
    n, width = hazard.shape
    event_row = _event_row(hazard.nan_to_num(0.0).double().numpy(force=True), events.random(n))
    last = np.minimum(length.cpu().numpy(), _intervals_until_dropout(np.full(n, dropout), width, loss))
    observed = event_row < last
    return Outcome.of(torch.from_numpy(np.where(observed, event_row + 1, last)), torch.from_numpy(observed))


# ------------------------------------------------------------------------------------------------------------- worlds

TEACHING = Simulator()
"""Everything at once, much of it in the past: what the chapters train on."""

ORDER_ONLY = Simulator(effects=Effects(order=5.0))
"""Only the order of two diagnoses counts, and they are seldom on the same visit: why a model needs a memory."""

NO_MEMORY = Simulator(effects=Effects(age=0.3, now=1.0))
"""Only age and today's acute codes count: a memory can gain nothing here, and a test must say so."""
