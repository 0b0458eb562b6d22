"""One tensor of a safetensors file, read or written some rows at a time: a set of images need not fit into memory.

Plain reads and writes, no mapped memory, of which a system counts every page that was touched.
"""

import json
import math
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

DTYPES = {"U8": np.uint8, "U16": np.uint16, "I64": np.int64, "F32": np.float32}
"""By the format's names, those that are kept here; little-endian, as the machines are on which torch runs."""


class Rows:
    """A tensor (N x ...) in a file; `rows[3:9]` and `rows[indices]` read these rows alone.

    The file stays open: where it is replaced, this goes on with the old one. device: to which rows go.
    """

    def __init__(self, path: Path, name: str, device: torch.device | str = "cpu"):
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 (closed with this object)
        weakref.finalize(self, self._file.close)
        length = int.from_bytes(self._file.read(8), "little")
        entry = json.loads(self._file.read(length))[name]
        self.shape = torch.Size(entry["shape"])
        self.device = torch.device(device)
        self._dtype = np.dtype(DTYPES[entry["dtype"]])
        self._begin = 8 + length + entry["data_offsets"][0]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: slice | Tensor) -> Tensor:
        """Some rows: a slice without steps, or n indices (int64) in any order."""
        indices = _indices(chosen, len(self))
        values = np.empty((len(indices), *self.shape[1:]), self._dtype)
        for place, first, count in _runs(indices):
            self._file.seek(self._begin + first * _bytes_of_row(self.shape, self._dtype))
            _fill(self._file, values[place : place + count])
        return torch.from_numpy(values).to(self.device)


class NewRows:
    """A safetensors file of one tensor, whose rows are written in any order, with the bytes that save_file would write.

    A context manager; rows that nobody wrote are 0.
    """

    def __init__(self, path: Path, name: str, dtype: str, shape: tuple[int, ...]):
        self.shape, self._dtype = shape, np.dtype(DTYPES[dtype])
        size = math.prod(shape) * self._dtype.itemsize
        entry = {"dtype": dtype, "shape": list(shape), "data_offsets": [0, size]}
        header = json.dumps({name: entry}, separators=(",", ":")).encode()
        header += b" " * (-len(header) % 8)
        self._begin = 8 + len(header)
        self._file = open(path, "wb")  # noqa: SIM115 (closed in __exit__)
        self._file.write(len(header).to_bytes(8, "little") + header)
        self._file.truncate(self._begin + size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __setitem__(self, chosen: slice | Tensor, values: np.ndarray) -> None:
        """Write some rows: a slice without steps, or n indices (int64), each once."""
        indices = _indices(chosen, self.shape[0])
        if values.shape != (len(indices), *self.shape[1:]) or values.dtype != self._dtype:
            raise ValueError(f"{values.shape} {values.dtype} for {len(indices)} rows of {self.shape} {self._dtype}")
        for place, first, count in _runs(indices):
            self._file.seek(self._begin + first * _bytes_of_row(self.shape, self._dtype))
            self._file.write(np.ascontiguousarray(values[place : place + count]).data)


def _indices(chosen: slice | Tensor, count: int) -> np.ndarray:
    if isinstance(chosen, slice):
        return np.arange(*chosen.indices(count))
    return chosen.cpu().numpy()


def _runs(indices: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Indices as runs of neighbours: where one begins among the indices, its first index, how many it has."""
    begins = np.flatnonzero(np.diff(indices, prepend=-2) != 1)
    for begin, end in zip(begins, np.append(begins, len(indices))[1:], strict=True):
        yield int(begin), int(indices[begin]), int(end - begin)


def _bytes_of_row(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return math.prod(shape[1:]) * dtype.itemsize


def _fill(file, values: np.ndarray) -> None:
    left = values.reshape(-1).view(np.uint8).data
    while left:
        read = file.readinto(left)  # a system reads 2 GB at a time at most
        if not read:
            raise EOFError(f"{file.name} ends before its header says")
        left = left[read:]
