"""Vaishnavi et al., "A Study of the Effects of Transfer Learning on Adversarial Robustness".

Every target model is trained robustly, adversarially (empirical robustness, auto-PGD) or by consistency regularisation
(certified robustness, randomised smoothing), from random weights or from a source that was trained robustly, by
standard training, or without labels.

Table 1 of the paper sums up the literature in words and is not made. Square, which the authors' script runs after
auto-PGD and the text does not name, is not run. The table `standard` is an experiment that section 4.2 tells of.
"""

from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import Field

from robust_transfer.plan.config import Settings
from robust_transfer.plan.graph import Node
from robust_transfer.plan.specs import (
    AnyAttack,
    AnyNormalise,
    Apgd,
    Consistency,
    Contrastive,
    Count,
    FrozenStatistics,
    Inputs,
    Pgd,
    Schedule,
    Smoothing,
    Spec,
    Terms,
)
from robust_transfer.studies import extra
from robust_transfer.studies.base import Cell, Headline, Model, Numbers, figure, in_row, is_ours, shows, table
from robust_transfer.studies.checks import BroughtHere, DatasetName, NetworkName, TargetName
from robust_transfer.studies.extra import NONE, Method, Paper, ours, ours_too

Start = Literal["ST", "AT", "CR", "SimCLR"]
"""How a source was trained: by standard training, adversarial training, consistency regularisation, without labels."""


class Target(Spec):
    """A target task."""

    data: DatasetName
    """Its data set."""
    normalise: AnyNormalise | None = None
    """Takes the place of the network's own normalisation on this task."""
    per_class: Count | None = None
    """So many training images of each class take part; all unless given."""
    certified: Count | None = None
    """Takes the place of smoothing.images on this task."""


class Schedules(Spec):
    """How long and how fast each training goes."""

    ST: Schedule | None = None
    """The source by standard training, where it is trained here."""
    AT: Schedule | None = None
    """The source by adversarial training, where it is trained here."""
    CR: Schedule | None = None
    """The source by consistency regularisation, where it is trained here."""
    SimCLR: Schedule | None = None
    """The source without labels, where it is trained here."""
    empirical: Schedule
    """The targets by adversarial training."""
    certified: Schedule
    """The targets by consistency regularisation."""
    last_layer: Schedule
    """The head alone, or the whole network, by standard training."""


class Section(extra.Section):
    """The `vaishnavi` part of the config."""

    source: DatasetName | None = None
    """The data set of the sources that are trained here."""
    network: NetworkName
    """The network of sources and targets."""
    brought: dict[Start, BroughtHere] = {}  # noqa: RUF012 (pydantic copies it)
    """The sources that are not trained here."""
    targets: Annotated[dict[str, Target], Field(min_length=1)]
    """Printed name -> task."""
    compared: Annotated[list[TargetName], Field(min_length=1)]
    """The targets of tables 4 and 5."""
    adversarial_training: Pgd
    """The attack that models are trained against."""
    consistency: Consistency
    """The consistency regularisation of certified training."""
    contrastive: Contrastive | None = None
    """The training of SimCLR's source; none where that is brought."""
    attack: Annotated[Pgd | Apgd, Field(discriminator="algorithm")]
    """The attack that measures robustness."""
    smoothing: Smoothing
    """The certification; its sigma is that of the noise in training as well."""
    frozen_statistics: FrozenStatistics
    """Whether batch norm's running statistics stay where the last layer alone is trained, or are updated."""
    schedules: Schedules

    @property
    def starts(self) -> tuple[str, ...]:
        return (*get_args(Start), NONE)

    @property
    def all_targets(self) -> dict[str, str]:
        return {name: target.data for name, target in self.targets.items()} | self.extra.targets

    def printed(self) -> dict[str, Collection[str]]:
        methods = (*get_args(Start), RANDOM, *PRETRAINED)
        return {"methods": methods, "attacks": SMOOTHED, "targets": self.targets}

    def mistakes(self, settings: Settings) -> Iterator[str]:
        yield from super().mistakes(settings)
        for start in (start for start in get_args(Start) if start not in self.brought):
            if self.source is None:
                yield f"brought.{start}: missing; say where the source comes from, or name vaishnavi.source to train it"
            elif getattr(self.schedules, start) is None:
                yield f"schedules.{start}: missing; this source is trained here"
        if "SimCLR" not in self.brought and self.contrastive is None:
            yield "contrastive: missing; SimCLR's source is trained here"


RANDOM, SUPERVISED, SELF_SUPERVISED = "Random Init.", "Sup. Pre-Training", "Self-Sup. Pre-Training"
PRETRAINED = (SUPERVISED, SELF_SUPERVISED)
EMPIRICAL: dict[str, Start | None] = {RANDOM: None, SUPERVISED: "AT", SELF_SUPERVISED: "SimCLR"}
CERTIFIED: dict[str, Start | None] = {RANDOM: None, SUPERVISED: "CR", SELF_SUPERVISED: "SimCLR"}
SMOOTHED = {"SA": "smoothed_accuracy", "RA": "certified_accuracy_0.5", "ACR": "average_certified_radius"}
"""What tables show of certificates; the radius at which RA counts is the paper's, at every scale."""
PLAIN = {
    "SA": "unsmoothed_accuracy",
    "RA": "unsmoothed_certified_accuracy_0.5",
    "ACR": "unsmoothed_average_certified_radius",
}
"""The same of a classifier that is not smoothed, on the images that are certified where it is."""
PAPER = "Vaishnavi et al."
FROM_PAPER = f"From the numbers in {PAPER}, Table"
LAST_LAYER = "Certified Last Layer alone"


def improvements_figure(
    number: int, kind: str, starts: dict[str, Start | None], columns: list[str], **caption: Any
) -> Callable:
    """A figure of the table of the same number, measured, or as printed where the whole caption is given: improvements
    of robustness against those of SA, a panel for each start and measure.
    """
    printed, name = "caption" in caption, f"table{number}"
    title = f"What pre-training adds to {kind} robustness"

    def panels(self: "Vaishnavi") -> list[dict[str, Any]]:
        own = {} if printed else {name: f"{name} *" for name in self.own_methods(kind)}
        attacks = {} if printed or kind == "certified" else {name: f"{name} *" for name in self.section.extra.attacks}
        return [
            {
                "title": titled,
                "x": [f"{RANDOM} SA", f"{start} SA"],
                "y": [f"{RANDOM} {column}", f"{start} {column}"],
                "x_label": "improvement of SA (%)",
                "y_label": f"improvement of {shown} (%)",
            }
            for start, titled in ({start: starts[start] for start in PRETRAINED} | own).items()
            for column, shown in ({column: column for column in columns} | attacks).items()
        ]

    def cells(self: "Vaishnavi") -> list[Cell]:
        return self.printed(name) if printed else list(self.by_start(kind, starts, getattr(self, kind)))

    named = (f"fig{number}_published", f"{title}, as published") if printed else (number, title)
    return figure(named[0], "regression", named[1], panels=panels, **caption)(cells)


class Vaishnavi(Paper[Section]):
    """Tables 2 to 5, the mean improvements, figures 2 and 3 as measured and as printed."""

    name, paper, measured_on = "vaishnavi", PAPER, "ImageNet -> target, ResNet-50"
    decimals = {SMOOTHED["ACR"]: 3, PLAIN["ACR"]: 3}  # noqa: RUF012 (nobody changes it)
    Section = Section

    def headline(self) -> Headline:
        """The mean improvements of robustness, and what is left of it where the last layer alone is trained."""
        rows = [f"{kind} {start}" for kind in ("Empirical", "Certified") for start in PRETRAINED]
        return "improvements", [*((row, column) for row in rows for column in ("SA", "RA")), (LAST_LAYER, "SA")]

    # ---- captions ----------------------------------------------------------------------------------------------------

    def measured(self) -> str:
        return self.scene(self.section.source, *self.section.targets)

    def empirically(self) -> str:
        """What the captions of attacked models say."""
        return f"{self.measured()}, {attack_in_words(self.section.attack)}"

    def certifiedly(self) -> str:
        """What those of smoothed models say."""
        return f"{self.measured()}, {smoothing_in_words(self.section.smoothing)}"

    def both_ways(self) -> str:
        """What those of both say."""
        return f"{self.empirically()}, {smoothing_in_words(self.section.smoothing)}"

    # ---- models ------------------------------------------------------------------------------------------------------

    def source(self, start: Start) -> Model:
        """A network to transfer from: brought, or trained on the source data set."""
        section, network = self.section, self.network(self.section.network)
        if brought := section.brought.get(start):
            return self.brought(network, f"brought.{start}", brought)
        parts = {
            "ST": {},
            "AT": self.adversarially(),
            "CR": self.consistently(),
            "SimCLR": {"terms": Terms(contrastive=section.contrastive)},
        }[start]
        assert section.source  # without it mistakes() refuses the section
        return self.pretrained(self.data(section.source), network, getattr(section.schedules, start), **parts)

    def sources(self) -> Iterator[tuple[str, Model, AnyAttack]]:
        """The networks to transfer from, but for SimCLR, which learns no classes."""
        starts: tuple[Start, ...] = ("ST", "AT", "CR")
        for start in starts:
            yield start, self.source(start), self.section.attack

    def adversarially(self) -> dict[str, Any]:
        """The parts of a recipe of adversarial training."""
        return {"inputs": Inputs(attack=self.section.adversarial_training, clean_weight=0)}

    def consistently(self) -> dict[str, Any]:
        """The parts of a recipe of consistency regularisation."""
        noise = self.section.smoothing.sigma
        return {"inputs": Inputs(noise=noise), "terms": Terms(consistency=self.section.consistency)}

    def fitted(self, target: str, start: Start | None, schedule: Schedule, **parts: Any) -> Model:
        """A model of a target task; from random weights where there is no start."""
        task = self.targets[target]
        inputs = parts.pop("inputs", Inputs()).with_(per_class=task.per_class)
        if start:
            own = {"normalise": task.normalise, "inputs": inputs}
            return self.transferred(self.data(task.data), self.source(start), schedule, **own, **parts)
        own = {"normalise": task.normalise} if task.normalise else {}
        network = self.network(self.section.network).with_(**own)
        return self.pretrained(self.data(task.data), network, schedule, inputs=inputs, **parts)

    # ---- what is not the paper's -------------------------------------------------------------------------------------

    @cached_property
    def targets(self) -> dict[str, Target]:
        """The paper's tasks and one's own."""
        own = {name: Target(data=data) for name, data in self.section.extra.targets.items()}
        return self.section.targets | own

    def own_methods(self, kind: str) -> dict[str, Method]:
        """Methods of one's own: certified those that train on noise, for smoothing, empirical all others."""
        found = self.section.extra.methods.items()
        return {name: method for name, method in found if bool(method.recipe.inputs.noise) == (kind == "certified")}

    def own_numbers(self, kind: str, name: str, target: str) -> Numbers:
        """Those of a method of one's own, by default from the kind's own source."""
        method, task = self.section.extra.methods[name], self.targets[target]
        source = self.source(cast(Start, method.source({"empirical": "AT", "certified": "CR"}[kind])))
        model = self.own(method, self.data(task.data), source, task.normalise, per_class=task.per_class)
        numbers = self.attacked_numbers(model) if kind == "empirical" else self.smoothed(model, target)
        return {column: ours_too(number) for column, number in numbers.items()}

    def ready_numbers(self, target: str) -> dict[str, Numbers]:
        """Those of the ready models of a target, under the attacks."""
        models = self.ready(target, self.data(self.targets[target].data))
        return {
            name: {column: ours_too(number) for column, number in self.attacked_numbers(model).items()}
            for name, model in models.items()
        }

    # ---- cells -------------------------------------------------------------------------------------------------------

    def empirical(self, target: str, start: Start | None) -> Numbers:
        """Those of the whole network, trained adversarially."""
        return self.attacked_numbers(
            self.fitted(target, start, self.section.schedules.empirical, **self.adversarially())
        )

    def attacked_numbers(self, model: Model) -> Numbers:
        """Those of an attacked model."""
        attacked = shows("accuracy", outcomes=self.attacked(model, self.section.attack))
        return {"SA": self.accuracy(model), "RA": attacked} | self.under_own(model, "accuracy")

    def certified(self, target: str, start: Start | None) -> Numbers:
        """Those of the whole network, trained by consistency regularisation, smoothed."""
        model = self.fitted(target, start, self.section.schedules.certified, **self.consistently())
        return self.smoothed(model, target)

    def last_layer(self, target: str) -> Model:
        """The head alone, by standard training, on features that were trained for smoothing and stay as they are."""
        section, parts = self.section, {"trainable": "head", "frozen_statistics": self.section.frozen_statistics}
        return self.fitted(target, "CR", section.schedules.last_layer, **parts)

    def wholly(self, target: str, start: Start) -> Model:
        """The whole network by standard training, from a robust source (section 4.2)."""
        return self.fitted(target, start, self.section.schedules.last_layer)

    def smoothed(self, model: Model, target: str) -> Numbers:
        """Those of a smoothed model of a task."""
        certificates = self.certificates_on(model, target)
        return {column: shows(metric, certificates=certificates) for column, metric in SMOOTHED.items()}

    def certificates_on(self, model: Model, target: str) -> Node:
        """The certificates of a model on as many of a task's images as that task wants."""
        images = self.targets[target].certified
        smoothing = self.section.smoothing
        return self.certificates(model, smoothing.with_(images=images) if images else smoothing)

    def by_start(
        self, kind: str, starts: dict[str, Start | None], numbers: Callable[[str, Start | None], Numbers]
    ) -> Iterator[Cell]:
        """A row a target, the columns of each start side by side."""
        for target in self.targets:
            for name, start in starts.items():
                yield from self.in_row(target, target, numbers(target, start), f"{name} ")
            for name in self.own_methods(kind):
                yield from in_row(target, self.own_numbers(kind, name, target), f"{name} ")

    def in_row(self, target: str, row: str, numbers: Numbers, prefix: str) -> Iterator[Cell]:
        """Numbers on a target, in a row."""
        return ours(in_row(row, numbers, prefix), target in self.section.extra.targets)

    @property
    def compared(self) -> list[str]:
        """The targets of tables 4 and 5."""
        return [*self.section.compared, *self.section.extra.targets]

    # ---- tables ------------------------------------------------------------------------------------------------------

    @table(2, "Pre-training for empirical robustness", corner="Target task", measured=empirically)
    def table2(self) -> Iterator[Cell]:
        """Adversarial training of all targets, from each start; and ready models."""
        yield from self.by_start("empirical", EMPIRICAL, self.empirical)
        for target in self.targets:
            for name, numbers in self.ready_numbers(target).items():
                yield from in_row(target, numbers, f"{name} ")

    @table(3, "Pre-training for certified robustness", corner="Target task", measured=certifiedly)
    def table3(self) -> Iterator[Cell]:
        """Consistency regularisation likewise."""
        return self.by_start("certified", CERTIFIED, self.certified)

    @table(4, "Robust and other pre-training", corner="Pre-training", measured=both_ways)
    def table4(self) -> Iterator[Cell]:
        """Both from every kind of source that they are compared for."""
        prefixes = {"empirical": "Empirical Robustness ", "certified": "Certified Robustness "}
        for target in self.compared:
            for start in ("ST", "SimCLR", "AT", "CR"):
                row = f"{target} {start}"
                if start != "CR":
                    yield from self.in_row(target, row, self.empirical(target, start), prefixes["empirical"])
                if start != "AT":
                    yield from self.in_row(target, row, self.certified(target, start), prefixes["certified"])
            for kind, prefix in prefixes.items():
                for name in self.own_methods(kind):
                    yield from in_row(f"{target} {name}", self.own_numbers(kind, name, target), prefix)
            for name, numbers in self.ready_numbers(target).items():
                yield from in_row(f"{target} {name}", numbers, prefixes["empirical"])

    @table(5, "The last layer alone, by standard training", corner="Task", measured=certifiedly)
    def table5(self) -> Iterator[Cell]:
        """On a source trained for smoothing; smoothed, and not."""
        for target in self.compared:
            model = self.last_layer(target)
            nodes = {"outcomes": self.clean(model), "certificates": self.certificates_on(model, target)}
            plain = {column: shows(metric, **nodes) for column, metric in PLAIN.items()}
            sigma = f"sigma = {self.section.smoothing.sigma:.4g} "
            yield from self.in_row(target, target, self.smoothed(model, target), sigma)
            yield from self.in_row(target, target, plain, "sigma = 0.0 ")

    @table(
        "standard",
        "The whole network, by standard training, from a robust source",
        corner="Task",
        where=None,
        measured=both_ways,
    )
    def standard(self) -> Iterator[Cell]:
        """What section 4.2 says of it in words: that such a network exhibits neither kind of robustness."""
        for target in self.compared:
            attacked, smoothed = self.wholly(target, "AT"), self.wholly(target, "CR")
            yield from self.in_row(target, target, self.attacked_numbers(attacked), "Empirical Robustness ")
            yield from self.in_row(target, target, self.smoothed(smoothed, target), "Certified Robustness ")

    @table(
        "improvements",
        "Mean improvement over random initialisation, in per cent of it",
        corner="Start",
        where="sections 3.2 and 3.3",
        measured=both_ways,
    )
    def improvements(self) -> Iterator[Cell]:
        """Improvements over random initialisation, in per cent of it and in the mean over targets, as the text says."""
        targets, compared = self.section.targets, self.section.compared
        for kind, starts, numbers in (
            ("Empirical", EMPIRICAL, self.empirical),
            ("Certified", CERTIFIED, self.certified),
        ):
            for name in PRETRAINED:
                pairs = [(numbers(target, None), numbers(target, starts[name])) for target in targets]
                yield from in_row(f"{kind} {name}", mean_improvements(pairs))
            for name in self.own_methods(kind.lower()):
                own = [(numbers(target, None), self.own_numbers(kind.lower(), name, target)) for target in targets]
                yield from in_row(f"{kind} {name}", mean_improvements(own))
        pairs = [(self.certified(target, None), self.smoothed(self.last_layer(target), target)) for target in compared]
        yield from in_row(LAST_LAYER, mean_improvements(pairs))

    # ---- figures -----------------------------------------------------------------------------------------------------

    figure2 = improvements_figure(2, "empirical", EMPIRICAL, ["RA"], measured=empirically)
    figure2_published = improvements_figure(2, "empirical", EMPIRICAL, ["RA"], caption=f"{FROM_PAPER} 2")
    figure3 = improvements_figure(3, "certified", CERTIFIED, ["RA", "ACR"], measured=certifiedly)
    figure3_published = improvements_figure(3, "certified", CERTIFIED, ["RA", "ACR"], caption=f"{FROM_PAPER} 3")


def attack_in_words(attack: Pgd | Apgd) -> str:
    """A caption's words for the attack."""
    runs = f"{attack.restarts} run{'s' * (attack.restarts > 1)} of {attack.steps} steps"
    name = {"apgd": "auto-PGD", "pgd": "PGD"}[attack.algorithm]
    return f"{name} ({attack.norm}, eps {attack.eps:.4g}, {runs})"


def smoothing_in_words(smoothing: Smoothing) -> str:
    """A caption's words for the certification; where n is not the paper's, with the largest radius that it allows."""
    theirs = smoothing.with_(n=Smoothing.model_fields["n"].default)
    largest = f" (so that no radius is over {smoothing.largest_radius:.4g}; {theirs.largest_radius:.4g} in the paper)"
    return (
        f"smoothed with sigma {smoothing.sigma:.4g}, n0 {smoothing.n0:,}, n {smoothing.n:,}"
        f"{'' if smoothing == theirs else largest}, alpha {smoothing.alpha:.4g}, on about {smoothing.images} evenly "
        "spaced images a task"
    )


def mean_improvements(pairs: list[tuple[Numbers, Numbers]]) -> Numbers:
    """The numbers that compare others: before and after, a pair a target."""
    return {
        column: _mean_improvement([(before[column], after[column]) for before, after in pairs])
        for column in pairs[0][0]
    }


def _mean_improvement(pairs: list[tuple[Cell, Cell]]) -> Cell:
    nodes = {
        f"{time}{i}": node
        for i, pair in enumerate(pairs)
        for time, cell in zip(("before", "after"), pair, strict=True)
        for node in cell["nodes"].values()
    }
    improvement = {"metric": f"mean_improvement_{pairs[0][0]['metric']}", "nodes": nodes}
    return ours_too(improvement, is_ours(pairs[0][1]))
