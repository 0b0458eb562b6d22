"""The terms that the papers add to the cross entropy, unweighted."""

import torch.nn.functional as F
from torch import Tensor, nn


def feature_distillation(stages: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """Sum over the stages of the mean squared difference (over images and elements) of two networks' stage outputs.

    stages, wanted: for each stage N x C x H x W. Chin et al. 2020, Eq. 3, with n_l elements a stage.

    Raises:
        ValueError: where the networks differ in their stages.
    """
    shapes = [tuple(stage.shape) for stage in stages], [tuple(stage.shape) for stage in wanted]
    if shapes[0] != shapes[1]:
        raise ValueError(f"the stages' outputs have shapes {shapes[0]}, the teacher's {shapes[1]}")
    return sum(F.mse_loss(stage, target) for stage, target in zip(stages, wanted, strict=True))


def start_distance(network: nn.Module, start: dict[str, Tensor]) -> Tensor:
    """Squared length of the weights' difference from `start` (parameter name -> tensor). Chin et al. 2020, Eq. 2."""
    return sum((p - start[name]).square().sum() for name, p in network.named_parameters() if name in start)


def head_penalty(head: nn.Module) -> Tensor:
    """Squared length of the head's weights and biases. Chin et al. 2020, below Eq. 1."""
    return sum(p.square().sum() for p in head.parameters())
