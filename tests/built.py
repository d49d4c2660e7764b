"""The site, built once per test run from a copy of the project, with every notebook run from a clean kernel."""

import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "explainer" / "_build"
COPIED = ("explainer", "notebooks", "src")
QUIET = {"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}

# The build's modules are imported by the tests as the build itself imports them.
sys.path.insert(0, str(BUILD))


@dataclass(frozen=True)
class Built:
    """A copy of the project with its executed notebooks, and the site made from it."""

    project: Path
    site: Path
    notebooks: subprocess.CompletedProcess[str]
    claims: subprocess.CompletedProcess[str]
    build: subprocess.CompletedProcess[str]


@functools.cache
def built() -> Built:
    """Runs every notebook, tries every claim and builds the site, for the first test that asks in any process."""
    if not (ROOT / "node_modules").exists():
        if os.environ.get("CI") == "true":
            pytest.fail("node_modules is missing; `make setup` installs it")
        pytest.skip("node_modules is missing; `make setup` installs it")
    folder = Path(os.environ["VISITWISE_TEST_FOLDER"])  # one for all processes of a run, see conftest.py
    said = folder / "said.json"
    with FileLock(folder / "lock"):
        if not said.exists():
            said.write_text(json.dumps([vars(done) for done in _build(folder)]), encoding="utf-8")
    steps = [subprocess.CompletedProcess(**done) for done in json.loads(said.read_text(encoding="utf-8"))]
    return Built(folder / "project", folder / "site", *steps)


def _build(folder: Path) -> list[subprocess.CompletedProcess[str]]:
    import ledger

    project = copy_project(ROOT, folder / "project", without=("notebooks",))
    programs = project / "explainer" / "_build"
    ran = run([sys.executable, str(programs / "notebooks.py"), "--fresh"], project)
    if not ledger.is_stale(ROOT):  # pytest tries the claims itself; the page need not try them once more
        ledger.output_of(project).parent.mkdir()
        shutil.copy(ledger.output_of(ROOT), ledger.output_of(project))
    tried = run([sys.executable, str(programs / "ledger.py")], project)
    return [ran, tried, build_site(project, folder / "site")]


def copy_project(source: Path, target: Path, without: tuple[str, ...] = ()) -> Path:
    """What the site is made from as a copy, everything else as links; caches and earlier builds stay behind."""
    target.mkdir()
    skipped = shutil.ignore_patterns("__pycache__", "*.partial")
    for child in sorted(source.iterdir()):
        if child.name in COPIED:
            shutil.copytree(child, target / child.name, ignore=skipped)
        elif child.name not in (".git", "site", "build"):
            (target / child.name).symlink_to(child.resolve())
    for name in without:
        shutil.rmtree(target / "explainer" / name, ignore_errors=True)
    return target


def build_site(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)], project)


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = os.environ | QUIET | environment
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False)
