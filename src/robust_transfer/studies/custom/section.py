"""The `custom` part of the config: what is transferred and attacked, and what tables and figures show of it."""

from collections.abc import Iterator
from itertools import product
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationError, model_validator

from robust_transfer.claims.spec import checked
from robust_transfer.errors import UserError
from robust_transfer.plan.config import Settings
from robust_transfer.plan.specs import AnyAttack, NonNegative, Number, Smoothing, Spec
from robust_transfer.recipes import Tunable
from robust_transfer.studies import base
from robust_transfer.studies.checks import Brought, DatasetName, Name, NetworkHere, RecipeHere, Refers, TargetName
from robust_transfer.studies.extra import Ready

OWN_SOURCE = "source"
"""As the maker of an attack: each row's own source."""
FileName = Annotated[str, Field(pattern="^[A-Za-z0-9_]+$")]
SourceName = Annotated[str, Refers("source", section="sources")]
MethodName = Annotated[str, Refers("method", section="methods")]
MakerName = Annotated[str, Refers("source, row or model", section="makers")]
RowName = Annotated[str, Refers("row", section="rows")]
ColumnName = Annotated[str, Refers("column", section="columns")]


class Source(Brought):
    """A model to transfer from, trained here or elsewhere."""

    network: NetworkHere
    """Its network, or the name of one."""
    data: DatasetName | None = None
    """Its data set, where it is trained here; of one that was trained elsewhere, the data set of its own classes, if
    that is among the config's: its accuracy there is measured first.
    """
    recipe: RecipeHere | None = None
    """Its training, where it is trained here."""

    @model_validator(mode="after")
    def _one_origin(self):  # in place of Origin's
        origins = (self.recipe is not None) + self.origins_given
        if (self.recipe and self.data is None) or (self.data and not origins):
            raise ValueError("recipe: a source that is trained here has both data and recipe")
        if origins != 1:
            raise ValueError(
                "recipe: give data and recipe, or torchvision's name of the weights, or a file, or robustbench"
            )
        self._of_a_file()
        if self.recipe and self.recipe.network:
            raise ValueError("recipe.network: a source's network stands beside its recipe; take it away here")
        return self


class Method(Spec):
    """A way to train a model of each target from each source."""

    recipe: RecipeHere
    """The training."""
    sources: Annotated[list[SourceName], Field(min_length=1)] | None = None
    """The sources that it is tried on; all unless given."""
    start: Literal["source", "none"] = "source"
    """The weights that it begins with: the source's, or none for random ones."""
    after: MethodName | None = None
    """A method whose model it goes on from, in place of the source."""
    teacher: bool = False
    """Whether the source's stages are distilled."""
    features: bool = False
    """Whether the features of its start are kept."""
    grid: dict[Tunable, Annotated[list[Number], Field(min_length=1)]] = {}  # noqa: RUF012 (pydantic copies it)
    """Values of which every combination is tried, the best of them being the method's model."""
    tuned_by: MethodName | None = None
    """A method with a grid, whose choice gives the values named in recipe.tuned."""

    @property
    def inherits_from_source(self) -> bool:
        """Whether it begins with the source's weights."""
        return self.start == "source" and self.after is None

    @property
    def points(self) -> list[dict[str, float]]:
        """Every combination of the grid's values; one empty point without a grid."""
        return [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]


class MadeElsewhere(Spec):
    """An attack whose examples are made against one model and shown to all."""

    by: MakerName
    """A source, a row or a ready model that the examples are made against; or `source`: each row's own source."""
    attack: AnyAttack
    """The attack that makes them."""


AttackHere = Annotated[
    Annotated[AnyAttack, Tag("itself")] | Annotated[MadeElsewhere, Tag("elsewhere")],
    Discriminator(
        lambda value: (
            "elsewhere"
            if isinstance(value, MadeElsewhere) or (isinstance(value, dict) and value.keys() & {"by", "attack"})
            else "itself"
        )
    ),
]
"""An attack on each model itself, or one that is made elsewhere."""


class Certification(Smoothing):
    """Randomised smoothing, and what of it is shown."""

    radii: list[NonNegative] = []  # noqa: RUF012
    """At which certified accuracy is shown, l2 in pixels of [0, 1]."""

    @property
    def smoothing(self) -> Smoothing:
        """How the classifier is smoothed and certified."""
        return Smoothing(**{name: getattr(self, name) for name in self.model_fields_set if name != "radii"})


class Shown(Spec):
    """A table."""

    title: Name = "Accuracy and robustness"
    """What stands above it."""
    rows: Annotated[list[RowName], Field(min_length=1)] | None = None
    """Methods (from each of their sources), single rows, ready models; all unless given."""
    columns: Annotated[list[ColumnName], Field(min_length=1)] | None = None
    """Numbers, on each of the targets; all unless given, but for attack success rates."""
    targets: Annotated[list[TargetName], Field(min_length=1)] | None = None
    """The targets shown; all unless given."""


class Drawn(Shown):
    """A figure."""

    draw: Literal["heatmap", "normalised_heatmap", "bars"] = "heatmap"
    """Heatmap of per cents, heatmap of columns that are scaled to 0..1 each, or bars of one metric."""


class Column(NamedTuple):
    """What a column shows: a metric, under the attack or by the certification of some name."""

    metric: str
    of: str | None = None


class Section(base.Section):
    """The `custom` part of the config; see docs/custom.md."""

    sources: dict[Name, Source] = {}  # noqa: RUF012
    """Name -> a model to transfer from."""
    targets: Annotated[dict[Name, DatasetName], Field(min_length=1)]
    """Name -> data set."""
    methods: dict[Name, Method] = {}  # noqa: RUF012
    """Name -> a way to train a model of each target from each source."""
    models: dict[Name, Ready] = {}  # noqa: RUF012
    """Name -> a trained model of a target."""
    attacks: dict[Name, AttackHere] = {}  # noqa: RUF012
    """Name -> an attack on every model, or on one with its examples shown to all."""
    certification: dict[Name, Certification] = {}  # noqa: RUF012
    """Name -> randomised smoothing."""
    chosen_on: Literal["validation", "test"] = "validation"
    """The split on which the best point of a grid is chosen."""
    tables: dict[FileName, Shown] = {}  # noqa: RUF012
    """File's name -> table."""
    figures: dict[FileName, Drawn] = {}  # noqa: RUF012
    """File's name -> figure."""
    claims: dict[Name, Annotated[dict[str, Any], AfterValidator(checked)]] = {}  # noqa: RUF012
    """Name -> what is claimed of the tables and figures; see docs/claims.md."""

    @property
    def all_targets(self) -> dict[str, str]:
        """What ready models can be of."""
        return self.targets

    # ---- rows and columns --------------------------------------------------------------------------------------------

    def line(self, method: str) -> list[str]:
        """The method and all that it builds on, each once."""
        found, open_ends = [], [method]
        while open_ends:
            name = open_ends.pop()
            if name in self.methods and name not in found:
                found.append(name)
                open_ends += [each for each in (self.methods[name].after, self.methods[name].tuned_by) if each]
        return found

    def sources_of(self, method: str) -> list[str | None]:
        """The sources that a method is tried on; None alone of one that needs none."""
        line = [self.methods[name] for name in self.line(method)]
        if not any(each.inherits_from_source or each.teacher for each in line):
            return [None]
        return [name for name in self.sources if all(not each.sources or name in each.sources for each in line)]

    @property
    def labels(self) -> dict[str, tuple[str, str | None]]:
        """The name of each row of a method -> method and source. Where there are several sources, they are named, and
        rows stand in their order.
        """
        pairs = [(method, source) for method in self.methods for source in self.sources_of(method)]
        if len(self.sources) < 2:
            return {method: (method, source) for method, source in pairs}
        order = [*self.sources, None]
        pairs.sort(key=lambda pair: order.index(pair[1]))
        return {f"{source} {method}" if source else method: (method, source) for method, source in pairs}

    @property
    def rows(self) -> dict[str, list[str]]:
        """All that may be named as a row -> the rows that it means."""
        labels = self.labels
        of_methods = {name: [label for label, (method, _) in labels.items() if method == name] for name in self.methods}
        return of_methods | {label: [label] for label in [*labels, *self.models]}

    @property
    def makers(self) -> list[str]:
        """All that attacks can be made against to be shown to others."""
        return [OWN_SOURCE, *self.sources, *self.labels, *self.models]

    @property
    def columns(self) -> dict[str, Column]:
        """The name of every number of a model -> what it is."""
        return {name: column for name, column, _ in self._columns()}

    def _columns(self) -> Iterator[tuple[str, Column, str]]:
        """Name, column, and the key that it comes from."""
        yield "clean", Column("accuracy"), ""
        for name in self.attacks:
            yield name, Column("accuracy", name), f"attacks.{name}"
            yield f"{name} ASR", Column("attack_success_rate", name), f"attacks.{name}"
        for name, certification in self.certification.items():
            key = f"certification.{name}"
            yield f"{name} smoothed accuracy", Column("smoothed_accuracy", name), key
            for radius in certification.radii:
                column = Column(f"certified_accuracy_{radius:g}", name)
                yield f"{name} certified accuracy at {radius:g}", column, f"{key}.radii"
            yield f"{name} ACR", Column("average_certified_radius", name), key

    # ---- mistakes ----------------------------------------------------------------------------------------------------

    def mistakes(self, settings: Settings) -> Iterator[str]:
        if not self.methods and not self.models:
            yield "methods: missing; give methods, or models that are trained already"
        yield from self._names_taken()
        for name, method in self.methods.items():
            yield from (f"methods.{name}.{sentence}" for sentence in self._mistakes_of(name, method))
        for name, attack in self.attacks.items():
            if isinstance(attack, MadeElsewhere) and attack.by == OWN_SOURCE and not self.sources:
                yield f"attacks.{name}.by: there are no sources; name a method or a model"
            if isinstance(attack, MadeElsewhere) and attack.attack.algorithm != "feature":
                yield from self._of_other_classes(name, attack.by)
        for name, each in self.certification.items():
            for radius in each.radii:
                if radius > each.largest_radius:
                    yield (
                        f"certification.{name}.radii: with n: {each.n} nothing can be certified beyond "
                        f"{each.largest_radius:.3g}; raise n, or lower {radius:g}"
                    )

    def _names_taken(self) -> Iterator[str]:
        """Names that would mean two things."""
        taken = {OWN_SOURCE: "the word for each row's own source"}
        named = [(f"sources.{name}", name, "a source") for name in self.sources]
        named += [(f"methods.{method}", label, "a row") for label, (method, _) in self.labels.items()]
        named += [(f"models.{name}", name, "a model") for name in self.models]
        for path, name, kind in named:
            if name in taken or (kind == "a model" and name in self.methods):
                yield f"{path}: {name!r} is {taken.get(name, 'a method')} already; choose another name"
            taken.setdefault(name, kind)
        columns: set[str] = set()
        for name, _, path in self._columns():
            if name in columns:
                yield f"{path}: there would be two columns {name!r}; choose another name"
            columns.add(name)

    def _mistakes_of(self, name: str, method: Method) -> Iterator[str]:
        recipe, starts = method.recipe, method.inherits_from_source or method.after
        for key in ("after", "tuned_by"):
            if (before := getattr(method, key)) and name in self.line(before):
                yield f"{key}: {name} comes after {before}, and {before} after {name}; end the circle"
        sources = self.sources_of(name)
        if not sources and not self.sources:
            yield "start: there are no sources; give some, or write start: none"
        for i, source in enumerate(method.sources or ()):
            if source in self.sources and source not in sources and sources != [None]:
                yield f"sources[{i}]: what the method builds on is not tried on {source}; take it away"
        if method.sources and sources == [None]:
            yield "sources: the method uses no source; take the key away"
        if method.after and method.start == "none":
            yield "start: a method after another starts from that one's model; take one of the two keys away"
        if starts and recipe.network:
            yield "recipe.network: a run that inherits has its start's network; take it away, or write start: none"
        if sources == [None] and not starts and recipe.network is None:
            yield "recipe.network: missing; name the network that starts at random"
        if recipe.normalise and not starts:
            yield "recipe.normalise: a random start is normalised as its network says; set that one's normalise"
        if method.features and not starts:
            yield "features: there is no start whose features could be kept; take features or start: none away"
        if bool(recipe.tuned) != bool(method.tuned_by):
            yield "tuned_by: it goes together with recipe.tuned, the values that are taken; give both or none"
        if chooser := self.methods.get(method.tuned_by or ""):
            known = {*chooser.grid, *chooser.recipe.tuned}
            if not chooser.grid:
                yield f"tuned_by: {method.tuned_by} has no grid, so that nothing is chosen there; give it one"
            elif unknown := [each for each in recipe.tuned if each not in known]:
                yield (
                    f"recipe.tuned: {method.tuned_by} does not choose {', '.join(unknown)}; "
                    f"it chooses {', '.join(sorted(known))}"
                )
        for key, values in method.grid.items():
            if key in recipe.tuned:
                yield f"grid.{key}: the value is taken from {method.tuned_by} already; take one of the two away"
            yield from (f"grid.{key}: {wrong}" for value in values if (wrong := _refused(recipe, key, value)))

    def _of_other_classes(self, name: str, by: str) -> Iterator[str]:
        """An attack on labels needs a model of the target's own classes."""
        names = self.sources if by == OWN_SOURCE else [by] if by in self.sources else []
        others = [each for each in names if any(data != self.sources[each].data for data in self.targets.values())]
        if others:
            yield (
                f"attacks.{name}.by: the source {others[0]} is of other classes than the targets, and the attack goes "
                "by labels; write attack: {algorithm: feature, ...}, or name a method or a model"
            )


def _refused(recipe: RecipeHere, name: str, value: Any) -> str | None:
    """Why a recipe cannot have a value of the grid."""
    try:
        RecipeHere.model_validate(recipe.with_values({name: value}).model_dump())
    except ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        return f"{value:g} is not allowed; wanted: {why}"
    except UserError as error:
        return f"{value:g} is not allowed; {error}"
    return None
