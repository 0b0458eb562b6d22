"""The `shafahi` part of the config, and what can be wrong with it."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from robust_transfer.plan.config import Settings, check_depth, look_up
from robust_transfer.plan.specs import (
    Augmentation,
    Count,
    Fraction,
    Free,
    Last,
    Pgd,
    Positive,
    Schedule,
    Spec,
    Trainable,
    WholeNumber,
)

STUDY = "shafahi"
Weights = Annotated[list[Positive], Field(min_length=1)]


class Halves(Spec):
    """Two data sets that share no class; `one` is transferred to the other and to itself."""

    one: str
    other: str


class Attacks(Spec):
    """training: PGD adversarial training. test: the attack that measures robustness."""

    training: Pgd
    test: Pgd


class Schedules(Spec):
    """source: natural and adversarial training. retraining: what is retrained on natural images, in table 2 and figure
    1. lwf: learning without forgetting.
    """

    source: Schedule
    retraining: Schedule
    lwf: Schedule


class Lambdas(Spec):
    """The lambda_d of table 4 (source to target), 5 (source to itself), 6 (one half to the other), 7 (target to
    itself).
    """

    transfer: Weights
    source: Weights
    halves: Weights
    target: Weights


class Forgetting(Spec):
    """Learning without forgetting. norm: of the features' difference. affine: whether batch norms' scale and shift
    train; their statistics never move.
    """

    norm: Literal["l1", "l2"]
    affine: Literal["train", "freeze"]
    lambdas: Lambdas


class Variant(Spec):
    """What an MLP head has after each of its hidden layers."""

    batch_norm: bool = False
    dropout: Fraction = 0.0


class Mlp(Spec):
    """Heads of several layers. layers: their numbers of hidden layers; width: neurons of each. variants: printed name
    -> form, from the robust source alone.
    """

    layers: Annotated[list[WholeNumber], Field(min_length=1)]
    width: Count
    variants: dict[str, Variant] = {}  # noqa: RUF012 (pydantic copies it)


class Gradients(Spec):
    """Input gradients. layers: hidden layers of the robust source's heads, a row each. images: how many, evenly spaced
    over the split.
    """

    layers: Annotated[list[WholeNumber], Field(min_length=1)]
    images: Count


class LargeAttacks(Spec):
    """free: "free" adversarial training, of the source and from scratch. fine_tuning: PGD training on the target.
    test: the attack that measures robustness, with the cross entropy and (CW) with the margin as its loss.
    """

    free: Free
    fine_tuning: Pgd
    test: Pgd


class LargeSchedules(Spec):
    """natural: of the natural source, where it is trained here. source: of the robust one. scratch: "free" training on
    a target. head: new heads on frozen features. fine_tuning: adversarial training that starts from the robust source.
    """

    natural: Schedule | None = None
    source: Schedule
    scratch: Schedule
    head: Schedule
    fine_tuning: Schedule


class Large(Spec):
    """Section 4.1 and all that rests on it: a large source data set, from which a natural and a "free" trained network
    are transferred.

    name, budget: the network's printed name, and that of the robust one's eps.
    weights: torchvision's, for the natural source; none trains it here.
    studied: the target of figures 3 to 5. per_class: training images a class in figure 3, beside all of them.
    fine_tuned: the part that adversarial fine-tuning trains.
    """

    name: str
    budget: str
    source: str
    network: str
    weights: str | None = None
    targets: Annotated[list[str], Field(min_length=1)]
    studied: str
    per_class: Annotated[list[Count], Field(min_length=1)]
    fine_tuned: Trainable
    mlp: Mlp
    gradients: Gradients
    attacks: LargeAttacks
    schedules: LargeSchedules


class Section(Spec):
    """The `shafahi` part of the config.

    source, target: CIFAR-100 and CIFAR-10 in the paper. names: data set -> printed name, its own unless given.
    network: of all but `large`.
    depths: k in figure 1, in units (see Last); every one unless given.
    augmentation: of figure 7.
    frozen_statistics: whether batch norm's statistics stay where the feature extractor is frozen.
    evaluated_on: test is what is reported; validation is for choosing values (eps, a schedule).
    """

    source: str
    target: str
    halves: Halves
    names: dict[str, str] = {}  # noqa: RUF012
    network: str
    depths: Annotated[list[Count], Field(min_length=1)] | None = None
    augmentation: Augmentation
    frozen_statistics: Literal["hold", "drift"]
    attacks: Attacks
    schedules: Schedules
    lwf: Forgetting
    large: Large
    evaluated_on: Literal["test", "validation"] = "test"

    def name(self, dataset: str) -> str:
        """The printed name of a data set."""
        return self.names.get(dataset, dataset)

    def measured_datasets(self) -> Iterator[tuple[str, str]]:
        """Key in the config and name of every data set that models are measured on."""
        yield from (("source", self.source), ("target", self.target))
        yield from (("halves.one", self.halves.one), ("halves.other", self.halves.other))
        yield from ((f"large.targets[{i}]", name) for i, name in enumerate(self.large.targets))


def mistakes_in(settings: Settings, section: Section, known: list[str]) -> list[str]:
    """A sentence for each mistake that no single value shows. known: the sentences there are; names unknown to the
    config are added to it at once.
    """
    found: list[str] = []
    for key, name in section.measured_datasets():
        data = look_up(name, settings.datasets, "data set", f"{STUDY}.{key}", known)
        if data and data.validation == 0 and section.evaluated_on == "validation":
            found.append(
                f"{STUDY}.evaluated_on: a validation split is wanted, and {STUDY}.{key} has none; set "
                f"datasets.{name}.validation above 0, or write test"
            )
    network = look_up(section.network, settings.networks, "network", f"{STUDY}.network", known)
    for k in (section.depths or ()) if network else ():
        check_depth(Last(last=k, of="units"), network, f"{STUDY}.depths", known)
    found += _mistakes_in_halves(settings, section.halves)
    found += _selecting_without_validation(settings, section)
    found += _mistakes_in_large(settings, section.large, known)
    return found


def _mistakes_in_halves(settings: Settings, halves: Halves) -> Iterator[str]:
    one, other = (settings.datasets.get(name) for name in (halves.one, halves.other))
    if one is None or other is None:
        return
    complement = one.model_copy(update={"half": other.half}).canonical() == other.canonical()
    halved = complement and {one.half, other.half} == {"first", "second"}
    if not halved and not (one.classes and other.classes and not {*one.classes} & {*other.classes}):
        yield (
            f"{STUDY}.halves: two data sets that share no class are wanted; set half: first and half: second in "
            f"datasets.{halves.one} and datasets.{halves.other} and all else alike, or give both their classes"
        )


def _selecting_without_validation(settings: Settings, section: Section) -> Iterator[str]:
    """Schedules that keep the best epoch, on a data set that has no validation split to tell it by."""
    large = section.large
    own = [section.source, section.target, section.halves.one, section.halves.other]
    trained_on = {f"schedules.{name}": (schedule, own) for name, schedule in section.schedules}
    for name, schedule in large.schedules:
        datasets = [large.source] if name in ("natural", "source") else large.targets
        trained_on[f"large.schedules.{name}"] = (schedule, datasets)
    for key, (schedule, datasets) in trained_on.items():
        for name in datasets:
            data = settings.datasets.get(name)
            if data and schedule and schedule.select == "best_validation" and data.validation == 0:
                yield (
                    f"{STUDY}.{key}.select: a validation split is wanted; set datasets.{name}.validation above 0, or "
                    "select: last"
                )


def _mistakes_in_large(settings: Settings, large: Large, known: list[str]) -> Iterator[str]:
    path = f"{STUDY}.large"
    look_up(large.source, settings.datasets, "data set", f"{path}.source", known)
    network = look_up(large.network, settings.networks, "network", f"{path}.network", known)
    check_depth(large.fine_tuned, network, f"{path}.fine_tuned", known)
    if large.studied not in large.targets:
        yield f"{path}.studied: {large.studied!r} is not among the targets {', '.join(large.targets)}"
    if large.weights is None and large.schedules.natural is None:
        yield (
            f"{path}.weights: missing; give torchvision's name of the natural source's weights, or schedules.natural "
            "to train it here"
        )
    if large.weights and network and network.family != "torchvision":
        yield f"{path}.weights: torchvision has weights for its own networks alone; take them away"
    if missing := sorted({*large.gradients.layers} - {*large.mlp.layers}):
        yield f"{path}.gradients.layers: {missing} are not among mlp.layers, {large.mlp.layers}; add them there"
