"""check an archive that `pack` wrote, anywhere

No results folder and no config are needed: the archive's own list, seals, sha256, the chain from the table to the data
files, and the numbers, computed anew where the artifacts are in it.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which archive."""
    parser.add_argument("file", type=Path, metavar="FILE.zip", help="the archive")
    parser.add_argument("--json", action="store_true", help="say it as JSON")


def run(options: argparse.Namespace) -> int:
    """Print every finding; 1 where there is one."""
    from robust_transfer.share import verify

    found = verify.verify(options.file)
    status = 1 if found.findings else 0
    if options.json:
        print(json.dumps(asdict(found) | {"file": str(options.file), "sound": not status}, indent=1))
        return status
    for sentence in found.findings:
        print(f"damaged: {sentence}")
    for sentence in found.notes:
        print(f"note: {sentence}")
    if not status:
        numbers = found.numbers
        print(f"{found.table}: {found.nodes} nodes, the chain is whole, {found.artifacts} artifacts are what was made")
        print(
            f"{numbers['computed']} of {numbers['all']} numbers were computed anew: {numbers['same']} came out the same"
        )
        if numbers["computed"] < numbers["all"]:
            print("The others' artifacts are not in it (`pack --artifacts`).")
    print(f"sha256 {found.sha256}")
    return status
