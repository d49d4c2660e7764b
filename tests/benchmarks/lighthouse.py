"""What Lighthouse says of each kind of page of the built site: four scores, and the times behind the first of them.

`python -m tests.benchmarks.lighthouse` serves `site/` as hosts do, lets Lighthouse (by `npx`, from npm) open each kind
of page three times as a telephone and three times as a desk computer, and prints medians; with `--record` it writes
them to `results/`, too. The machine should have nothing else to do: the first score is made of times.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.pages import KINDS, ROOT
from tests.benchmarks.records import RESULTS, machine
from tests.browser import ARGUMENTS, find_chromium, served

LIGHTHOUSE = "lighthouse@12.8.2"
TURNS = 3
FORMS: dict[str, list[str]] = {"telephone": [], "desk": ["--preset=desktop"]}
SCORES = ("performance", "accessibility", "best-practices", "seo")
TIMES = {  # of a page, in milliseconds, but the shifts
    "first": "first-contentful-paint",
    "largest": "largest-contentful-paint",
    "blocked": "total-blocking-time",
    "work": "mainthread-work-breakdown",
    "moved": "cumulative-layout-shift",
}
SEEN = KINDS | {"zoo": "/11-loss-zoo/", "speed": "/speed/"}


def opened(address: str, options: list[str], browser: str) -> dict[str, float]:
    """One run: scores from 0 to 100, and the times."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said.json"
        command = ["npx", "--yes", LIGHTHOUSE, address, "--quiet", "--output=json", f"--output-path={said}"]
        flags = f"--chrome-flags=--headless=new {' '.join(ARGUMENTS)}"
        only = f"--only-categories={','.join(SCORES)}"
        done = subprocess.run(
            [*command, flags, only, *options],
            env=os.environ | {"CHROME_PATH": browser},
            capture_output=True,
            text=True,
            check=False,
        )
        if not said.exists():
            sys.exit(f"Lighthouse could not open {address}: {done.stderr.strip() or done.stdout.strip()}")
        report = json.loads(said.read_text(encoding="utf-8"))
    scores = {name: 100 * (report["categories"][name]["score"] or 0) for name in SCORES}
    return scores | {name: report["audits"][audit].get("numericValue", 0) for name, audit in TIMES.items()}


def measured(site: Path, kinds: list[str], turns: int) -> dict[str, Any]:
    browser = find_chromium()
    if browser is None:
        sys.exit("no Chromium was found")
    rows, facts = [], {}
    with served(site, as_hosts_do=True) as address:
        for kind in kinds:
            # The page for wrong addresses is opened by its own: Lighthouse gives no scores to an answer that says 404.
            for form, options in FORMS.items():
                runs = [opened(address + SEEN[kind], options, browser) for _ in range(turns)]
                middle = {name: median(run[name] for run in runs) for name in runs[0]}
                facts |= {f"lighthouse_{kind}_{form}_{name}": value for name, value in middle.items()}
                rows.append(row_of(kind, form, middle))
                print("  ".join(rows[-1]), flush=True)
    title = (
        f"Lighthouse ({LIGHTHOUSE.partition('@')[2]}) on each kind of page, medians. Scores out of 100: speed, "
        "accessibility, practices, search engines. First and largest paint, the time in which the page could not "
        "answer and that in which it worked, on the slow 4G telephone and the desk computer that Lighthouse "
        "calculates with."
    )
    columns = ["Page", "Scores", "First, s", "Largest, s", "Blocked, ms", "Work, ms", "Shifts"]
    return {"title": title, "columns": columns, "rows": rows, "turns": turns, "facts": facts}


def row_of(kind: str, form: str, middle: Mapping[str, float]) -> list[str]:
    return [
        f"{SEEN[kind].strip('/') or 'landing page'}, {form}",
        " · ".join(f"{middle[name]:.0f}" for name in SCORES),
        *(f"{middle[name] / 1000:.2f}" for name in ("first", "largest")),
        *(f"{middle[name]:.0f}" for name in ("blocked", "work")),
        f"{middle['moved']:.3f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"{', '.join(SEEN)}; all of them, if none is named")
    parser.add_argument("--record", action="store_true", help="write the table to results/, for the page")
    parser.add_argument("--site", type=Path, default=ROOT / "site", help="the built site")
    parser.add_argument("--turns", type=int, default=TURNS, help="how often each page is opened")
    parser.add_argument("--date", default=date.today().isoformat(), help="the day that is written down")
    parser.add_argument("--machine", default=machine(), help="the machine, in words")
    options = parser.parse_args()
    if unknown := set(options.kinds) - set(SEEN):
        parser.error(f"there is no kind of page {sorted(unknown)[0]!r}; expected one of {', '.join(SEEN)}")
    import torch

    table = measured(options.site, options.kinds or list(SEEN), options.turns) | {
        "machine": options.machine,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": options.date,
    }
    table["facts"] = {key: round(float(value), 3) for key, value in table["facts"].items()}
    if options.record:
        text = json.dumps(table, indent=1, ensure_ascii=False) + "\n"
        (RESULTS / "lighthouse.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
