"""Labelled images in parquet files, as the library `datasets` of Hugging Face writes them."""

import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from robust_transfer.data.images import DAMAGES, centre, decoded_or_refused
from robust_transfer.errors import UserError

BATCH = 256
"""Images that are read together."""
GREY = ("1", "L", "LA", "I", "I;16", "I;16B")
"""Pillow's modes of grey pictures."""
REMEDY = "delete it and fetch it again"


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with parquet.ParquetFile(file) as table:
            yield table
    except (OSError, pa.ArrowException) as error:
        first = str(error).strip().partition("\n")[0]
        raise UserError(f"{file} is no whole parquet file ({first}); {REMEDY}") from None


def _kind(table: Any, name: str, key: str, file: Path) -> Any:
    """The type of a column; key: what names it in the config."""
    schema = table.schema_arrow
    if name not in schema.names:
        raise UserError(f"{file} has no column {name!r}; it has {', '.join(schema.names)}: set {key} to one of them")
    return schema.field(name).type


# ---- labels --------------------------------------------------------------------------------------------------------


def labels_of(files: Sequence[Path], column: str) -> tuple[np.ndarray, list[str]]:
    """The labels of a split's files, N int64 (-1 where there is none) or N texts; and the names of the classes, where
    the files tell them.

    Raises:
        UserError: where a file is damaged or has no such column, or what it holds are no labels.
    """
    chunks: list[Any] = []
    names: list[str] | None = None
    for file in files:
        with _opened(file) as table:
            kind = _kind(table, column, "target", file)
            values = table.read([column]).column(0)
            if pa.types.is_dictionary(kind):
                kind = kind.value_type
                values = values.cast(kind)
            is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
            if not (pa.types.is_integer(kind) or is_text or pa.types.is_boolean(kind)):
                raise UserError(f"{file}: labels in {column} are {kind}; set target to whole numbers or names")
            own = _class_names(table.schema_arrow, column)
            names = own if names is None else names
            if own != names and not is_text:
                raise UserError(f"{file}: {other_names(column, names, own)}; {REMEDY}")
            chunks += values.cast(pa.string() if is_text else pa.int64()).chunks
    if len(kinds := {chunk.type for chunk in chunks}) > 1:
        raise UserError(
            f"{files[0].parent}: labels in {column} are numbers in some files and names in others; {REMEDY}"
        )
    if pa.string() in kinds:
        return np.array([text or "" for chunk in chunks for text in chunk.to_pylist()], str), []
    numbers = pa.chunked_array(chunks, pa.int64()).fill_null(-1).to_numpy()
    if names and len(numbers) and numbers.max() >= len(names):
        raise UserError(
            f"{files[0].parent}: {column} has the label {numbers.max()}, but names of {len(names)} classes, 0 to "
            f"{len(names) - 1}; the files are damaged, or it is no column of labels: set target to one"
        )
    return numbers, names or []


def other_names(column: str, first: Sequence[str], names: Sequence[str]) -> str:
    """That a column's classes have other names than in the first file."""
    told = [", ".join(each) or "without names" for each in (first, names)]
    return f"the classes in {column} are {told[0]} first, and here {told[1]}"


def _class_names(schema: Any, column: str) -> list[str]:
    """The names of the classes, which the library writes into the schema."""
    try:
        described = json.loads((schema.metadata or {})[b"huggingface"])
        return [str(name) for name in described["info"]["features"][column]["names"]]
    except (KeyError, TypeError, ValueError):
        return []


# ---- images --------------------------------------------------------------------------------------------------------


def images_of(
    files: Sequence[Path], column: str, count: int, size: int | None
) -> tuple[np.ndarray, bool, "Counter[str]"]:
    """The images of a split's files: N x height x width x 3 uint8; whether all are grey; and what was changed in how
    many. count: N. size: to which they are scaled by the shorter side, and cropped; else they are all of one.

    Raises:
        UserError: where a file or an image is damaged, there is no such column, or images are of several sizes.
    """
    images, all_grey = np.empty((count, size or 1, size or 1, 3), np.uint8), True
    done: Counter[str] = Counter()
    for index, (name, content) in enumerate(_contents(files, column)):
        picture, changes = decoded_or_refused(content, name, REMEDY)
        pixels = centre(picture, size, size) if size else np.asarray(picture)
        if not size and not index:
            images = np.empty((count, *pixels.shape), np.uint8)
        if pixels.shape != images.shape[1:]:
            (height, width, _), (first, second) = pixels.shape, images.shape[1:3]
            raise UserError(
                f"{name} is {height} x {width}, and those before it are {first} x {second}; write a size, to which "
                "all are scaled and cropped"
            )
        images[index] = pixels
        all_grey &= _is_grey(content)
        done.update(changes)
    return images, all_grey, done


def first_image(files: Sequence[Path], column: str) -> tuple[int, int, int] | None:
    """Height, width and channels of the first; None where there is none. Raises as images_of."""
    found = next(_contents(files, column, 1), None)
    if found is None:
        return None
    name, content = found
    picture, _ = decoded_or_refused(content, name, REMEDY)
    return picture.height, picture.width, 1 if _is_grey(content) else 3


def _contents(files: Sequence[Path], column: str, batch: int = BATCH) -> Iterator[tuple[str, bytes]]:
    """What to call each image, and its file's content."""
    for file in files:
        with _opened(file) as table:
            kind = _kind(table, column, "image", file)
            is_struct = pa.types.is_struct(kind) and "bytes" in {field.name for field in kind}
            if not (is_struct or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
                raise UserError(f"{file}: {column} holds {kind} and no images; set image to a column of images")
            row = 0
            for part in table.iter_batches(batch, columns=[column]):
                for value in part.column(0).to_pylist():
                    content = value.get("bytes") if isinstance(value, dict) else value
                    if content is None and isinstance(value, dict) and value.get("path"):
                        raise UserError(
                            f"{file}: row {row} names {value['path']}, and its images are not in the file; take a "
                            "revision or config that has them"
                        )
                    if content is None:
                        raise UserError(f"{file}: row {row} holds no image; {REMEDY}")
                    yield f"{file}: the image of row {row}", content
                    row += 1


def _is_grey(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.mode in GREY
    except DAMAGES:  # which whoever decodes it meets as well
        return False
