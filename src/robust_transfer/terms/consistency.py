"""Consistency regularisation for smoothed classifiers (Jeong & Shin 2020)."""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from robust_transfer.specs.fields import Count, NonNegative
from robust_transfer.specs.terms import Term

if TYPE_CHECKING:
    from torch import Tensor

    from robust_transfer.recipes import Recipe
    from robust_transfer.training.objective import Objective, Step


class Consistency(Term):
    """Several noisy copies of each image, which are to agree (Jeong & Shin 2020, Eq. 8); takes the place of the plain
    cross entropy. The noise is that of the inputs.
    """

    slug_part = "+cr"
    replaces_cross_entropy = True

    copies: Annotated[Count, Field(ge=2)] = 2
    """m, the noisy copies of each image."""
    weight: NonNegative
    """lambda, of their divergence from their mean prediction."""
    entropy: NonNegative
    """eta, of the mean prediction's entropy."""

    @property
    def shown(self) -> int:
        return self.copies

    def mistakes(self, recipe: "Recipe") -> Iterator[str]:
        if recipe.inputs.attack or not recipe.inputs.noise:
            yield "it compares noisy copies; set inputs.noise above 0 and no attack"

    def begin(self, training: "Objective") -> Callable[["Step"], "Tensor"]:
        def term(step: "Step") -> "Tensor":
            copies = step.noisy(step.images.repeat(self.copies, 1, 1, 1))
            logits = training.network(copies).unflatten(0, (self.copies, len(step.images)))
            return consistency(logits, step.labels, self.weight, self.entropy)

        return term


def consistency(logits: "Tensor", labels: "Tensor", weight: float, entropy_weight: float) -> "Tensor":
    """Cross entropy over noisy copies of a batch, and how little the copies agree: a scalar.

    logits: m x N x classes, of m copies of N images under independent noise. labels: N int64.
    weight, entropy_weight: lambda and eta of Jeong & Shin 2020, section 3. With q the mean of p_1..p_m, the predictions
    for an image's copies, its loss is mean_i CE(p_i, label) + lambda mean_i KL(q || p_i) + eta H(q); the batch's is the
    mean. Gradients flow through q too, as they do in the authors' code.
    """
    import torch.nn.functional as F

    copies = logits.log_softmax(-1)
    # Means of probabilities as logarithms: a probability that float32 rounds to zero has a finite logarithm still.
    mean = copies.logsumexp(0) - math.log(len(logits))
    entropy = -(mean.exp() * mean).sum(-1)
    divergence = (mean.exp() * (mean - copies)).sum(-1).mean(0)
    fit = F.nll_loss(copies.flatten(0, 1), labels.repeat(len(logits)))
    return fit + (weight * divergence + entropy_weight * entropy).mean()
