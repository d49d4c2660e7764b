"""The catalogue of bad input as tables: `[what happens](bad-input:numbers)` alone on a line of a page.

`tests/bad_input.json` says what happens to each input of each function; `tests/test_bad_input.py` tries all of it.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from html import escape
from itertools import groupby
from pathlib import Path

ALONE = re.compile(r"^\[[^\]\[]*\]\(bad-input:([\w-]*)\) *$", re.MULTILINE)
ANYWHERE = re.compile(r"\[[^\]\[]*\]\(bad-input:[^)]*\)")
GROUPS = {
    "numbers": ("NaN", "infinite", "negative", "huge"),
    "kinds": ("None", "type", "axes", "length", "empty"),
    "memory": ("precision", "read-only", "strided", "gradient", "device"),
}
SIGNS = {"x": ("✗", "refused"), "=": ("✓", "right"), "+": ("✓✗", "right or refused"), "-": ("–", "nothing to try")}
Report = Callable[[str], None]


def show(markdown: str, file: Path, report: Report) -> str:
    """The Markdown with the tables where they are asked for; an unknown one is reported."""
    if not ANYWHERE.search(markdown):
        return markdown
    record = _read(file)

    def replace(match: re.Match[str]) -> str:
        if match[1] in GROUPS:
            return table(match[1], record)
        if match[1] == "counts":
            return counts(record)
        if match[1] == "excused":
            return "\n".join(f"- `{name}`: {reason}" for name, reason in record["excused"].items())
        report(f"`{match[0]}` is no part of the catalogue; expected {', '.join([*GROUPS, 'counts', 'excused'])}")
        return ""

    text = ALONE.sub(replace, markdown)
    for left_over in ANYWHERE.findall(text):
        report(f"`{left_over}` shows a table and has to stand alone on its line")
    return text


@cache
def _read(file: Path) -> dict[str, dict]:
    return json.loads(file.read_text(encoding="utf-8"))


def table(group: str, record: Mapping[str, Mapping]) -> str:
    """One row for each function, its arguments together; a body for each module."""
    ways = list(record["ways"])
    columns = [ways.index(way) for way in GROUPS[group]]
    heads = "".join(f'<th scope="col">{way}</th>' for way in GROUPS[group])
    bodies = []
    modules = list(dict.fromkeys(map(_module, record["tried"])))
    in_order = sorted(record["tried"], key=lambda name: modules.index(_module(name)))
    for module, names in groupby(in_order, key=_module):
        rows = "".join(_row(name, record["tried"][name], columns) for name in names)
        bodies.append(f'<tbody><tr><th scope="rowgroup" colspan="{len(columns) + 1}">{module}</th></tr>{rows}</tbody>')
    caption = f"<caption>What happens to each kind of input: {', '.join(GROUPS[group])}</caption>"
    head = f'<thead><tr><th scope="col">function</th>{heads}</tr></thead>'
    return f"<table>{caption}{head}{''.join(bodies)}</table>"


def _module(name: str) -> str:
    return name.partition(".")[0]


def _row(name: str, cells: Mapping[str, str], columns: list[int]) -> str:
    module, _, short = name.partition(".")
    link = f'<a href="../{module}/#visitwise.{escape(name)}"><code>{escape(short)}</code></a>'
    signs = "".join(f"<td>{_sign({cell[column] for cell in cells.values()})}</td>" for column in columns)
    return f'<tr><th scope="row">{link}</th>{signs}</tr>'


def _sign(letters: set[str]) -> str:
    """Of all arguments together: what is the same for all that have such a value, or both."""
    tried = letters - {"-"}
    sign, words = SIGNS[tried.pop() if len(tried) == 1 else "+" if tried else "-"]
    return f'<span role="img" aria-label="{words}">{sign}</span>'


def counts(record: Mapping[str, Mapping]) -> str:
    """How many cells there are of each kind, an argument of a function in one way each."""
    cells = [letter for function in record["tried"].values() for letters in function.values() for letter in letters]
    lines = ["| What happens | Cells |", "| --- | ---: |"]
    lines += [f"| {sign} {words} | {cells.count(letter):,} |" for letter, (sign, words) in SIGNS.items()]
    return "\n".join([*lines, f"| all | {len(cells):,} |"])
