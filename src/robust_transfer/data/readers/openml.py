"""Tables of pixels of OpenML, in the files that scikit-learn's fetch_openml caches.

They are fetched and read here: scikit-learn 1.9 cannot parse a table whose classes are numbers by pandas 3, and a file
of its cache that it cannot read it deletes and downloads again, which a job must not do.
"""

import gzip
import hashlib
import json
import math
import shutil
from contextlib import suppress
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from urllib.parse import urlparse
from urllib.request import urlopen

from pydantic import Field, field_validator, model_validator

from robust_transfer.errors import UserError
from robust_transfer.specs.datasets import Dataset, Facts
from robust_transfer.specs.fields import Count, Number

if TYPE_CHECKING:
    from robust_transfer.data.raw import Arrays
    from robust_transfer.data.sources import Source

OPENML = "https://www.openml.org"
CACHE = "openml/openml.org"
"""Where scikit-learn caches, below its data_home; each address is a path there, with .gz."""
TOLD = {"name", "is_target", "is_ignore", "is_row_identifier"}
"""What OpenML says of each column, and is asked here."""
SILENCE = 60
"""Seconds without an answer after which a download is given up."""
FAILURES = (OSError, ValueError, HTTPException)
"""What downloads fail with, urllib's own errors among them."""


class OpenML(Dataset):
    """A table of OpenML whose rows are the pixels of an image each, and its label: 554 is MNIST, 40996 Fashion-MNIST.

    `robust-transfer data --fetch` puts it into data_root/openml; a job reads it there, without a connection. What
    scikit-learn's fetch_openml cached with data_home=data_root is taken as well.
    """

    fetches: ClassVar[bool] = True

    reader: Literal["openml"]
    id: Count
    """OpenML's number of the data set, which is that of one version."""
    shape: Annotated[list[Count], Field(min_length=2, max_length=3)]
    """How a row's numbers make an image: [28, 28] (grey), [3, 32, 32] (three planes, as CIFAR's) or [32, 32, 3]."""
    target: str | None = None
    """The column with the labels; the one that OpenML names as such, unless given."""
    test: Annotated[Number, Field(gt=0)] = 0.2
    """Below 1, the share held out for the test split, class by class; else the last so many rows are the test split, as
    10000 of MNIST and of Fashion-MNIST.
    """

    @field_validator("shape")
    @classmethod
    def _has_channels(cls, shape: list[int]) -> list[int]:
        if len(shape) == 3 and shape[0] not in (1, 3) and shape[2] not in (1, 3):
            raise ValueError(f"{shape} has no 1 or 3 channels, first or last; write one like [3, 32, 32]")
        return shape

    @model_validator(mode="after")
    def _whole_rows(self):
        if self.test >= 1 and self.test != int(self.test):
            raise ValueError(f"test: {self.test:g} is neither a share below 1 nor a number of rows; write one of both")
        return self

    @property
    def base(self) -> str:
        return f"openml-{self.id}"

    @property
    def files(self) -> list[str]:
        return [self._cached(name) for name in self._described[:2]]

    def files_in(self, data_root: Path) -> list[str]:
        """These and the table, whose address the first of them has."""
        if not (data_root / self.files[0]).exists():
            return self.files
        try:
            return [*self.files, self._table(data_root)]
        except UserError:  # which `look` says
            return self.files

    @property
    def _described(self) -> list[str]:
        """Addresses of what OpenML says of the set, of its columns, and of its size, which may be missing."""
        return [f"api/v1/json/data/{of}{self.id}" for of in ("", "features/", "qualities/")]

    @property
    def remedy(self) -> str:
        return f"`robust-transfer data --fetch {self.base}` fetches it"

    @property
    def test_share(self) -> float:
        return self.test if self.test < 1 else 0.0

    @staticmethod
    def _cached(address: str) -> str:
        return f"{CACHE}/{address}.gz"

    def _table(self, data_root: Path) -> str:
        """The table's path, by its address; or by its number, where older versions of scikit-learn cached it."""
        description = self._description(data_root)
        address = urlparse(str(description.get("url")))
        if address.scheme not in ("http", "https") or ".." in address.path.split("/"):
            raise UserError(f"{data_root / self.files[0]} has no address of a table; delete it: {self.remedy}")
        names = [address.path.lstrip("/"), f"data/v1/download/{description.get('file_id')}"]
        paths = [self._cached(name) for name in names]
        return next((path for path in paths if (data_root / path).exists()), paths[0])

    def _description(self, data_root: Path) -> dict[str, Any]:
        """OpenML's description: licence, address and MD5 of the table."""
        return self._json(data_root / self.files[0], "data_set_description")

    def _columns(self, data_root: Path) -> list[dict[str, Any]]:
        """OpenML's description of each column, in their order in the table."""
        path = data_root / self.files[1]
        described = self._json(path, "data_features")
        try:
            columns = sorted(map(dict, described["feature"]), key=lambda column: int(column["index"]))
        except (LookupError, TypeError, ValueError):
            columns = []
        if not columns or any(TOLD - column.keys() for column in columns):
            raise UserError(f"{path} describes no columns; delete it: {self.remedy}")
        return columns

    def _json(self, path: Path, key: str) -> dict[str, Any]:
        try:
            return dict(_content(path, path.stat().st_mtime_ns)[key])
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} cannot be read ({error!r}); delete it: {self.remedy}") from None

    # ---- where it comes from ---------------------------------------------------------------------------------------

    def source(self, data_root: Path) -> "Source":
        """Its page; its licence and size once it was fetched."""
        from robust_transfer.data.sources import Source

        page = f"{OPENML}/d/{self.id}"
        if not (data_root / self.files[0]).exists():
            return Source(page, "as its page says")
        licence = self._description(data_root).get("licence") or "none stated"
        table = data_root / self._table(data_root)
        return Source(page, licence, max(1, round(table.stat().st_size / 1e6)) if table.exists() else None)

    def fetch(self, data_root: Path) -> None:
        """Download the descriptions and the table, in the layout of scikit-learn's cache.

        Raises:
            UserError: where OpenML has no such set, or is not to be reached.
        """
        try:
            *needed, size = self._described
            for name in needed:
                _download(f"{OPENML}/{name}", data_root / self._cached(name))
            with suppress(*FAILURES):
                _download(f"{OPENML}/{size}", data_root / self._cached(size))
            if not (table := data_root / self._table(data_root)).exists():
                _download(str(self._description(data_root).get("url")), table)
                try:
                    self._must_be_whole(table, self._description(data_root).get("md5_checksum"))
                except UserError:
                    table.unlink()
                    raise
        except FAILURES as error:
            raise UserError(
                f"{self.base} could not be fetched ({error}); see whether {OPENML}/d/{self.id} is there"
            ) from None

    # ---- reading ---------------------------------------------------------------------------------------------------

    def look(self, data_root: Path) -> Facts:
        """From OpenML's descriptions of the set and its columns; nothing where they are missing.

        Raises:
            UserError: where the columns have not the shape, or there is no column with labels.
        """
        if self.absent_from(data_root):
            return Facts()
        self._table(data_root)
        _, target = self._chosen(data_root)
        channels, height, width = self._sizes
        names = [*(target.get("nominal_value") or ())]
        numbers = sorted(int(name) for name in names if name.isdecimal())
        # Their names are numbered in their order, but numbers stay as they are: from 5, say, they may be any number.
        known = names and (not numbers or numbers == [*range(len(names))])
        classes = len(names) if known else None
        return Facts(channels, height, width, classes, totals=self._totals(data_root))

    def _totals(self, data_root: Path) -> dict[str, int]:
        """How many rows are in each split, as OpenML counts them; nothing where it doesn't say."""
        path = data_root / self._cached(self._described[2])
        if not path.exists():
            return {}
        qualities = self._json(path, "data_qualities").get("quality", [])
        try:
            rows = next((int(float(each["value"])) for each in qualities if each["name"] == "NumberOfInstances"), 0)
        except (LookupError, TypeError, ValueError, OverflowError):
            return {}
        test = round(rows * self.test) if self.test < 1 else min(int(self.test), rows)
        return {"train": rows - test, "test": test} if rows else {}

    @property
    def _sizes(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        if len(self.shape) == 2:
            return 1, self.shape[0], self.shape[1]
        first, second, third = self.shape
        return (first, second, third) if self._in_planes else (third, first, second)

    @property
    def _in_planes(self) -> bool:
        """Whether the channels come first; where both ends could be channels, it is what makes squares."""
        first, *_, last = self.shape
        return len(self.shape) == 3 and first in (1, 3) and (last not in (1, 3) or self.shape[1] == last)

    def _chosen(self, data_root: Path) -> tuple[list[str], dict[str, Any]]:
        """The names of the columns with pixels, and the column with labels."""
        columns = self._columns(data_root)
        targets = [each for each in columns if each["is_target"] == "true"]
        if self.target:
            targets = [each for each in columns if each["name"] == self.target]
        if len(targets) != 1:
            some = ", ".join(str(each["name"]) for each in (columns if len(columns) < 8 else columns[-3:]))
            told = f"no column {self.target!r}" if self.target else f"{len(targets)} columns with labels"
            raise UserError(f"the table has {told}; set target to one of its columns, which are ..., {some}")
        (target,) = targets
        ignored = {each["name"] for each in columns if "true" in (each["is_ignore"], each["is_row_identifier"])}
        left_out = {target["name"], *(each["name"] for each in columns if each["is_target"] == "true"), *ignored}
        pixels = [str(each["name"]) for each in columns if each["name"] not in left_out]
        if len(pixels) != math.prod(self.shape):
            shape = " x ".join(map(str, self.shape))
            raise UserError(
                f"a row of the table has {len(pixels)} numbers, and shape says {shape} = {math.prod(self.shape)}; mend "
                "its shape"
            )
        return pixels, target

    def read(self, data_root: Path) -> "Arrays":
        """All rows, held against the MD5 that OpenML publishes.

        Raises:
            UserError: where files are missing, damaged or others, or the table holds no images and labels.
        """
        import numpy as np

        from robust_transfer.data import arff
        from robust_transfer.data.raw import Arrays

        if absent := self.absent_from(data_root):
            raise UserError(f"{self.base}: {', '.join(absent)} missing; {self.remedy}")
        pixels, target = self._chosen(data_root)
        table = data_root / self._table(data_root)
        self._must_be_whole(table, self._description(data_root).get("md5_checksum"))
        columns = [str(each["name"]) for each in self._columns(data_root)]
        rows, labels = arff.rows_of(table, columns, pixels, str(target["name"]))
        known = target.get("nominal_value") or []
        if known and (other := [label for label in np.unique(labels).tolist() if label not in known]):
            raise UserError(f"{table}: {target['name']} has the label {other[0]}, which is none of {', '.join(known)}")
        channels, height, width = self._sizes
        if self._in_planes:
            images = rows.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        else:
            images = rows.reshape(-1, height, width, channels)
        if self.test < 1:
            return Arrays(self.base, {"train": (images, labels)})
        kept = len(images) - int(self.test)
        if kept < 1:
            raise UserError(f"{self.base} has {len(images)} rows, and test wants {int(self.test)} of them; lower test")
        return Arrays(self.base, {"train": (images[:kept], labels[:kept]), "test": (images[kept:], labels[kept:])})

    def _must_be_whole(self, table: Path, md5: str | None) -> None:
        try:
            with gzip.open(table) as content:
                found = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except (OSError, EOFError) as error:
            raise UserError(f"{table} is damaged ({error}); delete it: {self.remedy}") from None
        if md5 and found != md5:
            raise UserError(f"{table} has the MD5 {found}, and OpenML says {md5}; delete it: {self.remedy}")


def _download(address: str, path: Path) -> None:
    """Write what is at an address, compressed, to a path."""
    from robust_transfer import store

    with store.replacing(path) as part, urlopen(address, timeout=SILENCE) as answer, gzip.open(part, "wb") as file:
        shutil.copyfileobj(answer, file)
        if missing := getattr(answer, "length", None):  # of http.client, which says nothing of it
            raise OSError(f"{address} broke off, {missing} bytes before its end")


@cache
def _content(path: Path, changed: int) -> dict[str, Any]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return dict(json.load(file))
