"""Certification by randomised smoothing."""

from typing import Annotated

from pydantic import Field

from robust_transfer.plan.specs.fields import Count, Number, Positive, Spec


class Smoothing(Spec):
    """How a classifier is smoothed and certified (Cohen et al. 2019).

    sigma: standard deviation of the noise, in pixels of [0, 1]. n0, n: samples that select the class, and that then
    estimate its probability. alpha: the probability that a certificate is wrong.
    images: so many of the test set, evenly spaced; whole_steps: one in every whole number, and so up to twice as many.
    """

    sigma: Positive
    n0: Count = 100
    n: Count = 100_000
    alpha: Annotated[Number, Field(gt=0, lt=0.5)] = 0.001
    images: Count = 500
    whole_steps: bool = False

    @property
    def slug(self) -> str:
        """A short readable name, a function of the spec alone."""
        return f"smoothed{self.sigma:.4g}-n{self.n}"
