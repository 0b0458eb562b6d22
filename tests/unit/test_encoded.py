"""Training images that stay files: crops, decoding ahead, batches, the packed file, and `prepare` for photographs."""

import io
import json
import threading
from dataclasses import replace
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torchvision.transforms import CenterCrop, RandomResizedCrop, Resize
from torchvision.transforms.functional import pil_to_tensor, resized_crop

from robust_transfer.data import batches, tensors
from robust_transfer.data.ahead import ahead
from robust_transfer.data.catalogue import CATALOGUE
from robust_transfer.data.encoded import EncodedSplit
from robust_transfer.data.images import centre, crop_box, random_crop, rgb_or_refused
from robust_transfer.data.pack import pack
from robust_transfer.errors import UserError
from robust_transfer.models import files
from robust_transfer.plan.specs import CifarResNet, Inputs, Pgd, Recipe, Schedule
from robust_transfer.randomness import derived, order, reseed
from robust_transfer.signals import Interrupted, StopRequest
from robust_transfer.stages import prepare
from robust_transfer.stages.node import KINDS
from robust_transfer.training.loop import train


def picture(seed, width=40, height=30):
    """Random blobs: no two crops of them are alike."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 5, width // 5, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, kind="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


SIZES = [(40, 30), (30, 40), (33, 33), (64, 20), (25, 50)]


def part(count=20, **changes):
    """Images of several shapes, classes 0, 1, 2 in turn."""
    files = [encoded(picture(i, *SIZES[i % len(SIZES)])) for i in range(count)]
    joined = torch.frombuffer(bytearray(b"".join(files)), dtype=torch.uint8)
    offsets = torch.tensor([0, *map(len, files)]).cumsum(0)
    return replace(EncodedSplit(joined, offsets, torch.arange(count) % 3, size=16, resize=20), **changes)


PART = part()
SCHEDULE = Schedule(epochs=3, batch_size=4, lr=0.1, flip=True, seed=5)
ALL = torch.arange(len(PART))


def taken(iterator, count):
    return [next(iterator) for _ in range(count)]


def same(batches, others):
    assert len(batches) == len(others)
    return all(torch.equal(a, b) for pair in zip(batches, others, strict=True) for a, b in zip(*pair, strict=True))


# ---- crops ---------------------------------------------------------------------------------------------------------


def test_the_centre_is_torchvisions_resize_and_centre_crop():
    for i, size in enumerate(SIZES):
        image = picture(i, *size)
        expected = CenterCrop(16)(Resize(20)(image))
        assert np.array_equal(centre(image, 20, 16), np.asarray(expected))


@pytest.mark.parametrize("size", SIZES)
def test_a_random_crop_is_torchvisions_for_the_same_box(size):
    image = picture(3, *size)
    for seed in range(5):
        left, top, width, height = crop_box(*size, Random(seed))
        expected = resized_crop(image, top, left, height, width, [16, 16])
        assert np.array_equal(random_crop(image, 16, False, seed), np.asarray(expected))


def test_crops_have_the_areas_ratios_and_places_of_random_resized_crop():
    # A large image, so that rounding to pixels and boxes that do not fit hardly matter.
    side = 4000
    boxes = np.array([crop_box(side, side, Random(seed)) for seed in range(4000)])
    torch.manual_seed(0)
    blank = torch.empty(1).expand(3, side, side)
    theirs = np.array([RandomResizedCrop.get_params(blank, [0.08, 1], [3 / 4, 4 / 3]) for _ in range(4000)])
    left, top, width, height = boxes.T
    their_top, their_left, their_height, their_width = theirs.T

    def alike(ours, others):
        levels = np.linspace(0.05, 0.95, 19)
        return np.abs(np.quantile(ours, levels) - np.quantile(others, levels)).max() < 0.03 * np.ptp(others)

    assert alike(width * height / side**2, their_width * their_height / side**2)
    assert alike(np.log(width / height), np.log(their_width / their_height))
    assert alike(left, their_left)
    assert alike(top, their_top)
    assert (left + width <= side).all()
    assert (top + height <= side).all()
    assert (boxes >= 0).all()


@pytest.mark.parametrize("size", [(100, 1), (1, 100)])
def test_where_no_crop_fits_the_middle_is_taken(size):
    top, left, height, width = RandomResizedCrop.get_params(Image.new("RGB", size), [0.08, 1], [3 / 4, 4 / 3])
    assert crop_box(*size, Random(1)) == (left, top, width, height)


def test_crops_reach_every_edge():
    boxes = [crop_box(5, 4, Random(seed)) for seed in range(3000)]
    assert {left for left, *_ in boxes} == {0, 1, 2, 3, 4}
    assert {top for _, top, *_ in boxes} == {0, 1, 2, 3}
    assert any(left + width == 5 and left for left, _, width, _ in boxes)
    assert any(top + height == 4 and top for _, top, _, height in boxes)


def test_the_draws_are_those_that_results_were_made_with():
    # A change here moves every number that was trained on photographs: raise the versions of `pretrain` and `transfer`.
    assert crop_box(500, 375, Random(1)) == (217, 50, 216, 177)
    assert [seed for seed in range(16) if mirrored(seed)] == [1, 4, 6, 8, 9, 12, 13, 14]


def mirrored(seed):
    image = picture(2)
    plain, flipped = random_crop(image, 16, False, seed), random_crop(image, 16, True, seed)
    assert np.array_equal(flipped, plain) or np.array_equal(flipped, plain[:, ::-1]), "the crop is the same"
    return not np.array_equal(flipped, plain)


def test_half_of_the_images_are_mirrored():
    assert 460 < sum(mirrored(derived(0, "flip", i)) for i in range(1000)) < 540


def test_other_kinds_of_images_become_rgb():
    for mode in ("L", "RGBA", "P", "1"):
        assert rgb_or_refused(encoded(picture(1).convert(mode)), "x", "y").mode == "RGB"
    assert rgb_or_refused(encoded(picture(1).convert("CMYK"), "JPEG"), "x", "y").mode == "RGB"


@pytest.mark.parametrize("content", [b"", b"a text", encoded(picture(1))[:100], encoded(picture(1), "JPEG")[:-40]])
def test_a_damaged_image_is_named_with_the_remedy(content):
    with pytest.raises(UserError, match=r"^some/file\.jpg is no whole image; fetch it again$"):
        rgb_or_refused(content, "some/file.jpg", "fetch it again")


# ---- work ahead ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 4])
def test_results_come_in_order_and_not_far_ahead(threads):
    made = []

    def square(n):
        made.append(n)
        return n * n

    results = ahead(square, iter(range(100)), threads, window=6)
    for n in range(100):
        assert next(results) == n * n
        assert len(made) <= n + 1 + 6
    assert list(results) == []
    assert sorted(made) == list(range(100))


def test_they_are_made_before_they_are_asked_for():
    third = threading.Event()
    results = ahead(lambda n: third.set() if n == 2 else n, range(10), 1, window=3)
    next(results)
    assert third.wait(5)


def test_an_exception_appears_in_its_place_and_ends_the_threads():
    def careful(n):
        if n == 3:
            raise UserError("the fourth")
        return n

    before = threading.active_count()
    results = ahead(careful, range(10), 2, window=5)
    assert taken(results, 3) == [0, 1, 2]
    with pytest.raises(UserError, match="the fourth"):
        next(results)
    assert threading.active_count() == before


def test_one_who_stops_asking_leaves_no_threads():
    before = threading.active_count()
    stream = batches.stream(replace(PART, threads=3), ALL, SCHEDULE, 0)
    next(stream)
    assert threading.active_count() > before
    stream.close()
    del stream
    assert threading.active_count() == before


# ---- batches -------------------------------------------------------------------------------------------------------


def test_batches_of_crops():
    for images, labels, places in taken(batches.stream(PART, ALL, SCHEDULE, 0), 7):
        assert (images.shape, images.dtype, images.is_contiguous()) == ((4, 3, 16, 16), torch.float32, True)
        assert (images.min() >= 0) & (images.max() <= 1) & (images.max() > 0.5)
        assert (labels.shape, labels.dtype, places.shape) == ((4,), torch.int64, (4,))


def test_each_image_draws_from_a_seed_of_its_own():
    places = ALL[::2]
    for iteration, (images, labels, shown) in enumerate(taken(batches.stream(PART, places, SCHEDULE, 0), 5)):
        epoch, position = divmod(iteration, 2)
        expected = places[order(5, epoch, 10)][4 * position : 4 * position + 4]
        assert torch.equal(shown, expected)
        assert torch.equal(labels, expected % 3)
        for image, place in zip(images, expected.tolist(), strict=True):
            seed = derived(5, f"crop/{iteration}", place)
            by_hand = random_crop(picture(place, *SIZES[place % 5]), 16, True, seed)
            assert torch.equal(image, torch.from_numpy(by_hand.copy()).permute(2, 0, 1) / 255)


def box_of(crop):
    """(left, top, width, height), in parts of an image that is its own coordinates, red across and green down."""
    across, down = crop[0].mean(0), crop[1].mean(1)
    (left, width), (top, height) = (
        (line[0] - (line[-1] - line[0]) / (2 * len(line) - 2), (line[-1] - line[0]) * len(line) / (len(line) - 1))
        for line in (across, down)
    )
    return np.array([float(value) for value in (left, top, width, height)])


def overlap(one, other):
    """Intersection over union of two boxes."""
    ends = np.minimum(one[:2] + one[2:], other[:2] + other[2:])
    shared = np.clip(ends - np.maximum(one[:2], other[:2]), 0, None).prod()
    return shared / (one[2:].prod() + other[2:].prod() - shared)


def coordinates(side=512):
    ramp = (np.arange(side) * 255 // (side - 1)).astype(np.uint8)
    return Image.fromarray(
        np.stack([np.tile(ramp, (side, 1)), np.tile(ramp[:, None], (1, side)), 0 * np.eye(side)], 2).astype(np.uint8)
    )


def test_two_crops_of_a_photograph_are_boxes_of_their_own():
    content = encoded(coordinates())
    joined = torch.frombuffer(bytearray(content * 40), dtype=torch.uint8)
    same_one = EncodedSplit(joined, torch.arange(41) * len(content), torch.arange(40) % 2, size=32, resize=40)
    schedule = SCHEDULE.model_copy(update={"flip": False, "batch_size": 40})
    shown = torch.cat(
        [images for images, *_ in taken(batches.stream(same_one, torch.arange(40), schedule, 0, 0.08), 10)]
    )
    assert shown.shape == (400, 2, 3, 32, 32)
    boxes = np.array([[box_of(crop) for crop in pair] for pair in shown])
    drawn = [[np.array(crop_box(512, 512, Random(2 * i + j))) / 512 for j in (0, 1)] for i in range(4000)]
    expected = np.mean([overlap(*pair) for pair in drawn])
    overlaps = [overlap(*pair) for pair in boxes]
    assert np.mean(overlaps) == pytest.approx(expected, abs=4 * np.std(overlaps) / 20)
    areas = boxes[..., 2:].prod(-1)
    assert areas.mean() == pytest.approx(np.mean([box[2:].prod() for pair in drawn for box in pair]), abs=0.05)
    assert areas.min() < 0.15, "as small as was asked for"


@pytest.mark.parametrize("threads", [2, 5])
def test_the_number_of_threads_changes_nothing(threads):
    alone = taken(batches.stream(PART, ALL, SCHEDULE, 0), 12)
    together = taken(batches.stream(replace(PART, threads=threads), ALL, SCHEDULE, 0), 12)
    assert same(alone, together)
    assert not same(alone[:5], alone[5:10]), "every epoch has crops of its own"


@pytest.mark.parametrize("two_crops", [None, 0.08])
def test_a_part_of_a_batch_is_as_in_the_whole(two_crops):
    whole = taken(batches.stream(PART, ALL, SCHEDULE, 1, two_crops), 7)
    for index in range(2):
        half = taken(batches.stream(PART, ALL, SCHEDULE, 1, two_crops, batches.Part(index, 2)), 7)
        assert same(half, [[rows[2 * index : 2 * index + 2] for rows in batch] for batch in whole])


@pytest.mark.parametrize("begin", [1, 4, 5, 7])
def test_a_run_that_continues_sees_the_same_batches(begin):
    whole_run = taken(batches.stream(PART, ALL, SCHEDULE, 0), 12)
    assert same(taken(batches.stream(PART, ALL, SCHEDULE, begin), 12 - begin), whole_run[begin:])


def test_batches_depend_on_the_schedules_seed_alone():
    torch.manual_seed(1)
    first = taken(batches.stream(PART, ALL, SCHEDULE, 0), 3)
    torch.manual_seed(2)
    assert same(taken(batches.stream(PART, ALL, SCHEDULE, 0), 3), first)
    other = SCHEDULE.model_copy(update={"seed": 6})
    assert not same(taken(batches.stream(PART, ALL, other, 0), 3), first)


def test_what_follows_a_batch_draws_from_the_iterations_seed():
    stream = batches.stream(replace(PART, threads=2), ALL, SCHEDULE, 2)
    for iteration in (2, 3):
        next(stream)
        drawn = torch.rand(3)
        reseed(5, "iteration", iteration)
        assert torch.equal(drawn, torch.rand(3))


def test_without_flip_the_crops_are_the_same_but_none_is_mirrored():
    flipped = taken(batches.stream(PART, ALL, SCHEDULE, 0), 5)
    plain = taken(batches.stream(PART, ALL, SCHEDULE.model_copy(update={"flip": False}), 0), 5)
    pairs = [
        (a, b) for (left, *_), (right, *_) in zip(flipped, plain, strict=True) for a, b in zip(left, right, strict=True)
    ]
    assert all(torch.equal(a, b) or torch.equal(a, b.flip(-1)) for a, b in pairs)
    assert 4 < sum(not torch.equal(a, b) for a, b in pairs) < 16


@pytest.mark.parametrize("name", ["crop_padding", "rotation"])
def test_the_augmentation_of_small_images_is_refused_before_the_first_batch(name):
    schedule = SCHEDULE.model_copy(update={name: 4})
    with pytest.raises(UserError, match=rf"{name}: 4 is for small images; .* set {name} to 0"):
        batches.stream(PART, ALL, schedule, 0)


def test_one_pass_shows_every_image_once_and_the_same_way_every_time():
    places = ALL[1::2]
    first = list(batches.one_pass(PART, places, SCHEDULE))
    assert [len(images) for images in first] == [4, 4, 2]
    joined = torch.cat(first)
    assert torch.equal(torch.cat(list(batches.one_pass(replace(PART, threads=3), places, SCHEDULE))), joined)
    for image, place in zip(joined, places.tolist(), strict=True):
        expected = random_crop(picture(place, *SIZES[place % 5]), 16, True, derived(5, "pass", place))
        assert torch.equal(image, torch.from_numpy(expected.copy()).permute(2, 0, 1) / 255)


class StopAfter(StopRequest):
    """A stop that is asked for after so many iterations."""

    def __init__(self, iterations):
        super().__init__()
        self.left = iterations

    def __bool__(self):
        self.left -= 1
        if self.left <= 0:
            self.signal = 15
        return super().__bool__()


def test_a_training_on_photographs_that_was_interrupted_ends_with_the_same_bits(tmp_path):
    spec = CifarResNet(family="cifar-resnet", depth_per_stage=[1], width=4)
    attack = Pgd(algorithm="pgd", eps="4/255", steps=1, step_size="4/255", random_start=True)
    recipe = Recipe(network=spec, inputs=Inputs(attack=attack), schedule=SCHEDULE)
    images = torch.from_numpy(np.stack([centre(picture(i), 20, 16) for i in range(6)])).permute(0, 3, 1, 2)
    measured = tensors.TensorSplit(images.contiguous(), torch.arange(6) % 3)

    def trained(state, threads, *stops):
        for stop in (*stops, None):
            torch.manual_seed(0)
            network = files.build(spec, channels=3, classes=3)
            data = tensors.PreparedData(replace(PART, threads=threads), measured, measured)
            request = StopRequest() if stop is None else StopAfter(stop)
            try:
                train(network, data, recipe, "transfer.0123456789ab", tmp_path / state, 1e9, request)
            except Interrupted:
                assert stop
        return network.state_dict()

    whole_run, interrupted = trained("one", 1), trained("two", 3, 2, 7)
    assert all(torch.equal(interrupted[name], tensor) for name, tensor in whole_run.items())


@pytest.mark.parametrize("threads", [1, 3])
def test_plain_images_in_order(threads):
    found = list(replace(PART, threads=threads).plain(8))
    assert [len(labels) for _, labels in found] == [8, 8, 4]
    assert torch.equal(torch.cat([labels for _, labels in found]), PART.labels)
    for place, image in enumerate(torch.cat([images for images, _ in found])):
        expected = CenterCrop(16)(Resize(20)(picture(place, *SIZES[place % 5])))
        assert torch.equal(image, pil_to_tensor(expected) / 255)


def test_a_share_of_the_images_is_drawn_from_files_too():
    places = batches.taking_part(PART.labels, Inputs(share=0.5), seed=1)
    assert np.bincount(PART.labels[places]).tolist() == [4, 4, 3]


# ---- the packed file -----------------------------------------------------------------------------------------------


def images_on_disk(folder, counts, kind="jpg"):
    """counts: split -> images; returns splits of paths and labels, and each path's image."""
    folder.mkdir(exist_ok=True)
    splits, seed = {}, 0
    for split, count in counts.items():
        paths = np.empty(count, object)
        for i in range(count):
            paths[i] = folder / f"{split}{i}.{kind}"
            paths[i].write_bytes(encoded(picture(seed, *SIZES[seed % 5]), "JPEG"))
            seed += 1
        splits[split] = (paths, np.arange(count) % 2)
    return splits


@pytest.fixture
def packed(tmp_path):
    splits = images_on_disk(tmp_path / "images", {"train": 7, "validation": 3, "test": 4})
    path = tmp_path / "data.safetensors"
    pack(path, splits, ["bee", "wäsp"], size=16, resize=20, threads=2)
    return path, splits


def test_a_packed_set_comes_back(packed):
    path, splits = packed
    data = tensors.load(path)
    assert (data.channels, data.classes, len(data.train)) == (3, 2, 7)
    assert (data.train.size, data.train.resize) == (16, 20)
    for i, file in enumerate(splits["train"][0]):
        begin, end = data.train.offsets[i : i + 2].tolist()
        assert data.train.files[begin:end].numpy().tobytes() == file.read_bytes()
    assert data.train.labels.tolist() == splits["train"][1].tolist()
    for name in ("validation", "test"):
        part = data.split(name)
        assert (part.images.dtype, part.images.shape) == (torch.uint8, (len(splits[name][0]), 3, 16, 16))
        assert part.labels.tolist() == splits[name][1].tolist()
        for image, file in zip(part.images, splits[name][0], strict=True):
            assert torch.equal(image, pil_to_tensor(CenterCrop(16)(Resize(20)(Image.open(file)))))


def test_the_file_says_which_class_is_which(packed):
    with safe_open(packed[0], "pt") as file:
        assert json.loads(file.metadata()["classes"]) == ["bee", "wäsp"]


def test_the_same_set_gives_the_same_bytes_whatever_the_threads(packed, tmp_path):
    path, splits = packed
    pack(tmp_path / "again", splits, ["bee", "wäsp"], size=16, resize=20, threads=1)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_its_int64_lie_where_they_can_be_read_in_place(packed):
    with open(packed[0], "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    assert length % 8 == 0
    assert {name: t["data_offsets"][0] % 8 for name, t in header.items() if t.get("dtype") == "I64"} == {
        "train_offsets": 0,
        "train_labels": 0,
        "validation_labels": 0,
        "test_labels": 0,
    }


def test_photographs_that_train_are_not_had_at_once(packed):
    data = tensors.load(packed[0])
    assert data.in_memory("test") is data.test
    with pytest.raises(UserError, match="the train images are large photographs"):
        data.in_memory("train")


def test_without_validation_the_split_is_empty(tmp_path):
    splits = images_on_disk(tmp_path / "images", {"train": 3, "validation": 0, "test": 2})
    pack(tmp_path / "x", splits, ["a", "b"], size=16, resize=20, threads=1)
    data = tensors.load(tmp_path / "x")
    assert (len(data.validation), data.validation.images.shape) == (0, (0, 3, 16, 16))
    assert len(data.train) == 3


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_damaged_image_of_any_split_is_named(split, tmp_path):
    splits = images_on_disk(tmp_path / "images", {"train": 5, "validation": 5, "test": 5})
    broken = splits[split][0][3]
    broken.write_bytes(broken.read_bytes()[:-30])
    with pytest.raises(UserError, match=f"{split}3.jpg is no whole image; unpack it again"):
        pack(tmp_path / "x", splits, ["a", "b"], size=16, resize=20, threads=2)


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    splits = images_on_disk(tmp_path / "images", {"train": 2, "validation": 0, "test": 2})
    splits["test"][0][1].unlink()
    splits["test"][0][1].mkdir()
    with pytest.raises(UserError, match=r"test1\.jpg cannot be read \(Is a directory\)"):
        pack(tmp_path / "x", splits, ["a", "b"], size=16, resize=20, threads=2)


def test_files_that_change_while_they_are_read_are_refused(tmp_path, monkeypatch):
    splits = images_on_disk(tmp_path / "images", {"train": 2, "validation": 0, "test": 2})
    last = splits["train"][0][1]
    longer = last.read_bytes() + b"more"
    monkeypatch.setattr(
        "robust_transfer.data.pack._content", lambda file: longer if file == last else file.read_bytes()
    )
    with pytest.raises(UserError, match="files change while they are read"):
        pack(tmp_path / "x", splits, ["a", "b"], size=16, resize=20, threads=2)


def test_photographs_are_written_as_they_are_read(tmp_path, monkeypatch):
    # More images are never in memory than are being made ahead: nothing is gathered first.
    splits = images_on_disk(tmp_path / "images", {"train": 40, "validation": 0, "test": 40})
    held, most = set(), []

    class Held(bytes):
        def __del__(self):
            held.discard(id(self))

    from robust_transfer.data import pack as module

    for name in ("_middle", "_file"):
        real = getattr(module, name)

        def counted(*args, real=real, **kwargs):
            made = Held(real(*args, **kwargs))
            held.add(id(made))
            most.append(len(held))
            return made

        monkeypatch.setattr(module, name, counted)
    pack(tmp_path / "x", splits, ["a", "b"], size=16, resize=20, threads=1)
    assert len(most) == 80
    assert max(most) <= module.WINDOW + 3


# ---- the stage -----------------------------------------------------------------------------------------------------


def textures(root, monkeypatch, per_class=10):
    """A tiny DTD: of each class so many images to train on (half of them in its validation list) and two to test."""
    folder, seed = root / "dtd", 0
    for part, count in (("train", per_class // 2), ("val", per_class - per_class // 2), ("test", 2)):
        listed = []
        for name in ("zigzagged", "banded", "dotted"):
            for i in range(count):
                path = folder / "images" / name / f"{name}_{part}{i}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encoded(picture(seed, *SIZES[seed % 5]), "JPEG"))
                listed.append(f"{name}/{path.name}\n")
                seed += 1
        (folder / "labels").mkdir(exist_ok=True)
        (folder / "labels" / f"{part}1.txt").write_text("".join(listed))
    entry = replace(CATALOGUE["dtd"], classes=3, train=3 * per_class, test=6)
    monkeypatch.setitem(CATALOGUE, "dtd", entry)
    return folder


def prepared(root, **fields):
    spec = {"reader": "collection", "name": "dtd", "size": 16, "resize": 20, "validation": 0.2, **fields}
    job = SimpleNamespace(
        spec=KINDS["prepare"].parse(spec), data_root=root, output=root / "data.safetensors", threads=2
    )
    return prepare.run(job), tensors.load(job.output)


def test_prepare_a_collection(tmp_path, monkeypatch):
    folder = textures(tmp_path, monkeypatch)
    metrics, data = prepared(tmp_path)
    assert metrics == {"train": 24, "validation": 6, "test": 6, "classes": 3}
    assert (len(data.train), len(data.validation), len(data.test)) == (24, 6, 6)
    for part in (data.train, data.validation, data.test):
        assert len(set(np.bincount(part.labels).tolist())) == 1, "class by class"
    # Training files and validation images are the training part, each once, with its label.
    here = {path.read_bytes(): path for path in folder.rglob("*.jpg")}
    kept = [
        here[data.train.files[begin:end].numpy().tobytes()]
        for begin, end in zip(data.train.offsets[:-1], data.train.offsets[1:], strict=True)
    ]
    of = ["banded", "dotted", "zigzagged"]
    assert [path.parent.name for path in kept] == [of[label] for label in data.train.labels]
    assert not any("test" in path.name for path in kept)
    shown = {
        pil_to_tensor(CenterCrop(16)(Resize(20)(Image.open(path)))).numpy().tobytes(): path for path in here.values()
    }
    held = [shown[image.numpy().tobytes()] for image in data.validation.images]
    assert set(kept).isdisjoint(held)
    assert len({*kept, *held}) == 30
    assert all("test" in shown[image.numpy().tobytes()].name for image in data.test.images)
    # And a training on it runs.
    images, *_ = next(batches.stream(data.train, torch.arange(24), SCHEDULE, 0))
    assert images.shape == (4, 3, 16, 16)


def test_prepare_a_choice_of_classes_and_a_limit(tmp_path, monkeypatch):
    textures(tmp_path, monkeypatch)
    metrics, data = prepared(tmp_path, classes=[2, 0], limit=3)
    assert metrics == {"train": 6, "validation": 4, "test": 4, "classes": 2}
    with safe_open(tmp_path / "data.safetensors", "pt") as file:
        assert json.loads(file.metadata()["classes"]) == ["zigzagged", "banded"]
    assert np.bincount(data.train.labels).tolist() == [3, 3]


def test_prepare_names_a_damaged_image(tmp_path, monkeypatch):
    folder = textures(tmp_path, monkeypatch)
    (folder / "images/dotted/dotted_val1.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UserError, match=r"dotted_val1\.jpg is no whole image; unpack it again"):
        prepared(tmp_path)


def test_prepare_refuses_a_partial_collection(tmp_path, monkeypatch):
    folder = textures(tmp_path, monkeypatch)
    (folder / "images/dotted/dotted_val1.jpg").unlink()
    with pytest.raises(UserError, match=r"1 of 36 listed images are missing: images/dotted/dotted_val1\.jpg"):
        prepared(tmp_path)
    assert not (tmp_path / "data.safetensors").exists()
