"""Small images that are shown larger than they are kept: a prepared set of 224x224 would be 49 times as large."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from robust_transfer.data.images import AREA
from robust_transfer.data.views import random_resized_crop


@dataclass(frozen=True)
class Enlarged:
    """How they are shown, by bilinear interpolation and rounded to whole 255ths, as an image file would hold them.

    size: side in pixels.
    resize: given, they are shown as photographs are: in training random crops scaled to `size`, and otherwise the
        middle of the image scaled to `resize`.
    """

    size: int
    resize: int | None = None

    def in_training(self, pixels: Tensor, smallest: float = AREA[0]) -> Tensor:
        """N x C x H x W float32 pixels, augmented perhaps -> N x C x size x size; crops from torch's generator.

        smallest: least share of an image's area that a crop shows.
        """
        if self.resize is None:
            return self.measured(pixels)
        return _whole(random_resized_crop(pixels, smallest, self.size) * 255)

    def measured(self, pixels: Tensor) -> Tensor:
        """N x C x H x W float32 pixels -> N x C x size x size."""
        side = self.resize or self.size
        margin = round((side - self.size) / 2)  # torchvision's CenterCrop rounds so as well
        middle = slice(margin, margin + self.size)
        large = F.interpolate(pixels * 255, (side, side), mode="bilinear", align_corners=False)
        return _whole(large[..., middle, middle])


def _whole(values: Tensor) -> Tensor:
    return values.round().div_(255)
