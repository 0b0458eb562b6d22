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
    from safetensors.torch import save_file

    from robust_transfer.data import tensors
    from robust_transfer.models import files
    from robust_transfer.models.classifier import numbers

    network, *_ = files.load(job.parent("model"))
    network.to(job.device)
    part = tensors.load(job.parent("data"), job.device, job.data_root).train
    with torch.no_grad():
        features = torch.cat([network.features(images).cpu() for images, _ in part.plain(BATCH)])
    with job.blaming("model"):
        numbers(features, "its features")
    save_file({"features": features}, job.output)
    return {"n": len(features), "width": features.shape[1]}


def slug(spec: Features, parents: Mapping[str, Node]) -> str:
    """The data set and the model."""
    return f"{parents['data'].slug}.under.{parents['model'].slug}"


def passes(ahead: Ahead) -> Iterator[Passes]:
    """Each training image once."""
    yield Passes("model", ahead.count("train"), BATCH)


def writes(ahead: Ahead) -> float:
    """Four bytes a feature."""
    return 4 * ahead.width * ahead.count("train")


KIND = Kind(Features, "features.safetensors", slug, passes=passes, writes=writes)
