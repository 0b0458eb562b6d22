"""Every kind of drawing, by the name that a figure's spec gives it."""

from collections.abc import Callable

from matplotlib.figure import Figure

from robust_transfer.figures.bars import bars
from robust_transfer.figures.curves import curves
from robust_transfer.figures.examples import examples
from robust_transfer.figures.gradients import gradients
from robust_transfer.figures.heatmap import heatmap, normalised_heatmap
from robust_transfer.figures.histogram import histogram
from robust_transfer.figures.regression import regression
from robust_transfer.figures.scatter import scatter
from robust_transfer.figures.tradeoff import tradeoff

DRAWINGS: dict[str, Callable[..., Figure]] = {
    "bars": bars,
    "curves": curves,
    "examples": examples,
    "gradients": gradients,
    "heatmap": heatmap,
    "histogram": histogram,
    "normalised_heatmap": normalised_heatmap,
    "regression": regression,
    "scatter": scatter,
    "tradeoff": tradeoff,
}
"""Each takes (frame, spec, tensors): the tidy results, its part of the spec, and arrays by name (see the docstrings).

Imported at once, not when needed: the fingerprint of a figure then covers all of it, and seaborn, the only library that
one kind alone needs, costs 0.1 s.
"""
