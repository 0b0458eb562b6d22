"""Chen et al. 2021, "CARTL: Cooperative Adversarially-Robust Transfer Learning".

A source is trained adversarially; the last k blocks of it are fine-tuned on clean images of a target task, and what is
asked is how much robustness is left. CARTL trains the source with feature distance minimisation (FDM), for one k each,
and fine-tunes without expansion (NEFT). It stands against plain fine-tuning ("vanilla") and against learning without
forgetting (LwF, Shafahi et al. 2020). Every target model is attacked for itself.
"""

from collections.abc import Collection, Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field

from robust_transfer.models.families import FAMILIES
from robust_transfer.plan.config import Settings, each_once
from robust_transfer.plan.specs import (
    AnyAttack,
    Apgd,
    Augmentation,
    Count,
    FeatureDistance,
    FrozenStatistics,
    Head,
    Inputs,
    Last,
    Positive,
    Schedule,
    Spec,
    Spectral,
    Terms,
    TrainingAttack,
)
from robust_transfer.studies import extra, forgetting
from robust_transfer.studies.base import Cell, Data, Headline, Model, Numbers, Units, figure, in_row, placed, table
from robust_transfer.studies.checks import BroughtHere, DatasetName, NetworkName, Refers, TargetName
from robust_transfer.studies.extra import NONE, Paper, ours
from robust_transfer.studies.forgetting import Forgetting

SourceName = Annotated[str, Refers("source", section="sources")]
Entry = TypeVar("Entry")


Several = Annotated[list[Entry], Field(min_length=1), AfterValidator(each_once)]


class Source(Spec):
    """What is transferred from: a network, trained adversarially on a data set. Targets keep its normalisation."""

    data: DatasetName
    """Its data set."""
    network: NetworkName
    """Its network."""
    architecture: str
    """The network's printed name."""
    weights: BroughtHere | None = None
    """Where its weights come from, like {file: at.pt}; without them it is trained here. Those of feature distance
    minimisation are trained here in any case.
    """


class Pair(Spec):
    """A transfer."""

    source: SourceName
    """The source's printed name."""
    target: TargetName
    """The target's printed name."""

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"


class Scenario(Pair):
    """A transfer that fine-tunes the last k units."""

    k: Units
    """How many of the last units are fine-tuned."""


class Sweep(Pair):
    """A transfer with several k."""

    k: Several[Units]
    """Each number of last units that is fine-tuned."""


class Distance(Spec):
    """Feature distance minimisation."""

    weights: Several[Positive]
    """The lambdas of table 2."""
    weight: Positive
    """The lambda of CARTL everywhere else."""
    reduction: Literal["sum", "mean"]
    """How the distances of a batch's images are put together."""


class NonExpansive(Spec):
    """Non-expansive fine-tuning."""

    betas: Several[Annotated[Positive, Field(le=1)]]
    """The betas of table 2."""
    beta: Annotated[Positive, Field(le=1)]
    """The beta of CARTL everywhere else."""
    beta_alone: Annotated[Positive, Field(le=1)]
    """The beta of table 3's NEFT without FDM."""
    power_iterations: Count
    """Power iterations that estimate a spectral norm in each pass in training."""
    frozen_statistics: FrozenStatistics
    """Whether batch norm's running statistics stay in the frozen part, or are updated with the new data."""


class Baseline(Forgetting):
    """Learning without forgetting, what CARTL stands against."""

    weights: Several[Positive]
    """The lambda_d of figure 4."""
    weight: Positive | None = None
    """The lambda_d everywhere else; none chooses among `weights` for each transfer, by the mean of accuracy and
    robustness on validation images, and trains with it on all images.
    """


class LessData(Spec):
    """Figure 5: a part of the training images alone."""

    k: Units
    """How many of the last units are fine-tuned."""
    shares: Annotated[dict[str, Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1)]
    """Printed name -> the part of each class's training images that takes part."""


class Schedules(Spec):
    """How long and how fast each training goes."""

    source: Schedule
    """Adversarial training of the sources."""
    fine_tuning: Schedule
    """Vanilla transfer and NEFT."""


class Section(extra.Section):
    """The `cartl` part of the config.

    k counts units (see Last): 1 is the head, 2 the last batch norm, then residual blocks from the last to the first.
    """

    sources: Annotated[dict[str, Source], Field(min_length=1)]
    """Printed name -> source."""
    targets: Annotated[dict[str, DatasetName], Field(min_length=1)]
    """Printed name -> data set."""
    main: Pair
    """The transfer of tables 2 and 3 and of figures 4 and 5."""
    cases: Annotated[dict[str, Units], Field(min_length=1)]
    """Printed name -> k, for all of them but figure 5."""
    depths: Several[Sweep]
    """The transfers of figure 3."""
    batch_norm: Several[Scenario]
    """The transfers of table 1."""
    comparison: Several[Scenario]
    """The transfers of table 4."""
    less_data: LessData
    head: Literal["default", "uniform01"]
    """The new head's weights: PyTorch's default, or from U[0, 1)."""
    affine: Literal["train", "freeze"]
    """Whether batch norms' scale and shift train in the fine-tuned part; table 1 has both."""
    frozen_statistics: FrozenStatistics
    """Whether batch norm's running statistics stay in the frozen part of vanilla transfer, or are updated; table 1 has
    both.
    """
    fdm: Distance
    neft: NonExpansive
    lwf: Baseline
    schedules: Schedules
    augmentation: dict[DatasetName, Augmentation] = {}  # noqa: RUF012 (pydantic copies it)
    """Of training images, by data set; none unless given, and none for LwF."""
    adversarial_training: TrainingAttack
    """The attack that sources are trained against."""
    attack: AnyAttack
    """The attack that measures robustness."""

    @property
    def starts(self) -> tuple[str, ...]:
        return (*self.sources, NONE)

    @property
    def all_targets(self) -> dict[str, str]:
        return self.targets | self.extra.targets

    def printed(self) -> dict[str, Collection[str]]:
        return {"methods": METHODS, "attacks": ("Acc.", "Rob."), "targets": self.targets}

    def mistakes(self, settings: Settings) -> Iterator[str]:
        yield from super().mistakes(settings)
        for name, source in self.sources.items():
            network = settings.networks.get(source.network)
            if network and not network.averages_residuals:
                able = [family.tag() for family in FAMILIES if family.averages_residuals]
                yield (
                    f"sources.{name}.network: non-expansive fine-tuning averages in residual blocks, which "
                    f"{network.family} has not; name a network of {' or '.join(able)}"
                )
        if self.adversarial_training.algorithm == "free":
            yield (
                "adversarial_training.algorithm: the feature distance compares with examples that an attack made; "
                "write pgd or fgsm"
            )
        if self.attack.algorithm == "feature":
            yield "attack.algorithm: robustness is measured by an attack on the labels; write pgd or fgsm"


ACCURACY = {"metric": "accuracy", "label": "accuracy (%)"}
ROBUSTNESS = {"metric": "robustness", "label": "robustness (%)"}
METHODS = ("LwF", "Vanilla", "CARTL")


class Cartl(Paper[Section]):
    """Tables 1 to 4 and figures 3 to 5."""

    name, paper, decimals = "cartl", "Chen et al. 2021", 2
    Section = Section

    def headline(self) -> Headline:
        """The three methods in the first scenario of table 4."""
        row = self.row(self.section.comparison[0])
        return "table4", [(row, f"{method} {measure}") for method in METHODS for measure in ("Acc.", "Rob.")]

    def measured(self) -> str:
        attack = self.section.attack
        steps, restarts = (getattr(attack, count, 1) for count in ("steps", "restarts"))  # not every attack has them
        name = attack.algorithm.upper() + f"-{steps}" * (steps > 1) + f" with {restarts} restarts" * (restarts > 1)
        return f"robustness is accuracy under {name} on the model itself, eps {attack.eps:.4g}"

    # ---- methods -----------------------------------------------------------------------------------------------------

    def source(self, name: str, k: Last | None = None, weight: float | None = None) -> Model:
        """A source, trained adversarially (Madry et al. 2018); with k and lambda also by FDM for the last k units."""
        section, source = self.section, self.section.sources[name]
        if source.weights and k is None:
            network, own = self.network(source.network), self.data(source.data)
            return self.brought(network, f"sources.{name}.weights", source.weights, own=own)
        distance = FeatureDistance(weight=weight, units=k.last, reduction=section.fdm.reduction) if k else None
        return self.pretrained(
            self.data(source.data),
            self.network(source.network),
            section.schedules.source,
            inputs=Inputs(attack=section.adversarial_training, clean_weight=0),
            terms=Terms(feature_distance=distance),
            augmentation=section.augmentation.get(source.data),
        )

    def sources(self) -> Iterator[tuple[str, Model, AnyAttack]]:
        """The sources of plain adversarial training, and those of FDM that tables 2 and 3 compare with them."""
        section = self.section
        for name in section.sources:
            yield f"{name} AT", self.source(name), section.attack
        for k in {k.last: k for k in section.cases.values()}.values():  # cases may share a k
            model = self.source(section.main.source, k, section.fdm.weight)
            yield f"{section.main.source} AT + FDM (k = {k.last})", model, section.attack

    def target(self, pair: Pair) -> str:
        """The data set of a transfer's target."""
        return self.section.all_targets[pair.target]

    def vanilla(self, pair: Pair, k: Last, share: float = 1.0, source: Model | None = None, **parts: Any) -> Model:
        """Plain fine-tuning of the last k units (TL), of the plain source unless given. parts: of the recipe, in place
        of what the section says.
        """
        section, target = self.section, self.target(pair)
        given = {"affine": section.affine, "frozen_statistics": section.frozen_statistics}
        return self.transferred(
            self.data(target),
            source or self.source(pair.source),
            section.schedules.fine_tuning,
            head="new" if section.head == "default" else Head(weights=section.head),
            trainable=k,
            inputs=Inputs(share=share),
            augmentation=section.augmentation.get(target),
            **(given | parts),
        )

    def neft(self, pair: Pair, k: Last, beta: float, weight: float | None, share: float = 1.0) -> Model:
        """NEFT of the last k units; from a source of plain adversarial training, or of FDM with lambda `weight`."""
        neft = self.section.neft
        return self.vanilla(
            pair,
            k,
            share,
            self.source(pair.source, k, weight) if weight else None,
            spectral=Spectral(units=k.last, beta=beta, power_iterations=neft.power_iterations),
            frozen_statistics=neft.frozen_statistics,
        )

    def cartl(self, pair: Pair, k: Last, share: float = 1.0) -> Model:
        """FDM and NEFT with the section's lambda and beta."""
        return self.neft(pair, k, self.section.neft.beta, self.section.fdm.weight, share)

    def lwf(self, pair: Pair, weight: float | None = None, share: float = 1.0) -> Model:
        """Learning without forgetting of the whole network. weight: lambda_d, the section's unless given."""
        weight, inputs = weight or self.section.lwf.weight, Inputs(share=share)
        data = self.data(self.target(pair))
        if weight:
            return self.lwf_on(data, pair, weight, inputs=inputs)
        best, *_ = self.section.lwf.weights  # stands for the one that is chosen
        choice = self.best_lwf(pair).node
        return self.lwf_on(data, pair, best, inputs=inputs, tuned=["similarity"], tuned_by=choice)

    def lwf_on(self, data: Data, pair: Pair, weight: float, **parts: Any) -> Model:
        """Learning without forgetting with one lambda_d."""
        return forgetting.transferred(self, self.section.lwf, data, self.source(pair.source), weight, **parts)

    def best_lwf(self, pair: Pair) -> Model:
        """Of all lambda_d the best on validation images, which none of them was trained on."""
        lwf, data = self.section.lwf, self.data(self.target(pair), held_out=True)
        candidates = [({"similarity": weight}, self.lwf_on(data, pair, weight)) for weight in lwf.weights]
        wanted_by = lwf, "weight", "0.005"
        return self.chosen(data, candidates, "validation", under=self.section.attack, wanted_by=wanted_by)

    def compared(self, scenario: Scenario, share: float = 1.0) -> dict[str, Model]:
        """The three methods, by their printed names."""
        k = scenario.k
        models = self.lwf(scenario, share=share), self.vanilla(scenario, k, share), self.cartl(scenario, k, share)
        return dict(zip(METHODS, models, strict=True))

    def own_methods(self, pair: Pair, **inputs: Any) -> dict[str, Model]:
        """The models of methods of one's own, but for those that start from another source; and, where no part of the
        images is asked for, those that are ready. inputs: see Paper.own.
        """
        data, source = self.data(self.target(pair)), self.source(pair.source)
        found = {
            name: self.own(method, data, source, **inputs)
            for name, method in self.section.extra.methods.items()
            if method.source(pair.source) == pair.source and (method.takes_all or not inputs)
        }
        return found if inputs else found | self.ready(pair.target, data)

    # ---- cells -------------------------------------------------------------------------------------------------------

    def numbers(self, model: Model) -> Numbers:
        """The numbers of a model, by what ends the names of their columns in tables."""
        paper = {"Acc.": self.accuracy(model), "Rob.": self.robustness(model, self.section.attack)}
        return paper | self.under_own(model)

    def columns(self, row: str, column: str, model: Model) -> Iterator[Cell]:
        """A table's cells of a model."""
        return in_row(row, self.numbers(model), f"{column} ")

    def points(self, row: str, column: str, model: Model) -> Iterator[Cell]:
        """A figure's cells of a model."""
        return placed(row, column, *self.numbers(model).values())

    def row(self, scenario: Scenario) -> str:
        """A row of table 4."""
        architecture = self.section.sources[scenario.source].architecture
        return f"{scenario.source} {scenario.target} {architecture} (k = {scenario.k.last})"

    def cases(self) -> str:
        """What the cases' names mean in this network."""
        section = self.section
        units = self.network(section.sources[section.main.source].network).units
        depths = ", ".join(str(k.last) for k in section.cases.values())
        return f"{', '.join(section.cases)}: the last {depths} of {units} units"

    # ---- tables and figures ------------------------------------------------------------------------------------------

    @table(
        1,
        "Frozen parts of batch norm: in the fine-tuned blocks (rows) and in the feature extractor (columns)",
        corner="Transfer",
        on="WRN 34-10 from CIFAR-100, WRN 28-4 from CIFAR-10",
    )
    def table1(self) -> Iterator[Cell]:
        """Vanilla transfer, with batch norm's parts frozen or not."""
        for scenario in self.section.batch_norm:
            for row, affine in (("-", "train"), ("W b", "freeze")):
                for column, statistics in (("W b", "update"), ("mu sigma W b", "freeze")):
                    model = self.vanilla(scenario, scenario.k, affine=affine, frozen_statistics=statistics)
                    yield from self.columns(f"{scenario} (k = {scenario.k.last}) {row}", column, model)

    @table(
        2,
        lambda self: f"CARTL on {self.section.main}: lambda of FDM, beta of NEFT, and k ({self.cases()})",
        corner="Case",
        on="CIFAR-100 -> CIFAR-10, WRN 34-10, k = 4, 6, 8",
    )
    def table2(self) -> Iterator[Cell]:
        """CARTL for every k, lambda and beta."""
        for case, k in self.section.cases.items():
            for weight in self.section.fdm.weights:
                for beta in self.section.neft.betas:
                    model = self.neft(self.section.main, k, beta, weight)
                    yield from self.columns(f"{case} lambda = {weight:g}", f"NEFT beta = {beta}", model)

    @table(
        3,
        lambda self: f"The parts of CARTL on {self.section.main} ({self.cases()})",
        corner="Method",
        on="CIFAR-100 -> CIFAR-10, WRN 34-10, k = 4, 6, 8",
    )
    def table3(self) -> Iterator[Cell]:
        """The parts of CARTL, one by one; beside the paper's attack auto-PGD on a loss that does not change with the
        scale of the logits, which NEFT makes small.
        """
        main, alone = self.section.main, self.section.neft.beta_alone
        attack = self.scale_free()
        for case, k in self.section.cases.items():
            models = {
                "AT TL": self.vanilla(main, k),
                "AT NEFT": self.neft(main, k, alone, None),
                "AT + FDM NEFT": self.cartl(main, k),
            }
            for row, model in models.items():
                yield from self.columns(row, case, model)
                classes = model.data.dataset.classes
                if not classes or len(classes) >= attack.fewest_classes:
                    yield from ours(placed(row, f"{case} Rob. (auto-PGD)", self.robustness(model, attack)))

    def scale_free(self) -> Apgd:
        """Auto-PGD with the difference of logits ratio, of the budget of the section's attack."""
        given = self.section.attack
        return Apgd(algorithm="apgd", loss="dlr", norm=given.norm, eps=given.eps, steps=getattr(given, "steps", 100))

    @table(4, "Learning without forgetting, vanilla transfer and CARTL", corner="Transfer")
    def table4(self) -> Iterator[Cell]:
        """LwF, vanilla and CARTL in several scenarios."""
        for scenario in self.section.comparison:
            for method, model in self.compared(scenario).items():
                yield from self.columns(self.row(scenario), method, model)
            for method, model in self.own_methods(scenario).items():
                yield from ours(self.columns(self.row(scenario), method, model))
        for target in self.section.extra.targets:
            scenario = self.main_on(target)
            for method, model in (self.compared(scenario) | self.own_methods(scenario)).items():
                yield from ours(self.columns(self.row(scenario), method, model))
        compared = [scenario.target for scenario in self.section.comparison]
        for target, data in self.section.targets.items():
            ready = self.ready(target, self.data(data)) if target not in compared else {}
            for name, model in ready.items():
                yield from ours(self.columns(self.row(self.main_on(target)), name, model))

    @figure(
        3,
        "curves",
        "Vanilla transfer of robust networks",
        panels="row",
        metrics=lambda self: [
            ACCURACY | {"label": "accuracy"},
            ROBUSTNESS | {"label": "robustness"},
            *self.axes_of_own("robustness", "robustness under {}"),
        ],
        x="fine-tuned blocks k",
        y={"label": "per cent", "limits": [0, 100]},
    )
    def figure3(self) -> Iterator[Cell]:
        """Accuracy and robustness of vanilla transfer along k, a panel a scenario."""
        for sweep in self.section.depths:
            for k in sweep.k:
                yield from self.points(str(sweep), str(k.last), self.vanilla(sweep, k))

    @figure(
        4,
        "tradeoff",
        lambda self: f"Robustness and accuracy on {self.section.main}",
        x=ACCURACY,
        y=ROBUSTNESS,
        sweep="k of CARTL and vanilla, lambda_d of LwF",
    )
    def figure4(self) -> Iterator[Cell]:
        """Robustness against accuracy: CARTL and vanilla along k, LwF along lambda_d."""
        main, depths = self.section.main, {k.last: k for k in self.section.cases.values()}
        for k in depths.values():
            yield from self.both("CARTL", str(k.last), self.cartl(main, k))
        for weight in self.section.lwf.weights:
            yield from self.both("LwF", f"{weight:g}", self.lwf(main, weight))
        for k in depths.values():
            yield from self.both("Vanilla", str(k.last), self.vanilla(main, k))
        for method, model in self.own_methods(main).items():
            yield from ours(self.both(method, method, model))

    def both(self, row: str, column: str, model: Model) -> Iterator[Cell]:
        """A model's accuracy and robustness in a place of figure 4."""
        return placed(row, column, self.accuracy(model), self.robustness(model, self.section.attack))

    def main_on(self, target: str) -> Scenario:
        """The main source and the k of figure 5 on a target."""
        return Scenario(source=self.section.main.source, target=target, k=self.section.less_data.k)

    def shares(self) -> dict[str, float]:
        """The parts of the training images in figure 5."""
        return self.section.less_data.shares | {"100%": 1.0}

    @figure(
        5,
        "curves",
        lambda self: f"A part of the training images of {self.section.main} (k = {self.section.less_data.k.last})",
        metrics=lambda self: [ACCURACY, ROBUSTNESS, *self.axes_of_own("robustness", "robustness under {} (%)")],
        x="training images (%)",
        values=lambda self: {column: 100 * share for column, share in self.shares().items()},
        scale="log",
    )
    def figure5(self) -> Iterator[Cell]:
        """The three methods on parts of the training images, and on all."""
        scenario = self.main_on(self.section.main.target)
        for column, share in self.shares().items():
            for row, model in self.compared(scenario, share).items():
                yield from self.points(row, column, model)
            for row, model in self.own_methods(scenario, share=share).items():
                yield from ours(self.points(row, column, model))
