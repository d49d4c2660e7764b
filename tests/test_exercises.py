"""Each exercise is made from its solution: the same hints and the same check, with the answer left out."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.built import BUILD, ROOT, run

# isort: split
import exercises

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
CHAPTERS = [path for path in NOTEBOOKS if "01" <= path.stem[:2] <= "07"]

BEFORE = """\
# %% [markdown]
# # A title

# %%
from visitwise import check

hazards = [0.1, 0.2]

# %% [markdown]
# ### Exercise 1

"""
SOLUTION = """\
# %% tags=["solution"] jupyter={"source_hidden": true}
# Multiply what was survived.
# Two lines.
survived = 1 - hazards[0]
ended = hazards[1]
answer = survived * ended

# Now see.
check.near(answer, 0.18, mistakes={f"{k}": k for k in range(3)})
"""
EXERCISE = """\
# %% tags=["exercise"]
# Multiply what was survived.
# Two lines.
answer = None  # your code here

# Now see.
check.near(answer, 0.18, mistakes={f"{k}": k for k in range(3)})

"""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_exercise_is_what_its_solution_gives(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert exercises.with_exercises(text) == text, "run `make exercises`"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_chapter_has_two_exercises_whose_check_is_that_of_the_solution(path: Path) -> None:
    found = exercises.cells(path.read_text(encoding="utf-8"))
    asked = [cell for cell in found if "exercise" in cell.tags]
    solved = [cell for cell in found if "solution" in cell.tags]
    assert len(asked) >= 2
    assert len(asked) == len(solved)
    for cell in asked:
        assert "\ncheck." in cell.text
        assert exercises.TODO in cell.text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_solution_is_folded_in_jupyter_and_stays_so_when_jupyter_saves_it(path: Path) -> None:
    import jupytext

    read = jupytext.read(path)
    again = jupytext.reads(jupytext.writes(read, "py:percent"), "py:percent")
    for notebook in (read, again):
        solutions = [cell for cell in notebook.cells if "solution" in cell.metadata.get("tags", [])]
        assert all(cell.metadata.get("jupyter") == {"source_hidden": True} for cell in solutions)


def test_exercise_is_the_hints_a_stub_for_what_is_checked_and_the_check() -> None:
    assert exercises.with_exercises(BEFORE + SOLUTION) == BEFORE + EXERCISE + SOLUTION


def test_exercise_that_is_there_is_replaced_and_nothing_else_changes() -> None:
    written = BEFORE + EXERCISE + SOLUTION + "\n# %% [markdown]\n# The  end \n"
    assert exercises.with_exercises(written) == written
    other = written.replace("answer = None  # your code here", "answer = 3")
    assert other != written
    assert exercises.with_exercises(other) == written


def test_name_that_only_a_later_cell_uses_gets_a_stub_and_one_that_is_assigned_again_does_not() -> None:
    later = '\n# %%\nended = 1\n\n# %% tags=["exercise"]\nsurvived\n\n# %% tags=["solution"]\nprint(survived, ended)\n'
    stubs = "answer = None  # your code here", "survived = None  # your code here\nanswer = None  # your code here"
    made = exercises.with_exercises(BEFORE + SOLUTION + later)
    assert made == BEFORE + EXERCISE.replace(*stubs) + SOLUTION + later


def test_function_keeps_signature_and_docstring_class_its_first_method_and_imports_stay() -> None:
    solution = '''\
from math import log


def cost(
    hazard,
    factor=2,
):
    """The cost.

    In nats.
    """
    return -log(hazard) * unit * factor


class Loss(Module):
    """A loss."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, hazard):
        """The loss."""
        return cost(hazard, self.factor)


unit, unused = 1, 2
check.near(cost(0.5), Loss(1))
'''
    assert (
        exercises.exercise(solution, [])
        == '''\
from math import log


def cost(
    hazard,
    factor=2,
):
    """The cost.

    In nats.
    """
    return None  # your code here


class Loss(Module):
    """A loss."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, hazard):
        """The loss."""
        return None  # your code here


check.near(cost(0.5), Loss(1))
'''
    )
    assert exercises.given(solution) == {"cost", "Loss", "unit", "unused"}


def test_written_notebook_is_formatted_also_around_functions(tmp_path: Path) -> None:
    function = "\n\ndef double(x):\n    return 2 * x\n\n\ncheck.near(double(2), 4)\n"
    first = BEFORE.rstrip("\n") + "\n\n\n" + SOLUTION.partition("\n")[0] + function.replace("\n\n", "\n", 1)
    second = "\n# %% [markdown]\n# ### Exercise 2\n\n" + SOLUTION
    path = tmp_path / "notebook.py"
    path.write_text(exercises.with_exercises(first + second))
    assert path.read_text().count('tags=["exercise"]') == 2
    command = [sys.executable, "-m", "ruff", "format", "--diff", "--config", str(ROOT / "notebooks" / "ruff.toml")]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_exercise_written_by_hand_stays_where_its_solution_checks_nothing() -> None:
    by_hand = '# %% tags=["exercise"]\nmodel = None\n\n# %% tags=["solution"]\nmodel = 1\n'
    assert exercises.with_exercises(by_hand) == by_hand


@pytest.mark.parametrize(
    ("notebook", "problem"),
    [
        ('# %% tags=["solution"]\nx = 1\n', "line 1: the solution has no top-level `check.` statement"),
        ('# %%\n1\n\n# %% tags=["exercise"]\nx = 1\n', "line 4: an exercise is followed by its solution"),
        ('# %% tags=["solution"]\nx = 1\ncheck.near(y, 1)\n', "line 1: neither the check nor a later cell uses"),
        ('# %% tags=["solution"]\nx = 1\nx = = 1\n', "line 3: invalid syntax"),
    ],
)
def test_solution_that_gives_no_exercise_is_told_with_its_line(notebook: str, problem: str) -> None:
    with pytest.raises(exercises.ExerciseError) as told:
        exercises.with_exercises(notebook)
    assert str(told.value).startswith(problem)


def test_command_shows_what_would_change_writes_it_and_then_has_nothing_to_do(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    notebook = tmp_path / "notebooks" / "01_x.py"
    notebook.write_text(BEFORE + SOLUTION)
    command = [sys.executable, str(BUILD / "exercises.py"), "--root", str(tmp_path)]
    checked = run([*command, "--check"], tmp_path)
    assert checked.returncode == 1
    assert "+answer = None  # your code here" in checked.stdout
    assert notebook.read_text() == BEFORE + SOLUTION
    assert run([*command, "02_y"], tmp_path).stdout == ""
    assert run(command, tmp_path).stdout == "notebooks/01_x.py: exercises written\n"
    assert notebook.read_text() == BEFORE + EXERCISE + SOLUTION
    assert run([*command, "--check"], tmp_path).returncode == 0


def test_names_that_are_read_before_they_are_assigned_are_found_inside_functions_and_loops() -> None:
    import ast

    code = (
        "def f(a):\n    return a + g + f(1)\nx = x + 1\ny += 1\nfor k in range(n):\n    t = k\n"
        "[c * q for c in t]\nx\nlambda z: z + w\n"
    )
    assert exercises.reads_first(ast.parse(code).body) == {"g", "x", "y", "n", "q", "w", "range"}
