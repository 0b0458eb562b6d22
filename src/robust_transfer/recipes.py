"""Training runs, source or target: one space, of which every method of the papers is a point."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from robust_transfer.attacks.algorithms import TrainingAttack
from robust_transfer.errors import UserError
from robust_transfer.models.families import AnyNetwork
from robust_transfer.specs.fields import Count, Fraction, Number, Positive, Sigma, Spec, in_slug
from robust_transfer.specs.networks import AnyNormalise
from robust_transfer.specs.parts import AnyHead, FrozenStatistics, Head, Last, Trainable, TrainedStatistics
from robust_transfer.specs.passes import Ahead, Passes
from robust_transfer.specs.precision import Precision
from robust_transfer.specs.schedules import Averaging, Schedule
from robust_transfer.terms import Terms


class Inputs(Spec):
    """What a training batch is."""

    attack: TrainingAttack | None = None
    """None trains on clean images; an attack adds adversarial examples of them, made anew in every iteration against
    the network as it stands, in evaluation mode.
    """
    mixing: Literal["both", "either"] = "both"
    """both trains on the clean and the adversarial batch in every iteration; either draws one of the two."""
    clean_weight: Annotated[Number, Field(ge=0, le=1)] = 0.5
    """Weight of the clean batch's loss (both) or its probability (either); the adversarial batch has the rest."""
    noise: Sigma = 0.0
    """Standard deviation of Gaussian noise on the pixels of every training image; they may leave [0, 1]."""
    share: Annotated[Number, Field(gt=0, le=1)] = 1.0
    """Of each class's training images, the part that takes part, drawn at random."""
    per_class: Count | None = None
    """Of each class so many training images take part at most, drawn at random."""

    @model_validator(mode="after")
    def _free_is_adversarial(self):
        if self.attack and not self.attack.evaluates and (self.mixing == "either" or self.clean_weight):
            raise ValueError("clean_weight: free adversarial training sees adversarial images alone; set it to 0")
        if self.per_class and self.share < 1:
            raise ValueError("share: give either share or per_class")
        return self

    def warnings(self) -> Iterator[str]:
        yield from super().warnings()
        if self.noise > 1:
            yield f"training noise of {self.noise:.4g} is more than the whole range of pixels"

    def of_class(self, count: int) -> int:
        """How many of a class's training images take part, of so many there are."""
        return min(count, self.per_class or max(1, round(self.share * count)))

    @property
    def slug(self) -> str:
        """`pgd`, `noise` or `nat`, and of how many of the images: `nat-0_5`, `nat-20each`."""
        part = f"-{in_slug(self.share)}" * (self.share < 1) + f"-{self.per_class}each" * bool(self.per_class)
        return (self.attack.algorithm if self.attack else "noise" if self.noise else "nat") + part


class Spectral(Spec):
    """Non-expansive fine-tuning (Chen et al. 2021, Eq. 11): weights of the last units are beta * W / sigma(W), and
    their residual blocks average shortcut and branch.
    """

    units: Count
    """How many of the last units."""
    beta: Annotated[Positive, Field(le=1)]
    """Spectral norm that their weights are given."""
    power_iterations: Count = 1
    """Power iterations that estimate sigma in each pass in training."""


TUNABLE: tuple[str, ...] = ("lr", "momentum", "weight_decay", *Terms.weighted())
"""What a grid search can choose: numbers of the schedule, and the weight of any term by the term's name."""
if TYPE_CHECKING:
    Tunable = str
else:
    Tunable = Literal[TUNABLE]


class Recipe(Spec):
    """A training run, source or target: where it starts, what moves, what it sees, what it minimises, for how long."""

    network: AnyNetwork | None = None
    """The architecture of a random start; a run that inherits takes its start's."""
    normalise: AnyNormalise | None = None
    """Takes the place of the inherited network's normalisation; none keeps that."""
    initialisation: Literal["family", "pytorch"] = "family"
    """Of a random start: the family's own, or PyTorch's defaults for every layer."""
    head: AnyHead = "new"
    """A run that inherits gets a new one, linear or of some form, or keeps the inherited one."""
    reset: Last | None = None
    """The last parts that are initialised anew before training, by the family's own rule; none unless given."""
    trainable: Trainable = "all"
    """The part that moves."""
    frozen_statistics: FrozenStatistics = "freeze"
    """Whether batch norm's running statistics in the frozen part stay or are updated with the new data."""
    trained_statistics: TrainedStatistics = "update"
    """Likewise in the part that trains; frozen ones also normalise while training."""
    affine: Literal["train", "freeze"] = "train"
    """Whether batch norms' scale and shift train where the rest of their part does."""
    spectral: Spectral | None = None
    """Non-expansive fine-tuning of the last units; none unless given."""
    dropout: Fraction = 0.0
    """Share of the channels that are dropped after every stage while training (Tompson et al. 2015)."""
    inputs: Inputs = Inputs()
    terms: Terms = Terms()
    """What is added to the cross entropy, or takes its place."""
    averaging: Averaging | None = None
    """Stochastic weight averaging; none keeps what `schedule.select` says."""
    schedule: Schedule
    """How long and how fast."""
    tuned: list[Tunable] = []  # noqa: RUF012 (pydantic copies it)
    """Values that are not set here but taken from a choice among other runs (grid search)."""
    precision: Precision = "float32"
    """In what the network computes while it trains; that of the config's machine unless given."""
    compile: bool = False
    """Whether torch compiles the network's blocks while it trains; as the config's machine says unless given."""

    @model_validator(mode="after")
    def _one_normalisation(self):
        if self.network and self.normalise:
            raise ValueError("normalise: a random start is normalised as its network says; set network.normalise")
        return self

    @model_validator(mode="after")
    def _one_result(self):
        if self.averaging and self.schedule.select != "last":
            raise ValueError("averaging: the mean of the weights is kept, so schedule.select must be last")
        if self.averaging and self.schedule.iterations and self.averaging.every > self.schedule.iterations:
            raise ValueError(f"averaging.every: no average is taken in {self.schedule.iterations} iterations")
        return self

    @model_validator(mode="after")
    def _terms_fit(self):
        if mistakes := list(self.terms.mistakes(self)):
            raise ValueError("; ".join(mistakes))
        return self

    @property
    def slug(self) -> str:
        """What a run does, in a word that is a function of the spec alone: `nat`, `pgd`, `nat+distil5+dropout+swa`."""
        words = [self.inputs.slug + self.terms.slug(self.tuned)]
        words += [self.head.slug] if isinstance(self.head, Head) and self.head.slug else []
        words += [f"neft{in_slug(self.spectral.beta)}"] if self.spectral else []
        present = {
            "dropout": self.dropout,
            "swa": self.averaging,
            "drift": self.frozen_statistics == "update",
            "still": self.trained_statistics == "freeze",
            "fixed-affine": self.affine == "freeze",
            self.precision: self.precision != "float32",
            "compiled": self.compile,
        }
        return "+".join(words + [word for word, is_there in present.items() if is_there])

    # ---- what it costs ---------------------------------------------------------------------------------------------

    def passes(self, ahead: Ahead) -> Iterator[Passes]:
        """What the run costs; one that may end on a plateau goes to its end, and the head's warm start costs as much as
        what comes after it, because gradients go back through all that will train.
        """
        recipe = self._with_tuned_terms()
        schedule, attack, terms = recipe.schedule, recipe.inputs.attack, recipe.terms.used.values()
        images, per_epoch, iterations = recipe._length(ahead)
        clean, adversarial = recipe._batches()
        forward, back = attack.passes(ahead.classes) if attack else (0.0, 0.0)
        forward, back = forward * adversarial, back * adversarial
        for own in (term.passes(recipe) for term in terms):
            forward, back = forward + own.forward, back + own.back
        shown = clean + adversarial + sum(term.shown for term in terms)
        seen = iterations * schedule.batch_size
        yield Passes("", seen, schedule.batch_size, forward + shown, back, shown)
        if any(term.needs == "teacher" for term in terms):
            yield Passes("teacher", seen, schedule.batch_size, clean + adversarial)
        if recipe.averaging:
            yield Passes("", images, schedule.batch_size)  # for batch norm's statistics
        yield from recipe._validation(ahead, -(-iterations // per_epoch))

    def _with_tuned_terms(self) -> "Recipe":
        """The recipe with the terms that a choice brings in, whatever their weights."""
        brought = {name: 1.0 for name in self.tuned if name in Terms.forms and not getattr(self.terms, name)}
        return self.with_values(brought) if brought else self

    def _length(self, ahead: Ahead) -> tuple[float, float, float]:
        """Training images that take part, iterations an epoch, and iterations in all.

        Raises:
            Unknown: where the number of images is not known.
        """
        inputs, schedule = self.inputs, self.schedule
        if of_classes := ahead.facts.images.get("train"):
            images: float = sum(map(inputs.of_class, of_classes.values()))
        else:
            images = inputs.share * ahead.count("train")
            images = min(images, inputs.per_class * ahead.classes) if inputs.per_class else images
        per_epoch = max(1, images // schedule.batch_size)
        return images, per_epoch, schedule.iterations or (schedule.epochs or 0) * per_epoch

    def _batches(self) -> tuple[float, float]:
        """How many clean and how many adversarial batches an iteration shows the network, in the mean."""
        inputs, terms = self.inputs, self.terms.used.values()
        clean, adversarial = 1.0, 0.0
        if inputs.attack and inputs.mixing == "either":
            clean, adversarial = inputs.clean_weight, 1 - inputs.clean_weight
        elif inputs.attack:
            clean, adversarial = float(inputs.clean_weight > 0), float(inputs.clean_weight < 1)
        if any(term.replaces_cross_entropy and term.function_of == "step" for term in terms):
            clean = adversarial = 0.0
        looked_at = frozenset[str]().union(*(term.looks_at for term in terms))
        return max(clean, float("clean" in looked_at)), max(adversarial, float("adversarial" in looked_at))

    def _validation(self, ahead: Ahead, epochs: float) -> Iterator[Passes]:
        """What is measured after every epoch, where something depends on it, and at the end."""
        schedule, attack = self.schedule, self.inputs.attack
        selects, watches = schedule.select == "best_validation", schedule.decay == "plateau"
        looks = {"validation": epochs if selects else float(self.terms.has_accuracy)}
        if watches:
            looks[schedule.watch] = max(looks.get(schedule.watch, 0.0), epochs)
        for split, times in looks.items():
            again = bool(self.averaging) * (split == "validation")  # the averaged weights
            yield Passes("", (times + again) * ahead.count(split), ahead.at_once)
            if attack and attack.evaluates and (selects or (watches and split == schedule.watch)):
                forward, back = attack.passes(ahead.classes)
                yield Passes("", times * ahead.count(split), ahead.at_once, forward + 1, back)

    def with_values(self, values: dict[str, float]) -> "Recipe":
        """The recipe with values that a grid search tries or has chosen, by their names in TUNABLE.

        Raises:
            UserError: where it cannot have them.
        """
        terms = {name: value for name, value in values.items() if name in Terms.forms}
        schedule: dict[str, Any] = {name: value for name, value in values.items() if name not in terms}
        try:
            return self.with_(terms=self.terms.with_weights(terms), schedule=self.schedule.with_(**schedule))
        except ValidationError as error:
            first = error.errors()[0]
            where, what = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
            shown = ", ".join(f"{name}: {value:g}" for name, value in values.items())
            raise UserError(f"the recipe cannot have {shown} ({where}{': ' * bool(where)}{what})") from None
