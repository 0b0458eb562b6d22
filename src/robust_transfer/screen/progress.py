"""How far a run is, study by study, and how long it still takes."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from robust_transfer import store
from robust_transfer.cost.forecast import expected
from robust_transfer.plan.graph import PRODUCTS, Plan
from robust_transfer.plan.priorities import OTHERS

MOST_CARDS = 40
"""Of each kind, whose seconds are looked at before a run."""
PRIOR = 20.0
"""Seconds of a kind that count as if they had been as expected from what is known of all kinds; of all, as expected."""
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
    left: the things that this run has to make. expected: seconds of each thing, by the cost model. recorded: things
    made earlier, and the seconds that they took by their cards. started: the clock's time at which the run began.
    by_card: the seconds of a thing that is made, by its card; None where none says it.
    """

    kinds: dict[str, str]
    studies: dict[str, list[str]]
    left: set[str]
    expected: Mapping[str, float] = field(default_factory=dict)
    recorded: Mapping[str, float] = field(default_factory=dict)
    started: float = 0.0
    by_card: Callable[[str], float | None] = lambda thing: None

    def __post_init__(self) -> None:
        self.to_make = len(self.left)
        self.running: dict[str, float] = {}
        self.failed: dict[str, None] = {}
        self.most = 1  # at a time
        self._took: dict[str, float] = defaultdict(float)
        self._should: dict[str, float] = defaultdict(float)
        self._made: list[str] = []
        for thing, seconds in self.recorded.items():
            self._learn(thing, seconds)

    def _learn(self, thing: str, seconds: float) -> None:
        self._took[self.kinds[thing]] += seconds
        self._should[self.kinds[thing]] += self._expected(thing)

    def _expected(self, thing: str) -> float:
        return self.expected.get(thing, OTHERS)

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
        self._made.append(thing)
        seen, recorded = now - self.running.pop(thing, now), self.by_card(thing)
        # What is seen has the queue's time in it, and a bundle's.
        self._learn(thing, seen if recorded is None else recorded)
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

        What is expected of all that is left, times how much longer its kind takes than expected, at the rate at which
        this run has worked so far; at first, as if as many jobs as have run at a time did so without a pause.
        """
        things = self.left if study is None else self.left & {*self.studies[study]}
        if not things:
            return 0.0
        if not self._took:
            return None
        seconds = self._seconds()
        begun = {thing: min(now - since, seconds(thing)) for thing, since in self.running.items()}
        left = sum(seconds(thing) - begun.get(thing, 0.0) for thing in things)
        worked = sum(map(seconds, self._made)) + sum(begun.values())
        elapsed = now - self.started
        return left * elapsed / worked if worked and elapsed > 20 else left / self.most

    def _seconds(self) -> Callable[[str], float]:
        """What a thing takes: what is expected of it, times how much longer than expected its kind took so far."""
        of_all = (PRIOR + sum(self._took.values())) / (PRIOR + sum(self._should.values()))
        times = {
            kind: (PRIOR * of_all + self._took[kind]) / (PRIOR + self._should[kind]) for kind in {*self.kinds.values()}
        }
        return lambda thing: times[self.kinds[thing]] * self._expected(thing)


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
    kind_of = {thing: kinds[thing] for thing in dict.fromkeys([*(node.id for node in behind), *named])}
    of_studies = plan.of_studies()
    asked_for = {study for study, (_, stems) in of_studies.items() if not kind_of.keys().isdisjoint(stems)}
    studies = {
        study: [thing for thing in (*ids, *stems) if thing in kind_of]
        for study, (ids, stems) in of_studies.items()
        if study in asked_for or not asked_for  # of others are at most nodes that they share with these
    }
    left = {thing for thing in to_make if thing in kind_of}

    def by_card(thing: str) -> float | None:
        card = store.glance(results / plan.nodes[thing].card) if thing in plan.nodes else None
        found = (card or {}).get("seconds")
        return found if isinstance(found, int | float) else None

    looked_at, recorded = Counter[str](), dict[str, float]()
    for thing, kind in kind_of.items():
        if thing not in left and kind not in PRODUCTS and looked_at[kind] < MOST_CARDS:
            looked_at[kind] += 1
            if (found := by_card(thing)) is not None:
                recorded[thing] = found
    nodes = [thing for thing in kind_of if thing in plan.nodes and (thing in left or thing in recorded)]
    studies = {study: things for study, things in studies.items() if things}
    return Progress(kind_of, studies, left, expected(plan, nodes), recorded, now, by_card)
