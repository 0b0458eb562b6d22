"""Test images of one prepared set among the images that another was trained on: what is transferred has seen them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from robust_transfer.data.examine import TRAINED_ON, in_common


def overlap_notes(trained: Path, tested: Path, names: tuple[str, str]) -> list[str]:
    """What is to be said of test images of `tested` that are training or validation images of `trained` (files of
    prepared sets), to the last bit; names: what the sets are called.
    """
    shared, tests = in_both(trained, tested)
    first, second = names
    notes = []
    if shared:
        found = f"{len(shared)} of {tests} test images of {second} are training or validation images of {first}"
        notes.append(f"{found}, so what is transferred has seen them; hold them out of one of the two")
    if _have_the_same_classes(trained, tested) and (differ := sum(own != other for own, other in shared)):
        notes.append(f"{differ} of these have another class in {first}; have both sets the same order of classes?")
    return notes


def in_both(trained: Path, tested: Path) -> tuple[list[tuple[str, str]], int]:
    """Of each test image of `tested` that is a training or validation image of `trained` as well, to the last bit, its
    class, and that there; and how many test images there are.

    Images of another form are none of them, nor are large photographs: their training images are kept as files, whose
    pixels are not compared.
    """
    with safe_open(trained, "np") as theirs, safe_open(tested, "np") as ours:
        tests = len(ours.get_tensor("test_labels"))
        if _form(theirs, "train") != _form(ours, "test"):
            return [], tests
        seen = (pair for split in TRAINED_ON for pair in _images(theirs, split))
        return in_common(seen, _images(ours, "test")), tests


def _have_the_same_classes(one: Path, other: Path) -> bool:
    with safe_open(one, "np") as first, safe_open(other, "np") as second:
        return sorted(_classes(first)) == sorted(_classes(second))


def _form(file: Any, split: str) -> list[int] | None:
    """Channels, height and width of a split's images; None where they are kept as files."""
    name = f"{split}_images"
    return file.get_slice(name).get_shape()[1:] if name in file.keys() else None  # noqa: SIM118 (no mapping)


def _images(file: Any, split: str) -> Iterator[tuple[np.ndarray, str]]:
    """The images of a split, each with the name of its class."""
    classes = _classes(file)
    labels = (classes[n] for n in file.get_tensor(f"{split}_labels"))
    return zip(file.get_tensor(f"{split}_images"), labels, strict=True)


def _classes(file: Any) -> list[str]:
    return json.loads(file.metadata()["classes"])
