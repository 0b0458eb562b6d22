"""The paper's tables and figures, cell by cell."""

from collections.abc import Mapping
from typing import Any

from robust_transfer.plan import build
from robust_transfer.plan.config import Settings
from robust_transfer.plan.graph import Node, Plan
from robust_transfer.plan.published import published_table
from robust_transfer.studies.renofeation.methods import Task
from robust_transfer.studies.renofeation.section import STUDY, Section

BASELINES = ["Linear classifier", "Fine-tuning", "L2-SP", "DELTA", "Re-training"]
COMPARED = ["DELTA", "Renofeation", "Re-training"]
REGULARISED = ["DELTA-R", "DELTA-R + dropout", "DELTA-R + SWA", "Renofeation"]
PAPER = "Chin et al. 2020"
CLEAN, ASR, FEATURES = "clean", "ASR", "feature loss"
CLEAN_AXIS = {"metric": "accuracy", "label": "clean accuracy (%)"}
ASR_AXIS = {"metric": "attack_success_rate", "label": "attack success rate (%)"}
SHOWN = 6
"""Images in figure 1."""


class Results:
    """Adds every table and figure. tasks: printed name of the network -> printed name of the target -> task."""

    def __init__(self, settings: Settings, section: Section, plan: Plan, tasks: Mapping[str, Mapping[str, Task]]):
        self.settings, self.section, self.plan, self.tasks = settings, section, plan, tasks
        self.main = next(iter(tasks.values()))
        self.networks = list(tasks)
        source = settings.datasets[section.source].slug if section.source else "ImageNet"
        self.measured = (
            f"Measured at scale {settings.scale}: {source} -> {', '.join(section.targets)}, "
            f"{section.evaluated_on} split, eps {section.attack.eps:.4g} ({section.attack.space}), "
            f"values chosen on the {section.chosen_on} split, protocol {settings.protocol}"
        )

    def add(self) -> None:
        """Tables 1 to 6, the choices, figures 1 to 6."""
        self.table1()
        self.table("table2", "Transfer methods under the feature attack", self.rows(BASELINES))
        self.table("table3", "Dropout and weight averaging on DELTA-R", self.rows(REGULARISED, features=True))
        adversarial = ["DELTA", "DELTA adv. trained", "Renofeation"]
        self.table("table4", "Adversarial training and Renofeation", self.rows(adversarial))
        shared = [
            f"{share} {method}" for share in self.section.shares for method in ("DELTA", "Renofeation", "Re-training")
        ]
        self.table("table5", "A part of the training images", self.rows(shared))
        self.table6()
        self.choices()
        self.examples()
        self.distances()
        self.bars("fig3", "The role of the pretrained weights", ["DELTA", "DELTA-R", "Re-training"])
        self.sweep()
        self.bars("fig5", "Renofeation and the baselines", [*BASELINES, "Renofeation"])
        regularised = [
            f"{method}{more}" for method in ("DELTA", "Re-training") for more in ("", " + dropout", " + SWA")
        ]
        self.bars("fig6", "Dropout and weight averaging on the baselines", regularised)

    # ---- cells -------------------------------------------------------------------------------------------------------

    def clean(self, task: Task, model: Node) -> Node:
        return build.evaluate(self.plan, model, task.data, split=self.section.evaluated_on)

    def under_attack(self, task: Task, model: Node) -> Node:
        return build.evaluate(self.plan, model, task.data, task.examples)

    def cell(self, task: Task, model: Node, what: str) -> dict[str, Any]:
        """Metric and nodes of one number."""
        if what == CLEAN:
            return {"metric": "accuracy", "nodes": {"outcomes": self.clean(task, model).id}}
        if what == ASR:
            outcomes = {"clean": self.clean(task, model).id, "adversarial": self.under_attack(task, model).id}
            return {"metric": "attack_success_rate", "nodes": outcomes}
        distances = build.measure(self.plan, model, task.source, task.data)
        return {"metric": "feature_distance", "nodes": {"distances": distances.id}}

    def rows(self, methods: list[str], features: bool = False) -> list[dict[str, Any]]:
        """Clean accuracy and ASR of methods of the main network, a column a target."""
        metrics = [CLEAN, ASR, *([FEATURES] if features else [])]
        return [
            {"row": f"{method} {what}", "column": target} | self.cell(task, task.models[method], what)
            for method in methods
            for what in metrics
            for target, task in self.main.items()
        ]

    # ---- tables ------------------------------------------------------------------------------------------------------

    def table(self, name: str, title: str, cells: list[dict[str, Any]], corner: str = "Method", **more: Any) -> None:
        """A table, with what the paper prints in its cells."""
        printed = published_table(STUDY, name) if name.startswith("table") else {}
        for cell in cells:
            cell["published"] = printed.get((cell["row"], cell["column"]))
        spec = {"title": title, "measured": self.measured, "corner": corner, "decimals": 2, "cells": cells, **more}
        number = name.removeprefix("table")
        spec["published"] = f"{PAPER}, Table {number}" if printed else None
        self.plan.add_product("table", STUDY, name, spec)

    def table1(self) -> None:
        metrics = {
            "train images a class": "train_images_a_class",
            "test images a class": "test_images_a_class",
            "classes": "classes",
        }
        cells = [
            {"row": target, "column": column, "metric": metric, "nodes": {"data": task.data.id}}
            for target, task in self.main.items()
            for column, metric in metrics.items()
        ]
        texts = {"Task category": self.section.categories} if self.section.categories else {}
        self.table("table1", "The target tasks", cells, corner="Data set", texts=texts)

    def table6(self) -> None:
        cells = []
        for network, tasks in self.tasks.items():
            for method in COMPARED:
                for what in (CLEAN, ASR):
                    row = {"row": f"{network} {method} {what}"}
                    found = [self.cell(task, task.models[method], what) for task in tasks.values()]
                    cells += [row | {"column": t} | cell for t, cell in zip(tasks, found, strict=True)]
                    nodes = {f"{role}{i}": node for i, cell in enumerate(found) for role, node in cell["nodes"].items()}
                    cells.append(row | {"column": "Average", "metric": f"mean_{found[0]['metric']}", "nodes": nodes})
        self.table("table6", "DELTA, Renofeation and re-training on several networks", cells)

    def choices(self) -> None:
        """What every choice took; a value that the method has not is left out."""
        columns = {
            "lr": "lr",
            "momentum": "momentum",
            "weight decay": "weight_decay",
            "lambda_weight": "start_distance",
            "lambda_feat": "feature_distillation",
        }
        cells = [
            {"row": f"{method} {target}", "column": column, "metric": f"chosen_{name}", "nodes": {"choice": choice.id}}
            for target, task in self.main.items()
            for method, choice in task.choices.items()
            for column, name in columns.items()
        ]
        self.table("choices", f"Values chosen on the {self.section.chosen_on} split", cells, general=True)

    # ---- figures -----------------------------------------------------------------------------------------------------

    def figure(self, name: str, draw: str, title: str, cells: list[dict[str, Any]], **more: Any) -> None:
        spec = {"draw": draw, "title": title, "measured": self.measured, "cells": cells, **more}
        self.plan.add_product("figure", STUDY, name, spec)

    def both(self, methods: list[str]) -> list[dict[str, Any]]:
        """Clean accuracy and ASR of methods, method and target as row and column."""
        return [
            {"row": method, "column": target} | self.cell(task, task.models[method], what)
            for what in (CLEAN, ASR)
            for method in methods
            for target, task in self.main.items()
        ]

    def examples(self) -> None:
        """Figure 1: some test images, what the attack does to them, and what two models make of both."""
        task = next(iter(self.main.values()))
        models = ["DELTA", "Renofeation"]
        shown = {"split": self.section.evaluated_on, "count": SHOWN}
        tensors = {
            "clean": {"nodes": [task.data.id], "read": "images"} | shown,
            "classes": {"nodes": [task.data.id], "read": "classes"},
            "label": {"nodes": [task.data.id], "read": "labels"} | shown,
            "adversarial": {"nodes": [task.examples.id], "read": "examples"} | shown,
        }
        for kind, outcome in (("clean", self.clean), ("adversarial", self.under_attack)):
            nodes = [outcome(task, task.models[model]).id for model in models]
            tensors[f"{kind}_prediction"] = {"nodes": nodes, "read": "predictions"} | shown
        cells = [cell for cell in self.both(models) if cell["column"] == next(iter(self.main))]
        title = "The attack on the pretrained network"
        self.figure("fig1", "examples", title, cells, tensors=tensors, models=models)

    def distances(self) -> None:
        """Figure 2: ASR against the distance between the transferred and the pretrained model, a point a model."""
        cells = []
        for method in BASELINES:
            for target, task in self.main.items():
                model = task.models[method]
                measured = build.measure(self.plan, model, task.source, task.data)
                place = {"row": method, "column": target}
                cells.append(place | self.cell(task, model, ASR))
                for metric in ("weight_distance", "feature_distance"):
                    cells.append(place | {"metric": metric, "nodes": {"distances": measured.id}})
        self.figure(
            "fig2",
            "scatter",
            "Robustness and the distance from the pretrained model",
            cells,
            y=ASR_AXIS,
            x=[
                {"metric": "weight_distance", "label": "squared distance of the weights"},
                {"metric": "feature_distance", "label": "squared distance of the features"},
            ],
            rows="Method",
            columns="Data set",
        )

    def sweep(self) -> None:
        """Figure 4: clean accuracy against ASR along lambda, a line a target; a star at the value that is used."""
        cells = []
        for target, task in self.main.items():
            for value in self.section.lambdas.delta_r:
                for what in (CLEAN, ASR):
                    cell = self.cell(task, task.models[f"lambda {value:g}"], what)
                    cells.append({"row": target, "column": f"{value:g}"} | cell)
            chosen = {"metric": "chosen_feature_distillation", "nodes": {"choice": task.choices["DELTA-R"].id}}
            cells.append({"row": target, "column": "chosen"} | chosen)
        self.figure(
            "fig4",
            "tradeoff",
            "The weight of feature distillation in DELTA-R",
            cells,
            x=CLEAN_AXIS,
            y=ASR_AXIS,
            sweep=r"$\lambda_{feat}$",
            chosen="chosen_feature_distillation",
        )

    def bars(self, name: str, title: str, methods: list[str]) -> None:
        """Clean accuracy and ASR of methods side by side."""
        self.figure(name, "bars", title, self.both(methods), metrics=[CLEAN_AXIS, ASR_AXIS])
