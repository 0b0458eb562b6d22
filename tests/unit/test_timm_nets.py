"""timm's networks in our shape: the same logits from the same weights, their parts, training, attacks."""

import copy
import hashlib
import math
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from robust_transfer.attacks.craft import craft
from robust_transfer.attacks.ready import attack_ready
from robust_transfer.data.tensors import PreparedData, TensorSplit
from robust_transfer.errors import UserError
from robust_transfer.models import files
from robust_transfer.models.classifier import (
    freeze_but,
    modules_in_eval,
    reset_last,
    reset_parameters,
    training_mode,
)
from robust_transfer.models.families.timm import parts_of
from robust_transfer.plan import build
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import IMAGENET, Digits, Fgsm, Last, Recipe, Schedule, TimmNet
from robust_transfer.run import networks
from robust_transfer.signals import StopRequest
from robust_transfer.stages import bring
from robust_transfer.stages.node import KINDS
from robust_transfer.training.loop import train

pytestmark = pytest.mark.usefixtures("one_thread")

timm = pytest.importorskip("timm")

OPTIONS = {
    "vit": {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3},
    "swin": {"img_size": 32, "patch_size": 4, "window_size": 2, "embed_dim": 12, "depths": [1, 2], "num_heads": [2, 2]},
    "convnext": {"depths": [1, 1, 2, 1], "dims": [8, 8, 8, 16]},
    "densenet": {"growth_rate": 4, "block_config": [2, 1]},
}
NAMES = {
    "vit": "vit_tiny_patch16_224",
    "swin": "swin_tiny_patch4_window7_224",
    "convnext": "convnext_atto",
    "densenet": "densenet121",
    "resnet": "resnet10t",
    "efficientnet": "mobilenetv3_small_050",
}
SPECS = {key: TimmNet(family="timm", name=name, options=OPTIONS.get(key, {})) for key, name in NAMES.items()}
VIT, RESNET = SPECS["vit"], TimmNet(family="timm", name="resnet18")


def built(spec=VIT, channels=3, classes=5, seed=0):
    torch.manual_seed(seed)
    return files.build(spec, channels, classes)


def pixels(count=3, channels=3, size=32):
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(4))


def theirs(spec, classes=5):
    torch.manual_seed(1)
    return timm.create_model(spec.name, num_classes=classes, **spec.options).eval()


def owned(network, parts):
    """The names of the parameters in these parts."""
    inside = {id(p) for part in parts for module in part.modules() for p in module.parameters(recurse=False)}
    return {name for name, parameter in network.named_parameters() if id(parameter) in inside}


def changed(network, before):
    return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}


# ---- weights and parts ---------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("key", ["vit", "resnet"])
def test_the_same_weights_give_the_same_logits(key, tmp_path):
    spec = SPECS[key].model_copy(update={"normalise": IMAGENET})
    model, ours = theirs(spec), built(spec).eval()
    ours.load_state_dict(spec.renamed(model.state_dict()))
    images = pixels()
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (IMAGENET.mean, IMAGENET.std))
    torch.testing.assert_close(ours(images), model((images - mean) / std), rtol=1e-5, atol=1e-6)
    assert ours.features(images).shape == (3, ours.width)
    files.save(tmp_path / "model", ours, spec, 3, 5)
    loaded, loaded_spec, *_ = files.load(tmp_path / "model")
    assert loaded_spec == spec
    assert torch.equal(loaded(images), ours(images))


@pytest.mark.parametrize(
    ("key", "blocks", "stem"),
    [
        ("vit", [1, 1, 1], {"cls_token", "pos_embed", "patch_embed.proj"}),
        ("swin", [1, 2], {"patch_embed.proj", "patch_embed.norm"}),
        ("convnext", [1, 1, 2, 1], {"stem.0", "stem.1"}),
        ("densenet", [2, 1], {"features.conv0", "features.norm0"}),
        ("resnet", [1, 1, 1, 1], {"conv1.0", "conv1.1", "conv1.3", "conv1.4", "conv1.6", "bn1"}),
        ("efficientnet", [1, 2, 3, 2, 3, 1], {"conv_stem", "bn1"}),
    ],
)
def test_every_weight_is_the_stems_a_blocks_or_the_heads(key, blocks, stem):
    network = built(SPECS[key])
    assert [len(list(stage)) for stage in network.stages] == blocks
    assert network.units() == [network.head, *network.blocks()[::-1]]
    each = [owned(network, [part]) for part in network.units()]
    assert sum(map(len, each)) == len(set().union(*each)), "no weight is in two parts"
    left = {name for name, _ in network.named_parameters()} - set().union(*each)
    left = {name.removeprefix("model.").removesuffix(".weight").removesuffix(".bias") for name in left}
    assert left == stem


def test_the_last_block_has_what_stands_between_it_and_the_features():
    last = {key: owned(network := built(spec), [network.blocks()[-1]]) for key, spec in SPECS.items()}
    assert {"model.norm.weight", "model.norm.bias"} <= last["vit"]
    assert "model.head.norm.weight" in last["convnext"]
    assert "model.features.norm5.weight" in last["densenet"]
    assert "model.conv_head.weight" in last["efficientnet"]


def test_a_network_that_timm_does_not_divide_is_one_block():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    (stage,) = parts_of(model)
    assert list(next(iter(stage)).modules()) == list(model.modules())


@torch.no_grad()
@pytest.mark.parametrize("key", SPECS)
def test_an_observed_pass_is_the_usual_one(key):
    network, images = built(SPECS[key]).eval(), pixels()
    seen = network.observe(images, unit=2)
    assert torch.equal(seen.logits, network(images))
    assert torch.equal(seen.features, network.features(images))
    assert len(seen.stages) == len(network.stages)
    assert all(len(each) == 3 for each in [*seen.stages, seen.unit_input])
    again = network.observe(images + 0.1, unit=2)
    assert all((a - b).square().flatten(1).mean(1).min() > 0 for a, b in zip(seen.stages, again.stages, strict=True))


@torch.no_grad()
def test_stages_of_a_transformer_are_its_blocks_tokens():
    network, images, outputs, inputs = built().eval(), pixels(), [], []
    for block in network.model.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    network.model.blocks[1].register_forward_pre_hook(lambda _module, x: inputs.append(x[0]))
    seen = network.observe(images, unit=3)
    outputs[-1] = network.model.norm(outputs[-1])
    assert [tuple(stage.shape) for stage in seen.stages] == [(3, 17, 24)] * 3
    assert all(torch.equal(stage, output) for stage, output in zip(seen.stages, outputs, strict=True))
    assert torch.equal(seen.unit_input, inputs[0])


# ---- what trains, what starts anew ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("of", "units"), [("blocks", 0), ("stages", 0), ("units", 1)])
def test_the_last_blocks_train_and_all_else_is_frozen(of, units):
    network = built()
    frozen = freeze_but(network, Last(last=1 + units, of=of))
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    names = [name for name, _ in network.named_parameters()]
    assert trained == {name for name in names if name.startswith(("model.blocks.2.", "model.norm.", "head."))}
    training_mode(network, modules_in_eval(network, frozen, "freeze", "freeze"))
    assert network.model in frozen, "it holds the class token"
    assert not network.model.training
    assert all(module.training for module in network.model.blocks[2].modules())
    assert not network.model.blocks[1].mlp.fc1.training


@pytest.mark.parametrize("of", ["blocks", "stages", "units"])
def test_more_parts_than_there_are_is_refused(of):
    assert VIT.blocks == VIT.stages == VIT.units == math.inf
    with pytest.raises(
        UserError, match=rf"the last 9 {of} are wanted, but the network has {4 if of == 'units' else 3}"
    ):
        freeze_but(built(), Last(last=9, of=of))


@pytest.mark.parametrize("key", ["vit", "swin", "resnet"])
def test_what_starts_anew_has_the_values_of_a_new_network(key):
    network, spec = built(SPECS[key]), SPECS[key]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    network.train()(pixels(8))
    before = copy.deepcopy(network.state_dict())
    torch.manual_seed(3)
    reset_last(network, Last(last=1, of="blocks"))
    block, head = owned(network, [network.blocks()[-1]]), owned(network, [network.head])
    parameters = {name for name, _ in network.named_parameters()}
    assert changed(network, before) & parameters == block | head
    torch.manual_seed(3)
    nn.Linear(network.width, 5)
    new = timm.create_model(spec.name, num_classes=0, **spec.options).state_dict()
    for name in changed(network, before) - head:
        assert torch.equal(network.state_dict()[name], new[name.removeprefix("model.")]), name
    reset_last(network, "all")
    assert changed(network, before) >= parameters


def test_a_start_by_pytorchs_defaults_leaves_what_has_none():
    network = built()
    before = copy.deepcopy(network.state_dict())
    reset_parameters(network)
    assert "model.blocks.0.attn.qkv.weight" in changed(network, before)
    assert not {"model.pos_embed", "model.cls_token"} & changed(network, before)


# ---- training and attacks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statistics", ["freeze", "update"])
@pytest.mark.parametrize("key", ["vit", "resnet"])
def test_a_transfer_of_the_last_block(key, statistics):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (16, 1, 32, 32), dtype=torch.uint8, generator=generator)
    data = PreparedData(*[TensorSplit(images, torch.arange(16) % 4)] * 3)
    network, teacher = built(SPECS[key], 1, 4), built(SPECS[key], 1, 4, seed=1)
    before = copy.deepcopy(network.state_dict())
    recipe = Recipe(
        trainable=Last(last=1, of="blocks"),
        frozen_statistics=statistics,
        dropout=0.1,
        inputs={"attack": Fgsm(algorithm="fgsm", eps=0.1)},
        terms={"feature_distillation": 0.5},
        schedule={"epochs": 1, "batch_size": 8, "lr": 0.01, "select": "best_validation"},
    )
    history = train(network, data, recipe, "run", "/nonexistent", math.inf, StopRequest(), teacher)
    assert math.isfinite(history[-1]["loss"])
    moved = changed(network, before)
    last = owned(network, [network.blocks()[-1], network.head])
    assert moved & last
    statistics_moved = {name for name in moved - last if "running" in name or "num_batches" in name}
    assert moved - last == statistics_moved
    frozen_moved = {name for name in statistics_moved if not name.startswith("model.layer4")}
    assert bool(frozen_moved) == (statistics == "update" and key == "resnet")
    attack = Fgsm(algorithm="fgsm", eps=0.1)
    made = craft(network, images, data.test.labels, attack, 8, 0)
    assert made.shape == images.shape
    assert (made.float() / 65535 - images / 255).abs().max() > 0.05


@pytest.mark.parametrize(("spec", "size"), [(RESNET, 64), (VIT, 32)], ids=["resnet18", "vit"])
def test_a_copy_for_attacks(spec, size):
    network, images = built(spec).train(), pixels(size=size)
    network(pixels(8, size=size))
    network.dropout = 0.5
    ready = attack_ready(network, images)
    assert len(ready.folded) == (20 if spec is RESNET else 0)
    torch.testing.assert_close(ready(images), network.eval()(images), rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.01)
    network.train()
    refreshed = ready.refresh(network)(images)
    torch.testing.assert_close(refreshed, network.eval()(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("key", ["vit", "swin", "convnext"])
def test_dropout_takes_whole_channels_after_a_stage(key, monkeypatch):
    network, inputs = built(SPECS[key]).train(), []
    monkeypatch.setattr(F, "dropout2d", lambda x, p: inputs.append((x, p)) or x)
    network(pixels())
    assert not inputs
    network.dropout = 0.25
    seen = network.observe(pixels()).stages
    channels = {"vit": 24, "swin": seen[-1].shape[-1], "convnext": 16}[key]
    assert [(x.shape[:2], p) for x, p in inputs][-1] == ((3, channels), 0.25)
    assert len(inputs) == len(network.stages)
    network.eval()(pixels())
    assert len(inputs) == len(network.stages)


# ---- mistakes ------------------------------------------------------------------------------------------------------


def test_without_timm_the_user_is_told_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="timm is not installed: pip install timm"):
        built()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("resnet19", {}, r"timm has no network 'resnet19' \(did you mean resnet1\d"),
        ("resnet18", {"img_sise": 32}, "timm cannot build resnet18 with the options .*img_sise"),
        ("convnext_atto", {"depths": [1]}, "timm cannot build convnext_atto with the options .*index out of range"),
    ],
)
def test_what_timm_cannot_build_is_refused(name, options, words):
    with pytest.raises(UserError, match=words):
        built(TimmNet(family="timm", name=name, options=options))


def test_images_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"cannot take images of \(3, 20, 20\): .*; set img_size in the network's opt"):
        built()(pixels(size=20))


@pytest.mark.parametrize(
    "values",
    [
        {"options": {"pretrained": True}},
        {"options": {"global_pool": ""}},
        {"name": "resnet18.a1_in1k"},
        {"name": "a/b"},
    ],
)
def test_what_the_pipeline_decides_is_no_option(values):
    with pytest.raises(ValidationError):
        TimmNet.model_validate({"family": "timm", "name": "resnet18"} | values)


# ---- brought weights -----------------------------------------------------------------------------------------------


def brought(folder, spec, state):
    file = folder / "weights" / "some.pt"
    file.parent.mkdir()
    torch.save(state, file)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    values = {"network": spec.canonical(), "file": "some.pt", "sha256": sha256}
    job = SimpleNamespace(
        spec=KINDS["bring"].parse(values), data_root=folder, output=folder / "model", has=lambda role: False
    )
    return bring.run(job)


def test_a_state_dict_of_timms_is_brought(tmp_path):
    model = theirs(VIT)
    assert brought(tmp_path, VIT, model.state_dict()) == {"origin": "some.pt", "classes": 5}
    images = pixels()
    torch.testing.assert_close(files.load(tmp_path / "model")[0](images), model((images - 0.5) / 0.5))


def test_normalisation_of_brought_weights_has_to_be_said(tmp_path):
    spec = SPECS["resnet"]
    with pytest.raises(UserError, match=r"as the network's normalise, like {mean: \[0\.485.* which the library's own"):
        brought(tmp_path, spec, theirs(spec).state_dict())


SHORT = Schedule(epochs=1, batch_size=16, lr=0.1)


def planned(network, *recipes):
    """A plan with a source of this network, and a transfer of it by each recipe."""
    plan = Plan({})
    data = build.prepare(plan, Digits(reader="sklearn-digits", classes=[0, 1], channels=3))
    source = build.pretrain(plan, data, Recipe(network=network, schedule=SHORT))
    for recipe in recipes:
        build.transfer(plan, data, recipe, source)
    return plan


def test_what_timm_knows_alone_is_asked_before_the_first_job(tmp_path):
    vit = VIT.with_(options=VIT.options | {"img_size": 8, "patch_size": 4})
    last = [Recipe(schedule=SHORT, trainable=Last(last=count, of="blocks")) for count in (3, 4)]
    far = Recipe(schedule=SHORT, reset=Last(last=5, of="units"))
    plan = planned(vit, *last, far)
    with pytest.raises(UserError) as error:
        networks.must_fit(plan, plan.nodes.values(), tmp_path)
    heading, *lines = str(error.value).splitlines()
    assert heading == "networks do not fit:" and len(lines) == 2
    assert "the last 4 blocks are wanted, but the network vit_tiny_patch16_224 has 3; lower it" in lines[0]
    assert "the last 5 units are wanted, but the network vit_tiny_patch16_224 has 4; lower it" in lines[1]

    for network, words in (
        (TimmNet(family="timm", name="resnet19"), r"timm has no network 'resnet19' \(did you mean resnet18"),
        (VIT, r"cannot take images of \(3, 8, 8\): .*; set img_size in the network's options"),
        (VIT.with_(options={"colour": "red"}), "timm cannot build vit_tiny_patch16_224 with the options"),
    ):
        plan = planned(network)
        with pytest.raises(UserError, match=words):
            networks.must_fit(plan, plan.nodes.values(), tmp_path)
    plan = planned(vit, last[0])
    networks.must_fit(plan, plan.nodes.values(), tmp_path)
    networks.must_fit(planned(VIT), [], tmp_path)  # nothing of it is to be made
