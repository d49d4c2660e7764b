"""The figures in a real JupyterLab: what a hand does there is in the kernel, and what the kernel says is drawn."""

import functools
import json
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests import figures, jupyter
from tests.built import ROOT

pytestmark = pytest.mark.browser
every_figure = pytest.mark.parametrize("name", figures.NAMES)
SCREEN = {"width": 1280, "height": 900}
DARK, LIGHT = "JupyterLab Dark", "JupyterLab Light"


@pytest.fixture(scope="module")
def lab(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[jupyter.Lab]:
    """JupyterLab on a copy of the notebooks and on one more, which has each figure twice."""
    folder, own = tmp_path_factory.mktemp("work") / "notebooks", tmp_path_factory.mktemp("jupyter")
    shutil.copytree(ROOT / "notebooks", folder, ignore=shutil.ignore_patterns(".*"))
    cells = [f"{name} = widgets.{figures.widget(name).__name__}()\n{name}" for name in figures.NAMES]
    cells = ["from visitwise import widgets", *cells, *figures.NAMES]
    (folder / "every_figure.py").write_text("".join(f"# %%\n{cell}\n\n" for cell in cells), encoding="utf-8")
    with jupyter.served(folder, own) as (address, token):
        context = browser.new_context(viewport=SCREEN)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.set_default_navigation_timeout(60_000)
        made = jupyter.Lab(page, address)
        page.goto(f"{address}/lab?token={token}")
        page.wait_for_function("window.jupyterapp?.restored.then(() => true)", timeout=60_000)
        yield made
        context.close()


@pytest.fixture(autouse=True)
def _nothing_else_went_wrong(lab: jupyter.Lab) -> Iterator[None]:
    yield
    wrong, lab.wrong[:] = list(lab.wrong), []
    assert wrong == []


@pytest.fixture(scope="module")
def chapter(lab: jupyter.Lab) -> jupyter.Notebook:
    """The first notebook as a reader has it, run from top to bottom."""
    notebook = lab.open("01_hazard_to_likelihood.py")
    notebook.run_all()
    return notebook


@pytest.fixture(scope="module")
def each(lab: jupyter.Lab) -> jupyter.Notebook:
    """A notebook that shows each figure in two places."""
    notebook = lab.open("every_figure.py")
    notebook.run_all()
    return notebook


def state(view: Any) -> dict[str, Any]:
    return dict(json.loads(view.get_attribute("data-state")))


@functools.cache
def given(name: str) -> Any:
    return figures.widget(name)().given


def not_the_packages(name: str, view: Any) -> list[str]:
    """Where the numbers on show are not the package's for the state on show."""
    expected = figures.of(name).oracle(state(view), given(name))
    return figures.differences(json.loads(view.get_attribute("data-out")), json.loads(json.dumps(expected)))


def drag(handle: Any, across: float, down: float) -> None:
    """With the mouse, from the middle of what can be taken hold of."""
    mouse = handle.page.mouse
    grip = handle.locator(".hit[data-name]")
    grip.hover()  # which waits until JupyterLab has laid out what it scrolled to
    box = grip.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mouse.down()
    for share in (0.3, 0.6, 1):
        mouse.move(x + share * across, y + share * down)
    mouse.up()


def kernel_has_what_is_shown(notebook: jupyter.Notebook, variable: str, view: Any) -> bool:
    def same() -> bool:
        told = notebook.ask(f"[{variable}.state, {variable}.shown]")
        return told == [state(view), json.loads(view.get_attribute("data-out"))]

    return notebook.until(same)


# ------------------------------------------------------------------------------------------------ a reader's notebook


def test_a_chapter_opens_as_a_notebook_and_runs_with_its_figure(chapter: jupyter.Notebook) -> None:
    outputs = [output for cell in chapter.cells("") for output in chapter.outputs(cell)]
    assert [output for output in outputs if output["output_type"] == "error"] == []
    [cell] = chapter.cells("HazardLoom(")
    assert chapter.view(cell).count() == 1
    assert not_the_packages("hazard_loom", chapter.view(cell)) == []
    assert kernel_has_what_is_shown(chapter, "loom", chapter.view(cell))


def test_a_dragged_bar_is_a_number_in_the_kernel_and_the_next_cell_agrees(chapter: jupyter.Notebook) -> None:
    [cell], [comparison] = chapter.cells("HazardLoom("), chapter.cells("loom.agrees(")
    view = chapter.view(cell)
    bars = view.locator("[data-handle^='hazard ']")
    drag(bars.nth(0), 0, -60)
    bars.nth(1).focus()
    for key in ("ArrowUp", "ArrowUp", "ArrowDown", "PageUp"):
        chapter.lab.page.keyboard.press(key)
    assert state(view)["hazards"] == [0.5, 0.31, 0.3]
    assert kernel_has_what_is_shown(chapter, "loom", view)
    assert not_the_packages("hazard_loom", view) == []
    printed = chapter.run(comparison)
    assert printed.count("as the figure shows") == 2
    assert f"nll = {chapter.ask('loom.shown')['nll']:.6f}" in printed


def test_what_python_sets_is_drawn(chapter: jupyter.Notebook) -> None:
    [cell] = chapter.cells("HazardLoom(")
    view = chapter.view(cell)
    for hazards, event in (([0.05, 0.08, 0.15, 0.4], 2), ([0.25], 0)):
        chapter.tell(f"loom.hazards = {hazards}")
        assert chapter.until(lambda wanted=hazards: state(view)["hazards"] == wanted)
        assert view.locator("[data-handle^='hazard ']").count() == len(hazards)
        assert state(view)["event"] == event
        assert not_the_packages("hazard_loom", view) == []
        assert kernel_has_what_is_shown(chapter, "loom", view)


def test_a_figure_made_while_its_output_is_folded_gets_the_width_of_its_place(chapter: jupyter.Notebook) -> None:
    [cell] = chapter.cells("HazardLoom(")
    chapter.do("notebook:hide-cell-outputs", cell)
    chapter.run(cell)
    chapter.do("notebook:show-cell-outputs", cell)
    view = chapter.view(cell)
    view.wait_for()

    def widths() -> list[int]:
        found = "(host) => [host.clientWidth, host.shadowRoot.querySelector('.picture svg').getAttribute('width')]"
        return [int(width) for width in view.evaluate(found)]

    assert chapter.until(lambda: widths() == [720, 720])
    chapter.lab.page.set_viewport_size({"width": 800, "height": 900})
    assert chapter.until(lambda: widths()[0] == widths()[1] < 600)
    chapter.lab.page.set_viewport_size(SCREEN)


# ------------------------------------------------------------------------------------------------------ every figure


def views(notebook: jupyter.Notebook, name: str) -> tuple[Any, Any]:
    """The two places where the figure is."""
    place = 1 + figures.NAMES.index(name)
    return notebook.view(place), notebook.view(place + len(figures.NAMES))


def slider(view: Any, label: str) -> Any:
    return view.locator(f"[role=slider][aria-label={json.dumps(label)}]")


def labels(view: Any) -> list[str]:
    return [str(handle.get_attribute("aria-label")) for handle in view.locator("[role=slider]").all()]


@every_figure
def test_every_figure_begins_with_the_packages_numbers_in_both_places(name: str, each: jupyter.Notebook) -> None:
    first, second = views(each, name)
    assert state(first) == state(second) == each.ask(f"{name}.state") == figures.widget(name)().state
    assert not_the_packages(name, first) == not_the_packages(name, second) == []


@every_figure
def test_each_handle_takes_arrow_keys_and_jupyterlab_does_not(name: str, each: jupyter.Notebook) -> None:
    view, _ = views(each, name)
    for label in labels(view):
        handle = slider(view, label)
        handle.focus()
        cell, seen = each.active, [state(view)]
        for key in ("ArrowUp", "ArrowDown"):
            each.lab.page.keyboard.press(key)
            seen.append(state(view))
        assert seen[0] != seen[1] or seen[1] != seen[2], label
        assert each.active == cell, f"{label}: the key moved on to the next cell"
        assert handle.evaluate("(node) => node.getRootNode().activeElement === node"), f"{label} lost the focus"
        assert not_the_packages(name, view) == [], label
    assert kernel_has_what_is_shown(each, name, view)


@every_figure
def test_each_handle_follows_the_mouse_in_the_other_place_too(name: str, each: jupyter.Notebook) -> None:
    first, second = views(each, name)
    for label in labels(second)[:3]:
        before = state(second)
        for far in (40, -40, 120, -120):  # the places of some handles lie far apart
            if state(second) == before:
                drag(slider(second, label), far, -far)
        assert state(second) != before, label
        assert not_the_packages(name, second) == [], label
    assert each.until(lambda: state(first) == state(second))
    assert first.get_attribute("data-out") == second.get_attribute("data-out")
    assert kernel_has_what_is_shown(each, name, first)


@every_figure
def test_no_key_in_a_figure_reaches_jupyterlab(name: str, each: jupyter.Notebook) -> None:
    """Arrows go to the next cell there, a and b make one, d twice deletes one, m and r make it a different kind."""
    view, _ = views(each, name)
    cells = "return panel.content.widgets.map((cell) => [cell.model.type, cell.model.sharedModel.getSource()]);"
    before = each.script(cells)
    for control in one_of_each_kind(view):
        control.evaluate("(node) => node.focus()")
        cell = each.active
        for key in ("ArrowDown", "ArrowUp", "a", "d", "d", "m", "z"):
            each.lab.page.keyboard.press(key)
        assert each.active == cell, control.evaluate("(node) => node.outerHTML")
    assert each.script(cells) == before


def one_of_each_kind(view: Any) -> list[Any]:
    """Among all that a key can reach."""
    reached = view.evaluate_handle("""(host) => {
      const kind = (node) => [node.localName, node.type, node.getAttribute("class"), node.getAttribute("role")].join();
      const all = [...host.shadowRoot.querySelectorAll("input, button, summary, [tabindex='0']")];
      return [...new Map(all.map((node) => [kind(node), node])).values()];
    }""")
    found = [element.as_element() for element in reached.get_properties().values()]
    assert len(found) >= 4
    return found


@every_figure
def test_native_controls_are_in_step_in_both_places_and_in_the_kernel(name: str, each: jupyter.Notebook) -> None:
    first, second = views(each, name)
    for control in first.locator(".controls input, .controls button:not([aria-disabled])").all():
        before = state(first)
        kind = control.get_attribute("type")
        control.focus()
        for key in {"range": ("ArrowRight", "ArrowLeft"), "radio": ("Space",)}.get(kind, ("Enter", "Space")):
            each.lab.page.keyboard.press(key)
        assert not_the_packages(name, first) == [], before
    assert kernel_has_what_is_shown(each, name, first)
    assert state(second) == state(first)
    first.get_by_role("button", name="Start again").press("Enter")
    assert kernel_has_what_is_shown(each, name, second)
    assert state(first) == state(second) == {key: limit["start"] for key, limit in limits(name).items()}


def limits(name: str) -> dict[str, Any]:
    return {part: trait.limits for part, trait in figures.widget(name).parts().items()}


@every_figure
def test_an_answer_in_one_place_is_the_answer_in_the_other(name: str, each: jupyter.Notebook) -> None:
    first, second = views(each, name)
    first.locator(".predict input").nth(1).check()
    assert each.until(lambda: each.ask(f"{name}.guess") == 1)
    assert second.locator(".predict input").nth(1).is_checked()
    assert second.locator(".predict p").text_content() == first.locator(".predict p").text_content() != ""


@every_figure
def test_numbers_of_an_earlier_state_are_never_compared_with(name: str, each: jupyter.Notebook) -> None:
    """Python sets the state and asks at once, before the figure can have drawn it."""
    first, _ = views(each, name)
    other = next(one for one in figures.of(name).states(np.random.default_rng(4)) if one != state(first))
    each.tell(
        f"with {name}.hold_sync():\n    for part, value in {other!r}.items(): setattr({name}, part, value)\n"
        f"at_once = dict({name}.shown)"
    )
    assert each.ask("at_once") == {}
    assert each.until(lambda: state(first) == other)
    assert kernel_has_what_is_shown(each, name, first)


@pytest.fixture(scope="module")
def painted(lab: jupyter.Lab, each: jupyter.Notebook) -> dict[str, list[list[str]]]:
    """For each figure, what it is painted with in the light theme, in the dark one, and in the light one again."""
    found: dict[str, list[list[str]]] = {name: [] for name in figures.NAMES}
    for theme in (LIGHT, DARK, LIGHT):
        lab.theme(theme)
        for name in figures.NAMES:
            view, _ = views(each, name)
            view.scroll_into_view_if_needed()
            lab.page.mouse.move(0, 0)  # what is pointed at or in focus is lit
            view.evaluate("(host) => host.shadowRoot.activeElement?.blur()")
            found[name].append(paints(view))
    return found


@every_figure
def test_every_colour_follows_the_theme(name: str, painted: dict[str, list[list[str]]]) -> None:
    light, dark, again = painted[name]
    assert light == again
    assert len(light) == len(dark) > 10
    assert [one for one, other in zip(light, dark, strict=True) if one == other] == []


def paints(view: Any) -> list[str]:
    """What each word and mark is painted with, without what is painted with nothing."""
    found: list[str] = view.evaluate("""(host) => [...host.shadowRoot.querySelectorAll("*")].flatMap((node, place) => {
      const { fill, stroke, color, fontWeight } = getComputedStyle(node);
      const words = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
      const drawn = node instanceof SVGGeometryElement || node instanceof SVGTextContentElement;
      const used = drawn ? { fill, stroke } : words ? { color } : {};
      return Object.entries(used)
        .filter(([, paint]) => !/^none$|, 0\\)$/.test(paint))
        .map(([property, paint]) => `${place} ${node.localName} ${node.getAttribute("class")} ${property} ${paint}`);
    })""")
    return found
