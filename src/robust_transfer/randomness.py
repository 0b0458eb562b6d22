"""Randomness that depends on where a training is, not on how it got there.

Every epoch's order and every iteration's draws come from a seed derived from (seed, purpose, index). So a run that
continues from a checkpoint draws the same numbers as one that was never interrupted, and no generator's state has to be
saved.
"""

import hashlib
from functools import cache

import torch


def derived(seed: int, purpose: str, index: int = 0) -> int:
    """A seed of its own (63 bits) for one purpose and index."""
    text = f"{seed}/{purpose}/{index}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def reseed(seed: int, purpose: str, index: int = 0) -> None:
    """Set torch's global generators (all devices) to a derived seed."""
    seed_all(derived(seed, purpose, index))


def seed_all(seed: int) -> None:
    """Set torch's global generators, of all devices that there are.

    torch.manual_seed notes the call, with a printed stack each, for three kinds of devices that may come later: on a
    processor alone that takes as long as a tenth of a small network's iteration, and is never freed.
    """
    if _has_accelerator():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@cache
def _has_accelerator() -> bool:
    return torch.accelerator.is_available()


def order(seed: int, epoch: int, count: int) -> torch.Tensor:
    """The order (a permutation of 0..count-1, int64) in which an epoch shows the training images."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(derived(seed, "order", epoch)))
