"""The reference: every public name has an example that runs, shapes in its signature, and a line in the table."""

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

import pytest

from tests.built import ROOT

PAGES = ROOT / "explainer" / "reference"
PACKAGE = ROOT / "src" / "visitwise"
MODULES = sorted(one.name for one in pkgutil.iter_modules([str(PACKAGE)]) if not one.name.startswith("_"))

# Without an example of their own, and why.
RESULTS = "what a function returns; its example shows it"
EXCUSED = {
    "check.Answer": RESULTS,
    "check.Mistake": RESULTS,
    "events.Followed": RESULTS,
    "cli.Refused": "an error of the command line, which tells the user what is wrong",
    "functional.PersonPeriod": RESULTS,
    "leakage.Finding": RESULTS,
    "leakage.LeakReport": RESULTS,
    "metrics.Calibration": RESULTS,
    "metrics.CensoringSurvival": RESULTS,
    "metrics.DCalibration": RESULTS,
    "metrics.LifeTable": RESULTS,
    "metrics.Score": RESULTS,
    "model.CausePrediction": RESULTS,
    "model.HorizonPrediction": RESULTS,
    "model.Prediction": RESULTS,
    "rows.Layout": RESULTS,
    "staircase.Stretch": RESULTS,
    "model.Settings": "the arguments of a model by name, for its file",
    "notebook.Picture": RESULTS,
    "parallel.step_gradients": "needs processes, which a doctest should not start; chapter 13's notebook runs it",
    "parallel.run_processes": "starts processes, which a doctest should not; chapter 13's notebook runs it",
    "plots.HasHistory": "a protocol: what `training_history` asks for",
    "run.Judges": RESULTS,
    "run.Scores": RESULTS,
    "simulate.Effects": "settings; the simulators made of them have examples",
    "textbook.Effect": RESULTS,
    "trained.Curve": RESULTS,
    "trained.train": "trains for a minute; `python -m visitwise.trained` runs it",
    "training.History": RESULTS,
    "visits.Padded": RESULTS,
    "visits.check_sizes": "guards what was loaded from a file; `Cohort.load` calls it",
    "widgets.Figure": "what all figures share; each of them has an example",
}


def public() -> Iterator[tuple[str, object]]:
    """Functions and classes by module and name."""
    for module in MODULES:
        for name, thing in vars(importlib.import_module(f"visitwise.{module}")).items():
            if name.startswith("_") or not (inspect.isfunction(thing) or inspect.isclass(thing)):
                continue
            if thing.__module__.startswith(f"visitwise.{module}"):
                yield f"{module}.{name}", thing


def test_every_module_has_a_line_in_the_table_and_a_page() -> None:
    listed = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| \S", (PAGES / "index.md").read_text(encoding="utf-8"), re.M)
    assert sorted(name for name, _ in listed) == sorted(page for _, page in listed) == MODULES
    assert sorted(path.stem for path in PAGES.glob("*.md") if path.stem not in ("index", "bad-input")) == MODULES


def test_every_public_function_and_class_has_an_example_or_an_excuse() -> None:
    without = {name for name, thing in public() if not re.search(r"Examples:\n\s+>>> ", inspect.getdoc(thing) or "")}
    assert without == set(EXCUSED)


@pytest.mark.parametrize("module", [name for name in MODULES if (PACKAGE / f"{name}.py").exists()])
def test_tensors_in_public_signatures_have_shapes(module: str) -> None:
    body = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8")).body
    classes = [node for node in body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    methods = [part for node in classes for part in node.body]
    bare = []
    for node in [one for one in body + methods if isinstance(one, ast.FunctionDef) and not one.name.startswith("_")]:
        annotations = [one.annotation for one in ast.walk(node.args) if isinstance(one, ast.arg)]
        said = [ast.unparse(one) for one in [*annotations, node.returns] if one is not None]
        bare += [(node.name, one) for one in said if re.fullmatch(r"(?:torch\.)?Tensor(?: \| None)?", one)]
    assert bare == []
