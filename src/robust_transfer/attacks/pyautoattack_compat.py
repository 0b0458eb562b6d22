"""The one door to pyautoattack 0.2.0, the attacks of AutoAttack as their authors published them (Croce & Hein 2020).

Single runs are asked for, and perturb.until_wrong does the rest. What to know of the library, and what is done:

- Its own `perturb` gives back the clean image wherever no step was predicted wrong, and seeds torch's global
  generators; auto-PGD takes the last wrong step, however narrowly wrong. A single run of auto-PGD shows both the step
  of highest loss and the last wrong one; the worse of the two is kept.
- The cross entropy of an image that the model is sure of is 0 at every step, so that none is the best. Auto-PGD is
  given the log odds in place of a loss of its own, and logits in double precision.
- Its l2 steps divide by the gradient's length + 1e-12, and FAB leaves pixels alone whose gradient is under 1e-8, so
  small logits would weaken them. Gradients come brought to one size.
- A gradient or logit that is not a number leaves an image as it is, or passes for a success: a broken model looks
  robust, or not.
- Rounding lets a perturbation exceed eps by some 1e-7; FAB looks for the nearest wrong image, however far that is.
- It takes 9 target classes where there are fewer.
- Square's first l2 perturbation does not fit some sizes of image.
"""

import logging

from pyautoattack.autopgd_base import APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor

from robust_transfer.attacks.losses import size

__all__ = ["LOG", "NORMS", "APGDAttack_targeted", "Fab", "SquareAttack"]

NORMS = {"linf": "Linf", "l2": "L2"}
LOG = logging.getLogger("robust_transfer")
"""Where the library says what it doubts."""


class Fab(FABAttack_PT):
    """The library's, with each image's difference of logits, and its gradient, divided by the gradient's size: the
    plane on which the linearised difference is 0 stays where it is.
    """

    def get_diff_logits_grads_batch_targeted(
        self, imgs: Tensor, la: Tensor, la_target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """N images, labels and targets -> N x 1 differences, N x 1 x C x H x W gradients."""
        difference, gradient = super().get_diff_logits_grads_batch_targeted(imgs, la, la_target)
        scale = size(gradient)
        return difference / scale.flatten(1), gradient / scale
