"""An iteration on a part of its batch, as if the whole were there: on several devices, or part by part in turn.

What is drawn at random for images is drawn for all of the batch, and a part takes its own rows; batch norm's statistics
are those of the parts that are computed at the same time. So the parts' gradients, in the mean, are those of the whole.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from robust_transfer.data.batches import Part

Gather = Callable[[Tensor], list[Tensor]]
"""A tensor of each device -> those of all devices, in order."""

_FILLING = {
    getattr(Tensor, name)
    for name in ("uniform_", "normal_", "bernoulli_", "random_", "exponential_", "log_normal_", "cauchy_")
}
_LIKE = {torch.rand_like, torch.randn_like, torch.randint_like}
_OF_SIZE = {torch.rand, torch.randn}
_DROPPING = {F.dropout: None, F.dropout2d: 2}
"""Of each kind of dropout, after how many dimensions a draw counts for all that follows."""


class AsPart(TorchFunctionMode):
    """Within the block, what is called in torch with rows of a part acts as in the whole batch.

    rows: how many images the part has. A draw whose first dimension is that, or several times that (copies of the
        part one after another), or whose second is that, is one for images; any other is the same for all parts.
    gather: of the devices that compute at the same time; None where there is one.
    """

    def __init__(self, part: Part, rows: int, gather: Gather | None = None):
        super().__init__()
        self.part, self.rows, self.gather = part, rows, gather

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.part.count > 1:
            if func in _FILLING and (dim := self._images(args[0].shape)) is not None:
                whole = func(self._empty(args[0].shape, dim, args[0]), *args[1:], **kwargs)
                return args[0].copy_(self._own(whole, dim))
            if func in _LIKE and (dim := self._images(args[0].shape)) is not None:
                return self._own(func(self._empty(args[0].shape, dim, args[0]), *args[1:], **kwargs), dim)
            if func in _OF_SIZE and (dim := self._images(size := _size(args, kwargs))) is not None:
                named = {name: value for name, value in kwargs.items() if name != "size"}
                return self._own(func(self._whole(size, dim), **named), dim)
            if func in _DROPPING:
                return self._dropped(func, *args, **kwargs)
        if func is F.batch_norm and self.gather:
            return self._normalised(*args, **kwargs)
        return func(*args, **kwargs)

    def _images(self, shape: Any) -> int | None:
        """The dimension of a draw that counts images."""
        if len(shape) and shape[0] and shape[0] % self.rows == 0:
            return 0
        return 1 if len(shape) > 1 and shape[1] == self.rows else None

    def _whole(self, shape: Any, dim: int) -> list[int]:
        return [size * self.part.count if i == dim else size for i, size in enumerate(shape)]

    def _empty(self, shape: Any, dim: int, like: Tensor) -> Tensor:
        return torch.empty(self._whole(shape, dim), dtype=like.dtype, device=like.device)

    def _own(self, whole: Tensor, dim: int) -> Tensor:
        """Of as many copies of the batch as there are, the part's rows."""
        apart = whole.unflatten(dim, (-1, self.part.count, self.rows))
        return apart.select(dim + 1, self.part.index).flatten(dim, dim + 1)

    def _dropped(
        self, func: Any, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        """As torch's on a CPU, draw for draw."""
        if not training or p in (0, 1) or self._images(input.shape) != 0:
            return func(input, p, training, inplace)
        kept = _DROPPING[func]
        shape = input.shape if kept is None else (*input.shape[:kept], *([1] * (input.dim() - kept)))
        noise = self._own(self._empty(shape, 0, input).bernoulli_(1 - p), 0).div_(1 - p)
        return input.mul_(noise) if inplace else input * noise

    def _normalised(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """F.batch_norm, with the statistics of all devices' rows."""
        if not training or self.gather is None:
            return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
        mean, variance, count = _statistics(input.detach(), self.gather)
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * (count / (count - 1))).to(running_var.dtype), momentum)
        return _Normalise.apply(input, weight, bias, mean, (variance + eps).rsqrt(), count, self.gather)


def _size(args: Any, kwargs: Any) -> Any:
    """The shape that torch.rand and its like are asked for."""
    given = kwargs.get("size", args)
    return given[0] if len(given) == 1 and not isinstance(given[0], int) else given


def _statistics(images: Tensor, gather: Gather) -> tuple[Tensor, Tensor, int]:
    """Mean and variance (C, float32) over all devices' N x C x ... values of a channel, and how many these are."""
    over = [d for d in range(images.dim()) if d != 1]
    variance, mean = torch.var_mean(images.float(), over, correction=0)
    all_of = torch.stack(gather(torch.stack([mean, variance])))  # as many values on each: see training.ranks
    means, variances = all_of[:, 0], all_of[:, 1]
    mean = means.mean(0)
    return (
        mean,
        variances.mean(0) + (means - mean).square().mean(0),
        len(all_of) * math.prod(images.shape[d] for d in over),
    )


class _Normalise(torch.autograd.Function):
    """(x - mean) / deviation * weight + bias of N x C x ... values, whose gradient goes through the statistics of all
    devices' values; of weight and bias it is this device's own part. deviation comes inverted.
    """

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        inverse: Tensor,
        count: int,
        gather: Gather,
    ) -> Tensor:
        ctx.save_for_backward(images, weight, mean, inverse)
        ctx.count, ctx.gather = count, gather
        one = _of_channels(images)
        scale = inverse if weight is None else inverse * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        return (images * one(scale) + one(shift)).to(images.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, mean, inverse = ctx.saved_tensors
        one, over = _of_channels(images), [d for d in range(images.dim()) if d != 1]
        gradient = gradient.float()
        standard = (images - one(mean)) * one(inverse)
        sums = torch.stack([gradient.sum(over), (gradient * standard).sum(over)])
        means = torch.stack(ctx.gather(sums)).sum(0) / ctx.count
        scale = inverse if weight is None else inverse * weight
        of_images = one(scale) * (gradient - one(means[0]) - standard * one(means[1]))
        of_weight, of_bias = (sums[1], sums[0]) if weight is not None else (None, None)
        return of_images.to(images.dtype), of_weight, of_bias, None, None, None, None


def _of_channels(images: Tensor) -> Callable[[Tensor], Tensor]:
    """C values as they are added to or multiplied with N x C x ... ones."""
    return lambda values: values.view(-1, *([1] * (images.dim() - 2)))
