"""The papers' layouts: one line a row, one column a metric."""

import re
from typing import Any

import pandas as pd

OURS = "**ours**"
"""The label of the line above rows that are not the paper's."""


def wide(frame: pd.DataFrame, corner: str, part: str = "value") -> pd.DataFrame:
    """One part of the cells in the paper's layout: first the row labels under the name `corner`, then the columns."""
    rows, columns = frame.row.unique(), frame.column.unique()
    table = frame.pivot(index="row", columns="column", values=part).loc[rows, columns]
    return table.rename_axis(corner, axis=0).rename_axis(None, axis=1).reset_index()


def margins(frame: pd.DataFrame) -> pd.Series:
    """What stands behind ±: the standard deviation over seeds, or where the table has one seed alone, half of the 95 %
    interval.
    """
    return frame.sd_seeds if frame.seeds.max() > 1 else (frame.ci_high - frame.ci_low) / 2


def numbers(frame: pd.DataFrame, spec: dict[str, Any]) -> pd.DataFrame:
    """The table as plain numbers: the measured ones in the paper's layout, and after them, in columns of their own,
    what stands behind ± and what the paper prints, where there is any.
    """
    parts = [wide(frame, spec["corner"])]
    for name, part in {"±": margins(frame), "published": frame.published}.items():
        table = wide(frame.assign(part=part), spec["corner"], "part").iloc[:, 1:]
        parts.append(table.dropna(axis=1, how="all").add_suffix(f" {name}"))
    return pd.concat(parts, axis=1)


def ours(frame: pd.DataFrame, axis: str) -> list[str]:
    """The rows or the columns (axis: row or column) of which no cell is the paper's, in their order."""
    if "ours" not in frame:
        return []
    return list(frame.groupby(axis, sort=False).ours.all().loc[lambda all_ours: all_ours].index)


def decimals(spec: dict[str, Any], metric: str) -> int:
    """Digits after the point that a table shows of a metric."""
    digits = spec.get("decimals", 1)
    return digits.get(metric, 1) if isinstance(digits, dict) else digits


def text(frame: pd.DataFrame, spec: dict[str, Any]) -> pd.DataFrame:
    """The table for readers, each cell `value ± margin`, and behind a column what the paper prints in it.

    spec: corner; decimals (1; or by metric); texts (heading -> row -> text: columns of words, after the row label);
    general (numbers of many sizes, shown as short as they are; of several seeds each, where they differ).
    A place without a cell stays blank. Rows and columns that are not the paper's stand under a rule, and are headed so.
    """

    def number(value: float, metric: str) -> str:
        if pd.isna(value):
            return "-"
        return f"{value:.4g}" if spec.get("general") else f"{value:.{decimals(spec, metric)}f}"

    def measured(cell: pd.Series) -> str:
        if spec.get("general") and cell.replicates != [cell.value] * cell.seeds:
            return " / ".join(number(value, cell.metric) for value in cell.replicates)
        margin = "" if pd.isna(cell.margin) else f" ± {number(cell.margin, cell.metric)}"
        return number(cell.value, cell.metric) + margin

    def printed(cell: pd.Series) -> str:
        return "" if pd.isna(cell.published) else number(cell.published, cell.metric)

    frame, corner = frame.assign(margin=margins(frame)), spec["corner"]
    shown = wide(frame.assign(text=frame.apply(measured, axis=1)), corner, "text").fillna("")
    theirs = wide(frame.assign(text=frame.apply(printed, axis=1)), corner, "text").fillna("")
    own = ours(frame, "column")
    for column in frame.column.unique():
        if theirs[column].any():
            heading = f"{column}, published" + (f" ({spec['on']})" if spec.get("on") else "")
            shown.insert(list(shown.columns).index(column) + 1, heading, theirs[column])
        if column in own:
            shown = shown.rename(columns={column: f"{column} (ours)"})
    for place, (heading, words) in enumerate(spec.get("texts", {}).items(), start=1):
        shown.insert(place, heading, [words.get(row, "") for row in shown[corner]])
    if rows := ours(frame, "row"):
        below = shown[corner].isin(rows)
        rule = pd.DataFrame([[OURS, *[""] * (len(shown.columns) - 1)]], columns=shown.columns)
        shown = pd.concat([shown[~below], rule, shown[below]])
    return shown


def markdown(frame: pd.DataFrame, spec: dict[str, Any]) -> str:
    """The table for readers as a page, and below it what its numbers are and where they come from.

    spec: as for `text`, and title, measured; published (the paper's table, or None); warnings (sentences, if any).
    """
    lines = [f"# {spec['title']}", "", text(frame, spec).to_markdown(index=False, disable_numparse=True), ""]
    if ours(frame, "row") or ours(frame, "column"):
        lines += ["Ours, and not in the paper: rows under **ours**, columns marked (ours)."]
    seeds, known = frame.seeds.max(), frame[frame.ci_low.notna()]
    if seeds > 1:
        lines += [
            f"± is the standard deviation over {seeds} seeds. The .parquet file has each seed's value, 95 % intervals"
        ]
        lines += ["for other images and seeds, and the nodes that each number comes from."]
    elif len(known):
        least, most = known.n.min(), known.n.max()
        n = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        lines += [
            f"± is half of the 95 % interval, over n = {n} images. The .parquet file has both ends, and the nodes"
        ]
        lines += ["that each number comes from."]
    else:
        lines += ["The .parquet file has the nodes that each number comes from."]
    lines += ["", f"- {spec['measured']}.", *(f"- Warning: {each}." for each in spec.get("warnings", ()))]
    on = f": {spec['on']}" if spec.get("on") else ""
    if frame.published.notna().any():
        lines += [f"- Published: {spec['published']}{on}."]
    if whole := spec.get("whole"):
        header, *rows = whole
        lines += ["", f"## As published: {spec['published']}{on}", ""]
        lines += ["Not all of it is measured here on the same data sets, networks and depths.", ""]
        lines += [pd.DataFrame(rows, columns=header).to_markdown(index=False, disable_numparse=True)]
    return "\n".join([*lines, ""])


def latex(frame: pd.DataFrame, spec: dict[str, Any]) -> str:
    """The table for a paper: LaTeX with the rules of booktabs. spec: as for `markdown`."""
    shown = text(frame, spec)
    style = shown.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    caption = re.sub(r"([&%$#_{}])", r"\\\1", f"{spec['title']}. {spec['measured']}.")
    made = style.to_latex(hrules=True, caption=caption, column_format="l" + "r" * (len(shown.columns) - 1))
    for character, command in {"±": r"$\pm$", "->": r"$\to$", "**ours**": r"\emph{ours}"}.items():
        made = made.replace(character, command)
    return made
