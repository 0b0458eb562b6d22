"""The one examination of every data set between its reader and its splits; docs/data.md says what is taken and how.

Labels become numbers, one an image; images become uint8, N x H x W x C, grey (1) or RGB (3). Whatever is changed or
left out is said in a note, and what cannot be taken for sure is refused in a sentence: nothing is guessed in silence.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TypeVar

import numpy as np

from robust_transfer.data.raw import Arrays, LabelledArrays, RawSet, Splits
from robust_transfer.errors import UserError

CHANNELS = (1, 3, 4)
"""Grey, RGB, and RGB with transparency."""
DARK = 31
"""Pictures whose brightest pixel is no brighter than this (of 255) are said to be dark."""
LUMA = (19595, 38470, 7471)
"""Of red, green and blue, in 65536ths (ITU-R BT.601), as Pillow turns RGB into grey."""

TRAINED_ON = ("train", "validation")
"""Splits whose images have a part in training: weights and choices are made on them."""

NUMBER = re.compile("-1|[0-9]{1,9}")
"""A label that is a number written as text."""

S = TypeVar("S", bound=RawSet)
C = TypeVar("C")
Notes = list[str]


def examined(source: S) -> S:
    """The same set with int64 labels, its classes' names by number and, of arrays, images as uint8, N x H x W x C.

    Images without a label (-1) are left out and counted.

    Raises:
        UserError: where a form is none that can be taken for sure.
    """
    notes = list(source.notes)
    images = {split: part[0] for split, part in source.splits.items()}
    if empty := [split for split, each in images.items() if not np.size(each)]:
        raise _refusal(source, _no_image(empty[0]))
    labels, by_label = numbered({split: part[1] for split, part in source.splits.items()}, source.name, notes)
    names = source.classes or by_label
    for split, each in images.items():
        if len(np.atleast_1d(each)) != len(labels[split]):
            found = f"{len(np.atleast_1d(each))} images ({_shape(each)}) and {len(labels[split])} labels"
            raise _refusal(source, f"{split} must have one label an image; found {found}")
    if isinstance(source, Arrays):
        images = pixels(images, source.name, notes)
    splits = {split: _labelled(source, split, images[split], labels[split], notes) for split in images}
    left_out = sum(int((each < 0).sum()) for each in labels.values())
    found = np.unique(np.concatenate([each for _, each in splits.values()])).tolist()
    if len(found) < 2:
        hint = " (-1 means no label)" if left_out else ""
        raise _refusal(source, f"all images are of one class{hint}; two or more are needed")
    if not source.classes and found != list(range(len(found))):
        notes.append(f"the classes {some(found)} become 0 to {len(found) - 1}, in this order")
    classes, left_out = {n: names[n] for n in found}, source.left_out + left_out
    return replace(source, splits=splits, classes=classes, notes=tuple(notes), left_out=left_out)


def _labelled(source: RawSet, split: str, images: np.ndarray, labels: np.ndarray, notes: Notes) -> LabelledArrays:
    """The images that have a label."""
    labelled = labels >= 0
    if labelled.all():
        return images, labels
    if not labelled.any():
        raise _refusal(source, f"no {split} image has a label (-1 means none); give labels, or other splits")
    notes.append(f"{(~labelled).sum()} {split} images without a label (-1) are left out")
    return images[labelled], labels[labelled]


# ---- labels --------------------------------------------------------------------------------------------------------


def numbered(labels: Mapping[str, np.ndarray], name: str, notes: Notes) -> tuple[dict[str, np.ndarray], dict[int, str]]:
    """Labels of every split as N int64, -1 where there is none, and the names of the classes by their numbers.

    Names (text) are numbered in their order, text that is numbers by these; numbers stay as they are.

    Raises:
        UserError: where they are no labels, or not of one form.
    """
    flat = {split: _flat(np.asarray(each), f"{name}: the labels of {split}", notes) for split, each in labels.items()}
    if len({each.dtype.kind for each in flat.values()}) > 1:
        forms = ", ".join(f"{each.dtype} in {split}" for split, each in flat.items())
        raise UserError(f"{name}: labels must have the same form in every split; found {forms}")
    texts = {text for each in flat.values() if each.dtype.kind == "U" for text in each.tolist()}
    if any(not text.strip() for text in texts):
        raise UserError(f"{name}: some labels are empty text; give every image the name of its class")
    if all(NUMBER.fullmatch(text) for text in texts) and len({int(text) for text in texts}) == len(texts):
        found = {split: each.astype(np.int64) for split, each in flat.items()}
        return found, {n: str(n) for each in found.values() for n in np.unique(each).tolist()}
    numbers_of = {text: number for number, text in enumerate(sorted(texts))}
    found = {split: np.array([numbers_of[text] for text in each.tolist()], np.int64) for split, each in flat.items()}
    return found, {number: printable(text) for text, number in numbers_of.items()}


def _flat(labels: np.ndarray, what: str, notes: Notes) -> np.ndarray:
    """One label an image: N int64 of -1 or more, or N texts."""
    if labels.ndim == 2 and 1 in labels.shape:
        _note(notes, f"labels of the form {_form(labels)} are taken as N")
        labels = labels.ravel()
    if labels.ndim == 2:
        labels = _from_one_hot(labels, what)
        _note(notes, "one-hot labels are taken as the number of their column")
    if labels.ndim != 1:
        raise UserError(f"{what} must be one an image, or one-hot; found an array of {_shape(labels)}")
    if labels.dtype.kind == "S":
        labels = np.array([text.decode(errors="backslashreplace") for text in labels.tolist()], str)
    if labels.dtype.kind == "U":
        return labels
    if labels.dtype.kind not in "biuf":
        raise UserError(f"{what} are {labels.dtype}; give whole numbers from 0, or names")
    if labels.dtype.kind == "f":
        is_whole = np.isfinite(labels) & (labels == np.rint(labels))
        if not is_whole.all():
            raise UserError(
                f"{what} are not all whole numbers, e.g. {labels[~is_whole][0]}; give the number of each class"
            )
    if len(labels) and not -1 <= labels.min() <= labels.max() < 2**31:
        raise UserError(
            f"{what} go from {labels.min()} to {labels.max()}; give classes from 0, and -1 where there is none"
        )
    return labels.astype(np.int64)


def _from_one_hot(labels: np.ndarray, what: str) -> np.ndarray:
    numeric = labels.dtype.kind in "biuf"
    if not numeric or not (np.isin(labels, (0, 1)).all() and (labels.astype(np.int64).sum(1) == 1).all()):
        raise UserError(
            f"{what} are {_shape(labels)} and not one-hot (a single 1 in each row); give one label an image"
        )
    return labels.argmax(1)


# ---- images --------------------------------------------------------------------------------------------------------


def pixels(images: Mapping[str, np.ndarray], name: str, notes: Notes) -> dict[str, np.ndarray]:
    """Images of every split as uint8, N x H x W x C, with 1 or 3 channels.

    Raises:
        UserError: where their form is none that can be taken for sure, or not the same in every split.
    """
    shaped = {split: _with_channels(each, f"{name}: the images of {split}", notes) for split, each in images.items()}
    for what, forms in (
        ("height, width and channels", {split: " x ".join(map(str, each.shape[1:])) for split, each in shaped.items()}),
        ("type", {split: "float" if each.dtype.kind == "f" else str(each.dtype) for split, each in shaped.items()}),
    ):
        if len(set(forms.values())) > 1:
            found = ", ".join(f"{form} in {split}" for split, form in forms.items())
            raise UserError(f"{name}: images must have the same {what} in every split; found {found}")
    scaled = _bytes(shaped, name, notes)
    return {split: _opaque(each, notes) for split, each in scaled.items()}


def sizes(shape: Sequence[int], what: str) -> tuple[int, int, int]:
    """Height, width and channels of an array of images, N x H x W x C or N x H x W (grey).

    Raises:
        UserError: where it is another one: axes in another order are not guessed.
    """
    found = " x ".join(map(str, shape))
    if len(shape) == 3 and all(shape):
        return shape[1], shape[2], 1
    if len(shape) == 4 and all(shape):
        last, first = shape[3] in CHANNELS, shape[1] in CHANNELS
        if last and first:  # the one that makes squares
            last, first = shape[1] == shape[2], shape[1] != shape[2] == shape[3]
        if last:
            return shape[1], shape[2], shape[3]
        if first:
            raise UserError(
                f"{what} are {found}, which looks like channels first (N x C x H x W); give N x H x W x C: "
                "images.transpose(0, 2, 3, 1)"
            )
    raise UserError(f"{what} are an array of {found}; give N x H x W x C with 1 (grey) or 3 (RGB) channels")


def _with_channels(images: np.ndarray, what: str, notes: Notes) -> np.ndarray:
    sizes(images.shape, what)
    if images.ndim == 3:
        _note(notes, "images of the form N x H x W are taken as grey")
        return images[..., None]
    return images


def _bytes(images: dict[str, np.ndarray], name: str, notes: Notes) -> dict[str, np.ndarray]:
    """Values of 0 to 255 from the other forms that pixels are kept in; decided for all splits together."""
    kind = next(iter(images.values())).dtype
    if kind.kind not in "biuf":
        raise UserError(f"{name}: images are {kind}; give uint8, 0 to 255")
    low, high = min(each.min() for each in images.values()), max(each.max() for each in images.values())
    remedy = "give uint8, 0 to 255, or floats from 0 to 1"
    if kind.kind == "b":
        _note(notes, "boolean images are taken as 0 and 255")
        return {split: each.astype(np.uint8) * np.uint8(255) for split, each in images.items()}
    if kind.kind == "f":
        if not np.isfinite([low, high]).all():
            raise UserError(f"{name}: images have values that are no numbers (NaN or infinite); {remedy}")
        if low >= 0 and high <= 1:
            _note(notes, "images of floats from 0 to 1 are scaled to 0 to 255 and rounded")
            return {split: np.rint(each.astype(np.float64) * 255).astype(np.uint8) for split, each in images.items()}
        if low < 0 or high > 255 or any((each != np.rint(each)).any() for each in images.values()):
            raise UserError(
                f"{name}: images are floats from {low:g} to {high:g}, of unknown scale (normalised?); {remedy}"
            )
    elif kind == np.uint16 and high > 255:
        _note(notes, f"16-bit images, 0 to {high}, are scaled to 0 to 255 (257 to 1)")
        return {split: ((each.astype(np.uint32) + 128) // 257).astype(np.uint8) for split, each in images.items()}
    if low < 0 or high > 255:
        raise UserError(f"{name}: images are {kind} from {low} to {high}; {remedy}")
    if high <= 1:
        raise UserError(
            f"{name}: images have the values 0 and 1 alone, of 255, which is black; if they are black and white, "
            "multiply them by 255"
        )
    if high <= DARK:
        _note(notes, f"images are very dark: the brightest pixel has {high:g} of 255")
    return {split: each.astype(np.uint8, copy=False) for split, each in images.items()}


def _opaque(images: np.ndarray, notes: Notes) -> np.ndarray:
    """RGB of images that have transparency as well, on black."""
    if images.shape[3] != 4:
        return images
    _note(notes, "transparent parts of images are shown on black")
    alpha = images[..., 3:].astype(np.uint16)
    return ((images[..., :3] * alpha + 127) // 255).astype(np.uint8)


def adapted(images: np.ndarray, channels: int | None) -> np.ndarray:
    """N x H x W x C uint8 images with so many channels: grey repeated, or the luma of RGB; None changes nothing."""
    if channels is None or channels == images.shape[3]:
        return images
    if channels == 3:
        return images.repeat(3, 3)
    luma = (images.astype(np.uint32) * np.array(LUMA, np.uint32)).sum(3, keepdims=True)
    return ((luma + 2**15) >> 16).astype(np.uint8)


# ---- splits --------------------------------------------------------------------------------------------------------


def covered(labels_of_split: Mapping[str, Iterable[int]], classes: Sequence[object], name: str) -> Notes:
    """What is to be said of classes that not every split has.

    labels_of_split: of each split the labels of its images, chosen and renumbered. classes: their names, by number.

    Raises:
        UserError: where a split has no image, or tests what was never trained on.
    """
    classes_of_split = {split: set(labels) for split, labels in labels_of_split.items()}
    if empty := [split for split in ("train", "test") if not classes_of_split[split]]:
        raise UserError(f"{name}: {_no_image(empty[0])}")
    untrained = sorted((classes_of_split["test"] | classes_of_split["validation"]) - classes_of_split["train"])
    if untrained:
        raise UserError(
            f"{name}: test images are of classes that train has no image of, and that nobody can predict: "
            f"{some([classes[n] for n in untrained])}; add training images, or name the others in `classes`"
        )
    untested = sorted(classes_of_split["train"] - classes_of_split["test"])
    return [f"no test image is of the classes {some([classes[n] for n in untested])}"] if untested else []


def duplicates(splits: Splits) -> tuple[int, Notes]:
    """How many test images are training or validation images as well, to the last bit, and what is to be said of it."""
    train, validation, test = (zip(*splits[split], strict=True) for split in (*TRAINED_ON, "test"))
    shared = in_common(chain(train, validation), test)
    differ = sum(label != other for label, other in shared)
    return len(shared), duplicate_notes(len(shared), len(splits["test"][1]), differ)


def in_common(trained: Iterable[tuple[np.ndarray, C]], tested: Iterable[tuple[np.ndarray, C]]) -> list[tuple[C, C]]:
    """Of each image (with its class) that is in `trained` as well, to the last bit: its own class, and that there."""
    seen = {_digest(image): label for image, label in trained}
    found = ((label, seen.get(_digest(image))) for image, label in tested)
    return [(label, other) for label, other in found if other is not None]


def duplicate_notes(shared: int, tested: int, differ: int = 0) -> Notes:
    """What is to be said of test images that were trained on as well, `differ` of them under another label."""
    notes = [f"{shared} of {tested} test images are training or validation images too"] if shared else []
    if differ:
        notes.append(f"{differ} of these have another label there; have the splits the same order of classes?")
    return notes


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


# ---- words ---------------------------------------------------------------------------------------------------------


def some(names: Iterable[object], shown: int = 5) -> str:
    """The first few names, as any terminal can show them."""
    names = list(names)
    rest = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return printable(", ".join(map(str, names[:shown]))) + rest


def printable(text: str) -> str:
    """A text that any terminal and file can hold; bytes of file names that are no UTF-8 are spelled out."""
    return text.encode(errors="backslashreplace").decode()


def _note(notes: Notes, sentence: str) -> None:
    if sentence not in notes:
        notes.append(sentence)


def _shape(array: np.ndarray) -> str:
    return " x ".join(map(str, np.shape(array))) or "no axis"


def _form(labels: np.ndarray) -> str:
    return "N x 1" if labels.shape[1] == 1 else "1 x N"


def _no_image(split: str) -> str:
    return f"{split} has no image; give it some, or name another split"


def _refusal(source: RawSet, sentence: str) -> UserError:
    return UserError(f"{source.name}: {sentence}")
