"""What a config may say, as a JSON schema for editors.

It describes a layer: any part of the config, whose missing values the layers below give. Whether all of them fit
together is for the plan to say.
"""

import json
import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from robust_transfer.plan.config import shape_of_all
from robust_transfer.plan.descriptions import description, summary
from robust_transfer.plan.protocol import NAMES, PROTOCOLS, SWITCHES, parts_of
from robust_transfer.specs.attacks import Stepped
from robust_transfer.specs.fields import number
from robust_transfer.studies import STUDIES
from robust_transfer.studies.base import last_units

Json = dict[str, Any]

ROOT = "A layer of the config; the layers below it give what it leaves out."
DECIMAL = r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"
FRACTION = {"description": "A number like 8/255 or 1e-4.", "type": "string", "pattern": f"^{DECIMAL}( */ *{DECIMAL})?$"}
PART_OF_EPS = {
    "description": "A part of eps, like eps/4.",
    "type": "string",
    "pattern": r"^ *eps */ *[0-9]+\.?[0-9]* *$",
}
SWITCHED: Json = {
    "description": "A value for each position of a switch, like {D15: {paper: 7, code: 7, corrected: 20}}.",
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "properties": {
        name: {
            "type": "object",
            "properties": {position: {} for position in switch.positions},
            "required": list(switch.positions),
            "additionalProperties": False,
        }
        for name, switch in SWITCHES.items()
    },
    "additionalProperties": False,
}
OURS = {"fraction": FRACTION, "part of eps": PART_OF_EPS, "switched": SWITCHED}
"""Definitions beside the models'."""
NULL = {"type": "null"}


def _ours(name: str) -> Json:
    """Stands for a reference to one of OURS until pydantic, which knows none of them, has resolved its own."""
    return {"ours": name}


class _OfLayers(GenerateJsonSchema):
    """Schemas of what layers may say: nothing is required, and any value may follow a switch."""

    def model_schema(self, schema: Any) -> Json:
        """`null` gives a field its default."""
        model: type[BaseModel] = schema["cls"]
        made = super().model_schema(schema)
        properties = made.get("properties", {})
        for name, field in model.model_fields.items():
            key = field.alias or name
            value = properties[key]
            if issubclass(model, Stepped) and name == "step_size":
                value = _any_of(value, _ours("part of eps"))
            properties[key] = {"description": description(model, name)} | _any_of(
                value, _ours("switched"), *([] if field.is_required() else [NULL])
            )
        return {
            "description": summary(model),
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
        }

    def dict_schema(self, schema: Any) -> Json:
        """`null` takes an entry away."""
        made = super().dict_schema(schema)
        made.pop("minProperties", None)
        for pattern, entry in made.get("patternProperties", {}).items():
            made["patternProperties"][pattern] = _any_of(entry, _ours("switched"), NULL)
        if "patternProperties" in made:
            return made | {"additionalProperties": False}
        entry = made.get("additionalProperties", True)
        return made if entry is True else made | {"additionalProperties": _any_of(entry, _ours("switched"), NULL)}

    def list_schema(self, schema: Any) -> Json:
        made = super().list_schema(schema)
        return made | {"items": _any_of(made["items"], _ours("switched"))}

    def function_before_schema(self, schema: Any) -> Json:
        """What functions read beside what they give: numbers as papers print them, and k for the last k units."""
        made = super().function_before_schema(schema)
        reads = schema["function"]["function"]
        if reads is number:
            return _any_of(made, _ours("fraction"))
        return _any_of({"type": "integer", "minimum": 1}, made) if reads is last_units else made

    def tagged_union_schema(self, schema: Any) -> Json:
        """A layer may leave the tag to those below it."""
        made = super().tagged_union_schema(schema)
        return _any_of(*made["oneOf"]) if "oneOf" in made else made

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _any_of(first: Json, *others: Json) -> Json:
    """What any of the choices allows, with the first one's default, if it has one."""
    kept = {key: value for key, value in first.items() if key == "default"}
    return kept | {"anyOf": [{key: value for key, value in first.items() if key not in kept}, *others]}


BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
"""JSON schema's words for pydantic's, which leaves its own where a value is read by a function first."""


def _plain(node: Any) -> Any:
    """A schema with its bounds in JSON schema's words, at the numbers that they are of, and no choice in a choice."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "ours" in node:
        return reference(node["ours"])
    plain = {}
    for key, value in node.items():
        if key in ("properties", "patternProperties", "$defs"):
            plain[key] = {name: _plain(part) for name, part in value.items()}
        else:
            plain[BOUNDS.get(key, key)] = value if key == "default" else _plain(value)
    if "anyOf" not in plain:
        return plain
    bounds = {key: plain.pop(key) for key in BOUNDS.values() if key in plain}
    choices: list[Json] = []
    for choice in plain.pop("anyOf"):
        choices += choice["anyOf"] if set(choice) == {"anyOf"} else [choice]
    bounded = [each | bounds if each.get("type") in ("number", "integer") else each for each in choices]
    unique = [each for i, each in enumerate(bounded) if each not in bounded[:i]]
    return plain | (unique[0] if len(unique) == 1 else {"anyOf": unique})


def config_model() -> type[BaseModel]:
    """The model of the whole config."""
    return shape_of_all(tuple((name, study.Section) for name, study in STUDIES.items())).models[0]


def schema() -> Json:
    """The JSON schema of a layer of the config."""
    made = config_model().model_json_schema(by_alias=True, schema_generator=_OfLayers)
    text = re.sub(r"robust_transfer__\w+", lambda name: _short(name[0]), json.dumps(made))
    made = _plain(json.loads(text))
    keys, study = made["properties"], {"type": "string", "enum": list(STUDIES)}
    keys["studies"]["anyOf"][0]["items"] = study
    keys["main_study"]["anyOf"][0] |= study
    keys["switches"] = {
        "description": keys["switches"]["description"],
        "default": {},
        "type": "object",
        "properties": {name: {"description": _topic(name), "enum": list(PROTOCOLS)} for name in NAMES},
        "additionalProperties": False,
    }
    keys["extends"] = {
        "description": "In the file of a scale: the scale that it lies over, a name or a path.",
        "type": "string",
    }
    definitions = dict(sorted(made["$defs"].items())) | OURS
    for form in definitions.values():
        if "anyOf" in form:  # a term that may be its number alone
            form["anyOf"].append(reference("fraction"))
    return {"$schema": "http://json-schema.org/draft-07/schema#"} | made | {"description": ROOT, "$defs": definitions}


def as_text(made: Json) -> str:
    """A schema as JSON, a line a definition."""

    def lines(values: Json, indent: str) -> str:
        inner = (f"{indent}{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
        return ",\n".join(inner)

    rest = {key: value for key, value in made.items() if key not in ("properties", "$defs")}
    parts = [f'  "{key}": {{\n{lines(made[key], "    ")}\n  }}' for key in ("properties", "$defs")]
    return "{\n" + ",\n".join([lines(rest, "  "), *parts]) + "\n}\n"


def reference(name: str) -> Json:
    """What stands where a definition is meant."""
    return {"$ref": f"#/$defs/{name}"}


def _topic(switch: str) -> str:
    parts = [SWITCHES[part] for part in parts_of(switch)]
    return f"{'; '.join(part.topic for part in parts)} ({parts[0].study})"


def _short(name: str) -> str:
    """`cartl.Schedules` of a model that shares its name with others; `cartl` of a study's Section."""
    *packages, last = name.split("__")
    if "studies" not in packages:
        return last
    study = packages[packages.index("studies") + 1]
    return study if last == "Section" else f"{study}.{last}"
