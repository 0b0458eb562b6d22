"""The paper's figures, cell by cell; figures 2 and 6 are diagrams of the method."""

from typing import Any

from robust_transfer.plan import build
from robust_transfer.plan.graph import Node
from robust_transfer.studies.shafahi.section import STUDY
from robust_transfer.studies.shafahi.tables import Cells, attack_name

CLEAN = {"metric": "accuracy", "label": "accuracy on natural images (%)"}
UNTOUCHED = "untouched"
ALL = "all"


class Figures(Cells):
    """Adds figures 1, 3, 4, 5 and 7."""

    def add(self) -> None:
        self.retraining()
        self.low_data()
        self.deeper_heads()
        self.gradients()
        self.augmentation()

    def figure(self, name: str, draw: str, title: str, cells: list[dict[str, Any]], **more: Any) -> None:
        self.plan.add_product("figure", STUDY, name, {"draw": draw, "title": title, "cells": cells, **more})

    def retraining(self) -> None:
        """Figure 1: robustness along k, the number of units that are begun anew and trained on natural images."""
        section, attack, cells = self.section, self.section.attacks.test, []
        units = self.settings.networks[section.network].units
        for dataset in (section.target, section.source):
            data, row = self.methods.data(dataset), {"row": section.name(dataset)}
            for k in section.depths or range(1, units + 1):
                model = self.methods.retrained(dataset, k)
                cells.append(row | {"column": str(k)} | self.attacked(model, data, attack))
            model = self.methods.source(dataset, "robust")
            cells.append(row | {"column": UNTOUCHED} | self.attacked(model, data, attack))
        self.figure(
            "fig1",
            "curves",
            "Robust networks, their last k blocks retrained on natural images",
            cells,
            measured=self.measured(attack),
            metrics=[{"metric": "robustness", "label": f"accuracy under {attack_name(attack)} (%)"}],
            x="retrained blocks k, from the last",
            reference={"column": UNTOUCHED, "label": "nothing retrained"},
        )

    def low_data(self) -> None:
        """Figure 3: three ways to a robust network, by the number of training images a class."""
        large, methods = self.section.large, self.methods
        attack, target, cells = large.attacks.test, large.studied, []
        data = methods.data(target)
        for count in (None, *sorted(large.per_class, reverse=True)):
            models = {
                "Transferred": methods.large_transferred(target, "robust", count),
                "Fine-tuned with AT": methods.large_fine_tuned(target, count),
                "Free training": methods.large_scratch(target, count),
            }
            for row, model in models.items():
                place = {"row": row, "column": str(count or ALL)}
                clean, attacked = self.clean(model, data), self.attacked(model, data, attack)
                nodes = {"clean": clean["nodes"]["outcomes"], "adversarial": attacked["nodes"]["outcomes"]}
                cells += [place | clean, place | attacked]
                cells.append(place | {"metric": "accuracy_and_robustness", "nodes": nodes})
        self.figure(
            "fig3",
            "bars",
            f"Three ways to a robust network on {self.section.name(target)}",
            cells,
            measured=self.measured(attack),
            metrics=[
                CLEAN,
                {"metric": "robustness", "label": f"accuracy under {attack_name(attack)} (%)"},
                {"metric": "accuracy_and_robustness", "label": "mean of both (%)"},
            ],
            x="training images a class",
        )

    def deeper_heads(self) -> None:
        """Figure 4: heads of several layers on the large sources' frozen features."""
        large, methods = self.section.large, self.methods
        target, mlp, cells = large.studied, large.mlp, []
        data, attack = methods.data(target), large.attacks.test
        margin = attack.model_copy(update={"loss": "margin"})
        rows = {"natural": ("natural", None), "robust": ("robust", None)}
        rows |= {f"robust, {name}": ("robust", variant) for name, variant in mlp.variants.items()}
        for row, (kind, variant) in rows.items():
            # Batch norm and dropout come after hidden layers: there is no variant of the linear head.
            for layers in (n for n in sorted(mlp.layers) if n or not variant):
                model = methods.large_transferred(target, kind, layers=layers, variant=variant)
                place = {"row": row, "column": str(layers)}
                cells += [
                    place | self.clean(model, data, "train") | {"metric": "training_accuracy"},
                    place | self.clean(model, data),
                    place | self.attacked(model, data, attack),
                    place | self.attacked(model, data, margin) | {"metric": "margin_robustness"},
                ]
        from_zero = {"limits": [0, None]}
        self.figure(
            "fig4",
            "curves",
            f"Heads of several layers for {self.section.name(target)}",
            cells,
            measured=self.measured(attack, margin),
            metrics=[
                {"metric": "training_accuracy", "label": "accuracy on training images (%)"},
                CLEAN,
                {"metric": "robustness", "label": f"accuracy under {attack_name(attack)} (%)"} | from_zero,
                {"metric": "margin_robustness", "label": f"accuracy under {attack_name(margin)} (%)"} | from_zero,
            ],
            x="hidden layers",
        )

    def gradients(self) -> None:
        """Figure 5: what the transferred networks react to."""
        large, methods, split = self.section.large, self.methods, self.section.evaluated_on
        target, count = large.studied, large.gradients.images
        data = methods.data(target)
        models: dict[str, Node] = {"natural": methods.large_transferred(target, "natural")}
        for layers in large.gradients.layers:
            name = "robust" + (f", {layers} hidden layer{'s' * (layers > 1)}" if layers else "")
            models[name] = methods.large_transferred(target, "robust", layers=layers)
        shown = {"images": {"nodes": [data.id], "read": "images", "split": split, "count": count}}
        for name, model in models.items():
            shown[name] = {"nodes": [build.gradients(self.plan, model, data, count, split).id], "read": "gradients"}
        self.figure(
            "fig5",
            "gradients",
            f"Gradients of the loss with respect to images of {self.section.name(target)}",
            [],
            measured=self.measured(),
            tensors=shown,
            networks=[{"tensor": name, "label": name} for name in models],
        )

    def augmentation(self) -> None:
        """Figure 7: how far augmentation moves the features of the robust source."""
        section, methods = self.section, self.methods
        source, panels, tensors = methods.source(section.source, "robust"), [], {}
        for dataset in (section.target, section.source):
            series = []
            for split, label in (
                ("train", "training images"),
                (section.evaluated_on, f"{section.evaluated_on} images"),
            ):
                node = build.displacement(
                    self.plan, source, methods.data(dataset), section.augmentation, self.settings.seed, split
                )
                name = f"{dataset} {split}"
                tensors[name] = {"nodes": [node.id], "read": "distances"}
                series.append({"tensor": name, "label": label})
            panels.append({"title": section.name(dataset), "series": series})
        self.figure(
            "fig7",
            "histogram",
            f"Features of natural and of augmented images, robust source {section.name(section.source)}",
            [],
            measured=self.measured(),
            x=r"distance of the features $\Vert z(x) - z(x_a)\Vert_2$",
            tensors=tensors,
            panels=panels,
        )
