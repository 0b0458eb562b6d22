"""The parts of the report that show products: verdicts, tables and figures, as the template wants them."""

import base64
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from robust_transfer.claims import verdicts
from robust_transfer.claims.judge import ALPHA
from robust_transfer.plan.graph import Plan, Product
from robust_transfer.report.compact import Compact
from robust_transfer.results.shown import cells_of
from robust_transfer.results.status import MISSING, Status, remarks
from robust_transfer.tables import layout


def condition(stem: str, status: Status) -> dict[str, Any]:
    """Whether a product is missing, and else what is to be said of it; nothing where it is as the plan has it."""
    found = status.product(stem)
    missing = found.state == MISSING and not found.why
    return {"missing": missing, "remarks": [] if missing else remarks(status, {}, stem)}


def claims(plan: Plan, results: Path, status: Status) -> dict[str, Any]:
    """The verdicts, study by study, of all claims together, or where these are not made of each study's own."""
    stems = ["claims", *(stem for stem, product in plan.products.items() if product.kind == "claim" and product.study)]
    made = [stem for stem in stems if (results / f"{stem}.parquet").is_file()]
    whole = made[:1] == ["claims"]
    frames = [pd.read_parquet(results / f"{stem}.parquet") for stem in (["claims"] if whole else made)]
    product = plan.products.get("claims")
    return {
        **(condition("claims", status) if whole or not made else {"missing": False, "remarks": []}),
        "target": f"{results}/claims.csv",
        "measured": product.spec["measured"] if product else "",
        "alpha": f"{ALPHA:g}",
        "studies": [
            {
                "name": study,
                "measured": verdicts.counts(frame.measured),
                "printed": verdicts.counts(frame.printed),
                "rows": [_claim(row) for row in frame.to_dict("records")],
            }
            for each in frames
            for study, frame in each.groupby("study", sort=False)
        ],
    }


def _claim(row: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    headings = {"In print": "printed_against", "Measured": "against", "Not testable": "reason"}
    notes = [(heading, row[key]) for heading, key in headings.items() if row[key]]
    return {**row, "p": verdicts.p_value(row["p"]), "notes": notes}


def table(product: Product, results: Path, compact: Compact) -> dict[str, Any]:
    """A table in the paper's layout: columns and rows of cells, each with its text, and the number of the cell behind
    it among the product's.

    Raises:
        OSError, ValueError, LookupError: where its files are not what they should be.
    """
    stem, spec = results / product.stem, product.spec
    frame = pd.read_parquet(f"{stem}.parquet")
    shown = layout.text(frame, spec)
    corner, *headings = shown.columns
    index = {(cell["row"], cell["column"]): i for i, cell in enumerate(cells_of(product))}
    sources = {name: name for name in frame.column.unique()}
    sources |= {f"{name} (ours)": name for name in layout.ours(frame, "column")}
    columns = [{"text": corner, "role": "corner", "title": None}, *(_column(name, sources) for name in headings)]
    rows: list[dict[str, Any]] = []
    for label, *texts in shown.itertuples(index=False):
        cells = []
        for heading, column, text in zip(headings, columns[1:], texts, strict=True):
            place = index.get((label, sources.get(heading, ""))) if column["role"] == "value" and text else None
            cells.append({"text": text, "role": column["role"], "index": place})
        rows.append({"label": label, "rule": label == layout.OURS, "cells": cells})
    warnings = [line[2:] for line in stem.with_suffix(".md").read_text("utf-8").splitlines() if _is_warning(line)]
    return {
        "columns": columns,
        "rows": rows,
        "warnings": warnings,
        "margin": _margin(frame),
        "whole": spec.get("whole"),
    }


def _column(heading: str, sources: dict[str, str]) -> dict[str, Any]:
    if heading in sources:
        return {"text": heading, "role": "value", "title": None}
    if any(heading.startswith(f"{name}, published") for name in sources.values()):
        return {"text": "published", "role": "published", "title": heading}
    return {"text": heading, "role": "words", "title": None}


def _is_warning(line: str) -> bool:
    return line.startswith("- Warning: ")


def _margin(frame: pd.DataFrame) -> str:
    """What ± means in a table."""
    if frame.seeds.max() > 1:
        return f"± is the standard deviation over {frame.seeds.max()} seeds."
    return "± is half of the 95 % interval." if frame.ci_low.notna().any() else ""


def picture(stem: Path) -> str | None:
    """A figure as the address of an image that holds it, of its two files the smaller; None where both are gone."""
    kinds = {".svg": "svg+xml", ".png": "png"}
    there = [path for ending in kinds if (path := stem.with_suffix(ending)).is_file()]
    if not there:
        return None
    path = min(there, key=lambda path: path.stat().st_size)
    return f"data:image/{kinds[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
