"""TRADES: accuracy traded for robustness (Zhang et al. 2019)."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from robust_transfer.specs.fields import Positive
from robust_transfer.specs.passes import PerImage
from robust_transfer.specs.terms import Term

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robust_transfer.attacks.algorithms.pgd import Pgd
    from robust_transfer.recipes import Recipe
    from robust_transfer.training.objective import Objective, Step

START = 0.001
"""Standard deviation of the noise from which the attack starts."""


class Trades(Term):
    """How far adversarial predictions are from clean ones, KL(p(clean) || p(adversarial)), beside the cross entropy of
    clean images (TRADES, Zhang et al. 2019, Eq. 5 and algorithm 1).

    The attack raises that divergence from noise of its own. Of inputs.attack, a PGD without random_start, it takes the
    norm, eps, steps and step_size; inputs.clean_weight is 1.
    """

    slug_part = "+trades"
    looks_at = frozenset({"clean"})

    weight: Positive
    """1 / lambda of the paper, which trains with 6."""

    @property
    def shown(self) -> int:
        return 1

    def passes(self, recipe: "Recipe") -> PerImage:
        """The clean prediction, and its attack's steps."""
        steps = getattr(recipe.inputs.attack, "steps", 0)
        return PerImage(steps + 1, steps)

    def mistakes(self, recipe: "Recipe") -> Iterator[str]:
        from robust_transfer.attacks.algorithms.pgd import Pgd

        inputs = recipe.inputs
        attack = inputs.attack
        if not isinstance(attack, Pgd):
            yield "its examples are found by steps within a budget; set inputs.attack to one of algorithm: pgd"
        elif attack.random_start or attack.labels != "true" or attack.loss != "cross_entropy":
            yield (
                "its attack has a start and a loss of its own; "
                "set inputs.attack.random_start: false, and leave out its labels and loss"
            )
        if inputs.clean_weight != 1 or inputs.mixing != "both":
            yield "the cross entropy is of clean images alone; set inputs.clean_weight: 1, and leave out mixing"

    def begin(self, training: "Objective") -> Callable[["Step"], "Tensor"]:
        from robust_transfer.attacks.algorithms.pgd import Pgd

        ready, attack = training.ready, training.recipe.inputs.attack
        assert ready and isinstance(attack, Pgd)  # see mistakes

        def term(step: "Step") -> "Tensor":
            clean = step.clean
            found = diverging(ready, clean.images, attack)
            return self.weight * divergence(clean.observed.logits, step.show(found).observed.logits)

        return term


def divergence(clean: "Tensor", adversarial: "Tensor") -> "Tensor":
    """KL(p(clean) || p(adversarial)) of N x classes logits, in the mean over images."""
    import torch.nn.functional as F

    # Of logarithms: a probability that float32 rounds to zero has a finite gradient still.
    return F.kl_div(adversarial.log_softmax(1), clean.log_softmax(1), reduction="batchmean", log_target=True)


def diverging(model: "nn.Module", images: "Tensor", attack: "Pgd") -> "Tensor":
    """Images (N x C x H x W float pixels in [0, 1]) near the given ones, of which a model thinks otherwise.

    Zhang et al. 2019, algorithm 1, lines 5 to 9; for l2 the steps follow the gradient's direction. The start's noise is
    drawn from torch's global generator of the CPU, so that a seed means the same on every device.

    Raises:
        FloatingPointError: where the divergence's gradient is not finite.
    """
    import torch

    from robust_transfer.attacks.ready import fast_convolutions
    from robust_transfer.attacks.worst import within

    found = images + START * torch.randn(images.shape).to(images.device)
    with fast_convolutions(images), torch.enable_grad():
        clean = model(images).detach()
        for _ in range(attack.steps):
            found = found.detach().requires_grad_()
            (slope,) = torch.autograd.grad(divergence(clean, model(found)), found)
            if not slope.isfinite().all():
                raise FloatingPointError("the divergence's gradient is not finite in a step of the attack")
            if attack.norm == "linf":
                direction = slope.sign()
            else:
                length = torch.linalg.vector_norm(slope, dim=(1, 2, 3), keepdim=True)
                direction = slope / length.clamp(min=torch.finfo(slope.dtype).tiny)
            found = within(found.detach() + attack.step_size * direction, images, attack).clamp(0, 1)
    return found
