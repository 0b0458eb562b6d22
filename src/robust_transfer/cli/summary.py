"""what was made of what the config asks for, where to look, and how many of the papers' claims hold"""

import argparse
from pathlib import Path

from robust_transfer.cli import claims, present


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config."""
    present.arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Print it: what is there and of today's config, and what is not."""
    from robust_transfer.plan.graph import ENDINGS
    from robust_transfer.results import status

    results = options.results
    now = present.present(options)
    found = status.Status(now.plan, results)
    made = [product for product in now.plan.products.values() if found.products[product.stem].state == status.MADE]
    nodes = sum(each.state == status.MADE for each in found.nodes.values())
    print(f"{nodes} of {len(found.nodes)} nodes are made, and {len(made)} of {len(found.products)} tables, figures and")
    print("pages of verdicts:")
    groups: dict[tuple[Path, str], list[str]] = {}
    for product in made:
        stem = Path(product.stem)
        groups.setdefault((stem.parent, product.kind), []).append(stem.name)
    for (folder, kind), names in groups.items():
        chosen = names[0] if len(names) == 1 else "{" + ",".join(names) + "}"
        print(f"  {results / folder}/{chosen}.{{{','.join(ENDINGS[kind])}}}")
    if found.exit_status:
        print(
            "`robust-transfer status` says what is missing, damaged, or made for other values than those of the config."
        )
    print(f"Where each number came from: the nodes column of the .parquet, then {results}/<kind>/<node>/card.json;")
    print("`robust-transfer audit` checks all of it. What to run is said in config.yaml.")
    if (results / "claims.parquet").exists():
        claims.show(results, "claims", status.remarks(found, now.values, "claims"), named=False)
        print("`robust-transfer claims` names those that are reversed.")
    return 0
