"""Pre-activation ResNet for small images."""

from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field

from robust_transfer.models.staged import Staged
from robust_transfer.specs.fields import Count
from robust_transfer.specs.layouts import Layout, blocks_per_stage

if TYPE_CHECKING:
    from torch import nn

    from robust_transfer.models.classifier import Classifier


KUANGLIU = Layout(
    whose="kuangliu's pytorch-cifar, RobustBench, Rice et al. 2020",
    stages="layer{}",
    parts={"conv1": "stem", "bn": "tail.0", "linear": "head"},
    within={"shortcut.0": "shortcut"},
    idle=("model_preact_hl1",),  # Andriushchenko & Flammarion 2020 keep their first layers under this name as well
    asks={
        "shortcut_of": "activated (kuangliu, and RobustBench's PreActBlockV2) or input (its PreActBlock, and Wong et "
        "al. 2020)"
    },
)


class PreActResNet(Staged):
    """Pre-activation ResNet (He et al. 2016b) as TRADES, Rice et al. 2020 and RobustBench train it on CIFAR: 3x3 stem,
    basic blocks, 1x1 convolutions where the shape changes, a last batch norm and ReLU.
    """

    layouts: ClassVar[tuple[Layout, ...]] = (KUANGLIU,)

    family: Literal["preact-resnet"]
    depth_per_stage: Annotated[list[Count], Field(min_length=1)] = [2, 2, 2, 2]  # noqa: RUF012 (pydantic copies it)
    """Basic blocks (two convolutions each) in each stage; [2, 2, 2, 2] is PreActResNet-18."""
    width: Count = 64
    last_norm: bool = True
    """Whether the last batch norm and ReLU are there; kuangliu's pytorch-cifar has none."""
    shortcut_of: Literal["activated", "input"] | None = None
    """What the 1x1 convolutions see: the block's input after its first batch norm and ReLU (so too unless given), or
    as it is.
    """

    @property
    def units(self) -> int:
        return self.blocks + 1 + self.last_norm

    @property
    def slug(self) -> str:
        return f"preact{2 * self.blocks + 2}w{self.width}"

    @classmethod
    def like(cls, shapes: Mapping[str, tuple[int, ...]]) -> Self | None:
        depths, stem = blocks_per_stage(shapes), shapes.get("stem.weight", ())
        if not depths or len(stem) != 4:
            return None
        last_norm = "tail.0.weight" in shapes
        return cls(family="preact-resnet", depth_per_stage=depths, width=stem[0], last_norm=last_norm)

    def build(self, channels: int, classes: int) -> "Classifier":
        """With PyTorch's default initialisation, as the code of those papers has it."""
        from torch import nn

        from robust_transfer.models.classifier import Classifier
        from robust_transfer.models.normalise import normaliser
        from robust_transfer.models.spectral import average_residuals

        stem, width = nn.Conv2d(channels, self.width, 3, 1, 1, bias=False), self.feature_width
        stages = self.stacked(partial(preact_block(), activated=self.shortcut_of != "input"))
        tail = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU()) if self.last_norm else nn.Identity()
        normalise = normaliser(self.normalise, channels)
        network = Classifier(normalise, stem, stages, tail, width, classes, initialise=lambda module: None)
        average_residuals(network, self.averaged_units)
        return network


@cache
def preact_block() -> type["nn.Module"]:
    """The class of the blocks."""
    import torch.nn.functional as F
    from torch import Tensor, nn

    from robust_transfer.models.spectral import joined

    class PreActBlock(nn.Module):
        """Batch norm, ReLU and 3x3 convolution, twice; its result is added to the input (or averaged with it).

        Where the shape changes, the shortcut is a 1x1 convolution of the input, by default of the activated one.
        """

        def __init__(self, channels_in: int, channels: int, stride: int, activated: bool = True):
            super().__init__()
            self.bn1 = nn.BatchNorm2d(channels_in)
            self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(channels)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
            changes = stride != 1 or channels != channels_in
            self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False) if changes else None
            self.shortcut_is_activated = activated
            self.averaged = False

        def forward(self, x: Tensor) -> Tensor:
            """N x C_in x H x W -> N x C x H / stride x W / stride."""
            active = F.relu(self.bn1(x))
            shortcut = self.shortcut(active if self.shortcut_is_activated else x) if self.shortcut else x
            return joined(shortcut, self.conv2(F.relu(self.bn2(self.conv1(active)))), self.averaged)

    return PreActBlock
