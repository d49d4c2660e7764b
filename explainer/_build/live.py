"""Figures that can be moved: a block that the browser brings to life, and in it a picture that stands still.

Picture and table are drawn by the figure's own module, in node: the same arithmetic as with a script.
"""

import hashlib
import html
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from node import Conversation

MIME = "application/vnd.visitwise.figure+json"
HEIGHTS = Path(__file__).with_name("heights.json")
WIDGETS = Path(__file__).resolve().parents[2] / "src" / "visitwise" / "widgets"
ASSETS = Path(__file__).resolve().parents[1] / "assets"
IMPORTED = re.compile(r'^(?:import|\}|export)[^"\n]* from "(\.[^"]+)";', re.MULTILINE)
NAMED = re.compile(r' data-live="([^"]+)"')
SHEET = re.compile(r'<link rel="stylesheet" href="([^"]*)assets/site\.css">')


def names() -> list[str]:
    """The figures there are: each has a Python file and a module of the same name."""
    return sorted(path.stem for path in WIDGETS.glob("*.js") if path.with_suffix(".py").exists())


def modules(name: str) -> list[str]:
    """What is loaded to bring a block to life, by its path below `assets/`: its own module and all that it imports."""
    found, left = [], [f"{name}.js", "host.js"]
    while left:
        path = left.pop()
        if path in found:
            continue
        found.append(path)
        source = WIDGETS.parent / path if path.startswith("widgets/") else ASSETS / path
        imported = IMPORTED.findall(source.read_text(encoding="utf-8"))
        left += [posixpath.normpath(posixpath.join(posixpath.dirname(path), one)) for one in imported]
    return sorted(found)


def styled(page: str) -> str:
    """The page's HTML; with a figure in it, the figures' rules are asked for beside the site's own.

    The modules of what can be moved are loaded side by side, and not one after the other as they import each other.
    """
    rules = '<link rel="stylesheet" href="{}assets/figures.css">' if 'class="vw-live"' in page else ""
    ahead = sorted({path for name in dict.fromkeys(NAMED.findall(page)) for path in modules(name)})
    rules += "".join(f'<link rel="modulepreload" fetchpriority="low" href="{{}}assets/{path}">' for path in ahead)
    return SHEET.sub(lambda found: found[0] + rules.replace("{}", found[1]), page, count=1)


def room() -> str:
    """The rules that keep a figure's place as high as it will be once it moves: what is below it then stays there.

    `python -m tests.benchmarks.pages --heights` measures them in a browser.
    """
    rules = []
    for width, heights in json.loads(HEIGHTS.read_text(encoding="utf-8")).items():
        kept = "".join(f'[data-live="{name}"]{{min-height:{height}px}}' for name, height in heights.items())
        rules.append(f"@media screen and (scripting: enabled) and (min-width: {width}px){{{kept}}}\n")
    return "".join(rules)


def apart(given: dict[str, Any], paths: list[list[str]]) -> tuple[dict[str, Any], list[str]]:
    """What a figure begins with, and the texts that it may come to need: those at `paths` into `given`, in order."""
    first = json.loads(json.dumps(given))
    texts = []
    for *outer, key in paths:
        inside = first
        for name in outer:
            inside = inside[name]
        texts.append(inside.pop(key))
    return first, texts


class Artist:
    """Draws figures as they begin; `later` has, by file, what a page loads once a reader takes hold of one."""

    def __init__(self) -> None:
        self.node = Conversation(Path(__file__).with_name("still.mjs"))
        self.later: dict[str, str] = {}

    def block(self, record: dict[str, Any]) -> str:
        """A figure's block for a page.

        Args:
            record: its `name`, its `state`, and what it was `given`, as the notebook's cell published them.

        Raises:
            ValueError: if the module cannot draw it.
        """
        answer = self.node.ask(record)
        if "error" in answer:
            raise ValueError(f"the figure {record['name']} cannot be drawn: {answer['error']}")
        kept = {"live": f"widgets/{record['name']}", "start": json.dumps(record["state"])}
        given, texts = apart(record["given"], answer["unread"])
        if texts and "question" in answer:  # it may be about what comes later, and is asked at once
            given["question"] = answer["question"]
        if given:
            kept["given"] = json.dumps(given)
        if texts:
            content = json.dumps(texts)
            kept["absent"] = json.dumps(answer["unread"])
            kept["later"] = f"given/{record['name']}.{hashlib.sha256(content.encode()).hexdigest()[:8]}.json"
            self.later[kept["later"]] = content
        attributes = "".join(f' data-{name}="{html.escape(value)}"' for name, value in kept.items())
        return f'<div class="vw-live"{attributes}><div class="vw-still">{answer["html"]}</div></div>'

    def stylesheet(self, names: list[str]) -> str:
        """The rules for pictures that stand still; a figure that moves has them inside itself."""
        answer = self.node.ask({"names": names})
        if "error" in answer:
            raise ValueError(f"the figures' rules cannot be read: {answer['error']}")
        return str(answer["css"]) + room()

    def close(self) -> None:
        """After this, changed modules are read anew."""
        self.node.close()
        self.later.clear()
