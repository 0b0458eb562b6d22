"""Reading YAML as a person means it, and refusing in one sentence what cannot be read.

The scalars are those of YAML 1.2's core schema: `no` and `on` are words, 010 is ten, 12:30 is text, 1e-4 is a number.
Merge keys (`<<`) are taken from YAML 1.1. Keys are text, whatever they look like: `12: all` means `"12": all`.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from robust_transfer.errors import UserError

DEEPEST, MOST = 50, 100_000
"""Levels of a document, and values in it once its aliases are written out; a config has 10 and 2,000."""

CORE = "tag:yaml.org,2002:"


class _CoreLoader(yaml.SafeLoader):
    """Composes nodes, with the plain scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list] = {}  # noqa: RUF012 (PyYAML's way to register)


class _QuickLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same by libyaml, where PyYAML has it: ten times as fast."""

    yaml_implicit_resolvers: dict[str, list] = {}  # noqa: RUF012


class CoreDumper(yaml.SafeDumper):
    """Writes what the reader reads: quotes where the core schema needs them, no aliases."""

    yaml_implicit_resolvers: dict[str, list] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
):
    for _class in (_CoreLoader, _QuickLoader, CoreDumper):
        _class.add_implicit_resolver(CORE + _tag, re.compile(f"^(?:{_pattern})$"), _first)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: where the file is missing, is no valid YAML, gives a key twice, or holds no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path} is missing; restore it, e.g. with `git checkout {path.name}`") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); name a YAML file") from None
    content = read_text(text, str(path))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: `key: value` lines are wanted, found a {type(content).__name__}; write it like that")
    return content


def read_assignments(words: Iterable[str]) -> dict[str, Any]:
    """The mapping that `KEY=VALUE` words of a command line give; values are YAML.

    Raises:
        UserError: where a word is no such pair, its value is no valid YAML, or a key is given twice.
    """
    values: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not key or not equals:
            raise UserError(f"--config: {word!r} is no KEY=VALUE; write it like seed=1")
        if key in values:
            raise UserError(f"--config: the key {key!r} is given twice; give it once")
        values[key] = read_text(text, f"--config {key}")
    return values


def _composed(text: str) -> yaml.Node | None:
    """The node that a YAML text composes to; what libyaml refuses PyYAML's own parser has the words for."""
    # Each level takes a bracket or a column. libyaml's composer knows no limit, and dies of a stack that is full.
    levels = text.count("[") + text.count("{") + max(map(len, text.splitlines()), default=0)
    if levels > 1_500 or "\t" in text:  # libyaml takes tabs where PyYAML and the standard do not
        return yaml.compose(text, _CoreLoader)
    try:
        return yaml.compose(text, _QuickLoader)
    except (yaml.YAMLError, UnicodeEncodeError):
        return yaml.compose(text, _CoreLoader)


def read_text(text: str, name: str) -> Any:
    """The value that a YAML text holds. name: of the text, for messages.

    Raises:
        UserError: where it is no valid YAML, gives a key twice, or is nested without end.
    """
    try:
        node = _composed(text)
        return None if node is None else _value(node, 1, count())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = error.problem or "it cannot be read"
        problem = f"{error.context}, {problem}" if problem.startswith("but ") else problem
        raise UserError(f"{name}{where}: {problem}; mend the YAML there") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(
            f"{name}, line {line}: the character #x{error.character:04x} is not allowed; take it away"
        ) from None
    except RecursionError:
        raise UserError(f"{name}: the YAML is nested too deep; at most {DEEPEST} levels are read") from None


def with_text_keys(values: Any) -> Any:
    """Mappings with their keys as text, at any depth, as the reader gives them."""
    if isinstance(values, Mapping):
        return {str(key): with_text_keys(value) for key, value in values.items()}
    return [with_text_keys(value) for value in values] if isinstance(values, list) else values


def _wrong(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _value(node: yaml.Node, depth: int, counted: count) -> Any:
    """The plain value of a node; an anchor that refers to itself ends at DEEPEST."""
    if depth > DEEPEST:
        raise _wrong(node, f"more than {DEEPEST} levels, or an anchor that refers to itself")
    if next(counted) >= MOST:
        raise _wrong(node, f"more than {MOST:,} values, counting each alias as what it stands for")
    kind = node.tag.removeprefix(CORE)
    if isinstance(node, yaml.MappingNode) and kind == "map":
        return _mapping(node, depth, counted)
    if isinstance(node, yaml.SequenceNode) and kind == "seq":
        return [_value(item, depth + 1, counted) for item in node.value]
    if isinstance(node, yaml.ScalarNode) and kind in _SCALARS:
        return _scalar(node, kind)
    raise _wrong(node, f"could not determine a constructor for the tag {node.tag!r}")


def _mapping(node: yaml.MappingNode, depth: int, counted: count) -> dict[str, Any]:
    """A mapping, its own keys winning over those that `<<` brings in."""
    merged: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for key, item in node.value:
        value = _value(item, depth + 1, counted)
        if key.tag == CORE + "merge":
            for part in reversed(value if isinstance(value, list) else [value]):
                if not isinstance(part, dict):
                    raise _wrong(item, "`<<` wants a mapping or a list of them")
                merged |= part
            continue
        if not isinstance(key, yaml.ScalarNode) or not key.value:
            raise _wrong(key, "a key must be a word or a number, in quotes if need be")
        name = _scalar(key, "str")
        if name in own:
            raise _wrong(key, f"the key {name!r} is given twice")
        own[name] = value
    return merged | own


def _text(text: str) -> str:
    text.encode()  # half a surrogate pair is no text: it could not be written anywhere
    return text


def _whole(text: str) -> int:
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _float(text: str) -> float:
    return float(text.replace(".", "") if text.lower().endswith(("inf", "nan")) else text)


_SCALARS = {
    "str": _text,
    "null": lambda text: None,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": _whole,
    "float": _float,
}


def _scalar(node: yaml.ScalarNode, kind: str) -> Any:
    try:
        return _SCALARS[kind](node.value)
    except (ValueError, KeyError):
        raise _wrong(node, f"{node.value[:40]!r} cannot be read as {kind}") from None
