"""Outcomes and certificates of a set's images: read, and what each image adds to a number."""

import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd


@lru_cache(maxsize=64)
def outcomes_in(path: Path) -> pd.DataFrame:
    """The outcomes or certificates of a set's images, a row an image."""
    return pd.read_parquet(path)


class Images(NamedTuple):
    """What each image of a set adds to a number, sum(amount) / sum(counted). key: what tells the sets apart."""

    key: str
    amount: np.ndarray
    counted: np.ndarray

    def influence(self) -> np.ndarray:
        """By how much each image moves the number, times the images there are, to first order (N)."""
        with np.errstate(divide="ignore", invalid="ignore"):  # of no image that counts: NaN, as the number is
            ratio = self.amount.sum() / self.counted.sum()
            return (self.amount - ratio * self.counted) / self.counted.mean()


MEANS = (
    *("accuracy", "robustness", "training_accuracy", "margin_robustness", "accuracy_and_robustness"),
    *("attack_success_rate", "adversarial_accuracy", "smoothed_accuracy"),
)
CERTIFIED = re.compile(r"average_certified_radius|certified_accuracy_(.+)")


def per_image(name: str, files: Mapping[str, Path]) -> Images | None:
    """What each image adds to a metric: in per cent, but for radii; None of what is no mean over images.

    files: of the metric, by role. Images are told apart by their places and labels, so that a data set and its negative
    count as the same ones.
    """
    if not (certified := CERTIFIED.fullmatch(name)) and name not in MEANS:
        return None
    tables = {role: outcomes_in(path) for role, path in files.items()}
    right = {role: (table.prediction == table.label).to_numpy(float) for role, table in tables.items()}
    first = next(iter(tables.values()))
    key = sha256(first[["index", "label"]].to_numpy().tobytes()).hexdigest()
    if certified:
        (share,), reach, at_least = right.values(), first.radius.to_numpy(), certified[1]
        amount = 100 * share * (reach >= float(at_least)) if at_least else share * reach
        return Images(key, amount, np.ones(len(first)))
    if name == "attack_success_rate":
        clean = right.pop("clean")
        return Images(key, 100 * clean * (1 - np.mean(list(right.values()), 0)), clean)
    return Images(key, 100 * np.mean(list(right.values()), 0), np.ones(len(first)))
