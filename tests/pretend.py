"""A folder of results as a run leaves it, without the run: every artifact holds its node's name, every card is true."""

from collections.abc import Iterable
from pathlib import Path

from robust_transfer import chain, provenance, store
from robust_transfer.plan import freeze
from robust_transfer.plan.graph import ENDINGS, Plan, Product
from robust_transfer.stages.node import KINDS, Node

ABOUT = {"code": "0" * 12, "git": {"commit": None, "dirty": None}, "versions": {}}
ABOUT |= {"device": "cpu", "machine": provenance.machine(), "threads": 1}
SECONDS = 2.0
"""That a node's card says it took."""


def one(plan: Plan, kind: str) -> Node:
    """The first node of a kind."""
    return next(node for node in plan.nodes.values() if node.kind == kind)


def pretend(plan: Plan, results: Path, stems: Iterable[str] | None = None) -> Path:
    """Make products, all of the plan unless named, and all behind them; returns the frozen plan."""
    path = freeze.freeze(plan, results)
    products = [plan.products[stem] for stem in (plan.products if stems is None else stems)]
    wanted = plan.nodes if stems is None else [i for product in products for i in product.nodes]
    for node in plan.ancestry(wanted):
        if not (results / node.card).exists():
            pretend_node(node, plan, results, path.stem)
    for product in products:
        pretend_product(product, plan, results, path.stem)
    return path


def pretend_node(node: Node, plan: Plan, results: Path, name: str = "0" * 12, content: str | bytes = "") -> None:
    """Make a node. content: of its artifact, its name unless given."""
    artifact = results / node.artifact
    artifact.parent.mkdir(parents=True, exist_ok=True)
    artifact.write_bytes(content if isinstance(content, bytes) else (content or node.id).encode())
    card = {"id": node.id, "kind": node.kind, "version": KINDS[node.kind].version, "spec": node.spec}
    card |= {"parents": node.parents, "read": chain.read_by(node, plan.nodes, results), "data": {}, "files": []}
    card |= {"outputs": {artifact.name: store.describe(artifact)}, "metrics": {}, "plan": name, "modules": []}
    store.write_card(results / node.card, card | ABOUT | {"seconds": SECONDS})


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
