"""Points of one metric against others, with their correlations."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import pearsonr, spearmanr

from robust_transfer.figures.cells import Cells, cells, is_starred, starred
from robust_transfer.figures.style import canvas, colours, in_style, legend, markers


@in_style
def scatter(frame: pd.DataFrame, spec: dict[str, Any], tensors: dict[str, np.ndarray]) -> Figure:
    """A panel a metric on the x axis; a point a row (method, by colour) and column (data set, by marker).

    Renofeation figure 2: attack success rate against weight distance and feature distance. The correlations stand over
    each panel. The x axis is logarithmic where its values span over two decades; where some of them are 0 as well (a
    frozen network's distance to its source), it is linear below the least power of ten.

    spec: title, measured, y: {metric, label}, x: [{metric, label}], rows and columns: what these are,
        Method and Data set unless given.
    Rows and columns that are not the paper's have a star and open markers, and do not count in the correlations.
    """
    frame = starred(frame, "row", "column")
    found = cells(frame, [quantity["metric"] for quantity in (spec["y"], *spec["x"])])
    y = found[spec["y"]["metric"]]
    colour, marker = colours(y.value.index), markers(y.value.columns)
    figure, panels = canvas(spec, 1, len(spec["x"]), 2.9, 2.6, sharey=True)
    for axis, quantity in zip(panels.flat, spec["x"], strict=True):
        x = found[quantity["metric"]]
        for row in y.value.index:
            height, reach = y.line(row)
            position, spread = x.line(row)
            axis.errorbar(position, height, reach, spread, fmt="none", ecolor="0.75", elinewidth=0.7, zorder=1)
            for column, *point in zip(y.value.columns, position, height, strict=True):
                look = _look(colour[row], is_starred(row) or is_starred(column))
                axis.plot(*point, marker[column], ms=5.5, **look)
        logarithmic = _scale(axis, x)
        paper = [np.array([not is_starred(name) for name in names]) for names in (y.value.index, y.value.columns)]
        shown_x, shown_y = (found.value.to_numpy()[np.ix_(*paper)] for found in (x, y))
        axis.set_title(correlations(shown_x, shown_y, logarithmic), fontsize=7)
        axis.set(xlabel=quantity["label"])
        axis.grid()
    panels[0, 0].set_ylabel(spec["y"]["label"])
    headings = [spec.get("rows", "Method"), spec.get("columns", "Data set")]
    entries = {headings[0]: _sign("")}
    entries |= {row: _sign("o", colour[row], is_starred(row)) for row in colour}
    entries |= {headings[1]: _sign(""), **{column: _sign(marker[column], "none") for column in marker}}
    for text in legend(panels, entries, beside=True).get_texts():
        text.set_fontweight("bold" if text.get_text() in headings else "normal")
    return figure


def correlations(x: np.ndarray, y: np.ndarray, logarithmic: bool) -> str:
    """Pearson's r and Spearman's rho of the pairs without NaN, in words; of log x as well where the axis shows that."""
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return f"correlation not defined (n = {len(x)})"
    log = f" (of log x {pearsonr(np.log10(x), y).statistic:.2f})" if logarithmic else ""
    text = f"Pearson r {pearsonr(x, y).statistic:.2f}{log}\nSpearman ρ {spearmanr(x, y).statistic:.2f}, n = {len(x)}"
    return text.replace("-", "−")


def _scale(axis: Axes, x: Cells) -> bool:
    """Set the x axis; whether it is logarithmic throughout."""
    values = x.value.to_numpy()
    above = values[values > 0]
    if not len(above) or above.max() <= 100 * above.min() or (values < 0).any():
        return False
    if (values == 0).any():
        axis.set_xscale("symlog", linthresh=10 ** np.floor(np.log10(above.min())))
        return False
    axis.set_xscale("log")
    return True


def _look(colour: str, starred: bool = False) -> dict[str, Any]:
    """How a marker is filled and edged."""
    look = {"color": colour, "mec": "0.2", "mew": 0.4}
    return look | {"mfc": "white", "mec": colour, "mew": 1.0} if starred else look


def _sign(marker: str, colour: str = "none", starred: bool = False) -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, ms=5, **_look(colour, starred))
