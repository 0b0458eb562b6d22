"""The papers' printed numbers."""

import csv
from importlib.resources import files

PRINTED = "published"
"""The metric of a cell that shows the printed number itself, and so has no nodes; a figure of several kinds of numbers
tells them apart by a second word: `published ASR`.
"""


def published_tables(study: str) -> dict[str, dict[tuple[str, str], float]]:
    """All tables of a study of which the paper's numbers are here, by name."""
    folder = files("robust_transfer").joinpath("published", study)
    names = sorted(file.name.removesuffix(".csv") for file in folder.iterdir()) if folder.is_dir() else []
    return {name: published_table(study, name) for name in names}


def is_printed(metric: str) -> bool:
    """Whether a metric says that a printed number is shown."""
    return metric.split()[0] == PRINTED


def published_table(study: str, table: str) -> dict[tuple[str, str], float]:
    """(row, column) -> the printed number, from published/STUDY/TABLE.csv."""
    text = files("robust_transfer").joinpath("published", study, f"{table}.csv").read_text(encoding="utf-8")
    header, *rows = csv.reader(text.splitlines())
    return {
        (row[0], column): float(value)
        for row in rows
        for column, value in zip(header[1:], row[1:], strict=True)
        if value
    }
