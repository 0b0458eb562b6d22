"""scikit-learn's handwritten digits."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from robust_transfer.data.handwritten import Handwritten
from robust_transfer.specs.datasets import Facts

if TYPE_CHECKING:
    from robust_transfer.data.raw import Arrays

PER_CLASS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
"""Images of each digit."""


class Digits(Handwritten):
    """scikit-learn's 1,797 handwritten digits, 8x8, 10 classes: real data that ships with a library."""

    reader: Literal["sklearn-digits"]

    @property
    def base(self) -> str:
        return "digits"

    def look(self, data_root: Path) -> Facts:
        """8 x 8, grey, and how many images of each digit there are."""
        return Facts(1, 8, 8, 10, {"train": dict(enumerate(PER_CLASS))})

    def read(self, data_root: Path) -> "Arrays":
        """Values 0 to 16, scaled to 0 to 255. There is no test split of its own."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        return self.arrays(digits.images * (255 / 16), digits.target)
