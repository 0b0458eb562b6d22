"""SVHN and GTSRB in torchvision's layout; small images that are shown larger; ImageNet, whose files stay in place."""

import csv
import hashlib
import io
import json
import random
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import load_file
from scipy.io import savemat
from torchvision.transforms.v2.functional import resize

from robust_transfer.data import batches, tensors
from robust_transfer.data.augment import random_crop, random_flip
from robust_transfer.data.catalogue import CATALOGUE, TORCHVISION
from robust_transfer.data.encoded import EncodedSplit, ListedSplit
from robust_transfer.data.enlarge import Enlarged
from robust_transfer.data.views import random_resized_crop
from robust_transfer.errors import UserError
from robust_transfer.figures import arrays
from robust_transfer.models import files
from robust_transfer.plan import presence
from robust_transfer.plan.graph import Node
from robust_transfer.plan.specs import CifarResNet, Recipe, Schedule, Torchvision
from robust_transfer.randomness import reseed
from robust_transfer.stages import craft, evaluate, features, measure, prepare
from robust_transfer.stages.node import KINDS
from robust_transfer.training import run as train

SIGNS = ["00000", "00001", "00002"]
WNIDS = ["n01440764", "n01443537", "n15075141"]


def spec(name, **fields):
    return Torchvision(reader="torchvision", name=name, **fields)


def read(name, root, **fields):
    return spec(name, **fields).read(root)


def pixels(seed, height=32, width=32):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def blobs(seed, height, width):
    """A smooth picture, no two crops of which are alike."""
    small = Image.fromarray(pixels(seed, height // 8 + 2, width // 8 + 2))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def prepared(root, **fields):
    """What the stage `prepare` makes of a data set: (its metrics, its file)."""
    output = root / f"{len(list(root.iterdir()))}.safetensors"  # a file that was read lies mapped in memory
    job = SimpleNamespace(spec=KINDS["prepare"].parse(fields), data_root=root, output=output, threads=2)
    return prepare.run(job), job.output


def names_of(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["classes"])


def must_be_refused(name, root):
    """The sentence with which a set is refused."""
    with pytest.raises(UserError) as error:
        read(name, root)
    sentence = str(error.value)
    assert sentence.startswith(f"{name}: ")
    assert TORCHVISION[name].unpack.format(root=root) in sentence
    return sentence


# ---- SVHN ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def svhn(tmp_path, monkeypatch):
    """Two tiny files in SVHN's form, whose MD5 torchvision is told to expect; returns what they hold."""
    entries, held = {}, {}
    for split, labels in (("train", [10, 1, 9, 2, 10, 1, 3]), ("test", [3, 10, 1])):
        path = tmp_path / f"{split}_32x32.mat"
        images = np.stack([pixels(len(labels) + i) for i in range(len(labels))])
        savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": np.array(labels, np.uint8)[:, None]})
        entries[split] = ["http://nowhere", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
        held[split] = images, labels
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", entries)
    return held


def test_svhn(tmp_path, svhn):
    source = read("SVHN", tmp_path)
    assert source.classes == dict(enumerate("0123456789"))
    for split, (images, labels) in svhn.items():
        found, numbers = source.splits[split]
        assert np.array_equal(found, images)
        assert found.dtype == np.uint8
        assert (numbers.dtype, numbers.tolist()) == (np.int64, [label % 10 for label in labels]), (
            "label 10 is the digit 0"
        )
        dataset = torchvision.datasets.SVHN(tmp_path, split)
        assert [dataset[i][1] for i in range(len(dataset))] == numbers.tolist()
        assert np.array_equal(np.asarray(dataset[1][0]), found[1])


def test_prepare_svhn(tmp_path, svhn):
    metrics, path = prepared(tmp_path, reader="torchvision", name="SVHN", validation=0, classes=[1, 0])
    assert metrics == {"train": 4, "validation": 0, "test": 2, "classes": 2}
    assert names_of(path) == ["1", "0"]
    data = tensors.load(path)
    assert torch.equal(data.train.images[1], torch.from_numpy(svhn["train"][0][1]).permute(2, 0, 1))
    assert data.train.labels.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("split", ["train", "test"])
def test_half_of_svhn_is_refused(split, tmp_path, svhn):
    path = tmp_path / f"{split}_32x32.mat"
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path}" in must_be_refused("SVHN", tmp_path)
    path.unlink()
    assert f"{path}" in must_be_refused("SVHN", tmp_path)
    with pytest.raises(
        UserError
    ) as before:  # the same is asked before the first job runs, and names but what is not there
        presence.must_be_present([Node("prepare", "svhn", spec("SVHN").canonical())], tmp_path)
    assert f"  - svhn: {path} missing; put both into {tmp_path}, " in str(before.value)


# ---- GTSRB ---------------------------------------------------------------------------------------------------------


class Signs:
    """A tiny GTSRB as torchvision unpacks it. trained, tested: of each image its path and class, in order."""

    def __init__(self, root):
        self.root, self.folder = root, root / "gtsrb"
        self.trained, self.tested = [], []
        for sign in reversed(SIGNS):  # of each two tracks of two frames
            for i, name in enumerate(("00000_00000", "00000_00001", "00001_00000", "00001_00001")):
                self.image(f"GTSRB/Training/{sign}/{name}.ppm", int(sign) * 10 + i)
            (self.folder / f"GTSRB/Training/{sign}/GT-{sign}.csv").write_text("Filename;Width;Height\n")
        (self.folder / "GTSRB/Training/Readme.txt").write_text("no class")
        self.trained = [
            (path, int(path.parent.name)) for path in sorted((self.folder / "GTSRB/Training").glob("*/*.ppm"))
        ]
        for i, sign in enumerate([2, 0, 1, 2, 0]):
            self.tested.append((self.image(f"GTSRB/Final_Test/Images/{i:05}.ppm", 100 + i), sign))
        self.table([(path.name, sign) for path, sign in self.tested])

    def image(self, path, seed):
        height, width = random.Random(seed).sample(range(15, 120), 2)
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        blobs(seed, height, width).save(self.folder / path)
        return self.folder / path

    def table(self, rows):
        with open(self.folder / "GT-final_test.csv", "w", newline="") as file:
            table = csv.writer(file, delimiter=";", lineterminator="\r\n")
            table.writerow(["Filename", "Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId"])
            table.writerows([name, 53, 54, 6, 5, 48, 49, sign] for name, sign in rows)


@pytest.fixture
def signs(tmp_path, monkeypatch):
    monkeypatch.setitem(TORCHVISION, "GTSRB", replace(TORCHVISION["GTSRB"], classes=3, train=12, test=5))
    return Signs(tmp_path)


def test_gtsrb_is_read_as_torchvision_does(signs):
    source = read("GTSRB", signs.root)
    assert source.classes == {0: "0", 1: "1", 2: "2"}
    for split, written in (("train", signs.trained), ("test", signs.tested)):
        images, labels = source.splits[split]
        assert (images.shape, images.dtype, labels.dtype) == ((len(written), 32, 32, 3), np.uint8, np.int64)
        assert labels.tolist() == [sign for _, sign in written]
        for image, (path, _) in zip(images, written, strict=True):
            assert np.array_equal(image, np.asarray(resize(Image.open(path), [32, 32], antialias=True)))
        theirs = torchvision.datasets.GTSRB(signs.root, split)
        assert [theirs[i][1] for i in range(len(theirs))] == labels.tolist()
        for i, image in enumerate(images):
            assert np.array_equal(image, np.asarray(resize(theirs[i][0], [32, 32], antialias=True)))


def test_signs_are_shrunk_without_aliases_and_shown_whole(signs):
    stripes = np.zeros((96, 128, 3), np.uint8)
    stripes[::2] = 200  # of one pixel: every third of them, which plain sampling would take, is as good as any
    stripes[:, :4] = 255
    Image.fromarray(stripes).save(signs.trained[0][0])
    image = read("GTSRB", signs.root).splits["train"][0][0]
    assert np.abs(image[2:-2, 2:].astype(int) - 100).max() < 25
    assert (image[:, 0] > 200).all(), "the border is there"
    assert read("GTSRB", signs.root, size=20).splits["test"][0].shape == (5, 20, 20, 3)


def test_prepare_gtsrb(signs):
    metrics, path = prepared(signs.root, reader="torchvision", name="GTSRB", size=48, validation=0.25)
    assert metrics == {"train": 9, "validation": 3, "test": 5, "classes": 3}
    assert names_of(path) == ["0", "1", "2"]
    data = tensors.load(path)
    assert data.train.enlarged is None, "signs are scaled when they are read"
    assert data.test.images.shape == (5, 3, 48, 48)


DAMAGES = {
    "no table": "GT-final_test.csv missing",
    "no test images": "Final_Test/Images missing",
    "a training image less": "11 training images are listed, not 12",
    "a class less": "8 training images are listed, not 12",
    "a test image less": "1 of 17 listed images are missing: GTSRB/Final_Test/Images/00003.ppm",
    "a row less": "4 test images are listed, not 5",
    "another class": "4 classes are listed, not 3",
    "no class": "is not the set's own table",
    "no column": "is not the set's own table (KeyError('ClassId'))",
    "short row": "is not the set's own table",
    "no text": "is not the set's own table",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_partial_gtsrb_is_refused(damage, signs):
    table = signs.folder / "GT-final_test.csv"
    rows = [(path.name, sign) for path, sign in signs.tested]
    if damage == "no table":
        table.unlink()
    elif damage == "no test images":
        (signs.folder / "GTSRB/Final_Test/Images").rename(signs.folder / "Images")
    elif damage == "a training image less":
        signs.trained[5][0].unlink()
    elif damage == "a class less":
        (signs.folder / "GTSRB/Training/00001").rename(signs.folder / "00001")
    elif damage == "a test image less":
        signs.tested[3][0].unlink()
    elif damage == "a row less":
        signs.table(rows[1:])
    elif damage == "another class":
        signs.table([*rows[1:], ("00000.ppm", 7)])
    elif damage == "no class":
        signs.table([*rows[1:], ("00000.ppm", "stop")])
    elif damage == "no column":
        table.write_text(table.read_text().replace("ClassId", "Class"))
    elif damage == "short row":
        table.write_text(table.read_text() + "00005.ppm;53;54\n")
    elif damage == "no text":
        table.write_bytes(b"\xff\xfe\x00")
    assert DAMAGES[damage] in must_be_refused("GTSRB", signs.root)


def test_a_damaged_sign_is_named(signs):
    path = signs.trained[7][0]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"00001/00001_00001\.ppm is no whole image; unpack it again"):
        read("GTSRB", signs.root)


@pytest.fixture
def final(signs, monkeypatch):
    """The same signs in Kaggle's layout, with one more to train on, listed by no order of paths."""
    monkeypatch.setitem(TORCHVISION, "GTSRB-final", replace(TORCHVISION["GTSRB-final"], classes=3, train=13, test=5))
    folder = signs.root / "gtsrb-final"
    signs.trained.append((signs.image("GTSRB/more.ppm", 77), 2))
    for split, listed in (("Train", signs.trained[::-1]), ("Test", signs.tested)):
        rows = ["Width,Height,Roi.X1,Roi.Y1,Roi.X2,Roi.Y2,ClassId,Path"]
        for i, (path, sign) in enumerate(listed):
            copy = f"{split}/{sign}/{i:05}.png" if split == "Train" else f"{split}/{i:05}.png"
            (folder / copy).parent.mkdir(parents=True, exist_ok=True)
            Image.open(path).save(folder / copy)
            rows.append(f"53,54,6,5,48,49,{sign},{copy}")
        (folder / f"{split}.csv").write_text("\n".join(rows) + "\n")
    return signs


def test_the_final_training_set_of_gtsrb_in_kaggles_layout(final):
    theirs, ours = read("GTSRB", final.root), read("GTSRB-final", final.root)
    for mine, other in zip(ours.splits["test"], theirs.splits["test"], strict=True):
        assert np.array_equal(mine, other), "the test images are the same"
    images, labels = ours.splits["train"]
    assert labels.tolist() == [sign for _, sign in final.trained[::-1]]
    assert np.array_equal(images[:0:-1], theirs.splits["train"][0])
    assert spec("GTSRB-final").slug == "gtsrb-final"


def test_a_partial_final_training_set_is_refused(final):
    table = final.root / "gtsrb-final/Train.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]))
    assert "12 training images are listed, not 13" in must_be_refused("GTSRB-final", final.root)
    table.unlink()
    assert "Train.csv missing; unpack GTSRB_Final_Training_Images.zip" in must_be_refused("GTSRB-final", final.root)


def test_the_counts_are_the_sets_own():
    assert {name: (e.classes, e.train, e.test) for name, e in TORCHVISION.items()} == {
        "CIFAR10": (10, 50_000, 10_000),
        "CIFAR100": (100, 50_000, 10_000),
        "SVHN": (10, 73_257, 26_032),
        "GTSRB": (43, 26_640, 12_630),
        "GTSRB-final": (43, 39_209, 12_630),
    }


# ---- shown larger than kept ----------------------------------------------------------------------------------------


def test_the_size_of_a_small_set():
    plain = spec("CIFAR10")
    assert plain.canonical() == {"source": "torchvision", "name": "CIFAR10"}, "ids of existing nodes stay"
    assert (plain.slug, plain.shown_at) == ("cifar10", ())
    large = spec("CIFAR100", size=224, classes=[3, 4])
    assert (large.slug, large.shown_at) == ("cifar100-224px-3to4", (224,))
    assert (spec("SVHN", size=64).slug, spec("SVHN", size=64).shown_at) == ("svhn-64px", (64,))
    assert (spec("GTSRB", size=48).slug, spec("GTSRB", size=48).shown_at) == ("gtsrb-48px", ())
    assert spec("GTSRB", size=16).base == "gtsrb-16px"
    crops = spec("CIFAR10", size=224, resize=256)
    assert (crops.slug, crops.shown_at) == ("cifar10-224px-crops", (224, 256))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "SVHN", "size": 31}, "size: SVHN has images of 32x32, which are scaled up; write 32 or more"),
        ({"name": "CIFAR10", "size": 64, "resize": 48}, "resize: 48 pixels are too few to crop 64 from; raise resize"),
        ({"name": "GTSRB", "size": 64, "resize": 72}, "resize: signs are not cropped; take resize away"),
    ],
)
def test_a_size_that_does_not_go_with_the_set_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        spec(**fields)


KEPT = torch.from_numpy(np.stack([pixels(i, 8, 8) for i in range(11)])).permute(0, 3, 1, 2).contiguous()
LARGE = tensors.TensorSplit(KEPT, torch.arange(11) % 2, Enlarged(56))
PLAIN = Schedule(epochs=2, batch_size=4, lr=0.1, seed=3)


def seven_times(images):
    """Bilinear interpolation to seven times the size, in whole numbers (49ths, which never lie half way)."""
    height, width = images.shape[2:]
    place = np.arange(7 * height) * 2 + 1 - 7  # of the pixel's centre, in 14ths of an old pixel
    low = np.clip(place // 14, 0, height - 1)
    high = np.clip(place // 14 + 1, 0, height - 1)
    weight = place % 14 // 2  # of 7
    assert height == width
    old = images.numpy().astype(np.int64)
    rows = old[:, :, low] * (7 - weight)[:, None] + old[:, :, high] * weight[:, None]
    both = rows[..., low] * (7 - weight) + rows[..., high] * weight
    return torch.from_numpy((2 * both + 49) // 98).to(torch.uint8)


def test_images_are_scaled_up_bilinearly_to_whole_255ths(monkeypatch):
    monkeypatch.setattr(tensors, "CHUNK", 4)
    expected = seven_times(KEPT)
    part = replace(LARGE)
    assert (part.images.dtype, part.images.shape) == (torch.uint8, (11, 3, 56, 56))
    assert torch.equal(part.images, expected)
    assert torch.equal(part.images, resize(KEPT.float(), [56, 56], antialias=False).round().to(torch.uint8))
    assert part.images is part.images, "made once"
    found = list(part.plain(4))
    assert torch.equal(torch.cat([images for images, _ in found]), expected / 255)
    assert torch.cat([labels for _, labels in found]).tolist() == part.labels.tolist()
    assert (part.channels, len(part)) == (3, 11)
    assert replace(LARGE, enlarged=None).images is KEPT


def test_training_sees_what_is_measured_and_never_makes_the_whole_split():
    part = replace(LARGE)
    stream = batches.stream(part, torch.arange(11), PLAIN, 0)
    for images, labels, places in (next(stream) for _ in range(4)):
        assert torch.equal(images, seven_times(KEPT[places]) / 255)
        assert torch.equal(labels, part.labels[places])
    assert torch.equal(torch.cat(list(batches.one_pass(part, torch.arange(11), PLAIN))), seven_times(KEPT) / 255)
    list(part.plain(4))
    assert "images" not in vars(part)


def test_augmentation_comes_before_scaling():
    schedule = PLAIN.model_copy(update={"crop_padding": 1, "flip": True})
    images, _, places = next(batches.stream(replace(LARGE), torch.arange(11), schedule, 0))
    reseed(3, "iteration", 0)
    small = random_flip(random_crop(KEPT[places] / 255, 1))
    assert torch.equal(images, seven_times((small * 255).round().to(torch.uint8)) / 255)
    assert not torch.equal(images, seven_times(KEPT[places]) / 255)


CROPPED = replace(LARGE, enlarged=Enlarged(56, 64))


def test_as_photographs_they_are_measured_at_the_centre():
    larger = resize(KEPT.float(), [64, 64], antialias=False).round()
    middle = torchvision.transforms.CenterCrop(56)(larger)
    part = replace(CROPPED)
    assert torch.equal(part.images, middle.to(torch.uint8))
    assert torch.equal(torch.cat([images for images, _ in part.plain(4)]), middle / 255)
    odd = replace(LARGE, enlarged=Enlarged(56, 59)).images
    whole = resize(KEPT.float(), [59, 59], antialias=False)
    assert torch.equal(odd, torchvision.transforms.CenterCrop(56)(whole).round().to(torch.uint8))


def test_as_photographs_they_are_trained_on_in_random_crops():
    schedule = PLAIN.model_copy(update={"flip": True})
    images, _, places = next(batches.stream(replace(CROPPED), torch.arange(11), schedule, 0))
    reseed(3, "iteration", 0)
    crops = random_resized_crop(random_flip(KEPT[places] / 255), 0.08, 56)
    assert torch.equal(images, (crops * 255).round() / 255)
    assert images.shape == (4, 3, 56, 56)
    again, *_ = next(batches.stream(replace(CROPPED), torch.arange(11), schedule, 0))
    assert torch.equal(images, again)
    (shown,) = batches.one_pass(replace(CROPPED), torch.arange(4), PLAIN)
    assert not torch.equal(shown, replace(CROPPED).images[:4] / 255)


def test_a_random_crop_may_have_another_size_than_its_image():
    ramp = (torch.arange(8) + 0.5).expand(200, 1, 8, 8)  # a pixel holds its place from the left
    torch.manual_seed(1)
    small = random_resized_crop(ramp, 0.3)
    torch.manual_seed(1)
    large = random_resized_crop(ramp, 0.3, 32)
    assert large.shape == (200, 1, 32, 32)
    fours = large.unflatten(3, (8, 4)).mean((2, 4))
    torch.testing.assert_close(fours[..., 1:-1], small.mean(2)[..., 1:-1], msg="the same boxes")


@pytest.mark.parametrize("name", ["crop_padding", "rotation"])
def test_random_crops_and_the_augmentation_of_small_images_do_not_go_together(name):
    schedule = PLAIN.model_copy(update={name: 4})
    batches.stream(LARGE, torch.arange(11), schedule, 0)
    with pytest.raises(UserError, match=f"{name}: 4 is for small images; .* set {name} to 0"):
        batches.stream(CROPPED, torch.arange(11), schedule, 0)


@pytest.fixture
def large(tmp_path, svhn):
    """(the metrics, the file) of SVHN shown at 64x64."""
    return prepared(tmp_path, reader="torchvision", name="SVHN", validation=0, size=64)


def test_the_file_holds_the_small_images(large, tmp_path, svhn):
    _, path = large
    content = load_file(path)
    assert content["train_images"].shape == (7, 3, 32, 32)
    data = tensors.load(path)
    assert data.train.enlarged == data.test.enlarged == Enlarged(64)
    assert data.test.images.shape == (3, 3, 64, 64)
    assert torch.equal(data.test.kept, torch.from_numpy(svhn["test"][0]).permute(0, 3, 1, 2))
    crops = prepared(tmp_path, reader="torchvision", name="SVHN", validation=0, size=64, resize=72)[1]
    assert tensors.load(crops).test.enlarged == Enlarged(64, 72)
    _, small = prepared(tmp_path, reader="torchvision", name="SVHN", validation=0)
    plain = load_file(small)
    assert content.keys() - plain.keys() == {"shown_at"}
    assert all(torch.equal(content[name], plain[name]) for name in plain)


def test_adversarial_examples_and_pictures_have_the_size_that_is_shown(large, tmp_path):
    _, path = large
    torch.manual_seed(0)
    network = files.build(CifarResNet(family="cifar-resnet", depth_per_stage=[1], width=4), channels=3, classes=10)
    about = CifarResNet(family="cifar-resnet", depth_per_stage=[1], width=4)
    files.save(tmp_path / "model", network.eval(), about, 3, 10)
    places = {"data": path, "model": tmp_path / "model", "examples": tmp_path / "examples"}
    attack = {"algorithm": "fgsm", "norm": "linf", "eps": 0.03}
    crafted = KINDS["craft"].parse({"attack": attack, "split": "test", "seed": 0})

    def job(spec, output, roles):
        return SimpleNamespace(
            spec=spec,
            output=tmp_path / output,
            parent=places.get,
            has=lambda role: role in roles,
            node=SimpleNamespace(parents={"model": "it", "examples": "it"}),
            parents={},
            spec_of=lambda role: crafted,
            blaming=lambda role: nullcontext(),
            device="cpu",
            devices=["cpu"],
            computed={},
            data_root=tmp_path,
        )

    craft.run(job(crafted, "examples", ()))
    clean = tensors.load(path).test.images
    made = load_file(places["examples"])["examples"]
    assert (made.dtype, made.shape) == (torch.uint16, (3, 3, 64, 64))
    offset = (made.to(torch.int64) - 257 * clean.to(torch.int64)).abs()
    assert 0 < offset.max() <= 0.03 * 65535
    metrics = [evaluate.run(job(evaluate.Evaluate(split="test"), "outcomes", roles)) for roles in ((), ("examples",))]
    assert [each["n"] for each in metrics] == [3, 3]
    outcomes = pd.read_parquet(tmp_path / "outcomes")
    with torch.no_grad():
        assert outcomes.prediction.tolist() == network(made.float() / 65535).argmax(1).tolist()
    features.run(job(features.Features(), "features", ()))
    with torch.no_grad():
        expected = network.features(tensors.load(path).train.images / 255)
    torch.testing.assert_close(load_file(tmp_path / "features")["features"], expected)
    wanted = {"clean": {"nodes": ["it"], "read": "images", "split": "test", "count": 2}}
    shown = arrays.read(wanted, lambda _: path)["clean"]
    assert np.array_equal(shown, (clean[[0, 2]] / 255).numpy())


# ---- ImageNet ------------------------------------------------------------------------------------------------------


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    """A tiny ImageNet: five images a class to train on, two in val."""
    seed = 0
    for part, count in (("train", 5), ("val", 2)):
        for name in reversed(WNIDS):
            for i in range(count):
                path = tmp_path / "imagenet" / part / name / f"{name}_{i}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                blobs(seed, 40 + 3 * i, 60 - 5 * i).save(path, "JPEG")
                seed += 1
    monkeypatch.setitem(CATALOGUE, "imagenet", replace(CATALOGUE["imagenet"], classes=3, train=15, test=6))
    return tmp_path


IMAGENET = {"reader": "collection", "name": "imagenet", "size": 16, "resize": 20, "validation": 0.2}
SCHEDULE = Schedule(epochs=3, batch_size=4, lr=0.1, flip=True, seed=5)


def some_batches(part, count=5):
    stream = batches.stream(part, torch.arange(len(part)), SCHEDULE, 0)
    found = [next(stream) for _ in range(count)]
    stream.close()
    return found


def test_of_imagenet_the_prepared_set_has_paths_and_digests(imagenet):
    metrics, path = prepared(imagenet, **IMAGENET)
    assert metrics == {"train": 12, "validation": 3, "test": 6, "classes": 3}
    assert names_of(path) == WNIDS
    content = load_file(path)
    assert "train_files" not in content
    joined, ends = content["train_paths"].numpy().tobytes().decode(), content["train_offsets"].tolist()
    paths = [joined[begin:end] for begin, end in pairwise(ends)]
    assert len(set(paths)) == 12
    for name, label, digest in zip(paths, content["train_labels"], content["train_digests"], strict=True):
        assert name.startswith(f"imagenet/train/{WNIDS[label]}/")
        assert digest.numpy().tobytes() == hashlib.sha256((imagenet / name).read_bytes()).digest()
    assert content["test_images"].shape == (6, 3, 16, 16)
    theirs = torchvision.datasets.ImageFolder(imagenet / "imagenet" / "val")
    assert content["test_labels"].tolist() == theirs.targets
    assert theirs.classes == WNIDS


def test_training_on_files_in_place_sees_what_training_on_packed_ones_does(imagenet, monkeypatch):
    _, path = prepared(imagenet, **IMAGENET)
    listed = tensors.load(path, data_root=imagenet)
    assert type(listed.train) is ListedSplit
    in_place, plain = some_batches(listed.train), list(listed.train.plain(5))
    again = some_batches(replace(listed.train, threads=3))
    monkeypatch.setitem(CATALOGUE, "imagenet", replace(CATALOGUE["imagenet"], stays=False))
    packed = tensors.load(prepared(imagenet, **IMAGENET)[1]).train
    assert type(packed) is EncodedSplit
    for found in (in_place, again):
        for batch, other in zip(found, some_batches(packed), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(batch, other, strict=True))
    assert all(
        torch.equal(a, b)
        for ours, theirs in zip(plain, packed.plain(5), strict=True)
        for a, b in zip(ours, theirs, strict=True)
    )


def test_the_data_may_move(imagenet):
    _, path = prepared(imagenet, **IMAGENET)
    before = some_batches(tensors.load(path, data_root=imagenet).train)
    (imagenet / "elsewhere").mkdir()
    (imagenet / "imagenet").rename(imagenet / "elsewhere" / "imagenet")
    after = some_batches(tensors.load(path, data_root=imagenet / "elsewhere").train)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(before, after, strict=True))
    data = tensors.load(path)
    assert (data.test.images.shape, data.classes, data.channels) == ((6, 3, 16, 16), 3, 3), "measuring needs no file"


@pytest.mark.parametrize("stage", [train, features, measure], ids=lambda stage: stage.__name__.rpartition(".")[2])
def test_stages_that_look_at_training_images_find_the_files(stage, imagenet):
    _, path = prepared(imagenet, **IMAGENET)
    about = CifarResNet(family="cifar-resnet", depth_per_stage=[1], width=4)
    files.save(imagenet / "model", files.build(about, 3, 3).eval(), about, 3, 3)
    places = {"data": path, "model": imagenet / "model", "source": imagenet / "model"}
    job = SimpleNamespace(
        spec=measure.Measure() if stage is measure else Recipe(network=about, schedule=SCHEDULE),
        output=imagenet / "made",
        parent=places.get,
        has=lambda role: False,
        blaming=lambda role: nullcontext(),
        node=SimpleNamespace(id="it"),
        device=torch.device("cpu"),
        data_root=imagenet,
        checkpoint=imagenet / "checkpoint",
        machine={"checkpoint_seconds": 60, "device": "cpu"},
        beside={},
        computed={},
    )
    assert stage.run(job)
    assert job.output.exists()


@pytest.mark.parametrize("damage", ["another image", "one byte", "gone"])
def test_a_file_that_is_not_the_old_one_is_named_where_it_is_read(damage, imagenet):
    _, path = prepared(imagenet, **IMAGENET)
    data = tensors.load(path, data_root=imagenet)
    name = data.train.files[: data.train.offsets[1]].numpy().tobytes().decode()
    file = imagenet / name
    sentence = f"{name} is not the file that it was when the data set was prepared; put the old file back"
    if damage == "another image":
        blobs(99, 40, 40).save(file, "JPEG")
    elif damage == "one byte":  # a comment that no decoder looks at
        content = file.read_bytes()
        file.write_bytes(content + b"\0")
        assert Image.open(io.BytesIO(file.read_bytes())).size == Image.open(io.BytesIO(content)).size
    else:
        file.unlink()
        sentence = f"{name} cannot be read (No such file or directory); put the old file back"
    with pytest.raises(UserError) as error:
        list(data.train.plain(4))
    assert sentence in str(error.value)
    with pytest.raises(UserError):
        some_batches(data.train)


def test_a_damaged_photograph_of_imagenet_is_named_when_the_set_is_prepared(imagenet):
    (imagenet / "imagenet/train/n01443537/n01443537_3.JPEG").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UserError, match=r"n01443537_3\.JPEG is no whole image"):
        prepared(imagenet, **IMAGENET, seed=1)


def test_a_val_folder_without_classes_is_refused(imagenet):
    val = imagenet / "imagenet" / "val"
    for file in list(val.glob("*/*.JPEG")):
        file.rename(val / file.name)
    for folder in list(val.iterdir()):
        if folder.is_dir():
            folder.rmdir()
    with pytest.raises(
        UserError, match=r"0 test images are listed, not 6\. To mend it, put ILSVRC2012_img_train\.tar, "
    ):
        prepared(imagenet, **IMAGENET)


def test_a_training_image_less_shows_in_the_count(imagenet):
    (imagenet / "imagenet/train/n01443537/n01443537_3.JPEG").unlink()
    with pytest.raises(UserError, match="14 training images are listed, not 15"):
        prepared(imagenet, **IMAGENET)
