"""The distance from the start: L2-SP."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from robust_transfer.specs.fields import Positive
from robust_transfer.specs.terms import Term

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robust_transfer.training.objective import Objective, Step


class StartDistance(Term):
    """The squared distance of the weights from those that the run began with (L2-SP, Li et al. 2018; Chin et al. 2020,
    Eq. 2). May be written as its weight alone.
    """

    slug_part = "+l2sp"
    function_of = "weights"
    needs = "start"

    weight: Positive
    """lambda."""
    head: bool = False
    """Whether a new head counts too, which the paper leaves out and the code of Chin et al. does not."""

    @classmethod
    def number_field(cls) -> str:
        return "weight"

    def begin(self, training: "Objective") -> Callable[["Step"], "Tensor"]:
        network = training.network
        left_out = set() if self.head else {f"head.{name}" for name, _ in network.head.named_parameters()}
        moving = [(name, p) for name, p in network.named_parameters() if p.requires_grad and name not in left_out]
        start = {name: p.detach().clone() for name, p in moving}
        return lambda _: self.weight * squared_distance(network, start)


def squared_distance(network: "nn.Module", start: Mapping[str, "Tensor"]) -> "Tensor":
    """Squared length of the weights' difference from `start` (parameter name -> tensor). Chin et al. 2020, Eq. 2."""
    import torch

    parts = ((p - start[name]).square().sum() for name, p in network.named_parameters() if name in start)
    return sum(parts, start=torch.zeros(()))
