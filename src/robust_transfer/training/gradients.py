"""The gradients of an iteration, of the batch as a whole or, where memory does not hold it, part by part."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from robust_transfer.data.batches import Part
from robust_transfer.errors import UserError
from robust_transfer.training.objective import Objective
from robust_transfer.training.parts import AsPart
from robust_transfer.training.ranks import Group

log = logging.getLogger(__name__)


def may_run_out(network: nn.Module) -> bool:
    """Whether a network is where torch tells that memory is used up: on a GPU."""
    return next(network.parameters()).is_cuda


class Gradients:
    """Called with a batch, it leaves the gradients of what the network trains.

    group: the processes among which batches are divided; gradients are this one's own, until they are put together.
    parts: into how many parts a batch is split here, one after another; more when memory does not do.
    """

    def __init__(self, network: nn.Module, objective: Objective, group: Group, parts: int = 1):
        self.network, self.objective, self.group, self.parts = network, objective, group, parts
        self._may_run_out = may_run_out(network)
        # What a pass changes before it runs out of memory: batch norm's statistics.
        self._kept = [(buffer, buffer.clone()) for buffer in network.buffers()] if self._may_run_out else []

    def __call__(self, images: Tensor, labels: Tensor, indices: Tensor) -> Tensor:
        """The loss of a batch of batches.stream, a scalar without gradients.

        Raises:
            UserError: where memory does not hold the batch, and it cannot be split further.
        """
        if not self._may_run_out:
            return self._of(images, labels, indices)
        draws, free = _draws(images), self.objective.free
        moved = free.delta if free else None
        for buffer, kept in self._kept:
            kept.copy_(buffer)
        while (loss := self._tried(images, labels, indices)) is None:
            self._split(len(images))
            draws()
            for buffer, kept in self._kept:
                buffer.copy_(kept)
            if free:
                free.delta = moved
        return loss

    def _tried(self, images: Tensor, labels: Tensor, indices: Tensor) -> Tensor | None:
        """None where the device's memory does not do; what the exception held is free then."""
        try:
            return self._of(images, labels, indices)
        except torch.cuda.OutOfMemoryError:
            self.network.zero_grad()
        torch.cuda.empty_cache()
        return None

    def _split(self, rows: int) -> None:
        """Into the next larger number of equal parts, of which batch norm can take each."""
        parts = next((n for n in range(self.parts + 1, rows // 2 + 1) if rows % n == 0), None)
        if parts is None or self.group.part.count > 1 or not self.objective.can_be_split:
            raise UserError(
                f"the device's memory does not hold {rows // self.parts} images of a batch at once, and they cannot be "
                "split further here; lower batch_size, set machine.precision: bf16, or take a larger device"
            )
        self.parts = parts
        log.warning("out of memory: from here on batches of %d pass in %d parts; the step stays the same", rows, parts)

    def _of(self, images: Tensor, labels: Tensor, indices: Tensor) -> Tensor:
        if self.parts == 1 and self.group.part.count == 1:
            loss = self.objective(images, labels, indices)
            self.network.zero_grad()
            loss.backward()
            self.objective.after_backward()
            return loss.detach()
        self.network.zero_grad()
        draws, losses, rows = _draws(images), [], len(images) // self.parts
        gather = self.group.gather if self.group.part.count > 1 else None
        for index in range(self.parts):
            draws()
            own = Part(index, self.parts)
            with AsPart(self.group.part.part(index, self.parts), rows, gather):
                loss = self.objective(own.of(images), own.of(labels), own.of(indices), own) / self.parts
                loss.backward()
            self.objective.after_backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()


def _draws(images: Tensor) -> Callable[[], None]:
    """What puts torch's generators back to where they are now: those of the CPU and of the images' device."""
    states = torch.get_rng_state(), torch.cuda.get_rng_state(images.device) if images.is_cuda else None

    def put_back() -> None:
        torch.set_rng_state(states[0])
        if states[1] is not None:
            torch.cuda.set_rng_state(states[1], images.device)

    return put_back
