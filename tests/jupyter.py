"""A real JupyterLab in a real browser: its server, a notebook opened in it, its kernel asked for values."""

import ast
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.built import ROOT

OWN = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
OWN_LAB = ("SETTINGS_DIR", "WORKSPACES_DIR")
CELLS = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell"
PANEL = "const panel = window.jupyterapp.shell.currentWidget; const kernel = panel?.sessionContext.session?.kernel;"


@contextmanager
def served(notebooks: Path, own: Path) -> Iterator[tuple[str, str]]:
    """JupyterLab for a folder, set up as `make lab` does, with nothing of the user's; gives its address and token."""
    token = secrets.token_hex()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON"))}
    folders = {f"JUPYTER_{name}": str(own / name) for name in OWN}
    folders |= {f"JUPYTERLAB_{name}": str(own / name) for name in OWN_LAB}
    folders |= {"JUPYTER_CONFIG_PATH": str(ROOT / ".jupyter"), "IPYTHONDIR": str(own / "ipython")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--notebook-dir={notebooks}"]
    log = own / "log"
    with log.open("wb") as written:
        environment = kept | folders | {"JUPYTER_TOKEN": token}
        server = subprocess.Popen(command, env=environment, stdout=written, stderr=subprocess.STDOUT)
    try:
        _wait_for(server, f"http://127.0.0.1:{port}/api/status?token={token}", log)
        yield f"http://127.0.0.1:{port}", token
    finally:
        server.terminate()
        server.wait()


def _wait_for(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(address, timeout=10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not answer within a minute:\n{log.read_text()}")


@dataclass
class Lab:
    """JupyterLab on a page, and what went wrong there: the browser's complaints and requests to other places."""

    page: Any
    address: str
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda said: said.type == "error" and self.wrong.append(f"{said.text} {said.location}"))
        self.page.on("pageerror", lambda error: self.wrong.append(f"{error.stack or error}"))
        self.page.on("request", lambda asked: self._here(asked.url) or self.wrong.append(f"asked for {asked.url}"))

    def _here(self, url: str) -> bool:
        return url.startswith((self.address, "blob:", "data:"))

    def open(self, path: str) -> "Notebook":
        """Opens a file as a double click does; no dialog asks for a kernel, because `make setup` installed one."""
        self.page.evaluate("(path) => { window.jupyterapp.commands.execute('docmanager:open', { path }); }", path)
        notebook = Notebook(self)
        notebook.wait(f"panel?.context.path === {json.dumps(path)}")
        notebook.wait("panel.sessionContext.isReady && kernel?.connectionStatus === 'connected'")
        notebook.wait("kernel.status === 'idle'")
        return notebook

    def theme(self, name: str) -> None:
        self.page.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", name)
        light = json.dumps(str("Dark" not in name).lower())
        self.page.wait_for_function(f"document.body.dataset.jpThemeLight === {light}")


@dataclass
class Notebook:
    """The notebook that is in front."""

    lab: Lab

    def script(self, script: str, argument: Any = None) -> Any:
        return self.lab.page.evaluate(f"async (argument) => {{ {PANEL} {script} }}", argument)

    def wait(self, condition: str) -> None:
        self.lab.page.wait_for_function(f"() => {{ {PANEL} return {condition}; }}", timeout=120_000)

    def until(self, condition: Callable[[], bool], seconds: float = 15) -> bool:
        """Whether it comes true in time: a widget's changes travel to the kernel and back a few at a time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            self.lab.page.wait_for_timeout(50)
        return True

    def run_all(self) -> None:
        self.script("window.jupyterapp.commands.execute('notebook:run-all-cells');")
        self._finished()

    def do(self, command: str, cell: int) -> None:
        """One of JupyterLab's commands, for one cell."""
        run = "window.jupyterapp.commands.execute(argument[0]);"
        self.script(f"panel.content.activeCellIndex = argument[1]; {run}", [command, cell])

    def run(self, cell: int) -> str:
        """Runs one cell; gives what it prints."""
        self.do("notebook:run-cell", cell)
        self._finished()
        return "".join(str(output.get("text", "")) for output in self.outputs(cell))

    def _finished(self) -> None:
        """Each cell has its number, and none waits or runs."""
        cells = "panel.content.widgets.filter((cell) => cell.model.type === 'code')"
        self.wait(f"kernel.status === 'idle' && {cells}.every((cell) => cell.model.executionState === 'idle')")

    def outputs(self, cell: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.script(
            "return panel.content.widgets[argument].model.outputs?.toJSON() ?? [];", cell
        )
        return found

    def cells(self, text: str) -> list[int]:
        """Those whose source has the text in it."""
        sources = self.script("return panel.content.widgets.map((cell) => cell.model.sharedModel.getSource());")
        return [place for place, source in enumerate(sources) if text in source]

    @property
    def active(self) -> int:
        """The cell that JupyterLab's own keys would act on."""
        return int(self.script("return panel.content.activeCellIndex;"))

    def view(self, cell: int) -> Any:
        """The figure beneath a cell."""
        return self.lab.page.locator(CELLS).nth(cell).locator("[data-out]")

    def tell(self, code: str) -> None:
        """Runs code in the kernel, as a cell would."""
        reply = self.script("return (await kernel.requestExecute({ code: argument }).done).content;", code)
        assert reply["status"] == "ok", reply

    def ask(self, expression: str) -> Any:
        """The value of a Python expression in the kernel, by way of JSON."""
        answer = self.script(
            """const request = { code: "", store_history: false, user_expressions: { answer: argument } };
            return (await kernel.requestExecute(request).done).content.user_expressions.answer;""",
            f"__import__('json').dumps({expression})",
        )
        assert answer["status"] == "ok", answer
        return json.loads(ast.literal_eval(answer["data"]["text/plain"]))
