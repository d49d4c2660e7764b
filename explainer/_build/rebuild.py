"""What `mkdocs serve` need not do again: for each saved file MkDocs rebuilds the whole site, most of it as it was.

The HTML of a page is kept as long as its Markdown, the list of pages, the package and `mkdocs.yml` are the same, and so
is what search reads out of it. A page whose rendering had something to warn of is rendered again each time, so that the
warning is repeated. What is served is what `mkdocs build` writes, which never comes here; only `objects.inv`, for
other projects, may lack names.
"""

import hashlib
import logging
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

RENDERED = ("content", "toc", "_title_from_render", "present_anchor_ids")
Kept = tuple[Hashable, Any]


class Memory:
    """What earlier builds of this process made, by page."""

    def __init__(self) -> None:
        self._pages: dict[str, Kept] = {}
        self._search: dict[str, Kept] = {}
        self._surroundings = ""

    def begin(self, config: MkDocsConfig) -> None:
        """A build begins: see what all pages depend on, and keep what search reads."""
        root = Path(config.config_file_path).parent
        digest = hashlib.sha256(Path(config.config_file_path).read_bytes())
        for path in sorted((root / "src").rglob("*.py")):
            digest.update(str(path).encode() + path.read_bytes())
        self._surroundings = digest.hexdigest()
        for plugin in config.plugins.values():
            if hasattr(plugin, "search_index"):
                self._keep_search(plugin.search_index)

    def keep_rendering(self, page: Page) -> None:
        """Let the page be rendered only where that gives something new."""
        ordinary = page.render

        def render(config: MkDocsConfig, files: Files) -> None:
            key = (page.markdown, self._surroundings, tuple(sorted(files.src_uris)))
            kept = self._pages.get(page.file.src_uri)
            names = config.plugins.get("autorefs")
            if kept and kept[0] == key:
                rendered, linked, anchors = kept[1]
                vars(page).update(rendered)
                page.links_to_anchors = {files.src_uris[uri]: links for uri, links in linked.items()}
                for anchor in anchors:
                    names.register_anchor(page, *anchor[0], **anchor[1])
                return
            with _Listening(names) as heard:
                ordinary(config, files)
            rendered = {name: getattr(page, name) for name in RENDERED}
            linked = {file.src_uri: links for file, links in (page.links_to_anchors or {}).items()}
            self._pages.pop(page.file.src_uri, None)
            if not heard.warnings:
                self._pages[page.file.src_uri] = (key, (rendered, linked, heard.anchors))

        page.render = render  # type: ignore[method-assign]

    def _keep_search(self, index: Any) -> None:
        ordinary = index.add_entry_from_context

        def add(page: Page) -> None:
            key = (page.content, str(page.title), repr(page.meta))
            kept = self._search.get(page.url)
            if kept and kept[0] == key:
                index.entries.extend(dict(entry) for entry in kept[1])
                return
            before = len(index.entries)
            ordinary(page)
            self._search[page.url] = (key, [dict(entry) for entry in index.entries[before:]])

        index.add_entry_from_context = add


class _Listening(logging.Handler):
    """While a page is rendered: the warnings that it gives, and the names that it makes known to other pages."""

    def __init__(self, names: Any) -> None:
        super().__init__(logging.WARNING)
        self.names = names
        self.warnings = 0
        self.anchors: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.warnings += 1

    def __enter__(self) -> "_Listening":
        logging.getLogger("mkdocs").addHandler(self)
        if self.names is not None:
            ordinary = self.names.register_anchor

            def register(page: Page, *arguments: Any, **options: Any) -> None:
                self.anchors.append((arguments, options))
                ordinary(page, *arguments, **options)

            self.names.register_anchor = register
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("mkdocs").removeHandler(self)
        if self.names is not None:
            del self.names.register_anchor
