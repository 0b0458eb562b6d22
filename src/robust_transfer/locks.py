"""Locks between processes of one machine, of its containers, or of several machines that share a folder.

They are the file system's own (flock). The kernel lets go of them however their holder ends, so a killed one leaves
nothing to clear away, and process numbers, of which every container has its own, prove nothing and are not asked.
Some cluster file systems keep such locks to one machine, or have none: see `kernel`.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

log = logging.getLogger("robust_transfer")


@cache
def kernel() -> str:
    """8 hex digits for the running kernel: one in all its containers, another after a restart.

    Between processes of one kernel a lock is a proof on every file system that has locks.
    """
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        name = platform.node()
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def lock(descriptor: int, how: int = fcntl.LOCK_EX | fcntl.LOCK_NB) -> bool | None:
    """Lock an open file; False where another holds it, None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at this path, so that nobody has taken it away or put another there."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Hold a lock file that only one process holds at a time, waiting for it; gives whether another had it before.

    The file says who holds it, for people to read, and is taken away at the end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    waited = False
    while True:
        descriptor = _opened(path)
        try:
            if lock(descriptor) is False:
                # Of the open file: its name may be gone by now.
                holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
                log.info("another process makes this: %s; waiting for it", holder)
                waited = True
                lock(descriptor, fcntl.LOCK_EX)
            if is_at(descriptor, path):
                with contextlib.suppress(OSError):
                    os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)
                try:
                    yield waited
                finally:
                    path.unlink(missing_ok=True)
                return
        finally:
            os.close(descriptor)


def holder(path: Path) -> str | None:
    """Who holds a lock file (see alone), in its own words; None where nobody does, or it cannot be read.

    Where the file system has no locks, whoever wrote the file counts as its holder.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        free = lock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB) is True
        return None if free else os.pread(descriptor, 200, 0).decode(errors="replace").strip()
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # another user's; to lock it, most file systems want no right to write
        return os.open(path, os.O_RDONLY)
