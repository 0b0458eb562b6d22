"""What a reader gives: a set in memory, or the files of photographs that are kept as they are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

LabelledArrays = tuple[np.ndarray, np.ndarray]
"""Images, or the paths of image files, and their labels."""
Splits = dict[str, LabelledArrays]
"""train, and test where the set has a test split of its own."""


@dataclass(frozen=True)
class RawSet:
    """A set as it was read.

    name: what messages call it. splits: labels may have any form that examine.py takes.
    classes: the name of each class, by its number; without it the labels name the classes.
    notes: what the reader left out or changed, a sentence each. left_out: how many images.
    """

    name: str
    splits: Splits
    classes: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    left_out: int = 0


@dataclass(frozen=True)
class Arrays(RawSet):
    """A set in memory; images may have any form that examine.py takes, which makes them uint8, N x H x W x C."""


@dataclass(frozen=True)
class Files(RawSet):
    """A set of photographs too large for memory: `splits` has the paths of the image files (N objects of type Path).

    size, resize: in pixels, see Collection.
    below: where a copy of the training files would be too large, the folder that their paths are kept relative to.
    """

    size: int = 224
    resize: int = 256
    below: Path | None = None
