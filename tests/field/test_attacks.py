"""Attacks as people meet them: networks that are sure, networks without gradients, and values in other units."""

import copy
import logging
import math
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter, ValidationError
from sklearn.datasets import load_digits
from torch import nn

from robust_transfer.attacks.budget import to_float
from robust_transfer.attacks.craft import craft, zero_gradients
from robust_transfer.attacks.losses import log_odds, size
from robust_transfer.attacks.worst import Worst
from robust_transfer.plan.specs import AnyAttack, Inputs, Normalise, Recipe, Smoothing, TrainingAttack

ATTACK, TRAINING = TypeAdapter(AnyAttack), TypeAdapter(TrainingAttack)


# ---- a network that is sure of an image ----------------------------------------------------------------------------

BUDGETS = {"linf": 0.1, "l2": 0.6}
ALGORITHMS = {
    "fgsm": {"algorithm": "fgsm"},
    "pgd": {"algorithm": "pgd", "steps": 6, "step_size": "eps/3", "random_start": True},
    "restarts": {"algorithm": "pgd", "steps": 4, "step_size": "eps/2", "random_start": True, "restarts": 2},
    "margin": {"algorithm": "pgd", "steps": 6, "step_size": "eps/3", "random_start": True, "loss": "margin"},
    "predicted": {"algorithm": "pgd", "steps": 6, "step_size": "eps/3", "random_start": False, "labels": "predicted"},
    "mi-fgsm": {"algorithm": "mi-fgsm", "steps": 6},
    "apgd": {"algorithm": "apgd", "steps": 8},
    "dlr": {"algorithm": "apgd", "steps": 8, "loss": "dlr"},
    "dlr_targeted": {"algorithm": "apgd", "steps": 8, "loss": "dlr_targeted", "targets": 3},
    "fab-t": {"algorithm": "fab-t", "steps": 6, "targets": 3},
    "square": {"algorithm": "square", "queries": 60},
}


def trained(classes):
    """A small network that is sure of its digits, and 100 of them (uint8) that it gets right."""
    digits = load_digits()
    taken = digits.target < classes
    clean = (torch.tensor(digits.images[taken])[:, None] * 255 / 16).round().to(torch.uint8)
    images, labels = to_float(clean), torch.tensor(digits.target[taken])
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 32), nn.ReLU())
    net.append(nn.Linear(32, classes))
    optimiser = torch.optim.SGD(net.parameters(), 0.1, 0.9)
    for _ in range(8 if classes > 2 else 4):
        for chosen in torch.randperm(len(images)).split(50):
            optimiser.zero_grad()
            F.cross_entropy(net(images[chosen]), labels[chosen]).backward()
            optimiser.step()
    net.eval().zero_grad()
    right = (net(images).argmax(1) == labels).nonzero().flatten()[:100]
    return net, clean[right], labels[right]


@pytest.fixture(scope="module")
def ten():
    return trained(10)


@pytest.fixture(scope="module")
def two():
    return trained(2)


def scaled(net, factor):
    """The same decisions, with logits `factor` times as large."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        other[-1].weight.mul_(factor), other[-1].bias.mul_(factor)
    return other


def robust(net, clean, labels, attack):
    """How many of the images are still right under attack."""
    found = craft(net, clean, labels, attack, 100, 0)
    return int((net(to_float(found)).argmax(1) == labels).sum())


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", [name for name, keys in ALGORITHMS.items() if "dlr" not in str(keys)])
def test_of_two_classes_the_scale_of_a_head_changes_nothing(two, name, norm):
    net, clean, labels = two
    attack = ATTACK.validate_python(ALGORITHMS[name] | {"norm": norm, "eps": 2.5 * BUDGETS[norm]})
    found = {factor: robust(scaled(net, factor), clean, labels, attack) for factor in (1, 4, 16, 1e3, 1e-3)}
    assert max(found.values()) - min(found.values()) <= 1 and found[1] < 100, found
    # A power of two rounds nothing.
    one, other = (craft(scaled(net, factor), clean, labels, attack, 100, 0) for factor in (1, 2.0**10))
    assert torch.equal(one, other)


SCALE_FREE = ("margin", "dlr", "dlr_targeted", "fab-t", "square")


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_of_ten_classes_a_large_head_hides_nothing(ten, name, norm):
    net, clean, labels = ten
    attack = ATTACK.validate_python(ALGORITHMS[name] | {"norm": norm, "eps": BUDGETS[norm]})
    found = {factor: robust(scaled(net, factor), clean, labels, attack) for factor in (1, 4, 16, 1e3, 1e-3)}
    assert 20 < found[1] < 98
    if name in SCALE_FREE:
        assert max(found.values()) - min(found.values()) <= 1, found
    else:  # the larger the head, the more the gradient is that of the likeliest other class alone
        assert max(found[4], found[16], found[1e3]) <= found[1] + 6, found


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("factor", [1e-3, 0.3, 1.0])
def test_the_way_is_that_of_cross_entropy(ten, factor, norm):
    net, clean, labels = ten
    net, images = scaled(net, factor), to_float(clean)
    attack = ATTACK.validate_python({"algorithm": "fgsm", "norm": norm, "eps": 0.1})
    moved = images.double().requires_grad_()
    loss = F.cross_entropy(copy.deepcopy(net).double()(moved), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, moved)
    direction = gradient.sign() if norm == "linf" else gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    expected = (images + 0.1 * direction).clamp(0, 1).float()
    found = attack.perturb(net, images, labels)
    assert ((found - expected).abs() < 1e-4).float().mean() > 0.999


def test_the_log_odds_and_their_gradient_are_exact_where_cross_entropy_is_0():
    logits = torch.tensor([[100.0, 1.0, 0.0], [0.0, 3e4, 1.0]], requires_grad=True)
    labels = torch.tensor([0, 1])
    odds = log_odds(logits, labels)
    torch.testing.assert_close(odds, torch.tensor([math.log(1 + math.e) - 100, math.log(1 + math.e) - 3e4]))
    (gradient,) = torch.autograd.grad(odds.sum(), logits)
    p = math.e / (1 + math.e)
    torch.testing.assert_close(gradient, torch.tensor([[-1.0, p, 1 - p], [1 - p, -1.0, p]]))
    assert F.cross_entropy(logits.double(), labels) == 0
    for z in (torch.randn(5, 4, dtype=torch.float64) * 3 for _ in range(5)):
        y = torch.tensor([0, 1, 2, 3, 0])
        torch.testing.assert_close(F.cross_entropy(z, y, reduction="none"), F.softplus(log_odds(z, y)))


def test_of_two_images_that_the_network_is_sure_of_the_worse_is_kept():
    model, label = nn.Flatten(), torch.tensor([0])
    sure, surer = (torch.tensor([margin, 0.0, 0.0]).view(1, 1, 1, 3) for margin in (500.0, 600.0))
    worst = Worst(model, surer, label)
    worst.keep_worse(sure, torch.tensor([0]))
    assert torch.equal(worst.images, sure)
    worst.keep_worse(surer, torch.tensor([0]))
    assert torch.equal(worst.images, sure)


def test_gradients_are_brought_to_one_size_without_rounding():
    gradient = torch.tensor([3e-30, -1e-36, 0.0]).view(3, 1, 1, 1) * torch.tensor([1.0, 0.3]).view(1, 1, 1, 2)
    even = gradient / size(gradient)
    assert (even[:2].abs().amax((1, 2, 3)) >= 0.5).all() and (even.abs() <= 1).all() and (even[2] == 0).all()
    assert torch.equal(even * size(gradient), gradient)


# ---- a network without gradients -----------------------------------------------------------------------------------


class Masked(nn.Module):
    """Logits of an image whose bright half is rounded: only dark images have a gradient."""

    def forward(self, x):
        flat = x.flatten(1)
        return torch.where(flat.mean(1, keepdim=True) > 0.5, flat.round() + 0 * flat, flat)[:, :4]


def test_images_without_a_gradient_are_counted_and_said(monkeypatch, tmp_path, caplog):
    from robust_transfer.data import tensors
    from robust_transfer.models import files
    from robust_transfer.stages import craft as stage

    dark, bright = torch.full((3, 1, 4, 4), 20, dtype=torch.uint8), torch.full((5, 1, 4, 4), 220, dtype=torch.uint8)
    labels = torch.zeros(8, dtype=torch.int64)
    assert zero_gradients(Masked(), torch.cat([dark, bright]), 3) == 5 / 8
    assert zero_gradients(Masked(), dark, 3) == 0 == zero_gradients(Masked(), dark[:0], 3)

    monkeypatch.setattr(files, "load", lambda _: (Masked(), None))
    spec = SimpleNamespace(attack=ATTACK.validate_python({"algorithm": "fgsm", "eps": 0.1}), split="test", seed=0)
    for images, expected in ((torch.cat([dark, bright]), 0.625), (torch.cat([dark, bright[:2]]), 0.4)):
        part = tensors.TensorSplit(images, labels[: len(images)])
        data = SimpleNamespace(in_memory=lambda _, part=part: part)
        monkeypatch.setattr(tensors, "load", lambda _, stream, data=data: data)
        parent, blaming = lambda _: None, lambda _: nullcontext()
        job = SimpleNamespace(
            spec=spec,
            parents={},
            parent=parent,
            blaming=blaming,
            devices=["cpu"],
            computed={},
            output=tmp_path / "made",
        )
        caplog.clear()
        with caplog.at_level(logging.WARNING, "robust_transfer"):
            metrics = stage.run(job)
        warned = metrics.pop("warnings", [])
        assert metrics == {"n": len(images), "zero_gradients": expected}
        assert ("has no gradient" in caplog.text) == ("has no gradient" in "".join(warned)) == (expected > 0.5)


# ---- values that cannot mean what was meant ------------------------------------------------------------------------

PGD = {"algorithm": "pgd", "eps": "8/255", "steps": 10, "step_size": "2/255", "random_start": True}
MI_FGSM = {"algorithm": "mi-fgsm", "eps": "8/255", "steps": 10}
FEATURE = {"algorithm": "feature", "eps": "8/255", "steps": 10, "step_size": "2/255"}
FREE = {"algorithm": "free", "eps": "8/255", "replay": 4}


def refused(adapter, keys):
    with pytest.raises(ValidationError) as caught:
        adapter(keys)
    return str(caught.value)


@pytest.mark.parametrize("base", [PGD, MI_FGSM, FEATURE], ids=lambda keys: keys["algorithm"])
def test_steps_that_cannot_do_what_eps_says_are_refused(base):
    def said(**keys):
        return refused(ATTACK.validate_python, base | keys)

    assert "step_size: 10 steps of 0.001 go 0.01 far and never reach eps 0.0313725; raise step_size to eps/10" in said(
        step_size=0.001
    )
    assert "or steps to 32" in said(step_size=0.001)
    assert "step_size: steps of 0 change nothing" in said(step_size=0)
    assert "step_size: steps of 0 change nothing" in said(step_size="0/255")
    assert "write 2/255 and not 2" in said(step_size=2)
    assert "write 2/255 and not 2" in said(step_size=2, eps=1)
    assert "is wide" in said(step_size="17/255")
    assert "write 8/255 and not 8" in said(eps=8)
    for fine in ({"step_size": "16/255"}, {"step_size": "eps/10"}, {"step_size": 0.00314}, {"eps": 0}):
        ATTACK.validate_python(base | fine)
    ATTACK.validate_python(base | {"eps": 0, "step_size": "eps/4"})


def test_steps_without_a_random_start_and_under_l2_are_looked_at_too():
    assert "change nothing" in refused(ATTACK.validate_python, PGD | {"step_size": 0, "random_start": False})
    l2 = PGD | {"norm": "l2", "eps": "128/255", "step_size": "15/255"}
    ATTACK.validate_python(l2)
    assert "never reach" in refused(ATTACK.validate_python, l2 | {"step_size": "10/255"})
    for algorithm in (l2, {"algorithm": "square", "queries": 9, "norm": "l2"}):
        assert "write 128/255 and not 128" in refused(ATTACK.validate_python, algorithm | {"eps": 128})
    ATTACK.validate_python(l2 | {"eps": 10, "step_size": 2})


def test_free_training_moves_on_from_batch_to_batch_but_not_by_0_or_by_255ths():
    TRAINING.validate_python(FREE)
    TRAINING.validate_python(FREE | {"step_size": "1/255"})
    assert "change nothing" in refused(TRAINING.validate_python, FREE | {"step_size": 0})
    assert "not 2" in refused(TRAINING.validate_python, FREE | {"step_size": 4})


def test_training_attacks_are_looked_at_as_those_at_test_are():
    network = {"family": "cifar-resnet", "depth_per_stage": [1, 1], "width": 4}
    recipe = {"network": network, "schedule": {"epochs": 1, "batch_size": 10, "lr": 0.1, "select": "last"}}
    inputs = {"attack": PGD | {"step_size": 0.001}}
    assert "never reach" in refused(Recipe.model_validate, recipe | {"inputs": inputs})


@pytest.mark.parametrize("key", ["mean", "std"])
def test_a_normalisation_in_255ths_is_refused(key):
    for wrong in (125.3, [125.3], [0.5, 0.5, 63.0], 1.5, -0.5 if key == "mean" else 2):
        assert "write 125.3/255 and not 125.3" in refused(Normalise.model_validate, {key: wrong})
    for fine in ({"mean": 0, "std": 1}, {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}):
        Normalise(**fine)
    Normalise(mean=["125.3/255"], std=["1/255"])


@pytest.mark.parametrize("key", ["mean", "std"])
def test_the_feature_attacks_own_normalisation_in_255ths_is_refused(key):
    assert "write 125.3/255 and not 125.3" in refused(ATTACK.validate_python, FEATURE | {key: [125.3, 60.0, 70.0]})


def test_noise_in_training_in_255ths_is_refused():
    assert "write 64/255 and not 64" in refused(Inputs.model_validate, {"noise": 64})
    assert Inputs(noise=0).noise == 0 and Inputs(noise="64/255").noise == 64 / 255


def test_noise_in_255ths_and_samples_that_certify_nothing_are_refused():
    assert "write 64/255 and not 64" in refused(Smoothing.model_validate, {"sigma": 64})
    assert Smoothing(sigma="64/255").sigma == 64 / 255 and Smoothing(sigma=1.0)
    # With n samples that agree the lower bound is alpha^(1/n): 0.001^(1/9) = 0.464, 0.001^(1/10) = 0.501.
    assert "can certify nothing at alpha 0.001, even if all agree; take 10" in refused(
        Smoothing.model_validate, {"sigma": 0.25, "n": 9}
    )
    assert Smoothing(sigma=0.25, n=10).n == 10
    assert "take 3" in refused(Smoothing.model_validate, {"sigma": 0.25, "n": 2, "alpha": 0.25})
    assert "n0" in refused(Smoothing.model_validate, {"sigma": 0.25, "n0": 0})
