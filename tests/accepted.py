"""What each notebook prints, as somebody accepted it: `tests/outputs/NN_slug.txt`, compared with a fresh run.

    python -m tests.accepted            accept what the notebooks print now (`make accept` runs them first)

Words have to be the same. A number may differ by one part in ten thousand, which is more than another machine's
arithmetic changes, and less than the digits that a page quotes. In a cell tagged `loose`, where something was trained,
it may differ by one part in two hundred, or by one in its last digit. Pictures are compared by their words.
"""

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ACCEPTED = ROOT / "tests" / "outputs"
EXECUTED = ROOT / "explainer" / "notebooks"
RTOL, LOOSE_RTOL = 1e-4, 5e-3
ATOL = 1e-12  # what rounding leaves where zero is meant
NUMBER = re.compile(r"[-+\u2212]?(?<![\w.])(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?")
HEADER = re.compile(r"^=== cell (\d+)( \(loose\))?: (.*)$", re.MULTILINE)
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Cell:
    """What a cell printed, with the cell's first line and how closely its numbers are compared."""

    number: int
    line: str
    loose: bool
    text: str


def printed(notebook: dict[str, Any]) -> list[Cell]:
    """What the cells of an executed notebook printed; a cell is counted by Jupyter's own number."""
    cells = []
    for cell in notebook["cells"]:
        texts = [_text_of(output) for output in cell.get("outputs", [])]
        text = "\n".join(line.rstrip() for line in "\n".join(texts).splitlines()).strip("\n")
        if text:
            line = "".join(cell["source"]).strip().partition("\n")[0]
            cells.append(Cell(cell["execution_count"], line, "loose" in cell["metadata"].get("tags", []), text))
    return cells


def write(cells: Iterable[Cell]) -> str:
    """The cells as the text that is kept."""
    blocks = [f"=== cell {cell.number}{' (loose)' * cell.loose}: {cell.line}\n{cell.text}\n" for cell in cells]
    return "\n".join(blocks)


def read(text: str) -> list[Cell]:
    """The cells of a text that is kept."""
    headers = list(HEADER.finditer(text))
    ends = [*(header.start() for header in headers[1:]), len(text)]
    return [
        Cell(int(header[1]), header[3], bool(header[2]), text[header.end() : end].strip("\n"))
        for header, end in zip(headers, ends, strict=True)
    ]


def differences(accepted: list[Cell], fresh: list[Cell]) -> list[str]:
    """What a fresh run prints otherwise, one sentence for each cell."""
    told = []
    old, new = ({cell.number: cell for cell in cells} for cells in (accepted, fresh))
    for number in sorted({*old, *new}):
        if number not in new or number not in old:
            told.append(f"cell {number} prints {'nothing' if number not in new else 'something'}, and did not before")
        elif old[number].line != new[number].line:
            told.append(f"cell {number} is another one: `{new[number].line}`, accepted was `{old[number].line}`")
        elif problem := _difference(old[number].text, new[number].text, new[number].loose):
            told.append(f"cell {number}, `{new[number].line}`: {problem}")
    return told


def _difference(old: str, new: str, loose: bool) -> str | None:
    old_words, new_words = ([" ".join(words.split()) for words in NUMBER.split(text)] for text in (old, new))
    for before, after in zip(old_words, new_words, strict=False):
        if before != after:
            return f"it says `{after}`, accepted was `{before}`"
    old_numbers, new_numbers = NUMBER.findall(old), NUMBER.findall(new)
    if len(old_numbers) != len(new_numbers):
        return f"it prints {len(new_numbers)} numbers, accepted were {len(old_numbers)}"
    for before, after in zip(old_numbers, new_numbers, strict=True):
        if not _close(before, after, loose):
            return f"it prints {after}, accepted was {before}"
    return None


def _close(before: str, after: str, loose: bool) -> bool:
    a, b = (float(text.replace(",", "").replace("\u2212", "-")) for text in (before, after))
    allowed = max(abs(a), abs(b)) * (LOOSE_RTOL if loose else RTOL) + ATOL
    if loose:
        allowed = max(allowed, 1.001 * max(_last_digit(before), _last_digit(after)))
    return abs(a - b) <= allowed


def _last_digit(text: str) -> float:
    """What one more in the last digit is worth; of a whole number nothing, because it may be a count."""
    digits, _, exponent = text.lower().partition("e")
    decimals = digits.partition(".")[2]
    return float(f"1e{int(exponent or 0) - len(decimals)}") if decimals else 0.0


def _text_of(output: dict[str, Any]) -> str:
    text = output.get("text") or output.get("data", {}).get("text/plain", "")
    return ANSI.sub("", text if isinstance(text, str) else "".join(text))


def accept(executed: Path = EXECUTED, accepted: Path = ACCEPTED) -> list[str]:
    """Write what the executed notebooks print, delete what no notebook prints; the names of what changed."""
    accepted.mkdir(exist_ok=True)
    texts = {
        path.stem: write(printed(json.loads(path.read_text("utf-8")))) for path in sorted(executed.glob("*.ipynb"))
    }
    changed = [path.stem for path in sorted(accepted.glob("*.txt")) if path.stem not in texts]
    for name in changed:
        (accepted / f"{name}.txt").unlink()
    for name, text in texts.items():
        path = accepted / f"{name}.txt"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(name)
    return changed


if __name__ == "__main__":
    for name in accept():
        print(f"accepted: {name}", file=sys.stderr)
