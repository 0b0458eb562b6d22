"""displacement: how far augmentation moves the features of images."""

from collections.abc import Iterator, Mapping
from typing import Any

from robust_transfer.specs.datasets import SplitName
from robust_transfer.specs.fields import Spec, WholeNumber
from robust_transfer.specs.passes import Ahead, Passes
from robust_transfer.specs.schedules import Augmentation
from robust_transfer.stages.job import Job
from robust_transfer.stages.node import Kind, Node

BATCH = 250


class Displacement(Spec):
    """An augmentation of the images of a split. seed: of its draws."""

    augmentation: Augmentation
    split: SplitName
    seed: WholeNumber


def run(job: Job) -> dict[str, Any]:
    """Write the l2 distance (N float32) between the penultimate features of each image as it is and augmented once.

    Shafahi et al. 2020, appendix B and figure 7.
    """
    import torch
    from safetensors.torch import save_file

    from robust_transfer.data import tensors
    from robust_transfer.data.batches import augmented_in_order
    from robust_transfer.models import files
    from robust_transfer.models.at_once import at_once
    from robust_transfer.models.classifier import numbers
    from robust_transfer.randomness import reseed

    network, spec, *_ = files.load(job.parent("model"))
    network.to(job.device)
    part = tensors.load(job.parent("data"), job.device, job.data_root, stream=True).split(job.spec.split)
    together = at_once(spec, part.shape, job.device, BATCH)
    seed = job.spec.seed
    reseed(seed, "displacement")
    distances = []
    augmented = augmented_in_order(part, job.spec.augmentation, BATCH, seed)
    with torch.no_grad():
        for (images, _), moved in zip(part.plain(BATCH), augmented, strict=True):
            difference = together(network.features, images) - together(network.features, moved)
            distances.append(torch.linalg.vector_norm(difference, dim=1).cpu())
    together.tell(job.computed)
    distance = torch.cat(distances)
    with job.blaming("model"):
        numbers(distance, "distances between its features")
    save_file({"distances": distance}, job.output)
    return {"n": len(distance), "mean": float(distance.mean())}


def slug(spec: Displacement, parents: Mapping[str, Node]) -> str:
    """The data set and the model."""
    return f"{parents['data'].slug}.under.{parents['model'].slug}.augmented"


def passes(ahead: Ahead) -> Iterator[Passes]:
    """Each image as it is and augmented."""
    yield Passes("model", ahead.count(ahead.spec.split), BATCH, forward=2)


def holds(ahead: Ahead) -> float:
    """A batch of images, as they are and augmented."""
    return 2 * ahead.shown(ahead.spec.split, BATCH)


KIND = Kind(Displacement, "distances.safetensors", slug, passes=passes, holds=holds, streams=True)
