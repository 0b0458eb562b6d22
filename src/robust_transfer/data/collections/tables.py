"""Sets with text tables: one line an image, with what it is or to which split it belongs."""

from pathlib import Path

from robust_transfer.data.collections.lists import lines
from robust_transfer.data.collections.manifest import Listed


def cub_200_2011(folder: Path, seed: int) -> Listed:
    """Caltech-UCSD Birds 200-2011 (Wah et al.): images.txt `1 001.Black_footed_Albatross/x.jpg` and
    train_test_split.txt `1 0`, where 1 is training.
    """
    trains = dict(_columns(folder / "train_test_split.txt", 2))
    listed: Listed = {"train": [], "test": []}
    for number, path in _columns(folder / "images.txt", 2):
        split = {"1": "train", "0": "test"}[trains[number]]
        listed[split].append((path.rpartition("/")[0], f"images/{path}"))
    return listed


def fgvc_aircraft(folder: Path, seed: int) -> Listed:
    """FGVC-Aircraft (Maji et al. 2013) by variant: images_variant_trainval.txt and _test.txt, e.g. `10257 707-320`."""
    return {
        split: [
            (variant, f"data/images/{number}.jpg")
            for number, variant in _columns(folder / "data" / f"images_variant_{file}.txt", 2)
        ]
        for split, file in (("train", "trainval"), ("test", "test"))
    }


def oxford_pets(folder: Path, seed: int) -> Listed:
    """Oxford-IIIT Pet (Parkhi et al. 2012): annotations/trainval.txt and test.txt, `Abyssinian_100 1 1 1`; the first
    number is the class, from 1.
    """
    return {
        split: [
            (f"{int(number):02}.{name.rpartition('_')[0]}", f"images/{name}.jpg")
            for name, number, *_ in _columns(folder / "annotations" / f"{file}.txt", 4)
        ]
        for split, file in (("train", "trainval"), ("test", "test"))
    }


def _columns(path: Path, count: int) -> list[list[str]]:
    """The lines' columns, which space divides; the last one may hold spaces.

    Raises:
        ValueError: where a line has fewer.
    """
    rows = [line.split(maxsplit=count - 1) for line in lines(path)]
    if short := [row for row in rows if len(row) < count]:
        raise ValueError(f"{path.name} has a line `{' '.join(short[0])}` where {count} columns are wanted")
    return rows
