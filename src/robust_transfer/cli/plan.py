"""what is to be made, and what that costs: time on a device and in all, disk, memory, the longest path

Without TARGET all of the config. A target is a study, a table or figure, or a node. What is made already costs nothing.
Nothing is run. Seconds come from what cards in results/ have recorded on the device; where there are none it is said
which speed is assumed. See docs/cost.md. Exit status: 0 where all is made, 3 where something is to be made.
"""

import argparse
import json
import math

from robust_transfer.cli import present


def arguments(parser: argparse.ArgumentParser) -> None:
    """The config, targets, and what is assumed."""
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    present.arguments(parser)
    parser.add_argument("--scale", help="another scale than the config's; as --config scale=SCALE")
    parser.add_argument("--devices", type=_count, default=1, metavar="N", help="so many GPUs, or processes on CPUs (1)")
    parser.add_argument(
        "--teraflops", type=_speed, metavar="X", help="10^12 operations a second, where no card says it"
    )
    parser.add_argument("--json", action="store_true", help="print all of it, node by node, as JSON")


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def _speed(text: str) -> float:
    if not 0 < (number := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no speed")
    return number


def run(options: argparse.Namespace) -> int:
    """Print it: by study, by kind, and the longest path."""
    from robust_transfer.cost import forecast, words

    if options.scale:
        options.config = [*options.config, f"scale={options.scale}"]
    plan = present.present(options).plan
    found = forecast.of_results(plan, options.results, options.targets, options.teraflops)
    if options.json:
        print(json.dumps(words.as_values(found, options.devices), indent=2, ensure_ascii=False))
    else:
        print("\n".join(words.lines(found, options.devices)))
    return 3 if found.ids else 0
