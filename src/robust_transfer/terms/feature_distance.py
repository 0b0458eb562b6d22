"""Feature distance minimisation (FDM), the first half of CARTL."""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

from robust_transfer.specs.fields import Count, Positive
from robust_transfer.specs.terms import Term

if TYPE_CHECKING:
    from torch import Tensor

    from robust_transfer.recipes import Recipe
    from robust_transfer.training.objective import Objective, Step


class FeatureDistance(Term):
    """Feature distance minimisation (Chen et al. 2021, Eq. 10): how far what a clean and an adversarial image give as
    input to the last units may lie apart.

    weight: lambda. units: k, how many units come after. reduction: over the images of a batch.
    """

    slug_part = "+fdm"
    looks_at = frozenset({"clean", "adversarial"})

    weight: Positive
    """lambda."""
    units: Count
    """k, how many units come after."""
    reduction: Literal["sum", "mean"] = "sum"
    """How the distances of a batch's images are put together."""

    @property
    def observed_unit(self) -> int:
        """The deepest of the last units."""
        return self.units

    @property
    def over_images(self) -> Literal["mean", "sum"]:
        return self.reduction

    def mistakes(self, recipe: "Recipe") -> Iterator[str]:
        if not recipe.inputs.attack or recipe.inputs.mixing == "either":
            yield "it compares clean and adversarial images; set an attack on both"

    def begin(self, training: "Objective") -> Callable[["Step"], "Tensor"]:
        def term(step: "Step") -> "Tensor":
            clean, adversarial = step.clean.observed.unit_input, step.adversarial.observed.unit_input
            assert clean is not None and adversarial is not None  # observed_unit asks for them
            return self.weight * scaled_distance(clean, adversarial, self.reduction)

        return term


def scaled_distance(clean: "Tensor", adversarial: "Tensor", reduction: str) -> "Tensor":
    """The l2 norm of the difference of two N x ... inputs of a unit, by the root of their d elements; summed over the
    images, or in the mean. Chen et al. 2021, Eq. 10.
    """
    import torch

    difference = (clean - adversarial).flatten(1)
    distance = torch.linalg.vector_norm(difference, dim=1) / math.sqrt(difference.shape[1])
    return distance.sum() if reduction == "sum" else distance.mean()
