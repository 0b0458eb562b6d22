"""where a number comes from: the chain from a cell of a table, or a point of a figure, back to the data

TABLE is STUDY/NAME, e.g. davchev/table1 or davchev/fig2; without ROW and COLUMN the names that it has are listed.
The exit status is 0 where the number is there and nothing behind it is missing or out of date, and else 3.
"""

import argparse
import json
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robust_transfer.results.trace import Step, Traced

ALIASES = ("why",)
WIDTH = 120


def arguments(parser: argparse.ArgumentParser) -> None:
    """A place in a table or figure."""
    parser.add_argument("table", metavar="TABLE", help="a table or figure, e.g. davchev/table1")
    parser.add_argument("row", metavar="ROW", nargs="?", help="a row's name")
    parser.add_argument("column", metavar="COLUMN", nargs="?", help="a column's name; images in a figure have none")
    parser.add_argument("--metric", help="one of several numbers in a place; all unless given")
    parser.add_argument("--json", action="store_true", help="print a list of the numbers with their chains")


def run(options: argparse.Namespace) -> int:
    """Print the chain of each number in the place; 3 where one of them is not what would be made now."""
    from robust_transfer.results.trace import Traces

    found = Traces(options.results).trace(options.table, options.row, options.column, options.metric)
    if options.json:
        print(json.dumps([traced.as_json() for traced in found], indent=1, ensure_ascii=False))
    else:
        print("\n\n".join("\n".join(_lines(traced)) for traced in found))
    return 0 if all(traced.is_sound for traced in found) else 3


def _lines(traced: "Traced") -> Iterator[str]:
    """A number, and below it the nodes that it is made from, each indented below what is made from it."""
    from robust_transfer.plan.graph import replicates

    spec, cell = traced.product.spec, dict(traced.cell)
    yield f"{traced.product.key}, {', '.join(filter(None, (cell['row'], cell['column'])))}: {_number(traced)}"
    if traced.out_of_date:
        yield f"OUT OF DATE: {traced.out_of_date}"
    yield f"  {spec['measured']}"
    if spec.get("published"):
        yield f"  {spec['published']}" + (f": {spec['on']}" if spec.get("on") else "")
    seen: set[str] = set()
    for roles in replicates(cell):
        for role, node in roles.items():
            yield ""
            yield from _tree(traced, role, node, 0, seen)


def _number(traced: "Traced") -> str:
    if traced.numbers is None:
        return f"{traced.cell['metric']}, not made"
    if not traced.numbers:
        return traced.cell["metric"]
    shown = {key: value for key, value in traced.numbers.items() if value is not None}
    low, high = (shown.get(key) for key in ("ci_low", "ci_high"))
    interval = f" [{low:.4g}, {high:.4g}]" if low is not None and high is not None else ""
    seeds = f", mean over {shown['seeds']} seeds" if shown.get("seeds", 1) > 1 else ""
    n = f", n = {shown['n']:,}" if shown.get("n") else ""
    printed = f"; published {shown['published']:g}" if "published" in shown else ""
    value = f"{shown['value']:.4g}" if "value" in shown else "no number"
    return f"{traced.cell['metric']} {value}{interval}{n}{seeds}{printed}"


def _tree(traced: "Traced", role: str, node_id: str, depth: int, seen: set[str]) -> Iterator[str]:
    step, indent = traced.steps[node_id], "  " * depth
    above = node_id in seen
    yield f"{indent}{role}: {step.node.kind} {node_id}" + (" (above)" if above else "")
    if above:
        return
    seen.add(node_id)
    for heading, text in _told(step):
        yield from textwrap.wrap(
            text,
            width=max(WIDTH, len(indent) + 60),
            initial_indent=f"{indent}    {heading:<9} ",
            subsequent_indent=f"{indent}    {'':<9} ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    for parent_role, parent in step.node.parents.items():
        yield from _tree(traced, parent_role, parent, depth + 1, seen)


def _told(step: "Step") -> Iterator[tuple[str, str]]:
    """What is said of a node, under headings."""
    if step.state != "made":
        yield "STATE", step.state if step.state == "missing" else f"out of date: {step.state}"
    if card := step.card:
        git, commit = card.get("git") or {}, str((card.get("git") or {}).get("commit"))[:12]
        dirty = " with uncommitted changes" if git.get("dirty") else ""
        today = "" if step.code is not False else ", by other code than today's"
        where = f"{card.get('device')}, {card.get('threads')} threads"
        yield "made", f"{card.get('started')}, {card.get('seconds')} s on {where}, commit {commit}{dirty}{today}"
        if metrics := {key: value for key, value in (card.get("metrics") or {}).items() if key != "warnings"}:
            yield "metrics", _pairs(metrics.items())
        yield from (("WARNING", text) for text in (card.get("metrics") or {}).get("warnings", ()))
    if changed := [(path, value) for path, value, differs in step.values if differs]:
        yield "changed", _pairs(changed)
    if default := [(path, value) for path, value, differs in step.values if not differs]:
        yield "defaults", _pairs(default)
    for place in step.places:
        part = f"{place.part} as " if place.part else ""
        yield "config", f"{part}{place.key} ({', '.join(place.layers)})"
        yield from (("switch", text) for text in place.switches)
        yield from (("filled in", text) for text in place.filled_in)
    yield "command", step.command


def _pairs(items) -> str:
    return ", ".join(f"{key} {json.dumps(value, ensure_ascii=False)}" for key, value in items)
