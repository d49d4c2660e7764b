"""The picture of what builds on what: `[the map](map:)` alone on a line, drawn from the table of the same page.

The first column of the table links to a chapter, the last names the chapters that it needs. How long a chapter takes is
what its own page says.
"""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ASKED = re.compile(r"^\[[^\]\[]*\]\(map:\) *$", re.MULTILINE)
ROW = re.compile(r"^\| \[([^\]]+)\]\((\d\d-[\w-]+)\.md\) \|.*\| *([\d, ]*)\|$", re.MULTILINE)
MINUTES = {"a quarter of an hour": 15, "twenty minutes": 20, "half an hour": 30}
BOX, GAP, HIGH, STEP = 152, 22, 58, 96
Report = Callable[[str], None]


@dataclass(frozen=True)
class Chapter:
    """A box of the picture."""

    name: str
    page: str
    needs: tuple[str, ...]
    title: str
    minutes: int


def show(markdown: str, docs: Path, report: Report) -> str:
    """The Markdown with the picture where it is asked for; a problem is reported."""
    if not ASKED.search(markdown):
        return markdown
    try:
        return ASKED.sub(lambda _: draw(read(markdown, docs)), markdown)
    except LookupError as problem:
        report(str(problem.args[0]))
        return ASKED.sub("", markdown)


def read(markdown: str, docs: Path) -> list[Chapter]:
    """The chapters of the table, with their titles and minutes from their own pages.

    Raises:
        LookupError: if a page has no such line, or a chapter needs one that is not above it.
    """
    chapters: list[Chapter] = []
    for name, page, needs in ROW.findall(markdown):
        text = (docs / f"{page}.md").read_text(encoding="utf-8")
        title = re.search(r"^# (.+)$", text, re.MULTILINE)
        minutes = re.search(r"Reading\s+takes\s+([\w\s]+?)\.", text)
        if not title or not minutes or (said := " ".join(minutes[1].split())) not in MINUTES:
            raise LookupError(f"{page}.md does not say `Reading takes ...` as one of {', '.join(MINUTES)}")
        asked = tuple(one.strip() for one in needs.split(",") if one.strip())
        if missing := [one for one in asked if one not in {above.name for above in chapters}]:
            raise LookupError(f"chapter {name} needs {missing[0]}, which the table does not have above it")
        chapters.append(Chapter(name, page, asked, title[1], MINUTES[said]))
    return chapters


def draw(chapters: list[Chapter]) -> str:
    """An SVG on one line, a box for each chapter below those it needs; the table says the same, and has the links."""
    depth: dict[str, int] = {}
    for chapter in chapters:
        depth[chapter.name] = 1 + max((depth[need] for need in chapter.needs), default=-1)
    levels = [[one for one in chapters if depth[one.name] == level] for level in range(max(depth.values()) + 1)]
    width = max(map(len, levels)) * (BOX + GAP) - GAP + 4
    place: dict[str, tuple[float, float]] = {}
    for row, level in enumerate(levels):
        # Below those it needs, so that few arrows cross.
        level.sort(key=lambda one: sum(place[need][0] for need in one.needs) / max(len(one.needs), 1))
        left = 2 + (width - 4 - len(level) * (BOX + GAP) + GAP) / 2
        place |= {one.name: (left + at * (BOX + GAP), 2 + row * STEP) for at, one in enumerate(level)}
    lines = [_arrow(place[need], place[one.name]) for one in chapters for need in one.needs]
    boxes = [_box(one, *place[one.name]) for one in chapters]
    height = (len(levels) - 1) * STEP + HIGH + 4
    return (
        f'<div class="vw-map"><svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        'aria-label="The chapters, each below those it needs; the table below says the same.">'
        f"{''.join(lines)}{''.join(boxes)}</svg></div>"
    )


def _arrow(above: tuple[float, float], below: tuple[float, float]) -> str:
    x1, y1, x2, y2 = above[0] + BOX / 2, above[1] + HIGH, below[0] + BOX / 2, below[1]
    middle = y2 - (STEP - HIGH) / 2
    path = f"M{x1:g} {y1:g}C{x1:g} {middle + 8:g} {x2:g} {middle - 8:g} {x2:g} {y2 - 6:g}"
    tip = f"M{x2 - 4:g} {y2 - 8:g}L{x2:g} {y2 - 1:g}L{x2 + 4:g} {y2 - 8:g}Z"
    return f'<path class="line" d="{path}"/><path class="tip" d="{tip}"/>'


def _box(chapter: Chapter, x: float, y: float) -> str:
    number = chapter.name.split(",")[0]
    words = html.escape(f"{number} · {chapter.title}")
    first, rest = _broken(words)
    lines = f'<text x="{x + 10:g}" y="{y + 19:g}">{first}</text>'
    if rest:
        lines += f'<text x="{x + 10:g}" y="{y + 34:g}">{rest}</text>'
    lines += f'<text class="minutes" x="{x + 10:g}" y="{y + 50:g}">{chapter.minutes} minutes</text>'
    return f'<g><rect x="{x:g}" y="{y:g}" width="{BOX}" height="{HIGH}" rx="6"/>{lines}</g>'


def _broken(words: str, most: int = 21) -> tuple[str, str]:
    """Two lines of a title."""
    if len(words) <= most:
        return words, ""
    cut = words.rfind(" ", 0, most + 1)
    return words[:cut], words[cut + 1 :]
