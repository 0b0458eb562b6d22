"""measure: how far a transferred model is from the model it was transferred from."""

import json
from typing import Any

import torch

from robust_transfer.data import tensors
from robust_transfer.models import files
from robust_transfer.objectives import terms
from robust_transfer.stages.job import Job

BATCH = 250


@torch.no_grad()
def run(job: Job) -> dict[str, Any]:
    """Write the squared distance of the weights (Chin et al. 2020, Eq. 2: the head left out) and that of the stages'
    outputs on the training images (Eq. 3, without lambda), with its standard deviation over images.
    """
    network, *_ = files.load(job.parent("model"))
    source, *_ = files.load(job.parent("source"))
    own = {name: p for name, p in source.named_parameters() if not name.startswith("head.")}
    found = {"weight_distance": float(terms.start_distance(network, own))}
    network.to(job.device), source.to(job.device)
    distances = []
    for images, _ in tensors.load(job.parent("data"), job.device, job.data_root).train.plain(BATCH):
        stages, wanted = network.observe(images).stages, source.observe(images).stages
        # An image at a time in the sum over stages: each stage's mean over its elements.
        pairs = zip(stages, wanted, strict=True)
        distances.append(sum((a - b).square().flatten(1).mean(1) for a, b in pairs))
    distance = torch.cat(distances).double()
    found |= {
        "feature_distance": float(distance.mean()),
        "feature_distance_sd": float(distance.std()),
        "n": len(distance),
    }
    job.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found
