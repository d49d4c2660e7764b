"""What a reader types into the search box, and where the first three hits lead."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser import served
from tests.built import ROOT, built

# isort: split
import finding
import terms

ASKED = {
    "negative log-likelihood": "glossary/#nll",
    "Kaplan-Meier": "glossary/#kaplan-meier",
    "softplus": "01-hazard-to-likelihood/",
    "cumulative incidence": "reference/functional/#visitwise.functional.cumulative_incidence",
    "hazard_nll": "reference/functional/",
    "C-index": "glossary/#concordance",
    "IPCW": "glossary/#ipcw",
    "competing risks nll": "reference/losses/#visitwise.losses.CompetingRisksNLL",
    "competing_risks_nll": "reference/functional/#visitwise.functional.competing_risks_nll",
    "broadcasting rule": "04-broadcasting/",
    "cloglog": "10-comparisons/",
    "focal loss": "11-loss-zoo/",
    "packing": "06-packing/",
    "playground": "playground/",
}
HITS = """() => [...document.querySelectorAll(".md-search-result__item")].slice(0, 3).map((item) =>
  [...item.querySelectorAll("a")].map((link) => new URL(link.href)).map((url) => url.pathname.slice(1) + url.hash))"""


def test_an_entry_of_the_glossary_is_found_by_its_words_once(tmp_path: Path) -> None:
    index = tmp_path / "search_index.json"
    index.write_text(json.dumps({"config": {}, "docs": [{"location": "glossary/", "title": "Glossary", "text": "x"}]}))
    nll = terms.Term("nll", ("negative log-likelihood", "NLL"), "Minus a logarithm.", True)
    for _ in range(2):
        finding.add_terms(index, [nll], "glossary/")
    first, second = json.loads(index.read_text())["docs"]
    assert first["title"] == "Glossary"
    assert (second["location"], second["title"]) == ("glossary/#nll", "negative log-likelihood, NLL")


def test_a_chapter_counts_more_than_its_notebook_and_a_page_may_say_its_own_weight() -> None:
    metas: dict[str, dict[str, Any]] = {
        name: {}
        for name in (
            "06-packing.md",
            "notebooks/06_packing.ipynb",
            "reference/check.md",
            "index.md",
            "notebooks/guide_scikit_learn.ipynb",
        )
    }
    for uri, meta in metas.items():
        finding.weigh(uri, meta)
    chapter, notebook, mistakes = (metas[uri]["search"]["boost"] for uri in list(metas)[:3])
    assert chapter > 1 > notebook > mistakes > 0
    assert metas["index.md"] == metas["notebooks/guide_scikit_learn.ipynb"] == {}
    own = {"search": {"exclude": True}}
    finding.weigh("06-packing.md", own)
    assert own == {"search": {"exclude": True}}


def test_the_states_of_the_search_are_told_apart() -> None:
    said: list[str] = []
    told = finding.tell_states_apart("for(;;){var s=r[i],o=this.edges[s];e=e+s+o.id}return e", said.append)
    assert told == 'for(;;){var s=r[i],o=this.edges[s];e=e+s+o.id+","}return e'
    assert said == []
    assert finding.tell_states_apart("other", said.append) == "other"
    assert "names its states otherwise" in said[0]


def test_every_entry_of_the_glossary_is_in_the_sites_index() -> None:
    index = json.loads((built().site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {entry["location"] for entry in index["docs"]}
    entries = terms.read((ROOT / "explainer" / "glossary.md").read_text(encoding="utf-8"))
    assert [entry.id for entry in entries if f"glossary/#{entry.id}" not in found] == []


@pytest.fixture(scope="module")
def hits(browser: Any) -> dict[str, list[list[str]]]:
    found = {}
    with served(built().site) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        for query in ASKED:
            page.goto(address, wait_until="load")
            page.locator(".md-search__input").click()
            page.keyboard.type(query)
            page.wait_for_selector(".md-search-result__item")
            previous = None
            while query not in found or previous != found[query]:  # each letter asks anew
                previous = found.get(query)
                page.wait_for_timeout(300)
                found[query] = page.evaluate(HITS)
        page.close()
    return found


@pytest.mark.browser
@pytest.mark.parametrize("query", ASKED)
def test_first_three_hits_have_the_right_page(hits: dict[str, list[list[str]]], query: str) -> None:
    places = [place for hit in hits[query] for place in hit]
    assert any(place == ASKED[query] or place.partition("#")[0] == ASKED[query] for place in places), places
