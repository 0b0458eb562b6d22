"""A prepared data set: its file, and its splits on a device."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from robust_transfer.data.encoded import EncodedPart, ListedPart
from robust_transfer.data.sources import Splits
from robust_transfer.models.classifier import to_pixels

SPLITS = ("train", "validation", "test")


CHUNK = 256
"""Images that are scaled up together."""


@dataclass(frozen=True)
class Part:
    """A split.

    kept: N x C x H x W uint8, the images as they lie in the file. labels: N int64.
    scaled_to: side in pixels to which they are scaled up whenever they are shown; None shows them as they are kept.
    """

    kept: Tensor
    labels: Tensor
    scaled_to: int | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def channels(self) -> int:
        """Colour channels of the images."""
        return self.kept.shape[1]

    @cached_property
    def images(self) -> Tensor:
        """All images as they are shown, N x C x H x W uint8; where they are scaled, made when first asked for."""
        if self.scaled_to is None:
            return self.kept
        made = self.kept.new_empty(len(self), self.channels, self.scaled_to, self.scaled_to)
        for images, (shown, _) in zip(made.split(CHUNK), self.plain(CHUNK), strict=True):
            images.copy_((shown * 255).round_())
        return made

    def shown(self, pixels: Tensor) -> Tensor:
        """Kept images as float32 pixels (N x C x H x W), augmented perhaps -> the size in which they are shown.

        Scaled up by bilinear interpolation, and rounded to whole 255ths, as an image file of that size would hold them.
        """
        if self.scaled_to is None:
            return pixels
        size = (self.scaled_to, self.scaled_to)
        return F.interpolate(pixels * 255, size, mode="bilinear", align_corners=False).round_().div_(255)

    def plain(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images as they are, in order: N x C x H x W float32 pixels and N int64 labels."""
        for images, labels in zip(self.kept.split(batch_size), self.labels.split(batch_size), strict=True):
            yield self.shown(to_pixels(images)), labels


@dataclass(frozen=True)
class Data:
    """A prepared data set; the training split of large photographs is kept as files."""

    train: Part | EncodedPart
    validation: Part
    test: Part

    @property
    def channels(self) -> int:
        """Colour channels of the images."""
        return self.train.channels

    @property
    def classes(self) -> int:
        """How many classes there are; labels are 0..classes-1."""
        return int(self.train.labels.max()) + 1

    def split(self, name: str) -> Part | EncodedPart:
        """A split by its name."""
        return getattr(self, name)


def save(path: Path, splits: Splits, classes: Sequence[str], scaled_to: int | None = None) -> None:
    """Write splits of N x H x W x C uint8 images as safetensors, N x C x H x W.

    The header has the `classes`' names, and, if given, the size that images are `scaled_to` when they are shown.
    """
    tensors = {}
    for name in SPLITS:
        images, labels = splits[name]
        tensors[f"{name}_images"] = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        tensors[f"{name}_labels"] = torch.from_numpy(labels).contiguous()
    about = {"classes": json.dumps(list(classes))} | ({"scaled_to": str(scaled_to)} if scaled_to else {})
    save_file(tensors, path, about)


def load(path: Path, device: torch.device | str = "cpu", data_root: Path = Path()) -> Data:
    """Read a prepared data set onto a device; image files stay on the CPU, and are decoded by torch's thread count.

    data_root: where the training images of a set lie that has but their paths; only those who look at them need it.
    """
    with safe_open(path, "pt") as file:
        names, about = set(file.keys()), file.metadata()

        def part(split: str) -> Part | EncodedPart:
            labels = file.get_tensor(f"{split}_labels").to(device)
            if f"{split}_images" in names:
                scaled_to = int(about["scaled_to"]) if "scaled_to" in about else None
                return Part(file.get_tensor(f"{split}_images").to(device), labels, scaled_to)
            listed = f"{split}_paths" in names
            files, offsets = (
                file.get_tensor(f"{split}_{what}") for what in ("paths" if listed else "files", "offsets")
            )
            about_them = offsets, labels, int(about["size"]), int(about["resize"]), torch.get_num_threads()
            if listed:
                return ListedPart(files, *about_them, digests=file.get_tensor(f"{split}_digests"), below=data_root)
            return EncodedPart(files, *about_them)

        return Data(*map(part, SPLITS))
