"""The models of the paper as nodes."""

from collections.abc import Sequence
from typing import Literal

from robust_transfer.plan import build
from robust_transfer.plan.config import Settings
from robust_transfer.plan.graph import Node, Plan
from robust_transfer.plan.specs import Head, Inputs, Last, Recipe, Schedule, Similarity, Terms
from robust_transfer.studies.shafahi.section import Section, Variant

Kind = Literal["natural", "robust"]
KINDS: Sequence[Kind] = ("natural", "robust")
"""How a source was trained."""


class Methods:
    """Each function gives the node of a model; the same one asked for twice is one node. Data sets go by their keys."""

    def __init__(self, settings: Settings, section: Section, plan: Plan):
        self.settings, self.section, self.plan = settings, section, plan

    def data(self, dataset: str) -> Node:
        return build.prepare(self.plan, self.settings.datasets[dataset])

    def seeded(self, schedule: Schedule) -> Schedule:
        """A schedule with the config's seed, unless it has one of its own."""
        seed = self.settings.seed
        return schedule if "seed" in schedule.model_fields_set else schedule.model_copy(update={"seed": seed})

    # ---- sections 3, 4 and 6 -----------------------------------------------------------------------------------------

    def source(self, dataset: str, kind: Kind) -> Node:
        """A network of natural or of PGD adversarial training."""
        attack = self.section.attacks.training
        recipe = Recipe(
            network=self.settings.networks[self.section.network],
            inputs=Inputs(attack=attack, clean_weight=0) if kind == "robust" else Inputs(),
            schedule=self.seeded(self.section.schedules.source),
        )
        return build.pretrain(self.plan, self.data(dataset), recipe)

    def retrained(self, dataset: str, k: int) -> Node:
        """The robust network of a data set, its last k units begun anew and trained on the same set's natural images
        (figure 1).
        """
        last = Last(last=k, of="units")
        recipe = Recipe(
            head="keep",  # it is among the units, and starts as its family does
            reset=last,
            trainable=last,
            frozen_statistics=self.section.frozen_statistics,
            schedule=self.seeded(self.section.schedules.retraining),
        )
        return build.transfer(self.plan, self.data(dataset), recipe, start=self.source(dataset, "robust"))

    def transferred(self, source: str, target: str, kind: Kind) -> Node:
        """A new head on frozen features, trained on natural images (Eq. 2)."""
        recipe = Recipe(
            trainable="head",
            frozen_statistics=self.section.frozen_statistics,
            schedule=self.seeded(self.section.schedules.retraining),
        )
        return build.transfer(self.plan, self.data(target), recipe, start=self.source(source, kind))

    def lwf(self, source: str, target: str, weight: float) -> Node:
        """The robust network, trained on natural images with its features kept near what they were (Eq. 3)."""
        lwf = self.section.lwf
        recipe = Recipe(
            trained_statistics="hold",
            affine=lwf.affine,
            terms=Terms(similarity=Similarity(weight=weight, norm=lwf.norm)),
            schedule=self.seeded(self.section.schedules.lwf),
        )
        start, data = self.source(source, "robust"), self.data(target)
        features = build.features(self.plan, start, data)
        return build.transfer(self.plan, data, recipe, start=start, features=features)

    # ---- section 4.1 and after ---------------------------------------------------------------------------------------

    def large_source(self, kind: Kind) -> Node:
        """The natural source, brought or trained here, or the one of "free" adversarial training."""
        large = self.section.large
        network = self.settings.networks[large.network]
        if kind == "natural" and large.weights:
            return build.bring(self.plan, network, large.weights)
        if kind == "natural":
            recipe = Recipe(network=network, schedule=self.seeded(large.schedules.natural))
        else:
            recipe = Recipe(network=network, inputs=self._free(), schedule=self.seeded(large.schedules.source))
        return build.pretrain(self.plan, self.data(large.source), recipe)

    def large_scratch(self, target: str, per_class: int | None = None) -> Node:
        """The target learnt by "free" adversarial training alone: u-ResNet in the paper."""
        large = self.section.large
        recipe = Recipe(
            network=self.settings.networks[large.network],
            inputs=self._free(per_class),
            schedule=self.seeded(large.schedules.scratch),
        )
        return build.pretrain(self.plan, self.data(target), recipe)

    def large_transferred(
        self, target: str, kind: Kind, per_class: int | None = None, layers: int = 0, variant: Variant | None = None
    ) -> Node:
        """A new head on the large source's frozen features, linear or of hidden layers, trained on natural images."""
        large = self.section.large
        head = Head(hidden=[large.mlp.width] * layers, **(variant.model_dump() if variant else {})) if layers else "new"
        recipe = Recipe(
            head=head,
            trainable="head",
            frozen_statistics=self.section.frozen_statistics,
            inputs=Inputs(per_class=per_class),
            schedule=self.seeded(large.schedules.head),
        )
        return build.transfer(self.plan, self.data(target), recipe, start=self.large_source(kind))

    def large_fine_tuned(self, target: str, per_class: int | None = None) -> Node:
        """The robust source, adversarially trained on the target (Hendrycks et al. 2019)."""
        large = self.section.large
        recipe = Recipe(
            trainable=large.fine_tuned,
            frozen_statistics=self.section.frozen_statistics if large.fine_tuned != "all" else "hold",
            inputs=Inputs(attack=large.attacks.fine_tuning, clean_weight=0, per_class=per_class),
            schedule=self.seeded(large.schedules.fine_tuning),
        )
        return build.transfer(self.plan, self.data(target), recipe, start=self.large_source("robust"))

    def _free(self, per_class: int | None = None) -> Inputs:
        return Inputs(attack=self.section.large.attacks.free, clean_weight=0, per_class=per_class)
