"""certify: how far around each image a smoothed classifier's prediction is certain."""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_transfer.pace import Pace
from robust_transfer.specs.datasets import SplitName
from robust_transfer.specs.fields import Spec, WholeNumber
from robust_transfer.specs.passes import Ahead, Passes
from robust_transfer.specs.smoothing import Smoothing
from robust_transfer.stages.job import Job
from robust_transfer.stages.node import Kind, Node

if TYPE_CHECKING:
    from robust_transfer.smoothing.certify import Certificate

log = logging.getLogger("robust_transfer")
BATCH = 1024
"""Samples in a forward pass; no count depends on it."""


class Certify(Spec):
    """How the classifier is smoothed and certified, on images of a split. seed: of the noise."""

    smoothing: Smoothing
    split: SplitName
    seed: WholeNumber


def run(job: Job) -> dict[str, Any]:
    """Write one row an image (index, label, prediction, radius, top, count); returns accuracy and mean radius.

    A killed certification continues after the last image whose certificate was saved.
    """
    import pandas as pd

    from robust_transfer.data import tensors
    from robust_transfer.models import files
    from robust_transfer.signals import Interrupted, listening
    from robust_transfer.smoothing.certify import Certificate, certify_set
    from robust_transfer.smoothing.results import average_certified_radius, certified_accuracy, evenly_spaced
    from robust_transfer.store import write_json

    smoothing = job.spec.smoothing
    part = tensors.load(job.parent("data")).in_memory(job.spec.split)
    network, *_ = files.load(job.parent("model"))
    indices = evenly_spaced(len(part), smoothing.images, smoothing.whole_steps)
    state = job.checkpoint.with_suffix(".json")
    saved_at = time.monotonic()

    def save(made: list[Certificate]) -> None:
        nonlocal saved_at
        last = made[-1]
        log.info(
            "%d of %d images: class %d, radius %.4f; %s",
            *(len(made), len(indices), last.prediction, last.radius, pace.rate(len(made))),
        )
        if stop or time.monotonic() - saved_at > job.machine["checkpoint_seconds"]:
            write_json(state, {"run": job.node.id, "certificates": made})
            saved_at = time.monotonic()
        if stop.signal is not None:
            raise Interrupted(stop.signal)

    done = _done(state, job.node.id)
    pace = Pace("images", len(indices), len(done))
    with listening() as stop, job.blaming("model"):
        made = certify_set(
            network.to(job.device),
            part.images,
            indices,
            smoothing,
            seed=job.spec.seed,
            batch=BATCH,
            device=job.device,
            progress=save,
            done=done,
        )
    table = pd.DataFrame(made, columns=Certificate._fields)
    table.insert(0, "index", indices)
    table.insert(1, "label", part.labels[indices].tolist())
    table.to_parquet(job.output, index=False)
    state.unlink(missing_ok=True)
    return {
        "accuracy": certified_accuracy(table).value,
        "average_certified_radius": average_certified_radius(table).value,
        "n": len(table),
    }


def _done(state: Path, run: str) -> "list[Certificate]":
    """What an earlier run of the same node had saved; nothing where that is damaged or another node's."""
    from robust_transfer.smoothing.certify import Certificate

    try:
        content = json.loads(state.read_text(encoding="utf-8"))
        return [Certificate(*each) for each in content["certificates"]] if content["run"] == run else []
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


def slug(spec: Certify, parents: Mapping[str, Node]) -> str:
    """The model and how it is smoothed."""
    return f"{parents['model'].slug}.{spec.smoothing.slug}"


def passes(ahead: Ahead) -> Iterator[Passes]:
    """Every sample of every image that is certified."""
    smoothing, count = ahead.spec.smoothing, ahead.count(ahead.spec.split)
    images = min(count, smoothing.images)
    if smoothing.whole_steps:
        images = count // max(1, count // smoothing.images)
    samples = smoothing.n0 + smoothing.n
    yield Passes("model", images * samples, min(BATCH, samples))


def holds(ahead: Ahead) -> float:
    """All images of the split."""
    return ahead.values * ahead.count(ahead.spec.split)


KIND = Kind(Certify, "certificates.parquet", slug, minutes=720, resumes=True, passes=passes, holds=holds)
