"""What can be wrong with a study's section though each value is well by itself: names of nothing, and nodes that cannot
be made. Each check is one function, for every study; `Study` calls it where it makes the node.
"""

from collections.abc import Iterator
from operator import attrgetter
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, Discriminator, Tag

from robust_transfer.plan.config import Settings, look_up
from robust_transfer.plan.specs import AnyNetwork, Last, Recipe, Schedule, Spec
from robust_transfer.specs.origins import Origin

# ---- references ------------------------------------------------------------------------------------------------------


class Refers:
    """Marks a text of a section as the name of something.

    kind: in words. settings, section: the part of either that has all such names, e.g. `large.targets`.
    """

    def __init__(self, kind: str, settings: str = "", section: str = ""):
        self.kind, self.settings, self.section = kind, settings, section

    def known(self, settings: Settings, section: Spec) -> dict[str, Any]:
        """The names there are."""
        found = attrgetter(self.section)(section) if self.section else attrgetter(self.settings)(settings)
        return dict.fromkeys(found)


DatasetName = Annotated[str, Refers("data set", settings="datasets")]
NetworkName = Annotated[str, Refers("network", settings="networks")]
TargetName = Annotated[str, Refers("target", section="targets")]
"""One of the section's own targets."""
NetworkHere = Annotated[
    Annotated[NetworkName, Tag("name")] | Annotated[AnyNetwork, Tag("network")],
    Discriminator(lambda value: "name" if isinstance(value, str) else "network"),
]
"""A network by its name in the config, or as it would stand there."""


class Brought(Origin):
    """Weights that were trained elsewhere, and what they were trained on."""

    data: DatasetName | None = None
    """The data set of their own classes, if it is among the config's: their accuracy on its test images is measured
    before anything is made from them, and they are a row of the table of sources.
    """


BroughtHere = Annotated[
    Annotated[str, Tag("name")] | Annotated[Brought, Tag("origin")],
    Discriminator(lambda value: "name" if isinstance(value, str) else "origin"),
]
"""Weights that were trained elsewhere; a text is the name by which the network's own library has them."""


class RecipeHere(Recipe):
    """A recipe whose network may be named."""

    # A study takes it apart, and hands a Recipe on: nothing else reads a name here.
    network: NetworkHere | None = None  # type: ignore[assignment]


def _printable(name: str) -> str:
    if not name or set(name) & set("$|\\\n"):
        raise ValueError("a name is printed in tables and figures; write it without $, | and \\")
    return name


Name = Annotated[str, AfterValidator(_printable)]
"""A name that the config gives to a row or column."""


def unknown_names(settings: Settings, section: Spec, path: str) -> list[str]:
    """A sentence for each name in a section that names nothing. path: of the section in the config."""
    mistakes: list[str] = []
    for where, value, refers in values_of(section, path):
        if refers and isinstance(value, str):
            look_up(value, refers.known(settings, section), refers.kind, where, mistakes)
    return mistakes


def values_of(section: BaseModel, path: str) -> Iterator[tuple[str, Any, Refers | None]]:
    """Every value in a section at any depth, keys of mappings too: its path, the value, and what it is a name of."""
    for name, field in type(section).model_fields.items():
        hint = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        yield from _values(getattr(section, name), hint, f"{path}.{field.alias or name}")


def _values(value: Any, hint: Any, path: str) -> Iterator[tuple[str, Any, Refers | None]]:
    bare, refers = _split(hint)
    yield path, value, refers
    if isinstance(value, BaseModel):
        yield from values_of(value, path)
    elif isinstance(value, dict):
        of_keys, of_values = get_args(bare) if get_origin(bare) is dict else (Any, Any)
        for key, item in value.items():
            yield f"{path}.{key}", key, _split(of_keys)[1]
            yield from _values(item, of_values, f"{path}.{key}")
    elif isinstance(value, list):
        (of_items,) = get_args(bare) if get_origin(bare) is list else (Any,)
        for i, item in enumerate(value):
            yield from _values(item, of_items, f"{path}[{i}]")


def _split(hint: Any) -> tuple[Any, Refers | None]:
    """A type without what is marked on it, and without None as another choice; and its mark as a name."""
    arguments = get_args(hint)
    if get_origin(hint) is Annotated:
        bare, refers = _split(arguments[0])
        return bare, next((mark for mark in arguments[1:] if isinstance(mark, Refers)), refers)
    if len(arguments) == 2 and NoneType in arguments:
        return _split(next(argument for argument in arguments if argument is not NoneType))
    if get_origin(hint) in (Union, UnionType):  # a name, or in its place the thing itself
        return hint, next((refers for argument in arguments if (refers := _split(argument)[1])), None)
    return hint, None


# ---- nodes -----------------------------------------------------------------------------------------------------------


def validation_key(schedule: Schedule) -> tuple[str, str] | None:
    """The key for whose sake a training needs a validation split, and a value of it that needs none."""
    if schedule.select == "best_validation":
        return "select", "last"
    if schedule.decay == "plateau" and schedule.watch == "validation":
        return "watch", "test"
    return None


def no_validation_split(data: str, keys: dict[str, str]) -> str:
    """The sentence where a data set has no validation split.

    data: its name in the config. keys: path of each key for whose sake there must be one -> a value that needs none.
    """
    (path, instead), *others = keys.items()
    same = f"; the same goes for {', '.join(path for path, _ in others)}" if others else ""
    key = path.rpartition(".")[2]
    return f"{path}: a validation split is wanted; set datasets.{data}.validation above 0, or {key}: {instead}{same}"


def too_deep(recipe: Recipe, network: AnyNetwork) -> Iterator[tuple[Spec, str]]:
    """Each part of a recipe that counts more than the network has, or averages in blocks that it has not; and why."""
    for part in (part for part in (recipe.trainable, recipe.reset) if isinstance(part, Last)):
        available = f"the network {network.slug} has {getattr(network, part.of)}"
        if part.last > getattr(network, part.of):
            yield part, f"the last {part.last} {part.of} are wanted, but {available}; lower it"
    for part in filter(None, (recipe.spectral, recipe.terms.feature_distance)):
        if part.units > network.units:
            available = f"the network {network.slug} has {network.units}"
            yield part, f"the last {part.units} units are wanted, but {available}; lower units"
    if recipe.spectral and not network.averages_residuals:
        words = f"non-expansive fine-tuning averages in residual blocks, which {network.family} has not; take it away"
        yield recipe.spectral, words


def weights_of_others(network: AnyNetwork) -> str | None:
    """What is wrong with torchvision's weights for a network of another family."""
    if network.has_weights:
        return None
    return "torchvision has weights for its own networks alone; take them away"
