"""Metrics against a number."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from robust_transfer.figures.cells import cells, is_starred, numbers, starred
from robust_transfer.figures.style import canvas, colours, in_style, legend, markers, shown


@in_style
def curves(frame: pd.DataFrame, spec: dict[str, Any], tensors: dict[str, np.ndarray]) -> Figure:
    """A panel a metric, in it a line a row; or a panel a row, in it a line a metric. Bands are 95 % intervals.

    Shafahi figures 1, 3 and 4, CARTL figures 3 (a panel a row) and 5.

    frame: the columns are the places on the x axis, as numbers or by `values`. Others are not drawn, but for the
        reference's: its cells are dashed lines from edge to edge in their row's (or metric's) colour.
    spec: title, measured, metrics: [{metric, label, limits of the y axis (automatic unless given)}], x: its label,
        values: {column: number}, scale: "linear" unless given, or "log", reference: {column, label},
        panels: "metric" unless given, or "row"; with "row" also y: {label, limits}, since its panels share that axis.
    Rows that are not the paper's have a star and open markers.
    """
    frame = starred(frame, "row")
    metrics = {y_axis["metric"]: y_axis for y_axis in spec["metrics"]}
    found = cells(frame, list(metrics))
    table = found[next(iter(metrics))].value
    by_row = spec.get("panels", "metric") == "row"
    titles = list(table.index) if by_row else list(metrics)
    lines = list(metrics) if by_row else list(table.index)
    reference = spec.get("reference")
    x_of = numbers([c for c in table.columns if not reference or c != reference["column"]], spec.get("values"))
    colour, marker = colours(lines), markers(lines)
    across = 2 if len(titles) == 4 else min(len(titles), 3)
    figure, panels = canvas(
        spec, -(-len(titles) // across), across, 3.4 if len(titles) < 3 else 2.7, 2.3, sharey=by_row
    )
    for axis, title in zip(panels.flat, titles, strict=False):
        # A panel of one row has the places of that row alone: what another row was measured at is no gap.
        own = {c: n for c, n in x_of.items() if not by_row or c in set(frame.column[frame.row == title])}
        for line in lines:
            metric, row = (line, title) if by_row else (title, line)
            x, shade = list(own.values()), colour[line]
            low, high = (part.loc[row, list(own)] for part in found[metric][1:])
            axis.fill_between(x, low, high, color=shade, alpha=0.2, lw=0)
            face = "white" if is_starred(row) else shade
            axis.plot(x, found[metric].value.loc[row, list(own)], color=shade, marker=marker[line], mfc=face)
            if reference:
                axis.axhline(found[metric].value.loc[row, reference["column"]], color=shade, linestyle="--", lw=1)
        y_axis = spec["y"] if by_row else metrics[title]
        axis.set(xlabel=spec["x"], ylabel=y_axis["label"], ylim=y_axis.get("limits"))
        axis.set_title(shown(title) if by_row else "")
        axis.grid()
        _ticks(axis, list(own.values()), spec.get("scale", "linear"))
    for axis in panels.flat[len(titles) :]:
        axis.remove()
    names = {line: metrics[line]["label"] if by_row else line for line in lines}
    faces = {line: "white" if is_starred(line) else colour[line] for line in lines}
    entries = {names[line]: Line2D([], [], color=colour[line], marker=marker[line], mfc=faces[line]) for line in lines}
    if reference:
        entries[reference["label"]] = Line2D([], [], color="0.3", linestyle="--", lw=1)
    legend(panels, entries)
    return figure


def _ticks(axis: Axes, positions: list[float], scale: str) -> None:
    """Ticks where points are, as long as their numbers have room."""
    axis.set_xscale(scale)
    if len(positions) <= 8:
        axis.xaxis.set_major_locator(FixedLocator(positions))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter("{x:g}")
    elif scale == "linear":
        axis.xaxis.set_major_locator(MaxNLocator(8, integer=all(x == int(x) for x in positions)))
