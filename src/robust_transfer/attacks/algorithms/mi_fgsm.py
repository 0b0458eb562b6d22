"""Momentum iterative FGSM."""

from typing import TYPE_CHECKING, ClassVar, Literal

from robust_transfer.specs.attacks import Stepped
from robust_transfer.specs.fields import Count, NonNegative

if TYPE_CHECKING:
    from torch import Tensor, nn


class MiFgsm(Stepped):
    """Steps along a sum of gradients, each divided by its l1 norm (Dong et al. 2018, algorithm 1; l2: section 3.3).

    g <- decay g + gradient / |gradient|_1, and x <- x + step_size sign(g), or x + step_size g / |g|_2 under l2, from
    the clean image on. advertorch's does the same under linf, but under l2 gives NaN where a pixel has not moved.
    """

    trains: ClassVar[bool] = True

    algorithm: Literal["mi-fgsm"]
    steps: Count
    """Gradient steps."""
    step_size: NonNegative | None = None
    """Length of a step, in pixels, or in parts of the budget: eps/4; eps / steps unless given, as in the paper."""
    decay: NonNegative = 1.0
    """mu, the factor of the gradients before; 0 leaves iterative FGSM."""

    @property
    def slug(self) -> str:
        return f"mifgsm{self.steps}-{self.norm}-{self.eps:.4g}"

    def perturb(
        self, model: "nn.Module", images: "Tensor", labels: "Tensor | None", *, seed: int | None = None
    ) -> "Tensor":
        from robust_transfer.attacks.perturb import raise_loss

        return raise_loss(self, self._run, model, images, labels, seed)

    def _run(self, predict, images, labels):
        import torch

        from robust_transfer.attacks.losses import log_odds
        from robust_transfer.attacks.worst import within

        def of_length_one(offset, norm):
            length = torch.linalg.vector_norm(offset, ord=norm, dim=(1, 2, 3), keepdim=True)
            return offset / length.clamp(min=torch.finfo(offset.dtype).tiny)

        step = self.eps / self.steps if self.step_size is None else self.step_size
        moved, velocity = images, torch.zeros_like(images)
        for _ in range(self.steps):
            moved = moved.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(log_odds(predict(moved), labels).sum(), moved)
            velocity = self.decay * velocity + of_length_one(gradient, 1)
            direction = velocity.sign() if self.norm == "linf" else of_length_one(velocity, 2)
            moved = within(moved.detach() + step * direction, images, self).clamp(0, 1)
        return moved
