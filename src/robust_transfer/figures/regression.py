"""Relative improvements against each other, with the line fitted to them."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import DegenerateDataWarning, bootstrap, linregress

from robust_transfer.figures.cells import is_starred, starred
from robust_transfer.figures.labels import Label, error_bars, place_labels
from robust_transfer.figures.style import FEW, canvas, in_style, shown

RESAMPLES = 2000
"""Of an interval; its ends then vary by about 0.01 with the seed."""


@in_style
def regression(frame: pd.DataFrame, spec: dict[str, Any], tensors: dict[str, np.ndarray]) -> Figure:
    """A panel a start; a point a row (task): what pre-training adds to one metric against what it adds to another.

    Vaishnavi figures 2 and 3. Improvements are relative to random initialisation, in per cent. R² stands over the
    panel, with the line's direction and a 95 % interval, see `interval`. Error bars where the cells have intervals, see
    `improvement`. Rows that are not the paper's have a star and open markers, and do not count in the fit.

    frame: one cell a row and column, with the columns of tables 2 and 3, measured or printed.
    spec: title, measured, panels: [{title, x: [column before, column after], y: the same, x_label, y_label}].
    """
    columns = {column for panel in spec["panels"] for column in (*panel["x"], *panel["y"])}
    frame = starred(frame[frame.column.isin(columns)], "row")
    wide = frame.pivot(index="row", columns="column").reindex(frame.row.unique())
    across = min(len(spec["panels"]), 2)
    figure, panels = canvas(spec, -(-len(spec["panels"]) // across), across, 3.5, 3.1)
    drawn = [_panel(axis, wide, panel) for axis, panel in zip(panels.flat, spec["panels"], strict=False)]
    for axis in panels.flat[len(drawn) :]:
        axis.remove()
    figure.draw_without_rendering()
    for axis, (labels, lines) in zip(panels.flat, drawn, strict=False):
        place_labels(axis, labels, lines)
    return figure


def improvement(wide: pd.DataFrame, before: str, after: str) -> tuple[np.ndarray, np.ndarray]:
    """100 * (after / before - 1) of each row, and how far its 95 % interval reaches to either side.

    The reach takes the two values as independent and small errors as linear; NaN where a cell has no interval. Both
    models see the same test images, so that it is rather too wide.
    """
    numbers = wide[["value", "ci_low", "ci_high"]].astype(float)
    values_of = {name: numbers.xs(name, axis=1, level=1) for name in (before, after)}
    half = {name: (each.ci_high - each.ci_low) / 2 for name, each in values_of.items()}
    ratio = values_of[after].value / values_of[before].value
    relative = np.hypot(half[after] / values_of[after].value, half[before] / values_of[before].value)
    return np.asarray(100 * (ratio - 1)), np.asarray(100 * ratio * relative)


def r_squared(x: np.ndarray, y: np.ndarray) -> float:
    """Squared correlation of the pairs without NaN; NaN where there are fewer than three or all x or y are equal."""
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < 3 or np.ptp(x[known]) == 0 or np.ptp(y[known]) == 0:
        return np.nan
    return float(linregress(x[known], y[known]).rvalue ** 2)


def interval(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of r_squared: percentiles of a bootstrap over the pairs (Efron & Tibshirani 1993, section
    13.3), which takes the tasks as drawn from many. Resamples without a line are passed over.
    """
    known = np.isfinite(x) & np.isfinite(y)
    # All resamples at once, which linregress cannot.
    with np.errstate(invalid="ignore"), warnings.catch_warnings(category=DegenerateDataWarning, action="ignore"):
        found = bootstrap(
            (x[known], y[known]), _squared, paired=True, n_resamples=RESAMPLES, method="percentile", rng=0
        )
    low, high = np.nanpercentile(found.bootstrap_distribution, [2.5, 97.5])
    return float(low), float(high)


def _squared(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    """The squared correlation along an axis; NaN where all x or y are equal."""
    x, y = (each - each.mean(axis, keepdims=True) for each in (x, y))
    return (x * y).sum(axis) ** 2 / ((x**2).sum(axis) * (y**2).sum(axis))


def _panel(axis: Axes, wide: pd.DataFrame, panel: dict[str, Any]) -> tuple[list[Label], list[np.ndarray]]:
    """Draw a panel; the names of its points, and the lines that these names are to keep clear of."""
    (x, spread), (y, reach) = (improvement(wide, *panel[side]) for side in "xy")
    finite = np.isfinite(x) & np.isfinite(y)
    known = finite & np.array([not is_starred(row) for row in wide.index])
    fit = r_squared(x[known], y[known])
    line = np.full((2, 2), np.nan)
    if np.isfinite(fit):
        slope, intercept, *_ = linregress(x[known], y[known])
        ends = np.array([x[known].min(), x[known].max()])
        line = np.stack([ends, intercept + slope * ends], axis=1)
    axis.axhline(0, color="0.8", lw=0.6, zorder=0)
    axis.axvline(0, color="0.8", lw=0.6, zorder=0)
    axis.errorbar(x, y, reach, spread, fmt="none", ecolor="0.8", elinewidth=0.7, zorder=1)
    axis.plot(*line.T, color=FEW[1], zorder=2)
    axis.plot(x[known], y[known], "o", color=FEW[0], mec="white", mew=0.5, zorder=3)
    if (own := finite & ~known).any():
        axis.plot(x[own], y[own], "o", mfc="white", mec=FEW[0], zorder=3)
    axis.margins(0.14, 0.1)
    axis.set(xlabel=panel["x_label"], ylabel=panel["y_label"])
    title = "$R^2$ not defined"
    if np.isfinite(fit):
        low, high = interval(x[known], y[known])
        title = f"{'rising' if slope > 0 else 'falling'}, $R^2$ = {fit:.2f} ({low:.2f} to {high:.2f})"
    axis.set_title(f"{shown(panel['title'])}\n{title}, n = {known.sum()}".lstrip())
    names = [Label(*point) for point in zip(x[finite], y[finite], wide.index[finite], strict=True)]
    return names, [line, error_bars(x, y, spread, reach)]
