"""What the config comes to: every value with the layer that gives it and the switch that chose it."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import yaml

from robust_transfer.errors import UserError
from robust_transfer.plan.config import Settings, shape_of_all
from robust_transfer.plan.layers import Keys, Layer, lay_over, look
from robust_transfer.plan.mistakes import did_you_mean
from robust_transfer.plan.protocol import chosen
from robust_transfer.plan.reading import CoreDumper
from robust_transfer.plan.specs import Spec


class Value(NamedTuple):
    """A value as it is written in the config, the name of the layer that gives it (or `default`), and the switches that
    chose it with their positions: `D15: corrected`.
    """

    keys: Keys
    value: Any
    layer: str
    switch: str | None

    @property
    def path(self) -> str:
        return ".".join(self.keys)


def values_of(
    layers: Sequence[Layer], settings: Settings, values: Mapping[str, Any], sections: Mapping[str, Spec]
) -> Iterator[Value]:
    """All values of the settings and of the studies that are asked for, defaults included.

    values: with the switches resolved, as config.load gives them.
    """
    parts = {name: settings.model_dump(mode="json", by_alias=True)[name] for name in Settings.model_fields}
    parts |= {name: section.model_dump(mode="json", by_alias=True) for name, section in sections.items()}
    written = {key: value for key, value in values.items() if key in parts}
    choices = chosen(settings.protocol, settings.switches)
    shape = shape_of_all(tuple((name, type(section)) for name, section in sections.items()))
    for keys, value in _leaves(lay_over(parts, written, shape)):
        if look(written, keys, {}):
            yield Value(keys, value, *_origin(keys, layers, choices))
        elif keys[-1] == "seed" and keys[0] in sections:  # see Settings.seeded
            if not settings.seeds:
                yield Value(keys, settings.seed, *_origin(("seed",), layers, choices))
        else:
            yield Value(keys, value, "default", None)


def narrowed(found: Sequence[Value], path: str) -> list[Value]:
    """The values at and below a path like `davchev.attacks`.

    Raises:
        UserError: where there is none.
    """
    below = [value for value in found if f"{value.path}.".startswith(f"{path}.")]
    if not below:
        known = {".".join(value.keys[:depth]) for value in found for depth in range(1, len(value.keys) + 1)}
        raise UserError(
            f"{path} is not in the config{did_you_mean(path, sorted(known))}; `robust-transfer config` lists it all"
        )
    return below


def as_lines(found: Sequence[Value]) -> list[str]:
    """The values as a YAML text, the origin of each in a comment."""
    rows: list[tuple[str, str]] = []
    before: Keys = ()
    for keys, value, layer, switch in found:
        shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(keys[:-1], before[:-1], strict=False))))
        rows += [(f"{'  ' * depth}{_inline(keys[depth])}:", "") for depth in range(shared, len(keys) - 1)]
        origin = f"# {layer}" + (f" [{switch}]" if switch else "")
        rows.append((f"{'  ' * (len(keys) - 1)}{_inline(keys[-1])}: {_inline(value)}", origin))
        before = keys
    width = max((len(text) for text, origin in rows if origin and len(text) <= 60), default=0)
    return [f"{text:<{width}} {origin}" if origin else text for text, origin in rows]


def _inline(value: Any) -> str:
    text = yaml.dump(value, Dumper=CoreDumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1e9)
    return text.removesuffix("\n").removesuffix("\n...")


def _leaves(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """The values that are no mappings, with the keys that lead there; a list is one value."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, (*keys, key))
    else:
        yield keys, value


def _origin(keys: Keys, layers: Sequence[Layer], choices: Mapping[str, str]) -> tuple[str, str | None]:
    """The last layer that gives a value, and what its switches say."""
    for layer in reversed(layers):
        if found := look(layer.values, keys, choices):
            switches = dict.fromkeys(found[1])
            return layer.name, ", ".join(f"{switch}: {choices[switch]}" for switch in switches) or None
    return "default", None
