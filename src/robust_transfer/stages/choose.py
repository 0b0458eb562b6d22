"""choose: of several models trained with different values (a grid search), the one that does best on a split."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from robust_transfer.specs.datasets import SplitName
from robust_transfer.specs.fields import Spec
from robust_transfer.specs.passes import Ahead, Passes
from robust_transfer.stages.job import Job
from robust_transfer.stages.node import Kind, Node


class Choose(Spec):
    """The split on which candidates are compared, and the values that each was trained with, in the order of the
    parents candidate0, candidate1, ...; where there are attacked0, attacked1, ..., their outcomes under an attack count
    as much as those without one.
    """

    split: SplitName
    candidates: Annotated[list[dict[str, float]], Field(min_length=1)]


def run(job: Job) -> dict[str, Any]:
    """Write the best candidate's model, and in its file the values it was trained with, how many images it has right
    and how many others are as good; the first of equals wins.

    Returns the chosen values, and in the order of the spec every candidate's accuracy in per cent and, where it counts,
    its accuracy under the attack (`robustness`).
    """
    import pandas as pd

    from robust_transfer.data import tensors
    from robust_transfer.models import files
    from robust_transfer.models.classifier import predict

    part = tensors.load(job.parent("data")).in_memory(job.spec.split)
    images, labels = part.images.to(job.device), part.labels.to(job.device)
    found: list[int] = []
    withstood: list[int] = []
    for i in range(len(job.spec.candidates)):
        network, *_ = files.load(job.parent(f"candidate{i}"))
        with job.blaming(f"candidate{i}"):
            logits = predict(network.to(job.device), images)
        found.append(int((logits.argmax(1) == labels).sum()))
        if job.has(f"attacked{i}"):
            outcomes = pd.read_parquet(job.parent(f"attacked{i}"))
            withstood.append(int((outcomes.prediction == outcomes.label).sum()))
    scores = [sum(each) for each in zip(found, withstood, strict=True)] if withstood else found
    best = scores.index(max(scores))
    network, spec, channels, classes = files.load(job.parent(f"candidate{best}"))
    # With what the candidate itself took from an earlier choice, so that one choice says all.
    chosen = files.metadata(job.parent(f"candidate{best}")).get("tuned", {}) | job.spec.candidates[best]
    metadata = {"chosen": chosen, "right": found[best], "n": len(part), "ties": scores.count(max(scores)) - 1}
    files.save(job.output, network, spec, channels, classes, **metadata)
    metrics = {"chosen": chosen, "accuracies": [100 * right / len(part) for right in found], "n": len(part)}
    return metrics | ({"robustness": [100 * right / len(part) for right in withstood]} if withstood else {})


def slug(spec: Choose, parents: Mapping[str, Node]) -> str:
    """The first candidate, and how many there are."""
    return f"{parents['candidate0'].slug}.best-of-{len(spec.candidates)}"


def passes(ahead: Ahead) -> Iterator[Passes]:
    """Each image of the split once through every candidate."""
    for i in range(len(ahead.spec.candidates)):
        yield Passes(f"candidate{i}", ahead.count(ahead.spec.split), ahead.at_once)


def holds(ahead: Ahead) -> float:
    """All images of the split."""
    return ahead.values * ahead.count(ahead.spec.split)


KIND = Kind(Choose, "model.safetensors", slug, version=2, passes=passes, holds=holds)
