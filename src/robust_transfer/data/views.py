"""Two random views of every image of a batch, on its device, as SimCLR wants them (Chen et al. 2020, appendix A).

All draws are from torch's global generator of the CPU, so that a seed means the same views on every device.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from robust_transfer.data.augment import random_flip

JITTERED, GREYED = 0.8, 0.2
"""Probabilities of a colour jitter, and of a colour image turned grey."""
LUMINANCE = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R BT.601)."""
BLURRED = 0.5
"""Probability of a blur, of images larger than SMALL pixels: the paper has none on CIFAR (appendix B.9)."""
SMALL = 32
DEVIATIONS = (0.1, 2.0)
"""Of a blur, in pixels; its window is a tenth of the image."""
ATTEMPTS = 10
"""Boxes that are tried for a crop until one lies within the image; torchvision tries as many."""


def two_views(images: Tensor, strength: float, smallest: float, flip: bool) -> tuple[Tensor, Tensor]:
    """Two independent views of each image: cropped and resized, mirrored, jittered, turned grey, blurred.

    images: N x C x H x W float pixels in [0, 1]; so are both views. Or N x 2 x C x H x W: two crops of each image.
    Grey images (C other than 3) are jittered in brightness and contrast alone.

    strength: s of the paper's colour distortion. smallest: least share of the image's area that a crop shows.
    flip: mirror half of the views; wrong for digits and letters.
    """

    def view(which: int) -> Tensor:
        seen = images[:, which] if images.dim() == 5 else random_resized_crop(images, smallest)
        if flip:
            seen = random_flip(seen)
        seen = torch.where(_drawn(seen, JITTERED), jitter(seen, strength), seen)
        if _in_colour(seen):
            seen = torch.where(_drawn(seen, GREYED), _grey(seen).expand_as(seen), seen)
        if min(seen.shape[2:]) > SMALL:
            deviations = torch.empty(len(seen)).uniform_(*DEVIATIONS)
            seen = torch.where(_drawn(seen, BLURRED), blur(seen, deviations), seen)
        return seen

    return view(0), view(1)


def blur(images: Tensor, deviations: Tensor) -> Tensor:
    """N x C x H x W pixels, each image under a Gaussian of its own standard deviation (N, in pixels).

    The window is a tenth of the shorter side to either way and back, as in the authors' code: 23 pixels of 224.
    """
    n, channels, height, width = images.shape
    radius = min(height, width) // 20
    offsets = torch.arange(-radius, radius + 1)
    window = torch.exp(-(offsets**2) / (2 * deviations[:, None] ** 2))
    window = (window / window.sum(1, keepdim=True)).to(images).repeat_interleave(channels, 0)
    # Every channel of every image is a channel of one image, with a window of its own: down, then across.
    seen = F.pad(images.reshape(1, -1, height, width), (radius,) * 4, mode="reflect")
    seen = F.conv2d(seen, window[:, None, :, None], groups=n * channels)
    return F.conv2d(seen, window[:, None, None, :], groups=n * channels).view_as(images)


def random_resized_crop(images: Tensor, smallest: float, size: int | None = None) -> Tensor:
    """A random box of each image (N x C x H x W float pixels), stretched to its size, or to size x size, bilinear.

    Szegedy et al. 2015: the box's area is uniform in [smallest, 1] of the image's, its aspect ratio log-uniform in
    [3/4, 4/3], its position uniform. Boxes are not rounded to whole pixels, which small images would feel.
    """
    n, channels, height, width = images.shape
    area = smallest + (1 - smallest) * torch.rand(ATTEMPTS, n)
    ratio = torch.exp(math.log(4 / 3) * (2 * torch.rand(ATTEMPTS, n) - 1)) * height / width
    boxes = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], -1)  # width and height, in parts of the image's
    fits = (boxes <= 1).all(-1)
    box = boxes[fits.int().argmax(0), torch.arange(n)]
    box = torch.where(fits.any(0)[:, None], box, 1.0)
    centre = (1 - box) * (2 * torch.rand(n, 2) - 1)  # in coordinates from -1 to 1
    theta = torch.cat([torch.diag_embed(box), centre[:, :, None]], 2).to(images)
    grid = F.affine_grid(theta, [n, channels, size or height, size or width], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def jitter(images: Tensor, strength: float) -> Tensor:
    """Brightness, contrast, saturation and hue, each changed at random for each image, in a random order for the batch.

    The first three by factors uniform in [max(0, 1 - 0.8 s), 1 + 0.8 s], the hue by up to 0.2 s of a turn.
    """
    changes: list[Callable[[Tensor], Tensor]] = [
        lambda x: _blend(x, 0.0, _factor(x, 0.8 * strength)),
        lambda x: _blend(x, _grey(x).mean((1, 2, 3), keepdim=True), _factor(x, 0.8 * strength)),
    ]
    if _in_colour(images):
        changes.append(lambda x: _blend(x, _grey(x), _factor(x, 0.8 * strength)))
        changes.append(lambda x: turn_hue(x, _factor(x, min(0.2 * strength, 0.5)) - 1))
    for index in torch.randperm(len(changes)).tolist():
        images = changes[index](images)
    return images


def turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """N x 3 x H x W pixels with hues moved by N x 1 x 1 x 1 parts of a full turn; value and saturation (HSV) stay."""
    red, green, blue = images.split(1, 1)
    highest, lowest = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    chroma = highest - lowest
    unit = torch.where(chroma > 0, chroma, 1.0)  # grey pixels have no hue, and keep their colour whatever is found
    hue = torch.where(green == highest, blue - red + 2 * unit, red - green + 4 * unit)
    hue = torch.where(red == highest, green - blue, hue) / unit + 6 * turn  # in sixths of a turn, red being 0
    distance = (hue + torch.tensor([5.0, 3.0, 1.0], device=images.device).view(3, 1, 1)) % 6
    return highest - chroma * torch.minimum(distance, 4 - distance).clamp(0, 1)


def _in_colour(images: Tensor) -> bool:
    return images.shape[1] == 3


def _grey(images: Tensor) -> Tensor:
    """N x 1 x H x W luminance; of grey images their mean over channels."""
    if not _in_colour(images):
        return images.mean(1, keepdim=True)
    return (images * torch.tensor(LUMINANCE, device=images.device).view(3, 1, 1)).sum(1, keepdim=True)


def _blend(images: Tensor, other: Tensor | float, factor: Tensor) -> Tensor:
    return (factor * images + (1 - factor) * other).clamp(0, 1)


def _factor(images: Tensor, spread: float) -> Tensor:
    low, high = max(0.0, 1 - spread), 1 + spread
    return (low + (high - low) * torch.rand(len(images), 1, 1, 1)).to(images)


def _drawn(images: Tensor, probability: float) -> Tensor:
    return (torch.rand(len(images), 1, 1, 1) < probability).to(images.device)
