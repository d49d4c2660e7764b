"""What a reader has to wait for: a page's bytes, what moves while it loads, and what comes only when it is wanted."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import pages
from tests.browser import packed, page_urls, served
from tests.built import ROOT, built

# isort: split
import live
import notebooks
import weight

LINKED = re.compile(r'<(?:link rel="(?:stylesheet|icon)" href|script (?:defer )?(?:type="module" )?src)="([^"]+)"')
AHEAD = re.compile(r'<link rel="modulepreload" fetchpriority="low" href="([^"]+)"')
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
