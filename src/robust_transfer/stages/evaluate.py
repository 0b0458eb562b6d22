"""evaluate: each image's outcome under a model, for a clean split or for adversarial examples of it."""

from typing import Any

import pandas as pd
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file

from robust_transfer.attacks.budget import check_budget, to_float
from robust_transfer.data import tensors
from robust_transfer.models import files
from robust_transfer.models.classifier import predict
from robust_transfer.plan.specs import AnyAttack
from robust_transfer.stages.job import Job

BATCH = 512


def run(job: Job) -> dict[str, Any]:
    """Write one row an image (index, label, prediction, confidence); returns accuracy in per cent."""
    crafted = job.plan.nodes[job.node.parents["examples"]].spec if job.has("examples") else None
    data = tensors.load(job.parent("data"), data_root=job.data_root)
    part = data.split(crafted["split"] if crafted else job.spec["split"])
    network, *_ = files.load(job.parent("model"))
    network.to(job.device)
    if crafted:
        stored = load_file(job.parent("examples"))["examples"]
        check_budget(stored, part.images, TypeAdapter(AnyAttack).validate_python(crafted["attack"]))
        shown = (to_float(examples) for examples in stored.split(BATCH))
    else:
        shown = (images for images, _ in part.plain(BATCH))  # a training split may be too large to be made at once
    logits = torch.cat([predict(network, images.to(job.device)).cpu() for images in shown])
    confidence, prediction = logits.softmax(1).max(1)
    outcomes = pd.DataFrame(
        {
            "index": range(len(part)),
            "label": part.labels.numpy(),
            "prediction": prediction.numpy(),
            "confidence": confidence.numpy(),
        }
    )
    outcomes.to_parquet(job.output, index=False)
    return {"accuracy": 100 * float((outcomes.prediction == outcomes.label).mean()), "n": len(part)}
