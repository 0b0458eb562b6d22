"""Cures for Snakemake's scheduler: it looks at its own queue all the time, and SIGTERM can hang it for good."""

import queue
import threading


def one_round_at_a_time() -> None:
    """Let at most one timer for another round of scheduling be set at a time.

    In Snakemake 9 every round that may have met the limit on jobs a second sets a timer for another one, which sets the
    next: each finished job adds a round a second for the rest of the run, and after some hundred jobs these rounds take
    a whole core. One timer has the same effect: when it fires, everything that has become ready is looked at.
    """
    try:
        from snakemake.scheduling.job_scheduler import JobScheduler
    except ImportError:
        return
    if not hasattr(JobScheduler, "_schedule_reevalutation"):
        return

    def schedule(self: JobScheduler, delay: float) -> None:
        if getattr(self, "_reevaluation_is_coming", False):
            return
        self._reevaluation_is_coming = True

        def fire() -> None:
            self._reevaluation_is_coming = False
            self._open_jobs.release()

        threading.Timer(delay, fire).start()

    JobScheduler._schedule_reevalutation = schedule


def a_signal_takes_no_lock() -> None:
    """Let SIGTERM end a run, whatever its scheduler is doing at that moment.

    In Snakemake 9 the handler takes the scheduler's lock. Python runs handlers in the main thread, which may hold that
    lock itself, while it ends jobs or chooses new ones: then it waits for itself for ever, only SIGKILL is heard, and
    the folder stays locked. Here the handler only leaves a message (SimpleQueue.put may be interrupted and called
    again), and a thread that holds nothing does what the handler did.
    """
    try:
        from snakemake.scheduling.job_scheduler import JobScheduler
    except ImportError:
        return
    if not hasattr(JobScheduler, "exit_gracefully"):
        return
    exit_gracefully = JobScheduler.exit_gracefully
    asked: queue.SimpleQueue[JobScheduler] = queue.SimpleQueue()

    def listen() -> None:
        while True:
            exit_gracefully(asked.get())

    def ask(self: JobScheduler, *_: object) -> None:
        asked.put(self)

    threading.Thread(target=listen, name="SIGTERM", daemon=True).start()
    JobScheduler.exit_gracefully = ask
