"""Formulas are set at build time with KaTeX: a page ships HTML and MathML, and no math script.

One node process serves the whole build. A formula that KaTeX cannot set is a problem, told with the formula in it.
"""

import html
import re
from collections.abc import Callable
from pathlib import Path

from node import Conversation

KATEX = Path(__file__).resolve().parents[2] / "node_modules" / "katex" / "dist"
SPAN = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)
Report = Callable[[str], None]


class Typesetter:
    """Sets formulas by asking one long-lived node process; each different formula is asked for once."""

    def __init__(self, katex: Path = KATEX) -> None:
        self.program = katex / "katex.js"
        self.node = Conversation(Path(__file__).with_name("katex.cjs"), self.program)
        self.known: dict[tuple[str, bool], dict[str, str]] = {}

    def page(self, text: str, report: Report) -> str:
        """A page's HTML with every formula set; what cannot be set is reported and left as it was."""
        return SPAN.sub(lambda match: self._span(match, report), text)

    def formula(self, tex: str, *, display: bool) -> dict[str, str]:
        """`{"html": ...}` or `{"error": ...}` for one formula."""
        key = (tex, display)
        if key not in self.known:
            self.known[key] = self._ask(tex, display)
        return self.known[key]

    def letters(self) -> tuple[set[str], set[str]]:
        """The letters drawn in all formulas set so far: the slanted ones, and the upright ones."""
        slanted: set[str] = set()
        upright: set[str] = set()
        for answer in self.known.values():
            drawn = answer.get("html", "").partition('<span class="katex-html"')[2]
            for name, text in re.findall(r'<span class="([^"]*)"[^>]*>([^<]+)', drawn):
                (slanted if "mathnormal" in name else upright).update(html.unescape(text))
        return slanted, upright

    def close(self) -> None:
        self.node.close()

    def _span(self, match: re.Match[str], report: Report) -> str:
        tex = html.unescape(match[2]).strip()
        display = tex.startswith(r"\[")
        tex = tex[2:-2].strip()
        answer = self.formula(tex, display=display)
        if "error" in answer:
            report(f"the formula `{tex}` cannot be set: {answer['error']}")
            return match[0]
        if display:  # a wide formula scrolls inside its own box, also by keyboard
            return f'<div class="vw-formula" tabindex="0">{answer["html"]}</div>'
        return answer["html"]

    def _ask(self, tex: str, display: bool) -> dict[str, str]:
        if not self.program.exists():
            raise RuntimeError("KaTeX is not installed; `make build` installs it, or run `npm ci`")
        return self.node.ask({"tex": tex, "display": display})


def stylesheet(katex: Path = KATEX) -> str:
    """KaTeX's own stylesheet, asking for the woff2 fonts alone: every browser that reads the rest reads these."""
    css = (katex / "katex.min.css").read_text(encoding="utf-8")
    return re.sub(r',url\(fonts/[^)]+\.(?:woff|ttf)\) format\("(?:woff|truetype)"\)', "", css)
