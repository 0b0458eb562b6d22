"""Adversarial examples of a whole set, in the form in which they are stored."""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from robust_transfer.attacks.budget import BudgetError, check_budget, quantise, to_float
from robust_transfer.attacks.losses import log_odds
from robust_transfer.attacks.ready import attack_ready, attacking
from robust_transfer.models.at_once import AtOnce, InParts
from robust_transfer.specs.attacks import Attack

if TYPE_CHECKING:
    from robust_transfer.data.tensors import Shown
    from robust_transfer.models.classifier import Classifier


class Crafting:
    """An attack on the images of a set, of which any batch can be made at any time, and anywhere, with the same result.

    images: N x C x H x W uint8, of which a batch is taken at a time; labels: N int64. The model, on `device`, is
    attacked in evaluation mode. seed: of the random starts; each batch has its own, made from this and its first
    image's index in the set. at_once: how many images pass together through the model; by default a batch.
    """

    def __init__(
        self,
        model: "Classifier",
        images: "Tensor | Shown",
        labels: Tensor | None,
        attack: Attack,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        at_once: AtOnce | None = None,
    ):
        self.images, self.labels, self.attack = images, labels, attack
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.at_once = at_once or AtOnce(batch_size)
        self._whole = InParts(model, self.at_once)
        sample = to_float(images[: min(batch_size, self.at_once.count)].to(device))
        self._ready = InParts(attack_ready(attack.view(model), sample=sample), self.at_once)

    def batch(self, first: int) -> Tensor:
        """The examples of the batch that begins with image number `first`, in the stored form, on the CPU.

        Raises:
            BudgetError: where an attack leaves its budget.
            FloatingPointError: where the loss's gradient is not finite.
        """
        batch = slice(first, first + self.batch_size)
        clean = self.images[batch].to(self.device)
        truth = None if self.labels is None else self.labels[batch].to(self.device)

        def perturbed() -> Tensor:
            return self.attack.perturb(self._ready, to_float(clean), truth, seed=batch_seed(self.seed, first))

        try:
            adversarial = self.at_once.until_it_fits(perturbed)
        except FloatingPointError as error:
            raise FloatingPointError(f"images {first} to {first + len(clean) - 1}: {error}") from None
        return quantise(adversarial, clean, self.attack).cpu()

    def without_gradient(self, first: int) -> int:
        """At how many images of that batch there is no gradient; see zero_gradients."""
        clean = self.images[first : first + self.batch_size].to(self.device)
        return self.at_once.until_it_fits(lambda: _without_gradient(self._whole, clean))


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

    See Crafting for the rest.
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
    crafting = Crafting(model, images, labels, attack, batch_size, seed, device)
    for first in range(begin, len(images), batch_size):
        found = crafting.batch(first)
        made[first : first + len(found)] = found
        if progress:
            progress(made[: first + len(found)])
    return made


def zero_gradients(model: nn.Module, images: Tensor, batch_size: int, device: torch.device | str = "cpu") -> float:
    """Share of the images at which no pixel changes the log odds against the predicted class: what follows gradients
    stands still there, however little it would take to fool the model (gradient masking; Athalye et al. 2018).

    images: N x C x H x W uint8, which may be of classes that the model doesn't know. The classifier, on `device`, is
    looked at in evaluation mode.
    """
    if not len(images):
        return 0.0
    return sum(_without_gradient(model, part.to(device)) for part in images.split(batch_size)) / len(images)


def _without_gradient(model: nn.Module, images: Tensor) -> int:
    with attacking(model), torch.enable_grad():
        clean = to_float(images).requires_grad_()
        logits = model(clean)
        (gradient,) = torch.autograd.grad(log_odds(logits, logits.argmax(1)).sum(), clean)
        return int((gradient == 0).flatten(1).all(1).sum())


def batch_seed(seed: int, first: int) -> int:
    """The seed of the batch that begins with image number `first`, in 0..2^63-1."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{first}".encode()).digest()[:8], "little") >> 1
