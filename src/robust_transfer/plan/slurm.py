"""The Slurm plugin, which submits small jobs as bundles (see plan/bundles.py) and says of each what became of it."""

import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from robust_transfer.plan.bundles import Bundle, Waiting, divided, log_of, waiting_of

PAUSE, HELD = 3.0, 300.0
"""Seconds without a new job after which those that wait are submitted, too few for a whole bundle as they are; and the
seconds that they are held at most, while others are under way that may be followed by more of their kind."""
LOOK = 1.0
"""Seconds between two looks at what waits, or at the record of a bundle that has ended."""


def put_together(minutes_of: Callable[[Any], float | None], longest_of: Callable[[Any], float]) -> None:
    """Have the Slurm plugin submit small jobs as bundles.

    Of Snakemake's limit on jobs (`--jobs`) a bundle takes one, and its members none.

    minutes_of: the minutes of work that a job is thought to be, with a margin; None where nobody knows.
    longest_of: the minutes that a Slurm job may take at most which makes this one.
    """
    from snakemake.scheduling.job_scheduler import JobScheduler
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    registry = ExecutorPluginRegistry()
    if not registry.is_installed("slurm"):
        return
    found: dict[tuple[Any, int], Waiting | None] = {}

    def waiting_or_none(job: Any) -> Waiting | None:
        key = job, job.attempt
        if key not in found:
            found[key] = waiting_of(job, minutes_of, longest_of)
        return found[key]

    JobScheduler.job_selector = _choosing(JobScheduler.job_selector, waiting_or_none)
    plugin = registry.get_plugin("slurm")
    plugin.executor = _bundling(plugin.executor, waiting_or_none)


def _choosing(plain: Callable[..., Any], find: Callable[[Any], Waiting | None]) -> Callable[..., Any]:
    """The scheduler's choice of jobs, of which small ones take no place, if the executor makes bundles of them."""

    def job_selector(self: Any, ready: Sequence[Any]) -> Any:
        if not getattr(self._executor, "bundles", False):
            return plain(self, ready)
        remote = [job for job in ready if not job.is_local]
        small = {job for job in remote if find(job)}
        for job in remote:
            job.scheduler_resources["_nodes"] = int(job not in small)
        with self._executor.place_kept(bool(small)):
            return plain(self, ready)

    return job_selector


def _bundling(plain: Any, find: Callable[[Any], Waiting | None]) -> Any:
    """The Slurm plugin's class, with bundles. find: a job as one that is to share, if it is."""
    from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

    class Bundling(plain):
        bundles = True

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
            self._wait([waiting for _, waiting in found if waiting])
            if alone := [job for job, waiting in found if waiting is None]:
                super().run_jobs(alone)

        def _wait(self, more: Sequence[Waiting]) -> None:
            now = time.monotonic()
            with self.waiting_lock:
                self.waiting += [replace(each, since=now) for each in more]
                self.latest = now if more else self.latest

        def _watch(self) -> None:
            while not self.over.wait(LOOK):
                try:
                    self._submit()
                except Exception as error:  # nothing else would notice, and all that waits would wait for ever
                    if not self.over.is_set():
                        self.workflow.scheduler.executor_error_callback(error)
                    return

        def _submit(self) -> None:
            for bundle in self._to_submit():
                for job in bundle.jobs:
                    self.run_job_pre(job)
                self._job_submission_executor.submit(self.run_job, bundle)

        def _to_submit(self) -> list[Bundle]:
            """The bundles that are to be submitted now."""
            now = time.monotonic()
            with self.waiting_lock:
                if not self.waiting:  # as it is until there is a scheduler
                    return []
                self._drop_at_the_end()
                quiet = now - self.latest >= PAUSE
                taken, left, idle = [], [], not self.under_way
                for members, full in divided(sorted(self.waiting, key=lambda each: -each.job.priority)):
                    held = now - min(each.since for each in members) > HELD
                    if (full or held or (idle and quiet)) and self._take_place():
                        taken.append(Bundle(members))
                    else:
                        left += members
                self.waiting = left
                return taken

        def _drop_at_the_end(self) -> None:
            """Once Snakemake starts nothing more, it waits for what is under way, which nothing that waits here is."""
            scheduler = self.workflow.scheduler
            with scheduler._lock:
                ends = scheduler._user_kill or (scheduler._errors and not scheduler.keepgoing)
                dropped, self.waiting = (self.waiting, []) if ends else ([], self.waiting)
                for each in dropped:
                    scheduler.running.discard(each.job)
                    scheduler._free_resources(each.job)
            if dropped:
                scheduler._open_jobs.release()

        @contextlib.contextmanager
        def place_kept(self, more: bool) -> Iterator[None]:
            """While jobs are chosen: keep a place for a first bundle from those that go alone.

            more: whether small ones are among those that can be chosen.
            """
            scheduler = self.workflow.scheduler
            with self.waiting_lock, scheduler._lock:
                is_waiting = (more or self.waiting) and not self.under_way
                kept = int(bool(is_waiting) and scheduler.resources["_nodes"] > 0)
                scheduler.resources["_nodes"] -= kept
            try:
                yield
            finally:
                with scheduler._lock:
                    scheduler.resources["_nodes"] += kept

        def _take_place(self) -> bool:
            """Take one of the places that there are for jobs, if one is free."""
            scheduler = self.workflow.scheduler
            with scheduler._lock:
                if scheduler.resources["_nodes"] <= 0:
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
            options_of_plugin = self.additional_general_args()
            if options_of_plugin not in command:
                raise ValueError("this Slurm plugin starts its jobs in another way")
            # One after the other, and nothing of what they are made from: that is there.
            options_of_bundle = f"--cores {job.threads} --keep-going --scheduler greedy --rerun-triggers mtime"
            return job.write(command.replace(options_of_plugin, options_of_bundle))

        # ---- the end -----------------------------------------------------------------------------------------------

        async def check_active_jobs(self, active_jobs: list[Any]) -> AsyncIterator[Any]:
            async for info in super().check_active_jobs(active_jobs):
                if isinstance(info.job, Bundle):
                    with contextlib.suppress(OSError):  # next time
                        self._report(info, info.job.record.settled())
                yield info

        def report_job_success(self, info: Any) -> None:
            self._end(info, completed=True) if isinstance(info.job, Bundle) else super().report_job_success(info)

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

        def _outcome(self, bundle: Bundle, completed: bool) -> tuple[set[str], set[str]]:
            """What a bundle that is over has made, and started.

            Its record may show as late as any file: it is waited for where it cannot be read, or lacks something though
            Slurm says that all went well.
            """
            last = time.monotonic() + self.workflow.execution_settings.latency_wait
            made, started = set[str](), set[str]()
            while True:
                with contextlib.suppress(OSError):
                    made, started = bundle.record.done(), bundle.record.started()
                    if not completed or made >= {log_of(job) for job in bundle.jobs}:
                        return made, started
                if time.monotonic() >= last:
                    return made, started
                time.sleep(LOOK)

        def _end(self, info: Any, msg: str | None = None, completed: bool = False, **more: Any) -> None:
            """The bundle is over, well or not: say of each member what became of it."""
            bundle = info.job
            made, started = self._outcome(bundle, completed)
            self._report(info, made)
            left = [member for member in bundle.members if log_of(member.job) not in bundle.reported]
            # The first to fail may have taken the time or memory of all: others lose no attempt by it. Where none was
            # started, something is wrong with the bundle, and each of them has failed, for a reason that is told once.
            failed = [member for member in left if not started or log_of(member.job) in started]
            again = [member for member in left if member not in failed]
            more = {} if started else more
            for member in failed:
                super().report_job_error(SubmittedJobInfo(member.job, info.external_jobid), msg, **more)
                msg, more = msg if started else None, {}
            if again:
                self.logger.info(f"SLURM job {info.external_jobid} ended before {len(again)} of its jobs began")
            self._wait(again)
            self._give_place()
            bundle.forget()

        def cancel(self) -> None:
            self.over.set()
            self._job_submission_executor.shutdown(wait=True, cancel_futures=True)  # or it goes on after the scancel
            super().cancel()

        def shutdown(self) -> None:
            self.over.set()
            super().shutdown()

    return Bundling
