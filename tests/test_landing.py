"""The landing page's figure: its arithmetic is the package's, and a reader can move it, or read it without a script."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import figures
from tests.browser import served
from tests.built import built
from visitwise.check import likelihood
from visitwise.functional import hazard_nll, logits_from_hazard

NAMES = {"likelihood": "the likelihood", "dropped": "censored row left out", "twice": "event row counted twice"}
FORMULAS = {
    "likelihood": hazard_nll,
    "dropped": likelihood.drop_censored_row,
    "twice": likelihood.count_event_row_twice,
}


def by_package(hazards: list[float], ending: str) -> dict[str, float]:
    logits = logits_from_hazard(torch.tensor([hazards], dtype=torch.float64))
    record = torch.tensor([len(hazards)]), torch.tensor([ending == "event"])
    return {name: float(formula(logits, *record)) for name, formula in FORMULAS.items()}


def test_the_figures_arithmetic_is_the_packages(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    hazards = [[0.1, 0.2, 0.3], [0.01] * 3, [0.99] * 3, *np.round(random.uniform(0.01, 0.99, (300, 3)), 2).tolist()]
    cases = [
        ({"hazards": one, "ending": end}, by_package(one, end)) for one in hazards for end in ("censored", "event")
    ]
    (tmp_path / "cases.json").write_text(json.dumps({"given": {}, "cases": cases}), encoding="utf-8")
    module = built().site / "assets" / "three-answers.js"
    assert figures.compare([{"module": str(module), "fixture": str(tmp_path / "cases.json")}]) == [[]]


@pytest.fixture(scope="module")
def page(browser) -> Iterator:  # type: ignore[no-untyped-def]
    with served(built().site) as address:
        page = browser.new_page()
        page.goto(address + "/")
        page.wait_for_selector("[data-live] [data-out]")
        yield page
        page.close()


def shows(page, hazards: list[float], ending: str) -> bool:  # type: ignore[no-untyped-def]
    out = json.loads(page.locator("[data-live] [data-out]").get_attribute("data-out"))
    return figures.differences(out, by_package(hazards, ending)) == []


@pytest.mark.browser
def test_untouched_it_shows_the_surprise(page) -> None:  # type: ignore[no-untyped-def]
    assert shows(page, [0.1, 0.2, 0.3], "censored")
    said = page.locator("[data-live] svg text.end").all_text_contents()
    assert said == ["0.685", "0.329 ✗ wrong", "0.685"]


@pytest.mark.browser
def test_the_keyboard_moves_a_hazard_and_ends_the_story(page) -> None:  # type: ignore[no-untyped-def]
    last = page.get_by_label("hazard after visit 2")
    last.focus()
    page.keyboard.press("PageUp")
    assert shows(page, [0.1, 0.2, 0.4], "censored")
    assert last.get_attribute("aria-valuetext") == "hazard after visit 2: 40 percent"
    page.get_by_label("event in the last interval").check()
    assert shows(page, [0.1, 0.2, 0.4], "event")
    page.get_by_role("button", name="Start again").press("Enter")
    assert shows(page, [0.1, 0.2, 0.3], "censored")


@pytest.mark.browser
def test_it_is_there_again_after_leaving_and_coming_back(page) -> None:  # type: ignore[no-untyped-def]
    page.get_by_role("link", name="Read chapter 1").click()
    page.wait_for_url("**/01-hazard-to-likelihood/")
    page.go_back()
    page.wait_for_selector("[data-live] [data-out]")
    assert shows(page, [0.1, 0.2, 0.3], "censored")


@pytest.mark.browser
def test_without_a_script_a_table_says_the_same(browser) -> None:  # type: ignore[no-untyped-def]
    with served(built().site) as address:
        page = browser.new_page(java_script_enabled=False)
        page.goto(address + "/")
        cells = page.locator("[data-live] td").all_text_contents()
        page.close()
    censored, event = by_package([0.1, 0.2, 0.3], "censored"), by_package([0.1, 0.2, 0.3], "event")
    for name, row in zip(NAMES, (cells[:3], cells[3:6], cells[6:]), strict=True):
        assert row[0] == NAMES[name]
        assert row[1].startswith(f"{censored[name]:.3f}")
        assert row[2].startswith(f"{event[name]:.3f}")
