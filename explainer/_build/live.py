"""Figures that can be moved: a block that the browser brings to life, and in it a picture that stands still.

Picture and table are drawn by the figure's own module, in node: the same arithmetic as with a script.
"""

import html
import json
import re
from pathlib import Path
from typing import Any

from node import Conversation

MIME = "application/vnd.visitwise.figure+json"
WIDGETS = Path(__file__).resolve().parents[2] / "src" / "visitwise" / "widgets"


def names() -> list[str]:
    """The figures there are: each has a Python file and a module of the same name."""
    return sorted(path.stem for path in WIDGETS.glob("*.js") if path.with_suffix(".py").exists())


def styled(page: str) -> str:
    """The page's HTML; with a figure in it, the figures' rules are asked for beside the site's own."""
    if 'class="vw-live"' not in page:
        return page
    return re.sub(
        r'<link rel="stylesheet" href="([^"]*)assets/site\.css">',
        r'\g<0><link rel="stylesheet" href="\1assets/figures.css">',
        page,
        count=1,
    )


class Artist:
    """Draws figures as they begin."""

    def __init__(self) -> None:
        self.node = Conversation(Path(__file__).with_name("still.mjs"))

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
        if record["given"]:
            kept["given"] = json.dumps(record["given"])
        attributes = "".join(f' data-{name}="{html.escape(value)}"' for name, value in kept.items())
        return f'<div class="vw-live"{attributes}><div class="vw-still">{answer["html"]}</div></div>'

    def stylesheet(self, names: list[str]) -> str:
        """The rules for pictures that stand still; a figure that moves has them inside itself."""
        answer = self.node.ask({"names": names})
        if "error" in answer:
            raise ValueError(f"the figures' rules cannot be read: {answer['error']}")
        return str(answer["css"])

    def close(self) -> None:
        """After this, changed modules are read anew."""
        self.node.close()
