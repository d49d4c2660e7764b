"""The map is drawn from its own table, and names no chapter, need or time that a page does not have."""

import re
from pathlib import Path

import pytest

from tests.built import ROOT, built

# isort: split
import learning_map

TABLE = """\
[the map](map:)

| Chapter | Afterwards you can | Needs |
| --- | --- | --- |
| [1](01-first.md) | begin | |
| [2](02-second.md) | go on | 1 |
| [3](03-third.md) | end | 1, 2 |
"""


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    for page, title, time in [
        ("01-first", "First", "a quarter of an hour"),
        ("02-second", "Second & last", "twenty\nminutes"),
        ("03-third", "Third", "half an hour"),
    ]:
        (tmp_path / f"{page}.md").write_text(f"# {title}\n\nReading takes {time}. [Test me.](#x)\n")
    return tmp_path


def test_titles_and_minutes_come_from_the_pages(docs: Path) -> None:
    first, second, third = learning_map.read(TABLE, docs)
    assert (first.title, first.minutes, first.needs) == ("First", 15, ())
    assert (second.title, second.minutes, second.needs) == ("Second & last", 20, ("1",))
    assert (third.minutes, third.needs) == (30, ("1", "2"))


def test_each_box_is_below_those_it_needs_and_each_need_has_an_arrow(docs: Path) -> None:
    drawn = learning_map.draw(learning_map.read(TABLE, docs))
    tops = [float(y) for y in re.findall(r'<rect x="[\d.]+" y="([\d.]+)"', drawn)]
    assert tops == sorted(tops)
    assert len(set(tops)) == 3
    assert drawn.count('class="line"') == 3
    assert "2 · Second &amp; last" in drawn
    assert re.findall(r">([^<>]+ minutes)<", drawn) == ["15 minutes", "20 minutes", "30 minutes"]


def test_a_need_that_is_not_above_and_a_page_without_a_time_are_told(docs: Path) -> None:
    told: list[str] = []
    learning_map.show(TABLE.replace("| 1 |", "| 3 |"), docs, told.append)
    assert told == ["chapter 2 needs 3, which the table does not have above it"]
    (docs / "03-third.md").write_text("# Third\n")
    learning_map.show(TABLE, docs, told.append)
    assert told[1].startswith("03-third.md does not say `Reading takes ...`")


def test_the_map_of_the_site_draws_every_chapter_and_its_table_links_to_each() -> None:
    chapters = learning_map.read((ROOT / "explainer" / "map.md").read_text(encoding="utf-8"), ROOT / "explainer")
    assert sorted(one.page for one in chapters) == sorted(p.stem for p in (ROOT / "explainer").glob("[0-9][0-9]-*.md"))
    page = (built().site / "map" / "index.html").read_text(encoding="utf-8")
    (picture,) = re.findall(r'<div class="vw-map">.*?</div>', page, re.DOTALL)
    assert picture.count("<rect") == len(chapters)
    links = re.findall(r'<td><a href="\.\./([^"]*)"', page)
    assert links == [f"{one.page}/" for one in chapters]
