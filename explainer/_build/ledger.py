"""The claims ledger: runs the trial of every claim, and makes a page of what they computed.

    python explainer/_build/ledger.py            run the trials, if anything they depend on changed
    python explainer/_build/ledger.py --fresh    run them
    python explainer/_build/ledger.py --check    run none; exit 1 if they are out of date

The rows come from `tests/claims/`, one test a claim; `[the ledger](ledger:)` alone on a line of a page becomes the
rows, and `[a count](ledger:counts)` how many have which verdict. A trial that fails stops the build.
"""

import argparse
import hashlib
import html
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from notebooks import ELSEWHERE

ROOT = Path(__file__).resolve().parents[2]
AT_A_TIME = 2
ALONE = re.compile(r"^\[[^\]\[]*\]\(ledger:(\w*)\) *$", re.MULTILINE)
ANYWHERE = re.compile(r"\[[^\]\[]*\]\(ledger:[^)]*\)")
FAMILIES = {
    "A": "Class or function",
    "B": "The likelihood, and examples of it",
    "C": "Gradients, clamping and numbers",
    "D": "Padding, packing and masks",
    "E": "keepdim and broadcasting",
    "F": "Other models, other losses",
    "G": "Metrics",
    "H": "Leakage and data",
}
VERDICTS = {
    "TRUE": "true as it stands",
    "DEPENDS": "true under a condition that is not stated, or in part",
    "FALSE": "not so, or the code given for it raises an error",
}
Row = dict[str, Any]
Report = Callable[[str], None]


class LedgerError(Exception):
    """A claim's trial failed; the message is what the tests said."""


def output_of(root: Path = ROOT) -> Path:
    return root / "build" / "claims.json"


def key_of(root: Path = ROOT) -> str:
    """What the rows depend on, as one hash."""
    files = (path for path in (root / "src" / "visitwise").rglob("*") if path.is_file())
    package = (path for path in files if path.suffix not in ELSEWHERE)
    tests = [*(root / "tests").glob("*.py"), *(root / "tests" / "claims").glob("*.py")]
    tests = [path for path in tests if not re.match(r"test_", path.name) or path.parent.name == "claims"]
    results = (root / "tests" / "benchmarks").rglob("*.json")
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted({*package, *tests, *results, root / "requirements.lock"}):
        if "__pycache__" not in path.parts:
            name, content = path.relative_to(root).as_posix(), path.read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def is_stale(root: Path = ROOT) -> bool:
    output = output_of(root)
    return not output.exists() or json.loads(output.read_text(encoding="utf-8")).get("key") != key_of(root)


def run(root: Path = ROOT) -> None:
    """Try every claim, and write the rows with the key of what they depend on: all or nothing.

    Raises:
        LedgerError: if a trial fails, naming it.
    """
    output = output_of(root)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix(".partial")
    key = key_of(root)
    command = [sys.executable, "-m", "pytest", "tests/claims", "--ledger", str(partial), "-p", "no:cacheprovider"]
    settings = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [*command, "-n", str(AT_A_TIME)], cwd=root, env=settings, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LedgerError(f"a claim's trial failed\n{done.stdout}{done.stderr}")
    rows = json.loads(partial.read_text(encoding="utf-8"))
    partial.write_text(json.dumps({"key": key, "rows": rows}, indent=1, ensure_ascii=False), encoding="utf-8")
    partial.replace(output)


def rows_of(root: Path = ROOT) -> list[Row]:
    """The rows as last computed; none if they never were."""
    output = output_of(root)
    return json.loads(output.read_text(encoding="utf-8"))["rows"] if output.exists() else []


def titles(root: Path = ROOT) -> dict[str, str]:
    """Each chapter's heading by the name of its page, such as `06-packing`."""
    headings = {}
    for page in (root / "explainer").glob("[0-9][0-9]-*.md"):
        first = re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        headings[page.stem] = f"Chapter {int(page.name[:2])}: {first[1] if first else page.stem}"
    return headings


def show(markdown: str, rows: Sequence[Row], titles: dict[str, str], report: Report) -> str:
    """The Markdown with the rows, or their count, where they are asked for.

    Args:
        markdown: a page.
        rows: what the trials computed.
        titles: each page's heading by its name, such as `06-packing`.
        report: told of an unknown request.
    """

    def replace(match: re.Match[str]) -> str:
        if match[1] == "counts":
            return counts(rows)
        if match[1]:
            report(
                f"`{match[0]}` asks the ledger for something it does not have; expected `ledger:` or `ledger:counts`"
            )
            return ""
        return "\n\n".join(_family(family, rows, titles, report) for family in FAMILIES if _of(family, rows))

    text = ALONE.sub(replace, markdown)
    for left_over in ANYWHERE.findall(text):
        report(f"`{left_over}` shows the ledger and has to stand alone on its line")
    return text


def counts(rows: Sequence[Row]) -> str:
    """How many claims of each family have which verdict, as a Markdown table."""
    lines = ["| Claims about | TRUE | DEPENDS | FALSE | all |", "| --- | ---: | ---: | ---: | ---: |"]
    for family, name in FAMILIES.items():
        if chosen := _of(family, rows):
            lines.append(f"| [{name}](#{_slug(family)}) | {_numbers(chosen)} |")
    return "\n".join([*lines, f"| **All** | {_numbers(rows)} |"])


def _numbers(rows: Sequence[Row]) -> str:
    found = Counter(row["verdict"] for row in rows)
    return " | ".join(str(found[verdict]) for verdict in ("TRUE", "DEPENDS", "FALSE")) + f" | {len(rows)}"


def _of(family: str, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["id"].startswith(family)]


def _slug(family: str) -> str:
    return f"family-{family.lower()}"


def _family(family: str, rows: Sequence[Row], titles: dict[str, str], report: Report) -> str:
    heading = f"## {family}. {FAMILIES[family]} {{ #{_slug(family)} }}"
    return "\n\n".join([heading, *(_claim(row, titles, report) for row in _of(family, rows))])


def _claim(row: Row, titles: dict[str, str], report: Report) -> str:
    page, _, anchor = row["chapter"].partition("#")
    if page not in titles:
        report(f"claim {row['id']} leads to the chapter `{page}`, which is no page")
    place = f"{page}.md#{anchor}" if anchor else f"{page}.md"
    file, _, test = row["test"].partition("::")
    verdict = row["verdict"]
    badge = f'<span class="vw-verdict" title="{html.escape(VERDICTS[verdict])}">{verdict}</span>'
    origins = " and ".join(f"[{name}]({url})" if url else name for name, url in row["from"])
    title = html.escape(titles.get(page, page))
    return f"""\
<section class="vw-claim" data-verdict="{verdict}" data-chapter="{page}" data-title="{title}" markdown>

### {row["id"]} {badge} {{ #{row["id"].lower()} }}

> {row["says"]}

From {origins}.
{{ .vw-origin }}

**Computed.** {row["shows"]}

**Remember.** {row["teaches"]}

[{titles.get(page, page)}]({place}) · [`{test}`](repository:{file})
{{ .vw-origin }}

</section>"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Try the claims of the ledger, if anything they depend on changed.")
    parser.add_argument("--fresh", action="store_true", help="try them in any case")
    parser.add_argument("--check", action="store_true", help="try none; exit 1 if they are out of date")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    if not (options.fresh or is_stale(root)):
        return 0
    if options.check:
        print("out of date: the claims ledger")
        return 1
    print("Trying the claims of the ledger", file=sys.stderr)
    try:
        run(root)
    except LedgerError as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
