"""The sources, and what is made of them on a target task, as nodes."""

from robust_transfer.plan import build
from robust_transfer.plan.config import Settings
from robust_transfer.plan.graph import Node, Plan
from robust_transfer.plan.specs import Inputs, Recipe, Schedule, Terms
from robust_transfer.studies.vaishnavi.section import Section, Start, Target


class Methods:
    """Every function adds its nodes to the plan, where the same node wanted twice exists once."""

    def __init__(self, settings: Settings, section: Section, plan: Plan):
        self.settings, self.section, self.plan = settings, section, plan
        self.network = settings.networks[section.network]

    # ---- models ------------------------------------------------------------------------------------------------------

    def source(self, start: Start) -> Node:
        """A network to transfer from: brought, or trained on the source data set."""
        if brought := self.section.brought.get(start):
            if brought.weights:
                return build.bring(self.plan, self.network, brought.weights)
            return build.bring_file(self.plan, self.network, brought.file, brought.sha256)
        learning = {
            "ST": (Inputs(), Terms()),
            "AT": self._adversarially(),
            "CR": self._consistently(),
            "SimCLR": (Inputs(), Terms(contrastive=self.section.contrastive)),
        }
        inputs, terms = learning[start]
        schedule = self._seeded(getattr(self.section.schedules, start))
        data = build.prepare(self.plan, self.settings.datasets[self.section.source])
        return build.pretrain(
            self.plan, data, Recipe(network=self.network, inputs=inputs, terms=terms, schedule=schedule)
        )

    def data(self, target: str) -> Node:
        """A target's images."""
        return build.prepare(self.plan, self.settings.datasets[self.section.targets[target].data])

    def empirical(self, target: str, start: Start | None) -> Node:
        """The whole network, trained adversarially on a target; from random weights where there is no start."""
        inputs, terms = self._adversarially()
        return self._fitted(target, start, inputs, terms, self.section.schedules.empirical)

    def certified(self, target: str, start: Start | None) -> Node:
        """The whole network, trained by consistency regularisation on a target; likewise."""
        inputs, terms = self._consistently()
        return self._fitted(target, start, inputs, terms, self.section.schedules.certified)

    def last_layer(self, target: str, start: Start) -> Node:
        """The head alone, by standard training, on features that stay as they are."""
        about = self.section.targets[target]
        recipe = Recipe(
            normalise=about.normalise,
            trainable="head",
            frozen_statistics=self.section.frozen_statistics,
            inputs=_limited(Inputs(), about),
            schedule=self._seeded(self.section.schedules.last_layer),
        )
        return build.transfer(self.plan, self.data(target), recipe, start=self.source(start))

    def _fitted(self, target: str, start: Start | None, inputs: Inputs, terms: Terms, schedule: Schedule) -> Node:
        about = self.section.targets[target]
        parts = {"inputs": _limited(inputs, about), "terms": terms, "schedule": self._seeded(schedule)}
        if start:
            recipe = Recipe(normalise=about.normalise, **parts)
            return build.transfer(self.plan, self.data(target), recipe, start=self.source(start))
        own = {"normalise": about.normalise} if about.normalise else {}
        return build.pretrain(
            self.plan, self.data(target), Recipe(network=self.network.model_copy(update=own), **parts)
        )

    def _adversarially(self) -> tuple[Inputs, Terms]:
        return Inputs(attack=self.section.adversarial_training, clean_weight=0), Terms()

    def _consistently(self) -> tuple[Inputs, Terms]:
        return Inputs(noise=self.section.smoothing.sigma), Terms(consistency=self.section.consistency)

    def _seeded(self, schedule: Schedule) -> Schedule:
        """A schedule with the config's seed, unless it has one of its own."""
        if "seed" in schedule.model_fields_set:
            return schedule
        return schedule.model_copy(update={"seed": self.settings.seed})

    # ---- outcomes ----------------------------------------------------------------------------------------------------

    def clean(self, target: str, model: Node) -> Node:
        """Each image's outcome without an attack."""
        return build.evaluate(self.plan, model, self.data(target), split=self.section.evaluated_on)

    def attacked(self, target: str, model: Node) -> Node:
        """Each image's outcome under the attack on this very model."""
        section, data = self.section, self.data(target)
        examples = build.craft(self.plan, model, data, section.attack, self.settings.seed, section.evaluated_on)
        return build.evaluate(self.plan, model, data, examples)

    def certificates(self, target: str, model: Node) -> Node:
        """The smoothed model's certificates."""
        section = self.section
        return build.certify(
            self.plan, model, self.data(target), section.smoothing, self.settings.seed, section.evaluated_on
        )


def _limited(inputs: Inputs, target: Target) -> Inputs:
    return inputs.model_copy(update={"per_class": target.per_class})
