"""Reading the config: three layers of YAML, the protocol's switches, and every mistake in one message.

The layers, each laid over the one before: workflow/recipes/STUDY.yaml (what the papers and their code prescribe),
workflow/scales/SCALE.yaml (data sets, networks, schedules), config.yaml (what a user edits).
"""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError

from robust_transfer.errors import UserError
from robust_transfer.plan.protocol import PROTOCOLS, SWITCHES, Protocol, is_switched, resolve
from robust_transfer.plan.specs import (
    AnyDataset,
    AnyNetwork,
    Count,
    Network,
    Positive,
    Spec,
    Trainable,
    WholeNumber,
)

Model = TypeVar("Model", bound=BaseModel)


class Machine(Spec):
    """Where and how nodes run. Nothing here enters an id.

    device: auto takes the GPU where there is one.
    threads: CPU threads of one node; sums may differ in the last bit between thread counts, so a node's card names it.
    gpus: GPUs a training, attack or evaluation asks the scheduler for (0 at digits scale).
    checkpoint_seconds: how often a running training saves its state.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Count = 1
    gpus: WholeNumber = 0
    checkpoint_seconds: Positive = 60.0


class Settings(Spec):
    """The config but for the studies' own sections."""

    scale: str
    protocol: Protocol = "corrected"
    switches: dict[str, Protocol] = Field(default_factory=dict)
    studies: Annotated[list[str], Field(min_length=1)]
    main_study: str
    seed: WholeNumber = 0
    data_root: str = "data"
    machine: Machine = Machine()
    datasets: dict[str, AnyDataset]
    networks: dict[str, AnyNetwork]


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, where YAML would quietly take the last."""

    def construct_mapping(self, node, deep=False):
        own = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for twice in {key for key in own if own.count(key) > 1}:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: where the file is missing, is no valid YAML, gives a key twice, or holds no mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)  # a SafeLoader
    except FileNotFoundError:
        raise UserError(f"{path} is missing; restore it, e.g. with `git checkout {path.name}`") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{path}{where}: {error.problem}; mend the YAML there") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: no valid YAML ({error}); mend it") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: `key: value` lines are wanted, found {type(content).__name__}")
    return content


def lay_over(base: Any, over: Any) -> Any:
    """Mappings merged key by key, `over` winning; anything else, and a switched value, is replaced whole."""
    mappings = isinstance(base, dict) and isinstance(over, Mapping)
    if not mappings or is_switched(base) or is_switched(over):
        return over
    return base | {key: lay_over(base.get(key), value) if key in base else value for key, value in over.items()}


def load(config: Mapping[str, Any], workflow: Path) -> tuple[Settings | None, dict[str, Any], list[str]]:
    """The settings, all values with the switches resolved, and the mistakes found so far.

    config: the user's layer. workflow: the folder of recipes/ and scales/.

    Raises:
        UserError: where the layers cannot even be read.
    """
    mistakes: list[str] = []
    scales = sorted(path.stem for path in (workflow / "scales").glob("*.yaml"))
    scale = config.get("scale")
    if scale not in scales:
        raise UserError(
            f"config.yaml has mistakes:\n  - scale: {scale!r} is unknown; "
            f"write one of {', '.join(scales)}{_did_you_mean(scale, scales)}"
        )
    values: dict[str, Any] = {}
    for path in [*sorted((workflow / "recipes").glob("*.yaml")), workflow / "scales" / f"{scale}.yaml"]:
        values = lay_over(values, read_yaml(path))
    values = lay_over(values, dict(config))

    protocol, switches = values.get("protocol", "corrected"), values.get("switches") or {}
    for name in switches if isinstance(switches, dict) else ():
        if name not in SWITCHES:
            mistakes.append(f"switches.{name}: unknown switch; the switches are {', '.join(SWITCHES)}")
    # A wrong protocol is reported below; until then any will do, so that the other mistakes can be found as well.
    general = protocol if protocol in PROTOCOLS else "corrected"
    single = switches.items() if isinstance(switches, dict) else ()
    choices = dict.fromkeys(SWITCHES, general) | {name: choice for name, choice in single if choice in PROTOCOLS}
    values = {key: v if key == "switches" else resolve(v, choices, mistakes, key) for key, v in values.items()}
    own = {key: values[key] for key in Settings.model_fields if key in values}
    return check(Settings, own, "", mistakes), values, mistakes


def check(model: type[Model], values: Any, path: str, mistakes: list[str]) -> Model | None:
    """Validate values; on mistakes append a sentence for each and return None."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        mistakes.extend(_sentence(item, model, values, path) for item in error.errors())
        return None


def fail(mistakes: Iterable[str]) -> None:
    """Raise one UserError that lists every mistake, if there is any."""
    lines = list(dict.fromkeys(mistakes))
    if lines:
        raise UserError("config.yaml has mistakes:\n" + "\n".join(f"  - {line}" for line in lines))


def unknown_key(key: Any, known: Iterable[str]) -> str:
    """The sentence for a key that means nothing."""
    return f"{key}: unknown key{_did_you_mean(key, known)}; the keys here are {', '.join(sorted(known))}"


def look_up(name: str, known: Mapping[str, Model], what: str, path: str, mistakes: list[str]) -> Model | None:
    """known[name], or a mistake that lists what there is."""
    if name not in known:
        mistakes.append(f"{path}: unknown {what} {name!r}; write one of {', '.join(known)}{_did_you_mean(name, known)}")
        return None
    return known[name]


def check_depth(trainable: Trainable, network: Network | None, path: str, mistakes: list[str]) -> None:
    """A depth must lie within the network."""
    if network is None or isinstance(trainable, str):
        return
    there = network.stages if trainable.of == "stages" else network.blocks
    if trainable.last > there:
        mistakes.append(f"{path}: the last {trainable.last} {trainable.of} are wanted, but the network has {there}")


def _did_you_mean(name: Any, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _sentence(item: Mapping[str, Any], model: type[BaseModel], values: Any, prefix: str) -> str:
    """One pydantic error as a sentence: where, what was found, what is wanted."""
    place, fields = _walk(item, model, values)
    where = ".".join(filter(None, [prefix, *place])) or "config"
    kind, context = item["type"], item.get("ctx", {})
    tag_key = str(context.get("discriminator", "")).strip("'")
    if kind == "extra_forbidden":
        return f"{where}: unknown key{_did_you_mean(place[-1], fields)}; the keys here are {', '.join(fields)}"
    if kind == "missing":
        return f"{where}: missing; add it"
    if kind == "union_tag_not_found":
        return f"{where}.{tag_key}: missing; add it"
    if kind == "union_tag_invalid":
        tag, tags = context["tag"], context["expected_tags"].replace("'", "")
        return f"{where}.{tag_key}: {tag!r} is unknown; write one of {tags}{_did_you_mean(tag, tags.split(', '))}"
    message = item["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if kind == "value_error" and not isinstance(item["input"], dict):
        return f"{where}: {message}"
    if kind == "value_error":  # a rule of the whole section, whose text names the key
        return f"{where}.{message}"
    return f"{where}: {item['input']!r} is not allowed; wanted: {message}"


def _walk(item: Mapping[str, Any], model: type[BaseModel], values: Any) -> tuple[list[str], list[str]]:
    """The keys of an error's location as they stand in the file, and the keys that are allowed there.

    pydantic puts the tags of unions between the keys; a tag is what the values do not have at that place.
    """
    place: list[str] = []
    models = [model]
    for depth, key in enumerate(item["loc"]):
        last = depth == len(item["loc"]) - 1
        if (_has(values, key)) or (last and item["type"] == "missing"):
            place.append(str(key))
            if not last:
                found = [m for owner in models if key in owner.model_fields for m in _models(owner.model_fields[key])]
                models = found or models
                values = values[key]
        else:
            models = [m for m in models if _is_tag_of(key, m)] or models
    names = [field.alias or name for m in models for name, field in m.model_fields.items()]
    return place, list(dict.fromkeys(names))


def _has(values: Any, key: Any) -> bool:
    return key in values if isinstance(values, dict) else isinstance(values, list) and isinstance(key, int)


def _models(annotated: Any) -> list[type[BaseModel]]:
    """Every model named in a type, at any depth."""
    annotation = getattr(annotated, "annotation", annotated)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _is_tag_of(key: Any, model: type[BaseModel]) -> bool:
    return key == model.__name__ or any(key in get_args(field.annotation) for field in model.model_fields.values())
