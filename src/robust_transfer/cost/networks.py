"""What one image costs a network: floating-point operations, memory, parts; counted on shapes, nothing is computed.

Those of the networks that shipped scales name are kept in networks.json, so that a plan is worked out without torch.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path

from robust_transfer.canonical import canonical_json
from robust_transfer.cost.size import CLASSES, Size
from robust_transfer.specs.datasets import Facts
from robust_transfer.specs.networks import Network

TABLE = Path(__file__).with_name("networks.json")
BATCH = 4
"""With which networks are counted; one image alone has no variance for batch norm."""


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
