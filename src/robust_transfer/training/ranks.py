"""A training on several devices: a process for each, which computes its part of every batch.

The node's own process is number 0: it alone is asked to stop, writes, and says how it goes. It starts the others, and
they end with it. All of them read the same data and the same saved state, draw the same numbers and take the same
steps: after every iteration's gradients are put together their networks are equal.
"""

import dataclasses
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from robust_transfer.data.batches import WHOLE, Part
from robust_transfer.errors import UserError
from robust_transfer.recipes import Recipe
from robust_transfer.signals import ASKING, Interrupted, end_with_parent
from robust_transfer.stages.job import Job

log = logging.getLogger(__name__)
HERE = "127.0.0.1"
PATIENCE = timedelta(hours=2)
"""How long a process waits for the others before it gives up."""
MOURNING = 10.0
"""Seconds in which a process notices by itself that another one has ended, before it is ended."""


class Group:
    """The processes of a training, as one of them sees them. part: its share of every batch."""

    def __init__(self, part: Part = WHOLE):
        self.part = part

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.part.index == 0

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """A tensor of each process, in their order; all have one form."""
        found = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(self.part.count)]
        dist.all_gather(found, tensor.contiguous())
        return found

    def rows(self, tensor: Tensor) -> Tensor:
        """The rows of all processes, with gradients for this one's; the mean of the processes' gradients is right."""
        return tensor if self.part.count == 1 else _Rows.apply(tensor, self)

    @torch.no_grad()
    def mean(self, parameters: Sequence[nn.Parameter], loss: Tensor) -> Tensor:
        """Make each gradient the mean over the processes; returns the mean loss."""
        if self.part.count == 1:
            return loss
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        together = torch.cat([loss.reshape(1), *(gradient.reshape(-1) for gradient in gradients)])
        dist.all_reduce(together)
        first, *others = (together / self.part.count).split([1, *(gradient.numel() for gradient in gradients)])
        for gradient, mean in zip(gradients, others, strict=True):
            gradient.copy_(mean.view(gradient.shape))
        return first[0]

    def asked(self, signal_number: int | None, saves: bool) -> tuple[int | None, bool]:
        """What the process number 0 is asked after an iteration: by which signal to stop, if any, and to save."""
        if self.part.count == 1:
            return signal_number, saves
        told = torch.tensor([signal_number or 0, saves])  # on the CPU: a look at it waits for no device
        dist.broadcast(told, 0)
        number, saves_too = told.tolist()
        return number or None, bool(saves_too)

    def agreed(self, value: Any) -> Any:
        """What the process number 0 has."""
        if self.part.count == 1:
            return value
        given = [value]
        dist.broadcast_object_list(given, 0, device=torch.device("cpu"))
        return given[0]


ALONE = Group()


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return torch.cat(group.gather(tensor))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # Each process computes the same from all rows, and the mean over the processes is taken later.
        return ctx.group.part.of(gradient) * ctx.group.part.count, None


def count_for(job: Job, recipe: Recipe) -> int:
    """How many processes train: one for each GPU that the config's machine names and that is there, of which each gets
    as many images of every batch; on `device: cpu` as many.

    Raises:
        UserError: where several would compile.
    """
    asked, size = max(1, job.machine.get("gpus", 0)), recipe.schedule.batch_size
    there = asked if job.machine["device"] == "cpu" else len(job.devices)
    if there < asked:
        log.warning("machine.gpus is %d, but here is %d; the training takes that", asked, there)
    among = range(min(asked, there), 1, -1)
    count = next((n for n in among if size % n == 0 and size >= 2 * n), 1)
    if count < min(asked, there):
        log.warning("a batch of %d is divided among %d devices, not %d", size, count, min(asked, there))
    if count > 1 and recipe.compile:
        raise UserError("a training on several GPUs is not compiled; take its kind out of machine.compile, or gpus: 1")
    return count


Follow = Callable[[Job, Group], None]
"""A function of a module: all that a process does which only helps."""


@contextmanager
def started(job: Job, count: int, follow: Follow) -> Iterator[Group]:
    """The processes of a training, of which this one is number 0. follow: what each of the others does.

    Raises:
        UserError: where one of them ended before its time.
    """
    if count == 1:
        yield ALONE
        return
    store = dist.TCPStore(HERE, 0, count, True, PATIENCE, wait_for_workers=False)
    spawn = multiprocessing.get_context("spawn")
    others = dataclasses.replace(job, threads=max(1, job.threads // count), beside={}, computed={})
    arguments = [(others, Part(index, count), store.port, follow) for index in range(1, count)]
    processes = [spawn.Process(target=_follow, args=each, daemon=True) for each in arguments]
    over = threading.Event()
    try:
        for process in processes:
            process.start()
        threading.Thread(target=_watch, args=(processes, over), daemon=True).start()
        torch.set_num_threads(others.threads)
        with _joined(job, Part(0, count), store) as group:
            yield group
            for process in processes:
                process.join()
    except RuntimeError:
        over.wait(1)  # so that their ends can be seen
        if any(process.exitcode for process in processes):
            raise UserError(LOST) from None
        raise
    finally:
        over.set()
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()
        torch.set_num_threads(job.threads)


LOST = "another process of this training ended; unless its last words, above, name a fault, the same command continues"


def _watch(processes: list[Any], over: threading.Event) -> None:
    """End this process when another one has failed: it may wait for it within a library, for ever."""
    while not over.wait(0.5):
        if any(process.exitcode for process in processes) and not over.wait(MOURNING):
            log.error(LOST)
            os._exit(1)


@contextmanager
def _joined(job: Job, part: Part, store: dist.TCPStore) -> Iterator[Group]:
    on_gpu = job.device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(part.index)
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, store=store, rank=part.index, world_size=part.count, timeout=PATIENCE)
    try:
        yield Group(part)
    finally:
        dist.destroy_process_group()


def _follow(job: Job, part: Part, port: int, follow: Follow) -> None:
    """The whole of another process."""
    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)  # number 0 says when to stop
    end_with_parent(signal.SIGKILL)
    try:
        job.calm_torch()
        with _joined(job, part, dist.TCPStore(HERE, port, part.count, False, PATIENCE)) as group:
            follow(job, group)
    except Interrupted:
        pass
    except (UserError, FloatingPointError) as error:
        sys.exit(f"{job.node.id}, process {part.index} of {part.count}: {error}")
