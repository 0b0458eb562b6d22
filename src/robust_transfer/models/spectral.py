"""Non-expansive fine-tuning: CARTL's reparametrisation of the last blocks (Chen et al. 2021, section 5.2)."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from robust_transfer.errors import UserError
from robust_transfer.models.classifier import Classifier


@runtime_checkable
class Averages(Protocol):
    """A residual block that can give the mean of shortcut and branch. averaged: whether it does."""

    averaged: bool


class Scaled(nn.Module):
    """A weight times a number."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, weight: Tensor) -> Tensor:
        """A tensor of any shape -> the same shape."""
        return self.factor * weight


def reparametrise_spectral(network: Classifier, units: int, beta: float, power_iterations: int = 1) -> None:
    """Make the last units of a network non-expansive, in place.

    Every convolution and linear layer of the last `units` units (see Classifier.units) gets the weight
    beta * W / sigma(W) (Eq. 11), where W is a convolution's C_out x (C_in K^2) matrix and sigma its largest singular
    value; W itself is what trains. Residual blocks among these units give the mean of shortcut and branch.

    beta: the spectral norm of every such weight. power_iterations: how many estimate sigma in each forward pass in
        training mode; the vectors begin at random, from torch's global generator, and take 15 steps at once.

    Raises:
        UserError: where the network has fewer units, or blocks among them that cannot average.
    """
    average_residuals(network, units)
    layers = [layer for unit in network.last_units(units) for layer in unit.modules()]
    for layer in (layer for layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)):
        spectral_norm(layer, n_power_iterations=power_iterations)
        # Unsafe only means unchecked: the check would take a power iteration.
        parametrize.register_parametrization(layer, "weight", Scaled(beta), unsafe=True)


def average_residuals(network: Classifier, units: int) -> None:
    """Let the residual blocks among the last `units` units give the mean of shortcut and branch, not their sum.

    Raises:
        ValueError: as reparametrise_spectral.
    """
    blocks = set(network.blocks())
    for unit in (unit for unit in network.last_units(units) if unit in blocks):
        if not isinstance(unit, Averages):
            raise UserError(
                "only the blocks of the families that average residuals can give their mean; lower spectral.units, or "
                "take a network of such a family"
            )
        unit.averaged = True
        network.averaged_units = max(units, network.averaged_units)


def joined(shortcut: Tensor, branch: Tensor, averaged: bool) -> Tensor:
    """What a residual block gives: the sum, or the mean (Cisse et al. 2017, in Chen et al. 2021, section 5.2)."""
    return 0.5 * shortcut + 0.5 * branch if averaged else branch + shortcut


@torch.no_grad()
def set_spectral_norms(network: nn.Module) -> None:
    """Give reparametrised weights the true sigma(W), in place: Eq. 11 then holds exactly.

    Training's power iterations follow the singular vector that was the largest: where another has overtaken it, sigma
    comes out too small (by up to 6 %, measured in the study at digits scale).
    """
    for module in (module for module in network.modules() if parametrize.is_parametrized(module, "weight")):
        of_weight = module.get_submodule("parametrizations.weight")
        assert isinstance(of_weight, parametrize.ParametrizationList)
        left, _, right = torch.linalg.svd(of_weight.original.flatten(1), full_matrices=False)
        of_weight[0].get_buffer("_u").copy_(left[:, 0])
        of_weight[0].get_buffer("_v").copy_(right[0])


@torch.no_grad()
def to_plain_weights(network: nn.Module) -> None:
    """Turn reparametrised weights into plain ones of the value that evaluation mode sees, in place.

    The averaged blocks stay so; the network's file says it.
    """
    for module in list(network.modules()):
        if parametrize.is_parametrized(module):
            parametrised = module.get_submodule("parametrizations").eval()  # or reading takes a power iteration
            for name in [name for name, _ in parametrised.named_children()]:
                parametrize.remove_parametrizations(module, name)
