"""DenseNet for small images."""

from functools import cache
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from robust_transfer.specs.fields import Count
from robust_transfer.specs.networks import Network

if TYPE_CHECKING:
    from torch import nn

    from robust_transfer.models.classifier import Classifier


class CifarDenseNet(Network):
    """DenseNet-BC for small images (Huang et al. 2017): 3x3 stem, dense blocks with bottlenecks, halving
    transitions.
    """

    family: Literal["cifar-densenet"]
    layers_per_block: Annotated[list[Count], Field(min_length=1)]
    """Layers of each dense block; [6, 12, 24, 16] is DenseNet-121."""
    growth: Count = 12
    """Channels each layer adds."""

    @property
    def stages(self) -> int:
        return len(self.layers_per_block)

    @property
    def blocks(self) -> int:
        return len(self.layers_per_block)

    @property
    def units(self) -> int:
        return self.blocks + 2

    @property
    def slug(self) -> str:
        depth = 2 * sum(self.layers_per_block) + len(self.layers_per_block) + 1
        return f"densenet{depth}k{self.growth}"

    @property
    def smallest_side(self) -> int:
        """Each transition halves the images."""
        return 2 ** (self.stages - 1)

    @property
    def feature_width(self) -> int:
        width = 4 * self.growth
        for count in self.layers_per_block:
            width = width // 2 + count * self.growth
        return width

    def build(self, channels: int, classes: int) -> "Classifier":
        """With PyTorch's default initialisation."""
        from torch import nn

        from robust_transfer.models.classifier import Classifier
        from robust_transfer.models.normalise import normaliser

        dense_layer, transition = layers()
        width = 2 * self.growth
        stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        stages = []
        for stage, count in enumerate(self.layers_per_block):
            block: list[nn.Module] = []
            for _ in range(count):
                block.append(dense_layer(width, self.growth))
                width += self.growth
            if stage < len(self.layers_per_block) - 1:
                block.append(transition(width))
                width //= 2
            stages.append(nn.Sequential(nn.Sequential(*block)))
        tail = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())
        normalise = normaliser(self.normalise, channels)
        return Classifier(normalise, stem, nn.ModuleList(stages), tail, width, classes, initialise=lambda module: None)


@cache
def layers() -> tuple[type["nn.Module"], type["nn.Module"]]:
    """The classes of dense layers and of transitions."""
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

    class DenseLayer(nn.Module):
        """BN-ReLU-1x1 convolution to 4 x growth, BN-ReLU-3x3 convolution to growth; put before the input."""

        def __init__(self, channels: int, growth: int):
            super().__init__()
            self.bn1 = nn.BatchNorm2d(channels)
            self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(4 * growth)
            self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            """N x C x H x W -> N x (growth + C) x H x W."""
            new = self.conv1(F.relu(self.bn1(x)))
            new = self.conv2(F.relu(self.bn2(new)))
            return torch.cat([new, x], 1)

    class Transition(nn.Module):
        """BN-ReLU-1x1 convolution to half of the channels, then 2x2 average pooling."""

        def __init__(self, channels: int):
            super().__init__()
            self.bn = nn.BatchNorm2d(channels)
            self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            """N x C x H x W -> N x C / 2 x H / 2 x W / 2."""
            return F.avg_pool2d(self.conv(F.relu(self.bn(x))), 2)

    return DenseLayer, Transition
