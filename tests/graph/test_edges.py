"""What cannot work between nodes is refused when the plan is made, at the key that can be changed; nothing else is."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from robust_transfer.errors import UserError
from robust_transfer.plan import build, edges
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import AnyAttack, AnyDataset, AnyNetwork, Recipe
from robust_transfer.studies.misfits import at_edges
from workspace import merged, planned

SHORT = {"epochs": 2, "batch_size": 20, "lr": 0.1}
PGD = {"algorithm": "pgd", "eps": 0.25, "steps": 20, "step_size": "eps/4", "random_start": True}
SQUARE = {"algorithm": "square", "norm": "l2", "eps": 0.5, "queries": 10}
FEATURE = {"algorithm": "feature", "eps": 0.25, "steps": 5, "step_size": "eps/4"}
RGB = {"mean": [0.5] * 3, "std": [0.5] * 3}
RESNET18 = {"family": "torchvision", "name": "resnet18"}
CUSTOM = {
    "sources": {"Low": {"data": "digits-low", "network": "resnet", "recipe": {"schedule": SHORT}}},
    "targets": {"High": "digits-high"},
    "methods": {"Head": {"recipe": {"trainable": "head", "schedule": SHORT}}},
    "attacks": {"PGD-20": PGD},
}


@pytest.fixture
def data_root(tmp_path):
    """A folder of red and blue pictures, and arrays of grey ones, of 3 x 3 and 10 x 12."""
    for split in ("train", "test"):
        for name in ("red", "blue"):
            folder = tmp_path / "colour" / split / name
            folder.mkdir(parents=True)
            for place in range(40):
                Image.new("RGB", (8, 8), name).save(folder / f"{place}.png")
    for name, sides in (("small", (3, 3)), ("odd", (10, 12))):
        images = np.random.default_rng(0).integers(0, 256, (120, *sides, 1), np.uint8)
        pair = {"images": images, "labels": np.arange(120) % 5}
        parts = {f"{split}_{what}": part for split in ("train", "test") for what, part in pair.items()}
        np.savez(tmp_path / f"{name}.npz", **parts)
    return tmp_path


COLOUR = {"reader": "folder", "folder": "colour", "size": 8, "validation": 0.2}
SMALL = {"reader": "npz", "file": "small.npz", "validation": 0.2}
ODD = {"reader": "npz", "file": "odd.npz", "validation": 0.2}


def refused(data_root, study, **overlay):
    """The sentences, each with its key, that a plan is refused with; none where it is made."""
    try:
        planned(study, data_root=str(data_root), **overlay)
    except UserError as error:
        return [line.removeprefix("  - ") for line in str(error).splitlines() if line.startswith("  - ")]
    return []


def own(data_root, *over, **overlay):
    section = CUSTOM
    for each in over:
        section = merged(section, each)
    return refused(data_root, "custom", custom=section, **overlay)


@pytest.mark.parametrize("scale", ["digits", "mnist", "cifar", "paper"])
@pytest.mark.parametrize("protocol", ["paper", "code", "corrected"])
def test_what_is_shipped_is_not_refused(scale, protocol):
    papers = ["davchev", "renofeation", "shafahi", "cartl", "vaishnavi"]
    assert planned("davchev", studies=papers, scale=scale, protocol=protocol)


def test_a_study_of_ones_own_is_not_refused(data_root):
    assert own(data_root) == []


# ---- channels --------------------------------------------------------------------------------------------------------


def test_grey_and_rgb_data_meet(data_root):
    (sentence,) = refused(data_root, "davchev", datasets={"mine": COLOUR}, davchev={"target": "mine"})
    assert sentence == (
        "datasets.digits-low.channels: the images have 1 channel, and a network trained on them meets colour with 3; "
        "write 3 (grey images are repeated as RGB)"
    )


@pytest.mark.parametrize("adapted", [{"digits-low": {"channels": 3}}, {"mine": {"channels": 1}}])
def test_grey_and_rgb_data_meet_through_an_adapter(data_root, adapted):
    datasets = merged({"mine": COLOUR}, adapted)
    assert refused(data_root, "davchev", datasets=datasets, davchev={"target": "mine"}) == []


def test_rgb_source_and_grey_target(data_root):
    (sentence,) = refused(data_root, "davchev", datasets={"mine": COLOUR}, davchev={"source": "mine"})
    assert sentence.startswith("datasets.digits-high.channels: the images have 1 channel, and resnet8w16 takes 3;")


def test_a_network_for_rgb_alone_on_grey_data(data_root):
    found = refused(data_root, "davchev", networks={"r18": RESNET18}, davchev={"network": "r18"})
    assert [sentence.partition(";")[0] for sentence in found] == [
        f"datasets.{name}.channels: the images have 1 channel, and resnet18 takes 3"
        for name in ("digits-high", "digits-low")
    ]


def test_normalise_of_other_channels(data_root):
    found = refused(data_root, "davchev", networks={"resnet": {"normalise": RGB}})
    assert found == [
        f"networks.resnet.normalise.{name}: 3 numbers, but digits-5to9 has 1 channel; write one number"
        for name in ("mean", "std")
    ]


def test_published_weights_on_grey_data(data_root):
    section = CUSTOM | {"sources": {"Low": {"network": "r18", "weights": "IMAGENET1K_V1"}}}
    (sentence,) = refused(data_root, "custom", custom=section, networks={"r18": RESNET18})
    assert sentence.startswith("datasets.digits-high.channels: the images have 1 channel, and resnet18 takes 3;")


def test_the_channels_of_a_file_are_not_known(data_root):
    section = CUSTOM | {"sources": {"Low": {"network": "resnet", "file": "mine.pt", "sha256": "0" * 64}}}
    target = {"targets": {"High": "mine"}}
    assert refused(data_root, "custom", custom=section | target, datasets={"mine": COLOUR}) == []


# ---- sizes -----------------------------------------------------------------------------------------------------------


def test_images_too_small_for_the_poolings(data_root):
    (sentence,) = refused(data_root, "davchev", datasets={"mine": SMALL}, davchev={"target": "mine"})
    assert sentence == (
        "datasets.mine: images of 3 x 3 pixels are too small for densenet16k12, which needs 4 x 4; take larger ones, "
        "or another network"
    )


@pytest.mark.parametrize(("shortcut", "fits"), [("activated", False), ("input", True)])
def test_images_whose_sides_do_not_halve(data_root, shortcut, fits):
    gowal = {"family": "gowal-resnet", "depth_per_stage": [1, 1, 1], "width": 4, "shortcut": shortcut}
    section = {"target": "mine", "network": "gowal", "substitute": "gowal"}
    found = refused(data_root, "davchev", datasets={"mine": ODD}, networks={"gowal": gowal}, davchev=section)
    words = "datasets.mine: images of 10 x 12 pixels do not fit gowal10x1w4, which halves their sides and needs"
    assert found == ([] if fits else [f"{words} multiples of 4; take others, or another network"])
    network = TypeAdapter(AnyNetwork).validate_python(gowal)
    assert network.side_multiple == (1 if fits else 4)
    network.build(1, 2).eval()(pytest.importorskip("torch").rand(2, 1, 12, 8))


def test_networks_of_unknown_needs_are_not_refused(data_root):
    networks = {"any": {"family": "timm", "name": "vit_tiny_patch16_224"}}
    davchev = {"target": "mine", "substitute": "any", "network": "any"}
    assert refused(data_root, "davchev", datasets={"mine": SMALL}, networks=networks, davchev=davchev) == []


def test_data_that_is_not_there_is_not_refused(tmp_path):
    for mine in (COLOUR, SMALL):
        assert refused(tmp_path, "davchev", datasets={"mine": mine}, davchev={"target": "mine"}) == []


# ---- length ----------------------------------------------------------------------------------------------------------


def test_fewer_images_than_a_batch(data_root):
    (sentence,) = refused(data_root, "davchev", davchev={"schedules": {"natural": {"batch_size": 2000}}})
    assert sentence == (
        "davchev.schedules.natural.batch_size: 494 training images of digits-5to9 take part, fewer than one batch of "
        "2000; lower batch_size or keep more images"
    )


def test_so_few_images_that_no_batch_is_left(data_root):
    found = refused(data_root, "davchev", datasets={"digits-high": {"limit": 1}})
    keys = {sentence.partition(":")[0] for sentence in found}
    assert keys == {
        f"davchev.schedules.{name}.batch_size" for name in ("natural", "adversarial", "substitute", "transfer")
    }
    assert all(
        "5 training images of digits-5to9 take part, fewer than one batch of 50;" in sentence for sentence in found
    )


@pytest.mark.parametrize(("inputs", "count"), [({"per_class": 3}, 15), ({"share": 0.01}, 5)])
def test_so_few_images_take_part_that_no_batch_is_left(data_root, inputs, count):
    (sentence,) = own(data_root, {"methods": {"Head": {"recipe": {"inputs": inputs}}}})
    start = f"custom.methods.Head.recipe.schedule.batch_size: {count} training images of digits-5to9 take part,"
    assert sentence.startswith(start)


def test_what_comes_after_the_end(data_root):
    (sentence,) = own(data_root, {"methods": {"Head": {"recipe": {"averaging": {"every": 999}}}}})
    path = "custom.methods.Head.recipe"
    assert re.match(rf"{path}.averaging.every: the training ends after \d\d iterations, before the first", sentence)


# ---- attacks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", [SQUARE, {"algorithm": "autoattack", "norm": "l2", "eps": 0.5}])
def test_images_that_squares_do_not_tile(data_root, attack):
    section = merged(CUSTOM, {"attacks": {"S": attack}, "targets": {"High": "mine"}})
    (sentence,) = refused(data_root, "custom", custom=section, datasets={"mine": SMALL})
    words = "the square attack under l2 has no start for images of 3 x 3 pixels; write linf"
    assert sentence == f"custom.attacks.S: {words}"


def test_an_l2_ball_that_holds_every_image(data_root):
    ball = {"PGD-20": {"norm": "l2", "eps": 8}}
    recipe = {"inputs": {"attack": PGD | {"norm": "l2", "eps": 8.5}}}
    found = own(data_root, {"attacks": ball, "methods": {"Head": {"recipe": recipe}}})
    words = "reaches from any image of 1 x 8 x 8 to any other (black to white is 8); lower it"
    assert found == [
        f"custom.methods.Head.recipe.inputs.attack.eps: 8.5 {words}",
        f"custom.attacks.PGD-20.eps: 8 {words}",
    ]
    assert own(data_root, {"attacks": {"PGD-20": {"norm": "l2", "eps": 7.9}}}) == []
    grey = merged(CUSTOM, {"targets": {"High": "mine"}, "attacks": ball})
    assert refused(data_root, "custom", custom=grey, datasets={"mine": COLOUR, "digits-low": {"channels": 3}}) == []


def test_too_few_classes_are_there(data_root):
    dlr = {"algorithm": "apgd", "steps": 5, "loss": "dlr_targeted", "eps": 0.1}
    section = {"attacks": {"DLR": dlr}, "targets": {"High": "mine"}}
    grey = {"mine": COLOUR | {"channels": 1}}
    (sentence,) = own(data_root, section, datasets=grey)
    assert sentence == "custom.attacks.DLR: apgdt5-linf-0.1 needs 4 classes, and there are 2; write pgd"


def test_a_feature_that_the_network_has_not(data_root):
    (sentence,) = own(data_root, {"attacks": {"F": FEATURE | {"neuron": 64}}})
    assert sentence == "custom.attacks.F.neuron: resnet8w16 has the features 0 to 63; write one of them"
    assert own(data_root, {"attacks": {"F": FEATURE | {"neuron": 63}}}) == []


# ---- help, and classes -----------------------------------------------------------------------------------------------


def test_a_head_that_is_kept_has_the_classes_of_the_data(data_root):
    keep = {"methods": {"Head": {"recipe": {"head": "keep"}}}}
    assert own(data_root, keep) == []
    (sentence,) = own(data_root, keep, datasets={"digits-high": {"classes": [5, 6, 7]}})
    assert sentence == (
        "custom.methods.Head.recipe.head: the start's head is for 5 classes, and the data has 3; write new"
    )


RESNET = {"family": "cifar-resnet", "depth_per_stage": [1, 1, 1]}


class Nodes:
    """A plan of a source, by hand."""

    def __init__(self):
        self.plan = Plan({})
        self.low, self.high = self.data(0, 1, 2, 3, 4), self.data(5, 6, 7)
        self.source = build.pretrain(self.plan, self.low, self.recipe(network=RESNET))

    def data(self, *classes):
        digits = {"reader": "sklearn-digits", "classes": list(classes)}
        return build.prepare(self.plan, TypeAdapter(AnyDataset).validate_python(digits))

    def recipe(self, **parts):
        return Recipe.model_validate({"schedule": SHORT} | parts)

    def transfer(self, start="source", teacher=None, **parts):
        return build.transfer(
            self.plan, self.high, self.recipe(**parts), start=self.source if start else None, teacher=teacher
        )

    def misfits(self, tmp_path):
        return [(misfit.node.kind, misfit.key, misfit.sentence) for misfit in edges.misfits(self.plan, tmp_path)]


@pytest.fixture
def nodes():
    return Nodes()


@pytest.mark.parametrize(
    ("parts", "key", "words"),
    [
        ({"terms": {"feature_distillation": {"weight": 1}}}, "terms.feature_distillation", "the run has no teacher"),
        ({"terms": {"similarity": {"weight": 1}}}, "terms.similarity", "the run has no features"),
        ({"tuned": ["lr"]}, "tuned", "there is no choice"),
    ],
)
def test_help_that_is_not_there(nodes, tmp_path, parts, key, words):
    nodes.transfer(**parts)
    ((kind, found, sentence),) = nodes.misfits(tmp_path)
    assert (kind, found) == ("transfer", key)
    assert sentence.startswith(words)


def test_a_teacher_of_other_stages(nodes, tmp_path):
    network = RESNET | {"depth_per_stage": [1, 1]}
    nodes.transfer(None, nodes.source, network=network, terms={"feature_distillation": {"weight": 1}})
    ((_, key, sentence),) = nodes.misfits(tmp_path)
    assert key == "terms.feature_distillation"
    assert "resnet8w16 has 3 and resnet6w16 2; use one network for both" in sentence


@pytest.mark.parametrize("kind", ["evaluate", "craft"])
def test_a_model_of_other_classes(nodes, tmp_path, kind):
    attack = TypeAdapter(AnyAttack).validate_python
    build.craft(nodes.plan, nodes.source, nodes.high, attack(FEATURE), seed=0)  # goes by no labels
    assert nodes.misfits(tmp_path) == []
    if kind == "evaluate":
        build.evaluate(nodes.plan, nodes.source, nodes.high)
    else:
        build.craft(nodes.plan, nodes.source, nodes.high, attack(PGD), seed=0)
    words = "the model tells 5 classes apart, and digits-5to7 has 3; name a model of the same classes"
    assert nodes.misfits(tmp_path) == [(kind, "", words)]


def test_where_no_key_is_to_blame_the_node_is_named(nodes):
    node = build.evaluate(nodes.plan, nodes.source, nodes.high)
    nodes.plan.add_product("table", "mine", "table1", {"cells": [{"nodes": {"outcomes": node.id}}]})
    settings = SimpleNamespace(data_root="nowhere", datasets={}, networks={})
    (sentence,) = at_edges(nodes.plan, settings, [])
    assert sentence.startswith("mine: node digits-0to4.resnet8w16.nat.clean: the model tells 5 classes apart")


# ---- the machine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, name", [("sources", "Low"), ("methods", "Head")])
def test_a_recipe_that_is_compiled_on_several_gpus(data_root, kind, name):
    over = {kind: {name: {"recipe": {"compile": True}}}}
    words = "a training on several GPUs is not compiled, and machine.gpus is 2; write false, or gpus: 1"
    assert own(data_root, over, machine={"gpus": 2}) == [f"custom.{kind}.{name}.recipe.compile: {words}"]
    assert own(data_root, over, machine={"gpus": 1}) == []


# ---- what networks say of themselves ---------------------------------------------------------------------------------

NETWORKS = [
    RESNET,
    {"family": "preact-resnet", "depth_per_stage": [1, 1], "width": 4},
    {"family": "cifar-densenet", "layers_per_block": [1, 2, 1], "growth": 4},
    {"family": "wide-resnet", "depth": 10, "widen": 2, "width": 4},
    {"family": "wide-resnet", "depth": 10, "widen": 1, "width": 4, "shortcut": "pad"},
    RESNET18,
    {"family": "torchvision", "name": "mobilenet_v2"},
    {"family": "gowal-resnet", "depth_per_stage": [1, 1, 1], "width": 4, "shortcut": "input"},
]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network["family"])
def test_the_smallest_side_is_the_smallest(network):
    torch = pytest.importorskip("torch")
    spec = TypeAdapter(AnyNetwork).validate_python(network)
    built = spec.build(3, 2).eval()
    side = spec.smallest_side
    assert built.features(torch.rand(2, 3, side, side)).shape == (2, spec.feature_width)
    if side > 1:
        with pytest.raises(RuntimeError):
            built.features(torch.rand(2, 3, side - 1, side - 1))
