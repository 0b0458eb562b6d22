"""Heatmaps of min-max normalised columns, with white lines between blocks of rows and columns."""

import re
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from robust_transfer.figures.style import canvas, in_style, shown
from robust_transfer.tables.layout import ours

WIDTH, LETTER = 5.6, 0.062
"""Inches: of a panel, more only if its columns need it; of a letter of a tick's name."""


def normalise(table: pd.DataFrame, rows: list[str] | None = None) -> pd.DataFrame:
    """Each column scaled to 0 (its lowest value) .. 1 (its highest); a column whose values are all equal becomes 0.

    rows: those that lowest and highest are of, all unless given; others may lie beyond.
    """
    ends = table.loc[rows] if rows else table
    low, high = ends.min(), ends.max()
    return (table - low) / (high - low).replace(0, 1)


@in_style
def normalised_heatmap(frame: pd.DataFrame, spec: dict[str, Any], tensors: dict[str, np.ndarray]) -> Figure:
    """One panel after the other, each normalised by its own rows, the normalised value in each cell.

    frame: tidy results. spec: title, measured, panels (title, row_blocks; best: count and row_blocks, of whose rows so
    many are shown, those with the highest mean over the paper's columns), column_blocks.
    Rows and columns that are not the paper's have a star. Such rows have the scale of the paper's, where there are any.
    """
    return _panels(frame, spec, normalise, {"vmax": 1, "fmt": ".2f"}, "column, min-max normalised")


@in_style
def heatmap(frame: pd.DataFrame, spec: dict[str, Any], tensors: dict[str, np.ndarray]) -> Figure:
    """The same of values in per cent, as they are."""
    return _panels(frame, spec, lambda table, _: table, {"vmax": 100, "fmt": ".1f"}, "per cent")


def _panels(
    frame: pd.DataFrame,
    spec: dict[str, Any],
    scaled: Callable[[pd.DataFrame, list[str]], pd.DataFrame],
    cells: dict[str, Any],
    meaning: str,
) -> Figure:
    columns = [column for block in spec["column_blocks"] for column in block]
    values = frame.pivot(index="row", columns="column", values="value")
    own = {axis: set(ours(frame, axis)) for axis in ("row", "column")}
    theirs = values[[column for column in columns if column not in own["column"]]]
    panels = [
        panel | {"row_blocks": panel["row_blocks"] + _best(theirs, **panel["best"])} if "best" in panel else panel
        for panel in spec["panels"]
    ]
    counts = [sum(map(len, panel["row_blocks"])) for panel in panels]
    longest = max(len(row) for panel in panels for block in panel["row_blocks"] for row in block)
    beside = 0.25 + LETTER * longest  # inches of the rows' names
    cells_share = 0.78  # of the rest; the colour bar has what is left
    slot = max(cells_share * (WIDTH - beside) / len(columns), 0.65)
    starred = [column + " *" * (column in own["column"]) for column in columns]
    names, slanted, above = _column_names(starred, slot)
    width = max(WIDTH, beside + slot * len(columns) / cells_share)
    figure, axes = canvas(spec, 1, len(panels), width, 1.1 + above + 0.3 * max(counts))
    beyond = own["row"] and len(own["row"]) < len(values)
    for axis, panel in zip(axes[0], panels, strict=True):
        rows = [row for block in panel["row_blocks"] for row in block]
        last = panel is panels[-1]
        sns.heatmap(
            scaled(values.loc[rows, columns], [row for row in rows if row not in own["row"]]),
            vmin=0,
            cmap="viridis",
            annot=True,
            annot_kws={"size": 7},
            cbar=last,
            cbar_kws={"label": meaning + ", by the paper's rows" * bool(beyond)} if last else None,
            ax=axis,
            **cells,
        )
        axis.hlines(
            np.cumsum([len(block) for block in panel["row_blocks"]])[:-1],
            *axis.get_xlim(),
            color="white",
            lw=3,
        )
        axis.vlines(np.cumsum([len(b) for b in spec["column_blocks"]])[:-1], *axis.get_ylim(), color="white", lw=3)
        axis.set(xlabel="", ylabel="", title=panel["title"])
        axis.set_yticklabels([label_text(row) + " *" * (row in own["row"]) for row in rows], rotation=0)
        axis.xaxis.tick_top()
        axis.tick_params(length=0)
        if slanted:
            axis.set_xticklabels(names, rotation=35, ha="left", rotation_mode="anchor")
        else:
            axis.set_xticklabels(names)
    return figure


def _best(values: pd.DataFrame, count: int, row_blocks: list[list[str]]) -> list[list[str]]:
    """Of some blocks of rows so many rows as have the highest mean, in their order; none of a block that loses all."""
    rows = [row for block in row_blocks for row in block]
    chosen = set(values.loc[rows].mean(axis=1).nlargest(count).index)
    return [kept for block in row_blocks if (kept := [row for row in block if row in chosen])]


def _column_names(columns: list[str], slot: float) -> tuple[list[str], bool, float]:
    """The columns' names, in lines that fit a slot (inches), or slanted where a word is too long for it; whether they
    are; and the inches that they need beyond one line.
    """
    names = [shown(column) for column in columns]
    room = int(slot / LETTER)
    lines = [textwrap.wrap(name, room, break_long_words=False, break_on_hyphens=False) for name in names]
    if any(len(line) > room for wrapped in lines for line in wrapped):
        return names, True, 0.57 * LETTER * max(map(len, names))
    return ["\n".join(wrapped) for wrapped in lines], False, 0.13 * (max(map(len, lines)) - 1)


def label_text(row: str) -> str:
    """`R_pgd->nat 12` as the papers set it: R with the trainings as subscript; any other name as it is."""
    found = re.fullmatch(r"R_(\S+)( .*)?", row)
    if not found:
        return shown(row)
    trainings = found[1].replace("->", r"\rightarrow ")
    return rf"$R_{{{trainings}}}$" + (found[2] or "")
