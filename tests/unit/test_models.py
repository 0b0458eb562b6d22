"""Networks: their sizes against the papers', their parts, and what a training leaves alone."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from safetensors import safe_open
from torch import nn

from robust_transfer.attacks.ready import attack_ready
from robust_transfer.data.tensors import PreparedData, TensorSplit
from robust_transfer.errors import UserError
from robust_transfer.models import classifier, files
from robust_transfer.models.classifier import (
    freeze_but,
    images_at_once,
    predict,
    reset_last,
    reset_parameters,
    to_pixels,
)
from robust_transfer.models.families.cifar_resnet import basic_block
from robust_transfer.models.heads import MlpHead
from robust_transfer.plan.specs import CifarDenseNet, CifarResNet, Last, Normalise, Pgd, Recipe, WideResNet
from robust_transfer.signals import StopRequest
from robust_transfer.training.loop import train

pytestmark = pytest.mark.usefixtures("one_thread")

RESNET56 = CifarResNet(family="cifar-resnet", depth_per_stage=[9, 9, 9])
DENSENET121 = CifarDenseNet(family="cifar-densenet", layers_per_block=[6, 12, 24, 16], growth=12)
SMALL = {
    "resnet": CifarResNet(family="cifar-resnet", depth_per_stage=[2, 1, 2], width=4),
    "densenet": CifarDenseNet(family="cifar-densenet", layers_per_block=[1, 2, 1], growth=4),
    "wide": WideResNet(family="wide-resnet", depth=16, widen=1, width=4),
    "wide pad": WideResNet(family="wide-resnet", depth=14, widen=1, width=4, shortcut="pad", normalise="per-image"),
}


def built(spec, channels=3, classes=10, seed=0):
    torch.manual_seed(seed)
    return files.build(spec, channels, classes)


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def weight_layers(network):
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def test_resnet56_has_the_size_of_he_et_al():
    # He et al. 2016, table 6: 0.85M. By hand: the stem and its batch norm; 18 convolutions of 16, 32 and 64 channels,
    # each with its batch norm, where the first of a width takes half as many channels; the head. Shortcuts have none:
    # with 1x1 convolutions there (their option B) it would be 855,770.
    by_hand = (3 * 16 * 9 + 2 * 16) + (64 * 10 + 10)
    for width in (16, 32, 64):
        by_hand += 18 * (width * width * 9 + 2 * width) - (width * width // 2 * 9 if width > 16 else 0)
    assert by_hand == 853_018
    network = built(RESNET56)
    assert parameters(network) == by_hand
    assert len(weight_layers(network)) == 56
    assert RESNET56.slug == "resnet56w16"
    assert (len(network.stages), len(network.blocks())) == (RESNET56.stages, RESNET56.blocks) == (3, 27)


def test_the_last_stage_of_resnet56_has_eighteen_convolutions():
    assert len(weight_layers(built(RESNET56).stages[-1])) == 18


def test_densenet121_with_growth_12_has_a_million_parameters():
    network = built(DENSENET121)
    assert parameters(network) == 1_000_618
    assert len(weight_layers(network)) == 121
    assert DENSENET121.slug == "densenet121k12"
    assert (len(network.stages), len(network.blocks())) == (DENSENET121.stages, DENSENET121.blocks) == (4, 4)


@pytest.mark.parametrize("spec", [RESNET56, DENSENET121], ids=["resnet56", "densenet121"])
def test_feature_maps_of_small_images_end_at_the_published_size(spec):
    network = built(spec).eval()
    sizes = []
    for stage in network.stages:
        stage.register_forward_hook(lambda _module, _inputs, output: sizes.append(output.shape[-1]))
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert sizes == ([32, 16, 8] if spec is RESNET56 else [16, 8, 4, 4])


def test_the_shortcut_takes_every_second_pixel_and_pads_channels_with_zeros_on_both_sides():
    block = basic_block()(2, 4, stride=2).eval()
    nn.init.zeros_(block.conv2.weight)  # so that only the shortcut is left
    images = torch.arange(1.0, 33.0).view(1, 2, 4, 4)
    expected = torch.tensor(
        [[[[0.0, 0], [0, 0]], [[1, 3], [9, 11]], [[17, 19], [25, 27]], [[0, 0], [0, 0]]]],
    )
    assert torch.equal(block(images), expected)


def test_the_shortcut_is_the_input_itself_within_a_stage():
    block = basic_block()(2, 2, stride=1).eval()
    nn.init.zeros_(block.conv2.weight)
    images = torch.arange(32.0).view(1, 2, 4, 4)
    assert torch.equal(block(images), images)


def test_the_network_normalises_pixels_itself():
    spec = CifarResNet.model_validate(SMALL["resnet"].canonical() | {"normalise": {"mean": 0.0, "std": 1.0}})
    raw, normalising = built(spec).eval(), built(SMALL["resnet"]).eval()
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(normalising(images), raw((images - 0.5) / 0.5))


def test_each_channel_can_have_its_own_mean_and_deviation():
    spec = SMALL["resnet"].model_copy(update={"normalise": Normalise(mean=[0.1, 0.2, 0.3], std=[0.5, 0.25, 1.0])})
    raw = SMALL["resnet"].model_copy(update={"normalise": Normalise(mean=0.0, std=1.0)})
    images = torch.rand(2, 3, 8, 8)
    by_hand = torch.stack(
        [(images[:, 0] - 0.1) / 0.5, (images[:, 1] - 0.2) / 0.25, (images[:, 2] - 0.3) / 1.0],
        dim=1,
    )
    network = built(spec).eval()
    torch.testing.assert_close(network(images), built(raw).eval()(by_hand))
    assert network.double()(images.double()).dtype == torch.double, "the numbers go where the network goes"
    assert list(network.state_dict()) == list(built(raw).state_dict())


def test_numbers_for_other_channels_than_the_images_have_are_refused():
    with pytest.raises(ValueError, match=r"normalise\.std has 2 numbers, but the images have 3 channels"):
        built(SMALL["resnet"].model_copy(update={"normalise": Normalise(std=[0.1, 0.2])}))


@pytest.mark.parametrize(
    ("values", "canonical"),
    [
        ({}, {}),
        ({"mean": 0.5, "std": "1/2"}, {}),
        ({"mean": "1/4"}, {"mean": 0.25}),
        ({"mean": [0.5], "std": ["1/4", 1]}, {"mean": [0.5], "std": [0.25, 1.0]}),
    ],
)
def test_what_normalises_comes_back_from_its_canonical_form(values, canonical):
    spec = Normalise.model_validate(values)
    assert spec.canonical() == canonical
    assert Normalise.model_validate(canonical) == spec


@pytest.mark.parametrize("values", [{"std": [0.5, 0]}, {"mean": []}, {"mean": [0.5, "x"]}, {"std": 0}, "per_image"])
def test_what_cannot_normalise_is_refused(values):
    with pytest.raises(ValidationError):
        CifarResNet.model_validate(SMALL["resnet"].canonical() | {"normalise": values})


# ---- one forward pass, observed ------------------------------------------------------------------------------------


def test_logits_are_the_head_of_the_features():
    network = built(SMALL["densenet"]).eval()
    images = torch.rand(2, 3, 8, 8)
    assert network.features(images).shape == (2, network.width)
    assert torch.equal(network(images), network.head(network.features(images)))


@pytest.mark.parametrize("family", SMALL)
def test_an_observed_pass_is_the_usual_one(family):
    network = built(SMALL[family]).eval()
    images = torch.rand(2, 3, 8, 8)
    outputs = []
    for stage in network.stages:
        stage.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    logits = network(images)
    seen = network.observe(images)
    assert len(seen.stages) == SMALL[family].stages
    assert all(torch.equal(stage, output) for stage, output in zip(seen.stages, outputs[:3], strict=True))
    assert torch.equal(seen.features, network.features(images))
    assert torch.equal(seen.logits, logits)
    assert seen.unit_input is None


@pytest.mark.parametrize("family", SMALL)
def test_an_observed_pass_shows_what_goes_into_a_unit(family):
    network = built(SMALL[family]).eval()
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(network.observe(images, unit=1).unit_input, network.features(images))
    for number, unit in enumerate(network.units(), start=1):
        seen = network.observe(images, unit=number)
        tail = [network.tail, lambda x: x.mean((2, 3))]
        chain = [*network.blocks(), *tail, network.head]
        rest = chain[chain.index(unit) :]
        x = seen.unit_input
        for module in rest:
            x = module(x)
        torch.testing.assert_close(x, seen.logits)
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_dropout_takes_whole_channels_after_each_stage_and_only_in_training(monkeypatch):
    network = built(SMALL["resnet"]).train()
    network.dropout = 0.5
    dropped = []

    def dropping(x, p):
        kept = F.dropout(torch.ones(x.shape[:2]), p)[..., None, None]
        dropped.append((x, x * kept, p))
        return dropped[-1][1]

    monkeypatch.setattr(F, "dropout2d", dropping)
    images = torch.rand(16, 3, 8, 8)
    inputs = []
    for following in [*network.stages[1:], network.tail]:
        following.register_forward_pre_hook(lambda _module, x: inputs.append(x[0]))
    seen = network.observe(images)
    assert [p for _, _, p in dropped] == [0.5] * 3
    for stage, after, (before, expected, _) in zip(seen.stages, inputs, dropped, strict=True):
        assert torch.equal(stage, before), "what is observed is not dropped yet"
        assert torch.equal(after, expected)
        assert (expected == 0).all((2, 3)).any()
    torch.testing.assert_close(seen.features, dropped[-1][1].mean((2, 3)))
    dropped.clear()
    network(images)
    assert len(dropped) == 3
    dropped.clear()
    network.eval()(images)
    network.observe(images)
    assert not dropped


def test_dropout_is_nowhere_in_a_copy_for_attacks():
    network = built(SMALL["resnet"]).train()
    network.dropout = 0.5
    images = torch.rand(4, 3, 8, 8)
    ready = attack_ready(network, images)
    assert ready.folded
    assert "dropout" not in ready.network.code
    torch.testing.assert_close(ready(images), network.eval()(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("normalise", [0.5, [0.2, 0.5, 0.7], "per-image"], ids=str)
@pytest.mark.parametrize("family", SMALL)
def test_every_network_has_a_folded_copy_for_attacks(family, normalise):
    form = normalise if normalise == "per-image" else Normalise(mean=normalise, std=normalise)
    network = built(SMALL[family].model_copy(update={"normalise": form})).train()
    network(torch.rand(16, 3, 8, 8))  # statistics that are not the initial ones
    images = torch.rand(5, 3, 8, 8)
    ready = attack_ready(network, images)
    assert ready.folded
    torch.testing.assert_close(ready(images), network.eval()(images), rtol=1e-3, atol=1e-4)
    reset_parameters(network)
    torch.testing.assert_close(ready.refresh(network)(images), network(images), rtol=1e-3, atol=1e-4)


# ---- initialisation ------------------------------------------------------------------------------------------------


def test_resnet_starts_from_he_et_al():
    network = built(RESNET56)
    standardised = []
    for layer in weight_layers(network)[1:]:  # the stem has too few weights to tell
        fan_in = layer.weight[0].numel()
        standardised.append(layer.weight.detach().flatten() * math.sqrt(fan_in / 2))
        assert standardised[-1].std().item() == pytest.approx(1, rel=0.12)
    together = torch.cat(standardised)
    assert together.std().item() == pytest.approx(1, rel=0.005)
    assert abs(together.mean().item()) < 0.005
    assert together.abs().max() > 4, "normal, not uniform"
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()


def test_a_new_head_has_the_default_initialisation():
    network = built(RESNET56, classes=100)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items() if not name.startswith("head.")}
    torch.manual_seed(3)
    network.renew_head(1000)
    torch.manual_seed(3)
    default = nn.Linear(64, 1000)
    assert torch.equal(network.head.weight, default.weight)
    assert torch.equal(network.head.bias, default.bias)
    assert network.head.weight.abs().max() <= 1 / 8, "uniform within 1 / sqrt(64)"
    assert network.head.weight.std().item() == pytest.approx(1 / 8 / math.sqrt(3), rel=0.02)
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in before.items())


def test_a_head_as_the_code_of_cartl_has_it_is_uniform_from_zero_to_one():
    network = built(RESNET56)
    network.renew_head(1000, weights="uniform01")
    for tensor in (network.head.weight, network.head.bias):
        assert tensor.requires_grad
        assert 0 <= tensor.min() < 0.01
        assert 0.99 < tensor.max() < 1
        assert tensor.mean().item() == pytest.approx(0.5, abs=0.05)


def test_a_head_with_hidden_layers_is_what_shafahi_et_al_put_on_the_features():
    network = built(SMALL["resnet"])
    network.renew_head(7, hidden=[32, 24], batch_norm=True, dropout=0.25)
    assert [type(layer).__name__ for layer in network.head] == (
        ["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 2 + ["Linear"]
    )
    linear = [(layer.in_features, layer.out_features) for layer in network.head if isinstance(layer, nn.Linear)]
    assert linear == [(16, 32), (32, 24), (24, 7)]
    assert [layer.p for layer in network.head if isinstance(layer, nn.Dropout)] == [0.25, 0.25]
    assert network(torch.rand(4, 3, 8, 8)).shape == (4, 7)
    assert network.trained_parts("head") == [network.head]
    network.renew_head(7, hidden=[32])
    assert [type(layer).__name__ for layer in network.head] == ["Linear", "ReLU", "Linear"]
    network.renew_head(7, hidden=[32], weights="uniform01")
    assert all((p >= 0).all() for p in network.head.parameters())
    network.renew_head(7)
    assert type(network.head) is nn.Linear


def test_batch_norm_of_a_head_is_refused_without_hidden_layers():
    with pytest.raises(ValueError, match="belongs to hidden layers"):
        built(SMALL["resnet"]).renew_head(7, batch_norm=True)


def test_a_linear_head_can_have_dropout_before_it():
    network = built(SMALL["resnet"])
    network.renew_head(7, dropout=0.5)
    assert [type(layer).__name__ for layer in network.head] == ["Dropout", "Linear"]
    images = torch.rand(4, 3, 8, 8)
    network.eval()
    torch.testing.assert_close(network(images), network.head[1](network.features(images)))
    network.train()
    features = torch.ones(1, network.width)
    assert not torch.equal(network.head(features), network.head(features))


# ---- starting anew -------------------------------------------------------------------------------------------------


def disturbed(family):
    """A network in which nothing is as it was built."""
    network = built(SMALL[family])
    for tensor in network.state_dict().values():
        tensor.fill_(7)
    return network


def values_of(network, name):
    return network.state_dict()[name]


RESETS = {
    "head": ("head", 1),
    "last unit": (Last(last=1, of="units"), 1),
    "last 2 units": (Last(last=2, of="units"), 2),
    "last 3 units": (Last(last=3, of="units"), 3),
    "last block": (Last(last=1, of="blocks"), None),
    "last 2 stages": (Last(last=2, of="stages"), None),
    "all": ("all", None),
}


@pytest.mark.parametrize("last", RESETS)
@pytest.mark.parametrize("family", SMALL)
def test_the_last_parts_start_anew_as_the_family_does_and_no_other_bit_moves(family, last):
    part, units = RESETS[last]
    network, fresh = disturbed(family), built(SMALL[family])
    parts = network.trained_parts(part)
    assert units is None or parts == network.units()[:units][::-1]
    owners = {f"{name}." if name else "" for name, module in network.named_modules() if module in parts}
    torch.manual_seed(5)
    reset_last(network, part)
    for name, tensor in network.state_dict().items():
        if not name.startswith(tuple(owners)):
            assert (tensor == 7).all(), name
        elif tensor.ndim < 2 and (family.startswith("wide") or not name.startswith("head.")):
            assert torch.equal(tensor, values_of(fresh, name)), f"{name}: biases and batch norms begin as numbers"
        else:
            ratio = tensor.std().item() / values_of(fresh, name).std().item()
            assert 0.6 < ratio < 1.6, f"{name}: another draw from the same distribution"
            assert not torch.equal(tensor, values_of(fresh, name))


def test_the_whole_network_starts_anew_with_the_draws_that_built_it():
    """Layer by layer from one seed: each weight is drawn as the family does, after PyTorch's default."""
    network = disturbed("wide")
    torch.manual_seed(3)
    reset_last(network, "all")
    torch.manual_seed(3)
    stem = nn.Conv2d(3, 4, 3, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out")
    assert torch.equal(network.stem.weight, stem.weight)


@pytest.mark.parametrize("family", SMALL)
def test_re_initialisation_is_every_layers_own_default(family):
    network = disturbed(family)
    torch.manual_seed(3)
    reset_parameters(network)
    torch.manual_seed(3)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            default = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, bias=False)
            bound = 1 / math.sqrt(layer.weight[0].numel())  # kaiming_uniform with a = sqrt(5)
            assert layer.weight.abs().max() <= bound
        elif isinstance(layer, nn.Linear):
            default = nn.Linear(layer.in_features, layer.out_features)
        elif isinstance(layer, nn.BatchNorm2d):
            default = nn.BatchNorm2d(layer.num_features)
        else:
            continue
        for (name, tensor), expected in zip(layer.state_dict().items(), default.state_dict().values(), strict=True):
            assert torch.equal(tensor, expected), name


# ---- parts ---------------------------------------------------------------------------------------------------------

PARTS = {
    "head": ("head", ("head.",)),
    "last stage": (Last(last=1, of="stages"), ("stages.2.", "tail.", "head.")),
    "last two stages": (Last(last=2, of="stages"), ("stages.1.", "stages.2.", "tail.", "head.")),
    "all stages": (Last(last=3, of="stages"), ("stages.", "tail.", "head.")),
    "last block": (Last(last=1, of="blocks"), ("stages.2.{last}.", "tail.", "head.")),
    "last unit": (Last(last=1, of="units"), ("head.",)),
    "all": ("all", ("",)),
}


def trained_names(network, part):
    last = len(network.stages[2]) - 1
    return tuple(prefix.format(last=last) for prefix in PARTS[part][1])


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("family", SMALL)
def test_exactly_the_trained_part_receives_gradients(family, part):
    network = built(SMALL[family])
    freeze_but(network, "head")  # what was frozen before does not stay so
    freeze_but(network, PARTS[part][0])
    names = trained_names(network, part)
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad == name.startswith(names), name
    assert not all(name.startswith(names) for name, _ in network.named_parameters()) or part == "all"


def test_blocks_are_counted_from_the_end_across_stages():
    network = built(SMALL["resnet"])  # 2, 1 and 2 blocks
    freeze_but(network, Last(last=3, of="blocks"))
    frozen = {".".join(name.split(".")[:3]) for name, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"stem.0.weight", "stem.1.weight", "stem.1.bias", "stages.0.0", "stages.0.1"}


def test_units_are_the_head_the_tail_if_it_has_weights_and_the_blocks_from_the_last():
    for family, has_tail in {"resnet": False, "densenet": True, "wide": True, "wide pad": True}.items():
        network = built(SMALL[family])
        expected = [network.head, *[network.tail] * has_tail, *network.blocks()[::-1]]
        assert network.units() == expected
        assert len(expected) == SMALL[family].units


@pytest.mark.parametrize(("last", "of"), [(4, "stages"), (6, "blocks"), (7, "units")])
def test_more_parts_than_there_are_is_refused(last, of):
    with pytest.raises(UserError, match=f"the last {last} {of} are wanted, but the network has {last - 1}"):
        built(SMALL["resnet"]).trained_parts(Last(last=last, of=of))


ATTACK = Pgd(algorithm="pgd", eps=0.1, steps=2, step_size="eps/2", random_start=True)


def after_training(family, part, statistics, attack):
    """A network's state before and after 6 iterations with momentum and weight decay."""
    images = torch.randint(0, 256, (24, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(24) % 4
    network = built(SMALL[family], classes=4)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    recipe = Recipe(
        trainable=PARTS[part][0],
        frozen_statistics=statistics,
        inputs={"attack": attack},
        schedule={"epochs": 2, "batch_size": 8, "lr": 0.1, "weight_decay": 0.01, "select": "best_validation"},
    )
    data = PreparedData(*[TensorSplit(images, labels)] * 3)
    path = "/nonexistent/state"  # never written: nothing asks for it
    train(network, data, recipe, "run", path, math.inf, StopRequest())
    return network, before, network.state_dict()


def is_statistic(name):
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


@pytest.mark.parametrize("attack", [None, ATTACK], ids=["clean", "adversarial"])
@pytest.mark.parametrize("part", ["head", "last stage", "last block"])
@pytest.mark.parametrize("family", SMALL)
def test_under_hold_no_bit_of_the_frozen_part_moves(family, part, attack):
    network, before, after = after_training(family, part, "freeze", attack)
    names = trained_names(network, part)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.startswith(names)}


@pytest.mark.parametrize("attack", [None, ATTACK], ids=["clean", "adversarial"])
@pytest.mark.parametrize("part", ["head", "last stage"])
@pytest.mark.parametrize("family", SMALL)
def test_under_drift_statistics_move_and_no_frozen_parameter_does(family, part, attack):
    network, before, after = after_training(family, part, "update", attack)
    names = trained_names(network, part)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.startswith(names) or is_statistic(name)}


@pytest.mark.parametrize(("attack", "passes"), [(None, 1), (ATTACK, 2)], ids=["clean", "adversarial"])
def test_batch_norm_sees_the_clean_and_the_adversarial_batch_of_each_iteration_once(attack, passes):
    network, _, after = after_training("resnet", "all", "freeze", attack)
    kept = next(tensor for name, tensor in after.items() if name.endswith("num_batches_tracked"))
    assert kept.item() in (3 * passes, 6 * passes)  # the state of the epoch that was selected
    assert not network.training


# ---- prediction and files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "count"), [(32, 512), (80, 512), (224, 66), (3000, 1)])
def test_large_images_pass_in_smaller_batches(side, count):
    assert images_at_once(torch.empty(5000, 3, side, side, device="meta")) == count


def test_predicting_in_batches_is_in_evaluation_mode_and_changes_nothing(monkeypatch):
    monkeypatch.setattr(classifier, "VALUES_AT_ONCE", 3 * 3 * 8 * 8)
    network = built(SMALL["resnet"]).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images = torch.randint(0, 256, (7, 3, 8, 8), dtype=torch.uint8)
    logits = predict(network, images)
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    torch.testing.assert_close(logits, network.eval()(images / 255))


def test_pixels():
    assert torch.equal(to_pixels(torch.tensor([0, 51, 255], dtype=torch.uint8)), torch.tensor([0, 0.2, 1]))
    already = torch.tensor([0.25])
    assert to_pixels(already) is already


def test_a_head_with_hidden_layers_comes_back_from_its_file(tmp_path):
    spec, path = SMALL["resnet"], tmp_path / "model.safetensors"
    network = built(spec, classes=7)
    network.renew_head(7, hidden=[32, 24], batch_norm=True, dropout=0.25)
    images = torch.rand(8, 3, 8, 8)
    network(images)
    files.save(path, network, spec, 3, 7)
    loaded, *_ = files.load(path)
    assert isinstance(loaded.head, MlpHead)
    assert [repr(layer) for layer in loaded.head] == [repr(layer) for layer in network.head]
    assert torch.equal(loaded(images), network.eval()(images))
    again = tmp_path / "again.safetensors"
    files.save(again, loaded, spec, 3, 7)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("family", SMALL)
def test_a_saved_network_comes_back_bit_for_bit(family, tmp_path):
    spec = SMALL[family].model_copy(update={"label": "not part of it"})
    network = built(spec, channels=1, classes=7).train()
    network(torch.rand(5, 1, 8, 8))  # statistics that are not the initial ones
    path = tmp_path / "model.safetensors"
    files.save(path, network, spec, 1, 7)
    torch.manual_seed(99)
    loaded, loaded_spec, channels, classes = files.load(path)
    assert (loaded_spec, channels, classes) == (SMALL[family], 1, 7)
    assert not any(module.training for module in loaded.modules())
    assert list(loaded.state_dict()) == list(network.state_dict())
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in network.state_dict().items())
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["about"])
    assert about == {"network": SMALL[family].canonical(), "channels": 1, "classes": 7}
    again = tmp_path / "again.safetensors"
    files.save(again, loaded, loaded_spec, channels, classes)
    assert again.read_bytes() == path.read_bytes()
