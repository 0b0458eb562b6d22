"""craft: adversarial examples of a split against one model, cached as a tensor."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from robust_transfer.attacks.algorithms import AnyAttack
from robust_transfer.pace import Pace
from robust_transfer.specs.datasets import SplitName
from robust_transfer.specs.fields import Spec, WholeNumber
from robust_transfer.specs.passes import Ahead, Passes
from robust_transfer.stages.job import Job
from robust_transfer.stages.node import Kind, Node

BATCH = 250

log = logging.getLogger("robust_transfer")


NO_GRADIENTS = (
    "at over half of the images the network has no gradient: attacks that follow gradients do nothing there, and their "
    "robust accuracy says nothing; try square, or examples made against another network"
)


class Craft(Spec):
    """An attack on the images of a split. seed: of what it draws at random."""

    attack: AnyAttack
    split: SplitName
    seed: WholeNumber


def run(job: Job) -> dict[str, Any]:
    """Write the examples (uint16, value / 65535, N x C x H x W); returns how many there are.

    Images that outcomes among the parents (`beaten0`, `beaten1`, ...) have wrong are not attacked but stay clean; then
    it returns how many were attacked, too. zero_gradients: the share of those attacked at which there is no gradient.
    """
    import pandas as pd
    import torch
    from safetensors.torch import save_file

    from robust_transfer.attacks.budget import units
    from robust_transfer.attacks.craft import craft, zero_gradients
    from robust_transfer.data import tensors
    from robust_transfer.models import files

    part = tensors.load(job.parent("data")).in_memory(job.spec.split)
    network, *_ = files.load(job.parent("model"))
    network.to(job.device)
    earlier = [pd.read_parquet(job.parent(role)) for role in job.parents if role.startswith("beaten")]
    attacked = torch.ones(len(part), dtype=torch.bool)
    for outcomes in earlier:
        attacked &= torch.from_numpy((outcomes.prediction == outcomes.label).to_numpy(copy=True))
    examples = torch.empty(part.images.shape, dtype=torch.uint16)
    bits = examples.view(torch.int16)  # torch doesn't write uint16 by index
    bits[~attacked] = units(part.images[~attacked]).to(torch.int16)
    pace = Pace("images", int(attacked.sum()))
    with job.blaming("model"):
        bits[attacked] = craft(
            network,
            part.images[attacked],
            part.labels[attacked],
            job.spec.attack,
            batch_size=BATCH,
            seed=job.spec.seed,
            device=job.device,
            progress=lambda made: pace.tell(len(made)),
        ).view(torch.int16)
    save_file({"examples": examples}, job.output)
    zero = zero_gradients(network, part.images[attacked], BATCH, job.device)
    metrics: dict[str, Any] = {"n": len(part), "zero_gradients": zero}
    if earlier:
        metrics["attacked"] = int(attacked.sum())
    if zero > 0.5:
        metrics["warnings"] = [NO_GRADIENTS]
        log.warning("%s (here %.0f %%)", NO_GRADIENTS, 100 * zero)
    return metrics


def slug(spec: Craft, parents: Mapping[str, Node]) -> str:
    """Data set, model and attack."""
    return f"{parents['data'].slug}.by.{parents['model'].slug}.{spec.attack.slug}"


def passes(ahead: Ahead) -> Iterator[Passes]:
    """Of every image, those that an earlier attack has beaten too: how many these will be is not known before."""
    attack, images = ahead.spec.attack, ahead.count(ahead.spec.split)
    yield Passes("model", images, BATCH, *attack.passes(ahead.classes))
    yield Passes("model", images, BATCH, back=1)  # whether there are gradients


def holds(ahead: Ahead) -> float:
    """The images and those of them that are attacked, a byte a value; the examples twice, two bytes a value."""
    return 6 * ahead.values * ahead.count(ahead.spec.split)


def writes(ahead: Ahead) -> float:
    """Two bytes a value."""
    return 2 * ahead.values * ahead.count(ahead.spec.split)


KIND = Kind(
    *(Craft, "examples.safetensors", slug),
    version=3,
    minutes=120,
    passes=passes,
    holds=holds,
    writes=writes,
)
