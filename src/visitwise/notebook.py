"""What a notebook publishes: pictures that can be read aloud, and numbers that pages may quote.

Nothing here computes. A page quotes `[0.685](fact:name)`, and the site refuses to build when the number that the
notebook published under that name is another one.
"""

import io
import math
import re
from typing import Any, SupportsFloat

import matplotlib as mpl
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from visitwise._explain import explained

FACT_MIME = "application/vnd.visitwise.fact+json"

# Colours that mean something, as the site names them. A picture drawn in one of them changes with the reader's scheme;
# elsewhere (in Jupyter, in a saved file) the colour after the comma is shown.
TOKENS = {
    "#c2410c": "hazard",
    "#1166cc": "survival",
    "#522b64": "event-probability",
    "#0e3924": "censored",
    "#b3122e": "wrong",
    "#5b6470": "muted",
    # The same meanings in `visitwise.plots`, whose one set of colours is read on a white page and on a dark one.
    "#cb620f": "hazard",
    "#2f7fdf": "survival",
    "#b066a4": "event-probability",
    "#11904d": "censored",
    "#e1465a": "wrong",
    "#7a7f88": "muted",
    "#1b1f24": "ink",
    "#000000": "ink",
    "#f6f7f9": "panel",
    "#ffffff": "page",
}


class Picture:
    """A figure as SVG with a sentence that says what it shows; Jupyter and the site both display it."""

    @explained
    def __init__(self, svg: str, alt: str) -> None:
        self.svg = svg
        self.alt = alt

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        return {"image/svg+xml": self.svg, "text/plain": self.alt}, {"image/svg+xml": {"alt": self.alt}}

    def __repr__(self) -> str:
        return self.alt


@explained
def show(figure: Figure, alt: str) -> Picture:
    """Display a figure, with the sentence that a reader who cannot see it hears instead.

    The last line of a notebook cell: `show(figure, alt="Survival falls from 1 to 0.5 over three visits.")`. The same
    figure gives the same bytes each time, and it is closed, so that it is not displayed twice.

    Raises:
        ValueError: if `alt` is shorter than three words, which no picture worth showing can be told in.

    Examples:
        >>> figure, axes = plt.subplots()
        >>> _ = axes.plot([0, 1, 2], [1.0, 0.9, 0.72])
        >>> show(figure, alt="Survival falls from 1 to 0.72 in two visits.")
        Survival falls from 1 to 0.72 in two visits.
    """
    if len(alt.split()) < 3:
        raise ValueError(f"alt is {alt!r}; expected a sentence that says what the figure shows")
    buffer = io.StringIO()
    # The words salt the names inside the file: two figures on one page must not share them.
    with mpl.rc_context({"svg.hashsalt": alt, "svg.fonttype": "none"}):
        figure.savefig(
            buffer, format="svg", bbox_inches="tight", pad_inches=0.05, metadata={"Date": None, "Creator": None}
        )
    plt.close(figure)
    return Picture(_for_pages(buffer.getvalue(), alt), alt)


@explained
def fact(name: str, value: SupportsFloat) -> None:
    """Publish a number under a name: the notebook shows it, and pages may quote it as `[0.685](fact:name)`.

    Args:
        name: small letters, digits and underscores, beginning with a letter; one name, one number in all notebooks.
        value: one finite number.

    Raises:
        ValueError: if the name or the number is not as expected.

    Examples:
        >>> fact("censored_nll", 0.6851790109)
        censored_nll = 0.6851790109
        >>> fact("half", torch.tensor(0.5, requires_grad=True))
        half = 0.5
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"the name of a fact is {name!r}; expected small letters, digits and underscores")
    try:
        # A loss still carries its gradient; the number is wanted, and torch warns of taking it as it is.
        number = float(value.detach() if isinstance(value, torch.Tensor) else value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"the fact {name!r} is {value!r}; expected one number") from None
    if not math.isfinite(number):
        raise ValueError(f"the fact {name!r} is {number}; expected a finite number")
    record = _Fact(name, number)
    display = _notebook_display()
    if display is None:
        print(record)
    else:
        display(record)


class _Fact:
    def __init__(self, name: str, value: float) -> None:
        self.name = name
        self.value = value

    def __repr__(self) -> str:
        return f"{self.name} = {self.value:.10g}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/plain": repr(self), FACT_MIME: {"name": self.name, "value": self.value}}


def _notebook_display() -> Any:
    """IPython's `display` where a notebook is running, else None. IPython is no dependency of the package."""
    try:
        from IPython.core.getipython import get_ipython
        from IPython.display import display
    except ImportError:
        return None
    return display if get_ipython() is not None else None


def _for_pages(svg: str, alt: str) -> str:
    """One `<svg>` element that is labelled, needs no header, repeats no name and follows the colour scheme."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--vw-figure-font, 'DejaVu Sans', sans-serif)", svg)
    for colour, token in TOKENS.items():
        svg = re.sub(rf"((?:fill|stroke): ){colour}\b", rf"\1var(--vw-{token}, {colour})", svg)
    label = alt.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    # Black is what an SVG draws where nothing is said, so the ink is set once, at the top.
    style = "fill: var(--vw-ink, #1b1f24); stroke-linejoin: round; stroke-linecap: butt"
    opening = f'<svg role="img" aria-label="{label}" style="{style}"'
    return svg.replace("<svg", opening, 1).strip() + "\n"
