"""Results that nodes really made, in this process.

`Small` is the least plan that has a bit of everything, made within a second or two; `table1` some cells of Davchev et
al.'s Table 1 with all behind them, within seconds. Where Snakemake has to run them, take workspace.py; where a folder
only has to look as a run leaves it, pretend.py, which takes milliseconds.
"""

import shutil
from pathlib import Path

import numpy as np

from robust_transfer import chain
from robust_transfer.plan import build, freeze
from robust_transfer.plan.graph import Plan, Product
from robust_transfer.plan.specs import CifarResNet, Fgsm, Npz, Recipe, Schedule
from robust_transfer.run import nodes, products
from workspace import TINY, merged, planned

MACHINE = {"threads": 1, "gpus": 0, "memory_mb": 1000, "device": "cpu", "checkpoint_seconds": 600}
SHOWN = {"title": "T", "measured": "M", "published": None, "corner": "Net"}


def write(seed, path="data/mine.npz"):
    """8 + 8 images of two classes, another draw for each seed."""
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, (2, 8, 8, 8, 1), np.uint8)
    labels = np.arange(8) % 2
    np.savez(path, train_images=images[0], train_labels=labels, test_images=images[1], test_labels=labels)


def copied(place, to, monkeypatch):
    """A copy of a finished folder as the working directory, in which this process is nobody's job."""
    shutil.copytree(place, to)
    monkeypatch.chdir(to)
    monkeypatch.delenv(freeze.VARIABLE, raising=False)
    return to


class Small:
    """A plan of a data set, a model, an attack, two evaluations and a table; made in this process."""

    def __init__(self, results, **more):
        self.results = results
        self.plan = Plan({"config": {}, "main_study": "s", "machine": MACHINE, "data_root": "data"})
        schedule = Schedule(iterations=1, batch_size=8, lr=0.1)
        network = CifarResNet(family="cifar-resnet", depth_per_stage=[1], width=2)
        self.data = build.prepare(self.plan, Npz(reader="npz", file="mine.npz", validation=0, **more))
        self.model = build.pretrain(self.plan, self.data, Recipe(network=network, schedule=schedule))
        self.clean = build.evaluate(self.plan, self.model, self.data)
        self.hit = build.attacked(self.plan, self.model, self.data, Fgsm(algorithm="fgsm", eps=0.1), 0)
        cells = [
            {"row": "R", "column": column, "metric": "accuracy", "nodes": {"outcomes": i}, "published": None}
            for column, i in (("clean", self.clean.id), ("FGSM", self.hit.id))
        ]
        self.table = self.plan.add_product("table", "s", "table1", SHOWN | {"cells": cells})

    def make(self, *which):
        """Make these nodes, or all, and the table."""
        path = freeze.freeze(self.plan, self.results)
        for node in which or self.plan.ancestry(self.plan.nodes):
            nodes.make(node, self.plan, path.stem, self.results, 1)
        if not which:
            products.make(self.table, self.plan, path.stem, self.results)

    def out_of_date(self):
        """Ids of nodes, and stems of products, in the order of the plan."""
        found = chain.out_of_date(self.plan, self.results)
        return {path.split("/")[1] if path.endswith("/card.json") else path for path in found}

    @property
    def everything(self):
        return {*self.plan.nodes, f"{self.table.stem}.json"}


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


def table1(results: Path, rows: int = 2, columns: int = 4, **overlay) -> Plan:
    """Make the first rows and columns of Davchev et al.'s Table 1 in a folder of results; returns their plan."""
    plan = part_of(planned("davchev", **merged(TINY, overlay)), TABLE, rows, columns)
    name = freeze.freeze(plan, results).stem
    for node in plan.ancestry(plan.products[TABLE].nodes):
        nodes.make(node, plan, name, results, threads=1)
    products.make(plan.products[TABLE], plan, name, results)
    return plan
