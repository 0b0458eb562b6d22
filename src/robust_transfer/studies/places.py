"""Where the values of a spec stand: the parts of the config that say them, the layer and the switches that these come
from, and what docs/protocols.md says of whom they are.

A node's spec is canonical and names no place in the config, because the same node may be wanted by two studies. So
places are found by value: a part of the config that is the same spec as a part of the node's says it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from robust_transfer.canonical import canonical_json
from robust_transfer.errors import UserError
from robust_transfer.plan import layers
from robust_transfer.plan.config import Settings
from robust_transfer.plan.layers import Keys, Layer, look
from robust_transfer.plan.protocol import SWITCHES, chosen
from robust_transfer.plan.reading import read_text
from robust_transfer.specs.datasets import Dataset
from robust_transfer.specs.fields import Spec
from robust_transfer.specs.networks import Network
from robust_transfer.studies import STUDIES

TOLD = 2
"""Values that a part of a spec must give at least; with fewer, that two are the same says nothing."""


@dataclass(frozen=True)
class Place:
    """A part of the config that says a part of a node's spec.

    key: e.g. `davchev.attacks.WB-PGD`. part: of the spec, e.g. `attack`; "" for all of it. layers: the files that give
    its values, `config` for those that differ from all files'. switches: of its values, with their positions, in words.
    filled_in: values that the paper leaves out, and by whom they were filled in.
    """

    key: str
    part: str
    layers: tuple[str, ...]
    switches: tuple[str, ...]
    filled_in: tuple[str, ...]


class Places:
    """The places of one config.

    config: with the switches resolved, as a frozen plan has it. workflow: the folder of recipes/ and scales/.
    page: docs/protocols.md. What is not there is not known of.
    """

    def __init__(self, config: Mapping[str, Any], workflow: Path, page: Path):
        self.config, self.workflow, self.page = config, workflow, page

    def of(self, spec: Any, study: str) -> list[Place]:
        """The places that say parts of a node's parsed spec, those of one study and of what all studies share. Where a
        part is said, parts of that are not named once more.
        """
        found: list[Place] = []
        for part, value in _specs(spec, ""):
            if any(part.startswith(f"{above.part}.") or not above.part for above in found):
                continue
            keys = self._parts.get((type(value), told), []) if (told := _told(value)) else []
            found += [self._place(key, part) for key in keys if key[0] in (study, "datasets", "networks")]
        return found

    @cached_property
    def _parts(self) -> dict[tuple[type, str], list[Keys]]:
        """The keys of all specs in the config, by type and content."""
        found: dict[tuple[type, str], list[Keys]] = {}
        for keys, value in self._sections():
            for part, spec in _specs(value, ""):
                if told := _told(spec):
                    found.setdefault((type(spec), told), []).append((*keys, *filter(None, part.split("."))))
        return found

    def _sections(self) -> Iterator[tuple[Keys, Any]]:
        settings = {key: value for key, value in self.config.items() if key in Settings.model_fields}
        try:
            shared = Settings.model_validate(settings)
        except ValidationError:  # of a plan of earlier or later code
            return
        for key in ("datasets", "networks"):
            yield from (((key, name), value) for name, value in getattr(shared, key).items())
        for name in shared.studies:
            try:
                yield (name,), STUDIES[name].Section.model_validate(self.config.get(name, {}))
            except (ValidationError, KeyError):
                continue

    @cached_property
    def _layers(self) -> list[Layer]:
        """Those below config.yaml, of which is known what chooses them, but not what else it says."""
        user = {key: self.config[key] for key in ("scale", "protocol", "switches") if key in self.config}
        try:
            return layers.stack([Layer("config.yaml", user)], self.workflow)[:-1]
        except UserError:  # a scale of the user's own that is not there
            return []

    @cached_property
    def _rows(self) -> list[tuple[str, Any, str]]:
        """Of each key on the page of what was filled in: the value at scale `paper`, and by whom it was filled in."""
        if not self.page.is_file():
            return []
        cells = (re.split(r"(?<!\\)\|", line)[1:-1] for line in self.page.read_text(encoding="utf-8").splitlines())
        rows = [[text.strip().strip("`") for text in row] for row in cells if len(row) == 4]
        return [(key, read_text(value, key), by) for _, key, value, by in rows if "." in key]

    def _place(self, keys: Keys, part: str) -> Place:
        choices = chosen(self.config.get("protocol"), self.config.get("switches", {}))
        given: dict[str, None] = {}
        switches: dict[str, None] = {}
        filled_in = []
        for path, value in leaves(self._at(keys)):
            at = (*keys, *filter(None, path.split(".")))
            found = next(
                ((layer.name, *hit) for layer in reversed(self._layers) if (hit := look(layer.values, at, choices))),
                None,
            )
            if found is None or found[1] != value:
                given["config"] = None
                continue
            given[found[0]] = None
            switches |= dict.fromkeys(found[2])
            filled_in += [f"{path} {value}: {by}" for key, row, by in self._rows if (key, row) == (".".join(at), value)]
        return Place(
            ".".join(keys),
            part,
            tuple(given),
            tuple(_in_words(name, choices[name]) for name in switches),
            tuple(filled_in),
        )

    def _at(self, keys: Keys) -> Any:
        value: Any = self.config
        for key in keys:
            value = value.get(key, {}) if isinstance(value, Mapping) else {}
        return value


def leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values in a mapping that are no mappings, at any depth, with their paths: `schedule.lr`."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, values


def _in_words(switch: str, position: str) -> str:
    its = SWITCHES[switch]
    meaning = getattr(its, position) or its.code
    if meaning in ("as paper", "as code"):
        meaning = f"{meaning}, {getattr(its, meaning.removeprefix('as '))}"
    return f"{switch} ({its.topic}), {position}: {meaning}"


def _specs(value: Any, path: str) -> Iterator[tuple[str, Spec]]:
    """The specs in a value, itself included, with their paths: the config's names of fields, and keys of mappings."""
    if isinstance(value, Spec):
        yield path, value
        own = type(value).model_fields
        items: Any = ((own[name].alias or name if name in own else name, item) for name, item in value)
    else:
        items = value.items() if isinstance(value, Mapping) else ()
    for name, item in items:
        yield from _specs(item, f"{path}.{name}" if path else str(name))


def _told(spec: Spec) -> str:
    """What a spec says, as canonical JSON, but for what studies set by themselves: seeds, what is held out of a data
    set, and a network's normalisation. "" where that is too little to be known by.
    """
    own = {"seed", *(("validation",) if isinstance(spec, Dataset) else ())}
    own |= {"normalise"} if isinstance(spec, Network) else set()
    whole: Any = spec.canonical()
    shared = {key: value for key, value in whole.items() if key not in own} if isinstance(whole, dict) else {}
    return canonical_json(shared) if len(list(leaves(shared))) >= TOLD else ""
