"""prepare: a data set, read as distributed, split, as tensors; large photographs to train on stay as files."""

from typing import Any

from pydantic import TypeAdapter

from robust_transfer.data import collections, splits, tensors
from robust_transfer.data.pack import pack
from robust_transfer.data.sources import READERS
from robust_transfer.plan.specs import AnyDataset
from robust_transfer.stages.job import Job


def run(job: Job) -> dict[str, Any]:
    """Write the three splits; returns how many images and classes there are."""
    spec = TypeAdapter(AnyDataset).validate_python(job.spec)
    if spec.source == "collection":
        manifest = collections.read(spec, job.data_root)
        parts = splits.split(spec, manifest.splits())
        names = [manifest.classes[i] for i in spec.classes or range(len(manifest.classes))]
        pack(job.output, parts, names, spec.size, spec.resize, job.threads)
    else:
        parts = splits.split(spec, READERS[spec.source](spec, job.data_root))
        tensors.save(job.output, parts, [str(name) for name in spec.classes or range(int(parts["train"][1].max()) + 1)])
    return {name: len(labels) for name, (_, labels) in parts.items()} | {"classes": int(parts["train"][1].max()) + 1}
