"""What a search finds first, a chapter before its notebook, each word of the glossary, and what it says of a page."""

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from terms import Term

# How much a page counts: of two that say the same, the one that explains comes first, and long lists come last.
WEIGHTS = [
    (re.compile(r"reference/check\.md|references\.md"), 0.1),
    (re.compile(r"notebooks/(?!guide_).*|claims\.md"), 0.3),
    (re.compile(r"reference/.*"), 0.9),
    (re.compile(r"\d\d-[\w-]+\.md"), 1.3),
]
TERM_WEIGHT = 2
PROMISE = "After this chapter"
SHORTEST, LONGEST = 50, 160  # letters of a description: what a list of results has room for


def weigh(uri: str, meta: dict[str, Any]) -> None:
    """Write a page's weight where the search plugin looks for it, unless the page itself says one."""
    for pattern, weight in WEIGHTS:
        if pattern.fullmatch(uri):
            meta.setdefault("search", {"boost": weight})
            return


def add_terms(index: Path, terms: list[Term], address: str) -> None:
    """Add each entry of the glossary to the written index; to the plugin a definition list is a text without places.

    Args:
        index: `search/search_index.json` of a site.
        terms: the glossary's entries.
        address: of the glossary, as in `glossary/`.
    """
    content = json.loads(index.read_text(encoding="utf-8"))
    places = {f"{address}#{term.id}": term for term in terms}
    kept = [entry for entry in content["docs"] if entry["location"] not in places]
    content["docs"] = kept + [
        {"location": place, "title": ", ".join(term.words), "text": f"<p>{term.meaning}</p>", "boost": TERM_WEIGHT}
        for place, term in places.items()
    ]
    index.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")


# How lunr names a state of its automaton: label and number of each edge, one after the other, so that an edge `1` to
# state 23 reads like an edge `12` to state 3. States that share a name are merged, and a query then meets words that no
# page has, and fails.
_NAMED, _APART = "=e+s+o.id}", '=e+s+o.id+","}'


def tell_states_apart(worker: str, report: Callable[[str], None]) -> str:
    """The script that searches, with a name of its own for each state of its automaton.

    Args:
        worker: what Material ships.
        report: takes a warning if the script is another than the one that was read.
    """
    if worker.count(_NAMED) != 1:
        report("the script that searches names its states otherwise than expected: see explainer/_build/finding.py")
    return worker.replace(_NAMED, _APART)


def describe(content: str) -> str:
    """What a page is about, in its own words: what a chapter promises, or else how the page begins.

    Args:
        content: the page's HTML.
    """
    paragraphs = [_words(text) for text in re.findall(r"<p>(.*?)</p>", content, re.DOTALL) if "arithmatex" not in text]
    long_enough = [text for text in paragraphs if len(text) >= SHORTEST]
    chosen = next((text for text in long_enough if text.startswith(PROMISE)), next(iter(long_enough), ""))
    if len(chosen) <= LONGEST:
        return chosen
    sentences = re.match(rf"(.{{{SHORTEST},{LONGEST - 1}}}[.?!])(?= )", chosen)
    return sentences[1] if sentences else chosen[: LONGEST - 1].rpartition(" ")[0].rstrip(",;:") + "…"


def _words(content: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", content)).split())
