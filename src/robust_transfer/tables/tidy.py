"""Tidy results: one row a cell of a table or figure, with interval, sample size, published number and node ids."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from robust_transfer.estimates import exactly
from robust_transfer.plan.published import PRINTED
from robust_transfer.tables.metrics import metric

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
    "ours",
    "nodes",
]


def tidy(study: str, table: str, cells: list[dict[str, Any]], artifact_of: Callable[[str], Path]) -> pd.DataFrame:
    """Compute all cells.

    artifact_of: node id -> its file.

    Returns:
        A frame with COLUMNS; `nodes` holds the ids, joined by a space; `published` is NaN where the paper prints none;
        `ours` says that a row or column is none of the paper's.
    """
    rows = []
    for cell in cells:
        files = {role: artifact_of(node) for role, node in cell["nodes"].items()}
        value, low, high, n = (
            exactly(cell["published"]) if cell["metric"] == PRINTED else metric(cell["metric"])(**files)
        )
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
                cell.get("ours", False),
                ids,
            ]
        )
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.astype({"published": "float64"})
