"""How long a figure takes from a key to the new picture, on a processor slowed to a quarter: `make bench`.

`python -m tests.benchmarks.figures [site]` opens each figure on its chapter's page of the built site, moves what can be
moved by one step, up and down in turn, chooses each option of each list, and times the handler together with the layout
that it causes. A reader sees each step if the 90th percentile of all updates stays within a frame, 16 ms. What is moved
and what is chosen is told apart as well, because another option may draw another picture.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests import figures
from tests.browser import ARGUMENTS, find_chromium, served
from tests.built import ROOT
from tests.hands import open_figure

UPDATES, SLOWER, FRAME_MS = 240, 4, 16
LONG_RECORD = "thirty visits"  # of the playground's patients; as it begins it has six

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
    const start = performance.now();
    use(node, up);
    root.querySelector("svg").getBoundingClientRect();
    host.getBoundingClientRect();
    const spent = performance.now() - start;
    if (host.dataset.state !== before) times.push([chosen(node) ? 1 : 0, spent]);
  }
  return times;
}"""


def times(context: Any, address: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds of each update: of what is moved, handles and sliders, and of another option chosen."""
    live = open_figure(context, f"{address}/{figures.of(name).PAGE}/", name, [])
    if name == "playground":
        live.host.get_by_role("radio", name=LONG_RECORD).check()
    session = context.new_cdp_session(live.page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    spent = live.host.evaluate(f"(host, updates) => ({TIMES})(host.shadowRoot, updates)", UPDATES)
    live.page.close()
    choices, milliseconds = np.array(spent).T
    return milliseconds[choices == 0], milliseconds[choices == 1]


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


def main(site: Path) -> None:
    from playwright.sync_api import sync_playwright

    if not (site / "index.html").exists():
        sys.exit(f"there is no site in {site}/; `make build` writes one")
    print(f"One update on a processor slowed to 1/{SLOWER}, in milliseconds")
    numbers = f"{'updates':>9}{'median':>9}{'p90':>9}"
    print(f"{'':<18}{'all':^27}{'   within a':<17}{'moved':^27}{'chosen':^27}")
    print(f"{'figure':<18}{numbers}{f'   frame, {FRAME_MS} ms':<17}{numbers}{numbers}")
    with served(site) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        print(f"measured: a fixed computation takes {slowdown(context):.1f} times as long")
        for name in figures.NAMES:
            moved, chosen = times(context, address, name)
            both = np.concatenate([moved, chosen])
            within = "yes" if np.percentile(both, 90) <= FRAME_MS else "NO"
            print(f"{name:<18}{_summary(both)}   {within:<14}{_summary(moved)}{_summary(chosen)}".rstrip(), flush=True)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site")
