"""What is changed in Snakemake's scheduler, on the scheduler itself."""

import signal
import subprocess
import sys

TERM_WHILE_LOCKED = """
import os, signal, threading, time
from snakemake.scheduling.job_scheduler import JobScheduler
from robust_transfer.plan import scheduling

if {cured}:
    scheduling.a_signal_takes_no_lock()
scheduler = JobScheduler.__new__(JobScheduler)
scheduler._lock, scheduler._open_jobs, scheduler._user_kill = threading.Lock(), threading.Semaphore(0), None
signal.signal(signal.SIGTERM, scheduler.exit_gracefully)
with scheduler._lock:
    print("locked", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
assert scheduler._open_jobs.acquire(timeout=10)
assert not scheduler._open_jobs.acquire(timeout=0.1), "one signal, one round"
assert scheduler._user_kill == "graceful"
print("asked to end")
"""


def under_sigterm(cured: bool) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", TERM_WHILE_LOCKED.format(cured=cured)], stdout=subprocess.PIPE, text=True
    )


def test_sigterm_is_heard_while_the_scheduler_holds_its_lock():
    process = under_sigterm(cured=True)
    assert process.communicate(timeout=60)[0] == "locked\nasked to end\n"
    assert process.returncode == 0


def test_without_the_cure_it_hangs():
    """Once this fails, the installed Snakemake needs the cure no more."""
    process = under_sigterm(cured=False)
    assert process.stdout.readline() == "locked\n"
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        process.kill()
    assert process.wait() == -signal.SIGKILL
