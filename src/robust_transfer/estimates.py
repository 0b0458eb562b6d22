"""Numbers with their 95 % intervals."""

import math
from statistics import mode
from typing import NamedTuple

import numpy as np

Z = 1.959963984540054
"""ndtri(0.975), written out because most commands need nothing else of scipy."""


class Estimate(NamedTuple):
    """A value with its 95 % interval (NaN where it has none) and the number of images it rests on."""

    value: float
    low: float
    high: float
    n: int


def exactly(value: float, n: int = 0) -> Estimate:
    """A number that is no estimate."""
    return Estimate(value, math.nan, math.nan, n)


def proportion(successes: int, n: int) -> Estimate:
    """Successes / n in per cent, with Wilson's 95 % interval (Wilson 1927); NaN for n = 0."""
    if n == 0:
        return exactly(math.nan)
    from scipy.stats import binomtest  # imported where it is used: it takes longer than what most commands do

    interval = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return Estimate(100 * successes / n, 100 * interval.low, 100 * interval.high, n)


def mean_of(estimates: list[Estimate]) -> Estimate:
    """The plain mean of independent estimates. Its interval takes each one's half width for a standard deviation."""
    values = [estimate.value for estimate in estimates]
    half = math.sqrt(sum(((e.high - e.low) / 2) ** 2 for e in estimates)) / len(estimates)
    mean = sum(values) / len(values)
    return Estimate(mean, mean - half, mean + half, sum(e.n for e in estimates))


def of_sample(value: float, sd: float, n: int) -> Estimate:
    """A mean of n independent numbers with this standard deviation; the interval is normal."""
    half = Z * sd / math.sqrt(n)
    return Estimate(value, value - half, value + half, n)


def difference(before: Estimate, after: Estimate) -> Estimate:
    """By how much a value grows. Its interval takes the two as independent."""
    value = after.value - before.value
    half = math.hypot(*((each.high - each.low) / 2 for each in (before, after)))
    return Estimate(value, value - half, value + half, before.n + after.n)


def over_seeds(estimates: list[Estimate]) -> Estimate:
    """The mean of a value over seeds, each estimated on the same images. One alone stays as it is.

    Its interval is for other images and other seeds: in squares, the mean reach of the images' intervals (which all
    share, so that seeds do not narrow it) and that of Student's interval of the mean over seeds.
    """
    if len(estimates) == 1:
        return estimates[0]
    from scipy.stats import t

    of_seeds = t.ppf(0.975, len(estimates) - 1) * spread(estimates) / math.sqrt(len(estimates))

    def reach(ends: list[float]) -> float:
        of_images = [end for end in ends if not math.isnan(end)] or [0.0]  # a number that is no estimate has none
        return math.hypot(np.mean(of_images), of_seeds)

    mean = float(np.mean([estimate.value for estimate in estimates]))
    low, high = reach([e.value - e.low for e in estimates]), reach([e.high - e.value for e in estimates])
    return Estimate(mean, mean - low, mean + high, min(e.n for e in estimates))


def spread(estimates: list[Estimate]) -> float:
    """The standard deviation of values over seeds; NaN of one."""
    return float(np.std([estimate.value for estimate in estimates], ddof=1)) if len(estimates) > 1 else math.nan


def most_frequent(estimates: list[Estimate]) -> Estimate:
    """The value of most seeds, the first of equals: of what is chosen, where no mean is one of the choices."""
    return exactly(mode(estimate.value for estimate in estimates))
