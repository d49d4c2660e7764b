"""What each picture shows: where the marks stand, what is written beside them, and that it reads on any page."""

from collections.abc import Iterator
from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from scipy.stats import binomtest

from visitwise import metrics, plots
from visitwise.cohort import Cohort, Outcome
from visitwise.visits import Visits

PAGES = {"light": "#ffffff", "dark": "#1e2129"}
HAZARD = torch.tensor([0.1, 0.2, 0.3])
SURVIVAL = (1 - HAZARD).cumprod(0)


@pytest.fixture
def axes() -> Iterator[Axes]:
    with plt.style.context("visitwise.survival"):
        figure, axes = plt.subplots()
        yield axes
        figure.canvas.draw()  # a picture that cannot be drawn fails here
        plt.close(figure)


def words(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_text()]


def marks(axes: Axes, marker: str) -> list[tuple[float, float]]:
    lines = [line for line in axes.lines if line.get_marker() == marker]
    return [(float(x), float(y)) for line in lines for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


def end_marks(axes: Axes) -> list[tuple[float, float]]:
    """Hollow circles of censored patients; visits are circles of other colours."""
    ends = [line for line in axes.lines if to_hex(line.get_markeredgecolor()) == plots.COLOURS["censored"]]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in ends]


def arrows(axes: Axes) -> int:
    return sum(text.arrow_patch is not None for text in axes.texts)


def small_cohort() -> Cohort:
    """An event in row 2; censored after row 1 with a visit to spare; two visits of history and half an interval."""
    lengths = [3, 3, 4]
    visits = Visits.from_lists([[["a"]] * n for n in lengths], [list(range(n)) for n in lengths], patient_id=[7, 8, 9])
    outcome = Outcome.of(
        stop=torch.tensor([3, 2, 4]),
        observed=torch.tensor([True, False, False]),
        start=torch.tensor([0, 0, 2]),
        censored_exposure=torch.tensor([1.0, 1.0, 0.5]),
    )
    return Cohort(visits, outcome)


# ------------------------------------------------------------------------------------------------------ one patient


def test_bars_are_hazards_and_the_staircase_is_survival(axes: Axes) -> None:
    assert plots.hazard_and_survival(HAZARD, SURVIVAL, axes) is axes
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([0.1, 0.2, 0.3])
    stairs = axes.lines[0]
    assert stairs.get_drawstyle() == "steps-post"
    assert list(stairs.get_ydata()) == pytest.approx([1, 0.9, 0.72, 0.504, 0.504])
    assert list(stairs.get_xdata())[:4] == [-0.5, 0.5, 1.5, 2.5]
    assert words(axes) == ["hazard", "survival"]
    assert axes.get_legend() is None


def test_an_event_is_a_cross_in_the_last_row_and_a_censoring_a_circle_with_an_arrow_after_it(axes: Axes) -> None:
    plots.hazard_and_survival(HAZARD, SURVIVAL, axes, observed=True)
    assert marks(axes, "X") == [(2.0, pytest.approx(0.72))]
    assert arrows(axes) == 0
    plots.hazard_and_survival(HAZARD, SURVIVAL, axes, observed=False)
    ((x, y),) = end_marks(axes)
    assert x > 2.5
    assert y == pytest.approx(0.504)
    assert arrows(axes) == 1


def test_the_truth_is_drawn_across_the_bars_and_named(axes: Axes) -> None:
    plots.hazard_and_survival(HAZARD, SURVIVAL, axes, true_hazard=torch.tensor([0.15, 0.1, 0.4]))
    heights = [segment[0][1] for segment in axes.collections[0].get_segments()]
    assert heights == pytest.approx([0.15, 0.1, 0.4])
    assert "truth" in words(axes)


@pytest.mark.parametrize("n", [1, 2, 10, 60])
def test_ticks_of_visits_are_whole_visits_of_this_patient(axes: Axes, n: int) -> None:
    plots.hazard_and_survival(torch.full((n,), 0.1), torch.full((n,), 0.9).cumprod(0), axes)
    ticks = axes.get_xticks()
    assert all(float(tick).is_integer() and 0 <= tick < n for tick in ticks)
    assert 1 <= len(ticks) <= 9


def test_curves_that_are_no_probabilities_or_differ_in_length_are_refused(axes: Axes, unchecked: None) -> None:
    with pytest.raises(ValueError, match=r"hazard in row 1 is -2; expected a probability"):
        plots.hazard_and_survival(torch.tensor([0.1, -2.0, 0.3]), SURVIVAL, axes)
    with pytest.raises(ValueError, match=r"survival in row 2 is nan"):
        plots.hazard_and_survival(HAZARD, torch.tensor([0.9, 0.7, torch.nan]), axes)
    with pytest.raises(ValueError, match=r"survival has shape \[2\]; expected one number for each row"):
        plots.hazard_and_survival(HAZARD, SURVIVAL[:2], axes)
    with pytest.raises(ValueError, match=r"hazard has shape \[1, 3\]"):
        plots.hazard_and_survival(HAZARD[None], SURVIVAL[None], axes)


# -------------------------------------------------------------------------------------------------------- timelines


def test_each_line_ends_where_follow_up_did(axes: Axes) -> None:
    assert plots.timelines(small_cohort(), axes) is axes
    assert marks(axes, "X") == [(2.5, 0.0)]  # inside row 2, which begins at visit 2
    assert end_marks(axes) == [(2.0, 1.0), (3.5, 2.0)]  # at the end of row 1; half way through row 3
    assert arrows(axes) == 2
    assert [label.get_text() for label in axes.get_yticklabels()] == ["7", "8", "9"]


def test_history_and_visits_after_the_end_are_muted_and_dotted(axes: Axes) -> None:
    plots.timelines(small_cohort(), axes)
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [(*map(float, line.get_xdata()), float(line.get_ydata()[0])) for line in dotted] == [(2, 2, 1), (0, 2, 2)]
    assert {to_hex(line.get_color()) for line in dotted} == {plots.COLOURS["muted"]}
    at_risk = [
        line.get_xdata().tolist()
        for line in axes.lines
        if line.get_marker() == "o" and to_hex(line.get_color()) == plots.COLOURS["survival"]
    ]
    assert at_risk == [[0, 1, 2], [0, 1], [2, 3]]


def test_chosen_patients_are_drawn_in_the_order_asked_for(axes: Axes) -> None:
    plots.timelines(small_cohort(), axes, patients=[2, 0])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["9", "7"]
    assert marks(axes, "X") == [(2.5, 1.0)]


@pytest.mark.parametrize(("patients", "message"), [([], "no patient is given"), ([3], "position 3 is given for 3")])
def test_timelines_of_nobody_are_refused(axes: Axes, patients: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plots.timelines(small_cohort(), axes, patients=patients)


# --------------------------------------------------------------------------------------------- training and scoring


@pytest.mark.parametrize("epochs", [1, 3, 40])
def test_training_history_has_both_curves_both_levels_and_their_names(axes: Axes, epochs: int) -> None:
    train, validation = [0.1 / (1 + k) for k in range(epochs)], [0.1 / (1 + k) + 0.01 for k in range(epochs)]
    history = SimpleNamespace(train_nll=train, validation_nll=validation)
    assert plots.training_history(history, axes, baseline=0.15, oracle=0.002) is axes
    assert [list(line.get_ydata()) for line in axes.lines] == [train, validation]
    assert [line.get_linestyle() for line in axes.lines] == ["--", "-"]
    assert [segments.get_segments()[0][0][1] for segments in axes.collections] == [0.15, 0.002]
    assert sorted(words(axes)) == ["baseline", "oracle", "training", "validation"]
    assert all(float(tick).is_integer() and 1 <= tick <= epochs for tick in axes.get_xticks())


def test_a_history_without_epochs_is_refused(axes: Axes) -> None:
    with pytest.raises(ValueError, match="history has 0 and 0 epochs"):
        plots.training_history(SimpleNamespace(train_nll=[], validation_nll=[]), axes)
    with pytest.raises(ValueError, match="history has 2 and 1 epochs"):
        plots.training_history(SimpleNamespace(train_nll=[1.0, 2.0], validation_nll=[1.0]), axes)


@pytest.mark.parametrize("log", [False, True])
def test_calibration_points_are_the_groups_of_the_table(axes: Axes, log: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    hazard = torch.rand(2000, 1, generator=draw) * 0.4 + 0.01
    event = torch.rand(2000, generator=draw) < hazard[:, 0]
    result = metrics.calibration(hazard, Outcome.of(torch.ones(2000, dtype=torch.long), event), bins=5)
    assert plots.calibration(result, axes, log=log) is axes
    expected = list(zip(result.table["predicted"], result.table["observed"], strict=True))
    assert marks(axes, "o") == expected
    assert len(axes.collections[0].get_segments()) == 5
    assert axes.get_xscale() == axes.get_yscale() == ("log" if log else "linear")
    assert axes.get_xlim() == axes.get_ylim()


def test_calibration_of_groups_without_any_event_can_be_drawn_on_logarithmic_axes(axes: Axes) -> None:
    outcome = Outcome.of(torch.ones(20, dtype=torch.long), torch.zeros(20, dtype=torch.bool))
    plots.calibration(metrics.calibration(torch.full((20, 1), 0.01), outcome), axes, log=True)
    assert axes.get_xlim()[0] > 0
    assert marks(axes, "o") == []
    ((bottom, top),) = [segment[:, 1].tolist() for segment in axes.collections[0].get_segments()]
    assert (bottom, top) == (axes.get_ylim()[0], pytest.approx(binomtest(0, 20).proportion_ci(method="wilson").high))


def test_learned_stands_against_true_with_the_line_of_equals(axes: Axes) -> None:
    draw = torch.Generator().manual_seed(0)
    true = torch.rand(50, 4, generator=draw) * 0.2 + 0.01
    learned = torch.where(torch.arange(4) < 3, true * 2, torch.nan)
    assert plots.learned_against_true(learned, true, axes) is axes
    cells = axes.collections[0]
    assert int(np.asarray(cells.get_array()).sum()) == 150  # padding is left out
    true_log10, learned_log10 = cells.get_offsets().T
    assert np.median(learned_log10 - true_log10) == pytest.approx(np.log10(2), abs=0.06)
    assert axes.get_ylabel() == "learned hazard"
    assert axes.lines[0].get_xdata().tolist() == axes.lines[0].get_ydata().tolist()


def test_learned_hazards_that_cannot_stand_on_logarithmic_axes_are_refused(axes: Axes, unchecked: None) -> None:
    with pytest.raises(ValueError, match="learned hazards include 0; expected numbers above 0"):
        plots.learned_against_true(torch.tensor([0.0, 0.1]), torch.tensor([0.1, 0.1]), axes)
    with pytest.raises(ValueError, match=r"shape \[2\], true ones \[3\]"):
        plots.learned_against_true(torch.ones(2), torch.ones(3), axes)


def test_a_wrong_estimate_is_a_cross_and_says_so(axes: Axes) -> None:
    values = {"correct": 0.1002, "censored row dropped": 0.1129}
    plots.estimates(values, 0.1, axes, wrong=["censored row dropped"], intervals={"correct": (0.0985, 0.1019)})
    assert marks(axes, "X") == [(0.1129, 1.0)]
    assert marks(axes, "o") == [(0.1002, 0.0)]
    assert words(axes) == ["correct 0.1002", "censored row dropped 0.1129 (wrong)", "truth 0.1"]
    with pytest.raises(ValueError, match="'mistake'"):
        plots.estimates(values, 0.1, axes, wrong=["mistake"])


# ------------------------------------------------------------------------------------------------- on any page


def luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("page", PAGES)
def test_every_colour_and_the_ink_stand_out_from_both_pages(page: str) -> None:
    with plt.style.context("visitwise.survival"):
        ink = [matplotlib.rcParams[name] for name in ("text.color", "axes.labelcolor", "xtick.color", "axes.edgecolor")]
    for colour in (*plots.COLOURS.values(), *map(to_hex, ink)):
        darker, lighter = sorted((luminance(colour), luminance(PAGES[page])))
        assert (lighter + 0.05) / (darker + 0.05) > 3.9, colour


def test_words_are_12_pixels_high_in_a_figure_360_pixels_wide_and_the_ground_is_transparent() -> None:
    with plt.style.context("visitwise.survival"):
        points = matplotlib.rcParams["font.size"]
        assert points / 72 / matplotlib.rcParams["figure.figsize"][0] * 360 >= 12
        assert {matplotlib.rcParams[f"{part}.labelsize"] for part in ("axes", "xtick", "ytick")} == {points}
        assert matplotlib.rcParams["figure.facecolor"] == matplotlib.rcParams["axes.facecolor"] == "none"
