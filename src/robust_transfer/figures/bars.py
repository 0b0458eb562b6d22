"""Groups of bars with 95 % intervals."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from robust_transfer.figures.cells import cells, is_starred, starred
from robust_transfer.figures.style import GREY, MANY, canvas, colours, in_style, legend, name_ticks

WIDEST = 11.0
"""Inches; panels that together are wider stand one below the other."""


@in_style
def bars(frame: pd.DataFrame, spec: dict[str, Any], tensors: dict[str, np.ndarray]) -> Figure:
    """A panel a metric; in each a group of bars a column (data set), in it a bar a row (method).

    Renofeation figures 3, 5 and 6 (left clean accuracy, right attack success rate), Shafahi figure 3.

    spec: title, measured,
        metrics: [{metric, label (with its unit), limits: [low, high] of the axis, [0, 100] unless given}];
        x: what the groups are, nothing unless given.
    A value that is NaN is no bar but the letters n/a: a bar of height 0 would claim that something was measured.
    Methods that are not the paper's are hatched; they and such data sets have a star.
    """
    frame = starred(frame, "row", "column")
    metrics = spec["metrics"]
    found = cells(frame, [metric["metric"] for metric in metrics])
    values = found[metrics[0]["metric"]].value
    methods, groups = list(values.index), list(values.columns)
    colour = colours(methods)
    slot = max(0.085 * len(methods) + 0.13, 0.45, 2.7 / len(groups))
    width = 0.7 + slot * len(groups)
    stacked = len(metrics) > 1 and width * len(metrics) > WIDEST
    shape = (len(metrics), 1) if stacked else (1, len(metrics))
    figure, panels = canvas(spec, *shape, width, 2.3)
    bar = 0.84 / len(methods)
    for axis, metric in zip(panels.flat, metrics, strict=True):
        handles = {}
        for i, method in enumerate(methods):
            height, reach = found[metric["metric"]].line(method)
            x = np.arange(len(groups)) + (i - (len(methods) - 1) / 2) * bar
            # Beyond the last of the colours they begin again.
            hatch = "....." if is_starred(method) else "/////" if i >= len(MANY) else None
            handles[method] = axis.bar(
                x, height, 0.92 * bar, color=colour[method], hatch=hatch, edgecolor="white", lw=0
            )
            axis.errorbar(x, height, reach, fmt="none", ecolor="0.2", elinewidth=0.7)
            low = metric.get("limits", [0, 100])[0]
            for centre in x[np.isnan(height)]:
                axis.text(centre, low, " n/a", size=5, color=GREY, rotation=90, ha="center", va="bottom")
        axis.set(ylim=metric.get("limits", [0, 100]), xlim=(-0.55, len(groups) - 0.45))
        axis.set(xlabel=spec.get("x", ""), ylabel=metric["label"])
        axis.grid(axis="y")
        axis.tick_params("x", length=0)
        name_ticks(axis, groups, slot)
    legend(panels, handles)
    return figure
