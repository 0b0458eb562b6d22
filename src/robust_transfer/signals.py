"""Being asked to stop: a training saves its state first."""

import ctypes
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
"""kill and a cluster's end of time; Ctrl-C; the warning that a cluster sends ahead of the end of time; a terminal that
is closed."""


PR_SET_PDEATHSIG = 1


def end_with_parent(number: int) -> None:
    """Have this process get a signal when the one that started it ends, however that ends. On Linux alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


class Interrupted(Exception):
    """The training was asked to stop; its state is saved."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}; the state is saved")
        self.exit_status = 128 + number


class StopRequest:
    """Whether, and by which signal, this process was asked to stop."""

    def __init__(self):
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Within the block a signal that asks to stop only sets the request; the loop looks at it between iterations."""
    request = StopRequest()

    def note(number: int, _frame: object) -> None:
        request.signal = number

    under_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    heard = [number for number in ASKING if not (number == signal.SIGHUP and under_nohup)]
    before = {number: signal.signal(number, note) for number in heard}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
