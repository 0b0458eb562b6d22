"""Heatmaps of min-max normalised columns, with white lines between blocks of rows and columns."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from robust_transfer.figures.style import canvas, in_style


def normalise(table: pd.DataFrame) -> pd.DataFrame:
    """Each column scaled to 0 (its lowest value) .. 1 (its highest); a column whose values are all equal becomes 0."""
    low, high = table.min(), table.max()
    return (table - low) / (high - low).replace(0, 1)


@in_style
def normalised_heatmap(frame: pd.DataFrame, spec: dict[str, Any], tensors: dict[str, np.ndarray]) -> Figure:
    """One panel after the other, each normalised by its own rows, the normalised value in each cell.

    frame: tidy results. spec: title, measured, panels (title, row_blocks), column_blocks.
    """
    columns = [column for block in spec["column_blocks"] for column in block]
    panels = spec["panels"]
    counts = [sum(map(len, panel["row_blocks"])) for panel in panels]
    figure, axes = canvas(spec, 1, len(panels), 5.6, 1.1 + 0.3 * max(counts))
    values = frame.pivot(index="row", columns="column", values="value")
    for axis, panel in zip(axes[0], panels, strict=True):
        rows = [row for block in panel["row_blocks"] for row in block]
        last = panel is panels[-1]
        sns.heatmap(
            normalise(values.loc[rows, columns]),
            vmin=0,
            vmax=1,
            cmap="viridis",
            annot=True,
            fmt=".2f",
            annot_kws={"size": 7},
            cbar=last,
            cbar_kws={"label": "column, min-max normalised"} if last else None,
            ax=axis,
        )
        axis.hlines(
            np.cumsum([len(block) for block in panel["row_blocks"]])[:-1],
            *axis.get_xlim(),
            color="white",
            lw=3,
        )
        axis.vlines(np.cumsum([len(b) for b in spec["column_blocks"]])[:-1], *axis.get_ylim(), color="white", lw=3)
        axis.set(xlabel="", ylabel="", title=panel["title"])
        axis.set_yticklabels([label_text(row) for row in rows], rotation=0)
        axis.xaxis.tick_top()
        axis.tick_params(length=0)
    return figure


def label_text(row: str) -> str:
    """`R_pgd->nat 12` as the papers set it: R with the trainings as subscript."""
    network, _, depth = row.partition(" ")
    symbol, _, training = network.partition("_")
    training = training.replace("->", r"\rightarrow ")
    return rf"${symbol}_{{{training}}}$ {depth}".rstrip() if training else row
