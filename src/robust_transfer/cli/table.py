"""a table that was made, as it can be read or set

Exit status: 0, or 3 where it is not what the config of today asks for; then its first lines say so.
"""

import argparse
from pathlib import Path

from robust_transfer.cli import present
from robust_transfer.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which table, and how."""
    present.arguments(parser)
    parser.add_argument("name", metavar="STUDY/TABLE", help="e.g. davchev/table1")
    parser.add_argument("--latex", action="store_true", help="as LaTeX, with the rules of booktabs")


def run(options: argparse.Namespace) -> int:
    """Print it."""
    stem = options.results / "tables" / options.name
    card = stem.with_name(f"{stem.name}.json")
    if not card.is_file():
        raise UserError(f"there is no {stem} yet; make it with `snakemake --cores all {stem}.csv`")
    remarks = present.remarks(options, f"tables/{options.name}")
    begin = "%" if options.latex else ">"
    print("".join(f"{begin} {line}\n" for line in [*remarks, ""] if remarks), end="")
    if options.latex:
        import pandas as pd

        from robust_transfer.store import read_card
        from robust_transfer.tables.layout import latex

        print(latex(pd.read_parquet(f"{stem}.parquet"), read_card(card)["spec"]))
    else:
        print(Path(f"{stem}.md").read_text(encoding="utf-8"))
    return 3 if remarks else 0
