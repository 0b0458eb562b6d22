"""Network architectures."""

from collections.abc import Collection, Mapping
from itertools import cycle, islice
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from robust_transfer.specs.fields import Number, Positive, Spec, WholeNumber, in_pixels
from robust_transfer.specs.layouts import Layout, layout_of

if TYPE_CHECKING:
    from torch import Tensor

    from robust_transfer.models.classifier import Classifier


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
    """

    mean: OneOrEach = 0.5
    """What is subtracted: a number, or a list of one number a channel."""
    std: PositiveOneOrEach = 0.5
    """What is divided by: a number, or a list of one number a channel."""

    _in_pixels = field_validator("mean", "std")(in_pixels)

    @property
    def unit(self) -> float:
        """A unit of the normalised input in pixels: the divisor, in the mean over channels."""
        return fmean(self.std) if isinstance(self.std, list) else self.std

    @property
    def reach(self) -> float:
        """The largest absolute value of the normalised input, over all channels."""
        means, stds = (value if isinstance(value, list) else [value] for value in (self.mean, self.std))
        count = max(len(means), len(stds))
        channels = islice(zip(cycle(means), cycle(stds), strict=False), count)
        return max(max(mean, 1 - mean) / std for mean, std in channels)

    def agrees(self, other: "Normalise") -> bool:
        """Whether another does the same, up to how far people round such numbers (1e-4)."""
        for own, others in ((self.mean, other.mean), (self.std, other.std)):
            ones, twos = (value if isinstance(value, list) else [value] for value in (own, others))
            count = max(len(ones), len(twos))
            if len(ones) not in (1, count) or len(twos) not in (1, count):
                return False
            pairs = islice(zip(cycle(ones), cycle(twos), strict=False), count)
            if any(abs(one - two) > 1e-4 for one, two in pairs):
                return False
        return True


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
    """What every network family has; a family is one file in models/families, see docs/networks.md."""

    averages_residuals: ClassVar[bool] = False
    """Whether its blocks can give the mean of shortcut and branch; see Residual."""
    has_weights: ClassVar[bool] = False
    """Whether weights are published for it, which `published` gives by their name."""
    channels: ClassVar[int | None] = None
    """Of the only images that it takes; None takes any."""
    layouts: ClassVar[tuple[Layout, ...]] = ()
    """The names that other libraries have for its tensors."""

    if TYPE_CHECKING:
        family: str  # the tag that tells the forms apart, a literal in each

    label: str = Field("", exclude=True)
    """A name for readers of the config; it enters no id."""
    normalise: AnyNormalise = Normalise()
    """By given numbers, or per-image: each image by the mean and the standard deviation of its own pixels, as
    tf.image.per_image_standardization does.
    """

    @property
    def slug(self) -> str:
        """A short readable name, a function of the spec alone."""
        raise NotImplementedError

    @property
    def stages(self) -> float:
        """How many stages of residual or dense blocks there are; inf where only the built network knows."""
        raise NotImplementedError

    @property
    def blocks(self) -> float:
        """How many blocks there are in all stages; a block is the smallest part that trains or freezes as one."""
        raise NotImplementedError

    @property
    def units(self) -> float:
        """How many units there are: the head, the last batch norm with its activation (where there is one), the blocks.

        It is the partition in which Shafahi et al. 2020 and Chen et al. 2021 (CARTL) count "the last k".
        """
        raise NotImplementedError

    @property
    def smallest_side(self) -> int:
        """Of the images that it takes, in pixels; 1 where only the built network knows."""
        return 1

    @property
    def side_multiple(self) -> int:
        """Of what both sides of the images that it takes must be multiples; 1 where any will do."""
        return 1

    @property
    def feature_width(self) -> int | None:
        """How many penultimate features there are; None where only the built network knows."""
        return None

    def build(self, channels: int, classes: int) -> "Classifier":
        """A new network for images of `channels` channels, initialised from torch's global generator.

        Raises:
            ValueError: where the network does not fit images of so many channels.
        """
        raise NotImplementedError

    def published(self, weights: str, folder: Path) -> tuple[dict[str, "Tensor"], str]:
        """The state dict that its library publishes under a name, and the address it comes from.

        folder: where its file lies, and is downloaded to where it doesn't.
        """
        raise NotImplementedError

    def names(self, theirs: Collection[str]) -> dict[str, str]:
        """The names of a state dict's tensors -> ours, of all that take part in what the network computes.

        theirs: names of one of its layouts, or ours. What no layout knows keeps its name.
        """
        layout = layout_of(theirs, self.layouts)
        if layout is None:
            return {name: name for name in theirs}
        return {name: layout.ours(name) or name for name in theirs if not layout.is_idle(name)}

    @classmethod
    def tag(cls) -> str:
        """The `family` of its networks in a config."""
        (tag,) = get_args(cls.model_fields["family"].annotation)
        return str(tag)

    def renamed(self, state: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
        """A state dict with the names of one of its layouts, under ours; see names."""
        return {ours: state[theirs] for theirs, ours in self.names(state).items()}

    @classmethod
    def like(cls, shapes: Mapping[str, tuple[int, ...]]) -> Self | None:
        """The network of this family that tensors of these names (ours) and shapes would be of, as far as they tell.

        Returns:
            None where they are of no such network.
        """
        return None


class Residual(Network):
    """What networks of residual blocks have that CARTL's non-expansive fine-tuning can treat."""

    averages_residuals: ClassVar[bool] = True

    averaged_units: WholeNumber = 0
    """The residual blocks among the last that many units give the mean of shortcut and branch, not the sum (Chen et al.
    2021, section 5.2). Training by that method sets it.
    """

    @model_validator(mode="after")
    def _has_so_many_units(self):
        if self.averaged_units > self.units:
            raise ValueError(f"averaged_units: the network has {self.units} units; lower it")
        return self
