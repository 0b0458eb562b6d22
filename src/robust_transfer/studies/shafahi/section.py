"""The `shafahi` part of the config."""

import math
from collections.abc import Collection, Iterator
from typing import Annotated, Literal

from pydantic import Field

from robust_transfer.plan.config import Settings
from robust_transfer.plan.specs import (
    Augmentation,
    Count,
    Fraction,
    Free,
    FrozenStatistics,
    Pgd,
    Positive,
    Schedule,
    Spec,
    Trainable,
    WholeNumber,
)
from robust_transfer.studies import extra
from robust_transfer.studies.base import Units
from robust_transfer.studies.checks import BroughtHere, DatasetName, NetworkName, Refers
from robust_transfer.studies.extra import NONE
from robust_transfer.studies.forgetting import Forgetting

Kind = Literal["natural", "robust"]
KINDS: tuple[Kind, ...] = ("natural", "robust")
"""How a source was trained."""
WAYS = ("Transferred", "Fine-tuned with AT", "Free training")
"""Those to a robust network in figure 3."""

Weights = Annotated[list[Positive], Field(min_length=1)]


class Halves(Spec):
    """Two data sets that share no class."""

    one: DatasetName
    """The half that is transferred to the other and to itself."""
    other: DatasetName
    """The other half."""


class Attacks(Spec):
    """The attacks of all but `large`."""

    training: Pgd
    """PGD adversarial training."""
    test: Pgd
    """The attack that measures robustness."""


class Schedules(Spec):
    """How long and how fast each training goes, but for `large`."""

    source: Schedule
    """Natural and adversarial training."""
    retraining: Schedule
    """What is retrained on natural images, in table 2 and figure 1."""


class Lambdas(Spec):
    """The lambda_d of tables 4 to 7."""

    transfer: Weights
    """Table 4: source to target."""
    source: Weights
    """Table 5: source to itself."""
    halves: Weights
    """Table 6: one half to the other."""
    target: Weights
    """Table 7: target to itself."""


class Swept(Forgetting):
    """Learning without forgetting along lambda_d."""

    lambdas: Lambdas


class Variant(Spec):
    """What an MLP head has after each of its hidden layers."""

    batch_norm: bool = False
    """Whether batch norm is there."""
    dropout: Fraction = 0.0
    """Share that is dropped."""


class Mlp(Spec):
    """Heads of several layers."""

    layers: Annotated[list[WholeNumber], Field(min_length=1)]
    """Their numbers of hidden layers."""
    width: Count
    """Neurons of each hidden layer."""
    variants: dict[str, Variant] = {}  # noqa: RUF012 (pydantic copies it)
    """Printed name -> form, from the robust source alone."""


class Gradients(Spec):
    """Input gradients."""

    layers: Annotated[list[WholeNumber], Field(min_length=1)]
    """Hidden layers of the robust source's heads, a row each."""
    images: Count
    """How many images, evenly spaced over the split."""


class LargeAttacks(Spec):
    """The attacks of `large`."""

    free: Free
    """"Free" adversarial training, of the source and from scratch."""
    fine_tuning: Pgd
    """PGD training on the target."""
    test: Pgd
    """The attack that measures robustness, with the cross entropy and (CW) with the margin as its loss."""


class LargeSchedules(Spec):
    """How long and how fast each training of `large` goes."""

    natural: Schedule | None = None
    """The natural source, where it is trained here."""
    source: Schedule
    """The robust source."""
    scratch: Schedule
    """"Free" training on a target."""
    head: Schedule
    """New heads on frozen features."""
    fine_tuning: Schedule
    """Adversarial training that starts from the robust source."""


class Large(Spec):
    """Section 4.1 and all that rests on it: a large source data set, from which a natural and a "free" trained network
    are transferred.
    """

    name: str
    """The network's printed name."""
    budget: str
    """The printed name of the robust source's eps."""
    source: DatasetName
    """The large data set."""
    network: NetworkName
    """The network of all its models."""
    weights: BroughtHere | None = None
    """torchvision's name of the natural source's weights, or where else they come from; none trains it here."""
    robust: BroughtHere | None = None
    """Where the robust source comes from, in place of training it here."""
    targets: Annotated[list[DatasetName], Field(min_length=1)]
    """The data sets that are transferred to."""
    studied: Annotated[str, Refers("target", section="large.targets")]
    """The target of figures 3 to 5."""
    per_class: Annotated[list[Count], Field(min_length=1)]
    """Training images a class in figure 3, beside all of them."""
    fine_tuned: Trainable
    """The part that adversarial fine-tuning trains."""
    mlp: Mlp
    gradients: Gradients
    attacks: LargeAttacks
    schedules: LargeSchedules


class Section(extra.Section):
    """The `shafahi` part of the config."""

    source: DatasetName
    """The data set that is transferred from: CIFAR-100 in the paper."""
    target: DatasetName
    """The data set that is transferred to: CIFAR-10 in the paper."""
    halves: Halves
    names: dict[DatasetName, str] = {}  # noqa: RUF012
    """Data set -> printed name, its own unless given."""
    network: NetworkName
    """The network of all but `large`."""
    brought: dict[Kind, BroughtHere] = {}  # noqa: RUF012 (pydantic copies it)
    """The small sources on the data set `source` that are not trained here."""
    depths: Annotated[list[Units], Field(min_length=1)] | None = None
    """k in figure 1, in units (see Last); every one unless given."""
    augmentation: Augmentation
    """Augmentation of figure 7."""
    frozen_statistics: FrozenStatistics
    """Whether batch norm's running statistics stay where the feature extractor is frozen, or are updated."""
    attacks: Attacks
    schedules: Schedules
    lwf: Swept
    large: Large

    def name(self, dataset: str) -> str:
        """The printed name of a data set."""
        return self.names.get(dataset, dataset)

    @property
    def starts(self) -> tuple[str, ...]:
        return (*KINDS, NONE)

    @property
    def all_targets(self) -> dict[str, str]:
        return {name: name for name in (self.source, self.target, *self.large.targets)} | self.extra.targets

    def printed(self) -> dict[str, Collection[str]]:
        columns = ("val.", *(attack_name(attack) for attack in (self.attacks.test, self.large.attacks.test)))
        targets = [self.name(target) for target in self.large.targets]
        return {"methods": (*KINDS, *WAYS), "attacks": columns, "targets": targets}

    def mistakes(self, settings: Settings) -> Iterator[str]:
        yield from super().mistakes(settings)
        yield from self._mistakes_in_halves(settings)
        network = settings.networks.get(self.network)
        if network and self.depths is None and network.units == math.inf:
            yield f"depths: missing; the units of {network.family} are counted when it is built, list some"
        large = self.large
        if large.weights is None and large.schedules.natural is None:
            yield (
                "large.weights: missing; give torchvision's name of the natural source's weights, or "
                "schedules.natural to train it here"
            )
        if missing := sorted({*large.gradients.layers} - {*large.mlp.layers}):
            yield f"large.gradients.layers: {missing} are not among mlp.layers, {large.mlp.layers}; add them there"

    def _mistakes_in_halves(self, settings: Settings) -> Iterator[str]:
        halves = self.halves
        one, other = (settings.datasets.get(name) for name in (halves.one, halves.other))
        if one is None or other is None:
            return
        other_half = {"half": other.half, "validation": other.validation}
        complement = one.model_copy(update=other_half).canonical() == other.canonical()
        halved = complement and {one.half, other.half} == {"first", "second"}
        if not halved and not (one.classes and other.classes and not {*one.classes} & {*other.classes}):
            yield (
                "halves: two data sets that share no class are wanted; set half: first and half: second in "
                f"datasets.{halves.one} and datasets.{halves.other} and all else alike, or give both their classes"
            )


def attack_name(attack: Pgd) -> str:
    """`PGD-20`, or `CW-20` where the margin is its loss."""
    return f"{'CW' if attack.loss == 'margin' else 'PGD'}-{attack.steps}"
