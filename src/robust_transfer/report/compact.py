"""What the report's script knows: products, their cells and the nodes behind them, each node and each spec once."""

from typing import Any

from robust_transfer.canonical import canonical_json
from robust_transfer.plan.graph import Product, nodes_of, replicates
from robust_transfer.plan.published import is_printed
from robust_transfer.results.shown import IMAGES, cells_of, place_of
from robust_transfer.results.trace import Step, Traces

UNTOLD = ("warnings", "n")
"""Metrics of a card that the report leaves out of a node's lines."""


class Compact:
    """Collects products and nodes, and gives them as plain values, in which repeated parts are told by their number."""

    def __init__(self, traces: Traces):
        self.traces = traces
        self.products: list[dict[str, Any]] = []
        self.nodes: list[list[Any]] = []
        self._node_index: dict[str, int] = {}
        self._texts: dict[str, int] = {}
        self._specs: dict[str, int] = {}
        self._spec_list: list[Any] = []
        self._values: dict[str, list[Any]] = {}

    def as_json(self) -> dict[str, Any]:
        """products: {key, measured, command, cells: [row, column, metric, numbers, replicates: [[role, node]]]}.
        nodes: see _node. texts, specs: what nodes name by number.
        """
        return {"products": self.products, "nodes": self.nodes, "texts": list(self._texts), "specs": self._spec_list}

    def product(self, product: Product) -> int:
        """Take in a product; its number."""
        command = f"robust-transfer trace {product.key}"
        cells = [self._cell(product, cell) for cell in cells_of(product)]
        self.products.append(
            {"key": product.key, "measured": product.spec["measured"], "command": command, "cells": cells}
        )
        return len(self.products) - 1

    def _cell(self, product: Product, cell: dict[str, Any]) -> list[Any]:
        groups = [[[role, self.node(i, product.study)] for role, i in nodes.items()] for nodes in replicates(cell)]
        return [cell["row"], cell["column"], cell["metric"], self._numbers(product, cell), groups]

    def _numbers(self, product: Product, cell: dict[str, Any]) -> list[Any] | None:
        """[value, low, high, n, seeds, published] of a cell: of a table its own, of a figure that of a table which
        shows the same.
        """
        if is_printed(cell["metric"]):
            return [cell["published"], None, None, None, 1, cell["published"]]
        key = f"{cell['metric']} {' '.join(nodes_of(cell))}"
        if product.kind == "table" and (row := self.traces.shown.rows(product.stem).get(place_of(cell))):
            keys = ("value", "ci_low", "ci_high", "n", "seeds", "published")
            found = [round(row[k], 4) if isinstance(row[k], float) else row[k] for k in keys]
            self._values.setdefault(key, found)
            return found
        return None if product.kind == "table" or cell["metric"] == IMAGES else self._values.get(key)

    def node(self, node_id: str, study: str) -> int:
        """Take in a node and all behind it, with its places for the first study that asks; its number."""
        if node_id not in self._node_index:
            step = self.traces.step(node_id, study)
            parents = [[role, self.node(i, study)] for role, i in step.node.parents.items()]
            self._node_index[node_id] = len(self.nodes)
            self.nodes.append(self._node(step, parents))
        return self._node_index[node_id]

    def _node(self, step: Step, parents: list[Any]) -> list[Any]:
        """[id, kind, state, parents: [role, node], changed, defaults, places, how, started, seconds, metrics, command]:
        kind, how and command are texts, changed, defaults and places specs. How: device, threads, commit and machine.
        """
        card: Any = step.card or {}
        changed, defaults = (
            [[p, v] for p, v, differs in step.values if differs is is_changed] for is_changed in (True, False)
        )
        places = [
            [place.part, place.key, place.layers, [*place.switches, *(f"filled in: {t}" for t in place.filled_in)]]
            for place in step.places
        ]
        metrics = [
            [k, v] for k, v in (card.get("metrics") or {}).items() if k not in UNTOLD and not isinstance(v, dict)
        ]
        return [
            step.node.id,
            self._text(step.node.kind),
            step.state,
            parents,
            self._spec(changed),
            self._spec(defaults),
            self._spec(places),
            self._text(_how(step)),
            card.get("started"),
            card.get("seconds"),
            metrics,
            self._text(step.command.replace(step.node.id, "{}")),
        ]

    def _text(self, text: str) -> int:
        return self._texts.setdefault(text, len(self._texts))

    def _spec(self, value: Any) -> int:
        key = canonical_json(value)
        if key not in self._specs:
            self._specs[key] = len(self._spec_list)
            self._spec_list.append(value)
        return self._specs[key]


def _how(step: Step) -> str:
    """What made a node, in words: the same for many."""
    card: Any = step.card or {}
    if not card:
        return ""
    git, machine, versions = (card.get(key) or {} for key in ("git", "machine", "versions"))
    dirty = " with uncommitted changes" if git.get("dirty") else ""
    code = " (other code than today's)" if step.code is False else ""
    libraries = ", ".join(f"{name} {versions[name]}" for name in ("python", "torch") if name in versions)
    return (
        f"{card.get('device')} of {machine.get('processor')}, {card.get('threads')} threads; "
        f"commit {str(git.get('commit'))[:12]}{dirty}{code}; {libraries}"
    )
