"""`python -m tests.figures [name ...]` plants every mistake and prints whether the comparison notices it."""

import json
import sys
import tempfile
from pathlib import Path

from tests import figures


def main(names: list[str]) -> int:
    survived = 0
    print(f"{'figure':<18} {'mistake':<64} noticed")
    for name in names or figures.NAMES:
        with tempfile.TemporaryDirectory() as folder:
            fixture = Path(folder, "fixture.json")
            fixture.write_text(json.dumps(figures.fixture(name), allow_nan=False), encoding="utf-8")
            for mutant, places in figures.noticed(name, fixture, Path(folder)):
                survived += not places
                print(f"{name:<18} {mutant.mistake:<64} {'yes' if places else 'NO'}")
    print(f"{survived} of the mistakes survive")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
