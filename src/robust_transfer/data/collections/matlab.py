"""Sets whose lists are MATLAB files."""

from pathlib import Path

from robust_transfer.data.collections.lists import mat
from robust_transfer.data.collections.manifest import Listed


def stanford_dogs(folder: Path, seed: int) -> Listed:
    """Stanford Dogs (Khosla et al. 2011): file_list, e.g. n02085620-Chihuahua/n02085620_5927.jpg."""
    listed = {}
    for split in ("train", "test"):
        (paths,) = mat(folder / f"{split}_list.mat", "file_list")
        listed[split] = [(str(path).rpartition("/")[0], f"Images/{path}") for path in paths]
    return listed


def oxford_flowers_102(folder: Path, seed: int) -> Listed:
    """Oxford 102 Flowers (Nilsback and Zisserman 2008): trnid and valid (10 + 10 a class) train, tstid tests.

    setid.mat holds image numbers from 1, imagelabels.mat the class of each image from 1; the classes have no names.
    """
    (labels,) = mat(folder / "imagelabels.mat", "labels")
    train, validation, test = mat(folder / "setid.mat", "trnid", "valid", "tstid")
    return {
        split: [(f"{labels[number - 1]:03}", f"jpg/image_{number:05}.jpg") for number in numbers]
        for split, numbers in (("train", [*train, *validation]), ("test", test))
    }


def stanford_cars(folder: Path, seed: int) -> Listed:
    """Stanford Cars (Krause et al. 2013): fname and class (from 1) of each image, the classes' names in cars_meta."""
    (names,) = mat(folder / "devkit" / "cars_meta.mat", "class_names")
    listed = {}
    for split, file in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        (images,) = mat(folder / file, "annotations")
        listed[split] = [
            (f"{image['class']:03}.{names[image['class'] - 1]}", f"cars_{split}/{image['fname']}") for image in images
        ]
    return listed
