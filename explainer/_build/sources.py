"""The shipped lines on a page: `[shipped code](source:visitwise.functional.hazard_nll)` alone on a line.

The lines come from `src/` without being imported, so that building the site needs no torch. They come without the
docstring, because the page itself explains them, and without `@explained`, which words errors and does nothing else.
"""

import ast
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

ALONE = re.compile(r"^( *)\[([^\]\[]*)\]\(source:([\w.]*)\) *$", re.MULTILINE)
ANYWHERE = re.compile(r"\[[^\]\[]*\]\(source:[^)]*\)")
Report = Callable[[str], None]


def show(markdown: str, src: Path, report: Report) -> str:
    """The Markdown with each shipped definition as a code block; an unknown one is reported."""

    def replace(match: re.Match[str]) -> str:
        indent, _, target = match.groups()
        try:
            path, code = shipped(target, src)
        except LookupError as error:
            report(str(error.args[0]))
            return ""
        block = f'```python title="{path.relative_to(src.parent).as_posix()}"\n{code}\n```'
        return textwrap.indent(block, indent)

    text = ALONE.sub(replace, markdown)
    for left_over in ANYWHERE.findall(text):
        report(f"`{left_over}` shows code and has to stand alone on its line")
    return text


def shipped(target: str, src: Path) -> tuple[Path, str]:
    """The file and the lines of a function or class named with dots, without its docstring.

    Raises:
        LookupError: if there is no such file or no such definition in it.
    """
    parts = target.split(".")
    for length in range(len(parts) - 1, 0, -1):
        path = src.joinpath(*parts[:length]).with_suffix(".py")
        if path.exists():
            text = path.read_text(encoding="utf-8")
            return path, _without_docstring(text, _find(ast.parse(text), parts[length:], target))
    raise LookupError(f"`source:{target}` names no module of this package")


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _find(tree: ast.Module, names: list[str], target: str) -> Definition:
    place: ast.Module | Definition = tree
    for name in names:
        for node in place.body:
            if isinstance(node, Definition) and node.name == name:
                place = node
                break
        else:
            raise LookupError(f"`source:{target}` names nothing that is defined there")
    assert not isinstance(place, ast.Module)
    return place


def _without_docstring(text: str, definition: Definition) -> str:
    lines = text.splitlines()
    start = min([definition.lineno, *(d.lineno for d in definition.decorator_list)])
    left_out = {d.lineno for d in definition.decorator_list if isinstance(d, ast.Name) and d.id == "explained"}
    first = definition.body[0]
    if ast.get_docstring(definition) is not None and len(definition.body) > 1:
        assert first.end_lineno
        # The lines down to the next statement, less any comment that stands between.
        left_out |= set(range(first.lineno, first.end_lineno + 1))
        if not lines[first.end_lineno].strip():
            left_out.add(first.end_lineno + 1)
    kept = [lines[n - 1] for n in range(start, (definition.end_lineno or start) + 1) if n not in left_out]
    return textwrap.dedent("\n".join(kept))
