"""`check_no_leak` against slow loops and models that are known to look ahead, and on cohorts with nothing to find."""

import re

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from tests.cohorts import random_cohort
from visitwise.check.leakage import EVENT_CODE, coin_flips, label_the_visit_itself, with_code
from visitwise.cohort import Cohort, Outcome
from visitwise.functional import person_period
from visitwise.leakage import _Rows, check_no_leak, edit_later_visits
from visitwise.metrics import incident_dynamic_auc
from visitwise.model import SurvivalRNN
from visitwise.simulate import TEACHING
from visitwise.visits import Schema, Visits

QUIET = {"progress": False}


def model_of(cohort: Cohort, **settings: object) -> SurvivalRNN:
    return SurvivalRNN.for_cohort(cohort, embedding=3, hidden=4, **settings)


def pieces(visits: Visits) -> list[list[list[int]]]:
    """Codes by patient and visit, by a plain loop."""
    found = []
    for begin, end in zip(visits.visit_offsets.tolist(), visits.visit_offsets.tolist()[1:], strict=False):
        offsets = visits.code_offsets.tolist()
        found.append([visits.codes[offsets[j] : offsets[j + 1]].tolist() for j in range(begin, end)])
    return found


class LooksAt(nn.Module):
    """Logits that read one thing, chosen by name: of all visits, so also of later ones."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def forward(self, visits: Visits) -> Tensor:
        nothing = torch.zeros(visits.n_visits)
        values = {
            "nothing": nothing,
            "length": visits.length[visits.patient].float(),
            "longest in the batch": nothing + float(visits.length.max()),
            "day": visits.day.float(),
            "next gap": visits.gap.roll(-1).float(),
            "next measurement": visits.measurements[:, 0].nan_to_num().roll(-1) if visits.schema.measurements else 0,
            "codes after": visits.code_offsets.diff().flip(0).cumsum(0).flip(0).float(),
        }[self.what]
        return visits.pad(values / 10, torch.nan)


# -------------------------------------------------------------------------------------------------- later visits edited


@pytest.mark.parametrize("seed", range(4))
def test_an_edited_record_is_the_same_up_to_the_kept_visit_and_another_after_it(seed: int) -> None:
    visits = random_cohort(40, seed=seed).visits
    random = np.random.default_rng(seed)
    last_kept = torch.from_numpy(random.integers(0, visits.length.numpy()))
    edited = edit_later_visits(visits, last_kept, seed=seed)
    rebuilt = Visits(**{name: getattr(edited, name) for name in Visits.__dataclass_fields__})  # every rule is checked
    assert torch.equal(rebuilt.length, visits.length)
    assert torch.equal(edited.static, visits.static)
    changed = 0
    for i, (before, after) in enumerate(zip(pieces(visits), pieces(edited), strict=True)):
        kept, first = int(last_kept[i]) + 1, int(visits.visit_offsets[i])
        assert before[:kept] == after[:kept]
        assert torch.equal(visits.day[first : first + kept], edited.day[first : first + kept])
        taken = slice(first, first + kept)
        torch.testing.assert_close(
            visits.measurements[taken], edited.measurements[taken], equal_nan=True, rtol=0, atol=0
        )
        changed += before[kept:] != after[kept:]
    later = visits.index > last_kept[visits.patient]
    assert changed > 10
    assert (visits.day != edited.day)[later].all()
    assert not (visits.measurements == edited.measurements)[later].any()


def test_an_edit_refuses_a_visit_that_the_patient_does_not_have() -> None:
    visits = Visits.from_lists([[["a"]] * 3, [["a"]]], day=[[0, 1, 2], [0]], patient_id=[7, 8])
    with pytest.raises(ValueError, match=r"patient 8 keeps visits up to 1; expected one from 0 to below 1"):
        edit_later_visits(visits, torch.tensor([2, 1]), seed=0)
    with pytest.raises(ValueError, match=r"last_kept has shape \[1\]; expected \[2\]"):
        edit_later_visits(visits, torch.tensor([0]), seed=0)


# ------------------------------------------------------------------------------------------------------- with a model


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("path", ["padded", "packed", "staircase", "rows"])
def test_a_forward_model_is_clean(cell: str, path: str) -> None:
    cohort = random_cohort(60, seed=1)
    report = check_no_leak(cohort, model_of(cohort, cell=cell, path=path), **QUIET)
    assert [finding for finding in report.findings if finding.kind == "future"] == []
    assert "60 patients" not in str(report)  # some have one visit only, and nothing after it to edit
    assert "later visits of" in str(report)


def test_a_bidirectional_model_is_found_by_both_edits_and_the_patient_is_named() -> None:
    cohort = random_cohort(60, seed=1, first_id=900)
    model = model_of(cohort, path="packed", bidirectional=True, demonstration=True)
    findings = [found for found in check_no_leak(cohort, model, **QUIET).findings if found.kind == "future"]
    assert [found.name for found in findings] == ["replaced", "cut off"]
    for found in findings:
        told = r"the hazard of patient (\d+) at visit (\d+) is (\S+), and (\S+) with all after visit (\d+) "
        who, visit, hazard, other, last = map(float, re.match(told, found.sentence).groups())
        assert 900 <= who < 960
        assert 0 <= visit <= last < int(cohort.visits.length[int(who) - 900]) - 1
        shown = torch.sigmoid(model(cohort.visits))[int(who) - 900, int(visit)]
        assert float(shown.detach()) == pytest.approx(hazard, rel=2e-3)
        assert found.value == pytest.approx(abs(hazard - other), abs=2e-3)


@pytest.mark.parametrize(
    ("what", "edits"),
    [
        ("nothing", []),
        ("day", []),
        ("length", ["cut off"]),
        ("longest in the batch", ["cut off"]),
        ("next gap", ["replaced", "cut off"]),
        ("next measurement", ["replaced", "cut off"]),
        ("codes after", ["replaced", "cut off"]),
    ],
)
def test_each_way_to_look_ahead_is_found_by_the_edit_that_it_looks_at(what: str, edits: list[str]) -> None:
    report = check_no_leak(random_cohort(60, seed=2), LooksAt(what), **QUIET)
    assert [found.name for found in report.findings if found.kind == "future"] == edits


def test_a_model_with_dropout_is_judged_in_evaluation_mode_and_handed_back_as_it_was() -> None:
    class Dropping(LooksAt):
        def forward(self, visits: Visits) -> Tensor:
            return super().forward(visits) + nn.functional.dropout(torch.ones(()), 0.5, self.training)

    cohort, model = random_cohort(60, seed=2), Dropping("nothing").train()
    report = check_no_leak(cohort, model, **QUIET)
    assert model.training
    assert [found for found in report.findings if found.kind == "future"] == []

    def unsteady(visits: Visits) -> Tensor:
        return visits.pad(torch.from_numpy(np.random.default_rng().normal(size=visits.n_visits)))

    with pytest.raises(ValueError, match="other hazards when it is asked again"):
        check_no_leak(cohort, unsteady, **QUIET)


def test_a_part_that_was_in_evaluation_mode_stays_in_it() -> None:
    class WithFrozenPart(LooksAt):
        def __init__(self) -> None:
            super().__init__("nothing")
            self.frozen, self.moving = nn.Dropout().eval(), nn.Dropout()

    model = WithFrozenPart()
    check_no_leak(random_cohort(20, seed=2), model, **QUIET)
    assert (model.training, model.frozen.training, model.moving.training) == (True, False, True)


def test_infinite_logits_and_several_causes_are_compared_too() -> None:
    cohort = random_cohort(60, seed=2)

    def infinite(visits: Visits) -> Tensor:
        return visits.pad(torch.full((visits.n_visits,), -torch.inf), torch.nan)

    def causes(visits: Visits) -> Tensor:
        return torch.stack([LooksAt("nothing")(visits), LooksAt("next gap")(visits)], -1)

    assert not [found for found in check_no_leak(cohort, infinite, **QUIET).findings if found.kind == "future"]
    assert len([found for found in check_no_leak(cohort, causes, **QUIET).findings if found.kind == "future"]) == 2


def test_a_sure_hazard_that_is_no_longer_sure_without_the_rest_of_the_record_has_moved() -> None:
    def sure_unless_last(visits: Visits) -> Tensor:
        return visits.pad(torch.where(visits.index < visits.length[visits.patient] - 1, torch.inf, 0.0))

    found = check_no_leak(random_cohort(20, seed=2), sure_unless_last, **QUIET).findings
    assert [(leak.kind, leak.name, leak.value) for leak in found] == [("future", "cut off", 0.5)]


def test_answers_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"answers with the shape \[\d+\]; expected \[\d+, \d+\]"):
        check_no_leak(random_cohort(9, seed=0), lambda visits: visits.day, **QUIET)


# ------------------------------------------------------------------------------------------------------- outcome codes


def with_codes(names: list[str], stop: list[int]) -> Cohort:
    """A patient a name: three visits, the second with it."""
    visits = Visits.from_lists(
        [[["a"], [name], ["a"]] for name in names],
        day=[[0, 1, 2]] * len(names),
        schema=Schema.of(sorted({"a", *names})),
        patient_id=range(50, 50 + len(names)),
    )
    return Cohort(visits, Outcome.of(torch.tensor(stop), torch.ones(len(stop))))


def test_an_outcome_code_is_found_by_its_name_and_by_what_goes_on_from_it() -> None:
    names = ["MEDS_DEATH", "MEDS_DEATH//ICU", "MEDS_DEATHLY", "N18.4 stage 4", "N18.41"]
    cohort = with_codes(names, [3] * 5)
    for given, expected in [
        (["MEDS_DEATH"], ["MEDS_DEATH", "MEDS_DEATH//ICU"]),
        (["MEDS_DEATH//"], ["MEDS_DEATH", "MEDS_DEATH//ICU"]),
        (["N18.4"], ["N18.4 stage 4"]),
        (["N18.41", "MEDS_DEATHLY"], ["MEDS_DEATHLY", "N18.41"]),
    ]:
        report = check_no_leak(cohort, outcome_codes=given, **QUIET)
        assert [found.name for found in report.findings] == expected
        assert {found.kind for found in report.findings} == {"outcome code"}
    assert (
        "patient 51 at visit 1"
        in check_no_leak(cohort, outcome_codes=["MEDS_DEATH//ICU"], **QUIET).findings[0].sentence
    )


def test_an_outcome_code_behind_the_last_row_is_no_input() -> None:
    cohort = with_codes(["MEDS_DEATH", "MEDS_DEATH"], [1, 2])
    (found,) = check_no_leak(cohort, outcome_codes=["MEDS_DEATH"], **QUIET).findings
    assert found.value == 1
    assert "patient 51 at visit 1" in found.sentence
    assert "no code of the vocabulary is stroke" in str(check_no_leak(cohort, outcome_codes=["stroke"], **QUIET))


# ------------------------------------------------------------------------------------------------------ single columns


def auc_by_loop(values: list[list[float]], outcome: Outcome) -> float:
    """Mean over rows, weighted by f * S of the life table, of the AUC in each row; pair by pair."""
    survival, total, weights = 1.0, 0.0, 0.0
    for k in range(int(outcome.stop.max())):
        rows = [i for i in range(len(outcome)) if outcome.start[i] <= k < outcome.stop[i]]
        case = [i for i in rows if outcome.observed[i] and outcome.stop[i] == k + 1]
        lost = [i for i in rows if outcome.stop[i] == k + 1 and i not in case and outcome.censored_exposure[i] < 1]
        rest = [i for i in rows if i not in case and i not in lost]
        followed = len(case) + len(rest) + sum(float(outcome.censored_exposure[i]) for i in lost)
        if followed == 0:
            continue
        hazard, before = len(case) / followed, survival
        survival *= 1 - hazard
        if case and rest:
            pairs = [(values[i][k] > values[j][k]) + 0.5 * (values[i][k] == values[j][k]) for i in case for j in rest]
            total += hazard * before * survival * sum(pairs) / len(pairs)
            weights += hazard * before * survival
    return total / weights


@pytest.mark.parametrize("seed", range(3))
def test_every_code_is_judged_as_by_a_slow_loop_and_by_the_metric(seed: int) -> None:
    cohort = random_cohort(60, seed=seed)
    visits, outcome = cohort.visits, cohort.outcome
    now, so_far = _Rows(cohort).code_aucs()
    for code in range(1, len(visits.schema.codes)):
        here = [[float(code in codes) for codes in record] for record in pieces(visits)]
        ever = [np.maximum.accumulate(record).tolist() for record in here]
        for judged, values in ((now[code], here), (so_far[code], ever)):
            assert judged == pytest.approx(auc_by_loop(values, outcome), abs=1e-12)
            flat = visits.pad(torch.tensor([v for record in values for v in record]))
            assert judged == pytest.approx(float(incident_dynamic_auc(flat, outcome)), abs=1e-12)


def test_in_one_row_the_auc_of_a_column_is_that_of_scikit_learn() -> None:
    cohort = random_cohort(200, seed=3, longest=1)
    rows = _Rows(cohort)
    ages, events = cohort.visits.static[:, 0].double().numpy(), cohort.outcome.observed.numpy()
    known = ~cohort.outcome.cut_short.numpy()
    assert known.sum() < 200
    assert rows.auc(ages) == pytest.approx(roc_auc_score(events[known], ages[known]), abs=1e-12)
    assert rows.auc(np.full(200, np.nan)) == 0.5


def test_a_code_recorded_twice_at_a_visit_counts_once() -> None:
    cohort = random_cohort(60, seed=0)
    everywhere = torch.ones(cohort.visits.n_visits, dtype=torch.bool)
    twice = Cohort(with_code(with_code(cohort.visits, "gout", everywhere), "gout", everywhere), cohort.outcome)
    now, so_far = _Rows(twice).code_aucs()
    gout = cohort.visits.schema.codes.index("gout")
    assert now[gout] == pytest.approx(0.5, abs=1e-12)
    assert so_far[gout] == pytest.approx(0.5, abs=1e-12)


def test_columns_that_tell_the_event_are_found_in_either_direction() -> None:
    honest = coin_flips(800, seed=3)
    outcome, rows = honest.outcome, person_period(honest.outcome.stop, honest.outcome.observed)
    answer = torch.zeros(honest.visits.n_visits, dtype=torch.bool)
    answer[honest.visits.visit_offsets[:-1][rows.patient] + rows.visit] = rows.event
    nan = torch.full((len(answer),), torch.nan)
    columns = {"sign": torch.where(answer, -1.0, 1.0), "taken": nan.masked_fill(answer, 2.0)}
    visits = honest.visits
    fields = {name: getattr(visits, name) for name in Visits.__dataclass_fields__}
    fields["measurements"] = torch.stack(list(columns.values()), 1)
    fields["schema"] = Schema(visits.schema.codes, visits.schema.static, tuple(columns))
    report = check_no_leak(Cohort(Visits(**fields), outcome), **QUIET)
    found = {finding.name: round(finding.value, 3) for finding in report.findings}
    assert found == {"sign": 0.0, "taken taken": 1.0}
    assert {finding.kind for finding in report.findings} == {"measurement"}


def test_the_limit_can_be_moved_and_the_strongest_columns_are_told() -> None:
    cohort = TEACHING.draw(3_000, seed=2).cohort
    report = check_no_leak(cohort, **QUIET)
    assert report.findings == ()
    assert len(report.strongest) == 10
    far = [abs(auc - 0.5) for _, auc in report.strongest]
    assert far == sorted(far, reverse=True)
    strict = check_no_leak(cohort, auc_above=0.65, **QUIET)
    assert {found.value for found in strict.findings} == {auc for _, auc in report.strongest if abs(auc - 0.5) > 0.15}


def test_that_a_record_ends_with_the_event_is_noted_and_is_no_finding() -> None:
    report = check_no_leak(TEACHING.draw(2_000, seed=2).cohort, **QUIET)
    assert any("no model may see where a record ends" in note for note in report.notes)
    assert not any("where a record ends" in note for note in check_no_leak(coin_flips(2_000, seed=1), **QUIET).notes)


# ----------------------------------------------------------------------------------------------------------- the report


def test_a_report_says_what_it_looked_at_and_refuses_on_demand() -> None:
    honest = coin_flips(500, seed=0)
    clean = check_no_leak(honest, model_of(honest), outcome_codes=[EVENT_CODE], **QUIET)
    clean.raise_if_any()
    assert str(clean).startswith("no findings\n")
    assert "30 codes, 2 static features, 0 measurements" in str(clean)
    leaky = label_the_visit_itself(honest)
    report = check_no_leak(leaky, outcome_codes=[EVENT_CODE], **QUIET)
    assert str(report).startswith("2 findings\n")
    with pytest.raises(ValueError, match=r"is an input of \d+ patients.*alone ranks the rows with an AUC of 1\.000"):
        report.raise_if_any()
    with pytest.raises(ValueError, match=r"AUC of 1\.000"):
        check_no_leak(leaky, strict=True, **QUIET)


def test_the_same_seed_gives_the_same_report() -> None:
    cohort = random_cohort(60, seed=1)
    model = model_of(cohort, path="packed", bidirectional=True, demonstration=True)
    assert check_no_leak(cohort, model, **QUIET) == check_no_leak(cohort, model, **QUIET)
    assert check_no_leak(cohort, model, **QUIET) != check_no_leak(cohort, model, seed=1, **QUIET)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"auc_above": 1.5}, "auc_above is 1.5; expected 0.5 to 1"),
        ({"patients": 0}, "patients is 0 and cuts 3"),
        ({"cuts": 0}, "patients is 500 and cuts 0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_no_leak(random_cohort(5, seed=0), **settings, **QUIET)


def test_a_text_is_no_list_of_outcome_codes(unchecked: None) -> None:
    with pytest.raises(ValueError, match="outcome_codes is the text 'asthma'; expected a list of names"):
        check_no_leak(random_cohort(5, seed=0), outcome_codes="asthma", **QUIET)


# ------------------------------------------------------------------------------------------------ hardly anything there


def test_one_patient_all_censored_all_events_and_an_empty_vocabulary_are_no_trouble() -> None:
    one = Cohort(Visits.from_lists([[["a"]]], day=[[0]]), Outcome.of(torch.tensor([1]), torch.tensor([True])))
    report = check_no_leak(one, model_of(one), outcome_codes=["a"], **QUIET)
    assert "nobody has a second visit" in str(report)
    assert "too few events to judge single columns: 1; expected at least 10" in str(report)
    assert [found.kind for found in report.findings] == ["outcome code"]

    cohort = random_cohort(60, seed=1)
    stop = cohort.outcome.stop
    censored = Cohort(cohort.visits, Outcome.of(stop, torch.zeros(len(stop))))
    assert check_no_leak(censored, model_of(cohort), **QUIET).findings == ()

    events = Cohort(
        cohort.visits.select(torch.arange(60), torch.ones_like(stop)), Outcome.of(torch.ones_like(stop), stop > 0)
    )
    assert "no column was judged" in str(check_no_leak(events, **QUIET))

    empty = Visits.from_lists([[[], [], []]] * 40, day=[[0, 1, 2]] * 40, schema=Schema.of([]))
    nothing = Cohort(empty, Outcome.of(torch.arange(40) % 3 + 1, torch.arange(40) % 2 == 0))
    report = check_no_leak(nothing, model_of(nothing), outcome_codes=["a"], **QUIET)
    assert report.findings == ()
    assert "0 codes, 0 static features, 0 measurements" in str(report)


def test_history_before_the_first_row_at_risk_is_not_judged() -> None:
    honest = coin_flips(800, seed=3)
    late = Cohort(
        honest.visits,
        Outcome.of(honest.outcome.stop, honest.outcome.observed, start=(honest.outcome.stop - 1).clamp(max=2)),
    )
    first = honest.visits.index < late.outcome.start[honest.visits.patient]
    told = Cohort(
        with_code(honest.visits, EVENT_CODE, first & honest.outcome.observed[honest.visits.patient]), late.outcome
    )
    now, _ = _Rows(told).code_aucs()
    assert now[honest.visits.schema.codes.index(EVENT_CODE)] == 0.5
