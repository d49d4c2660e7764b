"""The built site as a reader meets it: links that lead somewhere, no other origin, and a browser's opinion."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from tests.browser import bring_to_life, page_urls, served, start_theme, until
from tests.built import ROOT, built

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
# What is right need not be listed: to name each element of it takes four times as long as to judge it.
JUDGE = "(tags) => axe.run({ runOnly: tags, resultTypes: ['violations'], preload: false })"
WAYS = [(scheme, width) for scheme in ("light", "dark") for width in (360, 1280)]
JUDGED = [("light", 360), ("dark", 1280)]  # each scheme and each width once: axe takes seconds for a long page

UNFOLD = """() => [document, ...[...document.querySelectorAll("*")].map((node) => node.shadowRoot)].forEach(
  (root) => root?.querySelectorAll("details").forEach((fold) => { fold.open = true; }),
)"""


class Page(HTMLParser):
    """What a page links to, loads, names and shows."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.headings = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.names |= {given[name] for name in ("id", "name") if name in given}
        self.headings += tag == "h1"
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in ("script", "img", "iframe", "source") and "src" in given:
            self.loads.append(given["src"])
        if tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.loads.append(given["href"])


@pytest.fixture(scope="module")
def site() -> Path:
    assert built().notebooks.returncode == 0, built().notebooks.stderr
    assert built().build.returncode == 0, built().build.stderr
    return built().site


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {url: Page(site / url.lstrip("/") / "index.html") for url in page_urls(site)}


def test_strict_build_has_nothing_to_say(site: Path) -> None:
    assert site.is_dir()
    assert "WARNING" not in built().build.stderr


def test_every_page_has_one_title(pages: dict[str, Page]) -> None:
    assert {url: page.headings for url, page in pages.items() if page.headings != 1} == {}


def test_every_link_and_anchor_leads_somewhere(site: Path, pages: dict[str, Page]) -> None:
    dead = []
    for url, page in pages.items():
        for link in page.links:
            target = urlsplit(urljoin(f"http://site{url}", link))
            if target.netloc != "site" or target.scheme != "http":
                continue
            if target.path in pages:
                if target.fragment and unquote(target.fragment) not in pages[target.path].names:
                    dead.append((url, link))
            elif not (site / unquote(target.path).lstrip("/")).is_file():
                dead.append((url, link))
    assert dead == []


def test_no_page_loads_anything_from_another_origin(pages: dict[str, Page]) -> None:
    loads = {(url, load) for url, page in pages.items() for load in page.loads}
    assert loads
    assert [(url, load) for url, load in loads if re.match(r"(?:https?:)?//", load)] == []


def test_site_works_in_any_folder(pages: dict[str, Page]) -> None:
    absolute = [(url, x) for url, page in pages.items() for x in page.links + page.loads if x.startswith("/")]
    assert absolute == []


def test_every_module_has_a_reference_page(pages: dict[str, Page]) -> None:
    package = ROOT / "src" / "visitwise"
    modules = {path.stem for path in package.glob("*.py") if not path.stem.startswith("_")}
    modules |= {path.parent.name for path in package.glob("*/__init__.py")}
    documented = {url.split("/")[2] for url in pages if re.fullmatch(r"/reference/\w+/", url)}
    assert documented == modules


def test_notebook_page_carries_no_stylesheet_of_jupyter_and_offers_the_executed_notebook(site: Path) -> None:
    for source in (ROOT / "notebooks").glob("*.py"):
        folder = site / "notebooks" / source.stem
        page = (folder / "index.html").read_text(encoding="utf-8")
        assert "--jp-" not in page
        assert "<style" not in page
        assert f'<a href="{source.stem}.ipynb" download>' in page
        notebook = json.loads((folder / f"{source.stem}.ipynb").read_text())
        assert any(cell.get("outputs") for cell in notebook["cells"])


def test_every_chapters_mistakes_are_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "check" / "index.html").read_text(encoding="utf-8")
    chapters = [path.stem for path in (ROOT / "src" / "visitwise" / "check").glob("*.py") if path.stem != "__init__"]
    assert len(chapters) == len(list((ROOT / "explainer").glob("[0-9][0-9]-*.md")))
    assert [name for name in chapters if f'id="visitwise.check.{name}.' not in page] == []


def test_every_page_says_what_its_numbers_were_computed_with(site: Path) -> None:
    import torch

    for url in page_urls(site):
        text = (site / url.lstrip("/") / "index.html").read_text(encoding="utf-8")
        assert f"PyTorch {torch.__version__.split('+')[0]}" in text, url


def test_formulas_arrive_set(site: Path) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.html"))
    assert "<math" in text
    assert 'class="arithmatex"' not in text


# ------------------------------------------------------------------------------------------------------- a browser


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with served(site) as found:
        yield found


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), WAYS)
def test_pages_are_accessible_quiet_and_fit(
    browser: Any, address: str, pages: dict[str, Page], scheme: str, width: int
) -> None:
    problems: list[tuple[str, object]] = []
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    current = ""
    page.on("console", lambda said: problems.append((current, said.text)) if said.type == "error" else None)
    page.on("pageerror", lambda error: problems.append((current, str(error))))
    page.on("request", lambda request: problems.append((current, request.url)) if _foreign(request, address) else None)
    for current in pages:
        page.goto(address + current, wait_until="load")
        _settle(page)
        bring_to_life(page)
        assert page.evaluate("document.body.dataset.mdColorScheme") == {"light": "default", "dark": "slate"}[scheme]
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wide > 0:
            problems.append((current, f"{wide} px too wide"))
        if (scheme, width) not in JUDGED:
            continue
        page.evaluate(UNFOLD)
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.evaluate(JUDGE, RULES)
        problems += [(current, _short(violation)) for violation in found["violations"]]
    context.close()
    assert problems == []


@pytest.mark.browser
def test_pages_can_be_read_without_scripts(browser: Any, address: str, pages: dict[str, Page]) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 360, "height": 900})
    page = context.new_page()
    for url in pages:
        page.goto(address + url, wait_until="load")
        assert page.locator("h1").is_visible()
        for element in page.locator("article > :is(p, .highlight, .vw-outputs, .strip, .vw-formula)").all()[:40]:
            assert element.is_visible(), (url, element.inner_text())
    context.close()


@pytest.mark.browser
def test_folded_text_is_open_on_paper_and_closed_again_after(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(address, wait_until="networkidle")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<details id=fold><p>x</p></details>')")
    states = []
    for moment in ("beforeprint", "afterprint"):
        page.evaluate("(name) => dispatchEvent(new Event(name))", moment)
        states.append(page.evaluate("document.getElementById('fold').open"))
    page.close()
    assert states == [True, False]


def _foreign(request: Any, address: str) -> bool:
    return not request.url.startswith((address, "data:", "blob:"))


def _settle(page: Any) -> None:
    """Wait until the theme has put its buttons on the code and the site's script has named them."""
    start_theme(page)
    until(page, "!document.querySelector('.highlight code') || document.querySelector('nav.md-code__nav[aria-label]')")


def _short(violation: dict[str, Any]) -> str:
    nodes = [node["html"][:160] + " | " + node["failureSummary"][:240] for node in violation["nodes"][:3]]
    return f"{violation['id']} ({len(violation['nodes'])}): " + " || ".join(nodes)
