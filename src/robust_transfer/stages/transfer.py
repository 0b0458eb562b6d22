"""transfer: a target model, helped by what was learnt before.

Parents: data; start, the model whose weights it inherits (none is a random start); teacher, whose stages are distilled;
features, of the model whose features it must keep; tuned, the choice that `recipe.tuned` takes values from.
"""

from collections.abc import Mapping
from typing import Any

from robust_transfer.recipes import Recipe
from robust_transfer.specs.parts import trainable_slug
from robust_transfer.stages.job import HISTORY, Job
from robust_transfer.stages.node import Kind, Node


def run(job: Job) -> dict[str, Any]:
    """Train and write the model; see training.run."""
    from robust_transfer.training.run import run

    return run(job)


def slug(spec: Recipe, parents: Mapping[str, Node]) -> str:
    """`digits-5to9.pgd-to-nat.head`."""
    start = parents.get("start")
    if start is None:
        origin = "random"
    else:
        origin = start.slug.rsplit(".", 1)[-1] if start.kind in ("pretrain", "bring") else "again"
    return f"{parents['data'].slug}.{origin}-to-{spec.slug}.{trainable_slug(spec.trainable)}"


KIND = Kind(
    *(Recipe, "model.safetensors", slug),
    version=4,
    minutes=480,
    resumes=True,
    beside=(HISTORY,),
    passes=lambda ahead: ahead.spec.passes(ahead),
)
