"""craft: adversarial examples of a split against one model, cached as a tensor."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from robust_transfer.attacks.algorithms import AnyAttack
from robust_transfer.devices import shared_out
from robust_transfer.pace import Pace
from robust_transfer.specs.datasets import SplitName
from robust_transfer.specs.fields import Spec, WholeNumber
from robust_transfer.specs.passes import Ahead, Passes
from robust_transfer.stages.job import Job
from robust_transfer.stages.node import Kind, Node

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from robust_transfer.data.tensors import TensorSplit

BATCH = 250
"""Images that are attacked together; what is drawn at random depends on it."""

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

    No more than a batch of images is in memory, and with several devices one for each.
    """
    import torch

    from robust_transfer.attacks.budget import units
    from robust_transfer.data.rows import NewRows

    images, _, attacked = _images(job)
    rows, clean = (chosen.nonzero().flatten() for chosen in (attacked, ~attacked))
    firsts = range(0, len(rows), BATCH)
    pace, zero = Pace("images", len(rows)), 0
    with NewRows(job.output, "examples", "U16", images.shape) as examples, job.blaming("model"):
        for first in range(0, len(clean), BATCH):
            left = clean[first : first + BATCH]
            examples[left] = units(images.shown(left)).to(torch.uint16).numpy()
        for first, (made, without) in zip(firsts, shared_out(_made, job, firsts), strict=True):
            examples[rows[first : first + BATCH]] = made
            zero += without
            pace.tell(first + len(made))
    share = zero / max(1, len(rows))
    metrics: dict[str, Any] = {"n": len(images), "zero_gradients": share}
    if any(role.startswith("beaten") for role in job.parents):
        metrics["attacked"] = len(rows)
    if share > 0.5:
        metrics["warnings"] = [NO_GRADIENTS]
        log.warning("%s (here %.0f %%)", NO_GRADIENTS, 100 * share)
    return metrics


def _images(job: Job) -> "tuple[TensorSplit, Tensor, Tensor]":
    """The images, their labels (N int64), and which are attacked (N bool)."""
    import pandas as pd
    import torch

    from robust_transfer.data import tensors

    part = tensors.load(job.parent("data"), stream=True).in_memory(job.spec.split)
    attacked = torch.ones(len(part), dtype=torch.bool)
    for role in job.parents:
        if role.startswith("beaten"):
            outcomes = pd.read_parquet(job.parent(role))
            attacked &= torch.from_numpy((outcomes.prediction == outcomes.label).to_numpy(copy=True))
    return part, part.labels, attacked


def _made(job: Job, device: "torch.device", firsts: Sequence[int]) -> "Iterator[tuple[np.ndarray, int]]":
    """The examples of each batch of the attacked images, and at how many of these there is no gradient.

    firsts: each batch's first, counted among the attacked: its random draws come from that number.
    """
    from robust_transfer.attacks.craft import Crafting
    from robust_transfer.models import files
    from robust_transfer.models.at_once import at_once

    if not firsts:
        return
    part, labels, attacked = _images(job)
    rows = attacked.nonzero().flatten()
    images, labels = part.among(rows), labels[rows]
    network, spec, *_ = files.load(job.parent("model"))
    together = at_once(spec, images.shape, device, BATCH, back=True)
    crafting = Crafting(
        network.to(device), images, labels, job.spec.attack, BATCH, job.spec.seed, device, at_once=together
    )
    for first in firsts:
        yield crafting.batch(first).numpy(), crafting.without_gradient(first)
        together.tell(job.computed)


def slug(spec: Craft, parents: Mapping[str, Node]) -> str:
    """Data set, model and attack."""
    return f"{parents['data'].slug}.by.{parents['model'].slug}.{spec.attack.slug}"


def passes(ahead: Ahead) -> Iterator[Passes]:
    """Of every image, those that an earlier attack has beaten too: how many these will be is not known before."""
    attack, images = ahead.spec.attack, ahead.count(ahead.spec.split)
    yield Passes("model", images, BATCH, *attack.passes(ahead.classes))
    yield Passes("model", images, BATCH, back=1)  # whether there are gradients


def holds(ahead: Ahead) -> float:
    """A batch, and two bytes a value as it is written."""
    return ahead.shown(ahead.spec.split, BATCH, more=2)


def writes(ahead: Ahead) -> float:
    """Two bytes a value."""
    return 2 * ahead.values * ahead.count(ahead.spec.split)


KIND = Kind(
    *(Craft, "examples.safetensors", slug),
    version=3,
    minutes=120,
    passes=passes,
    holds=holds,
    streams=True,
    writes=writes,
    divides=True,
)
