"""While the site is served, a saved page is rendered again and every other page is kept; the site is the same."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.structure.pages import Page

from tests.built import BUILD

HOOK = """\
import rebuild

memory = rebuild.Memory()
serving = False


def on_startup(command, dirty):
    global serving
    serving = command == "serve"


def on_pre_build(config):
    if serving:
        memory.begin(config)


def on_pre_page(page, config, files):
    if serving:
        memory.keep_rendering(page)
    return page
"""
CONFIG = """\
site_name: Small
docs_dir: docs
theme: { name: material, font: false }
hooks: [hook.py]
plugins: [search, { mkdocstrings: { handlers: { python: { paths: [src] } } } }]
validation: { links: { anchors: warn } }
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for folder in ("docs", "src"):
        (tmp_path / folder).mkdir()
    (tmp_path / "mkdocs.yml").write_text(CONFIG)
    (tmp_path / "hook.py").write_text(HOOK)
    (tmp_path / "src" / "small.py").write_text('"""A module."""\n\n\ndef f(x: int) -> int:\n    """Says."""\n')
    (tmp_path / "docs" / "index.md").write_text("# Start\n\nSee [the part](other.md#a-part) and [f][small.f].\n")
    (tmp_path / "docs" / "other.md").write_text("# Other\n\n## A part\n\nWords.\n")
    (tmp_path / "docs" / "api.md").write_text("# API\n\n::: small\n")
    return tmp_path


Builder = Callable[..., list[str]]


@pytest.fixture
def rebuilt(project: Path, monkeypatch: pytest.MonkeyPatch) -> Builder:
    """Builds the site, as `mkdocs serve` does after each change, and says which pages were rendered."""
    monkeypatch.syspath_prepend(BUILD)
    rendered: list[str] = []
    ordinary = Page.render

    def render(page: Page, *arguments: object) -> None:
        rendered.append(page.file.src_uri)
        ordinary(page, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Page, "render", render)
    started: list[str] = []

    def once(command: str = "serve", site: str = "site") -> list[str]:
        rendered.clear()
        config = load_config(str(project / "mkdocs.yml"), site_dir=str(project / site))
        if command not in started:
            started.append(command)
            config.plugins.on_startup(command=command, dirty=False)
        build(config)
        return sorted(rendered)

    return once


def add(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def contents(site: Path) -> dict[str, bytes]:
    return {
        path.relative_to(site).as_posix(): path.read_bytes()
        for path in site.rglob("*")
        if path.is_file() and path.name not in ("objects.inv", "sitemap.xml.gz")
    }


def test_saved_page_is_rendered_and_the_others_are_kept(project: Path, rebuilt: Builder) -> None:
    assert rebuilt() == ["api.md", "index.md", "other.md"]
    assert rebuilt() == []
    add(project / "docs" / "other.md", "\nMore.\n")
    assert rebuilt() == ["other.md"]
    assert "More." in (project / "site" / "other" / "index.html").read_text()
    assert "More." in (project / "site" / "search" / "search_index.json").read_text()


@pytest.mark.parametrize("changed", ["src/small.py", "mkdocs.yml", "docs/new.md"])
def test_change_of_what_every_page_depends_on_renders_all(project: Path, rebuilt: Builder, changed: str) -> None:
    rebuilt()
    path = project / changed
    path.write_text(f"{path.read_text() if path.exists() else '# New'}\n# more\n")
    assert set(rebuilt()) >= {"api.md", "index.md", "other.md"}


def test_rebuilt_site_is_the_one_that_a_build_writes(project: Path, rebuilt: Builder) -> None:
    rebuilt()
    add(project / "docs" / "index.md", "\nMore, and [f][small.f].\n")
    assert rebuilt() == ["index.md"]
    assert 'href="api/#small.f"' in (project / "site" / "index.html").read_text()
    rebuilt("build", "afresh")
    assert contents(project / "site") == contents(project / "afresh")


def test_warning_is_repeated_until_its_cause_is_mended(
    project: Path, rebuilt: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="mkdocs")
    add(project / "docs" / "api.md", "\n[gone](gone.md)\n")
    for _ in range(2):
        caplog.clear()
        rebuilt()
        assert "gone.md" in caplog.text
    (project / "docs" / "gone.md").write_text("# Here\n")
    caplog.clear()
    rebuilt()
    assert caplog.text == ""


def test_link_of_a_kept_page_is_checked_against_the_page_as_it_is_now(
    project: Path, rebuilt: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    rebuilt()
    other = project / "docs" / "other.md"
    other.write_text(other.read_text().replace("A part", "Another part"))
    caplog.set_level(logging.WARNING, logger="mkdocs")
    assert rebuilt() == ["other.md"]
    assert "a-part" in caplog.text
