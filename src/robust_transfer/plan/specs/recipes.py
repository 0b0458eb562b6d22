"""Training runs, source or target: one space, of which every method of the papers is a point."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from robust_transfer.plan.specs.attacks import AnyAttack
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
from robust_transfer.plan.specs.networks import AnyNetwork


class Last(Spec):
    """The last stages or blocks of the feature extractor, and the head."""

    last: Count
    of: Literal["stages", "blocks"]


def _trainable_form(value: Any) -> str | None:
    if isinstance(value, dict | Last):
        return "part"
    return "word" if value in ("all", "head") else None


Trainable = Annotated[
    Annotated[Literal["all", "head"], Tag("word")] | Annotated[Last, Tag("part")],
    Discriminator(
        _trainable_form,
        custom_error_type="trainable",
        custom_error_message="Input should be all, head, or the last parts like {{last: 1, of: stages}}",
    ),
]


def trainable_slug(trainable: Trainable) -> str:
    """`all`, `head` or `last1stages`."""
    return trainable if isinstance(trainable, str) else f"last{trainable.last}{trainable.of}"


class Inputs(Spec):
    """What a training batch is.

    attack: none trains on clean images; an attack adds adversarial examples of them, made anew in every iteration
        against the network as it stands, in evaluation mode.
    clean_weight: weight of the clean batch's loss; the adversarial batch has the rest.
    """

    attack: AnyAttack | None = None
    clean_weight: Annotated[Number, Field(ge=0, le=1)] = 0.5

    @property
    def slug(self) -> str:
        return self.attack.algorithm if self.attack else "nat"


class Schedule(Spec):
    """How the loss is brought down: stochastic gradient descent with momentum.

    epochs: passes over the training split; the last incomplete batch of each is left out.
    batch_size: clean images an iteration; adversarial ones come on top.
    decay: the learning rate's shape: constant, steps (times gamma at each milestone, in epochs) or cosine to zero.
    crop_padding: pixels of black border for random crops (0 = none); flip: mirror half of the images.
    select: the weights kept are the last, or those of the epoch that was best on the validation split.
    seed: of initialisation, order, augmentation and attacks' random starts.
    """

    epochs: Count
    batch_size: Annotated[int, BeforeValidator(no_bool), Field(ge=2)]
    lr: Positive
    momentum: Fraction = 0.9
    weight_decay: NonNegative = 0.0
    decay: Literal["constant", "steps", "cosine"] = "constant"
    milestones: list[Count] = []  # noqa: RUF012 (pydantic copies it)
    gamma: Annotated[Number, Field(gt=0, le=1)] = 0.1
    crop_padding: WholeNumber = 0
    flip: bool = False
    select: Literal["last", "best_validation"] = "last"
    seed: WholeNumber = 0

    @model_validator(mode="after")
    def _milestones_fit(self):
        if self.decay == "steps" and not self.milestones:
            raise ValueError("milestones: decay: steps wants the epochs at which lr falls, e.g. [100, 150]")
        if self.decay != "steps" and self.milestones:
            raise ValueError(f"milestones: none are wanted with decay: {self.decay}; write milestones: [] beside it")
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError("milestones: epochs in rising order are wanted, each once")
        if self.milestones and self.milestones[-1] >= self.epochs:
            raise ValueError(f"milestones: {self.milestones[-1]} lies at or beyond the last of {self.epochs} epochs")
        return self


class Recipe(Spec):
    """A training run, source or target: where it starts, what moves, what it sees, what it minimises, for how long.

    network: the architecture of a random start; a run that inherits takes its start's.
    trainable: the part that moves. The head is always new in a run that inherits.
    frozen_statistics: batch norm's running statistics in the frozen part are held, or drift with the new data.
    """

    network: AnyNetwork | None = None
    trainable: Trainable = "all"
    frozen_statistics: Literal["hold", "drift"] = "hold"
    inputs: Inputs = Inputs()
    schedule: Schedule
