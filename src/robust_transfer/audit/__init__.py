"""The audit: can results be believed, made from what is there now, by the code of today, and as science?

Three levels, a module each, over what `stored` reads:

- integrity: is every file what its card says, and is nothing missing or foreign; against a manifest that was kept
  elsewhere, if there is one.
- currency: was it made from what is there now, for what the newest plan wants, and by the code of today.
- science: do the stored numbers obey what their specs promise.

`--repair` takes away what is damaged or stale, and the next `snakemake` makes just that anew. What is whole but
deserves a look is a note.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any

from robust_transfer.audit.integrity import repair
from robust_transfer.audit.manifest import entries, root_of
from robust_transfer.audit.stored import Finding, Stored
from robust_transfer.audit.touched import Touched

__all__ = ["LEVELS", "STATUS", "Finding", "Stored", "as_json", "as_lines", "findings", "repair", "status"]

LEVELS = ("integrity", "currency", "science")
"""The levels; each is a module here, whose `findings` looks. Only science needs torch."""

STATUS = {"damaged": 1, "stale": 3, "wrong": 4, "note": 0}
"""How grave a finding can be, and the exit status that it brings (2 is that of mistyped arguments): damaged is what is
not what was written, stale what was made from or for something else than is there now.
"""


def findings(stored: Stored, levels: Iterable[str] = LEVELS) -> Iterator[Finding]:
    """All that some levels find."""
    for level in levels:
        yield from import_module(f"{__name__}.{level}").findings(stored)


def status(found: Iterable[Finding]) -> int:
    """The exit status: that of the gravest finding, 0 where there are notes at most."""
    return next((STATUS[severity] for severity in STATUS if any(f.severity == severity for f in found)), 0)


def as_lines(stored: Stored, found: Sequence[Finding]) -> list[str]:
    """What the screen shows: a line a finding, the gravest first, with the cells that it touches, and the sum."""
    order = list(STATUS)
    touched, lines = Touched(stored), []
    for each in sorted(found, key=lambda each: order.index(each.severity)):
        lines.append(f"{each.severity}: {each.what}")
        if cells := touched.in_words(each):
            lines.append(f"    touches {cells}")
    counts = Counter(each.severity for each in found)
    others = "".join(f", {counts[severity]} {severity}" for severity in ("stale", "wrong") if counts[severity])
    return [
        *lines,
        f"root of all files: {root_of(entries(stored))}",
        f"{len(stored.folders)} nodes and {len(stored.product_cards)} tables, figures and verdicts audited: "
        f"{counts['damaged']} damaged{others}",
    ]


def as_json(stored: Stored, found: Iterable[Finding]) -> dict[str, Any]:
    """The same as plain values, for programs."""
    found, touched = list(found), Touched(stored)
    return {
        "root": root_of(entries(stored)),
        "audited": {"nodes": len(stored.folders), "products": len(stored.product_cards)},
        "counts": {severity: sum(each.severity == severity for each in found) for severity in STATUS},
        "findings": [
            {
                "level": each.level,
                "severity": each.severity,
                "what": each.what,
                "about": list(each.about),
                "cells": touched.as_json(each),
                "damaged": [str(path) for path in each.damaged],
            }
            for each in found
        ],
    }
