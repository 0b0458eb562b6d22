"""measure: how far a transferred model is from the model it was transferred from."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from robust_transfer.specs.fields import Spec, WholeNumber
from robust_transfer.specs.passes import Ahead, Passes
from robust_transfer.specs.schedules import Augmentation
from robust_transfer.stages.job import Job
from robust_transfer.stages.node import Kind, Node

BATCH = 250


class Measure(Spec):
    """The distances of weights and features between the parents `model` and `source`.

    augmentation: of the training images that the features are of; none takes them as they are. seed: of its draws.
    """

    augmentation: Augmentation | None = None
    seed: WholeNumber = 0


def run(job: Job) -> dict[str, Any]:
    """Write the squared distance of the weights (Chin et al. 2020, Eq. 2: the head left out) and that of the stages'
    outputs on the training images (Eq. 3, without lambda), with its standard deviation over images.
    """
    import torch

    from robust_transfer.data import tensors
    from robust_transfer.data.batches import augmented_in_order
    from robust_transfer.models import files
    from robust_transfer.models.at_once import at_once
    from robust_transfer.models.classifier import numbers
    from robust_transfer.randomness import reseed
    from robust_transfer.terms.start_distance import squared_distance

    network, spec, *_ = files.load(job.parent("model"))
    source, *_ = files.load(job.parent("source"))
    part = tensors.load(job.parent("data"), job.device, job.data_root, stream=True).train
    together = at_once(spec, part.shape, job.device, BATCH)

    def distances_of(images: torch.Tensor) -> torch.Tensor:
        stages, expected = network.observe(images).stages, source.observe(images).stages
        # An image at a time in the sum over stages: each stage's mean over its elements.
        pairs = zip(stages, expected, strict=True)
        each = ((a - b).square().flatten(1).mean(1) for a, b in pairs)
        return sum(each, start=torch.zeros((), device=job.device))

    own = {name: p for name, p in source.named_parameters() if not name.startswith("head.")}
    with torch.no_grad():
        found = {"weight_distance": float(squared_distance(network, own))}
        network.to(job.device), source.to(job.device)
        distances = []
        reseed(job.spec.seed, "measure")
        shown = (
            augmented_in_order(part, job.spec.augmentation, BATCH, job.spec.seed)
            if job.spec.augmentation
            else (images for images, _ in part.plain(BATCH))
        )
        for images in shown:
            distances.append(together(distances_of, images))
    together.tell(job.computed)
    distance = torch.cat(distances).double()
    with job.blaming("model"):
        numbers(distance, "distances between its features")
    found |= {
        "feature_distance": float(distance.mean()),
        "feature_distance_sd": float(distance.std()),
        "n": len(distance),
    }
    job.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def slug(spec: Measure, parents: Mapping[str, Node]) -> str:
    """The model."""
    return f"{parents['model'].slug}.to-source"


def passes(ahead: Ahead) -> Iterator[Passes]:
    """Each training image once through both networks."""
    yield Passes("model", ahead.count("train"), BATCH)
    yield Passes("source", ahead.count("train"), BATCH)


def holds(ahead: Ahead) -> float:
    """A batch of images."""
    return ahead.shown("train", BATCH)


KIND = Kind(Measure, "distances.json", slug, passes=passes, holds=holds, streams=True)
