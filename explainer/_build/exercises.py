"""Makes each exercise from its solution, so that the two never ask for different things.

    python explainer/_build/exercises.py            write the exercise cells of all notebooks
    python explainer/_build/exercises.py NN_slug    of this one
    python explainer/_build/exercises.py --check    write none; show what would change, exit 1 if anything would

A solution is one cell, `# %% tags=["solution"] jupyter={"source_hidden": true}`: comments that may be read as hints,
code, and from its first top-level `check.` statement on the check of what the code computed. The exercise is written
right before it, as a cell tagged `exercise`: the hints, the imports, a stub for each name that the check or a later
cell uses (`name = None  # your code here`; a function keeps its signature and its docstring, a class its `__init__`
as well), and the check.

A solution without a check keeps the exercise that somebody wrote by hand before it.
"""

import argparse
import ast
import difflib
import itertools
import re
import symtable
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADER = re.compile(r"^# %%(?!%).*$", re.MULTILINE)
TAGS = re.compile(r"\btags=\[([^\]]*)\]")
TODO = "# your code here"
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class ExerciseError(Exception):
    """A solution of which no exercise can be made; the message says where it stands and why."""


@dataclass(frozen=True)
class Cell:
    """A cell as it stands in the file, header line included."""

    text: str
    line: int

    @property
    def header(self) -> str:
        return self.text.partition("\n")[0]

    @property
    def body(self) -> str:
        return self.text.partition("\n")[2]

    @property
    def tags(self) -> list[str]:
        found = TAGS.search(self.header)
        return re.findall(r'"([^"]*)"', found[1]) if found else []

    @property
    def is_code(self) -> bool:
        return self.text.startswith("# %%") and not re.search(r"\[(markdown|md|raw)\]", self.header)

    @property
    def statements(self) -> list[ast.stmt]:
        return ast.parse(self.body).body if self.is_code else []


def cells(notebook: str) -> list[Cell]:
    """The notebook cut before each `# %%`; joined, the texts are the notebook again."""
    cuts = sorted({0, *(match.start() for match in HEADER.finditer(notebook)), len(notebook)})
    return [Cell(notebook[a:b], notebook.count("\n", 0, a) + 1) for a, b in itertools.pairwise(cuts)]


def with_exercises(notebook: str) -> str:
    """The notebook with the exercise of each solution in its place; everything else keeps its bytes.

    Raises:
        ExerciseError: if a solution gives no exercise, an exercise has no solution, or a cell is not Python.
    """
    old = cells(notebook)
    new: list[Cell] = []
    for number, cell in enumerate(old):
        try:
            if "exercise" in cell.tags and "solution" not in (old[number + 1].tags if number + 1 < len(old) else []):
                raise ExerciseError("an exercise is followed by its solution, and here is none")
            if "solution" in cell.tags:
                _place(cell, old[number + 1 :], new)
        except ExerciseError as problem:
            raise ExerciseError(f"line {cell.line}: {problem}") from None
        except SyntaxError as problem:
            raise ExerciseError(f"line {cell.line + (problem.lineno or 0)}: {problem.msg}") from None
        new.append(cell)
    return "".join(cell.text for cell in new)


def exercise(solution: str, later: Iterable[Sequence[ast.stmt]]) -> str:
    """The exercise of a solution, both without their header.

    Args:
        solution: the cell's code.
        later: the statements of each later cell, exercises left out.

    Raises:
        ExerciseError: if nothing that the solution computes is checked or used later.
    """
    lines, statements = solution.splitlines(), ast.parse(solution).body
    first = next(number for number, statement in enumerate(statements) if _is_check(statement))
    answer, check = statements[:first], statements[first:]
    used = reads_first(check).union(*_reads_until_assigned(later))
    blocks: list[tuple[str, str]] = []
    seen: set[str] = set()
    for statement in answer:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            blocks.append(("import", _source(lines, statement.lineno, statement.end_lineno)))
            continue
        for name in _bound_in_order(statement):
            if name in used and name not in seen:
                seen.add(name)
                whole = isinstance(statement, Definition)
                blocks.append(("definition", _stub(lines, statement)) if whole else ("name", f"{name} = None  {TODO}"))
    if not seen:
        raise ExerciseError("neither the check nor a later cell uses a name that the solution gives a value")
    blocks.append(("check", _source(lines, _with_comments(lines, check[0].lineno), len(lines))))
    hints = _hints(lines)
    return "\n".join([*hints, _join(blocks)]) + "\n"


def given(solution: str) -> set[str]:
    """The names that the code of a solution gives a value, before its check."""
    answer = []
    for statement in ast.parse(solution).body:
        if _is_check(statement):
            break
        answer.append(statement)
    return {name for statement in answer for name in _bound_in_order(statement)}


def reads_first(statements: Sequence[ast.stmt]) -> set[str]:
    """The names that these statements read before they assign them."""
    read: set[str] = set()
    assigned: set[str] = set()
    for statement in statements:
        reads, binds = _names(statement)
        if hasattr(statement, "body"):  # in a loop or a function what is assigned is assigned before it is read
            reads -= binds
        read |= reads - assigned
        assigned |= binds
    return read


def _place(solution: Cell, later: Sequence[Cell], new: list[Cell]) -> None:
    """Put the solution's exercise at the end of the cells before it, in place of the one that is there."""
    by_hand = bool(new) and "exercise" in new[-1].tags
    if not any(map(_is_check, solution.statements)):
        if not by_hand:
            raise ExerciseError("the solution has no top-level `check.` statement, and there is no exercise before it")
        return
    if by_hand:
        new.pop()
    uses = [cell.statements for cell in later if "exercise" not in cell.tags]
    text = f'# %% tags=["exercise"]\n{exercise(solution.body, uses)}'
    made = Cell(text + "\n" * _blank_lines(Cell(text, 0), solution), solution.line)
    if new:
        before = new.pop()
        new.append(Cell(before.text.rstrip("\n") + "\n" + "\n" * _blank_lines(before, made), before.line))
    new.append(made)


def _blank_lines(before: Cell, after: Cell) -> int:
    """As the formatter wants it: two where a function or a class ends or begins, else one."""
    edges = [*before.statements[-1:], *after.statements[:1]]
    return 2 if any(isinstance(edge, Definition) for edge in edges) else 1


def _is_check(statement: ast.stmt) -> bool:
    if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)):
        return False
    called = statement.value.func
    return isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "check"


def _names(statement: ast.stmt) -> tuple[set[str], set[str]]:
    """The global names that a statement reads, also inside its functions, and those that it binds."""
    top = symtable.symtable(ast.unparse(statement), "cell", "exec")
    reads = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()}
    binds = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    inner = list(top.get_children())
    while inner:
        table = inner.pop()
        inner += table.get_children()
        reads |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global() and symbol.is_referenced()}
    if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
        reads.add(statement.target.id)
    return reads, binds


def _bound_in_order(statement: ast.stmt) -> list[str]:
    if isinstance(statement, Definition):
        return [statement.name]
    _, binds = _names(statement)
    stored = [node for node in ast.walk(statement) if isinstance(node, ast.Name) and node.id in binds]
    return list(dict.fromkeys(node.id for node in sorted(stored, key=lambda node: (node.lineno, node.col_offset))))


def _reads_until_assigned(later: Iterable[Sequence[ast.stmt]]) -> Iterable[set[str]]:
    """For each later cell the names that it reads and that no cell between gave a new value."""
    renewed: set[str] = set()
    for statements in later:
        yield reads_first(statements) - renewed
        renewed |= set().union(*(_names(statement)[1] for statement in statements))


def _stub(lines: list[str], statement: ast.stmt) -> str:
    """A function or a class without what it does."""
    assert isinstance(statement, Definition)
    first = statement.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    end = first.end_lineno if documented else first.lineno - 1
    start = min([statement.lineno, *(decorator.lineno for decorator in statement.decorator_list)])
    signature = _source(lines, start, end)
    if not isinstance(statement, ast.ClassDef):
        return f"{signature}\n{' ' * first.col_offset}return None  {TODO}"
    methods = [
        _source(lines, part.lineno, part.end_lineno) if part.name == "__init__" else _stub(lines, part)
        for part in statement.body
        if isinstance(part, Definition)
    ]
    return "\n\n".join([signature, *methods]) if methods else f"{signature}\n{' ' * first.col_offset}pass  {TODO}"


def _join(blocks: list[tuple[str, str]]) -> str:
    text, before = blocks[0][1], blocks[0][0]
    for kind, block in blocks[1:]:
        gap = "\n\n\n" if "definition" in (before, kind) else "\n" if before == kind else "\n\n"
        text, before = text + gap + block, kind
    return text


def _hints(lines: list[str]) -> list[str]:
    hints: list[str] = []
    for line in lines:
        if line.strip() and not line.startswith("#"):
            break
        hints.append(line)
    while hints and not hints[-1].strip():
        hints.pop()
    return hints


def _with_comments(lines: list[str], start: int) -> int:
    """The first line of the comments that stand right above a line."""
    while start > 1 and lines[start - 2].startswith("#"):
        start -= 1
    return start


def _source(lines: list[str], start: int, end: int | None) -> str:
    return "\n".join(lines[start - 1 : end]).rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the exercise of each solution into the notebooks.")
    parser.add_argument("--check", action="store_true", help="write nothing; show what would change")
    parser.add_argument("names", nargs="*", help="such as 01_hazard_to_likelihood; none for all")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    options = parser.parse_args(arguments)
    status = 0
    for path in sorted((options.root / "notebooks").glob("*.py")):
        if options.names and path.stem not in options.names:
            continue
        before = path.read_text(encoding="utf-8")
        try:
            after = with_exercises(before)
        except ExerciseError as problem:
            print(f"notebooks/{path.name}, {problem}", file=sys.stderr)
            status = 1
            continue
        if after == before:
            continue
        if options.check:
            name, status = f"notebooks/{path.name}", 1
            told = difflib.unified_diff(
                before.split("\n"), after.split("\n"), name, "from its solutions", n=2, lineterm=""
            )
            print("\n".join(told))
        else:
            path.write_text(after, encoding="utf-8", newline="\n")
            print(f"notebooks/{path.name}: exercises written")
    return status


if __name__ == "__main__":
    sys.exit(main())
