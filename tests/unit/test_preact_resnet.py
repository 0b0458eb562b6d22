"""Pre-activation ResNets: size, partition, and the forward pass written out."""

import torch
import torch.nn.functional as F
from torch import nn

from robust_transfer.attacks.ready import attack_ready
from robust_transfer.models import files
from robust_transfer.models.classifier import freeze_but
from robust_transfer.models.spectral import reparametrise_spectral, to_plain_weights
from robust_transfer.plan.specs import Last, PreActResNet

SMALL = PreActResNet(family="preact-resnet", depth_per_stage=[1, 2], width=4)


def lived_in(spec=SMALL, channels=3):
    """A network in evaluation mode whose batch norms have weights and statistics of their own."""
    torch.manual_seed(0)
    network = files.build(spec, channels, 10)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    network(torch.rand(16, channels, 8, 8))
    return network.eval()


def test_preactresnet18_has_its_size():
    # By hand: the stem; for each stage four 3x3 convolutions and a 1x1 shortcut but in the first; a batch norm before
    # each 3x3 convolution, the last one, the head.
    spec = PreActResNet(family="preact-resnet")
    by_hand, before = 3 * 64 * 9, 64
    for width in (64, 128, 256, 512):
        by_hand += 9 * (before * width + 3 * width * width) + (before * width if before != width else 0)
        by_hand += 2 * (before + 3 * width)
        before = width
    by_hand += 2 * 512 + 512 * 10 + 10
    assert by_hand == 11_172_170
    with torch.device("meta"):
        network = files.build(spec, 3, 10)
    assert sum(p.numel() for p in network.parameters()) == by_hand
    assert spec.slug == "preact18w64"
    assert spec.canonical() == {"family": "preact-resnet"}


def test_the_forward_pass_written_out():
    network = lived_in()
    state, images = network.state_dict(), torch.rand(2, 3, 8, 8)

    def norm(x, name):
        mean, var, weight, bias = (state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return F.relu(F.batch_norm(x, mean, var, weight, bias))

    x = F.conv2d((images - 0.5) / 0.5, state["stem.weight"], padding=1)
    for path, stride in (("stages.0.0", 1), ("stages.1.0", 2), ("stages.1.1", 1)):
        active = norm(x, f"{path}.bn1")
        out = F.conv2d(active, state[f"{path}.conv1.weight"], stride=stride, padding=1)
        out = F.conv2d(norm(out, f"{path}.bn2"), state[f"{path}.conv2.weight"], padding=1)
        x = out + (F.conv2d(active, state[f"{path}.shortcut.weight"], stride=2) if stride == 2 else x)
    features = norm(x, "tail.0").mean((2, 3))
    expected = F.linear(features, state["head.weight"], state["head.bias"])
    torch.testing.assert_close(network(images), expected)
    assert [tuple(stage.shape[1:]) for stage in network.observe(images).stages] == [(4, 8, 8), (8, 4, 4)]


def test_its_parts():
    network = lived_in()
    assert (len(network.stages), len(network.blocks()), len(network.units())) == (2, 3, 5)
    assert (SMALL.stages, SMALL.blocks, SMALL.units) == (2, 3, 5)
    assert network.units() == [network.head, network.tail, *network.blocks()[::-1]]
    freeze_but(network, Last(last=1, of="blocks"))
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    last = {name for name in network.state_dict() if name.startswith(("stages.1.1.", "tail.", "head."))}
    assert trained == {name for name in last if name.endswith(("weight", "bias"))}


def test_a_copy_for_attacks_and_a_file_give_the_same_logits(tmp_path):
    network, images = lived_in(), torch.rand(3, 3, 8, 8)
    ready = attack_ready(network, images)
    assert ready.folded
    torch.testing.assert_close(ready(images), network(images), rtol=1e-4, atol=1e-5)
    files.save(tmp_path / "model", network, SMALL, 3, 10)
    loaded, spec, *_ = files.load(tmp_path / "model")
    assert spec == SMALL
    assert torch.equal(loaded(images), network(images))


def test_its_last_blocks_can_average(tmp_path):
    network = lived_in()
    reparametrise_spectral(network, 3, 0.5)
    assert [block.averaged for block in network.blocks()] == [False, False, True]
    to_plain_weights(network)
    files.save(tmp_path / "model", network, SMALL, 3, 10)
    assert files.load(tmp_path / "model")[1].averaged_units == 3
