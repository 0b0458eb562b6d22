"""Where a result came from: the code, the commit, the versions and the machine, as a card records them."""

import ast
import hashlib
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
RECORDED = (
    "torch",
    "torchvision",
    "timm",
    "advertorch",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "safetensors",
    "snakemake",
)
OID = "# branch.oid "
PATIENCE = 10
"""Seconds that git may take to say what the code is."""
BOOKKEEPING = (
    *("canonical", "chain", "errors", "pace", "plan", "provenance", "recipes", "registry"),
    *("run.client", "run.command", "run.nodes", "run.warm", "specs", "stages.job", "stages.node", "store"),
)
"""Modules that no fingerprint covers: they carry specs and files about; what they decide stands in the spec itself."""


@cache
def fingerprint(*modules: str) -> str:
    """12 hex digits for the code of some modules and all they import from this package.

    Taken from the syntax trees without docstrings, so that comments, formatting and wording don't count.
    """
    combined = hashlib.sha256()
    for name in sorted(imported_by(*modules)):
        combined.update(code_of(name))
    return combined.hexdigest()[:12]


@cache
def code_of(module: str) -> bytes:
    """What a module of this package adds to a fingerprint."""
    return f"{module}\n{_meaning(_tree(module))}\n".encode()


def imported_by(*modules: str) -> set[str]:
    """The modules of this package that these import, directly or not, themselves included, but for the bookkeeping."""
    found: set[str] = set()
    to_read = list(modules)
    while to_read:
        name = to_read.pop()
        if name in found or _file(name) is None:
            continue
        found.add(name)
        to_read += _imports(name)
    return found


@cache
def _imports(module: str) -> tuple[str, ...]:
    """What a module of this package imports, and the names that it takes from there, as if they were modules, too."""
    found: list[str] = []
    for statement in _statements(_tree(module)):
        if isinstance(statement, ast.Import):
            found += [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            found += [statement.module, *(f"{statement.module}.{alias.name}" for alias in statement.names)]
    return tuple(found)


def _statements(part: ast.AST) -> Iterator[ast.AST]:
    """All there is in a syntax tree, but for what only type checkers read: `if TYPE_CHECKING:`."""
    yield part
    inside: Iterable[ast.AST] = ast.iter_child_nodes(part)
    if isinstance(part, ast.If) and isinstance(part.test, ast.Name) and part.test.id == "TYPE_CHECKING":
        inside = part.orelse
    for inner in inside:
        yield from _statements(inner)


def _file(module: str) -> Path | None:
    package, _, inner = module.partition(".")
    if package != PACKAGE.name or any(inner == name or inner.startswith(name + ".") for name in BOOKKEEPING):
        return None
    path = PACKAGE.parent.joinpath(*module.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.exists()), None)


@cache
def _tree(module: str) -> ast.Module:
    path = _file(module)
    assert path, f"{module} is no module here"
    return ast.parse(path.read_text(encoding="utf-8"))


def _meaning(part: Any) -> str:
    """A syntax tree as text, without docstrings and what is empty: the same from every version of Python."""
    if isinstance(part, list):
        return f"[{','.join(_meaning(item) for item in part if not _is_docstring(item))}]"
    if isinstance(part, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(part) if value not in (None, []))
        return f"{type(part).__name__}({','.join(f'{name}={_meaning(value)}' for name, value in fields)})"
    return repr(part)


def _is_docstring(statement: Any) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def git_state() -> dict[str, Any]:
    """The commit of the code, and whether tracked files differ from it; commit None outside a clone.

    dirty is None where nobody knows: outside a clone, and where looking at files takes too long (a slow file system).
    Where the package is installed, a repository around it is another's.
    """
    if not (PACKAGE.parents[1] / ".git").exists():
        return {"commit": None, "dirty": None}

    try:
        lines = _git("status", "--porcelain=v2", "--branch", "--untracked-files=no")
    except subprocess.TimeoutExpired:
        return {"commit": _head(), "dirty": None}
    found = [line.removeprefix(OID) for line in lines if line.startswith(OID)]
    if not found or found == ["(initial)"]:
        return {"commit": None, "dirty": None}
    return {"commit": found[0], "dirty": any(not line.startswith("#") for line in lines)}


def _head() -> str | None:
    """The commit alone, which git reads from a file or two."""
    try:
        return next(iter(_git("rev-parse", "HEAD")), None)
    except subprocess.TimeoutExpired:
        return None


def _git(*words: str) -> list[str]:
    """The lines that git prints about the clone of this code; none where it fails, or is not there.

    Raises:
        subprocess.TimeoutExpired: where it takes too long.
    """
    # Without optional locks: a user's own `git commit` beside a run never meets a lock of ours.
    command = ["git", "--no-optional-locks", "-C", str(PACKAGE), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except OSError:
        return []
    return [] if done.returncode else done.stdout.splitlines()


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the libraries whose code can change a result."""
    found = {"python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """The machine's kind; no host name."""
    return {"system": platform.system(), "processor": _processor(), "cores": os.cpu_count()}


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def peak_memory_mb() -> int:
    """Largest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3))
