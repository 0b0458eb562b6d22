"""Nodes, named by their content, and the plan that holds them."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from robust_transfer.plan.canonical import digest
from robust_transfer.plan.specs import Spec


@dataclass(frozen=True)
class Kind:
    """A kind of node. version: raised when the meaning of the same spec changes; part of every id."""

    artifact: str
    version: int = 1


KINDS: dict[str, Kind] = {
    "prepare": Kind("data.safetensors", version=2),
    "bring": Kind("model.safetensors"),
    "pretrain": Kind("model.safetensors", version=2),
    "transfer": Kind("model.safetensors", version=2),
    "features": Kind("features.safetensors"),
    "choose": Kind("model.safetensors"),
    "craft": Kind("examples.safetensors"),
    "evaluate": Kind("outcomes.parquet"),
    "certify": Kind("certificates.parquet"),
    "measure": Kind("distances.json"),
    "gradients": Kind("gradients.safetensors"),
    "displacement": Kind("distances.safetensors"),
}
PRODUCTS: dict[str, Kind] = {"table": Kind("csv"), "figure": Kind("png")}
"""Tables and figures have plain names; their version counts in the param that Snakemake compares."""


@dataclass(frozen=True)
class Node:
    """One cached step: what it is (kind, spec) and what it is made from (parents, by role).

    The id is `<slug>.<12 hex>`, the hex from sha256 over kind, version, spec and the parents' ids: a Merkle graph, in
    which a node's id says everything that its artifact depends on.
    """

    kind: str
    slug: str
    spec: dict[str, Any]
    parents: dict[str, str] = field(default_factory=dict)

    @cached_property
    def id(self) -> str:
        return node_id(self.kind, self.slug, self.spec, self.parents)

    @property
    def folder(self) -> str:
        """Where it lies, below results/."""
        return f"{self.kind}/{self.id}"

    @property
    def artifact(self) -> str:
        """The path of its artifact, below results/."""
        return f"{self.folder}/{KINDS[self.kind].artifact}"

    @property
    def card(self) -> str:
        """The path of its card, below results/."""
        return f"{self.folder}/card.json"


def node_id(kind: str, slug: str, spec: dict[str, Any], parents: dict[str, str], version: int | None = None) -> str:
    """The id of a node (see Node), by default at its kind's version of today. The slug does not enter the hash."""
    version = KINDS[kind].version if version is None else version
    content = {"kind": kind, "version": version, "spec": spec, "parents": parents}
    return f"{slug}.{digest(content)[:12]}"


@dataclass(frozen=True)
class Product:
    """A table or figure: plain name, and in `spec` everything it shows and is made from.

    spec["cells"]: list of {row, column, metric, nodes: {role: id}, published}. spec["tensors"]: for figures of images,
    name -> {nodes: ids, ...}. The nodes of both are its inputs.
    """

    kind: str
    study: str
    name: str
    spec: dict[str, Any]

    @property
    def key(self) -> str:
        return f"{self.study}/{self.name}"

    @property
    def stem(self) -> str:
        """Its path below results/, without an ending."""
        return f"{self.kind}s/{self.key}"

    @property
    def nodes(self) -> list[str]:
        """Ids of the nodes it reads, each once, in order."""
        shown = [i for array in self.spec.get("tensors", {}).values() for i in array["nodes"]]
        return list(dict.fromkeys([i for cell in self.spec["cells"] for i in cell["nodes"].values()] + shown))

    @property
    def param(self) -> dict[str, Any]:
        """What Snakemake compares to see whether it must be made again."""
        return {"version": PRODUCTS[self.kind].version, "spec": self.spec}


class Plan:
    """All nodes and products of a config. The same node wanted twice exists once.

    origin: the config it was made from, and settings that no id depends on (device, threads, data_root).
    """

    def __init__(self, origin: dict[str, Any]):
        self.origin = origin
        self.nodes: dict[str, Node] = {}
        self.products: dict[str, Product] = {}

    def add(self, kind: str, slug: str, spec: Spec | dict[str, Any], **parents: Node) -> Node:
        """Add a node, or find the one that is already there."""
        content = spec.canonical() if isinstance(spec, Spec) else spec
        node = Node(kind, slug, content, {role: parent.id for role, parent in parents.items()})
        return self.nodes.setdefault(node.id, node)

    def add_product(self, kind: str, study: str, name: str, spec: dict[str, Any]) -> Product:
        """Add a table or figure."""
        product = Product(kind, study, name, spec)
        self.products[product.stem] = product
        return product

    def parents(self, node: Node) -> Iterator[Node]:
        """The nodes it is made from directly."""
        return (self.nodes[i] for i in node.parents.values())

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
                stack.extend((parent, False) for parent in self.parents(node))
        return list(seen.values())

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
        for i, (kind, slug, spec, parents) in content["nodes"].items():
            node = Node(kind, slug, spec, parents)
            node.__dict__["id"] = i
            plan.nodes[i] = node
        for kind, study, name, spec in content["products"]:
            plan.add_product(kind, study, name, spec)
        return plan

    @classmethod
    def read(cls, path: str) -> "Plan":
        """The plan in a file."""
        with open(path, encoding="utf-8") as file:
            return cls.from_json(json.load(file))
