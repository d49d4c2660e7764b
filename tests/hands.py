"""A figure on a page of the built site, and a reader's hands on it: keyboard, mouse and finger."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests import figures
from tests.browser import bring_to_life

SLIDERS = "[role=slider], input[type=range]"
ANSWERS = ".predict input"
ALL_KEYS = ("ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End")
SIDEWAYS_KEYS = ("ArrowRight", "ArrowLeft", "PageUp", "PageDown", "Home", "End")
RISING = ("ArrowUp", "ArrowRight", "PageUp", "End")

SEE = """(node) => {
  const host = node.getRootNode().host;
  const given = (name) => node.getAttribute(`aria-value${name}`);
  const native = node.localName === "input";
  const box = (node.querySelector(":scope > .hit:last-child") ?? node).getBoundingClientRect();
  const stops = {};
  for (const handle of host.shadowRoot.querySelectorAll("[data-handle]")) {
    const group = handle.dataset.handle.replace(/ \\d+$/, "");
    stops[group] = (stops[group] ?? 0) + (handle.tabIndex === 0);
  }
  const label = (node.closest("label") ?? node).querySelector("span")?.textContent ?? node.textContent;
  return {
    name: node.getAttribute("aria-label") ?? label,
    sideways: node.getAttribute("aria-orientation") === "horizontal",
    state: JSON.parse(host.dataset.state),
    out: JSON.parse(host.dataset.out),
    now: Number(native ? node.value : given("now")),
    low: Number(native ? node.min : given("min")),
    high: Number(native ? node.max : given("max")),
    text: given("text"),
    focused: node.isConnected && node.getRootNode().activeElement === node,
    dragging: host.classList.contains("dragging"),
    without_one_stop: Object.keys(stops).filter((group) => stops[group] !== 1),
    x: box.x + box.width / 2,
    y: box.y + box.height / 2,
    scrolled: scrollY,
  };
}"""
HIT = """(node) => {
  const { left, top, width, height } = node.querySelector(":scope > .hit:last-child").getBoundingClientRect();
  const hit = node.getRootNode().elementFromPoint(left + width / 2, top + height / 2);
  return hit === node || node.contains(hit) ? "" : hit?.outerHTML.slice(0, 80) ?? "nothing";
}"""
# A place in the picture where no handle is.
BESIDE = """(root) => {
  const box = root.querySelector("svg").getBoundingClientRect();
  for (let y = box.top + 6; y < box.bottom; y += 7) {
    if (y < 80 || y > innerHeight - 20) continue;
    for (let x = box.left + 6; x < box.right; x += 11) {
      const node = root.elementFromPoint(x, y);
      if (root.querySelector(".picture").contains(node) && !node.closest(".handle")) return { x, y };
    }
  }
  return null;
}"""
# A finger is felt where things were when they were last painted.
IN_VIEW = """async (node) => {
  node.scrollIntoView({ block: "center", behavior: "instant" });
  for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
}"""


@dataclass
class Live:
    """A figure that has been brought to life; `errors` is what the browser complained of."""

    page: Any
    name: str
    errors: list[str] = field(default_factory=list)

    @property
    def block(self) -> Any:
        return self.page.locator(f'[data-live="widgets/{self.name}"]')

    @property
    def host(self) -> Any:
        return self.block.locator("> [data-out]")

    @cached_property
    def given(self) -> Any:
        return json.loads(self.block.get_attribute("data-given") or "{}")

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.host.get_attribute("data-state"))
        return found

    @property
    def out(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.host.get_attribute("data-out"))
        return found

    def unlike(self, seen: dict[str, Any] | None = None) -> list[str]:
        """Where the numbers on show are not those of the package for the state on show."""
        state, out = (seen["state"], seen["out"]) if seen else (self.state, self.out)
        return figures.differences(out, figures.of(self.name).oracle(state, self.given))[:3]

    def all(self, selector: str) -> list["Control"]:
        return [Control(self, node) for node in self.host.locator(selector).element_handles()]

    def each(self, selector: str) -> Iterator["Control"]:
        """The controls one after the other, each as the figure begins: it may have been drawn anew since the last."""
        self.start_again()
        nth = "(host, [selector, place]) => host.shadowRoot.querySelectorAll(selector)[place]"
        for place in range(self.host.evaluate("(host, all) => host.shadowRoot.querySelectorAll(all).length", selector)):
            self.start_again()
            yield Control(self, self.host.evaluate_handle(nth, [selector, place]).as_element())

    def start_again(self) -> None:
        self.ask("""(root) => {
          [...root.querySelectorAll("button")].find(({ textContent }) => textContent === "Start again").click();
        }""")
        self.settle()

    def settle(self) -> None:
        """Wait for what a figure leaves to the next frame: the state and its numbers are there before that."""
        self.host.locator("section:not([aria-busy])").wait_for()

    def unfold(self) -> None:
        self.host.locator("details").evaluate("(fold) => { fold.open = true; }")
        self.host.locator("details table").wait_for()

    def scroll_into_view(self) -> None:
        self.host.locator(".picture").evaluate(IN_VIEW)

    def ask(self, script: str) -> Any:
        """What a function of the shadow root gives."""
        return self.host.evaluate(f"(host) => ({script})(host.shadowRoot)")


@dataclass
class Control:
    """A handle of the picture or a native control."""

    live: Live
    node: Any

    @cached_property
    def name(self) -> str:
        return f"{self.live.name}, {self.see()['name']!r}"

    def see(self) -> dict[str, Any]:
        found: dict[str, Any] = self.node.evaluate(SEE)
        return found

    def is_off(self) -> bool:
        return bool(self.node.get_attribute("aria-disabled") == "true")

    def is_slider(self) -> bool:
        return "slider" in (self.node.get_attribute("role") or "") or self.node.get_attribute("type") == "range"

    def use(self) -> None:
        """Move it, whatever it is, and wait until all of the figure has followed."""
        if self.is_slider():
            self.node.focus()
            seen = self.see()
            self.live.page.keyboard.press("PageDown" if seen["now"] > seen["low"] else "PageUp")
        else:
            self.node.evaluate("(node) => node.click()")
        self.live.settle()

    def problems(self, before: dict[str, Any], after: dict[str, Any], how: str) -> Iterator[str]:
        """What is wrong after it was moved."""
        said = f"{self.live.name}, {before['name']!r} {how}: "
        if after["state"] == before["state"]:
            yield said + "the state did not change"
        if not after["focused"]:
            yield said + "it lost the focus"
        if after["text"] == before["text"] and after["text"] is not None:
            yield said + f"it still says {after['text']!r}"
        if after["without_one_stop"]:
            yield said + f"Tab does not reach once {after['without_one_stop']}"
        for place in self.live.unlike(after):
            yield f"{said}{after['state']}: {place}"


def press(slider: Control) -> Iterator[str]:
    """Every key that moves it, in turn; gives what was wrong."""
    slider.node.focus()
    after = slider.see()
    for key in SIDEWAYS_KEYS if after["sideways"] else ALL_KEYS:
        before = after
        slider.live.page.keyboard.press(key)
        slider.live.settle()
        after = slider.see()
        up = key in RISING
        if before["now"] == (before["high"] if up else before["low"]):
            if after["state"] != before["state"]:
                yield f"{slider.name} {key}: moved beyond its end"
            continue
        yield from slider.problems(before, after, key)
        if (after["now"] > before["now"]) != up:
            yield f"{slider.name} {key}: {before['now']} became {after['now']}"
        if key in ("Home", "End") and after["now"] != after["high" if up else "low"]:
            yield f"{slider.name} {key}: stopped at {after['now']}"


class Mouse:
    def __init__(self, page: Any) -> None:
        self.hand = page.mouse

    def down(self, x: float, y: float) -> None:
        self.hand.move(x, y)
        self.hand.down()

    def move(self, x: float, y: float) -> None:
        self.hand.move(x, y)

    def up(self) -> None:
        self.hand.up()


class Finger:
    def __init__(self, page: Any) -> None:
        self.session = page.context.new_cdp_session(page)

    def _send(self, kind: str, *points: dict[str, float]) -> None:
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    def down(self, x: float, y: float) -> None:
        self._send("touchStart", {"x": x, "y": y})

    def move(self, x: float, y: float) -> None:
        self._send("touchMove", {"x": x, "y": y})

    def up(self) -> None:
        self._send("touchEnd")


def drag(handle: Control, hand: Mouse | Finger) -> Iterator[str]:
    """Take hold of a handle and pull until something changes, the other way if it was at its end."""
    handle.node.evaluate(IN_VIEW)
    before = handle.see()
    said = f"{handle.live.name}, {before['name']!r} dragged: "
    hit = handle.node.evaluate(HIT)
    if hit:
        yield f"{said}whoever takes hold of its middle gets {hit}"
        return
    for sign in (-1, 1):
        x, y = before["x"], before["y"]
        hand.down(x, y)
        for _ in range(10):
            x, y = (x + 24 * sign, y) if before["sideways"] else (x, y + 24 * sign)
            hand.move(x, y)
            held = handle.see()
            if held["now"] != before["now"]:
                break
        hand.up()
        after = handle.see()
        if after["now"] != before["now"]:
            break
    yield from handle.problems(before, after, "dragged")
    moved, rose = after["y"] - before["y"], before["now"] - after["now"]
    if before["sideways"]:
        moved, rose = after["x"] - before["x"], -rose
    if (moved or rose) * sign <= 0:  # what keeps its place, such as a cell, has its number follow the hand
        yield f"{said}it went {moved} px where the hand went the way of {sign}"
    if not held["dragging"] or after["dragging"]:
        yield f"{said}it is not held while it is held"
    if after["scrolled"] != before["scrolled"]:
        yield f"{said}the page scrolled by {after['scrolled'] - before['scrolled']} px"


def open_figure(context: Any, address: str, name: str, errors: list[str]) -> Live:
    """A page with the figure, opened and scrolled through."""
    page = context.new_page()
    listen(page, errors)
    page.goto(address, wait_until="load")
    bring_to_life(page)
    return Live(page, name, errors)


def listen(page: Any, errors: list[str]) -> None:
    page.on("console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
