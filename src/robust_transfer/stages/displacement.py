"""displacement: how far augmentation moves the features of images."""

from typing import Any

import torch
from safetensors.torch import save_file

from robust_transfer.data import tensors
from robust_transfer.data.batches import one_pass
from robust_transfer.models import files
from robust_transfer.plan.specs import Schedule
from robust_transfer.stages.job import Job
from robust_transfer.training.randomness import reseed

BATCH = 250


@torch.no_grad()
def run(job: Job) -> dict[str, Any]:
    """Write the l2 distance (N float32) between the penultimate features of each image as it is and augmented once.

    Shafahi et al. 2020, appendix B and figure 7.
    """
    network, *_ = files.load(job.parent("model"))
    network.to(job.device)
    part = tensors.load(job.parent("data"), job.device).split(job.spec["split"])
    seed = job.spec["seed"]
    # Of this schedule nothing counts but how images are augmented.
    schedule = Schedule(iterations=1, batch_size=BATCH, lr=1.0, seed=seed, **job.spec["augmentation"])
    reseed(seed, "displacement")
    distances = []
    augmented = one_pass(part, torch.arange(len(part)), schedule)
    for (images, _), moved in zip(part.plain(BATCH), augmented, strict=True):
        difference = network.features(images) - network.features(moved)
        distances.append(torch.linalg.vector_norm(difference, dim=1).cpu())
    distances = torch.cat(distances)
    save_file({"distances": distances}, job.output)
    return {"n": len(distances), "mean": float(distances.mean())}
