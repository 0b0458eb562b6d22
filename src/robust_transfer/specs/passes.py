"""What making a node costs, in passes of images through networks; no network is built and no image read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from robust_transfer.specs.datasets import Facts


class Unknown(Exception):
    """What a cost depends on is not known before data are there; says what."""


class PerImage(NamedTuple):
    """Passes that an attack makes of an image, at most: forward, and back to its pixels."""

    forward: float
    back: float


@dataclass(frozen=True)
class Passes:
    """Images that pass through a network.

    role: of the parent whose network it is; empty for the node's own. images: how many there are. batch: how many pass
    together. forward: how often each passes. back: how often a gradient goes back to its pixels, through all of the
    network. learn: how often one goes back to the weights of the part that trains.
    """

    role: str
    images: float
    batch: int
    forward: float = 1.0
    back: float = 0.0
    learn: float = 0.0

    @property
    def batches(self) -> float:
        """How many batches there are."""
        return -(-self.images // self.batch)


@dataclass(frozen=True)
class Ahead:
    """What is known of a node before it is made.

    spec: the node's own, checked. facts: of the data set that its parent `data` is. specs: of its parents, checked, by
    role. width: how many features the network behind it has; 0 where there is none.
    """

    spec: Any
    facts: Facts
    specs: Mapping[str, Any]
    width: int = 0

    def count(self, split: str) -> float:
        """How many images a split has, to about one in a hundred where only the set's total is known.

        Raises:
            Unknown: where neither is.
        """
        found = self.facts.count(split)
        found = self.facts.totals.get(split) if found is None else found
        if found is None:
            raise Unknown(f"how many {split} images there are")
        return found

    def shown(self, split: str, batch: int, more: int = 0) -> float:
        """Bytes of a batch of a split's images: a byte a value as they are stored, four as pixels, and some more.

        Raises:
            Unknown: where their size or number is not known.
        """
        return (5 + more) * self.values * min(batch, self.count(split))

    @property
    def classes(self) -> int:
        """How many classes there are; 1,000 where that is not known, which only bounds what an attack tries."""
        return self.facts.classes or 1000

    @property
    def values(self) -> int:
        """Values of an image, of all channels, as it is shown to a network.

        Raises:
            Unknown: where its size is not known.
        """
        facts = self.facts
        if not (facts.channels and facts.height and facts.width):
            raise Unknown("how large its images are")
        return facts.channels * facts.height * facts.width

    @property
    def at_once(self) -> int:
        """How many images pass together in validation; as models.classifier.images_at_once, which needs torch."""
        return max(1, min(512, 10_000_000 // self.values))
