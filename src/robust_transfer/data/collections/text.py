"""Sets with text files that list the images of each split; an image's folder or name says its class."""

from pathlib import Path

from robust_transfer.data.collections.lists import lines
from robust_transfer.data.collections.manifest import Listed


def cub_200(folder: Path, seed: int) -> Listed:
    """Caltech-UCSD Birds 200 (Welinder et al. 2010): lists/train.txt and test.txt, e.g. 002.Laysan_Albatross/x.jpg."""
    return {split: _by_folder("images", lines(folder / "lists" / f"{split}.txt")) for split in ("train", "test")}


def stanford_40_actions(folder: Path, seed: int) -> Listed:
    """Stanford 40 Actions (Yao et al. 2011): ImageSplits/train.txt and test.txt, e.g. riding_a_bike_004.jpg."""
    return {
        split: [
            (name.rpartition("_")[0], f"JPEGImages/{name}") for name in lines(folder / "ImageSplits" / f"{split}.txt")
        ]
        for split in ("train", "test")
    }


def mit_indoor_67(folder: Path, seed: int) -> Listed:
    """MIT Indoor Scenes (Quattoni and Torralba 2009): TrainImages.txt and TestImages.txt, e.g. kitchen/int474.jpg.

    Classes are numbered by name; Renofeation's code numbers them in the order in which the file system lists folders.
    """
    return {split: _by_folder("Images", lines(folder / f"{split.title()}Images.txt")) for split in ("train", "test")}


def food_101(folder: Path, seed: int) -> Listed:
    """Food-101 (Bossard et al. 2014): meta/train.txt and test.txt, e.g. apple_pie/1005649 (without .jpg)."""
    return {
        split: _by_folder("images", [f"{name}.jpg" for name in lines(folder / "meta" / f"{split}.txt")])
        for split in ("train", "test")
    }


def birdsnap(folder: Path, seed: int) -> Listed:
    """Birdsnap 1.1 (Berg et al. 2014): `path` of images.txt, e.g. Blue_Jay/191761.jpg; test_images.txt takes its own.

    get_birdsnap.py downloads to download/images; about a fifth of its links were dead in 2023.
    """
    header, *rows = (line.split("\t") for line in lines(folder / "images.txt"))
    paths = [row[header.index("path")] for row in rows]
    test = lines(folder / "test_images.txt")[1:]  # after its header
    chosen = set(test)
    train = [path for path in paths if path not in chosen]
    return {"train": _by_folder("download/images", train), "test": _by_folder("download/images", test)}


def sun397(folder: Path, seed: int) -> Listed:
    """SUN397 (Xiao et al. 2010), the first official partition: 50 + 50 images a class, e.g. /a/abbey/sun_x.jpg.

    A class's name may have two parts (/a/apartment_building/outdoor/sun_x.jpg); the letter before it is no part of it.
    """
    listed = {}
    for split, file in (("train", "Training_01.txt"), ("test", "Testing_01.txt")):
        paths = [line.lstrip("/") for line in lines(folder / file)]
        listed[split] = [("/".join(path.split("/")[1:-1]), path) for path in paths]
    return listed


def dtd(folder: Path, seed: int) -> Listed:
    """Describable Textures (Cimpoi et al. 2014), split 1: train1.txt and val1.txt to train on, e.g. banded/x.jpg.

    The empirical code of vaishnavi has 57 outputs for the 47 classes.
    """
    parts = {"train": ("train1.txt", "val1.txt"), "test": ("test1.txt",)}
    return {
        split: _by_folder("images", [line for file in files for line in lines(folder / "labels" / file)])
        for split, files in parts.items()
    }


def _by_folder(images: str, paths: list[str]) -> list[tuple[str, str]]:
    """Paths CLASS/FILE below the folder `images`, with their class."""
    return [(path.rpartition("/")[0], f"{images}/{path}") for path in paths]
