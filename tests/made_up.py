"""A finished folder of results without a training in it: outcomes are drawn, and all else is as a run leaves it."""

from pathlib import Path

import numpy as np
import pandas as pd

from robust_transfer import chain, provenance, store
from robust_transfer.plan import freeze
from robust_transfer.plan.graph import Plan
from robust_transfer.run import nodes, products
from robust_transfer.stages.node import KINDS, Node

IMAGES = 40


def make(plan: Plan, results: Path, stems: tuple[str, ...]) -> Path:
    """Make some products of a plan, of which all nodes are outcomes, models, examples or data; the plan's file."""
    content = plan.to_json()
    path = results / "plans" / f"{freeze.digest(content)[:12]}.json"
    with store.replacing(path) as temporary:
        temporary.write_text(freeze.canonical_json(content), encoding="utf-8")
    for node in plan.ancestry(i for stem in stems for i in plan.products[stem].nodes):
        make_node(node, plan, path.stem, results)
    for stem in stems:
        products.make(plan.products[stem], plan, path.stem, results)
    return path


def make_node(node: Node, plan: Plan, plan_name: str, results: Path) -> None:
    """A node's artifact, of outcomes with content, and its card."""
    kind, artifact = KINDS[node.kind], results / node.artifact
    with store.replacing(artifact) as temporary:
        if node.kind == "evaluate":
            outcomes(int(node.id[-6:], 16)).to_parquet(temporary)
        else:
            temporary.write_text(node.id, encoding="utf-8")
    modules = nodes.modules_of(node, plan)
    store.write_card(
        results / node.card,
        {
            "id": node.id,
            "kind": node.kind,
            "version": kind.version,
            "spec": node.spec,
            "full_spec": kind.full(node.spec),
            "parents": node.parents,
            "read": chain.read_by(node, plan.nodes, results),
            "data": {},
            "files": [],
            "outputs": {artifact.name: store.describe(artifact)},
            "metrics": {"n": IMAGES},
            "plan": plan_name,
            "code": provenance.fingerprint(*modules),
            "modules": modules,
            "git": {"commit": "0123456789abcdef", "dirty": False},
            "versions": {"python": "3.11"},
            "machine": {"system": "Linux", "processor": "none", "cores": 2},
            "device": "cpu",
            "threads": 1,
            "started": "2026-01-02T03:04:05+00:00",
            "seconds": 1.5,
            "peak_memory_mb": 100,
        },
    )


def outcomes(seed: int) -> pd.DataFrame:
    """Each image's label and prediction, some of which are right."""
    random = np.random.default_rng(seed)
    labels = np.arange(IMAGES) % 5
    predictions = np.where(random.random(IMAGES) < random.random(), labels, (labels + 1) % 5)
    return pd.DataFrame({"index": np.arange(IMAGES), "label": labels, "prediction": predictions})
