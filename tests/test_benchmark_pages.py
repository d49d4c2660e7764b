"""What a benchmark recorded reaches a page as it was written down, with the machine it was measured on."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.built import ROOT

# isort: split
import facts
import links

import benchmarks

RESULTS = ROOT / "tests" / "benchmarks" / "results"
RECORD = {
    "title": "As fast as padded.",
    "columns": ["Visits", "Packed"],
    "rows": [["15 each", "0.79 [0.77, 0.87]"], ["1 < 8", "2.20 [2.19, 2.24]"]],
    "machine": "one slow core",
    "torch": "2.13.0",
    "python": "3.11.7",
    "date": "2026-11-22",
    "turns": 7,
    "facts": {"speed_even": 0.79, "speed_tail": 2.2},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "made_up")
    return tmp_path


def write(folder: Path, name: str, **changed: Any) -> None:
    (folder / f"{name}.json").write_text(json.dumps(RECORD | changed))


def test_a_record_becomes_a_table_that_names_the_machine(folder: Path) -> None:
    text = benchmarks.show("Before.\n\n[a table](bench:made_up)\n\nAfter.\n", folder, pytest.fail)
    assert text.startswith("Before.\n\n<div")
    assert text.endswith("</div>\n\nAfter.\n")
    assert '<th scope="col">Packed</th>' in text
    assert '<tr><th scope="row">15 each</th><td>0.79 [0.77, 0.87]</td></tr>' in text
    assert "<strong>a table.</strong> As fast as padded. Recorded 2026-11-22, one slow core, torch 2.13.0" in text
    assert "Python 3.11.7, 7 turns.</p>" in text


def test_words_of_a_record_are_no_html(folder: Path) -> None:
    assert "1 &lt; 8" in benchmarks.show("[a table](bench:made_up)", folder, pytest.fail)


def test_a_table_that_was_counted_names_no_turns(tmp_path: Path) -> None:
    counted = {key: value for key, value in RECORD.items() if key != "turns"}
    (tmp_path / "memory.json").write_text(json.dumps(counted))
    assert "turns" not in benchmarks.show("[a table](bench:memory)", tmp_path, pytest.fail)


@pytest.mark.parametrize("name", ["absent", "", "../made_up", "made_up.json"])
def test_an_unknown_record_is_reported(folder: Path, name: str) -> None:
    problems: list[str] = []
    assert benchmarks.show(f"[a table](bench:{name})", folder, problems.append) == ""
    assert problems == [f"`bench:{name}` names no record of a benchmark"]


def test_a_record_of_another_folder_is_unknown(folder: Path) -> None:
    problems: list[str] = []
    (folder / "inner").mkdir()
    assert benchmarks.show("[a table](bench:../made_up)", folder / "inner", problems.append) == ""
    assert problems == ["`bench:../made_up` names no record of a benchmark"]


def test_a_record_in_the_middle_of_a_sentence_is_reported(folder: Path) -> None:
    problems: list[str] = []
    benchmarks.show("See [a table](bench:made_up).", folder, problems.append)
    assert problems == ["`[a table](bench:made_up)` shows a benchmark and has to stand alone on its line"]


def test_a_record_that_is_not_whole_is_reported(tmp_path: Path) -> None:
    problems: list[str] = []
    write(tmp_path, "short", rows=[["15 each"]])
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "empty.json").write_text('{"title": "", "rows": [], "columns": []}')
    for name in ("short", "broken", "empty"):
        assert benchmarks.show(f"[a table](bench:{name})", tmp_path, problems.append) == ""
    assert problems[0] == "short.json is no record of a benchmark: a cell of a row missing"
    assert problems[1].startswith("broken.json is no record of a benchmark: `title`, ")
    assert problems[2].startswith("empty.json is no record of a benchmark: `machine`, ")
    assert len(problems) == 3


def test_numbers_of_all_records_are_facts_with_the_file_they_stand_in(folder: Path) -> None:
    write(folder, "other", facts={"memory": 84.0})
    found = benchmarks.published(folder, pytest.fail)
    assert found == {
        "speed_even": facts.Fact(0.79, "made_up.json"),
        "speed_tail": facts.Fact(2.2, "made_up.json"),
        "memory": facts.Fact(84.0, "other.json"),
    }
    assert ">2.20</span>" in facts.quote("[2.20](fact:speed_tail)", found, pytest.fail)


def test_a_name_in_two_records_is_reported(folder: Path) -> None:
    problems: list[str] = []
    write(folder, "other")
    benchmarks.published(folder, problems.append)
    assert problems == [
        "the fact `speed_even` is in made_up.json and in other.json",
        "the fact `speed_tail` is in made_up.json and in other.json",
    ]


def test_code_that_shows_the_syntax_is_left_alone(folder: Path) -> None:
    text = "```\n[a table](bench:made_up)\n```\n"
    assert links.outside_code(text, lambda part: benchmarks.show(part, folder, pytest.fail)) == text


# ------------------------------------------------------------------------------------------------ what is committed


def test_committed_records_are_whole_and_share_no_name() -> None:
    names = [path.stem for path in RESULTS.glob("*.json")]
    assert {"packing", "packing_settings", "packing_memory"} <= set(names)
    assert benchmarks.published(RESULTS, pytest.fail)
    for name in names:
        assert benchmarks.show(f"[a table](bench:{name})", RESULTS, pytest.fail).startswith("<div")


@pytest.mark.parametrize("name", ["packing", "packing_settings"])
def test_each_ratio_of_a_committed_record_is_a_fact_between_its_quartiles(name: str) -> None:
    record = json.loads((RESULTS / f"{name}.json").read_text())
    known, shown = record["facts"], [cell for row in record["rows"] for cell in row[3:]]
    medians = [key for key in known if key.startswith("bench_speed_") and f"{key}_low" in known]
    assert len(medians) == len(shown) == 3 * len(record["rows"])
    for key, cell in zip(medians, shown, strict=True):
        low, middle, high = (known[part] for part in (f"{key}_low", key, f"{key}_high"))
        assert low <= middle <= high
        middle_shown, low_shown, high_shown = map(float, re.findall(r"\d+\.\d+", cell))
        assert [low_shown, middle_shown, high_shown] == pytest.approx([low, middle, high], abs=0.0051)


def test_a_committed_record_names_no_host() -> None:
    import platform

    for path in RESULTS.glob("*.json"):
        text = path.read_text()
        assert platform.node() not in json.loads(text)["machine"]
        assert "/home" not in text
