"""Rows of images with a name to the left of each row."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robust_transfer.figures.style import canvas, shown


def gallery(
    spec: dict[str, Any], names: list[str], columns: int, width: float, heights: list[float]
) -> tuple[Figure, np.ndarray]:
    """A figure with a named row a height (inches) of bare panels, `columns` of them in each, `width` inches wide."""
    beside = 0.1 + 0.07 * max(len(line) for name in names for line in name.splitlines())
    figure, panels = canvas(
        spec, len(names), columns, width, sum(heights) / len(heights), beside, gridspec_kw={"height_ratios": heights}
    )
    for axis in panels.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for axis, name in zip(panels[:, 0], names, strict=True):
        axis.set_ylabel(shown(name), rotation=0, ha="right", va="center", labelpad=6)
    return figure, panels


def picture(axis: Axes, image: np.ndarray) -> None:
    """Show an image (C, H, W in [0, 1]; C = 1 grey or 3 colours) pixel by pixel."""
    if len(image) == 1:
        axis.imshow(image[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    else:
        axis.imshow(image.transpose(1, 2, 0), interpolation="nearest")
