"""No module of the package imports one that imports it."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import robust_transfer

ROOT = Path(robust_transfer.__file__).parent
ROOMS = ("registry import members", "registry import modules")
"""What stands in a package that imports all of its modules; see registry."""


def name_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py")}


def statements(body, inside):
    """Those that run when a module is imported, and, inside, when its functions are called; none for types alone."""
    for each in body:
        yield each
        is_for_types = isinstance(each, ast.If) and ast.unparse(each.test).endswith("TYPE_CHECKING")
        if is_for_types or (isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and not inside):
            continue
        for name in ("body", "orelse", "finalbody", "handlers"):
            yield from statements(getattr(each, name, []), inside)


def imported(source, inside):
    """Names of this package's modules that a source imports."""
    for each in statements(ast.parse(source).body, inside):
        names = [alias.name for alias in each.names] if isinstance(each, ast.Import | ast.ImportFrom) else []
        if isinstance(each, ast.ImportFrom):
            assert not each.level, "imports are absolute"
            whole = (f"{each.module}.{name}" for name in names)
            names = [name if name in MODULES else each.module for name in whole]
        yield from (name for name in names if name in MODULES)


def circle(graph):
    """Modules that import each other, in their order; none where there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def at_import():
    """Module -> those that are imported when it is: what it names, the packages these lie in, and all of its room."""
    graph = {}
    for module, source in MODULES.items():
        names = {*imported(source, inside=False)}
        packages = {name.rsplit(".", n)[0] for name in names for n in range(1, name.count(".") + 1)}
        names |= {package for package in packages if not module.startswith(f"{package}.")}
        if any(words in source for words in ROOMS):
            names |= {name for name in MODULES if name.rpartition(".")[0] == module}
        graph[module] = names - {module}
    return graph


def test_no_module_is_imported_before_it_is_whole():
    assert circle(at_import()) == []


def test_none_needs_in_a_function_what_needs_it():
    assert circle({module: {*imported(source, inside=True)} - {module} for module, source in MODULES.items()}) == []


STORE = "robust_transfer.store"
IN_A_METHOD = """
class A:
    def f(self):
        with x:
            from robust_transfer.store import y
"""
IN_A_TRY = """
try:
    import robust_transfer.store
except OSError:
    import robust_transfer.locks
"""


@pytest.mark.parametrize(
    "source, at_once, later",
    [
        ("from robust_transfer import store", [STORE], []),
        (IN_A_METHOD, [], [STORE]),
        (IN_A_TRY, [STORE, "robust_transfer.locks"], []),
        ("if TYPE_CHECKING:\n    from robust_transfer import store", [], []),
    ],
)
def test_imports_are_seen_wherever_they_stand(source, at_once, later):
    assert [*imported(source, inside=False)] == at_once
    assert [*imported(source, inside=True)] == at_once + later
