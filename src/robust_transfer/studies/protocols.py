"""What each switch does to a study's numbers: which cells it changes, and the table `protocols`, made where config.yaml
asks for it.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_transfer.plan.graph import Plan, in_words, nodes_of, replicates
from robust_transfer.plan.protocol import SWITCHES, Protocol, is_switched
from robust_transfer.plan.reading import read_yaml

if TYPE_CHECKING:
    from robust_transfer.studies.base import Study


def switches_of(study: str, workflow: Path) -> list[str]:
    """The switches that the study's values depend on, at any scale, in the order of their numbers."""
    found: set[str] = set()
    for path in [*(workflow / "recipes").glob("*.yaml"), *(workflow / "scales").glob("*.yaml")]:
        content = read_yaml(path)
        found |= set(_switches(content.get(study, {})))
        if path.parent.name == "scales":
            shared = [content.get(key, {}) for key in ("datasets", "networks")]
            found |= set(_switches(shared)) & _named_for(study)
    return [switch for switch in SWITCHES if switch in found]


def _named_for(study: str) -> set[str]:
    return {name for name, switch in SWITCHES.items() if switch.study == study}


def _switches(value: Any) -> Iterable[str]:
    if is_switched(value):
        yield from value
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield from _switches(child)


def changed_cells(usual: Plan, variant: Plan) -> Counter[str]:
    """Name of each table with a change -> how many of its cells are of other nodes in the variant."""
    found: Counter[str] = Counter()
    for stem, product in variant.products.items():
        if product.kind == "table":
            before = [_shown(cell) for cell in usual.products[stem].spec["cells"]]
            found[product.name] += sum(_shown(cell) not in before for cell in product.spec["cells"])
    return +found


def _shown(cell: dict[str, Any]) -> tuple[Any, ...]:
    return cell["row"], cell["column"], cell["metric"], replicates(cell)


def add_table(plan: Plan, study: "Study", variants: Iterable[tuple[str, Protocol, Plan]]) -> None:
    """Add `tables/STUDY/protocols`: a row for the config as it is and for each switch set to each protocol. Each
    headline cell has a column of the number, and one of the effect: by how much it differs from the first row's.

    Variants whose nodes are the same are the same numbers: they have no row and cost nothing.
    """
    table, places = study.headline()
    usual = _cells(plan, study, places, table)
    shown = [(cell | {"row": AS_CONFIGURED}) for cell in usual]
    without: dict[str, None] = {}
    for switch, choice, variant in variants:
        cells = _cells(variant, study, places, table)
        if cells == usual:
            without.setdefault(switch)
            continue
        for node in variant.ancestry(i for cell in cells for i in nodes_of(cell)):
            plan.nodes.setdefault(node.id, node)
        for before, after in zip(usual, cells, strict=True):
            row = {"row": f"{switch}: {choice}"}
            shown += [after | row, _effect(before, after) | row]
    rows = {cell["row"].partition(":")[0] for cell in shown}
    nothing = [switch for switch in without if switch not in rows]
    spec = {
        "title": f"What the switches do to {table}",
        "measured": study.caption("each row with the switch that it names, effects against the first row")
        + (f"; these change nothing here: {', '.join(nothing)}" if nothing else "")
        + in_words(study.settings.all_seeds),
        "published": None,
        "corner": "Switch",
        "cells": shown,
    }
    plan.add_product("table", study.name, "protocols", spec)


AS_CONFIGURED = "as configured"


def _cells(plan: Plan, study: "Study", positions: list[tuple[str, str]], table: str) -> list[dict[str, Any]]:
    """The headline cells, each with its position as its column."""
    cells = {
        (cell["row"], cell["column"]): cell for cell in plan.products[f"tables/{study.name}/{table}"].spec["cells"]
    }
    return [
        {key: cells[position][key] for key in ("metric", "nodes", "replicates") if key in cells[position]}
        | {"column": " ".join(position)}
        for position in positions
    ]


def _effect(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The cell of a difference, seed by seed."""
    pairs = [replicates(before), replicates(after)]
    of_seeds = max(map(len, pairs))
    pairs = [nodes * of_seeds if len(nodes) == 1 else nodes for nodes in pairs]
    nodes = [
        {
            f"{when}_{role}": node
            for when, each in zip(("before", "after"), pair, strict=True)
            for role, node in each.items()
        }
        for pair in zip(*pairs, strict=True)
    ]
    cell = {"metric": f"effect on {after['metric']}", "column": f"{after['column']}, effect", "nodes": nodes[0]}
    return cell | ({"replicates": nodes} if of_seeds > 1 else {})
