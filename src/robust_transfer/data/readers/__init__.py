"""Data readers: one file a source of images, with the spec and how it is read; see docs/data.md."""

from typing import TYPE_CHECKING

from robust_transfer.registry import members, one_of
from robust_transfer.specs.datasets import Dataset

SOURCES = members(__name__, __path__, Dataset)

if TYPE_CHECKING:
    AnyDataset = Dataset
else:
    AnyDataset = one_of(SOURCES, "source")
