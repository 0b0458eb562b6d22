"""Splitting a set: classes chosen and renumbered, shares held out class by class."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from robust_transfer.data.examine import covered
from robust_transfer.data.raw import LabelledArrays, Splits
from robust_transfer.errors import UserError

if TYPE_CHECKING:
    from robust_transfer.specs.datasets import Dataset, Facts

DRAWS = ("test", "validation")
"""What is drawn at random; the index of a name is part of its draws' seeds."""


def split(spec: "Dataset", splits: Splits) -> Splits:
    """train, validation and test of a data set: uint8 images (N x H x W x C) or N paths of images, and labels 0..n-1.

    What is held out of a class depends on its number and its images in the undivided set, on the shares and on the
    seed, and on nothing else. So sets that are cut from the same one share no image between the tests of one and the
    training of another.

    Raises:
        UserError: where a class has too few images for its share.
    """
    numbers = sorted({label for _, labels in splits.values() for label in np.unique(labels).tolist()})
    classes = chosen_classes(spec, numbers)
    parts = {name: _of_classes(part, classes) for name, part in splits.items()}
    if "test" not in parts:
        parts["train"], parts["test"] = _hold_out(parts["train"], spec.test_share, spec.seed, "test")
    parts["train"], parts["validation"] = _hold_out(parts["train"], spec.validation, spec.seed, "validation")
    return {
        name: _first(_renumbered(parts[name], classes), spec.most(name)) for name in ("train", "validation", "test")
    }


def chosen_classes(spec: "Dataset", numbers: Sequence[int]) -> list[int]:
    """The classes kept of a set that has those of these numbers, in their new order.

    Raises:
        UserError: where they are too few to be halved, or not there.
    """
    if missing := sorted(set(spec.classes or ()) - set(numbers)):
        raise UserError(f"classes {missing} are not in the data set, which has {min(numbers)} to {max(numbers)}")
    if spec.classes or not spec.half:
        return spec.classes or list(numbers)
    if len(numbers) < 4:
        raise UserError(
            f"half: {spec.half} is wanted of {len(numbers)} classes, but each half must have two; take half away"
        )
    drawn = np.random.RandomState(spec.halves_seed).permutation(len(numbers))
    first = (len(numbers) + 1) // 2
    return [numbers[index] for index in sorted((drawn[:first] if spec.half == "first" else drawn[first:]).tolist())]


def foreseen(spec: "Dataset", facts: "Facts") -> "Facts":
    """What is known of a set after its splitting, from what is known of the undivided one.

    Raises:
        UserError: as `split` and the stage do.
    """
    channels = spec.channels or facts.channels
    if facts.classes is None:
        return replace(facts, channels=channels, classes=len(spec.classes) if spec.classes else None)
    numbers = sorted({n for each in facts.images.values() for n in each}) or range(facts.classes)
    classes = chosen_classes(spec, numbers)
    images = {
        split: {new: counts.get(old, 0) for new, old in enumerate(classes) if old in counts}
        for split, counts in facts.images.items()
    }
    if images:
        shares = ([] if "test" in images else [("test", spec.test_share)]) + [("validation", spec.validation)]
        for split, share in shares:
            images[split] = {label: held_out(share, n, split, classes[label]) for label, n in images["train"].items()}
            images["train"] = {label: n - images[split][label] for label, n in images["train"].items()}
        images = {
            split: {label: min(n, spec.most(split) or n) for label, n in counts.items()}
            for split, counts in images.items()
        }
        covered(images, classes, spec.base)
    totals = _totals(spec, facts.totals, len(classes) / len(numbers), len(classes))
    return replace(facts, channels=channels, classes=len(classes), images=images, totals=totals)


def _totals(spec: "Dataset", totals: Mapping[str, int], share: float, classes: int) -> dict[str, int]:
    """About how many images each split will have, from those of the undivided set, of whose classes a share is kept."""
    if not totals:
        return {}
    kept = {split: total * share for split, total in totals.items()}
    kept["validation"] = kept["train"] * spec.validation
    kept["train"] -= kept["validation"]
    return {split: round(min(n, classes * (spec.most(split) or n))) for split, n in kept.items()}


def held_out(share: float, count: int, split: str, label: int) -> int:
    """How many of a class's images are held out for a split.

    Raises:
        UserError: where they are none, or all.
    """
    number = round(share * count)
    if share and not 0 < number < count:
        raise UserError(f"class {label} has {count} images, too few for a {split} split of {share:.0%}")
    return number


def _of_classes(part: LabelledArrays, classes: list[int]) -> LabelledArrays:
    images, labels = part
    is_chosen = np.isin(labels, classes)
    return images[is_chosen], labels[is_chosen]


def _renumbered(part: LabelledArrays, classes: list[int]) -> LabelledArrays:
    images, labels = part
    new = np.zeros(max(classes) + 1, np.int64)
    new[classes] = np.arange(len(classes))
    return images, new[labels]


def _hold_out(part: LabelledArrays, share: float, seed: int, name: str) -> tuple[LabelledArrays, LabelledArrays]:
    """(kept, held out): of each class the same share, drawn at random, both in the original order.

    Each class has a draw of its own, from numpy's RandomState, whose stream is frozen across versions.
    """
    images, labels = part
    out = np.zeros(len(labels), bool)
    for label in np.unique(labels).tolist():
        of_class = np.flatnonzero(labels == label)
        random = np.random.RandomState([seed, DRAWS.index(name), label])
        out[random.permutation(of_class)[: held_out(share, len(of_class), name, label)]] = True
    return (images[~out], labels[~out]), (images[out], labels[out])


def _first(part: LabelledArrays, limit: int | None) -> LabelledArrays:
    images, labels = part
    if limit is None or not len(labels):
        return part
    first = np.sort(np.concatenate([np.flatnonzero(labels == label)[:limit] for label in np.unique(labels)]))
    return images[first], labels[first]


def evenly(n: int, count: int) -> np.ndarray:
    """`count` indices spread evenly over 0..n-1, all of them where there are no more."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).round().astype(int))
