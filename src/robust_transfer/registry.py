"""Rooms in which each file is one form of a thing (a network family, an attack, a term, ...), found by itself."""

from collections.abc import Iterable, Iterator
from functools import reduce
from importlib import import_module
from operator import or_
from pkgutil import iter_modules
from types import ModuleType
from typing import Annotated, Any, TypeVar

from pydantic import Field

T = TypeVar("T")


def modules(room: str, path: list[str]) -> Iterator[ModuleType]:
    """The modules of a package, in the order of their names; to be called in the package's own __init__.

    room, path: the package's __name__ and __path__.
    """
    for found in sorted(iter_modules(path), key=lambda info: info.name):
        if not found.name.startswith("_"):
            yield import_module(f"{room}.{found.name}")


def members(room: str, path: list[str], base: type[T]) -> tuple[type[T], ...]:
    """The subclasses of `base` that the modules of a package define; see modules."""
    return tuple(
        member
        for module in modules(room, path)
        for member in vars(module).values()
        if isinstance(member, type) and issubclass(member, base) and member.__module__ == module.__name__
    )


def one_of(forms: Iterable[type], tag: str) -> Any:
    """The type of a value that has one of several forms, told apart by the field `tag`."""
    return Annotated[reduce(or_, forms), Field(discriminator=tag)]
