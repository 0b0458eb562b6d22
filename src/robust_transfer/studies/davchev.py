"""Davchev et al. 2019, "Towards Evaluating and Understanding Robust Optimisation under Transfer".

Networks trained on clean, FGSM or PGD examples of the source task are transferred to the target task at three depths,
again on clean, FGSM or PGD examples, and attacked in a black box (examples of one naturally trained DenseNet) and in a
white box. Table 1 holds all 24 networks; figures 2 to 5 are heatmaps of its rows.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from robust_transfer.plan import build
from robust_transfer.plan.config import Settings, check_depth, look_up
from robust_transfer.plan.graph import Node, Plan
from robust_transfer.plan.published import published_table
from robust_transfer.plan.specs import AnyAttack, Fraction, Inputs, Recipe, Schedule, Spec, Trainable
from robust_transfer.studies.protocols import Headline

Depth = Annotated[Literal["1", "12", "56"], BeforeValidator(str)]
"""The paper's names of the depths: layers of ResNet-56 that are trained."""

DEPTHS = ("1", "12", "56")
TRAININGS = ("nat", "fgsm", "pgd")
COLUMNS = ("clean", "BB-FGSM", "BB-PGD", "WB-FGSM", "WB-PGD")
COMBINATIONS = {  # the order of Table 1: under each baseline, the source -> target combinations that follow it
    "nat": [("nat", "nat")],
    "fgsm": [("fgsm", "nat"), ("nat", "fgsm"), ("fgsm", "fgsm")],
    "pgd": [("pgd", "nat"), ("nat", "pgd"), ("pgd", "pgd")],
}


class Attacks(Spec):
    """The attacks, each on its own so that one can be changed alone."""

    train_fgsm: AnyAttack = Field(alias="train-FGSM")
    train_pgd: AnyAttack = Field(alias="train-PGD")
    bb_fgsm: AnyAttack = Field(alias="BB-FGSM")
    bb_pgd: AnyAttack = Field(alias="BB-PGD")
    wb_fgsm: AnyAttack = Field(alias="WB-FGSM")
    wb_pgd: AnyAttack = Field(alias="WB-PGD")


class Schedules(Spec):
    """natural, adversarial: from a random start; substitute: the black box's source; transfer: every target model."""

    natural: Schedule
    adversarial: Schedule
    substitute: Schedule
    transfer: Schedule


class Section(Spec):
    """The `davchev` part of the config.

    source, target: names of data sets. network, substitute: names of networks.
    depths: what each of the paper's depths trains.
    clean_weight: the clean batch's share of an adversarial run's loss.
    evaluated_on: test is what is reported; validation is for choosing values (eps, a schedule, a network).
    """

    source: str
    target: str
    network: str
    substitute: str
    depths: Annotated[dict[Depth, Trainable], Field(min_length=3)]
    frozen_statistics: Literal["hold", "drift"]
    clean_weight: Fraction
    attacks: Attacks
    schedules: Schedules
    evaluated_on: Literal["test", "validation"] = "test"


def plan(settings: Settings, section: Section, plan: Plan, mistakes: list[str]) -> None:
    """Add Table 1, figures 2 to 5 and all that they need."""
    source = look_up(section.source, settings.datasets, "data set", "davchev.source", mistakes)
    target = look_up(section.target, settings.datasets, "data set", "davchev.target", mistakes)
    network = look_up(section.network, settings.networks, "network", "davchev.network", mistakes)
    substitute = look_up(section.substitute, settings.networks, "network", "davchev.substitute", mistakes)
    for depth, trainable in section.depths.items():
        check_depth(trainable, network, f"davchev.depths.{depth}", mistakes)
    for role, data in (("source", source), ("target", target)):
        wanting = [f"schedules.{name}.select" for name, value in section.schedules if value.select == "best_validation"]
        wanting += ["evaluated_on"] if section.evaluated_on == "validation" else []
        if data and data.validation == 0 and wanting:
            mistakes.append(
                f"davchev.{wanting[0]}: a validation split is wanted; set "
                f"datasets.{getattr(section, role)}.validation above 0, or select: last"
            )
    if mistakes:
        return

    attacks, schedules = section.attacks, section.schedules
    source_data, target_data = build.prepare(plan, source), build.prepare(plan, target)

    def inputs(training: str) -> Inputs:
        attack = {"nat": None, "fgsm": attacks.train_fgsm, "pgd": attacks.train_pgd}[training]
        return Inputs(attack=attack, clean_weight=section.clean_weight if attack else 0.5)

    def seeded(schedule: Schedule) -> Schedule:
        return schedule if "seed" in schedule.model_fields_set else schedule.model_copy(update={"seed": settings.seed})

    def from_scratch(data: Node, training: str) -> Node:
        schedule = schedules.natural if training == "nat" else schedules.adversarial
        recipe = Recipe(network=network, inputs=inputs(training), schedule=seeded(schedule))
        return build.pretrain(plan, data, recipe)

    def transferred(start: str, training: str, depth: str) -> Node:
        recipe = Recipe(
            trainable=section.depths[depth],
            # Where all is trained nothing is frozen, and the switch must not make another node.
            frozen_statistics="hold" if section.depths[depth] == "all" else section.frozen_statistics,
            inputs=inputs(training),
            schedule=seeded(schedules.transfer),
        )
        return build.transfer(plan, target_data, recipe, start=sources[start])

    def crafted(model: Node, attack: AnyAttack) -> Node:
        return build.craft(plan, model, target_data, attack, settings.seed, section.evaluated_on)

    sources = {training: from_scratch(source_data, training) for training in TRAININGS}
    networks: dict[str, Node] = {}
    for baseline, combinations in COMBINATIONS.items():
        networks[f"R_{baseline}"] = from_scratch(target_data, baseline)
        for start, training in combinations:
            for depth in DEPTHS:
                networks[f"R_{start}->{training} {depth}"] = transferred(start, training, depth)

    recipe = Recipe(network=substitute, schedule=seeded(schedules.substitute))
    black_box = build.pretrain(plan, target_data, recipe)
    shown_to_all = {
        "BB-FGSM": crafted(black_box, attacks.bb_fgsm),
        "BB-PGD": crafted(black_box, attacks.bb_pgd),
    }

    printed = published_table("davchev", "table1")
    cells = []
    for row, model in networks.items():
        examples = {
            "clean": None,
            **shown_to_all,
            "WB-FGSM": crafted(model, attacks.wb_fgsm),
            "WB-PGD": crafted(model, attacks.wb_pgd),
        }
        for column in COLUMNS:
            outcome = build.evaluate(plan, model, target_data, examples[column], section.evaluated_on)
            cells.append(
                {
                    "row": row,
                    "column": column,
                    "metric": "accuracy",
                    "nodes": {"outcomes": outcome.id},
                    "published": printed.get((row, column)),
                }
            )

    measured = (
        f"Measured at scale {settings.scale}: {source.slug} -> {target.slug}, {network.slug}, black box from "
        f"{substitute.slug}, {section.evaluated_on} split, protocol {settings.protocol}"
    )
    plan.add_product(
        "table",
        "davchev",
        "table1",
        {
            "title": "Accuracy (per cent) under black-box and white-box attacks",
            "measured": measured,
            "published": "Davchev et al. 2019, Table 1: CIFAR-100 -> CIFAR-10, ResNet-56, black box from DenseNet-121",
            "corner": "Network",
            "cells": cells,
        },
    )
    for name, panels in figure_panels().items():
        rows = {row for panel in panels for block in panel["row_blocks"] for row in block}
        plan.add_product(
            "figure",
            "davchev",
            name,
            {
                "draw": "normalised_heatmap",
                "title": FIGURE_TITLES[name],
                "measured": measured,
                "panels": panels,
                "column_blocks": [["clean"], ["BB-FGSM", "BB-PGD"], ["WB-FGSM", "WB-PGD"]],
                "cells": [{k: v for k, v in cell.items() if k != "published"} for cell in cells if cell["row"] in rows],
            },
        )


def headline(section: Section) -> Headline:
    """Robust sources, targets and from scratch, clean and under the strongest attack."""
    rows = ["R_fgsm->nat 12", "R_pgd->nat 12", "R_fgsm->fgsm 56", "R_pgd->pgd 56", "R_pgd"]
    return "table1", [(row, column) for row in rows for column in ("clean", "WB-PGD")]


FIGURE_TITLES = {
    "fig2": "Robustness inherited by natural transfer",
    "fig3": "Training routines compared",
    "fig4": "All networks",
    "fig5": "FGSM against PGD",
}


def figure_panels() -> dict[str, list[dict]]:
    """For each heatmap its panels (each normalised by itself), and their rows in blocks between the white lines.

    The paper's text names the rows of figure 2 and says that figure 4 is complete. The rows of figure 3 ("the best
    models") and the grouping within figures 4 and 5 are read from the captions; the text does not list them.
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

    best = [
        ["R_nat->fgsm 12", "R_nat->fgsm 56", "R_nat->pgd 56"],
        ["R_fgsm->fgsm 12", "R_fgsm->fgsm 56", "R_pgd->pgd 12", "R_pgd->pgd 56"],
    ]
    undefended = [f"R_nat->nat {depth}" for depth in DEPTHS]
    return {
        "fig2": [{"title": "", "row_blocks": [baselines, *to_nat.values()]}],
        "fig3": [{"title": "", "row_blocks": [baselines, undefended, *best]}],
        "fig4": [{"title": "", "row_blocks": [baselines, *(to_nat[d] + to_adversarial[d] for d in DEPTHS)]}],
        "fig5": [one_attack("fgsm"), one_attack("pgd")],
    }
