"""Network architectures."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from robust_transfer.plan.specs.fields import Count, Number, Positive, Spec, WholeNumber


def _how_many(value: Any) -> str:
    return "each" if isinstance(value, list | tuple) else "one"


OneOrEach = Annotated[
    Annotated[Number, Tag("one")] | Annotated[list[Number], Field(min_length=1), Tag("each")],
    Discriminator(_how_many),
]
PositiveOneOrEach = Annotated[
    Annotated[Positive, Tag("one")] | Annotated[list[Positive], Field(min_length=1), Tag("each")],
    Discriminator(_how_many),
]


class Normalise(Spec):
    """The network's first operation, x -> (x - mean) / std on pixels in [0, 1]; inside the network, so that an attack's
    budget is always in pixels.

    mean, std: a number, or a list of one number a channel.
    """

    mean: OneOrEach = 0.5
    std: PositiveOneOrEach = 0.5


IMAGENET = Normalise(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
"""The numbers that networks trained on ImageNet expect."""


def _normalise_form(value: Any) -> str | None:
    if isinstance(value, dict | Normalise):
        return "numbers"
    return "word" if value == "per-image" else None


AnyNormalise = Annotated[
    Annotated[Normalise, Tag("numbers")] | Annotated[Literal["per-image"], Tag("word")],
    Discriminator(
        _normalise_form,
        custom_error_type="normalise",
        custom_error_message="Input should be like {{mean: 0.5, std: 0.5}}, or per-image",
    ),
]


class Network(Spec):
    """What every network family has.

    normalise: by given numbers, or per-image: each image by the mean and the standard deviation of its own pixels, as
        tf.image.per_image_standardization does.
    """

    label: str = Field("", exclude=True)
    normalise: AnyNormalise = Normalise()

    @property
    def stages(self) -> int:
        """How many stages of residual or dense blocks there are."""
        raise NotImplementedError

    @property
    def blocks(self) -> int:
        """How many blocks there are in all stages; a block is the smallest part that trains or freezes as one."""
        raise NotImplementedError

    @property
    def units(self) -> int:
        """How many units there are: the head, the last batch norm with its activation (where there is one), the blocks.

        It is the partition in which Shafahi et al. 2020 and Chen et al. 2021 (CARTL) count "the last k".
        """
        raise NotImplementedError


class Residual(Network):
    """What networks of residual blocks have that CARTL's non-expansive fine-tuning can treat.

    averaged_units: the residual blocks among the last that many units give the mean of shortcut and branch, not the sum
        (Chen et al. 2021, section 5.2). Training by that method sets it.
    """

    averaged_units: WholeNumber = 0

    @model_validator(mode="after")
    def _has_so_many_units(self):
        if self.averaged_units > self.units:
            raise ValueError(f"averaged_units: the network has {self.units} units; lower it")
        return self


class CifarResNet(Residual):
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
    def units(self) -> int:
        return self.blocks + 1

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
    def units(self) -> int:
        return self.blocks + 2

    @property
    def slug(self) -> str:
        depth = 2 * sum(self.layers_per_block) + len(self.layers_per_block) + 1
        return f"densenet{depth}k{self.growth}"


class WideResNet(Residual):
    """Wide residual network of three stages (Zagoruyko & Komodakis 2016), pre-activation, leaky ReLU of slope 0.1.

    depth: 6n + 4 or 6n + 2 for n residual units a stage, as the paper counts: WRN-34-10 and WRN-32-10 both have 5.
    widen: channels of the first stage in widths of the stem, doubled with every further one. width: of the stem.
    shortcut: where channels change: a 1x1 convolution (CARTL), or average pooling and zeros for the new channels (Madry
        et al. 2018, whose nets Shafahi et al. 2020 use; it wants sides that are multiples of 4, and normalises
        per-image).
    """

    family: Literal["wide-resnet"]
    depth: Count
    widen: Count
    width: Count = 16
    shortcut: Literal["conv", "pad"] = "conv"

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


class TorchvisionNet(Network):
    """A network of torchvision's, for images of three channels, by default normalised as torchvision's weights expect.

    A ResNet's stages are its layer1 to layer4. MobileNetV2 has five, as Chin et al. 2020 cut it: each but the last ends
    with a group of blocks that begins with stride 2; the last 1x1 convolution counts as a block of the last.
    """

    family: Literal["torchvision"]
    name: Literal["resnet18", "resnet50", "resnet101", "mobilenet_v2"]
    normalise: AnyNormalise = IMAGENET

    @property
    def blocks_per_stage(self) -> list[int]:
        """Blocks in each stage."""
        return {
            "resnet18": [2, 2, 2, 2],
            "resnet50": [3, 4, 6, 3],
            "resnet101": [3, 4, 23, 3],
            "mobilenet_v2": [3, 3, 4, 6, 2],
        }[self.name]

    @property
    def stages(self) -> int:
        return len(self.blocks_per_stage)

    @property
    def blocks(self) -> int:
        return sum(self.blocks_per_stage)

    @property
    def units(self) -> int:
        return self.blocks + 1

    @property
    def slug(self) -> str:
        return self.name


AnyNetwork = Annotated[CifarResNet | CifarDenseNet | WideResNet | TorchvisionNet, Field(discriminator="family")]
