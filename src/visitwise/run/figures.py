"""The pictures of a run, each with the sentence that a reader who cannot see it hears instead."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import binomtest

from visitwise import plots
from visitwise.metrics import Calibration
from visitwise.notebook import show
from visitwise.run.scores import LIFE_TABLE, Scores, difference
from visitwise.run.whole import write_text
from visitwise.training import History

FIGURES = "figures"
FEWEST_ROWS = 50  # of a visit number that is drawn
WIDE = 1.96  # standard errors each way


def draw_history(folder: Path, history: History, baseline: float | None) -> None:
    """Write `figures/training.svg`: negative log-likelihood by epoch, and that of the life table."""
    best = history.best_epoch
    alt = (
        f"Training took {len(history.train_nll)} epochs. NLL per row of the training patients went from "
        f"{history.train_nll[0]:.4f} to {history.train_nll[-1]:.4f}, of the tuning patients from "
        f"{history.validation_nll[0]:.4f} to {history.validation_nll[-1]:.4f}; it was lowest, "
        f"{history.validation_nll[best]:.4f}, in epoch {best + 1}, whose weights are kept."
    )
    if baseline is not None:
        alt += f" The dotted line is the life table, {baseline:.4f}."
    _draw(folder, "training", alt, lambda axes: plots.training_history(history, axes, baseline=baseline))


def draw_scores(folder: Path, name: str, scores: Scores) -> None:
    """Write the pictures of one set of judges: calibration, hazards by visit, and the differences to the baselines."""
    result, yours = scores.calibration[scores.yours], scores.yours
    _draw(folder, f"{slug(name)}-calibration", _calibration_in_words(result, yours), lambda a: _calibration(result, a))
    per_visit = result.per_visit[result.per_visit["rows"] >= FEWEST_ROWS]
    path = folder / FIGURES / f"{slug(name)}-hazards.svg"
    if len(per_visit) > 1:
        _draw(folder, path.stem, _hazards_in_words(per_visit, yours), lambda a: _by_visit(per_visit, a))
    else:
        path.unlink(missing_ok=True)
    models = scores.record["models"]
    others = {other: one for other, one in models.items() if other != yours}
    path = folder / FIGURES / f"{slug(name)}-differences.svg"
    if others:
        alt = _differences_in_words(others, yours)
        _draw(folder, path.stem, alt, lambda a: _differences(others, yours, a), height=1.2 + 0.9 * len(others))
    else:
        path.unlink(missing_ok=True)


def slug(name: str) -> str:
    """A name as part of a file's name.

    Examples:
        >>> slug("held out")
        'held-out'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "x"


def _draw(folder: Path, name: str, alt: str, paint: Callable[[Axes], object], height: float = 3.8) -> None:
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    with plt.style.context("visitwise.survival"):
        figure = Figure(figsize=(5.2, height))
        paint(figure.subplots())
        write_text(folder / FIGURES / f"{name}.svg", show(figure, alt).svg)


def _calibration(result: Calibration, axes: Axes) -> None:
    plots.calibration(result, axes)


def _calibration_in_words(result: Calibration, yours: str) -> str:
    first, last = result.table.iloc[0], result.table.iloc[-1]
    inside = int(
        ((result.table.lower <= result.table.predicted) & (result.table.predicted <= result.table.upper)).sum()
    )
    return (
        f"Calibration of the {yours} in {len(result.table)} groups of rows, from "
        f" {first.predicted:.4f} (observed {first.observed:.4f}) to {last.predicted:.4f} "
        f"(observed {last.observed:.4f}). In {inside} of them the 95 % interval of the observed holds the predicted."
    )


def _by_visit(table: pd.DataFrame, axes: Axes) -> None:
    visit, observed = table["visit"].to_numpy() + 1, table["observed"].to_numpy()
    intervals = np.array(list(_intervals(table)))
    colour = plots.COLOURS["hazard"]
    axes.vlines(visit, intervals[:, 0], intervals[:, 1], color=plots.COLOURS["muted"], linewidth=2)
    axes.plot(visit, observed, "o", color=plots.COLOURS["muted"], label="observed", markersize=7)
    axes.plot(visit, table["predicted"], "-", color=colour, linewidth=2.5, label="predicted")
    axes.set(xlabel="visit", ylabel="hazard", ylim=(0, None), xlim=(0.4, None))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.locator_params(axis="y", nbins=5)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)


def _intervals(table: pd.DataFrame) -> Iterator[tuple[float, float]]:
    for events, rows in zip(table["events"], table["rows"], strict=True):
        both = binomtest(int(events), int(rows)).proportion_ci(method="wilson")
        yield both.low, both.high


def _hazards_in_words(table: pd.DataFrame, yours: str) -> str:
    intervals = list(_intervals(table))
    inside = sum(low <= mean <= high for (low, high), mean in zip(intervals, table["predicted"], strict=True))
    first, last = table.iloc[0], table.iloc[-1]
    return (
        f"Mean hazard by visit: at visit {int(first.visit) + 1} the {yours} expects {first.predicted:.4f} and "
        f"{first.observed:.4f} was observed; at visit {int(last.visit) + 1} it expects {last.predicted:.4f} and "
        f"{last.observed:.4f} was observed. At {inside} of {len(table)} visits the 95 % interval holds the mean."
    )


def _differences(others: Mapping[str, Mapping[str, Any]], yours: str, axes: Axes) -> None:
    for place, (name, one) in enumerate(others.items()):
        reach, colour = WIDE * (one["error"] or 0.0), plots.COLOURS["survival"]
        axes.hlines(place, one["more_nll"] - reach, one["more_nll"] + reach, color=colour)
        axes.plot(one["more_nll"], place, "o", color=colour)
        axes.text(0.0, place - 0.2, name, color=colour, transform=axes.get_yaxis_transform(), va="bottom")
    axes.axvline(0, color=plots.COLOURS["muted"], linewidth=1.5)
    axes.set(ylim=(len(others) - 0.4, -0.8), yticks=[], xlabel=f"more NLL per row than the {yours}")
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=3)
    axes.margins(x=0.12)


def _differences_in_words(others: Mapping[str, Mapping[str, Any]], yours: str) -> str:
    each = [f"{name} {difference(one)}" for name, one in others.items()]
    return f"How much more NLL per row the others have than the {yours}, ± its standard error: {'; '.join(each)}."


def baseline_of(record: Mapping[str, Any]) -> float | None:
    """NLL per row of the life table, if it was judged.

    Examples:
        >>> baseline_of({"models": {"LSTM": {"nll": 0.3}}}) is None
        True
    """
    nll: float | None = record["models"].get(LIFE_TABLE, {}).get("nll")
    return nll
