"""Tidy results: one row a cell of a table or figure, with interval, sample size, published number and node ids."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from robust_transfer.estimates import Z, exactly, most_frequent, over_seeds, spread
from robust_transfer.plan.graph import nodes_of, replicates
from robust_transfer.plan.published import is_printed
from robust_transfer.tables.metrics import metric

COLUMNS = {
    "study": "str",
    "table": "str",
    "row": "str",
    "column": "str",
    "metric": "str",
    "value": "float64",
    "ci_low": "float64",
    "ci_high": "float64",
    "n": "int64",
    "seeds": "int64",
    "sd_seeds": "float64",
    "se_images": "float64",
    "replicates": "object",
    "published": "float64",
    "ours": "bool",
    "nodes": "str",
}


def tidy(study: str, table: str, cells: list[dict[str, Any]], artifact_of: Callable[[str], Path]) -> pd.DataFrame:
    """Compute all cells.

    artifact_of: node id -> its file.

    Returns:
        A frame with COLUMNS. `value` is the mean over `seeds` seeds, of what is chosen the choice of most; `replicates`
        has each seed's value. The interval is for other images and other seeds; its two parts are `sd_seeds`, the
        standard deviation over seeds (NaN of one, and of choices), and `se_images`, the standard error from the sample
        of images (NaN of what is no estimate). `nodes` holds the ids of all seeds, joined by a space. `published` is
        NaN where the paper prints none; `ours` says that a row or column is none of the paper's.
    """
    rows = []
    for cell in cells:
        name = cell["metric"]
        if is_printed(name):
            found = [exactly(cell["published"])]
        else:
            of_seeds = ({role: artifact_of(i) for role, i in nodes.items()} for nodes in replicates(cell))
            found = [metric(name)(**files) for files in of_seeds]
        is_choice = name.startswith("chosen_")
        value, low, high, n = (most_frequent if is_choice else over_seeds)(found)
        rows.append(
            {
                "study": study,
                "table": table,
                "row": cell["row"],
                "column": cell["column"],
                "metric": name,
                "value": value,
                "ci_low": low,
                "ci_high": high,
                "n": n,
                "seeds": len(found),
                "sd_seeds": math.nan if is_choice else spread(found),
                "se_images": sum(each.high - each.low for each in found) / len(found) / (2 * Z),
                "replicates": [each.value for each in found],
                "published": cell.get("published"),
                "ours": cell.get("ours", False),
                "nodes": " ".join(nodes_of(cell)),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
