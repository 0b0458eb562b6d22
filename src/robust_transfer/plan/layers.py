"""The layers of the config, each laid over the one before.

workflow/recipes/STUDY.yaml (what the papers and their code prescribe), the scale (data sets, networks, schedules) with
those that it extends, config.yaml, the files of --configfile in their order, --config.

Mappings are laid key by key. A changed tag (an attack's `algorithm`, a data set's `reader`, a network's `family`)
replaces the whole mapping, and so does anything that is no mapping; `null` takes away what a layer below gives.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robust_transfer.errors import UserError
from robust_transfer.plan.mistakes import did_you_mean, heading
from robust_transfer.plan.protocol import is_switched
from robust_transfer.plan.reading import read_assignments, read_yaml
from robust_transfer.plan.shapes import Shape
from robust_transfer.plan.specs import Schedule
from robust_transfer.specs.datasets import with_reader

SHIPPED_SCALES = ("cifar", "digits", "mnist", "paper")

Keys = tuple[str, ...]
"""The keys that lead to a value."""


@dataclass(frozen=True)
class Layer:
    """One source of values.

    name: as it is shown. folder: what relative paths in it start from. shipped: whether it comes with the project, so
    that a user's mistake is looked for elsewhere. over_scale: whether it is laid over recipes and scale.
    """

    name: str
    values: Mapping[str, Any]
    folder: Path = Path()
    shipped: bool = False
    over_scale: bool = False


def read_layer(path: Path, shipped: bool = False) -> Layer:
    """A YAML file as a layer.

    Raises:
        UserError: where it cannot be read.
    """
    return Layer(_shown(path), read_yaml(path), path.parent, shipped)


def of_user(config: Path, configfiles: Iterable[Path] = (), assignments: Iterable[str] = ()) -> list[Layer]:
    """The user's layers: config.yaml, --configfile, --config.

    assignments: KEY=VALUE words.

    Raises:
        UserError: where one of them cannot be read.
    """
    layers = [read_layer(path) for path in (config, *configfiles)]
    values = read_assignments(assignments)
    return [*layers, Layer("--config", values)] if values else layers


def stack(user: Sequence[Layer], workflow: Path) -> list[Layer]:
    """All layers, the lowest first. workflow: the folder of recipes/ and scales/.

    Raises:
        UserError: where a layer cannot be read, or there is no such scale.
    """
    recipes = [read_layer(path, shipped=True) for path in sorted((workflow / "recipes").glob("*.yaml"))]
    naming = next((layer for layer in reversed(user) if "scale" in layer.values), user[0])
    over = (replace(layer, over_scale=True) for layer in user)
    return [_with_readers(layer) for layer in (*recipes, *_scales(naming, workflow / "scales"), *over)]


def _with_readers(layer: Layer) -> Layer:
    datasets = layer.values.get("datasets")
    if not isinstance(datasets, Mapping):
        return layer
    return replace(layer, values={**layer.values, "datasets": {n: with_reader(each) for n, each in datasets.items()}})


def scale_name(scale: Any) -> Any:
    """How a scale is called in captions: a file's name without its ending."""
    return Path(scale).stem if isinstance(scale, str) else scale


def _scales(layer: Layer, folder: Path) -> list[Layer]:
    """The scale that a layer names, under it the one that it extends, and so on."""
    chain: list[tuple[Path, Layer]] = []
    key = "scale"
    while key == "scale" or layer.values.get(key) is not None:
        path = _scale_file(layer, key, folder)
        if path.resolve() in (seen.resolve() for seen, _ in chain):
            names = " -> ".join(seen.stem for seen, _ in [*chain, (path, layer)])
            raise UserError(
                f"{heading([layer.name])}\n  - extends: the scales extend each other in a circle, {names}; end it"
            )
        layer = read_layer(path, shipped=path.parent == folder and path.stem in SHIPPED_SCALES)
        chain.append((path, layer))
        key = "extends"
    return [_without_extends(layer) for _, layer in reversed(chain)]


def _scale_file(layer: Layer, key: str, folder: Path) -> Path:
    """The file of a scale that a layer names or gives the path of."""
    scale = layer.values.get(key)
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if isinstance(scale, str) and scale in names:
        return folder / f"{scale}.yaml"
    if isinstance(scale, str) and scale.endswith((".yaml", ".yml")):
        path = layer.folder / Path(scale).expanduser()
        if path.is_file():
            return path
        raise UserError(f"{heading([layer.name])}\n  - {key}: there is no file {path}; mend the path")
    raise UserError(
        f"{heading([layer.name])}\n  - {key}: {scale!r} is unknown; write one of {', '.join(names)}"
        f"{did_you_mean(scale, names)}, or the path of a .yaml file"
    )


def _without_extends(layer: Layer) -> Layer:
    return replace(layer, values={key: value for key, value in layer.values.items() if key != "extends"})


def _shown(path: Path) -> str:
    """A path as it is shown: from here, where it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def lay_over(base: Any, over: Any, shape: Shape) -> Any:
    """Mappings laid key by key, `over` winning; anything else, and a switched value, is replaced whole.

    shape: what may stand there; it knows of tags, and of what a schedule's keys make void.
    """
    if not is_mapping(base) or not is_mapping(over) or _changes(shape.tag, base, over):
        return over
    void = _made_void(base, over) if Schedule in shape.models else set()
    kept = {key: value for key, value in base.items() if key not in void}
    both = {**kept, **over}
    return kept | {
        key: lay_over(kept[key], value, shape.under(both, key)) if key in kept else value for key, value in over.items()
    }


def differing(base: Any, over: Any, path: str = "") -> Iterator[str]:
    """The paths at which two mappings differ, as short as they can be: a key that one of them has not, or a value."""
    if not is_mapping(base) or not is_mapping(over):
        if base != over:
            yield path
        return
    for key in dict.fromkeys((*base, *over)):
        below = f"{path}.{key}".strip(".")
        if key in base and key in over:
            yield from differing(base[key], over[key], below)
        else:
            yield below


def is_mapping(value: Any) -> bool:
    """Whether a value is laid key by key. `{D15: code}` is: in `switches` it is no value that a switch chooses."""
    return isinstance(value, Mapping) and not _is_switched(value)


def _is_switched(value: Any) -> bool:
    return is_switched(value) and isinstance(next(iter(value.values())), Mapping)


def _changes(key: str | None, base: Mapping[str, Any], over: Mapping[str, Any]) -> bool:
    return key is not None and key in base and key in over and base[key] != over[key]


def _made_void(base: Mapping[str, Any], over: Mapping[str, Any]) -> set[str]:
    """Keys of a schedule that mean nothing under the other unit of length or the other decay that a layer gives."""
    void: set[str] = set()
    for given, other in (("epochs", "iterations"), ("iterations", "epochs")):
        if over.get(given) is not None and base.get(other) is not None:
            void |= {other, "milestones", "warm_up"}
    if _changes("decay", base, over):
        void |= {"milestones", "patience"}
    return void - over.keys()


def look(values: Any, path: Keys, choices: Mapping[str, str]) -> tuple[Any, list[str]] | None:
    """What a layer gives at a path, and the switches that chose it, outermost first; None where it gives nothing.

    choices: switch -> protocol.
    """
    switches: list[str] = []
    for i in range(len(path) + 1):
        while _is_switched(values):
            ((switch, options),) = values.items()
            switches.append(switch)
            values = options.get(choices.get(switch))
        if i < len(path):
            if not isinstance(values, Mapping) or path[i] not in values:
                return None
            values = values[path[i]]
    return values, switches


def without_nulls(values: Any, shape: Shape, is_given: Callable[[Keys], bool], path: Keys = ()) -> Any:
    """Values without the keys that `null` takes away: entries of mappings of named things, and fields with a default.

    A null where a value must be stays, and so does one of an entry that no layer gives: both are mistakes.
    """
    if not isinstance(values, Mapping):
        return values
    kept = {}
    for key, value in values.items():
        below = (*path, key)
        if value is None and shape.entries is not None and is_given(below):
            continue
        fields = shape.fields(values, key)
        if value is None and fields and not any(field.is_required() for field in fields):
            continue
        kept[key] = without_nulls(value, shape.under(values, key), is_given, below)
    return kept
