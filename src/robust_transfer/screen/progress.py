"""How far a run is, study by study, and how long it still takes."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

from robust_transfer import store
from robust_transfer.plan.graph import PRODUCTS, Plan
from robust_transfer.plan.priorities import seconds_of

MOST_CARDS = 40
"""Of each kind, whose seconds are looked at before a run."""
BY_RULE = {"tabulate": "tables/{study}/{name}", "draw": "figures/{study}/{name}", "judge": "{claims}"}


def thing_of(rule: str, wildcards: Mapping[str, Any]) -> str | None:
    """What a job makes, by its rule and wildcards: a node's id or a product's stem; None of any other job."""
    if "node" in wildcards:
        return str(wildcards["node"])
    return BY_RULE[rule].format_map(wildcards) if rule in BY_RULE else None


@dataclass
class Progress:
    """Counts what a run makes.

    kinds: of each thing that is asked for, made or not, the kind. studies: the things behind each study.
    left: the things that this run has to make. recorded: seconds of earlier nodes by kind, as their cards say.
    started: the clock's time at which the run began.
    """

    kinds: dict[str, str]
    studies: dict[str, list[str]]
    left: set[str]
    recorded: dict[str, float] = field(default_factory=dict)
    started: float = 0.0

    def __post_init__(self) -> None:
        self.to_make = len(self.left)
        self.running: dict[str, float] = {}
        self.failed: dict[str, None] = {}
        self.most = 1  # at a time
        self._walls: dict[str, list[float]] = {}
        self._worked: Counter[str] = Counter()

    def begin(self, thing: str, now: float) -> None:
        """A job for it is started, or handed to a cluster."""
        if thing in self.left:
            self.failed.pop(thing, None)
            self.running[thing] = now
            self.most = max(self.most, len(self.running))

    def finish(self, thing: str, now: float) -> list[str]:
        """It is made; returns the studies that are finished with it."""
        if thing not in self.left:
            return []
        self.left.remove(thing)
        kind = self.kinds[thing]
        self._worked[kind] += 1
        self._walls.setdefault(kind, []).append(now - self.running.pop(thing, now))
        return [study for study, things in self.studies.items() if thing in things and not self.is_unfinished(study)]

    def fail(self, thing: str) -> None:
        """Its job ended without it."""
        if self.running.pop(thing, None) is not None:
            self.failed[thing] = None

    def counts(self, study: str | None = None) -> tuple[int, int, int]:
        """How many things are made, of how many, and how many of them are being made: of a study, or of all."""
        things = self.kinds if study is None else self.studies[study]
        return sum(t not in self.left for t in things), len(things), sum(t in self.running for t in things)

    def is_unfinished(self, study: str) -> bool:
        """Whether something of a study is still to be made."""
        return not self.left.isdisjoint(self.studies[study])

    def seconds_left(self, now: float, study: str | None = None) -> float | None:
        """How long the run, or what a study needs of it, goes on; None where nothing is known.

        What is left, by what its kinds took, at the rate at which this run has worked so far; at first, as if as many
        jobs as have run at a time did so without a pause.
        """
        seconds = self._by_kind()
        things = self.left if study is None else self.left & {*self.studies[study]}
        if not things:
            return 0.0
        if not seconds:
            return None
        left = sum(seconds(self.kinds[t]) - min(now - self.running.get(t, now), seconds(self.kinds[t])) for t in things)
        worked = sum(count * seconds(kind) for kind, count in self._worked.items())
        elapsed = now - self.started
        return left * elapsed / worked if worked and elapsed > 20 else left / self.most

    def _by_kind(self) -> Any:
        """Seconds of a kind: as in this run, else as recorded, else as usual, held against the former."""
        known = self.recorded | {kind: fmean(walls) for kind, walls in self._walls.items()}
        usual = sum(seconds_of(kind) for kind in known)
        if not usual:
            return None
        return lambda kind: known.get(kind, seconds_of(kind) * sum(known.values()) / usual)


def of_run(
    plan: Plan, asked: Iterable[str | None], to_make: Iterable[str | None], results: Path, now: float
) -> Progress:
    """The progress of a run that begins. asked: things that it was asked for, which stand for all that they are made
    from; to_make: those that it makes.
    """
    kinds = {i: node.kind for i, node in plan.nodes.items()}
    kinds |= {stem: product.kind for stem, product in plan.products.items()}
    named = [thing for thing in asked if thing in kinds]
    products = (plan.products[stem].nodes for stem in named if stem in plan.products)
    behind = plan.ancestry(dict.fromkeys([*(i for i in named if i in plan.nodes), *chain.from_iterable(products)]))
    wanted = {thing: kinds[thing] for thing in dict.fromkeys([*(node.id for node in behind), *named])}
    of_studies = plan.of_studies()
    asked_for = {study for study, (_, stems) in of_studies.items() if not wanted.keys().isdisjoint(stems)}
    studies = {
        study: [thing for thing in (*ids, *stems) if thing in wanted]
        for study, (ids, stems) in of_studies.items()
        if study in asked_for or not asked_for  # of others are at most nodes that they share with these
    }
    left = {thing for thing in to_make if thing in wanted}
    seconds: dict[str, list[float]] = {}
    for thing, kind in wanted.items():
        if thing not in left and kind not in PRODUCTS and len(seconds.setdefault(kind, [])) < MOST_CARDS:
            found = (store.glance(results / plan.nodes[thing].card) or {}).get("seconds")
            if isinstance(found, int | float):
                seconds[kind].append(found)
    recorded = {kind: fmean(each) for kind, each in seconds.items() if each}
    return Progress(wanted, {study: things for study, things in studies.items() if things}, left, recorded, now)
