"""The methods of the paper as nodes."""

from dataclasses import dataclass

from robust_transfer.plan import build
from robust_transfer.plan.config import Settings
from robust_transfer.plan.graph import Node, Plan
from robust_transfer.plan.specs import (
    FeatureDistance,
    Head,
    Inputs,
    Last,
    Recipe,
    Schedule,
    Similarity,
    Terms,
)
from robust_transfer.studies.cartl.section import Pair, Section


@dataclass(frozen=True)
class Model:
    """A target model, and the data of its task."""

    node: Node
    data: Node


class Methods:
    """Each method gives the node of a model; the same one asked for twice is one node."""

    def __init__(self, settings: Settings, section: Section, plan: Plan):
        self.settings, self.section, self.plan = settings, section, plan

    def source(self, name: str, k: int | None = None, weight: float | None = None) -> Node:
        """A source, trained adversarially (Madry et al. 2018); with k and lambda also by FDM for the last k units."""
        section, source = self.section, self.section.sources[name]
        distance = FeatureDistance(weight=weight, units=k, reduction=section.fdm.reduction) if k else None
        recipe = Recipe(
            network=self.settings.networks[source.network],
            inputs=Inputs(attack=section.adversarial_training, clean_weight=0),
            terms=Terms(feature_distance=distance),
            schedule=self.schedule(section.schedules.source, source.data),
        )
        return build.pretrain(self.plan, build.prepare(self.plan, self.settings.datasets[source.data]), recipe)

    def vanilla(
        self,
        pair: Pair,
        k: int,
        share: float = 1.0,
        affine: str | None = None,
        frozen_statistics: str | None = None,
    ) -> Model:
        """Plain fine-tuning of the last k units (TL). affine, frozen_statistics: the section's unless given."""
        return self._fine_tuned(
            pair,
            self.source(pair.source),
            trainable=Last(last=k, of="units"),
            affine=affine or self.section.affine,
            frozen_statistics=frozen_statistics or self.section.frozen_statistics,
            inputs=Inputs(share=share),
        )

    def neft(self, pair: Pair, k: int, beta: float, weight: float | None, share: float = 1.0) -> Model:
        """NEFT of the last k units; from a source of plain adversarial training, or of FDM with lambda `weight`."""
        section = self.section
        return self._fine_tuned(
            pair,
            self.source(pair.source, k, weight) if weight else self.source(pair.source),
            trainable=Last(last=k, of="units"),
            spectral=section.neft.spectral(k, beta),
            affine=section.affine,
            frozen_statistics=section.neft.frozen_statistics,
            inputs=Inputs(share=share),
        )

    def cartl(self, pair: Pair, k: int, share: float = 1.0) -> Model:
        """FDM and NEFT with the section's lambda and beta."""
        return self.neft(pair, k, self.section.neft.beta, self.section.fdm.weight, share)

    def lwf(self, pair: Pair, weight: float | None = None, share: float = 1.0) -> Model:
        """Learning without forgetting of the whole network. weight: lambda_d, the section's unless given."""
        section, source = self.section, self.source(pair.source)
        data = self.data(pair.target)
        recipe = Recipe(
            affine=section.lwf.affine,
            trained_statistics=section.lwf.trained_statistics,
            inputs=Inputs(share=share),
            terms=Terms(similarity=Similarity(weight=weight or section.lwf.weight, norm=section.lwf.norm)),
            schedule=self.schedule(section.schedules.lwf),
        )
        features = build.features(self.plan, source, data)
        return Model(build.transfer(self.plan, data, recipe, start=source, features=features), data)

    def data(self, target: str) -> Node:
        """The data of a target, by its printed name."""
        return build.prepare(self.plan, self.settings.datasets[self.section.targets[target]])

    def schedule(self, schedule: Schedule, augmented: str | None = None) -> Schedule:
        """A schedule with the config's seed, unless it has one of its own, and with the augmentation of a data set."""
        own = {} if "seed" in schedule.model_fields_set else {"seed": self.settings.seed}
        augmentation = self.section.augmentation.get(augmented)
        return schedule.model_copy(update=own | (augmentation.model_dump() if augmentation else {}))

    def _fine_tuned(self, pair: Pair, source: Node, **parts) -> Model:
        head = "new" if self.section.head == "default" else Head(weights=self.section.head)
        schedule = self.schedule(self.section.schedules.fine_tuning, self.section.targets[pair.target])
        data = self.data(pair.target)
        return Model(build.transfer(self.plan, data, Recipe(head=head, schedule=schedule, **parts), start=source), data)
