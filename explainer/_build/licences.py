"""Under which licences stands what a reader is given: `[all of it](licences:site)` alone on a line becomes a table.

`site` is what the pages load, `package` what `pip install visitwise` brings along. Versions and licences come from what
is installed. What the theme has built into its own script says only its name there, in the script's source map.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ALONE = re.compile(r"^\[[^\]\[]*\]\(licences:(?P<about>[^)]*)\) *$", re.MULTILINE)
ANYWHERE = re.compile(r"\[[^\]\[]*\]\(licences:[^)]*\)")
Report = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """Something that others wrote and the site ships.

    Attributes:
        name: what its authors call it.
        address: where it is from.
        use: what it is here for.
        package: the installed package that brings it: `npm:NAME`, or a Python distribution.
        text: its licence's file below the package, if there is one; the site ships it, too.
        licence: its SPDX name, where that is not the package's own.
        files: what it is, or is part of, in the built site.
    """

    name: str
    address: str
    use: str
    package: str
    text: str = ""
    licence: str = ""
    files: tuple[str, ...] = ()


PARTS = (
    Part(
        *(
            "Material for MkDocs",
            "https://squidfunk.github.io/mkdocs-material/",
            "frame, script and rules of each page",
        ),
        package="mkdocs-material",
        text="licenses/LICENSE",
        files=(
            *("assets/javascripts/bundle.*.min.js", "assets/javascripts/workers/search.*.min.js"),
            *("assets/site.*.css", "assets/images/favicon.png"),
        ),
    ),
    Part(
        *("Material Design Icons", "https://pictogrammers.com/library/mdi/", "icons, drawn inside the pages"),
        package="mkdocs-material",
        text="material/templates/.icons/material/LICENSE",
        licence="Apache-2.0",
    ),
    Part(
        *("KaTeX", "https://katex.org/", "rules and letters of the formulas, which are set before you load them"),
        package="npm:katex",
        text="LICENSE",
        files=("assets/formulas.*.css",),
    ),
    Part(
        *("Source Sans 3", "https://github.com/adobe-fonts/source-sans", "letters of the text, fewer than it has"),
        package="npm:@fontsource-variable/source-sans-3",
        text="LICENSE",
        files=("assets/letters.*.css", "assets/fonts/source-sans-3-*.woff2"),
    ),
)
# What the theme's script and rules are built from, as their source maps name it.
BUNDLED = {
    "clipboard": ("MIT", "https://clipboardjs.com/"),
    "escape-html": ("MIT", "https://github.com/component/escape-html"),
    "focus-visible": ("W3C-20150513", "https://github.com/WICG/focus-visible"),
    "lunr": ("MIT", "https://lunrjs.com/"),
    "material-design-color": ("MIT", "https://github.com/mrmlnc/material-color"),
    "rxjs": ("Apache-2.0", "https://rxjs.dev/"),
    "tslib": ("0BSD", "https://github.com/microsoft/tslib"),
}
# Written for this project, or made from what was: no row is needed.
OURS = (
    *("*.html", "*.ipynb", "_headers", "objects.inv", "sitemap.xml", "sitemap.xml.gz", "search/search_index.json"),
    *("assets/*.js", "assets/widgets/*.js", "assets/given/*.json", "assets/figures.css", "assets/favicon.svg"),
    *("assets/cards/*", "assets/licences/*.txt"),
)
CLASSIFIED = {  # how licences are called in the older of two ways to state them
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
}


def show(markdown: str, root: Path, report: Report) -> str:
    """The Markdown with each table in its place; what is unknown, or has no licence, is reported."""

    def replace(match: re.Match[str]) -> str:
        if match["about"] == "site":
            return _table(("What", "Version", "Licence", "For"), _site_rows(root / "node_modules", report))
        if match["about"] == "package":
            return _table(("What", "Version", "Licence", "Comes with"), _package_rows(root / "pyproject.toml", report))
        report(f"`licences:{match['about']}` is unknown; expected site or package")
        return ""

    text = ALONE.sub(replace, markdown)
    for left_over in ANYWHERE.findall(text):
        report(f"`{left_over}` shows licences and has to stand alone on its line")
    return text


def texts(modules: Path) -> dict[str, Path]:
    """The licences' own texts, by the path that each has below the site's `assets/`."""
    return {f"licences/{_slug(part)}.txt": _text(part, modules) for part in PARTS}


def without_row(site: Path) -> list[str]:
    """What a built site has that is neither ours nor in the table."""
    known = (*OURS, *(pattern for part in PARTS for pattern in part.files))
    found = sorted(path.relative_to(site) for path in site.rglob("*") if path.is_file())
    return [path.as_posix() for path in found if not any(path.match(pattern) for pattern in known)]


def bundled() -> set[str]:
    """The packages that the installed theme has built into its own files."""
    found: set[str] = set()
    for path in metadata.files("mkdocs-material") or []:
        if re.search(r"/assets/.*\.min\.\w+\.map$", path.as_posix()):
            sources = json.loads(path.read_text(encoding="utf-8"))["sources"]
            found |= set(re.findall(r"node_modules/((?:@[^/]+/)?[^/]+)", " ".join(sources)))
    return found


def licence_of(distribution: str) -> str:
    """The licence of an installed Python package: its SPDX name, its class, or the first line of what it says.

    Raises:
        LookupError: if it states none.
    """
    said = metadata.metadata(distribution)
    if expression := said["License-Expression"]:
        return str(expression)
    classes = [one.rpartition(" :: ")[2] for one in said.get_all("Classifier") or [] if one.startswith("License ::")]
    if classes:
        return " AND ".join(CLASSIFIED.get(one, one) for one in classes)
    if said["License"]:
        return str(said["License"]).splitlines()[0]
    raise LookupError(f"the package {distribution} states no licence")


def _site_rows(modules: Path, report: Report) -> Iterator[tuple[str, ...]]:
    for part in PARTS:
        version, licence = _installed(part, modules)
        text = f"[{part.licence or licence}](assets/licences/{_slug(part)}.txt)"
        yield f"[{part.name}]({part.address})", version, text, part.use
    for name in sorted(bundled()):
        if name not in BUNDLED:
            report(f"the theme ships `{name}`, which has no row in explainer/_build/licences.py")
            continue
        licence, address = BUNDLED[name]
        yield f"[{name}]({address})", "", f"[{licence}](https://spdx.org/licenses/{licence}.html)", "part of the theme"


def _package_rows(project: Path, report: Report) -> Iterator[tuple[str, ...]]:
    settings = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    asked: dict[str, list[str]] = {}
    for extra, needed in {"": settings["dependencies"], **settings["optional-dependencies"]}.items():
        if extra not in ("site", "test"):  # tools of those who work on Visitwise
            for requirement in needed:
                asked.setdefault(re.split(r"[<>=!~ ]", requirement)[0], []).append(extra)
    for name, extras in asked.items():
        try:
            licence = licence_of(name)
        except LookupError as problem:
            report(str(problem))
            continue
        brought = "always" if "" in extras else ", ".join(f"`visitwise[{extra}]`" for extra in extras)
        yield f"[{name}](https://pypi.org/project/{name}/)", metadata.version(name).partition("+")[0], licence, brought


def _installed(part: Part, modules: Path) -> tuple[str, str]:
    """Version and licence of the package that brings a part."""
    if part.package.startswith("npm:"):
        said = json.loads((modules / part.package[4:] / "package.json").read_text(encoding="utf-8"))
        return said["version"], said["license"]
    return metadata.version(part.package), licence_of(part.package)


def _text(part: Part, modules: Path) -> Path:
    if part.package.startswith("npm:"):
        return modules / part.package[4:] / part.text
    (found,) = [one for one in metadata.files(part.package) or [] if one.as_posix().endswith(part.text)]
    return Path(str(found.locate()))


def _slug(part: Part) -> str:
    return part.name.lower().replace(" ", "-")


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))
