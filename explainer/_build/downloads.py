"""The files that each notebook's page offers, for Jupyter on a machine that has the package and nothing else.

`NN_slug.ipynb` is the executed notebook with its solutions and outputs, `NN_slug-exercises.ipynb` the one to work in:
no solutions, no outputs. A notebook without exercises is offered once. What only this site's build understands has
become plain text: checked numbers, marks and links to files that a reader does not have beside the notebook.
"""

import functools
import json
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import facts
import links
import stray

Notebook = dict[str, Any]
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
LINK = (
    r"!?\[(?P<text>(?:[^\]\[]|\[[^\]\[]*\])+)\]"
    r"\((?![a-z]+:|/)(?P<target>[^)\s#]*)(?P<fragment>#[^)\s]*)?(?:\s+\"[^\"]*\")?\)"
)


class Place(NamedTuple):
    """A page by its path among the documents, with its address on the site and its title."""

    uri: str
    address: str
    title: str


@dataclass(frozen=True)
class Site:
    """Where the links of a notebook lead: the addresses of site and repository, if they have one, and the pages."""

    address: str = ""
    repository: str = ""
    places: tuple[Place, ...] = ()

    def place(self, uri: str) -> Place | None:
        return next((place for place in self.places if place.uri == uri), None)


def has_exercises(notebook: Notebook) -> bool:
    """Whether there is anything to leave out for those who want to work by themselves."""
    return any(_is_solution(cell) for cell in notebook["cells"])


def offer(name: str, repository: str, *, exercises: bool = True) -> str:
    """What one can do with a notebook: download it, and run it elsewhere where its source is public.

    Args:
        name: the notebook's own, such as `01_hazard_to_likelihood`.
        repository: where its source is, if it is anywhere.
        exercises: whether it has any.
    """
    whole = f'<a href="{name}.ipynb" download>with {"solutions and " if exercises else "its "}outputs</a>'
    empty = f' or <a href="{name}-exercises.ipynb" download>with the exercises alone</a>' if exercises else ""
    text = f"Download this notebook {whole}{empty}."
    if found := re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?/?", repository):
        binder = f"https://mybinder.org/v2/gh/{found[1]}/HEAD?urlpath=lab/tree/notebooks/{name}.py"
        text += f' Or <a href="{binder}">run it on Binder</a>, which takes minutes to start.'
    return f'<p class="vw-download">{text}</p>\n'


@functools.lru_cache(maxsize=100)  # while the site is served the same notebooks come again and again
def files(executed: str, name: str, site: Site) -> dict[str, str]:
    """The text of each file that is offered, by its name.

    Args:
        executed: an executed notebook, the text of its file.
        name: the notebook's own, such as `01_hazard_to_likelihood`.
        site: what the notebook's links lead to.
    """
    whole = _for_readers(executed, name, site)
    offered = {f"{name}.ipynb": _dump(whole)}
    if has_exercises(whole):
        offered[f"{name}-exercises.ipynb"] = _dump(_without_solutions(whole))
    return offered


def _is_solution(cell: dict[str, Any]) -> bool:
    return "solution" in cell["metadata"].get("tags", [])


def _for_readers(executed: str, name: str, site: Site) -> Notebook:
    whole: Notebook = json.loads(executed)
    language = whole["metadata"].get("language_info")
    whole["metadata"] = {"kernelspec": KERNEL} | ({"language_info": language} if language else {})
    for cell in whole["cells"]:
        if cell["cell_type"] == "markdown":
            source = cell["source"]
            text = source if isinstance(source, str) else "".join(source)
            cell["source"] = plain(text, name, site).splitlines(keepends=True)
        for output in cell.get("outputs", []):
            for kind in [kind for kind in output.get("data", {}) if kind.startswith("application/vnd.visitwise")]:
                del output["data"][kind]
    return whole


def _without_solutions(whole: Notebook) -> Notebook:
    cells = []
    for cell in whole["cells"]:
        if _is_solution(cell):
            continue
        cells.append(cell | {"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else cell)
    return whole | {"cells": cells}


def plain(markdown: str, name: str, site: Site) -> str:
    """A cell's Markdown with numbers and marks as text, and with links that work from any folder or are text."""

    def replace(match: re.Match[str]) -> str:
        return _link(match["text"], match["target"], match["fragment"] or "", name, site)

    for mark in (facts.LINK, stray.AS_IS):
        markdown = links.sub_outside_code(mark, lambda match: str(match["literal"]), markdown)
    return links.sub_outside_code(LINK, replace, markdown)


def _link(text: str, target: str, fragment: str, name: str, site: Site) -> str:
    if not target:
        target = f"{name}.py"
        if not site.address:
            return text
    file = posixpath.normpath(posixpath.join("notebooks", target))
    uri = file.removeprefix("explainer/")
    if re.fullmatch(r"notebooks/\w+\.py", file):
        uri = file.removesuffix(".py") + ".ipynb"
    if place := site.place(uri):
        if site.address:
            return f"[{text}]({site.address.rstrip('/')}/{place.address}{fragment})"
        return text if place.title.casefold() in text.casefold() else f"{text} ({place.title})"
    if site.repository:
        return f"[{text}]({site.repository.rstrip('/')}/blob/main/{file}{fragment})"
    return text if Path(file).name in text else f"{text} (`{file}`)"


def _dump(notebook: Notebook) -> str:
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
