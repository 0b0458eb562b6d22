"""Certification by randomised smoothing."""

import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import Annotated

from pydantic import Field, model_validator

from robust_transfer.specs.fields import Count, Number, Sigma, Spec


class Smoothing(Spec):
    """How a classifier is smoothed and certified (Cohen et al. 2019)."""

    sigma: Annotated[Sigma, Field(gt=0)]
    """Standard deviation of the noise, in pixels of [0, 1]."""
    n0: Count = 100
    """Samples that select the class."""
    n: Count = 100_000
    """Samples that then estimate the class's probability."""
    alpha: Annotated[Number, Field(gt=0, lt=0.5)] = 0.001
    """The probability that a certificate is wrong."""
    images: Count = 500
    """So many images of the split, evenly spaced, are certified."""
    whole_steps: bool = False
    """One image in every whole number of images is certified, and so up to twice as many."""

    @model_validator(mode="after")
    def _can_certify(self):
        """If all n samples are of one class, its probability is at least alpha^(1/n) (Clopper and Pearson 1934)."""
        if self.alpha ** (1 / self.n) <= 0.5:
            fewest = math.floor(math.log2(1 / self.alpha)) + 1
            raise ValueError(
                f"n: {self.n} samples can certify nothing at alpha {self.alpha:g}, even if all agree; take {fewest}"
            )
        return self

    def warnings(self) -> Iterator[str]:
        if self.sigma > 1:
            yield f"{self.slug}: noise of {self.sigma:.4g} is more than the whole range of pixels"
        if self.largest_radius < self.sigma:
            yield f"{self.slug}: {self.n} samples certify no radius over {self.largest_radius:.4g}, even if all agree"

    @property
    def largest_radius(self) -> float:
        """That of an image on which all n samples agree, in pixels of [0, 1]; see _can_certify."""
        others = -math.expm1(math.log(self.alpha) / self.n)  # 1 - alpha^(1/n), and no 0 where n is 1e17
        return -self.sigma * NormalDist().inv_cdf(others)

    @property
    def slug(self) -> str:
        """A short readable name, a function of the spec alone."""
        return f"smoothed{self.sigma:.4g}-n{self.n}"
