"""Network architectures."""

from typing import Annotated, Literal

from pydantic import Field

from robust_transfer.plan.specs.fields import Count, Number, Positive, Spec


class Normalise(Spec):
    """The network's first operation, x -> (x - mean) / std on pixels in [0, 1]; inside the network, so that an attack's
    budget is always in pixels.
    """

    mean: Number = 0.5
    std: Positive = 0.5


class Network(Spec):
    """What every network family has."""

    label: str = Field("", exclude=True)
    normalise: Normalise = Normalise()

    @property
    def stages(self) -> int:
        """How many stages of residual or dense blocks there are."""
        raise NotImplementedError

    @property
    def blocks(self) -> int:
        """How many blocks there are in all stages; a block is the smallest part that trains or freezes as one."""
        raise NotImplementedError


class CifarResNet(Network):
    """ResNet for small images (He et al. 2016, section 4.2): 3x3 stem, basic blocks, shortcuts without parameters.

    depth_per_stage: basic blocks (two convolutions each) in each stage; [9, 9, 9] is ResNet-56.
    width: channels of the first stage, doubled with every further one.
    """

    family: Literal["cifar-resnet"]
    depth_per_stage: Annotated[list[Count], Field(min_length=1)]
    width: Count = 16

    @property
    def stages(self) -> int:
        return len(self.depth_per_stage)

    @property
    def blocks(self) -> int:
        return sum(self.depth_per_stage)

    @property
    def slug(self) -> str:
        return f"resnet{2 * self.blocks + 2}w{self.width}"


class CifarDenseNet(Network):
    """DenseNet-BC for small images (Huang et al. 2017): 3x3 stem, dense blocks with bottlenecks, halving transitions.

    layers_per_block: [6, 12, 24, 16] is DenseNet-121.
    growth: channels each layer adds.
    """

    family: Literal["cifar-densenet"]
    layers_per_block: Annotated[list[Count], Field(min_length=1)]
    growth: Count = 12

    @property
    def stages(self) -> int:
        return len(self.layers_per_block)

    @property
    def blocks(self) -> int:
        return len(self.layers_per_block)

    @property
    def slug(self) -> str:
        depth = 2 * sum(self.layers_per_block) + len(self.layers_per_block) + 1
        return f"densenet{depth}k{self.growth}"


AnyNetwork = Annotated[CifarResNet | CifarDenseNet, Field(discriminator="family")]
