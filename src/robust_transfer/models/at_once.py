"""How many images pass through a network together: as many as the device's memory has room for.

Batches stay what they are, and so does what is drawn at random for each. Only the passes through the network are split,
which changes an image's numbers at most as another size of batch does: in the last bits, where the device's kernels
depend on it.
"""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from robust_transfer.errors import UserError

if TYPE_CHECKING:
    from robust_transfer.cost.size import Size

T = TypeVar("T")

log = logging.getLogger("robust_transfer")
SHARE = 0.8
"""Of a device's memory, for weights and what passes; the rest is the library's and lost between tensors."""
COPIES = 8
"""Of a batch of images, that an attack has besides what the network keeps: starts, gradients, the best so far."""


class AtOnce:
    """At most how many images pass together; halved, and begun anew, each time that memory is too small for them.

    called: with a function and images, it is the function of all of them, n x ..., joined from parts.
    """

    def __init__(self, count: int):
        self.count = count
        self.split = False
        """Whether memory has been too small."""
        self._most = 0

    def __call__(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        return self.until_it_fits(lambda: self.joined(function, images))

    def joined(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """The same, but for the new begin."""
        self._most = max(self._most, min(self.count, len(images)))
        if len(images) <= self.count:
            return function(images)
        return torch.cat([function(part) for part in images.split(self.count)])

    def tell(self, computed: dict[str, Any]) -> None:
        """Note in what a card says how many pass together, if memory has been too small for those that were to."""
        if self.split:
            computed["at_once"] = self.count

    def until_it_fits(self, work: Callable[[], T]) -> T:
        """What some work gives whose passes go through `joined`; it must give the same when it is begun anew.

        Raises:
            UserError: where memory is too small for one image.
        """
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                words = str(error).partition("\n")[0]
            self._halve(words)  # out of the except clause, where the error's frames kept what had no room

    def _halve(self, words: str) -> None:
        if self._most <= 1:
            raise UserError(
                f"memory is too small for one image ({words}); stop what else takes some, or use a device with more"
            )
        self.count, self.split = self._most // 2, True
        self._most = 0
        log.warning("out of memory: from here on %d images pass together (%s)", self.count, words)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class InParts(nn.Module):
    """A model with the same logits and gradients, through which at most so many images pass together.

    Of more images than that, nothing is kept for the way back: each part passes once more, alone, when its gradient is
    wanted.
    """

    def __init__(self, model: nn.Module, at_once: AtOnce):
        super().__init__()
        self.model, self.at_once = model, at_once
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        """What the model's forward does."""
        if len(images) <= self.at_once.count or not (torch.is_grad_enabled() and images.requires_grad):
            return self.at_once.joined(self.model, images)
        return self.at_once.joined(self._passing_again, images)

    def _passing_again(self, images: Tensor) -> Tensor:
        found = checkpoint(self.model, images, use_reentrant=False, preserve_rng_state=False)
        assert isinstance(found, Tensor)
        return found


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that a device's memory, or the machine's, is full."""
    on_a_cpu = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return on_a_cpu or isinstance(error, (torch.OutOfMemoryError, MemoryError))


def fitting(size: "Size", values: int, memory: float, back: bool) -> int:
    """How many images pass together in so many bytes, at least one.

    size: of the network. values: of an image. back: whether gradients go back to the pixels.
    """
    weights = 2 * 4 * size.parameters  # of the model and of a copy that is attacked
    each = size.passing(back) + 4 * COPIES * values
    return max(1, int((SHARE * memory - weights) // each))


def at_once(spec: object, shape: Sequence[int], device: torch.device | str, batch: int, back: bool = False) -> AtOnce:
    """How many images of a batch pass together through a network. On a GPU as many as its memory is said to have room
    for, free or not, so that the same card gives the same bits; on a CPU all of them, until memory is too small.

    spec: of the network, as its file has it. shape: of the images, ... x C x H x W. back: see fitting.
    """
    if torch.device(device).type != "cuda":
        return AtOnce(batch)
    from robust_transfer.cost.networks import size_of
    from robust_transfer.specs.datasets import Facts

    channels, height, width = shape[-3:]
    size = size_of(spec, Facts(channels, height, width))  # type: ignore[arg-type]
    memory = torch.cuda.get_device_properties(device).total_memory
    return AtOnce(min(batch, fitting(size, channels * height * width, memory, back)))
