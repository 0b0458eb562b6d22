"""What is written from the specs' docstrings and the switches: the JSON schema, and the pages that say the same."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robust_transfer.cost import page as cost
from robust_transfer.cost.networks import TABLE
from robust_transfer.plan.protocol import SWITCHES
from robust_transfer.reference.schema import NULL, OURS, Json, as_text, reference, schema
from robust_transfer.studies import switch_effects

SCHEMA, REFERENCE, README = Path("workflow/schema.json"), Path("docs/reference.md"), Path("README.md")
CONFIG = Path("config/README.md")
COST, NETWORKS = Path("docs/cost.md"), Path("src/robust_transfer/cost") / TABLE.name
COMMAND = "robust-transfer schema --write"
HEAD = f"""# Every key of the config

Written by `{COMMAND}` from the specs' docstrings; `workflow/schema.json` says the same to editors.
Any value may follow a switch (see README), and a number may be written 8/255. A key without a default must be given by
some layer; the recipes and scales in `workflow/` give most. See [config.md](config.md)."""

HEAD_OF_CONFIG = f"""# Configuration

Written by `{COMMAND}` from the specs' docstrings. `config.yaml` (`config/config.yaml` is a link to it) says what is
run: a scale, which is data sets, networks and schedules; the studies; and, laid over what their papers and the scale
give, whatever values are to be others. Every key is in [docs/reference.md](../docs/reference.md), how layers are laid
in [docs/config.md](../docs/config.md), where data sets come from in [docs/data.md](../docs/data.md). Scale `mnist`
needs no data and no GPU."""


def page() -> str:
    """The page that lists every key of the config."""
    made = schema()
    parts = {name: part for name, part in made["$defs"].items() if name not in (*OURS, "JsonValue")}
    studies_first = sorted(parts, key=lambda name: (name[0].isupper(), name))
    sections = [_section("The config", made, {}), *(_section(name, parts[name], parts) for name in studies_first)]
    return "\n\n".join([HEAD, *sections]) + "\n"


def config_page() -> str:
    """The page that Snakemake's workflow catalogue shows: the uppermost keys of the config."""
    made = schema()
    return "\n\n".join([HEAD_OF_CONFIG, _section("The config", made, {}).replace("](#", f"](../{REFERENCE}#")]) + "\n"


def _section(title: str, node: Json, others: Mapping[str, Json]) -> str:
    """A table of a model's keys; of one that is another with some keys more, of these alone."""
    keys = _keys(node)
    base = next((name for name in sorted(others) if name < title and _has_all(keys, _keys(others[name]))), None)
    rows = [
        f"| `{key}` | {_type(value)} | {_default(value)} | {value['description'].replace('|', chr(92) + '|')} |"
        for key, value in keys.items()
        if base is None or _keys(others[base]).get(key) != value
    ]
    table = ["| key | type | default | meaning |", "|---|---|---|---|", *rows] if rows else []
    alone = " May be written as its number alone." if "anyOf" in node else ""
    begin = (
        f"As [{base}](#{_anchor(base)})" + (", and:" if rows else ".") if base else _object(node)["description"] + alone
    )
    return "\n".join([f"## {title}", "", begin, "", *table]).rstrip()


def _object(node: Json) -> Json:
    """The mapping that a definition is; a term may also be its number alone."""
    return next(each for each in node.get("anyOf", [node]) if "properties" in each)


def _keys(node: Json) -> Json:
    return _object(node)["properties"]


def _has_all(keys: Json, others: Json) -> bool:
    """Whether a model has the keys of another, nearly all with the same meaning, and that is worth saying."""
    return (
        len(others) > 3
        and others.keys() <= keys.keys()
        and sum(keys[key] != value for key, value in others.items()) <= 1
    )


def _anchor(title: str) -> str:
    return title.lower().replace(".", "")


def _type(node: Json) -> str:
    """A schema in words, without what holds everywhere: switches, null, numbers as fractions."""
    if "anyOf" in node:
        everywhere = (reference("switched"), reference("fraction"), NULL)
        return ", or ".join(_type(each) for each in node["anyOf"] if each not in everywhere)
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        words = {"JsonValue": "anything", "part of eps": "a part of eps"}
        return words.get(name) or f"[{name}](#{_anchor(name)})"
    if "const" in node:
        return f"`{json.dumps(node['const']).strip(chr(34))}`"
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    kind = node.get("type")
    if kind == "array":
        return f"list of {_type(node['items'])}"
    if kind == "object":
        entries = [*node.get("patternProperties", {}).values(), node.get("additionalProperties", True)]
        return f"name: {_type(entries[0])}" if isinstance(entries[0], dict) else "mapping"
    words = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true`, `false`"}
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = ", ".join(f"{sign} {node[key]:g}" for key, sign in signs.items() if key in node)
    return f"{words.get(str(kind), 'anything')} {bounds}".rstrip()


def _default(node: Json) -> str:
    if "default" not in node:
        return ""
    return "none" if node["default"] is None else f"`{json.dumps(node['default'], ensure_ascii=False)}`"


def switches(workflow: Path) -> str:
    """README's table of the switches, with what each position changes in plans of the paper scale."""
    effects = switch_effects(workflow)
    rows = [
        f"| {name} ({switch.study}): {switch.topic} | {switch.paper} | {switch.code} | {switch.corrected} "
        f"| {switch.as_published or ''} | {_in_words(effects.get(name, {}))} |"
        for name, switch in SWITCHES.items()
    ]
    head = "| switch | `paper` | `code` | `corrected` | `as_published`, if not as `code` | cells changed |"
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


def _in_words(effects: Mapping[Any, Mapping[str, Mapping[str, int]]]) -> str:
    """`code`, `corrected`: shafahi table4 12, table5 10. effects: position -> study -> table -> number of cells."""
    of_words: dict[str, list[str]] = {}
    for position, studies in effects.items():
        words = "; ".join(
            f"{study} {', '.join(f'{table} {count}' for table, count in tables.items())}"
            for study, tables in studies.items()
        )
        of_words.setdefault(words, []).append(f"`{position}`")
    return "<br>".join(f"{', '.join(positions)}: {words}" for words, positions in of_words.items()) or "none"


def files(root: Path) -> dict[Path, str]:
    """What each of the files below the project's root is to hold."""
    workflow = root / "workflow"
    return {
        root / SCHEMA: as_text(schema()),
        root / REFERENCE: page(),
        root / CONFIG: config_page(),
        root / README: _with(root / README, "switches", switches(workflow)),
        root / NETWORKS: cost.networks(workflow),
        root / COST: _with(root / COST, "cost", cost.papers(workflow)),
    }


def _with(page: Path, name: str, text: str) -> str:
    """A page with a text between the marks of that name; as it is where it has none."""
    begin, end = f"<!-- {name}: written by `{COMMAND}` -->", f"<!-- end of {name} -->"
    before, _, rest = (whole := page.read_text(encoding="utf-8")).partition(begin)
    _, found, after = rest.partition(end)
    return f"{before}{begin}\n{text}\n{end}{after}" if found else whole
