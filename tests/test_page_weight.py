"""What a reader has to wait for: a page's bytes, what moves while it loads, and what comes only when it is wanted."""

import html
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import pages
from tests.browser import packed, page_urls, restyle, served, start_theme, until
from tests.built import ROOT, built

# isort: split
import live
import notebooks
import weight

LINKED = re.compile(r'<(?:link rel="(?:stylesheet|icon|late)"(?: as="script")? href|script type="late" src)="([^"]+)"')
AHEAD = re.compile(r'<link rel="late" href="([^"]+)"')
LIVE = re.compile(r'data-live="([^"]+)"')
IMPORTED = re.compile(r'(?:from|import) "(\./[^"]+)"')


def modules(first: Path) -> set[Path]:
    """A module and all that it imports."""
    found, left = set(), [first]
    while left:
        module = left.pop().resolve()
        if module not in found:
            found.add(module)
            left += [module.parent / name for name in IMPORTED.findall(module.read_text(encoding="utf-8"))]
    return found


def files(site: Path, url: str) -> set[Path]:
    """A page, and what a reader loads who scrolls to its end, from its HTML alone."""
    page = pages.file_of(site, url).resolve()
    text = page.read_text(encoding="utf-8")
    found = {page, *((page.parent / name.lstrip("/")).resolve() for name in LINKED.findall(text))}
    for name in LIVE.findall(text):
        found |= modules(site / "assets" / f"{name}.js") | modules(site / "assets" / "host.js")
    return found


@pytest.fixture(scope="module")
def site() -> Path:
    assert built().build.returncode == 0, built().build.stderr
    return built().site


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with served(site, as_hosts_do=True) as found:
        yield found


def test_modules_of_figures_are_asked_for_side_by_side(site: Path) -> None:
    for url in page_urls(site):
        page = pages.file_of(site, url).resolve()
        text = page.read_text(encoding="utf-8")
        ahead = {(page.parent / name).resolve() for name in AHEAD.findall(text)}
        first = [f"{name}.js" for name in LIVE.findall(text)]
        needed = [modules(site / "assets" / name) for name in ([*first, "host.js"] if first else [])]
        assert ahead == set().union(*needed), url


def test_every_page_is_light(site: Path) -> None:
    weights = {url: sum(len(packed(file)) for file in files(site, url)) for url in page_urls(site)}
    assert len(weights) > 50
    assert {url: one for url, one in weights.items() if one > pages.limit(url)} == {}


@pytest.mark.browser
@pytest.mark.parametrize("url", pages.KINDS.values())
@pytest.mark.parametrize("width", pages.WIDTHS)
def test_a_page_is_light_and_stands_still_while_it_is_read(
    browser: Any, site: Path, address: str, url: str, width: int
) -> None:
    seen = pages.visit(browser, address, url, width)
    assert pages.weight(site, seen.loaded) <= pages.limit(url), sorted(seen.loaded)
    assert seen.moved < 0.01
    assert not any("search" in path or path.startswith("/assets/given") for path in seen.loaded)
    known = {file.relative_to(site.resolve()).as_posix() for file in files(site, url)} | {"sitemap.xml"}
    loaded = {pages.file_of(site, path).relative_to(site).as_posix() for path in seen.loaded}
    assert {path for path in loaded - known if not path.startswith("assets/fonts/")} == set()


# -------------------------------------------------------------------------------------------------- the theme's script

STARTED = "Boolean(document.querySelector('nav.md-code__nav[aria-label]'))"


@pytest.fixture
def chapter(browser: Any, address: str) -> Iterator[Any]:
    """A page as it stands when nobody has touched anything, its own scripts loaded."""
    with opened(browser, f"{address}/01-hazard-to-likelihood/") as page:
        yield page


@contextmanager
def opened(browser: Any, address: str, **choices: Any) -> Iterator[Any]:
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | choices))
    page = context.new_page()
    page.goto(address, wait_until="networkidle")
    yield page
    context.close()


def is_started(page: Any) -> bool:
    return bool(page.evaluate("Boolean(window.document$)"))


def colours(page: Any) -> str:
    return str(page.evaluate("document.body.dataset.mdColorScheme"))


@pytest.mark.browser
def test_the_theme_starts_with_the_first_sign_of_a_hand(chapter: Any) -> None:
    chapter.wait_for_timeout(500)
    assert not is_started(chapter)
    assert chapter.locator(".md-code__nav").count() == 0
    chapter.mouse.move(400, 400)
    until(chapter, STARTED)


@pytest.mark.browser
@pytest.mark.parametrize("sign", ["scroll", "key", "finger"])
def test_a_scroll_a_key_and_a_finger_are_signs_too(browser: Any, address: str, sign: str) -> None:
    with opened(browser, f"{address}/01-hazard-to-likelihood/", has_touch=True) as page:
        if sign == "scroll":
            page.evaluate("scrollTo(0, 300)")
        elif sign == "key":
            page.keyboard.press("Tab")
        else:
            page.touchscreen.tap(700, 400)
        until(page, STARTED)


@pytest.mark.browser
@pytest.mark.parametrize("key", ["/", "s"])
def test_a_key_opens_the_search_before_the_theme_listens(chapter: Any, key: str) -> None:
    chapter.keyboard.press(key)
    chapter.keyboard.type("censored", delay=60)
    chapter.wait_for_selector(".md-search-result__item")
    assert chapter.input_value(".md-search__input") == "censored"


@pytest.mark.browser
@pytest.mark.parametrize(("key", "page"), [("n", "notebooks/01_hazard_to_likelihood/"), ("p", "map/")])
def test_a_key_leads_to_the_page_beside_before_the_theme_listens(chapter: Any, key: str, page: str) -> None:
    chapter.keyboard.press(key)
    chapter.wait_for_url(f"**/{page}")


@pytest.mark.browser
@pytest.mark.parametrize(("liked", "first", "other"), [("light", "default", "slate"), ("dark", "slate", "default")])
def test_colours_are_the_readers_from_the_first_paint_on(
    browser: Any, address: str, liked: str, first: str, other: str
) -> None:
    with opened(browser, f"{address}/map/", color_scheme=liked) as page:
        assert not is_started(page)
        assert colours(page) == first
        toggle = page.locator("[data-md-component=palette] label:visible")
        # Without a hand, so that the theme's script is not there.
        way = page.locator(f"[data-md-component=palette] [data-md-color-scheme={other}]")
        way.evaluate("way => { way.checked = true; way.dispatchEvent(new Event('change', { bubbles: true })); }")
        assert not is_started(page)
        assert colours(page) == other
        start_theme(page)
        assert colours(page) == other
        page.reload(wait_until="networkidle")
        assert not is_started(page)
        assert colours(page) == other
        toggle.click()
        until(page, "(scheme) => document.body.dataset.mdColorScheme === scheme", arg=first)


@pytest.mark.browser
def test_code_is_copied(browser: Any, address: str) -> None:
    choices = {"permissions": ["clipboard-read", "clipboard-write"]}
    with opened(browser, f"{address}/notebooks/08_training_and_evaluating/", **choices) as page:
        code = page.locator(".highlight > pre:visible").first
        code.hover()
        code.locator(".md-code__button").click()
        until(page, "navigator.clipboard.readText().then((text) => text.length > 0)")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied.strip() == code.locator("code").inner_text().strip()


@pytest.mark.browser
def test_the_drawer_of_a_telephone_opens_and_leads_on(browser: Any, address: str) -> None:
    choices = {"viewport": {"width": 360, "height": 740}, "has_touch": True}
    with opened(browser, f"{address}/map/", **choices) as page:
        first = page.locator(".md-nav--primary a[href$='claims/']")
        assert not first.evaluate("link => link.checkVisibility({ contentVisibilityAuto: true })")
        page.locator(".md-header__button[for=__drawer]").tap()
        until(page, "document.querySelector('.md-sidebar--primary').getBoundingClientRect().left === 0")
        first.tap()
        page.wait_for_url("**/claims/")


# ------------------------------------------------------------------------------------------ laid out when it comes near

PLACE = """(id) => {
  const top = document.getElementById(id).getBoundingClientRect().top;
  const bottom = document.querySelector(".md-header").getBoundingClientRect().bottom;
  return Math.round(top - bottom);
}"""


@pytest.mark.browser
@pytest.mark.parametrize(("url", "heading"), [("/claims/", -9), ("/notebooks/08_training_and_evaluating/", -2)])
def test_a_link_into_a_long_page_leads_to_its_place(browser: Any, address: str, url: str, heading: int) -> None:
    with opened(browser, address + url) as page:
        names = page.evaluate("[...document.querySelectorAll('article :is(h2, h3)[id]')].map((one) => one.id)")
    with opened(browser, f"{address}{url}#{names[heading]}") as page:
        until(page, "Boolean(window.document$)")
        page.wait_for_timeout(700)
        assert 0 <= page.evaluate(PLACE, names[heading]) < 60


@pytest.mark.browser
def test_what_is_far_is_as_high_as_it_will_be(browser: Any, address: str) -> None:
    with opened(browser, f"{address}/notebooks/08_training_and_evaluating/") as page:
        heights = "[...document.querySelectorAll('.highlight > pre, .vw-drawn')].map((one) => one.offsetHeight)"
        before = page.evaluate(heights)
        restyle(page, ".highlight > pre[style], .vw-drawn { content-visibility: visible !important }")
        assert len(before) > 50
        assert page.evaluate(heights) == pytest.approx(before, abs=1)


@pytest.mark.browser
def test_models_that_a_figure_does_not_show_yet_come_when_it_is_taken_hold_of(browser: Any, address: str) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/08-training-and-evaluating/", wait_until="load")
    block = page.locator('[data-live="widgets/training_replay"]')
    block.scroll_into_view_if_needed()
    page.wait_for_selector('[data-live="widgets/training_replay"][data-mounted]')
    assert not any("/given/" in url for url in asked)
    block.dispatch_event("pointerenter")
    page.wait_for_selector('[data-live="widgets/training_replay"]:not([data-later])')
    files = page.evaluate("(block) => JSON.parse(block.dataset.given).files", block.element_handle())
    assert all(len(text) > 1000 for model in files.values() for text in model.values())
    assert sum("/given/" in url for url in asked) == 1
    page.close()


# ----------------------------------------------------------------------------------------------------------- the parts

CSS = """
:root { --used: red; --idle: blue }
.here, .gone { color: var(--used) }
.gone { color: blue }
.here:not(.gone) { top: 0; -webkit-mask: none }
[dir=rtl] .here { left: 0 }
@media print { .gone { top: 0 } }
@media screen { #place .here { top: 0 } }
.mermaid { top: 0 }
"""


def test_a_stylesheet_keeps_what_the_site_can_meet() -> None:
    kept = weight.needed(CSS, weight.words_of(['<p class="here" id="place">gone</p>'], ["const a = 'mermaid'"]))
    assert re.sub(r"\s", "", kept) == (
        ":root{--used:red}.here{color:var(--used)}.here:not(.gone){top:0}@mediascreen{#place.here{top:0}}"
    )


def test_a_name_that_a_script_gives_is_met() -> None:
    used = weight.words_of([], ["list.toggle('lit'); x.className = `md-top`; // plain words are none"])
    assert {"lit", "md-top"} <= used
    assert "plain" not in used


def test_what_the_theme_adds_is_met_where_a_page_asks_for_it() -> None:
    theme = ["x = 'md-annotation'; y = 'md-version'; z = 'md-source__facts'; w = 'rtl'"]
    assert weight.words_of(['<p class="md-typeset">annotate</p>'], theme) == {"md-typeset"}
    settings = '<script id="__config">{"annotate": null, "features": ["%s"], "version": null}</script>'
    assert weight.words_of([settings % "content.code.copy"], theme) == {"__config"}
    assert weight.words_of([settings % "content.code.annotate"], theme) == {"__config", "md-annotation"}
    assert {"md-annotation", "rtl"} <= weight.words_of(['<ol class="annotate" dir="rtl">'], theme)
    assert "md-source__facts" in weight.words_of(['<div class="md-source__icon">'], theme)


def test_a_theme_with_another_script_is_reported_and_left_alone() -> None:
    said: list[str] = []
    assert weight.searching_later("var a = 1", said.append) == "var a = 1"
    assert "searches on every page" in said[0]


def test_a_module_loses_its_comments_and_nothing_else() -> None:
    script = '/** @type {any} */\nconst a = /** @type {any} */ (b);\n  // aside\n  const c = "http://x"; // kept\n'
    assert weight.unannotated(script) == '\nconst a = (b);\nconst c = "http://x"; // kept\n'


def test_what_a_figure_begins_without_is_taken_out_in_order() -> None:
    given = {"files": {"one": {"0": "a", "1": "b"}}, "codes": ["x"]}
    first, texts = live.apart(given, [["files", "one", "1"], ["files", "one", "0"]])
    assert first == {"files": {"one": {}}, "codes": ["x"]}
    assert texts == ["b", "a"]
    assert given["files"]["one"] == {"0": "a", "1": "b"}


def test_a_question_about_what_comes_later_comes_first() -> None:
    """Its answers are computed from models that the page does not carry."""
    notebook = json.loads(notebooks.output_of(ROOT / "notebooks" / "playground.py", ROOT).read_text(encoding="utf-8"))
    record = next(
        output["data"][live.MIME]
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if live.MIME in output.get("data", {})
    )
    artist = live.Artist()
    block = artist.block(record)
    artist.close()
    given = json.loads(html.unescape(re.findall(r'data-given="([^"]*)"', block)[0]))
    assert "bidirectional" not in {name for name, files in given["files"].items() if files}
    assert len({option["label"] for option in given["question"]["options"]}) == 3
    assert "question" not in record["given"]


def test_every_figure_has_its_place_kept() -> None:
    rules = live.room()
    assert [name for name in live.names() if f"widgets/{name}" not in rules] == []
