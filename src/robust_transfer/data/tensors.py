"""A prepared data set: its file, and its splits on a device."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from robust_transfer.data.encoded import EncodedSplit, ListedSplit
from robust_transfer.data.enlarge import Enlarged
from robust_transfer.data.raw import Splits
from robust_transfer.data.rows import Rows
from robust_transfer.errors import UserError
from robust_transfer.models.classifier import to_pixels

SPLITS = ("train", "validation", "test")


CHUNK = 256
"""Images that are enlarged together."""


@dataclass(frozen=True)
class TensorSplit:
    """A split.

    kept: N x C x H x W uint8, the images as they lie in the file; or the file's own rows, which are read when they are
    asked for. labels: N int64. enlarged: how they are shown, if not as they are kept.
    """

    kept: Tensor | Rows
    labels: Tensor
    enlarged: Enlarged | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def channels(self) -> int:
        """Colour channels of the images."""
        return self.kept.shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """N x C x H x W of the images as they are shown."""
        sides = (self.enlarged.size, self.enlarged.size) if self.enlarged else self.kept.shape[2:]
        return (len(self), self.channels, *sides)

    @cached_property
    def images(self) -> Tensor:
        """All images as they are measured, N x C x H x W uint8; enlarged ones are made when first asked for."""
        if self.enlarged is None and isinstance(self.kept, Tensor):
            return self.kept
        return self.shown(slice(None))

    def in_batches(self, firsts: Iterable[int], batch_size: int) -> Iterator[Tensor]:
        """Some batches as `plain` gives them; firsts: the number of the first image of each."""
        for first in firsts:
            pixels = to_pixels(self.kept[first : first + batch_size])
            yield self.enlarged.measured(pixels) if self.enlarged else pixels

    def shown(self, rows: slice | Tensor) -> Tensor:
        """Some images as they are measured, n x C x H x W uint8; rows: a slice without steps, or indices (int64)."""
        kept = self.kept[rows]
        if self.enlarged is None:
            return kept
        made = kept.new_empty(len(kept), *self.shape[1:])
        for images, small in zip(made.split(CHUNK), kept.split(CHUNK), strict=True):
            # On CUDA v / 255 * 255 may fall short of v.
            images.copy_((self.enlarged.measured(to_pixels(small)) * 255).round_())
        return made

    def among(self, rows: Tensor) -> "Shown":
        """Some images, and their order; rows: indices (int64)."""
        return Shown(self, rows)

    def plain(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images without augmentation, in order: N x C x H x W float32 pixels and N int64 labels."""
        images = self.in_batches(range(0, max(1, len(self)), batch_size), batch_size)
        yield from zip(images, self.labels.split(batch_size), strict=True)


@dataclass(frozen=True)
class Shown:
    """Images of a split as they are measured, each made when it is asked for: what attacks go over.

    rows: which, n indices (int64).
    """

    part: TensorSplit
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """N x C x H x W."""
        return (len(self), *self.part.shape[1:])

    def __getitem__(self, chosen: slice | Tensor) -> Tensor:
        """Some of them, n x C x H x W uint8."""
        return self.part.shown(self.rows[chosen])


@dataclass(frozen=True)
class PreparedData:
    """A prepared data set; the training split of large photographs is kept as files."""

    train: TensorSplit | EncodedSplit
    validation: TensorSplit
    test: TensorSplit

    @property
    def channels(self) -> int:
        """Colour channels of the images."""
        return self.train.channels

    @property
    def classes(self) -> int:
        """How many classes there are; labels are 0..classes-1."""
        return int(self.train.labels.max()) + 1

    def split(self, name: str) -> TensorSplit | EncodedSplit:
        """A split by its name."""
        return getattr(self, name)

    def in_memory(self, name: str) -> TensorSplit:
        """A split by its name, all of whose images can be had at once.

        Raises:
            UserError: for the training split of large photographs.
        """
        part = self.split(name)
        if isinstance(part, EncodedSplit):
            raise UserError(f"the {name} images are large photographs, too many to be had at once; take another split")
        return part


def save(path: Path, splits: Splits, classes: Sequence[str], shown_at: Sequence[int] = ()) -> None:
    """Write splits of N x H x W x C uint8 images as safetensors, N x C x H x W; the header has the `classes`' names.

    shown_at: the arguments of Enlarged; none shows images as they are. Written as a tensor, because two entries of the
    header would come in any order.
    """
    tensors = {"shown_at": torch.tensor(shown_at)} if shown_at else {}
    for name in SPLITS:
        images, labels = splits[name]
        tensors[f"{name}_images"] = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        tensors[f"{name}_labels"] = torch.from_numpy(labels).contiguous()
    save_file(tensors, path, {"classes": json.dumps(list(classes))})


def form_of(path: Path) -> tuple[int, int]:
    """Channels and classes of a prepared data set, by the header of its file."""
    with safe_open(path, "pt") as file:
        return file.get_slice("test_images").get_shape()[1], len(json.loads(file.metadata()["classes"]))


def load(
    path: Path, device: torch.device | str = "cpu", data_root: Path = Path(), stream: bool = False
) -> PreparedData:
    """Read a prepared data set onto a device; image files stay on the CPU, and are decoded by torch's thread count.

    data_root: below which the training files of a set lie that has but their paths; only who looks at them needs it.
    stream: whether images are read when they are asked for, for who passes over them once.
    """
    with safe_open(path, "pt") as file:
        names, metadata = set(file.keys()), file.metadata()

        def part(split: str) -> TensorSplit | EncodedSplit:
            labels = file.get_tensor(f"{split}_labels").to(device)
            if f"{split}_images" in names:
                enlarged = Enlarged(*file.get_tensor("shown_at").tolist()) if "shown_at" in names else None
                images = f"{split}_images"
                kept = Rows(path, images, device) if stream else file.get_tensor(images).to(device)
                return TensorSplit(kept, labels, enlarged)
            offsets = file.get_tensor(f"{split}_offsets")
            rest = labels, int(metadata["size"]), int(metadata["resize"]), torch.get_num_threads()
            if f"{split}_files" in names:
                return EncodedSplit(file.get_tensor(f"{split}_files"), offsets, *rest)
            paths, digests = (file.get_tensor(f"{split}_{what}") for what in ("paths", "digests"))
            return ListedSplit(paths, offsets, *rest, digests=digests, below=data_root)

        train, validation, test = map(part, SPLITS)
        assert isinstance(validation, TensorSplit) and isinstance(test, TensorSplit)
        return PreparedData(train, validation, test)
