"""Networks as other repositories define them: the names of their parts, and what their forward passes compute.

References for what is brought from there: a network of ours with their weights must give their logits.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from robust_transfer.models.families.gowal_resnet import GowalResNet
from robust_transfer.plan.specs import CifarResNet, Normalise, PreActResNet, WideResNet


def lived_in(network, size=8, channels=3):
    """The network in evaluation mode, its batch norms with weights, biases and statistics of their own."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    with torch.no_grad():
        network(torch.randn(16, channels, size, size))
    return network.eval()


def conv3x3(channels_in, channels, stride=1):
    return nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)


class ResNetBlock(nn.Module):
    """The basic block of akamaster's pytorch_resnet_cifar10 and kuangliu's pytorch-cifar. option: A or B."""

    def __init__(self, channels_in, channels, stride, option):
        super().__init__()
        self.conv1, self.bn1 = conv3x3(channels_in, channels, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv3x3(channels, channels), nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if option == "B" and (stride != 1 or channels != channels_in):
            self.shortcut.append(nn.Conv2d(channels_in, channels, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))
        self.pads = option == "A" and stride == 2
        self.channels = channels

    def forward(self, x):
        straight = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.channels // 4, self.channels // 4)) if self.pads else x
        return F.relu(self.shortcut(straight) + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class PreActBlock(nn.Module):
    """The pre-activation block of kuangliu's pytorch-cifar, or of RobustBench, whose shortcut sees the input."""

    def __init__(self, channels_in, channels, stride, sees):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels_in), conv3x3(channels_in, channels, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(channels), conv3x3(channels, channels)
        if stride != 1 or channels != channels_in:
            self.shortcut = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False))
        self.sees = sees

    def forward(self, x):
        active = F.relu(self.bn1(x))
        straight = self.shortcut(active if self.sees == "activated" else x) if hasattr(self, "shortcut") else x
        return self.conv2(F.relu(self.bn2(self.conv1(active)))) + straight


class Layered(nn.Module):
    """conv1, (bn1), layer1 ..., (bn), linear: both ResNets above. first, last: whether bn1 and bn are there."""

    def __init__(self, block, option, depths, width, classes, first, last):
        super().__init__()
        self.conv1, self.depth = conv3x3(3, width), len(depths)
        if first:
            self.bn1 = nn.BatchNorm2d(width)
        channels_in = width
        for stage, depth in enumerate(depths):
            channels, layer = width * 2**stage, nn.Sequential()
            for number in range(depth):
                layer.append(block(channels_in, channels, 2 if stage and not number else 1, option))
                channels_in = channels
            setattr(self, f"layer{stage + 1}", layer)
        if last:
            self.bn = nn.BatchNorm2d(channels_in)
        self.linear = nn.Linear(channels_in, classes)
        self.first, self.last = first, last

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x))) if self.first else self.conv1(x)
        for stage in range(self.depth):
            x = getattr(self, f"layer{stage + 1}")(x)
        x = F.relu(self.bn(x)) if self.last else x
        return self.linear(x.mean((2, 3)))


def resnet(option, depths, width=4, classes=5):
    return Layered(ResNetBlock, option, depths, width, classes, first=True, last=False)


def preact(sees, depths, last, width=4, classes=5):
    return Layered(PreActBlock, sees, depths, width, classes, first=False, last=last)


class WideBlock(nn.Module):
    """The block of TRADES' and RobustBench's wide networks (slope 0), and of CARTL's (0.1)."""

    def __init__(self, channels_in, channels, stride, slope):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels_in), conv3x3(channels_in, channels, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(channels), conv3x3(channels, channels)
        changes = channels != channels_in
        self.convShortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False) if changes else None
        self.slope = slope

    def forward(self, x):
        active = F.leaky_relu(self.bn1(x), self.slope)
        out = self.conv2(F.leaky_relu(self.bn2(self.conv1(active)), self.slope))
        return out + (self.convShortcut(active) if self.convShortcut else x)


class Group(nn.Module):
    def __init__(self, count, channels_in, channels, stride, slope):
        super().__init__()
        widths = [(channels_in, stride), *[(channels, 1)] * (count - 1)]
        self.layer = nn.Sequential(*(WideBlock(before, channels, step, slope) for before, step in widths))

    def forward(self, x):
        return self.layer(x)


class Wide(nn.Module):
    """depth 6n + 4, of TRADES, which makes a sub_block1 that it does not use; RobustBench and CARTL have none."""

    def __init__(self, depth, widen, slope, sub_block1, width=4, classes=5):
        super().__init__()
        count, sizes = (depth - 4) // 6, [width * widen * 2**stage for stage in range(3)]
        self.conv1 = conv3x3(3, width)
        self.block1 = Group(count, width, sizes[0], 1, slope)
        if sub_block1:
            self.sub_block1 = Group(count, width, sizes[0], 1, slope)
        self.block2 = Group(count, sizes[0], sizes[1], 2, slope)
        self.block3 = Group(count, sizes[1], sizes[2], 2, slope)
        self.bn1 = nn.BatchNorm2d(sizes[2])
        self.fc = nn.Linear(sizes[2], classes)
        self.slope = slope

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.leaky_relu(self.bn1(x), self.slope).mean((2, 3)))


class SameBlock(nn.Module):
    """The block of Gowal et al. 2020: padded by hand, with SiLU. names: of the two convolutions. sees: as above."""

    def __init__(self, channels_in, channels, stride, names, sees):
        super().__init__()
        self.batchnorm_0, self.batchnorm_1 = nn.BatchNorm2d(channels_in), nn.BatchNorm2d(channels)
        setattr(self, names[0], nn.Conv2d(channels_in, channels, 3, stride, bias=False))
        setattr(self, names[1], conv3x3(channels, channels))
        if channels != channels_in:
            self.shortcut = nn.Conv2d(channels_in, channels, 1 if sees == "activated" else 3, stride, bias=False)
        self.stride, self.names, self.sees = stride, names, sees

    def padded(self, x):
        return F.pad(x, (1, 1, 1, 1) if self.stride == 1 else (0, 1, 0, 1))

    def forward(self, x):
        first, second = (getattr(self, name) for name in self.names)
        gates = self.batchnorm_0(x)
        active = gates * torch.sigmoid(gates)
        middle = self.batchnorm_1(first(self.padded(active)))
        out = second(middle * torch.sigmoid(middle))
        if not hasattr(self, "shortcut"):
            return x + out
        return out + (self.shortcut(active) if self.sees == "activated" else self.shortcut(self.padded(x)))


class BlockGroup(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.block = nn.Sequential(*blocks)

    def forward(self, x):
        return self.block(x)


class Gowal(nn.Module):
    """Gowal et al. 2020's WideResNet, or their PreActResNet where sees is input."""

    def __init__(self, depths, width, widen, sees, classes=5):
        super().__init__()
        wide, before, groups = sees == "activated", width, []
        names = ("conv_0", "conv_1") if wide else ("conv_2d_1", "conv_2d_2")
        for stage, depth in enumerate(depths):
            after, blocks = width * widen * 2**stage, []
            for number in range(depth):
                blocks.append(SameBlock(before, after, 2 if stage and not number else 1, names, sees))
                before = after
            groups.append(blocks)
        setattr(self, "init_conv" if wide else "conv_2d", conv3x3(3, width))
        if wide:
            self.layer = nn.Sequential(*map(BlockGroup, groups))
        else:
            for stage, blocks in enumerate(groups):
                setattr(self, f"layer_{stage}", nn.Sequential(*blocks))
        self.batchnorm, self.logits = nn.BatchNorm2d(before), nn.Linear(before, classes)
        self.wide, self.depth = wide, len(depths)

    def forward(self, x):
        x = self.init_conv(x) if self.wide else self.conv_2d(x)
        for stage in range(self.depth):
            x = self.layer[stage](x) if self.wide else getattr(self, f"layer_{stage}")(x)
        x = self.batchnorm(x)
        return self.logits((x * torch.sigmoid(x)).mean((2, 3)))


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


def of_madrylab(state, mean, std):
    """A checkpoint as MadryLab's robustness writes it: the model and its attacker's copy, both behind DataParallel."""
    numbers = {"new_mean": torch.tensor(mean).view(3, 1, 1), "new_std": torch.tensor(std).view(3, 1, 1)}
    model = prefixed(numbers, "module.normalizer.") | prefixed(state, "module.model.")
    model |= prefixed(numbers, "module.attacker.normalize.") | prefixed(state, "module.attacker.model.")
    momentum = {"momentum_buffer": torch.ones(2, 2)}
    optimiser = {"state": {0: momentum}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    return {"model": model, "optimizer": optimiser, "schedule": None, "epoch": 90, "nat_prec1": torch.tensor([57.9])}


# ---- what is tried -------------------------------------------------------------------------------------------------

CIFAR = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.201]}
NUMBERS = Normalise(**CIFAR)
MEAN, STD = (torch.tensor(CIFAR[name]).view(3, 1, 1) for name in ("mean", "std"))


def seeded(make):
    """A network of theirs, always the same."""
    torch.manual_seed(0)
    return lived_in(make())


WIDE = {"family": "wide-resnet", "depth": 16, "widen": 2, "width": 4}
LAYOUTS = {
    "akamaster": (
        lambda: resnet("A", [1, 2, 1]),
        CifarResNet(family="cifar-resnet", depth_per_stage=[1, 2, 1], width=4, normalise=NUMBERS),
        lambda state: {"state_dict": prefixed(state, "module."), "best_prec1": 91.7},
    ),
    "kuangliu's ResNet": (
        lambda: resnet("B", [2, 1, 1, 1]),
        CifarResNet(family="cifar-resnet", depth_per_stage=[2, 1, 1, 1], width=4, shortcut="conv", normalise=NUMBERS),
        lambda state: {"net": prefixed(state, "module."), "acc": 95.4, "epoch": 199},
    ),
    "TRADES": (
        lambda: Wide(16, 2, slope=0.0, sub_block1=True),
        WideResNet(**WIDE, slope=0, normalise=NUMBERS),
        lambda state: prefixed(state, "module."),
    ),
    "RobustBench's WRN": (
        lambda: Wide(16, 2, slope=0.0, sub_block1=False),
        WideResNet(**WIDE, slope=0, normalise=NUMBERS),
        lambda state: prefixed(state, "model."),
    ),
    "CARTL": (
        lambda: Wide(16, 2, slope=0.1, sub_block1=False),
        WideResNet(**WIDE, slope=0.1, normalise=NUMBERS),
        dict,
    ),
    "kuangliu's PreActResNet": (
        lambda: preact("activated", [2, 1], last=False),
        PreActResNet(
            family="preact-resnet",
            depth_per_stage=[2, 1],
            width=4,
            last_norm=False,
            shortcut_of="activated",
            normalise=NUMBERS,
        ),
        lambda state: {"model_state_dict": state},
    ),
    "RobustBench's PreActResNet": (
        lambda: preact("input", [2, 1], last=True),
        PreActResNet(family="preact-resnet", depth_per_stage=[2, 1], width=4, shortcut_of="input", normalise=NUMBERS),
        lambda state: OrderedDict(prefixed(state, "module._orig_mod.model.")),
    ),
    "Gowal et al.'s WideResNet": (
        lambda: Gowal([1, 2, 1], 4, 2, "activated"),
        GowalResNet(family="gowal-resnet", depth_per_stage=[1, 2, 1], width=4, widen=2, normalise=NUMBERS),
        lambda state: {"state_dict": prefixed(state, "module.")},
    ),
    "Gowal et al.'s PreActResNet": (
        lambda: Gowal([2, 1], 4, 1, "input"),
        GowalResNet(family="gowal-resnet", depth_per_stage=[2, 1], width=4, shortcut="input", normalise=NUMBERS),
        dict,
    ),
}
"""Name -> makes their network; the same as a spec of ours; what a checkpoint of theirs makes of its state dict."""
