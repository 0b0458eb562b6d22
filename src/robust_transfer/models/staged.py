"""What the ResNets for small images have in common."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from robust_transfer.specs.fields import Count
from robust_transfer.specs.networks import Residual

if TYPE_CHECKING:
    from torch import nn


class Staged(Residual):
    """Stages of residual blocks of two convolutions. Every stage but the first begins with stride 2 and has twice the
    channels of the one before.
    """

    depth_per_stage: Annotated[list[Count], Field(min_length=1)]
    """Basic blocks (two convolutions each) in each stage."""
    width: Count
    """Channels of the stem and the first stage, doubled with every further one."""

    @property
    def stages(self) -> int:
        return len(self.depth_per_stage)

    @property
    def blocks(self) -> int:
        return sum(self.depth_per_stage)

    @property
    def feature_width(self) -> int:
        return self.width * 2 ** (self.stages - 1)

    def stacked(self, block_of: "Callable[[int, int, int], nn.Module]", widen: int = 1) -> "nn.ModuleList":
        """The stages. block_of: channels in, channels out and stride -> a block. widen: channels of the first stage, in
        widths of the stem.
        """
        from torch import nn

        stages, channels_in = nn.ModuleList(), self.width
        for stage, depth in enumerate(self.depth_per_stage):
            channels = self.width * widen * 2**stage
            first = block_of(channels_in, channels, 2 if stage else 1)
            stages.append(nn.Sequential(first, *(block_of(channels, channels, 1) for _ in range(depth - 1))))
            channels_in = channels
        return stages
