"""The paper's tables, cell by cell."""

from typing import Any

from robust_transfer.plan import build
from robust_transfer.plan.config import Settings
from robust_transfer.plan.graph import Node, Plan
from robust_transfer.plan.published import published_table
from robust_transfer.plan.specs import Pgd, Schedule
from robust_transfer.studies.shafahi.methods import KINDS, Methods
from robust_transfer.studies.shafahi.section import STUDY, Section

PAPER = "Shafahi et al. 2020"


class Cells:
    """What tables and figures share: a model's outcomes, names as the paper prints them, where all was measured."""

    def __init__(self, settings: Settings, section: Section, plan: Plan, methods: Methods):
        self.settings, self.section, self.plan, self.methods = settings, section, plan, methods

    def measured(self, *attacks: Pgd) -> str:
        """The line that says how the numbers were measured; attacks: those shown, of one eps."""
        parts = [f"scale {self.settings.scale}", f"{self.section.evaluated_on} split"]
        if attacks:
            names = " and ".join(map(attack_name, attacks))
            parts.append(f"{names} with eps {attacks[0].eps:.4g} on the model itself")
        return f"Measured at {', '.join(parts)}, protocol {self.settings.protocol}"

    def clean(self, model: Node, data: Node, split: str | None = None) -> dict[str, Any]:
        """Metric and nodes of a model's accuracy, by default on the split that is evaluated."""
        outcomes = build.evaluate(self.plan, model, data, split=split or self.section.evaluated_on)
        return {"metric": "accuracy", "nodes": {"outcomes": outcomes.id}}

    def attacked(self, model: Node, data: Node, attack: Pgd) -> dict[str, Any]:
        """Metric and nodes of a model's accuracy under an attack on itself."""
        examples = build.craft(self.plan, model, data, attack, self.settings.seed, self.section.evaluated_on)
        outcomes = build.evaluate(self.plan, model, data, examples)
        return {"metric": "robustness", "nodes": {"outcomes": outcomes.id}}


class Tables(Cells):
    """Adds tables 1 to 7."""

    def add(self) -> None:
        self.table1()
        self.table2()
        self.table3()
        section, lwf = self.section, self.section.lwf.lambdas
        source, target, halves = section.source, section.target, section.halves
        self.forgetting("table4", source, target, lwf.transfer)
        self.forgetting("table5", source, source, lwf.source)
        self.forgetting("table6", halves.one, halves.other, lwf.halves)
        self.forgetting("table7", target, target, lwf.target)

    def table(self, name: str, title: str, corner: str, cells: list[dict[str, Any]], attack: Pgd) -> None:
        """A table, with what the paper prints in its cells."""
        printed = published_table(STUDY, name)
        for cell in cells:
            cell["published"] = printed.get((cell["row"], cell["column"]))
        spec = {
            "title": title,
            "measured": self.measured(attack),
            "published": f"{PAPER}, Table {name.removeprefix('table')}",
            "corner": corner,
            "decimals": 2,
            "cells": cells,
        }
        self.plan.add_product("table", STUDY, name, spec)

    def row(
        self, row: str, model: Node, dataset: str, attack: Pgd | None = None, columns: tuple[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """The two cells of a model: clean accuracy, and under the attack (the small nets' unless given)."""
        data, attack = self.methods.data(dataset), attack or self.section.attacks.test
        clean, attacked = columns or ("val.", attack_name(attack))
        return [
            {"row": row, "column": clean} | self.clean(model, data),
            {"row": row, "column": attacked} | self.attacked(model, data, attack),
        ]

    def table1(self) -> None:
        section, attack = self.section, self.section.attacks.test
        columns = ("validation accuracy", f"accuracy against {attack_name(attack)}")
        cells = []
        for dataset in (section.target, section.source):
            for kind in KINDS:
                name = section.name(dataset) + plus(section.schedules.source)
                cells += self.row(f"{name} {kind}", self.methods.source(dataset, kind), dataset, columns=columns)
        self.table("table1", "Natural and adversarially trained networks", "Model", cells, attack)

    def table2(self) -> None:
        section, cells = self.section, []
        one, other = section.halves.one, section.halves.other
        whole, half = section.name(section.source), section.name(one)
        for source, target, row in (
            (section.source, section.target, f"{whole} {section.name(section.target)}"),
            (one, other, f"{half} (50% of classes) {half} (other 50% of classes)"),
            (one, one, f"{half} (50% of classes) {half} (same 50% of classes)"),
        ):
            for kind in KINDS:
                cells += self.row(f"{row} {kind}", self.methods.transferred(source, target, kind), target)
        self.table("table2", "New heads on frozen features", "Transfer", cells, section.attacks.test)

    def table3(self) -> None:
        section, large = self.section, self.section.large
        attack, cells = large.attacks.test, []
        for target in large.targets:
            name = section.name(target) + plus(large.schedules.head)
            for kind, printed in zip(KINDS, ("natural", f"robust ({large.budget})"), strict=True):
                row = f"{large.name} {section.name(large.source)} {name} {printed}"
                cells += self.row(row, self.methods.large_transferred(target, kind), target, attack)
        for target in large.targets:
            row = f"Robust u-{large.name} ({large.budget}) for {section.name(target)}{plus(large.schedules.scratch)}"
            cells += self.row(row, self.methods.large_scratch(target), target, attack)
        title = f"Transfer from {section.name(large.source)}"
        self.table("table3", title, "Model", cells, attack)

    def forgetting(self, name: str, source: str, target: str, weights: list[float]) -> None:
        """Learning without forgetting along lambda_d; below it, for reference, what was trained without it: new heads
        on frozen features, or where source and target are the same, the source.
        """
        section, methods, cells = self.section, self.methods, []
        for weight in weights:
            cells += self.row(lwf_row(section, source, target, weight), methods.lwf(source, target, weight), target)
        if source == target:
            row = f"{section.name(source)}{plus(section.schedules.source)} robust lambda_d NA"
            cells += self.row(row, methods.source(source, "robust"), source)
        else:
            for kind in KINDS:
                row = f"{arrow(section, source, target, plus(section.schedules.retraining))} {kind} lambda_d NA"
                cells += self.row(row, methods.transferred(source, target, kind), target)
        title = {
            "table4": "Learning without forgetting",
            "table5": "Learning without forgetting on the source's own images",
            "table6": "Learning without forgetting on the other half of the classes",
            "table7": "Learning without forgetting on the target's own images",
        }[name]
        self.table(name, title, "Transfer", cells, section.attacks.test)


def lwf_row(section: Section, source: str, target: str, weight: float) -> str:
    """`CIFAR-100+ -> CIFAR-10 robust lambda_d 0.1`."""
    return f"{arrow(section, source, target, plus(section.schedules.lwf))} robust lambda_d {printed_number(weight)}"


def arrow(section: Section, source: str, target: str, augmented: str) -> str:
    """`CIFAR-100+ -> CIFAR-10+`; augmented: the plus of the target, or nothing."""
    trained = plus(section.schedules.source)
    if source == section.halves.one:
        name = section.name(source)
        return f"{name}{trained} (1/2) -> {name}{augmented} (other 1/2)"
    return f"{section.name(source)}{trained} -> {section.name(target)}{augmented}"


def plus(schedule: Schedule) -> str:
    """The paper's sign for training with augmentation."""
    return "+" if schedule.crop_padding or schedule.flip or schedule.rotation else ""


def attack_name(attack: Pgd) -> str:
    """`PGD-20`, or `CW-20` where the margin is its loss."""
    return f"{'CW' if attack.loss == 'margin' else 'PGD'}-{attack.steps}"


def printed_number(value: float) -> str:
    """As the paper prints lambda_d: 0.0025, but 5e-5."""
    if value >= 0.001:
        return f"{value:g}"
    digits, _, exponent = f"{value:e}".partition("e")
    return f"{float(digits):g}e{int(exponent)}"
