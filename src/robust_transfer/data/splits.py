"""Splitting a set: classes chosen and renumbered, shares held out class by class."""

import numpy as np

from robust_transfer.data.sources import Split, Splits
from robust_transfer.errors import UserError
from robust_transfer.plan.specs import Dataset


def split(spec: Dataset, splits: Splits) -> Splits:
    """train, validation and test of a data set: uint8 images (N x H x W x C) or N paths of images, and labels 0..n-1.

    The draws come from numpy's RandomState, whose stream is frozen across versions.

    Raises:
        UserError: where a class has too few images for its share.
    """
    count = 1 + max(int(labels.max(initial=-1)) for _, labels in splits.values())
    kept = chosen_classes(spec, count) if spec.classes or spec.half else None
    chosen = {name: _choose(part, kept) for name, part in splits.items()}
    if "test" not in chosen:
        chosen["train"], chosen["test"] = _hold_out(chosen["train"], spec.test, spec.seed, "test")
    train, validation = _hold_out(chosen["train"], spec.validation, spec.seed + 1, "validation")
    parts = {"train": train, "validation": validation, "test": chosen["test"]}
    return {name: _first(part, spec.limit) for name, part in parts.items()}


def chosen_classes(spec: Dataset, count: int) -> list[int]:
    """The classes kept of a set that has `count` of them, in their new order.

    Raises:
        UserError: where they are too few to be halved.
    """
    if spec.classes or not spec.half:
        return spec.classes or list(range(count))
    if count < 4:
        raise UserError(f"half: {spec.half} is wanted of {count} classes, but each half must have two; take half away")
    drawn = np.random.RandomState(spec.halves_seed).permutation(count)
    first = (count + 1) // 2
    return sorted((drawn[:first] if spec.half == "first" else drawn[first:]).tolist())


def _choose(part: Split, classes: list[int] | None) -> Split:
    images, labels = part
    if classes is None:
        return part
    there = set(np.unique(labels).tolist())
    if missing := [c for c in classes if c not in there]:
        raise UserError(f"classes {missing} are not in the data set, which has {min(there)} to {max(there)}")
    kept = np.flatnonzero(np.isin(labels, classes))
    renumbered = np.full(max(there) + 1, -1)
    renumbered[classes] = np.arange(len(classes))
    return images[kept], renumbered[labels[kept]]


def _hold_out(part: Split, share: float, seed: int, name: str) -> tuple[Split, Split]:
    """(kept, held out): of each class the same share, drawn at random, both in the original order."""
    images, labels = part
    random = np.random.RandomState(seed)
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        count = round(share * len(of_class))
        if share and not 0 < count < len(of_class):
            raise UserError(f"class {label} has {len(of_class)} images, too few for a {name} split of {share:.0%}")
        held[random.permutation(of_class)[:count]] = True
    return (images[~held], labels[~held]), (images[held], labels[held])


def _first(part: Split, limit: int | None) -> Split:
    images, labels = part
    if limit is None:
        return part
    kept = np.sort(np.concatenate([np.flatnonzero(labels == label)[:limit] for label in np.unique(labels)]))
    return images[kept], labels[kept]
