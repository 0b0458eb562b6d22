"""The lines of a run: a terminal has one that is rewritten, a log a line now and then; and what is of account stays."""

import contextlib
import csv
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from robust_transfer import pace
from robust_transfer.screen.progress import Progress, thing_of

EVERY = 10.0
"""Seconds between two lines of a log at first; later a sixtieth of the time since the start, so that they stay few."""
REWRITTEN_EVERY = 0.5
WIDTH = 199
"""Characters of a line at most."""
FEW = 8
"""Claims and failures that are named."""
VERDICTS = ("holds", "reversed", "undecided", "not testable")
DECIDED = ("reversed", "holds")
"""Verdicts of claims that are named, the surprising ones first."""
PASSED = ("debug_dag", "error", "group_error", "job_error", "shellcmd")
"""Events of Snakemake that are shown as it says them, like all that is a warning or an error."""
KEPT_QUIET = (
    "Assuming unrestricted",
    "Building DAG",
    "Conda environments: ignored",
    "Execute ",
    "Group jobs: inactive",
    "Job rate limit",
    "Select jobs",
    "Singularity containers: ignored",
    "Using shell",
)
"""How messages of no event begin that say nothing of this run."""
SUBMITTED = "has been submitted with SLURM jobid"


class Screen:
    """Shows a run's records (`show`), and its end (`close`).

    plain: shows a record as Snakemake does; its stream is written to. progress: of the run that begins. results: the
    folder. quiet: whether only errors are to be seen. whole: whether all that Snakemake says is shown, too.
    """

    def __init__(
        self,
        plain: logging.StreamHandler[TextIO],
        progress: Progress,
        results: Path,
        quiet: bool = False,
        whole: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.plain, self.progress, self.results = plain, progress, results
        self.quiet, self.whole, self.clock = quiet, whole, clock
        self._things: dict[int, str] = {}
        self._logs: dict[str, str] = {}
        self._told = clock()
        self._rewrites = plain.stream.isatty() and os.environ.get("TERM") != "dumb"
        self._lock = threading.RLock()
        self._over = threading.Event()

    def begin(self) -> None:
        """Say what is to be made, and from now on the time as well."""
        made, total, _ = self.progress.counts()
        studies = ", ".join(self._of_study(study) for study in self.progress.studies)
        self._write(f"{self.progress.to_make:,} things to make, {made:,} of {total:,} are there: {studies}")
        threading.Thread(target=self._tick, name="screen", daemon=True).start()

    def show(self, record: logging.LogRecord) -> None:
        """Count what a record says, and show it as Snakemake does if it is of account."""
        with self._lock:
            event = str(getattr(record, "event", None) or "")
            if self.whole or record.levelno >= logging.WARNING or self._is_of_account(record, event):
                self._erase()
                self.plain.emit(record) if record.levelno >= logging.WARNING else self.plain.handle(record)
            for line in self._counted(record, event):
                self._write(line)
            self._tell()

    def _is_of_account(self, record: logging.LogRecord, event: str) -> bool:
        text = record.getMessage()
        return event in PASSED or not (event or text.startswith(KEPT_QUIET) or SUBMITTED in text)

    # ---- what is counted -------------------------------------------------------------------------------------------

    def _counted(self, record: Any, event: str) -> Iterator[str]:
        """Take in a record; the lines that are to be written for it."""
        now, progress = self.clock(), self.progress
        if event == "job_info":
            thing = thing_of(record.rule_name, record.wildcards)
            if thing is not None:
                self._things[record.jobid], self._logs[thing] = thing, ", ".join(record.log)
                progress.begin(thing, now)
        elif event == "job_error":
            progress.fail(self._things.get(record.jobid, ""))
        elif event == "group_error":
            for job in record.job_error_info:
                progress.fail(self._things.get(job["jobid"], ""))
        elif event == "job_finished":
            thing = self._things.get(record.job_id, "")
            for study in progress.finish(thing, now):
                made, _, _ = progress.counts(study)
                yield f"{study} is finished: {made:,} things, {pace.in_words(now - progress.started)} after the start"
            if thing.startswith("claims/"):
                yield from self.verdicts(thing)

    def verdicts(self, stem: str) -> list[str]:
        """Lines of what was just decided on a study's claims."""
        try:
            with open(self.results / f"{stem}.csv", encoding="utf-8", newline="") as file:
                rows = [(row["measured"], row["id"], row["claim"]) for row in csv.DictReader(file)]
        except (OSError, KeyError, ValueError, csv.Error):  # it is only shown here; who reads it says what is wrong
            return []
        counts = Counter(verdict for verdict, _, _ in rows)
        order = [verdict for verdict in VERDICTS if verdict in counts]
        text = ", ".join(f"{counts[verdict]} {verdict}" for verdict in order)
        decided = [f"  {v} {name}: {claim}" for verdict in DECIDED for v, name, claim in rows if v == verdict]
        more = [f"  and {len(decided) - FEW} more, in {self.results / stem}.md"] if len(decided) > FEW else []
        return [f"{Path(stem).name} claims: {text} ({self.results / stem}.md)", *decided[:FEW], *more]

    # ---- what is written -------------------------------------------------------------------------------------------

    def line(self) -> str:
        """The line of now: all of it, then the studies that are not finished."""
        progress = self.progress
        made, total, running = progress.counts()
        failed = f", {len(progress.failed)} failed" if progress.failed else ""
        studies = [self._of_study(study) for study in progress.studies if progress.is_unfinished(study)]
        return " | ".join([f"{made:,}/{total:,}, {running} running{failed}{self._time_left()}", *studies])

    def _of_study(self, study: str) -> str:
        made, total, running = self.progress.counts(study)
        more = f", {running} running{self._time_left(study)}" if running else ""
        return f"{study} {made:,}/{total:,}{more}"

    def _time_left(self, study: str | None = None) -> str:
        seconds = self.progress.seconds_left(self.clock(), study)
        return "" if seconds is None else f", {pace.in_words(seconds)} left"

    def _tell(self) -> None:
        """Write the line of now, unless the last was just written."""
        now = self.clock()
        every = REWRITTEN_EVERY if self._rewrites else max(EVERY, (now - self.progress.started) / 60)
        if now - self._told < every or self.quiet or not self.progress.left:
            return
        self._told = now
        if self._rewrites:
            self._put(f"\r{clipped(self.line(), self.width())}\x1b[K\r")  # whatever else is written begins there
        else:
            self._write(clipped(f"[{time.strftime('%H:%M:%S')}] {self.line()}", self.width()))

    def width(self) -> int:
        """Characters of the line of now: what COLUMNS says, or else the terminal that is written to, but for the last
        column, which would wrap there.
        """
        given = os.environ.get("COLUMNS", "")
        columns = int(given) if given.isdecimal() else 0
        if self._rewrites and not columns:
            with contextlib.suppress(OSError, ValueError):  # a stream that is no file, or whose terminal is gone
                columns = os.get_terminal_size(self.plain.stream.fileno()).columns
        return min(WIDTH, (columns or 80) - 1) if self._rewrites else min(WIDTH, columns or WIDTH)

    def _tick(self) -> None:
        """Keep the line up to date while Snakemake says nothing."""
        while not self._over.wait(1.0):
            with self._lock:
                if not self._over.is_set():
                    self._tell()

    def _write(self, line: str) -> None:
        if not self.quiet:
            self._erase()
            self._put(f"{clipped(line, WIDTH)}\n")

    def _erase(self) -> None:
        if self._rewrites:
            self._put("\r\x1b[K")

    def _put(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal is gone; nothing stops for that
            self.plain.stream.write(text)
            self.plain.stream.flush()

    # ---- the end ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """The run is over: say what there is now, once."""
        with self._lock:
            if not self._over.is_set():
                self._over.set()
                for line in self.last_lines():
                    self._write(line)

    def last_lines(self) -> Iterator[str]:
        """What is made of each study, what failed, and what to do."""
        progress = self.progress
        width = max(map(len, [*progress.studies, "all"]))
        yield ""
        for study in [*progress.studies, None]:
            made, total, _ = progress.counts(study)
            yield f"{(study or 'all').ljust(width)}  {made:>6,} of {total:>6,} made"
        made_now = progress.to_make - len(progress.left)
        yield f"{made_now:,} things in {pace.in_words(self.clock() - progress.started)}"
        yield from (f"failed: {self._logs[thing]}" for thing in list(progress.failed)[:FEW])
        if len(progress.failed) > FEW:
            yield f"failed: {len(progress.failed) - FEW} others"
        if progress.left:
            yield "The same command continues; `robust-transfer status` says what is missing."
        else:
            yield "`robust-transfer summary` says what was made, `robust-transfer claims` which claims hold."


def clipped(line: str, width: int) -> str:
    """A line of at most so many characters."""
    return line if len(line) <= width else f"{line[: max(0, width - 3)]}..."[:width]
