"""What science is asked of: the nodes that are whole, with their specs and tensors, a part at a time."""

import math
from collections.abc import Iterator
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError
from safetensors import safe_open

from robust_transfer import store
from robust_transfer.audit.stored import Finding, Stored
from robust_transfer.plan.edges import spec_of
from robust_transfer.plan.graph import Plan
from robust_transfer.stages.node import KINDS, Node

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

AT_ONCE = 2**25
"""Values that are read together, though only some are wanted."""

wrong = partial(Finding, "science", "wrong")
note = partial(Finding, "science", "note")


class Outcomes(NamedTuple):
    """Outcomes of a model on a split. attack: None where the images are clean. maker: the model that the examples were
    made against. partly: whether earlier attacks' images were left out.
    """

    node: Node
    model: str
    data: str
    split: str
    attack: Any = None
    maker: str | None = None
    partly: bool = False


class Sound:
    """The nodes that are whole, and made by the present version of their kind."""

    def __init__(self, stored: Stored):
        self.results = stored.results
        self.cards = {
            folder.name: card
            for folder, card in stored.node_cards()
            if card["version"] == KINDS[card["kind"]].version
            and not (stored.damage(folder) or store.is_released(folder / KINDS[card["kind"]].artifact))
        }
        self.nodes = {i: stored.nodes[i] for i in self.cards if _is_valid(stored.nodes[i])}
        self.plan = Plan({})
        self.plan.nodes = stored.nodes

    def of(self, *kinds: str) -> Iterator[tuple[Node, Any]]:
        """The nodes of some kinds whose parents are whole as well, each with its spec."""
        for node in self.nodes.values():
            if node.kind in kinds and all(parent in self.nodes for parent in node.parents.values()):
                yield node, spec_of(node)

    def path(self, node_id: str) -> Path:
        """A node's artifact."""
        return self.results / self.nodes[node_id].artifact

    @cached_property
    def outcomes(self) -> dict[str, Outcomes]:
        """All outcomes of models, those under several attacks too, by their nodes' ids."""
        found = {node.id: each for node, spec in self.of("evaluate") if (each := self._single(node, spec))}
        for node, spec in self.of("worst"):
            members = [found.get(parent) for parent in node.parents.values()]
            if (first := members[0]) and all(members):
                found[node.id] = first._replace(node=node, attack=spec.attack, partly=False)
        return found

    def _single(self, node: Node, spec: Any) -> Outcomes | None:
        model, data, examples = node.parents["model"], node.parents["data"], node.parents.get("examples")
        if examples is None:
            return Outcomes(node, model, data, spec.split)
        made = self.nodes[examples]
        partly = any(role.startswith("beaten") for role in made.parents)
        if made.parents["model"] not in self.nodes or made.parents["data"] != data:
            return None
        crafted = spec_of(made)
        return Outcomes(node, model, data, crafted.split, crafted.attack, made.parents["model"], partly)

    def images(self, data: str, split: str, rows: "slice | np.ndarray") -> "Tensor | None":
        """Some images of a split as they are measured, N x C x H x W uint8; None where they are kept as files.

        rows: a slice, or the numbers of the images.
        """
        from robust_transfer.data.enlarge import Enlarged
        from robust_transfer.data.tensors import TensorSplit

        with safe_open(self.path(data), "pt") as file:
            names = set(file.keys())
            if f"{split}_images" not in names:
                return None
            kept, labels = (_rows(file.get_slice(f"{split}_{what}"), rows) for what in ("images", "labels"))
            enlarged = Enlarged(*file.get_tensor("shown_at").tolist()) if "shown_at" in names else None
        return TensorSplit(kept, labels, enlarged).images

    def examples(self, craft: str, rows: "slice | np.ndarray") -> "Tensor":
        """Some adversarial images, N x C x H x W uint16."""
        with safe_open(self.path(craft), "pt") as file:
            return _rows(file.get_slice("examples"), rows)

    @lru_cache(maxsize=1024)  # noqa: B019 (it lives as long as the audit)
    def labels(self, data: str, split: str) -> "np.ndarray":
        """The labels of a split, N."""
        with safe_open(self.path(data), "np") as file:
            return file.get_tensor(f"{split}_labels")

    @lru_cache(maxsize=1024)  # noqa: B019 (likewise)
    def table(self, outcomes: str) -> "pd.DataFrame":
        """The outcomes of a split's images, a row an image: index, label, prediction, confidence."""
        import pandas as pd

        kinds = {"index": "int32", "label": "int32", "prediction": "int32", "confidence": "float32"}
        return pd.read_parquet(self.path(outcomes), columns=list(kinds)).astype(kinds)


def _rows(stored: Any, rows: "slice | np.ndarray") -> "Tensor":
    import torch

    if isinstance(rows, slice):
        return stored[rows]
    first, last = int(rows.min()), int(rows.max())
    if (last - first) * math.prod(stored.get_shape()[1:]) < AT_ONCE:
        return stored[first : last + 1][torch.from_numpy(rows - first)]
    return torch.cat([stored[i : i + 1] for i in map(int, rows)])


def _is_valid(node: Node) -> bool:
    try:
        spec_of(node)
    except ValidationError:
        return False
    return True
