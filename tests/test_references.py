"""The page of references has what is cited, cites what is used, and says where each entry was looked up."""

import ast
import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.built import ROOT, built

PAGE = ROOT / "explainer" / "references.md"
EXPLAINER = ROOT / "explainer"
CHAPTERS = sorted([*EXPLAINER.glob("[0-9][0-9]-*.md"), *EXPLAINER.glob("guides/*.md")])
ENTRY = re.compile(r"^(?P<label>\S.*) \((?P<year>\d{4})\) \{ #(?P<id>[\w-]+) \}\n(?P<text>(?::? +.*\n|\n(?= ))+)", re.M)
DOI = re.compile(r"\b10\.\d{4,5}/[^\s\"'`>]+")


@dataclass(frozen=True)
class Reference:
    """An entry of the page."""

    label: str
    year: str
    id: str
    text: str

    @property
    def link(self) -> str:
        return re.findall(r"<(https?://[^>]+)>", self.text.split("Used by")[0])[-1]

    @property
    def surname(self) -> str:
        return re.split(r",| and ", self.label)[0]

    def is_cited_in(self, text: str) -> bool:
        """By its DOI or address, or by the first author and the year."""
        plain = unquote(" ".join(text.split()))
        first = re.escape(self.surname)
        named = re.search(rf"\b{first}\b\W(?:(?!Source:)[^;:]){{0,80}}?\b{self.year}\b", plain)
        return unquote(self.link).removeprefix("https://doi.org/") in plain or bool(named)


def entries() -> list[Reference]:
    return [Reference(**found.groupdict()) for found in ENTRY.finditer(PAGE.read_text(encoding="utf-8"))]


def sources() -> list[Path]:
    """Whatever may cite: pages, notebooks, docstrings, and the claims with what was looked up for them."""
    found = [path for path in (ROOT / "explainer").rglob("*.md") if path != PAGE]
    found += (ROOT / "notebooks").glob("*.py")
    found += (ROOT / "src").rglob("*.py")
    return found + [path for path in (ROOT / "tests" / "claims").iterdir() if path.suffix in (".py", ".json")]


def dois(text: str) -> set[str]:
    return {unquote(found).rstrip(".,;)").lower() for found in DOI.findall(text)}


def test_every_entry_is_read_once_and_has_a_year_and_an_address() -> None:
    references = entries()
    assert len(references) == len(re.findall(r"^:   ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)) > 35
    for unique in (lambda each: each.id, lambda each: unquote(each.link).lower(), lambda each: each.label + each.year):
        assert len({unique(each) for each in references}) == len(references)
    for each in references:
        assert each.id.endswith(each.year), each.id
        assert each.link.startswith("https://")
        assert "Looked up in" in " ".join(each.text.split()), each.id


def test_every_doi_that_is_cited_stands_on_the_page() -> None:
    known = dois(PAGE.read_text(encoding="utf-8"))
    cited = {(path.name, doi) for path in sources() for doi in dois(path.read_text(encoding="utf-8"))}
    assert len(cited) > 20
    assert {(name, doi) for name, doi in cited if doi not in known} == set()


def test_every_paper_that_a_docstring_names_stands_on_the_page() -> None:
    named = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            said = (ast.get_docstring(node) or "").partition("Source:")[2].partition("\n\n")[0]
            for words, year in re.findall(r"([^();.]+(?:et al\. )?)\((\d{4})\)", " ".join(said.split())):
                named.append((path.name, words.split("), ")[-1].strip(), year))
    assert len(named) > 20
    known = [(each.surname.lower(), each.year) for each in entries()]
    missing = [one for one in named if not any(name in one[1].lower() and year == one[2] for name, year in known)]
    assert missing == []


@pytest.mark.parametrize("reference", entries(), ids=lambda each: each.id)
def test_entry_is_used_by_those_it_names_and_by_no_other_chapter(reference: Reference) -> None:
    used = " ".join(reference.text.partition("Used by")[2].partition("Looked up")[0].split())
    named = set(re.findall(r"\]\(((?:\d\d-|guides/)[\w-]+\.md)\)", used))
    assert named == {
        path.relative_to(EXPLAINER).as_posix() for path in CHAPTERS if reference.is_cited_in(path.read_text("utf-8"))
    }
    docstrings = re.findall(r"#visitwise\.(\w+)\.(\w+)\)", used)
    for module, name in docstrings:
        documented = getattr(importlib.import_module(f"visitwise.{module}"), name).__doc__
        assert reference.is_cited_in(documented), name
    claims = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "claims").glob("looked_up*.json"))
    assert ("(claims.md)" in used) == bool(re.search(rf'"{reference.surname}",[^]]*{reference.year}', claims))
    assert named or docstrings or "(claims.md)" in used


def test_no_other_docstring_uses_an_entry() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for path in sorted((ROOT / "src" / "visitwise").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and "Source:" in (
                said := ast.get_docstring(node) or ""
            ):
                papers = re.search(r"\(\d{4}\)", said.partition("Source:")[2].partition("\n\n")[0])
                assert not papers or f"#visitwise.{path.stem}.{node.name})" in page, f"{path.stem}.{node.name}"


def test_on_the_site_every_entry_can_be_linked_to() -> None:
    site = (built().site / "references" / "index.html").read_text(encoding="utf-8")
    assert [each.id for each in entries() if f'id="{each.id}"' not in site] == []
