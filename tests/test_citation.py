"""How to cite: made from `CITATION.cff`, which names the version of the package."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.built import ROOT, built

# isort: split
import citation

FILE = ROOT / "CITATION.cff"
RECORD = {
    "title": "Loom: a tool",
    "authors": [{"given-names": "Ada", "family-names": "Byron"}, {"name": "The Loom group"}],
    "version": "1.2.0",
    "license": "MIT",
    "date-released": "2027-01-31",
    "repository-code": "https://example.org/loom",
}


def test_sentence_and_bibtex_say_what_the_file_says() -> None:
    assert citation.sentence(RECORD) == (
        "Ada Byron and The Loom group (2027). *Loom: a tool*. Version 1.2.0. Software, MIT license. "
        "<https://example.org/loom>"
    )
    assert citation.bibtex(RECORD) == "\n".join(
        [
            "@misc{visitwise,",
            "  author = {Ada Byron and {The Loom group}},",
            "  title = {{Loom}: a tool},",
            "  year = {2027},",
            "  note = {Version 1.2.0},",
            "  url = {https://example.org/loom},",
            "}",
        ]
    )


def test_what_is_not_known_is_left_out() -> None:
    bare = {name: RECORD[name] for name in citation.NEEDED}
    assert citation.sentence(bare).endswith("group. *Loom: a tool*. Version 1.2.0. Software, MIT license.")
    assert not re.search("year|url", citation.bibtex(bare))


def test_a_missing_field_and_an_unknown_form_are_told(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "CITATION.cff").write_text("title: Loom\nversion: 1.2.0\n")
    assert citation.show("[x](cite:text)\n", tmp_path / "CITATION.cff", "", told.append) == "\n"
    assert citation.show("[x](cite:ris)\n", FILE, "", told.append) == "\n"
    citation.show("See [x](cite:text).\n", FILE, "", told.append)
    assert told[0] == "CITATION.cff does not say authors, license"
    assert [one.split(" ")[0] for one in told[1:]] == ["`cite:ris`", "`[x](cite:text)`"]


def test_the_file_names_the_packages_version_and_license() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    record = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert (record["version"], record["license"]) == (project["version"], project["license"])
    assert [one["name"] for one in record["authors"]] == [one["name"] for one in project["authors"]]


def test_the_page_shows_the_version_twice() -> None:
    page = (built().site / "cite" / "index.html").read_text(encoding="utf-8")
    article = re.sub(r"<[^>]+>", "", page.split("<article", 1)[1].split("</article>")[0])
    version = yaml.safe_load(FILE.read_text(encoding="utf-8"))["version"]
    assert article.count(f"Version {version}") == 2
    assert "@misc{visitwise," in article


@pytest.mark.parametrize("form", ["text", "bibtex"])
def test_a_hosted_site_says_where(form: str) -> None:
    shown = citation.show(f"[x](cite:{form})\n", FILE, "https://example.org/us/visitwise", pytest.fail)
    assert "https://example.org/us/visitwise" in shown
