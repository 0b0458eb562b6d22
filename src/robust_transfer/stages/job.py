"""One node being made: what its stage is given."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_transfer import store
from robust_transfer.errors import UserError
from robust_transfer.stages.node import KINDS, Node

if TYPE_CHECKING:
    import torch

HISTORY = "history.csv"
"""What a training leaves beside the model: a row an epoch."""


@dataclass
class Job:
    """A node to be made now.

    parents: the nodes it is made from, by role. machine: the config's machine section. data_root: the folder of the
    data sets that are not embedded. results: the folder of all results. threads: CPU threads it may use.
    output: where its artifact is to be written. beside: what is to be left beside it for people to read, by file name.
    computed: how it was computed, for the card: what no id says, and can change bits.
    """

    node: Node
    parents: Mapping[str, Node]
    machine: Mapping[str, Any]
    data_root: Path
    results: Path
    threads: int
    output: Path
    beside: dict[str, str] = field(default_factory=dict)
    computed: dict[str, Any] = field(default_factory=dict)
    _checked: dict[str, Path] = field(default_factory=dict, repr=False)

    @cached_property
    def spec(self) -> Any:
        """What the node is, as the spec of its kind."""
        return KINDS[self.node.kind].parse(self.node.spec)

    @property
    def checkpoint(self) -> Path:
        """Where a training saves its state: outside the declared outputs, which Snakemake deletes when a job fails."""
        return self.results / "checkpoints" / f"{self.node.id}.safetensors"

    @cached_property
    def device(self) -> "torch.device":
        """The torch device to compute on."""
        import torch

        device = self.machine["device"]
        return torch.device("cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu"))

    @property
    def devices(self) -> "list[torch.device]":
        """The devices over which images may be split: as many GPUs as the config's machine has, and there are."""
        import torch

        if self.device.type != "cuda":
            return [self.device]
        count = min(self.machine.get("gpus", 0), torch.cuda.device_count())
        return [torch.device("cuda", i) for i in range(count)] if count > 1 else [self.device]

    def calm_torch(self) -> None:
        """Set the thread count and, on a GPU, deterministic kernels. The CPU's are; asking there costs four seconds."""
        import torch

        torch.set_num_threads(self.threads)
        if self.device.type == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.benchmark = False

    def has(self, role: str) -> bool:
        """Whether the node has such a parent."""
        return role in self.parents

    def spec_of(self, role: str) -> Any:
        """What a parent is."""
        parent = self.parents[role]
        return KINDS[parent.kind].parse(parent.spec)

    def parent(self, role: str) -> Path:
        """The checked artifact of a parent; its bytes are looked at once."""
        if role not in self._checked:
            parent = self.parents[role]
            self._checked[role] = store.checked_artifact(self.results / parent.folder, KINDS[parent.kind].artifact)
        return self._checked[role]

    @contextmanager
    def blaming(self, role: str) -> Iterator[None]:
        """While something is computed with a parent, a model.

        Raises:
            UserError: that names it, for any FloatingPointError.
        """
        try:
            yield
        except FloatingPointError as error:
            name, why = self.node.parents[role], "the training of {} has diverged: look at its log"
            if self.parents[role].kind == "bring":
                why = "{} is broken, or not what the config says: bring another"
            raise UserError(f"{error}; {why.format(name)}") from None


Stage = Callable[[Job], dict[str, Any]]
"""Makes a node's artifact at job.output and returns its headline metrics."""
