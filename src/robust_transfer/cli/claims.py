"""what the results say of the papers' claims, study by study

Exit status: 0, or 3 where the verdicts are not of what the config of today asks for.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from robust_transfer.cli import present
from robust_transfer.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Of which study, the config, and in which form."""
    parser.add_argument("study", nargs="?", metavar="STUDY", help="the verdicts of one study; of all unless given")
    present.arguments(parser)
    parser.add_argument("--markdown", action="store_true", help="all verdicts as Markdown tables, a row a claim")


def run(options: argparse.Namespace) -> int:
    """Print the verdicts, a screen's height of them."""
    stem = f"claims/{options.study}" if options.study else "claims"
    path = options.results / f"{stem}.parquet"
    if not path.exists():
        there = sorted(each.stem for each in (options.results / "claims").glob("*.parquet"))
        some = f"; there are those of {', '.join(there)}: `robust-transfer claims {there[0]}`" if there else ""
        raise UserError(f"{path} is not made yet; `snakemake --cores all {path.with_suffix('.csv')}` makes it{some}")
    remarks = present.remarks(options, stem)
    show(options.results, stem, remarks, options.markdown)
    return 3 if remarks else 0


def show(results: Path, stem: str, remarks: Sequence[str], markdown: bool = False, named: bool = True) -> None:
    """Print the verdicts that are there, after what is to be said of them. stem: of which product. named: see
    verdicts.screen.
    """
    import pandas as pd

    from robust_transfer import store
    from robust_transfer.claims.verdicts import screen, short

    card = store.read_whole(results / f"{stem}.json")
    found = pd.read_parquet(results / f"{stem}.parquet")
    if markdown:
        print("".join(f"{line}\n\n" for line in remarks), end="")
        print(short(found, card["spec"]["measured"]))
        return
    print("\nWhat the papers claim, held against what was measured here:")
    print("".join(f"{line}\n" for line in remarks), end="")
    print("\n".join(screen(found, str(results / "claims"), named)))
