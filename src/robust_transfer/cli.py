"""The command `robust-transfer`: what was made, and whether it can be believed."""

import argparse
import sys
from itertools import groupby
from pathlib import Path

from robust_transfer.errors import UserError


def main() -> None:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(prog="robust-transfer", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of all results (%(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("summary", help="what was made and where to look")
    audit = commands.add_parser("audit", help="check every result against its card")
    audit.add_argument("--repair", action="store_true", help="take damaged outputs away, so that they are made anew")
    options = parser.parse_args()
    try:
        sys.exit(_summary(options.results) if options.command == "summary" else _audit(options.results, options.repair))
    except UserError as error:
        sys.exit(str(error))


def _summary(results: Path) -> int:
    from robust_transfer.plan import freeze

    plan = freeze.thaw(freeze.newest(results))
    made = [product for product in plan.products.values() if (results / f"{product.stem}.json").exists()]
    main = [p for p in made if p.kind == "table" and p.study == plan.origin["main_study"] and p.name[-1].isdigit()]
    if main:
        print((results / f"{main[-1].stem}.md").read_text(encoding="utf-8"))
    nodes = sum((results / node.card).exists() for node in plan.nodes.values())
    print(f"{nodes} of {len(plan.nodes)} nodes and {len(made)} of {len(plan.products)} tables and figures are made:")
    for (kind, study), group in groupby(made, lambda product: (product.kind, product.study)):
        endings = "{csv,parquet,md}" if kind == "table" else "{png,svg}"
        names = [product.name for product in group]
        chosen = names[0] if len(names) == 1 else "{" + ",".join(names) + "}"
        print(f"  {results}/{kind}s/{study}/{chosen}.{endings}")
    print(f"Where each number came from: the nodes column of the .parquet, then {results}/<kind>/<node>/card.json;")
    print("`robust-transfer audit` checks all of it. What to run is said in config.yaml.")
    return 0


def _audit(results: Path, wants_repair: bool) -> int:
    from robust_transfer import audit

    damages = list(audit.damages(results))
    count = len(audit.node_folders(results)), len(audit.product_cards(results))
    for finding in damages:
        print(f"damaged: {finding.what}")
    for finding in audit.remarks(results):
        print(f"note: {finding.what}")
    print(f"{count[0]} nodes and {count[1]} tables and figures audited: {len(damages)} damaged")
    if damages and wants_repair:
        missing = audit.repair(damages)
        print("The damaged files are taken away. This makes just these anew:\n")
        print("  snakemake --cores all " + " ".join(map(str, missing)))
        return 0
    if damages:
        print("`robust-transfer audit --repair` takes them away and says how to make just these anew.")
    return 1 if damages else 0
