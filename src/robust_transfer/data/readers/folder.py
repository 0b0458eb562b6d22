"""Folders of images, one a class."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from robust_transfer.errors import UserError
from robust_transfer.specs.datasets import Dataset, Facts
from robust_transfer.specs.fields import Count

if TYPE_CHECKING:
    from robust_transfer.data.raw import Arrays

ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif"),
    *(".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm"),
)
"""Of picture files, in small or capital letters."""
DEEPEST = 16
"""Folders in folders; more are a link that leads into itself."""


class Folder(Dataset):
    """Folders FOLDER/train/CLASS/*.png and FOLDER/test/CLASS/*.png under data_root, classes in name order.

    Other endings, deeper folders, and what is left out or refused are in docs/data.md.
    """

    reader: Literal["folder"]
    folder: str
    """The folder, below data_root."""
    size: Count
    """Side in pixels; images are scaled to it by the shorter side and cropped at the centre."""

    @property
    def base(self) -> str:
        return re.sub(r"[^A-Za-z0-9-]+", "-", self.folder.rstrip("/").rsplit("/", 1)[-1]).lower()

    @property
    def files(self) -> list[str]:
        return [f"{self.folder}/train", f"{self.folder}/test"]

    @property
    def remedy(self) -> str:
        return "put one folder of images a class into train and into test, or mend the data set's `folder`"

    def look(self, data_root: Path) -> Facts:
        """From the names of folders and files; nothing where there are none.

        Raises:
            UserError: where a folder has no form that is taken.
        """
        if not all((data_root / name).is_dir() for name in self.files):
            return Facts()
        listed, names = self._listed(data_root)
        numbers = {name: n for n, name in enumerate(names)}
        images = {split: Counter(numbers[label] for label, _ in found.pictures) for split, found in listed.items()}
        return Facts(3, self.size, self.size, len(names), images)

    def read(self, data_root: Path) -> "Arrays":
        """Every picture, decoded and scaled.

        Raises:
            UserError: where a folder is missing or has no form that is taken, or a file is no whole picture.
        """
        import numpy as np

        from robust_transfer.data.examine import printable, some
        from robust_transfer.data.images import centre, content_of, decoded_or_refused
        from robust_transfer.data.raw import Arrays

        listed, names = self._listed(data_root)
        numbers = {name: n for n, name in enumerate(names)}
        remedy, splits = "replace it or take it away", {}
        done: Counter[str] = Counter()
        for split, found in listed.items():
            images = np.empty((len(found.pictures), self.size, self.size, 3), np.uint8)
            for index, (_, file) in enumerate(found.pictures):
                picture, changes = decoded_or_refused(content_of(file, remedy), file, remedy)
                images[index] = centre(picture, self.size, self.size)
                done.update(changes)
            splits[split] = images, np.array([numbers[label] for label, _ in found.pictures], np.int64)
        notes = [f"{count} pictures {what}" for what, count in done.items()]
        classless = [file for found in listed.values() for file in found.classless]
        others = [file.name for found in listed.values() for file in found.others]
        if deeper := sum(found.deeper for found in listed.values()):
            notes.append(f"{deeper} pictures lie in deeper folders, and are of the class of the first folder")
        if classless:
            notes.append(f"{len(classless)} pictures lie in no class's folder and are left out: {some(classless)}")
        if others:
            notes.append(f"{len(others)} files and folders are hidden or no pictures and are left out: {some(others)}")
        classes = {n: printable(name) for n, name in enumerate(names)}
        return Arrays(str(data_root / self.folder), splits, classes, tuple(notes), len(classless))

    def _listed(self, data_root: Path) -> tuple[dict[str, "_Found"], list[str]]:
        """What lies in train and test, and the classes of both, in name order."""
        for name in self.files:
            if not (data_root / name).is_dir():
                raise UserError(f"{data_root / name} is missing; put one folder of images a class there")
        listed = {split: _found(data_root / self.folder / split) for split in ("train", "test")}
        return listed, sorted({label for found in listed.values() for label, _ in found.pictures})


@dataclass
class _Found:
    """What lies in a split's folder.

    pictures: the class and path of each. deeper: how many of them lie deeper than in their class's folder.
    classless: pictures that lie in no class's folder. others: what is hidden or no picture.
    """

    pictures: list[tuple[str, Path]] = field(default_factory=list)
    deeper: int = 0
    classless: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


def _found(folder: Path) -> _Found:
    found = _Found()
    for path in _entries(folder):
        if path.name.startswith((".", "__MACOSX")):
            found.others.append(path)
        elif path.is_dir():
            of_class = [file for file in _below(path) if _is_picture(file, found)]
            groups = {file.relative_to(path).parts[0] for file in of_class if file.parent != path}
            deeper = sum(file.parent != path for file in of_class)
            if not of_class:
                raise UserError(f"{path} holds no picture ({', '.join(ENDINGS)}); add some, or take the folder away")
            if deeper == len(of_class) and len(groups) > 1:
                raise UserError(
                    f"{path} has no pictures of its own, but folders with pictures ({len(groups)}), which may be the "
                    f"classes; put one folder of images a class right into {folder}"
                )
            found.deeper += deeper
            found.pictures += [(path.name, file) for file in of_class]
        elif _is_picture(path, found):
            found.classless.append(path)
    return found


def _is_picture(file: Path, found: _Found) -> bool:
    """Whether a file is a picture by its name; others are kept account of.

    Raises:
        UserError: where it is a link to nowhere, which may have been a picture or a class.
    """
    if file.is_symlink() and not file.exists():
        raise UserError(
            f"{file} is a link to a file that is not there (git annex get?); fetch it, or take the link away"
        )
    pictured = file.suffix.lower() in ENDINGS and not file.name.startswith(".") and file.is_file()
    if not pictured:
        found.others.append(file)
    return pictured


def _below(folder: Path, depth: int = 0) -> Iterator[Path]:
    """The files in a folder and in those below it that are not hidden, in the order of their names."""
    if depth > DEEPEST:
        raise UserError(f"{folder} lies more than {DEEPEST} folders deep; is there a link that leads into itself?")
    for path in _entries(folder):
        if path.is_dir() and not path.name.startswith("."):
            yield from _below(path, depth + 1)
        else:
            yield path


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder / name for name in os.listdir(folder))
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}); give yourself the right to") from None
