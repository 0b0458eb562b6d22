"""Data sets: where images come from, which classes, which splits."""

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from robust_transfer.plan.specs.catalogue import CATALOGUE, TORCHVISION
from robust_transfer.plan.specs.fields import Count, Fraction, Number, Spec, WholeNumber


class Dataset(Spec):
    """What every data set has. Splits are train, validation (held out of the training part) and test.

    classes: the original class numbers kept, in this order, renumbered 0..n-1; all by default.
    half: in place of `classes`, a random half of the set's classes (the larger one of an odd number), or all others.
    halves_seed: of that draw.
    validation: share of the training part held out, class by class, for every choice that is made (0 = none).
    limit: keep at most this many images a class and split, for trials; all by default.
    seed: of the random splits.
    """

    label: str = Field("", exclude=True)
    classes: Annotated[list[WholeNumber], Field(min_length=2)] | None = None
    half: Literal["first", "second"] | None = None
    halves_seed: WholeNumber = 0
    validation: Fraction = 0.1
    limit: Count | None = None
    seed: WholeNumber = 0

    @model_validator(mode="after")
    def _classes_chosen(self):
        if self.classes and len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: a class is named twice")
        if self.classes and self.half:
            raise ValueError(f"half: {self.half} chooses classes, and so does `classes`; give one of them")
        if self.halves_seed and not self.half:
            raise ValueError("halves_seed: nothing is halved; give half: first or second, or leave it out")
        return self

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
    def remedy(self) -> str:
        """What to do when they are missing; {root} stands for data_root."""
        return ""

    @property
    def slug(self) -> str:
        """A short readable name, a function of the spec alone."""
        if self.half:
            return f"{self.base}-{self.half}-half" + (f"-{self.halves_seed}" if self.halves_seed else "")
        if not self.classes:
            return self.base
        first, last = self.classes[0], self.classes[-1]
        run = self.classes == list(range(first, last + 1))
        return f"{self.base}-{first}to{last}" if run else f"{self.base}-{len(self.classes)}classes"


class Digits(Dataset):
    """scikit-learn's 1,797 handwritten digits, 8x8, 10 classes: real data that ships with a library.

    test: share held out, class by class, for the test split (the set has none of its own).
    appearance: the images as they are, in negative, turned by 90 degrees, or with each 2x2 pixels averaged (still 8x8):
        target tasks that differ visibly from their source, from the same real data.
    """

    source: Literal["sklearn-digits"]
    test: Annotated[Number, Field(gt=0, lt=1)] = 0.35
    appearance: Literal["plain", "negative", "quarter-turn", "coarse"] = "plain"

    @model_validator(mode="after")
    def _ten_classes(self):
        if self.classes and max(self.classes) > 9:
            raise ValueError("classes: the digits are 0 to 9")
        return self

    @property
    def base(self) -> str:
        return "digits"

    @property
    def slug(self) -> str:
        return super().slug + ("" if self.appearance == "plain" else f"-{self.appearance}")


class Torchvision(Dataset):
    """A data set of small images by its torchvision name, with its own test split; read from data_root.

    size: side in pixels. Images of CIFAR and SVHN are kept as they are, 32x32, and scaled up, bilinear, whenever they
        are shown; augmentation is before that. GTSRB's images are of any size and shape: they are scaled when the set
        is prepared, and not cropped to the sign.
    resize: of CIFAR and SVHN, to show them as the photographs of a Collection: every batch shows random crops at
        `size`; validation and test are scaled to `resize` and cropped at the centre.
    """

    source: Literal["torchvision"]
    name: Literal[tuple(TORCHVISION)]
    size: Count = 32
    resize: Count | None = None

    @model_validator(mode="after")
    def _fits(self):
        top = TORCHVISION[self.name].classes
        if self.classes and max(self.classes) >= top:
            raise ValueError(f"classes: {self.name} has 0 to {top - 1}")
        if self.size < 32 and self.name != "GTSRB":
            raise ValueError(f"size: {self.name} has images of 32x32, which are scaled up; write 32 or more")
        if self.resize and self.name == "GTSRB":
            raise ValueError("resize: signs are not cropped; take resize away")
        if self.resize and self.resize < self.size:
            raise ValueError(f"resize: {self.resize} pixels are too few to crop {self.size} from; raise resize")
        return self

    @property
    def base(self) -> str:
        return self.name.lower() + ("" if self.size == 32 else f"-{self.size}px") + ("-crops" if self.resize else "")

    @property
    def shown_at(self) -> tuple[int, ...]:
        if self.resize:
            return self.size, self.resize
        return () if self.name == "GTSRB" or self.size == 32 else (self.size,)

    @property
    def files(self) -> list[str]:
        entry = TORCHVISION[self.name]
        return [f"{entry.folder}/{name}" for name in entry.needs]

    @property
    def remedy(self) -> str:
        return TORCHVISION[self.name].unpack


class Npz(Dataset):
    """An .npz file under data_root: for each split SPLIT_images (uint8, NHWC) and SPLIT_labels.

    In place of SPLIT_images, SPLIT_jpeg (all files joined, uint8) with SPLIT_offsets (n+1) is read as well.

    train, test: the names of the two splits in the file.
    sha256: of the file, if it is to be checked.
    """

    source: Literal["npz"]
    file: str
    train: str = "train"
    test: str = "test"
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None

    @property
    def base(self) -> str:
        return re.sub(r"[^A-Za-z0-9-]+", "-", self.file.rsplit("/", 1)[-1].removesuffix(".npz")).lower()

    @property
    def files(self) -> list[str]:
        return [self.file]

    @property
    def remedy(self) -> str:
        return "put the .npz file there, or mend the data set's `file`"


class Folder(Dataset):
    """Folders FOLDER/train/CLASS/*.png and FOLDER/test/CLASS/*.png (or .jpg) under data_root, classes in name order.

    size: side in pixels; images are scaled to it by the shorter side and cropped at the centre.
    """

    source: Literal["folder"]
    folder: str
    size: Count

    @property
    def base(self) -> str:
        return re.sub(r"[^A-Za-z0-9-]+", "-", self.folder.rstrip("/").rsplit("/", 1)[-1]).lower()

    @property
    def files(self) -> list[str]:
        return [f"{self.folder}/train", f"{self.folder}/test"]

    @property
    def remedy(self) -> str:
        return "put one folder of images a class into train and into test, or mend the data set's `folder`"


class Collection(Dataset):
    """A set of large photographs in a folder below data_root, laid out as its authors distribute it (catalogue.py).

    The training part is kept as the original files (of imagenet, as their paths and digests), and every batch shows
    random crops of them at `size`; validation and test are scaled to `resize` by the shorter side and cropped at the
    centre.

    size, resize: in pixels.
    missing: share of the listed images that may be missing (0 = none), for birdsnap, whose images are links to the web
        that have died in part.
    """

    source: Literal["collection"]
    name: Literal[tuple(CATALOGUE)]
    size: Count = 224
    resize: Count = 256
    missing: Fraction = 0.0

    @model_validator(mode="after")
    def _fits(self):
        top = CATALOGUE[self.name].classes
        if self.classes and max(self.classes) >= top:
            raise ValueError(f"classes: {self.name} has 0 to {top - 1}")
        if self.resize < self.size:
            raise ValueError(f"resize: {self.resize} pixels are too few to crop {self.size} from; raise resize")
        return self

    @property
    def base(self) -> str:
        return self.name if self.size == 224 else f"{self.name}-{self.size}px"

    @property
    def files(self) -> list[str]:
        entry = CATALOGUE[self.name]
        return [f"{entry.folder}/{name}" for name in entry.needs]

    @property
    def remedy(self) -> str:
        return CATALOGUE[self.name].unpack


AnyDataset = Annotated[Digits | Torchvision | Npz | Folder | Collection, Field(discriminator="source")]
