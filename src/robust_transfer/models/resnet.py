"""ResNet for small images (He et al. 2016, section 4.2), with parameter-free shortcuts (their option A)."""

import torch.nn.functional as F
from torch import Tensor, nn

from robust_transfer.models.classifier import Classifier
from robust_transfer.models.normalise import normaliser
from robust_transfer.models.spectral import average_residuals, joined
from robust_transfer.plan.specs import CifarResNet


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to the input (or averaged with it).

    Where a stage begins, the shortcut takes every second pixel and pads the new channels with zeros, half on each side.
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
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.stride != 1 or self.new_channels:
            before = self.new_channels // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new_channels - before))
        return F.relu(joined(x, out, self.averaged))


def cifar_resnet(spec: CifarResNet, channels: int, classes: int) -> Classifier:
    """The network of a spec, initialised from torch's global generator (He et al. 2015, convolutions and head)."""
    width = spec.width
    stem = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    stages, channels_in = [], width
    for stage, depth in enumerate(spec.depth_per_stage):
        channels_out = width * 2**stage
        blocks = []
        for block in range(depth):
            blocks.append(BasicBlock(channels_in, channels_out, stride=2 if stage and not block else 1))
            channels_in = channels_out
        stages.append(nn.Sequential(*blocks))
    normalise = normaliser(spec.normalise, channels)
    network = Classifier(normalise, stem, nn.ModuleList(stages), nn.Identity(), channels_in, classes, he_et_al)
    average_residuals(network, spec.averaged_units)
    return network


def he_et_al(module: nn.Module) -> None:
    """Normal weights of variance 2 / fan-in for a convolution or a linear layer (He et al. 2015)."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)
