"""Text that fits the width of a terminal, or 80 columns where there is none, with nothing left out."""

import re
from collections.abc import Sequence
from shutil import get_terminal_size
from textwrap import wrap

GAP = 2


def in_columns(lines: Sequence[Sequence[str]], *, right: bool = False) -> list[str]:
    """The lines of a table as text. Where they are too long, cells go on below themselves.

    Args:
        lines: The cells of each line; all lines have as many.
        right: Whether all columns but the first are numbers, which end below each other.

    Examples:
        >>> in_columns([["patients", "2,000"], ["rows", "22,830"]], right=True)
        ['patients   2,000', 'rows      22,830']
    """
    cells = [[_unbroken(cell) for cell in line] for line in lines]
    n_columns = len(cells[0])
    whole = [max(len(line[place]) for line in cells) for place in range(n_columns)]
    words = [max(len(word) for line in cells for word in line[place].split(" ")) for place in range(n_columns)]
    widths = _narrowed(whole, words, get_terminal_size().columns - GAP * (n_columns - 1))
    return [_line(line, widths, right) for line in cells]


def wrapped(text: str) -> str:
    """The same lines, of which those too long go on below themselves, two columns further in.

    Examples:
        >>> print(wrapped("  a " + "long " * 17))
          a long long long long long long long long long long long long long long long
            long long
    """
    lines = []
    for line in text.split("\n"):
        words = line.lstrip(" ")
        indent = " " * (len(line) - len(words))
        room, further = get_terminal_size().columns, indent + " " * GAP
        text_lines = wrap(
            _unbroken(words), room, initial_indent=indent, subsequent_indent=further, break_on_hyphens=False
        )
        lines += text_lines or [""]
    return "\n".join(lines).replace("\xa0", " ")


def _narrowed(whole: list[int], words: list[int], room: int) -> list[int]:
    """Widths that have room together: the widest gives way first, and words are broken last."""
    widths = list(whole)
    for least in (words, [1] * len(whole)):
        while sum(widths) > room:
            wider = [place for place in range(len(widths)) if widths[place] > least[place]]
            if not wider:
                break
            widths[max(wider, key=lambda place: widths[place])] -= 1
    return widths


def _line(cells: Sequence[str], widths: Sequence[int], right: bool) -> str:
    further = [" " * GAP, *[""] * (len(cells) - 1)]  # or a name that goes on would read as the next one
    parts = [
        wrap(cell, width, subsequent_indent=indent, break_on_hyphens=False)
        for cell, width, indent in zip(cells, widths, further, strict=True)
    ]
    lines = []
    for height in range(max(1, *(len(part) for part in parts))):
        told = [part[height] if height < len(part) else "" for part in parts]
        aligned = [
            f"{cell:>{width}}" if right and place else f"{cell:{width}}"
            for place, (cell, width) in enumerate(zip(told, widths, strict=True))
        ]
        lines.append((" " * GAP).join(aligned).rstrip())
    return "\n".join(lines).replace("\xa0", " ")


def _unbroken(text: str) -> str:
    """A number and its per cent sign stay on one line."""
    return re.sub(r"(?<=\d) %", "\xa0%", text)
