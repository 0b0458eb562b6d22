"""The papers' layouts: one line a row, one column a metric."""

from typing import Any

import pandas as pd


def wide(frame: pd.DataFrame, corner: str) -> pd.DataFrame:
    """The measured values in the paper's layout: first the row labels under the name `corner`, then the columns."""
    rows, columns = frame.row.unique(), frame.column.unique()
    table = frame.pivot(index="row", columns="column", values="value").loc[rows, columns]
    return table.rename_axis(corner, axis=0).rename_axis(None, axis=1).reset_index()


def ours(frame: pd.DataFrame, axis: str) -> list[str]:
    """The rows or the columns (axis: row or column) of which no cell is the paper's, in their order."""
    if "ours" not in frame:
        return []
    return list(frame.groupby(axis, sort=False).ours.all().loc[lambda all_ours: all_ours].index)


def decimals(spec: dict[str, Any], metric: str) -> int:
    """Digits after the point that a table shows of a metric."""
    digits = spec.get("decimals", 1)
    return digits.get(metric, 1) if isinstance(digits, dict) else digits


def markdown(frame: pd.DataFrame, spec: dict[str, Any]) -> str:
    """The table for readers: each cell `measured (published)`, and below it where both come from.

    spec: title, corner, measured; published (the paper's table, or None); decimals (1; or by metric); texts (heading ->
    row -> text: columns of words, after the row label); general (numbers of many sizes, shown as short as they are).
    A place without a cell stays blank. Rows and columns that are not the paper's stand under a rule, and are headed so.
    """

    def number(value: float, metric: str) -> str:
        if pd.isna(value):
            return "-"
        return f"{value:.4g}" if spec.get("general") else f"{value:.{decimals(spec, metric)}f}"

    def text(cell: pd.Series) -> str:
        printed = "" if pd.isna(cell.published) else f" ({number(cell.published, cell.metric)})"
        return number(cell.value, cell.metric) + printed

    shown = wide(frame.assign(value=frame.apply(text, axis=1)), spec["corner"]).fillna("")
    for place, (heading, words) in enumerate(spec.get("texts", {}).items(), start=1):
        shown.insert(place, heading, [words.get(row, "") for row in shown[spec["corner"]]])
    rows, columns = ours(frame, "row"), ours(frame, "column")
    if rows:
        own = shown[spec["corner"]].isin(rows)
        rule = pd.DataFrame([["**ours**", *[""] * (len(shown.columns) - 1)]], columns=shown.columns)
        shown = pd.concat([shown[~own], rule, shown[own]])
    shown = shown.rename(columns={column: f"{column} (ours)" for column in columns})
    lines = [f"# {spec['title']}", "", shown.to_markdown(index=False, disable_numparse=True), ""]
    if frame.published.notna().any():
        lines += ["Each cell: measured (published)."]
    if rows or columns:
        lines += ["Ours, and not in the paper: rows under **ours**, columns marked (ours)."]
    reach = max((frame.ci_high - frame.value).max(), (frame.value - frame.ci_low).max())
    if pd.notna(reach):
        sizes = sorted(frame[frame.ci_low.notna()].n.unique())
        n = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
        lines += [
            f"n = {n} images; 95 % intervals reach at most ±{reach:.1f} and stand in the .parquet file, with the nodes",
            "that each number comes from.",
        ]
    else:
        lines += ["The nodes that each number comes from stand in the .parquet file."]
    lines += ["", f"- {spec['measured']}."]
    if spec.get("published"):
        there = "Published" if frame.published.notna().any() else "The paper's own, of other data or networks"
        lines += [f"- {there}: {spec['published']}."]
    return "\n".join([*lines, ""])
