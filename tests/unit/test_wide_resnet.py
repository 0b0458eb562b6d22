"""Wide residual networks against their papers' code, written out; and non-expansive fine-tuning of their last units."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn
from torch.nn.utils import parametrize

from robust_transfer.attacks.ready import attack_ready, attacking
from robust_transfer.data.tensors import PreparedData, TensorSplit
from robust_transfer.errors import UserError
from robust_transfer.models import files
from robust_transfer.models.families.wide_resnet import blocks
from robust_transfer.models.normalise import PerImage
from robust_transfer.models.spectral import reparametrise_spectral, to_plain_weights
from robust_transfer.plan.specs import CifarDenseNet, CifarResNet, Last, Recipe, TorchvisionNet, WideResNet
from robust_transfer.signals import StopRequest
from robust_transfer.training.loop import train

pytestmark = pytest.mark.usefixtures("one_thread")

Unit, PooledShortcut = blocks()


def wide(depth, widen, **more):
    return WideResNet(family="wide-resnet", depth=depth, widen=widen, **more)


MADRY = {"shortcut": "pad", "normalise": "per-image"}
WRN_34_10, WRN_28_4, WRN_32_10 = wide(34, 10), wide(28, 4), wide(32, 10, **MADRY)
SMALL = {"conv": wide(16, 2, width=4), "pad": wide(14, 2, width=4, **MADRY)}  # 2 units a stage
UNWIDENED = {"conv": wide(10, 1, width=4), "pad": wide(8, 1, width=4, **MADRY)}


def built(spec, channels=3, classes=10, seed=0):
    torch.manual_seed(seed)
    return files.build(spec, channels, classes)


def lived_in(spec, channels=3, classes=10, size=8):
    """A network in evaluation mode whose batch norms have statistics, weights and biases of their own."""
    network = built(spec, channels, classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    network(torch.rand(32, channels, size, size))
    return network.eval()


# ---- size and partition --------------------------------------------------------------------------------------------


def by_hand(spec, classes):
    """Parameters: the stem, the units, the last batch norm, the head."""
    count, channels_in = 3 * 9 * 16, 16
    for channels in (16 * spec.widen, 32 * spec.widen, 64 * spec.widen):
        for _ in range(spec.units_per_stage):
            count += 2 * channels_in + channels_in * channels * 9 + 2 * channels + channels**2 * 9
            if channels != channels_in and spec.shortcut == "conv":
                count += channels_in * channels
            channels_in = channels
    return count + 2 * channels_in + (channels_in + 1) * classes


@pytest.mark.parametrize(
    ("spec", "published", "units_per_stage", "units", "slug"),
    [
        (WRN_34_10, 46.16e6, 5, 17, "wrn34x10w16"),  # Zhang et al. 2019 name 46.16M
        (WRN_28_4, 5.85e6, 4, 14, "wrn28x4w16"),
        (WRN_32_10, 45.9e6, 5, 17, "wrn32x10w16"),
        (wide(28, 10), 36.5e6, 4, 14, "wrn28x10w16"),  # Zagoruyko & Komodakis 2016, table 4
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_papers_networks_have_their_size_and_their_number_of_blocks(spec, published, units_per_stage, units, slug):
    with torch.device("meta"):
        network = files.build(spec, 3, 10)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == by_hand(spec, 10)
    assert count == pytest.approx(published, rel=2e-3)
    assert [len(stage) for stage in network.stages] == [units_per_stage] * 3
    assert len(network.units()) == units == spec.units
    assert (len(network.stages), len(network.blocks())) == (spec.stages, spec.blocks)
    assert spec.slug == slug


def test_the_last_k_blocks_are_head_last_batch_norm_and_units_and_never_the_stem():
    network = built(SMALL["conv"])
    first, second, third = network.stages
    expected = [network.head, network.tail, *reversed(third), *reversed(second), *reversed(first)]
    assert network.units() == expected
    for k in range(1, 9):
        assert network.trained_parts(Last(last=k, of="units")) == expected[:k][::-1]
    with pytest.raises(UserError, match="the last 9 units are wanted, but the network has 8"):
        network.trained_parts(Last(last=9, of="units"))


PREFIXES = ["head.", "tail.", "stages.2.1.", "stages.2.0.", "stages.1.1.", "stages.1.0.", "stages.0.1.", "stages.0.0."]


@pytest.mark.parametrize("k", range(1, 9))
@pytest.mark.parametrize("form", SMALL)
def test_unfreezing_the_last_k_blocks_moves_them_and_no_other_bit(form, k):
    images = torch.randint(0, 256, (24, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    network = built(SMALL[form], classes=4)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    schedule = {"epochs": 2, "batch_size": 8, "lr": 0.1, "weight_decay": 0.01}
    recipe = Recipe(trainable=Last(last=k, of="units"), frozen_statistics="freeze", schedule=schedule)
    train(
        network,
        PreparedData(*[TensorSplit(images, torch.arange(24) % 4)] * 3),
        recipe,
        "run",
        "/no/state",
        math.inf,
        StopRequest(),
    )
    moved = {name for name, tensor in network.state_dict().items() if not torch.equal(before[name], tensor)}
    assert moved == {name for name in before if name.startswith(tuple(PREFIXES[:k]))}


@pytest.mark.parametrize("depth", [7, 9, 11, 33, 4, 2])
def test_a_depth_that_has_no_whole_units_is_refused(depth):
    with pytest.raises(ValidationError, match=r"neither 6n \+ 4 nor 6n \+ 2"):
        wide(depth, 1)


@pytest.mark.parametrize("form", UNWIDENED)
def test_small_ones_work_on_small_grey_images(form):
    network = built(UNWIDENED[form], channels=1)
    assert network(torch.rand(4, 1, 8, 8)).shape == (4, 10)
    assert [tuple(stage.shape[1:]) for stage in network.observe(torch.rand(4, 1, 8, 8)).stages] == (
        [(4, 8, 8), (8, 4, 4), (16, 2, 2)]
    )


# ---- the forward pass, written out ---------------------------------------------------------------------------------


def norm(state, name, x, eps):
    tensors = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return F.leaky_relu(F.batch_norm(x, *tensors, eps=eps), 0.1)


def as_cartl(state, images, units):
    """src/networks/wrn.py of CARTL."""
    x = F.conv2d((images - 0.5) / 0.5, state["stem.weight"], padding=1)
    for stage in range(3):
        for unit in range(units):
            at, stride = f"stages.{stage}.{unit}", 2 if stage and not unit else 1
            active = norm(state, f"{at}.bn1", x, 1e-5)
            out = F.conv2d(active, state[f"{at}.conv1.weight"], stride=stride, padding=1)
            out = F.conv2d(norm(state, f"{at}.bn2", out, 1e-5), state[f"{at}.conv2.weight"], padding=1)
            if out.shape != x.shape:
                x = F.conv2d(active, state[f"{at}.shortcut.weight"], stride=stride)
            x = x + out
    return norm(state, "tail.0", x, 1e-5).mean((2, 3)) @ state["head.weight"].T + state["head.bias"]


def same(x, weight, stride):
    """TensorFlow's SAME: ceil(side / stride) outputs, the odd row of padding last."""
    side, kernel = x.shape[-1], weight.shape[-1]
    total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
    before, after = total // 2, total - total // 2
    return F.conv2d(F.pad(x, (before, after, before, after)), weight, stride=stride)


def as_madry(state, images, units):
    """model.py of cifar10_challenge, on pixels of 0..255."""
    x = torch.stack([torch.from_numpy(standardised(image.numpy())) for image in 255 * images])
    x = same(x, state["stem.weight"], 1)
    for stage in range(3):
        for unit in range(units):
            at, stride = f"stages.{stage}.{unit}", 2 if stage and not unit else 1
            active = norm(state, f"{at}.bn1", x, 1e-3)
            kept = active if not stage and not unit else x
            out = same(active, state[f"{at}.conv1.weight"], stride)
            out = same(norm(state, f"{at}.bn2", out, 1e-3), state[f"{at}.conv2.weight"], 1)
            if new := out.shape[1] - kept.shape[1]:
                kept = F.avg_pool2d(kept, stride)
                zeros = torch.zeros(len(kept), new // 2, *kept.shape[2:])
                kept = torch.cat([zeros, kept, zeros], 1)
            x = kept + out
    return norm(state, "tail.0", x, 1e-3).mean((2, 3)) @ state["head.weight"].T + state["head.bias"]


def standardised(image):
    """tf.image.per_image_standardization of an array of any shape."""
    return (image - image.mean()) / max(image.std(), 1 / math.sqrt(image.size))


@pytest.mark.parametrize("size", [8, 12, 32])
@pytest.mark.parametrize(("form", "written_out"), [("conv", as_cartl), ("pad", as_madry)])
@pytest.mark.parametrize("specs", [SMALL, UNWIDENED], ids=["widened", "unwidened"])
def test_the_logits_are_those_of_the_papers_code(specs, form, written_out, size):
    network = lived_in(specs[form], size=size)
    images = torch.rand(3, 3, size, size)
    expected = written_out(network.state_dict(), images, specs[form].units_per_stage)
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)


def test_padding_at_stride_two_comes_after_the_image():
    unit = Unit(2, 4, stride=2, shortcut="pad", is_first=False).eval()
    nn.init.ones_(unit.conv1.weight)
    seen = []
    unit.conv1.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    image = torch.zeros(1, 2, 4, 4)
    image[0, 0] = torch.arange(16.0).view(4, 4)
    unit(image)
    # Windows begin at pixels 0 and 2, and the second ones reach one row or column beyond the image:
    # 0+1+2+4+5+6+8+9+10 = 45, 2+3+6+7+10+11 = 39, 8+9+10+12+13+14 = 66, 10+11+14+15 = 50.
    expected = torch.tensor([[45.0, 39], [66, 50]]) / math.sqrt(1 + 1e-3)
    torch.testing.assert_close(seen[0][0, 0], expected)


def test_the_shortcut_without_weights_pools_and_puts_zeros_on_both_sides():
    images = torch.arange(1.0, 17.0).view(1, 1, 4, 4)
    pooled = torch.tensor([[3.5, 5.5], [11.5, 13.5]])
    expected = torch.stack([torch.zeros(2, 2), pooled, torch.zeros(2, 2), torch.zeros(2, 2)])[None]
    assert torch.equal(PooledShortcut(2, 3)(images), expected)
    assert torch.equal(PooledShortcut(1, 2)(images)[:, 1:2], images)


@pytest.mark.parametrize(
    ("shortcut", "is_first", "channels", "activated"),
    [
        ("pad", True, 4, True),
        ("pad", True, 2, True),
        ("pad", False, 4, False),
        ("pad", False, 2, False),
        ("conv", True, 2, False),
        ("conv", False, 2, False),
        ("conv", False, 4, True),
        ("conv", True, 4, True),
    ],
)
def test_where_the_shortcut_begins(shortcut, is_first, channels, activated):
    unit = Unit(2, channels, stride=1, shortcut=shortcut, is_first=is_first).eval()
    nn.init.zeros_(unit.conv2.weight)  # so that only the shortcut is left
    nn.init.constant_(unit.bn1.bias, 0.25)
    images = torch.randn(1, 2, 4, 4)
    begins = F.leaky_relu(unit.bn1(images), 0.1) if activated else images
    torch.testing.assert_close(unit(images), unit.shortcut(begins))


# ---- per-image standardisation -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8)], ids=str)
@pytest.mark.parametrize("spread", [255, 20, 2, 0.05, 0.005])
def test_images_are_standardised_as_tensorflow_does(spread, shape):
    # On 0..255 the floor 1/sqrt(values) is 0.018 for CIFAR and 0.125 for 8x8 grey: it acts on the flattest images only.
    generator = np.random.default_rng(0)
    images = 100 + spread * (generator.random((4, *shape)) - 0.4)
    expected = np.stack([standardised(image) for image in images])
    found = PerImage()(torch.from_numpy(images / 255))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)
    assert (found.std() < 0.9) == (spread * 0.289 < 1 / math.sqrt(math.prod(shape)))


def test_an_image_of_one_colour_has_a_finite_gradient():
    images = torch.full((2, 3, 8, 8), 0.5, requires_grad=True)
    out = PerImage()(images)
    assert torch.equal(out, torch.zeros_like(images))
    (out * torch.rand(2, 3, 8, 8)).sum().backward()
    assert images.grad.isfinite().all()
    assert images.grad.abs().max() > 0


def test_images_are_standardised_one_by_one():
    images = torch.rand(5, 3, 8, 8)
    torch.testing.assert_close(PerImage()(images)[2:3], PerImage()(images[2:3]))


# ---- initialisation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", SMALL)
def test_convolutions_begin_by_their_fan_out(form):
    network = built(wide(SMALL[form].depth, 4, shortcut=form))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            expected = math.sqrt(2 / (layer.out_channels * layer.kernel_size[0] ** 2))
            error = 4 / math.sqrt(2 * layer.weight.numel())
            assert layer.weight.std().item() == pytest.approx(expected, rel=error)
            assert layer.weight.abs().max() > 2.5 * expected, "normal, not uniform"
    assert (network.head.bias == 0).all()
    bound = {"conv": 1 / math.sqrt(256), "pad": math.sqrt(3 / 256)}[form]
    assert 0.98 * bound < network.head.weight.abs().max() <= bound
    assert network.head.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize(("form", "eps"), [("conv", 1e-5), ("pad", 1e-3)])
def test_batch_norms_have_the_eps_of_their_paper(form, eps):
    norms = [module for module in built(SMALL[form]).modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 13
    assert {(module.eps, module.momentum) for module in norms} == {(eps, 0.1)}


# ---- non-expansive fine-tuning -------------------------------------------------------------------------------------

RESNET = CifarResNet(family="cifar-resnet", depth_per_stage=[1, 1, 2], width=4)
BETA = 0.4


def non_expansive(spec=SMALL["conv"], units=4, **more):
    network = lived_in(spec)
    torch.manual_seed(11)
    reparametrise_spectral(network, units, BETA, **more)
    return network


def norms_of(network):
    """{path: spectral norm of the weight} of every convolution (C_out x C_in K^2) and linear layer."""
    layers = {name: m for name, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    return {name: torch.linalg.svdvals(m.weight.detach().flatten(1)).max().item() for name, m in layers.items()}


def trained(network, iterations=40):
    optimiser = torch.optim.SGD(network.parameters(), 0.05, 0.9)
    generator = torch.Generator().manual_seed(2)
    network.train()
    for _ in range(iterations):
        optimiser.zero_grad()
        images = torch.rand(8, 3, 8, 8, generator=generator)
        F.cross_entropy(network(images), torch.arange(8)).backward()
        optimiser.step()
    return network


@pytest.mark.parametrize(
    ("spec", "layers"),
    [
        (SMALL["conv"], 1 + 2 * 2 + 1),  # the head, two blocks, a shortcut
        (SMALL["pad"], 1 + 2 * 2),
        (RESNET, 1 + 3 * 2),
    ],
    ids=["conv", "pad", "resnet"],
)
def test_the_last_units_weights_have_spectral_norm_beta(spec, layers):
    network = non_expansive(spec)
    paths = {name for name, module in network.named_modules() if parametrize.is_parametrized(module)}
    inside = {
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and any(module in unit.modules() for unit in network.units()[:4])
    }
    assert paths == inside
    assert len(paths) == layers
    before = network.head.parametrizations.weight.original.clone()
    trained(network)
    assert not torch.equal(network.head.parametrizations.weight.original, before)
    network(torch.rand(4, 3, 8, 8))
    found = norms_of(network.eval())
    for name in found:
        if name in inside:
            assert found[name] == pytest.approx(BETA, rel=0.01), name
    assert max(found[name] for name in found.keys() - inside) > 1


@pytest.mark.parametrize("iterations", [1, 3])
def test_a_training_forward_takes_the_power_iterations_that_were_asked_for_and_evaluation_none(iterations):
    network = non_expansive(power_iterations=iterations)
    state = network.head.parametrizations.weight[0]
    weight = network.head.parametrizations.weight.original.detach()
    state._v.copy_(F.normalize(torch.ones_like(state._v), dim=0))
    u, v = state._u.clone(), state._v.clone()
    with attacking(network):
        network(torch.rand(4, 3, 8, 8))
    assert torch.equal(state._u, u)
    network.train()(torch.rand(4, 3, 8, 8))
    for _ in range(iterations):
        u = F.normalize(weight @ v, dim=0)
        v = F.normalize(weight.T @ u, dim=0)
    torch.testing.assert_close((state._u, state._v), (u, v))
    torch.testing.assert_close(network.eval().head.weight, BETA * weight / (u @ weight @ v))


@pytest.mark.parametrize("spec", [SMALL["conv"], SMALL["pad"], RESNET], ids=["conv", "pad", "resnet"])
def test_the_residual_blocks_among_the_last_units_average(spec):
    units = 4 if spec.family == "wide-resnet" else 3
    network = non_expansive(spec, units)
    *others, _, last = network.blocks()
    assert [block.averaged for block in network.blocks()] == [False] * len(others) + [True, True]
    x = torch.rand(2, last.conv1.in_channels, 4, 4)
    with torch.no_grad():
        mean = last(x)
        last.averaged = False
        torch.testing.assert_close(mean, 0.5 * last(x))
        nn.init.zeros_(last.bn2.weight)
        nn.init.zeros_(last.bn2.bias)
        branchless = last(x)
        last.averaged = True
        torch.testing.assert_close(last(x), 0.5 * branchless)
    assert not torch.allclose(mean, 0.5 * branchless)


@pytest.mark.parametrize("spec", [SMALL["conv"], SMALL["pad"], RESNET], ids=["conv", "pad", "resnet"])
def test_a_saved_network_gives_the_trained_ones_logits(spec, tmp_path):
    path = tmp_path / "model.safetensors"
    plain = built(spec).state_dict().keys()
    network = trained(non_expansive(spec), 5).eval()
    images = torch.rand(4, 3, 8, 8)
    expected = network(images)
    with pytest.raises(ValueError, match="make it plain before"):
        files.save(path, network, spec, 3, 10)
    network.train()
    to_plain_weights(network)
    assert network.state_dict().keys() == plain
    assert not any(parametrize.is_parametrized(module) for module in network.modules())
    assert torch.equal(network.eval()(images), expected)
    assert all(parameter.requires_grad for parameter in network.parameters())
    files.save(path, network, spec, 3, 10)
    loaded, loaded_spec, *_ = files.load(path)
    assert torch.equal(loaded(images), expected)
    assert loaded_spec == spec.model_copy(update={"averaged_units": 4})
    again = tmp_path / "again.safetensors"
    files.save(again, loaded, loaded_spec, 3, 10)
    assert again.read_bytes() == path.read_bytes()


def test_attacks_see_the_network_as_it_is():
    network = trained(non_expansive(), 3)
    images = torch.rand(4, 3, 8, 8)
    ready = attack_ready(network, images)
    assert ready.folded
    trained(network, 3)
    torch.testing.assert_close(ready.refresh(network)(images), network.eval()(images), rtol=1e-4, atol=1e-4)


def test_more_units_than_there_are_cannot_average():
    assert SMALL["conv"].units == 8
    assert wide(16, 2, averaged_units=8).canonical()["averaged_units"] == 8
    with pytest.raises(ValidationError, match="averaged_units: the network has 8 units"):
        wide(16, 2, averaged_units=9)
    with pytest.raises(UserError, match="the last 9 units are wanted, but the network has 8"):
        non_expansive(units=9)


@pytest.mark.parametrize(
    "spec",
    [
        CifarDenseNet(family="cifar-densenet", layers_per_block=[1, 2, 1], growth=4),
        TorchvisionNet(family="torchvision", name="resnet18"),
    ],
    ids=["densenet", "resnet18"],
)
def test_other_families_can_be_treated_up_to_their_blocks(spec, tmp_path):
    network, before_blocks = built(spec), spec.units - spec.blocks
    with pytest.raises(UserError, match="only the blocks of the families"):
        reparametrise_spectral(network, before_blocks + 1, BETA)
    reparametrise_spectral(network, before_blocks, BETA)
    assert norms_of(network.eval())["head"] == pytest.approx(BETA, rel=0.05)
    to_plain_weights(network)
    files.save(tmp_path / "model.safetensors", network, spec, 3, 10)
    assert files.load(tmp_path / "model.safetensors")[1] == spec
