"""torchvision's networks, its weights, and state dicts with its names."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from robust_transfer.errors import UserError
from robust_transfer.specs.layouts import Layout, blocks_per_stage
from robust_transfer.specs.networks import IMAGENET, AnyNormalise, Network

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robust_transfer.models.classifier import Classifier


BLOCKS = {
    "resnet18": [2, 2, 2, 2],
    "resnet34": [3, 4, 6, 3],
    "resnet50": [3, 4, 6, 3],
    "resnet101": [3, 4, 23, 3],
    "resnet152": [3, 8, 36, 3],
    "wide_resnet50_2": [3, 4, 6, 3],
    "mobilenet_v2": [3, 3, 4, 6, 2],
}
"""Blocks in each stage."""
WHOSE = "torchvision, robustness of MadryLab"
RESNET = Layout(WHOSE, stages="layer{}", parts={"conv1": "stem.0", "bn1": "stem.1", "fc": "head"})
MOBILENET = Layout(
    WHOSE,  # its blocks are numbered through all stages
    parts={"features.0": "stem", "classifier.1": "head"}
    | {
        f"features.{1 + sum(BLOCKS['mobilenet_v2'][:stage]) + block}": f"stages.{stage}.{block}"
        for stage, count in enumerate(BLOCKS["mobilenet_v2"])
        for block in range(count)
    },
)


class TorchvisionNet(Network):
    """A network of torchvision's, for images of three channels, by default normalised as torchvision's weights expect.

    A ResNet's stages are its layer1 to layer4. MobileNetV2 has five, as Chin et al. 2020 cut it: each but the last ends
    with a group of blocks that begins with stride 2; the last 1x1 convolution counts as a block of the last.
    """

    has_weights: ClassVar[bool] = True
    channels: ClassVar[int | None] = 3
    layouts: ClassVar[tuple[Layout, ...]] = (RESNET, MOBILENET)

    family: Literal["torchvision"]
    name: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "mobilenet_v2"]
    """torchvision's name of it."""
    normalise: AnyNormalise = IMAGENET
    """As of every network; by default what torchvision's weights expect."""

    @property
    def blocks_per_stage(self) -> list[int]:
        """Blocks in each stage."""
        return BLOCKS[self.name]

    @property
    def stages(self) -> int:
        return len(self.blocks_per_stage)

    @property
    def blocks(self) -> int:
        return sum(self.blocks_per_stage)

    @property
    def units(self) -> int:
        return self.blocks + 1

    @property
    def slug(self) -> str:
        return self.name

    @property
    def feature_width(self) -> int:
        return {"resnet18": 512, "resnet34": 512, "mobilenet_v2": 1280}.get(self.name, 2048)

    @classmethod
    def like(cls, shapes: Mapping[str, tuple[int, ...]]) -> Self | None:
        depths, of_bottlenecks = blocks_per_stage(shapes), "stages.0.0.conv3.weight" in shapes
        if of_bottlenecks and shapes.get("stages.0.0.conv1.weight", ())[:1] == (128,):
            names = ["wide_resnet50_2"]
        elif of_bottlenecks:
            names = ["resnet50", "resnet101", "resnet152"]
        else:
            names = ["resnet18", "resnet34", "mobilenet_v2"]
        found = next((name for name in names if BLOCKS[name] == depths), None)
        return cls.model_validate({"family": "torchvision", "name": found}) if found else None

    def build(self, channels: int, classes: int) -> "Classifier":
        """Initialised as torchvision does; nothing is downloaded.

        MobileNetV2's dropout (0.2) between features and linear layer belongs to the head, for a recipe to say.

        Raises:
            ValueError: where the images have not 3 channels.
        """
        import torchvision.models
        from torch import nn

        from robust_transfer.models.classifier import Classifier
        from robust_transfer.models.normalise import normaliser

        if channels != 3:
            raise ValueError(f"torchvision's {self.name} takes images of 3 channels, not {channels}")
        model = torchvision.models.get_model(self.name, weights=None, num_classes=classes)
        if self.name == "mobilenet_v2":
            stem, *blocks = model.features
            width, start = model.last_channel, as_mobilenet
        else:
            stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
            blocks = [block for layer in (model.layer1, model.layer2, model.layer3, model.layer4) for block in layer]
            width, start = model.fc.in_features, as_resnet
        stages = nn.ModuleList()
        for count in self.blocks_per_stage:
            stages.append(nn.Sequential(*blocks[:count]))
            blocks = blocks[count:]
        return Classifier(normaliser(self.normalise, 3), stem, stages, nn.Identity(), width, classes, start)

    def published(self, weights: str, folder: Path) -> tuple[dict[str, "Tensor"], str]:
        """Weights by torchvision's name of them, e.g. IMAGENET1K_V1; see Network.

        Raises:
            UserError: where there are no such weights, no connection, or the file is not what its name's hash says.
        """
        import torch
        import torchvision.models

        known = {each.name: each for each in torchvision.models.get_model_weights(self.name)}
        if weights not in known:
            raise UserError(f"torchvision's {self.name} has no weights {weights!r}; write one of {', '.join(known)}")
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


def as_resnet(module: "nn.Module") -> None:
    """Convolutions N(0, 2 / (k^2 C_out)), as torchvision's ResNet has them."""
    from torch import nn

    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def as_mobilenet(module: "nn.Module") -> None:
    """Convolutions N(0, 2 / (k^2 C_out)), linear layers N(0, 0.01^2), as torchvision's MobileNetV2 has them."""
    from torch import nn

    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
        nn.init.zeros_(module.bias)
