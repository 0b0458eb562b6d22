"""A prepared data set: its file, and its tensors on a device."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from robust_transfer.data.sources import Splits

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Part:
    """A split: images N x C x H x W uint8, labels N int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Data:
    """A prepared data set."""

    train: Part
    validation: Part
    test: Part

    @property
    def channels(self) -> int:
        """Colour channels of the images."""
        return self.train.images.shape[1]

    @property
    def classes(self) -> int:
        """How many classes there are; labels are 0..classes-1."""
        return int(self.train.labels.max()) + 1

    def split(self, name: str) -> Part:
        """A split by its name."""
        return getattr(self, name)


def save(path: Path, splits: Splits) -> None:
    """Write splits of N x H x W x C uint8 images as safetensors, N x C x H x W."""
    tensors = {}
    for name in SPLITS:
        images, labels = splits[name]
        tensors[f"{name}_images"] = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        tensors[f"{name}_labels"] = torch.from_numpy(labels).contiguous()
    save_file(tensors, path)


def load(path: Path, device: torch.device | str = "cpu") -> Data:
    """Read a prepared data set onto a device."""
    tensors = load_file(path, device=str(device))
    return Data(*(Part(tensors[f"{name}_images"], tensors[f"{name}_labels"]) for name in SPLITS))
