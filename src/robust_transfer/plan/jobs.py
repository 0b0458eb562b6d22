"""What the jobs that Snakemake starts find around them. Cluster jobs inherit it as well."""

import os
import sys
from pathlib import Path

from robust_transfer.errors import UserError

PACKAGE = Path(__file__).parents[1]
VARIABLE = "ROBUST_TRANSFER_SOURCE"
"""Says where the package lies that jobs are to run. The rules start it by that path: a search path cannot hold every
folder's name (PYTHONPATH is cut at colons), and Snakemake takes it away where it activates a conda environment."""
WARM = "ROBUST_TRANSFER_WARM"
"""Says whether nodes are forked from one warm process: 0 in the jobs of a cluster, but for bundles."""


def set_environment(source: Path, warm: bool) -> None:
    """Set the environment that jobs inherit: Snakemake's own Python as `python`, and which package is theirs.

    With --sdm conda, the activation that comes later puts that environment's Python first.

    warm: whether nodes are forked from one warm process (this machine), or are processes of their own (a cluster).

    Raises:
        UserError: where PATH cannot hold the name of Python's folder, or Snakemake that of the package's.
    """
    if {*str(source)} & {*"{}"}:
        raise UserError(f"{source} has braces in its name, which Snakemake takes for a rule's variables; rename it")
    folder = str(Path(sys.executable).parent)
    if os.pathsep in folder:
        raise UserError(f"Python lies in {folder}; no search path can hold a name with {os.pathsep!r}, so move it")
    rest = [entry for entry in os.environ.get("PATH", "").split(os.pathsep) if entry and entry != folder]
    os.environ["PATH"] = os.pathsep.join([folder, *rest])
    os.environ[VARIABLE] = str(source)
    os.environ.setdefault(WARM, "1")
    if not warm:
        os.environ[WARM] = "0"


def must_be_the_workflows_own() -> None:
    """Asked by each job of itself.

    Raises:
        UserError: where this package is another than that of the workflow which started the job.
    """
    source = os.environ.get(VARIABLE)
    if source and (Path(source) / PACKAGE.name).resolve() != PACKAGE.resolve():
        raise UserError(
            f"this is the code in {PACKAGE.parent}, but the workflow's is in {source}; "
            f"look for what puts the former first (PYTHONPATH, an environment with another clone installed)"
        )
