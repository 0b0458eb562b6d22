"""How trainings went: loss, learning rate and accuracies over the epochs, a colour a model."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from robust_transfer.figures.style import GREY, canvas, colours, in_style, legend

LINES = {"clean": "-", "adversarial": "--", "watched": ":"}
"""The accuracies that a history may have, and how each is drawn."""


@in_style
def draw(histories: dict[str, pd.DataFrame]) -> Figure:
    """The figure of some histories (see training.run.COLUMNS), by the models' names.

    A last row without a rate, of averaged weights, is a point of its own.
    """
    measured = [name for name in LINES if any(name in frame for frame in histories.values())]
    panels = {"loss": ["loss"], "learning rate": ["lr"]} | ({"accuracy (%)": measured} if measured else {})
    spec: dict[str, Any] = {"title": "Training", "measured": "A value an epoch; where none was measured, no line"}
    figure, axes = canvas(spec, 1, len(panels), 2.6, 2.2)
    colour = colours(histories)
    for axis, (label, columns) in zip(axes[0], panels.items(), strict=True):
        for name, frame in histories.items():
            for column in [column for column in columns if column in frame]:
                rated = frame[frame.lr.notna()] if "lr" in frame else frame
                found, averaged = rated[["epoch", column]].dropna(), frame.drop(rated.index)
                few = "o" if len(found) < 3 else ""
                axis.plot(found.epoch, found[column], LINES.get(column, "-"), color=colour[name], marker=few)
                if column in LINES:
                    axis.plot(averaged.epoch, averaged[column], "D", color=colour[name])
        axis.set(xlabel="epoch", ylabel=label)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(True)
    entries = {name: Line2D([], [], color=colour[name]) for name in histories}
    entries |= {name: Line2D([], [], color=GREY, ls=LINES[name]) for name in measured}
    legend(axes, entries)
    return figure
