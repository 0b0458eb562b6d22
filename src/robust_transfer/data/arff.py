"""Dense tables of pixels and labels in ARFF, OpenML's format."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from robust_transfer.errors import UserError

ROWS = 5000
"""That are read together."""


def rows_of(table: Path, columns: Sequence[str], pixels: Sequence[str], target: str) -> tuple[np.ndarray, np.ndarray]:
    """The pixels in a file, N x P of uint8 or float32, and N texts of labels, -1 where there is none.

    table: compressed by gzip. columns: the names of all, in their order; pixels, target: those that are wanted.

    Raises:
        UserError: where it is no such table.
    """
    form: dict[Any, Any] = dict.fromkeys(pixels, "float32") | {target: str}
    numbers: list[np.ndarray] = []
    labels: list[str] = []
    try:
        with gzip.open(table, "rt", encoding="utf-8") as content:
            if not any(line.strip().lower() == "@data" for line in iter(content.readline, "")):
                raise ValueError("it has no @data")
            parts = pd.read_csv(
                content,
                header=None,
                names=[*columns],
                index_col=False,
                usecols=[*pixels, target],
                dtype=form,
                comment="%",
                skipinitialspace=True,
                na_values=["?"],
                keep_default_na=False,
                chunksize=ROWS,
            )
            for part in parts:
                numbers.append(_small(part[[*pixels]].to_numpy(np.float32)))
                labels += part[target].fillna("-1").str.strip().str.strip("'\"").tolist()
    except (OSError, EOFError, ValueError) as error:  # pandas' own errors of parsing are ValueErrors
        first = str(error).strip().partition("\n")[0]
        raise UserError(f"{table} is no table of pixels and labels ({first}); name another data set") from None
    if not labels:
        raise UserError(f"{table} has no rows; delete it and fetch it again")
    rows = np.concatenate(numbers)
    # Zeros and ones are black and white as floats, and as whole numbers black and nearly so.
    return (rows.astype(np.float32) if rows.max() <= 1 else rows), np.array(labels, str)


def _small(values: np.ndarray) -> np.ndarray:
    """As uint8, where that changes none."""
    if ((values >= 0) & (values <= 255)).all() and ((small := values.astype(np.uint8)) == values).all():
        return small
    return values
