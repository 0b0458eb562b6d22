"""A job whose time on a cluster is over before its work: it goes back into the queue by itself, and continues there."""

import os
import subprocess
from datetime import datetime

from robust_transfer.plan import jobs

WARNED = 600
"""Seconds before the end of a job's time: a signal that comes within them says that it is over. The workflow asks for
it 300 s before, Slurm may send it a minute early, and saving a large state takes its time. One that comes sooner is of
somebody who wants the job to end, or of preemption, after which Slurm itself starts it again."""


def when_time_is_over() -> bool:
    """Ask Slurm to start this job once more, under its number, if it was stopped because its time is over.

    To be called only where work was done since the job began, and saved: so a job comes back as often as it gets on,
    and takes none of the attempts that Snakemake gives to failures.

    Returns:
        Whether it comes back.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job or os.environ.get(jobs.WARM) != "0":  # or a whole Snakemake runs within somebody's own job
        return False
    try:
        # RUNNING 2026-01-31T12:00:00, local time. Of a job that somebody cancels the end is now, but it is not running.
        state, end = _slurm("squeue", "--noheader", "--job", job, "--format", "%T %e").split()
        if state != "RUNNING" or (datetime.fromisoformat(end) - datetime.now()).total_seconds() > WARNED:
            return False
        _slurm("scontrol", "requeue", job)
    except (OSError, subprocess.SubprocessError, ValueError):
        return False  # the retries of Snakemake are left
    return True


def _slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
