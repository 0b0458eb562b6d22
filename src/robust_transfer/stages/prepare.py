"""prepare: a data set, read as distributed, split, as tensors; large photographs to train on stay as files."""

from typing import Any

from pydantic import TypeAdapter

from robust_transfer.data import collections, splits, tensors
from robust_transfer.data.pack import pack
from robust_transfer.data.sources import READERS
from robust_transfer.plan.specs import AnyDataset
from robust_transfer.plan.specs.catalogue import CATALOGUE
from robust_transfer.stages.job import Job


def run(job: Job) -> dict[str, Any]:
    """Write the three splits; returns how many images and classes there are."""
    spec = TypeAdapter(AnyDataset).validate_python(job.spec)
    if spec.source == "collection":
        manifest = collections.read(spec, job.data_root)
        parts, names = splits.split(spec, manifest.splits()), manifest.classes
    else:
        source = READERS[spec.source](spec, job.data_root)
        parts, names = splits.split(spec, source.splits), source.classes
    names = [names[i] for i in splits.chosen_classes(spec, len(names))]
    if spec.source == "collection":
        below = job.data_root if CATALOGUE[spec.name].stays else None
        pack(job.output, parts, names, spec.size, spec.resize, job.threads, below)
    else:
        tensors.save(job.output, parts, names, spec.shown_at)
    return {name: len(labels) for name, (_, labels) in parts.items()} | {"classes": int(parts["train"][1].max()) + 1}
