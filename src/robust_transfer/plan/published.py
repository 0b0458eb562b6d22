"""The papers' printed numbers, and which cells reproduce them."""

import csv
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

from robust_transfer.canonical import canonical_json
from robust_transfer.plan.graph import Plan, Product
from robust_transfer.stages.node import Node

PRINTED = "published"
"""The metric of a cell that shows the printed number itself, and so has no nodes; a figure of several kinds of numbers
tells them apart by a second word: `published ASR`.
"""

Place = tuple[str, str]
Conditions = Callable[[Iterable[str]], frozenset[str]]
"""What nodes are measured on; see conditions."""


def published_tables(study: str) -> dict[str, dict[Place, float]]:
    """All tables of a study of which the paper's numbers are here, by name."""
    folder = files("robust_transfer").joinpath("published", study)
    names = sorted(file.name.removesuffix(".csv") for file in folder.iterdir()) if folder.is_dir() else []
    return {name: published_table(study, name) for name in names}


def is_printed(metric: str) -> bool:
    """Whether a metric says that a printed number is shown."""
    return metric.split()[0] == PRINTED


def published_rows(study: str, table: str) -> list[list[str]]:
    """A table as printed, its header first, from published/STUDY/TABLE.csv."""
    text = files("robust_transfer").joinpath("published", study, f"{table}.csv").read_text(encoding="utf-8")
    return list(csv.reader(text.splitlines()))


def published_table(study: str, table: str) -> dict[Place, float]:
    """(row, column) -> the printed number."""
    header, *rows = published_rows(study, table)
    return {
        (row[0], column): float(value)
        for row in rows
        for column, value in zip(header[1:], row[1:], strict=True)
        if value
    }


def attach(plan: Plan, paper: Plan | None) -> None:
    """Give the cells of tables the numbers that the papers print of the same thing, and a table of which some are left
    the whole table as printed.

    paper: the plan at the papers' own scale; None where nothing of it can be in the other plan. A cell reproduces the
    one that stands there in its place if they share the metric and all that they are measured on (see conditions).
    """
    on = conditions(plan)
    on_paper = conditions(paper) if paper else on
    for stem, product in plan.products.items():
        if product.kind != "table" or not product.spec["published"]:
            continue
        printed = published_table(product.study, product.name)
        same: set[Place] = set()
        if paper and stem in paper.products:
            ours, theirs = _by_place(product, on), _by_place(paper.products[stem], on_paper)
            same = {place for place in printed if place in theirs and ours.get(place) == theirs[place]}
        cells = [
            cell | {"published": printed[place] if (place := (cell["row"], cell["column"])) in same else None}
            for cell in product.spec["cells"]
        ]
        whole = {} if same == printed.keys() else {"whole": published_rows(product.study, product.name)}
        plan.products[stem] = replace(product, spec=product.spec | {"cells": cells} | whole)


def _by_place(table: Product, on: Conditions) -> dict[Place, tuple[str, frozenset[str]]]:
    """Of each cell of the paper's in a table, the metric and what it is measured on."""
    return {
        (cell["row"], cell["column"]): (cell["metric"], on(cell["nodes"].values()))
        for cell in table.spec["cells"]
        if not cell.get("ours")
    }


def conditions(plan: Plan) -> Conditions:
    """The function that says what nodes are measured on: the data sets behind them, the split, and of each model the
    network, the data set and the part that is trained.

    Budgets, schedules, seeds, normalisation and what is held out for validation are left to the caption.
    """

    @cache
    def of_node(node_id: str) -> frozenset[str]:
        node = plan.nodes[node_id]
        return frozenset(map(canonical_json, _own(node, plan))).union(*map(of_node, node.parents.values()))

    return lambda nodes: frozenset().union(*map(of_node, nodes))


def _own(node: Node, plan: Plan) -> Iterable[dict[str, Any]]:
    """What a node itself adds to the conditions."""
    if node.kind == "prepare":
        yield _without(node.spec, "validation", "seed")
    elif node.kind in ("bring", "pretrain", "transfer"):
        network = _without(node.spec.get("network") or {}, "normalise")
        trained: dict[str, Any] = {part: node.spec[part] for part in ("trainable", "reset") if part in node.spec}
        data = plan.nodes[node.parents["data"]].spec if "data" in node.parents else {}
        yield {"kind": node.kind, "network": network, "data": _without(data, "validation", "seed"), **trained}
    elif node.spec.get("split", "test") != "test" and node.kind in ("evaluate", "craft", "certify"):
        yield {"split": node.spec["split"]}


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}
