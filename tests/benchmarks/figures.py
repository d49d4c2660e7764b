"""How long a figure takes from a key to the new picture, on a processor slowed to a quarter: `make bench`.

`python -m tests.benchmarks.figures [site [figure ...]]` opens each figure on its chapter's page of the built site,
moves what can be moved by one step, up and down in turn, chooses each option of each list, and times the handler
together with the layout that it causes. A reader sees each step if the 90th percentile of all updates stays within a
frame, 16 ms. What is moved and what is chosen is told apart as well, because another option may draw another picture.

`own_model` is what the playground becomes for a model of other codes than the simulator's, with as long a record.

A figure may leave a part of itself to the frame after the one that answers the hand: the playground does so with what
stands below its controls. That work is run and timed in the same way, as a frame of its own. An update then counts with
the longest of its frames, and the last columns say what all its frames take together.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests import figures
from tests.browser import ARGUMENTS, find_chromium, served, until
from tests.built import ROOT
from tests.hands import Live, open_figure
from visitwise.model import SurvivalRNN
from visitwise.training import save_model
from visitwise.visits import Schema

UPDATES, SLOWER, FRAME_MS = 240, 4, 16
LOADS, FIRST_MS = 20, 100
LONG_RECORD = "thirty visits"  # of the playground's patients; as it begins it has six
OWN, OWN_CODES, OWN_VISITS = "own_model", 1500, 30

# How long a fixed computation takes.
FIXED = """() => {
  const start = performance.now();
  let total = 0;
  for (let k = 0; k < 3e5; k++) total += Math.sin(k) * Math.sqrt(k);
  return total && performance.now() - start;
}"""

TIMES = """(root, updates) => {
  const host = root.host;
  const times = [];
  const frames = new Map(); // work for the next frame, which is done below and timed with its layout
  let last = 0;
  window.requestAnimationFrame = (work) => (frames.set(++last, work), last);
  window.cancelAnimationFrame = (id) => frames.delete(id);
  const timed = (work) => {
    const start = performance.now();
    work();
    root.querySelector("svg").getBoundingClientRect();
    host.getBoundingClientRect();
    return performance.now() - start;
  };
  const all = () =>
    [...root.querySelectorAll("[role=slider], input[type=range], .controls :is([type=radio], [type=checkbox])")]
      .filter(({ name }) => name !== "Patient"); // another record, of another length
  const chosen = (node) => ["radio", "checkbox"].includes(node.type);
  const use = (node, up) => {
    if (chosen(node)) node.click();
    else if (node.type === "range") {
      node.valueAsNumber += (up ? 1 : -1) * Number(node.step);
      node.dispatchEvent(new Event("input", { bubbles: true }));
    } else {
      const key = up ? "ArrowUp" : "ArrowDown";
      node.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    }
  };
  for (let turn = 0; times.length < updates && turn < 20 * updates; turn++) {
    const nodes = all();
    const node = nodes[turn % nodes.length];
    const before = host.dataset.state;
    const up = Math.floor(turn / nodes.length) % 2 === 0;
    const spent = [timed(() => use(node, up))];
    while (frames.size) {
      const works = [...frames.values()];
      frames.clear();
      spent.push(timed(() => works.forEach((work) => work(performance.now()))));
    }
    if (host.dataset.state !== before)
      times.push([chosen(node) ? 1 : 0, Math.max(...spent), spent.reduce((all, one) => all + one)]);
  }
  return times;
}"""

# From the moment at which the page asks for what makes a figure move, as it comes near the screen, to the first picture
# of the live playground. Its modules may be here by then.
FIRST_RESULT = """
  let began = 0;
  window.IntersectionObserver = class extends IntersectionObserver {
    constructor(tell, options) {
      super((seen, self) => {
        if (seen.some((one) => one.isIntersecting && one.target.dataset.live === "widgets/playground"))
          began ||= performance.now();
        tell(seen, self);
      }, options);
    }
  };
  const watch = new MutationObserver(() => {
    const host = document.querySelector("[data-live='widgets/playground'] > [data-out]");
    if (!host?.shadowRoot?.querySelector(".picture svg")) return;
    watch.disconnect();
    host.getBoundingClientRect();
    window.firstResult = performance.now() - began;
  });
  watch.observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-out"] });
"""


# A visit more after the last one; and at each visit two of the codes that were found.
WRITE = """(host, visits) => new Promise((done) => {
  const root = host.shadowRoot;
  const named = (words) => [...root.querySelectorAll("button")].find(({ textContent }) => textContent === words);
  const write = () => {
    const found = [...root.querySelectorAll(".codes fieldset:not([hidden]) input")];
    const { day } = JSON.parse(host.dataset.state);
    const at = 2 * (day.length % 4);
    found.slice(at, at + 2).forEach((box) => box.click());
    if (day.length === visits) return done();
    named("Add a visit").click();
    requestAnimationFrame(() => requestAnimationFrame(write));
  };
  write();
})"""


def times(context: Any, address: str, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Milliseconds of each update's longest frame: of what is moved, handles and sliders, and of another option chosen;
    and of all the frames of each update together."""
    shown = "playground" if name == OWN else name
    live = open_figure(context, f"{address}/{figures.of(shown).PAGE}/", shown, [])
    host = _with_own_model(live) if name == OWN else live.host
    if name == "playground":
        host.get_by_role("radio", name=LONG_RECORD).check()
    session = context.new_cdp_session(live.page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    spent = host.evaluate(f"(host, updates) => ({TIMES})(host.shadowRoot, updates)", UPDATES)
    live.page.close()
    choices, longest, together = np.array(spent).T
    return longest[choices == 0], longest[choices == 1], together


def _with_own_model(live: Live) -> Any:
    """The figure that takes the playground's place for a model of other codes, with a long record written in it."""
    codes = [f"DIAGNOSIS//E{number:04}" for number in range(OWN_CODES)]
    model = SurvivalRNN(Schema.of(codes, ["age"], ["weight"]), embedding=16, hidden=16, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, Path(folder, "own.safetensors"))
        live.host.get_by_label("Load your model").set_input_files(Path(folder, "own.safetensors"))
        host = live.block.locator("> [data-out]").nth(1)
        host.get_by_label("Find a code").fill("E00")
    host.locator(".codes fieldset:not([hidden]) input").nth(7).wait_for()
    host.evaluate(WRITE, OWN_VISITS)
    return host


def slowdown(context: Any) -> float:
    """How many times longer a fixed computation takes in the slowed browser."""
    page = context.new_page()
    session = context.new_cdp_session(page)
    medians = []
    for rate in (1, SLOWER):
        session.send("Emulation.setCPUThrottlingRate", {"rate": rate})
        medians.append(np.median([page.evaluate(FIXED) for _ in range(60)]))
    page.close()
    return float(medians[1] / medians[0])


def _summary(spent: np.ndarray) -> str:
    return f"{len(spent):>9}{np.median(spent):>9.1f}{np.percentile(spent, 90):>9.1f}" if len(spent) else ""


def first_results(browser: Any, address: str) -> np.ndarray:
    """Milliseconds from when the playground is asked for to its first picture, laid out, with nothing cached."""
    spent = []
    for _ in range(LOADS):
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.add_init_script(FIRST_RESULT)
        page.goto(f"{address}/playground/")
        until(page, "() => window.firstResult")
        spent.append(page.evaluate("() => window.firstResult"))
        context.close()
    return np.array(spent)


def main(site: Path, names: list[str]) -> None:
    from playwright.sync_api import sync_playwright

    if not (site / "index.html").exists():
        sys.exit(f"there is no site in {site}/; `make build` writes one")
    print(f"One update on a processor slowed to 1/{SLOWER}, the longest frame of it, in milliseconds")
    numbers = f"{'updates':>9}{'median':>9}{'p90':>9}"
    print(f"{'':<18}{'all':^27}{'   within a':<17}{'moved':^27}{'chosen':^27}{'all frames together':^27}")
    print(f"{'figure':<18}{numbers}{f'   frame, {FRAME_MS} ms':<17}{numbers}{numbers}{numbers}")
    with served(site) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        print(f"measured: a fixed computation takes {slowdown(context):.1f} times as long")
        for name in names or (*figures.NAMES, OWN):
            moved, chosen, together = times(context, address, name)
            both = np.concatenate([moved, chosen])
            within = "yes" if np.percentile(both, 90) <= FRAME_MS else "NO"
            others = f"{_summary(moved):<27}{_summary(chosen):<27}{_summary(together)}".rstrip()
            print(f"{name:<18}{_summary(both)}   {within:<14}{others}", flush=True)
        first = first_results(browser, address)
        median, late = np.percentile(first, [50, 90])
        print(f"First result of the playground, not slowed, from when the page asks for it: {len(first)} cold loads,")
        print(f"median {median:.0f} ms, p90 {late:.0f} ms; within {FIRST_MS} ms: {'yes' if late <= FIRST_MS else 'NO'}")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site", sys.argv[2:])
