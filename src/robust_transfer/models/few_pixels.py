"""Convolutions of images of few pixels, as products with a matrix.

A library's convolution of a few pixels spends its time on what surrounds the arithmetic; worst are the gradients of the
weights (32 to 32 channels of 2 x 2 pixels: 350 microseconds, of which a product takes 90) and of strided inputs. Here
the kernel is written out once for each pixel that it makes, as a matrix of all pixels by all pixels.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

ENTRIES = 1 << 15
"""Of such a matrix, up to which it is the faster and stays in a core's cache: 1 to 8 channels of 8 x 8 pixels, 16 to 32
with a stride of 2 of 4 x 4, 32 to 32 of 2 x 2. Measured on one thread with AVX2, batches of 25 to 250 images."""


def pays(module: nn.Conv2d, height: int, width: int) -> bool:
    """Whether a convolution of images of such a size is faster as a product with one matrix."""
    if not _plain(module) or module.kernel_size == (1, 1):
        return False
    made = math.prod(sides(module, height, width)) * module.out_channels
    return height * width * module.in_channels * made <= ENTRIES


def of_one_pixel(module: nn.Conv2d) -> bool:
    """Whether a convolution's kernel is one pixel, so that it is a product of all pixels with its weight."""
    return _plain(module) and module.kernel_size == (1, 1) and module.padding == (0, 0)


def _plain(module: nn.Conv2d) -> bool:
    return module.groups == 1 and module.padding_mode == "zeros" and not isinstance(module.padding, str)


def flat(images: Tensor) -> Tensor:
    """N x C x H x W -> N x (H W C), a view where channels are last."""
    return images.permute(0, 2, 3, 1).reshape(len(images), -1)


def unflat(rows: Tensor, channels: int, height: int, width: int) -> Tensor:
    """The inverse of `flat`, channels last."""
    return rows.view(len(rows), height, width, channels).permute(0, 3, 1, 2)


def sides(module: nn.Conv2d, height: int, width: int) -> tuple[int, int]:
    """Height and width of what a convolution makes of images of such a size."""
    padding: Any = module.padding  # numbers, no name: see _plain
    settings = zip((height, width), module.kernel_size, module.stride, padding, module.dilation, strict=True)
    high, wide = ((size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in settings)
    return high, wide


def as_matrix(weight: Tensor, carried: Tensor) -> Tensor:
    """A convolution's weight, C_out x C_in x kernel -> (H W C_in) x (H' W' C_out); see `carried`."""
    channels_out, channels_in = weight.shape[:2]
    placed = torch.tensordot(carried, weight.permute(2, 3, 1, 0).reshape(carried.shape[2], -1), 1)
    apart = placed.unflatten(2, (channels_in, channels_out)).transpose(1, 2)
    return apart.reshape(len(carried) * channels_in, -1)


def carried(module: nn.Conv2d, height: int, width: int) -> Tensor:
    """Which entry of a convolution's kernel carries a pixel to a pixel: (H W) x (H' W') x entries, each 0 or 1."""
    return _carried(module.kernel_size, module.stride, module.padding, module.dilation, height, width)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # it is kept for trainings, whoever asks first
def _carried(kernel, stride, padding, dilation, height: int, width: int) -> Tensor:
    entries = math.prod(kernel)
    pixels = torch.eye(height * width).view(-1, 1, height, width)
    found = F.conv2d(pixels, torch.eye(entries).view(-1, 1, *kernel), None, stride, padding, dilation)
    return found.flatten(2).transpose(1, 2).contiguous()


class _Product(torch.autograd.Function):
    """A convolution, without its bias, as a product with its matrix."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, places: Tensor) -> Tensor:
        rows, matrix = flat(images), as_matrix(weight, places)
        ctx.save_for_backward(rows, matrix, places)
        ctx.images, ctx.weight = images.shape, weight.shape
        return rows @ matrix

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, matrix, places = ctx.saved_tensors
        own, of_images, of_weight = gradient, None, None
        if ctx.needs_input_grad[0]:
            _, *shape = ctx.images
            of_images = unflat(own @ matrix.t(), *shape)
        if ctx.needs_input_grad[1]:
            channels_out, channels_in, *kernel = ctx.weight
            apart = (rows.t() @ own).view(len(places), channels_in, -1, channels_out).transpose(1, 2)
            summed = places.flatten(0, 1).t() @ apart.reshape(-1, channels_in * channels_out)
            of_weight = summed.view(*kernel, channels_in, channels_out).permute(3, 2, 0, 1)
        return of_images, of_weight, None


def convolve(module: nn.Conv2d, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What a module's convolution makes of N x C x H x W images, with gradients, on the faster way.

    weight, bias: those of the module, which may be parametrised.
    """
    height, width = images.shape[2:]
    plain = images.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if not plain or not len(images):
        return nn.Conv2d._conv_forward(module, images, weight, bias)
    if of_one_pixel(module) and height * width <= 64:
        seen = images[:, :, :: module.stride[0], :: module.stride[1]].permute(0, 2, 3, 1)
        return F.linear(seen, weight.flatten(1), bias).permute(0, 3, 1, 2)
    if not pays(module, height, width):
        return nn.Conv2d._conv_forward(module, images, weight, bias)
    rows = _Product.apply(images, weight, carried(module, height, width))
    made = unflat(rows, len(weight), *sides(module, height, width))  # out here, so that it may be changed in place
    return made if bias is None else made + bias.view(-1, 1, 1)


@contextmanager
def fast_on_few_pixels(network: nn.Module) -> Iterator[None]:
    """For a while, what trains of a network on the CPU convolves images of few pixels as products.

    What is frozen stays as it is: without gradients of weights a matrix made for one batch does not pay.
    """
    found = (module for module in network.modules() if type(module) is nn.Conv2d)
    modules = [module for module in found if module.weight.requires_grad and module.weight.device.type == "cpu"]
    try:
        for module in modules:
            module._conv_forward = partial(convolve, module)  # type: ignore[method-assign]
        yield
    finally:
        for module in modules:
            del module._conv_forward
