"""What stands on the features: a linear layer, or a perceptron of several."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn

HeadWeights = Literal["default", "uniform01"]


class MlpHead(nn.Sequential):
    """Hidden layers, each linear - batch norm (optional) - ReLU - dropout (optional), and a last linear layer; without
    hidden layers, dropout and a linear layer.

    N x width features -> N x classes logits. Shafahi et al. 2020, section 4.2.1 and figure 4 (2048 neurons a layer,
    dropout 0.25); they don't name the activation nor the order, ReLU and this one are ours.

    hidden: neurons of each hidden layer. dropout: probability.
    """

    def __init__(self, width: int, classes: int, hidden: Sequence[int], batch_norm: bool = False, dropout: float = 0.0):
        layers: list[nn.Module] = []
        for neurons in hidden:
            layers.append(nn.Linear(width, neurons))
            if batch_norm:
                layers.append(nn.BatchNorm1d(neurons))
            layers.append(nn.ReLU())
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = neurons
        if dropout and not hidden:
            layers.append(nn.Dropout(dropout))
        super().__init__(*layers, nn.Linear(width, classes))
        self.form = {"hidden": list(hidden), "batch_norm": batch_norm, "dropout": dropout}


def new_head(
    width: int,
    classes: int,
    hidden: Sequence[int] = (),
    batch_norm: bool = False,
    dropout: float = 0.0,
    weights: HeadWeights = "default",
) -> nn.Linear | MlpHead:
    """A head for features of length `width`: linear where there is no hidden layer and no dropout, else an MlpHead.

    weights: PyTorch's default initialisation, or uniform01: every linear layer's weights and biases from U[0, 1), as
        the code of CARTL (Chen et al. 2021) has it. Both are drawn from torch's global generator.

    Raises:
        ValueError: where batch norm is wanted without a hidden layer.
    """
    if not hidden and batch_norm:
        raise ValueError("batch norm belongs to hidden layers, and the head has none")
    plain = not (hidden or dropout)
    head = nn.Linear(width, classes) if plain else MlpHead(width, classes, hidden, batch_norm, dropout)
    if weights == "uniform01":
        with torch.no_grad():
            for layer in (module for module in head.modules() if isinstance(module, nn.Linear)):
                layer.weight.uniform_()
                layer.bias.uniform_()
    return head


def form_of(head: nn.Module) -> dict[str, Any]:
    """What new_head needs besides width and classes to make a head of the same form: nothing for a linear one."""
    return head.form if isinstance(head, MlpHead) else {}
