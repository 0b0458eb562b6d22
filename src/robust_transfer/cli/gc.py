"""what in results/ nothing wants any more, with sizes; removes it on --yes

Wanted is what the config of today asks for, what the plans of --keep ask for, and what the tables, figures and verdicts
that are there were made from. Exit status: 0 where nothing can go or all of it went, 3 where something can.
"""

import argparse
import json
from pathlib import Path

from robust_transfer.cli import present
from robust_transfer.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    """What is wanted, and what is to be done."""
    present.arguments(parser)
    parser.add_argument("--keep", nargs="+", action="extend", default=[], metavar="PLAN", help="frozen plans to keep")
    examples = "also let adversarial examples go from which all is made that is planned; their cards stay"
    parser.add_argument("--examples", action="store_true", help=examples)
    parser.add_argument("--yes", action="store_true", help="remove it")
    parser.add_argument("--json", action="store_true", help="print {path, bytes, what, plan} of each")


def run(options: argparse.Namespace) -> int:
    """List it, or remove it."""
    from robust_transfer.plan.stopping import somebody_works
    from robust_transfer.results import gc
    from robust_transfer.results.status import Status

    results = options.results
    collection = gc.Collection(Status(present.present(options).plan, results), options.keep)
    found = [*collection.unwanted(), *(collection.examples() if options.examples else ())]
    if options.yes:
        if somebody_works(Path(".snakemake")):
            raise UserError("a Snakemake works in this folder, by a plan that may want it; wait for its end")
        gc.remove(found, results)
    if options.json:
        print(json.dumps([{**vars(each), "path": str(each.path)} for each in found], indent=2))
    else:
        print("\n".join(gc.lines(found, results, options.yes)))
    return 3 if found and not options.yes else 0
