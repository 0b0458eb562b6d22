"""Sets without lists, with a folder a class; the Caltech sets have no split of their own, and so many images a class
are drawn to train on.
"""

import re
from pathlib import Path

import numpy as np

from robust_transfer.data.collections.manifest import Listed


def caltech_101(folder: Path, seed: int) -> Listed:
    """Caltech-101 (Fei-Fei et al. 2004): CLASS/image_0001.jpg, without BACKGROUND_Google; 30 images a class train.

    They are drawn at random; vaishnavi's code takes the first 30 files.
    """
    return _drawn(folder, "image_", 30, seed, leave_out="BACKGROUND_Google")


def caltech_256(folder: Path, seed: int) -> Listed:
    """Caltech-256 (Griffin et al. 2007): 001.ak47/001_0001.jpg, with 257.clutter; 60 images a class train.

    They are drawn at random; vaishnavi's code takes the first 60 files.
    """
    return _drawn(folder, r"\d{3}_", 60, seed)


def imagenet(folder: Path, seed: int) -> Listed:
    """ImageNet (ILSVRC2012, Russakovsky et al. 2015): train/n01440764/n01440764_10026.JPEG, and val likewise, which is
    the test split. Classes are in the order of their WordNet ids, as torchvision's weights have them.
    """
    return {
        split: [
            (of_class.name, f"{part}/{of_class.name}/{file.name}")
            for of_class in sorted((folder / part).iterdir())
            for file in sorted(of_class.glob("*.JPEG"))
        ]
        for split, part in (("train", "train"), ("test", "val"))
    }


def _drawn(folder: Path, prefix: str, per_class: int, seed: int, leave_out: str | None = None) -> Listed:
    """Images are numbered from 0001 without a gap, so that a missing one shows; other files in the folders are no part
    of the set.
    """
    random = np.random.RandomState(seed)
    listed: Listed = {"train": [], "test": []}
    for of_class in sorted(path for path in folder.iterdir() if path.is_dir() and path.name != leave_out):
        found = [re.fullmatch(rf"({prefix})(\d{{4}})\.jpg", path.name) for path in of_class.iterdir()]
        numbers = [int(match[2]) for match in found if match]
        if not numbers:
            continue
        begin = next(match[1] for match in found if match)
        order = 1 + random.permutation(max(numbers))
        for split, chosen in (("train", order[:per_class]), ("test", order[per_class:])):
            listed[split] += [(of_class.name, f"{of_class.name}/{begin}{n:04}.jpg") for n in sorted(chosen)]
    return listed
