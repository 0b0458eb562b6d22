"""The sentences for mistakes in the config: where, what was found, what is wanted."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from robust_transfer.plan.descriptions import phrase

Model = TypeVar("Model", bound=BaseModel)


def check(model: type[Model], values: Any, path: str, mistakes: list[str]) -> Model | None:
    """Validate values; on mistakes append a sentence for each and return None.

    A path that has its sentence already (a broken switch, say) gets no second one.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        told = {path_of(line) for line in mistakes}
        for item in error.errors():
            sentence = _sentence(item, model, values, path)
            if path_of(sentence) not in told:
                mistakes.append(sentence)
            if item["loc"][-1:] == ("[key]",):  # what stands under a key that means nothing has no meaning either
                told.add(path_of(sentence))
        return None


def path_of(sentence: str) -> str:
    """The key that a mistake's sentence begins with."""
    return sentence.partition(": ")[0]


def heading(names: Sequence[str]) -> str:
    """The line above the mistakes of some files: `config.yaml has mistakes:`."""
    *others, last = names
    return f"{', '.join(others)} and {last} have mistakes:" if others else f"{last} has mistakes:"


def unknown_key(key: Any, known: Iterable[str]) -> str:
    """The sentence for a key that means nothing."""
    return f"{key}: unknown key{did_you_mean(key, known)}; the keys here are {', '.join(sorted(known))}"


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    """` (did you mean NAME?)`, if there is a name much like it."""
    close = difflib.get_close_matches(name, list(known), n=1) if isinstance(name, str) else []
    return f" (did you mean {close[0]}?)" if close else ""


EXPECTED = {
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
    path, owners = _walk(item, model, values)
    fields = list(dict.fromkeys(field.alias or name for owner in owners for name, field in owner.model_fields.items()))
    where = ".".join(filter(None, [prefix, *path])).replace(".[", "[") or "config"
    meaning = _meaning(item["loc"], owners)
    kind, context, found = item["type"], item.get("ctx", {}), item["input"]
    tag_key = str(context.get("discriminator", "")).strip("'")
    choices = re.findall("'([^']*)'", context.get("expected") or context.get("expected_tags") or "")
    if kind == "extra_forbidden":
        return f"{where}: unknown key{did_you_mean(path[-1], fields)}; the keys here are {', '.join(fields)}"
    if item["loc"][-1:] == ("[key]",) and choices:
        return f"{where}: unknown key; the keys here are {', '.join(choices)}"
    if kind == "missing":
        return f"{where}: missing; add it{meaning}"
    if kind == "union_tag_not_found":
        return f"{where}.{tag_key}: missing; add it"
    if kind == "union_tag_invalid":
        tag = context["tag"]
        return f"{where}.{tag_key}: {tag!r} is unknown; write one of {', '.join(choices)}{did_you_mean(tag, choices)}"
    message = item["msg"].removeprefix("Value error, ")
    if kind == "value_error" and not isinstance(found, dict):
        return f"{where}: {message}"
    if kind == "value_error":  # a rule of the whole section, whose text names the key
        return f"{where}.{message}"
    expected = EXPECTED.get(kind, message.removeprefix("Input should be ")).format_map(context)
    return f"{where}: {_shown(found)} is not allowed; wanted: {expected}{did_you_mean(found, choices)}{meaning}"


def _meaning(path: Sequence[Any], owners: Iterable[type[BaseModel]]) -> str:
    """` (eps: radius of the ball)`: what the last key means to the models that have it, if they all mean the same."""
    key = path[-1] if path else None
    fields = [(model, name) for model in owners for name, field in model.model_fields.items() if _is(key, name, field)]
    meanings = {phrase(model, name) for model, name in fields}
    return f" ({key}: {meanings.pop()})" if len(meanings) == 1 and meanings != {""} else ""


def _shown(value: Any) -> str:
    """A value of the config as its author knows it."""
    if value is None:
        return "an empty value"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _walk(item: Mapping[str, Any], model: type[BaseModel], values: Any) -> tuple[list[str], list[type[BaseModel]]]:
    """The keys of an error's location as they stand in the file, and the models whose keys are allowed there.

    pydantic puts the tag of a union, e.g. the data set's `reader`, before the keys of what it chose.
    """
    path: list[str] = []
    models = [model]
    chosen = False
    for depth, key in enumerate(item["loc"]):
        last = depth == len(item["loc"]) - 1
        of_tag = [] if chosen else [m for m in models if _is_tag_of(key, m, values)]
        if of_tag:
            models, chosen = of_tag, True
        elif _has(values, key) or (last and item["type"] == "missing"):
            path.append(f"[{key}]" if isinstance(values, list) else str(key))
            if not last:
                models = [m for owner in models for m in _models(_field(owner, key))] or models
                values, chosen = values[key], False
    return path, models


def _has(values: Any, key: Any) -> bool:
    return key in values if isinstance(values, dict) else isinstance(values, list) and isinstance(key, int)


def _field(model: type[BaseModel], key: Any) -> Any:
    return next((field for name, field in model.model_fields.items() if _is(key, name, field)), None)


def _is(key: Any, name: str, field: FieldInfo) -> bool:
    return key in (name, field.alias)


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
