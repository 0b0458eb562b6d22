"""Consistency regularisation."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from robust_transfer.terms.consistency import consistency
from robust_transfer.training.objective import Step


def by_hand(logits, labels, weight, entropy_weight):
    """The formula in double precision, number by number."""
    m, n, classes = logits.shape
    p = logits.double().softmax(-1).tolist()
    total = 0.0
    for image in range(n):
        q = [sum(p[i][image][c] for i in range(m)) / m for c in range(classes)]
        fit = -sum(math.log(p[i][image][labels[image]]) for i in range(m)) / m
        divergence = sum(q[c] * math.log(q[c] / p[i][image][c]) for i in range(m) for c in range(classes)) / m
        entropy = -sum(q[c] * math.log(q[c]) for c in range(classes))
        total += fit + weight * divergence + entropy_weight * entropy
    return total / n


@pytest.mark.parametrize("m", [1, 2, 5])
def test_it_is_the_formula(m):
    logits = 2 * torch.randn(m, 7, 4, generator=torch.Generator().manual_seed(m))
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 1])
    for weights in ((5.0, 0.5), (0.0, 0.5), (5.0, 0.0), (0.0, 0.0)):
        expected = by_hand(logits, labels, *weights)
        assert float(consistency(logits, labels, *weights)) == pytest.approx(expected, rel=1e-5)


def test_two_copies_of_two_classes():
    # p1 = (3/4, 1/4), p2 = (1/4, 3/4), q = (1/2, 1/2).
    logits = torch.tensor([[[math.log(3), 0.0]], [[0.0, math.log(3)]]])
    fit = (math.log(4 / 3) + math.log(4)) / 2
    divergence = 0.5 * math.log(4 / 3)  # 1/2 ln(2/3) + 1/2 ln 2, for each of the two
    found = float(consistency(logits, torch.tensor([0]), 5.0, 0.5))
    assert found == pytest.approx(fit + 5 * divergence + 0.5 * math.log(2), rel=1e-6)


def test_labels_belong_to_images_and_not_to_copies():
    logits = torch.full((2, 3, 3), -20.0) + 40 * torch.eye(3)
    assert float(consistency(logits, torch.tensor([0, 1, 2]), 5.0, 0.5)) < 1e-6


def test_sure_and_contradicting_copies_have_a_finite_loss_and_gradient():
    logits = torch.tensor([[[300.0, 0.0, -300.0]], [[-300.0, 0.0, 300.0]]], requires_grad=True)
    loss = consistency(logits, torch.tensor([1]), 5.0, 0.5)
    # KL(q || p_i) = 1/2 ln(1/2 / 1) + 1/2 ln(1/2 / e^-600) = 300 - ln 2.
    assert loss.item() == pytest.approx(300 + 5 * (300 - math.log(2)) + 0.5 * math.log(2), rel=1e-6)
    loss.backward()
    assert logits.grad.isfinite().all() and logits.grad.abs().max() > 0


def test_noise_is_drawn_where_the_images_are():
    # The meta device stands for a GPU: what is drawn there leaves the CPU's generator alone.
    objective = SimpleNamespace(recipe=SimpleNamespace(inputs=SimpleNamespace(noise=0.5)))
    images = torch.empty(2, 3, 8, 8, device="meta")
    before = torch.get_rng_state()
    assert Step(objective, images, None, None).noisy(images).shape == images.shape
    assert torch.equal(torch.get_rng_state(), before)


def test_its_gradient_flows_through_the_mean_too():
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    labels = torch.tensor([0, 1, 2])
    assert torch.autograd.gradcheck(lambda x: consistency(x, labels, 5.0, 0.5), logits)
    # With the mean held fixed, the loss would have another gradient.
    p = logits.softmax(-1)
    q = p.mean(0).detach()
    held = F.kl_div(p.log(), q.expand_as(p), reduction="none").sum(-1).mean()
    ours = torch.autograd.grad(consistency(logits, labels, 1.0, 0.0) - consistency(logits, labels, 0.0, 0.0), logits)
    assert not torch.allclose(ours[0], torch.autograd.grad(held, logits)[0])
