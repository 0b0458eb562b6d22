"""features: what a model makes of a data set's training images, for training that must not forget it."""

from typing import Any

import torch
from safetensors.torch import save_file

from robust_transfer.data import tensors
from robust_transfer.models import files
from robust_transfer.stages.job import Job

BATCH = 250


@torch.no_grad()
def run(job: Job) -> dict[str, Any]:
    """Write the penultimate features (N x width float32) of the training images as they are, in the split's order.

    Shafahi et al. 2020, section 6: they are computed once and stored.
    """
    network, *_ = files.load(job.parent("model"))
    network.to(job.device)
    part = tensors.load(job.parent("data"), job.device, job.data_root).train
    features = torch.cat([network.features(images).cpu() for images, _ in part.plain(BATCH)])
    save_file({"features": features}, job.output)
    return {"n": len(features), "width": features.shape[1]}
