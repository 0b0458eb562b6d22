"""Each term of the objectives against its formula on small tensors, and their sum in a step of training."""

import math

import pytest
import torch
import torch.nn.functional as F

from robust_transfer.models import files
from robust_transfer.models.classifier import freeze_but
from robust_transfer.objectives import terms
from robust_transfer.objectives.objective import Objective
from robust_transfer.plan.specs import CifarResNet, Pgd, Recipe

NETWORK = CifarResNet(family="cifar-resnet", depth_per_stage=[1, 1], width=4)
PGD = Pgd(algorithm="pgd", eps=0.2, steps=2, step_size="eps/2", random_start=False)


def network(seed):
    torch.manual_seed(seed)
    return files.build(NETWORK, 1, 3)


def batch():
    torch.manual_seed(5)
    return torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])


def objective(student, teacher=None, **recipe):
    recipe = Recipe(schedule={"epochs": 1, "batch_size": 6, "lr": 0.1}, **recipe)
    return Objective(student, recipe, freeze_but(student, recipe.trainable), teacher)


def cross_entropy(student, images, labels):
    return F.cross_entropy(student.train()(images), labels)


def test_feature_distillation_is_the_sum_of_the_stages_mean_squares():
    a = [torch.tensor([[[[1.0, 2.0]]], [[[3.0, 4.0]]]]), torch.tensor([[[[0.0]]], [[[2.0]]]])]
    b = [torch.tensor([[[[1.0, 0.0]]], [[[0.0, 4.0]]]]), torch.tensor([[[[1.0]]], [[[5.0]]]])]
    # Two images: the first stage has n_l = 2 elements, the second 1.
    by_hand = ((0 + 4) / 2 + (9 + 0) / 2) / 2 + (1 + 9) / 2
    assert terms.feature_distillation(a, b).item() == pytest.approx(by_hand)


def test_networks_with_other_stages_are_refused():
    with pytest.raises(ValueError, match="stages"):
        terms.feature_distillation([torch.zeros(1, 2, 1, 1)], [torch.zeros(1, 1, 1, 1)])


def test_start_distance_is_the_squared_length_without_the_head():
    student, start = network(1), network(2)
    theta = {name: p.detach() for name, p in start.named_parameters() if not name.startswith("head.")}
    moved = dict(student.named_parameters())
    by_hand = sum(((moved[name] - p) ** 2).sum().item() for name, p in theta.items())
    assert terms.start_distance(student, theta).item() == pytest.approx(by_hand, rel=1e-5)
    assert "head.weight" in moved and "head.weight" not in theta


def test_head_penalty_counts_weights_and_biases():
    head = torch.nn.Linear(2, 1)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 2.0]]))
        head.bias.fill_(3.0)
    assert terms.head_penalty(head).item() == 14


def test_all_terms_are_weighed_and_summed():
    student, teacher = network(1), network(2).eval()
    images, labels = batch()
    weights = {"feature_distillation": 0.7, "start_distance": 0.3, "head_penalty": 0.01}
    loss = objective(student, teacher, terms=weights)
    with torch.no_grad():
        for p in student.parameters():
            p.add_(0.1)  # away from the start, which was noted when the objective was made
    found = loss(images, labels).item()
    with torch.no_grad():
        seen, wanted = student.train().observe(images), teacher.observe(images)
        moving = sum(p.numel() for name, p in student.named_parameters() if not name.startswith("head."))
        by_hand = (
            F.cross_entropy(seen.logits, labels)
            + 0.7 * sum(((a - b) ** 2).mean() for a, b in zip(seen.stages, wanted.stages, strict=True))
            + 0.3 * moving * 0.1**2
            + 0.01 * ((student.head.weight**2).sum() + (student.head.bias**2).sum())
        )
    assert found == pytest.approx(by_hand.item(), rel=1e-4)


def test_the_teacher_gets_no_gradient_and_keeps_its_statistics():
    student, teacher = network(1), network(2)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    objective(student, teacher, terms={"feature_distillation": 1})(*batch()).backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert all(p.grad is not None for p in student.parameters())


def test_dropout_comes_after_the_stage_whose_output_is_compared():
    student = network(1).train()
    images, _ = batch()
    plain = student.observe(images).stages
    student.dropout = 0.5
    torch.manual_seed(0)
    dropped = student.observe(images).stages
    assert torch.equal(plain[0], dropped[0])
    assert not torch.equal(plain[1], dropped[1])


def test_either_draws_clean_or_adversarial_batches_by_its_weight():
    student = network(1)
    loss = objective(student, inputs={"attack": PGD, "mixing": "either", "clean_weight": 0.25})
    images, labels = batch()
    torch.manual_seed(0)
    losses = [loss(images, labels).item() for _ in range(60)]
    clean = cross_entropy(student, images, labels).item()
    of_clean = [math.isclose(value, clean, rel_tol=1e-4) for value in losses]
    assert 6 <= sum(of_clean) <= 26  # 15 expected; 99.9 % of all draws lie within
    assert all(value > clean for value, is_clean in zip(losses, of_clean, strict=True) if not is_clean)


def test_adversarial_examples_follow_the_weights():
    """The attack's copy of the network is refreshed: it must not stay with the weights it was made from."""
    images, labels = batch()
    student = network(1)
    loss = objective(student, inputs={"attack": PGD, "clean_weight": 0.0})
    loss(images, labels)
    other = network(9)
    student.load_state_dict(other.state_dict())
    fresh = objective(other, inputs={"attack": PGD, "clean_weight": 0.0})
    assert loss(images, labels).item() == pytest.approx(fresh(images, labels).item(), rel=1e-5)
