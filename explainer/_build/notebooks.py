"""Runs the notebooks: `notebooks/NN_slug.py` -> `explainer/notebooks/NN_slug.ipynb`, with outputs.

    python explainer/_build/notebooks.py            run those that changed
    python explainer/_build/notebooks.py NN_slug    run this one, if it changed
    python explainer/_build/notebooks.py --fresh    run all of them
    python explainer/_build/notebooks.py --check    run none; list what is out of date, exit 1 if anything is
    python explainer/_build/notebooks.py --limit    exit 1 if one that ran took longer than a minute

A notebook is out of date when it, any file of the package, `requirements.lock` or this program changed since it ran.
Two runs give the same bytes. A notebook that fails leaves its earlier output in place and stops the build.
"""

import argparse
import asyncio
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
AT_A_TIME = 2
SECONDS_A_CELL = 600
SECONDS_A_NOTEBOOK = 60
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
PROGRESS_BAR = re.compile(r"[^\n]*\r|[^\n]*\d+%\|[^\n]*\|[^\n]*(?:\n|$)")
ELSEWHERE = {".pyc", ".js", ".css"}  # no number depends on them: the site draws its figures anew each time
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class NotebookError(Exception):
    """A notebook stopped at a cell; the message names both and gives the error."""


def sources(root: Path = ROOT) -> list[Path]:
    return sorted((root / "notebooks").glob("*.py"))


def output_of(source: Path, root: Path = ROOT) -> Path:
    return root / "explainer" / "notebooks" / f"{source.stem}.ipynb"


def key_of(source: Path, root: Path = ROOT) -> str:
    """What the outputs of a notebook depend on, as one hash."""
    return _key(source, _key_of_all(root))


def is_stale(source: Path, root: Path = ROOT) -> bool:
    return _is_stale(source, root, _key_of_all(root))


def stale(root: Path = ROOT) -> list[Path]:
    """The notebooks whose output is missing or older than what it depends on."""
    shared = _key_of_all(root)
    return [source for source in sources(root) if _is_stale(source, root, shared)]


def _key_of_all(root: Path) -> str:
    """What the outputs of every notebook depend on: the package, the lock and this program."""
    package = (p for p in (root / "src" / "visitwise").rglob("*") if p.is_file() and p.suffix not in ELSEWHERE)
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in [*sorted(package), root / "requirements.lock"]:
        name, content = path.relative_to(root).as_posix(), path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _key(source: Path, shared: str) -> str:
    return hashlib.sha256(f"{source.name}\0{shared}\0".encode() + source.read_bytes()).hexdigest()


def _is_stale(source: Path, root: Path, shared: str) -> bool:
    output = output_of(source, root)
    if not output.exists():
        return True
    notebook = json.loads(output.read_text(encoding="utf-8"))
    return bool(notebook["metadata"].get("visitwise", {}).get("key") != _key(source, shared))


def run(chosen: Sequence[Path], root: Path = ROOT) -> dict[str, float]:
    """Run the notebooks, a few at a time, each in a kernel of its own.

    Returns:
        How many seconds each took, from the start of its kernel to the end, on a clock on the wall.

    Raises:
        NotebookError: naming each notebook that failed and the cell it failed at; the others are written.
    """
    seconds, problems = asyncio.run(_run_all(chosen, root))
    if problems:
        raise NotebookError("\n\n".join(problems))
    return seconds


def forget_removed(root: Path = ROOT) -> None:
    """Delete the output of a notebook that is gone, so that no page is made of it."""
    wanted = {output_of(source, root) for source in sources(root)}
    for output in (root / "explainer" / "notebooks").glob("*.ipynb"):
        if output not in wanted:
            output.unlink()


async def _run_all(chosen: Sequence[Path], root: Path) -> tuple[dict[str, float], list[str]]:
    from tqdm import tqdm  # what only a run needs is imported by a run: most calls find nothing to do

    turn = asyncio.Semaphore(AT_A_TIME)
    seconds: dict[str, float] = {}
    problems: list[str] = []
    with tqdm(total=len(chosen), desc="Running the notebooks", unit="notebook", disable=not chosen) as bar:

        async def one(source: Path) -> None:
            async with turn:
                began = time.perf_counter()
                try:
                    await _run_one(source, root)
                    seconds[source.stem] = time.perf_counter() - began
                except NotebookError as problem:
                    problems.append(str(problem))
                bar.set_postfix_str(source.stem)
                bar.update()

        await asyncio.gather(*map(one, chosen))
    return seconds, problems


async def _run_one(source: Path, root: Path) -> None:
    import jupytext
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    key = key_of(source, root)  # before the run: an edit made meanwhile makes the output stale
    notebook = jupytext.read(source)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    with tempfile.TemporaryDirectory(prefix="vw-") as scratch:
        # Sockets in a folder instead of ports; and no kernel, start-up file or setting of the user's own.
        manager = AsyncKernelManager(transport="ipc", ip=f"{scratch}/socket")
        manager.kernel_spec_manager = KernelSpecManager(kernel_dirs=[])
        client = NotebookClient(
            notebook,
            km=manager,
            timeout=SECONDS_A_CELL,
            allow_errors=False,
            record_timing=False,
            resources={"metadata": {"path": str(source.parent)}},
        )
        environment = os.environ | ONE_THREAD | {"PYTHONHASHSEED": "0", "IPYTHONDIR": scratch}
        environment.pop("MPLBACKEND", None)
        try:
            await client.async_execute(env=environment)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise NotebookError(_explain(source, notebook, error)) from None
        finally:
            if manager.has_kernel:
                await manager.shutdown_kernel(now=True)
    _make_static(notebook)
    notebook.metadata["visitwise"] = {"key": key}
    _write(notebook, output_of(source, root))


def _explain(source: Path, notebook: Any, error: Exception) -> str:
    """Which notebook, which cell, its first line and the error's own last lines."""
    reached = 0
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code" and (cell.get("execution_count") or cell.get("outputs")):
            reached = number
    code = notebook.cells[reached - 1].source.strip() if reached else "(no cell was reached)"
    ename, evalue = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
    indented = "\n".join(f"    {line}" for line in code.splitlines())
    return f"notebooks/{source.name}, cell {reached}:\n{indented}\n{ename}: {evalue}"


def _make_static(notebook: Any) -> None:
    """Take out what differs between two runs, and what needs a kernel to be shown."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.pop("jupytext", None)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:03d}"
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_still, cell.outputs) if output is not None]


def _still(output: Any) -> Any:
    if output.output_type == "stream":
        output.text = _scrub(PROGRESS_BAR.sub("", output.text) if output.name == "stderr" else output.text)
        return output if output.text.strip() else None
    data = output.get("data", {})
    data.pop(WIDGET_VIEW, None)
    for kind in ("text/plain", "text/html"):
        if kind in data:
            data[kind] = _scrub(data[kind])
    return output


def _scrub(text: str) -> str:
    """Addresses in memory differ from run to run."""
    return re.sub(r"0x[0-9a-f]{6,}", "0x…", text)


def _write(notebook: Any, output: Path) -> None:
    """All or nothing: a reader of the output never meets half a file."""
    import nbformat

    nbformat.validate(notebook)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix(".partial")
    text: str = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    partial.write_text(text, encoding="utf-8")
    partial.replace(output)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the notebooks whose outputs are out of date.")
    parser.add_argument("--fresh", action="store_true", help="run all of them")
    parser.add_argument("--check", action="store_true", help="run none; list what is out of date, exit 1 if any is")
    parser.add_argument(
        "--limit",
        type=float,
        nargs="?",
        const=SECONDS_A_NOTEBOOK,
        metavar="SECONDS",
        help=f"exit 1 if a notebook that ran took longer; {SECONDS_A_NOTEBOOK} seconds if no number is given",
    )
    parser.add_argument("names", nargs="*", help="such as 01_hazard_to_likelihood; none for all")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    forget_removed(root)
    chosen = sources(root) if options.fresh else stale(root)
    chosen = [source for source in chosen if not options.names or source.stem in options.names]
    if options.check:
        print("\n".join(f"out of date: notebooks/{source.name}" for source in chosen) or "all notebooks are up to date")
        return 1 if chosen else 0
    try:
        seconds = run(chosen, root)
    except NotebookError as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    for name, taken in sorted(seconds.items()):
        late = options.limit is not None and taken > options.limit
        print(f"{name}: {taken:.0f} s{f', more than the {options.limit:g} s it may take' if late else ''}")
    return int(options.limit is not None and any(taken > options.limit for taken in seconds.values()))


if __name__ == "__main__":
    sys.exit(main())
