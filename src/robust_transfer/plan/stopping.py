"""What makes the same command enough after Snakemake was stopped, however that happened.

Snakemake wants to be told `--rerun-incomplete` about outputs whose jobs it did not see end, and `--unlock` about a
folder whose lock a killed Snakemake has left. Here a node's card says that it is finished, and the file system's own
locks say whether a Snakemake lives.
"""

import atexit
import contextlib
import fcntl
import os
import platform
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from robust_transfer import locks, store
from robust_transfer.run import bundle

RECORD = "robust-transfer.drivers"


def same_command_continues(snakemake_folder: Path) -> None:
    """For a Snakemake that was started by a person, while it reads the Snakefile.

    snakemake_folder: .snakemake of the working directory.
    """
    make_only_unfinished_anew()
    end_tidily()
    with contextlib.suppress(OSError):  # a colleague's folder, to look at
        atexit.register(take_over_locks(snakemake_folder))


def make_only_unfinished_anew() -> None:
    """Let Snakemake neither refuse outputs whose jobs it did not see end, nor make a finished node anew.

    A node's card is taken away before its artifact is written, and comes last: where it stands, the node is finished.
    All else that is marked as incomplete is made anew, as by --rerun-incomplete. Settings cannot say that, and those of
    Snakemake come only after the Snakefile is read.
    """
    try:
        from snakemake.dag import DAG
    except ImportError:
        return

    async def check_incomplete(self: DAG) -> None:
        self.workflow.dag_settings.force_incomplete = True
        if not self.ignore_incomplete:
            marked = await self.incomplete_files()
            self.forcefiles.update(path for path in marked if not Path(path).with_name(store.CARD).exists())

    DAG.check_incomplete = check_incomplete


def end_tidily() -> None:
    """Let a closed terminal (HUP) and USR1 end Snakemake as TERM does: its running jobs end, its lock goes."""

    def end(_number: int, _frame: object) -> None:
        sys.exit(128 + signal.SIGTERM)  # Snakemake's scheduler puts its own in this one's place

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        if signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
            signal.signal(number, end if number == signal.SIGTERM else lambda *_: signal.raise_signal(signal.SIGTERM))


def somebody_works(snakemake_folder: Path) -> bool:
    """Whether a Snakemake that runs this workflow lives in this folder; see take_over_locks."""
    try:
        descriptor = os.open(snakemake_folder / RECORD, os.O_RDWR)
    except OSError:
        return False
    try:
        return locks.lock(descriptor) is False
    finally:
        os.close(descriptor)


def take_over_locks(folder: Path) -> Callable[[], None]:
    """Remove Snakemake's own locks of this folder where all that can have set them are proved to be dead.

    Returns what is to be called when this Snakemake ends.

    Every Snakemake that runs this workflow holds a shared lock on a record as long as it lives, and notes there that it
    began and ended. Who gets the record for itself alone knows that none of them lives. Locks are removed only where
    one noted there did not end, and ran on this machine: elsewhere the file system's lock may not have reached.

    A dead one's bundles go as well (see plan/bundles.py): they may wait in the queue, and would make anew, and first
    remove, what is made by then.
    """
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder / RECORD, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    if locks.lock(descriptor) is True:
        lines = [line.split() for line in os.pread(descriptor, 1 << 20, 0).decode(errors="replace").splitlines()]
        ended = {words[1] for words in lines if words[0] == "ended"}
        dead = [words for words in lines if words[0] == "began" and words[1] not in ended]
        if all(locks.kernel() == words[2] or platform.node() == words[3] for words in dead):
            for left in (folder / "locks").glob("*.lock") if dead else ():
                left.unlink(missing_ok=True)
            for left in (folder / bundle.FOLDER.name).glob("*"):
                with contextlib.suppress(OSError):  # a colleague's
                    left.unlink()
            os.ftruncate(descriptor, 0)
    locks.lock(descriptor, fcntl.LOCK_SH)
    token = os.urandom(6).hex()
    os.write(descriptor, f"began {token} {locks.kernel()} {platform.node()}\n".encode())
    os.fsync(descriptor)

    def end() -> None:
        with contextlib.suppress(OSError):
            os.write(descriptor, f"ended {token}\n".encode())
            os.close(descriptor)

    return end
