"""evaluate: each image's outcome under a model, for a clean split or for adversarial examples of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from robust_transfer.devices import shared_out
from robust_transfer.pace import Pace
from robust_transfer.specs.datasets import SplitName
from robust_transfer.specs.fields import Spec
from robust_transfer.specs.passes import Ahead, Passes
from robust_transfer.stages.job import Job
from robust_transfer.stages.node import Kind, Node

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from robust_transfer.data.encoded import EncodedSplit
    from robust_transfer.data.tensors import TensorSplit


class Evaluate(Spec):
    """split: of the clean images; none where adversarial examples (the parent `examples`) are shown."""

    split: SplitName | None = None


def run(job: Job) -> dict[str, Any]:
    """Write one row an image (index, label, prediction, confidence); returns accuracy in per cent.

    No more than a batch of images is in memory, and with several devices one for each.
    """
    import numpy as np
    import pandas as pd

    from robust_transfer.models.classifier import images_at_once

    part = _images(job)
    firsts = range(0, len(part), images_at_once(part))
    pace, predictions, confidences = Pace("images", len(part)), [], []
    with job.blaming("model"):
        for first, (prediction, confidence) in zip(firsts, shared_out(_shown, job, firsts), strict=True):
            predictions.append(prediction)
            confidences.append(confidence)
            pace.tell(first + len(prediction))
    outcomes = pd.DataFrame(
        {
            "index": range(len(part)),
            "label": part.labels.numpy(),
            "prediction": np.concatenate(predictions),
            "confidence": np.concatenate(confidences),
        }
    )
    outcomes.to_parquet(job.output, index=False)
    return {"accuracy": 100 * float((outcomes.prediction == outcomes.label).mean()), "n": len(part)}


def _images(job: Job) -> "TensorSplit | EncodedSplit":
    """The clean images of the split that is shown, or that the examples are of."""
    from robust_transfer.data import tensors

    data = tensors.load(job.parent("data"), data_root=job.data_root, stream=True)
    return data.split(job.spec_of("examples").split if job.has("examples") else job.spec.split)


def _shown(job: Job, device: "torch.device", firsts: Sequence[int]) -> "Iterator[tuple[np.ndarray, np.ndarray]]":
    """The prediction and the confidence of each image, batch by batch; firsts: the first image of each."""
    from functools import partial

    from robust_transfer.models import files
    from robust_transfer.models.at_once import at_once
    from robust_transfer.models.classifier import images_at_once, predict

    part = _images(job)
    count = images_at_once(part)
    network, spec, *_ = files.load(job.parent("model"))
    together = at_once(spec, part.shape, device, count)
    network.to(device)
    shown = _examples(job, part, firsts, count) if job.has("examples") else part.in_batches(firsts, count)
    for images in shown:
        logits = together(partial(predict, network), images.to(device)).cpu()
        confidence, prediction = logits.softmax(1).max(1)
        yield prediction.numpy(), confidence.numpy()
        together.tell(job.computed)


def _examples(job: Job, part: Any, firsts: Sequence[int], count: int) -> "Iterator[Tensor]":
    """Batches of adversarial images as pixels, once they are found to be within the attack's budget."""
    from robust_transfer.attacks.budget import BudgetError, check_budget, to_float
    from robust_transfer.data.rows import Rows

    attack, stored = job.spec_of("examples").attack, Rows(job.parent("examples"), "examples")
    if tuple(stored.shape) != tuple(part.shape):
        raise BudgetError(f"{tuple(stored.shape)} adversarial images don't match {tuple(part.shape)} clean images")
    for first in firsts:
        rows = slice(first, first + count)
        examples = stored[rows]
        check_budget(examples, part.shown(rows), attack, first)
        yield to_float(examples)


def slug(spec: Evaluate, parents: Mapping[str, Node]) -> str:
    """The model and what it is shown: clean images, examples made against itself, or `from-` another model."""
    model, examples = parents["model"], parents.get("examples")
    if examples is None:
        return f"{model.slug}.clean"
    attack = examples.slug.rsplit(".by.", 1)[-1].removeprefix(model.slug + ".")
    return f"{model.slug}.{'' if examples.parents['model'] == model.id else 'from-'}{attack}"


def passes(ahead: Ahead) -> Iterator[Passes]:
    """Each image once."""
    yield Passes("model", ahead.count(_split(ahead)), ahead.at_once)


def holds(ahead: Ahead) -> float:
    """A batch, and of examples two bytes a value, and eight while they are checked."""
    return ahead.shown(_split(ahead), ahead.at_once, more=10 if "examples" in ahead.specs else 0)


def _split(ahead: Ahead) -> SplitName:
    return ahead.specs["examples"].split if "examples" in ahead.specs else ahead.spec.split


KIND = Kind(
    *(Evaluate, "outcomes.parquet", slug),
    minutes=30,
    passes=passes,
    holds=holds,
    streams=True,
    divides=True,
)
