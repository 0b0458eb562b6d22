"""The `renofeation` part of the config."""

from collections.abc import Collection, Iterator
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from robust_transfer.plan.config import Settings
from robust_transfer.plan.specs import (
    AnyNetwork,
    Averaging,
    Count,
    FeatureAttack,
    Fraction,
    NonNegative,
    Normalise,
    Pgd,
    Positive,
    Schedule,
    Spec,
    WholeNumber,
)
from robust_transfer.studies import extra
from robust_transfer.studies.checks import BroughtHere, DatasetName, NetworkName, TargetName
from robust_transfer.studies.extra import NONE

BASELINES = ["Linear classifier", "Fine-tuning", "L2-SP", "DELTA", "Re-training"]
COMPARED = ["DELTA", "Renofeation", "Re-training"]
REGULARISED = ["DELTA-R", "DELTA-R + dropout", "DELTA-R + SWA", "Renofeation"]
TRAINED = ["DELTA", "DELTA adv. trained", "Renofeation"]
WITH_EACH = [f"{name}{more}" for name in ("DELTA", "Re-training") for more in ("", " + dropout", " + SWA")]
SMOOTHED = "DELTA-R + label smoothing"
"""Of section 3.3, which says in words how it does."""
PRETRAINED = "pretrained"
"""What the paper's attack is made against."""


class Pretrained(Spec):
    """A network to transfer from."""

    network: NetworkName
    """Its architecture."""
    weights: BroughtHere | None = None
    """torchvision's name of its weights, or where else they come from, like {file: l2.ckpt}; without them it is trained
    here, on the source data set.
    """
    head_dropout: Fraction = 0.0
    """Share of the features that is dropped before the head while it trains."""


class Schedules(Spec):
    """How long and how fast each training goes."""

    source: Schedule | None = None
    """What is trained here to transfer from."""
    fine_tuning: Schedule
    """Runs that inherit weights."""
    re_training: Schedule
    """Runs that inherit no weights."""
    adversarial: Schedule
    """DELTA with adversarial training."""
    averaging: Schedule
    """The phase of weight averaging."""


class Grid(Spec):
    """The values whose every combination the fine-tuning family tries."""

    lr: Annotated[list[Positive], Field(min_length=1)]
    """Learning rates."""
    momentum: Annotated[list[Fraction], Field(min_length=1)]
    """Momenta."""
    weight_decay: Annotated[list[NonNegative], Field(min_length=1)]
    """Weight decays."""


class Lambdas(Spec):
    """The weights of each regulariser that are tried."""

    l2_sp: Annotated[list[Positive], Field(min_length=1)]
    """Of L2-SP."""
    delta: Annotated[list[Positive], Field(min_length=1)]
    """Of DELTA."""
    delta_r: Annotated[list[Positive], Field(min_length=1)]
    """Of DELTA-R."""


class Pull(Spec):
    """What L2-SP does beside its term."""

    head: bool = False
    """Whether the new head too is pulled to where it began."""
    weight_decay: NonNegative | None = None
    """The weight decay beside it; that of fine-tuning unless given."""


class Steps(Spec):
    """Projected gradient steps within the section's budget."""

    steps: Count
    """How many."""
    steps_per_eps: Annotated[Positive, Field(ge=0.5)]
    """How many of them are as long as the budget: 4 are steps of eps/4."""
    random_start: bool = True
    """Whether the steps begin at a random point of the ball."""

    @model_validator(mode="after")
    def _reach_the_border(self):
        if self.steps < 0.99 * self.steps_per_eps:
            raise ValueError(
                f"steps_per_eps: {self.steps} steps of eps/{self.steps_per_eps:g} never reach the border of the ball; "
                f"lower it to {self.steps} or less, or raise steps"
            )
        return self

    def pgd(self, eps: float) -> Pgd:
        """The attack on the cross entropy. eps: in pixels."""
        step_size = eps / self.steps_per_eps
        return Pgd(algorithm="pgd", eps=eps, steps=self.steps, step_size=step_size, random_start=self.random_start)


class FeatureSteps(Steps):
    """The attack on the pretrained network's features; see FeatureAttack, which it becomes."""

    value: Positive = 1000.0
    """How far a feature is driven: the target vector is `value` there, 0 elsewhere."""
    loss: Literal["distance", "mean_rest"] = "distance"
    """What is brought down; see FeatureAttack."""
    space: Literal["pixels", "normalised"] = "pixels"
    """Where steps and budget are: pixels, or the network's own input after its normalisation."""
    clip: Positive | None = None
    """With space: normalised, the bounds -clip and +clip that the network's input is cut to, whatever the budget."""

    @model_validator(mode="after")
    def _clip_in_its_space(self):
        if self.clip and self.space == "pixels":
            raise ValueError("clip: pixels are cut to [0, 1]; a clip is for space: normalised")
        return self

    def on(self, neuron: int, eps: float) -> FeatureAttack:
        """The attack on one feature. eps: in units of the space."""
        own = self.model_dump(exclude={"steps_per_eps"})
        return FeatureAttack(algorithm="feature", neuron=neuron, eps=eps, step_size=eps / self.steps_per_eps, **own)


SomeNeurons = Annotated[
    Annotated[Count, Tag("count")] | Annotated[list[WholeNumber], Field(min_length=1), Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list) else "count"),
]


class Given(Spec):
    """Values taken as given instead of chosen."""

    lr: Positive
    """DELTA's learning rate."""
    momentum: Fraction
    """DELTA's momentum."""
    weight_decay: NonNegative
    """DELTA's weight decay."""
    delta: Positive
    """DELTA's lambda."""
    delta_r: Positive
    """The lambda of DELTA-R and all that is built on it."""


class Section(extra.Section):
    """The `renofeation` part of the config."""

    attackers = (*extra.Section.attackers, PRETRAINED)

    source: DatasetName | None = None
    """The data set that networks without weights are trained on."""
    networks: Annotated[dict[str, Pretrained], Field(min_length=1)]
    """Printed name -> network; the first is the one of all tables and figures but table 6."""
    targets: Annotated[dict[str, DatasetName], Field(min_length=1)]
    """Printed name -> data set."""
    categories: dict[TargetName, str] = {}  # noqa: RUF012 (pydantic copies it)
    """Printed name of a target -> the kind of task, for table 1."""
    schedules: Schedules
    grid: Grid
    lambdas: Lambdas
    given: dict[TargetName, Given] = {}  # noqa: RUF012
    """Printed name of a target -> values that are not chosen but given."""
    chosen_on: Literal["validation", "test"]
    """The split on which values are chosen."""
    retrain_on_all: bool = False
    """Whether, once values are chosen on validation images, every model is trained with them on all images; figure 4
    shows the candidates in any case.
    """
    head_penalty: NonNegative
    """Weight of the penalty on the head's squared length."""
    dropout: Fraction
    """Share of the channels that the runs with dropout drop after every stage."""
    averaging: Averaging
    """Stochastic weight averaging of the runs with SWA."""
    shares: Annotated[dict[str, Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1)]
    """Printed name -> part of the training images, in table 5."""
    eps: Positive
    """The budget of all attacks of the paper."""
    eps_in: Literal["pixels", "normalised"]
    """What eps is in: pixels, or units of a network's input after its normalisation, in the mean over channels."""
    attack: FeatureSteps
    """The attack on features that measures robustness."""
    neurons: SomeNeurons
    """The features that the attack drives, one at a time: a list, or how many the seed draws. Success rates are means
    over them.
    """
    adversarial_training: Steps
    """The attack of DELTA with adversarial training."""
    white_box: Steps
    """An attack on the transferred models themselves, which the paper has not."""
    l2_sp: Pull = Pull()
    """L2-SP."""
    label_smoothing: Annotated[float, Field(gt=0, lt=1)]
    """The share of the target that DELTA-R with label smoothing spreads over all classes."""
    distance_images: Literal["plain", "augmented"]
    """The training images on which the distance of features is measured: as they are, or augmented."""

    @property
    def starts(self) -> tuple[str, ...]:
        return (*self.networks, NONE)

    @property
    def all_targets(self) -> dict[str, str]:
        return self.targets | self.extra.targets

    @property
    def trains_anew(self) -> bool:
        """Whether models are trained once more after a choice."""
        return self.retrain_on_all and self.chosen_on == "validation"

    def printed(self) -> dict[str, Collection[str]]:
        swept = [f"lambda {value:g}" for value in self.lambdas.delta_r]
        parts = [f"{share} {method}" for share in self.shares for method in COMPARED]
        methods = [*BASELINES, *REGULARISED, SMOOTHED, *TRAINED, *WITH_EACH, *swept, *parts]
        return {"methods": methods, "attacks": (), "targets": self.targets}

    def mistakes(self, settings: Settings) -> Iterator[str]:
        yield from super().mistakes(settings)
        if isinstance(self.neurons, list) and len(set(self.neurons)) < len(self.neurons):
            yield "neurons: a neuron stands there twice; take one away"
        for name, pretrained in self.networks.items():
            if network := settings.networks.get(pretrained.network):
                yield from self._unfit(network, f"networks.{name}.network")
        for name, attack in self.extra.attacks.items():
            if attack.by == PRETRAINED and attack.algorithm != "feature":
                yield (
                    f"extra.attacks.{name}.by: the pretrained network has none of the target's classes; write by: "
                    "model, or algorithm: feature"
                )
        for name, pretrained in self.networks.items():
            if pretrained.weights is None and (self.source is None or self.schedules.source is None):
                yield (
                    f"networks.{name}.weights: missing; give torchvision's name of the weights, or source and "
                    "schedules.source to train the network here"
                )

    def _unfit(self, network: AnyNetwork, path: str) -> Iterator[str]:
        """What the attack cannot do to a network."""
        width, normalise, is_count = network.feature_width, network.normalise, isinstance(self.neurons, int)
        count = self.neurons if isinstance(self.neurons, int) else max(self.neurons) + 1
        if width is None and is_count:
            yield f"{path}: how many features {network.slug} has shows when it is built; give neurons as a list"
        elif width is not None and count > width:
            yield f"neurons: {network.slug} has {width} features; {'take fewer' if is_count else 'name others'}"
        if not isinstance(normalise, Normalise):
            if "normalised" in (self.eps_in, self.attack.space):
                yield f"{path}: {network.slug} normalises each image by its own pixels; write eps_in and space: pixels"
        elif self.attack.clip and self.attack.clip >= normalise.reach:
            yield (
                f"attack.clip: nothing is cut, as the input of {network.slug} stays within {normalise.reach:.4g}; "
                "lower it or take it away"
            )
