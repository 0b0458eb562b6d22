"""every value of the config, and the layer that it came from"""

import argparse
import json
from pathlib import Path

from robust_transfer.cli import present


def arguments(parser: argparse.ArgumentParser) -> None:
    """A part of it, and the layers that are laid over config.yaml."""
    parser.add_argument("path", nargs="?", help="a part of the config, e.g. davchev.attacks; all unless given")
    present.arguments(parser)
    parser.add_argument("--json", action="store_true", help="print {path: {value, layer, switch}}")


def run(options: argparse.Namespace) -> int:
    """Print it, a line a value."""
    from robust_transfer.plan.effective import as_lines, narrowed
    from robust_transfer.plan.layers import of_user
    from robust_transfer.studies import effective

    found = effective(of_user(Path("config.yaml"), options.configfile, options.config), Path("workflow"))
    if options.path:
        found = narrowed(found, options.path)
    if options.json:
        shown = {item.path: {"value": item.value, "layer": item.layer, "switch": item.switch} for item in found}
        print(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        print("\n".join(as_lines(found)))
    return 0
