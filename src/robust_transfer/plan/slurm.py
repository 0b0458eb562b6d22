"""The Slurm plugin, which submits small jobs as bundles (see plan/bundles.py) and says of each what became of it."""

import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

from robust_transfer.plan.bundles import Bundle, Waiting, divided, log_of, waiting_of

PAUSE, HELD = 3.0, 300.0
"""Seconds without a new job after which those that wait are submitted. Too few for a whole bundle, they are held so
long at most, while others are under way that may be followed by more of their kind."""


def put_together(minutes_of: Callable[[Any], float | None]) -> None:
    """Have the Slurm plugin submit small jobs as bundles.

    Of Snakemake's limit on jobs (`--jobs`) a bundle takes one, and its members none.

    minutes_of: the minutes of work that a job is thought to be, with a margin; None where nobody knows.
    """
    from snakemake.scheduling.job_scheduler import JobScheduler
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    registry = ExecutorPluginRegistry()
    if not registry.is_installed("slurm"):
        return
    found: dict[tuple[Any, int], Waiting | None] = {}

    def once(job: Any) -> Waiting | None:
        key = job, job.attempt
        if key not in found:
            found[key] = waiting_of(job, minutes_of)
        return found[key]

    plain = JobScheduler.job_selector

    def job_selector(self: JobScheduler, ready: Sequence[Any]) -> Any:
        for job in ready:
            if not job.is_local:
                job.scheduler_resources["_nodes"] = int(once(job) is None)
        return plain(self, ready)

    JobScheduler.job_selector = job_selector
    plugin = registry.get_plugin("slurm")
    plugin.executor = _bundling(plugin.executor, once)


def _bundling(plain: Any, find: Callable[[Any], Waiting | None]) -> Any:
    """The Slurm plugin's class, with bundles. find: a job as one that is to share, if it is."""
    from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

    class Bundling(plain):
        def __post_init__(self, *arguments: Any, **options: Any) -> None:
            super().__post_init__(*arguments, **options)
            self.waiting: list[Waiting] = []
            self.under_way = 0
            self.latest = time.monotonic()
            self.waiting_lock = threading.Lock()
            self.over = threading.Event()
            threading.Thread(target=self._watch, name="bundles", daemon=True).start()

        # ---- submission --------------------------------------------------------------------------------------------

        def run_jobs(self, jobs: Sequence[Any]) -> None:
            found = [(job, find(job)) for job in jobs]
            small = [waiting for _, waiting in found if waiting]
            for waiting in small:
                self.run_job_pre(waiting.job)
            self._wait(small)
            if alone := [job for job, waiting in found if waiting is None]:
                super().run_jobs(alone)

        def _wait(self, more: Sequence[Waiting]) -> None:
            now = time.monotonic()
            with self.waiting_lock:
                self.waiting += [replace(each, since=now) for each in more]
                self.latest = now if more else self.latest

        def _watch(self) -> None:
            while not self.over.wait(1.0):
                for bundle in self._to_submit():
                    self._job_submission_executor.submit(self.run_job, bundle)

        def _to_submit(self) -> list[Bundle]:
            """The bundles that are to be submitted now."""
            now = time.monotonic()
            with self.waiting_lock:
                if not self.waiting or now - self.latest < PAUSE:
                    return []
                taken, left, idle = [], [], not self.under_way
                for members, full in divided(sorted(self.waiting, key=lambda each: -each.job.priority)):
                    due = full or idle or now - min(each.since for each in members) > HELD
                    if due and self._take_place():
                        taken.append(Bundle(members))
                    else:
                        left += members
                self.waiting = left
                return taken

        def _take_place(self) -> bool:
            """Take one of the places that there are for jobs; one bundle at least may always go."""
            scheduler = self.workflow.scheduler
            with scheduler._lock:
                if scheduler.resources["_nodes"] <= 0 and self.under_way:
                    return False
                scheduler.resources["_nodes"] -= 1
                self.under_way += 1
                return True

        def _give_place(self) -> None:
            scheduler = self.workflow.scheduler
            with scheduler._lock:
                scheduler.resources["_nodes"] += 1
                self.under_way -= 1
            scheduler._open_jobs.release()

        def format_job_exec(self, job: Any) -> str:
            command = str(super().format_job_exec(job))
            if not isinstance(job, Bundle):
                return command
            general = self.additional_general_args()
            if general not in command:
                raise ValueError("this Slurm plugin starts its jobs in another way")
            # One after the other, and nothing of what they are made from: that is there.
            own = f"--cores {job.threads} --keep-going --scheduler greedy --rerun-triggers mtime"
            return job.write(command.replace(general, own))

        # ---- the end -----------------------------------------------------------------------------------------------

        async def check_active_jobs(self, active_jobs: list[Any]) -> AsyncIterator[Any]:
            async for info in super().check_active_jobs(active_jobs):
                if isinstance(info.job, Bundle):
                    self._report(info, info.job.record.settled())
                yield info

        def report_job_success(self, info: Any) -> None:
            self._end(info) if isinstance(info.job, Bundle) else super().report_job_success(info)

        def report_job_error(self, info: Any, msg: str | None = None, **more: Any) -> None:
            if isinstance(info.job, Bundle):
                self._end(info, msg, **more)
            else:
                super().report_job_error(info, msg, **more)

        def _report(self, info: Any, made: set[str]) -> None:
            """Report what a bundle has made, each thing once."""
            for job in info.job.jobs:
                if log_of(job) in made - info.job.reported:
                    info.job.reported.add(log_of(job))
                    super().report_job_success(SubmittedJobInfo(job, info.external_jobid))

        def _end(self, info: Any, msg: str | None = None, **more: Any) -> None:
            """The bundle is over, well or not: say of each member what became of it."""
            bundle = info.job
            self._report(info, bundle.record.done())
            started = bundle.record.started()
            left = [member for member in bundle.members if log_of(member.job) not in bundle.reported]
            # The first to fail may have taken the time or memory of all: others lose no attempt by it. Where none was
            # started, something is wrong with the bundle, and each of them has failed.
            again = [member for member in left if started and log_of(member.job) not in started]
            for at, member in enumerate(member for member in left if member not in again):
                logs = {} if started or at else more
                super().report_job_error(SubmittedJobInfo(member.job, info.external_jobid), msg, **logs)
            if again:
                self.logger.info(f"SLURM job {info.external_jobid} ended before {len(again)} of its jobs began")
            self._wait(again)
            self._give_place()
            bundle.forget()

        def cancel(self) -> None:
            self.over.set()
            super().cancel()

        def shutdown(self) -> None:
            self.over.set()
            super().shutdown()

    return Bundling
