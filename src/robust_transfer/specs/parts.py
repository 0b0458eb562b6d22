"""Parts of a network: what trains, and what stands on the features."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag, model_validator

from robust_transfer.specs.fields import Count, Fraction, Spec, formerly, in_slug


class Last(Spec):
    """The last stages or blocks of the feature extractor, with the head; or the last units, as Shafahi et al. 2020 and
    Chen et al. 2021 count them: 1 is the head, 2 the last batch norm (where there is one), then the blocks.
    """

    last: Count
    """How many of them."""
    of: Literal["stages", "blocks", "units"]
    """What is counted."""


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


FrozenStatistics = Annotated[Literal["freeze", "update"], *formerly(freeze="hold", update="drift")]
"""What becomes of batch norm's running statistics in the frozen part."""
TrainedStatistics = Annotated[Literal["freeze", "update"], *formerly(freeze="hold", update="move")]
"""The same in the part that trains."""


class Head(Spec):
    """A new head: a linear layer, or hidden layers before it."""

    hidden: list[Count] = []  # noqa: RUF012 (pydantic copies it)
    """Neurons of each hidden layer."""
    batch_norm: bool = False
    """Whether batch norm comes after each hidden layer."""
    dropout: Fraction = 0.0
    """Share that is dropped after each hidden layer; without hidden layers, of the features."""
    weights: Literal["default", "uniform01"] = "default"
    """PyTorch's default initialisation, or all weights and biases from U[0, 1)."""

    @model_validator(mode="after")
    def _hidden_layers_first(self):
        if not self.hidden and self.batch_norm:
            raise ValueError("hidden: batch_norm belongs to hidden layers; give some, like [64]")
        return self

    @property
    def slug(self) -> str:
        """`mlp64x64-bn-do0_25`, `uniform01`; nothing of a linear layer that starts as usual."""
        words = [f"mlp{'x'.join(map(str, self.hidden))}"] if self.hidden else []
        words += ["bn"] * self.batch_norm + [f"do{in_slug(self.dropout)}"] * bool(self.dropout)
        return "-".join(words + ["uniform01"] * (self.weights == "uniform01"))


AnyHead = Annotated[
    Annotated[Literal["new", "keep"], Tag("word")] | Annotated[Head, Tag("form")],
    Discriminator(
        lambda value: "form" if isinstance(value, dict | Head) else "word" if value in ("new", "keep") else None,
        custom_error_type="head",
        custom_error_message="Input should be new, keep, or a form like {{hidden: [64]}}",
    ),
]
