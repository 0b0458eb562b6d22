"""The stored form of adversarial images: 16-bit fixed point, in which a budget is kept and checked exactly.

A stored value is the pixel times 65,535, so that a clean 8-bit image v is exactly 257 v. A unit is 1/65,535
of the pixel range. All budget arithmetic is on integers.
"""

import math
from typing import Literal, Protocol

import torch
from torch import Tensor

ONE = 65535
"""Units in the pixel range [0, 1]."""

CHUNK = 1024
"""Images looked at together: int32 and int64 copies of a whole set would take gigabytes."""


class Threat(Protocol):
    """norm: the ball's norm. eps: its radius, in pixels of [0, 1]."""

    @property
    def norm(self) -> Literal["linf", "l2"]: ...

    @property
    def eps(self) -> float: ...


class BudgetError(ValueError):
    """An image lies outside its budget, or isn't an image at all."""


def quantise(adversarial: Tensor, clean: Tensor, threat: Threat) -> Tensor:
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
    if _is_normalised(threat):
        low, high = _interval(clean, threat)
        _refuse_beyond(rounded, low, high, threat, slack=1)
        return rounded.clamp(low, high).to(torch.uint16)
    centre = _centre(clean)
    offset = rounded - centre
    # At most half a unit a pixel, and another half where eps is no whole number of units.
    slack = 1.0 if threat.norm == "linf" else 0.5 * math.sqrt(offset[0].numel()) + 0.5 if len(offset) else 0.0
    _refuse_outside(_size(offset, threat), threat, slack=slack)
    if threat.norm == "linf":
        offset = offset.clamp(-_linf_limit(threat), _linf_limit(threat))
    else:
        offset = _shrink(offset, threat)
    return (centre + offset).to(torch.uint16)


def check_budget(adversarial: Tensor, clean: Tensor, threat: Threat) -> None:
    """Stored images (uint16) and their clean images (uint8), N x C x H x W: within the budget, or an error.

    Raises:
        BudgetError: naming the first image outside, its distance and the excess.
    """
    if adversarial.dtype != torch.uint16 or clean.dtype != torch.uint8:
        raise BudgetError(f"uint16 images and uint8 clean images are wanted, not {adversarial.dtype} and {clean.dtype}")
    _same_shape(adversarial, clean)
    for first in range(0, len(clean), CHUNK):
        part = slice(first, first + CHUNK)
        if _is_normalised(threat):
            _refuse_beyond(adversarial[part].to(torch.int32), *_interval(clean[part], threat), threat, first)
            continue
        offset = adversarial[part].to(torch.int32) - _centre(clean[part])
        _refuse_outside(_size(offset, threat), threat, first)


def to_float(images: Tensor) -> Tensor:
    """Stored images (uint16) or 8-bit images (uint8) -> float32 pixels in [0, 1]; 257 v and v give equal bits."""
    whole = {torch.uint16: 65535.0, torch.uint8: 255.0}.get(images.dtype)
    if whole is None:
        raise TypeError(f"uint16 or uint8 images are wanted, not {images.dtype}")
    # The divisor is a tensor because on CUDA a number would become a multiplication by its rounded reciprocal.
    return images.to(torch.float32) / torch.full((1,), whole, device=images.device)


def _is_normalised(threat: Threat) -> bool:
    return getattr(threat, "space", "pixels") == "normalised"


def _interval(clean: Tensor, threat: Threat) -> tuple[Tensor, Tensor]:
    """The lowest and highest allowed units (int32) of each pixel, where eps and a clip are in normalised units.

    A clip moves pixels that lie beyond it by more than eps; what leaves [0, 1] is cut, as no image can hold it.
    """

    def a_channel(value: float | list[float]) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64, device=clean.device).reshape(-1, 1, 1)

    mean, std = a_channel(threat.mean), a_channel(threat.std)
    centre = _centre(clean).double()
    low, high = centre - threat.eps * std * ONE, centre + threat.eps * std * ONE
    if threat.clip:
        bounds = (mean - threat.clip * std) * ONE, (mean + threat.clip * std) * ONE
        low, high = (torch.minimum(torch.maximum(x, bounds[0]), bounds[1]) for x in (low, high))
    low = (low.clamp(0, ONE) - 1e-6).ceil().to(torch.int32)
    high = (high.clamp(0, ONE) + 1e-6).floor().to(torch.int32)
    return low, torch.maximum(low, high)  # a clip between two units leaves no unit in between


def _refuse_beyond(units: Tensor, low: Tensor, high: Tensor, threat: Threat, first: int = 0, slack: int = 0) -> None:
    """Raise for the first of the images, numbered from `first` on, with a pixel out of its interval by over slack."""
    excess = torch.maximum(low - units, units - high).flatten(1)
    if (outside := excess.amax(1) > slack).any():
        worst = int(outside.nonzero()[0])
        raise BudgetError(
            f"image {first + worst} lies outside its {threat.norm} budget of eps {threat.eps:.6g} in normalised units: "
            f"a pixel is {int(excess[worst].max())} units of 1/65535 too far"
        )


def _centre(clean: Tensor) -> Tensor:
    return clean.to(torch.int32) * 257


def _linf_limit(threat: Threat) -> int:
    # 8/255, written out to a dozen digits, lies a hair under 8 * 257 units.
    return math.floor(min(threat.eps, 1.0) * ONE + 1e-6)


def _l2_limit_squared(threat: Threat) -> int:
    # Capped where int64 ends, a distance that no image reaches.
    return math.floor(min((threat.eps * ONE) ** 2 * (1 + 1e-12), 2.0**62))


def _size(offset: Tensor, threat: Threat) -> Tensor:
    """N x ... int32 offsets -> N int64: the largest offset (linf), or the sum of their squares (l2)."""
    flat = offset.flatten(1).to(torch.int64)
    return flat.abs().amax(1) if threat.norm == "linf" else flat.square().sum(1)


def _refuse_outside(size: Tensor, threat: Threat, first: int = 0, slack: float = 0.0) -> None:
    """Raise for the first of the images, numbered from `first` on, whose size is over the limit by more than slack."""
    if threat.norm == "linf":
        limit = _linf_limit(threat)
        outside = size > limit + slack
    else:
        limit = _l2_limit_squared(threat)
        # Without slack the comparison is one of integers.
        outside = size > ((math.sqrt(limit) + slack) ** 2 if slack else limit)
    if not outside.any():
        return
    worst = int(outside.nonzero()[0])
    far, wide = (size[worst].item(), limit) if threat.norm == "linf" else (math.sqrt(size[worst]), math.sqrt(limit))
    others = f"; {int(outside.sum()) - 1} more images are" if outside.sum() > 1 else ""
    raise BudgetError(
        f"image {first + worst} lies outside its {threat.norm} budget of eps {threat.eps:.6g}: it is {far:.10g} units "
        f"of 1/65535 from its clean image, {far - wide:.3g} more than the {wide:.10g} allowed{others}"
    )


def _shrink(offset: Tensor, threat: Threat) -> Tensor:
    """l2: offsets scaled and rounded again, image by image, until the sum of their squares is within the limit."""
    limit = _l2_limit_squared(threat)
    wanted = offset.to(torch.float64)
    while (outside := (size := _size(offset, threat)) > limit).any():
        # A hair more than needed, so that it ends. Rounding towards zero would do it at once, but waste budget.
        scale = (limit / size[outside].double()).sqrt() * (1 - 1e-6)
        wanted[outside] *= scale.view(-1, *[1] * (offset.ndim - 1))
        offset = wanted.round().to(torch.int32)
    return offset


def _same_shape(adversarial: Tensor, clean: Tensor) -> None:
    if adversarial.shape != clean.shape:
        raise BudgetError(
            f"{tuple(adversarial.shape)} adversarial images don't match {tuple(clean.shape)} clean images"
        )
