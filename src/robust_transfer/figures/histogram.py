"""How distances are spread over images."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from robust_transfer.figures.style import canvas, colours, in_style, shown


@in_style
def histogram(frame: pd.DataFrame, spec: dict[str, Any], tensors: dict[str, np.ndarray]) -> Figure:
    """Histograms laid over each other, a panel a group of series; a dotted line at each mean, which the legend tells.

    Shafahi figure 7: distances between the features of images and of the same images augmented. All share their bins.

    tensors: each series' values, in any shape; NaN is left out.
    spec: title, measured, x: label, panels: [{title, series: [{tensor, label}]}], bins: their number, 40 unless given.
    """
    values = {name: np.ravel(array)[np.isfinite(np.ravel(array))] for name, array in tensors.items()}
    names = [series["tensor"] for panel in spec["panels"] for series in panel["series"]]
    edges = np.histogram_bin_edges(np.concatenate([values[name] for name in names]), spec.get("bins", 40))
    figure, panels = canvas(spec, 1, len(spec["panels"]), 3.4, 2.4, sharey=True)
    for axis, panel in zip(panels.flat, spec["panels"], strict=True):
        colour = colours(series["tensor"] for series in panel["series"])
        for series in panel["series"]:
            found, shade = values[series["tensor"]], colour[series["tensor"]]
            if not len(found):
                axis.plot([], [], color=shade, label=f"{shown(series['label'])}: no values")
                continue
            share = np.full(len(found), 100 / len(found))
            label = f"{shown(series['label'])}: mean {found.mean():#.3g}, n = {len(found):,}"
            axis.hist(found, edges, weights=share, histtype="stepfilled", color=shade, alpha=0.3)
            axis.hist(found, edges, weights=share, histtype="step", color=shade, lw=1.2, label=label)
            axis.axvline(found.mean(), color=shade, linestyle=":", lw=1.2)
        axis.set(xlabel=spec["x"], ylabel="Share of images (%)")
        axis.label_outer()
        axis.legend(title=shown(panel["title"]), loc="lower center", bbox_to_anchor=(0.5, 1), title_fontsize=8)
    return figure
