"""The colours of meaning: one value everywhere, readable as text, and told apart by readers who see fewer of them.

`python -m tests.test_colours` prints the distances and the contrasts.
"""

import re
from itertools import combinations

import numpy as np
import pytest

from tests.built import ROOT

TOKENS = ROOT / "src" / "visitwise" / "widgets" / "tokens.css"
DARK = ('[data-md-color-scheme="slate"]', '[data-jp-theme-light="false"]', "body.vscode-dark")
MEANINGS = ("hazard", "survival", "event-probability", "censored")
FILLS = ("hazard", "survival", "event-probability")  # what text of the class `on` stands on
MARKS = (*MEANINGS, "wrong", "ink", "muted")

# Machado, Oliveira and Fernandes (2009), "A Physiologically-based Model for Simulation of Color Vision Deficiency",
# IEEE Transactions on Visualization and Computer Graphics 15(6), table at severity 1.0; applied to linear RGB.
VISION = {
    "normal": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
# Linear RGB of IEC 61966-2-1 to CIE XYZ, and the white D65 that both are relative to.
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def tokens() -> dict[str, dict[str, str]]:
    """The colours by the selector that they are set for."""
    found: dict[str, dict[str, str]] = {}
    for selectors, rules in re.findall(r"([^{}]+)\{([^{}]*--vw[^{}]*)\}", _uncommented(TOKENS.read_text("utf-8"))):
        for selector in selectors.split(","):
            found[selector.strip()] = dict(re.findall(r"--vw-([\w-]+): (#[0-9a-f]{6});", rules))
    return found


def schemes() -> dict[str, dict[str, str]]:
    return {"light": tokens()[":root"], "dark": tokens()[DARK[0]]}


def linear(colour: str) -> np.ndarray:
    parts = np.array([int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2."""
    low, high = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def distance(one: str, other: str, vision: str) -> float:
    """CIE76: how far apart two colours are in CIELAB, for a reader with that vision."""
    return float(np.linalg.norm(_lab(one, vision) - _lab(other, vision)))


def _lab(colour: str, vision: str) -> np.ndarray:
    seen = np.clip(VISION[vision] @ linear(colour), 0, 1)
    x, y, z = TO_XYZ @ seen / TO_XYZ.sum(1)
    f = lambda t: np.cbrt(t) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29  # noqa: E731
    return np.array([116 * f(y) - 16, 500 * (f(x) - f(y)), 200 * (f(y) - f(z))])


def _uncommented(style: str) -> str:
    return re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL)


def test_colours_have_one_value_in_the_package_and_on_the_site() -> None:
    from visitwise import notebook, plots

    light = schemes()["light"]
    assert set(notebook.TOKENS.values()) <= set(light)
    assert {notebook.TOKENS.get(colour) for colour in light.values()} >= {"hazard", "survival", "wrong", "ink"}
    assert [colour for colour in plots.COLOURS.values() if colour not in notebook.TOKENS] == []


def test_jupyter_and_vs_code_have_the_sites_dark_colours() -> None:
    found = tokens()
    assert set(found) == {":root", *DARK}
    assert all(found[selector] == found[DARK[0]] for selector in DARK)
    assert set(found[DARK[0]]) == set(found[":root"])


def test_a_module_that_loads_before_the_colours_has_the_light_ones() -> None:
    """Each `var(--vw-name, #value)` of a figure repeats the light value."""
    light = schemes()["light"]
    for module in TOKENS.parent.glob("*.js"):
        for name, value in re.findall(r"var\(--vw-([\w-]+), (#\w+)\)", module.read_text(encoding="utf-8")):
            whole = value if len(value) == 7 else "#" + "".join(2 * digit for digit in value[1:])
            assert light[name] == whole, (module.name, name)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_colour_of_meaning_can_be_read_as_text_on_page_and_panel(scheme: str) -> None:
    colours = schemes()[scheme]
    pairs = [(name, ground) for name in set(colours) - {"page", "panel", "line"} for ground in ("page", "panel")]
    assert len(pairs) == 2 * len(MARKS)
    found = {(name, ground): contrast(colours[name], colours[ground]) for name, ground in pairs}
    assert {pair: ratio for pair, ratio in found.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_what_is_filled_with_a_colour_of_meaning(scheme: str) -> None:
    colours = schemes()[scheme]
    found = {name: contrast(colours["page"], colours[name]) for name in FILLS}
    assert {name: ratio for name, ratio in found.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_meanings_can_be_told_apart_whatever_colours_a_reader_sees(scheme: str, vision: str) -> None:
    colours = schemes()[scheme]
    found = {pair: distance(*(colours[name] for name in pair), vision) for pair in combinations(MEANINGS, 2)}
    assert {pair: far for pair, far in found.items() if far < 25} == {}


def test_the_simulation_takes_from_each_reader_the_colours_that_she_cannot_see() -> None:
    """Grey stays grey, and red and green come closer to each other for the first two, blue and green for the third."""
    for vision, matrix in VISION.items():
        np.testing.assert_allclose(matrix.sum(1), 1, atol=2e-5)
        assert distance("#808080", "#000000", vision) == pytest.approx(53.585, abs=0.01)
    assert distance("#ff0000", "#00aa00", "deutan") < distance("#ff0000", "#00aa00", "normal") / 2
    assert distance("#ff0000", "#00aa00", "protan") < distance("#ff0000", "#00aa00", "normal") / 2
    assert distance("#00aaaa", "#0088ff", "tritan") < distance("#00aaaa", "#0088ff", "normal") / 2


def test_pure_red_and_blue_are_where_every_table_has_them() -> None:
    np.testing.assert_allclose(_lab("#ff0000", "normal"), [53.24, 80.09, 67.20], atol=0.05)
    np.testing.assert_allclose(_lab("#0000ff", "normal"), [32.30, 79.19, -107.86], atol=0.05)


def report() -> str:
    lines = []
    for scheme, colours in schemes().items():
        lines += [f"{scheme}: distance (CIE76), at least 25" + "".join(f"{vision:>8}" for vision in VISION)]
        for one, other in combinations(MEANINGS, 2):
            far = [distance(colours[one], colours[other], vision) for vision in VISION]
            lines.append(f"  {one + ' - ' + other:<36}" + "".join(f"{number:8.1f}" for number in far))
        lines += [f"{scheme}: contrast (WCAG 2)            page   panel"]
        for name in MARKS:
            ratios = [contrast(colours[name], colours[ground]) for ground in ("page", "panel")]
            lines.append(f"  {name:<28}" + "".join(f"{ratio:8.2f}" for ratio in ratios))
    return "\n".join(lines)


if __name__ == "__main__":
    print(report())
