"""The stored form of adversarial images: 16-bit fixed point, in which a budget is kept and checked exactly.

A stored value is the pixel times 65,535, so that a clean 8-bit image v is exactly 257 v. A unit is 1/65,535
of the pixel range. All budget arithmetic is on integers.
"""

import math

import torch
from torch import Tensor

from robust_transfer.specs.attacks import Attack

ONE = 65535
"""Units in the pixel range [0, 1]."""

CHUNK = 1024
"""Images looked at together: int32 and int64 copies of a whole set would take gigabytes."""


class BudgetError(ValueError):
    """An image lies outside its budget, or isn't an image at all."""


def quantise(adversarial: Tensor, clean: Tensor, attack: Attack) -> Tensor:
    """N x C x H x W float pixels -> stored form (uint16), within the budget around the clean images.

    clean: uint8, same shape, on the same device.

    Where rounding broke the budget, it is mended: linf offsets are cut, l2 offsets shrunk, in integers. An attack that
    left its budget is not mended but refused.

    Raises:
        BudgetError: where an image is further out than rounding explains, or not finite.
    """
    _same_shape(adversarial, clean)
    if not adversarial.isfinite().all():
        raise BudgetError("an adversarial image holds values that are not finite")
    rounded = (adversarial.clamp(0, 1) * ONE).round().to(torch.int32)
    if interval := attack.interval(clean):
        low, high = interval
        _refuse_beyond(rounded, low, high, attack, slack=1)
        return rounded.clamp(low, high).to(torch.uint16)
    centre = units(clean)
    offset = rounded - centre
    # At most half a unit a pixel, and another half where eps is no whole number of units.
    slack = 1.0 if attack.norm == "linf" else 0.5 * math.sqrt(offset[0].numel()) + 0.5 if len(offset) else 0.0
    _refuse_outside(_size(offset, attack), attack, slack=slack)
    if attack.norm == "linf":
        offset = offset.clamp(-_linf_limit(attack), _linf_limit(attack))
    else:
        offset = _shrink(offset, attack)
    return (centre + offset).to(torch.uint16)


def check_budget(adversarial: Tensor, clean: Tensor, attack: Attack, begin: int = 0) -> None:
    """Stored images (uint16) and their clean images (uint8), N x C x H x W: within the budget, or an error.

    begin: the number of the first of them in its set.

    Raises:
        BudgetError: naming the first image outside, its distance and the excess.
    """
    if adversarial.dtype != torch.uint16 or clean.dtype != torch.uint8:
        raise BudgetError(f"uint16 images and uint8 clean images are wanted, not {adversarial.dtype} and {clean.dtype}")
    _same_shape(adversarial, clean)
    for first in range(0, len(clean), CHUNK):
        part = slice(first, first + CHUNK)
        if interval := attack.interval(clean[part]):
            _refuse_beyond(adversarial[part].to(torch.int32), *interval, attack, begin + first)
            continue
        offset = adversarial[part].to(torch.int32) - units(clean[part])
        _refuse_outside(_size(offset, attack), attack, begin + first)


def to_float(images: Tensor) -> Tensor:
    """Stored images (uint16) or 8-bit images (uint8) -> float32 pixels in [0, 1]; 257 v and v give equal bits."""
    largest = {torch.uint16: 65535.0, torch.uint8: 255.0}.get(images.dtype)
    if largest is None:
        raise TypeError(f"uint16 or uint8 images are wanted, not {images.dtype}")
    # The divisor is a tensor because on CUDA a number would become a multiplication by its rounded reciprocal.
    return images.to(torch.float32) / torch.full((1,), largest, device=images.device)


def units(clean: Tensor) -> Tensor:
    """8-bit images (uint8) in units: int32."""
    return clean.to(torch.int32) * 257


def _refuse_beyond(found: Tensor, low: Tensor, high: Tensor, attack: Attack, first: int = 0, slack: int = 0) -> None:
    """Raise for the first of the images, numbered from `first` on, with a pixel out of its interval by over slack."""
    excess = torch.maximum(low - found, found - high).flatten(1)
    if (outside := excess.amax(1) > slack).any():
        worst = int(outside.nonzero()[0])
        raise BudgetError(
            f"image {first + worst} lies outside its {attack.norm} budget of eps {attack.eps:.6g} in normalised units: "
            f"a pixel is {int(excess[worst].max())} units of 1/65535 too far"
        )


def _linf_limit(attack: Attack) -> int:
    # 8/255, written out to a dozen digits, lies a hair under 8 * 257 units.
    return math.floor(min(attack.eps, 1.0) * ONE + 1e-6)


def _l2_limit_squared(attack: Attack) -> int:
    # Capped where int64 ends, a distance that no image reaches.
    return math.floor(min((attack.eps * ONE) ** 2 * (1 + 1e-12), 2.0**62))


def _size(offset: Tensor, attack: Attack) -> Tensor:
    """N x ... int32 offsets -> N int64: the largest offset (linf), or the sum of their squares (l2)."""
    flat = offset.flatten(1).to(torch.int64)
    return flat.abs().amax(1) if attack.norm == "linf" else flat.square().sum(1)


def _refuse_outside(size: Tensor, attack: Attack, first: int = 0, slack: float = 0.0) -> None:
    """Raise for the first of the images, numbered from `first` on, whose size is over the limit by more than slack."""
    if attack.norm == "linf":
        limit = _linf_limit(attack)
        outside = size > limit + slack
    else:
        limit = _l2_limit_squared(attack)
        # Without slack the comparison is one of integers.
        outside = size > ((math.sqrt(limit) + slack) ** 2 if slack else limit)
    if not outside.any():
        return
    worst = int(outside.nonzero()[0])
    far, wide = (size[worst].item(), limit) if attack.norm == "linf" else (math.sqrt(size[worst]), math.sqrt(limit))
    others = f"; {int(outside.sum()) - 1} more images are" if outside.sum() > 1 else ""
    raise BudgetError(
        f"image {first + worst} lies outside its {attack.norm} budget of eps {attack.eps:.6g}: it is {far:.10g} units "
        f"of 1/65535 from its clean image, {far - wide:.3g} more than the {wide:.10g} allowed{others}"
    )


def _shrink(offset: Tensor, attack: Attack) -> Tensor:
    """l2: offsets scaled and rounded again, image by image, until the sum of their squares is within the limit."""
    limit = _l2_limit_squared(attack)
    exact = offset.to(torch.float64)
    while (outside := (size := _size(offset, attack)) > limit).any():
        # A hair more than needed, so that it ends. Rounding towards zero would do it at once, but waste budget.
        scale = (limit / size[outside].double()).sqrt() * (1 - 1e-6)
        exact[outside] *= scale.view(-1, *[1] * (offset.ndim - 1))
        offset = exact.round().to(torch.int32)
    return offset


def _same_shape(adversarial: Tensor, clean: Tensor) -> None:
    if adversarial.shape != clean.shape:
        raise BudgetError(
            f"{tuple(adversarial.shape)} adversarial images don't match {tuple(clean.shape)} clean images"
        )
