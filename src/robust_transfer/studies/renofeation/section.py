"""The `renofeation` part of the config, and what can be wrong with it."""

from typing import Annotated, Literal

from pydantic import Field

from robust_transfer.plan.config import Settings, look_up
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

STUDY = "renofeation"


class Pretrained(Spec):
    """A network to transfer from. weights: of torchvision, by name; none are trained here, on the source data set."""

    network: str
    weights: str | None = None


class Schedules(Spec):
    """source: what is trained here to transfer from. fine_tuning: runs that inherit weights; re_training: those that
    don't. adversarial: DELTA with adversarial training. averaging: the phase of weight averaging.
    """

    source: Schedule | None = None
    fine_tuning: Schedule
    re_training: Schedule
    adversarial: Schedule
    averaging: Schedule


class Grid(Spec):
    """The values whose every combination the fine-tuning family tries."""

    lr: Annotated[list[Positive], Field(min_length=1)]
    momentum: Annotated[list[Fraction], Field(min_length=1)]
    weight_decay: Annotated[list[NonNegative], Field(min_length=1)]


class Lambdas(Spec):
    """The weights of each regulariser that are tried."""

    l2_sp: Annotated[list[Positive], Field(min_length=1)]
    delta: Annotated[list[Positive], Field(min_length=1)]
    delta_r: Annotated[list[Positive], Field(min_length=1)]


class Given(Spec):
    """Values taken as given instead of chosen: DELTA's, and the lambda of DELTA-R and all that is built on it."""

    lr: Positive
    momentum: Fraction
    weight_decay: NonNegative
    delta: Positive
    delta_r: Positive


class Section(Spec):
    """The `renofeation` part of the config.

    source: the data set that networks without weights are trained on.
    networks: printed name -> network; the first is the one of all tables and figures but table 6.
    targets: printed name -> data set. categories: printed name -> the kind of task, for table 1.
    shares: parts of the training images in table 5. chosen_on: the split on which values are chosen.
    given: printed name -> values that are not chosen but given.
    evaluated_on: test is what is reported; validation is for choosing what no grid chooses (eps, a schedule).
    """

    source: str | None = None
    networks: Annotated[dict[str, Pretrained], Field(min_length=1)]
    targets: Annotated[dict[str, str], Field(min_length=1)]
    categories: dict[str, str] = {}  # noqa: RUF012 (pydantic copies it)
    schedules: Schedules
    grid: Grid
    lambdas: Lambdas
    given: dict[str, Given] = {}  # noqa: RUF012
    chosen_on: Literal["validation", "test"]
    head_penalty: NonNegative
    dropout: Fraction
    averaging: Averaging
    shares: Annotated[dict[str, Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1)]
    attack: FeatureAttack
    adversarial_training: TrainingAttack
    evaluated_on: Literal["test", "validation"] = "test"


def mistakes_in(settings: Settings, section: Section, known: list[str]) -> list[str]:
    """A sentence for each mistake that no single value shows. known: the sentences there are; names unknown to the
    config are added to it at once.
    """
    found: list[str] = []
    for name, pretrained in section.networks.items():
        look_up(pretrained.network, settings.networks, "network", f"{STUDY}.networks.{name}.network", known)
        if pretrained.weights is None and (section.source is None or section.schedules.source is None):
            found.append(
                f"{STUDY}.networks.{name}.weights: missing; give torchvision's name of the weights, or source and "
                "schedules.source to train the network here"
            )
    if section.source is not None:
        look_up(section.source, settings.datasets, "data set", f"{STUDY}.source", known)
    for name, target in section.targets.items():
        data = look_up(target, settings.datasets, "data set", f"{STUDY}.targets.{name}", known)
        wanting = [key for key in ("chosen_on", "evaluated_on") if getattr(section, key) == "validation"]
        if data and wanting and data.validation == 0:
            found.append(
                f"{STUDY}.{wanting[0]}: a validation split is wanted; set datasets.{target}.validation above 0, "
                "or name the test split"
            )
    for name in section.given:
        if name not in section.targets:
            found.append(f"{STUDY}.given.{name}: no such target; they are {', '.join(section.targets)}")
    return found
