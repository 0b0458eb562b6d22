"""certify: how far around each image a smoothed classifier's prediction is certain."""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from robust_transfer.devices import shared_out
from robust_transfer.pace import Pace
from robust_transfer.specs.datasets import SplitName
from robust_transfer.specs.fields import Spec, WholeNumber
from robust_transfer.specs.passes import Ahead, Passes
from robust_transfer.specs.smoothing import Smoothing
from robust_transfer.stages.job import Job
from robust_transfer.stages.node import Kind, Node

if TYPE_CHECKING:
    import torch

    from robust_transfer.data.tensors import TensorSplit
    from robust_transfer.signals import StopRequest
    from robust_transfer.smoothing.certify import Certificate, Tally

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

    A killed certification continues after the last image whose certificate was saved; on one device, within an image
    after the last samples whose counts were saved.
    """
    import pandas as pd

    from robust_transfer.signals import listening
    from robust_transfer.smoothing.certify import Certificate
    from robust_transfer.smoothing.results import average_certified_radius, certified_accuracy

    part, indices = _images(job)
    with listening() as stop:
        state = State(job, stop)
        made = state.certificates
        if len(made) > len(indices):
            raise ValueError(f"{len(made)} certificates were made before, but only {len(indices)} images are wanted")
        pace = Pace("images", len(indices), len(made))
        # On several devices each process has an image of its own under way, and none is saved.
        work = partial(_certified, state=state) if len(job.devices) == 1 else _certified
        with job.blaming("model"):
            for found in shared_out(work, job, range(len(made), len(indices))):
                made.append(Certificate(*found))
                log.info(
                    "%d of %d images: class %d, radius %.4f; %s",
                    *(len(made), len(indices), found.prediction, found.radius, pace.rate(len(made))),
                )
                state.save_if_due()
    table = pd.DataFrame(made, columns=Certificate._fields)
    table.insert(0, "index", indices)
    table.insert(1, "label", part.labels[indices].tolist())
    table.to_parquet(job.output, index=False)
    state.path.unlink(missing_ok=True)
    return {
        "accuracy": certified_accuracy(table).value,
        "average_certified_radius": average_certified_radius(table).value,
        "n": len(table),
    }


def _images(job: Job) -> "tuple[TensorSplit, list[int]]":
    """The split, and which of its images are certified."""
    from robust_transfer.data import tensors
    from robust_transfer.smoothing.results import evenly_spaced

    smoothing = job.spec.smoothing
    part = tensors.load(job.parent("data"), stream=True).in_memory(job.spec.split)
    return part, evenly_spaced(len(part), smoothing.images, smoothing.whole_steps)


def _certified(
    job: Job, device: "torch.device", places: Sequence[int], state: "State | None" = None
) -> "Iterator[Certificate]":
    """The certificates of the images at some places among those that are certified."""
    import torch

    from robust_transfer.models import files
    from robust_transfer.models.at_once import at_once
    from robust_transfer.smoothing.certify import certify_set

    part, indices = _images(job)
    network, spec, *_ = files.load(job.parent("model"))
    together = at_once(spec, part.shape, device, BATCH)
    for found in certify_set(
        network.to(device),
        part.among(torch.arange(len(part))),
        indices,
        job.spec.smoothing,
        seed=job.spec.seed,
        batch=BATCH,
        device=device,
        places=places,
        at_once=together,
        begun=state.begun if state else None,
        pausing=state.is_due if state else lambda: False,
        pause=state.save if state else None,
    ):
        yield found
        together.tell(job.computed)


class State:
    """What is certified by now, on disk: written when it is time to or this process is asked to stop.

    certificates: of the first images. begun: of the samples of the image after them.
    """

    def __init__(self, job: Job, stop: "StopRequest"):
        self.path, self.run, self.stop = job.checkpoint.with_suffix(".json"), job.node.id, stop
        self.precision = job.computed.get("precision", "float32")
        self.every, self.saved_at = job.machine["checkpoint_seconds"], time.monotonic()
        self.certificates, self.begun = self._read()

    def is_due(self) -> bool:
        """Whether to save now."""
        return bool(self.stop) or time.monotonic() - self.saved_at > self.every

    def save_if_due(self) -> None:
        """Save the certificates, if it is time to; see save."""
        if self.is_due():
            self.save()

    def save(self, begun: "Tally | None" = None) -> None:
        """Save the certificates, and the counts of the image after them.

        Raises:
            Interrupted: where this process is asked to stop.
        """
        from robust_transfer.signals import Interrupted
        from robust_transfer.store import write_json

        more = {"begun": begun.numbers()} if begun else {}
        state = {"run": self.run, "precision": self.precision, "certificates": self.certificates}
        write_json(self.path, state | more)
        self.saved_at = time.monotonic()
        if self.stop.signal is not None:
            raise Interrupted(self.stop.signal)

    def _read(self) -> "tuple[list[Certificate], Tally | None]":
        """What an earlier run of the same node had saved; nothing where that is damaged, another node's, or computed in
        another precision: all of a table is of one classifier.
        """
        from robust_transfer.smoothing.certify import Certificate, Tally

        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if (content["run"], content.get("precision", "float32")) != (self.run, self.precision):
                return [], None
            begun = Tally(*content["begun"]) if "begun" in content else None
            return [Certificate(*each) for each in content["certificates"]], begun
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return [], None


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
    """The noisy copies of an image that pass together, four bytes a value."""
    return 4 * ahead.values * min(BATCH, ahead.spec.smoothing.n0 + ahead.spec.smoothing.n)


KIND = Kind(
    *(Certify, "certificates.parquet", slug),
    minutes=720,
    resumes=True,
    passes=passes,
    holds=holds,
    streams=True,
    divides=True,
)
