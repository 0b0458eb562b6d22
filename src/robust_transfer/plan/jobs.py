"""What the jobs that Snakemake starts find around them. Cluster jobs inherit it as well."""

import os
import sys
from pathlib import Path


def surroundings(source: Path, warm: bool) -> None:
    """Set the environment that jobs inherit: Snakemake's own Python as `python`, the package in `source` on its path.

    With --sdm conda, the activation that comes later puts that environment's Python first.

    warm: whether nodes are forked from one warm process (this machine), or are processes of their own (a cluster).
    """
    _put_first("PATH", str(Path(sys.executable).parent))
    _put_first("PYTHONPATH", str(source))
    os.environ.setdefault("ROBUST_TRANSFER_WARM", "1")
    if not warm:
        os.environ["ROBUST_TRANSFER_WARM"] = "0"


def _put_first(variable: str, folder: str) -> None:
    rest = [entry for entry in os.environ.get(variable, "").split(os.pathsep) if entry and entry != folder]
    os.environ[variable] = os.pathsep.join([folder, *rest])
