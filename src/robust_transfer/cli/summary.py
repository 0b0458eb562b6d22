"""what was made, where to look, and what it says of the papers' claims"""

import argparse
from itertools import groupby
from pathlib import Path

from robust_transfer.cli import claims


def arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(options: argparse.Namespace) -> int:
    """Print it by the newest plan."""
    from robust_transfer.plan import freeze
    from robust_transfer.plan.graph import ENDINGS

    results = options.results
    plan = freeze.thaw(freeze.newest(results))
    made = [product for product in plan.products.values() if (results / f"{product.stem}.json").exists()]
    nodes = sum((results / node.card).exists() for node in plan.nodes.values())
    print(f"{nodes} of {len(plan.nodes)} nodes are made, and {len(made)} of {len(plan.products)} tables, figures and")
    print("pages of verdicts:")
    for (folder, kind), group in groupby(made, lambda product: (str(Path(product.stem).parent), product.kind)):
        names = [Path(product.stem).name for product in group]
        chosen = names[0] if len(names) == 1 else "{" + ",".join(names) + "}"
        print(f"  {results / folder}/{chosen}.{{{','.join(ENDINGS[kind])}}}")
    print(f"Where each number came from: the nodes column of the .parquet, then {results}/<kind>/<node>/card.json;")
    print("`robust-transfer audit` checks all of it. What to run is said in config.yaml.")
    return claims.run(options) if (results / "claims.parquet").exists() else 0
