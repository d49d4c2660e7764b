"""What a page of the built site costs a reader: bytes, when its largest part is painted, and what moves after that.

`python -m tests.benchmarks.pages` opens each kind of page of `site/` in Chromium, at first contact and on a throttled
4G connection, and prints a table; with `--record` it also writes it to `results/`. `--heights` measures how high each
figure is and writes it where the build reads it.
"""

import argparse
import json
import platform
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.benchmarks.records import RESULTS, machine
from tests.browser import ARGUMENTS, bring_to_life, find_chromium, packed, page_urls, restyle, served

ROOT = Path(__file__).resolve().parents[2]
HEIGHTS = ROOT / "explainer" / "_build" / "heights.json"
KINDS = {
    "start": "/",
    "map": "/map/",
    "chapter": "/01-hazard-to-likelihood/",
    "chapter_with_model": "/08-training-and-evaluating/",
    "notebook": "/notebooks/08_training_and_evaluating/",
    "playground": "/playground/",
    "reference": "/reference/functional/",
    "glossary": "/glossary/",
    "references": "/references/",
    "claims": "/claims/",
    "missing": "/404.html",
}
# "Fast 4G" of Chrome's tools: nine tenths of 9 and 1.5 Mbit/s, and 165 ms to an answer.
FAST_4G = {"offline": False, "latency": 165, "downloadThroughput": 9e6 * 0.9 / 8, "uploadThroughput": 1.5e6 * 0.9 / 8}
WIDTHS = (360, 1280)
TURNS = 5
LIMIT, NOTEBOOK_LIMIT = 150_000, 200_000

WATCH = """
window.moved = 0;
new PerformanceObserver((list) => list.getEntries().forEach(({ value }) => (window.moved += value)))
  .observe({ type: "layout-shift", buffered: true });
new PerformanceObserver((list) => list.getEntries().forEach(({ startTime }) => (window.largest = startTime)))
  .observe({ type: "largest-contentful-paint", buffered: true });
"""
READ = """async () => {
  const frames = async (count) => { while (count--) await new Promise(requestAnimationFrame); };
  for (let top = 0; top < document.documentElement.scrollHeight; top += innerHeight) {
    scrollTo({ top, behavior: "instant" });
    await frames(3);
  }
  const end = Date.now() + 10000;
  while (document.querySelector("[data-live]:not([data-mounted])") && Date.now() < end) await frames(1);
  await frames(10);
}"""


class Visit(NamedTuple):
    """What came of opening a page and reading it to its end."""

    largest_paint: float  # milliseconds
    moved: float  # cumulative layout shift
    loaded: frozenset[str]  # paths


def limit(url: str) -> int:
    return NOTEBOOK_LIMIT if url.startswith("/notebooks/") else LIMIT


def visit(browser: Any, address: str, url: str, width: int, *, throttled: bool = True) -> Visit:
    """Open the page with an empty cache, and scroll to its end."""
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    page.add_init_script(WATCH)
    loaded: set[str] = set()
    page.on("request", lambda request: loaded.add(urlsplit(request.url).path))
    if throttled:
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Network.emulateNetworkConditions", FAST_4G)
    page.goto(address + url, wait_until="load")
    page.wait_for_timeout(300)
    largest = page.evaluate("window.largest")
    page.evaluate(READ)
    moved = page.evaluate("window.moved")
    context.close()
    return Visit(largest, moved, frozenset(loaded))


def weight(site: Path, loaded: frozenset[str]) -> int:
    """Bytes of the files' content as hosts send it."""
    return sum(len(packed(file_of(site, path))) for path in loaded)


def file_of(site: Path, path: str) -> Path:
    found = site / path.lstrip("/")
    return found / "index.html" if found.is_dir() else found


def heights(browser: Any, address: str, urls: list[str]) -> dict[str, dict[str, int]]:
    """How high each figure is on screens from so many pixels on: the highest, if several pages have it."""
    found: dict[str, dict[str, int]] = {}
    for width in (0, 400, 480, 600, 768, 960, 1220):
        highest: dict[str, int] = defaultdict(int)
        for url in urls:
            page = browser.new_page(viewport={"width": max(width, 360), "height": 800})
            page.goto(address + url, wait_until="load")
            restyle(page, ".vw-live { min-height: 0 !important }")
            bring_to_life(page)
            for block in page.locator(".vw-live").all():
                name = block.get_attribute("data-live") or ""
                highest[name] = max(highest[name], block.evaluate("(one) => Math.ceil(one.offsetHeight)"))
            page.close()
        found[str(width)] = dict(sorted(highest.items()))
    return found


@contextmanager
def opened(site: Path) -> Iterator[tuple[Any, str]]:
    """A Chromium, and the address at which the site is served as hosts do it."""
    from playwright.sync_api import sync_playwright

    with served(site, as_hosts_do=True) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        yield browser, address
        browser.close()


def measured(site: Path) -> dict[str, Any]:
    rows, facts = [], {}
    with opened(site) as (browser, address):
        visits = defaultdict(list)
        for _ in range(TURNS):
            for kind, url in KINDS.items():
                for width in WIDTHS:
                    visits[kind, width].append(visit(browser, address, url, width))
        version = browser.version
    for kind, url in KINDS.items():
        total = max(weight(site, one.loaded) for width in WIDTHS for one in visits[kind, width])
        moved = max(one.moved for width in WIDTHS for one in visits[kind, width])
        facts |= {f"pages_bytes_{kind}": total / 1000, f"pages_moved_{kind}": moved}
        cells = []
        for width in WIDTHS:
            times = [one.largest_paint / 1000 for one in visits[kind, width]]
            low, _, high = quantiles(times, n=4, method="inclusive")
            facts[f"pages_paint_{kind}_{width}"] = median(times)
            cells.append(f"{median(times):.2f} [{low:.2f}, {high:.2f}]")
        rows.append([url, f"{total / 1000:.1f}", *cells, f"{moved:.3f}"])
        print("  ".join(rows[-1]), flush=True)
    title = (
        "What a page costs at first contact: all that it loads until it is read to its end, gzipped; when its largest "
        "part is painted, in seconds, median [quartiles], on a throttled 4G connection (Fast 4G of Chrome's tools: 8.1 "
        f"Mbit/s, 165 ms) at {WIDTHS[0]} and {WIDTHS[1]} pixels; and the sum of all layout shifts. Chromium {version}."
    )
    columns = ["Page", "kB", *(f"Largest paint, {width} px" for width in WIDTHS), "Shifts"]
    return {"title": title, "columns": columns, "rows": rows, "turns": TURNS, "facts": facts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the table to results/, for the page")
    parser.add_argument("--heights", action="store_true", help="measure the figures instead, for the build")
    parser.add_argument("--site", type=Path, default=ROOT / "site", help="the built site")
    parser.add_argument("--date", default=date.today().isoformat(), help="the day that is written down")
    parser.add_argument("--machine", default=machine(), help="the machine, in words")
    options = parser.parse_args()
    if options.heights:
        with opened(options.site) as (browser, address):
            urls = [
                url for url in page_urls(options.site) if 'class="vw-live"' in file_of(options.site, url).read_text()
            ]
            HEIGHTS.write_text(json.dumps(heights(browser, address, urls), indent=1) + "\n", encoding="utf-8")
        return
    import torch

    table = measured(options.site) | {
        "machine": options.machine,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": options.date,
    }
    table["facts"] = {key: round(float(value), 4) for key, value in table["facts"].items()}
    if options.record:
        text = json.dumps(table, indent=1, ensure_ascii=False) + "\n"
        (RESULTS / "pages.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
