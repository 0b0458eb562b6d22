"""Methods, attacks, targets and ready models of one's own in a paper's tables and figures, beside what the paper has.

Such cells are marked `ours`. They come after the paper's, which stay as they are.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from pydantic import Field, create_model, model_validator

from robust_transfer.attacks.algorithms import ALGORITHMS
from robust_transfer.plan.config import Settings
from robust_transfer.plan.specs import AnyNetwork, AnyNormalise, Attack, Network, Spec
from robust_transfer.registry import one_of
from robust_transfer.specs.origins import Origin
from robust_transfer.studies import base
from robust_transfer.studies.base import Cell, Data, Model, Numbers, Study, is_ours, shows
from robust_transfer.studies.checks import DatasetName, Name, NetworkHere, RecipeHere, Refers

NONE = "none"
"""The start of a method that begins at random."""
WHITE_BOX = "model"
"""What an attack is made against unless it says otherwise: the model that is attacked."""
Attacker = Annotated[str, Refers("attacker", section="attackers")]

if TYPE_CHECKING:

    class OwnAttack(Attack):  # noqa: D101 (for type checkers alone)
        by: str

else:
    # It is no part of the attack: excluded, it enters no id, and the same attack elsewhere is the same node.
    BY = Field(WHITE_BOX, exclude=True, description="What it is made against; model is the one that is attacked.")
    OwnAttack = one_of(
        (create_model(form.__name__, __base__=form, by=(Attacker, BY)) for form in ALGORITHMS if form.evaluates),
        "algorithm",
    )


class Method(Spec):
    """A way to a target model."""

    start: Annotated[str, Refers("source", section="starts")] | None = None
    """The source it starts from, by the study's name of it; none is a random start. Unless given it is the one that the
    study transfers from, and with none, that one is the teacher still.
    """
    teacher: bool = False
    """Whether the source's stages are distilled."""
    features: bool = False
    """Whether the start's features are to be kept."""
    recipe: RecipeHere
    """The training; its network is for a random start alone, the study's unless given."""

    @model_validator(mode="after")
    def _goes_together(self):
        recipe, terms, random = self.recipe, self.recipe.terms, self.random
        keeps, distils = terms.similarity, terms.feature_distillation
        for wrong, sentence in (
            (not random and recipe.network, "recipe.network: the start has its own; leave it out, or set start: none"),
            (random and recipe.normalise, "recipe.normalise: start: none has no network yet; set network.normalise"),
            (random and self.features, "features: start: none has no features to keep; name a start"),
            (self.features and not keeps, "features: recipe.terms.similarity keeps them; set it"),
            (self.teacher and not distils, "teacher: recipe.terms.feature_distillation is its weight; set it"),
        ):
            if wrong:
                raise ValueError(sentence)
        return self

    @property
    def random(self) -> bool:
        """Whether it inherits no weights."""
        return self.start == NONE

    @property
    def takes_all(self) -> bool:
        """Whether it leaves open how many of the training images take part."""
        return self.recipe.inputs.share == 1 and self.recipe.inputs.per_class is None

    def source(self, usual: str) -> str:
        """The name of its start or teacher."""
        return self.start if self.start and not self.random else usual


class Ready(Origin):
    """A trained model of a target, put straight under all attacks."""

    target: Annotated[str, Refers("target", section="all_targets")]
    """The target it is of."""
    network: NetworkHere
    """Its network, or the name of one."""


class Extra(Spec):
    """What is shown beside the paper's, by printed names."""

    methods: dict[Name, Method] = {}  # noqa: RUF012 (pydantic copies it)
    """Printed name -> a way to a target model."""
    attacks: dict[Name, OwnAttack] = {}  # noqa: RUF012
    """Printed name -> an attack; `by` says what it is made against."""
    targets: dict[Name, DatasetName] = {}  # noqa: RUF012
    """Printed name -> data set."""
    models: dict[Name, Ready] = {}  # noqa: RUF012
    """Printed name -> a model that is trained already."""


class Section(base.Section):
    """A paper's part of the config."""

    extra: Extra = Extra()
    attackers: ClassVar[tuple[str, ...]] = (WHITE_BOX,)
    """What attacks can be made against."""

    @property
    def starts(self) -> Collection[str]:
        """The names of what methods can start from."""
        raise NotImplementedError

    @property
    def all_targets(self) -> Mapping[str, str]:
        """What ready models can be of: the paper's targets and one's own, by name -> data set."""
        raise NotImplementedError

    def printed(self) -> dict[str, Collection[str]]:
        """The paper's own names of methods, attacks (and of other columns beside theirs) and targets."""
        raise NotImplementedError

    def mistakes(self, settings: Settings) -> Iterator[str]:
        printed = self.printed()
        for kind, names in (printed | {"models": printed["methods"]}).items():
            for name in getattr(self.extra, kind):
                if name in names:
                    yield f"extra.{kind}.{name}: this is a name of the paper's; write another"
        for name in self.extra.models:
            if name in self.extra.methods:
                yield f"extra.models.{name}: a method has this name; write another"


P = TypeVar("P", bound=Section)


class Paper(Study[P]):
    """A study with a paper's tables and figures, in which more can be shown."""

    def remark(self, kind: str, cells: list[Cell]) -> str:
        if not any(map(is_ours, cells)):
            return ""
        used = {cell["metric"].partition(" under ")[2] for cell in cells}
        attacks = [
            f"{name} is {attack.slug}" + f" against the {attack.by}" * (attack.by != WHITE_BOX)
            for name, attack in self.section.extra.attacks.items()
            if name in used
        ]
        signs = ["* ours, not in the paper"] if kind == "figure" else []  # a table says so by itself
        return "".join(f"; {words}" for words in (*signs, *attacks))

    def own(
        self, method: Method, data: Data, source: Model, normalise: AnyNormalise | None = None, **inputs: Any
    ) -> Model:
        """The target model of a method. source: its start, or its teacher where it starts at random.

        normalise: of this target, where the method does not say. inputs: how many of the training images take part,
        likewise.
        """
        recipe, teacher = method.recipe, source if method.teacher else None
        parts = {name: getattr(recipe, name) for name in recipe.model_fields_set - {"schedule"}}
        if inputs and method.takes_all:
            parts["inputs"] = recipe.inputs.with_(**inputs)
        network = source.network
        if method.random:
            own = {"normalise": normalise} if normalise else {}
            network = self._network(recipe.network) or network.with_(**own)
        self._check_fit(method, network, source.network)
        if not method.random:
            parts = {"normalise": normalise} | parts
            return self.transferred(data, source, recipe.schedule, teacher, method.features, **parts)
        parts["network"] = network
        if teacher:
            return self.transferred(data, None, recipe.schedule, teacher, **parts)
        return self.pretrained(data, schedule=recipe.schedule, **parts)

    def _check_fit(self, method: Method, network: AnyNetwork, source: AnyNetwork) -> None:
        """Note what of a method its network cannot do."""
        if method.teacher and not alike(network, source):
            sentence = "the teacher's stages are those of another network; leave the network out, or the teacher"
            self._mistaken(f"{self._path(method.recipe)}.network", sentence)

    def _network(self, given: AnyNetwork | str | None) -> AnyNetwork | None:
        """A network that may be given by its name."""
        return self.network(given) if isinstance(given, str) else given

    def ready(self, target: str, data: Data) -> dict[str, Model]:
        """The ready models of a target by printed name. target: as models name it. data: of it, as divided here."""
        return {
            name: self.brought(network, f"extra.models.{name}", ready, data=data)
            for name, ready in self.section.extra.models.items()
            if ready.target == target and (network := self._network(ready.network))
        }

    def under_own(self, model: Model, metric: str = "robustness", **others: Model) -> Numbers:
        """A model under each attack of one's own. metric: accuracy by its name. others: what attacks are made against
        beside the model itself.
        """
        attacks = self.section.extra.attacks.items()
        outcomes = {name: self.attacked(model, attack, others.get(attack.by)) for name, attack in attacks}
        return {name: ours_too(shows(f"{metric} under {name}", outcomes=each)) for name, each in outcomes.items()}

    def axes_of_own(self, metric: str, label: str) -> list[dict[str, str]]:
        """A figure's axes for the same numbers. label: with {} for the attack."""
        return [
            {"metric": f"{metric} under {name}", "label": f"{label.format(name)} *"}
            for name in self.section.extra.attacks
        ]


def alike(network: Network, other: Network) -> bool:
    """Whether two networks have the same stages and weights; their normalisation may be another."""
    plain = ({**each.canonical(), "normalise": None, "family": each.family} for each in (network, other))
    return next(plain) == next(plain)


def ours_too(cell: Cell, own: bool = True) -> Cell:
    """A cell that is none of the paper's, where this is wanted."""
    return cell | {"ours": True} if own else cell


def ours(cells: Iterable[Cell], own: bool = True) -> Iterator[Cell]:
    """Cells that are none of the paper's."""
    return (ours_too(cell, own) for cell in cells)
