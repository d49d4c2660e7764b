"""What the site's build refuses: numbers that no run computed, code that is not shipped, formulas, figures, links."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.built import ROOT, build_site, built, copy_project

# isort: split
import commands
import facts
import formulas
import links
import live
import notebooks
import pages
import port
import sources

FACTS = {"nll": facts.Fact(0.6851790109107685, "01_x"), "deaths": facts.Fact(1364.0, "12_y")}


def code(source: str, *outputs: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    shared = {"cell_type": "code", "execution_count": 1, "id": "c"}
    return shared | {"source": source, "outputs": list(outputs), "metadata": metadata}


def shown(data: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"output_type": "display_data", "data": data, "metadata": metadata}


def no_figure(record: dict[str, Any]) -> str:
    pytest.fail(f"nothing here is a figure that moves, and {record} was drawn")


def published(name: str, value: float) -> dict[str, Any]:
    return {"cells": [code("fact(...)", shown({facts.FACT_MIME: {"name": name, "value": value}}))]}


# --------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("0.685179", 0.6851790109),
        ("0.69", 0.6851790109),
        ("28.3%", 0.28349),
        ("1,364", 1364.0),
        ("**1,364**", 1364.0),
        ("-3.5", -3.5),
        ("−3.5", -3.5),
        ("1.2e-7", 1.24e-7),
        ("0.284", 0.2835),
        ("0.283", 0.2835),
    ],
)
def test_literal_agrees_with_the_value_that_rounds_to_it(literal: str, value: float) -> None:
    assert facts.agrees(literal, value)


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("0.685178", 0.6851790109),
        ("0.68", 0.6851790109),
        ("28.4%", 0.28349),
        ("28.3", 0.28349),
        ("3.5", -3.5),
        ("1.3e-7", 1.24e-7),
        ("about 3", 3.0),
        ("nan", 3.0),
    ],
)
def test_literal_disagrees_with_any_other_value(literal: str, value: float) -> None:
    assert not facts.agrees(literal, value)


def test_quoted_number_becomes_text_that_names_its_notebook() -> None:
    problems: list[str] = []
    text = facts.quote("It is [0.685](fact:nll), of [1,364](fact:deaths).", FACTS, problems.append)
    assert problems == []
    assert '<span class="fact" title="Computed in the notebook 01_x as nll">0.685</span>' in text
    assert ">1,364</span>" in text


def test_quoted_number_may_be_a_code_span_and_bold() -> None:
    known = {"eps": facts.Fact(1e-7, "02_z")}
    text = facts.quote("[`1e-7`](fact:eps), **[1e-7](fact:eps)**", known, pytest.fail)
    assert ">`1e-7`</span>" in text
    assert ">1e-7</span>**" in text
    assert not facts.agrees("`1e-6`", 1e-7)
    assert not facts.agrees("`1.0e-7`", 1.06e-7)


def test_unknown_name_and_other_number_are_reported_with_both_values() -> None:
    problems: list[str] = []
    facts.quote("[0.685](fact:nothing) and [0.686](fact:nll)", FACTS, problems.append)
    assert problems == [
        "`[0.685](fact:nothing)` quotes a fact that no notebook publishes",
        "`[0.686](fact:nll)`: 01_x computes 0.6851790109107685",
    ]


def test_one_name_with_two_values_is_reported_and_with_one_value_is_not() -> None:
    problems: list[str] = []
    same = [("a", published("nll", 0.5)), ("b", published("nll", 0.5))]
    assert facts.published(same, problems.append) == {"nll": facts.Fact(0.5, "a")}
    assert problems == []
    facts.published([*same, ("c", published("nll", 0.6))], problems.append)
    assert problems == ["the fact `nll` is 0.5 in a and 0.6 in c"]


def test_code_that_shows_the_syntax_of_a_fact_is_left_alone() -> None:
    text = "`[0.1](fact:nll)`\n\n```\n[0.1](fact:nll)\n```\n\n[0.685](fact:nll)\n"
    changed = links.outside_code(text, lambda part: facts.quote(part, FACTS, pytest.fail))
    assert changed.count("(fact:nll)") == 2
    assert ">0.685</span>" in changed


# ------------------------------------------------------------------------------------------------------------- code


@pytest.fixture
def src(tmp_path: Path) -> Path:
    (tmp_path / "src" / "pack").mkdir(parents=True)
    (tmp_path / "src" / "pack" / "module.py").write_text(
        '@decorated\ndef f(x):\n    """Says.\n\n    More.\n    """\n\n    # why\n    return x\n\n\n'
        'class C:\n    """Says."""\n\n    def m(self):\n        """Says."""\n        return 1\n'
    )
    return tmp_path / "src"


def test_shipped_code_is_shown_without_its_docstring(src: Path) -> None:
    text = sources.show("Before.\n\n[shipped code](source:pack.module.f)\n", src, pytest.fail)
    assert '```python title="src/pack/module.py"\n@decorated\ndef f(x):\n    # why\n    return x\n```' in text
    assert sources.shipped("pack.module.C.m", src)[1] == "def m(self):\n    return 1"


def test_shipped_code_of_this_package_is_found() -> None:
    path, text = sources.shipped("visitwise.functional.hazard_nll", ROOT / "src")
    assert path.name == "functional.py"
    assert text.startswith("def hazard_nll(")
    assert '"""' not in text


@pytest.mark.parametrize("target", ["pack.module.g", "pack.absent.f", "pack.module.C.n", "f", "pack.module"])
def test_code_that_is_not_there_is_reported(src: Path, target: str) -> None:
    problems: list[str] = []
    sources.show(f"[shipped code](source:{target})", src, problems.append)
    assert len(problems) == 1
    assert f"`source:{target}`" in problems[0]


def test_code_in_the_middle_of_a_sentence_is_reported(src: Path) -> None:
    problems: list[str] = []
    sources.show("See [shipped code](source:pack.module.f).", src, problems.append)
    assert problems == ["`[shipped code](source:pack.module.f)` shows code and has to stand alone on its line"]


# ------------------------------------------------------------------------------------------------------------- help


def test_help_of_a_command_stands_on_the_page_as_it_is_printed() -> None:
    text = commands.show("Before.\n\n[help](help:visitwise train)\n\nAfter.\n", pytest.fail)
    assert text.startswith(
        'Before.\n\n```text title="visitwise train --help"\nUsage: visitwise train [OPTIONS] [SOURCE]\n'
    )
    assert "\n  --run PATH " in text
    assert text.endswith("\n```\n\nAfter.\n")
    assert max(map(len, text.splitlines())) <= commands.WIDTH


@pytest.mark.parametrize("command", ["visitwise fly", "visitwise train fast", "other train", ""])
def test_help_of_a_command_that_is_not_there_is_reported(command: str) -> None:
    problems: list[str] = []
    assert commands.show(f"[help](help:{command})", problems.append) == ""
    assert problems == [f"`help:{command}` names no command of this package"]


def test_every_command_has_its_help_in_the_reference() -> None:
    from visitwise.cli import main

    page = (ROOT / "explainer" / "reference" / "cli.md").read_text(encoding="utf-8")
    for name in main.commands:
        assert f"[help](help:visitwise {name})" in page


# --------------------------------------------------------------------------------------------------------- formulas


def test_formulas_are_set_and_a_wrong_one_is_reported_with_its_text() -> None:
    problems: list[str] = []
    setter = formulas.Typesetter()
    good = r'<p><span class="arithmatex">\(h_k &lt; 1\)</span></p><div class="arithmatex">\[S\]</div>'
    page = setter.page(good + r'<span class="arithmatex">\(\frac{1}\)</span>', problems.append)
    process = setter.node.process
    setter.close()
    assert page.count("<math") == 2
    assert 'annotation encoding="application/x-tex">h_k &lt; 1<' in page
    assert '<div class="vw-formula" tabindex="0">' in page
    assert len(problems) == 1
    assert r"the formula `\frac{1}` cannot be set" in problems[0]
    assert process is not None
    assert process.poll() == 0


def test_stylesheet_of_the_formulas_asks_for_one_kind_of_font() -> None:
    style = formulas.stylesheet()
    assert ".woff2" in style
    assert ".ttf" not in style
    assert ".woff)" not in style


# -------------------------------------------------------------------------------------------------------- notebooks


def test_notebook_becomes_markdown_with_its_outputs_put_in_last() -> None:
    notebook = {
        "cells": [
            {
                "cell_type": "markdown",
                "source": ["# Title\n", "\n", "<details>\n", "x\n", "</details>"],
                "metadata": {},
            },
            code("print(1 < 2)", {"output_type": "stream", "name": "stdout", "text": ["\x1b[1mTrue\x1b[0m <\n"]}),
            code("2", tags=["solution"]),
        ]
    }
    text = pages.to_markdown(notebook, pytest.fail, prose=str.upper)
    assert text.startswith("# TITLE\n\n<DETAILS>") or '<details markdown="1">' in text
    assert "```python\nprint(1 < 2)\n```" in text
    assert "<summary>One solution</summary>\n\n```python\n2\n```" in text
    filled = pages.fill(text, notebook, pytest.fail, no_figure)
    assert ">True &lt;</pre>" in filled
    assert "data-cell-outputs" not in filled


def test_figure_without_alt_text_is_reported_with_its_cell() -> None:
    problems: list[str] = []
    notebook = {
        "cells": [
            code("figure", shown({"image/png": "AAAA", "text/plain": "<Figure>"})),
            code(
                "show(figure)", shown({"image/svg+xml": "<svg></svg>"}, **{"image/svg+xml": {"alt": "A line falls."}})
            ),
            code("html", shown({"text/html": "<img src='x'>"})),
            code("script", shown({"text/html": "<script>1</script>"})),
        ]
    }
    filled = pages.fill(pages.to_markdown(notebook, problems.append), notebook, problems.append, no_figure)
    assert problems == [
        'cell 1: a figure without alt text; end the cell with `show(figure, alt="...")`',
        'cell 3: a figure without alt text; end the cell with `show(figure, alt="...")`',
        "cell 4: an output with a script, which the site does not run",
    ]
    assert '<figure class="vw-figure"><svg></svg></figure>' in filled


def test_figure_of_a_tagged_cell_can_be_shown_on_a_page_and_no_other() -> None:
    problems: list[str] = []
    picture = shown({"image/svg+xml": ["<svg>", "</svg>"]})
    cells = [code("show(a)", picture, tags=["figure:a"]), code("b", tags=["figure:b"])]
    known = pages.figures([("01_x", {"cells": cells}), ("02_y", {"cells": cells[:1]})], problems.append, no_figure)
    assert known == {"a": "<svg></svg>"}
    assert problems == [
        "01_x: the tag `figure:b` marks 0 figures, or a name in use; expected one",
        "02_y: the tag `figure:a` marks 1 figures, or a name in use; expected one",
    ]
    page = '<div data-figure="a"><p>Caption.</p></div><div data-figure="c"></div>'
    placed = pages.place_figures(page, known, problems.append)
    assert '<div class="vw-figure" data-figure="a"><svg></svg><p>Caption.</p></div>' in placed
    assert problems[2:] == ["no cell of a notebook has the tag `figure:c`"]


def test_figure_that_can_be_moved_is_drawn_for_readers_without_a_script() -> None:
    record = {
        "name": "hazard_loom",
        "state": {"hazards": [0.1, 0.2, 0.3], "event": 2, "formula": "product"},
        "given": {},
    }
    cells = [code("loom", shown({live.MIME: record, "text/plain": "HazardLoom()"}), tags=["figure:loom"])]
    artist = live.Artist()
    block = artist.block(record)
    assert pages.figures([("01_x", {"cells": cells})], pytest.fail, artist.block) == {"loom": block}
    filled = pages.fill(pages.to_markdown({"cells": cells}, pytest.fail), {"cells": cells}, pytest.fail, artist.block)
    assert block in filled
    assert 'data-live="widgets/hazard_loom"' in block
    assert "<td>1.2040</td>" in block
    assert len(re.findall(r'role="img" aria-label="[^"]*\b0\.30\b', block)) == 2
    assert "slider" not in block
    assert ".vw-still {" in artist.stylesheet(live.names())
    artist.close()


def test_figure_that_cannot_be_drawn_is_a_problem_of_its_page_and_not_the_end_of_the_build() -> None:
    problems: list[str] = []
    record = {"name": "no_such", "state": {}, "given": {}}
    notebook = {"cells": [code("lost", shown({live.MIME: record}), tags=["figure:lost"])]}
    artist = live.Artist()
    assert pages.figures([("01_x", notebook)], problems.append, artist.block) == {"lost": ""}
    pages.fill(pages.to_markdown(notebook, problems.append), notebook, problems.append, artist.block)
    artist.close()
    assert len(problems) == 2
    assert problems[0].startswith("01_x: the figure no_such cannot be drawn: ")
    assert problems[1].startswith("cell 1: the figure no_such cannot be drawn: ")


def test_cell_that_was_not_run_is_reported() -> None:
    problems: list[str] = []
    pages.to_markdown({"cells": [code("1") | {"execution_count": None}]}, problems.append)
    assert problems == ["cell 1 was not executed"]


# ------------------------------------------------------------------------------------------------------------ links


@pytest.mark.parametrize(
    ("page", "written", "on_the_site"),
    [
        ("01-a.md", "../notebooks/01_a.py", "notebooks/01_a.ipynb"),
        ("reference/f.md", "../../notebooks/01_a.py#part", "../notebooks/01_a.ipynb#part"),
        ("notebooks/01_a.ipynb", "../explainer/01-a.md", "../01-a.md"),
        ("notebooks/01_a.ipynb", "02_b.py", "02_b.ipynb"),
        ("01-a.md", "02-b.md", "02-b.md"),
        ("01-a.md", "../pyproject.toml", "repository:pyproject.toml"),
        ("01-a.md", "https://example.org/x", "https://example.org/x"),
        ("01-a.md", "#part", "#part"),
    ],
)
def test_link_of_the_repository_leads_to_the_same_place_on_the_site(page: str, written: str, on_the_site: str) -> None:
    assert links.relink(f"[x]({written})", page, ROOT, pytest.fail) == f"[x]({on_the_site})"


def test_link_to_a_file_that_is_not_there_is_reported() -> None:
    problems: list[str] = []
    links.relink("[x](../tests/test_absent.py)", "01-a.md", ROOT, problems.append)
    assert problems == ["the link `../tests/test_absent.py` leads to no file of the repository"]


def test_link_to_a_file_names_it_where_no_host_is_known() -> None:
    page = '<a href="repository:tests/test_x.py">a test</a>'
    assert links.to_repository(page, "https://host/us/it/") == (
        '<a href="https://host/us/it/blob/main/tests/test_x.py">a test</a>'
    )
    assert links.to_repository(page, "") == (
        '<span class="vw-file" title="tests/test_x.py in the repository">a test</span>'
    )


def test_list_that_only_jupyter_would_show_is_found() -> None:
    assert links.crowded_lists("Text:\n- one\n- two\n") == ["- one"]
    assert links.crowded_lists("Text:\n\n- one\n  more\n- two\n\n```\nx\n- no\n```\n\na - b\n") == []


# --------------------------------------------------------------------------------------------------- a whole build


def test_strict_build_fails_and_names_page_and_problem(tmp_path: Path) -> None:
    project = copy_project(built().project, tmp_path / "project")
    (project / "explainer" / "bad.md").write_text(
        "# Bad\n\n[0.5](fact:absent_fact)\n\n[shipped code](source:visitwise.functional.absent)\n\n"
        "$\\absent$\n\n[there](absent.md)\n\nIt is 0.25, see [4](as-is:page).\n"
    )
    (project / "notebooks" / "bad.py").write_text("# %%\n1\n")
    figure = code("show(figure, alt='It is 0.75.')", shown({"image/png": "AAAA"}))
    clash = published(*next(iter(_first_fact(built().project)))) if _first_fact(built().project) else {"cells": []}
    for cell in clash["cells"]:
        cell["outputs"][0]["data"][facts.FACT_MIME]["value"] += 1
    metadata = {"visitwise": {"key": notebooks.key_of(project / "notebooks" / "bad.py", project)}}
    notebook = {"metadata": metadata, "cells": [figure, *clash["cells"]], "nbformat": 4, "nbformat_minor": 5}
    (project / "explainer" / "notebooks" / "bad.ipynb").write_text(json.dumps(notebook))
    done = build_site(project, tmp_path / "site")
    assert done.returncode != 0
    for told in (
        "explainer/bad.md: `[0.5](fact:absent_fact)` quotes a fact that no notebook publishes",
        "explainer/bad.md: `source:visitwise.functional.absent` names nothing that is defined there",
        r"explainer/bad.md: the formula `\absent` cannot be set",
        "'bad.md' contains a link 'absent.md'",
        "explainer/bad.md: `0.25` is typed and not checked, in the line `It is 0.25, see [4](as-is:page).`",
        "explainer/bad.md: `[4](as-is:page)` is of no kind that may stand as it is",
        "notebooks/bad.py: `0.75` is typed in the alt text `It is 0.75.`",
        "notebooks/bad.py: cell 1: a figure without alt text",
        "the fact `",
    ):
        assert told in done.stderr, done.stderr


def _first_fact(project: Path) -> list[tuple[str, float]]:
    executed = sorted((project / "explainer" / "notebooks").glob("*.ipynb"))
    found = facts.published(((path.stem, json.loads(path.read_text())) for path in executed), pytest.fail)
    return [(name, fact.value) for name, fact in sorted(found.items())][:1]


def test_notebook_that_changed_since_it_ran_stops_the_build(tmp_path: Path) -> None:
    project = copy_project(built().project, tmp_path / "project")
    source = sorted((project / "notebooks").glob("*.py"))[0]
    source.write_text(source.read_text() + "\n# %%\n1\n")
    done = build_site(project, tmp_path / "site")
    assert done.returncode != 0
    assert f"notebooks/{source.name} has not been run since" in done.stderr


# ------------------------------------------------------------------------------------------------------------- port


def test_port_that_is_taken_is_told_with_the_way_out() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        told = port.problem(str(number))
        assert told is not None
        assert told.startswith(f"port {number} cannot be used")
        assert f"make site PORT={number % 65535 + 1}" in told
        asked = subprocess.run(
            ["make", "port", f"PORT={number}"], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert asked.returncode != 0
    assert f"port {number} cannot be used" in asked.stderr


@pytest.mark.parametrize("text", ["http", "0", "70000", "-1", ""])
def test_what_is_no_port_is_told(text: str) -> None:
    assert "expected a number from 1 to 65535" in str(port.problem(text))
