"""The `cartl` part of the config, and what can be wrong with it."""

from collections.abc import Iterator
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field

from robust_transfer.plan.config import Settings, look_up
from robust_transfer.plan.specs import (
    AnyAttack,
    Augmentation,
    Count,
    Positive,
    Schedule,
    Spec,
    Spectral,
    TrainingAttack,
)

STUDY = "cartl"
AVERAGING = ("wide-resnet", "cifar-resnet")
"""Families whose residual blocks can average shortcut and branch."""

Entry = TypeVar("Entry")


def _each_once(entries: list) -> list:
    if any(entry in entries[:place] for place, entry in enumerate(entries)):
        raise ValueError("an entry stands here twice; take one away")
    return entries


Several = Annotated[list[Entry], Field(min_length=1), AfterValidator(_each_once)]


class Source(Spec):
    """What is transferred from: a network, trained adversarially on a data set. Targets keep its normalisation.

    architecture: the network's printed name.
    """

    data: str
    network: str
    architecture: str


class Pair(Spec):
    """A transfer, by the printed names of source and target."""

    source: str
    target: str


class Scenario(Pair):
    """A transfer that fine-tunes the last k units."""

    k: Count


class Sweep(Pair):
    """A transfer with several k."""

    k: Several[Count]


class Distance(Spec):
    """Feature distance minimisation. weights: the lambdas of table 2; weight: that of CARTL everywhere else."""

    weights: Several[Positive]
    weight: Positive
    reduction: Literal["sum", "mean"]


class NonExpansive(Spec):
    """Non-expansive fine-tuning. betas: those of table 2; beta: that of CARTL everywhere else."""

    betas: Several[Annotated[Positive, Field(le=1)]]
    beta: Annotated[Positive, Field(le=1)]
    power_iterations: Count
    frozen_statistics: Literal["hold", "drift"]

    def spectral(self, k: int, beta: float) -> Spectral:
        """For the last k units."""
        return Spectral(units=k, beta=beta, power_iterations=self.power_iterations)


class Forgetting(Spec):
    """Learning without forgetting. weights: the lambda_d of figure 4; weight: the one everywhere else."""

    weights: Several[Positive]
    weight: Positive
    norm: Literal["l1", "l2"]
    affine: Literal["train", "freeze"]
    trained_statistics: Literal["hold", "move"]


class LessData(Spec):
    """Figure 5: k, and printed name -> the part of each class's training images that takes part."""

    k: Count
    shares: Annotated[dict[str, Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1)]


class Schedules(Spec):
    """source: adversarial training. fine_tuning: vanilla and NEFT. lwf: learning without forgetting."""

    source: Schedule
    fine_tuning: Schedule
    lwf: Schedule


class Section(Spec):
    """The `cartl` part of the config.

    k counts units (see Last): 1 is the head, 2 the last batch norm, then residual blocks from the last to the first.

    sources, targets: by printed names.
    main: the transfer of tables 2 and 3 and of figures 4 and 5. cases: printed name -> k, for all of them but figure 5.
    depths: figure 3. batch_norm: table 1. comparison: table 4. less_data: figure 5.
    head: the new head's weights: PyTorch's default, or from U[0, 1).
    affine: whether batch norms' scale and shift train in the fine-tuned part; frozen_statistics: whether their
        statistics stay in the frozen part of vanilla transfer. Table 1 has both of each.
    augmentation: of training images, by data set; none unless given, and none for LwF, whose source features are those
        of the images as they are.
    evaluated_on: test is what is reported; validation is for choosing values (eps, a schedule).
    """

    sources: Annotated[dict[str, Source], Field(min_length=1)]
    targets: Annotated[dict[str, str], Field(min_length=1)]
    main: Pair
    cases: Annotated[dict[str, Count], Field(min_length=1)]
    depths: Several[Sweep]
    batch_norm: Several[Scenario]
    comparison: Several[Scenario]
    less_data: LessData
    head: Literal["default", "uniform01"]
    affine: Literal["train", "freeze"]
    frozen_statistics: Literal["hold", "drift"]
    fdm: Distance
    neft: NonExpansive
    lwf: Forgetting
    schedules: Schedules
    augmentation: dict[str, Augmentation] = {}  # noqa: RUF012 (pydantic copies it)
    adversarial_training: TrainingAttack
    attack: AnyAttack
    evaluated_on: Literal["test", "validation"] = "test"

    def transfers(self) -> Iterator[tuple[str, Pair, list[int]]]:
        """Every transfer: its key in the config, source and target, and all its k."""
        yield "main", self.main, [*self.cases.values(), self.less_data.k]
        for i, sweep in enumerate(self.depths):
            yield f"depths[{i}]", sweep, sweep.k
        for name in ("batch_norm", "comparison"):
            for i, scenario in enumerate(getattr(self, name)):
                yield f"{name}[{i}]", scenario, [scenario.k]


def mistakes_in(settings: Settings, section: Section, known: list[str]) -> list[str]:
    """A sentence for each mistake that no single value shows. known: the sentences there are; names unknown to the
    config are added to it at once.
    """
    found: list[str] = []
    data_of = {}
    for name, source in section.sources.items():
        path = f"{STUDY}.sources.{name}"
        data_of[f"sources.{name}.data"] = source.data
        look_up(source.data, settings.datasets, "data set", f"{path}.data", known)
        network = look_up(source.network, settings.networks, "network", f"{path}.network", known)
        if network and network.family not in AVERAGING:
            found.append(
                f"{path}.network: non-expansive fine-tuning averages in residual blocks, which {network.family} has "
                f"not; name a network of {' or '.join(AVERAGING)}"
            )
    for name, target in section.targets.items():
        data_of[f"targets.{name}"] = target
        look_up(target, settings.datasets, "data set", f"{STUDY}.targets.{name}", known)
    for name in section.augmentation:
        look_up(name, settings.datasets, "data set", f"{STUDY}.augmentation.{name}", known)
    for key, pair, depths in section.transfers():
        source = look_up(pair.source, section.sources, "source", f"{STUDY}.{key}.source", known)
        look_up(pair.target, section.targets, "target", f"{STUDY}.{key}.target", known)
        network = settings.networks.get(source.network) if source else None
        for k in depths if network else ():
            if k > network.units:
                found.append(
                    f"{STUDY}.{key}: the last {k} units are wanted, but the network of {pair.source} has "
                    f"{network.units}; lower k"
                )
    wanting = [f"schedules.{name}.select" for name, value in section.schedules if value.select == "best_validation"]
    wanting += ["evaluated_on"] if section.evaluated_on == "validation" else []
    for key, name in data_of.items():
        data = settings.datasets.get(name)
        if data and data.validation == 0 and wanting:
            found.append(
                f"{STUDY}.{wanting[0]}: a validation split is wanted, and {STUDY}.{key} has none; set "
                f"datasets.{name}.validation above 0, or write last or test there"
            )
    if section.adversarial_training.algorithm == "free":
        found.append(
            f"{STUDY}.adversarial_training.algorithm: the feature distance compares with examples that an attack made; "
            "write pgd or fgsm"
        )
    if section.attack.algorithm == "feature":
        found.append(f"{STUDY}.attack.algorithm: robustness is measured by an attack on the labels; write pgd or fgsm")
    return found
