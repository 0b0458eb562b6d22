"""ResNet for small images."""

from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from robust_transfer.models.staged import Staged
from robust_transfer.specs.fields import Count
from robust_transfer.specs.layouts import Layout, blocks_per_stage

if TYPE_CHECKING:
    from torch import nn

    from robust_transfer.models.classifier import Classifier


AKAMASTER = Layout(
    whose="akamaster's pytorch_resnet_cifar10, kuangliu's pytorch-cifar, RobustBench",
    stages="layer{}",
    parts={"conv1": "stem.0", "bn1": "stem.1", "linear": "head"},
)


class CifarResNet(Staged):
    """ResNet for small images (He et al. 2016, section 4.2): 3x3 stem, basic blocks. Depths [9, 9, 9] are ResNet-56;
    [2, 2, 2, 2], width 64 and shortcut conv are the ResNet-18 of kuangliu's pytorch-cifar and RobustBench.
    """

    layouts: ClassVar[tuple[Layout, ...]] = (AKAMASTER,)

    family: Literal["cifar-resnet"]
    width: Count = 16
    shortcut: Literal["pad", "conv"] = "pad"
    """Where a stage begins: every second pixel and zeros for the new channels (option A of He et al. 2016), or a 1x1
    convolution with batch norm (option B).
    """

    @property
    def units(self) -> int:
        return self.blocks + 1

    @property
    def slug(self) -> str:
        return f"resnet{2 * self.blocks + 2}w{self.width}" + ("conv" if self.shortcut == "conv" else "")

    @classmethod
    def like(cls, shapes: Mapping[str, tuple[int, ...]]) -> Self | None:
        depths, stem = blocks_per_stage(shapes), shapes.get("stem.0.weight", ())
        if not depths or len(stem) != 4:
            return None
        shortcut: Literal["pad", "conv"] = "conv" if any(".shortcut." in name for name in shapes) else "pad"
        return cls(family="cifar-resnet", depth_per_stage=depths, width=stem[0], shortcut=shortcut)

    def build(self, channels: int, classes: int) -> "Classifier":
        """Initialised as He et al. 2015 do, convolutions and head."""
        from torch import nn

        from robust_transfer.models.classifier import Classifier
        from robust_transfer.models.normalise import normaliser
        from robust_transfer.models.spectral import average_residuals

        width, normalise = self.width, normaliser(self.normalise, channels)
        stem = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        stages = self.stacked(partial(basic_block(), shortcut=self.shortcut))
        network = Classifier(normalise, stem, stages, nn.Identity(), self.feature_width, classes, he_et_al)
        average_residuals(network, self.averaged_units)
        return network


@cache
def basic_block() -> type["nn.Module"]:
    """The class of the blocks."""
    import torch.nn.functional as F
    from torch import Tensor, nn

    from robust_transfer.models.spectral import joined

    class BasicBlock(nn.Module):
        """Two 3x3 convolutions with batch norm, added to the input (or averaged with it).

        Where a stage begins, a shortcut of the form "pad" takes every second pixel and pads the new channels with
        zeros, half on each side; one of the form "conv" is a 1x1 convolution with batch norm.
        """

        def __init__(self, channels_in: int, channels: int, stride: int, shortcut: str = "pad"):
            super().__init__()
            self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(channels)
            self.stride, self.new_channels = stride, channels - channels_in
            self.shortcut = None
            if shortcut == "conv" and (stride != 1 or self.new_channels):
                convolution = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
                self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(channels))
            self.averaged = False

        def forward(self, x: Tensor) -> Tensor:
            """N x C_in x H x W -> N x C x H / stride x W / stride."""
            out = F.relu(self.bn1(self.conv1(x)))
            out = self.bn2(self.conv2(out))
            if self.shortcut:
                x = self.shortcut(x)
            elif self.stride != 1 or self.new_channels:
                before = self.new_channels // 2
                x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new_channels - before))
            return F.relu(joined(x, out, self.averaged))

    return BasicBlock


def he_et_al(module: "nn.Module") -> None:
    """Normal weights of variance 2 / fan-in for a convolution or a linear layer (He et al. 2015)."""
    from torch import nn

    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)
