"""Test images of one prepared set among the images that another was trained on: what is transferred has seen them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from robust_transfer.data.examine import TRAINED_ON, in_common


def overlap_notes(trained: Path, tested: Path, names: tuple[str, str]) -> list[str]:
    """What is to be said of test images of `tested` that are training or validation images of `trained` (files of
    prepared sets), to the last bit; names: what the sets are called.

    Large photographs count as none: their training images are kept as files, whose pixels are not compared.
    """
    (theirs, their_classes), (ours, our_classes) = _read(trained), _read(tested)
    seen = (pair for split in TRAINED_ON for pair in _images(theirs, split, their_classes))
    shared = in_common(seen, _images(ours, "test", our_classes))
    first, second = names
    notes = []
    if shared:
        notes.append(
            f"{len(shared)} of {len(ours['test_labels'])} test images of {second} are training or validation images of "
            f"{first}, so what is transferred has seen them; hold them out of one of the two"
        )
    differ = sum(ours != theirs for ours, theirs in shared)
    if differ and sorted(our_classes) == sorted(their_classes):
        notes.append(f"{differ} of these have another class in {first}; have both sets the same order of classes?")
    return notes


def _images(arrays: dict[str, Any], split: str, classes: list[str]) -> Iterator[tuple[np.ndarray, str]]:
    """The images of a split, each with the name of its class; none where they are kept as files."""
    if f"{split}_images" in arrays:
        yield from zip(arrays[f"{split}_images"], (classes[n] for n in arrays[f"{split}_labels"]), strict=True)


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
    """A prepared set's arrays and its classes' names."""
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        wanted = [name for name in file.keys() if name.endswith(("_images", "_labels"))]  # noqa: SIM118 (no mapping)
        return {name: file.get_tensor(name) for name in wanted}, json.loads(file.metadata()["classes"])
