"""The picture of a page that is shown where its link is shared, drawn here: nothing is asked of a card service."""

import io
import re
import textwrap
from pathlib import PurePosixPath

WIDTH, HEIGHT, DOTS = 1200, 630, 100
HAZARDS = (0.05, 0.08, 0.15, 0.40, 0.12, 0.2)


def path(uri: str) -> str:
    """Where the card of a page lies in the site."""
    return f"assets/cards/{PurePosixPath(uri).with_suffix('').as_posix().replace('/', '-')}.png"


def colours(tokens: str) -> dict[str, str]:
    """The light colours by their meaning, from the text of `tokens.css`."""
    found: dict[str, str] = {}
    for name, value in re.findall(r"--vw-([\w-]+): (#[0-9a-f]{6})", tokens):
        found.setdefault(name, value)
    return found


def draw(site: str, heading: str, line: str, colours: dict[str, str]) -> bytes:
    """A PNG of 1200 by 630 pixels, the same bytes for the same words.

    Args:
        site: the site's name, small, on top.
        heading: the page's, on three lines at most.
        line: one sentence at the bottom.
        colours: by their meaning.
    """
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    size, width = (42, 25) if len(heading) <= 50 else (33, 32)
    ink, muted, hazard = colours["ink"], colours["muted"], colours["hazard"]
    with plt.style.context("default"):
        figure = plt.figure(figsize=(WIDTH / DOTS, HEIGHT / DOTS), dpi=DOTS, facecolor=colours["page"])
        figure.text(0.06, 0.87, site, fontsize=26, color=hazard, weight="bold", va="center")
        title = "\n".join(textwrap.wrap(heading, width, break_on_hyphens=False)[:3])
        figure.text(0.06, 0.77, title, fontsize=size, color=ink, weight="bold", va="top", linespacing=1.2)
        figure.text(0.06, 0.1, "\n".join(textwrap.wrap(line, 80)), fontsize=17, color=muted, va="center")
        axes = figure.add_axes((0.06, 0.19, 0.88, 0.2))
        survival = [1.0]
        for each in HAZARDS:
            survival.append(survival[-1] * (1 - each))
        axes.step(range(len(survival)), survival, where="post", color=colours["survival"], linewidth=5)
        axes.bar([k + 0.5 for k in range(len(HAZARDS))], HAZARDS, width=0.8, color=hazard)
        axes.set_xlim(0, len(HAZARDS))
        axes.axis("off")
        written = io.BytesIO()
        figure.savefig(written, format="png", facecolor=colours["page"], metadata={"Software": None})
        plt.close(figure)
    return written.getvalue()
