"""The methods of the paper as nodes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from robust_transfer.plan import build
from robust_transfer.plan.config import Settings
from robust_transfer.plan.graph import Node, Plan
from robust_transfer.plan.specs import AnyNetwork, Inputs, Recipe, Schedule, Terms
from robust_transfer.studies.renofeation.section import Section

GRID = ["lr", "momentum", "weight_decay"]
LAMBDA = "feature_distillation"


@dataclass
class Task:
    """One pretrained network on one target task: what all its methods share, and the methods' models by name.

    choices: method -> the node that chose its values.
    """

    source: Node
    network: AnyNetwork
    data: Node
    examples: Node
    models: dict[str, Node] = field(default_factory=dict)
    choices: dict[str, Node] = field(default_factory=dict)


class Methods:
    """The methods as nodes. Each function fills in models (and choices) of a task."""

    def __init__(self, settings: Settings, section: Section, plan: Plan):
        self.settings, self.section, self.plan = settings, section, plan

    def task(self, name: str, target: str) -> Task:
        """The pretrained network, the target's data, and the one set of adversarial examples for both."""
        settings, section, plan = self.settings, self.section, self.plan
        pretrained = section.networks[name]
        network = settings.networks[pretrained.network]
        if pretrained.weights:
            source = build.bring(plan, network, pretrained.weights)
        else:
            data = build.prepare(plan, settings.datasets[section.source])
            source = build.pretrain(plan, data, Recipe(network=network, schedule=self.seeded(section.schedules.source)))
        data = build.prepare(plan, settings.datasets[section.targets[target]])
        attack = section.attack
        if attack.space == "normalised":
            normalise = {"mean": network.normalise.mean, "std": network.normalise.std}
            attack = attack.model_copy(update=normalise)
        examples = build.craft(plan, source, data, attack, settings.seed, section.evaluated_on)
        return Task(source, network, data, examples)

    def seeded(self, schedule: Schedule, **values: float) -> Schedule:
        """A schedule with the config's seed, unless it has one of its own, and with other values."""
        seed = {} if "seed" in schedule.model_fields_set else {"seed": self.settings.seed}
        return schedule.model_copy(update=seed | values)

    def recipe(self, schedule: Schedule, **parts: Any) -> Recipe:
        """A target recipe: the head's penalty is the same for all methods."""
        terms = parts.pop("terms", {})
        return Recipe(
            terms=Terms(head_penalty=self.section.head_penalty, **terms), schedule=self.seeded(schedule), **parts
        )

    def best(self, task: Task, candidates: list[tuple[dict[str, float], Node]]) -> Node:
        return build.choose(self.plan, task.data, candidates, self.section.chosen_on)

    # ---- methods that inherit weights --------------------------------------------------------------------------------

    def tuned_family(self, task: Task, target: str) -> None:
        """Linear classifier, fine-tuning, L2-SP, DELTA: the grid for the first two; the others take what fine-tuning
        chose and try their lambdas.
        """
        section = self.section
        grid = [dict(zip(GRID, point, strict=True)) for point in product(*(getattr(section.grid, n) for n in GRID))]

        def searched(**parts: Any) -> Node:
            recipe = self.recipe(section.schedules.fine_tuning, **parts)
            return self.best(
                task,
                [
                    (point, build.transfer(self.plan, task.data, recipe.with_values(point), start=task.source))
                    for point in grid
                ],
            )

        def swept(term: str, values: list[float], teacher: Node | None) -> Node:
            candidates = []
            for value in values:
                recipe = self.recipe(section.schedules.fine_tuning, terms={term: value}, tuned=GRID)
                model = build.transfer(
                    self.plan, task.data, recipe, start=task.source, teacher=teacher, tuned=task.choices["Fine-tuning"]
                )
                candidates.append(({term: value}, model))
            return self.best(task, candidates)

        task.choices["Linear classifier"] = searched(trainable="head")
        task.choices["Fine-tuning"] = searched()
        task.choices["L2-SP"] = swept("start_distance", section.lambdas.l2_sp, None)
        if given := section.given.get(target):
            values = {name: getattr(given, name) for name in GRID} | {"feature_distillation": given.delta}
            recipe = self.recipe(section.schedules.fine_tuning).with_values(values)
            model = build.transfer(self.plan, task.data, recipe, start=task.source, teacher=task.source)
            task.choices["DELTA"] = self.best(task, [(values, model)])
        else:
            task.choices["DELTA"] = swept("feature_distillation", section.lambdas.delta, task.source)
        task.models |= task.choices
        recipe = self.recipe(
            section.schedules.adversarial,
            inputs=Inputs(attack=section.adversarial_training, mixing="either"),
            tuned=[*GRID, LAMBDA],
        )
        task.models["DELTA adv. trained"] = self.distilled(task, recipe, start=task.source, like="DELTA")

    def distilled(self, task: Task, recipe: Recipe, like: str, start: Node | None = None) -> Node:
        """A run with the pretrained network as teacher; values in recipe.tuned are those that `like` chose."""
        return build.transfer(self.plan, task.data, recipe, start=start, teacher=task.source, tuned=task.choices[like])

    def averaged(self, task: Task, start: Node, like: str | None, tuned: Sequence[str] = (), **parts: Any) -> Node:
        """The phase of weight averaging, which goes on from a trained model.

        tuned: what it takes from the choice made for `like`, besides the weight of the features' distance.
        """
        recipe = self.recipe(
            self.section.schedules.averaging,
            head="keep",
            averaging=self.section.averaging,
            tuned=[*tuned, LAMBDA] if like else [],
            **parts,
        )
        if like:
            return self.distilled(task, recipe, like, start)
        return build.transfer(self.plan, task.data, recipe, start=start)

    # ---- methods that start at random --------------------------------------------------------------------------------

    def random_recipe(self, task: Task, **parts: Any) -> Recipe:
        return self.recipe(self.section.schedules.re_training, network=task.network, initialisation="pytorch", **parts)

    def random_family(self, task: Task, target: str) -> None:
        """Re-training; DELTA-R for every lambda; its best, with dropout, with averaging, with both (Renofeation)."""
        section = self.section
        task.models["Re-training"] = build.pretrain(self.plan, task.data, self.random_recipe(task))
        given = section.given.get(target)
        candidates = []
        for value in sorted({*section.lambdas.delta_r, *([given.delta_r] if given else [])}):
            recipe = self.random_recipe(task, terms={LAMBDA: value})
            model = build.transfer(self.plan, task.data, recipe, teacher=task.source)
            task.models[f"lambda {value:g}"] = model
            if given is None or given.delta_r == value:
                candidates.append(({LAMBDA: value}, model))
        task.choices["DELTA-R"] = task.models["DELTA-R"] = self.best(task, candidates)
        dropped = self.random_recipe(task, dropout=section.dropout, tuned=[LAMBDA])
        task.models["DELTA-R + dropout"] = self.distilled(task, dropped, "DELTA-R")
        task.models["DELTA-R + SWA"] = self.averaged(task, task.models["DELTA-R"], "DELTA-R")
        task.models["Renofeation"] = self.averaged(
            task, task.models["DELTA-R + dropout"], "DELTA-R", dropout=section.dropout
        )

    def with_regularisation(self, task: Task) -> None:
        """Figure 6: dropout and averaging on DELTA and on re-training."""
        section, models = self.section, task.models
        recipe = self.recipe(section.schedules.fine_tuning, dropout=section.dropout, tuned=[*GRID, LAMBDA])
        models["DELTA + dropout"] = self.distilled(task, recipe, "DELTA", task.source)
        models["DELTA + SWA"] = self.averaged(task, models["DELTA"], "DELTA", tuned=GRID[1:])
        recipe = self.random_recipe(task, dropout=section.dropout)
        models["Re-training + dropout"] = build.pretrain(self.plan, task.data, recipe)
        models["Re-training + SWA"] = self.averaged(task, models["Re-training"], None)

    def with_less_data(self, task: Task) -> None:
        """Table 5: DELTA, Renofeation and re-training on a part of each class's training images."""
        section = self.section
        for name, share in section.shares.items():
            inputs = Inputs(share=share)
            recipe = self.recipe(section.schedules.fine_tuning, inputs=inputs, tuned=[*GRID, LAMBDA])
            task.models[f"{name} DELTA"] = self.distilled(task, recipe, "DELTA", task.source)
            dropped = self.random_recipe(task, dropout=section.dropout, inputs=inputs, tuned=[LAMBDA])
            first = self.distilled(task, dropped, "DELTA-R")
            task.models[f"{name} Renofeation"] = self.averaged(
                task, first, "DELTA-R", dropout=section.dropout, inputs=inputs
            )
            recipe = self.random_recipe(task, inputs=inputs)
            task.models[f"{name} Re-training"] = build.pretrain(self.plan, task.data, recipe)

    def as_tuned_elsewhere(self, task: Task, main: Task) -> None:
        """Table 6: another network, with the values that were chosen for the first one."""
        task.choices = main.choices
        recipe = self.recipe(self.section.schedules.fine_tuning, tuned=[*GRID, LAMBDA])
        task.models["DELTA"] = self.distilled(task, recipe, "DELTA", task.source)
        dropped = self.random_recipe(task, dropout=self.section.dropout, tuned=[LAMBDA])
        first = self.distilled(task, dropped, "DELTA-R")
        task.models["Renofeation"] = self.averaged(task, first, "DELTA-R", dropout=self.section.dropout)
        task.models["Re-training"] = build.pretrain(self.plan, task.data, self.random_recipe(task))
