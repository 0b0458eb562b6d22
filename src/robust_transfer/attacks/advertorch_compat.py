"""The one door to advertorch 0.2.3 (Ding et al. 2019), which was written for torch 1.3.

Import advertorch through this module alone. Nothing stays patched after the import. What to know of its
attacks on today's torch, and what perturb.py does about each:

- They call backward() on the model's parameters too, which costs a third of the time and leaves stale weight
  gradients.
- Rounding lets a perturbation exceed eps by some 1e-8.
- The l2 step divides by max(norm, 1e-6), so images that the model is sure of take shorter steps or none.
- An l2 random start is uniform in the pixel box, then pulled into the ball: it lies on the sphere and leans
  towards mid-grey. A linf start is uniform in the ball, then clipped to the pixel box.
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
    from advertorch.attacks import GradientAttack, GradientSignAttack, L2PGDAttack, LinfPGDAttack

__all__ = ["GradientAttack", "GradientSignAttack", "L2PGDAttack", "LinfPGDAttack"]
