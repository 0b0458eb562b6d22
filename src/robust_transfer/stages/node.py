"""Nodes, named by their content, and what is true of all nodes of a kind."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter

from robust_transfer.canonical import node_id
from robust_transfer.specs.passes import Ahead, Passes


@dataclass(frozen=True)
class Kind:
    """What all nodes of a kind have in common.

    spec: the type of their specs. artifact: the name of the file that they write.
    slug: the readable part of a node's name, from its spec and its parents (by role) alone.
    version: raised when the same spec comes to mean another result; part of every id.
    minutes: that the scheduler is asked for. gpu: whether a GPU is of use.
    resumes: whether a killed node continues from its saved state: it is then asked to save before its time is over.
    beside: files that it may leave beside the artifact for people to read; nothing is made from them.
    passes: what it costs: the images that pass through networks. holds: bytes of images that it has in memory at once,
    the prepared data set left aside. streams: whether of that, too, no more than a batch is in memory. writes: bytes of
    its artifact, where it is large and no model. Each raises Unknown where that depends on data that are not there.
    divides: whether it divides its images among a machine's GPUs (devices.shared_out), in a process for each.
    """

    spec: Any
    artifact: str
    slug: Callable[[Any, Mapping[str, "Node"]], str]
    version: int = 1
    minutes: int = 60
    gpu: bool = True
    resumes: bool = False
    beside: tuple[str, ...] = ()
    passes: Callable[[Ahead], Iterable[Passes]] = lambda _: ()
    holds: Callable[[Ahead], float] = lambda _: 0.0
    streams: bool = False
    writes: Callable[[Ahead], float] = lambda _: 0.0
    divides: bool = False

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.spec)

    def parse(self, spec: Mapping[str, Any]) -> Any:
        """A spec's plain values as the validated spec, every default filled in."""
        return self._adapter.validate_python(dict(spec))

    def full(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """A spec's plain values with every default written out."""
        return self.parse(spec).model_dump(mode="json")


KINDS: dict[str, Kind] = {}
"""Every kind by its name, that of its module; the package fills it."""


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

    @classmethod
    def recorded(cls, node_id: str, kind: str, spec: dict[str, Any], parents: dict[str, str]) -> "Node":
        """A node as a plan or a card has it. Its id is taken as it stands: an older version of its kind gave another
        than would be computed today.
        """
        node = cls(kind, node_id.rpartition(".")[0], spec, parents)
        node.__dict__["id"] = node_id
        return node

    @cached_property
    def id(self) -> str:
        return node_id(self.kind, self.slug, self.spec, self.parents, KINDS[self.kind].version)

    @cached_property
    def folder(self) -> str:
        """Where it lies, below results/."""
        return f"{self.kind}/{self.id}"

    @cached_property
    def artifact(self) -> str:
        """The path of its artifact, below results/."""
        return f"{self.folder}/{KINDS[self.kind].artifact}"

    @cached_property
    def card(self) -> str:
        """The path of its card, below results/."""
        return f"{self.folder}/card.json"
