"""What making a plan costs: time, disk and memory of all nodes that are to be made, and how soon it can be done."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from robust_transfer.cost import rates
from robust_transfer.cost.nodes import Load, Memory, Needs
from robust_transfer.cost.rates import Rates
from robust_transfer.errors import UserError
from robust_transfer.plan.graph import ENDINGS, Plan
from robust_transfer.plan.mistakes import did_you_mean
from robust_transfer.plan.priorities import seconds_of, ways_to_the_end
from robust_transfer.results.status import MADE, Status
from robust_transfer.specs.passes import Unknown
from robust_transfer.stages.node import Node

ENDED = ("json", *(ending for endings in ENDINGS.values() for ending in endings))


@dataclass(frozen=True)
class Cost:
    """Of a node: what is computed, seconds, bytes of its artifact, and the memory it takes."""

    load: Load
    seconds: float
    disk: float
    memory: Memory


@dataclass(frozen=True)
class Total:
    """Of several nodes: how many there are, of how many the cost is known; and of those the device's seconds, bytes,
    and of the largest megabytes of the machine's memory and of the device's.
    """

    nodes: int
    known: int
    seconds: float
    disk: float
    host_mb: float
    device_mb: float


class Forecast:
    """What it costs to make some nodes of a plan. ids: of these. gpu: whether they compute on one."""

    def __init__(self, plan: Plan, ids: Iterable[str], rates: Rates, gpu: bool):
        self.plan, self.rates, self.gpu = plan, rates, gpu
        self.ids = list(ids)
        needs = Needs(plan, Path(plan.origin["data_root"]))
        self.unknown: dict[str, str] = {}
        self.costs: dict[str, Cost] = {}
        for i in self.ids:
            node = plan.nodes[i]
            try:
                load = needs.load(node)
                seconds = rates.seconds(node.kind, load)
                self.costs[i] = Cost(load, seconds, needs.disk(node), needs.memory(node))
            except Unknown as unknown:
                self.unknown[i] = str(unknown)

    # ---- sums ------------------------------------------------------------------------------------------------------

    def total(self, ids: Iterable[str] | None = None) -> Total:
        """Of some of the nodes, or all; others do not count."""
        mine = set(self.ids)
        chosen = self.ids if ids is None else [i for i in ids if i in mine]
        costs = [self.costs[i] for i in chosen if i in self.costs]
        return Total(
            len(chosen),
            len(costs),
            sum(cost.seconds for cost in costs),
            sum(cost.disk for cost in costs),
            max((cost.memory.of_host(self.gpu) for cost in costs), default=0.0),
            max((cost.memory.device for cost in costs), default=0.0) if self.gpu else 0.0,
        )

    @cached_property
    def kinds(self) -> dict[str, Total]:
        """By kind, that first which takes longest."""
        of_kind: dict[str, list[str]] = {}
        for i in self.ids:
            of_kind.setdefault(self.plan.nodes[i].kind, []).append(i)
        totals = {kind: self.total(ids) for kind, ids in of_kind.items()}
        return dict(sorted(totals.items(), key=lambda item: -item[1].seconds))

    @cached_property
    def studies(self) -> dict[str, Total]:
        """By study; a node that several show counts in each."""
        totals = {study: self.total(ids) for study, (ids, _) in self.plan.of_studies().items()}
        return {study: total for study, total in totals.items() if total.nodes}

    # ---- time ------------------------------------------------------------------------------------------------------

    @cached_property
    def _after(self) -> dict[str, float]:
        """Seconds from the start of each node to the end of the longest path through it."""
        mine = set(self.ids)
        ordered = [node.id for node in self.plan.ancestry(self.ids) if node.id in mine]
        return ways_to_the_end(self.plan, ordered, self._seconds)

    def _seconds(self, i: str) -> float:
        return self.costs[i].seconds if i in self.costs else 0.0

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        children: dict[str, list[str]] = {i: [] for i in self.ids}
        for i in self.ids:
            for parent in self.plan.nodes[i].parents.values():
                if parent in children:
                    children[parent].append(i)
        return children

    @cached_property
    def longest_path(self) -> list[str]:
        """The nodes that one after the other take longest: no number of devices is done sooner."""
        path: list[str] = []
        following = self.ids
        while following:
            path.append(max(following, key=self._after.__getitem__))
            following = self._children[path[-1]]
        return path

    @property
    def soonest(self) -> float:
        """Seconds that the longest path takes."""
        return self._after[self.longest_path[0]] if self.ids else 0.0

    def wall(self, devices: int) -> float:
        """Seconds until all is made on so many devices: what has the longest path behind it first, as soon as its
        parents are made. Without what Snakemake and a queue take.
        """
        waiting = dict.fromkeys(self.ids, 0)
        for children in self._children.values():
            for child in children:
                waiting[child] += 1
        ready = [(-self._after[i], i) for i, parents in waiting.items() if not parents]
        heapq.heapify(ready)
        running: list[tuple[float, str]] = []
        now = 0.0
        while ready or running:
            while ready and len(running) < devices:
                _, i = heapq.heappop(ready)
                heapq.heappush(running, (now + self._seconds(i), i))
            now, done = heapq.heappop(running)
            for child in self._children[done]:
                waiting[child] -= 1
                if not waiting[child]:
                    heapq.heappush(ready, (-self._after[child], child))
        return now


# ---- of a folder of results ----------------------------------------------------------------------------------------


def of_results(plan: Plan, results: Path, targets: Sequence[str] = (), teraflops: float | None = None) -> Forecast:
    """What it costs to make what is not made of a plan, or of targets in it, at the rates that cards there give.

    teraflops: where no card says how fast the device is, see rates.assumed.

    Raises:
        UserError: for a target that is not in the plan.
    """
    needed = plan.ancestry(behind(plan, targets) if targets else plan.nodes)
    made = Status(plan, results).nodes
    ids = [node.id for node in needed if made[node.id].state != MADE]
    known = rates_of(plan, results, teraflops) if ids else Rates(rates.assumed(is_on_gpu(plan), 1))
    return Forecast(plan, ids, known, is_on_gpu(plan))


def is_on_gpu(plan: Plan) -> bool:
    """Whether the config's machine computes on one."""
    machine = plan.origin["machine"]
    return machine["device"] == "cuda" or (machine["device"] == "auto" and machine["gpus"] > 0)


def rates_of(plan: Plan, results: Path, teraflops: float | None = None) -> Rates:
    """The rates of the config's machine, as the cards in a folder of results say."""
    gpu, threads = is_on_gpu(plan), plan.origin["machine"]["threads"]
    device, timed = rates.recorded(results, Path(plan.origin["data_root"]), gpu, threads)
    return rates.fitted(timed, rates.assumed(gpu, threads, teraflops), device)


def expected(plan: Plan, ids: Iterable[str]) -> dict[str, float]:
    """Seconds that nodes take on a machine of which nothing is known; only how they compare is to be relied on.

    Where what a node computes is not known, its kind has them.
    """
    needs = Needs(plan, Path(plan.origin["data_root"]))
    rate = rates.assumed(is_on_gpu(plan), plan.origin["machine"]["threads"])

    def seconds(node: Node) -> float:
        try:
            return rate.seconds(needs.load(node))
        except Unknown:
            return seconds_of(node.kind)

    return {i: seconds(plan.nodes[i]) for i in ids}


def behind(plan: Plan, targets: Iterable[str]) -> list[str]:
    """The nodes that targets show or are: a study, a table or figure (`davchev/table1`, or a path of it), a node's id.

    Raises:
        UserError: for one that is none of these.
    """
    found: list[str] = []
    by_name: dict[str, list[str]] = {}
    for product in plan.products.values():
        for name in {product.stem, product.key, product.study}:
            by_name.setdefault(name, []).extend(product.nodes)
    for target in targets:
        path = Path(target)
        stem = path.with_suffix("") if path.suffix[1:] in ENDED else path
        names = [str(Path(*stem.parts[i:])) for i in range(len(stem.parts))]
        nodes = [part for part in path.parts if part in plan.nodes]
        known = next((name for name in names if name in by_name), None)
        if not nodes and known is None:
            close = did_you_mean(names[-1] if len(names) == 1 else "/".join(stem.parts[-2:]), by_name)
            raise UserError(f"{target} is no study, table, figure or node of the plan{close}")
        found += nodes or by_name[str(known)]
    return found
