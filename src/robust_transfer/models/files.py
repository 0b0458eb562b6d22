"""Networks from specs and from files. A model's file says what network it holds; nothing is unpickled."""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn.utils import parametrize

from robust_transfer.models.classifier import Classifier
from robust_transfer.models.densenet import cifar_densenet
from robust_transfer.models.heads import form_of
from robust_transfer.models.resnet import cifar_resnet
from robust_transfer.models.torchvision_nets import torchvision_net
from robust_transfer.models.wide_resnet import wide_resnet
from robust_transfer.plan.specs import AnyNetwork, Network

BUILDERS = {
    "cifar-resnet": cifar_resnet,
    "cifar-densenet": cifar_densenet,
    "wide-resnet": wide_resnet,
    "torchvision": torchvision_net,
}


def build(spec: Network, channels: int, classes: int) -> Classifier:
    """A newly initialised network for images of `channels` channels.

    Raises:
        ValueError: where the network does not fit images of so many channels.
    """
    return BUILDERS[spec.family](spec, channels, classes)


def save(path: Path, network: Classifier, spec: Network, channels: int, classes: int, **more: Any) -> None:
    """Write weights and statistics (safetensors), and in the file's metadata what network they belong to.

    What the network has beyond its spec by now (a head with hidden layers, averaged blocks) stands there as well.

    more: what else is to stand there (JSON values), for `about` to read.

    Raises:
        ValueError: where weights are still reparametrised; see spectral.bake.
    """
    if any(parametrize.is_parametrized(module) for module in network.modules()):
        raise ValueError("the network's weights are reparametrised, and its file holds plain ones; bake it before")
    about = {"network": spec.canonical(), "channels": channels, "classes": classes, **more}
    if network.averaged_units:
        about["network"]["averaged_units"] = network.averaged_units
    if form := form_of(network.head):
        about["head"] = form
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, path, {"about": json.dumps(about, sort_keys=True)})


def about(path: Path) -> dict[str, Any]:
    """What a model's file says of it."""
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["about"])


def load(path: Path) -> tuple[Classifier, Network, int, int]:
    """The network in a file, in evaluation mode, on the CPU: (network, its spec, channels, classes)."""
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["about"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    spec = TypeAdapter(AnyNetwork).validate_python(about["network"])
    network = build(spec, about["channels"], about["classes"])
    if "head" in about:
        network.renew_head(about["classes"], **about["head"])
    network.load_state_dict(tensors)
    return network.eval(), spec, about["channels"], about["classes"]
