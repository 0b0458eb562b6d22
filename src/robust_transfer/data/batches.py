"""The batches of a training run, each a function of the seed and the iteration alone."""

from collections.abc import Iterator

import torch
from torch import Tensor

from robust_transfer.data.augment import random_crop, random_flip
from robust_transfer.data.encoded import EncodedPart
from robust_transfer.data.tensors import Part
from robust_transfer.errors import UserError
from robust_transfer.models.classifier import to_pixels
from robust_transfer.plan.specs import Schedule
from robust_transfer.training.randomness import derived, order, reseed


def share_of(labels: Tensor, share: float, seed: int) -> Tensor:
    """Places (int64, rising) of a random share of each class's images: at least one, and the same for equal seeds."""
    if share == 1:
        return torch.arange(len(labels))
    generator = torch.Generator().manual_seed(derived(seed, "share"))
    kept = []
    for label in labels.unique():
        places = (labels == label).nonzero().flatten().cpu()
        kept.append(places[torch.randperm(len(places), generator=generator)[: max(1, round(share * len(places)))]])
    return torch.cat(kept).sort().values


def stream(part: Part | EncodedPart, places: Tensor, schedule: Schedule, begin: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches from iteration `begin` on, without end: images (N x C x H x W float32 pixels) and labels (N int64).

    places: the images of the split that take part. Every epoch has an order of its own; its last incomplete batch is
    left out. When a batch is asked for, torch's global generators are set to the iteration's own seed, and augmentation
    draws from them; the attack that may follow goes on from there. Image files draw from seeds of their own instead,
    because threads decode them a few batches ahead.

    Raises:
        UserError: where the schedule asks for what the split cannot give.
    """
    if isinstance(part, EncodedPart):
        _must_crop_by_nature(schedule)
        return _decoded(part, places, schedule, begin)
    return _augmented(part, places, schedule, begin)


def one_pass(part: Part | EncodedPart, places: Tensor, schedule: Schedule) -> Iterator[Tensor]:
    """Every image once, augmented, in the order of the split, the last batch too: N x C x H x W float32 pixels."""
    if isinstance(part, EncodedPart):
        wanted = ((place, derived(schedule.seed, "pass", place)) for place in places.tolist())
        yield from part.cropped(wanted, schedule.batch_size, schedule.flip)
        return
    for chosen in places.split(schedule.batch_size):
        yield augmented(part, chosen, schedule)[0]


def augmented(part: Part, chosen: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """The chosen images, augmented as the schedule says, and their labels; draws from torch's global generators."""
    chosen = chosen.to(part.images.device)
    images = to_pixels(part.images[chosen])
    if schedule.crop_padding:
        images = random_crop(images, schedule.crop_padding)
    if schedule.flip:
        images = random_flip(images)
    return images, part.labels[chosen]


def _in_order(places: Tensor, schedule: Schedule, begin: int) -> Iterator[tuple[int, Tensor]]:
    """Of each batch from iteration `begin` on, the iteration and which images it has."""
    per_epoch = len(places) // schedule.batch_size
    epoch, position = divmod(begin, per_epoch)
    while True:
        ordered = places[order(schedule.seed, epoch, len(places))]
        for first in range(position * schedule.batch_size, per_epoch * schedule.batch_size, schedule.batch_size):
            yield epoch * per_epoch + first // schedule.batch_size, ordered[first : first + schedule.batch_size]
        epoch, position = epoch + 1, 0


def _augmented(part: Part, places: Tensor, schedule: Schedule, begin: int) -> Iterator[tuple[Tensor, Tensor]]:
    for iteration, chosen in _in_order(places, schedule, begin):
        reseed(schedule.seed, "iteration", iteration)
        yield augmented(part, chosen, schedule)


def _decoded(part: EncodedPart, places: Tensor, schedule: Schedule, begin: int) -> Iterator[tuple[Tensor, Tensor]]:
    wanted = (
        (place, derived(schedule.seed, f"crop/{iteration}", place))
        for iteration, chosen in _in_order(places, schedule, begin)
        for place in chosen.tolist()
    )
    images = part.cropped(wanted, schedule.batch_size, schedule.flip)
    for (iteration, chosen), batch in zip(_in_order(places, schedule, begin), images, strict=False):
        reseed(schedule.seed, "iteration", iteration)
        yield batch, part.labels[chosen.to(part.labels.device)]


def _must_crop_by_nature(schedule: Schedule) -> None:
    if schedule.crop_padding:
        raise UserError(
            f"crop_padding: {schedule.crop_padding} is for small images; the training images of this data set are "
            "photographs, of which every batch shows random crops in any case: set crop_padding to 0"
        )
