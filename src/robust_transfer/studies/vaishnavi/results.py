"""The paper's tables and figures, cell by cell."""

from typing import Any

from robust_transfer.plan.config import Settings
from robust_transfer.plan.graph import Node, Plan
from robust_transfer.plan.published import PRINTED, published_table
from robust_transfer.studies.vaishnavi.methods import Methods
from robust_transfer.studies.vaishnavi.section import STUDY, Section, Start

Cell = dict[str, Any]

PAPER = "Vaishnavi et al."
RANDOM, SUPERVISED, SELF_SUPERVISED = "Random Init.", "Sup. Pre-Training", "Self-Sup. Pre-Training"
PRETRAINED = (SUPERVISED, SELF_SUPERVISED)
EMPIRICAL: dict[str, Start | None] = {RANDOM: None, SUPERVISED: "AT", SELF_SUPERVISED: "SimCLR"}
CERTIFIED: dict[str, Start | None] = {RANDOM: None, SUPERVISED: "CR", SELF_SUPERVISED: "SimCLR"}
SMOOTHED = {"SA": "smoothed_accuracy", "RA": "certified_accuracy_0.5", "ACR": "average_certified_radius"}
"""What tables show of certificates; the radius at which RA counts is the paper's, at every scale."""
PLAIN = {
    "SA": "accuracy",
    "RA": "unsmoothed_certified_accuracy_0.5",
    "ACR": "unsmoothed_average_certified_radius",
}
"""The same of a classifier that is not smoothed."""
DECIMALS = {SMOOTHED["ACR"]: 3, PLAIN["ACR"]: 3}
LAST_LAYER = "Certified Last Layer alone"


class Results:
    """Adds every table and figure."""

    def __init__(self, settings: Settings, section: Section, plan: Plan, methods: Methods):
        self.section, self.plan, self.methods = section, plan, methods
        source = settings.datasets[section.source].slug if section.source else "ImageNet"
        scene = f"Measured at scale {settings.scale}: {source} -> {', '.join(section.targets)}, "
        end = f", {section.evaluated_on} split, {settings.protocol_in_words}"
        attack, smoothing = section.attack, section.smoothing
        runs = f"{attack.restarts} run{'s' * (attack.restarts > 1)} of {attack.steps} steps"
        name = {"apgd": "auto-PGD", "pgd": "PGD"}[attack.algorithm]
        attacked = f"{name} ({attack.norm}, eps {attack.eps:.4g}, {runs})"
        certified = (
            f"smoothed with sigma {smoothing.sigma:.4g}, n0 {smoothing.n0:,}, n {smoothing.n:,}, alpha "
            f"{smoothing.alpha:.4g}, on about {smoothing.images} evenly spaced images a task"
        )
        self.empirically, self.certifiedly = f"{scene}{attacked}{end}", f"{scene}{certified}{end}"
        self.both_ways = f"{scene}{attacked}, {certified}{end}"

    def add(self) -> None:
        """Tables 2 to 5, the mean improvements, figures 2 and 3 as measured and as printed."""
        starts = self.by_start(EMPIRICAL, self.empirical), self.by_start(CERTIFIED, self.certified)
        self.table("table2", "Pre-training for empirical robustness", starts[0], self.empirically)
        self.table("table3", "Pre-training for certified robustness", starts[1], self.certifiedly)
        self.table4()
        self.table5()
        self.improvements()
        for name, cells, measured, of, whats in (
            ("2", starts[0], self.empirically, EMPIRICAL, ["RA"]),
            ("3", starts[1], self.certifiedly, CERTIFIED, ["RA", "ACR"]),
        ):
            title = f"What pre-training adds to {'empirical' if name == '2' else 'certified'} robustness"
            self.figure(f"fig{name}", title, [dict(cell) for cell in cells], measured, of, whats)
            printed = published_table(STUDY, f"table{name}").items()
            cells = [
                {"row": row, "column": column, "metric": PRINTED, "nodes": {}, "published": value}
                for (row, column), value in printed
            ]
            title += ", as published"
            self.figure(f"fig{name}_published", title, cells, f"From the numbers in {PAPER}, Table {name}", of, whats)

    # ---- cells -------------------------------------------------------------------------------------------------------

    def empirical(self, target: str, start: Start | None) -> dict[str, Cell]:
        """SA and RA of a model trained adversarially."""
        model = self.methods.empirical(target, start)
        outcomes = {"SA": self.methods.clean(target, model), "RA": self.methods.attacked(target, model)}
        return {what: {"metric": "accuracy", "nodes": {"outcomes": node.id}} for what, node in outcomes.items()}

    def certified(self, target: str, start: Start | None) -> dict[str, Cell]:
        """SA, RA and ACR of a model trained by consistency regularisation, smoothed."""
        return self.smoothed(target, self.methods.certified(target, start))

    def smoothed(self, target: str, model: Node) -> dict[str, Cell]:
        """SA, RA and ACR of a smoothed model."""
        nodes = {"certificates": self.methods.certificates(target, model).id}
        return {what: {"metric": metric, "nodes": nodes} for what, metric in SMOOTHED.items()}

    def by_start(self, starts: dict[str, Start | None], found: Any) -> list[Cell]:
        """A row a target, the columns of each start side by side."""
        return [
            {"row": target, "column": f"{name} {what}"} | cell
            for target in self.section.targets
            for name, start in starts.items()
            for what, cell in found(target, start).items()
        ]

    # ---- tables ------------------------------------------------------------------------------------------------------

    def table(self, name: str, title: str, cells: list[Cell], measured: str, corner: str = "Target task") -> None:
        """A table, with what the paper prints in its cells."""
        printed = published_table(STUDY, name)
        for cell in cells:
            cell["published"] = printed.get((cell["row"], cell["column"]))
        number = name.removeprefix("table")
        spec = {"title": title, "measured": measured, "corner": corner, "decimals": DECIMALS, "cells": cells}
        spec["published"] = f"{PAPER}, {f'Table {number}' if number != name else 'sections 3.2 and 3.3'}"
        self.plan.add_product("table", STUDY, name, spec)

    def table4(self) -> None:
        cells = []
        for target in self.section.compared:
            for start in ("ST", "SimCLR", "AT", "CR"):
                found = {}
                if start != "CR":
                    found |= {f"Empirical Robustness {k}": v for k, v in self.empirical(target, start).items()}
                if start != "AT":
                    found |= {f"Certified Robustness {k}": v for k, v in self.certified(target, start).items()}
                cells += [{"row": f"{target} {start}", "column": column} | cell for column, cell in found.items()]
        self.table("table4", "Robust and other pre-training", cells, self.both_ways, corner="Pre-training")

    def table5(self) -> None:
        """The last layer alone, by standard training, on a source trained for smoothing; smoothed, and not."""
        cells = []
        sigma = f"sigma = {self.section.smoothing.sigma:.4g}"
        for target in self.section.compared:
            model = self.methods.last_layer(target, "CR")
            found = {f"{sigma} {what}": cell for what, cell in self.smoothed(target, model).items()}
            nodes = {"outcomes": self.methods.clean(target, model).id}
            found |= {f"sigma = 0.0 {what}": {"metric": metric, "nodes": nodes} for what, metric in PLAIN.items()}
            cells += [{"row": target, "column": column} | cell for column, cell in found.items()]
        self.table("table5", "The last layer alone, by standard training", cells, self.certifiedly, corner="Task")

    def improvements(self) -> None:
        """Improvements over random initialisation, in per cent of it and in the mean over targets, as the text says."""
        pairs: dict[str, list[tuple[dict[str, Cell], dict[str, Cell]]]] = {}
        for kind, starts, found in (
            ("Empirical", EMPIRICAL, self.empirical),
            ("Certified", CERTIFIED, self.certified),
        ):
            for name in PRETRAINED:
                pairs[f"{kind} {name}"] = [(found(t, None), found(t, starts[name])) for t in self.section.targets]
        pairs[LAST_LAYER] = [
            (self.certified(target, None), self.smoothed(target, self.methods.last_layer(target, "CR")))
            for target in self.section.compared
        ]
        cells = [
            {"row": row, "column": what} | _mean_improvement([(before[what], after[what]) for before, after in found])
            for row, found in pairs.items()
            for what in found[0][0]
        ]
        title = "Mean improvement over random initialisation, in per cent of it"
        self.table("improvements", title, cells, self.both_ways, corner="Start")

    # ---- figures -----------------------------------------------------------------------------------------------------

    def figure(
        self, name: str, title: str, cells: list[Cell], measured: str, starts: dict[str, Start | None], whats: list[str]
    ) -> None:
        """Improvements of robustness against those of SA, a panel for each start and measure."""
        panels = [
            {
                "title": starts[start],
                "x": [f"{RANDOM} SA", f"{start} SA"],
                "y": [f"{RANDOM} {what}", f"{start} {what}"],
                "x_label": "improvement of SA (%)",
                "y_label": f"improvement of {what} (%)",
            }
            for start in PRETRAINED
            for what in whats
        ]
        spec = {"draw": "regression", "title": title, "measured": measured, "cells": cells, "panels": panels}
        self.plan.add_product("figure", STUDY, name, spec)


def _mean_improvement(pairs: list[tuple[Cell, Cell]]) -> Cell:
    """The cell that compares other cells: before and after, a pair a target."""
    nodes = {
        f"{when}{place}": node
        for place, pair in enumerate(pairs)
        for when, cell in zip(("before", "after"), pair, strict=True)
        for node in cell["nodes"].values()
    }
    return {"metric": f"mean_improvement_{pairs[0][0]['metric']}", "nodes": nodes}
