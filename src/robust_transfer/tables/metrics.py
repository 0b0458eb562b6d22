"""What a cell shows: a number with its 95 % interval, from the files of the nodes that the cell names."""

import json
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pandas as pd
from safetensors import safe_open

from robust_transfer.smoothing.results import average_certified_radius, certified_accuracy
from robust_transfer.tables.estimates import Estimate, Z, exactly, mean_of, proportion


@lru_cache(maxsize=64)
def _outcomes(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path)


def accuracy(outcomes: Path) -> Estimate:
    """Share of images whose prediction is their label, in per cent."""
    found = _outcomes(outcomes)
    return proportion(int((found.prediction == found.label).sum()), len(found))


def attack_success_rate(clean: Path, adversarial: Path) -> Estimate:
    """P(wrong on the adversarial image | right on the clean one), in per cent; n counts the images that were right.

    Chin et al. 2020, section 3.1.

    Raises:
        ValueError: where the two are not outcomes of the same images.
    """
    before, after = _outcomes(clean), _outcomes(adversarial)
    if not (before["index"].equals(after["index"]) and before.label.equals(after.label)):
        raise ValueError(f"{clean} and {adversarial} are outcomes of different images")
    right = before.prediction == before.label
    return proportion(int((right & (after.prediction != after.label)).sum()), int(right.sum()))


def mean_accuracy(**outcomes: Path) -> Estimate:
    """Mean over data sets of their accuracies."""
    return mean_of([accuracy(path) for path in outcomes.values()])


def mean_attack_success_rate(**outcomes: Path) -> Estimate:
    """Mean over data sets of their attack success rates; roles `clean0`, `adversarial0`, `clean1`, ..."""
    count = len(outcomes) // 2
    return mean_of([attack_success_rate(outcomes[f"clean{i}"], outcomes[f"adversarial{i}"]) for i in range(count)])


def feature_distance(distances: Path) -> Estimate:
    """Mean squared distance of the stages' outputs from the source's; the interval is the mean's (normal)."""
    found = json.loads(distances.read_text(encoding="utf-8"))
    value, n = found["feature_distance"], found["n"]
    half = Z * found["feature_distance_sd"] / math.sqrt(n)
    return Estimate(value, value - half, value + half, n)


def weight_distance(distances: Path) -> Estimate:
    """Squared distance of the weights from the source's, the head left out."""
    return exactly(json.loads(distances.read_text(encoding="utf-8"))["weight_distance"])


def chosen(name: str) -> Callable[[Path], Estimate]:
    """The metric that says which value of `name` a choice took; NaN where it is none of its values."""

    def value(choice: Path) -> Estimate:
        with safe_open(choice, "pt") as file:
            return exactly(json.loads(file.metadata()["about"])["chosen"].get(name, math.nan))

    return value


def smoothed_accuracy(certificates: Path) -> Estimate:
    """Share of images that the smoothed classifier predicts right, abstaining being wrong (Cohen et al. 2019)."""
    return certified_accuracy(_outcomes(certificates))


def certified_at(radius: float) -> Callable[[Path], Estimate]:
    """The metric that counts what is right and certified for at least this radius."""
    return lambda certificates: certified_accuracy(_outcomes(certificates), radius)


def acr(certificates: Path) -> Estimate:
    """Average certified radius (Zhai et al. 2020)."""
    return average_certified_radius(_outcomes(certificates))


@lru_cache(maxsize=64)
def _labels(data: Path) -> dict[str, list[int]]:
    with safe_open(data, "pt") as file:
        return {split: file.get_tensor(f"{split}_labels").tolist() for split in ("train", "validation", "test")}


def classes(data: Path) -> Estimate:
    """How many classes a data set has."""
    return exactly(len(set(_labels(data)["test"])))


def images_a_class(*splits: str) -> Callable[[Path], Estimate]:
    """The metric that counts a data set's images in some splits, in the mean over classes."""

    def value(data: Path) -> Estimate:
        labels = _labels(data)
        count = sum(len(labels[split]) for split in splits)
        return exactly(count / len(set(labels["test"])), count)

    return value


METRICS: dict[str, Callable[..., Estimate]] = {
    "accuracy": accuracy,
    "robustness": accuracy,  # of adversarial outcomes, where a figure sets it against the clean accuracy
    "attack_success_rate": attack_success_rate,
    "mean_accuracy": mean_accuracy,
    "mean_attack_success_rate": mean_attack_success_rate,
    "feature_distance": feature_distance,
    "weight_distance": weight_distance,
    "smoothed_accuracy": smoothed_accuracy,
    "certified_accuracy_0.5": certified_at(0.5),
    "average_certified_radius": acr,
    "classes": classes,
    "train_images_a_class": images_a_class("train", "validation"),
    "test_images_a_class": images_a_class("test"),
    **{f"chosen_{name}": chosen(name) for name in ("lr", "momentum", "weight_decay")},
    **{f"chosen_{name}": chosen(name) for name in ("feature_distillation", "start_distance")},
}
"""Each metric takes the files of a cell's nodes, by role."""
