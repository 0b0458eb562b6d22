"""How long and how fast a training goes, and what it keeps."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from robust_transfer.specs.fields import Count, Fraction, NonNegative, Number, Positive, Spec, WholeNumber, no_bool


class Averaging(Spec):
    """Stochastic weight averaging (Izmailov et al. 2018). Batch norm's statistics are then taken anew, in one shuffled
    pass over the augmented training images.
    """

    every: Count
    """The result is the mean of the weights after every so many iterations."""
    dropout: bool = False
    """Whether dropout stays on in that pass."""


class Augmentation(Spec):
    """What is done to small training images."""

    crop_padding: WholeNumber = 0
    """Pixels of black border for random crops (0 = none)."""
    flip: bool = False
    """Mirror half of the images."""
    rotation: NonNegative = 0.0
    """Turn each image by up to so many degrees either way."""


class Schedule(Spec):
    """How the loss is brought down, by steps with momentum."""

    epochs: Count | None = None
    """How long, in passes over the training split (the last incomplete batch of each is left out); or give iterations.
    """
    iterations: Count | None = None
    """How long, in batches; or give epochs."""
    batch_size: Annotated[int, BeforeValidator(no_bool), Field(ge=2)]
    """Clean images an iteration; adversarial ones come on top."""
    lr: Positive
    """Learning rate, before decay."""
    momentum: Fraction = 0.9
    """Share of the last step that the next one keeps."""
    weight_decay: NonNegative = 0.0
    """Factor of the weights that is added to their gradient."""
    optimiser: Literal["sgd", "lars"] = "sgd"
    """Stochastic gradient descent, or with layer-wise rates (LARS, You et al. 2017), for large batches."""
    decay: Literal["constant", "steps", "cosine", "plateau"] = "constant"
    """The learning rate's shape: constant, steps (times gamma at each milestone), cosine to zero, or plateau (times
    gamma where `patience` epochs bring no new best accuracy, under the training attack if there is one; the training
    ends early at fall number `falls`).
    """
    patience: Count | None = None
    """With decay: plateau, so many epochs without a new best make the rate fall."""
    falls: Count = 3
    """With decay: plateau, the fall at which the training ends."""
    watch: Literal["validation", "test"] = "validation"
    """The split on which a plateau shows."""
    milestones: list[Count] = []  # noqa: RUF012 (pydantic copies it)
    """With decay: steps, where the rate falls, in epochs or iterations, as the length is."""
    gamma: Annotated[Number, Field(gt=0, le=1)] = 0.1
    """Factor of the rate at each fall."""
    warm_up: WholeNumber = 0
    """So long, in the same unit, the rate rises from 0 in a straight line (Goyal et al. 2017)."""
    head_first: WholeNumber = 0
    """The head alone moves for so long (a warm start of it), in epochs or iterations, as the length is."""
    crop_padding: WholeNumber = 0
    """Pixels of black border for random crops (0 = none)."""
    flip: bool = False
    """Mirror half of the images."""
    rotation: NonNegative = 0.0
    """Turn each image by up to so many degrees either way."""
    select: Literal["last", "best_validation"] = "last"
    """The weights kept are the last, or those of the epoch that was best on the validation split."""
    seed: WholeNumber = 0
    """Seed of initialisation, order, augmentation and attacks' random starts; the config's unless given."""

    @property
    def length(self) -> tuple[int, str]:
        """How long, and in what: epochs or iterations."""
        return (self.epochs, "epochs") if self.epochs else (self.iterations or 0, "iterations")

    @model_validator(mode="after")
    def _one_length(self):
        if (self.epochs is None) == (self.iterations is None):
            raise ValueError("epochs: give either epochs or iterations")
        return self

    @model_validator(mode="after")
    def _beginnings_end(self):
        length, unit = self.length
        for name, part in (("head_first", self.head_first), ("warm_up", self.warm_up)):
            if part > length:
                raise ValueError(f"{name}: {part} is more than all {length} {unit}; lower it")
        return self

    @model_validator(mode="after")
    def _plateau_needs_patience(self):
        if (self.decay == "plateau") != (self.patience is not None):
            raise ValueError("patience: epochs without a new best are wanted with decay: plateau, and only there")
        return self

    @model_validator(mode="after")
    def _milestones_fit(self):
        length, unit = self.length
        if self.decay == "steps" and not self.milestones:
            raise ValueError(f"milestones: decay: steps wants the {unit} at which lr falls, e.g. [100, 150]")
        if self.decay != "steps" and self.milestones:
            raise ValueError(f"milestones: none are wanted with decay: {self.decay}; write milestones: [] beside it")
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError(f"milestones: {unit} in rising order are wanted, each once")
        if self.milestones and self.milestones[-1] >= length:
            raise ValueError(f"milestones: {self.milestones[-1]} lies at or beyond the last of {length} {unit}")
        return self
