"""In which numbers networks compute: float32, TF32 products, or bfloat16 where autocast takes it.

Weights, their gradients and steps, batch norm's statistics and losses are kept in float32 in any case; whatever judges
computes in it, too (`exactly`).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from robust_transfer.specs.precision import Precision

BACKEND = "inductor"
"""That compiles blocks; a test takes a quicker one."""
_now: Precision = "float32"


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """For a while, networks compute in this precision, in this process.

    float32: every product in float32, on a GPU too, where torch by itself takes TF32 for convolutions. tf32: products
    of 10 bits' precision on a GPU that has them, summed in float32; on a CPU as float32. bf16: what torch's autocast
    computes in bfloat16, products of 8 bits' precision; the rest as under tf32.
    """
    global _now
    cudnn: Any = torch.backends.cudnn  # torch gives it its parts as it is imported
    before, products = _now, (torch.backends.cuda.matmul, cudnn.conv)
    words = [each.fp32_precision for each in products]
    try:
        _now = precision
        for each in products:
            each.fp32_precision = "ieee" if precision == "float32" else "tf32"
        yield
    finally:
        _now = before
        for each, word in zip(products, words, strict=True):
            each.fp32_precision = word


@contextmanager
def exactly() -> Iterator[None]:
    """For a while, float32: for all that judges, in the midst of an attack's quicker steps, too."""
    convolutions: Any = torch.backends.mkldnn.conv  # type: ignore[attr-defined]
    before = convolutions.fp32_precision
    try:
        with computing_in("float32"):
            convolutions.fp32_precision = "ieee" if before == "bf16" else before
            yield
    finally:
        convolutions.fp32_precision = before


def current() -> Precision:
    """The precision of this moment."""
    return _now


def autocast(images: Tensor) -> AbstractContextManager[object]:
    """What a network's pass of N x C x H x W images is made in; its results are to be made float32 after it."""
    return torch.autocast(images.device.type, torch.bfloat16) if current() == "bf16" else nullcontext()


def as_float(values: Any) -> Any:
    """A tensor, or several, as float32 where they were made in another precision; else untouched, as None is."""
    if current() == "float32" or values is None:
        return values
    return [each.float() for each in values] if isinstance(values, list | tuple) else values.float()


def compile_blocks(blocks: list[nn.Module]) -> None:
    """Have torch compile blocks as they are first used, each by itself: their names and weights stay.

    Forward hooks of a compiled block are not seen later than that.
    """
    for block in blocks:
        block.compile(backend=BACKEND)
