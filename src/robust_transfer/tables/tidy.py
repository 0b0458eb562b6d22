"""Tidy results: one row a cell of a table or figure, with interval, sample size, published number and node ids."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from scipy.stats import binomtest

COLUMNS = [
    "study",
    "table",
    "row",
    "column",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "published",
    "nodes",
]


class Estimate(NamedTuple):
    """A value with its 95 % interval and the number of images it rests on."""

    value: float
    low: float
    high: float
    n: int


def proportion(successes: int, n: int) -> Estimate:
    """Successes / n in per cent, with Wilson's 95 % interval (Wilson 1927)."""
    interval = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return Estimate(100 * successes / n, 100 * interval.low, 100 * interval.high, n)


def accuracy(outcomes: pd.DataFrame) -> Estimate:
    """Share of images whose prediction is their label, in per cent."""
    return proportion(int((outcomes.prediction == outcomes.label).sum()), len(outcomes))


METRICS: dict[str, Callable[..., Estimate]] = {"accuracy": accuracy}
"""Each metric takes the outcomes of a cell's nodes, by role."""


def tidy(study: str, table: str, cells: list[dict[str, Any]], outcomes_of: Callable[[str], Path]) -> pd.DataFrame:
    """Compute all cells.

    outcomes_of: node id -> the file of its per-image outcomes.

    Returns:
        A frame with COLUMNS; `nodes` holds the ids, joined by a space; `published` is NaN where the paper prints none.
    """
    rows = []
    for cell in cells:
        outcomes = {role: pd.read_parquet(outcomes_of(node)) for role, node in cell["nodes"].items()}
        value, low, high, n = METRICS[cell["metric"]](**outcomes)
        ids = " ".join(cell["nodes"].values())
        rows.append(
            [
                study,
                table,
                cell["row"],
                cell["column"],
                cell["metric"],
                value,
                low,
                high,
                n,
                cell.get("published"),
                ids,
            ]
        )
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.astype({"published": "float64"})
