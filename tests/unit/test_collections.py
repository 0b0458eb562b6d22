"""Sets of photographs: tiny ones in the true layouts; missing, partial and wrong ones; the draw of the Caltech sets."""

import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from scipy.io import savemat

from robust_transfer.data import collections
from robust_transfer.data.catalogue import CATALOGUE
from robust_transfer.data.collections.lists import lines, mat
from robust_transfer.errors import UserError
from robust_transfer.plan import presence
from robust_transfer.plan.graph import Node
from robust_transfer.plan.specs import AnyDataset, Collection

# ---- tiny sets in the true layouts ---------------------------------------------------------------------------------


class Tree:
    """A set being written: its folder, and what a reader should make of it (split -> {path: class})."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.expected = {"train": {}, "test": {}}
        folder.mkdir(parents=True)
        Image.new("RGB", (9, 7), (200, 30, 30)).save(folder / "one.jpg")
        self.jpeg = (folder / "one.jpg").read_bytes()
        (folder / "one.jpg").unlink()

    def image(self, split, of_class, path):
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(self.jpeg)
        if split:
            self.expected[split][path] = of_class

    def text(self, path, content, header=None, end="\n"):
        """Lines in an order that says nothing."""
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        shuffled = ([header] if header else []) + random.Random(1).sample(content, len(content))
        (self.folder / path).write_text(end.join(shuffled) + end, errors="surrogateescape", newline="")

    def mat(self, path, **variables):
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        savemat(self.folder / path, variables)


def cells(texts):
    """A MATLAB cell array of texts, as a column."""
    column = np.empty((len(texts), 1), object)
    column[:, 0] = texts
    return column


DOGS = ("n02085620-Chihuahua", "n02086240-Shih-Tzu", "n02110063-malamute")


def stanford_dogs(tree):
    listed = {"train": [], "test": []}
    for split, each in (("train", 2), ("test", 1)):
        for name in reversed(DOGS):
            for i in range(each):
                file = f"{name}/{name[:9]}_{split}{i}.jpg"
                tree.image(split, name, f"Images/{file}")
                listed[split].append(file)
    for split, files in listed.items():
        tree.mat(f"{split}_list.mat", file_list=cells(files), labels=np.ones((len(files), 1)))
    return list(DOGS)


BIRDS = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "010.Red_winged_Blackbird")


def cub_200_2011(tree):
    images, splits = [], []
    for i, (name, split) in enumerate(
        [(name, split) for name in reversed(BIRDS) for split in ("train", "test", "train")], start=1
    ):
        path = f"{name}/{name[4:]}_{i:04}_18.jpg"
        tree.image(split, name, f"images/{path}")
        images.append(f"{i} {path}")
        splits.append(f"{i} {int(split == 'train')}")
    tree.text("images.txt", images)
    tree.text("train_test_split.txt", splits)
    return list(BIRDS)


def cub_200(tree):
    for split, each in (("train", 2), ("test", 1)):
        listed = [f"{name}/{name[4:]}_{split}{i}.jpg" for name in BIRDS for i in range(each)]
        for path in listed:
            tree.image(split, path.split("/")[0], f"images/{path}")
        tree.text(f"lists/{split}.txt", listed)
    return list(BIRDS)


ACTIONS = ("applauding", "riding_a_bike", "watching_TV")


def stanford_40_actions(tree):
    for split, numbers in (("train", (1, 2)), ("test", (3,))):
        listed = [f"{name}_{number:03}.jpg" for name in ACTIONS for number in numbers]
        for file in listed:
            tree.image(split, file[:-8], f"JPEGImages/{file}")
        tree.text(f"ImageSplits/{split}.txt", listed, end=" \r\n")
        tree.text(f"ImageSplits/applauding_{split}.txt", ["applauding_001.jpg"])
    return list(ACTIONS)


ROOMS = ("airport_inside", "kitchen", "tv_studio")


def mit_indoor_67(tree):
    for split, each in (("train", 2), ("test", 1)):
        listed = [f"{name}/int{split}{i}.jpg" for name in ROOMS for i in range(each)]
        for path in listed:
            tree.image(split, path.split("/")[0], f"Images/{path}")
        tree.text(f"{split.title()}Images.txt", listed)
    tree.image(None, None, "Images/kitchen/in_no_list.jpg")
    return list(ROOMS)


def oxford_flowers_102(tree):
    # Image 1 is of class 3, and so on; train and validation are both trained on.
    labels = [3, 1, 2, 2, 3, 1, 1, 2, 3]
    splits = {"trnid": [1, 2, 3], "valid": [4, 5, 6], "tstid": [7, 8, 9]}
    for name, numbers in splits.items():
        for number in numbers:
            tree.image("test" if name == "tstid" else "train", f"{labels[number - 1]:03}", f"jpg/image_{number:05}.jpg")
    tree.mat("imagelabels.mat", labels=np.array([labels], np.uint8))
    tree.mat("setid.mat", **{name: np.array([numbers], np.uint16) for name, numbers in splits.items()})
    return ["001", "002", "003"]


FOODS = ("apple_pie", "beet_salad", "waffles")


def food_101(tree):
    for split, each in (("train", 2), ("test", 1)):
        listed = [f"{name}/{split}{i}" for name in FOODS for i in range(each)]
        for path in listed:
            tree.image(split, path.split("/")[0], f"images/{path}.jpg")
        tree.text(f"meta/{split}.txt", listed)
    return list(FOODS)


SPECIES = ("Bald_Eagle", "Blue_Jay", "Wilsons_Plover")


def birdsnap(tree):
    rows, test = [], []
    for number, name in enumerate(SPECIES):
        for i in range(3):
            path = f"{name}/{number}{i}.jpg"
            rows.append(f"http://example.org/{i}\tmd5\t{path}\t{number}")
            tree.image("test" if i == 1 else "train", name, f"download/images/{path}")
            test += [path] if i == 1 else []
    tree.text("images.txt", rows, header="url\tmd5\tpath\tspecies_id")
    tree.text("test_images.txt", test, header="path")
    return list(SPECIES)


SCENES = ("abbey", "apartment_building/outdoor", "zoo")


def sun397(tree):
    for split, file, each in (("train", "Training_01.txt", 2), ("test", "Testing_01.txt", 1)):
        listed = [f"/{name[0]}/{name}/sun_{split}{i}.jpg" for name in SCENES for i in range(each)]
        for path in listed:
            tree.image(split, "/".join(path.split("/")[2:-1]), path[1:])
        tree.text(file, listed)
    tree.text("Training_02.txt", ["/a/abbey/sun_of_another_partition.jpg"])
    return list(SCENES)


CARS = ("AM General Hummer SUV 2000", "Volvo 240 Sedan 1993", "Audi A5 Coupe 2012")
"""In the order of their numbers, which is not that of their names."""


def stanford_cars(tree):
    names = np.empty((1, 3), object)
    names[0] = CARS
    tree.mat("devkit/cars_meta.mat", class_names=names)
    kinds = [("bbox_x1", object), ("class", object), ("fname", object)]
    for split, path, classes in (
        ("train", "devkit/cars_train_annos.mat", (3, 1, 2, 1, 2, 3)),
        ("test", "cars_test_annos_withlabels.mat", (2, 3, 1)),
    ):
        rows = np.empty((1, len(classes)), kinds)
        for i, number in enumerate(classes):
            rows[0, i] = (10, np.uint8(number), f"{i + 1:05}.jpg")
            tree.image(split, f"{number:03}.{CARS[number - 1]}", f"cars_{split}/{i + 1:05}.jpg")
        tree.mat(path, annotations=rows)
    return [f"{i:03}.{name}" for i, name in enumerate(CARS, start=1)]


VARIANTS = ("707-320", "A340-200", "Model B200")


def fgvc_aircraft(tree):
    for part, numbers in (("trainval", (1, 2)), ("test", (3,))):
        rows = []
        for i, name in enumerate(VARIANTS):
            for number in numbers:
                tree.image("test" if part == "test" else "train", name, f"data/images/00{i}{number}.jpg")
                rows.append(f"00{i}{number} {name}")
        tree.text(f"data/images_variant_{part}.txt", rows)
    return list(VARIANTS)


TEXTURES = ("banded", "blotchy", "zigzagged")


def dtd(tree):
    for part in ("train", "val", "test"):
        listed = [f"{name}/{name}_{part}.jpg" for name in TEXTURES]
        for path in listed:
            tree.image("test" if part == "test" else "train", path.split("/")[0], f"images/{path}")
        tree.text(f"labels/{part}1.txt", listed)
        tree.text(f"labels/{part}2.txt", listed[:1])
    return list(TEXTURES)


PETS = ("Abyssinian", "american_bulldog", "Bengal")
"""In the order of their numbers; american_bulldog would sort last."""


def oxford_pets(tree):
    for part, numbers in (("trainval", (1, 100)), ("test", (20,))):
        rows = []
        for i, name in enumerate(PETS, start=1):
            for number in numbers:
                tree.image("test" if part == "test" else "train", f"{i:02}.{name}", f"images/{name}_{number}.jpg")
                rows.append(f"{name}_{number} {i} 1 {i}")
        tree.text(f"annotations/{part}.txt", rows)
    return ["01.Abyssinian", "02.american_bulldog", "03.Bengal"]


def caltech(tree, names, begin, each):
    """The two Caltech sets; which images train is drawn, so the paths are expected in either split."""
    for name in reversed(names):
        for i in range(1, each + 1):
            tree.image(None, None, f"{name}/{begin(name)}{i:04}.jpg")
    return sorted(names)


OBJECTS_101 = ("Faces", "accordion", "yin_yang")
OBJECTS_256 = ("001.ak47", "198.spider", "257.clutter")


def caltech_101(tree):
    tree.image(None, None, "BACKGROUND_Google/image_0001.jpg")
    return caltech(tree, OBJECTS_101, lambda name: "image_", 32)


def caltech_256(tree):
    (tree.folder / "198.spider").mkdir()
    (tree.folder / "198.spider" / "RENAME2").write_text("a script that the archive holds")
    return caltech(tree, OBJECTS_256, lambda name: name[:4].replace(".", "_"), 62)


SYNSETS = ("n01440764", "n01443537", "n15075141")


def imagenet(tree):
    for split, part, each in (("train", "train", 2), ("test", "val", 1)):
        for name in reversed(SYNSETS):
            for i in range(each):
                tree.image(split, name, f"{part}/{name}/{name}_{i}.JPEG")
    tree.text("meta.bin", ["what torchvision leaves there"])
    return list(SYNSETS)


LAYOUTS = {
    "stanford-dogs": stanford_dogs,
    "cub-200-2011": cub_200_2011,
    "cub-200": cub_200,
    "stanford-40-actions": stanford_40_actions,
    "mit-indoor-67": mit_indoor_67,
    "oxford-flowers-102": oxford_flowers_102,
    "food-101": food_101,
    "birdsnap": birdsnap,
    "sun397": sun397,
    "caltech-256": caltech_256,
    "stanford-cars": stanford_cars,
    "fgvc-aircraft": fgvc_aircraft,
    "dtd": dtd,
    "oxford-pets": oxford_pets,
    "caltech-101": caltech_101,
    "imagenet": imagenet,
}
SIZES = {"caltech-101": (90, 6), "caltech-256": (180, 6)}
"""Training and test images of the tiny sets, where they are not 6 and 3."""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes a tiny set and tells the catalogue to expect it; returns (its folder, classes in order, what is where)."""

    def write(name):
        tree = Tree(tmp_path / CATALOGUE[name].folder)
        classes = LAYOUTS[name](tree)
        train, test = SIZES.get(name, (6, 3))
        monkeypatch.setitem(CATALOGUE, name, replace(CATALOGUE[name], classes=3, train=train, test=test))
        return tree.folder, classes, tree.expected

    return write


def spec(name, **fields):
    return Collection(reader="collection", name=name, **fields)


def read(name, root, **fields):
    return collections.read(spec(name, **fields), root)


def test_every_set_of_the_catalogue_has_a_reader_and_a_test():
    assert set(collections.READERS) == set(CATALOGUE) == set(LAYOUTS)


@pytest.mark.parametrize("name", [name for name in LAYOUTS if not name.startswith("caltech")])
def test_a_set_in_its_true_layout(name, tmp_path, written):
    folder, classes, expected = written(name)
    manifest = read(name, tmp_path)
    assert manifest.classes == classes
    for split in ("train", "test"):
        found = {str(path.relative_to(folder)): classes[label] for path, label in getattr(manifest, split)}
        assert found == expected[split]
        assert len(getattr(manifest, split)) == len(found), "no image twice"


@pytest.mark.parametrize("name", LAYOUTS)
def test_classes_are_numbered_by_name_whatever_the_file_system_says(name, tmp_path, written, monkeypatch):
    _, classes, _ = written(name)
    orders = []
    listing = Path.iterdir
    for order in (sorted, lambda paths: sorted(paths, reverse=True)):
        monkeypatch.setattr(Path, "iterdir", lambda path, order=order: iter(order(listing(path))))
        orders.append(read(name, tmp_path))
    assert orders[0] == orders[1]
    assert orders[0].classes == classes


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_missing_set_is_named_with_what_to_put_where(name, tmp_path):
    with pytest.raises(UserError) as error:
        read(name, tmp_path)
    sentence = str(error.value)
    entry = CATALOGUE[name]
    assert sentence.startswith(f"{name}: {tmp_path / entry.folder}")
    assert all(str(tmp_path / entry.folder / need) in sentence for need in entry.needs)
    assert sentence.endswith(f"missing; {entry.unpack.format(root=tmp_path)}")
    assert f"{tmp_path}" in entry.unpack.format(root=tmp_path)
    # The same is asked before the first job runs.
    node = Node("prepare", name, spec(name).canonical())
    with pytest.raises(UserError) as before:
        presence.must_be_present([node], tmp_path)
    assert sentence in str(before.value)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_set_that_is_there_is_believed_to_be_present(name, tmp_path, written):
    written(name)
    presence.must_be_present([Node("prepare", name, spec(name).canonical())], tmp_path)


@pytest.mark.parametrize("name", [name for name in LAYOUTS if not name.startswith(("caltech", "imagenet"))])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_partial_set_is_refused_with_what_is_missing(name, split, tmp_path, written):
    folder, _, expected = written(name)
    gone = sorted(expected[split])[1]
    (folder / gone).unlink()
    with pytest.raises(UserError) as error:
        read(name, tmp_path)
    sentence = str(error.value)
    assert f"{folder} is not the set as distributed: 1 of 9 listed images are missing: {gone}. To mend it, " in sentence
    assert sentence.endswith(CATALOGUE[name].unpack.format(root=tmp_path))


def test_of_many_missing_images_a_few_are_named(tmp_path, written):
    folder, _, expected = written("dtd")
    for path in expected["train"]:
        (folder / path).unlink()
    with pytest.raises(UserError, match=r"6 of 9 listed images are missing: (\S+\.jpg, ){2}\S+\.jpg and 3 more\."):
        read("dtd", tmp_path)


@pytest.mark.parametrize("name", LAYOUTS)
def test_another_set_than_expected_is_refused_with_what_was_found(name, tmp_path, written, monkeypatch):
    written(name)
    here = CATALOGUE[name]
    other = replace(here, classes=4, train=5000, test=here.test + 1)
    monkeypatch.setitem(CATALOGUE, name, other)
    with pytest.raises(UserError) as error:
        read(name, tmp_path)
    assert (
        f"3 classes are listed, not 4; {here.train} training images are listed, not 5,000; "
        f"{here.test} test images are listed, not {here.test + 1}"
    ) in str(error.value)


def test_part_of_birdsnap_may_be_missing_if_the_spec_says_so(tmp_path, written):
    folder, classes, _ = written("birdsnap")
    (folder / "download/images/Blue_Jay/10.jpg").unlink()
    with pytest.raises(UserError, match=r"1 of 9 listed images are missing: download/images/Blue_Jay/10\.jpg"):
        read("birdsnap", tmp_path, missing=0.1)
    manifest = read("birdsnap", tmp_path, missing=0.12)
    assert manifest.classes == classes
    assert (len(manifest.train), len(manifest.test)) == (5, 3)
    assert all(path.exists() for path, _ in manifest.train)
    (folder / "download/images/Blue_Jay/11.jpg").unlink()
    with pytest.raises(UserError, match="no test image is left of Blue_Jay"):
        read("birdsnap", tmp_path, missing=0.5)


# ---- lists that are not what they should be ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("cub-200-2011", "train_test_split.txt", "1\n2\n"),
        ("cub-200-2011", "train_test_split.txt", "1 1\n"),
        ("cub-200-2011", "train_test_split.txt", "".join(f"{i} 7\n" for i in range(1, 10))),
        ("oxford-pets", "annotations/test.txt", "Abyssinian_1 one 1 1\n"),
        ("birdsnap", "images.txt", ""),
        ("birdsnap", "images.txt", "url\tmd5\tfile\na\tb\tc\n"),
        ("birdsnap", "images.txt", "url\tmd5\tpath\nhttp\n"),
    ],
)
def test_a_list_of_another_form_is_refused_with_a_sentence(name, file, content, tmp_path, written):
    folder, *_ = written(name)
    (folder / file).write_text(content)
    with pytest.raises(UserError, match=f"{name}: the lists in .* are not the set's own"):
        read(name, tmp_path)


def test_a_line_that_is_too_short_is_shown(tmp_path, written):
    folder, *_ = written("fgvc-aircraft")
    (folder / "data/images_variant_test.txt").write_text("0001 707-320\n0002\n")
    with pytest.raises(
        UserError, match=r"own \(images_variant_test\.txt has a line `0002` where 2 columns are wanted\)"
    ):
        read("fgvc-aircraft", tmp_path)


def test_an_image_number_without_a_label_is_refused(tmp_path, written):
    folder, *_ = written("oxford-flowers-102")
    savemat(folder / "imagelabels.mat", {"labels": np.array([[1, 2]], np.uint8)})
    with pytest.raises(UserError, match=r"oxford-flowers-102: the lists in .* are not the set's own"):
        read("oxford-flowers-102", tmp_path)


def test_a_damaged_matlab_file_is_refused(tmp_path, written):
    folder, *_ = written("stanford-dogs")
    path = folder / "test_list.mat"
    content = path.read_bytes()
    for broken in (b"", b"a text", content[: len(content) // 2], content[:100]):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=r"test_list\.mat is no whole MATLAB file"):
            read("stanford-dogs", tmp_path)
    savemat(path, {"another": np.arange(3)})
    with pytest.raises(UserError, match=r"test_list\.mat lacks file_list; unpack it again"):
        read("stanford-dogs", tmp_path)


def test_a_list_that_is_a_folder_is_refused(tmp_path):
    (tmp_path / "list.txt").mkdir()
    with pytest.raises(UserError, match=r"list\.txt cannot be read \(Is a directory\)"):
        lines(tmp_path / "list.txt")


def test_one_entry_of_a_matlab_file_is_a_list_too(tmp_path):
    savemat(tmp_path / "x.mat", {"ids": np.array([[7]]), "files": cells(["a/b.jpg"])})
    ids, files = mat(tmp_path / "x.mat", "ids", "files")
    assert (ids.tolist(), files.tolist()) == ([7], ["a/b.jpg"])


def test_names_that_are_no_utf8_lead_to_their_files(tmp_path, written):
    folder, *_ = written("mit-indoor-67")
    name = os.fsdecode(b"kitchen/cuisin\xe9.jpg")
    (folder / "Images" / name).write_bytes((folder / "Images/kitchen/in_no_list.jpg").read_bytes())
    with open(folder / "TestImages.txt", "ab") as file:
        file.write(os.fsencode(name) + b"\n")
    with pytest.raises(UserError, match="4 test images are listed, not 3") as error:
        read("mit-indoor-67", tmp_path)
    assert "missing" not in str(error.value)
    (folder / "Images" / name).unlink()
    with pytest.raises(
        UserError, match=r"1 of 10 listed images are missing: Images/kitchen/cuisin\\udce9\.jpg"
    ) as error:
        read("mit-indoor-67", tmp_path)
    str(error.value).encode()  # it can be printed


# ---- the Caltech sets have no split of their own -------------------------------------------------------------------


@pytest.mark.parametrize(("name", "per_class"), [("caltech-101", 30), ("caltech-256", 60)])
def test_so_many_images_a_class_are_drawn_to_train_on(name, per_class, tmp_path, written):
    folder, classes, _ = written(name)
    manifest = read(name, tmp_path)
    assert manifest.classes == classes
    labels = {split: [label for _, label in getattr(manifest, split)] for split in ("train", "test")}
    assert np.bincount(labels["train"]).tolist() == [per_class] * 3
    assert np.bincount(labels["test"]).tolist() == [2] * 3
    together = [path for path, _ in manifest.train + manifest.test]
    expected = {path for path in folder.rglob("*.jpg") if path.parent.name != "BACKGROUND_Google"}
    assert set(together) == expected
    assert len(together) == len(expected)
    assert all(classes[label] == path.parent.name for path, label in manifest.train + manifest.test)
    first = [f"{path.name[-8:-4]}" for path, label in manifest.train if label == 0]
    assert first != [f"{i:04}" for i in range(1, per_class + 1)], "drawn, not the first ones"


def test_the_draw_depends_on_the_seed_alone(tmp_path, written):
    written("caltech-101")
    assert read("caltech-101", tmp_path) == read("caltech-101", tmp_path)
    assert read("caltech-101", tmp_path) != read("caltech-101", tmp_path, seed=1)
    drawn = [path.name for path, _ in read("caltech-101", tmp_path).test]
    # A change here moves every number on this set: raise the version of `prepare` in plan/graph.py.
    assert drawn == [f"image_{number:04}.jpg" for number in (13, 16, 20, 30, 2, 8)]


def test_a_gap_in_the_numbers_is_named(tmp_path, written):
    folder, *_ = written("caltech-256")
    (folder / "001.ak47" / "001_0017.jpg").unlink()
    with pytest.raises(UserError, match=r"1 of 186 listed images are missing: 001\.ak47/001_0017\.jpg"):
        read("caltech-256", tmp_path)


def test_a_missing_last_image_shows_in_the_count(tmp_path, written):
    folder, *_ = written("caltech-256")
    (folder / "001.ak47" / "001_0062.jpg").unlink()
    with pytest.raises(UserError, match="distributed: 5 test images are listed, not 6"):
        read("caltech-256", tmp_path)


def test_a_class_without_images_is_no_class(tmp_path, written):
    folder, *_ = written("caltech-101")
    for path in (folder / "Faces").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="2 classes are listed, not 3; 60 training images are listed, not 90"):
        read("caltech-101", tmp_path)


# ---- the catalogue and the spec ------------------------------------------------------------------------------------

TOTALS = {  # images of both splits, from the sets' own pages
    "stanford-dogs": 20580,
    "cub-200-2011": 11788,
    "cub-200": 6033,
    "stanford-40-actions": 9532,
    "mit-indoor-67": 6700,
    "oxford-flowers-102": 8189,
    "food-101": 101000,
    "birdsnap": 49829,
    "sun397": 39700,
    "caltech-256": 30607,
    "stanford-cars": 16185,
    "fgvc-aircraft": 10000,
    "dtd": 5640,
    "oxford-pets": 7349,
    "caltech-101": 8677,
    "imagenet": 1331167,
}
PER_CLASS = {  # training images a class, where all classes have as many
    "stanford-dogs": 100,
    "cub-200": 15,
    "stanford-40-actions": 100,
    "mit-indoor-67": 80,
    "oxford-flowers-102": 20,
    "food-101": 750,
    "sun397": 50,
    "caltech-256": 60,
    "dtd": 80,
    "caltech-101": 30,
}


def test_the_catalogue_adds_up():
    assert {name: entry.train + entry.test for name, entry in CATALOGUE.items()} == TOTALS
    per_class = {name: CATALOGUE[name].train / CATALOGUE[name].classes for name in PER_CLASS}
    assert per_class == PER_CLASS


def test_a_collection_from_the_config():
    found = TypeAdapter(AnyDataset).validate_python({"reader": "collection", "name": "mit-indoor-67"})
    assert found == spec("mit-indoor-67")
    assert found.canonical() == {"source": "collection", "name": "mit-indoor-67"}
    assert (found.size, found.resize, found.missing) == (224, 256, 0)


def test_its_slug_says_what_is_not_usual():
    assert spec("dtd").slug == "dtd"
    assert spec("dtd", size=64, resize=72).slug == "dtd-64px"
    assert spec("dtd", classes=[3, 4, 5]).slug == "dtd-3to5"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "dtd", "classes": [0, 47]}, "classes: dtd has 0 to 46"),
        ({"name": "dtd", "size": 300}, "resize: 256 pixels are too few to crop 300 from; raise resize"),
        ({"name": "imagenette"}, "stanford-dogs"),
        ({"name": "dtd", "missing": 1}, "less than 1"),
    ],
)
def test_a_wrong_collection_is_refused_when_the_config_is_read(fields, message):
    with pytest.raises(ValidationError, match=message):
        Collection(reader="collection", **fields)
