"""The names that other libraries and repositories give to the tensors of a network, and what ours are."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

OURS = ("stem", "stages", "tail", "head")
"""What the names in a state dict of this project begin with; a timm network's begin with `model` as well."""


@dataclass(frozen=True, eq=False)
class Layout:
    """How another library names the tensors of a family of networks.

    whose: what people know it by.
    parts: what the names of each part begin with -> what ours do.
    stages: what stands before the number of a block, with {} for the stage's number; none where `parts` has the blocks
        as well. first: the number of the first stage. within: as parts, inside of a block.
    idle: what the names of parts begin with that the library's forward pass never uses.
    asks: fields of the network that no name tells -> the values they may have, in words; such a field is None in a
        network that does not say.
    """

    whose: str
    parts: Mapping[str, str]
    stages: str = ""
    first: int = 1
    within: Mapping[str, str] = field(default_factory=dict)
    idle: tuple[str, ...] = ()
    asks: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _block(self) -> re.Pattern[str]:
        return re.compile(re.escape(self.stages).replace(r"\{\}", r"(\d+)") + r"\.(\d+)\.(.+)")

    def ours(self, name: str) -> str | None:
        """Our name of a tensor; None where this library has no tensor of that name."""
        if self.stages and (found := self._block.fullmatch(name)):
            stage, block, rest = found.groups()
            return f"stages.{int(stage) - self.first}.{block}.{_replaced(rest, self.within) or rest}"
        return _replaced(name, self.parts)

    def is_idle(self, name: str) -> bool:
        """Whether the tensor takes part in nothing."""
        return name.startswith(tuple(f"{part}." for part in self.idle))


def _replaced(name: str, parts: Mapping[str, str]) -> str | None:
    """A name with the part that it begins with under its other name; None where it begins with none of them."""
    for theirs, ours in parts.items():
        if name.startswith(f"{theirs}."):
            return ours + name.removeprefix(theirs)
    return None


def layout_of(names: Collection[str], layouts: Iterable[Layout]) -> Layout | None:
    """The layout that knows the most of these names; None where they are ours, or no layout knows any."""
    if any(name.partition(".")[0] in OURS for name in names):
        return None
    known = [(sum(layout.ours(name) is not None for name in names), layout) for layout in layouts]
    most, best = max(known, key=lambda found: found[0], default=(0, None))
    return best if most else None


def blocks_per_stage(names: Iterable[str]) -> list[int]:
    """How many blocks each stage has, as the names of its tensors tell, ours."""
    found: dict[int, set[str]] = {}
    for name in names:
        if place := re.match(r"stages\.(\d+)\.(\d+)\.", name):
            found.setdefault(int(place[1]), set()).add(place[2])
    return [len(found[stage]) for stage in sorted(found)]
