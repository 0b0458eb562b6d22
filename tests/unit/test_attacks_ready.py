"""Copies of models for attacks, and models held still while attacked."""

import copy
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
import torchvision.models
from torch import nn

from robust_transfer.attacks.perturb import perturb
from robust_transfer.attacks.ready import attack_ready, attacking, frozen
from robust_transfer.plan.specs import Pgd


class PreActivation(nn.Module):
    """A WRN-like block: batch norm and ReLU stand before each convolution; the first is read by two."""

    def __init__(self, classes=5):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1, self.conv1 = nn.BatchNorm2d(8), nn.Conv2d(8, 12, 3, 2, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(12), nn.Conv2d(12, 12, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(8, 12, 1, 2, bias=False)
        self.bn3, self.head = nn.BatchNorm2d(12), nn.Linear(12, classes)

    def forward(self, x):
        x = F.leaky_relu(self.bn1(self.stem((x - 0.5) / 0.25)), 0.1)
        x = self.shortcut(x) + self.conv2(F.leaky_relu(self.bn2(self.conv1(x)), 0.1))
        return self.head(F.leaky_relu(self.bn3(x), 0.1).mean((2, 3)))


class Untraceable(PreActivation):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


class Twice(nn.Module):
    """The same convolution and batch norm in two places."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Linear(3, 5)

    def forward(self, x):
        return self.head(F.relu(self.bn(self.conv(F.relu(self.bn(self.conv(x)))))).mean((2, 3)))


class ReadTwice(nn.Module):
    """A convolution whose output is read by a batch norm and by a sum."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Linear(3, 5)

    def forward(self, x):
        x = self.conv(x)
        return self.head((self.bn(x) + x).mean((2, 3)))


def spectral():
    model = PreActivation()
    nn.utils.parametrizations.spectral_norm(model.conv1)
    nn.utils.parametrizations.spectral_norm(model.head)
    return model


def hooked():
    """The older spectral norm, which is a hook."""
    model = PreActivation()
    nn.utils.spectral_norm(model.conv1)
    return model


def watched():
    """A batch norm that a hook changes."""
    model = PreActivation()
    model.bn2.register_forward_hook(lambda module, inputs, output: 2 * output)
    return model


def batch_statistics():
    """A batch norm that uses the batch's statistics in evaluation, too."""
    model = PreActivation()
    model.bn2 = nn.BatchNorm2d(12, track_running_stats=False)
    return model


NETS = {
    "resnet18": lambda: torchvision.models.resnet18(num_classes=5),
    "mobilenet_v2": lambda: torchvision.models.mobilenet_v2(num_classes=5, width_mult=0.35),
    "densenet": lambda: torchvision.models.DenseNet(8, (2, 2, 2), 16, num_classes=5),
    "pre-activation": PreActivation,
    "untraceable": Untraceable,
    "twice": Twice,
    "read twice": ReadTwice,
    "spectral": spectral,
    "hooked": hooked,
    "watched": watched,
    "batch statistics": batch_statistics,
}
FOLDED = {
    "resnet18": 20,
    "mobilenet_v2": 52,
    "densenet": 7,
    "pre-activation": 2,
    "untraceable": 0,
    "twice": 0,
    "read twice": 0,
    "spectral": 2,
    "hooked": 1,
    "watched": 1,
    "batch statistics": 1,
}


def live(name):
    """A network in training mode, with batch norms that are far from their initial state."""
    torch.manual_seed(0)
    model = NETS[name]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            for tensor, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.5, 0.5),
            ):
                tensor.uniform_(low, high)
    return model.train()


def logits(model, images):
    with torch.no_grad():
        return copy.deepcopy(model).eval()(images)


@pytest.mark.parametrize("name", NETS)
def test_a_ready_copy_gives_the_models_logits_and_gradients(name):
    model, images = live(name), torch.rand(2, 3, 32, 32)
    before = copy.deepcopy(model.state_dict())
    ready = attack_ready(model)
    assert len(ready.folded) == FOLDED[name]
    torch.testing.assert_close(ready(images), logits(model, images), rtol=1e-4, atol=1e-4)

    mine, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    ready(mine).square().sum().backward()
    with attacking(model):
        model(theirs).square().sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-4 * theirs.grad.abs().max().item())

    assert not any(p.requires_grad for p in ready.parameters())
    assert not any(module.training for module in ready.modules())
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", ["resnet18", "pre-activation", "untraceable", "spectral", "hooked"])
def test_a_refreshed_copy_is_a_new_copy(name):
    model, images = live(name), torch.rand(2, 3, 32, 32)
    ready = attack_ready(model)
    stale = ready(images)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        model(torch.rand(4, 3, 32, 32))
    before = copy.deepcopy(model.state_dict())
    assert ready.refresh(model) is ready
    assert torch.equal(ready(images), attack_ready(model)(images))
    assert not torch.equal(ready(images), stale)
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(module.training for module in model.modules())


def test_a_sample_unmasks_a_wrong_trace():
    class Fickle(PreActivation):
        """Its forward pass depends on a number that tracing freezes."""

        calls = 0

        def forward(self, x):
            Fickle.calls += 1
            return super().forward(x) * (10.0 if Fickle.calls == 1 else 1.0)

    model, images = Fickle().eval(), torch.rand(2, 3, 8, 8)
    ready = attack_ready(model, sample=images)
    assert not ready.folded
    torch.testing.assert_close(ready(images), logits(model, images))


def test_attacking_restores_every_flag_exactly():
    model = live("resnet18")
    model.layer1.eval()
    model.layer2[0].bn1.eval()
    for parameter in model.layer3.parameters():
        parameter.requires_grad_(False)

    def flags():
        return [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]

    before = flags()
    with attacking(model) as same:
        assert same is model
        modes, gradients = flags()
        assert not any(modes) and not any(gradients)
    assert flags() == before
    with pytest.raises(KeyError), attacking(model):
        raise KeyError
    assert flags() == before
    with attacking(model), frozen(model):
        pass
    assert flags() == before


def test_attacking_leaves_a_module_alone_that_overrides_train():
    class Stubborn(nn.Module):
        def train(self, mode=True):
            raise AssertionError("train() was called")

    model = Stubborn()
    with attacking(model):
        assert not model.training
    assert model.training


def test_importing_the_attacks_is_cheap_and_leaves_no_patch():
    script = """
import importlib, sys
import robust_transfer.attacks.advertorch_compat, robust_transfer.attacks.perturb
gradcheck = importlib.import_module("torch.autograd.gradcheck")
assert not hasattr(gradcheck, "zero_gradients")
assert "torchvision" not in sys.modules and "torch._dynamo" not in sys.modules
assert "advertorch.defenses" not in sys.modules
import advertorch
assert not hasattr(advertorch, "defenses")
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


@pytest.mark.parametrize(("side", "wanted"), [(8, "none"), (32, "bf16")])
def test_convolutions_are_fast_within_an_attack_and_as_before_after_it(side, wanted):
    seen = []

    class Noting(nn.Module):
        def forward(self, x):
            seen.append(torch.backends.mkldnn.conv.fp32_precision)
            if len(seen) == 3:
                raise RuntimeError("in the middle of an attack")
            return x.flatten(1)[:, :2]

    attack = Pgd(algorithm="pgd", eps=0.1, steps=2, step_size=0.05, random_start=False)
    before = torch.backends.mkldnn.conv.fp32_precision
    images, labels = torch.rand(2, 1, side, side), torch.tensor([0, 1])
    perturb(Noting(), images, labels, attack)
    assert torch.backends.mkldnn.conv.fp32_precision == before
    with pytest.raises(RuntimeError, match="in the middle"):
        perturb(Noting(), images, labels, attack)
    assert torch.backends.mkldnn.conv.fp32_precision == before
    assert seen == [wanted] * 3
