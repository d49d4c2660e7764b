"""Bad input is refused in words or answered rightly: the catalogue of all functions, and known mistakes in full.

The catalogue (`tests/catalogue.py`) gives each argument of each public function every wrong value there is, and the
reference shows what happened. Below it, each line of a table is a mistake as somebody would make it, and the sentence
it is answered with, in full: who, what was given and what was expected. The shape checks that the other tests run under
are off here: a user does not have them.
"""

import json
import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.built import ROOT
from tests.catalogue import RECORD, WAYS, Subject, WrongError, cells, outcome_of
from tests.subjects import EXCUSED, MODULES_EXCUSED, SUBJECTS, excused
from tests.test_reference import public
from visitwise import functional as F
from visitwise.cohort import Cohort, Outcome, require_disjoint
from visitwise.losses import HazardNLL, HazardNLLFlat
from visitwise.visits import Schema, Visits

pytestmark = pytest.mark.usefixtures("unchecked", "no_global_draws")

NAN = float("nan")
SHOWN = json.loads(RECORD.read_text(encoding="utf-8"))


# -------------------------------------------------------------------------------------------------------- the catalogue


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad", "ignore:The given NumPy array is not writ")
@pytest.mark.parametrize("name", SUBJECTS)
def test_every_bad_value_is_refused_in_words_or_answered_rightly(name: str) -> None:
    assert cells(SUBJECTS[name]) == SHOWN["tried"].get(name), "run `python -m tests.catalogue` if that is meant"


def test_the_page_shows_what_is_tried_and_nothing_else() -> None:
    assert list(SHOWN["tried"]) == list(SUBJECTS)
    assert SHOWN["ways"] == WAYS
    assert SHOWN["excused"] == {**EXCUSED, **MODULES_EXCUSED}


def test_the_page_is_made_of_the_record() -> None:
    """Every function in three tables, a word beside each sign, and few enough columns for paper."""
    import bad_input

    problems: list[str] = []
    page = (ROOT / "explainer" / "reference" / "bad-input.md").read_text(encoding="utf-8")
    shown = bad_input.show(page, RECORD, problems.append)
    assert problems == []
    assert shown.count("<table>") == 3
    assert sorted(way for group in bad_input.GROUPS.values() for way in group) == sorted(WAYS)
    assert max(map(len, bad_input.GROUPS.values())) <= 5
    for name in SUBJECTS:
        assert shown.count(f'#visitwise.{name}">') == 3
    assert shown.count("<td>") == shown.count("aria-label=") == len(SUBJECTS) * len(WAYS)
    bad_input.show("[more](bad-input:more)", RECORD, problems.append)
    bad_input.show("see [more](bad-input:numbers) here", RECORD, problems.append)
    assert len(problems) == 2


def test_every_public_function_and_class_has_a_row_or_a_reason() -> None:
    tried = {".".join(name.split(".")[:2]) for name in SUBJECTS}
    names = {name for name, _ in public()}
    assert {name for name in names - tried if excused(name) is None} == set()
    assert (tried | set(EXCUSED)) - names == set(), "a row or a reason for something that is not there"
    assert tried & set(EXCUSED) == set()


@pytest.mark.parametrize(
    ("careless", "says"),
    [
        (lambda stop: stop.float().mean(), "accepted, with the result"),
        (lambda stop: [1, 2, 3][int(stop[0])], "IndexError: list index out of range"),
        (lambda stop: (_ for _ in ()).throw(ValueError("no")), "ValueError: no"),
    ],
    ids=["takes anything", "crashes", "says nothing"],
)
def test_the_catalogue_notices_who_does_not_look(careless: Callable[[Tensor], object], says: str) -> None:
    with pytest.raises(WrongError, match=re.escape(says)):
        outcome_of(Subject(careless, lambda: {"stop": t(1, 2)}), "stop", "huge")


def test_the_catalogue_notices_a_wrong_answer_and_a_hand_that_writes() -> None:
    def blind(stop: Tensor) -> Tensor:
        return stop if stop.is_contiguous() else -stop

    def rough(stop: Tensor) -> Tensor:
        return stop.mul_(0)

    with pytest.raises(WrongError, match="the clean equivalent gives"):
        outcome_of(Subject(blind, lambda: {"stop": t(1, 2)}), "stop", "strided")
    with pytest.raises(WrongError, match="was written to"):
        outcome_of(Subject(rough, lambda: {"stop": t(1, 2)}), "stop", "read-only")


# ------------------------------------------------------------------------------------------------------- in full length


def t(*values: object) -> Tensor:
    return torch.tensor(values)


def logits(*, patients: int = 2, width: int = 3) -> Tensor:
    return torch.linspace(-2, 1, patients * width).reshape(patients, width)


def logits_with(value: float, at: tuple[int, int]) -> Tensor:
    changed = logits()
    changed[at] = value
    return changed


def record(**changes: object) -> Visits:
    """Patients 31 (two visits) and 47 (one visit), with changes."""
    given: dict[str, object] = {
        "codes": [[["a"], ["b", "a"]], [["b"]]],
        "day": [[0, 30], [5]],
        "patient_id": [31, 47],
        "schema": Schema.of(["a", "b"], static=["age"], measurements=["weight"]),
        "static": [[50.0], [60.0]],
        "measurements": [[[70.0], [NAN]], [[80.0]]],
    }
    return Visits.from_lists(**{**given, **changes})  # type: ignore[arg-type]


def arrays(**changes: object) -> Visits:
    visits = record()
    return Visits(**{name: changes.get(name, getattr(visits, name)) for name in Visits.__dataclass_fields__})  # type: ignore[arg-type]


def cohort(*patient_ids: int) -> Cohort:
    visits = Visits.from_lists([[["a"]]] * len(patient_ids), [[0]] * len(patient_ids), patient_id=patient_ids)
    return Cohort(visits, Outcome.of(torch.ones(len(patient_ids), dtype=torch.long), torch.zeros(len(patient_ids))))


def head_with_sigmoid(*last: torch.nn.Module) -> Tensor:
    """Hazards as the usual network returns them: probabilities, `[patient, visit]`."""
    weight = torch.ones(4, 1, requires_grad=True)
    return torch.nn.Sequential(torch.nn.Sigmoid(), *last)(torch.linspace(-1, 1, 24).reshape(2, 3, 4) @ weight)


ROWS, SEEN = t(3, 2), t(True, False)
NO_SUCH_PATIENT = torch.zeros(0, dtype=torch.long)
FLAT = logits().flatten()
FROM_SIGMOID = "hazard_logits come straight from a sigmoid or softmax; pass the logits that went into it"

LIKELIHOOD: dict[str, tuple[Callable[[], object], str]] = {
    "event past the width": (
        lambda: F.hazard_nll(logits(), t(3, 4), SEEN),
        "stop is 4 for the patient at index 1, past the last visit; expected at most 3",
    ),
    "event past the patient's own record": (
        lambda: F.hazard_nll_flat(logits()[0], t(0, 1, 3), t(1, 3), SEEN),
        "stop is 3 for the patient at index 1, past the last visit; expected at most 2",
    ),
    "stop of 0": (
        lambda: F.hazard_nll(logits(), t(3, 0), SEEN),
        "stop is 0 for the patient at index 1; expected at least one row after start, so above 0",
    ),
    "stop below 0, as for nobody's event": (
        lambda: F.hazard_nll(logits(), t(-1, 2), SEEN),
        "stop is -1 for the patient at index 0; expected at least one row after start, so above 0",
    ),
    "stop of 0 in flat rows": (
        lambda: F.hazard_nll_flat(FLAT, t(0, 3, 6), t(3, 0), SEEN),
        "stop is 0 for the patient at index 1; expected at least one row after start, so above 0",
    ),
    "patient without a row": (
        lambda: F.hazard_nll_flat(FLAT, t(0, 6, 6), t(3, 1), SEEN),
        "stop is 1 for the patient at index 1, past the last visit; expected at most 0",
    ),
    "start not before stop": (
        lambda: F.hazard_nll(logits(), ROWS, SEEN, start=t(1, 2)),
        "stop is 2 for the patient at index 1; expected at least one row after start, so above 2",
    ),
    "start below 0": (
        lambda: F.hazard_nll(logits(), ROWS, SEEN, start=t(0, -1)),
        "start is -1 for the patient at index 1; expected 0 or more",
    ),
    "stop of one interval past the end, at a visit": (
        lambda: F.hazard_nll(torch.zeros(2, 2, 3), t((1, 2), (4, 1)), torch.ones(2, 2).bool()),
        "stop is 4 for the patient at index [1, 0], past the last visit; expected at most 3",
    ),
    "observed as a column": (
        lambda: F.hazard_nll(logits(), ROWS, SEEN[:, None]),
        "observed has shape [2, 1]; expected [2], one for each patient",
    ),
    "stop as a column": (
        lambda: F.hazard_nll(logits(), ROWS[:, None], SEEN),
        "stop has shape [2, 1]; expected [2], one for each patient",
    ),
    "start as a column": (
        lambda: F.hazard_nll(logits(), ROWS, SEEN, start=t(0, 0)[:, None]),
        "start has shape [2, 1]; expected [2], one for each patient",
    ),
    "exposure as a column": (
        lambda: F.hazard_nll(logits(), ROWS, SEEN, censored_exposure=t(1.0, 0.5)[:, None]),
        "censored_exposure has shape [2, 1]; expected a number or [2]",
    ),
    "one stop for all": (
        lambda: F.hazard_nll(logits(), t(3), SEEN),
        "stop has shape [1]; expected [2], one for each patient",
    ),
    "logits with the axis of the head still on": (
        lambda: F.hazard_nll(logits()[..., None], ROWS, SEEN),
        "stop has shape [2]; expected [2, 3], one for each patient",
    ),
    "observed as a column, flat": (
        lambda: F.hazard_nll_flat(FLAT, t(0, 3, 6), ROWS, SEEN[:, None]),
        "observed has shape [2, 1]; expected [2], one for each patient",
    ),
    "observed as numbers": (
        lambda: F.hazard_nll(logits(), ROWS, t(1.0, 0.0)),
        "observed has dtype torch.float32; expected bool (True where the event was seen)",
    ),
    "stop and observed swapped": (
        lambda: F.hazard_nll(logits(), SEEN, ROWS),
        "stop has dtype torch.bool; expected whole numbers",
    ),
    "stop as a time": (
        lambda: F.hazard_nll(logits(), t(2.5, 1.0), SEEN),
        "stop has dtype torch.float32; expected whole numbers",
    ),
    "start as a time": (
        lambda: F.hazard_nll(logits(), ROWS, SEEN, start=t(0.0, 0.5)),
        "start has dtype torch.float32; expected whole numbers",
    ),
    "NaN on a row that counts": (
        lambda: F.hazard_nll(logits_with(NAN, (1, 1)), ROWS, SEEN),
        "hazard logit of the patient at index 1, row 1, is nan; expected a finite number",
    ),
    "infinity on a row that counts": (
        lambda: F.hazard_nll(logits_with(-math.inf, (0, 0)), ROWS, SEEN),
        "hazard logit of the patient at index 0, row 0, is -inf; expected a finite number",
    ),
    "half precision that overflowed": (
        lambda: F.hazard_nll(logits_with(1e6, (0, 2)).half(), ROWS, SEEN),
        "hazard logit of the patient at index 0, row 2, is inf; expected a finite number",
    ),
    "NaN on a flat row is named by the patient's own row": (
        lambda: F.hazard_nll_flat(logits_with(NAN, (1, 1)).flatten(), t(0, 3, 6), ROWS, SEEN),
        "hazard logit of the patient at index 1, row 1, is nan; expected a finite number",
    ),
    "NaN in one of several intervals": (
        lambda: F.hazard_nll(torch.full((1, 2, 3), NAN), t((3, 1)), torch.ones(1, 2).bool()),
        "hazard logit of the patient at index [0, 0], row 0, is nan; expected a finite number",
    ),
    "probabilities from a sigmoid": (
        lambda: F.hazard_nll(torch.sigmoid(logits().requires_grad_()), ROWS, SEEN),
        FROM_SIGMOID,
    ),
    "hazards from our own function": (
        lambda: F.hazard_nll(F.hazard(logits().requires_grad_()), ROWS, SEEN),
        FROM_SIGMOID,
    ),
    "probabilities from a head that ends in a sigmoid": (
        lambda: F.hazard_nll(head_with_sigmoid()[..., 0], ROWS, SEEN),
        FROM_SIGMOID,
    ),
    "probabilities, squeezed": (lambda: F.hazard_nll(head_with_sigmoid().squeeze(-1), ROWS, SEEN), FROM_SIGMOID),
    "probabilities, flattened and in half": (
        lambda: F.hazard_nll_flat(head_with_sigmoid(torch.nn.Flatten(0)).bfloat16(), t(0, 3, 6), ROWS, SEEN),
        FROM_SIGMOID,
    ),
    "probabilities, padded from flat rows": (
        lambda: F.hazard_nll(record().pad(torch.sigmoid(torch.zeros(3, requires_grad=True))), t(2, 1), SEEN),
        FROM_SIGMOID,
    ),
    "probabilities from a softmax": (
        lambda: HazardNLL()(logits().requires_grad_().softmax(-1), ROWS, SEEN),
        FROM_SIGMOID,
    ),
    "logits that are whole numbers": (
        lambda: F.hazard_nll(torch.zeros(2, 3, dtype=torch.long), ROWS, SEEN),
        "hazard_logits has dtype torch.int64; expected a floating point type",
    ),
    "exposure above 1": (
        lambda: F.hazard_nll(logits(), ROWS, SEEN, censored_exposure=1.5),
        "censored_exposure is 1.5; expected 0 to 1",
    ),
    "exposure of one patient below 0": (
        lambda: F.hazard_nll(logits(), ROWS, SEEN, censored_exposure=t(0.5, -0.25)),
        "censored_exposure is -0.25 for the patient at index 1; expected 0 to 1",
    ),
    "exposure not known": (
        lambda: HazardNLLFlat(censored_exposure=NAN)(FLAT, t(0, 3, 6), ROWS, SEEN),
        "censored_exposure is nan; expected 0 to 1",
    ),
    "unknown reduction": (
        lambda: F.hazard_nll(logits(), ROWS, SEEN, reduction="average"),  # type: ignore[arg-type]
        "reduction is 'average'; expected 'mean', 'sum' or 'none'",
    ),
    "empty batch": (
        lambda: F.hazard_nll(torch.zeros(0, 3), NO_SUCH_PATIENT, NO_SUCH_PATIENT.bool()),
        "there is no patient to take a loss over: the batch is empty",
    ),
    "offsets that end early": (
        lambda: F.hazard_nll_flat(FLAT, t(0, 3, 5), ROWS, SEEN),
        "offsets run from [0] to [5]; expected 0 to 6",
    ),
    "offsets that fall": (
        lambda: F.hazard_nll_flat(FLAT, t(0, 7, 6), ROWS, SEEN),
        "offsets fall to 6 for the patient at index 1; expected them never to fall",
    ),
    "person-period rows of nobody's time": (
        lambda: F.person_period(t(2, 0), SEEN),
        "stop is 0 for the patient at index 1; expected at least one row after start, so above 0",
    ),
    "person-period with observed as a column": (
        lambda: F.person_period(ROWS, SEEN[:, None]),
        "observed has shape [2, 1]; expected [2], one for each patient",
    ),
}

PROBABILITIES: dict[str, tuple[Callable[[], object], str]] = {
    "logits passed as hazards": (
        lambda: F.logits_from_hazard(t((0.5, 0.5), (0.5, -2.1972246))),
        "hazard at index [1, 1] is -2.19722; expected a probability from 0 to 1 (were logits passed?)",
    ),
    "logits passed as survival": (
        lambda: F.logits_from_survival(t(1.25, 0.5)),
        "survival at index 0 is 1.25; expected a probability from 0 to 1 (were logits passed?)",
    ),
    "hazard not known": (
        lambda: F.logits_from_hazard(t(0.1, NAN)),
        "hazard at index 1 is nan; expected a probability from 0 to 1 (were logits passed?)",
    ),
    "survival that rises": (
        lambda: F.logits_from_survival(t((0.9, 0.8), (0.5, 0.75))),
        "survival at index [1, 1] is 0.75, above the value before it",
    ),
    "event probabilities beyond 1": (
        lambda: F.logits_from_event_probability(t(0.5, 0.75)),
        "event probabilities up to index 1 leave -0.25 for survival; they may sum to 1 at most",
    ),
    "event probability below 0": (
        lambda: F.logits_from_event_probability(t(0.5, -0.25)),
        "event probability at index 1 is -0.25; expected a probability from 0 to 1 (were logits passed?)",
    ),
    "cumulative hazard that falls": (
        lambda: F.logits_from_cumulative_hazard(t(0.5, 0.25)),
        "cumulative hazard changes by -0.25 at index 1; it starts at 0 and never falls",
    ),
    "cumulative hazard below 0": (
        lambda: F.logits_from_cumulative_hazard(t(-0.5, 0.25)),
        "cumulative hazard changes by -0.5 at index 0; it starts at 0 and never falls",
    ),
}

RECORDS: dict[str, tuple[Callable[[], object], str]] = {
    "visits out of order": (
        lambda: record(day=[[30, 0], [5]]),
        "patient 31 has a visit on day 0.0, not after the one before it; expected rising days",
    ),
    "two visits on one day": (
        lambda: record(day=[[7, 7], [5]]),
        "patient 31 has a visit on day 7.0, not after the one before it; expected rising days",
    ),
    "visit without a day": (
        lambda: record(day=[[0, 30], [NAN]]),
        "patient 47 has a visit on day nan; expected a finite number",
    ),
    "unknown code": (
        lambda: record(codes=[[["a"], ["b"]], [["z"]]]),
        "patient 47 has the code 'z'; expected one of the schema's 2",
    ),
    "padding as a code": (
        lambda: record(codes=[[["a"], ["b"]], [["<padding>"]]]),
        "patient 47 has the code '<padding>'; expected one of the schema's 2",
    ),
    "code number past the schema": (
        lambda: arrays(codes=t(1, 2, 1, 3)),
        "patient 47 has the code 3; expected 1 to 2",
    ),
    "code number of the padding": (
        lambda: arrays(codes=t(1, 0, 1, 2)),
        "patient 31 has the code 0; expected 1 to 2",
    ),
    "text where a list of codes is meant": (
        lambda: Visits.from_lists([["flu", "fever"]], day=[[0, 1]]),
        "patient 0 has the text 'flu' for a visit; expected a list of codes",
    ),
    "patient without a visit": (
        lambda: record(codes=[[["a"], ["b"]], []], day=[[0, 30], []], measurements=[[[1.0], [2.0]], []]),
        "patient 47 has 0 visits; expected at least one",
    ),
    "patient without a visit, in arrays": (
        lambda: arrays(visit_offsets=t(0, 3, 3)),
        "patient 47 has 0 visits; expected at least one",
    ),
    "no patient": (lambda: Visits.from_lists([], []), "there are 0 patients; expected at least one"),
    "nobody selected": (lambda: record().select(NO_SUCH_PATIENT), "0 patients are selected; expected at least one"),
    "more days than visits": (
        lambda: record(day=[[0, 30], [5, 6]]),
        "patient 47 has codes for 1 visits and days for 2; expected as many",
    ),
    "measurements shifted from one patient to the next": (
        lambda: record(measurements=[[[70.0]], [[71.0], [80.0]]]),
        "patient 31 has codes for 2 visits and measurements for 1; expected as many",
    ),
    "days of too few patients": (
        lambda: record(day=[[0, 30]]),
        "there are days of 1 patients and 2 ids; expected as many",
    ),
    "ids of too few patients": (
        lambda: record(patient_id=[31]),
        "there are codes of 2 patients and 1 ids; expected as many",
    ),
    "patient twice": (lambda: record(patient_id=[31, 31]), "patient 31 appears twice; expected every id once"),
    "static feature not known": (
        lambda: record(static=[[50.0], [NAN]]),
        "patient 47 has a static feature that is nan; expected finite numbers",
    ),
    "static features of too few patients": (
        lambda: record(static=[[50.0]]),
        "static has shape [1, 1]; expected [2, 1]",
    ),
    "infinite measurement": (
        lambda: record(measurements=[[[70.0], [math.inf]], [[80.0]]]),
        "patient 31 has an infinite measurement on day 30.0; expected numbers or NaN",
    ),
    "measurement that the schema does not name": (
        lambda: record(measurements=[[[70.0, 1.0], [71.0, 1.0]], [[80.0, 1.0]]]),
        "measurements has shape [3, 2]; expected [3, 1]",
    ),
    "offsets that fall": (
        lambda: arrays(code_offsets=t(0, 3, 1, 4)),
        "code_offsets run from 0 to 4; expected 0 to 4, never falling",
    ),
    "offsets that end early": (
        lambda: arrays(visit_offsets=t(0, 1, 2)),
        "visit_offsets run from 0 to 2; expected 0 to 3, never falling",
    ),
    "schema without padding": (
        lambda: Schema(("a", "b")),
        "the code names begin with ('a',); expected '<padding>' first",
    ),
    "schema with a name twice": (
        lambda: Schema.of(["a", "b", "a"]),
        "the codes names hold 'a' twice; expected each name once",
    ),
    "cut beyond the record": (
        lambda: record().select(t(1, 0), t(1, 3)),
        "patient 31 is cut to 3 visits; expected 1 to 2",
    ),
    "cut to nothing": (
        lambda: record().select(t(1, 0), t(0, 1)),
        "patient 47 is cut to 0 visits; expected 1 to 1",
    ),
    "one cut for all": (
        lambda: record().select(t(1, 0), t(1)),
        "length has shape [1]; expected [2], one a patient",
    ),
    "box of another batch": (
        lambda: record().unpad(torch.zeros(2, 3)),
        "values of shape [2, 3]; expected [2, 2] patients and visits first",
    ),
    "packed values of another batch": (
        lambda: record().unpack(torch.nn.utils.rnn.pack_sequence([t(1.0, 2.0)])),
        "2 values are packed; expected 3, one a visit",
    ),
}

COHORTS: dict[str, tuple[Callable[[], object], str]] = {
    "event beyond the record": (
        lambda: Cohort(record(), Outcome.of(t(1, 2), t(1, 1))),
        "patient 47 stops at row 2, beyond the last recorded visit; expected at most 1",
    ),
    "outcomes of more patients": (
        lambda: Cohort(record(), Outcome.of(t(1, 1, 1), t(1, 0, 1))),
        "visits of 2 patients, outcomes of 3; expected as many",
    ),
    "stop of 0": (
        lambda: Outcome.of(t(1, 0), t(1, 0)),
        "patient 1 stops at row 0; expected more than its start, 0",
    ),
    "start after stop": (
        lambda: Outcome.of(t(1, 2), t(1, 0), start=t(0, 3)),
        "patient 1 stops at row 2; expected more than its start, 3",
    ),
    "start below 0": (
        lambda: Outcome.of(t(1, 2), t(1, 0), start=t(0, -2)),
        "patient 1 starts at row -2; expected 0 or more",
    ),
    "observed neither 0 nor 1": (
        lambda: Outcome.of(t(1, 2), t(1, 2)),
        "patient 1 has observed = 2; expected 0 or 1",
    ),
    "observed not known": (
        lambda: Outcome.of(t(1, 2), t(NAN, 1.0)),
        "patient 0 has observed = nan; expected 0 or 1",
    ),
    "observed as a column": (
        lambda: Outcome.of(t(1, 2), t((2,), (0,))),
        "observed has shape [2, 1]; expected [2], one a patient",
    ),
    "cause below 0": (
        lambda: Outcome.of(t(1, 2), t(1, 0), cause=t(1, -1)),
        "patient 1 has the cause -1; expected 0 (censored), 1, 2, ...",
    ),
    "cause of a censored patient": (
        lambda: Outcome.of(t(1, 2), t(1, 0), cause=t(1, 2)),
        "patient 1 has the cause 2, which disagrees with observed",
    ),
    "cause as a fraction": (
        lambda: Outcome.of(t(1, 2), t(1, 0), cause=t(1.0, 0.0)),
        "cause has dtype torch.float32; expected whole numbers",
    ),
    "stop as a time": (
        lambda: Outcome.of(t(1.5, 2.0), t(1, 0)),
        "stop has dtype torch.float32; expected whole numbers",
    ),
    "start as a column": (
        lambda: Outcome.of(t(1, 2), t(1, 0), start=t((0,), (0,))),
        "start has shape [2, 1]; expected [2], one a patient",
    ),
    "exposure above 1": (
        lambda: Outcome.of(t(1, 2), t(1, 0), censored_exposure=t(1.0, 30.0)),
        "patient 1 has the censored exposure 30.0; expected 0 to 1",
    ),
    "followed for less than no time": (
        lambda: Outcome.of(t(1, 2), t(1, 0), followup_days=t(NAN, -3.0)),
        "patient 1 is followed for -3.0 days; expected 0 or more, or NaN",
    ),
    "followed for ever": (
        lambda: Outcome.of(t(1, 2), t(1, 0), followup_days=t(math.inf, 3.0)),
        "patient 0 is followed for inf days; expected 0 or more, or NaN",
    ),
    "patient in two splits": (
        lambda: require_disjoint(cohort(1, 2, 3), cohort(4, 3, 2)),
        "patient 2 is in two cohorts (2 such patients); expected each once",
    ),
    "patient in two joined cohorts": (
        lambda: Cohort.concat([cohort(1, 2), cohort(2)]),
        "patient 2 is in two cohorts (1 such patients); expected each once",
    ),
    "cohorts of two vocabularies": (
        lambda: Cohort.concat([cohort(1), Cohort(record(), Outcome.of(t(1, 1), t(1, 1)))]),
        "the cohorts have 2 different schemas; expected one",
    ),
    "no cohort": (lambda: Cohort.concat([]), "no cohort to join; expected at least one"),
    "nobody selected": (lambda: cohort(1).select(NO_SUCH_PATIENT), "0 patients are selected; expected at least one"),
    "shares beyond the whole": (
        lambda: cohort(1, 2, 3).split([0.8, 0.4], seed=0),
        "the shares are [0.8, 0.4]; expected positive numbers that sum to 1",
    ),
    "share below 0": (
        lambda: cohort(1, 2, 3).split([1.5, -0.5], seed=0),
        "the shares are [1.5, -0.5]; expected positive numbers that sum to 1",
    ),
    "no share": (
        lambda: cohort(1, 2, 3).split([], seed=0),
        "the shares are []; expected positive numbers that sum to 1",
    ),
    "part without a patient": (
        lambda: cohort(1, 2, 3).split([0.9, 0.1], seed=0),
        "3 patients are too few for parts of [0.9, 0.1]; expected one in each",
    ),
    "batch of nobody": (
        lambda: next(cohort(1, 2).batches(0, seed=0)),
        "batch_size is 0; expected at least 1",
    ),
    "window of no batch": (
        lambda: next(cohort(1, 2).batches(2, seed=0, window=0)),
        "window is 0; expected at least 1",
    ),
}


def test_what_the_tables_change_one_thing_in_is_fine() -> None:
    """Otherwise a line of a table could be refused for a mistake it did not mean to make."""
    F.hazard_nll(logits(), ROWS, SEEN, start=t(0, 1), censored_exposure=t(1.0, 0.5))
    F.hazard_nll_flat(FLAT, t(0, 3, 6), ROWS, SEEN)
    F.hazard_nll(torch.zeros(2, 2, 3), t((1, 2), (3, 1)), torch.ones(2, 2).bool())
    Cohort(arrays(), Outcome.of(t(2, 1), t(1, 0), start=t(1, 0), cause=t(2, 0), followup_days=t(NAN, 3.0)))
    require_disjoint(*cohort(1, 2, 3).split([0.6, 0.4], seed=0))


@pytest.mark.parametrize(
    ("mistake", "answer"),
    [
        pytest.param(*line, id=f"{name}: {mistake}")
        for name, table in (
            ("likelihood", LIKELIHOOD),
            ("probabilities", PROBABILITIES),
            ("records", RECORDS),
            ("cohorts", COHORTS),
        )
        for mistake, line in table.items()
    ],
)
def test_mistake_is_answered(mistake: Callable[[], object], answer: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(answer)}$"):
        mistake()


def test_probabilities_multiplied_by_something_that_is_learned_pass_for_logits() -> None:
    """A gate inside a network is no mistake: only values that come from a sigmoid unchanged are refused."""
    gated = torch.sigmoid(logits().requires_grad_()) * 3 - 2
    assert F.hazard_nll(gated, ROWS, SEEN).isfinite()


def test_logits_that_happen_to_lie_between_0_and_1_are_no_mistake() -> None:
    assert F.hazard_nll(torch.full((2, 3), 0.5), ROWS, SEEN).isfinite()
