"""The plan: nodes, and the tables, figures and verdicts on claims made from them."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from robust_transfer.specs.fields import Spec
from robust_transfer.specs.networks import Network
from robust_transfer.stages.node import KINDS, Node

INHERITED = ("start", "model", "candidate0")
"""Roles of parents whose network a node's own is."""
PRODUCTS: dict[str, int] = {"table": 4, "figure": 2, "claim": 2}
"""The version of each kind of product, raised when the same spec comes to show something else. Tables and figures have
plain names; the version counts in the param that Snakemake compares."""

ENDINGS: dict[str, tuple[str, ...]] = {
    "table": ("csv", "parquet", "md"),
    "figure": ("png", "svg"),
    "claim": ("csv", "parquet", "md"),
}
"""The files of each kind of product, beside its card."""


@dataclass(frozen=True)
class Product:
    """A table, a figure, or the verdicts on claims: plain name, and in `spec` everything it shows and is made from.

    Verdicts are called by their study alone, and those on the claims of all studies by nothing.

    spec["cells"]: list of {row, column, metric, nodes: {role: id}, published, ours: True where the paper has no such,
    replicates: the nodes of each seed, the first's too, where there are several}.
    spec["tensors"]: for figures of images, name -> {nodes: ids, ...}. The nodes of both are its inputs.
    """

    kind: str
    study: str
    name: str
    spec: dict[str, Any]

    @property
    def key(self) -> str:
        return "/".join(filter(None, (self.study, self.name))) or "all"

    @property
    def stem(self) -> str:
        """Its path below results/, without an ending."""
        return "/".join(filter(None, (f"{self.kind}s", self.study, self.name)))

    @property
    def nodes(self) -> list[str]:
        """Ids of the nodes it reads, each once, in order."""
        shown = [i for array in self.spec.get("tensors", {}).values() for i in array["nodes"]]
        return list(dict.fromkeys([i for cell in self.spec["cells"] for i in nodes_of(cell)] + shown))

    @property
    def param(self) -> dict[str, Any]:
        """What Snakemake compares to see whether it must be made again."""
        return {"version": PRODUCTS[self.kind], "spec": self.spec}


class Plan:
    """All nodes and products of a config. The same node wanted twice exists once.

    origin: the config it was made from, and settings that no id depends on (device, threads, data_root).
    """

    def __init__(self, origin: dict[str, Any]):
        self.origin = origin
        self.nodes: dict[str, Node] = {}
        self.products: dict[str, Product] = {}

    def add(self, kind: str, slug: str, spec: Spec | dict[str, Any], **parents: Node) -> Node:
        """Add a node, or find the one that is already there; see build.node."""
        content = spec.canonical() if isinstance(spec, Spec) else spec
        node = Node(kind, slug, content, {role: parent.id for role, parent in parents.items()})
        return self.nodes.setdefault(node.id, node)

    def add_product(self, kind: str, study: str, name: str, spec: dict[str, Any]) -> Product:
        """Add a table, a figure or verdicts."""
        product = Product(kind, study, name, spec)
        self.products[product.stem] = product
        return product

    def parents(self, node: Node) -> Iterator[Node]:
        """The nodes it is made from directly."""
        return (self.nodes[i] for i in node.parents.values())

    def network_of(self, node: Node) -> Network | None:
        """The architecture of a model, or of the model behind a node; none where no model is."""
        while True:
            network = getattr(KINDS[node.kind].parse(node.spec), "network", None)
            inherited = next((node.parents[role] for role in INHERITED if role in node.parents), None)
            if network or inherited is None:
                return network
            node = self.nodes[inherited]

    def ancestry(self, ids: Iterable[str]) -> list[Node]:
        """The nodes named and all they are made from, parents first, each once."""
        seen: dict[str, Node] = {}
        stack = [(self.nodes[i], False) for i in reversed(list(ids))]
        while stack:
            node, parents_done = stack.pop()
            if parents_done:
                seen.setdefault(node.id, node)
            elif node.id not in seen:
                stack.append((node, True))
                stack.extend([(self.nodes[i], False) for i in node.parents.values() if i not in seen])
        return list(seen.values())

    def of_studies(self) -> dict[str, tuple[list[str], list[str]]]:
        """Study -> the ids of the nodes behind its tables, figures and verdicts, parents first, and the stems of these.

        The verdicts on the claims of all studies are no study's: they are on what each one has.
        """
        own: dict[str, list[Product]] = {}
        for product in self.products.values():
            if product.study:
                own.setdefault(product.study, []).append(product)
        return {
            study: (
                [node.id for node in self.ancestry(dict.fromkeys(i for each in products for i in each.nodes))],
                [each.stem for each in products],
            )
            for study, products in own.items()
        }

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        return {
            "origin": self.origin,
            "nodes": {i: [n.kind, n.slug, n.spec, n.parents] for i, n in self.nodes.items()},
            "products": [[p.kind, p.study, p.name, p.spec] for p in self.products.values()],
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Plan":
        """The plan that to_json wrote; ids are taken as they stand, not computed again."""
        plan = cls(content["origin"])
        for i, (kind, _, spec, parents) in content["nodes"].items():
            plan.nodes[i] = Node.recorded(i, kind, spec, parents)
        for kind, study, name, spec in content["products"]:
            plan.add_product(kind, study, name, spec)
        return plan

    @classmethod
    def read(cls, path: str) -> "Plan":
        """The plan in a file."""
        with open(path, encoding="utf-8") as file:
            return cls.from_json(json.load(file))


def replicates(cell: dict[str, Any]) -> list[dict[str, str]]:
    """The nodes of a cell by role, once a seed; once alone where no seed changes it."""
    return cell.get("replicates", [cell["nodes"]])


def nodes_of(cell: dict[str, Any]) -> list[str]:
    """Ids of all nodes that a cell is computed from, each once, seed by seed."""
    return list(dict.fromkeys(i for nodes in replicates(cell) for i in nodes.values()))


def in_words(seeds: Sequence[int]) -> str:
    """How a caption ends: with the seeds, if there are several."""
    return f"; mean over the seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else ""


def over_seeds(plans: dict[int, Plan]) -> Plan:
    """The plans of one config with several seeds as one, cell by cell: their nodes become the cell's replicates.

    A figure of images stays that of the first seed.
    """
    seeds, (first, *others) = list(plans), plans.values()
    for stem, product in first.products.items() if others else ():
        if "tensors" in product.spec:
            changes: dict[str, Any] = {"measured": f"{product.spec['measured']}; seed {seeds[0]} alone"}
        else:
            alike = zip(*(plan.products[stem].spec["cells"] for plan in plans.values()), strict=True)
            changes = {
                "cells": [_of_seeds(cells) for cells in alike],
                "measured": product.spec["measured"] + in_words(seeds),
            }
        first.products[stem] = replace(product, spec=product.spec | changes)
    for plan in others:
        shown = [i for product in first.products.values() for i in product.nodes if i in plan.nodes]
        first.nodes |= {node.id: node for node in plan.ancestry(shown)}
    return first


def _of_seeds(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The cells of one place as one."""
    first, *others = cells
    nodes = [cell["nodes"] for cell in cells]
    assert all(cell | {"nodes": first["nodes"]} == first for cell in others), "a seed changes nodes alone"
    return first if all(each == first["nodes"] for each in nodes) else first | {"replicates": nodes}
