"""Networks from specs and from files. A model's file says what network it holds; nothing is unpickled."""

import json
from pathlib import Path

from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from robust_transfer.models.classifier import Classifier
from robust_transfer.models.densenet import cifar_densenet
from robust_transfer.models.resnet import cifar_resnet
from robust_transfer.plan.specs import AnyNetwork, Network

BUILDERS = {"cifar-resnet": cifar_resnet, "cifar-densenet": cifar_densenet}


def build(spec: Network, channels: int, classes: int) -> Classifier:
    """A newly initialised network for images of `channels` channels."""
    return BUILDERS[spec.family](spec, channels, classes)


def save(path: Path, network: nn.Module, spec: Network, channels: int, classes: int) -> None:
    """Write weights and statistics (safetensors), and in the file's metadata what network they belong to."""
    about = {"network": spec.canonical(), "channels": channels, "classes": classes}
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, path, {"about": json.dumps(about, sort_keys=True)})


def load(path: Path) -> tuple[Classifier, Network, int, int]:
    """The network in a file, in evaluation mode, on the CPU: (network, its spec, channels, classes)."""
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["about"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    spec = TypeAdapter(AnyNetwork).validate_python(about["network"])
    network = build(spec, about["channels"], about["classes"])
    network.load_state_dict(tensors)
    return network.eval(), spec, about["channels"], about["classes"]
