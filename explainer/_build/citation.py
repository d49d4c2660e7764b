"""How to cite this, from `CITATION.cff`: `[a sentence](cite:text)` or `[BibTeX](cite:bibtex)` alone on a line."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ALONE = re.compile(r"^\[[^\]\[]*\]\(cite:(?P<form>[^)]*)\) *$", re.MULTILINE)
ANYWHERE = re.compile(r"\[[^\]\[]*\]\(cite:[^)]*\)")
NEEDED = ("title", "authors", "version", "license")
Report = Callable[[str], None]
Record = dict[str, Any]


def show(markdown: str, file: Path, address: str, report: Report) -> str:
    """The Markdown with the citation in each of its forms; a form or a field that is missing is reported.

    Args:
        markdown: a page.
        file: `CITATION.cff`.
        address: where the source is hosted, or nothing; the file may name a place itself.
        report: told of each problem.
    """
    if not ANYWHERE.search(markdown):
        return markdown
    record: Record = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    if missing := [name for name in NEEDED if not record.get(name)]:
        report(f"{file.name} does not say {', '.join(missing)}")
        return ALONE.sub("", markdown)
    record = {"repository-code": address} | record

    def replace(match: re.Match[str]) -> str:
        if match["form"] == "text":
            return f"> {sentence(record)}"
        if match["form"] == "bibtex":
            return f"```bibtex\n{bibtex(record)}\n```"
        report(f"`cite:{match['form']}` is no form of a citation; expected text or bibtex")
        return ""

    text = ALONE.sub(replace, markdown)
    for left_over in ANYWHERE.findall(text):
        report(f"`{left_over}` shows a citation and has to stand alone on its line")
    return text


def sentence(record: Record) -> str:
    """Authors, year if there is one, title, version, license, address if there is one."""
    who = " and ".join(map(_name, record["authors"]))
    year = f" ({_year(record)})" if _year(record) else ""
    place = f" <{record['repository-code']}>" if record.get("repository-code") else ""
    return (
        f"{who}{year}. *{record['title']}*. Version {record['version']}. Software, {record['license']} license.{place}"
    )


def bibtex(record: Record) -> str:
    """The same as a BibTeX entry; a group's name is kept whole by a second pair of braces."""
    fields = {
        "author": " and ".join(f"{{{_name(one)}}}" if "name" in one else _name(one) for one in record["authors"]),
        "title": re.sub(r"^(\w+)", r"{\1}", record["title"]),
        "year": _year(record),
        "note": f"Version {record['version']}",
        "url": record.get("repository-code"),
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join(["@misc{visitwise,", *lines, "}"])


def _name(author: Record) -> str:
    given = (author.get("given-names"), author.get("name-particle"), author.get("family-names"))
    return str(author.get("name") or " ".join(part for part in given if part))


def _year(record: Record) -> str:
    return str(record.get("date-released") or "")[:4]
