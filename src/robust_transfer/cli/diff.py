"""which values and numbers differ between two configs, plans or folders of results

A and B are each a folder of results, a config file (.yaml) or KEY=VALUE (both laid over config.yaml; several of the
latter as one word with spaces), a frozen plan's file or the first digits of its name, or `now`, the config of today.
Numbers are taken from tables, or from cached outcomes where no table of that config is there; nothing is made.
Exit status: 0 where nothing differs, 3 where something does, 4 where a number does beyond the intervals.
"""

import argparse
import json
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """The two, and the form."""
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    parser.add_argument("--all", action="store_true", help="every value and number that differs")
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")


def run(options: argparse.Namespace) -> int:
    """Print it: values first, then table by table the numbers."""
    from robust_transfer.plan.layers import of_user
    from robust_transfer.results import compare
    from robust_transfer.studies import Present

    def today(files, words):
        return Present(of_user(Path("config.yaml"), files, words), Path("workflow")).plan

    found = compare.Comparison(*(compare.side(name, options.results, today) for name in (options.a, options.b)))
    if options.json:
        print(json.dumps(compare.as_values(found), indent=2, ensure_ascii=False))
    else:
        print("\n".join(compare.lines(found, options.all)) or "nothing differs")
    return found.exit_status
