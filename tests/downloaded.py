"""Runs the code of notebooks that a page offers as a reader's own Python would: `python downloaded.py FILE...`.

It needs nothing but what the notebook itself imports, so that it can be used in an environment that has the installed
package alone. The first cell that raises ends it, and is named.
"""

import json
import sys
import time
import traceback
from pathlib import Path


def run(path: Path) -> None:
    """Each code cell in order, in one namespace; an error is printed with the cell's number and ends the program."""
    began = time.perf_counter()
    names = {"__name__": "__main__"}
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"], start=1):
        if cell["cell_type"] != "code":
            continue
        try:
            exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), names)
        except Exception:
            traceback.print_exc()
            sys.exit(f"{path.name}, {cell['id']}: the cell raised")
    print(f"{path.name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        run(Path(name))
