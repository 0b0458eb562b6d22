"""Networks: their sizes against the papers', their parts, and what a training leaves alone."""

import json
import math

import pytest
import torch
from safetensors import safe_open
from torch import nn

from robust_transfer.data.tensors import Data, Part
from robust_transfer.models import files
from robust_transfer.models.classifier import freeze_but, predict, to_pixels
from robust_transfer.models.resnet import BasicBlock
from robust_transfer.plan.specs import CifarDenseNet, CifarResNet, Last, Pgd, Recipe
from robust_transfer.training.loop import train
from robust_transfer.training.signals import StopRequest

RESNET56 = CifarResNet(family="cifar-resnet", depth_per_stage=[9, 9, 9])
DENSENET121 = CifarDenseNet(family="cifar-densenet", layers_per_block=[6, 12, 24, 16], growth=12)
SMALL = {
    "resnet": CifarResNet(family="cifar-resnet", depth_per_stage=[2, 1, 2], width=4),
    "densenet": CifarDenseNet(family="cifar-densenet", layers_per_block=[1, 2, 1], growth=4),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As the nodes of the digits scale have it; nets this small gain nothing from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
    block = BasicBlock(2, 4, stride=2).eval()
    nn.init.zeros_(block.conv2.weight)  # so that only the shortcut is left
    images = torch.arange(1.0, 33.0).view(1, 2, 4, 4)
    expected = torch.tensor(
        [[[[0.0, 0], [0, 0]], [[1, 3], [9, 11]], [[17, 19], [25, 27]], [[0, 0], [0, 0]]]],
    )
    assert torch.equal(block(images), expected)


def test_the_shortcut_is_the_input_itself_within_a_stage():
    block = BasicBlock(2, 2, stride=1).eval()
    nn.init.zeros_(block.conv2.weight)
    images = torch.arange(32.0).view(1, 2, 4, 4)
    assert torch.equal(block(images), images)


def test_the_network_normalises_pixels_itself():
    spec = CifarResNet.model_validate(SMALL["resnet"].canonical() | {"normalise": {"mean": 0.0, "std": 1.0}})
    raw, normalising = built(spec).eval(), built(SMALL["resnet"]).eval()
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(normalising(images), raw((images - 0.5) / 0.5))


def test_logits_are_the_head_of_the_features():
    network = built(SMALL["densenet"]).eval()
    images = torch.rand(2, 3, 8, 8)
    assert network.features(images).shape == (2, network.width)
    assert torch.equal(network(images), network.head(network.features(images)))


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


# ---- parts ---------------------------------------------------------------------------------------------------------

PARTS = {
    "head": ("head", ("head.",)),
    "last stage": (Last(last=1, of="stages"), ("stages.2.", "tail.", "head.")),
    "last two stages": (Last(last=2, of="stages"), ("stages.1.", "stages.2.", "tail.", "head.")),
    "all stages": (Last(last=3, of="stages"), ("stages.", "tail.", "head.")),
    "last block": (Last(last=1, of="blocks"), ("stages.2.{last}.", "tail.", "head.")),
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


@pytest.mark.parametrize(("last", "of"), [(4, "stages"), (6, "blocks")])
def test_more_parts_than_there_are_is_refused(last, of):
    with pytest.raises(ValueError, match=f"the last {last} {of} are wanted, but the network has {last - 1}"):
        built(SMALL["resnet"]).trained_parts(Last(last=last, of=of))


ATTACK = Pgd(algorithm="pgd", eps=0.1, steps=2, step_size="eps/4", random_start=True)


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
    data = Data(*[Part(images, labels)] * 3)
    path = "/nonexistent/state"  # never written: nothing asks for it
    train(network, data, recipe, "run", path, math.inf, StopRequest())
    return network, before, network.state_dict()


def is_statistic(name):
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


@pytest.mark.parametrize("attack", [None, ATTACK], ids=["clean", "adversarial"])
@pytest.mark.parametrize("part", ["head", "last stage", "last block"])
@pytest.mark.parametrize("family", SMALL)
def test_under_hold_no_bit_of_the_frozen_part_moves(family, part, attack):
    network, before, after = after_training(family, part, "hold", attack)
    names = trained_names(network, part)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.startswith(names)}


@pytest.mark.parametrize("attack", [None, ATTACK], ids=["clean", "adversarial"])
@pytest.mark.parametrize("part", ["head", "last stage"])
@pytest.mark.parametrize("family", SMALL)
def test_under_drift_statistics_move_and_no_frozen_parameter_does(family, part, attack):
    network, before, after = after_training(family, part, "drift", attack)
    names = trained_names(network, part)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.startswith(names) or is_statistic(name)}


@pytest.mark.parametrize(("attack", "passes"), [(None, 1), (ATTACK, 2)], ids=["clean", "adversarial"])
def test_batch_norm_sees_the_clean_and_the_adversarial_batch_of_each_iteration_once(attack, passes):
    network, _, after = after_training("resnet", "all", "hold", attack)
    kept = next(tensor for name, tensor in after.items() if name.endswith("num_batches_tracked"))
    assert kept.item() in (3 * passes, 6 * passes)  # the state of the epoch that was selected
    assert not network.training


# ---- prediction and files ------------------------------------------------------------------------------------------


def test_predicting_in_batches_is_in_evaluation_mode_and_changes_nothing():
    network = built(SMALL["resnet"]).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images = torch.randint(0, 256, (7, 3, 8, 8), dtype=torch.uint8)
    logits = predict(network, images, batch_size=3)
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    torch.testing.assert_close(logits, network.eval()(images / 255))


def test_pixels():
    assert torch.equal(to_pixels(torch.tensor([0, 51, 255], dtype=torch.uint8)), torch.tensor([0, 0.2, 1]))
    already = torch.tensor([0.25])
    assert to_pixels(already) is already


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
