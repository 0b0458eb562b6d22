"""The `vaishnavi` part of the config, and what can be wrong with it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from robust_transfer.plan.config import Settings, look_up
from robust_transfer.plan.specs import (
    AnyNormalise,
    Apgd,
    Consistency,
    Contrastive,
    Count,
    Pgd,
    Schedule,
    Smoothing,
    Spec,
)

STUDY = "vaishnavi"

Start = Literal["ST", "AT", "CR", "SimCLR"]
"""How a source was trained: by standard training, adversarial training, consistency regularisation, without labels."""


class Brought(Spec):
    """A source that is not trained here.

    weights: torchvision's name. file, sha256: a state dict with torchvision's keys, in data_root/weights.
    """

    weights: str | None = None
    file: str | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="after")
    def _one_origin(self):
        if (self.weights is None) == (self.file is None):
            raise ValueError("weights: give either torchvision's name of the weights, or file and sha256")
        if (self.file is None) != (self.sha256 is None):
            raise ValueError("sha256: file and sha256 go together")
        return self


class Target(Spec):
    """A target task.

    data: its data set. normalise: takes the place of the network's own normalisation on this task. per_class: so many
    training images of each class take part; all unless given.
    """

    data: str
    normalise: AnyNormalise | None = None
    per_class: Count | None = None


class Schedules(Spec):
    """ST, AT, CR, SimCLR: of the sources that are trained here. empirical, certified: of the targets, by adversarial
    training and by consistency regularisation. last_layer: of the head alone, by standard training.
    """

    ST: Schedule | None = None
    AT: Schedule | None = None
    CR: Schedule | None = None
    SimCLR: Schedule | None = None
    empirical: Schedule
    certified: Schedule
    last_layer: Schedule


class Section(Spec):
    """The `vaishnavi` part of the config.

    source: the data set of the sources that are trained here. network: of sources and targets.
    brought: the sources that are not trained here.
    targets: printed name -> task. compared: those of tables 4 and 5.
    smoothing: at certification; its sigma is that of the noise in training as well.
    contrastive: None is for where SimCLR's source is brought.
    frozen_statistics: of batch norms where the last layer alone is trained.
    evaluated_on: test is what is reported; validation is for choosing eps, sigma and schedules.
    """

    source: str | None = None
    network: str
    brought: dict[Start, Brought] = {}  # noqa: RUF012 (pydantic copies it)
    targets: Annotated[dict[str, Target], Field(min_length=1)]
    compared: Annotated[list[str], Field(min_length=1)]
    adversarial_training: Pgd
    consistency: Consistency
    contrastive: Contrastive | None = None
    attack: Annotated[Pgd | Apgd, Field(discriminator="algorithm")]
    smoothing: Smoothing
    frozen_statistics: Literal["hold", "drift"]
    schedules: Schedules
    evaluated_on: Literal["test", "validation"] = "test"


def mistakes_in(settings: Settings, section: Section, known: list[str]) -> list[str]:
    """A sentence for each mistake that no single value shows. known: the sentences there are; names unknown to the
    config are added to it at once.
    """
    found: list[str] = []
    look_up(section.network, settings.networks, "network", f"{STUDY}.network", known)
    if section.source is not None:
        look_up(section.source, settings.datasets, "data set", f"{STUDY}.source", known)
    for start in ("ST", "AT", "CR", "SimCLR"):
        if start in section.brought:
            continue
        if section.source is None:
            found.append(
                f"{STUDY}.brought.{start}: missing; say where the source comes from, or name {STUDY}.source to train it"
            )
        elif getattr(section.schedules, start) is None:
            found.append(f"{STUDY}.schedules.{start}: missing; this source is trained here")
    if "SimCLR" not in section.brought and section.contrastive is None:
        found.append(f"{STUDY}.contrastive: missing; SimCLR's source is trained here")
    for name in section.compared:
        if name not in section.targets:
            found.append(f"{STUDY}.compared: no target {name!r}; they are {', '.join(section.targets)}")
    wanting = _wants_validation(section)
    for name, target in section.targets.items():
        data = look_up(target.data, settings.datasets, "data set", f"{STUDY}.targets.{name}.data", known)
        if data and wanting and data.validation == 0:
            found.append(
                f"{wanting}: a validation split is wanted; set datasets.{target.data}.validation above 0, or name the "
                "test split"
            )
    return found


def _wants_validation(section: Section) -> str | None:
    """The key for whose sake every target needs a validation split."""
    if section.evaluated_on == "validation":
        return f"{STUDY}.evaluated_on"
    for name in ("empirical", "certified", "last_layer"):
        schedule = getattr(section.schedules, name)
        if schedule.decay == "plateau" and schedule.watch == "validation":
            return f"{STUDY}.schedules.{name}.watch"
    return None
