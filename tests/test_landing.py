"""The landing page's figure: its arithmetic is the package's, and a reader can move it, or read it without a script."""

import json
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.browser import served
from tests.built import ROOT, built
from visitwise.check import likelihood
from visitwise.functional import hazard_nll, logits_from_hazard

FIGURE = ROOT / "explainer" / "assets" / "three-answers.js"
FORMULAS = {
    "hazardNll": hazard_nll,
    "dropCensoredRow": likelihood.drop_censored_row,
    "countEventRowTwice": likelihood.count_event_row_twice,
}
IN_NODE = """
import * as figure from {module};
const cases = JSON.parse(await new Response(process.stdin).text());
const answers = cases.map(([hazard, observed]) => {names}.map((name) => figure[name](hazard, observed)));
console.log(JSON.stringify(answers));
"""


def by_package(hazard: list[float], observed: bool) -> list[float]:
    logits = logits_from_hazard(torch.tensor([hazard], dtype=torch.float64))
    record = torch.tensor([len(hazard)]), torch.tensor([observed])
    return [float(formula(logits, *record)) for formula in FORMULAS.values()]


def test_the_figures_arithmetic_is_the_packages() -> None:
    import node

    random = np.random.default_rng(0)
    hazards = [
        [0.1, 0.2, 0.3],
        [0.15, 0.25],
        [0.01],
        [0.99, 0.99, 0.99],
        *random.uniform(0.01, 0.99, (300, 3)).tolist(),
    ]
    cases = [(hazard, observed) for hazard in hazards for observed in (False, True)]
    script = IN_NODE.format(module=json.dumps(FIGURE.as_uri()), names=json.dumps(list(FORMULAS)))
    command = [node.node(), "--input-type=module", "--eval", script]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, check=True)
    np.testing.assert_allclose(json.loads(done.stdout), [by_package(*case) for case in cases], rtol=1e-12, atol=1e-12)


@pytest.fixture(scope="module")
def page(browser) -> Iterator:  # type: ignore[no-untyped-def]
    with served(built().site) as address:
        page = browser.new_page()
        page.goto(address + "/")
        page.wait_for_selector("three-answers[data-out]")
        yield page
        page.close()


def out(page) -> list[float]:  # type: ignore[no-untyped-def]
    return list(json.loads(page.locator("three-answers").get_attribute("data-out")))


@pytest.mark.browser
def test_untouched_it_shows_the_surprise(page) -> None:  # type: ignore[no-untyped-def]
    np.testing.assert_allclose(out(page), by_package([0.1, 0.2, 0.3], False), atol=1e-12)
    assert page.locator("three-answers .answer strong").all_text_contents() == ["0.685", "0.329 ✗ wrong", "0.685"]


@pytest.mark.browser
def test_the_keyboard_moves_a_hazard_and_ends_the_story(page) -> None:  # type: ignore[no-untyped-def]
    last = page.get_by_label("after visit 2")
    last.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    np.testing.assert_allclose(out(page), by_package([0.1, 0.2, 0.4], False), atol=1e-12)
    assert last.get_attribute("aria-valuetext") == "hazard after visit 2: 40 percent"
    page.get_by_label("event in the last interval").check()
    np.testing.assert_allclose(out(page), by_package([0.1, 0.2, 0.4], True), atol=1e-12)
    page.get_by_role("button", name="Start again").press("Enter")
    np.testing.assert_allclose(out(page), by_package([0.1, 0.2, 0.3], False), atol=1e-12)


@pytest.mark.browser
def test_it_is_there_again_after_leaving_and_coming_back(page) -> None:  # type: ignore[no-untyped-def]
    page.get_by_role("link", name="Read chapter 1").click()
    page.wait_for_url("**/01-hazard-to-likelihood/")
    page.go_back()
    page.wait_for_selector("three-answers[data-out]")
    np.testing.assert_allclose(out(page), by_package([0.1, 0.2, 0.3], False), atol=1e-12)


@pytest.mark.browser
def test_without_a_script_a_table_says_the_same(browser) -> None:  # type: ignore[no-untyped-def]
    with served(built().site) as address:
        page = browser.new_page(java_script_enabled=False)
        page.goto(address + "/")
        cells = page.locator("[data-live] td").all_text_contents()
        page.close()
    censored, event = by_package([0.1, 0.2, 0.3], False), by_package([0.1, 0.2, 0.3], True)
    for row, (name, one, other) in enumerate(zip(cells[::3], censored, event, strict=True)):
        assert name in FIGURE.read_text(encoding="utf-8")
        assert cells[3 * row + 1].startswith(f"{one:.3f}")
        assert cells[3 * row + 2].startswith(f"{other:.3f}")
