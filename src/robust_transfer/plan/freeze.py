"""The plan, frozen on the first reading of the Snakefile, so that jobs run what they were submitted with.

Cluster jobs read the Snakefile again, perhaps hours later and after config.yaml has been edited. They must not look at
it: the first reading writes the whole plan to results/plans/<12 hex>.json, named by its content, and exports the path;
whatever is started from there, on this machine or through a cluster, inherits the variable and reads the frozen plan.
"""

import hashlib
import json
import os
from pathlib import Path

from robust_transfer import store
from robust_transfer.canonical import canonical_json, digest
from robust_transfer.errors import UserError
from robust_transfer.plan.graph import Plan

VARIABLE = "ROBUST_TRANSFER_PLAN"


def freeze(plan: Plan, results: Path) -> Path:
    """Write the plan under its content's name, once, and export its path to all that is started from here.

    Where nothing may be written it is not: to look at a colleague's results needs no more than to read them. Before
    anything is to be made, see `must_be_frozen`.
    """
    content = plan.to_json()
    path = results / "plans" / f"{digest(content)[:12]}.json"
    try:
        if not path.exists():
            with store.replacing(path) as temporary:
                temporary.write_text(canonical_json(content), encoding="utf-8")
        path.touch()  # the newest is the one that commands typed by hand take
    except OSError as error:
        if not store.is_forbidden(error):
            raise
    os.environ[VARIABLE] = str(path.resolve())
    return path


def must_be_frozen() -> None:
    """Asked before the first job.

    Raises:
        UserError: where the plan could not be written.
    """
    path = frozen_path()
    if path and not path.exists():
        raise UserError(
            f"{path.parent.parent} is not yours to write to, so nothing can be made there; ask its owner for the right "
            "(`chmod -R g+w`, and umask 002 for what comes later), or work in a clone of your own"
        )


def frozen_path() -> Path | None:
    """The plan this process was started with, if it was started by another that froze one."""
    return Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


_kept: dict[tuple[int, ...], Plan] = {}


def keep(path: Path) -> None:
    """Keep a plan at hand for the processes that are forked from this one, in place of the one that was kept before.

    Raises:
        UserError: as thaw.
    """
    if (stamp := store.stamp_of(path)) not in _kept:
        plan = thaw(path)
        _kept.clear()
        _kept[stamp] = plan


def thaw(path: Path) -> Plan:
    """The plan in a file, checked against its name.

    Raises:
        UserError: where the file is missing or is not what its name says.
    """
    if kept := _kept.get(store.stamp_of(path)):
        return kept
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"the frozen plan {path} is gone; start again with `snakemake`, which writes it anew") from None
    except OSError as error:
        raise UserError(f"the frozen plan {path} cannot be read ({error.strerror})") from None
    try:
        if hashlib.sha256(content).hexdigest()[:12] == path.stem:  # as digest() does: the file is canonical JSON
            return Plan.from_json(json.loads(content))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    raise UserError(f"the frozen plan {path} was changed or cut short; delete it and start `snakemake` again")


def newest(results: Path) -> Path:
    """The plan frozen last.

    Raises:
        UserError: where there is none.
    """
    plans = sorted((results / "plans").glob("*.json"), key=lambda path: path.stat().st_mtime)
    if not plans:
        raise UserError(f"no plan in {results / 'plans'} yet; run `snakemake -n` first, which writes it")
    return plans[-1]
