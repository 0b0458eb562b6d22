"""bring: a source model that was trained elsewhere, by its torchvision name or from a checkpoint file."""

from typing import Any

import torch
from pydantic import TypeAdapter

from robust_transfer.errors import UserError
from robust_transfer.models import files
from robust_transfer.models.torchvision_nets import from_torchvision, weights_in, weights_of
from robust_transfer.plan.specs import AnyNetwork
from robust_transfer.stages.job import Job

HEADLESS = 2
"""Classes of the head that weights without one get."""


def run(job: Job) -> dict[str, Any]:
    """Write the model in our form; returns where its weights came from.

    Features alone (a self-supervised network's) get a head of zeros, which a transfer replaces.
    """
    network = TypeAdapter(AnyNetwork).validate_python(job.spec["network"])
    folder = job.data_root / "weights"
    if "file" in job.spec:
        state, origin = weights_in(folder / job.spec["file"], job.spec["sha256"]), job.spec["file"]
    else:
        state, origin = weights_of(network.name, job.spec["weights"], folder)
    try:
        ours = from_torchvision(network.name, state)
        classes = len(ours["head.bias"]) if "head.bias" in ours else HEADLESS
        model = files.build(network, 3, classes)
        if "head.bias" not in ours:
            ours |= {f"head.{name}": torch.zeros_like(p) for name, p in model.head.named_parameters()}
        model.load_state_dict(ours)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{origin} does not hold the weights of {network.name}: {error}") from None
    if not all(tensor.isfinite().all() for tensor in model.state_dict().values() if torch.is_floating_point(tensor)):
        raise UserError(f"{origin} holds weights that are not finite; fetch it again")
    files.save(job.output, model, network, 3, classes)
    return {"origin": origin, "classes": classes}
