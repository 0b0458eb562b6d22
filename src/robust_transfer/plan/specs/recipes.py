"""Training runs, source or target: one space, of which every method of the papers is a point."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from robust_transfer.plan.specs.fields import Count, Fraction, Positive, Spec
from robust_transfer.plan.specs.networks import AnyNetwork, AnyNormalise
from robust_transfer.plan.specs.objectives import Inputs, Terms
from robust_transfer.plan.specs.schedules import Averaging, Schedule


class Last(Spec):
    """The last stages or blocks of the feature extractor, with the head; or the last units, as Shafahi et al. 2020 and
    Chen et al. 2021 count them: 1 is the head, 2 the last batch norm (where there is one), then the blocks.
    """

    last: Count
    of: Literal["stages", "blocks", "units"]


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


class Head(Spec):
    """A new head: a linear layer, or hidden layers before it.

    hidden: neurons of each. batch_norm, dropout: after each hidden layer.
    weights: PyTorch's default initialisation, or all weights and biases from U[0, 1).
    """

    hidden: list[Count] = []  # noqa: RUF012 (pydantic copies it)
    batch_norm: bool = False
    dropout: Fraction = 0.0
    weights: Literal["default", "uniform01"] = "default"

    @model_validator(mode="after")
    def _hidden_layers_first(self):
        if not self.hidden and (self.batch_norm or self.dropout):
            raise ValueError("hidden: batch_norm and dropout belong to hidden layers; give some, like [64]")
        return self


AnyHead = Annotated[
    Annotated[Literal["new", "keep"], Tag("word")] | Annotated[Head, Tag("form")],
    Discriminator(
        lambda value: "form" if isinstance(value, dict | Head) else "word" if value in ("new", "keep") else None,
        custom_error_type="head",
        custom_error_message="Input should be new, keep, or a form like {{hidden: [64]}}",
    ),
]


class Spectral(Spec):
    """Non-expansive fine-tuning (Chen et al. 2021, Eq. 11): weights of the last units are beta * W / sigma(W), and
    their residual blocks average shortcut and branch.

    power_iterations: that estimate sigma in each pass in training.
    """

    units: Count
    beta: Annotated[Positive, Field(le=1)]
    power_iterations: Count = 1


TUNABLE = ("lr", "momentum", "weight_decay", "feature_distillation", "start_distance")
"""What a grid search can choose."""

Tunable = Literal["lr", "momentum", "weight_decay", "feature_distillation", "start_distance"]


class Recipe(Spec):
    """A training run, source or target: where it starts, what moves, what it sees, what it minimises, for how long.

    network: the architecture of a random start; a run that inherits takes its start's.
    initialisation: of a random start: the family's own, or PyTorch's defaults for every layer.
    normalise: takes the place of the inherited network's normalisation; none keeps that.
    head: a run that inherits gets a new one, linear or of some form, or keeps the inherited one.
    reset: the last parts that are initialised anew before training, by the family's own rule; none unless given.
    trainable: the part that moves.
    frozen_statistics: batch norm's running statistics in the frozen part are held, or drift with the new data.
    trained_statistics: likewise in the part that moves; held ones also normalise while training.
    affine: whether batch norms' scale and shift train where the rest of their part does.
    spectral: non-expansive fine-tuning of the last units; none unless given.
    dropout: share of the channels that are dropped after every stage while training (Tompson et al. 2015).
    averaging: none keeps what `schedule.select` says.
    tuned: values that are not set here but taken from a choice among other runs (grid search).
    """

    network: AnyNetwork | None = None
    normalise: AnyNormalise | None = None
    initialisation: Literal["family", "pytorch"] = "family"
    head: AnyHead = "new"
    reset: Last | None = None
    trainable: Trainable = "all"
    frozen_statistics: Literal["hold", "drift"] = "hold"
    trained_statistics: Literal["hold", "move"] = "move"
    affine: Literal["train", "freeze"] = "train"
    spectral: Spectral | None = None
    dropout: Fraction = 0.0
    inputs: Inputs = Inputs()
    terms: Terms = Terms()
    averaging: Averaging | None = None
    schedule: Schedule
    tuned: list[Tunable] = []  # noqa: RUF012 (pydantic copies it)

    @model_validator(mode="after")
    def _one_normalisation(self):
        if self.network and self.normalise:
            raise ValueError("normalise: a random start is normalised as its network says; set network.normalise")
        return self

    @model_validator(mode="after")
    def _one_result(self):
        if self.averaging and self.schedule.select != "last":
            raise ValueError("averaging: the mean of the weights is kept, so schedule.select must be last")
        if self.averaging and self.schedule.iterations and self.averaging.every > self.schedule.iterations:
            raise ValueError(f"averaging.every: no average is taken in {self.schedule.iterations} iterations")
        return self

    @model_validator(mode="after")
    def _terms_fit_the_inputs(self):
        terms, inputs = self.terms, self.inputs
        if terms.consistency and (inputs.attack or not inputs.noise):
            raise ValueError("terms.consistency: it compares noisy copies; set inputs.noise above 0 and no attack")
        if terms.contrastive and (inputs.attack or inputs.noise or terms.consistency):
            raise ValueError("terms.contrastive: it makes its own views; set no attack, noise or consistency")
        if terms.contrastive and self.schedule.select != "last":
            raise ValueError("terms.contrastive: there is no accuracy to select by; set schedule.select: last")
        if terms.feature_distance and (not inputs.attack or inputs.mixing == "either"):
            raise ValueError("terms.feature_distance: it compares clean and adversarial images; set an attack on both")
        return self

    @property
    def slug(self) -> str:
        """What a run does, in a word that is a function of the spec alone: `nat`, `pgd`, `nat+distil+dropout+swa`."""
        terms = self.terms.slug
        for name, word in (("feature_distillation", "+distil"), ("start_distance", "+l2sp")):
            terms += word * (name in self.tuned and word not in terms)
        terms += "+neft" * bool(self.spectral)
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
