"""Data sets: where images come from, which classes, which splits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from robust_transfer.specs.fields import Count, Fraction, Spec, WholeNumber

if TYPE_CHECKING:
    from robust_transfer.data.raw import Arrays, Files
    from robust_transfer.data.sources import Source

SplitName = Literal["train", "validation", "test"]
Seed = Annotated[WholeNumber, Field(lt=2**32)]


@dataclass(frozen=True)
class Facts:
    """What is known of a data set before it is read; None, or nothing, where it is not known.

    channels, height, width: of the images as they are shown to a network. classes: how many there are.
    images: for each split, how many images each class has, by its number.
    totals: for each split, about how many it has in all, where those of each class are not known.
    kept: for each split, about how many bytes the prepared set has of an image, where it is not one for each value.
    """

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    classes: int | None = None
    images: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    totals: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, int] = field(default_factory=dict)

    def count(self, split: str) -> int | None:
        """How many images a split has."""
        return sum(self.images[split].values()) if split in self.images else None


class Dataset(Spec):
    """What every data set has. Splits are train, validation (held out of the training part) and test."""

    fetches: ClassVar[bool] = False
    """Whether its reader itself can download it; see fetch."""

    if TYPE_CHECKING:
        reader: str  # the tag that tells the forms apart, a literal in each

    label: str = Field("", exclude=True)
    """A name for readers of the config; it enters no id."""
    classes: Annotated[list[WholeNumber], Field(min_length=2)] | None = None
    """The original class numbers kept, in this order, renumbered 0..n-1; all by default."""
    half: Literal["first", "second"] | None = None
    """In place of `classes`, a random half of the set's classes (the larger one of an odd number), or all others."""
    halves_seed: Seed = 0
    """Seed of that draw."""
    validation: Fraction = 0.1
    """Share of the training part held out, class by class, from each run that chooses by it (0 = none); all train in
    the others.
    """
    limit: Count | None = None
    """Keep at most this many images a class and split, for trials; all by default."""
    limit_train: Count | None = None
    """Keep at most this many training images a class, for a task with few of them; all by default."""
    seed: Seed = 0
    """Seed of the random splits."""
    channels: Literal[1, 3] | None = None
    """3 repeats grey images as RGB, and 1 shows RGB images as grey (their luma), for data that meets data or networks
    of the other kind; as they are by default.
    """

    @model_validator(mode="after")
    def _classes_chosen(self):
        if self.classes and len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: a class is named twice")
        if self.classes and self.half:
            raise ValueError(f"half: {self.half} chooses classes, and so does `classes`; give one of them")
        if self.halves_seed and not self.half:
            raise ValueError("halves_seed: nothing is halved; give half: first or second, or leave it out")
        return self

    def canonical(self) -> dict[str, Any]:
        """As of every spec, but with `reader` under the name that it had when ids were first made of it."""
        content = super().canonical()
        return {"source": content.pop("reader"), **content}

    @property
    def base(self) -> str:
        """The readable name of the undivided set."""
        raise NotImplementedError

    @property
    def shown_at(self) -> tuple[int, ...]:
        """The size, or size and resize, at which images are shown that are kept smaller; none of others."""
        return ()

    @property
    def files(self) -> list[str]:
        """Files and folders below data_root that must be there before it can be read."""
        return []

    @property
    def fetch_key(self) -> tuple[str, ...]:
        """What tells it apart from other parts of the same source, as far as they are fetched apart."""
        return (*self.files,)

    def files_in(self, data_root: Path) -> list[str]:
        """The same of the layout that is there, for a set that comes in several."""
        return self.files

    def absent_from(self, data_root: Path) -> list[str]:
        """The paths of those that are not there."""
        return [str(data_root / name) for name in self.files_in(data_root) if not (data_root / name).exists()]

    @property
    def remedy(self) -> str:
        """What to do when they are missing; {root} stands for data_root."""
        return ""

    @property
    def slug(self) -> str:
        """A short readable name, a function of the spec alone."""
        base = self.base + {None: "", 1: "-grey", 3: "-rgb"}[self.channels]
        if self.half:
            return f"{base}-{self.half}-half" + (f"-{self.halves_seed}" if self.halves_seed else "")
        if not self.classes:
            return base
        first, last = self.classes[0], self.classes[-1]
        run = self.classes == list(range(first, last + 1))
        return f"{base}-{first}to{last}" if run else f"{base}-{len(self.classes)}classes"

    def most(self, split: str) -> int | None:
        """How many images of a class a split keeps at most; None is all."""
        limits = (self.limit, self.limit_train if split == "train" else None)
        return min((limit for limit in limits if limit), default=None)

    @property
    def test_share(self) -> float:
        """The share held out, class by class, for the test split of a set that has none of its own."""
        return 0.0

    def source(self, data_root: Path) -> "Source | None":
        """Where it comes from and on what terms, where the reader itself knows; data/sources.py has the others."""
        return None

    def fetch(self, data_root: Path) -> None:
        """Download it to where it is read from; asked for by `robust-transfer data --fetch` alone.

        Raises:
            UserError: where that fails.
        """
        raise NotImplementedError

    def read(self, data_root: Path) -> "Arrays | Files":
        """The undivided set, as it is distributed.

        Raises:
            UserError: where it is missing, partial or damaged; says what to put where.
        """
        raise NotImplementedError

    def look(self, data_root: Path) -> Facts:
        """What is known of the undivided set without reading it: catalogue, headers, labels, names of files."""
        return Facts()

    def peek(self, data_root: Path) -> Facts:
        """What is known of the prepared set, before it is: classes are chosen and splits divided. Cheap, without torch.

        Raises:
            UserError: where it is seen already that the set will be refused.
        """
        from robust_transfer.data.splits import foreseen

        key = (self.model_dump_json(), data_root, tuple(_stamp(data_root / name) for name in self.files_in(data_root)))
        if key not in _PEEKED:
            _PEEKED[key] = foreseen(self, self.look(data_root))
        return _PEEKED[key]


def with_reader(values: Any) -> Any:
    """A data set's values with the key `reader`, which may go by its earlier name `source`, as in Dataset.canonical."""
    if not isinstance(values, Mapping) or "reader" in values:
        return values
    return {"reader" if key == "source" else key: value for key, value in values.items()}


_PEEKED: dict[Any, Facts] = {}


def _stamp(path: Path) -> Any:
    """What changes when a file does, or a folder, or one in it."""
    try:
        status = path.stat()
        inner = sorted(each.stat().st_mtime_ns for each in path.iterdir() if each.is_dir()) if path.is_dir() else []
        return status.st_mtime_ns, status.st_size, *inner
    except OSError:
        return None
