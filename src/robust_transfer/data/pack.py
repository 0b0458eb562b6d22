"""Writing a set of photographs as one safetensors file, image by image, so that it need not fit into memory.

train_files (uint8, the original files joined), train_offsets (N+1 int64), train_labels; for validation and test images
(N x 3 x size x size uint8) and labels (int64). The header also says `size`, `resize` and the names of the `classes`.

Where a copy of the training files would be too large, train_paths (uint8, their paths joined) and train_digests
(N x 32 uint8, their sha256) stand in place of train_files: whoever reads such a file later can tell whether it is still
the same.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from robust_transfer.data.ahead import ahead
from robust_transfer.data.images import centre, content_of, rgb_or_refused
from robust_transfer.data.raw import Splits
from robust_transfer.errors import UserError

REMEDY = "unpack it again"
MEASURED = ("validation", "test")
WINDOW = 4
"""Images that are made ahead, for each thread."""
DIGEST = 32
"""Bytes of a sha256."""


def pack(
    path: Path, splits: Splits, classes: list[str], size: int, resize: int, threads: int, below: Path | None = None
) -> int:
    """Write splits of image paths (N paths, N labels); returns how many test images are, to the last byte of their
    files, training or validation images as well.

    below: the folder that the paths of training files are relative to, where these stay in place.
    Every image is decoded once, also those of the training part: a damaged one should not show hours later.

    Raises:
        UserError: where an image file is damaged or cannot be read.
    """
    train = splits["train"][0]
    paths = [os.fsencode(file.relative_to(below).as_posix()) for file in train] if below else []
    lengths = [len(name) for name in paths] if below else [file.stat().st_size for file in train]
    offsets = np.cumsum([0, *lengths])
    numbers = {"train_offsets": offsets} | {f"{name}_labels": labels for name, (_, labels) in splits.items()}
    shapes: dict[str, tuple[int, ...]] = {f"{name}_images": (len(splits[name][0]), 3, size, size) for name in MEASURED}
    shapes["train_paths" if below else "train_files"] = (int(offsets[-1]),)
    if below:
        shapes["train_digests"] = (len(train), DIGEST)
    metadata = {"size": str(size), "resize": str(resize), "classes": json.dumps(classes)}
    with open(path, "wb") as out:
        out.write(_header({name: (len(values),) for name, values in numbers.items()}, shapes, metadata))
        for values in numbers.values():
            out.write(values.astype("<i8").tobytes())
        digests: dict[str, list[bytes]] = {name: [] for name in MEASURED}
        for name in MEASURED:
            make = partial(_middle, resize=resize, size=size, seen=digests[name].append)
            out.writelines(_each(make, splits[name][0], threads))
        tested, shared = set(digests["test"]), set(digests["test"]).intersection(digests["validation"])

        def seen(digest: bytes) -> None:
            if digest in tested:
                shared.add(digest)

        if below:
            out.writelines([*paths, *_each(partial(_digest, seen=seen), train, threads)])
        else:
            for content, length in zip(_each(partial(_file, seen=seen), train, threads), lengths, strict=True):
                if len(content) != length:
                    raise UserError(
                        "the data set's files change while they are read; start again when they no longer do"
                    )
                out.write(content)
    return sum(digest in shared for digest in digests["test"])


def _each(function: Callable[[Path], bytes], files: np.ndarray, threads: int) -> Iterator[bytes]:
    return ahead(function, files, threads, WINDOW * threads)


Seen = Callable[[bytes], None]
"""Is told the digest of every file."""


def _middle(file: Path, resize: int, size: int, seen: Seen) -> bytes:
    pixels = centre(rgb_or_refused(_read(file, seen), file, REMEDY), resize, size)
    return pixels.transpose(2, 0, 1).tobytes()


def _file(file: Path, seen: Seen) -> bytes:
    content = _read(file, seen)
    rgb_or_refused(content, file, REMEDY)
    return content


def _digest(file: Path, seen: Seen) -> bytes:
    return hashlib.sha256(_file(file, seen)).digest()


def _read(file: Path, seen: Seen) -> bytes:
    content = _content(file)
    seen(hashlib.sha256(content).digest())
    return content


def _content(file: Path) -> bytes:
    return content_of(file, REMEDY)


def _header(int64: dict[str, tuple[int, ...]], uint8: dict[str, tuple[int, ...]], metadata: dict[str, str]) -> bytes:
    """The header of the format, from the tensors' shapes in the order in which they follow; int64 first, so that every
    tensor lies at a multiple of its items' size.
    """
    header: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for kind, width, tensors in (("I64", 8, int64), ("U8", 1, uint8)):
        for name, shape in tensors.items():
            begin, end = end, end + width * int(np.prod(shape))
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
