"""A training split that is kept as image files, and decoded when its images are asked for."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robust_transfer.data.ahead import ahead
from robust_transfer.data.images import AREA, centre, random_crop, rgb
from robust_transfer.errors import UserError
from robust_transfer.models.classifier import to_pixels

WINDOW = 3
"""How many batches are decoded ahead."""
REMEDY = "put the old file back, or, to begin anew with what is there now, delete the set's folder in results/prepare"


@dataclass(frozen=True)
class EncodedSplit:
    """A split of N image files of any size.

    files: all files joined, uint8, on the CPU (memory-mapped: pages come from the disk as they are read).
    offsets: N+1 int64; file i is files[offsets[i]:offsets[i + 1]].
    labels: N int64, on the device to which batches go.
    size: side of the images that are given, in pixels. resize: see `plain`.
    threads: how many decode; no number depends on it.
    """

    files: Tensor
    offsets: Tensor
    labels: Tensor
    size: int
    resize: int
    threads: int = 1

    channels = 3

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """N x C x H x W of the images as they are shown without augmentation."""
        return (len(self), self.channels, self.size, self.size)

    def plain(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images without augmentation, in order: scaled to `resize` by the shorter side, cropped at the centre.

        Yields N x 3 x size x size float32 pixels and N int64 labels, on the labels' device.
        """
        images = self.in_batches(range(0, len(self), batch_size), batch_size)
        yield from zip(images, self.labels.split(batch_size), strict=True)

    def in_batches(self, firsts: Iterable[int], batch_size: int) -> Iterator[Tensor]:
        """Some batches as `plain` gives them; firsts: the number of the first image of each, rising: of all but the
        last there are as many images.
        """
        indices = (i for first in firsts for i in range(first, min(first + batch_size, len(self))))
        return self._decoded(self._centre, indices, batch_size)

    def cropped(
        self, requests: Iterable[tuple[int, int]], batch_size: int, flip: bool, smallest: float = AREA[0]
    ) -> Iterator[Tensor]:
        """Random crops in batches (the last may be smaller): N x 3 x size x size float32 pixels, on the labels' device.

        requests: of each image its index in the split and the seed of its draws; without end, if need be.
        smallest: least share of an image's area that a crop shows.
        """
        return self._decoded(lambda each: self._crop(each[0], each[1], flip, smallest), requests, batch_size)

    def _decoded(
        self, decode: Callable[[Any], np.ndarray], requests: Iterable[Any], batch_size: int
    ) -> Iterator[Tensor]:
        images = ahead(decode, requests, self.threads, WINDOW * batch_size)
        while batch := list(islice(images, batch_size)):
            joined = torch.from_numpy(np.stack(batch)).to(self.labels.device)
            yield to_pixels(joined.permute(0, 3, 1, 2).contiguous())

    def _file(self, index: int) -> bytes:
        return self.files[self.offsets[index] : self.offsets[index + 1]].numpy().tobytes()

    def _centre(self, index: int) -> np.ndarray:
        return centre(rgb(self._file(index)), self.resize, self.size)

    def _crop(self, index: int, seed: int, flip: bool, smallest: float) -> np.ndarray:
        return random_crop(rgb(self._file(index)), self.size, flip, seed, smallest)


@dataclass(frozen=True, kw_only=True)
class ListedSplit(EncodedSplit):
    """The same for files that stay where they are: `files` and `offsets` are those of their paths, joined.

    digests: N x 32 uint8, the files' sha256 when the set was prepared. below: the folder the paths are relative to.
    """

    digests: Tensor
    below: Path

    def _file(self, index: int) -> bytes:
        """An image file's content, which is that of the day on which the set was prepared.

        Raises:
            UserError: where it is not.
        """
        path = self.below / os.fsdecode(super()._file(index))
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); {REMEDY}") from None
        if hashlib.sha256(content).digest() != self.digests[index].numpy().tobytes():
            raise UserError(f"{path} is not the file that it was when the data set was prepared; {REMEDY}")
        return content
