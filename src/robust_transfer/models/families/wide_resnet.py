"""Wide residual networks, in the two forms that the papers use."""

import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import field_validator

from robust_transfer.specs.fields import Count, Fraction
from robust_transfer.specs.layouts import Layout, blocks_per_stage
from robust_transfer.specs.networks import Residual

if TYPE_CHECKING:
    from torch import nn

    from robust_transfer.models.classifier import Classifier

SLOPE = 0.1
"""Of the leaky ReLU below zero, in both forms."""
XTERNALZ = Layout(
    whose="TRADES, RobustBench, CARTL",
    stages="block{}.layer",
    parts={"conv1": "stem", "bn1": "tail.0", "fc": "head"},
    within={"convShortcut": "shortcut"},
    idle=("sub_block1",),  # TRADES makes it, and calls it nowhere
    asks={"slope": "0 (TRADES, RobustBench) or 0.1 (CARTL)"},
)


class WideResNet(Residual):
    """Wide residual network of three stages (Zagoruyko & Komodakis 2016), pre-activation."""

    layouts: ClassVar[tuple[Layout, ...]] = (XTERNALZ,)

    family: Literal["wide-resnet"]
    depth: Count
    """6n + 4 or 6n + 2 for n residual units a stage, as the paper counts: WRN-34-10 and WRN-32-10 both have 5."""
    widen: Count
    """Channels of the first stage in widths of the stem, doubled with every further one."""
    width: Count = 16
    """Channels of the stem."""
    shortcut: Literal["conv", "pad"] = "conv"
    """Where channels change: a 1x1 convolution (CARTL), or average pooling and zeros for the new channels (Madry et al.
    2018, whose nets Shafahi et al. 2020 use: theirs at sides that are multiples of 4, and with normalise: per-image).
    """
    slope: Fraction | None = None
    """Of the leaky ReLU below zero; 0.1, as CARTL and Madry et al. have it, unless given. 0 is the ReLU of TRADES and
    RobustBench.
    """

    @field_validator("depth")
    @classmethod
    def _has_whole_units(cls, depth: int) -> int:
        if depth < 8 or depth % 6 not in (2, 4):
            raise ValueError(f"{depth} is neither 6n + 4 nor 6n + 2; write one like 10, 16, 28, 32 or 34")
        return depth

    @property
    def stages(self) -> int:
        return 3

    @property
    def units_per_stage(self) -> int:
        """Residual units in each stage."""
        return (self.depth - 2) // 6

    @property
    def blocks(self) -> int:
        return 3 * self.units_per_stage

    @property
    def units(self) -> int:
        return self.blocks + 2

    @property
    def slug(self) -> str:
        return f"wrn{self.depth}x{self.widen}w{self.width}"

    @classmethod
    def like(cls, shapes: Mapping[str, tuple[int, ...]]) -> Self | None:
        depths, stem, first = (
            blocks_per_stage(shapes),
            shapes.get("stem.weight", ()),
            shapes.get("stages.0.0.conv1.weight", ()),
        )
        if len(set(depths)) != 1 or len(stem) != 4 or len(first) != 4 or first[0] % stem[0]:
            return None
        shortcut: Literal["conv", "pad"] = "conv" if any(".shortcut." in name for name in shapes) else "pad"
        sizes = {"depth": 6 * depths[0] + 4, "widen": first[0] // stem[0], "width": stem[0]}
        return cls(family="wide-resnet", shortcut=shortcut, **sizes)

    @property
    def smallest_side(self) -> int:
        return 4 if self.shortcut == "pad" else 1

    @property
    def feature_width(self) -> int:
        return 4 * self.width * self.widen

    def build(self, channels: int, classes: int) -> "Classifier":
        """Initialised as its papers' code does."""
        from torch import nn

        from robust_transfer.models.classifier import Classifier
        from robust_transfer.models.normalise import normaliser
        from robust_transfer.models.spectral import average_residuals

        unit_of, _ = blocks()
        slope = SLOPE if self.slope is None else self.slope
        stem = nn.Conv2d(channels, self.width, 3, 1, 1, bias=False)
        stages, channels_in = [], self.width
        for stage in range(3):
            channels_out = self.width * self.widen * 2**stage
            units = []
            for unit in range(self.units_per_stage):
                stride = 2 if stage and not unit else 1
                form = {"shortcut": self.shortcut, "is_first": not stage and not unit, "slope": slope}
                units.append(unit_of(channels_in, channels_out, stride, **form))
                channels_in = channels_out
            stages.append(nn.Sequential(*units))
        pad = self.shortcut == "pad"
        tail = nn.Sequential(nn.BatchNorm2d(channels_in, 1e-3 if pad else 1e-5), nn.LeakyReLU(slope))
        normalise = normaliser(self.normalise, channels)
        start = as_madry if pad else as_cartl
        network = Classifier(normalise, stem, nn.ModuleList(stages), tail, channels_in, classes, start)
        average_residuals(network, self.averaged_units)
        return network


@cache
def blocks() -> tuple[type["nn.Module"], type["nn.Module"]]:
    """The classes of the residual units and of their shortcut by pooling."""
    import torch.nn.functional as F
    from torch import Tensor, nn

    from robust_transfer.models.spectral import joined

    class PooledShortcut(nn.Module):
        """Average pooling where a stage begins, and zeros for the new channels, half on each side."""

        def __init__(self, stride: int, new_channels: int):
            super().__init__()
            self.stride, self.new_channels = stride, new_channels

        def forward(self, x: Tensor) -> Tensor:
            """N x C x H x W -> N x (C + new) x H / stride x W / stride."""
            before = self.new_channels // 2
            return F.pad(F.avg_pool2d(x, self.stride), (0, 0, 0, 0, before, self.new_channels - before))

    class Unit(nn.Module):
        """Batch norm, leaky ReLU and 3x3 convolution, twice; its result is added to the input (or averaged with it).

        conv: a 1x1 convolution where channels change; there the shortcut begins after the first activation.
        pad: as in Madry et al. 2018 (cifar10_challenge): a shortcut without weights, which begins after the first
            activation only in the network's very first unit; padding as TensorFlow's SAME; batch norm with eps 1e-3.
        """

        def __init__(
            self, channels_in: int, channels: int, stride: int, shortcut: str, is_first: bool, slope: float = SLOPE
        ):
            super().__init__()
            self.slope = slope
            changes, pad = channels != channels_in, shortcut == "pad"
            eps = 1e-3 if pad else 1e-5
            # TensorFlow's SAME, at stride 2 and an even side: nothing before the image, one row and column after it.
            self.pads_after = pad and stride == 2
            self.bn1 = nn.BatchNorm2d(channels_in, eps)
            self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 0 if self.pads_after else 1, bias=False)
            self.bn2 = nn.BatchNorm2d(channels, eps)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
            self.shortcut_is_activated = is_first if pad else changes
            self.shortcut: nn.Module = nn.Identity()
            if changes and pad:
                self.shortcut = PooledShortcut(stride, channels - channels_in)
            elif changes:
                self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.averaged = False

        def forward(self, x: Tensor) -> Tensor:
            """N x C_in x H x W -> N x C x H / stride x W / stride."""
            active = F.leaky_relu(self.bn1(x), self.slope)
            out = self.conv1(F.pad(active, (0, 1, 0, 1)) if self.pads_after else active)
            out = self.conv2(F.leaky_relu(self.bn2(out), self.slope))
            return joined(self.shortcut(active if self.shortcut_is_activated else x), out, self.averaged)

    return Unit, PooledShortcut


def as_cartl(module: "nn.Module") -> None:
    """Convolutions N(0, 2 / (k^2 C_out)), the head's bias zero and its weights PyTorch's (the code of CARTL)."""
    from torch import nn

    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


def as_madry(module: "nn.Module") -> None:
    """The same convolutions and bias, linear weights uniform within sqrt(3 / C_in) (the code of Madry et al. 2018)."""
    from torch import nn

    as_cartl(module)
    if isinstance(module, nn.Linear):
        bound = math.sqrt(3 / module.in_features)
        nn.init.uniform_(module.weight, -bound, bound)
