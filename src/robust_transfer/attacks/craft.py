"""Adversarial examples of a whole set, in the form in which they are stored."""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from robust_transfer.attacks.budget import BudgetError, check_budget, quantise, to_float
from robust_transfer.attacks.losses import log_odds
from robust_transfer.attacks.ready import attack_ready, attacking
from robust_transfer.specs.attacks import Attack

if TYPE_CHECKING:
    from robust_transfer.models.classifier import Classifier


def craft(
    model: "Classifier",
    images: Tensor,
    labels: Tensor | None,
    attack: Attack,
    batch_size: int,
    seed: int,
    device: torch.device | str = "cpu",
    progress: Callable[[Tensor], None] | None = None,
    done: Tensor | None = None,
) -> Tensor:
    """Adversarial examples of a whole set, in the stored form of budget.py (uint16, on the CPU), budget kept.

    images: N x C x H x W uint8; labels: N int64. The model, on `device`, is attacked in evaluation mode.
    seed: of the random starts; each batch has its own, made from this and its first image's index in the set.
    progress: called after each batch with all images made so far, to save them or to count.
    done: what such a call was given, to go on from there; the result has the same bits as a run in one go.

    Raises:
        BudgetError: where `done` is not from these images and this attack, or an attack leaves its budget.
        FloatingPointError: where the loss's gradient is not finite.
    """
    made = torch.empty(images.shape, dtype=torch.uint16)
    begin = 0 if done is None else len(done)
    if done is not None and begin:
        if begin > len(images) or (begin % batch_size and begin < len(images)):
            raise BudgetError(f"{begin} images were made before, which is no whole number of batches of {batch_size}")
        check_budget(done, images[:begin].cpu(), attack)
        made[:begin] = done
    if begin == len(images):
        return made
    sample = to_float(images[:batch_size].to(device))
    ready = attack_ready(attack.view(model), sample=sample)
    for first in range(begin, len(images), batch_size):
        batch = slice(first, first + batch_size)
        clean = images[batch].to(device)
        truth = None if labels is None else labels[batch].to(device)
        try:
            adversarial = attack.perturb(ready, to_float(clean), truth, seed=batch_seed(seed, first))
        except FloatingPointError as error:
            raise FloatingPointError(f"images {first} to {first + len(clean) - 1}: {error}") from None
        made[batch] = quantise(adversarial, clean, attack).cpu()
        if progress:
            progress(made[: first + len(clean)])
    return made


def zero_gradients(model: nn.Module, images: Tensor, batch_size: int, device: torch.device | str = "cpu") -> float:
    """Share of the images at which no pixel changes the log odds against the predicted class: what follows gradients
    stands still there, however little it would take to fool the model (gradient masking; Athalye et al. 2018).

    images: N x C x H x W uint8, which may be of classes that the model doesn't know. The classifier, on `device`, is
    looked at in evaluation mode.
    """
    if not len(images):
        return 0.0
    zero = 0
    with attacking(model), torch.enable_grad():
        for part in images.split(batch_size):
            clean = to_float(part.to(device)).requires_grad_()
            logits = model(clean)
            (gradient,) = torch.autograd.grad(log_odds(logits, logits.argmax(1)).sum(), clean)
            zero += int((gradient == 0).flatten(1).all(1).sum())
    return zero / len(images)


def batch_seed(seed: int, first: int) -> int:
    """The seed of the batch that begins with image number `first`, in 0..2^63-1."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{first}".encode()).digest()[:8], "little") >> 1
