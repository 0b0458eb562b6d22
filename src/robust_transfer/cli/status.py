"""what is made of what the config asks for, what is missing, stale, damaged or running, and the time to go

Exit status: 0 where everything is made and of today's config, 3 where something is to be made, 4 where something is
damaged; 1 and 2 are mistakes in the config and on the command line.
"""

import argparse
import json

from robust_transfer.cli import present


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, and the form."""
    present.arguments(parser)
    parser.add_argument("--json", action="store_true", help="print counts, and all that is not simply made, as JSON")


def run(options: argparse.Namespace) -> int:
    """Print it, a line a study, then what is to be said of single things."""
    from robust_transfer.results import status

    now = present.present(options)
    found = status.Status(now.plan, options.results)
    if options.json:
        print(json.dumps(status.as_values(found, now.values), indent=2, ensure_ascii=False))
    else:
        print("\n".join(status.lines(found, now.values)))
    return found.exit_status
