"""Single image files: decoded, cropped at the centre for measuring, cropped at random for training."""

import io
import math
import struct
from random import Random

import numpy as np
from PIL import Image

from robust_transfer.errors import UserError

DAMAGES = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, Image.DecompressionBombError)
"""What PIL raises on files that are no whole image."""

AREA = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
"""Random crops: share of the image's area, and width to height; drawn as torchvision's RandomResizedCrop does."""
ATTEMPTS = 10


def rgb(content: bytes) -> Image.Image:
    """An image file's pixels as RGB.

    Raises:
        One of DAMAGES.
    """
    with Image.open(io.BytesIO(content)) as image:
        return image.convert("RGB")


def whole(content: bytes, name: object, remedy: str) -> Image.Image:
    """The same for a file that may be damaged.

    Raises:
        UserError: that names the file and the remedy.
    """
    try:
        return rgb(content)
    except DAMAGES:
        raise UserError(f"{name} is no whole image; {remedy}") from None


def centre(image: Image.Image, resize: int, size: int) -> np.ndarray:
    """Scaled to `resize` pixels by the shorter side, then the middle `size` x `size` of it (H x W x 3 uint8)."""
    from torchvision.transforms.v2.functional import center_crop
    from torchvision.transforms.v2.functional import resize as scale

    return np.asarray(center_crop(scale(image, [resize]), [size, size]))


def random_crop(image: Image.Image, size: int, flip: bool, seed: int) -> np.ndarray:
    """A random crop, scaled to `size` x `size` (H x W x 3 uint8); if `flip`, mirrored left to right half of the time.

    All draws come from `seed`, and the crop is the same with and without `flip`.
    """
    random = Random(seed)
    left, top, width, height = crop_box(*image.size, random)
    cropped = image.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(cropped)
    mirrored = random.random() < 0.5
    return pixels[:, ::-1] if flip and mirrored else pixels


def crop_box(width: int, height: int, random: Random) -> tuple[int, int, int, int]:
    """(left, top, width, height) of a crop of random area and ratio at a random place; the middle where none fits.

    Only random.random() is asked, whose values for a seed are the same in every version of Python.
    """
    for _ in range(ATTEMPTS):
        area = width * height * (AREA[0] + (AREA[1] - AREA[0]) * random.random())
        ratio = math.exp(math.log(RATIO[0]) + (math.log(RATIO[1]) - math.log(RATIO[0])) * random.random())
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(random.random() * (width - w + 1)), int(random.random() * (height - h + 1)), w, h
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    return (width - w) // 2, (height - h) // 2, w, h
