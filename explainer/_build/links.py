"""Links are written as they work in the repository, and lead to the same place on the site.

`../notebooks/01_x.py` from a page, `../explainer/02-y.md` from a notebook and `02_y.py` between notebooks become links
between pages, which MkDocs then checks. A link to another file of the repository (`../tests/test_x.py`) leads to the
hosted repository if the site knows one, and otherwise names the file.
"""

import html
import posixpath
import re
from collections.abc import Callable
from pathlib import Path

Report = Callable[[str], None]
CODE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})[^\n]*\n.*?^(?P=indent)(?P=fence)[^\n]*$"
    r"|(?<!`)(?P<span>`+)(?!`).+?(?<!`)(?P=span)(?!`)",
    re.MULTILINE | re.DOTALL,
)
TARGET = re.compile(r"\]\((?![a-z]+:|/|#)([^)\s#]+)(#[^)\s]*)?\)")
ITEM = re.compile(r" {0,3}(?:[-*+]|\d+\.) ")
ANCHOR = re.compile(r'<a href="repository:([^"]*)"[^>]*>(.*?)</a>', re.DOTALL)


def outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """The Markdown with `change` applied to its prose and not to its code, fenced or in a line."""
    parts, end = [], 0
    for match in CODE.finditer(markdown):
        parts += [change(markdown[end : match.start()]), match[0]]
        end = match.end()
    return "".join([*parts, change(markdown[end:])])


def sub_outside_code(pattern: str, change: Callable[[re.Match[str]], str], markdown: str) -> str:
    """The Markdown with each match changed that no code holds; a match may itself hold code, as in `` [`1`](x) ``."""
    either = re.compile(f"(?:{pattern})|(?P<code>{CODE.pattern})", CODE.flags)
    return either.sub(lambda match: match[0] if match["code"] else change(match), markdown)


def crowded_lists(markdown: str) -> list[str]:
    """First items of lists with no empty line before them: Jupyter shows such a list, and this site does not."""
    crowded = []
    for block in re.split(r"\n[ \t]*\n", CODE.sub("code", markdown)):
        lines = block.strip("\n").splitlines()
        items = [line for line in lines if ITEM.match(line)]
        if items and lines[0] != items[0]:
            crowded.append(items[0])
    return crowded


def relink(markdown: str, page: str, root: Path, report: Report) -> str:
    """The prose with its links as MkDocs wants them.

    Args:
        markdown: text without code.
        page: the page's path among the documents, such as `notebooks/01_x.ipynb`.
        root: the repository's folder.
        report: told of a link to a file that is not there; links between pages are MkDocs' to check.
    """
    source = f"notebooks/{Path(page).stem}.py" if page.endswith(".ipynb") else f"explainer/{page}"

    def replace(match: re.Match[str]) -> str:
        target, fragment = match[1], match[2] or ""
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if re.fullmatch(r"notebooks/\w+\.py", file):
            place = file.removesuffix(".py") + ".ipynb"
        elif file.startswith("explainer/"):
            place = file.removeprefix("explainer/")
        elif not file.startswith("..") and (root / file).exists():
            return f"](repository:{file}{fragment})"
        else:
            report(f"the link `{target}` leads to no file of the repository")
            return match[0]
        return f"]({posixpath.relpath(place, posixpath.dirname(page) or '.')}{fragment})"

    return TARGET.sub(replace, markdown)


def to_repository(page: str, repository: str) -> str:
    """The page's HTML with links to files of the repository made real, or into the file's name if there is no host."""

    def replace(match: re.Match[str]) -> str:
        file, text = match.groups()
        if repository:
            return f'<a href="{repository.rstrip("/")}/blob/main/{file}">{text}</a>'
        return f'<span class="vw-file" title="{html.escape(file)} in the repository">{text}</span>'

    return ANCHOR.sub(replace, page)
