"""Numbers that somebody typed: each decimal and each percentage that readers see has to be a checked one.

A number is quoted from a notebook, `[0.685](fact:censored_nll)`, or it is no result and says what it is:
`[2.13](as-is:version)`, `[1993](as-is:year)`, `[I50.9](as-is:identifier)`. Any other decimal (`0.5`, `.5`, `4.1`,
`1e-7`) or percentage (`50%`, `50 %`, `24 percent`) is stray, wherever it is read: in prose, tables, headings, captions,
formulas, the alt text of a picture, a code span. Whole numbers are free: `visit 2`, a list's `3.`, `1,364`, `v1`.

Nobody reads, so nothing is looked for in: fenced code, the targets of links, HTML tags (except for the attributes that
are read aloud) and comments. Docstrings, which the reference pages show, are not looked at either: pytest runs their
examples. The alt texts in a notebook's code are: their constant parts hold no number, `{value:.2f}` computes one.
"""

import ast
import functools
import re
from collections.abc import Callable, Iterable

import facts
import links

Report = Callable[[str], None]
AS_IS = r"\[(?P<literal>[^\]\[]+)\]\(as-is:(?P<kind>[^)\s]*)\)"
KINDS = {
    "version": re.compile(r"v?\d+(\.\d+)*[\w.+-]*"),
    "year": re.compile(r"(1[6-9]|20)\d\d"),
    "identifier": re.compile(r".+"),
}
NUMBER = re.compile(
    r"""
      (?<![^\W_]) (?<!\.) (?:\d[\d,_]*)? (?:\.\d+)+ (?:[eE][-+\u2212]?\d+)?   # 0.5  .5  1,364.5  4.1.2  1.5e-7
      (?: \s? (?:\\?% | ‰ | per\ ?cent))?
    | (?<![^\W_]) (?<!\.) \d+ [eE][-+\u2212]?\d+ \b                          # 1e-7
    | (?<![^\W_]) (?<!\.) \d[\d,_]* \s? (?:\\?% | ‰ | per\ ?cent)             # 50%
    """,
    re.VERBOSE,
)
# What is not read, in the order in which it is taken out; what is read of a match is in its groups.
UNREAD = [
    re.compile(r"<!--.*?-->", re.DOTALL),
    re.compile(r"<(script|style)\b.*?</\1>", re.DOTALL),
    re.compile(r"\]\(\s*<?(?:[^()\s]|\([^()\s]*\))*"),  # ](target "title is read")
    re.compile(r"<?\bhttps?://[^\s>]+>?"),
    re.compile(r"\{:?\s*[#.][A-Za-z][^}\n]*\}|\{:[^}\n]*\}"),  # { #anchor .class }
]
TAG = re.compile(r"</?[A-Za-z](?:\"[^\"]*\"|'[^']*'|[^'\">])*>")
READ_ALOUD = re.compile(r"\s(?:alt|title|aria-label|aria-description|placeholder)=(\"[^\"]*\"|'[^']*')")


@functools.lru_cache(maxsize=1000)  # while the site is served the same texts come again and again
def find(markdown: str) -> list[tuple[str, str]]:
    """Each stray number of a text, with the line that it stands in."""
    text = links.CODE.sub(lambda match: match[0] if match["span"] else _blank(match), _without_marks(markdown))
    for unread in UNREAD:
        text = unread.sub(_blank, text)
    text = TAG.sub(_unread_tag, text)
    lines = markdown.split("\n")
    return [(match[0], lines[text.count("\n", 0, match.start())].strip()) for match in NUMBER.finditer(text)]


def check(markdown: str, report: Report) -> None:
    """Report each stray number with its line."""
    for number, line in find(markdown):
        report(f"`{number}` is typed and not checked, in the line `{line}`; quote a fact or mark it `[..](as-is:kind)`")


def unmark(markdown: str, report: Report) -> str:
    """The Markdown with each `[2.13](as-is:version)` as its text; a mark of another kind than it says is reported."""

    def replace(match: re.Match[str]) -> str:
        kind = KINDS.get(match["kind"])
        if kind is None:
            report(f"`{match[0]}` is of no kind that may stand as it is; expected {', '.join(KINDS)}")
        elif not kind.fullmatch(match["literal"].strip("*`")):
            report(f"`{match[0]}` is no {match['kind']}")
        return match["literal"]

    return links.sub_outside_code(AS_IS, replace, markdown)


def check_alt_texts(cells: Iterable[str], report: Report) -> None:
    """Report each number that is typed in the alt text of a `show(figure, alt=...)`, in all of a notebook's code."""
    for text in _alt_texts(tuple(cells)):
        for match in NUMBER.finditer(text):
            report(f"`{match[0]}` is typed in the alt text `{text.strip()}`; compute it: `{{value:.2f}}`")


@functools.lru_cache(maxsize=100)
def _alt_texts(cells: tuple[str, ...]) -> list[str]:
    """The parts of alt texts that are the same in each run."""
    code = [ast.parse(cell) for cell in cells]
    named = {
        target.id: node.value
        for tree in code
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    texts: list[str] = []
    for tree in code:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", None)) == "show":
                for alt in [*node.args[1:2], *(word.value for word in node.keywords if word.arg == "alt")]:
                    texts += _typed(named.get(alt.id, alt) if isinstance(alt, ast.Name) else alt)
    return texts


def _typed(node: ast.AST) -> Iterable[str]:
    """The parts of a string that are the same in each run: not what is formatted, nor how."""
    if isinstance(node, ast.FormattedValue):
        yield from [repr(node.value.value)] if isinstance(node.value, ast.Constant) else []
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from _typed(child)


def _without_marks(markdown: str) -> str:
    for mark in (facts.LINK, AS_IS):
        markdown = links.sub_outside_code(mark, _blank, markdown)
    return markdown


def _blank(match: re.Match[str]) -> str:
    """As many characters on the same lines, with nothing to read."""
    return re.sub(r"[^\n]", "\0", match[0])


def _unread_tag(match: re.Match[str]) -> str:
    kept = list(_blank(match))
    for attribute in READ_ALOUD.finditer(match[0]):
        kept[attribute.start(1) : attribute.end(1)] = attribute[1]
    return "".join(kept)
