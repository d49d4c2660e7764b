"""What every chapter promises by its form: code that exists, claims that are held, figures, guesses, exercises."""

import importlib
import re
from pathlib import Path

import pytest

from tests.built import ROOT

PAGES = sorted((ROOT / "explainer").glob("[0-9][0-9]-*.md"))
chapters = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def notebook_of(page: Path) -> str:
    return (ROOT / "notebooks" / f"{page.stem.replace('-', '_')}.py").read_text(encoding="utf-8")


def test_there_is_a_chapter_for_each_topic_and_one_more_for_the_loss_zoo() -> None:
    assert [page.name[:2] for page in PAGES] == [f"{number:02}" for number in sorted([*range(1, 14), 11])]


@chapters
def test_every_code_line_of_a_strip_is_shipped_or_run_by_the_notebook(page: Path) -> None:
    shipped = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "visitwise").rglob("*.py"))
    (strip,) = re.findall(r'<div class="strip".*?\n</div>\n\n', page.read_text(encoding="utf-8"), re.DOTALL)
    lines = re.findall(r"<div markdown>`([^`]+)`</div>", strip)
    assert len(lines) == strip.count('<div tabindex="0"')
    assert [line for line in lines if line not in shipped and line not in notebook_of(page).splitlines()] == []


@chapters
def test_every_claim_of_the_recap_is_held_by_a_test(page: Path) -> None:
    recap = page.read_text(encoding="utf-8").split("\n## Recap\n")[1]
    named = re.findall(r"`(test_\w+)`", recap)
    assert len(named) == len(re.findall(r"^\d\. ", recap, re.MULTILINE)) == 3
    tests = importlib.import_module(f"tests.test_{page.stem.replace('-', '_')}")
    assert [name for name in named if not callable(getattr(tests, name, None))] == []
    assert f"../tests/test_{page.stem.replace('-', '_')}.py" in recap


@chapters
def test_every_figure_on_a_page_is_drawn_by_the_notebook_once(page: Path) -> None:
    placed = re.findall(r'data-figure="(\w+)"', page.read_text(encoding="utf-8"))
    assert 1 <= len(placed) <= 3
    assert [name for name in placed if notebook_of(page).count(f'tags=["figure:{name}"]') != 1] == []


@chapters
def test_a_page_asks_before_it_tells_and_tests_at_the_end(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    expected = ["Predict", "Test yourself", "Where it breaks", "Exercises", "Recap"]
    assert [heading for heading in headings if heading in expected] == expected
    assert re.search(r"\[I\s+know\s+this:\s+test\s+me\.\]\(#test-yourself\)", text)
    for part in ("Predict", "Test yourself"):
        assert text.split(f"\n## {part}\n")[1].split("\n## ")[0].count("<details>") >= 3


@chapters
def test_guesses_and_exercises_come_empty_and_each_exercise_has_a_solution(page: Path) -> None:
    notebook = notebook_of(page)
    assert set(re.findall(r"^guess = (.*)$", notebook, re.MULTILINE)) == {"None"}
    cells = re.findall(r'^# %% tags=\["(exercise|solution)"\]', notebook, re.MULTILINE)
    assert len(cells) >= 4
    assert cells == ["exercise", "solution"] * (len(cells) // 2)
    for number in (1, 2):
        link = f"../notebooks/{page.stem.replace('-', '_')}.py#exercise-{number}"
        assert link in page.read_text(encoding="utf-8")
        assert f"# ### Exercise {number}\n" in notebook
