"""Weight decay of the head alone."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from robust_transfer.specs.fields import Positive
from robust_transfer.specs.terms import Term

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robust_transfer.training.objective import Objective, Step


class HeadPenalty(Term):
    """The squared length of the head's weights and biases (Chin et al. 2020, below Eq. 1)."""

    function_of = "weights"
    rank = 1

    weight: Positive
    """beta."""

    def begin(self, training: "Objective") -> Callable[["Step"], "Tensor"]:
        head = training.network.head
        return lambda _: self.weight * squared_length(head)


def squared_length(head: "nn.Module") -> "Tensor":
    """Squared length of the head's weights and biases. Chin et al. 2020, below Eq. 1."""
    import torch

    return sum((p.square().sum() for p in head.parameters()), start=torch.zeros(()))
