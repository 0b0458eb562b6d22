"""The terms that the papers add to the cross entropy, unweighted."""

import math

import torch
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


def similarity(features: Tensor, source: Tensor, norm: str) -> Tensor:
    """Mean over images of the l1 or l2 norm of the difference of N x width features. Shafahi et al. 2020, Eq. 3."""
    return torch.linalg.vector_norm(features - source, ord={"l1": 1, "l2": 2}[norm], dim=1).mean()


def feature_distance(clean: Tensor, adversarial: Tensor, reduction: str) -> Tensor:
    """The l2 norm of the difference of two N x ... inputs of a unit, by the root of their d elements; summed over the
    images, or in the mean. Chen et al. 2021, Eq. 10.
    """
    difference = (clean - adversarial).flatten(1)
    distance = torch.linalg.vector_norm(difference, dim=1) / math.sqrt(difference.shape[1])
    return distance.sum() if reduction == "sum" else distance.mean()
