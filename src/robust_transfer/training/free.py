"""The perturbation of "free" adversarial training, which the weights' own backward pass improves."""

from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor

from robust_transfer.data.batches import WHOLE, Part
from robust_transfer.specs.attacks import Attack
from robust_transfer.training.ranks import ALONE, Group

if TYPE_CHECKING:
    from robust_transfer.attacks.algorithms.free import Free


def is_free(attack: Attack | None) -> TypeGuard["Free"]:
    """Whether an attack crafts no examples of its own: its perturbation moves with the training."""
    return attack is not None and not attack.evaluates


class FreePerturbation:
    """Called with images, it adds what it has; `step`, after the backward pass, moves that along the gradient's sign.

    It stays from batch to batch, zero at first. Shafahi et al. 2019, "Adversarial Training for Free!", algorithm 1.
    """

    def __init__(self, attack: "Free", group: Group = ALONE):
        self.attack, self.group = attack, group
        self.delta: Tensor | None = None
        self._part, self._shown = WHOLE, torch.empty(0)

    def __call__(self, images: Tensor, part: Part = WHOLE) -> Tensor:
        """N x C x H x W pixels -> the same form, perturbed within the budget, in [0, 1]. part: of the batch."""
        shape = (part.count * len(images), *images.shape[1:])
        if self.delta is None or self.delta.shape != shape:
            self.delta = images.new_zeros(shape)
        self.delta = self.delta.to(images.device)
        self._part, self._shown = part, part.of(self.delta).detach().requires_grad_()
        return (images + self._shown).clamp(0, 1)

    @torch.no_grad()
    def step(self) -> None:
        """One ascent step of the perturbation, of the part that was shown.

        Raises:
            FloatingPointError: where its gradient is not finite.
        """
        assert self.delta is not None and self._shown.grad is not None  # the backward pass has been
        if not self._shown.grad.isfinite().all():
            raise FloatingPointError("the gradient of the perturbation is not finite")
        step = self.attack.eps if self.attack.step_size is None else self.attack.step_size
        moved = (self._shown + step * self._shown.grad.sign()).clamp(-self.attack.eps, self.attack.eps)
        if self._part.count > 1:
            whole = self.delta.clone()
            self._part.of(whole).copy_(moved)
            moved = whole
        self.delta = moved

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold: that of all processes, which ask together."""
        if self.delta is None:
            return {}
        own = self.delta.detach()
        return {"delta": own if self.group.part.count == 1 else torch.cat(self.group.gather(own))}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        self.delta = self.group.part.of(state["delta"]) if "delta" in state else None
