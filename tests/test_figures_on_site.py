"""The figures on the built site: what a reader can do with each, by keyboard, mouse and finger, and without a script.

Every test here is about any figure; whose numbers they must be is said by its oracle in `tests/figures/`.
"""

import json
import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from tests import figures
from tests.browser import bring_to_life, served, start_theme, until
from tests.built import ROOT, built
from tests.hands import (
    ANSWERS,
    BESIDE,
    IN_VIEW,
    SLIDERS,
    Control,
    Finger,
    Live,
    Mouse,
    drag,
    listen,
    open_figure,
    press,
)

pytestmark = pytest.mark.browser
every_figure = pytest.mark.parametrize("name", figures.NAMES)
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 800}
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"


def chapter(name: str) -> str:
    return f"/{figures.of(name).PAGE}/"


def notebook(name: str) -> str:
    return f"/notebooks/{figures.of(name).PAGE.replace('-', '_')}/"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    assert built().build.returncode == 0, built().build.stderr
    with served(built().site) as found:
        yield found


@pytest.fixture(scope="module")
def desk(browser: Any, address: str) -> Iterator[Callable[[str], Live]]:
    """A wide screen with one page for each figure, opened when it is first asked for."""
    context = browser.new_context(viewport=WIDE)
    opened: dict[str, Live] = {}

    def live(name: str) -> Live:
        if name not in opened:
            opened[name] = open_figure(context, address + chapter(name), name, [])
        return opened[name]

    yield live
    context.close()


@pytest.fixture(scope="module")
def phone(browser: Any, address: str) -> Iterator[Callable[[str], Live]]:
    """The same on a narrow screen that feels fingers and whose reader wants no motion."""
    context = browser.new_context(viewport=NARROW, has_touch=True, is_mobile=True, reduced_motion="reduce")
    opened: dict[str, Live] = {}

    def live(name: str) -> Live:
        if name not in opened:
            opened[name] = open_figure(context, address + chapter(name), name, [])
        return opened[name]

    yield live
    context.close()


@pytest.fixture
def live(desk: Callable[[str], Live], name: str) -> Iterator[Live]:
    """The figure as it begins, with nothing pointed at; the browser must have nothing to complain of in the end."""
    yield from _as_it_begins(desk(name))


@pytest.fixture
def small(phone: Callable[[str], Live], name: str) -> Iterator[Live]:
    yield from _as_it_begins(phone(name))


def _as_it_begins(found: Live) -> Iterator[Live]:
    found.page.bring_to_front()
    found.page.mouse.move(0, 0)
    found.start_again()
    yield found
    assert found.errors == []


# ----------------------------------------------------------------------------------------------------------- untouched


@every_figure
@pytest.mark.parametrize("where", [chapter, notebook])
def test_untouched_it_shows_the_packages_numbers(
    browser: Any, address: str, name: str, where: Callable[[str], str]
) -> None:
    context = browser.new_context(viewport=WIDE)
    live = open_figure(context, address + where(name), name, [])
    assert live.block.count() == live.host.count() == 1
    assert live.state == json.loads(live.block.get_attribute("data-start")) == figures.widget(name)().state
    assert live.unlike() == []
    assert live.errors == []
    context.close()


# ------------------------------------------------------------------------------------------------------------ keyboard

STOP = """(root) => {
  const node = root.activeElement;
  if (!node) return null;
  if (node.dataset.handle) return `handle ${node.dataset.handle.replace(/ \\d+$/, "")}`;
  if (node.type === "radio") return `radio ${node.name}`;
  return `${node.localName} ${[...root.querySelectorAll(node.localName)].indexOf(node)}`;
}"""
STOPS = """(root) => {
  const stops = [];
  for (const node of root.querySelectorAll("[data-handle], input, button, select, summary, [tabindex]")) {
    if (node.closest("details:not([open])") && node.localName !== "summary") continue;
    if (node.dataset.handle) stops.push(`handle ${node.dataset.handle.replace(/ \\d+$/, "")}`);
    else if (node.type === "radio") stops.push(`radio ${node.name}`);
    else stops.push(`${node.localName} ${[...root.querySelectorAll(node.localName)].indexOf(node)}`);
  }
  return [...new Set(stops)];
}"""


@every_figure
def test_tab_reaches_everything_once_and_a_row_of_handles_as_one(live: Live) -> None:
    reached = []
    live.block.evaluate("(block) => { block.tabIndex = -1; block.focus(); block.removeAttribute('tabindex'); }")
    for _ in range(100):
        live.page.keyboard.press("Tab")
        stop = live.ask(STOP)
        if stop is None:
            break
        reached.append(stop)
    assert reached == live.ask(STOPS)


def _rows(live: Live) -> dict[str, list[Control]]:
    """The handles that Tab reaches as one."""
    rows: dict[str, list[Control]] = {}
    for handle in live.all("[data-handle]"):
        rows.setdefault(handle.node.get_attribute("data-handle").rpartition(" ")[0], []).append(handle)
    return {row: handles for row, handles in rows.items() if len(handles) > 1}


@every_figure
def test_arrows_go_along_a_row_of_handles_and_tab_leaves_it(live: Live) -> None:
    key = live.page.keyboard.press
    for row, handles in _rows(live).items():
        # What moves sideways keeps left and right for itself.
        sideways = any(handle.see()["sideways"] for handle in handles)
        ahead, back = ("ArrowDown", "ArrowUp") if sideways else ("ArrowRight", "ArrowLeft")
        handles[0].node.focus()
        for handle in handles:
            assert handle.see()["focused"], row
            key(ahead)
        for handle in reversed(handles):
            assert handle.see()["focused"], row
            key(back)
        for leave in ("Tab", "Shift+Tab"):
            for first, way in ((handles[0], ahead), (handles[-1], back)):
                first.node.focus()
                key(way)
                key(leave)
                assert live.ask(STOP) != f"handle {row}", (way, leave)


LAST_OF_EACH = """(root) => {
  const last = {};
  for (const node of root.querySelectorAll("[data-handle]")) last[node.dataset.handle.replace(/ \\d+$/, "")] = node;
  Object.values(last).forEach((node) => node.focus());
}"""


@every_figure
def test_tab_finds_a_row_of_handles_when_its_last_one_is_gone(live: Live) -> None:
    if not _rows(live):
        return
    alone = [handle.node.get_attribute("data-handle") for handle in live.all(".handle")]
    alone = [name for name in alone if name.rpartition(" ")[0] not in _rows(live)]
    handles = "".join(f", [data-handle={json.dumps(name)}]" for name in alone)
    for control in live.each(f".controls :is(button, input:not([type=range], [type=file])){handles}"):
        live.ask(LAST_OF_EACH)
        control.use()
        assert control.see()["without_one_stop"] == [], control.name


@every_figure
def test_keys_move_every_slider_and_the_numbers_stay_the_packages(live: Live) -> None:
    wrong = []
    for slider in live.each(SLIDERS):
        wrong += press(slider)
    assert wrong == []


@every_figure
def test_keys_work_every_button_and_choice_and_the_numbers_stay_the_packages(live: Live) -> None:
    wrong = []
    for control in live.each(f"button, input:not([type=range], {ANSWERS})"):
        beside = control.node.evaluate("(node) => Boolean(node.closest('[data-beside]'))")  # it is for no state
        if beside or control.name.endswith("'Start again'"):
            continue
        kind = control.node.get_attribute("type")
        if kind == "radio":
            first = control.node.evaluate_handle("(node) => node.closest('fieldset').querySelector(':checked')")
            first.as_element().focus()
            before = control.see()
            for _ in range(
                control.node.evaluate("(node) => node.closest('fieldset').querySelectorAll('input').length")
            ):
                if control.see()["focused"]:
                    break
                before = control.see()
                live.page.keyboard.press("ArrowDown")
            if control.see()["state"] == before["state"]:  # it was the one chosen
                live.page.keyboard.press("ArrowDown")
                before = control.see()
                live.page.keyboard.press("ArrowUp")
            wrong += control.problems(before, control.see(), "chosen")
            continue
        if control.is_off() and not _switched_on(live, control):
            wrong.append(f"{control.name}: nothing in the figure switches it on")
            continue
        for key in ("Space", "Enter") if kind == "button" else ("Space", "Space"):
            if control.is_off():
                break
            control.node.focus()
            before = control.see()
            live.page.keyboard.press(key)
            live.settle()
            wrong += control.problems(before, control.see(), key)
    assert wrong == []


def _switched_on(live: Live, wanted: Any) -> bool:
    """Use the other controls, once each, until this one is on."""
    for other in live.all(f"button, [role=slider], input:not({ANSWERS})"):
        if not other.name.endswith("'Start again'"):
            other.use()
        if not wanted.is_off():
            return True
    return False


# -------------------------------------------------------------------------------------------------- mouse and finger


@every_figure
def test_the_mouse_drags_every_handle(live: Live) -> None:
    wrong = []
    for handle in live.each("[role=slider]"):
        wrong += drag(handle, Mouse(live.page))
    assert wrong == []


@every_figure
def test_a_finger_drags_every_handle_and_the_page_stays(small: Live) -> None:
    wrong = []
    for handle in small.each("[role=slider]"):
        wrong += drag(handle, Finger(small.page))
    assert wrong == []


@every_figure
def test_a_finger_beside_the_handles_scrolls_the_page(small: Live) -> None:
    small.scroll_into_view()
    place, before, scrolled = small.ask(BESIDE), small.state, small.page.evaluate("scrollY")
    assert place, "the picture is all handles"
    finger = Finger(small.page)
    finger.down(place["x"], place["y"])
    for step in range(1, 9):
        finger.move(place["x"], place["y"] - 20 * step)
    finger.up()
    until(small.page, "(before) => scrollY > before + 60", arg=scrolled, seconds=5)
    assert small.state == before


# --------------------------------------------------------------------------------------------- leaving and coming back

WATCH = """
const Native = window.ResizeObserver;
window.watching = new Set();
window.ResizeObserver = class extends Native {
  observe(node, ...rest) { (this.nodes ??= new Set()).add(node); watching.add(this); super.observe(node, ...rest); }
  disconnect() { watching.delete(this); super.disconnect(); }
};
const isLeft = (node) => node.shadowRoot && !node.isConnected;
window.left = () => [...watching].filter(({ nodes }) => [...nodes].some(isLeft));
"""


def test_figures_are_there_again_after_leaving_and_coming_back(browser: Any, address: str) -> None:
    """By the theme's instant navigation, which puts the next page in place of the last one."""
    chapters: dict[str, list[str]] = {}
    for name in figures.NAMES:
        chapters.setdefault(chapter(name), []).append(name)
    errors: list[str] = []
    context = browser.new_context(viewport=WIDE)
    context.add_init_script(WATCH)
    pages = sorted(path.parent.relative_to(built().site).as_posix() for path in built().site.rglob("index.html"))
    listed = "".join(f"<url><loc>{address}/{page}/</loc></url>" for page in pages).replace("/./", "/")
    sitemap = f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{listed}</urlset>'
    context.route("**/sitemap.xml", lambda route: route.fulfill(body=sitemap, content_type="application/xml"))
    page = context.new_page()
    listen(page, errors)
    page.goto(address + "/01-hazard-to-likelihood/")
    with page.expect_response("**/sitemap.xml"):
        start_theme(page)
    page.evaluate("window.marker = 1")

    def leave(how: str, where: str = "") -> None:
        page.evaluate("document.querySelector('h1').classList.add('old')")
        page.evaluate(how, where)

    def is_right(url: str, moved: bool) -> None:
        until(page, "(url) => location.pathname === url && !document.querySelector('h1.old')", arg=url)
        bring_to_life(page)
        assert page.evaluate("window.marker") == 1, "the page was loaded anew"
        assert page.evaluate("left().length") == 0, "a figure that was left still watches its size"
        for name in chapters.get(url, []):
            live = Live(page, name)
            assert (live.block.count(), live.host.count()) == (1, 1)
            assert live.unlike() == []
            assert (live.state != figures.widget(name)().state) == moved

    tour = [*dict.fromkeys([*chapters, "/02-per-visit-bce/"])]
    for url in tour:
        if page.evaluate("location.pathname") != url:
            leave("(url) => document.querySelector(`a[href$='${url}']`).click()", url[1:])
        is_right(url, moved=False)
        for name in chapters.get(url, []):
            Live(page, name).all(SLIDERS)[0].use()
            until(page, "(name) => location.search.includes(name)", arg=name)
    for url in reversed(tour[:-1]):
        leave("() => history.back()")
        is_right(url, moved=True)
    context.close()
    assert errors == []


# --------------------------------------------------------------------------------------------- a state in the address

IN_ADDRESS = """async ([block, addresses, script]) => {
  const look = eval(script);
  const { mount } = await import(new URL("host.js", document.querySelector("script[src*='mount.js']").src));
  const found = [];
  while (found.length < addresses.length) {
    history.replaceState(history.state, "", location.pathname + addresses[found.length]);
    const asked = location.href;
    const other = block.cloneNode(false);
    delete other.dataset.mounted;
    block.after(other);
    block.hidden = true;
    other.hidden = !look;
    const end = await mount(other);
    const { state, out } = other.firstElementChild.dataset;
    const problems = look?.(other.firstElementChild.shadowRoot);
    if (location.href === asked) found.push({ state: JSON.parse(state), out: JSON.parse(out), problems });
    end();
    other.remove();
    block.hidden = false;
  }
  history.replaceState(history.state, "", location.pathname);
  return found;
}"""


ENCODE = """async ([block, states]) => {
  const module = new URL(`${block.dataset.live}.js`, document.querySelector("script[src*='mount.js']").src);
  const { default: { figure, encode } } = await import(module);
  return states.map((state) => `?${figure.name}=${encode(state)}`);
}"""


def _mounted_at(live: Live, addresses: list[str], look: str = "undefined") -> list[dict[str, Any]]:
    """What the figure shows where the page has these words in its address, and what a function of its root finds."""
    found: list[dict[str, Any]] = live.page.evaluate(IN_ADDRESS, [live.block.element_handle(), addresses, look])
    return found


@every_figure
def test_an_address_brings_back_what_was_set_and_starting_again_cleans_it(live: Live, address: str) -> None:
    page = live.page.context.new_page()
    other = Live(page, live.name)
    listen(page, live.errors)
    page.goto(f"{address}{chapter(live.name)}?lang=en#test-yourself")
    bring_to_life(page)
    for place in range(6):
        for slider in other.all(SLIDERS)[place : place + 1]:
            slider.use()
    changed = other.state
    assert changed != figures.widget(live.name)().state
    # It is written a while after a change, so an earlier change may still stand there.
    [own] = page.evaluate(ENCODE, [other.block.element_handle(), [changed]])
    until(page, "(own) => decodeURIComponent(location.search).endsWith(own)", arg=own.removeprefix("?"))
    words = page.evaluate("location.href").removeprefix(address)
    assert words.startswith(f"{chapter(live.name)}?lang=en&{live.name}=")
    assert words.endswith("#test-yourself")
    page.goto("about:blank")
    page.goto(address + words)
    bring_to_life(page)
    assert other.state == changed
    assert other.unlike() == []
    other.host.get_by_role("button", name="Start again").press("Enter")
    assert other.state == figures.widget(live.name)().state
    until(page, "location.search === '?lang=en' && location.hash === '#test-yourself'")
    page.close()


KEYS = ("__proto__", "constructor", "toString", "hasOwnProperty", "given", "guess", "light", "", "x", "é", "<b>")
VALUES = (
    *("", "NaN", "Infinity", "1e999", "1e1", "-1", "-0", "+1", "0x10", "9" * 30, "0.123456789", "1.", ".5", " 1", "1 "),
    *(",", "1,", ",1", "1,,1", "1;1", ",".join("123456789"), "a" * 5000, "\u0000", "𝒳", "%", "%E0%A4%A", "__proto__"),
    *("null", "undefined", "true", "false,true", "[object Object]", "<img src=x onerror=alert(1)>", "'\"><script>"),
)


def _nonsense(name: str) -> list[str]:
    random = np.random.default_rng(6)
    parts = list(figures.widget(name).parts())
    words = []
    for _ in range(200):
        keys = random.choice([*KEYS, *parts * 3], random.integers(1, 4))
        words.append(";".join(f"{key}:{random.choice(VALUES)}" for key in keys))
    return [f"?{name}={text if random.random() < 0.3 else quote(text)}" for text in words]


@every_figure
def test_nonsense_in_the_address_is_as_if_it_was_not_there(live: Live) -> None:
    begin = figures.widget(live.name)().state
    asked = _nonsense(live.name)
    believed = []
    for words, seen in zip(asked, _mounted_at(live, asked), strict=True):
        if seen["state"] == begin:
            continue
        believed.append(words)  # such as `event:1`: it is in the limits, so that the Python class takes it, too
        assert figures.widget(live.name)(**seen["state"]).state == seen["state"], words
        assert live.unlike(seen) == [], words
    assert len(believed) < len(asked) / 10, believed


# ---------------------------------------------------------------------------------------------- question, table, light


@every_figure
def test_the_question_tells_nothing_before_it_is_answered_and_everything_after(
    desk: Any, name: str, address: str
) -> None:
    live = open_figure(desk(name).page.context, address + chapter(name), name, [])
    answers = live.all(ANSWERS)
    labels = live.host.locator(".predict label")
    assert len(answers) >= 3
    assert live.host.locator(".truth, .missed, .predict :checked").count() == 0
    assert live.host.locator(".predict [role=status]").text_content() == ""
    assert not re.search("[✓✗]", live.host.locator(".predict").text_content())
    answers[0].node.focus()
    live.page.keyboard.press("Space")
    if live.host.locator(".missed").count() == 0:  # the first was the right one
        live.page.keyboard.press("ArrowDown")

    def told() -> dict[str, Any]:
        truth, missed = live.host.locator(".truth"), live.host.locator(".missed")
        assert (truth.count(), missed.count()) == (1, 1)
        assert "✓ the answer" in truth.text_content()
        assert "✗ your guess" in missed.text_content()
        assert missed.locator("input").is_checked()
        return {
            "labels": labels.all_text_contents(),
            "why": live.host.locator(".predict [role=status]").text_content(),
        }

    after = told()
    assert len(after["why"].split()) >= 5
    slider = live.all(SLIDERS)[0]
    wrong = list(press(slider))
    assert told() == after
    live.start_again()
    assert told() == after
    live.page.close()
    assert wrong == live.errors == []


NUMBER = re.compile(r"[-−–]?\d+(?:\.\d+)?")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _numbers(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


@every_figure
def test_the_table_opens_by_key_and_says_the_numbers_of_the_state(live: Live) -> None:
    fold = live.host.locator("details")
    fold.locator("summary").focus()
    assert not fold.locator("table").is_visible()
    live.page.keyboard.press("Enter")
    fold.locator("table").wait_for()
    head = fold.locator("thead th").all_text_contents()
    seen = set()
    for control in chain([None], live.each(f"{SLIDERS}, .controls :is(input:not([type=range], [type=file]), button)")):
        if control:
            control.use()
        rows = fold.locator("tbody tr").evaluate_all(
            "(rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent))"
        )
        assert {len(row) for row in rows} == {len(head)}
        known = np.array([*_numbers(live.out), *_numbers(live.state), *_numbers(live.given)])
        unknown = [(row[0], cell) for row in rows for cell in row[1:] if not _is_among(cell, known)]
        assert unknown == [], live.state
        seen.add(json.dumps(rows))
    assert len(seen) > 1, "whatever is moved, the table stays"
    fold.locator("summary").press("Enter")
    fold.locator("table").wait_for(state="hidden")


def _is_among(cell: str, known: np.ndarray) -> bool:
    """Whether a cell that is one number, or a percentage, is a number of the figure rounded as it is printed."""
    text = cell.strip().replace("−", "-")
    share = text.endswith("%")
    text = text.removesuffix("%").strip()
    if not NUMBER.fullmatch(text):
        return True
    half = 0.5 * 10.0 ** -len(text.partition(".")[2])
    return bool((np.abs(known * (100 if share else 1) - float(text)) <= half * (1 + 1e-9)).any())


LIT = """(root) => [...root.querySelectorAll("[data-term]")].map((node) =>
  [node.dataset.term, node.classList.contains("lit")]
)"""


# For each term a place on the screen where a mark of it is under the mouse.
PLACES = """(root) => {
  const places = {};
  for (const node of root.querySelectorAll(".picture [data-term]")) {
    const { left, top, width, height } = node.getBoundingClientRect();
    const [x, y] = [left + width / 2, top + height / 2];
    const term = root.elementFromPoint(x, y)?.closest("[data-term]")?.dataset.term;
    if (term) places[term] = { x, y };
  }
  return places;
}"""


def _lit(live: Live) -> set[str]:
    """The terms that are lit, in the figure and in the page's strips; all that is of a term is lit, or nothing."""
    marks = live.ask(LIT)
    strips = live.page.locator("[data-lights]").evaluate_all(
        "(rows) => rows.map((row) => [row.dataset.lights, row.classList.contains('lit')])"
    )
    lit = {term for term, on in marks + strips if on}
    assert {term for term, on in marks + strips if not on} & lit == set()
    return lit


@every_figure
def test_marks_and_lines_of_code_light_together(live: Live) -> None:
    lines = live.all(".line")
    shown = {line.node.get_attribute("data-term") for line in lines}
    marks = set(
        live.host.locator(".picture [data-term], .controls [data-term]").evaluate_all(
            "(all) => all.map((one) => one.dataset.term)"
        )
    )
    assert shown
    assert shown - marks == set(), "a line lights no mark"
    strips = set(live.page.locator("[data-lights]").evaluate_all("(rows) => rows.map((row) => row.dataset.lights)"))
    assert marks - shown - strips == set(), "a mark lights nothing else"
    for line in lines:
        line.node.focus()
        assert _lit(live) == {line.node.get_attribute("data-term")}
    for handle in live.all(".handle[data-term]"):
        handle.node.focus()
        assert _lit(live) == {handle.node.get_attribute("data-term")}
    live.scroll_into_view()
    places = live.ask(PLACES)
    assert places
    for term, place in places.items():
        live.page.mouse.move(place["x"], place["y"])
        assert _lit(live) == {term}
    for line in lines:
        line.node.evaluate(IN_VIEW)
        line.node.hover()
        assert _lit(live) == {line.node.get_attribute("data-term")}
    live.page.mouse.move(0, 0)
    assert _lit(live) == set()


@every_figure
def test_a_line_of_the_page_lights_with_the_figure(live: Live) -> None:
    rows = live.page.locator("[data-lights]").all()
    terms = {term for term, _ in live.ask(LIT)}
    for row in rows:
        if row.get_attribute("data-lights") not in terms:  # of another figure on the page
            continue
        row.focus()
        assert _lit(live) == {row.get_attribute("data-lights")}
        live.page.mouse.move(0, 0)
        row.hover()
        assert _lit(live) == {row.get_attribute("data-lights")}
        live.page.mouse.move(0, 0)
        assert _lit(live) == set()


# ---------------------------------------------------------------------------------- without a script, on paper, at rest


@every_figure
def test_without_a_script_there_are_a_picture_and_the_same_table(browser: Any, address: str, live: Live) -> None:
    cells = "table :is(th, td), table caption"
    page = browser.new_page(java_script_enabled=False, viewport=WIDE)
    page.goto(address + chapter(live.name))
    still = page.locator(f'[data-live="widgets/{live.name}"] .vw-still')
    assert still.locator(".claim").text_content() == live.host.locator(".claim").text_content()
    assert still.locator("table").is_visible()
    live.unfold()
    assert still.locator(cells).all_text_contents() == live.host.locator(cells).all_text_contents()
    for viewport, kind in ((WIDE, "wide"), (NARROW, "narrow")):
        page.set_viewport_size(viewport)
        picture = still.locator(f"svg.{kind}")
        assert picture.is_visible()
        assert still.locator("svg:visible").count() == 1
        assert picture.get_attribute("role") == "img"
        assert picture.locator("*").count() > 5
        label = picture.get_attribute("aria-label")
        assert re.fullmatch(r".*\d.*\.", label, re.DOTALL), label
        assert len(label.split()) >= 8
    page.close()


@every_figure
def test_on_paper_the_still_picture_stands_in_place_of_the_live_one(live: Live) -> None:
    still = live.block.locator(".vw-still")
    assert not still.is_visible()
    live.page.emulate_media(media="print")
    assert still.locator("svg:visible").count() == 1
    assert still.locator("table").is_visible()
    assert live.host.locator("section:visible, button:visible, .handle:visible").count() == 0
    live.page.emulate_media(media="screen")
    assert not still.is_visible()
    assert live.host.locator(".picture").is_visible()


@every_figure
def test_nothing_moves_by_itself_for_readers_who_want_no_motion(small: Live) -> None:
    times = small.ask("""(root) => [...root.querySelectorAll("*")].flatMap((node) => {
      const { transitionDuration, animationName } = getComputedStyle(node);
      return /[1-9]/.test(transitionDuration) || animationName !== "none" ? [node.outerHTML.slice(0, 80)] : [];
    })""")
    assert times == []


# --------------------------------------------------------------------------------------------------------------- room

ROOM = """(root) => {
  const svg = root.querySelector(".picture svg");
  const frame = svg.getBoundingClientRect();
  const problems = [];
  const outside = ({ left, right, top, bottom }) =>
    Math.max(frame.left - left, right - frame.right, frame.top - top, bottom - frame.bottom);
  // A text may place each of its letters by itself.
  const letters = (node) => Array.from({ length: node.getNumberOfChars() }, (_, k) => {
    const { x, y, width, height } = node.getExtentOfChar(k);
    const matrix = node.getScreenCTM();
    const [from, to] = [[x, y], [x + width, y + height]].map((at) => new DOMPoint(...at).matrixTransform(matrix));
    return { left: from.x, right: to.x, top: from.y, bottom: to.y };
  });
  const apart = (one, other) => {
    const wide = Math.min(one.right, other.right) - Math.max(one.left, other.left);
    const high = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
    if (wide > 1 && high > 1)
      problems.push(`"${one.name}" and "${other.name}" overlap by ${wide.toFixed(1)} x ${high.toFixed(1)} px`);
  };
  const allApart = (boxes) => boxes.forEach((one, k) => boxes.slice(k + 1).forEach((other) => apart(one, other)));
  const texts = [...svg.querySelectorAll("text")].filter((node) => node.textContent.trim()).flatMap((node) => {
    const size = parseFloat(getComputedStyle(node).fontSize) * Math.abs(svg.getScreenCTM().a);
    const boxes = / /.test(node.getAttribute("x")) ? letters(node) : [node.getBoundingClientRect()];
    if (size < 11.99) problems.push(`"${node.textContent}" has ${size} px`);
    const out = Math.max(...boxes.map((box) => outside(box)));
    if (out > 1) problems.push(`"${node.textContent}" leaves the picture by ${out.toFixed(1)} px`);
    // A line has room above and below its letters.
    return boxes.map(({ left, right, top, bottom }) =>
      ({ name: node.textContent, left, right, top: top + 0.2 * size, bottom: bottom - 0.15 * size }));
  });
  allApart(texts);
  const handles = [...svg.querySelectorAll(".handle")].map((node) => {
    const { left, right, top, bottom } = node.querySelector(":scope > .hit:last-child").getBoundingClientRect();
    const name = node.getAttribute("aria-label");
    const group = node.dataset.handle.replace(/ \\d+$/, "");
    const alone = svg.querySelectorAll(`[data-handle^="${group} "]`).length === 1;
    const least = alone ? 43.5 : 23.5;
    if (right - left < least || bottom - top < least)
      problems.push(`${name} is ${(right - left).toFixed(1)} x ${(bottom - top).toFixed(1)} px`);
    const out = outside({ left, right, top, bottom });
    if (out > 12) problems.push(`${name} leaves the picture by ${out.toFixed(1)} px`);
    return { name, left, right, top, bottom };
  });
  allApart(handles);
  return problems;
}"""


@every_figure
@pytest.mark.parametrize("screen", ["desk", "phone"])
def test_words_and_handles_have_room_in_the_picture(request: pytest.FixtureRequest, name: str, screen: str) -> None:
    live = request.getfixturevalue(screen)(name)
    live.start_again()
    problems = []
    for scheme in ("light", "dark"):
        live.page.emulate_media(color_scheme=scheme)
        problems += [(scheme, problem) for problem in live.ask(ROOM)]
    live.page.emulate_media(color_scheme="light")
    states = list(figures.of(name).states(np.random.default_rng(4)))
    some = np.random.default_rng(1).choice(len(states), 20, replace=False)
    words = live.page.evaluate(ENCODE, [live.block.element_handle(), [states[k] for k in some]])
    for seen in _mounted_at(live, words, ROOM):
        problems += [(seen["state"], problem) for problem in seen["problems"]]
    assert problems == []


def test_axe_sees_into_a_figure(browser: Any, address: str) -> None:
    """What test_site.py asks axe about every page is asked of what is inside the figures, too."""
    name = figures.NAMES[0]
    context = browser.new_context(viewport=WIDE)
    live = open_figure(context, address + chapter(name), name, [])
    live.page.evaluate(AXE.read_text(encoding="utf-8"))
    found = []
    for label in ("", "a name"):
        button = live.host.locator("button").first
        button.evaluate("(node, label) => { node.textContent = ''; node.ariaLabel = label; }", label)
        answer = live.page.evaluate(
            "(node) => axe.run(node, { runOnly: ['button-name'] })", live.block.element_handle()
        )
        found.append([violation["id"] for violation in answer["violations"]])
    context.close()
    assert found == [["button-name"], []]
