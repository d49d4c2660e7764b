"""Prints the versions installed beside the running Python as a lock file; `make lock` calls it in a new environment.

With `--hashes` it reads the hashes of these versions instead, as uv prints them, and puts their own header before them.
"""

import re
import sys
from importlib.metadata import distributions

HEADER = """\
# Every package of the environment, at the version it was tried with. Written by `make lock`; do not edit.
# To refresh: `make lock && make test`, then commit this file. It is read by `make`, by CI and by environment.yml.
# torch stands without a build label: pip takes the CPU build where its settings offer one."""
HASHES = """\
# The files of each package in requirements.lock, as the Python Package Index gives them, for every system. Written by
# `make lock`; do not edit. `make` installs these and no others: pip refuses a file with another hash. torch is left
# out, because its build for the CPU comes from another index, under the same version and with other bytes."""


def lines() -> list[str]:
    """`name==version`, sorted, without this project, without pip, and without build labels such as `+cpu`."""
    found = {}
    for distribution in distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        found[name] = distribution.version.partition("+")[0]
    for not_ours_to_pin in ("visitwise", "pip", "setuptools", "wheel"):
        found.pop(not_ours_to_pin, None)
    return [f"{name}=={version}" for name, version in sorted(found.items())]


if __name__ == "__main__":
    if sys.argv[1:] == ["--hashes"]:
        print(HASHES)
        print("".join(line for line in sys.stdin if not line.startswith("#")).rstrip())
    else:
        print(HEADER)
        print("\n".join(lines()))
