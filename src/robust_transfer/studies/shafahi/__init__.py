"""Shafahi et al. 2020, "Adversarially Robust Transfer Learning".

Robust networks have robust features. A new head on them, trained on natural images, inherits robustness; training all
of the network forgets it, unless a term keeps its features near the source's (learning without forgetting). Every model
is attacked for itself.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from operator import attrgetter
from typing import Any, cast

from robust_transfer.plan import build
from robust_transfer.plan.graph import Node
from robust_transfer.plan.specs import AnyAttack, Head, Inputs, Last, Pgd, Schedule, SplitName
from robust_transfer.studies import forgetting
from robust_transfer.studies.base import Cell, Headline, Model, Numbers, figure, grid, mean, placed, shows, table
from robust_transfer.studies.extra import Paper, ours
from robust_transfer.studies.shafahi.section import KINDS, WAYS, Kind, Section, Variant, attack_name

CLEAN = {"metric": "accuracy", "label": "accuracy on natural images (%)"}
UNTOUCHED, ALL = "untouched", "all"


def forgetting_table(number: int, title: str, source: str, target: str, lambdas: str) -> Callable:
    """A table of learning without forgetting. source, target: keys of the data sets; lambdas: of the values tried."""

    def cells(self: "Shafahi") -> Iterator[Cell]:
        of_source, of_target = (attrgetter(key)(self.section) for key in (source, target))
        return self.forgetting(of_source, of_target, getattr(self.section.lwf.lambdas, lambdas))

    return table(number, title, corner="Transfer")(cells)


class Shafahi(Paper[Section]):
    """Tables 1 to 7, and figures 1, 3, 4, 5 and 7; figures 2 and 6 are diagrams of the method.

    Data sets go by their names in the config.
    """

    name, paper, decimals, measured_on = "shafahi", "Shafahi et al. 2020", 2, "WRN 32-10"
    Section = Section

    def headline(self) -> Headline:
        """Learning without forgetting with the least and the largest lambda_d, on the target."""
        section, weights = self.section, self.section.lwf.lambdas.transfer
        rows = [self.lwf_row(section.source, section.target, weight) for weight in (min(weights), max(weights))]
        return "table4", [(row, column) for row in rows for column in ("val.", attack_name(section.attacks.test))]

    def measured(self) -> str:
        return shown_under(self.section.attacks.test)

    def measured_large(self) -> str:
        """What the captions of the large networks say."""
        return shown_under(self.section.large.attacks.test)

    # ---- sections 3, 4 and 6 -----------------------------------------------------------------------------------------

    def source(self, dataset: str, kind: Kind) -> Model:
        """A network of natural or of PGD adversarial training."""
        section = self.section
        if dataset == section.source and (brought := section.brought.get(kind)):
            return self.brought(self.network(section.network), f"brought.{kind}", brought, own=self.data(dataset))
        inputs = Inputs(attack=section.attacks.training, clean_weight=0) if kind == "robust" else Inputs()
        return self.pretrained(
            self.data(dataset), self.network(section.network), section.schedules.source, inputs=inputs
        )

    def sources(self) -> Iterator[tuple[str, Model, AnyAttack]]:
        """The small networks that tables 2 and 4 to 7 transfer, and the large ones of table 3."""
        section, large = self.section, self.section.large
        half = section.halves.one
        small = {section.name(name): name for name in (section.source, section.target)}
        for name, dataset in (small | {f"{section.name(half)} (50% of classes)": half}).items():
            for kind in KINDS:
                yield f"{name} {kind}", self.source(dataset, kind), section.attacks.test
        for kind in KINDS:
            yield f"{large.name} {section.name(large.source)} {kind}", self.large_source(kind), large.attacks.test

    def retrained(self, dataset: str, k: Last) -> Model:
        """The robust network of a data set, its last k units begun anew and trained on the same set's natural images
        (figure 1).
        """
        # The head is kept: it is among the units, and starts as its family does.
        parts = {"head": "keep", "reset": k, "trainable": k}
        return self.retrained_part(self.source(dataset, "robust"), dataset, **parts)

    def new_head(self, source: str, target: str, kind: Kind) -> Model:
        """A new head on frozen features, trained on natural images (Eq. 2)."""
        return self.retrained_part(self.source(source, kind), target, trainable="head")

    def retrained_part(self, start: Model, target: str, **parts: Any) -> Model:
        """A part of a network, trained on natural images."""
        section = self.section
        return self.transferred(
            self.data(target),
            start,
            section.schedules.retraining,
            frozen_statistics=section.frozen_statistics,
            **parts,
        )

    def lwf(self, source: str, target: str, weight: float) -> Model:
        """The robust network, trained on natural images with its features kept near what they were (Eq. 3)."""
        start = self.source(source, "robust")
        return forgetting.transferred(self, self.section.lwf, self.data(target), start, weight)

    # ---- section 4.1 and after ---------------------------------------------------------------------------------------

    def large_source(self, kind: Kind) -> Model:
        """The natural source or the one of "free" adversarial training, each brought or trained here."""
        large = self.section.large
        network = self.network(large.network)
        if kind == "natural" and large.weights:
            return self.brought(network, "large.weights", large.weights)
        if kind == "robust" and large.robust:
            return self.brought(network, "large.robust", large.robust)
        natural = kind == "natural"
        schedule = large.schedules.natural if natural else large.schedules.source
        assert schedule  # without it mistakes() refuses the section
        return self.pretrained(self.data(large.source), network, schedule, inputs=Inputs() if natural else self.free())

    def large_scratch(self, target: str, per_class: int | None = None) -> Model:
        """The target learnt by "free" adversarial training alone: u-ResNet in the paper."""
        large = self.section.large
        network, inputs = self.network(large.network), self.free(per_class)
        return self.pretrained(self.data(target), network, large.schedules.scratch, inputs=inputs)

    def large_new_head(
        self, target: str, kind: Kind, per_class: int | None = None, layers: int = 0, variant: Variant | None = None
    ) -> Model:
        """A new head on the large source's frozen features, linear or of hidden layers, trained on natural images."""
        large = self.section.large
        head = Head(hidden=[large.mlp.width] * layers, **(variant.model_dump() if variant else {})) if layers else "new"
        return self.transferred(
            self.data(target),
            self.large_source(kind),
            large.schedules.head,
            head=head,
            trainable="head",
            frozen_statistics=self.section.frozen_statistics,
            inputs=Inputs(per_class=per_class),
        )

    def large_fine_tuned(self, target: str, per_class: int | None = None) -> Model:
        """The robust source, adversarially trained on the target (Hendrycks et al. 2019)."""
        large = self.section.large
        return self.transferred(
            self.data(target),
            self.large_source("robust"),
            large.schedules.fine_tuning,
            trainable=large.fine_tuned,
            frozen_statistics=self.section.frozen_statistics if large.fine_tuned != "all" else "freeze",
            inputs=Inputs(attack=large.attacks.fine_tuning, clean_weight=0, per_class=per_class),
        )

    def free(self, per_class: int | None = None) -> Inputs:
        """What "free" adversarial training sees."""
        return Inputs(attack=self.section.large.attacks.free, clean_weight=0, per_class=per_class)

    def own_models(self, target: str, source: Callable[[Kind], Model], **inputs: Any) -> dict[str, Model]:
        """The models of methods of one's own. inputs: see Paper.own."""
        return {
            name: self.own(method, self.data(target), source(cast(Kind, method.source("robust"))), **inputs)
            for name, method in self.section.extra.methods.items()
            if method.takes_all or not inputs
        }

    # ---- words -------------------------------------------------------------------------------------------------------

    def lwf_row(self, source: str, target: str, weight: float) -> str:
        """`CIFAR-100+ -> CIFAR-10 robust lambda_d 0.1`."""
        trained = self.arrow(source, target, plus(self.section.lwf.schedule))
        return f"{trained} robust lambda_d {printed_number(weight)}"

    def own_plus(self, method: str) -> str:
        """The plus of a target of a method of one's own, or nothing."""
        return plus(self.section.extra.methods[method].recipe.schedule)

    def arrow(self, source: str, target: str, augmented: str) -> str:
        """`CIFAR-100+ -> CIFAR-10+`; augmented: the plus of the target, or nothing."""
        section, trained = self.section, plus(self.section.schedules.source)
        if source == section.halves.one:
            name = section.name(source)
            return f"{name}{trained} (1/2) -> {name}{augmented} (other 1/2)"
        return f"{section.name(source)}{trained} -> {section.name(target)}{augmented}"

    # ---- cells -------------------------------------------------------------------------------------------------------

    def numbers(self, model: Model) -> Numbers:
        """The two numbers of a small network."""
        return self.numbers_under(self.section.attacks.test, model)

    def numbers_under(self, attack: Pgd, model: Model) -> Numbers:
        """A model's clean accuracy, and under an attack on itself."""
        paper = {"val.": self.accuracy(model), attack_name(attack): self.robustness(model, attack)}
        return paper | self.under_own(model)

    # ---- tables ------------------------------------------------------------------------------------------------------

    @table(1, "Natural and adversarially trained networks", corner="Model")
    def table1(self) -> Iterator[Cell]:
        """The sources, and ready models on the same data sets."""
        section, datasets = self.section, (self.section.target, self.section.source)
        rows = (
            (f"{section.name(dataset)}{plus(section.schedules.source)} {kind}", self.source(dataset, kind))
            for dataset in datasets
            for kind in KINDS
        )
        ready = (
            (f"{section.name(dataset)} {name}", model)
            for dataset in dict.fromkeys(datasets)
            for name, model in self.ready(dataset, self.data(dataset)).items()
        )
        names = ["validation accuracy", f"accuracy against {attack_name(section.attacks.test)}", *section.extra.attacks]

        def numbers(model: Model) -> Numbers:
            return dict(zip(names, self.numbers(model).values(), strict=True))

        yield from grid(rows, numbers)
        yield from ours(grid(ready, numbers))

    @table(2, "New heads on frozen features", corner="Transfer")
    def table2(self) -> Iterator[Cell]:
        """To another task, to the other half of the classes, and to the same half."""
        section = self.section
        one, other = section.halves.one, section.halves.other
        half = section.name(one)
        transfers = {
            f"{section.name(section.source)} {section.name(section.target)}": (section.source, section.target),
            f"{half} (50% of classes) {half} (other 50% of classes)": (one, other),
            f"{half} (50% of classes) {half} (same 50% of classes)": (one, one),
        }
        for row, (source, target) in transfers.items():
            yield from grid(((f"{row} {kind}", self.new_head(source, target, kind)) for kind in KINDS), self.numbers)
            if source != target:
                own = self.own_models(target, partial(self.source, source))
                yield from ours(grid(((f"{row} {name}", model) for name, model in own.items()), self.numbers))

    @table(
        3,
        lambda self: f"Transfer from {self.section.name(self.section.large.source)}",
        corner="Model",
        on="",
        measured=measured_large,
    )
    def table3(self) -> Iterator[Cell]:
        """New heads on the large sources, and the robust network from scratch."""
        section, numbers = self.section, partial(self.numbers_under, self.section.large.attacks.test)
        targets = {section.name(target): target for target in section.large.targets}
        yield from grid(self.large_rows(targets), numbers)
        yield from ours(grid(self.own_large_rows(targets), numbers))
        for rows in (self.large_rows, self.own_large_rows):
            yield from ours(grid(rows(section.extra.targets), numbers))

    def large_rows(self, targets: dict[str, str]) -> Iterator[tuple[str, Model]]:
        """The models of table 3. targets: printed name -> data set."""
        large = self.section.large
        for name, target in targets.items():
            row = self.large_row(name, plus(large.schedules.head))
            yield f"{row} natural", self.large_new_head(target, "natural")
            yield f"{row} robust ({large.budget})", self.large_new_head(target, "robust")
        for name, target in targets.items():
            row = f"Robust u-{large.name} ({large.budget}) for {name}{plus(large.schedules.scratch)}"
            yield row, self.large_scratch(target)

    def own_large_rows(self, targets: dict[str, str]) -> Iterator[tuple[str, Model]]:
        """Likewise of methods of one's own, and of ready models."""
        for name, target in targets.items():
            for method, model in self.own_models(target, self.large_source).items():
                yield f"{self.large_row(name, self.own_plus(method))} {method}", model
            known = name if name in self.section.extra.targets else target
            for ready, model in self.ready(known, self.data(target)).items():
                yield f"{ready} for {name}", model

    def large_row(self, target: str, augmented: str) -> str:
        """What rows of table 3 begin with. target: by its printed name."""
        large = self.section.large
        return f"{large.name} {self.section.name(large.source)} {target}{augmented}"

    table4 = forgetting_table(4, "Learning without forgetting", "source", "target", "transfer")
    table5 = forgetting_table(5, "Learning without forgetting on the source's own images", "source", "source", "source")
    table6 = forgetting_table(
        6, "Learning without forgetting on the other half of the classes", "halves.one", "halves.other", "halves"
    )
    table7 = forgetting_table(7, "Learning without forgetting on the target's own images", "target", "target", "target")

    def forgetting(self, source: str, target: str, weights: list[float]) -> Iterator[Cell]:
        """Learning without forgetting along lambda_d; below it, for reference, what was trained without it: new heads
        on frozen features, or where source and target are the same, the source.
        """
        section = self.section
        rows = {self.lwf_row(source, target, weight): self.lwf(source, target, weight) for weight in weights}
        if source == target:
            name = section.name(source) + plus(section.schedules.source)
            rows[f"{name} robust lambda_d NA"] = self.source(source, "robust")
        else:
            name = self.arrow(source, target, plus(section.schedules.retraining))
            rows |= {f"{name} {kind} lambda_d NA": self.new_head(source, target, kind) for kind in KINDS}
        yield from grid(rows.items(), self.numbers)
        if source != target:
            own = self.own_models(target, partial(self.source, source)).items()
            named = ((f"{self.arrow(source, target, self.own_plus(name))} {name}", model) for name, model in own)
            yield from ours(grid(named, self.numbers))

    @table(
        "text",
        "Numbers of the running text",
        corner="Number",
        on="",
        where="running text",
        measured=lambda self: f"{self.measured_large()}; of halves, {self.measured()}",
    )
    def text(self) -> Iterator[Cell]:
        """What the paper says outside its tables, each number in a row of its own."""
        for row, number in self.numbers_of_text().items():
            yield from placed(row, "value", number)

    def numbers_of_text(self) -> Numbers:
        """The numbers, by what they are of."""
        section, large = self.section, self.section.large
        pgd, one, other = attack_name(section.attacks.test), section.halves.one, section.halves.other
        robust, half = self.large_source("robust"), section.name(one)
        numbers: Numbers = {}
        if robust.learnt:  # not brought
            on_source = f"robust {large.name} on {section.name(large.source)}"
            numbers[f"accuracy of the {on_source} (%)"] = self.accuracy(robust)
            under = f"accuracy under {attack_name(large.attacks.test)} of the {on_source} (%)"
            numbers[under] = self.robustness(robust, large.attacks.test)
        head = self.large_new_head(large.studied, "robust")
        numbers[f"accuracy of its new head on {section.name(large.studied)}'s training images (%)"] = shows(
            "training_accuracy", outcomes=self.clean(head, "train")
        )
        for (dataset, words), node in self.displacements().items():
            row = f"distance of the features of {section.name(dataset)}'s {words}, natural and augmented"
            numbers[row] = shows("mean_distance", distances=node)
        on_one = self.new_head(one, one, "robust")
        on_other = {"new head": self.new_head(one, other, "robust")}
        on_other |= {f"lambda_d {w:g}": self.lwf(one, other, w) for w in section.lwf.lambdas.halves}
        for words, model in on_other.items():
            both = f"both halves of {half}, the other one by transfer ({words}): mean"
            numbers[f"{both} accuracy (%)"] = mean([self.accuracy(each) for each in (on_one, model)])
            robustness = [self.robustness(each, section.attacks.test) for each in (on_one, model)]
            numbers[f"{both} accuracy under {pgd} (%)"] = mean(robustness)
        longer, shorter = self.large_fine_tuned(large.studied).node, head.node
        times = f"seconds of adversarial fine-tuning on {section.name(large.studied)}, over those of a new head"
        numbers[times] = shows("ratio_of_seconds", longer=longer, shorter=shorter)
        return numbers

    # ---- figures -----------------------------------------------------------------------------------------------------

    @figure(
        1,
        "curves",
        "Robust networks, their last k blocks retrained on natural images",
        metrics=lambda self: [
            under(self.section.attacks.test),
            *self.axes_of_own("robustness", "accuracy under {} (%)"),
        ],
        x="retrained blocks k, from the last",
        reference={"column": UNTOUCHED, "label": "nothing retrained"},
    )
    def figure1(self) -> Iterator[Cell]:
        """Robustness along k, the number of units that are begun anew and trained on natural images."""
        section = self.section
        units = self.network(section.network).units
        every = range(1, int(units) + 1) if units < math.inf else ()  # then the section says what is missing
        depths = section.depths or [Last(last=k, of="units") for k in every]
        for dataset in (section.target, section.source):
            row = section.name(dataset)
            for k in depths:
                yield from self.robust_point(row, str(k.last), self.retrained(dataset, k))
            yield from self.robust_point(row, UNTOUCHED, self.source(dataset, "robust"))

    def robust_point(self, row: str, column: str, model: Model) -> Iterator[Cell]:
        """A small network's robustness in a place of figure 1."""
        return placed(row, column, self.robustness(model, self.section.attacks.test), *self.under_own(model).values())

    @figure(
        3,
        "bars",
        lambda self: f"Three ways to a robust network on {self.section.name(self.section.large.studied)}",
        measured=measured_large,
        metrics=lambda self: [
            CLEAN,
            under(self.section.large.attacks.test),
            {"metric": "accuracy_and_robustness", "label": "mean of both (%)"},
            *self.axes_of_own("robustness", "accuracy under {} (%)"),
        ],
        x="training images a class",
    )
    def figure3(self) -> Iterator[Cell]:
        """Three ways to a robust network, by the number of training images a class."""
        large = self.section.large
        target, attack = large.studied, large.attacks.test
        for count in (None, *sorted(large.per_class, reverse=True)):
            models = (
                self.large_new_head(target, "robust", count),
                self.large_fine_tuned(target, count),
                self.large_scratch(target, count),
            )
            own = self.own_models(target, self.large_source, per_class=count)
            for row, model in (dict(zip(WAYS, models, strict=True)) | own).items():
                both = {"clean": self.clean(model), "adversarial": self.attacked(model, attack)}
                numbers = self.accuracy(model), self.robustness(model, attack), shows("accuracy_and_robustness", **both)
                cells = placed(row, str(count or ALL), *numbers, *self.under_own(model).values())
                yield from ours(cells, row in own)

    def margin(self) -> Pgd:
        """The large networks' attack, on the margin."""
        return self.section.large.attacks.test.with_(loss="margin")

    @figure(
        4,
        "curves",
        lambda self: f"Heads of several layers for {self.section.name(self.section.large.studied)}",
        measured=lambda self: shown_under(self.section.large.attacks.test, self.margin()),
        metrics=lambda self: [
            {"metric": "training_accuracy", "label": "accuracy on training images (%)"},
            CLEAN,
            under(self.section.large.attacks.test) | {"limits": [0, None]},
            under(self.margin()) | {"metric": "margin_robustness", "limits": [0, None]},
            *self.axes_of_own("robustness", "accuracy under {} (%)"),
        ],
        x="hidden layers",
    )
    def figure4(self) -> Iterator[Cell]:
        """Heads of several layers on the large sources' frozen features."""
        large = self.section.large
        rows: dict[str, tuple[Kind, Variant | None]] = {"natural": ("natural", None), "robust": ("robust", None)}
        rows |= {f"robust, {name}": ("robust", variant) for name, variant in large.mlp.variants.items()}
        for row, (kind, variant) in rows.items():
            # Batch norm and dropout come after hidden layers: there is no variant of the linear head.
            for layers in (n for n in sorted(large.mlp.layers) if n or not variant):
                model = self.large_new_head(large.studied, kind, layers=layers, variant=variant)
                yield from placed(
                    row,
                    str(layers),
                    shows("training_accuracy", outcomes=self.clean(model, "train")),
                    self.accuracy(model),
                    self.robustness(model, large.attacks.test),
                    shows("margin_robustness", outcomes=self.attacked(model, self.margin())),
                    *self.under_own(model).values(),
                )

    @figure(
        5,
        "gradients",
        lambda self: f"Gradients of the loss with respect to images of {self.section.name(self.section.large.studied)}",
        measured="",
    )
    def figure5(self) -> dict[str, Any]:
        """What the transferred networks react to."""
        large, split = self.section.large, self.section.evaluated_on
        data, count = self.data(large.studied).node, large.gradients.images
        models = {"natural": self.large_new_head(large.studied, "natural")}
        for layers in large.gradients.layers:
            name = "robust" + (f", {layers} hidden layer{'s' * (layers > 1)}" if layers else "")
            models[name] = self.large_new_head(large.studied, "robust", layers=layers)
        tensors = {"images": {"nodes": [data.id], "read": "images", "split": split, "count": count}}
        for name, model in models.items():
            node = build.gradients(self.plan, model.node, data, count, split)
            tensors[name] = {"nodes": [node.id], "read": "gradients"}
        networks = [{"tensor": name, "label": name} for name in models]
        return {"cells": [], "tensors": tensors, "networks": networks}

    @figure(
        7,
        "histogram",
        lambda self: (
            f"Features of natural and of augmented images, robust source {self.section.name(self.section.source)}"
        ),
        measured="",
        x=r"distance of the features $\Vert z(x) - z(x_a)\Vert_2$",
    )
    def figure7(self) -> dict[str, Any]:
        """How far augmentation moves the features of the robust source."""
        panels: dict[str, list[dict[str, str]]] = {}
        tensors = {}
        for (dataset, words), node in self.displacements().items():
            tensors[f"{dataset} {words}"] = {"nodes": [node.id], "read": "distances"}
            panels.setdefault(dataset, []).append({"tensor": f"{dataset} {words}", "label": words})
        named = [{"title": self.section.name(dataset), "series": series} for dataset, series in panels.items()]
        return {"cells": [], "tensors": tensors, "panels": named}

    def displacements(self) -> dict[tuple[str, str], Node]:
        """How far augmentation moves the features of the robust source, for each data set and split in words."""
        section, seed = self.section, self.settings.seed
        source = self.source(section.source, "robust").node
        splits: dict[SplitName, str] = {"train": "training images"}
        splits[section.evaluated_on] = f"{section.evaluated_on} images"
        return {
            (dataset, words): build.displacement(
                self.plan, source, self.data(dataset).node, section.augmentation, seed, split
            )
            for dataset in (section.target, section.source)
            for split, words in splits.items()
        }


def plus(schedule: Schedule) -> str:
    """The paper's sign for training with augmentation."""
    return "+" if schedule.crop_padding or schedule.flip or schedule.rotation else ""


def shown_under(*attacks: Pgd) -> str:
    """A caption's words for the attacks shown, of one eps."""
    return f"{' and '.join(map(attack_name, attacks))} with eps {attacks[0].eps:.4g} on the model itself"


def under(attack: Pgd) -> dict[str, Any]:
    """An axis of robustness."""
    return {"metric": "robustness", "label": f"accuracy under {attack_name(attack)} (%)"}


def printed_number(value: float) -> str:
    """As the paper prints lambda_d: 0.0025, but 5e-5."""
    if value >= 0.001:
        return f"{value:g}"
    digits, _, exponent = f"{value:e}".partition("e")
    return f"{float(digits):g}e{int(exponent)}"
