"""what the results say of the papers' claims, study by study

Exit status: 0, or 3 where the verdicts are not of what the config of today asks for.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from robust_transfer.cli import present
from robust_transfer.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, and in which form."""
    present.arguments(parser)
    parser.add_argument("--markdown", action="store_true", help="all verdicts as Markdown tables, a row a claim")


def run(options: argparse.Namespace) -> int:
    """Print the verdicts, a screen's height of them."""
    path = options.results / "claims.parquet"
    if not path.exists():
        raise UserError(f"{path} is not made yet; `snakemake --cores all {path.with_suffix('.csv')}` makes it")
    remarks = present.remarks(options, "claims")
    show(options.results, remarks, options.markdown)
    return 3 if remarks else 0


def show(results: Path, remarks: Sequence[str], markdown: bool = False, named: bool = True) -> None:
    """Print the verdicts that are there, after what is to be said of them. named: see verdicts.screen."""
    import pandas as pd

    from robust_transfer import store
    from robust_transfer.claims.verdicts import screen, short

    card = store.read_whole(results / "claims.json")
    if markdown:
        print("".join(f"{line}\n\n" for line in remarks), end="")
        print(short(pd.read_parquet(results / "claims.parquet"), card["spec"]["measured"]))
        return
    print("\nWhat the papers claim, held against what was measured here:")
    print("".join(f"{line}\n" for line in remarks), end="")
    print("\n".join(screen(pd.read_parquet(results / "claims.parquet"), str(results / "claims"), named)))
