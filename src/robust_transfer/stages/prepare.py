"""prepare: a data set, read as distributed, split, as tensors."""

from typing import Any

from pydantic import TypeAdapter

from robust_transfer.data import splits, tensors
from robust_transfer.data.sources import READERS
from robust_transfer.plan.specs import AnyDataset
from robust_transfer.stages.job import Job


def run(job: Job) -> dict[str, Any]:
    """Write the three splits; returns how many images and classes there are."""
    spec = TypeAdapter(AnyDataset).validate_python(job.spec)
    parts = splits.split(spec, READERS[spec.source](spec, job.data_root))
    tensors.save(job.output, parts)
    return {name: len(labels) for name, (_, labels) in parts.items()} | {"classes": int(parts["train"][1].max()) + 1}
