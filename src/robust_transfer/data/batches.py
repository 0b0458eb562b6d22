"""The batches of a training run, each a function of the seed and the iteration alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robust_transfer.data.augment import random_crop, random_flip, random_rotation
from robust_transfer.data.encoded import EncodedSplit
from robust_transfer.data.images import AREA
from robust_transfer.data.tensors import TensorSplit
from robust_transfer.errors import UserError
from robust_transfer.models.classifier import to_pixels
from robust_transfer.randomness import derived, order, reseed
from robust_transfer.specs.schedules import Augmentation, Schedule

if TYPE_CHECKING:
    from robust_transfer.recipes import Inputs


def taking_part(labels: Tensor, inputs: "Inputs", seed: int) -> Tensor:
    """Indices (int64, rising) of the training images that take part: of each class a random share, but at least one, or
    so many at most; all by default. Equal seeds choose the same images.
    """
    if inputs.share == 1 and inputs.per_class is None:
        return torch.arange(len(labels))
    generator = torch.Generator().manual_seed(derived(seed, "share"))
    chosen = []
    for label in labels.unique():
        indices = (labels == label).nonzero().flatten().cpu()
        count = inputs.of_class(len(indices))
        chosen.append(indices[torch.randperm(len(indices), generator=generator)[:count]])
    return torch.cat(chosen).sort().values


@dataclass(frozen=True)
class Part:
    """One of `count` equal parts of something in rows, number `index` from 0."""

    index: int = 0
    count: int = 1

    def of(self, rows: Tensor) -> Tensor:
        """Its rows, which are next to each other. There must be a multiple of `count`."""
        return rows if self.count == 1 else rows.unflatten(0, (self.count, -1))[self.index]

    def part(self, index: int, count: int) -> "Part":
        """A part of it, as one of the whole."""
        return Part(self.index * count + index, self.count * count)


WHOLE = Part()
Batch = tuple[Tensor, Tensor, Tensor]
"""Images (N x C x H x W float32 pixels, or two crops of each; see stream), labels and the images' indices in the split
(N int64; these on the CPU)."""


def stream(
    part: TensorSplit | EncodedSplit,
    indices: Tensor,
    schedule: Schedule,
    begin: int,
    two_crops: float | None = None,
    own: Part = WHOLE,
) -> Iterator[Batch]:
    """The batches from number `begin` on, without end.

    indices: of the split's images that take part. two_crops: where every batch shows random crops in any case, it is to
    show two of each image, independent of each other and of at least this share of its area; the batch's images are
    then N x 2 x C x H x W. own: the part of each batch that is wanted; it is as in the whole.

    Every epoch has an order of its own; its last incomplete batch is left out. When a batch is asked for, torch's
    global generators are set to the iteration's own seed, and augmentation draws from them; the attack that may follow
    goes on from there. Image files draw from seeds of their own instead, because threads decode them a few batches
    ahead.

    Raises:
        UserError: where the schedule asks for what the split cannot give.
    """
    crops_by_nature = isinstance(part, EncodedSplit) or (part.enlarged and part.enlarged.resize)
    if crops_by_nature:
        _must_crop_by_nature(schedule)
    if isinstance(part, EncodedSplit):
        return _decoded(part, indices, schedule, begin, two_crops, own)
    return _augmented(part, indices, schedule, begin, two_crops if crops_by_nature else None, own)


def one_pass(part: TensorSplit | EncodedSplit, indices: Tensor, schedule: Schedule) -> Iterator[Tensor]:
    """Images once each, augmented, in the order of `indices`, the last batch too: N x C x H x W float32 pixels.

    Where batches are looked at as wholes, as batch norm does, `indices` must be shuffled.
    """
    if isinstance(part, EncodedSplit):
        crops = ((index, derived(schedule.seed, "pass", index)) for index in indices.tolist())
        yield from part.cropped(crops, schedule.batch_size, schedule.flip)
        return
    for chosen in indices.split(schedule.batch_size):
        yield augmented(part, chosen, schedule)[0]


def augmented_in_order(
    part: TensorSplit | EncodedSplit, augmentation: Augmentation, batch_size: int, seed: int
) -> Iterator[Tensor]:
    """All images of a split once, augmented, in its order: N x C x H x W float32 pixels.

    Small images are augmented with draws from torch's global generators, files with draws of the seed.
    """
    # Of this schedule nothing counts but how images are augmented.
    schedule = Schedule(iterations=1, batch_size=batch_size, lr=1.0, seed=seed, **augmentation.model_dump())
    return one_pass(part, torch.arange(len(part)), schedule)


def augmented(
    part: TensorSplit, chosen: Tensor, schedule: Schedule, two_crops: float | None = None
) -> tuple[Tensor, Tensor]:
    """The chosen images, augmented as the schedule says, and their labels; draws from torch's global generators.

    Images that are enlarged are augmented before, in pixels of their own size. two_crops: see stream.
    """
    chosen = chosen.to(part.kept.device)
    images = to_pixels(part.kept[chosen])
    if schedule.crop_padding:
        images = random_crop(images, schedule.crop_padding)
    if schedule.flip:
        images = random_flip(images)
    if schedule.rotation:
        images = random_rotation(images, schedule.rotation)
    if part.enlarged and two_crops:
        images = torch.stack([part.enlarged.in_training(images, two_crops) for _ in range(2)], 1)
    elif part.enlarged:
        images = part.enlarged.in_training(images)
    return images, part.labels[chosen]


def _in_order(indices: Tensor, schedule: Schedule, begin: int) -> Iterator[tuple[int, Tensor]]:
    """Of each batch from iteration `begin` on, the iteration and which images it has."""
    per_epoch = len(indices) // schedule.batch_size
    epoch, position = divmod(begin, per_epoch)
    while True:
        ordered = indices[order(schedule.seed, epoch, len(indices))]
        for first in range(position * schedule.batch_size, per_epoch * schedule.batch_size, schedule.batch_size):
            yield epoch * per_epoch + first // schedule.batch_size, ordered[first : first + schedule.batch_size]
        epoch, position = epoch + 1, 0


def _augmented(
    part: TensorSplit, indices: Tensor, schedule: Schedule, begin: int, two_crops: float | None, own: Part
) -> Iterator[Batch]:
    for iteration, chosen in _in_order(indices, schedule, begin):
        reseed(schedule.seed, "iteration", iteration)
        images, labels = augmented(part, chosen, schedule, two_crops)
        yield own.of(images), own.of(labels), own.of(chosen)


def _decoded(
    part: EncodedSplit, indices: Tensor, schedule: Schedule, begin: int, two_crops: float | None, own: Part
) -> Iterator[Batch]:
    purposes = ["crop", "other crop"][: 2 if two_crops else 1]
    requests = (
        (index, derived(schedule.seed, f"{purpose}/{iteration}", index))
        for iteration, chosen in _in_order(indices, schedule, begin)
        for index in own.of(chosen).tolist()
        for purpose in purposes
    )
    together = schedule.batch_size // own.count * len(purposes)
    images = part.cropped(requests, together, schedule.flip, two_crops or AREA[0])
    for (iteration, chosen), batch in zip(_in_order(indices, schedule, begin), images, strict=False):
        chosen = own.of(chosen)
        reseed(schedule.seed, "iteration", iteration)
        shown = batch.unflatten(0, (len(chosen), 2)) if two_crops else batch
        yield shown, part.labels[chosen.to(part.labels.device)], chosen


def _must_crop_by_nature(schedule: Schedule) -> None:
    for name in ("crop_padding", "rotation"):
        if value := getattr(schedule, name):
            raise UserError(
                f"{name}: {value} is for small images; of this data set's training images every batch shows random "
                f"crops in any case: set {name} to 0"
            )
