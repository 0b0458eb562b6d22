"""Words beside points, where they cover neither points nor lines nor each other."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from robust_transfer.figures.style import shown

DIRECTIONS = np.array([(1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0)])
GAPS = (0, 5, 11, 19, 29, 41)
"""Points (1/72 inch) between the edge of a mark and its word: the nearest place that is free is taken."""


class Label(NamedTuple):
    """A word for the mark at (x, y), in data coordinates, of a radius in points (1/72 inch)."""

    x: float
    y: float
    text: str
    radius: float = 3.0


def place_labels(axis: Axes, labels: list[Label], lines: list[np.ndarray], size: float = 6.5) -> None:
    """Write all labels of a panel: the last thing to do to a figure, once drawn, so that all its places are settled.

    lines: each n × 2, in data coordinates, broken at NaN; not to be crossed where that can be avoided.
    """
    if not labels:
        return
    figure = axis.get_figure(root=True)
    assert figure  # the axis stands in one
    unit = figure.dpi / 72  # pixels a point
    points = axis.transData.transform([label[:2] for label in labels])
    marks = _boxes(points, unit * np.array([[label.radius] for label in labels]))
    taken = [marks, *(_boxes(_along(axis.transData.transform(line), 2 * unit), unit) for line in lines)]
    for i, (label, point) in enumerate(zip(labels, points, strict=True)):
        text = axis.text(0, 0, shown(label.text), size=size)
        half = np.array(text.get_window_extent().size) / 2
        text.remove()
        gaps = unit * np.array([label.radius + gap for gap in GAPS])
        diagonal = 1 / (1 + (DIRECTIONS**2).min(1, keepdims=True))
        offsets = np.vstack([DIRECTIONS * (half + gap * diagonal) for gap in gaps])
        far = np.arange(len(offsets)) >= 2 * len(DIRECTIONS)  # a thin line leads from these to their points
        boxes, area = _boxes(point + offsets, half), (2 * half).prod()
        covered = _common(boxes[:, None], np.vstack(taken)).sum(1)
        covered += np.repeat(range(len(GAPS)), len(DIRECTIONS)) * 0.08 * area  # rather across a line than far away
        covered += 10 * (area - _common(boxes, np.array(axis.bbox.extents)))  # what would stick out of the panel
        others = np.delete(marks, i, axis=0)
        for candidate in np.flatnonzero(far):
            leader = _boxes(_along(np.array([point, point + offsets[candidate]]), unit), unit / 2)
            covered[candidate] += 10 * _common(leader[:, None], others).sum()
        best = int(np.argmin(np.where(covered < 0.02 * area, 0, covered)))  # the first of equals
        taken.append(boxes[[best]])
        axis.annotate(
            shown(label.text),
            label[:2],
            offsets[best] / unit,
            textcoords="offset points",
            ha="center",
            va="center",
            size=size,
            color="0.2",
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": "0.6", "shrinkA": 0} if far[best] else None,
        ).set_in_layout(False)


def error_bars(x: np.ndarray, y: np.ndarray, spread: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """The bars of n points as one broken line, for `place_labels`; spread and reach: 2 × n, or n for both sides."""
    (left, right), (down, up) = (np.broadcast_to(side, (2, len(x))) for side in (spread, reach))
    gap = np.full_like(x, np.nan)
    across = [[x - left, x + right, gap], [y, y, gap]]
    along = [[x, x, gap], [y - down, y + up, gap]]
    return np.concatenate([np.transpose(bars, (2, 1, 0)).reshape(-1, 2) for bars in (across, along)])


def _boxes(centres: np.ndarray, half: float | np.ndarray) -> np.ndarray:
    """(left, bottom, right, top) around each of n × 2 centres."""
    return np.hstack([centres - half, centres + half])


def _along(line: np.ndarray, step: float) -> np.ndarray:
    """Places along a line (n × 2, pixels) about `step` apart."""
    pieces = [np.empty((0, 2))]
    for start, end in pairwise(line):
        length = np.hypot(*(end - start))
        if np.isfinite(length):
            pieces.append(np.linspace(start, end, 2 + int(length / step)))
    return np.vstack(pieces)


def _common(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The areas that boxes and others (… × 4, broadcast) have in common."""
    lower = np.maximum(boxes[..., :2], others[..., :2])
    upper = np.minimum(boxes[..., 2:], others[..., 2:])
    return np.maximum(upper - lower, 0).prod(-1)
