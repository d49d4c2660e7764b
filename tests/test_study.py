"""Flows that add up, and a cohort with its split, dates and definition, in memory and on disk."""

import json
import pickle
from pathlib import Path

import pytest
import torch

from visitwise.cohort import Cohort
from visitwise.definition import CohortDefinition
from visitwise.simulate import TEACHING
from visitwise.study import SPLITS, Flow, Study, texts_of

DEFINITION = CohortDefinition(("EVENT",), "code:END", competing=(("DEATH",),), visit="gap:12h")


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return TEACHING.draw(60, seed=3).cohort


def flow(patients: int = 5, excluded: int = 2, **dropped: int) -> Flow:
    kept = {"patients": patients - excluded, "visits": 9}
    return Flow({"files": 1, "records": 40, "patients": patients}, {"no visit": excluded}, dropped, kept)


# ----------------------------------------------------------------------------------------------------------------- flow


def test_the_flows_of_two_shards_add_up_to_the_flow_of_both() -> None:
    both = flow(5, 2, late=3) + flow(7, 1, double=1, late=4)
    assert both == Flow(
        {"files": 2, "records": 80, "patients": 12}, {"no visit": 3}, {"double": 1, "late": 7},
        {"patients": 9, "visits": 18},
    )  # fmt: skip


def test_reasons_stay_in_the_order_in_which_they_were_checked() -> None:
    first, second = flow(a=1, c=1), flow(a=1, b=1, c=1, d=1)
    assert list((first + second).dropped) == list((second + first).dropped) == ["a", "b", "c", "d"]
    assert list((flow(c=1) + flow(a=1)).dropped) == ["a", "c"]


def test_a_warning_of_both_shards_is_said_once() -> None:
    one = Flow({"patients": 1}, {}, {}, {"patients": 1}, ("follow-up ends at the last record", "odd"))
    assert (one + one).warnings == ("follow-up ends at the last record", "odd")


def test_a_flow_that_does_not_add_up_is_refused() -> None:
    with pytest.raises(ValueError, match="5 patients were read, 1 excluded and 3 kept"):
        Flow({"patients": 5}, {"no visit": 1}, {}, {"patients": 3})
    with pytest.raises(ValueError, match="dropped has -1 for 'late'"):
        Flow({"patients": 1}, {}, {"late": -1}, {"patients": 1})
    with pytest.raises(ValueError, match="expected 'patients'"):
        Flow({"records": 5}, {}, {}, {"patients": 5})


def test_a_flow_survives_json_in_its_order() -> None:
    before = flow(5, 2, z=1, a=2)
    after = Flow.from_json(before.to_json())
    assert after == before
    assert list(after.dropped) == ["z", "a"]


@pytest.mark.parametrize("text", ["[]", "{}", '{"read": 3}', "no json"])
def test_what_is_no_flow_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="this is no flow"):
        Flow.from_json(text)


def test_a_printed_flow_names_each_reason_once_and_leaves_out_those_nobody_had() -> None:
    said = repr(Flow({"patients": 1_005}, {"no visit": 5, "too young": 0}, {}, {"patients": 1_000}, ("odd",)))
    assert said.splitlines() == [
        "read: 1,005 patients",
        "  |-- excluded: 5 patients",
        "  |     5  no visit",
        "kept: 1,000 patients",
        "! odd",
    ]


def test_a_printed_flow_has_one_patient_and_not_one_patients() -> None:
    kept = {"patients": 1, "visits": 2, "unknown codes": 1}
    said = repr(Flow({"files": 1, "patients": 2}, {"no visit": 1}, {"after the death": 1}, kept))
    assert said.splitlines() == [
        "read: 1 file, 2 patients",
        "  |-- excluded: 1 patient",
        "  |     1  no visit",
        "  |-- dropped: 1 record of the patients kept",
        "  |     1  after the death",
        "kept: 1 patient, 2 visits, 1 unknown code",
    ]


# ---------------------------------------------------------------------------------------------------------------- study


def test_a_cohort_is_split_as_training_splits_it(cohort: Cohort) -> None:
    study = Study.of(cohort, seed=4)
    for part, wanted in zip(SPLITS, cohort.split([0.70, 0.15, 0.15], seed=4), strict=True):
        assert getattr(study, part).visits.patient_id.tolist() == wanted.visits.patient_id.tolist()
        assert study.positions(part).tolist() == (study.split == SPLITS.index(part)).nonzero()[:, 0].tolist()
    assert torch.equal(study.train.outcome.stop, cohort.outcome.stop[study.split == 0])


def test_a_pickled_part_carries_its_own_patients_alone(cohort: Cohort) -> None:
    study = Study.of(cohort)
    whole, part = len(pickle.dumps(cohort)), study.held_out
    own = len(pickle.dumps(cohort.select(study.positions("held_out"))))
    assert own < whole / 3
    for _ in range(2):  # before its arrays were asked for, and after
        pickled = pickle.dumps(part)
        assert len(pickled) < 1.1 * own
        again = pickle.loads(pickled)
        for name in ("codes", "code_offsets", "visit_offsets", "day", "patient_id", "static", "measurements"):
            assert torch.equal(getattr(again.visits, name), getattr(part.visits, name)), name
        assert torch.equal(again.outcome.stop, part.outcome.stop)
        assert (again.visits.n_visits, again.visits.schema) == (part.visits.n_visits, part.visits.schema)
        few = again.select(torch.tensor([2, 0])), pickle.loads(pickle.dumps(again))[[2, 0]]
        assert [one.visits.codes.tolist() for one in few] == [
            part.select(torch.tensor([2, 0])).visits.codes.tolist()
        ] * 2


def test_a_pickled_study_does_not_carry_its_patients_twice(cohort: Cohort) -> None:
    study, asked = Study.of(cohort), Study.of(cohort)
    _ = asked.train.visits.codes, asked.tuning, asked.held_out
    assert len(pickle.dumps(asked)) == len(pickle.dumps(study))
    again = pickle.loads(pickle.dumps(asked))
    assert torch.equal(again.train.visits.codes, study.train.visits.codes)


def test_a_part_without_patients_is_an_error_when_it_is_asked_for(cohort: Cohort) -> None:
    study = Study(cohort, torch.zeros(len(cohort), dtype=torch.int8))
    assert len(study.train) == len(cohort)
    with pytest.raises(ValueError, match="none of the 60 patients is a held-out patient"):
        _ = study.held_out


def test_one_patient_cannot_be_split(cohort: Cohort) -> None:
    with pytest.raises(ValueError, match="1 patients are too few"):
        Study.of(cohort.select(torch.tensor([0])))


def test_a_study_whose_parts_do_not_fit_is_refused(cohort: Cohort) -> None:
    split = torch.zeros(60, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"is in part 3; expected 0, 1 or 2"):
        Study(cohort, torch.where(torch.arange(60) == 7, 3, split))
    with pytest.raises(
        ValueError, match=r"split is torch.int64 of shape \[59\]; expected one whole number for each of 60"
    ):
        Study(cohort, split[:59])
    with pytest.raises(ValueError, match="there are 2 names of 60 patients"):
        Study(cohort, split, names=("Anna", "Ben"))
    with pytest.raises(ValueError, match="there are 2 shares"):
        Study.of(cohort, fractions=(0.5, 0.5))


def test_a_saved_study_is_a_cohort_folder_and_comes_back_whole(cohort: Cohort, tmp_path: Path) -> None:
    study = Study(
        cohort,
        Study.of(cohort).split,
        torch.arange(60) * 1_000_001,
        Flow({"patients": 61}, {"no visit": 1}, {}, {"patients": 60}, ("odd",)),
        DEFINITION,
        tuple(f"patiënt {number}" for number in range(60)),
    )
    study.save(tmp_path / "study")
    assert torch.equal(Cohort.load(tmp_path / "study").visits.codes, cohort.visits.codes)
    again = Study.load(tmp_path / "study")
    assert (again.flow, again.definition, again.names) == (study.flow, study.definition, study.names)
    assert again.split.dtype == torch.int8
    assert torch.equal(again.split, study.split)
    assert again.origin is not None
    assert torch.equal(again.origin, torch.arange(60) * 1_000_001)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study"]
    assert texts_of(study.flow, study.definition, study.names).keys() == {"flow.json", "study.toml", "names.json"}


def test_a_study_without_dates_or_definition_comes_back_without_them(cohort: Cohort, tmp_path: Path) -> None:
    Study.of(cohort).save(tmp_path / "study")
    again = Study.load(tmp_path / "study")
    assert (again.origin, again.flow, again.definition, again.names) == (None, None, None, None)


def test_a_cohort_without_a_split_is_no_study(cohort: Cohort, tmp_path: Path) -> None:
    cohort.save(tmp_path / "cohort")
    with pytest.raises(FileNotFoundError, match=r"without split.npy"):
        Study.load(tmp_path / "cohort")


def test_a_study_whose_split_was_cut_off_is_refused(cohort: Cohort, tmp_path: Path) -> None:
    Study.of(cohort).save(tmp_path / "study")
    (tmp_path / "study" / "split.npy").write_bytes((tmp_path / "study" / "split.npy").read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"split.npy cannot be read"):
        Study.load(tmp_path / "study")


def test_names_are_kept_as_text(cohort: Cohort, tmp_path: Path) -> None:
    study = Study(cohort, Study.of(cohort).split, names=tuple(f"ß{n}" for n in range(60)))
    study.save(tmp_path / "study")
    assert json.loads((tmp_path / "study" / "names.json").read_text(encoding="utf-8"))[1] == "ß1"
