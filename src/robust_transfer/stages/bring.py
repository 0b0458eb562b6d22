"""bring: a model that was trained elsewhere, by its torchvision name or from a checkpoint file.

Parents: none of a model to transfer from; data, of one that is evaluated as it is: the images and classes it must fit.
"""

import hashlib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from robust_transfer.errors import UserError
from robust_transfer.models.families import AnyNetwork
from robust_transfer.specs.origins import Origin
from robust_transfer.stages.job import Job
from robust_transfer.stages.node import Kind, Node

if TYPE_CHECKING:
    from torch import Tensor

    from robust_transfer.models.classifier import Classifier

HEADLESS = 2
"""Classes of the head that weights without one get."""


class Bring(Origin):
    """A network, and where its weights come from."""

    network: AnyNetwork

    @model_validator(mode="after")
    def _are_published(self):
        if self.weights and not self.network.has_weights:
            raise ValueError(f"weights: none are published for {self.network.family}; give file and sha256")
        return self


def run(job: Job) -> dict[str, Any]:
    """Write the model in our form; returns where its weights came from.

    Features alone (a self-supervised network's) get a head of zeros, which a transfer replaces.
    """
    import torch

    from robust_transfer.data import tensors
    from robust_transfer.models import files

    network, folder, metadata = job.spec.network, job.data_root / "weights", {}
    if job.spec.file:
        state, origin = weights_in(folder / job.spec.file, job.spec.sha256), job.spec.file
        metadata = files.metadata(folder / job.spec.file)
    else:
        state, origin = network.published(job.spec.weights, folder)
    try:
        model, channels, classes = _fitted(network, state, metadata)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{origin} does not hold the weights of {network.slug}: {error}") from None
    if not all(tensor.isfinite().all() for tensor in model.state_dict().values() if torch.is_floating_point(tensor)):
        raise UserError(f"{origin} holds weights that are not finite; fetch it again")
    if job.has("data"):
        data = tensors.load(job.parent("data"))
        if not any(parameter.any() for parameter in model.head.parameters()):
            raise UserError(f"{origin} holds features without a head; what is evaluated as it is needs one")
        if (channels, classes) != (data.channels, data.classes):
            raise UserError(
                f"{origin} is for images of {channels} channels and {classes} classes, and {job.parents['data'].slug} "
                f"has {data.channels} and {data.classes}; name another target, or another file"
            )
    files.save(job.output, model, network, channels, classes)
    return {"origin": origin, "classes": classes}


def _fitted(
    network: AnyNetwork, state: Mapping[str, "Tensor"], metadata: Mapping[str, Any]
) -> tuple["Classifier", int, int]:
    """The network with the weights of a state dict; and its channels and classes, as the tensors' shapes say.

    metadata: what the file says of the network, where this project wrote it.

    Raises:
        ValueError, RuntimeError: where they are the weights of another network.
    """
    import torch

    from robust_transfer.models import files

    if metadata:
        averaged = {"averaged_units": metadata["network"].pop("averaged_units", 0)}
        if metadata["network"] != network.canonical():
            raise ValueError(f"they are those of {metadata['network']}; describe the network like that in the config")
        network = network.with_(**{name: count for name, count in averaged.items() if count})
    renamed = network.renamed(state)
    channels = next((t.shape[1] for name, t in renamed.items() if name.startswith("stem.") and t.ndim == 4), 3)
    classes = metadata.get("classes") or (len(renamed["head.bias"]) if "head.bias" in renamed else HEADLESS)
    model = files.build(network, channels, classes)
    if "head" in metadata:
        model.renew_head(classes, **metadata["head"])
    if not any(name.startswith("head.") for name in renamed):
        renamed |= {f"head.{name}": torch.zeros_like(p) for name, p in model.head.named_parameters()}
    model.load_state_dict(renamed)
    return model, channels, classes


def weights_in(file: Path, sha256: str) -> dict[str, "Tensor"]:
    """The state dict in a checkpoint file: .safetensors, or of torch.save, alone or under the key `state_dict`.

    Raises:
        UserError: where the file is missing, is not the one with this sha256, or holds no plain tensors.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.exists():
        raise UserError(f"{file} is missing; put the checkpoint there")
    with file.open("rb") as content:
        if (found := hashlib.file_digest(content, "sha256").hexdigest()) != sha256:
            raise UserError(
                f"{file} has the sha256 {found}, not {sha256}; put the right file there, or mend the config"
            )
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, SafetensorError) as error:
        reason = str(error) or "it is empty"
        raise UserError(f"{file} holds no plain tensors ({reason}); save a state dict alone") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise UserError(f"{file} holds no state dict (names and tensors); save one")
    return dict(state)


def slug(spec: Bring, parents: Mapping[str, Node]) -> str:
    """`resnet50.IMAGENET1K_V1`, or with the file's name."""
    name = spec.weights or re.sub(r"[^A-Za-z0-9-]+", "-", PurePosixPath(spec.file or "").stem)
    return f"{spec.network.slug}.{name}"


KIND = Kind(Bring, "model.safetensors", slug, minutes=30, gpu=False)
