"""An executed notebook as a page: prose as Markdown, code as a fenced block, outputs as HTML that stands still.

The page then goes the way of every other page: the same headings, links, search, highlighting and colours. Outputs are
put in at the very end (`fill`), so that nothing reads them as Markdown.
"""

import html
import re
from collections.abc import Callable, Iterable
from typing import Any

import live

Report = Callable[[str], None]
Notebook = dict[str, Any]
Draw = Callable[[dict[str, Any]], str]
SLOT = re.compile(r'<div data-cell-outputs="(\d+)"></div>')
FIGURE = re.compile(r'<div data-figure="([^"]*)">')
PLACES = re.compile(r' (?:d|x|y|points|width|height)="[^"]*"|translate\([^)]*\)|opacity: [\d.]+')
FINE = re.compile(r"\d+\.\d{3,}")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def to_markdown(notebook: Notebook, report: Report, prose: Callable[[str], str] = str) -> str:
    """The notebook's cells as one Markdown text, with a slot where a cell's outputs go.

    Args:
        notebook: an executed notebook, as JSON.
        report: told of each problem, with the cell's number.
        prose: applied to each Markdown cell and to no code.
    """
    parts = []
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "markdown":
            parts.append(foldable(prose(_text(cell["source"]))))
        elif cell["cell_type"] == "code" and _text(cell["source"]).strip():
            parts.append(_code_cell(cell, number, report))
    return "\n\n".join(parts) + "\n"


def code(notebook: Notebook) -> list[str]:
    """The code of each code cell."""
    return [_text(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def fill(page: str, notebook: Notebook, report: Report, draw: Draw) -> str:
    """The page's HTML with each slot filled by its cell's outputs; `draw` makes a figure's block from its record."""

    def outputs(match: re.Match[str]) -> str:
        number = int(match[1])
        told = lambda problem: report(f"cell {number + 1}: {problem}")  # noqa: E731
        blocks = [_output(output, number + 1, told, draw) for output in notebook["cells"][number]["outputs"]]
        return '<div class="vw-outputs">' + "".join(blocks) + "</div>"

    return SLOT.sub(outputs, page)


def figures(notebooks: Iterable[tuple[str, Notebook]], report: Report, draw: Draw) -> dict[str, str]:
    """The figures that pages may show, by name: outputs of cells with a tag such as `figure:loss_by_epoch`."""
    found: dict[str, str] = {}
    for notebook, content in notebooks:
        for cell in content["cells"]:
            for tag in cell.get("metadata", {}).get("tags", []):
                if not tag.startswith("figure:"):
                    continue
                name = tag.removeprefix("figure:")
                shown = [output["data"] for output in cell["outputs"] if "data" in output]
                pictures = [rounded(_text(data["image/svg+xml"])) for data in shown if "image/svg+xml" in data]
                pictures += [_drawn(data[live.MIME], draw, report, notebook) for data in shown if live.MIME in data]
                if len(pictures) != 1 or name in found:
                    report(f"{notebook}: the tag `{tag}` marks {len(pictures)} figures, or a name in use; expected one")
                else:
                    found[name] = pictures[0]
    return found


def place_figures(page: str, known: dict[str, str], report: Report) -> str:
    """The page's HTML with a notebook's figure in each `<div data-figure="name">`, above what stands there."""

    def replace(match: re.Match[str]) -> str:
        if match[1] not in known:
            report(f"no cell of a notebook has the tag `figure:{match[1]}`")
            return match[0]
        return f'<div class="vw-figure" data-figure="{match[1]}">{known[match[1]]}'

    return FIGURE.sub(replace, page)


def rounded(svg: str) -> str:
    """The picture with its places to a hundredth of a point, a third of the letters; factors of scale stay exact."""
    return PLACES.sub(lambda places: FINE.sub(lambda number: f"{float(number[0]):.2f}", places[0]), svg)


def foldable(markdown: str) -> str:
    """Jupyter reads Markdown inside `<details>`; Python-Markdown wants to be told to."""
    return re.sub(r"^<details(?![^>]*markdown=)", '<details markdown="1"', markdown, flags=re.MULTILINE)


def _code_cell(cell: dict[str, Any], number: int, report: Report) -> str:
    tags = cell["metadata"].get("tags", [])
    if cell.get("execution_count") is None:
        report(f"cell {number + 1} was not executed")
    block = f"```python\n{_text(cell['source'])}\n```"
    if cell["outputs"]:
        block += f'\n\n<div data-cell-outputs="{number}"></div>'
    if "solution" in tags:
        block = f'<details class="vw-solution" markdown="1">\n<summary>One solution</summary>\n\n{block}\n\n</details>'
    return block


def _output(output: dict[str, Any], number: int, report: Report, draw: Draw) -> str:
    if output["output_type"] == "stream":
        return _plain(output["text"], number)
    data, metadata = output["data"], output.get("metadata", {})
    if live.MIME in data:
        return _drawn(data[live.MIME], draw, report)
    for kind in [name for name in data if name.startswith("image/")]:
        return _image(kind, _text(data[kind]), metadata.get(kind, {}).get("alt"), report)
    if "text/html" in data:
        return _html(_text(data["text/html"]), number, report)
    return _plain(data.get("text/plain", ""), number)


def _drawn(record: dict[str, Any], draw: Draw, report: Report, where: str = "") -> str:
    try:
        return draw(record)
    except ValueError as problem:
        report(f"{where}: {problem}" if where else str(problem))
        return ""


def _image(kind: str, content: str, alt: str | None, report: Report) -> str:
    if not alt:
        report('a figure without alt text; end the cell with `show(figure, alt="...")`')
        return ""
    if kind == "image/svg+xml":  # its label is inside it
        return f'<figure class="vw-figure">{rounded(content)}</figure>'
    source = f"data:{kind};base64,{content.strip()}"
    return f'<figure class="vw-figure"><img src="{source}" alt="{html.escape(alt)}"></figure>'


def _html(content: str, number: int, report: Report) -> str:
    if "<script" in content:
        report("an output with a script, which the site does not run")
        return ""
    if re.search(r"<img(?![^>]*\balt=)|<svg(?![^>]*\baria-label=)", content):
        report('a figure without alt text; end the cell with `show(figure, alt="...")`')
    content = re.sub(r"<style.*?</style>", "", content, flags=re.DOTALL)
    content = re.sub(r' (?:border="1"|style="text-align: right;")', "", content)
    content = content.replace("<th></th>", "<td></td>")  # a heading that heads nothing
    return f'<div class="vw-table" role="group" aria-label="Output of cell {number}" tabindex="0">{content}</div>'


def _plain(text: str | list[str], number: int) -> str:
    content = html.escape(ANSI.sub("", _text(text)).rstrip("\n"), quote=False)
    return f'<pre class="vw-text" role="group" aria-label="Output of cell {number}" tabindex="0">{content}</pre>'


def _text(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)
