"""A study of one's own: sources, targets, methods, ready models and attacks, all named in YAML; see docs/custom.md.

Its nodes are those of the papers: a method that does what a paper's does is the same node, and is not made twice.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

from robust_transfer.plan.config import Settings
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import AnyAttack, AnyNetwork, FeatureAttack, Normalise, Recipe
from robust_transfer.studies import base
from robust_transfer.studies.base import Cell, Data, Model, Study, placed, shows
from robust_transfer.studies.checks import validation_key
from robust_transfer.studies.custom.section import OWN_SOURCE, Drawn, MadeElsewhere, Shown
from robust_transfer.studies.custom.section import Section as CustomSection
from robust_transfer.studies.vaishnavi import smoothing_in_words

LABELS = {
    "accuracy": "accuracy (%)",
    "attack_success_rate": "attack success rate (%)",
    "smoothed_accuracy": "smoothed accuracy (%)",
    "certified_accuracy": "certified accuracy (%)",
    "average_certified_radius": "average certified radius",
}
"""What an axis of a metric is called; a radius ends the metric's name and not the label's."""
DEFAULT = "table1", "fig1"
"""The table and the figure of a section that names none."""


class Custom(Study[CustomSection]):
    """The tables and figures that the section names, or one of each with all that there is."""

    name, paper = "custom", ""
    decimals = {"average_certified_radius": 3}  # noqa: RUF012 (nobody changes it)
    Section = CustomSection

    def __init__(self, settings: Settings, section: CustomSection, plan: Plan):
        super().__init__(settings, section, plan)
        self._models: dict[tuple[str, str | None, str], Model] = {}
        self.labels, self.columns = section.labels, section.columns

    def measured(self) -> str:
        section = self.section
        sources = f"{', '.join(section.sources)} -> " if section.sources else ""
        attacks = [f"{name}: {in_words(attack)}" for name, attack in section.attacks.items()]
        attacks += [f"{name}: {smoothing_in_words(each)}" for name, each in section.certification.items()]
        grids = any(method.grid for method in section.methods.values())
        chosen = [f"values chosen on the {section.chosen_on} split"] * grids
        return "; ".join([f"{sources}{', '.join(section.targets)}", *attacks, *chosen])

    # ---- models ------------------------------------------------------------------------------------------------------

    def network_here(self, network: str | AnyNetwork) -> AnyNetwork:
        """A network that is named, or stands there itself."""
        return self.network(network) if isinstance(network, str) else network

    def source(self, name: str) -> Model:
        """A model to transfer from."""
        source, key = self.section.sources[name], f"sources.{name}"
        network = self.network_here(source.network)
        if source.recipe and source.data:
            return self.pretrained(self.data(source.data), network, source.recipe.schedule, **parts_of(source.recipe))
        return self.brought(network, key, source)

    def target(self, name: str) -> Data:
        """A target's data. Validation images are held out from all methods as soon as one of them chooses by them."""
        section = self.section
        reads = (
            (method.grid and section.chosen_on == "validation") or validation_key(method.recipe.schedule)
            for method in section.methods.values()
        )
        return self.data(section.targets[name], held_out=any(reads))

    def ready(self, name: str) -> Model:
        """A model that is trained already, on the classes of its target."""
        ready = self.section.models[name]
        return self.brought(self.network_here(ready.network), f"models.{name}", ready, data=self.target(ready.target))

    def model(self, method: str, source: str | None, target: str) -> Model:
        """What a method makes of a source on a target; with a grid, of all its points the best."""
        key = method, source, target
        if key not in self._models:
            points = self.section.methods[method].points
            models = [(point, self.trained(method, source, target, point)) for point in points]
            data = self.target(target)
            self._models[key] = self.chosen(data, models, self.section.chosen_on) if points[0] else models[0][1]
        return self._models[key]

    def trained(self, name: str, source: str | None, target: str, values: dict[str, float]) -> Model:
        """One run of a method. values: a point of its grid; none without one."""
        method, data = self.section.methods[name], self.target(target)
        origin = self.source(source) if source else None
        start = origin if method.inherits_from_source else None
        if method.after:
            start = self.earlier(method.after, source, target)
        recipe, parts = method.recipe, parts_of(method.recipe)
        if start is None:
            if recipe.network:
                parts["network"] = self.network_here(recipe.network)
            elif origin:
                parts["network"] = origin.network
        student = start.network if start else parts["network"]
        if method.teacher and origin and architecture(student) != architecture(origin.network):
            words = f"stages are compared one by one, and {source} has another network; use its network, or no teacher"
            self._mistaken(f"{self.name}.methods.{name}.teacher", words)
        if start is None and not method.teacher and not method.tuned_by:
            return self.pretrained(data, schedule=recipe.schedule, values=values, **parts)
        model = self.transferred(
            data,
            start,
            recipe.schedule,
            teacher=origin if method.teacher else None,
            keeps_features=method.features,
            tuned_by=self.earlier(method.tuned_by, source, target).node if method.tuned_by else None,
            values=values,
            **parts,
        )
        if recipe.normalise:
            model = replace(model, network=model.network.with_(normalise=recipe.normalise))
        return model

    def earlier(self, method: str, source: str | None, target: str) -> Model:
        """The model of a method that another builds on."""
        return self.model(method, source if source in self.section.sources_of(method) else None, target)

    # ---- rows and columns --------------------------------------------------------------------------------------------

    @cached_property
    def rows(self) -> dict[str, dict[str, Model]]:
        """Row -> target -> model."""
        rows = {
            label: {target: self.model(method, source, target) for target in self.section.targets}
            for label, (method, source) in self.labels.items()
        }
        return rows | {name: {ready.target: self.ready(name)} for name, ready in self.section.models.items()}

    def maker(self, by: str, row: str, target: str) -> Model | None:
        """The model that an attack on a row is made against; None where there is none."""
        if by == OWN_SOURCE:
            _, own = self.labels.get(row, (row, None))
            only = next(iter(self.section.sources), None) if len(self.section.sources) == 1 else None
            if not (chosen := own or only):
                return None
            by = chosen
        return self.source(by) if by in self.section.sources else self.rows.get(by, {}).get(target)

    def number(self, row: str, target: str, column: str) -> Cell | None:
        """A number of the model in a row; None where there is no such model, or none to make the attack against."""
        model, (metric, of) = self.rows[row].get(target), self.columns[column]
        if model is None:
            return None
        if of is None:
            return self.accuracy(model)
        if of in self.section.certification:
            return shows(metric, certificates=self.certificates(model, self.section.certification[of].smoothing))
        attack = self.section.attacks[of]
        by: Model | None = model
        if isinstance(attack, MadeElsewhere):
            by = self.maker(attack.by, row, target)
            attack = attack.attack
        if by is None:
            return None
        outcomes = self.attacked(model, self.fitted(of, attack, by), by)
        if metric == "accuracy":
            return shows(metric, outcomes=outcomes)
        return shows(metric, clean=self.clean(model), adversarial=outcomes)

    def fitted(self, name: str, attack: AnyAttack, by: Model) -> AnyAttack:
        """The attack, with the normalisation of the network that it is made against where it works in that space."""
        if not isinstance(attack, FeatureAttack) or attack.space == "pixels":
            return attack
        normalise = by.network.normalise
        if not isinstance(normalise, Normalise):
            words = f"{by.network.slug} normalises each image by itself; write space: pixels"
            self._mistaken(f"{self.name}.attacks.{name}", words)
            return attack
        return attack.with_(mean=normalise.mean, std=normalise.std)

    # ---- tables and figures ------------------------------------------------------------------------------------------

    def products(self) -> Iterator[Any]:
        table, figure = DEFAULT
        for name, shown in (self.section.tables or {table: Shown()}).items():
            yield base.table(name, shown.title, corner="Model", where=None)(self._cells(shown, f"tables.{name}"))
        for name, drawn in (self.section.figures or {figure: Drawn()}).items():
            yield base.figure(name, drawn.draw, drawn.title)(self._drawing(drawn, f"figures.{name}"))

    def _cells(self, shown: Shown, key: str) -> Any:
        return lambda _: self.cells(shown, key)

    def _drawing(self, drawn: Drawn, key: str) -> Any:
        return lambda _: self.drawing(drawn, key)

    def cells(self, shown: Shown, key: str) -> list[Cell]:
        """What a table shows: a row a model, in it the numbers on each target. key: where the section has it."""
        cells: list[Cell] = []
        for row in self.rows_of(shown):
            for target, columns in self.columns_of(shown).items():
                for column, name in columns.items():
                    if number := self.number(row, target, name):
                        cells += placed(row, column, number)
        if not cells:
            self._mistaken(f"{self.name}.{key}", "no model is in any of these rows and targets; name others")
        return cells

    def rows_of(self, shown: Shown) -> list[str]:
        """The rows of a table or figure, each once."""
        return list(dict.fromkeys(row for name in shown.rows or self.rows for row in self.section.rows[name]))

    def columns_of(self, shown: Shown) -> dict[str, dict[str, str]]:
        """Target -> printed name of each column -> its name in the section; the target is named if it is not alone."""
        left_out = ("attack_success_rate", "average_certified_radius" if isinstance(shown, Drawn) else "")
        names = shown.columns or [name for name, column in self.columns.items() if column.metric not in left_out]
        targets = shown.targets or list(self.section.targets)
        return {
            target: {name if len(targets) == 1 else f"{target} {name}": name for name in dict.fromkeys(names)}
            for target in dict.fromkeys(targets)
        }

    def drawing(self, drawn: Drawn, key: str) -> dict[str, Any]:
        """What a figure shows: the cells, and what the kind of drawing needs beside them."""
        cells = self.cells(drawn, key)
        metrics = list(dict.fromkeys(cell["metric"] for cell in cells))
        if drawn.draw == "bars":
            if len(metrics) > 1:
                words = f"bars share an axis, and these are {', '.join(metrics)}; draw them in a figure each"
                self._mistaken(f"{self.name}.{key}.columns", words)
            return {"cells": cells, "metrics": [axis(metric) for metric in metrics]}
        if drawn.draw == "heatmap" and "average_certified_radius" in metrics:
            words = "a radius is no per cent; leave it out, or write draw: normalised_heatmap"
            self._mistaken(f"{self.name}.{key}.columns", words)
        present = {cell["column"] for cell in cells}, {cell["row"] for cell in cells}
        columns = [
            [column for column in columns if column in present[0]] for columns in self.columns_of(drawn).values()
        ]
        blocks: dict[str | None, list[str]] = {}
        for row in self.rows_of(drawn):
            if row in present[1]:
                blocks.setdefault(self.block_of(row), []).append(row)
        panels = [{"title": "", "row_blocks": list(blocks.values())}]
        return {"cells": cells, "panels": panels, "column_blocks": [block for block in columns if block]}

    def block_of(self, row: str) -> str | None:
        """What the rows of a block between white lines have in common: the source, or that all are ready models."""
        if row in self.section.models:
            return "models"
        return self.labels[row][1] if len(self.section.sources) > 1 else None


def architecture(network: AnyNetwork) -> dict[str, Any]:
    """What a network is but for its normalisation."""
    return {name: value for name, value in network.canonical().items() if name != "normalise"}


def parts_of(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says beside network and schedule."""
    return {name: getattr(recipe, name) for name in recipe.model_fields_set - {"network", "schedule"}}


def axis(metric: str) -> dict[str, Any]:
    """How bars show a metric."""
    label = LABELS[metric if metric in LABELS else metric.rpartition("_")[0]]
    return {"metric": metric, "label": label} | ({} if label.endswith("(%)") else {"limits": [0, None]})


def in_words(attack: AnyAttack | MadeElsewhere) -> str:
    """A caption's words for an attack."""
    if not isinstance(attack, MadeElsewhere):
        return attack.slug
    return f"{attack.attack.slug} by " + ("each row's source" if attack.by == OWN_SOURCE else attack.by)
