"""The plan, frozen on the first reading of the Snakefile, so that jobs run what they were submitted with.

Cluster jobs read the Snakefile again, perhaps hours later and after config.yaml has been edited. They must not look at
it: the first reading writes the whole plan to results/plans/<12 hex>.json, named by its content, and exports the path;
whatever is started from there, on this machine or through a cluster, inherits the variable and reads the frozen plan.
"""

import json
import os
from pathlib import Path

from robust_transfer.errors import UserError
from robust_transfer.plan.canonical import canonical_json, digest
from robust_transfer.plan.graph import Plan

VARIABLE = "ROBUST_TRANSFER_PLAN"


def freeze(plan: Plan, results: Path) -> Path:
    """Write the plan under its content's name, once, and export its path to all that is started from here."""
    content = plan.to_json()
    path = results / "plans" / f"{digest(content)[:12]}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(canonical_json(content), encoding="utf-8")
        temporary.replace(path)
    path.touch()  # the newest is the one that commands typed by hand take
    os.environ[VARIABLE] = str(path.resolve())
    return path


def frozen_path() -> Path | None:
    """The plan this process was started with, if it was started by another that froze one."""
    return Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def thaw(path: Path) -> Plan:
    """The plan in a file, checked against its name.

    Raises:
        UserError: where the file is missing or is not what its name says.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"the frozen plan {path} is gone; start again with `snakemake`, which writes it anew") from None
    except ValueError:
        content = None
    if content is None or digest(content)[:12] != path.stem:
        raise UserError(f"the frozen plan {path} was changed or cut short; delete it and start `snakemake` again")
    return Plan.from_json(content)


def newest(results: Path) -> Path:
    """The plan frozen last.

    Raises:
        UserError: where there is none.
    """
    plans = sorted((results / "plans").glob("*.json"), key=lambda path: path.stat().st_mtime)
    if not plans:
        raise UserError(f"no plan in {results / 'plans'} yet; run `snakemake -n` first, which writes it")
    return plans[-1]
