"""craft: adversarial examples of a split against one model, cached as a tensor."""

from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file

from robust_transfer.attacks.craft import craft
from robust_transfer.data import tensors
from robust_transfer.errors import UserError
from robust_transfer.models import files
from robust_transfer.plan.specs import AnyAttack
from robust_transfer.stages.job import Job

BATCH = 250


def run(job: Job) -> dict[str, Any]:
    """Write the examples (uint16, value / 65535, N x C x H x W); returns how many there are."""
    attack = TypeAdapter(AnyAttack).validate_python(job.spec["attack"])
    part = tensors.load(job.parent("data")).split(job.spec["split"])
    network, *_ = files.load(job.parent("model"))
    network.to(job.device)
    try:
        examples = craft(
            network, part.images, part.labels, attack, batch_size=BATCH, seed=job.spec["seed"], device=job.device
        )
    except FloatingPointError as error:
        raise UserError(f"{error}; the training of {job.node.parents['model']} has diverged: look at its log") from None
    save_file({"examples": examples.to(torch.uint16).contiguous()}, job.output)
    return {"n": len(part)}
