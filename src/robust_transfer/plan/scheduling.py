"""A cure for Snakemake's scheduler, which in a long local run does little else than look at its own queue."""

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
