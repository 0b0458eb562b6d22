"""A table of a few cells, made in this process within seconds, with all nodes behind it."""

from pathlib import Path

import pytest

from robust_transfer import cli
from robust_transfer.plan import freeze
from robust_transfer.plan.graph import Plan, Product
from robust_transfer.run import nodes, products
from workspace import TINY, merged, planned

TABLE = "tables/davchev/table1"


def part_of(whole: Plan, stem: str, rows: int, columns: int) -> Plan:
    """The plan of the first rows and columns of one of its tables, alone."""
    product = whole.products[stem]
    cells = product.spec["cells"]
    kept = {axis: [*dict.fromkeys(cell[axis] for cell in cells)] for axis in ("row", "column")}
    chosen = [c for c in cells if c["row"] in kept["row"][:rows] and c["column"] in kept["column"][:columns]]
    part = Plan(whole.origin)
    part.products[stem] = Product(product.kind, product.study, product.name, product.spec | {"cells": chosen})
    part.nodes = {node.id: node for node in whole.ancestry(part.products[stem].nodes)}
    return part


def made(results: Path, rows: int = 2, columns: int = 4, **overlay) -> Plan:
    """Make the first rows and columns of Davchev et al.'s Table 1 in a folder of results; returns their plan."""
    plan = part_of(planned("davchev", **merged(TINY, overlay)), TABLE, rows, columns)
    name = freeze.freeze(plan, results).stem
    for node in plan.ancestry(plan.products[TABLE].nodes):
        nodes.make(node, plan, name, results, threads=1)
    products.make(plan.products[TABLE], plan, name, results)
    return plan


def run(*words) -> int | str:
    """The exit status of the command, or the sentence that it ends with."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr("sys.argv", ["robust-transfer", *map(str, words)])
        cli.main()
    return ended.value.code
