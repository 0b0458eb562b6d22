"""torchvision's networks in this project's shape, and torchvision's weights under this project's names.

torchvision is imported only where a network is built.
"""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from robust_transfer.errors import UserError
from robust_transfer.models.classifier import Classifier
from robust_transfer.models.normalise import normaliser
from robust_transfer.plan.specs import TorchvisionNet


def torchvision_net(spec: TorchvisionNet, channels: int, classes: int) -> Classifier:
    """The network of a spec, initialised from torch's global generator as torchvision does; nothing is downloaded.

    MobileNetV2's dropout (0.2) between features and linear layer is left out. torchvision and the code of Chin et al.
    2020 train with it; evaluation doesn't see it.

    Raises:
        ValueError: where the images have not 3 channels.
    """
    import torchvision.models

    if channels != 3:
        raise ValueError(f"torchvision's {spec.name} takes images of 3 channels, not {channels}")
    model = torchvision.models.get_model(spec.name, weights=None, num_classes=classes)
    if spec.name == "mobilenet_v2":
        stem, *blocks = model.features
        width, start = model.last_channel, as_mobilenet
    else:
        stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
        blocks = [block for layer in (model.layer1, model.layer2, model.layer3, model.layer4) for block in layer]
        width, start = model.fc.in_features, as_resnet
    stages = nn.ModuleList()
    for count in spec.blocks_per_stage:
        stages.append(nn.Sequential(*blocks[:count]))
        blocks = blocks[count:]
    return Classifier(normaliser(spec.normalise, 3), stem, stages, nn.Identity(), width, classes, start)


def weights_of(name: str, weights: str, folder: Path) -> tuple[dict[str, Tensor], str]:
    """The state dict that torchvision has for one of its networks, and the address it comes from.

    weights: as torchvision calls them, e.g. IMAGENET1K_V1. folder: where their file lies, and is downloaded to where it
    doesn't.

    Raises:
        UserError: where there are no such weights, no connection, or the file is not what its name's hash says.
    """
    import torchvision.models

    known = {each.name: each for each in torchvision.models.get_model_weights(name)}
    if weights not in known:
        raise UserError(f"torchvision's {name} has no weights {weights!r}; write one of {', '.join(known)}")
    address = known[weights].url
    file = folder / address.rsplit("/", 1)[-1]
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(address, str(file), progress=False)
        except OSError as error:
            raise UserError(f"{address} can't be fetched ({error}); put the file in {folder} by hand") from None
    prefix = file.stem.rsplit("-", 1)[-1]  # torchvision names its files by the first digits of their sha256
    with file.open("rb") as content:
        if not hashlib.file_digest(content, "sha256").hexdigest().startswith(prefix):
            raise UserError(f"{file} is not what its name says (sha256 {prefix}...); delete it and fetch it again")
    return torch.load(file, map_location="cpu", weights_only=True), address


def weights_in(file: Path, sha256: str) -> dict[str, Tensor]:
    """The state dict in a checkpoint file: alone, or under the key `state_dict`.

    Raises:
        UserError: where the file is missing, is not the one with this sha256, or holds no plain tensors.
    """
    if not file.exists():
        raise UserError(f"{file} is missing; put the checkpoint there")
    with file.open("rb") as content:
        if (found := hashlib.file_digest(content, "sha256").hexdigest()) != sha256:
            raise UserError(
                f"{file} has the sha256 {found}, not {sha256}; put the right file there, or mend the config"
            )
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise UserError(f"{file} holds no plain tensors ({error}); save a state dict alone") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UserError(f"{file} holds no state dict (names and tensors); save one")
    return dict(state)


def from_torchvision(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with the keys of torchvision's own model, under the keys of ours.

    name: of the network, as in TorchvisionNet.

    Raises:
        ValueError: where a key is none of that model's.
    """
    return {_our_key(name, key): tensor for key, tensor in state.items()}


def _our_key(name: str, key: str) -> str:
    part, _, rest = key.partition(".")
    try:
        if name != "mobilenet_v2" and part.startswith("layer"):
            return f"stages.{int(part.removeprefix('layer')) - 1}.{rest}"
        if name != "mobilenet_v2":
            return {"conv1": "stem.0.", "bn1": "stem.1.", "fc": "head."}[part] + rest
        position, _, rest = rest.partition(".")
        if part == "classifier":
            return {"1": "head."}[position] + rest
        return {"features": _mobilenet_place(int(position))}[part] + rest
    except (KeyError, ValueError):
        raise ValueError(f"{key!r} is no key of torchvision's {name}") from None


def _mobilenet_place(feature: int) -> str:
    """The place among our modules of one of the modules in MobileNetV2's `features`."""
    if feature == 0:
        return "stem."
    block = feature - 1
    for stage, count in enumerate(TorchvisionNet(family="torchvision", name="mobilenet_v2").blocks_per_stage):
        if block < count:
            return f"stages.{stage}.{block}."
        block -= count
    raise ValueError


def as_resnet(module: nn.Module) -> None:
    """Convolutions N(0, 2 / (k^2 C_out)), as torchvision's ResNet has them."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def as_mobilenet(module: nn.Module) -> None:
    """Convolutions N(0, 2 / (k^2 C_out)), linear layers N(0, 0.01^2), as torchvision's MobileNetV2 has them."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
        nn.init.zeros_(module.bias)
