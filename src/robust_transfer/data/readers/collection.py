"""Sets of large photographs, as their authors distribute them."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from robust_transfer.data.catalogue import CATALOGUE
from robust_transfer.specs.datasets import Dataset, Facts
from robust_transfer.specs.fields import Count, Fraction

if TYPE_CHECKING:
    from robust_transfer.data.raw import Files

    Name = str
else:
    Name = Literal[tuple(CATALOGUE)]


PHOTOGRAPH_BYTES, PATH_BYTES = 100_000, 100
"""About how large a photograph's file is, as those of ImageNet are, and its path with a digest."""


class Collection(Dataset):
    """A set of large photographs in a folder below data_root, laid out as its authors distribute it (catalogue.py).

    The training part is kept as the original files (of imagenet, as their paths and digests), and every batch shows
    random crops of them at `size`; validation and test are scaled to `resize` by the shorter side and cropped at the
    centre.
    """

    reader: Literal["collection"]
    name: Name
    """The set's name in the catalogue."""
    size: Count = 224
    """Side at which images are shown, in pixels."""
    resize: Count = 256
    """Shorter side of validation and test images before they are cropped, in pixels."""
    missing: Fraction = 0.0
    """Share of the listed images that may be missing (0 = none), for birdsnap, whose images are links to the web that
    have died in part.
    """

    @model_validator(mode="after")
    def _fits(self):
        top = CATALOGUE[self.name].classes
        if self.classes and max(self.classes) >= top:
            raise ValueError(f"classes: {self.name} has 0 to {top - 1}")
        if self.channels == 1:
            raise ValueError("channels: photographs are shown in colour (RGB); take channels away")
        if self.resize < self.size:
            raise ValueError(f"resize: {self.resize} pixels are too few to crop {self.size} from; raise resize")
        return self

    @property
    def base(self) -> str:
        return self.name if self.size == 224 else f"{self.name}-{self.size}px"

    @property
    def files(self) -> list[str]:
        entry = CATALOGUE[self.name]
        return [f"{entry.folder}/{name}" for name in entry.needs]

    @property
    def remedy(self) -> str:
        return CATALOGUE[self.name].unpack

    def look(self, data_root: Path) -> Facts:
        """What the catalogue has."""
        entry = CATALOGUE[self.name]
        totals = {"train": entry.train, "test": entry.test}
        kept = {"train": PATH_BYTES if entry.stays else PHOTOGRAPH_BYTES}
        return Facts(3, self.size, self.size, entry.classes, totals=totals, kept=kept)

    def read(self, data_root: Path) -> "Files":
        """The image files by the set's own lists; see data/collections.

        Raises:
            UserError: where the set is missing, partial or another one.
        """
        from robust_transfer.data import collections
        from robust_transfer.data.raw import Files

        manifest = collections.read(self, data_root)
        below = data_root if CATALOGUE[self.name].stays else None
        names = dict(enumerate(manifest.classes))
        absent = manifest.absent
        notes = (f"{absent} listed images are missing and left out",) if absent else ()
        return Files(self.name, manifest.splits(), names, notes, absent, self.size, self.resize, below)
