"""How long and how fast a training goes, and what it keeps."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from robust_transfer.plan.specs.fields import (
    Count,
    Fraction,
    NonNegative,
    Number,
    Positive,
    Spec,
    WholeNumber,
    no_bool,
)


class Averaging(Spec):
    """Stochastic weight averaging (Izmailov et al. 2018).

    The result is the mean of the weights after every `every` iterations. Batch norm's statistics are then taken anew,
    in one pass over the augmented training images.

    dropout: whether dropout stays on in that pass.
    """

    every: Count
    dropout: bool = False


class Augmentation(Spec):
    """What is done to small training images; see Schedule."""

    crop_padding: WholeNumber = 0
    flip: bool = False
    rotation: NonNegative = 0.0


class Schedule(Spec):
    """How the loss is brought down, by steps with momentum.

    epochs or iterations: how long, in passes over the training split (the last incomplete batch of each is left out) or
        in batches.
    batch_size: clean images an iteration; adversarial ones come on top.
    decay: the learning rate's shape: constant, steps (times gamma at each milestone), cosine to zero, or plateau (times
        gamma where `patience` epochs bring no new best accuracy, under the training attack if there is one; the
        training ends early at fall number `falls`).
    watch: the split on which a plateau shows.
    optimiser: stochastic gradient descent, or with layer-wise rates (LARS, You et al. 2017), for large batches.
    milestones: in epochs or iterations, as the length is.
    warm_up: so long, in the same unit, the rate rises from 0 in a straight line (Goyal et al. 2017).
    head_first: so many iterations move the head alone (a warm start of it).
    crop_padding: pixels of black border for random crops (0 = none); flip: mirror half of the images; rotation: turn
        each by up to so many degrees either way.
    select: the weights kept are the last, or those of the epoch that was best on the validation split.
    seed: of initialisation, order, augmentation and attacks' random starts.
    """

    epochs: Count | None = None
    iterations: Count | None = None
    batch_size: Annotated[int, BeforeValidator(no_bool), Field(ge=2)]
    lr: Positive
    momentum: Fraction = 0.9
    weight_decay: NonNegative = 0.0
    optimiser: Literal["sgd", "lars"] = "sgd"
    decay: Literal["constant", "steps", "cosine", "plateau"] = "constant"
    patience: Count | None = None
    falls: Count = 3
    watch: Literal["validation", "test"] = "validation"
    milestones: list[Count] = []  # noqa: RUF012 (pydantic copies it)
    gamma: Annotated[Number, Field(gt=0, le=1)] = 0.1
    warm_up: WholeNumber = 0
    head_first: WholeNumber = 0
    crop_padding: WholeNumber = 0
    flip: bool = False
    rotation: NonNegative = 0.0
    select: Literal["last", "best_validation"] = "last"
    seed: WholeNumber = 0

    @model_validator(mode="after")
    def _one_length(self):
        if (self.epochs is None) == (self.iterations is None):
            raise ValueError("epochs: give either epochs or iterations")
        return self

    @model_validator(mode="after")
    def _plateau_needs_patience(self):
        if (self.decay == "plateau") != (self.patience is not None):
            raise ValueError("patience: epochs without a new best are wanted with decay: plateau, and only there")
        return self

    @model_validator(mode="after")
    def _milestones_fit(self):
        unit = "epochs" if self.epochs else "iterations"
        length = self.epochs or self.iterations
        if self.decay == "steps" and not self.milestones:
            raise ValueError(f"milestones: decay: steps wants the {unit} at which lr falls, e.g. [100, 150]")
        if self.decay != "steps" and self.milestones:
            raise ValueError(f"milestones: none are wanted with decay: {self.decay}; write milestones: [] beside it")
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError(f"milestones: {unit} in rising order are wanted, each once")
        if self.milestones and length and self.milestones[-1] >= length:
            raise ValueError(f"milestones: {self.milestones[-1]} lies at or beyond the last of {length} {unit}")
        return self
