"""Layer-wise adaptive rate scaling, for large batches; neither torch nor torchvision has it."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Lars(Optimizer):
    """Stochastic gradient descent whose step in each layer is a share of the length of the layer's weights.

    You et al. 2017, algorithm 1: v <- momentum v + lr r (g + weight_decay w) and w <- w - v, with
    r = trust |w| / (|g| + weight_decay |w|). Biases and batch norm's weights take plain steps (r = 1) without weight
    decay, as in the code of SimCLR (Chen et al. 2020). A layer whose weights or gradient are all zero has r = 1.

    trust: the paper's eta. Velocities are kept as `momentum_buffer`, the name that torch's SGD has for its own.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step with the gradients as they are; returns the closure's loss."""
        loss = None
        if closure:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad, group)
        return loss

    def _step(self, parameter: Tensor, step: Tensor, group: dict) -> None:
        if parameter.ndim > 1:
            decay = group["weight_decay"]
            length, slope = parameter.norm(), step.norm()
            ratio = group["trust"] * length / (slope + decay * length)
            ratio = torch.where((length > 0) & (slope > 0), ratio, 1.0)
            step = ratio * step.add(parameter, alpha=decay)
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        velocity = state["momentum_buffer"].mul_(group["momentum"]).add_(step, alpha=group["lr"])
        parameter.sub_(velocity)
