"""Pre-activation ResNets with SiLU, wide or not, as Gowal et al. 2020 train them for robustness, and many since."""

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

TAIL = {"batchnorm": "tail.0", "logits": "head"}
DM_WIDE = Layout(
    whose="Gowal et al. 2020 (WideResNet), RobustBench's DMWideResNet",
    stages="layer.{}.block",
    first=0,
    parts={"init_conv": "stem", **TAIL},
)
DM_PREACT = Layout(
    whose="Gowal et al. 2020 (PreActResNet), RobustBench's DMPreActResNet",
    stages="layer_{}",
    first=0,
    parts={"conv_2d": "stem", **TAIL},
    within={"conv_2d_1": "conv_0", "conv_2d_2": "conv_1"},
)


class GowalResNet(Staged):
    """Pre-activation ResNet with SiLU (Swish) in place of ReLU: 3x3 stem, basic blocks, a last batch norm and SiLU.
    Convolutions of stride 2 pad as TensorFlow's SAME does at even sides: after the image alone; with the shortcut
    activated, sides must be even there.

    [4, 4, 4] with widen 10 is WRN-28-10; [2, 2, 2, 2] with width 64 and shortcut input is PreActResNet-18.
    """

    layouts: ClassVar[tuple[Layout, ...]] = (DM_WIDE, DM_PREACT)

    family: Literal["gowal-resnet"]
    depth_per_stage: Annotated[list[Count], Field(min_length=1)]
    """Basic blocks (two convolutions each) in each stage: (depth - 4) / 6 of a wide network's three."""
    width: Count = 16
    """Channels of the stem."""
    widen: Count = 1
    """Channels of the first stage in widths of the stem, doubled with every further one."""
    shortcut: Literal["activated", "input"] = "activated"
    """Where channels change: a 1x1 convolution of the block's input after its first batch norm and SiLU (the wide
    networks), or a 3x3 convolution of the input as it is (PreActResNet).
    """

    @property
    def smallest_side(self) -> int:
        return 2 ** (self.stages - 1)

    @property
    def side_multiple(self) -> int:
        return 2 ** (self.stages - 1) if self.shortcut == "activated" else 1  # else both ways round down

    @property
    def units(self) -> int:
        return self.blocks + 2

    @property
    def slug(self) -> str:
        depth = 2 * self.blocks + (
            4 if self.shortcut == "activated" else 2
        )  # as wide networks' and ResNets' is counted
        return f"gowal{depth}x{self.widen}w{self.width}"

    @property
    def feature_width(self) -> int:
        return self.widen * super().feature_width

    @classmethod
    def like(cls, shapes: Mapping[str, tuple[int, ...]]) -> Self | None:
        depths, stem = blocks_per_stage(shapes), shapes.get("stem.weight", ())
        first = shapes.get("stages.0.0.conv_0.weight", ())
        if not depths or len(stem) != 4 or len(first) != 4 or first[0] % stem[0]:
            return None
        kernels = {shape[2:] for name, shape in shapes.items() if name.endswith(".shortcut.weight")}
        shortcut: Literal["activated", "input"] = "input" if (3, 3) in kernels else "activated"
        sizes = {"width": stem[0], "widen": first[0] // stem[0]}
        return cls(family="gowal-resnet", depth_per_stage=depths, shortcut=shortcut, **sizes)

    def build(self, channels: int, classes: int) -> "Classifier":
        """With PyTorch's default initialisation, as their code has it."""
        from torch import nn

        from robust_transfer.models.classifier import Classifier
        from robust_transfer.models.normalise import normaliser
        from robust_transfer.models.spectral import average_residuals

        stem, width = nn.Conv2d(channels, self.width, 3, 1, 1, bias=False), self.feature_width
        stages = self.stacked(partial(same_block(), activated=self.shortcut == "activated"), self.widen)
        tail = nn.Sequential(nn.BatchNorm2d(width), nn.SiLU())
        normalise = normaliser(self.normalise, channels)
        network = Classifier(normalise, stem, stages, tail, width, classes, initialise=lambda module: None)
        average_residuals(network, self.averaged_units)
        return network


@cache
def same_block() -> type["nn.Module"]:
    """The class of the blocks."""
    import torch.nn.functional as F
    from torch import Tensor, nn

    from robust_transfer.models.spectral import joined

    class SameBlock(nn.Module):
        """Batch norm, SiLU and 3x3 convolution, twice; its result is added to the input (or averaged with it)."""

        def __init__(self, channels_in: int, channels: int, stride: int, activated: bool):
            super().__init__()
            self.batchnorm_0 = nn.BatchNorm2d(channels_in)
            self.conv_0 = nn.Conv2d(channels_in, channels, 3, stride, bias=False)
            self.batchnorm_1 = nn.BatchNorm2d(channels)
            self.conv_1 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
            self.shortcut = None
            if channels != channels_in:
                self.shortcut = nn.Conv2d(channels_in, channels, 1 if activated else 3, stride, bias=False)
            self.shortcut_is_activated = activated
            # TensorFlow's SAME, at stride 2 and an even side: nothing before the image, one row and column after it.
            self.pads = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)
            self.averaged = False

        def forward(self, x: Tensor) -> Tensor:
            """N x C_in x H x W -> N x C x H / stride x W / stride, for even H and W."""
            active = F.silu(self.batchnorm_0(x))
            out = self.conv_1(F.silu(self.batchnorm_1(self.conv_0(F.pad(active, self.pads)))))
            if self.shortcut:
                x = self.shortcut(active) if self.shortcut_is_activated else self.shortcut(F.pad(x, self.pads))
            return joined(x, out, self.averaged)

    return SameBlock
