"""The figures' Python side: what may be set, what is read back, what is compared; and the node that draws them."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import traitlets

from tests import figures
from tests.built import ROOT  # noqa: F401 - built.py puts the build's modules on the path
from visitwise.widgets import Figure, HazardLoom, PackingBench, TwoEndings
from visitwise.widgets._figure import FIGURE_MIME, FOLDER, Number, Numbers, OneOf, Switch, bundle

every_figure = pytest.mark.parametrize("name", figures.NAMES)
NAN = float("nan")

# ------------------------------------------------------------------------------------------------------ what may be set


@pytest.mark.parametrize(
    "given",
    [
        (0.1, 0.25),
        np.array([0.1, 0.25]),
        torch.tensor([0.1, 0.25], dtype=torch.float64, requires_grad=True),
        [np.float64(0.1), torch.tensor(0.25, dtype=torch.float64)],
    ],
    ids=lambda given: type(given).__name__,
)
def test_hazards_may_come_as_a_tuple_an_array_or_a_tensor(given: Any) -> None:
    loom = HazardLoom(hazards=given, event=np.int64(1))
    assert repr(loom) == "HazardLoom(hazards=[0.1, 0.25], event=1, formula='product')"
    json.dumps(loom.state, allow_nan=False)
    assert PackingBench(pad=torch.tensor(7), bidirectional=np.bool_(True)).state["bidirectional"] is True


def hazards(text: str) -> str:
    return f"HazardLoom: hazards is {text}; expected 1 to 6 numbers from 0.01 to 0.99"


@pytest.mark.parametrize(
    ("figure", "part", "value", "message"),
    [
        (HazardLoom, "hazards", [], hazards("[]")),
        (HazardLoom, "hazards", [0.1] * 7, hazards(f"{[0.1] * 7}")),
        (HazardLoom, "hazards", [NAN], hazards("[nan]")),
        (HazardLoom, "hazards", [0.1, 1.0], hazards("[0.1, 1.0]")),
        (HazardLoom, "hazards", [True], hazards("[True]")),
        (HazardLoom, "hazards", np.array([[0.1]]), hazards("[[0.1]]")),
        (HazardLoom, "hazards", torch.tensor(0.1, dtype=torch.float64), hazards("0.1")),
        (HazardLoom, "hazards", "0.1", hazards("'0.1'")),
        (HazardLoom, "hazards", None, hazards("None")),
        (HazardLoom, "event", 6, "HazardLoom: event is 6; expected a whole number from 0 to 5"),
        (HazardLoom, "event", -1, "HazardLoom: event is -1; expected a whole number from 0 to 5"),
        (HazardLoom, "event", 1.0, "HazardLoom: event is 1.0; expected a whole number from 0 to 5"),
        (HazardLoom, "event", True, "HazardLoom: event is True; expected a whole number from 0 to 5"),
        (HazardLoom, "formula", "sum", "HazardLoom: formula is 'sum'; expected one of 'product', 'exp'"),
        (
            HazardLoom,
            "formula",
            np.array(["exp", "exp"]),
            "HazardLoom: formula is ['exp', 'exp']; expected one of 'product', 'exp'",
        ),
        (PackingBench, "pad", False, "PackingBench: pad is False; expected one of 0, 7"),
        (PackingBench, "pad", 7.0, "PackingBench: pad is 7.0; expected one of 0, 7"),
        (PackingBench, "bidirectional", 1, "PackingBench: bidirectional is 1; expected True or False"),
        (
            PackingBench,
            "lengths",
            [1, 2, 3],
            "PackingBench: lengths is [1, 2, 3]; expected 4 whole numbers from 1 to 6",
        ),
        (TwoEndings, "truth", np.inf, "TwoEndings: truth is inf; expected a number from 0.05 to 0.95"),
    ],
)
def test_what_a_part_cannot_be_is_refused_with_what_was_expected(
    figure: type[Figure], part: str, value: Any, message: str
) -> None:
    made = figure()
    before = made.state
    with pytest.raises(traitlets.TraitError) as told:
        setattr(made, part, value)
    assert str(told.value) == message
    assert made.state == before
    with pytest.raises(traitlets.TraitError):
        figure(**{part: value})


@pytest.mark.parametrize(
    ("part", "fits"),
    [
        (Number(0.5, 0, 1, 0.1), [0, 1, 0.123, 1e-9]),
        (Number(1, 0, 3, 1), [0, 3]),
        (Numbers([0.5], 0, 1, 0.1, fewest=0, most=2), [[], [0], [1, 0.5]]),
        (Numbers([1, 2], 1, 3, 1), [[1, 3]]),
        (OneOf("a", 1, None), ["a", 1, None]),
        (Switch(True), [True, False]),
    ],
    ids=lambda part: type(part).__name__,
)
def test_limits_themselves_are_within_the_limits(part: Any, fits: list[Any]) -> None:
    assert [value for value in fits if part.problem(value)] == []


def test_an_unknown_part_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(TypeError, match=r"^HazardLoom has no hazard, times; expected hazards, event, formula$"):
        HazardLoom(times=1, hazard=2)


def test_figures_share_no_list_with_each_other_or_with_who_gave_it() -> None:
    one, other = HazardLoom(), HazardLoom()
    one.hazards.append(0.9)
    mine = [0.1, 0.2]
    other.hazards = mine
    mine.append(0.9)
    assert (HazardLoom().hazards, one.hazards, other.hazards) == ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [0.1, 0.2])


def test_a_list_that_is_changed_in_place_and_set_again_reaches_the_screen() -> None:
    loom = HazardLoom()
    told: list[Any] = []
    loom.observe(lambda change: told.append(change.new), "hazards")
    hazards = loom.hazards
    hazards[0] = 0.5
    loom.hazards = hazards
    assert told == [[0.5, 0.2, 0.3]]


# -------------------------------------------------------------------------------------------- what the screen has drawn


@pytest.fixture
def loom() -> HazardLoom:
    """As if it had been drawn."""
    made = HazardLoom()
    made.set_state({"hazards": [0.1, 0.2, 0.3], "shown": {"nll": 1.5, "costs": [0.5, 1.0]}})
    return made


def test_what_the_screen_says_comes_with_its_numbers(loom: HazardLoom) -> None:
    loom.set_state({"hazards": [0.4, 0.2], "event": 1, "shown": {"nll": 2.5}})
    assert (loom.hazards, loom.event, loom.shown) == ([0.4, 0.2], 1, {"nll": 2.5})
    loom.set_state({"event": 0})
    assert loom.shown == {"nll": 2.5}


@pytest.mark.parametrize(("part", "value"), [("event", 1), ("hazards", [0.1]), ("formula", "exp")])
def test_what_python_sets_makes_the_numbers_on_show_those_of_an_earlier_state(
    loom: HazardLoom, part: str, value: Any
) -> None:
    setattr(loom, part, value)
    assert loom.shown == {}


def test_what_python_answers_to_the_screen_makes_its_numbers_old_too(loom: HazardLoom) -> None:
    loom.observe(lambda change: setattr(loom, "event", 0), "hazards")
    loom.set_state({"hazards": [0.4, 0.2, 0.3], "event": 2, "shown": {"nll": 2.5}})
    assert (loom.event, loom.shown) == (0, {})


def test_setting_what_is_already_so_or_cannot_be_keeps_the_numbers(loom: HazardLoom) -> None:
    loom.event, loom.hazards, loom.guess = 2, (0.1, 0.2, 0.3), 1
    with pytest.raises(traitlets.TraitError):
        loom.event = 9
    assert loom.shown["nll"] == 1.5


@pytest.mark.parametrize("number", [1.5, np.float64(1.5), torch.tensor(1.5, dtype=torch.float64, requires_grad=True)])
def test_a_number_agrees_that_is_the_same_to_twelve_digits(
    loom: HazardLoom, number: Any, capsys: pytest.CaptureFixture[str], unchecked: None
) -> None:
    loom.agrees(nll=number)
    loom.agrees(nll=number + 1e-12)
    assert capsys.readouterr().out == "nll = 1.500000, as the figure shows\n" * 2


@pytest.mark.parametrize("number", [1.5 + 1e-11, NAN, -1.5, 0, torch.tensor(1.6)])
def test_a_number_that_is_another_one_is_told_with_the_figures(loom: HazardLoom, number: Any, unchecked: None) -> None:
    with pytest.raises(AssertionError, match=r"^nll: you have .*, the figure shows 1\.5$"):
        loom.agrees(nll=number)


@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize("number", [[1.5], torch.ones(2), None, "1.5"], ids=str)
def test_what_is_not_one_number_cannot_agree(loom: HazardLoom, shown: bool, number: Any, unchecked: None) -> None:
    loom.shown = loom.shown if shown else {}
    with pytest.raises(ValueError, match=r"^nll is .*; expected one number$"):
        loom.agrees(nll=number)


@pytest.mark.parametrize("name", ["costs", "loss"])
def test_a_name_that_is_not_on_show_is_refused_with_those_that_are(loom: HazardLoom, name: str) -> None:
    with pytest.raises(ValueError, match=f"^the figure hazard_loom shows no number called '{name}'; it has nll$"):
        loom.agrees(**{name: 1.0})


def test_before_there_is_a_screen_there_is_nothing_to_agree_with(capsys: pytest.CaptureFixture[str]) -> None:
    HazardLoom().agrees(nll=1.0)
    assert capsys.readouterr().out == "nll = 1.000000; in Jupyter, run this cell again to compare it with the figure\n"


# ------------------------------------------------------------------------------------------------- what Jupyter is told


@every_figure
def test_an_output_holds_the_state_what_it_was_given_and_how_python_writes_it(name: str) -> None:
    widget = figures.widget(name)()
    data, _ = widget._repr_mimebundle_()
    assert data[FIGURE_MIME] == {"name": name, "state": widget.state, "given": widget.given}
    assert data["text/plain"] == repr(widget)
    assert "application/vnd.jupyter.widget-view+json" in data
    json.dumps(data[FIGURE_MIME], allow_nan=False)


@every_figure
def test_each_is_built_alike_and_may_be_written_again_as_python_writes_it(name: str) -> None:
    import visitwise.widgets

    widget = figures.widget(name)()
    again = eval(repr(widget), vars(visitwise.widgets))  # our own words
    assert (again.state, again.given) == (widget.state, widget.given)


@every_figure
def test_parts_and_what_is_shared_reach_the_screen(name: str) -> None:
    widget = figures.widget(name)()
    assert {*widget.parts(), "given", "shown", "guess", "light", "_esm", "_css"} <= set(widget.keys)
    assert widget._css == (FOLDER / "tokens.css").read_text(encoding="utf-8")
    assert widget._esm == bundle(name)


def test_a_module_that_two_others_need_is_in_the_bundle_once_and_before_them() -> None:
    text = bundle("packing_bench")
    [kit] = [place for place, line in enumerate(text.splitlines()) if line.startswith("const h = ")]
    [own] = [place for place, line in enumerate(text.splitlines()) if line.startswith("export const figure")]
    assert kit < own
    assert text.count("const sigmoid = ") == 1


def test_without_anywidget_the_package_works_and_the_figures_say_what_is_missing() -> None:
    script = """
        import sys
        sys.modules["anywidget"] = None
        import visitwise, visitwise.functional, visitwise.cli
        try:
            import visitwise.widgets
        except ImportError as missing:
            print(missing)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert done.stdout == 'the figures need anywidget: pip install "visitwise[widgets]"\n'


# ------------------------------------------------------------------------------------------- node, which draws and sets


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Any]:
    import node

    begun: list[node.Conversation] = []

    def begin(script: str) -> node.Conversation:
        (tmp_path / "program.mjs").write_text(
            f'import {{ createInterface }} from "node:readline";\n'
            f'createInterface({{ input: process.stdin }}).on("line", (line) => {{ {script} }});\n',
            encoding="utf-8",
        )
        begun.append(node.Conversation(tmp_path / "program.mjs"))
        return begun[-1]

    yield begin
    for one in begun:
        one.close()


def test_a_conversation_answers_each_question_with_one_process(program: Any) -> None:
    echo = program("console.log(JSON.stringify({ pid: process.pid, said: JSON.parse(line).é }))")
    answers = [echo.ask({"é": said}) for said in ("≤ 1\n2", "x" * 200_000)]
    assert [answer["said"] for answer in answers] == ["≤ 1\n2", "x" * 200_000]
    assert answers[0]["pid"] == answers[1]["pid"]
    process = echo.process
    echo.close()
    assert process.returncode == 0
    echo.close()  # a second time is nothing
    assert echo.ask({"é": 1})["pid"] != answers[0]["pid"]


@pytest.mark.parametrize("script", ["process.exit(3)", "throw 1", "console.log('hello'); console.log('{}')", "nothing"])
def test_a_program_that_dies_or_says_something_else_is_told_and_stops_nothing(program: Any, script: str) -> None:
    broken = program(script)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"^node .*program\.mjs said .*; expected a line of JSON$"):
            broken.ask({})
        assert broken.process is None
    broken.close()


def test_a_program_that_does_not_end_is_ended(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stubborn = program("console.log('{}'); setInterval(() => {}, 1000)")
    stubborn.ask({})
    process = stubborn.process
    wait = process.wait
    monkeypatch.setattr(process, "wait", lambda timeout=None: wait(timeout and 0.2))
    stubborn.close()
    assert process.returncode not in (None, 0)


@pytest.fixture
def artist() -> Iterator[Any]:
    import live

    made = live.Artist()
    yield made
    made.close()


RECORD = {"name": "hazard_loom", "state": {"hazards": [0.5]}, "given": {}}


def test_a_figure_that_cannot_be_drawn_is_told_and_the_next_one_is_drawn(artist: Any) -> None:
    process = None
    for wrong in ({"name": "no_such"}, {"given": {"x": NAN}}, {"state": {"hazards": 5}}):
        with pytest.raises(ValueError, match=r"^the figure \w+ cannot be drawn: .+"):
            artist.block(RECORD | wrong)
        process = process or artist.node.process
        assert artist.node.process is process
    with pytest.raises(ValueError, match=r"^the figures' rules cannot be read: .+"):
        artist.stylesheet(["no_such"])
    assert '<div class="vw-still"><p class="claim">' in artist.block(RECORD)


def test_a_block_holds_whatever_it_was_given(artist: Any) -> None:
    """Quotes and tags in it are its own, and a state that is mended on the screen is mended in the picture."""
    import html
    import re

    given = {"words": "</div>\"'<b>&amp;\\1"}
    block = artist.block(RECORD | {"given": given})
    [kept] = re.findall(r'data-given="([^"]*)"', block)
    assert json.loads(html.unescape(kept)) == given
    assert not {"<", ">", "'"} & set(kept)
    [start] = re.findall(r'data-start="([^"]*)"', block)
    assert json.loads(html.unescape(start)) == {"hazards": [0.5]}
    assert "0.50" in block
    assert not re.search("NaN|undefined", block)
    assert "data-given" not in artist.block(RECORD)


def test_a_changed_module_is_drawn_anew_once_the_artist_was_closed(artist: Any, tmp_path: Path) -> None:
    """As when a page is served and a module is saved."""
    import shutil

    import live

    folder = tmp_path / "explainer" / "_build"
    folder.mkdir(parents=True)
    shutil.copy(Path(live.__file__).with_name("still.mjs"), folder)
    shutil.copytree(figures.WIDGETS, tmp_path / "src" / "visitwise" / "widgets")
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    artist.node.command = [str(folder / "still.mjs")]
    module = tmp_path / "src" / "visitwise" / "widgets" / "hazard_loom.js"
    before = artist.block(RECORD)
    module.write_text(
        module.read_text(encoding="utf-8").replace("Raise one hazard", "Raise a hazard"), encoding="utf-8"
    )
    assert artist.block(RECORD) == before
    artist.close()
    assert '<p class="claim">Raise a hazard' in artist.block(RECORD)


def test_a_page_has_the_figures_rules_where_it_has_a_figure() -> None:
    import live

    page = '<head><link rel="stylesheet" href="../assets/site.css"></head>'
    figure = page + '<div class="vw-live"></div>'
    assert live.styled(page) == page
    assert live.styled(figure) == figure.replace(
        "</head>", '<link rel="stylesheet" href="../assets/figures.css"></head>'
    )
