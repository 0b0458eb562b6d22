"""Single image files: decoded, cropped at the centre for measuring, cropped at random for training."""

import io
import math
import struct
from pathlib import Path
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


SIXTEEN_BIT = ("PNG", "PPM")
"""Formats whose 32-bit pixels, as Pillow has them, are 16-bit ones of the file."""
TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes EXIF's orientations."""
ORIENTATION = 0x0112
"""EXIF's tag of it."""


class NotTaken(ValueError):
    """A whole image of a kind that is not taken; says which."""


def decoded(content: bytes) -> tuple[Image.Image, list[str]]:
    """An image file's pixels as RGB, upright, and what was done to get them.

    Raises:
        One of DAMAGES.
    """
    with Image.open(io.BytesIO(content)) as file:
        if (frames := getattr(file, "n_frames", 1)) > 1 and file.format != "MPO":  # a photograph and its preview
            raise NotTaken(f"has {frames} pictures (animated?), and only single ones are taken")
        image, done = _eight_bits(file)
        if turn := TURNED.get(_orientation(file)):
            image, done = image.transpose(turn), [*done, "are turned upright, as their EXIF says"]
        if image.has_transparency_data:
            image = image.convert("RGBA")
            if np.asarray(image.getchannel("A")).min() < 255:
                image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
                done = [*done, "have transparent parts, which are shown on black"]
        if image.mode == "CMYK":
            done = [*done, "are CMYK, and shown as RGB"]
        return image.convert("RGB"), done


def _eight_bits(image: Image.Image) -> tuple[Image.Image, list[str]]:
    image.load()
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in SIXTEEN_BIT):
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)), ["are 16-bit, and scaled to 8 (257 to 1)"]
    if image.mode in ("I", "F"):
        raise NotTaken("has pixels of 32 bits, whose scale is not known; save it with 8 or 16")
    return image, []


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # what Pillow raises on damaged EXIF depends on the byte; the pixels are whole
        return 1


def rgb(content: bytes) -> Image.Image:
    """An image file's pixels as RGB, upright; see decoded."""
    return decoded(content)[0]


def rgb_or_refused(content: bytes, name: object, remedy: str) -> Image.Image:
    """The same for a file that may be damaged; see decoded_or_refused."""
    return decoded_or_refused(content, name, remedy)[0]


def decoded_or_refused(content: bytes, name: object, remedy: str) -> tuple[Image.Image, list[str]]:
    """The same as decoded, for a file that may be damaged.

    Raises:
        UserError: that names the file and the remedy.
    """
    try:
        return decoded(content)
    except NotTaken as error:
        raise UserError(f"{name} {error}; {remedy}") from None
    except DAMAGES:
        raise UserError(f"{name} is no whole image; {remedy}") from None


def content_of(file: Path, remedy: str) -> bytes:
    """The bytes of an image file.

    Raises:
        UserError: where it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); give yourself the right to, or {remedy}") from None


def centre(image: Image.Image, resize: int, size: int) -> np.ndarray:
    """Scaled to `resize` pixels by the shorter side, then the middle `size` x `size` of it (H x W x 3 uint8)."""
    from torchvision.transforms.v2.functional import center_crop
    from torchvision.transforms.v2.functional import resize as scale

    return np.asarray(center_crop(scale(image, [resize]), [size, size]))


def random_crop(image: Image.Image, size: int, flip: bool, seed: int, smallest: float = AREA[0]) -> np.ndarray:
    """A random crop, scaled to `size` x `size` (H x W x 3 uint8); if `flip`, mirrored left to right half of the time.

    All draws come from `seed`, and the crop is the same with and without `flip`. smallest: see crop_box.
    """
    random = Random(seed)
    left, top, width, height = crop_box(*image.size, random, smallest)
    cropped = image.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(cropped)
    mirrored = random.random() < 0.5
    return pixels[:, ::-1] if flip and mirrored else pixels


def crop_box(width: int, height: int, random: Random, smallest: float = AREA[0]) -> tuple[int, int, int, int]:
    """(left, top, width, height) of a crop of random area and ratio at a random position; the middle where none fits.

    smallest: least share of the image's area. Only random.random() is asked, whose values for a seed are the same in
    every version of Python.
    """
    for _ in range(ATTEMPTS):
        area = width * height * (smallest + (AREA[1] - smallest) * random.random())
        ratio = math.exp(math.log(RATIO[0]) + (math.log(RATIO[1]) - math.log(RATIO[0])) * random.random())
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(random.random() * (width - w + 1)), int(random.random() * (height - h + 1)), w, h
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    return (width - w) // 2, (height - h) // 2, w, h
