"""pretrain: a source model, or any other network, trained from a random start with no help."""

from collections.abc import Mapping
from typing import Any

from robust_transfer.recipes import Recipe
from robust_transfer.stages.job import HISTORY, Job
from robust_transfer.stages.node import Kind, Node


def run(job: Job) -> dict[str, Any]:
    """Train and write the model; see training.run."""
    from robust_transfer.training.run import run

    return run(job)


def slug(spec: Recipe, parents: Mapping[str, Node]) -> str:
    """`digits-0to4.resnet8w16.pgd`."""
    assert spec.network, "a random start has no network to inherit"
    return f"{parents['data'].slug}.{spec.network.slug}.{spec.slug}"


KIND = Kind(
    *(Recipe, "model.safetensors", slug),
    version=4,
    minutes=1440,
    resumes=True,
    beside=(HISTORY,),
    passes=lambda ahead: ahead.spec.passes(ahead),
)
