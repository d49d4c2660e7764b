"""Pages on paper: no navigation, still pictures and tables instead of figures, nothing cut off."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import bring_to_life, served
from tests.built import built

PAPER = {"width": 680, "height": 1009}  # A4 without margins of 15 mm, in CSS pixels
PAGES = ["/", "/02-per-visit-bce/", "/06-packing/", "/13-scale/", "/references/", "/notebooks/05_codes_to_hazards/"]

SHOWN = """(selector) => [...document.querySelectorAll(selector)].filter((one) => one.getClientRects().length).length"""
TOO_WIDE = """(width) => [...document.querySelectorAll("article :is(table, svg, img, pre, .strip, .vw-formula, p)")]
  .filter((one) => one.getBoundingClientRect().right > width + 1)
  .map((one) => one.outerHTML.slice(0, 120))"""
TOO_HIGH = """(height) => [...document.querySelectorAll("article :is(svg, img)")]
  .filter((one) => one.getBoundingClientRect().height > height).length"""
AFTER = """() => [...document.querySelectorAll("article a")]
  .filter((one) => !["none", "normal"].includes(getComputedStyle(one, "::after").content)).length"""
SPLIT = """() => [...document.querySelectorAll("article :is(svg, tr, pre, .vw-formula)")]
  .filter((one) => one.getClientRects().length && !one.closest(".katex"))
  .filter((one) => !one.closest("svg svg") && getComputedStyle(one).breakInside !== "avoid")
  .map((one) => one.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def printed(browser: Any) -> Iterator[dict[str, Any]]:
    """Each page as it is just before it is printed, for a reader who had it in dark colours."""
    pages = {}
    with served(built().site) as address:
        for url in PAGES:
            page = pages[url] = browser.new_page(viewport=PAPER, color_scheme="dark")
            page.goto(address + url, wait_until="load")
            bring_to_life(page)
            page.emulate_media(media="print", color_scheme="dark")
            page.evaluate("dispatchEvent(new Event('beforeprint'))")
        yield pages
        for page in pages.values():
            page.close()


@pytest.mark.browser
@pytest.mark.parametrize("url", PAGES)
def test_only_the_page_itself_is_printed(printed: dict[str, Any], url: str) -> None:
    page = printed[url]
    for gone in (".md-header", ".md-sidebar", ".md-footer__inner", ".md-search", ".headerlink", ".vw-download"):
        assert page.evaluate(SHOWN, gone) == 0, gone
    assert page.evaluate(AFTER) == 0, "a link prints its target"
    assert page.evaluate(SHOWN, "h1") == 1
    assert page.evaluate("getComputedStyle(document.querySelector('article')).color") == "rgb(27, 31, 36)"
    assert "Numbers computed with" in page.locator(".md-copyright").inner_text()


@pytest.mark.browser
@pytest.mark.parametrize("url", PAGES)
def test_nothing_is_cut_off(printed: dict[str, Any], url: str) -> None:
    page = printed[url]
    assert page.evaluate(TOO_WIDE, PAPER["width"]) == []
    assert page.evaluate(TOO_HIGH, PAPER["height"]) == 0
    assert page.evaluate(SPLIT) == []


@pytest.mark.browser
@pytest.mark.parametrize("url", PAGES[:3])
def test_a_figure_is_its_still_picture_and_its_table(printed: dict[str, Any], url: str) -> None:
    page = printed[url]
    live = page.evaluate("document.querySelectorAll('.vw-live').length")
    assert live
    assert page.evaluate(SHOWN, ".vw-live > .vw-still") == live
    assert page.evaluate(SHOWN, ".vw-live > :not(.vw-still)") == 0
    assert page.evaluate(SHOWN, ".vw-still table") >= live
    assert page.evaluate("document.querySelectorAll('details:not([open])').length") == 0
