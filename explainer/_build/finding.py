"""What the search box finds first: a chapter before its notebook, and each word of the glossary by its own name."""

import json
import re
from pathlib import Path
from typing import Any

from terms import Term

# How much a page counts: of two that say the same, the one that explains comes first, and long lists come last.
WEIGHTS = [
    (re.compile(r"reference/check\.md|references\.md"), 0.1),
    (re.compile(r"notebooks/.*|claims\.md"), 0.3),
    (re.compile(r"reference/.*"), 0.9),
    (re.compile(r"\d\d-[\w-]+\.md"), 1.3),
]
TERM_WEIGHT = 2


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
