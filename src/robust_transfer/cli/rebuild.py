"""make nodes once more in a scratch folder, and compare bits, or else numbers

Exit status: 0 where every node came out again, with the same bits or with numbers within their intervals; 1 otherwise.
Nothing is written into the folder of results.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from robust_transfer.errors import UserError

if TYPE_CHECKING:
    from robust_transfer.audit.rebuild import Rebuilt


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which nodes, and how."""
    parser.add_argument("nodes", nargs="*", metavar="NODE", help="a node's id, or a part that is its alone")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="besides, N nodes drawn at random")
    parser.add_argument("--kind", action="append", default=[], help="draw from this kind; may be given several times")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (%(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: as many as each node was made with)")
    parser.add_argument("--data-root", type=Path, help="where data sets lie (default: as the newest plan says)")
    parser.add_argument("--exact", action="store_true", help="take other bits for a failure, too")
    parser.add_argument("--alone", action="store_true", help="do not look for the stage that departs first")
    parser.add_argument("--json", action="store_true", help="say it as JSON")


def run(options: argparse.Namespace) -> int:
    """Rebuild, and print a line a node."""
    from robust_transfer import store
    from robust_transfer.audit.rebuild import OUTCOMES, Rebuilder
    from robust_transfer.pace import in_words
    from robust_transfer.stages.node import KINDS

    if unknown := {*options.kind} - {*KINDS}:
        raise UserError(f"{', '.join(sorted(unknown))} is no kind of node; there are {', '.join(KINDS)}")
    if options.sample < 0 or (options.threads is not None and options.threads < 1):
        raise UserError("--sample and --threads count something; give a whole number above zero")
    builder = Rebuilder(options.results, options.threads, options.data_root)
    ids = [store.find(options.results, name, KINDS).name for name in options.nodes]
    ids += [i for i in builder.sample(options.sample, options.kind, options.seed) if i not in ids]
    if not ids:
        raise UserError(f"nothing to rebuild in {options.results}; name nodes, or say --sample N where some are made")
    if not options.json:
        known = [i for i in ids if i in builder.cards]
        print(f"{len(ids)} nodes, which took {in_words(builder.seconds(known))} when they were made", flush=True)
    found = []
    for i in ids:
        each = builder.rebuilt(i)
        if each.outcome in ("within", "beyond") and not options.alone:
            builder.look_up(each)
        found.append(each)
        if not options.json:
            print("\n".join(_lines(each)), flush=True)
    counts = {outcome: sum(each.outcome == outcome for each in found) for outcome in OUTCOMES}
    if options.json:
        print(json.dumps({"counts": counts, "nodes": [asdict(each) for each in found]}, indent=1, ensure_ascii=False))
    else:
        print(
            f"{len(found)} rebuilt: {counts['same']} the same bits, {counts['within']} within their intervals, "
            f"{counts['beyond']} beyond, {counts['failed']} failed"
        )
    good = counts["same"] + (0 if options.exact else counts["within"])
    return 0 if good == len(found) else 1


def _lines(each: "Rebuilt") -> list[str]:
    """What the screen shows of a node."""
    lines = [f"{each.outcome}: {each.kind} {each.id} ({each.seconds:.1f} s)"]
    if each.why:
        lines.append(f"  {each.why}")
    if each.difference:
        lines.append(f"  {each.difference}")
    for name, number in each.numbers.items():
        lines.append("  {}: {then:.4g} ({low:.4g} to {high:.4g}) then, {now:.4g} now".format(name, **number))
    if each.difference:
        changed = "; ".join(f"{name}: {then} then, {now} now" for name, (then, now) in each.changed.items())
        lines.append(f"  changed since: {changed or 'neither machine nor threads nor versions nor code'}")
    if each.departs:
        itself = "itself: all it was made from come out the same"
        lines.append(f"  first to depart: {itself if each.departs == each.id else each.departs}")
    return lines
