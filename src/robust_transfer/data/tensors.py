"""A prepared data set: its file, and its splits on a device."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from robust_transfer.data.encoded import EncodedPart
from robust_transfer.data.sources import Splits
from robust_transfer.models.classifier import to_pixels

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Part:
    """A split: images N x C x H x W uint8, labels N int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def channels(self) -> int:
        """Colour channels of the images."""
        return self.images.shape[1]

    def plain(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images as they are, in order: N x C x H x W float32 pixels and N int64 labels."""
        for images, labels in zip(self.images.split(batch_size), self.labels.split(batch_size), strict=True):
            yield to_pixels(images), labels


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


def save(path: Path, splits: Splits, classes: Sequence[str]) -> None:
    """Write splits of N x H x W x C uint8 images as safetensors, N x C x H x W; the header has the `classes`' names."""
    tensors = {}
    for name in SPLITS:
        images, labels = splits[name]
        tensors[f"{name}_images"] = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        tensors[f"{name}_labels"] = torch.from_numpy(labels).contiguous()
    save_file(tensors, path, {"classes": json.dumps(list(classes), ensure_ascii=True)})


def load(path: Path, device: torch.device | str = "cpu") -> Data:
    """Read a prepared data set onto a device; image files stay on the CPU, and are decoded by torch's thread count."""
    with safe_open(path, "pt") as file:
        names, about = set(file.keys()), file.metadata()

        def part(split: str) -> Part | EncodedPart:
            labels = file.get_tensor(f"{split}_labels").to(device)
            if f"{split}_images" in names:
                return Part(file.get_tensor(f"{split}_images").to(device), labels)
            files, offsets = file.get_tensor(f"{split}_files"), file.get_tensor(f"{split}_offsets")
            return EncodedPart(
                files, offsets, labels, int(about["size"]), int(about["resize"]), threads=torch.get_num_threads()
            )

        return Data(*map(part, SPLITS))
