"""a table with all that it was made from, as one archive (RO-Crate)

The zip holds the table, the cards of all nodes behind it and its plan, and with --artifacts what they made.
`robust-transfer verify FILE` checks it anywhere.
"""

import argparse
import json
from pathlib import Path

from robust_transfer.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which table, and what goes with it."""
    parser.add_argument("table", metavar="STUDY/TABLE", help="e.g. davchev/table1")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.zip", help="where to write it")
    parser.add_argument(
        "--artifacts",
        nargs="?",
        const="all",
        default="none",
        choices=("none", "shown", "all"),
        help="with the files that the nodes made: all, data sets and models included, or only those that the table's "
        "numbers are computed from (shown); all unless said otherwise",
    )
    parser.add_argument("--license", metavar="URL", help="the licence that you give it; none is assumed")
    parser.add_argument("--author", action="append", default=[], metavar="NAME", help="may be given several times")
    parser.add_argument("--json", action="store_true", help="say as JSON what was packed")


def run(options: argparse.Namespace) -> int:
    """Write it, check it, and say what is in it."""
    from robust_transfer import pace
    from robust_transfer.share import crate, verify

    stem = f"tables/{options.table.removeprefix('tables/')}"
    if not (options.results / f"{stem}.json").is_file():
        path = options.results / stem
        raise UserError(f"there is no {path} yet; make it with `snakemake --cores all {path}.csv`")
    packed = crate.pack(stem, options.results, options.output, options.artifacts, options.license, options.author)
    checked = verify.verify(options.output)
    if checked.findings:
        options.output.unlink()
        findings = "; ".join(checked.findings[:3])
        raise UserError(f"{options.table} is not packed, because it would not be believed: {findings}")
    if options.json:
        print(json.dumps(packed | {"file": str(options.output)}, indent=1))
        return 0
    size = pace.in_bytes(packed["bytes"])
    print(f"{options.output} ({size}): {options.table}, {packed['nodes']} cards, {packed['artifacts']} artifacts")
    if packed["absent"]:
        print(f"left out, because they are gone: the artifacts of {', '.join(packed['absent'])}")
    if packed["artifacts"] and options.artifacts == "all":
        print("It holds the images of the data sets: pass it on only where their licences let you.")
    print(f"sha256 {packed['sha256']}: print it where the archive is cited, and anyone can tell that it is this one.")
    return 0
