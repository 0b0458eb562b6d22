"""Small nodes share a Slurm job, a bundle, so that a thousand of them do not wait in the queue a thousand times.

For Snakemake each node stays a job of its own, with its log, priority and attempts: only what is handed to Slurm is put
together (plan/slurm.py), of jobs that are ready at the same time and ask for the same. The bundle makes them one after
the other (run/bundle.py) and writes down how far it is. So a node that fails costs itself alone; what was made before a
bundle was stopped is kept; and what it did not come to is put into another one, without an attempt less. Later attempts
go alone: whatever keeps a bundle from its start (an input that is not there, an sbatch that is refused) does so once.
"""

import contextlib
import json
import math
import shlex
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from robust_transfer.cost.resources import START
from robust_transfer.plan import jobs
from robust_transfer.run.bundle import FOLDER, Record

SWITCH = "bundle_minutes"
"""The resource of a job that says how many minutes of work a bundle holds; without it, or at 0, there are none."""
SMALL = 0.25
"""Share of these minutes that a job takes at most which is put into a bundle."""
MOST = 200
"""Jobs that a bundle has at most."""
SUMMED, LARGEST = "runtime", ("mem_mb", "mem_mib", "disk_mb", "disk_mib")
"""Resources in which the jobs of a bundle may differ; in all others they are alike."""
COMMAND = "robust_transfer/run/__main__.py"
"""Of jobs that may share: it alone notes in the record what is done. Rules of another workflow have their own."""


@dataclass(frozen=True)
class Waiting:
    """A job that is to share: the minutes of work that it is thought to be, of those that its bundle may have; and the
    clock's time (seconds) since when it waits.
    """

    job: Any
    minutes: float
    limit: float
    since: float = 0.0

    def must_be_equal_in(self) -> tuple[object, ...]:
        """What it must have in common with the others of its bundle."""
        others = sorted((k, str(v)) for k, v in self.job.resources.items() if k not in (SUMMED, *LARGEST))
        return self.limit, *others


def waiting_of(
    job: Any, minutes_of: Callable[[Any], float | None], longest_of: Callable[[Any], float]
) -> Waiting | None:
    """A job, if it is to share. minutes_of, longest_of: see put_together."""
    if job.is_group() or job.attempt > 1 or not job.log or COMMAND not in (job.rule.shellcmd or ""):
        return None
    limit = job.resources.get(SWITCH) or 0
    limit = min(limit, longest_of(job) - START) if limit else 0
    minutes = minutes_of(job) if limit > 0 else None
    return None if minutes is None or minutes > SMALL * limit else Waiting(job, minutes, limit)


def divided(waiting: Iterable[Waiting]) -> Iterator[tuple[list[Waiting], bool]]:
    """Jobs as bundles, in their order; and of each, whether it is full."""
    alike: dict[tuple[object, ...], list[Waiting]] = {}
    for each in waiting:
        alike.setdefault(each.must_be_equal_in(), []).append(each)
    for members in alike.values():
        bundle: list[Waiting] = []
        minutes = 0.0
        for each in members:
            if bundle and (len(bundle) >= MOST or minutes + each.minutes > each.limit):
                yield bundle, True
                bundle, minutes = [], 0.0
            bundle.append(each)
            minutes += each.minutes
        yield bundle, len(bundle) >= MOST


class Asked(dict[str, Any]):
    """Resources, as items and as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Bundle:
    """Several jobs as the one that is submitted: what is not said here is as with the first."""

    is_updated = False

    def __init__(self, members: Sequence[Waiting]):
        self.members = list(members)
        self.jobs = [member.job for member in members]
        self.first = self.jobs[0]
        self.resources = asked_together(members)
        self.rules = {job.rule.name for job in self.jobs}
        self.name = "_".join(sorted(self.rules))
        self.wildcards = [f"bundle_of_{len(members)}", *self.first.wildcards]
        self.jobid = f"{self.first.jobid}{f' and {len(members) - 1} more' * (len(members) > 1)}"
        self.path = (FOLDER / f"{uuid.uuid4().hex}.json").absolute()
        self.record = Record(self.path.with_suffix(".record"))
        self.reported: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.first, name)

    def is_group(self) -> bool:
        """Not one of Snakemake's: it knows nothing of bundles."""
        return False

    def get_target_spec(self) -> list[Any]:
        """What all are to make."""
        return [spec for job in self.jobs for spec in job.get_target_spec()]

    def get_wait_for_files(self) -> list[Any]:
        """The inputs of all."""
        return list(dict.fromkeys(file for job in self.jobs for file in job.get_wait_for_files()))

    def register(self, external_jobid: str | None = None) -> None:
        """Note that all are under way."""
        for job in self.jobs:
            job.register(external_jobid=external_jobid)

    def write(self, command: str) -> str:
        """Write what the bundle is to do, and return the command that does it. command: makes all members."""
        targets = {log_of(job): _targets(job.get_target_spec()) for job in self.jobs}
        whole = f"--target-jobs {' '.join(targets.values())}"
        if whole not in command:
            raise ValueError("this Snakemake names the targets of a job in another way")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.record.path.touch()  # a file that is looked for before it is there may be missed for a minute (NFS)
        content = {"command": command.split(whole, 1), "targets": targets}
        self.path.write_text(json.dumps(content), encoding="utf-8")
        return shlex.join([sys.executable, "-P", str(jobs.PACKAGE / "run/__main__.py"), "bundle", str(self.path)])

    def forget(self) -> None:
        """Remove its files."""
        for path in (self.path, self.record.path):
            with contextlib.suppress(OSError):
                path.unlink()


def asked_together(members: Sequence[Waiting]) -> Asked:
    """What a bundle asks for: the time of all, the memory of the largest; never less time than one of them alone."""
    asked = Asked(members[0].job.resources.items())
    for name in {name for m in members for name in m.job.resources if name in (SUMMED, *LARGEST)}:
        asked[name] = max(m.job.resources.get(name, 0) for m in members)
    if SUMMED in asked:
        asked[SUMMED] = max(asked[SUMMED], math.ceil(START + sum(m.minutes for m in members)))
    return asked


def log_of(job: Any) -> str:
    """The log of a job, by which a bundle's record names it."""
    return str(job.log[0])


def _targets(specs: Sequence[Any]) -> str:
    from snakemake_interface_executor_plugins.utils import encode_target_jobs_cli_args, format_cli_pos_arg

    return str(format_cli_pos_arg(encode_target_jobs_cli_args(specs)))
