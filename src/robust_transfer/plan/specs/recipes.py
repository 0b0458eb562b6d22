"""Training runs, source or target: one space, of which every method of the papers is a point."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from robust_transfer.plan.specs.attacks import TrainingAttack
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
    mixing: both trains on the clean and the adversarial batch in every iteration; either draws one of the two.
    clean_weight: weight of the clean batch's loss (both) or its probability (either); the adversarial batch has the
        rest.
    share: of each class's training images, the part that takes part, drawn at random.
    """

    attack: TrainingAttack | None = None
    mixing: Literal["both", "either"] = "both"
    clean_weight: Annotated[Number, Field(ge=0, le=1)] = 0.5
    share: Annotated[Number, Field(gt=0, le=1)] = 1.0

    @property
    def slug(self) -> str:
        return self.attack.algorithm if self.attack else "nat"


class Terms(Spec):
    """What is added to the cross entropy, each with its weight.

    feature_distillation: lambda of the squared distance between the stages' outputs and those of the teacher, in the
        mean over elements and images (DELTA without attention, Li et al. 2019; Chin et al. 2020, Eq. 3).
    start_distance: lambda of the squared distance of the weights from those the run inherited, the head left out
        (L2-SP, Li et al. 2018; Chin et al. 2020, Eq. 2).
    head_penalty: beta of the squared length of the head's weights and biases (Chin et al. 2020, below Eq. 1).
    """

    feature_distillation: NonNegative = 0.0
    start_distance: NonNegative = 0.0
    head_penalty: NonNegative = 0.0

    @property
    def slug(self) -> str:
        return "+distil" * bool(self.feature_distillation) + "+l2sp" * bool(self.start_distance)


class Averaging(Spec):
    """Stochastic weight averaging (Izmailov et al. 2018).

    The result is the mean of the weights after every `every` iterations. Batch norm's statistics are then taken anew,
    in one pass over the augmented training images.

    dropout: whether dropout stays on in that pass.
    """

    every: Count
    dropout: bool = False


class Schedule(Spec):
    """How the loss is brought down: stochastic gradient descent with momentum.

    epochs or iterations: how long, in passes over the training split (the last incomplete batch of each is left out) or
        in batches.
    batch_size: clean images an iteration; adversarial ones come on top.
    decay: the learning rate's shape: constant, steps (times gamma at each milestone) or cosine to zero.
    milestones: in epochs or iterations, as the length is.
    crop_padding: pixels of black border for random crops (0 = none); flip: mirror half of the images.
    select: the weights kept are the last, or those of the epoch that was best on the validation split.
    seed: of initialisation, order, augmentation and attacks' random starts.
    """

    epochs: Count | None = None
    iterations: Count | None = None
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
    def _one_length(self):
        if (self.epochs is None) == (self.iterations is None):
            raise ValueError("epochs: give either epochs or iterations")
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


TUNABLE = ("lr", "momentum", "weight_decay", "feature_distillation", "start_distance")
"""What a grid search can choose."""

Tunable = Literal["lr", "momentum", "weight_decay", "feature_distillation", "start_distance"]


class Recipe(Spec):
    """A training run, source or target: where it starts, what moves, what it sees, what it minimises, for how long.

    network: the architecture of a random start; a run that inherits takes its start's.
    initialisation: of a random start: the family's own, or PyTorch's defaults for every layer.
    head: a run that inherits gets a new head, or keeps the inherited one.
    trainable: the part that moves.
    frozen_statistics: batch norm's running statistics in the frozen part are held, or drift with the new data.
    dropout: share of the channels that are dropped after every stage while training (Tompson et al. 2015).
    averaging: none keeps what `schedule.select` says.
    tuned: values that are not set here but taken from a choice among other runs (grid search).
    """

    network: AnyNetwork | None = None
    initialisation: Literal["family", "pytorch"] = "family"
    head: Literal["new", "keep"] = "new"
    trainable: Trainable = "all"
    frozen_statistics: Literal["hold", "drift"] = "hold"
    dropout: Fraction = 0.0
    inputs: Inputs = Inputs()
    terms: Terms = Terms()
    averaging: Averaging | None = None
    schedule: Schedule
    tuned: list[Tunable] = []  # noqa: RUF012 (pydantic copies it)

    @model_validator(mode="after")
    def _one_result(self):
        if self.averaging and self.schedule.select != "last":
            raise ValueError("averaging: the mean of the weights is kept, so schedule.select must be last")
        if self.averaging and self.schedule.iterations and self.averaging.every > self.schedule.iterations:
            raise ValueError(f"averaging.every: no average is taken in {self.schedule.iterations} iterations")
        return self

    @property
    def slug(self) -> str:
        """What a run does, in a word that is a function of the spec alone: `nat`, `pgd`, `nat+distil+dropout+swa`."""
        terms = self.terms.slug
        for name, word in (("feature_distillation", "+distil"), ("start_distance", "+l2sp")):
            terms += word * (name in self.tuned and word not in terms)
        return self.inputs.slug + terms + "+dropout" * bool(self.dropout) + "+swa" * bool(self.averaging)

    def with_values(self, values: dict[str, float]) -> "Recipe":
        """The recipe with values that a grid search tries or has chosen, by their names in TUNABLE."""
        terms = {name: value for name, value in values.items() if name in Terms.model_fields}
        schedule = {name: value for name, value in values.items() if name in Schedule.model_fields}
        return self.model_copy(
            update={
                "terms": self.terms.model_copy(update=terms),
                "schedule": self.schedule.model_copy(update=schedule),
            }
        )
