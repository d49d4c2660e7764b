"""A definition says everything that was chosen, survives being written down, and refuses what it cannot mean."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from visitwise.definition import CohortDefinition, longest_name, stands_for

pytestmark = pytest.mark.usefixtures("unchecked")

PLAIN = CohortDefinition(("STROKE",), "code:END")
FULL = CohortDefinition(
    outcome=("ICD10CM//I63", "ICD10CM//I64 stroke"),
    end_of_follow_up="table:ends of 2024.parquet",
    competing=(("MEDS_DEATH",), ("MOVED", "Förflyttad")),
    index=("DIABETES",),
    visit="column:hadm_id",
    washout_days=365.25,
    blanking_days=14,
    censored_exposure=0.25,
    minimum_history_days=180,
    minimum_visits=2,
    never_input=("SECRET",),
    min_patients=3,
    measurements=("LAB//HbA1c",),
    faulty="drop",
    seed=7,
)


@pytest.mark.parametrize("definition", [PLAIN, FULL], ids=["plain", "full"])
def test_written_down_and_read_again_a_definition_is_the_same(definition: CohortDefinition, tmp_path: Path) -> None:
    assert CohortDefinition.from_toml(definition.to_toml()) == definition
    (tmp_path / "definition.toml").write_text(definition.to_toml(), encoding="utf-8")
    if definition.end_table is None:
        assert CohortDefinition.load(tmp_path / "definition.toml") == definition
    assert hash(CohortDefinition.from_mapping(definition.to_mapping())) == hash(definition)


@pytest.mark.parametrize("given", ["ends.csv", "../ends.csv", "below/ends.csv"])
def test_a_table_lies_relative_to_the_file_that_names_it(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "defined").mkdir()
    file = tmp_path / "defined" / "definition.toml"
    file.write_text(f'outcome = ["A"]\nend_of_follow_up = "table:{given}"', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    definition = CohortDefinition.load("defined/definition.toml")
    expected = {
        "ends.csv": tmp_path / "defined" / "ends.csv",
        "../ends.csv": tmp_path / "ends.csv",
        "below/ends.csv": tmp_path / "defined" / "below" / "ends.csv",
    }
    assert definition.end_table == expected[given]
    # Written down elsewhere and read again, it is the same table.
    elsewhere = tmp_path / "elsewhere.toml"
    elsewhere.write_text(definition.to_toml(), encoding="utf-8")
    assert CohortDefinition.load(elsewhere) == definition


def test_an_absolute_path_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "definition.toml"
    file.write_text('outcome = ["A"]\nend_of_follow_up = "table:/data/ends.csv"', encoding="utf-8")
    assert CohortDefinition.load(file).end_of_follow_up == "table:/data/ends.csv"


def test_whole_numbers_of_days_and_lists_of_names_are_taken_as_they_are_meant() -> None:
    given = CohortDefinition.from_toml('outcome = ["A"]\nend_of_follow_up = "last record"\nblanking_days = 7')
    assert given == CohortDefinition(("A",), "last record", blanking_days=7.0)
    assert isinstance(given.blanking_days, float)


def test_a_name_stands_for_codes_that_go_on_and_not_for_others_that_begin_alike() -> None:
    assert stands_for("A//", "A")
    assert stands_for("A", "A//b//c")
    assert stands_for("A", "A title")
    assert not stands_for("A", "A.1")
    assert not stands_for("A", "AB")
    assert not stands_for("A//b", "A")


def test_the_longest_name_that_fits_decides() -> None:
    assert longest_name(["EVENT", "EVENT//2"], "EVENT//2") == 1
    assert longest_name(["EVENT//2", "EVENT"], "EVENT//3") == 1
    assert longest_name([], "EVENT") is None


def test_the_end_of_a_day_is_meant_where_no_time_of_day_is_given() -> None:
    assert replace(PLAIN, end_of_follow_up="date:2024-02-29").end_time == datetime(2024, 2, 29, 23, 59, 59, 999_999)
    assert replace(PLAIN, end_of_follow_up="date:2024-02-29T12:00").end_time == datetime(2024, 2, 29, 12)
    assert PLAIN.end_time is None
    assert (PLAIN.end_code, PLAIN.end_table) == ("END", None)
    assert FULL.end_table == Path("ends of 2024.parquet")


@pytest.mark.parametrize(
    ("visit", "hours", "column"),
    [("day", None, None), ("gap:90m", 1.5, None), ("gap:1.5d", 36.0, None), ("column:hadm id", None, "hadm id")],
)
def test_the_visit_rule_is_read_from_its_text(visit: str, hours: float | None, column: str | None) -> None:
    definition = replace(PLAIN, visit=visit)
    assert (definition.visit_gap_hours, definition.encounter_column) == (hours, column)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"outcome": ()}, "outcome is empty; expected at least one code that records the event"),
        ({"outcome": "STROKE"}, "outcome is 'STROKE'; expected a list of codes"),
        ({"outcome": ("A", "A")}, "outcome holds 'A' twice; expected each code once"),
        ({"outcome": ("//",)}, "outcome holds '//'; expected the name of a code"),
        ({"outcome": (3,)}, "outcome holds 3; expected the name of a code"),
        ({"competing": ("DEATH",)}, "competing group 2 is 'DEATH'; expected a list of codes"),
        ({"competing": ((),)}, r"competing is \(\(\),\); expected at least one code in each group"),
        ({"competing": (("STROKE//",),)}, "the code 'STROKE//' records cause 1 and cause 2; expected one of them"),
        ({"outcome": ("END",)}, "the code 'END' records cause 1 and the end of follow-up; expected one of them"),
        ({"end_of_follow_up": "2024-12-31"}, "end_of_follow_up is '2024-12-31'; expected 'code:NAME', .*"),
        ({"end_of_follow_up": "code:"}, "end_of_follow_up is 'code:'; expected 'code:NAME', .*"),
        ({"end_of_follow_up": "date:31.12.2024"}, "end_of_follow_up is .*; expected a date such as .*"),
        ({"end_of_follow_up": "date:2024-12-31T00:00+01:00"}, ".*, with a time zone; expected none, as in the events"),
        ({"visit": "week"}, "visit is 'week'; expected 'day', 'column:NAME' or a gap such as 'gap:24h'"),
        ({"visit": "gap:0h"}, "visit is 'gap:0h'; expected .*"),
        ({"washout_days": -1}, "washout_days is -1; expected a number of days, 0 or more"),
        ({"blanking_days": None}, "blanking_days is None; expected a number of days, 0 or more"),
        ({"blanking_days": float("nan")}, "blanking_days is nan; expected a number of days, 0 or more"),
        ({"censored_exposure": 1.5}, "censored_exposure is 1.5; expected a share, 0 to 1"),
        ({"censored_exposure": float("nan")}, "censored_exposure is nan; expected a share, 0 to 1"),
        ({"censored_exposure": True}, "censored_exposure is True; expected a share, 0 to 1"),
        ({"censored_exposure": None}, "censored_exposure is None; expected a share, 0 to 1"),
        ({"minimum_history_days": "7"}, "minimum_history_days is '7'; expected a number of days, 0 or more"),
        ({"minimum_visits": 0}, "minimum_visits is 0; expected a whole number, 1 or more"),
        ({"min_patients": 1.5}, "min_patients is 1.5; expected a whole number, 1 or more"),
        ({"seed": True}, "seed is True; expected a whole number, 0 or more"),
        ({"measurements": "all"}, "measurements is 'all'; expected a list of codes"),
        ({"faulty": "ignore"}, "faulty is 'ignore'; expected 'refuse' or 'drop'"),
    ],
)
def test_an_impossible_choice_is_named(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        replace(PLAIN, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('outcome = ["A"]', "the definition has no 'end_of_follow_up'; expected one, because it is never guessed"),
        ('outcom = ["A"]', "the definition has the key 'outcom'; expected one of outcome, end_of_follow_up, .*"),
        ('outcome = ["A"]\nend_of_follow_up = 2024-12-31', "end_of_follow_up is datetime.date.*; expected .*"),
        ("outcome = [", ".*"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_by_its_name(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "definition.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"(?s)^{path}: {sentence}$"):
        CohortDefinition.load(path)
