"""What the certificates of a test set say, as the papers on randomised smoothing print it.

A table has one row an image: label, prediction (-1 where the classifier abstained) and radius (l2, in pixels).
"""

import pandas as pd

from robust_transfer.estimates import Estimate, exactly, of_sample, proportion


def evenly_spaced(count: int, images: int, whole_steps: bool = False) -> list[int]:
    """Indices of `images` evenly spaced images among `count`, from the first on; all where there are no more than that.

    whole_steps: one image every count // images, and so up to twice as many images, as Cohen et al. 2019 and
        Vaishnavi et al. do (their code leaves out one more at the end where the step doesn't divide count).
    """
    if count <= images:
        return list(range(count))
    if whole_steps:
        step = count // images
        return list(range(0, count // step * step, step))
    return [i * count // images for i in range(images)]


def certified_accuracy(table: pd.DataFrame, radius: float = 0.0) -> Estimate:
    """Share of images, in per cent, that are right and certified for at least this radius; Wilson's 95 % interval.

    Cohen et al. 2019, section 4. At radius 0 it is the smoothed classifier's standard accuracy, abstaining being wrong.
    """
    return proportion(int((_right(table) & (table.radius >= radius)).sum()), len(table))


def average_certified_radius(table: pd.DataFrame) -> Estimate:
    """Mean over all images of the radius where right and 0 elsewhere (Zhai et al. 2020, section 5: ACR), in pixels.

    The interval is the mean's, normal; NaN for fewer than two images.
    """
    radius = table.radius.where(_right(table), 0.0)
    if len(radius) < 2:
        return exactly(float(radius.mean()), len(radius))
    return of_sample(float(radius.mean()), float(radius.std()), len(radius))


def _right(table: pd.DataFrame) -> pd.Series:
    return table.prediction == table.label
