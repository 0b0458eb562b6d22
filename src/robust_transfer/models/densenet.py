"""DenseNet-BC for small images (Huang et al. 2017)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robust_transfer.models.classifier import Classifier
from robust_transfer.models.normalise import normaliser
from robust_transfer.plan.specs import CifarDenseNet


class DenseLayer(nn.Module):
    """BN-ReLU-1x1 convolution to 4 x growth, BN-ReLU-3x3 convolution to growth; its output is put before its input."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
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
        return F.avg_pool2d(self.conv(F.relu(self.bn(x))), 2)


def cifar_densenet(spec: CifarDenseNet, channels: int, classes: int) -> Classifier:
    """The network of a spec, with PyTorch's default initialisation from torch's global generator."""
    width = 2 * spec.growth
    stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
    stages = []
    for stage, layers in enumerate(spec.layers_per_block):
        block: list[nn.Module] = []
        for _ in range(layers):
            block.append(DenseLayer(width, spec.growth))
            width += spec.growth
        if stage < len(spec.layers_per_block) - 1:
            block.append(Transition(width))
            width //= 2
        stages.append(nn.Sequential(nn.Sequential(*block)))
    tail = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())
    normalise = normaliser(spec.normalise, channels)
    return Classifier(normalise, stem, nn.ModuleList(stages), tail, width, classes, initialise=lambda module: None)
