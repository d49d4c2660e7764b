"""The three descriptions of the environment say the same, and the commands explain themselves."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.built import ROOT

# isort: split
import lock

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
LINES = [line for line in LOCK.splitlines() if line and not line.startswith("#")]
PINNED = dict(line.split("==") for line in LINES)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
ASKED = [Requirement(text) for text in [*PROJECT["dependencies"], *(one for extra in EXTRAS.values() for one in extra)]]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_lock_pins_one_exact_version_a_line_in_order() -> None:
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][\w.!]*", line) for line in LINES)
    assert list(PINNED) == sorted(set(PINNED))
    assert PINNED["torch"] == "2.13.0"


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_lock_satisfies_what_the_project_asks_for(asked: Requirement) -> None:
    version = PINNED[canonicalize_name(asked.name)]
    assert asked.specifier.contains(version)
    exact = [wanted.version for wanted in asked.specifier if wanted.operator == "=="]
    assert exact in ([], [version])


def test_lock_holds_all_that_its_packages_need_here() -> None:
    """Every package that the pinned ones ask for on this machine is pinned too."""
    from importlib.metadata import PackageNotFoundError, requires

    missing = set()
    for name in PINNED:
        try:
            needed = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:
            continue
        for one in needed:
            if one.marker is None or one.marker.evaluate({"extra": ""}):
                missing |= {canonicalize_name(one.name)} - set(PINNED)
    assert missing <= {"setuptools", "pip", "wheel"}


def test_lock_names_no_machine_and_no_host() -> None:
    for text in (LOCK, (ROOT / "environment.yml").read_text(), (ROOT / "package-lock.json").read_text()):
        assert not re.search(r"file:|/home|/root|/opt|/usr|@ |resolved|registry", text)
    assert "://" not in LOCK


def test_lock_is_written_without_build_labels_and_without_this_project() -> None:
    written = dict(line.split("==") for line in lock.lines())
    assert "visitwise" not in written
    assert not [version for version in written.values() if "+" in version]
    assert set(ASKED_NAMES) <= set(written)


ASKED_NAMES = [canonicalize_name(one.name) for one in ASKED]


def test_conda_gives_the_same_environment() -> None:
    described = yaml.safe_load((ROOT / "environment.yml").read_text())
    by_pip = next(one for one in described["dependencies"] if isinstance(one, dict))["pip"]
    assert by_pip == ["-r requirements.lock", "-e ."]
    python = next(one for one in described["dependencies"] if str(one).startswith("python="))
    assert PROJECT["requires-python"] == ">=" + python.removeprefix("python=")
    others = [one for one in described["dependencies"] if isinstance(one, str) and one not in ("pip", "make", python)]
    assert others == []


def test_packages_of_the_site_are_pinned_and_locked_alike() -> None:
    import json

    wanted = json.loads((ROOT / "package.json").read_text())["devDependencies"]
    locked = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    assert locked[""]["devDependencies"] == wanted
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert all("integrity" in package for path, package in locked.items() if path)


def test_make_alone_explains_every_command() -> None:
    said = make()
    assert said.returncode == 0
    for command in ("site", "build", "test", "lab", "check", "bench", "clean", "lock"):
        assert re.search(rf"^  make {command} ", said.stdout, re.MULTILINE)
    assert "PORT=" in said.stdout


def test_python_that_is_too_old_is_named_with_the_way_out(tmp_path: Path) -> None:
    old = tmp_path / "python3.8"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.1 && exit 0\nexit 1\n')
    old.chmod(0o755)
    said = make("python", f"PYTHON={old}")
    assert said.returncode != 0
    assert "Visitwise needs Python 3.11 or newer" in said.stderr
    assert "Python 3.8.1" in said.stderr
    assert "PYTHON=" in said.stderr


def test_node_and_npm_are_found_without_one_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    import node

    monkeypatch.setenv("PATH", "/bin")
    for command in ([node.node(), "--version"], [*node.npm(), "--version"]):
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        assert re.match(r"v?\d+\.\d+", said.stdout)


def test_ci_runs_the_command_that_the_makefile_documents() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "make test" in script
    assert "make check" in script
    assert script.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in script


def test_the_workflow_publishes_what_the_same_make_target_writes() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "site.yml").read_text())
    steps = workflow["jobs"]["build"]["steps"]
    (build,) = [step for step in steps if "run" in step]
    assert build["run"] == "make build"
    asked = set(re.findall(r"!ENV \[(\w+),", (ROOT / "mkdocs.yml").read_text()))
    assert asked == set(build["env"]) - {"CI"}
    assert [step["with"]["path"] for step in steps if "upload-pages" in step.get("uses", "")] == ["site"]
    python = next(step["with"]["python-version"] for step in steps if "setup-python" in step.get("uses", ""))
    assert PROJECT["requires-python"] == f">={python}"


def test_binder_opens_notebooks_as_make_lab_does(tmp_path: Path) -> None:
    from jupyterlab.commands import get_app_dir

    done = subprocess.run(
        [ROOT / "postBuild"], cwd=ROOT, env=os.environ | {"NB_PYTHON_PREFIX": str(tmp_path)}, check=False
    )
    assert done.returncode == 0
    folder = tmp_path / Path(get_app_dir()).relative_to(sys.prefix) / "settings"  # where JupyterLab looks for them
    ours = ROOT / ".jupyter" / "labconfig" / "default_setting_overrides.json"
    assert (folder / "overrides.json").read_bytes() == ours.read_bytes()
