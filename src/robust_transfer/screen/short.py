"""Snakemake's lines without their lists of thousands of files."""

import logging
from collections.abc import Sequence

WIDTH = 150
"""Characters of a list of files, beyond which its other members are only counted."""
LISTS = ("input", "output")


def shorten(record: logging.LogRecord) -> bool:
    """A logging filter that lets all records pass: files of a job, and of the reason why it runs, are named as far as
    they fit a line. Its log's path, its command and its message stay whole.
    """
    for name in LISTS:
        files = getattr(record, name, None)
        if isinstance(files, list):
            setattr(record, name, _few(files))
    reason = getattr(record, "reason", None)
    if isinstance(reason, str) and len(reason) > WIDTH:
        record.reason = "; ".join(_few_of_part(part) for part in reason.split("; "))
    return True


def _few_of_part(part: str) -> str:
    """`Missing output files: a, b, c` of a reason."""
    head, colon, files = part.partition(": ")
    return f"{head}{colon}{', '.join(_few(files.split(', '), WIDTH - len(head)))}"


def _few(files: Sequence[str], width: int = WIDTH) -> list[str]:
    """The first ones, one at least, and how many others there are."""
    shown: list[str] = []
    for file in files:
        if shown and len(", ".join([*shown, file])) > width:
            return [*shown, f"and {len(files) - len(shown):,} others"]
        shown.append(file)
    return shown
