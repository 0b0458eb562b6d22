"""How fast a machine makes nodes, as the cards of those that it has made say; or as is assumed, where there are none.

The seconds of a node are a sum, each part with a rate of the node's kind: a second for so many floating-point
operations, for so many tensor operations (on small networks these count), for so many values written, and a part that
every node has. Rates are not negative, and fit the cards by least squares of relative errors.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from robust_transfer import provenance, store
from robust_transfer.cost.nodes import Load, Needs
from robust_transfer.plan.graph import Plan
from robust_transfer.specs.passes import Unknown
from robust_transfer.stages.node import KINDS, Node

FEWEST = 4
"""Cards of a kind that say how fast it is; one less, and those of all kinds together say it."""


class Rate(NamedTuple):
    """Seconds for a floating-point operation, for a tensor operation, for a value that is written, and for a node."""

    flop: float
    operation: float
    value: float
    node: float

    def seconds(self, load: Load) -> float:
        """Of a node."""
        return load.flops * self.flop + load.operations * self.operation + load.moved * self.value + self.node

    def tells(self, loads: Iterable[Load]) -> bool:
        """Whether it says what larger images or networks take, which small ones alike do not show, if that matters."""
        return self.flop + self.value > 0 or not any(load.flops for load in loads)


class Timed(NamedTuple):
    """A node that was made: its kind, what was computed, and in how many seconds."""

    kind: str
    load: Load
    seconds: float


@dataclass(frozen=True)
class Rates:
    """assumed: where no card says more. of_kind: those that cards give. of_all: of kinds of which too few are made.

    device: whose cards they are; none where there are none. cards: how many. most: the most floating-point operations
    of a node among them.
    """

    assumed: Rate
    of_kind: Mapping[str, Rate] = field(default_factory=dict)
    of_all: Rate | None = None
    device: str = ""
    cards: int = 0
    most: float = 0.0

    def seconds(self, kind: str, load: Load) -> float:
        """How long a node takes."""
        return (self.of_kind.get(kind) or self.of_all or self.assumed).seconds(load)

    def is_assumed(self, kind: str) -> bool:
        """Whether no card says how fast a kind is."""
        return kind not in self.of_kind and self.of_all is None


def assumed(gpu: bool, threads: int, teraflops: float | None = None) -> Rate:
    """Rates of a machine of which nothing is known. teraflops: 10^12 floating-point operations a second that it does,
    by default 20 of a GPU and 0.02 of a CPU's thread.

    A tensor operation takes 10 microseconds to begin, or on a CPU 50; a node 5 s, or 1 s. What writing takes is in the
    floating-point operations.
    """
    flop = 1e-12 / (teraflops or (20.0 if gpu else 0.02 * threads))
    return Rate(flop, 1e-5, 0.0, 5.0) if gpu else Rate(flop, 5e-5, 0.0, 1.0)


def fitted(timed: Iterable[Timed], otherwise: Rate, device: str) -> Rates:
    """The rates that fit nodes that were made best. otherwise: of a machine of which nothing is known."""
    kinds: dict[str, list[Timed]] = {}
    for each in timed:
        kinds.setdefault(each.kind, []).append(each)
    everything = [each for of_kind in kinds.values() for each in of_kind]
    if not everything:
        return Rates(otherwise)
    of_kind = {kind: _fit(each) for kind, each in kinds.items() if len(each) >= FEWEST}
    of_kind = {kind: rate for kind, rate in of_kind.items() if rate.tells(each.load for each in kinds[kind])}
    most = max(each.load.flops for each in everything)
    if not most:  # of what needs no network nothing is learnt about what does
        return Rates(otherwise)
    return Rates(otherwise, of_kind, _fit(everything), device, len(everything), most)


def _fit(timed: Sequence[Timed]) -> Rate:
    import numpy as np
    from scipy.optimize import nnls

    seconds = np.array([max(each.seconds, 0.01) for each in timed])
    loads = np.array([(*each.load, 1.0) for each in timed])
    scale = np.maximum(loads.max(0), 1e-30)  # so that no column is lost in rounding
    rates, _ = nnls(loads / scale / seconds[:, None], np.ones(len(timed)))
    return Rate(*(rates / scale).tolist())


# ---- cards ---------------------------------------------------------------------------------------------------------


def recorded(results: Path, data_root: Path, gpu: bool, threads: int) -> tuple[str, list[Timed]]:
    """What the cards in a folder of results say of one device: its name, and the nodes that were timed on it.

    On a CPU those of this processor count, and of these such with as many threads, where there are any; on a GPU those
    of the one that worked longest.
    """
    cards = {card["id"]: card for path in results.glob("*/*/card.json") if (card := _card(path))}
    of_device = {i: device for i, card in cards.items() if (device := _device(card)) and (device != "cpu") == gpu}
    if gpu:
        worked = Counter[str]()
        for i, device in of_device.items():
            worked[device] += cards[i]["seconds"]
        device = next(iter(dict(worked.most_common(1))), "")
        chosen = [i for i, each in of_device.items() if each == device]
    else:
        device = provenance.machine()["processor"]
        chosen = [i for i in of_device if cards[i].get("machine", {}).get("processor") == device]
        chosen = [i for i in chosen if cards[i].get("threads") == threads] or chosen
    plan = Plan({})
    plan.nodes = {i: Node.recorded(i, card["kind"], card["spec"], card["parents"]) for i, card in cards.items()}
    return device, list(timed(plan, data_root, {i: cards[i]["seconds"] * _processes(cards[i]) for i in chosen}))


def timed(plan: Plan, data_root: Path, seconds: Mapping[str, float]) -> Iterator[Timed]:
    """The nodes of a plan of which it is known how long they took, by id; those left out of which it is not known what
    they are made from.
    """
    needs = Needs(plan, data_root)
    for i, each in seconds.items():
        node = plan.nodes[i]
        try:
            yield Timed(node.kind, needs.load(node), each)
        except (Unknown, LookupError, ValueError):
            continue


def _card(path: Path) -> dict[str, Any] | None:
    """A card that says what it is of, and how long that took; None of others."""
    card = store.glance(path)
    if card is None or card.get("kind") not in KINDS or not isinstance(card.get("seconds"), int | float):
        return None
    return card if isinstance(card.get("spec"), dict) and isinstance(card.get("parents"), dict) else None


def _processes(card: Mapping[str, Any]) -> int:
    """On how many devices it was made at once."""
    computed = card.get("computed")
    told = [computed.get(name) for name in ("processes", "devices")] if isinstance(computed, dict) else []
    return max([1, *(count for count in told if isinstance(count, int))])


def _device(card: Mapping[str, Any]) -> str | None:
    device = card.get("device")
    return device if isinstance(device, str) else None
