"""Sets by torchvision's own classes, one image after the other."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from robust_transfer.data.vision import VISION
from robust_transfer.errors import UserError
from robust_transfer.specs.datasets import Dataset, Facts
from robust_transfer.specs.fields import Count, Number

if TYPE_CHECKING:
    import numpy as np

    from robust_transfer.data.raw import Arrays, Splits

    Name = str
else:
    Name = Literal[tuple(VISION)]


NOT_FROM_0 = ("CLEVRClassification", "EMNIST-letters")
"""Sets whose first class has another number: things in a picture from 3 to 10, letters from 1."""


class Vision(Dataset):
    """A classification set that torchvision has a class for, in the folder layout of that class; see data/vision.py.

    Every image is scaled to `size` by the shorter side and cropped at the centre when the set is prepared, and held in
    memory: N x size x size x 3 bytes, 1 where the images are grey.
    """

    reader: Literal["torchvision-class"]
    name: Name
    """The set's class in torchvision, of EMNIST with its split: EMNIST-letters."""
    size: Count = 32
    """Side in pixels."""
    target: str | None = None
    """What is learnt: of CelebA an attribute (Smiling by default), of INaturalist a rank (full, kingdom, phylum, class,
    order, family, genus). The other sets have one target.
    """
    test: Annotated[Number, Field(gt=0, lt=1)] = 0.2
    """Share held out, class by class, for the test split of a set that has none of its own."""

    @model_validator(mode="after")
    def _fits(self):
        if self.target and VISION[self.name].target is None:
            raise ValueError(f"target: {self.name} has one target; take target away")
        if self.test != type(self).model_fields["test"].default and VISION[self.name].test:
            raise ValueError(f"test: {self.name} has a test split of its own; take test away")
        return self

    @property
    def base(self) -> str:
        parts = (self.name.lower(), (self.target or "").lower(), "" if self.size == 32 else f"{self.size}px")
        return "-".join(filter(None, parts)).replace("_", "-")

    @property
    def files(self) -> list[str]:
        return list(VISION[self.name].needs)

    def files_in(self, data_root: Path) -> list[str]:
        others = VISION[self.name].or_needs
        instead = others and all((data_root / name).exists() for name in others)
        return list(others) if instead and not (data_root / self.files[0]).exists() else self.files

    @property
    def remedy(self) -> str:
        return "`robust-transfer data --fetch` fetches it, or says where it is to be had"

    @property
    def test_share(self) -> float:
        return self.test

    def look(self, data_root: Path) -> Facts:
        """The size; how many classes there are, where they are numbered from 0."""
        is_known = not self.target and self.name not in NOT_FROM_0
        return Facts(None, self.size, self.size, VISION[self.name].classes if is_known else None)

    def read(self, data_root: Path) -> "Arrays":
        """All images.

        Raises:
            UserError: where the set is missing, damaged or another one, or a library is missing that it needs.
        """
        from robust_transfer.data.raw import Arrays

        entry = VISION[self.name]
        parts = {"train": (entry.train_with, entry.train)}
        parts |= {"test": (entry.test_with, entry.test)} if entry.test else {}
        splits: Splits = {}
        names: dict[int, str] = {}
        for split, (words, count) in parts.items():
            try:
                dataset = self._dataset(data_root, dict(words))
                if len(dataset) != count:
                    found = f"{data_root}: {len(dataset):,} {split} images of {self.name}, not {count:,}"
                    raise UserError(f"{found}; the set is not whole: {self.remedy}")
                splits[split] = self._arrays(dataset)
            except (OSError, RuntimeError, ValueError, LookupError) as error:
                first = str(error).partition("\n")[0]
                raise UserError(f"{self.name} cannot be read from {data_root} ({first}); {self.remedy}") from None
            names = names or _names(dataset, splits[split][1].tolist())
        if len({images.shape[3] for images, _ in splits.values()}) > 1:
            splits = {split: (_in_colour(images), labels) for split, (images, labels) in splits.items()}
        return Arrays(self.name, splits, names)

    def _dataset(self, data_root: Path, words: dict[str, Any]) -> Any:
        import torchvision

        entry, chosen = VISION[self.name], None
        if entry.target:
            keyword, default = entry.target
            chosen = self.target or default
            if keyword == "target_type":
                words[keyword] = chosen
        if self.name == "SEMEION":  # the one class that downloads unless it is told not to
            words["download"] = False
        dataset = getattr(torchvision.datasets, entry.by)(data_root, **words)
        if entry.by == "CelebA":
            attributes = [name for name in dataset.attr_names if name]
            if chosen not in attributes:
                raise UserError(f"target: CelebA has no attribute {chosen}; write one of {', '.join(attributes)}")
            column = attributes.index(chosen)
            dataset.target_transform = lambda attributes: attributes[column]
        return dataset

    def _arrays(self, dataset: Any) -> "tuple[np.ndarray, np.ndarray]":
        """N x size x size x C uint8, grey where all images are, and N int64."""
        import numpy as np

        from robust_transfer.data.images import centre

        labels = np.empty(len(dataset), np.int64)
        images = np.empty((len(dataset), self.size, self.size, 1), np.uint8)
        for index in range(len(dataset)):
            image, label = dataset[index]
            if label is None:
                raise ValueError("its test images have no labels in these files")
            if images.shape[3] == 1 and image.mode not in ("1", "L"):
                images = _in_colour(images)
            shown = image.convert("L" if images.shape[3] == 1 else "RGB")
            images[index] = centre(shown, self.size, self.size).reshape(images.shape[1:])
            labels[index] = label
        return images, labels


def _in_colour(images: "np.ndarray") -> "np.ndarray":
    """Grey images N x H x W x 1 as RGB; others as they are."""
    return images if images.shape[3] == 3 else images.repeat(3, axis=3)


def _names(dataset: Any, labels: list[int]) -> dict[int, str]:
    """The classes' names by number, where the class in torchvision has them; numbers else."""
    names = getattr(dataset, "classes", None) or []
    words = [name if isinstance(name, str) else str(name[0]) for name in names]
    return {n: words[n] if n < len(words) else str(n) for n in sorted(set(labels))}
