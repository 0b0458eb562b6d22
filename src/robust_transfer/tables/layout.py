"""The papers' layouts: one line a row, one column a metric."""

import pandas as pd


def wide(frame: pd.DataFrame, corner: str) -> pd.DataFrame:
    """The measured values in the paper's layout: first the row labels under the name `corner`, then the columns."""
    rows, columns = frame.row.unique(), frame.column.unique()
    table = frame.pivot(index="row", columns="column", values="value").loc[rows, columns]
    return table.rename_axis(corner, axis=0).rename_axis(None, axis=1).reset_index()


def markdown(frame: pd.DataFrame, title: str, corner: str, measured: str, published: str) -> str:
    """The table for readers: each cell `measured (published)`, and below it where both come from."""

    def text(cell: pd.Series) -> str:
        return f"{cell.value:.1f}" + ("" if pd.isna(cell.published) else f" ({cell.published:.1f})")

    shown = frame.assign(value=frame.apply(text, axis=1))
    reach = max((frame.ci_high - frame.value).max(), (frame.value - frame.ci_low).max())
    sizes = ", ".join(f"{n:,}" for n in sorted(frame.n.unique()))
    return "\n".join(
        [
            f"# {title}",
            "",
            wide(shown, corner).to_markdown(index=False, disable_numparse=True),
            "",
            f"Each cell: measured (published). n = {sizes} images; 95 % intervals reach at most ±{reach:.1f} and",
            "stand in the .parquet file, with the nodes that each number comes from.",
            "",
            f"- {measured}.",
            f"- Published: {published}.",
            "",
        ]
    )
