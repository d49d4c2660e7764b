"""The figures' modules: arithmetic that is the package's to 1e-12, planted mistakes that are noticed, few bytes."""

import gzip
import inspect
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import figures
from tests.built import ROOT
from visitwise.widgets._figure import bundle

# isort: split
import weight

KILOBYTE = 1000
every_figure = pytest.mark.parametrize("name", figures.NAMES)


class Fixtures(dict[str, Path]):
    """The file of each figure with what it must show, written by the package when a test first asks for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __missing__(self, name: str) -> Path:
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(figures.fixture(name), allow_nan=False), encoding="utf-8")
        self[name] = path
        return path


@pytest.fixture(scope="module")
def fixtures(tmp_path_factory: pytest.TempPathFactory) -> Fixtures:
    return Fixtures(tmp_path_factory.mktemp("fixtures"))


def test_every_figure_has_a_class_a_module_and_an_oracle() -> None:
    assert sorted(path.stem for path in (ROOT / "tests" / "figures").glob("[a-z]*.py")) == figures.NAMES
    assert all(figures.widget(name).name == name for name in figures.NAMES)


@every_figure
def test_arithmetic_is_the_packages_to_twelve_digits(name: str, fixtures: dict[str, Path]) -> None:
    assert len(json.loads(fixtures[name].read_text())["cases"]) >= 300
    jobs = [{"module": str(figures.WIDGETS / f"{name}.js"), "fixture": str(fixtures[name])}]
    assert figures.compare(jobs) == [[]]


@every_figure
def test_every_planted_mistake_is_noticed(name: str, fixtures: dict[str, Path], tmp_path: Path) -> None:
    assert len(figures.of(name).MUTANTS) >= 6
    found = figures.noticed(name, fixtures[name], tmp_path)
    assert [mutant.mistake for mutant, places in found if not places] == []


@pytest.mark.browser
def test_where_there_is_no_node_a_browser_compares_and_sees_the_same(
    browser: Any, fixtures: dict[str, Path], tmp_path: Path
) -> None:
    name = "hazard_loom"
    shutil.copytree(figures.WIDGETS, tmp_path / "wrong")
    figures.of(name).MUTANTS[0].plant(tmp_path / "wrong", name)
    (tmp_path / "wrong" / "package.json").write_text('{"type": "module"}')
    folders = (figures.WIDGETS, tmp_path / "wrong")
    jobs = [{"module": str(folder / f"{name}.js"), "fixture": str(fixtures[name])} for folder in folders]
    in_node = figures.compare(jobs)
    assert figures.compare_in_chromium(jobs) == in_node
    assert [bool(places) for places in in_node] == [False, True]


@every_figure
def test_python_and_javascript_have_the_same_parts_and_limits(name: str) -> None:
    limits = {part: trait.limits for part, trait in figures.widget(name).parts().items()}
    assert limits == _module(name)["state"]


@every_figure
def test_untouched_state_is_among_those_compared(name: str) -> None:
    assert figures.widget(name)().state in list(figures.of(name).states(np.random.default_rng(4)))


@every_figure
def test_every_line_of_code_is_shipped_or_run_by_the_notebook(name: str) -> None:
    shipped = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "visitwise").rglob("*.py"))
    page = figures.of(name).PAGE.replace("-", "_")
    shipped += (ROOT / "notebooks" / f"{page}.py").read_text(encoding="utf-8")
    lines = _module(name)["code"]
    assert lines
    assert [line for line in lines if line not in shipped] == []


@every_figure
def test_a_figure_weighs_at_most_five_kilobytes_and_the_playground_seventeen(name: str) -> None:
    # The playground undoes, compares with what was and stacks two causes; its own tests weigh all that it loads.
    assert _weight(figures.WIDGETS / f"{name}.js") <= (17 if name == "playground" else 5) * KILOBYTE


@every_figure
def test_the_kit_and_what_arithmetic_a_figure_shares_weigh_at_most_twelve_kilobytes(name: str) -> None:
    shared = _imports(figures.WIDGETS / f"{name}.js")
    assert figures.WIDGETS / "kit.js" in shared
    model = {path for path in shared if path.stem in ("safetensors", "survival_rnn", "teaching")}
    assert sum(map(_weight, model)) <= 8 * KILOBYTE  # the trained network and the truth about its patients
    assert sum(map(_weight, shared - model)) <= 12 * KILOBYTE


def test_a_page_without_figures_loads_a_kilobyte() -> None:
    """As the build writes them, without their comments."""
    for name, most in (("mount.js", KILOBYTE), ("host.js", 1.5 * KILOBYTE)):
        shipped = weight.unannotated((ROOT / "explainer" / "assets" / name).read_text(encoding="utf-8"))
        assert len(gzip.compress(shipped.encode(), 9)) <= most


@every_figure
def test_what_jupyter_loads_is_one_module_that_imports_nothing(name: str, tmp_path: Path) -> None:
    text = bundle(name)
    assert not re.search(r"^\s*import\b", text, re.MULTILINE)
    assert text.count("export default") == 1
    (tmp_path / "bundle.mjs").write_text(text, encoding="utf-8")
    assert (
        _run(
            f"const {{ default: figure }} = await import({_url(tmp_path / 'bundle.mjs')});"
            "console.log(JSON.stringify(typeof figure.render));"
        )
        == "function"
    )


@every_figure
def test_an_address_gives_back_the_state_it_was_made_from_and_no_other(name: str, fixtures: dict[str, Path]) -> None:
    answer = _run(f"""
        const {{ default: figure }} = await import({_url(figures.WIDGETS / f"{name}.js")});
        const {{ readFile }} = await import("node:fs/promises");
        const {{ cases }} = JSON.parse(await readFile({json.dumps(str(fixtures[name]))}, "utf8"));
        const same = cases.every(([state]) => {{
          const words = figure.encode(state);
          return !words || JSON.stringify(figure.decode(words)) === JSON.stringify(state);
        }});
        const nonsense = [
          "", "x", "x:1", "constructor:1", "__proto__:1", "hazards:NaN", "hazards:1e999", ":", "a:b;c:d"
        ];
        console.log(JSON.stringify([same, nonsense.map((words) => figure.decode(words))]));""")
    assert answer == [True, [None] * 9]


@every_figure
def test_the_words_of_a_figure_state_its_numbers(name: str, fixtures: dict[str, Path]) -> None:
    """No `NaN`, `undefined` or `Infinity` is shown or said, and the table has a cell under each heading."""
    answer = _run(f"""
        const {{ figure, default: made }} = await import({_url(figures.WIDGETS / f"{name}.js")});
        const {{ readFile }} = await import("node:fs/promises");
        const {{ cases, given }} = JSON.parse(await readFile({json.dumps(str(fixtures[name]))}, "utf8"));
        const bad = [];
        for (const [state] of cases.filter((_, k) => k % 7 === 0)) {{
          const text = made.still(state, given);
          const out = figure.out(state, given);
          const {{ head, rows }} = figure.table(state, out, given);
          const lines = JSON.stringify(figure.lines?.(state, out, given) ?? "");
          if (/NaN|undefined|Infinity|\\[object/.test(text + lines)) bad.push(state);
          if (rows.some((row) => row.length !== head.length)) bad.push(head);
        }}
        console.log(JSON.stringify(bad));""")
    assert answer == []


@every_figure
def test_the_question_has_one_answer_among_computed_mistakes(name: str) -> None:
    question = _module(name)["question"]
    labels = [option["label"] for option in question["options"]]
    assert len(labels) == len(set(labels)) >= 3
    assert all(len(option["why"].split()) >= 5 for option in question["options"])
    assert 0 <= question["truth"] < len(labels)


@every_figure
def test_each_class_documents_its_parts(name: str) -> None:
    widget = figures.widget(name)
    assert widget.parts()
    documented = re.findall(r"^ {4,}(\w+): ", inspect.cleandoc(widget.__doc__ or ""), re.MULTILINE)
    assert [part for part in widget.parts() if part not in documented] == []


def _module(name: str) -> dict[str, Any]:
    """What a module says of itself, untouched."""
    given = json.dumps(figures.widget(name)().given)
    answer: dict[str, Any] = _run(f"""
        const {{ figure, default: made }} = await import({_url(figures.WIDGETS / f"{name}.js")});
        const state = Object.fromEntries(Object.entries(figure.state).map(([key, {{ start }}]) => [key, start]));
        const given = {given};
        const lines = figure.lines?.(state, figure.out(state, given), given) ?? [];
        const code = lines.flatMap((line) => line.code ?? []);
        console.log(JSON.stringify({{ state: figure.state, code, question: figure.question?.(given) }}));""")
    return answer


def _run(script: str) -> Any:
    import node

    command = [node.node(), "--input-type=module", "--eval", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _url(path: Path) -> str:
    return json.dumps(path.as_uri())


def _imports(path: Path) -> set[Path]:
    """What a module loads, and what that loads."""
    own = {path.parent / name for name in re.findall(r'\bfrom "\./(\w+\.js)";', path.read_text())}
    return own.union(*map(_imports, own))


def _weight(path: Path) -> int:
    return len(gzip.compress(path.read_bytes(), 9))
