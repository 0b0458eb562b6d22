"""Reading the config: three layers of YAML, the protocol's switches, and every mistake in one message.

The layers, each laid over the one before: workflow/recipes/STUDY.yaml (what the papers and their code prescribe),
workflow/scales/SCALE.yaml (data sets, networks, schedules), config.yaml (what a user edits).
"""

import difflib
import re
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
    memory_mb: memory that a training, attack or evaluation asks the scheduler for.
    gpus: GPUs a training, attack or evaluation asks the scheduler for (0 at digits scale).
    checkpoint_seconds: how often a running training saves its state.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Count = 1
    memory_mb: Count = 8000
    gpus: WholeNumber = 0
    checkpoint_seconds: Positive = 60.0


class Settings(Spec):
    """The config but for the studies' own sections."""

    scale: str
    protocol: Protocol = "corrected"
    switches: dict[str, Protocol] = Field(default_factory=dict)
    studies: Annotated[list[str], Field(min_length=1)]
    main_study: str
    compare_protocols: bool = False
    seed: WholeNumber = 0
    data_root: str = "data"
    machine: Machine = Machine()
    datasets: dict[str, AnyDataset]
    networks: dict[str, AnyNetwork]

    @property
    def protocol_in_words(self) -> str:
        """The protocol, and the switches that are set apart from it."""
        apart = ", ".join(f"{switch}: {choice}" for switch, choice in self.switches.items() if choice != self.protocol)
        return f"protocol {self.protocol}" + (f" but for {apart}" if apart else "")


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
        raise UserError(f"{path}: `key: value` lines are wanted, found a {type(content).__name__}; write it like that")
    return _with_text_keys(content)


def _with_text_keys(values: Any) -> Any:
    """Mappings with their keys as text, at any depth: `12: all` means the same as `"12": all`."""
    if isinstance(values, Mapping):
        return {str(key): _with_text_keys(value) for key, value in values.items()}
    return [_with_text_keys(value) for value in values] if isinstance(values, list) else values


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
    config = _with_text_keys(config)
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
    values = lay_over(values, config)

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
    """Validate values; on mistakes append a sentence for each and return None.

    A place that has its sentence already (a broken switch, say) gets no second one.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        said = {_place(line) for line in mistakes}
        sentences = (_sentence(item, model, values, path) for item in error.errors())
        mistakes.extend(line for line in sentences if _place(line) not in said)
        return None


def _place(sentence: str) -> str:
    """The key that a mistake's sentence begins with."""
    return sentence.partition(": ")[0]


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
    if not isinstance(name, str) or name not in known:
        if all(_place(line) != path for line in mistakes):
            one_of = f"write one of {', '.join(known)}{_did_you_mean(name, known)}"
            mistakes.append(f"{path}: unknown {what} {name!r}; {one_of}")
        return None
    return known[name]


def check_depth(trainable: Trainable, network: Network | None, path: str, mistakes: list[str]) -> None:
    """A depth must lie within the network."""
    if network is None or isinstance(trainable, str):
        return
    there = getattr(network, trainable.of)
    if trainable.last > there:
        mistakes.append(f"{path}: the last {trainable.last} {trainable.of} are wanted, but the network has {there}")


def _did_you_mean(name: Any, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1) if isinstance(name, str) else []
    return f" (did you mean {close[0]}?)" if close else ""


WANTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "`key: value` lines",
    "finite_number": "a finite number",
    "float_parsing": "a number like 0.031, 1e-4 or 8/255",
    "float_type": "a number like 0.031, 1e-4 or 8/255",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "list_type": "a list like [a, b]",
    "literal_error": "{expected}",
    "model_attributes_type": "`key: value` lines",
    "model_type": "`key: value` lines",
    "string_pattern_mismatch": "text of the form {pattern}",
    "string_type": "text (numbers in quotes)",
    "too_short": "{min_length} or more entries",
}
"""What is wanted, by pydantic's type of error; its own words are shown for any other."""


def _sentence(item: Mapping[str, Any], model: type[BaseModel], values: Any, prefix: str) -> str:
    """One pydantic error as a sentence: where, what was found, what is wanted."""
    place, fields = _walk(item, model, values)
    where = ".".join(filter(None, [prefix, *place])).replace(".[", "[") or "config"
    kind, context, found = item["type"], item.get("ctx", {}), item["input"]
    tag_key = str(context.get("discriminator", "")).strip("'")
    choices = re.findall("'([^']*)'", context.get("expected") or context.get("expected_tags") or "")
    if kind == "extra_forbidden":
        return f"{where}: unknown key{_did_you_mean(place[-1], fields)}; the keys here are {', '.join(fields)}"
    if item["loc"][-1:] == ("[key]",) and choices:
        return f"{where}: unknown key; the keys here are {', '.join(choices)}"
    if kind == "missing":
        return f"{where}: missing; add it"
    if kind == "union_tag_not_found":
        return f"{where}.{tag_key}: missing; add it"
    if kind == "union_tag_invalid":
        tag = context["tag"]
        return f"{where}.{tag_key}: {tag!r} is unknown; write one of {', '.join(choices)}{_did_you_mean(tag, choices)}"
    message = item["msg"].removeprefix("Value error, ")
    if kind == "value_error" and not isinstance(found, dict):
        return f"{where}: {message}"
    if kind == "value_error":  # a rule of the whole section, whose text names the key
        return f"{where}.{message}"
    wanted = WANTED.get(kind, message.removeprefix("Input should be ")).format_map(context)
    return f"{where}: {_shown(found)} is not allowed; wanted: {wanted}{_did_you_mean(found, choices)}"


def _shown(value: Any) -> str:
    """A value of the config as its author knows it."""
    if value is None:
        return "an empty value"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _walk(item: Mapping[str, Any], model: type[BaseModel], values: Any) -> tuple[list[str], list[str]]:
    """The keys of an error's location as they stand in the file, and the keys that are allowed there.

    pydantic puts the tag of a union, e.g. the data set's `source`, before the keys of what it chose.
    """
    place: list[str] = []
    models = [model]
    chosen = False
    for depth, key in enumerate(item["loc"]):
        last = depth == len(item["loc"]) - 1
        of_tag = [] if chosen else [m for m in models if _is_tag_of(key, m, values)]
        if of_tag:
            models, chosen = of_tag, True
        elif _has(values, key) or (last and item["type"] == "missing"):
            place.append(f"[{key}]" if isinstance(values, list) else str(key))
            if not last:
                models = [m for owner in models for m in _models(_field(owner, key))] or models
                values, chosen = values[key], False
    names = [field.alias or name for m in models for name, field in m.model_fields.items()]
    return place, list(dict.fromkeys(names))


def _has(values: Any, key: Any) -> bool:
    return key in values if isinstance(values, dict) else isinstance(values, list) and isinstance(key, int)


def _field(model: type[BaseModel], key: Any) -> Any:
    return next((field for name, field in model.model_fields.items() if key in (name, field.alias)), None)


def _models(annotated: Any) -> list[type[BaseModel]]:
    """Every model named in a type, at any depth."""
    annotation = getattr(annotated, "annotation", annotated)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _is_tag_of(key: Any, model: type[BaseModel], values: Any) -> bool:
    """Whether the values name this model by `key`: in the field that has but this one value."""
    return isinstance(values, dict) and any(
        get_args(field.annotation) == (key,) and values.get(name) == key for name, field in model.model_fields.items()
    )
