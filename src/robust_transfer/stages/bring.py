"""bring: a model that was trained elsewhere, by its torchvision name, from a checkpoint file or RobustBench's zoo.

Parents: data, of a model that is evaluated as it is: the images and classes it must fit; own, of one to transfer from,
where it is known: the data set of its own classes, on which its accuracy is measured first.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from robust_transfer import store
from robust_transfer.errors import UserError
from robust_transfer.models import zoo
from robust_transfer.models.families import AnyNetwork
from robust_transfer.specs.origins import Origin
from robust_transfer.stages.job import Job
from robust_transfer.stages.node import Kind, Node

if TYPE_CHECKING:
    from robust_transfer.data.tensors import TensorSplit
    from robust_transfer.models.checkpoints import Checkpoint
    from robust_transfer.models.classifier import Classifier
    from robust_transfer.models.fits import Fit

LOOKED_AT, BATCH = 1000, 250
"""Test images on which a source's own accuracy is measured before it is transferred, and how many pass together."""


class Bring(Origin):
    """A network, and where its weights come from.

    Of RobustBench's zoo it says what the name stood for when it was planned: entry is the state dict that is taken.
    """

    network: AnyNetwork
    drive: str | None = None
    """The id on Google Drive of a file of RobustBench's zoo."""

    @model_validator(mode="after")
    def _is_known(self):
        if self.file and self.sha256 is None and self.hub is None:  # a commit names the bytes as well
            raise ValueError("sha256: missing; a node names the very bytes that it reads")
        if self.weights and not self.network.has_weights:
            raise ValueError(f"weights: none are published for {self.network.family}; give a file")
        if bool(self.robustbench) != bool(self.drive):
            raise ValueError("drive: it goes with robustbench, and says where its file is")
        return self


def run(job: Job) -> dict[str, Any]:
    """Write the model in our form; returns where its weights came from.

    Features alone (a self-supervised network's) get a head of zeros, which a transfer replaces.
    """
    from robust_transfer.data import tensors
    from robust_transfer.models import files

    if job.spec.path and job.spec.is_fetched and not (file := job.data_root / "weights" / job.spec.path).is_file():
        _fetch(job.spec, file)
    model, found, network, origin = opened(job.spec, job.data_root)
    metrics: dict[str, Any] = {"origin": origin, "classes": found.classes}
    metrics |= {"names": found.layout} if found.layout else {}
    if job.spec.path and not job.spec.sha256:
        metrics["sha256"] = store.sha256_of(job.data_root / "weights" / job.spec.path)
    for role in (role for role in ("data", "own") if job.has(role)):
        data = tensors.load(job.parent(role), data_root=job.data_root)
        must_be_for(origin, found, job.parents[role].slug, data.channels, data.classes)
        if role == "own":
            try:
                metrics["accuracy"], metrics["n"] = _accuracy(model.to(job.device), data.test)
            except FloatingPointError as error:
                raise UserError(f"{origin} is broken: {error}; bring another") from None
            _must_be_better_than_chance(origin, metrics["accuracy"], found.classes, job.parents[role].slug)
    files.save(job.output, model.cpu(), network, found.channels, found.classes)
    return metrics


def opened(spec: Bring, data_root: Path) -> tuple["Classifier", "Fit", AnyNetwork, str]:
    """The network with the weights, how they lie in it, the network as they describe it, and their name.

    Raises:
        UserError: where the file is missing, is no checkpoint, is another's, or does not fit the network.
    """
    from robust_transfer.models import checkpoints, fits

    folder = data_root / "weights"
    if spec.path:
        origin, checkpoint = spec.path, _checked(folder / spec.path, spec)
    else:
        state, origin = spec.network.published(str(spec.weights), folder)
        checkpoint = checkpoints.unwrapped(state, origin)
    network = _as_described(spec.network, checkpoint, origin)
    model, found = fits.fitted(network, checkpoint, origin)
    if broken := checkpoints.broken(model.state_dict()):
        raise UserError(
            f"{origin} is broken: {checkpoints.listed(broken)} not finite, or a variance below zero; bring another"
        )
    return model, found, network, origin


def must_be_for(origin: str, found: "Fit", data: str, channels: int | None, classes: int | None) -> None:
    """Refuse weights for other images or classes than those of the data set that is called `data`; None of either is
    not known yet.
    """
    if found.headless:
        raise UserError(f"{origin} holds features without a head; what is evaluated as it is needs one")
    if channels not in (None, found.channels) or classes not in (None, found.classes):
        takes = f"{found.channels} channel{'s' * (found.channels > 1)} and {found.classes} classes"
        raise UserError(
            f"{origin} is for images of {takes}, and {data} has {channels} and {classes}; name other data, or another "
            "file"
        )


def _accuracy(model: "Classifier", images: "TensorSplit") -> tuple[float, int]:
    """In per cent, on at most LOOKED_AT images, evenly spaced; and on how many."""
    import torch

    from robust_transfer.models.classifier import predict

    chosen = torch.linspace(0, len(images) - 1, min(LOOKED_AT, len(images))).round().long()
    some = replace(images, kept=images.kept[chosen], labels=images.labels[chosen])
    device = next(model.parameters()).device
    logits = torch.cat([predict(model, pixels.to(device)).cpu() for pixels, _ in some.plain(BATCH)])
    return round(100 * float((logits.argmax(1) == some.labels).float().mean()), 2), len(chosen)


def _must_be_better_than_chance(origin: str, accuracy: float, classes: int, data: str) -> None:
    """Refuse a source that is hardly better than chance, before anything is built on it."""
    chance = 100 / classes
    if accuracy < chance + (100 - chance) / 20:
        raise UserError(
            f"{origin} is broken, or not what the config says: {accuracy:g} % of the test images of {data} right, "
            f"where chance is {chance:.3g} %; mostly it is the network's normalise, the order of the classes, or other "
            "training data; mend that, or bring another"
        )


def _fetch(origin: Bring, file: Path) -> None:
    """Fetch a file of RobustBench's zoo, or of the Hugging Face hub.

    Raises:
        UserError: where the library for that is missing, or the file cannot be had.
    """
    if origin.robustbench:
        zoo.fetch(origin.robustbench, file, str(origin.drive))
        return
    hub, name = str(origin.hub), str(origin.file)
    by_hand = f"put {name} of {hub} at {file} by hand"
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise UserError(
            f"{hub} is of the Hugging Face hub, and huggingface_hub is not installed: pip install "
            f"huggingface_hub, or {by_hand}"
        ) from None
    local = file.parents[len(PurePosixPath(name).parts) - 1]
    try:
        hf_hub_download(repo_id=hub, filename=name, revision=origin.revision, local_dir=local)
    except (OSError, ValueError) as error:  # the library's own errors are OSErrors and ValueErrors
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"{name} of {hub} can't be fetched ({reason}); {by_hand}") from None


def _checked(file: Path, origin: Bring) -> "Checkpoint":
    """What a file holds, if it is the one with the origin's sha256 (where that has one).

    Raises:
        UserError: as checkpoints.read, and for another file.
    """
    from robust_transfer.models import checkpoints

    sha256 = origin.sha256
    before = store.stamp_of(file)
    if sha256 and file.is_file() and (found := store.sha256_of(file)) != sha256:
        raise UserError(
            f"{file} has the sha256 {found}, not {sha256}; put the right file there, or, if this one is meant, "
            "`robust-transfer inspect FILE --record` (and mend the sha256, if the config has one)"
        )
    checkpoint = checkpoints.read(file, origin.entry, zoo.USUAL if origin.robustbench else ())
    if store.stamp_of(file) != before:
        raise UserError(f"{file} changed while it was read; start again when nothing changes any more")
    return checkpoint


def _as_described(network: AnyNetwork, checkpoint: "Checkpoint", origin: str) -> AnyNetwork:
    """The network, with what the file says beyond its spec where this project wrote it: blocks that average.

    Raises:
        UserError: where the file says that it is of another network.
    """
    if not checkpoint.metadata:
        return network
    described = dict(checkpoint.metadata["network"])
    averaged = described.pop("averaged_units", 0)
    if described != network.canonical():
        raise UserError(
            f"{origin} does not hold the weights of {network.slug}: they are those of {described}; describe the "
            "network like that in the config"
        )
    return network.with_(averaged_units=averaged) if averaged else network


def slug(spec: Bring, parents: Mapping[str, Node]) -> str:
    """`resnet50.IMAGENET1K_V1`, or with the file's name."""
    name = spec.weights or re.sub(r"[^A-Za-z0-9-]+", "-", PurePosixPath(spec.path or "").stem)
    return f"{spec.network.slug}.{name}"


KIND = Kind(Bring, "model.safetensors", slug, minutes=30, gpu=False)
