"""Data readers: one file a form of data, with the spec and how it is read; see docs/data.md."""

from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator

from robust_transfer.registry import members, one_of
from robust_transfer.specs.datasets import Dataset, with_reader

READERS = members(__name__, __path__, Dataset)

if TYPE_CHECKING:
    AnyDataset = Dataset
else:
    AnyDataset = Annotated[one_of(READERS, "reader"), BeforeValidator(with_reader)]
