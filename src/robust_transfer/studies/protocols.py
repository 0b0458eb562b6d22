"""What each switch does to a study's numbers: the table `protocols`, made where config.yaml asks for it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from robust_transfer.plan.config import Settings
from robust_transfer.plan.graph import Plan, in_words, nodes_of
from robust_transfer.plan.protocol import SWITCHES, Protocol, is_switched
from robust_transfer.plan.reading import read_yaml

Headline = tuple[str, list[tuple[str, str]]]
"""The name of a table, and some of its cells as (row, column)."""


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


def add_table(
    plan: Plan, settings: Settings, study: str, headline: Headline, variants: Iterable[tuple[str, Protocol, Plan]]
) -> None:
    """Add `tables/STUDY/protocols`: a row for the config as it is and for each switch set to each protocol, a column a
    headline cell. Variants whose nodes are the same are the same numbers, and cost nothing.
    """
    table, chosen = headline
    cells = _cells(plan, "as configured", study, table, chosen)
    for switch, choice, variant in variants:
        found = _cells(variant, f"{switch}: {choice}", study, table, chosen)
        for node in variant.ancestry(i for cell in found for i in nodes_of(cell)):
            plan.nodes.setdefault(node.id, node)
        cells += found
    spec = {
        "title": f"What the switches do to {table}",
        "measured": f"Measured at scale {settings.scale}, protocol {settings.protocol} but for the switch named"
        + in_words(settings.all_seeds),
        "published": None,
        "corner": "Switch",
        "cells": cells,
    }
    plan.add_product("table", study, "protocols", spec)


def _cells(plan: Plan, row: str, study: str, table: str, chosen: list[tuple[str, str]]) -> list[dict[str, Any]]:
    there = {(cell["row"], cell["column"]): cell for cell in plan.products[f"tables/{study}/{table}"].spec["cells"]}
    return [
        {key: there[place][key] for key in ("metric", "nodes", "replicates") if key in there[place]}
        | {"row": row, "column": " ".join(place)}
        for place in chosen
    ]
