"""the data sets that the config needs: there or missing, where to get them, on what terms; --fetch and --check

Exit status: 0 where all are there, 3 where one is missing or partial, or could not be fetched.
"""

import argparse
import json
import sys
from pathlib import Path

from robust_transfer.cli import present


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, what to do, and the form."""
    present.arguments(parser)
    parser.add_argument(
        "--fetch", nargs="*", metavar="SET", help="download these, or all that are missing and can be downloaded"
    )
    parser.add_argument(
        "--check",
        nargs="*",
        metavar="SET",
        help="read these, or all that are there: counts, and MD5 that are published",
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(options: argparse.Namespace) -> int:
    """Fetch, check, and print what there is to say of each set."""
    from robust_transfer.data import inventory

    plan = present.present(options).plan
    data_root = Path(plan.origin["data_root"])
    sets = inventory.needed(plan)
    failed: list[inventory.Needed] = []
    if options.fetch is not None:
        chosen = inventory.chosen(sets, options.fetch, (inventory.MISSING, inventory.PARTIAL))
        failed = inventory.fetch_each((each for each in chosen if options.fetch or each.can_be_fetched), data_root)
    if options.check is not None:
        for each in inventory.chosen(sets, options.check, (inventory.THERE,)):
            inventory.check(each, data_root)
    if options.json:
        print(json.dumps(inventory.as_values(sets), indent=2, ensure_ascii=False))
    else:
        print("\n".join(inventory.lines(sets)))
    if failed:
        print(f"not fetched, see above: {', '.join(each.name for each in failed)}", file=sys.stderr)
    return 0 if not failed and all(each.state == inventory.THERE for each in sets) else 3
