"""The sets that can be read as their authors distribute them: how many images they have, and where these lie.

Counts are those of the sets' own pages; caltech-101 is counted without its background class, caltech-256 with its
clutter class, as the study that uses them does (protocols: vaishnavi). GTSRB has the 26,640 training images of the
competition's first phase, as torchvision has it, and GTSRB-final the later 39,209; the test images are the same.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A set as distributed.

    classes, train, test: how many classes, training images and test images it has.
    folder: its folder below data_root. needs: the files and folders in it that are read.
    or_needs: in place of `needs`, where the set comes in two layouts.
    unpack: what to put where; {root} stands for data_root.
    stays: whether the training images stay where they are, because a copy would be too large: the prepared set then has
        their paths and digests.
    """

    classes: int
    train: int
    test: int
    folder: str
    needs: tuple[str, ...]
    unpack: str
    stays: bool = False
    or_needs: tuple[str, ...] = ()


TORCHVISION: dict[str, Entry] = {
    "CIFAR10": Entry(
        10,
        50_000,
        10_000,
        ".",
        ("cifar-10-batches-py",),
        'unpack cifar-10-python.tar.gz into {root}, or with a connection: python -c "from torchvision.datasets import '
        "CIFAR10; CIFAR10('{root}', download=True)\"",
    ),
    "CIFAR100": Entry(
        100,
        50_000,
        10_000,
        ".",
        ("cifar-100-python",),
        'unpack cifar-100-python.tar.gz into {root}, or with a connection: python -c "from torchvision.datasets import '
        "CIFAR100; CIFAR100('{root}', download=True)\"",
    ),
    "SVHN": Entry(
        10,
        73_257,
        26_032,
        ".",
        ("train_32x32.mat", "test_32x32.mat"),
        'put both into {root}, or with a connection: python -c "from torchvision.datasets import SVHN; '
        "[SVHN('{root}', split, download=True) for split in ('train', 'test')]\"",
    ),
    "GTSRB": Entry(
        43,
        26_640,
        12_630,
        "gtsrb",
        ("GTSRB/Training", "GTSRB/Final_Test/Images", "GT-final_test.csv"),
        "unpack GTSRB-Training_fixed.zip, GTSRB_Final_Test_Images.zip and GTSRB_Final_Test_GT.zip into {root}/gtsrb, "
        'or with a connection: python -c "from torchvision.datasets import GTSRB; '
        "[GTSRB('{root}', split, download=True) for split in ('train', 'test')]\"",
    ),
    "GTSRB-final": Entry(
        43,
        39_209,
        12_630,
        "gtsrb-final",
        ("Train.csv", "Test.csv"),
        "unpack GTSRB_Final_Training_Images.zip, GTSRB_Final_Test_Images.zip and GTSRB_Final_Test_GT.zip into "
        "{root}/gtsrb-final, or the copy of the GTSRB on Kaggle (Train, Test, Train.csv, Test.csv)",
        or_needs=("GTSRB/Final_Training/Images", "GTSRB/Final_Test/Images", "GT-final_test.csv"),
    ),
}
"""Sets of small images, by torchvision's name; GTSRB-final, which torchvision has not."""

CATALOGUE: dict[str, Entry] = {
    "stanford-dogs": Entry(
        120,
        12_000,
        8_580,
        "stanford-dogs",
        ("Images", "train_list.mat", "test_list.mat"),
        "unpack images.tar and lists.tar into {root}/stanford-dogs",
    ),
    "cub-200-2011": Entry(
        200,
        5_994,
        5_794,
        "CUB_200_2011",
        ("images", "images.txt", "train_test_split.txt"),
        "unpack CUB_200_2011.tgz into {root}",
    ),
    "cub-200": Entry(
        200,
        3_000,
        3_033,
        "CUB_200",
        ("images", "lists/train.txt", "lists/test.txt"),
        "unpack images.tgz and lists.tgz of CUB-200 (2010) into {root}/CUB_200",
    ),
    "stanford-40-actions": Entry(
        40,
        4_000,
        5_532,
        "stanford-40-actions",
        ("JPEGImages", "ImageSplits/train.txt", "ImageSplits/test.txt"),
        "unpack Stanford40_JPEGImages.zip and Stanford40_ImageSplits.zip into {root}/stanford-40-actions",
    ),
    "mit-indoor-67": Entry(
        67,
        5_360,
        1_340,
        "mit-indoor-67",
        ("Images", "TrainImages.txt", "TestImages.txt"),
        "unpack indoorCVPR_09.tar into {root}/mit-indoor-67 and put TrainImages.txt and TestImages.txt beside Images",
    ),
    "oxford-flowers-102": Entry(
        102,
        2_040,
        6_149,
        "flowers-102",
        ("jpg", "imagelabels.mat", "setid.mat"),
        "unpack 102flowers.tgz into {root}/flowers-102 and put imagelabels.mat and setid.mat beside jpg",
    ),
    "food-101": Entry(
        101,
        75_750,
        25_250,
        "food-101",
        ("images", "meta/train.txt", "meta/test.txt"),
        "unpack food-101.tar.gz into {root}",
    ),
    "birdsnap": Entry(
        500,
        47_386,
        2_443,
        "birdsnap",
        ("download/images", "images.txt", "test_images.txt"),
        "unpack birdsnap.tgz into {root} and run its get_birdsnap.py; where links have died, set the data set's "
        "`missing` to the share that may be missing",
    ),
    "sun397": Entry(
        397,
        19_850,
        19_850,
        "SUN397",
        ("a", "Training_01.txt", "Testing_01.txt"),
        "unpack SUN397.tar.gz into {root} and Partitions.zip into {root}/SUN397",
    ),
    "caltech-256": Entry(
        257,
        15_420,
        15_187,
        "256_ObjectCategories",
        (".",),
        "unpack 256_ObjectCategories.tar into {root}",
    ),
    "stanford-cars": Entry(
        196,
        8_144,
        8_041,
        "stanford_cars",
        (
            "cars_train",
            "cars_test",
            "devkit/cars_meta.mat",
            "devkit/cars_train_annos.mat",
            "cars_test_annos_withlabels.mat",
        ),
        "unpack cars_train.tgz, cars_test.tgz and car_devkit.tgz into {root}/stanford_cars and put "
        "cars_test_annos_withlabels.mat there",
    ),
    "fgvc-aircraft": Entry(
        100,
        6_667,
        3_333,
        "fgvc-aircraft-2013b",
        ("data/images", "data/images_variant_trainval.txt", "data/images_variant_test.txt"),
        "unpack fgvc-aircraft-2013b.tar.gz into {root}",
    ),
    "dtd": Entry(
        47,
        3_760,
        1_880,
        "dtd",
        ("images", "labels/train1.txt", "labels/val1.txt", "labels/test1.txt"),
        "unpack dtd-r1.0.1.tar.gz into {root}",
    ),
    "oxford-pets": Entry(
        37,
        3_680,
        3_669,
        "oxford-iiit-pet",
        ("images", "annotations/trainval.txt", "annotations/test.txt"),
        "unpack images.tar.gz and annotations.tar.gz of Oxford-IIIT Pet into {root}/oxford-iiit-pet",
    ),
    "caltech-101": Entry(
        101,
        3_030,
        5_647,
        "101_ObjectCategories",
        (".",),
        "unpack 101_ObjectCategories.tar.gz (it is in caltech-101.zip) into {root}",
    ),
    "imagenet": Entry(
        1_000,
        1_281_167,
        50_000,
        "imagenet",
        ("train", "val"),
        "put ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz into {root}/imagenet "
        'and let torchvision unpack them: python -c "from torchvision.datasets import ImageNet; '
        "[ImageNet('{root}/imagenet', split) for split in ('train', 'val')]\"",
        stays=True,
    ),
}
"""Sets of large photographs, by our name."""
