"""How long a figure takes from a key to the new picture, on a processor slowed to a quarter: `make bench`.

`python -m tests.benchmarks.figures [site]` opens each figure on its chapter's page of the built site, moves what can be
moved by one step, up and down in turn, and times the key's handler together with the layout that it causes. A reader
sees each step of a drag if the 90th percentile stays within a frame, 16 ms.
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

TIMES = """(root, updates) => {
  const host = root.host;
  const times = [];
  const all = () => [...root.querySelectorAll("[role=slider], input[type=range], .controls input[type=radio]")];
  const use = (node, up) => {
    if (node.type === "radio") node.click();
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
    if (host.dataset.state !== before) times.push(spent);
  }
  return times;
}"""


def times(context: Any, address: str, name: str) -> np.ndarray:
    """Milliseconds of each update."""
    live = open_figure(context, f"{address}/{figures.of(name).PAGE}/", name, [])
    session = context.new_cdp_session(live.page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    spent = live.host.evaluate(f"(host, updates) => ({TIMES})(host.shadowRoot, updates)", UPDATES)
    live.page.close()
    return np.array(spent)


def main(site: Path) -> None:
    from playwright.sync_api import sync_playwright

    if not (site / "index.html").exists():
        sys.exit(f"there is no site in {site}/; `make build` writes one")
    print(f"One update on a processor slowed to 1/{SLOWER}, in milliseconds")
    print(f"{'figure':<18}{'updates':>9}{'median':>9}{'p90':>9}   within a frame of {FRAME_MS} ms")
    with served(site) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        for name in figures.NAMES:
            spent = times(context, address, name)
            median, late = np.percentile(spent, [50, 90])
            print(f"{name:<18}{len(spent):>9}{median:>9.1f}{late:>9.1f}   {'yes' if late <= FRAME_MS else 'NO'}")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site")
