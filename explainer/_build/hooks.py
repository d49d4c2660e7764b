"""What MkDocs does here beyond MkDocs: executed notebooks as pages, checked numbers, shipped code, set formulas.

Each problem is a warning that names the page; the site is built with `--strict`, where a warning stops the build.
Every job has its own module beside this one, so that moving to another generator means rewriting this file alone.
"""

import json
import logging
import re
from pathlib import Path
from typing import Any

import commands
import facts
import formulas
import links
import notebooks
import pages
import sources
import stamp
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks.visitwise")
typesetter = formulas.Typesetter()
executed: dict[str, dict[str, Any]] = {}
known: dict[str, facts.Fact] = {}
pictures: dict[str, str] = {}
serving = False


def on_startup(command: str, dirty: bool) -> None:
    global serving
    serving = command == "serve"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Every page says what its numbers were computed with."""
    config.copyright = f"Numbers computed with {stamp.versions()}{stamp.commit(_root(config))}."
    return config


def on_pre_build(config: MkDocsConfig) -> None:
    root = _root(config)
    if serving:  # a saved notebook is run before it is shown
        try:
            notebooks.run(notebooks.stale(root), root)
        except notebooks.NotebookError as problem:
            log.error("%s", problem)
    for source in notebooks.stale(root):
        log.warning("notebooks/%s has not been run since it, or what it uses, changed: run `make build`", source.name)
    executed.clear()
    for source in notebooks.sources(root):
        output = notebooks.output_of(source, root)
        if output.exists():
            executed[f"notebooks/{output.name}"] = json.loads(output.read_text(encoding="utf-8"))
    by_name = [(Path(uri).stem, notebook) for uri, notebook in executed.items()]
    known.clear()
    known.update(facts.published(by_name, log.warning))
    pictures.clear()
    pictures.update(pages.figures(by_name, log.warning))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The stylesheets and fonts that come from packages join those of the project."""
    modules = _root(config) / "node_modules"
    files.append(File.generated(config, "assets/katex/katex.css", content=formulas.stylesheet(modules / "katex/dist")))
    for font in sorted((modules / "katex/dist/fonts").glob("*.woff2")):
        files.append(File.generated(config, f"assets/katex/fonts/{font.name}", abs_src_path=str(font)))
    for style in ("normal", "italic"):
        font = modules / f"@fontsource-variable/source-sans-3/files/source-sans-3-latin-wght-{style}.woff2"
        files.append(File.generated(config, f"assets/fonts/{font.name}", abs_src_path=str(font)))
    return files


@event_priority(-100)
def on_pre_page(page: Page, config: MkDocsConfig, files: Files) -> Page:
    """After mkdocs-jupyter: its own rendering, which inlines half a megabyte of styles a page, gives way to MkDocs'."""
    if page.file.src_uri in executed:
        vars(page).pop("render", None)
    host = (config.repo_url or "").rstrip("/")
    page.edit_url = f"{host}/edit/main/{_name(page.file.src_uri)}" if host else None
    return page


@event_priority(100)
def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    uri, root = page.file.src_uri, _root(config)

    def report(problem: str) -> None:
        log.warning("%s: %s", _name(uri), problem)

    def prose(text: str) -> str:
        for item in links.crowded_lists(text):
            report(f"an empty line is missing before the list that begins `{item.strip()}`")
        return links.outside_code(text, lambda part: links.relink(facts.quote(part, known, report), uri, root, report))

    if uri in executed:
        text = pages.to_markdown(executed[uri], report, prose)
        return re.sub(r"^(# .*\n)", rf"\1\n{_download(uri)}\n", text, count=1)
    if uri.endswith(".md"):
        text = sources.show(pages.foldable(prose(markdown)), root / "src", report)
        return commands.show(text, report)
    return markdown


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    return links.to_repository(html, config.repo_url or "")


@event_priority(-100)
def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Last, after search has read the page: outputs, figures, formulas, and what a screen reader needs."""
    uri = page.file.src_uri

    def report(problem: str) -> None:
        log.warning("%s: %s", _name(uri), problem)

    if uri in executed:
        output = pages.fill(output, executed[uri], report)
    output = pages.place_figures(output, pictures, report)
    return _accessible(typesetter.page(output, report))


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    return _accessible(output_content) if template_name.endswith(".html") else output_content


def on_shutdown() -> None:
    typesetter.close()


def _accessible(page: str) -> str:
    """Names and tab stops that the theme leaves out: the search dialog, and code that may scroll sideways."""
    page = page.replace('role="dialog"', 'role="dialog" aria-label="Search"', 1)
    return re.sub(r"<pre>(?=<span></span><code>)", '<pre tabindex="0">', page)


def _download(uri: str) -> str:
    name = Path(uri).name
    return f'<p class="vw-download"><a href="{name}" download>Download this notebook, with its outputs</a></p>\n'


def _name(uri: str) -> str:
    """A page by the path of the file that one would edit."""
    return f"notebooks/{Path(uri).stem}.py" if uri in executed else f"explainer/{uri}"


def _root(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent
