"""prepare: a data set, read as distributed, split, as tensors; large photographs to train on stay as files."""

import logging
from collections.abc import Mapping
from typing import Any

from robust_transfer.data.readers import AnyDataset
from robust_transfer.specs.datasets import Dataset
from robust_transfer.stages.job import Job
from robust_transfer.stages.node import Kind, Node

log = logging.getLogger(__name__)


def run(job: Job) -> dict[str, Any]:
    """Write the three splits; returns how many images and classes there are, and what is unusual, if anything is:
    `left_out` and `duplicates` (images), `notes` (sentences, which the log has too).
    """
    from robust_transfer.data import examine, splits, tensors
    from robust_transfer.data.pack import pack
    from robust_transfer.data.raw import Files

    spec = job.spec
    source = examine.examined(spec.read(job.data_root))
    parts = splits.split(spec, source.splits)
    names = [source.classes[n] for n in splits.chosen_classes(spec, list(source.classes))]
    labels = {name: labels.tolist() for name, (_, labels) in parts.items()}
    notes = [*source.notes, *examine.covered(labels, names, source.name)]
    if isinstance(source, Files):
        duplicates = pack(job.output, parts, names, source.size, source.resize, job.threads, source.below)
        duplicate_notes = examine.duplicate_notes(duplicates, len(parts["test"][1]))
    else:
        parts = {name: (examine.adapted(images, spec.channels), labels) for name, (images, labels) in parts.items()}
        duplicates, duplicate_notes = examine.duplicates(parts)
        tensors.save(job.output, parts, names, spec.shown_at)
    notes += duplicate_notes
    for note in notes:
        log.warning("%s: %s", source.name, note)
    counts = {name: len(labels) for name, (_, labels) in parts.items()} | {"classes": len(names)}
    warnings = [f"{spec.slug}: {note}" for note in duplicate_notes]
    unusual = {"left_out": source.left_out, "duplicates": duplicates, "notes": notes, "warnings": warnings}
    return counts | {name: value for name, value in unusual.items() if value}


def slug(spec: Dataset, parents: Mapping[str, Node]) -> str:
    """`digits-5to9`."""
    return spec.slug


KIND = Kind(AnyDataset, "data.safetensors", slug, version=3, minutes=120, gpu=False)
