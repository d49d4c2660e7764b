"""All benchmarks, one after the other: `make bench`, or `python -m tests.benchmarks [--record] [name ...]`.

Each runs in a process of its own, as it does by its own name. One that fails does not keep the others from running.
"""

import argparse
import subprocess
import sys

PRINTED = ("pages", "figures")  # no page shows these
# By how long they take, the short ones first. Those that open pages need the built site.
NAMES = ["pieces", "processes", "packing", "time_to_fit", "training_speed", "scale", "pages", "figures", "lighthouse"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(NAMES)}; all of them, if none is named")
    parser.add_argument("--record", action="store_true", help="write the tables to results/, for the pages")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"there is no benchmark {sorted(unknown)[0]!r}; expected one of {', '.join(NAMES)}")
    failed = []
    for name in options.names or NAMES:
        print(f"\n=== {name}", flush=True)
        record = ["--record"] if options.record and name not in PRINTED else []
        if subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}", *record], check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
