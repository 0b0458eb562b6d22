"""Sets of small images, by torchvision's name."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from robust_transfer.data.catalogue import TORCHVISION, Entry
from robust_transfer.errors import UserError
from robust_transfer.specs.datasets import Dataset, Facts
from robust_transfer.specs.fields import Count

if TYPE_CHECKING:
    from robust_transfer.data.collections.manifest import Listed
    from robust_transfer.data.raw import Arrays, Splits

    Name = str
else:
    Name = Literal[tuple(TORCHVISION)]


class Torchvision(Dataset):
    """A data set of small images by its torchvision name, with its own test split; read from data_root."""

    reader: Literal["torchvision"]
    name: Name
    """The set's name in torchvision; GTSRB-final has the competition's final training set, in its authors' layout or in
    Kaggle's.
    """
    size: Count = 32
    """Side in pixels. Images of CIFAR and SVHN are kept as they are, 32x32, and scaled up, bilinear, whenever they are
    shown; augmentation is before that. GTSRB's images are of any size and shape: they are scaled when the set is
    prepared, and not cropped to the sign.
    """
    resize: Count | None = None
    """Of CIFAR and SVHN, to show them as the photographs of a Collection: every batch shows random crops at `size`;
    validation and test are scaled to `resize` and cropped at the centre.
    """

    @model_validator(mode="after")
    def _fits(self):
        top = TORCHVISION[self.name].classes
        if self.classes and max(self.classes) >= top:
            raise ValueError(f"classes: {self.name} has 0 to {top - 1}")
        if self.size < 32 and not self.signs:
            raise ValueError(f"size: {self.name} has images of 32x32, which are scaled up; write 32 or more")
        if self.resize and self.signs:
            raise ValueError("resize: signs are not cropped; take resize away")
        if self.resize and self.resize < self.size:
            raise ValueError(f"resize: {self.resize} pixels are too few to crop {self.size} from; raise resize")
        return self

    @property
    def signs(self) -> bool:
        """Whether it is one of the sets of traffic signs."""
        return self.name.startswith("GTSRB")

    @property
    def base(self) -> str:
        return self.name.lower() + ("" if self.size == 32 else f"-{self.size}px") + ("-crops" if self.resize else "")

    @property
    def shown_at(self) -> tuple[int, ...]:
        if self.resize:
            return self.size, self.resize
        return () if self.signs or self.size == 32 else (self.size,)

    @property
    def files(self) -> list[str]:
        entry = TORCHVISION[self.name]
        return [f"{entry.folder}/{name}" for name in entry.needs]

    def files_in(self, data_root: Path) -> list[str]:
        """Those of the second layout where one of it is there, and not all of the first are."""
        entry = TORCHVISION[self.name]
        return [f"{entry.folder}/{name}" for name in _layout(entry, data_root / entry.folder)]

    @property
    def remedy(self) -> str:
        return TORCHVISION[self.name].unpack

    def look(self, data_root: Path) -> Facts:
        """What the catalogue has; CIFAR's classes are of equal sizes."""
        entry, images = TORCHVISION[self.name], {}
        if self.name.startswith("CIFAR"):
            sizes = {"train": entry.train // entry.classes, "test": entry.test // entry.classes}
            images = {split: dict.fromkeys(range(entry.classes), size) for split, size in sizes.items()}
        totals = {"train": entry.train, "test": entry.test}
        kept = dict.fromkeys(("train", "validation", "test"), 3 * 32 * 32) if self.shown_at else {}
        return Facts(3, self.size, self.size, entry.classes, images, totals, kept)

    def read(self, data_root: Path) -> "Arrays":
        """From torchvision's folder layout. SVHN's label 10 is class 0, the digit; SVHN and GTSRB name no classes.

        Raises:
            UserError: where the set is missing or damaged (torchvision checks the MD5 of all files but GTSRB's).
        """
        import numpy as np
        import torchvision

        from robust_transfer.data.raw import Arrays

        names = [str(n) for n in range(TORCHVISION[self.name].classes)]
        if self.signs:
            return Arrays(self.name, _signs(self.name, data_root, self.size), dict(enumerate(names)))
        splits = {}
        for split in ("train", "test"):
            try:
                if self.name == "SVHN":
                    dataset = torchvision.datasets.SVHN(data_root, split, download=False)
                    splits[split] = (dataset.data.transpose(0, 2, 3, 1), dataset.labels)
                else:
                    of_name = getattr(torchvision.datasets, self.name)
                    dataset = of_name(data_root, train=split == "train", download=False)
                    splits[split], names = (dataset.data, np.asarray(dataset.targets, np.int64)), dataset.classes
            except RuntimeError:
                named = ", ".join(str(data_root / file) for file in self.files)
                raise UserError(
                    f"{self.name}: {named} missing, incomplete or damaged (the files' MD5 are checked); "
                    f"{self.remedy.format(root=data_root)}"
                ) from None
        return Arrays(self.name, splits, dict(enumerate(names)))


def _signs(name: str, data_root: Path, size: int) -> "Splits":
    """The German Traffic Sign Recognition Benchmark (Stallkamp et al. 2012): GTSRB as torchvision unpacks it, or
    GTSRB-final as Kaggle has it.

    Train and test: N x size x size x 3 uint8 images and N int64 labels, 0 to 42. Whole images of 15 to 250 pixels a
    side are scaled to size x size, whatever their shape, bilinear with antialiasing. They show some background around
    the sign: the boxes that the set gives (Roi.X1 to Roi.Y2) are not used, as torchvision's class does not use them
    either.

    Raises:
        UserError: where the set is missing, partial or another one, or an image is damaged.
    """
    import numpy as np
    from PIL import Image

    from robust_transfer.data.collections.manifest import checked
    from robust_transfer.data.images import content_of, rgb_or_refused

    entry = TORCHVISION[name]
    folder, remedy = data_root / entry.folder, entry.unpack.format(root=data_root)
    needs = _layout(entry, folder)
    if absent := [str(folder / each) for each in needs if not (folder / each).exists()]:
        raise UserError(f"{name}: {', '.join(absent)} missing; {remedy}")
    manifest = checked(_listed(name, folder, needs, remedy), name, folder, entry, 0.0, remedy)
    splits = {}
    for split, (files, labels) in manifest.splits().items():
        images = np.empty((len(files), size, size, 3), np.uint8)
        for index, file in enumerate(files):
            sign = rgb_or_refused(content_of(file, "unpack it again"), file, "unpack it again")
            smaller = sign.resize((size, size), Image.Resampling.BILINEAR)  # PIL's shrinking is antialiased
            images[index] = np.asarray(smaller)
        splits[split] = images, labels
    return splits


def _layout(entry: Entry, folder: Path) -> tuple[str, ...]:
    """What is read in a set's folder: in the layout that is there, or that which it begins to have."""
    whole = all((folder / each).exists() for each in entry.needs)
    return entry.or_needs if not whole and any((folder / each).exists() for each in entry.or_needs) else entry.needs


def _listed(name: str, folder: Path, needs: tuple[str, ...], remedy: str) -> "Listed":
    """GTSRB's Training/00042/00007_00029.ppm (frame 29 of the track of sign 7), and the rows `Filename;...;ClassId` of
    the test images' table; GTSRB-final's Final_Training/Images/00042 likewise, or Kaggle's tables `...,ClassId,Path`.
    """

    def table(file: str, delimiter: str, column: str, below: str) -> list[tuple[str, str]]:
        path = folder / file
        try:
            with open(path, encoding="utf-8", newline="") as opened:
                rows = csv.DictReader(opened, delimiter=delimiter, skipinitialspace=True)
                return [(f"{int(row['ClassId']):05}", f"{below}{row[column]}") for row in rows]
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise UserError(f"{name}: {path} is not the set's own table ({error!r}); {remedy}") from None

    if "Train.csv" in needs:
        return {split: table(f"{split.title()}.csv", ",", "Path", "") for split in ("train", "test")}
    images = needs[0]
    train = [
        (of_class.name, f"{images}/{of_class.name}/{file.name}")
        for of_class in sorted((folder / images).iterdir())
        for file in sorted(of_class.glob("*.ppm"))
    ]
    return {"train": train, "test": table("GT-final_test.csv", ";", "Filename", "GTSRB/Final_Test/Images/")}
