"""scikit-learn's handwritten digits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from robust_transfer.specs.datasets import Dataset, Facts
from robust_transfer.specs.fields import Number

if TYPE_CHECKING:
    import numpy as np

    from robust_transfer.data.raw import Arrays

PER_CLASS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
"""Images of each digit."""


class Digits(Dataset):
    """scikit-learn's 1,797 handwritten digits, 8x8, 10 classes: real data that ships with a library."""

    reader: Literal["sklearn-digits"]
    test: Annotated[Number, Field(gt=0, lt=1)] = 0.35
    """Share held out, class by class, for the test split (the set has none of its own)."""
    appearance: Literal["plain", "negative", "quarter-turn", "coarse"] = "plain"
    """The images as they are, in negative, turned by 90 degrees, or with each 2x2 pixels averaged (still 8x8): target
    tasks that differ visibly from their source, from the same real data.
    """

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

    @property
    def test_share(self) -> float:
        return self.test

    def look(self, data_root: Path) -> Facts:
        """8 x 8, grey, and how many images of each digit there are."""
        return Facts(1, 8, 8, 10, {"train": dict(enumerate(PER_CLASS))})

    def read(self, data_root: Path) -> "Arrays":
        """Values 0 to 16, scaled to 0 to 255. There is no test split of its own."""
        import numpy as np
        from sklearn.datasets import load_digits

        from robust_transfer.data.raw import Arrays

        digits = load_digits()
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        train = _appearing(images, self.appearance)[..., None], digits.target.astype(np.int64)
        return Arrays(self.base, {"train": train}, {n: str(n) for n in range(10)})


def _appearing(images: "np.ndarray", appearance: str) -> "np.ndarray":
    """N x H x W uint8 images as Digits.appearance says."""
    import numpy as np

    if appearance == "negative":
        return 255 - images
    if appearance == "quarter-turn":
        return np.rot90(images, axes=(1, 2)).copy()
    if appearance == "coarse":
        n, height, width = images.shape
        means = images.reshape(n, height // 2, 2, width // 2, 2).mean((2, 4))
        return np.rint(means).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    return images
