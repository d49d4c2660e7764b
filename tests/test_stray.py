"""A decimal or a percentage that somebody typed is found wherever it is read, and nothing else is."""

import json
from pathlib import Path

import pytest

from tests.built import ROOT

# isort: split
import pages
import stray


@pytest.mark.parametrize(
    ("markdown", "numbers"),
    [
        ("A loss of 0.5, or .5.", ["0.5", ".5"]),
        ("A loss of 1e-7 or 2.5e-3", ["1e-7", "2.5e-3"]),
        ("50% and 50 % and 24 percent and 24.5 per cent", ["50%", "50 %", "24 percent", "24.5 per cent"]),
        ("1,364.5 people, section 4.1, torch 2.13.0", ["1,364.5", "4.1", "2.13.0"]),
        ("from 0.5-0.7 to −0.9", ["0.5", "0.7", "0.9"]),
        ("*0.1* **0.2** _0.3_ ~0.4 <0.6", ["0.1", "0.2", "0.3", "0.4", "0.6"]),
        (r"$\frac{.5}{2} + x_{0.25}$ and $50\%$", [".5", "0.25", r"50\%"]),
        ("## A heading of 0.5\n\n| a | 0.1 |\n| --- | --- |\n", ["0.5", "0.1"]),
        ("- an item of 0.5\n\n1. another of 0.7\n", ["0.5", "0.7"]),
        ("`torch.full((3,), 0.5)`", ["0.5"]),
        ("[a link of 0.5](there-0.7.md)", ["0.5"]),
        ("![a picture of 0.5](there-0.7.svg)", ["0.5"]),
        ('[a title](there.md "of 0.5")\n\n[x]: https://example.org/0.1 "of 0.7"', ["0.5", "0.7"]),
        ('<img src="0.1.svg" alt="falls to 0.5" width="0.2">', ["0.5"]),
        ("<div markdown>\n\n0.5 in a block\n\n</div>", ["0.5"]),
        ("`[0.5](fact:shown_as_code)`", ["0.5"]),
        ("a < 0.5 and b > 0.7", ["0.5", "0.7"]),
    ],
)
def test_typed_number_is_found_wherever_it_is_read(markdown: str, numbers: list[str]) -> None:
    assert [number for number, _ in stray.find(markdown)] == numbers


@pytest.mark.parametrize(
    "markdown",
    [
        "Visit 2 of 3. Ends in 3.\n\n3. A third item, v1, 1,364 people in 2024-01-02, 1/2 and $10^{-7}$.",
        "[0.5](fact:x), **[0.5](fact:x)**, [`1e-7`](fact:x), [**28.3%**](fact:x) and torch [2.13](as-is:version)",
        "| [0.5](fact:x) | [50%](fact:y) |",
        "<summary>[0.5](fact:x)</summary>",
        "```\n0.5\n```\n\n~~~text\n50%\n~~~\n",
        "<https://example.org/0.5> https://example.org/0.5 [x](https://example.org/a_(b)_0.5)",
        '<div style="width: 50%" data-value="0.5">x</div> <!-- 0.5 -->\n\n<style>a { width: 50% }</style>\n',
        "## Heading { #section-0.5 }\n\n[x](y.md){: width=50% }",
        "[x](01-x.md#a-0.5), `survival_2`, `test_50_patients`, h_0.",
    ],
)
def test_checked_number_structure_and_what_is_not_read_are_left_alone(markdown: str) -> None:
    assert stray.find(markdown) == []


def test_report_names_the_number_and_the_line_as_it_is_written() -> None:
    problems: list[str] = []
    stray.check("First.\n\n  [0.7](fact:x) and 0.5 stay.\n", problems.append)
    assert problems == [
        "`0.5` is typed and not checked, in the line `[0.7](fact:x) and 0.5 stay.`; "
        "quote a fact or mark it `[..](as-is:kind)`"
    ]


def test_mark_becomes_its_text_also_in_a_code_span_and_code_that_holds_it_is_left_alone() -> None:
    written = "[2.13](as-is:version) [`2.13.1+cpu`](as-is:version) [1993](as-is:year) [I50.9](as-is:identifier)"
    assert stray.unmark(written, pytest.fail) == "2.13 `2.13.1+cpu` 1993 I50.9"
    code = "`[2.13](as-is:version)`\n\n```\n[2.13](as-is:version)\n```\n"
    assert stray.unmark(code, pytest.fail) == code


def test_mark_of_another_kind_is_reported_and_leaves_no_dead_link() -> None:
    problems: list[str] = []
    assert (
        stray.unmark("[0.5](as-is:result) [0.5](as-is:year) [half](as-is:version)", problems.append) == "0.5 0.5 half"
    )
    assert problems == [
        "`[0.5](as-is:result)` is of no kind that may stand as it is; expected version, year, identifier",
        "`[0.5](as-is:year)` is no year",
        "`[half](as-is:version)` is no version",
    ]


def test_number_typed_in_an_alt_text_is_found_in_its_constant_parts_alone() -> None:
    problems: list[str] = []
    cells = [
        'show(figure, alt="Falls to 0.5 " f"and {x:.2f}, that is {table[\'0.7\']:.1%}, at visit 2.")',
        "words = f'Rises by {x:.0%} or 50%'",
        "notebook.show(figure, words)",
        "show(figure, alt=f'{0.25}' + ' is a quarter')",
        "other('0.5')",
    ]
    stray.check_alt_texts(cells, problems.append)
    assert [problem.partition(" is typed")[0] for problem in problems] == ["`0.5`", "`50%`", "`0.25`"]
    assert "compute it" in problems[0]


@pytest.mark.parametrize("path", sorted((ROOT / "explainer").rglob("*.md")), ids=lambda path: path.stem)
def test_no_page_states_a_number_that_nothing_checks(path: Path) -> None:
    assert stray.find(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_no_notebook_states_a_number_that_nothing_checks(path: Path) -> None:
    problems: list[str] = []
    import jupytext

    notebook = json.loads(jupytext.writes(jupytext.read(path), "ipynb"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            stray.check("".join(cell["source"]), problems.append)
    stray.check_alt_texts(pages.code(notebook), problems.append)
    assert problems == []
