"""What a figure reads from the tidy frame: the values of one metric, with intervals, as rows × columns."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from robust_transfer.tables.layout import ours


def starred(frame: pd.DataFrame, *axes: str) -> pd.DataFrame:
    """The frame with a star behind the names of rows or columns (axes) that are not the paper's."""
    names = {axis: {name: f"{name} *" for name in ours(frame, axis)} for axis in axes}
    return frame.assign(**{axis: frame[axis].replace(names[axis]) for axis in axes})


def is_starred(name: str) -> bool:
    """Whether a row or column is not the paper's; see starred."""
    return name.endswith(" *")


class Cells(NamedTuple):
    """Values of one metric and the ends of their 95 % intervals, each rows × columns; NaN where there is none."""

    value: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame

    def line(self, row: str, columns: list[str] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The values of a row, and how far their intervals reach (2 × columns: down, up), as error bars take them."""
        value, low, high = ((part if columns is None else part[columns]).loc[row].to_numpy() for part in self)
        return value, np.maximum([value - low, high - value], 0)


def cells(frame: pd.DataFrame, metrics: list[str]) -> dict[str, Cells]:
    """Metric -> its cells; all with the same rows and columns, in the frame's order.

    Raises:
        ValueError: No cell has one of the metrics, or two cells have the same place.
    """
    missing = [metric for metric in metrics if metric not in set(frame.metric)]
    if missing:
        raise ValueError(f"the figure shows {', '.join(missing)}, and no cell has it")
    frame = frame[frame.metric.isin(metrics)]
    rows, columns = frame.row.unique(), frame.column.unique()
    found = {}
    for metric in metrics:
        long = frame[frame.metric == metric]
        wide = (long.pivot(index="row", columns="column", values=part) for part in ("value", "ci_low", "ci_high"))
        value, low, high = (part.reindex(index=rows, columns=columns).astype(float) for part in wide)
        known = value.notna()  # where nothing could be measured, the interval is all or nothing: not to be drawn
        found[metric] = Cells(value, low.where(known), high.where(known))
    return found


def numbers(columns: list[str], values: dict[str, float] | None) -> dict[str, float]:
    """Column -> the number it stands for, by `values` or else as it reads; in rising order, others left out."""

    def number(column: str) -> float:
        try:
            return float((values or {}).get(column, column))
        except ValueError:
            return np.nan

    found = {column: number(column) for column in columns}
    return dict(sorted(((c, n) for c, n in found.items() if np.isfinite(n)), key=lambda pair: pair[1]))
