"""check whether results can be believed: their bytes, where they came from, and what their numbers promise

Exit status: 0 where there are notes at most, 1 where something is damaged, 3 where something is stale, 4 where
something is wrong; the first of these that is so.
"""

import argparse
import json
from pathlib import Path

from robust_transfer.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    """What is looked at, against what, and what is to be done about damage."""
    parser.add_argument(
        "--level",
        choices=("integrity", "currency", "science"),
        action="append",
        help="look at this level alone; may be given several times",
    )
    parser.add_argument("--json", action="store_true", help="print {root, audited, counts, findings}")
    parser.add_argument("--repair", action="store_true", help="take damaged outputs away, so that they are made anew")
    parser.add_argument(
        "--record",
        type=Path,
        nargs="?",
        const=Path(),
        metavar="FILE",
        help="write the sha256 of every file, to be committed or signed (results/manifest.sha256 unless named)",
    )
    parser.add_argument("--against", metavar="FILE", help="hold the files against such a manifest, or against its root")


def run(options: argparse.Namespace) -> int:
    """Print every finding, or all as JSON."""
    from robust_transfer import audit
    from robust_transfer.audit import manifest

    levels = options.level or list(audit.LEVELS)
    if (options.record or options.against) and "integrity" not in levels:
        raise UserError("a manifest is of bytes; add --level integrity")
    stored = audit.Stored(options.results)
    found = list(audit.findings(stored, levels))
    if options.against:
        found += manifest.against(stored, options.against)
    status = audit.status(found)
    if options.json:
        print(json.dumps(audit.as_json(stored, found), indent=2, ensure_ascii=False))
    else:
        print("\n".join(audit.as_lines(stored, found)))
    if options.record:
        return _record(stored, options, status)
    to_mend = [finding for finding in found if finding.damaged]
    if to_mend and options.repair:
        missing = audit.repair(to_mend)
        print("The damaged files are taken away. This makes just these anew:\n")
        print("  snakemake --cores all " + " ".join(map(str, missing)))
        return audit.status(finding for finding in found if not finding.damaged)
    if to_mend and not options.json:
        print("`robust-transfer audit --repair` takes them away and says how to make just these anew.")
    return status


def _record(stored, options: argparse.Namespace, status: int) -> int:
    from robust_transfer.audit import manifest

    if status:
        raise UserError("no manifest is written of what is not sound; mend it first")
    path = options.results / manifest.NAME if options.record == Path() else options.record
    manifest.record(stored, path)
    print(f"{path} is written. Commit it, print its root, or sign it:")
    print(f"  ssh-keygen -Y sign -f ~/.ssh/id_ed25519 -n file {path}    (or: minisign -Sm {path})")
    return 0
