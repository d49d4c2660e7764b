"""What every figure is made of, tried on a figure that is made for it: its address, its still picture, its handles.

The functions are tried in node. What a hand does is tried in a browser, on a page that holds the kit and nothing else.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests import figures
from tests.built import ROOT
from tests.hands import Finger

HOST = ROOT / "explainer" / "assets" / "host.js"
KIT = figures.WIDGETS / "kit.js"

# Bars with a handle each, a place among them, and one control of each kind. A mark comes and goes before the handles.
TRIED = """
import { button, canvas, choice, h, host, range, rect, text, toggle } from "./kit.js";

export const figure = {
  name: "tried",
  claim: 'It is <tried> & "tested"',
  state: {
    bars: { start: [0.1, 0.2, 0.3], from: -0.5, to: 1, step: 0.05, fewest: 1, most: 4 },
    place: { start: 2, from: 0, to: 3, step: 1 },
    kind: { start: "plain", among: ["plain", "odd"] },
    size: { start: 7, among: [7, 0, 1e-7] },
    open: { start: true },
    pair: { start: [1, 2], from: 0, to: 3, step: 1 },
    panel: { start: "bars", among: ["bars", "word"] },
  },
  mend: (state) => ({ ...state, place: Math.min(state.place, state.bars.length - 1) }),
  out: ({ bars, place }) => ({ chosen: bars[place], many: bars.length }),
  question: () => ({
    question: "Which?",
    options: ["one", "two", "three"].map((label) => ({ label, why: `It is because of ${label}.` })),
    truth: 1,
  }),
  picture: ({ bars, place, kind, panel }, out, ui) => panel === "word"
    ? canvas(ui.width, 50, text(0, 20, `word ${place}`))
    : canvas(
      ui.width,
      200,
      kind === "odd" && [rect(0, 0, 10, 10, "hazard"), rect(20, 0, 10, 10, "hazard")],
      bars.map((bar, k) =>
        ui.handle(
          {
            label: `bar ${k}`,
            text: `bar ${k} is ${bar}`,
            value: bar,
            from: 0,
            to: 1,
            step: 0.05,
            group: "bar",
            place: k,
            count: bars.length,
            x: 40 + 50 * k,
            y: 150 - 100 * bar,
            term: k === place ? "chosen" : undefined,
            at: (_, y) => (150 - y) / 100,
            set: (value) => ui.set({ bars: bars.with(k, value) }),
          },
          rect(30 + 50 * k, 150 - 100 * bar, 20, 100 * bar, "hazard"),
        ),
      ),
      ui.handle({
        label: "the place",
        text: `the place is ${place}`,
        value: place,
        from: 0,
        to: bars.length - 1,
        step: 1,
        page: 1,
        x: 40 + 50 * place,
        y: 175,
        sideways: true,
        at: (x) => (x - 40) / 50,
        set: (value) => ui.set({ place: value }),
      }),
      text(0, 198, 0, "quiet"),
    ),
  controls: ({ bars, kind, open, size }, out, ui) => [
    range({
      label: "first bar", value: bars[0], from: 0, to: 1, step: 0.05,
      set: (value) => ui.set({ bars: bars.with(0, value) }),
    }),
    choice({
      legend: "Kind", options: [["plain", "plain"], ["odd", "odd"]], value: kind,
      set: (kind) => ui.set({ kind }),
    }),
    toggle({ label: "open", checked: open, set: (open) => ui.set({ open }) }),
    button("one bar fewer", () => ui.set({ bars: bars.slice(0, -1) }), bars.length === 1),
  ],
  lines: ({ place }, { chosen }) => [
    { term: "chosen", formula: `the chosen one is ${chosen}`, code: "bars[place]" },
    { term: "place", formula: `its place is ${place}` },
  ],
  sentence: ({ place }, { chosen }) => `The bar at ${place} is "${chosen}".`,
  table: ({ bars }) => ({ caption: "All bars.", head: ["bar", "size"], rows: bars.map((bar, k) => [k, bar]) }),
};

export default host(figure);
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = tmp_path_factory.mktemp("kit")
    (made / "kit.js").write_bytes(KIT.read_bytes())
    (made / "tried.js").write_text(TRIED, encoding="utf-8")
    (made / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    return made


def run(script: str, folder: Any = figures.WIDGETS) -> Any:
    """What node prints, as JSON; the kit's names, and `made` and `figure` where the folder has the tried figure."""
    import node

    begin = f"import * as kit from {json.dumps((folder / 'kit.js').as_uri())};\n"
    if (folder / "tried.js").exists():
        begin += f"import made, {{ figure }} from {json.dumps((folder / 'tried.js').as_uri())};\n"
    done = subprocess.run(
        [
            node.node(),
            "--input-type=module",
            "--eval",
            f"{begin}console.log(JSON.stringify(await (async () => {{{script}}})()))",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ---------------------------------------------------------------------------------------------- a state in an address

BEGIN = {"bars": [0.1, 0.2, 0.3], "place": 2, "kind": "plain", "size": 7, "open": True, "pair": [1, 2], "panel": "bars"}
ADDRESSES = {
    "": {},
    "place:1": {"place": 1},
    "bars:-0.5,1": {"bars": [-0.5, 1], "place": 1},
    "bars:0.1,0.25,1,0.95;place:3;kind:odd;size:1e-7;open:false": {
        "bars": [0.1, 0.25, 1, 0.95],
        "place": 3,
        "kind": "odd",
        "size": 1e-7,
        "open": False,
    },
    "size:0": {"size": 0},
}


def test_an_address_says_what_differs_from_the_start_and_gives_it_back(folder: Any) -> None:
    states = [BEGIN | change for change in ADDRESSES.values()]
    words = run(f"return {json.dumps(states)}.map((state) => made.encode(state))", folder)
    assert words == ["", "place:1", "bars:-0.5,1;place:1", *list(ADDRESSES)[3:]]
    asked = [one for one in words if one]
    assert run(f"return {json.dumps(asked)}.map((words) => made.decode(words))", folder) == states[1:]


NONSENSE = (
    *("", ";", "place:1;", ";place:1", "place", "place:", "place:1:1", "Place:1", " place:1", "place :1"),
    *("place:1e0", "place:+1", "place: 1", "place:1 ", "place:0x1", "place:1.5", "place:4", "place:-1", "place:1."),
    *("place:.5", "place:1,1", "place:٣", "place:NaN", "place:Infinity", "place:1\n", "place:1n", "place:--1"),
    *(
        "bars:",
        "bars:0.1,",
        "bars:,0.1",
        "bars:0.1,,0.2",
        "bars:0.1,0.2,0.3,0.4,0.5",
        "bars:0.12,0.2,0.3",
        "bars:0.1, 0.2",
    ),
    *("bars:0.1,0.2,1.05", "bars:-0.55,0.2,0.3", "kind:", "kind:Odd", "kind:odd,plain", "kind:toString", "size:1e-07"),
    *("size:1", "open:0", "open:", "open:TRUE", "open:true,true", "open:null"),
    *("constructor:1", "__proto__:1", "toString:1", "hasOwnProperty:1", "given:1", "place:1;shown:1"),
    *("pair:1", "pair:1,1,1", "pair:"),
    "bars:0.1,0.2",  # the place is then beyond the last bar
)


def test_what_makes_no_sense_in_an_address_is_refused_whole(folder: Any) -> None:
    answers = run(f"return {json.dumps(NONSENSE)}.map((words) => made.decode(words))", folder)
    assert [words for words, answer in zip(NONSENSE, answers, strict=True) if answer is not None] == []


def test_an_address_never_gives_a_minus_zero(folder: Any) -> None:
    assert run('return [made.decode("bars:-0,0.2,0.3"), made.decode("place:-0")].map((one) => '
               "Object.is(one.bars[0], -0) || Object.is(one.place, -0))", folder) == [False, False]  # fmt: skip


def test_the_start_of_a_figure_is_not_shared_with_who_asks_for_it(folder: Any) -> None:
    assert run("kit.start(figure).bars.push(9); return kit.start(figure)", folder) == BEGIN


def test_a_number_is_rounded_to_the_decimals_that_a_reader_would_type() -> None:
    steps = run("""
        const off = [];
        for (const [step, digits] of [[0.01, 2], [0.05, 2], [0.1, 1], [1, 0]])
          for (let k = -200; k <= 200; k++)
            for (const nudge of [-0.4, 0, 0.4]) {
              const wanted = Number((k * step).toFixed(digits)) + 0;
              if (!Object.is(kit.rounded((k + nudge) * step, step) + 0, wanted)) off.push([k, step, nudge]);
            }
        return off;""")
    assert steps == []
    assert run("return [[2, 0, 1], [-2, 0, 1], [0.5, 0, 1]].map((one) => kit.clamp(...one))") == [1, 0, 0.5]


@pytest.mark.parametrize("name", figures.NAMES)
def test_every_state_can_be_reached_in_whole_steps_and_stands_in_an_address_unchanged(name: str) -> None:
    """No limit is between two steps, and no choice has a letter that an address would write otherwise."""
    limits = [trait.limits for trait in figures.widget(name).parts().values()]
    ends = [[one[end], one["step"]] for one in limits if "step" in one for end in ("from", "to")]
    assert run(f"return {json.dumps(ends)}.filter(([end, step]) => kit.rounded(end, step) !== end)") == []
    choices = [value for one in limits for value in one.get("among", [])]
    assert [value for value in choices if not re.fullmatch(r"[\w.-]+", str(value))] == []


@pytest.mark.parametrize("name", figures.NAMES)
def test_no_two_questions_of_a_figure_share_their_answers(name: str) -> None:
    """Radio buttons of one name let go of each other."""
    module, given = json.dumps((figures.WIDGETS / f"{name}.js").as_uri()), json.dumps(figures.widget(name)().given)
    legends = run(f"""
        const {{ figure }} = await import({module});
        const [state, given] = [kit.start(figure), {given}];
        const ui = {{ width: 640, narrow: false, live: true, set: () => {{}}, handle: kit.noHandle }};
        const tree = kit.h("div", null, figure.controls?.(state, figure.out(state, given), ui, given));
        const inside = (one) => [one, ...(one.children ?? []).flatMap(inside)];
        return inside(tree).filter((one) => one.tag === "fieldset")
          .map((set) => [...new Set(inside(set).map((one) => one.attributes?.name).filter(Boolean))].join())
          .filter(Boolean);""")
    assert len({*legends, "guess"}) == len(legends) + 1


# ---------------------------------------------------------------------------------------- the picture that stands still


def test_a_tree_becomes_text_that_holds_what_was_said_and_nothing_that_acts() -> None:
    tree = """kit.h("a", { title: '"<&', onclick: () => 1, b: null, c: undefined, d: false, e: true, f: 0 },
      "<i>&amp;", 0, null, undefined, false, [["x", [kit.h("b")]]])"""
    assert run(f"return kit.markup({tree})") == (
        '<a title="&quot;&lt;&amp;" e="" f="0">&lt;i&gt;&amp;amp;0x<b></b></a>'
    )


def test_a_still_figure_is_a_claim_two_pictures_that_are_said_and_a_table(folder: Any) -> None:
    text = run("return made.still({ bars: [0.5], open: false }, {})", folder)  # the place is beyond: it is mended
    assert text.startswith('<p class="claim">It is &lt;tried&gt; &amp; &quot;tested&quot;</p>')
    pictures = re.findall(r"<svg ([^>]*)>", text)
    assert [re.search('class="(.*?)"', one)[1] for one in pictures] == ["wide", "narrow"]  # type: ignore[index]
    assert ['width="640"' in pictures[0], 'width="328"' in pictures[1]] == [True, True]
    said = "The bar at 0 is &quot;0.5&quot;."
    assert all(f'role="img" aria-label="{said}"' in one for one in pictures)
    assert f'<p class="sentence">{said}</p>' in text
    assert '<tr><th scope="row">0</th><td>0.5</td></tr></tbody>' in text
    assert '<th scope="col">bar</th><th scope="col">size</th>' in text
    assert not re.search(r"tabindex=\"-|slider|data-handle|hit|on\w+=|NaN|undefined", text)
    assert text.count('<g data-term="chosen">') == 2


# -------------------------------------------------------------------------------------------------- hands, in a browser

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>The kit</title>
<link rel="icon" href="data:,"><style>body { margin: 8px; } #here { width: 600px; }</style><div id="here"></div>"""
# A model such as Jupyter's: it tells whoever listens that a value is another one, and counts who listens.
BEGIN_HERE = """async (values) => {
  const { default: made } = await import("/widgets/tried.js");
  window.heard = {};
  window.errors = [];
  addEventListener("error", ({ message }) => errors.push(message));
  window.saves = 0;
  window.model = {
    values,
    get: (key) => values[key],
    set(key, value) {
      if (JSON.stringify(values[key]) === JSON.stringify(value)) return;
      values[key] = value;
      (heard[`change:${key}`] ?? []).forEach((tell) => tell());
    },
    on: (event, tell) => (heard[event] ??= []).push(tell),
    off: (event, tell) => (heard[event] = heard[event].filter((other) => other !== tell)),
    save_changes: () => saves++,
  };
  window.el = document.createElement("div");
  document.querySelector("#here").replaceChildren(el);
  window.end = made.render({ model, el });
  window.root = el.shadowRoot;
  window.$ = (selector) => root.querySelector(selector);
  window.keys = [];
  document.onkeydown = (event) => keys.push([event.key, event.defaultPrevented]);
  document.body.tabIndex = -1;
}"""


class Kit:
    """The tried figure on a page of its own."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def begin(self, **values: Any) -> "Kit":
        self.page.evaluate(BEGIN_HERE, values)
        return self

    def ask(self, script: str, *values: Any) -> Any:
        return self.page.evaluate(script, *values)

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("JSON.parse(el.dataset.state)")
        return found

    def press(self, selector: str, *keys: str) -> dict[str, Any]:
        self.ask("(selector) => $(selector).focus()", selector)
        for key in keys:
            self.page.keyboard.press(key)
        return self.state

    def middle(self, selector: str) -> tuple[float, float]:
        x, y = self.ask("""(selector) => {
          const { x, y, width, height } = $(selector).getBoundingClientRect();
          return [x + width / 2, y + height / 2];
        }""", selector)  # fmt: skip
        return x, y

    def finger(self, selector: str, kind: str, number: int, x: float, y: float) -> None:
        self.ask("""([selector, kind, pointerId, clientX, clientY]) => $(selector).dispatchEvent(
          new PointerEvent(kind, { pointerId, clientX, clientY, bubbles: true, composed: true }))""",
                 [selector, kind, number, x, y])  # fmt: skip


def bar(place: int) -> str:
    return f"[data-handle='bar {place}']"


PLACE = "[data-handle='the place 0']"


@pytest.fixture(scope="module")
def site(browser: Any) -> Iterator[Any]:
    """A page that gets the kit, the tried figure and the site's host, and nothing else."""
    files = {"/widgets/kit.js": KIT, "/host.js": HOST}

    def serve(route: Any) -> None:
        name = route.request.url.removeprefix("http://kit.test").partition("?")[0]
        if name in files:
            route.fulfill(path=files[name], content_type="text/javascript")
        elif name == "/widgets/tried.js":
            route.fulfill(body=TRIED, content_type="text/javascript")
        elif name == "/widgets/bare.js":
            route.fulfill(body="export default { render() {} };", content_type="text/javascript")
        else:
            route.fulfill(body=PAGE, content_type="text/html")

    page = browser.new_page(viewport={"width": 800, "height": 900}, has_touch=True)
    page.set_default_timeout(5000)
    page.route("**/*", serve)
    page.goto("http://kit.test/")
    yield page
    page.close()


@pytest.fixture
def kit(site: Any) -> Iterator[Kit]:
    made = Kit(site).begin()
    yield made
    assert made.ask("errors") == []
    site.mouse.up()


@pytest.mark.browser
def test_keys_change_a_handle_by_a_step_a_page_and_to_its_ends(kit: Kit) -> None:
    for keys, wanted in {
        ("ArrowUp",): 0.15,
        ("ArrowUp", "ArrowDown", "ArrowDown"): 0.1,
        ("PageUp",): 0.6,
        ("PageUp", "PageUp"): 1,  # and not beyond
        ("PageDown",): 0.5,
        ("Home",): 0,
        ("ArrowDown",): 0,
        ("End",): 1,
    }.items():
        assert kit.press(bar(0), *keys)["bars"] == [wanted, 0.2, 0.3], keys
        assert kit.ask("(one) => $(one).getAttribute('aria-valuenow')", bar(0)) == f"{wanted}"
    assert kit.press(PLACE, "ArrowLeft")["place"] == 1
    assert kit.press(PLACE, "ArrowRight", "ArrowRight")["place"] == 2
    assert kit.ask("keys") == []  # no key that moved something goes on to the page
    for key, scrolls in {"ArrowDown": False, "Home": False, "x": True}.items():
        press = "([one, key]) => $(one).dispatchEvent(new KeyboardEvent('keydown', { key, cancelable: true }))"
        assert kit.ask(press, [bar(0), key]) == scrolls


@pytest.mark.browser
def test_keys_with_ctrl_alt_or_meta_are_the_browsers(kit: Kit) -> None:
    before = kit.state
    for held in ("Alt", "Control", "Meta"):
        for key in ("ArrowLeft", "ArrowUp", "Home", "PageDown"):
            kit.ask("""([selector, key, held]) => $(selector).dispatchEvent(new KeyboardEvent("keydown",
              { key, [held]: true, bubbles: true, composed: true, cancelable: true }))""",
                    [PLACE, key, {"Alt": "altKey", "Control": "ctrlKey", "Meta": "metaKey"}[held]])  # fmt: skip
    assert kit.state == before
    assert [prevented for _, prevented in kit.ask("keys")] == [False] * 12
    kit.press(PLACE, "x")
    assert kit.ask("keys.length") == 12  # other keys stay inside: JupyterLab would take them


@pytest.mark.browser
def test_left_and_right_go_along_a_row_and_tab_comes_back_to_the_place_that_was_left(kit: Kit) -> None:
    kit.press(bar(0), "ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft")
    assert kit.ask("root.activeElement.dataset.handle") == "bar 1"
    assert kit.state == BEGIN
    kit.page.keyboard.press("Tab")
    assert kit.ask("root.activeElement.dataset.handle") == "the place 0"
    kit.page.keyboard.press("Shift+Tab")
    assert kit.ask("root.activeElement.dataset.handle") == "bar 1"
    kit.press(bar(2))
    kit.ask("model.set('bars', [0.5, 0.5])")
    assert kit.ask("[...root.querySelectorAll('.handle')].map((one) => one.tabIndex)") == [-1, 0, 0]


# A row of handles that move sideways; only those beside the chosen one are drawn, and the first cannot move.
ROW = """async () => {
  const { canvas, host } = await import("/widgets/kit.js");
  const figure = {
    name: "row", claim: "A row",
    state: { days: { start: [0, 3, 6, 9], from: 0, to: 12, step: 1 }, chosen: { start: 1, from: 0, to: 3, step: 1 } },
    out: ({ chosen }) => ({ chosen }),
    picture: ({ days, chosen }, out, ui) => canvas(ui.width, 60, days.map((day, k) => Math.abs(k - chosen) < 2 &&
      ui.handle({
        label: `day ${k}`, text: `it is ${day}`, value: day, step: 1, sideways: true, x: 30 + 40 * day, y: 30,
        from: k && days[k - 1] + 1, to: k && (days[k + 1] ?? 13) - 1, group: "day", place: k, count: 4,
        stop: k === chosen, along: (next) => ui.set({ chosen: next }), chosen: () => ui.set({ chosen: k }),
        at: (x) => (x - 30) / 40, set: (value) => ui.set({ days: days.with(k, value) }),
      }))),
    sentence: () => "A row of 4.", table: () => ({ caption: "", head: [], rows: [] }),
  };
  end();
  for (const key of Object.keys(model.values)) delete model.values[key];
  window.end = host(figure).render({ model, el });
}"""


@pytest.mark.browser
def test_what_moves_sideways_keeps_left_and_right_and_up_and_down_go_along_its_row(kit: Kit) -> None:
    kit.ask(ROW)
    stops = "[...root.querySelectorAll('.handle')].filter((one) => one.tabIndex === 0).map((one) => one.ariaLabel)"
    assert kit.press("[data-handle='day 1']", "ArrowRight")["days"] == [0, 4, 6, 9]
    for key, place in {"ArrowDown": 2, "ArrowUp": 1}.items():
        kit.page.keyboard.press(key)
        assert kit.ask("root.activeElement.dataset.handle") == f"day {place}"
        assert kit.ask(stops) == [f"day {place}"]
    for place in (2, 3, 3):  # the last one is drawn when its neighbour is chosen, and the row ends there
        kit.page.keyboard.press("ArrowDown")
        assert kit.ask("root.activeElement.dataset.handle") == f"day {place}"
    assert kit.state == {"days": [0, 4, 6, 9], "chosen": 3}
    assert kit.press("[data-handle='day 3']", "ArrowLeft", "ArrowLeft", "ArrowLeft")["days"] == [0, 4, 6, 7]


@pytest.mark.browser
def test_a_handle_that_cannot_move_is_no_slider_and_is_gone_along_all_the_same(kit: Kit) -> None:
    kit.ask(ROW)
    names = (
        "[...$(\"[data-handle='day 0']\").attributes].map(({ name }) => name).filter((name) => /role|aria/.test(name))"
    )
    assert kit.ask(names) == ["role", "aria-label", "aria-description"]
    assert kit.ask("$(\"[data-handle='day 0']\").getAttribute('role')") == "button"
    assert kit.press("[data-handle='day 0']", "ArrowRight", "End")["days"] == [0, 3, 6, 9]
    kit.page.keyboard.press("ArrowDown")
    assert kit.ask("root.activeElement.dataset.handle") == "day 1"


@pytest.mark.browser
def test_a_mouse_takes_a_handle_where_it_is_gripped_and_keeps_it_outside(kit: Kit) -> None:
    mouse = kit.page.mouse
    x, y = kit.middle(f"{bar(1)} .hit")
    mouse.move(x + 9, y + 15)
    mouse.down()
    assert kit.ask("[el.className, root.activeElement.dataset.handle]") == ["dragging", "bar 1"]
    mouse.move(x + 9, y + 16)
    assert kit.state["bars"] == [0.1, 0.2, 0.3]  # it does not jump to the pointer
    mouse.move(x + 300, y + 15 - 40)
    assert kit.state["bars"] == [0.1, 0.6, 0.3]
    assert (
        kit.ask("(one) => [getComputedStyle($(one)).cursor, getComputedStyle(el).cursor]", bar(0)) == ["grabbing"] * 2
    )
    mouse.move(x, -50)
    assert kit.state["bars"] == [0.1, 1, 0.3]
    mouse.up()
    assert kit.ask("el.className") == ""
    mouse.move(x, y + 100)
    assert kit.state["bars"] == [0.1, 1, 0.3]


@pytest.mark.browser
def test_a_finger_drags_a_handle_up_while_elsewhere_it_would_scroll(kit: Kit) -> None:
    x, y = kit.middle(f"{bar(1)} .hit")
    finger = Finger(kit.page)
    finger.down(x, y)
    for far in (5, 20, 40):
        finger.move(x, y - far)
    assert kit.ask("el.className") == "dragging"
    assert kit.state["bars"] == [0.1, 0.6, 0.3]
    finger.up()
    assert kit.ask("el.className") == ""
    actions = kit.ask("['.handle', '.picture'].map((one) => getComputedStyle($(one)).touchAction)")
    assert actions == ["none", "pan-y"]


@pytest.mark.browser
def test_the_other_mouse_button_takes_nothing(kit: Kit) -> None:
    x, y = kit.middle(f"{bar(1)} .hit")
    kit.page.mouse.move(x, y)
    kit.page.mouse.down(button="right")
    kit.page.mouse.move(x, y - 40)
    assert kit.state == BEGIN
    assert kit.ask("el.className") == ""
    kit.page.mouse.up(button="right")


@pytest.mark.browser
@pytest.mark.parametrize("ending", ["pointerup", "pointercancel"])
def test_however_a_drag_ends_the_handle_is_let_go(kit: Kit, ending: str) -> None:
    x, y = kit.middle(f"{bar(0)} .hit")
    kit.finger(bar(0), "pointerdown", 7, x, y)
    kit.finger(bar(0), "pointermove", 7, x, y - 20)
    kit.finger(bar(0), ending, 7, x, y - 20)
    kit.finger(bar(0), "pointermove", 7, x, y - 60)
    assert kit.state["bars"] == [0.3, 0.2, 0.3]
    assert kit.ask("el.className") == ""


@pytest.mark.browser
def test_a_second_finger_does_not_pull_at_what_the_first_one_holds(kit: Kit) -> None:
    x, y = kit.middle(f"{bar(0)} .hit")
    kit.finger(bar(0), "pointerdown", 7, x, y)
    kit.finger(bar(0), "pointermove", 8, x, y - 60)
    assert kit.state == BEGIN
    kit.finger(bar(0), "pointerup", 8, x, y - 60)
    kit.finger(bar(0), "pointermove", 7, x, y - 20)
    assert kit.state["bars"] == [0.3, 0.2, 0.3]
    kit.finger(bar(0), "pointerup", 7, x, y - 20)


@pytest.mark.browser
def test_a_handle_that_goes_while_it_is_held_is_let_go_when_the_button_is(kit: Kit) -> None:
    x, y = kit.middle(f"{bar(2)} .hit")
    kit.page.mouse.move(x, y)
    kit.page.mouse.down()
    kit.ask("model.set('bars', [0.5])")
    kit.page.mouse.move(x, y - 40)
    kit.page.mouse.up()
    assert kit.state == BEGIN | {"bars": [0.5], "place": 0}
    assert kit.ask("el.className") == ""


@pytest.mark.browser
def test_what_python_sets_while_a_handle_is_held_is_kept(kit: Kit) -> None:
    x, y = kit.middle(f"{bar(0)} .hit")
    kit.page.mouse.move(x, y)
    kit.page.mouse.down()
    kit.ask("model.set('bars', [0.1, 0.9, 0.9])")
    kit.page.mouse.move(x, y - 20)
    assert kit.state["bars"] == [0.3, 0.9, 0.9]


@pytest.mark.browser
def test_a_handle_keeps_its_element_while_marks_before_it_come_and_go(kit: Kit) -> None:
    kit.press(bar(1))
    kit.ask("window.was = root.activeElement")
    for kind, marks in (("odd", 2), ("plain", 0), ("odd", 2)):
        kit.ask("(kind) => model.set('kind', kind)", kind)
        assert kit.ask("root.querySelectorAll('svg > .hazard').length") == marks
        assert kit.ask("root.activeElement === was && was.dataset.handle") == "bar 1"
    kit.ask("model.set('bars', [0.4, 0.5, 0.6, 0.7])")
    assert kit.ask("root.activeElement === was && was.isConnected")
    assert kit.ask("[...root.querySelectorAll('.handle')].map((one) => one.dataset.handle)") == [
        *(f"bar {k}" for k in range(4)),
        "the place 0",
    ]


@pytest.mark.browser
def test_a_panel_that_was_left_comes_back_as_it_was_with_the_state_of_now(kit: Kit) -> None:
    kit.ask("window.was = [$('svg')]; model.set('panel', 'word')")
    assert kit.ask("was.push($('svg')), [was[0].isConnected, $('.picture').textContent, $('.handle')]") == [
        *(False, "word 2", None)
    ]
    kit.ask("model.set('bars', [0.4, 0.5, 0.6, 0.7]); model.set('place', 1)")
    kit.ask("model.set('panel', 'bars')")
    assert kit.ask("[$('svg') === was[0], root.querySelectorAll('svg').length, $('.picture').textContent]") == [
        *(True, 1, "0")
    ]
    numbers = "[...root.querySelectorAll('.handle')].map((one) => Number(one.getAttribute('aria-valuenow')))"
    assert kit.ask(numbers) == [0.4, 0.5, 0.6, 0.7, 1]
    assert kit.press(bar(3), "ArrowUp")["bars"] == [0.4, 0.5, 0.6, 0.75]
    kit.ask("model.set('panel', 'word')")
    assert kit.ask("$('svg') === was[1]")


PATCH = """async (trees) => {
  const { h, patch } = await import("/widgets/kit.js");
  const box = document.createElement("div");
  const drawn = [];
  for (const tree of trees(h)) {
    patch(box, [tree].flat());
    drawn.push([box.innerHTML, box.querySelector("#b")?.onclick?.() ?? null]);
  }
  return drawn;
}"""


@pytest.mark.browser
def test_a_tree_that_is_drawn_over_another_leaves_nothing_of_it(site: Any) -> None:
    drawn = site.evaluate(f"""() => ({PATCH})((h) => [
      h("p", {{ id: "b", class: "x", title: "y", hidden: true, onclick: () => 1 }},
        "one", h("i", null, "two"), "three"),
      h("p", {{ id: "b", class: "z", title: null, hidden: false, onclick: () => 2 }}, h("i"), 0),
      h("p", {{ id: "b", onclick: null }}, "one"),
      h("p", {{ id: "b" }}),
      [h("ul", {{ id: "b" }}), h("ol")],
      [h("svg", null, h("title"), h("foreignObject", null, h("p"))), "text"],
      [],
    ])""")
    assert drawn == [
        ['<p id="b" class="x" title="y" hidden="">one<i>two</i>three</p>', 1],
        ['<p id="b" class="z"><i></i>0</p>', 2],
        ['<p id="b">one</p>', None],
        ['<p id="b"></p>', None],
        ['<ul id="b"></ul><ol></ol>', None],
        ["<svg><title></title><foreignObject><p></p></foreignObject></svg>text", None],
        ["", None],
    ]


@pytest.mark.browser
def test_marks_are_drawn_as_svg_and_words_around_them_as_html(kit: Kit) -> None:
    assert kit.ask("[$('.picture svg rect'), $('.picture'), $('button')].map((one) => one.namespaceURI.slice(-4))") == [
        "/svg",
        "html",
        "html",
    ]


@pytest.mark.browser
def test_what_is_as_it_was_is_not_touched(kit: Kit) -> None:
    touched = kit.ask("""async () => {
      const seen = [];
      const elsewhere = ({ target }) => !$("details").contains(target);
      const watch = new MutationObserver((all) => seen.push(...all.filter(elsewhere)));
      watch.observe(root, { subtree: true, childList: true, attributes: true, characterData: true });
      $("summary").click();
      await new Promise((done) => setTimeout(done, 600));
      return seen.length;
    }""")
    assert kit.ask("$('details table').rows.length") == 4
    assert touched == 0  # nothing is said anew, either


@pytest.mark.browser
def test_native_controls_set_their_part_and_show_it(kit: Kit) -> None:
    assert kit.press("input[type=range]", "ArrowRight", "End")["bars"] == [1, 0.2, 0.3]
    assert kit.ask("$('output').textContent") == "1"
    assert kit.press("input[data-value=plain]", "ArrowDown")["kind"] == "odd"
    assert kit.press("input[type=checkbox]", "Space")["open"] is False
    assert kit.press("button", "Enter", "Space") == kit.state | {"bars": [1], "place": 0}  # which was beyond
    assert kit.ask("model.get('place')") == 0
    assert kit.ask("$('button').getAttribute('aria-disabled')") == "true"
    assert kit.press("button", "Enter")["bars"] == [1]  # it is off, and keeps the focus
    assert kit.ask("root.activeElement === $('button')")
    kit.ask("model.set('kind', 'plain'); model.set('open', true); model.set('bars', [0.05])")
    assert kit.ask("[$('input[data-value=plain]').checked, $('input[type=checkbox]').checked]") == [True, True]
    assert kit.ask("[$('input[type=range]').value, $('output').textContent]") == ["0.05", "0.05"]
    kit.page.locator("button", has_text="Start again").press("Enter")
    assert kit.state == {part: kit.ask("(part) => model.get(part)", part) for part in BEGIN} == BEGIN


@pytest.mark.browser
def test_a_guess_is_told_and_one_that_comes_from_elsewhere_is_drawn(kit: Kit) -> None:
    kit.press(".predict input", "Space")
    assert kit.ask("[model.get('guess'), saves]") == [0, 2]
    assert kit.ask("$('.predict p').textContent") == "It is because of one."
    assert kit.ask("[$('.missed').textContent, $('.truth').textContent]") == ["one ✗ your guess", "two ✓ the answer"]
    kit.ask("model.set('guess', 1)")
    assert kit.ask("[$('.missed'), $('.truth').textContent]") == [None, "two ✓ the answer"]
    kit.ask("model.set('guess', 3)")  # there is no such answer
    assert kit.ask("[$('.missed'), $('.truth'), $('.predict p').textContent]") == [None, None, ""]


@pytest.mark.browser
def test_what_is_pointed_at_or_has_the_focus_lights_and_so_does_what_the_model_says(kit: Kit) -> None:
    kit.page.mouse.move(790, 890)
    lit = "() => [model.get('light'), [...root.querySelectorAll('.lit')].map((one) => one.getAttribute('class'))]"
    chosen = ["chosen", ["handle lit", "line lit"]]
    kit.press(bar(2))
    assert kit.ask(lit) == chosen
    kit.press(PLACE)
    assert kit.ask(lit) == ["", []]
    kit.page.mouse.move(*kit.middle(".line code"))
    assert kit.ask(lit) == chosen
    kit.ask("model.set('bars', [0.2, 0.3, 0.4])")
    assert kit.ask(lit) == chosen  # drawn anew, it is lit still
    kit.page.mouse.move(790, 890)
    assert kit.ask(lit) == ["", []]
    kit.ask("model.set('light', 'place')")
    assert kit.ask(lit) == ["place", ["line lit"]]


@pytest.mark.browser
def test_parts_that_change_together_are_mended_once_and_told_back(kit: Kit) -> None:
    before = kit.ask("saves")
    kit.ask("model.set('place', 3); model.set('bars', [0.1, 0.2, 0.3, 0.4])")
    assert kit.state == BEGIN | {"place": 3, "bars": [0.1, 0.2, 0.3, 0.4]}
    kit.ask("model.set('bars', [0.5, 0.6])")
    assert kit.state == BEGIN | {"place": 1, "bars": [0.5, 0.6]}
    assert kit.ask("[model.get('place'), model.get('shown'), JSON.parse(el.dataset.out), saves]") == [
        1,
        *[{"chosen": 0.6, "many": 2}] * 2,
        before + 2,
    ]


@pytest.mark.browser
def test_a_state_given_at_the_start_is_mended_and_told_back(kit: Kit) -> None:
    kit.begin(bars=[0.5], given={"x": 1})
    assert kit.ask("[model.get('place'), model.get('shown').chosen, saves]") == [0, 0.5, 1]


@pytest.mark.browser
def test_two_views_of_one_model_show_the_same_and_do_not_answer_each_other_for_ever(kit: Kit) -> None:
    same = kit.ask("""async () => {
      const { default: made } = await import("/widgets/tried.js");
      const other = document.createElement("div");
      el.after(other);
      const end = made.render({ model, el: other });
      $("[data-handle='bar 0']").dispatchEvent(new KeyboardEvent("keydown", { key: "End", bubbles: true }));
      await new Promise((done) => setTimeout(done, 50));
      const before = saves;
      await new Promise((done) => setTimeout(done, 50));
      end();
      const same = ["state", "out"].map((name) => other.dataset[name] === el.dataset[name]);
      return [...same, saves - before, saves < 8];
    }""")
    assert same == [True, True, 0, True]


@pytest.mark.browser
def test_a_figure_that_was_left_listens_to_nothing_and_draws_nothing(kit: Kit) -> None:
    assert kit.ask("Object.keys(heard).length") >= 7
    before = kit.ask("el.outerHTML")
    assert kit.ask("() => { end(); return Object.values(heard).flat().length; }") == 0
    kit.ask("model.set('bars', [0.5]); el.parentNode.style.width = '300px'")
    kit.ask("$('.line').dispatchEvent(new Event('pointerover', { bubbles: true }))")
    kit.ask("new Promise((done) => setTimeout(done, 500))")
    assert kit.ask("el.outerHTML") == before
    assert kit.ask("model.get('light') ?? ''") == ""
    kit.ask("el.parentNode.removeAttribute('style')")


@pytest.mark.browser
def test_a_figure_has_the_width_of_its_place_and_is_drawn_anew_when_that_changes(kit: Kit) -> None:
    for room, wide in (("500px", 500), ("300px", 300), ("780px", 720)):
        kit.ask("(room) => { el.parentNode.style.width = room; }", room)
        kit.page.wait_for_function("(wide) => $('svg').getAttribute('width') === `${wide}`", arg=wide)
    kit.ask("el.parentNode.style.display = 'none'")
    kit.ask("new Promise(requestAnimationFrame)")
    assert kit.ask("$('svg').getAttribute('width')") == "720"
    kit.ask("el.parentNode.removeAttribute('style')")


@pytest.mark.browser
def test_a_change_is_said_once_when_it_has_come_to_rest_and_nothing_at_the_start(kit: Kit) -> None:
    kit.ask("""window.said = [];
      new MutationObserver(() => said.push($(".spoken").textContent))
        .observe($(".spoken"), { subtree: true, childList: true, characterData: true });""")
    assert kit.ask("[$('.spoken').textContent, $('.spoken').role]") == ['The bar at 2 is "0.3".', "status"]
    kit.ask("new Promise((done) => setTimeout(done, 500))")
    assert kit.ask("said") == []
    kit.press(bar(2), "ArrowUp", "ArrowUp", "ArrowUp")
    assert kit.ask("said") == []
    kit.page.wait_for_function("said.length")
    kit.ask("new Promise((done) => setTimeout(done, 500))")
    assert kit.ask("said") == ['The bar at 2 is "0.45".']


@pytest.mark.browser
def test_a_screen_reader_meets_sliders_with_a_name_a_number_and_a_sentence(kit: Kit) -> None:
    named = kit.ask("""[...root.querySelectorAll(".handle")].map((one) =>
      ["role", "aria-label", "aria-valuemin", "aria-valuenow", "aria-valuemax", "aria-valuetext", "aria-orientation"]
        .map((name) => one.getAttribute(name)))""")
    assert named[1] == ["slider", "bar 1", "0", "0.2", "1", "bar 1 is 0.2", "vertical"]
    assert named[3] == ["slider", "the place", "0", "2", "2", "the place is 2", "horizontal"]
    assert kit.ask("$('section').getAttribute('aria-label')") == 'It is <tried> & "tested"'
    assert kit.ask("[$('.picture svg').role, $('.sentence').ariaHidden]") == ["group", "true"]


@pytest.mark.browser
def test_in_forced_colours_lines_and_knobs_are_drawn_in_the_readers_own(kit: Kit) -> None:
    """They were ink on paper, and what the reader's paper is nobody here knows."""
    kit.ask("$('svg rect').setAttribute('class', 'event')")
    kit.page.emulate_media(forced_colors="active", color_scheme="dark")
    ink = kit.ask("getComputedStyle($('.event')).stroke")
    kit.page.emulate_media(forced_colors="none", color_scheme="light")
    assert (ink, kit.ask("getComputedStyle($('.event')).stroke")) == ("rgb(255, 255, 255)", "rgb(27, 31, 36)")


# ------------------------------------------------------------------------------------------------------------- the host

MOUNT = """async ([search, live]) => {
  history.replaceState({ kept: 1 }, "", "/" + search);
  const { mount } = await import("/host.js");
  window.block = document.createElement("div");
  Object.assign(block.dataset, { live, start: '{"open":true}', given: '{"x":1}' });
  block.innerHTML = '<div class="vw-still">still</div>';
  document.querySelector("#here").replaceChildren(block);
  window.end = await mount(block);
  window.el = block.firstElementChild;
  window.root = el.shadowRoot;
  window.$ = (selector) => root.querySelector(selector);
}"""


def mounted(site: Any, search: str = "", live: str = "widgets/tried") -> Kit:
    kit = Kit(site)
    kit.ask(MOUNT, [search, live])
    return kit


def at_rest(kit: Kit) -> str:
    kit.ask("new Promise((done) => setTimeout(done, 400))")
    found: str = kit.ask("location.search + location.hash")
    return found


@pytest.mark.browser
def test_an_address_keeps_what_others_wrote_letter_by_letter(site: Any) -> None:
    others = "?q=a%20b+c&flag&other=bars:0.1,0.2;x:1&triedly=1&e="
    kit = mounted(site, f"{others}&tried=place:1#part")
    assert kit.state == BEGIN | {"place": 1}
    before = kit.ask("history.length")
    assert at_rest(kit) == f"{others}&tried=place:1#part"
    kit.press(PLACE, "Home")
    assert kit.ask("location.search").endswith("tried=place:1")  # not while it is being moved
    assert at_rest(kit) == f"{others}&tried=place:0#part"
    assert kit.ask("history.state") == {"kept": 1}
    assert kit.ask("history.length") == before  # a change is not a page to come back to
    kit.page.locator("button", has_text="Start again").press("Enter")
    assert at_rest(kit) == f"{others}#part"


@pytest.mark.browser
def test_nonsense_leaves_the_address_and_a_page_that_was_left_keeps_its_own(site: Any) -> None:
    kit = mounted(site, "?tried=place:99&tried=%E0%A4%A")
    assert kit.state == BEGIN
    assert at_rest(kit) == ""
    kit.press(PLACE, "Home")
    kit.ask("() => { end(); block.remove(); history.replaceState(null, '', '/elsewhere'); }")
    assert at_rest(kit) == ""


@pytest.mark.browser
def test_a_block_comes_to_life_above_the_picture_that_stands_still(site: Any) -> None:
    kit = mounted(site)
    assert kit.ask("[block.children.length, block.lastElementChild.className, block.dataset.mounted]") == [
        2,
        "vw-still",
        "",
    ]


@pytest.mark.browser
def test_what_has_no_state_is_mounted_whatever_the_address_says(site: Any) -> None:
    site.evaluate(MOUNT.replace("root.querySelector", "root?.querySelector"), ["?undefined=1", "widgets/bare"])
    assert site.evaluate("() => { end(); return block.dataset.mounted; }") == ""


@pytest.mark.browser
def test_a_line_of_the_page_lights_with_the_figure_until_that_is_left(site: Any) -> None:
    site.evaluate("document.body.insertAdjacentHTML('beforeend', '<p data-lights=chosen tabindex=0>line</p>')")
    kit = mounted(site)
    line = "document.querySelector('[data-lights]')"
    kit.ask(f"{line}.focus()")
    assert kit.ask(f"[{line}.className, $('.line').className]") == ["lit", "line lit"]
    kit.ask(f"{line}.blur()")
    assert kit.ask(f"[{line}.className, $('.line').className]") == ["", "line"]
    kit.press(bar(2))
    assert kit.ask(f"{line}.className") == "lit"
    kit.ask("root.activeElement.blur()")
    kit.ask(f"() => {{ end(); {line}.focus(); }}")
    assert kit.ask(f"{line}.className") == ""
    kit.ask(f"{line}.remove()")
