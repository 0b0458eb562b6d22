"""Davchev et al. 2019, "Towards Evaluating and Understanding Robust Optimisation under Transfer".

Networks trained on clean, FGSM or PGD examples of the source task are transferred to the target task at three depths,
again on clean, FGSM or PGD examples, and attacked in a black box (examples of one naturally trained DenseNet) and in a
white box. Table 1 holds all 24 networks; figures 2 to 5 are heatmaps of its rows.
"""

from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from robust_transfer.plan.specs import AnyAttack, Fraction, FrozenStatistics, Inputs, Schedule, Spec, Trainable
from robust_transfer.studies import extra
from robust_transfer.studies.base import Cell, Headline, Model, Numbers, figure, grid, shows, table
from robust_transfer.studies.checks import BroughtHere, DatasetName, NetworkName
from robust_transfer.studies.extra import NONE, Paper, ours

Depth = Annotated[Literal["1", "12", "56"], BeforeValidator(str)]
"""The paper's names of the depths: layers of ResNet-56 that are trained."""

DEPTHS: tuple[Depth, ...] = ("1", "12", "56")
TRAININGS = ("nat", "fgsm", "pgd")
COLUMNS = ("clean", "BB-FGSM", "BB-PGD", "WB-FGSM", "WB-PGD")
COMBINATIONS = {  # the order of Table 1: under each baseline, the source -> target combinations that follow it
    "nat": [("nat", "nat")],
    "fgsm": [("fgsm", "nat"), ("nat", "fgsm"), ("fgsm", "fgsm")],
    "pgd": [("pgd", "nat"), ("nat", "pgd"), ("pgd", "pgd")],
}


BEST = 7
"""Rows of figure 3 that are the best of twelve: as many as the paper shows, without saying by what. In its numbers they
are those with the highest mean over the columns.
"""
REMARK = "; of the defended transfers the seven with the highest mean over the columns, as many as the paper shows"


class Attacks(Spec):
    """The attacks, each on its own so that one can be changed alone."""

    train_fgsm: AnyAttack = Field(alias="train-FGSM")
    """The attack of FGSM adversarial training."""
    train_pgd: AnyAttack = Field(alias="train-PGD")
    """The attack of PGD adversarial training."""
    bb_fgsm: AnyAttack = Field(alias="BB-FGSM")
    """FGSM against the substitute: a black box."""
    bb_pgd: AnyAttack = Field(alias="BB-PGD")
    """PGD against the substitute: a black box."""
    wb_fgsm: AnyAttack = Field(alias="WB-FGSM")
    """FGSM against the evaluated model itself: a white box."""
    wb_pgd: AnyAttack = Field(alias="WB-PGD")
    """PGD against the evaluated model itself: a white box."""


class Schedules(Spec):
    """How long and how fast each training goes."""

    natural: Schedule
    """Natural training from a random start."""
    adversarial: Schedule
    """Adversarial training from a random start."""
    substitute: Schedule
    """The black box's source."""
    transfer: Schedule
    """Every target model."""
    adversarial_transfer: Schedule | None = None
    """Target models on adversarial examples, where they differ."""


class Section(extra.Section):
    """The `davchev` part of the config."""

    attackers = (*extra.Section.attackers, "substitute")

    source: DatasetName
    """The data set that is transferred from."""
    target: DatasetName
    """The data set that is transferred to."""
    network: NetworkName
    """The network of all source and target models."""
    substitute: NetworkName
    """The network of the black box's substitute."""
    brought: dict[Literal["nat", "fgsm", "pgd", "substitute"], BroughtHere] = {}  # noqa: RUF012 (pydantic copies it)
    """The sources, by how they were trained, and the substitute on the target that are not trained here."""
    depths: Annotated[dict[Depth, Trainable], Field(min_length=3)]
    """What each of the paper's depths trains."""
    frozen_statistics: FrozenStatistics
    """Whether batch norm's running statistics stay in the frozen part, or are updated with the new data."""
    clean_weight: Fraction
    """The clean batch's share of an adversarial run's loss."""
    attacks: Attacks
    schedules: Schedules

    @property
    def starts(self) -> tuple[str, ...]:
        return (*TRAININGS, NONE)

    @property
    def all_targets(self) -> dict[str, str]:
        return {self.target: self.target} | self.extra.targets

    def printed(self) -> dict[str, Collection[str]]:
        rows = [row for panel in figure_panels()["fig4"] for row in rows_of(panel)]
        return {"methods": rows, "attacks": COLUMNS, "targets": ()}


def figure_panels() -> dict[str, list[dict]]:
    """For each heatmap its panels (each normalised by itself), and their rows in blocks between the white lines.

    The paper's text names the rows of figure 2 and says that figure 4 is complete. The grouping within figures 4 and 5
    is read from the captions; the text does not list it. Figure 3 has "the best models", which a panel's `best` finds
    when the numbers are there: see figures/heatmap.
    """
    baselines = ["R_nat", "R_fgsm", "R_pgd"]
    to_nat = {depth: [f"R_{start}->nat {depth}" for start in TRAININGS] for depth in DEPTHS}
    to_adversarial = {
        depth: [f"R_{start}->{training} {depth}" for start, training in (
            ("nat", "fgsm"), ("nat", "pgd"), ("fgsm", "fgsm"), ("pgd", "pgd"))]
        for depth in DEPTHS
    }  # fmt: skip

    def one_attack(attack: str) -> dict:
        combinations = ((attack, "nat"), ("nat", attack), (attack, attack))
        blocks = [[f"R_{start}->{training} {depth}" for depth in DEPTHS] for start, training in combinations]
        return {"title": attack.upper(), "row_blocks": [[f"R_{attack}"], *blocks]}

    routines = [[("nat", "fgsm"), ("nat", "pgd")], [("fgsm", "fgsm"), ("pgd", "pgd")]]
    defended = [[f"R_{start}->{to} {depth}" for start, to in block for depth in DEPTHS] for block in routines]
    undefended = [f"R_nat->nat {depth}" for depth in DEPTHS]
    return {
        "fig2": [{"title": "", "row_blocks": [baselines, *to_nat.values()]}],
        "fig3": [{"title": "", "row_blocks": [baselines, undefended], "best": {"count": BEST, "row_blocks": defended}}],
        "fig4": [{"title": "", "row_blocks": [baselines, *(to_nat[d] + to_adversarial[d] for d in DEPTHS)]}],
        "fig5": [one_attack("fgsm"), one_attack("pgd")],
    }


def rows_of(panel: dict) -> list[str]:
    """All rows that a panel may show."""
    return [row for part in (panel, panel.get("best", {})) for block in part.get("row_blocks", ()) for row in block]


def renamed(panel: dict, target: str) -> dict:
    """A panel of the paper for a target of one's own."""

    def blocks(part: dict) -> dict:
        return part | {"row_blocks": [[on(row, target) for row in block] for block in part["row_blocks"]]}

    best = {"best": blocks(panel["best"])} if "best" in panel else {}
    return blocks(panel) | best | {"title": on(panel["title"], target).strip()}


def heatmap(number: int, title: str, printed: bool = False, remark: str = "") -> Callable:
    """A figure of the paper: those cells of table 1 whose rows are in its panels. printed: of the paper's numbers.
    remark: what its caption says beside the rest.
    """
    columns = [["clean"], ["BB-FGSM", "BB-PGD"], ["WB-FGSM", "WB-PGD"]]

    def drawn(self: "Davchev") -> dict[str, Any]:
        panels, own = self.panels(f"fig{number}"), list(self.section.extra.attacks)
        rows = {row for panel in panels for row in rows_of(panel)}
        cells = [cell for cell in self.cells if cell["row"] in rows]
        return {"panels": panels, "column_blocks": columns + ([own] if own else []), "cells": cells}

    def from_paper(self: "Davchev") -> dict[str, Any]:
        panels = figure_panels()[f"fig{number}"]
        rows = {row for panel in panels for row in rows_of(panel)}
        cells = [cell for cell in self.printed("table1") if cell["row"] in rows]
        return {"panels": panels, "column_blocks": columns, "cells": cells}

    if printed:
        caption = f"From the numbers in Davchev et al. 2019, Table 1{remark}"
        named = f"fig{number}_published", "normalised_heatmap", f"{title}, as published"
        return figure(*named, caption=caption)(from_paper)
    return figure(number, "normalised_heatmap", title, measured=lambda self: self.measured() + remark)(drawn)


def on(row: str, target: str) -> str:
    """The row of a network on a target of one's own."""
    return f"{row} on {target}"


class Davchev(Paper[Section]):
    """Table 1 and figures 2 to 5, these also from the printed numbers."""

    name, paper = "davchev", "Davchev et al. 2019"
    Section = Section

    def headline(self) -> Headline:
        """Robust sources, targets and from scratch, clean and under the strongest attack."""
        rows = ["R_fgsm->nat 12", "R_pgd->nat 12", "R_fgsm->fgsm 56", "R_pgd->pgd 56", "R_pgd"]
        return "table1", [(row, column) for row in rows for column in ("clean", "WB-PGD")]

    def measured(self) -> str:
        section, target = self.section, self.settings.datasets[self.section.target]
        network, substitute = self.network(section.network), self.network(section.substitute)
        return f"{self.scene(section.source, target.slug)}, {network.slug}, black box from {substitute.slug}"

    # ---- models ------------------------------------------------------------------------------------------------------

    def from_scratch(self, data: str, training: str) -> Model:
        """A network trained from a random start: a source, or a baseline on the target."""
        schedules, brought = self.section.schedules, self.section.brought
        if data == self.section.source and training in brought:
            network = self.network(self.section.network)
            return self.brought(network, f"brought.{training}", brought[training], own=self.data(data))
        schedule = schedules.natural if training == "nat" else schedules.adversarial
        return self.pretrained(
            self.data(data), self.network(self.section.network), schedule, inputs=self.inputs(training)
        )

    def target_model(self, start: str, training: str, depth: Depth, target: str) -> Model:
        """A source, trained on the target at some depth."""
        section, schedules = self.section, self.section.schedules
        adversarial = schedules.adversarial_transfer or schedules.transfer
        return self.transferred(
            self.data(target),
            self.from_scratch(section.source, start),
            schedules.transfer if training == "nat" else adversarial,
            trainable=section.depths[depth],
            # Where all is trained nothing is frozen, and the switch must not make another node.
            frozen_statistics="freeze" if section.depths[depth] == "all" else section.frozen_statistics,
            inputs=self.inputs(training),
        )

    def inputs(self, training: str) -> Inputs:
        """Clean images, or both clean and adversarial ones."""
        attacks = self.section.attacks
        attack = {"nat": None, "fgsm": attacks.train_fgsm, "pgd": attacks.train_pgd}[training]
        return Inputs(attack=attack, clean_weight=self.section.clean_weight if attack else 0.5)

    def sources(self) -> Iterator[tuple[str, Model, AnyAttack]]:
        """Natural, FGSM and PGD training on the source task."""
        for training in TRAININGS:
            yield f"R_{training}", self.from_scratch(self.section.source, training), self.section.attacks.wb_pgd

    # ---- rows and columns --------------------------------------------------------------------------------------------

    def rows(self, target: str) -> Iterator[tuple[str, Model]]:
        """All networks: under each baseline, what was transferred with its training."""
        for baseline, combinations in COMBINATIONS.items():
            yield f"R_{baseline}", self.from_scratch(target, baseline)
            for start, training in combinations:
                for depth in DEPTHS:
                    yield f"R_{start}->{training} {depth}", self.target_model(start, training, depth, target)

    def own_rows(self, target: str) -> Iterator[tuple[str, Model]]:
        """The networks of methods of one's own, and ready ones. target: by its name in Section.all_targets."""
        data = self.data(self.section.all_targets[target])
        for name, method in self.section.extra.methods.items():
            source = self.from_scratch(self.section.source, method.source("nat"))
            yield name, self.own(method, data, source)
        yield from self.ready(target, data).items()

    def numbers(self, model: Model) -> Numbers:
        """The accuracies: clean, on the black box's examples, and on the network's own."""
        attacks, substitute = self.section.attacks, self.substitute(model.data.name)
        attackers = [(substitute, attacks.bb_fgsm), (substitute, attacks.bb_pgd)]
        attackers += [(model, attacks.wb_fgsm), (model, attacks.wb_pgd)]
        outcomes = [self.clean(model), *(self.attacked(model, attack, attacker) for attacker, attack in attackers)]
        numbers = {column: shows("accuracy", outcomes=each) for column, each in zip(COLUMNS, outcomes, strict=True)}
        return numbers | self.under_own(model, "accuracy", substitute=substitute)

    def substitute(self, target: str) -> Model:
        """The black box's source: what the attacker has in place of the attacked network."""
        network, brought = self.network(self.section.substitute), self.section.brought.get("substitute")
        if brought and target == self.section.target:
            return self.brought(network, "brought.substitute", brought, data=self.data(target))
        return self.pretrained(self.data(target), network, self.section.schedules.substitute)

    @cached_property
    def cells(self) -> list[Cell]:
        """Those of all networks; again for each target of one's own."""
        section = self.section
        found = [*grid(self.rows(section.target), self.numbers)]
        found += ours(grid(self.own_rows(section.target), self.numbers))
        for name, target in section.extra.targets.items():
            rows = ((on(row, name), model) for row, model in (*self.rows(target), *self.own_rows(name)))
            found += ours(grid(rows, self.numbers))
        return found

    def panels(self, name: str) -> list[dict]:
        """Those of a heatmap of the paper, with methods and models of one's own where all networks stand; and again for
        each target of one's own.
        """
        extra, panels = self.section.extra, []
        for target in (None, *extra.targets):
            ready = [each for each, model in extra.models.items() if model.target == (target or self.section.target)]
            for panel in figure_panels()[name]:
                if name == "fig4" and (own := [*extra.methods, *ready]):
                    panel = panel | {"row_blocks": [*panel["row_blocks"], own]}
                panels.append(renamed(panel, target) if target else panel)
        return panels

    # ---- tables and figures ------------------------------------------------------------------------------------------

    @table(
        1,
        "Accuracy (per cent) under black-box and white-box attacks",
        corner="Network",
        on="CIFAR-100 -> CIFAR-10, ResNet-56, black box from DenseNet-121",
    )
    def table1(self) -> list[Cell]:
        """All networks under all attacks."""
        return self.cells

    figure2 = heatmap(2, "Robustness inherited by natural transfer")
    figure2_published = heatmap(2, "Robustness inherited by natural transfer", printed=True)
    figure3 = heatmap(3, "Training routines compared", remark=REMARK)
    figure3_published = heatmap(3, "Training routines compared", printed=True, remark=REMARK)
    figure4 = heatmap(4, "All networks")
    figure4_published = heatmap(4, "All networks", printed=True)
    figure5 = heatmap(5, "FGSM against PGD")
    figure5_published = heatmap(5, "FGSM against PGD", printed=True)
