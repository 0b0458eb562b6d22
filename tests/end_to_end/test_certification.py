"""The Vaishnavi study's stages as real processes: interrupted certification, and what the last layer leaves alone."""

import json
import signal

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from test_resume import Place, ended, stamp, stop_servers, wait_until

from workspace import Workspace

pytestmark = pytest.mark.slow

SHORT = {"epochs": 1, "milestones": [], "decay": "constant", "batch_size": 10}
SMALL = {
    "studies": ["vaishnavi"],
    "main_study": "vaishnavi",
    "datasets": {"digits-low": {"limit": 20}, "digits-high": {"limit": 20}},
    "networks": {"resnet": {"width": 4}},
    "vaishnavi": {
        "targets": {"High": {"per_class": 4}},
        "smoothing": {"n": 6_000, "images": 50},
        "schedules": {
            "CR": SHORT,
            "certified": SHORT,
            "last_layer": SHORT | {"epochs": 3},
            "empirical": SHORT | {"lr": 0.1},
            "SimCLR": {"batch_size": 50},
        },
    },
}
"""Laid over the digits scale: trainings of a fraction of a second, and certifications of some seconds."""
IMAGES = 50


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    made = Workspace(tmp_path_factory.mktemp("vaishnavi") / "clone")
    made.lay(SMALL)
    yield made
    stop_servers(made)


def certification(place, model):
    """The certification of a model; two tasks have the same data, and models that differ in a number alone."""
    return next(n for n in place.plan.nodes.values() if n.kind == "certify" and n.parents["model"] == model.id)


def random_model(place):
    """The target High, trained by consistency regularisation from random weights."""
    targets = [n for n in place.plan.nodes.values() if n.kind == "pretrain" and n.slug.startswith("digits-5to9.")]
    (model,) = (n for n in targets if "terms" in n.spec and n.spec["inputs"]["per_class"] == 4)
    return model


@pytest.fixture(scope="module")
def reference(workspace, tmp_path_factory):
    """A place where a model was trained and certified in one go."""
    place = Place(workspace, tmp_path_factory.mktemp("reference"), checkpoint_seconds=1000)
    model = random_model(place)
    for node in (place.plan.nodes[model.parents["data"]], model, certification(place, model)):
        place.run(node, warm=True)
    return place


def place_beside(workspace, reference, results, every):
    place = Place(workspace, results, checkpoint_seconds=every)
    model = random_model(place)
    place.take_over(reference, place.plan.nodes[model.parents["data"]], model)
    return place, certification(place, model)


def state_of(place, node):
    return place.checkpoint(node).with_suffix(".json")


def assert_same(place, reference, node):
    """The same bytes and metrics as in one go, and nothing left over."""
    assert place.artifact(node).read_bytes() == reference.artifact(node).read_bytes()
    one, other = (json.loads((p.results / node.card).read_text(encoding="utf-8")) for p in (place, reference))
    assert one["metrics"] == other["metrics"]
    assert not state_of(place, node).exists()
    assert list(place.results.rglob("*.tmp")) == []


def certified_anew(place, node):
    """How many images' certificates the log tells of; one in more than one run counts more than once."""
    return place.said(node).count(f" of {IMAGES} images: class")


def test_a_certification_asked_to_stop_goes_on_where_it_was(workspace, reference, tmp_path):
    place, node = place_beside(workspace, reference, tmp_path / "results", 1000)
    for wanted in (3, 9):
        process = place.start(node, warm=True)
        wait_until(lambda wanted=wanted: certified_anew(place, node) >= wanted, process)
        assert bool(stamp(state_of(place, node))) == (wanted > 3), "nobody but the signal has it saved"
        process.send_signal(signal.SIGTERM)
        sentence = f"certify {node.id}: stopped by SIGTERM; the state is saved; the same command continues\n"
        assert ended(process, 128 + signal.SIGTERM) == sentence
        assert not place.artifact(node).exists()
    place.run(node, warm=True)
    assert certified_anew(place, node) == IMAGES, "no image was certified twice"
    assert_same(place, reference, node)


def test_a_killed_certification_goes_on_from_what_it_had_saved(workspace, reference, tmp_path):
    place, node = place_beside(workspace, reference, tmp_path / "results", 0.01)
    process = place.start(node, warm=True)
    wait_until(lambda: certified_anew(place, node) >= 5, process)
    process.kill()
    ended(process, -signal.SIGKILL)
    wait_until(lambda: state_of(place, node).exists())
    saved = len(json.loads(state_of(place, node).read_text(encoding="utf-8"))["certificates"])
    before = certified_anew(place, node)
    assert 1 <= saved < IMAGES
    place.run(node, warm=True)
    assert certified_anew(place, node) - before == IMAGES - saved
    assert_same(place, reference, node)


@pytest.mark.parametrize("damage", ["{", '{"run": "another", "certificates": [[0, 1.0, 0, 10]]}', '{"run": 3}'])
def test_a_state_that_cannot_be_believed_is_ignored(workspace, reference, tmp_path, damage):
    place, node = place_beside(workspace, reference, tmp_path / "results", 1000)
    state_of(place, node).parent.mkdir(parents=True)
    state_of(place, node).write_text(damage, encoding="utf-8")
    place.run(node, warm=True)
    assert certified_anew(place, node) == IMAGES
    assert_same(place, reference, node)


def test_a_certificate_is_of_the_image_that_it_names(reference):
    node = certification(reference, random_model(reference))
    table = pd.read_parquet(reference.artifact(node))
    data = load_file(reference.artifact(reference.plan.nodes[node.parents["data"]]))
    labels = data["test_labels"]
    assert len(labels) == 100
    assert table["index"].tolist() == list(range(0, 100, 2))
    assert table.label.tolist() == labels[::2].tolist()


@pytest.fixture(scope="module")
def last_layers(tmp_path_factory):
    """Choice of D11 -> (the source's tensors, those of the model whose last layer alone trained)."""
    found = {}
    made = Workspace(tmp_path_factory.mktemp("last-layer") / "clone")
    made.lay(SMALL)
    for choice in ("corrected", "code"):
        made.lay({"switches": {"D11": choice}})
        place = Place(made, tmp_path_factory.mktemp(choice))
        model = next(n for n in place.plan.nodes.values() if n.kind == "transfer" and
                     n.spec.get("trainable") == "head" and n.spec["inputs"] == {"per_class": 4})  # fmt: skip
        nodes = place.plan.ancestry([model.id])
        for node in nodes:
            place.run(node, warm=True)
        found[choice] = [load_file(place.artifact(place.plan.nodes[i])) for i in (model.parents["start"], model.id)]
    stop_servers(made)
    return found


@pytest.mark.parametrize("choice", ["corrected", "code"])
def test_the_last_layer_alone_leaves_every_weight_of_the_extractor(last_layers, choice):
    source, model = last_layers[choice]
    weights = [name for name in source if not name.startswith("head.") and "running" not in name]
    weights = [name for name in weights if "num_batches" not in name]
    assert len(weights) > 10
    assert all(torch.equal(source[name], model[name]) for name in weights)
    assert not torch.equal(source["head.weight"], model["head.weight"])


def test_under_corrected_it_leaves_the_statistics_too_and_under_code_they_drift(last_layers):
    statistics = [name for name in last_layers["code"][0] if "running" in name]
    assert len(statistics) > 4
    same = {
        choice: [torch.equal(source[name], model[name]) for name in statistics]
        for choice, (source, model) in last_layers.items()
    }
    assert all(same["corrected"])
    assert not any(same["code"])
