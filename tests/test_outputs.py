"""A fresh run of each notebook prints what was accepted: the same words, and the same numbers to a stated tolerance."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import accepted
from tests.built import ROOT, built

NAMES = sorted(path.stem for path in (ROOT / "notebooks").glob("*.py"))
TABLE = "     NLL\nAda  1.532477\nBen  1.548813"


def notebook(*texts: str, tags: tuple[str, ...] = ()) -> dict[str, Any]:
    cells = []
    for number, text in enumerate(texts, start=1):
        output = {"output_type": "execute_result", "data": {"text/plain": [text]}, "metadata": {}}
        cells.append(
            {
                "cell_type": "code",
                "source": [f"line_{number}\n", "more"],
                "execution_count": number,
                "metadata": {"tags": [*tags]},
                "outputs": [output] if text else [],
            }
        )
    return {"cells": [{"cell_type": "markdown", "source": ["0.5"], "metadata": {}}, *cells]}


def told(before: str, after: str, *tags: str) -> list[str]:
    kept = accepted.read(accepted.write(accepted.printed(notebook(before, tags=tags))))
    return accepted.differences(kept, accepted.printed(notebook(after, tags=tags)))


@pytest.mark.parametrize("name", NAMES)
def test_fresh_run_prints_what_was_accepted(name: str) -> None:
    path = accepted.ACCEPTED / f"{name}.txt"
    assert path.exists(), "nothing was accepted yet; read what the notebook prints, then run `make accept`"
    executed = built().project / "explainer" / "notebooks" / f"{name}.ipynb"
    assert executed.exists(), built().notebooks.stderr
    fresh = accepted.printed(json.loads(executed.read_text(encoding="utf-8")))
    problems = accepted.differences(accepted.read(path.read_text(encoding="utf-8")), fresh)
    assert problems == [], f"notebooks/{name}.py prints otherwise; if that is meant, run `make accept`"


def test_nothing_is_kept_of_a_notebook_that_is_gone() -> None:
    assert {path.stem for path in accepted.ACCEPTED.glob("*.txt")} <= set(NAMES)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (TABLE, TABLE),
        (TABLE, "       NLL\nAda  1.53248\nBen  1.54881"),
        ("tensor([0.1000, -2.5e-07])", "tensor([ 0.1000, -2.5e-07])"),
        ("5.5e-17 of 1,364", "-1.1e-16 of 1,364"),
        ("torch.Size([2, 3]) and 3. or 0.5.", "torch.Size([2, 3]) and 3. or 0.50001."),
        ("1,364.50 and [1,2]", "1,364.51 and [1,2]"),
    ],
)
def test_same_words_and_numbers_within_the_tolerance_agree(before: str, after: str) -> None:
    assert told(before, after) == []


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("nll = 1.7714", "nll = 1.7814", "it prints 1.7814, accepted was 1.7714"),
        ("nll = 0.504", "nll = 0.505", "it prints 0.505, accepted was 0.504"),
        ("nll = 0.5", "nll = -0.5", "it prints -0.5, accepted was 0.5"),
        ("1,364 deaths", "1,365 deaths", "it prints 1,365, accepted was 1,364"),
        ("Ada 0.5", "Ben 0.5", "it says `Ben`, accepted was `Ada`"),
        ("nan of 3", "inf of 3", "it says `inf of`, accepted was `nan of`"),
        ("h_2 0.5", "h_3 0.5", "it says `h_3`, accepted was `h_2`"),
        ("1 2", "1 2 3", "it prints 3 numbers, accepted were 2"),
        ("True", "False", "it says `False`, accepted was `True`"),
    ],
)
def test_another_word_or_number_is_told_with_both(before: str, after: str, problem: str) -> None:
    assert told(before, after) == [f"cell 1, `line_1`: {problem}"]


def test_cell_tagged_loose_may_differ_in_the_last_digit_and_in_no_count() -> None:
    assert told("0.654 and 0.06", "0.656 and 0.07", "loose") == []
    assert told("0.654", "0.656") != []
    assert told("0.654", "0.664", "loose") != []
    assert told("12 epochs", "13 epochs", "loose") != []


def test_cell_that_is_new_silent_or_another_is_told() -> None:
    before, after = accepted.printed(notebook("1", "2", "")), accepted.printed(notebook("", "2", "3"))
    assert accepted.differences(before, after) == [
        "cell 1 prints nothing, and did not before",
        "cell 3 prints something, and did not before",
    ]
    other = [accepted.Cell(1, "another", False, "1"), before[1]]
    assert accepted.differences(before, other) == ["cell 1 is another one: `another`, accepted was `line_1`"]


def test_streams_pictures_and_facts_are_compared_by_their_text() -> None:
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["\x1b[1mbold\x1b[0m \n", "line\n"]},
        {"output_type": "display_data", "data": {"image/svg+xml": "<svg>", "text/plain": ["A line falls."]}},
        {"output_type": "display_data", "data": {"application/x": {}, "text/plain": ["nll = 0.5"]}},
    ]
    cell = {"cell_type": "code", "source": ["x"], "execution_count": 7, "metadata": {}, "outputs": outputs}
    assert accepted.printed({"cells": [cell]}) == [
        accepted.Cell(7, "x", False, "bold\nline\n\nA line falls.\nnll = 0.5")
    ]


def test_accepting_writes_what_changed_and_forgets_what_is_gone(tmp_path: Path) -> None:
    executed, kept = tmp_path / "executed", tmp_path / "kept"
    executed.mkdir()
    (executed / "01_x.ipynb").write_text(json.dumps(notebook("0.5", "0.6", tags=("loose",))))
    assert accepted.accept(executed, kept) == ["01_x"]
    assert (kept / "01_x.txt").read_text() == ("=== cell 1 (loose): line_1\n0.5\n\n=== cell 2 (loose): line_2\n0.6\n")
    assert accepted.read((kept / "01_x.txt").read_text()) == accepted.printed(notebook("0.5", "0.6", tags=("loose",)))
    assert accepted.accept(executed, kept) == []
    (executed / "01_x.ipynb").rename(executed / "02_y.ipynb")
    assert accepted.accept(executed, kept) == ["01_x", "02_y"]
    assert [path.name for path in kept.iterdir()] == ["02_y.txt"]
