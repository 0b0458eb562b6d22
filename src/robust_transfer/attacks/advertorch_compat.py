"""The one door to advertorch 0.2.3 (Ding et al. 2019), which was written for torch 1.3.

Import advertorch through this module alone. Nothing stays patched after the import. What to know of its
attacks on today's torch; this module mends the l2 random start, perturb.py the rest:

- They call backward() on the model's parameters too, which costs a third of the time and leaves stale weight
  gradients.
- Rounding lets a perturbation exceed eps by some 1e-8.
- The l2 step divides by max(norm, 1e-6), so images that the model is sure of take shorter steps or none.
- An l2 random start is uniform in the pixel box, then pulled into the ball: it lies on the sphere, and all
  starts of an image lean towards mid-grey (two of a photograph have a cosine of 0.57). Here it is uniform in
  the ball, then clipped to the pixel box, as a linf start is.
- A random start depends on the batch's memory layout, not just on the seed.
- A gradient that is not a number has sign 0: a broken model looks robust.
- eps and step size must be Python floats; under torch.no_grad() nothing works.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor


def _zero_gradients(image: Tensor) -> None:
    """What torch.autograd.gradcheck.zero_gradients did, until torch 1.9 removed it."""
    if image.grad is not None:
        image.grad.detach_()
        image.grad.zero_()


@contextmanager
def _torch_of_its_time() -> Iterator[None]:
    # `torch.autograd.gradcheck`, said as an attribute, is a function of the same name.
    gradcheck: Any = importlib.import_module("torch.autograd.gradcheck")
    missing = not hasattr(gradcheck, "zero_gradients")
    # advertorch imports its JPEG defence, which imports torchvision, which imports torch's compiler: five
    # seconds in every process, for something unused here. An empty module holds the place.
    placeholder = ModuleType("advertorch.defenses")
    unused = sys.modules.setdefault(placeholder.__name__, placeholder) is placeholder
    if missing:
        gradcheck.zero_gradients = _zero_gradients
    try:
        yield
    finally:
        if missing:
            del gradcheck.zero_gradients
        if unused:
            del sys.modules[placeholder.__name__]
            if "advertorch" in sys.modules:
                vars(sys.modules["advertorch"]).pop("defenses", None)


with _torch_of_its_time():
    from advertorch.attacks import GradientAttack, GradientSignAttack, LinfPGDAttack
    from advertorch.attacks import L2PGDAttack as StockL2PGDAttack
    from advertorch.attacks.iterative_projected_gradient import perturb_iterative


class L2PGDAttack(StockL2PGDAttack):
    """advertorch's, but for its random starts."""

    def perturb(self, x: Tensor, y: Tensor) -> Tensor:
        """Adversarial examples of N x C x H x W pixels in [0, 1] with N labels."""
        if not self.rand_init:
            return super().perturb(x, y)
        start = (x + uniform_in_ball(x, self.eps)).clamp(0, 1) - x
        settings = {"nb_iter": self.nb_iter, "eps": self.eps, "eps_iter": self.eps_iter, "loss_fn": self.loss_fn}
        return perturb_iterative(x, y, self.predict, delta_init=start, ord=self.ord, **settings).detach()


def uniform_in_ball(like: Tensor, radius: float) -> Tensor:
    """Offsets of the shape of `like` (N x ...), each uniform in the l2 ball: of d dimensions, a direction is that of d
    normal draws, and a length has the distribution of radius * u^(1/d). From torch's global generator.
    """
    direction = torch.randn_like(like).flatten(1)
    length = radius * torch.rand(len(like), 1, device=like.device) ** (1 / direction.shape[1])
    return (direction * length / direction.norm(dim=1, keepdim=True)).view_as(like)


__all__ = ["GradientAttack", "GradientSignAttack", "L2PGDAttack", "LinfPGDAttack", "StockL2PGDAttack"]
