"""Every notebook runs from a clean kernel, and the program that runs them does so when it must and only then."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.built import BUILD, ROOT, built, run

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.py"))

TINY = """\
# %% [markdown]
# # Tiny

# %%
import sys
from tqdm import tqdm
for _ in tqdm(range(3)):
    pass
print(object())

# %%
1 + 1
"""


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_to_its_end_from_a_clean_kernel(name: str) -> None:
    output = built().project / "explainer" / "notebooks" / f"{name}.ipynb"
    assert output.exists(), built().notebooks.stderr
    cells = [cell for cell in json.loads(output.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]


@pytest.fixture(scope="module")
def earlier() -> Path:
    """The project's own executed notebooks. In CI each is run, unless it was; elsewhere what is out of date is not."""
    if os.environ.get("CI") == "true":
        done = run([sys.executable, str(BUILD / "notebooks.py")], ROOT)
        assert done.returncode == 0, done.stderr
    return ROOT / "explainer" / "notebooks"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_two_fresh_runs_of_a_notebook_give_the_same_bytes(name: str, earlier: Path) -> None:
    import notebooks

    if notebooks.is_stale(ROOT / "notebooks" / f"{name}.py"):
        pytest.skip("it has not been run in this folder since something changed; `make build` runs it")
    again = built().project / "explainer" / "notebooks" / f"{name}.ipynb"
    assert again.exists(), built().notebooks.stderr
    assert again.read_bytes() == (earlier / f"{name}.ipynb").read_bytes()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of one notebook and one module."""
    for folder in ("notebooks", "src/visitwise", "explainer"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "notebooks" / "tiny.py").write_text(TINY)
    (tmp_path / "src" / "visitwise" / "module.py").write_text("VALUE = 1\n")
    (tmp_path / "requirements.lock").write_text("numpy==1.0\n")
    return tmp_path


def execute(project: Path, *options: str) -> tuple[int, str]:
    done = run([sys.executable, str(BUILD / "notebooks.py"), "--root", str(project), *options], project)
    return done.returncode, done.stdout + done.stderr


def output_of(project: Path) -> Path:
    return project / "explainer" / "notebooks" / "tiny.ipynb"


def test_unchanged_notebook_is_not_run_again_and_a_fresh_run_gives_the_same_bytes(project: Path) -> None:
    assert execute(project, "--check") == (1, "out of date: notebooks/tiny.py\n")
    status, said = execute(project)
    assert status == 0, said
    first = output_of(project).read_bytes()
    assert b"object object at 0x\xe2\x80\xa6" in first
    assert b"it/s" not in first
    written = output_of(project).stat().st_mtime_ns

    assert execute(project, "--check") == (0, "all notebooks are up to date\n")
    assert execute(project) == (0, "")
    assert output_of(project).stat().st_mtime_ns == written

    assert execute(project, "--fresh")[0] == 0
    assert output_of(project).stat().st_mtime_ns > written
    assert output_of(project).read_bytes() == first


def test_seconds_of_each_run_are_told_and_a_limit_counts_only_where_it_is_asked_for(project: Path) -> None:
    source = project / "notebooks" / "tiny.py"
    source.write_text("# %%\n1\n")
    status, said = execute(project)
    assert status == 0
    assert re.search(r"^tiny: \d+ s$", said, re.MULTILINE)
    assert execute(project, "--fresh", "--limit")[0] == 0
    status, said = execute(project, "--fresh", "--limit", "0.001")
    assert status == 1
    assert re.search(r"^tiny: \d+ s, more than the 0.001 s it may take$", said, re.MULTILINE)
    assert execute(project, "--limit", "0.001") == (0, "")


@pytest.mark.parametrize("changed", ["notebooks/tiny.py", "src/visitwise/module.py", "requirements.lock"])
def test_change_in_anything_that_a_notebook_depends_on_makes_it_stale(project: Path, changed: str) -> None:
    import notebooks

    source = project / "notebooks" / "tiny.py"
    output_of(project).parent.mkdir()
    metadata = {"visitwise": {"key": notebooks.key_of(source, project)}}
    output_of(project).write_text(json.dumps({"metadata": metadata, "cells": []}))
    assert notebooks.stale(project) == []
    with (project / changed).open("a") as file:
        file.write("# another line\n")
    assert notebooks.stale(project) == [source]


def test_new_file_of_the_package_makes_notebooks_stale(project: Path) -> None:
    import notebooks

    before = notebooks.key_of(project / "notebooks" / "tiny.py", project)
    (project / "src" / "visitwise" / "settings.json").write_text("{}")
    assert notebooks.key_of(project / "notebooks" / "tiny.py", project) != before


def test_failing_cell_is_named_and_leaves_the_earlier_output(project: Path) -> None:
    output_of(project).parent.mkdir()
    output_of(project).write_text('{"metadata": {}, "cells": [], "kept": true}')
    source = project / "notebooks" / "tiny.py"
    source.write_text(TINY + "\n# %%\nassert 1 + 1 == 3, 'sums are off'\n")
    status, said = execute(project)
    assert status == 1
    assert "notebooks/tiny.py, cell 4:" in said
    assert "    assert 1 + 1 == 3" in said
    assert "AssertionError: sums are off" in said
    assert "Traceback" not in said
    assert '"kept": true' in output_of(project).read_text()
    assert list(output_of(project).parent.iterdir()) == [output_of(project)]


def test_output_of_a_removed_notebook_is_deleted(project: Path) -> None:
    output_of(project).parent.mkdir()
    output_of(project).write_text("{}")
    (project / "notebooks" / "tiny.py").unlink()
    assert execute(project) == (0, "")
    assert not output_of(project).exists()
