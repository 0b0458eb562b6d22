"""One metric against another along a sweep."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from robust_transfer.figures.cells import cells, is_starred, numbers, starred
from robust_transfer.figures.labels import Label, error_bars, place_labels
from robust_transfer.figures.style import FEW, canvas, colours, in_style, legend, markers, shown

TOGETHER = 6
"""More lines than these get a panel each: their labels would cover each other."""
STAR = 13.0
"""Its size in points (1/72 inch)."""


@in_style
def tradeoff(frame: pd.DataFrame, spec: dict[str, Any], tensors: dict[str, np.ndarray]) -> Figure:
    """A line a row through its points in the order of the swept value, which stands beside each; a star at the chosen.

    Renofeation figure 4 (a line a data set: attack success rate against clean accuracy, along lambda), CARTL figure 4
    (a line a method: robustness against accuracy, along k). The two metrics stand against each other, not each
    against the swept value, because the captions speak of their trade-off: it is then the line itself.

    frame: the columns are the swept values; a cell of the metric `chosen` holds the one that its row uses (NaN: none).
    spec: title, measured, x and y: {metric, label, limits (automatic unless given)}, sweep: name of the swept value,
        values: {column: number} for columns that do not read as numbers, chosen: name of that metric, `chosen` unless
        given.
    A row without a swept value is a point. Rows that are not the paper's have a star and open markers.
    """
    frame = starred(frame, "row")
    found = cells(frame, [spec["x"]["metric"], spec["y"]["metric"]])
    xs, ys = (found[spec[side]["metric"]] for side in "xy")
    swept = numbers(list(xs.value.columns), spec.get("values"))
    chosen = frame[frame.metric == spec.get("chosen", "chosen")].set_index("row").value.dropna().to_dict()
    rows = list(xs.value.index)
    apart = len(rows) > TOGETHER
    shape, size = ((-(-len(rows) // 3), 3), (2.3, 1.9)) if apart else ((1, 1), (5.2, 3.6))
    figure, panels = canvas(spec, *shape, *size)
    colour = dict.fromkeys(rows, FEW[0]) if apart else colours(rows)
    marker = dict.fromkeys(rows, "o") if apart else markers(rows)
    faces = {row: "white" if is_starred(row) else colour[row] for row in rows}
    axes = panels.ravel()[: len(rows) if apart else 1]
    labels: list[list[Label]] = [[] for _ in axes]
    lines: list[list[np.ndarray]] = [[] for _ in axes]
    for number, row in enumerate(rows):
        panel = number if apart else 0
        axis = axes[panel]
        measured = set(frame.column[(frame.row == row) & (frame.metric == spec["x"]["metric"])])
        strengths = swept if measured & swept.keys() else dict.fromkeys(measured, np.nan)
        (x, spread), (y, reach) = xs.line(row, list(strengths)), ys.line(row, list(strengths))
        axis.errorbar(x, y, reach, spread, fmt="none", ecolor="0.8", elinewidth=0.7, zorder=1)
        axis.plot(x, y, color=colour[row], marker=marker[row], mfc=faces[row])
        star = np.isclose(list(strengths.values()), chosen.get(row, np.nan))
        if row in chosen and star.sum() != 1:
            raise ValueError(f"{row}: {chosen[row]:g} is chosen, and is not one of {', '.join(swept)}")
        axis.plot(x[star], y[star], "*", color=colour[row], ms=STAR, mec="black", mew=0.7, zorder=3)
        for at_x, at_y, value, is_star in zip(x, y, strengths.values(), star, strict=True):
            if np.isfinite(at_x + at_y + value):
                labels[panel].append(Label(at_x, at_y, f"{value:g}", STAR / 2 if is_star else 3.0))
        lines[panel] += [np.stack([x, y], axis=1), error_bars(x, y, spread, reach)]
        axis.set_title(shown(row) if apart else "")
    for axis in axes:
        axis.set(xlim=spec["x"].get("limits"), ylim=spec["y"].get("limits"))
        axis.grid()
    for axis in panels.ravel()[len(axes) :]:
        axis.remove()
    axes[0].figure.supxlabel(spec["x"]["label"], fontsize=8)
    axes[0].figure.supylabel(spec["y"]["label"], fontsize=8)
    entries = {row: Line2D([], [], color=colour[row], marker=marker[row], mfc=faces[row]) for row in rows}
    entries = {} if apart else entries
    if chosen:
        entries["chosen"] = Line2D([], [], linestyle="", marker="*", color="white", mec="black", mew=0.7, ms=9)
    entries[f"numbers: {spec['sweep']}"] = Line2D([], [], linestyle="")
    legend(panels, entries)
    figure.draw_without_rendering()
    for axis, words, obstacles in zip(axes, labels, lines, strict=True):
        place_labels(axis, words, obstacles)
    return figure
