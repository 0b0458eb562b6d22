"""ResNet for small images."""

from functools import cache
from typing import TYPE_CHECKING, Literal

from robust_transfer.models.staged import Staged
from robust_transfer.specs.fields import Count

if TYPE_CHECKING:
    from torch import nn

    from robust_transfer.models.classifier import Classifier


class CifarResNet(Staged):
    """ResNet for small images (He et al. 2016, section 4.2): 3x3 stem, basic blocks, shortcuts without parameters.
    Depths [9, 9, 9] are ResNet-56.
    """

    family: Literal["cifar-resnet"]
    width: Count = 16

    @property
    def units(self) -> int:
        return self.blocks + 1

    @property
    def slug(self) -> str:
        return f"resnet{2 * self.blocks + 2}w{self.width}"

    def build(self, channels: int, classes: int) -> "Classifier":
        """Initialised as He et al. 2015 do, convolutions and head."""
        from torch import nn

        from robust_transfer.models.classifier import Classifier
        from robust_transfer.models.normalise import normaliser
        from robust_transfer.models.spectral import average_residuals

        width, normalise = self.width, normaliser(self.normalise, channels)
        stem = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        stages = self.stacked(basic_block())
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

        Where a stage begins, the shortcut takes every second pixel and pads the new channels with zeros, half on each
        side (option A of He et al. 2016).
        """

        def __init__(self, channels_in: int, channels: int, stride: int):
            super().__init__()
            self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(channels)
            self.stride, self.new_channels = stride, channels - channels_in
            self.averaged = False

        def forward(self, x: Tensor) -> Tensor:
            """N x C_in x H x W -> N x C x H / stride x W / stride."""
            out = F.relu(self.bn1(self.conv1(x)))
            out = self.bn2(self.conv2(out))
            if self.stride != 1 or self.new_channels:
                before = self.new_channels // 2
                x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new_channels - before))
            return F.relu(joined(x, out, self.averaged))

    return BasicBlock


def he_et_al(module: "nn.Module") -> None:
    """Normal weights of variance 2 / fan-in for a convolution or a linear layer (He et al. 2015)."""
    from torch import nn

    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)
