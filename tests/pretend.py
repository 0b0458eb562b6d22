"""A folder of results as a run leaves it, without the run, in milliseconds: every card is true.

`pretend` writes each node's name into its artifact, and nothing that a table could be made from. `pretend_numbers`
draws outcomes, has tables, figures and verdicts really made of them, and writes cards with all that a run's have.
Where numbers must come of nodes that ran, take made.py.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from robust_transfer import chain, provenance, store
from robust_transfer.plan import freeze
from robust_transfer.plan.graph import ENDINGS, Plan, Product
from robust_transfer.run import nodes, products
from robust_transfer.stages.node import KINDS, Node

ABOUT = {"code": "0" * 12, "git": {"commit": None, "dirty": None}, "versions": {}}
ABOUT |= {"device": "cpu", "machine": provenance.machine(), "threads": 1}
SECONDS = 2.0
"""That a node's card says it took."""
IMAGES = 40
"""Of which outcomes are drawn."""


def one(plan: Plan, kind: str) -> Node:
    """The first node of a kind."""
    return next(node for node in plan.nodes.values() if node.kind == kind)


def pretend(plan: Plan, results: Path, stems: Iterable[str] | None = None) -> Path:
    """Make products, all of the plan unless named, and all behind them; returns the frozen plan."""
    path = freeze.freeze(plan, results)
    shown = [plan.products[stem] for stem in (plan.products if stems is None else stems)]
    wanted = plan.nodes if stems is None else [i for product in shown for i in product.nodes]
    for node in plan.ancestry(wanted):
        if not (results / node.card).exists():
            pretend_node(node, plan, results, path.stem)
    for product in shown:
        pretend_product(product, plan, results, path.stem)
    return path


def pretend_node(
    node: Node, plan: Plan, results: Path, name: str = "0" * 12, content: str | bytes = "", **more: Any
) -> None:
    """Make a node. content: of its artifact, its name unless given. more: what its card says besides, or instead."""
    artifact = results / node.artifact
    artifact.parent.mkdir(parents=True, exist_ok=True)
    artifact.write_bytes(content if isinstance(content, bytes) else (content or node.id).encode())
    card = {"id": node.id, "kind": node.kind, "version": KINDS[node.kind].version, "spec": node.spec}
    card |= {"parents": node.parents, "read": chain.read_by(node, plan.nodes, results), "data": {}, "files": []}
    card |= {"outputs": {artifact.name: store.describe(artifact)}, "metrics": {}, "plan": name, "modules": []}
    store.write_card(results / node.card, card | ABOUT | {"seconds": SECONDS} | more)


def pretend_product(product: Product, plan: Plan, results: Path, name: str = "0" * 12) -> None:
    """Make a product of nodes that are there."""
    stem = results / product.stem
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_suffix(f".{ending}") for ending in ENDINGS[product.kind]]
    for path in paths:
        path.write_text(product.key, encoding="utf-8")
    card = {"kind": product.kind, "key": product.key, "version": product.param["version"], "spec": product.spec}
    card |= {"read": chain.shown_by(product, plan.nodes, results), "plan": name}
    store.write_card(stem.with_suffix(".json"), card | ABOUT | {"outputs": {p.name: store.describe(p) for p in paths}})


# ---- with numbers --------------------------------------------------------------------------------------------------


def pretend_numbers(plan: Plan, results: Path, stems: Iterable[str]) -> Path:
    """Make products of which all nodes are outcomes, models, examples or data; returns the frozen plan."""
    path = freeze.freeze(plan, results)
    del os.environ[freeze.VARIABLE]  # this process is nobody's job
    for node in plan.ancestry(i for stem in stems for i in plan.products[stem].nodes):
        modules = nodes.modules_of(node, plan)
        pretend_node(
            *(node, plan, results, path.stem, outcomes(node) if node.kind == "evaluate" else ""),
            full_spec=KINDS[node.kind].full(node.spec),
            metrics={"n": IMAGES},
            code=provenance.fingerprint(*modules),
            modules=modules,
            git={"commit": "0123456789abcdef", "dirty": False},
            versions={"python": "3.11"},
            machine={"system": "Linux", "processor": "none", "cores": 2},
            started="2026-01-02T03:04:05+00:00",
            peak_memory_mb=100,
        )
    for stem in stems:
        products.make(plan.products[stem], plan, path.stem, results)
    return path


def outcomes(node: Node) -> bytes:
    """The .parquet file of each image's label and prediction, some of which are right."""
    random = np.random.default_rng(int(node.id[-6:], 16))
    labels = np.arange(IMAGES) % 5
    predictions = np.where(random.random(IMAGES) < random.random(), labels, (labels + 1) % 5)
    return pd.DataFrame({"index": np.arange(IMAGES), "label": labels, "prediction": predictions}).to_parquet()
