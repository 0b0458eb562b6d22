"""Handwritten digits that ship with a library: ten classes, no test split of their own, and several appearances."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from robust_transfer.specs.datasets import Dataset
from robust_transfer.specs.fields import Number

if TYPE_CHECKING:
    import numpy as np

    from robust_transfer.data.raw import Arrays


class Handwritten(Dataset):
    """Handwritten digits, 0 to 9, grey."""

    test: Annotated[Number, Field(gt=0, lt=1)] = 0.35
    """Share held out, class by class, for the test split (the set has none of its own)."""
    appearance: Literal["plain", "negative", "quarter-turn", "coarse"] = "plain"
    """The images as they are, in negative, turned by 90 degrees, or with each 2x2 pixels averaged (still as large):
    target tasks that differ visibly from their source, from the same real data.
    """

    @model_validator(mode="after")
    def _ten_classes(self):
        if self.classes and max(self.classes) > 9:
            raise ValueError("classes: the digits are 0 to 9")
        return self

    @property
    def slug(self) -> str:
        return super().slug + ("" if self.appearance == "plain" else f"-{self.appearance}")

    @property
    def test_share(self) -> float:
        return self.test

    def arrays(self, images: "np.ndarray", labels: "np.ndarray") -> "Arrays":
        """The set, given its N x H x W images (values 0 to 255, rounded here) and N labels: all in one split."""
        import numpy as np

        from robust_transfer.data.raw import Arrays

        plain = np.rint(images).astype(np.uint8)
        train = _appearing(plain, self.appearance)[..., None], labels.astype(np.int64)
        return Arrays(self.base, {"train": train}, {n: str(n) for n in range(10)})


def _appearing(images: "np.ndarray", appearance: str) -> "np.ndarray":
    """N x H x W uint8 images as Handwritten.appearance says; for coarse ones, H and W are even."""
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
