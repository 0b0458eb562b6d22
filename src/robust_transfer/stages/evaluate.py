"""evaluate: each image's outcome under a model, for a clean split or for adversarial examples of it."""

from collections.abc import Iterator, Mapping
from typing import Any

from robust_transfer.pace import Pace
from robust_transfer.specs.datasets import SplitName
from robust_transfer.specs.fields import Spec
from robust_transfer.specs.passes import Ahead, Passes
from robust_transfer.stages.job import Job
from robust_transfer.stages.node import Kind, Node

BATCH = 512


class Evaluate(Spec):
    """split: of the clean images; none where adversarial examples (the parent `examples`) are shown."""

    split: SplitName | None = None


def run(job: Job) -> dict[str, Any]:
    """Write one row an image (index, label, prediction, confidence); returns accuracy in per cent."""
    import pandas as pd
    import torch
    from safetensors.torch import load_file

    from robust_transfer.attacks.budget import check_budget, to_float
    from robust_transfer.data import tensors
    from robust_transfer.data.encoded import EncodedSplit
    from robust_transfer.models import files
    from robust_transfer.models.classifier import predict

    crafted = job.spec_of("examples") if job.has("examples") else None
    data = tensors.load(job.parent("data"), data_root=job.data_root)
    part: tensors.TensorSplit | EncodedSplit
    network, *_ = files.load(job.parent("model"))
    network.to(job.device)
    if crafted:
        part = data.in_memory(crafted.split)
        stored = load_file(job.parent("examples"))["examples"]
        check_budget(stored, part.images, crafted.attack)
        shown = (to_float(examples) for examples in stored.split(BATCH))
    else:
        part = data.split(job.spec.split)
        shown = (images for images, _ in part.plain(BATCH))  # a training split may be too large to be made at once
    pace, found = Pace("images", len(part)), []
    with job.blaming("model"):
        for images in shown:
            found.append(predict(network, images.to(job.device)).cpu())
            pace.tell(BATCH * len(found))
    logits = torch.cat(found)
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


def slug(spec: Evaluate, parents: Mapping[str, Node]) -> str:
    """The model and what it is shown: clean images, examples made against itself, or `from-` another model."""
    model, examples = parents["model"], parents.get("examples")
    if examples is None:
        return f"{model.slug}.clean"
    attack = examples.slug.rsplit(".by.", 1)[-1].removeprefix(model.slug + ".")
    return f"{model.slug}.{'' if examples.parents['model'] == model.id else 'from-'}{attack}"


def passes(ahead: Ahead) -> Iterator[Passes]:
    """Each image once."""
    yield Passes("model", ahead.count(_split(ahead)), BATCH)


def holds(ahead: Ahead) -> float:
    """Of examples all, two bytes a value, and the images that they were made from; clean images pass batch by batch."""
    return 3 * ahead.values * ahead.count(_split(ahead)) if "examples" in ahead.specs else 0.0


def _split(ahead: Ahead) -> SplitName:
    return ahead.specs["examples"].split if "examples" in ahead.specs else ahead.spec.split


KIND = Kind(Evaluate, "outcomes.parquet", slug, minutes=30, passes=passes, holds=holds)
