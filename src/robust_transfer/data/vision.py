"""The sets that are read by torchvision's own classes: how these are called, and what they should find.

Counts are those of the sets' own pages. CLEVR's, Imagenette's, iNaturalist's and Places365's test images have no public
labels, or there are none: their validation images are the test split.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

Words = Mapping[str, Any]


@dataclass(frozen=True)
class VisionSet:
    """A set as torchvision's class `by` has it.

    classes, train, test: how many classes, training and test images it has; test is 0 where there is no such split.
    needs: the files and folders below data_root that are read; or_needs: those that take their place where they lie
        there instead. train_with, test_with: keywords of the class.
    source: its name in sources.py. target: what is chosen where there are several things to learn, and its default.
    """

    by: str
    classes: int
    train: int
    test: int
    needs: tuple[str, ...]
    train_with: Words
    test_with: Words
    source: str
    target: tuple[str, str] | None = None
    or_needs: tuple[str, ...] = ()


def _set(by: str, classes: int, counts: tuple[int, int], needs: str, words: tuple[Words, Words]) -> VisionSet:
    return VisionSet(by, classes, *counts, tuple(needs.split()), *words, by)


HALVES: tuple[Words, Words] = {"train": True}, {"train": False}
SPLITS: tuple[Words, Words] = {"split": "train"}, {"split": "test"}
TO_VALIDATION: tuple[Words, Words] = {"split": "train"}, {"split": "val"}
WHOLE: tuple[Words, Words] = {}, {}


def _idx(folder: str, train: str = "train-", test: str = "t10k-", labels: str = "idx1-ubyte") -> str:
    """The files of a set in MNIST's format."""
    files = (f"{folder}/raw/{half}{of}" for half in (train, test) for of in ("images-idx3-ubyte", f"labels-{labels}"))
    return " ".join(files)


EMNIST = {  # classes, and training and test images
    "byclass": (62, (697_932, 116_323)),
    "bymerge": (47, (697_932, 116_323)),
    "balanced": (47, (112_800, 18_800)),
    "letters": (26, (124_800, 20_800)),
    "digits": (10, (240_000, 40_000)),
    "mnist": (10, (60_000, 10_000)),
}

VISION: dict[str, VisionSet] = {
    "MNIST": _set("MNIST", 10, (60_000, 10_000), _idx("MNIST"), HALVES),
    "FashionMNIST": _set("FashionMNIST", 10, (60_000, 10_000), _idx("FashionMNIST"), HALVES),
    "KMNIST": _set("KMNIST", 10, (60_000, 10_000), _idx("KMNIST"), HALVES),
    "QMNIST": _set("QMNIST", 10, (60_000, 60_000), _idx("QMNIST", "qmnist-train-", "qmnist-test-", "idx2-int"), HALVES),
    "USPS": _set("USPS", 10, (7_291, 2_007), "usps.bz2 usps.t.bz2", HALVES),
    "SEMEION": _set("SEMEION", 10, (1_593, 0), "semeion.data", WHOLE),
    "STL10": _set("STL10", 10, (5_000, 8_000), "stl10_binary", SPLITS),
    "EuroSAT": _set("EuroSAT", 10, (27_000, 0), "eurosat/2750", WHOLE),
    # Its train.csv and test.csv are no such files: the images in test.csv have no labels.
    "FER2013": replace(
        _set("FER2013", 7, (28_709, 7_178), "fer2013/fer2013.csv", SPLITS), or_needs=("fer2013/icml_face_data.csv",)
    ),
    "PCAM": _set(
        "PCAM",
        2,
        (262_144, 32_768),
        " ".join(f"pcam/camelyonpatch_level_2_split_{split}_{of}.h5" for split in ("train", "test") for of in "xy"),
        SPLITS,
    ),
    "Country211": _set("Country211", 211, (31_650, 21_100), "country211/train country211/test", SPLITS),
    "RenderedSST2": _set("RenderedSST2", 2, (6_920, 1_821), "rendered-sst2/train rendered-sst2/test", SPLITS),
    "CLEVRClassification": _set(
        "CLEVRClassification", 8, (70_000, 15_000), "clevr/CLEVR_v1.0/images clevr/CLEVR_v1.0/scenes", TO_VALIDATION
    ),
    "Imagenette": _set("Imagenette", 10, (9_469, 3_925), "imagenette2/train imagenette2/val", TO_VALIDATION),
    "CelebA": VisionSet(
        "CelebA",
        2,
        162_770,
        19_962,
        (
            "celeba/img_align_celeba",
            *(f"celeba/list_{of}.txt" for of in ("attr_celeba", "eval_partition")),
            "celeba/identity_CelebA.txt",
        ),
        *SPLITS,
        "CelebA",
        ("attribute", "Smiling"),
    ),
    "LFWPeople": _set(
        "LFWPeople", 5_749, (13_233, 0), "lfw-py/lfw_funneled lfw-py/people.txt lfw-py/lfw-names.txt", WHOLE
    ),
    "Omniglot": _set("Omniglot", 964, (19_280, 0), "omniglot-py/images_background", ({"background": True}, {})),
    "INaturalist": VisionSet(
        "INaturalist",
        10_000,
        500_000,
        100_000,
        ("2021_train_mini", "2021_valid"),
        {"version": "2021_train_mini"},
        {"version": "2021_valid"},
        "INaturalist",
        ("target_type", "full"),
    ),
    "Places365": _set(
        "Places365",
        365,
        (1_803_460, 36_500),
        "categories_places365.txt places365_train_standard.txt places365_val.txt data_256_standard val_256",
        ({"split": "train-standard", "small": True}, {"split": "val", "small": True}),
    ),
} | {
    f"EMNIST-{split}": _set(
        "EMNIST",
        classes,
        counts,
        _idx("EMNIST", f"emnist-{split}-train-", f"emnist-{split}-test-"),
        ({"split": split, "train": True}, {"split": split, "train": False}),
    )
    for split, (classes, counts) in EMNIST.items()
}
