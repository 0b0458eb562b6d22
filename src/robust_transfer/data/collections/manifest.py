"""What a set of photographs consists of, held against what it should consist of."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robust_transfer.data.catalogue import Entry
from robust_transfer.data.examine import some
from robust_transfer.errors import UserError

Listed = dict[str, list[tuple[str, str]]]
"""train and test: of each image its class's name and its path below the set's folder."""

SHOWN = 3
"""How many missing files a message names."""


@dataclass(frozen=True)
class Manifest:
    """A set's class names in order, for train and test the path and label of each image, and how many are absent."""

    classes: list[str]
    train: list[tuple[Path, int]]
    test: list[tuple[Path, int]]
    absent: int = 0

    def splits(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Train and test as (N paths, N labels int64), for choosing and holding out as with images."""
        splits = {}
        for name in ("train", "test"):
            images = getattr(self, name)
            paths = np.empty(len(images), object)
            paths[:] = [path for path, _ in images]
            splits[name] = (paths, np.array([label for _, label in images], np.int64))
        return splits


def checked(listed: Listed, name: str, folder: Path, entry: Entry, missing: float, remedy: str) -> Manifest:
    """The manifest of a set whose lists and files are all there; classes are numbered in the order of their names.

    missing: share of the listed files that may be absent; absent ones are left out.

    Raises:
        UserError: that says everything that is wrong.
    """
    classes = sorted({label for images in listed.values() for label, _ in images})
    here = {
        split: [(label, path) for label, path in images if (folder / path).is_file()]
        for split, images in listed.items()
    }
    absent = [path for split in listed for _, path in sorted(set(listed[split]) - set(here[split]))]
    total = sum(len(images) for images in listed.values())
    wrong = [
        f"{found:,} {what} are listed, not {expected:,}"
        for what, found, expected in (
            ("classes", len(classes), entry.classes),
            ("training images", len(listed["train"]), entry.train),
            ("test images", len(listed["test"]), entry.test),
        )
        if found != expected
    ]
    if len(absent) > missing * total:
        wrong.append(f"{len(absent):,} of {total:,} listed images are missing: {some(absent, SHOWN)}")
    elif absent:
        for split, images in here.items():
            if gone := sorted(set(classes) - {label for label, _ in images}):
                wrong.append(f"no {split} image is left of {some(gone, SHOWN)}")
    if wrong:
        raise UserError(f"{name}: {folder} is not the set as distributed: {'; '.join(wrong)}. To mend it, {remedy}")
    number = {label: i for i, label in enumerate(classes)}
    train, test = ([(folder / path, number[label]) for label, path in here[split]] for split in ("train", "test"))
    return Manifest(classes, train, test, len(absent))
