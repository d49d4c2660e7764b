"""What MkDocs does here beyond MkDocs: executed notebooks as pages, checked numbers, shipped code, set formulas.

Each problem is a warning that names the page; the site is built with `--strict`, where a warning stops the build.
Every job has its own module beside this one, so that moving to another generator means rewriting this file alone.
"""

import html
import json
import logging
import re
from pathlib import Path
from typing import Any

import bad_input
import cards
import citation
import commands
import downloads
import facts
import finding
import formulas
import guard
import learning_map
import licences
import links
import live
import notebooks
import pages
import policy
import rebuild
import sources
import stamp
import stray
import terms
import weight
from jinja2 import Environment
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.livereload import LiveReloadServer
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import benchmarks
import ledger

RESULTS = "tests/benchmarks/results"
GLOSSARY = "glossary.md"
TAUGHT = re.compile(r"(?:\d\d-[\w-]+|playground)\.md")  # pages that explain the words they use

log = logging.getLogger("mkdocs.hooks.visitwise")
typesetter = formulas.Typesetter()
artist = live.Artist()
executed: dict[str, dict[str, Any]] = {}
known: dict[str, facts.Fact] = {}
pictures: dict[str, str] = {}
claims: list[ledger.Row] = []
places: dict[str, downloads.Place] = {}
glossary: list[terms.Term] = []
memory = rebuild.Memory()
serving = False


def on_startup(command: str, dirty: bool) -> None:
    global serving
    serving = command == "serve"


def on_serve(server: LiveReloadServer, config: MkDocsConfig, builder: Any) -> LiveReloadServer:
    server.set_app(guard.guard(server.serve_request, Path(server.root), server.mount_path))
    return server


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Every page says what its numbers were computed with; the site's own words state none."""
    stray.check(config.site_description or "", lambda problem: log.warning("mkdocs.yml, site_description: %s", problem))
    config.copyright = f"Numbers computed with {stamp.versions()}{stamp.commit(_root(config))}."
    return config


def on_pre_build(config: MkDocsConfig) -> None:
    root = _root(config)
    out_of_date = notebooks.stale(root)
    if serving:
        memory.begin(config)
    if serving and out_of_date:  # a saved notebook is run before it is shown
        try:
            notebooks.run(out_of_date, root)
        except notebooks.NotebookError as problem:
            log.error("%s", problem)
        out_of_date = notebooks.stale(root)
    for source in out_of_date:
        log.warning("notebooks/%s has not been run since it, or what it uses, changed: run `make build`", source.name)
    executed.clear()
    for source in notebooks.sources(root):
        output = notebooks.output_of(source, root)
        if output.exists():
            executed[f"notebooks/{output.name}"] = json.loads(output.read_text(encoding="utf-8"))
    by_name = [(Path(uri).stem, notebook) for uri, notebook in executed.items()]
    known.clear()
    known.update(facts.published(by_name, log.warning))
    known.update(benchmarks.published(root / RESULTS, log.warning))
    pictures.clear()
    artist.close()
    pictures.update(pages.figures(by_name, log.warning, artist.block))
    if ledger.is_stale(root):  # trying all of them takes too long for a saved file
        log.log(
            logging.INFO if serving else logging.WARNING,
            "the claims have not been tried since they, or what they use, changed: run `make build`",
        )
    claims[:] = ledger.rows_of(root)
    glossary[:] = terms.read(Path(config.docs_dir, GLOSSARY).read_text(encoding="utf-8"))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Figures and colours of the package, stylesheets and fonts of other packages join those of the site."""
    for module in sorted(live.WIDGETS.glob("*.js")):
        files.append(File.generated(config, f"assets/widgets/{module.name}", abs_src_path=str(module)))
    files.append(File.generated(config, "assets/figures.css", content=artist.stylesheet(live.names())))
    files.append(File.generated(config, "assets/tokens.css", abs_src_path=str(live.WIDGETS / "tokens.css")))
    modules = _root(config) / "node_modules"
    files.append(File.generated(config, "assets/katex/katex.css", content=formulas.stylesheet(modules / "katex/dist")))
    for font in sorted((modules / "katex/dist/fonts").glob("*.woff2")):
        files.append(File.generated(config, f"assets/katex/fonts/{font.name}", abs_src_path=str(font)))
    for style in ("normal", "italic"):
        font = modules / f"@fontsource-variable/source-sans-3/files/source-sans-3-latin-wght-{style}.woff2"
        files.append(File.generated(config, f"assets/fonts/{font.name}", abs_src_path=str(font)))
    for name, licence in licences.texts(modules).items():
        files.append(File.generated(config, f"assets/{name}", abs_src_path=str(licence)))
    return files


@event_priority(-100)
def on_pre_page(page: Page, config: MkDocsConfig, files: Files) -> Page:
    """After mkdocs-jupyter: its own rendering, which inlines half a megabyte of styles a page, gives way to MkDocs'."""
    if page.file.src_uri in executed:
        vars(page).pop("render", None)
    if serving:
        memory.keep_rendering(page)
    host = (config.repo_url or "").rstrip("/")
    page.edit_url = f"{host}/edit/main/{_name(page.file.src_uri)}" if host else None
    return page


@event_priority(100)
def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    uri, root = page.file.src_uri, _root(config)
    finding.weigh(uri, page.meta)

    def report(problem: str) -> None:
        log.warning("%s: %s", _name(uri), problem)

    def prose(text: str) -> str:
        for item in links.crowded_lists(text):
            report(f"an empty line is missing before the list that begins `{item.strip()}`")
        stray.check(text, report)
        text = stray.unmark(facts.quote(text, known, report), report)
        return links.outside_code(text, lambda part: links.relink(part, uri, root, report))

    for name in ("title", "description"):
        stray.check(str(page.meta.get(name, "")), report)
    if uri in executed:
        stray.check_alt_texts(pages.code(executed[uri]), report)
        text = pages.to_markdown(executed[uri], report, prose)
        exercises = downloads.has_exercises(executed[uri])
        offered = downloads.offer(Path(uri).stem, config.repo_url or "", exercises=exercises)
        return re.sub(r"^(# .*\n)", rf"\1\n{offered}\n", text, count=1)
    if uri.endswith(".md"):
        text = sources.show(pages.foldable(prose(markdown)), root / "src", report)
        text = benchmarks.show(text, root / RESULTS, report)
        text = ledger.show(text, claims, ledger.titles(root), report)
        text = learning_map.show(text, Path(config.docs_dir), report)
        text = bad_input.show(text, root / "tests" / "bad_input.json", report)
        text = citation.show(text, root / "CITATION.cff", config.repo_url or "", report)
        text = licences.show(text, root, report)
        return commands.show(text, report)
    return markdown


def on_page_context(context: dict[str, Any], page: Page, config: MkDocsConfig, nav: Any) -> dict[str, Any]:
    """What lists of pages show of this one. With an address there is a picture to share, drawn in `on_post_build`."""
    page.meta["heading"] = next((item.title for item in page.toc), str(page.title))
    page.meta.setdefault("description", html.escape(finding.describe(page.content or "")) or config.site_description)
    if config.site_url:
        page.meta["card"] = f"{config.site_url.rstrip('/')}/{cards.path(page.file.src_uri)}"
    return context


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    content = links.to_repository(content, config.repo_url or "")
    content = re.sub(r"<th([^>]*)>\s*</th>", r"<td\1></td>", content)  # a heading that heads nothing
    if TAUGHT.fullmatch(page.file.src_uri):
        content = terms.link(content, glossary, page.url, files.get_file_from_path(GLOSSARY).page.url.rstrip("/"))
    return content


def on_env(env: Environment, config: MkDocsConfig, files: Files) -> None:
    """Every page is read by now: where it is and what it is called, for the links of the files to download."""
    places.clear()
    for file in files.documentation_pages():
        if file.page:
            heading = next((html.unescape(item.title) for item in file.page.toc), str(file.page.title))
            places[file.src_uri] = downloads.Place(file.src_uri, file.url, heading)


@event_priority(-100)
def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Last, after search has read the page: outputs, figures, formulas, and what a screen reader needs."""
    uri = page.file.src_uri

    def report(problem: str) -> None:
        log.warning("%s: %s", _name(uri), problem)

    if uri in executed:
        output = pages.fill(output, executed[uri], report, artist.block)
    output = live.styled(pages.place_figures(output, pictures, report))
    output = _accessible(typesetter.page(output, report))
    policy.check(output, report)
    return output


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    if not template_name.endswith(".html"):
        return output_content
    policy.check(output_content, lambda problem: log.warning("%s: %s", template_name, problem))
    return _accessible(output_content)


@event_priority(-100)
def on_post_build(config: MkDocsConfig) -> None:
    """After search has written its index. Beside each notebook's page, the files that it offers."""
    finding.add_terms(Path(config.site_dir, "search", "search_index.json"), glossary, places[GLOSSARY].address)
    for worker in Path(config.site_dir, "assets", "javascripts", "workers").glob("search.*.min.js"):
        script = finding.tell_states_apart(worker.read_text(encoding="utf-8"), log.warning)
        worker.write_text(script, encoding="utf-8")
    for name, text in artist.later.items():
        target = Path(config.site_dir, "assets", name)
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf-8")
    site = downloads.Site(config.site_url or "", config.repo_url or "", tuple(places.values()))
    for place in places.values():
        if place.uri in executed:
            text = Path(config.docs_dir, place.uri).read_text(encoding="utf-8")
            for name, offered in downloads.files(text, Path(place.uri).stem, site).items():
                Path(config.site_dir, place.address, name).write_text(offered, encoding="utf-8")
    if config.site_url and not serving:
        colours = cards.colours((live.WIDGETS / "tokens.css").read_text(encoding="utf-8"))
        for place in places.values():
            target = Path(config.site_dir, cards.path(place.uri))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(cards.draw(config.site_name, place.title, config.site_description or "", colours))
    if not serving:
        weight.lighten(Path(config.site_dir), typesetter.letters(), log.warning)
        policy.protect(Path(config.site_dir))


def on_shutdown() -> None:
    typesetter.close()
    artist.close()


def _accessible(page: str) -> str:
    """What the theme leaves out: the search dialog's name, tab stops of code that scrolls, scripts that wait.

    What it does too much: it asks GitHub for the stars of the repository that a page links to.
    """
    page = page.replace(' data-md-component="source"', "")
    page = page.replace("<script src=", "<script defer src=")
    page = page.replace('role="dialog"', 'role="dialog" aria-label="Search"', 1)
    return re.sub(r"<pre>(?=<span></span><code>)", '<pre tabindex="0">', page)


def _name(uri: str) -> str:
    """A page by the path of the file that one would edit."""
    return f"notebooks/{Path(uri).stem}.py" if uri in executed else f"explainer/{uri}"


def _root(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent
