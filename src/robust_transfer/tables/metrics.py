"""What a cell shows: a number with its 95 % interval, from the files of the nodes that the cell names."""

import json
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import safe_open

from robust_transfer.estimates import Estimate, difference, exactly, mean_of, of_sample, proportion
from robust_transfer.recipes import TUNABLE
from robust_transfer.smoothing.results import average_certified_radius, certified_accuracy
from robust_transfer.store import CARD
from robust_transfer.tables.outcomes import EFFECT, IMPROVEMENT, by_set, linear, of_both, outcomes_in


def accuracy(outcomes: Path) -> Estimate:
    """Share of images whose prediction is their label, in per cent."""
    found = outcomes_in(outcomes)
    return proportion(int((found.prediction == found.label).sum()), len(found))


def accuracy_and_robustness(clean: Path, adversarial: Path) -> Estimate:
    """Mean of the accuracies on the same images, clean and attacked, in per cent (Shafahi et al. 2020, section 4.2).

    The interval is the mean's (normal) over images, each of which is right on none, one or both.

    Raises:
        ValueError: where the two are not outcomes of the same images.
    """
    before, after = _of_the_same(clean, adversarial)
    right = 50.0 * (before.prediction == before.label) + 50.0 * (after.prediction == after.label)
    return of_sample(float(right.mean()), float(right.std()), len(right))


def _of_the_same(clean: Path, adversarial: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    before, after = outcomes_in(clean), outcomes_in(adversarial)
    if not (before["index"].equals(after["index"]) and before.label.equals(after.label)):
        raise ValueError(f"{clean} and {adversarial} are outcomes of different images")
    return before, after


def attack_success_rate(clean: Path, **adversarial: Path) -> Estimate:
    """P(wrong on the adversarial image | right on the clean one), in per cent; n counts the images that were right.

    Chin et al. 2020, section 3.1. Of several attacks the mean, whose interval is for other images under these attacks.

    Raises:
        ValueError: where they are not outcomes of the same images.
    """
    return _over_attacks([_fooled(clean, path) for path in adversarial.values()])


def worst_attack_success_rate(clean: Path, **adversarial: Path) -> Estimate:
    """The success rate of the attack that has the highest."""
    return max(attack_success_rate(clean, adversarial=path) for path in adversarial.values())


def adversarial_accuracy(**adversarial: Path) -> Estimate:
    """Share of adversarial images whose prediction is their label, in per cent; of several attacks the mean."""
    tables = [outcomes_in(path) for path in adversarial.values()]
    return _over_attacks([(found.prediction == found.label).to_numpy() for found in tables])


def _fooled(clean: Path, adversarial: Path) -> np.ndarray:
    """Of each image that is right, whether its adversarial image is wrong."""
    before, after = _of_the_same(clean, adversarial)
    return (after.prediction != after.label)[before.prediction == before.label].to_numpy()


def _over_attacks(happened: list[np.ndarray]) -> Estimate:
    """How often something happens, in per cent: of each attack on the same images, whether it does to each."""
    if all(np.array_equal(each, happened[0]) for each in happened):  # as one attack would
        return proportion(int(happened[0].sum()), len(happened[0]))
    shares = 100 * np.mean(happened, axis=0)
    return of_sample(float(shares.mean()), float(shares.std(ddof=1)), len(shares))


def over_sets(metric: Callable[..., Estimate]) -> Callable[..., Estimate]:
    """The metric that is the mean of another one over data sets; see by_set."""

    def value(**files: Path) -> Estimate:
        return mean_of([metric(**of_set) for of_set in by_set(files)])

    return value


def stage_distance(distances: Path) -> Estimate:
    """Mean squared distance of the stages' outputs from the source's; the interval is the mean's (normal)."""
    found = json.loads(distances.read_text(encoding="utf-8"))
    return of_sample(found["feature_distance"], found["feature_distance_sd"], found["n"])


def mean_distance(distances: Path) -> Estimate:
    """Mean over images of stored distances (N); the interval is the mean's (normal)."""
    with safe_open(distances, "np") as file:
        found = file.get_tensor("distances").astype(float)
    return of_sample(found.mean(), found.std(), len(found))


def ratio_of_seconds(longer: Path, shorter: Path) -> Estimate:
    """How many times as long one node took to make as another, by their cards."""
    took = (json.loads(path.with_name(CARD).read_text(encoding="utf-8")) for path in (longer, shorter))
    return exactly(next(took)["seconds"] / next(took)["seconds"])


def weight_distance(distances: Path) -> Estimate:
    """Squared distance of the weights from the source's, the head left out."""
    return exactly(json.loads(distances.read_text(encoding="utf-8"))["weight_distance"])


def _metadata(choice: Path) -> dict[str, Any]:
    with safe_open(choice, "pt") as file:
        return json.loads(file.metadata()["about"])


def choice_accuracy(choice: Path) -> Estimate:
    """The accuracy of a choice on the split it was made on, in per cent; for being the best it flatters."""
    return proportion(_metadata(choice)["right"], _metadata(choice)["n"])


def choice_ties(choice: Path) -> Estimate:
    """How many other candidates were as good as the one that a choice took."""
    return exactly(_metadata(choice)["ties"])


def chosen(name: str) -> Callable[[Path], Estimate]:
    """The metric that says which value of `name` a choice took; NaN where it is none of its values."""

    return lambda choice: exactly(_metadata(choice)["chosen"].get(name, math.nan))


def smoothed_accuracy(certificates: Path) -> Estimate:
    """Share of images that the smoothed classifier predicts right, abstaining being wrong (Cohen et al. 2019)."""
    return certified_accuracy(outcomes_in(certificates))


def certified_at(radius: float) -> Callable[[Path], Estimate]:
    """The metric that counts what is right and certified for at least this radius."""
    return lambda certificates: certified_accuracy(outcomes_in(certificates), radius)


def acr(certificates: Path) -> Estimate:
    """Average certified radius (Zhai et al. 2020)."""
    return average_certified_radius(outcomes_in(certificates))


def of_the_certified(outcomes: Path, certificates: Path) -> pd.DataFrame:
    """The outcomes of those images of a split that were certified."""
    return outcomes_in(outcomes).set_index("index").loc[outcomes_in(certificates)["index"]]


def unsmoothed_accuracy(outcomes: Path, certificates: Path) -> Estimate:
    """Share of the certified images that the classifier predicts right where it is not smoothed, in per cent."""
    found = of_the_certified(outcomes, certificates)
    return proportion(int((found.prediction == found.label).sum()), len(found))


def without_smoothing(metric: Callable[[pd.DataFrame], Estimate]) -> Callable[[Path, Path], Estimate]:
    """The metric of certificates for a classifier that is not smoothed (sigma 0), on the same images: every radius is 0
    (Cohen et al. 2019, Eq. 3), so that nothing is left to estimate.
    """

    def value(outcomes: Path, certificates: Path) -> Estimate:
        found = metric(of_the_certified(outcomes, certificates).assign(radius=0.0))
        return exactly(found.value, found.n)

    return value


def mean_improvement(name: str) -> Callable[..., Estimate]:
    """The metric that says by how many per cent another one grows, in the mean over tasks: 100 (after / before - 1).

    Roles as in before_and_after. Its interval pairs what is of the same images, and takes small errors as linear.
    """

    def value(**files: Path) -> Estimate:
        number = linear(IMPROVEMENT + name, files)
        assert number is not None, f"{name} is no mean over images"
        return number.estimate()

    return value


def effect(name: str) -> Callable[..., Estimate]:
    """The metric that says by how much another one differs; its files are those of the two, `before_` and `after_`.

    Its interval pairs what is of the same images, and takes small errors as linear. Where it isn't known what each
    image adds to the numbers, it takes the two as independent.
    """

    def value(**files: Path) -> Estimate:
        if number := linear(EFFECT + name, files):
            return number.estimate()
        before, after = of_both(files)
        return difference(metric(name)(**before), metric(name)(**after))

    return value


@lru_cache(maxsize=64)
def _labels(data: Path) -> dict[str, list[int]]:
    with safe_open(data, "np") as file:  # torch would take longer to import than this to read
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
    "training_accuracy": accuracy,
    "margin_robustness": accuracy,
    "accuracy_and_robustness": accuracy_and_robustness,
    "attack_success_rate": attack_success_rate,
    "worst_attack_success_rate": worst_attack_success_rate,
    "adversarial_accuracy": adversarial_accuracy,
    "mean_accuracy": over_sets(accuracy),
    "mean_robustness": over_sets(accuracy),
    "mean_attack_success_rate": over_sets(attack_success_rate),
    "mean_adversarial_accuracy": over_sets(adversarial_accuracy),
    "stage_distance": stage_distance,
    "weight_distance": weight_distance,
    "mean_distance": mean_distance,
    "ratio_of_seconds": ratio_of_seconds,
    "smoothed_accuracy": smoothed_accuracy,
    "certified_accuracy_0.5": certified_at(0.5),
    "average_certified_radius": acr,
    "unsmoothed_accuracy": unsmoothed_accuracy,
    "unsmoothed_certified_accuracy_0.5": without_smoothing(lambda table: certified_accuracy(table, 0.5)),
    "unsmoothed_average_certified_radius": without_smoothing(average_certified_radius),
    **{
        IMPROVEMENT + name: mean_improvement(name)
        for name in ("accuracy", "smoothed_accuracy", "certified_accuracy_0.5", "average_certified_radius")
    },
    "classes": classes,
    "train_images_a_class": images_a_class("train", "validation"),
    "validation_images_a_class": images_a_class("validation"),
    "test_images_a_class": images_a_class("test"),
    "choice_accuracy": choice_accuracy,
    "choice_ties": choice_ties,
    **{f"chosen_{name}": chosen(name) for name in TUNABLE},
}
"""Each metric takes the files of a cell's nodes, by role."""


def metric(name: str) -> Callable[..., Estimate]:
    """A metric by its name. `certified_accuracy_R` is there for every radius R; `robustness under MI-FGSM` is
    robustness, which a figure tells apart by the attack; `effect on accuracy` is by how much accuracy differs.

    Raises:
        KeyError: where there is none of that name.
    """
    if name.startswith(EFFECT):
        return effect(name.removeprefix(EFFECT))
    name, at_radius = name.partition(" under ")[0], "certified_accuracy_"
    return certified_at(float(name.removeprefix(at_radius))) if name.startswith(at_radius) else METRICS[name]
