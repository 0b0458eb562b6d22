"""what the results say of the papers' claims, study by study"""

import argparse

from robust_transfer.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(options: argparse.Namespace) -> int:
    """Print the verdicts, a screen's height of them."""
    import pandas as pd

    from robust_transfer.claims.verdicts import screen

    path = options.results / "claims.parquet"
    if not path.exists():
        raise UserError(f"{path} is not made yet; `snakemake --cores all {path.with_suffix('.csv')}` makes it")
    print("\nWhat the papers claim, held against what was measured here:")
    print("\n".join(screen(pd.read_parquet(path), str(options.results / "claims"))))
    return 0
