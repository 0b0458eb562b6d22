"""Networks from specs and from files. A model's file says what network it holds; nothing is unpickled."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils import parametrize

from robust_transfer.errors import UserError
from robust_transfer.models.classifier import Classifier
from robust_transfer.models.families import AnyNetwork
from robust_transfer.models.heads import form_of
from robust_transfer.specs.networks import Network

METADATA = "about"
"""The key of all that a model's file says beside its tensors, as JSON."""


def build(spec: Network, channels: int, classes: int) -> Classifier:
    """A newly initialised network for images of `channels` channels; see Network.build."""
    return spec.build(channels, classes)


def save(path: Path, network: Classifier, spec: Network, channels: int, classes: int, **more: Any) -> None:
    """Write weights and statistics (safetensors), and in the file's metadata what network they belong to.

    What the network has beyond its spec by now (a head with hidden layers, averaged blocks) stands there as well.

    more: what else is to stand there (JSON values), for `metadata` to read.

    Raises:
        ValueError: where weights are still reparametrised; see spectral.to_plain_weights.
        UserError: where weights or statistics are not finite.
    """
    if any(parametrize.is_parametrized(module) for module in network.modules()):
        raise ValueError(
            "the network's weights are reparametrised, and its file holds plain ones; make it plain before"
        )
    described = {"network": spec.canonical(), "channels": channels, "classes": classes, **more}
    if network.averaged_units:
        described["network"]["averaged_units"] = network.averaged_units
    if form := form_of(network.head):
        described["head"] = form
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    if bad := _not_finite(tensors):
        raise UserError(f"{bad} is not finite; the training has diverged: lower the learning rate (lr)")
    save_file(tensors, path, {METADATA: json.dumps(described, sort_keys=True)})


def _not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The first tensor with a value that is no number."""
    return next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)


def metadata(path: Path) -> dict[str, Any]:
    """What a model's file says of it beside the weights; nothing where another program wrote the file."""
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get(METADATA, "")
    try:
        described = json.loads(text)
    except ValueError:
        return {}
    return described if _is_ours(described) else {}


def _is_ours(described: Any) -> bool:
    """Whether `save` may have said this of a model."""
    try:
        counts = [described["channels"], described["classes"]]
        mappings = [described["network"], described.get("head", {})]
    except (LookupError, TypeError, AttributeError):
        return False
    return {*map(type, counts)} == {int} and min(counts) > 0 and {*map(type, mappings)} == {dict}


def load(path: Path) -> tuple[Classifier, Network, int, int]:
    """The network in a file, in evaluation mode, on the CPU: (network, its spec, channels, classes).

    Raises:
        UserError: where weights or statistics are not finite.
    """
    with safe_open(path, "pt") as file:
        described = json.loads(file.metadata()[METADATA])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    if bad := _not_finite(tensors):
        raise UserError(f"{path}: {bad} is not finite; its training has diverged, lower the learning rate (lr)")
    spec = TypeAdapter(AnyNetwork).validate_python(described["network"])
    network = build(spec, described["channels"], described["classes"])
    if "head" in described:
        network.renew_head(described["classes"], **described["head"])
    network.load_state_dict(tensors)
    return network.eval(), spec, described["channels"], described["classes"]
