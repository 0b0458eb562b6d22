"""The distance from stored features: learning without forgetting."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from robust_transfer.errors import UserError
from robust_transfer.specs.fields import Positive
from robust_transfer.specs.terms import Term

if TYPE_CHECKING:
    from torch import Tensor

    from robust_transfer.training.objective import Objective, Step


class Similarity(Term):
    """How far the penultimate features may go from those of the model the run starts from (learning without forgetting,
    as Shafahi et al. 2020, Eq. 3, use it). Those are computed once, of the images as they are.
    """

    slug_part = "+lwf"
    needs = "features"
    looks_at = frozenset({"clean"})

    weight: Positive
    """lambda_d."""
    norm: Literal["l1", "l2"] = "l2"
    """Norm of the difference; the mean over images is taken."""

    def begin(self, training: "Objective") -> Callable[["Step"], "Tensor"]:
        stored = training.source_features
        if stored is None:
            raise UserError("terms.similarity: the run has no stored features; give it some, or leave the term out")

        def term(step: "Step") -> "Tensor":
            target = stored[step.indices.to(stored.device)]
            return self.weight * mean_distance(step.clean.observed.features, target, self.norm)

        return term


def mean_distance(features: "Tensor", source: "Tensor", norm: str) -> "Tensor":
    """Mean over images of the l1 or l2 norm of the difference of N x width features. Shafahi et al. 2020, Eq. 3."""
    import torch

    return torch.linalg.vector_norm(features - source, ord={"l1": 1, "l2": 2}[norm], dim=1).mean()
