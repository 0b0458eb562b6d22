"""features: what a model makes of a data set's training images, for training that must not forget it."""

from collections.abc import Iterator, Mapping
from typing import Any

from robust_transfer.specs.fields import Spec
from robust_transfer.specs.passes import Ahead, Passes
from robust_transfer.stages.job import Job
from robust_transfer.stages.node import Kind, Node

BATCH = 250


class Features(Spec):
    """The penultimate features of the training images."""


def run(job: Job) -> dict[str, Any]:
    """Write the penultimate features (N x width float32) of the training images as they are, in the split's order.

    Shafahi et al. 2020, section 6: they are computed once and stored.
    """
    import torch

    from robust_transfer.data import tensors
    from robust_transfer.data.rows import NewRows
    from robust_transfer.models import files
    from robust_transfer.models.at_once import at_once
    from robust_transfer.models.classifier import numbers

    network, spec, *_ = files.load(job.parent("model"))
    network.to(job.device)
    part = tensors.load(job.parent("data"), job.device, job.data_root, stream=True).train
    together = at_once(spec, part.shape, job.device, BATCH)
    first, shape = 0, (len(part), network.width)
    with NewRows(job.output, "features", "F32", shape) as features, torch.no_grad(), job.blaming("model"):
        for images, _ in part.plain(BATCH):
            found = numbers(together(network.features, images), "its features")
            features[first : first + len(found)] = found.cpu().numpy()
            first += len(found)
    together.tell(job.computed)
    return {"n": len(part), "width": network.width}


def slug(spec: Features, parents: Mapping[str, Node]) -> str:
    """The data set and the model."""
    return f"{parents['data'].slug}.under.{parents['model'].slug}"


def passes(ahead: Ahead) -> Iterator[Passes]:
    """Each training image once."""
    yield Passes("model", ahead.count("train"), BATCH)


def holds(ahead: Ahead) -> float:
    """A batch of images."""
    return ahead.shown("train", BATCH)


def writes(ahead: Ahead) -> float:
    """Four bytes a feature."""
    return 4 * ahead.width * ahead.count("train")


KIND = Kind(Features, "features.safetensors", slug, passes=passes, holds=holds, streams=True, writes=writes)
