"""The glossary at hand: on a page, the first use of each of its terms leads to it, and says the meaning in a tooltip.

The terms are those of `glossary.md`, a definition list: `term, another word { #its-id }`, then `:   the meaning`.
One with the class `.unlinked` is too common a word to be looked for.
"""

import html
import posixpath
import re
from dataclasses import dataclass

ENTRY = re.compile(
    r"^(?P<words>\S[^\n{]*?) \{ #(?P<id>[\w-]+)(?P<plain> \.unlinked)? \}\n:   (?P<meaning>.+(?:\n    .+)*)", re.M
)
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
# Where a word is no prose: it is a link already, code, a heading, a formula, a table's head, or not read at all.
CLOSED = {
    "a",
    "abbr",
    "button",
    "code",
    "figure",
    "h1",
    "h2",
    "h3",
    "h4",
    "pre",
    "script",
    "strong",
    "style",
    "summary",
    "svg",
    "th",
}
TAG = re.compile(r"(<!--.*?-->|<[^>]+>)", re.DOTALL)
VOID = {"br", "hr", "img", "input", "meta", "link", "wbr"}


@dataclass(frozen=True)
class Term:
    """An entry of the glossary."""

    id: str
    words: tuple[str, ...]
    meaning: str
    linked: bool


def read(glossary: str) -> list[Term]:
    """The entries of the text of `glossary.md`."""
    return [
        Term(
            found["id"],
            tuple(word.strip() for word in found["words"].split(",")),
            _sentence(found["meaning"]),
            not found["plain"],
        )
        for found in ENTRY.finditer(glossary)
    ]


def link(content: str, terms: list[Term], uri: str, glossary: str) -> str:
    """The HTML of a page with the first use of each term as a link to the glossary.

    Args:
        content: the page, as rendered.
        terms: the glossary's entries.
        uri: the page's address on the site, to find the way from.
        glossary: the glossary's address.
    """
    by_word = {word.lower(): term for term in terms if term.linked for word in term.words}
    longest_first = sorted(by_word, key=len, reverse=True)
    pattern = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, longest_first))})(?:s|es)?(?![\w-])", re.IGNORECASE)
    way = posixpath.relpath(glossary, uri or ".")
    done: set[str] = set()

    def mark(found: re.Match[str]) -> str:
        term = by_word[found[1].lower()]
        if term.id in done:
            return found[0]
        done.add(term.id)
        meaning = html.escape(term.meaning, quote=True)
        return f'<a class="vw-term" href="{way}/#{term.id}" title="{meaning}">{found[0]}</a>'

    open_tags: list[str] = []
    pieces = []
    for piece in TAG.split(content):
        if piece.startswith("<"):
            _follow(piece, open_tags)
        elif not open_tags:
            piece = pattern.sub(mark, piece)
        pieces.append(piece)
    return "".join(pieces)


def _follow(tag: str, open_tags: list[str]) -> None:
    """Keep count of the elements in which nothing is linked."""
    found = re.match(r"<(/?)([a-zA-Z][\w-]*)", tag)
    if not found or found[2].lower() in VOID or tag.endswith("/>"):
        return
    name = found[2].lower()
    closed = (
        name in CLOSED or bool(re.search(r'class="[^"]*(?:arithmatex|strip|vw-download)', tag)) or "data-figure" in tag
    )
    if found[1]:
        if open_tags and open_tags[-1] == name:
            open_tags.pop()
    elif open_tags or closed:
        open_tags.append(name)


def _sentence(meaning: str) -> str:
    """The first sentence, without the Markdown of links."""
    text = LINK.sub(r"\1", " ".join(meaning.split()))
    return re.split(r"(?<=[.!?]) (?=[A-Z])", text)[0]
