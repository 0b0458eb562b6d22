"""The perturbation of "free" adversarial training, which the weights' own backward pass improves."""

from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor

from robust_transfer.specs.attacks import Attack

if TYPE_CHECKING:
    from robust_transfer.attacks.algorithms.free import Free


def is_free(attack: Attack | None) -> TypeGuard["Free"]:
    """Whether an attack crafts no examples of its own: its perturbation moves with the training."""
    return attack is not None and not attack.evaluates


class FreePerturbation:
    """Called with images, it adds what it has; `step`, after the backward pass, moves that along the gradient's sign.

    It stays from batch to batch, zero at first. Shafahi et al. 2019, "Adversarial Training for Free!", algorithm 1.
    """

    def __init__(self, attack: "Free"):
        self.attack = attack
        self.delta: Tensor | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """N x C x H x W pixels -> the same form, perturbed within the budget, in [0, 1]."""
        if self.delta is None or self.delta.shape != images.shape:
            self.delta = torch.zeros_like(images)
        self.delta = self.delta.to(images.device).detach().requires_grad_()
        return (images + self.delta).clamp(0, 1)

    @torch.no_grad()
    def step(self) -> None:
        """One ascent step of the perturbation.

        Raises:
            FloatingPointError: where its gradient is not finite.
        """
        assert self.delta is not None and self.delta.grad is not None  # the backward pass has been
        if not self.delta.grad.isfinite().all():
            raise FloatingPointError("the gradient of the perturbation is not finite")
        step = self.attack.eps if self.attack.step_size is None else self.attack.step_size
        self.delta = (self.delta + step * self.delta.grad.sign()).clamp(-self.attack.eps, self.attack.eps)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold."""
        return {} if self.delta is None else {"delta": self.delta.detach()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        self.delta = state.get("delta")
