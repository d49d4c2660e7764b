"""What was measured once, on a machine that is named: `[packing on a CPU](bench:packing)` alone on a line.

It becomes the table in `tests/benchmarks/results/packing.json`, with a caption that says when and on what that was
measured; above it stands `packing.svg`, if the benchmark drew one. The benchmark writes the files on demand
(`python -m tests.benchmarks.packing --record`); the build measures nothing, because a time is not the same on the next
machine. The numbers in the record can be quoted as facts.
"""

import base64
import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import facts

ALONE = re.compile(r"^\[([^\]\[]*)\]\(bench:([^)]*)\) *$", re.MULTILINE)
ANYWHERE = re.compile(r"\[[^\]\[]*\]\(bench:[^)]*\)")
NEEDED = ("title", "columns", "rows", "machine", "torch", "python", "date", "facts")
Report = Callable[[str], None]
Record = dict[str, Any]


def published(folder: Path, report: Report) -> dict[str, facts.Fact]:
    """The numbers of every record in the folder, by name; one name in two records is reported."""
    found: dict[str, facts.Fact] = {}
    for path in sorted(folder.glob("*.json")):
        for name, value in _read(path, report).get("facts", {}).items():
            fact = facts.Fact(float(value), path.name)
            if found.setdefault(name, fact).notebook != path.name:
                report(f"the fact `{name}` is in {found[name].notebook} and in {path.name}")
    return found


def show(markdown: str, folder: Path, report: Report) -> str:
    """The Markdown with each record as a table; an unknown one is reported."""

    def replace(match: re.Match[str]) -> str:
        label, name = match.groups()
        path = folder / f"{name}.json"
        if not re.fullmatch(r"\w+", name) or not path.exists():
            report(f"`bench:{name}` names no record of a benchmark")
            return ""
        record = _read(path, report)
        return _table(record, label, path.with_suffix(".svg")) if record else ""

    text = ALONE.sub(replace, markdown)
    for left_over in ANYWHERE.findall(text):
        report(f"`{left_over}` shows a benchmark and has to stand alone on its line")
    return text


def _read(path: Path, report: Report) -> Record:
    """The record, or nothing if it is not whole; its rows are as wide as its columns."""
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        record = {}
    missing = [f"`{key}`" for key in NEEDED if key not in record]
    if not missing and any(len(row) != len(record["columns"]) for row in record["rows"]):
        missing = ["a cell of a row"]
    if missing:
        report(f"{path.name} is no record of a benchmark: {', '.join(missing)} missing")
    return {} if missing else record


def _table(record: Record, label: str, drawn: Path) -> str:
    """HTML as notebooks have it: a table wider than a phone scrolls, and can be reached by the keyboard to do so."""
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in record["columns"])
    rows = "".join(f"<tr>{_cells(row)}</tr>" for row in record["rows"])
    table = f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    turns = f", {record['turns']} turns" if "turns" in record else ""
    about = f"{record['date']}, {record['machine']}, torch {record['torch']}, Python {record['python']}{turns}"
    caption = f"<p><strong>{_text(label)}.</strong> {_text(record['title'])} Recorded {_text(about)}.</p>"
    scrolled = f'<div class="vw-table" role="group" aria-label="{_text(label)}" tabindex="0">{table}</div>'
    return f'<div class="vw-figure">{_picture(record, drawn)}{scrolled}{caption}</div>'


def _picture(record: Record, drawn: Path) -> str:
    """What the benchmark drew of the record, if it did; `alt` in the record says it in words."""
    if not drawn.exists():
        return ""
    source = f"data:image/svg+xml;base64,{base64.b64encode(drawn.read_bytes()).decode()}"
    return f'<img src="{source}" alt="{_text(record["alt"])}">'


def _cells(row: list[str]) -> str:
    return f'<th scope="row">{_text(row[0])}</th>' + "".join(f"<td>{_text(cell)}</td>" for cell in row[1:])


def _text(value: object) -> str:
    return html.escape(str(value))
