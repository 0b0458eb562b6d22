"""Outcomes and certificates of images: what each image adds to a number, and the interval that follows from it."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from robust_transfer.estimates import Estimate, Z


@lru_cache(maxsize=64)
def outcomes_in(path: Path) -> pd.DataFrame:
    """The outcomes or certificates of a set's images, a row an image."""
    return pd.read_parquet(path)


class Images(NamedTuple):
    """What each image of a set adds to a number, sum(amount) / sum(counted). key: what tells the sets apart."""

    key: str
    amount: np.ndarray
    counted: np.ndarray

    def linear(self) -> "Linear":
        """The number."""
        with np.errstate(divide="ignore", invalid="ignore"):  # of no image that counts: NaN
            ratio = self.amount.sum() / self.counted.sum()
            moves = (self.amount - ratio * self.counted) / self.counted.mean()
        return Linear(float(ratio), {self.key: moves})


@dataclass(frozen=True)
class Linear:
    """A number, and of each set of images by how much each image moves it, times the images of the set (N), to first
    order. So what two numbers say of the same images meets in what is made of both.
    """

    value: float
    moves: Mapping[str, np.ndarray]

    def estimate(self) -> Estimate:
        """The number for other images of each set, with its 95 % interval (normal; NaN for fewer than two images)."""
        enough = all(len(moves) > 1 for moves in self.moves.values())
        variance = sum(moves.var(ddof=1) / len(moves) for moves in self.moves.values()) if enough else math.nan
        half = Z * math.sqrt(variance)
        return Estimate(self.value, self.value - half, self.value + half, sum(map(len, self.moves.values())))


def combined(value: float, *parts: tuple[Linear, float]) -> Linear:
    """A number that is made of others, each with the derivative to it."""
    moves: dict[str, np.ndarray] = {}
    for part, slope in parts:
        for key, each in part.moves.items():
            moves[key] = moves.get(key, 0.0) + slope * each
    return Linear(value, moves)


def by_set(files: Mapping[str, Path]) -> list[dict[str, Path]]:
    """The files of several data sets, each by its role; here a set's number ends them: clean_0, clean_1, ..."""
    sets: dict[str, dict[str, Path]] = {}
    for role, path in files.items():
        name, _, number = role.rpartition("_")
        sets.setdefault(number, {})[name] = path
    return list(sets.values())


def before_and_after(files: Mapping[str, Path]) -> list[tuple[Path, Path]]:
    """The files with the roles `before0`, `after0`, `before1`, ... in pairs."""
    return [(files[f"before{i}"], files[f"after{i}"]) for i in range(len(files) // 2)]


EFFECT = "effect on "
"""Begins the name of a metric that says by how much another one differs."""


def of_both(files: Mapping[str, Path]) -> tuple[dict[str, Path], dict[str, Path]]:
    """The files before and after, each by its role; here it begins with when: before_outcomes, after_outcomes."""
    found: dict[str, dict[str, Path]] = {"before": {}, "after": {}}
    for role, path in files.items():
        when, _, name = role.partition("_")
        found[when][name] = path
    return found["before"], found["after"]


IMPROVEMENT = "mean_improvement_"
"""Begins the name of a metric that says by how many per cent another one grows, in the mean over tasks."""


def linear(name: str, files: Mapping[str, Path]) -> Linear | None:
    """A metric by what each image adds to it, or to what it is made of; None where that isn't known. files: by role."""
    if name.startswith(EFFECT):
        before, after = (linear(name.removeprefix(EFFECT), each) for each in of_both(files))
        return before and after and combined(after.value - before.value, (before, -1.0), (after, 1.0))
    if name.startswith(IMPROVEMENT):
        base = name.removeprefix(IMPROVEMENT)
        return _mean([_improvement(*(linear(base, {"": each}) for each in pair)) for pair in before_and_after(files)])
    if images := per_image(name, files):
        return images.linear()
    if name.startswith("mean_"):
        return _mean([linear(name.removeprefix("mean_"), of_set) for of_set in by_set(files)])
    return None


def _improvement(before: Linear | None, after: Linear | None) -> Linear | None:
    """By how many per cent a number grows; NaN from 0."""
    if before is None or after is None:
        return None
    ratio = after.value / before.value if before.value else math.nan
    slope = 100 / before.value if before.value else math.nan
    return combined(100 * (ratio - 1), (before, -ratio * slope), (after, slope))


def _mean(parts: list[Linear | None]) -> Linear | None:
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    return combined(sum(part.value for part in found) / len(found), *((part, 1 / len(found)) for part in found))


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
    name = name.partition(" under ")[0]
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
