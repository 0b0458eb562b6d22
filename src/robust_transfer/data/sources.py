"""Where images come from. Each source gives its splits as uint8 images (N x H x W x C) and labels, and names classes.

A source reads a set as it is distributed and refuses a missing or partial one with one sentence that says what to put
where.
"""

import hashlib
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

from robust_transfer.data import gtsrb
from robust_transfer.data.images import centre, rgb, whole
from robust_transfer.errors import UserError
from robust_transfer.plan.specs import Digits, Folder, Npz, Torchvision
from robust_transfer.plan.specs.catalogue import TORCHVISION

Split = tuple[np.ndarray, np.ndarray]
"""Images, or the paths of image files, and their labels."""
Splits = dict[str, Split]
"""train, and test where the set has a test split of its own."""


class Source(NamedTuple):
    """A set as it is distributed: its splits, and the name of each class in the order of their numbers."""

    splits: Splits
    classes: list[str]


def read_digits(spec: Digits, data_root: Path) -> Source:
    """scikit-learn's digits: 1,797 images of 8x8 with values 0..16, scaled to 0..255. No test split of their own."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    train = _appearing(images, spec.appearance)[..., None], digits.target.astype(np.int64)
    return Source({"train": train}, _numbers(10))


def _appearing(images: np.ndarray, appearance: str) -> np.ndarray:
    """N x H x W uint8 images as Digits.appearance says."""
    if appearance == "negative":
        return 255 - images
    if appearance == "quarter-turn":
        return np.rot90(images, axes=(1, 2)).copy()
    if appearance == "coarse":
        n, height, width = images.shape
        means = images.reshape(n, height // 2, 2, width // 2, 2).mean((2, 4))
        return np.rint(means).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    return images


def read_torchvision(spec: Torchvision, data_root: Path) -> Source:
    """CIFAR-10, CIFAR-100, SVHN or GTSRB from torchvision's folder layout.

    SVHN's label 10 is class 0, the digit. SVHN and GTSRB name no classes but by numbers.

    Raises:
        UserError: where the set is missing or damaged (torchvision checks the MD5 of all files but GTSRB's).
    """
    import torchvision

    if spec.name == "GTSRB":
        return Source(gtsrb.read(spec, data_root), _numbers(TORCHVISION["GTSRB"].classes))
    splits, names = {}, _numbers(10)
    for split in ("train", "test"):
        try:
            if spec.name == "SVHN":
                dataset = torchvision.datasets.SVHN(data_root, split, download=False)
                splits[split] = (dataset.data.transpose(0, 2, 3, 1), dataset.labels)
            else:
                of_name = getattr(torchvision.datasets, spec.name)
                dataset = of_name(data_root, train=split == "train", download=False)
                splits[split], names = (dataset.data, np.asarray(dataset.targets, np.int64)), dataset.classes
        except RuntimeError:
            named = ", ".join(str(data_root / file) for file in spec.files)
            raise UserError(
                f"{spec.name}: {named} missing, incomplete or damaged (the files' MD5 are checked); "
                f"{spec.remedy.format(root=data_root)}"
            ) from None
    return Source(splits, names)


def _numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def read_npz(spec: Npz, data_root: Path) -> Source:
    """An .npz file of uint8 images, plain (SPLIT_images) or as JPEG files joined (SPLIT_jpeg, SPLIT_offsets).

    Classes have no names but their numbers.

    Raises:
        UserError: where the file is missing, damaged, another than sha256 says, or lacks an array.
    """
    path = data_root / spec.file
    if not path.is_file():
        raise UserError(f"{path} is missing; put the .npz file there, or set data_root or the data set's `file`")
    if spec.sha256:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != spec.sha256:
            raise UserError(f"{path} is another file: sha256 {found}, wanted {spec.sha256}; fetch it again")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            splits = {
                ours: _npz_split(arrays, theirs, path) for ours, theirs in (("train", spec.train), ("test", spec.test))
            }
    except (ValueError, TypeError, OSError, EOFError, BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is no whole .npz file ({error}); fetch it again") from None
    return Source(splits, _numbers(1 + max(int(labels.max(initial=-1)) for _, labels in splits.values())))


def _npz_split(arrays: np.lib.npyio.NpzFile, split: str, path: Path) -> Split:
    plain, packed = f"{split}_images", [f"{split}_jpeg", f"{split}_offsets"]
    wanted = [f"{split}_labels"] + ([] if all(name in arrays for name in packed) else [plain])
    if missing := [name for name in wanted if name not in arrays]:
        raise UserError(
            f"{path} lacks {', '.join(missing)}; it has {', '.join(arrays.files)}. Set train and test to its splits"
        )
    images = arrays[plain] if plain in wanted else _decode(*(arrays[name] for name in packed))
    labels = arrays[wanted[0]].astype(np.int64)
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels):
        raise UserError(
            f"{path}: {plain} must be uint8, N x H x W x C, one label an image; "
            f"found {images.dtype} {images.shape} and {len(labels)} labels"
        )
    return images, labels


def _decode(joined: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(rgb(joined[start:end].tobytes())) for start, end in pairwise(offsets)])


def read_folder(spec: Folder, data_root: Path) -> Source:
    """Folders FOLDER/{train,test}/CLASS/ of image files; classes are numbered in the order of their names.

    Raises:
        UserError: where a folder is missing or empty, train and test differ in their classes, or an image is damaged.
    """
    root = data_root / spec.folder
    names = {}
    for split in ("train", "test"):
        if not (root / split).is_dir():
            raise UserError(f"{root / split} is missing; put one folder of images a class there")
        names[split] = sorted(folder.name for folder in (root / split).iterdir() if folder.is_dir())
    if names["train"] != names["test"] or len(names["train"]) < 2:
        different = sorted(set(names["train"]) ^ set(names["test"]))
        raise UserError(f"{root}: train and test must have the same classes, two or more; only in one: {different}")
    splits = {}
    for split in ("train", "test"):
        images, labels = [], []
        for label, name in enumerate(names[split]):
            files = [
                p for p in sorted((root / split / name).iterdir()) if p.suffix.lower() in (".png", ".jpg", ".jpeg")
            ]
            if not files:
                raise UserError(f"{root / split / name} holds no .png or .jpg file")
            for file in files:
                image = whole(file.read_bytes(), file, "replace it or take it away")
                images.append(centre(image, spec.size, spec.size))
                labels.append(label)
        splits[split] = (np.stack(images), np.asarray(labels, np.int64))
    return Source(splits, names["train"])


READERS: dict[str, Callable[..., Source]] = {
    "sklearn-digits": read_digits,
    "torchvision": read_torchvision,
    "npz": read_npz,
    "folder": read_folder,
}
