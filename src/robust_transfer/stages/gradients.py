"""gradients: what a model reacts to, image by image."""

from collections.abc import Iterator, Mapping
from typing import Any

from robust_transfer.specs.datasets import SplitName
from robust_transfer.specs.fields import Count, Spec
from robust_transfer.specs.passes import Ahead, Passes
from robust_transfer.stages.job import Job
from robust_transfer.stages.node import Kind, Node


class Gradients(Spec):
    """Gradients of the loss with respect to `count` images, evenly spaced over a split."""

    split: SplitName
    count: Count


def run(job: Job) -> dict[str, Any]:
    """Write the gradients (n x C x H x W float32) of each image's own cross entropy with respect to its pixels.

    Shafahi et al. 2020, section 5 and figure 5. In double precision.
    """
    import torch
    from safetensors.torch import save_file

    from robust_transfer.attacks.losses import cross_entropy
    from robust_transfer.data import tensors
    from robust_transfer.data.splits import evenly
    from robust_transfer.models import files
    from robust_transfer.models.at_once import InParts, at_once
    from robust_transfer.models.classifier import numbers, to_pixels

    part = tensors.load(job.parent("data"), stream=True).in_memory(job.spec.split)
    chosen = torch.from_numpy(evenly(len(part), job.spec.count))
    network, spec, *_ = files.load(job.parent("model"))
    network.to(job.device, torch.float64).requires_grad_(False)
    together = at_once(spec, part.shape, job.device, len(chosen), back=True)
    passing, labels = InParts(network, together), part.labels[chosen].to(job.device)
    images = to_pixels(part.shown(chosen)).to(job.device, torch.float64).requires_grad_()

    def computed() -> tuple[torch.Tensor, torch.Tensor]:
        loss = cross_entropy(passing(images), labels).sum()
        (gradients,) = torch.autograd.grad(loss, images)
        return loss, gradients

    loss, gradients = together.until_it_fits(computed)
    together.tell(job.computed)
    with job.blaming("model"):
        gradients = numbers(gradients.float().cpu().contiguous(), "its gradients")
    save_file({"gradients": gradients}, job.output)
    return {"n": len(chosen), "loss": loss.item() / len(chosen)}


def slug(spec: Gradients, parents: Mapping[str, Node]) -> str:
    """The model."""
    return f"{parents['model'].slug}.gradients"


def passes(ahead: Ahead) -> Iterator[Passes]:
    """The chosen images together, forward and back; in double precision, which counts as two."""
    images = min(ahead.spec.count, ahead.count(ahead.spec.split))
    yield Passes("model", images, max(1, int(images)), forward=2, back=2)


def holds(ahead: Ahead) -> float:
    """The chosen images, eight bytes a value, and their gradients."""
    return 16 * ahead.values * min(ahead.spec.count, ahead.count(ahead.spec.split))


KIND = Kind(Gradients, "gradients.safetensors", slug, version=2, minutes=30, passes=passes, holds=holds, streams=True)
