"""Arrays in an .npz file."""

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from robust_transfer.errors import UserError
from robust_transfer.specs.datasets import Dataset, Facts

if TYPE_CHECKING:
    import numpy as np

    from robust_transfer.data.raw import Arrays


class Npz(Dataset):
    """An .npz file under data_root: for each split SPLIT_images (uint8, NHWC) and SPLIT_labels.

    In place of SPLIT_images, SPLIT_jpeg (all files joined, uint8) with SPLIT_offsets (n+1) is read as well; other forms
    of images and labels are in docs/data.md.
    """

    reader: Literal["npz"]
    file: str
    """The file, below data_root."""
    train: str = "train"
    """The name of the training split in the file."""
    test: str = "test"
    """The name of the test split in the file."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the file, if it is to be checked."""

    @property
    def base(self) -> str:
        return re.sub(r"[^A-Za-z0-9-]+", "-", self.file.rsplit("/", 1)[-1].removesuffix(".npz")).lower()

    @property
    def files(self) -> list[str]:
        return [self.file]

    @property
    def remedy(self) -> str:
        return "put the .npz file there, or mend the data set's `file`"

    def look(self, data_root: Path) -> Facts:
        """From the arrays' headers and the labels; nothing where there is no file.

        Raises:
            UserError: where the file is damaged, lacks an array, or has labels or images of no form that is taken.
        """
        import numpy as np

        from robust_transfer.data import examine

        path = data_root / self.file
        if not path.is_file():
            return Facts()
        with _opened(path) as arrays:
            named = {split: _images_of(arrays, name, path) for split, name in self._splits()}
            labels = {split: arrays[f"{name}_labels"] for split, name in self._splits()}
            height, width, channels = _shape(arrays, named["train"], path)
        numbers, _ = examine.numbered(labels, str(path), [])
        counts = {split: np.unique(each[each >= 0], return_counts=True) for split, each in numbers.items()}
        images = {split: dict(zip(*(each.tolist() for each in pair), strict=True)) for split, pair in counts.items()}
        return Facts(channels, height, width, len({n for each in images.values() for n in each}), images)

    def read(self, data_root: Path) -> "Arrays":
        """The two splits.

        Raises:
            UserError: where the file is missing, damaged, another than sha256 says, or lacks an array.
        """
        from robust_transfer.data.raw import Arrays

        path = data_root / self.file
        if not path.is_file():
            raise UserError(f"{path} is missing; put the .npz file there, or set data_root or the data set's `file`")
        if self.sha256:
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != self.sha256:
                raise UserError(f"{path} is another file: sha256 {found}, wanted {self.sha256}; fetch it again")
        with _opened(path) as arrays:
            splits = {}
            for split, name in self._splits():
                plain, *packed = _images_of(arrays, name, path)
                images = _decoded(arrays[plain], arrays[packed[0]], f"{path}: {plain}") if packed else arrays[plain]
                splits[split] = images, arrays[f"{name}_labels"]
        return Arrays(str(path), splits)

    def _splits(self) -> tuple[tuple[str, str], ...]:
        return ("train", self.train), ("test", self.test)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except UserError:
        raise
    except Exception as error:  # what numpy and zipfile raise on a damaged file depends on the byte
        if str(error).startswith("Object arrays"):
            raise UserError(
                f"{path} holds Python objects, which are not loaded; save plain arrays, and names as text (astype(str))"
            ) from None
        raise UserError(f"{path} is no whole .npz file ({error}); fetch it again") from None


def _images_of(arrays: Any, split: str, path: Path) -> list[str]:
    """The names of the arrays that have a split's images: one, or two where they are JPEG files."""
    plain, packed = [f"{split}_images"], [f"{split}_jpeg", f"{split}_offsets"]
    chosen = packed if all(name in arrays for name in packed) else plain
    if missing := [name for name in (f"{split}_labels", *chosen) if name not in arrays]:
        raise UserError(
            f"{path} lacks {', '.join(missing)}; it has {', '.join(arrays.files)}. Set train and test to its splits"
        )
    return chosen


def _shape(arrays: Any, names: list[str], path: Path) -> tuple[int, int, int]:
    """Height, width and channels of images, from an array's header or the first JPEG file."""
    import numpy as np
    from PIL import Image

    from robust_transfer.data import examine

    with arrays.zip.open(f"{names[0]}.npy") as file:
        first = np.lib.format.read_magic(file) == (1, 0)
        header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, *_ = header(file)
        if len(names) > 1:
            width, height = Image.open(io.BytesIO(file.read(int(arrays[names[1]][1])))).size
            return height, width, 3
    height, width, channels = examine.sizes(shape, f"{path}: {names[0]}")
    return height, width, 3 if channels == 4 else channels


def _decoded(joined: "np.ndarray", offsets: "np.ndarray", what: str) -> "np.ndarray":
    import numpy as np

    from robust_transfer.data.images import rgb

    images = [np.asarray(rgb(joined[start:end].tobytes())) for start, end in pairwise(offsets)]
    if len(sizes := {image.shape for image in images}) > 1:
        raise UserError(f"{what} has pictures of {len(sizes)} different sizes; scale them to one")
    return np.stack(images) if images else np.empty((0, 1, 1, 3), np.uint8)
