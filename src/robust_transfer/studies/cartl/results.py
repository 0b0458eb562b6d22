"""The paper's tables and figures, cell by cell."""

from typing import Any

from robust_transfer.plan import build
from robust_transfer.plan.config import Settings
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.published import published_table
from robust_transfer.studies.cartl.methods import Methods, Model
from robust_transfer.studies.cartl.section import STUDY, Pair, Scenario, Section

PAPER = "Chen et al. 2021"
METHODS = ["LwF", "Vanilla", "CARTL"]
ACC, ROB = "Acc.", "Rob."
ACCURACY = {"metric": "accuracy", "label": "accuracy (%)"}
ROBUSTNESS = {"metric": "robustness", "label": "robustness (%)"}
AFFINE = {"-": "train", "W b": "freeze"}
"""Rows of table 1: what of the fine-tuned part's batch norms is frozen."""
STATISTICS = {"W b": "drift", "mu sigma W b": "hold"}
"""Columns of table 1: what of the feature extractor's is."""


class Results:
    """Adds every table and figure."""

    def __init__(self, settings: Settings, section: Section, plan: Plan, methods: Methods):
        self.settings, self.section, self.plan, self.methods = settings, section, plan, methods
        attack = section.attack
        name = attack.algorithm.upper() + f"-{attack.steps}" * (attack.steps > 1)
        name += f" with {attack.restarts} restarts" * (attack.restarts > 1)
        self.measured = (
            f"Measured at scale {settings.scale}: robustness is accuracy under {name} on the model itself, "
            f"eps {attack.eps:.4g}, {section.evaluated_on} split, protocol {settings.protocol}"
        )

    def add(self) -> None:
        """Tables 1 to 4, figures 3 to 5."""
        self.table1()
        self.table2()
        self.table3()
        self.table4()
        self.figure3()
        self.figure4()
        self.figure5()

    # ---- cells -------------------------------------------------------------------------------------------------------

    def outcomes(self, model: Model) -> dict[str, dict[str, Any]]:
        """Accuracy and robustness of a model, each as metric and nodes."""
        attack, split = self.section.attack, self.section.evaluated_on
        examples = build.craft(self.plan, model.node, model.data, attack, self.settings.seed, split)
        clean = build.evaluate(self.plan, model.node, model.data, split=split)
        adversarial = build.evaluate(self.plan, model.node, model.data, examples)
        return {
            ACC: {"metric": "accuracy", "nodes": {"outcomes": clean.id}},
            ROB: {"metric": "robustness", "nodes": {"outcomes": adversarial.id}},
        }

    def columns(self, row: str, column: str, model: Model) -> list[dict[str, Any]]:
        """A table's two cells of a model."""
        return [{"row": row, "column": f"{column} {what}"} | cell for what, cell in self.outcomes(model).items()]

    def points(self, row: str, column: str, model: Model) -> list[dict[str, Any]]:
        """A figure's two cells of a model."""
        return [{"row": row, "column": column} | cell for cell in self.outcomes(model).values()]

    # ---- tables ------------------------------------------------------------------------------------------------------

    def table(self, name: str, title: str, cells: list[dict[str, Any]], corner: str) -> None:
        """A table, with what the paper prints in its cells."""
        printed = published_table(STUDY, name)
        for cell in cells:
            cell["published"] = printed.get((cell["row"], cell["column"]))
        spec = {"title": title, "measured": self.measured, "corner": corner, "decimals": 2, "cells": cells}
        spec["published"] = f"{PAPER}, Table {name.removeprefix('table')}"
        self.plan.add_product("table", STUDY, name, spec)

    def table1(self) -> None:
        """Vanilla transfer, with batch norm's parts frozen or not."""
        cells = []
        for scenario in self.section.batch_norm:
            for row, affine in AFFINE.items():
                for column, statistics in STATISTICS.items():
                    model = self.methods.vanilla(scenario, scenario.k, affine=affine, frozen_statistics=statistics)
                    cells += self.columns(f"{arrow(scenario)} (k = {scenario.k}) {row}", column, model)
        title = "Frozen parts of batch norm: in the fine-tuned blocks (rows) and in the feature extractor (columns)"
        self.table("table1", title, cells, "Transfer")

    def table2(self) -> None:
        """CARTL for every k, lambda and beta."""
        main, section = self.section.main, self.section
        cells = []
        for case, k in section.cases.items():
            for weight in section.fdm.weights:
                for beta in section.neft.betas:
                    model = self.methods.neft(main, k, beta, weight)
                    cells += self.columns(f"{case} lambda = {weight:g}", f"NEFT beta = {beta}", model)
        title = f"CARTL on {arrow(main)}: lambda of FDM, beta of NEFT, and k ({self.cases()})"
        self.table("table2", title, cells, "Case")

    def table3(self) -> None:
        """The parts of CARTL, one by one."""
        main, beta, weight = self.section.main, self.section.neft.beta, self.section.fdm.weight
        cells = []
        for case, k in self.section.cases.items():
            models = {
                "AT TL": self.methods.vanilla(main, k),
                "AT NEFT": self.methods.neft(main, k, beta, None),
                "AT + FDM NEFT": self.methods.neft(main, k, beta, weight),
            }
            for row, model in models.items():
                cells += self.columns(row, case, model)
        self.table("table3", f"The parts of CARTL on {arrow(main)} ({self.cases()})", cells, "Method")

    def cases(self) -> str:
        """What the cases' names mean in this network."""
        section = self.section
        units = self.settings.networks[section.sources[section.main.source].network].units
        return f"{', '.join(section.cases)}: the last {', '.join(map(str, section.cases.values()))} of {units} units"

    def table4(self) -> None:
        """LwF, vanilla and CARTL in several scenarios."""
        cells = []
        for scenario in self.section.comparison:
            for method, model in self.compared(scenario).items():
                cells += self.columns(row_of(self.section, scenario), method, model)
        self.table("table4", "Learning without forgetting, vanilla transfer and CARTL", cells, "Transfer")

    def compared(self, scenario: Scenario, share: float = 1.0) -> dict[str, Model]:
        """The three methods, by their printed names."""
        models = [
            self.methods.lwf(scenario, share=share),
            self.methods.vanilla(scenario, scenario.k, share),
            self.methods.cartl(scenario, scenario.k, share),
        ]
        return dict(zip(METHODS, models, strict=True))

    # ---- figures -----------------------------------------------------------------------------------------------------

    def figure(self, name: str, draw: str, title: str, cells: list[dict[str, Any]], **more: Any) -> None:
        spec = {"draw": draw, "title": title, "measured": self.measured, "cells": cells, **more}
        self.plan.add_product("figure", STUDY, name, spec)

    def figure3(self) -> None:
        """Accuracy and robustness of vanilla transfer along k, a panel a scenario."""
        cells = []
        for sweep in self.section.depths:
            for k in sweep.k:
                cells += self.points(arrow(sweep), str(k), self.methods.vanilla(sweep, k))
        self.figure(
            "fig3",
            "curves",
            "Vanilla transfer of robust networks",
            cells,
            panels="row",
            metrics=[ACCURACY | {"label": "accuracy"}, ROBUSTNESS | {"label": "robustness"}],
            x="fine-tuned blocks k",
            y={"label": "per cent", "limits": [0, 100]},
        )

    def figure4(self) -> None:
        """Robustness against accuracy: CARTL and vanilla along k, LwF along lambda_d."""
        main, section, methods = self.section.main, self.section, self.methods
        depths, cells = dict.fromkeys(section.cases.values()), []
        for k in depths:
            cells += self.points("CARTL", str(k), methods.cartl(main, k))
        for weight in section.lwf.weights:
            cells += self.points("LwF", f"{weight:g}", methods.lwf(main, weight))
        for k in depths:
            cells += self.points("Vanilla", str(k), methods.vanilla(main, k))
        self.figure(
            "fig4",
            "tradeoff",
            f"Robustness and accuracy on {arrow(main)}",
            cells,
            x=ACCURACY,
            y=ROBUSTNESS,
            sweep="k of CARTL and vanilla, lambda_d of LwF",
        )

    def figure5(self) -> None:
        """The three methods on parts of the training images, and on all."""
        section = self.section
        scenario = Scenario(k=section.less_data.k, **section.main.model_dump())
        shares = section.less_data.shares | {"100%": 1.0}
        cells = []
        for column, share in shares.items():
            for row, model in self.compared(scenario, share).items():
                cells += self.points(row, column, model)
        self.figure(
            "fig5",
            "curves",
            f"A part of the training images of {arrow(scenario)} (k = {scenario.k})",
            cells,
            metrics=[ACCURACY, ROBUSTNESS],
            x="training images (%)",
            values={column: 100 * share for column, share in shares.items()},
            scale="log",
        )


def row_of(section: Section, scenario: Scenario) -> str:
    """A row of table 4."""
    architecture = section.sources[scenario.source].architecture
    return f"{scenario.source} {scenario.target} {architecture} (k = {scenario.k})"


def arrow(pair: Pair) -> str:
    """`CIFAR-100 -> CIFAR-10`."""
    return f"{pair.source} -> {pair.target}"
