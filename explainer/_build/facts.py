"""Numbers in prose: written where they are read, and checked against what a notebook computed.

`[0.685](fact:censored_nll)` becomes the text `0.685`, if the number that a notebook published under that name rounds to
it at the digits written. `[28.3%](fact:name)` reads the literal as a percentage, `[1,364](fact:name)` with thousands,
``[`1e-7`](fact:name)`` as a code span. Code that holds a whole such link is left alone.
"""

import html
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import links

FACT_MIME = "application/vnd.visitwise.fact+json"
LINK = r"\[(?P<literal>[^\]\[]+)\]\(fact:(?P<name>[^)\s]*)\)"
Report = Callable[[str], None]


@dataclass(frozen=True)
class Fact:
    """A number and the notebook that computed it."""

    value: float
    notebook: str


def published(notebooks: Iterable[tuple[str, dict[str, Any]]], report: Report) -> dict[str, Fact]:
    """Every number the executed notebooks publish, by name; one name with two values is reported."""
    facts: dict[str, Fact] = {}
    for notebook, content in notebooks:
        for name, value in _records(content):
            earlier = facts.setdefault(name, Fact(value, notebook))
            if earlier.value != value:
                report(f"the fact `{name}` is {earlier.value!r} in {earlier.notebook} and {value!r} in {notebook}")
    return facts


def quote(markdown: str, facts: dict[str, Fact], report: Report) -> str:
    """The Markdown with each quoted number as text; an unknown name or another number is reported."""

    def replace(match: re.Match[str]) -> str:
        literal, name = match["literal"], match["name"]
        if name not in facts:
            report(f"`{match[0]}` quotes a fact that no notebook publishes")
            return literal
        fact = facts[name]
        if not agrees(literal, fact.value):
            report(f"`{match[0]}`: {fact.notebook} computes {fact.value!r}")
        title = html.escape(f"Computed in the notebook {fact.notebook} as {name}")
        return f'<span class="fact" title="{title}">{literal}</span>'

    return links.sub_outside_code(LINK, replace, markdown)


def agrees(literal: str, value: float) -> bool:
    """Whether the value rounds to the literal at the digits written; on a rounding edge either neighbour is right."""
    plain = literal.strip().strip("*`").replace(",", "").replace("\N{MINUS SIGN}", "-").replace("\N{THIN SPACE}", "")
    percent = plain.endswith("%")
    try:
        written = Decimal(plain.rstrip("%").strip())
    except InvalidOperation:
        return False
    if not written.is_finite():
        return False
    exponent = written.as_tuple().exponent
    half_a_step = Decimal(5).scaleb(int(exponent) - 1)
    exact = Decimal(repr(value)) * (100 if percent else 1)
    return abs(exact - written) <= half_a_step * (1 + Decimal("1e-9"))


def _records(notebook: dict[str, Any]) -> Iterable[tuple[str, float]]:
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            record = output.get("data", {}).get(FACT_MIME)
            if record:
                yield record["name"], float(record["value"])
