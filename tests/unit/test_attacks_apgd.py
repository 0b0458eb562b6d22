"""Auto-PGD through its authors' library."""

import math

import pytest
import torch
import torch.nn.functional as F
from pyautoattack.autopgd_base import APGDAttack
from sklearn.datasets import load_digits
from torch import nn

from robust_transfer.attacks.budget import check_budget, quantise
from robust_transfer.attacks.perturb import perturb
from robust_transfer.attacks.worst import Worst, within
from robust_transfer.plan.specs import Apgd, Pgd

BUDGETS = {"l2": 0.8, "linf": 0.15}


def attack(norm="l2", eps=None, steps=10, restarts=1, rho=0.75):
    eps = BUDGETS[norm] if eps is None else eps
    # Unchecked: some budgets and shares are outside what users may write.
    return Apgd.model_construct(algorithm="apgd", norm=norm, eps=eps, steps=steps, restarts=restarts, rho=rho)


@pytest.fixture(scope="module")
def trained():
    """A small network that has seen noisy digits, and 150 others that it gets right."""
    digits = load_digits()
    images, labels = torch.tensor(digits.images).float()[:, None] / 16, torch.tensor(digits.target)
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 1, 1), nn.ReLU(), nn.Flatten()
    net = nn.Sequential(*layers, nn.Linear(256, 10))
    optimiser = torch.optim.SGD(net.parameters(), 0.1, 0.9)
    for _ in range(15):
        for chosen in (torch.randperm(1000) + 797).split(100):
            noisy = images[chosen] + 0.2 * torch.randn(100, 1, 8, 8)
            optimiser.zero_grad()
            F.cross_entropy(net(noisy), labels[chosen]).backward()
            optimiser.step()
    net.eval()
    right = net(images[:797]).argmax(1) == labels[:797]
    return net, images[:797][right][:150], labels[:797][right][:150]


def robust(net, images, labels):
    return net(images).argmax(1) == labels


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_it_is_stronger_than_pgd_with_as_many_steps(trained, norm):
    net, images, labels = trained
    spec = attack(norm)
    mine = perturb(net, images, labels, spec, generator_seed=1)
    step = spec.eps / 4
    pgd = Pgd(algorithm="pgd", norm=norm, eps=spec.eps, steps=spec.steps, step_size=step, random_start=True)
    theirs = perturb(net, images, labels, pgd, generator_seed=1)
    left = [robust(net, x, labels).sum() for x in (mine, theirs)]
    assert left[0] <= left[1] and 15 < left[1] < 135
    assert F.cross_entropy(net(mine), labels) > F.cross_entropy(net(theirs), labels)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_it_fools_the_images_that_the_library_fools_and_raises_the_others_loss_too(trained, norm):
    net, images, labels = trained
    library = {"n_iter": 10, "norm": {"l2": "L2", "linf": "Linf"}[norm], "eps": BUDGETS[norm], "seed": 5}
    theirs = APGDAttack(net, **library).perturb(images, labels).detach()
    mine = perturb(net, images, labels, attack(norm), generator_seed=5)
    fooled = ~robust(net, theirs, labels)
    # All but those that are wrong by less than float32's rounding of the budget.
    assert (fooled == ~robust(net, mine, labels)).float().mean() > 0.995 and 0.2 < fooled.float().mean() < 0.98
    loss, before = (F.cross_entropy(net(x), labels, reduction="none") for x in (mine, theirs))
    # Rounding may part two runs after some steps.
    assert (loss >= before - 1e-3).float().mean() > 0.98 and (loss > before + 1e-3)[~fooled].float().mean() > 0.9


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("eps", [0.0, 1e-6, 8 / 255, 0.3, 1.0, 50.0])
def test_the_budget_is_kept_strictly(trained, norm, eps):
    net, images, labels = (each[:20] if isinstance(each, torch.Tensor) else each for each in trained)
    adversarial = perturb(net, images, labels, attack(norm, eps=eps), generator_seed=0)
    assert adversarial.min() >= 0 and adversarial.max() <= 1 and adversarial.dtype == torch.float32
    offset = (adversarial.double() - images.double()).flatten(1)
    size = offset.abs().amax(1) if norm == "linf" else offset.norm(dim=1)
    assert (size <= eps).all()
    if 0.01 < eps < 1:
        assert size.median() > 0.95 * eps
    if eps == 0:
        assert torch.equal(adversarial, images)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_its_images_can_be_stored(trained, norm):
    net, images, labels = trained
    clean = (images * 255).round().to(torch.uint8)
    spec = attack(norm)
    adversarial = perturb(net, clean.float() / 255, labels, spec, generator_seed=0)
    check_budget(quantise(adversarial, clean, spec), clean, spec)


def test_more_restarts_and_more_steps_never_help_the_model(trained):
    net, images, labels = trained
    specs = attack(steps=5), attack(steps=5, restarts=4), attack(steps=60)
    left = [robust(net, perturb(net, images, labels, spec, generator_seed=1), labels) for spec in specs]
    assert (left[1] <= left[0]).all() and left[1].sum() < left[0].sum() and left[2].sum() < left[0].sum()


def test_rho_decides_when_a_step_is_halved(trained):
    net, images, labels = trained
    runs = [perturb(net, images, labels, attack(steps=20, rho=rho), generator_seed=1) for rho in (0.75, 0.75, 0.0)]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_the_same_seed_gives_the_same_images(trained):
    net, images, labels = trained
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(perturb(net, images, labels, attack(steps=3, restarts=2)))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])

    torch.manual_seed(9)
    undisturbed = torch.rand(3)
    torch.manual_seed(9)
    own = perturb(net, images, labels, attack(steps=3, restarts=2), generator_seed=1)
    assert torch.equal(torch.rand(3), undisturbed)
    assert torch.equal(own, runs[0])


def test_the_model_and_the_images_are_left_as_they_were(trained):
    net, images, labels = trained
    net.zero_grad()
    net[0].weight.requires_grad_(False)
    before, trainable = images.clone(), []
    hook = net.register_forward_hook(lambda *_: trainable.append(any(p.requires_grad for p in net.parameters())))
    with torch.no_grad():
        perturb(net, images, labels, attack(steps=3))
    hook.remove()
    assert len(trainable) == 7 and not any(trainable)  # weights that could move would cost memory
    assert all(p.grad is None for p in net.parameters())
    assert [p.requires_grad for p in net.parameters()] == [False] + [True] * 5
    assert torch.equal(images, before) and not images.requires_grad
    net[0].weight.requires_grad_(True)


def test_an_image_that_was_wrong_stays_wrong_and_is_attacked(trained):
    net, images, labels = trained
    others = (labels + 1) % 10
    adversarial = perturb(net, images[:20], others[:20], attack(steps=5), generator_seed=0)
    assert not robust(net, adversarial, others[:20]).any()
    before, after = (F.cross_entropy(net(x), others[:20], reduction="none") for x in (images[:20], adversarial))
    assert (after > before).all()


def test_an_image_the_model_is_sure_of_takes_full_steps():
    class Sure(nn.Module):
        """The gradient of class 0 is -50 e^-35 = -3e-14 long, far under the library's floor of 1e-12."""

        def forward(self, x):
            second = -x.flatten(1) @ torch.tensor([30.0, 40.0])
            return torch.stack([torch.zeros_like(second), second], 1)

    start = torch.tensor([0.5, 0.5]).view(1, 1, 1, 2)
    found = perturb(Sure(), start, torch.tensor([0]), attack(eps=0.1, steps=10), generator_seed=0)
    torch.testing.assert_close(found, torch.tensor([0.44, 0.42]).view(1, 1, 1, 2), atol=5e-3, rtol=0)


@pytest.mark.parametrize("after", [0, 3])
def test_a_gradient_that_is_no_number_is_an_error(after):
    class Breaks(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += x.requires_grad
            logits = x.flatten(1)[:, :4]
            return logits * torch.sqrt(logits * 0) if self.calls > after else logits  # 0, but its slope is not

    with pytest.raises(FloatingPointError, match=f"step {after + 1} of"):
        perturb(Breaks(), torch.rand(3, 1, 4, 4), torch.tensor([0, 1, 2]), attack(eps=0.1), generator_seed=0)


def test_of_several_the_worst_case_is_kept():
    # Logits are the pixels; the label is 0 everywhere.
    def image(*pixels):
        return torch.tensor(pixels).view(1, 1, 1, 3)

    model, label = nn.Flatten(), torch.zeros(2, dtype=torch.int64)
    right, narrow, wrong, wronger = image(1.0, 0.0, 0.0), image(0.5, 0.5, 0.5), image(0.0, 0.1, 0.0), image(0.0, 1, 0.0)
    worst = Worst(model, torch.cat([right, right]), label)
    one, both = torch.tensor([1]), torch.tensor([0, 1])
    worst.keep_worse(narrow, one)  # of higher loss
    assert torch.equal(worst.images, torch.cat([right, narrow]))
    worst.keep_worse(torch.cat([wrong, wrong]), both)  # wrong
    assert torch.equal(worst.images, torch.cat([wrong, wrong])) and worst.wrong.all()
    worst.keep_worse(torch.cat([narrow, wronger]), both)
    assert torch.equal(worst.images, torch.cat([wrong, wronger]))
    assert worst.loss[1].item() == pytest.approx(math.log(1 + math.e))


def test_a_wrong_prediction_outweighs_a_higher_loss():
    # Among many classes a prediction can be right at a lower probability than another has where it is wrong.
    right, wrong = [0.1] + [0.09] * 9, [0.45, 0.46] + [0.0] * 8
    model, label = nn.Flatten(), torch.tensor([0])
    both = (10 * torch.tensor([right, wrong])).view(2, 1, 1, 10)
    worst = Worst(model, both[:1], label)
    assert F.cross_entropy(both[:1].flatten(1), label) > F.cross_entropy(both[1:].flatten(1), label)
    worst.keep_worse(both[1:], torch.tensor([0]))
    assert torch.equal(worst.images, both[1:])
    worst.keep_worse(both[:1], torch.tensor([0]))
    assert torch.equal(worst.images, both[1:])


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_images_are_pulled_back_exactly(norm):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(50, 1, 8, 8, generator=generator)
    moved = images + 0.3 * torch.randn(50, 1, 8, 8, generator=generator)
    found = within(moved, images, attack(norm, eps=0.1))
    offset = (found.double() - images.double()).flatten(1)
    size = offset.norm(dim=1) if norm == "l2" else offset.abs().amax(1)
    assert (size <= 0.1).all() and (size > 0.0999).all()
    near = images + 1e-4
    torch.testing.assert_close(within(near, images, attack(norm, eps=0.1)), near, atol=1e-7, rtol=0)
