"""One node on several devices: its items shared out among processes, the results joined in the items' order.

An item's result must not depend on which others are made beside it; then the joined ones are those of one device.
"""

import logging
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from robust_transfer.errors import UserError
from robust_transfer.signals import ASKING, end_with_parent

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from robust_transfer.stages.job import Job

Work = Callable[["Job", Any, Sequence[int]], Iterator[Any]]
"""A function of a module: gives the result of each item that it is told, in their order, made on a torch device."""


def shared_out(work: Work, job: "Job", items: Sequence[int]) -> Iterator[Any]:
    """The result of every item, in their order, made on all of a job's devices: every n-th item by one of n processes.

    On one device all is made in this process. Results are plain (numbers, tuples, arrays): they come through pipes, and
    a process goes on as soon as its last one is taken.

    Raises:
        UserError: where a process was killed; besides what work raises.
    """
    devices = job.devices[: max(1, len(items))]
    if len(devices) == 1:
        yield from work(job, devices[0], items)
        return
    import torch.multiprocessing

    job.computed["devices"] = len(devices)
    context = torch.multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    started = []
    try:
        for i, device in enumerate(devices):
            ours, theirs = context.Pipe(duplex=False)
            words = (theirs, work, job, device, items[i :: len(devices)])
            process = context.Process(target=_made_for, args=words, daemon=True)
            process.start()
            theirs.close()  # so that the end of the other process is the end of the pipe
            started.append((process, ours))
        for k in range(len(items)):
            yield _next("made", started[k % len(devices)][1])
        for _, connection in started:
            _join(job.computed, _next("computed", connection))
    finally:
        for process, connection in started:
            process.kill()  # most have ended; one that is not wanted any more hears no other signal
            process.join()
            connection.close()


def _next(expected: str, connection: "Connection") -> Any:
    """What a process tells next; its log is told here."""
    while True:
        try:
            kind, content = connection.recv()
        except EOFError:
            raise UserError("a process on one of several devices was killed, for want of memory perhaps") from None
        if kind == "log":
            logging.getLogger(content.name).handle(content)
        elif kind == "error":
            raise content
        else:
            assert kind == expected, f"{kind} came where {expected} was to come"
            return content


def _join(computed: dict[str, Any], other: dict[str, Any]) -> None:
    """Take over what another process says of how it computed; where both say something, the smaller."""
    for name, value in other.items():
        computed[name] = min(value, computed.get(name, value))


def _made_for(connection: "Connection", work: Work, job: "Job", device: Any, items: Sequence[int]) -> None:
    """What a process does: tell all results, or the error that ended it."""
    from robust_transfer.precision import computing_in

    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)  # who started this one is asked, too, and ends it
    end_with_parent(signal.SIGKILL)  # this one hears no other signal, and holds a device's memory
    logger = logging.getLogger("robust_transfer")
    logger.setLevel(logging.INFO)
    logger.addHandler(_Telling(connection))
    try:
        job.calm_torch()
        with computing_in(job.computed.get("precision", "float32")):
            for made in work(job, device, items):
                connection.send(("made", made))
        connection.send(("computed", job.computed))
    except BrokenPipeError:  # nobody wants it any more
        pass
    except (UserError, FloatingPointError) as error:
        connection.send(("error", error))
    except Exception as error:
        logger.error("on %s: %s", device, traceback.format_exc())
        connection.send(("error", RuntimeError(f"{type(error).__name__}: {error}")))


class _Telling(logging.Handler):
    """Sends lines of the log to the process that has one."""

    def __init__(self, connection: "Connection"):
        super().__init__()
        self.connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args = record.getMessage(), ()
        self.connection.send(("log", record))
