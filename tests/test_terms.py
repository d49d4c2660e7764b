"""The first use of a term on a chapter's page leads to the glossary; code, links and headings are left alone."""

import re

import pytest

from tests.built import ROOT, built

# isort: split
import terms

GLOSSARY = """\
# Glossary

hazard { #hazard }
:   The probability of the event in an interval,
    for those *at risk*. [Chapter 1](01-a.md) has more.

competing risks, competing risk { #competing }
:   Events that "exclude" each other.

row { #row .unlinked }
:   One interval. It has an ending.
"""
TERMS = terms.read(GLOSSARY)


def linked(content: str) -> list[str]:
    """What became a link to the glossary."""
    return re.findall(r'<a class="vw-term"[^>]*>([^<]*)</a>', terms.link(content, TERMS, "06-packing/", "glossary"))


def test_entries_have_their_words_their_address_and_one_plain_sentence() -> None:
    hazard, competing, row = TERMS
    assert hazard == terms.Term(
        "hazard", ("hazard",), "The probability of the event in an interval, for those *at risk*.", True
    )
    assert competing.words == ("competing risks", "competing risk")
    assert (row.meaning, row.linked) == ("One interval.", False)


def test_first_use_leads_to_the_glossary_and_says_the_meaning() -> None:
    text = terms.link("<p>A competing risk, and competing risks.</p>", TERMS, "06-packing/", "glossary")
    way = '<a class="vw-term" href="../glossary/#competing" title="Events that &quot;exclude&quot; each other.">'
    assert text == f"<p>A {way}competing risk</a>, and competing risks.</p>"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<p>Hazards of <em>the hazard</em></p>", ["Hazards"]),
        ("<h2>Hazard</h2><p>its hazard</p>", ["hazard"]),
        ("<p><code>hazard</code> <a href='x'>hazard</a> <strong>hazard</strong></p>", []),
        ("<pre><span>hazard</span> hazard</pre><p>hazard<br>hazard</p>", ["hazard"]),
        ('<div class="strip"><div><p>hazard</p></div></div><p>a hazard</p>', ["hazard"]),
        ('<div data-figure="x"><div></div><p>hazard</p></div>', []),
        ("<p>hazardous, biohazard, hazard-rate, hazard_nll</p>", []),
        ("<!-- hazard --><p>row and rows</p>", []),
        ('<p><img alt="hazard" src="x">hazard</p>', ["hazard"]),
        ('<p><span class="arithmatex">hazard</span> hazard</p>', ["hazard"]),
    ],
)
def test_only_the_first_use_in_prose_is_a_link(content: str, expected: list[str]) -> None:
    assert linked(content) == expected


def test_every_entry_of_our_glossary_is_read_and_no_word_means_two_things() -> None:
    text = (ROOT / "explainer" / "glossary.md").read_text(encoding="utf-8")
    entries = terms.read(text)
    assert len(entries) == len(re.findall(r"^:   ", text, re.MULTILINE)) > 30
    words = [word.lower() for entry in entries for word in entry.words]
    assert len(set(words)) == len(words)
    assert len({entry.id for entry in entries}) == len(entries)


def test_terms_of_every_chapter_lead_to_an_entry_and_most_entries_are_used() -> None:
    page = (built().site / "glossary" / "index.html").read_text(encoding="utf-8")
    used: set[str] = set()
    pages = [*built().site.glob("[0-9][0-9]-*/index.html"), built().site / "playground" / "index.html"]
    for chapter in sorted(pages):
        found = re.findall(r'class="vw-term" href="\.\./glossary/#([\w-]+)"', chapter.read_text(encoding="utf-8"))
        assert found, chapter
        assert len(set(found)) == len(found)
        used |= set(found)
    assert [name for name in used if f'id="{name}"' not in page] == []
    linked = {entry.id for entry in terms.read((ROOT / "explainer" / "glossary.md").read_text()) if entry.linked}
    assert len(used) > 0.6 * len(linked)  # where a page itself defines a word, in bold, it is not linked
