"""One node being made: what a stage is given, and what happens around every stage."""

import datetime
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from robust_transfer import provenance, store
from robust_transfer.plan.graph import KINDS, Node, Plan

log = logging.getLogger("robust_transfer")


@dataclass
class Job:
    """A node of a plan, to be made now.

    threads: CPU threads it may use. results: the folder of all results. output: where its artifact is to be written.
    """

    node: Node
    plan: Plan
    plan_name: str
    results: Path
    threads: int
    output: Path

    @property
    def spec(self) -> dict[str, Any]:
        """What the node is, as plain values."""
        return self.node.spec

    @property
    def machine(self) -> dict[str, Any]:
        """The config's machine section."""
        return self.plan.origin["machine"]

    @property
    def data_root(self) -> Path:
        """The folder of the data sets that are not embedded."""
        return Path(self.plan.origin["data_root"])

    @property
    def checkpoint(self) -> Path:
        """Where a training saves its state: outside the declared outputs, which Snakemake deletes when a job fails."""
        return self.results / "checkpoints" / f"{self.node.id}.safetensors"

    @cached_property
    def device(self):
        """The torch device to compute on."""
        import torch

        wanted = self.machine["device"]
        return torch.device("cuda" if wanted == "auto" and torch.cuda.is_available() else wanted.replace("auto", "cpu"))

    def parent(self, role: str) -> Path:
        """The checked artifact of a parent."""
        node = self.plan.nodes[self.node.parents[role]]
        return store.believed(self.results / node.folder, KINDS[node.kind].artifact)

    def has(self, role: str) -> bool:
        """Whether the node has such a parent."""
        return role in self.node.parents


Stage = Callable[[Job], dict[str, Any]]
"""Makes a node's artifact at job.output and returns its headline metrics."""


def make(stage: Stage, node: Node, plan: Plan, plan_name: str, results: Path, threads: int) -> None:
    """Run a stage for a node and leave artifact and card in the node's folder, or neither."""
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    # Asked before a run that may take hours, in which files may be edited.
    code, git = provenance.fingerprint(stage.__module__), provenance.git_state()
    folder = results / node.folder
    artifact = folder / KINDS[node.kind].artifact
    (folder / store.CARD).unlink(missing_ok=True)
    with store.replacing(artifact) as temporary:
        job = Job(node, plan, plan_name, results, threads, temporary)
        _calm_torch(job)
        metrics = stage(job)
        outputs = {artifact.name: store.describe(temporary)}
    store.write_card(
        folder / store.CARD,
        {
            "id": node.id,
            "kind": node.kind,
            "version": KINDS[node.kind].version,
            "spec": node.spec,
            "parents": node.parents,
            "outputs": outputs,
            "metrics": metrics,
            "plan": plan_name,
            "code": code,
            "git": git,
            "versions": provenance.versions(),
            "machine": provenance.machine(),
            "device": _device_name(job),
            "threads": threads,
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - clock, 3),
            "peak_memory_mb": provenance.peak_memory_mb(),
        },
    )
    job.checkpoint.unlink(missing_ok=True)
    log.info("%s done in %.1f s: %s", node.id, time.perf_counter() - clock, json.dumps(metrics))


def _calm_torch(job: Job) -> None:
    """The node's thread count and, on a GPU, deterministic kernels. The CPU's are; asking there costs four seconds."""
    import torch

    torch.set_num_threads(job.threads)
    if job.device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def _device_name(job: Job) -> str:
    import torch

    return torch.cuda.get_device_name() if job.device.type == "cuda" else "cpu"
