"""The `renofeation` part of the config."""

from collections.abc import Collection, Iterator
from typing import Annotated, Literal

from pydantic import Field

from robust_transfer.plan.config import Settings
from robust_transfer.plan.specs import (
    Averaging,
    FeatureAttack,
    Fraction,
    NonNegative,
    Positive,
    Schedule,
    Spec,
    TrainingAttack,
)
from robust_transfer.studies import extra
from robust_transfer.studies.checks import DatasetName, NetworkName, TargetName
from robust_transfer.studies.extra import NONE

BASELINES = ["Linear classifier", "Fine-tuning", "L2-SP", "DELTA", "Re-training"]
COMPARED = ["DELTA", "Renofeation", "Re-training"]
REGULARISED = ["DELTA-R", "DELTA-R + dropout", "DELTA-R + SWA", "Renofeation"]
TRAINED = ["DELTA", "DELTA adv. trained", "Renofeation"]
WITH_EACH = [f"{name}{more}" for name in ("DELTA", "Re-training") for more in ("", " + dropout", " + SWA")]
PRETRAINED = "pretrained"
"""What the paper's attack is made against."""


class Pretrained(Spec):
    """A network to transfer from."""

    network: NetworkName
    """Its architecture."""
    weights: str | None = None
    """torchvision's name of its weights; without them it is trained here, on the source data set."""


class Schedules(Spec):
    """How long and how fast each training goes."""

    source: Schedule | None = None
    """What is trained here to transfer from."""
    fine_tuning: Schedule
    """Runs that inherit weights."""
    re_training: Schedule
    """Runs that inherit no weights."""
    adversarial: Schedule
    """DELTA with adversarial training."""
    averaging: Schedule
    """The phase of weight averaging."""


class Grid(Spec):
    """The values whose every combination the fine-tuning family tries."""

    lr: Annotated[list[Positive], Field(min_length=1)]
    """Learning rates."""
    momentum: Annotated[list[Fraction], Field(min_length=1)]
    """Momenta."""
    weight_decay: Annotated[list[NonNegative], Field(min_length=1)]
    """Weight decays."""


class Lambdas(Spec):
    """The weights of each regulariser that are tried."""

    l2_sp: Annotated[list[Positive], Field(min_length=1)]
    """Of L2-SP."""
    delta: Annotated[list[Positive], Field(min_length=1)]
    """Of DELTA."""
    delta_r: Annotated[list[Positive], Field(min_length=1)]
    """Of DELTA-R."""


class Given(Spec):
    """Values taken as given instead of chosen."""

    lr: Positive
    """DELTA's learning rate."""
    momentum: Fraction
    """DELTA's momentum."""
    weight_decay: NonNegative
    """DELTA's weight decay."""
    delta: Positive
    """DELTA's lambda."""
    delta_r: Positive
    """The lambda of DELTA-R and all that is built on it."""


class Section(extra.Section):
    """The `renofeation` part of the config."""

    attackers = (*extra.Section.attackers, PRETRAINED)

    source: DatasetName | None = None
    """The data set that networks without weights are trained on."""
    networks: Annotated[dict[str, Pretrained], Field(min_length=1)]
    """Printed name -> network; the first is the one of all tables and figures but table 6."""
    targets: Annotated[dict[str, DatasetName], Field(min_length=1)]
    """Printed name -> data set."""
    categories: dict[TargetName, str] = {}  # noqa: RUF012 (pydantic copies it)
    """Printed name of a target -> the kind of task, for table 1."""
    schedules: Schedules
    grid: Grid
    lambdas: Lambdas
    given: dict[TargetName, Given] = {}  # noqa: RUF012
    """Printed name of a target -> values that are not chosen but given."""
    chosen_on: Literal["validation", "test"]
    """The split on which values are chosen."""
    head_penalty: NonNegative
    """Weight of the penalty on the head's squared length."""
    dropout: Fraction
    """Share of the channels that the runs with dropout drop after every stage."""
    averaging: Averaging
    """Stochastic weight averaging of the runs with SWA."""
    shares: Annotated[dict[str, Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1)]
    """Printed name -> part of the training images, in table 5."""
    attack: FeatureAttack
    """The attack on features that measures robustness."""
    adversarial_training: TrainingAttack
    """The attack of DELTA with adversarial training."""

    @property
    def starts(self) -> tuple[str, ...]:
        return (*self.networks, NONE)

    def printed(self) -> dict[str, Collection[str]]:
        swept = [f"lambda {value:g}" for value in self.lambdas.delta_r]
        parts = [f"{share} {method}" for share in self.shares for method in COMPARED]
        methods = [*BASELINES, *REGULARISED, *TRAINED, *WITH_EACH, *swept, *parts]
        return {"methods": methods, "attacks": (), "targets": self.targets}

    def mistakes(self, settings: Settings) -> Iterator[str]:
        yield from super().mistakes(settings)
        for name, attack in self.extra.attacks.items():
            if attack.by == PRETRAINED and attack.algorithm != "feature":
                yield (
                    f"extra.attacks.{name}.by: the pretrained network has none of the target's classes; write by: "
                    "model, or algorithm: feature"
                )
        for name, pretrained in self.networks.items():
            if pretrained.weights is None and (self.source is None or self.schedules.source is None):
                yield (
                    f"networks.{name}.weights: missing; give torchvision's name of the weights, or source and "
                    "schedules.source to train the network here"
                )
