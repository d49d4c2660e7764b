"""The notebooks that a page offers hold nothing that only this site understands, and run where only the package is."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.built import ROOT, built

# isort: split
import downloads
import exercises

RUNNER = ROOT / "tests" / "downloaded.py"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
NAMES = [path.stem for path in NOTEBOOKS]
WITH_EXERCISES = [path.stem for path in NOTEBOOKS if 'tags=["solution"]' in path.read_text(encoding="utf-8")]
PLACES = (
    downloads.Place("01-hazard.md", "01-hazard/", "From hazard to likelihood"),
    downloads.Place("notebooks/02_bce.ipynb", "notebooks/02_bce/", "Per-visit BCE, step by step"),
    downloads.Place("notebooks/01_hazard.ipynb", "notebooks/01_hazard/", "From hazard, step by step"),
)
HERE = downloads.Site(places=PLACES)
HOSTED = downloads.Site("https://site.org/us/", "https://host.org/us/it", PLACES)
FACT = "application/vnd.visitwise.fact+json"


def cell(kind: str, source: str, *tags: str, **more: Any) -> dict[str, Any]:
    code = {"execution_count": 1, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "id": f"c{len(source)}", "source": [source], "metadata": {"tags": [*tags]}} | code | more


@pytest.mark.parametrize(
    ("written", "alone", "hosted"),
    [
        ("[0.504](fact:s) and [`1e-7`](fact:x)", "0.504 and `1e-7`", "0.504 and `1e-7`"),
        ("torch [2.13](as-is:version)", "torch 2.13", "torch 2.13"),
        ("`[0.5](fact:s)`", "`[0.5](fact:s)`", "`[0.5](fact:s)`"),
        (
            "the [chapter](../explainer/01-hazard.md#why)",
            "the chapter (From hazard to likelihood)",
            "the [chapter](https://site.org/us/01-hazard/#why)",
        ),
        (
            "[From hazard to likelihood](../explainer/01-hazard.md)",
            "From hazard to likelihood",
            "[From hazard to likelihood](https://site.org/us/01-hazard/)",
        ),
        (
            "[the next](02_bce.py)",
            "the next (Per-visit BCE, step by step)",
            "[the next](https://site.org/us/notebooks/02_bce/)",
        ),
        ("[above](#part)", "above", "[above](https://site.org/us/notebooks/01_hazard/#part)"),
        (
            "[`tests/test_x.py`](../tests/test_x.py) and [a test](../tests/test_x.py)",
            "`tests/test_x.py` and a test (`tests/test_x.py`)",
            "[`tests/test_x.py`](https://host.org/us/it/blob/main/tests/test_x.py) and "
            "[a test](https://host.org/us/it/blob/main/tests/test_x.py)",
        ),
        ("[paper](https://example.org/x)", "[paper](https://example.org/x)", "[paper](https://example.org/x)"),
    ],
)
def test_what_only_the_site_understands_becomes_text_or_a_whole_address(written: str, alone: str, hosted: str) -> None:
    assert downloads.plain(written, "01_hazard", HERE) == alone
    assert downloads.plain(written, "01_hazard", HOSTED) == hosted


def test_one_file_has_solutions_and_outputs_and_the_other_has_neither() -> None:
    fact = {"output_type": "display_data", "data": {FACT: {"name": "x"}, "text/plain": ["x = 1"]}, "metadata": {}}
    notebook = {
        "cells": [
            cell("markdown", "It is [0.5](fact:x)."),
            cell("code", "x = None", "exercise"),
            cell("code", "x = 1.0", "solution"),
            cell("code", "fact('x', 0.5)", outputs=[fact]),
        ],
        "metadata": {"visitwise": {"key": "k"}, "jupytext": {}, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    made = {name: json.loads(text) for name, text in downloads.files(json.dumps(notebook), "01_x", HERE).items()}
    assert list(made) == ["01_x.ipynb", "01_x-exercises.ipynb"]
    whole, empty = made.values()
    assert (
        whole["metadata"]
        == empty["metadata"]
        == {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
        }
    )
    assert whole["cells"][0]["source"] == ["It is 0.5."]
    assert whole["cells"][3]["outputs"][0]["data"] == {"text/plain": ["x = 1"]}
    assert [one["source"] for one in empty["cells"]] == [["It is 0.5."], ["x = None"], ["fact('x', 0.5)"]]
    assert [(one["outputs"], one["execution_count"]) for one in empty["cells"][1:]] == [([], None)] * 2
    assert {one["id"] for one in empty["cells"]} < {one["id"] for one in whole["cells"]}


def test_notebook_without_exercises_is_offered_once() -> None:
    notebook = {"cells": [cell("code", "x = 1")], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    assert list(downloads.files(json.dumps(notebook), "tool", HERE)) == ["tool.ipynb"]
    assert not downloads.has_exercises(notebook)
    offered = downloads.offer("tool", "https://github.com/us/it", exercises=False)
    assert 'Download this notebook <a href="tool.ipynb" download>with its outputs</a>. Or <a' in offered
    assert "exercises" not in offered


@pytest.fixture(scope="module")
def offered() -> dict[str, Path]:
    """The files of the built site, by their name."""
    found = {path.stem: path for path in (built().site / "notebooks").glob("*/*.ipynb")}
    assert found, built().build.stderr
    return found


def test_every_notebook_is_offered_and_its_page_says_so(offered: dict[str, Path]) -> None:
    assert sorted(offered) == sorted([*NAMES, *(f"{name}-exercises" for name in WITH_EXERCISES)])
    for path in offered.values():
        page = (path.parent / "index.html").read_text(encoding="utf-8")
        assert f'<a href="{path.name}" download>' in page


@pytest.mark.parametrize("name", NAMES)
def test_offered_notebook_is_a_notebook_and_names_nothing_of_this_build(name: str, offered: dict[str, Path]) -> None:
    import nbformat

    for which in [name, *([f"{name}-exercises"] if name in WITH_EXERCISES else [])]:
        text = offered[which].read_text(encoding="utf-8")
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
        assert notebook.metadata.kernelspec.name == "python3"
        assert not re.search(r"\]\((?:fact|as-is|source|ledger):|vnd\.visitwise|\"jupytext\"", text)
        for one in notebook.cells:
            links = re.findall(r"\]\((?!https?://)[^)]*\)", one.source) if one.cell_type == "markdown" else []
            assert links == []
    if name in WITH_EXERCISES:
        assert not any("solution" in one.metadata.get("tags", []) or one.get("outputs") for one in notebook.cells)


@pytest.mark.parametrize("name", WITH_EXERCISES)
def test_offered_exercises_run_untouched_with_nothing_but_the_package(
    name: str, offered: dict[str, Path], tmp_path: Path
) -> None:
    done = alone(offered[f"{name}-exercises"], tmp_path)
    assert done.returncode == 0, f"{done.stderr}\n{offender(done.stderr, name)}"


@pytest.mark.parametrize("name", [WITH_EXERCISES[0], *(one for one in NAMES if one not in WITH_EXERCISES)])
def test_offered_notebook_runs_with_its_solutions_too(name: str, offered: dict[str, Path], tmp_path: Path) -> None:
    """One of those with exercises: its cells are those that ran when it was executed. And those without any."""
    done = alone(offered[name], tmp_path)
    assert done.returncode == 0, done.stderr


def test_exercise_whose_answer_a_later_cell_needs_is_named() -> None:
    solution = "# %% tags=['solution']\nsize = 1\nanswer = size\ncheck.near(answer, 1)\n"
    later = "\n# %%\nprint(size)\n"
    notebook = "# %%\n1\n\n" + solution.replace("'", '"') + later
    told = "x.ipynb, cell-002: the cell raised"
    assert offender(told, "x", notebook) == "it reads `size`, which only a solution gives a value"


def alone(notebook: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """The notebook run in an empty folder by a Python that finds no file of the repository, warnings being errors."""
    settings = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONWARNINGS")}
    settings |= {"MPLBACKEND": "agg", "MPLCONFIGDIR": str(folder / "settings"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(RUNNER), str(notebook)]
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False)


def offender(told: str, name: str, notebook: str | None = None) -> str:
    """What the cell that raised reads and only a solution assigns."""
    found = re.search(r"cell-(\d+): the cell raised", told)
    if found is None:
        return ""
    text = notebook or (ROOT / "notebooks" / f"{name}.py").read_text(encoding="utf-8")
    cells = exercises.cells(text)
    cells = cells if cells[0].text.startswith("# %%") else cells[1:]
    answers = [exercises.given(cell.body) for cell in cells if "solution" in cell.tags]
    reads = exercises.reads_first(cells[int(found[1])].statements)
    names = ", ".join(f"`{one}`" for one in sorted(reads & set().union(*answers)))
    return f"it reads {names}, which only a solution gives a value" if names else ""


@pytest.mark.parametrize(
    "repository", ["https://github.com/us/it", "https://github.com/us/it.git", "https://github.com/us/it/"]
)
def test_binder_is_offered_where_the_source_is_public(repository: str) -> None:
    offered = downloads.offer("01_hazard", repository)
    assert '"https://mybinder.org/v2/gh/us/it/HEAD?urlpath=lab/tree/notebooks/01_hazard.py"' in offered


@pytest.mark.parametrize("repository", ["", "https://host.org/us/it", "https://github.com/us"])
def test_binder_is_not_offered_where_it_would_find_nothing(repository: str) -> None:
    offered = downloads.offer("01_hazard", repository)
    assert "binder" not in offered
    assert 'href="01_hazard.ipynb"' in offered
    assert 'href="01_hazard-exercises.ipynb"' in offered
