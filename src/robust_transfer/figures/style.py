"""What all figures share: letters, colours, marks, and where title, legend and the line of the measurement stand."""

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.legend import Legend

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

STYLE: dict["RcKeyType", Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
    "font.size": 8,
    "figure.titlesize": 10,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "hatch.linewidth": 0.5,
}
GREY = "0.45"
FEW = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB")
MANY = ("#332288", "#CC6677", "#117733", "#DDCC77", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499", "#000000")
"""Paul Tol's colour-blind-safe schemes "bright" and "muted" (personal.sron.nl/~pault), muted with black."""
MARKERS = "os^DvPX<>hpd"


def in_style(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """`draw` with matplotlib set to its defaults and STYLE, whatever the user's own settings are."""

    @wraps(draw)
    def styled(*given: Any, **named: Any) -> Figure:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            figure = draw(*given, **named)
            # Ticks are made when first asked for, and as many as have room in the style of that moment: settle it here.
            for axis in figure.axes:
                axis.tick_params(labelsize=STYLE["xtick.labelsize"])
            return figure

    return styled


def canvas(
    spec: dict[str, Any], rows: int, columns: int, width: float, height: float, beside: float = 0, **subplots: Any
) -> tuple[Figure, np.ndarray]:
    """A figure and its rows × columns panels of width × height inches, under spec's title and over its foot: `measured`
    and, where there are any, `warnings`.

    beside: inches that something to the left of the panels needs; subplots: further words to `Figure.subplots`.
    """
    across = max(3.4, columns * width + beside)
    title = textwrap.wrap(shown(spec["title"]), int(11.5 * across))  # letters an inch at 10 points
    foot = [spec["measured"], *(f"Warning: {each}" for each in spec.get("warnings", ()))]
    measured = [line for each in foot for line in textwrap.wrap(shown(each), int(22 * across))]  # and at 6
    figure = Figure((across, rows * height + 0.22 * len(title) + 0.12 * len(measured)), layout="constrained")
    figure.suptitle("\n".join(title))
    figure.supxlabel("\n".join(measured), fontsize=6, color=GREY)
    # The panels have a figure of their own within: a legend over them then comes to stand under the title, not on it.
    inner = figure.subfigures()
    assert isinstance(inner, SubFigure)  # there is one
    return figure, inner.subplots(rows, columns, squeeze=False, **subplots)


def legend(panels: np.ndarray, entries: Mapping[str, Artist], beside: bool = False) -> Legend:
    """One legend for all panels, over them or to their right; the figure grows by what it needs."""
    figure = panels.flat[0].figure
    root = panels.flat[0].get_figure(root=True)
    width, height = root.get_size_inches()
    names = [shown(name) for name in entries]
    entry = 0.5 + 0.06 * max(len(re.sub(r"\\[a-z]+|[${}_]", "", name)) for name in names)  # inches
    columns = 1 if beside else max(1, min(len(names), int(width / entry)))
    lines = -(-len(names) // columns)
    columns = -(-len(names) // lines)  # as many columns as these lines need: no short last line
    if beside:
        root.set_size_inches(width + entry, max(height, 0.15 * lines + 0.7))
    else:
        root.set_size_inches(width, height + 0.16 * lines)
    loc = "outside right upper" if beside else "outside upper center"
    return figure.legend(entries.values(), names, loc=loc, ncols=columns)


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour a name, in the order given; they repeat from the eleventh name on."""
    names = list(names)
    scheme = FEW if len(names) <= len(FEW) else MANY
    return {name: scheme[i % len(scheme)] for i, name in enumerate(names)}


def markers(names: Iterable[str]) -> dict[str, str]:
    """A marker a name, in the order given; they repeat from the thirteenth name on."""
    return {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(names)}


def shown(name: str) -> str:
    """A label as it is set: with arrows."""
    return name.replace("->", "→")


def name_ticks(axis: Axes, names: Iterable[str], slot: float) -> None:
    """The names under 0, 1, ... of the x axis, slanted where one is too long for its slot (inches)."""
    names = [shown(name) for name in names]
    axis.set_xticks(range(len(names)), names)
    if max(map(len, names)) * 0.062 > slot:
        axis.tick_params("x", rotation=35)
        for label in axis.get_xticklabels():
            label.set(horizontalalignment="right", rotation_mode="anchor")
