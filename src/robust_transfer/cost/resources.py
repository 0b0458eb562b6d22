"""What jobs ask a scheduler for: minutes and megabytes of each node, with a margin, more for each attempt."""

import math
from functools import cached_property
from pathlib import Path

from robust_transfer.cost.forecast import is_on_gpu, rates_of
from robust_transfer.cost.nodes import Needs
from robust_transfer.cost.rates import Rates
from robust_transfer.plan.graph import Plan
from robust_transfer.recipes import Recipe
from robust_transfer.specs.passes import Unknown
from robust_transfer.stages.node import KINDS, Node

MARGIN, UNCALIBRATED = 2.0, 4.0
"""Of time: so many times what is expected, where cards say how fast the device is, and where they do not."""
MEMORY = 1.5
"""Of memory."""
START = 10
"""Minutes that every job gets besides: an environment may start slowly on a shared disk."""
EACH = 2
"""Seconds that a node takes besides which shares a job with others."""
WARNING = 6
"""Minutes more for a job that resumes: so long before the end of its time it is asked to save (see the workflow's
SAVE_SIGNAL), the minute included that Slurm may be early."""


class Resources:
    """Of the nodes of a plan. results: whose cards say how fast the device is; they are read when first asked for."""

    def __init__(self, plan: Plan, results: Path):
        self.plan, self.results = plan, results
        self.machine = plan.origin["machine"]

    @cached_property
    def _rates(self) -> Rates:
        return rates_of(self.plan, self.results)

    @cached_property
    def _needs(self) -> Needs:
        return Needs(self.plan, Path(self.plan.origin["data_root"]))

    def minutes(self, node: Node, attempt: int = 1) -> int:
        """That a job may take.

        Where nothing is timed yet, at least as many as its kind says; that many alone where the cost is not known. A
        job that continues from its checkpoint gets the same for each attempt, but no more than `longest_job` of the
        config's machine: it is as often begun again.
        """
        kind = KINDS[node.kind]
        try:
            minutes = START + self._with_margin(node)
        except Unknown:
            return kind.minutes * (1 if kind.resumes else attempt)
        if self._rates.is_assumed(node.kind):
            minutes = max(kind.minutes, minutes)
        if kind.resumes:
            return math.ceil(min(minutes + WARNING, 60 * self.machine["longest_job"]))
        return math.ceil(minutes) * attempt

    def work(self, node: Node) -> float | None:
        """Minutes that a node is thought to be at work, with the margin; None where nobody knows.

        So it is of those that read files first: there is no model of what that takes.
        """
        if node.kind in ("bring", "prepare"):
            return None
        try:
            return self._with_margin(node) + EACH / 60
        except Unknown:
            return None

    def _with_margin(self, node: Node) -> float:
        """Minutes that a node is expected to take, times the margin. Raises Unknown."""
        margin = UNCALIBRATED if self._rates.is_assumed(node.kind) else MARGIN
        return margin * self._rates.seconds(node.kind, self._needs.load(node)) / 60

    def memory_mb(self, node: Node, attempt: int = 1) -> int:
        """That a job may take: what the node needs with a margin, but at least the config's; as much more for each
        attempt, as too little may be what ended the one before. A training has a process on each of its GPUs; what
        divides its images among them has one more, which puts these together.
        """
        least: int = self.machine["memory_mb"]
        try:
            needed = self._needs.memory(node).of_host(is_on_gpu(self.plan))
        except Unknown:
            needed = 0.0
        gpus, kind = max(1, self.machine["gpus"]), KINDS[node.kind]
        processes = gpus if kind.spec is Recipe else gpus + 1 if kind.divides and gpus > 1 else 1
        return max(least, math.ceil(MEMORY * needed * processes)) * attempt
