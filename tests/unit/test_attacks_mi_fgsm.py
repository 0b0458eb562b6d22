"""MI-FGSM against the paper's formulas written out, and against advertorch where that is right."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robust_transfer.attacks import advertorch_compat  # noqa: F401
from robust_transfer.attacks.budget import check_budget
from robust_transfer.attacks.craft import craft
from robust_transfer.attacks.perturb import perturb
from robust_transfer.plan.specs import Inputs, MiFgsm

LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def attack(**values):
    return MiFgsm(**{"algorithm": "mi-fgsm", "eps": 0.1, "steps": 5} | values)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(512, 4)).eval()


@pytest.fixture(scope="module")
def clean():
    images = torch.randint(0, 256, (6, 3, 8, 8), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    images[0], images[1] = 0, 255
    return images


def by_the_paper(net, images, labels, norm, eps, steps, step, decay):
    """Dong et al. 2018, algorithm 1, image by image."""
    found = []
    for image, label in zip(images, labels, strict=True):
        x, g = image.clone(), torch.zeros_like(image)
        for _ in range(steps):
            x.requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(net(x[None]), label[None]), x)
            g = decay * g + gradient / gradient.abs().sum()
            x = x.detach() + step * (g.sign() if norm == "linf" else g / g.norm())
            offset = x - image
            offset = offset.clamp(-eps, eps) if norm == "linf" else offset * min(1, eps / offset.norm())
            x = (image + offset).clamp(0, 1)
        found.append(x)
    return torch.stack(found)


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.8)])
@pytest.mark.parametrize("step_size", [None, "eps/2"])
def test_it_is_the_papers_algorithm(net, clean, norm, eps, step_size, decay):
    images = clean.float() / 255
    spec = attack(norm=norm, eps=eps, decay=decay, step_size=step_size)
    expected = by_the_paper(net, images, LABELS, norm, eps, 5, eps / (2 if step_size else 5), decay)
    torch.testing.assert_close(perturb(net, images, LABELS, spec), expected, rtol=0, atol=2e-5)


def test_it_is_advertorchs_under_linf(net, clean):
    from advertorch.attacks import LinfMomentumIterativeAttack  # once advertorch_compat has let it be imported

    images = clean.float() / 255
    theirs = LinfMomentumIterativeAttack(net, eps=0.1, nb_iter=5, eps_iter=0.03, decay_factor=0.7)
    mine = perturb(net, images, LABELS, attack(step_size=0.03, decay=0.7))
    torch.testing.assert_close(mine, theirs.perturb(images, LABELS), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.8)])
def test_its_budget_is_exact_and_no_seed_matters(net, clean, norm, eps):
    spec = attack(norm=norm, eps=eps, step_size="eps/2")
    stored = craft(net, clean, LABELS, spec, batch_size=4, seed=0)
    check_budget(stored, clean, spec)
    assert torch.equal(stored, craft(net, clean, LABELS, spec, batch_size=4, seed=1))
    offset = (perturb(net, clean.float() / 255, LABELS, spec).double() - (clean.float() / 255).double()).flatten(1)
    assert ((offset.abs().amax(1) if norm == "linf" else offset.norm(dim=1)) <= eps).all()


def test_a_gradient_that_is_no_number_is_an_error(clean):
    class Broken(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :4] * float("nan")

    with pytest.raises(FloatingPointError, match="step 1"):
        perturb(Broken(), clean.float() / 255, LABELS, attack())


def test_it_trains_too():
    inputs = Inputs(attack={"algorithm": "mi-fgsm", "eps": "8/255", "steps": 3, "step_size": "eps/2"})
    assert inputs.attack == attack(eps=8 / 255, steps=3, step_size=4 / 255) and inputs.slug == "mi-fgsm"
    assert inputs.attack.slug == "mifgsm3-linf-0.03137" and attack().canonical().keys() == {"algorithm", "eps", "steps"}
