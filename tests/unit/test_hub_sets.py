"""Sets of the Hugging Face hub and of OpenML, in the layout of what fetches them; nothing is downloaded."""

import gzip
import hashlib
import io
import json
import re
import shutil
import sys
from http.client import IncompleteRead
from types import SimpleNamespace
from urllib.error import HTTPError

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from pydantic import TypeAdapter, ValidationError
from sklearn.datasets import fetch_openml

from robust_transfer.data import inventory, parquets
from robust_transfer.data.readers import AnyDataset
from robust_transfer.errors import UserError
from robust_transfer.plan import build, edges, presence
from robust_transfer.plan.graph import Node, Plan
from robust_transfer.plan.specs import CifarResNet, Recipe, Schedule
from robust_transfer.specs.networks import IMAGENET
from robust_transfer.stages import prepare
from robust_transfer.stages.node import KINDS

COMMIT = "0a" * 20
REPO = f"huggingface/some-lab--Tiny.Set/{COMMIT}"


def spec(**values):
    return TypeAdapter(AnyDataset).validate_python(values)


def prepared(root, **values):
    """What the stage `prepare` says of a set."""
    output = root / "data.safetensors"
    return prepare.run(SimpleNamespace(spec=spec(**values), data_root=root, output=output, threads=1))


def needed(root, **values):
    """The set as `robust-transfer data` sees it."""
    each = spec(**values)
    found = inventory.Needed(each.base, each, ["mine"], inventory._source(each, each.base, root), each.remedy)
    inventory.look(found, root)
    return found


def said_before(root, **values):
    """What planning says of a set."""
    node = Node("prepare", "set", KINDS["prepare"].parse(values).canonical(), {})
    with pytest.raises(UserError) as error:
        presence.must_be_present([node], root)
    return str(error.value)


# ---- Hugging Face --------------------------------------------------------------------------------------------------

HUB = {"reader": "huggingface", "repo": "some-lab/Tiny.Set", "revision": COMMIT, "config": "plain_text"}


def image(seed, side=(6, 6), mode="RGB", form="PNG"):
    """The content of an image file."""
    shape = (side[1], side[0], 3) if mode == "RGB" else (side[1], side[0])
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(content, form)
    return content.getvalue()


def written(path, images, labels, names=("cat", "dog"), column="label"):
    """A parquet file as `datasets` writes it."""
    features = {"image": {"_type": "Image"}, column: {"_type": "ClassLabel", "names": [*names]}}
    about = {b"huggingface": json.dumps({"info": {"features": features}})} if names else None
    pictures = pa.array(
        [{"bytes": each, "path": None} for each in images], pa.struct({"bytes": pa.binary(), "path": pa.string()})
    )
    table = pa.table({"image": pictures, column: pa.array(labels)}).replace_schema_metadata(about)
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=3)
    return path


def repository(folder, mode="RGB", **more):
    """Two shards to train on and one to test on: 8 + 4 images of two classes."""
    for shard in range(2):
        images = [image(10 * shard + i, mode=mode) for i in range(4)]
        written(folder / f"plain_text/train-{shard:05}-of-00002.parquet", images, [0, 1, 0, 1], **more)
    written(
        folder / "plain_text/test-00000-of-00001.parquet",
        [image(90 + i, mode=mode) for i in range(4)],
        [1, 0, 1, 0],
        **more,
    )
    return folder


@pytest.fixture
def hub(tmp_path):
    repository(tmp_path / REPO)
    return tmp_path


def test_a_set_of_the_hub_is_read_as_it_is(hub):
    each = spec(**HUB)
    read = each.read(hub)
    images, labels = read.splits["train"]
    assert (images.shape, images.dtype, labels.tolist()) == ((8, 6, 6, 3), np.uint8, [0, 1] * 4)
    assert np.array_equal(images[5], np.asarray(Image.open(io.BytesIO(image(11)))))
    assert read.splits["test"][1].tolist() == [1, 0, 1, 0]
    assert read.classes == {0: "cat", 1: "dog"}
    facts = each.look(hub)
    assert (facts.channels, facts.height, facts.width, facts.classes) == (3, 6, 6, 2)
    assert facts.images == {"train": {0: 4, 1: 4}, "test": {0: 2, 1: 2}}
    assert prepared(hub, **HUB, validation=0) == {"train": 8, "validation": 0, "test": 4, "classes": 2}
    assert (each.slug, each.files) == ("hf-tiny-set", [f"{REPO}/plain_text"])
    assert each.files_in(hub) == [
        f"{REPO}/plain_text/{name}.parquet"
        for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001")
    ]


def test_grey_images_stay_grey_and_a_size_scales_all(tmp_path):
    repository(tmp_path / REPO, mode="L")
    images, _ = spec(**HUB).read(tmp_path).splits["train"]
    assert images.shape == (8, 6, 6, 1)
    assert spec(**HUB).look(tmp_path).channels is None  # the others may be coloured
    one = written(tmp_path / REPO / "plain_text/train-00001-of-00002.parquet", [image(1, (9, 12))] * 2, [0, 1])
    scaled = spec(**HUB, size=8)
    assert scaled.read(tmp_path).splits["train"][0].shape == (6, 8, 8, 3)
    assert scaled.slug == "hf-tiny-set-8px"
    with pytest.raises(UserError, match=f"{one}: the image of row 0 is 12 x 9, and those before it are 6 x 6; write a"):
        spec(**HUB).read(tmp_path)


def test_a_set_whose_first_image_is_grey_meets_a_network_for_colours(tmp_path):
    """Such sets are read as RGB: what is refused before must be certain."""
    root = repository(tmp_path / REPO)
    pictures = [image(0, mode="L"), *(image(i) for i in range(1, 4))]
    written(root / "plain_text/train-00000-of-00002.parquet", pictures, [0, 1, 0, 1])
    assert spec(**HUB).read(tmp_path).splits["train"][0].shape == (8, 6, 6, 3)
    plan = Plan({"data_root": str(tmp_path)})
    data = build.prepare(plan, spec(**HUB, validation=0))
    network = CifarResNet(family="cifar-resnet", depth_per_stage=[1], width=4, normalise=IMAGENET)
    schedule = Schedule(epochs=1, batch_size=4, lr=0.1)
    build.pretrain(plan, data, Recipe(network=network, schedule=schedule))
    assert [*edges.misfits(plan, tmp_path)] == []
    build.pretrain(plan, data, Recipe(network=network, schedule=schedule.with_(batch_size=40)))
    (small,) = edges.misfits(plan, tmp_path)  # what is certain is still known
    assert small.key == "batch_size"


def test_a_share_is_held_out_where_there_is_no_test_split(hub):
    assert prepared(hub, **HUB | {"test": 0.25}, validation=0)["test"] == 2
    assert prepared(hub, **HUB | {"test": 0.25}, validation=0)["train"] == 6


@pytest.mark.parametrize("name", ["train/0000", "train"])
def test_files_as_the_hub_converts_them_and_single_ones_are_found(hub, name):
    folder = hub / REPO / "plain_text"
    for shard in range(2):
        (folder / f"train-{shard:05}-of-00002.parquet").unlink()
    written(folder / f"{name}.parquet", [image(i) for i in range(4)], [0, 1, 0, 1])
    assert len(spec(**HUB).read(hub).splits["train"][1]) == 4


def test_names_are_labels_too_and_no_label_is_none(hub):
    folder = hub / REPO / "plain_text"
    written(folder / "train-00000-of-00002.parquet", [image(i) for i in range(3)], ["b", "a", "b"], names=())
    written(folder / "train-00001-of-00002.parquet", [image(i) for i in range(2)], ["a", "b"], names=())
    written(folder / "test-00000-of-00001.parquet", [image(50)], ["a"], names=())
    assert prepared(hub, **HUB, validation=0)["classes"] == 2
    written(folder / "test-00000-of-00001.parquet", [image(50), image(51)], [1, None])
    repository(hub / REPO)
    written(folder / "test-00000-of-00001.parquet", [image(50), image(51)], [1, None])
    assert prepared(hub, **HUB, validation=0)["left_out"] == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"revision": "0b" * 20},
            f"hf-tiny-set: .*{'0b' * 20}/plain_text missing; `robust-transfer data --fetch hf-tiny-",
        ),
        ({"config": "data"}, "set: .*/data missing; "),
        (
            {"train": "training"},
            "has no files of a split 'training' in plain_text; it has test, train; set train and te",
        ),
        ({"target": "fine_label"}, "has no column 'fine_label'; it has image, label: set target to one of them"),
        ({"image": "img"}, "has no column 'img'; it has image, label: set image to one of them"),
        ({"image": "label"}, "label holds int64 and no images; set image to a column of images"),
        ({"target": "image"}, "labels in image are struct.*; set target to whole numbers or names"),
        ({"classes": [0, 2]}, r"classes \[2\] are not in the data set"),
    ],
)
def test_mistakes_are_said_before_the_first_job(hub, values, words):
    assert re.search(words, said_before(hub, **HUB | values))


def test_a_missing_shard_is_known_by_the_numbers_of_the_others(hub):
    (hub / REPO / "plain_text/train-00000-of-00002.parquet").unlink()
    found = needed(hub, **HUB)
    assert found.state == inventory.PARTIAL
    assert "train-00000-of-00002.parquet missing" in found.found[0]
    with pytest.raises(UserError, match=r"train-00000-of-00002\.parquet missing; `robust-transfer data --fetch"):
        spec(**HUB).read(hub)


def converted(folder, shards=3):
    """The same as the hub converts sets."""
    for shard in range(shards):
        written(folder / f"plain_text/train/{shard:04}.parquet", [image(10 * shard + i) for i in range(2)], [0, 1])
    written(folder / "plain_text/test/0000.parquet", [image(90), image(91)], [0, 1])
    return folder


def test_a_missing_part_of_a_converted_set_is_known_by_what_was_fetched(tmp_path):
    root = converted(tmp_path / REPO)
    (root / "plain_text/train/0001.parquet").unlink()
    assert [path.rpartition("/")[2] for path in spec(**HUB).absent_from(tmp_path)] == ["0001.parquet"]
    converted(tmp_path / REPO)
    assert spec(**HUB).absent_from(tmp_path) == []
    files = {
        f"plain_text/{name}.parquet": {"bytes": 9} for name in ("train/0000", "train/0001", "train/0002", "test/0000")
    }
    (root / "fetched.json").write_text(json.dumps({"files": files}))
    (root / "plain_text/train/0002.parquet").unlink()
    assert needed(tmp_path, **HUB).state == inventory.PARTIAL
    with pytest.raises(UserError, match=r"train/0002\.parquet missing"):
        spec(**HUB).read(tmp_path)


def test_a_fetch_that_breaks_off_leaves_what_it_was_to_fetch(library, monkeypatch):
    converted(library.parent / "there")
    for path in (library.parent / "there/plain_text").glob("*.parquet"):
        path.unlink()
    whole = sys.modules["huggingface_hub"].hf_hub_download

    def breaks(repo, name, **words):
        if name.endswith("0002.parquet"):
            raise OSError("no connection")
        whole(repo, name, **words)

    monkeypatch.setattr(sys.modules["huggingface_hub"], "hf_hub_download", breaks)
    each = needed(library, **HUB)
    assert inventory.fetch_each([each], library) == [each]
    assert [path.rpartition("/")[2] for path in spec(**HUB).absent_from(library)] == ["0002.parquet", "0000.parquet"]


@pytest.mark.parametrize(
    "content",
    ["[1]", '{"files": ["a"]}', '{"files": {"plain_text/train-00000-of-00002.parquet": "x"}}', '{"files": {"a'],
)
def test_damaged_digests_of_what_was_fetched_are_no_reason_to_hold_nothing(hub, content):
    file = hub / REPO / "fetched.json"
    file.write_text(content)
    assert f"{file} is damaged; delete it, and fetch the set again" in said_before(hub, **HUB)
    with pytest.raises(UserError, match=r"fetched\.json is damaged"):
        spec(**HUB).read(hub)
    assert needed(hub, **HUB).state == inventory.PARTIAL


@pytest.mark.parametrize(
    "other",
    ["train-00002-of-00002", "train-00000-of-00001", "train-00000-of-00002-0a1b", "train/0000", "train"],
)
def test_files_that_hold_the_same_images_twice_are_refused(hub, other):
    folder = hub / REPO / "plain_text"
    written(folder / f"{other}.parquet", [image(1), image(2)], [0, 1])
    words = r"files of one split more than once \(.*train-00001-of-00002\.parquet.*\); keep those of one form and count"
    assert re.search(words, said_before(hub, **HUB))
    with pytest.raises(UserError, match=words):
        spec(**HUB).read(hub)


def test_classes_in_another_order_are_refused(hub):
    file = hub / REPO / "plain_text/test-00000-of-00001.parquet"
    written(file, [image(1), image(2)], [0, 1], names=("dog", "cat"))
    words = "hf-tiny-set: the classes in label are cat, dog first, and here dog, cat, in the split to test on"
    assert words in said_before(hub, **HUB)
    with pytest.raises(UserError, match=words):
        spec(**HUB).read(hub)
    repository(hub / REPO)
    written(hub / REPO / "plain_text/train-00001-of-00002.parquet", [image(1)], [0], names=("cat", "dog", "cow"))
    assert "train-00001-of-00002.parquet: the classes in label are cat, dog first, and here" in said_before(hub, **HUB)


def test_files_may_lie_in_the_repository_s_own_folder(hub):
    for path in (hub / REPO / "plain_text").iterdir():
        path.rename(hub / REPO / path.name)
    assert len(spec(**HUB | {"config": "."}).read(hub).splits["train"][1]) == 8


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_names_may_be_of_any_text(hub, kind):
    for path in (hub / REPO / "plain_text").iterdir():
        written(path, [image(1), image(2)], pa.array(["b", "a"], kind), names=())
    assert spec(**HUB).read(hub).splits["test"][1].tolist() == ["b", "a"]


def test_images_that_are_named_and_not_there_are_refused(hub):
    pictures = pa.array([{"bytes": None, "path": "1.png"}], pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    table = pa.table({"image": pictures, "label": [0]})
    file = hub / REPO / "plain_text/test-00000-of-00001.parquet"
    parquet.write_table(table, file)
    with pytest.raises(UserError, match=r"row 0 names 1\.png, and its images are not in the file"):
        list(parquets._contents([file], "image"))


def test_two_parts_of_a_repository_are_fetched_each(tmp_path):
    plan, kind = Plan({"data_root": str(tmp_path)}), KINDS["prepare"]
    for more in ({}, {"seed": 1}, {"test": "validation"}, {"test": 0.2}):
        each = kind.parse(HUB | more)
        plan.add("prepare", each.slug, each)
    sets = inventory.needed(plan)
    assert [each.spec.test for each in sets] == ["test", "validation", 0.2]
    assert {each.name for each in sets} == {"hf-tiny-set"}


def test_labels_out_of_range_and_damaged_files_are_refused(hub):
    file = hub / REPO / "plain_text/test-00000-of-00001.parquet"
    written(file, [image(1), image(2)], [0, 7])
    assert "label has the label 7, but names of 2 classes, 0 to 1; the files are damaged" in said_before(hub, **HUB)
    written(file, [image(1), None], [0, 1])
    with pytest.raises(UserError, match=r"test-00000-of-00001\.parquet: row 1 holds no image"):
        spec(**HUB).read(hub)
    written(file, [image(1), b"no image"], [0, 1])
    with pytest.raises(UserError, match="the image of row 1 is no whole image; delete it and fetch it again"):
        spec(**HUB).read(hub)
    file.write_bytes(file.read_bytes()[:100])
    assert "test-00000-of-00001.parquet is no whole parquet file" in said_before(hub, **HUB)


@pytest.mark.parametrize(
    "values", [{"revision": "main"}, {"repo": "cifar10"}, {"test": 1.5}, {"config": "../x"}, {"test": "train"}]
)
def test_what_names_no_commit_repository_share_or_folder_is_refused(values):
    with pytest.raises(ValidationError):
        spec(**HUB | values)


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A stand-in of huggingface_hub, whose one repository is a folder."""
    there = repository(tmp_path / "there")
    (there / "README.md").write_text("a set")

    class HfApi:
        def dataset_info(self, repo, revision, files_metadata):
            if (repo, revision) != ("some-lab/Tiny.Set", COMMIT):
                raise Exception("404 Client Error.\n\nRevision Not Found")  # as its library for HTTP does
            names = [path.relative_to(there).as_posix() for path in sorted(there.rglob("*")) if path.is_file()]
            sha = {name: hashlib.sha256((there / name).read_bytes()).hexdigest() for name in names}
            large = [name for name in names if "train" in name]  # the hub has no sha256 of small ones
            lfs = {name: SimpleNamespace(sha256=sha[name]) if name in large else None for name in names}
            siblings = [SimpleNamespace(rfilename=name, lfs=lfs[name]) for name in names]
            return SimpleNamespace(siblings=siblings, card_data={"license": ["cc-by-4.0", "mit"]})

    def hf_hub_download(repo, name, *, repo_type, revision, local_dir):
        assert repo_type == "dataset"
        (local_dir / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(there / name, local_dir / name)

    module = SimpleNamespace(HfApi=HfApi, hf_hub_download=hf_hub_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return tmp_path / "data"


def test_it_is_fetched_with_its_licence_and_digests(library):
    each = needed(library, **HUB, validation=0)
    assert (each.state, each.can_be_fetched) == (inventory.MISSING, True)
    (first, *_) = inventory.lines([each])
    assert first.startswith(
        "missing  hf-tiny-set (mine); terms: as its page says, which --fetch writes down; https://hug"
    )
    assert inventory.fetch_each([each], library) == []
    (line,) = inventory.lines([each])
    assert line.startswith(
        "there    hf-tiny-set (mine), about 1 MB; terms: cc-by-4.0, mit; https://huggingface.co/datasets/"
    )
    inventory.check(each, library)
    assert each.found == ["8 train, 4 test images"]
    assert not list(library.rglob("README.md"))
    file = library / REPO / "plain_text/test-00000-of-00001.parquet"
    written(file, [image(1), image(2)], [0, 1])
    inventory.check(each, library)
    assert "test-00000-of-00001.parquet is another file: sha256" in each.found[0]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"revision": "0b" * 20},
            r"some-lab/Tiny\.Set can't be fetched \(404 Client Error\.\); see whether the hub has it, and",
        ),
        ({"config": "data"}, "has no files of a split 'train' in data; parquet files are in plain_text; set config to"),
        ({"test": "validation"}, "has no files of a split 'validation' in plain_text; it has test, train; set train"),
    ],
)
def test_what_the_hub_has_not_is_said_and_nothing_is_left(library, values, words):
    each = needed(library, **HUB | values)
    assert inventory.fetch_each([each], library) == [each]
    assert re.search(words, each.found[0])
    assert not library.exists()


def test_without_the_library_it_is_said_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"huggingface_hub is not installed: pip install huggingface_hub, or put its"):
        spec(**HUB).fetch(tmp_path)


# ---- OpenML --------------------------------------------------------------------------------------------------------

TABLE = {"reader": "openml", "id": 4, "shape": [2, 3]}


def cached(root, rows, pixels=6, classes="0123", url="https://api.openml.org/data/v1/download/77/tiny.arff", **about):
    """A table in the layout of scikit-learn's cache: rows of pixels, and the label last."""

    def put(address, content):
        path = root / f"openml/openml.org/{address}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content.encode()))

    names = [*(f"pixel{n}" for n in range(pixels)), "class"]
    kinds = [*["REAL"] * pixels, "{" + ",".join(classes) + "}"]
    head = [f"@ATTRIBUTE {name} {kind}" for name, kind in zip(names, kinds, strict=True)]
    text = "\n".join(["% a comment", "@RELATION tiny", *head, "@DATA", *rows, ""])
    usual = {"name": "tiny", "version": "1", "status": "active", "format": "ARFF", "licence": "Public", "file_id": "77"}
    md5 = hashlib.md5(text.encode()).hexdigest()
    usual |= {"id": "4", "url": url, "md5_checksum": md5, "description": "made", **about}
    columns = [
        {
            "index": str(n),
            "name": name,
            "data_type": "nominal" if name == "class" else "numeric",
            **({"nominal_value": [*classes]} if name == "class" else {}),
            "is_target": str(name == "class").lower(),
            "is_ignore": "false",
            "is_row_identifier": "false",
            "number_of_missing_values": "0",
        }
        for n, name in enumerate(names)
    ]
    put("api/v1/json/data/4", json.dumps({"data_set_description": usual}))
    put("api/v1/json/data/features/4", json.dumps({"data_features": {"feature": columns}}))
    quality = [{"name": "NumberOfInstances", "value": str(float(len(rows)))}]
    put("api/v1/json/data/qualities/4", json.dumps({"data_qualities": {"quality": quality}}))
    put("data/v1/download/77/tiny.arff", text)
    return root


def rows(count=8, pixels=6, classes=2):
    """Row i has the pixels i, i + 1, ..."""
    return [",".join([*(str(i + 240 // pixels * n) for n in range(pixels)), str(i % classes)]) for i in range(count)]


def test_a_table_is_read_as_images_and_as_scikit_learn_reads_it(tmp_path, monkeypatch):
    cached(tmp_path, rows())
    each = spec(**TABLE, test=3)
    read = each.read(tmp_path)
    images, labels = read.splits["train"]
    assert (images.shape, images.dtype, labels.tolist()) == ((5, 2, 3, 1), np.uint8, ["0", "1", "0", "1", "0"])
    assert images[3, :, :, 0].tolist() == [[3, 43, 83], [123, 163, 203]]
    assert len(read.splits["test"][1]) == 3
    monkeypatch.setattr("sklearn.datasets._openml.urlopen", None)  # it finds all in its cache
    theirs = fetch_openml(data_id=4, data_home=tmp_path, as_frame=False, parser="liac-arff")
    assert np.array_equal(np.concatenate([part for part, _ in read.splits.values()]).reshape(8, 6), theirs.data)
    assert np.concatenate([part for _, part in read.splits.values()]).tolist() == theirs.target.tolist()
    assert prepared(tmp_path, **TABLE, test=3, validation=0) == {"train": 5, "validation": 0, "test": 3, "classes": 2}
    facts = each.look(tmp_path)
    assert (facts.channels, facts.height, facts.width, facts.totals) == (1, 2, 3, {"train": 5, "test": 3})


@pytest.mark.parametrize(
    ("shape", "channels", "first"),
    [
        ([3, 2, 2], 3, [0, 80, 160]),
        ([2, 2, 3], 3, [0, 20, 40]),
        ([1, 3, 4], 1, [0, 20, 40]),
        ([6, 2, 1], 1, [0, 20, 40]),
        ([3, 4], 1, [0, 20, 40]),
    ],
)
def test_a_row_is_planes_or_pixels(tmp_path, shape, channels, first):
    cached(tmp_path, rows(pixels=12), pixels=12)
    each = spec(**TABLE | {"shape": shape})
    images, _ = each.read(tmp_path).splits["train"]
    facts = each.look(tmp_path)
    assert images.shape[1:] == (facts.height, facts.width, channels)
    assert facts.channels == channels
    assert images[0].reshape(-1)[:3].tolist() == first


@pytest.mark.parametrize(("classes", "known"), [("0123", 4), ("abc", 3), ("12", None), ("56789", None)])
def test_how_many_classes_there_are_is_known_where_their_numbers_are(tmp_path, classes, known):
    cached(tmp_path, [f"1,2,3,4,5,{n},{classes[n % 2]}" for n in range(8)], classes=classes)
    each = spec(**TABLE, validation=0, test=0.25)
    assert each.peek(tmp_path).classes == known
    assert prepared(tmp_path, **each.model_dump(exclude_unset=True))["classes"] == 2
    if classes == "56789":
        chosen = spec(**TABLE, validation=0, test=0.25, classes=[6, 5])
        assert chosen.peek(tmp_path).classes == 2


def test_black_and_white_is_scaled_and_a_share_held_out(tmp_path):
    lines = [f"0,1,0,1,{i % 2},1,{i % 2}" for i in range(8)]
    cached(tmp_path, lines)
    assert prepared(tmp_path, **TABLE, test=0.25, validation=0)["test"] == 2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"shape": [28, 28]}, "a row of the table has 6 numbers, and shape says 28 x 28 = 784; mend its shape"),
        ({"target": "colour"}, "the table has no column 'colour'; set target to one of its columns"),
        ({"id": 5}, "openml-5: .*json/data/5.gz.* missing; `robust-transfer data --fetch openml-5` fetches it"),
    ],
)
def test_mistakes_of_a_table_are_said_before_the_first_job(tmp_path, values, words):
    cached(tmp_path, rows())
    assert re.search(words, said_before(tmp_path, **TABLE | values))


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"feature": []},
        {"feature": "pixels"},
        {"feature": [{"name": "pixel0"}]},
        {"feature": [{"name": "pixel0", "index": "0"}]},
    ],
)
def test_damaged_descriptions_of_columns_are_refused(tmp_path, told):
    file = cached(tmp_path, rows()) / "openml/openml.org/api/v1/json/data/features/4.gz"
    file.write_bytes(gzip.compress(json.dumps({"data_features": told}).encode()))
    words = f"{file} describes no columns; delete it: `robust-transfer data --fetch openml-4`"
    assert words in said_before(tmp_path, **TABLE)
    with pytest.raises(UserError, match="describes no columns"):
        spec(**TABLE).read(tmp_path)


@pytest.mark.parametrize("value", ["many", [], None, "inf", {}])
def test_a_size_that_is_no_number_is_not_known(tmp_path, value):
    file = cached(tmp_path, rows()) / "openml/openml.org/api/v1/json/data/qualities/4.gz"
    told = {"data_qualities": {"quality": [{"name": "NumberOfInstances", "value": value}]}}
    file.write_bytes(gzip.compress(json.dumps(told).encode()))
    assert spec(**TABLE).look(tmp_path).totals == {}


def test_a_table_without_rows_is_refused(tmp_path):
    cached(tmp_path, [])
    with pytest.raises(UserError, match="has no rows; delete it and fetch it again"):
        spec(**TABLE).read(tmp_path)


def test_a_table_that_is_none_of_images_is_refused(tmp_path):
    cached(tmp_path, [*rows(), "1,2,3,4,5,6,9"])
    with pytest.raises(UserError, match="class has the label 9, which is none of 0, 1, 2, 3"):
        spec(**TABLE).read(tmp_path)
    cached(tmp_path, [*rows(), "1,2,red,4,5,6,1"])
    with pytest.raises(UserError, match=r"is no table of pixels and labels .*red"):
        spec(**TABLE).read(tmp_path)
    cached(tmp_path, rows())
    with pytest.raises(UserError, match="openml-4 has 8 rows, and test wants 8 of them; lower test"):
        spec(**TABLE, test=8).read(tmp_path)
    cached(tmp_path, rows(), md5_checksum="0" * 32)
    with pytest.raises(
        UserError, match=f"and OpenML says {'0' * 32}; delete it: `robust-transfer data --fetch openml-4`"
    ):
        spec(**TABLE).read(tmp_path)
    table = tmp_path / "openml/openml.org/data/v1/download/77/tiny.arff.gz"
    table.write_bytes(table.read_bytes()[:30])
    with pytest.raises(UserError, match=r"tiny\.arff\.gz is damaged"):
        spec(**TABLE).read(tmp_path)
    table.unlink()
    assert "tiny.arff.gz missing" in said_before(tmp_path, **TABLE)


@pytest.mark.parametrize("values", [{"shape": [28]}, {"shape": [4, 5, 6]}, {"test": 2.5}, {"test": 0}, {"id": 0}])
def test_values_that_make_no_images_are_refused(values):
    with pytest.raises(ValidationError):
        spec(**TABLE | values)


def test_it_is_fetched_to_where_scikit_learn_caches_it(tmp_path, monkeypatch):
    there, asked = cached(tmp_path / "there", rows()), []

    def urlopen(address, timeout):
        asked.append(address)
        if address.endswith("/9"):
            raise HTTPError(address, 412, "PRECONDITION FAILED", None, None)
        return gzip.open(there / f"openml/openml.org/{address.split('.org/', 1)[1]}.gz")

    monkeypatch.setattr("robust_transfer.data.readers.openml.urlopen", urlopen)
    root = tmp_path / "data"
    each = needed(root, **TABLE, validation=0)
    (line, *_) = inventory.lines([each])
    assert line == "missing  openml-4 (mine); terms: as its page says; https://www.openml.org/d/4"
    assert inventory.fetch_each([each], root) == []
    assert len(asked) == 4
    (line,) = inventory.lines([each])
    assert line == "there    openml-4 (mine), about 1 MB; terms: Public; https://www.openml.org/d/4"
    inventory.check(each, root)
    assert each.found == ["8 train images"]
    assert len(asked) == 4
    names = {path.relative_to(root) for path in root.rglob("*") if path.is_file()}
    assert names == {path.relative_to(there) for path in there.rglob("*") if path.is_file()}

    other = needed(root, **TABLE | {"id": 9})
    assert inventory.fetch_each([other], root) == [other]
    assert other.found[0].startswith(
        "openml-9 could not be fetched (HTTP Error 412: PRECONDITION FAILED); see whether "
    )
    cached(there, rows(), url="file:///etc/passwd")
    shutil.rmtree(root)
    assert inventory.fetch_each([each], root) == [each]
    assert "has no address of a table" in each.found[0]
    assert "has no address of a table" in said_before(root, **TABLE)


def test_a_table_that_breaks_off_is_not_kept_and_its_size_may_be_missing(tmp_path, monkeypatch):
    there, failing = cached(tmp_path / "there", rows()), {"arff": "short"}

    class Answer(io.BytesIO):
        length = 0

    def urlopen(address, timeout):
        path = there / f"openml/openml.org/{address.split('.org/', 1)[1]}.gz"
        if "qualities" in address:
            raise HTTPError(address, 404, "NOT FOUND", None, None)
        if address.endswith("arff") and failing["arff"] == "reads":
            raise IncompleteRead(b"")
        content = Answer(gzip.decompress(path.read_bytes()))
        if address.endswith("arff") and failing["arff"]:
            content = Answer(content.getvalue()[:40])
            content.length = 0 if failing["arff"] == "other" else 7
        return content

    monkeypatch.setattr("robust_transfer.data.readers.openml.urlopen", urlopen)
    each, root = needed(tmp_path / "data", **TABLE, validation=0), tmp_path / "data"
    for how, words in (("short", "broke off, 7 bytes"), ("reads", "IncompleteRead"), ("other", "and OpenML says")):
        failing["arff"] = how
        assert inventory.fetch_each([each], root) == [each]
        assert words in each.found[0]
        assert not list(root.rglob("*arff*"))
    failing["arff"] = ""
    assert inventory.fetch_each([each], root) == []
    inventory.check(each, root)
    assert each.found == ["8 train images"]
