"""What one image costs a network: floating-point operations, memory, parts; counted on shapes, nothing is computed.

Those of the networks that shipped scales name are kept in networks.json, so that a plan is worked out without torch.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from robust_transfer.canonical import canonical_json
from robust_transfer.specs.datasets import Facts
from robust_transfer.specs.networks import Network
from robust_transfer.specs.parts import Trainable

TABLE = Path(__file__).with_name("networks.json")
BATCH, CLASSES = 4, 10
"""With which networks are counted; one image alone has no variance for batch norm."""


@dataclass(frozen=True)
class Size:
    """Of a network for images of one size, each number for one image unless it says otherwise.

    flops: floating-point operations of a pass forward, a multiplication and an addition being two. operations: tensor
    operations of a pass forward, of however many images. moved: values that these write. kept: bytes that are kept for
    the way back to the weights. kept_frozen: bytes for the way back to the pixels alone. largest: bytes of the largest
    tensor on the way. parameters: values in weights and statistics, of any number of images, with a head for CLASSES.
    width: penultimate features. before: for each stage, the share of the operations that comes before each of its
    blocks. has_tail: whether the part after the last block is a unit of its own.
    """

    flops: float
    operations: int
    moved: float
    kept: float
    kept_frozen: float
    largest: float
    parameters: int
    width: int
    before: list[list[float]]
    has_tail: bool

    def trained(self, trainable: Trainable) -> float:
        """The share of a pass through which gradients for the weights go back, where so much of the network trains."""
        if trainable == "all":
            return 1.0
        if trainable == "head":
            return 0.0
        starts = [share for stage in self.before for share in stage]
        if trainable.of == "stages":
            starts = [stage[0] for stage in self.before]
        count = trainable.last - (1 + self.has_tail) * (trainable.of == "units")
        return 1 - starts[max(0, len(starts) - count)] if count > 0 else 0.0


def key_of(network: Network, facts: Facts) -> str:
    """By what a size is kept: how images are normalised costs next to nothing."""
    form = {name: value for name, value in network.canonical().items() if name not in ("normalise", "averaged_units")}
    return canonical_json([form, facts.channels, facts.height, facts.width])


def size_of(network: Network, facts: Facts) -> Size:
    """The size of a network for images of a data set (channels, height and width are known): from the table, or
    counted, once in a process.
    """
    key = key_of(network, facts)
    return _kept().get(key) or _counted(key)


@cache
def _kept() -> Mapping[str, Size]:
    return {key: Size(**values) for key, values in json.loads(TABLE.read_text(encoding="utf-8")).items()}


@cache
def _counted(key: str) -> Size:
    from pydantic import TypeAdapter

    from robust_transfer.cost.counting import count
    from robust_transfer.models.families import AnyNetwork

    form, channels, height, width = json.loads(key)
    network = TypeAdapter(AnyNetwork).validate_python(form)
    return count(network.build(channels, CLASSES), (channels, height, width), BATCH)


def as_table(keys: Iterable[str], anew: bool = False) -> str:
    """The text of the table with these entries; those that it has are not counted again, unless anew."""
    kept = {} if anew else _kept()
    return json.dumps({key: asdict(kept.get(key) or _counted(key)) for key in sorted(keys)}, indent=1) + "\n"
