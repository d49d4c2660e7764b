"""The site as it is published, under an address of its own: what only a whole address makes possible."""

import re
import struct
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest

from tests.benchmarks.pages import file_of
from tests.browser import start_theme
from tests.built import BUILD, built, run

# isort: split
import cards

ADDRESS = "https://example.org/course/visitwise/"
REPOSITORY = "https://github.com/us/visitwise"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same project, built as the workflow builds it."""
    site = tmp_path_factory.mktemp("published") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    done = run(command, built().project, SITE_URL=ADDRESS, REPOSITORY_URL=REPOSITORY)
    assert done.returncode == 0, done.stderr
    return site


@pytest.fixture(scope="module")
def pages(published: Path) -> dict[str, str]:
    """The text of each page by its address."""
    found = sorted(published.rglob("index.html"))
    urls = [urljoin(ADDRESS, path.parent.relative_to(published).as_posix() + "/").replace("/./", "/") for path in found]
    return dict(zip(urls, (path.read_text(encoding="utf-8") for path in found), strict=True))


def test_sitemap_names_every_page_and_nothing_else(published: Path, pages: dict[str, str]) -> None:
    named = re.findall(r"<loc>(.*?)</loc>", (published / "sitemap.xml").read_text(encoding="utf-8"))
    assert sorted(named) == sorted(pages)


def test_every_page_says_where_it_lives_and_has_a_picture_to_be_shared_with(
    published: Path, pages: dict[str, str]
) -> None:
    pictures = set()
    for url, text in pages.items():
        assert f'<link rel="canonical" href="{url}">' in text, url
        assert f'<meta property="og:url" content="{url}">' in text, url
        (picture,) = re.findall(r'<meta property="og:image" content="(.*?)">', text)
        png = (published / picture.removeprefix(ADDRESS)).read_bytes()
        assert struct.unpack(">II", png[16:24]) == (cards.WIDTH, cards.HEIGHT), url
        pictures.add(picture)
    assert len(pictures) == len(pages)


def test_missing_page_leads_back_from_any_depth(published: Path) -> None:
    text = (published / "404.html").read_text(encoding="utf-8")
    article = text.split("<article", 1)[1].split("</article>")[0]
    links = re.findall(r'<li><a href="(.*?)">', article)
    assert len(links) >= 15
    assert [link for link in links if not link.startswith("/course/visitwise/")] == []
    assert [
        link for link in links if not (published / link.removeprefix("/course/visitwise/") / "index.html").exists()
    ] == []
    loads = re.findall(r'(?:src|href)="([^"#]*\.(?:css|js))"', text)
    assert loads
    assert [load for load in loads if not load.startswith("/course/visitwise/")] == []


def test_pages_link_to_their_source_and_notebooks_to_binder(pages: dict[str, str]) -> None:
    assert f"{REPOSITORY}/edit/main/explainer/01-hazard-to-likelihood.md" in pages[f"{ADDRESS}01-hazard-to-likelihood/"]
    notebook = pages[f"{ADDRESS}notebooks/01_hazard_to_likelihood/"]
    assert f"{REPOSITORY}/edit/main/notebooks/01_hazard_to_likelihood.py" in notebook
    assert "mybinder.org/v2/gh/us/visitwise/HEAD?urlpath=lab/tree/notebooks/01_hazard_to_likelihood.py" in notebook


@pytest.mark.browser
def test_a_page_put_in_place_of_the_last_one_has_its_formulas_set_and_searches(browser: Any, published: Path) -> None:
    """The theme loads the next page without leaving this one, where the site has an address."""
    page = browser.new_page()
    folder = urlsplit(ADDRESS).path
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.route(f"{ADDRESS}**", lambda route: route.fulfill(path=_file(published, route.request.url, folder)))
    page.goto(ADDRESS)
    with page.expect_response("**/sitemap.xml"):
        start_theme(page)
    page.wait_for_timeout(500)
    page.evaluate("window.stayed = true")
    page.locator("nav.md-nav--primary a[href*='/01-hazard-to-likelihood/']").first.dispatch_event("click")
    page.wait_for_selector("article .katex")
    assert page.evaluate("window.stayed")
    assert "KaTeX" in page.locator("article .katex").first.evaluate("(formula) => getComputedStyle(formula).fontFamily")
    page.locator(".md-search__input").fill("censored")
    page.wait_for_selector(".md-search-result__item")
    page.close()
    assert [url for url in asked if not url.startswith(ADDRESS)] == []  # such as GitHub, for the repository's stars


def _file(site: Path, url: str, folder: str) -> Path:
    return file_of(site, "/" + urlsplit(url).path.removeprefix(folder))


def test_card_has_the_same_bytes_for_the_same_words_and_other_ones_for_others() -> None:
    tokens = (BUILD.parents[1] / "src" / "visitwise" / "widgets" / "tokens.css").read_text(encoding="utf-8")
    colours = cards.colours(tokens)
    assert colours["ink"] == "#1b1f24"
    one, again, other = (cards.draw("Site", title, "A line.", colours) for title in ("Packing", "Packing", "Masks"))
    assert one == again
    assert one != other
