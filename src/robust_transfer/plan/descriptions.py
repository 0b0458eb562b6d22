"""What the specs' fields mean: the docstrings below them, read from their source only where they are shown."""

import ast
import inspect
import re
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import get_args

from pydantic import BaseModel


def summary(model: type[BaseModel]) -> str:
    """The first paragraph of a model's docstring, or of what it is made from, in one line."""
    return " ".join((inspect.getdoc(model) or "").partition("\n\n")[0].split())


def description(model: type[BaseModel], name: str) -> str:
    """What a field means, "" where nothing says so.

    What the field says, or else the docstring below it, in the model or what that inherits it from. A tag (an attack's
    `algorithm`) means what its model does, and so does a field of one model.
    """
    field = model.model_fields[name]
    below = (_below_fields(owner).get(name, "") for owner in model.__mro__)
    if text := field.description or next(filter(None, below), ""):
        return text
    arguments = get_args(field.annotation)
    if field.is_required() and len(arguments) == 1 and isinstance(arguments[0], str):
        return summary(model)
    types = [part for part in arguments or (field.annotation,) if part is not NoneType]
    is_model = len(types) == 1 and isinstance(types[0], type) and issubclass(types[0], BaseModel)
    return summary(types[0]) if is_model else ""


def phrase(model: type[BaseModel], name: str) -> str:
    """A field's description as part of a sentence: up to the first `.` or `;` that ends something, without the capital
    letter, unless that is a name's.
    """
    first = re.split(r"(?<!et al)(?<!e\.g)[.;](?: |$)(?![^(]*\))", description(model, name))[0]
    return first[:1].lower() + first[1:] if re.match(r".[a-z]+\b", first) else first


def _below_fields(owner: type) -> dict[str, str]:
    """{field: the docstring below it} of one class; nothing of one that is made without source."""
    file = getattr(sys.modules.get(owner.__module__), "__file__", None)
    body = _classes(file).get(owner.__qualname__, []) if file and issubclass(owner, BaseModel) else []
    return {
        field.target.id: " ".join(text.split())
        for field, below in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and (text := _docstring(below))
    }


@cache
def _classes(file: str) -> dict[str, list[ast.stmt]]:
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return {part.name: part.body for part in tree.body if isinstance(part, ast.ClassDef)}


def _docstring(statement: ast.stmt) -> str | None:
    """The text of a statement that is nothing else."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None
