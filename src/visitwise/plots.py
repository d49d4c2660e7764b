"""One function per picture: it takes the data and an Axes, draws, and returns the Axes.

`plt.style.use("visitwise.survival")` sets sizes and ink for pages that are white or dark. Colours mean the same
everywhere, and a second sign always says it too: bars are hazards, a staircase is survival, a filled cross is an event,
a hollow circle with an arrow is a patient who was still event-free when follow-up ended.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from visitwise import metrics
from visitwise._checks import MOST, check_real, check_whole
from visitwise._explain import explained
from visitwise.cohort import Cohort

# Contrast 3.9 to 4.1 on white and on #1e2129 alike; see survival.mplstyle.
COLOURS = {
    "hazard": "#cb620f",
    "survival": "#2f7fdf",
    "event_probability": "#b066a4",
    "censored": "#11904d",
    "event": "#7a7f88",
    "muted": "#7a7f88",
    "wrong": "#e1465a",
}


@runtime_checkable
class HasHistory(Protocol):
    """What `training_history` reads: one value per epoch in each list."""

    @property
    def train_nll(self) -> Sequence[float]: ...

    @property
    def validation_nll(self) -> Sequence[float]: ...


@explained
def hazard_and_survival(
    hazard: Float[Tensor, " visit"],
    survival: Float[Tensor, " visit"],
    axes: Axes,
    *,
    observed: bool | None = None,
    true_hazard: Float[Tensor, " visit"] | None = None,
) -> Axes:
    """One patient's hazards as bars, the survival curve as a staircase, and how follow-up ended.

    Bar `k` is the interval after visit `k`; survival falls at its end.

    Args:
        hazard: Hazard of each row, up to the patient's last one; no padding.
        survival: Survival through each row.
        axes: Where to draw.
        observed: True marks the event in the last row, False marks a censored patient, None marks nothing.
        true_hazard: Drawn as ticks over the bars, if known.

    Raises:
        ValueError: The lengths differ, or a value is no probability.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> hazard, survival = torch.tensor([0.1, 0.2]), torch.tensor([0.9, 0.72])
        >>> axes = hazard_and_survival(hazard, survival, Figure().subplots(), observed=True)
        >>> [round(float(bar.get_height()), 3) for bar in axes.patches]
        [0.1, 0.2]
    """
    _check_curves(hazard, survival, true_hazard)
    n, h, s = len(hazard), _array(hazard), _array(survival)
    edges = np.arange(n + 1) - 0.5
    axes.bar(np.arange(n), h, width=0.7, color=COLOURS["hazard"])
    axes.step([*edges, n - 0.2], [1, *s, s[-1]], where="post", color=COLOURS["survival"], linewidth=2.5)
    if true_hazard is not None:
        truth = _array(true_hazard)
        axes.hlines(truth, np.arange(n) - 0.42, np.arange(n) + 0.42, color=COLOURS["muted"], linewidth=3)
        _label(axes, n - 0.55, truth[-1], "truth", "muted", (2, 0), va="center")
    if observed is not None:
        _mark_end(axes, n - 1 if observed else n - 0.2, [1, *s][-2] if observed else s[-1], observed)
    _label(axes, 0, h[0], "hazard", "hazard", (0, 5), ha="center")
    _label(axes, -0.5, 1.0, "survival", "survival", (2, 6))
    room = 0.1 if true_hazard is None else 0.1 + 0.08 * n  # for the word beside the last tick
    axes.set(xlim=(-0.6, n + room), ylim=(0, 1.12), yticks=[0, 0.5, 1], xlabel="visit", ylabel="probability")
    axes.set_xticks(range(0, n, 1 + n // 9))
    return axes


@explained
def timelines(cohort: Cohort, axes: Axes, *, patients: Sequence[int] | None = None) -> Axes:
    """One line a patient: visits as dots, rows at risk as a solid line, and how it ended.

    Visits before `start` are history only, those from `stop` on do not count: both are drawn muted and dotted. A cross
    is an event, inside its row; a hollow circle with an arrow is the end of follow-up without one.

    Args:
        cohort: The patients.
        axes: Where to draw.
        patients: Their positions, drawn from top to bottom; the first twelve if not given.

    Raises:
        ValueError: A position is outside the cohort, or there is none.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> from visitwise.cohort import Outcome
        >>> from visitwise.visits import Visits
        >>> visits = Visits.from_lists([[["pain"], ["stroke"]], [["pain"]]], day=[[0, 30], [0]])
        >>> cohort = Cohort(visits, Outcome.of(torch.tensor([2, 1]), torch.tensor([True, False])))
        >>> axes = timelines(cohort, Figure().subplots(), patients=[1])
        >>> axes.get_xlabel()
        'visit'
    """
    chosen = list(range(min(12, len(cohort)))) if patients is None else list(patients)
    if not chosen:
        raise ValueError("no patient is given; expected at least one")
    for position in chosen:
        check_whole(position, "one of patients", least=-MOST)
        if not 0 <= position < len(cohort):
            raise ValueError(
                f"position {position} is given for {len(cohort)} patients; expected 0 to {len(cohort) - 1}"
            )
    part = cohort.select(torch.tensor(chosen))
    for place in range(len(chosen)):
        _timeline(axes, part, place)
    axes.margins(x=0.06)
    axes.set(xlabel="visit", ylim=(len(chosen) - 0.4, -0.6))
    axes.set_yticks(range(len(chosen)), [str(int(who)) for who in part.visits.patient_id])
    axes.set_ylabel("patient")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return _whole(axes)


@explained
def training_history(
    history: HasHistory, axes: Axes, *, baseline: float | None = None, oracle: float | None = None
) -> Axes:
    """Negative log-likelihood by epoch, between what knows nothing and what knows all there is to know.

    Args:
        history: Lists `train_nll` (dashed) and `validation_nll` (solid), one value per epoch.
        axes: Where to draw.
        baseline: Level of a model that knows nothing of the patient, such as Kaplan-Meier by visit number.
        oracle: Level of the true hazards: no model gets below it other than by luck.

    Raises:
        ValueError: There is no epoch, or the two lists differ in length.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> from types import SimpleNamespace
        >>> history = SimpleNamespace(train_nll=[2.0, 1.5], validation_nll=[2.1, 1.7])
        >>> axes = training_history(history, Figure().subplots(), baseline=2.2)
        >>> [text.get_text() for text in axes.texts]
        ['training', 'validation', 'baseline']
    """
    train, validation = list(history.train_nll), list(history.validation_nll)
    if not train or len(train) != len(validation):
        raise ValueError(f"history has {len(train)} and {len(validation)} epochs; expected as many, at least one")
    epoch = np.arange(1, len(train) + 1)
    axes.plot(epoch, train, "--", color=COLOURS["hazard"])
    axes.plot(epoch, validation, "-", color=COLOURS["hazard"], linewidth=2.5)
    # The two often end close together: the upper one's word stands above its end, the lower one's below.
    above = train[-1] > validation[-1]
    for name, last, up in (("training", train[-1], above), ("validation", validation[-1], not above)):
        _label(axes, len(train), last, name, "hazard", (8, 1 if up else -1), va="bottom" if up else "top")
    axes.set_xlim(1 - 0.03 * len(train), 1 + 1.36 * len(train))
    for name, level, offset in (("baseline", baseline, 3), ("oracle", oracle, -3)):
        if level is not None:
            axes.hlines(level, 1, len(train), color=COLOURS["muted"], linestyle=":" if offset > 0 else "-")
            place = (len(train), "right", "bottom") if offset > 0 else (1, "left", "top")
            _label(axes, place[0], level, name, "muted", (0, offset), ha=place[1], va=place[2])
    axes.set(xlabel="epoch", ylabel="NLL per row")
    axes.margins(y=0.15)
    axes.set_xticks(range(1, len(train) + 1, 1 + len(train) // 6))
    return axes


@explained
def calibration(result: metrics.Calibration, axes: Axes, *, log: bool = False) -> Axes:
    """Observed against predicted hazard by group, each with its 95 % interval; true hazards lie on the line.

    Args:
        result: From `visitwise.metrics.calibration`.
        axes: Where to draw.
        log: Logarithmic axes, for hazards that differ by powers of ten; a group without an event shows its interval
            only.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> from visitwise.cohort import Outcome
        >>> outcome = Outcome.of(torch.tensor([2, 2]), torch.tensor([True, False]))
        >>> result = metrics.calibration(torch.tensor([[0.1, 0.4], [0.1, 0.2]]), outcome, bins=2)
        >>> axes = calibration(result, Figure().subplots())
        >>> axes.get_xlabel(), axes.get_ylabel()
        ('predicted hazard', 'observed hazard')
    """
    table = result.table
    predicted, observed = table["predicted"].to_numpy(), table["observed"].to_numpy()
    lower, upper = table["lower"].to_numpy(), table["upper"].to_numpy()
    top = float(max(predicted.max(), upper.max())) * 1.1
    seen = observed[observed > 0]
    bottom = 0.0 if not log else 0.7 * float(min(predicted[predicted > 0].min(initial=1), seen.min(initial=1)))
    _identity(axes, bottom, top, "line: as predicted", log, (0.98, 0.04), 0)
    if not log:
        axes.locator_params(nbins=5)
    axes.vlines(predicted, np.maximum(lower, bottom), upper, color=COLOURS["hazard"], linewidth=2)
    drawn = observed >= bottom  # zero has no place on a logarithmic axis
    axes.plot(predicted[drawn], observed[drawn], "o", color=COLOURS["hazard"], clip_on=False)
    axes.set(xlabel="predicted hazard", ylabel="observed hazard")
    return axes


@explained
def learned_against_true(learned: Float[Tensor, "*rows"], true: Float[Tensor, "*rows"], axes: Axes) -> Axes:
    """Learned against true hazard of every row, on logarithmic axes; the darker, the more rows.

    Args:
        learned: Learned hazards; NaN where there is no row.
        true: True hazards of the same rows.
        axes: Where to draw.

    Raises:
        ValueError: The shapes differ, or a hazard is not above 0 and at most 1.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> axes = learned_against_true(torch.tensor([0.1, 0.3]), torch.tensor([0.2, 0.3]), Figure().subplots())
        >>> axes.get_xlabel(), axes.get_xscale()
        ('true hazard', 'log')
    """
    if learned.shape != true.shape:
        raise ValueError(
            f"learned hazards have shape {list(learned.shape)}, true ones {list(true.shape)}; expected one"
        )
    known = ~(learned.isnan() | true.isnan())
    x, y = _array(true[known]), _array(learned[known])
    for name, values in (("true", x), ("learned", y)):
        if not (len(values) and ((values > 0) & (values <= 1)).all()):
            raise ValueError(f"{name} hazards include {_first_wrong(values)}; expected numbers above 0, at most 1")
    bottom, top = float(min(x.min(), y.min())) / 1.3, min(float(max(x.max(), y.max())) * 1.3, 1.0)
    extent = tuple(np.log10([bottom, top, bottom, top]))
    axes.hexbin(x, y, gridsize=32, xscale="log", yscale="log", bins="log", mincnt=1, cmap=_fading(), extent=extent)
    _identity(axes, bottom, top, "learned = true", True, (0.98, 0.04), 0)
    axes.set(xlabel="true hazard", ylabel="learned hazard")
    return axes


@explained
def estimates(
    values: Mapping[str, float],
    truth: float,
    axes: Axes,
    *,
    wrong: Sequence[str] = (),
    intervals: Mapping[str, tuple[float, float]] | None = None,
) -> Axes:
    """Estimates of one quantity, one a line, against the truth.

    Args:
        values: The estimates by name, drawn from top to bottom.
        truth: The true value.
        axes: Where to draw.
        wrong: Names of those that rest on a mistake; they are drawn as crosses and say so.
        intervals: Interval around an estimate, by name.

    Raises:
        ValueError: There is no estimate, or a name in `wrong` or `intervals` is not among them.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> values = {"the likelihood": 0.1, "row left out": 0.124}
        >>> axes = estimates(values, truth=0.1, axes=Figure().subplots(), wrong=["row left out"])
        >>> [text.get_text() for text in axes.texts]
        ['the likelihood 0.1', 'row left out 0.124 (wrong)', 'truth 0.1']
    """
    intervals = intervals or {}
    unknown = [name for name in (*wrong, *intervals) if name not in values]
    if unknown or not values:
        raise ValueError(f"there are estimates of {list(values)}; expected some, {unknown} among them")
    for name, value in (*values.items(), ("truth", truth)):
        check_real(value, name)
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value!r}; expected a finite number")
    for place, (name, value) in enumerate(values.items()):
        role, sign, remark = ("wrong", "X", " (wrong)") if name in wrong else ("survival", "o", "")
        axes.vlines(truth, place - 0.22, place + 0.22, color=COLOURS["muted"], linewidth=3, alpha=0.6)
        axes.hlines(place, *intervals.get(name, (value, value)), color=COLOURS[role])
        axes.plot(value, place, sign, color=COLOURS[role])
        axes.text(
            0.0, place - 0.3, f"{name} {value:.4g}{remark}", color=COLOURS[role], transform=axes.get_yaxis_transform()
        )
    _label(axes, truth, len(values) - 0.72, f"truth {truth:g}", "muted", (0, -2), ha="center", va="top")
    axes.set(ylim=(len(values) - 0.3, -0.7), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)
    axes.margins(x=0.15)
    return axes


# ------------------------------------------------------------------------------------------------------------ parts


def _timeline(axes: Axes, cohort: Cohort, place: int) -> None:
    """One patient of `timelines`."""
    outcome = cohort.outcome
    start, stop = int(outcome.start[place]), int(outcome.stop[place])
    visits = np.arange(int(cohort.visits.length[place]))
    counted = (visits >= start) & (visits < stop)
    observed = bool(outcome.observed[place])
    end = stop - 0.5 if observed else stop - 1 + outcome.censored_exposure[place].item()
    muted: dict[str, Any] = {"color": COLOURS["muted"], "alpha": 0.6}
    if start > 0:
        axes.plot([0, start], [place, place], ":", linewidth=1.5, **muted)
    if visits[-1] >= stop:
        axes.plot([end, visits[-1]], [place, place], ":", linewidth=1.5, **muted)
    axes.plot([start, end], [place, place], "-", color=COLOURS["survival"])
    axes.plot(visits[counted], np.full(counted.sum(), place), "o", color=COLOURS["survival"], markersize=5)
    axes.plot(visits[~counted], np.full((~counted).sum(), place), "o", markersize=4, markerfacecolor="none", **muted)
    _mark_end(axes, end, place, observed)


def _mark_end(axes: Axes, x: float, y: float, observed: bool) -> None:
    """Filled cross for an event, hollow circle and arrow for a patient still event-free."""
    if observed:
        axes.plot(x, y, "X", color=COLOURS["event"], markersize=11, clip_on=False, zorder=4)
        return
    colour = COLOURS["censored"]
    arrow = {"arrowstyle": "<-", "color": colour, "linewidth": 2, "shrinkA": 0, "shrinkB": 5}
    axes.annotate("", (x, y), (26, 0), textcoords="offset points", arrowprops=arrow, annotation_clip=False)
    axes.plot(x, y, "o", markerfacecolor="none", markeredgecolor=colour, markeredgewidth=2, clip_on=False, zorder=4)


def _label(
    axes: Axes, x: float, y: float, text: str, role: str, offset: tuple[int, int], ha: str = "left", va: str = "bottom"
) -> None:
    """Words beside what they name, in its colour; `offset` in points."""
    axes.annotate(
        text, (x, y), offset, textcoords="offset points", color=COLOURS[role], ha=ha, va=va, annotation_clip=False
    )


def _identity(
    axes: Axes, bottom: float, top: float, text: str, log: bool, where: tuple[float, float], rotation: int
) -> None:
    """Square axes from `bottom` to `top` with the diagonal, named in the corner below it."""
    if log:
        axes.set(xscale="log", yscale="log")
    axes.plot([bottom, top], [bottom, top], color=COLOURS["muted"], linewidth=1.5)
    axes.set(xlim=(bottom, top), ylim=(bottom, top))
    axes.set_box_aspect(1)
    style: dict[str, Any] = {"color": COLOURS["muted"], "rotation": rotation, "va": "top" if rotation else "bottom"}
    axes.annotate(text, where, xycoords="axes fraction", ha="right", **style)


def _whole(axes: Axes) -> Axes:
    """Whole numbers only along the axis of visits."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1))
    return axes


def _fading(role: str = "hazard") -> LinearSegmentedColormap:
    """From almost transparent to the full colour, so that it reads on any page."""
    return LinearSegmentedColormap.from_list(role, [to_rgba(COLOURS[role], 0.15), to_rgba(COLOURS[role], 1.0)])


def _array(values: Tensor) -> NDArray[np.float64]:
    if values.is_complex():
        raise TypeError(f"{values.dtype} is given; expected real numbers")
    return np.asarray(values.detach().cpu().double())


def _first_wrong(values: NDArray[np.float64]) -> str:
    wrong = values[~((values > 0) & (values <= 1))]
    return f"{wrong[0]:g}" if len(wrong) else "no row"


def _check_curves(hazard: Tensor, survival: Tensor, true_hazard: Tensor | None) -> None:
    for name, values in (("hazard", hazard), ("survival", survival), ("true_hazard", true_hazard)):
        if values is None:
            continue
        if values.dim() != 1 or len(values) == 0 or values.shape != hazard.shape:
            raise ValueError(f"{name} has shape {list(values.shape)}; expected one number for each row of one patient")
        wrong = ~((values >= 0) & (values <= 1))
        if bool(wrong.any()):
            where = int(wrong.nonzero()[0])
            raise ValueError(f"{name} in row {where} is {values[where].item():g}; expected a probability from 0 to 1")
